"""The loss that initial states are chosen by, and its derivatives, for a batch of trajectories."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srnn.errors import ConvergenceError
from srnn.motion.adjoint import Gradient
from srnn.motion.adjoint._choice import as_gradient
from srnn.motion.fields import as_field
from srnn.motion.flow_map import flow_map
from srnn.motion.rollout import rollout

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
    r"""Residuals of rollouts from given starts: :math:`L(z_0) = \sum_{t,i} w_{ti} r_{ti}^2`.

    Parameters
    ----------
    field : field, Hamiltonian or recurrent network
    integrator : Integrator or None
    observed : Tensor, shape (time, batch, 2*dim)
        Finite numbers, also where they do not count.
    weights : Tensor, same shape
        Zero where nothing was observed.
    dt : float
        Time between observed states.
    substeps : int
        Integrator steps between two of them.
    scale : srnn.scaling.Scale, optional
        Units of the field, where they are not those of the observed states.
    gradient : str or srnn.adjoint.Gradient, optional
        How rollouts are differentiated, in the start alone.
    """

    def __init__(
        self,
        field: Any,
        integrator: Any,
        observed: Tensor,
        weights: Tensor,
        *,
        dt: float,
        substeps: int = 1,
        scale: Any = None,
        gradient: str | Gradient | None = None,
    ) -> None:
        self.gradient = dataclasses.replace(as_gradient(gradient), weights=False)
        self.field = field if integrator is None else as_field(field)
        self.integrator = integrator
        self.scale = None if scale is None else scale.beside(observed)
        self.observed, self.weights = observed, weights
        self.dt, self.substeps = dt, substeps

    def take(self, index: Tensor | slice) -> "Problem":
        """Make the same problem for some of the trajectories."""
        return Problem(
            self.field,
            self.integrator,
            self.observed[:, index],
            self.weights[:, index],
            dt=self.dt,
            substeps=self.substeps,
            scale=self.scale,
            gradient=self.gradient,
        )

    @property
    def counted(self) -> Tensor:
        """How many numbers count in each trajectory, shape (batch,)."""
        return (self.weights > 0).sum(dim=(0, 2))

    @property
    def _size(self) -> Tensor:
        """Sum of the squares of the observed numbers, weighted, shape (batch,)."""
        return (self.weights * self.observed.square()).sum(dim=(0, 2))

    @property
    def rounding(self) -> Tensor:
        """A loss that is nothing but rounding of the observed numbers, shape (batch,)."""
        eps = torch.finfo(self.observed.dtype).eps
        return (4 * eps) ** 2 * self._size

    def blur(self, loss: Tensor) -> Tensor:
        r"""How far rounding of the states may move a loss, shape (batch,).

        Residuals r that are off by :math:`\epsilon z` move :math:`r^\top W r` by
        :math:`2 \epsilon\, r^\top W z`.
        """
        eps = torch.finfo(self.observed.dtype).eps
        return 8 * eps * (loss + (loss * self._size).sqrt())

    def _how(self) -> dict[str, Any]:
        return {"dt": self.dt, "steps": len(self.observed) - 1, "substeps": self.substeps}

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
        """Rollouts from the starts, shape (time, batch, 2*dim)."""
        if len(self.observed) == 1:
            return z0[None]
        scale = self.scale
        start = z0 if scale is None else scale.encode(z0)
        how = self._how() | {"gradient": self.gradient}
        states = rollout(self.field, self.integrator, start, **how)
        return states if scale is None else scale.decode(states)

    def jacobians(self, z0: Tensor) -> Tensor:
        """Jacobians of the states in the starts, shape (time, batch, 2*dim, 2*dim)."""
        return self._states_and_jacobians(z0)[1]

    def _states_and_jacobians(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.observed) == 1:
            eye = torch.eye(z0.shape[-1], dtype=z0.dtype, device=z0.device)
            return z0[None], eye.expand(1, len(z0), *eye.shape)
        scale = self.scale
        start = z0 if scale is None else scale.encode(z0)
        states, jacobians = flow_map(self.field, self.integrator, start, **self._how())
        if scale is None:
            return states, jacobians
        return scale.decode(states), jacobians * (scale.factor[:, None] / scale.factor)

    def losses(self, z0: Tensor) -> Tensor:
        """Loss of each trajectory, shape (batch,)."""
        with torch.no_grad():
            return self._piecewise(lambda part, z: (part._losses(z),), z0, len(z0), ((),))[0]

    def _losses(self, z0: Tensor) -> Tensor:
        return (self.weights * (self.states(z0) - self.observed).square()).sum(dim=(0, 2))

    def losses_and_gradients(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each trajectory and its gradient, from one pass forth and one back.

        Raises
        ------
        RuntimeError
            If autograd finds no way from the states back to their start.
        """

        def work(part: Problem, z: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                start = z.detach().requires_grad_()
                loss = part._losses(start)
                # The weights of the network get no gradient: only the start is asked about.
                gradient = torch.autograd.grad(loss.sum(), start)[0]
            return loss.detach(), gradient

        size = max(1, _STATES // len(self.observed))
        loss, gradient = self._piecewise(work, z0, size, ((), (z0.shape[-1],)))
        return loss, gradient

    def normal(self, z0: Tensor) -> Normal:
        """Loss, gradient and Gauss-Newton matrix at the starts, without a graph."""

        def work(part: Problem, z: Tensor) -> tuple[Tensor, ...]:
            states, jacobians = part._states_and_jacobians(z)
            residual = states - part.observed
            stacked = jacobians.transpose(0, 1).flatten(1, 2)  # (batch, time * 2d, 2d)
            weighted = part.weights.transpose(0, 1).flatten(1)[..., None] * stacked
            along = residual.transpose(0, 1).flatten(1)[:, None, :]
            loss = (part.weights * residual.square()).sum(dim=(0, 2))
            return loss, (along @ weighted)[:, 0], stacked.mT @ weighted

        time, _, two_d = self.observed.shape
        size = max(1, _JACOBIAN_NUMBERS // (time * two_d * two_d))
        with torch.no_grad():
            return Normal(*self._piecewise(work, z0, size, ((), (two_d,), (two_d, two_d))))
