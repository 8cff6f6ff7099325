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


class Elsewhere(torch.Generator):
    """A generator of another device, which this machine need not have."""

    device = torch.device("cuda:0")


CASES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: _checks.as_generator(3),
        TypeError,
        "Expected `generator` to be a torch.Generator or None; got int. For a fixed seed pass "
        "torch.Generator().manual_seed(seed).",
    ),
    (
        lambda: _checks.as_generator(Elsewhere()),
        ValueError,
        "Expected `generator` on the CPU; got one on cuda:0. Random numbers are drawn on the CPU, "
        "the same for every device: pass torch.Generator().manual_seed(seed).",
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
    (
        lambda: _checks.same_as(
            torch.zeros(1), "q", torch.zeros(1).double(), "p", convert=".astype"
        ),
        TypeError,
        "Expected `q` and `p` to have one dtype; got torch.float32 and torch.float64. "
        "Convert one of them with .astype(dtype).",
    ),
    (
        lambda: _checks.known_float(torch.zeros(1, dtype=torch.bfloat16), "values"),
        TypeError,
        "Unknown dtype of `values`: torch.bfloat16. Known: 'float32', 'float64'.",
    ),
    *(
        (
            lambda value=value: _checks.device(value),
            ValueError,
            "Expected `device` to be a device that this PyTorch can use, such as 'cpu'; "
            f"got {value!r}.",
        )
        for value in ("foo", 3.5)
    ),
    *(
        (
            lambda shape=shape: _checks.half(torch.zeros(shape), "p", 2),
            ValueError,
            f"Expected `p` to have shape (batch, dim) with dim=2; got {shape}.",
        )
        for shape in ((), (2, 3))
    ),
    (
        lambda: _checks.input_of(torch.zeros(8, 2), torch.zeros(5, 3), "p"),
        ValueError,
        "Expected `p` to have shape (batch, dim) with dim=2; got (5, 3).",
    ),
    (
        lambda: _checks.input_of(torch.zeros(8, 2), torch.zeros(5, 2).double(), "p"),
        TypeError,
        "Expected `p` and `weights` to have one dtype; got torch.float64 and torch.float32. "
        "Convert one of them with .to(dtype).",
    ),
    (
        lambda: _checks.input_of(torch.zeros(8, 2), torch.zeros(5, 2, device="meta"), "p"),
        TypeError,
        "Expected `p` and `weights` to have one device; got meta and cpu. "
        "Convert one of them with .to(device).",
    ),
    (
        lambda: _checks.input_of(torch.zeros(8, 2), np.zeros((5, 2)), "p"),
        TypeError,
        "Expected `p` to be a torch.Tensor; got ndarray. For NumPy arrays use "
        "torch.as_tensor(array).",
    ),
    *(
        (
            lambda value=value: _checks.network(value, "net"),
            TypeError,
            "Expected `net` to be a network or a Hamiltonian, something with `dim` that is called "
            f"on states; got {got}.",
        )
        for value, got in (
            (7, "int"),
            (abs, "builtin_function_or_method"),
            (dict, "the class dict"),
        )
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
