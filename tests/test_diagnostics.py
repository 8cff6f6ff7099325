"""What a diagnosis measures, against closed forms, and which findings it comes to."""

import dataclasses
import math

import pytest
import torch
from helpers import F64, randn, seeded
from scipy.stats import chi

import srnn
from srnn.errors import TrainingDiverged
from srnn.results.diagnostics import FittedResiduals, Statistic, diagnose

SIGMA = 0.2


@pytest.fixture(scope="module")
def chain():
    return srnn.systems.SpringChain.random(masses=5, generator=seeded(7))


@pytest.fixture(scope="module")
def clean(chain):
    return chain.simulate(100, steps=9, dt=0.1, generator=seeded(1), dtype=F64)


@pytest.fixture(scope="module")
def data(clean):
    return clean.with_noise(SIGMA, generator=seeded(2))


@pytest.fixture(scope="module")
def exact(chain):
    """A model without error: leapfrog with this H is the chain's motion at dt = 0.1."""
    return srnn.Model(chain.shadow_hamiltonian(0.1))


@pytest.fixture(scope="module")
def found(exact, data):
    return diagnose(exact, data, generator=seeded(3))


# -- residuals of a fit ---------------------------------------------------------------------------


def dense(jacobians, variances, kernels):
    """Mean and variance of r'Ar by full matrices, A one kernel over time for q and one for p."""
    time, batch, two_d, _ = jacobians.shape
    one, none = torch.ones(two_d // 2, dtype=F64), torch.zeros(two_d // 2, dtype=F64)
    halves = (torch.diag(torch.cat((one, none))), torch.diag(torch.cat((none, one))))
    noise = variances[0] * halves[0] + variances[1] * halves[1]
    form = sum(torch.kron(k, on) for k, on in zip(kernels, halves, strict=True))
    covariance = torch.kron(torch.eye(time, dtype=F64), noise)
    mean, variance = 0.0, 0.0
    for b in range(batch):
        stacked = jacobians[:, b].flatten(0, 1)
        left = torch.eye(time * two_d, dtype=F64) - stacked @ torch.linalg.pinv(stacked)
        moved = left @ covariance @ left @ form
        mean += float(moved.trace())
        variance += 2 * float((moved @ moved).trace())
    return mean, variance


def random_fit(seed=0, time=5, batch=3, two_d=4):
    """Least-squares residuals of unequal noise, for Jacobians that are nobody's flow."""
    jacobians = randn(seed, time, batch, two_d, two_d)
    noise = randn(seed + 1, time, batch, two_d)
    noise[..., two_d // 2 :] *= 3
    stacked = jacobians.transpose(0, 1).flatten(1, 2)
    flat = noise.transpose(0, 1).flatten(1)[..., None]
    left = flat - stacked @ torch.linalg.lstsq(stacked, flat).solution
    return left[..., 0].unflatten(1, (time, two_d)).transpose(0, 1), jacobians


@pytest.mark.parametrize("half", [0, 1])
def test_expected_values_and_errors_are_those_of_full_matrices(half):
    residuals, jacobians = random_fit()
    fitted = FittedResiduals(residuals, jacobians)
    v = fitted.variances()
    eye, none = torch.eye(5, dtype=F64), torch.zeros(5, 5, dtype=F64)
    lag = torch.diag(torch.full((4,), 0.5, dtype=F64), 1)
    first, last = none.clone(), none.clone()
    first[0, 0], last[4, 4] = 1, 1

    def on(kernel, which=half):
        return (kernel, none) if which == 0 else (none, kernel)

    def mean(kernels, variances=v):
        return dense(jacobians, variances, kernels)[0]

    # How the variances follow from the squares of both halves.
    units = torch.eye(2, dtype=F64)
    shares = torch.tensor([[mean(on(eye, a), u) for u in units] for a in (0, 1)], dtype=F64)
    r = residuals[..., 2 * half : 2 * half + 2]
    for statistic, above, below in (
        (fitted.autocorrelation(half), lag + lag.mT, eye),
        (fitted.growth(half), last, first),
    ):
        rho = mean(on(above)) / mean(on(below))
        form = above - rho * below
        weights = torch.linalg.solve(
            shares.mT, torch.tensor([mean(on(form), u) for u in units], dtype=F64)
        )
        whole = [k - w * eye for k, w in zip(on(form), weights, strict=True)]
        centre, variance = dense(jacobians, v, whole)
        assert centre == pytest.approx(0.0, abs=1e-9)
        error = variance**0.5 / mean(on(below))
        squares = [float(torch.einsum("st,sbi,tbi->", k, r, r)) for k in (above, below)]
        value = squares[0] / squares[1]
        if below is first:  # growth is the logarithm of the ratio of the two ratios
            value, error, rho = math.log(value / rho), error / rho, 0.0
        assert statistic.value == pytest.approx(value, rel=1e-9)
        assert statistic.expected == pytest.approx(rho, rel=1e-9)
        assert statistic.error == pytest.approx(error, rel=1e-9)


def test_variances_solve_for_the_means_of_both_halves():
    residuals, jacobians = random_fit()
    variances = FittedResiduals(residuals, jacobians).variances()
    eye, none = torch.eye(5, dtype=F64), torch.zeros(5, 5, dtype=F64)
    for kernels, half in (((eye, none), residuals[..., :2]), ((none, eye), residuals[..., 2:])):
        mean, _ = dense(jacobians, variances, kernels)
        assert float(half.square().sum()) == pytest.approx(mean, rel=1e-9)


def test_statistics_are_calibrated_on_white_noise(exact, data):
    """Over many draws of the noise, z has mean 0 and standard deviation 1, and v no bias."""
    _, jacobians = srnn.flow_map.flow_map(exact.net, "leapfrog", data.values[0], dt=0.1, steps=9)
    jacobians = jacobians[:, :4]
    stacked = jacobians.transpose(0, 1).flatten(1, 2)
    basis = torch.linalg.qr(stacked).Q
    draws, variances = [], []
    for seed in range(150):
        noise = randn(seed, 10, 4, 10)
        noise[..., 5:] *= 0.2
        flat = noise.transpose(0, 1).flatten(1)[..., None]
        left = (flat - basis @ (basis.mT @ flat))[..., 0].unflatten(1, (10, 10)).transpose(0, 1)
        fitted = FittedResiduals(left, jacobians)
        draws.append([s.z for h in (0, 1) for s in (fitted.autocorrelation(h), fitted.growth(h))])
        variances.append(fitted.variances())
    z = torch.tensor(draws, dtype=F64)
    # Standard errors over 150 draws: 0.08 of a mean, 0.06 of a deviation.
    assert z.mean(dim=0).abs().max() < 0.25
    assert (z.std(dim=0) - 1).abs().max() < 0.18
    mean, error = (f(torch.stack(variances)) for f in (lambda v: v.mean(0), lambda v: v.std(0)))
    assert ((mean - torch.tensor([1.0, 0.04])).abs() < 4 * error / 150**0.5).all()


def test_ignoring_the_fit_would_be_seen(found):
    """The expected autocorrelation of p is far from that of noise that nothing was fitted to, 0."""
    statistic = found.autocorrelation_p
    assert abs(statistic.z) < 3
    assert statistic.value < -8 * statistic.error


def test_a_direction_without_a_trace_costs_no_degree_of_freedom():
    jacobians = torch.eye(4, dtype=F64).repeat(6, 2, 1, 1)
    jacobians[:, 1, :, 3] = 0
    fitted = FittedResiduals(randn(0, 6, 2, 4), jacobians)
    assert fitted.rank.tolist() == [4, 3]
    assert fitted.degrees_of_freedom == 6 * 2 * 4 - 7
    assert fitted.condition[0] == pytest.approx(1.0)
    assert fitted.condition[1] > 1e30


def test_nothing_left_over_has_no_statistics():
    fitted = FittedResiduals(torch.zeros(3, 2, 2), torch.eye(2).expand(3, 2, 2, 2))
    for statistic in (fitted.autocorrelation(0), fitted.growth(1)):
        assert math.isnan(statistic.value)
        assert math.isnan(statistic.z)
        assert math.isnan(statistic.p_value)


def test_a_statistic_tells_how_unlikely_it_is():
    statistic = Statistic(value=1.0, expected=0.0, error=0.5)
    assert statistic.z == 2
    assert statistic.p_value == pytest.approx(0.0455, abs=1e-4)


def test_residuals_of_other_shapes_are_refused():
    eye = torch.eye(2)
    with pytest.raises(ValueError, match=r"at least two states; got 1\."):
        FittedResiduals(torch.zeros(1, 3, 2), eye.expand(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"shape \(4, 3, 2, 2\); got \(4, 1, 2, 2\)"):
        FittedResiduals(torch.zeros(4, 3, 2), eye.expand(4, 1, 2, 2))


# -- oracles --------------------------------------------------------------------------------------


def test_an_exact_model_leaves_white_noise_of_the_right_size(found):
    assert "white" in found.findings
    assert not {"correlated", "growing", "worse-than-naive"} & set(found.findings)
    assert abs(found.sigma - SIGMA) < 3 * found.sigma_error
    assert found.sigma_error == pytest.approx(SIGMA / (2 * 9 * 10 * 100) ** 0.5, rel=0.05)
    assert found.degrees_of_freedom == 9 * 10 * 100
    half = found.sigma_error * 2**0.5
    assert abs(found.sigma_q - SIGMA) < 4 * half
    assert abs(found.sigma_p - SIGMA) < 4 * half
    assert found.clean_error == pytest.approx(SIGMA / 10**0.5, rel=0.05)
    assert found.clean_expected == pytest.approx(found.clean_error, rel=0.05)


def test_without_the_degrees_of_freedom_sigma_would_be_too_small(found):
    plain = float(found.residuals.square().mean().sqrt())
    assert SIGMA - plain > 5 * found.sigma_error
    both = srnn.likelihood.estimated_sigma(found.residuals, 10 * 100)
    assert found.sigma == pytest.approx(float(both), rel=0.01)


def test_noise_of_q_alone_is_found_in_q_alone(exact, clean):
    noisy = clean.with_noise(SIGMA, on="q", generator=seeded(4))
    found = diagnose(exact, noisy, generator=seeded(3))
    assert found.sigma_q == pytest.approx(SIGMA, rel=0.05)
    assert found.sigma_p < 0.1 * SIGMA
    assert "white" in found.findings
    # The residuals of p are not small: the fit carries the noise of q into them.
    assert found.residual_size[:, 1].mean() > 0.1 * SIGMA


def test_correlated_noise_is_found(exact, clean):
    noisy = clean.with_noise(SIGMA, correlation=0.5, generator=seeded(2))
    found = diagnose(exact, noisy, generator=seeded(3))
    assert "correlated" in found.findings
    assert "white" not in found.findings
    assert found.autocorrelation_q.z > 10
    assert "or the noise is correlated. Compare the noise found here" in found.verdict
    assert f"(q {found.sigma_q:.3g}, p {found.sigma_p:.3g}) with what the" in found.verdict
    assert abs(found.sigma_q / SIGMA - 1) < 0.1  # as it tells: no larger, so not the model


def test_the_shadow_is_tied_to_its_step_and_the_true_h_is_not(chain, exact, data, found):
    assert "tied-to-step" in found.findings
    assert "coarse-step" not in found.findings
    assert found.half_step_ratio > 1
    true = diagnose(srnn.Model(chain), data, generator=seeded(3))
    assert "coarse-step" in true.findings
    assert true.half_step_ratio < 1
    longer = chain.simulate(20, steps=59, dt=0.1, generator=seeded(5), dtype=F64)
    longer = longer.with_noise(SIGMA, generator=seeded(6))
    ratios = [diagnose(m, longer).half_step_ratio for m in (exact, srnn.Model(chain))]
    assert ratios[0] > 1.03
    assert ratios[1] < 0.97


def test_half_the_step_of_a_second_order_method_leaves_a_quarter_of_its_error(chain, clean):
    found = diagnose(srnn.Model(chain), clean, generator=seeded(3))
    assert found.half_step_ratio == pytest.approx(0.25, abs=0.02)
    assert found.half_step_p < 1e-6
    assert "correlated" in found.findings


def test_half_the_step_of_what_does_not_depend_on_it_is_no_finding(chain, data):
    found = diagnose(srnn.Model(chain, "yoshida8"), data, generator=seeded(3))
    assert found.half_step_ratio == pytest.approx(1.0, abs=1e-6)
    assert not {"tied-to-step", "coarse-step"} & set(found.findings)


def test_several_steps_from_one_state_to_the_next(chain):
    """Leapfrog with this H is the chain's motion in steps of dt / 4 = 0.1, and in no others."""
    clean = chain.simulate(60, steps=9, dt=0.4, generator=seeded(1), dtype=F64)
    data = clean.with_noise(SIGMA, generator=seeded(2))
    model = srnn.Model(chain.shadow_hamiltonian(0.1))
    one = diagnose(model, data, substeps=1)
    assert "correlated" in one.findings
    assert "white" not in one.findings
    four = diagnose(model, data, substeps=4)
    assert "white" in four.findings
    assert four.substeps == 4
    assert abs(four.sigma - SIGMA) < 3 * four.sigma_error
    assert "10 states each, 4 steps from one to the next" in str(four)
    # Twice as many are half the step.
    halved = srnn.iso.optimise_initial_state(model, data, dt=0.05)
    whole = srnn.iso.optimise_initial_state(model, data, dt=0.1)
    ratio = float((halved.loss.sum() / whole.loss.sum()).sqrt())
    assert four.half_step_ratio == pytest.approx(ratio, rel=1e-6)
    assert ratio > 1
    # Each part of the report goes by the same steps.
    states = srnn.rollout(model.net, "leapfrog", whole.states, dt=0.1, steps=400)[::4]
    torch.testing.assert_close(four.residuals, states[:10] - data.values, rtol=0, atol=1e-6)
    energy = model.net(states)
    exact = four.energy_drift * (energy[1] - energy[0]).norm() / four.energy_drift[1].norm()
    torch.testing.assert_close(exact, energy - energy[0], rtol=1e-3, atol=1e-6)
    start = srnn.iso.optimise_initial_state(model, data.first(7), dt=0.1).states
    ahead = srnn.rollout(model.net, "leapfrog", start, dt=0.4, steps=9, substeps=4)
    error = (ahead[7:, :, :5] - data.q[7:]).norm(dim=-1).mean(dim=0)
    torch.testing.assert_close(four.forecast.model, error, rtol=1e-6, atol=1e-9)
    _, jacobians = srnn.flow_map.flow_map(
        model.net, "leapfrog", whole.states, dt=0.4, steps=9, substeps=4
    )
    condition = torch.linalg.cond((jacobians.mT @ jacobians).sum(dim=0))
    assert four.condition_number == pytest.approx(float(condition.median()), rel=1e-6)


def test_a_model_is_examined_in_the_steps_that_it_was_fitted_with(chain):
    clean = chain.simulate(60, steps=9, dt=0.4, generator=seeded(1), dtype=F64)
    data = clean.with_noise(SIGMA, generator=seeded(2))
    model, other = (srnn.Model(chain.shadow_hamiltonian(0.1)) for _ in range(2))
    model.substeps = 4
    found = diagnose(model, data, fit_baseline=lambda part: model)
    assert "white" in found.findings
    assert torch.equal(found.residuals, diagnose(other, data, substeps=4).residuals)
    # A baseline goes by its own steps, whatever the model's.
    coarse = diagnose(other, data, substeps=1, fit_baseline=lambda part: model)
    assert torch.equal(coarse.forecast.quadratic, found.forecast.quadratic)
    assert torch.equal(found.forecast.quadratic, found.forecast.model)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_data_without_noise_leave_rounding(chain, clean, dtype):
    model = srnn.Model(chain.shadow_hamiltonian(0.1))
    found = diagnose(model, clean.to(dtype), generator=seeded(3))
    assert "rounding" in found.findings
    assert not {"white", "correlated", "growing", "ill-conditioned"} & set(found.findings)
    assert found.sigma < 100 * torch.finfo(dtype).eps


def test_more_rounding_in_more_steps_is_not_tied_to_the_step():
    spring = srnn.systems.MassSpring()
    data = spring.simulate(20, steps=9, dt=0.1, generator=seeded(0), dtype=torch.float32)
    found = diagnose(srnn.Model(spring, "yoshida8"), data)
    assert found.half_step_ratio > 1.5
    assert found.half_step_p < 0.01
    assert found.findings == ("rounding",)


def test_half_the_step_must_change_something_that_matters(found):
    """A large sample makes the smallest change certain."""
    small = dataclasses.replace(found, half_step_ratio=1.0005, half_step_p=1e-9)
    assert not {"tied-to-step", "coarse-step"} & set(small.findings)
    large = dataclasses.replace(found, half_step_ratio=1 / 1.002, half_step_p=1e-9)
    assert "coarse-step" in large.findings


def test_an_untrained_model_is_worse_than_naive(data):
    for net in (srnn.HNet, srnn.ONet):
        untrained = srnn.Model(net(5, 16, generator=seeded(0)).double())
        found = diagnose(untrained, data, generator=seeded(3))
        assert "worse-than-naive" in found.findings
        assert "white" not in found.findings
        assert "training failed, or there was none" in found.verdict
        assert found.sigma > 3 * SIGMA


def test_energy_drift_does_not_depend_on_the_constant_in_h(chain, data, found):
    class Lifted:
        dim, separable = 5, True

        def __call__(self, z):
            return chain.shadow_hamiltonian(0.1)(z) + 100.0

        def kinetic_gradient(self, p):
            return chain.shadow_hamiltonian(0.1).kinetic_gradient(p)

        def potential_gradient(self, q):
            return chain.shadow_hamiltonian(0.1).potential_gradient(q)

    lifted = diagnose(srnn.Model(Lifted()), data, generator=seeded(3))
    torch.testing.assert_close(lifted.energy_drift, found.energy_drift, rtol=1e-6, atol=1e-9)
    # Of a quadratic H about zero grad H . z = 2 H: the scale is the data's own, near 2 H.
    states = srnn.rollout(
        chain.shadow_hamiltonian(0.1), "leapfrog", found.starts, dt=0.1, steps=100
    )
    energy = chain.shadow_hamiltonian(0.1)(states)
    assert found.energy_drift.shape == (101, 100)
    scale = 2 * energy[:10].square().mean().sqrt()
    drift = (energy - energy[0]) / scale
    torch.testing.assert_close(found.energy_drift, drift, rtol=0.05, atol=1e-4)
    assert found.largest_drift == pytest.approx(
        float(drift.square().mean(1).sqrt().max()), rel=0.05
    )


def test_eulers_method_loses_the_energy(chain, data):
    found = diagnose(srnn.Model(chain, "leapfrog", test_integrator="euler"), data, drift_steps=40)
    assert found.energy_drift.shape == (41, 100)
    assert "energy-drift" in found.findings
    assert "symplectic integrator" in found.verdict


def test_conditioning_is_that_of_the_stacked_jacobians(exact, data, found):
    _, jacobians = srnn.flow_map.flow_map(
        exact.net, "leapfrog", data.values[0, :1], dt=0.1, steps=9
    )
    matrix = (jacobians.mT @ jacobians).sum(dim=0)[0]
    assert found.condition_number == pytest.approx(float(torch.linalg.cond(matrix)), rel=1e-6)
    assert (found.not_converged, found.underdetermined) == (0.0, 0.0)


# -- other kinds of models ------------------------------------------------------------------------


@pytest.mark.parametrize("net", [srnn.RNN, srnn.LSTM])
def test_a_recurrent_network_has_no_energy_and_no_step(data, net):
    found = diagnose(
        srnn.Model(net(5, 16, generator=seeded(0)).double(), None), data.select([0, 1])
    )
    assert found.energy_drift is None
    assert found.largest_drift is None
    assert found.half_step_ratio is None
    assert found.half_step_p is None
    assert found.degrees_of_freedom == 9 * 10 * 2
    assert "energy" not in str(found)
    assert "half the step" not in str(found)
    onet = srnn.Model(srnn.ONet(5, 16, generator=seeded(0)).double(), "rk4")
    found = diagnose(onet, data.select(slice(3)))  # which has a step, and no energy
    assert found.energy_drift is None
    assert found.half_step_ratio is not None


def test_other_units_give_the_same_findings(chain, data, found):
    """A model that works in units of its own, on data in millimetres and minutes."""
    factor = torch.tensor([1000.0] * 5 + [0.02] * 5, dtype=F64)
    origin = torch.arange(10, dtype=F64)
    converted = srnn.Trajectories.from_states(data.values * factor + origin, dt=0.1 / 60)
    model = srnn.Model(chain.shadow_hamiltonian(0.1))
    model.scale = srnn.scaling.Scale(q=1000.0, p=0.02, time=1 / 60, shift=origin)
    other = diagnose(model, converted, generator=seeded(3))
    assert other.findings == found.findings
    assert other.sigma_q == pytest.approx(1000 * found.sigma_q, rel=1e-6)
    assert other.sigma_p == pytest.approx(0.02 * found.sigma_p, rel=1e-6)
    for name in ("autocorrelation_q", "autocorrelation_p", "growth_q", "growth_p"):
        one, two = (dataclasses.astuple(getattr(d, name)) for d in (found, other))
        assert two == pytest.approx(one, rel=1e-5)
    for name in ("half_step_ratio", "half_step_p", "condition_number", "largest_drift"):
        assert getattr(other, name) == pytest.approx(getattr(found, name), rel=1e-4)
    torch.testing.assert_close(other.forecast.model, 1000 * found.forecast.model)


def test_the_noise_that_a_fit_estimated_weighs_the_observations(chain, clean):
    scale = torch.tensor([0.5] * 5 + [0.05] * 5, dtype=F64)
    noisy = srnn.Trajectories.from_states(clean.values + scale * randn(9, 10, 100, 10), dt=0.1)
    errors = []
    for noise in (None, (0.5, 0.05)):
        model = srnn.Model(chain.shadow_hamiltonian(0.1))
        model.noise = noise
        found = diagnose(model, noisy, generator=seeded(3))
        assert "white" in found.findings
        assert found.sigma_q == pytest.approx(0.5, rel=0.03)
        assert found.sigma_p == pytest.approx(0.05, rel=0.2)
        errors.append((found.starts - clean.values[0]).square().mean())
    assert errors[1] < 0.5 * errors[0]


# -- forecasts ------------------------------------------------------------------------------------


def test_forecasts_start_from_the_first_part_only(exact, data, found):
    assert found.forecast.states == 7
    start = srnn.iso.optimise_initial_state(exact, data.first(7)).states
    states = srnn.rollout(exact.net, "leapfrog", start, dt=0.1, steps=9)
    prediction = srnn.Trajectories.from_states(states, dt=0.1)
    error = srnn.metrics.position_error(prediction, data)[7:].mean(dim=0)
    torch.testing.assert_close(found.forecast.model, error, rtol=1e-6, atol=1e-9)
    q = data.q
    mean = (q[7:] - q[:7].mean(dim=(0, 1))).norm(dim=-1).mean(dim=0)
    torch.testing.assert_close(found.forecast.mean, mean)
    torch.testing.assert_close(found.forecast.repeat, (q[7:] - q[6]).norm(dim=-1).mean(dim=0))
    torch.testing.assert_close(found.forecast.zero, q[7:].norm(dim=-1).mean(dim=0))
    assert found.forecast.floor == pytest.approx(found.sigma_q * chi(5).mean(), rel=1e-9)
    assert found.forecast.floor < float(error.mean()) < 1.15 * found.forecast.floor
    assert found.forecast.quadratic is None
    assert "quadratic" not in str(found)


def test_every_naive_forecast_can_be_the_one_that_a_model_does_not_beat(found):
    assert "worse-than-naive" not in found.findings
    for which, words in (
        ("zero", "predicting zero"),
        ("mean", "predicting the mean"),
        ("repeat", "repeating the last state"),
    ):
        other = dataclasses.replace(found.forecast, **{which: 0.9 * found.forecast.model})
        judged = dataclasses.replace(found, forecast=other)
        assert "worse-than-naive" in judged.findings
        assert f"no better than {words} (" in judged.verdict


def test_the_baseline_is_scored_on_what_it_was_not_fitted_to(exact, data):
    """The baseline of one half is exact, that of the other knows nothing: who is scored by whom?"""
    zero = srnn.Model(srnn.HNet(5, 16, quadratic=False, generator=seeded(0)).double())
    fitted = []

    def fit(part):
        fitted.append(part)
        return exact if len(fitted) == 1 else zero

    found = diagnose(exact, data, fit_baseline=fit, most=60, generator=seeded(3))
    assert [len(part) for part in fitted] == [50, 50]
    together = torch.cat([part.values for part in fitted], dim=1)
    assert sorted(together[0, :, 0].tolist()) == sorted(data.values[0, :, 0].tolist())
    examined = found.starts  # of the exact model, near the observed states that it was fitted to
    assert len(examined) == found.examined == 60
    nearest = torch.cdist(examined, data.values[0]).argmin(dim=1)
    first = torch.isin(data.values[0, nearest, 0], fitted[0].values[0, :, 0])
    same = found.forecast.quadratic == found.forecast.model
    assert same[~first].all()
    assert not same[first].any()


def test_a_network_that_a_quadratic_h_equals_is_told_so(exact, data):
    net = srnn.QuadraticH(5).double()
    srnn.warm_start.least_squares(net, data.values, data.dt)
    learnt = srnn.SRNN(5, 8, dtype=F64, generator=seeded(0))
    srnn.warm_start.least_squares(learnt.net, data.values, data.dt)
    found = diagnose(learnt, data, fit_baseline=lambda part: exact, generator=seeded(3))
    assert "quadratic-suffices" in found.findings
    assert found.learns
    for other in (exact, srnn.SRNN(5, hamiltonian=net)):
        found = diagnose(other, data, fit_baseline=lambda part: exact, generator=seeded(3))
        assert "quadratic-suffices" not in found.findings
        assert not found.learns


class Nonlinear(torch.nn.Module):
    """The pendulum's H, as a network that has learnt it."""

    dim, separable = 1, True

    def __init__(self):
        super().__init__()
        self.strength = torch.nn.Parameter(torch.ones(1, dtype=F64))

    def forward(self, z):
        return z[..., 1] ** 2 / 2 - self.strength[0] * torch.cos(z[..., 0])


def fit_quadratic(part):
    net = srnn.QuadraticH(part.dim).double()
    srnn.warm_start.least_squares(net, part.values, part.dt)
    return srnn.SRNN(part.dim, hamiltonian=net)


def test_a_network_that_beats_the_quadratic_h_is_not_told_so():
    pendulum = srnn.systems.Pendulum(gravity=1.0)
    data = pendulum.simulate(24, steps=19, dt=0.4, generator=seeded(1), dtype=F64)
    data = data.with_noise(0.05, generator=seeded(2))
    model = srnn.Model(Nonlinear(), "yoshida4")
    found = diagnose(model, data, fit_baseline=fit_quadratic, generator=seeded(3))
    assert found.learns
    assert found.findings == ("white",)
    assert found.forecast.quadratic_p < 0.01
    assert found.forecast.model.mean() < 0.5 * found.forecast.quadratic.mean()
    assert not found.residuals.requires_grad
    assert model.net.strength.grad is None


def test_a_baseline_that_diverges_is_beaten(exact, data):
    def diverge(part):
        raise TrainingDiverged("The loss is not finite.", epoch=1, history=None)

    found = diagnose(exact, data, fit_baseline=diverge)
    assert torch.isinf(found.forecast.quadratic).all()
    assert found.forecast.quadratic_p == 0.0


def test_there_is_no_comparison_with_fewer_than_four_trajectories(exact, data):
    def refuse(part):
        raise AssertionError("fitted to one trajectory")

    found = diagnose(exact, data.select([0, 1, 2]), fit_baseline=refuse)
    assert found.forecast.quadratic is None


# -- what goes wrong ------------------------------------------------------------------------------


class Runaway:
    """H = p^2 / 2 - q^4: what starts near the origin stays, what starts further off blows up."""

    dim, separable = 1, True

    def __call__(self, z):
        return z[..., 1] ** 2 / 2 - z[..., 0] ** 4


def test_trajectories_that_leave_the_finite_numbers_are_counted_and_left_out():
    start = torch.tensor([[0.01, 0.0]] * 6 + [[3.0, 3.0]] * 2, dtype=F64)
    values = start.expand(20, 8, 2) + 0.01 * randn(0, 20, 8, 2)
    data = srnn.Trajectories.from_states(values, dt=0.5)
    found = diagnose(srnn.Model(Runaway()), data)
    assert found.examined == 8
    assert found.finite == 6
    assert found.residuals.shape == (20, 6, 2)
    assert math.isfinite(found.sigma)
    assert found.not_converged == 0.25
    assert {"not-finite", "not-converged"} <= set(found.findings)
    assert "no fit of 2 and no forecast of 2 of 8 trajectories" in found.verdict
    nothing = diagnose(srnn.Model(Runaway()), data.select([6, 7]))
    assert nothing.finite == 0
    assert math.isnan(nothing.sigma)
    assert nothing.half_step_ratio is None
    assert "not-finite" in nothing.findings
    assert "white" not in nothing.findings
    assert "nan" in str(nothing)


def test_initial_states_that_the_data_do_not_determine_are_told():
    """From the top of a steep hill neighbouring starts part by e^30 in 10 units of time."""
    hill = srnn.Model(srnn.QuadraticH(1).double())
    with torch.no_grad():
        hill.net.potential.matrix.copy_(torch.tensor([[-9.0]]))
    data = srnn.Trajectories.from_states(0.1 * randn(0, 21, 3, 2), dt=0.5)
    found = diagnose(hill, data)
    assert found.condition_number > 1e6
    assert "ill-conditioned" in found.findings


def test_growing_residuals_are_found(exact, clean):
    ramp = torch.linspace(0.05, 0.4, 10, dtype=F64)[:, None, None]
    values = clean.values + ramp * randn(3, 10, 100, 10)
    found = diagnose(exact, srnn.Trajectories.from_states(values, dt=0.1))
    assert "growing" in found.findings
    assert found.growth_q.z > 5
    assert found.residual_size.shape == (10, 2)
    assert found.residual_size[-1, 0] > 1.5 * found.residual_size[0, 0]
    values = clean.values + ramp.flip(0) * randn(3, 10, 100, 10)
    shrinking = diagnose(exact, srnn.Trajectories.from_states(values, dt=0.1))
    assert shrinking.growth_q.z < -5
    assert "growing" not in shrinking.findings


def test_one_trajectory_has_no_test_of_the_step(exact, data, clean):
    single = diagnose(exact, data.select(0))
    assert math.isnan(single.half_step_p)
    assert "tied-to-step" not in single.findings
    assert "(p " not in str(single)
    assert "tied-to-step" in diagnose(exact, clean.select(0)).findings


def test_two_states_are_enough(exact, data):
    blind = srnn.Trajectories.from_states(data.first(2).values, dt=data.dt)
    found = diagnose(exact, blind)
    assert found.clean_error is found.clean_expected is None  # which know no truth
    assert "truth" not in str(found)
    assert found.forecast.states == 1
    assert found.degrees_of_freedom == 10 * 100
    assert found.sigma == pytest.approx(SIGMA, rel=0.1)


# -- what is examined -----------------------------------------------------------------------------


def test_no_more_trajectories_than_asked_for_are_examined(exact, data):
    one, two = (diagnose(exact, data, most=20, generator=seeded(5)) for _ in range(2))
    assert (one.given, one.examined, one.finite) == (100, 20, 20)
    assert torch.equal(one.residuals, two.residuals)
    other = diagnose(exact, data, most=20, generator=seeded(6))
    assert not torch.equal(one.residuals, other.residuals)


def test_looking_twice_without_a_generator_gives_the_same_report(exact, data):
    before = torch.get_rng_state()
    parts = []

    def fit(part):
        parts.append(part.values)
        return exact

    one, two = (diagnose(exact, data, most=20, fit_baseline=fit) for _ in range(2))
    assert str(one) == str(two)
    assert torch.equal(one.residuals, two.residuals)
    assert torch.equal(parts[0], parts[2])
    assert torch.equal(one.starts, diagnose(exact, data, most=20, generator=seeded(0)).starts)
    assert torch.equal(torch.get_rng_state(), before)


def test_long_trajectories_are_examined_as_memory_allows(exact, data, monkeypatch):
    monkeypatch.setattr(srnn.diagnostics._diagnose, "_NUMBERS", 10 * 10 * 10 * 7 + 1)
    assert diagnose(exact, data).examined == 7


def test_the_report_shows_what_was_measured(found):
    text = str(found)
    assert text.startswith("Diagnosis of Model(QuadraticHamiltonian(dim=5)")
    assert "100 of 100 trajectories, 10 states each" in text
    assert f"sigma_q {found.sigma_q:.4g}, sigma_p {found.sigma_p:.4g}; of both " in text
    assert f"of both {found.sigma:.4g} ±" in text
    assert "steps from one to the next" not in text
    assert str(found.autocorrelation_q) in text
    assert str(found.growth_p) in text
    assert f"residuals {found.half_step_ratio:.4g} times as large" in text
    rows = [line.rsplit(maxsplit=1) for line in text.partition("error in q")[2].splitlines()[1:7]]
    names = {"predict zero": "zero", "mean": "mean", "repeat": "repeat", "model": "model"}
    measured = {
        name: f"{float(getattr(found.forecast, of).mean()):.3g}" for name, of in names.items()
    }
    measured["noise alone"] = f"{found.forecast.floor:.3g}"
    assert {row[0].strip(): row[1] for row in rows[:5]} == measured
    assert found.verdict == "\n".join(found.sentences)
    assert len(found.sentences) == len(found.findings)
    for sentence in found.sentences:
        assert f"  - {sentence}" in text


@pytest.mark.parametrize(("p", "both"), [(0.135, True), (0.299, True), (0.132, False), (12, False)])
def test_unequal_noise_has_no_common_sigma_in_the_report(found, p, both):
    text = str(dataclasses.replace(found, sigma_q=0.2, sigma_p=p))
    assert f"sigma_q 0.2, sigma_p {p}" in text
    assert ("of both" in text) == both


# -- refusals -------------------------------------------------------------------------------------


def test_a_recurrent_network_takes_no_substeps(data):
    model = srnn.Model(srnn.RNN(5, 8, generator=seeded(0)).double(), None)
    with pytest.raises(ValueError, match=r"RNN has learnt one step .* leave `substeps` out\."):
        diagnose(model, data, substeps=2)
    assert diagnose(model, data.select([0, 1]), substeps=1).substeps == 1


def test_what_does_not_fit_is_refused(chain, exact, data):
    with pytest.raises(TypeError, match=r"`model` to be a srnn\.Model; got SpringChain\. A system"):
        diagnose(chain, data)
    with pytest.raises(TypeError, match=r"`data` to be srnn\.Trajectories; got Tensor"):
        diagnose(exact, data.values)
    other = srnn.Trajectories.from_states(torch.zeros(5, 2, 6), dt=0.1)
    with pytest.raises(ValueError, match=r"Expected `data` to have shape .* with dim=5"):
        diagnose(exact, other)
    with pytest.raises(TypeError, match=r"`data` and `model` to have one dtype"):
        diagnose(srnn.SRNN(5, 8), data)
    with pytest.raises(ValueError, match=r"at least two states a trajectory; got 1\."):
        diagnose(exact, data.first(1))
    recurrent = srnn.Model(srnn.RNN(5, 8).double(), None)
    recurrent.dt = 0.2
    with pytest.raises(ValueError, match=r"has learnt steps of dt=0\.2 and knows no others"):
        diagnose(recurrent, data)
    doubtful = srnn.Trajectories.from_states(
        data.values, dt=0.1, status=(torch.arange(100) == 3).long()
    )
    with pytest.raises(ValueError, match=r"1 of 100 trajectories are marked as doubtful"):
        diagnose(exact, doubtful)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"forecast_from": 10}, r"leave a state to forecast, at most 9 of 10; got 10\."),
        ({"forecast_from": 0}, r"`forecast_from` to be at least 1; got 0"),
        ({"most": 0}, r"`most` to be at least 1; got 0"),
        ({"drift_steps": 0}, r"`drift_steps` to be at least 1; got 0"),
        ({"substeps": 0}, r"`substeps` to be at least 1; got 0"),
    ],
)
def test_settings_out_of_range_are_refused(exact, data, settings, text):
    with pytest.raises(ValueError, match=text):
        diagnose(exact, data, **settings)
