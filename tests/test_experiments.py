"""Stored results: what they hold, that they reproduce, and that they are as good as claimed."""

import json
import math
from typing import Any

import pytest
import torch
from helpers import seeded

import srnn
from srnn import experiments
from srnn.experiments import _store, billiard, chain_iso
from srnn.rebound import KnownWalls, LevelSetWalls
from srnn.systems import Billiard, Room


def test_an_unknown_result_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown `result`: 'nothing'\. Known: .*'chain_iso'"):
        experiments.load("nothing")


def test_what_is_stored_is_read_again_with_its_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(_store, "FOLDER", tmp_path)
    experiments.store("mine", {"error": 0.25})
    read = experiments.load("mine")
    assert read["error"] == 0.25
    assert set(read["made_with"]) == {"python", "machine", "torch", "numpy", "scipy"}


@pytest.mark.parametrize("path", sorted(_store.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_result_says_what_it_was_made_with(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["made_with"]["torch"]
    assert "+" not in result["made_with"]["torch"]
    parts = [result] if "threads" in result else list(result["rows"].values())
    assert parts
    assert all(part["threads"] in (1, 2) for part in parts)


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


# The billiard.

STORED: dict[str, Any] = json.loads((_store.FOLDER / "billiard.json").read_text(encoding="utf-8"))
WEIGHTS = {
    row["fit"]["weights"]: name for name, row in STORED["rows"].items() if "weights" in row["fit"]
}


@pytest.fixture(scope="module")
def oracle() -> srnn.Model:
    model, took = billiard.fit("known walls, true equations")
    assert took == {"epochs": 0, "seconds": 0.0}
    return model


@pytest.mark.parametrize(("bounces", "count"), [(0, 300), (1, 40), (2, 5)])
def test_single_steps_have_as_many_bounces_as_asked(bounces: int, count: int) -> None:
    cases = billiard.one_step_cases(bounces, count, seeded(1))
    assert (len(cases.data), cases.data.steps, cases.data.dt) == (count, 1, 0.1)
    assert cases.alpha.shape == (count, 1)
    assert cases.normal.shape == (count, 2)
    found = Billiard().bounces(cases.data.values[0], 0.1, 1)
    # Of single precision, which may tell two bounces at nearly one moment in another order.
    assert len(found.time) == bounces * count
    if bounces:
        assert ((cases.alpha >= 0) & (cases.alpha <= 1)).all()
        assert (cases.normal.norm(dim=-1) == 1).all()
        assert (found.time[::bounces] / 0.1 - cases.alpha[:, 0]).abs().max() < 1e-4
        assert torch.equal(found.normal[::bounces].float(), cases.normal)
    else:
        assert (cases.alpha == 1).all()
        assert (cases.normal == 0).all()


def test_single_steps_may_be_of_another_ball() -> None:
    room = Room.box(size=64, wall=6)
    cases = billiard.one_step_cases(1, 10, seeded(1), Billiard(room))
    assert room.contains(cases.data.q.double()).all()


def test_the_oracle_is_at_zero(oracle: srnn.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = billiard.one_step_cases  # fewer of them: two bounces in a step are rare
    monkeypatch.setattr(billiard, "one_step_cases", lambda n, count, g: drawn(n, count // 20, g))
    result = billiard.score(oracle, seed=7, trajectories=4)
    assert result["rollout"]["p90_at_end"] < 1e-2
    assert result["after_single"]["p90"] < 1e-4
    assert result["after_double"]["median"] > 0.01  # one rebound a step does not do there
    assert result["after_double_three_rebounds"]["p90"] < 1e-4
    one = result["one_step"]
    assert one["found"] == one["found_within_10_degrees"] == 1
    assert one["false"] == 0
    assert one["angle_median"] < 0.1
    assert one["instant_p90"] < 1e-4
    assert result["first_bounces_right"] == 1
    assert set(result["unseen"]) == set(billiard.UNSEEN)
    assert all(room["median"] < 1e-2 for room in result["unseen"].values())
    assert isinstance(oracle.net.walls, KnownWalls)  # as it was
    assert oracle.net.rebounds == 1


def test_bounces_are_right_or_not(oracle: srnn.Model) -> None:
    ball = Billiard()
    test = ball.simulate(12, steps=60, dt=0.1, generator=seeded(4))
    assert billiard._bounces_right(oracle, ball, test) == 1
    none = srnn.SRNN(2, hamiltonian=ball, rebound=lambda q, tentative: (0 * q, q[..., :1]))
    bounced = ball.bounces(test.values[0], 0.1, 60).trajectory.unique()
    assert billiard._bounces_right(none, ball, test) == pytest.approx(1 - len(bounced) / 12)
    known = KnownWalls(Room.box())

    def turned(q: torch.Tensor, tentative: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        n, alpha = known(q, tentative)
        turn = math.radians(12)  # more than the ten degrees that are allowed
        c, s = math.cos(turn), math.sin(turn)
        return n @ torch.tensor([[c, s], [-s, c]]), alpha

    askew = srnn.SRNN(2, hamiltonian=ball, rebound=turned)
    assert billiard._bounces_right(askew, ball, test) <= 1 - len(bounced) / 12


def test_a_lost_ball_is_infinitely_far_off() -> None:
    x = torch.tensor([[0.0, 1.0, math.inf, math.inf]])
    assert billiard._quantile(x, 0.25) == 1.0
    assert billiard._quantile(x, 0.9) == math.inf


@pytest.mark.parametrize("name", billiard.UNSEEN)
def test_rooms_that_are_not_seen_are_rooms(name: str) -> None:
    room = billiard.UNSEEN[name]
    assert room.image.shape == (128, 128)
    assert len(room.gaps) == 0
    assert not torch.equal(room.image, Room.box().image)
    grey = (room.image > 0) & (room.image < 1)
    assert int(grey.sum()) > 20  # a slanted wall
    assert room.contains(Billiard(room).initial_states(50, seeded(1))[:, :2]).all()


@pytest.mark.parametrize("row", billiard.ROWS)
def test_every_row_makes_its_model_and_names_settings_that_there_are(row: str) -> None:
    make, settings = billiard.ROWS[row]
    model = make(seeded(0))
    assert model.dim == 2
    assert isinstance(model._recipe().replace(**(settings or {})), srnn.recipes.Recipe)
    paper = model.preset == "paper"
    if paper:
        assert model._recipe().replace(**settings).epochs == 1500
    assert model.walled == (row not in ("no rebound", "O-NET", "RNN"))


def test_what_is_stored_are_rows_of_the_script() -> None:
    assert set(STORED["rows"]) <= set(billiard.ROWS)
    assert STORED["seeds"] == {"training": 0, "test": billiard.TEST_SEED, "model": 2000}
    for row in STORED["rows"].values():
        assert ("weights" in row["fit"]) == (row["fit"]["epochs"] > 0)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_weights_of_a_stored_row_give_its_model(weights: str) -> None:
    model = experiments.trained(weights)
    made = billiard.ROWS[WEIGHTS[weights]][0](seeded(0))
    assert type(model.net) is type(made.net)
    assert model.net.config == made.net.config
    assert model.preset == made.preset
    cases = billiard.one_step_cases(1, 50, seeded(1))
    error = billiard._step_errors(model, cases)["median"]
    assert error < 5 * max(1e-5, STORED["rows"][WEIGHTS[weights]]["after_single"]["median"])


def test_unknown_weights_are_refused_with_the_known_ones(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(_store, "FOLDER", tmp_path)
    srnn.SRNN(2, 4, rebound=LevelSetWalls(Room.box().image)).save(experiments.weights_path("mine"))
    assert experiments.trained("mine").walled
    with pytest.raises(ValueError, match=r"Unknown `model`: 'other'\. Known: 'mine'\."):
        experiments.trained("other")
