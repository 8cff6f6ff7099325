"""What an optimisation of initial states gives back."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from srnn._types import Jacobians, PerTrajectory, State, Status

__all__ = ["InitialStates", "IsoStatus"]


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
        :math:`\sqrt{L/(n - 2d)}` with n observed numbers.

    Examples
    --------
    >>> import srnn, torch
    >>> g = torch.Generator().manual_seed(0)
    >>> spring = srnn.systems.MassSpring()
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


def rank_tolerance(dtype: torch.dtype, two_d: int) -> float:
    """Relative size below which an eigenvalue of a matrix of sums of F^T F is nothing but rounding.

    The sums are of products of numbers of `dtype`, whatever they are added up in.
    """
    return 10 * two_d * torch.finfo(dtype).eps


def covariance(
    matrix: Tensor, loss: Tensor, counted: Tensor, sigma: float | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return covariance, sigma and which states are underdetermined."""
    two_d = matrix.shape[-1]
    noise = torch.full_like(loss, torch.nan if sigma is None else sigma, dtype=torch.float64)
    if sigma is None:
        spare = (counted - two_d).double()
        noise = torch.where(spare > 0, (loss.double() / spare.clamp_min(1)).sqrt(), torch.nan)
    # In units in which every diagonal entry is one, a coordinate's own unit plays no part.
    matrix = matrix.double()
    size = matrix.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    size = torch.where(size > 0, size, 1.0)
    broken = ~torch.isfinite(matrix).all(dim=-1).all(dim=-1)
    eye = torch.eye(two_d, dtype=torch.float64, device=matrix.device)
    unit = torch.where(broken[:, None, None], eye, matrix / (size[:, :, None] * size[:, None, :]))
    factor, info = torch.linalg.cholesky_ex(unit)
    pivots = factor.diagonal(dim1=-2, dim2=-1).square().amin(dim=-1)
    tolerance = rank_tolerance(dtype, two_d)
    free = ((info != 0) | ~(pivots > tolerance) | (counted < two_d)) & ~broken
    inverse = torch.cholesky_inverse(torch.where(free[:, None, None], eye, factor))
    for index in free.nonzero()[:, 0].tolist():
        inverse[index] = _pseudo_inverse(unit[index], tolerance)
    inverse = inverse / (size[:, :, None] * size[:, None, :])
    found = noise.square()[:, None, None] * inverse
    infinite = torch.isinf(inverse.diagonal(dim1=-2, dim2=-1))  # also where sigma is unknown
    found.diagonal(dim1=-2, dim2=-1)[infinite] = torch.inf
    found[broken] = torch.nan
    return found, noise, free


def _pseudo_inverse(matrix: Tensor, tolerance: float) -> Tensor:
    """Inverse on the directions seen; infinite, and NaN beside it, for coordinates that are not."""
    values, vectors = torch.linalg.eigh(matrix)
    seen = values > tolerance * values.max()
    kept = vectors[:, seen]
    inverse: Tensor = (kept / values[seen]) @ kept.mT
    # A coordinate is determined if it lies within the directions seen.
    free = vectors[:, ~seen].square().sum(dim=1) > tolerance**0.5
    inverse[free] = torch.nan
    inverse[:, free] = torch.nan
    inverse.diagonal()[free] = torch.inf
    return inverse
