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

    def left(self, matrix: Tensor) -> Tensor:
        """Prepare a left factor that is used again and again."""
        return matrix.contiguous() if self.dtype is None else matrix.to(self.dtype).contiguous()

    def write(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """Write a b to `out`."""
        if self.dtype is None:
            torch.mm(a, b, out=out)
        else:
            out.copy_(torch.mm(a.to(self.dtype), b.to(self.dtype)))

    def add(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """Add a b to `out`."""
        if self.dtype is None:
            out.addmm_(a, b)
        else:
            out.add_(torch.mm(a.to(self.dtype), b.to(self.dtype)))
