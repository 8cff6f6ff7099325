"""One whole training step, beside that of other ways and other libraries."""

from typing import Any

from _timing import (
    interleaved,
    matrix_product,
    pair,
    processor,
    ratios,
    report,
    spread,
    table,
    versions,
    worker,
)

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "chain, batch 32": {"batch": 32, "threads": 1},
    "chain, batch 1000": {"batch": 1000, "threads": 2},
    "three bodies, batch 32": {
        "system": "three bodies",
        "batch": 32,
        "hidden": [512, 512, 512],
        "dt": 1.0,
        "threads": 1,
    },
}
QUICK = {"chain, small": {"batch": 4, "dim": 3, "hidden": 16, "steps": 3, "threads": 1}}
FLOAT32 = 1e-4  # tolerance of a gradient, relative to that in float64


def run(options: Any, stored: dict[str, Any]) -> dict[str, Any]:
    """Time each configuration in a process of its own."""
    rows: dict[str, Any] = dict(stored.get("rows", {}))
    for name, configuration in (QUICK if options.quick else CONFIGURATIONS).items():
        settings = dict(configuration)
        threads = settings.pop("threads")
        asked = {
            "problem": settings,
            "rounds": 2 if options.quick else options.rounds,
            "seconds": 0.005 if options.quick else 0.1,
            "matrix": 64 if options.quick else 2048,
        }
        for row in worker("step", asked, threads):
            rows[name] = row
            show(name, row)
    return {"rows": rows, "versions": versions(), "processor": processor()}


def work(options: dict[str, Any]) -> None:
    """Check and time all contestants of one configuration."""
    import torch
    from _contestants import (
        Contestant,
        fastest_adam,
        operations,
        oracle,
        problem,
        relative_error,
        torch_contestants,
    )
    from _jax import jax_contestants

    torch.set_num_threads(options["threads"])
    given, rounds = problem(**options["problem"]), options["rounds"]
    adam, adams = fastest_adam(given, rounds)
    everyone = torch_contestants(given, adam) | jax_contestants(given)
    here = {name: each for name, each in everyone.items() if isinstance(each, Contestant)}
    loss, exact = oracle(given)
    results: dict[str, Any] = {
        name: {"missing": each} if isinstance(each, str) else {} for name, each in everyone.items()
    }
    for name, each in here.items():
        own, gradient = each.loss_and_gradient()
        errors = {"loss": abs(own / loss - 1), "gradient": relative_error(gradient, exact)}
        if each.method == "leapfrog" and max(errors.values()) > FLOAT32:
            raise SystemExit(f"Expected {name!r} to compute the same gradient; got {errors}.")
        # Another method has another gradient: there is nothing to compare.
        compared = {"relative_error": errors} if each.method == "leapfrog" else {}
        results[name] = {"method": each.method} | compared
    product, count = matrix_product(options["matrix"])
    ways = {name: each.step for name, each in here.items()} | {"product": product}
    times = interleaved(ways, rounds, options["seconds"])
    floor = [seconds * operations(given) / count for seconds in times.pop("product")]
    for name, seconds in times.items():
        results[name] |= {
            "evaluations": here[name].evaluations,
            "seconds": spread(seconds),
            "seconds_per_evaluation": spread([each / here[name].evaluations for each in seconds]),
            "over_srnn": ratios(seconds, times["srnn"]),
            "over_floor": ratios(seconds, floor),
        }
    report(
        {
            **{"threads": options["threads"], "rounds": rounds, "problem": options["problem"]},
            "operations": operations(given),
            "matrix": options["matrix"],
            "operations_per_second": spread([operations(given) / seconds for seconds in floor]),
            "floor_seconds": spread(floor),
            "adam": adams,
            "contestants": results,
        }
    )


def show(name: str, row: dict[str, Any]) -> None:
    """Print the table of one configuration."""
    rate = pair(row["operations_per_second"], 1e-9, 1)
    floor = pair(row["floor_seconds"], 1e3, 3)
    print(
        f"\n{name}, {row['threads']} thread(s), medians and quartiles over {row['rounds']} rounds"
        f"\n{row['operations'] / 1e9:.3g} GFLOP a step; "
        f"a float32 product of {row['matrix']}^3 runs at {rate} GFLOP/s: floor {floor} ms"
        f"\nAdam of all PyTorch steps: {row['adam']['chosen']}, fastest of fused, foreach, loop"
    )
    rows = []
    for who, result in row["contestants"].items():
        if "missing" in result:
            rows.append((who, result["missing"], *5 * ("",)))
            continue
        same = "relative_error" in result
        rows.append(
            (
                who,
                result["method"],
                pair(result["seconds"], 1e3, 3),
                pair(result["over_srnn"]),
                f"{result['over_floor']['median']:.2f}",
                f"{1e6 * result['seconds_per_evaluation']['median']:.1f} ({result['evaluations']})",
                f"{result['relative_error']['gradient']:.0e}" if same else "another method",
            )
        )
    head = ("", "method", "ms a step", "/ srnn", "/ floor", "us a K' or V' (how many)")
    table("", (*head, "gradient's error"), rows)
