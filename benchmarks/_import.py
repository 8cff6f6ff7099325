"""What `import srnn` takes beyond `import torch`, in fresh processes."""

import os
import subprocess
import sys
from typing import Any

from _timing import pair, processor, ratios, spread, table, timed

BARE = "import torch"
BOTH = """
import time, torch
begin = time.perf_counter()
import srnn
print(time.perf_counter() - begin)
"""


def run(options: Any, stored: dict[str, Any]) -> dict[str, Any]:
    """Start a process with and one without the library in turn."""
    rounds = 1 if options.quick else max(7, options.rounds)
    variables = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
        )
        return done.stdout

    inside: list[float] = []
    bare: list[float] = []
    both: list[float] = []
    if not options.quick:
        start(BOTH)  # the byte code is written, the files are in memory
    for _ in range(rounds):
        bare.append(timed(lambda: start(BARE)))
        both.append(timed(lambda: inside.append(float(start(BOTH)))))
    result = {
        **{"threads": 1, "rounds": rounds, "processor": processor()},
        "srnn_after_torch_seconds": spread(inside),
        "process_with_torch_seconds": spread(bare),
        "process_with_both_seconds": spread(both),
        "both_over_torch": ratios(both, bare),
    }
    rows = [
        ("import srnn, after import torch", pair(result["srnn_after_torch_seconds"], digits=3)),
        ("process that imports torch", pair(result["process_with_torch_seconds"], digits=3)),
        ("process that imports both", pair(result["process_with_both_seconds"], digits=3)),
        ("ratio of the processes", pair(result["both_over_torch"])),
    ]
    table(f"Seconds, {rounds} fresh processes each", ("", "median [quartiles]"), rows)
    return result
