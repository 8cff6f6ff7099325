"""One mass on one spring: the harmonic oscillator."""

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, State, Status, TrajectoryValues
from srnn.systems._base import PointMasses
from srnn.systems._shared import uniform

__all__ = ["MassSpring"]


class MassSpring(PointMasses):
    r"""A mass on a spring.

    .. math:: H(q, p) = \frac{p^2}{2 m} + \frac{k q^2}{2}.

    The truth is the closed form: a rotation of :math:`(q, p / (m \omega))` by the angle
    :math:`\omega t`, with :math:`\omega = \sqrt{k / m}`.

    Parameters
    ----------
    mass : float
        m.
    stiffness : float
        k.

    Examples
    --------
    >>> import torch, srnn
    >>> spring = srnn.systems.MassSpring(mass=1.0, stiffness=4.0)
    >>> spring(torch.tensor([1.0, 2.0]))
    tensor(4.)
    """

    dim = 1

    def __init__(self, mass: float = 1.0, stiffness: float = 1.0) -> None:
        self.mass = _checks.positive(mass, "mass")
        self.stiffness = _checks.positive(stiffness, "stiffness")

    @property
    def frequency(self) -> float:
        """Angular frequency, the root of k / m.

        Examples
        --------
        >>> import srnn
        >>> srnn.systems.MassSpring(mass=1.0, stiffness=4.0).frequency
        2.0
        """
        return float((self.stiffness / self.mass) ** 0.5)

    @property
    def _inertia(self) -> float:
        return self.mass

    def potential(self, q: Half) -> Energy:
        """Potential energy k q^2 / 2."""
        return self.stiffness * (q * q).sum(dim=-1) / 2

    def potential_gradient(self, q: Half) -> Half:
        """Tension k q."""
        return self.stiffness * q

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        spread: float = 1.0,
    ) -> State:
        """Draw starts: q uniform in (-spread, spread), p in m omega times that.

        Parameters
        ----------
        spread : float
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        spread = _checks.positive(spread, "spread")
        z0 = uniform(-spread, spread, (trajectories, 2), _checks.as_generator(generator))
        z0[:, 1] *= self.mass * self.frequency
        return z0

    def flow(self, z0: Tensor, dt: float, steps: int) -> tuple[TrajectoryValues, Status]:
        """Compute the true motion from `z0`, in float64, by the closed form.

        Parameters
        ----------
        z0 : Tensor, shape (batch, 2)
        dt : float
        steps : int

        Returns
        -------
        states : Tensor, shape (steps + 1, batch, 2), float64
        status : Tensor of int64, shape (batch,)
            All OK.
        """
        z0, dt, steps = self._checked(z0, dt, steps)
        impedance = self.mass * self.frequency
        times = dt * torch.arange(steps + 1, dtype=torch.float64, device=z0.device)
        angle = (self.frequency * times)[:, None]
        cos, sin = torch.cos(angle), torch.sin(angle)
        q, p = z0[:, 0], z0[:, 1]
        states = torch.stack((cos * q + sin * p / impedance, cos * p - sin * q * impedance), dim=-1)
        return states, torch.zeros(len(z0), dtype=torch.int64, device=z0.device)
