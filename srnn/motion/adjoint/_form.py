"""The gradient of a quadratic form and its adjoint."""

import torch
from torch import Tensor

__all__ = ["Form"]


class Form:
    """The gradient A x + b of a quadratic form, added to that of a network.

    Parameters
    ----------
    matrix : Tensor, shape (inputs, inputs)
        A is its symmetric part.
    vector : Tensor, shape (inputs,)
        b.
    """

    def __init__(self, matrix: Tensor, vector: Tensor) -> None:
        self.matrix = torch.cat(((matrix + matrix.T) / 2, vector[:, None]), dim=1)

    def sum(self) -> Tensor:
        """Begin the sum that `adjoint` adds to."""
        return torch.zeros_like(self.matrix.T, memory_format=torch.contiguous_format)

    def value(self, x: Tensor, out: Tensor) -> None:
        """Add the gradient at `x`, shape (inputs + 1, trajectories), last row ones, to `out`."""
        out.addmm_(self.matrix, x)

    def adjoint(self, x: Tensor, cotangent: Tensor, into: Tensor, total: Tensor | None) -> None:
        """Add the cotangent of `x` to `into`, and that of matrix and vector to `total`."""
        into.addmm_(self.matrix[:, :-1], cotangent)
        if total is not None:
            total.addmm_(x, cotangent.T)

    @staticmethod
    def gradients(total: Tensor) -> list[Tensor]:
        """Turn the sum into the gradients of matrix and vector."""
        product = total[:-1]
        return [(product + product.T) / 2, total[-1]]
