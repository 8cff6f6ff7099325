"""What is put for now where nothing was observed."""

import torch
from torch import Tensor

from srnn._types import TrajectoryValues

__all__ = ["interpolated"]


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
