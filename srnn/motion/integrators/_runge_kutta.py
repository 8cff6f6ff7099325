"""Explicit Runge-Kutta methods: Butcher tables."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.motion.fields import Field
from srnn.motion.integrators._step import Step

__all__ = ["RungeKutta"]


@dataclass(frozen=True)
class RungeKutta(Step):
    """An explicit Runge-Kutta method, by its Butcher table (autonomous, so without nodes).

    Parameters
    ----------
    name : str
    order : int
    matrix : tuple of tuple of float
        Row i holds the i coefficients of the stages before stage i + 1.
    weights : tuple of float
        One a stage; their sum is 1.

    Raises
    ------
    ValueError
        If a row or the weights have another length, or the weights another sum.

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
    lifts: ClassVar[bool] = True
    solves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        lengths = [len(row) for row in self.matrix]
        if lengths != list(range(1, len(lengths) + 1)):
            raise ValueError(
                f"Expected row i of `matrix` to hold i numbers, 1, 2, ...; got rows of {lengths}."
            )
        if len(self.weights) != len(lengths) + 1:
            raise ValueError(
                f"Expected one weight a stage, {len(lengths) + 1} for {len(lengths)} rows of "
                f"`matrix`; got {len(self.weights)}."
            )
        _checks.sum_to_one(self.weights, "weights")
        for row in self.matrix:
            for number in row:
                _checks.finite(number, "matrix")

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
    if not terms:  # a row of zeros: a stage at the state itself
        return torch.zeros_like(slopes[0])
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
