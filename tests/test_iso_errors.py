"""Initial-state optimisation: what it leaves alone, what it refuses, and in which words."""

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch
from helpers import F64, JointHNet, ProductH, randn, random_hnet, seeded
from torch import Tensor

import srnn
from srnn.starts.iso import METHODS, IsoStatus, optimise_initial_state

CHAIN = srnn.systems.SpringChain([1.0, 2.0, 0.5], [5.0, 4.0, 6.0, 3.0])


def noisy(count: int = 4, dtype: torch.dtype = F64) -> srnn.Trajectories:
    data = CHAIN.simulate(count, steps=5, dt=0.1, generator=seeded(0), dtype=dtype)
    return data.with_noise(0.2, generator=seeded(1))


# -- what is left alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_the_callers_is_touched(method: str) -> None:
    net = random_hnet(0, dim=3)
    first, *others = net.parameters()
    first.grad = torch.full_like(first, 7.0)
    first.requires_grad_(False)
    weights_before = [w.detach().clone() for w in net.parameters()]
    y = noisy().values.clone().requires_grad_()
    mask = torch.ones(y.shape, dtype=torch.bool)
    mask[2, 1] = False
    weights = torch.ones_like(y.detach())
    initial = y[0].detach().clone()
    given = (y, mask, weights, initial)
    copies = [t.detach().clone() for t in given]
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    settings = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    net.train()
    found = optimise_initial_state(
        net, y, dt=0.1, method=method, mask=mask, weights=weights, initial=initial
    )
    assert torch.equal(first.grad, torch.full_like(first, 7.0))
    assert not first.requires_grad
    assert all(w.grad is None and w.requires_grad for w in others)
    assert y.grad is None
    now, then = (*given, *net.parameters()), (*copies, *weights_before)
    for tensor, before in zip(now, then, strict=True):
        assert torch.equal(tensor, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert settings == (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )
    assert net.training
    for name in ("states", "loss", "covariance", "sigma"):
        assert not getattr(found, name).requires_grad
    assert found.states.data_ptr() != initial.data_ptr()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_it_works_whatever_the_callers_grad_mode(method: str, context: Any) -> None:
    data, net = noisy(), random_hnet(0, dim=3)
    expected = optimise_initial_state(net, data, method=method)
    with context():
        found = optimise_initial_state(net, data, method=method)
    torch.testing.assert_close(found.states, expected.states, rtol=0, atol=0)
    assert not found.states.requires_grad
    assert not found.states.is_inference()


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_made_on_the_observations_device(method: str) -> None:
    """A factory call without a device would make a tensor on "meta", which has no numbers."""
    data, net = noisy(), random_hnet(0, dim=3)
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[:, 0] = False  # the paths for what is singular as well
    mask[1:, 1] = False
    points = mask[..., None] & torch.tensor([True, True, True, False, False, False])
    expected = optimise_initial_state(net, data, method=method, mask=points)
    with torch.device("meta"):
        found = optimise_initial_state(net, data, method=method, mask=points)
    assert {found.states.device.type, found.status.device.type} == {"cpu"}
    torch.testing.assert_close(found.states, expected.states, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(
        found.covariance, expected.covariance, rtol=0, atol=0, equal_nan=True
    )


def test_dtypes_that_may_be_mixed() -> None:
    data = noisy()
    weights = torch.rand(data.values.shape, generator=seeded(0)) + 0.5
    narrow = optimise_initial_state(CHAIN, data, weights=weights)
    wide = optimise_initial_state(CHAIN, data, weights=weights.double())
    assert torch.equal(narrow.states, wide.states)
    assert narrow.states.dtype == F64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("units", [torch.float32, torch.float64])
def test_a_model_without_weights_takes_the_dtype_of_the_observations(
    dtype: torch.dtype, units: torch.dtype
) -> None:
    model = srnn.SRNN(CHAIN.dim, hamiltonian=CHAIN.shadow_hamiltonian(0.1)).to(units)
    data = noisy(dtype=dtype)
    found = optimise_initial_state(model, data)
    assert found.states.dtype == dtype
    expected = optimise_initial_state(CHAIN.shadow_hamiltonian(0.1), data)
    torch.testing.assert_close(found.states, expected.states)


# -- models that cannot be differentiated ---------------------------------------------------------


class Oscillator:
    dim, separable = 3, True

    def __call__(self, z: Tensor) -> Tensor:
        return z.square().sum(dim=-1) / 2

    def kinetic_gradient(self, p: Tensor) -> Tensor:
        return p

    def potential_gradient(self, q: Tensor) -> Tensor:
        return q + q**3


class Detaching(Oscillator):
    def potential_gradient(self, q: Tensor) -> Tensor:
        return super().potential_gradient(q).detach()


class Rounding(Oscillator):
    def potential_gradient(self, q: Tensor) -> Tensor:
        return super().potential_gradient(q.round(decimals=4))


class ThroughNumPy(Oscillator):
    def potential_gradient(self, q: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(q.detach().numpy()) ** 3)


class WrongHessian(Oscillator):
    def kinetic_hessian(self, p: Tensor) -> Tensor:
        return torch.eye(3, dtype=p.dtype).expand(*p.shape, 3)

    def potential_hessian(self, q: Tensor) -> Tensor:
        return -torch.diag_embed(1 + 3 * q**2)


class DetachingRNN(srnn.RNN):
    def step(self, field: Any, state: Any, dt: float) -> Any:
        return super().step(field, state._replace(z=state.z.detach()), dt)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("model", [Detaching, Rounding, ThroughNumPy, WrongHessian, DetachingRNN])
def test_a_model_without_the_derivatives_of_its_values_is_refused(
    model: Any, dtype: torch.dtype, method: str
) -> None:
    data = noisy(dtype=dtype)
    if model is DetachingRNN:
        net = model(3, 8, generator=seeded(0), dtype=dtype)
    else:
        net = model()
    text = f"{model.__name__} cannot be differentiated in its initial state, which the optimi"
    with pytest.raises(TypeError, match=text):
        optimise_initial_state(net, data, method=method)
    one = optimise_initial_state(net, data.values[:1], dt=0.1, method=method)  # not asked of it
    assert torch.equal(one.states, data.values[0])


class Walls(Oscillator):
    """Walls with a force of their own, whose kinks lie where the start is."""

    def potential_gradient(self, q: Tensor) -> Tensor:
        return 100 * torch.relu(q) - 40 * torch.relu(-q)


class SinglePrecision(Oscillator):
    """Computes in single precision whatever comes."""

    def potential_gradient(self, q: Tensor) -> Tensor:
        return super().potential_gradient(q.float()).to(q.dtype)


class Fine(Oscillator):
    """A force whose slope changes sign thirty times in a unit of length."""

    def potential_gradient(self, q: Tensor) -> Tensor:
        return q + torch.sin(100 * q) / 10


FALSE_ALARMS = [
    ("fine structure", Fine(), 1.0, 0.1),
    ("at a kink", Walls(), 0.0, 0.1),
    ("single precision inside", SinglePrecision(), 1.0, 0.1),
    ("single precision inside, near equilibrium", SinglePrecision(), 1e-6, 0.1),
    ("tiny steps", Oscillator(), 1.0, 1e-6),
    ("large steps", Oscillator(), 1.5, 0.3),
    ("large numbers", CHAIN, 1e8, 0.1),
    ("tiny numbers", CHAIN, 1e-12, 0.1),
    ("a wide net of large weights", random_hnet(0, dim=3, hidden=(64, 64)), 1.0, 0.5),
]
CALM = {IsoStatus.CONVERGED, IsoStatus.STALLED, IsoStatus.MAX_ITERATIONS}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", FALSE_ALARMS, ids=lambda case: case[0])
def test_no_false_alarm(case: Any, dtype: torch.dtype) -> None:
    _, model, size, dt = case
    if isinstance(model, torch.nn.Module):
        model = copy.deepcopy(model).to(dtype)
    z0 = (size * randn(0, 2, 6)).to(dtype)
    states = srnn.rollout(model, "leapfrog", z0, dt=dt, steps=4).detach()
    # At the optimum, where the loss and its slope are nothing but rounding; and in the noise.
    for y in (states, states + (0.1 * size * randn(1, *states.shape)).to(dtype)):
        found = optimise_initial_state(model, y, dt=dt)
        assert set(found.status.tolist()) <= CALM


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_false_alarm_in_chaos(dtype: torch.dtype) -> None:
    """A neighbouring orbit is hundreds of times further off at the end."""
    system = srnn.systems.HenonHeiles()
    z0 = torch.tensor([[0.0, -0.15, 0.52, 0.0], [0.3, 0.2, 0.2, 0.3]], dtype=dtype)
    y = srnn.rollout(system, "leapfrog", z0, dt=0.5, steps=150)
    _, jacobians = srnn.flow_map.flow_map(system, "leapfrog", z0, dt=0.5, steps=150)
    assert float(torch.linalg.matrix_norm(jacobians[-1], ord=2).max()) > 1e2
    optimise_initial_state(
        system, y + 0.01 * randn(0, *y.shape).to(dtype), dt=0.5, max_iterations=3
    )


def test_an_error_of_the_models_own_is_not_taken_for_a_missing_derivative() -> None:
    class Broken(Oscillator):
        def potential_gradient(self, q: Tensor) -> Tensor:
            return q @ torch.ones(2, 2, dtype=q.dtype)

    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        optimise_initial_state(Broken(), noisy())


# -- refusals -------------------------------------------------------------------------------------

Y = noisy().values
NET32 = srnn.HNet(3, 8, generator=seeded(0))
RNN = srnn.RNN(3, 8, generator=seeded(0), dtype=F64)
SHAPES = "Expected `{}` to have the shape of the observed states (6, 4, 6), or (time, batch); got "
REFUSED: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    (CHAIN, Y, {}, ValueError, "Observations in a tensor need `dt`, the time between two states."),
    (CHAIN, Y, {"dt": 0.0}, ValueError, "Expected `dt` to be a positive finite number; got 0.0."),
    (CHAIN, Y.numpy(), {"dt": 0.1}, TypeError, "Expected `observed` to be a torch.Tensor; got nd"),
    (CHAIN, Y.half(), {"dt": 0.1}, TypeError, "Unknown dtype of `observed`: torch.float16."),
    (CHAIN, Y[0], {"dt": 0.1}, ValueError, "Expected `observed` to have shape (time, batch, 2*di"),
    (CHAIN, Y[:, :0], {"dt": 0.1}, ValueError, "and at least one state; got (6, 0, 6)."),
    (CHAIN, Y[..., :4], {"dt": 0.1}, ValueError, "Expected `observed` to have shape"),
    (NET32, Y, {"dt": 0.1}, TypeError, "Expected `observed` and `model` to have one dtype; got to"),
    (CHAIN, Y / 0, {"dt": 0.1}, ValueError, "Expected `observed` to be finite where it counts; it"),
    (CHAIN, noisy(), {"dt": 0.07}, ValueError, "a whole fraction of the observed spacing, 0.1; go"),
    (CHAIN, noisy(), {"dt": 0.2}, ValueError, "a whole fraction of the observed spacing, 0.1; go"),
    (CHAIN, noisy(), {"method": "adam"}, ValueError, "Unknown `method`: 'adam'. Known: 'gauss-ne"),
    (CHAIN, noisy(), {"loss_from": 2}, ValueError, "Unknown `loss_from`: 2. Known: 0, 1."),
    (CHAIN, noisy(), {"integrator": "verlet"}, ValueError, "verlet"),
    (CHAIN, noisy(), {"sigma": -1.0}, ValueError, "Expected `sigma` to be a positive finite numb"),
    (CHAIN, noisy(), {"max_iterations": 0}, ValueError, "Expected `max_iterations` to be at least"),
    (CHAIN, noisy(), {"tolerance": 0}, ValueError, "Expected `tolerance` to be a positive finite"),
    (CHAIN, noisy(), {"mask": torch.ones(6, 4, dtype=torch.int64)}, TypeError, "got torch.int64."),
    (CHAIN, noisy(), {"mask": [True]}, TypeError, "True where there is an observation; got list."),
    (CHAIN, noisy(), {"mask": torch.ones(5, 4) > 0}, ValueError, SHAPES.format("mask") + "(5, 4)."),
    (CHAIN, noisy(), {"weights": Y[:4]}, ValueError, SHAPES.format("weights") + "(4, 4, 6)."),
    (CHAIN, noisy(), {"weights": -Y.abs()}, ValueError, "Expected `weights` to be finite and not"),
    (CHAIN, noisy(), {"weights": Y > 0}, TypeError, "Expected `weights` to hold floating-point nu"),
    (CHAIN, noisy(), {"weights": 0 * Y}, ValueError, "No point is observed in any trajectory from"),
    (CHAIN, noisy(), {"initial": Y[0, :2]}, ValueError, "(batch, 2*dim) = (4, 6); got (2, 6)."),
    (CHAIN, noisy(), {"initial": Y[0].float()}, TypeError, "Expected `initial` and `observed` to"),
    (CHAIN, noisy(), {"initial": Y[0] / 0}, ValueError, "Expected `initial` to be finite; "),
    (RNN, noisy(), {"integrator": "euler"}, ValueError, "RNN is its own step from one time to the"),
    (RNN, noisy(), {"dt": 0.05}, ValueError, "RNN has learnt one step from an observed state to "),
    (JointHNet(0, dim=3), noisy(), {}, ValueError, "separable"),
    (torch.sin, noisy(), {}, TypeError, "Expected a field, a Hamiltonian"),
]


@pytest.mark.parametrize(("model", "observed", "settings", "error", "text"), REFUSED)
def test_refusals(
    model: Any, observed: Any, settings: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        optimise_initial_state(model, observed, **settings)


def test_trajectories_marked_as_doubtful_are_refused() -> None:
    data = srnn.Trajectories.from_states(Y, dt=0.1, status=torch.tensor([0, 1, 0, 0]))
    with pytest.raises(ValueError, match=r"observed.select\(observed.status == 0\)"):
        optimise_initial_state(CHAIN, data)
    found = optimise_initial_state(CHAIN, data.select(data.status == 0))
    assert len(found.states) == 3


def test_a_recurrent_model_knows_one_spacing_and_no_integrator() -> None:
    model = srnn.Model(srnn.RNN(3, 8, generator=seeded(0), dtype=F64), None, generator=seeded(1))
    model.fit(noisy(), epochs=1, progress=False)
    assert optimise_initial_state(model, noisy()).states.shape == (4, 6)
    with pytest.raises(ValueError, match=r"has learnt steps of dt=0\.1 and knows no others"):
        optimise_initial_state(model, Y, dt=0.2)
    with pytest.raises(ValueError, match="RNN is its own step from one time to the next; leave"):
        optimise_initial_state(model, noisy(), integrator="leapfrog")


def test_a_hamiltonian_that_is_not_separable_takes_the_integrators_for_it() -> None:
    z0 = torch.tensor([[0.5, 0.2]], dtype=F64)
    y = srnn.rollout(ProductH(), "tao2", z0, dt=0.1, steps=5)
    for name in ("tao2", "implicit-midpoint", "rk4"):
        found = optimise_initial_state(ProductH(), y, dt=0.1, integrator=name)
        torch.testing.assert_close(found.states, z0, rtol=0, atol=1e-2)
