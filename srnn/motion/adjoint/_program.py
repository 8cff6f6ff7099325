"""A rollout as a list of operations, which the sweeps run forwards and backwards.

``Evaluate`` computes a rate (the velocity, the force, or both for an O-NET) at the present state,
``Update`` adds a multiple of the rate last computed to the state.  A rate that is still valid is
not computed again: a leapfrog step on a separable H costs one force and one velocity.

All steps but the first and the last are alike: the lists of three steps stand for any number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from srnn.motion.integrators import Integrator, RungeKutta, Splitting

__all__ = ["BOTH", "FORCE", "VELOCITY", "Evaluate", "Program", "Update", "program"]

VELOCITY, FORCE, BOTH = 0, 1, 2


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
