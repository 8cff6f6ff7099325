"""A rollout as a list of operations, which the sweeps run forwards and backwards.

``Evaluate`` computes a rate (the velocity, the force, or both for an O-NET) at the present state,
``Update`` adds a multiple of the rate last computed to the state, ``Emit`` returns the state.  A
rate that is still valid is not computed again: a leapfrog step on a separable H costs one force and
one velocity.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from srnn.integrators import Integrator, RungeKutta, Splitting

__all__ = ["BOTH", "FORCE", "VELOCITY", "Emit", "Evaluate", "Program", "Update", "program"]

VELOCITY, FORCE, BOTH = 0, 1, 2


class Evaluate(NamedTuple):
    """Compute a rate; `number` counts the evaluations."""

    rate: int
    number: int


class Update(NamedTuple):
    """Add `factor` times a rate; `last` says that the rate is not used again."""

    rate: int
    factor: float
    last: bool


class Emit(NamedTuple):
    """Return the state as that of a time, counted from 0."""

    time: int


@dataclass
class Program:
    """Operations in the order of time."""

    operations: list[Evaluate | Update | Emit] = field(default_factory=list)
    steps: int = 0
    evaluations: int = 0
    # Whether every update can be undone: the rate does not depend on what it changes.
    reversible: bool = False


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
    made = Program(steps=steps, reversible=separable and bool(stages))
    operations: list[Evaluate | Update | Emit] = []
    valid = {VELOCITY: False, FORCE: False}

    def evaluate(rate: int) -> None:
        operations.append(Evaluate(rate, made.evaluations))
        made.evaluations += 1

    def update(rate: int, factor: float) -> None:
        operations.append(Update(rate, factor, last=False))

    for step in range(steps):
        for _ in range(substeps):
            if not stages and separable:
                evaluate(FORCE)
                evaluate(VELOCITY)
                update(FORCE, h)
                update(VELOCITY, h)
            elif not stages:
                evaluate(BOTH)
                update(BOTH, h)
            for rate, c in stages:
                if not valid[rate]:
                    evaluate(rate)
                update(rate, c * h)
                valid[rate] = keeps
                valid[1 - rate] = False
        operations.append(Emit(step + 1))
    # Backwards, the first update met of each evaluation is its last one.
    open_rates: set[int] = set()
    for place in range(len(operations) - 1, -1, -1):
        operation = operations[place]
        if isinstance(operation, Update) and operation.rate not in open_rates:
            open_rates.add(operation.rate)
            operations[place] = operation._replace(last=True)
        elif isinstance(operation, Evaluate):
            open_rates.discard(operation.rate)
    made.operations = operations
    return made
