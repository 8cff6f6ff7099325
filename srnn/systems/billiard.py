"""The heavy billiard of the paper's section 6."""

import numpy as np
import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State, Status, TrajectoryValues
from srnn.systems._base import PointMasses
from srnn.systems._bouncing import Bounces, Motion, follow, sorted_bounces
from srnn.systems._contacts import Contacts
from srnn.systems._outline import Array, normals_of
from srnn.systems._shared import uniform
from srnn.systems._truth import OrbitStatus
from srnn.systems.room import Room

__all__ = ["Billiard"]

_LARGEST_TABLE = 1 << 19  # entries of a table of balls by walls


class Billiard(PointMasses):
    r"""A heavy ball that bounces off the walls of a room (section 6).

    .. math:: H(q, p) = \frac{|p|^2}{2 m} + m g y, \qquad q = (x, y),

    within the room.  At a wall of unit normal n, which points into the room, the momentum becomes

    .. math:: p - (1 + e) (p \cdot n) n,

    with the restitution e: at e = 1 the ball rebounds without loss of energy.  Friction there is
    none.  A ball whose bounces have become too low to be resolved slides along the wall, or rests
    where two walls hold it.

    Lengths are in px and times in s.  The paper states neither the gravity nor the speeds nor the
    scale of its pixels.  The defaults are such that within 0.1 s no ball of the default starts
    moves by more than 5 px, half of the 10 px that the paper's networks see around a position:
    :math:`\sqrt{25^2 + 2 \cdot 9 \cdot 104} \cdot 0.1 = 4.997`, 104 px being the free height.

    Parameters
    ----------
    room : Room, optional
        The paper's box, ``Room.box()``, by default.
    mass : float
        m.
    gravity : float
        g in px/s^2, downwards; zero is allowed.
    restitution : float
        e, from 0 to 1.
    radius : float
        Distance in px of the ball's centre from a wall that it touches.  The paper's ball is a
        point mass; of 3 x 3 pixels it is in pictures only.
    speed : float
        Largest speed in px/s, at the highest point of the room, of a ball of the default starts.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or `room` is no room.

    Examples
    --------
    >>> import torch, srnn
    >>> billiard = srnn.systems.Billiard(srnn.systems.Room.box(size=32, wall=6), gravity=2.0)
    >>> states, status = billiard.flow(torch.tensor([[16.0, 15.0, 0.0, 0.0]]), dt=3.0, steps=2)
    >>> states[:, 0, 1]  # falls by 9, onto the floor at 6, and rises again
    tensor([15.,  6., 15.], dtype=torch.float64)
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
        if room is not None and not isinstance(room, Room):
            raise TypeError(f"Expected `room` to be a Room or None; got {type(room).__name__}.")
        self.room = Room.box() if room is None else room
        self.mass = _checks.positive(mass, "mass")
        self.gravity = _checks.non_negative(gravity, "gravity")
        self.restitution = _checks.unit_interval(restitution, "restitution")
        self.radius = _checks.non_negative(radius, "radius")
        self.speed = _checks.non_negative(speed, "speed")

    @property
    def _inertia(self) -> float:
        return self.mass

    def potential(self, q: Half) -> Energy:
        """Potential energy m g y."""
        return self.mass * self.gravity * q[..., 1]

    def potential_gradient(self, q: Half) -> Half:
        """Weight (0, m g)."""
        weight = torch.tensor([0.0, self.mass * self.gravity], dtype=q.dtype, device=q.device)
        return torch.zeros_like(q) + weight

    def potential_hessian(self, q: Half) -> Hessians:
        """V'' for every q, zero, shape ``(..., 2, 2)``."""
        return q.new_zeros(*q.shape[:-1], 2, 2)

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

        Parameters
        ----------
        speed : float, optional
            The billiard's own by default.
            At least the radius away from the walls.

        Raises
        ------
        ValueError, TypeError
            If an option is out of its range, or no place in the room is large enough for the ball.
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        speed = self.speed if speed is None else _checks.non_negative(speed, "speed")
        generator = _checks.as_generator(generator)
        ends = self.room.outline.reshape(-1, 2)
        low, high = ends.amin(dim=0), ends.amax(dim=0)
        top = (speed**2 + 2 * self.gravity * float(high[1] - low[1])) ** 0.5
        found = torch.zeros(0, 4, dtype=torch.float64)
        drawn = 0
        while len(found) < trajectories:
            if not len(found) and drawn > 100_000:
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
        """Compute the true motion from `z0`, in float64, from bounce to bounce.

        Between bounces the motion is a parabola, and when it meets a straight wall is known in
        closed form.  Any number of bounces may be in a step.

        Parameters
        ----------
        z0 : Tensor, shape (batch, 4)
            Starts (x, y, p_x, p_y); any float dtype and device, never written to.
        dt : float
            Time between states.
        steps : int
            Number of steps.

        Returns
        -------
        states : Tensor, shape (steps + 1, batch, 4), float64
            At the moment of a bounce, the state before it.
        status : Tensor of int64, shape (batch,)
            An :class:`OrbitStatus` a trajectory: ``OK``; ``LEFT`` if the ball left through a gap
            of the room; ``STOPPED`` if more than a thousand elastic bounces are at one moment, in
            the tip of a wedge.  States after either are NaN.

        Raises
        ------
        ValueError, TypeError
            If a shape is wrong, a number is NaN or infinite, `dt` or `steps` is not positive, or a
            ball does not start in the free space, at least the radius away from the walls.
        """
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
        """Find all bounces of the motion that :meth:`flow` computes.

        Contacts without a bounce, as of a ball that slides, are not among them.

        Parameters
        ----------
        z0 : Tensor, shape (batch, 4)
        dt : float
        steps : int
            As for :meth:`flow`.

        Returns
        -------
        Bounces
            Those at times from 0 to below steps * dt.

        Raises
        ------
        ValueError, TypeError
            As :meth:`flow`.

        Examples
        --------
        >>> import torch, srnn
        >>> billiard = srnn.systems.Billiard(gravity=0.0)
        >>> z0 = torch.tensor([[64.0, 64.0, 26.0, 13.0]])
        >>> bounces = billiard.bounces(z0, dt=0.1, steps=60)
        >>> bounces.time.tolist()
        [2.0, 4.0]
        >>> bounces.position.tolist()  # the wall at the right, then the ceiling
        [[116.0, 90.0], [64.0, 116.0]]
        """
        z0, dt, steps = self._checked(z0, dt, steps)
        return sorted_bounces(self._motions(z0, dt, steps), _grid(dt, steps), z0.device)

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
        walls = Contacts.of(segments, gaps, normals, self.radius, room.touch)
        size = max(1, _LARGEST_TABLE // max(1, len(walls.offset) + len(walls.corners)))
        x, v = z0[:, :2].numpy(), z0[:, 2:].numpy() / self.mass
        times = _grid(dt, steps)
        return [
            follow(walls, x[part], v[part], times, self.gravity, self.restitution)
            for part in (slice(i, i + size) for i in range(0, len(x), size))
        ]


def _grid(dt: float, steps: int) -> Array:
    return dt * np.arange(steps + 1, dtype=np.float64)
