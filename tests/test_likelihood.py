"""Maximum likelihood of Gaussian noise, against SciPy's densities and the definition."""

import math
from typing import Any

import pytest
import scipy.optimize
import scipy.stats
import torch
from helpers import F64, randn, seeded

from srnn.starts import likelihood
from srnn.starts.likelihood import estimated_sigma, negative_log_likelihood


@pytest.mark.parametrize("sigma", [0.03, 0.7, 12.0])
def test_it_is_the_sum_of_the_normal_log_densities(sigma: float) -> None:
    residuals = randn(0, 7, 3, 4)
    densities = scipy.stats.norm.logpdf(residuals.numpy(), scale=sigma)
    expected = torch.from_numpy(-densities.sum(axis=(0, 2)))
    found = negative_log_likelihood(residuals, sigma)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-12)


def test_a_trajectory_counts_alone() -> None:
    residuals = randn(1, 7, 3, 4)
    found = negative_log_likelihood(residuals, 0.5)
    for k in range(3):
        alone = negative_log_likelihood(residuals[:, k : k + 1], 0.5)
        torch.testing.assert_close(found[k : k + 1], alone, rtol=1e-14, atol=0)


def test_differences_are_those_of_the_mean_squared_error() -> None:
    # The constant drops out, so that the fit of least squares is the likeliest.
    one, other, sigma = randn(2, 6, 1, 4), randn(3, 6, 1, 4), 0.4
    mse = one.square().mean() - other.square().mean()
    found = negative_log_likelihood(one, sigma) - negative_log_likelihood(other, sigma)
    torch.testing.assert_close(found[0], 24 * mse / (2 * sigma**2), rtol=1e-12, atol=0)


def test_its_gradient_is_the_residual_over_the_variance() -> None:
    residuals = randn(4, 6, 2, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(negative_log_likelihood(residuals, 0.3).sum(), residuals)
    torch.testing.assert_close(gradient, residuals.detach() / 0.09, rtol=1e-12, atol=0)


def test_the_likeliest_sigma_is_the_estimate() -> None:
    residuals = 0.37 * randn(5, 8, 3, 4)
    found = scipy.optimize.minimize_scalar(
        lambda log: float(negative_log_likelihood(residuals, math.exp(log)).sum()),
        bounds=(math.log(0.01), math.log(10)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert math.exp(found.x) == pytest.approx(float(estimated_sigma(residuals)), rel=1e-6)


def test_the_estimate_is_the_root_mean_square() -> None:
    residuals = randn(6, 5, 2, 4)
    expected = residuals.square().mean().sqrt()
    torch.testing.assert_close(estimated_sigma(residuals), expected, rtol=1e-14, atol=0)


def test_with_the_fitted_parameters_it_is_unbiased_for_a_linear_fit() -> None:
    # 4000 straight lines through 6 points each: the mean variance has a relative standard error of
    # sqrt(2 / (4000 * 4)) = 1.1 %, and leaving out the two parameters makes it 33 % too small.
    design = torch.stack((torch.ones(6, dtype=F64), torch.arange(6, dtype=F64)), dim=1)
    y = 0.5 * torch.randn(6, 4000, generator=seeded(7), dtype=F64)
    residuals = y - design @ torch.linalg.lstsq(design, y).solution
    variance = float(estimated_sigma(residuals, parameters=2 * 4000) ** 2)
    assert variance == pytest.approx(0.25, rel=0.035)
    each = [float(estimated_sigma(residuals[:, k], parameters=2) ** 2) for k in range(4000)]
    assert sum(each) / 4000 == pytest.approx(variance, rel=1e-12)
    assert float(estimated_sigma(residuals) ** 2) == pytest.approx(variance * 4 / 6, rel=1e-12)


def test_the_scale_of_the_states_scales_sigma() -> None:
    residuals = randn(8, 5, 2, 4)
    scaled = estimated_sigma(1e3 * residuals, 8)
    torch.testing.assert_close(scaled, 1e3 * estimated_sigma(residuals, 8), rtol=1e-13, atol=0)


def test_dtype_follows_the_residuals() -> None:
    residuals = randn(9, 5, 2, 4).float()
    assert negative_log_likelihood(residuals, 0.3).dtype == torch.float32
    assert estimated_sigma(residuals, 4).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: negative_log_likelihood(torch.zeros(3, 2), 1.0),
            r"^Expected `residuals` to have shape \(time, batch, 2\*dim\); got \(3, 2\)\.$",
        ),
        (
            lambda: negative_log_likelihood(torch.zeros(3, 2, 0), 1.0),
            r"^Expected `residuals` to have shape \(time, batch, 2\*dim\); got \(3, 2, 0\)\.$",
        ),
        (
            lambda: negative_log_likelihood(torch.zeros(3, 1, 2), 0.0),
            r"^Expected `sigma` to be a positive finite number; got 0\.0\.$",
        ),
        (
            lambda: estimated_sigma(torch.zeros(4), parameters=4),
            r"^Expected more residuals than the 4 parameters fitted to them; got 4\.$",
        ),
        (
            lambda: estimated_sigma(torch.zeros(4), parameters=-1),
            r"^Expected `parameters` to be at least 0; got -1\.$",
        ),
    ],
)
def test_what_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize("name", likelihood.__all__)
def test_an_array_that_is_no_tensor_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=r"^Expected `residuals` to be a torch.Tensor; got list\."):
        getattr(likelihood, name)([[[1.0, 2.0]]], 1)
