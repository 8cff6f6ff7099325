"""A model's own motion, in the data's units."""

from typing import Any

from torch import Tensor

from srnn import integrators
from srnn.data import Trajectories
from srnn.flow_map import flow_map
from srnn.iso import InitialStates, optimise_initial_state
from srnn.rollout import rollout


def optimise(model: Any, observed: Trajectories, **settings: Any) -> InitialStates:
    """Fit initial states, q and p weighed by the model's units."""
    weights = model.scale.to(observed.values).factor.square().reciprocal()
    return optimise_initial_state(model, observed, weights=weights, **settings)


def roll(model: Any, starts: Tensor, dt: float, steps: int) -> Tensor:
    """States from given starts, in the data's units."""
    scale = model.scale.to(starts)
    method = integrators.rescaled(model.test_integrator, scale.time)
    start, spacing = scale.encode(starts), dt / scale.time
    states: Tensor = scale.decode(rollout(model.net, method, start, dt=spacing, steps=steps))
    return states


def jacobians(model: Any, starts: Tensor, data: Trajectories) -> Tensor:
    """F_t in the model's units."""
    scale = model.scale.to(starts)
    method = integrators.rescaled(model.test_integrator, scale.time)
    start = scale.encode(starts)
    return flow_map(model.net, method, start, dt=data.dt / scale.time, steps=data.steps)[1]
