"""What learnt walls have in common: a picture, and what is made of it once."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Half, Picture
from srnn.nn.network import Configured
from srnn.rebound._restitution import Restitution

__all__ = ["PictureWalls"]

_T = TypeVar("_T")


class PictureWalls(Configured, nn.Module):
    """Walls learnt from a picture, which is a buffer of the module.

    A subclass gives :meth:`forward`, ``(q, tentative)`` to ``(n, alpha)``, and what a start from
    observed rebounds needs: :meth:`sees`, :meth:`hit_loss` and :meth:`free_loss`.

    Attributes
    ----------
    image : Tensor, shape (rows, columns)
        :meth:`show` changes it for that of another room.
    restitution : Restitution

    Examples
    --------
    >>> import srnn
    >>> isinstance(srnn.rebound.PatchWalls(srnn.systems.Room.box().image), PictureWalls)
    True
    """

    restitution: Restitution

    image: Tensor
    dim = 2
    start_steps = 1500
    """Steps of the regression by which a start from observed rebounds is made."""
    reach: float | None = None
    """The longest step, in pixels, that the walls can judge; None if any."""

    @abstractmethod
    def forward(self, q: Half, tentative: Half) -> tuple[Half, Tensor]:
        r"""Give n and :math:`\alpha` of the steps from `q` to `tentative`, in pixels.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image)
        >>> n, alpha = walls(torch.tensor([[60.0, 13.0]]), torch.tensor([[60.0, 11.0]]))
        >>> n.shape, round(alpha.item(), 3)
        (torch.Size([1, 2]), 0.5)
        """

    @abstractmethod
    def sees(self, q: Half, tentative: Half) -> Tensor:
        """Whether a wall is in sight of each step, shape ``(...)``.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image)
        >>> q = torch.tensor([[60.0, 60.0], [60.0, 14.0]])
        >>> walls.sees(q, q - 1.0).tolist()
        [False, True]
        """

    @abstractmethod
    def hit_loss(self, q: Half, tentative: Half, position: Half, n: Half, alpha: Tensor) -> Tensor:
        r"""How badly each of some observed rebounds is told, shape ``(...)``.

        Parameters
        ----------
        q, tentative : Tensor, shape (..., 2)
            The steps.
        position : Tensor, shape (..., 2)
            Where the ball was when it rebounded.
        n : Tensor, shape (..., 2)
            Unit normals, of either sign.
        alpha : Tensor, shape (..., 1)
            Instants.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image)
        >>> q, up = torch.tensor([[60.0, 13.0]]), torch.tensor([[0.0, 1.0]])
        >>> half = torch.tensor([[0.5]])  # from 1 pixel above the floor to 1 pixel in it
        >>> walls.hit_loss(q, q - 2 * up, q - up, up, half).shape
        torch.Size([1])
        """

    @abstractmethod
    def free_loss(self, q: Half, tentative: Half) -> Tensor:
        """How badly each of some steps that did not rebound is told, shape ``(...)``.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image)
        >>> q = torch.tensor([[60.0, 60.0], [60.0, 14.0]])
        >>> walls.free_loss(q, q - 1.0).shape
        torch.Size([2])
        """

    def show(self, picture: Any) -> None:
        """Look at another picture, as of a room that nothing was trained in.

        Parameters
        ----------
        picture : Tensor, shape (rows, columns), or Room
            Of any size.

        Raises
        ------
        ValueError, TypeError
            If it is no picture.

        Examples
        --------
        >>> import srnn
        >>> walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image)
        >>> walls.show(srnn.systems.Room.box(size=64, wall=6))
        >>> walls.image.shape
        torch.Size([64, 64])
        """
        image = _checks.picture(getattr(picture, "image", picture), "picture")
        self.image = image.detach().clone().to(self.image)

    def settle(self, position: Half) -> None:
        """Look at where balls were observed to rebound ``(n, 2)``, before the start is fitted.

        Examples
        --------
        >>> import srnn, torch
        >>> walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image)
        >>> walls.settle(torch.full((20, 2), 14.0))  # two pixels off the walls
        >>> walls.crisp
        False
        """

    def _show(self, image: Picture, restitution: Any, like: Tensor) -> None:
        self.restitution = Restitution(restitution, like=like)
        picture = _checks.picture(image, "image").detach().clone().to(like)
        self.register_buffer("image", picture)
        self._made: dict[Any, tuple[Tensor, int, Any]] = {}
        self.eval()  # to predict is what walls are asked for until something trains them

    def _once(self, make: Callable[[Tensor], _T]) -> _T:
        """Make something of the picture, and again if the picture is another."""
        image, version = self.image, self.image._version
        known = self._made.get(make)
        if known is None or known[0] is not image or known[1] != version:
            known = self._made[make] = (image, version, make(image))
        made: _T = known[2]
        return made

    def _position(self, q: Half) -> Half:
        _checks.same_as(_checks.half(q, "q", self.dim), "q", self.image, "walls")
        return q

    @torch.no_grad()
    def on_wall(self, q: Half, depth: float = 1e-3) -> Tensor:
        """Whether all is wall within `depth` pixels of `q` ``(..., 2)``; False off the picture.

        A pixel of grey is partly free.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image)
        >>> walls.on_wall(torch.tensor([[60.0, 60.0], [60.0, 12.0], [60.0, 6.0]])).tolist()
        [False, False, True]
        """
        wall = self.inside(q)
        for x in (-depth, depth):
            for y in (-depth, depth):
                wall = wall & (self.image[self._place(q + q.new_tensor((x, y)))] > 0.99)
        return wall

    def _place(self, q: Half) -> tuple[Tensor, Tensor]:
        """Row and column of the pixel at `q`, or of the nearest one."""
        rows, columns = self.image.shape
        row = (rows - 1 - q[..., 1].floor()).nan_to_num().clamp(0, rows - 1)
        return row.long(), q[..., 0].floor().nan_to_num().clamp(0, columns - 1).long()

    def inside(self, q: Half) -> Tensor:
        """Whether `q` ``(..., 2)`` is inside of the picture.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image)
        >>> walls.inside(torch.tensor([[60.0, 60.0], [60.0, -1.0]])).tolist()
        [True, False]
        """
        return on_picture(q, *self.image.shape)


def on_picture(q: Half, rows: int, columns: int) -> Tensor:
    """Whether `q` ``(..., 2)`` is on a picture of so many pixels."""
    x, y = q[..., 0], q[..., 1]
    return (x >= 0) & (x < columns) & (y > 0) & (y <= rows)
