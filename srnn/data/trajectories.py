"""Sets of trajectories: what is observed, and what is known about it."""

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srnn import _checks
from srnn._types import TrajectoryHalf
from srnn.data._arrays import coordinates, join_halves, ordered, placed, read_npz, stamps, write_npz
from srnn.data._clock import grid_of
from srnn.errors import CheckpointError

__all__ = ["Trajectories"]

_OPTIONAL = ("clean", "derivatives", "status", "observed")


class Trajectories:
    """Trajectories of one system on a grid of equal steps of time, which may have gaps.

    Parameters
    ----------
    q, p : array-like of float, shape (time, batch, d)
        Positions and momenta: tensors, NumPy arrays or nested lists, time first; float32 or
        float64.  Integers take the dtype of the other array; integers alone become PyTorch's
        default dtype where it holds each of them exactly, else float64.  NaN stands for what was
        not observed, and so does what a NumPy masked array has masked.
    dt : float
        Time between successive states.
    dq, dp : array-like, optional
        Time derivatives of `q` and `p`, for derivative-supervised training
        (:class:`srnn.HNN`).
    times : array-like, shape (time,), optional
        The times of the states in place of `dt`, on a grid of equal steps: each may be off by what
        its own last digit is worth.  What they leave out of the grid becomes a gap.  Only their
        spacing is kept.
    mask : array-like of bool, optional
        True for what was observed, shape (time, batch), or (time, batch, 2d) for (q, p).
    masses : float or sequence of d float, optional
        Given these, the argument `p` holds velocities, and :math:`p_i = m_i v_i` are the momenta
        that the data hold, with `dp` to match.

    Attributes
    ----------
    values : Tensor, shape (time, batch, 2d)
        The states, (q, p) on the last axis, with NaN for what was not observed.
    observed : Tensor of bool or None
        Which numbers of the values were observed; None if all were.
    clean : Tensor or None
        The states without noise, where they are known.
    derivatives : Tensor or None
        dz/dt at each state, where it is known.
    status : Tensor of int or None, shape (batch,)
        One code a trajectory where a system computed them; 0 means all is well.

    Raises
    ------
    ValueError, TypeError
        If shapes or dtypes differ, a number is infinite, a coordinate was never observed, the
        dtype is neither float32 nor float64, `dt` is not positive or `times` are on no grid; and
        for objects that torch would convert without their meaning, such as tables or numbers with
        units.

    Warns
    -----
    UserWarning
        If the numbers move smoothly along the second axis and not along the first, as time does.

    Notes
    -----
    Positions without momenta and uneven times are not supported yet; each is refused.

    Examples
    --------
    >>> import numpy as np, srnn
    >>> t = 0.1 * np.arange(50)[:, None, None]  # time, one trajectory, one coordinate
    >>> data = srnn.Trajectories(q=np.cos(t), p=-np.sin(t), dt=0.1)
    >>> data
    Trajectories(states=50, trajectories=1, dim=1, dt=0.1, dtype=float64)
    >>> data.windows(10).trajectories
    41
    """

    def __init__(
        self,
        *,
        q: Any = None,
        p: Any = None,
        dt: float | None = None,
        dq: Any = None,
        dp: Any = None,
        times: Any = None,
        mask: Any = None,
        masses: Any = None,
    ) -> None:
        if q is None or p is None:
            raise ValueError(
                "Expected both `q` and `p`: trajectories of positions only are not supported yet. "
                "For a unit mass p is the velocity."
            )
        if (dq is None) != (dp is None):
            raise ValueError("Expected `dq` and `dp` together, or neither.")
        values = join_halves(q, p, "q", "p")
        derivatives = None if dq is None else join_halves(dq, dp, "dq", "dp", values.dtype)
        if masses is not None:
            factor = _mass_factor(masses, values)
            values = values * factor
            derivatives = None if derivatives is None else derivatives * factor
        if mask is not None:
            values = values.masked_fill(~_mask(mask, values), math.nan)
        if times is not None:
            measured, (places,) = grid_of([stamps(times, len(values))])
            values = placed(values, places)
            derivatives = None if derivatives is None else placed(derivatives, places)
            if dt is not None and not _checks.same_spacing(measured, _checks.time_step(dt)):
                raise ValueError(
                    f"Expected `dt` to be the spacing of `times`, {measured!r}; got {dt!r}. "
                    "Pass one of the two."
                )
            dt = measured if dt is None else dt
        seen = ~torch.isnan(values)
        never = (~seen.any(dim=(0, 1))).nonzero().flatten().tolist()
        if never:
            half, k = divmod(never[0], values.shape[-1] // 2)
            raise ValueError(
                f"`{'qp'[half]}[..., {k}]` was never observed: all of its {seen[..., 0].numel()} "
                "numbers are missing. Hidden coordinates are not supported yet."
            )
        _warn_of_axes(values)
        known = {"derivatives": derivatives, "observed": None if bool(seen.all()) else seen}
        self._set(values, dt, known)

    def _set(self, values: Tensor, dt: Any, known: Mapping[str, Tensor | None]) -> None:
        self.dt = _checks.time_step(dt)
        self.values = _checks.known_float(values, "values")
        self.clean = known.get("clean")
        self.derivatives = known.get("derivatives")
        self.status = status = known.get("status")
        self.observed = seen = known.get("observed")
        batch = tuple(values.shape[1:2])
        if status is not None and status.shape != batch:
            raise ValueError(
                f"Expected `status` to have shape (batch,) = {batch}; got {tuple(status.shape)}."
            )
        if status is not None and (status.is_floating_point() or status.is_complex()):
            raise TypeError(f"Expected `status` to hold integers; got {status.dtype}.")
        both = (("clean", self.clean), ("derivatives", self.derivatives))
        for name, tensor in (("values", values), *both):
            if tensor is None:
                continue
            if tensor.shape != values.shape:
                raise ValueError(
                    f"Expected `{name}` to have the shape of the values {tuple(values.shape)}; "
                    f"got {tuple(tensor.shape)}."
                )
            _checks.same_as(tensor, name, values, "values")
            if seen is not None:
                tensor = tensor.masked_fill(~seen, 0.0)
            if status is not None:  # what is marked as doubtful need not be finite
                tensor = tensor.masked_fill((status != 0)[None, :, None], 0.0)
            _checks.all_finite(tensor, name)

    @classmethod
    def from_states(
        cls,
        values: Tensor,
        *,
        dt: float,
        clean: Tensor | None = None,
        derivatives: Tensor | None = None,
        status: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> "Trajectories":
        """Build from states ``(time, batch, 2d)`` with (q, p) on the last axis.

        Parameters
        ----------
        values : Tensor, shape (time, batch, 2d)
            float32 or float64.  The data keep copies of this and of the other tensors.
        dt : float
        clean, derivatives : Tensor, optional
            Same shape as `values`.
        status : Tensor of int, shape (batch,), optional
            A trajectory whose status is not 0 may hold NaN and infinities; no other may, but for
            what was not observed.
        observed : Tensor of bool, same shape as `values`, optional
            False where nothing was observed, whatever `values` holds there.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.Trajectories.from_states(torch.zeros(10, 4, 6), dt=0.1)
        Trajectories(states=10, trajectories=4, dim=3, dt=0.1, dtype=float32)
        """
        if _checks.float_tensor(values, "values").ndim != 3:
            raise ValueError(
                "Expected `values` to have shape (time, batch, 2*dim); "
                f"got {tuple(values.shape)}. For one trajectory add the axis: values[:, None]."
            )
        if values.shape[-1] % 2:
            raise ValueError(
                "Expected the last axis of `values` to be even, (q, p); "
                f"got length {values.shape[-1]}."
            )
        if 0 in values.shape:
            raise ValueError(f"Expected at least one state; got shape {tuple(values.shape)}.")
        self = cls.__new__(cls)
        known = {
            "clean": clean, "derivatives": derivatives, "status": status, "observed": observed,
        }  # fmt: skip
        for name, tensor in known.items():
            if tensor is not None:
                _checks.tensor(tensor, name)
        # Observations are constants: the data neither grow a caller's graph nor follow what the
        # caller later writes into these tensors.
        copies = {k: None if v is None else v.detach().clone() for k, v in known.items()}
        values = values.detach().clone()
        if observed is not None:
            if observed.shape != values.shape or observed.dtype != torch.bool:
                raise ValueError(
                    "Expected `observed` to be of bool and of the shape of the values "
                    f"{tuple(values.shape)}; got {observed.dtype} of {tuple(observed.shape)}."
                )
            values[~observed] = math.nan
            if bool(observed.all()):
                copies["observed"] = None
        self._set(values, dt, copies)
        return self

    @classmethod
    def from_array(
        cls, array: Any, *, axes: str, q: Any, p: Any, mask: Any = None, **known: Any
    ) -> "Trajectories":
        """Build from one array whose axes are in any order.

        Parameters
        ----------
        array : array-like
            With the coordinates on one of its axes.
        axes : str
            What each axis is: ``r`` for recordings, ``t`` for time, ``c`` for coordinates, such as
            ``"rct"``; without ``r`` it is one recording.
        q, p : int, slice or sequence of int
            Which coordinates are positions, and which are their momenta, in the same order.
        mask : array-like of bool, optional
            True for what was observed, of the shape of `array`.
        **known
            ``dt`` or ``times``, and ``masses``, as for :class:`Trajectories`.

        Returns
        -------
        Trajectories

        Raises
        ------
        ValueError, IndexError
            If `axes` does not name the axes of `array`, or there is no such coordinate.

        Examples
        --------
        >>> import numpy as np, srnn
        >>> recorded = np.random.default_rng(0).normal(size=(3, 4, 50))  # recording, channel, time
        >>> srnn.Trajectories.from_array(recorded, axes="rct", q=[0, 2], p=[1, 3], dt=0.1)
        Trajectories(states=50, trajectories=3, dim=2, dt=0.1, dtype=float64)
        """
        data = ordered(array, axes, "array")
        halves = {name: coordinates(data, at, name) for name, at in (("q", q), ("p", p))}
        if mask is not None:
            seen = ordered(mask, axes, "mask")
            both = [coordinates(seen, at, name) for name, at in (("q", q), ("p", p))]
            known["mask"] = np.concatenate(both, axis=-1)
        return cls(**halves, **known)

    @classmethod
    def from_pandas(
        cls,
        table: Any,
        *,
        q: str | Sequence[str],
        p: str | Sequence[str],
        time: str,
        trajectory: str | None = None,
        masses: Any = None,
    ) -> "Trajectories":
        """Read a pandas DataFrame, one row a time of a recording.

        Parameters
        ----------
        table : pandas.DataFrame
        q, p : str or sequence of str
            Columns of the positions, and of their momenta in the same order.  Empty entries were
            not observed.
        time : str
            Column of the times: numbers, or timestamps, of which seconds are made.
        trajectory : str, optional
            Column that tells recordings apart; without it the table is one recording.  Each has
            times of its own, and all of them one spacing.
        masses : float or sequence of float, optional
            Where the columns `p` are velocities.

        Returns
        -------
        Trajectories
            In the order in which the recordings appear.

        Raises
        ------
        KeyError
            If there is no such column; the text lists those that there are.
        ValueError, TypeError
            As for :class:`Trajectories`; the text names the recording.

        Examples
        --------
        >>> import pandas as pd, srnn
        >>> table = pd.DataFrame(
        ...     {
        ...         "run": ["a", "a", "a", "b", "b"],
        ...         "t": [0.0, 0.1, 0.3, 5.0, 5.1],
        ...         "x": [1.0, 2.0, 3.0, 4.0, 5.0],
        ...         "v": 0.0,
        ...     }
        ... )
        >>> srnn.Trajectories.from_pandas(table, trajectory="run", time="t", q="x", p="v").lengths
        tensor([4, 2])
        """
        from srnn.data._tables import read_table

        read = read_table(table, q=q, p=p, time=time, trajectory=trajectory)
        return cls(**read, masses=masses)

    @classmethod
    def from_csv(
        cls,
        path: Any,
        *,
        q: str | Sequence[str],
        p: str | Sequence[str],
        time: str,
        trajectory: str | None = None,
        masses: Any = None,
        **how: Any,
    ) -> "Trajectories":
        r"""Read a CSV file by pandas; see :meth:`from_pandas`.

        Parameters
        ----------
        path : path-like, URL or file
        q, p, time, trajectory, masses
            Names of columns, and what velocities are multiplied by.
        **how
            For ``pandas.read_csv``, such as ``sep=";"`` or ``decimal=","``.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> import io, srnn
        >>> file = io.StringIO("when,x,v\n2026-01-01 12:00,1,0\n2026-01-01 12:01,2,0\n")
        >>> srnn.Trajectories.from_csv(file, time="when", q="x", p="v").dt  # seconds
        60.0
        """
        from srnn.data._tables import read_csv

        table = read_csv(path, how)
        return cls.from_pandas(table, q=q, p=p, time=time, trajectory=trajectory, masses=masses)

    @classmethod
    def concatenate(cls, parts: Sequence["Trajectories"]) -> "Trajectories":
        """Put recordings of one system beside each other; the shorter ones end earlier.

        Parameters
        ----------
        parts : sequence of Trajectories
            Of one dimension, dtype, device and spacing.

        Returns
        -------
        Trajectories
            What only some of them know besides (``clean``, ``derivatives``) is left out.

        Raises
        ------
        ValueError, TypeError
            If there are none, or they do not fit together; the text names the first that does not.

        Examples
        --------
        >>> import torch, srnn
        >>> both = [srnn.Trajectories.from_states(torch.zeros(n, 2, 2), dt=0.1) for n in (3, 5)]
        >>> srnn.Trajectories.concatenate(both).lengths
        tensor([3, 3, 5, 5])
        """
        parts = list(parts)
        if not parts:
            raise ValueError("Expected at least one recording to concatenate; got none.")
        first, most = parts[0], max(len(part.values) for part in parts)
        for k, part in enumerate(parts):
            _checks.same_as(part.values, f"parts[{k}]", first.values, "parts[0]")
            if part.dim != first.dim or not _checks.same_spacing(part.dt, first.dt):
                raise ValueError(
                    f"Expected recordings of one dimension and spacing; parts[{k}] has dim="
                    f"{part.dim} and dt={part.dt!r}, parts[0] dim={first.dim} and dt={first.dt!r}."
                )

        values = torch.cat([_padded(part.values, most) for part in parts], dim=1)
        status = None
        if any(part.status is not None for part in parts):
            status = torch.cat([
                part.lengths.new_zeros(len(part)) if part.status is None else part.status
                for part in parts
            ])  # fmt: skip
        known = {
            name: None
            if any(getattr(part, name) is None for part in parts)
            else torch.cat([_padded(getattr(part, name), most) for part in parts], dim=1)
            for name in ("clean", "derivatives")
        }
        seen = ~torch.isnan(values)
        return cls.from_states(values, dt=first.dt, status=status, observed=seen, **known)

    @classmethod
    def predicted(cls, values: Tensor, *, dt: float) -> "Trajectories":
        """Build from a model's states, which may leave the finite numbers.

        Parameters
        ----------
        values : Tensor, shape (time, batch, 2d)
        dt : float

        Returns
        -------
        Trajectories
            With status 1 for each trajectory that is not finite throughout, else 0.

        Examples
        --------
        >>> import torch, srnn
        >>> values = torch.tensor([[[0.0, 1.0]], [[float("inf"), 1.0]]])
        >>> srnn.Trajectories.predicted(values, dt=0.1).status
        tensor([1])
        """
        good = torch.isfinite(values).all(dim=-1).all(dim=0)
        return cls.from_states(values, dt=dt, status=(~good).long())

    @property
    def q(self) -> TrajectoryHalf:
        """Positions, shape (time, batch, d)."""
        return _checks.halves(self.values)[0]

    @property
    def p(self) -> TrajectoryHalf:
        """Momenta, shape (time, batch, d)."""
        return _checks.halves(self.values)[1]

    @property
    def dim(self) -> int:
        """Number of positions d."""
        return self.values.shape[-1] // 2

    @property
    def steps(self) -> int:
        """Number of steps: one less than the number of states."""
        return self.values.shape[0] - 1

    @property
    def trajectories(self) -> int:
        """Number of trajectories."""
        return self.values.shape[1]

    @property
    def times(self) -> Tensor:
        """Time of each state, shape (time,), from 0."""
        count = self.values.shape[0]
        return torch.arange(count, dtype=torch.float64, device=self.values.device) * self.dt

    @property
    def lengths(self) -> Tensor:
        """States of each trajectory up to the last one of which anything was observed, (batch,)."""
        count = self.values.shape[0]
        if self.observed is None:
            return torch.full(self.values.shape[1:2], count, device=self.values.device)
        seen = self.observed.any(dim=-1)
        numbers = torch.arange(1, count + 1, device=seen.device)[:, None]
        return (seen * numbers).amax(dim=0)

    def __len__(self) -> int:
        """Count the trajectories."""
        return self.trajectories

    def __iter__(self) -> Iterator["Trajectories"]:
        """Give one trajectory after the other, each of its own length.

        Examples
        --------
        >>> import torch, srnn
        >>> both = [srnn.Trajectories.from_states(torch.zeros(n, 1, 2), dt=0.1) for n in (3, 5)]
        >>> [one.steps + 1 for one in srnn.Trajectories.concatenate(both)]
        [3, 5]
        """
        for k, length in enumerate(self.lengths.tolist()):
            yield self.select([k]).first(max(length, 1))

    def __repr__(self) -> str:
        dtype = str(self.values.dtype).removeprefix("torch.")
        gaps = "" if self.observed is None else f"missing={self._missing:.2g}%, "
        return (
            f"Trajectories(states={self.steps + 1}, trajectories={self.trajectories}, "
            f"dim={self.dim}, dt={self.dt:g}, {gaps}dtype={dtype})"
        )

    @property
    def _missing(self) -> float:
        """Per cent of the numbers up to each trajectory's end."""
        if self.observed is None:
            return 0.0
        total = int(self.lengths.sum()) * self.values.shape[-1]
        return 100 * (1 - int(self.observed.sum()) / max(total, 1))

    def _map(self, change: Any, status: Any = None) -> "Trajectories":
        """Apply one change to every tensor of shape (time, batch, 2d), another to the status."""
        new = {
            name: None if getattr(self, name) is None else change(getattr(self, name))
            for name in ("clean", "derivatives")
        }
        kept = self.status if self.status is None or status is None else status(self.status)
        values = change(self.values)
        # What is missing is NaN, through every change.
        seen = None if self.observed is None else ~torch.isnan(values)
        return Trajectories.from_states(values, dt=self.dt, status=kept, observed=seen, **new)

    def first(self, states: int) -> "Trajectories":
        """Keep the first `states` states of every trajectory (t = 0 included).

        Examples
        --------
        >>> import torch, srnn
        >>> data = srnn.Trajectories.from_states(torch.zeros(10, 4, 6), dt=0.1)
        >>> data.first(3)
        Trajectories(states=3, trajectories=4, dim=3, dt=0.1, dtype=float32)
        """
        states = _checks.positive_int(states, "states")
        if states > self.steps + 1:
            raise ValueError(
                f"Asked for the first {states} states; the trajectories have {self.steps + 1}."
            )
        return self._map(lambda x: x[:states])

    def select(self, index: Any) -> "Trajectories":
        """Keep some of the trajectories.

        Parameters
        ----------
        index : int, slice, list, array or tensor
            Which ones: numbers (negative ones count from the end), or a mask with one True or
            False a trajectory.

        Raises
        ------
        IndexError
            If there is no such trajectory.
        ValueError, TypeError
            If nothing is selected, a mask has not one entry a trajectory, or `index` is none of
            these.

        Examples
        --------
        >>> import torch, srnn
        >>> values = torch.arange(4.0)[:, None].expand(10, 4, 2)
        >>> data = srnn.Trajectories.from_states(values, dt=0.1)
        >>> data.select([3, 0]).q[0].tolist()
        [[3.0], [0.0]]
        """
        chosen = _checks.selection(index, self.trajectories).to(self.values.device)
        return self._map(lambda x: x[:, chosen], lambda x: x[chosen])

    def windows(self, length: int, *, stride: int | None = None) -> "Trajectories":
        """Every run of `length` successive states as a trajectory of its own.

        1000 trajectories of 10 states give 9000 windows of 2, as the paper's single-step
        training uses; 100 trajectories of 10 states give 600 windows of 5.

        Parameters
        ----------
        length : int
            States in a window, at least 2.
        stride : int, optional
            Steps from one window's start to the next one's, for fewer windows than all: with
            `length` they do not overlap.

        Returns
        -------
        Trajectories
            All windows are ordered by their start time, then by trajectory; with a `stride` by
            trajectory first, so that those of one recording stay together.  Windows in which fewer
            than two states were observed, be it in part, are left out.

        Raises
        ------
        ValueError
            If a window is longer than the trajectories, or none has two observed states.

        Examples
        --------
        >>> import torch, srnn
        >>> data = srnn.Trajectories.from_states(torch.zeros(10, 100, 2), dt=0.1)
        >>> data.windows(5)
        Trajectories(states=5, trajectories=600, dim=1, dt=0.1, dtype=float32)
        >>> data.windows(5, stride=5)
        Trajectories(states=5, trajectories=200, dim=1, dt=0.1, dtype=float32)
        """
        length = _checks.positive_int(length, "length", minimum=2)
        if length > self.steps + 1:
            raise ValueError(
                f"A window of {length} states is longer than the trajectories, which have "
                f"{self.steps + 1}."
            )
        each = 1 if stride is None else _checks.positive_int(stride, "stride")
        # From (starts, batch, 2d, length); training draws from all windows in the order by time.
        axes = (3, 0, 1, 2) if stride is None else (3, 1, 0, 2)

        def unfold(x: Tensor) -> Tensor:
            return x.unfold(0, length, each).permute(axes).flatten(1, 2)

        def spread(x: Tensor) -> Tensor:
            starts = (self.steps + 1 - length) // each + 1
            return x.repeat(starts) if stride is None else x.repeat_interleave(starts)

        cut = self._map(unfold, spread)
        if cut.observed is None:
            return cut
        kept = cut.observed.any(dim=-1).sum(dim=0) >= 2
        if not bool(kept.any()):
            raise ValueError(
                f"No window of {length} states has two that were observed; take longer ones."
            )
        return cut.select(kept)

    def split(
        self, fraction: float, generator: torch.Generator | None = None
    ) -> tuple["Trajectories", "Trajectories"]:
        """Split whole trajectories at random into (the rest, a `fraction` of them).

        At least one trajectory is on each side; a `fraction` of 0 is refused.

        Examples
        --------
        >>> import torch, srnn
        >>> data = srnn.Trajectories.from_states(torch.zeros(10, 100, 2), dt=0.1)
        >>> [len(part) for part in data.split(0.1, torch.Generator().manual_seed(0))]
        [90, 10]
        """
        share = _checks.fraction(fraction, "fraction")
        if share == 0:
            raise ValueError(
                "Expected `fraction` to be above 0; got 0. Without a split the data are the rest."
            )
        if self.trajectories < 2:
            raise ValueError("Expected at least two trajectories to split; got 1.")
        held = min(max(round(share * self.trajectories), 1), self.trajectories - 1)
        order = torch.randperm(self.trajectories, generator=_checks.as_generator(generator))
        # Sorted, so that each side keeps the order in which the trajectories came.
        return self.select(order[held:].sort().values), self.select(order[:held].sort().values)

    def with_noise(
        self,
        sigma: float,
        *,
        on: str = "qp",
        correlation: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> "Trajectories":
        r"""Add Gaussian noise of standard deviation `sigma` to every state, t = 0 included.

        Parameters
        ----------
        sigma : float
            Standard deviation, in the data's units.  The paper does not state it; its published
            scripts use 0.2.
        on : {"qp", "q", "p"}
            Which half the noise falls on.
        correlation : float
            Correlation :math:`\rho` in [0, 1) between the noise of successive states:
            :math:`e_{t+1} = \rho e_t + \sqrt{1-\rho^2}\,\sigma\,\xi_t`, so that every state's
            noise has standard deviation `sigma`.
        generator : torch.Generator, optional

        Returns
        -------
        Trajectories
            Its ``clean`` holds the values before the first noise was added.

        Examples
        --------
        >>> import torch, srnn
        >>> data = srnn.Trajectories.from_states(torch.zeros(500, 8, 2), dt=0.1)
        >>> noisy = data.with_noise(0.2, generator=torch.Generator().manual_seed(0))
        >>> round(float(noisy.values.std()), 2), float(noisy.clean.std())
        (0.2, 0.0)
        """
        sigma = _checks.non_negative(sigma, "sigma")
        _checks.choice(on, "on", ("qp", "q", "p"))
        rho = _checks.fraction(correlation, "correlation")
        white = torch.randn(
            self.values.shape, generator=_checks.as_generator(generator), dtype=torch.float64
        )
        if rho:
            steps = [white[0]]
            for fresh in white[1:]:
                steps.append(rho * steps[-1] + (1 - rho**2) ** 0.5 * fresh)
            white = torch.stack(steps)
        mask = torch.tensor(["q" in on, "p" in on]).repeat_interleave(self.dim)
        noise = (sigma * white * mask).to(self.values)
        return Trajectories.from_states(
            self.values + noise,
            dt=self.dt,
            clean=self.values if self.clean is None else self.clean,
            derivatives=self.derivatives,
            status=self.status,
            observed=self.observed,
        )

    def to(self, *args: Any, **kwargs: Any) -> "Trajectories":
        """Convert dtype or device, as ``torch.Tensor.to`` does.

        Raises
        ------
        ValueError, TypeError
            If the dtype is neither float32 nor float64, or there is no such device.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.Trajectories.from_states(torch.zeros(10, 4, 6), dt=0.1).to(torch.float64)
        Trajectories(states=10, trajectories=4, dim=3, dt=0.1, dtype=float64)
        """
        for value in (*args, *kwargs.values()):
            if isinstance(value, str):
                _checks.device(value)
        device = torch.empty(0, device=self.values.device).to(*args, **kwargs).device
        return self._map(lambda x: x.to(*args, **kwargs), lambda x: x.to(device))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a NumPy ``.npz`` file, which holds plain arrays and no pickles.

        The file is written beside its place and then renamed: an interrupted call leaves what was
        at `path` as it was.

        Examples
        --------
        >>> import pathlib, srnn, tempfile
        >>> data = srnn.systems.MassSpring().simulate(2, steps=5, dt=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "springs.npz"
        ...     data.save(path)
        ...     srnn.Trajectories.load(path)
        Trajectories(states=6, trajectories=2, dim=1, dt=0.1, dtype=float32)
        """
        write_npz(path, {name: getattr(self, name) for name in ("values", *_OPTIONAL)}, self.dt)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trajectories":
        """Read what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the file is truncated or is not a file of trajectories.

        Examples
        --------
        >>> import srnn, tempfile, torch
        >>> data = srnn.Trajectories.from_states(torch.ones(3, 1, 2), dt=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     data.save(f"{folder}/ones.npz")
        ...     again = srnn.Trajectories.load(f"{folder}/ones.npz")
        >>> torch.equal(again.values, data.values)
        True
        """
        arrays = read_npz(path)
        try:
            dt = float(arrays.pop("dt"))
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            known = {name: tensors[name] for name in _OPTIONAL if name in tensors}
            return cls.from_states(tensors["values"], dt=dt, **known)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} holds damaged srnn trajectories ({error}).") from error


def _mask(mask: Any, values: Tensor) -> Tensor:
    """Spread a mask of states, or of numbers, over the values."""
    seen = torch.as_tensor(np.asarray(mask) if not isinstance(mask, Tensor) else mask)
    if seen.dtype != torch.bool:
        raise TypeError(
            f"Expected `mask` to hold bools, True for what was observed; got {seen.dtype}."
        )
    if seen.shape == values.shape[:2]:
        seen = seen[..., None]
    elif seen.shape != values.shape:
        raise ValueError(
            f"Expected `mask` to have shape (time, batch) = {tuple(values.shape[:2])}, or that of "
            f"(q, p), {tuple(values.shape)}; got {tuple(seen.shape)}."
        )
    return seen.to(values.device).expand_as(values)


def _mass_factor(masses: Any, values: Tensor) -> Tensor:
    """Give what makes positions and momenta of positions and velocities, shape (2d,)."""
    dim = values.shape[-1] // 2
    given = np.ravel(np.asarray(masses, dtype=object)).tolist()
    if len(given) not in (1, dim):
        raise ValueError(
            f"Expected `masses` to be one for all, or {dim} of them; got {len(given)}."
        )
    numbers = [_checks.positive(mass, "masses") for mass in given]
    each = torch.tensor(numbers, dtype=torch.float64).expand(dim)
    return torch.cat((torch.ones_like(each), each)).to(values)


def _padded(tensor: Tensor, states: int) -> Tensor:
    """Append states of which nothing is known."""
    return placed(tensor, range(len(tensor)), states)


def _warn_of_axes(values: Tensor) -> None:
    """Say so if the second axis looks like time and the first does not."""
    values = values.double()

    def roughness(axis: int) -> float:
        # Mean square of a step over the variance: 2 for numbers in no order, near 0 for motion.
        step, mean = values.diff(dim=axis), values.nanmean(dim=axis, keepdim=True)
        spread = (values - mean).square().nanmean(dim=axis)
        return float((step.square().nanmean(dim=axis) / spread).nanmedian())

    if min(values.shape[:2]) >= 8 and roughness(0) > 1 > 10 * roughness(1):
        warnings.warn(
            f"The numbers move smoothly along the second axis, of length {values.shape[1]}, and "
            f"jump along the first, of length {len(values)}, which is taken for time: expected "
            "(time, batch, dim). srnn.Trajectories.from_array(..., axes=) reads other orders.",
            stacklevel=3,
        )
