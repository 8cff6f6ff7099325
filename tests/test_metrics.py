"""Metrics by hand-made trajectories and by known answers."""

import math
import re

import numpy as np
import pytest
import torch

import srnn
from srnn import Trajectories
from srnn.results import metrics
from srnn.systems import MassSpring, SpringChain


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(time: int, batch: int, dim: int, seed: int = 0, dt: float = 0.1) -> Trajectories:
    values = torch.randn(time, batch, 2 * dim, generator=generator(seed), dtype=torch.float64)
    return Trajectories.from_states(values, dt=dt)


def test_position_error_is_the_length_of_the_difference_of_the_positions() -> None:
    truth = Trajectories.from_states(torch.zeros(3, 2, 6, dtype=torch.float64), dt=0.1)
    values = torch.zeros(3, 2, 6, dtype=torch.float64)
    values[1, 0] = torch.tensor([1.0, -2.0, 2.0, 5.0, 5.0, 5.0])
    guess = Trajectories.from_states(values, dt=0.1)
    expected = torch.zeros(3, 2, dtype=torch.float64)
    expected[1, 0] = 3
    torch.testing.assert_close(metrics.position_error(guess, truth), expected)


def test_a_perfect_prediction_has_the_error_of_the_noise() -> None:
    # The mean length of 20 independent normal numbers: sigma sqrt(2) Gamma(10.5) / Gamma(10).
    chain = SpringChain.random(20, generator())
    clean = chain.simulate(256, 199, 0.1, generator())
    noisy = clean.with_noise(0.2, generator=generator(1))
    expected = 0.2 * math.sqrt(2) * math.exp(math.lgamma(10.5) - math.lgamma(10))
    assert expected == pytest.approx(0.883, abs=5e-4)
    row = metrics.summary(clean, noisy)
    assert row.mean == pytest.approx(expected, abs=3e-3)
    assert float(metrics.position_error(clean, noisy, against="clean").max()) == 0


def test_a_summary_averages_over_time_before_trajectories() -> None:
    truth = Trajectories.from_states(torch.zeros(2, 3, 2, dtype=torch.float64), dt=0.1)
    values = torch.zeros(2, 3, 2, dtype=torch.float64)
    values[..., 0] = torch.tensor([[0.0, 2.0, 1.0], [2.0, 4.0, 7.0]])
    guess = Trajectories.from_states(values, dt=0.1)
    row = metrics.summary(guess, truth)
    assert row.per_trajectory.tolist() == [1, 3, 4]
    assert row.per_time.tolist() == pytest.approx([1, 13 / 3])
    assert row.mean == pytest.approx(8 / 3)
    assert row.std == pytest.approx(math.sqrt((25 + 1 + 16) / 27))  # divided by 3, not by 2
    assert str(row) == "2.67 ± 1.25"
    # One trajectory has no spread; that is a number, not a NaN.
    assert metrics.summary(guess.select(0), truth.select(0)).std == 0


def test_summary_against_clean() -> None:
    clean = random(5, 4, 2)
    noisy = clean.with_noise(1.0, generator=generator(1))
    assert metrics.summary(clean, noisy, against="clean").mean == 0
    assert metrics.summary(clean, noisy, against="noisy").mean > 0.5


def test_single_precision_compares_with_double() -> None:
    truth = random(4, 3, 2)
    error = metrics.position_error(truth.to(torch.float32), truth)
    assert error.max() < 1e-6


def test_energy_drift() -> None:
    spring = MassSpring(mass=1.0, stiffness=4.0)
    values = torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)[:, None]
    data = Trajectories.from_states(values, dt=0.1)
    # The energies are 2, 4, 0.
    assert metrics.energy_drift(data, spring)[:, 0].tolist() == [0, 1, -1]
    assert metrics.energy_drift(data, spring, relative=False)[:, 0].tolist() == [0, 2, -2]
    at_rest = Trajectories.from_states(values.flip(0), dt=0.1)
    text = "The energy of trajectory 0 is zero at t = 0, so its relative drift is undefined."
    with pytest.raises(ValueError, match=re.escape(text)):
        metrics.energy_drift(at_rest, spring)
    assert metrics.energy_drift(at_rest, spring, relative=False)[:, 0].tolist() == [0, 4, 2]


def test_relative_drift_keeps_its_sign_where_the_energy_is_negative() -> None:
    kepler = srnn.systems.TwoBody()
    z0 = kepler.initial_states(1, generator())
    faster = z0.clone()
    faster[:, 4:] *= 1.1
    data = Trajectories.from_states(torch.stack((z0, faster)), dt=0.1)
    assert kepler(z0) < 0
    assert metrics.energy_drift(data, kepler)[1, 0] > 0


def test_euler_gains_energy_and_leapfrog_does_not() -> None:
    chain = SpringChain.random(8, generator())
    z0 = chain.initial_states(4, generator())
    drift = {}
    for method in ("euler", "leapfrog"):
        states = srnn.rollout(chain, method, z0, dt=0.1, steps=100)
        drift[method] = metrics.energy_drift(Trajectories.from_states(states, dt=0.1), chain)
    assert (drift["euler"].diff(dim=0) > 0).all()
    assert drift["leapfrog"].abs().max() < 0.1


def test_energy_drift_of_a_network() -> None:
    data = random(4, 3, 2).to(torch.float32)
    net = srnn.HNet(dim=2, hidden=8, generator=generator())
    drift = metrics.energy_drift(data, net, relative=False)
    assert drift.shape == (4, 3)
    assert not drift.requires_grad
    with pytest.raises(TypeError, match="to have one dtype"):
        metrics.energy_drift(random(4, 3, 2), net)
    with pytest.raises(ValueError, match="with dim=2; got"):
        metrics.energy_drift(random(4, 3, 1).to(torch.float32), net)
    onet = srnn.ONet(dim=2, hidden=8, generator=generator())
    with pytest.raises(ValueError, match="to give one energy a state, of shape"):
        metrics.energy_drift(data, onet)
    with pytest.raises(TypeError, match="Expected `hamiltonian` to be a system or a network"):
        metrics.energy_drift(data, "chain")


def test_valid_prediction_time() -> None:
    truth = Trajectories.from_states(torch.ones(5, 4, 2, dtype=torch.float64), dt=0.5)
    # Relative to the truth's size, the root of 2.
    error = torch.tensor(
        [
            [0.0, 0.0, 0.5, 0.0],
            [0.1, 0.5, 0.5, 0.1],
            [0.2, 0.0, 0.5, 0.2],
            [0.3, 0.0, 0.5, math.inf],
            [0.4, 0.0, 0.5, math.inf],
        ],
        dtype=torch.float64,
    )
    values = truth.values + error.nan_to_num(posinf=100.0)[..., None]
    guess = Trajectories.from_states(values, dt=0.5)
    # Never above; above once and then good again; above from the start; above in the fourth state.
    assert metrics.valid_prediction_time(guess, truth, 0.4001).tolist() == [2.0, 0.0, 0.0, 1.0]
    assert metrics.valid_prediction_time(guess, truth, 0.25).tolist() == [1.0, 0.0, 0.0, 1.0]
    assert metrics.valid_prediction_time(guess, truth, 1e3).tolist() == [2.0] * 4
    # In units of time, and relative to the size of the truth.
    scaled = Trajectories.from_states(10 * truth.values, dt=0.1)
    guess = Trajectories.from_states(10 * values, dt=0.1)
    expected = pytest.approx([0.2, 0.0, 0.0, 0.2])
    assert metrics.valid_prediction_time(guess, scaled, 0.25).tolist() == expected
    noisy = truth.with_noise(5.0, generator=generator())
    exact = Trajectories.from_states(truth.values, dt=0.5)
    assert (metrics.valid_prediction_time(exact, noisy, against="clean") == 2.0).all()
    assert (metrics.valid_prediction_time(exact, noisy) < 2.0).all()
    # A prediction that left the finite numbers is good until then.
    values = truth.values.clone()
    values[3:, 1], values[2:, 2] = math.nan, math.inf
    diverged = Trajectories.predicted(values, dt=0.5)
    assert metrics.valid_prediction_time(diverged, truth).tolist() == [2.0, 1.0, 0.5, 2.0]
    assert math.isnan(metrics.summary(diverged, truth).mean)
    rest = Trajectories.from_states(torch.zeros(5, 1, 2), dt=0.5)
    assert metrics.valid_prediction_time(rest, rest).tolist() == [2.0]
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="Expected `threshold` to be a positive finite"):
            metrics.valid_prediction_time(exact, truth, bad)


def test_angular_momentum() -> None:
    # One body at (1, 2) with momentum (3, 4), the other at (5, 6) with (7, 8).
    values = torch.tensor([1.0, 2, 5, 6, 3, 4, 7, 8], dtype=torch.float64).expand(2, 3, 8)
    data = Trajectories.from_states(values, dt=0.1)
    expected = (4 - 6) + (40 - 42)
    assert metrics.angular_momentum(data, bodies=2).tolist() == [[expected] * 3] * 2
    # In space.
    values = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 3], dtype=torch.float64)
    data = Trajectories.from_states(values.expand(2, 3, 12), dt=0.1)
    in_space = metrics.angular_momentum(data, bodies=2, dimensions=3)
    assert in_space.shape == (2, 3, 3)
    assert in_space[0, 0].tolist() == [3, 0, 2]
    text = "Expected 3 bodies in 2 dimensions to have 6 positions; the trajectories have 4."
    with pytest.raises(ValueError, match=re.escape(text)):
        metrics.angular_momentum(random(2, 2, 4), bodies=3)
    with pytest.raises(ValueError, match=r"Unknown `dimensions`: 4. Known: 2, 3"):
        metrics.angular_momentum(random(2, 2, 4), bodies=1, dimensions=4)
    with pytest.raises(ValueError, match="Expected `bodies` to be at least 1; got 0"):
        metrics.angular_momentum(random(2, 2, 4), bodies=0)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.position_error,
        metrics.summary,
        metrics.valid_prediction_time,
    ],
    ids=lambda f: f.__name__,
)
def test_what_cannot_be_compared(metric: object) -> None:
    truth = random(5, 3, 2)
    for guess, text in (
        (random(5, 4, 2), "got 4 of dim 2 and 3 of dim 2"),
        (random(5, 3, 1), "got 3 of dim 1 and 3 of dim 2"),
        (random(5, 3, 2, dt=0.2), "to have one dt; got 0.2 and 0.1"),
        (random(5, 3, 2, dt=0.1000002), "to have one dt; got 0.1000002 and 0.1."),
        (random(7, 3, 2), "got 7 and 5. Cut the longer one: prediction.first(5)."),
        (random(2, 3, 2), "got 2 and 5. Cut the longer one: truth.first(2)."),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            metric(guess, truth)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"Unknown `against`: 'dirty'. Known: 'noisy', 'clean'"):
        metric(truth, truth, against="dirty")  # type: ignore[operator]
    with pytest.raises(ValueError, match="does not know its values without noise"):
        metric(truth, truth, against="clean")  # type: ignore[operator]
    with pytest.raises(TypeError, match=r"`truth` to be srnn.Trajectories; got Tensor"):
        metric(truth, truth.values)  # type: ignore[operator]
    with pytest.raises(TypeError, match=r"`prediction` to be srnn.Trajectories; got Tensor"):
        metric(truth.values, truth)  # type: ignore[operator]


def test_equal_steps_that_rounding_parts_are_equal() -> None:
    truth, guess = random(5, 3, 2, dt=0.3), random(5, 3, 2, dt=0.1 + 0.2)
    assert truth.dt != guess.dt
    assert metrics.position_error(guess, truth).max() == 0


def test_a_step_kept_in_single_precision_is_the_same_step() -> None:
    truth, guess = random(5, 3, 2, dt=0.1), random(5, 3, 2, dt=float(np.float32(0.1)))
    assert truth.dt != guess.dt
    assert metrics.position_error(guess, truth).max() == 0


def test_energy_drift_of_a_learnt_h_in_the_datas_units() -> None:
    model = srnn.SRNN(dim=2, hidden=4)
    data = random(5, 3, 2)
    text = r"^Expected `trajectories` and `hamiltonian` to have one dtype; got torch.float64 and "
    with pytest.raises(TypeError, match=text):
        metrics.energy_drift(data, model.hamiltonian)
    assert metrics.energy_drift(data.to(torch.float32), model.hamiltonian).shape == (5, 3)
    with pytest.raises(
        TypeError, match=r"gives an energy, .*; got SRNN\. Pass model\.hamiltonian\.$"
    ):
        metrics.energy_drift(data, model)
    for wrong in (srnn.RNN(2, 4), srnn.LSTM(2, 4)):
        with pytest.raises(TypeError, match=r"gives an energy, with `dim`; got (RNN|LSTM)\.$"):
            metrics.energy_drift(data, wrong)


def test_a_summary_says_how_many_trajectories_diverged() -> None:
    truth = random(5, 3, 2)
    values = truth.values.clone()
    values[3:, 1] = math.inf
    row = metrics.summary(Trajectories.predicted(values, dt=0.1), truth)
    assert row.diverged == 1
    assert math.isinf(row.mean)
    assert math.isnan(row.std)
    assert str(row) == "inf ± nan (1 of 3 trajectories diverged)"
    assert "diverged=1" in repr(row)
    assert metrics.summary(truth, truth).diverged == 0
    assert str(metrics.summary(truth, truth)) == "0.00 ± 0.00"
