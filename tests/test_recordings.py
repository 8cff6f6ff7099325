"""Recordings as they are: gaps, clocks, axes, tables, and what is refused by name."""

import datetime
import io
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import srnn
from srnn.data._clock import grid_of
from srnn.data.trajectories import Trajectories


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def with_gaps() -> Trajectories:
    q, p = noise(9, 3, 2), noise(9, 3, 2, seed=1)
    q[2, 0, 1] = p[4:, 1] = q[4:, 1] = p[5, 2] = np.nan
    return Trajectories(q=q, p=p, dt=0.1)


# What is missing.


def test_nan_a_mask_and_a_masked_array_say_the_same() -> None:
    q, p, seen = noise(6, 2, 1), noise(6, 2, 1, seed=1), noise(6, 2, 2, seed=2) < 1
    holes = [np.where(seen[..., k : k + 1], x, np.nan) for k, x in enumerate((q, p))]
    by_nan = Trajectories(q=holes[0], p=holes[1], dt=0.1)
    fill = 1e20  # which a conversion that drops the mask would take for data
    masked = [
        np.ma.MaskedArray(x, ~seen[..., k : k + 1], fill_value=fill) for k, x in enumerate((q, p))
    ]
    for other in (
        Trajectories(q=q, p=p, dt=0.1, mask=seen),
        Trajectories(q=q, p=p, dt=0.1, mask=torch.from_numpy(seen)),
        Trajectories(q=masked[0], p=masked[1], dt=0.1),
        Trajectories(q=list(masked[0]), p=tuple(masked[1]), dt=0.1),
    ):
        np.testing.assert_array_equal(other.values, by_nan.values)
        assert other.observed is not None
        np.testing.assert_array_equal(other.observed, seen)
    counts = np.ma.MaskedArray(np.arange(6).reshape(3, 2, 1), [[[0], [1]]] + [[[0], [0]]] * 2)
    assert math.isnan(Trajectories(q=counts, p=counts, dt=1.0).q[0, 1, 0])
    states = seen.all(axis=-1)
    data = Trajectories(q=q, p=p, dt=0.1, mask=states)
    assert data.observed is not None
    np.testing.assert_array_equal(data.observed, states[..., None].repeat(2, axis=-1))


def test_complete_data_have_no_mask() -> None:
    q = noise(6, 2, 1)
    for data in (
        Trajectories(q=q, p=q, dt=0.1),
        Trajectories(q=q, p=q, dt=0.1, mask=np.ones((6, 2), dtype=bool)),
        Trajectories.from_states(torch.ones(6, 2, 2), dt=0.1, observed=torch.ones(6, 2, 2) > 0),
    ):
        assert data.observed is None
        assert "missing" not in repr(data)
    assert with_gaps().lengths.tolist() == [9, 4, 9]
    assert "missing=3.4%, dtype" in repr(with_gaps())  # 3 of 88 numbers: an end is no gap


def test_gaps_go_through_every_change(tmp_path: Path) -> None:
    data = with_gaps()
    whole = torch.nan_to_num(data.values, nan=7.0)
    assert data.observed is not None
    for change in (
        lambda x: x.first(6),
        lambda x: x.select([2, 0]),
        lambda x: x.to(torch.float32),
        lambda x: x.split(0.3, torch.Generator().manual_seed(0))[0],
        lambda x: x.with_noise(0.1, generator=torch.Generator().manual_seed(0)),
    ):
        changed = change(data)
        expected = change(Trajectories.from_states(whole, dt=0.1))
        mask = change(Trajectories.from_states(data.observed.double(), dt=0.1)).values > 0.5
        assert torch.equal(changed.observed, mask)
        assert torch.equal(changed.values[mask], expected.values[mask])
        assert changed.values[~mask].isnan().all()
    data.save(tmp_path / "gaps.npz")
    again = Trajectories.load(tmp_path / "gaps.npz")
    assert torch.equal(again.values.nan_to_num(7.0), whole)
    assert torch.equal(again.observed, data.observed)


def test_windows_keep_what_two_states_tell_something_of() -> None:
    data = with_gaps()
    cut = data.windows(3, stride=3)
    # The second recording has four states: of its windows one is whole and one has a single state.
    assert len(cut) == 7
    every = data.windows(2)
    assert len(every) == 8 + 3 + 8
    assert every.observed is not None
    assert bool((every.observed.any(dim=-1).sum(dim=0) == 2).all())
    q = noise(4, 1, 1)
    q[1::2] = np.nan
    with pytest.raises(ValueError, match="No window of 2 states has two that were observed; take"):
        Trajectories(q=q, p=q, dt=0.1).windows(2)


def test_the_truth_and_derivatives_may_be_unknown_where_nothing_was_observed() -> None:
    values = torch.randn(4, 1, 2, generator=torch.Generator().manual_seed(0))
    seen = torch.ones(4, 1, 2, dtype=torch.bool)
    seen[1, 0, 1] = False
    holes = torch.where(seen, values, math.nan)
    data = Trajectories.from_states(holes, dt=0.1, clean=values, derivatives=holes, observed=seen)
    assert data.clean is not None
    assert torch.equal(data.clean, values)
    with pytest.raises(ValueError, match=r"`derivatives` to be finite; 1 of 8 .*\(1, 0, 1\)"):
        Trajectories.from_states(values, dt=0.1, derivatives=holes)
    with pytest.raises(ValueError, match=r"`values` to be finite; 1 of 8 .*\(1, 0, 1\)"):
        Trajectories.from_states(holes, dt=0.1)
    for wrong in (seen[..., 0], seen.float()):
        with pytest.raises(ValueError, match=r"^Expected `observed` to be of bool and of"):
            Trajectories.from_states(values, dt=0.1, observed=wrong)


@pytest.mark.parametrize("shape", [(6,), (2, 6), (6, 2, 1)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    q = noise(6, 2, 1)
    with pytest.raises(ValueError, match=r"^Expected `mask` to have shape \(time, batch\) = "):
        Trajectories(q=q, p=q, dt=0.1, mask=np.ones(shape, dtype=bool))
    with pytest.raises(TypeError, match=r"^Expected `mask` to hold bools, .*; got torch.float64"):
        Trajectories(q=q, p=q, dt=0.1, mask=np.ones((6, 2)))


# Clocks.


@given(
    dt=st.floats(1e-3, 1e3),
    digits=st.integers(1, 6),
    origin=st.sampled_from([0.0, -3.0, 1e5]),
    kept=st.lists(st.booleans(), min_size=10, max_size=40),
)
def test_a_rounded_clock_with_gaps_is_found(
    dt: float, digits: int, origin: float, kept: list[bool]
) -> None:
    # Rounded to a hundredth of a step or finer, with two neighbours and both ends.
    unit = 10.0 ** (math.floor(math.log10(dt)) - 1 - digits)
    places = np.flatnonzero([True, True, *kept, True])
    ticks = np.round((origin + dt * places) / unit) * unit
    found = grid_of([torch.from_numpy(ticks)])
    assert found.places[0].tolist() == places.tolist()
    assert found.dt == pytest.approx(dt, rel=1e-2)


def test_thirty_a_second_to_the_millisecond() -> None:
    places = np.delete(np.arange(300), [7, 8, 100])
    stamps = np.round(1000 * (12.5 + places / 30)) / 1000
    q = noise(297, 1, 1)
    for kind in (np.float64, np.float32):
        data = Trajectories(q=q, p=q, times=stamps.astype(kind))
        assert data.dt == pytest.approx(1 / 30, rel=1e-5)
        assert data.steps == 299
        assert data.q[[7, 8, 100]].isnan().all()
        np.testing.assert_array_equal(data.q[places], q)
    epoch = 1.7e9 + np.round(1000 * places / 30) / 1000  # seconds since 1970
    assert Trajectories(q=q, p=q, times=epoch).dt == pytest.approx(1 / 30, rel=1e-5)


def test_derivatives_are_put_at_their_places() -> None:
    q = noise(3, 1, 1)
    data = Trajectories(q=q, p=q, dq=q, dp=2 * q, times=[0, 1, 3])
    assert data.derivatives is not None
    np.testing.assert_array_equal(data.derivatives[[0, 1, 3], 0, 1], 2 * q[:, 0, 0])
    assert data.derivatives[2].isnan().all()


def test_the_worst_entry_of_a_clock_is_named() -> None:
    stamps = [0.0, 0.5, 1.0, 1.5, 2.2, 2.5, 3.0, 3.5]
    with pytest.raises(ValueError, match=r"times\[4\] = 2\.2 is 0\.17\d* off .* steps of 0\.50"):
        grid_of([torch.tensor(stamps, dtype=torch.float64)])
    with pytest.raises(ValueError, match=r"^Expected `second` to increase; they run backwards at"):
        grid_of([torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])], ["first", "second"])


# Axes.


def test_axes_are_read_in_any_order() -> None:
    array = noise(3, 4, 50)  # recording, channel, time
    expected = Trajectories(
        q=array[:, [0, 2]].transpose(2, 0, 1), p=array[:, [1, 3]].transpose(2, 0, 1), dt=0.1
    )
    for axes in ("rct", "trc", "ctr", "tcr"):
        moved = array.transpose([("rct").index(a) for a in axes])
        for each in (moved, torch.from_numpy(moved), np.ma.masked_invalid(moved)):
            data = Trajectories.from_array(each, axes=axes, q=[0, 2], p=[1, 3], dt=0.1)
            assert torch.equal(data.values, expected.values)
    one = Trajectories.from_array(array[0], axes="ct", q=slice(0, 4, 2), p=[-3, -1], dt=0.1)
    assert torch.equal(one.values, expected.select([0]).values)
    single = Trajectories.from_array(array[0, :2], axes="ct", q=0, p=1, dt=0.1)
    assert single.dim == 1
    seen = noise(3, 4, 50, seed=3) < 1
    data = Trajectories.from_array(array, axes="rct", q=[0, 2], p=[1, 3], dt=0.1, mask=seen)
    assert data.observed is not None
    np.testing.assert_array_equal(data.observed[..., 2:], seen[:, [1, 3]].transpose(2, 0, 1))


@pytest.mark.parametrize("axes", ["rt", "rctt", "rcx", "rrt", "rc", ""])
def test_axes_that_do_not_fit_are_refused(axes: str) -> None:
    with pytest.raises(ValueError, match=r"^Expected `axes` to name each axis of `array`, of"):
        Trajectories.from_array(noise(3, 4, 50), axes=axes, q=0, p=1, dt=0.1)


@pytest.mark.parametrize("q", [4, [0, 9], -5, []])
def test_a_coordinate_that_is_not_there_is_refused(q: Any) -> None:
    with pytest.raises(IndexError, match="numbers of some of the 4 coordinates, from 0; got"):
        Trajectories.from_array(noise(3, 4, 50), axes="rct", q=q, p=1, dt=0.1)


def test_numbers_that_move_along_another_axis_are_told() -> None:
    time = 0.1 * np.arange(60)
    phases = np.random.default_rng(0).permutation(np.linspace(0, 40, 20))[:, None]
    q, p = np.sin(time + phases)[..., None], np.cos(time + phases)[..., None]  # recordings first
    with pytest.warns(UserWarning, match="smoothly along the second axis, of length 60, and jump"):
        Trajectories(q=q, p=p, dt=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Trajectories(q=q.swapaxes(0, 1), p=p.swapaxes(0, 1), dt=0.1)
        Trajectories(q=noise(60, 20, 1), p=noise(60, 20, 1), dt=0.1)  # white in both
        sparse = np.sin(1.7 * np.arange(30)[:, None] + phases.T)[..., None]  # few states a turn
        Trajectories(q=sparse, p=sparse, dt=1.7)


# Several recordings.


def test_recordings_of_their_own_length_go_beside_each_other() -> None:
    parts = [Trajectories(q=noise(n, 2, 1), p=noise(n, 2, 1, seed=1), dt=0.1) for n in (5, 9, 3)]
    data = Trajectories.concatenate(parts)
    assert data.lengths.tolist() == [5, 5, 9, 9, 3, 3]
    each = [one for part in parts for one in part]
    for one, other in zip(data, each, strict=True):
        assert torch.equal(one.values, other.values)
        assert one.observed is None
    assert data.derivatives is None
    springs = srnn.systems.MassSpring()
    known = [springs.simulate(2, steps=n, dt=0.1).with_noise(0.1) for n in (4, 6)]
    both = Trajectories.concatenate(known)
    assert both.clean is not None
    assert torch.equal(both.clean[:5, :2], known[0].clean)
    assert both.status is not None
    assert both.status.tolist() == [0] * 4
    assert Trajectories.concatenate([known[0], parts[0].to(torch.float32)]).clean is None


def test_recordings_that_do_not_fit_together_are_refused() -> None:
    q = noise(5, 2, 1)
    first = Trajectories(q=q, p=q, dt=0.1)
    with pytest.raises(ValueError, match="at least one recording to concatenate; got none"):
        Trajectories.concatenate([])
    with pytest.raises(ValueError, match=r"parts\[1\] has dim=1 and dt=0.2, parts\[0\] dim=1 and"):
        Trajectories.concatenate([first, Trajectories(q=q, p=q, dt=0.2)])
    wide = noise(5, 2, 3)
    with pytest.raises(ValueError, match=r"parts\[1\] has dim=3"):
        Trajectories.concatenate([first, Trajectories(q=wide, p=wide, dt=0.1)])
    with pytest.raises(TypeError, match=r"parts\[1\]"):
        Trajectories.concatenate([first, first.to(torch.float32)])


# Tables.


def table() -> Any:
    rows = []
    for run, start, places in (("b", 3.0, [0, 1, 2, 5]), ("a", 100.0, [0, 1, 2])):
        for k in places:
            rows.append({"run": run, "t": start + 0.25 * k, "x": k, "v": -k, "y": 2 * k, "w": 0.5})
    found = pd.DataFrame(rows)
    found.loc[1, "x"] = None
    return found


def test_a_table_is_read_by_the_names_of_its_columns() -> None:
    how: dict[str, Any] = {"q": ["x", "y"], "p": ["v", "w"], "time": "t", "trajectory": "run"}
    data = Trajectories.from_pandas(table(), **how)
    assert data.dt == 0.25
    assert data.lengths.tolist() == [6, 3]  # in the order of the table
    expected = [[0, 0], [math.nan, 2], [2, 4], [math.nan] * 2, [math.nan] * 2, [5, 10]]
    np.testing.assert_array_equal(data.q[:, 0], expected)
    np.testing.assert_array_equal(data.p[:3, 1], [[0, 0.5], [-1, 0.5], [-2, 0.5]])
    again = Trajectories.from_csv(io.StringIO(table().to_csv(index=False)), **how)
    np.testing.assert_array_equal(again.values, data.values)
    semicolons = table().to_csv(index=False, sep=";", decimal=",")
    other = Trajectories.from_csv(io.StringIO(semicolons), **how, sep=";", decimal=",")
    np.testing.assert_array_equal(other.values, data.values)
    heavy = Trajectories.from_csv(io.StringIO(table().to_csv()), **how, masses=[2.0, 3.0])
    np.testing.assert_array_equal(heavy.p, data.p * torch.tensor([2.0, 3.0]))


def test_timestamps_are_seconds_whatever_their_zone() -> None:
    # The clock of this zone was put back by an hour between these.
    begin = datetime.datetime(2025, 10, 26, 0, 30, tzinfo=datetime.UTC)
    stamps = pd.Series(pd.date_range(begin, periods=6, freq="20min")).dt.tz_convert("Europe/Paris")
    found = pd.DataFrame({"when": stamps, "x": noise(6), "v": noise(6)})
    naive = found.assign(when=found["when"].dt.tz_convert("UTC").dt.tz_localize(None))
    words = found.assign(when=found["when"].map(lambda stamp: stamp.isoformat()))
    for each in (found, naive, words):
        data = Trajectories.from_pandas(each, time="when", q="x", p="v")
        assert (data.dt, data.steps, data.observed) == (1200.0, 5, None)


def test_tables_that_do_not_fit_are_refused() -> None:
    how: dict[str, Any] = {"q": "x", "p": "v", "time": "t", "trajectory": "run"}
    with pytest.raises(KeyError, match=r"no column 'z' in the table. Known: 'run', 't', 'x'"):
        Trajectories.from_pandas(table(), **how | {"q": ["x", "z"]})
    late = table()
    late.loc[6, "t"] = 100.3312
    with pytest.raises(ValueError, match=r"t of run='\w'\[\d\] = [\d.]+ is .* off the best one"):
        Trajectories.from_pandas(late, **how)
    with pytest.raises(TypeError, match=r"^Expected numbers in the columns \['run'\]; "):
        Trajectories.from_pandas(table(), **how | {"q": "run"})
    with pytest.raises(TypeError, match=r"^Expected numbers or timestamps in 'run'; "):
        Trajectories.from_pandas(table(), q="x", p="v", time="run")
    for column, text in (("run", "column 'run' in row 2 is empty"), ("t", "time in row 2 of")):
        holes = table()
        holes.loc[2, column] = None
        with pytest.raises(ValueError, match=text):
            Trajectories.from_pandas(holes, **how)
    with pytest.raises(ValueError, match=r"at least two times in \"t of run='a'\"; got 1"):
        Trajectories.from_pandas(table().iloc[:5], **how)


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r'"pandas": pip install "srnn\[tables\]"'):
        Trajectories.from_csv("x.csv", time="t", q="x", p="v")


# What torch would convert without its meaning.


def quantity(package: str) -> Any:
    kind = type("Quantity", (list,), {"__module__": f"{package}.quantity"})
    return kind([[[1.0]]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (pd.DataFrame({"x": [1.0]}), r"pandas.DataFrame: it is a table: pass srnn.Trajectories.fr"),
        (pd.Series([1.0]), r"`q` is of type pandas.Series"),
        ([pd.Series([1.0])], r"`q` is of type pandas.Series"),
        (quantity("pint"), r"pint.Quantity: it has a unit, .*: pass its numbers, q.magnitude"),
        (quantity("astropy.units"), r"astropy.Quantity: it has a unit, .*, q.value"),
        (quantity("xarray.core"), r"xarray.Quantity: it has names for its axes"),
    ],
)
def test_what_is_more_than_numbers_is_refused_by_name(value: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Trajectories(q=value, p=np.zeros((1, 1, 1)), dt=0.1)
