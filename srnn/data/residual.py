"""What was observed, what of it counts, and by how much a prediction misses it.

The one residual: training, initial states, their Hessian and the diagnosis measure by it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import TrajectoryValues

__all__ = ["LOSSES", "Observed", "mean_loss", "weights_of"]

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"squared": torch.square}
"""What a residual costs, number by number, by the names that ``fit(loss=...)`` takes; one more is
one more entry."""


@dataclass(frozen=True, eq=False)
class Observed:
    r"""Observed states with the weight of each number: :math:`L = \sum_{t,i} w_{ti} r_{ti}^2`.

    Parameters
    ----------
    values : Tensor, shape (time, batch, 2*dim)
        Finite numbers, also where they do not count.
    weights : Tensor, same shape
        Zero where nothing was observed.

    Examples
    --------
    >>> import torch
    >>> seen = Observed(torch.zeros(3, 1, 2), torch.tensor([1.0, 0.5]).expand(3, 1, 2))
    >>> seen.loss(torch.ones(3, 1, 2)), seen.counted
    (tensor([4.5000]), tensor([6]))
    """

    values: Tensor
    weights: Tensor

    def take(self, index: Tensor | slice) -> "Observed":
        """Keep some of the trajectories, each as often as it is named.

        Examples
        --------
        >>> import torch
        >>> seen = Observed(torch.zeros(3, 4, 2), torch.ones(3, 4, 2))
        >>> seen.take(slice(1, 3)).values.shape
        torch.Size([3, 2, 2])
        """
        return Observed(self.values[:, index], self.weights[:, index])

    def first(self, count: int) -> "Observed":
        """Keep the first times.

        Examples
        --------
        >>> import torch
        >>> Observed(torch.zeros(3, 4, 2), torch.ones(3, 4, 2)).first(2).values.shape
        torch.Size([2, 4, 2])
        """
        return Observed(self.values[:count], self.weights[:count])

    @property
    def counted(self) -> Tensor:
        """How many numbers count in each trajectory, shape (batch,)."""
        return (self.weights > 0).sum(dim=(0, 2))

    def loss(self, states: Tensor) -> Tensor:
        """Loss of each trajectory of a prediction, shape (batch,).

        Examples
        --------
        >>> import torch
        >>> seen = Observed(torch.zeros(3, 1, 2), torch.tensor([1.0, 0.5]).expand(3, 1, 2))
        >>> seen.loss(torch.ones(3, 1, 2))
        tensor([4.5000])
        """
        return (self.weights * (states - self.values).square()).sum(dim=(0, 2))

    @property
    def _size(self) -> Tensor:
        """Sum of the squares of the observed numbers, weighted, shape (batch,)."""
        return (self.weights * self.values.square()).sum(dim=(0, 2))

    @property
    def rounding(self) -> Tensor:
        """A loss that is nothing but rounding of the observed numbers, shape (batch,)."""
        eps = torch.finfo(self.values.dtype).eps
        return (4 * eps) ** 2 * self._size

    def blur(self, loss: Tensor) -> Tensor:
        r"""How far rounding of the states may move a loss, shape (batch,).

        Residuals r that are off by :math:`\epsilon z` move :math:`r^\top W r` by
        :math:`2 \epsilon\, r^\top W z`.

        Examples
        --------
        >>> import torch
        >>> seen = Observed(torch.ones(3, 1, 2), torch.ones(3, 1, 2))
        >>> blur = seen.blur(torch.tensor([1.0]))  # in float32
        >>> bool(1e-6 < blur < 1e-5)
        True
        """
        eps = torch.finfo(self.values.dtype).eps
        return 8 * eps * (loss + (loss * self._size).sqrt())


def weights_of(
    values: Tensor,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    loss_from: int = 0,
) -> Tensor:
    """Give the weight of every observed number, zero where it does not count.

    Parameters
    ----------
    values : Tensor, shape (time, batch, 2*dim)
    weights : Tensor, optional
        Not negative; of a shape that broadcasts to that of `values`, or (time, batch).
    mask : Tensor of bool, optional
        True where there is an observation; shapes as for `weights`.
    loss_from : {0, 1}
        First time that counts.

    Returns
    -------
    Tensor, shape (time, batch, 2*dim)

    Raises
    ------
    ValueError, TypeError
        If a shape does not fit, a weight is negative or not finite, or `mask` is not of bool.

    Examples
    --------
    >>> import torch
    >>> weights_of(torch.zeros(3, 1, 2), mask=torch.tensor([[True], [True], [False]]))[:, 0, 0]
    tensor([1., 1., 0.])
    """
    _checks.choice(loss_from, "loss_from", (0, 1))
    full = torch.ones_like(values)
    if weights is not None:
        given = _spread(_checks.float_tensor(weights, "weights").detach(), "weights", values)
        if not bool((torch.isfinite(given) & (given >= 0)).all()):
            raise ValueError(
                "Expected `weights` to be finite and not negative; the smallest is "
                f"{float(given.min()):g}."
            )
        full = full * given.to(values)
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError(
                "Expected `mask` to be a tensor of bool, True where there is an observation; got "
                f"{mask.dtype if isinstance(mask, Tensor) else type(mask).__name__}."
            )
        full = torch.where(_spread(mask, "mask", values), full, 0.0)
    full[:loss_from] = 0
    return full


def _spread(tensor: Tensor, name: str, values: Tensor) -> Tensor:
    if tensor.shape == values.shape[:2]:
        tensor = tensor[..., None]
    try:
        return tensor.to(values.device).expand_as(values)
    except RuntimeError:
        raise ValueError(
            f"Expected `{name}` to have the shape of the observed states {tuple(values.shape)}, "
            f"or (time, batch); got {tuple(tensor.shape)}."
        ) from None


def mean_loss(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    trim: float = 0.0,
    loss: str = "squared",
    seen: Tensor | None = None,
) -> Tensor:
    """Mean loss of a batch's residuals, weighted, without the worst trajectories.

    Parameters
    ----------
    prediction, target : Tensor, shape (time, batch, 2*dim)
    weights : Tensor, optional
        Of each number's loss, of a shape that broadcasts.
    trim : float
        Share of the trajectories, those with the largest residuals, that is left out.
    loss : str
        A name of :data:`LOSSES`.
    seen : Tensor of bool, shape (time, batch, 2*dim), optional
        Which numbers were observed; the others do not count, and the target may be NaN there.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> wild = torch.tensor([[[1.0, 1.0], [9.0, 9.0]]])
    >>> mean_loss(wild, torch.zeros(1, 2, 2), trim=0.5).item()
    1.0
    """
    if loss == "squared" and weights is None and not trim and seen is None:
        return nn.functional.mse_loss(prediction, target)
    if seen is not None:  # before the difference: a gradient through NaN is NaN
        target = torch.where(seen, target, 0.0)
    cost = LOSSES[loss](prediction - target)
    if weights is not None:
        cost = cost * weights
    if seen is None:
        if not trim:
            return cost.mean()
        each = cost.mean(dim=(0, -1))
    else:
        cost = torch.where(seen, cost, 0.0)
        if not trim:
            return cost.sum() / seen.sum()
        each = cost.sum(dim=(0, -1)) / seen.sum(dim=(0, -1)).clamp_min(1)
    kept = max(1, round((1 - trim) * len(each)))
    return each.topk(kept, largest=False, sorted=False).values.mean()


def interpolated(values: TrajectoryValues) -> TrajectoryValues:
    """Fill the gaps by straight lines between what was observed, as a first guess.

    Before the first and after the last observation of a coordinate its nearest one stands; a
    coordinate that a trajectory has nowhere takes the mean of the others'.

    Parameters
    ----------
    values : Tensor, shape (time, batch, 2*dim)
        With NaN for what is missing.

    Returns
    -------
    Tensor, same shape
        `values` itself where nothing is missing.

    Examples
    --------
    >>> import torch
    >>> gap = torch.tensor([1.0, torch.nan, torch.nan, 4.0, torch.nan])
    >>> interpolated(gap[:, None, None])[:, 0, 0].tolist()
    [1.0, 2.0, 3.0, 4.0, 4.0]
    """
    seen = ~torch.isnan(values)
    if bool(seen.all()):
        return values
    time = torch.arange(len(values), device=values.device)[:, None, None].expand_as(values)
    # The places of the last observation up to each time, and of the first one from it on.
    last = torch.where(seen, time, -1).cummax(dim=0).values
    after = torch.where(seen, time, len(values)).flip(0).cummin(dim=0).values.flip(0)
    none = last[-1:] < 0
    last = torch.where(last < 0, after, last).clamp(max=len(values) - 1)
    after = torch.where(after == len(values), last, after)
    filled = torch.nan_to_num(values)
    left, right = filled.gather(0, last), filled.gather(0, after)
    share = (time - last).to(values) / (after - last).clamp_min(1)
    mean = values.nanmean(dim=(0, 1)).nan_to_num()
    guess: Tensor = torch.where(none, mean, left + share * (right - left))
    return torch.where(seen, values, guess)
