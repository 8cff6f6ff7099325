r"""The gradient of a scalar network in its input, and the adjoint of that gradient.

With :math:`\sigma` the logistic function, :math:`\tanh u = 2\sigma(2u) - 1`, so a network of tanh
units is one of logistic units with other weights: :math:`\hat W_1 = 2 W_1`, :math:`\hat b_1 = 2
b_1`, further on :math:`\hat W_l = 4 W_l`, :math:`\hat b_l = 2 b_l - 2 W_l \mathbf 1`, and a last
row :math:`\hat w = 2 w`.  On a processor the logistic function takes a fraction of the time of
tanh, and its derivative :math:`m = \sigma - \sigma^2` needs no other function.

The gradient, with :math:`\hat C = \operatorname{diag}(\hat w)\,\hat W_L`:

.. math:: v_{L-1} = \hat C^\top m_L, \quad r_l = v_l \odot m_l, \quad
          v_{l-1} = \hat W_l^\top r_l, \quad f'(x) = v_0.

Its adjoint takes a cotangent :math:`\lambda_0` of :math:`f'(x)` to one of x.  It first goes up
through the gradient's lines, :math:`\rho_l = \hat W_l \lambda_{l-1}`, :math:`\lambda_l = \rho_l
\odot m_l`, :math:`\kappa_l = \rho_l \odot v_l` (the cotangent of :math:`m_l`), and then down
through the network's, :math:`\delta_l = (\tau_l + \kappa_l \odot (1 - 2\sigma_l)) \odot m_l`,
:math:`\tau_{l-1} = \hat W_l^\top \delta_l`.  The weights' cotangents are sums of products of these.

Arrays have features first, (features, trajectories): the products of a wide layer with few
trajectories are faster so, and the sums for the weights can be taken at once, while their factors
are in the cache.  The input has a last row of ones, which stands for the first layer's bias.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from srnn.adjoint._products import Products

__all__ = ["ScalarKernel", "slope"]

slope = torch.ops.aten.sigmoid_backward.grad_input  # (g, sigma) to g sigma (1 - sigma)


class ScalarKernel:
    """A network's gradient and its adjoint, for weights that do not change meanwhile.

    Parameters
    ----------
    weights : sequence of Tensor
        W_1, b_1, ..., W_L, b_L, then the last layer's row (1, h_L); then, with a quadratic form,
        its matrix and its vector.
    quadratic : bool
    products : Products
    """

    def __init__(self, weights: Sequence[Tensor], quadratic: bool, products: Products) -> None:
        weights = [w.detach() for w in weights]
        form = weights[-2:] if quadratic else []
        network = weights[: len(weights) - len(form)]
        matrices, biases = network[0:-1:2], network[1:-1:2]
        self.products = products
        self.depth = len(matrices)
        self.widths = [len(w) for w in matrices]
        self.inputs = self.outputs = matrices[0].shape[1]
        hats = [(2 if k == 0 else 4) * w for k, w in enumerate(matrices)]
        self.row = 2 * network[-1][0]
        self.top = hats[-1]
        last = self.row[:, None] * self.top  # C of the module's text
        self.first = products.left(torch.cat((hats[0], 2 * biases[0][:, None]), dim=1))
        self.biases = [(2 * (b - w.sum(1)))[:, None] for w, b in zip(matrices, biases, strict=True)]
        # In the gradient's lines C stands in for the last matrix.
        self.up = [products.left(w) for w in (*hats[:-1], last)]
        self.down = [products.left(w.T) for w in hats]
        self.forward = [None, *(products.left(w) for w in hats[1:])]
        self.last = products.left(last.T)
        self.form: Tensor | None = None
        if form:
            symmetric = (form[0] + form[0].T) / 2
            self.form = torch.cat((symmetric, form[1][:, None]), dim=1)

    def kept(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of what one evaluation leaves for its adjoint: all sigma_l, and v_l for l < L."""
        return [(n, rows) for n in (*self.widths, *self.widths[:-1])]

    def work(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of intermediate numbers, three for each layer."""
        return [(n, rows) for n in (*self.widths, *self.widths, *self.widths)]

    def activate(self, x: Tensor, kept: list[Tensor], work: list[Tensor]) -> None:
        """Evaluate at `x`, shape (inputs + 1, trajectories), all that the adjoint needs."""
        depth = self.depth
        self.products.write(self.first, x, kept[0])
        torch.sigmoid(kept[0], out=kept[0])
        for k in range(1, depth):
            s = kept[k]
            self.products.write(self.forward[k], kept[k - 1], s)
            s += self.biases[k]
            torch.sigmoid(s, out=s)
        for k in reversed(range(1, depth)):
            self._below(k, kept, work, kept[depth + k - 1])

    def _below(self, k: int, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write v below the layer with index `k`, from v above it."""
        s = kept[k]
        if k == self.depth - 1:
            torch.addcmul(s, s, s, value=-1, out=work[k])
            self.products.write(self.last, work[k], out)
        else:
            slope(kept[self.depth + k], s, grad_input=work[k])
            self.products.write(self.down[k], work[k], out)

    def value(self, x: Tensor, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write the gradient at `x`, after `activate`."""
        self._below(0, kept, work, out)
        if self.form is not None:
            out.addmm_(self.form, x)

    def sums(self) -> list[Tensor]:
        """Begin the sums that `adjoint` adds to: of the matrices, of C, of biases, of the form."""
        sizes = [self.inputs, *self.widths]
        shapes: list[tuple[int, ...]] = [(self.inputs + 1, self.widths[0])]
        shapes += [(sizes[k], n) for k, n in enumerate(self.widths) if k]
        shapes += [(sizes[self.depth - 1], self.widths[-1])]
        shapes += [(n,) for n in self.widths[1:]]
        if self.form is not None:
            shapes.append((self.inputs + 1, self.inputs))
        return [self.row.new_zeros(shape) for shape in shapes]

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
        depth, products = self.depth, self.products
        # Up through the lines of the gradient.
        up = cotangent
        for k in range(depth):
            s, rho, last = kept[k], work[k], k == depth - 1
            products.write(self.up[k], up, rho)
            if sums is not None:
                factor = work[2 * depth + k]
                if last:
                    torch.addcmul(s, s, s, value=-1, out=factor)
                    products.add(up, factor.T, sums[depth])
                else:
                    slope(kept[depth + k], s, grad_input=factor)
                    products.add(up, factor.T, sums[k][: len(up)])
            if not last:
                up = work[depth + k]
                slope(rho, s, grad_input=up)
                rho *= kept[depth + k]
        # Down through the lines of the network.
        for k in reversed(range(depth)):
            s, kappa = kept[k], work[k]
            if k == depth - 1:
                torch.addcmul(kappa, kappa, s, value=-2, out=kappa)
            else:
                tau = work[depth + k]
                products.write(self.down[k + 1], kappa_above, tau)
                tau += kappa
                torch.addcmul(tau, kappa, s, value=-2, out=kappa)
            slope(kappa, s, grad_input=kappa)
            if sums is not None:
                products.add(kept[k - 1] if k else x, kappa.T, sums[k])
                if k:
                    sums[depth + k] += kappa.sum(dim=1)
            kappa_above = kappa
        products.add(self.down[0], kappa, into)
        if self.form is not None:
            into.addmm_(self.form[:, :-1], cotangent)
            if sums is not None:
                sums[-1].addmm_(x, cotangent.T)

    def weight_gradients(self, sums: list[Tensor]) -> list[Tensor]:
        """Turn the sums of products into gradients, in the order of the weights."""
        depth = self.depth
        last = sums[depth].T  # of C
        gradients = []
        for k in range(depth):
            matrix = sums[k].T
            matrix, bias = (matrix[:, :-1], matrix[:, -1]) if k == 0 else (matrix, sums[depth + k])
            if k == depth - 1:
                matrix = torch.addcmul(matrix, self.row[:, None], last)
            if k:
                gradients += [4 * matrix - 2 * bias[:, None], 2 * bias]
            else:
                gradients += [2 * matrix, 2 * bias]
        gradients.append(2 * (last * self.top).sum(dim=1)[None])
        if self.form is not None:
            product = sums[-1][:-1]
            gradients += [(product + product.T) / 2, sums[-1][-1]]
        return gradients
