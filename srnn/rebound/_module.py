"""A Hamiltonian and the walls around it, as one module that is trained and saved in a model."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Energy, Half, State, StateSeries
from srnn.data.trajectories import Trajectories
from srnn.data.units import Units
from srnn.motion.fields import HamiltonianField, hamiltonian_of, learns, network_in
from srnn.motion.integrators import Integrator
from srnn.nn.network import Network, asked
from srnn.rebound._known import KnownWalls
from srnn.rebound._picture import PictureWalls
from srnn.rebound._start import fit_free_motion, start_from_rebounds
from srnn.rebound._step import Rebound
from srnn.training.recipes import WITH_WALLS, Recipe

__all__ = ["ScaledWalls", "WalledH"]


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
        """Build the module that a ``config`` describes; weights and picture are then loaded."""
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
        walls = ScaledWalls(self.walls, _unit_of_length(units), units.shift[: self.dim])
        return Rebound(method, walls, rebounds=self.rebounds)

    def units_for(self, data: Trajectories, *, isotropic: bool = True) -> Units | None:
        """Give those of H, alike in all directions: a reflection turns momenta about zero."""
        return asked(self.inner).units_for(data, isotropic=True)

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
        """dK/dp."""
        return self._field.velocity(torch.zeros_like(p), p)

    def potential_gradient(self, q: Half) -> Half:
        """dV/dq."""
        return -self._field.force(q, torch.zeros_like(q))

    @property
    def weight(self) -> Tensor | None:
        """A weight, which tells dtype and device; None if nothing is learnt."""
        return next(self.parameters(), None)


def _unit_of_length(units: Units) -> float:
    """Give the unit of positions, which walls have in common."""
    unit: float = units.q[0]
    if any(other != unit for other in units.q):
        raise ValueError(
            f"Expected one unit of length between walls, in all directions; got {units.q}."
        )
    return unit


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


def start(
    net: Any,
    method: Integrator,
    units: Units,
    windows: Trajectories,
    recipe: Recipe,
    generator: torch.Generator,
    progress: bool,
) -> None:
    """Start the Hamiltonian by the steps that do not rebound, and the walls by those that do.

    The walls only where the motion between them is then known, or has been from the first, as of a
    Hamiltonian that is frozen.  What is frozen keeps its start.
    """
    if not learns(net.walls):
        fit_free_motion(net, method, windows)
        return
    found = 0
    inner = network_in(net.inner)
    known = inner is None or not any(x.requires_grad for x in inner.parameters())
    if fit_free_motion(net, method, windows) or known:
        found = start_from_rebounds(
            net,
            method,
            windows,
            unit=_unit_of_length(units),
            origin=units.shift[: net.dim],
            iterations=recipe.wall_steps,
            generator=generator,
            progress=progress,
        )
    if not found and isinstance(net.walls, PictureWalls):
        warnings.warn(
            "The walls keep the start that they were drawn with: the data show too few rebounds, "
            "or the Hamiltonian has no quadratic term to start from, HNet(..., quadratic=True), or "
            "is frozen in part. "
            "Through rollouts alone walls are slow to learn; preset='paper' has a recipe for it.",
            stacklevel=5,  # to who has called the decorated fit
        )


def check_reach(walls: Any, steps: Tensor, dt: float) -> None:
    """Refuse steps, of these lengths in pixels, that are longer than the walls can see."""
    reach = getattr(walls, "reach", None)
    if reach is None:
        return
    longest = float(steps.max())
    # Noise may push a few over the limit.
    if float((steps > reach).float().mean()) > 1e-3:
        raise ValueError(
            f"Expected steps of at most {reach:g} pixels, half the patch that the walls are seen "
            f"on; the longest is {longest:.2f} in dt={dt:g}. Take a dt of at most "
            f"{dt * reach / longest:.2g} or more substeps, balls of at most {reach / dt:.3g} "
            "pixels a unit of time, or use srnn.rebound.LevelSetWalls, which have no such limit."
        )


def check_starts(walls: Any, z: Tensor, *, depth: float = 1e-3) -> None:
    """Refuse states ``(..., batch, 2*dim)`` inside of a wall or outside of the picture."""
    if not isinstance(walls, (PictureWalls, KnownWalls)):
        return
    q = _checks.halves(z)[0]
    q = q.reshape(-1, *q.shape[-2:])  # (time, batch, dim)
    for wrong, where in (
        (walls.on_wall(q, depth), "inside a wall"),
        (~walls.inside(q), "off the picture"),
    ):
        if bool(wrong.any()):
            trajectories = wrong.any(dim=0).nonzero()[:, 0]
            first = int(trajectories[0])
            x, y = q[wrong[:, first], first][0].tolist()
            raise ValueError(
                f"Expected positions in the free space of the picture; {len(trajectories)} "
                f"trajectories are {where}, the first of them number {first} at "
                f"({x:.4g}, {y:.4g}). Positions are in pixels, y up, from the lower left corner; "
                "leave such trajectories out by data.select(...)."
            )


def stopped_outside(walls: Any, states: StateSeries) -> StateSeries:
    """Make a trajectory NaN from where it has left the picture, as through a gap in a wall."""
    if not isinstance(walls, (PictureWalls, KnownWalls)):
        return states
    left = ~walls.inside(_checks.halves(states)[0])
    gone = left.int().cummax(dim=0).values.bool()
    return torch.where(gone[..., None], torch.nan, states)
