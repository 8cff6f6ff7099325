"""The chain of masses and springs of the paper's section 4."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State, Status, TrajectoryValues
from srnn.motion.rollout import rollout
from srnn.systems._base import PointMasses
from srnn.systems._shared import like, normal, parameters, stretches, uniform
from srnn.systems._truth import linear_flow
from srnn.systems.quadratic import QuadraticHamiltonian

__all__ = ["SpringChain"]

STARTS = ("reference", "all-free")
TRUTHS = ("exact", "leapfrog")


class SpringChain(PointMasses):
    r"""N masses in a row, joined by N + 1 springs, both ends tied to the ground.

    .. math::
        H(q, p) = \sum_{i=1}^{N} \frac{p_i^2}{2 m_i}
                + \sum_{i=0}^{N} \frac{k_i}{2} (q_{i+1} - q_i)^2,
        \qquad q_0 = q_{N+1} = 0.

    Parameters
    ----------
    masses : sequence of float, length N
        The masses m.
    stiffness : sequence of float, length N + 1
        The springs' constants k; the first and the last are tied to the ground.

    Attributes
    ----------
    masses, stiffness : Tensor, float64
    dim : int
        N.

    Raises
    ------
    ValueError, TypeError
        If a parameter is not a positive finite number or the lengths do not fit.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> chain = srnn.systems.SpringChain.random(masses=20, generator=g)
    >>> data = chain.simulate(1000, steps=9, dt=0.1, generator=g)
    >>> data.with_noise(0.2, generator=g)
    Trajectories(states=10, trajectories=1000, dim=20, dt=0.1, dtype=float32)
    """

    def __init__(
        self, masses: Sequence[float] | Tensor, stiffness: Sequence[float] | Tensor
    ) -> None:
        self.masses = parameters(masses, "masses")
        self.dim = len(self.masses)
        self.stiffness = parameters(stiffness, "stiffness", length=self.dim + 1)

    @classmethod
    def random(cls, masses: int = 20, generator: torch.Generator | None = None) -> "SpringChain":
        r"""Draw a chain as the paper's code does.

        :math:`m = \max(0.2, 1 + \xi/4)` and :math:`k = 5 \max(0.2, 1 + \xi/4)`, each with its own
        standard normal :math:`\xi`.

        Parameters
        ----------
        masses : int
            How many.
        generator : torch.Generator, optional

        Returns
        -------
        SpringChain

        Examples
        --------
        >>> import torch, srnn
        >>> g = torch.Generator().manual_seed(0)
        >>> chain = srnn.systems.SpringChain.random(masses=3, generator=g)
        >>> len(chain.masses), len(chain.stiffness)
        (3, 4)
        """
        count = _checks.positive_int(masses, "masses")
        generator = _checks.as_generator(generator)
        m = (1 + normal((count,), generator) / 4).clamp(min=0.2)
        k = 5 * (1 + normal((count + 1,), generator) / 4).clamp(min=0.2)
        return cls(m, k)

    def potential(self, q: Half) -> Energy:
        """Sum of k_i (q_{i+1} - q_i)^2 / 2."""
        stretch = stretches(q)
        return (like(self.stiffness / 2, q) * stretch * stretch).sum(dim=-1)

    def potential_gradient(self, q: Half) -> Half:
        """Gradient k_{i-1} (q_i - q_{i-1}) - k_i (q_{i+1} - q_i)."""
        return -torch.diff(like(self.stiffness, q) * stretches(q), dim=-1)

    # -- linear theory: the matrices, the normal modes, and what leapfrog makes of them

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
        """V'' for every q, the stiffness matrix, shape ``(..., dim, dim)``."""
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

    # -- starts and truth

    def initial_states(
        self,
        trajectories: int,
        generator: torch.Generator | None = None,
        *,
        start: str | None = None,
        spread: float = 2.5,
    ) -> State:
        """Draw starts: q and p uniform in (-spread, spread).

        Parameters
        ----------
        start : {"reference", "all-free"}, optional
            The paper's text says "random initial states"; its published code puts the first and
            the last mass at rest in their places, which is ``"reference"`` and the default.
            ``"all-free"`` draws every mass; it is the default for one or two masses, of which
            the other rule would leave none to move.
        spread : float

        Raises
        ------
        ValueError, TypeError
            If an option is unknown or not positive, or ``"reference"`` is asked of fewer than
            three masses.
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        if start is None:
            start = "all-free" if self.dim < 3 else "reference"
        _checks.choice(start, "start", STARTS)
        spread = _checks.positive(spread, "spread")
        if start == "reference" and self.dim < 3:
            raise ValueError(
                "The start rule 'reference' holds the first and the last mass still, which leaves "
                f"nothing to move in a chain of {self.dim}. Use start='all-free'."
            )
        generator = _checks.as_generator(generator)
        z0 = uniform(-spread, spread, (trajectories, 2 * self.dim), generator)
        if start == "reference":
            z0[:, [0, self.dim - 1, self.dim, 2 * self.dim - 1]] = 0
        return z0

    def flow(
        self, z0: Tensor, dt: float, steps: int, *, truth: str = "exact", substeps: int = 100
    ) -> tuple[TrajectoryValues, Status]:
        """Compute the true motion from `z0`, in float64.

        Parameters
        ----------
        z0 : Tensor, shape (batch, 2*dim)
            Starts; any float dtype and device, never written to.
        dt : float
            Time between states.
        steps : int
            Number of steps.
        truth : {"exact", "leapfrog"}
            ``"exact"`` multiplies by the matrix exponential of the linear equations.
            ``"leapfrog"`` is the paper's: leapfrog steps of dt / substeps, of which every
            `substeps`-th state is kept.
        substeps : int
            For ``"leapfrog"``; the paper's 0.001 for dt = 0.1 is 100.

        Returns
        -------
        states : Tensor, shape (steps + 1, batch, 2*dim), float64
        status : Tensor of int64, shape (batch,)
            All OK.
        """
        z0, dt, steps = self._checked(z0, dt, steps)
        _checks.choice(truth, "truth", TRUTHS)
        substeps = _checks.steps(substeps, "substeps")
        if truth == "exact":
            propagator = torch.linalg.matrix_exp(dt * self.matrix())
        else:
            # Leapfrog on a linear chain is a linear map: what it does to the unit vectors is its
            # matrix, which one product then applies to all trajectories.
            unit = torch.eye(2 * self.dim, dtype=torch.float64)
            propagator = rollout(self, "leapfrog", unit, dt=dt, steps=1, substeps=substeps)[-1].mT
        return linear_flow(propagator.to(z0.device), z0, steps)
