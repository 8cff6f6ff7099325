"""Linear theory of a chain: its matrices, its normal modes, and what leapfrog makes of them."""

import math

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Half, Hessians
from srnn.systems._base import PointMasses
from srnn.systems._shared import like
from srnn.systems.quadratic import QuadraticHamiltonian

__all__ = ["LinearOscillators"]


class LinearOscillators(PointMasses):
    """A system with the kinetic energy of masses and a quadratic potential energy."""

    masses: Tensor

    @property
    def _inertia(self) -> Tensor:
        return self.masses

    def stiffness_matrix(self) -> Tensor:
        """Matrix S of V(q) = q S q / 2, tridiagonal, shape (dim, dim), float64.

        Examples
        --------
        >>> import srnn
        >>> srnn.systems.SpringChain([1.0, 1.0], [1.0, 2.0, 3.0]).stiffness_matrix()
        tensor([[ 3., -2.],
                [-2.,  5.]], dtype=torch.float64)
        """
        return self.potential_gradient(torch.eye(self.dim, dtype=torch.float64))

    def matrix(self) -> Tensor:
        """Matrix A of the linear equations dz/dt = A z, shape (2*dim, 2*dim), float64.

        Examples
        --------
        >>> import srnn
        >>> srnn.systems.SpringChain([0.5], [1.0, 3.0]).matrix()
        tensor([[ 0.,  2.],
                [-4.,  0.]], dtype=torch.float64)
        """
        zero = torch.zeros(self.dim, self.dim, dtype=torch.float64)
        top = torch.cat((zero, torch.diag(1 / self.masses)), dim=1)
        return torch.cat((top, torch.cat((-self.stiffness_matrix(), zero), dim=1)))

    def potential_hessian(self, q: Half) -> Hessians:
        """V'' for every q, the stiffness matrix, shape ``(..., dim, dim)``.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.SpringChain([1.0, 1.0], [1.0, 2.0, 3.0]).potential_hessian(torch.zeros(2))
        tensor([[ 3., -2.],
                [-2.,  5.]])
        """
        return like(self.stiffness_matrix(), q).expand(*q.shape, self.dim)

    def frequencies(self) -> Tensor:
        """Angular frequencies of the normal modes, ascending, shape (dim,), float64.

        Examples
        --------
        >>> import srnn
        >>> srnn.systems.SpringChain([1.0, 1.0], [1.0, 4.0, 1.0]).frequencies().round(decimals=6)
        tensor([1., 3.], dtype=torch.float64)
        """
        return self._modes()[0]

    def shadow_hamiltonian(self, dt: float) -> QuadraticHamiltonian:
        r"""Find the Hamiltonian whose *leapfrog* step is this chain's exact motion over `dt`.

        Section 4.1 of the paper says that what is learnt through an integrator is not H but the
        Hamiltonian whose modified equation is the truth.  Elsewhere the shadow of H is mostly the
        reverse: what leapfrog with H itself follows.  Here the leapfrog motion *is* the truth, and
        the shadow is what must be put into leapfrog to get it.

        For a linear chain it is separable and known in closed form: with the masses :math:`M`, the
        stiffness matrix :math:`S`, :math:`W^2 = M^{-1/2} S M^{-1/2}` and :math:`h = \Delta t`,

        .. math::
            \tilde K(p) = \tfrac12\, p^T M^{-1/2}\, \frac{\sin(W h)}{W h}\, M^{-1/2} p, \qquad
            \tilde V(q) = \tfrac12\, q^T M^{1/2}\, \frac{2 W \tan(W h / 2)}{h}\, M^{1/2} q.

        Parameters
        ----------
        dt : float
            Less than pi over the highest frequency.

        Returns
        -------
        QuadraticHamiltonian

        Raises
        ------
        ValueError
            If a mode does half a turn or more in `dt`.

        Examples
        --------
        >>> import torch, srnn
        >>> chain = srnn.systems.SpringChain([1.0, 2.0], [3.0, 1.0, 2.0])
        >>> z0 = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
        >>> z = srnn.rollout(chain.shadow_hamiltonian(0.5), "leapfrog", z0, dt=0.5, steps=9)
        >>> bool((z - chain.flow(z0, 0.5, 9)[0]).abs().max() < 1e-12)
        True
        """
        h = _checks.time_step(dt)
        w, modes = self._modes()
        if h * float(w[-1]) >= math.pi:
            raise ValueError(
                f"Expected `dt` to be less than pi over the highest frequency, "
                f"{math.pi / float(w[-1]):.3g}; got {h:g}. No leapfrog step follows a mode that "
                "does half a turn in one step."
            )
        root = self.masses.sqrt()
        kinetic = modes @ torch.diag(torch.sin(w * h) / (w * h)) @ modes.mT
        potential = modes @ torch.diag(2 * w * torch.tan(w * h / 2) / h) @ modes.mT
        return QuadraticHamiltonian(
            kinetic / torch.outer(root, root), potential * torch.outer(root, root)
        )

    def _modes(self) -> tuple[Tensor, Tensor]:
        """Frequencies and orthonormal modes of W = (M^-1/2 S M^-1/2)^1/2."""
        root = self.masses.sqrt()
        squares, modes = torch.linalg.eigh(self.stiffness_matrix() / torch.outer(root, root))
        return squares.sqrt(), modes
