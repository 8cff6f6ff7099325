"""A recording's clock: which grid of equal steps its stamps lie on, and at which places."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from srnn import _checks

__all__ = ["Grid", "grid_of"]

_Numbers = npt.NDArray[np.float64]
_EMPTY = 20  # a grid has at most so many places for every stamp


class Grid(NamedTuple):
    """Equal steps of time, and where on them the stamps of each recording are.

    Examples
    --------
    >>> import torch
    >>> clock = torch.tensor([0.0, 0.033, 0.067, 0.133])  # 30 a second, to the millisecond
    >>> dt, places = grid_of([clock])
    >>> round(dt, 4), places[0].tolist()
    (0.0333, [0, 1, 2, 4])
    """

    dt: float
    places: list[npt.NDArray[np.int64]]
    """Of each stamp, from 0; what they leave out is a gap."""


def grid_of(recordings: Sequence[torch.Tensor], names: Sequence[str] = ("times",)) -> Grid:
    """Find the one grid that the stamps of all recordings lie on.

    A stamp is on the grid if it is off by no more than its own last digit, decimal or binary.

    Parameters
    ----------
    recordings : sequence of Tensor, each of shape (states,)
        Each at least two finite numbers; each has an origin of its own.
    names : sequence of str
        What to call each in the text of a refusal.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If stamps do not increase, or are on no grid, or leave nearly all of it empty; the text
        names the entry.

    Examples
    --------
    >>> import torch
    >>> grid_of([torch.tensor([5.0, 5.5, 6.5]), torch.tensor([0.0, 0.5])], ["a", "b"]).dt
    0.5
    """
    ticks = [x.detach().double().cpu().numpy() for x in recordings]
    for each, name in zip(ticks, names, strict=True):
        _increasing(each, name)
    steps = np.concatenate([np.diff(each) for each in ticks])
    # Stamps that are a step apart differ by rounding, those further apart by a step or more.
    least, usual = np.median(steps[steps < 1.5 * steps.min()]), np.median(steps)
    dt, places = _fitted(ticks, float(least))
    worst = _worst(ticks, places, dt, recordings)
    if worst is not None:  # tell of it by the step that most stamps keep
        dt, places = _fitted(ticks, float(usual))
        k, entry, off, slack = _worst(ticks, places, dt, recordings) or worst
        raise ValueError(
            f"Expected `{names[k]}` on a grid of equal steps, of which some may be left out. "
            f"{names[k]}[{entry}] = {float(ticks[k][entry])!r} is {off:.3g} off the best one, of "
            f"steps of {dt:.6g}; its digits allow {slack:.1g}. Uneven steps are not supported yet: "
            "resample to equal ones."
        )
    for at, name in zip(places, names, strict=True):
        if at[-1] >= _EMPTY * len(at):
            raise ValueError(
                f"The {len(at)} `{name}` leave {at[-1] + 1 - len(at)} of {at[-1] + 1} steps of "
                f"{dt:.6g} empty: cut the recording at its long gaps."
            )
    return Grid(_checks.time_step(dt), places)


def _fitted(ticks: Sequence[_Numbers], dt: float) -> tuple[float, list[npt.NDArray[np.int64]]]:
    """Give the step near `dt` that fits best, and the places of the stamps."""
    for _ in range(3):  # a better step counts long gaps better
        places = [_places(each, dt) for each in ticks]
        dt = _slope(ticks, places)
    return dt, places


def _increasing(ticks: _Numbers, name: str) -> None:
    back = np.flatnonzero(np.diff(ticks) <= 0)
    if len(back):
        k = int(back[0]) + 1
        how = "repeat" if ticks[k] == ticks[k - 1] else "run backwards"
        raise ValueError(
            f"Expected `{name}` to increase; they {how} at entry {k}: {float(ticks[k])!r} after "
            f"{float(ticks[k - 1])!r}."
        )


def _places(ticks: _Numbers, dt: float) -> npt.NDArray[np.int64]:
    gaps = np.maximum(1, np.rint(np.diff(ticks) / dt)).astype(np.int64)
    return np.concatenate(([0], np.cumsum(gaps)))


def _slope(ticks: Sequence[_Numbers], places: Sequence[npt.NDArray[np.int64]]) -> float:
    """Step of time by least squares, with an origin for each recording."""
    if len(ticks) == 1 and places[0][-1] == len(places[0]) - 1:
        plain = float(ticks[0][-1] - ticks[0][0]) / int(places[0][-1])
        if np.abs(np.diff(ticks[0]) - plain).max() <= 1e-6 * plain:
            return plain  # as exact as the two ends
    pairs = [(t - t.mean(), k - k.mean()) for t, k in zip(ticks, places, strict=True)]
    return float(sum(t @ k for t, k in pairs) / sum(k @ k for _, k in pairs))


def _worst(
    ticks: Sequence[_Numbers],
    places: Sequence[npt.NDArray[np.int64]],
    dt: float,
    given: Sequence[torch.Tensor],
) -> tuple[int, int, float, float] | None:
    """Find a stamp off the grid: its recording, its entry, by how much, and what is allowed."""
    for number, (each, at, numbers) in enumerate(zip(ticks, places, given, strict=True)):
        off = np.abs((each - each.mean()) - dt * (at - at.mean()))
        # A clock is as exact as its own numbers: far from 0 a float32 parts equal steps.
        grain = torch.finfo(numbers.dtype).eps if numbers.dtype.is_floating_point else 0.0
        binary = 2 * grain * float(np.abs(each).max())
        slack = 1e-6 * dt + binary + _last_digit(each, binary, dt)
        k = int(off.argmax())
        if off[k] > slack:
            return number, k, float(off[k]), slack
    return None


def _last_digit(ticks: _Numbers, binary: float, dt: float) -> float:
    """Tell what the last decimal digit of all stamps is worth; 0 unless far below a step."""
    for digits in range(13):
        unit = 10.0**-digits
        if np.abs(ticks - np.rint(ticks / unit) * unit).max() <= 1e-6 * unit + binary:
            return unit if unit <= dt / 10 else 0.0
    return 0.0
