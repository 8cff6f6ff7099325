"""Measure everything that a :class:`Diagnosis` holds."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn.data.trajectories import Trajectories
from srnn.motion.fields import differentiates, hamiltonian_of, weight_of
from srnn.nn.network import asked
from srnn.results import metrics
from srnn.results.diagnostics._diagnosis import Diagnosis
from srnn.results.diagnostics._forecast import (
    forecast,
    jacobians,
    optimise,
    paired_p_value,
    unit,
)
from srnn.results.diagnostics._residuals import FittedResiduals, Statistic
from srnn.starts.iso import InitialStates, IsoStatus

__all__ = ["diagnose"]

# Numbers in the Jacobians, 128 MB in float64: what bounds how many long trajectories are examined.
_NUMBERS = 1 << 24
_UNKNOWN = Statistic(math.nan, math.nan, math.nan)


@differentiates
def diagnose(
    model: Any,
    data: Trajectories,
    *,
    fit_baseline: Callable[[Trajectories], Any] | None = None,
    forecast_from: int | None = None,
    drift_steps: int | None = None,
    most: int = 256,
    substeps: int | None = None,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    r"""Say how well a model explains data, and what stands in its way.

    Every trajectory's initial state is optimised on all of its states
    (:func:`srnn.iso.optimise_initial_state`), each coordinate weighed by its noise, as the fit
    estimated, or else by the model's units; what is then left over is examined.  Forecasts start
    from initial states optimised on the first states only.

    Parameters
    ----------
    model : Model
    data : Trajectories
        Observations, of at least two states.  Pass data that the model was not trained on: a large
        network fits some of the noise of its training data, which makes its residuals there
        smaller, and more negatively correlated, than they are taken to be here.
    fit_baseline : callable, optional
        Fits a model to Trajectories and returns it: the quadratic Hamiltonian to compare with.  It
        is called twice, on either half of `data`, and scored on the other half, so never on what
        it was fitted to.  :meth:`Model.diagnose` passes one.  Without it, or with fewer than four
        trajectories, there is no such comparison.
    forecast_from : int, optional
        How many states forecasts are made from: by default two thirds of them.
    drift_steps : int, optional
        Steps of the rollout along which the energy is followed: by default 100, or those of the
        data if they are more.
    most : int
        How many trajectories are examined at most, drawn at random; fewer where they are so long
        that their Jacobians hold more than :math:`2^{24}` numbers.
    substeps : int, optional
        Integrator steps between two observed states, for fits, rollouts, Jacobians and forecasts;
        half the step is twice as many.  By default the model's own (its attribute ``substeps``),
        or 1.
    generator : torch.Generator, optional
        Draws them, and the halves.  By default one with the seed 0, so that the same model and
        data give the same report each time.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError, TypeError
        If the data do not fit the model, have one state only, or some are marked as doubtful by
        their status; if a recurrent network is given `substeps`.

    Examples
    --------
    True equations with too large a step:

    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> spring = srnn.systems.MassSpring()
    >>> data = spring.simulate(50, steps=29, dt=0.5, generator=g).with_noise(0.05, generator=g)
    >>> found = diagnose(srnn.Model(spring, "leapfrog"), data, generator=g)
    >>> found.findings, round(found.half_step_ratio, 1)
    (('correlated', 'coarse-step'), 0.9)
    >>> diagnose(srnn.Model(spring, "leapfrog"), data, substeps=8, generator=g).findings
    ('white',)
    """
    data = _checked(model, data)
    substeps = _substeps(model, substeps)
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    generator = _checks.as_generator(generator)
    cut = _forecast_states(forecast_from, data)
    steps = _checks.steps(
        max(data.steps, 100) if drift_steps is None else drift_steps, "drift_steps"
    )
    count = min(
        _checks.positive_int(most, "most"),
        max(1, _NUMBERS // (len(data.values) * (2 * data.dim) ** 2)),
        len(data),
    )
    order = torch.randperm(len(data), generator=generator)
    chosen = order[:count].sort().values
    halves = torch.randperm(len(data), generator=generator) % 2
    examined = data.select(chosen)
    with torch.no_grad():
        found = optimise(model, examined, substeps)
        how: dict[str, Any] = {"dt": data.dt, "substeps": substeps}
        states = model.motion().rollout(found.states, steps=data.steps, **how)
        tangents = jacobians(model, found.states, data, substeps)
        good = torch.isfinite(states).all(dim=-1).all(dim=0)
        good &= torch.isfinite(tangents.flatten(2)).all(dim=-1).all(dim=0)
        index = good.nonzero()[:, 0]
        measured = _residuals(model, examined, states, tangents, index)
        starts = found.states[index]
        measured |= _half_step(model, examined, found, index, substeps)
    sigma_q = measured["sigma_q"]
    ahead = forecast(model, data, substeps, chosen, cut, halves, fit_baseline, sigma_q)
    status = found.status
    unsettled = [IsoStatus.MAX_ITERATIONS, IsoStatus.STALLED, IsoStatus.NON_FINITE]
    learner = isinstance(model.net, torch.nn.Module) and weight_of(model.net) is not None
    return Diagnosis(
        model=repr(model),
        given=len(data),
        examined=count,
        finite=len(index),
        substeps=substeps,
        starts=starts,
        energy_drift=_energy_drift(model, starts, states[:, index], data.dt, steps, substeps),
        not_converged=float(torch.isin(status, torch.tensor(unsettled).to(status)).double().mean()),
        underdetermined=float((status == IsoStatus.UNDERDETERMINED).double().mean()),
        forecast=ahead,
        velocity_over_p=_velocity_over_p(data),
        learns=learner and not asked(model.net).quadratic_only,
        **measured,
    )


def _velocity_over_p(data: Trajectories) -> Tensor:
    """Regress the steps of each position on the mean of its momentum over them."""
    q, p = data.q.double(), data.p.double()
    velocity, middle = q.diff(dim=0) / data.dt, (p[1:] + p[:-1]) / 2
    found: Tensor = (velocity * middle).sum(dim=(0, 1)) / middle.square().sum(dim=(0, 1))
    return found


def _checked(model: Any, data: Any) -> Trajectories:
    if not all(hasattr(model, name) for name in ("motion", "net", "scale", "dim")):
        raise TypeError(
            f"Expected `model` to be a srnn.Model; got {type(model).__name__}. A system or a "
            "network becomes one as srnn.Model(it, integrator)."
        )
    if not isinstance(data, Trajectories):
        raise TypeError(f"Expected `data` to be srnn.Trajectories; got {type(data).__name__}.")
    _checks.squarable(_checks.state(data.values, "data", model.dim).double(), "data")
    weight = weight_of(model.net)
    if weight is not None:
        _checks.same_as(data.values, "data", weight, "model")
    if data.steps < 1:
        raise ValueError("Expected `data` to have at least two states a trajectory; got 1.")
    if data.status is not None and bool((data.status != 0).any()):
        raise ValueError(
            f"{int((data.status != 0).sum())} of {len(data)} trajectories are marked as doubtful "
            "by their status. Leave them out: data.select(data.status == 0)."
        )
    if data.observed is not None:
        raise ValueError(
            "The diagnosis needs trajectories without gaps so far: choose those that have none, "
            "data.select(data.observed.all(dim=-1).all(dim=0)), or shorter windows of them."
        )
    model.motion().check_spacing(data.dt)
    return data


def _substeps(model: Any, value: Any) -> int:
    if value is None:
        return 1 if model.motion().own_step else int(model.substeps)
    substeps = _checks.steps(value, "substeps")
    model.motion().check_substeps(substeps, "substeps")
    return substeps


def _forecast_states(value: Any, data: Trajectories) -> int:
    if value is None:
        return min(data.steps, -(-2 * (data.steps + 1) // 3))
    states = _checks.positive_int(value, "forecast_from")
    if states > data.steps:
        raise ValueError(
            f"Expected `forecast_from` to leave a state to forecast, at most {data.steps} of "
            f"{data.steps + 1}; got {states}."
        )
    return states


# -- what is measured -----------------------------------------------------------------------------


def _residuals(
    model: Any, observed: Trajectories, states: Tensor, tangents: Tensor, index: Tensor
) -> dict[str, Any]:
    """Everything about residuals, of the trajectories in `index`."""
    values, fitted = observed.values[:, index], states[:, index]
    residuals = fitted - values
    sizes = [half.double().square().mean(dim=(1, 2)).sqrt() for half in _checks.halves(residuals)]
    found: dict[str, Any] = {
        "residuals": residuals,
        "residual_size": torch.stack(sizes, dim=-1),
        "clean_error": None,
        "clean_expected": None,
    }
    if not len(index):
        names = ("autocorrelation_q", "autocorrelation_p", "growth_q", "growth_p")
        nothing = ("sigma", "sigma_error", "sigma_q", "sigma_p", "condition_number")
        found |= dict.fromkeys(names, _UNKNOWN) | dict.fromkeys(nothing, math.nan)
        unknown = torch.full((2 * model.dim,), math.nan, dtype=torch.float64)
        return found | {"degrees_of_freedom": 0, "rounding": False, "noise": unknown}
    exact = unit(model).to(values.device)
    units = exact.to(values)
    fit = FittedResiduals(residuals / units, tangents[:, index])
    # Of all coordinates of a half, in the mean square: each has its own unit.
    q, p = (
        float(v.sqrt() * half.double().square().mean().sqrt())
        for v, half in zip(fit.variances(), _checks.halves(units), strict=True)
    )
    # Of both together, from the two apart: the fit may weigh them unequally, and then the mean
    # square of all residuals has no simple number of degrees of freedom.
    sigma = math.sqrt((q * q + p * p) / 2)
    eps = 10 * len(values) * torch.finfo(values.dtype).eps
    size = (values / units).double().square().mean(dim=(0, 1)).sqrt()
    if observed.clean is not None:
        error = (fitted - observed.clean[:, index]).double()
        found["clean_error"] = float(error.square().mean().sqrt())
        found["clean_expected"] = sigma / math.sqrt(len(values))
    return found | {
        "sigma": sigma,
        "sigma_error": sigma / math.sqrt(2 * max(fit.degrees_of_freedom, 1)),
        "sigma_q": q,
        "sigma_p": p,
        "noise": fit.noise() * exact,
        "degrees_of_freedom": fit.degrees_of_freedom,
        "rounding": bool((fit.values.square().mean(dim=(0, 1)).sqrt() <= eps * size).all()),
        "autocorrelation_q": fit.autocorrelation(0),
        "autocorrelation_p": fit.autocorrelation(1),
        "growth_q": fit.growth(0),
        "growth_p": fit.growth(1),
        "condition_number": float(fit.condition.median()),
    }


def _half_step(
    model: Any, observed: Trajectories, found: InitialStates, index: Tensor, substeps: int
) -> dict[str, float | None]:
    """Residuals with half the step over those with the whole one, both at their best."""
    if model.motion().own_step or not len(index):
        return {"half_step_ratio": None, "half_step_p": None}
    some = observed.select(index)
    halved = optimise(model, some, 2 * substeps, initial=found.states[index])
    whole, half = found.loss[index].double(), halved.loss.double()
    ratio = float((half.sum() / whole.sum()).sqrt()) if float(whole.sum()) > 0 else math.nan
    return {"half_step_ratio": ratio, "half_step_p": paired_p_value(half, whole)}


def _energy_drift(
    model: Any, starts: Tensor, states: Tensor, dt: float, steps: int, substeps: int
) -> Tensor | None:
    if hamiltonian_of(model.net) is None:
        return None
    with torch.no_grad():
        if not len(starts):
            return starts.new_zeros(steps + 1, 0)
        moved = Trajectories.predicted(
            model.motion().rollout(starts, dt=dt, steps=steps, substeps=substeps), dt=dt
        )
        drift = metrics.energy_drift(moved, model.hamiltonian, relative=False)
        velocity, force = _checks.halves(model.field(states))
        q, p = _checks.halves(states - states.mean(dim=(0, 1)))
        first_order = (velocity.double() * p - force.double() * q).sum(dim=-1)
        scale = first_order.square().mean().sqrt()
    return (drift.double() / scale).to(drift)
