"""The paper's problems at its sizes: a system with its training and its test data."""

from typing import Any, NamedTuple

import torch

from srnn.data.trajectories import Trajectories
from srnn.experiments import billiard
from srnn.systems import Billiard, SpringChain, ThreeBody

__all__ = ["DT", "OBSERVED", "Draw", "chain", "heavy_billiard", "three_body"]

DT = {"chain": 0.1, "three-body": 1.0}
OBSERVED = 10
"""States of a training trajectory, and those of a test trajectory that ISO may look at."""
# Chains and orbits of these numbers upwards are those of the tables; settings were chosen on
# others.
_FIRST = {"chain": 6000, "three-body": 7000}
_DIM = {"chain": 20, "three-body": 6}


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


def chain(
    seed: int,
    *,
    sigma: float = 0.2,
    training: int = 1000,
    tests: int = 32,
    states: int = 200,
) -> Draw:
    """Draw a chain of 20 masses and its trajectories (section 4).

    Parameters
    ----------
    seed : int
        Of chain, data and whatever is drawn afterwards.
    sigma : float
        Standard deviation of the noise on every number; 0 for none.
    training, tests : int
        How many trajectories.
    states : int
        Of a test trajectory.

    Returns
    -------
    Draw

    Examples
    --------
    >>> chain(3, training=8, tests=4).system
    SpringChain(dim=20)
    """
    g = torch.Generator().manual_seed(_FIRST["chain"] + seed)
    system = SpringChain.random(masses=_DIM["chain"], generator=g)
    # The test set first: it is then the same whatever is trained on.
    sets = []
    for count, length in ((tests, states), (training, OBSERVED)):
        data = system.simulate(count, steps=length - 1, dt=DT["chain"], generator=g)
        sets.append(data.with_noise(sigma, generator=g) if sigma else data)
    return Draw(system, sets[1], sets[0], g)


def three_body(seed: int, *, training: int = 100, tests: int = 256, states: int = OBSERVED) -> Draw:
    """Draw orbits of three bodies, without noise (section 5).

    Parameters
    ----------
    seed : int
    training, tests : int
        How many orbits; the few whose truth is in doubt are left out.
    states : int
        Of a test orbit.

    Returns
    -------
    Draw

    Examples
    --------
    >>> three_body(0, training=1, tests=1, states=2).training.dt
    1.0
    """
    g = torch.Generator().manual_seed(_FIRST["three-body"] + seed)
    system = ThreeBody()
    sets = []
    for count, length in ((tests, states), (training, OBSERVED)):
        data = system.simulate(count, steps=length - 1, dt=DT["three-body"], generator=g)
        sets.append(data.select(data.status == 0))
    return Draw(system, sets[1], sets[0], g)


def heavy_billiard(*, training: int = 5000, tests: int = 32, states: int = 61) -> Draw:
    """Draw the balls of :mod:`srnn.experiments.billiard` (section 6): one room, one seed.

    Parameters
    ----------
    training, tests : int
        How many trajectories.
    states : int
        Of a test trajectory.

    Returns
    -------
    Draw

    Examples
    --------
    >>> heavy_billiard(training=3, tests=2).test
    Trajectories(states=61, trajectories=2, dim=2, dt=0.1, dtype=float32)
    """
    test = billiard.draw_test(tests, states=states)
    return Draw(Billiard(), billiard.draw_training(training), test, torch.Generator())
