"""A model's own motion, in the data's units."""

from typing import Any

import torch
from torch import Tensor

from srnn.data.trajectories import Trajectories
from srnn.motion import integrators
from srnn.motion.flow_map import flow_map
from srnn.motion.rollout import rollout
from srnn.starts.iso import InitialStates, optimise_initial_state


def own_substeps(model: Any) -> int:
    """Integrator steps between two observed states that a model was fitted with."""
    return int(getattr(model, "substeps", 1))


def unit(model: Any, like: Tensor) -> Tensor:
    """Size of each coordinate in which a residual counts as one, shape (2*dim,).

    The noise that a fit estimated, which is what predictions weigh the observations by; before
    such a fit, the model's unit of the coordinate.
    """
    factor: Tensor = model.scale.to(like).factor
    if getattr(model, "noise", None) is None:
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


def roll(model: Any, starts: Tensor, dt: float, steps: int, substeps: int) -> Tensor:
    """States from given starts, in the data's units."""
    scale = model.scale.to(starts)
    method = integrators.rescaled(model.test_integrator, scale.time)
    start, spacing = scale.encode(starts), dt / scale.time
    states: Tensor = rollout(model.net, method, start, dt=spacing, steps=steps, substeps=substeps)
    decoded: Tensor = scale.decode(states)
    return decoded


def jacobians(model: Any, starts: Tensor, data: Trajectories, substeps: int) -> Tensor:
    """F_t, in the units of the residuals."""
    scale = model.scale.to(starts)
    method = integrators.rescaled(model.test_integrator, scale.time)
    start = scale.encode(starts)
    spacing = data.dt / scale.time
    found = flow_map(model.net, method, start, dt=spacing, steps=data.steps, substeps=substeps)[1]
    ratio = scale.factor / unit(model, starts)
    in_units: Tensor = found * (ratio[:, None] / ratio)
    return in_units
