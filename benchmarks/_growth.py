"""How the time of a training step grows with the rollout, the batch, the width, the masses."""

from typing import Any

from _timing import interleaved, pair, processor, report, spread, table, worker

AXES: dict[str, list[int]] = {
    "steps": [10, 30, 100, 300, 1000, 3000],
    "batch": [32, 100, 320, 1000, 3200, 10000],
    "hidden": [64, 128, 256, 512, 1024, 2048, 4096],
    "dim": [5, 10, 20, 50, 100, 200, 500],
}
QUICK: dict[str, list[int]] = {"steps": [2, 4], "dim": [2]}
BASE = {"batch": 32, "dim": 20, "hidden": 2048, "steps": 9}
SMALL = {"batch": 4, "dim": 3, "hidden": 16, "steps": 3}
LIMIT = 6e9  # bytes that the graph of plain autograd may take


def run(options: Any, stored: dict[str, Any]) -> dict[str, Any]:
    """Time all points in one process, and store each as it comes; what is stored is not redone."""
    axes, base = (QUICK, SMALL) if options.quick else (AXES, BASE)
    rounds = 2 if options.quick else options.rounds
    series = {axis: dict(stored.get("series", {}).get(axis, {})) for axis in axes}
    todo = [
        {"axis": axis, "value": value, "problem": base | {axis: value}}
        for axis, values in axes.items()
        for value in values
        if str(value) not in series[axis]
    ]
    result = {
        **{"threads": 1, "base": base, "processor": processor()},
        "series": series,
        "graph_limit_bytes": LIMIT,
    }
    asked = {"points": todo, "rounds": rounds, "budget": 0.5 if options.quick else 20.0}
    for point in worker("growth", asked, threads=1) if todo else ():
        series[point["axis"]][str(point["value"])] = point["contestants"]
        options.store("speed_growth", result)
    for axis, points in series.items():
        names = list(dict.fromkeys(name for point in points.values() for name in point))
        rows = [
            (value, *(cell(points[value].get(name)) for name in names))
            for value in sorted(points, key=int)
        ]
        table(f"ms a step as {axis} grows, 1 thread", (axis, *names), rows)
    return result


def cell(result: dict[str, Any] | None) -> str:
    """Format one entry of the table."""
    if result is None:
        return ""
    return pair(result["seconds"], 1e3) if "seconds" in result else result["missing"]


def work(options: dict[str, Any]) -> None:
    """Time one point after the other, with fewer rounds where a step takes long."""
    import torch
    from _contestants import (
        PLAIN,
        available,
        contestant,
        fastest_adam,
        graph_bytes,
        library,
        problem,
        through_energy,
    )
    from _timing import timed

    torch.set_num_threads(options["threads"])
    for point in options["points"]:
        given = problem(**point["problem"])
        adam, _ = fastest_adam(given, 1)
        found: dict[str, Any] = {}
        ways: dict[str, Any] = {"srnn": contestant(given, library(given, None), adam).step}
        if point["axis"] == "steps":
            for gradient in ("recompute", "reversible"):
                name = f"srnn, gradient='{gradient}'"
                missing = available(given, gradient)
                if missing:
                    found[name] = {"missing": missing}
                else:
                    ways[name] = contestant(given, library(given, gradient), adam).step
        kept = graph_bytes(given)
        if kept > LIMIT:
            found[PLAIN] = {"missing": f"{kept / 1e9:.0f} GB"}
        else:
            ways[PLAIN] = contestant(given, through_energy(given), adam).step
        longest = sum(map(timed, ways.values()))
        rounds = max(3, min(options["rounds"], int(options["budget"] / longest)))
        for name, seconds in interleaved(ways, rounds, 0.05).items():
            found[name] = {"seconds": spread(seconds)}
        found[PLAIN]["graph_bytes"] = kept
        print(point["axis"], point["value"], {k: cell(v) for k, v in found.items()}, flush=True)
        report({"axis": point["axis"], "value": point["value"], "contestants": found})
