"""Over how many states the paper's tables are, read off stored curves."""

import dataclasses

import numpy as np
import pytest

from srnn import experiments
from srnn.experiments.length_scan import LENGTHS, compared, scan


def test_the_stored_scan_is_that_of_the_stored_curves() -> None:
    stored = experiments.load("length_scan")
    assert scan(compared(stored["seed"]), LENGTHS) == stored["scan"]


def test_the_paper_is_met_at_about_fifty_states_and_nowhere_else() -> None:
    cells = compared(0)
    assert len(cells) == 18
    found = {one["states"]: one for one in scan(cells)}
    best = min(found.values(), key=lambda one: one["log_ratio"])
    assert 40 <= best["states"] <= 50
    assert best["within"] >= 13
    assert best["log_ratio"] < 0.1 < 0.6 < found[200]["log_ratio"]
    assert found[200]["within"] == 0
    assert found[50]["rank"] > 0.9 > found[200]["rank"]
    # No constant factor does it: that which fits best at 200 leaves more than twice as much.
    paper = np.array([cell.published[0] for cell in cells if cell.published])
    logs = np.log([cell.over("0..200")[0] for cell in cells]) - np.log(paper)
    assert np.abs(logs - np.median(logs)).mean() > 2 * best["log_ratio"]


def test_a_scan_measures_what_it_says() -> None:
    (cell,) = (c for c in compared(0) if (c.model, c.train, c.mode) == ("hnet", "L", "recurrent"))
    assert cell.published == (2.37, 0.87)
    curve = {name: [2.37 * 1.2] * 10 + [2.37 * 0.5] * 10 for name in ("noisy", "clean")}
    made = dataclasses.replace(cell, curve=curve, stretches={}, errors=None)
    other = dataclasses.replace(made, model="onet", train="E", test="E")  # 2.88 in the paper
    first, whole = scan([made, other], (10, 20))
    expected = [np.log(1.2), abs(np.log(1.2 * 2.37 / 2.88))]
    assert first["log_ratio"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert (first["within"], first["rows"]) == (1, 2)
    assert whole["log_ratio"] > first["log_ratio"]
