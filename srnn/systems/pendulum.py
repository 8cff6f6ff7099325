"""The plane pendulum."""

import torch

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State
from srnn.systems._base import PointMasses
from srnn.systems._shared import uniform
from srnn.systems._truth import AdaptiveTruth

__all__ = ["Pendulum"]


class Pendulum(AdaptiveTruth, PointMasses):
    r"""A mass on a rigid, weightless rod; q is the angle from the lowest point.

    .. math:: H(q, p) = \frac{p^2}{2 m l^2} + m g l (1 - \cos q).

    The angle is not wrapped: a pendulum that goes over the top counts its turns.

    Parameters
    ----------
    mass : float
        m.
    length : float
        l.
    gravity : float
        g.

    Examples
    --------
    >>> import torch, srnn
    >>> pendulum = srnn.systems.Pendulum(gravity=1.0)
    >>> pendulum(torch.tensor([torch.pi, 0.0]))  # upright: the energy of the separatrix
    tensor(2.)
    """

    dim = 1

    def __init__(self, mass: float = 1.0, length: float = 1.0, gravity: float = 9.81) -> None:
        self.mass = _checks.positive(mass, "mass")
        self.length = _checks.positive(length, "length")
        self.gravity = _checks.positive(gravity, "gravity")

    @property
    def _inertia(self) -> float:
        return self.mass * self.length**2

    def potential(self, q: Half) -> Energy:
        """Potential energy m g l (1 - cos q)."""
        # 1 - cos q = 2 sin^2(q/2), which does not cancel for small angles.
        half = torch.sin(q / 2)
        return 2 * self.mass * self.gravity * self.length * (half * half).sum(dim=-1)

    def potential_gradient(self, q: Half) -> Half:
        """Restoring torque m g l sin q."""
        return self.mass * self.gravity * self.length * torch.sin(q)

    def potential_hessian(self, q: Half) -> Hessians:
        """V'' for every q, m g l cos q, shape ``(..., 1, 1)``."""
        return (self.mass * self.gravity * self.length * torch.cos(q))[..., None]

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        angle: float = 2.0,
        momentum: float = 1.0,
    ) -> State:
        """Draw starts: q uniform in (-angle, angle), p uniform in plus or minus `momentum` units.

        The unit of momentum is m l^2 times the frequency of small swings.  With the default values
        no pendulum goes over the top.

        Parameters
        ----------
        angle : float
        momentum : float
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        angle = _checks.positive(angle, "angle")
        momentum = _checks.non_negative(momentum, "momentum")
        unit = self.mass * self.length**2 * (self.gravity / self.length) ** 0.5
        z0 = uniform(-1, 1, (trajectories, 2), _checks.as_generator(generator))
        return z0 * torch.tensor([angle, momentum * unit], dtype=torch.float64)
