"""Initial-state optimisation with what is missing, singular, not finite or wrong."""

from typing import Any

import pytest
import torch
from helpers import F64, linear_matrix, randn, random_hnet, seeded
from torch import Tensor

import srnn
from srnn.starts.iso import METHODS, InitialStates, IsoStatus, optimise_initial_state

CHAIN = srnn.systems.SpringChain([1.0, 2.0, 0.5], [5.0, 4.0, 6.0, 3.0])
SHADOW = CHAIN.shadow_hamiltonian(0.1)


def kinds(found: InitialStates) -> list[IsoStatus]:
    return [IsoStatus(code) for code in found.status.tolist()]


def noisy(count: int = 4, steps: int = 9, seed: int = 0) -> Tensor:
    data = CHAIN.simulate(count, steps=steps, dt=0.1, generator=seeded(seed), dtype=F64)
    return data.with_noise(0.2, generator=seeded(seed + 1)).values


def powers(count: int) -> Tensor:
    """F_t of the chain's exact flow."""
    eye = torch.eye(3, dtype=F64)
    stiffness = torch.stack([CHAIN.potential_gradient(row) for row in eye], dim=1)
    matrix = linear_matrix(torch.diag(1 / CHAIN.masses.to(F64)), stiffness)
    return torch.stack([torch.linalg.matrix_exp(0.1 * k * matrix) for k in range(count)])


# -- fewer numbers than unknowns ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", METHODS)
def test_one_position_only_leaves_the_rest_free(method: str, dtype: torch.dtype) -> None:
    y = noisy().to(dtype)
    mask = torch.ones(y.shape, dtype=torch.bool)
    mask[:, 1] = False
    mask[0, 1, :3] = True  # q at t = 0, and nothing else
    how: dict[str, Any] = {"dt": 0.1, "method": method, "sigma": 0.2, "max_iterations": 100}
    alone = optimise_initial_state(SHADOW, y[:, [0, 2, 3]], **how)
    initial = randn(5, 4, 6).to(dtype)
    found = optimise_initial_state(SHADOW, y, mask=mask, initial=initial, **how)
    assert kinds(found)[1] == IsoStatus.UNDERDETERMINED
    close = 1e-6 if method == "gauss-newton" else 1e-3
    torch.testing.assert_close(found.states[1, :3], y[0, 1, :3], rtol=0, atol=close)
    # The step of least norm does not move p.
    torch.testing.assert_close(found.states[1, 3:], initial[1, 3:], rtol=0, atol=close)
    diagonal = found.covariance[1].diagonal()
    assert torch.isinf(diagonal[3:]).all()
    torch.testing.assert_close(
        found.covariance[1, :3, :3], 0.04 * torch.eye(3, dtype=dtype), rtol=1e-4, atol=1e-6
    )
    assert torch.isnan(found.covariance[1, 0, 3])
    torch.testing.assert_close(found.covariance[[0, 2, 3]], alone.covariance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_step_of_least_norm_is_that_of_the_pseudo_inverse(dtype: torch.dtype) -> None:
    """Four numbers at two times for six unknowns: what is free is no coordinate."""
    y = noisy().to(dtype)
    mask = torch.zeros(y.shape, dtype=torch.bool)
    mask[2, :, [0, 4]] = True
    mask[7, :, [1, 2]] = True
    initial = randn(5, 4, 6)
    found = optimise_initial_state(SHADOW, y, dt=0.1, mask=mask, initial=initial.to(dtype))
    assert kinds(found) == [IsoStatus.UNDERDETERMINED] * 4
    F = powers(10)
    for k in range(4):
        rows = F[mask[:, k]]
        residual = (F @ initial[k])[mask[:, k]] - y[:, k][mask[:, k]]
        expected = initial[k] - torch.linalg.pinv(rows) @ residual
        worst = (found.states[k] - expected).abs().max()
        assert float(worst) < (1e-11 if dtype == F64 else 1e-4)
    assert float(found.loss.max()) < (1e-20 if dtype == F64 else 1e-9)
    assert torch.isinf(found.covariance.diagonal(dim1=-2, dim2=-1)).all()
    assert torch.isnan(found.sigma).all()  # nothing is left to estimate it from


def test_what_is_free_is_seen_in_any_units() -> None:
    """In single precision, with momenta of 1e-6, of two masses only the first is observed."""
    spring = srnn.QuadraticH(2)  # two masses that know nothing of one another
    with torch.no_grad():
        spring.kinetic.matrix.copy_(1e6 * torch.eye(2))
        spring.potential.matrix.copy_(1e-6 * torch.eye(2))
    z0 = randn(0, 3, 4).float() * torch.tensor([1.0, 1.0, 1e-6, 1e-6])
    states = srnn.rollout(spring, "leapfrog", z0, dt=0.3, steps=9).detach()
    weights = torch.tensor([1.0, 0.0, 1e12, 0.0]).expand_as(states)
    start = z0 + torch.tensor([0.3, 0.5, 2e-7, 4e-7])
    found = optimise_initial_state(
        spring, states, dt=0.3, weights=weights, initial=start, sigma=1.0
    )
    assert kinds(found) == [IsoStatus.UNDERDETERMINED] * 3
    unit = torch.tensor([1.0, 1.0, 1e6, 1e6])
    torch.testing.assert_close(
        (unit * found.states)[:, [0, 2]], (unit * z0)[:, [0, 2]], rtol=0, atol=1e-5
    )
    assert torch.equal(found.states[:, [1, 3]], start[:, [1, 3]])
    diagonal = found.covariance.diagonal(dim1=-2, dim2=-1)
    assert torch.isinf(diagonal[:, [1, 3]]).all()
    torch.testing.assert_close(
        diagonal[:, [0, 2]] * torch.tensor([1.0, 1e12]), torch.full((3, 2), 0.1), rtol=0.2, atol=0
    )


def test_sigma_is_estimated_over_the_directions_that_are_seen() -> None:
    """Noise on one of two uncoupled masses: 2 unknowns are fitted and not 4."""
    pair, sigma, count = srnn.QuadraticH(2, dtype=F64), 0.1, 3000
    with torch.no_grad():
        pair.potential.matrix.copy_(torch.eye(2))
    z0 = randn(0, count, 4)
    states = srnn.rollout(pair, "leapfrog", z0, dt=0.3, steps=3).detach()
    y = states + sigma * randn(1, *states.shape)
    mask = torch.tensor([True, False, True, False])
    found = optimise_initial_state(pair, y, dt=0.3, mask=mask.expand_as(y))
    assert set(kinds(found)) == {IsoStatus.UNDERDETERMINED}
    # 8 numbers, 2 of them spent: dividing by 8 - 4 gives 1.5.
    assert abs(float(found.sigma.square().mean()) / sigma**2 - 1) < 0.05
    seen = found.covariance[:, [0, 2]][:, :, [0, 2]]
    ratio = seen.diagonal(dim1=-2, dim2=-1).mean(dim=0) / (found.states - z0)[:, [0, 2]].var(dim=0)
    torch.testing.assert_close(ratio, torch.ones(2, dtype=F64), rtol=0.1, atol=0)


# -- nothing observed -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_trajectory_without_a_point(method: str) -> None:
    y = noisy()
    mask = torch.ones(y.shape[:2], dtype=torch.bool)
    mask[:, 0] = False
    y[:, 0] = torch.nan
    found = optimise_initial_state(SHADOW, y, dt=0.1, mask=mask, method=method)
    assert kinds(found)[0] == IsoStatus.NO_POINTS
    for value in (found.states[0], found.loss[0], found.sigma[0]):
        assert torch.isnan(value).all()
    assert torch.isinf(found.covariance[0].diagonal()).all()
    others = optimise_initial_state(SHADOW, y[:, 1:], dt=0.1, method=method)
    torch.testing.assert_close(found.states[1:], others.states, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found.covariance[1:], others.covariance)
    assert torch.equal(found.status[1:], others.status)
    everywhere = torch.zeros_like(mask)
    with pytest.raises(ValueError, match="No point is observed in any trajectory from state 0 on"):
        optimise_initial_state(SHADOW, y, dt=0.1, mask=everywhere, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_observed_state_is_the_answer(method: str) -> None:
    y = noisy()[:1]
    found = optimise_initial_state(CHAIN, y, dt=0.1, method=method, sigma=0.2, initial=0 * y[0])
    torch.testing.assert_close(found.states, y[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.covariance, 0.04 * torch.eye(6, dtype=F64).expand(4, 6, 6))
    assert set(kinds(found)) == {IsoStatus.CONVERGED}
    assert torch.isnan(optimise_initial_state(CHAIN, y, dt=0.1, method=method).sigma).all()
    with pytest.raises(ValueError, match="No point is observed in any trajectory from state 1 on"):
        optimise_initial_state(CHAIN, y, dt=0.1, method=method, loss_from=1)


# -- numbers that are not finite ------------------------------------------------------------------


class Cliff:
    """An oscillator whose force is not a number beyond |q| = 1.2."""

    dim, separable = 1, True

    def __call__(self, z: Tensor) -> Tensor:
        return z.square().sum(dim=-1) / 2

    def kinetic_gradient(self, p: Tensor) -> Tensor:
        return p

    def potential_gradient(self, q: Tensor) -> Tensor:
        return torch.where(q.abs() > 1.2, torch.nan, q)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_stops_being_finite_in_a_line_search(method: str) -> None:
    z0 = torch.tensor([[0.5, 0.2], [3.0, 0.0], [-0.4, 0.6], [0.1, 0.3]], dtype=F64)
    y = srnn.rollout(srnn.systems.MassSpring(), "leapfrog", z0, dt=0.1, steps=9)
    y = y + 0.02 * randn(0, *y.shape)
    start = z0.clone()
    start[1] = torch.tensor([0.9, 0.0])  # what explains trajectory 1 lies beyond the cliff
    start[3] = torch.tensor([2.0, 0.0])  # not a number from the start
    how: dict[str, Any] = {"dt": 0.1, "method": method, "max_iterations": 100}
    found = optimise_initial_state(Cliff(), y, initial=start, **how)
    status = kinds(found)
    assert status[3] == IsoStatus.NON_FINITE
    assert torch.equal(found.states[3], start[3])
    assert torch.isnan(found.loss[3])
    assert torch.isnan(found.covariance[3]).all()
    assert status[1] == IsoStatus.NON_FINITE
    states = srnn.rollout(Cliff(), "leapfrog", found.states, dt=0.1, steps=9)
    loss = (states - y).square().sum(dim=(0, 2))
    torch.testing.assert_close(found.loss[:3], loss[:3], rtol=1e-12, atol=0)
    before = srnn.rollout(Cliff(), "leapfrog", start[1:2], dt=0.1, steps=9) - y[:, 1:2]
    assert float(loss[1]) < float(before.square().sum())  # the best state, not the start
    assert float(found.states[1].abs().max()) <= 1.2
    for index in (0, 2):
        assert status[index] == IsoStatus.CONVERGED
        alone = optimise_initial_state(Cliff(), y[:, [index]], initial=start[[index]], **how)
        torch.testing.assert_close(found.loss[index], alone.loss[0], rtol=1e-7, atol=0)


def test_an_implicit_step_without_a_solution_ends_one_trajectory_only() -> None:
    """Newton's method finds no root among numbers that are none, and gives up on the batch."""
    y = srnn.rollout(Cliff(), "implicit-midpoint", 0.5 * randn(0, 3, 2), dt=0.1, steps=3)
    start = y[0].clone()
    start[1] = 2.0
    start[2] += 0.01
    how: dict[str, Any] = {"dt": 0.1, "integrator": "implicit-midpoint"}
    with pytest.raises(srnn.errors.ConvergenceError):
        srnn.rollout(Cliff(), "implicit-midpoint", start, dt=0.1, steps=3)
    found = optimise_initial_state(Cliff(), y, initial=start, **how)
    assert kinds(found) == [IsoStatus.CONVERGED, IsoStatus.NON_FINITE, IsoStatus.CONVERGED]
    assert torch.equal(found.states[1], start[1])
    torch.testing.assert_close(found.states[[0, 2]], y[0, [0, 2]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_with_little_or_no_noise_it_arrives_and_does_not_stall(
    method: str, dtype: torch.dtype
) -> None:
    """The loss falls to what rounding makes of it, where no step lowers it any further."""
    net = random_hnet(0, dim=3).to(dtype)
    states = srnn.rollout(net, "leapfrog", randn(1, 6, 6).to(dtype), dt=0.2, steps=9).detach()
    start = states[0] + 0.1 * randn(2, 6, 6).to(dtype)
    how: dict[str, Any] = {"dt": 0.2, "method": method, "initial": start}
    how |= {"max_iterations": 300, "tolerance": 1e-15}
    found = optimise_initial_state(net, states, **how)
    assert set(kinds(found)) == {IsoStatus.CONVERGED}
    little = states + 1e-3 * randn(3, *states.shape).to(dtype)
    assert set(kinds(optimise_initial_state(net, little, **how))) == {IsoStatus.CONVERGED}
    close = {"gauss-newton": 30, "scipy": 1e7}[method] * torch.finfo(dtype).eps
    assert float((found.states - states[0]).abs().max()) < min(close, 1e-4)


def test_derivatives_that_promise_what_no_step_keeps_stall() -> None:
    class Rough:
        """A force with a ripple that its derivatives know nothing of."""

        dim, separable = 1, True

        def __call__(self, z: Tensor) -> Tensor:
            return z.square().sum(dim=-1) / 2

        def kinetic_gradient(self, p: Tensor) -> Tensor:
            return p

        def potential_gradient(self, q: Tensor) -> Tensor:
            return q + 1e-3 * torch.sin(1e7 * q.detach())

    y = srnn.rollout(srnn.systems.MassSpring(), "leapfrog", randn(0, 6, 2), dt=0.3, steps=4)
    y = y + 0.05 * randn(1, *y.shape)
    found = optimise_initial_state(Rough(), y, dt=0.3)
    assert IsoStatus.STALLED in kinds(found)
    assert set(kinds(found)) <= {IsoStatus.STALLED, IsoStatus.CONVERGED}
