import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import F64, randn, seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from srnn import Trajectories
from srnn.errors import CheckpointError

PROPERTY = settings(deadline=None, derandomize=True, max_examples=40)


def counted(states: int, trajectories: int, dim: int = 1, **extra: Any) -> Trajectories:
    """Data whose every number says which one it is."""
    values = torch.arange(states * trajectories * 2 * dim, dtype=F64)
    return Trajectories.from_states(values.reshape(states, trajectories, 2 * dim), dt=0.1, **extra)


def full(states: int = 6, trajectories: int = 4, dim: int = 2) -> Trajectories:
    """Data with everything that data can have."""
    values = randn(0, states, trajectories, 2 * dim)
    return Trajectories.from_states(
        values,
        dt=0.1,
        clean=values + 100,
        derivatives=values + 200,
        status=torch.arange(trajectories) % 2,
    )


def same(one: Trajectories, other: Trajectories) -> bool:
    def equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
        if a is None or b is None:
            return a is b
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5))

    names = ("values", "clean", "derivatives", "status")
    return one.dt == other.dt and all(equal(getattr(one, n), getattr(other, n)) for n in names)


# -- making -----------------------------------------------------------------------------------


def test_positions_and_momenta_from_arrays_of_any_kind() -> None:
    q, p = np.arange(12.0).reshape(3, 2, 2), -np.arange(12.0).reshape(3, 2, 2)
    data = Trajectories(q=q, p=torch.tensor(p), dt=0.5)
    assert (data.dim, data.steps, data.trajectories, len(data), data.dt) == (2, 2, 2, 2, 0.5)
    assert data.values[1, 0].tolist() == [4, 5, -4, -5]
    assert torch.equal(data.q, torch.tensor(q))
    assert torch.equal(data.p, torch.tensor(p))
    assert data.times.tolist() == [0.0, 0.5, 1.0]
    assert data.clean is data.derivatives is data.status is None
    assert repr(data) == "Trajectories(states=3, trajectories=2, dim=2, dt=0.5, dtype=float64)"
    lists = Trajectories(q=[[[0.0]], [[1.0]]], p=[[[2]], [[3]]], dt=0.5)
    assert lists.values.tolist() == [[[0, 2]], [[1, 3]]]
    assert lists.values.dtype == torch.float32


def test_integers_take_the_dtype_of_their_partner_or_one_that_holds_them() -> None:
    def dtype(q: Any, p: Any, **more: Any) -> torch.dtype:
        data = Trajectories(q=q, p=p, dt=0.1, **more)
        assert data.derivatives is None or data.derivatives.dtype == data.values.dtype
        return data.values.dtype

    whole, wide = np.arange(6).reshape(3, 2, 1), np.arange(6.0).reshape(3, 2, 1)
    narrow = wide.astype(np.float32)
    assert dtype(whole, wide) == dtype(wide, whole) == F64
    assert dtype(whole, narrow) == dtype(narrow, whole) == torch.float32
    assert dtype(whole, whole) == torch.get_default_dtype() == torch.float32
    assert dtype(wide, wide, dq=whole, dp=whole) == F64
    large = whole + 2**24  # where float32 begins to leave integers out
    data = Trajectories(q=large, p=whole, dt=0.1)
    assert data.values.dtype == F64
    assert data.q[1, 0, 0] == 2**24 + 2
    assert data.q[1, 1, 0] == 2**24 + 3


def test_half_precision_is_refused() -> None:
    half = torch.zeros(3, 2, 2, dtype=torch.bfloat16)
    text = r"^Unknown dtype of `{}`: torch\.{}\. Known: 'float32', 'float64'\.$"
    with pytest.raises(TypeError, match=text.format("values", "bfloat16")):
        Trajectories.from_states(half, dt=0.1)
    with pytest.raises(TypeError, match=text.format("q", "float16")):
        Trajectories(q=np.zeros((3, 2, 1), np.float16), p=np.zeros((3, 2, 1), np.float16), dt=0.1)
    with pytest.raises(TypeError, match=text.format("values", "float16")):
        full().to(torch.float16)


def test_a_device_that_is_none_is_refused() -> None:
    for where in ({"device": "foo"}, {"device": "foo", "dtype": F64}):
        with pytest.raises(ValueError, match=r"^Expected `device` to be .* 'cpu'; got 'foo'\.$"):
            full().to(**where)
    with pytest.raises(ValueError, match=r"^Expected `device` to be .* 'cpu'; got 'foo'\.$"):
        full().to("foo")


@pytest.mark.parametrize("kind", [np.float64, np.float32, list])
def test_equally_spaced_times_stand_for_a_time_step(kind: Any) -> None:
    q = randn(0, 50, 1, 1)
    for start, dt in ((0.0, 0.1), (100.0, 0.25), (0.0, 1e-9)):
        times = start + dt * np.arange(50)
        times = times.tolist() if kind is list else times.astype(kind)
        assert Trajectories(q=q, p=q, times=times).dt == pytest.approx(dt, rel=1e-5)
    times = 0.1 * np.arange(50)
    assert Trajectories(q=q, p=q, times=times, dt=0.1).dt == 0.1
    assert Trajectories(q=q[:3], p=q[:3], times=[0, 1, 2]).dt == 1.0


def test_times_that_do_not_fit_are_refused() -> None:
    q, times = randn(0, 50, 1, 1), 0.1 * np.arange(50)
    with pytest.raises(ValueError, match=r"^Expected `times` to have one entry a state, .*49,"):
        Trajectories(q=q, p=q, times=times[:-1])
    with pytest.raises(ValueError, match=r"^Expected `times` to increase; they run backwards at"):
        Trajectories(q=q, p=q, times=times[::-1])
    twice = times.copy()
    twice[7] = twice[6]
    with pytest.raises(ValueError, match=r"they repeat at entry 7: 0.6\d* after 0.6\d*\.$"):
        Trajectories(q=q, p=q, times=twice)
    with pytest.raises(
        ValueError, match=r"^Expected `dt` to be the spacing of `times`, .* got 0.2"
    ):
        Trajectories(q=q, p=q, times=times, dt=0.2)
    for wrong in (0.02, 1e-3 / 3, 1e-6 / 3):
        uneven = times.copy()
        uneven[20] += wrong
        with pytest.raises(
            ValueError, match=r"times\[20\] = 2\.\d+ is .* off the best one, of steps of 0"
        ):
            Trajectories(q=q, p=q, times=uneven)


def test_arrays_that_pytorch_cannot_share_are_copied() -> None:
    q = np.arange(6.0).reshape(3, 2, 1)
    frozen = q.copy()
    frozen.setflags(write=False)
    for odd in (q[::-1][::-1], frozen, q.astype(">f8"), np.asfortranarray(q)):
        assert torch.equal(Trajectories(q=odd, p=q, dt=0.1).q, torch.tensor(q))
    assert torch.equal(Trajectories(q=q[::-1], p=q, dt=0.1).q, torch.tensor(q[::-1].copy()))


def test_known_derivatives() -> None:
    q, p = randn(0, 3, 2, 2), randn(1, 3, 2, 2)
    data = Trajectories(q=q, p=p, dt=0.1, dq=2 * q, dp=3 * p)
    assert torch.equal(data.derivatives, torch.cat((2 * q, 3 * p), dim=-1))
    with pytest.raises(ValueError, match="Expected `dq` and `dp` together, or neither"):
        Trajectories(q=q, p=p, dt=0.1, dq=q)
    with pytest.raises(ValueError, match="Expected `derivatives` to have the shape of the values"):
        Trajectories(q=q, p=p, dt=0.1, dq=q[1:], dp=p[1:])


def test_input_is_never_written_to_nor_kept_in_a_graph() -> None:
    q = randn(0, 3, 2, 2).requires_grad_()
    data = Trajectories(q=q, p=q.transpose(1, 2), dt=0.1, dq=q, dp=q)
    assert not data.values.requires_grad
    assert not data.derivatives.requires_grad
    values = randn(1, 3, 2, 4).requires_grad_()
    strided = values[:, :, [0, 2, 1, 3]]
    before = strided.detach().clone()
    data = Trajectories.from_states(strided, dt=0.1, clean=values, derivatives=values)
    assert not data.values.requires_grad
    assert not data.clean.requires_grad
    assert not data.derivatives.requires_grad
    noisy = data.with_noise(0.5, generator=seeded(0))
    data.windows(2).select([0]).first(1)
    assert torch.equal(strided.detach(), before)
    assert torch.equal(data.values, before)
    assert torch.equal(noisy.clean, values.detach())


def test_data_do_not_follow_what_the_caller_writes_later() -> None:
    given = {name: randn(0, 3, 2, 2) for name in ("values", "clean", "derivatives")}
    status = torch.zeros(2, dtype=torch.int64)
    data = Trajectories.from_states(**given, dt=0.1, status=status)
    before = {name: tensor.clone() for name, tensor in given.items()}
    for tensor in (*given.values(), status):
        tensor += 1
    for name, tensor in before.items():
        assert torch.equal(getattr(data, name), tensor)
    assert data.status.tolist() == [0, 0]
    whole = data.first(3)
    whole.values.zero_()
    assert torch.equal(data.values, before["values"])


Z = torch.zeros(3, 2, 1)
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no p": ({"q": Z}, ValueError, "trajectories of positions only are not supported yet"),
    "times": (
        {"q": Z, "p": Z, "times": [0, 1, 2.4]},
        ValueError,
        r"on a grid of equal steps, .* Uneven steps are not supported yet: resample",
    ),
    "emptiness": (
        {"q": Z, "p": Z, "times": [0, 1, 100]},
        ValueError,
        r"The 3 `times` leave 98 of 101 steps of 1 empty: cut the recording at its long gaps",
    ),
    "two axes": (
        {"q": Z[:, 0], "p": Z[:, 0]},
        ValueError,
        r"`q` to have shape \(time, batch, dim\); got \(3, 1\)\. For one trajectory of several "
        r"coordinates add the axis q\[:, None\]; for several trajectories of one coordinate "
        r"q\[\.\.\., None\]\.$",
    ),
    "shapes": (
        {"q": Z, "p": Z[1:]},
        ValueError,
        r"`q` and `p` to have one shape; got \(3, 2, 1\) and \(2, 2, 1\)",
    ),
    "empty": ({"q": Z[:0], "p": Z[:0]}, ValueError, r"at least one state in `q`; got \(0, 2, 1\)"),
    "no trajectory": ({"q": Z[:, :0], "p": Z[:, :0]}, ValueError, "Expected at least one state"),
    "NaN": (
        {"q": Z, "p": Z + math.nan},
        ValueError,
        r"^`p\[\.\.\., 0\]` was never observed: all of its 6 numbers are missing\. Hidden",
    ),
    "infinite": (
        {"q": Z - math.inf, "p": Z},
        ValueError,
        "Expected `q` to be finite, or NaN .*; 6 of 6",
    ),
    "dtypes": (
        {"q": Z, "p": Z.double()},
        TypeError,
        r"Expected `p` and `q` to have one dtype; got torch.float64 and torch.float32\. Convert",
    ),
    "dtypes of arrays": (
        {"q": Z.numpy(), "p": Z.double().numpy()},
        TypeError,
        r"to have one dtype; .* Convert one of them with \.astype\(dtype\)\.$",
    ),
    "words": ({"q": [[["a"]]], "p": Z}, TypeError, "Expected `q` to be an array of numbers; "),
    "objects": (
        {"q": np.array([[[None]]]), "p": Z},
        TypeError,
        "Expected `q` to be an array of numbers; ",
    ),
    "ragged": (
        {"q": [[[1.0], [2.0]], [[1.0]]], "p": Z},
        TypeError,
        "Expected `q` to be an array of numbers; ",
    ),
    "complex": (
        {"q": Z + 1j, "p": Z},
        TypeError,
        "Expected `q` to hold real numbers; got torch.co",
    ),
}


@pytest.mark.parametrize(("arrays", "error", "text"), BAD.values(), ids=BAD)
def test_bad_arrays_are_refused(arrays: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Trajectories(**arrays, dt=0.1)


@pytest.mark.parametrize("dt", [0.0, -0.1, math.nan, math.inf])
def test_a_bad_time_step_is_refused(dt: float) -> None:
    with pytest.raises(ValueError, match=f"Expected `dt` to be a positive finite number; got {dt}"):
        Trajectories(q=Z, p=Z, dt=dt)
    with pytest.raises(ValueError, match="Expected `dt` to be a positive finite number"):
        Trajectories.from_states(torch.zeros(3, 2, 2), dt=dt)


def test_a_missing_time_step_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected `dt` to be a positive number; got None"):
        Trajectories(q=Z, p=Z)


@pytest.mark.parametrize(
    ("values", "extra", "error", "text"),
    [
        (
            torch.zeros(3, 2),
            {},
            ValueError,
            r"shape \(time, batch, 2\*dim\); got \(3, 2\)\. For one",
        ),
        (torch.zeros(3, 2, 3), {}, ValueError, "Expected the last axis .* even, .* got length 3"),
        (torch.zeros(0, 2, 2), {}, ValueError, r"at least one state; got shape \(0, 2, 2\)"),
        (torch.full((3, 2, 2), math.nan), {}, ValueError, "Expected `values` to be finite; 12 of"),
        (
            torch.zeros(3, 2, 2),
            {"clean": torch.zeros(3, 1, 2)},
            ValueError,
            "Expected `clean` to h",
        ),
        (
            torch.zeros(3, 2, 2),
            {"clean": torch.zeros(3, 2, 2, dtype=F64)},
            TypeError,
            "Expected `clean` and `values` to have one dtype",
        ),
        (
            torch.zeros(3, 2, 2),
            {"derivatives": torch.full((3, 2, 2), math.inf)},
            ValueError,
            "Expected `derivatives` to be finite",
        ),
        (
            torch.zeros(3, 2, 2),
            {"status": torch.zeros(3, dtype=torch.int64)},
            ValueError,
            r"Expected `status` to have shape \(batch,\) = \(2,\); got \(3,\)",
        ),
        (
            torch.zeros(3, 2, 2),
            {"status": torch.zeros(2)},
            TypeError,
            r"^Expected `status` to hold integers; got torch\.float32\.$",
        ),
        *(
            (
                torch.zeros(3, 2, 2),
                {name: np.zeros((3, 2, 2))},
                TypeError,
                rf"^Expected `{name}` to be a torch.Tensor; got ndarray\. For NumPy arrays use ",
            )
            for name in ("clean", "derivatives", "status")
        ),
    ],
)
def test_bad_states_are_refused(
    values: torch.Tensor, extra: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Trajectories.from_states(values, dt=0.1, **extra)


# -- windows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "trajectories", "length", "expected"),
    [(10, 1000, 2, 9000), (10, 100, 2, 900), (10, 100, 5, 600), (10, 7, 10, 7)],
)
def test_the_papers_numbers_of_windows(
    states: int, trajectories: int, length: int, expected: int
) -> None:
    windows = counted(states, trajectories).windows(length)
    assert windows.values.shape == (length, expected, 2)
    assert windows.dt == 0.1


@PROPERTY
@given(
    states=st.integers(2, 7),
    trajectories=st.integers(1, 4),
    dim=st.integers(1, 3),
    length=st.integers(2, 7),
    stride=st.none() | st.integers(1, 8),
)
def test_windows_are_those_of_plain_loops(
    states: int, trajectories: int, dim: int, length: int, stride: int | None
) -> None:
    length = min(length, states)
    data = full(states, trajectories, dim)
    windows = data.windows(length) if stride is None else data.windows(length, stride=stride)
    starts, numbers = range(0, states - length + 1, stride or 1), range(trajectories)
    places = [(start, number) for start in starts for number in numbers]
    if stride is not None:  # those of one recording stay together
        places.sort(key=lambda place: place[1])
    assert len(windows) == len(places)
    for k, (start, number) in enumerate(places):
        for name in ("values", "clean", "derivatives"):
            expected = getattr(data, name)[start : start + length, number]
            assert torch.equal(getattr(windows, name)[:, k], expected)
        assert windows.status[k] == data.status[number]


def test_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"A window of 7 states is longer than .* which have 6"):
        full().windows(7)
    with pytest.raises(ValueError, match="Expected `length` to be at least 2; got 1"):
        full().windows(1)
    with pytest.raises(ValueError, match="Expected `stride` to be at least 1; got 0"):
        full().windows(3, stride=0)


# -- first, select, split ---------------------------------------------------------------------


def test_first_states() -> None:
    data = full()
    short = data.first(2)
    for name in ("values", "clean", "derivatives"):
        assert torch.equal(getattr(short, name), getattr(data, name)[:2])
    assert torch.equal(short.status, data.status)
    assert short.dt == data.dt
    with pytest.raises(ValueError, match="first 7 states; the trajectories have 6"):
        data.first(7)
    with pytest.raises(ValueError, match="Expected `states` to be at least 1; got 0"):
        data.first(0)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (1, [1]),
        (-1, [3]),
        (np.int64(1), [1]),
        (torch.tensor(1), [1]),
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (torch.tensor([3, 3]), [3, 3]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        (np.array([2, 0]), [2, 0]),
        (np.array([0, 2])[::-1], [2, 0]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        ([True, False, True, False], [0, 2]),
    ],
    ids=str,
)
def test_select_by_any_index(index: Any, expected: list[int]) -> None:
    data = full()
    some = data.select(index)
    for name in ("values", "clean", "derivatives"):
        assert torch.equal(getattr(some, name), getattr(data, name)[:, expected])
    assert torch.equal(some.status, data.status[expected])


NOT_AN_INDEX = r"^Expected `index` to be an int, a slice, a list of ints or a mask; got "


@pytest.mark.parametrize(
    ("index", "error", "text"),
    [
        ([], ValueError, r"^`index` selects none of the 4 trajectories; keep at least one\.$"),
        (slice(4, 9), ValueError, r"^`index` selects none of the 4"),
        (torch.zeros(4, dtype=torch.bool), ValueError, r"^`index` selects none of the 4"),
        (99, IndexError, r"^There is no trajectory 99: there are 4, numbered from 0\.$"),
        ([0, -5], IndexError, r"^There is no trajectory -5: there are 4"),
        ([True] * 3, ValueError, r"^Expected a mask with one entry for each of the 4 .* got 3\.$"),
        (True, TypeError, NOT_AN_INDEX + "True"),
        (1.5, TypeError, NOT_AN_INDEX + "1.5"),
        ("all", TypeError, NOT_AN_INDEX + "'all'"),
        (None, TypeError, NOT_AN_INDEX + "None"),
        (torch.zeros(2, 2, dtype=torch.int64), TypeError, NOT_AN_INDEX + r"shape \(2, 2\)"),
    ],
    ids=str,
)
def test_what_names_no_trajectories_is_refused(
    index: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        full().select(index)


@PROPERTY
@given(
    trajectories=st.integers(2, 30),
    share=st.floats(0, 0.99, exclude_min=True),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_split_loses_nothing_and_doubles_nothing(
    trajectories: int, share: float, seed: int
) -> None:
    data = counted(2, trajectories)
    rest, held = data.split(share, seeded(seed))
    both = torch.cat((rest.values[0, :, 0], held.values[0, :, 0]))
    assert torch.equal(both.sort().values, data.values[0, :, 0])
    assert len(held) == min(max(round(share * trajectories), 1), trajectories - 1)
    again = data.split(share, seeded(seed))
    assert same(rest, again[0])
    assert same(held, again[1])
    for side in (rest, held):  # each side in the order of the whole
        assert torch.equal(side.values, side.values.sort(dim=1).values)


def test_a_split_depends_on_the_generator() -> None:
    data = counted(2, 60)
    assert not same(data.split(0.5, seeded(0))[1], data.split(0.5, seeded(1))[1])
    torch.manual_seed(0)
    fresh = data.split(0.5)[1]
    torch.manual_seed(0)
    assert not same(fresh, data.split(0.5)[1])


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `fraction` to lie in \[0, 1\); got 1.0"):
        full().split(1.0)
    with pytest.raises(ValueError, match=r"^Expected `fraction` to be above 0; got 0\. Without"):
        full().split(0)
    with pytest.raises(ValueError, match="Expected at least two trajectories to split; got 1"):
        full(trajectories=1).split(0.5)


# -- noise ------------------------------------------------------------------------------------


def noise(data: Trajectories, *args: Any, **kwargs: Any) -> torch.Tensor:
    noisy = data.with_noise(*args, generator=seeded(0), **kwargs)
    return noisy.values - data.values


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_noise_has_the_deviation_and_the_correlation_asked_for(rho: float) -> None:
    data = Trajectories.from_states(torch.zeros(400, 50, 4, dtype=F64), dt=0.1)
    e = noise(data, 0.2, correlation=rho)
    assert float(e.mean()) == pytest.approx(0, abs=0.01)
    for coordinate in range(4):
        assert float(e[..., coordinate].std()) == pytest.approx(0.2, rel=0.05)
    # Stationary: the first state has as much as the last.
    assert float(e[0].std()) == pytest.approx(0.2, rel=0.15)
    assert float(e[-1].std()) == pytest.approx(0.2, rel=0.15)
    for lag in (1, 3):
        found = float((e[lag:] * e[:-lag]).mean()) / 0.2**2
        assert found == pytest.approx(rho**lag, abs=0.03)
    across = torch.corrcoef(e.reshape(-1, 4).mT) - torch.eye(4)
    assert across.abs().max() < 0.06


def test_the_papers_noise_has_the_length_a_perfect_predictor_is_scored_with() -> None:
    """At 0.2 over 20 positions: sqrt(2) Gamma(10.5) / Gamma(10) * 0.2 = 0.883."""
    data = Trajectories.from_states(torch.zeros(100, 50, 40, dtype=F64), dt=0.1)
    assert float(noise(data, 0.2)[..., :20].norm(dim=-1).mean()) == pytest.approx(0.883, abs=2e-3)


@pytest.mark.parametrize(("on", "q", "p"), [("q", 1, 0), ("p", 0, 1), ("qp", 1, 1)])
def test_noise_falls_on_the_half_asked_for(on: str, q: int, p: int) -> None:
    e = noise(full(), 0.2, on=on)
    assert bool((e[..., :2] != 0).all()) == bool(q)
    assert bool((e[..., 2:] != 0).all()) == bool(p)
    assert bool(e[..., :2].any()) == bool(q)
    assert bool(e[..., 2:].any()) == bool(p)


def test_noise_keeps_what_is_known() -> None:
    plain = counted(5, 3)
    noisy = plain.with_noise(0.2, generator=seeded(0))
    assert torch.equal(noisy.clean, plain.values)
    twice = noisy.with_noise(0.2, generator=seeded(1))
    assert torch.equal(twice.clean, plain.values)
    assert plain.clean is None
    rich = full().with_noise(0.2, generator=seeded(0))
    assert torch.equal(rich.clean, full().clean)
    assert torch.equal(rich.derivatives, full().derivatives)
    assert torch.equal(rich.status, full().status)


def test_noise_comes_from_the_generator_or_from_fresh_entropy() -> None:
    data = counted(5, 3)
    one = data.with_noise(0.2, generator=seeded(3))
    assert same(one, data.with_noise(0.2, generator=seeded(3)))
    assert not same(one, data.with_noise(0.2, generator=seeded(4)))
    torch.manual_seed(0)
    fresh = data.with_noise(0.2)
    torch.manual_seed(0)
    assert not same(fresh, data.with_noise(0.2))


def test_noise_is_the_same_in_single_precision() -> None:
    data = Trajectories.from_states(torch.zeros(5, 3, 2), dt=0.1)
    e = noise(data, 0.2)
    assert e.dtype == torch.float32
    assert torch.equal(e, noise(data.to(F64), 0.2).float())


def test_bad_noise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `sigma` not to be negative; got -0.1"):
        full().with_noise(-0.1)
    with pytest.raises(ValueError, match=r"Unknown `on`: 'v'. Known: 'qp', 'q', 'p'"):
        full().with_noise(0.1, on="v")
    with pytest.raises(ValueError, match=r"Expected `correlation` to lie in \[0, 1\); got 1.0"):
        full().with_noise(0.1, correlation=1.0)


# -- conversion and predictions ---------------------------------------------------------------


def test_conversion_reaches_every_tensor() -> None:
    data = full().to(torch.float32)
    assert {data.values.dtype, data.clean.dtype, data.derivatives.dtype} == {torch.float32}
    assert data.status.dtype == torch.int64
    assert same(data, full().to(dtype=torch.float32))
    moved = full().to("cpu", torch.float32)
    assert same(moved, data)


def diverged() -> Trajectories:
    values = randn(0, 5, 3, 2)
    values[2:, 1] = math.inf
    values[4, 2, 1] = math.nan
    return Trajectories.predicted(values, dt=0.1)


def test_a_prediction_may_leave_the_finite_numbers() -> None:
    data = diverged()
    assert data.status.tolist() == [0, 1, 1]
    assert data.values[2, 1, 0] == math.inf
    assert Trajectories.predicted(randn(0, 5, 3, 2), dt=0.1).status.tolist() == [0, 0, 0]


def test_what_is_left_of_a_diverged_prediction_can_be_used(tmp_path: Path) -> None:
    data = diverged()
    good = data.select(data.status == 0)
    assert torch.equal(good.values, data.values[:, :1])
    assert data.first(4).status.tolist() == [0, 1, 1]
    assert data.to(torch.float32).values.dtype == torch.float32
    assert data.windows(2).status.tolist() == 4 * [0, 1, 1]
    data.save(tmp_path / "prediction.npz")
    assert same(Trajectories.load(tmp_path / "prediction.npz"), data)


def test_only_a_marked_trajectory_may_hold_nan() -> None:
    values = diverged().values
    with pytest.raises(ValueError, match=r"`values` to be finite; 1 of 30 .* index \(4, 2, 1\)"):
        Trajectories.from_states(values, dt=0.1, status=torch.tensor([0, 1, 0]))


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [full(), counted(3, 2), full().to(torch.float32)], ids=repr)
def test_a_file_gives_back_what_was_saved(tmp_path: Path, data: Trajectories) -> None:
    path = tmp_path / "data"  # a name without a suffix stays as it is
    data.save(path)
    assert same(Trajectories.load(path), data)
    assert same(Trajectories.load(str(path)), data)
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


def test_a_file_holds_no_pickles(tmp_path: Path) -> None:
    full().save(tmp_path / "data.npz")
    with np.load(tmp_path / "data.npz", allow_pickle=False) as file:
        assert set(file.files) == {"format", "dt", "values", "clean", "derivatives", "status"}
        assert file["values"].dtype == np.float64


def npz(path: Path, **arrays: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "data.npz"
    full().save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"data.npz cannot be read as trajectories: .* trunc"):
        Trajectories.load(path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_text("q,p\n1,2\n")
    with pytest.raises(CheckpointError, match="cannot be read as trajectories"):
        Trajectories.load(path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match="cannot be read as trajectories"):
        Trajectories.load(tmp_path / "one.npy")
    npz(path, values=np.zeros((3, 2, 2)), dt=0.1)
    with pytest.raises(CheckpointError, match=r"data.npz does not hold srnn trajectories"):
        Trajectories.load(path)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "data.npz"
    npz(path, format="srnn.Trajectories/1", dt=0.1, values=np.array([Bomb()], dtype=object))
    with pytest.raises(CheckpointError, match=r"cannot be read .*allow_pickle=False"):
        Trajectories.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {"dt": 0.1},
        {"values": np.zeros((3, 2, 2))},
        {"dt": 0.1, "values": np.zeros((3, 2, 3))},
        {"dt": -0.1, "values": np.zeros((3, 2, 2))},
        {"dt": 0.1, "values": np.zeros((3, 2, 2), dtype=int)},
        {"dt": 0.1, "values": np.full((3, 2, 2), np.nan)},
        {"dt": 0.1, "values": np.zeros((3, 2, 2)), "status": np.zeros(3, dtype=int)},
    ],
    ids=["no values", "no dt", "odd", "dt", "integers", "nan", "status"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    npz(tmp_path / "data.npz", format="srnn.Trajectories/1", **arrays)
    with pytest.raises(CheckpointError, match=r"data.npz holds damaged srnn trajectories"):
        Trajectories.load(tmp_path / "data.npz")


def test_a_missing_file_and_a_folder_are_called_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Trajectories.load(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError):
        Trajectories.load(tmp_path)


def test_an_interrupted_save_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.npz"
    full().save(path)

    def interrupted(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        counted(3, 2).save(path)
    assert same(Trajectories.load(path), full())
    assert [each.name for each in tmp_path.iterdir()] == ["data.npz"]
