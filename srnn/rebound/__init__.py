r"""Rebounds: a step with the event inside it, and walls that are known or learnt from a picture.

Section 6 of the paper.  A ball that meets a wall reverses the component of its momentum that is
orthogonal to it, at an instant inside a time step.  A step is made in three parts, equations (6) to
(8): to the wall, at a time :math:`\alpha\,\Delta t`; the reflection :math:`p \leftarrow p - 2(p
\cdot n)\,n`; and the rest of the step.  :func:`with_rebound` makes such a step of any explicit one,
and asks *walls* for n and :math:`\alpha`:

====================== ==========================================================================
:class:`PatchWalls`    the paper's networks (appendix A.3), which see patches of a picture
:class:`LevelSetWalls` one function of the picture, whose zero is the wall: the default.  Where
                       pixels are black or white it is known, where they are grey it is learnt
:class:`KnownWalls`    the exact walls of a room, to compare with
====================== ==========================================================================

or any function of the two positions.  ``srnn.SRNN(dim=2, hidden=32, rebound=image)`` learns the
walls and the motion between them together.
"""

from srnn.rebound._known import KnownWalls
from srnn.rebound._level_set import LevelSetWalls
from srnn.rebound._module import ScaledWalls, WalledH
from srnn.rebound._networks import PatchWalls
from srnn.rebound._observed import ObservedRebounds, observed_rebounds
from srnn.rebound._patches import patches
from srnn.rebound._picture import PictureWalls
from srnn.rebound._record import ReboundRecord, record
from srnn.rebound._restitution import Restitution
from srnn.rebound._start import fit_free_motion, start_from_rebounds
from srnn.rebound._step import Rebound, Walls, reflect, with_rebound

__all__ = [
    "KnownWalls",
    "LevelSetWalls",
    "ObservedRebounds",
    "PatchWalls",
    "PictureWalls",
    "Rebound",
    "ReboundRecord",
    "Restitution",
    "ScaledWalls",
    "WalledH",
    "Walls",
    "fit_free_motion",
    "observed_rebounds",
    "patches",
    "record",
    "reflect",
    "start_from_rebounds",
    "with_rebound",
]
