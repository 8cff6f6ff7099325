"""The texts of every refusal: what was expected, and what came."""

import math
import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from srnn import _checks
from srnn.errors import (
    CheckpointError,
    ConvergenceError,
    SrnnError,
    TrainingDiverged,
)

CASES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: _checks.as_generator(3),
        TypeError,
        "Expected `generator` to be a torch.Generator or None; got int. For a fixed seed pass "
        "torch.Generator().manual_seed(seed).",
    ),
    (
        lambda: _checks.positive_int(2.0, "steps"),
        TypeError,
        "Expected `steps` to be an integer; got 2.0.",
    ),
    (
        lambda: _checks.positive_int(True, "steps"),
        TypeError,
        "Expected `steps` to be an integer; got True.",
    ),
    (
        lambda: _checks.positive_int(0, "steps"),
        ValueError,
        "Expected `steps` to be at least 1; got 0.",
    ),
    (
        lambda: _checks.positive_int(1, "length", minimum=2),
        ValueError,
        "Expected `length` to be at least 2; got 1.",
    ),
    (lambda: _checks.finite("1", "x"), TypeError, "Expected `x` to be a number; got '1'."),
    (
        lambda: _checks.finite(math.inf, "x"),
        ValueError,
        "Expected `x` to be a finite number; got inf.",
    ),
    (
        lambda: _checks.positive(None, "dt"),
        TypeError,
        "Expected `dt` to be a positive number; got None.",
    ),
    (
        lambda: _checks.positive(True, "dt"),
        TypeError,
        "Expected `dt` to be a positive number; got True.",
    ),
    *(
        (
            lambda value=value: _checks.positive(value, "dt"),
            ValueError,
            f"Expected `dt` to be a positive finite number; got {value}.",
        )
        for value in (0, -0.1, math.nan, math.inf)
    ),
    (
        lambda: _checks.non_negative(-1, "sigma"),
        ValueError,
        "Expected `sigma` not to be negative; got -1.",
    ),
    (
        lambda: _checks.fraction(1, "share"),
        ValueError,
        "Expected `share` to lie in [0, 1); got 1.",
    ),
    (
        lambda: _checks.choice("z", "on", ("q", "p")),
        ValueError,
        "Unknown `on`: 'z'. Known: 'q', 'p'.",
    ),
    (
        lambda: _checks.float_dtype("float63"),
        ValueError,
        "Unknown `dtype`: 'float63'. Known: 'float32', 'float64'.",
    ),
    (
        lambda: _checks.float_dtype(torch.float16),
        ValueError,
        "Unknown `dtype`: torch.float16. Known: 'float32', 'float64'.",
    ),
    (
        lambda: _checks.hidden_sizes(()),
        TypeError,
        "Expected `hidden` to be an int or a non-empty tuple; got ().",
    ),
    (
        lambda: _checks.hidden_sizes("8"),
        TypeError,
        "Expected `hidden` to be an int or a non-empty tuple; got '8'.",
    ),
    (
        lambda: _checks.hidden_sizes((8, -1)),
        ValueError,
        "Expected `hidden` to be at least 1; got -1.",
    ),
    (
        lambda: _checks.float_tensor(np.zeros(2), "z0"),
        TypeError,
        "Expected `z0` to be a torch.Tensor; got ndarray. For NumPy arrays use "
        "torch.as_tensor(array).",
    ),
    (
        lambda: _checks.float_tensor(torch.zeros(2, dtype=torch.int64), "z0"),
        TypeError,
        "Expected `z0` to hold floating-point numbers; got torch.int64.",
    ),
    *(
        (
            lambda shape=shape: _checks.state(torch.zeros(shape), "z0", 2),
            ValueError,
            f"Expected `z0` to have shape (batch, 2*dim) with dim=2; got {shape}.",
        )
        for shape in ((), (3, 5), (4, 2))
    ),
    (
        lambda: _checks.all_finite(torch.tensor([[0.0, math.nan], [math.inf, 1.0]]), "q"),
        ValueError,
        "Expected `q` to be finite; 2 of 4 numbers are NaN or infinite, the first at index (0, 1). "
        "Missing points are not supported yet: cut the trajectories at the gaps.",
    ),
    (
        lambda: _checks.same_as(torch.zeros(1), "q", torch.zeros(1).double(), "p"),
        TypeError,
        "Expected `q` and `p` to have one dtype; got torch.float32 and torch.float64. "
        "Convert one of them with .to(dtype).",
    ),
    (
        lambda: _checks.same_as(torch.zeros(1), "q", torch.zeros(1, device="meta"), "p"),
        TypeError,
        "Expected `q` and `p` to have one device; got cpu and meta. "
        "Convert one of them with .to(device).",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), CASES, ids=[case[2][:60] for case in CASES])
def test_texts(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(text)}$") as caught:
        call()
    assert type(caught.value) is error


def test_what_is_accepted_comes_back_as_plain_numbers() -> None:
    for value in (3, np.int64(3), np.uint8(3)):
        checked = _checks.positive_int(value, "steps")
        assert (checked, type(checked)) == (3, int)
    for value in (0.5, np.float32(0.5), np.float64(0.5), Fraction(1, 2)):
        for check in (_checks.positive, _checks.finite, _checks.non_negative, _checks.fraction):
            checked = check(value, "x")
            assert (checked, type(checked)) == (0.5, float)
    assert _checks.finite(-1, "x") == -1.0
    assert _checks.fraction(0, "x") == 0.0
    assert _checks.hidden_sizes(np.int64(8)) == (8,)
    assert _checks.hidden_sizes([8, 4]) == (8, 4)


def test_dtypes_by_name_and_by_object() -> None:
    assert _checks.float_dtype("float64") is torch.float64
    assert _checks.float_dtype(torch.float32) is torch.float32
    assert _checks.weight_dtype(None) is torch.get_default_dtype()
    assert _checks.weight_dtype("float64") is torch.float64


def test_a_missing_generator_is_fresh_entropy() -> None:
    seeds = {_checks.as_generator(None).initial_seed() for _ in range(3)}
    assert len(seeds) == 3
    given = torch.Generator()
    assert _checks.as_generator(given) is given


def test_halves_are_q_then_p() -> None:
    q, p = _checks.halves(torch.arange(8.0).reshape(2, 4))
    assert q.tolist() == [[0, 1], [4, 5]]
    assert p.tolist() == [[2, 3], [6, 7]]


def test_checked_values_are_not_copied() -> None:
    z = torch.zeros(3, 4)
    assert _checks.all_finite(_checks.state(z, "z", 2), "z") is z


def test_the_librarys_own_errors_have_one_root() -> None:
    for error in (CheckpointError, ConvergenceError, TrainingDiverged):
        assert issubclass(error, SrnnError)
    diverged = TrainingDiverged("in epoch 3", epoch=3, history=[1.0, 2.0])
    assert (diverged.epoch, diverged.history, str(diverged)) == (3, [1.0, 2.0], "in epoch 3")
