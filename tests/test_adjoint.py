"""The fused adjoint of a rollout: its numbers are those of PyTorch's own differentiation."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from helpers import F64, JointHNet, randn, random_hnet, seeded
from torch import Tensor, nn

import srnn
from srnn.motion.adjoint import Gradient, _fixed_point, _rollout
from srnn.motion.adjoint._sweep import FORCE, VELOCITY, _pieces, program
from srnn.motion.fields import HamiltonianField, VectorField, as_field
from srnn.motion.integrators import Splitting
from srnn.motion.scaling import Scale, ScaledField, ScaledHamiltonian
from srnn.training.losses import trajectory_loss

FUSED = (None, "stored", "recompute", "reversible", "reversible-exact")
KEEPING = (None, "stored", "recompute")  # those for an O-NET and for Euler's method
# Third order, with a negative stage (Ruth, 1983).
RUTH = Splitting(
    "ruth",
    3,
    (
        *(("kick", 7 / 24), ("drift", 2 / 3), ("kick", 3 / 4)),
        *(("drift", -2 / 3), ("kick", -1 / 24), ("drift", 1.0)),
    ),
)
SPLITTINGS = (
    *("leapfrog", "leapfrog-drift", "leapfrog-reused-kick", "symplectic-euler"),
    *("yoshida4", "yoshida6", "yoshida8", RUTH),
)
HIDDEN = {1: (6,), 2: (6, 5), 3: (6, 5, 4)}
SPAN: dict[str, Any] = {"dt": 0.1, "steps": 4}


def name_of(method: Any) -> str:
    return str(getattr(method, "name", method))


def hnet(layers: int = 2, quadratic: bool = True, seed: int = 0) -> srnn.HNet:
    return random_hnet(seed, hidden=HIDDEN[layers], quadratic=quadratic)


def onet(layers: int = 2, seed: int = 0) -> srnn.ONet:
    net = srnn.ONet(2, HIDDEN[layers], generator=seeded(seed), dtype=F64)
    with torch.no_grad():
        for layer in net.mlp.layers:
            layer.weight.mul_(2)
    return net


def leaves(net: nn.Module) -> list[Tensor]:
    return [weight for weight in net.parameters() if weight.requires_grad]


def derived(
    net: nn.Module, method: Any, z0: Tensor, gradient: Any, field: Any = None, **span: Any
) -> tuple[Tensor, list[Tensor | None]]:
    """The states, and the gradients of a random function of them in z0 and every weight."""
    z0 = z0.detach().clone().requires_grad_()
    field = net if field is None else field
    z = srnn.rollout(field, method, z0, gradient=gradient, **(SPAN | span))
    assert fused_or_not(z) == (gradient != "autograd")
    loss = (z * randn(7, *z.shape).to(z)).sum() + z.square().sum()
    found = torch.autograd.grad(loss, [z0, *leaves(net)], allow_unused=True)
    return z.detach(), list(found)


def fused_or_not(z: Tensor) -> bool:
    """Whether a rollout is one node of the graph, seen from the states in the network's units."""
    seen, todo = set(), [z.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node.name() == "_RolloutBackward":
            return True
        seen.add(node)
        todo += [below for below, _ in node.next_functions]
    return False


def assert_near(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    """Compare states and gradients, each with the largest entry of what is expected."""
    (states, gradients), (plain, wanted) = found, expected
    pairs = [(states, plain), *zip(gradients, wanted, strict=True)]
    for one, other in pairs:
        assert (one is None) == (other is None)
        if one is None:
            continue
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if other.numel():
            size = max(float(other.abs().max()), 1e-3)
            assert float((one - other).abs().max()) <= tolerance * size


def assert_same(found: Any, expected: Any) -> None:
    """Compare to the last bit."""
    for one, other in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


# -- the numbers are those of plain differentiation ----------------------------------------------


@pytest.mark.parametrize("method", [*SPLITTINGS, "euler"], ids=name_of)
@pytest.mark.parametrize("kind", ["hnet", "hnet-quadratic", "onet"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_network_under_a_method(layers: int, kind: str, method: Any) -> None:
    net = onet(layers) if kind == "onet" else hnet(layers, kind == "hnet-quadratic")
    z0 = randn(0, 3, 4)
    expected = derived(net, method, z0, "autograd", steps=2)
    if kind != "onet":  # the constants of K and V
        assert sum(gradient is None for gradient in expected[1]) == 2
    for gradient in KEEPING if "euler" in (kind, method) or kind == "onet" else FUSED:
        assert_near(derived(net, method, z0, gradient, steps=2), expected)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize("method", ["leapfrog", "symplectic-euler", RUTH, "euler"], ids=name_of)
@pytest.mark.parametrize("make", [hnet, onet])
def test_substeps_and_rollouts_backwards_in_time(
    make: Callable[[], Any], method: Any, substeps: int, backward: bool
) -> None:
    net, z0 = make(), randn(0, 3, 4)
    span = {"substeps": substeps, "backward": backward}
    expected = derived(net, method, z0, "autograd", **span)
    ways = FUSED if make is hnet and method != "euler" else KEEPING
    for gradient in ways:
        assert_near(derived(net, method, z0, gradient, **span), expected)


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("width", [1, 40])
def test_other_sizes(width: int, dim: int) -> None:
    for layers in (1, 2, 3):
        net = random_hnet(0, dim, (width,) * layers, quadratic=True)
        z0 = randn(0, 5, 2 * dim)
        expected = derived(net, "leapfrog", z0, "autograd")
        for gradient in FUSED:
            assert_near(derived(net, "leapfrog", z0, gradient), expected)
        vector = srnn.ONet(dim, (width,) * layers, generator=seeded(0), dtype=F64)
        expected = derived(vector, "euler", z0, "autograd")
        assert_near(derived(vector, "euler", z0, None), expected)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_saturated_units(layers: int) -> None:
    # Far out tanh is flat: neither a NaN nor noise may come of that.
    net, z0 = hnet(layers), randn(0, 3, 4)
    with torch.no_grad():
        for half in (net.kinetic, net.potential):
            half.mlp.layers[0].weight.mul_(500)
    expected = derived(net, "leapfrog", z0, "autograd")
    for gradient in FUSED:
        assert_near(derived(net, "leapfrog", z0, gradient), expected, 1e-8)


def test_an_empty_batch_and_a_start_at_the_origin() -> None:
    net, none = hnet(), torch.zeros(0, 4, dtype=F64).requires_grad_()
    weights = [w for w in net.parameters() if w.numel() > 1]
    origin = torch.zeros(3, 4, dtype=F64)
    expected = derived(net, "leapfrog", origin, "autograd")
    assert float(expected[0].abs().max()) > 0.1  # the network pushes it away
    for gradient in FUSED:
        states = srnn.rollout(net, "leapfrog", none, gradient=gradient, **SPAN)
        assert states.shape == (5, 0, 4)
        for one in torch.autograd.grad(states.sum(), (none, *weights), allow_unused=True):
            assert one is None or not one.any()
        assert_near(derived(net, "leapfrog", origin, gradient), expected)


# Several pieces, the last of them shorter.
MANY = 600


def test_a_batch_of_many_is_cut_unevenly() -> None:
    sizes = [piece.stop - piece.start for piece in _pieces(MANY)]
    assert sum(sizes) == MANY
    assert len(sizes) > 1
    assert sizes[-1] < sizes[0]


@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 4), (2, 3, 4), (2, 1, 3, 4), (MANY, 4)])
@pytest.mark.parametrize("make", [hnet, onet])
def test_shapes_of_the_start(make: Callable[[], Any], shape: tuple[int, ...]) -> None:
    net, z0 = make(), randn(0, *shape)
    expected = derived(net, "leapfrog", z0, "autograd", steps=2)
    assert expected[0].shape == (3, *shape)
    for gradient in FUSED if make is hnet else KEEPING:
        assert_near(derived(net, "leapfrog", z0, gradient, steps=2), expected)
    made = derived(net, "leapfrog", z0, None, as_field(net), steps=2)  # a field made before
    assert_same(made, derived(net, "leapfrog", z0, None, steps=2))


def test_a_strided_and_a_broadcast_start() -> None:
    net, plain = hnet(), randn(0, 3, 4)
    strided = torch.stack((plain, plain + 1), dim=-1)[..., 0]
    assert not strided.is_contiguous()
    broadcast = plain[:1].expand(3, 4).requires_grad_()
    for gradient in FUSED:
        z = srnn.rollout(net, "leapfrog", strided, gradient=gradient, **SPAN)
        assert torch.equal(z, srnn.rollout(net, "leapfrog", plain, gradient=gradient, **SPAN))
        wide = srnn.rollout(net, "leapfrog", broadcast, gradient=gradient, **SPAN)
        (found,) = torch.autograd.grad(wide.square().sum(), broadcast)
        assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("make", [hnet, onet])
def test_float32(make: Callable[[], Any]) -> None:
    net, z0 = make(), randn(0, 20, 4)
    exact = derived(net, "leapfrog", z0, "autograd")
    net, z0 = net.float(), z0.float()
    for gradient in ("autograd", *(FUSED if make is hnet else KEEPING)):
        states, found = derived(net, "leapfrog", z0, gradient)
        assert {g.dtype for g in found if g is not None} == {torch.float32}
        wide = [None if g is None else g.double() for g in found]
        assert_near((states.double(), wide), exact, 1e-5)


@pytest.mark.parametrize("kind", ["h", "o"])
def test_other_units(kind: str) -> None:
    scale = Scale(q=2.0, p=0.5, time=1.5, shift=randn(3, 4))
    net = hnet() if kind == "h" else onet()
    field = as_field(ScaledHamiltonian(net, scale) if kind == "h" else ScaledField(net, scale))
    z0 = randn(0, 3, 4)
    for method in ("leapfrog", "euler"):
        expected = derived(net, method, z0, "autograd", field, substeps=2)
        ways = FUSED if (kind, method) == ("h", "leapfrog") else KEEPING
        for gradient in ways:
            found = derived(net, method, z0, gradient, field, substeps=2)
            assert_near(found, expected)
            assert torch.equal(found[0][0], z0)  # the start itself, in any units


def test_a_long_rollout() -> None:
    # Four hundred steps of a motion that is bounded: sums of many terms, each way the same.
    net, z0 = hnet(1), 0.3 * randn(0, 3, 4)
    expected = derived(net, "leapfrog", z0, "autograd", dt=0.05, steps=400)
    for gradient in KEEPING:
        assert_near(derived(net, "leapfrog", z0, gradient, dt=0.05, steps=400), expected, 1e-9)


# -- derivatives of higher order ------------------------------------------------------------------

SMALL = {
    "hnet-1": lambda: random_hnet(0, hidden=3),
    "hnet-2-quadratic": lambda: random_hnet(1, hidden=(3, 2), quadratic=True),
    "onet-2": lambda: srnn.ONet(2, (3, 2), generator=seeded(0), dtype=F64),
}


# First derivatives are those of PyTorch, and in test_rollout.py those of finite differences.
@pytest.mark.parametrize(
    ("kind", "gradient"),
    [("hnet-1", "reversible"), ("hnet-2-quadratic", "stored"), ("onet-2", "recompute")],
)
def test_finite_differences_of_the_gradient(kind: str, gradient: str) -> None:
    net, z0 = SMALL[kind](), randn(0, 1, 4).requires_grad_()

    def roll(z0: Tensor, *weights: Tensor) -> Tensor:
        return srnn.rollout(net, "leapfrog", z0, dt=0.3, steps=2, gradient=gradient)[1:]

    assert torch.autograd.gradgradcheck(roll, (z0, *net.parameters()))


@pytest.mark.parametrize("make", [hnet, onet])
def test_second_derivatives_are_those_of_plain_operations(make: Callable[[], Any]) -> None:
    net, z0 = make(), randn(0, 3, 4).requires_grad_()

    def second(gradient: str | None) -> tuple[Tensor, list[Tensor | None]]:
        z = srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN)
        of = [z0, *leaves(net)]
        first = torch.autograd.grad(z.square().sum(), of, create_graph=True, allow_unused=True)
        loss = sum(g.square().sum() for g in first if g is not None)
        assert isinstance(loss, Tensor)
        return z.detach(), list(torch.autograd.grad(loss, of, allow_unused=True))

    expected = second("autograd")
    for gradient in FUSED if make is hnet else KEEPING:
        assert_near(second(gradient), expected)


def test_a_graph_of_the_gradient_does_not_change_it() -> None:
    net, z0 = hnet(), randn(0, 3, 4).requires_grad_()
    of = [z0, net.potential.mlp.weight]
    for gradient in FUSED:
        z = srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN)
        with_graph = torch.autograd.grad(z.square().sum(), of, create_graph=True)
        without = torch.autograd.grad(z.square().sum(), of)  # and the memory is still there
        for one, other in zip(with_graph, without, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


# -- PyTorch's transformations --------------------------------------------------------------------


class Roll(nn.Module):
    """The last state of a rollout."""

    def __init__(self, net: nn.Module, gradient: str | None) -> None:
        super().__init__()
        self.net, self.gradient = net, gradient

    def forward(self, z0: Tensor) -> Tensor:
        return srnn.rollout(self.net, "leapfrog", z0, gradient=self.gradient, **SPAN)[-1]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own jvp
@pytest.mark.parametrize("gradient", [None, "stored", "reversible"])
def test_the_transformations_of_torch_func(gradient: str | None) -> None:
    net, z0, tangent = hnet(), randn(0, 3, 4), randn(1, 3, 4)
    roll, plain = Roll(net, gradient), Roll(net, "autograd")
    weights = dict(roll.named_parameters())

    def loss(which: Roll) -> Callable[[Any, Tensor], Tensor]:
        return lambda w, z: torch.func.functional_call(which, w, (z,)).square().sum()

    # In the weights, and for each trajectory by itself.
    expected = torch.autograd.grad(
        plain(z0).square().sum(), list(plain.parameters()), allow_unused=True
    )
    found = torch.func.grad(loss(roll))(weights, z0)
    for one, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)
    each = torch.func.vmap(torch.func.grad(loss(roll)), in_dims=(None, 0))(weights, z0)
    for one, other in zip(each.values(), found.values(), strict=True):
        torch.testing.assert_close(one.sum(dim=0), other)
    # In the start.
    torch.testing.assert_close(torch.func.vmap(roll)(z0), plain(z0))
    jacobian = torch.autograd.functional.jacobian(plain, z0[0])
    torch.testing.assert_close(torch.func.jacrev(roll)(z0[0]), jacobian)
    torch.testing.assert_close(torch.func.jacfwd(roll)(z0[0]), jacobian)
    value, moved = torch.func.jvp(roll, (z0[0],), (tangent[0],))
    torch.testing.assert_close(value, plain(z0[0]))
    torch.testing.assert_close(moved, jacobian @ tangent[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode() -> None:
    net, z0, tangent = hnet(), randn(0, 3, 4), randn(1, 3, 4)
    for gradient in ("autograd", None):
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(z0, tangent)
            z = srnn.rollout(net, "leapfrog", dual, gradient=gradient, **SPAN)
            moved = torch.autograd.forward_ad.unpack_dual(z).tangent
        jacobian = torch.autograd.functional.jacobian(Roll(net, "autograd"), z0[0])
        assert moved is not None
        torch.testing.assert_close(moved[-1, 0], jacobian @ tangent[0])


@pytest.mark.parametrize("gradient", FUSED)
def test_many_cotangents_at_once(gradient: str | None) -> None:
    net, z0 = hnet(), randn(0, 3, 4).requires_grad_()
    of = [z0, net.kinetic.mlp.weight, net.potential.mlp.weight]
    z = srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN)
    cotangents = randn(1, 6, *z.shape)
    together = torch.autograd.grad(z, of, cotangents, retain_graph=True, is_grads_batched=True)
    for k in range(6):
        alone = torch.autograd.grad(z, of, cotangents[k], retain_graph=True)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[k], other, rtol=1e-10, atol=1e-12)


# -- what is differentiated -----------------------------------------------------------------------


@pytest.mark.parametrize("gradient", FUSED)
def test_the_start_needs_no_gradient(gradient: str | None) -> None:
    net, z0 = hnet(), randn(0, 3, 4)

    def learnt(start: Tensor) -> list[Tensor | None]:
        z = srnn.rollout(net, "leapfrog", start, gradient=gradient, **SPAN)
        return list(torch.autograd.grad(z.square().sum(), leaves(net), allow_unused=True))

    alone, both = learnt(z0), learnt(z0.clone().requires_grad_())
    assert_same((z0, alone), (z0, both))
    assert z0.grad is None


@pytest.mark.parametrize("gradient", FUSED)
@pytest.mark.parametrize("frozen", ["all", "kinetic", "form", "one"])
def test_frozen_weights(frozen: str, gradient: str | None) -> None:
    net, z0 = hnet(), randn(0, 3, 4)
    expected = derived(net, "leapfrog", z0, gradient)[1]
    by_name = dict(zip(["z0", *dict(net.named_parameters())], expected, strict=True))
    for name, weight in net.named_parameters():
        names = {"all": "", "kinetic": "kinetic.", "form": "potential.form", "one": "0.bias"}
        if names[frozen] in name:
            weight.requires_grad_(False)
    start = z0.clone().requires_grad_()
    z = srnn.rollout(net, "leapfrog", start, gradient=gradient, **SPAN)
    ((z * randn(7, *z.shape)).sum() + z.square().sum()).backward()
    assert start.grad is not None
    torch.testing.assert_close(start.grad, by_name["z0"], rtol=1e-12, atol=1e-12)
    for name, weight in net.named_parameters():
        wanted = by_name[name] if weight.requires_grad else None
        assert (weight.grad is None) == (wanted is None)
        if wanted is not None:
            torch.testing.assert_close(weight.grad, wanted, rtol=1e-12, atol=1e-12)
    net.requires_grad_(False)
    assert not srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN).requires_grad


@pytest.mark.parametrize("gradient", FUSED)
def test_a_start_that_was_computed(gradient: str | None) -> None:
    net, raw = hnet(), randn(0, 3, 4)

    def through(way: str | None) -> tuple[Tensor, list[Tensor | None]]:
        leaf = raw.clone().requires_grad_()
        middle = srnn.rollout(net, "leapfrog", torch.sin(leaf) * 2, gradient=way, **SPAN)[-1]
        z = srnn.rollout(net, "yoshida4", middle, gradient=way, **SPAN)
        return z.detach(), list(
            torch.autograd.grad(z.square().sum(), [leaf, *leaves(net)], allow_unused=True)
        )

    assert_near(through(gradient), through("autograd"))


@pytest.mark.parametrize("gradient", FUSED)
@pytest.mark.parametrize(
    "index",
    [
        (-1,),
        (0,),
        (2,),
        (slice(1, 4, 2), 1),
        (slice(None), slice(None), slice(0, 2)),
    ],
    ids=str,
)
def test_a_loss_of_some_states(index: tuple[Any, ...], gradient: str | None) -> None:
    net, z0 = hnet(), randn(0, 3, 4)

    def some(way: str | None) -> tuple[Tensor, list[Tensor | None]]:
        start = z0.clone().requires_grad_()
        z = srnn.rollout(net, "leapfrog", start, gradient=way, **SPAN)
        of = [start, *leaves(net)]
        found = torch.autograd.grad(z[index].square().sum(), of, allow_unused=True)
        return z.detach(), list(found)

    found, expected = some(gradient), some("autograd")
    if index == (0,):  # the start itself: plain operations do not reach the weights at all
        assert torch.equal(found[1][0], 2 * z0)
        assert all(g is None or not g.any() for g in found[1][1:])
    else:
        assert_near(found, expected)


@pytest.mark.parametrize("gradient", FUSED)
def test_two_backward_passes_give_the_same_gradient(gradient: str | None) -> None:
    net, z0 = hnet(), randn(0, MANY, 4).requires_grad_()
    of = [z0, *leaves(net)]
    loss = srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN).square().sum()
    passes = []
    for k in range(3):
        # Another rollout takes the memory that the first pass gave back, and leaves its marks.
        found = torch.autograd.grad(loss, of, retain_graph=k < 2, allow_unused=True)
        passes.append((loss.detach(), list(found)))
        srnn.rollout(net, "leapfrog", 3 + z0, gradient=gradient, **SPAN).sum().backward()
    assert_same(passes[1], passes[0])
    assert_same(passes[2], passes[0])
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, of, allow_unused=True)


def test_gradients_accumulate() -> None:
    net, z0 = hnet(), randn(0, 3, 4)
    weight = net.potential.mlp.weight
    for _ in range(2):
        srnn.rollout(net, "leapfrog", z0, **SPAN).square().sum().backward()
    assert weight.grad is not None
    twice = weight.grad.clone()
    net.zero_grad()
    srnn.rollout(net, "leapfrog", z0, **SPAN).square().sum().backward()
    torch.testing.assert_close(twice, 2 * weight.grad, rtol=1e-14, atol=0)


def test_no_two_gradients_share_memory() -> None:
    for net in (hnet(3), onet(3)):
        z0 = randn(0, 3, 4).requires_grad_()
        loss = srnn.rollout(net, "leapfrog", z0, **SPAN).square().sum()
        of = [z0, *leaves(net)]
        grads = [g for g in torch.autograd.grad(loss, of, allow_unused=True) if g is not None]
        for k, grad in enumerate(grads):  # writing into one leaves the others alone
            grad.fill_(k)
        assert all(bool((grad == k).all()) for k, grad in enumerate(grads))


# -- what may not be written to -------------------------------------------------------------------


@pytest.mark.parametrize("gradient", FUSED)
def test_nothing_of_the_callers_is_written_to(gradient: str | None) -> None:
    net, z0 = hnet(), randn(0, 3, 4)
    start, weights = z0.clone().requires_grad_(), [w.detach().clone() for w in net.parameters()]
    noise = torch.get_rng_state()
    z = srnn.rollout(net, "leapfrog", start, gradient=gradient, **SPAN)
    states, cotangent = z.detach().clone(), randn(1, *z.shape)
    given = cotangent.clone()
    z.backward(cotangent, retain_graph=True)
    assert start.grad is not None
    gradients = start.grad.clone()
    for k in range(4):  # later rollouts of the model have memory of their own for their states
        with torch.set_grad_enabled(k % 2 == 0):
            srnn.rollout(net, "leapfrog", z0 + k, gradient=gradient, **SPAN)
    assert torch.equal(z.detach(), states)
    assert torch.equal(start.detach(), z0)
    assert torch.equal(cotangent, given)
    assert torch.equal(start.grad, gradients)
    assert torch.equal(torch.get_rng_state(), noise)
    for weight, old in zip(net.parameters(), weights, strict=True):
        assert torch.equal(weight.detach(), old)
    z.detach().zero_()  # the states are a tensor of their own
    assert torch.equal(start.detach(), z0)


@pytest.mark.parametrize("gradient", FUSED)
def test_writing_to_the_returned_states_does_not_change_the_gradient(gradient: str | None) -> None:
    net, z0 = hnet(), randn(0, 3, 4)

    def written(write: Callable[[Tensor], Any]) -> tuple[Tensor, list[Tensor | None]]:
        start = z0.clone().requires_grad_()
        z = srnn.rollout(net, "leapfrog", start, gradient=gradient, **SPAN)
        loss = (z * randn(1, *z.shape)).sum()
        write(z)
        found = torch.autograd.grad(loss, [start, *leaves(net)], allow_unused=True)
        return z0, list(found)

    expected = written(lambda z: None)
    assert_same(written(lambda z: z.detach().zero_()), expected)
    assert_same(written(lambda z: z.data.fill_(float("nan"))), expected)
    # Where PyTorch follows the writing, it is differentiated.
    start = z0.clone().requires_grad_()
    z = srnn.rollout(net, "leapfrog", start, gradient=gradient, **SPAN)
    z.mul_(2)
    (found,) = torch.autograd.grad((z * randn(1, *z.shape)).sum(), start)
    first = expected[1][0]
    assert first is not None
    torch.testing.assert_close(found, 2 * first, rtol=1e-13, atol=0)


@pytest.mark.parametrize("gradient", FUSED)
@pytest.mark.parametrize("written", ["optimizer", "form", "start"])
def test_writing_between_forward_and_backward_is_refused(
    written: str, gradient: str | None
) -> None:
    net, z0 = hnet(), randn(0, 3, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN).square().sum().backward()
    loss = srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN).square().sum()
    with torch.no_grad():
        if written == "optimizer":
            optimizer.step()
        elif written == "form":
            assert net.kinetic.form is not None
            net.kinetic.form.vector.add_(1)
        else:
            z0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("make", [hnet, onet])
def test_the_weights_of_a_rollout_are_those_of_its_time(make: Callable[[], Any]) -> None:
    net, z0 = make(), randn(0, 3, 4)
    for _ in range(3):
        with torch.no_grad():
            for weight in net.parameters():
                weight.mul_(1.1)
        expected = derived(net, "leapfrog", z0, "autograd")
        assert_near(derived(net, "leapfrog", z0, None), expected)
    # Replaced ones as well.
    layer = (net.potential if isinstance(net, srnn.HNet) else net).mlp.layers[0]
    layer.weight = nn.Parameter(randn(4, *layer.weight.shape))
    expected = derived(net, "leapfrog", z0, "autograd")
    assert_near(derived(net, "leapfrog", z0, None), expected)


# -- rebuilding the states ------------------------------------------------------------------------


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect what the backward passes return."""
    seen: list[Any] = []
    sweep = _rollout.backward

    def spy(*args: Any, **settings: Any) -> Any:
        found = sweep(*args, **settings)
        seen.append(found)
        return found

    monkeypatch.setattr(_rollout, "backward", spy)
    return seen


@pytest.mark.parametrize("batch", [3, 80])
@pytest.mark.parametrize("method", ["leapfrog", RUTH], ids=name_of)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_exact_rebuilding_misses_no_bit(
    dtype: torch.dtype, method: Any, batch: int, rebuilt: list[Any]
) -> None:
    net, z0 = hnet().to(dtype), (0.5 * randn(0, batch, 4)).to(dtype)
    span = {"dt": 0.05, "steps": 1000 if (batch, method) == (3, "leapfrog") else 100}
    found = derived(net, method, z0, "reversible-exact", **span)
    unit = _fixed_point.unit_for(z0)
    ((_, _, whole),) = rebuilt
    assert torch.equal(whole, (z0.double() / unit).round().to(torch.int64))
    missed = (whole.double() * unit - z0.double()).abs().max()
    assert float(missed) <= (0 if dtype == torch.float32 else unit / 2)
    # The steps themselves are rounded otherwise than those of the other ways.
    kept = derived(net, method, z0, "recompute", **span)
    assert_near(found, kept, 1e-2 if dtype == torch.float32 else 1e-9)


def test_plain_rebuilding_misses_little(rebuilt: list[Any]) -> None:
    net, z0 = hnet(), 0.5 * randn(0, 3, 4)
    derived(net, "leapfrog", z0, "reversible", dt=0.05, steps=1000)
    ((_, _, start),) = rebuilt
    assert 0 < float((start - z0).abs().max()) < 1e-8


def saddle(dtype: torch.dtype) -> srnn.HNet:
    """V falls off to all sides: neighbours part as e^(2 t)."""
    net = hnet()
    assert net.potential.form is not None
    with torch.no_grad():
        net.potential.form.matrix.copy_(-4 * torch.eye(2))
    return net.to(dtype)


@pytest.mark.parametrize(("dt", "steps", "finite"), [(0.1, 60, True), (1.0, 300, False)])
def test_rebuilding_an_unstable_motion_warns(dt: float, steps: int, finite: bool) -> None:
    net, z0 = saddle(torch.float32), randn(0, 3, 4).float().requires_grad_()
    z = srnn.rollout(net, "leapfrog", z0, dt=dt, steps=steps, gradient="reversible")
    assert bool(torch.isfinite(z[-1]).all()) == finite
    with pytest.warns(
        UserWarning,
        match=r"^Rebuilding the states backwards missed the initial states by .*, where the largest"
        r" entry is .*: .*\. gradient='reversible-exact' rebuilds them to the last bit",
    ):
        z.sum().backward()


def test_exact_rebuilding_of_states_that_grow() -> None:
    net, z0 = saddle(F64), 0.1 * randn(0, 3, 4)
    kept = derived(net, "leapfrog", z0, "recompute", dt=0.1, steps=20)
    assert float(kept[0].abs().max()) > 10 * float(z0.abs().max())
    found = derived(net, "leapfrog", z0, "reversible-exact", dt=0.1, steps=20)
    assert_near(found, kept, 1e-10)
    with pytest.raises(OverflowError, match=r"holds states up to about 16 000 times the largest"):
        derived(net, "leapfrog", z0, "reversible-exact", dt=0.1, steps=60)  # to about 1e6


# -- how much is computed -------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 10])
def test_a_leapfrog_step_costs_one_force_and_one_velocity(steps: int) -> None:
    def rates(name: str, separable: bool, substeps: int = 1) -> list[int]:
        made = program(srnn.integrators.get(name), separable, 0.1, steps, substeps)
        assert made is not None
        found = list(made.order)
        assert made.evaluations == len(found)
        return [found.count(FORCE), found.count(VELOCITY)]

    assert rates("leapfrog", separable=True) == [steps + 1, steps]
    assert rates("leapfrog-reused-kick", separable=True) == [steps + 1, steps]
    assert rates("leapfrog-reused-kick", separable=False) == [steps + 1, steps]
    assert rates("leapfrog", separable=False) == [2 * steps, steps]
    assert rates("leapfrog-drift", separable=True) == [steps, steps + 1]
    assert rates("symplectic-euler", separable=True) == [steps, steps]
    assert rates("euler", separable=True) == [steps, steps]
    assert rates("yoshida4", separable=True) == [3 * steps + 1, 3 * steps]
    assert rates("leapfrog", separable=True, substeps=3) == [3 * steps + 1, 3 * steps]


@pytest.mark.parametrize(
    ("gradient", "expected"),
    # Forwards once; backwards once more where nothing is kept but the states.
    [("stored", 1), ("recompute", 2), ("reversible", 2), ("reversible-exact", 2)],
)
def test_activations_are_computed_as_often_as_the_table_says(
    gradient: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from srnn.motion.adjoint import _kernels

    count = 0
    for kernel in {k for k in vars(_kernels).values() if hasattr(k, "activate")}:

        def counted(self: Any, *args: Any, inner: Any = kernel.activate) -> None:
            nonlocal count
            count += 1
            inner(self, *args)

        monkeypatch.setattr(kernel, "activate", counted)
    derived(hnet(), "leapfrog", randn(0, 3, 4), gradient, steps=10)
    assert count == expected * 21


def test_what_is_large_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    net, z0 = hnet(), randn(0, 3, 4)
    kept = []
    choose = _rollout.Pass.keep

    def spy(*args: Any) -> Any:
        kept.append(choose(*args).activations)
        return choose(*args)

    monkeypatch.setattr(_rollout.Pass, "keep", spy)
    small = derived(net, "leapfrog", z0, None)
    monkeypatch.setattr(_rollout, "_STORED", 100)
    assert_same(derived(net, "leapfrog", z0, None), small)
    assert kept == [True, False]


# -- what has no fused adjoint --------------------------------------------------------------------


class Subclass(srnn.HNet):
    def potential_gradient(self, q: Tensor) -> Tensor:
        return super().potential_gradient(q) + q


def hooked() -> srnn.HNet:
    net = hnet()
    net.potential.mlp.layers[0].register_forward_pre_hook(lambda layer, args: None)
    return net


def parametrized() -> srnn.HNet:
    net = hnet()
    nn.utils.parametrizations.weight_norm(net.potential.mlp.layers[0])
    return net


def hooked_onet() -> srnn.ONet:
    net = onet()
    net.mlp.layers[0].register_forward_hook(lambda layer, args, output: 2 * output)
    return net


def subclass() -> srnn.HNet:
    return Subclass(2, 6, generator=seeded(0), dtype=F64)


OTHERS = [subclass, hooked, parametrized, hooked_onet]


@pytest.mark.parametrize("make", OTHERS)
def test_changed_networks_are_differentiated_by_pytorch(make: Callable[[], Any]) -> None:
    net, z0 = make(), randn(0, 3, 4).requires_grad_()
    z = srnn.rollout(net, "leapfrog", z0, **SPAN)
    assert not fused_or_not(z)
    plain = srnn.rollout(net, "leapfrog", z0, gradient="autograd", **SPAN)
    assert torch.equal(z, plain)
    of = [z0, *leaves(net)]
    found = torch.autograd.grad(z.sum(), of, allow_unused=True)
    expected = torch.autograd.grad(plain.sum(), of, allow_unused=True)
    assert_same((z, list(found)), (plain, list(expected)))
    with pytest.raises(
        ValueError,
        match=r"^gradient='stored' is for the networks srnn\.nn\.HNet and srnn\.nn\.ONet; got "
        r"\w+\. Leave `gradient` out to take the fastest way there is\.$",
    ):
        srnn.rollout(net, "leapfrog", z0, gradient="stored", **SPAN)


# Each of these is integrated otherwise by plain operations: the fused way may not pass over it.


class Damped(HamiltonianField):
    def force(self, q: Tensor, p: Tensor) -> Tensor:
        return super().force(q, p) - 0.5 * p


class Pushed(VectorField):
    def force(self, q: Tensor, p: Tensor) -> Tensor:
        return super().force(q, p) + 1


class Halved:
    """A Hamiltonian of one's own around an H-NET, with an attribute that a model's has too."""

    separable = True

    def __init__(self) -> None:
        self.hamiltonian, self.scale, self.dim = hnet(), 0.5, 2

    def __call__(self, z: Tensor) -> Tensor:
        energy: Tensor = self.scale * self.hamiltonian(z)
        return energy


class Sine(srnn.nn.MLP):
    def input_gradient(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Slow(Splitting):
    def step(self, field: Any, state: Any, dt: float) -> Any:
        return super().step(field, state, dt / 2)


def other_network() -> srnn.HNet:
    net = hnet(quadratic=False)
    net.potential.mlp = Sine(2, 1, 6, generator=seeded(0), dtype=F64)
    return net


def hooked_whole() -> srnn.ONet:
    net = onet()
    net.register_forward_hook(lambda module, args, output: 2 * output)
    return net


SLOW = Slow("slow", 2, (("kick", 0.5), ("drift", 1.0), ("kick", 0.5)))
CHANGED: dict[str, Callable[[], tuple[Any, Any]]] = {
    "field": lambda: (Damped(hnet()), "leapfrog"),
    "vector-field": lambda: (Pushed(onet(), 2), "leapfrog"),
    "hamiltonian": lambda: (Halved(), "leapfrog"),
    "mlp": lambda: (other_network(), "leapfrog"),
    "hook": lambda: (hooked_whole(), "euler"),
    "splitting": lambda: (hnet(), SLOW),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_changes_the_motion_is_not_passed_over(what: str) -> None:
    (field, method), z0 = CHANGED[what](), randn(0, 3, 4)
    expected = srnn.rollout(field, method, z0, gradient="autograd", **SPAN)
    assert (srnn.rollout(field, method, z0, **SPAN) - expected).abs().max() < 1e-13


def test_a_splitting_with_its_stages_in_a_list() -> None:
    stages: Any = [("kick", 0.5), ("drift", 1.0), ("kick", 0.5)]
    method, net, z0 = Splitting("mine", 2, stages), hnet(), randn(0, 3, 4)
    expected = derived(net, "leapfrog", z0, "autograd")
    assert_near(derived(net, method, z0, None), expected)


def test_a_hook_that_was_removed_is_none() -> None:
    net, z0 = hnet(), randn(0, 3, 4)
    handle = net.potential.mlp.layers[0].register_forward_hook(lambda *args: None)
    assert not fused_or_not(srnn.rollout(net, "leapfrog", z0, **SPAN))
    handle.remove()
    assert fused_or_not(srnn.rollout(net, "leapfrog", z0, **SPAN))


@pytest.mark.parametrize("gradient", [g for g in FUSED if g is not None])
def test_other_fields_and_methods_are_refused_by_name(gradient: str) -> None:
    z0, leave = randn(0, 3, 4), r" Leave `gradient` out to take the fastest way there is\.$"
    own = "the networks srnn\\.nn\\.HNet and srnn\\.nn\\.ONet"
    split = "'euler' and the splitting methods such as 'leapfrog';"
    rnn = srnn.RNN(2, 3, generator=seeded(0), dtype=F64)
    cases: list[tuple[Any, Any, str]] = [
        (srnn.systems.HenonHeiles(), "leapfrog", f"{own}; got HenonHeiles\\."),
        (srnn.QuadraticH(2, dtype=F64), "leapfrog", f"{own}; got QuadraticH\\."),
        (JointHNet(0), "euler", f"{own}; got JointHNet\\."),
        (rnn, None, f"{own}; got RNN\\."),
        (hnet(), "rk4", f"{split} got 'rk4'\\."),
        (hnet(), "implicit-midpoint", f"{split} got 'implicit-midpoint'\\."),
        (hnet(), "tao2", f"{split} got 'tao2'\\."),
    ]
    if "reversible" in gradient:
        undone = r"splitting methods on a separable H, whose steps can be undone; got '{}' on {} "
        undone += r"\('recompute' needs little memory too\)\."
        for net, method in ((onet(), "leapfrog"), (onet(), "euler"), (hnet(), "euler")):
            cases.append((net, method, undone.format(method, type(net).__name__)))
    for field, method, text in cases:
        with pytest.raises(ValueError, match=f"^gradient='{gradient}' is for {text}{leave}"):
            srnn.rollout(field, method, z0, gradient=gradient, **SPAN)


@pytest.mark.parametrize("method", ["rk4", "implicit-midpoint", "tao2"])
def test_other_methods_are_differentiated_by_pytorch(method: str) -> None:
    net, z0 = hnet(), randn(0, 3, 4)
    plain = srnn.rollout(net, method, z0, gradient="autograd", **SPAN)
    torch.testing.assert_close(srnn.rollout(net, method, z0, **SPAN), plain, rtol=1e-9, atol=1e-9)
    for field, other in ((srnn.QuadraticH(2, dtype=F64), "leapfrog"), (JointHNet(0), "euler")):
        plain = srnn.rollout(field, other, z0, gradient="autograd", **SPAN)
        assert torch.equal(srnn.rollout(field, other, z0, **SPAN), plain)


def test_a_joint_hamiltonian_is_refused_by_a_splitting_as_ever() -> None:
    with pytest.raises(ValueError, match=r"splits H into K\(p\) \+ V\(q\)"):
        srnn.rollout(JointHNet(0), "leapfrog", randn(0, 3, 4), **SPAN)


def test_unknown_names_are_refused() -> None:
    net, z0 = hnet(), randn(0, 3, 4)
    known = r"Known: None, 'autograd', 'stored', 'recompute', 'reversible', 'reversible-exact', "
    for name in ("adjoint", "", 3):
        with pytest.raises(ValueError, match=rf"^Unknown `gradient`: {name!r}\. {known}"):
            srnn.rollout(net, "leapfrog", z0, gradient=name, **SPAN)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Unknown `gradient`: 'adjoint'"):
        Gradient("adjoint")


# -- training -------------------------------------------------------------------------------------


def chain(seed: int = 0) -> srnn.Trajectories:
    g = seeded(seed)
    system = srnn.systems.SpringChain.random(masses=2, generator=g)
    return system.simulate(12, steps=6, dt=0.1, generator=g, dtype=F64)


def model(family: str = "SRNN", seed: int = 0, **settings: Any) -> srnn.Model:
    made: srnn.Model = getattr(srnn, family)(
        dim=2, hidden=8, generator=seeded(seed), dtype=F64, **settings
    )
    return made


def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the `gradient` of every rollout of the loss."""
    seen: list[Any] = []
    roll = srnn.losses.rollout

    def spy(*args: Any, **settings: Any) -> Tensor:
        seen.append(settings["gradient"])
        return roll(*args, **settings)

    monkeypatch.setattr(srnn.losses, "rollout", spy)
    return seen


def losses(gradient: str | None, family: str = "SRNN") -> Sequence[float]:
    # Without a warm start the first losses are large, and every epoch moves the weights.
    how = {"epochs": 4, "window": 5, "warm_start": False, "validation": 0.2, "batch_size": 8}
    fitted = model(family).fit(chain(), gradient=gradient, progress=False, **how)
    return [*fitted.train_loss, *fitted.validation_loss]


@pytest.mark.parametrize("gradient", ["autograd", "recompute", "reversible-exact"])
def test_a_recipe_says_how_to_differentiate(gradient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = asked(monkeypatch)
    found = losses(gradient)
    assert set(seen) == {gradient}
    assert found[3] < found[0]
    seen.clear()
    assert found == pytest.approx(losses(None), rel=1e-9)
    assert set(seen) == {None}


def test_a_recipe_is_checked() -> None:
    with pytest.raises(ValueError, match=r"^Unknown `gradient`: 'adjoint'\."):
        srnn.recipes.Recipe(gradient="adjoint")
    with pytest.raises(ValueError, match=r"^Unknown `gradient`: 'adjoint'\."):
        model().fit(chain(), epochs=1, progress=False, gradient="adjoint")


def test_weights_that_are_not_asked_about_cost_and_get_nothing() -> None:
    net, z0 = hnet(), randn(0, 3, 4).requires_grad_()
    for name in (None, "recompute", "reversible"):
        how = Gradient(name, weights=False)
        states = srnn.rollout(net, "leapfrog", z0, gradient=how, **SPAN)
        expected = srnn.rollout(net, "leapfrog", z0, gradient="autograd", **SPAN)
        (one,) = torch.autograd.grad(states.square().sum(), z0, retain_graph=True)
        (other,) = torch.autograd.grad(expected.square().sum(), z0)
        assert float((one - other).abs().max()) < 1e-12 * float(other.abs().max())
        with pytest.raises(RuntimeError, match="to not have been used in the graph"):
            torch.autograd.grad(states.square().sum(), net.kinetic.mlp.weight)


# -- starts that depend on the same weights, threads, and what is not looked through --------------


@pytest.mark.parametrize("method", ["leapfrog", "rk4", "tao2"])
def test_second_derivatives_where_the_start_depends_on_the_weights(method: str) -> None:
    net, z0 = hnet(), randn(0, 3, 4).requires_grad_()
    found = []
    for gradient in (None, "autograd"):
        half = srnn.rollout(net, method, z0, dt=0.2, steps=2, gradient=gradient)[-1]
        end = srnn.rollout(net, method, half, dt=0.2, steps=2, gradient=gradient)[-1]
        weight = net.potential.mlp.weight
        (first,) = torch.autograd.grad(end.square().sum(), weight, create_graph=True)
        found.append((first, *torch.autograd.grad(first.sum(), (weight, z0))))
    for one, other in zip(*found, strict=True):
        assert (one - other).detach().abs().max() < 1e-11 * other.detach().abs().max()


@pytest.mark.parametrize("gradient", [None, "recompute", "reversible"])
def test_two_threads_go_back_through_one_graph(gradient: str | None) -> None:
    net, z0 = random_hnet(0, hidden=256), randn(0, 64, 4)
    weight = net.potential.mlp.weight
    plain = srnn.rollout(net, "leapfrog", z0, dt=0.1, steps=9, gradient="autograd")
    (expected,) = torch.autograd.grad(plain.square().mean(), weight)
    for _ in range(4):
        loss = srnn.rollout(net, "leapfrog", z0, dt=0.1, steps=9, gradient=gradient).square().mean()
        with ThreadPoolExecutor(2) as pool:
            tasks = [
                pool.submit(torch.autograd.grad, loss, weight, retain_graph=True) for _ in range(2)
            ]
        for task in tasks:
            difference = (task.result()[0] - expected).abs().max()
            assert float(difference) < 1e-10 * float(expected.abs().max())


class Walled(torch.nn.Module):
    """A Hamiltonian of a user's own with an H-NET inside, and more of a force."""

    dim, separable = 2, True

    def __init__(self) -> None:
        super().__init__()
        self.walls, self.inner = None, hnet()

    def kinetic_gradient(self, p: torch.Tensor) -> torch.Tensor:
        return self.inner.kinetic_gradient(p)

    def potential_gradient(self, q: torch.Tensor) -> torch.Tensor:
        return self.inner.potential_gradient(q) + 4 * q**3


def overridden() -> Any:
    net = hnet()
    net.potential_gradient = lambda q: q**3
    return net


def without_bias() -> Any:
    net = hnet()
    width = net.kinetic.mlp.layers[0].out_features
    net.kinetic.mlp.layers[0] = torch.nn.Linear(2, width, bias=False, dtype=F64)
    return net


@pytest.mark.parametrize("make", [Walled, overridden, without_bias])
@pytest.mark.parametrize("method", ["leapfrog", "rk4"])
def test_networks_that_only_look_like_the_librarys(make: Any, method: str) -> None:
    net, z0 = make(), randn(0, 3, 4)
    expected = srnn.rollout(net, method, z0, gradient="autograd", **SPAN)
    assert torch.equal(srnn.rollout(net, method, z0, **SPAN), expected)


def test_autocast_is_pytorchs_own() -> None:
    net, z0 = hnet().float(), randn(0, 3, 4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = srnn.rollout(net, "leapfrog", z0, gradient="autograd", **SPAN)
        assert torch.equal(srnn.rollout(net, "leapfrog", z0, **SPAN), expected)


def test_a_gradient_that_a_loss_with_gates_cannot_take_is_refused() -> None:
    target = randn(0, 3, 3, 4)
    leapfrog = srnn.integrators.get("leapfrog")
    with pytest.raises(ValueError, match="Unknown `gradient`: 'stored'"):
        trajectory_loss(hnet(), leapfrog, target, 0.1, gate_penalty=0.1, gradient="stored")
