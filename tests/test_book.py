"""The chapters as they are stored: executed in order, readable without a kernel, accessible."""

import ast
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat import NotebookNode

import srnn

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


@cache
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


@each_chapter
def test_a_chapter_is_a_valid_notebook_of_any_python_3(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [c.id for c in notebook.cells if "execution" in c.metadata] == [], "times of execution"
    assert re.fullmatch(r"(\d\d|howto)-[a-z0-9-]+|speed", path.stem)
    assert path.stat().st_size < 400_000


@each_chapter
def test_every_code_cell_was_executed_in_order_and_none_failed_or_complained(path: Path) -> None:
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert sum(bool(cell.outputs) for cell in code_cells(path)) >= 2, "no outputs are stored"
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", output.text


@each_chapter
def test_outputs_repeat_themselves(path: Path) -> None:
    for cell in code_cells(path):
        text = printed(cell)
        assert not re.search(r"0x[0-9a-f]{6,}", text), f"an address in memory: {text}"
        assert not re.search(r"\d%\||it/s|s/it|\r", text), f"a progress bar: {text}"
        assert not re.search(r"(/|[A-Z]:\\)(home|Users|root|tmp|work)\b", text), f"a path: {text}"
        assert not cell.source.rstrip().endswith(";"), f"end with plt.show(): {cell.source}"


@each_chapter
def test_code_uses_public_names_only_and_no_file_by_a_path_of_its_own(path: Path) -> None:
    file = re.compile(r"""["']\.{1,2}/|\bopen\(|savefig\(|sys\.path|os\.chdir""")
    private = re.compile(
        r"^\s*(?:from|import)\s+srnn\S*\._|\bimport\s+_|\bsrnn(?:\.\w+)*\._\w", re.M
    )
    for cell in code_cells(path):
        assert not file.search(cell.source), cell.source
        assert not private.search(cell.source), cell.source


@each_chapter
def test_the_first_code_cell_is_the_setup(path: Path) -> None:
    setup = code_cells(path)[0]
    assert re.search(r"^\s*import srnn\b", setup.source, flags=re.MULTILINE)
    assert "hide-input" in setup.metadata.get("tags", [])


def test_the_setup_is_the_same_in_all_chapters() -> None:
    setups = {path.stem: code_cells(path)[0].source for path in CHAPTERS}
    assert len(set(setups.values())) == 1, setups


@each_chapter
def test_every_figure_has_a_caption_and_says_what_is_to_be_seen(path: Path) -> None:
    for cell in code_cells(path):
        pictures = sum(kind in IMAGES for kind, _ in data_of(cell))
        # Sliders and animations describe each of their pictures themselves.
        moving = sum(kind == "text/html" and "<figure" in text for kind, text in data_of(cell))
        if pictures or moving:
            settings = cell.metadata.get("mystnb", {})
            assert pictures + moving == 1, f"one figure a cell: {cell.source}"
            if pictures:
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
    folded = re.findall(r"\{solution(?:-start)?\}\s*\S+\n(?::label:.*\n)?:class:\s*dropdown", text)
    assert len(folded) == len(solved)
    begun = re.split(r":{3,4}\{solution(?:-start)?\} ", text)[1:]
    for solution in begun:
        said = re.split(r":{3,4}\{(?:solution-end|exercise)|^## ", solution, flags=re.MULTILINE)[0]
        assert len(said.split()) >= 25, solution[:100]


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


# What every chapter has

STUDIED = [path for path in NUMBERED if not path.stem.startswith("08")]
DEGREES = ("easy", "medium", "hard", "research")
each_studied_chapter = pytest.mark.parametrize("path", STUDIED, ids=lambda path: path.stem)


def headings(path: Path) -> list[str]:
    return re.findall(r"^## (.+)$", prose(path), flags=re.MULTILINE)


@each_studied_chapter
def test_a_chapter_has_its_sections_in_order(path: Path) -> None:
    """The page of the paper's tables has a shape of its own."""
    assert ":::{admonition} What you will learn" in read(path).cells[1].source
    wanted = ["When it fails", "Summary", "Exercises", "In the library", "References"]
    assert headings(path)[-len(wanted) :] == wanted
    assert not set(headings(path)[: -len(wanted)]) & set(wanted)


@each_studied_chapter
def test_a_version_by_hand_is_short_and_compared_with_the_library(path: Path) -> None:
    cells = code_cells(path)
    (number,) = [n for n, cell in enumerate(cells) if "by-hand" in cell.metadata.get("tags", [])]
    lines = cells[number].source.splitlines()
    defined = [
        node
        for node in ast.parse(cells[number].source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    length = sum(
        bool(line.strip()) for node in defined for line in lines[node.lineno - 1 : node.end_lineno]
    )
    assert 0 < length <= 25
    beside = "\n".join(cell.source for cell in cells[number : number + 2])
    used = {
        ast.unparse(node)
        for part in ast.parse(beside).body
        if not isinstance(part, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(part)
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert used & {node.name for node in defined}
    assert any(name.startswith("srnn.") for name in used)
    assert re.search(r"assert_close\(|^assert ", beside, re.MULTILINE)


@each_studied_chapter
def test_exercises_go_from_easy_to_research(path: Path) -> None:
    titles = re.findall(r"\{exercise(?:-start)?\} (\w+): \S+", prose(path))
    assert 3 <= len(titles) <= 5
    assert set(titles) <= set(DEGREES)
    assert titles == sorted(titles, key=DEGREES.index)
    assert titles[0] == "easy"
    assert titles[-1] == "research"


@each_chapter
def test_the_outputs_of_a_cell_are_small(path: Path) -> None:
    """A figure of a page's width is below 100 kB, a page of a slider below 150 kB."""
    for cell in code_cells(path):
        assert len(printed(cell)) < 4_000, cell.source
        for kind, content in data_of(cell):
            assert len(str(content)) < (150_000 if kind == "text/html" else 100_000), cell.source


@each_chapter
def test_printed_numbers_are_asserted(path: Path) -> None:
    """At least three cells print a number and assert something in the same cell."""
    both = [
        cell
        for cell in code_cells(path)
        if re.search(r"\d", printed(cell))
        and re.search(r"^\s*(assert |torch\.testing\.assert_close\()", cell.source, re.MULTILINE)
    ]
    assert len(both) >= 3


INTERACTIVE = ("01", "02", "04", "05", "07")


@pytest.mark.parametrize(
    "path", [p for p in NUMBERED if p.stem[:2] in (*INTERACTIVE, "06")], ids=lambda path: path.stem
)
def test_a_chapter_has_something_that_moves_without_a_kernel(path: Path) -> None:
    shown = [
        text
        for cell in code_cells(path)
        if re.search(r"srnn\.widgets\.(slider|ball|bodies)\(", cell.source)
        for kind, text in data_of(cell)
        if kind == "text/html"
    ]
    assert shown, "its page is stored, so that it works without a kernel"
    for text in shown:
        assert re.search(r"<(input|button)\b", text), "no control"
        assert not re.search(r"""(src|href)=["'](https?:)?//""", text), "asks another host"
    pages = "".join(shown)
    assert path.stem[:2] == "06" or 'class="srnn-slider"' in pages
    kinds = {"06": 'class="srnn-ball srnn-bodies"', "07": 'class="srnn-ball"'}
    assert pages.count(kinds.get(path.stem[:2], "<figure class=none>")) == (path.stem[:2] in kinds)


@each_chapter
def test_live_controls_are_announced_and_not_stored(path: Path) -> None:
    """Only a kernel can move them."""
    notebook = read(path)
    assert "widgets" not in notebook.metadata
    assert "application/vnd.jupyter.widget" not in path.read_text(encoding="utf-8")
    live = [n for n, c in enumerate(notebook.cells) if "srnn.widgets.live(" in c.source]
    live = [n for n in live if notebook.cells[n].cell_type == "code"]
    assert live or path.stem[:2] not in INTERACTIVE
    for n in live:
        assert notebook.cells[n].outputs == []
        assert {"live", "nbval-ignore-output"} <= set(notebook.cells[n].metadata.tags)
        assert "needs a running kernel" in notebook.cells[n - 1].source


# Every public name has its place in a chapter


def public_modules() -> list[str]:
    found = {info.name for info in pkgutil.iter_modules(srnn.__path__)} | set(srnn._ADDRESSES)
    found.add("model.model")  # chapters call `model.diagnose`
    return ["srnn", *(f"srnn.{name}" for name in sorted(found) if not name.startswith("_"))]


def names_in_chapters() -> set[tuple[str, str]]:
    """Return the names that chapters take from a module, in code or in words, with its last part.

    A variable that has the name of a function is not the function.
    """
    found: set[tuple[str, str]] = set()
    for path in CHAPTERS:
        for cell in read(path).cells:
            text = cell.source
            if cell.cell_type == "code":
                for module, names in re.findall(
                    r"^\s*from srnn(\S*) import (.+)$", text, re.MULTILINE
                ):
                    part = f"srnn{module}".rpartition(".")[2]
                    found |= {(part, name) for name in re.findall(r"\w+", names)}
            else:
                text = " ".join(re.findall(r"`[^`\n]+`", text))
            found |= set(re.findall(r"(?=\b(\w+)\.(\w+))", text))
    return found


def test_every_public_name_is_in_a_chapter() -> None:
    known, missing = names_in_chapters(), set()
    modules = [importlib.import_module(name) for name in public_modules()]
    for module in modules:
        for name in getattr(module, "__all__", ()):  # some rooms gather nothing
            same = (getattr(module, name), module)  # a module may be called as its function
            places = [m.__name__ for m in modules if getattr(m, name, None) in same]
            if not any((place.rpartition(".")[2], name) in known for place in places):
                missing.add(f"{module.__name__}.{name}")
    assert missing == set()
