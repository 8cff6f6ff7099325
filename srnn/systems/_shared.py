"""Small helpers that the systems share: their parameters, and random numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srnn import _checks

__all__ = ["interval", "like", "normal", "parameters", "stretches", "uniform"]


def like(parameter: Tensor, x: Tensor) -> Tensor:
    """Return a parameter in the dtype and on the device of what it is used with."""
    return parameter.to(dtype=x.dtype, device=x.device)


def parameters(values: Any, name: str, *, length: int | None = None) -> Tensor:
    """Return positive parameters (masses, stiffnesses) as a float64 tensor of its own."""
    if isinstance(values, (Tensor, np.ndarray)):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str) or not len(values):
        raise TypeError(f"Expected `{name}` to be a sequence of numbers; got {values!r}.")
    if length is not None and len(values) != length:
        raise ValueError(f"Expected `{name}` to hold {length} numbers; got {len(values)}.")
    checked = [_checks.positive(value, f"{name}[{i}]") for i, value in enumerate(values)]
    return torch.tensor(checked, dtype=torch.float64)


def uniform(low: float, high: float, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw uniform numbers, float64."""
    draws = torch.rand(tuple(shape), dtype=torch.float64, generator=generator)
    return low + (high - low) * draws


def normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers, float64."""
    return torch.randn(tuple(shape), dtype=torch.float64, generator=generator)


def interval(value: Any, name: str) -> tuple[float, float]:
    """Return `value` as (low, high) with low <= high."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"Expected `{name}` to be a pair (low, high); got {value!r}.")
    low, high = (_checks.finite(end, name) for end in value)
    if low > high:
        raise ValueError(f"Expected `{name}` to be a pair (low, high); got {value!r}.")
    return low, high


def stretches(q: Tensor) -> Tensor:
    """q_{i+1} - q_i for i = 0 ... N of a chain whose ends are tied to the ground."""
    return torch.diff(torch.nn.functional.pad(q, (1, 1)), dim=-1)
