"""Stored results: what they hold, that they reproduce, and that they are as good as claimed."""

import json

import pytest

from srnn import experiments
from srnn.experiments import _store, chain_iso


def test_an_unknown_result_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown `result`: 'nothing'\. Known: 'chain_iso'"):
        experiments.load("nothing")


def test_what_is_stored_is_read_again_with_its_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(_store, "_FOLDER", tmp_path)
    experiments.store("mine", {"error": 0.25})
    read = experiments.load("mine")
    assert read["error"] == 0.25
    assert set(read["made_with"]) == {"python", "machine", "torch", "numpy", "scipy"}


@pytest.mark.parametrize("path", sorted(_store._FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_result_says_what_it_was_made_with(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["made_with"]["torch"]
    assert "+" not in result["made_with"]["torch"]
    assert result["threads"] in (1, 2)


def test_the_stored_baselines_are_those_that_the_script_computes():
    stored = experiments.load("chain_iso")["baselines"]
    seed = chain_iso.BASELINE_SEEDS[0]
    for name, (vs_noisy, _) in chain_iso.baselines(seed).items():
        assert vs_noisy == pytest.approx(stored[name]["vs_noisy_by_chain"][0], rel=1e-3), name


def test_the_floors_are_where_theory_puts_them():
    result = experiments.load("chain_iso")
    rows = {name: row["vs_noisy"] for name, row in result["baselines"].items()}
    # Sigma times the mean of a chi distribution with 20 degrees of freedom.
    assert rows["perfect"] == pytest.approx(0.883, abs=0.005)
    assert rows["exact flow, ISO"] == pytest.approx(0.907, abs=0.02)
    assert rows["true H, leapfrog, ISO"] == pytest.approx(1.49, abs=0.15)
    assert rows["exact flow, noisy start"] == pytest.approx(1.204, abs=0.03)
    assert result["least_squares_gap"] < 1e-6


@pytest.mark.parametrize(
    ("name", "error", "seconds"),
    [
        ("QuadraticH, fit(iso=True)", 1.00, 30),
        ("H-NET 256 + quadratic, fit(iso=True)", 1.20, 60),
        ("plain H-NET 2048, started at the quadratic fit", 1.45, 600),
    ],
)
def test_the_models_reach_what_is_claimed(name, error, seconds):
    rows = experiments.load("chain_iso")["models"][name]
    assert len(rows) == len(chain_iso.MODEL_SEEDS)
    assert max(row["vs_noisy"] for row in rows) <= error
    assert max(row["seconds"] for row in rows) <= seconds


def test_the_batched_optimisation_is_as_much_faster_as_claimed():
    result = experiments.load("initial_states_speed")
    ratio, loss = result["median_over_gauss_newton"], result["loss"]
    assert ratio["reference"] >= 10
    assert ratio["scipy"] >= 3
    assert loss["gauss-newton"] <= min(loss.values()) * (1 + 1e-4)
