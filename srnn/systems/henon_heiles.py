"""The model of Hénon and Heiles (1964)."""

import torch

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State
from srnn.systems._base import PointMasses
from srnn.systems._shared import interval, uniform
from srnn.systems._truth import AdaptiveTruth

__all__ = ["HenonHeiles"]


class HenonHeiles(AdaptiveTruth, PointMasses):
    r"""A star in the plane of an axisymmetric galaxy; q = (x, y).

    .. math::
        H(q, p) = \frac{p_x^2 + p_y^2}{2} + \frac{x^2 + y^2}{2}
                + \lambda \Big(x^2 y - \frac{y^3}{3}\Big).

    Below the critical energy :math:`1 / (6 \lambda^2)` the motion stays in a triangle; it is
    mostly regular at half of that and mostly chaotic close to it.

    Parameters
    ----------
    coupling : float
        The strength lambda of the cubic term.

    Examples
    --------
    >>> import torch, srnn
    >>> star = srnn.systems.HenonHeiles()
    >>> star(torch.tensor([0.0, 1.0, 0.0, 0.0]))  # a corner of the triangle
    tensor(0.1667)
    """

    dim = 2

    def __init__(self, coupling: float = 1.0) -> None:
        self.coupling = _checks.positive(coupling, "coupling")

    @property
    def critical_energy(self) -> float:
        """The energy of the three saddles, above which orbits can escape.

        Examples
        --------
        >>> import srnn
        >>> round(srnn.systems.HenonHeiles().critical_energy, 4)
        0.1667
        """
        return 1 / (6 * self.coupling**2)

    def potential(self, q: Half) -> Energy:
        """Potential energy (x^2 + y^2) / 2 + lambda (x^2 y - y^3 / 3)."""
        x, y = q[..., 0], q[..., 1]
        return (x * x + y * y) / 2 + self.coupling * (x * x * y - y**3 / 3)

    def potential_gradient(self, q: Half) -> Half:
        """Gradient (x + 2 lambda x y, y + lambda (x^2 - y^2))."""
        x, y = q[..., 0], q[..., 1]
        return torch.stack(
            (x + 2 * self.coupling * x * y, y + self.coupling * (x * x - y * y)), dim=-1
        )

    def potential_hessian(self, q: Half) -> Hessians:
        r"""V'' for every q, shape ``(..., 2, 2)``.

        .. math:: V''(q) = \begin{pmatrix} 1 + 2 \lambda y & 2 \lambda x \\
                                            2 \lambda x & 1 - 2 \lambda y \end{pmatrix}.

        Its determinant :math:`1 - 4 \lambda^2 |q|^2` is negative outside a circle.
        """
        x, y = (2 * self.coupling * q).unbind(dim=-1)
        rows = torch.stack((1 + y, x), dim=-1), torch.stack((x, 1 - y), dim=-1)
        return torch.stack(rows, dim=-2)

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        energy: tuple[float, float] = (0.1, 0.75),
    ) -> State:
        """Draw starts whose motion stays in the triangle.

        The energy is uniform between two fractions of the critical one, q uniform in the part of
        the triangle that the energy allows, and the direction of p uniform.

        Parameters
        ----------
        energy : (float, float)
            In units of the critical energy, 0 < low <= high <= 1.
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        low, high = interval(energy, "energy")
        if not 0 < low <= high <= 1:
            raise ValueError(
                "Expected `energy` to lie in (0, 1], in units of the critical energy; "
                f"got {energy!r}."
            )
        generator = _checks.as_generator(generator)
        level = self.critical_energy * uniform(low, high, (trajectories,), generator)
        q = torch.zeros(trajectories, 2, dtype=torch.float64)
        left = torch.arange(trajectories)
        corners = torch.tensor([[0.0, 1.0], [-(0.75**0.5), -0.5], [0.75**0.5, -0.5]])
        corners = corners.to(torch.float64) / self.coupling
        while len(left):
            # Sorted uniforms cut the unit interval into barycentric weights.
            cuts = uniform(0, 1, (len(left), 2), generator).sort(dim=-1).values
            weights = torch.diff(torch.nn.functional.pad(cuts, (1, 0)), dim=-1)
            weights = torch.cat((weights, 1 - weights.sum(dim=-1, keepdim=True)), dim=-1)
            q[left] = weights @ corners
            left = left[self.potential(q[left]) >= level[left]]
        speed = (2 * (level - self.potential(q))).sqrt()
        angle = uniform(0, 2 * torch.pi, (trajectories,), generator)
        p = speed[:, None] * torch.stack((torch.cos(angle), torch.sin(angle)), dim=-1)
        return torch.cat((q, p), dim=-1)
