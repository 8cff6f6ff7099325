"""A Hamiltonian and the walls around it, as one module that is trained and saved."""

from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Energy, Half, State
from srnn.motion.fields import HamiltonianField, hamiltonian_of
from srnn.nn import HNet, QuadraticH
from srnn.rebound._level_set import LevelSetWalls
from srnn.rebound._networks import PatchWalls

__all__ = ["WalledH"]

_HAMILTONIANS: dict[str, Any] = {cls.__name__: cls for cls in (HNet, QuadraticH)}
_WALLS: dict[str, Any] = {cls.__name__: cls for cls in (PatchWalls, LevelSetWalls)}


class WalledH(nn.Module):
    """A Hamiltonian that is learnt together with the walls that its ball rebounds from.

    It is the Hamiltonian in all that concerns its field; :class:`srnn.Model` finds the walls in it
    and puts them into the step.

    Parameters
    ----------
    hamiltonian : HNet, QuadraticH, system or another separable Hamiltonian
    walls : callable
        See :class:`srnn.rebound.Walls`.
    rebounds : int
        Most rebounds in one step.

    Examples
    --------
    >>> import torch, srnn
    >>> room = srnn.systems.Room.box()
    >>> net = WalledH(srnn.QuadraticH(2), srnn.rebound.LevelSetWalls(room.image))
    >>> net(torch.zeros(3, 4)).shape
    torch.Size([3])
    """

    motion_of_part = "inner"

    def __init__(self, hamiltonian: Any, walls: Any, *, rebounds: int = 1) -> None:
        super().__init__()
        if hamiltonian_of(hamiltonian) is not hamiltonian or not hamiltonian.separable:
            raise TypeError(
                "Expected a separable Hamiltonian between the walls; got "
                f"{type(hamiltonian).__name__}."
            )
        self.inner = hamiltonian
        self.walls = walls
        self.rebounds = _checks.positive_int(rebounds, "rebounds")
        self.dim = int(hamiltonian.dim)
        if getattr(walls, "dim", self.dim) != self.dim:
            raise ValueError(
                f"Expected a Hamiltonian with dim={walls.dim}, as the walls'; got {self.dim}."
            )
        self.separable = True
        self._field = HamiltonianField(hamiltonian)
        self.training = False  # until something trains it; its parts keep their own modes

    @property
    def config(self) -> dict[str, Any]:
        """What :meth:`from_config` builds this module of again."""
        parts: dict[str, Any] = {}
        for name, part, known in (
            ("hamiltonian", self.inner, _HAMILTONIANS),
            ("walls", self.walls, _WALLS),
        ):
            kind = type(part).__name__
            if kind not in known:
                raise TypeError(
                    f"A model with {name} of type {kind} is not saved: only the library's own "
                    "Hamiltonians and walls are."
                )
            parts[name] = [kind, part.config]
        picture = list(self.walls.image.shape)
        return {**parts, "picture": picture, "rebounds": self.rebounds}

    @classmethod
    def from_config(
        cls, hamiltonian: Any, walls: Any, picture: list[int], rebounds: int
    ) -> "WalledH":
        """Build the module that a ``config`` describes; weights and picture are then loaded.

        Examples
        --------
        >>> import srnn
        >>> net = WalledH(srnn.HNet(2, 8), srnn.rebound.PatchWalls(srnn.systems.Room.box().image))
        >>> WalledH.from_config(**net.config).inner.hidden
        (8,)
        """
        kind, config = hamiltonian
        inner = _HAMILTONIANS[kind](**config)
        kind, config = walls
        return cls(inner, _WALLS[kind](torch.zeros(picture), **config), rebounds=rebounds)

    def forward(self, z: State) -> Energy:
        """H of each state ``(..., 2*dim)``, shape ``(...)``."""
        value: Tensor = self.inner(z)
        return value

    def kinetic_gradient(self, p: Half) -> Half:
        """dK/dp.

        Examples
        --------
        >>> import torch, srnn
        >>> net = WalledH(srnn.systems.Billiard(), lambda q, tentative: (0 * q, q[..., :1]))
        >>> net.kinetic_gradient(torch.tensor([3.0, 4.0]))
        tensor([3., 4.])
        """
        return self._field.velocity(torch.zeros_like(p), p)

    def potential_gradient(self, q: Half) -> Half:
        """dV/dq.

        Examples
        --------
        >>> import torch, srnn
        >>> net = WalledH(srnn.systems.Billiard(), lambda q, tentative: (0 * q, q[..., :1]))
        >>> net.potential_gradient(torch.tensor([3.0, 4.0]))
        tensor([0., 9.])
        """
        return -self._field.force(q, torch.zeros_like(q))

    @property
    def weight(self) -> Tensor | None:
        """A weight, which tells dtype and device; None if nothing is learnt."""
        return next(self.parameters(), None)
