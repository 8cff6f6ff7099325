r"""The gradient of a scalar network in its input, and the adjoint of that gradient.

With :math:`\sigma` the logistic function, :math:`\tanh u = 2\sigma(2u) - 1`, so a network of tanh
units is one of logistic units with other weights: :math:`\hat W_1 = 2 W_1`, :math:`\hat b_1 = 2
b_1`, further on :math:`\hat W_l = 4 W_l`, :math:`\hat b_l = 2 b_l - 2 W_l \mathbf 1`, and a last
row :math:`\hat w = 2 w`.  On a processor the logistic function takes a fraction of the time of tanh,
and its derivative :math:`m = \sigma - \sigma^2` needs no other function.

The gradient, with :math:`\hat C = \operatorname{diag}(\hat w)\,\hat W_L`:

.. math:: v_{L-1} = m_L \hat C, \quad r_l = v_l \odot m_l, \quad v_{l-1} = r_l \hat W_l,
          \quad f'(x) = v_0.

Its adjoint takes a cotangent :math:`\lambda_0` of :math:`f'(x)` to one of x.  It first goes up
through the gradient's lines, :math:`\rho_l = \lambda_{l-1} \hat W_l^\top`, :math:`\lambda_l =
\rho_l \odot m_l`, :math:`\kappa_l = \rho_l \odot v_l` (the cotangent of :math:`m_l`), and then down
through the network's, :math:`\delta_l = (\tau_l + \kappa_l \odot (1 - 2\sigma_l)) \odot m_l`,
:math:`\tau_{l-1} = \delta_l \hat W_l`.  The weights' cotangents are sums of products of these.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from srnn.adjoint._gather import Gather, Pair
from srnn.adjoint._products import Products

__all__ = ["ScalarKernel"]

_slope = torch.ops.aten.sigmoid_backward.grad_input


class ScalarKernel:
    """A network's gradient and its adjoint, for weights that do not change meanwhile.

    Parameters
    ----------
    weights : sequence of Tensor
        W_1, b_1, ..., W_L, b_L, then the last layer's row (1, h_L); then, with a quadratic form,
        its matrix and its vector.
    quadratic : bool
    products : Products
        How matrices are multiplied.
    """

    def __init__(self, weights: Sequence[Tensor], quadratic: bool, products: Products) -> None:
        weights = [w.detach() for w in weights]
        form = weights[-2:] if quadratic else []
        network = weights[: len(weights) - len(form)]
        first, rest = network[:2], network[2:-1]
        self.depth = len(network) // 2
        self.widths = [len(w) for w in network[0:-1:2]]
        self.inputs = self.outputs = first[0].shape[1]
        self.matrices = [2 * first[0], *(4 * w for w in rest[0::2])]
        self.biases = [2 * first[1]]
        for w, b in zip(rest[0::2], rest[1::2], strict=True):
            self.biases.append(2 * (b - w.sum(dim=1)))
        self.row = 2 * network[-1][0]
        self.last = self.row[:, None] * self.matrices[-1]  # C of the module's text
        self.form: tuple[Tensor, Tensor] | None = None
        if form:
            self.form = ((form[0] + form[0].T) / 2, form[1])
        self.mm, self.addmm = products.mm, products.addmm
        self._up = [products.right(w.T) for w in self.matrices]
        self._down = [products.right(w) for w in self.matrices]
        self._last, self._last_up = products.right(self.last), products.right(self.last.T)

    # -- sizes --------------------------------------------------------------------------------

    def kept(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of what one evaluation leaves for its adjoint: all sigma_l, and v_l for l < L."""
        return [(rows, n) for n in (*self.widths, *self.widths[:-1])]

    def work(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of intermediate numbers: two for each layer."""
        return [(rows, n) for n in (*self.widths, *self.widths)]

    @property
    def pairs(self) -> list[Pair]:
        """Factors of the weights' gradients: of r_l or m_L and lambda, then of delta_l and input.

        The sums 0 ... L-1 are those of the matrices, sum L that of C.
        """
        sizes = [self.inputs, *self.widths[:-1]]
        top = self.depth
        up = [
            Pair(n, w, k if k < top - 1 else top)
            for k, (n, w) in enumerate(zip(sizes, self.widths, strict=True))
        ]
        down = [
            Pair(n, w, k, total=True) for k, (n, w) in enumerate(zip(sizes, self.widths, strict=True))
        ]
        form = [] if self.form is None else [Pair(self.inputs, self.inputs, top + 1, total=True)]
        return up + down + form

    # -- arithmetic ---------------------------------------------------------------------------

    def activate(self, x: Tensor, kept: list[Tensor], work: list[Tensor]) -> None:
        """Evaluate at `x` all that the adjoint needs."""
        depth = self.depth
        for level in range(depth):
            s = kept[level]
            self.addmm(self.biases[level], x, self._up[level], out=s)
            torch.sigmoid(s, out=s)
            x = s
        for level in reversed(range(1, depth)):
            v = kept[depth + level - 1]
            self._gradient_at(level + 1, kept, work, v)

    def _gradient_at(self, level: int, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write v below layer `level`, from v above it."""
        k, s = level - 1, kept[level - 1]
        if level == self.depth:
            torch.addcmul(s, s, s, value=-1, out=work[k])
            self.mm(work[k], self._last, out=out)
        else:
            _slope(kept[self.depth + k], s, grad_input=work[k])
            self.mm(work[k], self._down[k], out=out)

    def value(self, x: Tensor, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write the gradient at `x`, after `activate`."""
        self._gradient_at(1, kept, work, out)
        if self.form is not None:
            out.addmm_(x, self.form[0]).add_(self.form[1])

    def adjoint(
        self,
        x: Tensor,
        cotangent: Tensor,
        kept: list[Tensor],
        work: list[Tensor],
        into: Tensor,
        gather: Gather | None,
    ) -> None:
        """Add the cotangent of `x` to `into`, and gather the weights'.

        `into` may be a view of the memory of `x`'s cotangent; `cotangent` is not written to.
        """
        depth = self.depth
        if gather is not None:
            narrow, tall = gather.slots
        # Up through the lines of the gradient.
        up = cotangent
        for k in range(depth):
            s, rho = kept[k], work[k]
            last = k == depth - 1
            self.mm(up, self._last_up if last else self._up[k], out=rho)
            if gather is not None:
                narrow[k].copy_(up)
                if last:
                    torch.addcmul(s, s, s, value=-1, out=tall[k])
                else:
                    _slope(kept[depth + k], s, grad_input=tall[k])
            if not last:
                up = work[depth + k]
                _slope(rho, s, grad_input=up)
                rho.mul_(kept[depth + k])
        # Down through the lines of the network.
        for k in reversed(range(depth)):
            s, kappa = kept[k], work[k]
            if k == depth - 1:
                torch.addcmul(kappa, kappa, s, value=-2, out=kappa)
            else:
                tau = work[depth + k]
                self.mm(delta, self._down[k + 1], out=tau)
                tau.add_(kappa)
                torch.addcmul(tau, kappa, s, value=-2, out=kappa)
            delta = kappa if gather is None else tall[depth + k]
            _slope(kappa, s, grad_input=delta)
            if gather is not None:
                narrow[depth + k].copy_(kept[k - 1] if k else x)
        self.addmm(into, delta, self._down[0], out=into)
        if self.form is not None:
            into.addmm_(cotangent, self.form[0])
            if gather is not None:
                narrow[-1].copy_(x)
                tall[-1].copy_(cotangent)
        if gather is not None:
            gather.add()

    def weight_gradients(self, sums: list[Tensor]) -> list[Tensor]:
        """Turn the sums of products into gradients, in the order of the weights."""
        depth = self.depth
        last = sums[depth].T  # of C
        gradients = []
        for k in range(depth):
            matrix, bias = sums[k][:-1].T, sums[k][-1]
            if k == depth - 1:
                matrix = matrix + self.row[:, None] * last
            gradients += [2 * matrix if k == 0 else 4 * matrix - 2 * bias[:, None], 2 * bias]
        gradients.append(2 * (last * self.matrices[-1]).sum(dim=1)[None])
        if self.form is not None:
            product = sums[depth + 1][:-1]
            gradients += [(product + product.T) / 2, sums[depth + 1][-1]]
        return gradients

    def plain(self, x: Tensor, weights: Sequence[Any]) -> Tensor:
        raise NotImplementedError
