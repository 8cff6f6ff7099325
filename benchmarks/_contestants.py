"""Training steps of one problem in PyTorch: this library's, plain autograd's and its peers'."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from _timing import interleaved, spread
from torch import Tensor

import srnn

RATE = 1e-3  # of Adam
Rollout = Callable[[Any, Tensor], Tensor]


@dataclass
class Problem:
    """What all contestants are given: a network, states to fit, and the step of time."""

    net: Any
    observed: Tensor  # (steps + 1, batch, 2 dim), float32
    dt: float

    @property
    def steps(self) -> int:
        """Steps of a rollout."""
        return len(self.observed) - 1


@dataclass
class Contestant:
    """A training step, and the loss with its gradient at the start.

    `evaluations` counts gradients of one of the two networks, K' or V', in a rollout.
    """

    step: Callable[[], Any]
    loss_and_gradient: Callable[[], tuple[float, list[Tensor]]]
    evaluations: int
    method: str = "leapfrog"


def problem(
    system: str = "chain",
    *,
    batch: int,
    dim: int = 20,
    hidden: int | list[int] = 2048,
    steps: int = 9,
    dt: float = 0.1,
    seed: int = 0,
) -> Problem:
    """Draw a system and trajectories of it, and an untrained H-NET."""
    g = torch.Generator().manual_seed(seed)
    if system == "chain":
        truth: Any = srnn.systems.SpringChain.random(masses=dim, generator=g)
    else:
        truth = srnn.systems.ThreeBody()
    data = truth.simulate(batch, steps=steps, dt=dt, generator=g)
    width = hidden if isinstance(hidden, int) else tuple(hidden)
    return Problem(srnn.HNet(truth.dim, width, generator=g), data.values.float(), dt)


def leapfrog_evaluations(steps: int) -> int:
    """Gradients of a rollout that keeps the force at the end of a step for the next one."""
    return 2 * steps + 1


def operations(given: Problem) -> float:
    """Floating point operations of a training step by leapfrog with closed-form forces.

    A gradient of a network takes two products with each of its matrices but the last, which has
    one row; the backward pass takes four.
    """
    dim, hidden = given.net.dim, given.net.hidden
    matrices = sum(a * b for a, b in pairwise((dim, *hidden)))
    batch = given.observed.shape[1]
    return leapfrog_evaluations(given.steps) * 6 * 2.0 * batch * matrices


# Rollouts


def library(given: Problem, gradient: str | None) -> Rollout:
    """Make this library's rollout; `gradient` says how it is differentiated."""
    options = {} if gradient is None else {"gradient": gradient}

    def rollout(net: Any, z0: Tensor) -> Tensor:
        return srnn.rollout(net, "leapfrog", z0, dt=given.dt, steps=given.steps, **options)

    return rollout


def through_energy(given: Problem, afresh: bool = False) -> Rollout:
    """Make a leapfrog rollout by autograd through H, both networks evaluated at each gradient.

    The paper's code differentiates the sum of H in the half that is wanted, and keeps the force
    from the end of a step for the next one.  With `afresh`, the gradient is that in all of z, and
    each of a step's two half kicks and its drift takes one of its own.
    """
    dt, dim = given.dt, given.net.dim

    def slope(net: Any, q: Tensor, p: Tensor, wanted: str) -> Tensor:
        energy = net(torch.cat((q, p), dim=-1)).sum()
        at = q if wanted == "q" else p
        return torch.autograd.grad(energy, at, create_graph=True)[0]

    def slope_of_all(net: Any, q: Tensor, p: Tensor, wanted: str) -> Tensor:
        z = torch.cat((q, p), dim=-1)
        both = torch.autograd.grad(net(z).sum(), z, create_graph=True)[0]
        return both[..., :dim] if wanted == "q" else both[..., dim:]

    derivative = slope_of_all if afresh else slope

    def rollout(net: Any, z0: Tensor) -> Tensor:
        z0 = z0 if z0.requires_grad else z0.detach().requires_grad_()
        q, p = z0[..., :dim], z0[..., dim:]
        states, force = [z0], None
        for _ in range(given.steps):
            if force is None or afresh:
                force = derivative(net, q, p, "q")
            p = p - dt / 2 * force
            q = q + dt * derivative(net, q, p, "p")
            force = derivative(net, q, p, "q")
            p = p - dt / 2 * force
            states.append(torch.cat((q, p), dim=-1))
        return torch.stack(states)

    return rollout


def closed_form_field(net: Any, z: Tensor) -> Tensor:
    """dz/dt from the networks' gradients in closed form: for solvers of general equations."""
    dim = net.dim
    q, p = z[..., :dim], z[..., dim:]
    return torch.cat((net.kinetic_gradient(p), -net.potential_gradient(q)), dim=-1)


def with_torchdiffeq(given: Problem, count: list[int]) -> Rollout:
    """Explicit midpoint on the grid of the states: second order, as leapfrog is."""
    from torchdiffeq import odeint

    times = given.dt * torch.arange(given.steps + 1)

    def rollout(net: Any, z0: Tensor) -> Tensor:
        def field(t: Tensor, z: Tensor) -> Tensor:
            count[0] += 2
            return closed_form_field(net, z)

        return odeint(field, z0, times, method="midpoint")

    return rollout


def with_torchode(given: Problem, count: list[int]) -> Rollout:
    """Heun's method with a fixed step: the only one of its two of second order."""
    import torchode

    # Time in units of dt, so that the sum of the steps meets the times of the states exactly.
    batch = given.observed.shape[1]
    times = torch.arange(given.steps + 1.0).expand(batch, -1)
    ones = torch.ones(batch)

    def rollout(net: Any, z0: Tensor) -> Tensor:
        def field(t: Tensor, z: Tensor) -> Tensor:
            count[0] += 2
            return given.dt * closed_form_field(net, z)

        term = torchode.ODETerm(field, with_stats=False)
        solver = torchode.AutoDiffAdjoint(
            torchode.Heun(term),
            torchode.FixedStepController(),
            backprop_through_step_size_control=False,
        )
        asked = torchode.InitialValueProblem(y0=z0, t_eval=times)
        return solver.solve(asked, dt0=ones).ys.transpose(0, 1)

    return rollout


# Contestants


def contestant(
    given: Problem,
    rollout: Rollout,
    adam: dict[str, Any],
    evaluations: int | None = None,
    method: str = "leapfrog",
) -> Contestant:
    """Make a training step of a copy of the network."""
    net = copy.deepcopy(given.net)
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE, **adam)

    def loss() -> Tensor:
        return (rollout(net, given.observed[0]) - given.observed).square().mean()

    def step() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        return float(value.detach())

    def loss_and_gradient() -> tuple[float, list[Tensor]]:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        weights = list(net.parameters())
        gradient = [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in weights]
        return float(value.detach()), gradient

    evaluations = evaluations or leapfrog_evaluations(given.steps)
    return Contestant(step, loss_and_gradient, evaluations, method)


def oracle(given: Problem) -> tuple[float, list[Tensor]]:
    """Loss and gradient in float64, by autograd through H: no code of the library's rollout."""
    exact = Problem(copy.deepcopy(given.net).double(), given.observed.double(), given.dt)
    return contestant(exact, through_energy(exact), {}).loss_and_gradient()


def relative_error(gradient: list[Tensor], exact: list[Tensor]) -> float:
    """Norm of the difference over that of the exact gradient, all weights together."""
    pairs = list(zip(gradient, exact, strict=True))
    difference = math.sqrt(sum(float((a.double() - b).square().sum()) for a, b in pairs))
    return difference / math.sqrt(sum(float(b.square().sum()) for _, b in pairs))


LIBRARY = {
    "srnn": None,
    "srnn, gradient='autograd'": "autograd",
    "srnn, gradient='recompute'": "recompute",
    "srnn, gradient='reversible'": "reversible",
}
PLAIN = "autograd through H, as the paper's code"
AFRESH = "autograd through H, each kick afresh"


def torch_contestants(given: Problem, adam: dict[str, Any]) -> dict[str, Contestant | str]:
    """Return all of them by name; of a missing one, why it is missing."""
    found: dict[str, Contestant | str] = {}
    for name, gradient in LIBRARY.items():
        found[name] = available(given, gradient) or contestant(
            given, library(given, gradient), adam
        )
    found[PLAIN] = contestant(given, through_energy(given), adam)
    each = 3 * given.steps
    found[AFRESH] = contestant(given, through_energy(given, afresh=True), adam, each)
    for name, make, method in (
        ("torchdiffeq", with_torchdiffeq, "midpoint"),
        ("torchode", with_torchode, "Heun"),
    ):
        count = [0]
        try:
            rollout = make(given, count)
        except ImportError:
            found[name] = "not installed"
            continue
        with torch.no_grad():
            rollout(given.net, given.observed[0])
        found[name] = contestant(given, rollout, adam, count[0], method)
    return found


def available(given: Problem, gradient: str | None) -> str:
    """Return an empty text if the library knows this way to a gradient, or why it does not."""
    short = Problem(given.net, given.observed[:2, :1], given.dt)
    try:
        library(short, gradient)(short.net, short.observed[0])
    except (TypeError, ValueError) as error:
        return "not in this version" if "argument 'gradient'" in str(error) else str(error)
    return ""


def fastest_adam(given: Problem, rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Time the three implementations of Adam on this network; return the fastest, and all."""
    kinds: dict[str, dict[str, Any]] = {
        "fused": {"fused": True},
        "foreach": {"foreach": True},
        "loop": {"foreach": False},
    }
    ways = {}
    for name, options in kinds.items():
        net = copy.deepcopy(given.net)
        for w in net.parameters():
            w.grad = torch.full_like(w, 1e-3)
        ways[name] = torch.optim.Adam(net.parameters(), lr=RATE, **options).step
    times = {name: spread(each) for name, each in interleaved(ways, rounds, 0.02).items()}
    best = min(times, key=lambda name: times[name]["median"])
    return kinds[best], {"chosen": best, "seconds": times}


def graph_bytes(given: Problem) -> float:
    """Estimate what autograd through H keeps of a rollout, from two short ones."""
    held = []
    for few in (1, 2):
        seen: dict[int, int] = {}

        def pack(x: Tensor, seen: dict[int, int] = seen) -> Tensor:
            storage = x.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
            return x

        short = Problem(given.net, given.observed[: few + 1], given.dt)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            kept = through_energy(short)(short.net, short.observed[0])
        held.append(sum(seen.values()))
        del kept
    return held[0] + (held[1] - held[0]) * (given.steps - 1.0)
