"""Predictions that are stored as plain numbers: the figures of the paper."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from srnn.plotting._style import COLOURS, axes

__all__ = ["orbits"]


def _table(values: ArrayLike, name: str) -> Any:
    """Return numbers by time and position."""
    found = np.asarray(values, dtype=float)
    if found.ndim != 2:
        raise ValueError(f"Expected `{name}` to have shape (time, positions); got {found.shape}.")
    return found


def orbits(
    q: ArrayLike,
    ax: Axes | None = None,
    *,
    label: str | None = None,
    starts: bool = True,
    **line: Any,
) -> Axes:
    """Draw the orbits of bodies in the plane, a colour a body, as appendix E of the paper.

    Parameters
    ----------
    q : array, shape (time, 2 * bodies)
        Positions, x and y of one body after the other.
    ax : matplotlib Axes, optional
    label : str, optional
        Of all the orbits together, for a legend.
    starts : bool
        Mark where each body is at first.
    **line
        Passed on to ``ax.plot``, such as ``linestyle="--"`` for a prediction beside the truth.

    Raises
    ------
    ValueError
        If `q` is no such array.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> truth = srnn.systems.ThreeBody().simulate(1, steps=5, dt=1.0)
    >>> ax = srnn.plotting.orbits(truth.q[:, 0], plt.figure().gca(), label="truth")
    >>> ax.get_xlabel(), len(ax.lines)
    ('position $x$', 3)
    """
    positions = _table(q, "q")
    if not positions.shape[1] or positions.shape[1] % 2:
        raise ValueError(f"Expected `q` to hold x and y of each body; got {positions.shape[1]}.")
    ax = axes(ax)
    colours = list(COLOURS.values())[1:]
    for body, (x, y) in enumerate(positions.T.reshape(-1, 2, len(positions))):
        look: dict[str, Any] = {"color": colours[body % len(colours)], "linestyle": "-"}
        look |= {"label": label if body == 0 else None}
        if starts:
            look |= {"marker": "o", "markevery": [0], "markersize": 4}
        ax.plot(x, y, **(look | line))
    ax.set(xlabel="position $x$", ylabel="position $y$")
    ax.set_aspect("equal", adjustable="datalim")
    return ax
