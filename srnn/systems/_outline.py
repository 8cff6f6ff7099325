"""Outlines of rooms as directed edges, the free space at their left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Array",
    "distance_to",
    "inside",
    "normals_of",
    "outline_of_image",
    "outline_of_polygons",
    "rasterise",
]

Array = NDArray[np.float64]

SAMPLES = 16
"""Sample points a pixel along each axis, by which the covered part of a pixel is counted."""


def normals_of(segments: Array) -> Array:
    """Return unit vectors (E, 2) at the left of the directed edges (E, 2, 2)."""
    along = segments[:, 1] - segments[:, 0]
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
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


def outline_of_polygons(outer: Any, obstacles: Sequence[Any], size: tuple[int, int]) -> Array:
    """Edges of the space inside of `outer` and outside of each obstacle."""
    rings = [_directed(_vertices(outer, "outer"), 1.0)]
    rings += [
        _directed(_vertices(ring, f"obstacles[{i}]"), -1.0) for i, ring in enumerate(obstacles)
    ]
    return np.concatenate([np.stack((ring, np.roll(ring, -1, axis=0)), axis=1) for ring in rings])


def _vertices(value: Any, name: str) -> Array:
    return np.array(value.tolist() if isinstance(value, Tensor) else value, dtype=np.float64)


def _area(ring: Array) -> float:
    x, y = (ring - ring[0]).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _directed(ring: Array, sign: float) -> Array:
    return ring if _area(ring) * sign > 0 else ring[::-1]
