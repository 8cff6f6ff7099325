"""What an optimisation of initial states gives back."""

from dataclasses import dataclass
from enum import IntEnum

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
        Sum over the observed points of the squared residuals, times their weights; float64 where
        the dtype of the states cannot hold it.
    iterations : Tensor of int, shape (batch,)
        Steps tried.
    status : Tensor of int, shape (batch,)
        An :class:`IsoStatus` each.
    covariance : Tensor, shape (batch, 2*dim, 2*dim)
        Of the error of the state, to first order in the noise:
        :math:`\sigma^2\big(\sum_t F_t^\top W_t F_t\big)^{-1}`.  Infinite on the diagonal for
        coordinates that the observations do not determine (NaN beside it); NaN throughout where
        :math:`\sigma` was to be estimated and there are no more numbers than unknowns.  float64
        where the dtype of the states cannot hold it.
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
