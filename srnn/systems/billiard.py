"""The heavy billiard of the paper's section 6."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State, Status, TrajectoryValues
from srnn.systems._base import SeparableSystem
from srnn.systems._bouncing import Motion, follow
from srnn.systems._contacts import Walls
from srnn.systems._outline import normals_of
from srnn.systems._shared import uniform
from srnn.systems._truth import OrbitStatus
from srnn.systems.room import Room

__all__ = ["Billiard", "Bounces"]

_LARGEST_TABLE = 1 << 19  # entries of a table of balls by walls


class Bounces(NamedTuple):
    """All bounces of a batch of trajectories, by trajectory and then by time."""

    trajectory: Tensor
    """Which trajectory, int64, shape (n,)."""
    time: Tensor
    """When, from the start, float64, shape (n,)."""
    step: Tensor
    """The k with k dt <= time < (k + 1) dt, int64, shape (n,)."""
    position: Tensor
    """Where the ball's centre is, float64, shape (n, 2)."""
    normal: Tensor
    """Unit vector orthogonal to the wall, into the room, float64, shape (n, 2)."""


class Billiard(SeparableSystem):
    r"""A heavy ball in a room, which the walls reflect.

    .. math:: H(q, p) = \frac{|p|^2}{2 m} + m g q_2.
    """

    dim = 2

    def __init__(
        self,
        room: Room | None = None,
        *,
        mass: float = 1.0,
        gravity: float = 9.0,
        restitution: float = 1.0,
        radius: float = 0.0,
        speed: float = 25.0,
    ) -> None:
        self.room = Room.box() if room is None else room
        self.mass = _checks.positive(mass, "mass")
        self.gravity = _checks.non_negative(gravity, "gravity")
        self.restitution = _checks.finite(restitution, "restitution")
        if not 0 <= self.restitution <= 1:
            raise ValueError(f"Expected `restitution` to lie in [0, 1]; got {restitution!r}.")
        self.radius = _checks.non_negative(radius, "radius")
        self.speed = _checks.non_negative(speed, "speed")

    def kinetic(self, p: Half) -> Energy:
        """Kinetic energy |p|^2 / (2 m)."""
        return (p * p).sum(dim=-1) / (2 * self.mass)

    def potential(self, q: Half) -> Energy:
        """Potential energy m g y."""
        return self.mass * self.gravity * q[..., 1]

    def kinetic_gradient(self, p: Half) -> Half:
        """Velocity p / m."""
        return p / self.mass

    def potential_gradient(self, q: Half) -> Half:
        """Weight (0, m g)."""
        weight = torch.tensor([0.0, self.mass * self.gravity], dtype=q.dtype, device=q.device)
        return torch.zeros_like(q) + weight

    def kinetic_hessian(self, p: Half) -> Hessians:
        """K'' for every p, the unit matrix over m, shape ``(..., 2, 2)``."""
        unit = torch.eye(2, dtype=p.dtype, device=p.device)
        return (unit / self.mass).expand(*p.shape[:-1], 2, 2)

    def potential_hessian(self, q: Half) -> Hessians:
        """V'' for every q, zero, shape ``(..., 2, 2)``."""
        return q.new_zeros(*q.shape[:-1], 2, 2)

    def longest_step(self, dt: float) -> float:
        """Upper bound of the way within dt of any ball from the default starts, in px."""
        dt = _checks.positive(dt, "dt")
        y = torch.cat((self.room.segments, self.room.gaps))[..., 1]
        height = float(y.max() - y.min())
        return float((self.speed**2 + 2 * self.gravity * height) ** 0.5 * dt)

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        speed: float | None = None,
    ) -> State:
        """Draw starts uniformly from all the states of at most a given energy.

        The energy is that of a ball of `speed` at the highest point of the room.  This
        distribution is the Liouville measure below an energy, which the motion leaves as it is:
        positions and velocities are distributed alike at all times, and what is trained on is
        distributed as what is predicted.
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        speed = self.speed if speed is None else _checks.non_negative(speed, "speed")
        generator = _checks.as_generator(generator)
        ends = torch.cat((self.room.segments, self.room.gaps)).reshape(-1, 2)
        low, high = ends.amin(dim=0), ends.amax(dim=0)
        top = (speed**2 + 2 * self.gravity * float(high[1] - low[1])) ** 0.5
        found = torch.zeros(0, 4, dtype=torch.float64)
        drawn = 0
        while len(found) < trajectories:
            if not len(found) and drawn > 1_000_000:
                raise ValueError(
                    f"Expected a room with a place for a ball of `radius` {self.radius}; none of "
                    f"{drawn} points is that far from the walls."
                )
            q = low + (high - low) * uniform(0, 1, (max(trajectories, 64), 2), generator)
            velocity = top * uniform(-1, 1, (len(q), 2), generator)
            drawn += len(q)
            fall = 2 * self.gravity * (q[:, 1] - low[1])
            slow = velocity.square().sum(dim=-1) + fall <= top**2
            found = torch.cat(
                (found, torch.cat((q, self.mass * velocity), dim=-1)[slow & self._fits(q)])
            )
        return found[:trajectories]

    def flow(self, z0: Tensor, dt: float, steps: int) -> tuple[TrajectoryValues, Status]:
        """Compute the true motion from `z0`, in float64, from bounce to bounce."""
        z0, dt, steps = self._checked(z0, dt, steps)
        motions = self._motions(z0, dt, steps)
        states = torch.from_numpy(np.concatenate([m.values for m in motions], axis=1))
        states[..., 2:] *= self.mass
        states = states.to(z0.device)
        states[0] = z0  # not rounded by a division by the mass
        left = torch.from_numpy(np.concatenate([m.left for m in motions]))
        stalled = torch.from_numpy(np.concatenate([m.stalled for m in motions]))
        status = left * int(OrbitStatus.LEFT) + stalled * int(OrbitStatus.STOPPED)
        return states, status.to(z0.device)

    def bounces(self, z0: Tensor, dt: float, steps: int) -> Bounces:
        """Find all bounces of the motion from `z0`."""
        z0, dt, steps = self._checked(z0, dt, steps)
        motions = self._motions(z0, dt, steps)
        firsts = np.cumsum([0, *(m.values.shape[1] for m in motions[:-1])])
        ball = np.concatenate([m.ball + i for m, i in zip(motions, firsts, strict=True)])
        time = np.concatenate([m.time for m in motions])
        # Within one moment, as in a corner, the order is that in which they were found.
        order = np.lexsort((time, ball))
        position = np.concatenate([m.position for m in motions])[order]
        normal = np.concatenate([m.normal for m in motions])[order]
        step = np.searchsorted(_grid(dt, steps), time[order], side="right") - 1
        parts = (ball[order], time[order], step, position, normal)
        return Bounces(*(torch.from_numpy(part).to(z0.device) for part in parts))

    def _fits(self, q: Tensor) -> Tensor:
        """Where a ball has a place: in the free space, at least the radius from the walls."""
        return self.room.contains(q) & (self.room.distance(q) >= self.radius - self.room.touch)

    def _motions(self, z0: Tensor, dt: float, steps: int) -> list[Motion]:
        z0 = z0.cpu()
        wrong = (~self._fits(z0[:, :2])).nonzero()[:, 0]
        if len(wrong):
            i = int(wrong[0])
            x, y = z0[i, :2].tolist()
            raise ValueError(
                "Expected `z0` to start in the free space, at least the radius "
                f"{self.radius} from the walls; got trajectory {i} at ({x:g}, {y:g})."
            )
        room = self.room
        segments, gaps = room.segments.numpy(), room.gaps.numpy()
        normals = normals_of(np.concatenate((segments, gaps)))
        walls = Walls.of(segments, gaps, normals, self.radius, room.touch)
        size = max(1, _LARGEST_TABLE // max(1, len(walls.offset) + len(walls.corners)))
        x, v = z0[:, :2].numpy(), z0[:, 2:].numpy() / self.mass
        times = _grid(dt, steps)
        return [
            follow(walls, x[part], v[part], times, self.gravity, self.restitution)
            for part in (slice(i, i + size) for i in range(0, len(x), size))
        ]


def _grid(dt: float, steps: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return dt * np.arange(steps + 1, dtype=np.float64)
