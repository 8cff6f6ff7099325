"""The paper's problems at its sizes: a system with its training and its test data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from srnn.data.trajectories import Trajectories
from srnn.experiments import billiard
from srnn.experiments.reproduction._cells import Fit
from srnn.systems import Billiard, SpringChain, ThreeBody

__all__ = ["FIRST", "OBSERVED", "Draw", "problem"]

OBSERVED = 10
"""States of a training trajectory, and those of a test trajectory that ISO may look at."""
FIRST = {"chain": 6000, "three-body": 7000}
"""Chains and orbits of these numbers upwards are those of the tables; settings were chosen on
others."""
_SYSTEMS: dict[str, tuple[float, Callable[[torch.Generator], Any]]] = {
    "chain": (0.1, lambda g: SpringChain.random(masses=20, generator=g)),  # section 4
    "three-body": (1.0, lambda _: ThreeBody()),  # section 5
}
"""Time between states, and how each system is drawn."""


class Draw(NamedTuple):
    """One draw of a problem.

    Examples
    --------
    >>> from srnn.experiments.reproduction import Fit, problem
    >>> drawn = problem(Fit("chain", "exact", training=8, tests=4, states=20), seed=0)
    >>> drawn.training
    Trajectories(states=10, trajectories=8, dim=20, dt=0.1, dtype=float32)
    >>> drawn.test
    Trajectories(states=20, trajectories=4, dim=20, dt=0.1, dtype=float32)
    """

    system: Any
    """The system that moved."""
    training: Trajectories
    """What a model is fitted to."""
    test: Trajectories
    """What it is tested on; with noise it holds the clean states, too."""
    generator: torch.Generator
    """Draws what comes next, the weights of a network first."""


def problem(fit: Fit, seed: int) -> Draw:
    """Draw the data of a fit.

    Parameters
    ----------
    fit : Fit
    seed : int
        Of system, data and whatever is drawn afterwards; the billiard has one draw.  The first
        weights of another ``fit.start`` than 0 are of a draw of their own.

    Returns
    -------
    Draw
        Trajectories whose truth is in doubt, as of a few orbits of three bodies, are left out.

    Examples
    --------
    >>> problem(Fit("three-body", "true", training=1, tests=1, states=2), 0).test.dim
    6
    """
    if fit.problem == "billiard":  # section 6
        test = billiard.draw_test(fit.tests, states=fit.states)
        return Draw(Billiard(), billiard.draw_training(fit.training), test, torch.Generator())
    dt, system_of = _SYSTEMS[fit.problem]
    g = torch.Generator().manual_seed(FIRST[fit.problem] + seed)
    system = system_of(g)
    # The test set first: it is then the same whatever is trained on.
    sets = []
    for count, length in ((fit.tests, fit.states), (fit.training, OBSERVED)):
        data = system.simulate(count, steps=length - 1, dt=dt, generator=g)
        data = data.select(data.status == 0)
        sets.append(data.with_noise(fit.sigma, generator=g) if fit.sigma else data)
    # Far from the numbers of the problems, which are thousands.
    weights = torch.Generator().manual_seed(10**6 * fit.start + seed) if fit.start else g
    return Draw(system, sets[1], sets[0], weights)
