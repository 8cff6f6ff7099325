"""Batched initial-state optimisation beside SciPy's joint one, in one run.

    python benchmarks/initial_states.py

1000 trajectories of ten noisy states of the 20-mass chain, 40 unknowns each, under an H-NET of
width 2048 that has been fitted to such data.  Three ways to the optimum, interleaved, medians over
rounds:

- reference: as the paper's code does it, written afresh.  Forces by autograd through H, of which
  both networks are evaluated at each gradient; SciPy's L-BFGS-B on the joint problem with the loss
  and its gradient from separate passes.
- scipy: ``optimise_initial_state(method="scipy")``.
- gauss-newton: ``optimise_initial_state``, the default.

Prints ratios and stores them with the configuration in srnn/experiments/results/.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor

import srnn
from srnn.experiments import store

DT, STEPS, SIGMA, WIDTH = 0.1, 9, 0.2, 2048
ITERATIONS = 500  # a bound that is not reached: SciPy stops by its own tolerance


def reference_states(net: Any, z0: Tensor, dt: float, graph: bool) -> Tensor:
    """Leapfrog with forces by autograd through the whole H."""
    dim = z0.shape[-1] // 2
    q, p = z0[:, :dim], z0[:, dim:]

    def slope(moving: str) -> Tensor:
        """dH/dq or dH/dp.  The other half is held still, but its network is evaluated as well."""
        at_q, at_p = (x if graph else x.detach().requires_grad_() for x in (q, p))
        both = (at_q, at_p.detach()) if moving == "q" else (at_q.detach(), at_p)
        energy = net(torch.cat(both, dim=-1)).sum()
        wanted = at_q if moving == "q" else at_p
        return torch.autograd.grad(energy, wanted, create_graph=graph)[0]

    states = [z0]
    for _ in range(STEPS):
        p = p - dt / 2 * slope("q")
        q = q + dt * slope("p")
        p = p - dt / 2 * slope("q")
        if not graph:
            q, p = q.detach(), p.detach()
        states.append(torch.cat((q, p), dim=-1))
    return torch.stack(states)


def reference(net: Any, observed: Tensor, dt: float) -> tuple[Tensor, int]:
    """L-BFGS-B on all starts as one problem, loss and gradient in two passes."""
    shape = observed[0].shape

    def loss(x: Any) -> float:
        z0 = torch.from_numpy(x).to(observed).reshape(shape)
        states = reference_states(net, z0, dt, graph=False)
        return float((states - observed).square().sum(dtype=torch.float64))

    def gradient(x: Any) -> Any:
        z0 = torch.from_numpy(x).to(observed).reshape(shape).requires_grad_()
        states = reference_states(net, z0, dt, graph=True)
        total = (states - observed).square().sum()
        return torch.autograd.grad(total, z0)[0].double().numpy().ravel()

    start = observed[0].double().numpy().ravel()
    options = {"maxiter": ITERATIONS, "gtol": 1e-6}
    done = minimize(loss, start, jac=gradient, method="L-BFGS-B", options=options)
    return torch.from_numpy(done.x).to(observed).reshape(shape), int(done.nit)


def fitted_network(generator: torch.Generator) -> tuple[Any, Tensor, float]:
    """Fit a plain H-NET to a chain; return it, new data of the chain and dt, in its units."""
    chain = srnn.systems.SpringChain.random(masses=20, generator=generator)

    def observe() -> srnn.Trajectories:
        data = chain.simulate(1000, steps=STEPS, dt=DT, generator=generator)
        return data.with_noise(SIGMA, generator=generator)

    net = srnn.HNet(20, WIDTH, generator=generator)
    model = srnn.SRNN(20, hamiltonian=net, generator=generator)
    recipe: dict[str, Any] = {"warm_start": "distil", "epochs": 1, "learning_rate": 1e-7}
    model.fit(observe(), iso=True, progress=False, **recipe)
    return net, model.scale.encode(observe().values), DT / model.scale.time


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a call takes, and its result."""
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def main() -> None:
    """Print the table and store it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    # The reference takes minutes a round, and is far from the others.
    parser.add_argument("--reference-rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    net, observed, dt = fitted_network(torch.Generator().manual_seed(options.seed))

    def total(z0: Tensor) -> float:
        states = srnn.rollout(net.double(), "leapfrog", z0.double(), dt=dt, steps=STEPS)
        net.float()
        return float((states.detach() - observed.double()).square().sum())

    ways: dict[str, Callable[[], tuple[Tensor, int]]] = {
        "reference": lambda: reference(net, observed, dt),
        "scipy": lambda: _library(net, observed, dt, "scipy"),
        "gauss-newton": lambda: _library(net, observed, dt, "gauss-newton"),
    }
    _library(net, observed[:, :50], dt, "gauss-newton")  # warm up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses, iterations = {}, {}
    for done in range(options.rounds):
        for name, way in ways.items():
            if name == "reference" and done >= options.reference_rounds:
                continue
            taken, (states, count) = timed(way)
            seconds[name].append(taken)
            losses[name], iterations[name] = total(states), count
            print(f"round {done + 1}: {name} {taken:.2f} s", flush=True)
    best = min(losses.values())
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    ratio = {name: medians[name] / medians["gauss-newton"] for name in ways}
    print(f"1000 trajectories x 40 unknowns, H-NET {WIDTH}, {options.threads} threads")
    for name in ways:
        above = losses[name] / best - 1
        spread = max(seconds[name]) / min(seconds[name])
        print(
            f"{name:13s} median {medians[name]:7.2f} s (max/min {spread:.2f})  "
            f"{ratio[name]:6.2f} x gauss-newton  {iterations[name]:3d} iterations  "
            f"loss {above:.1e} above the lowest"
        )
    store(
        "initial_states_speed",
        {
            "trajectories": 1000,
            "unknowns": 40,
            "width": WIDTH,
            "threads": options.threads,
            "rounds": options.rounds,
            "reference_rounds": options.reference_rounds,
            "seed": options.seed,
            "median_over_gauss_newton": ratio,
            "seconds": seconds,
            "iterations": iterations,
            "loss": losses,
        },
    )


def _library(net: Any, observed: Tensor, dt: float, method: str) -> tuple[Tensor, int]:
    bound = ITERATIONS if method == "scipy" else None
    found = srnn.iso.optimise_initial_state(
        net, observed, dt=dt, method=method, max_iterations=bound
    )
    return found.states, int(found.iterations.max())


if __name__ == "__main__":
    main()
