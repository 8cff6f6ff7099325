"""What the fused adjoint can do for a field and a method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from srnn.motion.adjoint._program import BOTH, FORCE, VELOCITY, Evaluate, Program
from srnn.motion.adjoint._scalar import DeepKernel, ShallowKernel, quadratic_part, scalar_kernel
from srnn.motion.adjoint._vector import VectorKernel
from srnn.nn import MLP, HNet, ONet
from srnn.nn.hnet import _ScalarNet
from srnn.nn.mlp import input_gradient
from srnn.nn.quadratic import QuadraticForm

__all__ = ["Network", "Rate", "differentiated"]

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

    def plain(self, program: Program, z0: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Run a program by PyTorch's own differentiable operations, to any order of derivative."""
        parts = self.split(weights)
        state, values, states = z0, {}, [z0]
        for step in program.forwards():
            for operation in step.operations:
                rate = self.rates[operation.rate]
                if isinstance(operation, Evaluate):
                    values[operation.rate] = self.value(
                        parts[rate.part], state[..., rate.reads], rate.changes
                    )
                    continue
                changed = state[..., rate.changes]
                changed = changed + (rate.sign * operation.factor) * values[operation.rate]
                before, after = state[..., : rate.changes.start], state[..., rate.changes.stop :]
                state = torch.cat((before, changed, after), dim=-1)
            if step.emits:
                states.append(state)
        return torch.stack(states)

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
