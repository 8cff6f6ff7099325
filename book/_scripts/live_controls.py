"""Find the live controls that do nothing; `execute_book` runs this in a chapter's kernel."""

import sys
from collections.abc import Callable
from typing import Any

from IPython import get_ipython


def other_value(control: Any) -> Any:
    """Return a value that a control does not have now: one of its ends, or another choice."""
    if hasattr(control, "options"):
        chosen = control.options[(control.index + 1) % len(control.options)]
        return chosen[1] if isinstance(chosen, tuple) else chosen
    if isinstance(control.value, bool):
        return not control.value
    return control.min if control.value == control.max else control.max


def pictures(act: Callable[[], None]) -> list[str]:
    """Return what is displayed while `act` runs: the pictures, in base64. They go nowhere else."""
    shown: list[str] = []

    def watch(message: Any) -> None:
        picture = message.get("content", {}).get("data", {}).get("image/png")
        if picture is not None:
            shown.append(picture)

    display = get_ipython().display_pub
    display.register_hook(watch)
    try:
        act()
    finally:
        display.unregister_hook(watch)
    return shown


def idle_controls() -> list[str]:
    """Move every control of every live figure there and back, and say which of them do nothing.

    A control works if each of its values shows one picture, another value another one, and the
    first value again the first picture.
    """
    library = sys.modules.get("srnn.results.widgets._live")
    found = []
    for figure in () if library is None else library.made:
        for control in figure.kwargs_widgets:
            here, there = control.value, other_value(control)
            shown = [pictures(figure.update)]
            for value in (there, here):
                shown.append(pictures(lambda c=control, v=value: setattr(c, "value", v)))
            name = control.description
            if {len(each) for each in shown} != {1}:
                found.append(f"{name}: not one picture for each of {here} and {there}")
            elif shown[0] == shown[1]:
                found.append(f"{name}: the same picture for {here} and {there}")
            elif shown[0] != shown[2]:
                found.append(f"{name}: the picture for {here} is not always the same")
    return sorted(found)
