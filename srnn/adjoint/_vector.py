r"""The value of a network with several outputs, an O-NET, and its adjoint.

As in :mod:`srnn.adjoint._scalar` the tanh units become logistic ones: the network is
:math:`f(x) = \hat W \sigma_L + \hat b`, with :math:`\hat W = 2 W` and :math:`\hat b = b - W
\mathbf 1` in the last layer.  A kick needs only the outputs for dp/dt and a drift those for dq/dt:
a kernel computes a slice of the outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from srnn.adjoint._gather import Gather, Pair
from srnn.adjoint._products import Products

__all__ = ["VectorKernel"]

_slope = torch.ops.aten.sigmoid_backward.grad_input


class VectorKernel:
    """Some outputs of a network and their adjoint, for weights that do not change meanwhile.

    Parameters
    ----------
    weights : sequence of Tensor
        W_1, b_1, ..., W_L, b_L, and W and b of the last layer.
    outputs : slice
        Which outputs.
    products : Products
    """

    def __init__(self, weights: Sequence[Tensor], outputs: slice, products: Products) -> None:
        weights = [w.detach() for w in weights]
        matrices, biases = weights[0::2], weights[1::2]
        self.depth = len(matrices) - 1
        self.widths = [len(w) for w in matrices[:-1]]
        self.inputs, self.every = matrices[0].shape[1], len(matrices[-1])
        self.chosen = outputs
        self.matrices = [2 * matrices[0], *(4 * w for w in matrices[1:-1])]
        self.biases = [2 * biases[0]]
        for w, b in zip(matrices[1:-1], biases[1:-1], strict=True):
            self.biases.append(2 * (b - w.sum(dim=1)))
        last, self.bias = matrices[-1][outputs], biases[-1][outputs] - matrices[-1][outputs].sum(1)
        self.outputs = len(last)
        self.mm, self.addmm = products.mm, products.addmm
        self._up = [products.right(w.T) for w in self.matrices]
        self._down = [products.right(w) for w in self.matrices]
        self._last, self._last_up = products.right(2 * last), products.right(2 * last.T)

    def kept(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of what one evaluation leaves for its adjoint: all sigma_l."""
        return [(rows, n) for n in self.widths]

    def work(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of intermediate numbers."""
        return [(rows, n) for n in self.widths]

    @property
    def pairs(self) -> list[Pair]:
        """Factors of the weights' gradients: delta_l and input; the cotangent and sigma_L."""
        sizes = [self.inputs, *self.widths[:-1]]
        down = [
            Pair(n, w, k, total=True) for k, (n, w) in enumerate(zip(sizes, self.widths, strict=True))
        ]
        # The last layer's bias has a factor of nothing but ones.
        top = self.depth
        return [
            *down,
            Pair(self.every, self.widths[-1], top),
            Pair(0, self.every, top + 1, total=True),
        ]

    def activate(self, x: Tensor, kept: list[Tensor], work: list[Tensor]) -> None:
        """Evaluate at `x` all that the adjoint needs."""
        for s, bias, matrix in zip(kept, self.biases, self._up, strict=True):
            self.addmm(bias, x, matrix, out=s)
            torch.sigmoid(s, out=s)
            x = s

    def value(self, x: Tensor, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write the outputs at `x`, after `activate`."""
        self.addmm(self.bias, kept[-1], self._last_up, out=out)

    def adjoint(
        self,
        x: Tensor,
        cotangent: Tensor,
        kept: list[Tensor],
        work: list[Tensor],
        into: Tensor,
        gather: Gather | None,
    ) -> None:
        """Add the cotangent of `x` to `into`, and gather the weights'."""
        if gather is not None:
            narrow, tall = gather.slots
            if self.outputs < self.every:
                tall[-1].zero_()
            tall[-1][:, self.chosen].copy_(cotangent)
            narrow[-2].copy_(tall[-1])
            tall[-2].copy_(kept[-1])
        for k in reversed(range(self.depth)):
            s = kept[k]
            if k == self.depth - 1:
                self.mm(cotangent, self._last, out=work[k])
            else:
                self.mm(delta, self._down[k + 1], out=work[k])
            delta = work[k] if gather is None else tall[k]
            _slope(work[k], s, grad_input=delta)
            if gather is not None:
                narrow[k].copy_(kept[k - 1] if k else x)
        self.addmm(into, delta, self._down[0], out=into)
        if gather is not None:
            gather.add()

    def weight_gradients(self, sums: list[Tensor]) -> list[Tensor]:
        """Turn the sums of products into gradients, in the order of the weights."""
        gradients = []
        for k, total in enumerate(sums[: self.depth]):
            matrix, bias = total[:-1].T, total[-1]
            gradients += [2 * matrix if k == 0 else 4 * matrix - 2 * bias[:, None], 2 * bias]
        matrix, bias = sums[-2], sums[-1][0]
        return [*gradients, 2 * matrix - bias[:, None], bias]
