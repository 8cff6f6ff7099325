"""Colours, line styles, and what every figure starts from."""

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from torch import Tensor

__all__ = ["BARS", "COLOURS", "LINES", "array", "axes", "bars", "beside", "style"]

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
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
# Hatched where a bar is not our own, so that it reads in grey.
_BAR: dict[str, Any] = {"edgecolor": "white", "linewidth": 0, "ecolor": "black"}
BARS: dict[str, dict[str, Any]] = {
    "ours": _BAR | {"color": COLOURS["blue"]},
    "published": _BAR | {"color": COLOURS["orange"], "hatch": "///"},
}


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
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=[COLOURS[n] for n in names]) + cycler(linestyle=LINES),
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


def axes(ax: Axes | None) -> Axes:
    """Return the axes to draw on: the current ones if none are given."""
    return plt.gca() if ax is None else ax


def beside(ax: Axes, text: str, place: float, size: str) -> None:
    """Write a text where a bar is missing."""
    ax.annotate(text, (0, place), (3, 0), textcoords="offset points", va="center", fontsize=size)


def bars(ax: Axes, names: list[str], xlabel: str, limit: float | None) -> Axes:
    """Name the rows of a figure of bars, the first at the top."""
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel=xlabel, xlim=(0, limit), ylim=(len(names) - 0.4, -0.6))
    return ax


def array(values: Tensor) -> Any:
    """Return a tensor as what Matplotlib draws."""
    return values.detach().cpu().numpy()
