"""The chain of Fermi, Pasta, Ulam and Tsingou (1955)."""

import math

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State
from srnn.systems._base import PointMasses
from srnn.systems._shared import interval, normal, stretches, uniform
from srnn.systems._truth import AdaptiveTruth

__all__ = ["FPUT"]


class FPUT(AdaptiveTruth, PointMasses):
    r"""N unit masses joined by N + 1 weakly nonlinear springs, both ends fixed.

    .. math::
        H(q, p) = \sum_{i=1}^{N} \frac{p_i^2}{2}
                + \sum_{i=0}^{N} \Big(\frac{r_i^2}{2} + \alpha \frac{r_i^3}{3}
                + \beta \frac{r_i^4}{4}\Big), \qquad r_i = q_{i+1} - q_i,\; q_0 = q_{N+1} = 0.

    Parameters
    ----------
    masses : int
        N.
    alpha, beta : float
        Strengths of the cubic and of the quartic term.  The defaults are the alpha model of the
        original report.  A cubic term alone is unbounded below: a spring whose energy passes
        :math:`1 / (6 \alpha^2)` breaks, and the trajectory's status says that it stopped.

    Examples
    --------
    >>> import torch, srnn
    >>> chain = srnn.systems.FPUT(masses=2, alpha=0.0, beta=1.0)
    >>> chain(torch.tensor([1.0, 0.0, 0.0, 0.0]))  # two springs stretched by one
    tensor(1.5000)
    """

    def __init__(self, masses: int = 32, alpha: float = 0.25, beta: float = 0.0) -> None:
        self.dim = _checks.positive_int(masses, "masses")
        self.alpha = _checks.finite(alpha, "alpha")
        self.beta = _checks.finite(beta, "beta")

    def potential(self, q: Half) -> Energy:
        """Sum of r^2/2 + alpha r^3/3 + beta r^4/4 over the springs."""
        r = stretches(q)
        return (r * r * (0.5 + r * (self.alpha / 3 + r * (self.beta / 4)))).sum(dim=-1)

    def potential_gradient(self, q: Half) -> Half:
        """Difference of the tensions r + alpha r^2 + beta r^3 on the two sides of a mass."""
        r = stretches(q)
        return -torch.diff(r * (1 + r * (self.alpha + r * self.beta)), dim=-1)

    def potential_hessian(self, q: Half) -> Hessians:
        """V'' for every q, tridiagonal, shape ``(..., dim, dim)``.

        That of a chain of springs with the stiffnesses 1 + 2 alpha r + 3 beta r^2.
        """
        r = stretches(q)
        stiffness = 1 + r * (2 * self.alpha + r * (3 * self.beta))
        inner = stiffness[..., 1:-1]
        off: Tensor = torch.diag_embed(inner, 1) + torch.diag_embed(inner, -1)
        return torch.diag_embed(stiffness[..., :-1] + stiffness[..., 1:]) - off

    def frequencies(self) -> Tensor:
        """Frequencies 2 sin(pi n / (2 (N + 1))) of the linear modes, shape (dim,), float64.

        Examples
        --------
        >>> import srnn
        >>> srnn.systems.FPUT(masses=2).frequencies()
        tensor([1.0000, 1.7321], dtype=torch.float64)
        """
        return 2 * torch.sin(self._angles() / 2)

    def modes(self) -> Tensor:
        """Orthonormal linear modes, one a row, shape (dim, dim), float64.

        Examples
        --------
        >>> import srnn
        >>> srnn.systems.FPUT(masses=2).modes()
        tensor([[ 0.7071,  0.7071],
                [ 0.7071, -0.7071]], dtype=torch.float64)
        """
        places = torch.arange(1, self.dim + 1, dtype=torch.float64)
        scale: float = (2 / (self.dim + 1)) ** 0.5
        return scale * torch.sin(torch.outer(self._angles(), places))

    def _angles(self) -> Tensor:
        n = torch.arange(1, self.dim + 1, dtype=torch.float64)
        return math.pi * n / (self.dim + 1)

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        modes: int = 4,
        energy: tuple[float, float] = (0.02, 0.1),
    ) -> State:
        """Draw starts with their energy in the lowest linear modes.

        The harmonic energy is uniform in `energy`; its share among the modes and between q and p
        is that of a random direction (uniform on a sphere in the modes' own phase space).

        Parameters
        ----------
        modes : int
            How many of the lowest modes; all of them if the chain has fewer.
        energy : (float, float)
            Low and high.
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        count = min(_checks.positive_int(modes, "modes"), self.dim)
        low, high = interval(energy, "energy")
        if low <= 0:
            raise ValueError(f"Expected `energy` to be positive; got {energy!r}.")
        generator = _checks.as_generator(generator)
        level = uniform(low, high, (trajectories, 1), generator)
        direction = normal((trajectories, 2 * count), generator)
        direction = (2 * level).sqrt() * direction / direction.norm(dim=-1, keepdim=True)
        q, p = _checks.halves(direction)
        shapes = self.modes()[:count]
        return torch.cat(((q / self.frequencies()[:count]) @ shapes, p @ shapes), dim=-1)
