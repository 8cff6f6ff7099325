"""Rooms for a ball: a picture of the walls, and the walls themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnn import _checks
from srnn._types import Half
from srnn.systems import _outline
from srnn.systems._outline import Array, distance_to, inside, normals_of

__all__ = ["Room"]

TOUCH = 1e-11
"""Distance, relative to the image's longer side, within which a point is on a wall."""

BALL = 0.5
"""Value of the ball's pixels."""

_PORTION = 4096  # points in one table of points by edges


@dataclass(frozen=True, eq=False, repr=False)
class Room:
    """A free space between walls, as an image and as the edges of the walls.

    Build one with :meth:`box`, :meth:`polygon` or :meth:`from_image`.  Lengths are in pixels of
    the image (px).  x points to the right and y up, from the image's lower left corner.  Row 0 of
    the image is at the top: pixel (r, c) covers x in [c, c + 1] and y in [rows - 1 - r, rows - r].

    Attributes
    ----------
    image : Tensor, shape (rows, cols), float32
        Which part of each pixel is wall, from 0 for none to 1.
    segments : Tensor, shape (E, 2, 2), float64
        The edges of the walls: edge, end, (x, y).  The free space is at the left of the way from
        the first end to the second.
    gaps : Tensor, shape (G, 2, 2), float64
        Where the free space ends at the image's border without a wall, in the same form.

    Examples
    --------
    >>> import torch, srnn
    >>> room = srnn.systems.Room.polygon([(10, 10), (118, 10), (64, 100)])
    >>> room
    Room(size=(128, 128), edges=3, gaps=0)
    >>> room.contains(torch.tensor([[64.0, 50.0], [20.0, 50.0]]))
    tensor([ True, False])
    """

    image: Tensor
    segments: Tensor
    gaps: Tensor

    @classmethod
    def box(cls, size: int = 128, wall: int = 12) -> "Room":
        """Build a square room; the default is the paper's (appendix A.3).

        Parameters
        ----------
        size : int
            Rows and columns of the image.
        wall : int
            Thickness of each of the four walls in px.

        Returns
        -------
        Room

        Raises
        ------
        ValueError, TypeError
            If a number is not a positive integer, `size` is below 3, or no free space is left.

        Examples
        --------
        >>> import srnn
        >>> room = srnn.systems.Room.box()
        >>> int((room.image == 0).sum()) == 104 * 104
        True
        """
        size = _checks.positive_int(size, "size", minimum=3)
        wall = _checks.positive_int(wall, "wall")
        if 2 * wall >= size:
            raise ValueError(
                f"Expected `wall` to leave a free space, below {size / 2:g} for the size {size}; "
                f"got {wall}."
            )
        low, high = wall, size - wall
        corners = [(low, low), (high, low), (high, high), (low, high)]
        return cls.polygon(corners, size=(size, size))

    @classmethod
    def polygon(
        cls, outer: Any, obstacles: Sequence[Any] = (), *, size: tuple[int, int] = (128, 128)
    ) -> "Room":
        """Build the room inside of one polygon and outside of others.

        The image shows which part of each pixel is wall, counted on 16 x 16 points a pixel.

        Parameters
        ----------
        outer : array-like, shape (n, 2)
            Vertices (x, y) in px, in either direction.
        obstacles : sequence of array-like
            Polygons of wall within the room, in the same form.
        size : tuple of int
            (rows, cols) of the image.

        Returns
        -------
        Room

        Raises
        ------
        ValueError, TypeError
            If a polygon has fewer than three vertices, no area, or reaches out of the image; if
            it crosses or touches itself or another one; if an obstacle is not inside of the outer
            polygon, or is inside of another obstacle.

        Examples
        --------
        >>> import srnn
        >>> pillar = [(50, 50), (70, 50), (70, 70), (50, 70)]
        >>> srnn.systems.Room.polygon([(12, 12), (116, 12), (116, 116), (12, 116)], [pillar])
        Room(size=(128, 128), edges=8, gaps=0)
        """
        if not isinstance(size, (tuple, list)) or len(size) != 2:
            raise TypeError(f"Expected `size` to be a pair (rows, cols); got {size!r}.")
        rows, cols = (_checks.positive_int(n, "size", minimum=3) for n in size)
        segments = _outline.outline_of_polygons(
            outer, obstacles, (rows, cols), TOUCH * max(rows, cols)
        )
        image = torch.from_numpy(_outline.rasterise(segments, (rows, cols)))
        return cls(image, torch.from_numpy(segments), torch.zeros(0, 2, 2, dtype=torch.float64))

    @classmethod
    def from_image(cls, image: Any) -> "Room":
        """Build the room that an image shows.

        The walls are the pixels of a value above 0.5, each a square: a slanted wall in the image
        is a staircase, off whose steps a ball bounces.  A free pixel at the image's border leaves
        a gap there, through which a ball leaves the room.  Free pixels that touch at a corner only
        are not connected.

        Parameters
        ----------
        image : array-like, shape (rows, cols)
            Values from 0, free, to 1, wall: floats, bools, or uint8 of 0 and 1.

        Returns
        -------
        Room
            Its ``image`` has the values given.

        Raises
        ------
        ValueError, TypeError
            If the image has another shape or dtype, is smaller than 3 x 3, has a value outside of
            [0, 1] or NaN, or has no free pixel.

        Examples
        --------
        >>> import torch, srnn
        >>> image = torch.ones(5, 6)
        >>> image[1:4, 2:] = 0  # free up to the border at the right
        >>> srnn.systems.Room.from_image(image)
        Room(size=(5, 6), edges=3, gaps=1)
        """
        picture = _outline.checked_image(image)
        segments, gaps = _outline.outline_of_image((picture > 0.5).numpy())
        return cls(picture, torch.from_numpy(segments), torch.from_numpy(gaps))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        rows, cols = self.image.shape
        return rows, cols

    @property
    def normals(self) -> Tensor:
        """Unit vectors (E, 2), orthogonal to the edges, into the free space."""
        return torch.from_numpy(normals_of(self.segments.numpy()))

    @property
    def outline(self) -> Tensor:
        """Edges of the walls and of the gaps together, (E + G, 2, 2)."""
        return torch.cat((self.segments, self.gaps))

    @property
    def touch(self) -> float:
        """Distance in px within which a point counts as on a wall."""
        return TOUCH * max(self.size)

    def contains(self, q: Half) -> Tensor:
        """Whether points are in the free space; those on a wall are.

        Parameters
        ----------
        q : Tensor, shape (..., 2)
            Points (x, y) in px.

        Returns
        -------
        Tensor of bool, shape (...)

        Raises
        ------
        ValueError, TypeError
            If `q` is no tensor of floats whose last axis has length 2.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.Room.box().contains(torch.tensor([[64.0, 64.0], [64.0, 5.0]]))
        tensor([ True, False])
        """
        outline, segments = self.outline.numpy(), self.segments.numpy()

        def free(points: Array) -> NDArray[np.bool_]:
            return inside(points, outline) | (distance_to(points, segments) <= self.touch)

        return _pointwise(free, q)

    def distance(self, q: Half) -> Tensor:
        """Distance from points to the nearest wall, in px.

        Parameters
        ----------
        q : Tensor, shape (..., 2)
            Points (x, y) in px.

        Returns
        -------
        Tensor, shape (...), float64
            Infinite where there is no wall at all.

        Raises
        ------
        ValueError, TypeError
            If `q` is no tensor of floats whose last axis has length 2.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.Room.box().distance(torch.tensor([64.0, 22.0]))
        tensor(10., dtype=torch.float64)
        """
        segments = self.segments.numpy()
        return _pointwise(lambda points: distance_to(points, segments), q)

    def draw(self, q: Half) -> Tensor:
        """Draw the paper's ball of 3 x 3 pixels on the image, of value 0.5.

        Its middle is the pixel that q is in.  What would be outside of the image is left out.

        Parameters
        ----------
        q : Tensor, shape (..., 2)
            Positions (x, y) in px.

        Returns
        -------
        Tensor, shape (..., rows, cols), float32
            An image for each position.

        Raises
        ------
        ValueError, TypeError
            If `q` is no tensor of finite floats whose last axis has length 2.

        Examples
        --------
        >>> import torch, srnn
        >>> image = srnn.systems.Room.box().draw(torch.tensor([64.5, 20.5]))
        >>> (image == 0.5).nonzero().tolist()[4]  # the middle: row 127 - 20 from the top
        [107, 64]
        """
        q = _checks.all_finite(_checks.half(q, "q", 2).detach(), "q")
        rows, cols = self.size
        pixels = q.reshape(-1, 2).cpu().floor().long()
        image = self.image.repeat(len(pixels), 1, 1)
        near_row = (torch.arange(rows) - (rows - 1 - pixels[:, 1:])).abs() <= 1
        near_col = (torch.arange(cols) - pixels[:, :1]).abs() <= 1
        image[near_row[:, :, None] & near_col[:, None, :]] = BALL
        return image.reshape(*q.shape[:-1], rows, cols).to(q.device)

    def __repr__(self) -> str:
        return f"Room(size={self.size}, edges={len(self.segments)}, gaps={len(self.gaps)})"


def _pointwise(function: Callable[[Array], NDArray[Any]], q: Tensor) -> Tensor:
    """Apply a function of (n, 2) to points (..., 2), in portions."""
    flat = _checks.half(q, "q", 2).detach().reshape(-1, 2).double().cpu().numpy()
    starts = range(0, max(1, len(flat)), _PORTION)
    found = np.concatenate([function(flat[i : i + _PORTION]) for i in starts])
    return torch.from_numpy(found).reshape(q.shape[:-1]).to(q.device)
