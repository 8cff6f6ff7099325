"""The rollout as one node of PyTorch's graph."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from srnn._checks import transformed
from srnn.motion.adjoint._buffers import Lease, lease
from srnn.motion.adjoint._fixed_point import check_range, has_numbers, in_units, unit_for
from srnn.motion.adjoint._network import Kernel, Network, differentiated
from srnn.motion.adjoint._program import Program
from srnn.motion.adjoint._sweep import Keep, Memory, backward, forward

__all__ = ["Pass", "run"]

# Share of the largest entry of the initial states by which a reversed rollout may miss them.
_DRIFT = 1e-3
# Activations of a rollout up to this many bytes are kept for its backward pass; of a larger one
# they are computed again.
_STORED = 1 << 28
_NOTHING = Keep(inputs=False, activations=False)
_KEEP = {
    "stored": Keep(inputs=True, activations=True),
    "recompute": Keep(inputs=True, activations=False),
    "reversible": _NOTHING,
    "reversible-exact": _NOTHING,
}


@dataclass(frozen=True)
class Pass:
    """A program on a network."""

    network: Network
    program: Program
    mode: str | None
    learning: bool = True  # whether the weights' gradients are wanted

    def kernels(self, weights: Sequence[Tensor]) -> dict[int, Kernel]:
        """Make a kernel for each rate that the program asks for."""
        return self.network.kernels(weights, self.program.rates)

    def memory(self, kernels: dict[int, Kernel], like: Tensor, keep: Keep) -> tuple[Memory, Lease]:
        """Borrow memory for a pass over states such as `like`, shape (batch, 2*dim)."""

        def lay(memory: Tensor | None) -> Memory:
            return Memory(memory, self.network, self.program, kernels, len(like), keep, like.dtype)

        # The layout keeps the program alive, and so its identity its own.
        threads = torch.get_num_threads()  # the size of a batch's pieces depends on it
        key = (self.network.layout, id(self.program), len(like), keep, like.dtype, threads)
        return lease(self.network.net, key, like, lambda: lay(None).bytes, lay)

    def keep(self, kernels: dict[int, Kernel], batch: int, width: int) -> Keep:
        """Choose what a forward pass leaves for the backward one."""
        if self.mode is not None:
            return _KEEP[self.mode]
        numbers = sum(
            math.prod(shape) for rate in self.program.order for shape in kernels[rate].kept(batch)
        )
        return _KEEP["stored" if width * numbers <= _STORED else "recompute"]


def run(task: Pass, z0: Tensor) -> Tensor:
    """Integrate from `z0`, shape (batch, 2*dim), and return all states.

    Where no gradient is asked for nothing is kept.
    """
    weights = task.network.weights
    if not task.learning:
        weights = [w.detach() for w in weights]
    if torch.is_grad_enabled() and any(x.requires_grad for x in (z0, *weights)):
        states: Tensor = _Rollout.apply(task, z0, *weights)  # type: ignore[no-untyped-call]
        return states
    kernels = task.kernels(weights)
    memory, loan = task.memory(kernels, z0, _NOTHING)
    states, _ = _integrate(task, memory, kernels, z0.detach(), _unit(task, z0))
    loan.release()
    return states


def _unit(task: Pass, z0: Tensor) -> float | None:
    return unit_for(z0) if task.mode == "reversible-exact" else None


def _integrate(
    task: Pass, memory: Memory, kernels: dict[int, Kernel], z0: Tensor, unit: float | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return all states, and with a `unit` the last one in whole units."""
    out = z0.new_empty(task.program.steps + 1, *z0.shape)
    whole = forward(memory, task.network, kernels, z0, out, unit)
    if unit is not None:
        check_range(out, unit)
    return out, whole


class _Rollout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, task: Pass, z0: Tensor, *weights: Tensor) -> Tensor:
        learning = any(ctx.needs_input_grad[2:])
        kernels = task.kernels(weights)
        keep = task.keep(kernels, len(z0), z0.dtype.itemsize)
        unit = _unit(task, z0)
        memory, loan = task.memory(kernels, z0, keep)
        out, whole = _integrate(task, memory, kernels, z0, unit)
        if keep == _NOTHING:
            loan.release()
        ctx.task, ctx.learning, ctx.unit, ctx.keep = task, learning, unit, keep
        ctx.left, ctx.last = [(memory, loan, kernels)], None
        if task.mode in ("reversible", "reversible-exact"):
            ctx.last = out[-1].clone() if whole is None else whole
        ctx.save_for_backward(z0, *weights)
        return out

    @staticmethod
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        task: Pass = ctx.task
        z0, *weights = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled() or transformed(cotangents):

            def plain(start: Tensor, *own: Tensor) -> Tensor:
                return task.network.plain(task.program, start, own)

            return None, *differentiated(plain, (z0, *weights), cotangents, needed)
        # Taken out at once: of two threads that go back through one graph the other has to do with
        # the states alone, as a second backward pass has, and a reversible run.
        try:
            memory, loan, kernels = ctx.left.pop()
        except IndexError:
            loan = None
        if loan is None or loan.block is None:
            kernels = task.kernels(weights)
            keep = ctx.keep if ctx.last is not None else _KEEP["recompute"]
            memory, loan = task.memory(kernels, z0, keep)
            if ctx.last is None:
                _integrate(task, memory, kernels, z0)
        gradient, learnt, rebuilt = backward(
            memory, task.network, kernels, cotangents, ctx.last, ctx.learning, ctx.unit
        )
        loan.release()
        if rebuilt is not None and has_numbers(z0):
            _watch(rebuilt, z0, ctx.last, ctx.unit)
        gradients: list[Tensor | None] = [gradient]
        gradients += learnt if ctx.learning else [None] * len(weights)
        return (None, *(g if need else None for g, need in zip(gradients, needed, strict=True)))


def _watch(rebuilt: Tensor, z0: Tensor, last: Tensor, unit: float | None) -> None:
    """Warn where the states that were rebuilt are not those of the forward pass.

    In whole numbers any difference says that a product did not repeat to the last bit.
    """
    if unit is not None:
        if not torch.equal(rebuilt, in_units(z0, unit)):
            warnings.warn(
                "Rebuilding the states in whole numbers did not give the initial states again, "
                "since the products of matrices on this device, or with another number of threads, "
                "are not the same each time. gradient='recompute' does not depend on it.",
                stacklevel=2,
            )
        return
    drift = float((rebuilt - z0).abs().max())
    size = float(z0.abs().max()) or float(last.abs().max())
    if not drift <= _DRIFT * size:
        warnings.warn(
            f"Rebuilding the states backwards missed the initial states by {drift:.2g}, where the "
            f"largest entry is {size:.2g}: the gradient is off too. "
            "gradient='reversible-exact' rebuilds them to the last bit, 'recompute' keeps them.",
            stacklevel=2,
        )
