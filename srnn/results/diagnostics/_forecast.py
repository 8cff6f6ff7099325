"""A model's own motion in the units of its residuals, and its forecasts beside baselines."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn.data.trajectories import Trajectories
from srnn.errors import TrainingDiverged
from srnn.results.diagnostics._diagnosis import Forecast
from srnn.starts.iso import InitialStates, optimise_initial_state


def unit(model: Any) -> Tensor:
    """Size of each coordinate in which a residual counts as one, shape (2*dim,), float64.

    The noise that a fit estimated, which is what predictions weigh the observations by; before
    such a fit, the model's unit of the coordinate.
    """
    if model.noise is None:
        found: Tensor = model.scale.sizes
        return found
    return torch.tensor(model.noise, dtype=torch.float64)


def optimise(
    model: Any, observed: Trajectories, substeps: int, initial: Tensor | None = None
) -> InitialStates:
    """Fit initial states, each coordinate weighed by its unit."""
    weights = unit(model).square().reciprocal()
    return optimise_initial_state(
        model, observed, weights=weights, dt=observed.dt / substeps, initial=initial
    )


def jacobians(model: Any, starts: Tensor, data: Trajectories, substeps: int) -> Tensor:
    """F_t, in the units of the residuals."""
    size = unit(model)
    motion, inside = model.motion().within(size), starts / size.to(starts)
    found: Tensor = motion.flow_map(inside, dt=data.dt, steps=data.steps, substeps=substeps)[1]
    return found


def forecast(
    model: Any,
    data: Trajectories,
    substeps: int,
    chosen: Tensor,
    cut: int,
    halves: Tensor,
    fit_baseline: Callable[[Trajectories], Any] | None,
    sigma_q: float,
) -> Forecast:
    """Forecast the examined trajectories `chosen`; `halves` are those of the cross-fit.

    `substeps` are the model's; a baseline is integrated as it was fitted.
    """
    examined = data.select(chosen)
    unit_q = _checks.halves(unit(model))[0]
    middle = float(unit_q.log().mean().exp())
    weights = (middle / unit_q).to(data.values.device)
    truth = examined.q[cut:]
    mean = data.q[:cut].mean(dim=(0, 1))
    ours = _error(model, examined, cut, substeps, weights)
    quadratic = None
    if fit_baseline is not None and len(data) >= 4:
        quadratic = torch.full_like(ours, torch.nan)
        for half in (0, 1):
            scored = halves[chosen] == half
            if not bool(scored.any()):
                continue
            try:
                baseline = fit_baseline(data.select(halves != half))
            except TrainingDiverged:
                quadratic[scored] = torch.inf
                continue
            some = examined.select(scored)
            quadratic[scored] = _error(baseline, some, cut, baseline.substeps, weights)
    d = data.dim
    chi = math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    return Forecast(
        states=cut,
        model=ours,
        zero=_distance(torch.zeros_like(mean), truth, weights),
        mean=_distance(mean, truth, weights),
        repeat=_distance(examined.q[cut - 1], truth, weights),
        quadratic=quadratic,
        quadratic_p=math.nan if quadratic is None else paired_p_value(ours, quadratic),
        floor=sigma_q * middle / float(unit_q.square().mean().sqrt()) * chi,
    )


def _error(model: Any, data: Trajectories, cut: int, substeps: int, weights: Tensor) -> Tensor:
    with torch.no_grad():
        starts = optimise(model, data.first(cut), substeps).states
        states = model.motion().rollout(starts, dt=data.dt, steps=data.steps, substeps=substeps)
    return _distance(_checks.halves(states[cut:])[0], data.q[cut:], weights)


def _distance(prediction: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Position error of each trajectory, averaged over time; infinite where it is no number."""
    difference = weights * (prediction - truth).double()
    error: Tensor = torch.linalg.vector_norm(difference, dim=-1).mean(dim=0)
    return torch.nan_to_num(error, nan=torch.inf, posinf=torch.inf)


def paired_p_value(one: Tensor, other: Tensor) -> float:
    """Two-sided p-value of Student's paired t-test; NaN where there is none."""
    from scipy.special import stdtr  # SciPy is slow to import

    if bool(torch.isfinite(one).all()) != bool(torch.isfinite(other).all()):
        return 0.0  # one of them diverges
    difference = (one - other).double()
    spread = float(difference.std()) if len(difference) > 1 else math.nan
    if not (math.isfinite(spread) and spread > 0):
        return math.nan
    t = float(difference.mean()) / spread * math.sqrt(len(difference))
    return float(2 * stdtr(len(difference) - 1, -abs(t)))
