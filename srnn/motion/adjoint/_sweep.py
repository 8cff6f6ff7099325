"""A rollout as a list of operations, and the passes over it, forwards and backwards.

``Evaluate`` computes a rate (the velocity, the force, or both for an O-NET) at the present state,
``Update`` adds a multiple of the rate last computed to the state.  A rate that is still valid is
not computed again: a leapfrog step on a separable H costs one force and one velocity.  All steps
but the first and the last are alike: the lists of three steps stand for any number.

Trajectories do not depend on each other, so a batch is worked through in pieces whose intermediate
numbers stay in a processor's cache.  Within a piece arrays have features first.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from srnn.motion.adjoint._fixed_point import FixedPoint
from srnn.motion.adjoint._kernels import BOTH, FORCE, VELOCITY, Kernel, Network
from srnn.motion.integrators import Integrator, RungeKutta, Splitting

__all__ = ["Evaluate", "Keep", "Memory", "Program", "Update", "backward", "forward", "program"]


class Evaluate(NamedTuple):
    """Compute a rate; `number` counts the evaluations of the step."""

    rate: int
    number: int


class Update(NamedTuple):
    """Add `factor` times a rate; `last` says that the rate is not used again."""

    rate: int
    factor: float
    last: bool


class Step(NamedTuple):
    """An integrator's step."""

    operations: tuple[Evaluate | Update, ...]
    before: int  # evaluations before it
    emits: int  # the time that it ends at, counted from 0, where the state is returned, else 0


@dataclass(frozen=True)
class Program:
    """Operations in the order of time.

    Parameters
    ----------
    first, middle, final : tuple of operations
        Those of the first step, of each of the steps between, and of the last one.
    steps, substeps : int
        Returned states beside the first; integrator steps to each.
    reversible : bool
        Whether every update can be undone: the rate does not depend on what it changes.
    """

    first: tuple[Evaluate | Update, ...]
    middle: tuple[Evaluate | Update, ...]
    final: tuple[Evaluate | Update, ...]
    steps: int
    substeps: int
    reversible: bool

    def step(self, k: int) -> Step:
        """Return the integrator's step with index `k`."""
        count = self.steps * self.substeps
        chosen = self.final if k == count - 1 else self.middle if k else self.first
        first, middle = self._counts
        before = first + (k - 1) * middle if k else 0
        return Step(chosen, before, 0 if (k + 1) % self.substeps else (k + 1) // self.substeps)

    @cached_property
    def _counts(self) -> tuple[int, int]:
        return _evaluations(self.first), _evaluations(self.middle)

    def forwards(self) -> Iterator[Step]:
        """All steps in the order of time."""
        return map(self.step, range(self.steps * self.substeps))

    def backwards(self) -> Iterator[Step]:
        """All steps, the last one first."""
        return map(self.step, reversed(range(self.steps * self.substeps)))

    @property
    def evaluations(self) -> int:
        """How many rates are computed."""
        return sum(1 for _ in self.order)

    @property
    def order(self) -> Iterator[int]:
        """The rate of each evaluation."""
        every = (operation for step in self.forwards() for operation in step.operations)
        return (operation.rate for operation in every if isinstance(operation, Evaluate))

    @property
    def rates(self) -> list[int]:
        """The rates that are asked for."""
        return sorted({operation.rate for operation in self.final})


def _evaluations(operations: tuple[Evaluate | Update, ...]) -> int:
    return sum(isinstance(operation, Evaluate) for operation in operations)


def program(
    method: Integrator, separable: bool, dt: float, steps: int, substeps: int
) -> Program | None:
    """List the operations of a rollout, or None for a method that is not one of these.

    The methods are the splittings and, as it needs no more than one state, Euler's.
    """
    if type(method) is Splitting:  # a subclass may step as it likes
        stages = [(VELOCITY if kind == "drift" else FORCE, float(c)) for kind, c in method.stages]
        keeps = separable or method.reuse
        return _program(tuple(stages), keeps, separable, dt, steps, substeps)
    if type(method) is RungeKutta and tuple(method.weights) == (1.0,):
        return _program((), False, separable, dt, steps, substeps)
    return None


@lru_cache(maxsize=16)
def _program(
    stages: tuple[tuple[int, float], ...],
    keeps: bool,
    separable: bool,
    dt: float,
    steps: int,
    substeps: int,
) -> Program:
    h = dt / substeps
    count = steps * substeps
    made: list[list[Evaluate | Update]] = []
    valid = {VELOCITY: False, FORCE: False}
    for _ in range(min(count, 3)):
        step: list[Evaluate | Update] = []
        if not stages:  # Euler's: both rates at one state
            both = (FORCE, VELOCITY) if separable else (BOTH,)
            step += [Evaluate(rate, number) for number, rate in enumerate(both)]
            step += [Update(rate, h, last=False) for rate in both]
        for rate, c in stages:
            if not valid[rate]:
                step.append(Evaluate(rate, _evaluations(tuple(step))))
            step.append(Update(rate, c * h, last=False))
            valid[rate] = keeps
            valid[1 - rate] = False
        made.append(step)
    # Backwards, the first update met of each evaluation is its last one.
    met: set[int] = set()
    for step in reversed(made):
        for place in reversed(range(len(step))):
            operation = step[place]
            if isinstance(operation, Evaluate):
                met.discard(operation.rate)
            elif operation.rate not in met:
                met.add(operation.rate)
                step[place] = operation._replace(last=True)
    first, final = tuple(made[0]), tuple(made[-1])
    # Of two steps the first is the only one that is followed by another.
    middle = tuple(made[1]) if len(made) == 3 else ()
    return Program(first, middle, final, steps, substeps, separable and bool(stages))


# -- memory ----------------------------------------------------------------------------------------

_ALIGN = 64  # bytes, a cache line; products of matrices are faster on aligned rows
# Between two arrays, so that arrays whose size is a power of two do not all begin at one place of a
# memory page: a processor that reads one and writes another would take them for the same.
_STAGGER = 17 * _ALIGN
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


def carve(
    memory: Tensor | None, shapes: list[tuple[int, ...]], dtype: torch.dtype
) -> tuple[list[Tensor], int]:
    """Lay tensors of these shapes one after the other into a piece of memory.

    Without memory only its size in bytes is worked out, and the tensors are on no device.
    """
    width = dtype.itemsize
    at, views = 0, []
    for shape in shapes:
        size = math.prod(shape) * width
        if memory is None:
            views.append(torch.empty(shape, dtype=dtype, device="meta"))
        else:
            views.append(memory[at : at + size].view(dtype).view(shape))
        at += -(-size // _ALIGN) * _ALIGN + _STAGGER
    return views, at


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


# -- passes ----------------------------------------------------------------------------------------


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
