"""What every system is: a Hamiltonian, a sampler of starts, and its true motion."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import DOP853
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, State, Status, TrajectoryValues
from srnn.data import Trajectories
from srnn.fields import HamiltonianField

Array = NDArray[np.float64]

__all__ = ["OrbitStatus", "SeparableSystem", "System"]

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

    ENERGY_DRIFT = 1
    """The energy drifts by more than the limit: a close encounter too tight to be resolved."""

    STOPPED = 2
    """The integration could not go on (a collision, or an escape to infinity in finite time).
    The states after the stop repeat the last state that was reached."""


class System(ABC):
    """A Hamiltonian system with known equations.

    Calling a system on states ``(..., 2*dim)`` gives their energies ``(...)``.  Energies and
    gradients follow the dtype and the device of what they are given.

    Attributes
    ----------
    dim : int
        Number of positions d.
    separable : bool
        Whether H(q, p) = K(p) + V(q).
    """

    dim: int
    separable: bool

    @abstractmethod
    def __call__(self, z: State) -> Energy:
        """Energy of each state: ``(..., 2*dim)`` to ``(...)``."""

    @abstractmethod
    def gradient(self, z: State) -> State:
        """(dH/dq, dH/dp) at each state, shape ``(..., 2*dim)``."""

    @abstractmethod
    def initial_states(
        self, trajectories: int, generator: torch.Generator | None = None
    ) -> State:
        """Draw starts, shape ``(trajectories, 2*dim)``, float64."""

    def flow(
        self,
        z0: State,
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
            Tolerance of each trajectory's relative (and, for coordinates near zero, absolute)
            error in one step of the adaptive method.
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

        Examples
        --------
        >>> import torch, srnn
        >>> z0 = torch.tensor([[1.0, 0.0]])
        >>> states, status = srnn.systems.Pendulum(gravity=1.0).flow(z0, dt=0.5, steps=10)
        >>> states.shape, states.dtype, status.tolist()
        (torch.Size([11, 1, 2]), torch.float64, [0])
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

    def simulate(
        self,
        trajectories: int,
        steps: int,
        dt: float,
        generator: torch.Generator | None = None,
        *,
        initial_state: State | None = None,
        dtype: torch.dtype | str | None = None,
        derivatives: bool = False,
        **options: Any,
    ) -> Trajectories:
        """Draw starts and compute their true motion.

        Parameters
        ----------
        trajectories : int
            Number of trajectories.
        steps : int
            Number of steps; there are steps + 1 states.
        dt : float
            Time between states.
        generator : torch.Generator, optional
            Draws the starts; without one they come from fresh entropy.
        initial_state : Tensor, shape (trajectories, 2*dim), optional
            Start here instead of drawing.
        dtype : torch.dtype or str, optional
            Of the result; by default PyTorch's default dtype.  The computation is in float64.
        derivatives : bool
            Keep the true dz/dt at every state as well.
        **options
            Keyword arguments of the system's ``initial_states`` and ``flow``, such as
            ``start="all-free"`` for a spring chain.

        Returns
        -------
        Trajectories
            Without noise, so ``clean`` is the values; ``status`` holds an :class:`OrbitStatus` a
            trajectory.  ``data.select(data.status == 0)`` leaves out the doubtful ones.

        Raises
        ------
        ValueError, TypeError
            As :meth:`flow`, or if an option is unknown.

        Examples
        --------
        >>> import torch, srnn
        >>> g = torch.Generator().manual_seed(0)
        >>> srnn.systems.HenonHeiles().simulate(4, steps=20, dt=0.1, generator=g)
        Trajectories(states=21, trajectories=4, dim=2, dt=0.1, dtype=float32)
        """
        trajectories = _checks.positive_int(trajectories, "trajectories")
        dtype = torch.get_default_dtype() if dtype is None else _checks.float_dtype(dtype)
        of_start, of_flow = self._sorted_options(options)
        if initial_state is None:
            z0 = self.initial_states(trajectories, generator, **of_start)
        else:
            if of_start:
                names = ", ".join(map(repr, of_start))
                raise ValueError(f"With `initial_state` nothing is drawn; remove {names}.")
            z0 = _checks.float_tensor(initial_state, "initial_state")
            if z0.shape != (trajectories, 2 * self.dim):
                raise ValueError(
                    "Expected `initial_state` to have shape (trajectories, 2*dim) = "
                    f"({trajectories}, {2 * self.dim}); got {tuple(z0.shape)}."
                )
        states, status = self.flow(z0, dt, steps, **of_flow)
        known = HamiltonianField(self)(states).to(dtype) if derivatives else None
        values = states.to(dtype)
        return Trajectories.from_states(
            values, dt=dt, clean=values, derivatives=known, status=status
        )

    def _sorted_options(self, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tell the options of the sampler from those of the flow."""
        of_start, of_flow = _options_of(self.initial_states), _options_of(self.flow)
        for name in options:
            _checks.choice(name, "option", of_start + of_flow)
        return (
            {name: value for name, value in options.items() if name in of_start},
            {name: value for name, value in options.items() if name in of_flow},
        )

    def _checked(self, z0: Any, dt: Any, steps: Any) -> tuple[Tensor, float, int]:
        """Check what every flow is given, and take its own float64 copy of the starts."""
        z0 = _checks.state(z0, "z0", self.dim)
        if z0.ndim != 2:
            raise ValueError(
                f"Expected `z0` to have shape (batch, {2 * self.dim}); got {tuple(z0.shape)}."
            )
        if not len(z0):
            raise ValueError("Expected at least one trajectory in `z0`; got none.")
        z0 = _checks.all_finite(z0.detach(), "z0")
        z0 = z0.to(dtype=torch.float64, copy=True)
        return z0, _checks.positive(dt, "dt"), _checks.positive_int(steps, "steps")

    def _drifts(self, states: Tensor, limit: float) -> Tensor:
        """Which trajectories (batch,) change their energy by more than `limit`, relatively."""
        energy = self(states)
        # An energy may be zero by cancellation (a parabolic orbit), where no relative drift could
        # be small; the terms that cancel bound it from below.
        scale = torch.maximum(energy[0].abs(), 1e-3 * self._energy_scale(states[0]))
        # Written so that NaN, an energy that cannot be computed, counts as drift.
        return ~((energy - energy[0]).abs() <= limit * scale).all(dim=0)

    def _energy_scale(self, z: Tensor) -> Tensor:
        return self(z).abs()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim})"


class SeparableSystem(System):
    """A system with H(q, p) = K(p) + V(q)."""

    separable = True

    @abstractmethod
    def kinetic(self, p: Half) -> Energy:
        """K(p): ``(..., dim)`` to ``(...)``."""

    @abstractmethod
    def potential(self, q: Half) -> Energy:
        """V(q): ``(..., dim)`` to ``(...)``."""

    @abstractmethod
    def kinetic_gradient(self, p: Half) -> Half:
        """dK/dp, shape ``(..., dim)``."""

    @abstractmethod
    def potential_gradient(self, q: Half) -> Half:
        """dV/dq, shape ``(..., dim)``."""

    def __call__(self, z: State) -> Energy:
        """Energy of each state: ``(..., 2*dim)`` to ``(...)``."""
        q, p = _checks.halves(_checks.state(z, "z", self.dim))
        return self.kinetic(p) + self.potential(q)

    def gradient(self, z: State) -> State:
        """(dH/dq, dH/dp) at each state, shape ``(..., 2*dim)``."""
        q, p = _checks.halves(_checks.state(z, "z", self.dim))
        return torch.cat((self.potential_gradient(q), self.kinetic_gradient(p)), dim=-1)

    def _energy_scale(self, z: Tensor) -> Tensor:
        q, p = _checks.halves(z)
        return self.kinetic(p).abs() + self.potential(q).abs()


def _options_of(method: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(method).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]


def like(parameter: Tensor, x: Tensor) -> Tensor:
    """Return a parameter in the dtype and on the device of what it is used with."""
    return parameter.to(dtype=x.dtype, device=x.device)


def parameters(values: Any, name: str, *, length: int | None = None) -> Tensor:
    """Return positive parameters (masses, stiffnesses) as a float64 tensor of its own."""
    if isinstance(values, (Tensor, np.ndarray)):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str) or not len(values):
        raise TypeError(f"Expected `{name}` to be a sequence of numbers; got {values!r}.")
    if length is not None and len(values) != length:
        raise ValueError(f"Expected `{name}` to hold {length} numbers; got {len(values)}.")
    checked = [_checks.positive(value, f"{name}[{i}]") for i, value in enumerate(values)]
    return torch.tensor(checked, dtype=torch.float64)


def uniform(low: float, high: float, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw uniform numbers, float64, on the CPU whatever the generator's device."""
    draws = torch.rand(
        tuple(shape), dtype=torch.float64, generator=generator, device=generator.device
    )
    return low + (high - low) * draws.cpu()


def normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers, float64, on the CPU whatever the generator's device."""
    draws = torch.randn(
        tuple(shape), dtype=torch.float64, generator=generator, device=generator.device
    )
    return draws.cpu()


def interval(value: Any, name: str) -> tuple[float, float]:
    """Return `value` as (low, high) with low <= high."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"Expected `{name}` to be a pair (low, high); got {value!r}.")
    low, high = (_checks.finite(end, name) for end in value)
    if low > high:
        raise ValueError(f"Expected `{name}` to be a pair (low, high); got {value!r}.")
    return low, high


def linear_flow(propagator: Tensor, z0: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Apply the matrix of one step again and again; nothing can go wrong, so status is OK."""
    states = [z0]
    for _ in range(steps):
        states.append(states[-1] @ propagator.mT)
    return torch.stack(states), torch.zeros(len(z0), dtype=torch.int64, device=z0.device)


def _adaptive(
    field: HamiltonianField, z0: Tensor, dt: float, steps: int, rtol: float
) -> tuple[Tensor, Tensor]:
    """Integrate all of `z0` by DOP853; return the states and which trajectories stopped early."""
    times = dt * np.arange(steps + 1)

    def rhs(y: Array) -> Array:
        with torch.no_grad():
            return field(torch.from_numpy(y)).numpy()

    # The group is as large as the tolerance below allows.  Large groups are fast: 512 three-body
    # orbits take 27 ms each one by one and 10 ms each in groups of 128.
    size = int(min(_LARGEST_GROUP, max(1.0, (rtol / _SMALLEST_RTOL) ** 2)))
    parts = [_solve(rhs, group.numpy(), times, rtol) for group in z0.split(size)]
    values = np.concatenate([states for states, _ in parts], axis=1)
    reached = np.concatenate([count for _, count in parts])
    return torch.from_numpy(values), torch.from_numpy(reached <= steps)


def _solve(
    rhs: Callable[[Array], Array],
    z0: Array,
    times: Array,
    rtol: float,
) -> tuple[Array, Array]:
    """Integrate one group; return its states and how many states each trajectory reached.

    All trajectories of a group share their steps.  SciPy measures the error of a step by its root
    mean square over *all* components, so one bad orbit among n good ones would count only by
    1/sqrt(n).  With the tolerance divided by sqrt(n) the mean square over any single trajectory
    stays below the tolerance, whichever trajectory makes the error.
    """
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
                atol=tolerance,
            )
            while solver.status == "running":
                solver.step()
                if solver.status == "failed":
                    break
                end = int(np.searchsorted(times, solver.t, side="right"))
                if end > count:
                    dense = solver.dense_output()(times[count:end])
                    values[count:end] = dense.T.reshape(end - count, *z0.shape)
                    count = end
    if count < len(times) and batch > 1:
        # One trajectory stops the group: halve it until that one is alone.
        halves = [_solve(rhs, part, times, rtol) for part in np.array_split(z0, 2)]
        return (
            np.concatenate([states for states, _ in halves], axis=1),
            np.concatenate([reached for _, reached in halves]),
        )
    values[count:] = values[count - 1]
    return values, np.full(batch, count)
