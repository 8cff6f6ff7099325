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
    state : Tensor
        Floating point; kept equal to the whole numbers.
    whole : Tensor
        Same shape, int64.
    unit : float
    """

    def __init__(self, state: Tensor, whole: Tensor, unit: float) -> None:
        self.state, self.whole, self.unit = state, whole, unit

    def start(self, z: Tensor) -> None:
        """Round a state to whole units."""
        self.whole.copy_((z.double() / self.unit).round())
        self._read(slice(None))

    def resume(self, whole: Tensor) -> None:
        """Take up a state in whole units."""
        self.whole.copy_(whole)
        self._read(slice(None))

    def add(self, columns: slice, rate: Tensor, factor: float) -> None:
        """Add factor * rate, rounded to whole units, to some columns."""
        self.whole[:, columns].add_(self._rounded(rate, factor))
        self._read(columns)

    def subtract(self, columns: slice, rate: Tensor, factor: float) -> None:
        """Undo `add`."""
        self.whole[:, columns].sub_(self._rounded(rate, factor))
        self._read(columns)

    def _rounded(self, rate: Tensor, factor: float) -> Tensor:
        return (rate.double() * (factor / self.unit)).round().to(torch.int64)

    def _read(self, columns: slice) -> None:
        self.state[:, columns].copy_(self.whole[:, columns].double() * self.unit)
