"""Motion of balls among walls, from contact to contact, and their bounces in order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnn.systems._contacts import Contacts, Index, falls_to_zero
from srnn.systems._outline import Array

__all__ = ["Bounces", "Motion", "follow", "sorted_bounces"]

FREE, RESTING = -1, -2

REST = 1e-3
"""Height of a bounce, in units of the distance that counts as touching, below which there is none:
the ball stays on the wall."""

HOP = 1e4
"""The same for arcs, on which a ball cannot slide in closed form: it hops at least so high."""

NOTCH = 4.0
"""Distance, in units of a hop's height, within which a slow ball on an arc touches another wall
and so can come to rest between the two."""

JAM = 1000
"""Contacts at one moment, after which a ball has lost its velocity in a corner.  An elastic one
would not lose it and is given up: only in a corner sharper than pi / JAM does it need so many."""

DEAD_JAM = 10
"""The same for a ball that does not rebound at all.  In an acute corner each wall turns it to the
other one, again and again, and its velocity has no other limit than zero."""


class Motion(NamedTuple):
    """What became of a batch of balls."""

    values: Array
    """Positions and velocities (times, n, 4); NaN after the ball left or stalled."""
    left: NDArray[np.bool_]
    stalled: NDArray[np.bool_]
    ball: Index
    """Which ball each bounce is of; the bounces are in no order."""
    time: Array
    position: Array
    normal: Array


class Bounces(NamedTuple):
    """All bounces of a batch of trajectories, sorted by trajectory and then by time.

    Examples
    --------
    >>> import torch, srnn
    >>> billiard = srnn.systems.Billiard(gravity=0.0)
    >>> bounces = billiard.bounces(torch.tensor([[64.0, 64.0, 26.0, 0.0]]), dt=0.5, steps=8)
    >>> bounces.time, bounces.step, bounces.normal[:, 0]
    (tensor([2.], dtype=torch.float64), tensor([4]), tensor([-1.], dtype=torch.float64))
    """

    trajectory: Tensor
    """Which trajectory, int64, shape (n,)."""
    time: Tensor
    """When, from the start, float64, shape (n,)."""
    step: Tensor
    """The k with k dt <= time < (k + 1) dt, int64, shape (n,)."""
    position: Tensor
    """Where the ball's centre is, float64, shape (n, 2)."""
    normal: Tensor
    """Unit vector orthogonal to the wall, into the room, float64, shape (n, 2)."""


def follow(
    walls: Contacts, x: Array, v: Array, times: Array, gravity: float, restitution: float
) -> Motion:
    """Follow balls from `x` (n, 2) and `v` (n, 2) at time 0 through all `times`."""
    return _Engine(walls, x, v, times, gravity, restitution).run()


def sorted_bounces(motions: Sequence[Motion], times: Array, device: torch.device) -> Bounces:
    """Sort the bounces of consecutive parts of a batch; `times` are those of the states."""
    firsts = np.cumsum([0, *(m.values.shape[1] for m in motions[:-1])])
    ball = np.concatenate([m.ball + i for m, i in zip(motions, firsts, strict=True)])
    time = np.concatenate([m.time for m in motions])
    # Within one moment, as in a corner, the order is that in which they were found.
    order = np.lexsort((time, ball))
    position = np.concatenate([m.position for m in motions])[order]
    normal = np.concatenate([m.normal for m in motions])[order]
    step = np.searchsorted(times, time[order], side="right") - 1
    parts = (ball[order], time[order], step, position, normal)
    return Bounces(*(torch.from_numpy(part).to(device) for part in parts))


class _Engine:
    def __init__(
        self, walls: Contacts, x: Array, v: Array, times: Array, gravity: float, restitution: float
    ) -> None:
        count = len(x)
        self.walls, self.times = walls, times
        self.fall = np.array([0.0, -gravity])
        self.restitution = restitution
        self.x, self.v = x.copy(), v.copy()
        self.t = np.zeros(count)
        self.energy = (v * v).sum(-1) / 2 + gravity * x[:, 1]
        # The edge that a ball slides on, FREE or RESTING.
        self.contact = np.full(count, FREE)
        self.filled = np.zeros(count, dtype=np.int64)
        self.idle = np.zeros(count, dtype=np.int64)
        self.values = np.full((len(times), count, 4), np.nan)
        self.left = np.zeros(count, dtype=np.bool_)
        self.stalled = np.zeros(count, dtype=np.bool_)
        self.bounces: list[tuple[Index, Array, Array, Array]] = []

    def run(self) -> Motion:
        balls = np.arange(len(self.x))
        while len(balls):
            balls = self._advance(balls)
        empty = (np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2)))
        parts = (np.concatenate(part) for part in zip(empty, *self.bounces, strict=True))
        return Motion(self.values, self.left, self.stalled, *parts)

    def _advance(self, balls: Index) -> Index:
        """Move each ball to its next contact; return those that get there in time."""
        x, v, t, contact = self.x[balls], self.v[balls], self.t[balls], self.contact[balls]
        a = self._acceleration(contact)
        wait, what = self.walls.next_contact(x, v, a, contact, self.times[-1] - t)
        wait[contact == RESTING] = np.inf
        ends = self._end_of_slide(x, v, a, contact)
        slid = ends < wait
        wait = np.minimum(wait, ends)
        self._fill(balls, x, v, a, t, t + wait)
        going = t + wait < self.times[-1]
        balls, wait = balls[going], wait[going]
        what, slid = what[going], slid[going]
        step = wait[:, None]
        self.x[balls] = x[going] + v[going] * step + a[going] * step * step / 2
        self.v[balls] = v[going] + a[going] * step
        self.t[balls] += wait
        self.contact[balls[slid]] = FREE
        moment = 1e-14 * self.times[-1]
        self.idle[balls] = np.where(wait > moment, 0, self.idle[balls] + 1)
        meets = ~slid
        leaves = np.zeros_like(slid)
        edge = what < len(self.walls.exits)
        leaves[edge] = self.walls.exits[what[edge]]
        leaves &= meets
        self.left[balls[leaves]] = True
        meets &= ~leaves
        self._collide(balls[meets], what[meets], a[going][meets])
        jammed = self.idle[balls] > (JAM if self.restitution > 0 else DEAD_JAM)
        self.v[balls[jammed]] = 0
        self.idle[balls[jammed]] = 0
        stalls = jammed & (self.restitution == 1)
        self.stalled[balls[stalls]] = True
        remaining: Index = balls[~leaves & ~stalls]
        return remaining

    def _acceleration(self, contact: Index) -> Array:
        """Acceleration (n, 2): of free fall, along the edge that a ball slides on, or none."""
        a = np.tile(self.fall, (len(contact), 1))
        on = contact >= 0
        a[on] = _without(a[on], self.walls.normal[contact[on]])
        a[contact == RESTING] = 0
        return a

    def _end_of_slide(self, x: Array, v: Array, a: Array, contact: Index) -> Array:
        """Time until a sliding ball is past an end of its edge; infinite for the others.

        An edge that closes the way is met before this, on the last bit of the way that the
        tolerance adds.
        """
        times = np.full(len(x), np.inf)
        on = np.flatnonzero(contact >= 0)
        if len(on):
            edge = contact[on]
            along, slack = self.walls.along[edge], 2 * self.walls.touch
            place = _dot(x[on], along) - self.walls.origin[edge]
            pace, push = _dot(v[on], along), _dot(a[on], along)
            ahead = np.maximum(self.walls.length[edge] + slack - place, 0)
            behind = np.maximum(place + slack, 0)
            times[on] = np.minimum(
                falls_to_zero(ahead, -pace, -push), falls_to_zero(behind, pace, push)
            )
        return times

    def _fill(self, balls: Index, x: Array, v: Array, a: Array, t: Array, until: Array) -> None:
        """Write down the states at all times up to the next contact."""
        first = self.filled[balls]
        last = np.searchsorted(self.times, until, side="right")
        count = np.maximum(last - first, 0)
        which = np.repeat(np.arange(len(balls)), count)
        number = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + first[which]
        step = (self.times[number] - t[which])[:, None]
        self.values[number, balls[which], :2] = x[which] + v[which] * step + a[which] * step**2 / 2
        self.values[number, balls[which], 2:] = v[which] + a[which] * step
        self.filled[balls] = first + count

    def _collide(self, balls: Index, what: Index, a: Array) -> None:
        """Reflect the balls that have come to a wall, or lay them on it."""
        walls, touch = self.walls, self.walls.touch
        x, v, held = self.x[balls], self.v[balls], self.contact[balls]
        arc = what >= len(walls.offset)
        n = np.empty_like(x)
        flat = np.flatnonzero(~arc)
        n[flat] = walls.normal[what[flat]]
        x[flat] -= (_dot(x[flat], n[flat]) - walls.offset[what[flat]])[:, None] * n[flat]
        round_ = np.flatnonzero(arc)
        corner = walls.corners[what[round_] - len(walls.offset)]
        n[round_] = _unit(x[round_] - corner)
        x[round_] = corner + walls.radius * n[round_]

        inwards = np.minimum(_dot(v, n), 0)
        pull = _dot(a, n)
        real = -inwards > _slow(pull, np.where(arc, 2 * HOP, REST) * touch)
        self.bounces.append((balls[real], self.t[balls[real]], x[real], n[real]))
        v = v - ((1 + self.restitution) * inwards)[:, None] * n

        # A ball that slid on an edge still does unless the wall it met lifted it off.
        support = walls.normal[np.maximum(held, 0)]
        weight = _dot(self.fall, support)
        lift = _dot(v, support)
        slow = _slow(weight, REST * touch) + 1e-14 * np.linalg.norm(v, axis=-1)
        holds = (held >= 0) & (np.abs(lift) <= slow)
        v[holds] = _without(v[holds], support[holds])
        pull = np.where(holds, pull, self.fall @ n.T)
        away = _dot(v, n)
        stays = ~arc & (pull < 0) & (away <= _slow(pull, REST * touch))
        v[stays] = _without(v[stays], n[stays])
        wedged = (
            holds & stays & (_dot(_without(np.broadcast_to(self.fall, n.shape), n), support) < 0)
        )
        v[wedged] = 0
        contact = np.where(stays, what, np.where(holds & ~arc, held, FREE))
        self.contact[balls] = np.where(wedged, RESTING, contact)

        if len(round_):
            self._hop(v, n, round_)
            rests = round_[self._in_notch(x[round_], v[round_], n[round_], what[round_])]
            v[rests] = 0
            self.contact[balls[rests]] = RESTING
        self.x[balls] = x
        self.v[balls] = self._restored(balls, x, v) if self.restitution == 1 else v

    def _hop(self, v: Array, n: Array, which: Index) -> None:
        """Keep a ball that lies on an arc a little above it."""
        normal = n[which]
        along = _without(v[which], normal)
        away, pace = _dot(v[which], normal), _dot(along, along)
        # Where a fast ball leaves the arc by itself, no acceleration brings it back.
        least = _slow(normal @ self.fall + pace / self.walls.radius, HOP * self.walls.touch)
        hops = away < least
        # The energy of the hop comes from the way along the wall, if there is enough.
        cost = np.where(hops & (pace > 4 * least**2), least**2 - away**2, 0.0)
        scale = np.sqrt(1 - cost / np.where(cost > 0, pace, 1.0))
        v[which] = scale[:, None] * along + np.where(hops, least, away)[:, None] * normal

    def _in_notch(self, x: Array, v: Array, n: Array, what: Index) -> NDArray[np.bool_]:
        """Which slow balls on an arc of normal `n` another wall keeps from moving on."""
        near = NOTCH * HOP * self.walls.touch
        slow = (v * v).sum(-1) <= 2 * np.linalg.norm(self.fall) * NOTCH * near
        found = np.zeros(len(x), dtype=np.bool_)
        for i in np.flatnonzero(slow):
            others = self.walls.normals_near(x[i], near, int(what[i]))
            # Two walls hold a ball if its weight is a sum of pushes against both.
            turn = n[i, 0] * others[:, 1] - n[i, 1] * others[:, 0]
            on_this = (self.fall[1] * others[:, 0] - self.fall[0] * others[:, 1]) * turn
            on_other = (self.fall[0] * n[i, 1] - self.fall[1] * n[i, 0]) * turn
            # Where an arc goes over into its edge their normals are one, which is no notch.
            found[i] = ((on_this >= 0) & (on_other > 0) & (np.abs(turn) > 1e-3)).any()
        return found

    def _restored(self, balls: Index, x: Array, v: Array) -> Array:
        """Velocities with the length that the energy asks for, so that rounding does not add up."""
        square = (v * v).sum(-1)
        wanted = 2 * (self.energy[balls] + x @ self.fall)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.sqrt(np.maximum(wanted, 0) / square)
        factor[~(np.abs(factor - 1) < 1e-6)] = 1
        restored: Array = v * factor[:, None]
        return restored


def _dot(a: Array, b: Array) -> Array:
    product: Array = (a * b).sum(axis=-1)
    return product


def _unit(a: Array) -> Array:
    unit: Array = a / np.linalg.norm(a, axis=-1, keepdims=True)
    return unit


def _without(a: Array, n: Array) -> Array:
    """Part of `a` orthogonal to the unit vectors `n`."""
    return a - _dot(a, n)[:, None] * n


def _slow(pull: Array, height: float | Array) -> Array:
    """Return the normal speed of a bounce of a height where `pull` brings the ball back."""
    return np.sqrt(2 * np.maximum(-pull, 0) * height)
