"""Known walls: the oracle that learnt walls are measured against."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Half
from srnn.systems import Room
from srnn.systems._contacts import Walls as Contacts
from srnn.systems._outline import normals_of

__all__ = ["KnownWalls"]


class KnownWalls:
    r"""The exact rebounds of a room whose walls are known.

    Parameters
    ----------
    room : Room
    acceleration : (float, float)
        Constant acceleration of the ball, in pixels and the unit of time of the steps: the way
        from q to the tentative position is then a parabola, and :math:`\alpha` its exact meeting
        with the wall.  For (0, 0) the way is a straight line.
    restitution : float
        In [0, 1].

    Notes
    -----
    Nothing here is differentiable: the walls are given and not learnt.

    Examples
    --------
    >>> import torch, srnn
    >>> walls = KnownWalls(srnn.systems.Room.box())
    >>> n, alpha = walls(torch.tensor([[60.0, 14.0]]), torch.tensor([[60.0, 10.0]]))
    >>> n.tolist(), alpha.item()
    ([[0.0, 1.0]], 0.5)
    """

    timed = True
    dim = 2

    def __init__(
        self,
        room: Room,
        *,
        acceleration: tuple[float, float] = (0.0, 0.0),
        restitution: float = 1.0,
    ) -> None:
        if not isinstance(room, Room):
            raise TypeError(
                f"Expected `room` to be a srnn.systems.Room; got {type(room).__name__}."
            )
        self.room = room
        self.acceleration = np.array([_checks.finite(a, "acceleration") for a in acceleration])
        self.restitution = _checks.unit_interval(restitution, "restitution")
        segments, gaps = room.segments.numpy(), room.gaps.numpy()
        normals = normals_of(np.concatenate((segments, gaps)))
        self._contacts = Contacts.of(segments, gaps, normals, 0.0, room.touch)

    def __call__(self, q: Half, tentative: Half, dt: Any = 1.0) -> tuple[Half, Tensor]:
        r"""Give n and :math:`\alpha` of the steps of length `dt` from `q` to `tentative`."""
        flat = [x.detach().reshape(-1, 2).double().cpu().numpy() for x in (q, tentative)]
        start, end = flat
        if isinstance(dt, Tensor):
            dt = dt.detach().double().cpu().numpy().reshape(-1, 1)
        bend = np.broadcast_to(self.acceleration * dt**2, start.shape)  # time in units of the step
        free = np.full(len(start), -1)
        times, what = self._contacts.next_contact(
            start, end - start - bend / 2, bend, free, np.ones(len(start))
        )
        met = (times <= 1) & ~self._contacts.exits[what]
        n = np.where(met[:, None], self._contacts.normal[np.where(met, what, 0)], 0.0)
        alpha = np.where(met, times, 1.0)
        length = math.sqrt((1 + self.restitution) / 2)
        return (
            torch.from_numpy(length * n).to(q).reshape(q.shape),
            torch.from_numpy(alpha).to(q).reshape(*q.shape[:-1], 1),
        )
