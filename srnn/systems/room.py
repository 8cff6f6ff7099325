"""Rooms for a ball: a drawing of the walls, and the walls themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnn import _checks
from srnn.systems._outline import (
    Array,
    distance_to,
    inside,
    normals_of,
    outline_of_image,
    outline_of_polygons,
    rasterise,
)

__all__ = ["Room"]

TOUCH = 1e-11
"""Distance, relative to the image's longer side, within which a point is on a wall."""


@dataclass(frozen=True, eq=False, repr=False)
class Room:
    """A free space between walls, as an image and as the walls' edges."""

    image: Tensor
    segments: Tensor
    gaps: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        rows, cols = self.image.shape
        return rows, cols

    @property
    def normals(self) -> Tensor:
        """Unit vectors (E, 2) of the edges, into the free space."""
        return torch.from_numpy(normals_of(self.segments.numpy()))

    @property
    def touch(self) -> float:
        """Distance in px within which a point counts as on a wall."""
        return TOUCH * max(self.size)

    @classmethod
    def box(cls, size: int = 128, wall: int = 12) -> "Room":
        """Build the paper's square room."""
        size = _checks.positive_int(size, "size", minimum=3)
        wall = _checks.positive_int(wall, "wall")
        low, high = wall, size - wall
        return cls.polygon([(low, low), (high, low), (high, high), (low, high)], size=(size, size))

    @classmethod
    def polygon(
        cls, outer: Any, obstacles: Sequence[Any] = (), *, size: tuple[int, int] = (128, 128)
    ) -> "Room":
        """Build a room from polygons."""
        segments = outline_of_polygons(outer, obstacles, size)
        image = torch.from_numpy(rasterise(segments, size))
        return cls(image, torch.from_numpy(segments), torch.zeros(0, 2, 2, dtype=torch.float64))

    @classmethod
    def from_image(cls, image: Any) -> "Room":
        """Build a room from an image of its walls."""
        image = torch.as_tensor(image).to(torch.float32).clone()
        segments, gaps = outline_of_image((image > 0.5).numpy())
        return cls(image, torch.from_numpy(segments), torch.from_numpy(gaps))

    def contains(self, q: Tensor) -> Tensor:
        """Whether each point is in the free space; a point on a wall is."""
        flat = _checks.half(q, "q", 2).detach().reshape(-1, 2).double().cpu().numpy()
        found = np.concatenate(
            [self._contains(flat[i : i + 4096]) for i in range(0, max(1, len(flat)), 4096)]
        )
        return torch.from_numpy(found).reshape(q.shape[:-1]).to(q.device)

    def _contains(self, points: Array) -> NDArray[np.bool_]:
        outline = torch.cat((self.segments, self.gaps)).numpy()
        return inside(points, outline) | (distance_to(points, self.segments.numpy()) <= self.touch)

    def distance(self, q: Tensor) -> Tensor:
        """Distance in px from each point to the nearest wall."""
        flat = _checks.half(q, "q", 2).detach().reshape(-1, 2).double().cpu().numpy()
        found = np.concatenate(
            [
                distance_to(flat[i : i + 4096], self.segments.numpy())
                for i in range(0, max(1, len(flat)), 4096)
            ]
        )
        return torch.from_numpy(found).reshape(q.shape[:-1]).to(q.device)

    def draw(self, q: Tensor) -> Tensor:
        """Draw the paper's ball of 3x3 pixels, of value 0.5, on the image of the walls."""
        q = _checks.half(q, "q", 2)
        rows, cols = self.size
        pixels = q.detach().reshape(-1, 2).cpu().floor().long()
        image = self.image.repeat(len(pixels), 1, 1)
        r, c = torch.arange(rows), torch.arange(cols)
        near_r = (r - (rows - 1 - pixels[:, 1:])).abs() <= 1
        near_c = (c - pixels[:, :1]).abs() <= 1
        image[near_r[:, :, None] & near_c[:, None, :]] = 0.5
        return image.reshape(*q.shape[:-1], rows, cols)

    def __repr__(self) -> str:
        rows, cols = self.size
        return f"Room(size=({rows}, {cols}), edges={len(self.segments)}, gaps={len(self.gaps)})"
