"""Interleaved timings, their medians and quartiles, and the rate of a matrix product."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RUN = Path(__file__).with_name("run.py")
PEERS = ("torchdiffeq", "torchode", "jax", "jaxlib", "diffrax", "optax")
MARK = "RESULT "


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def interleaved(
    ways: dict[str, Callable[[], Any]], rounds: int, seconds: float = 0.1
) -> dict[str, list[float]]:
    """Time each way once a round, and start every round with another one.

    A measurement is the mean over as many calls as fill `seconds`.  A way that takes less than
    half a second is called once before each of them, so that its data are in the caches and the
    threads of the way before it have come to rest.
    """
    repeats, short = {}, {}
    for name, way in ways.items():
        way()
        taken = timed(way)
        repeats[name] = max(1, min(1000, round(seconds / taken)))
        short[name] = taken < 0.5
    names = list(ways)
    times: dict[str, list[float]] = {name: [] for name in names}
    for done in range(rounds):
        first = done % len(names)
        for name in names[first:] + names[:first]:
            way = ways[name]
            if short[name]:
                way()
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                way()
            times[name].append((time.perf_counter() - begin) / repeats[name])
    return times


def spread(values: list[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    if len(values) == 1:
        return {"median": values[0], "q1": values[0], "q3": values[0], "rounds": 1}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3, "rounds": len(values)}


def ratios(values: list[float], to: list[float]) -> dict[str, float]:
    """Return median and quartiles of the ratio within a round: slow drifts cancel."""
    return spread([a / b for a, b in zip(values, to, strict=True)])


def matrix_product(size: int) -> tuple[Callable[[], Any], float]:
    """Make a float32 product of two square matrices; return it and its number of operations."""
    import torch

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator) for _ in range(2))
    into = torch.empty(size, size)
    return lambda: torch.mm(a, b, out=into), 2.0 * size**3


def versions() -> dict[str, str]:
    """Return the versions of the peers; what is missing is said to be."""
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def processor() -> str:
    """Name the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


# A worker is a fresh process: thread counts and XLA's flags are read when a library is loaded.


def worker(
    part: str, options: dict[str, Any], threads: int, **environment: str
) -> Iterator[dict[str, Any]]:
    """Run a part in a fresh process and yield its results as they come."""
    variables = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "JAX_PLATFORMS": "cpu",
    }
    if threads == 1:
        variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    asked = json.dumps(options | {"threads": threads})
    command = [sys.executable, str(RUN), "--worker", part, asked]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=variables | environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                yield json.loads(line.removeprefix(MARK))
            else:
                print(line, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"Expected the part {part!r} to run; it ended with {process.returncode}.")


def report(result: dict[str, Any]) -> None:
    """Hand a result of a worker to the process that started it."""
    print(MARK + json.dumps(result), flush=True)


def use_threads(threads: int) -> None:
    """Keep this process to so many cores; to be called before torch and JAX are loaded.

    The pool of XLA has as many threads as the process has cores.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-threads:])


def table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table whose first column is text."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    if title:
        print(f"\n{title}")
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]), flush=True)


def pair(value: dict[str, float], unit: float = 1.0, digits: int = 2) -> str:
    """Format a median with its quartiles."""
    median, q1, q3 = (unit * value[key] for key in ("median", "q1", "q3"))
    return f"{median:.{digits}f} [{q1:.{digits}f}, {q3:.{digits}f}]"
