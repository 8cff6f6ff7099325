"""The benchmarks run at small sizes, compare like with like, and need none of their peers."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import srnn

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "srnn" / "experiments" / "results"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import _contestants

    return _contestants


def small(bench: Any, **changes: Any) -> Any:
    return bench.problem(**({"batch": 3, "dim": 2, "hidden": 8, "steps": 4} | changes))


@pytest.mark.slow
def test_every_part_runs_at_small_sizes_and_stores_nothing() -> None:
    before = {path: path.stat().st_mtime_ns for path in RESULTS.iterdir()}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--quick"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in RESULTS.iterdir()}
    assert after == before
    for row in ("torchdiffeq", "torchode", "jax, scan", "diffrax"):  # never dropped
        assert re.search(rf"^{row} +(\w|-)", done.stdout, re.M), row
    for title in (
        "ms a step as steps grows",
        "Peak memory",
        "Largest error",
        "Continuous",
        "import",
    ):
        assert title in done.stdout


@pytest.mark.slow
def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--only", "speed"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Expected parts of step, growth, memory, accuracy, import; got speed." in done.stderr


def test_a_peer_that_is_missing_is_said_to_be(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import _jax

    for name in ("torchdiffeq", "torchode", "jax", "diffrax", "optax"):
        monkeypatch.setitem(sys.modules, name, None)
    given = small(bench)
    everyone = bench.torch_contestants(given, {}) | _jax.jax_contestants(given)
    missing = {name for name, each in everyone.items() if each == "not installed"}
    of_jax = {"jax, scan", "jax, scan unrolled", "jax, scan recomputing", "diffrax"}
    assert missing == {"torchdiffeq", "torchode"} | of_jax
    assert isinstance(everyone["srnn"], bench.Contestant)


def test_leapfrog_contestants_compute_the_same_gradient(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torchdiffeq", "torchode"):
        monkeypatch.setitem(sys.modules, name, None)
    given = small(bench)
    loss, exact = bench.oracle(given)
    compared = 0
    for name, each in bench.torch_contestants(given, {}).items():
        if isinstance(each, bench.Contestant):
            own, gradient = each.loss_and_gradient()
            assert own == pytest.approx(loss, rel=1e-5), name
            assert bench.relative_error(gradient, exact) < 1e-5, name
            compared += 1
    assert compared >= 3


def test_the_oracle_is_the_derivative_of_the_loss(bench: Any) -> None:
    given = small(bench)
    loss, exact = bench.oracle(given)
    change = 1e-6
    with torch.no_grad():
        given.net = given.net.double()
        for w, slope in zip(given.net.parameters(), exact, strict=True):
            w.add_(change * slope)
    moved, _ = bench.oracle(given)
    square = sum(float(slope.square().sum()) for slope in exact)
    assert moved - loss == pytest.approx(change * square, rel=1e-3)


def test_a_training_step_lowers_the_loss_and_leaves_the_problem_alone(bench: Any) -> None:
    given = small(bench)
    before = [w.clone() for w in given.net.parameters()]
    step = bench.contestant(given, bench.library(given, None), {}).step
    losses = [step() for _ in range(20)]
    assert losses[-1] < losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, given.net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "operations"),
    [
        ({"batch": 32}, 0.30e9),
        ({"batch": 1, "system": "three bodies", "hidden": [512] * 3, "dt": 1.0}, 0.1203e9),
    ],
)
def test_operations_are_counted_as_worked_out_by_hand(
    bench: Any, settings: dict[str, Any], operations: float
) -> None:
    assert bench.operations(bench.problem(**settings)) == pytest.approx(operations, rel=0.01)


def test_evaluations_are_those_that_autograd_through_h_makes(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small(bench)
    calls = []
    forward = srnn.HNet.forward
    monkeypatch.setattr(srnn.HNet, "forward", lambda net, z: calls.append(1) or forward(net, z))
    bench.through_energy(given)(given.net, given.observed[0])
    assert len(calls) == bench.leapfrog_evaluations(given.steps) == 9
    bench.through_energy(given, afresh=True)(given.net, given.observed[0])
    assert len(calls) == 9 + 3 * given.steps


def test_what_a_graph_keeps_grows_with_the_steps(bench: Any) -> None:
    few, many = (bench.graph_bytes(small(bench, steps=steps)) for steps in (10, 20))
    assert 1.8 < many / few < 2.1
    # At least the hidden layer of each gradient of a network.
    assert few > bench.leapfrog_evaluations(10) * 3 * 8 * 4


def test_ways_are_timed_once_a_round_in_turn(bench: Any) -> None:
    import _timing

    seen: list[str] = []

    def way(name: str) -> Any:
        def call() -> None:
            seen.append(name)
            time.sleep(0.002)

        return call

    times = _timing.interleaved({"a": way("a"), "b": way("b")}, rounds=3, seconds=0.001)
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}
    assert "".join(seen) == "aabb" + "aabb" + "bbaa" + "aabb"
    assert all(each >= 0.002 for values in times.values() for each in values)


def test_medians_quartiles_and_ratios_by_hand(bench: Any) -> None:
    import _timing

    assert _timing.spread([1.0, 2, 3, 4, 5]) == {"median": 3, "q1": 2, "q3": 4, "rounds": 5}
    assert _timing.spread([7.0])["q3"] == 7
    assert _timing.ratios([2.0, 8, 6], [1.0, 2, 2])["median"] == 3
