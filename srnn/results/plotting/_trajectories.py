"""Trajectories, their errors and energies, and rooms."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from srnn import _checks
from srnn._types import PerState
from srnn.data.trajectories import Trajectories
from srnn.motion.fields import weight_of
from srnn.results.plotting._style import array, axes

__all__ = [
    "coordinate",
    "energy_contours",
    "error_over_time",
    "path",
    "phase_portrait",
    "room",
]


def phase_portrait(
    trajectories: Trajectories,
    ax: Axes | None = None,
    *,
    coordinate: int = 0,
    index: int = 0,
    **line: Any,
) -> Axes:
    """Draw one trajectory's path in the plane of one position and its momentum.

    Parameters
    ----------
    trajectories : Trajectories
    ax : matplotlib Axes, optional
    coordinate : int
        Which position, from 0.
    index : int
        Which trajectory, from 0.
    **line
        Passed on to ``ax.plot``.

    Examples
    --------
    >>> import torch, srnn
    >>> data = srnn.systems.MassSpring().simulate(trajectories=1, steps=60, dt=0.1)
    >>> srnn.plotting.phase_portrait(data).get_xlabel()
    'position $q$'
    """
    ax = axes(ax)
    q, p = (array(half[:, index, coordinate]) for half in (trajectories.q, trajectories.p))
    ax.plot(q, p, **line)
    ax.set(xlabel="position $q$", ylabel="momentum $p$")
    return ax


def coordinate(
    trajectories: Trajectories,
    ax: Axes | None = None,
    *,
    coordinate: int = 0,
    index: int = 0,
    **line: Any,
) -> Axes:
    """Draw one position against time, as Figures 1 (right), 3 and 5 to 19 of the paper.

    Parameters
    ----------
    trajectories : Trajectories
    ax : matplotlib Axes, optional
    coordinate : int
        Which position, from 0.
    index : int
        Which trajectory, from 0.
    **line
        Passed on to ``ax.plot``.

    Examples
    --------
    >>> import srnn
    >>> data = srnn.systems.MassSpring().simulate(trajectories=1, steps=60, dt=0.1)
    >>> ax = srnn.plotting.coordinate(data)
    >>> ax.get_ylabel()
    'position $q_{1}$'
    """
    ax = axes(ax)
    coordinate = range(trajectories.dim)[coordinate]  # so that -1 is the last one by its number
    times = array(trajectories.times)
    ax.plot(times, array(trajectories.q[:, index, coordinate]), **line)
    ax.set(xlabel="time $t$", ylabel=f"position $q_{{{coordinate + 1}}}$")
    return ax


def error_over_time(
    errors: PerState, dt: float, ax: Axes | None = None, *, band: bool = False, **line: Any
) -> Axes:
    """Draw the mean error against time, as Figures 1 (left) and 2 of the paper.

    Parameters
    ----------
    errors : Tensor, shape (time, batch)
        As :func:`srnn.metrics.position_error` gives them.
    dt : float
    ax : matplotlib Axes, optional
    band : bool
        Shade the range between the 10th and the 90th percentile of the trajectories.
    **line
        Passed on to ``ax.plot``.

    Examples
    --------
    >>> import srnn
    >>> spring = srnn.systems.MassSpring()
    >>> truth = spring.simulate(trajectories=8, steps=60, dt=0.1)
    >>> states = srnn.rollout(spring, "euler", truth.values[0], dt=0.1, steps=60)
    >>> guess = srnn.Trajectories.from_states(states, dt=0.1)
    >>> errors = srnn.metrics.position_error(guess, truth)
    >>> srnn.plotting.error_over_time(errors, 0.1, band=True).get_xlabel()
    'time $t$'
    """
    ax = axes(ax)
    values = array(errors)
    times = dt * np.arange(len(values))
    (drawn,) = ax.plot(times, values.mean(axis=1), **line)
    if band:
        low, high = np.quantile(values, (0.1, 0.9), axis=1)
        ax.fill_between(times, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
    ax.set(xlabel="time $t$", ylabel=r"error $\|\hat q - q\|_2$")
    return ax


def energy_contours(
    hamiltonian: Any,
    ax: Axes | None = None,
    *,
    q: tuple[float, float] = (-3.0, 3.0),
    p: tuple[float, float] = (-3.0, 3.0),
    levels: int = 12,
) -> Axes:
    """Draw level sets of a Hamiltonian of one position.

    Parameters
    ----------
    hamiltonian : Hamiltonian with ``dim`` 1
    ax : matplotlib Axes, optional
    q, p : (float, float)
        Ranges of the axes.
    levels : int

    Raises
    ------
    ValueError
        If the Hamiltonian has more than one position.

    Examples
    --------
    >>> import srnn
    >>> ax = srnn.plotting.energy_contours(srnn.systems.Pendulum(), q=(-4, 4), p=(-8, 8))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('position $q$', 'momentum $p$')
    """
    if hamiltonian.dim != 1:
        raise ValueError(f"Expected a Hamiltonian with dim=1; got {hamiltonian.dim}.")
    levels = _checks.positive_int(levels, "levels")
    ax = axes(ax)
    weight = weight_of(hamiltonian)
    like = torch.empty(0, dtype=torch.float64) if weight is None else weight.detach()
    grid = torch.meshgrid(
        *(torch.linspace(*ends, 121, dtype=like.dtype, device=like.device) for ends in (q, p)),
        indexing="ij",
    )
    with torch.no_grad():
        energy = hamiltonian(torch.stack(grid, dim=-1))
    ax.contour(*(array(g) for g in grid), array(energy), levels, colors="0.6", linewidths=0.7)
    ax.set(xlabel="position $q$", ylabel="momentum $p$")
    return ax


def room(picture: Any, ax: Axes | None = None) -> Axes:
    """Draw the walls of a room in grey, with axes in pixels.

    Parameters
    ----------
    picture : Room or Tensor, shape (rows, columns)
        A :class:`srnn.systems.Room`, or a picture of its walls: 1 where there is a wall, row 0 at
        the top.
    ax : matplotlib Axes, optional

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> ax = srnn.plotting.room(srnn.systems.Room.box(), plt.figure().gca())
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('$x$ (px)', '$y$ (px)')
    """
    ax = axes(ax)
    image = _checks.picture(getattr(picture, "image", picture), "picture")
    rows, cols = image.shape
    # Equal steps of grey that leave paths of any colour legible.
    ax.imshow(array(image), cmap="Greys", vmin=0, vmax=2.2, extent=(0, cols, 0, rows))
    ax.set(xlabel="$x$ (px)", ylabel="$y$ (px)", xlim=(0, cols), ylim=(0, rows))
    return ax


def path(
    trajectories: Trajectories, ax: Axes | None = None, *, index: int = 0, **line: Any
) -> Axes:
    """Draw the way of one ball in the plane of its two positions, as Figure 4 of the paper.

    Parameters
    ----------
    trajectories : Trajectories
        Of two positions.
    ax : matplotlib Axes, optional
    index : int
        Which trajectory, from 0.
    **line
        Passed on to ``ax.plot``.

    Raises
    ------
    ValueError
        If there are not two positions.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> ball = srnn.systems.Billiard()
    >>> data = ball.simulate(trajectories=1, steps=60, dt=0.1)
    >>> ax = srnn.plotting.room(ball.room, plt.figure().gca())
    >>> ax = srnn.plotting.path(data, ax, label="truth")
    >>> len(ax.lines[0].get_xdata())
    61
    """
    if trajectories.dim != 2:
        raise ValueError(f"Expected trajectories with dim=2; got {trajectories.dim}.")
    ax = axes(ax)
    x, y = array(trajectories.q[:, index]).T
    ax.plot(x, y, **line)
    ax.set(xlabel="$x$ (px)", ylabel="$y$ (px)")
    return ax
