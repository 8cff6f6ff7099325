"""Single rates by the kernels, for methods that are no list of kicks and drifts.

A step that rebounds asks for forces at states that depend on where the walls are, a Runge-Kutta
method at states between.  Each rate is then a node of PyTorch's graph by itself: closed forms and
logistic units carry over, one node for the rollout does not.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from srnn._checks import transformed
from srnn.motion.adjoint._kernels import FORCE, VELOCITY, Kernel, Network, differentiated
from srnn.motion.fields import Field, HamiltonianField

__all__ = ["KernelField"]


class KernelField(HamiltonianField):
    """A separable H-NET's field whose rates come from kernels.

    Parameters
    ----------
    field : Field
        The same field by PyTorch's own operations: for its transformations.
    network : Network
        Its weights must not change while this is in use.
    """

    def __init__(self, field: Field, network: Network) -> None:
        super().__init__(field.hamiltonian)
        self.field, self.network = field, network
        self.kernels = network.kernels(network.weights, (VELOCITY, FORCE))

    def velocity(self, q: Tensor, p: Tensor) -> Tensor:
        """dq/dt."""
        return self.field.velocity(q, p) if transformed() else self._rate(VELOCITY, p)

    def force(self, q: Tensor, p: Tensor) -> Tensor:
        """dp/dt."""
        return self.field.force(q, p) if transformed() else self._rate(FORCE, q)

    def _rate(self, rate: int, x: Tensor) -> Tensor:
        of = self.network.rates[rate]
        weights = self.network.parts[of.part]
        if torch.is_grad_enabled() and any(w.requires_grad for w in (x, *weights)):
            value: Tensor = _Rate.apply(  # type: ignore[no-untyped-call]
                self.network, self.kernels[rate], x, *weights
            )
        else:
            value = _evaluate(self.kernels[rate], x)[0]
        return value if of.sign > 0 else -value


def _evaluate(kernel: Kernel, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Return the rate, and what its adjoint needs: the input with ones, activations, memory."""
    flat = x.detach().reshape(-1, x.shape[-1]).T
    rows = flat.shape[1]
    given = torch.cat((flat, flat.new_ones(1, rows)))
    kept = [flat.new_empty(shape) for shape in kernel.kept(rows)]
    work = [flat.new_empty(shape) for shape in kernel.work(rows)]
    work += [w.T for w in work]
    out = flat.new_empty(kernel.outputs, rows)
    kernel.activate(given, kept, work)
    kernel.value(given, kept, work, out)
    return out.T.reshape(x.shape), given, kept, work


class _Rate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, network: Network, kernel: Kernel, x: Tensor, *weights: Tensor) -> Tensor:
        value, *ctx.left = _evaluate(kernel, x)
        ctx.network, ctx.kernel = network, kernel
        ctx.save_for_backward(x, *weights)
        return value

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        needed: Sequence[bool] = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled() or transformed(cotangent):

            def plain(at: Tensor, *own: Tensor) -> Tensor:
                value: Tensor = ctx.network.value(own, at, slice(None))
                return value

            return None, None, *differentiated(plain, (x, *weights), cotangent, needed)
        given, kept, work = ctx.left
        kernel: Kernel = ctx.kernel
        pulled = cotangent.reshape(-1, x.shape[-1]).T
        into = torch.zeros_like(pulled, memory_format=torch.contiguous_format)
        sums = kernel.sums() if any(needed[1:]) else None
        kernel.adjoint(given, pulled, kept, work, into, sums)
        gradients: list[Tensor | None] = [into.T.reshape(x.shape)]
        gradients += [None] * len(weights) if sums is None else kernel.weight_gradients(sums)
        return (None, None, *(g if n else None for g, n in zip(gradients, needed, strict=True)))
