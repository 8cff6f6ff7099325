"""Two bodies in the plane: Kepler's problem."""

from collections.abc import Sequence

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.systems._gravity import PlanarGravity, rotate
from srnn.systems._shared import interval, uniform

__all__ = ["TwoBody"]


class TwoBody(PlanarGravity):
    r"""Two bodies in the plane that attract each other.

    .. math::
        H(q, p) = \frac{|p_1|^2}{2 m_1} + \frac{|p_2|^2}{2 m_2} - \frac{G m_1 m_2}{|q_1 - q_2|}.

    States are ordered (q1x, q1y, q2x, q2y, p1x, p1y, p2x, p2y).  Bound orbits are Kepler's
    ellipses, of period :math:`2 \pi \sqrt{a^3 / (G (m_1 + m_2))}`.

    Parameters
    ----------
    masses : sequence of 2 floats
    gravity : float
        G.

    Examples
    --------
    >>> import torch, srnn
    >>> kepler = srnn.systems.TwoBody()
    >>> kepler(torch.tensor([0.5, 0.0, -0.5, 0.0, 0.0, 0.5, 0.0, -0.5]))
    tensor(-0.7500)
    """

    def __init__(self, masses: Sequence[float] | Tensor = (1.0, 1.0), gravity: float = 1.0) -> None:
        super().__init__(masses, gravity, bodies=2)

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        semi_major_axis: tuple[float, float] = (0.8, 1.2),
        eccentricity: tuple[float, float] = (0.0, 0.5),
    ) -> State:
        """Draw bound orbits about a centre of mass that rests at the origin.

        The semi-major axis (of the orbit of one body about the other) and the eccentricity are
        uniform in their intervals, the ellipse's direction and the eccentric anomaly uniform in
        a full turn; all orbits go counter-clockwise.

        Parameters
        ----------
        semi_major_axis : (float, float)
        eccentricity : (float, float)
            Within [0, 1).
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        axis = interval(semi_major_axis, "semi_major_axis")
        _checks.positive(axis[0], "semi_major_axis[0]")
        shape = interval(eccentricity, "eccentricity")
        for end in shape:
            _checks.fraction(end, "eccentricity")
        generator = _checks.as_generator(generator)
        a = uniform(*axis, (trajectories,), generator)
        e = uniform(*shape, (trajectories,), generator)
        turn, anomaly = uniform(0, 2 * torch.pi, (2, trajectories), generator)
        minor = (1 - e * e).sqrt()
        cos, sin = torch.cos(anomaly), torch.sin(anomaly)
        m1, m2 = self.masses
        total = m1 + m2
        # Position and velocity of body 1 as seen from body 2.
        apart = a[:, None] * torch.stack((cos - e, minor * sin), dim=-1)
        velocity = (self.gravity * total / a).sqrt() / (1 - e * cos)
        velocity = velocity[:, None] * torch.stack((-sin, minor * cos), dim=-1)
        apart, velocity = rotate(apart, turn), rotate(velocity, turn)
        momentum = m1 * m2 / total * velocity
        return torch.cat((m2 / total * apart, -m1 / total * apart, momentum, -momentum), dim=-1)
