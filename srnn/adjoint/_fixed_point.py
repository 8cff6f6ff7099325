"""States as multiples of a smallest step, so that every update can be undone to the last bit.

In floating point (z + u) - u is not z.  In whole numbers it is: a state is kept as 64-bit integers
in units of a power of two, an update is rounded to that unit once, and added forwards and
subtracted backwards exactly (Levesque and Verlet, 1993).
"""

import math

import torch
from torch import Tensor

__all__ = ["FixedPoint", "unit_for"]

# Bits of a state's largest entry at the start, less than the 63 of an integer by room to grow.
_BITS = 52


def unit_for(z0: Tensor) -> float:
    """Return a power of two that resolves the largest entry of `z0` to 52 bits."""
    largest = float(z0.detach().abs().max()) if z0.numel() else 1.0
    if not math.isfinite(largest):
        return 1.0
    return 2.0 ** (math.frexp(max(largest, 1e-30))[1] - _BITS)


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
        self.whole = (state.double() / unit).round().to(torch.int64) if whole is None else whole
        self._read(slice(None))

    def add(self, rows: slice, rate: Tensor, factor: float) -> None:
        """Add factor * rate, rounded to whole units; undone by -factor, since -x rounds to -n."""
        self.whole[rows].add_((rate.double() * (factor / self.unit)).round().to(torch.int64))
        self._read(rows)

    def _read(self, rows: slice) -> None:
        self.state[rows].copy_(self.whole[rows].double() * self.unit)
