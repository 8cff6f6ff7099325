"""The command: what it writes, where, what it says, and what it refuses."""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import srnn
from srnn import cli, experiments
from srnn.experiments import _store
from srnn.experiments.reproduction import TABLES, Failure, _work, jobs, unfinished

ROOT = Path(__file__).resolve().parent.parent


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def some(table: str, count: int) -> Any:
    """Stand for `jobs`: the quickest of a table alone."""

    def chosen(*_: Any, **how: Any) -> Any:
        return [job for job in jobs(table, **how) if job.fit.net == "zero"][:count]

    return chosen


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "jobs", some("table1", 2))


def test_alone_it_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "reproduce" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        cli.main(["reproduce", "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    for word in (*TABLES, "all", "paper", "smoke", "--workers", "--dask", "--publish"):
        assert word in told


def test_the_command_and_the_module_are_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"srnn": "srnn.cli:main"}
    done = subprocess.run(
        [sys.executable, "-m", "srnn", "--version"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == f"srnn {srnn.__version__}\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["reproduce"], "table"),
        (["reproduce", "table9"], "invalid choice: 'table9'"),
        (["reproduce", "table1", "--preset", "big"], "invalid choice: 'big'"),
        (["reproduce", "table1", "--seeds", "0"], "expected a positive whole number; got '0'"),
        (["reproduce", "table1", "--workers", "-1"], "--workers"),
        (["reproduce", "table1", "--preset", "smoke", "--publish"], "needs --preset paper"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", [".", "table1", "mine", "..", "link"])
def test_no_run_writes_into_the_stored_results(
    where: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    package = tmp_path / "package" / "results"
    package.mkdir(parents=True)
    monkeypatch.setattr(cli, "FOLDER", package)
    output = package / where
    if where == "link":
        output = tmp_path / "link"
        output.symlink_to(package)
    for preset in ("paper", "smoke"):
        with pytest.raises(SystemExit) as end:
            cli.main(["reproduce", "table1", "--preset", preset, "--output", str(output)])
        assert end.value.code == 2
        told = capsys.readouterr().err
        assert "stored results" in told
        assert "--publish" in told
    assert not list(package.iterdir())


def test_it_says_what_is_left_and_lays_the_numbers_side_by_side(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", "table1", "--preset", "smoke", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 of 2 jobs are left, about ")
    assert "2 of 2 cells are done, 0 failed, 0 were left to another process." in told
    assert [path.name for path in tmp_path.iterdir()] == ["reproduction"]
    assert (tmp_path / "reproduction" / "smoke" / "results" / "table1").is_dir()
    assert max(map(len, told.splitlines())) <= 100
    ours = experiments.rows("table1", folder=tmp_path / "reproduction" / "smoke")[0]
    stored = next(
        row for row in experiments.rows("table1", column="oracle") if row.label == ours.label
    )
    line = next(line for line in told.splitlines() if "predict zero" in line)
    pattern = r"  predict zero +(\S+) ± (\S+) \(1\) +(\S+) ± (\S+) \(3\) +-"
    numbers = re.fullmatch(pattern, line)
    assert numbers is not None, line
    found = [float(number) for number in numbers.groups()]
    assert found == pytest.approx([ours.mean(), ours.std, stored.mean(), stored.std], abs=0.006)
    # Published beside it, also where nothing has been computed.
    assert re.search(r"  H-NET L-L, recurrent .* 2\.37 ± 0\.87$", told, re.MULTILINE)
    assert cli.main(["reproduce", "table1", "--preset", "smoke", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("0 of 2 jobs are left, about 0 core-hours")


def test_a_failed_cell_makes_the_exit_code_1(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = cli.jobs(preset="smoke", seeds=1)
    (tmp_path / "results" / "table1" / "oracle" / f"{second.name}").mkdir(parents=True)
    # The cell's file cannot be written: a folder is in its place.
    (tmp_path / "results" / second.cells[0].path(second.seed)).mkdir(parents=True)
    words = ["reproduce", "table1", "--preset", "smoke", "--workers", "1"]
    monkeypatch.setattr(cli, "_tables", lambda *_: "")
    assert cli.main([*words, "--output", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "1 of 2 cells are done, 1 failed, 0 were left" in told
    assert f"failed: {second.name}: IsADirectoryError" in told
    assert unfinished([first, second], tmp_path) == [second]


def test_what_another_process_is_at_is_no_failure(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "sweep", lambda *_, **__: [])
    words = ["reproduce", "table1", "--preset", "smoke", "--output", str(tmp_path)]
    assert cli.main(words) == 0
    assert "0 of 2 cells are done, 0 failed, 2 were left" in capsys.readouterr().out


def test_options_get_to_the_sweep(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def record(jobs: Any, folder: Any, **how: Any) -> list[Failure]:
        asked.update(how, folder=folder, seeds={job.seed for job in jobs})
        return [Failure("one", "ValueError: no")]

    monkeypatch.setattr(cli, "sweep", record)
    monkeypatch.setattr(cli, "jobs", jobs)
    words = ["reproduce", "table2", "--seeds", "2", "--workers", "5", "--dask", "tcp://here:1"]
    assert cli.main([*words, "--output", str(tmp_path)]) == 1
    wanted = {"workers": 5, "dask": "tcp://here:1", "folder": tmp_path, "seeds": {0, 1}}
    assert asked == wanted
    assert "failed: one: ValueError: no" in capsys.readouterr().out


def test_publishing_copies_what_is_finished(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    published: list[Path] = []
    monkeypatch.setattr(cli, "FOLDER", package)
    monkeypatch.setattr(cli, "publish", lambda folder: published.append(folder) or ["a", "b"])
    words = ["reproduce", "table1", "--workers", "1", "--output", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert not published
    assert cli.main([*words, "--publish"]) == 0
    assert published == [tmp_path / "out"]
    assert "2 finished cells" in capsys.readouterr().out


def test_without_distributed_it_says_what_to_install(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ["reproduce", "table1", "--preset", "smoke", "--output", str(tmp_path)]
    assert cli.main([*words, "--dask", "tcp://127.0.0.1:1"]) == 1
    assert 'pip install "srnn[dask]"' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_ends_it_and_its_workers(tmp_path: Path) -> None:
    # The first job of figure 1 at the paper's size trains for many minutes.
    code = (
        # A background job of a shell inherits that interrupts are ignored; a terminal's does not.
        "import signal, sys\nfrom srnn import cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "long = [j for j in cli.jobs('figure1') if j.fit.learnt]\n"
        "cli.jobs = lambda *_, **__: long\n"
        f"sys.exit(cli.main(['reproduce', 'figure1', '--workers', '2', '--output', "
        f"{str(tmp_path)!r}]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT,
    )  # fmt: skip
    with process:
        while not list((tmp_path / "locks").glob("*.json")):  # until a worker is at a job
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, told = process.communicate()
    assert process.returncode == 130
    assert "goes on" in told
    with contextlib.suppress(ProcessLookupError):
        while True:  # until the last of its group has ended
            os.killpg(process.pid, 0)
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The walls keep the start")  # of few balls
def test_the_whole_reproduction_in_small_writes_below_its_output_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(_store.FOLDER)
    monkeypatch.chdir(tmp_path)
    # The orbits of three bodies, which take longest, are the same in every job: drawn once.
    orbits: dict[Any, Any] = {}
    problem = _work.problem

    def drawn_again(fit: Any, seed: int) -> Any:
        if fit.problem != "three-body":
            return problem(fit, seed)
        sizes = (fit.training, fit.tests, fit.states, seed)
        if sizes not in orbits:
            orbits[sizes] = problem(fit, seed)
        generator = torch.Generator()
        generator.set_state(orbits[sizes].generator.get_state())
        return orbits[sizes]._replace(generator=generator)

    monkeypatch.setattr(_work, "problem", drawn_again)
    words = ["reproduce", "all", "--preset", "smoke", "--workers", "1"]
    assert cli.main(words) == 0, capsys.readouterr().out
    told = capsys.readouterr().out
    assert contents(_store.FOLDER) == before
    assert [path.name for path in tmp_path.iterdir()] == ["reproduction"]
    assert [path.name for path in (tmp_path / "reproduction").iterdir()] == ["smoke"]
    folder = tmp_path / "reproduction" / "smoke"
    every = jobs("all", preset="smoke", seeds=1)  # the others would run the same code
    assert unfinished(every, folder) == []
    paths = {cell.path(job.seed) for job in every for cell in job.cells}
    written = {p.relative_to(folder / "results").as_posix() for p in folder.rglob("*-s0.json")
               if folder / "results" in p.parents}  # fmt: skip
    assert written == paths
    assert not list((folder / "checkpoints").iterdir())
    assert not list((folder / "failures").iterdir())
    assert f"{len(paths)} of {len(paths)} cells are done, 0 failed" in told
    for table in TABLES.keys() - {"chains"}:
        assert f"{table}, faithful" in told
    assert "(1)" in told
    # The clock has ended the stored one.
    assert re.search(r"  LSTM, recurrent +\S+ ± \S+ \(1\)\*? +\S+ ± \S+ \(1\)\* ", told)
    assert max(map(len, told.splitlines())) <= 100
