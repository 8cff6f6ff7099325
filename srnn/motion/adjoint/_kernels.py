r"""The kernels: the gradient of a scalar network in its input, and the adjoint of that gradient.

With :math:`\sigma` the logistic function, :math:`\tanh u = 2\sigma(2u) - 1`, so a network of tanh
units is one of logistic units with other weights: :math:`\hat W_1 = 2 W_1`, :math:`\hat b_1 = 2
b_1`, further on :math:`\hat W_l = 4 W_l`, :math:`\hat b_l = 2 b_l - 2 W_l \mathbf 1`, and a last
row :math:`\hat w = 2 w`.  On a processor the logistic function takes a fraction of the time of
tanh, and its derivative :math:`m = \sigma - \sigma^2` needs no other function.

The gradient, with :math:`v_L = \hat w`:

.. math:: r_l = v_l \odot m_l, \qquad v_{l-1} = \hat W_l^\top r_l, \qquad f'(x) = v_0.

Its adjoint takes a cotangent :math:`\lambda_0` of :math:`f'(x)` to one of x.  It first goes up
through the gradient's lines, :math:`\rho_l = \hat W_l \lambda_{l-1}`, :math:`\lambda_l = \rho_l
\odot m_l`, :math:`\kappa_l = \rho_l \odot v_l` (the cotangent of :math:`m_l`), and then down
through the network's, :math:`\delta_l = (\tau_l + \kappa_l \odot (1 - 2\sigma_l)) \odot m_l`,
:math:`\tau_{l-1} = \hat W_l^\top \delta_l`.  The weights' cotangents are sums of products of these,
:math:`r_l \lambda_{l-1}^\top + \delta_l \sigma_{l-1}^\top`, with :math:`\sigma_0 = x`.  They are
taken at once, while the factors are in the cache.

There are two kernels.  A wide layer with few inputs is multiplied faster with features first,
(features, trajectories); between hidden layers one copy of the weights serves all products if
trajectories come first.  Inputs, outputs and cotangents have features first in both, and an input
has a last row of ones, which stands for the first layer's bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from srnn.motion.adjoint._vector import VectorKernel, slope
from srnn.nn import MLP, HNet, ONet
from srnn.nn.hnet import QuadraticForm, _ScalarNet
from srnn.nn.mlp import input_gradient

__all__ = ["BOTH", "FORCE", "VELOCITY", "Kernel", "Network", "Rate", "differentiated"]

VELOCITY, FORCE, BOTH = 0, 1, 2


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


def quadratic_part(weights: Sequence[Tensor]) -> list[Tensor]:
    """Matrix and vector of the form, if there is one: a network alone ends with a row."""
    return list(weights[-2:]) if weights[-1].ndim == 1 else []


def scalar_kernel(weights: Sequence[Tensor]) -> "ShallowKernel | DeepKernel":
    """Make a network's kernel, for weights that do not change meanwhile.

    Parameters
    ----------
    weights : sequence of Tensor
        W_1, b_1, ..., W_L, b_L, then the last layer's row (1, h_L); then, with a quadratic form,
        its matrix and its vector.
    """
    weights = [w.detach() for w in weights]
    parts = quadratic_part(weights)
    form = Form(*parts) if parts else None
    network = weights[: len(weights) - len(parts)]
    matrices, biases, row = network[0:-1:2], network[1:-1:2], 2 * network[-1][0]
    if len(matrices) == 1:
        return ShallowKernel(matrices[0], biases[0], row, form)
    return DeepKernel(matrices, biases, row, form)


class ShallowKernel:
    """Of one hidden layer; arrays have features first."""

    def __init__(self, matrix: Tensor, bias: Tensor, row: Tensor, form: Form | None) -> None:
        self.form, self.row = form, row
        self.width, self.inputs = matrix.shape
        self.outputs = self.inputs
        self.first = torch.cat((2 * matrix, 2 * bias[:, None]), dim=1)
        self.hat = self.first[:, :-1]
        # The row goes into the matrix, so that m is multiplied by nothing else.
        self.last = row[:, None] * self.hat
        self.down, self.last_down = self.hat.T, self.last.T

    def kept(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of what one evaluation leaves for its adjoint: sigma and m."""
        return [(self.width, rows), (self.width, rows)]

    def work(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of intermediate numbers; `work` then holds them, and their transposes."""
        return [(self.width, rows)]

    def activate(self, x: Tensor, kept: list[Tensor], work: list[Tensor]) -> None:
        """Evaluate at `x`, shape (inputs + 1, trajectories), all that the adjoint needs."""
        s, m = kept
        torch.mm(self.first, x, out=s)
        torch.sigmoid(s, out=s)
        torch.addcmul(s, s, s, value=-1, out=m)

    def value(self, x: Tensor, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write the gradient at `x`, after `activate`."""
        torch.mm(self.last_down, kept[1], out=out)
        if self.form is not None:
            self.form.value(x, out)

    def sums(self) -> list[Tensor]:
        """Begin the sums that `adjoint` adds to: of W_1 and b_1, of the row times W_1."""
        sums = [self.row.new_zeros(n, self.width) for n in (self.inputs + 1, self.inputs)]
        return sums if self.form is None else [*sums, self.form.sum()]

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
        s, m = kept
        delta, delta_rows = work
        if sums is not None:
            sums[1].addmm_(cotangent, m.T)
        torch.mm(self.last, cotangent, out=delta)
        torch.addcmul(delta, delta, s, value=-2, out=delta)
        delta.mul_(m)
        if sums is not None:
            sums[0].addmm_(x, delta_rows)
        into.addmm_(self.down, delta)
        if self.form is not None:
            self.form.adjoint(x, cotangent, into, None if sums is None else sums[2])

    def weight_gradients(self, sums: list[Tensor]) -> list[Tensor]:
        """Turn the sums into gradients, in the order of the weights."""
        first, last = sums[0].mul_(2), sums[1].T
        row = 2 * (last * self.hat).sum(dim=1)
        matrix = torch.addcmul(first[:-1].T, 2 * self.row[:, None], last)
        gradients = [matrix, first[-1], row[None]]
        return gradients if self.form is None else gradients + self.form.gradients(sums[2])


class DeepKernel:
    """Of several hidden layers; arrays have trajectories first."""

    def __init__(
        self, matrices: Sequence[Tensor], biases: Sequence[Tensor], row: Tensor, form: Form | None
    ) -> None:
        self.form, self.row = form, row
        self.depth = len(matrices)
        self.widths = [len(w) for w in matrices]
        self.inputs = self.outputs = matrices[0].shape[1]
        self.first = torch.cat((2 * matrices[0], 2 * biases[0][:, None]), dim=1)
        self.matrices = [self.first[:, :-1], *matrices[1:]]
        self.biases = [2 * (b - w.sum(dim=1)) for w, b in zip(matrices, biases, strict=True)]

    def kept(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of what one evaluation leaves for its adjoint: all sigma_l, and v_l for l < L."""
        return [(rows, n) for n in (*self.widths, *self.widths[:-1])]

    def work(self, rows: int) -> list[tuple[int, ...]]:
        """Shapes of intermediate numbers, three for each layer."""
        return [(rows, n) for n in 3 * self.widths]

    def activate(self, x: Tensor, kept: list[Tensor], work: list[Tensor]) -> None:
        """Evaluate at `x`, shape (inputs + 1, trajectories), all that the adjoint needs."""
        depth = self.depth
        torch.mm(x.T, self.first.T, out=kept[0])
        torch.sigmoid(kept[0], out=kept[0])
        for k in range(1, depth):
            s = kept[k]
            s.copy_(self.biases[k].expand_as(s))
            s.addmm_(kept[k - 1], self.matrices[k].T, alpha=4)
            torch.sigmoid(s, out=s)
        for k in reversed(range(1, depth)):
            self._below(k, kept, work, kept[depth + k - 1])

    @staticmethod
    def _product(a: Tensor, b: Tensor, k: int, out: Tensor) -> None:
        """Write a b, of the matrix with index `k`; further ones are as they were, 4 times less."""
        if k == 0:
            torch.mm(a, b, out=out)
        else:
            torch.addmm(out, a, b, beta=0, alpha=4.0, out=out)

    def _gated(self, k: int, kept: list[Tensor], out: Tensor) -> None:
        """Write r of the layer with index `k`."""
        s = kept[k]
        above = self.row.expand_as(s) if k == self.depth - 1 else kept[self.depth + k]
        slope(above, s, grad_input=out)

    def _below(self, k: int, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write v below the layer with index `k`, from v above it."""
        self._gated(k, kept, work[k])
        self._product(work[k], self.matrices[k], k, out)

    def value(self, x: Tensor, kept: list[Tensor], work: list[Tensor], out: Tensor) -> None:
        """Write the gradient at `x`, after `activate`."""
        self._gated(0, kept, work[0])
        torch.mm(self.matrices[0].T, work[0].T, out=out)
        if self.form is not None:
            self.form.value(x, out)

    def sums(self) -> list[Tensor]:
        """Begin the sums that `adjoint` adds to.

        They are those of W_1 and b_1, of the other matrices, of the row, of the other biases, and
        of the form.
        """
        sums = [self.row.new_zeros(self.inputs + 1, self.widths[0])]
        sums += [torch.zeros_like(w) for w in self.matrices[1:]]
        sums += [torch.zeros_like(self.row)]
        sums += [torch.zeros_like(b) for b in self.biases[1:]]
        return sums if self.form is None else [*sums, self.form.sum()]

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
        # Up through the lines of the gradient.
        up = cotangent.T
        for k in range(depth):
            s, rho, spare = kept[k], work[k], work[2 * depth + k]
            self._product(up, self.matrices[k].T, k, rho)
            if sums is not None:
                self._gated(k, kept, spare)
                if k == 0:
                    sums[0][:-1].addmm_(cotangent, spare)
                else:
                    sums[k].addmm_(spare.T, up, alpha=4)
            if k < depth - 1:
                up = work[depth + k]
                slope(rho, s, grad_input=up)
                rho *= kept[depth + k]
            else:
                if sums is not None:
                    slope(rho, s, grad_input=spare)
                    sums[depth] += spare.sum(dim=0)
                rho *= self.row
        # Down through the lines of the network.
        delta = work[depth - 1]
        for k in reversed(range(depth)):
            s, kappa = kept[k], work[k]
            if k == depth - 1:
                torch.addcmul(kappa, kappa, s, value=-2, out=kappa)
            else:
                tau = work[depth + k]
                self._product(delta, self.matrices[k + 1], k + 1, tau)
                tau += kappa
                torch.addcmul(tau, kappa, s, value=-2, out=kappa)
            delta = kappa
            slope(kappa, s, grad_input=delta)
            if sums is not None:
                if k == 0:
                    sums[0].addmm_(x, delta)
                else:
                    sums[k].addmm_(delta.T, kept[k - 1], alpha=4)
                    sums[depth + k] += delta.sum(dim=0)
        into.addmm_(self.matrices[0].T, delta.T)
        if self.form is not None:
            self.form.adjoint(x, cotangent, into, None if sums is None else sums[-1])

    def weight_gradients(self, sums: list[Tensor]) -> list[Tensor]:
        """Turn the sums into gradients, in the order of the weights."""
        depth = self.depth
        first = sums[0].mul_(2)
        gradients = [first[:-1].T, first[-1]]
        for k in range(1, depth):
            bias = sums[depth + k].mul_(2)
            gradients += [sums[k].sub_(bias[:, None]), bias]
        gradients.append(2 * sums[depth][None])
        return gradients if self.form is None else gradients + self.form.gradients(sums[-1])


# -- networks as the kernels see them --------------------------------------------------------------

_METHODS = {"forward", "gradient", "input_gradient", "kinetic_gradient", "potential_gradient"}

Kernel = ShallowKernel | DeepKernel | VectorKernel


@dataclass(frozen=True)
class Rate:
    """Which part of a network gives a rate, of which columns of the state, for which, its sign."""

    part: int
    reads: slice
    changes: slice
    sign: float


class Network:
    """A network of the library as the kernels see it: its weights in order, and its rates.

    Parameters
    ----------
    net : HNet or ONet
    """

    def __init__(self, net: HNet | ONet) -> None:
        self.net = net
        self.dim = net.dim
        q, p, z = slice(0, net.dim), slice(net.dim, 2 * net.dim), slice(0, 2 * net.dim)
        self.rates: dict[int, Rate]
        if isinstance(net, HNet):
            halves = (net.kinetic, net.potential)
            self.parts = [_weights(half.mlp)[:-1] for half in halves]
            for part, half in zip(self.parts, halves, strict=True):
                if half.form is not None:
                    part += [half.form.matrix, half.form.vector]
            self.rates = {VELOCITY: Rate(0, p, q, 1.0), FORCE: Rate(1, q, p, -1.0)}
        else:
            self.parts = [_weights(net.mlp)]
            self.rates = {
                VELOCITY: Rate(0, z, q, 1.0),
                FORCE: Rate(0, z, p, 1.0),
                BOTH: Rate(0, z, z, 1.0),
            }

    @staticmethod
    def known(net: Any) -> bool:
        """Whether `net` is one of those, with nothing hooked or parametrised into its layers."""
        # A subclass, or a hook, may compute something else.
        expected = {nn.ModuleList, MLP, nn.Linear}
        if type(net) is HNet:
            expected |= {HNet, _ScalarNet, QuadraticForm}
        elif type(net) is ONet:
            expected |= {ONet}
        else:
            return False
        modules = list(net.modules())
        linear = [module for module in modules if isinstance(module, nn.Linear)]
        return (
            all(type(module) in expected for module in modules)
            and not any(map(_altered, modules))
            and not nn.modules.module._has_any_global_hook()
            and all(layer.bias is not None for layer in linear)
            and len({w.dtype for w in net.parameters()}) == 1
        )

    @property
    def weights(self) -> list[Tensor]:
        """All that the rates depend on, part after part."""
        return [w for part in self.parts for w in part]

    @property
    def layout(self) -> tuple[Any, ...]:
        """What the sizes of all intermediate numbers depend on."""
        return tuple(tuple(w.shape) for w in self.weights)

    def split(self, weights: Sequence[Tensor]) -> list[list[Tensor]]:
        """Weights by part."""
        rest = iter(weights)
        return [[next(rest) for _ in part] for part in self.parts]

    def kernels(self, weights: Sequence[Tensor], rates: Sequence[int]) -> dict[int, Kernel]:
        """Make the kernel of each rate."""
        parts = self.split(weights)
        if isinstance(self.net, HNet):
            return {rate: scalar_kernel(parts[self.rates[rate].part]) for rate in rates}
        return {rate: VectorKernel(parts[0], self.rates[rate].changes) for rate in rates}

    def value(self, weights: Sequence[Tensor], x: Tensor, outputs: slice) -> Tensor:
        """Compute the rate of one part by PyTorch's own operations, without its sign."""
        if isinstance(self.net, HNet):
            form = quadratic_part(weights)
            network = weights[: len(weights) - len(form)]
            hidden = [
                (partial(nn.functional.linear, weight=weight, bias=bias), weight)
                for weight, bias in zip(network[0:-1:2], network[1:-1:2], strict=True)
            ]
            value = input_gradient(x, hidden, network[-1][0])
            if form:
                value = value + x @ ((form[0] + form[0].T) / 2) + form[1]
            return value
        for weight, bias in zip(weights[0:-2:2], weights[1:-2:2], strict=True):
            x = torch.tanh(nn.functional.linear(x, weight, bias))
        return nn.functional.linear(x, weights[-2][outputs], weights[-1][outputs])


def differentiated(
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    cotangent: Tensor,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Carry a cotangent of ``function(*tensors)`` back to those tensors that are `needed`.

    The result can be differentiated again where the caller's backward pass is to be.
    """
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: the way back ends here, also where one tensor was computed from another.
        own = [x.view_as(x) for x in tensors]
        inputs = [x for x, need in zip(own, needed, strict=True) if need]
        found = iter(torch.autograd.grad(function(*own), inputs, cotangent, create_graph=further))
    return [next(found) if need else None for need in needed]


def _altered(module: nn.Module) -> bool:
    """Whether a module has a hook, or a method of its own in the place of its class's."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for name in hooks) or not _METHODS.isdisjoint(vars(module))


def _weights(mlp: MLP) -> list[Tensor]:
    """W_1, b_1, ..., and of the last layer both."""
    return [w for layer in mlp.linears for w in (layer.weight, layer.bias)]
