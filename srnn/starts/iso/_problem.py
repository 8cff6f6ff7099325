"""The loss that initial states are chosen by, and its derivatives, for a batch of trajectories."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srnn.data.residual import Observed
from srnn.errors import ConvergenceError
from srnn.motion.adjoint import Gradient
from srnn.motion.adjoint._rollout import as_gradient
from srnn.motion.motion import Motion

__all__ = ["NO_SOLUTION", "Normal", "Problem"]

# What an implicit integrator raises when a step has no solution that it can find.
NO_SOLUTION = (ConvergenceError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
# Numbers in the Jacobians, or states in a differentiated rollout, that are held at a time.
_JACOBIAN_NUMBERS = 1 << 24
_STATES = 1 << 12


class Normal(NamedTuple):
    r"""Loss, half its gradient, and half the Gauss-Newton part of its Hessian, a trajectory each.

    With the residuals r, the weights W and the Jacobians F of the states:
    :math:`L = \sum_t r_t^\top W_t r_t`, :math:`g = \sum_t F_t^\top W_t r_t` and
    :math:`A = \sum_t F_t^\top W_t F_t`.
    """

    loss: Tensor
    gradient: Tensor
    matrix: Tensor

    def take(self, index: Tensor) -> "Normal":
        """Of some of the trajectories."""
        return Normal(self.loss[index], self.gradient[index], self.matrix[index])

    def put(self, index: Tensor, other: "Normal") -> None:
        """Replace those of some of the trajectories."""
        for mine, new in zip(self, other, strict=True):
            mine[index] = new

    @property
    def finite(self) -> Tensor:
        """Which trajectories have nothing but finite numbers, shape (batch,)."""
        good = torch.isfinite(self.loss) & torch.isfinite(self.gradient).all(dim=-1)
        return good & torch.isfinite(self.matrix).all(dim=-1).all(dim=-1)


class Problem:
    r"""Residuals of a motion from given starts.

    Parameters
    ----------
    motion : Motion
    observed : srnn.data.residual.Observed
        In the motion's units.
    dt : float
        Time between observed states.
    substeps : int
        Integrator steps between two of them.
    gradient : str or srnn.adjoint.Gradient, optional
        How rollouts are differentiated, in the start alone.

    Examples
    --------
    >>> import torch, srnn
    >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
    >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
    >>> problem.losses(torch.tensor([[1.0, 0.0]]))  # each step turns the state by half a circle
    tensor([3.])
    """

    def __init__(
        self,
        motion: Motion,
        observed: Observed,
        *,
        dt: float,
        substeps: int = 1,
        gradient: str | Gradient | None = None,
    ) -> None:
        self.gradient = dataclasses.replace(as_gradient(gradient), weights=False)
        self.motion, self.observed = motion, observed
        self.dt, self.substeps = dt, substeps

    def of(self, observed: Observed) -> "Problem":
        """Make the same problem for other observations.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.of(problem.observed.first(2)).losses(torch.tensor([[1.0, 0.0]]))
        tensor([2.])
        """
        how: dict[str, Any] = {"dt": self.dt, "substeps": self.substeps}
        return Problem(self.motion, observed, gradient=self.gradient, **how)

    def take(self, index: Tensor | slice) -> "Problem":
        """Make the same problem for some of the trajectories.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 4, 2), torch.ones(3, 4, 2)), dt=2.0)
        >>> problem.take(slice(1, 3)).losses(torch.eye(2))[0]
        tensor(3.)
        """
        return self.of(self.observed.take(index))

    def _how(self) -> dict[str, Any]:
        return {"dt": self.dt, "steps": len(self.observed.values) - 1, "substeps": self.substeps}

    def _piecewise(
        self,
        work: Callable[["Problem", Tensor], tuple[Tensor, ...]],
        z0: Tensor,
        size: int,
        shapes: tuple[tuple[int, ...], ...],
    ) -> tuple[Tensor, ...]:
        """Do a work on at most `size` trajectories at a time and join what it gives.

        An implicit method gives up on a whole batch when one trajectory has no solution.  Then the
        halves of the batch are tried, down to the single trajectory, whose numbers are NaN.
        """
        count = len(z0)
        if count <= size:
            try:
                return work(self, z0)
            except NO_SOLUTION:
                if count == 1:
                    return tuple(z0.new_full((1, *shape), torch.nan) for shape in shapes)
            size = (count + 1) // 2
        parts = [
            self.take(piece)._piecewise(work, z0[piece], size, shapes)
            for piece in (slice(k, k + size) for k in range(0, count, size))
        ]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def states(self, z0: Tensor) -> Tensor:
        """Rollouts from the starts, shape (time, batch, 2*dim).

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.states(torch.tensor([[1.0, 0.0]]))[:, 0, 0]
        tensor([ 1., -1.,  1.])
        """
        if len(self.observed.values) == 1:
            return z0[None]
        return self.motion.rollout(z0, gradient=self.gradient, **self._how())

    def jacobians(self, z0: Tensor) -> Tensor:
        """Jacobians of the states in the starts, shape (time, batch, 2*dim, 2*dim).

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.jacobians(torch.tensor([[1.0, 0.0]])).shape
        torch.Size([3, 1, 2, 2])
        """
        return self.states_and_jacobians(z0)[1]

    def states_and_jacobians(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        """Give both, without a graph.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> states, jacobians = problem.states_and_jacobians(torch.tensor([[1.0, 0.0]]))
        >>> states[1, 0], jacobians[1, 0, :, 0]
        (tensor([-1.,  0.]), tensor([-1.,  0.]))
        """
        if len(self.observed.values) == 1:
            eye = torch.eye(z0.shape[-1], dtype=z0.dtype, device=z0.device)
            return z0[None], eye.expand(1, len(z0), *eye.shape)
        return self.motion.flow_map(z0, **self._how())

    def losses(self, z0: Tensor) -> Tensor:
        """Loss of each trajectory, shape (batch,).

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.losses(torch.tensor([[2.0, 0.0]]))
        tensor([12.])
        """
        with torch.no_grad():
            return self._piecewise(lambda part, z: (part._losses(z),), z0, len(z0), ((),))[0]

    def _losses(self, z0: Tensor) -> Tensor:
        return self.observed.loss(self.states(z0))

    def losses_and_gradients(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each trajectory and its gradient, from one pass forth and one back.

        Raises
        ------
        RuntimeError
            If autograd finds no way from the states back to their start.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.losses_and_gradients(torch.tensor([[1.0, 0.0]]))[1][0, 0]  # of 3 q^2
        tensor(6.)
        """

        def work(part: Problem, z: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                start = z.detach().requires_grad_()
                loss = part._losses(start)
                # The weights of the network get no gradient: only the start is asked about.
                gradient = torch.autograd.grad(loss.sum(), start)[0]
            return loss.detach(), gradient

        size = max(1, _STATES // len(self.observed.values))
        loss, gradient = self._piecewise(work, z0, size, ((), (z0.shape[-1],)))
        return loss, gradient

    def normal(self, z0: Tensor) -> Normal:
        """Loss, gradient and Gauss-Newton matrix at the starts, without a graph.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> normal = problem.normal(torch.tensor([[1.0, 0.0]]))
        >>> normal.gradient[0, 0], normal.matrix[0, 0, 0]  # halves of those of 3 q^2
        (tensor(3.), tensor(3.))
        """

        def work(part: Problem, z: Tensor) -> tuple[Tensor, ...]:
            states, jacobians = part.states_and_jacobians(z)
            seen = part.observed
            stacked = jacobians.transpose(0, 1).flatten(1, 2)  # (batch, time * 2d, 2d)
            weighted = seen.weights.transpose(0, 1).flatten(1)[..., None] * stacked
            along = (states - seen.values).transpose(0, 1).flatten(1)[:, None, :]
            return seen.loss(states), (along @ weighted)[:, 0], stacked.mT @ weighted

        time, _, two_d = self.observed.values.shape
        size = max(1, _JACOBIAN_NUMBERS // (time * two_d * two_d))
        with torch.no_grad():
            return Normal(*self._piecewise(work, z0, size, ((), (two_d,), (two_d, two_d))))
