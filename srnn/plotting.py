"""Figures.  Each function takes results and an ``ax``, draws, and returns the ``ax``.

The colours are Okabe and Ito's (2008), which colour-blind readers can tell apart.  Line styles
change with them, so that a figure also reads in grey.  Backgrounds are opaque, so that axes stay
legible on a dark page.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from torch import Tensor

from srnn import _checks
from srnn._types import PerState
from srnn.data import Trajectories
from srnn.fields import weight_of
from srnn.run import History

__all__ = [
    "COLOURS",
    "coordinate",
    "energy_contours",
    "energy_over_time",
    "error_over_time",
    "growth",
    "loss_curves",
    "path",
    "phase_portrait",
    "room",
    "speed",
    "style",
]

COLOURS = {
    "black": "#000000",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}
"""The palette by name."""


def style() -> None:
    """Set Matplotlib up as the book's figures are; called by its setup cells.

    Examples
    --------
    >>> import matplotlib as mpl, srnn
    >>> with mpl.rc_context():
    ...     srnn.plotting.style()
    ...     mpl.rcParams["axes.spines.top"]
    False
    """
    names = ("blue", "vermilion", "green", "purple", "orange", "sky", "black")
    lines = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=[COLOURS[n] for n in names]) + cycler(linestyle=lines),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.facecolor": "white",
            "figure.facecolor": "white",
            "figure.dpi": 100,
            "figure.figsize": (7.0, 3.2),
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "legend.frameon": False,
            "lines.linewidth": 1.6,
            "savefig.facecolor": "white",
            "savefig.transparent": False,
        }
    )


def _axes(ax: Axes | None) -> Axes:
    return plt.gca() if ax is None else ax


def _array(values: Tensor) -> Any:
    return values.detach().cpu().numpy()


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
    ax = _axes(ax)
    q, p = (_array(half[:, index, coordinate]) for half in (trajectories.q, trajectories.p))
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
    ax = _axes(ax)
    coordinate = range(trajectories.dim)[coordinate]  # so that -1 is the last one by its number
    times = _array(trajectories.times)
    ax.plot(times, _array(trajectories.q[:, index, coordinate]), **line)
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
    ax = _axes(ax)
    values = _array(errors)
    times = dt * np.arange(len(values))
    (drawn,) = ax.plot(times, values.mean(axis=1), **line)
    if band:
        low, high = np.quantile(values, (0.1, 0.9), axis=1)
        ax.fill_between(times, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
    ax.set(xlabel="time $t$", ylabel=r"error $\|\hat q - q\|_2$")
    return ax


def energy_over_time(
    trajectories: Trajectories,
    hamiltonian: Any,
    ax: Axes | None = None,
    *,
    index: int = 0,
    **line: Any,
) -> Axes:
    """Draw the change of energy since t = 0 along one trajectory.

    Parameters
    ----------
    trajectories : Trajectories
    hamiltonian : Hamiltonian
        A system or a learnt H.  A network of another dtype or device than the trajectories is
        given them in its own.
    ax : matplotlib Axes, optional
    index : int
        Which trajectory, from 0.
    **line
        Passed on to ``ax.plot``.

    Examples
    --------
    >>> import srnn
    >>> spring = srnn.systems.MassSpring()
    >>> data = spring.simulate(trajectories=1, steps=60, dt=0.1)
    >>> srnn.plotting.energy_over_time(data, spring).get_ylabel()
    '$H(t) - H(0)$'
    """
    ax = _axes(ax)
    values, weight = trajectories.values[:, index], weight_of(hamiltonian)
    with torch.no_grad():
        energy = _array(hamiltonian(values if weight is None else values.to(weight)))
    ax.plot(_array(trajectories.times), energy - energy[0], **line)
    ax.set(xlabel="time $t$", ylabel="$H(t) - H(0)$")
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
    ax = _axes(ax)
    weight = weight_of(hamiltonian)
    like = torch.empty(0, dtype=torch.float64) if weight is None else weight.detach()
    grid = torch.meshgrid(
        *(torch.linspace(*ends, 121, dtype=like.dtype, device=like.device) for ends in (q, p)),
        indexing="ij",
    )
    with torch.no_grad():
        energy = hamiltonian(torch.stack(grid, dim=-1))
    ax.contour(*(_array(g) for g in grid), _array(energy), levels, colors="0.6", linewidths=0.7)
    ax.set(xlabel="position $q$", ylabel="momentum $p$")
    return ax


def loss_curves(history: History, ax: Axes | None = None) -> Axes:
    """Draw training and held-out loss against the epoch, with the epoch that was kept.

    Parameters
    ----------
    history : History
    ax : matplotlib Axes, optional

    Examples
    --------
    >>> import srnn
    >>> data = srnn.systems.MassSpring().simulate(trajectories=10, steps=9, dt=0.1)
    >>> history = srnn.SRNN(dim=1, hidden=8).fit(data, epochs=3, progress=False)
    >>> srnn.plotting.loss_curves(history).get_xlabel()
    'epoch'
    """
    ax = _axes(ax)
    epochs = np.arange(1, history.epochs + 1)
    ax.semilogy(epochs, history.train_loss, label="training")
    if history.validation_loss:
        ax.semilogy(epochs, history.validation_loss, label="held out")
        if history.best_epoch:
            ax.axvline(history.best_epoch, color="0.6", linestyle=":", label="kept")
    ax.set(xlabel="epoch", ylabel="mean squared residual")
    ax.legend()
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
    ax = _axes(ax)
    image = _checks.picture(getattr(picture, "image", picture), "picture")
    rows, cols = image.shape
    # Equal steps of grey that leave paths of any colour legible.
    ax.imshow(_array(image), cmap="Greys", vmin=0, vmax=2.2, extent=(0, cols, 0, rows))
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
    ax = _axes(ax)
    x, y = _array(trajectories.q[:, index]).T
    ax.plot(x, y, **line)
    ax.set(xlabel="$x$ (px)", ylabel="$y$ (px)")
    return ax


# Timings: of each way by its name, {"seconds": {"median": ..., "q1": ..., "q3": ...}}, or
# {"missing": "why"}, as benchmarks/run.py stores them.
Timings = Mapping[str, Mapping[str, Any]]


def speed(
    timings: Timings, ax: Axes | None = None, *, own: str = "srnn", floor: float | None = None
) -> Axes:
    """Draw the median time of each way as a bar with its quartiles, the first at the top.

    Parameters
    ----------
    timings : mapping of str to mapping
        By name ``{"seconds": {"median": ..., "q1": ..., "q3": ...}}``, or ``{"missing": "why"}``,
        which is written in the place of the bar.
    ax : matplotlib Axes, optional
    own : str
        Names that begin so get bars of another colour, without hatching.
    floor : float, optional
        Seconds below which no time can be, drawn as a line.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> half, one = ({"median": t, "q1": 0.9 * t, "q3": 1.1 * t} for t in (0.005, 0.01))
    >>> timings = {"srnn": {"seconds": half}, "autograd": {"seconds": one}}
    >>> ax = srnn.plotting.speed(timings, plt.figure().gca())
    >>> ax.get_xlabel(), [float(bar.get_width()) for bar in ax.patches]
    ('time [ms]', [5.0, 10.0])
    """
    ax = _axes(ax)
    for place, (name, timing) in enumerate(timings.items()):
        if "seconds" not in timing:
            where: dict[str, Any] = {
                "textcoords": "offset points",
                "va": "center",
                "fontsize": "small",
            }
            ax.annotate(timing["missing"], (0, place), (3, 0), **where)
            continue
        middle, below, above = _milliseconds(timing["seconds"])
        mine = name.startswith(own)
        ax.barh(
            place,
            middle,
            xerr=[[below], [above]],
            color=COLOURS["blue" if mine else "orange"],
            hatch=None if mine else "///",
            edgecolor="white",
            linewidth=0,
            ecolor="black",
            capsize=2,
        )
    if floor is not None:
        ax.axvline(1e3 * floor, color="black", linestyle=":")
    ax.set_yticks(range(len(timings)), list(timings))
    ax.set(xlabel="time [ms]", xlim=(0, None), ylim=(len(timings) - 0.4, -0.6))
    return ax


def growth(
    timings: Mapping[Any, Timings], ax: Axes | None = None, *, size: str = "size", **line: Any
) -> Axes:
    """Draw the median time of each way, with its quartiles, against the size of a problem.

    Both axes are logarithmic: a time in proportion to the size is a line of slope 1.

    Parameters
    ----------
    timings : mapping of int (or its text) to mapping
        By size, timings as :func:`speed` takes them.  Where one is missing the line has a gap.
    ax : matplotlib Axes, optional
    size : str
        What the size is: the label of its axis.
    **line
        Passed on to ``ax.errorbar``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> times = {n: {"median": n / 1e4, "q1": n / 1e4, "q3": n / 1e4} for n in (10, 100)}
    >>> timings = {n: {"srnn": {"seconds": time}} for n, time in times.items()}
    >>> ax = srnn.plotting.growth(timings, plt.figure().gca(), size="steps")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('steps', 'time [ms]')
    """
    ax = _axes(ax)
    by_size = {int(key): value for key, value in timings.items()}
    sizes = sorted(by_size)
    for name in dict.fromkeys(name for n in sizes for name in by_size[n]):
        found = [by_size[n].get(name, {}).get("seconds") for n in sizes]
        middle, *spread = np.array(
            [(np.nan,) * 3 if each is None else _milliseconds(each) for each in found]
        ).T
        look: dict[str, Any] = {"marker": ".", "capsize": 2, "label": name} | line
        ax.errorbar(sizes, middle, spread, **look)
    ax.set(xscale="log", yscale="log", xlabel=size, ylabel="time [ms]")
    return ax


def _milliseconds(seconds: Mapping[str, float]) -> tuple[float, float, float]:
    """Return the median, and how far the quartiles are below and above it."""
    q1, median, q3 = (1e3 * seconds[key] for key in ("q1", "median", "q3"))
    return median, median - q1, q3 - median
