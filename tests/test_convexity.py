"""The ISO loss' Hessian against autograd's of the plain loss, and the scans built on it."""

import math
from typing import Any

import pytest
import torch
from helpers import F64, ConvexH, JointHNet, randn, random_hnet, seeded
from torch import Tensor

import srnn
from srnn.motion.flow_map import flow_map
from srnn.starts import convexity
from srnn.starts.convexity import (
    ConvexRadius,
    EigenvalueGrid,
    conditioning,
    convex_radius,
    eigenvalue_along,
    eigenvalue_grid,
    iso_hessian,
)
from srnn.systems import DoublePendulum, HenonHeiles, MassSpring, Pendulum, SpringChain


class FreeFall:
    """H = p^2 / 2 + 3 q_1 - q_2: the force is the same everywhere."""

    dim, separable = 2, True

    def __call__(self, z: Tensor) -> Tensor:
        return (z[..., 2:] ** 2).sum(dim=-1) / 2 + 3 * z[..., 0] - z[..., 1]


CHAIN = SpringChain([1.0, 2.0], [3.0, 1.0, 2.0])
CASES: dict[str, tuple[Any, Any]] = {
    "hnet": (random_hnet(1), "leapfrog"),
    "hnet-deep": (random_hnet(2, hidden=(6, 5), quadratic=True), "yoshida4"),
    "onet": (srnn.ONet(2, 8, generator=seeded(3), dtype=F64), "rk4"),
    "onet-reused-kick": (
        srnn.ONet(2, 8, generator=seeded(3), dtype=F64),
        "leapfrog-reused-kick",
    ),
    "joint-tao2": (JointHNet(4), "tao2"),
    "double-pendulum": (DoublePendulum(), "tao2"),
    "henon-heiles": (HenonHeiles(), "leapfrog"),
    "convex": (ConvexH(2), "leapfrog"),
    "chain": (CHAIN, "leapfrog"),
    "quadratic": (srnn.QuadraticH(2, dtype=F64), "leapfrog"),
    "free-fall": (FreeFall(), "leapfrog"),
    "rnn": (srnn.RNN(2, 6, generator=seeded(5), dtype=F64), None),
    "lstm": (srnn.LSTM(2, 6, generator=seeded(6), dtype=F64), None),
}
LINEAR = {"chain", "quadratic", "free-fall"}


def start_and_data(field: Any, batch: int = 3, states: int = 5) -> tuple[Tensor, Tensor]:
    """Observations that no motion from the start is near, so that residuals are large."""
    return 0.4 * randn(0, batch, 2 * field.dim), randn(1, states, batch, 2 * field.dim)


def plain_loss(field: Any, method: Any, observed: Tensor, weights: Tensor, **how: Any) -> Any:
    """L(z0) of one trajectory, written as its definition."""

    def loss(z: Tensor) -> Tensor:
        states = srnn.rollout(field, method, z[None], steps=len(observed) - 1, **how)[:, 0]
        total: Tensor = (weights * (states - observed) ** 2).sum()
        return total

    return loss


@pytest.mark.parametrize("name", CASES)
def test_its_two_parts_sum_to_the_hessian_of_the_plain_loss(name: str) -> None:
    field, method = CASES[name]
    z0, observed = start_and_data(field, batch=2)
    found = iso_hessian(field, method, z0, observed, dt=0.2)
    for k in range(2):
        loss = plain_loss(field, method, observed[:, k], torch.ones(1, dtype=F64), dt=0.2)
        hessian = torch.autograd.functional.hessian(loss, z0[k])
        gradient = torch.autograd.functional.jacobian(loss, z0[k])
        torch.testing.assert_close(found.total[k], hessian, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.gradient[k], gradient, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.loss[k], loss(z0[k]).detach(), rtol=1e-13, atol=0)
    if name in LINEAR:
        assert found.curvature.abs().max() == 0
    else:  # a part that is zero would leave the sum unchecked
        assert found.curvature.abs().amax(dim=(1, 2)).min() > 1e-3


@pytest.mark.parametrize("name", ["hnet", "double-pendulum"])
def test_start_weights_and_substeps_enter_both_parts(name: str) -> None:
    field, method = CASES[name]
    z0, observed = start_and_data(field)
    weights = randn(2, 5, 3, 4).square()
    how: dict[str, Any] = {"dt": 0.2, "substeps": 2}
    found = iso_hessian(field, method, z0, observed, loss_from=1, weights=weights, **how)
    counted = weights.clone()
    counted[0] = 0
    for k in range(3):
        loss = plain_loss(field, method, observed[:, k], counted[:, k], **how)
        hessian = torch.autograd.functional.hessian(loss, z0[k])
        torch.testing.assert_close(found.total[k], hessian, rtol=1e-10, atol=1e-10)
    F = flow_map(field, method, z0, dt=0.2, steps=4, substeps=2)[1]
    gauss_newton = 2 * torch.einsum("tbki,tbk,tbkj->bij", F, counted, F)
    torch.testing.assert_close(found.gauss_newton, gauss_newton, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_gauss_newton_part_is_at_least_twice_the_identity(name: str) -> None:
    # F_0 = I is in the sum, whatever the field does later.
    field, method = CASES[name]
    z0, observed = start_and_data(field)
    found = iso_hessian(field, method, z0, observed, dt=0.2)
    assert torch.linalg.eigvalsh(found.gauss_newton).min() >= 2 * (1 - 1e-12)
    without = iso_hessian(field, method, z0, observed, dt=0.2, loss_from=1)
    dropped = (found.gauss_newton - without.gauss_newton) / 2
    torch.testing.assert_close(dropped, torch.eye(4, dtype=F64).expand(3, 4, 4))


def test_without_a_residual_there_is_no_curvature_of_it() -> None:
    field, z0 = random_hnet(1), randn(3, 3, 4)
    # The Hessian comes from autograd's rollout, whose states these are to the last bit.
    exact = srnn.rollout(field, "leapfrog", z0, dt=0.2, steps=6, gradient="autograd").detach()
    found = iso_hessian(field, "leapfrog", z0, exact, dt=0.2)
    assert (found.curvature == 0).all()
    assert torch.equal(found.total, found.gauss_newton)


def test_the_curvature_is_linear_in_the_residual() -> None:
    field, z0, noise = random_hnet(1), randn(3, 3, 4), randn(4, 7, 3, 4)
    exact = srnn.rollout(field, "leapfrog", z0, dt=0.2, steps=6).detach()
    once, thrice = (iso_hessian(field, "leapfrog", z0, exact + k * noise, dt=0.2) for k in (1, -3))
    torch.testing.assert_close(thrice.curvature, -3 * once.curvature, rtol=1e-12, atol=1e-13)
    assert torch.equal(thrice.gauss_newton, once.gauss_newton)


def test_both_parts_are_symmetric_to_the_last_bit() -> None:
    # Where eigenvalues are taken from one triangle, the other must not say something else.
    z0, observed = start_and_data(random_hnet(1))
    found = iso_hessian(random_hnet(1), "leapfrog", z0, observed, dt=0.2)
    assert torch.equal(found.curvature, found.curvature.mT)
    torch.testing.assert_close(found.gauss_newton, found.gauss_newton.mT, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("name", ["hnet", "convex", "lstm"])
def test_a_trajectory_does_not_depend_on_the_others(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, method = CASES[name]
    z0, observed = start_and_data(field, batch=5)
    together = iso_hessian(field, method, z0, observed, dt=0.2)
    monkeypatch.setattr("srnn.motion.flow_map._PIECE", 1)  # pieces of one trajectory
    pieces = iso_hessian(field, method, z0, observed, dt=0.2)
    alone = iso_hessian(field, method, z0[3:4], observed[:, 3:4], dt=0.2)
    for part in ("loss", "gradient", "gauss_newton", "curvature", "smallest"):
        whole = getattr(together, part)
        torch.testing.assert_close(getattr(pieces, part), whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(getattr(alone, part)[0], whole[3], rtol=1e-12, atol=1e-12)


def test_trajectories_bring_their_own_dt() -> None:
    z0, observed = start_and_data(Pendulum())
    data = srnn.Trajectories.from_states(observed, dt=0.2)
    found = iso_hessian(Pendulum(), "leapfrog", z0, data)
    expected = iso_hessian(Pendulum(), "leapfrog", z0, observed, dt=0.2)
    assert torch.equal(found.total, expected.total)
    assert torch.equal(iso_hessian(Pendulum(), "leapfrog", z0, data, dt=0.2).total, expected.total)
    with pytest.raises(ValueError, match=r"^Expected `dt` to be that of the trajectories, 0\.2;"):
        iso_hessian(Pendulum(), "leapfrog", z0, data, dt=0.1)


def test_what_has_no_weight_is_not_looked_at() -> None:
    field = random_hnet(1)
    z0, observed = start_and_data(field)
    weights = torch.ones_like(observed)
    weights[2, 1], weights[3, :, 2] = 0, 0
    expected = iso_hessian(field, "leapfrog", z0, observed, dt=0.2, weights=weights)
    gaps = observed.masked_fill(weights == 0, math.nan)
    found = iso_hessian(field, "leapfrog", z0, gaps, dt=0.2, weights=weights)
    assert torch.equal(found.total, expected.total)
    assert torch.equal(found.loss, expected.loss)


def test_it_leaves_no_trace_and_keeps_the_dtype() -> None:
    field = random_hnet(1)
    z0, observed = start_and_data(field)
    z0.requires_grad_()
    before = (z0.detach().clone(), observed.clone())
    found = iso_hessian(field, "leapfrog", z0, observed, dt=0.2)
    with torch.no_grad():
        quiet = iso_hessian(field, "leapfrog", z0, observed, dt=0.2)
    assert torch.equal(found.total, quiet.total)
    assert not any(x.requires_grad for x in vars(found).values())
    assert torch.equal(z0, before[0])
    assert torch.equal(observed, before[1])
    assert all(w.grad is None for w in field.parameters())
    single = iso_hessian(field.float(), "leapfrog", z0.float(), observed.float(), dt=0.2)
    assert {x.dtype for x in vars(single).values()} == {torch.float32}
    torch.testing.assert_close(single.total.double(), found.total, rtol=1e-4, atol=1e-4)


def test_a_motion_that_leaves_the_finite_numbers_has_no_eigenvalue_and_spares_the_rest() -> None:
    class Exploding:
        dim, separable = 1, True

        def __call__(self, z: Tensor) -> Tensor:
            return z[..., 1] ** 2 / 2 - torch.exp(z[..., 0])

    z0 = torch.tensor([[0.0, 0.0], [50.0, 0.0]], dtype=F64)
    observed = torch.zeros(5, 2, 2, dtype=F64)
    smallest = iso_hessian(Exploding(), "leapfrog", z0, observed, dt=0.1).smallest
    assert smallest.isnan().tolist() == [False, True]
    line = eigenvalue_along(
        Exploding(), "leapfrog", z0[:1], observed[:, :1], z0[1], [0.0, 50.0], dt=0.1
    )
    assert line.convex[:, 0].tolist() == [True, False]


def test_conditioning_is_that_of_half_the_gauss_newton_part() -> None:
    field = random_hnet(1)
    z0, observed = start_and_data(field)
    weights = randn(2, 5, 3, 4).square()
    found = conditioning(field, "leapfrog", z0, dt=0.2, steps=4, loss_from=1, weights=weights)
    hessian = iso_hessian(field, "leapfrog", z0, observed, dt=0.2, loss_from=1, weights=weights)
    expected = torch.linalg.eigvalsh(hessian.gauss_newton / 2)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found.condition, torch.linalg.cond(hessian.gauss_newton))


@pytest.mark.parametrize("loss_from", [0, 1])
def test_no_eigenvalue_is_below_the_bound(loss_from: int) -> None:
    z0 = 0.2 * randn(5, 20, 4)
    found = conditioning(HenonHeiles(), "leapfrog", z0, dt=0.2, steps=30, loss_from=loss_from)
    assert (found.eigenvalues[:, 0] >= found.bound * (1 - 1e-12)).all()
    # Of a symplectic F_t the smallest eigenvalue of F_t^T F_t is one over the largest.
    F = flow_map(HenonHeiles(), "leapfrog", z0, dt=0.2, steps=30)[1]
    widest = torch.linalg.matrix_norm(F, ord=2)[loss_from:]
    torch.testing.assert_close(found.bound, (widest**-2).sum(dim=0), rtol=1e-6, atol=1e-9)
    assert (found.bound >= 1 - loss_from).all()


def test_the_inverse_predicts_the_covariance_of_the_estimated_start() -> None:
    # A linear motion, so that least squares is exact: 3000 draws, each entry to a few per cent.
    z0, sigma = torch.tensor([[1.0, -0.5, 0.3, 0.2]], dtype=F64), 0.3
    F = flow_map(CHAIN, "leapfrog", z0, dt=0.3, steps=9)[1][:, 0].flatten(0, 1)
    noise = sigma * torch.randn(len(F), 3000, generator=seeded(6), dtype=F64)
    error = torch.linalg.lstsq(F, noise).solution
    measured = torch.linalg.eigvalsh(error @ error.mT / 3000).flip(0)
    found = conditioning(CHAIN, "leapfrog", z0, dt=0.3, steps=9)
    torch.testing.assert_close(measured, sigma**2 / found.eigenvalues[0], rtol=0.1, atol=0)


def test_conditioning_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    z0, weights = 0.2 * randn(5, 4, 4), randn(6, 6, 4, 4).square()
    how: dict[str, Any] = {"dt": 0.2, "steps": 5, "weights": weights}
    whole = conditioning(HenonHeiles(), "leapfrog", z0, **how)
    monkeypatch.setattr("srnn.starts.convexity._hessian._PIECE", 1)
    pieces = conditioning(HenonHeiles(), "leapfrog", z0, **how)
    torch.testing.assert_close(pieces.eigenvalues, whole.eigenvalues, rtol=1e-12, atol=0)
    torch.testing.assert_close(pieces.bound, whole.bound, rtol=1e-10, atol=0)


def test_of_a_chain_of_twenty_ten_points_are_conditioned_far_better_than_the_last() -> None:
    # The exact motion, by leapfrog on the Hamiltonian made for it; the oracle by matrix powers.
    chain, dt = SpringChain.random(20, generator=seeded(0)), 0.1
    step = torch.linalg.matrix_exp(dt * chain.matrix())
    powers = [torch.linalg.matrix_power(step, t) for t in range(10)]
    found = conditioning(
        chain.shadow_hamiltonian(dt), "leapfrog", torch.zeros(1, 40, dtype=F64), dt=dt, steps=9
    )
    expected = torch.linalg.cond(sum((P.mT @ P for P in powers), torch.zeros_like(step)))
    torch.testing.assert_close(found.condition[0], expected, rtol=1e-9, atol=0)
    assert 20 < expected < 30
    assert torch.linalg.cond(powers[9].mT @ powers[9]) > 300


def test_every_integrator_has_a_conditioning() -> None:
    found = conditioning(DoublePendulum(), "implicit-midpoint", randn(7, 2, 4), dt=0.1, steps=5)
    assert (found.bound > 1).all()
    assert (found.eigenvalues[:, 0] >= found.bound).all()


def test_along_a_line_it_is_the_hessian_at_each_point() -> None:
    field = random_hnet(1)
    z0, observed = start_and_data(field)
    u, distances = randn(8, 4), [-0.7, 0.0, 0.2]
    line = eigenvalue_along(field, "leapfrog", z0, observed, u, distances, dt=0.2)
    assert line.distances.tolist() == pytest.approx(distances)
    for k, s in enumerate(distances):
        there = iso_hessian(field, "leapfrog", z0 + s * u / u.norm(), observed, dt=0.2)
        torch.testing.assert_close(line.smallest[k], there.smallest, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(line.loss[k], there.loss, rtol=1e-12, atol=1e-12)
        assert torch.equal(line.convex[k], there.smallest > 0)


def test_each_trajectory_may_have_its_own_direction() -> None:
    field = random_hnet(1)
    z0, observed = start_and_data(field)
    u = randn(8, 3, 4)
    line = eigenvalue_along(field, "leapfrog", z0, observed, u, [0.5], dt=0.2)
    for k in range(3):
        one = (field, "leapfrog", z0[k : k + 1], observed[:, k : k + 1])
        alone = eigenvalue_along(*one, 3 * u[k], [0.5], dt=0.2)
        torch.testing.assert_close(line.smallest[:, k], alone.smallest[:, 0], rtol=1e-11, atol=0)


def test_the_loss_along_the_line_bends_at_least_as_much_as_the_smallest_eigenvalue() -> None:
    # u^T H u >= lambda_min for unit u; the second difference of the loss is u^T H u.
    z0 = torch.tensor([[1.0, 0.0]], dtype=F64)
    data = srnn.rollout(Pendulum(), "leapfrog", z0, dt=0.1, steps=40)
    s = torch.linspace(-2, 2, 401, dtype=F64)
    u = torch.tensor([1.0, 0.5], dtype=F64)
    line = eigenvalue_along(Pendulum(), "leapfrog", z0, data, u, s, dt=0.1)
    bend = (line.loss[2:] - 2 * line.loss[1:-1] + line.loss[:-2]) / 0.01**2
    assert (bend >= line.smallest[1:-1] - 0.05 * bend.abs() - 0.5).all()
    assert line.convex.any()
    assert not line.convex.all()


def the_grid(**changes: Any) -> EigenvalueGrid:
    given: dict[str, Any] = {"sigmas": [0.0, 0.5], "horizons": [3, 8], "generator": seeded(9)}
    z0 = 0.5 * randn(10, 4, 4)
    return eigenvalue_grid(HenonHeiles(), "leapfrog", z0, dt=0.2, **(given | changes))


@pytest.mark.parametrize("at", ["truth", "start"])
def test_the_grid_is_the_hessian_of_noisy_data(at: str) -> None:
    z0 = 0.5 * randn(10, 4, 4)
    grid = the_grid(at=at)
    clean = srnn.rollout(HenonHeiles(), "leapfrog", z0, dt=0.2, steps=8)
    unit = torch.randn(clean.shape, generator=seeded(9), dtype=F64)
    assert grid.smallest.shape == (2, 2, 4)
    for i, sigma in enumerate([0.0, 0.5]):
        observed = clean + sigma * unit
        start = z0 if at == "truth" else observed[0]
        for j, horizon in enumerate([3, 8]):
            data = observed[: horizon + 1]
            expected = iso_hessian(HenonHeiles(), "leapfrog", start, data, dt=0.2).smallest
            torch.testing.assert_close(grid.smallest[i, j], expected, rtol=1e-10, atol=1e-11)
    assert torch.equal(grid.fraction_convex, (grid.smallest > 0).double().mean(dim=-1))
    assert torch.equal(grid.quantile(0.0), grid.smallest.amin(dim=-1))
    assert grid.sigmas.tolist() == [0.0, 0.5]
    assert grid.horizons.tolist() == [3, 8]


def test_a_seed_gives_the_grid_again_and_a_finer_grid_the_same_points() -> None:
    assert torch.equal(the_grid().smallest, the_grid().smallest)
    assert not torch.equal(the_grid().smallest, the_grid(generator=seeded(11)).smallest)
    finer = the_grid(sigmas=[0.0, 0.1, 0.5], horizons=[3, 5, 8]).smallest
    torch.testing.assert_close(finer[::2, ::2], the_grid().smallest, rtol=1e-11, atol=1e-12)


def test_without_noise_the_grid_is_convex_and_counts_what_the_loss_counts() -> None:
    grid, dropped = the_grid(sigmas=[0.0]), the_grid(sigmas=[0.0], loss_from=1)
    assert (grid.fraction_convex == 1).all()
    torch.testing.assert_close(grid.smallest, dropped.smallest + 2, rtol=1e-10, atol=0)


def pendulum_data(steps: int = 40) -> tuple[Tensor, Tensor]:
    z0 = torch.tensor([[1.0, 0.0], [0.3, 0.0]], dtype=F64)
    return z0, srnn.rollout(Pendulum(), "leapfrog", z0, dt=0.1, steps=steps)


def test_the_radius_is_where_the_smallest_eigenvalue_changes_sign() -> None:
    z0, data = pendulum_data()
    u = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 1.0]], dtype=F64)
    found = convex_radius(
        Pendulum(), "leapfrog", z0, data, limit=4.0, directions=u, tolerance=1e-6, dt=0.1
    )
    assert found.distances.shape == (3, 2)
    assert found.distances.isfinite().all()
    assert torch.equal(found.radius, found.distances.amin(dim=0))
    for i, direction in enumerate(found.directions):
        torch.testing.assert_close(direction.norm(), torch.ones((), dtype=F64))
        for k in range(2):
            r = float(found.distances[i, k])
            places = [0.0, r / 3, r / 1.5, r - 1e-5, r + 1e-5]
            one = (Pendulum(), "leapfrog", z0[k : k + 1], data[:, k : k + 1])
            line = eigenvalue_along(*one, direction, places, dt=0.1)
            assert line.convex[:, 0].tolist() == [True, True, True, True, False]


def test_a_linear_motion_is_convex_as_far_as_one_looks() -> None:
    z0, observed = start_and_data(MassSpring())
    where = (MassSpring(), "leapfrog", z0, observed)
    found = convex_radius(*where, limit=1e3, directions=3, dt=0.1, generator=seeded(12))
    assert (found.radius == math.inf).all()
    assert found.limit == 1e3


def test_where_the_loss_is_not_convex_at_the_start_the_radius_is_zero() -> None:
    z0, data = pendulum_data()
    away = z0 + torch.tensor([2.0, 0.0], dtype=F64)
    assert (iso_hessian(Pendulum(), "leapfrog", away, data, dt=0.1).smallest[0]) < 0
    found = convex_radius(
        Pendulum(), "leapfrog", away, data, limit=1.0, dt=0.1, generator=seeded(13)
    )
    assert found.distances.shape == (16, 2)
    assert found.radius[0] == 0
    assert (found.distances[:, 0] == 0).all()


def test_random_directions_are_the_generators_and_a_trajectory_is_alone_as_among_others() -> None:
    z0, data = pendulum_data()
    how: dict[str, Any] = {"limit": 3.0, "directions": 4, "points": 8, "tolerance": 0.05, "dt": 0.1}

    def radius(z: Tensor, y: Tensor, seed: int) -> ConvexRadius:
        return convex_radius(Pendulum(), "leapfrog", z, y, generator=seeded(seed), **how)

    both, other = radius(z0, data, 14), radius(z0, data, 15)
    assert torch.equal(both.distances, radius(z0, data, 14).distances)
    assert not torch.equal(both.directions, other.directions)
    one = convex_radius(Pendulum(), "leapfrog", z0, data, **(how | {"directions": 3 * z0[0]}))
    assert one.directions.tolist() == [[1.0, 0.0]]  # may stand alone, of any length
    alone = radius(z0[1:], data[:, 1:], 14)
    torch.testing.assert_close(alone.distances[:, 0], both.distances[:, 1], rtol=1e-12, atol=0)


def refused(function: str, **changes: Any) -> Any:
    z0, data = pendulum_data(steps=4)
    given: dict[str, Any] = {"field": Pendulum(), "integrator": "leapfrog", "dt": 0.1}
    given |= {"z0": z0, "observed": data}
    given |= {
        "eigenvalue_along": {"direction": torch.ones(2, dtype=F64), "distances": [0.0]},
        "convex_radius": {"limit": 1.0},
    }.get(function, {})
    if function in ("eigenvalue_grid", "conditioning"):
        del given["observed"]
        given |= {"sigmas": [0.1], "horizons": [2]} if function[0] == "e" else {"steps": 2}
    return getattr(convexity, function)(**(given | changes))


IMPLICIT = r"^The second derivatives of 'implicit-midpoint' are not exact"
ONE_STATE = r"^Expected `z0` to have shape \(batch, 2\*dim\); got \(2,\)\."
REFUSED: dict[str, list[tuple[str, Any, str]]] = {
    "iso_hessian": [
        ("integrator", "implicit-midpoint", IMPLICIT + r" .* Use 'tao2' or 'tao4'"),
        ("integrator", "none", r"^Unknown `integrator`: 'none'\."),
        ("field", 3, r"^Expected a field, a Hamiltonian .*; got int\."),
        (
            *("field", srnn.SRNN(dim=1, hidden=4)),
            r"^Expected a field; got the model SRNN\. Pass model\.field",
        ),
        ("dt", None, r"^Expected `dt`, the time between two states of a plain tensor\.$"),
        ("dt", -1.0, r"^Expected `dt` to be a positive finite number"),
        ("z0", torch.zeros(2, dtype=F64), ONE_STATE + r" .* z0\[None\]\.$"),
        (
            *("observed", torch.zeros(5, 3, 2, dtype=F64)),
            r"^Expected `observed` to have shape \(time, batch, .* \(2, 2\); got \(5, 3, 2\)",
        ),
        (
            *("observed", torch.zeros(1, 2, 2, dtype=F64)),
            r"^Expected `observed` to have shape .* at least two times .*; got \(1, 2, 2\)\.$",
        ),
        (
            *("observed", torch.zeros(5, 2, 2)),
            r"^Expected `z0` and `observed` to have one dtype; got torch.float64 and",
        ),
        (
            *("observed", torch.full((5, 2, 2), math.nan, dtype=F64)),
            r"^Expected `observed` to be finite; 20 of 20 numbers are NaN",
        ),
        ("observed", [[1.0]], r"^Expected `observed` to be a torch.Tensor; got list\."),
        ("loss_from", 2, r"^Unknown `loss_from`: 2\. Known: 0, 1\.$"),
        (
            *("weights", torch.ones(3, dtype=F64)),
            r"^Expected `weights` to have the shape of the observed states \(5, 2, 2\), or",
        ),
        (
            *("weights", torch.tensor([1.0, -1.0], dtype=F64)),
            r"^Expected `weights` to be finite and not negative; the smallest is -1\.$",
        ),
        ("substeps", 0, r"^Expected `substeps` to be at least 1"),
    ],
    "conditioning": [("z0", torch.zeros(2, dtype=F64), ONE_STATE)],
    "eigenvalue_along": [
        ("integrator", srnn.integrators.ImplicitMidpoint(), IMPLICIT),
        ("direction", torch.zeros(2, dtype=F64), r"^Expected `direction` not to have length zero"),
        (
            *("direction", torch.ones(3, 2, dtype=F64)),
            r"^Expected `direction` to have shape \(2\*dim,\) or \(batch, 2\*dim\) = \(2, 2\); got",
        ),
        (
            *("direction", torch.ones(3, dtype=F64)),
            r"^Expected the last axis of `direction` to have length 2; got shape \(3,\)\.$",
        ),
        ("distances", [], r"^Expected `distances` to have shape \(points,\); got \(0,\)\.$"),
        ("distances", [math.inf], r"^Expected `distances` to be finite"),
    ],
    "eigenvalue_grid": [
        ("integrator", "implicit-midpoint", IMPLICIT),
        ("z0", torch.zeros(2, dtype=F64), ONE_STATE),
        ("sigmas", [], r"^Expected at least one of `sigmas` and one of `horizons`\.$"),
        ("sigmas", [-0.1], r"^Expected `sigmas` not to be negative; got -0\.1\.$"),
        ("horizons", [0], r"^Expected `horizons` to be at least 1; got 0\.$"),
        ("at", "end", r"^Unknown `at`: 'end'\. Known: 'truth', 'start'\.$"),
    ],
    "convex_radius": [
        ("integrator", "implicit-midpoint", IMPLICIT),
        ("limit", 0.0, r"^Expected `limit` to be a positive finite"),
        ("tolerance", 0.0, r"^Expected `tolerance` to be a positive"),
        ("directions", 0, r"^Expected `directions` to be at least 1"),
        (
            *("directions", torch.ones(2, 3, dtype=F64)),
            r"^Expected the last axis of `directions` to have length 2; got shape \(2, 3\)\.$",
        ),
        ("directions", torch.tensor(1.0), r"^Expected the last axis of `directions` .* shape \(\)"),
        ("points", 0, r"^Expected `points` to be at least 1"),
    ],
}


@pytest.mark.parametrize("function", REFUSED)
def test_what_is_refused(function: str) -> None:
    refused(function)  # what the refusals change is a good call
    for name, value, text in REFUSED[function]:
        wrong_type = "one dtype" in text or "; got int" in text or "; got list" in text
        wrong_type |= "got the model" in text
        with pytest.raises(TypeError if wrong_type else ValueError, match=text):
            refused(function, **{name: value})
