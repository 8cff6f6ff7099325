"""The texts of every refusal: what was expected, and what came."""

import functools
import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from srnn import _checks
from srnn.errors import CheckpointError, ConvergenceError, SrnnError, TrainingDiverged


class Elsewhere(torch.Generator):
    """A generator of another device, which this machine need not have."""

    device = torch.device("cuda:0")


ONE, OTHER = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
META, WEIGHTS = torch.zeros(1, device="meta"), torch.zeros(8, 2)
CONVERT = "Convert one of them with {}."
ARRAY = (
    "Expected `{}` to be a torch.Tensor; got ndarray. For NumPy arrays use torch.as_tensor(array)."
)
TYPES = "Expected `{}` and `{}` to have one dtype; got torch.{} and torch.{}. "
DEVICES = "Expected `{}` and `{}` to have one device; got {} and {}. "
# The text, the check, and what it is given.
WRONG_TYPES: list[tuple[Any, ...]] = [
    (
        "Expected `generator` to be a torch.Generator or None; got int. For a fixed seed pass "
        "torch.Generator().manual_seed(seed).",
        *(_checks.as_generator, 3),
    ),
    ("Expected `steps` to be an integer; got 2.0.", _checks.positive_int, 2.0, "steps"),
    ("Expected `steps` to be an integer; got True.", _checks.positive_int, True, "steps"),
    ("Expected `x` to be a number; got '1'.", _checks.finite, "1", "x"),
    ("Expected `dt` to be a positive number; got None.", _checks.positive, None, "dt"),
    ("Expected `dt` to be a positive number; got True.", _checks.positive, True, "dt"),
    ("Expected `hidden` to be an int or a non-empty tuple; got ().", _checks.hidden_sizes, ()),
    ("Expected `hidden` to be an int or a non-empty tuple; got '8'.", _checks.hidden_sizes, "8"),
    (ARRAY.format("z0"), _checks.float_tensor, np.zeros(2), "z0"),
    (
        "Expected `z0` to hold floating-point numbers; got torch.int64.",
        *(_checks.float_tensor, torch.zeros(2, dtype=torch.int64), "z0"),
    ),
    (
        TYPES.format("q", "p", "float32", "float64") + CONVERT.format(".to(dtype)"),
        *(_checks.same_as, ONE, "q", OTHER, "p"),
    ),
    (
        DEVICES.format("q", "p", "cpu", "meta") + CONVERT.format(".to(device)"),
        *(_checks.same_as, ONE, "q", META, "p"),
    ),
    (
        TYPES.format("q", "p", "float32", "float64") + CONVERT.format(".astype(dtype)"),
        *(functools.partial(_checks.same_as, convert=".astype"), ONE, "q", OTHER, "p"),
    ),
    (
        "Unknown dtype of `values`: torch.bfloat16. Known: 'float32', 'float64'.",
        *(_checks.known_float, ONE.to(torch.bfloat16), "values"),
    ),
    (
        TYPES.format("p", "weights", "float64", "float32") + CONVERT.format(".to(dtype)"),
        *(_checks.input_of, WEIGHTS, torch.zeros(5, 2).double(), "p"),
    ),
    (
        DEVICES.format("p", "weights", "meta", "cpu") + CONVERT.format(".to(device)"),
        *(_checks.input_of, WEIGHTS, torch.zeros(5, 2, device="meta"), "p"),
    ),
    (ARRAY.format("p"), _checks.input_of, WEIGHTS, np.zeros((5, 2)), "p"),
    *(
        (
            "Expected `net` to be a network or a Hamiltonian, something with `dim` that is called "
            f"on states; got {got}.",
            *(_checks.network, value, "net"),
        )
        for value, got in (
            (7, "int"),
            (abs, "builtin_function_or_method"),
            (dict, "the class dict"),
        )
    ),
]
WRONG_VALUES: list[tuple[Any, ...]] = [
    (
        "Expected `generator` on the CPU; got one on cuda:0. Random numbers are drawn on the CPU, "
        "the same for every device: pass torch.Generator().manual_seed(seed).",
        *(_checks.as_generator, Elsewhere()),
    ),
    ("Expected `steps` to be at least 1; got 0.", _checks.positive_int, 0, "steps"),
    (
        "Expected `length` to be at least 2; got 1.",
        *(functools.partial(_checks.positive_int, minimum=2), 1, "length"),
    ),
    ("Expected `x` to be a finite number; got inf.", _checks.finite, math.inf, "x"),
    *(
        (f"Expected `dt` to be a positive finite number; got {x}.", _checks.positive, x, "dt")
        for x in (0, -0.1, math.nan, math.inf)
    ),
    ("Expected `sigma` not to be negative; got -1.", _checks.non_negative, -1, "sigma"),
    ("Expected `share` to lie in [0, 1); got 1.", _checks.fraction, 1, "share"),
    ("Unknown `on`: 'z'. Known: 'q', 'p'.", _checks.choice, "z", "on", ("q", "p")),
    (
        "Unknown `dtype`: 'float63'. Known: 'float32', 'float64'.",
        *(_checks.float_dtype, "float63"),
    ),
    (
        "Unknown `dtype`: torch.float16. Known: 'float32', 'float64'.",
        *(_checks.float_dtype, torch.float16),
    ),
    ("Expected `hidden` to be at least 1; got -1.", _checks.hidden_sizes, (8, -1)),
    *(
        (
            f"Expected `z0` to have shape (batch, 2*dim) with dim=2; got {shape}.",
            *(_checks.state, torch.zeros(shape), "z0", 2),
        )
        for shape in ((), (3, 5), (4, 2))
    ),
    (
        "Expected `q` to be finite; 2 of 4 numbers are NaN or infinite, the first at index (0, 1).",
        *(_checks.all_finite, torch.tensor([[0.0, math.nan], [math.inf, 1.0]]), "q"),
    ),
    *(
        (
            "Expected `device` to be a device that this PyTorch can use, such as 'cpu'; "
            f"got {value!r}.",
            *(_checks.device, value),
        )
        for value in ("foo", 3.5)
    ),
    *(
        (
            f"Expected `p` to have shape (batch, dim) with dim=2; got {shape}.",
            *(_checks.half, torch.zeros(shape), "p", 2),
        )
        for shape in ((), (2, 3))
    ),
    (
        "Expected `p` to have shape (batch, dim) with dim=2; got (5, 3).",
        *(_checks.input_of, WEIGHTS, torch.zeros(5, 3), "p"),
    ),
]


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_texts(error: type[Exception]) -> None:
    for text, check, *given in WRONG_TYPES if error is TypeError else WRONG_VALUES:
        with pytest.raises(error, match=f"^{re.escape(text)}$") as caught:
            check(*given)
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


def test_steps_that_single_precision_parts_are_one() -> None:
    assert _checks.same_spacing(0.1, float(np.float32(0.1)))
    assert _checks.same_spacing(0.3, 0.1 + 0.2)
    assert _checks.same_spacing(1e-9, 1e-9)
    assert not _checks.same_spacing(0.1, 0.10001)
    assert not _checks.same_spacing(1e-9, 2e-9)


def test_a_device_is_one_that_can_be_used() -> None:
    assert _checks.device(None) is None
    assert _checks.device("cpu") == torch.device("cpu")
    assert _checks.device(torch.device("meta")) == torch.device("meta")


def test_a_network_is_called_and_has_a_size() -> None:
    net = torch.nn.Linear(2, 1)
    net.dim = 1
    assert _checks.network(net, "net") is net
    net.dim = 0
    with pytest.raises(ValueError, match=r"Expected `net.dim` to be at least 1; got 0"):
        _checks.network(net, "net")


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
