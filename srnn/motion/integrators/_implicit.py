"""The implicit midpoint rule."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from srnn._types import State
from srnn.errors import ConvergenceError
from srnn.motion.fields import Field
from srnn.motion.integrators._step import Step

__all__ = ["ImplicitMidpoint"]


@dataclass(frozen=True)
class ImplicitMidpoint(Step):
    r"""The implicit midpoint rule, symplectic for every H.

    .. math:: z_{n+1} = z_n + \Delta t\, f\big((z_n + z_{n+1})/2\big)

    solved by Newton's method, to a few roundings of the state's size plus the step's.  First
    derivatives are exact: the last Newton step is taken on the autograd graph with its Jacobian
    held fixed, which is the implicit function theorem.  Derivatives of those (second ones) leave
    out how the Jacobian changes and are not exact.

    Parameters
    ----------
    iterations : int
        Newton steps after which :class:`~srnn.errors.ConvergenceError` is raised.

    Examples
    --------
    >>> import torch, srnn
    >>> z0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    >>> z = srnn.rollout(srnn.systems.MassSpring(), ImplicitMidpoint(), z0, dt=0.5, steps=100)
    >>> energy = srnn.systems.MassSpring()(z)
    >>> bool((energy - energy[0]).abs().max() < 1e-13)  # a quadratic energy is kept
    True
    """

    name: str = "implicit-midpoint"
    order: int = 2
    symplectic: bool = True
    one_dt: ClassVar[bool] = True
    exact_twice: ClassVar[bool] = False
    iterations: int = 30

    def init(self, field: Field, z0: State) -> State:
        """Start at `z0`."""
        return z0

    def step(self, field: Field, state: State, dt: float) -> State:
        """One step."""
        flat = state.reshape(-1, state.shape[-1])
        start = flat.detach()
        identity = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)
        jacobian_of = torch.func.vmap(torch.func.jacrev(field))
        eps = torch.finfo(flat.dtype).eps
        with torch.no_grad():
            moved = dt * field(start)
            z = start + moved
            # A few roundings of the state's own size: what a residual can reach.  Coordinates of
            # 1e-12 are thus as exact as those of 1.
            scale = start.abs().amax(dim=-1) + moved.abs().amax(dim=-1)
            tolerance = 16 * eps * scale
            # A field may round at the size of what it adds up, here taken to be 1, not at its own.
            floor = 8e3 * eps * (1 + start.abs().amax(dim=-1))
            best = torch.full_like(scale, torch.inf)
            for _ in range(self.iterations):
                middle = (start + z) / 2
                residual = z - start - dt * field(middle)
                size = residual.abs().amax(dim=-1)
                matrix = identity - (dt / 2) * jacobian_of(middle)
                # Rounding sets a floor that the tolerance may lie under: a residual that is small
                # and no longer falls has arrived.
                arrived = (size <= tolerance) | ((size <= floor) & (size >= best))
                if bool(arrived.all()):
                    break
                best = torch.minimum(best, size)
                z = z - torch.linalg.solve(matrix, residual)
            else:
                raise ConvergenceError(
                    f"The implicit midpoint rule did not converge in {self.iterations} Newton "
                    f"steps at dt={dt:g}: the residual is {float(size.max()):.1e}. "
                    "Take a smaller step."
                )
        residual = z - flat - dt * field((flat + z) / 2)
        solved: Tensor = z - torch.linalg.solve(matrix, residual)
        return solved.reshape(state.shape)

    def read(self, state: State) -> State:
        """(q, p) of a state."""
        return state
