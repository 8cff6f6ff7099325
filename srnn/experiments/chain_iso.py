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
from torch import Tensor

from srnn.data.trajectories import Trajectories
from srnn.experiments._store import store
from srnn.model.models import SRNN
from srnn.motion.rollout import rollout
from srnn.nn import HNet, QuadraticH
from srnn.results.metrics import position_error
from srnn.starts.iso import optimise_initial_state
from srnn.systems import SpringChain

__all__ = ["baselines", "least_squares_gap", "models"]

MASSES, DT, SIGMA, OBSERVED, STATES = 20, 0.1, 0.2, 10, 200
TRAINING, TESTS = 1000, 256
BASELINE_SEEDS = range(200, 210)
MODEL_SEEDS = (300, 301, 302)


def _chain(
    seed: int, sigma: float = SIGMA, trajectories: int = TRAINING, tests: int = TESTS
) -> tuple[Any, Trajectories, Trajectories]:
    """Draw a chain with its training and its test data."""
    g = torch.Generator().manual_seed(seed)
    chain = SpringChain.random(masses=MASSES, generator=g)
    test = chain.simulate(tests, steps=STATES - 1, dt=DT, generator=g)
    test = test.with_noise(sigma, generator=g)
    train = chain.simulate(trajectories, steps=OBSERVED - 1, dt=DT, generator=g)
    return chain, train.with_noise(sigma, generator=g), test


def _errors(prediction: Trajectories, test: Trajectories) -> tuple[float, float]:
    """Mean errors against the noisy and the clean truth."""
    noisy, clean = (position_error(prediction, test, against) for against in ("noisy", "clean"))
    return float(noisy.mean()), float(clean.mean())


def _rolled(hamiltonian: Any, z0: Tensor) -> Trajectories:
    return Trajectories.predicted(
        rollout(hamiltonian, "leapfrog", z0, dt=DT, steps=STATES - 1), dt=DT
    )


def baselines(seed: int) -> dict[str, tuple[float, float]]:
    """Errors of what knows the chain, or nothing at all: (vs noisy, vs clean) a row.

    Examples
    --------
    >>> rows = baselines(1)
    >>> rows["perfect"][1]
    0.0
    """
    chain, _, test = _chain(seed)
    assert test.clean is not None
    exact = chain.shadow_hamiltonian(DT)  # its leapfrog step is the chain's exact motion
    rows = {
        "perfect": Trajectories.from_states(test.clean, dt=DT),
        "exact flow, noisy start": _rolled(exact, test.values[0]),
        "true H, leapfrog, noisy start": _rolled(chain, test.values[0]),
        "predict zero": Trajectories.from_states(torch.zeros_like(test.values), dt=DT),
    }
    observed = test.first(OBSERVED)
    for name, hamiltonian in (("exact flow, ISO", exact), ("true H, leapfrog, ISO", chain)):
        rows[name] = _rolled(hamiltonian, optimise_initial_state(hamiltonian, observed).states)
    return {name: _errors(row, test) for name, row in rows.items()}


def least_squares_gap(seed: int) -> float:
    """Largest distance of the optimised starts from linear least squares, exact flow, float64.

    Examples
    --------
    >>> least_squares_gap(1) < 1e-6
    True
    """
    chain, _, test = _chain(seed)
    observed = test.first(OBSERVED).to(torch.float64)
    found = optimise_initial_state(chain.shadow_hamiltonian(DT), observed).states
    step = torch.linalg.matrix_exp(DT * chain.matrix())
    powers = [torch.linalg.matrix_power(step, t) for t in range(OBSERVED)]
    target = observed.values.transpose(0, 1).flatten(1).mT
    solved = torch.linalg.lstsq(torch.cat(powers), target).solution.mT
    return float((found - solved).abs().max())


def _quadratic(g: torch.Generator) -> SRNN:
    return SRNN(MASSES, hamiltonian=QuadraticH(MASSES), generator=g)


def _plain(g: torch.Generator) -> SRNN:
    return SRNN(MASSES, hamiltonian=HNet(MASSES, 2048, generator=g), generator=g)


_SLOW = "plain H-NET 2048, fit(iso=True, epochs=150)"
_MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "QuadraticH, fit(iso=True)": (_quadratic, {"iso": True}),
    "H-NET 256 + quadratic, fit(iso=True)": (
        lambda g: SRNN(MASSES, hidden=256, generator=g),
        {"iso": True},
    ),
    "H-NET 256 + quadratic, fit(iso=False), test ISO": (
        lambda g: SRNN(MASSES, hidden=256, generator=g),
        {"iso": False},
    ),
    "plain H-NET 2048, started at the quadratic fit": (
        _plain,
        {"iso": True, "warm_start": "distil", "learning_rate": 1e-6, "patience": 5},
    ),
    _SLOW: (_plain, {"iso": True, "epochs": 150}),
}


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
    make, settings = _MODELS[name]
    _, train, test = _chain(seed, sigma, trajectories, tests)
    model = make(torch.Generator().manual_seed(seed))
    begin = time.perf_counter()
    history = model.fit(train, progress=False, **settings)
    seconds = time.perf_counter() - begin
    optimised = model.predict(test.first(OBSERVED), steps=STATES - 1, iso=True)
    from_noisy = model.predict(test.first(1), steps=STATES - 1, iso=False)
    vs_noisy, vs_clean = _errors(optimised, test)
    return {
        "seed": seed,
        "sigma": sigma,
        "trajectories": trajectories,
        "vs_noisy": vs_noisy,
        "vs_clean": vs_clean,
        "noisy_start": _errors(from_noisy, test)[0],
        "seconds": seconds,
        "epochs": history.epochs,
        "best_epoch": history.best_epoch,
        "stopped": history.stopped,
        "held_out_loss": min(history.validation_loss, default=None),
        "noise": model.noise,
    }


def main() -> None:
    """Print every row and store them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {
        "masses": MASSES,
        "dt": DT,
        "sigma": SIGMA,
        "observed": OBSERVED,
        "states": STATES,
        "test_trajectories": TESTS,
        "threads": options.threads,
        "baseline_seeds": list(BASELINE_SEEDS),
        "least_squares_gap": max(least_squares_gap(seed) for seed in BASELINE_SEEDS),
        "baselines": {},
        "models": {},
    }
    print(f"ISO and linear least squares part by {result['least_squares_gap']:.1e} at most")
    every = [baselines(seed) for seed in BASELINE_SEEDS]
    for name in every[0]:
        rows = torch.tensor([each[name] for each in every], dtype=torch.float64)
        mean, spread = rows.mean(dim=0).tolist(), rows.std(dim=0).tolist()
        result["baselines"][name] = {
            "vs_noisy": mean[0],
            "vs_clean": mean[1],
            "sd_over_chains": spread[0],
            "vs_noisy_by_chain": rows[:, 0].tolist(),
        }
        print(f"{name:32s} {mean[0]:.3f} (chains ± {spread[0]:.3f}), clean {mean[1]:.3f}")
    for name, runs in _runs().items():
        result["models"][name] = []
        for run in runs:
            row = models(**run)
            result["models"][name].append(row)
            print(
                f"{name:54s} seed {row['seed']}: {row['vs_noisy']:.3f}, "
                f"clean {row['vs_clean']:.3f}, noisy start {row['noisy_start']:.3f}, "
                f"{row['epochs']} epochs, {row['seconds']:.0f} s",
                flush=True,
            )
            store("chain_iso", result)


def _runs() -> dict[str, list[dict[str, Any]]]:
    """Every run of a model, by the name of its row."""
    runs: dict[str, list[dict[str, Any]]] = {
        name: [{"name": name, "seed": seed} for seed in MODEL_SEEDS] for name in _MODELS
    }
    # Minutes a fit, and far from the others: one chain is enough to see it.
    runs[_SLOW] = runs[_SLOW][:1]
    # What limits the models: the noise of the training data, whose size and number these change.
    quadratic = "QuadraticH, fit(iso=True)"
    for trajectories in (10 * TRAINING, 100 * TRAINING):
        runs[f"QuadraticH, {trajectories} trajectories"] = [
            {"name": quadratic, "seed": seed, "trajectories": trajectories} for seed in MODEL_SEEDS
        ]
    for sigma in (0.1, 0.3):
        runs[f"QuadraticH, noise {sigma}"] = [
            {"name": quadratic, "seed": seed, "sigma": sigma} for seed in MODEL_SEEDS
        ]
    return runs


if __name__ == "__main__":
    main()
