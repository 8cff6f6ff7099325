r"""Units: the network sees numbers of order one, whatever the data's units are.

With :math:`Q = (q - a)/s_q`, :math:`P = (p - b)/s_p` and :math:`\tau = t/s_t`, Hamilton's
equations keep their form under

.. math:: H(q, p) = \frac{s_q s_p}{s_t}\,\hat H(Q, P).

One factor for all positions and one for all momenta keep the change of coordinates canonical up to
the constant in front; a shift always is.  An integrator does the same to :math:`\hat H` with step
:math:`\Delta t / s_t` as to H with step :math:`\Delta t`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, State
from srnn.data.trajectories import Trajectories
from srnn.motion.fields import HamiltonianField

__all__ = ["Scale", "ScaledField", "ScaledHamiltonian"]


@dataclass(frozen=True)
class Scale:
    """The change from the data's units to the network's.

    Parameters
    ----------
    q, p, time : float
        Units of position, momentum and time.
    shift : Tensor, shape (2*dim,)
        Origin of phase space.

    Examples
    --------
    >>> import torch
    >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.tensor([1.0, 0.0]))
    >>> scale.encode(torch.tensor([5.0, 3.0])).tolist()
    [2.0, 3.0]
    """

    q: float
    p: float
    time: float
    shift: Tensor

    @classmethod
    def identity(cls, dim: int, like: Tensor) -> "Scale":
        """Leave the units as they are.

        Examples
        --------
        >>> import torch
        >>> Scale.identity(1, like=torch.empty(0)).encode(torch.tensor([5.0, 3.0])).tolist()
        [5.0, 3.0]
        """
        return cls(1.0, 1.0, 1.0, torch.zeros(2 * dim, dtype=like.dtype, device=like.device))

    @classmethod
    def of(cls, data: Trajectories, *, centre_momenta: bool = True) -> "Scale":
        """Units in which the data's spread and rate of change are of order one.

        The rate comes from straight lines fitted to runs of up to five states, which noise
        disturbs less than differences of neighbours.

        Parameters
        ----------
        data : Trajectories
        centre_momenta : bool
            Move the origin to the mean momentum; without it, momentum zero stays where it is.

        Examples
        --------
        >>> import srnn
        >>> spring = srnn.systems.MassSpring(mass=1.0, stiffness=100.0)  # ten radians a second
        >>> scale = Scale.of(spring.simulate(8, steps=200, dt=0.01))
        >>> round(scale.time, 2), round(scale.p / scale.q)
        (0.1, 10)
        """
        values = data.values.double()
        shift = values.mean(dim=(0, 1))
        if not centre_momenta:
            shift[data.dim :] = 0
        spread = [_rms(half) for half in _checks.halves(values - shift)]
        count = min(5, len(values))
        ticks = torch.arange(count, dtype=torch.float64, device=values.device)
        weights = (ticks - ticks.mean()) / (ticks - ticks.mean()).square().sum().clamp_min(1)
        slopes = values.unfold(0, count, 1) @ weights / data.dt
        rates = [
            _rms(half) / size for half, size in zip(_checks.halves(slopes), spread, strict=True)
        ]
        rate = (rates[0] * rates[1]) ** 0.5
        return cls(spread[0], spread[1], 1 / rate, shift.to(data.values))

    @cached_property
    def factor(self) -> Tensor:
        """Unit of each coordinate, shape (2*dim,); made once, in the dtype of `shift`."""
        dim = len(self.shift) // 2
        units = torch.tensor([self.q] * dim + [self.p] * dim, dtype=torch.float64)
        return units.to(self.shift)

    def encode(self, z: State) -> State:
        """From the data's units to the network's.

        Examples
        --------
        >>> import torch
        >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> scale.encode(torch.tensor([4.0, 3.0])).tolist()
        [2.0, 3.0]
        """
        return (z - self.shift) / self.factor

    def decode(self, z: State) -> State:
        """From the network's units to the data's.

        Examples
        --------
        >>> import torch
        >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> scale.decode(torch.tensor([2.0, 3.0])).tolist()
        [4.0, 3.0]
        """
        return z * self.factor + self.shift

    def to(self, *args: Any, **kwargs: Any) -> "Scale":
        """Convert dtype or device.

        Examples
        --------
        >>> import torch
        >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> scale.to(torch.float64).shift.dtype
        torch.float64
        """
        return Scale(self.q, self.p, self.time, self.shift.to(*args, **kwargs))

    def beside(self, z: Tensor) -> "Scale":
        """Give the same units in the dtype and on the device of `z`.

        A model without weights has neither of its own: its states bring them.

        Examples
        --------
        >>> import torch
        >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> scale.beside(torch.zeros(3, 2)) is scale
        True
        """
        alike = self.shift.device == z.device and self.shift.dtype == z.dtype
        return self if alike else self.to(z)


def _rms(x: Tensor) -> float:
    """Root mean square; 1 where there is no spread to measure."""
    size = float(x.square().mean().sqrt())
    return size if size > 0 else 1.0


class ScaledHamiltonian:
    """A learnt H in the data's units.

    Parameters
    ----------
    hamiltonian : Hamiltonian
        H in the network's units.
    scale : Scale

    Examples
    --------
    >>> import torch, srnn
    >>> inner = srnn.systems.MassSpring()  # (Q^2 + P^2) / 2
    >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
    >>> H = ScaledHamiltonian(inner, scale)  # 2 (q^2 / 4 + p^2) / 2
    >>> H(torch.tensor([2.0, 1.0])).item(), H.potential_gradient(torch.tensor([2.0])).item()
    (2.0, 1.0)
    """

    def __init__(self, hamiltonian: Any, scale: Scale) -> None:
        self.hamiltonian = hamiltonian
        self.scale = scale
        self.dim = int(hamiltonian.dim)
        self.separable = bool(hamiltonian.separable)

    def __call__(self, z: State) -> Energy:
        """Energy of each state ``(..., 2*dim)``, shape ``(...)``, up to a constant."""
        z = _checks.state(z, "z", self.dim)
        s = self.scale.beside(z)
        value: Tensor = (s.q * s.p / s.time) * self.hamiltonian(s.encode(z))
        return value

    def kinetic_gradient(self, p: Half) -> Half:
        """dH/dp of a separable H.

        Examples
        --------
        >>> import torch, srnn
        >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> H = ScaledHamiltonian(srnn.systems.MassSpring(), scale)  # 2 (q^2 / 4 + p^2) / 2
        >>> H.kinetic_gradient(torch.tensor([1.0])).item()
        2.0
        """
        p = _checks.half(p, "p", self.dim)
        s = self.scale.beside(p)
        inner = (p - s.shift[self.dim :]) / s.p
        # Through a field, which differentiates an H that has no closed-form gradient.
        value: Tensor = self._separable().velocity(torch.zeros_like(p), inner)
        return (s.q / s.time) * value

    def potential_gradient(self, q: Half) -> Half:
        """dH/dq of a separable H.

        Examples
        --------
        >>> import torch, srnn
        >>> scale = Scale(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> H = ScaledHamiltonian(srnn.systems.MassSpring(), scale)  # 2 (q^2 / 4 + p^2) / 2
        >>> H.potential_gradient(torch.tensor([2.0])).item()
        1.0
        """
        q = _checks.half(q, "q", self.dim)
        s = self.scale.beside(q)
        inner = (q - s.shift[: self.dim]) / s.q
        value: Tensor = self._separable().force(inner, torch.zeros_like(q))
        return (-s.p / s.time) * value

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
    scale : Scale

    Examples
    --------
    >>> import torch, srnn
    >>> decay = srnn.fields.VectorField(torch.neg, dim=1)
    >>> slow = ScaledField(decay, Scale(q=1.0, p=1.0, time=10.0, shift=torch.zeros(2)))
    >>> slow(torch.tensor([1.0, 2.0]))  # a tenth of the rate
    tensor([-0.1000, -0.2000])
    """

    def __init__(self, function: Any, scale: Scale) -> None:
        self.function = function
        self.scale = scale
        self.dim = int(function.dim)

    def __call__(self, z: State) -> State:
        """dz/dt of the states, shape ``(..., 2*dim)``."""
        z = _checks.state(z, "z", self.dim)
        s = self.scale.beside(z)
        value: Tensor = self.function(s.encode(z)) * (s.factor / s.time)
        return value
