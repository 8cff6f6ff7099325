"""The best linear models of the chain: the loss they minimise, and that it is minimal."""

import pytest
import torch

from srnn import experiments
from srnn.experiments import linear_bound
from srnn.experiments.linear_bound import DT, SIGMA, bound, expected_loss
from srnn.experiments.reproduction import Fit, problem


def drawn(seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """A chain's exact step and the variances of its starts."""
    chain = problem(Fit("chain", "exact", training=1, tests=1, states=2), seed).system
    starts = chain.initial_states(20_000, torch.Generator().manual_seed(1))
    return torch.linalg.matrix_exp(DT * chain.matrix()), starts.square().mean(dim=0)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_expected_loss_is_the_mean_over_trajectories(recurrent: bool) -> None:
    exact, moments = drawn()
    g = torch.Generator().manual_seed(2)
    step = exact + 0.02 * torch.randn(40, 40, generator=g, dtype=torch.float64)
    state = moments.sqrt() * torch.randn(20_000, 40, generator=g, dtype=torch.float64)
    noise = SIGMA * torch.randn(10, *state.shape, generator=g, dtype=torch.float64)
    true = [state]
    for _ in range(9):
        true.append(true[-1] @ exact.mT)
    predicted, total = true[0] + noise[0], 0.0
    for now in range(9):
        before = predicted if recurrent else true[now] + noise[now]
        predicted = before @ step.mT
        # Against the truth: noise of the target would add the same to every model.
        total += float((predicted - true[now + 1]).square().sum(dim=-1).mean())
    expected = expected_loss(step, exact, moments, SIGMA, recurrent=recurrent)
    assert total == pytest.approx(float(expected), rel=0.02)


def test_of_single_euler_steps_it_is_the_regression_of_one_state_on_the_last() -> None:
    exact, _ = drawn()
    moments = torch.full((40,), 2.5**2 / 3, dtype=torch.float64)
    moments[[0, 19, 20, 39]] = 0  # the ends start at rest
    covariance, total = torch.diag(moments), torch.zeros(40, 40, dtype=torch.float64)
    for _ in range(9):
        total = total + covariance
        covariance = exact @ covariance @ exact.mT
    noisy = total + 9 * SIGMA**2 * torch.eye(40)
    expected = torch.linalg.solve(noisy, total @ exact.mT).mT
    found = bound("onet", "E", "E", "single", 5)
    assert (found.step - expected).abs().max() < 1e-4
    assert found.loss == pytest.approx(
        float(expected_loss(expected, exact, moments, SIGMA, recurrent=False)), rel=1e-8
    )


@pytest.mark.slow
def test_a_stored_row_is_computed_again() -> None:
    stored = experiments.load("linear_bound")
    assert len(stored["rows"]) == 12 * len(linear_bound.SEEDS)
    (row,) = (
        row
        for row in stored["rows"]
        if (row["model"], row["train"], row["test"]) == ("hnet", "L", "L")
        if (row["mode"], row["seed"]) == ("recurrent", 5)
    )
    again = bound("hnet", "L", "L", "recurrent", 5)
    assert row["loss"] == pytest.approx(again.loss, rel=1e-6)
    for states in (50, 200):
        assert row[f"0..{states}"] == pytest.approx(float(again.error[:states].mean()), rel=2e-3)
    # The exact motion is among the models, and would be the best one if nothing were noisy.
    assert bound("hnet", "L", "L", "recurrent", 5, sigma=1e-6).error.mean() < 1e-3


def test_which_published_rows_are_better_than_the_best_linear_model() -> None:
    rows = [row for row in experiments.load("linear_bound")["rows"] if row["seed"] == 5]
    better = {
        states: {
            (row["model"], row["train"], row["test"], row["mode"])
            for row in rows
            if row["published"][0] <= row[states]
        }
        for states in ("0..50", "0..200")
    }
    # Euler's steps of a linear H-NET expand without end, which a tanh does not.
    expanding = {("hnet", "E", "E", mode) for mode in ("single", "recurrent")}
    assert better["0..50"] == expanding
    assert better["0..200"] == expanding | {
        ("onet", "E", "E", "recurrent"),
        ("onet", "E", "L", "recurrent"),
        ("hnet", "E", "L", "single"),
    }
