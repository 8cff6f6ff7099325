import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import F64, JointHNet, ProductH, randn, random_hnet, seeded

import srnn
from srnn.motion import integrators

SEPARABLE = [name for name in integrators.available() if not name.startswith(("tao", "implicit"))]


def quadratic_h(seed: int) -> srnn.QuadraticH:
    net = srnn.QuadraticH(2, dtype=F64)
    with torch.no_grad():
        for form in (net.kinetic, net.potential):
            form.matrix.add_(0.3 * torch.randn(2, 2, generator=seeded(seed)))
            form.vector.add_(0.3 * torch.randn(2, generator=seeded(seed + 1)))
    return net


NETS = {
    "hnet": lambda: random_hnet(0, hidden=4),
    "deep-hnet": lambda: random_hnet(1, hidden=(4, 3, 4)),
    "quadratic-hnet": lambda: random_hnet(2, hidden=4, quadratic=True),
    "quadratic": lambda: quadratic_h(0),
    "onet": lambda: srnn.ONet(2, 4, generator=seeded(0), dtype=F64),
    "joint": lambda: JointHNet(0, hidden=4),
    "rnn": lambda: srnn.RNN(2, 3, generator=seeded(0), dtype=F64),
    "lstm": lambda: srnn.LSTM(2, 3, generator=seeded(0), dtype=F64),
}
# Every family of networks, and every kind of integrator on at least one of them.
PAIRS = [
    ("hnet", "leapfrog"),
    ("hnet", "euler"),
    ("hnet", "implicit-midpoint"),
    ("deep-hnet", "leapfrog"),
    ("deep-hnet", "yoshida4"),
    ("quadratic-hnet", "leapfrog-drift"),
    ("quadratic-hnet", "rk4"),
    ("quadratic", "leapfrog"),
    ("quadratic", "implicit-midpoint"),
    ("onet", "euler"),
    ("onet", "leapfrog"),
    ("onet", "leapfrog-reused-kick"),
    ("onet", "implicit-midpoint"),
    ("joint", "tao2"),
    ("joint", "implicit-midpoint"),
    ("rnn", None),
    ("lstm", None),
]


@pytest.mark.parametrize(("kind", "how"), PAIRS)
def test_gradients_in_the_start_and_in_every_weight(kind: str, how: str | None) -> None:
    net, z0 = NETS[kind](), randn(0, 2, 4).requires_grad_()

    def roll(z0: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        # gradcheck moves the weights in place, so that the network sees them move.
        return srnn.rollout(net, how, z0, dt=0.3, steps=2)

    assert torch.autograd.gradcheck(roll, (z0, *net.parameters()))


# -- what comes back --------------------------------------------------------------------------


@pytest.mark.parametrize("name", integrators.available())
def test_states_come_in_order_and_the_first_is_the_start(name: str) -> None:
    net, z0 = random_hnet(0), randn(0, 3, 4)
    z = srnn.rollout(net, name, z0, dt=0.1, steps=4, gradient="autograd")
    assert z.shape == (5, 3, 4)
    assert torch.equal(z[0], z0)
    method, field = integrators.get(name), srnn.fields.as_field(net)
    state = method.init(field, z0)
    for k in range(4):
        state = method.step(field, state, 0.1)
        assert torch.equal(z[k + 1], method.read(state))
    # The fastest way adds up in another order.
    assert (srnn.rollout(net, name, z0, dt=0.1, steps=4) - z).abs().max() < 1e-13


@pytest.mark.parametrize("name", integrators.available())
def test_a_batch_is_integrated_as_its_members_are(name: str) -> None:
    net, z0 = random_hnet(0), randn(0, 2, 3, 4)
    together = srnn.rollout(net, name, z0, dt=0.1, steps=3)
    assert together.shape == (4, 2, 3, 4)
    alone = srnn.rollout(net, name, z0[1, 2], dt=0.1, steps=3)
    assert alone.shape == (4, 4)
    torch.testing.assert_close(together[:, 1, 2], alone, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["euler", "leapfrog", "tao2"])
def test_substeps_are_steps_that_are_not_shown(name: str) -> None:
    net, z0 = random_hnet(0), randn(0, 3, 4)
    fine = srnn.rollout(net, name, z0, dt=0.05, steps=12)
    coarse = srnn.rollout(net, name, z0, dt=0.2, steps=3, substeps=4)
    torch.testing.assert_close(coarse, fine[::4], rtol=0, atol=1e-14)


def test_backward_is_a_negative_step() -> None:
    oscillator, z0 = srnn.systems.MassSpring(), torch.tensor([[1.0, 0.0]], dtype=F64)
    z = srnn.rollout(oscillator, "yoshida8", z0, dt=0.1, steps=10, backward=True)[-1, 0]
    # q = cos t and p = -sin t, at t = -1.
    assert z.tolist() == pytest.approx([np.cos(1), np.sin(1)], abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", integrators.available())
def test_the_dtype_is_that_of_the_start(name: str, dtype: torch.dtype) -> None:
    system = srnn.systems.HenonHeiles()
    z0 = 0.2 * randn(0, 3, 4).to(dtype)
    assert srnn.rollout(system, name, z0, dt=0.1, steps=2).dtype == dtype


@pytest.mark.parametrize("name", integrators.available())
def test_odd_input_is_taken_and_never_written_to(name: str) -> None:
    net = random_hnet(0)
    plain = randn(0, 3, 4)
    strided = torch.stack((plain, plain + 1), dim=-1)[..., 0]
    assert not strided.is_contiguous()
    graded = plain.clone().requires_grad_()
    broadcast = plain[:1].expand(3, 4)
    expected = srnn.rollout(net, name, plain, dt=0.1, steps=3).detach()
    for z0 in (strided, graded):
        before = z0.detach().clone()
        assert torch.equal(srnn.rollout(net, name, z0, dt=0.1, steps=3).detach(), expected)
        assert torch.equal(z0, before)
    assert graded.grad is None
    assert srnn.rollout(net, name, broadcast, dt=0.1, steps=3).shape == (4, 3, 4)


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), float("inf")])
def test_a_step_that_is_not_positive_is_refused(dt: float) -> None:
    with pytest.raises(ValueError, match="Expected `dt` to be a positive finite number; got"):
        srnn.rollout(ProductH(), "euler", torch.zeros(1, 2), dt=dt, steps=1)


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"Expected `steps` to be at least 1; got {steps}"):
        srnn.rollout(ProductH(), "euler", torch.zeros(1, 2), dt=0.1, steps=steps)
    with pytest.raises(ValueError, match=f"Expected `substeps` to be at least 1; got {steps}"):
        srnn.rollout(ProductH(), "euler", torch.zeros(1, 2), dt=0.1, steps=1, substeps=steps)


@pytest.mark.parametrize("shape", [(1, 3), (4,), (2, 1)])
def test_a_start_of_the_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"Expected `z0` to have shape \(batch, 2\*dim\) with dim=1; go"
    ):
        srnn.rollout(ProductH(), "euler", torch.zeros(shape), dt=0.1, steps=1)


def test_an_unknown_integrator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown `integrator`: 'verlet'\. Known: 'euler', 'symp"):
        srnn.rollout(ProductH(), "verlet", torch.zeros(1, 2), dt=0.1, steps=1)


@pytest.mark.parametrize("kind", ["hnet", "onet", "quadratic", "rnn"])
def test_a_start_of_another_dtype_than_the_weights_is_refused(kind: str) -> None:
    how = None if kind == "rnn" else "leapfrog"
    expected = r"Expected `z0` and `field` to have one dtype; got torch.float32 and torch.float64"
    with pytest.raises(TypeError, match=expected):
        srnn.rollout(NETS[kind](), how, torch.zeros(1, 4), dt=0.1, steps=1)


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_a_recurrent_network_takes_no_integrator_and_no_time(kind: str) -> None:
    net, z0 = NETS[kind](), torch.zeros(1, 4, dtype=F64)
    with pytest.raises(ValueError, match=r"its own step .* pass integrator=None, not 'leapfrog'"):
        srnn.rollout(net, "leapfrog", z0, dt=0.1, steps=1)
    with pytest.raises(ValueError, match="one step forward in time: `backward` and `substeps`"):
        srnn.rollout(net, None, z0, dt=0.1, steps=1, backward=True)
    with pytest.raises(ValueError, match="one step forward in time: `backward` and `substeps`"):
        srnn.rollout(net, None, z0, dt=0.1, steps=1, substeps=2)


def test_a_network_without_an_integrator_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected an integrator or its name; got NoneType"):
        srnn.rollout(random_hnet(0), None, torch.zeros(1, 4, dtype=F64), dt=0.1, steps=1)


# -- nothing else changes ---------------------------------------------------------------------

GLOBAL_STATE = """
import random
import numpy, torch
def state():
    return [
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        random.getstate(),
        str(numpy.random.get_state()),
        numpy.geterr(),
    ]
"""


def test_importing_srnn_changes_no_global_state() -> None:
    code = GLOBAL_STATE + "before = state()\nimport srnn\nassert state() == before"
    subprocess.run([sys.executable, "-c", code], cwd=Path(srnn.__file__).parent.parent, check=True)


def test_using_the_core_changes_no_global_state() -> None:
    scope: dict = {}
    exec(GLOBAL_STATE, scope)
    before = scope["state"]()
    data = srnn.systems.HenonHeiles().simulate(4, steps=5, dt=0.1).with_noise(0.1)
    data.split(0.5)
    for net in (srnn.HNet(2, 4, quadratic=True), srnn.ONet(2, 4)):
        srnn.rollout(net, "leapfrog", data.values[0], dt=0.1, steps=3)
    srnn.rollout(srnn.LSTM(2, 4), None, data.values[0], dt=0.1, steps=3)
    for name in integrators.available():
        srnn.rollout(srnn.HNet(2, 4), name, data.values[0], dt=0.1, steps=2).sum().backward()
    assert scope["state"]() == before
