"""States as multiples of a smallest step, so that every update can be undone to the last bit.

In floating point (z + u) - u is not z.  In whole numbers it is: a state is kept as 64-bit integers
in units of a power of two, an update is rounded to that unit once, and added forwards and
subtracted backwards exactly (Levesque and Verlet, 1993).
"""

import math

import torch
from torch import Tensor

__all__ = ["FixedPoint", "check_range", "has_numbers", "in_units", "unit_for"]

# Bits of the largest entry at the start.  An integer has 63: states may grow 2^15 fold.
_BITS = 48


def has_numbers(z: Tensor) -> bool:
    """Whether a tensor's numbers can be looked at: not those of fake tensors, nor of "meta"."""
    return type(z) is Tensor and not z.is_meta


def in_units(z: Tensor, unit: float) -> Tensor:
    """Round to whole units."""
    return (z.detach().double() / unit).round().to(torch.int64)


def unit_for(z0: Tensor) -> float:
    """Return a power of two that resolves the largest entry of `z0` to 48 bits."""
    largest = float(z0.detach().abs().max()) if has_numbers(z0) else 1.0
    if not (math.isfinite(largest) and largest > 0):
        largest = 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - _BITS)


def check_range(states: Tensor, unit: float) -> None:
    """Refuse states that whole numbers of 64 bits in this unit do not hold."""
    if has_numbers(states) and not bool((states.abs() < unit * 2.0**62).all()):
        raise OverflowError(
            "gradient='reversible-exact' holds states up to about 16 000 times the largest entry "
            "of the batch's initial states; these grew beyond, or left the finite numbers. "
            "gradient='recompute' holds any."
        )


class FixedPoint:
    """A state in whole units beside the same state in floating point.

    Parameters
    ----------
    state : Tensor, shape (features, trajectories)
        Floating point; kept equal to the whole numbers.
    unit : float
    whole : Tensor, optional
        Same shape, int64, to take up; by default `state` is rounded.
    """

    def __init__(self, state: Tensor, unit: float, whole: Tensor | None = None) -> None:
        self.state, self.unit = state, unit
        self.whole = in_units(state, unit) if whole is None else whole
        self._read(slice(None))

    def add(self, rows: slice, rate: Tensor, factor: float) -> None:
        """Add factor * rate, rounded to whole units; undone by -factor, since -x rounds to -n."""
        self.whole[rows].add_((rate.double() * (factor / self.unit)).round().to(torch.int64))
        self._read(rows)

    def _read(self, rows: slice) -> None:
        self.state[rows].copy_(self.whole[rows].double() * self.unit)
