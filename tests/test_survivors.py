"""What a deliberate break of the library (tests/mutants.py) showed to be tested by nothing."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from helpers import F64, randn, seeded
from torch.testing import assert_close

import srnn
from srnn.errors import TrainingDiverged
from srnn.experiments import reproduction
from srnn.experiments.reproduction import TABLES
from srnn.motion.flow_map import flow_map
from srnn.motion.scaling import Scale
from srnn.rebound._patches import Smooth
from srnn.rebound._start import _drawn
from srnn.results import metrics
from srnn.results.diagnostics import diagnose
from srnn.starts.iso import optimise_initial_state


def test_a_row_without_a_number_of_diverged_trajectories_has_none() -> None:
    row = metrics.Summary(1.0, 0.5, torch.ones(2), torch.ones(3))
    assert (row.diverged, str(row)) == (0, "1.00 ± 0.50")


def test_pieces_of_several_trajectories_give_the_same_flow_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    field, z0 = srnn.systems.Pendulum(), randn(2, 4, 2)
    whole = flow_map(field, "leapfrog", z0, dt=0.1, steps=3)
    monkeypatch.setattr("srnn.flow_map._PIECE", 2 * (4 * 4))  # two and two
    assert_close(flow_map(field, "leapfrog", z0, dt=0.1, steps=3), whole, rtol=1e-13, atol=1e-14)


def test_a_smoothed_point_is_a_gaussian_out_to_four_deviations() -> None:
    image = torch.zeros(41, 41, dtype=F64)
    image[20, 20] = 1
    away = torch.arange(5, dtype=F64)
    for scale in (1.0, 2.0):
        places = torch.stack((20.5 + scale * away, torch.full_like(away, 20.5)), dim=-1)
        found = Smooth(image, (scale,))(places)[:, 0]
        gauss = [torch.exp(-((scale * away + k) ** 2) / (2 * scale**2)) for k in (-1, 0, 1)]
        expected = gauss[0] + 4 * gauss[1] + gauss[2]  # by the weights of a cubic B-spline
        assert_close(found / found[0], expected / expected[0], rtol=1e-6, atol=0)


def test_training_steps_of_walls_are_drawn_by_their_odds() -> None:
    drawn = _drawn(torch.tensor([0.25, 0.0, 0.75]), seeded(0))
    share = torch.bincount(drawn, minlength=3) / len(drawn)
    assert_close(share, torch.tensor([0.25, 0.0, 0.75]), rtol=0, atol=0.06)


def test_a_recurrent_model_is_not_asked_for_a_part_of_its_step() -> None:
    model = srnn.Model(srnn.RNN(3, 4, generator=seeded(0)), None, generator=seeded(1))
    data = srnn.systems.SpringChain([1.0] * 3, [5.0] * 4).simulate(4, steps=3, dt=0.1)
    model.fit(data, epochs=1, progress=False)
    with pytest.raises(ValueError, match="has learnt one step from an observed state to the next"):
        optimise_initial_state(model, data, dt=0.05)


def test_the_report_tells_the_chance_of_half_the_step_where_it_is_known() -> None:
    chain = srnn.systems.SpringChain([1.0], [0.5, 0.5])
    data = chain.simulate(4, steps=4, dt=0.1, generator=seeded(0)).with_noise(
        0.1, generator=seeded(1)
    )
    found = diagnose(srnn.SRNN(1, hamiltonian=chain), data)
    known = dataclasses.replace(found, half_step_ratio=0.25, half_step_p=0.012)
    assert "residuals 0.25 times as large (p 0.012)" in str(known)
    unknown = dataclasses.replace(known, half_step_p=None)
    assert "residuals 0.25 times as large\n" in str(unknown)


def test_a_fit_whose_epochs_take_longer_is_the_dearer_one() -> None:
    jobs = reproduction.jobs("table1")
    cost = {(j.fit.net, j.cells[0].mode): j.cost for j in jobs if j.fit.preset == "paper"}
    assert cost["hnet", "recurrent"] < cost["onet", "recurrent"] < cost["hnet", "single"]


def test_a_training_loss_that_is_not_finite_is_named() -> None:
    data = srnn.systems.SpringChain([1.0], [0.5, 0.5]).simulate(8, steps=2, dt=0.1)
    model = srnn.SRNN(1, 4, generator=seeded(0))
    with pytest.raises(TrainingDiverged, match="in epoch 1: the training loss is"):
        model.fit(
            data,
            epochs=1,
            batch_size=2,
            optimizer="sgd",
            learning_rate=1e30,
            clip_norm=None,
            progress=False,
        )


def test_the_unit_of_time_is_between_the_rates_of_both_halves() -> None:
    time = torch.linspace(0, 2 * math.pi, 629, dtype=F64)[:, None, None]
    data = srnn.Trajectories(q=torch.sin(time), p=torch.sin(4 * time), dt=2 * math.pi / 628)
    assert Scale.of(data).time == pytest.approx(1 / (1 * 4) ** 0.5, rel=1e-2)


class Lost(srnn.SRNN):
    """The true equations, but that the first trajectory leaves the finite numbers at once."""

    def predict(self, *args: object, **kwargs: object) -> srnn.Trajectories:
        found = super().predict(*args, **kwargs)
        values = found.values.clone()
        values[1:, 0] = math.nan
        return srnn.Trajectories.predicted(values, dt=found.dt)


def test_a_prediction_that_diverges_is_counted_and_has_no_mean() -> None:
    job = reproduction.jobs("table3", preset="smoke")[0]
    drawn = reproduction.problem(job.fit, job.seed)
    row = reproduction.evaluate(job.cells[0], Lost(6, hamiltonian=drawn.system), drawn)
    assert row["diverged"] == 1
    assert row["error_mean"] is row["error_std"] is row["error_mean_clean"] is None
    assert row["curve"]["noisy"][0] is not None
    assert row["curve"]["noisy"][1] is None
    assert math.isfinite(row["error_median"])  # most of the others are where they should be


def test_what_is_not_trained_takes_no_time(tmp_path: Path) -> None:
    job = next(j for j in reproduction.jobs("table3", preset="smoke") if not j.fit.learnt)
    reproduction.run(job, tmp_path)
    (file, *_) = sorted((tmp_path / "results").rglob("*.json"))
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert (stored["wall_time_s"], stored["epochs_done"], stored["capped"]) == (0.0, 0, False)


@pytest.mark.parametrize(
    ("table", "means", "deviations"),
    [("table1", 70.30, 11.66), ("table2", 29.23, 4.94), ("table3", 11.76, 2.64)],
)
def test_published_numbers_add_up(table: str, means: float, deviations: float) -> None:
    # Control totals, added up once beside the paper: a slip in any one number shows.
    cells = [c for c in TABLES[table] if c.table == table and c.column in ("faithful", "oracle")]
    rows = {(c.model, c.train, c.test, c.mode) for c in cells}
    found = [row for row in (reproduction.published(table, *each) for each in rows) if row]
    assert [sum(x) for x in zip(*found, strict=True)] == pytest.approx([means, deviations])
