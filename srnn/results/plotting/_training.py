"""What training and computing take."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from srnn.results.plotting._style import BARS, axes, bars, beside

__all__ = ["growth", "speed"]


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
    ax = axes(ax)
    for place, (name, timing) in enumerate(timings.items()):
        if "seconds" not in timing:
            beside(ax, timing["missing"], place, "small")
            continue
        middle, below, above = _milliseconds(timing["seconds"])
        look = BARS["ours" if name.startswith(own) else "published"]
        ax.barh(place, middle, xerr=[[below], [above]], capsize=2, **look)
    if floor is not None:
        ax.axvline(1e3 * floor, color="black", linestyle=":")
    return bars(ax, list(timings), "time [ms]", None)


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
    ax = axes(ax)
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
