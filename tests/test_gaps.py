"""Data with gaps: what was not observed does not count, in training, starts and errors."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import srnn
from srnn.data.residual import interpolated, mean_loss
from srnn.data.trajectories import Trajectories
from srnn.data.units import Units, inverse_mass
from srnn.motion.rollout import rollout
from srnn.recipes import Recipe
from srnn.starts import Starts

LEAPFROG = srnn.integrators.get("leapfrog")


def springs(
    count: int = 60, states: int = 12, noise: float = 0.0, dtype: str = "float64"
) -> Trajectories:
    g = torch.Generator().manual_seed(0)
    spring = srnn.systems.MassSpring(mass=2.0, stiffness=3.0)
    data = spring.simulate(count, steps=states - 1, dt=0.1, generator=g, dtype=dtype)
    return data.with_noise(noise, generator=g) if noise else data


def pierced(
    data: Trajectories, share: float = 1 / 3, *, whole_starts: bool = False
) -> Trajectories:
    """Leave out numbers at random."""
    g = torch.Generator().manual_seed(7)
    seen = torch.rand(data.values.shape, generator=g) >= share
    if whole_starts:
        seen[0] = True
    return Trajectories.from_states(
        data.values, dt=data.dt, clean=data.clean, derivatives=data.derivatives, observed=seen
    )


def quiet(model: srnn.Model, data: Trajectories, **how: Any) -> srnn.History:
    return model.fit(data, progress=False, **how)


# First guesses, losses and units.


@given(st.lists(st.one_of(st.none(), st.floats(-10, 10)), min_size=1, max_size=12))
def test_gaps_are_filled_by_straight_lines(numbers: list[float | None]) -> None:
    values = np.array([math.nan if x is None else x for x in numbers])
    found = interpolated(torch.from_numpy(values)[:, None, None])[:, 0, 0].numpy()
    seen = ~np.isnan(values)
    if not seen.any():
        assert (found == 0).all()
        return
    time = np.arange(len(values))
    np.testing.assert_allclose(found, np.interp(time, time[seen], values[seen]), atol=1e-12)


def test_a_coordinate_that_was_never_seen_begins_at_the_mean_of_the_others() -> None:
    values = torch.tensor([[[1.0], [math.nan]], [[3.0], [math.nan]]])
    assert interpolated(values)[:, 1, 0].tolist() == [2.0, 2.0]
    whole = torch.ones(3, 2, 2)
    assert interpolated(whole) is whole


@pytest.mark.parametrize("trim", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_loss_is_over_what_was_observed(trim: float, weighted: bool) -> None:
    g = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 5, 4, 2, generator=g, dtype=torch.float64)
    seen = torch.rand(5, 4, 2, generator=g) > 0.4
    weights = torch.tensor([2.0, 0.5]).double() if weighted else torch.ones(2).double()
    cost = (prediction - target).square() * weights
    if trim:
        each = sorted(float(cost[:, k][seen[:, k]].mean()) for k in range(4))
        expected = sum(each[:2]) / 2
    else:
        expected = float(cost[seen].mean())
    holes = torch.where(seen, target, math.nan)
    prediction.requires_grad_()
    loss = mean_loss(prediction, holes, weights if weighted else None, trim, seen=seen)
    assert loss.item() == pytest.approx(expected)
    (slope,) = torch.autograd.grad(loss, prediction)
    assert torch.isfinite(slope).all()
    assert not slope[~seen].any()


def test_units_are_those_of_complete_data_but_for_chance() -> None:
    data = springs(400, noise=0.01)
    whole, some = Units.of(data), Units.of(pierced(data))
    for name in ("q", "p", "time"):
        assert getattr(some, name) == pytest.approx(getattr(whole, name), rel=0.05), name
    assert inverse_mass(pierced(data)) == pytest.approx(inverse_mass(data), rel=0.02)
    exact = springs(20)
    assert inverse_mass(pierced(exact, 0.2)) == pytest.approx(inverse_mass(exact), rel=0.05)


# Starts.


def test_starts_are_those_of_the_mask() -> None:
    data = pierced(springs(noise=0.05))
    assert data.observed is not None
    spring = srnn.systems.MassSpring(mass=2.0, stiffness=3.0)
    found = srnn.iso.optimise_initial_state(spring, data)
    filled = data.values.nan_to_num(7.0)
    other = srnn.iso.optimise_initial_state(spring, filled, dt=0.1, mask=data.observed)
    assert torch.equal(found.states, other.states)
    assert torch.equal(found.covariance, other.covariance)
    # A start by fewer numbers is less sure.
    whole = srnn.iso.optimise_initial_state(spring, springs(noise=0.05))
    assert (found.covariance.diagonal(dim1=1, dim2=2) / found.sigma[:, None] ** 2).mean() > (
        whole.covariance.diagonal(dim1=1, dim2=2) / whole.sigma[:, None] ** 2
    ).mean()


def test_noise_is_estimated_from_what_was_observed() -> None:
    g = torch.Generator().manual_seed(0)
    data = springs(600).with_noise(0.1, on="q", generator=g).with_noise(0.2, on="p", generator=g)
    spring = srnn.systems.MassSpring(mass=2.0, stiffness=3.0)
    starts = Starts(spring, LEAPFROG, pierced(data).values, 0.1, Recipe(iso="gauss-newton"))
    starts.settle()
    assert starts.variances().sqrt().tolist() == pytest.approx([0.1, 0.2], rel=0.05)


def test_the_curvature_of_the_loss_is_of_what_was_observed() -> None:
    data = pierced(springs(3))
    spring = srnn.systems.MassSpring(mass=2.0, stiffness=3.0)
    start = springs(3).values[0]
    some = srnn.convexity.iso_hessian(spring, "leapfrog", start, data)
    whole = srnn.convexity.iso_hessian(spring, "leapfrog", start, springs(3))
    assert (some.gauss_newton.diagonal(dim1=1, dim2=2) < whole.gauss_newton.diagonal(
        dim1=1, dim2=2)).all()  # fmt: skip


# Fits.


@pytest.mark.parametrize("iso", [True, False])
def test_exact_data_with_gaps_give_the_exact_system(iso: bool) -> None:
    data = pierced(springs(), whole_starts=not iso)
    model = srnn.Model(srnn.QuadraticH(1, dtype=torch.float64))
    quiet(model, data, iso=iso, validation=0.0, epochs=1, warm_start="rollout", learning_rate=1e-9)
    true = springs(states=100)
    first = true.first(1)
    error = srnn.metrics.position_error(model.predict(first, steps=99, iso=False), true)
    assert error.max() < 1e-4 * true.q.abs().max()


def test_what_stands_in_a_gap_does_not_matter() -> None:
    data = pierced(springs(noise=0.05))
    assert data.observed is not None
    fits = []
    for stand_in in (0.0, 1e6):
        other = Trajectories.from_states(
            data.values.nan_to_num(stand_in), dt=0.1, observed=data.observed
        )
        model = srnn.SRNN(1, hidden=8, dtype="float64", generator=torch.Generator().manual_seed(0))
        quiet(model, other, iso=True, epochs=3)
        fits.append(model)
    for one, two in zip(fits[0].net.parameters(), fits[1].net.parameters(), strict=True):
        assert torch.equal(one, two)
    assert fits[0].noise == fits[1].noise


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_third_of_the_points_missing_costs_little(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    system = srnn.systems.HenonHeiles()
    train, test = (
        system.simulate(n, steps=steps, dt=0.2, generator=g).with_noise(0.05, generator=g)
        for n, steps in ((150, 12), (64, 40))
    )
    errors = []
    for data in (train, pierced(train)):
        model = srnn.SRNN(2, hidden=32, generator=torch.Generator().manual_seed(0))
        quiet(model, data, iso=True, epochs=40)
        prediction = model.predict(test.first(10), steps=40)
        errors.append(float(srnn.metrics.position_error(prediction, test, "clean").mean()))
    assert errors[1] < 1.3 * errors[0]


@pytest.mark.parametrize("kind", ["srnn", "rnn", "hnn", "lengths"])
def test_every_kind_of_fit_takes_gaps(kind: str) -> None:
    g = torch.Generator().manual_seed(0)
    if kind == "hnn":
        spring = srnn.systems.MassSpring()
        whole = spring.simulate(40, steps=5, dt=0.1, derivatives=True, generator=g)
        model, how = srnn.HNN(1, hidden=8, generator=g), {}
        data = pierced(whole)
    elif kind == "lengths":
        parts = [springs(5, n, noise=0.05, dtype="float32") for n in (6, 9, 12)]
        data, how = Trajectories.concatenate(parts), {"iso": True}
        model = srnn.SRNN(1, hidden=8, generator=g)
    else:
        data, how = pierced(springs(noise=0.05, dtype="float32"), whole_starts=True), {}
        model = (srnn.SRNN if kind == "srnn" else srnn.RNN)(1, hidden=8, generator=g)
        if kind == "rnn":
            model = srnn.Model(model, None)
    history = quiet(model, data, epochs=4, validation=0.2, **how)
    assert all(map(math.isfinite, history.train_loss + history.validation_loss))
    assert all(torch.isfinite(w).all() for w in model.net.parameters())


def test_windows_that_begin_with_a_gap_are_told() -> None:
    data = pierced(springs(20, noise=0.05, dtype="float32"))
    model = srnn.SRNN(1, hidden=8, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"^\d+ of \d+ windows begin with a gap and are left out"):
        quiet(model, data, window=4, epochs=1, validation=0.0)
    late = Trajectories.from_states(
        data.values.nan_to_num(1.0), dt=0.1, observed=torch.arange(12)[:, None, None].expand(
            12, 20, 2) > 0,
    )  # fmt: skip
    before = [w.clone() for w in model.net.parameters()]
    with pytest.raises(ValueError, match="None of the 20 windows begins with a whole state, from"):
        quiet(model, late, epochs=1, validation=0.0)
    assert all(map(torch.equal, before, model.net.parameters()))


def test_a_run_with_gaps_goes_on_bit_for_bit(tmp_path: Path) -> None:
    data = pierced(springs(30, noise=0.05, dtype="float32"))

    def model() -> srnn.SRNN:
        return srnn.SRNN(1, hidden=8, generator=torch.Generator().manual_seed(0))

    whole, parts = model(), model()
    quiet(whole, data, iso=True, epochs=6)
    file = tmp_path / "run"
    quiet(parts, data, iso=True, epochs=6, max_seconds=1e-9, checkpoint=file)
    again = model()
    quiet(again, data, iso=True, epochs=6, checkpoint=file)
    for one, two in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, two)
    # Other gaps are another run.
    others = Trajectories.from_states(data.values.nan_to_num(0.0), dt=0.1)
    with pytest.raises(srnn.errors.CheckpointError, match="another training run"):
        quiet(model(), others, iso=True, epochs=6, checkpoint=file)


# What is said of a prediction, and what is refused.


def test_errors_are_of_the_states_whose_positions_were_observed() -> None:
    data = pierced(springs(noise=0.05))
    assert data.observed is not None
    model = srnn.SRNN(1, hamiltonian=srnn.systems.MassSpring(mass=2.0, stiffness=3.0))
    prediction = model.predict(data, steps=data.steps, iso=True)
    error = srnn.metrics.position_error(prediction, data)
    known = data.observed[..., 0]
    assert torch.equal(torch.isfinite(error), known)
    row = srnn.metrics.summary(prediction, data)
    each = [float(error[:, k][known[:, k]].mean()) for k in range(len(data))]
    assert row.per_trajectory.tolist() == pytest.approx(each)
    assert row.mean == pytest.approx(sum(each) / len(each))
    assert row.diverged == 0
    assert srnn.metrics.summary(prediction, data, "clean").diverged == 0


def test_what_cannot_be_done_with_gaps_is_refused_by_name() -> None:
    data = pierced(springs(8, noise=0.05))
    model = srnn.SRNN(1, hamiltonian=srnn.systems.MassSpring())
    with pytest.raises(ValueError, match="first observed state, which is not whole: pass iso=True"):
        model.predict(data, steps=3, iso=False)
    prediction = model.predict(data, steps=data.steps, iso=True)
    with pytest.raises(ValueError, match="The truth has gaps, through which no prediction"):
        srnn.metrics.valid_prediction_time(prediction, data)
    with pytest.raises(ValueError, match="The diagnosis needs trajectories without gaps so far"):
        model.diagnose(data)
    learnt = srnn.SRNN(1, hidden=4, dtype="float64")
    with pytest.raises(ValueError, match=r"^start_noise=True needs trajectories without gaps: ch"):
        quiet(learnt, data, start_noise=True)
    ball = srnn.systems.Billiard()
    walls = srnn.rebound.KnownWalls(ball.room)
    bouncing = srnn.SRNN(2, hidden=4, rebound=walls)
    bounces = pierced(ball.simulate(8, steps=5, dt=0.1))
    with pytest.raises(ValueError, match=r"^A model with walls needs trajectories without gaps"):
        quiet(bouncing, bounces)


def test_a_rollout_is_not_touched_by_gaps_of_its_target() -> None:
    spring = srnn.systems.MassSpring(mass=2.0, stiffness=3.0)
    data = pierced(springs(), whole_starts=True)
    loss = srnn.losses.trajectory_loss(spring, LEAPFROG, data.values, 0.1, seen=data.observed)
    states = rollout(spring, LEAPFROG, data.values[0], dt=0.1, steps=data.steps)
    assert data.observed is not None
    expected = (states - data.values)[data.observed].square().mean()
    first = data.observed.clone()
    assert float(loss) == pytest.approx(float(expected), rel=0.2)
    assert float(loss) == pytest.approx(
        float((states - data.values)[1:][first[1:]].square().mean()), rel=1e-12
    )
