"""Interactive figures: a slider and motions that need no kernel, and a live figure."""

from srnn.results.widgets._animation import ball, bodies
from srnn.results.widgets._live import live
from srnn.results.widgets._slider import slider

__all__ = ["ball", "bodies", "live", "slider"]
