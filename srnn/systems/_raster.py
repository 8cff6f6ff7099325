"""Pictures of rooms: drawn from an outline, and read as one."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnn import _checks
from srnn.systems._outline import Array

__all__ = ["checked_image", "outline_of_image", "rasterise"]

SAMPLES = 16
"""Sample points a pixel along each axis, by which the covered part of a pixel is counted."""


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
