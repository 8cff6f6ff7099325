"""The loss that initial states are chosen by, and its derivatives, for a batch of trajectories."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from srnn.fields import as_field
from srnn.flow_map import flow_map
from srnn.rollout import rollout

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
    ) -> None:
        self.field = field if integrator is None else as_field(field)
        self.integrator, self.scale = integrator, scale
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
        )

    @property
    def counted(self) -> Tensor:
        """How many numbers count in each trajectory, shape (batch,)."""
        return (self.weights > 0).sum(dim=(0, 2))

    @property
    def rounding(self) -> Tensor:
        """A loss that is nothing but rounding of the observed numbers, shape (batch,)."""
        eps = torch.finfo(self.observed.dtype).eps
        return (4 * eps) ** 2 * (self.weights * self.observed.square()).sum(dim=(0, 2))

    def _how(self) -> dict[str, Any]:
        return {"dt": self.dt, "steps": len(self.observed) - 1, "substeps": self.substeps}

    def _pieces(self, size: int) -> list[slice]:
        count = self.observed.shape[1]
        return [slice(k, min(k + size, count)) for k in range(0, count, size)]

    def states(self, z0: Tensor) -> Tensor:
        """Rollouts from the starts, shape (time, batch, 2*dim)."""
        if len(self.observed) == 1:
            return z0[None]
        scale = self.scale
        start = z0 if scale is None else scale.encode(z0)
        states = rollout(self.field, self.integrator, start, **self._how())
        return states if scale is None else scale.decode(states)

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
            return self._losses(z0)

    def _losses(self, z0: Tensor) -> Tensor:
        return (self.weights * (self.states(z0) - self.observed).square()).sum(dim=(0, 2))

    def losses_and_gradients(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each trajectory and its gradient, from one pass forth and one back.

        Raises
        ------
        TypeError
            If the states do not depend on their start in a way that autograd can follow.
        """
        size = max(1, _STATES // len(self.observed))
        losses, gradients = [], []
        for piece in self._pieces(size):
            with torch.enable_grad():
                start = z0[piece].detach().requires_grad_()
                loss = self.take(piece)._losses(start)
                # The weights of the network get no gradient: only the start is asked about.
                gradients.append(torch.autograd.grad(loss.sum(), start)[0])
            losses.append(loss.detach())
        return torch.cat(losses), torch.cat(gradients)

    def normal(self, z0: Tensor) -> Normal:
        """Loss, gradient and Gauss-Newton matrix at the starts, without a graph."""
        time, _, two_d = self.observed.shape
        parts = []
        for piece in self._pieces(max(1, _JACOBIAN_NUMBERS // (time * two_d * two_d))):
            observed, weights = self.observed[:, piece], self.weights[:, piece]
            states, jacobians = self._states_and_jacobians(z0[piece])
            residual = states - observed
            stacked = jacobians.transpose(0, 1).flatten(1, 2)  # (batch, time * 2d, 2d)
            weighted = weights.transpose(0, 1).flatten(1)[..., None] * stacked
            along = residual.transpose(0, 1).flatten(1)[:, None, :]
            parts.append(
                (
                    (weights * residual.square()).sum(dim=(0, 2)),
                    (along @ weighted)[:, 0],
                    stacked.mT @ weighted,
                )
            )
        loss, gradient, matrix = (torch.cat(part) for part in zip(*parts, strict=True))
        return Normal(loss, gradient, matrix)
