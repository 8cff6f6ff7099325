"""Outlines of rooms as directed edges, the free space at their left, and their pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnn import _checks

__all__ = ["Array", "checked_image", "distance_to", "inside", "normals_of", "rasterise"]

Array = NDArray[np.float64]
SAMPLES = 16
"""Sample points a pixel along each axis, by which the covered part of a pixel is counted."""


def directions_of(segments: Array) -> Array:
    """Return unit vectors (E, 2) from the first ends of edges (E, 2, 2) to the second."""
    along = segments[:, 1] - segments[:, 0]
    directions: Array = along / np.linalg.norm(along, axis=-1, keepdims=True)
    return directions


def normals_of(segments: Array) -> Array:
    """Return unit vectors (E, 2) at the left of the directed edges (E, 2, 2)."""
    along = directions_of(segments)
    normals: Array = np.stack((-along[:, 1], along[:, 0]), axis=-1)
    return normals + 0.0  # no negative zeros


def inside(points: Array, segments: Array) -> NDArray[np.bool_]:
    """Which points (n, 2) a closed outline (E, 2, 2) surrounds, by counting crossings of a ray."""
    x, y = points[:, 0, None], points[:, 1, None]
    (xa, ya), (xb, yb) = segments[:, 0].T, segments[:, 1].T
    # Half open, so that a ray through a vertex meets one of its two edges.
    spans = (ya <= y) != (yb <= y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = xa + (y - ya) * (xb - xa) / (yb - ya)
    odd: NDArray[np.bool_] = (spans & (crossing > x)).sum(axis=-1) % 2 == 1
    return odd


def distance_to(points: Array, segments: Array) -> Array:
    """Return the distance (n,) from each point (n, 2) to the nearest of the edges."""
    start, end = segments[:, 0], segments[:, 1]
    side = end - start
    apart = points[:, None] - start
    share = np.clip((apart * side).sum(-1) / (side * side).sum(-1), 0, 1)
    apart = apart - share[..., None] * side
    distance: Array = np.sqrt((apart * apart).sum(-1).min(axis=-1, initial=np.inf))
    return distance


def outline_of_polygons(
    outer: Any, obstacles: Sequence[Any], size: tuple[int, int], touch: float
) -> Array:
    """Return the edges of the space inside of `outer` and outside of each obstacle.

    Walls that come closer to each other than `touch` are refused: none of them may cross or touch.
    """
    names = ["outer", *(f"obstacles[{i}]" for i in range(len(obstacles)))]
    rings = [
        _ring(value, name, size, touch)
        for value, name in zip((outer, *obstacles), names, strict=True)
    ]
    outlines = [np.stack((ring, np.roll(ring, -1, axis=0)), axis=1) for ring in rings]
    for i, (ring, name) in enumerate(zip(rings, names, strict=True)):
        for before, other in zip(outlines[:i], names[:i], strict=True):
            if _meet(outlines[i], before, touch).any():
                raise ValueError(f"Expected `{name}` not to cross or touch `{other}`; it does.")
        for j, other in enumerate(names[1:], start=1):
            if i > 0 and i != j and inside(ring[:1], outlines[j])[0]:
                raise ValueError(f"Expected `{name}` to be outside of `{other}`; it is inside.")
        if i > 0 and not inside(ring[:1], outlines[0])[0]:
            raise ValueError(f"Expected `{name}` to be inside of `outer`; it is outside.")
    # The free space is at the left of the outer polygon's edges and at the right of the others'.
    directed = [
        line if (_area(ring) > 0) == (i == 0) else line[::-1, ::-1]
        for i, (ring, line) in enumerate(zip(rings, outlines, strict=True))
    ]
    return np.concatenate(directed)


def _ring(value: Any, name: str, size: tuple[int, int], touch: float) -> Array:
    """Return a polygon's corners (n, 2), those left out at which its line does not turn."""
    try:
        ring = np.array(value.tolist() if hasattr(value, "tolist") else value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Expected `{name}` to be an array of vertices; got {value!r}.") from error
    if ring.ndim != 2 or ring.shape[1] != 2:
        raise ValueError(f"Expected `{name}` to have shape (n, 2); got {ring.shape}.")
    if not np.isfinite(ring).all():
        raise ValueError(f"Expected `{name}` to be finite; a vertex is NaN or infinite.")
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=-1)]
    if len(ring) < 3:
        raise ValueError(
            f"Expected `{name}` to have at least 3 vertices, each apart from the one before; "
            f"got {len(ring)}."
        )
    rows, cols = size
    if ring.min() < 0 or (ring > (cols, rows)).any():
        raise ValueError(
            f"Expected `{name}` to be within the image, 0 <= x <= {cols} and 0 <= y <= {rows}; "
            f"its vertices reach from {tuple(ring.min(0).tolist())} to "
            f"{tuple(ring.max(0).tolist())}."
        )
    if abs(_area(ring)) <= touch * float(np.ptp(ring, axis=0).max()):
        raise ValueError(f"Expected `{name}` to have an area; it has none.")
    lines = np.stack((ring, np.roll(ring, -1, axis=0)), axis=1)
    meet = _meet(lines, lines, touch)
    # Neighbours meet at their common vertex; that one lies on the other is a matter of angles.
    for shift in (-1, 0, 1):
        meet &= ~np.roll(np.eye(len(ring), dtype=np.bool_), shift, axis=0)
    side = directions_of(lines)
    former = np.roll(side, 1, axis=0)
    straight = np.abs(former[:, 0] * side[:, 1] - former[:, 1] * side[:, 0]) <= 1e-12
    back = straight & ((former * side).sum(-1) < 0)
    if meet.any() or back.any():
        raise ValueError(f"Expected `{name}` not to cross or touch itself; it does.")
    turning: Array = ring[~straight]
    return turning


def _meet(one: Array, other: Array, touch: float) -> NDArray[np.bool_]:
    """Which edges (n, 2, 2) and (m, 2, 2) cross or touch, (n, m)."""
    a, b = one[:, None, 0], one[:, None, 1]
    c, d = other[None, :, 0], other[None, :, 1]
    across = (_turn(a, b, c) * _turn(a, b, d) < 0) & (_turn(c, d, a) * _turn(c, d, b) < 0)
    for points, lines, swap in ((one, other, False), (other, one, True)):
        for end in (0, 1):
            near = np.stack([distance_to(points[:, end], line[None]) for line in lines], axis=-1)
            across |= (near.T if swap else near) <= touch
    return across


def _turn(a: Array, b: Array, c: Array) -> Array:
    u, v = b - a, c - a
    product: Array = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
    return product


def _area(ring: Array) -> float:
    """Area of a polygon, positive if its vertices go round it to the left."""
    return float(_turn(ring[0], ring, np.roll(ring, -1, axis=0)).sum() / 2)


# Pictures of rooms: drawn from an outline, and read as one.


def rasterise(segments: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """Part of each pixel that lies outside of a closed outline, row 0 at the top."""
    rows, cols = size
    height, width = rows * SAMPLES, cols * SAMPLES
    flips = np.zeros((height, width + 1), dtype=np.int64)
    for (xa, ya), (xb, yb) in segments:
        low, high = min(ya, yb), max(ya, yb)
        # Sample row j lies at y = (j + 1/2) / SAMPLES.
        first = int(np.clip(np.ceil(low * SAMPLES - 0.5), 0, height))
        last = int(np.clip(np.ceil(high * SAMPLES - 0.5), 0, height))
        if last > first:
            lines = np.arange(first, last)
            x = xa + ((lines + 0.5) / SAMPLES - ya) * (xb - xa) / (yb - ya)
            at = np.clip(np.ceil(x * SAMPLES - 0.5), 0, width).astype(np.int64)
            flips[lines, at] += 1
    walls = np.cumsum(flips[:, :width], axis=1) % 2 == 0
    share = walls.reshape(rows, SAMPLES, cols, SAMPLES).mean(axis=(1, 3))
    return np.ascontiguousarray(share[::-1], dtype=np.float32)


def outline_of_image(walls: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Edges (E, 2, 2) between wall and free pixels, and (G, 2, 2) of free pixels at the border.

    Collinear edges in a row are one edge.
    """
    rows = len(walls)
    free = np.pad(~walls, 1)
    wall = np.pad(walls, 1)
    edges: list[NDArray[np.int64]] = []
    gaps: list[NDArray[np.int64]] = []
    # The four sides of a free pixel: the neighbour's shift in (row, column), and the side's ends
    # in (x, y) from the pixel's lower left corner, the free pixel at the left.
    sides = (
        ((1, 0), (0, 0), (1, 0)),
        ((-1, 0), (1, 1), (0, 1)),
        ((0, 1), (1, 0), (1, 1)),
        ((0, -1), (0, 1), (0, 0)),
    )
    for shift, start, end in sides:
        for neighbour, found in ((wall, edges), (~(wall | free), gaps)):
            r, c = np.nonzero(free & np.roll(neighbour, (-shift[0], -shift[1]), axis=(0, 1)))
            corner = np.stack((c - 1, rows - r), axis=-1)  # the padding shifted both by one
            found.append(_merged(np.stack((corner + start, corner + end), axis=1)))
    return np.concatenate(edges).astype(np.float64), np.concatenate(gaps).astype(np.float64)


def _merged(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join unit edges of one direction, each of which starts where another ends."""
    ends = {tuple(a): tuple(b) for a, b in edges.tolist()}
    starts = [a for a in ends if a not in set(ends.values())]
    merged = []
    for a in starts:
        b = ends[a]
        while b in ends:
            b = ends[b]
        merged.append((a, b))
    return np.array(sorted(merged), dtype=np.int64).reshape(-1, 2, 2)


def checked_image(image: Any) -> Tensor:
    """Return an image of walls as float32, a copy."""
    try:
        given = torch.as_tensor(image).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"Expected `image` to be an array of numbers; got {type(image).__name__}."
        ) from error
    if given.ndim != 2:
        raise ValueError(f"Expected `image` to have shape (rows, cols); got {tuple(given.shape)}.")
    if not given.is_floating_point() and given.dtype not in (torch.bool, torch.uint8):
        raise TypeError(f"Expected `image` to hold floats, bools or uint8; got {given.dtype}.")
    if min(given.shape) < 3:
        raise ValueError(f"Expected `image` to be at least 3 x 3; got {tuple(given.shape)}.")
    if given.dtype == torch.uint8 and given.max() > 1:
        raise ValueError(
            f"Expected `image` to hold values in [0, 1]; got up to {int(given.max())} in uint8. "
            "Divide by 255."
        )
    picture = _checks.all_finite(given.to(torch.float32, copy=True), "image")
    if picture.min() < 0 or picture.max() > 1:
        raise ValueError(
            "Expected `image` to hold values in [0, 1]; got values from "
            f"{float(picture.min()):g} to {float(picture.max()):g}."
        )
    if not bool((picture <= 0.5).any()):
        raise ValueError("Expected `image` to have a free pixel, of value 0.5 or less; got none.")
    return picture
