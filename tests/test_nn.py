from collections.abc import Callable

import pytest
import torch
from helpers import F64, randn, random_hnet, seeded
from torch import nn

import srnn
from srnn.nn import LSTM, MLP, RNN, HNet, ONet, PairwiseH, QuadraticForm, QuadraticH


def count(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("kind", "dim", "hidden", "expected"),
    [
        (ONet, 20, 2048, 165_928),  # the paper's spring chain
        (HNet, 20, 2048, 90_114),
        (ONet, 6, (512, 512, 512), 538_124),  # its three bodies in the plane
        (HNet, 6, (512, 512, 512), 1_058_818),
    ],
)
def test_parameter_counts_of_the_paper(
    kind: type[nn.Module], dim: int, hidden: int | tuple[int, ...], expected: int
) -> None:
    assert count(kind(dim, hidden, generator=seeded(0))) == expected


def test_parameter_counts_of_the_rest() -> None:
    # A quadratic term adds a matrix and a vector to each of K and V.
    quadratic = HNet(20, 2048, quadratic=True, generator=seeded(0))
    assert count(quadratic) == 90_114 + 2 * (20 * 20 + 20)
    assert count(QuadraticH(20)) == 2 * (20 * 20 + 20)
    h, d = 64, 20
    rnn = (2 * d * h + h) + (h * h + h)
    assert count(RNN(d, h, generator=seeded(0))) == rnn + 2 * d * h + 2 * d
    assert count(LSTM(d, h, generator=seeded(0))) == 4 * rnn + 2 * d * h + 2 * d
    assert count(LSTM(d, 2 * d, bounded=True, generator=seeded(0))) == 8 * (4 * d * d + 2 * d)


# -- MLP --------------------------------------------------------------------------------------


def test_an_mlp_is_what_pytorch_says() -> None:
    net = MLP(3, 2, (5, 4), generator=seeded(0), dtype=F64)
    a, b, c = net.layers
    x = randn(0, 6, 3)
    torch.testing.assert_close(net(x), nn.Sequential(a, nn.Tanh(), b, nn.Tanh(), c)(x))


@pytest.mark.parametrize("hidden", [7, (7, 5), (7, 5, 3)], ids=str)
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)], ids=str)
def test_the_input_gradient_and_hessian_are_those_of_autograd(
    shape: tuple[int, ...], hidden: int | tuple[int, ...]
) -> None:
    net = MLP(3, 1, hidden, generator=seeded(0), dtype=F64)
    with torch.no_grad():  # far from linear
        for layer in net.layers:
            layer.weight.mul_(3)
    x = randn(0, *shape)
    (slope,) = torch.autograd.grad(net(y := x.clone().requires_grad_()).sum(), y)
    torch.testing.assert_close(net.input_gradient(x).detach(), slope, rtol=1e-12, atol=1e-14)
    found = net.input_hessian(x)
    assert found.shape == (*shape, 3)
    assert torch.equal(found, found.mT)
    each = [torch.autograd.functional.hessian(net, y) for y in x.reshape(-1, 3)]
    expected = torch.stack(each).reshape(found.shape)
    assert expected.abs().amax() > 0.1
    torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=1e-13)
    flat = x.reshape(-1, 3)
    mapped = torch.func.vmap(net.input_hessian)(flat).reshape(found.shape)
    torch.testing.assert_close(mapped, found, rtol=1e-13, atol=1e-14)


def test_the_input_gradient_and_hessian_are_differentiable_in_weights_and_input() -> None:
    net = MLP(3, 1, (5, 4), generator=seeded(0), dtype=F64)
    x = randn(0, 2, 3).requires_grad_()
    weights = [w for name, w in net.named_parameters() if name != "layers.2.bias"]
    for function in (net.input_gradient, net.input_hessian):
        assert torch.autograd.gradcheck(lambda x, *_, of=function: of(x), (x, *weights))


def test_a_network_of_more_outputs_has_no_gradient_and_no_hessian() -> None:
    net = MLP(3, 2, 4, generator=seeded(0))
    for function in (net.input_gradient, net.input_hessian):
        with pytest.raises(ValueError, match=r"^Expected a network with one .* got 2 outputs\.$"):
            function(torch.zeros(3))


def test_weights_come_from_the_generator_alone() -> None:
    def weights(generator: torch.Generator | None) -> torch.Tensor:
        net = HNet(2, (8, 8), quadratic=True, generator=generator)
        return nn.utils.parameters_to_vector(net.parameters())

    torch.manual_seed(0)
    one = weights(seeded(1))
    torch.manual_seed(1)
    assert torch.equal(one, weights(seeded(1)))
    assert not torch.equal(one, weights(seeded(2)))
    # Without a generator each network is its own, whatever the global seed.
    torch.manual_seed(0)
    fresh = weights(None)
    torch.manual_seed(0)
    assert not torch.equal(fresh, weights(None))


def test_weights_are_uniform_on_pytorchs_range() -> None:
    layer = MLP(25, 400, 100, generator=seeded(0)).layers[0]
    assert layer.weight.abs().max() <= 0.2
    assert float(layer.weight.std().detach()) == pytest.approx(0.2 / 3**0.5, rel=0.05)
    assert abs(float(layer.weight.mean().detach())) < 0.01
    assert 0.15 < layer.bias.abs().max() <= 0.2


@pytest.mark.parametrize("kind", [HNet, ONet, RNN, LSTM])
def test_the_dtype_of_weights_is_asked_for_or_the_default(kind: type[nn.Module]) -> None:
    assert {w.dtype for w in kind(2, 4, generator=seeded(0)).parameters()} == {torch.float32}
    wide = kind(2, 4, generator=seeded(0), dtype=F64)
    assert {w.dtype for w in wide.parameters()} == {F64}
    with pytest.raises(
        ValueError, match=r"Unknown `dtype`: torch.int32. Known: 'float32', 'float64'"
    ):
        kind(2, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"Unknown `dtype`: torch.int32"):
        QuadraticH(2, dtype=torch.int32)


@pytest.mark.parametrize("kind", [HNet, ONet])
def test_sizes_are_checked(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="Expected `dim` to be at least 1; got 0"):
        kind(0, 4)
    with pytest.raises(ValueError, match="Expected `hidden` to be at least 1; got 0"):
        kind(2, (4, 0))
    with pytest.raises(
        ValueError, match=r"Expected `z` to have shape \(batch, 2\*dim\) with dim=2; got"
    ):
        kind(2, 4)(torch.zeros(3, 5))


# -- Hamiltonians -----------------------------------------------------------------------------


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("hidden", [8, (8, 6, 4)], ids=str)
def test_an_hnet_is_the_sum_of_its_halves(hidden: int | tuple[int, ...], quadratic: bool) -> None:
    net, z = random_hnet(0, 2, hidden, quadratic), randn(0, 5, 4)
    q, p = z[:, :2], z[:, 2:]
    torch.testing.assert_close(net(z), net.kinetic(p) + net.potential(q))
    x = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    torch.testing.assert_close(net.potential_gradient(q), gradient[:, :2], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(net.kinetic_gradient(p), gradient[:, 2:], rtol=1e-12, atol=1e-13)
    assert net(z[0]).shape == ()
    whole = torch.stack([torch.autograd.functional.hessian(net, x) for x in z])
    blocks = (net.potential_hessian(q), net.kinetic_hessian(p))
    torch.testing.assert_close(blocks[0].detach(), whole[:, :2, :2], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(blocks[1].detach(), whole[:, 2:, 2:], rtol=1e-12, atol=1e-13)
    assert whole[:, :2, 2:].abs().max() == 0


def test_the_hessians_of_a_quadratic_hamiltonian_are_its_matrices_symmetric_parts() -> None:
    net, z = QuadraticH(2, dtype=F64), randn(0, 3, 5, 4)
    with torch.no_grad():
        net.kinetic.matrix.copy_(randn(1, 2, 2))
        net.potential.matrix.copy_(randn(2, 2, 2))
        net.potential.vector.fill_(3.0)
    whole = torch.autograd.functional.hessian(net, z[0, 0])
    kinetic, potential = net.kinetic_hessian(z[..., 2:]), net.potential_hessian(z[..., :2])
    assert kinetic.shape == potential.shape == (3, 5, 2, 2)
    torch.testing.assert_close(kinetic[2, 4].detach(), whole[2:, 2:], rtol=1e-14, atol=0)
    torch.testing.assert_close(potential[2, 4].detach(), whole[:2, :2], rtol=1e-14, atol=0)
    x = z[..., :2]
    assert torch.equal(net.potential.hessian(x), potential)


def test_the_halves_of_an_hnet_have_weights_of_their_own() -> None:
    net, z = HNet(2, 8, generator=seeded(0)), torch.ones(4)
    assert net.kinetic_gradient(z[:2]).tolist() != net.potential_gradient(z[:2]).tolist()


def test_an_hnet_with_a_quadratic_term_starts_near_a_free_particle() -> None:
    plain = HNet(2, 8, generator=seeded(0), dtype=F64)
    net = HNet(2, 8, quadratic=True, generator=seeded(0), dtype=F64)
    z = randn(0, 5, 4)
    torch.testing.assert_close(net(z), plain(z) + (z[:, 2:] ** 2).sum(-1) / 2)


def test_a_quadratic_form_counts_its_symmetric_part_alone() -> None:
    form, x = QuadraticForm(3, dtype=F64), randn(0, 4, 3)
    matrix = randn(1, 3, 3)
    with torch.no_grad():
        form.matrix.copy_(matrix)
        form.vector.copy_(torch.arange(3))
    expected = (x * (x @ matrix)).sum(-1) / 2 + x @ torch.arange(3, dtype=F64)
    torch.testing.assert_close(form(x), expected)
    y = x.clone().requires_grad_()
    torch.testing.assert_close(form.gradient(x), torch.autograd.grad(form(y).sum(), y)[0])


def test_a_quadratic_hamiltonian_starts_as_a_free_particle() -> None:
    z = torch.tensor([5.0, -1.0, 3.0, 4.0])
    assert QuadraticH(2)(z).item() == 12.5


# -- recurrent networks -----------------------------------------------------------------------


def rolled_out_by_pytorch(net: RNN | LSTM, cell: nn.Module, z: torch.Tensor, steps: int) -> list:
    """Feed each prediction back in, with PyTorch's own cell holding the same weights."""
    with torch.no_grad():
        cell.weight_ih.copy_(net.inward.weight)
        cell.bias_ih.copy_(net.inward.bias)
        cell.weight_hh.copy_(net.recurrent.weight)
        cell.bias_hh.copy_(net.recurrent.bias)
    memory = None
    states = [z]
    for _ in range(steps):
        memory = cell(z, memory)
        hidden = memory[0] if isinstance(memory, tuple) else memory
        z = hidden if net.readout is None else net.readout(hidden)
        states.append(z)
    return states


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize(("kind", "cell"), [(RNN, nn.RNNCell), (LSTM, nn.LSTMCell)])
def test_recurrent_networks_are_those_of_pytorch(
    kind: type[RNN | LSTM], cell: type[nn.Module], bounded: bool
) -> None:
    hidden = 4 if bounded else 7
    net = kind(2, hidden, bounded, generator=seeded(0), dtype=F64)
    z0 = 3 * randn(0, 5, 4)
    found = srnn.rollout(net, None, z0, dt=0.1, steps=6)
    expected = rolled_out_by_pytorch(net, cell(4, hidden, dtype=F64), z0, 6)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_bounded_keeps_the_prediction_within_one(kind: type[RNN | LSTM]) -> None:
    bounded, free = kind(2, 4, True, generator=seeded(0)), kind(2, 4, generator=seeded(0))
    with torch.no_grad():
        bounded.inward.bias.fill_(10.0)
        free.readout.bias.fill_(10.0)
    z0 = torch.ones(3, 4)
    assert srnn.rollout(bounded, None, z0, dt=0.1, steps=9)[1:].abs().max() <= 1
    assert srnn.rollout(free, None, z0, dt=0.1, steps=9)[1:].abs().max() > 1
    assert bounded.readout is None
    with pytest.raises(ValueError, match=r"`hidden` must be 2\*dim = 4; got 5"):
        kind(2, 5, bounded=True)


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_a_recurrent_network_starts_with_an_empty_memory(kind: type[RNN | LSTM]) -> None:
    net, z0 = kind(2, 8, generator=seeded(0)), torch.ones(3, 4)
    state = net.init(None, z0)
    assert not state.hidden.any()
    assert not state.cell.any()
    one = srnn.rollout(net, None, z0, dt=0.1, steps=5)
    torch.empty(1000).fill_(7.0)  # what uninitialised memory might then hold
    assert torch.equal(one, srnn.rollout(net, None, z0, dt=0.1, steps=5))


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [HNet(2, 4), HNet(2, 4, True), ONet(2, 4), QuadraticH(2)], ids=repr)
def test_states_of_another_dtype_shape_or_device_are_refused(net: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"^Expected `z` and `weights` to have one dtype; got "):
        net(torch.zeros(3, 4, dtype=F64))
    with pytest.raises(
        TypeError, match=r"^Expected `z` and `weights` to have one device; got meta"
    ):
        net(torch.zeros(3, 4, device="meta"))
    with pytest.raises(
        ValueError, match=r"^Expected `z` to have shape \(batch, 2\*dim\) with dim=2"
    ):
        net(torch.zeros(3, 2))


@pytest.mark.parametrize("net", [HNet(2, 4), HNet(2, 4, True), QuadraticH(2)], ids=repr)
def test_halves_of_another_dtype_or_shape_are_refused(net: HNet | QuadraticH) -> None:
    for function, name in (
        *((net.kinetic_gradient, "p"), (net.potential_gradient, "q")),
        *((net.kinetic_hessian, "p"), (net.potential_hessian, "q")),
    ):
        text = rf"^Expected `{name}` to have shape \(batch, dim\) with dim=2; got \(3, 4\)\.$"
        with pytest.raises(ValueError, match=text):
            function(torch.zeros(3, 4))
        with pytest.raises(TypeError, match=r"and `weights` to have one dtype; got torch.float64"):
            function(torch.zeros(3, 2, dtype=F64))


def test_an_mlp_refuses_what_its_first_layer_cannot_take() -> None:
    net = MLP(3, 1, 4)
    for call in (net, net.input_gradient):
        with pytest.raises(ValueError, match=r"^Expected `x` to have .* dim=3; got \(5, 2\)\.$"):
            call(torch.zeros(5, 2))
        with pytest.raises(TypeError, match=r"^Expected `x` and `weights` to have one dtype"):
            call(torch.zeros(5, 3, dtype=F64))


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_a_recurrent_network_is_not_called(kind: type[RNN | LSTM]) -> None:
    net = kind(2, 4)
    text = rf"^{kind.__name__} is its own step .* use srnn\.rollout\(net, None, z0, dt=dt, steps=st"
    with pytest.raises(TypeError, match=text):
        net(torch.zeros(3, 4))
    with pytest.raises(TypeError, match=r"^Expected `z0` and `weights` to have one dtype; got "):
        net.init(None, torch.zeros(3, 4, dtype=F64))


@pytest.mark.parametrize(
    "make",
    [
        lambda d: HNet(1, 4, device=d),
        lambda d: ONet(1, 4, device=d),
        lambda d: RNN(1, 4, device=d),
        lambda d: QuadraticH(1, device=d),
    ],
)
def test_a_device_that_is_none_is_refused(make: Callable[[str], nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"^Expected `device` to be .* as 'cpu'; got 'foo'\.$"):
        make("foo")
    assert next(make("meta").parameters()).device.type == "meta"


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:DeprecationWarning")  # torch's own jvp
@pytest.mark.parametrize("quadratic", [False, True])
def test_the_checks_stand_torch_func(quadratic: bool) -> None:
    net = HNet(2, 4, quadratic, generator=seeded(0), dtype=F64)
    z = randn(1, 5, 4)
    gradient = torch.func.vmap(torch.func.grad(net))(z)
    assert torch.allclose(gradient[:, 2:], net.kinetic_gradient(z[:, 2:]))
    hessian = torch.func.vmap(torch.func.jacrev(net.kinetic_gradient))(z[:, 2:])
    tangent = torch.ones(5, 2, dtype=F64)
    _, turned = torch.func.jvp(net.kinetic_gradient, (z[:, 2:],), (tangent,))
    assert torch.allclose(hessian.sum(dim=-1), turned)


# -- bodies in pairs --------------------------------------------------------------------------


def pairwise(bodies: int = 3, dimensions: int = 2) -> PairwiseH:
    """One in float64 that is far from its start."""
    net = PairwiseH(bodies, dimensions, (7, 5), generator=seeded(0), dtype=F64)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(2)
    return net


@pytest.mark.parametrize(("bodies", "dimensions"), [(2, 1), (3, 2), (4, 3)])
def test_the_gradients_of_pairs_are_those_of_autograd(bodies: int, dimensions: int) -> None:
    net = pairwise(bodies, dimensions)
    x = randn(1, 2, 5, net.dim).requires_grad_()
    for value, gradient in (
        (net.kinetic, net.kinetic_gradient),
        (net.potential, net.potential_gradient),
    ):
        (expected,) = torch.autograd.grad(value(x).sum(), x)
        torch.testing.assert_close(gradient(x), expected, rtol=1e-10, atol=1e-12)
    z = randn(2, 5, 2 * net.dim)
    torch.testing.assert_close(
        net(z), net.kinetic(z[:, net.dim :]) + net.potential(z[:, : net.dim])
    )


def test_an_h_of_pairs_knows_no_direction_hand_place_or_number() -> None:
    net, z = pairwise(), randn(3, 6, 12).unflatten(-1, (2, 3, 2))
    c, s = 0.6, 0.8
    turn = torch.tensor([[c, -s], [s, c]], dtype=F64)
    shift = torch.tensor([[[1.5, -2.0]], [[0.0, 0.0]]], dtype=F64)
    images = {
        "turned": z @ turn.T,
        "mirrored": z * torch.tensor([-1.0, 1.0], dtype=F64),
        "shifted": z + shift,
        "renumbered": z[..., [2, 0, 1], :],
        "run backwards": z * torch.tensor([1.0, -1.0], dtype=F64)[:, None, None],
    }
    for name, image in images.items():
        torch.testing.assert_close(
            net(image.flatten(-3)), net(z.flatten(-3)), rtol=1e-12, atol=1e-12, msg=name
        )
    pulled = z.clone()
    pulled[:, 0, 0, 0] += 0.1
    assert not torch.allclose(net(pulled.flatten(-3)), net(z.flatten(-3)), atol=1e-6)


def test_an_h_of_pairs_keeps_momentum_and_angular_momentum() -> None:
    z0 = srnn.systems.ThreeBody().initial_states(4, seeded(0))
    states = srnn.rollout(pairwise(), "leapfrog", z0, dt=0.1, steps=50)
    assert (states[-1] - states[0]).abs().max() > 0.1
    momentum = states[..., 6:].unflatten(-1, (3, 2)).sum(dim=-2)
    assert (momentum - momentum[0]).abs().max() < 1e-12
    turning = srnn.metrics.angular_momentum(srnn.Trajectories.from_states(states, dt=0.1), bodies=3)
    assert (turning - turning[0]).abs().max() < 1e-11


@pytest.mark.slow
def test_gravity_is_an_h_of_pairs_that_training_finds() -> None:
    g = seeded(0)
    data = srnn.systems.ThreeBody().simulate(64, steps=4, dt=0.1, generator=g)
    model = srnn.SRNN(6, hamiltonian=PairwiseH(3, generator=g), generator=g)
    apart = torch.tensor([[-0.7, 0.0, 0.7, 0.0, 30.0, 0.0]])  # two bodies at 1.4, one far away
    before = model.hamiltonian.potential_gradient(apart)[0, 2].item()
    model.fit(data, epochs=60, learning_rate=1e-2, scheduler="cosine", progress=False)
    after = model.hamiltonian.potential_gradient(apart)[0, 2].item()
    assert abs(after - 1 / 1.4**2) < 0.1 / 1.4**2 < abs(before - 1 / 1.4**2)


def test_an_h_of_pairs_refuses_what_has_no_pairs() -> None:
    with pytest.raises(ValueError, match=r"Expected `bodies` .*at least 2.*; got 1"):
        PairwiseH(1)
    with pytest.raises(ValueError, match=r"Unknown `dimensions`: 4"):
        PairwiseH(3, 4)
    with pytest.raises(ValueError, match="z"):
        PairwiseH(3)(torch.zeros(5, 8))
