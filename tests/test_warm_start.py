import numpy as np
import pytest
import torch
from helpers import F64, randn, seeded, slope

import srnn
from srnn.systems import SpringChain
from srnn.warm_start import least_squares, symmetric_least_squares

CHAIN = SpringChain([0.8, 1.3, 1.0, 0.6], [4.0, 6.0, 5.0, 7.0, 3.0])


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
