"""What every system is: a Hamiltonian, a sampler of starts, and its true motion."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State, Status, TrajectoryValues
from srnn.data.trajectories import Trajectories
from srnn.motion.fields import HamiltonianField
from srnn.systems._shared import like

__all__ = ["PointMasses", "SeparableSystem", "System"]


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

    Examples
    --------
    >>> import torch, srnn
    >>> system = srnn.systems.MassSpring()
    >>> isinstance(system, srnn.systems.System), system.dim, system.separable
    (True, 1, True)
    >>> system(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
    tensor([1., 2.])
    """

    dim: int
    separable: bool

    @abstractmethod
    def __call__(self, z: State) -> Energy:
        """Energy of each state: ``(..., 2*dim)`` to ``(...)``."""

    @abstractmethod
    def gradient(self, z: State) -> State:
        """(dH/dq, dH/dp) at each state, shape ``(..., 2*dim)``.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.MassSpring(mass=2.0, stiffness=3.0).gradient(torch.tensor([1.0, 4.0]))
        tensor([3., 2.])
        """

    @abstractmethod
    def initial_states(self, trajectories: int, generator: torch.Generator | None = None) -> State:
        """Draw starts; what else decides them is an option of the system.

        Parameters
        ----------
        trajectories : int
        generator : torch.Generator, optional
            Without one they come from fresh entropy.

        Returns
        -------
        Tensor, shape (trajectories, 2*dim), float64

        Examples
        --------
        >>> import torch, srnn
        >>> g = torch.Generator().manual_seed(0)
        >>> srnn.systems.ThreeBody().initial_states(5, g).shape
        torch.Size([5, 12])
        """

    @abstractmethod
    def flow(self, z0: Tensor, dt: float, steps: int) -> tuple[TrajectoryValues, Status]:
        """Compute the true motion from `z0` in float64, and the status of each trajectory.

        Examples
        --------
        >>> import torch, srnn
        >>> system = srnn.systems.HenonHeiles()
        >>> states, status = system.flow(system.initial_states(5), dt=0.1, steps=20)
        >>> states.shape, status.shape
        (torch.Size([21, 5, 4]), torch.Size([5]))
        """

    def simulate(
        self,
        trajectories: int,
        steps: int,
        dt: float,
        generator: torch.Generator | None = None,
        *,
        initial_state: Tensor | None = None,
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
        known = [_options_of(method) for method in (self.initial_states, self.flow)]
        for name in options:
            _checks.choice(name, "option", known[0] + known[1])
        of_start, of_flow = (
            {name: value for name, value in options.items() if name in names} for names in known
        )
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
        slopes = HamiltonianField(self)(states).to(dtype) if derivatives else None
        values = states.to(dtype)
        return Trajectories.from_states(
            values, dt=dt, clean=values, derivatives=slopes, status=status
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
        return z0, _checks.time_step(dt), _checks.steps(steps)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim})"


class SeparableSystem(System):
    """A system with H(q, p) = K(p) + V(q).

    Examples
    --------
    >>> import srnn
    >>> isinstance(srnn.systems.Pendulum(), srnn.systems.SeparableSystem)
    True
    >>> isinstance(srnn.systems.DoublePendulum(), srnn.systems.SeparableSystem)
    False
    """

    separable = True

    @abstractmethod
    def kinetic(self, p: Half) -> Energy:
        """K(p): ``(..., dim)`` to ``(...)``.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.MassSpring(mass=2.0).kinetic(torch.tensor([4.0]))
        tensor(4.)
        """

    @abstractmethod
    def potential(self, q: Half) -> Energy:
        """V(q): ``(..., dim)`` to ``(...)``.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.MassSpring(stiffness=3.0).potential(torch.tensor([2.0]))
        tensor(6.)
        """

    @abstractmethod
    def kinetic_gradient(self, p: Half) -> Half:
        """dK/dp, shape ``(..., dim)``.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.MassSpring(mass=2.0).kinetic_gradient(torch.tensor([4.0]))
        tensor([2.])
        """

    @abstractmethod
    def potential_gradient(self, q: Half) -> Half:
        """dV/dq, shape ``(..., dim)``.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.systems.MassSpring(stiffness=3.0).potential_gradient(torch.tensor([2.0]))
        tensor([6.])
        """

    def __call__(self, z: State) -> Energy:
        """Energy of each state: ``(..., 2*dim)`` to ``(...)``."""
        q, p = _checks.halves(_checks.state(z, "z", self.dim))
        return self.kinetic(p) + self.potential(q)

    def gradient(self, z: State) -> State:
        """(dH/dq, dH/dp) at each state, shape ``(..., 2*dim)``."""
        q, p = _checks.halves(_checks.state(z, "z", self.dim))
        return torch.cat((self.potential_gradient(q), self.kinetic_gradient(p)), dim=-1)


class PointMasses(SeparableSystem):
    """A system whose kinetic energy is the sum of p_i^2 / (2 m_i), with constant m_i.

    Each momentum has an m of its own or all have one: a mass, or a moment of inertia.

    Examples
    --------
    >>> import srnn
    >>> from srnn.systems._base import PointMasses
    >>> isinstance(srnn.systems.TwoBody(), PointMasses)
    True
    """

    @property
    def _inertia(self) -> Tensor | float:
        """The m_i: a float64 tensor of shape (dim,), or one number."""
        return 1.0

    def kinetic(self, p: Half) -> Energy:
        """Sum of p_i^2 / (2 m_i): ``(..., dim)`` to ``(...)``."""
        m = self._inertia
        if not isinstance(m, Tensor):
            return (p * p).sum(dim=-1) / (2 * m)
        return (p * p / like(2 * m, p)).sum(dim=-1)

    def kinetic_gradient(self, p: Half) -> Half:
        """Velocities p_i / m_i, shape ``(..., dim)``."""
        m = self._inertia
        return p / (like(m, p) if isinstance(m, Tensor) else m)

    def kinetic_hessian(self, p: Half) -> Hessians:
        """K'' for every p, the matrix of the 1 / m_i, shape ``(..., dim, dim)``."""
        matrix = torch.eye(self.dim, dtype=torch.float64) / self._inertia
        return like(matrix, p).expand(*p.shape, self.dim)


def _options_of(method: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(method).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
