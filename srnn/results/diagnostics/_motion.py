"""A model's own motion, measured in the units of its residuals."""

from typing import Any

import torch
from torch import Tensor

from srnn.data.trajectories import Trajectories
from srnn.starts.iso import InitialStates, optimise_initial_state


def unit(model: Any, like: Tensor) -> Tensor:
    """Size of each coordinate in which a residual counts as one, shape (2*dim,).

    The noise that a fit estimated, which is what predictions weigh the observations by; before
    such a fit, the model's unit of the coordinate.
    """
    factor: Tensor = model.scale.to(like).factor
    if model.noise is None:
        return factor
    half = torch.ones(model.dim, dtype=like.dtype, device=like.device)
    return torch.cat([sigma * half for sigma in model.noise])


def optimise(
    model: Any, observed: Trajectories, substeps: int, initial: Tensor | None = None
) -> InitialStates:
    """Fit initial states, q and p weighed by their units."""
    weights = unit(model, observed.values).square().reciprocal()
    return optimise_initial_state(
        model, observed, weights=weights, dt=observed.dt / substeps, initial=initial
    )


def jacobians(model: Any, starts: Tensor, data: Trajectories, substeps: int) -> Tensor:
    """F_t, in the units of the residuals."""
    size = unit(model, starts)
    found = model.motion().flow_map(starts, dt=data.dt, steps=data.steps, substeps=substeps)[1]
    in_units: Tensor = found * (size / size[:, None])
    return in_units
