"""The same training step in JAX: leapfrog in a scan, and diffrax's symplectic Euler method."""

from collections.abc import Callable
from typing import Any

import torch
from _contestants import RATE, Contestant, Problem, leapfrog_evaluations
from torch import Tensor


def jax_contestants(given: Problem) -> dict[str, Contestant | str]:
    """Return those of JAX by name; of a missing one, why it is missing."""
    found: dict[str, Contestant | str] = {}
    evaluations = leapfrog_evaluations(given.steps)
    for name, make, method, count in (
        ("jax, scan", leapfrog, "leapfrog", evaluations),
        ("jax, scan unrolled", lambda g: leapfrog(g, unroll=True), "leapfrog", evaluations),
        ("jax, scan recomputing", lambda g: leapfrog(g, again=True), "leapfrog", evaluations),
        ("diffrax", with_diffrax, "symplectic Euler", 2 * given.steps),
    ):
        try:
            step, gradient = trained(given, make(given))
        except ImportError:
            found[name] = "not installed"
        else:
            found[name] = Contestant(step, gradient, count, method)
    return found


def weights_of(net: Any) -> Any:
    """Copy the weights; matrices as (inputs, outputs), which is JAX's custom."""
    import jax.numpy as jnp

    return {
        half: [
            (jnp.array(layer.weight.detach().numpy().T), jnp.array(layer.bias.detach().numpy()))
            for layer in getattr(net, half).mlp.linears
        ]
        for half in ("kinetic", "potential")
    }


def slopes() -> Callable[[Any, Any], Any]:
    """Make the gradient of one network in its input."""
    import jax
    import jax.numpy as jnp

    def energy(x: Any, layers: Any) -> Any:
        *inner, (matrix, bias) = layers
        for weight, shift in inner:
            x = jnp.tanh(x @ weight + shift)
        return (x @ matrix + bias).sum()

    slope = jax.grad(energy)
    return lambda layers, x: slope(x, layers)


def leapfrog(
    given: Problem, unroll: bool = False, again: bool = False
) -> Callable[[Any, Any, Any], Any]:
    """Make a rollout in a scan; each gradient is that of one network.

    With `again`, the backward pass computes a step again instead of keeping its inner values.
    """
    import jax
    import jax.numpy as jnp

    slope, dt = slopes(), given.dt

    def rollout(weights: Any, q: Any, p: Any) -> Any:
        def step(state: Any, _: None) -> Any:
            q, p, force = state
            p = p - dt / 2 * force
            q = q + dt * slope(weights["kinetic"], p)
            force = slope(weights["potential"], q)
            p = p - dt / 2 * force
            return (q, p, force), (q, p)

        start = (q, p, slope(weights["potential"], q))
        _, (qs, ps) = jax.lax.scan(
            jax.checkpoint(step) if again else step, start, length=given.steps, unroll=unroll
        )
        return jnp.concatenate((q[None], qs)), jnp.concatenate((p[None], ps))

    return rollout


def with_diffrax(given: Problem) -> Callable[[Any, Any, Any], Any]:
    """Make a rollout by the symplectic method of diffrax with two gradients a step."""
    import diffrax
    import jax.numpy as jnp

    slope, times = slopes(), given.dt * jnp.arange(given.steps + 1)
    terms = (
        diffrax.ODETerm(lambda t, p, weights: slope(weights["kinetic"], p)),
        diffrax.ODETerm(lambda t, q, weights: -slope(weights["potential"], q)),
    )

    def rollout(weights: Any, q: Any, p: Any) -> Any:
        solved = diffrax.diffeqsolve(
            terms,
            diffrax.SemiImplicitEuler(),
            times[0],
            times[-1],
            None,
            (q, p),
            args=weights,
            saveat=diffrax.SaveAt(t0=True, steps=True),
            stepsize_controller=diffrax.StepTo(ts=times),
            adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=given.steps),
            max_steps=given.steps,
        )
        return solved.ys

    return rollout


def trained(given: Problem, rollout: Callable[[Any, Any, Any], Any]) -> tuple[Any, Any]:
    """Make the compiled training step, and the loss with its gradient at the start."""
    import jax
    import jax.numpy as jnp
    import optax

    dim = given.net.dim
    seen = given.observed.numpy()
    qs, ps = jnp.array(seen[..., :dim]), jnp.array(seen[..., dim:])
    adam = optax.adam(RATE)

    def loss(weights: Any, qs: Any, ps: Any) -> Any:
        q, p = rollout(weights, qs[0], ps[0])
        return (jnp.mean((q - qs) ** 2) + jnp.mean((p - ps) ** 2)) / 2

    both = jax.value_and_grad(loss)

    def update(weights: Any, state: Any, qs: Any, ps: Any) -> Any:
        value, gradient = both(weights, qs, ps)
        change, state = adam.update(gradient, state)
        return optax.apply_updates(weights, change), state, value

    # The old weights and moments are overwritten, as the optimisers of PyTorch do.
    compiled = jax.jit(update, donate_argnums=(0, 1))
    weights = weights_of(given.net)
    held = [weights, adam.init(weights)]

    def step() -> float:
        *held[:], value = compiled(*held, qs, ps)
        jax.block_until_ready(held)
        return float(value)

    def loss_and_gradient() -> tuple[float, list[Tensor]]:
        value, gradient = jax.jit(both)(weights_of(given.net), qs, ps)
        flat = [torch.tensor(jax.device_get(leaf)) for leaf in jax.tree.leaves(gradient)]
        return float(value), [leaf.T.contiguous() if leaf.ndim == 2 else leaf for leaf in flat]

    return step, loss_and_gradient
