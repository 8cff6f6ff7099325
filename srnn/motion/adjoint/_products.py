"""How matrices are multiplied: in the states' own precision, or in a lower one."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Products"]


@dataclass(frozen=True)
class Products:
    """Products of matrices, their factors rounded to `dtype` first where one is given.

    Sums, elementwise functions, states and weights keep their own precision.
    """

    dtype: torch.dtype | None = None

    def factor(self, matrix: Tensor) -> Tensor:
        """Prepare a factor that is used again and again."""
        return matrix if self.dtype is None else matrix.to(self.dtype)

    def write(self, a: Tensor, b: Tensor, out: Tensor, scale: float = 1.0) -> None:
        """Write scale a b to `out`."""
        if self.dtype is not None:
            out.copy_(torch.mm(a.to(self.dtype), b.to(self.dtype))).mul_(scale)
        elif scale == 1:
            torch.mm(a, b, out=out)
        else:
            torch.addmm(out, a, b, beta=0, alpha=scale, out=out)

    def add(self, a: Tensor, b: Tensor, out: Tensor, scale: float = 1.0) -> None:
        """Add scale a b to `out`."""
        if self.dtype is None:
            out.addmm_(a, b, alpha=scale)
        else:
            out.add_(torch.mm(a.to(self.dtype), b.to(self.dtype)), alpha=scale)
