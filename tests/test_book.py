"""The chapters as they are stored: executed in order, readable without a kernel, accessible."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [
    path
    for part in TOC["parts"]
    for chapter in part["chapters"]
    if (path := ROOT / f"{chapter['file']}.ipynb").exists()
]
IMAGES = ("image/png", "image/jpeg", "image/svg+xml")

NUMBERED = [path for path in CHAPTERS if path.stem[0].isdigit()]

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
each_numbered_chapter = pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[NotebookNode]:
    return [c for c in read(path).cells if c.cell_type == "code" and c.source.strip()]


def prose(path: Path) -> str:
    return "\n\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")


def data_of(cell: NotebookNode) -> Iterator[tuple[str, Any]]:
    """Yield the kind and the content of each thing that a cell displays."""
    for output in cell.outputs:
        yield from output.get("data", {}).items()


def printed(cell: NotebookNode) -> str:
    streams = "".join(output.get("text", "") for output in cell.outputs)
    return streams + "".join(str(text) for kind, text in data_of(cell) if kind == "text/plain")


def is_a_description(alt: str | None) -> bool:
    """Say whether a text can stand for a picture: a sentence, not a file name or a word."""
    return bool(alt) and len(alt.split()) >= 5 and not re.search(r"\.(png|jpe?g|svg)\b", alt)


def test_there_are_chapters() -> None:
    assert len(NUMBERED) >= 3


@each_chapter
def test_a_chapter_is_a_valid_notebook_of_any_python_3(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [c.id for c in notebook.cells if "execution" in c.metadata] == [], "times of execution"
    assert re.fullmatch(r"(\d\d|howto)-[a-z0-9-]+|speed", path.stem)


@each_chapter
def test_every_code_cell_was_executed_in_order(path: Path) -> None:
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert sum(bool(cell.outputs) for cell in code_cells(path)) >= 2, "no outputs are stored"


@each_chapter
def test_no_cell_failed_or_complained(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", output.text


@each_chapter
def test_a_chapter_is_small(path: Path) -> None:
    assert path.stat().st_size < 400_000


@each_chapter
def test_outputs_repeat_themselves(path: Path) -> None:
    for cell in code_cells(path):
        text = printed(cell)
        assert not re.search(r"0x[0-9a-f]{6,}", text), f"an address in memory: {text}"
        assert not re.search(r"\d%\||it/s|s/it|\r", text), f"a progress bar: {text}"
        assert not re.search(r"(/|[A-Z]:\\)(home|Users|root|tmp|work)\b", text), f"a path: {text}"
        assert not cell.source.rstrip().endswith(";"), f"end with plt.show(): {cell.source}"


@each_chapter
def test_code_reads_and_writes_no_file_by_a_path_of_its_own(path: Path) -> None:
    forbidden = re.compile(r"""["']\.{1,2}/|\bopen\(|savefig\(|sys\.path|os\.chdir""")
    for cell in code_cells(path):
        assert not forbidden.search(cell.source), cell.source


@each_chapter
def test_the_first_code_cell_is_the_setup(path: Path) -> None:
    setup = code_cells(path)[0]
    assert re.search(r"^\s*import srnn\b", setup.source, flags=re.MULTILINE)
    assert "hide-input" in setup.metadata.get("tags", [])


def test_the_setup_is_the_same_in_all_chapters() -> None:
    setups = {path.stem: code_cells(path)[0].source for path in CHAPTERS}
    assert len(set(setups.values())) == 1, setups


@each_chapter
def test_numbers_are_asserted(path: Path) -> None:
    source = "\n".join(cell.source for cell in code_cells(path))
    assert len(re.findall(r"^\s*assert |assert_close\(", source, flags=re.MULTILINE)) >= 3


@each_chapter
def test_every_figure_has_a_caption_and_says_what_is_to_be_seen(path: Path) -> None:
    for cell in code_cells(path):
        pictures = sum(kind in IMAGES for kind, _ in data_of(cell))
        if pictures:
            settings = cell.metadata.get("mystnb", {})
            assert pictures == 1, f"one figure a cell: {cell.source}"
            assert is_a_description(settings.get("image", {}).get("alt")), cell.source
            figure = settings.get("figure", {})
            assert len(figure.get("caption", "").split()) >= 3, cell.source
            assert re.fullmatch(r"fig-[a-z0-9-]+", figure.get("name", "")), cell.source


@each_chapter
def test_every_picture_within_an_output_or_the_prose_is_described(path: Path) -> None:
    for cell in code_cells(path):
        for kind, text in data_of(cell):
            if kind == "text/html":
                for picture in BeautifulSoup(text, "html.parser").find_all("img"):
                    assert is_a_description(picture.get("alt")), cell.source
    for alt in re.findall(r"!\[(.*?)\]\(", prose(path)):
        assert is_a_description(alt)


def test_names_of_figures_are_unique() -> None:
    names = Counter(
        cell.metadata["mystnb"]["figure"]["name"]
        for path in CHAPTERS
        for cell in code_cells(path)
        if "figure" in cell.metadata.get("mystnb", {})
    )
    assert [name for name, count in names.items() if count > 1] == []


@each_numbered_chapter
def test_every_exercise_has_a_solution(path: Path) -> None:
    text = prose(path)
    exercises = re.findall(r"\{exercise(?:-start)?\}.*?\n:label:\s*(\S+)", text)
    solved = re.findall(r"\{solution(?:-start)?\}\s*(\S+)", text)
    assert len(exercises) >= 3
    assert sorted(exercises) == sorted(solved)
    solutions = re.findall(r"\{solution(?:-start)?\}", text)
    assert len(solutions) == len(re.findall(r":class:\s*dropdown", text))


@each_chapter
def test_a_chapter_begins_with_its_title_and_has_one(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert len(re.findall(r"^# ", prose(path), flags=re.MULTILINE)) == 1


@each_chapter
def test_every_cited_work_is_in_the_bibliography(path: Path) -> None:
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    known = set(re.findall(r"^@\w+\{(\S+),", bibliography, flags=re.MULTILINE))
    cited = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", prose(path))
    assert {key.strip() for keys in cited for key in keys.split(",")} <= known
