"""Modules import only from rows above their own, and few of them import the heavy libraries."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The rows of the library from the top down; a name stands for the module or the whole room.
ROWS = [
    {"_checks", "_types", "errors"},
    {"data"},
    {"nn"},
    {"motion"},
    {"systems", "starts"},
    {"training"},
    {"rebound"},
    {"results"},
    {"model"},
    {"experiments"},
    {"cli"},
    {"__main__"},
]
ROW = {name: row for row, names in enumerate(ROWS) for name in names}
# Loaded only when they are asked for; joblib and filelock when a sweep begins.
LAZY = {"results.plotting", "results.widgets"}
DRAWING = {"matplotlib", "ipywidgets", "IPython", "mpl_toolkits"}

MODULES = sorted(p for p in (ROOT / "srnn").rglob("*.py") if p != ROOT / "srnn" / "__init__.py")


def part(path: Path, depth: int = 2) -> str:
    """Return a module's part of its room, ``motion.adjoint``, or the room itself, ``motion``.

    What a room's front gathers is the front's part, which has the room's name.
    """
    parts = path.relative_to(ROOT / "srnn").with_suffix("").parts
    return ".".join(each for each in parts[:depth] if each != "__init__")


PARTS = {part(path) for path in MODULES}


def imported_part(name: str) -> str:
    """Return the part that a dotted name lies in: ``nn`` for ``srnn.nn.HNet``."""
    room, *below = name.split(".")[1:3]
    return ".".join([room, *below]) if ".".join([room, *below]) in PARTS else room


def imports(path: Path) -> Iterator[str]:
    """Yield the full dotted names that a file imports, wherever in it."""
    package = path.relative_to(ROOT).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            names = (f"{module}.{alias.name}" for alias in node.names)
            # The version is the front's own, and it is asked for when the front has been loaded.
            yield from (name for name in names if name != "srnn.__version__")


def test_the_rows_list_every_module() -> None:
    assert {part(path, 1) for path in MODULES} == set(ROW)


def test_the_house_has_few_doors() -> None:
    entries = sorted(p.name for p in (ROOT / "srnn").iterdir() if p.name != "__pycache__")
    assert len(entries) <= 18, entries


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_above(path: Path) -> None:
    own = part(path, 1)
    for name in imports(path):
        if name.split(".")[0] != "srnn":
            continue
        imported = name.split(".")[1]
        assert imported in ROW, f"{path.name} imports {name} from the package's front"
        assert imported == own or ROW[imported] < ROW[own], f"{own} imports {name} from below"


def test_no_two_parts_import_each_other() -> None:
    edges: dict[str, set[str]] = {name: set() for name in PARTS}
    for path in MODULES:
        found = {imported_part(n) for n in imports(path) if n.split(".")[0] == "srnn"}
        edges[part(path)] |= found - {part(path)}
    done: set[str] = set()
    while ready := {name for name in edges if name not in done and edges[name] <= done}:
        done |= ready
    assert set(edges) == done, f"a circle among {sorted(set(edges) - done)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_drawing_modules_import_a_drawing_library(path: Path) -> None:
    if part(path) not in LAZY:
        assert not {name.split(".")[0] for name in imports(path)} & DRAWING


def test_importing_srnn_loads_no_library_for_drawing_or_for_sweeps() -> None:
    heavy = DRAWING | {"joblib", "filelock", "distributed"}
    code = f"import srnn, srnn.cli, sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
