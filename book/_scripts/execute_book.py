"""Execute the chapters of a folder in place and keep of the outputs only what repeats itself.

Each chapter runs in a kernel of its own, started in the chapter's folder by the Python that runs
this script. Two runs on one machine write the same bytes: times, versions and live controls are
dropped. What each chapter cost is printed. A chapter in which a cell fails, a live control does
nothing, or that costs too much for a small machine, is reported and left as it was.

    python book/_scripts/execute_book.py book                    # all chapters, in place
    python book/_scripts/execute_book.py book --only 02-integrators
"""

import argparse
import ast
import base64
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.output_widget import OutputWidget
from nbformat import NotebookNode
from PIL import Image

# Seconds of wall time. A chapter is meant to take 60 on two cores and a cell of it 25, which only
# an idle machine could hold to: these stop what is far beyond.
CELL_TIMEOUT = 120
CHAPTER_SECONDS = 180
CHAPTER_MEMORY = 1.2e9  # bytes, at the kernel's peak: what a free hosted notebook can spare
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

# Run in the kernel after the last cell: the live controls that do nothing, as a list of texts.  A
# namespace of its own keeps the names apart, whatever the chapter has done to them.
IDLE_CONTROLS = f"""
import builtins as _builtins
_own = {{}}
_builtins.exec({Path(__file__).with_name("live_controls.py").read_text(encoding="utf-8")!r}, _own)
_own["idle_controls"]()
"""

# Run in the kernel after that: the most memory it ever had, in bytes. On Linux the peak that
# getrusage knows includes that of the program which started the kernel.
PEAK_MEMORY = """
import pathlib as _pathlib, re as _re, sys as _sys
_status = _pathlib.Path("/proc/self/status")
if _status.exists():
    _peak = 1024 * int(_re.search(r"VmHWM:\\s*(\\d+) kB", _status.read_text())[1])
elif _sys.platform == "win32":
    import psutil as _psutil
    _peak = _psutil.Process().memory_info().peak_wset
else:
    import resource as _resource
    _peak = _resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss
    _peak *= 1 if _sys.platform == "darwin" else 1024
_peak
"""


@dataclass(frozen=True)
class Cost:
    """What one chapter took: seconds of wall time, and bytes at the peak of its kernel."""

    seconds: float
    longest_cell: float
    memory: int

    def __str__(self) -> str:
        longest, megabytes = f"{self.longest_cell:.1f} s", self.memory / 1e6
        return f"{self.seconds:.1f} s (longest cell {longest}), {megabytes:.0f} MB"


class TooCostly(Exception):
    """A chapter took more time or memory than it may."""


class IdleControl(Exception):
    """A live control of a chapter changes nothing."""


class SilentOutput(OutputWidget):
    """Keeps what a live figure shows out of the cell's outputs, and does not tell the kernel.

    What nbclient's own class sends goes out by the channel on which nbclient waits for the end of
    the cell. It can then miss that end, and wait until the time of the cell is over.
    """

    def sync_state(self) -> None:
        """Send nothing."""


class Client(NotebookClient):
    """Executes a chapter and measures what it costs."""

    longest_cell = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.widget_registry["@jupyter-widgets/output"]["OutputModel"] = SilentOutput

    async def async_execute_cell(self, cell: NotebookNode, *args: Any, **options: Any) -> Any:
        """Execute one cell, as `NotebookClient` does."""
        start = time.perf_counter()
        done = await super().async_execute_cell(cell, *args, **options)
        self.longest_cell = max(self.longest_cell, time.perf_counter() - start)
        return done


def quiet_ipython(folder: Path) -> dict[str, str]:
    """Return the environment of a kernel that is the same on every machine.

    IPython reads its settings from `folder` instead of the user's home, so that nobody's start-up
    files change a chapter. Of the kernel's own log only errors are printed: otherwise each kernel
    says that it talks over an unencrypted local connection. A plotting backend chosen outside
    would leave the chapters without figures.
    """
    profile = folder / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return environment | {"IPYTHONDIR": str(folder)}


def with_fewer_colours(picture: str) -> str:
    """Return a PNG, in base64, with at most 256 colours of its own if that makes it smaller.

    A drawing of lines and text looks the same, and a chapter is half as large or less.
    """
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    reduced.save(buffer, format="png", optimize=True)
    smaller = base64.b64encode(buffer.getvalue()).decode()
    return smaller if len(smaller) < len(picture) else picture


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Return the executed notebook without what differs from one run to the next.

    Nor are live controls kept, neither their view nor their state: without a kernel a page would
    show controls that do nothing, and would fetch from another host the scripts that draw them.
    """
    notebook.metadata = NotebookNode(
        {key: value for key, value in notebook.metadata.items() if key == "mystnb"}
    )
    notebook.metadata.kernelspec = NotebookNode(
        display_name="Python 3", language="python", name="python3"
    )
    notebook.metadata.language_info = NotebookNode(name="python")
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [out for out in cell.outputs if WIDGET_VIEW not in out.get("data", {})]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = with_fewer_colours(output.data["image/png"])
    return notebook


def execute(
    path: Path, *, environment: dict[str, str], timeout: float = CELL_TIMEOUT, beside: int = 0
) -> Cost:
    """Execute one chapter in place, `beside` others, and return what it cost.

    Raises
    ------
    TooCostly
        If it took more than `CHAPTER_MEMORY`, or than `CHAPTER_SECONDS`, twice those beside others.
    IdleControl
        If a live control shows the same picture for two of its values, or none.
    CellExecutionError, CellTimeoutError, DeadKernelError
        If a cell fails, takes more than `timeout` seconds or ends the kernel. The file then stays
        as it was, in all cases.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in (IDLE_CONTROLS, PEAK_MEMORY)]
    client = Client(
        notebook,
        kernel_name="python3",
        timeout=timeout,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=True,  # without it nbclient fails on what a live figure shows
        resources={"metadata": {"path": str(path.parent)}},
    )
    start = time.perf_counter()
    client.execute(env=environment)
    seconds = time.perf_counter() - start
    (peak,), (idle,) = (notebook.cells.pop().outputs for _ in range(2))
    cost = Cost(seconds, client.longest_cell, int(peak.data["text/plain"]))
    most = 2 * CHAPTER_SECONDS if beside else CHAPTER_SECONDS
    if seconds > most or cost.memory > CHAPTER_MEMORY:
        allowed = f"{most} s and {CHAPTER_MEMORY / 1e6:.0f} MB"
        raise TooCostly(f"A chapter may take at most {allowed}; this one took {cost}.")
    if controls := ast.literal_eval(idle.data["text/plain"]):
        raise IdleControl(
            "Expected each live control to change its picture; got\n" + "\n".join(controls)
        )
    written = path.with_suffix(".ipynb.new")
    nbformat.write(normalise(notebook), written)
    written.replace(path)
    return cost


def chapters(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """Return the chapters of `folder` in their order, or those named in `only`."""
    found = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    unknown = set(only) - set(found)
    if unknown or not found:
        known = ", ".join(found) or "none"
        wanted = ", ".join(sorted(unknown)) or "at least one chapter"
        raise SystemExit(f"Expected {wanted} in {folder}; the chapters there: {known}.")
    return [path for stem, path in found.items() if not only or stem in only]


def outcome(path: Path, *, environment: dict[str, str], timeout: float, beside: int) -> Cost | str:
    """Execute one chapter in place and return what it cost, or why it failed."""
    try:
        return execute(path, timeout=timeout, environment=environment, beside=beside)
    except (CellExecutionError, CellTimeoutError, DeadKernelError, TooCostly, IdleControl) as error:
        return str(error)


def execute_folder(
    folder: Path, *, only: Sequence[str] = (), timeout: float = CELL_TIMEOUT, workers: int = 1
) -> list[str]:
    """Execute the chapters of `folder` in place, say how it went, return the names that failed.

    With more than one of `workers` as many chapters run at the same time. Each of them computes on
    one core, but what it is said to cost is then more than it is alone.
    """
    failed = []
    paths = chapters(folder, only)
    with tempfile.TemporaryDirectory() as settings, ExitStack() as stack:
        environment = quiet_ipython(Path(settings))
        run = partial(outcome, environment=environment, timeout=timeout, beside=workers - 1)
        outcomes: Iterable[Cost | str] = map(run, paths)
        if workers > 1:
            outcomes = stack.enter_context(ProcessPoolExecutor(workers)).map(run, paths)
        for path, found in zip(paths, outcomes, strict=True):
            if isinstance(found, Cost):
                print(f"{path.stem}: {found}", flush=True)
            else:
                failed.append(path.stem)
                print(f"{path.stem}: FAILED\n{found}", file=sys.stderr, flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description="Execute the chapters of a folder in place.")
    parser.add_argument("folder", type=Path, help="the folder with the chapters (*.ipynb)")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="only these chapters")
    parser.add_argument(
        "--timeout", type=float, default=CELL_TIMEOUT, help="seconds a cell may take (%(default)s)"
    )
    options = parser.parse_args(arguments)
    return 1 if execute_folder(options.folder, only=options.only, timeout=options.timeout) else 0


if __name__ == "__main__":
    sys.exit(main())
