"""Figures.  Each function takes results and an ``ax``, draws, and returns the ``ax``.

The colours are Okabe and Ito's (2008), which colour-blind readers can tell apart.  Line styles
change with them, so that a figure also reads in grey.  Backgrounds are opaque, so that axes stay
legible on a dark page.
"""

from srnn.results.plotting._predictions import (
    error_curves,
    many_positions,
    one_position,
    orbits,
    published_and_ours,
)
from srnn.results.plotting._style import COLOURS, style
from srnn.results.plotting._training import growth, speed
from srnn.results.plotting._trajectories import (
    coordinate,
    energy_contours,
    error_over_time,
    path,
    phase_portrait,
    room,
)

__all__ = [
    "COLOURS",
    "coordinate",
    "energy_contours",
    "error_curves",
    "error_over_time",
    "growth",
    "many_positions",
    "one_position",
    "orbits",
    "path",
    "phase_portrait",
    "published_and_ours",
    "room",
    "speed",
    "style",
]
