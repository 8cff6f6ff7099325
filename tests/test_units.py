"""The same answers in anyone's units: of every coordinate, of time, and in float32."""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from helpers import F64, seeded
from torch import Tensor

import srnn
from srnn.data.units import Units, moderating


class Case(NamedTuple):
    """Systems that know nothing of each other, observed in units of order one as one."""

    systems: tuple[Any, ...]
    dt: float
    quadratic_only: bool

    def draw(self, count: int, steps: int, seed: int) -> srnn.Trajectories:
        each = [x.simulate(count, steps, self.dt, seeded(seed), dtype=F64) for x in self.systems]
        q, p = (torch.cat([getattr(data, half) for data in each], dim=-1) for half in "qp")
        data = srnn.Trajectories(q=q, p=p, dt=self.dt)
        return data.with_noise(0.05, generator=seeded(seed + 1))


CASES = {
    "pendulum": Case((srnn.systems.Pendulum(),), 0.2, False),
    "two oscillators": Case(  # such as an angle and a length
        (srnn.systems.MassSpring(), srnn.systems.MassSpring(stiffness=4.0)), 0.2, False
    ),
    "masses from 1 to 1000": Case(
        (srnn.systems.SpringChain([1.0, 10.0, 100.0, 1000.0], [1.0, 2.0, 20.0, 100.0, 300.0]),),
        0.5,
        True,
    ),
}


class Answers(NamedTuple):
    """What a user is told, in units of order one again."""

    error: Tensor
    bars: Tensor
    noise: Tensor
    status: list[int]
    findings: tuple[str, ...]


def answers(case: Case, factor: Tensor, time: float, dtype: torch.dtype) -> Answers:
    """Fit, predict, optimise starts and diagnose in units of which `factor` are one before."""

    def converted(data: srnn.Trajectories) -> srnn.Trajectories:
        values = (data.values * factor).to(dtype)
        return srnn.Trajectories.from_states(values, dt=data.dt * time)

    truth = case.draw(8, 19, 10)
    training, test = converted(case.draw(40, 9, 0)), converted(truth)
    dim = training.dim
    net: Any = srnn.QuadraticH(dim, dtype=dtype)
    if not case.quadratic_only:
        net = srnn.HNet(dim, 16, quadratic=True, generator=seeded(3), dtype=dtype)
    model = srnn.SRNN(dim, hamiltonian=net, generator=seeded(4))
    model.fit(training, iso=True, epochs=5, progress=False)
    observed = test.first(10)
    found = srnn.iso.optimise_initial_state(model, observed)
    predicted = model.predict(observed, steps=19).values.to(F64) / factor
    assert model.noise is not None
    variances = found.covariance.double().diagonal(dim1=-2, dim2=-1)
    return Answers(
        (predicted - truth.clean).square().mean(dim=(0, 1)).sqrt(),
        variances.sqrt().median(dim=0).values / factor,
        torch.tensor(model.noise, dtype=F64) / factor,
        found.status.tolist(),
        model.diagnose(test, **({"fit_baseline": None} if case.quadratic_only else {})).findings,
    )


@pytest.mark.parametrize("name", CASES)
def test_what_is_learnt_does_not_depend_on_anyones_units(name: str) -> None:
    """q_i -> a_i q_i, p_i -> (c / a_i) p_i, t -> s t in float32, beside float64 in order one."""
    case = CASES[name]
    dim = sum(system.dim for system in case.systems)
    ours = answers(case, torch.ones(2 * dim, dtype=F64), 1.0, F64)
    # Numbers as far apart as a float32 has room for.
    for powers, action, time in (
        ([11.0, -9.0, 12.0, -12.0], 12, 1e9),
        *([([12.0], -12, 1e-9)] if dim == 1 else []),
    ):
        a = 10.0 ** torch.tensor(powers[:dim], dtype=F64)
        theirs = answers(case, torch.cat((a, 10.0**action / a)), time, torch.float32)
        for one, other in zip(ours[:3], theirs[:3], strict=True):
            torch.testing.assert_close(other, one, rtol=0.01, atol=0)
        assert theirs[3:] == ours[3:]


@pytest.mark.parametrize("modelled", [False, True])
@pytest.mark.parametrize("method", srnn.iso.METHODS)
def test_known_equations_in_si_units_give_the_same_starts_and_bars(
    method: str, modelled: bool
) -> None:
    """A mass of 1e-26 kg on a spring of 50 N/m, by 1e-10 m; beside its own units."""
    mass, stiffness, length = 1e-26, 50.0, 1e-10
    time = math.sqrt(mass / stiffness)
    factor = torch.tensor([length, mass * length / time], dtype=F64)
    own = srnn.systems.MassSpring().simulate(5, 9, 0.5, seeded(0), dtype=F64)
    own = own.with_noise(0.1, generator=seeded(1))
    spring: Any = srnn.systems.MassSpring(mass=mass, stiffness=stiffness)
    if modelled:
        spring = srnn.Model(spring)
    si = srnn.Trajectories.from_states((own.values * factor).float(), dt=0.5 * time)
    how: dict[str, Any] = {"method": method, "max_iterations": 50}
    one = srnn.iso.optimise_initial_state(srnn.systems.MassSpring(), own, **how)
    found = srnn.iso.optimise_initial_state(
        spring, si, weights=1 / factor.square(), sigma=float(one.sigma[0]), **how
    )
    assert found.status.tolist() == one.status.tolist() == [0] * 5
    torch.testing.assert_close(found.states / factor, one.states, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.loss.double(), one.loss, rtol=1e-3, atol=0)
    assert found.covariance.dtype == F64  # float32 has no room for (1e-24)^2
    expected = one.covariance[0] * factor[:, None] * factor
    torch.testing.assert_close(found.covariance[0], expected, rtol=1e-3, atol=0)


def test_a_hidden_coordinate_in_si_units_is_found_by_how_it_moves_the_others() -> None:
    mass, stiffness, length = 1e-26, 50.0, 1e-10
    time = math.sqrt(mass / stiffness)
    factor = torch.tensor([length, mass * length / time], dtype=F64)
    own = srnn.systems.MassSpring().simulate(5, 9, 0.5, seeded(0), dtype=F64)
    own = own.with_noise(0.01, generator=seeded(1))
    spring = srnn.systems.MassSpring(mass=mass, stiffness=stiffness)
    mask = torch.tensor([True, False]).expand_as(own.values)
    si = (own.values * factor).float()
    found = srnn.iso.optimise_initial_state(spring, si, dt=0.5 * time, mask=mask)
    one = srnn.iso.optimise_initial_state(srnn.systems.MassSpring(), own.values, dt=0.5, mask=mask)
    assert found.status.tolist() == one.status.tolist() == [0] * 5
    torch.testing.assert_close(found.states / factor, one.states, rtol=1e-3, atol=1e-3)


def test_one_that_diverges_leaves_the_errors_of_the_others() -> None:
    values = torch.full((3, 2, 2), 0.1)
    values[1:, 1] = 1e25
    zero = srnn.Trajectories.from_states(torch.zeros(3, 2, 2), dt=1.0)
    error = srnn.metrics.position_error(srnn.Trajectories.from_states(values, dt=1.0), zero)
    torch.testing.assert_close(error[:, 0], torch.full((3,), 0.1))
    assert error[:, 1].tolist() == pytest.approx([0.1, 1e25, 1e25])


def test_a_module_of_ones_own_is_trained_in_its_units_or_refused() -> None:
    """It says what its numbers mean, so that they are not scaled."""

    class Spring(torch.nn.Module):
        dim, separable = 1, True

        def __init__(self) -> None:
            super().__init__()
            self.stiffness = torch.nn.Parameter(torch.ones(()))

        def forward(self, z: Tensor) -> Tensor:
            return z[..., 1].square() / 2 + self.stiffness * z[..., 0].square() / 2

    values = srnn.systems.MassSpring().simulate(4, 5, 0.1, seeded(0)).values
    for size in (1e-25, 1e25):
        tiny = srnn.Trajectories.from_states(size * values, dt=0.1)
        with pytest.raises(ValueError, match="Expected the positions and the momenta of `data`"):
            srnn.SRNN(1, hamiltonian=Spring()).fit(tiny, progress=False)


def test_a_coordinate_without_noise_leaves_the_noise_of_the_others() -> None:
    case = CASES["two oscillators"]
    data = case.draw(40, 9, 0)
    values = data.values.clone()
    values[..., 1] = data.clean[..., 1]
    model = srnn.SRNN(2, hamiltonian=srnn.QuadraticH(2, dtype=F64), generator=seeded(0))
    model.fit(srnn.Trajectories.from_states(values, dt=0.2), iso=True, progress=False)
    assert model.noise is not None
    assert [model.noise[k] for k in (0, 2, 3)] == pytest.approx([0.05] * 3, rel=0.25)
    assert 0 < model.noise[1] < 0.01


def test_a_momentum_that_is_kept_has_the_unit_that_its_position_asks_for() -> None:
    """Of a free particle whose momentum rounding alone changes, beside one on a spring."""
    spring = srnn.systems.MassSpring().simulate(1, 50, 0.2, seeded(0), dtype=F64)
    time = 0.2 * torch.arange(51, dtype=F64)[:, None]
    rounding = 1e-17 * torch.randn(51, 1, generator=seeded(1), dtype=F64)
    for size in (1.0, 1e6):
        q = torch.stack((spring.q[..., 0], size * 0.1 * time), dim=-1)
        p = torch.stack((spring.p[..., 0], (0.1 + rounding) / size), dim=-1)
        units = Units.of(srnn.Trajectories(q=q, p=p, dt=0.2))
        encoded = units.encode(torch.cat((q, p), dim=-1)).square().mean(dim=(0, 1)).sqrt()
        first = float(encoded[0])
        assert encoded.tolist() == pytest.approx([first, 1, first, 0], rel=1e-6, abs=1e-9)


def test_lengths_are_right_whose_squares_overflow_or_vanish() -> None:
    for size in (1e-30, 1e30):
        one = srnn.Trajectories.from_states(torch.full((2, 1, 4), 3 * size), dt=1.0)
        other = srnn.Trajectories.from_states(torch.zeros(2, 1, 4), dt=1.0)
        error = srnn.metrics.position_error(one, other)
        torch.testing.assert_close(error, torch.full((2, 1), 3 * size * 2**0.5))
        assert srnn.metrics.valid_prediction_time(one, one).tolist() == [1.0]


def test_units_without_one_action_have_no_energy() -> None:
    units = Units(q=[1.0, 2.0], p=[1.0, 1.0], time=1.0, shift=torch.zeros(4))
    with pytest.raises(ValueError, match=r"products q \* p are all the same.*got \[1.0, 2.0\]"):
        _ = units.action
    with pytest.raises(ValueError, match=r"one unit `q`, or 2 of them; got \(3,\)"):
        Units(q=[1.0] * 3, p=1.0, time=1.0, shift=torch.zeros(4))


def test_a_coordinate_that_rests_has_the_ratio_of_the_others() -> None:
    moving = srnn.systems.MassSpring(mass=4.0).simulate(8, 50, 0.2, seeded(0), dtype=F64)
    still = torch.zeros_like(moving.values)
    q, p = (
        torch.stack((x, y), -1)
        for x, y in zip(moving.values.unbind(-1), still.unbind(-1), strict=True)
    )
    units = Units.of(srnn.Trajectories(q=q, p=p, dt=0.2))
    alone = Units.of(moving)
    assert units.q == pytest.approx(alone.q * 2)
    assert units.p == pytest.approx(alone.p * 2)
    assert units.time == pytest.approx(alone.time)


def test_moderate_sizes_stay_and_others_come_to_order_one_by_powers_of_two() -> None:
    sizes = torch.tensor([0.0, 1e-4, 7.0, 6e4, 1e-6, 1e20, torch.inf], dtype=F64)
    powers = moderating(sizes)
    assert powers[[0, 1, 2, 3, 6]].tolist() == [1.0] * 5
    assert ((sizes / powers)[4:6] - 1).abs().max() < 0.5
    assert powers.log2().frac().eq(0).all()


def test_a_walled_motion_has_one_unit_for_all_directions() -> None:
    values = torch.randn(9, 20, 4, generator=seeded(0), dtype=F64) * torch.tensor([1.0, 5, 2, 3])
    data = srnn.Trajectories.from_states(values + 1, dt=0.1)
    units = Units.of(data, isotropic=True)
    assert units.q == pytest.approx(units.q[:1] * 2)
    assert units.p == pytest.approx(units.p[:1] * 2)
    assert units.shift[2:].tolist() == [0, 0]
    assert Units.of(data).q[1] > 3 * Units.of(data).q[0] / 2


def test_without_known_noise_a_models_units_weigh_the_observations() -> None:
    spring = srnn.systems.MassSpring(stiffness=100.0)
    data = spring.simulate(20, 9, 0.02, seeded(0), dtype=F64).with_noise(0.1, generator=seeded(1))
    model = srnn.SRNN(1, 8, dtype=F64, generator=seeded(2))
    model.fit(data, epochs=2, progress=False)
    assert model.noise is None
    weights = model.scale.factor.square().reciprocal()
    found = srnn.iso.optimise_initial_state(model, data, weights=weights)
    torch.testing.assert_close(model.predict(data, steps=1, iso=True).values[0], found.states)


@pytest.mark.parametrize("dim", [1, 3])
def test_a_file_with_one_unit_and_one_noise_for_all_is_read(tmp_path: Path, dim: int) -> None:
    model = srnn.SRNN(dim, 4, generator=seeded(0))
    model.scale = Units(q=3.0, p=2.0, time=4.0, shift=torch.ones(2 * dim))
    model.noise = (0.5, 0.25)
    assert model.noise == (0.5,) * dim + (0.25,) * dim
    model.save(tmp_path / "new")
    tensors, header = srnn.checkpoint.read(tmp_path / "new", srnn.model.FORMAT)
    header |= {"scale": {"q": 3.0, "p": 2.0, "time": 4.0}, "noise": [0.5, 0.25]}
    srnn.checkpoint.write(tmp_path / "old", tensors, header)
    for name in ("new", "old"):
        loaded = srnn.load(tmp_path / name)
        assert loaded.noise == model.noise
        assert loaded.scale.factor.tolist() == [3.0] * dim + [2.0] * dim
    for wrong, text in (
        (
            {"scale": {"q": [3.0] * (dim + 1), "p": 2.0, "time": 4.0}},
            r"one unit `q`, or \d of them",
        ),
        ({"noise": [0.5] * 5}, rf"`noise` to be {2 * dim} numbers, or a pair, of q and of p"),
    ):
        srnn.checkpoint.write(tmp_path / "wrong", tensors, header | wrong)
        with pytest.raises(srnn.errors.CheckpointError, match=text):
            srnn.load(tmp_path / "wrong")


def test_velocities_are_no_momenta_where_masses_differ_and_masses_make_them_some() -> None:
    masses = [1.0, 10.0, 100.0]
    chain = srnn.systems.SpringChain(masses, [3.0, 20.0, 40.0, 100.0])
    clean = chain.simulate(60, 14, 0.1, seeded(0), dtype=F64)
    velocity = clean.p / torch.tensor(masses)
    findings = {}
    for name, given in (("masses", masses), ("none", None)):
        noise = 0.005 * torch.randn(2, *clean.q.shape, generator=seeded(1), dtype=F64)
        q, v = clean.q + noise[0], velocity + noise[1]
        data = srnn.Trajectories(q=q, p=v, dt=0.1, masses=given)
        model = srnn.SRNN(3, hamiltonian=srnn.QuadraticH(3, dtype=F64), generator=seeded(2))
        model.fit(data.select(slice(40)), iso=True, progress=False)
        findings[name] = model.diagnose(data.select(slice(40, 60)), fit_baseline=None)
    assert "velocities" not in findings["masses"].findings
    assert findings["masses"].velocity_over_p.tolist() == pytest.approx([1, 0.1, 0.01], rel=0.05)
    assert {"correlated", "velocities"} <= set(findings["none"].findings)
    assert "srnn.Trajectories(..., masses=)" in findings["none"].verdict


def test_masses_make_momenta_of_velocities_and_of_their_rates() -> None:
    one = torch.ones(3, 1, 2)
    data = srnn.Trajectories(q=one, p=one, dq=one, dp=one, dt=0.1, masses=[2.0, 3.0])
    assert data.values[0, 0].tolist() == data.derivatives[0, 0].tolist() == [1, 1, 2, 3]
    assert srnn.Trajectories(q=one, p=one, dt=0.1, masses=5).p.unique().tolist() == [5]
    for masses, text in (
        ([1.0, 2.0, 3.0], r"`masses` to be one for all, or 2 of them; got 3"),
        ([1.0, -2.0], r"`masses` to be a positive finite number; got -2.0"),
    ):
        with pytest.raises(ValueError, match=text):
            srnn.Trajectories(q=one, p=one, dt=0.1, masses=masses)


def test_a_diagnosis_tells_the_noise_of_each_coordinate_and_none_drowns_another() -> None:
    case = CASES["two oscillators"]
    plain = case.draw(30, 11, 0)
    factor = torch.tensor([1.0, 1e4, 1.0, 1e-4], dtype=F64)
    data = srnn.Trajectories.from_states(plain.values * factor, dt=plain.dt)
    model = srnn.SRNN(2, hamiltonian=srnn.QuadraticH(2, dtype=F64), generator=seeded(0))
    model.fit(data, iso=True, progress=False)
    found = model.diagnose(data, fit_baseline=None)
    assert (found.noise / factor).tolist() == pytest.approx([0.05] * 4, rel=0.2)
    assert re.search(r"noise +sigma_q 0\.0\d+ to \d+ by coordinate, sigma_p", str(found))
    one = srnn.SRNN(2, hamiltonian=srnn.QuadraticH(2, dtype=F64), generator=seeded(0))
    one.fit(plain, iso=True, progress=False)
    same = one.diagnose(plain, fit_baseline=None)
    for name in ("model", "zero", "mean", "repeat"):  # in the geometric mean of the units
        ours, theirs = (getattr(x.forecast, name) for x in (same, found))
        torch.testing.assert_close(theirs / 100, ours, rtol=0.01, atol=0)
    assert found.forecast.floor == pytest.approx(100 * same.forecast.floor, rel=0.01)
