"""The passes of a rollout over pieces of its trajectories, forwards and backwards.

Trajectories do not depend on each other, so a batch is worked through in pieces whose intermediate
numbers stay in a processor's cache.  Within a piece arrays have features first.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from srnn.motion.adjoint._buffers import carve
from srnn.motion.adjoint._fixed_point import FixedPoint
from srnn.motion.adjoint._network import Kernel, Network
from srnn.motion.adjoint._program import Evaluate, Program

__all__ = ["Keep", "Memory", "backward", "forward"]

# Trajectories in a piece: few enough for the cache, enough for a product's full rate, and a
# multiple of what a processor works on at once.  Threads that share the work want more of it.
_ROWS, _MULTIPLE = 64, 16


class Keep(NamedTuple):
    """What a forward pass leaves for the backward one, beside the returned states."""

    inputs: bool  # where the rates were evaluated
    activations: bool  # what their adjoints need


def _pieces(batch: int) -> list[slice]:
    """Cut a batch into pieces of about equal size."""
    threads = torch.get_num_threads()
    most = _ROWS if threads == 1 else 2 * _ROWS * threads
    count = max(1, -(-batch // most))
    size = -(-batch // (count * _MULTIPLE)) * _MULTIPLE
    edges = [*range(0, batch, size), batch]
    return [slice(a, b) for a, b in pairwise(edges)] or [slice(0, 0)]


class _Rate(NamedTuple):
    """Memory of one rate."""

    value: Tensor
    cotangent: Tensor
    kept: list[Tensor]
    work: list[Tensor]
    changes: Tensor  # views of the state and of its cotangent
    reads: Tensor
    changes_cotangent: Tensor
    reads_cotangent: Tensor


class _Views:
    """Memory for a piece of `rows` trajectories, used again for every piece."""

    def __init__(
        self,
        memory: Tensor | None,
        network: Network,
        kernels: dict[int, Kernel],
        rows: int,
        dtype: torch.dtype,
    ) -> None:
        shapes: list[tuple[int, ...]] = [(2 * network.dim, rows), (2 * network.dim, rows)]
        for kernel in kernels.values():
            shapes += 2 * [(kernel.outputs, rows)] + kernel.kept(rows) + kernel.work(rows)
        views, self.bytes = carve(memory, shapes, dtype)
        take = iter(views)
        self.state, self.cotangent = next(take), next(take)
        self.rates = {}
        for rate, kernel in kernels.items():
            of = network.rates[rate]
            value, cotangent = next(take), next(take)
            kept = [next(take) for _ in kernel.kept(rows)]
            work = [next(take) for _ in kernel.work(rows)]
            ends = [
                x[rows] for x in (self.state, self.cotangent) for rows in (of.changes, of.reads)
            ]
            self.rates[rate] = _Rate(value, cotangent, kept, [*work, *(x.T for x in work)], *ends)


class _Work(NamedTuple):
    """A piece of the batch, and the memory for it."""

    piece: slice
    views: _Views
    inputs: tuple[Tensor, ...]  # of the rates, with the row of ones
    places: list[Tensor]  # the same without it
    kept: list[list[Tensor]] | None  # for the adjoint of each evaluation


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
        dtype: torch.dtype,
    ) -> None:
        self.program = program
        self.pieces = _pieces(batch)
        sizes = [piece.stop - piece.start for piece in self.pieces]
        views = {r: _Views(memory, network, kernels, r, dtype) for r in set(sizes)}
        self.bytes = max(v.bytes for v in views.values())
        self.views = [views[rows] for rows in sizes]
        inputs = 1 + next(iter(kernels.values())).inputs
        count = program.evaluations if keep.inputs else 1
        # The rates' inputs, with a row of ones; of all evaluations or of the present one.
        self.inputs: list[Tensor] = []
        self.kept: list[list[list[Tensor]] | None] = []
        for rows in sizes:
            self.inputs += self._more(memory, [(count, inputs, rows)], dtype)
            shapes = [kernels[rate].kept(rows) for rate in program.order if keep.activations]
            take = iter(self._more(memory, [shape for each in shapes for shape in each], dtype))
            kept = [[next(take) for _ in each] for each in shapes]
            self.kept.append(kept if keep.activations else None)

    def _more(
        self, memory: Tensor | None, shapes: list[tuple[int, ...]], dtype: torch.dtype
    ) -> list[Tensor]:
        views, size = carve(None if memory is None else memory[self.bytes :], shapes, dtype)
        self.bytes += size
        return views

    def work(self) -> Iterator[_Work]:
        """Go through the pieces of the batch."""
        for given in self.inputs:
            given[:, -1] = 1  # another layout of the same memory may have written to the ones
        parts = zip(self.pieces, self.views, self.inputs, self.kept, strict=True)
        for piece, views, given, kept in parts:
            inputs = given.unbind()
            yield _Work(piece, views, inputs, [x[:-1] for x in inputs], kept)


def forward(
    memory: Memory,
    network: Network,
    kernels: dict[int, Kernel],
    z0: Tensor,
    out: Tensor,
    unit: float | None = None,
) -> Tensor | None:
    """Integrate from `z0`, write every state to `out`; return the last in whole units, if asked."""
    out[0] = z0
    whole = None if unit is None else torch.empty_like(z0, dtype=torch.int64)
    signs = {rate: network.rates[rate].sign for rate in kernels}
    for piece, views, inputs, everywhere, kept_all in memory.work():
        views.state.copy_(z0[piece].T)
        fixed = None if unit is None else FixedPoint(views.state, unit)
        states = out[:, piece].mT
        for step in memory.program.forwards():
            for operation in step.operations:
                rate = operation.rate
                mine, kernel = views.rates[rate], kernels[rate]
                if isinstance(operation, Evaluate):
                    number = step.before + operation.number
                    kept = mine.kept if kept_all is None else kept_all[number]
                    place = number if len(inputs) > 1 else 0
                    everywhere[place].copy_(mine.reads)
                    kernel.activate(inputs[place], kept, mine.work)
                    kernel.value(inputs[place], kept, mine.work, mine.value)
                    continue
                factor = signs[rate] * operation.factor
                if fixed is None:
                    mine.changes.add_(mine.value, alpha=factor)
                else:
                    fixed.add(network.rates[rate].changes, mine.value, factor)
            if step.emits:
                states[step.emits].copy_(views.state)
        if fixed is not None and whole is not None:
            whole[piece] = fixed.whole.T
    return whole


def backward(
    memory: Memory,
    network: Network,
    kernels: dict[int, Kernel],
    cotangents: Tensor,
    last: Tensor | None,
    learning: bool,
    unit: float | None = None,
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """Carry the cotangents of all states back to the start, and sum those of the weights.

    With the `last` state all others are rebuilt from it, and the first is returned; with `unit`
    it is given, and returned, in whole units.
    """
    result = torch.empty_like(cotangents[0], memory_format=torch.contiguous_format)
    rebuilt = None if last is None else torch.empty_like(last)
    rates = network.rates
    by_part = {rates[rate].part: kernel for rate, kernel in kernels.items()}
    sums = {part: kernel.sums() for part, kernel in by_part.items()} if learning else {}
    for piece, views, inputs, everywhere, kept_all in memory.work():
        fixed = None
        if last is not None and unit is not None:
            fixed = FixedPoint(views.state, unit, last[piece].T.clone())
        elif last is not None:
            views.state.copy_(last[piece].T)
        cotangent = views.cotangent
        cotangent.zero_()
        given = cotangents[:, piece].mT
        for step in memory.program.backwards():
            if step.emits:
                cotangent += given[step.emits]
            for operation in reversed(step.operations):
                rate = operation.rate
                mine, kernel = views.rates[rate], kernels[rate]
                if isinstance(operation, Evaluate):
                    number = step.before + operation.number
                    kept = mine.kept if kept_all is None else kept_all[number]
                    if last is not None:
                        x = inputs[0]
                        everywhere[0].copy_(mine.reads)
                    else:
                        x = inputs[number]
                        if kept_all is None:
                            kernel.activate(x, kept, mine.work)
                    total = sums.get(rates[rate].part)
                    kernel.adjoint(x, mine.cotangent, kept, mine.work, mine.reads_cotangent, total)
                    continue
                factor = rates[rate].sign * operation.factor
                if last is not None:
                    if operation.last:
                        everywhere[0].copy_(mine.reads)
                        kernel.activate(inputs[0], mine.kept, mine.work)
                        kernel.value(inputs[0], mine.kept, mine.work, mine.value)
                    if fixed is None:
                        mine.changes.sub_(mine.value, alpha=factor)
                    else:
                        fixed.add(rates[rate].changes, mine.value, -factor)
                if operation.last:
                    mine.cotangent.zero_()
                mine.cotangent.add_(mine.changes_cotangent, alpha=factor)
        cotangent += given[0]
        result[piece] = cotangent.T
        if rebuilt is not None:
            rebuilt[piece] = views.state.T if fixed is None else fixed.whole.T
    gradients = [g for part in sorted(sums) for g in by_part[part].weight_gradients(sums[part])]
    return result, gradients, rebuilt
