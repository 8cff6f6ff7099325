"""Modules import only from rows above their own, and few of them import the heavy libraries."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The rows of the library from the top down; a name stands for the module or the whole package.
ROWS = [
    {"_checks", "_types", "errors", "_arrays"},
    {"data", "fields", "nn"},
    {"metrics", "integrators", "likelihood", "scaling"},
    {"adjoint"},
    {"rollout", "gradients"},
    {"systems", "flow_map"},
    {"iso", "convexity"},
    {"recipes", "losses", "checkpoint", "warm_start", "starts", "variable_projection"},
    {"rebound"},
    {"run"},
    {"training"},
    {"diagnostics"},
    {"model"},
    {"models"},
    {"experiments"},
    {"plotting", "widgets"},
    {"cli", "__main__"},
]
ROW = {name: row for row, names in enumerate(ROWS) for name in names}
# Loaded only when they are asked for.
LAZY = {"plotting", "widgets"}
DRAWING = {"matplotlib", "ipywidgets", "IPython", "mpl_toolkits"}

MODULES = sorted(p for p in (ROOT / "srnn").rglob("*.py") if p != ROOT / "srnn" / "__init__.py")


def top(path: Path) -> str:
    """Return the row's name of a module: ``nn`` for ``srnn/nn/hnet.py``."""
    return path.relative_to(ROOT / "srnn").parts[0].removesuffix(".py")


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
    assert {top(path) for path in MODULES} <= set(ROW)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_above(path: Path) -> None:
    own = top(path)
    for name in imports(path):
        if name.split(".")[0] != "srnn":
            continue
        imported = name.split(".")[1]
        assert imported in ROW, f"{path.name} imports {name} from the package's front"
        assert imported == own or ROW[imported] <= ROW[own], f"{own} imports {name} from below"


def test_no_two_modules_import_each_other() -> None:
    edges: dict[str, set[str]] = {name: set() for name in ROW}
    for path in MODULES:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "srnn" and parts[1] != top(path):
                edges[top(path)].add(parts[1])
    done: set[str] = set()
    while ready := {name for name in edges if name not in done and edges[name] <= done}:
        done |= ready
    assert set(edges) == done, f"a circle among {sorted(set(edges) - done)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_drawing_modules_import_a_drawing_library(path: Path) -> None:
    if top(path) not in LAZY:
        assert not {name.split(".")[0] for name in imports(path)} & DRAWING


def test_importing_srnn_loads_no_drawing_library() -> None:
    code = f"import srnn, sys; print(sorted({DRAWING!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
