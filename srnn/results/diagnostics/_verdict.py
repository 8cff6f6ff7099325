"""The rules that read a diagnosis, and its report: what is said in words."""

import math
from typing import Any

import torch

_LEVEL = 0.01  # of every test
_EFFECT = 1e-3  # what half the step must change at least
_SINGLE = 1.5  # what it must change where there is no test
_ROUNDED = 10.0  # and where there is rounding only: twice the steps make about twice as much
_CONDITION = 1e6
_DRIFT = 0.1
_VELOCITY = 0.1  # how far apart masses are alike
_ALIKE = 1.5  # how far sigma_q and sigma_p may be apart for one number to stand for both


def judge(d: Any) -> dict[str, str]:
    """Apply the rules in the notes of Diagnosis: keys of those that hold, and their sentences."""
    found: dict[str, str] = {}
    f = d.forecast
    lost = d.examined - d.finite
    diverged = int((~torch.isfinite(f.model)).sum())
    if lost or diverged:
        found["not-finite"] = (
            f"The model leaves the finite numbers: it has no fit of {lost} and no forecast of "
            f"{diverged} of {d.examined} trajectories."
        )
    model = float(f.model.mean())
    naive = {
        "predicting zero": f.zero,
        "predicting the mean": f.mean,
        "repeating the last state": f.repeat,
    }
    errors = {name: float(error.mean()) for name, error in naive.items()}
    best = min(errors, key=lambda name: errors[name])
    if not model < errors[best]:
        found["worse-than-naive"] = (
            f"Its forecasts ({model:.3g}) are no better than {best} ({errors[best]:.3g}): training "
            "failed, or there was none. Try fit(..., iso=True), more epochs or another "
            "learning_rate, and look at history.validation_loss."
        )
    if d.finite:
        found |= _residuals(d)
        found |= _velocities(d, found)
        found |= _step(d)
    if d.learns and f.quadratic is not None and "worse-than-naive" not in found:
        quadratic = float(f.quadratic.mean())
        if not (model < quadratic and f.quadratic_p < _LEVEL):
            found["quadratic-suffices"] = (
                f"A quadratic Hamiltonian forecasts as well ({quadratic:.3g}; the model "
                f"{model:.3g}): on these data the network adds nothing to it."
            )
    if d.underdetermined or d.condition_number > _CONDITION:
        found["ill-conditioned"] = (
            "The data hardly determine the initial states (condition number "
            f"{d.condition_number:.2g}, {d.underdetermined:.0%} underdetermined): cut them into "
            "shorter trajectories."
        )
    if d.not_converged > 0.01:
        found["not-converged"] = (
            f"The optimisation of {d.not_converged:.0%} of the initial states did not converge: "
            "their residuals are larger than they need be."
        )
    drift = d.largest_drift
    if d.finite and drift is not None and not drift <= _DRIFT:
        found["energy-drift"] = (
            f"The learnt H changes by {drift:.2g} of its variation along its own rollout: use a "
            "symplectic integrator or a smaller step."
        )
    return found


def _residuals(d: Any) -> dict[str, str]:
    if d.rounding:
        return {"rounding": "The residuals are of the size of rounding."}
    found = {}
    level = _LEVEL / 4
    correlated = {"q": d.autocorrelation_q, "p": d.autocorrelation_p}
    correlated = {name: s for name, s in correlated.items() if s.p_value < level}
    if correlated:
        listed = ", ".join(f"{name} {s}" for name, s in correlated.items())
        found["correlated"] = (
            f"Successive residuals are correlated, {listed}: the model misses a part of the "
            "dynamics, or the noise is correlated. Compare the noise found here ("
            f"{_noise(d, 0, 'q', 3)}, {_noise(d, 1, 'p', 3)}) with what the instrument is known "
            "for: if it is larger, the model is at fault."
        )
    growing = {"q": d.growth_q, "p": d.growth_p}
    growing = {name: s for name, s in growing.items() if s.p_value < level and s.z > 0}
    if growing:
        listed = ", ".join(
            f"those of {name} {math.exp(s.value / 2):.3g} times" for name, s in growing.items()
        )
        found["growing"] = (
            f"The residuals grow along the trajectories, {listed}: the model's error adds up, or "
            "the noise grows."
        )
    if not found:
        found["white"] = (
            "The residuals are white, of the size of the noise: their tests see nothing left to "
            "learn."
        )
    return found


def _velocities(d: Any, found: dict[str, str]) -> dict[str, str]:
    factors = d.velocity_over_p
    missed = "correlated" in found or "growing" in found
    alike = float(factors.max()) < (1 + _VELOCITY) * float(factors.min())
    if not missed or len(factors) < 2 or not alike:
        return {}
    return {
        "velocities": (
            "The momenta are the velocities of the positions, times one number for all. Where the "
            "masses differ these are no momenta: srnn.Trajectories(..., masses=) makes them some."
        )
    }


def _step(d: Any) -> dict[str, str]:
    ratio, p = d.half_step_ratio, d.half_step_p
    if ratio is None or p is None or (d.rounding and ratio < _ROUNDED):
        return {}
    factor = max(ratio, 1 / ratio) if ratio > 0 else math.inf
    if not (factor > 1 + _EFFECT if p < _LEVEL else math.isnan(p) and factor > _SINGLE):
        return {}
    if ratio > 1:
        return {
            "tied-to-step": (
                f"Half the step makes the residuals {ratio:.4g} times as large: what was learnt is "
                "tied to its step. Do not use another dt."
            )
        }
    return {
        "coarse-step": (
            f"Half the step makes the residuals {ratio:.4g} times as large: the step is too coarse "
            "for this H. Use a smaller one (substeps), or an integrator of higher order."
        )
    }


def _noise(d: Any, half: int, name: str, digits: int) -> str:
    """Name the noise of positions or momenta, and its range where their coordinates differ."""
    each = d.noise.chunk(2)[half]
    low, high = float(each.min()), float(each.max())
    if high > _ALIKE * low:
        return f"{name} {low:.3g} to {high:.3g} by coordinate"
    return f"{name} {(d.sigma_q, d.sigma_p)[half]:.{digits}g}"


def report(d: Any) -> str:
    """Put a Diagnosis into lines of text."""
    f = d.forecast
    states = len(d.residuals)
    fine = f", {d.substeps} steps from one to the next" if d.substeps > 1 else ""
    # One number for both needs a common unit, which the data do not tell; being alike suggests it.
    low, high = sorted((d.sigma_q, d.sigma_p))
    noise = f"{_noise(d, 0, 'sigma_q', 4)}, {_noise(d, 1, 'sigma_p', 4)}"
    alike = high <= _ALIKE * low and "by coordinate" not in noise
    joint = f"; of both {d.sigma:.4g} ± {d.sigma_error:.1g}" if alike else ""
    lines = [
        f"Diagnosis of {d.model}",
        f"  data             {d.examined} of {d.given} trajectories, {states} states each{fine}",
        f"  noise            {noise}{joint}",
    ]
    for name, q, p in (
        ("autocorrelation", d.autocorrelation_q, d.autocorrelation_p),
        ("log growth", d.growth_q, d.growth_p),
    ):
        lines += [f"  {name:16} q {q}", f"  {'':16} p {p}"]
    if d.clean_error is not None:
        lines.append(
            f"  truth            fitted states {d.clean_error:.3g} from it a coordinate; the noise "
            f"alone would give {d.clean_expected:.3g}"
        )
    if d.energy_drift is not None:
        lines.append(
            f"  energy           drift up to {d.largest_drift:.2g} of its variation in "
            f"{len(d.energy_drift) - 1} steps"
        )
    if d.half_step_ratio is not None:
        chance = math.nan if d.half_step_p is None else d.half_step_p
        known = "" if math.isnan(chance) else f" (p {chance:.2g})"
        lines.append(f"  half the step    residuals {d.half_step_ratio:.4g} times as large{known}")
    lines.append(
        f"  initial states   condition number {d.condition_number:.3g}; "
        f"{d.not_converged:.1%} not converged, {d.underdetermined:.1%} underdetermined"
    )
    lines.append(
        f"  forecast         from {f.states} states, error in q over the other {states - f.states}:"
    )
    rows = {
        "model": f.model,
        "quadratic H": f.quadratic,
        "predict zero": f.zero,
        "mean": f.mean,
        "repeat": f.repeat,
    }
    for name, error in rows.items():
        if error is not None:
            lines.append(f"    {name:14} {float(error.mean()):.3g}")
    lines.append(f"    {'noise alone':14} {f.floor:.3g}")
    return "\n".join([*lines, "Verdict", *(f"  - {text}" for text in judge(d).values())])
