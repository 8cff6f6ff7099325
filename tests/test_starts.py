"""Initial states that training optimises: where they go, what they leave alone, and the noise."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from helpers import F64, ConvexH, linear_matrix, randn, random_hnet, seeded
from scipy.optimize import minimize
from torch import Tensor

import srnn
from srnn.starts.iso import METHODS, optimise_initial_state
from srnn.starts.optimised import Starts, noise_weights
from srnn.training.recipes import Recipe

LEAPFROG = srnn.integrators.get("leapfrog")
CHAIN = srnn.systems.SpringChain([0.8, 1.3, 1.0], [4.0, 6.0, 5.0, 3.0])
WEIGHTS = torch.tensor([4.0] * 2 + [0.25] * 2, dtype=F64)


def noisy_states(net: Any, count: int = 6, time: int = 8, noise: float = 0.1) -> Tensor:
    z0 = randn(1, count, 2 * net.dim)
    states = srnn.rollout(net, "leapfrog", z0, dt=0.2, steps=time - 1).detach()
    return states + noise * randn(2, *states.shape)


def starts_of(net: Any, values: Tensor, integrator: Any = LEAPFROG, **settings: Any) -> Starts:
    return Starts(net, integrator, values, 0.2, Recipe(**({"iso": "gauss-newton"} | settings)))


# -- where they go --------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"loss_from": 1}, {"substeps": 2}])
@pytest.mark.parametrize("method", METHODS)
def test_each_start_becomes_the_minimiser_of_its_own_window(
    method: str, settings: dict[str, Any]
) -> None:
    net = random_hnet(0)
    values = noisy_states(net)
    starts = starts_of(net, values, iso=method, **settings)
    for _ in range(20):  # a few iterations each time, from where the last ones ended
        starts.optimise(WEIGHTS)
    expected = optimise_initial_state(
        net,
        values if "substeps" not in settings else srnn.Trajectories.from_states(values, dt=0.2),
        dt=0.1 if "substeps" in settings else 0.2,
        weights=WEIGHTS,
        loss_from=settings.get("loss_from", 0),
    )
    close = {"gauss-newton": 1e-6, "scipy": 1e-3}[method]
    torch.testing.assert_close(starts.z0, expected.states, rtol=0, atol=close)
    assert (expected.states - values[0]).abs().max() > 10 * close


def test_one_iteration_goes_on_where_the_last_one_ended() -> None:
    net = random_hnet(0)
    values = noisy_states(net)
    starts = starts_of(net, values, noise="equal")  # one iteration each time
    scores = [starts.score()]
    for _ in range(6):
        starts.optimise(starts.weights)
        scores.append(starts.score())
    assert all(b <= a for a, b in pairwise(scores))
    assert scores[1] > scores[-1] * (1 + 1e-6)  # one is not all
    best = optimise_initial_state(net, values, dt=0.2)
    assert scores[-1] == pytest.approx(float(best.loss.sum()) / values.numel(), rel=1e-9)


def test_recurrent_networks_have_starts_too() -> None:
    net = srnn.LSTM(2, 8, generator=seeded(0)).double()
    values = noisy_states(random_hnet(0))
    starts = starts_of(net, values, None)
    before = starts.squares().mean()
    for _ in range(50):
        starts.optimise(starts.weights)
    expected = optimise_initial_state(net, values, dt=0.2)
    torch.testing.assert_close(starts.z0, expected.states, rtol=0, atol=1e-6)
    assert starts.squares().mean() < before


def test_the_windows_and_the_networks_gradients_are_left_alone() -> None:
    net = random_hnet(0)
    values = noisy_states(net)
    before = values.clone()
    starts = starts_of(net, values)
    starts.settle()
    starts.optimise(starts.weights)
    assert torch.equal(values, before)
    assert all(weight.grad is None for weight in net.parameters())


# -- noise of unequal size ------------------------------------------------------------------------


def flow_matrices(dt: float, steps: int) -> Tensor:
    """F_t of the chain's exact motion, by the matrix exponential."""
    matrix = linear_matrix(torch.diag(1 / CHAIN.masses), CHAIN.stiffness_matrix())
    return torch.stack([torch.linalg.matrix_exp(matrix * dt * t) for t in range(steps + 1)])


def least_squares_starts(values: Tensor, weights: Tensor, loss_from: int) -> Tensor:
    """The closed form: stacked F_t against stacked observations."""
    root = weights.sqrt()
    stacked = (root[:, None] * flow_matrices(0.2, len(values) - 1))[loss_from:].flatten(0, 1)
    observed = (root * values)[loss_from:].transpose(0, 1).flatten(1)
    return torch.linalg.lstsq(stacked, observed.mT).solution.mT


@pytest.mark.parametrize("sizes", [(1.0, 1.0), (0.04, 0.0009), (1e-4, 5e-3, 1e-3, 2e-4)])
def test_noise_weights_are_those_of_maximum_likelihood(sizes: tuple[float, ...]) -> None:
    """Against a numerical maximum over the standard deviations."""

    def negative_log_likelihood(logs: Any) -> float:
        return float(
            sum(log + s / (2 * np.exp(2 * log)) for log, s in zip(logs, sizes, strict=True))
        )

    start = np.full(len(sizes), -2.0)
    logs = minimize(negative_log_likelihood, start, tol=1e-14, method="BFGS").x
    inverse = np.exp(-2 * logs)  # inverse variances, wanted up to a common factor
    squares = torch.tensor(sizes, dtype=F64)
    weights = noise_weights(squares)
    assert weights.tolist() == pytest.approx(inverse / np.exp(np.log(inverse).mean()), rel=1e-4)
    # The weighted mean is the quantity whose minimum maximum likelihood asks for.
    assert float((weights * squares).mean()) == pytest.approx(np.exp(np.log(sizes).mean()))


def test_what_has_no_residual_counts_for_a_bounded_number_of_times_more() -> None:
    for squares in ([0.0, 0.0, 1.0, 1.0], [1e-30, 0.0, 1.0, 3.0]):
        weights = noise_weights(torch.tensor(squares, dtype=F64))
        torch.testing.assert_close(weights[0] / weights[3], torch.tensor(1e4, dtype=F64))
        turned = noise_weights(torch.tensor(squares[::-1], dtype=F64))
        torch.testing.assert_close(turned, weights.flip(0))


@pytest.mark.parametrize("squares", [[0.0, 0.0], [torch.nan, 1.0], [1.0, torch.inf]])
def test_residuals_that_say_nothing_leave_equal_weights(squares: list[float]) -> None:
    assert noise_weights(torch.tensor(squares)).tolist() == [1.0, 1.0]


def unequal(count: int = 200) -> srnn.Trajectories:
    """0.2 on positions, 0.02 on momenta."""
    data = CHAIN.simulate(count, 19, 0.2, seeded(0), start="all-free", dtype=F64)
    g = seeded(1)
    return data.with_noise(0.2, on="q", generator=g).with_noise(0.02, on="p", generator=g)


def test_unequal_noise_is_found_and_makes_the_starts_better() -> None:
    data, errors = unequal(), {}
    for noise in ("estimated", "equal"):
        starts = starts_of(CHAIN.shadow_hamiltonian(0.2), data.values, noise=noise)
        starts.settle()
        errors[noise] = float((starts.z0 - data.clean[0]).square().mean().sqrt())
    assert torch.equal(starts.weights, torch.ones(6, dtype=F64))
    starts = starts_of(CHAIN.shadow_hamiltonian(0.2), data.values)
    starts.settle()
    assert float(starts.weights[0]) == pytest.approx(0.1, rel=0.05)
    assert float(starts.weights[-1]) == pytest.approx(10, rel=0.05)
    assert errors["estimated"] < 0.5 * errors["equal"]


def test_settled_starts_are_optimal_for_the_weights_they_estimated() -> None:
    data = unequal(20)
    starts = starts_of(CHAIN.shadow_hamiltonian(0.2), data.values)
    starts.settle()
    # Weights of the first estimate, which the second optimisation was for.
    first = starts_of(CHAIN.shadow_hamiltonian(0.2), data.values)
    first.optimise(first.weights)
    first.reweigh()
    expected = least_squares_starts(data.values, first.weights, 0)
    torch.testing.assert_close(starts.z0, expected, rtol=0, atol=1e-6)
    again = starts.variances()  # at the new starts, with the weights of the first estimate
    assert float(noise_weights(again)[0]) == pytest.approx(float(starts.weights[0]), rel=1e-2)


# -- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_from", [0, 1])
def test_squares_are_the_residuals_of_a_rollout_also_in_pieces(loss_from: int) -> None:
    """More windows than one piece holds, and not a multiple of it."""
    z0 = randn(0, 30000, 4)
    values = torch.stack([z0 + 0.1 * randn(k, 30000, 4) for k in range(1, 12)])
    rest = srnn.fields.VectorField(torch.zeros_like, dim=2)
    starts = starts_of(rest, values, loss_from=loss_from)
    expected = (values - values[0]).square()[loss_from:].mean(dim=(0, 1))
    torch.testing.assert_close(starts.squares(), expected)


def test_a_score_does_not_depend_on_the_weights_and_knows_each_coordinate() -> None:
    values = noisy_states(CHAIN)
    for noise in ("estimated", "equal"):
        starts = starts_of(CHAIN, values, noise=noise)
        squares = starts.squares()
        mean = squares.log().mean().exp() if noise == "estimated" else squares.mean()
        expected = float(mean)
        assert starts.score() == pytest.approx(expected)
        starts.weights = torch.tensor([100.0] * 3 + [0.01] * 3, dtype=F64)
        assert starts.score() == pytest.approx(expected)


def test_a_start_that_overflows_has_no_finite_score() -> None:
    class Wild(ConvexH):
        def kinetic_gradient(self, p: Tensor) -> Tensor:
            return 1e200 * p

        def potential_gradient(self, q: Tensor) -> Tensor:
            return q**3

    starts = starts_of(Wild(2), noisy_states(random_hnet(0)))
    starts.settle()
    assert not np.isfinite(starts.score())
    assert torch.equal(starts.weights, torch.ones(4, dtype=F64))
    assert torch.isfinite(starts.z0).all()


# -- a checkpoint's part --------------------------------------------------------------------------


def test_restored_starts_go_on_to_the_same_bits() -> None:
    net = random_hnet(0)
    values = noisy_states(net)
    first, second = (starts_of(net, values) for _ in range(2))
    first.optimise(first.weights)
    first.reweigh()
    state = first.state()
    assert set(state) == {"z0", "weights"}
    second.restore({name: tensor.clone() for name, tensor in state.items()})
    for starts in (first, second):
        starts.optimise(starts.weights)
    assert not torch.equal(first.z0, state["z0"])
    for name, tensor in first.state().items():
        assert torch.equal(tensor, second.state()[name])
