import numpy as np
import pytest
import torch
from helpers import F64, randn, seeded, slope

import srnn
from srnn.starts.optimised import Starts
from srnn.systems import SpringChain
from srnn.training.guess.warm_start import (
    distil,
    if_better,
    least_squares,
    symmetric_least_squares,
    variable_projection,
)
from srnn.training.recipes import Recipe

CHAIN = SpringChain([0.8, 1.3, 1.0, 0.6], [4.0, 6.0, 5.0, 7.0, 3.0])
LEAPFROG = srnn.integrators.get("leapfrog")
WITH_ISO = Recipe(iso="gauss-newton")
DISTILLED = WITH_ISO.replace(warm_start="distil")


def fitted(net: torch.nn.Module, dt: float, shift: float = 0.0) -> torch.nn.Module:
    data = CHAIN.simulate(50, 5, dt, seeded(0), start="all-free", dtype=F64)
    assert least_squares(net, data.values + shift, dt)
    return net


def errors(net: srnn.QuadraticH) -> tuple[float, float]:
    kinetic = net.kinetic.symmetric - torch.diag(1 / CHAIN.masses)
    potential = net.potential.symmetric - CHAIN.stiffness_matrix()
    return float(kinetic.detach().abs().max()), float(potential.detach().abs().max())


def test_the_fit_to_a_linear_chain_is_right_to_second_order() -> None:
    counts = (10, 20, 40)  # steps in a unit of time
    found = [errors(fitted(srnn.QuadraticH(4, dtype=F64), dt=1 / n)) for n in counts]
    assert max(found[-1]) < 0.05
    for half in zip(*found, strict=True):
        assert slope(counts, half) == pytest.approx(2, abs=0.1)


def test_a_linear_term_takes_up_a_shifted_origin() -> None:
    net, plain = (fitted(srnn.QuadraticH(4, dtype=F64), 0.02, shift) for shift in (0.7, 0.0))
    torch.testing.assert_close(net.potential.matrix, plain.potential.matrix, rtol=1e-8, atol=1e-8)
    centre = torch.full((4,), 0.7, dtype=F64)
    for form in (net.kinetic, net.potential):
        assert form.gradient(centre).abs().max() < 0.02
    assert net.potential.vector.abs().max() > 1


def test_an_hnet_starts_as_its_quadratic_fit() -> None:
    net = srnn.HNet(4, (8, 8), quadratic=True, generator=seeded(0), dtype=F64)
    before = [w.detach().clone() for w in net.kinetic.mlp.layers[:-1].parameters()]
    fitted(net, 0.02)
    alone = fitted(srnn.QuadraticH(4, dtype=F64), 0.02)
    z = randn(1, 5, 8)
    torch.testing.assert_close(net(z), alone(z), rtol=1e-12, atol=1e-12)
    # The networks' own hidden weights stay random, so that they can learn.
    after = list(net.kinetic.mlp.layers[:-1].parameters())
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_other_networks_are_left_as_they_are() -> None:
    values = randn(0, 5, 3, 4).float()
    for net in (
        srnn.HNet(2, 4, generator=seeded(0)),
        srnn.ONet(2, 4, generator=seeded(0)),
        srnn.LSTM(2, 4, generator=seeded(0)),
    ):
        before = torch.nn.utils.parameters_to_vector(net.parameters()).clone()
        assert not least_squares(net, values, 0.1)
        assert torch.equal(torch.nn.utils.parameters_to_vector(net.parameters()), before)


def test_single_precision_data_and_weights() -> None:
    data = CHAIN.simulate(50, 5, 0.02, seeded(0), start="all-free")
    before = data.values.clone()
    net = srnn.QuadraticH(4)
    assert least_squares(net, data.values, 0.02)
    assert net.kinetic.matrix.dtype == torch.float32
    assert max(errors(net)) < 0.05
    assert torch.equal(data.values, before)


@pytest.mark.parametrize(("rows", "ridge"), [(50, 0.0), (50, 0.3), (3, 1e-3)])
def test_symmetric_least_squares_is_the_optimum_of_a_dense_solver(rows: int, ridge: float) -> None:
    d = 4
    x, y = randn(0, rows, d), randn(1, rows, d)  # y is no linear function of x at all
    found = symmetric_least_squares(x, y, ridge)
    assert torch.equal(found, found.mT) or (found - found.mT).abs().max() < 1e-14

    # Unknowns: the upper triangle.  Rows: every component of A x_n = y_n, then the ridge.
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    basis = torch.zeros(len(pairs), d, d, dtype=F64)
    for k, (i, j) in enumerate(pairs):
        basis[k, i, j] = basis[k, j, i] = 1
    weight = (ridge * float((x * x).sum()) / d) ** 0.5
    design = torch.cat(
        (
            torch.einsum("kij,nj->nik", basis, x).reshape(-1, len(pairs)),
            weight * basis.flatten(1).mT,
        )
    )
    target = torch.cat((y.flatten(), torch.zeros(d * d, dtype=F64)))
    solution = np.linalg.lstsq(design.numpy(), target.numpy(), rcond=None)[0]
    expected = torch.einsum("k,kij->ij", torch.from_numpy(solution), basis)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_symmetric_least_squares_recovers_a_symmetric_matrix() -> None:
    matrix = randn(0, 5, 5)
    matrix = matrix + matrix.mT
    x = randn(1, 30, 5)
    torch.testing.assert_close(symmetric_least_squares(x, x @ matrix, 0.0), matrix)


def test_directions_that_never_vary_are_given_no_curvature() -> None:
    x = randn(0, 20, 3)
    x[:, 1] = 0
    found = symmetric_least_squares(x, x @ torch.diag(torch.tensor([2.0, 5.0, 3.0]).double()), 0.0)
    torch.testing.assert_close(found, torch.diag(torch.tensor([2.0, 0.0, 3.0]).double()))


def test_data_at_rest_leave_finite_weights() -> None:
    net = srnn.QuadraticH(2, dtype=F64)
    assert least_squares(net, torch.ones(5, 3, 4, dtype=F64), 0.1)
    for weight in net.parameters():
        assert not weight.any()


# -- through the integrator, with every start solved ----------------------------------------------


def noisy(count: int = 200, noise: float = 0.1) -> srnn.Trajectories:
    data = CHAIN.simulate(count, 9, 0.1, seeded(0), start="all-free", dtype=F64)
    return data.with_noise(noise, generator=seeded(1))


def shadow_errors(net: srnn.QuadraticH) -> float:
    """Largest error of K and V against the H whose leapfrog step is the chain's motion."""
    shadow, eye = CHAIN.shadow_hamiltonian(0.1), torch.eye(4, dtype=F64)
    kinetic = net.kinetic.symmetric - shadow.kinetic_gradient(eye)
    potential = net.potential.symmetric - shadow.potential_gradient(eye)
    return max(float(kinetic.detach().norm()), float(potential.detach().norm()))


def test_noise_biases_single_steps_and_not_the_fit_through_the_integrator() -> None:
    data, by_steps, by_windows = noisy(400), *(srnn.QuadraticH(4, dtype=F64) for _ in range(2))
    assert least_squares(by_steps, data.values, data.dt)
    assert variable_projection(by_windows, "leapfrog", data, WITH_ISO)
    assert shadow_errors(by_windows) < 0.4 * shadow_errors(by_steps)
    single = srnn.QuadraticH(4)
    assert variable_projection(single, "leapfrog", data.to(torch.float32), WITH_ISO)
    torch.testing.assert_close(
        single.potential.symmetric, by_windows.potential.symmetric.float(), rtol=1e-3, atol=1e-3
    )


def test_an_hnet_takes_the_fit_over_into_its_quadratic_term() -> None:
    data = noisy()
    net = srnn.HNet(4, (8, 8), quadratic=True, generator=seeded(0), dtype=F64)
    alone = srnn.QuadraticH(4, dtype=F64)
    for each in (net, alone):
        assert variable_projection(each, "leapfrog", data, WITH_ISO)
    z = randn(1, 5, 8)
    torch.testing.assert_close(net(z), alone(z), rtol=1e-6, atol=1e-6)


def test_nets_without_quadratic_terms_wait_to_be_asked() -> None:
    data = noisy(20)
    for net in (
        srnn.HNet(4, 8, generator=seeded(0), dtype=F64),
        srnn.ONet(4, 8, generator=seeded(0)).double(),
    ):
        before = torch.nn.utils.parameters_to_vector(net.parameters()).clone()
        assert not variable_projection(net, "leapfrog", data, WITH_ISO)
        assert not if_better(net, LEAPFROG, data, None, WITH_ISO)
        assert torch.equal(torch.nn.utils.parameters_to_vector(net.parameters()), before)
    onet = srnn.ONet(4, 8, generator=seeded(0)).double()
    assert not variable_projection(onet, "leapfrog", data, DISTILLED)


# -- into a plain H-NET ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_distilled_net_has_the_gradient_of_the_form(dtype: torch.dtype) -> None:
    root = randn(0, 4, 4)
    form = srnn.nn.QuadraticForm(4, dtype=F64)
    with torch.no_grad():
        form.matrix.copy_(root @ root.T)
        form.vector.copy_(randn(1, 4))
    mlp = srnn.nn.MLP(4, 1, 256, generator=seeded(0), dtype=dtype)
    x = randn(2, 2000, 4)
    distil(mlp, form, x[:1000])
    for part in x.split(1000):  # also where it was not fitted
        wanted = form.gradient(part)
        error = mlp.input_gradient(part.to(dtype)).double() - wanted
        assert error.norm() < 0.02 * wanted.norm()
        assert wanted.norm() > 10


def test_only_one_hidden_layer_is_distilled_into() -> None:
    form = srnn.nn.QuadraticForm(4, dtype=F64)
    for hidden, count in (((8, 8), 2), ((8, 8, 8), 3)):
        mlp = srnn.nn.MLP(4, 1, hidden, generator=seeded(0), dtype=F64)
        with pytest.raises(ValueError, match=f"one hidden layer to distil into; got {count}. Give"):
            distil(mlp, form, randn(0, 10, 4))


def test_a_plain_hnet_starts_near_the_quadratic_fit() -> None:
    data = noisy()
    net = srnn.HNet(4, 256, generator=seeded(0), dtype=F64)
    alone = srnn.QuadraticH(4, dtype=F64)
    before = scored(net, data)
    assert if_better(net, LEAPFROG, data, None, DISTILLED)
    variable_projection(alone, "leapfrog", data, WITH_ISO)
    z = data.values.flatten(0, 1)
    fields = [srnn.fields.as_field(h)(z).detach() for h in (net, alone)]
    assert (fields[0] - fields[1]).norm() < 0.02 * fields[1].norm()
    assert scored(net, data) < 1.05 * scored(alone, data)
    assert scored(net, data) < 0.1 * before


def test_without_iso_it_starts_near_the_fit_from_the_observed_states() -> None:
    data = noisy()
    net = srnn.HNet(4, 256, generator=seeded(0), dtype=F64)
    alone, other = (srnn.QuadraticH(4, dtype=F64) for _ in range(2))
    assert if_better(net, LEAPFROG, data, None, Recipe(warm_start="distil"))
    variable_projection(alone, "leapfrog", data, Recipe(warm_start="rollout"))
    variable_projection(other, "leapfrog", data, WITH_ISO)
    z = data.values.flatten(0, 1)
    field, wanted, with_iso = (srnn.fields.as_field(h)(z).detach() for h in (net, alone, other))
    assert (field - wanted).norm() < 0.2 * (wanted - with_iso).norm()


@pytest.mark.parametrize("recipe", ["distil", True])
def test_a_fit_that_is_worse_on_held_out_trajectories_is_not_taken(recipe: bool | str) -> None:
    """Those move by another chain, whose H the net has at hand."""
    other = SpringChain([1.0] * 4, [1.0] * 5)
    held_out = other.simulate(20, 9, 0.1, seeded(0), start="all-free", dtype=F64)
    settings = WITH_ISO.replace(warm_start=recipe)
    net = srnn.HNet(4, 64, quadratic=recipe is True, generator=seeded(0), dtype=F64)
    assert if_better(net, LEAPFROG, held_out, held_out, settings)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert not if_better(net, LEAPFROG, noisy(40), held_out, settings)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def scored(net: torch.nn.Module, data: srnn.Trajectories) -> float:
    starts = Starts(net, LEAPFROG, data.values, data.dt, WITH_ISO)
    starts.settle()
    return starts.score()
