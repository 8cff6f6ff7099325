"""What is learnt, in the data's units: H and dz/dt behind a change of units."""

from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, State
from srnn.data.units import Units
from srnn.motion.fields import HamiltonianField

__all__ = ["Scale", "ScaledField", "ScaledHamiltonian"]

Scale = Units
"""The name that units had, and that :attr:`srnn.Model.scale` still has."""


class ScaledHamiltonian:
    """A learnt H in the data's units.

    Parameters
    ----------
    hamiltonian : Hamiltonian
        H in the network's units.
    scale : srnn.data.units.Units

    Examples
    --------
    >>> import torch, srnn
    >>> inner = srnn.systems.MassSpring()  # (Q^2 + P^2) / 2
    >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
    >>> H = ScaledHamiltonian(inner, scale)  # 2 (q^2 / 4 + p^2) / 2
    >>> H(torch.tensor([2.0, 1.0])).item(), H.potential_gradient(torch.tensor([2.0])).item()
    (2.0, 1.0)
    """

    motion_of_part = "hamiltonian"

    def __init__(self, hamiltonian: Any, scale: Units) -> None:
        self.hamiltonian = hamiltonian
        self.scale = scale
        self.dim = int(hamiltonian.dim)
        self.separable = bool(hamiltonian.separable)

    def __call__(self, z: State) -> Energy:
        """Energy of each state ``(..., 2*dim)``, shape ``(...)``, up to a constant."""
        z = _checks.state(z, "z", self.dim)
        s = self.scale.beside(z)
        value: Tensor = (s.action / s.time) * self.hamiltonian(s.encode(z))
        return value

    def kinetic_gradient(self, p: Half) -> Half:
        """dH/dp of a separable H."""
        p = _checks.half(p, "p", self.dim)
        s = self.scale.beside(p)
        unit_q, unit_p = _checks.halves(s.factor)
        inner = (p - s.shift[self.dim :]) / unit_p
        # Through a field, which differentiates an H that has no closed-form gradient.
        value: Tensor = self._separable().velocity(torch.zeros_like(p), inner)
        return (unit_q / s.time) * value

    def potential_gradient(self, q: Half) -> Half:
        """dH/dq of a separable H."""
        q = _checks.half(q, "q", self.dim)
        s = self.scale.beside(q)
        unit_q, unit_p = _checks.halves(s.factor)
        inner = (q - s.shift[: self.dim]) / unit_q
        value: Tensor = self._separable().force(inner, torch.zeros_like(q))
        return (-unit_p / s.time) * value

    def _separable(self) -> HamiltonianField:
        if not self.separable:
            raise TypeError(
                f"{type(self.hamiltonian).__name__} is not separable: it has no K'(p) and V'(q)."
            )
        return HamiltonianField(self.hamiltonian)


class ScaledField:
    """A learnt dz/dt in the data's units.

    Parameters
    ----------
    function : callable with ``dim``
        dz/dt in the network's units.
    scale : srnn.data.units.Units

    Examples
    --------
    >>> import torch, srnn
    >>> decay = srnn.fields.VectorField(torch.neg, dim=1)
    >>> slow = ScaledField(decay, Scale(q=1.0, p=1.0, time=10.0, shift=torch.zeros(2)))
    >>> slow(torch.tensor([1.0, 2.0]))  # a tenth of the rate
    tensor([-0.1000, -0.2000])
    """

    motion_of_part = "function"

    def __init__(self, function: Any, scale: Units) -> None:
        self.function = function
        self.scale = scale
        self.dim = int(function.dim)

    def __call__(self, z: State) -> State:
        """dz/dt of the states, shape ``(..., 2*dim)``."""
        z = _checks.state(z, "z", self.dim)
        s = self.scale.beside(z)
        value: Tensor = self.function(s.encode(z)) * (s.factor / s.time)
        return value
