"""Norms of gradients through time: against closed forms, and against autograd in other ways."""

import re
from typing import Any

import pytest
import torch
from helpers import F64, JointHNet, omega, randn, random_hnet, seeded, symplectic_defect
from torch import Tensor

import srnn
from srnn.motion import integrators
from srnn.motion.gradients import norms_through_time

STEPS, DT = 5, 0.2
ON_Z = [name for name in integrators.available() if not name.startswith("tao")]


def recurrent(kind: str, bounded: bool = False) -> Any:
    make = {"rnn": srnn.RNN, "lstm": srnn.LSTM}[kind]
    net = make(2, 4 if bounded else 3, bounded, generator=seeded(0), dtype=F64)
    with torch.no_grad():  # far from the start, where all norms are nearly zero
        for weight in net.parameters():
            weight.mul_(2)
    return net


# -- closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_Z)
def test_a_linear_system_pulls_back_by_the_transposed_step(name: str) -> None:
    chain = srnn.systems.SpringChain.random(masses=3, generator=seeded(0))
    z0, v = randn(1, 4, 6), randn(2, 4, 6)
    # Rows of the identity are states: the rollout's rows are the columns of F.
    step = srnn.rollout(chain, name, torch.eye(6, dtype=F64), dt=DT, steps=1)[-1].T
    expected, row = [v.norm(dim=-1)], v
    for _ in range(STEPS):
        row = row @ step  # v^T F, that is, F^T v
        expected.append(row.norm(dim=-1))
    norms = norms_through_time(chain, name, z0, dt=DT, steps=STEPS, cotangent=v)
    assert norms.shape == (STEPS + 1, 4)
    torch.testing.assert_close(norms, torch.stack(expected[::-1]), rtol=1e-12, atol=0)


def test_eulers_norms_grow_by_one_factor_in_every_direction() -> None:
    spring = srnn.systems.MassSpring()
    norms = norms_through_time(spring, "euler", randn(0, 7, 2), dt=0.3, steps=50)
    back = torch.arange(50, -1, -1, dtype=F64)[:, None]
    torch.testing.assert_close(norms, (1.09 ** (back / 2)).expand(51, 7), rtol=1e-12, atol=0)


def test_leapfrogs_norms_on_an_oscillator_stay_between_two_bounds() -> None:
    # One step is S R S^-1 with a rotation R, so that no power of it leaves cond(S) and 1 / cond(S).
    spring, dt = srnn.systems.MassSpring(), 1.2
    v = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=F64)
    norms = norms_through_time(spring, "leapfrog", randn(0, 3, 2), dt=dt, steps=1000, cotangent=v)
    condition = 1 / (1 - dt**2 / 4) ** 0.5
    assert float(norms.max()) < condition * (1 + 1e-9)
    assert float(norms.min()) > (1 - 1e-9) / condition
    assert float(norms.max()) > 0.99 * condition  # the bound is reached


# -- symplectic maps --------------------------------------------------------------------------


def assert_between_the_singular_values(matrix: Tensor, norms: Tensor, v: Tensor) -> None:
    largest = torch.linalg.matrix_norm(matrix, ord=2)
    ratio = norms / v.norm(dim=-1)
    assert bool((ratio <= largest * (1 + 1e-9)).all())
    assert bool((ratio >= (1 - 1e-9) / largest).all())


@pytest.mark.parametrize("name", ["leapfrog", "yoshida4", "implicit-midpoint"])
def test_a_symplectic_flow_shrinks_no_gradient_below_one_over_its_largest_stretch(
    name: str,
) -> None:
    net, z0, v = random_hnet(0), randn(1, 4), randn(2, 40, 4)
    # The worst directions too: the left singular vectors.
    jacobian = torch.autograd.functional.jacobian(
        lambda z: srnn.rollout(net, name, z, dt=DT, steps=STEPS)[-1], z0
    )
    left, s, _ = torch.linalg.svd(jacobian)
    torch.testing.assert_close(s * s.flip(0), torch.ones(4, dtype=F64), rtol=1e-9, atol=0)
    v = torch.cat((v, left.T))
    norms = norms_through_time(net, name, z0.expand(44, 4), dt=DT, steps=STEPS, cotangent=v)
    assert_between_the_singular_values(jacobian, norms[0], v)
    torch.testing.assert_close(norms[0, -4:], s, rtol=1e-9, atol=0)


def test_taos_norms_are_those_of_its_extended_space() -> None:
    net, z0, v = JointHNet(0), randn(1, 4), randn(2, 4)
    method, field = integrators.get("tao2"), srnn.fields.as_field(net)

    def extended(pair: Tensor) -> Tensor:
        state: Any = method.init(field, z0)
        state = type(state)(pair[:4], pair[4:])
        return torch.cat(method.step(field, state, 0.05))

    both, matrices = torch.cat((z0, z0)), []
    for _ in range(STEPS):
        matrices.append(torch.autograd.functional.jacobian(extended, both))
        both = extended(both).detach()
    row = torch.cat((v, torch.zeros(4, dtype=F64)))
    expected = [row.norm()]
    for matrix in reversed(matrices):
        row = row @ matrix
        expected.append(row.norm())
    norms = norms_through_time(net, "tao2", z0, dt=0.05, steps=STEPS, cotangent=v)
    torch.testing.assert_close(norms, torch.stack(expected[::-1]), rtol=1e-12, atol=0)
    whole = torch.linalg.multi_dot(matrices[::-1])
    order = torch.tensor([0, 1, 4, 5, 2, 3, 6, 7])  # (q, p, x, y) to (q, x, p, y)
    assert symplectic_defect(whole[order][:, order], omega(4)) < 1e-10
    assert_between_the_singular_values(whole, norms[:1], v)


# -- against autograd -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [("hnet", name) for name in ON_Z]
    # On an O-NET the reused kick hands on more than (q, p): refused, tested below.
    + [("onet", name) for name in ON_Z if name != "leapfrog-reused-kick"],
)
def test_the_norms_are_those_of_rollouts_begun_at_each_step(kind: str, name: str) -> None:
    net = random_hnet(0) if kind == "hnet" else srnn.ONet(2, 6, generator=seeded(0), dtype=F64)
    z0, v = randn(1, 3, 4), randn(2, 3, 4)
    states = srnn.rollout(net, name, z0, dt=DT, steps=STEPS)
    expected = [v.norm(dim=-1)]
    for t in range(STEPS - 1, -1, -1):
        start = states[t].detach().requires_grad_()
        last = srnn.rollout(net, name, start, dt=DT, steps=STEPS - t)[-1]
        expected.append(torch.autograd.grad(last, start, v)[0].norm(dim=-1))
    norms = norms_through_time(net, name, z0, dt=DT, steps=STEPS, cotangent=v)
    torch.testing.assert_close(norms, torch.stack(expected[::-1]), rtol=1e-11, atol=0)


@pytest.mark.parametrize("bounded", [False, True])
def test_the_norms_of_an_rnn_are_those_of_a_loop_by_hand(bounded: bool) -> None:
    net, z0, v = recurrent("rnn", bounded), randn(1, 3, 4), randn(2, 3, 4)
    z, h = z0.clone().requires_grad_(), torch.zeros(3, net.hidden, dtype=F64, requires_grad=True)
    handed_on = [(z, h)]
    for _ in range(STEPS):
        h = torch.tanh(net.inward(z) + net.recurrent(h))
        z = h if bounded else net.readout(h)
        z, h = z.clone(), h.clone()  # what the next step takes, each a variable of its own
        handed_on.append((z, h))
    norms = norms_through_time(net, None, z0, dt=DT, steps=STEPS, cotangent=v)
    for pair, norm in zip(handed_on, norms, strict=True):
        found = torch.autograd.grad(
            z, pair, v, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        torch.testing.assert_close(norm, torch.cat(found, -1).norm(dim=-1), rtol=1e-12, atol=0)


def test_the_norms_of_an_lstm_are_those_of_a_loop_by_hand() -> None:
    net, z0, v = recurrent("lstm"), randn(1, 3, 4), randn(2, 3, 4)
    z = z0.clone().requires_grad_()
    h, c = (torch.zeros(3, 3, dtype=F64, requires_grad=True) for _ in range(2))
    handed_on = [(z, h, c)]
    for _ in range(STEPS):
        gates = net.inward(z) + net.recurrent(h)
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        z, h, c = net.readout(h), h.clone(), c.clone()
        handed_on.append((z, h, c))
    norms = norms_through_time(net, None, z0, dt=DT, steps=STEPS, cotangent=v)
    for three, norm in zip(handed_on, norms, strict=True):
        found = torch.autograd.grad(
            z, three, v, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        torch.testing.assert_close(norm, torch.cat(found, -1).norm(dim=-1), rtol=1e-12, atol=0)


def test_the_gradient_of_a_loss_at_the_end_is_a_cotangent() -> None:
    net, z0, target = random_hnet(0), randn(1, 3, 4), randn(2, 3, 4)
    start = z0.clone().requires_grad_()
    last = srnn.rollout(net, "leapfrog", start, dt=DT, steps=STEPS)[-1]
    (last - target).square().sum().backward()
    norms = norms_through_time(
        net, "leapfrog", z0, dt=DT, steps=STEPS, cotangent=2 * (last.detach() - target)
    )
    assert start.grad is not None
    torch.testing.assert_close(norms[0], start.grad.norm(dim=-1), rtol=1e-12, atol=0)


# -- what comes back --------------------------------------------------------------------------


def test_a_random_cotangent_has_norm_one_and_comes_from_the_generator() -> None:
    net, z0 = random_hnet(0), randn(1, 3, 4)

    def norms(seed: int | None, z0: Tensor = z0) -> Tensor:
        generator = None if seed is None else seeded(seed)
        net.to(z0.dtype)
        return norms_through_time(net, "leapfrog", z0, dt=DT, steps=2, generator=generator)

    torch.testing.assert_close(norms(0)[-1], torch.ones(3, dtype=F64), rtol=1e-14, atol=0)
    assert torch.equal(norms(0), norms(0))
    assert not torch.equal(norms(0), norms(1))
    assert not torch.equal(norms(None), norms(None))
    single = norms(0, z0.float())
    assert single.dtype == torch.float32  # and the same directions
    torch.testing.assert_close(single.double(), norms(0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("how", ["leapfrog", "tao2", None])
def test_a_batch_is_its_members(how: str | None) -> None:
    net = recurrent("lstm") if how is None else random_hnet(0)
    z0, v = randn(1, 2, 3, 4), randn(2, 2, 3, 4)
    together = norms_through_time(net, how, z0, dt=DT, steps=3, cotangent=v)
    assert together.shape == (4, 2, 3)
    alone = norms_through_time(net, how, z0[1, 2], dt=DT, steps=3, cotangent=v[1, 2])
    assert alone.shape == (4,)
    torch.testing.assert_close(together[:, 1, 2], alone, rtol=1e-12, atol=0)
    one = norms_through_time(net, how, z0, dt=DT, steps=3, cotangent=v[1, 2])
    torch.testing.assert_close(one[:, 1, 2], alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize("how", ["euler", "leapfrog", "tao2"])
def test_substeps_are_steps_that_are_not_shown(how: str) -> None:
    net, z0, v = random_hnet(0), randn(1, 3, 4), randn(2, 3, 4)
    fine = norms_through_time(net, how, z0, dt=0.05, steps=6, cotangent=v)
    coarse = norms_through_time(net, how, z0, dt=0.1, steps=3, substeps=2, cotangent=v)
    torch.testing.assert_close(coarse, fine[::2], rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["hnet", "lstm"])
def test_nothing_is_written_and_no_graph_is_left(kind: str) -> None:
    net, how = (random_hnet(0), "leapfrog") if kind == "hnet" else (recurrent("lstm"), None)
    z0, v = randn(1, 3, 4).requires_grad_(), randn(2, 3, 4).requires_grad_()
    before = [x.detach().clone() for x in (z0, v, *net.parameters())]
    for weight in net.parameters():
        weight.grad = torch.full_like(weight, 7.0)
    random = torch.get_rng_state()
    with torch.no_grad():
        norms = norms_through_time(net, how, z0, dt=DT, steps=3, cotangent=v)
    assert not norms.requires_grad
    assert torch.equal(norms, norms_through_time(net, how, z0, dt=DT, steps=3, cotangent=v))
    norms_through_time(net, how, z0, dt=DT, steps=3)
    assert z0.grad is None
    assert v.grad is None
    for x, old in zip((z0, v, *net.parameters()), before, strict=True):
        assert torch.equal(x, old)
    assert all(bool((weight.grad == 7).all()) for weight in net.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_one_steps_graph_exists_at_a_time() -> None:
    alive, most = 0, 0

    class Kept:
        def __init__(self, value: Tensor) -> None:
            nonlocal alive, most
            self.value = value
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    peaks = []
    for steps in (2, 40):
        alive, most = 0, 0
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.value):
            norms_through_time(random_hnet(0), "leapfrog", randn(1, 3, 4), dt=DT, steps=steps)
        peaks.append(most)
    assert peaks[0] == peaks[1] > 0


def test_norms_of_a_rollout_that_overflows_are_not_finite() -> None:
    system = srnn.systems.HenonHeiles()
    z0 = torch.tensor([[50.0, 50.0, 0.0, 0.0]])
    norms = norms_through_time(system, "euler", z0, dt=1.0, steps=12)
    assert norms.shape == (13, 1)
    assert not bool(norms[0].isfinite().any())
    assert bool(norms[-1].isfinite().all())


# -- methods whose state is more than (q, p) --------------------------------------------------


def test_a_reused_kick_counts_as_leapfrog_where_it_is_leapfrog() -> None:
    net, z0, v = random_hnet(0), randn(1, 3, 4), randn(2, 3, 4)
    reused, plain = (
        norms_through_time(net, name, z0, dt=DT, steps=STEPS, cotangent=v)
        for name in ("leapfrog-reused-kick", "leapfrog")
    )
    torch.testing.assert_close(reused, plain, rtol=1e-13, atol=0)


class Momentum:
    """Euler's method with a running mean of the slopes: its state is a pair."""

    name, order, symplectic = "momentum", 1, False

    def init(self, field: Any, z0: Tensor) -> Any:
        return z0, torch.zeros_like(z0)

    def step(self, field: Any, state: Any, dt: float) -> Any:
        z, slope = state
        slope = (slope + field(z)) / 2
        return z + dt * slope, slope

    def read(self, state: Any) -> Tensor:
        read: Tensor = state[0]
        return read


def test_a_method_with_a_memory_of_its_own_is_refused() -> None:
    onet = srnn.ONet(2, 4, generator=seeded(0), dtype=F64)
    expected = (
        r"Expected a method whose state is \(q, p\); 'leapfrog-reused-kick' hands on more than "
        r"that to the next step of ONet.*Use 'leapfrog'\."
    )
    with pytest.raises(ValueError, match=expected):
        norms_through_time(onet, "leapfrog-reused-kick", randn(0, 3, 4), dt=DT, steps=2)
    with pytest.raises(ValueError, match=r"whose state is \(q, p\); 'momentum' hands on more"):
        norms_through_time(random_hnet(0), Momentum(), randn(0, 3, 4), dt=DT, steps=2)


# -- refusals ---------------------------------------------------------------------------------


BROADCAST = "Expected `cotangent` to broadcast to the shape of `z0` (3, 4); got {}."
WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("steps", 2.5, "Expected `steps` to be an integer; got 2.5."),
    ("integrator", None, "Expected an integrator or its name; got NoneType."),
    ("z0", torch.zeros(1, 4), "Expected `z0` and `field` to have one dtype"),
    (
        *("cotangent", torch.zeros(4)),
        "Expected `cotangent` and `z0` to have one dtype; got torch.float32 and torch.float64.",
    ),
    ("cotangent", [1.0] * 4, "Expected `cotangent` to be a torch.Tensor; got list."),
    ("generator", 0, "Expected `generator` to be a torch.Generator or None"),
    (
        *("field", srnn.SRNN(dim=2, hidden=4)),
        "Expected a field; got the model SRNN. Pass model.field",
    ),
]
WRONG_VALUES: list[tuple[str, Any, str]] = [
    ("dt", 0.0, "Expected `dt` to be a positive finite number; got 0.0."),
    ("steps", 0, "Expected `steps` to be at least 1; got 0."),
    ("substeps", 0, "Expected `substeps` to be at least 1; got 0."),
    ("integrator", "verlet", "Unknown `integrator`: 'verlet'."),
    ("z0", torch.zeros(1, 3), "Expected `z0` to have shape (batch, 2*dim)"),
    *(
        ("cotangent", torch.zeros(shape, dtype=F64), BROADCAST.format(shape))
        for shape in ((2, 4), (5, 3, 4), (3, 1), ())
    ),
    (
        *("field", srnn.RNN(2, 3)),
        "RNN is its own step from one time to the next; pass integrator=None",
    ),
]


def test_bad_input_is_refused_in_words() -> None:
    good: dict[str, Any] = {"field": random_hnet(0), "integrator": "leapfrog", "dt": DT}
    good |= {"z0": randn(0, 3, 4), "steps": 2}
    norms_through_time(**good)
    for error, cases in ((TypeError, WRONG_TYPES), (ValueError, WRONG_VALUES)):
        for name, value, text in cases:
            with pytest.raises(error, match=re.escape(text)):
                norms_through_time(**(good | {name: value}))
