"""What learnt walls have in common: a picture, and what is made of it once."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Half, Picture
from srnn.rebound._restitution import Restitution

__all__ = ["PictureWalls"]

_T = TypeVar("_T")


class PictureWalls(nn.Module):
    """Walls learnt from a picture, which is a buffer of the module.

    A subclass gives :meth:`forward`, ``(q, tentative)`` to ``(n, alpha)``, and what a start from
    observed rebounds needs: :meth:`sees` and :meth:`event_loss`.

    Attributes
    ----------
    image : Tensor, shape (rows, columns)
        Change it for another room: ``walls.image = room.image``.
    restitution : Restitution
    """

    restitution: Restitution

    image: Tensor
    dim = 2
    reach: float | None = None
    """The longest step, in pixels, that the walls can judge; None if any."""

    @abstractmethod
    def forward(self, q: Half, tentative: Half) -> tuple[Half, Tensor]:
        r"""Give n and :math:`\alpha` of the steps from `q` to `tentative`, in pixels."""

    @abstractmethod
    def sees(self, q: Half, tentative: Half) -> Tensor:
        """Whether a wall is in sight of each step, shape ``(...)``."""

    @abstractmethod
    def event_loss(
        self, hits: tuple[Tensor, Tensor, Tensor, Tensor], free: tuple[Tensor, Tensor]
    ) -> Tensor:
        r"""How badly rebounds that were seen in the data are told.

        Parameters
        ----------
        hits : (q, tentative, n, alpha)
            Steps that rebounded, unit normals (of either sign) and instants.
        free : (q, tentative)
            Steps in sight of a wall that did not.
        """

    def _show(self, image: Picture, like: Tensor) -> None:
        picture = _checks.picture(image, "image").detach().clone().to(like)
        self.register_buffer("image", picture)
        self._made: tuple[Tensor, int, Any] | None = None

    def _once(self, make: Callable[[Tensor], _T]) -> _T:
        """Make something of the picture, and again if the picture is another."""
        image, version = self.image, self.image._version
        if self._made is None or self._made[0] is not image or self._made[1] != version:
            self._made = (image, version, make(image))
        made: _T = self._made[2]
        return made

    def _position(self, q: Half) -> Half:
        _checks.same_as(_checks.half(q, "q", self.dim), "q", self.image, "walls")
        return q

    @torch.no_grad()
    def on_wall(self, q: Half) -> Tensor:
        """Whether the pixel at `q` ``(..., 2)`` is a wall's; False outside of the picture."""
        rows = self.image.shape[0]
        row, column = rows - 1 - q[..., 1].floor(), q[..., 0].floor()
        inside = self.inside(q)
        row, column = (torch.where(inside, x, 0).long() for x in (row, column))
        return inside & (self.image[row, column] > 0.5)

    def inside(self, q: Half) -> Tensor:
        """Whether `q` ``(..., 2)`` is inside of the picture."""
        rows, columns = self.image.shape
        x, y = q[..., 0], q[..., 1]
        return (x >= 0) & (x < columns) & (y > 0) & (y <= rows)
