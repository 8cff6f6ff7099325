"""Initial-state optimisation: against closed forms, SciPy, autograd, and other batches."""

from typing import Any

import pytest
import torch
from helpers import F64, JointHNet, linear_matrix, randn, random_hnet, seeded
from torch import Tensor

import srnn
from srnn.data.residual import Observed
from srnn.motion.motion import Motion
from srnn.starts.iso import METHODS, InitialStates, IsoStatus, optimise_initial_state
from srnn.starts.iso._problem import Problem

FULLY: dict[str, dict[str, Any]] = {  # iterate until nothing moves any more
    "gauss-newton": {},
    "scipy": {"max_iterations": 2000, "tolerance": 1e-13},
}


def statuses(found: InitialStates) -> set[IsoStatus]:
    return {IsoStatus(code) for code in found.status.tolist()}


def losses(field: Any, integrator: Any, z0: Tensor, observed: Tensor, dt: float) -> Tensor:
    states = srnn.rollout(field, integrator, z0, dt=dt, steps=len(observed) - 1)
    return (states - observed).square().sum(dim=(0, 2))


# -- a linear flow: weighted linear least squares -------------------------------------------------


@pytest.fixture(scope="module")
def chain() -> srnn.systems.SpringChain:
    return srnn.systems.SpringChain.random(masses=4, generator=seeded(3))


@pytest.fixture(scope="module")
def noisy(chain: Any) -> srnn.Trajectories:
    data = chain.simulate(5, steps=9, dt=0.1, generator=seeded(1), dtype=F64)
    return data.with_noise(0.2, generator=seeded(2))


def powers(chain: Any, count: int, dt: float = 0.1) -> Tensor:
    """F_t of the exact flow, from the equations of motion, shape (time, 2d, 2d)."""
    eye = torch.eye(chain.dim, dtype=F64)
    stiffness = torch.stack([chain.potential_gradient(row) for row in eye], dim=1)
    matrix = linear_matrix(torch.diag(1 / chain.masses.to(F64)), stiffness)
    return torch.stack([torch.linalg.matrix_exp(k * dt * matrix) for k in range(count)])


def least_squares(F: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    """Each trajectory's weighted least squares, from the stacked equations themselves."""
    found = []
    for y, w in zip(observed.unbind(1), weights.unbind(1), strict=True):
        root = w.sqrt().flatten()[:, None]
        rows, right = root * F.flatten(0, 1), root * y.flatten()[:, None]
        found.append(torch.linalg.lstsq(rows, right, driver="gelsd").solution[:, 0])
    return torch.stack(found)


CASES = ("plain", "from state 1", "weights", "weights of points", "missing")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", METHODS)
def test_on_an_exact_linear_flow_it_is_linear_least_squares(
    chain: Any, noisy: srnn.Trajectories, method: str, dtype: torch.dtype, case: str
) -> None:
    y = noisy.values.clone()
    weights = torch.ones_like(y)
    settings: dict[str, Any] = {"method": method, **FULLY[method]}
    if case == "from state 1":
        settings["loss_from"] = 1
        weights[0] = 0
    elif case == "weights":
        weights = 10 ** (randn(5, *y.shape) / 2)  # over two orders of magnitude
        settings["weights"] = weights.to(dtype)
    elif case == "weights of points":
        per_point = 10 ** (randn(5, *y.shape[:2]) / 2)
        settings["weights"] = per_point.to(dtype)
        weights = per_point[..., None].expand_as(y)
    elif case == "missing":
        mask = torch.rand(y.shape, generator=seeded(6)) < 0.6
        settings["mask"] = mask
        weights = mask.to(F64)
        y = torch.where(mask, y, torch.nan)
    y_known, F = y.nan_to_num(), powers(chain, len(y))
    expected = least_squares(F, y_known, weights)
    if dtype == torch.float32:
        settings["tolerance"] = 1e-12
    shadow = chain.shadow_hamiltonian(0.1)
    found = optimise_initial_state(shadow, y.to(dtype), dt=0.1, **settings)
    assert statuses(found) == {IsoStatus.CONVERGED}
    assert {t.dtype for t in (found.states, found.loss, found.covariance, found.sigma)} == {dtype}
    worst = float((found.states - expected).abs().max())
    residual = torch.einsum("tij,bj->tbi", F, expected) - y_known
    least = (weights * residual.square()).sum(dim=(0, 2))
    if dtype == torch.float64:
        assert worst < (1e-11 if method == "gauss-newton" else 1e-6)
        torch.testing.assert_close(found.loss, least, rtol=1e-11, atol=0)
    elif method == "gauss-newton":  # its steps see further than the loss does
        assert worst < 1e-5
    torch.testing.assert_close(found.loss.to(F64), least, rtol=2e-6, atol=0)


def test_the_papers_floor_of_table_2() -> None:
    """20 masses, sigma 0.2, 10 points, 200 states: 0.907 for the exact flow, and 1.49 for leapfrog.

    The second is a mean over chains whose single values lie between 1.2 and 2.1.
    """
    errors: dict[str, list[float]] = {"exact": [], "leapfrog": []}
    for seed in range(3):
        g = seeded(seed)
        chain = srnn.systems.SpringChain.random(masses=20, generator=g)
        data = chain.simulate(256, steps=199, dt=0.1, generator=g).with_noise(0.2, generator=g)
        for name, H in (("exact", chain.shadow_hamiltonian(0.1)), ("leapfrog", chain)):
            found = optimise_initial_state(H, data.first(10))
            states = srnn.rollout(H, "leapfrog", found.states, dt=0.1, steps=199)
            miss = (states - data.values)[..., :20].norm(dim=-1)
            errors[name].append(float(miss.mean()))
    exact, leapfrog = (torch.tensor(errors[name]) for name in ("exact", "leapfrog"))
    assert abs(float(exact.mean()) - 0.907) < 0.005
    assert float((exact - 0.907).abs().max()) < 0.02
    assert float(leapfrog.min()) > 1.2
    assert float(leapfrog.max()) < 2.1


# -- one trajectory, whatever else is in the batch ------------------------------------------------


def lively(net: Any) -> Any:
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(2)
    return net


MODELS: dict[str, Any] = {
    "H-NET": lambda: random_hnet(0),
    "O-NET": lambda: lively(srnn.ONet(2, 8, generator=seeded(0), dtype=F64)),
    "RNN": lambda: lively(srnn.RNN(2, 6, generator=seeded(0), dtype=F64)),
    "LSTM": lambda: lively(srnn.LSTM(2, 6, generator=seeded(0), dtype=F64)),
    "quadratic H": lambda: srnn.QuadraticH(2, dtype=F64),
    "joint H": lambda: JointHNet(0),
    "pendulum": srnn.systems.Pendulum,
    "three bodies": srnn.systems.ThreeBody,
}
RUNS = [
    ("H-NET", "leapfrog"),
    ("H-NET", "yoshida4"),
    ("H-NET", "rk4"),
    ("H-NET", "implicit-midpoint"),
    ("H-NET", "euler"),
    ("O-NET", "euler"),
    ("O-NET", "leapfrog"),
    ("RNN", None),
    ("LSTM", None),
    ("quadratic H", "leapfrog"),
    ("joint H", "tao2"),
    ("joint H", "implicit-midpoint"),
    ("pendulum", "leapfrog"),
    ("three bodies", "yoshida4"),
]


def observations(model: Any, integrator: Any, count: int = 5, sigma: float = 0.1) -> Tensor:
    """Noisy rollouts of the model itself, 6 states."""
    if isinstance(model, srnn.systems.ThreeBody):
        z0 = model.initial_states(count, seeded(1)).to(F64)
    else:
        z0 = randn(1, count, 2 * model.dim)
    with torch.no_grad():
        states = srnn.rollout(model, integrator, z0, dt=0.2, steps=5)
    return states + sigma * randn(2, *states.shape)


@pytest.mark.parametrize(("name", "integrator"), RUNS)
def test_a_result_does_not_depend_on_the_batch(name: str, integrator: Any) -> None:
    model = MODELS[name]()
    y = observations(model, integrator)
    y[:, 3] *= 30  # a neighbour that takes many iterations, or comes to nothing
    order = torch.tensor([4, 2, 0, 3, 1])
    how: dict[str, Any] = {"dt": 0.2, "integrator": integrator}
    together = optimise_initial_state(model, y, **how)
    permuted = optimise_initial_state(model, y[:, order], **how)
    alone = optimise_initial_state(model, y[:, :1], **how)
    for result, at in ((together, 0), (permuted, 2)):
        assert int(result.status[at]) == int(alone.status[0])
        assert int(result.iterations[at]) == int(alone.iterations[0])
        for field in ("states", "loss", "covariance", "sigma"):
            torch.testing.assert_close(
                getattr(result, field)[at], getattr(alone, field)[0], rtol=1e-8, atol=1e-9
            )
    torch.testing.assert_close(permuted.states, together.states[order], rtol=1e-6, atol=1e-6)
    assert int(together.status[0]) == int(IsoStatus.CONVERGED)


# -- optima ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["H-NET", "RNN", "pendulum", "three bodies"])
def test_never_worse_than_its_start_however_wild(name: str, method: str) -> None:
    model, integrator = MODELS[name](), None if name == "RNN" else "leapfrog"
    y = observations(model, integrator, count=6)
    wild = y[0] + torch.tensor([0.0, 0.1, 1.0, 10.0, 1e3, 1e9], dtype=F64)[:, None]
    how: dict[str, Any] = {"dt": 0.2, "integrator": integrator, "method": method, "initial": wild}
    before = losses(model, integrator, wild, y, 0.2)
    for most in (1, 2, 3, None):  # each step, and where they lead
        found = optimise_initial_state(model, y, max_iterations=most, **how)
        after = losses(model, integrator, found.states, y, 0.2)
        assert bool((after <= before).all())
        torch.testing.assert_close(found.loss, after, rtol=1e-12, atol=0)
    assert bool((after[:3] < before[:3]).all())  # it goes on beside the wild ones


def test_no_step_goes_up_where_full_ones_overshoot() -> None:
    pendulum = srnn.systems.Pendulum()
    y = 2 * randn(0, 12, 40, 2)  # no pendulum's motion: the residuals stay large
    before = losses(pendulum, "leapfrog", y[0], y, 0.5)
    for most in (1, 2, 3):
        found = optimise_initial_state(pendulum, y, dt=0.5, max_iterations=most)
        after = losses(pendulum, "leapfrog", found.states, y, 0.5)
        assert bool((after <= before).all())
        before = after


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "integrator"),
    [("H-NET", "leapfrog"), ("LSTM", None), ("joint H", "tao2"), ("pendulum", "rk4")],
)
def test_the_optimum_is_a_stationary_point(name: str, integrator: Any, method: str) -> None:
    model = MODELS[name]()
    y = observations(model, integrator)
    found = optimise_initial_state(
        model, y, dt=0.2, integrator=integrator, method=method, **FULLY[method]
    )
    z0 = found.states.clone().requires_grad_()
    loss = losses(model, integrator, z0, y, 0.2)
    gradient = torch.autograd.grad(loss.sum(), z0)[0]
    y0 = y[0].clone().requires_grad_()
    first = torch.autograd.grad(losses(model, integrator, y0, y, 0.2).sum(), y0)[0]
    assert float(gradient.norm()) < 1e-5 * float(first.norm())
    assert bool((loss < losses(model, integrator, y[0], y, 0.2)).all())


def test_all_methods_agree_with_scipys_joint_optimum_on_an_h_net() -> None:
    from scipy.optimize import minimize

    net = random_hnet(4, dim=3, hidden=12)
    y = observations(net, "leapfrog", count=8, sigma=0.2)

    def joint(x: Any) -> tuple[float, Any]:
        z0 = torch.tensor(x, dtype=F64).reshape(8, 6).requires_grad_()
        loss = losses(net, "leapfrog", z0, y, 0.2).sum()
        return float(loss.detach()), torch.autograd.grad(loss, z0)[0].numpy().ravel()

    done = minimize(
        joint,
        y[0].numpy().ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "gtol": 1e-10, "ftol": 1e-15},
    )
    best = torch.tensor(done.x).reshape(8, 6)
    expected = losses(net, "leapfrog", best, y, 0.2).detach()
    for method in METHODS:
        settings = {"max_iterations": 500} if method == "scipy" else {}
        found = optimise_initial_state(net, y, dt=0.2, method=method, **settings)
        assert statuses(found) == {IsoStatus.CONVERGED}
        torch.testing.assert_close(found.loss, expected, rtol=1e-6, atol=0)
        assert float((found.states - best).norm() / best.norm()) < 1e-4
    few = optimise_initial_state(net, y, dt=0.2, method="scipy")  # the paper's ten iterations
    assert float(few.loss.sum()) < 1.05 * float(expected.sum())


# -- the error of what is found -------------------------------------------------------------------


def test_the_covariance_is_the_inverse_of_the_information(chain: Any) -> None:
    F = powers(chain, 7)
    z = torch.einsum("tij,bj->tbi", F, randn(0, 3, 8))
    weights = torch.rand(z.shape, generator=seeded(1), dtype=F64) + 0.1
    information = torch.einsum("tki,tbk,tkj->bij", F, weights, F)
    shadow = chain.shadow_hamiltonian(0.1)
    found = optimise_initial_state(
        shadow, z + 0.3 * randn(2, *z.shape), dt=0.1, weights=weights, sigma=0.3
    )
    torch.testing.assert_close(found.covariance, 0.09 * torch.linalg.inv(information))
    assert found.sigma.tolist() == [0.3] * 3
    half = optimise_initial_state(shadow, z, dt=0.1, weights=weights / 4, sigma=0.3 / 2)
    torch.testing.assert_close(half.covariance, found.covariance, rtol=1e-10, atol=0)


def test_over_many_noisy_copies_the_covariance_is_that_of_the_errors() -> None:
    """A pendulum: the states are not linear in their start, and are nearly so within the noise."""
    pendulum, sigma, copies = srnn.systems.Pendulum(), 0.02, 4000
    z0 = torch.tensor([[1.5, 0.4]], dtype=F64)
    clean = srnn.rollout(pendulum, "leapfrog", z0, dt=0.3, steps=9).expand(-1, copies, -1)
    y = clean + sigma * randn(0, *clean.shape)
    found = optimise_initial_state(pendulum, y, dt=0.3)
    error = found.states - z0
    assert statuses(found) == {IsoStatus.CONVERGED}
    # Relative errors of variances from 4000 samples: about sqrt(2 / 4000) = 0.02.
    known = optimise_initial_state(pendulum, clean[:, :1], dt=0.3, sigma=sigma).covariance[0]
    torch.testing.assert_close(error.T.cov(), known, rtol=0.1, atol=0.05 * float(known.max()))
    assert bool((error.mean(dim=0).abs() < 4 * (known.diagonal() / copies).sqrt()).all())
    # The estimated sigma has 20 - 2 degrees of freedom; the ratio to the spread is Hotelling's.
    assert abs(float(found.sigma.square().mean() / sigma**2) - 1) < 0.03
    assert abs(float(found.sigma.square().var() / sigma**4) - 2 / 18) < 0.02
    whitened = torch.linalg.solve(known.expand(copies, 2, 2), error)
    chi_square = (error * whitened).sum(dim=-1)  # two degrees of freedom: exponential, mean 2
    assert abs(float(chi_square.mean()) - 2) < 0.15
    for share in (0.1, 0.5, 0.9):
        quantile = -2 * torch.log1p(torch.tensor(-share))
        assert abs(float((chi_square < quantile).double().mean()) - share) < 0.03


# -- units, models and options --------------------------------------------------------------------


def test_a_problem_in_other_units_is_the_same_problem() -> None:
    net = random_hnet(0)
    scale = srnn.scaling.Scale(q=3.0, p=0.2, time=0.5, shift=randn(7, 4))
    inner = observations(net, "leapfrog")
    outer = scale.decode(inner)
    weights = 1 / scale.factor.square().expand_as(outer)  # so that the sums are one
    scaled = Problem(Motion(net, "leapfrog", scale), Observed(outer, weights), dt=0.1)
    plain = Problem(Motion(net, "leapfrog"), Observed(inner, torch.ones_like(inner)), dt=0.2)
    for method in METHODS:
        a, b = (
            METHODS[method].solve(problem, start, **FULLY[method])
            for problem, start in ((scaled, outer[0]), (plain, inner[0]))
        )
        torch.testing.assert_close(scale.encode(a.states), b.states, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a.loss, b.loss, rtol=1e-7, atol=0)
    at = scaled.normal(outer[0])
    factor = scale.factor
    same = plain.normal(inner[0])
    torch.testing.assert_close(at.gradient * factor, same.gradient)
    torch.testing.assert_close(at.matrix * factor[:, None] * factor, same.matrix)
    loss, gradient = scaled.losses_and_gradients(outer[0])
    torch.testing.assert_close(loss, at.loss)
    torch.testing.assert_close(gradient, 2 * at.gradient)


@pytest.fixture(scope="module")
def fitted() -> tuple[srnn.SRNN, srnn.Trajectories]:
    spring = srnn.systems.MassSpring(stiffness=100.0)  # quick, and q and p of other sizes
    data = spring.simulate(20, steps=9, dt=0.02, generator=seeded(0), dtype=F64)
    model = srnn.SRNN(
        dim=1,
        hidden=16,
        integrator="leapfrog",
        test_integrator="rk4",
        generator=seeded(1),
        dtype=F64,
    )
    model.fit(data, epochs=20, window=2, progress=False)
    assert model.scale.time != 1
    model.noise = (1.0, 1.0)  # all squares alike, as they are compared below
    return model, data.select(slice(4)).with_noise(0.1, generator=seeded(2))


@pytest.mark.parametrize("method", METHODS)
def test_a_fitted_model_goes_by_its_test_integrator_in_the_datas_units(
    fitted: Any, method: str
) -> None:
    model, data = fitted
    found = optimise_initial_state(model, data, method=method, **FULLY[method])
    predicted = model.predict(
        srnn.Trajectories.from_states(found.states[None], dt=0.02), steps=9
    ).values
    loss = (predicted - data.values).square().sum(dim=(0, 2))
    torch.testing.assert_close(found.loss, loss, rtol=1e-10, atol=0)
    by_field = optimise_initial_state(model.field, data, integrator="rk4")
    torch.testing.assert_close(found.states, by_field.states, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.covariance, by_field.covariance, rtol=1e-3, atol=1e-5)
    other = optimise_initial_state(model, data, integrator="euler")
    euler = losses(model.field, "euler", other.states, data.values, 0.02).detach()
    torch.testing.assert_close(other.loss, euler, rtol=1e-10, atol=0)


def test_a_step_that_is_a_fraction_of_the_spacing(noisy: srnn.Trajectories, chain: Any) -> None:
    found = optimise_initial_state(chain, noisy, dt=0.025)
    states = srnn.rollout(chain, "leapfrog", found.states, dt=0.1, steps=9, substeps=4)
    loss = (states - noisy.values).square().sum(dim=(0, 2))
    torch.testing.assert_close(found.loss, loss, rtol=1e-10, atol=0)
    F = powers(chain, 10)
    exact = least_squares(F, noisy.values, torch.ones_like(noisy.values))
    coarse = optimise_initial_state(chain, noisy)
    assert (found.states - exact).norm() < 0.1 * (coarse.states - exact).norm()  # order 2: 1/16


def test_the_start_is_free_and_defaults_to_the_first_observed_values(
    chain: Any, noisy: srnn.Trajectories
) -> None:
    optimum = optimise_initial_state(chain, noisy)
    again = optimise_initial_state(chain, noisy, initial=optimum.states)
    assert again.iterations.tolist() == [0] * 5
    torch.testing.assert_close(again.states, optimum.states, rtol=0, atol=0)
    mask = torch.ones(10, 5, dtype=torch.bool)
    mask[:2, 1] = False
    for settings, first in (
        ({}, noisy.values[0]),
        ({"loss_from": 1}, noisy.values[0]),
        ({"mask": mask}, torch.where(mask[0][:, None], noisy.values[0], noisy.values[2])),
    ):
        how: dict[str, Any] = {"method": "scipy", "max_iterations": 1, **settings}
        one = optimise_initial_state(chain, noisy, **how)
        same = optimise_initial_state(chain, noisy, initial=first, **how)
        assert torch.equal(one.states, same.states)


@pytest.mark.parametrize("method", METHODS)
def test_iterations_that_run_out(chain: Any, noisy: srnn.Trajectories, method: str) -> None:
    settings = {"max_iterations": 1} if method == "gauss-newton" else {"max_iterations": 3}
    system = chain if method != "gauss-newton" else random_hnet(0, dim=4)  # linear: one is enough
    found = optimise_initial_state(system, noisy, method=method, **settings)
    assert statuses(found) == {IsoStatus.MAX_ITERATIONS}
    assert set(found.iterations.tolist()) == {settings["max_iterations"]}
    assert bool((found.loss < losses(system, "leapfrog", noisy.values[0], noisy.values, 0.1)).all())
