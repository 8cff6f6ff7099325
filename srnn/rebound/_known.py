"""Known walls: the oracle that learnt walls are measured against."""

import math

import numpy as np
import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Half
from srnn.rebound._picture import on_picture
from srnn.systems import Room
from srnn.systems._contacts import Contacts
from srnn.systems._outline import normals_of

__all__ = ["KnownWalls"]

_TOUCH = 1e-3
"""Pixels within which a ball is on a wall: single precision may put it a little behind."""


class KnownWalls:
    r"""The exact rebounds of a room whose walls are known.

    Parameters
    ----------
    room : Room
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

    straight = True
    dim = 2

    def __init__(self, room: Room, *, restitution: float = 1.0) -> None:
        if not isinstance(room, Room):
            raise TypeError(
                f"Expected `room` to be a srnn.systems.Room; got {type(room).__name__}."
            )
        self.room = room
        self.restitution = _checks.unit_interval(restitution, "restitution")
        segments, gaps = room.segments.numpy(), room.gaps.numpy()
        normals = normals_of(np.concatenate((segments, gaps)))
        self._contacts = Contacts.of(segments, gaps, normals, 0.0, _TOUCH)

    def __call__(self, q: Half, tentative: Half) -> tuple[Half, Tensor]:
        r"""Give n and :math:`\alpha` of the steps from `q` to `tentative`."""
        start, end = (x.detach().reshape(-1, 2).double().cpu().numpy() for x in (q, tentative))
        way, none = end - start, np.zeros_like(start)
        free, whole = np.full(len(start), -1), np.ones(len(start))
        times, what = self._contacts.next_contact(start, way, none, free, whole)
        met = (times <= 1) & ~self._contacts.exits[what]
        n = np.where(met[:, None], self._contacts.normal[np.where(met, what, 0)], 0.0)
        alpha = np.where(met, times, 1.0)
        length = math.sqrt((1 + self.restitution) / 2)
        return (
            torch.from_numpy(length * n).to(q).reshape(q.shape),
            torch.from_numpy(alpha).to(q).reshape(*q.shape[:-1], 1),
        )

    def on_wall(self, q: Half, depth: float = _TOUCH) -> Tensor:
        """Whether `q` ``(..., 2)`` is more than `depth` pixels outside of the free space.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = srnn.rebound.KnownWalls(srnn.systems.Room.box())
        >>> walls.on_wall(torch.tensor([[60.0, 60.0], [60.0, 12.0], [60.0, 6.0]])).tolist()
        [False, False, True]
        """
        return self.inside(q) & ~self.room.contains(q) & (self.room.distance(q) > depth)

    def inside(self, q: Half) -> Tensor:
        """Whether `q` ``(..., 2)`` is on the room's picture.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = srnn.rebound.KnownWalls(srnn.systems.Room.box())
        >>> walls.inside(torch.tensor([[60.0, 60.0], [60.0, -1.0]])).tolist()
        [True, False]
        """
        return on_picture(q, *self.room.size)
