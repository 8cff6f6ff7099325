"""Three bodies in the plane, the paper's second experiment."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.systems._gravity import PlanarGravity, rotate
from srnn.systems._shared import interval, uniform

__all__ = ["ThreeBody"]


class ThreeBody(PlanarGravity):
    r"""Three bodies in the plane that attract each other.

    .. math::
        H(q, p) = \sum_{i=1}^{3} \frac{|p_i|^2}{2 m_i}
                - \sum_{i<j} \frac{G m_i m_j}{|q_i - q_j|}.

    States are ordered (q1x, q1y, q2x, q2y, q3x, q3y, p1x, ..., p3y).  There is no softening: close
    encounters are as violent as they are.

    Parameters
    ----------
    masses : sequence of 3 floats
    gravity : float
        G.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> data = srnn.systems.ThreeBody().simulate(4, steps=5, dt=1.0, generator=g)
    >>> data, data.status.tolist()
    (Trajectories(states=6, trajectories=4, dim=6, dt=1, dtype=float32), [0, 0, 0, 0])
    """

    def __init__(
        self, masses: Sequence[float] | Tensor = (1.0, 1.0, 1.0), gravity: float = 1.0
    ) -> None:
        super().__init__(masses, gravity, bodies=3)

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        radius: tuple[float, float] = (0.9, 1.2),
        perturbation: float = 0.2,
        shared_perturbation: bool = False,
    ) -> State:
        """Draw starts as Greydanus et al. (2019) do, whose configuration the paper takes over.

        The bodies stand on a circle, 120 degrees apart, and move along it at the speed with which
        the triangle would turn for ever (Lagrange's solution); then each component of each
        body's velocity is multiplied by 1 + perturbation * U(-1, 1).  The radius is uniform in its
        interval.  The first body's direction is that of a uniform point of a square, as in the
        code of 2019, so diagonals are a little more likely.  The centre of mass is at the origin
        (and for equal masses is the circle's centre); the perturbation leaves it a small momentum.

        Parameters
        ----------
        radius : (float, float)
        perturbation : float
        shared_perturbation : bool
            Draw one perturbation of the three velocities for *all* trajectories, as the paper's
            published code does; its training orbits then differ by size and orientation only.
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        inner, outer = interval(radius, "radius")
        _checks.positive(inner, "radius[0]")
        perturbation = _checks.non_negative(perturbation, "perturbation")
        generator = _checks.as_generator(generator)
        direction = uniform(-1, 1, (trajectories, 2), generator)
        direction = direction / direction.norm(dim=-1, keepdim=True)
        r = uniform(inner, outer, (trajectories, 1), generator)
        q = torch.stack([rotate(r * direction, k * 2 * math.pi / 3) for k in range(3)], dim=1)
        mass = self.masses[:, None]
        total = self.masses.sum()
        q = q - (mass * q).sum(dim=1, keepdim=True) / total
        # The triangle, of side sqrt(3) r, turns with angular velocity^2 = G M / side^3.
        turning = (self.gravity * total / (3**0.5 * r) ** 3).sqrt()
        velocity = turning[..., None] * rotate(q, math.pi / 2)
        drawn = 1 if shared_perturbation else trajectories
        velocity = velocity * (1 + perturbation * uniform(-1, 1, (drawn, 3, 2), generator))
        return torch.cat((q.flatten(1), (mass * velocity).flatten(1)), dim=-1)
