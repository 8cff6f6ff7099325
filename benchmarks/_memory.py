"""Peak memory of a rollout with its backward pass, each in a fresh process.

What is read is the kernel's high-water mark of the resident memory (VmHWM), not `ru_maxrss`,
which a child inherits.  From it are taken what the process held before (the libraries, the network,
its gradients, the data, after a rollout of two steps as warm-up, when the mark is set back), and
the returned states: both go in or out whatever the way.  glibc is told to give every freed piece
above 64 KiB back at once (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_), so that the mark is of
what is held at the same time, and not of a heap's holes.
"""

import gc
from pathlib import Path
from typing import Any

from _timing import processor, report, table, worker

LENGTHS = (30, 3000)
BASE = {"batch": 32, "dim": 20, "hidden": 2048, "dt": 0.01}
SMALL = {"batch": 4, "dim": 3, "hidden": 16, "dt": 0.01}
WAYS = ("plain", "automatic", "autograd", "stored", "recompute", "reversible")
LIMIT = 6e9  # bytes
STATUS = Path("/proc/self/status")
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def run(options: Any, stored: dict[str, Any]) -> dict[str, Any]:
    """Measure each way at the two lengths; the long one where the short one says it fits."""
    lengths, base = ((2, 4), SMALL) if options.quick else (LENGTHS, BASE)
    ways = ("plain", "reversible") if options.quick else WAYS
    found: dict[str, Any] = {}
    rows = []
    for way in ways:
        peaks: dict[str, Any] = {}
        for steps in lengths:
            guess = peaks[str(lengths[0])]["bytes"] * steps / lengths[0] if peaks else 0.0
            if guess > LIMIT:
                peaks[str(steps)] = {"missing": f"about {guess / 1e9:.0f} GB, not run"}
                continue
            asked = {"way": way, "problem": base | {"steps": steps}}
            (peaks[str(steps)],) = worker("memory", asked, 1, **MALLOC)
            if "missing" in peaks[str(steps)]:
                break
        short, long = (peaks.get(str(steps), {}).get("bytes") for steps in lengths)
        ratio = long / short if short and long and short > 0 else None
        found[way] = {"peaks": peaks, "ratio": ratio}
        cells = [
            f"{p['bytes'] / 1e6:.1f}" if "bytes" in p else p["missing"] for p in peaks.values()
        ]
        cells += (len(lengths) - len(cells)) * [""]
        rows.append((way, *cells, "" if ratio is None else f"{ratio:.2f}"))
    head = tuple(f"MB at T = {steps}" for steps in lengths)
    table("Peak memory beyond what goes in and out", ("", *head, "ratio"), rows)
    return {
        **{"threads": 1, "lengths": list(lengths), "base": base, "ways": found},
        **{"limit_bytes": LIMIT, "malloc": MALLOC, "how": __doc__, "processor": processor()},
    }


def memory(field: str) -> int:
    """Read a field of the process's status, in bytes."""
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"Expected {STATUS} to have {field}.")


def work(options: dict[str, Any]) -> None:
    """Roll out and go back once, and report the peak."""
    import torch
    from _contestants import Problem, available, library, problem, through_energy

    if not STATUS.exists():
        report({"missing": "this system has no /proc"})
        return
    torch.set_num_threads(1)
    given = problem(**options["problem"])
    way = options["way"]
    gradient = None if way in ("plain", "automatic") else way
    missing = available(given, gradient)
    if missing:
        report({"missing": missing})
        return

    def run_of(part: Problem) -> Any:
        return through_energy(part) if way == "plain" else library(part, gradient)

    weight = torch.randn(given.observed.shape, generator=torch.Generator().manual_seed(1))
    short = Problem(given.net, given.observed[:3], given.dt)
    run_of(short)(short.net, short.observed[0]).backward(weight[:3])  # warm up
    z0 = given.observed[0].clone()
    gc.collect()
    try:  # set the mark back to what is held now
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        print("The mark of the memory could not be set back: the warm-up counts as well.")
    before = memory("VmRSS")
    states = run_of(given)(given.net, z0)
    states.backward(weight)
    peak = memory("VmHWM")
    found = [w.grad for w in given.net.parameters() if w.grad is not None]
    if not all(bool(each.isfinite().all()) for each in found):
        raise SystemExit(f"Expected finite gradients; {way!r} gave others.")
    in_and_out = states.numel() * states.element_size()
    report(
        {
            "bytes": peak - before - in_and_out,
            "baseline_bytes": before,
            "peak_bytes": peak,
            "states_bytes": in_and_out,
        }
    )
