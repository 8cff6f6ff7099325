"""Run the setup cell of each chapter beside the lowest allowed PyTorch and NumPy.

    python .ci/hosted.py --output _build/hosted

On a hosted notebook service a chapter is opened without this repository. Its first code cell has to
bring ``srnn`` and what that lacks, and must not replace the service's PyTorch and NumPy. Here the
service is a fresh environment with IPython and the lowest versions of the two that pyproject.toml
allows. The cell installs the wheel of this checkout in place of the address it names; packages come
from the index that pip is set to. This fails unless in each chapter the cell runs through, ``srnn``
comes from that environment, and the two packages are untouched.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowest import lowest

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("numpy", "torch")
# Runs a cell as a notebook does, %pip included, and says on the last line what is there afterwards.
RUN = """
import importlib.metadata, json, sys
from IPython.core.interactiveshell import InteractiveShell

result = InteractiveShell.instance().run_cell(sys.argv[1])
failed = result.error_before_exec or result.error_in_exec
srnn = sys.modules.get("srnn")
versions = {d.name: d.version for d in reversed(list(importlib.metadata.distributions()))}
print(json.dumps({
    "error": repr(failed) if failed else None,
    "srnn": srnn.__file__ if srnn else None,
    "versions": versions,
}))
"""


@dataclass(frozen=True)
class Outcome:
    """What a setup cell did: its error, where `srnn` was imported from, what is then installed."""

    error: str | None
    srnn: str | None
    versions: dict[str, str]
    output: str


def setup_cell(notebook: Path) -> str:
    """Return the source of a chapter's first code cell."""
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def from_wheel(cell: str, wheel: Path) -> str:
    """Return the cell with the wheel in place of the address that it installs from."""
    changed, count = re.subn(r"git\+https://[^\s\"]+", wheel.resolve().as_uri(), cell)
    if count != 1:
        raise SystemExit(f"Expected the setup cell to install from one address; found {count}.")
    return changed


def run(python: Path, cell: str, environment: Mapping[str, str], folder: Path) -> Outcome:
    """Run a cell with the interpreter `python`, in a folder without the checkout."""
    done = subprocess.run(
        [python, "-c", RUN, cell], env=environment, cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"The cell could not be run:\n{done.stdout}{done.stderr}")
    *output, said = done.stdout.rstrip("\n").split("\n")
    return Outcome(**json.loads(said), output="\n".join([*output, done.stderr]))


def complaint(outcome: Outcome, before: Mapping[str, str], prefix: Path) -> str | None:
    """Say what is wrong with an outcome, if something is."""
    if outcome.error:
        return f"the cell failed with {outcome.error}:\n{outcome.output}"
    if outcome.srnn is None or not Path(outcome.srnn).is_relative_to(prefix):
        return f"srnn came from {outcome.srnn}"
    changed = {
        name: f"{version} -> {outcome.versions.get(name)}"
        for name, version in before.items()
        if outcome.versions.get(name) != version
    }
    return f"replaced: {changed}" if changed else None


def call(*command: str | Path) -> str:
    """Run a command and return what it printed."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def stamps(python: Path) -> str:
    """Return when the two packages were installed: a reinstallation of one version shows."""
    code = (
        "import importlib.metadata as m, os\n"
        f"for name in {KEPT}:\n"
        "    print(name, os.stat(m.distribution(name).locate_file(name)).st_ctime_ns)"
    )
    return call(python, "-c", code)


def installed(python: Path) -> dict[str, str]:
    """Return the version of each package that an interpreter sees."""
    listed = json.loads(call(python, "-m", "pip", "list", "--format", "json"))
    return {package["name"]: package["version"] for package in listed}


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description="Run the chapters' setup cells.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the environment")
    output = parser.parse_args(arguments).output.resolve()
    shutil.rmtree(output, ignore_errors=True)
    call(sys.executable, "-m", "build", "--wheel", "--outdir", output / "dist", root)
    (wheel,) = (output / "dist").glob("*.whl")
    prefix = output / "environment"
    call(sys.executable, "-m", "venv", prefix)
    python = prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = [pin for pin in lowest(root / "pyproject.toml") if pin.split("==")[0] in KEPT]
    call(python, "-m", "pip", "install", "-q", "ipython", *pins)
    before, untouched = installed(python), stamps(python)
    print(f"installed: {', '.join(f'{name} {before[name]}' for name in KEPT)}", flush=True)
    failed = 0
    for notebook in sorted((root / "book").glob("*.ipynb")):
        outcome = run(python, from_wheel(setup_cell(notebook), wheel), os.environ, output)
        wrong = complaint(outcome, before, prefix)
        if not wrong and stamps(python) != untouched:
            wrong = "NumPy or PyTorch was installed again"
        added = sorted(set(outcome.versions) - set(before))
        print(f"{notebook.stem}: {wrong or f'added {len(added)} packages'}", flush=True)
        if added:
            print(f"  {', '.join(added)}", flush=True)
        failed += bool(wrong)
        # The next chapter begins where this one did, also after one that has replaced something.
        if added:
            call(python, "-m", "pip", "uninstall", "-q", "-y", *added)
        if wrong:
            call(python, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", *pins)
            untouched = stamps(python)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
