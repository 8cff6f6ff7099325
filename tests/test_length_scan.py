"""Over how many states the paper's tables are, read off stored curves."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from srnn import experiments
from srnn.experiments.length_scan import LENGTHS, NOISES, compared, noisy, scan


def test_the_stored_scan_is_that_of_the_stored_curves() -> None:
    stored = experiments.load("length_scan")
    assert scan(compared(stored["seed"]), LENGTHS) == stored["scan"]
    for one in stored["noise"]:
        assert scan(noisy(one["seed"], one["sigma"]), LENGTHS) == one["scan"]
    kept = [(one["seed"], one["sigma"]) for one in stored["noise"]]
    whole = [(seed, s) for seed in range(3) for s in NOISES if len(noisy(seed, s)) == 2]
    assert kept == whole, "more is computed: python -m srnn.experiments.length_scan"


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


def test_noise_and_length_can_be_traded_on_srnn_and_srnn_iso_alone() -> None:
    """Weaker noise over more states, or stronger over fewer, fits these two rows as well."""
    gentle = {sigma: scan(noisy(2, sigma)) for sigma in (0.1, 0.2, 0.3)}
    best = {s: min(found, key=lambda one: one["log_ratio"]) for s, found in gentle.items()}
    assert best[0.1]["states"] > 90 > best[0.2]["states"] > 40 > best[0.3]["states"]
    assert max(one["log_ratio"] for one in best.values()) < 0.1
    # An H-NET through Euler's method hardly feels the noise: it has no use for so few states.
    for table, sigma in (("figure1", 0.0), ("table1", 0.2)):
        (cell,) = (
            c for c in experiments.results(table, column="faithful", model="hnet", seed=0)
            if (c.train, c.test, c.mode) == ("E", "E", "single")
        )  # fmt: skip
        assert cell.config["fit"]["sigma"] == sigma
        assert cell.over("0..25")[0] < 0.9 * 7.24 < cell.over("0..40")[0] < 1.1 * 7.24
        assert cell.over("0..200")[0] > 1.1 * 7.24


def test_srnn_and_srnn_iso_are_picked_out_of_their_tables() -> None:
    for sigma in (0.1, 0.2, 0.3):
        first, second = noisy(2, sigma)
        assert (first.published, second.published) == ((2.37, 0.87), (1.45, 0.32))
        assert [c.config["fit"]["sigma"] for c in (first, second)] == [sigma, sigma]
        assert (first.seed, second.seed) == (2, 2)


def test_the_readme_has_the_stored_numbers() -> None:
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    told = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}

    def mean(table: str, column: str, model: str, mode: str, seeds: tuple[int, ...]) -> list[str]:
        cells = experiments.results(table, column=column, model=model, test="L", mode=mode)
        cells = [cell for cell in cells if cell.seed in seeds and cell.train in ("L", "none")]
        assert len(cells) == len(seeds)
        return [f"{np.mean([c.over(f'0..{n}')[0] for c in cells]):.2f}" for n in (50, 200)]

    plain, iso = "SRNN, mean of three ordinary chains", "SRNN-ISO, mean of three ordinary chains"
    assert told[plain] == [
        "2.37",
        *mean("table1-ordinary", "faithful", "hnet", "recurrent", (5, 8, 9)),
    ]
    assert told[iso] == ["1.45", *mean("table2-ordinary", "faithful", "hnet", "iso", (5, 8, 9))]
    stiff = told["SRNN-ISO, mean of two stiff chains"]
    assert stiff == ["1.45", *mean("table2", "faithful", "hnet", "iso", (0, 1))]
    own = told["H-NET with a quadratic term and ISO, this library's recipe, mean of three chains"]
    assert own == ["", *mean("table2", "improved", "hnetq", "iso", (0, 1, 2))]
    floor = told["exact motion with ISO, the floor"]
    assert floor == ["", *mean("table2", "oracle", "exact", "iso", (0, 1, 2))]
    within = [str(one["within"]) for one in scan(compared(0), (50, 200))]
    (rows_of_networks,) = (cells for name, cells in told.items() if name.startswith("18 rows"))
    assert rows_of_networks == ["", *within]
