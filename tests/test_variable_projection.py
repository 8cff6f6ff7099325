"""The fit of a quadratic H with every start solved exactly, against slower ways to the same."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers import F64, randn, seeded, slope
from scipy.optimize import least_squares
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import srnn
from srnn.systems import SpringChain
from srnn.training.guess.variable_projection import _combine, fit_quadratic

CHAIN = SpringChain([0.8, 1.3, 1.0, 0.6], [4.0, 6.0, 5.0, 7.0, 3.0])
PAIR = SpringChain([0.8, 1.3], [4.0, 6.0, 5.0])


def matrices(hamiltonian: srnn.QuadraticH) -> Tensor:
    forms = (hamiltonian.kinetic, hamiltonian.potential)
    return torch.stack([form.symmetric.detach() for form in forms])


def shadow_matrices(chain: SpringChain, dt: float) -> Tensor:
    """K and V of the H whose leapfrog step is the chain's exact motion."""
    shadow, eye = chain.shadow_hamiltonian(dt), torch.eye(chain.dim, dtype=F64)
    return torch.stack((shadow.kinetic_gradient(eye), shadow.potential_gradient(eye)))


def random_quadratic(seed: int, dim: int = 2) -> srnn.QuadraticH:
    """A confining one, with linear terms."""
    net = srnn.QuadraticH(dim, dtype=F64)
    with torch.no_grad():
        for k, form in enumerate((net.kinetic, net.potential)):
            root = 0.4 * randn(seed + k, dim, dim)
            form.matrix.copy_((1 + k) * torch.eye(dim) + root @ root.T)
            form.vector.copy_(0.5 * randn(seed + 10 + k, dim))
    return net


SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "leapfrog": ("leapfrog", {}),
    "from 1": ("leapfrog", {"loss_from": 1}),
    "weights": ("leapfrog", {"weights": torch.tensor([9.0, 9.0, 0.1, 0.1], dtype=F64)}),
    "one coordinate": ("leapfrog", {"weights": torch.tensor([1.0, 5.0, 2.0, 3.0], dtype=F64)}),
    "substeps": ("leapfrog", {"substeps": 2}),
    "euler": ("euler", {"substeps": 2}),
    "yoshida4": ("yoshida4", {}),
    "implicit": ("implicit-midpoint", {}),
}


# -- the gradient and the optimum -----------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_the_gradient_is_that_of_finite_differences(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The starts follow the parameters, and yet their own derivative drops out."""
    integrator, settings = SETTINGS[name]
    seen: dict[str, Any] = {}

    def spy(objective: Any, start: Any, **_: Any) -> Any:
        def value(k: int, shift: float) -> float:
            x = start.copy()
            x[k] += shift
            return float(objective(x)[0])

        h = 1e-5
        seen["gradient"] = objective(start.copy())[1].copy()
        seen["quotients"] = [(value(k, h) - value(k, -h)) / (2 * h) for k in range(len(start))]
        return type("Done", (), {"x": start})

    monkeypatch.setattr("scipy.optimize.minimize", spy)
    data = PAIR.simulate(30, 4, 0.2, seeded(0), start="all-free", dtype=F64)
    noisy = data.values + 0.2 * randn(1, *data.values.shape)
    fit_quadratic(random_quadratic(0), integrator, noisy, 0.2, **settings)
    assert np.abs(seen["gradient"]).max() > 1e-2
    np.testing.assert_allclose(seen["gradient"], seen["quotients"], rtol=1e-5, atol=1e-8)


class Parametrised:
    """The quadratic H of a vector of numbers, differentiable in them."""

    dim, separable = 2, True

    def __init__(self, numbers: Tensor) -> None:
        halves = numbers.reshape(2, 6)
        self.matrices = [(m + m.mT) / 2 for m in halves[:, :4].reshape(2, 2, 2)]
        self.vectors = halves[:, 4:]

    def kinetic_gradient(self, p: Tensor) -> Tensor:
        return p @ self.matrices[0] + self.vectors[0]

    def potential_gradient(self, q: Tensor) -> Tensor:
        return q @ self.matrices[1] + self.vectors[1]


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "implicit"])
@pytest.mark.parametrize("count", [4, 15])  # as columns, and combined by QR
def test_it_is_the_optimum_over_parameters_and_all_starts_at_once(name: str, count: int) -> None:
    """Brute force: SciPy's least squares on 2 (2 * 2 + 2) + 4 n unknowns."""
    integrator, settings = SETTINGS[name]
    steps, substeps = (2, settings.get("substeps", 1)) if count > 4 else (4, 1)
    settings = settings | {"substeps": substeps}
    data = PAIR.simulate(count, steps, 0.2, seeded(0), start="all-free", dtype=F64)
    values = data.values + 0.02 * randn(1, *data.values.shape)
    first = settings.get("loss_from", 0)
    root = settings.get("weights", torch.ones(4, dtype=F64)).sqrt()
    eye = torch.eye(2, dtype=F64)
    begin = torch.cat([torch.cat((k * eye.flatten(), eye[0] * 0)) for k in (1.0, 8.0)])

    def residuals(x: Tensor) -> Tensor:
        how: Any = {"dt": 0.2, "steps": steps, "substeps": substeps}
        z = srnn.rollout(Parametrised(x[:12]), integrator, x[12:].reshape(count, 4), **how)
        return ((z - values)[first:] * root).flatten()

    brute = least_squares(
        lambda x: residuals(torch.from_numpy(x)).numpy(),
        torch.cat((begin, values[0].flatten())).numpy(),
        jac=lambda x: torch.autograd.functional.jacobian(
            residuals, torch.from_numpy(x), vectorize=True
        ).numpy(),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-12,
    )
    H = srnn.QuadraticH(2, dtype=F64)
    vector_to_parameters(begin.clone(), H.parameters())
    squares = fit_quadratic(H, integrator, values, 0.2, **settings)
    by_brute = torch.from_numpy(brute.fun).reshape(-1, count, 4) / root
    torch.testing.assert_close(squares, by_brute.square().mean(dim=(0, 1)), rtol=1e-4, atol=1e-9)
    loss = float((squares * root.square()).mean())
    assert loss == pytest.approx(float((brute.fun**2).mean()), rel=1e-6)
    # The data determine the motion over dt, of which not every method allows one H only.
    z = torch.cat((torch.zeros(1, 4), torch.eye(4))).double()
    found, expected = (
        srnn.rollout(h, integrator, z, dt=0.2, steps=1, substeps=substeps).detach()
        for h in (H, Parametrised(torch.from_numpy(brute.x[:12])))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


# -- what it finds --------------------------------------------------------------------------------


def test_exact_data_give_the_shadow_of_the_chain_and_a_shifted_origin() -> None:
    data = CHAIN.simulate(40, 9, 0.1, seeded(0), start="all-free", dtype=F64)
    centre = torch.linspace(-1, 2, 8, dtype=F64)
    H = srnn.QuadraticH(4, dtype=F64)
    squares = fit_quadratic(H, "leapfrog", data.values + centre, 0.1)
    torch.testing.assert_close(matrices(H), shadow_matrices(CHAIN, 0.1), rtol=0, atol=1e-6)
    assert squares.max() < 1e-12
    for form, point in ((H.potential, centre[:4]), (H.kinetic, centre[4:])):
        assert form.gradient(point).abs().max() < 2e-6


@pytest.mark.parametrize("integrator", ["euler", "leapfrog", "rk4", "yoshida4"])
def test_a_rollout_gives_back_the_h_that_it_came_from(integrator: str) -> None:
    true = random_quadratic(3)
    values = srnn.rollout(true, integrator, randn(0, 12, 4), dt=0.2, steps=6, substeps=2)
    H = srnn.QuadraticH(2, dtype=F64)
    fit_quadratic(H, integrator, values.detach(), 0.2, substeps=2)
    torch.testing.assert_close(matrices(H), matrices(true), rtol=0, atol=1e-6)
    for mine, other in ((H.kinetic, true.kinetic), (H.potential, true.potential)):
        torch.testing.assert_close(mine.vector, other.vector, rtol=0, atol=1e-6)


def test_the_error_falls_with_the_root_of_the_number_of_trajectories() -> None:
    counts, errors, shadow = (50, 200, 800), [], shadow_matrices(PAIR, 0.1)
    for count in counts:
        squares = []
        for seed in range(6):
            data = PAIR.simulate(count, 9, 0.1, seeded(seed), start="all-free", dtype=F64)
            noisy = data.with_noise(0.2, generator=seeded(seed + 10))
            H = srnn.QuadraticH(2, dtype=F64)
            with torch.no_grad():  # begins at the truth, which noise moves it away from
                for form, matrix in zip((H.kinetic, H.potential), shadow, strict=True):
                    form.matrix.copy_(matrix)
            left = fit_quadratic(H, "leapfrog", noisy.values, 0.1)
            squares.append(float((matrices(H) - shadow).square().mean()))
        errors.append(np.mean(squares) ** 0.5)
    # What is left is the noise, less what each trajectory's own start takes up.
    torch.testing.assert_close(left, torch.full((4,), 0.04 * 0.9, dtype=F64), rtol=0.1, atol=0)
    assert errors[-1] < 0.1
    assert slope(counts, errors) == pytest.approx(0.5, abs=0.15)


def test_the_same_data_give_the_same_bits_wherever_memory_lies() -> None:
    """A run that goes on in another program must begin with the same weights."""
    data = PAIR.simulate(60, 4, 0.2, seeded(0), start="all-free", dtype=F64)
    values = data.values + 0.2 * randn(1, *data.values.shape)
    found, kept = [], []
    for k in range(5):
        kept += [np.zeros(31 + 3 * k), torch.zeros(5 + k)]  # moves what is allocated next
        H = srnn.QuadraticH(2, dtype=F64)
        fit_quadratic(H, "leapfrog", values.clone(), 0.2, max_iterations=50)
        found.append(parameters_to_vector(H.parameters()).detach().clone())
    assert all(torch.equal(other, found[0]) for other in found[1:])


# -- the combined trajectories --------------------------------------------------------------------


def test_trajectories_are_combined_into_few_that_keep_all_inner_products() -> None:
    values = randn(0, 5, 1000, 4)
    combined, ones = _combine(values)
    assert combined.shape == (20, 21)  # at most time * 2 dim + 1
    assert ones.shape == (21,)
    columns = values.transpose(0, 1).flatten(1)
    torch.testing.assert_close(combined @ combined.T, columns.T @ columns)
    torch.testing.assert_close(combined @ ones, columns.sum(dim=0))
    assert float(ones @ ones) == pytest.approx(1000)
    few, ones = _combine(values[:, :3])
    torch.testing.assert_close(few, columns[:3].T)
    assert ones.tolist() == [1, 1, 1]


def test_ten_times_the_trajectories_give_ten_times_the_sum_and_the_same_h() -> None:
    data = PAIR.simulate(60, 4, 0.2, seeded(0), start="all-free", dtype=F64)
    values = data.values + 0.2 * randn(1, *data.values.shape)
    found = []
    for copies in (1, 10):
        H = srnn.QuadraticH(2, dtype=F64)
        squares = fit_quadratic(H, "leapfrog", values.repeat(1, copies, 1), 0.2)
        found.append((matrices(H), squares))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


# -- odd and bad input ----------------------------------------------------------------------------


def test_single_precision_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match=r"`hamiltonian` in float64; got torch\.float32\. Fit a c"):
        fit_quadratic(srnn.QuadraticH(2), "leapfrog", randn(0, 5, 3, 4), 0.1)


def test_single_precision_values_are_fitted_in_double_and_left_alone() -> None:
    data = CHAIN.simulate(40, 9, 0.1, seeded(0), start="all-free")
    before = data.values.clone()
    H = srnn.QuadraticH(4, dtype=F64)
    fit_quadratic(H, "leapfrog", data.values, 0.1)
    torch.testing.assert_close(matrices(H), shadow_matrices(CHAIN, 0.1), rtol=0, atol=1e-3)
    assert torch.equal(data.values, before)


def test_a_start_whose_rollout_overflows_stays_as_it_is() -> None:
    H = srnn.QuadraticH(2, dtype=F64)
    with torch.no_grad():
        H.potential.matrix.copy_(1e80 * torch.eye(2, dtype=F64))
    before = parameters_to_vector(H.parameters()).detach().clone()
    squares = fit_quadratic(H, "leapfrog", randn(0, 10, 5, 4), 0.1)
    assert torch.isinf(squares).all()
    assert torch.equal(parameters_to_vector(H.parameters()), before)


@pytest.mark.parametrize(("count", "time"), [(1, 2), (1, 10), (3, 10), (2, 2)])
def test_fewer_numbers_than_unknowns_are_fitted_all_the_same(count: int, time: int) -> None:
    data = CHAIN.simulate(count, time - 1, 0.1, seeded(0), start="all-free", dtype=F64)
    noisy = data.with_noise(0.1, generator=seeded(1))
    start, H = srnn.QuadraticH(4, dtype=F64), srnn.QuadraticH(4, dtype=F64)
    at_start = fit_quadratic(start, "leapfrog", noisy.values, 0.1, max_iterations=1)
    squares = fit_quadratic(H, "leapfrog", noisy.values, 0.1)
    assert torch.isfinite(parameters_to_vector(H.parameters())).all()
    assert squares.mean() <= at_start.mean()


def test_a_fitted_h_can_be_saved_and_trained_on(tmp_path: Any) -> None:
    data = PAIR.simulate(10, 9, 0.1, seeded(0), dtype=F64)
    H = srnn.QuadraticH(2, dtype=F64)
    fit_quadratic(H, "leapfrog", data.values, 0.1)
    model = srnn.SRNN(2, hamiltonian=H, generator=seeded(0))
    model.save(tmp_path / "model")
    loaded = srnn.load(tmp_path / "model")
    assert torch.equal(loaded.predict(data, steps=5).values, model.predict(data, steps=5).values)
    before = matrices(H)
    assert all(weight.requires_grad for weight in H.parameters())
    torch.optim.SGD(H.parameters(), 0.1).zero_grad()
    H(data.values).mean().backward()
    torch.optim.SGD(H.parameters(), 0.1).step()
    assert not torch.equal(matrices(H), before)
