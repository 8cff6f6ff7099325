"""A Hamiltonian and the walls around it, as one module that is trained and saved."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Energy, Half, State, StateSeries
from srnn.data.trajectories import Trajectories
from srnn.data.units import Units
from srnn.motion.fields import HamiltonianField, hamiltonian_of
from srnn.nn.network import Network, asked
from srnn.rebound._in_model import check_reach, check_starts, start, stopped_outside
from srnn.rebound._picture import PictureWalls
from srnn.rebound._scaled import ScaledWalls
from srnn.rebound._step import Rebound
from srnn.training.recipes import WITH_WALLS

__all__ = ["WalledH"]


class WalledH(Network, nn.Module):
    """A Hamiltonian that is learnt together with the walls that its ball rebounds from.

    It is the Hamiltonian in all that concerns its field; asked for its step, it puts the walls
    into it.

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
    smooth = False

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
            ("hamiltonian", self.inner, Network.known),
            ("walls", self.walls, PictureWalls.known),
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
    def from_config(cls, **config: Any) -> "WalledH":
        """Build the module that a ``config`` describes; weights and picture are then loaded.

        Examples
        --------
        >>> import srnn
        >>> net = WalledH(srnn.HNet(2, 8), srnn.rebound.PatchWalls(srnn.systems.Room.box().image))
        >>> WalledH.from_config(**net.config).inner.hidden
        (8,)
        """
        device = config.get("device")
        kind, inner = config["hamiltonian"]
        hamiltonian = Network.known[kind].from_config(**inner, device=device)
        kind, walls = config["walls"]
        image = torch.zeros(config["picture"], device=device)
        made = PictureWalls.known[kind](image, **walls, device=device)
        return cls(hamiltonian, made, rebounds=config["rebounds"])

    @classmethod
    def sketch(cls, **config: Any) -> "WalledH":
        """Build it without numbers."""
        return cls.from_config(**config, device="meta")

    # -- what a model asks ------------------------------------------------------------------------

    def step_for(self, method: Any, units: Units) -> Rebound:
        """Give the method, rebounding from the walls in the network's units."""
        walls = ScaledWalls(self.walls, units.q, units.shift[: self.dim])
        return Rebound(method, walls, rebounds=self.rebounds)

    def units_for(self, data: Trajectories, *, centre_momenta: bool = True) -> Units | None:
        """Give those of H, but for the origin of momenta, about which a reflection turns them."""
        return asked(self.inner).units_for(data, centre_momenta=False)

    def start_by(
        self,
        method: Any,
        units: Units,
        windows: Trajectories,
        recipe: Any,
        generator: torch.Generator,
        progress: bool,
    ) -> bool:
        """Start H by the steps that do not rebound, and the walls by those that do."""
        start(self, method, units, windows, recipe, generator, progress)
        return False

    def recipe_for(self, preset: str | None) -> Mapping[str, Any]:
        """Tell what walls change in the recipe."""
        return WITH_WALLS[preset]

    def check_fit(self, data: Trajectories, recipe: Any) -> None:
        """Refuse steps that the walls cannot see, and trajectories that begin inside of one."""
        steps = data.q.diff(dim=0).norm(dim=-1) / recipe.substeps
        check_reach(self.walls, steps, data.dt / recipe.substeps)
        # Noise may put a ball a little behind a wall; a pixel behind it is something else.
        check_starts(self.walls, data.values, depth=1.0)

    def check_start(self, z0: State, dt: float, motion: Any) -> None:
        """Refuse starts inside of a wall, and a first step that the walls cannot see."""
        check_starts(self.walls, z0)
        speeds = motion.field.velocity(*_checks.halves(z0)).norm(dim=-1)
        check_reach(self.walls, speeds * dt, dt)

    def check_iso(self) -> None:
        """Refuse that initial states are optimised."""
        raise ValueError(
            "Initial states are not optimised through rebounds yet, since a start near a wall can "
            "change which steps rebound: pass iso=False."
        )

    def ended(self, states: StateSeries) -> StateSeries:
        """Mark what has left the picture, as through a gap in a wall."""
        return stopped_outside(self.walls, states)

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
