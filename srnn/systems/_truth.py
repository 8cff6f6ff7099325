"""True motion: by the matrix of a linear system, or by an adaptive method of high order."""

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnn import _checks
from srnn._types import Status, TrajectoryValues
from srnn.motion.fields import HamiltonianField
from srnn.systems._base import SeparableSystem, System

__all__ = ["AdaptiveTruth", "OrbitStatus", "linear_flow"]

Array = NDArray[np.float64]

RTOL = 3e-13
"""Relative tolerance of one trajectory's step.  Three bodies of unit mass over nine units of time
then keep their energy to 1e-11, and their positions, which close encounters amplify, to 1e-9."""

DRIFT_LIMIT = 1e-8
"""Relative energy drift above which a trajectory is marked."""

_SMALLEST_RTOL = 2.3e-14  # SciPy refuses to go below 100 machine epsilons
_LARGEST_GROUP = 128


class OrbitStatus(IntEnum):
    """What ``Trajectories.status`` says of a trajectory that a system computed.

    Examples
    --------
    >>> import srnn
    >>> data = srnn.systems.Pendulum().simulate(3, steps=5, dt=0.1)
    >>> bool((data.status == srnn.systems.OrbitStatus.OK).all())
    True
    """

    OK = 0
    """Computed to the tolerance asked for."""

    STOPPED = 1
    """The integration could not go on (a collision, or an escape to infinity in finite time).
    The states after the stop are NaN."""

    ENERGY_DRIFT = 2
    """The energy drifts by more than the limit: a close encounter too tight to be resolved, or a
    tolerance too loose for the limit."""

    LEFT = 3
    """The ball left its room through a gap in the walls.  The states after that are NaN."""


class AdaptiveTruth(System):
    """A system whose true motion SciPy's DOP853 computes.

    Examples
    --------
    >>> import srnn
    >>> isinstance(srnn.systems.Pendulum(), srnn.systems.AdaptiveTruth)
    True
    >>> isinstance(srnn.systems.MassSpring(), srnn.systems.AdaptiveTruth)  # a closed form
    False
    """

    def flow(
        self,
        z0: Tensor,
        dt: float,
        steps: int,
        *,
        rtol: float = RTOL,
        drift_limit: float = DRIFT_LIMIT,
    ) -> tuple[TrajectoryValues, Status]:
        """Compute the true motion from `z0`, in float64, by SciPy's DOP853.

        Parameters
        ----------
        z0 : Tensor, shape (batch, 2*dim)
            Starts; any float dtype and device, never written to.
        dt : float
            Time between states.
        steps : int
            Number of steps.
        rtol : float
            Tolerance of each trajectory's error in one step of the adaptive method, relative to
            each coordinate and to the trajectory's size at the start (of the positions for a
            position, of the momenta for a momentum).  So units do not matter.
        drift_limit : float
            Relative energy drift above which a trajectory gets the status ``ENERGY_DRIFT``.

        Returns
        -------
        states : Tensor, shape (steps + 1, batch, 2*dim), float64
            On the device of `z0`, without a graph.
        status : Tensor of int64, shape (batch,)
            An :class:`OrbitStatus` a trajectory.

        Raises
        ------
        ValueError, TypeError
            If a shape is wrong, a number is NaN or infinite, or `dt` or `steps` is not positive.
        """
        z0, dt, steps = self._checked(z0, dt, steps)
        rtol = _checks.positive(rtol, "rtol")
        if rtol < _SMALLEST_RTOL:
            raise ValueError(f"Expected `rtol` to be at least {_SMALLEST_RTOL}; got {rtol!r}.")
        drift_limit = _checks.positive(drift_limit, "drift_limit")
        states, stopped = _adaptive(HamiltonianField(self), z0.cpu(), dt, steps, rtol)
        status = torch.where(self._drifts(states, drift_limit), int(OrbitStatus.ENERGY_DRIFT), 0)
        status = torch.where(stopped, int(OrbitStatus.STOPPED), status)
        return states.to(z0.device), status.to(z0.device)

    def _drifts(self, states: Tensor, limit: float) -> Tensor:
        """Which trajectories (batch,) change their energy by more than `limit`, relatively."""
        energy = self(states)
        # An energy may be zero by cancellation (a parabolic orbit), where no relative drift could
        # be small; the terms that cancel bound it from below.
        scale = torch.maximum(energy[0].abs(), 1e-3 * _energy_scale(self, states[0]))
        # Written so that NaN, an energy that cannot be computed, counts as drift.
        return ~((energy - energy[0]).abs() <= limit * scale).all(dim=0)


def linear_flow(propagator: Tensor, z0: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Apply the matrix of one step again and again; nothing can go wrong, so status is OK."""
    states = [z0]
    for _ in range(steps):
        states.append(states[-1] @ propagator.mT)
    return torch.stack(states), torch.zeros(len(z0), dtype=torch.int64, device=z0.device)


def _energy_scale(system: System, z: Tensor) -> Tensor:
    """Size of the terms that make up the energy."""
    if not isinstance(system, SeparableSystem):
        return system(z).abs()
    q, p = _checks.halves(z)
    return system.kinetic(p).abs() + system.potential(q).abs()


def _adaptive(
    field: HamiltonianField, z0: Tensor, dt: float, steps: int, rtol: float
) -> tuple[Tensor, Tensor]:
    """Integrate all of `z0` by DOP853; return the states and which trajectories stopped early."""
    times = dt * np.arange(steps + 1, dtype=np.float64)
    with torch.no_grad():
        sizes = _sizes(field, z0, dt).numpy()

    def rhs(y: Array) -> Array:
        with torch.no_grad():
            return field(torch.from_numpy(y)).numpy()

    # The group is as large as the tolerance below allows.  Large groups are fast: 512 three-body
    # orbits take 27 ms each one by one and 10 ms each in groups of 128.
    size = int(min(_LARGEST_GROUP, max(1.0, (rtol / _SMALLEST_RTOL) ** 2)))
    starts = z0.numpy()
    parts = [
        _solve(rhs, starts[part], sizes[part], times, rtol)
        for part in (slice(first, first + size) for first in range(0, len(starts), size))
    ]
    values, reached = _joined(parts)
    return torch.from_numpy(values), torch.from_numpy(reached <= steps)


def _sizes(field: HamiltonianField, z0: Tensor, dt: float) -> Tensor:
    """Size of the positions and of the momenta of each trajectory, in place of its coordinates.

    A half may be zero at the start, as the momenta of what is released from rest; what its
    derivatives make of it within the trajectory's own time, that of z0 / z0'' = time^2, counts too.
    Every term changes with the units as the coordinates do.
    """
    first = field(z0)
    moment = 1e-6 * dt  # only an order of magnitude is wanted
    second = (field(z0 + moment * first) - first) / moment
    halves = (x.unflatten(-1, (2, -1)).abs().mean(dim=-1) for x in (z0, first, second))
    start, slope, bend = halves
    time = torch.where((start > 0) & (bend > 0), (start / bend).sqrt(), torch.inf)
    time = time.amin(dim=-1, keepdim=True).clamp(max=dt)  # without a time of its own, dt
    size = torch.stack((start, slope * time, bend * time**2)).amax(dim=0)
    # All is zero for a system at rest, where any tolerance will do, and nothing can be said of one
    # whose forces overflow.
    size = torch.where((size > 0) & size.isfinite(), size, 1.0)
    return size.repeat_interleave(z0.shape[-1] // 2, dim=-1)


def _joined(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    states, reached = zip(*parts, strict=True)
    return np.concatenate(states, axis=1), np.concatenate(reached)


def _solve(
    rhs: Callable[[Array], Array], z0: Array, sizes: Array, times: Array, rtol: float
) -> tuple[Array, Array]:
    """Integrate one group; return its states and how many states each trajectory reached.

    All trajectories of a group share their steps.  SciPy measures the error of a step by its root
    mean square over *all* components, so one bad orbit among n good ones would count only by
    1/sqrt(n).  With the tolerance divided by sqrt(n) the mean square over any single trajectory
    stays below the tolerance, whichever trajectory makes the error.
    """
    # Importing it takes as long as the rest of the library does, and many programs never need it.
    from scipy.integrate import DOP853

    batch = len(z0)
    tolerance = rtol / batch**0.5
    values = np.empty((len(times), *z0.shape))
    values[0] = z0
    count = 1
    # Forces that overflow give NaN errors; the solver then takes smaller steps and at last stops.
    with np.errstate(all="ignore"):
        # A start without a finite force has no first step to choose.
        if np.isfinite(rhs(z0)).all():
            solver = DOP853(
                lambda _, y: rhs(y.reshape(z0.shape)).ravel(),
                times[0],
                z0.ravel(),
                times[-1],
                rtol=tolerance,
                atol=tolerance * sizes.ravel(),
            )
            while solver.status == "running":
                solver.step()  # one that fails leaves its time as it is
                end = int(np.searchsorted(times, solver.t, side="right"))
                if end > count:
                    dense = solver.dense_output()(times[count:end])
                    values[count:end] = dense.T.reshape(end - count, *z0.shape)
                    count = end
    if count < len(times) and batch > 1:
        # One trajectory stops the group: halve it until that one is alone.
        parts = zip(np.array_split(z0, 2), np.array_split(sizes, 2), strict=True)
        return _joined([_solve(rhs, *part, times, rtol) for part in parts])
    values[count:] = np.nan
    return values, np.full(batch, count)
