"""Figures that a running kernel draws anew for the values of their controls."""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

__all__ = ["live"]

# What `live` has made and is still there: the book's scripts move each control of each figure.
made: "weakref.WeakSet[Any]" = weakref.WeakSet()


def live(draw: Callable[..., Figure], **controls: Any) -> Any:
    """Redraw a figure as its controls move; needs a running kernel.

    A control starts at the default of its argument, if `draw` has one and the control can take it,
    and in the middle otherwise.

    Parameters
    ----------
    draw : callable
        Makes a Matplotlib figure of the controls' values; the figure is closed afterwards.
    **controls
        What ``ipywidgets.interactive`` takes: a range ``(low, high, step)``, a list of choices or a
        widget for each argument of `draw` that is to move.  The others keep their defaults.

    Returns
    -------
    ipywidgets.interactive
        Display it in a notebook.

    Examples
    --------
    >>> import contextlib, io, matplotlib.pyplot as plt, srnn
    >>> def draw(n, style="-"):
    ...     figure, ax = plt.subplots(figsize=(2, 1))
    ...     ax.plot(range(n), style)
    ...     return figure
    >>> with contextlib.redirect_stdout(io.StringIO()):  # outside Jupyter it is shown as text
    ...     controls = srnn.widgets.live(draw, n=(2, 9, 1))
    >>> controls.children[0].description, controls.children[0].value
    ('n', 5)
    """
    import ipywidgets
    from IPython.display import display

    def show(**values: Any) -> None:
        figure = draw(**values)
        display(figure)
        plt.close(figure)

    # ipywidgets finds the names and the defaults of the arguments here, and would make a control
    # also of a default that is not meant to move.
    arguments = inspect.signature(draw).parameters
    unknown = set(controls) - set(arguments)
    if unknown and not any(a.kind is a.VAR_KEYWORD for a in arguments.values()):
        raise ValueError(
            f"Expected a control for arguments of `draw`, {', '.join(arguments)}; got "
            f"{', '.join(sorted(unknown))}."
        )
    show.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=arguments[name].default if name in arguments else inspect.Parameter.empty,
            )
            for name in controls
        ]
    )
    made_here = ipywidgets.interactive(show, **controls)
    for control in made_here.kwargs_widgets:
        if hasattr(control.style, "description_width"):
            control.style.description_width = "initial"  # the whole name, however long
    made.add(made_here)
    return made_here
