"""The passes of a rollout over pieces of its trajectories, forwards and backwards.

Trajectories do not depend on each other, so a batch is worked through in pieces whose intermediate
numbers stay in a processor's cache.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from srnn.adjoint._buffers import carve
from srnn.adjoint._fixed_point import FixedPoint
from srnn.adjoint._gather import Gather
from srnn.adjoint._network import Kernel, Network
from srnn.adjoint._program import Emit, Evaluate, Program

__all__ = ["Keep", "Memory", "backward", "forward", "pieces"]

# Trajectories in a piece: few enough for the cache, enough for a product's full rate.
_ROWS = 128


class Keep(NamedTuple):
    """What a forward pass leaves for the backward one, beside the returned states."""

    inputs: bool  # where the rates were evaluated
    activations: bool  # what their adjoints need


def pieces(batch: int) -> list[slice]:
    """Cut a batch into pieces of equal size, up to one trajectory."""
    count = max(1, -(-batch // _ROWS))
    edges = [batch * k // count for k in range(count + 1)]
    return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]


class _Rate(NamedTuple):
    """Memory of one rate."""

    value: Tensor
    cotangent: Tensor
    kept: list[Tensor]


class _Views:
    """Memory for a piece of `rows` trajectories, used again for every piece."""

    def __init__(
        self,
        memory: Tensor | None,
        network: Network,
        kernels: dict[int, Kernel],
        rows: int,
        learning: bool,
        dtype: torch.dtype,
    ) -> None:
        two_d = 2 * network.dim
        shapes: list[tuple[int, ...]] = [(rows, two_d), (rows, two_d)]
        for kernel in kernels.values():
            shapes += [(rows, kernel.outputs), (rows, kernel.outputs), *kernel.kept(rows)]
        parts = {network.rates[rate].part: kernel for rate, kernel in kernels.items()}
        for kernel in parts.values():
            shapes += kernel.work(rows)
            shapes += Gather.shapes(kernel.pairs, rows) if learning else []
        views, self.bytes = carve(memory, shapes, dtype)
        if memory is None:
            return
        take = iter(views)
        self.state, self.cotangent = next(take), next(take)
        self.rates = {
            rate: _Rate(next(take), next(take), [next(take) for _ in kernel.kept(rows)])
            for rate, kernel in kernels.items()
        }
        self.work, self.gathers = {}, {}
        for part, kernel in parts.items():
            self.work[part] = [next(take) for _ in kernel.work(rows)]
            if learning:
                pairs = kernel.pairs
                stacks = [next(take) for _ in range(2 * len(pairs))]
                self.gathers[part] = Gather(pairs, stacks, rows, network.products)


class Memory:
    """All that a rollout needs beside its states, laid out in one piece of memory.

    Parameters
    ----------
    memory : Tensor or None
        Bytes; without them only their number is worked out.
    network, program, kernels
        What is run.
    batch : int
    keep : Keep
    learning : bool
        Whether the weights' gradients are asked for.
    dtype : torch.dtype
    """

    def __init__(
        self,
        memory: Tensor | None,
        network: Network,
        program: Program,
        kernels: dict[int, Kernel],
        batch: int,
        keep: Keep,
        learning: bool,
        dtype: torch.dtype,
    ) -> None:
        self.pieces = pieces(batch)
        sizes = {piece.stop - piece.start for piece in self.pieces}
        views = {
            rows: _Views(memory, network, kernels, rows, learning, dtype)
            for rows in sorted(sizes, reverse=True)
        }
        self.bytes = max(v.bytes for v in views.values())
        self.views = [views[piece.stop - piece.start] for piece in self.pieces]
        numbers = [op.rate for op in program.operations if isinstance(op, Evaluate)]
        self.inputs: list[list[Tensor]] = []
        self.kept: list[list[list[Tensor]]] = []
        for piece in self.pieces:
            rows = piece.stop - piece.start
            if keep.inputs:
                shapes = [(rows, kernels[rate].inputs) for rate in numbers]
                self.inputs.append(self._more(memory, shapes, dtype))
            if keep.activations:
                shapes = [s for rate in numbers for s in kernels[rate].kept(rows)]
                take = iter(self._more(memory, shapes, dtype))
                if memory is not None:
                    self.kept.append(
                        [[next(take) for _ in kernels[rate].kept(rows)] for rate in numbers]
                    )

    def _more(
        self, memory: Tensor | None, shapes: list[tuple[int, ...]], dtype: torch.dtype
    ) -> list[Tensor]:
        views, size = carve(None if memory is None else memory[self.bytes :], shapes, dtype)
        self.bytes += size
        return views


def forward(
    memory: Memory,
    network: Network,
    program: Program,
    kernels: dict[int, Kernel],
    z0: Tensor,
    out: Tensor,
    unit: float | None = None,
) -> Tensor | None:
    """Integrate from `z0`, write every state to `out`; return the last in whole units, if asked."""
    out[0] = z0
    whole = None if unit is None else torch.empty(z0.shape, dtype=torch.int64, device=z0.device)
    for index, (piece, views) in enumerate(zip(memory.pieces, memory.views, strict=True)):
        fixed = None
        if whole is None:
            views.state.copy_(z0[piece])
        else:
            assert unit is not None
            fixed = FixedPoint(views.state, whole[piece], unit)
            fixed.start(z0[piece])
        reads = {rate: views.state[:, network.rates[rate].reads] for rate in kernels}
        changes = {rate: views.state[:, network.rates[rate].changes] for rate in kernels}
        for operation in program.operations:
            if isinstance(operation, Emit):
                out[operation.index, piece] = views.state
                continue
            rate = operation.rate
            part, sign = network.rates[rate].part, network.rates[rate].sign
            if isinstance(operation, Evaluate):
                x, number = reads[rate], operation.number
                if memory.inputs:
                    memory.inputs[index][number].copy_(x)
                kept = memory.kept[index][number] if memory.kept else views.rates[rate].kept
                kernels[rate].activate(x, kept, views.work[part])
                kernels[rate].value(x, kept, views.work[part], views.rates[rate].value)
            elif fixed is None:
                changes[rate].add_(views.rates[rate].value, alpha=sign * operation.factor)
            else:
                fixed.add(
                    network.rates[rate].changes, views.rates[rate].value, sign * operation.factor
                )
    return whole


def backward(
    memory: Memory,
    network: Network,
    program: Program,
    kernels: dict[int, Kernel],
    cotangents: Tensor,
    last: Tensor | None,
    learning: bool,
    unit: float | None = None,
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """Carry the cotangents of all states back to the start, and gather those of the weights.

    With the `last` state, all others are rebuilt from it, and the first is returned; with `unit`
    it is given, and returned, in whole units.
    """
    result = torch.empty_like(cotangents[0])
    rebuilt = None if last is None else torch.empty_like(last)
    totals: dict[int, list[Tensor]] = {}
    for index, (piece, views) in enumerate(zip(memory.pieces, memory.views, strict=True)):
        fixed = None
        if last is not None and unit is not None:
            fixed = FixedPoint(views.state, last[piece].clone(), unit)
            fixed.resume(fixed.whole)
        elif last is not None:
            views.state.copy_(last[piece])
        state, cotangent = views.state, views.cotangent
        cotangent.zero_()
        reads = {rate: state[:, network.rates[rate].reads] for rate in kernels}
        changes = {rate: state[:, network.rates[rate].changes] for rate in kernels}
        reads_cotangent = {rate: cotangent[:, network.rates[rate].reads] for rate in kernels}
        changes_cotangent = {rate: cotangent[:, network.rates[rate].changes] for rate in kernels}
        for gather in views.gathers.values():
            gather.start()
        for operation in reversed(program.operations):
            if isinstance(operation, Emit):
                cotangent += cotangents[operation.index, piece]
                continue
            rate, kernel = operation.rate, kernels[operation.rate]
            part, sign = network.rates[rate].part, network.rates[rate].sign
            value, pulled, kept = views.rates[rate]
            work = views.work[part]
            if isinstance(operation, Evaluate):
                x, number = reads[rate], operation.number
                if memory.inputs:
                    x = memory.inputs[index][number]
                if memory.kept:
                    kept = memory.kept[index][number]
                elif last is None:
                    kernel.activate(x, kept, work)
                kernel.adjoint(
                    x, pulled, kept, work, reads_cotangent[rate], views.gathers.get(part)
                )
                continue
            factor = sign * operation.factor
            if last is not None:
                if operation.last:
                    kernel.activate(reads[rate], kept, work)
                    kernel.value(reads[rate], kept, work, value)
                if fixed is None:
                    changes[rate].sub_(value, alpha=factor)
                else:
                    fixed.subtract(network.rates[rate].changes, value, factor)
            if operation.last:
                torch.mul(changes_cotangent[rate], factor, out=pulled)
            else:
                pulled.add_(changes_cotangent[rate], alpha=factor)
        torch.add(cotangent, cotangents[0, piece], out=result[piece])
        if rebuilt is not None:
            rebuilt[piece] = state if fixed is None else fixed.whole
        for part, gather in views.gathers.items():
            gather.flush()
            if part in totals:
                for total, more in zip(totals[part], gather.sums, strict=True):
                    total += more
            else:
                totals[part] = gather.sums
    gradients: list[Tensor] = []
    if learning:
        by_part = {network.rates[rate].part: kernel for rate, kernel in kernels.items()}
        for part in range(len(network.parts)):
            gradients += by_part[part].weight_gradients(totals[part])
    return result, gradients, rebuilt
