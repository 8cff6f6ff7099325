"""What initial-state optimisation gives on the paper's chain: floors, baselines and models.

    python -m srnn.experiments.chain_iso

20 masses, noise 0.2 on every number, 1000 training trajectories of ten states; test: 256
trajectories from the same chain, starts optimised on their first ten states (or the noisy first
state, where a row says so), 200 states from t = 0 on, L2 error of the positions against the noisy
truth (and against the clean one), mean over times and trajectories.  Chains and seeds are those
named below; settings were chosen on other chains, and nothing was chosen by these test sets.
"""

import argparse
import time
from typing import Any

import torch

from srnn.experiments._store import store
from srnn.experiments.reproduction import Cell, Draw, Fit, evaluate, problem
from srnn.experiments.reproduction._problems import FIRST, OBSERVED
from srnn.experiments.reproduction._work import _model
from srnn.starts.iso import optimise_initial_state

__all__ = ["baselines", "least_squares_gap", "models"]

MASSES, DT, SIGMA, STATES = 20, 0.1, 0.2, 200
TRAINING, TESTS = 1000, 256
BASELINE_SEEDS = range(200, 210)
MODEL_SEEDS = (300, 301, 302)

# What is known, and how its starts are optimised.
_BASELINES = {
    "perfect": ("perfect", None),
    "exact flow, noisy start": ("exact", None),
    "true H, leapfrog, noisy start": ("true", None),
    "predict zero": ("zero", None),
    "exact flow, ISO": ("exact", "gauss-newton"),
    "true H, leapfrog, ISO": ("true", "gauss-newton"),
}
_SLOW, _QUADRATIC = "plain H-NET 2048, fit(iso=True, epochs=150)", "QuadraticH, fit(iso=True)"
_DISTILLED = {"iso": True, "warm_start": "distil", "learning_rate": 1e-6, "patience": 5}
# A network, its hidden widths, and what its fit is told.
_MODELS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    _QUADRATIC: ("quadratic", (), {"iso": True}),
    "H-NET 256 + quadratic, fit(iso=True)": ("hnetq", (256,), {"iso": True}),
    "H-NET 256 + quadratic, fit(iso=False), test ISO": ("hnetq", (256,), {"iso": False}),
    "plain H-NET 2048, started at the quadratic fit": ("hnet", (2048,), _DISTILLED),
    _SLOW: ("hnet", (2048,), {"iso": True, "epochs": 150}),
}


def _fit(
    net: str,
    hidden: tuple[int, ...] = (),
    settings: dict[str, Any] | None = None,
    *,
    sigma: float = SIGMA,
    training: int = 1,
    tests: int = TESTS,
) -> Fit:
    sizes = (training, tests, STATES)
    return Fit("chain", net, hidden, "leapfrog", None, settings or {}, None, sigma, *sizes)


def _drawn(fit: Fit, seed: int) -> Draw:
    """Draw a chain of this number, none of the tables', with its data."""
    return problem(fit, seed - FIRST["chain"])


def _errors(fit: Fit, model: Any, drawn: Draw, iso: str | None) -> tuple[float, float]:
    """Mean errors against the noisy and the clean truth."""
    cell = Cell("table1", "improved", fit, fit.net, "none", "L", "iso", "leapfrog", iso)
    found = evaluate(cell, model, drawn)
    return found["error_mean"], found["error_mean_clean"]


def baselines(seed: int) -> dict[str, tuple[float, float]]:
    """Errors of what knows the chain, or nothing at all: (vs noisy, vs clean) a row.

    Examples
    --------
    >>> rows = baselines(1)
    >>> rows["perfect"][1]
    0.0
    """
    rows = {}
    for name, (net, iso) in _BASELINES.items():
        drawn = _drawn(fit := _fit(net), seed)
        rows[name] = _errors(fit, _model(fit, drawn), drawn, iso)
    return rows


def least_squares_gap(seed: int) -> float:
    """Largest distance of the optimised starts from linear least squares, exact flow, float64.

    Examples
    --------
    >>> least_squares_gap(1) < 1e-6
    True
    """
    chain, _, test, _ = _drawn(_fit("exact"), seed)
    observed = test.first(OBSERVED).to(torch.float64)
    found = optimise_initial_state(chain.shadow_hamiltonian(DT), observed).states
    step = torch.linalg.matrix_exp(DT * chain.matrix())
    powers = [torch.linalg.matrix_power(step, t) for t in range(OBSERVED)]
    target = observed.values.transpose(0, 1).flatten(1).mT
    solved = torch.linalg.lstsq(torch.cat(powers), target).solution.mT
    return float((found - solved).abs().max())


def models(
    name: str,
    seed: int,
    *,
    sigma: float = SIGMA,
    trajectories: int = TRAINING,
    tests: int = TESTS,
) -> dict[str, Any]:
    """Fit one model to one chain's data; return its errors and what the fit took.

    The test set of a seed and a size is the same whatever is trained on.

    Examples
    --------
    >>> models("QuadraticH, fit(iso=True)", 1, trajectories=60, tests=1)["stopped"]
    'solved'
    """
    net, hidden, settings = _MODELS[name]
    fit = _fit(net, hidden, settings, sigma=sigma, training=trajectories, tests=tests)
    drawn = _drawn(fit, seed)
    model = _model(fit, drawn._replace(generator=torch.Generator().manual_seed(seed)))
    begin = time.perf_counter()
    history = model.fit(drawn.training, progress=False, **settings)
    seconds = time.perf_counter() - begin
    vs_noisy, vs_clean = _errors(fit, model, drawn, "gauss-newton")
    return {
        "seed": seed,
        "sigma": sigma,
        "trajectories": trajectories,
        "vs_noisy": vs_noisy,
        "vs_clean": vs_clean,
        "noisy_start": _errors(fit, model, drawn, None)[0],
        "seconds": seconds,
        "epochs": history.epochs,
        "best_epoch": history.best_epoch,
        "stopped": history.stopped,
        "held_out_loss": min(history.validation_loss, default=None),
        "noise": _means(model.noise),
    }


def _means(noise: tuple[float, ...] | None) -> list[float] | None:
    """Give the root mean square of the noise of positions, and of momenta."""
    if noise is None:
        return None
    halves = torch.tensor(noise).unflatten(0, (2, MASSES)).square().mean(dim=1).sqrt()
    return [float(sigma) for sigma in halves]


def main() -> None:
    """Print every row and store them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {
        **{"masses": MASSES, "dt": DT, "sigma": SIGMA, "observed": OBSERVED, "states": STATES},
        **{"test_trajectories": TESTS, "threads": options.threads},
        "baseline_seeds": list(BASELINE_SEEDS),
        "least_squares_gap": max(least_squares_gap(seed) for seed in BASELINE_SEEDS),
        "baselines": {},
        "models": {},
    }
    print(f"ISO and linear least squares part by {result['least_squares_gap']:.1e} at most")
    every = [baselines(seed) for seed in BASELINE_SEEDS]
    for name in every[0]:
        rows = torch.tensor([each[name] for each in every], dtype=torch.float64)
        (noisy, clean), (spread, _) = rows.mean(dim=0).tolist(), rows.std(dim=0).tolist()
        result["baselines"][name] = {
            "vs_noisy": noisy,
            "vs_clean": clean,
            "sd_over_chains": spread,
            "vs_noisy_by_chain": rows[:, 0].tolist(),
        }
        print(f"{name:32s} {noisy:.3f} (chains ± {spread:.3f}), clean {clean:.3f}")
    for name, runs in _runs().items():
        result["models"][name] = []
        for run in runs:
            row = models(**run)
            result["models"][name].append(row)
            print(f"{name:54s}", {key: row[key] for key in ("seed", "vs_noisy", "epochs")})
            store("chain_iso", result)


def _runs() -> dict[str, list[dict[str, Any]]]:
    """Every run of a model, by the name of its row."""
    told: dict[str, dict[str, Any]] = {name: {"name": name} for name in _MODELS}
    # What limits the models: the noise of the training data, whose size and number these change.
    for trajectories in (10 * TRAINING, 100 * TRAINING):
        how = {"name": _QUADRATIC, "trajectories": trajectories}
        told[f"QuadraticH, {trajectories} trajectories"] = how
    for sigma in (0.1, 0.3):
        told[f"QuadraticH, noise {sigma}"] = {"name": _QUADRATIC, "sigma": sigma}
    # The slow one takes minutes a fit, far from the others: one chain is enough to see it.
    return {
        name: [how | {"seed": seed} for seed in MODEL_SEEDS[: 1 if name == _SLOW else None]]
        for name, how in told.items()
    }


if __name__ == "__main__":
    main()
