"""The bounces of a batch of balls, in order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from srnn.systems._bouncing import Motion
from srnn.systems._outline import Array

__all__ = ["Bounces", "sorted_bounces"]


class Bounces(NamedTuple):
    """All bounces of a batch of trajectories, sorted by trajectory and then by time.

    Examples
    --------
    >>> import torch, srnn
    >>> billiard = srnn.systems.Billiard(gravity=0.0)
    >>> bounces = billiard.bounces(torch.tensor([[64.0, 64.0, 26.0, 0.0]]), dt=0.5, steps=8)
    >>> bounces.time, bounces.step, bounces.normal[:, 0]
    (tensor([2.], dtype=torch.float64), tensor([4]), tensor([-1.], dtype=torch.float64))
    """

    trajectory: Tensor
    """Which trajectory, int64, shape (n,)."""
    time: Tensor
    """When, from the start, float64, shape (n,)."""
    step: Tensor
    """The k with k dt <= time < (k + 1) dt, int64, shape (n,)."""
    position: Tensor
    """Where the ball's centre is, float64, shape (n, 2)."""
    normal: Tensor
    """Unit vector orthogonal to the wall, into the room, float64, shape (n, 2)."""


def sorted_bounces(motions: Sequence[Motion], times: Array, device: torch.device) -> Bounces:
    """Sort the bounces of consecutive parts of a batch; `times` are those of the states."""
    firsts = np.cumsum([0, *(m.values.shape[1] for m in motions[:-1])])
    ball = np.concatenate([m.ball + i for m, i in zip(motions, firsts, strict=True)])
    time = np.concatenate([m.time for m in motions])
    # Within one moment, as in a corner, the order is that in which they were found.
    order = np.lexsort((time, ball))
    position = np.concatenate([m.position for m in motions])[order]
    normal = np.concatenate([m.normal for m in motions])[order]
    step = np.searchsorted(times, time[order], side="right") - 1
    parts = (ball[order], time[order], step, position, normal)
    return Bounces(*(torch.from_numpy(part).to(device) for part in parts))
