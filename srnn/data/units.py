r"""Units: the network sees numbers of order one, whatever the data's units are.

With :math:`Q_i = (q_i - \bar q_i)/a_i`, :math:`P_i = (p_i - \bar p_i)/b_i` and
:math:`\tau = t/s`, Hamilton's equations keep their form where the unit of action
:math:`c = a_i b_i` is the same for all i, under

.. math:: H(q, p) = \frac{c}{s} \hat H(Q, P).

So each position has a unit of its own, and its momentum the unit that goes with it: what is learnt
does not depend on which units the data are in, coordinate by coordinate.  An integrator does the
same to :math:`\hat H` with step :math:`\Delta t / s` as to H with step :math:`\Delta t`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.data.trajectories import Trajectories

__all__ = ["Units", "inverse_mass"]


@dataclass(frozen=True, eq=False)
class Units:
    """The change from the data's units to the network's.

    Parameters
    ----------
    q, p : float, or dim of them
        Unit of each position and of each momentum; kept as a tuple of dim numbers.
    time : float
        Unit of time.
    shift : Tensor, shape (2*dim,)
        Origin of phase space.

    Examples
    --------
    >>> import torch
    >>> units = Units(q=2.0, p=1.0, time=1.0, shift=torch.tensor([1.0, 0.0]))
    >>> units.encode(torch.tensor([5.0, 3.0])).tolist()
    [2.0, 3.0]
    """

    q: Any
    p: Any
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
    def of(cls, data: Trajectories, *, isotropic: bool = False) -> "Units":
        """Units in which the data's spread and rate of change are of order one.

        In them a position spreads as much as its momentum, and the product of both is 1 in the mean
        over the coordinates.  The rate comes from straight lines fitted to runs of up to five
        states, which noise disturbs less than differences of neighbours.

        Parameters
        ----------
        data : Trajectories
        isotropic : bool
            One unit for all positions and one for all momenta, and momentum zero stays where it is:
            for what looks at distances and directions.

        Examples
        --------
        >>> import srnn
        >>> spring = srnn.systems.MassSpring(mass=1.0, stiffness=100.0)  # ten radians a second
        >>> units = Units.of(spring.simulate(8, steps=200, dt=0.01))
        >>> round(units.time, 2), round(units.p[0] / units.q[0])
        (0.1, 10)
        """
        values = data.values.double()
        mean = values.nanmean(dim=(0, 1))
        shift = mean.clone()
        if isotropic:
            shift[data.dim :] = 0
        spread = (values - shift).square().nanmean(dim=(0, 1))
        if isotropic:
            spread = torch.cat([half.mean().expand_as(half) for half in _checks.halves(spread)])
        # What is but rounding of a constant does not move.
        least = 8 * torch.finfo(data.values.dtype).eps * mean.abs()
        moves = spread.sqrt() > least
        q, p = _checks.halves(torch.where(moves, spread.sqrt(), 1.0))
        q_moves, p_moves = _checks.halves(moves)
        both = q_moves & p_moves
        some = both if bool(both.any()) else torch.ones_like(both)
        action = (q * p)[some].mean()
        ratio = torch.where(some, q / p, (q / p)[some].log().mean().exp())
        # Of a coordinate of which a half rests, the other half tells the unit.
        ratio = torch.where(q_moves & ~p_moves, q.square() / action, ratio)
        ratio = torch.where(p_moves & ~q_moves, action / p.square(), ratio)
        factor = torch.cat(((action * ratio).sqrt(), (action / ratio).sqrt()))
        slopes = _slopes(values, data.dt)[0]
        halves = zip(
            _checks.halves(slopes / factor), _checks.halves((values - shift) / factor), strict=True
        )
        rates = [_rms(slope) / _rms(half) for slope, half in halves]
        rate = (rates[0] * rates[1]) ** 0.5
        return cls(*_checks.halves(factor), 1 / rate, shift.to(data.values))

    def __post_init__(self) -> None:
        if self.shift.is_inference():  # units may outlive the inference mode that they are made in
            with torch.inference_mode(False):
                object.__setattr__(self, "shift", self.shift.clone())
        dim = len(self.shift) // 2
        for name in ("q", "p"):
            given = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            if given.shape not in ((), (1,), (dim,)):
                raise ValueError(
                    f"Expected one unit `{name}`, or {dim} of them; got {tuple(given.shape)}."
                )
            object.__setattr__(self, name, tuple(given.expand(dim).tolist()))

    @cached_property
    def action(self) -> float:
        """Unit of action, position times momentum, the same for all coordinates.

        Raises
        ------
        ValueError
            If it is not: Hamilton's equations do not keep their form in such units.

        Examples
        --------
        >>> import torch
        >>> Units(q=[2.0, 0.5], p=[1.0, 4.0], time=1.0, shift=torch.zeros(4)).action
        2.0
        """
        products = [q * p for q, p in zip(self.q, self.p, strict=True)]
        if not all(math.isclose(x, products[0], rel_tol=1e-6) for x in products):
            raise ValueError(
                "Expected units whose products q * p are all the same, which Hamilton's equations "
                f"ask for; got {products}."
            )
        return float(products[0])

    @property
    def sizes(self) -> Tensor:
        """Unit of each coordinate, shape (2*dim,), float64 on the CPU, whatever `shift` is.

        Examples
        --------
        >>> import torch
        >>> Units(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2)).sizes
        tensor([2., 1.], dtype=torch.float64)
        """
        return torch.tensor(self.q + self.p, dtype=torch.float64)

    @cached_property
    @torch.inference_mode(False)  # as it stays
    def factor(self) -> Tensor:
        """Unit of each coordinate, shape (2*dim,); made once, in the dtype of `shift`."""
        return self.sizes.to(self.shift)

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

    def within(self, outer: Tensor) -> "Units":
        """Make the units that change from states over `outer` instead, one size a coordinate.

        Examples
        --------
        >>> import torch
        >>> units = Units(q=6.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> units.within(torch.tensor([2.0, 1.0])).encode(torch.tensor([3.0, 1.0])).tolist()
        [1.0, 1.0]
        """
        outer = outer.double().cpu()
        q, p = _checks.halves(self.sizes / outer)
        return Units(q, p, self.time, (self.shift.double().cpu() / outer).to(self.shift))

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


# Between its inverse and this the numbers of a float32 have squares and sums of them to spare.
_MODERATE = 2.0**16


def moderating(size: Tensor, beyond: float = _MODERATE) -> Tensor:
    """Powers of two that bring sizes to order one: 1 where they are moderate as they are.

    Dividing by them changes no digit of a number.

    Parameters
    ----------
    size : Tensor
        Not negative; 0 is moderate.
    beyond : float
        What is moderate: sizes up to this, and down to its inverse.

    Returns
    -------
    Tensor, same shape
        float64.

    Examples
    --------
    >>> import torch
    >>> moderating(torch.tensor([0.0, 3.0, 2.0**40, 1e-12])).log2()
    tensor([  0.,   0.,  40., -40.], dtype=torch.float64)
    """
    size = size.double()
    known = (size > 0) & torch.isfinite(size)
    power = torch.exp2(torch.where(known, size, 1.0).log2().round())
    return torch.where(known & ((size < 1 / beyond) | (size > beyond)), power, 1.0)


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
