"""Gradients of each way beside those of autograd, in float64 and in float32, over long rollouts."""

import copy
from typing import Any

from _timing import processor, report, table, worker

WAYS = ("autograd", "stored", "recompute", "reversible", "reversible-exact")
STEP_SIZES = (0.2, 0.1, 0.05, 0.025)


def run(options: Any, stored: dict[str, Any]) -> dict[str, Any]:
    """Compare in one process."""
    asked: dict[str, Any] = {"steps": 1000, "batch": 16, "dim": 20, "hidden": 64, "time": 10.0}
    if options.quick:
        asked = {"steps": 20, "batch": 2, "dim": 3, "hidden": 8, "time": 0.8}
    (result,) = worker("accuracy", asked, threads=1)
    rows = []
    for way, found in result["ways"].items():
        keys = ("float64_weights", "float64_start", "float32_weights", "float32_start")
        cells = (
            [f"{found[key]:.1e}" for key in keys]
            + [f"{found[f'float32_{part}_over_plain']:.2f}" for part in ("weights", "start")]
            if "missing" not in found
            else [found["missing"], *5 * [""]]
        )
        rows.append((way, *cells))
    head = ("", "f64: weights", "start", "f32: weights", "start", "/ plain: weights", "start")
    table(f"Largest error over largest entry, T = {asked['steps']}, dt = 0.1", head, rows)
    for dtype, drift in result["drift"].items():
        print(f"start rebuilt from the last state, {dtype}: relative error {drift:.1e}")
    rows = [
        (dt, *(f"{found[part]:.1e}" for part in ("weights", "start")))
        if "missing" not in found
        else (dt, found["missing"], "")
        for dt, found in result["continuous"].items()
    ]
    table("Continuous adjoint beside the rollout's gradient", ("dt", "weights", "start"), rows)
    return {"threads": 1, "settings": asked, "processor": processor()} | result


def work(options: dict[str, Any]) -> None:
    """Compute all gradients of one loss and report their errors."""
    import torch
    from _contestants import Problem, available, library
    from torch import Tensor

    import srnn

    g = torch.Generator().manual_seed(0)
    chain = srnn.systems.SpringChain.random(masses=options["dim"], generator=g)
    net = srnn.HNet(options["dim"], options["hidden"], quadratic=True, generator=g)
    # The chain's own matrices: orbits stay bounded for as long as they are followed.
    eye = torch.eye(options["dim"])
    with torch.no_grad():
        net.kinetic.form.matrix.copy_(chain.kinetic_gradient(eye))
        net.potential.form.matrix.copy_(chain.potential_gradient(eye))

    def observed(steps: int, dt: float) -> Tensor:
        own = torch.Generator().manual_seed(1)
        return chain.simulate(options["batch"], steps=steps, dt=dt, generator=own).values

    def gradients(given: Problem, way: str) -> list[Tensor]:
        """Return those of the mean squared residual in all weights, as one, and in the start."""
        own = copy.deepcopy(given.net)
        z0 = given.observed[0].clone().requires_grad_()
        states = library(given, way if way != "plain" else None)(own, z0)
        (states - given.observed).square().mean().backward()
        weights = [w.grad.flatten() for w in own.parameters() if w.grad is not None]
        return [torch.cat(weights).double(), z0.grad.double()]

    def errors(found: list[Tensor], exact: list[Tensor]) -> dict[str, float]:
        pairs = zip(("weights", "start"), found, exact, strict=True)
        return {name: float((a - b).abs().max() / b.abs().max()) for name, a, b in pairs}

    single = Problem(net, observed(options["steps"], 0.1), 0.1)
    double = Problem(copy.deepcopy(net).double(), single.observed.double(), 0.1)
    oracle = "plain" if available(double, "autograd") else "autograd"
    exact = gradients(double, oracle)
    plain = errors(gradients(single, oracle), exact)
    ways: dict[str, Any] = {}
    for way in WAYS:
        missing = available(double, way)
        if missing:
            ways[way] = {"missing": missing}
            continue
        ways[way] = {}
        for dtype, given in (("float64", double), ("float32", single)):
            for part, error in errors(gradients(given, way), exact).items():
                ways[way][f"{dtype}_{part}"] = error
        for part, error in plain.items():
            ways[way][f"float32_{part}_over_plain"] = ways[way][f"float32_{part}"] / error
    drift = {}
    for dtype, given in (("float64", double), ("float32", single)):
        with torch.no_grad():
            last = library(given, None)(given.net, given.observed[0])[-1]
            back = srnn.rollout(
                given.net, "leapfrog", last, dt=given.dt, steps=given.steps, backward=True
            )[-1]
        start = given.observed[0]
        drift[dtype] = float((back - start).abs().max() / start.abs().max())
    continuous: dict[str, Any] = {}
    for dt in STEP_SIZES:
        steps = round(options["time"] / dt)
        given = Problem(double.net, observed(steps, dt).double(), dt)
        missing = available(given, "continuous")
        if missing:
            continuous[str(dt)] = {"missing": missing}
        else:
            continuous[str(dt)] = errors(gradients(given, "continuous"), gradients(given, oracle))
    report({"ways": ways, "drift": drift, "continuous": continuous})
