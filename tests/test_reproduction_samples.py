import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from srnn import experiments
from srnn.experiments.reproduction._cells import Fit
from srnn.experiments.reproduction._work import problem


def oracle(table: str, model: str) -> experiments.Result:
    (cell,) = experiments.results(table, column="oracle", model=model, seed=0)
    return cell


@pytest.mark.parametrize("table", ["table1", "table2", "figure1"])
def test_the_data_are_those_of_the_stored_prediction(table: str) -> None:
    found = oracle(table, "perfect")
    got = experiments.sample(found)
    # A perfect prediction was stored with four digits from the data of its own time.
    assert_allclose(got.predicted, got.clean, rtol=1e-3, atol=1e-3)
    assert got.numbers == tuple(range(1, 20, 2))
    assert got.predicted.shape == got.observed.shape == got.clean.shape == (200, 10)
    assert_allclose(got.times, 0.1 * np.arange(200), rtol=1e-5)
    noise = (got.observed - got.clean).std()
    assert noise == pytest.approx(found.config["fit"]["sigma"], abs=0.01)


def test_the_test_set_does_not_depend_on_the_size_of_the_training_set() -> None:
    fit = Fit("chain", "perfect", sigma=0.2)
    few, many = (problem(dataclasses.replace(fit, training=n), 0).test for n in (1, 30))
    assert_array_equal(few.values, many.values)


def test_the_masses_are_those_of_their_numbers() -> None:
    got = experiments.sample(oracle("table1", "perfect"))
    test = problem(Fit("chain", "perfect", sigma=0.2, training=1), 0).test
    for column, number in enumerate(got.numbers):
        assert_array_equal(got.observed[:, column], test.q[:, 0, number - 1])


def test_three_bodies_have_all_positions() -> None:
    got = experiments.sample(oracle("table3", "true"))
    assert got.numbers == (1, 2, 3, 4, 5, 6)
    assert got.predicted.shape == (10, 6)
    assert_array_equal(got.observed, got.clean)  # no noise
    assert_allclose(got.predicted[0], got.clean[0], atol=1e-3)


def test_without_a_stored_prediction_there_is_none() -> None:
    (other,) = experiments.results("table1", model="perfect", seed=1)
    with pytest.raises(ValueError, match="of seed 0; got table1, perfect, seed 1"):
        experiments.sample(other)


def test_a_prediction_that_left_the_finite_numbers_is_no_number() -> None:
    found = oracle("table1", "perfect")
    assert found.sample is not None
    broken = [*found.sample[:-1], [float("nan")] * 10]
    got = experiments.sample(dataclasses.replace(found, sample=broken))
    assert np.isnan(got.predicted[-1]).all()
    assert np.isfinite(got.predicted[:-1]).all()
