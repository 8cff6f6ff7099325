"""The coefficient of restitution, given or learnt."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks

__all__ = ["Restitution"]


class Restitution(nn.Module):
    r"""The ratio e of the normal speeds after and before a rebound, and the length of n it takes.

    The reflection multiplies the normal momentum by :math:`1 - 2|n|^2 = -e`, so
    :math:`|n| = \sqrt{(1 + e)/2}`: between :math:`\sqrt{1/2}` for e = 0 and 1 for e = 1.

    Parameters
    ----------
    value : float or "learnt"
        In [0, 1], or a parameter that starts at 0.9 and stays between 0 and 1.
    like : Tensor
        Tells dtype and device.

    Examples
    --------
    >>> import torch
    >>> Restitution(0.5, like=torch.empty(0)).length()  # squared, 3/4
    0.8660254037844386
    """

    logit: nn.Parameter | None

    def __init__(self, value: Any, *, like: Tensor) -> None:
        super().__init__()
        self.config = value
        if value == "learnt":
            self.logit = nn.Parameter(torch.full((), math.log(9.0)).to(like))
        else:
            self.config = _checks.unit_interval(value, "restitution")
            self.logit = None

    @property
    def value(self) -> float:
        """The coefficient e."""
        return float(self.config if self.logit is None else torch.sigmoid(self.logit.detach()))

    def set(self, value: float) -> None:
        """Start a learnt coefficient at `value`.

        Examples
        --------
        >>> import torch
        >>> restitution = Restitution("learnt", like=torch.empty(0))
        >>> restitution.set(0.8)
        >>> round(restitution.value, 6)
        0.8
        """
        if self.logit is not None:
            with torch.no_grad():
                self.logit.fill_(torch.logit(torch.tensor(value), eps=1e-4).item())

    def length(self) -> Any:
        """Return the length of n at a rebound.

        Examples
        --------
        >>> import torch
        >>> Restitution(1.0, like=torch.empty(0)).length()
        1.0
        """
        if self.logit is None:
            return math.sqrt((1 + self.config) / 2)
        return ((1 + torch.sigmoid(self.logit)) / 2).sqrt()
