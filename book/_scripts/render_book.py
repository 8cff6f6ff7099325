"""Render the book from a copy, with its stored outputs or with fresh ones.

    python book/_scripts/render_book.py --output _build             # the outputs stored in book/
    python book/_scripts/render_book.py --output _build --fresh     # execute every chapter first
    python book/_scripts/render_book.py --output _build --fresh 02-integrators     # or this one

The copy is ``OUTPUT/source``, the site ``OUTPUT/html``; nothing in the checkout itself is written.
Any warning of the build is an error.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from execute_book import execute_folder

ROOT = Path(__file__).resolve().parents[2]
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
LEFT_OUT = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "_scripts")


def stage(root: Path, source: Path) -> None:
    """Copy what the book is made of from `root` to a new folder `source`."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, source)
    shutil.copytree(root / "book", source / "book", ignore=LEFT_OUT)


def build(source: Path, output: Path) -> Path:
    """Build the staged book `source` and return the page to open, ``output/html/index.html``.

    Raises
    ------
    SystemExit
        If Jupyter Book is not version 1, warns, fails or leaves no page. Version 2 does not read
        ``_config.yml`` and ends with status 0 having built nothing.
    """
    found = version("jupyter-book")
    if not found.startswith("1."):
        raise SystemExit(
            f"Expected jupyter-book>=1.0.4,<2; got {found}, which builds nothing here."
        )
    page = output / "html" / "index.html"
    shutil.rmtree(page.parent, ignore_errors=True)
    # Jupyter Book always writes to a folder `_build` of the path it is given.
    made = source / "_build"
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(source)]
    command += ["--path-output", str(source), "-n", "-W", "--keep-going", "--quiet"]
    # Kept for a failure only: it names the place that the site is about to be moved from.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout)
        done.check_returncode()
    if not (made / "html" / "index.html").is_file():
        raise SystemExit(f"Expected the build to write {page.relative_to(output)}; it did not.")
    shutil.move(made / "html", page.parent)
    return page


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description="Render the book from a copy.")
    parser.add_argument("--output", type=Path, required=True, help="folder for copy and site")
    parser.add_argument(
        "--fresh", nargs="*", metavar="NAME", help="execute every chapter first, or those named"
    )
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    source = output / "source"
    stage(root, source)
    if options.fresh is not None:
        workers = os.cpu_count() or 1
        if execute_folder(source / "book", only=options.fresh, workers=workers):
            return 1
    try:
        page = build(source, output)
    except subprocess.CalledProcessError as error:
        print(f"Jupyter Book ended with status {error.returncode}.", file=sys.stderr)
        return 1
    print(f"The book is built. Open {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
