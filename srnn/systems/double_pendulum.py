"""The double pendulum, whose kinetic energy depends on q."""

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, State
from srnn.systems._shared import uniform
from srnn.systems._truth import AdaptiveTruth

__all__ = ["DoublePendulum"]


class DoublePendulum(AdaptiveTruth):
    r"""A pendulum that hangs from a pendulum; q are the angles of the two rods from below.

    .. math::
        H(q, p) = \frac{m_2 l_2^2 p_1^2 + (m_1 + m_2) l_1^2 p_2^2
                        - 2 m_2 l_1 l_2 p_1 p_2 \cos(q_1 - q_2)}
                       {2 m_2 l_1^2 l_2^2 (m_1 + m_2 \sin^2(q_1 - q_2))}
                + (m_1 + m_2) g l_1 (1 - \cos q_1) + m_2 g l_2 (1 - \cos q_2).

    The momenta are the canonical ones.  H is *not* separable: integrate it by ``"tao2"``,
    ``"tao4"``, ``"implicit-midpoint"`` or ``"rk4"``.

    Parameters
    ----------
    masses : (float, float)
        m1 (upper) and m2.
    lengths : (float, float)
        l1 (upper) and l2.
    gravity : float
        g.

    Examples
    --------
    >>> import torch, srnn
    >>> pendulum = srnn.systems.DoublePendulum(gravity=1.0)
    >>> pendulum(torch.tensor([0.0, torch.pi, 0.0, 0.0]))  # the lower one upright
    tensor(2.)
    """

    dim = 2
    separable = False

    def __init__(
        self,
        masses: tuple[float, float] = (1.0, 1.0),
        lengths: tuple[float, float] = (1.0, 1.0),
        gravity: float = 9.81,
    ) -> None:
        self.masses = _pair(masses, "masses")
        self.lengths = _pair(lengths, "lengths")
        self.gravity = _checks.positive(gravity, "gravity")

    def __call__(self, z: State) -> Energy:
        """Energy of each state: ``(..., 4)`` to ``(...)``."""
        q1, q2, p1, p2 = _checks.state(z, "z", self.dim).unbind(-1)
        (m1, m2), (l1, l2), g = self.masses, self.lengths, self.gravity
        cos, sin = torch.cos(q1 - q2), torch.sin(q1 - q2)
        above = (
            m2 * l2**2 * p1 * p1 + (m1 + m2) * l1**2 * p2 * p2 - 2 * m2 * l1 * l2 * p1 * p2 * cos
        )
        kinetic = above / (2 * m2 * l1**2 * l2**2 * (m1 + m2 * sin * sin))
        # 1 - cos q = 2 sin^2(q/2), which does not cancel for small angles.
        half1, half2 = torch.sin(q1 / 2), torch.sin(q2 / 2)
        potential = 2 * g * ((m1 + m2) * l1 * half1 * half1 + m2 * l2 * half2 * half2)
        return kinetic + potential

    def gradient(self, z: State) -> State:
        """(dH/dq1, dH/dq2, dH/dp1, dH/dp2) at each state, shape ``(..., 4)``."""
        q1, q2, p1, p2 = _checks.state(z, "z", self.dim).unbind(-1)
        (m1, m2), (l1, l2), g = self.masses, self.lengths, self.gravity
        cos, sin = torch.cos(q1 - q2), torch.sin(q1 - q2)
        inertia = m1 + m2 * sin * sin
        along_p1 = (l2 * p1 - l1 * p2 * cos) / (l1**2 * l2 * inertia)
        along_p2 = ((m1 + m2) * l1 * p2 - m2 * l2 * p1 * cos) / (m2 * l1 * l2**2 * inertia)
        # dK/d(q1 - q2): of the cosine above the line, and of the inertia below it.
        above = (
            m2 * l2**2 * p1 * p1 + (m1 + m2) * l1**2 * p2 * p2 - 2 * m2 * l1 * l2 * p1 * p2 * cos
        )
        turn = sin * (l1 * l2 * p1 * p2 - above * cos / inertia) / (l1**2 * l2**2 * inertia)
        along_q1 = turn + (m1 + m2) * g * l1 * torch.sin(q1)
        along_q2 = -turn + m2 * g * l2 * torch.sin(q2)
        return torch.stack((along_q1, along_q2, along_p1, along_p2), dim=-1)

    def mass_matrix(self, q: Tensor) -> Tensor:
        """Mass matrix M(q) of p = M(q) dq/dt: ``(..., 2)`` to ``(..., 2, 2)``.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.DoublePendulum().mass_matrix(torch.zeros(2))
        tensor([[2., 1.],
                [1., 1.]])
        """
        (m1, m2), (l1, l2) = self.masses, self.lengths
        mixed = m2 * l1 * l2 * torch.cos(q[..., 0] - q[..., 1])
        upper = torch.full_like(mixed, (m1 + m2) * l1**2)
        lower = torch.full_like(mixed, m2 * l2**2)
        rows = (torch.stack((upper, mixed), dim=-1), torch.stack((mixed, lower), dim=-1))
        return torch.stack(rows, dim=-2)

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        angle: float = 1.5,
        velocity: float = 1.0,
    ) -> State:
        """Draw starts: angles uniform in (-angle, angle), angular velocities in plus or minus.

        Parameters
        ----------
        angle : float
            Large angles are chaotic, small ones nearly linear.
        velocity : float
            In units of the root of g / l1; 0 releases the pendulum from rest.
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        angle = _checks.positive(angle, "angle")
        velocity = _checks.non_negative(velocity, "velocity")
        generator = _checks.as_generator(generator)
        q = uniform(-angle, angle, (trajectories, 2), generator)
        fastest = velocity * (self.gravity / self.lengths[0]) ** 0.5
        turning = uniform(-fastest, fastest, (trajectories, 2), generator)
        p = (self.mass_matrix(q) @ turning[..., None])[..., 0]
        return torch.cat((q, p), dim=-1)


def _pair(values: tuple[float, float], name: str) -> tuple[float, float]:
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise TypeError(f"Expected `{name}` to be a pair of numbers; got {values!r}.")
    upper, lower = (_checks.positive(value, f"{name}[{i}]") for i, value in enumerate(values))
    return upper, lower
