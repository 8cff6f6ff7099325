"""The rollout whose gradient is that of the adjoint ODE."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from helpers import F64, JointHNet, ProductH, randn, random_hnet, seeded, slope
from torch import Tensor

import srnn
from srnn.motion import integrators
from srnn.motion.adjoint._continuous import continuous_rollout
from srnn.motion.fields import Field, VectorField, as_field
from srnn.motion.scaling import Scale, ScaledField, ScaledHamiltonian


def onet(seed: int) -> srnn.ONet:
    net = srnn.ONet(2, 8, generator=seeded(seed), dtype=F64)
    with torch.no_grad():
        for layer in net.mlp.layers:
            layer.weight.mul_(2)
    return net


def roll(field: Any, name: str, z0: Tensor, **how: Any) -> Tensor:
    return continuous_rollout(as_field(field), integrators.get(name), z0, **how)


def gradients(series: Tensor, weights: Tensor, of: list[Tensor]) -> Tensor:
    """Gradient of a fixed linear function of the states, all of it in one vector."""
    found = torch.autograd.grad((series * weights).sum(), of, allow_unused=True)
    return torch.cat([torch.zeros(0, dtype=F64) if g is None else g.reshape(-1) for g in found])


# -- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", integrators.available())
def test_the_values_are_those_of_the_plain_rollout(
    name: str, backward: bool, substeps: int
) -> None:
    net, z0 = random_hnet(0), randn(0, 2, 3, 4).requires_grad_()
    span = {"dt": 0.1, "steps": 4, "substeps": substeps, "backward": backward}
    plain = srnn.rollout(net, name, z0, gradient="autograd", **span)
    dt = -0.1 if backward else 0.1
    assert torch.equal(roll(net, name, z0, dt=dt, steps=4, substeps=substeps), plain)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 3, 4), (0, 4)])
def test_any_leading_axes(shape: tuple[int, ...]) -> None:
    net, z0 = random_hnet(0), randn(0, *shape).requires_grad_()
    z = roll(net, "leapfrog", z0, dt=0.1, steps=3)
    assert z.shape == (4, *shape)
    (together,) = torch.autograd.grad(z.square().sum(), z0)
    assert together.shape == shape
    for index in np.ndindex(shape[:-1]):
        alone = z0[index].detach().requires_grad_()
        (one,) = torch.autograd.grad(
            roll(net, "leapfrog", alone, dt=0.1, steps=3).square().sum(), alone
        )
        torch.testing.assert_close(one, together[index], rtol=0, atol=1e-13)


# -- the gradient -----------------------------------------------------------------------------

NETS = {"hnet": random_hnet, "joint": JointHNet, "onet": onet}
ORDERS = [
    ("hnet", "euler", 1),
    ("hnet", "symplectic-euler", 1),
    ("hnet", "leapfrog", 2),
    ("hnet", "implicit-midpoint", 2),
    ("hnet", "yoshida4", 4),
    ("hnet", "yoshida8", 4),  # the adjoint ODE is solved by rk4
    ("hnet", "rk4", 4),
    ("joint", "tao2", 2),
    ("onet", "euler", 1),
    ("onet", "rk4", 4),
    ("onet", "implicit-midpoint", 2),
]


@pytest.mark.parametrize("kind", ["substeps", "steps"])
@pytest.mark.parametrize(("net", "name", "order"), ORDERS)
def test_it_tends_to_the_rollouts_gradient_at_the_order_of_the_method(
    net: str, name: str, order: int, kind: str
) -> None:
    model, z0 = NETS[net](0), randn(0, 3, 4).requires_grad_()
    counts = [16, 32, 64] if order == 1 or name == "tao2" else [8, 16, 32]
    in_start, in_weights = [], []
    for n in counts:
        how: dict[str, Any] = {"dt": 1.6 / n, "steps": n}
        weights = torch.zeros(n + 1, 3, 4, dtype=F64)
        weights[-1] = randn(1, 3, 4)
        if kind == "substeps":  # the loss is of states in the middle too
            how = {"dt": 0.4, "steps": 4, "substeps": n // 4}
            weights = randn(1, 5, 3, 4)
        of = [z0, *model.parameters()]
        exact = gradients(srnn.rollout(model, name, z0, **how), weights, of)
        off = gradients(roll(model, name, z0, **how), weights, of) - exact
        in_start.append(float(off[: z0.numel()].norm()))
        in_weights.append(float(off[z0.numel() :].norm()))
    for errors in (in_start, in_weights):
        assert order - 0.4 < slope(counts, errors) < order + 0.8, errors
        assert errors[-1] < 0.1 * float(exact.norm())


def spring_map(spring: srnn.systems.MassSpring, time: float) -> Tensor:
    """F of the exact flow of a mass on a spring."""
    impedance, angle = spring.mass * spring.frequency, spring.frequency * time
    cos, sin = np.cos(angle), np.sin(angle)
    return torch.tensor([[cos, sin / impedance], [-impedance * sin, cos]], dtype=F64)


@pytest.mark.parametrize("dt", [0.1, -0.1])
@pytest.mark.parametrize("name", ["leapfrog", "symplectic-euler", "yoshida4", "implicit-midpoint"])
def test_on_a_linear_field_it_is_that_of_the_exact_flow(name: str, dt: float) -> None:
    # The adjoint ODE of a linear field does not know the states: the forward method leaves no
    # trace, although its own gradient is another.
    spring = srnn.systems.MassSpring(mass=2.0, stiffness=3.0)
    z0, v = randn(0, 5, 2).requires_grad_(), randn(1, 5, 2)
    z = roll(spring, name, z0, dt=dt, steps=20)
    (found,) = torch.autograd.grad((z[-1] * v).sum(), z0)
    expected = v @ spring_map(spring, 20 * dt)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    plain = srnn.rollout(spring, name, z0, dt=0.1, steps=20, backward=dt < 0)
    (discrete,) = torch.autograd.grad((plain[-1] * v).sum(), z0)
    nearest = 5 * float((found - expected).abs().max())
    assert float((discrete - expected).abs().max()) > nearest


def test_on_a_linear_field_a_runge_kutta_method_solves_its_own_adjoint_ode() -> None:
    # Its step of the adjoint ODE is then the transpose of its step: the two gradients agree.
    spring, z0 = srnn.systems.MassSpring(stiffness=3.0), randn(0, 5, 2).requires_grad_()
    weights = randn(1, 11, 5, 2)
    for name in ("euler", "rk4"):
        plain = gradients(srnn.rollout(spring, name, z0, dt=0.3, steps=10), weights, [z0])
        found = gradients(roll(spring, name, z0, dt=0.3, steps=10), weights, [z0])
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-12)


def test_every_returned_state_moves_the_adjoint() -> None:
    spring = srnn.systems.MassSpring(stiffness=3.0)
    z0, weights = randn(0, 5, 2).requires_grad_(), randn(1, 11, 5, 2)
    found = gradients(roll(spring, "leapfrog", z0, dt=0.1, steps=10, substeps=4), weights, [z0])
    expected = sum(weights[n] @ spring_map(spring, 0.1 * n) for n in range(11))
    torch.testing.assert_close(found, expected.reshape(-1), rtol=0, atol=1e-6)


def test_a_rollout_backward_in_time_is_undone_by_one_forward() -> None:
    net, z0 = random_hnet(0), randn(0, 3, 4).requires_grad_()
    z = roll(net, "yoshida8", z0, dt=-0.05, steps=10)
    back = roll(net, "yoshida8", z[-1], dt=0.05, steps=10)[-1]
    v = randn(1, 3, 4)
    found = torch.autograd.grad((back * v).sum(), [z0, *net.parameters()], allow_unused=True)
    assert found[0] is not None
    torch.testing.assert_close(found[0], v, rtol=0, atol=1e-5)
    for gradient in found[1:]:  # what the weights do on the way is undone as well
        assert gradient is None or float(gradient.abs().max()) < 1e-5


def test_the_state_is_set_anew_at_each_returned_time() -> None:
    # Backward in time a decay grows, e^8 over all of this: the integral of the states in the loss
    # sum(z_N) is dL/da of dz/dt = -a z, T z_N, and would be far off without the stored states.
    class Decay(torch.nn.Module):
        dim = 1

        def __init__(self) -> None:
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

        def forward(self, z: Tensor) -> Tensor:
            return -self.rate * z

    decay, z0 = Decay(), randn(0, 3, 2)
    seen: list[Tensor] = []
    decay.register_forward_hook(lambda module, args, output: seen.append(args[0].detach().clone()))
    z = roll(decay, "rk4", z0, dt=0.5, steps=16)
    seen.clear()
    z[-1].sum().backward()
    for n, at in enumerate(seen[::4]):  # the first stage of every step
        assert torch.equal(at, z[16 - n].detach())
    assert decay.rate.grad is not None
    assert float(decay.rate.grad) == pytest.approx(float(-8 * z[-1].detach().sum()), rel=1e-2)


# -- what is differentiated -------------------------------------------------------------------


def test_the_start_needs_no_gradient() -> None:
    net, z0, weights = random_hnet(0), randn(0, 3, 4), randn(1, 5, 3, 4)
    of = list(net.parameters())
    found = gradients(roll(net, "leapfrog", z0, dt=0.1, steps=4), weights, of)
    assert z0.grad is None
    graded = z0.clone().requires_grad_()
    z = roll(net, "leapfrog", graded, dt=0.1, steps=4)
    assert torch.equal(found, gradients(z, weights, of))


def test_no_weight_needs_a_gradient() -> None:
    net, z0, weights = random_hnet(0), randn(0, 3, 4).requires_grad_(), randn(1, 5, 3, 4)
    expected = gradients(roll(net, "leapfrog", z0, dt=0.1, steps=4), weights, [z0])
    of = [z0, *net.potential.parameters()]
    every = gradients(roll(net, "leapfrog", z0, dt=0.1, steps=4), weights, of)
    net.kinetic.requires_grad_(False)  # some of them
    z = roll(net, "leapfrog", z0, dt=0.1, steps=4)
    torch.testing.assert_close(gradients(z, weights, of), every, rtol=0, atol=1e-14)
    net.requires_grad_(False)
    found = gradients(roll(net, "leapfrog", z0, dt=0.1, steps=4), weights, [z0])
    assert torch.equal(found, expected)
    assert not roll(net, "leapfrog", z0.detach(), dt=0.1, steps=4).requires_grad


def test_a_weight_that_the_field_does_not_depend_on_gets_none() -> None:
    # The constant of H, of which autograd through the plain rollout finds none either.
    plain, net, z0 = random_hnet(0), random_hnet(0), randn(0, 3, 4)
    srnn.rollout(plain, "leapfrog", z0, dt=0.1, steps=4).square().sum().backward()
    roll(net, "leapfrog", z0, dt=0.1, steps=4).square().sum().backward()
    without = [weight.grad is None for weight in net.parameters()]
    assert without == [weight.grad is None for weight in plain.parameters()]
    assert any(without)


def test_no_two_gradients_share_memory() -> None:
    net = random_hnet(0)
    roll(net, "leapfrog", randn(0, 3, 4), dt=0.1, steps=4).square().sum().backward()
    grads = [weight.grad for weight in net.parameters() if weight.grad is not None]
    assert len({grad.untyped_storage().data_ptr() for grad in grads}) == len(grads)


@pytest.mark.parametrize("system", [srnn.systems.Pendulum(), ProductH()])
def test_a_field_without_weights(system: Any) -> None:
    z0, v = randn(0, 3, 2).requires_grad_(), randn(1, 3, 2)
    name = "leapfrog" if system.separable else "implicit-midpoint"
    how: dict[str, Any] = {"dt": 0.01, "steps": 50}
    (found,) = torch.autograd.grad((roll(system, name, z0, **how)[-1] * v).sum(), z0)
    (plain,) = torch.autograd.grad((srnn.rollout(system, name, z0, **how)[-1] * v).sum(), z0)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)


def test_a_constant_field() -> None:
    drift, z0 = VectorField(lambda z: torch.ones_like(z), dim=1), randn(0, 3, 2).requires_grad_()
    weights = randn(1, 5, 3, 2)
    (found,) = torch.autograd.grad((roll(drift, "rk4", z0, dt=0.1, steps=4) * weights).sum(), z0)
    torch.testing.assert_close(found, weights.sum(dim=0), rtol=0, atol=1e-14)


def scaled(net: Any) -> Field:
    scale = Scale(q=2.0, p=0.5, time=1.5, shift=randn(3, 4))
    wrapped = ScaledHamiltonian(net, scale) if hasattr(net, "separable") else None
    return as_field(ScaledField(net, scale) if wrapped is None else wrapped)


@pytest.mark.parametrize("make", [random_hnet, JointHNet, onet])
def test_the_weights_are_found_inside_a_field_in_other_units(make: Any) -> None:
    net, z0, weights = make(0), randn(0, 3, 4), randn(1, 5, 3, 4)
    field, of = scaled(net), list(net.parameters())
    how: dict[str, Any] = {"dt": 0.1, "steps": 4, "substeps": 5}
    plain = gradients(srnn.rollout(field, "implicit-midpoint", z0, **how), weights, of)
    found = gradients(roll(field, "implicit-midpoint", z0, **how), weights, of)
    assert float((found - plain).norm()) < 1e-3 * float(plain.norm())


def test_float32() -> None:
    net = srnn.HNet(2, 8, generator=seeded(0))
    z0 = randn(0, 3, 4).float().requires_grad_()
    roll(net, "leapfrog", z0, dt=0.1, steps=4).square().sum().backward()
    grads = [z0.grad, *(weight.grad for weight in net.parameters())]
    assert {grad.dtype for grad in grads if grad is not None} == {torch.float32}


# -- memory, and what stays as it was ----------------------------------------------------------


def test_no_graph_over_more_than_one_evaluation_is_kept() -> None:
    net, z0 = random_hnet(0), randn(0, 3, 4).requires_grad_()

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    def most(steps: int, substeps: int) -> int:
        alive: weakref.WeakSet[Kept] = weakref.WeakSet()
        largest = 0

        def pack(tensor: Tensor) -> Kept:
            nonlocal largest
            kept = Kept(tensor)
            alive.add(kept)
            largest = max(largest, len(alive))
            return kept

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
            z = roll(net, "leapfrog", z0, dt=0.1, steps=steps, substeps=substeps)
            z.square().sum().backward()
        return largest

    few = most(1, 1)
    assert few > 10  # the hooks see what an evaluation saves
    assert most(5, 4) == few


def test_nothing_is_written_into_and_nothing_is_left_behind() -> None:
    net, z0 = random_hnet(0), randn(0, 3, 4)
    strided = torch.stack((z0, z0 + 1), dim=-1)[..., 0].requires_grad_()
    before, weights = z0.clone(), [weight.detach().clone() for weight in net.parameters()]
    noise = torch.get_rng_state()
    z = roll(net, "leapfrog", strided, dt=0.1, steps=4)
    (found,) = torch.autograd.grad(z.square().sum(), strided)
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), noise)
    assert torch.equal(strided.detach(), before)
    assert strided.grad is None
    assert all(weight.grad is None for weight in net.parameters())
    for weight, old in zip(net.parameters(), weights, strict=True):
        assert torch.equal(weight.detach(), old)
    # The states are a tensor of their own: writing into them leaves the start alone.
    broadcast = z0[:1].expand(3, 4)
    roll(net, "leapfrog", broadcast, dt=0.1, steps=1).detach().zero_()
    assert torch.equal(z0, before)
    assert found.shape == z0.shape


def test_it_can_be_differentiated_once_more_from_the_same_rollout() -> None:
    net, z0 = random_hnet(0), randn(0, 3, 4).requires_grad_()
    loss = roll(net, "leapfrog", z0, dt=0.1, steps=4).square().sum()
    of = [z0, *net.parameters()]
    how: dict[str, Any] = {"retain_graph": True, "allow_unused": True}
    found = [torch.autograd.grad(loss, of, create_graph=graph, **how) for graph in (False, True)]
    for one, two in zip(*found, strict=True):
        assert (one is None and two is None) or torch.equal(one, two)


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["start", "weights", "loss"])
def test_a_second_derivative_is_refused(what: str) -> None:
    net, z0 = random_hnet(0), randn(0, 3, 4).requires_grad_()
    factor = torch.ones((), dtype=F64, requires_grad=True)
    # Linear in the states: what comes to the rollout from above depends on `factor` alone.
    loss = factor * roll(net, "leapfrog", z0, dt=0.1, steps=4)[-1].sum()
    first = torch.autograd.grad(loss, [z0, net.potential.mlp.weight], create_graph=True)
    found = sum(gradient.square().sum() for gradient in first) + z0.square().sum()
    of = {"start": z0, "weights": net.potential.mlp.weight, "loss": factor}[what]
    with pytest.raises(RuntimeError, match=r"Expected first derivatives of a rollout .* second"):
        torch.autograd.grad(found, of)


def test_a_tensor_that_no_module_holds_is_refused() -> None:
    matrix = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=F64, requires_grad=True)
    rotation = VectorField(lambda z: z @ matrix, dim=1)
    z0 = randn(0, 3, 2)
    with pytest.raises(TypeError, match=r"Expected every tensor that requires grad inside `field`"):
        roll(rotation, "rk4", z0, dt=0.1, steps=1)
    with torch.no_grad():
        assert roll(rotation, "rk4", z0, dt=0.1, steps=1).shape == (2, 3, 2)


@pytest.mark.parametrize("how", ["frozen", "replaced"])
def test_weights_that_are_others_by_then_are_refused(how: str) -> None:
    net = random_hnet(0)
    loss = roll(net, "leapfrog", randn(0, 3, 4), dt=0.1, steps=1).sum()
    if how == "frozen":
        net.potential.requires_grad_(False)
    else:
        layer = net.potential.mlp.layers[0]
        layer.weight = torch.nn.Parameter(layer.weight.detach().clone())
    with pytest.raises(RuntimeError, match=r"Expected `field` to have the weights that it had"):
        loss.backward()


def test_weights_that_were_written_into_are_refused() -> None:
    net = random_hnet(0)
    loss = roll(net, "leapfrog", randn(0, 3, 4), dt=0.1, steps=1).sum()
    with torch.no_grad():
        net.potential.mlp.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_field_that_the_method_is_not_for_is_refused_as_in_the_plain_rollout() -> None:
    with pytest.raises(ValueError, match="splits H into"):
        roll(JointHNet(0), "leapfrog", randn(0, 3, 4), dt=0.1, steps=1)
