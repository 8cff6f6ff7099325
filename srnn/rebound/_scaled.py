"""Walls in other units than pixels."""

from typing import Any

from torch import Tensor

from srnn._types import Half

__all__ = ["ScaledWalls"]


class ScaledWalls:
    r"""Walls for positions in units of `unit` pixels from `origin`.

    n and :math:`\alpha` have no unit.

    Parameters
    ----------
    walls : callable
        Walls in pixels.
    unit : float
    origin : Tensor, shape (dim,)

    Examples
    --------
    >>> import torch, srnn
    >>> room = srnn.systems.Room.box()
    >>> walls = ScaledWalls(srnn.rebound.KnownWalls(room), 2.0, torch.tensor([10.0, 10.0]))
    >>> walls(torch.tensor([[30.0, 2.0]]), torch.tensor([[30.0, 0.0]]))[1].item()  # y: 14 to 10
    0.5
    """

    def __init__(self, walls: Any, unit: float, origin: Tensor) -> None:
        self.walls, self.unit, self.origin = walls, unit, origin
        self.straight = bool(getattr(walls, "straight", False))

    def __call__(self, q: Half, tentative: Half) -> tuple[Half, Tensor]:
        r"""Give n and :math:`\alpha`."""
        pixels = (q * self.unit + self.origin, tentative * self.unit + self.origin)
        found: tuple[Half, Tensor] = self.walls(*pixels)
        return found
