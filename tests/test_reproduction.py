"""The paper's tables as jobs: what there is, what goes on after a stop, and what is stored."""

import dataclasses
import hashlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import slow_clock
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

import srnn
from srnn import experiments
from srnn.experiments import _store
from srnn.experiments.reproduction import (
    COLUMNS,
    NETS,
    TABLES,
    Cell,
    Failure,
    Fit,
    Job,
    Net,
    _sweep,
    _work,
    jobs,
    run,
    sweep,
    unfinished,
)
from srnn.experiments.reproduction._chains import ORDINARY
from srnn.experiments.reproduction._problems import FIRST
from srnn.experiments.reproduction._publish import SUMS, publish, sums
from srnn.experiments.reproduction._work import _model, _settings, finished, job_weights, problem
from srnn.systems import SpringChain
from srnn.training import run as training

PAPER = jobs("all")
EVERY = PAPER + jobs("chains")
CELLS = {cell.path(job.seed): (job, cell) for job in EVERY for cell in job.cells}


def small(model: str = "hnet", mode: str = "recurrent", **settings: Any) -> Job:
    """The smoke job of a row of table 1, trained by Euler and tested by Euler and leapfrog."""
    found = next(
        job
        for job in jobs("table1", preset="smoke", seeds=1)
        if job.fit.net == model and job.cells[0].train == "E" and job.cells[0].mode == mode
    )
    fit = dataclasses.replace(found.fit, settings=found.fit.settings | settings)
    cells = tuple(dataclasses.replace(cell, fit=fit) for cell in found.cells)
    return dataclasses.replace(found, fit=fit, cells=cells)


def quick(number: int, fit: Fit | None = None) -> Job:
    """A job of a few milliseconds."""
    fit = fit or Fit("chain", "zero", (), sigma=0.2, training=1, tests=2, states=number + 12)
    cell = Cell("table1", "oracle", fit, f"job{number}", "none", "none", "noisy")
    return Job(fit, 0, "smoke", (cell,), 1.0)


def failing(number: int) -> Job:
    fit = Fit("chain", "quadratic", (), "leapfrog", None, {"epochs": -5}, training=2, tests=2)
    return quick(number, fit)


class Deadly(Fit):
    """A fit that kills the process it is in: once, or whenever it is tried."""

    @property
    def learnt(self) -> bool:
        mark = Path(self.settings["mark"])
        if os.getpid() != self.settings["spared"] and not (mark.exists() and self.settings["once"]):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return False


def deadly(number: int, folder: Path, *, once: bool) -> Job:
    settings = {"mark": str(folder / f"killed-{number}"), "once": once, "spared": os.getpid()}
    sizes = {"training": 1, "tests": 2, "states": 12}
    return quick(number, Deadly("chain", "true", (), "leapfrog", settings=settings, **sizes))


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Record every training."""
    seen: list[Any] = []
    train = _work._train

    def recorded(model: Any, fit: Fit, *rest: Any) -> Any:
        seen.append(fit)
        return train(model, fit, *rest)

    monkeypatch.setattr(_work, "_train", recorded)
    return seen


# What there is.


def test_every_cell_has_a_path_and_every_job_a_name_of_its_own() -> None:
    assert len(CELLS) == sum(len(job.cells) for job in EVERY)
    assert len({job.name for job in EVERY}) == len(EVERY)
    assert len({job_weights(Path(), job) for job in EVERY}) == len(EVERY)
    assert len({path.lower() for path in CELLS}) == len(CELLS)  # also on a Mac


def test_a_row_of_a_network_of_ones_own_is_two_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Net("My net", lambda drawn, _: srnn.ONet(drawn.test.dim, 4, generator=drawn.generator))
    monkeypatch.setitem(NETS, "mine", made)
    fit = Fit(
        "chain", "mine", (4,), "leapfrog", None, {"epochs": 1}, training=8, tests=2, states=12
    )
    cell = Cell("table1", "improved", fit, "mine", "L", "L", "recurrent", "leapfrog")
    run(Job(fit, 0, "smoke", (cell,), 1.0), tmp_path)
    (row,) = experiments.rows("table1", folder=tmp_path)
    assert (row.label, math.isfinite(row.mean())) == ("My net L-L, recurrent", True)
    with pytest.raises(ValueError, match=r"Unknown `net`: 'nobody'\. Known: 'onet', 'hnet'"):
        _ = dataclasses.replace(fit, net="nobody").learnt


@pytest.mark.slow
def test_every_configuration_has_a_hash_of_its_own_that_stays() -> None:
    cells = [cell for table in TABLES.values() for cell in table]
    assert len({cell.digest() for cell in cells}) == len(cells)
    # Of a process of its own: nothing in it may depend on the order of a set.
    code = (
        "from srnn.experiments.reproduction import TABLES\n"
        "print(*(cell.digest() for table in TABLES.values() for cell in table))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert done == [cell.digest() for cell in cells]
    cell = Cell("table1", "oracle", Fit("chain", "zero"), "zero", "none", "none", "noisy")
    for other in (
        dataclasses.replace(cell, iso="scipy"),
        dataclasses.replace(cell, fit=dataclasses.replace(cell.fit, sigma=0.1)),
        dataclasses.replace(cell, fit=dataclasses.replace(cell.fit, settings={"epochs": 2})),
    ):
        assert other.digest() != cell.digest()


@pytest.mark.parametrize(("table", "count"), [("table1", 14), ("table2", 8), ("table3", 13)])
def test_a_table_has_the_rows_that_the_paper_prints(table: str, count: int) -> None:
    printed = [
        cell
        for cell in TABLES[table]
        if cell.table == table
        and cell.column in ("faithful", "oracle")
        and experiments.reproduction._results.published(
            table, cell.model, cell.train, cell.test, cell.mode
        )
    ]
    assert len(printed) == count
    faithful = [c for c in TABLES[table] if c.table == table and c.column == "faithful"]
    assert len(faithful) == count - (table == "table3")  # the true equations are an oracle


def test_seeds_are_of_the_rows_that_the_paper_is_about() -> None:
    seeds: dict[str, int] = {}
    for path in CELLS:
        seeds[path.rsplit("-s", 1)[0]] = seeds.get(path.rsplit("-s", 1)[0], 0) + 1
    assert seeds["table1/faithful/hnet-L-L-recurrent"] == 3
    assert seeds["table2/faithful/hnet-L-L-iso"] == 3
    assert seeds["table1/faithful/onet-E-E-single"] == 1
    assert seeds["table2/improved/hnetq-L-L-iso"] == 3
    assert seeds["table3/faithful/hnet-L-L-recurrent"] == 3
    assert seeds["table3/faithful/hnet-L-L-single"] == 1


def test_both_presets_have_the_same_cells() -> None:
    smoke = jobs("all", preset="smoke") + jobs("chains", preset="smoke")
    assert {cell.path(job.seed) for job in smoke for cell in job.cells} == set(CELLS)


def test_ordinary_chains_are_the_first_between_the_quartiles() -> None:
    def stiffness(seed: int) -> float:
        g = torch.Generator().manual_seed(FIRST["chain"] + seed)
        return 0.1 * float(SpringChain.random(masses=20, generator=g).frequencies()[-1])

    drawn = np.array([stiffness(seed) for seed in range(1000)])
    low, high = np.quantile(drawn, (0.25, 0.75))
    between = np.flatnonzero((low <= drawn) & (drawn <= high))
    assert tuple(between[: len(ORDINARY)]) == ORDINARY
    # Of the three seeds of the paper's tables two are stiff and one is not.
    assert min(drawn[:2]) > np.quantile(drawn, 7 / 8)
    assert drawn[2] < low


def test_another_start_has_the_same_data_and_other_weights(tmp_path: Path) -> None:
    path = "hnet-L-L-recurrent-s5.json"
    plain, other = (
        CELLS[f"{table}/faithful/{path}"][1].fit for table in ("table1-ordinary", "table1-start1")
    )
    assert "start" not in plain.config()
    assert other.config() == plain.config() | {"start": 1}
    small = [dataclasses.replace(fit, training=2, tests=1, states=3) for fit in (plain, other)]
    first, second = (problem(fit, 5) for fit in small)
    assert torch.equal(first.training.values, second.training.values)
    assert torch.equal(first.test.values, second.test.values)
    weights = [_model(fit, drawn).net for fit, drawn in zip(small, (first, second), strict=True)]
    each = zip(*(net.parameters() for net in weights), strict=True)
    assert not any(torch.equal(a, b) for a, b in each if a.ndim > 1)
    assert len({job_weights(tmp_path, Job(fit, 5, "paper", (), 1.0)) for fit in small}) == 2


# A job.


def test_two_tests_of_one_training_train_once(tmp_path: Path, fits: list[Job]) -> None:
    job = small()
    assert [cell.test for cell in job.cells] == ["E", "L"]
    run(job, tmp_path)
    assert len(fits) == 1
    euler, leapfrog = experiments.results("table1", folder=tmp_path)
    assert euler.error_mean != leapfrog.error_mean
    # The second one alone is read off the same weights, without training.
    text = (tmp_path / "results" / job.cells[1].path(0)).read_text()
    (tmp_path / "results" / job.cells[1].path(0)).unlink()
    run(job, tmp_path)
    assert len(fits) == 1
    assert (tmp_path / "results" / job.cells[1].path(0)).read_text() == text


def test_what_is_finished_stays_and_what_is_half_written_is_done_again(
    tmp_path: Path, fits: list[Job]
) -> None:
    job = small()
    run(job, tmp_path)
    before = snapshot(tmp_path)
    run(job, tmp_path)
    assert snapshot(tmp_path) == before
    first, second = (tmp_path / "results" / cell.path(0) for cell in job.cells)
    whole = second.read_text()
    second.write_text(whole[: len(whole) // 2])
    assert unfinished([job], tmp_path) == [job]
    run(job, tmp_path)
    assert second.read_text() == whole
    after = snapshot(tmp_path)
    name = str(first.relative_to(tmp_path))
    assert after[name] == before[name]
    assert len(fits) == 1


def test_what_another_configuration_or_size_has_computed_is_done_again(tmp_path: Path) -> None:
    job = quick(1)
    run(job, tmp_path)
    assert finished(tmp_path, job, job.cells[0])
    assert not finished(tmp_path, dataclasses.replace(job, preset="paper"), job.cells[0])
    with pytest.raises(ValueError, match="is of preset 'smoke', not 'paper': name another folder"):
        run(dataclasses.replace(job, preset="paper"), tmp_path)
    assert finished(tmp_path, job, job.cells[0])
    other = dataclasses.replace(job.cells[0], fit=dataclasses.replace(job.fit, states=15))
    assert other.path(0) == job.cells[0].path(0)
    assert not finished(tmp_path, job, other)


@pytest.mark.parametrize("gone", [1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_prediction_that_diverges_is_no_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int, value: float
) -> None:
    """Its mean is no number, neither in the file nor read again, and never 0, the best."""
    job = quick(1)
    fit = dataclasses.replace(job.fit, net="true", integrator="leapfrog", tests=3)
    cell = dataclasses.replace(job.cells[0], fit=fit, test="L")
    job = dataclasses.replace(job, fit=fit, cells=(cell,))
    predict = srnn.Model.predict

    def diverging(self: Any, *given: Any, **how: Any) -> srnn.Trajectories:
        states = predict(self, *given, **how).values.clone()
        states[1:, :gone] = value
        return srnn.Trajectories.predicted(states, dt=0.1)

    monkeypatch.setattr(srnn.Model, "predict", diverging)
    run(job, tmp_path)
    stored = json.loads((tmp_path / "results" / cell.path(0)).read_text())
    assert stored["diverged"] == gone
    names = ("error_mean", "error_std", "error_mean_clean")
    assert [stored[name] for name in names] == [None] * 3
    for errors in stored["stretches"].values():
        assert errors == {"noisy": [None, None], "clean": [None, None]}
    for curve in stored["curve"].values():
        assert all(x is not None for x in curve[:1])
        assert curve[1:] == [None] * (len(curve) - 1)
    half = gone > 1  # more than half of all numbers, once two of three are gone
    assert (stored["error_median"] is None) == half
    (found,) = experiments.results(folder=tmp_path)
    assert all(math.isnan(getattr(found, name)) for name in names)
    assert not found.error_mean < math.inf


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_torn_result_is_named(tmp_path: Path, kept: float) -> None:
    run(quick(1), tmp_path)
    file = tmp_path / "results" / quick(1).cells[0].path(0)
    whole = file.read_text()
    for torn in (whole[: int(kept * len(whole))].rstrip("}\n"), "[]", '{"error_mean": 1.0}'):
        file.write_text(torn)
        with pytest.raises(srnn.errors.CheckpointError, match=f"{file.name} is a damaged result"):
            experiments.results(folder=tmp_path)


def test_a_weights_file_without_its_note_is_trained_again(tmp_path: Path, fits: list[Job]) -> None:
    job = small()
    run(job, tmp_path)
    note = job_weights(tmp_path, job).with_suffix(".json")
    note.unlink()
    (tmp_path / "results" / job.cells[0].path(0)).unlink()
    run(job, tmp_path)
    assert len(fits) == 2
    assert note.exists()


def capped(job: Job, minutes: float | None) -> Job:
    fit = dataclasses.replace(job.fit, minutes=minutes)
    cells = tuple(dataclasses.replace(cell, fit=fit) for cell in job.cells)
    return dataclasses.replace(job, fit=fit, cells=cells)


@pytest.mark.slow
def test_capped_training_stops_by_time_and_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = capped(small(epochs=500), 2.0)
    epoch, done = srnn.training.run.Run.epoch, 0

    def killed(run: Any) -> None:
        nonlocal done
        if done == 7:
            raise KeyboardInterrupt
        epoch(run)
        done += 1

    with monkeypatch.context() as patch:
        patch.setattr(srnn.training.run.Run, "epoch", killed)
        slow_clock(patch, 4.0)
        with pytest.raises(KeyboardInterrupt):
            run(job, tmp_path)
    checkpoint = tmp_path / "checkpoints" / job_weights(tmp_path, job).name
    assert checkpoint.exists()
    slow_clock(monkeypatch, 4.0)
    run(job, tmp_path)
    assert not checkpoint.exists()
    first = experiments.results("table1", folder=tmp_path)[0]
    assert first.capped
    assert 7 < first.epochs_done < 30  # of both runs: some four seconds or eight an epoch
    assert 120 <= first.wall_time_s < 140
    # The two runs make one training: as long in one go gives the same weights.
    whole = capped(small(epochs=first.epochs_done), None)
    run(whole, tmp_path / "whole")
    ours = load_file(job_weights(tmp_path, job))
    theirs = load_file(job_weights(tmp_path / "whole", whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def steps_of(job: Job, folder: Path) -> int:
    """Run a job and count the steps of its optimiser."""
    count = 0

    def hook(*_: Any) -> None:
        nonlocal count
        count += 1

    handle = register_optimizer_step_post_hook(hook)
    try:
        run(job, folder)
    finally:
        handle.remove()
    return count


@pytest.mark.slow
def test_a_killed_job_goes_on_inside_its_training(tmp_path: Path) -> None:
    epochs, completed = 12, 7
    job = small(epochs=epochs)
    steps = steps_of(job, tmp_path / "whole")
    each = steps // epochs
    assert steps == each * epochs
    code = f"""
import itertools, os, signal, types, torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from srnn.systems import SpringChain
from srnn.training import run as training
from srnn.experiments.reproduction import Cell, Fit, Job, run
torch.set_num_threads({torch.get_num_threads()})
ticks = itertools.count(0.0, 2.0)  # a checkpoint every epoch
training.time = types.SimpleNamespace(monotonic=lambda: next(ticks))
left = {each * completed + 1}
def hook(*_):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
register_optimizer_step_post_hook(hook)
run({job!r}, {str(tmp_path / "killed")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert unfinished([job], tmp_path / "killed") == [job]
    assert not job_weights(tmp_path / "killed", job).exists()
    # The epoch in which it was killed is begun again, and no other.
    assert steps_of(job, tmp_path / "killed") == steps - each * completed
    ours, theirs = (load_file(job_weights(tmp_path / n, job)) for n in ("killed", "whole"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for cell in job.cells:
        found = [
            json.loads((tmp_path / name / "results" / cell.path(0)).read_text())
            for name in ("killed", "whole")
        ]
        assert found[0]["curve"] == found[1]["curve"]
        assert found[0]["epochs_done"] == found[1]["epochs_done"] == epochs


# Many jobs.


def test_a_failing_job_is_told_and_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = [quick(1), failing(2), quick(3)]
    failed = sweep(every, tmp_path, workers=1)
    assert [failure.job for failure in failed] == [every[1].name]
    assert failed[0].reason.startswith("ValueError: Expected")
    assert unfinished(every, tmp_path) == [every[1]]
    told = capsys.readouterr().err
    assert f"{every[1].name} failed: ValueError" in told
    assert f"{every[2].name}, 1 failed" in told
    trace = tmp_path / "failures" / f"{every[1].name}.txt"
    assert "Traceback (most recent call last)" in trace.read_text()
    assert "in run\n" in trace.read_text()
    # Once it works, nothing says any more that it had failed.
    works = every[2]
    (tmp_path / "failures" / f"{works.name}.txt").write_text("old")
    (tmp_path / "results" / works.cells[0].path(0)).unlink()
    assert sweep([works], tmp_path, workers=1, progress=False) == []
    assert not (tmp_path / "failures" / f"{works.name}.txt").exists()
    assert capsys.readouterr() == ("", "")


def test_what_is_finished_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(
        _sweep, "run", lambda job, folder: (started.append(job.name), run(job, folder))
    )
    every = [quick(n) for n in range(4)]
    run(every[1], tmp_path)
    assert sweep(every, tmp_path, workers=1, progress=False) == []
    assert started == [every[n].name for n in (0, 2, 3)]  # in their order
    before = snapshot(tmp_path)
    assert sweep(every, tmp_path, workers=1, progress=False) == []
    assert snapshot(tmp_path) == before


def test_an_interrupt_stops_at_once_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = [quick(n) for n in range(3)]

    def interrupted(job: Job, folder: Path) -> None:
        if job == every[1]:
            raise KeyboardInterrupt
        run(job, folder)

    monkeypatch.setattr(_sweep, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(every, tmp_path, workers=1)
    assert "goes on" in capsys.readouterr().err
    assert unfinished(every, tmp_path) == every[1:]
    monkeypatch.undo()
    assert sweep(every, tmp_path, workers=1, progress=False) == []
    assert unfinished(every, tmp_path) == []


@pytest.mark.slow
def test_a_job_that_another_process_is_at_is_left_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = [quick(1), quick(2)]
    lock = _sweep._paths(tmp_path, every[0])[0]
    lock.parent.mkdir()
    code = (
        "import sys\nfrom filelock import FileLock\n"
        f"with FileLock({str(lock)!r}):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert sweep(every, tmp_path, workers=1) == []
        other.kill()  # and what a killed process held is free
    assert f"{every[0].name}: left to another process" in capsys.readouterr().err
    assert unfinished(every, tmp_path) == [every[0]]
    assert sweep(every, tmp_path, workers=1) == []
    assert unfinished(every, tmp_path) == []


def test_the_lock_of_a_job_is_that_of_its_checkpoint(tmp_path: Path) -> None:
    job = small()
    lock = _sweep._paths(tmp_path, job)[0]
    assert lock.stem == job_weights(tmp_path, job).stem
    assert tmp_path in lock.parents


@pytest.mark.slow
def test_killed_workers_are_replaced_and_who_kills_them_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    always, once = deadly(1, tmp_path, once=False), deadly(2, tmp_path, once=True)
    # Those that are under way beside it each time are no less finished.
    every = [always, quick(3), once, failing(4), *(quick(n) for n in range(5, 9))]
    failed = sweep(every, tmp_path / "out", workers=2)
    assert {failure.job for failure in failed} == {always.name, failing(4).name}
    reason = dict(failed)[always.name]
    assert reason == _sweep._KILLED
    assert unfinished(every, tmp_path / "out") == [always, failing(4)]
    assert (tmp_path / "killed-2").exists()
    told = capsys.readouterr().err
    assert "A worker process was killed" in told
    assert not list((tmp_path / "out" / "locks").glob("*.json"))
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_unknown_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected `workers`"):
        sweep([quick(1)], tmp_path, workers=0)


def test_without_distributed_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r'pip install "srnn\[dask\]"'):
        sweep([quick(1)], tmp_path, dask="tcp://127.0.0.1:1")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


@dataclasses.dataclass(frozen=True)
class Midway(Fit):
    """A fit whose process is killed once, within an epoch of its training; it counts its steps."""

    folder: str = ""
    spared: int = 0
    killed_at: int = 0

    @property
    def learnt(self) -> bool:
        if os.getpid() == self.spared:
            return True
        first, again = (Path(self.folder) / name for name in ("first", "again"))
        steps = again if first.exists() else first
        if steps == first:
            ticks = itertools.count(0.0, 2.0)  # a checkpoint every epoch
            training.time = types.SimpleNamespace(monotonic=lambda: next(ticks))  # type: ignore[assignment]

        def count(*_: Any) -> None:
            with steps.open("a") as file:
                file.write(".")
            if steps == first and len(first.read_text()) == self.killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

        register_optimizer_step_post_hook(count)
        return True


@pytest.mark.slow
def test_a_killed_dask_worker_loses_nothing(cluster: Any, tmp_path: Path) -> None:
    epochs, each, completed = 12, 3, 7
    job = small(epochs=epochs, batch_size=8)
    assert job.fit.training == 8 * each
    told = {"folder": str(tmp_path), "spared": os.getpid(), "killed_at": each * completed + 2}
    fit = Midway(**vars(job.fit), **told)
    cells = tuple(dataclasses.replace(cell, fit=fit) for cell in job.cells)
    # A worker that is killed midway in its training, and a failure: by the scheduler's address.
    every = [dataclasses.replace(job, fit=fit, cells=cells), failing(2)]
    every += [quick(n) for n in range(3, 9)]
    failed = sweep(every, tmp_path / "out", dask=cluster.scheduler_address, progress=False)
    assert [failure.job for failure in failed] == [failing(2).name]
    assert unfinished(every, tmp_path / "out") == [failing(2)]
    assert len((tmp_path / "first").read_text()) == each * completed + 2
    # Another worker has begun the epoch again in which it was killed, and no other.
    assert len((tmp_path / "again").read_text()) == each * (epochs - completed)


@pytest.mark.slow
def test_a_job_that_kills_dask_workers_is_found(cluster: Any, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    cluster.scheduler.allowed_failures = 0
    every = [deadly(1, tmp_path, once=False), *(quick(n) for n in range(2, 6))]
    with distributed.Client(cluster) as client:
        failed = sweep(every, tmp_path / "out", dask=client, progress=False)
        assert client.status == "running"  # it is the caller's
    assert failed == [Failure(every[0].name, _sweep._KILLED)]
    assert unfinished(every, tmp_path / "out") == every[:1]


# What is stored.

STORED = sorted(_store.FOLDER.glob("*/*/*-s*.json"))


def test_every_cell_of_the_paper_is_stored() -> None:
    paper = {cell.path(job.seed) for job in PAPER for cell in job.cells}
    # Those of `chains` as far as they are computed.
    assert paper <= {path.relative_to(_store.FOLDER).as_posix() for path in STORED} <= set(CELLS)


@pytest.mark.parametrize(
    "cell", [c for c in experiments.results() if c.errors is not None], ids=str
)
def test_stored_errors_of_samples_are_those_of_the_curve(cell: experiments.Result) -> None:
    assert cell.errors.shape == (cell.config["fit"]["states"], cell.config["fit"]["tests"])
    assert cell.errors.dtype == np.float32
    np.testing.assert_allclose(cell.errors.mean(axis=1), cell.curve["noisy"], rtol=1e-4, atol=1e-6)
    for stretch, found in cell.stretches.items():
        begin, end = map(int, stretch.split(".."))
        each = cell.errors[begin:end].mean(axis=0, dtype=float)
        assert [each.mean(), each.std()] == pytest.approx(found["noisy"], rel=1e-5), stretch


@pytest.mark.parametrize("table", sorted({path.parts[-3] for path in STORED}))
def test_a_stored_cell_is_of_the_current_configuration(table: str) -> None:
    for path in (_store.FOLDER / table).glob("*/*.json"):
        name = path.relative_to(_store.FOLDER).as_posix()
        job, cell = CELLS[name]
        stored = json.loads(path.read_text(encoding="utf-8"))
        assert stored["preset"] == "paper", name
        assert stored["config"] == cell.config(), name
        assert stored["config_hash"] == cell.digest(), name
        assert stored["seed"] == job.seed, name
        assert set(stored["versions"]) >= {"python", "torch", "numpy", "scipy", "srnn"}, name
        assert isinstance(stored["epochs_done"], int), name
        if job.fit.net != "quadratic":  # whose start may be the best that there is
            assert (stored["epochs_done"] > 0) == job.fit.learnt, name
        assert stored["wall_time_s"] >= 0, name
        assert stored["threads"] in (1, 2), name
        assert stored["capped"] <= (job.fit.minutes is not None), name
        assert stored["capped"] == (stored.get("stopped") == "time"), name
        for key in ("error_mean", "error_std", "error_mean_clean"):
            value = stored[key]
            assert value is None or (math.isfinite(value) and value >= 0), (name, key)
            assert value is not None or stored["diverged"] > 0, (name, key)
        assert set(stored["curve"]) == {"noisy", "clean"}
        for curve in stored["curve"].values():
            assert len(curve) == job.fit.states, name
            assert all(value is None or value >= 0 for value in curve), name
        assert (stored["sample"] is None) == (job.seed > 0), name


@pytest.mark.slow
def test_a_stored_recipe_is_what_the_same_training_follows_now() -> None:
    # A preset is named, not spelled out, in a configuration: were it changed, the results of the
    # former one would go on as those of the present one.
    seen: dict[str, Any] = {}
    drawn: dict[str, Any] = {}  # a recipe does not depend on the data
    for path in STORED:
        name = path.relative_to(_store.FOLDER).as_posix()
        job, _ = CELLS[name]
        stored = json.loads(path.read_text(encoding="utf-8"))
        if not job.fit.learnt:
            assert "recipe" not in stored, name
            continue
        if job.fit.digest() not in seen:
            if job.fit.problem not in drawn:
                small = dataclasses.replace(job.fit, training=1, tests=1, states=2)
                drawn[job.fit.problem] = problem(small, job.seed)
            model = _model(job.fit, drawn[job.fit.problem])
            seen[job.fit.digest()] = model.recipe(**_settings(job.fit)).as_stored()
        expected, found = seen[job.fit.digest()], stored["recipe"]
        if stored["stopped"] != "rate":  # whether it would have ended a training that went on
            expected = expected | {"least_rate": found["least_rate"]}
        # In its order too, which the fingerprint of a checkpoint depends on.
        assert list(found.items()) == list(expected.items()), name


@pytest.mark.parametrize("table", sorted({path.parts[-3] for path in STORED}))
def test_stored_numbers_are_those_of_the_curve(table: str) -> None:
    for cell in experiments.results(table):
        headline = "0..6" if table == "table3" else f"0..{len(cell.curve['noisy'])}"
        noisy, clean = (cell.stretches[headline][name] for name in ("noisy", "clean"))
        stored = [cell.error_mean, cell.error_std, cell.error_mean_clean]
        assert stored == pytest.approx([*noisy, clean[0]], rel=0, abs=0, nan_ok=True), cell.label
        for span, errors in cell.stretches.items():
            begin, end = map(int, span.split(".."))
            for name, (mean, deviation) in errors.items():
                curve = cell.curve[name][begin:end]  # of five digits; NaN where one diverged
                expected = sum(curve) / len(curve)
                approx = pytest.approx(expected, rel=1e-4, abs=1e-9, nan_ok=True)
                assert mean == approx, (cell.label, span)
                assert math.isfinite(deviation) == math.isfinite(mean), (cell.label, span)
                # Of errors that are not negative, over so many samples, at most this.
                assert not deviation > mean * math.sqrt(cell.config["fit"]["tests"]), (
                    cell.label,
                    span,
                )


def test_what_is_stored_is_what_was_published() -> None:
    """A cell without weights cannot be computed again here: its file is held to its hash."""
    assert sums(_store.FOLDER) == (_store.FOLDER / SUMS).read_text(encoding="utf-8")


def test_results_are_found_by_their_names(tmp_path: Path) -> None:
    every = experiments.results("table1", column="oracle")
    one = experiments.results("table1", column="oracle", model="zero", seed=1)
    assert [(cell.model, cell.seed) for cell in one] == [("zero", 1)]
    assert one[0] in every
    assert {cell.column for cell in every} == {"oracle"}
    assert {cell.test for cell in experiments.results("table1", test="L", column="oracle")} == {"L"}
    assert experiments.results("table1", model="nobody") == []
    with pytest.raises(ValueError, match=r"Unknown `table`: 'table9'\. Known: .*'table1'"):
        experiments.results("table9")
    with pytest.raises(ValueError, match=r"Unknown `column`: 'mine'\. Known: 'faithful'"):
        experiments.results("table1", column="mine")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        experiments.results("table1", folder=tmp_path / "nowhere")


def test_any_stretch_is_read_off_a_stored_cell(tmp_path: Path) -> None:
    run(quick(8), tmp_path)  # twenty states
    (cell,) = experiments.results("table1", folder=tmp_path)
    assert cell.over("0..20") == tuple(cell.stretches["0..20"]["noisy"])
    each = cell.errors[3:7].mean(axis=0)
    assert cell.over("3..7") == pytest.approx((each.mean(), each.std()), rel=1e-6)
    mean, deviation = cell.over("3..7", "clean")
    assert mean == pytest.approx(np.mean(cell.curve["clean"][3:7]))
    assert math.isnan(deviation)
    without = dataclasses.replace(cell, errors=None)
    assert without.over("3..7")[0] == pytest.approx(each.mean(), rel=1e-4)
    assert math.isnan(without.over("3..7")[1])
    for wrong in ("7..3", "0..21", "5..5", "0-5", "-1..5"):
        with pytest.raises(ValueError, match=r"begin\.\.end, of the states 0\.\.20; got"):
            cell.over(wrong)


def test_rows_are_over_their_seeds(tmp_path: Path) -> None:
    every = [job for job in jobs("table1", preset="smoke") if job.fit.net == "zero"]
    every = [job for job in every if job.cells[0].table == "table1"]
    assert sweep(every, tmp_path, workers=1, progress=False) == []
    (row,) = experiments.rows("table1", folder=tmp_path)
    means = [cell.error_mean for cell in experiments.results("table1", folder=tmp_path)]
    assert len(row.cells) == len(set(means)) == 3
    assert row.mean() == pytest.approx(sum(means) / 3)
    assert row.spread() == pytest.approx(
        math.sqrt(sum((m - row.mean()) ** 2 for m in means) / 2), rel=1e-6
    )
    assert row.mean("clean") != row.mean()
    assert row.label == "predict zero"
    assert row.published is None


def test_only_finished_cells_of_the_papers_sizes_are_published(tmp_path: Path) -> None:
    smoke = quick(1)
    run(smoke, tmp_path)
    path = "table1/oracle/zero-none-none-noisy-s0.json"
    job, cell = CELLS[path]
    run(dataclasses.replace(job, cells=(cell,)), tmp_path)
    into = tmp_path / "package"
    into.mkdir()
    assert publish(tmp_path, into) == [path]
    errors = path.replace(".json", ".npz")
    copied = sorted(p.relative_to(into).as_posix() for p in into.rglob("*-s0.*"))
    assert copied == [path, errors]
    digests = {x: hashlib.sha256((into / x).read_bytes()).hexdigest() for x in copied}
    assert (into / SUMS).read_text() == "".join(f"{digests[x]}  {x}\n" for x in copied)
    (found,) = experiments.results("table1", folder=into)
    assert found.over("0..30")[1] > 0  # of the errors of the samples
    (stored,) = experiments.results("table1", model="zero", seed=0)
    assert found.error_mean == pytest.approx(stored.error_mean, rel=1e-5)


def test_columns_are_the_known_ones() -> None:
    assert {cell.column for table in TABLES.values() for cell in table} == set(COLUMNS)


# What the stored rows have reached, to the second digit, which no later run may lose.


@pytest.mark.parametrize(
    ("table", "model", "mode", "against", "most"),
    [
        ("table1", "hnetq", "recurrent", "noisy", 1.32),
        ("table1", "hnet", "recurrent", "noisy", 1.33),
        ("table2", "hnetq", "iso", "noisy", 0.95),
        ("table2", "hnetq", "iso", "clean", 0.31),
        ("table2", "hnet", "iso", "noisy", 0.97),
        ("table2", "quadratic", "iso", "noisy", 0.95),
    ],
)
def test_an_improved_row_of_the_chain_stays_as_good(
    table: str, model: str, mode: str, against: str, most: float
) -> None:
    kept = [
        row
        for row in experiments.rows(table, column="improved")
        if (row.cells[0].model, row.cells[0].mode) == (model, mode)
    ]
    assert [len(row.cells) for row in kept] == [3]
    assert kept[0].mean(against) <= most


def test_learnt_three_bodies_stay_ahead_of_the_true_equations_at_the_same_step() -> None:
    (learnt,) = (
        row
        for row in experiments.rows("table3", column="improved")
        if row.cells[0].model == "hnetp"
    )
    (true,) = (
        row for row in experiments.rows("table3", column="oracle") if row.cells[0].model == "true"
    )
    assert [c.seed for c in learnt.cells] == [c.seed for c in true.cells] == [0, 1, 2]
    assert learnt.mean("noisy", "0..6") <= 0.38 * true.mean("noisy", "0..6")
    assert learnt.mean("noisy", "0..10") <= 0.46 * true.mean("noisy", "0..10")
