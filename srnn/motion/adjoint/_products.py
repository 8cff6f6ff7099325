"""Products of matrices into memory that is there already."""

import torch
from torch import Tensor

__all__ = ["add", "write"]


def write(a: Tensor, b: Tensor, out: Tensor, scale: float = 1.0) -> None:
    """Write scale a b to `out`."""
    if scale == 1:
        torch.mm(a, b, out=out)
    else:
        torch.addmm(out, a, b, beta=0, alpha=scale, out=out)


def add(a: Tensor, b: Tensor, out: Tensor, scale: float = 1.0) -> None:
    """Add scale a b to `out`."""
    out.addmm_(a, b, alpha=scale)
