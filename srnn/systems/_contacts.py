"""When a ball in free fall next meets a wall, in closed form or by bracketing."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srnn.systems._outline import Array, directions_of, normals_of

__all__ = ["Contacts", "falls_to_zero", "first_entry"]

Index = NDArray[np.int64]

Function = Callable[[Array], Array]

_ROUNDING = 1e-14


def falls_to_zero(s: Array, v: Array, a: Array) -> Array:
    """First time t >= 0 at which s + v t + a t^2 / 2 falls through zero; infinite if it never does.

    A curve that starts below zero first has to rise above it.
    """
    square = v * v - 2 * a * s
    root = np.sqrt(np.maximum(square, 0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Each form is free of cancellation where it is used.
        time = np.where(v < 0, 2 * s / (root - v), (v + root) / -a)
    falls = (square >= 0) & (((v < 0) & (s >= 0)) | ((v >= 0) & (a < 0)))
    return np.where(falls, time, np.inf)


class Contacts(NamedTuple):
    """What the centre of a ball can meet.

    An edge is the line ``normal . x = offset``, between 0 and `length` of ``along . x - origin``;
    the centre stays where ``normal . x >= offset``.  Where `exits` is true it is no wall: the ball
    leaves the room there.  A corner is a point of the wall that a ball of positive radius can turn
    around: its centre meets an arc of that radius, from the edge that ends there, of direction
    `before`, to the one that starts there, of direction `after`.
    """

    normal: Array
    along: Array
    offset: Array
    origin: Array
    length: Array
    exits: NDArray[np.bool_]
    corners: Array
    before: Array
    after: Array
    radius: float
    touch: float

    @classmethod
    def of(
        cls, segments: Array, gaps: Array, normals: Array, radius: float, touch: float
    ) -> "Contacts":
        """Return the walls of a room for a ball of a radius; `normals` are of both kinds of edges.

        An edge's free space is at the left of the way from its first end to its second.
        """
        walls, cuts = _apart(segments, 8 * touch)
        edges = np.concatenate((walls, cuts, gaps))
        of_walls, of_gaps = np.split(normals, [len(walls)])
        normal = np.concatenate((of_walls, normals_of(cuts), of_gaps))
        length, along = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=-1), directions_of(edges)
        exits = np.arange(len(edges)) >= len(walls) + len(cuts)
        offset = (normal * edges[:, 0]).sum(-1) + np.where(exits, 0.0, radius)
        origin = (along * edges[:, 0]).sum(-1)
        none = np.zeros((0, 2))
        turns = _corners(segments, along) if radius > 0 else (none, none, none)
        return cls(normal, along, offset, origin, length, exits, *turns, radius, touch)

    def next_contact(
        self, x: Array, v: Array, a: Array, skip: Index, horizon: Array
    ) -> tuple[Array, Index]:
        """Time until the next contact, and with what: an edge, or a corner after all edges.

        The time is infinite where there is none.

        Parameters
        ----------
        x, v, a : Array, shape (n, 2)
            Position, velocity and constant acceleration of each ball.
        skip : Index, shape (n,)
            An edge that the ball slides on and so cannot meet; negative for none.
        horizon : Array, shape (n,)
            Contacts after this are not looked for.
        """
        if not len(self.offset):
            return np.full(len(x), np.inf), np.zeros(len(x), dtype=np.int64)
        s = x @ self.normal.T - self.offset
        vn = v @ self.normal.T
        touching = np.abs(s) <= self.touch
        # On the wall up to rounding is on the wall, and along it up to rounding is along it.
        s = np.where(touching, np.maximum(s, 0), s)
        speed = np.linalg.norm(v, axis=-1, keepdims=True)
        vn = np.where(touching & (np.abs(vn) <= _ROUNDING * speed), 0.0, vn)
        time = falls_to_zero(s, vn, a @ self.normal.T)
        time = np.where(time <= horizon[:, None], time, np.inf)
        at = np.where(np.isfinite(time), time, 0.0)
        place = (
            x @ self.along.T - self.origin + at * (v @ self.along.T + at / 2 * (a @ self.along.T))
        )
        # A ball that meets the end of an edge must not slip between it and its neighbour.
        on = (place >= -self.touch) & (place <= self.length + self.touch)
        time = np.where(on, time, np.inf)
        sliding = np.flatnonzero(skip >= 0)
        time[sliding, skip[sliding]] = np.inf
        what = time.argmin(axis=-1)
        first: Array = time[np.arange(len(x)), what]
        if len(self.corners):
            arcs = self._arcs(x, v, a, np.minimum(horizon, first))
            corner = arcs.argmin(axis=-1)
            reached = arcs[np.arange(len(x)), corner]
            sooner = reached < first
            what = np.where(sooner, len(self.offset) + corner, what)
            first = np.where(sooner, reached, first)
        return first, what

    def normals_near(self, x: Array, near: float, but: int) -> Array:
        """Return the normals (m, 2) of the walls within `near` of a ball at x, one left out."""
        place = self.along @ x - self.origin
        on = (np.abs(self.normal @ x - self.offset) <= near) & ~self.exits
        on &= (place >= -near) & (place <= self.length + near)
        apart = x - self.corners
        distance = np.linalg.norm(apart, axis=-1)
        turned = np.abs(distance - self.radius) <= near
        turned &= ((apart * self.before).sum(-1) >= -near) & ((apart * self.after).sum(-1) <= near)
        chosen = np.concatenate((on, turned))
        chosen[but] = False
        normals = np.concatenate((self.normal, apart / np.maximum(distance, near)[:, None]))
        found: Array = normals[chosen]
        return found

    def _arcs(self, x: Array, v: Array, a: Array, horizon: Array) -> Array:
        """Time (n, corners) until the centre is at the radius from a corner; infinite if later."""
        time = np.full((len(x), len(self.corners)), np.inf)
        apart = x[:, None] - self.corners
        room = np.linalg.norm(apart, axis=-1) - self.radius
        reach = horizon * (np.linalg.norm(v, axis=-1) + horizon / 2 * np.linalg.norm(a, axis=-1))
        i, j = np.nonzero(room <= reach[:, None] + self.touch)
        if len(i):
            d, v, a = apart[i, j], v[i], a[i]
            touching = np.abs(room[i, j]) <= self.touch
            c0 = np.where(touching, 0.0, (d * d).sum(-1) - self.radius**2)
            c1, c2 = 2 * (d * v).sum(-1), (v * v).sum(-1) + (d * a).sum(-1)
            along = np.abs(c1) <= 2 * _ROUNDING * self.radius * np.linalg.norm(v, axis=-1)
            c1 = np.where(touching & along, 0.0, c1)
            c3, c4 = (v * a).sum(-1), (a * a).sum(-1) / 4
            found = first_entry(np.stack((c0, c1, c2, c3, c4)), horizon[i])
            at = np.where(np.isfinite(found), found, 0.0)[:, None]
            d = d + v * at + a * at * at / 2
            slack = -self.touch
            on = ((d * self.before[j]).sum(-1) >= slack) & ((d * self.after[j]).sum(-1) <= -slack)
            time[i, j] = np.where(on, found, np.inf)
        return time


def _following(segments: Array) -> list[list[int]]:
    """Return which edges start where an edge ends, for each."""
    starts: dict[tuple[float, ...], list[int]] = {}
    for j, (start, _) in enumerate(segments.tolist()):
        starts.setdefault(tuple(start), []).append(j)
    return [starts.get(tuple(end), []) for _, end in segments.tolist()]


def _apart(segments: Array, gap: float) -> tuple[Array, Array]:
    """Cut off the corners of free space where two walls touch at a point only.

    A ball there would be on the edges of both sides.  So little is cut off, `gap` of the edges,
    that only a ball right in the corner can tell.  Returned are the edges (E, 2, 2), shorter by
    the cuts, and the cuts.
    """
    along = directions_of(segments)
    moved, cuts = segments.copy(), []
    for i, following in enumerate(_following(segments)):
        for j in following if len(following) > 1 else []:
            if along[i, 0] * along[j, 1] - along[i, 1] * along[j, 0] > 0:
                moved[i, 1] -= gap * along[i]
                moved[j, 0] += gap * along[j]
                cuts.append((moved[i, 1], moved[j, 0]))
    return moved, np.array(cuts).reshape(-1, 2, 2)


def _corners(segments: Array, along: Array) -> tuple[Array, Array, Array]:
    """Points where the wall turns away from the free space, and the directions that meet there."""
    turns = [
        (segments[i, 1], along[i], along[j])
        for i, following in enumerate(_following(segments))
        for j in following
        if along[i, 0] * along[j, 1] - along[i, 1] * along[j, 0] < 0
    ]
    corners, before, after = np.array(turns).reshape(-1, 3, 2).transpose(1, 0, 2)
    return corners, before, after


def first_entry(c: Array, horizon: Array) -> Array:
    """First time in [0, horizon] at which quartics c0 + c1 t + ... + c4 t^4 fall through zero.

    The roots of a derivative cut the time into stretches on which the function before it rises or
    falls throughout, so that each root that there is can be enclosed.

    Parameters
    ----------
    c : Array, shape (5, n)
        Coefficients; c0 is not negative.
    horizon : Array, shape (n,)

    Returns
    -------
    Array, shape (n,)
        Infinite where there is no such time.
    """
    c0, c1, c2, c3, c4 = c[..., None]

    def f(t: Array) -> Array:
        value: Array = c0 + t * (c1 + t * (c2 + t * (c3 + t * c4)))
        return value

    def slope(t: Array) -> Array:
        value: Array = c1 + t * (2 * c2 + t * (3 * c3 + t * 4 * c4))
        return value

    # The second derivative, 12 c4 t^2 + 6 c3 t + 2 c2, is a quadratic.
    half = -(3 * c3 + np.copysign(np.sqrt(np.maximum(9 * c3 * c3 - 24 * c4 * c2, 0)), c3))
    with np.errstate(divide="ignore", invalid="ignore"):
        turns = np.concatenate((half / (12 * c4), 2 * c2 / half), axis=-1)
    end = horizon[:, None]
    turns = np.sort(np.clip(np.nan_to_num(turns, nan=0.0), 0, end), axis=-1)
    knots = np.concatenate((np.zeros_like(end), turns, end), axis=-1)
    turns = _bisect(slope, knots[:, :-1], knots[:, 1:])
    knots = np.concatenate((np.zeros_like(end), turns, end), axis=-1)
    low, high = knots[:, :-1], knots[:, 1:]
    falls = (f(low) >= 0) & (f(high) < 0)
    chosen = falls.argmax(axis=-1)[:, None]
    low, high = (np.take_along_axis(ends, chosen, axis=-1) for ends in (low, high))
    time = _bisect(f, low, high)
    return np.where(falls.any(axis=-1), time[:, 0], np.inf)


def _bisect(f: Function, low: Array, high: Array) -> Array:
    """Zero of a monotone function in each stretch; an end of it where there is none.

    The function, a polynomial, is cheap, and bisection needs as many steps for each stretch of a
    batch; Newton's method would need as many as its worst one.
    """
    rising = f(low) < f(high)
    for _ in range(56):
        middle = (low + high) / 2
        beyond = (f(middle) < 0) != rising
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return low
