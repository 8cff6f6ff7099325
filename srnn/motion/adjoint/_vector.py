r"""The value of a network with several outputs, an O-NET, and its adjoint.

As in :mod:`srnn.adjoint._kernels` the tanh units become logistic ones: the network is
:math:`f(x) = \hat W \sigma_L + \hat b`, with :math:`\hat W = 2 W` and :math:`\hat b = b - W
\mathbf 1` in the last layer.  A kick needs only the outputs for dp/dt and a drift those for dq/dt:
a kernel computes a slice of the outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["VectorKernel", "slope"]

slope = torch.ops.aten.sigmoid_backward.grad_input  # (g, sigma) to g sigma (1 - sigma)


class VectorKernel:
    """Some outputs of a network and their adjoint, for weights that do not change meanwhile.

    Parameters
    ----------
    weights : sequence of Tensor
        W_1, b_1, ..., W_L, b_L, and W and b of the last layer.
    outputs : slice
        Which outputs.
    """

    def __init__(self, weights: Sequence[Tensor], outputs: slice) -> None:
        weights = [w.detach() for w in weights]
        matrices, biases = weights[0::2], weights[1::2]
        self.depth = len(matrices) - 1
        self.widths = [len(w) for w in matrices[:-1]]
        self.inputs, self.every = matrices[0].shape[1], len(matrices[-1])
        self.chosen = outputs
        hats = [(2 if k == 0 else 4) * w for k, w in enumerate(matrices[:-1])]
        self.forward = [torch.cat((hats[0], 2 * biases[0][:, None]), dim=1), *hats[1:]]
        self.biases = [(2 * (b - w.sum(1)))[:, None] for w, b in zip(matrices, biases, strict=True)]
        self.down = [w.T for w in hats]
        last = matrices[-1][outputs]
        self.outputs = len(last)
        self.bias = (biases[-1][outputs] - last.sum(dim=1))[:, None]
        self.last, self.last_down = 2 * last, 2 * last.T

    def kept(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of what one evaluation leaves for its adjoint: all sigma_l."""
        return [(n, rows) for n in self.widths]

    def work(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of intermediate numbers."""
        return [(n, rows) for n in self.widths]

    def activate(self, x: Tensor, kept: list[Tensor], work: list[Tensor]) -> None:
        """Evaluate at `x`, shape (inputs + 1, trajectories), all that the adjoint needs."""
        torch.mm(self.forward[0], x, out=kept[0])
        torch.sigmoid(kept[0], out=kept[0])
        for k in range(1, self.depth):
            torch.mm(self.forward[k], kept[k - 1], out=kept[k])
            kept[k] += self.biases[k]
            torch.sigmoid(kept[k], out=kept[k])

    def value(self, x: Tensor, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write the outputs at `x`, after `activate`."""
        torch.mm(self.last, kept[-1], out=out)
        out += self.bias

    def sums(self) -> list[Tensor]:
        """Begin the sums that `adjoint` adds to: of the matrices, then of biases."""
        sizes = [self.inputs + 1, *self.widths]
        shapes: list[tuple[int, ...]] = [(sizes[k], n) for k, n in enumerate(self.widths)]
        shapes += [(self.every, self.widths[-1])]
        shapes += [(n,) for n in (*self.widths[1:], self.every)]
        return [self.bias.new_zeros(shape) for shape in shapes]

    def adjoint(
        self,
        x: Tensor,
        cotangent: Tensor,
        kept: list[Tensor],
        work: list[Tensor],
        into: Tensor,
        sums: list[Tensor] | None,
    ) -> None:
        """Add the cotangent of `x` to `into`, and those of the weights to `sums`."""
        depth = self.depth
        if sums is not None:
            sums[depth][self.chosen].addmm_(cotangent, kept[-1].T)
            sums[-1][self.chosen] += cotangent.sum(dim=1)
        for k in reversed(range(depth)):
            delta = work[k]
            above = (
                (self.last_down, cotangent) if k == depth - 1 else (self.down[k + 1], work[k + 1])
            )
            torch.mm(*above, out=delta)
            slope(delta, kept[k], grad_input=delta)
            if sums is not None:
                sums[k].addmm_(kept[k - 1] if k else x, delta.T)
                if k:
                    sums[depth + k] += delta.sum(dim=1)
        into.addmm_(self.down[0], work[0])

    def weight_gradients(self, sums: list[Tensor]) -> list[Tensor]:
        """Turn the sums of products into gradients, in the order of the weights."""
        depth = self.depth
        first = sums[0].T
        gradients = [2 * first[:, :-1], 2 * first[:, -1]]
        for k in range(1, depth):
            bias = sums[depth + k]
            gradients += [4 * sums[k].T - 2 * bias[:, None], 2 * bias]
        return [*gradients, 2 * sums[depth] - sums[-1][:, None], sums[-1]]
