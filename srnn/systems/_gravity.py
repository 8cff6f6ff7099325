"""Newtonian gravity between bodies in the plane, shared by the two- and the three-body system."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half
from srnn.systems._base import PointMasses
from srnn.systems._shared import like, parameters
from srnn.systems._truth import AdaptiveTruth

__all__ = ["PlanarGravity", "rotate"]


class PlanarGravity(AdaptiveTruth, PointMasses):
    r"""Bodies in the plane that attract each other.

    .. math::
        H(q, p) = \sum_i \frac{|p_i|^2}{2 m_i} - \sum_{i<j} \frac{G m_i m_j}{|q_i - q_j|}.

    On the last axis the bodies follow each other, x before y: (q1x, q1y, q2x, q2y, ...).

    Parameters
    ----------
    masses : sequence of float
        The masses m.
    gravity : float
        G.
    bodies : int
        How many masses there must be.

    Examples
    --------
    >>> import torch, srnn
    >>> two = srnn.systems.TwoBody(masses=[1.0, 2.0])
    >>> isinstance(two, srnn.systems.PlanarGravity), two.bodies
    (True, 2)
    >>> two.potential(torch.tensor([0.0, 0.0, 0.0, 4.0]))
    tensor(-0.5000)
    """

    def __init__(self, masses: Sequence[float] | Tensor, gravity: float, bodies: int) -> None:
        self.masses = parameters(masses, "masses", length=bodies)
        self.gravity = _checks.positive(gravity, "gravity")
        self.bodies = bodies
        self.dim = 2 * bodies
        first, second = torch.triu_indices(bodies, bodies, offset=1)
        self._pull = self.gravity * self.masses[first] * self.masses[second]
        # (pairs, bodies): +1 for the first body of a pair, -1 for the second.  It takes differences
        # of positions, exactly, and its transpose adds up what a body feels.
        unit = torch.eye(bodies, dtype=torch.float64)
        self._pairs = unit[first] - unit[second]

    @cached_property
    def _inertia(self) -> Tensor:
        return self.masses.repeat_interleave(2)

    def _distances(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """q_i - q_j of every pair, (..., pairs, 2), and the squared distance, (..., pairs)."""
        apart = like(self._pairs, q) @ q.reshape(*q.shape[:-1], self.bodies, 2)
        return apart, (apart * apart).sum(dim=-1)

    def potential(self, q: Half) -> Energy:
        r"""Minus the sum of :math:`G m_i m_j / |q_i - q_j|`."""
        return -(like(self._pull, q) * self._distances(q)[1].rsqrt()).sum(dim=-1)

    def potential_gradient(self, q: Half) -> Half:
        r"""Sum over the others of :math:`G m_i m_j (q_i - q_j) / |q_i - q_j|^3`."""
        apart, squared = self._distances(q)
        weight = like(self._pull, q) * squared**-1.5
        return (like(self._pairs, q).mT @ (weight[..., None] * apart)).flatten(-2)


def rotate(vectors: Tensor, angle: Tensor | float) -> Tensor:
    """Turn vectors ``(..., 2)`` counter-clockwise by an angle, or by one angle each."""
    angle = torch.as_tensor(angle, dtype=vectors.dtype, device=vectors.device)
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)
