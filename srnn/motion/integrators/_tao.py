"""Tao's explicit method in an extended phase space, for a Hamiltonian that does not split."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.motion.fields import Field
from srnn.motion.integrators._step import Step

__all__ = ["Tao"]


class _Extended(NamedTuple):
    z: Tensor  # (q, p)
    twin: Tensor  # (x, y), the second copy


@dataclass(frozen=True)
class Tao(Step):
    r"""Explicit symplectic integration of a non-separable H, Tao (2016).

    Phase space is doubled, and the extended Hamiltonian

    .. math:: \bar H = H(q, y) + H(x, p) + \tfrac{\omega}{2}\big(|q-x|^2 + |p-y|^2\big)

    is split into its three terms, each of which has an explicit flow.  The step is symplectic in
    the extended space (q, x, p, y); the map from (q, p) to (q, p) that a user sees is not exactly
    symplectic, because the two copies part by a little.

    Parameters
    ----------
    name : str
    order : int
    substeps : tuple of float
        The composition's fractions of dt.
    omega : float
        Binding of the two copies, in units of one over time.  Larger binds more tightly and asks
        for smaller steps: 2 omega dt is an angle, and well below one keeps the declared order.
        A dt that is usually good: 0.1 / omega, which is 0.02 for the default of 5, or less where
        the motion itself is fast; pass ``substeps`` to :func:`srnn.rollout` where states are wanted
        farther apart.  Where the motion is chaotic the copies part in time whatever omega is;
        compare two step sizes before a long run is believed.

    Examples
    --------
    >>> import torch, srnn
    >>> double = srnn.systems.DoublePendulum()
    >>> z0 = torch.tensor([[0.5, 0.3, 0.0, 0.0]], dtype=torch.float64)
    >>> tight = Tao("tao-tight", 2, (1.0,), omega=20.0)
    >>> z = srnn.rollout(double, tight, z0, dt=0.1, steps=20, substeps=20)  # steps of 0.1 / omega
    >>> bool((double(z) - double(z0)).abs().max() < 1e-3)
    True
    """

    name: str
    order: int
    substeps: tuple[float, ...]
    omega: float = 5.0
    symplectic: bool = True
    one_dt: ClassVar[bool] = True
    lifts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _checks.sum_to_one(self.substeps, "substeps")
        _checks.finite(self.omega, "omega")

    def in_units(self, time: float) -> "Tao":
        """Return the method for a system whose unit of time is `time` of this one's.

        The angle 2 omega dt stays.  The binding weighs q and p as they are: units of q and p that
        differ from one another still change it, by what is below the method's own error.

        Examples
        --------
        >>> Tao("tao2", 2, (1.0,), omega=5.0).in_units(0.5).omega
        2.5
        """
        return dataclasses.replace(self, omega=self.omega * time)

    def init(self, field: Field, z0: State) -> _Extended:
        """Start both copies at `z0`; the field must come from a Hamiltonian."""
        if field.hamiltonian is None:
            raise ValueError(
                f"The integrator {self.name!r} is for Hamiltonians; the field has none. "
                "Use 'rk4' or 'implicit-midpoint'."
            )
        return _Extended(z0, z0)

    def step(self, field: Field, state: _Extended, dt: float) -> _Extended:
        """One step: a symmetric composition for each substep."""
        for fraction in self.substeps:
            state = self._second_order(field, state, fraction * dt)
        return state

    def _second_order(self, field: Field, state: _Extended, dt: float) -> _Extended:
        state = self._first(field, state, dt / 2)
        state = self._second(field, state, dt / 2)
        state = self._bind(state, dt)
        state = self._second(field, state, dt / 2)
        return self._first(field, state, dt / 2)

    @staticmethod
    def _first(field: Field, state: _Extended, dt: float) -> _Extended:
        """Flow of H(q, y): moves p and x."""
        (q, p), (x, y) = _checks.halves(state.z), _checks.halves(state.twin)
        velocity, force = _checks.halves(field(torch.cat((q, y), dim=-1)))
        return _Extended(
            torch.cat((q, p + dt * force), dim=-1), torch.cat((x + dt * velocity, y), dim=-1)
        )

    @staticmethod
    def _second(field: Field, state: _Extended, dt: float) -> _Extended:
        """Flow of H(x, p): moves q and y."""
        (q, p), (x, y) = _checks.halves(state.z), _checks.halves(state.twin)
        velocity, force = _checks.halves(field(torch.cat((x, p), dim=-1)))
        return _Extended(
            torch.cat((q + dt * velocity, p), dim=-1), torch.cat((x, y + dt * force), dim=-1)
        )

    def _bind(self, state: _Extended, dt: float) -> _Extended:
        """Flow of the binding term: the difference of the copies turns, their sum stays."""
        total, difference = state.z + state.twin, state.z - state.twin
        u, v = _checks.halves(difference)
        angle = torch.tensor(2 * self.omega * dt, dtype=torch.float64)
        cos, sin = float(torch.cos(angle)), float(torch.sin(angle))
        turned = torch.cat((cos * u + sin * v, cos * v - sin * u), dim=-1)
        return _Extended((total + turned) / 2, (total - turned) / 2)

    def variables(self, field: Field, state: _Extended) -> tuple[Tensor, ...]:
        """Both copies."""
        return tuple(state)

    def read(self, state: _Extended) -> State:
        """(q, p) of a state; the second copy is left out."""
        return state.z
