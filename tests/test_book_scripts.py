"""The scripts that execute and render the chapters."""

import base64
import io
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import execute_book
import render_book


def write(folder: Path, name: str, *sources: str) -> Path:
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
    return path


def outputs(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in code]


# Executing


@pytest.mark.slow
def test_a_chapter_is_executed_in_place_twice_to_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "01-one", "x = 2", "print(x + 1)\nprint(x)")
    assert execute_book.main([str(tmp_path)]) == 0
    first = path.read_bytes()
    assert outputs(path) == ["", "3\n2\n"]
    assert b"iopub" not in first
    said = capsys.readouterr().out
    assert re.fullmatch(r"01-one: [\d.]+ s \(longest cell [\d.]+ s\), \d+ MB\n", said)
    assert execute_book.main([str(tmp_path)]) == 0
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["01-one.ipynb"]


@pytest.mark.slow
def test_a_failing_chapter_is_reported_and_left_and_the_others_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write(tmp_path, "01-broken", "1 / 0")
    before = broken.read_bytes()
    sound = write(tmp_path, "02-sound", "print('sound')")
    assert execute_book.main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "01-broken: FAILED" in said.err
    assert "ZeroDivisionError" in said.err
    assert "02-sound: " in said.out
    assert broken.read_bytes() == before
    assert outputs(sound) == ["sound\n"]


@pytest.mark.slow
def test_chapters_are_executed_at_the_same_time_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wait = """
import pathlib, time
pathlib.Path("{own}").touch()
while not pathlib.Path("{other}").exists():
    time.sleep(0.05)
print("both")
"""
    paths = [
        write(tmp_path, "01-one", wait.format(own="one", other="two")),
        write(tmp_path, "02-two", wait.format(own="two", other="one")),
        write(tmp_path, "03-broken", "1 / 0"),
    ]
    failed = execute_book.execute_folder(tmp_path, timeout=60, workers=2)
    assert failed == ["03-broken"]
    assert [outputs(path) for path in paths[:2]] == [["both\n"], ["both\n"]]
    said = capsys.readouterr()
    assert re.findall(r"^\d\d-\w+", said.out, re.MULTILINE) == ["01-one", "02-two"]
    assert "ZeroDivisionError" in said.err


@pytest.mark.slow
def test_a_cell_that_takes_too_long_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "01-slow", "import time; time.sleep(30)")
    assert execute_book.main([str(tmp_path), "--timeout", "1"]) == 1
    assert "01-slow: FAILED" in capsys.readouterr().err


@pytest.mark.slow
def test_the_peak_of_the_memory_is_measured_though_it_was_given_back(tmp_path: Path) -> None:
    environment = execute_book.quiet_ipython(tmp_path / "settings")
    cells = ["x = b'1' * 300_000_000", "del x", "open = print = None"]
    small, large = (
        execute_book.execute(write(tmp_path, name, *sources), environment=environment)
        for name, sources in (("01-small", ["x = 1"]), ("02-large", cells))
    )
    assert 20e6 < small.memory < 300e6 < large.memory < execute_book.CHAPTER_MEMORY
    assert len(outputs(tmp_path / "02-large.ipynb")) == 3, "the measuring is stored"


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "least"), [("CHAPTER_MEMORY", 10e6), ("CHAPTER_SECONDS", 0.001)])
def test_a_chapter_that_costs_too_much_is_a_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: str,
    least: float,
) -> None:
    path = write(tmp_path, "01-greedy", "print(1)")
    before = path.read_bytes()
    monkeypatch.setattr(execute_book, limit, least)
    assert execute_book.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "01-greedy: FAILED\nA chapter may take at most" in said
    assert re.search(r"this one took .* s .* MB", said)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_only_the_named_chapters_are_executed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Expected at least one chapter"):
        execute_book.main([str(tmp_path)])
    one, two = (write(tmp_path, name, "print('ran')") for name in ("01-one", "02-two"))
    assert execute_book.main([str(tmp_path), "--only", "02-two"]) == 0
    assert (outputs(one), outputs(two)) == ([""], ["ran\n"])
    with pytest.raises(SystemExit, match=r"Expected 03-no in .*; the chapters there: 01-one"):
        execute_book.main([str(tmp_path), "--only", "03-no"])


def test_what_is_random_and_what_needs_a_kernel_is_dropped() -> None:
    model = "0123456789abcdef0123456789abcdef"
    cell = new_code_cell("slider", metadata={"execution": {"iopub.status.busy": "now"}})
    view = {execute_book.WIDGET_VIEW: {"model_id": model}, "text/plain": "interactive(children=())"}
    cell.outputs = [
        new_output("display_data", view),
        new_output("stream", name="stdout", text="kept"),
        new_output("execute_result", view, execution_count=1),
    ]
    state = {"application/vnd.jupyter.widget-state+json": {"state": {model: {}}}}
    notebook = new_notebook(
        cells=[new_markdown_cell("text"), cell],
        metadata={"widgets": state, "language_info": {"name": "python", "version": "3.11.7"}},
    )
    normal = execute_book.normalise(notebook)
    assert [output.output_type for output in normal.cells[1].outputs] == ["stream"]
    text = json.dumps(normal)
    assert model not in text
    assert "widget" not in text
    assert "iopub" not in text
    assert "3.11.7" not in text


LIVE = """
import matplotlib.pyplot as plt, srnn

def draw(count, grid=False, style="-"):
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot(range({count}), style)
    ax.grid(grid)
    return figure

srnn.widgets.live(draw, count=(2, 9, 1), grid=[("no", False), ("yes", True)], style=["-", ":"])
"""


@pytest.mark.slow
def test_live_controls_are_moved_in_the_kernel_and_not_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "01-live", LIVE.replace("{count}", "count"), "len = print = None")
    assert execute_book.main([str(tmp_path)]) == 0, capsys.readouterr().err
    notebook = nbformat.read(path, as_version=4)
    assert [(cell.outputs, cell.execution_count) for cell in notebook.cells] == [([], 1), ([], 2)]
    assert "widgets" not in notebook.metadata


def test_what_a_live_figure_shows_is_not_sent_back_to_the_kernel() -> None:
    sent: list[object] = []
    session = SimpleNamespace(msg=lambda *_, **__: "message")
    kernel = SimpleNamespace(session=session, shell_channel=SimpleNamespace(send=sent.append))
    client = execute_book.Client(new_notebook())
    client.kc = kernel
    client.widget_state = {"comm": {}}
    kind = {"_model_module": "@jupyter-widgets/output", "_model_name": "OutputModel"}
    opened = {"content": {"comm_id": "comm", "data": {"state": kind | {"outputs": []}}}}
    output = client.on_comm_open_jupyter_widget(opened)
    shown = {
        "header": {"msg_type": "display_data"},
        "msg_type": "display_data",
        "parent_header": {},
        "content": {"data": {"text/plain": "a figure"}, "metadata": {}},
    }
    cell: list[object] = []
    output.output(cell, shown, None, 0)
    output.clear_output(cell, {"parent_header": {}, "content": {"wait": False}}, 0)
    assert (sent, cell) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "complaint"),
    [
        ("5", "count: the same picture for 5 and 9"),
        ("count // (count < 9)", "count: not one picture for each of 5 and 9"),
        ("next(calls)", "count: the picture for 5 is not always the same"),
    ],
    ids=["ignored", "fails", "random"],
)
def test_a_live_control_that_does_nothing_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: str, complaint: str
) -> None:
    cells = "import itertools; calls = itertools.count(2)", LIVE.replace("{count}", count)
    path = write(tmp_path, "01-idle", *cells)
    before = path.read_bytes()
    assert execute_book.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "01-idle: FAILED\nExpected each live control to change its picture; got\n" in said
    assert complaint in said.splitlines()
    assert path.read_bytes() == before


def test_figures_are_stored_with_few_colours_and_look_the_same() -> None:
    x = np.linspace(0, 6, 400)
    figure, ax = plt.subplots()
    for wave in range(5):
        ax.plot(x, np.sin(wave + x))
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    plt.close(figure)
    cell = new_code_cell("plot")
    text = base64.b64encode(drawn.getvalue()).decode()
    cell.outputs = [new_output("display_data", {"image/png": text})]
    (stored,) = execute_book.normalise(new_notebook(cells=[cell])).cells[0].outputs
    stored_text = stored.data["image/png"]
    assert len(stored_text) < 0.7 * len(text)
    true, kept = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(t))).convert("RGB"), dtype=float)
        for t in (text, stored_text)
    )
    assert np.abs(true - kept).mean() < 0.5


def test_a_kernel_does_not_see_the_settings_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    environment = execute_book.quiet_ipython(tmp_path)
    assert environment["IPYTHONDIR"] == str(tmp_path)
    assert "MPLBACKEND" not in environment
    assert list(tmp_path.rglob("ipython_kernel_config.py"))


# Rendering


@pytest.fixture
def small_book(tmp_path: Path) -> Path:
    """Make a book of one page and one chapter with the settings of the real one."""
    root = tmp_path / "root"
    (root / "book").mkdir(parents=True)
    (root / "_config.yml").write_text('title: Small\nexecute: {execute_notebooks: "off"}\n')
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nchapters:\n  - file: book/01-one\n"
    )
    (root / "book" / "intro.md").write_text("# Small\n\nText.\n")
    nbformat.write(
        new_notebook(cells=[new_markdown_cell("# One\n"), new_code_cell("print('fre' + 'sh')")]),
        root / "book" / "01-one.ipynb",
    )
    return root


@pytest.mark.slow
def test_a_fresh_book_is_executed_in_a_copy_and_rendered(
    small_book: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in small_book.rglob("*") if p.is_file()}
    output = tmp_path / "out"
    assert render_book.main(["--output", str(output), "--fresh"], root=small_book) == 0
    page = output / "html" / "index.html"
    assert page.stat().st_size > 0
    assert str(page) in capfd.readouterr().out
    assert "fresh" in (output / "html" / "book" / "01-one.html").read_text()
    assert {p: p.read_bytes() for p in small_book.rglob("*") if p.is_file()} == before


def test_one_chapter_is_executed_afresh_and_the_others_are_as_they_are_stored(
    small_book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(small_book / "book", "02-two", "print('fresh')")
    monkeypatch.setattr(render_book, "build", lambda source, output: output / "index.html")
    output = tmp_path / "out"
    assert render_book.main(["--output", str(output), "--fresh", "01-one"], root=small_book) == 0
    copies = [output / "source" / "book" / f"{name}.ipynb" for name in ("01-one", "02-two")]
    assert list(map(outputs, copies)) == [["fresh\n"], [""]]


@pytest.mark.slow
def test_a_warning_of_the_build_is_an_error(
    small_book: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (small_book / "book" / "intro.md").write_text("# Small\n\n[nowhere](nowhere.md)\n")
    assert render_book.main(["--output", str(tmp_path / "out")], root=small_book) == 1
    assert "nowhere" in capfd.readouterr().err


def test_a_failing_chapter_stops_before_the_rendering(
    small_book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_book, "execute_folder", lambda folder, **_: ["01-one"])
    output = tmp_path / "out"
    assert render_book.main(["--output", str(output), "--fresh"], root=small_book) == 1
    assert not (output / "html").exists()


def test_version_2_of_jupyter_book_is_refused(
    small_book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_book, "version", lambda name: "2.1.7")
    with pytest.raises(SystemExit, match=r"Expected jupyter-book>=1.0.4,<2; got 2.1.7"):
        render_book.main(["--output", str(tmp_path / "out")], root=small_book)


def test_a_build_that_leaves_no_page_is_an_error(
    small_book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess([], returncode=0)
    monkeypatch.setattr(render_book.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(SystemExit, match=r"Expected the build to write .*index\.html"):
        render_book.main(["--output", str(tmp_path / "out")], root=small_book)
