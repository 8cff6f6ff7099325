"""The comparison of stored with new outputs sees one changed digit, in every chapter.

Nothing is executed here but one short piece of a chapter: the kernel is one that plays the stored
outputs back. The comparison, with what it leaves out, is that of nbval itself.
"""

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError, get_sanitize_patterns

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "tests" / "nbval.cfg"
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
TEXTS = ("text/plain", "text/html", "text/latex")


class Playback:
    """A kernel that answers any cell with outputs that it is given."""

    def __init__(self) -> None:
        self.outputs: list[NotebookNode] = []
        self.messages: Iterator[dict[str, Any]] = iter(())

    def is_alive(self) -> bool:
        return True

    def execute_cell_input(self, source: str, allow_stdin: bool) -> str:
        answers = [(output.output_type, output) for output in copy.deepcopy(self.outputs)]
        self.messages = (
            {"msg_type": kind, "content": content, "parent_header": {"msg_id": "asked"}}
            for kind, content in (*answers, ("status", {"execution_state": "idle"}))
        )
        return "asked"

    def await_reply(self, asked: str, timeout: float) -> None:
        pass

    def get_message(self, stream: str, timeout: float) -> dict[str, Any]:
        return next(self.messages)


def collect(path: Path, session: pytest.Session) -> tuple[Playback, list[IPyNbCell]]:
    """Return the tests that nbval makes of a chapter, with the rules of this project."""
    file = IPyNbFile.from_parent(session, path=path)
    file.sanitize_patterns.update(get_sanitize_patterns(RULES.read_text(encoding="utf-8")))
    file.kernel = Playback()
    return file.kernel, list(file.collect())


def agrees(cell: IPyNbCell, kernel: Playback, new: list[NotebookNode]) -> bool:
    """Say whether nbval accepts new outputs of a cell."""
    kernel.outputs = new
    # The report of a difference is not read here, and takes long where an output is long.
    cell.format_output_compare = lambda *_: None
    try:
        cell.runtest()
    except NbCellError as error:
        if str(error) != "Cell outputs differ":
            raise
        return False
    return True


def places(outputs: list[NotebookNode]) -> Iterator[tuple[NotebookNode, str]]:
    """Yield where the texts of a cell's outputs are: what holds one, and its key."""
    for output in outputs:
        if output.output_type == "stream":
            yield output, "text"
        for kind in set(output.get("data", {})) & set(TEXTS):
            yield output.data, kind


def digits(text: str) -> list[int]:
    """Return the places of the digits that a reader sees; not those that encode a picture."""
    pictures = [found.span() for found in re.finditer(r"base64,[A-Za-z0-9+/=]+", text)]
    return [
        found.start()
        for found in re.finditer(r"[0-9]", text)
        if not any(begin <= found.start() < end for begin, end in pictures)
    ]


def with_another_digit(text: str, place: int) -> str:
    return f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}"


@pytest.mark.slow
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_nbval_sees_each_digit_of_a_chapter_that_is_changed(
    path: Path, request: pytest.FixtureRequest
) -> None:
    kernel, cells = collect(path, request.session)
    changed = 0
    for cell in cells:
        if not cell.options["check"]:
            continue
        stored = cell.cell.outputs
        assert agrees(cell, kernel, stored), "the stored outputs differ from themselves"
        for at, (holder, key) in enumerate(places(stored)):
            # Of a long text, such as the page of a slider, some digits stand for all.
            found = digits(holder[key])
            for place in found[:: max(1, len(found) // 100)]:
                new = copy.deepcopy(stored)
                other, key = list(places(new))[at]
                other[key] = with_another_digit(other[key], place)
                assert not agrees(cell, kernel, new), f"{cell.name}: {holder[key][:place]}"
                changed += 1
    assert changed >= 20, "the chapter hardly prints numbers"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_is_left_out_of_the_comparison_is_live_or_moves_or_is_asserted(
    path: Path, request: pytest.FixtureRequest
) -> None:
    """Live controls store no picture; other processors give other last digits of long paths."""
    _, cells = collect(path, request.session)
    left_out = [cell.cell for cell in cells if not cell.options["check"] or cell.options["skip"]]
    for cell in left_out:
        moves = "live" in cell.metadata.tags or re.search(r"widgets\.(ball|bodies)\(", cell.source)
        assert moves or re.search(r"^assert ", cell.source, flags=re.MULTILINE), cell.source
    assert len(left_out) <= 3


def piece(path: Path) -> NotebookNode:
    """Return the beginning of a chapter, up to the first cell that prints a digit."""
    notebook = nbformat.read(path, as_version=4)
    for end, cell in enumerate(notebook.cells):
        if any(digits(holder[key]) for holder, key in places(cell.get("outputs", []))):
            notebook.cells = notebook.cells[: end + 1]
            return notebook
    raise AssertionError(f"Expected {path.stem} to print a number; it prints none.")


def run_nbval(notebook: NotebookNode, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run nbval as the Makefile does, on a notebook in a folder of its own."""
    folder.mkdir()
    nbformat.write(notebook, folder / "piece.ipynb")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    options = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(RULES)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", ".", *options, "--nbval-cell-timeout", "120"],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_piece_of_a_chapter_passes_and_with_one_digit_changed_fails(tmp_path: Path) -> None:
    notebook = piece(CHAPTERS[0])
    number = sum(cell.cell_type == "code" for cell in notebook.cells)
    same = run_nbval(notebook, tmp_path / "same")
    assert same.returncode == 0, same.stdout
    assert f"{number} passed" in same.stdout
    holder, key = next(p for p in places(notebook.cells[-1].outputs) if digits(p[0][p[1]]))
    holder[key] = with_another_digit(holder[key], digits(holder[key])[-1])
    other = run_nbval(notebook, tmp_path / "other")
    assert other.returncode == 1, other.stdout
    assert f"1 failed, {number - 1} passed" in other.stdout
    assert "Cell outputs differ" in other.stdout
