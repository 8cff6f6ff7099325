"""Predictions that are stored as plain numbers: the figures of the paper."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from srnn.results.plotting._style import BARS, COLOURS, LINES, axes, bars, beside

__all__ = ["error_curves", "many_positions", "one_position", "orbits", "published_and_ours"]


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


def error_curves(
    curves: Mapping[str, ArrayLike],
    dt: float,
    ax: Axes | None = None,
    *,
    limit: float | None = None,
    **line: Any,
) -> Axes:
    """Draw stored errors against time, a line a method, as Figures 1 (left) and 2 of the paper.

    Colour and line style both change from line to line, and up to 49 lines differ in one of them.

    Parameters
    ----------
    curves : mapping of str to array, shape (time,)
        By the method's name: its error at every state, averaged over the test set.
    dt : float
    ax : matplotlib Axes, optional
    limit : float, optional
        Where the axis of errors ends, so that a prediction that runs away hides no other.
    **line
        Passed on to ``ax.plot``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> curves = {
    ...     cell.label: cell.curve["noisy"]
    ...     for cell in srnn.experiments.results("table1", column="oracle", seed=0)
    ... }
    >>> ax = srnn.plotting.error_curves(curves, 0.1, plt.figure().gca(), limit=10)
    >>> [line.get_label() for line in ax.lines][:2]
    ['exact flow L', 'perfect']
    """
    ax = axes(ax)
    for place, (name, values) in enumerate(curves.items(), start=len(ax.lines)):
        errors = np.asarray(values, dtype=float)
        look: dict[str, Any] = _look(place) | {"label": name}
        ax.plot(dt * np.arange(len(errors)), errors, **(look | line))
    ax.set(xlabel="time $t$", ylabel=r"error $\|\hat q - q\|_2$")
    ax.set_ylim(0, limit)
    return ax


def _look(place: int) -> dict[str, Any]:
    """Return a colour and a line style that no other of 49 places has together."""
    colours = [*list(COLOURS.values())[1:], COLOURS["black"]]
    count = len(colours)
    style = LINES[(place + place // count) % count]
    return {"color": colours[place % count], "linestyle": style}


def one_position(
    times: ArrayLike,
    predictions: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    *,
    truth: ArrayLike | None = None,
    observed: ArrayLike | None = None,
    limit: float | None = None,
    **line: Any,
) -> Axes:
    """Draw what several models predict of one position, as Figures 1 (right) and 3 of the paper.

    Parameters
    ----------
    times : array, shape (time,)
    predictions : mapping of str to array, shape (time,)
        By the model's name.
    ax : matplotlib Axes, optional
    truth : array, optional
        Drawn as a broad grey line.
    observed : array, optional
        Drawn as dots.
    limit : float, optional
        Largest position that is shown, on either side of zero.
    **line
        Passed on to ``ax.plot`` for the predictions.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, numpy as np, srnn
    >>> t = np.arange(60) / 10
    >>> ax = srnn.plotting.one_position(
    ...     t, {"late": np.sin(t - 0.1)}, plt.figure().gca(), truth=np.sin(t), limit=2
    ... )
    >>> ax.get_legend_handles_labels()[1]
    ['truth', 'late']
    """
    ax = axes(ax)
    if truth is not None:
        ax.plot(times, truth, color="0.75", linestyle="-", linewidth=4, label="truth")
    if observed is not None:
        ax.plot(times, observed, ".", color="0.3", markersize=3, label="observed")
    for place, (name, values) in enumerate(predictions.items()):
        look: dict[str, Any] = _look(place) | {"label": name}
        ax.plot(times, values, **(look | line))
    ax.set(xlabel="time $t$", ylabel="position $q$")
    if limit is not None:
        ax.set_ylim(-limit, limit)
    return ax


def many_positions(
    times: ArrayLike,
    predicted: ArrayLike,
    truth: ArrayLike,
    axs: Iterable[Axes] | None = None,
    *,
    observed: ArrayLike | None = None,
    numbers: Sequence[int] | None = None,
    limit: float | None = None,
    **line: Any,
) -> Any:
    """Draw one model's prediction of several positions, each on its own axes.

    Figures 5 to 19 of the paper show ten masses of the chain so.

    Parameters
    ----------
    times : array, shape (time,)
    predicted, truth : array, shape (time, positions)
    axs : iterable of matplotlib Axes, optional
        One a position; by default they are made in the current figure, five a row.
    observed : array, shape (time, positions), optional
    numbers : sequence of int, optional
        Of the positions, for their titles; by default from 1.
    limit : float, optional
        Largest position that is shown, on either side of zero.
    **line
        Passed on to ``ax.plot`` for the prediction.

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    ValueError
        If the arrays do not fit together, or the axes do not fit them.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> data = srnn.systems.SpringChain.random(masses=6).simulate(1, steps=60, dt=0.1)
    >>> figure = plt.figure()
    >>> axs = srnn.plotting.many_positions(data.times, 0.9 * data.q[:, 0], data.q[:, 0])
    >>> [ax.get_title() for ax in axs][-1]
    'mass 6'
    """
    values, exact = _table(predicted, "predicted"), _table(truth, "truth")
    if values.shape != exact.shape:
        raise ValueError(f"Expected `truth` to have shape {values.shape}; got {exact.shape}.")
    seen = None if observed is None else _table(observed, "observed")
    count = values.shape[1]
    names = range(1, count + 1) if numbers is None else numbers
    if axs is None:
        columns = min(5, count)
        grid = plt.gcf().subplots(-(-count // columns), columns, sharex=True, sharey=True)
        every = list(np.ravel(grid))
        for spare in every[count:]:
            spare.set_axis_off()
        axs = every[:count]
    panels = np.array(list(axs), dtype=object)
    if not len(panels) == len(names) == count:
        raise ValueError(
            f"Expected {count} axes and numbers; got {len(panels)} axes and {len(names)} numbers."
        )
    for place, (ax, number) in enumerate(zip(panels, names, strict=True)):
        one_position(
            times,
            {"prediction": values[:, place]},
            ax,
            truth=exact[:, place],
            observed=None if seen is None else seen[:, place],
            limit=limit,
            **line,
        )
        ax.set_title(f"mass {number}", fontsize="small")
        ax.label_outer()
    return panels


def published_and_ours(
    rows: Mapping[str, Mapping[str, Any]],
    ax: Axes | None = None,
    *,
    floors: Mapping[str, float] | None = None,
    limit: float | None = None,
) -> Axes:
    """Draw the rows of a table: published numbers and those computed here, the first at the top.

    Parameters
    ----------
    rows : mapping of str to mapping
        By the row's name: ``"published"`` and ``"ours"``, each a mean and a standard deviation,
        or None.  A row without ours is marked as not run yet.
    ax : matplotlib Axes, optional
    floors : mapping of str to float, optional
        Errors of predictors that need no learning, drawn as lines.
    limit : float, optional
        Where the axis of errors ends.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> rows = {
    ...     "L-L": {"published": (2.37, 0.87), "ours": (3.4, 0.7)},
    ...     "E-E": {"published": (7.58, 0.63), "ours": None},
    ... }
    >>> ax = srnn.plotting.published_and_ours(rows, plt.figure().gca(), floors={"exact": 1.2})
    >>> [text.get_text() for text in ax.texts]
    ['not run yet']
    """
    ax = axes(ax)
    for kind, shift in (("published", -0.2), ("ours", 0.2)):
        given = [(place, row.get(kind)) for place, row in enumerate(rows.values())]
        there = [(place + shift, *each) for place, each in given if each is not None]
        if there:
            where, mean, std = zip(*there, strict=True)
            thin = {"linewidth": 0.8}
            ax.barh(where, mean, xerr=std, height=0.4, label=kind, error_kw=thin, **BARS[kind])
        for place, each in given:
            if each is None and kind == "ours":
                beside(ax, "not run yet", place + shift, "x-small")
    for (name, value), dashes in zip((floors or {}).items(), LINES[2:], strict=False):
        ax.axvline(value, color="black", label=name, linewidth=1, linestyle=dashes)
    return bars(ax, list(rows), r"error $\|\hat q - q\|_2$", limit)
