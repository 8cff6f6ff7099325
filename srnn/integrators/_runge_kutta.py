"""Explicit Runge-Kutta methods: Butcher tables."""

from dataclasses import dataclass

from torch import Tensor

from srnn._types import State
from srnn.fields import Field

__all__ = ["RungeKutta"]


@dataclass(frozen=True)
class RungeKutta:
    """An explicit Runge-Kutta method, by its Butcher table (autonomous, so without nodes).

    Parameters
    ----------
    name : str
    order : int
    matrix : tuple of tuple of float
        Row i holds the coefficients of the stages before stage i + 1.
    weights : tuple of float

    Examples
    --------
    >>> import torch, srnn
    >>> heun = RungeKutta("heun", 2, ((1.0,),), (0.5, 0.5))
    >>> srnn.rollout(srnn.systems.MassSpring(), heun, torch.tensor([[1.0, 0.0]]), dt=0.1, steps=1)[
    ...     1
    ... ]
    tensor([[ 0.9950, -0.1000]])
    """

    name: str
    order: int
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    symplectic: bool = False

    def init(self, field: Field, z0: State) -> State:
        """Start at `z0`."""
        return z0

    def step(self, field: Field, state: State, dt: float) -> State:
        """One step."""
        slopes = [field(state)]
        for row in self.matrix:
            slopes.append(field(state + dt * _combine(row, slopes)))
        return state + dt * _combine(self.weights, slopes)

    def read(self, state: State) -> State:
        """(q, p) of a state."""
        return state


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    terms = [w * k for w, k in zip(weights, slopes, strict=True) if w]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
