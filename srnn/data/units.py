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
from srnn._types import State
from srnn.data.trajectories import Trajectories

__all__ = ["Units", "inverse_mass"]


@dataclass(frozen=True)
class Units:
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
    >>> units = Units(q=2.0, p=1.0, time=1.0, shift=torch.tensor([1.0, 0.0]))
    >>> units.encode(torch.tensor([5.0, 3.0])).tolist()
    [2.0, 3.0]
    """

    q: float
    p: float
    time: float
    shift: Tensor

    @classmethod
    def identity(cls, dim: int, like: Tensor) -> "Units":
        """Leave the units as they are.

        Examples
        --------
        >>> import torch
        >>> Units.identity(1, like=torch.empty(0)).encode(torch.tensor([5.0, 3.0])).tolist()
        [5.0, 3.0]
        """
        return cls(1.0, 1.0, 1.0, torch.zeros(2 * dim, dtype=like.dtype, device=like.device))

    @classmethod
    def of(cls, data: Trajectories, *, centre_momenta: bool = True) -> "Units":
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
        >>> units = Units.of(spring.simulate(8, steps=200, dt=0.01))
        >>> round(units.time, 2), round(units.p / units.q)
        (0.1, 10)
        """
        values = data.values.double()
        shift = values.nanmean(dim=(0, 1))
        if not centre_momenta:
            shift[data.dim :] = 0
        spread = [_rms(half) for half in _checks.halves(values - shift)]
        slopes = _slopes(values, data.dt)[0]
        rates = [
            _rms(half) / size for half, size in zip(_checks.halves(slopes), spread, strict=True)
        ]
        rate = (rates[0] * rates[1]) ** 0.5
        return cls(spread[0], spread[1], 1 / rate, shift.to(data.values))

    def __post_init__(self) -> None:
        if self.shift.is_inference():  # units may outlive the inference mode that they are made in
            with torch.inference_mode(False):
                object.__setattr__(self, "shift", self.shift.clone())

    @cached_property
    @torch.inference_mode(False)  # as it stays
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
        >>> units = Units(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> units.encode(torch.tensor([4.0, 3.0])).tolist()
        [2.0, 3.0]
        """
        return (z - self.shift) / self.factor

    def decode(self, z: State) -> State:
        """From the network's units to the data's.

        Examples
        --------
        >>> import torch
        >>> units = Units(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> units.decode(torch.tensor([2.0, 3.0])).tolist()
        [4.0, 3.0]
        """
        return z * self.factor + self.shift

    def encoded(self, data: Trajectories) -> Trajectories:
        """Put trajectories, with their derivatives, into the network's units.

        Examples
        --------
        >>> import torch, srnn
        >>> units = Units(q=2.0, p=1.0, time=0.5, shift=torch.zeros(2))
        >>> units.encoded(srnn.systems.MassSpring().simulate(4, steps=3, dt=0.1)).dt
        0.2
        """
        derivatives = data.derivatives
        return Trajectories.from_states(
            self.encode(data.values),
            observed=data.observed,
            dt=data.dt / self.time,
            derivatives=None if derivatives is None else derivatives * (self.time / self.factor),
        )

    def to(self, *args: Any, **kwargs: Any) -> "Units":
        """Convert dtype or device.

        Examples
        --------
        >>> import torch
        >>> units = Units(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> units.to(torch.float64).shift.dtype
        torch.float64
        """
        return Units(self.q, self.p, self.time, self.shift.to(*args, **kwargs))

    def beside(self, z: Tensor) -> "Units":
        """Give the same units in the dtype and on the device of `z`.

        A model without weights has neither of its own: its states bring them.

        Examples
        --------
        >>> import torch
        >>> units = Units(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> units.beside(torch.zeros(3, 2)) is units
        True
        """
        alike = self.shift.device == z.device and self.shift.dtype == z.dtype
        return self if alike else self.to(z)


def inverse_mass(data: Trajectories) -> float:
    """Factor by which momenta are the velocities of the positions, by least squares.

    Examples
    --------
    >>> import srnn
    >>> spring = srnn.systems.MassSpring(mass=4.0)
    >>> round(inverse_mass(spring.simulate(8, steps=50, dt=0.1)), 3)
    0.25
    """
    slopes, means = _slopes(data.values.double(), data.dt)
    velocity, p = _checks.halves(slopes)[0], _checks.halves(means)[1]
    both = velocity * p
    return float(both.nansum() / torch.where(both.isnan(), 0.0, p).square().sum())


def _slopes(values: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    """Fit straight lines to runs of up to five states: their slopes and their means.

    With gaps to what there is of a run, of which two states will do; else NaN.
    """
    count = min(5, len(values))
    seen = ~torch.isnan(values)
    if not bool(seen.all()):
        return _slopes_of_some(values, seen, dt, count)
    ticks = torch.arange(count, dtype=torch.float64, device=values.device)
    weights = (ticks - ticks.mean()) / (ticks - ticks.mean()).square().sum().clamp_min(1)
    runs = values.unfold(0, count, 1)
    return runs @ weights / dt, runs.mean(dim=-1)


def _slopes_of_some(values: Tensor, seen: Tensor, dt: float, count: int) -> tuple[Tensor, Tensor]:
    ticks = torch.arange(count, dtype=torch.float64, device=values.device)
    runs, counts = torch.nan_to_num(values).unfold(0, count, 1), seen.unfold(0, count, 1).double()
    total = counts.sum(dim=-1)
    middle = (counts * ticks).sum(dim=-1) / total
    mean = (counts * runs).sum(dim=-1) / total
    off = counts * (ticks - middle[..., None])
    slopes = (off * runs).sum(dim=-1) / (off * off).sum(dim=-1) / dt
    enough = total > 1
    return torch.where(enough, slopes, torch.nan), torch.where(enough, mean, torch.nan)


def _rms(x: Tensor) -> float:
    """Root mean square of the numbers there are; 1 where there is no spread to measure."""
    size = float(x.square().nanmean().sqrt())
    return size if size > 0 else 1.0
