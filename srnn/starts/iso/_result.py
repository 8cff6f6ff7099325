"""What an optimisation of initial states gives back."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from srnn._types import Jacobians, PerTrajectory, State, Status

__all__ = ["InitialStates", "IsoStatus", "Solution"]


class IsoStatus(IntEnum):
    """How the optimisation of one trajectory's initial state ended.

    Examples
    --------
    >>> import srnn
    >>> chain = srnn.systems.SpringChain([1.0] * 3, [5.0] * 4)
    >>> data = chain.simulate(2, steps=9, dt=0.1)
    >>> found = srnn.iso.optimise_initial_state(chain, data)
    >>> bool((found.status == srnn.iso.IsoStatus.CONVERGED).all())
    True
    """

    CONVERGED = 0
    """No further step lowers the loss by more than the tolerance."""

    MAX_ITERATIONS = 1
    """The iterations ran out first; the best state so far is returned."""

    STALLED = 2
    """No step lowers the loss, although its derivatives say that one should."""

    NON_FINITE = 3
    """The model left the finite numbers, and the best state before that is returned."""

    UNDERDETERMINED = 4
    """The observations leave a direction of the state free: the step of least norm was taken, and
    the covariance is infinite there."""

    NO_POINTS = 5
    """Nothing was observed: state, loss and covariance are NaN, NaN and infinite."""


@dataclass(frozen=True)
class InitialStates:
    r"""Optimised initial states, one entry a trajectory.

    Attributes
    ----------
    states : Tensor, shape (batch, 2*dim)
    loss : Tensor, shape (batch,)
        Sum over the observed points of the squared residuals, times their weights.
    iterations : Tensor of int, shape (batch,)
        Steps tried.
    status : Tensor of int, shape (batch,)
        An :class:`IsoStatus` each.
    covariance : Tensor, shape (batch, 2*dim, 2*dim)
        Of the error of the state, to first order in the noise:
        :math:`\sigma^2\big(\sum_t F_t^\top W_t F_t\big)^{-1}`.  Infinite on the diagonal for
        coordinates that the observations do not determine (NaN beside it); NaN throughout where
        :math:`\sigma` was to be estimated and there are no more numbers than unknowns.
    sigma : Tensor, shape (batch,)
        The noise level in the covariance: given, or estimated from the trajectory's own loss, as
        :math:`\sqrt{L/(n - r)}` with n observed numbers that determine r directions of the state
        (2d, unless it is underdetermined).

    Examples
    --------
    >>> import srnn, torch
    >>> g = torch.Generator().manual_seed(0)
    >>> spring = srnn.systems.SpringChain([1.0], [0.5, 0.5])  # one mass, frequency 1
    >>> data = spring.simulate(100, steps=9, dt=0.5, generator=g).with_noise(0.1, generator=g)
    >>> found = srnn.iso.optimise_initial_state(spring.shadow_hamiltonian(0.5), data, sigma=0.1)
    >>> error = found.states - data.clean[0]  # a tenth of the noise's variance: there are 10 points
    >>> round(float(error.var() / 0.1**2), 1), round(float(found.covariance[0, 0, 0] / 0.1**2), 1)
    (0.1, 0.1)
    """

    states: State
    loss: PerTrajectory
    iterations: Status
    status: Status
    covariance: Jacobians
    sigma: PerTrajectory


class Solution:
    """States with all that is known about them, filled in as trajectories come to their end.

    Parameters
    ----------
    start : Tensor, shape (batch, 2*dim)
    loss : Tensor, shape (batch,)
        At the start.

    Attributes
    ----------
    states, loss, iterations, status : Tensor
        An entry a trajectory; a status is an :class:`srnn.iso.IsoStatus`.

    Examples
    --------
    >>> import torch
    >>> found = Solution(torch.zeros(3, 2), loss=torch.ones(3))
    >>> found.status, found.iterations
    (tensor([1, 1, 1]), tensor([0, 0, 0]))
    """

    def __init__(self, start: Tensor, loss: Tensor) -> None:
        count, device = len(start), start.device
        self.states = start.clone()
        self.loss = loss.clone()
        self.iterations = torch.zeros(count, dtype=torch.int64, device=device)
        self.status = torch.full_like(self.iterations, int(IsoStatus.MAX_ITERATIONS))


def rank_tolerance(dtype: torch.dtype, two_d: int) -> float:
    """Relative size below which an eigenvalue of a matrix of sums of F^T F is nothing but rounding.

    The sums are of products of numbers of `dtype`, whatever they are added up in.
    """
    return 10 * two_d * torch.finfo(dtype).eps


def equilibrated(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matrix with ones on its diagonal, and the roots of the diagonal that it had.

    In these units a coordinate's own unit plays no part.  Zeros on the diagonal stay.
    """
    size = matrix.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    size = torch.where(size > 0, size, 1.0)
    return matrix / size[:, :, None] / size[:, None, :], size


def cholesky(unit: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return Cholesky factors, the identity for matrices without full rank, and which those are."""
    factor, info = torch.linalg.cholesky_ex(unit)
    pivots = factor.diagonal(dim1=-2, dim2=-1).square().amin(dim=-1)
    free = (info != 0) | ~(pivots > rank_tolerance(dtype, unit.shape[-1]))
    eye = torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)
    return torch.where(free[:, None, None], eye, factor), free


def directions(unit: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return eigenvalues, eigenvectors and which of them the observations see."""
    values, vectors = torch.linalg.eigh(unit)
    tolerance = rank_tolerance(dtype, unit.shape[-1])
    return values, vectors, values > tolerance * values.amax(dim=-1, keepdim=True).clamp_min(0)


def covariance(
    matrix: Tensor, loss: Tensor, counted: Tensor, sigma: float | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return covariance, sigma and which states are underdetermined."""
    two_d = matrix.shape[-1]
    matrix = matrix.double()
    broken = ~torch.isfinite(matrix).all(dim=-1).all(dim=-1)
    eye = torch.eye(two_d, dtype=torch.float64, device=matrix.device)
    unit, size = equilibrated(torch.where(broken[:, None, None], eye, matrix))
    factor, free = cholesky(unit, dtype)
    free = (free | (counted < two_d)) & ~broken
    inverse = torch.cholesky_inverse(factor)
    rank = torch.full_like(counted, two_d)
    some = free.nonzero()[:, 0]
    if len(some):
        inverse[some], rank[some] = _pseudo_inverse(unit[some], dtype)
    inverse = inverse / size[:, :, None] / size[:, None, :]
    if sigma is None:
        spare = (counted - rank).double()
        noise = torch.where(spare > 0, (loss.double() / spare.clamp_min(1)).sqrt(), torch.nan)
    else:
        noise = torch.full_like(loss, sigma, dtype=torch.float64)
    found = noise.square()[:, None, None] * inverse
    infinite = torch.isinf(inverse.diagonal(dim1=-2, dim2=-1))  # also where sigma is unknown
    found.diagonal(dim1=-2, dim2=-1)[infinite] = torch.inf
    found[broken] = torch.nan
    return found, noise, free


def _pseudo_inverse(unit: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Inverse on the directions seen, with infinity and NaN for coordinates not in them; rank."""
    values, vectors, seen = directions(unit, dtype)
    inverse = (vectors * torch.where(seen, 1 / values, 0.0)[:, None, :]) @ vectors.mT
    # A coordinate is determined if it lies within the directions seen.
    outside = torch.where(seen[:, None, :], 0.0, vectors).square().sum(dim=-1)
    free = outside > rank_tolerance(dtype, unit.shape[-1])
    inverse[free[:, :, None] | free[:, None, :]] = torch.nan
    inverse.diagonal(dim1=-2, dim2=-1)[free] = torch.inf
    return inverse, seen.sum(dim=-1)
