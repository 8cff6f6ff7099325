"""States with all that is known about them."""

import torch
from torch import Tensor

from srnn.starts.iso._result import IsoStatus

__all__ = ["Solution"]


class Solution:
    """States with all that is known about them, filled in as trajectories come to their end.

    Parameters
    ----------
    start : Tensor, shape (batch, 2*dim)
    loss : Tensor, shape (batch,)
        At the start.

    Attributes
    ----------
    states, loss, iterations, status : Tensor
        An entry a trajectory; a status is an :class:`srnn.iso.IsoStatus`.
    """

    def __init__(self, start: Tensor, loss: Tensor) -> None:
        count, device = len(start), start.device
        self.states = start.clone()
        self.loss = loss.clone()
        self.iterations = torch.zeros(count, dtype=torch.int64, device=device)
        self.status = torch.full_like(self.iterations, int(IsoStatus.MAX_ITERATIONS))
