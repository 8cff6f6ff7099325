"""Code follows the device of its input: everywhere, and to the last tensor.

Most machines that run these tests have no second device, so that one is emulated: an `Elsewhere`
tensor says that it is on another device, keeps its numbers on the CPU, and refuses to meet a tensor
of the CPU, as a GPU does.  Paths that read numbers, such as a fit, run on it as they do anywhere,
forwards and backwards, and their results are compared with those of the CPU.  Where there is a real
GPU the same paths run on it.  Those that read no numbers also run under a FakeTensorMode, whose
tensors say that they are on "cuda": with their gradients where PyTorch was built with CUDA, without
them elsewhere, because its autograd asks the device's driver.

Every path names what it covers, and NOT_RUN gives the reason for everything public that none does.
"""

import copy
import dataclasses
import importlib
import inspect
import math
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import F64, JointHNet, seeded
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

import srnn
from srnn import rebound, systems, training
from srnn.data.residual import Observed, mean_loss, weights_of
from srnn.data.units import Units, inverse_mass
from srnn.model.fitted import Fitted
from srnn.motion import adjoint, fields, integrators, scaling
from srnn.motion.motion import Motion, as_motion
from srnn.motion.rollout import integrate
from srnn.nn.network import Configured, Network, asked
from srnn.results import diagnostics, metrics
from srnn.starts import convexity, iso, likelihood
from srnn.starts import optimised as starts
from srnn.training import losses, resuming
from srnn.training.guess import variable_projection, warm_start
from srnn.training.recipes import Recipe

# -- a second device ------------------------------------------------------------------------------

# The name of the device that PyTorch itself keeps no numbers for; it is the one beside "cpu" whose
# tensors autograd takes in every build of PyTorch.
NAME = "meta"


class Elsewhere(Tensor):
    """A tensor on the emulated device."""

    is_meta = False  # that nothing takes it for a tensor without numbers
    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Elsewhere":
        return Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=NAME,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"Elsewhere({self.inner})"

    def tolist(self) -> Any:  # PyTorch refuses it to subclasses, though not to a GPU's tensors
        return self.inner.tolist()

    def new_tensor(self, data: Any) -> Tensor:  # PyTorch's own leaves it on the CPU
        return torch.tensor(data, dtype=self.dtype).to(NAME)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Elsewhere":
        if id(self) not in memo:
            made = Elsewhere(self.inner.clone()).requires_grad_(self.requires_grad)
            made.__dict__.update({k: v for k, v in self.__dict__.items() if k != "inner"})
            memo[id(self)] = made
        return memo[id(self)]

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        assert isinstance(value, Elsewhere)
        assert (value.shape, value.dtype) == (self.shape, self.dtype)
        self.inner = value.inner


_ATEN = torch.ops.aten
_CROSSING = {_ATEN.copy_.default, _ATEN._to_copy.default}
_INDEXING = {_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default}
_FILLING = {_ATEN.fill_.Tensor, _ATEN.masked_fill.Tensor, _ATEN.masked_fill_.Tensor}


def _tensors(nested: Any) -> Iterator[Tensor]:
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, (list, tuple)):
        for each in nested:
            yield from _tensors(each)


def _mapped(nested: Any, change: Callable[[Tensor], Any], kind: type) -> Any:
    if isinstance(nested, kind):
        return change(nested)
    if isinstance(nested, (list, tuple)):
        return type(nested)(_mapped(each, change, kind) for each in nested)
    return nested


def _check_devices(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """Refuse tensors of two devices in one operation, where a GPU would."""
    if func in _CROSSING:
        return
    if func in _INDEXING and isinstance(args[0], Elsewhere):
        tensors = [args[0], *_tensors(args[2:])]  # indices may come from the CPU
    here = [x for x in tensors if not isinstance(x, Elsewhere)]
    if not here or len(here) == len(tensors):
        return
    scalars = torch.Tag.pointwise in func.tags or func in _FILLING
    if not (scalars and all(x.ndim == 0 for x in here)):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{NAME} and cpu, in {func}, the latter of shape {tuple(here[0].shape)}"
        )


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [*_tensors(args), *_tensors(tuple(kwargs.values()))]
    _check_devices(func, args, given)
    on = any(isinstance(x, Elsewhere) for x in given)
    plain, device = dict(kwargs), kwargs.get("device")
    if device is not None:
        on = torch.device(device).type == NAME
        plain["device"] = "cpu"
    if on and kwargs.get("generator") is not None:
        raise RuntimeError(f"Expected a {NAME!r} device type for generator but found 'cpu'")
    if func is _ATEN._efficientzerotensor.default:  # has no memory, which nobody below here expects
        func = _ATEN.zeros.default
    plain = {k: _mapped(v, lambda x: x.inner, Elsewhere) for k, v in plain.items()}
    out = func(*_mapped(tuple(args), lambda x: x.inner, Elsewhere), **plain)
    if on:
        out = _mapped(out, Elsewhere, Tensor)
        if given:
            out = return_and_correct_aliasing(func, args, kwargs, out)
    return out


class _Operations(TorchDispatchMode):
    """Makes what is asked for on the emulated device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Constants(TorchFunctionMode):
    """torch.tensor(..., device="meta") would read no numbers; a GPU's does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None:
            kept = {k: v for k, v in kwargs.items() if k != "device"}
            return func(*args, **kept).to(device)
        return func(*args, **kwargs)


@contextmanager
def emulated() -> Iterator[str]:
    with _Operations(), _Constants():
        yield NAME


@contextmanager
def as_is(device: str) -> Iterator[str]:
    yield device


@contextmanager
def fake() -> Iterator[str]:
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        if not CUDA_BUILT:
            stack.enter_context(torch.no_grad())
        yield "cuda:0"  # with its number: a build without CUDA cannot ask which one is current


# -- what is run ----------------------------------------------------------------------------------

PATHS: dict[str, Callable[[str], Any]] = {}
READS, DIFFERENTIATES, PLAIN = "reads numbers", "differentiates", "plain"
KIND: dict[str, str] = {}
COVERED: set[int] = set()


def path(*things: Any, kind: str = READS) -> Callable[[Any], Any]:
    """Register a function of the device as a path that covers some public things.

    Its kind says what it runs under: "reads numbers" does so where there are numbers to read;
    "differentiates" and "plain" under fake tensors as well.
    """

    def register(function: Callable[[str], Any]) -> Callable[[str], Any]:
        add(function.__name__.strip("_"), function, *things, kind=kind)
        return function

    return register


def add(name: str, function: Callable[[str], Any], *things: Any, kind: str = READS) -> None:
    assert name not in PATHS
    PATHS[name], KIND[name] = function, kind
    COVERED.update(map(id, things))


def randn(device: str, *shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=F64).to(device=device, dtype=dtype)


NETS: dict[str, Callable[[str], Any]] = {
    "HNet": lambda d: srnn.HNet(2, 5, generator=seeded(0), dtype=F64, device=d),
    "HNet deep": lambda d: srnn.HNet(2, (5, 4), generator=seeded(0), dtype=F64, device=d),
    "HNet quadratic": lambda d: srnn.HNet(2, 5, True, generator=seeded(0), dtype=F64, device=d),
    "ONet": lambda d: srnn.ONet(2, 5, generator=seeded(0), dtype=F64, device=d),
    "QuadraticH": lambda d: srnn.QuadraticH(2, dtype=F64, device=d),
    "joint": lambda d: JointHNet(0).to(d),
}
RECURRENT: dict[str, Callable[[str], Any]] = {
    "RNN": lambda d: srnn.RNN(2, 5, generator=seeded(0), dtype=F64, device=d),
    "RNN bounded": lambda d: srnn.RNN(2, 4, True, generator=seeded(0), dtype=F64, device=d),
    "LSTM": lambda d: srnn.LSTM(2, 5, generator=seeded(0), dtype=F64, device=d),
    "LSTM bounded": lambda d: srnn.LSTM(2, 4, True, generator=seeded(0), dtype=F64, device=d),
}
# Made once, outside of every mode: a system's constants are the CPU's, and go where its input is.
BOX = systems.Room.box(32, 4)
SYSTEMS: dict[str, Any] = {
    "SpringChain": systems.SpringChain([1.0, 2.0], [3.0, 1.0, 2.0]),
    "ThreeBody": systems.ThreeBody(),
    "TwoBody": systems.TwoBody(),
    "Pendulum": systems.Pendulum(),
    "MassSpring": systems.MassSpring(),
    "HenonHeiles": systems.HenonHeiles(),
    "FPUT": systems.FPUT(3, beta=0.5),
    "DoublePendulum": systems.DoublePendulum(),
    "Billiard": systems.Billiard(BOX),
    "QuadraticHamiltonian": systems.QuadraticHamiltonian(
        torch.eye(2, dtype=F64), 2 * torch.eye(2, dtype=F64)
    ),
}


def trained_by(loss: Tensor, net: torch.nn.Module, *inputs: Tensor) -> list[Tensor]:
    """The loss and its gradients, as far as there are any."""
    if not loss.requires_grad:
        return [loss]
    parameters = [p for p in net.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, [*parameters, *inputs], allow_unused=True)
    return [loss, *(g for g in found if g is not None)]


def rollout_path(net: str, method: str | None) -> Callable[[str], Any]:
    def run(device: str) -> Any:
        made, z0 = (NETS | RECURRENT)[net](device), randn(device, 3, 4).requires_grad_()
        states = srnn.rollout(made, method, z0, dt=0.1, steps=2)
        return states, trained_by(states.square().mean(), made, z0)

    return run


def fits(net: str, method: str) -> bool:
    """Whether an integrator takes a network's field."""
    try:
        integrators.get(method).init(
            fields.as_field(NETS[net]("cpu")), torch.zeros(1, 4, dtype=F64)
        )
    except ValueError:
        return False
    return True


# Every method with one network of each kind, every network with one method of each kind.
# Without a graph only where H gives its gradients, and the method does not solve for its step.
for _net in NETS:
    for _method in integrators.available():
        if fits(_net, _method) and (
            _net in ("HNet", "ONet", "joint") or _method in ("leapfrog", "rk4")
        ):
            _solves = _method == "implicit-midpoint"
            add(
                f"rollout of {_net} by {_method}",
                rollout_path(_net, _method),
                srnn.rollout.rollout,
                srnn.HNet,
                srnn.ONet,
                srnn.QuadraticH,
                srnn.nn.QuadraticForm,
                integrators.available,
                integrators.get,
                integrators.Splitting,
                integrators.RungeKutta,
                integrators.Tao,
                integrators.ImplicitMidpoint,
                kind=READS if _solves else DIFFERENTIATES if _net == "joint" else PLAIN,
            )


for _net in RECURRENT:
    add(f"rollout of {_net}", rollout_path(_net, None), srnn.RNN, srnn.LSTM, kind=PLAIN)


def gradient_path(gradient: Any, net: str, method: str) -> Callable[[str], Any]:
    def run(device: str) -> Any:
        made, z0 = NETS[net](device), randn(device, 3, 4).requires_grad_()
        states = srnn.rollout(made, method, z0, dt=0.1, steps=3, substeps=2, gradient=gradient)
        return states, trained_by(states.square().mean(), made, z0)

    return run


for _gradient in adjoint.GRADIENTS:
    for _net, _method in (("HNet quadratic", "yoshida4"), ("HNet deep", "leapfrog")):
        add(
            f"gradient {_gradient} of {_net}",
            gradient_path(_gradient, _net, _method),
            # The exact one scales its whole numbers by the largest state.
            kind=READS if _gradient == "reversible-exact" else PLAIN,
        )
for _gradient in (None, "stored", "recompute"):
    add(
        f"gradient {_gradient} of ONet",
        gradient_path(_gradient, "ONet", "euler"),
        kind=PLAIN,
    )


@path(kind=DIFFERENTIATES)
def second_derivatives_of_a_rollout(device: str) -> Any:
    net, z0 = NETS["HNet quadratic"](device), randn(device, 3, 4).requires_grad_()
    states = srnn.rollout(net, "leapfrog", z0, dt=0.1, steps=3)
    if not states.requires_grad:
        return states
    (first,) = torch.autograd.grad(states.square().sum(), z0, create_graph=True)
    return trained_by(first.square().sum(), net, z0)


def system_path(name: str) -> Callable[[str], Any]:
    def run(device: str) -> Any:
        system = SYSTEMS[name]
        z = randn(device, 5, 2 * system.dim)
        q, p = z[:, : system.dim], z[:, system.dim :]
        found = [system(z), fields.as_field(system)(z)]
        if hasattr(system, "gradient"):
            found += [system.gradient(z)]
        if hasattr(system, "kinetic"):
            found += [system.kinetic(p), system.potential(q)]
            found += [system.kinetic_gradient(p), system.potential_gradient(q)]
        for hessian, half in (("kinetic_hessian", p), ("potential_hessian", q)):
            if hasattr(system, hessian):
                found += [getattr(system, hessian)(half)]
        method = "leapfrog" if system.separable else "tao2"
        return *found, srnn.rollout(system, method, z, dt=0.01, steps=2)

    return run


for _name in SYSTEMS:
    add(
        f"{_name} energies, fields and rollout",
        system_path(_name),
        getattr(systems, _name),
        systems.System,
        systems.SeparableSystem,
        systems.PlanarGravity,
        systems.AdaptiveTruth,
        kind=PLAIN,
    )


def truth_path(name: str) -> Callable[[str], Any]:
    def run(device: str) -> Any:
        system = SYSTEMS[name]
        z0 = system.initial_states(3, seeded(0)).to(device)
        states, status = system.flow(z0, 0.05, 3)
        data = system.simulate(3, 3, 0.05, initial_state=z0, derivatives=True)
        return states, status, data

    return run


for _name in SYSTEMS:
    if _name != "QuadraticHamiltonian" or hasattr(SYSTEMS[_name], "flow"):
        add(f"true motion of {_name}", truth_path(_name))


@path()
def chain_matrices(device: str) -> Any:
    chain = SYSTEMS["SpringChain"]
    z = randn(device, 4, 4)
    shadow = chain.shadow_hamiltonian(0.1)
    fput = SYSTEMS["FPUT"]
    return shadow(z), fields.as_field(shadow)(z), fput.potential_hessian(randn(device, 4, 3))


@path(systems.Bounces)
def billiard_bounces(device: str) -> Any:
    z0 = SYSTEMS["Billiard"].initial_states(4, seeded(0)).to(device)
    return SYSTEMS["Billiard"].bounces(z0, 0.05, 20)


@path(systems.Room)
def room_of_a_picture(device: str) -> Any:
    q = 16 + 8 * randn(device, 6, 2)
    return BOX.contains(q), BOX.distance(q)


# -- fields, Jacobians, units ---------------------------------------------------------------------


@path(
    *(fields.as_field, fields.HamiltonianField, fields.VectorField),
    *(fields.hamiltonian_of, fields.weight_of),
    kind=PLAIN,
)
def fields_of_networks(device: str) -> Any:
    z, found = randn(device, 3, 4), []
    for name in ("HNet", "HNet quadratic", "QuadraticH", "ONet"):
        net = NETS[name](device)
        inside = fields.hamiltonian_of(net)  # none of an O-NET
        found += [fields.as_field(inside or net)(z), fields.weight_of(net)]
    return *found, fields.as_field(fields.VectorField(lambda z: -z, dim=2))(z)


@path(kind=DIFFERENTIATES)
def fields_that_are_differentiated(device: str) -> Any:
    net, z = NETS["joint"](device), randn(device, 3, 4)
    return net(z), fields.as_field(net)(z)


@path(srnn.nn.MLP, srnn.nn.mlp.input_gradient, srnn.nn.mlp.linear, kind=PLAIN)
def perceptron(device: str) -> Any:
    mlp = srnn.nn.MLP(3, 1, (4, 5), generator=seeded(0), dtype=F64, device=device)
    form = srnn.nn.QuadraticForm(3, 1.0, dtype=F64, device=device)
    x = randn(device, 2, 3)
    kind = {"dtype": F64, "device": device}
    layer = srnn.nn.mlp.linear(3, 2, seeded(0), **kind)
    return mlp(x), form(x), layer(x), [*mlp.parameters()], [*form.parameters()]


@path(kind=PLAIN)
def closed_forms_of_networks(device: str) -> Any:
    x, found = randn(device, 3, 2), []
    for name in ("HNet", "HNet deep", "HNet quadratic", "QuadraticH"):
        net = NETS[name](device)
        found += [net(randn(device, 3, 4)), net.kinetic_gradient(x), net.potential_gradient(x)]
        if hasattr(net, "potential_hessian"):
            found += [net.kinetic_hessian(x), net.potential_hessian(x)]
    return found


@path(srnn.flow_map.flow_map, srnn.flow_map.TangentField, kind=PLAIN)
def flow_maps_in_closed_form(device: str) -> Any:
    found = []
    for name in ("Pendulum", "SpringChain", "HenonHeiles"):
        z0 = randn(device, 3, 2 * SYSTEMS[name].dim)
        found.append(srnn.flow_map.flow_map(SYSTEMS[name], "leapfrog", z0, dt=0.1, steps=2))
    net = NETS["HNet quadratic"](device)
    tangent = srnn.flow_map.TangentField(net, 2)
    return found, tangent(randn(device, 3, 12))


@path(srnn.flow_map.singular_pairs, srnn.flow_map.symplectic_defect)
def flow_maps(device: str) -> Any:
    found = []
    z0 = randn(device, 3, 4)
    for name in NETS:
        method = "tao2" if name == "joint" else "leapfrog" if name != "ONet" else "rk4"
        found.append(srnn.flow_map.flow_map(NETS[name](device), method, z0, dt=0.1, steps=2))
    for name in RECURRENT:
        found.append(srnn.flow_map.flow_map(RECURRENT[name](device), None, z0, dt=0.1, steps=2))
    F = found[0][1]
    return found, srnn.flow_map.symplectic_defect(F), srnn.flow_map.singular_pairs(F)


@path(scaling.Scale, scaling.ScaledField, scaling.ScaledHamiltonian, integrators.rescaled)
def units(device: str) -> Any:
    data = trajectories(device)
    scale = scaling.Scale.of(data)
    z = data.values[0]
    H = scaling.ScaledHamiltonian(NETS["HNet"](device), scale)
    method = integrators.rescaled("tao2", scale.time)
    found = [scale.shift, scale.factor, scale.encode(z), scale.decode(z), H(z)]
    found += [fields.as_field(H)(z), scaling.ScaledField(NETS["ONet"](device), scale)(z)]
    same = scaling.Scale.identity(2, z).encode(z)
    return *found, same, srnn.rollout(H, method, z, dt=0.1, steps=2)


@path(Motion, as_motion, Units, inverse_mass)
def motions_in_units(device: str) -> Any:
    data, leapfrog = trajectories(device), integrators.get("leapfrog")
    units, z0 = Units.of(data), data.values[0].clone().requires_grad_()
    found: list[Any] = [units, inverse_mass(data), units.encoded(data)]
    for name in ("HNet", "ONet"):
        net = NETS[name](device)
        method = leapfrog if name == "HNet" else integrators.get("euler")
        motion = Motion(net, method, units)
        states = motion.rollout(z0, dt=0.1, steps=2, substeps=2)
        found += [states, trained_by(states.square().mean(), net, z0), motion.weight]
        found += [motion.flow_map(z0.detach(), dt=0.1, steps=2), motion.field(z0)]
        found += [*motion.state_dict().values()]
    known = as_motion(SYSTEMS["SpringChain"])
    return *found, known.rollout(z0, dt=0.1, steps=2), known.hamiltonian(z0)


@path(adjoint.Gradient, kind=PLAIN)
def gradients_of_the_start_alone(device: str) -> Any:
    net, z0 = NETS["HNet"](device), randn(device, 3, 4).requires_grad_()
    way = adjoint.Gradient("recompute", weights=False)
    states = Motion(net, "leapfrog").rollout(z0, dt=0.1, steps=2, gradient=way)
    return states, torch.autograd.grad(states.sum(), z0) if states.requires_grad else None


@path(integrators.Step, integrators.says, kind=PLAIN)
def what_steps_go_on_from(device: str) -> Any:
    field, found = fields.as_field(NETS["HNet"](device)), []
    for name in ("leapfrog", "tao2"):
        method = integrators.get(name)
        state = method.step(field, method.init(field, randn(device, 3, 4)), 0.1)
        variables = integrators.says(method, "variables")(field, state)
        again = integrators.says(method, "resumed")(field, state, variables)
        found += [variables, method.read(method.step(field, again, 0.1))]
    return found


@path(Network, asked)
def answers_of_networks(device: str) -> Any:
    data, found = trajectories(device), []
    leapfrog, identity = integrators.get("leapfrog"), Units.identity(2, data.values)
    for name in ("HNet", "HNet quadratic", "QuadraticH", "ONet", "joint"):
        net = NETS[name](device)
        answers = asked(net)
        answers.silence()
        forms = answers.quadratic_parts() or answers.distilled_parts() or ()
        found += [net(data.values), answers.units_for(data), answers.ended(data.values)]
        found += [[*form.parameters()] for form in forms]
    walled = rebound.WalledH(NETS["QuadraticH"](device), rebound.KnownWalls(BOX))
    step, z = walled.step_for(leapfrog, identity), balls(device)
    walled.check_start(z, 0.1, Motion(walled, step))
    return *found, walled.ended(z[None] - 40), walled.units_for(data)


# -- data, losses, measures -----------------------------------------------------------------------


def trajectories(
    device: str, *, noise: float = 0.1, count: int = 12, steps: int = 5
) -> srnn.Trajectories:
    """Noisy motion of the spring chain, on the device from the start."""
    chain, g = SYSTEMS["SpringChain"], seeded(1)
    with torch.no_grad():
        z0 = chain.initial_states(count, g).to(device)
        clean = srnn.rollout(chain, "leapfrog", z0, dt=0.1, steps=steps)
        values = clean + noise * randn(device, *clean.shape, seed=2)
        slopes = fields.as_field(chain)(clean)
    return srnn.Trajectories.from_states(values, dt=0.1, clean=clean, derivatives=slopes)


@path(srnn.Trajectories)
def sets_of_trajectories(device: str) -> Any:
    data = trajectories(device)
    z = data.values
    halves = srnn.Trajectories(q=z[..., :2], p=z[..., 2:], dq=z[..., :2], dp=z[..., 2:], dt=0.1)
    uneven = srnn.Trajectories(q=z[..., :2], p=z[..., 2:], times=data.times)
    mask = data.values[0, :, 0] > data.values[0, :, 0].median()
    gone = z.clone()
    gone[-1, 0] = math.inf
    left = srnn.Trajectories.predicted(gone, dt=0.1)
    return (
        *(data, halves, uneven, data.times, data.q, data.p, data.first(3), data.windows(3)),
        *(data.select([3, 0]), data.select(slice(1, 9, 2)), data.select(mask), data.select(-1)),
        *(left, left.status, left.windows(2), left.select(left.status == 0)),
        data.split(0.25, seeded(3)),
        data.with_noise(0.2, on="q", correlation=0.5, generator=seeded(4)),
        data.to(torch.float32),
    )


@path(
    losses.trajectory_loss, losses.derivative_loss, losses.window_loss, Recipe, kind=DIFFERENTIATES
)
def the_losses(device: str) -> Any:
    target, net = randn(device, 4, 6, 4), NETS["HNet quadratic"](device)
    method = integrators.get("leapfrog")
    weights = torch.tensor([1.0, 1.0, 2.0, 2.0], dtype=F64, device=device)
    start = randn(device, 6, 4, seed=5).requires_grad_()
    plain = losses.trajectory_loss(net, method, target, 0.1)
    how: dict[str, Any] = {"start": start, "weights": weights, "trim": 0.2, "loss_from": 0}
    full = losses.trajectory_loss(net, method, target, 0.1, substeps=2, **how)
    slopes = losses.derivative_loss(net, target, target)
    return [trained_by(each, net) for each in (plain, full, slopes)]


@path(mean_loss, weights_of)
def what_counts_of_the_observed(device: str) -> Any:
    values, made = randn(device, 4, 6, 4), randn(device, 4, 6, 4, seed=5).requires_grad_()
    mask = values[..., 0] > -1
    each = torch.tensor([1.0, 1.0, 2.0, 2.0], dtype=F64, device=device)
    seen = Observed(values, weights_of(values, each, mask, loss_from=1))
    loss = seen.loss(made)
    part = seen.take(torch.tensor([0, 2], device=device)).first(2)
    found = [mean_loss(made, values), mean_loss(made, values, seen.weights, trim=0.4)]
    slopes = torch.autograd.grad(sum(found, loss.sum()), made)
    return *found, loss, slopes, seen, seen.counted, seen.rounding, seen.blur(loss), part


@path()
def losses_of_windows(device: str) -> Any:
    data, net = trajectories(device), NETS["HNet"](device)
    method, index = integrators.get("leapfrog"), torch.tensor([0, 3], device=device)
    plain = losses.window_loss(net, method, data, Recipe(), index)
    slopes = losses.window_loss(net, method, data, Recipe(derivatives=True))
    return [trained_by(each, net) for each in (plain, slopes)]


@path(
    metrics.Summary,
    metrics.angular_momentum,
    metrics.energy_drift,
    metrics.position_error,
    metrics.summary,
    metrics.valid_prediction_time,
)
def measures(device: str) -> Any:
    truth, chain = trajectories(device), SYSTEMS["SpringChain"]
    made = srnn.rollout(chain, "leapfrog", truth.values[0], dt=0.1, steps=truth.steps)
    prediction = srnn.Trajectories.predicted(made, dt=0.1)
    found = [
        measure(prediction, truth, against=against)
        for measure in (metrics.position_error, metrics.summary)
        for against in ("noisy", "clean")
    ]
    found += [metrics.valid_prediction_time(prediction, truth, 0.05)]
    found += [metrics.energy_drift(prediction, chain), metrics.angular_momentum(prediction, 1)]
    return found


@path(likelihood.estimated_sigma, likelihood.negative_log_likelihood)
def likelihoods(device: str) -> Any:
    residuals = randn(device, 5, 3, 4)
    sigma = likelihood.estimated_sigma(residuals, 4)
    return sigma, likelihood.negative_log_likelihood(residuals, 0.5)


@path(srnn.gradients.norms_through_time)
def gradients_through_time(device: str) -> Any:
    z0, how = randn(device, 3, 4), {"dt": 0.1, "steps": 3}
    norms = srnn.gradients.norms_through_time
    one = norms(NETS["HNet"](device), "leapfrog", z0, generator=seeded(0), **how)
    two = norms(RECURRENT["LSTM"](device), None, z0, cotangent=torch.ones_like(z0), **how)
    return one, two


@path(integrate, kind=PLAIN)
def states_one_after_the_other(device: str) -> Any:
    net, z0 = NETS["HNet"](device), randn(device, 3, 4)
    with torch.no_grad():
        return [each for each, _ in integrate(net, "leapfrog", z0, dt=0.1, steps=2)]


# -- initial states, curvature, diagnosis ---------------------------------------------------------


@path(iso.Problem, Observed, kind=DIFFERENTIATES)
def iso_losses(device: str) -> Any:
    observed, net = randn(device, 4, 3, 4), NETS["HNet quadratic"](device)
    weights = torch.ones_like(observed)
    how: dict[str, Any] = {"dt": 0.1, "substeps": 2}
    seen = Observed(observed, weights)
    problem = iso.Problem(Motion(net, integrators.get("leapfrog")), seen, **how)
    z0 = randn(device, 3, 4, seed=5)
    found = [problem.losses(z0), seen.rounding, seen.counted, problem.states(z0)]
    if torch.is_grad_enabled():
        found += [problem.losses_and_gradients(z0), problem.normal(z0)]
        found += problem.states_and_jacobians(z0)
    return found


def iso_path(method: str) -> Callable[[str], Any]:
    def run(device: str) -> Any:
        data = trajectories(device)
        mask = torch.ones(data.steps + 1, len(data), dtype=torch.bool, device=device)
        mask[2, 0] = False
        how: dict[str, Any] = {"integrator": "leapfrog", "method": method, "mask": mask}
        return (
            iso.optimise_initial_state(SYSTEMS["SpringChain"], data, **how),
            iso.optimise_initial_state(NETS["HNet quadratic"](device), data, sigma=0.1, **how),
        )

    return run


for _method in iso.METHODS:
    add(
        f"iso by {_method}",
        iso_path(_method),
        *(iso.optimise_initial_state, iso.InitialStates, iso.Method, iso.Solution),
    )


@path()
def iso_of_what_is_not_determined(device: str) -> Any:
    data = trajectories(device, steps=2).values
    mask = torch.zeros(*data.shape, dtype=torch.bool, device=device)
    mask[0, 0, 0], mask[:, 1], mask[:, 2] = True, True, True  # one number, all, all, none
    how: dict[str, Any] = {"integrator": "leapfrog", "dt": 0.1, "mask": mask}
    found = iso.optimise_initial_state(SYSTEMS["SpringChain"], data, **how)
    return found.status, found.iterations


@path(
    convexity.iso_hessian,
    convexity.IsoHessian,
    convexity.conditioning,
    convexity.Conditioning,
    convexity.eigenvalue_along,
    convexity.AlongLine,
    convexity.eigenvalue_grid,
    convexity.EigenvalueGrid,
    convexity.convex_radius,
    convexity.ConvexRadius,
)
def curvature(device: str) -> Any:
    found: list[Any] = []
    for field in (SYSTEMS["HenonHeiles"], NETS["HNet quadratic"](device)):
        z0 = 0.3 * randn(device, 2, 4)
        data = srnn.rollout(field, "leapfrog", z0, dt=0.2, steps=2).detach()
        where = (field, "leapfrog", z0)
        hessian = convexity.iso_hessian(*where, data, dt=0.2)
        line = convexity.eigenvalue_along(*where, data, torch.ones_like(z0), [-0.5, 0.5], dt=0.2)
        grid = convexity.eigenvalue_grid(
            *where, sigmas=[0.5], horizons=[1, 2], dt=0.2, generator=seeded(0)
        )
        radius = convexity.convex_radius(
            *where, data, limit=1.0, directions=1, points=2, tolerance=0.5, dt=0.2,
            generator=seeded(0),
        )  # fmt: skip
        found += [hessian, hessian.total, hessian.smallest, line, line.convex, radius]
        found += [grid.smallest, grid.sigmas, grid.fraction_convex, radius.radius]
        found += [convexity.conditioning(*where, dt=0.2, steps=2)]
    return found


@path(
    diagnostics.diagnose,
    diagnostics.Diagnosis,
    diagnostics.Forecast,
    diagnostics.Statistic,
)
def diagnosis(device: str) -> Any:
    # Short, enough and almost without noise, so that the fits that it makes are done soon.
    data = trajectories(device, noise=1e-3, count=24, steps=3)
    model = srnn.SRNN(2, hamiltonian=NETS["QuadraticH"](device), generator=seeded(0))
    model.fit(data, validation=0, warm_start=False, epochs=1, progress=False)
    found = model.diagnose(data, drift_steps=3)
    assert found.verdict
    return found


@path(diagnostics.FittedResiduals)
def residuals(device: str) -> Any:
    fitted = diagnostics.FittedResiduals(
        randn(device, 6, 5, 4), torch.eye(4, dtype=F64, device=device).expand(6, 5, 4, 4)
    )
    return fitted.variances(), fitted.autocorrelation(0), fitted.growth(1)


# -- training -------------------------------------------------------------------------------------


def fit_path(
    make: Callable[[str], Any],
    *,
    integrator: Any = "leapfrog",
    noise: float = 0.1,
    **settings: Any,
) -> Any:
    def run(device: str) -> Any:
        data = trajectories(device, noise=noise, steps=3)
        model = srnn.Model(make(device), integrator, generator=seeded(0))
        history = model.fit(data, progress=False, **{"epochs": 2, **settings})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The initial states of", UserWarning)
            predicted = model.predict(data.first(4), steps=7)
        return [*model.net.parameters()], model.fitted, history, predicted

    return run


# A warm start is the same whichever way initial states are optimised, and takes the fewer steps the
# less noise there is.
SOON: dict[str, Any] = {"noise": 1e-3, "epochs": 1}
FITS: dict[str, Any] = {
    "plain": fit_path(NETS["HNet"]),
    "quadratic, warm start": fit_path(NETS["HNet quadratic"]),
    "distilled": fit_path(NETS["HNet"], warm_start="distil", **SOON),
    "by SciPy's starts": fit_path(NETS["HNet"], iso="scipy", epochs=1),
    "Gauss-Newton starts": fit_path(NETS["HNet quadratic"], iso=True, **SOON),
    "quadratic H": fit_path(NETS["QuadraticH"], iso=True, **SOON),
    "derivatives": fit_path(NETS["HNet"], derivatives=True),
    "O-NET": fit_path(NETS["ONet"], integrator="euler", window=2),
    "LSTM": fit_path(RECURRENT["LSTM"], integrator=None),
    "RNN": fit_path(RECURRENT["RNN"], integrator=None, scheduler="cosine"),
    "implicit": fit_path(NETS["joint"], integrator="implicit-midpoint", window=2, epochs=1),
    "recompute": fit_path(NETS["HNet"], gradient="recompute", trim=0.2, optimizer="adam"),
    "no held-out": fit_path(NETS["HNet"], validation=0, scheduler="exponential", scale=False),
}
for _name, _run_fit in FITS.items():
    add(
        f"fit, {_name}",
        _run_fit,
        srnn.Model,
        srnn.History,
        training.train,
        training.check_data,
        warm_start.if_better,
        warm_start.variable_projection,
        warm_start.distil,
        *(starts.Starts, starts.ObservedStarts, Fitted),
    )


@path(warm_start.least_squares, warm_start.symmetric_least_squares, starts.noise_weights)
def starts_from_the_data(device: str) -> Any:
    data, net = trajectories(device), NETS["HNet quadratic"](device)
    assert warm_start.least_squares(net, data.values, 0.1)
    x, y = randn(device, 9, 3), randn(device, 9, 3, seed=6)
    squares = torch.tensor([1.0, 4.0], device=device)
    matrix = warm_start.symmetric_least_squares(x, y)
    return [*net.parameters()], matrix, starts.noise_weights(squares)


@path(warm_start.start_noise)
def noise_of_starts(device: str) -> Any:
    data = trajectories(device, noise=0.01, count=8, steps=3)
    recipe = srnn.recipes.Recipe(start_noise=True)
    root = warm_start.start_noise("leapfrog", data, recipe)
    return root @ root.mT  # of the root itself the columns' signs are free


@path(srnn.nn.PairwiseH)
def bodies_in_pairs(device: str) -> Any:
    net = srnn.nn.PairwiseH(2, 1, 5, generator=seeded(0), dtype=F64, device=device)
    z0 = randn(device, 3, 4).requires_grad_()
    states = srnn.rollout(net, "leapfrog", z0, dt=0.1, steps=2)
    return states, net(z0), trained_by(states.square().mean(), net, z0)


@path(variable_projection.fit_quadratic)
def projected_fit(device: str) -> Any:
    net = NETS["QuadraticH"](device)
    left = variable_projection.fit_quadratic(net, "leapfrog", trajectories(device).values, 0.1)
    return left, [p.detach() @ p.detach().mT if p.ndim == 2 else p for p in net.parameters()]


@path(srnn.SRNN, srnn.HNN, srnn.load, Configured, resuming.save, resuming.restore)
def a_model_saved_and_loaded(device: str) -> Any:
    data = trajectories(device)
    model = srnn.SRNN(2, 6, generator=seeded(0), dtype=F64, device=device)
    hnn = srnn.HNN(2, 6, generator=seeded(0), dtype=F64, device=device)
    with tempfile.TemporaryDirectory() as folder:
        file, run = Path(folder) / "model.srnn", Path(folder) / "run"
        how: dict[str, Any] = {"progress": False, "checkpoint": run, "iso": True}
        model.fit(data, epochs=1, warm_start=False, **how)
        model.fit(data, epochs=2, warm_start=False, **how)  # goes on
        model.save(file)
        again = srnn.load(file).to(device)
    hnn.fit(data, epochs=1, progress=False)
    same = (again.predict(data, steps=2), hnn.predict(data, steps=2))
    return [*model.net.parameters()], same, again.hamiltonian(data.values), again.scale.shift


class Decay:
    dim = 2

    def __call__(self, z: Tensor) -> Tensor:
        return -z


@path()
def models_without_weights(device: str) -> Any:
    data, z = trajectories(device), randn(device, 3, 4)
    model = srnn.SRNN(2, hamiltonian=SYSTEMS["SpringChain"])
    decay = srnn.Model(Decay(), "rk4")
    found = [model.hamiltonian(z), model.field(z), decay.field(z), decay.predict(data, steps=2)]
    found += [model.predict(data, steps=2, iso=how, dt=0.05) for how in (True, False)]
    return *found, iso.optimise_initial_state(model, data)


# -- rebounds -------------------------------------------------------------------------------------


def floor(q: Tensor, tentative: Tensor) -> tuple[Tensor, Tensor]:
    hit = (tentative[..., 1:] < 8).to(q)
    alpha = (q[..., 1:] - 8) / (q[..., 1:] - tentative[..., 1:]).clamp(min=1e-9)
    return torch.cat((0 * hit, hit), dim=-1), torch.where(hit > 0, alpha.clamp(0, 1), 1.0)


def balls(device: str) -> Tensor:
    return torch.tensor(
        [[16.0, 9.0, 3.0, -20.0], [16.0, 16.0, 1.0, 2.0], [27.0, 16.0, 30.0, 0.0]], dtype=F64
    ).to(device)


WALLS: dict[str, Callable[[str], Any]] = {
    "known": lambda d: rebound.KnownWalls(BOX, restitution=0.9),
    "a function": lambda d: floor,
    "level set": lambda d: rebound.LevelSetWalls(
        BOX.image, restitution="learnt", generator=seeded(0), dtype=F64, device=d
    ),
    "patches": lambda d: rebound.PatchWalls(
        BOX.image, restitution="learnt", generator=seeded(0), dtype=F64, device=d
    ),
}


def walls_path(name: str) -> Callable[[str], Any]:
    def run(device: str) -> Any:
        walls, z0 = WALLS[name](device), balls(device).requires_grad_()
        ball = systems.Billiard(BOX)
        found: list[Any] = []
        for training_mode in (False, True):
            if isinstance(walls, torch.nn.Module):
                walls.train(training_mode)
            for rebounds in (1, 2):
                step = rebound.with_rebound("leapfrog", walls, rebounds=rebounds)
                states = srnn.rollout(ball, step, z0, dt=0.1, steps=3)
                found += [states.detach(), torch.autograd.grad(states.square().sum(), z0)]
            seen = rebound.record(ball, step, z0.detach(), dt=0.1, steps=3, substeps=2)
            found += [seen, seen.hit]
        q = z0.detach()[:, :2]
        scaled = rebound.ScaledWalls(walls, 2.0, torch.ones(2, dtype=F64, device=device))
        found += [walls(q, q + 3), scaled(q / 2, q / 2 + 1)]
        if hasattr(walls, "inside"):
            found += [walls.inside(q), walls.on_wall(q)]
        if isinstance(walls, rebound.PictureWalls):
            n = torch.tensor([[0.0, 1.0]], dtype=F64, device=device).expand_as(q)
            half = torch.full_like(q[:, :1], 0.5)
            told = walls.hit_loss(q, q - 5 * n, q - 2.5 * n, n, half).mean()
            told = told + walls.free_loss(q, q + n).mean()
            found += [trained_by(told, walls), walls.sees(q, q + 1)]
            walls.settle(q)
            found += [[*walls.parameters()], [*walls.buffers()]]
            walls.show(BOX.image)
            found += [[*walls.buffers()], walls(q, q + 3)]
        return found

    return run


for _name in WALLS:
    add(
        f"rebounds from walls: {_name}",
        walls_path(_name),
        rebound.KnownWalls,
        rebound.LevelSetWalls,
        rebound.PatchWalls,
        rebound.PictureWalls,
        rebound.ScaledWalls,
        rebound.Restitution,
        rebound.Rebound,
        rebound.with_rebound,
        rebound.record,
        rebound.ReboundRecord,
    )


@path(rebound.observed_rebounds, rebound.ObservedRebounds, rebound.reflect, rebound.patches)
def rebounds_that_are_seen(device: str) -> Any:
    z = balls(device)
    ball, method = fields.as_field(systems.Billiard(BOX)), integrators.get("leapfrog")
    step = rebound.with_rebound(method, floor)
    after = srnn.rollout(ball, step, z, dt=0.1, steps=1)[-1]
    patches = rebound.patches(BOX.image.to(z), z[:, :2], 7)
    return (
        rebound.observed_rebounds(ball, method, z, after, 0.1),
        patches,
        floor(z[:, :2], after[:, :2]),
        rebound.reflect(z[:, 2:], z[:, :2]),
    )


def billiard_data(device: str) -> srnn.Trajectories:
    ball = systems.Billiard(BOX, gravity=0.0, speed=20.0)
    return ball.simulate(40, steps=4, dt=0.1, generator=seeded(0), dtype=F64).to(device)


@path(rebound.WalledH, rebound.fit_free_motion, rebound.start_from_rebounds)
def walls_started_from_the_data(device: str) -> Any:
    found: list[Any] = []
    data, method = billiard_data(device), integrators.get("leapfrog")
    for name in ("level set", "patches"):
        net = rebound.WalledH(NETS["QuadraticH"](device), WALLS[name](device))
        assert rebound.fit_free_motion(net, method, data)
        count = rebound.start_from_rebounds(
            net, method, data, unit=1.0, origin=torch.zeros(2, dtype=F64, device=device),
            iterations=3, generator=seeded(0),
        )  # fmt: skip
        assert count
        found += [[*net.parameters()]]
    return found


@path()
def fit_with_walls(device: str) -> Any:
    found: list[Any] = []
    for walls in ("level set", "patches"):
        data = billiard_data(device)
        net = rebound.WalledH(NETS["QuadraticH"](device), WALLS[walls](device))
        model = srnn.Model(net, "leapfrog", generator=seeded(0))
        model.fit(data, epochs=1, progress=False, wall_steps=2, gate_penalty=1e-3)
        found += [[*net.parameters()], model.rebounds(data, steps=2).hit]
        found += [model.predict(data.first(1), steps=2).values.isfinite()]
    known = srnn.SRNN(2, hamiltonian=systems.Billiard(BOX), rebound=rebound.KnownWalls(BOX))
    return found, known.predict(data.first(1), steps=2).values.isfinite()


# -- what cannot be, or need not be ---------------------------------------------------------------

NOT_RUN = {
    "constants": """
        srnn.adjoint.GRADIENTS srnn.data.residual.LOSSES srnn.integrators.FAMILIES
        srnn.iso.METHODS srnn.model.FORMAT srnn.recipes.ISO_METHODS srnn.recipes.OPTIMIZERS
        srnn.recipes.PRESETS srnn.recipes.WITH_ISO srnn.recipes.WITH_WALLS srnn.plotting.COLOURS
        srnn.experiments.billiard.ROWS srnn.experiments.billiard.UNSEEN
        srnn.experiments.length_scan.LENGTHS srnn.experiments.length_scan.NOISES
        """,
    "protocols, codes and errors, which hold no tensor": """
        srnn.fields.ClosedForm srnn.fields.Field srnn.fields.Hamiltonian
        srnn.integrators.Integrator srnn.rebound.Walls
        srnn.iso.IsoStatus srnn.systems.OrbitStatus srnn.errors.CheckpointError
        srnn.errors.ConvergenceError srnn.errors.SrnnError srnn.errors.TrainingDiverged
        """,
    "read and write files, from and to the CPU; `a_model_saved_and_loaded` goes through them": """
        srnn.checkpoint.integrator_from_config srnn.checkpoint.integrator_to_config
        srnn.checkpoint.read srnn.checkpoint.write srnn.training.check_checkpoint
        """,
    "compares shapes and spacings and holds no tensor": """
        srnn.training.check_validation
        """,
    "lay out text": """
        srnn.results.Table srnn.results.table
        """,
    "draw pictures": """
        srnn.plotting.coordinate srnn.plotting.energy_contours
        srnn.plotting.error_curves srnn.plotting.error_over_time srnn.plotting.growth
        srnn.plotting.many_positions srnn.plotting.one_position
        srnn.plotting.orbits srnn.plotting.path srnn.plotting.phase_portrait
        srnn.plotting.published_and_ours srnn.plotting.room srnn.plotting.speed
        srnn.plotting.style
        """,
    "widgets of a notebook": """
        srnn.widgets.ball srnn.widgets.bodies srnn.widgets.live srnn.widgets.slider
        """,
    "the book's own experiments, which run on the CPU and keep their results in files": """
        srnn.experiments.load srnn.experiments.sample srnn.experiments.store
        srnn.experiments.trained srnn.experiments.weights_path
        srnn.experiments.Sample srnn.experiments.billiard.OneStep
        srnn.experiments.billiard.fit srnn.experiments.billiard.one_step_cases
        srnn.experiments.billiard.score srnn.experiments.chain_iso.baselines
        srnn.experiments.chain_iso.least_squares_gap srnn.experiments.chain_iso.models
        srnn.experiments.length_scan.compared srnn.experiments.length_scan.scan
        srnn.experiments.length_scan.noisy
        srnn.experiments.linear_bound.Bound srnn.experiments.linear_bound.bound
        srnn.experiments.linear_bound.expected_loss
        """,
    "the paper's tables, which are computed on the CPU, and the command for them": """
        srnn.cli.main srnn.experiments.Result srnn.experiments.Row srnn.experiments.model_card
        srnn.experiments.pretrained srnn.pretrained srnn.experiments.results srnn.experiments.rows
        srnn.experiments.billiard.draw_test srnn.experiments.billiard.draw_training
        srnn.experiments.billiard.make
        srnn.experiments.reproduction.COLUMNS srnn.experiments.reproduction.PRESETS
        srnn.experiments.reproduction.MODES srnn.experiments.reproduction.Mode
        srnn.experiments.reproduction.NETS srnn.experiments.reproduction.Net
        srnn.experiments.reproduction.TABLES srnn.experiments.reproduction.Cell
        srnn.experiments.reproduction.Failure srnn.experiments.reproduction.Fit
        srnn.experiments.reproduction.Job srnn.experiments.reproduction.jobs
        srnn.experiments.reproduction.run srnn.experiments.reproduction.sweep
        srnn.experiments.reproduction.unfinished srnn.experiments.reproduction.Draw
        srnn.experiments.reproduction.problem srnn.experiments.reproduction.evaluate
        srnn.experiments.reproduction.published srnn.experiments.reproduction.row_label
        """,
}


def public() -> dict[str, Any]:
    """Everything that a public module lists in its ``__all__``, but for modules, by full name."""
    names = [module.name for module in pkgutil.walk_packages(srnn.__path__, "srnn.")]
    names = ["srnn", *(n for n in names if not any(p.startswith("_") for p in n.split(".")))]
    found = {}
    for name in names:
        module = importlib.import_module(name)
        for each in getattr(module, "__all__", ()):
            thing = getattr(module, each)
            if not inspect.ismodule(thing):
                found[f"{name}.{each}"] = thing
    return found


def test_everything_public_is_run_on_a_second_device_or_named_with_the_reason_why_not() -> None:
    things, excused = public(), {name for names in NOT_RUN.values() for name in names.split()}
    spared = {id(attrgetter(name.removeprefix("srnn."))(srnn)) for name in excused}
    assert spared <= {id(thing) for thing in things.values()}, "not public"
    assert not {n for n, thing in things.items() if id(thing) not in COVERED | spared}, "new"
    assert not {n for n, thing in things.items() if id(thing) in COVERED & spared}, "both"


# -- and how --------------------------------------------------------------------------------------


def leaves(found: Any) -> Iterator[Tensor]:
    """Every tensor in a result."""
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, (list, tuple)):
        for each in found:
            yield from leaves(each)
    elif dataclasses.is_dataclass(found):
        yield from leaves([getattr(found, f.name) for f in dataclasses.fields(found)])
    elif isinstance(found, srnn.Trajectories):
        yield from leaves([found.values, found.clean, found.derivatives, found.status])
    else:
        assert found is None or isinstance(found, (int, float, str, dict)), type(found)


def numbers(found: Any) -> list[Tensor]:
    return [x.detach().cpu() for x in leaves(found)]


@pytest.fixture(scope="module")
def on_cpu() -> Callable[[str], list[Tensor]]:
    known: dict[str, list[Tensor]] = {}

    def run(name: str) -> list[Tensor]:
        if name not in known:
            known[name] = numbers(PATHS[name]("cpu"))
        return known[name]

    return run


DEVICES: dict[str, Callable[[], Any]] = {"emulated": emulated}
if torch.cuda.is_available():
    DEVICES["cuda"] = lambda: as_is("cuda")


SLOW = ("diagnosis", "a_model_saved_and_loaded", "fit, distilled")
SLOW += ("fit, by SciPy's starts", "fit, quadratic H")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in PATHS]
)
@pytest.mark.parametrize("device", DEVICES)
def test_results_are_on_the_device_of_the_input_and_those_of_the_cpu(
    name: str, device: str, on_cpu: Callable[[str], list[Tensor]]
) -> None:
    expected = on_cpu(name)
    with DEVICES[device]() as there:
        result = PATHS[name](there)
        found = list(leaves(result))
        assert found
        assert {x.device.type for x in found} == {torch.device(there).type}
        moved = numbers(found)
    # Another device's kernels add up in another order, which training makes more of.
    exact = device == "emulated"
    for mine, other in zip(moved, expected, strict=True):
        tolerance = {} if exact or mine.dtype != F64 else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(mine, other, equal_nan=True, **tolerance)


# A build of PyTorch without CUDA has nothing to call such a device's current one, which indexing
# asks for even of fake tensors. This is what a build with CUDA registers where there is no driver.
NO_DRIVER = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
using Guard = c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA>;
namespace c10::impl { C10_REGISTER_GUARD_IMPL(CUDA, Guard) }
"""
CUDA_BUILT = torch.backends.cuda.is_built()
FAKE = [n for n in PATHS if KIND[n] == PLAIN or (KIND[n] == DIFFERENTIATES and CUDA_BUILT)]


def register_a_gpu_without_a_driver(folder: Path) -> None:
    source, library = folder / "guard.cpp", folder / "guard.so"
    source.write_text(NO_DRIVER)
    torch_folder = Path(torch.__file__).parent
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    how = ["-std=c++20", "-shared", "-fPIC", abi, f"-I{torch_folder / 'include'}"]
    link = [f"-L{torch_folder / 'lib'}", "-lc10"]
    subprocess.run(["g++", *how, str(source), "-o", str(library), *link], check=True)
    torch.ops.load_library(library)


def check_fake() -> None:
    """Run the paths under fake tensors; in a process of its own by the test below."""
    if not CUDA_BUILT:
        with tempfile.TemporaryDirectory() as folder:
            register_a_gpu_without_a_driver(Path(folder))
    for name in FAKE:
        try:
            with fake() as there:
                found = list(leaves(PATHS[name](there)))
                devices = {x.device.type for x in found}
        except Exception as error:
            raise RuntimeError(f"{name}: {error}") from error
        assert devices == {"cuda"}, (name, devices)


def in_a_process(call: str) -> None:
    """Run a function of this file in a process of its own, where nothing checks shapes."""
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join((str(here.parent), str(here)))
    done = subprocess.run(
        [sys.executable, "-c", f"import test_devices; test_devices.{call}"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


if CUDA_BUILT or (sys.platform == "linux" and shutil.which("g++")):

    @pytest.mark.slow
    def test_fake_tensors_of_a_gpu_stay_on_it() -> None:
        in_a_process("check_fake()")


def test_the_emulated_device_refuses_what_a_gpu_does() -> None:
    here, two = torch.ones(2), torch.ones(2, 2)
    with emulated() as device:
        there = torch.ones(2, device=device)
        assert there.device.type == device
        assert (there + torch.tensor(1.0)).tolist() == [2.0, 2.0]  # a number of the CPU
        assert there[torch.tensor([1])].tolist() == [1.0]  # an index of the CPU
        assert torch.tensor([3.0], device=device).item() == 3.0
        assert torch.equal(there.cpu(), here)
        for mixed in (
            lambda: there + here,
            lambda: here[there.long()],
            lambda: two.to(device) @ here,
            lambda: torch.stack((there[0], here[0])),
            lambda: torch.where(there > 0, here, 0.0),
        ):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, generator=seeded(0), device=device)
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        again = copy.deepcopy(torch.nn.Parameter(there))
        assert isinstance(again, torch.nn.Parameter)
        assert again.requires_grad


# -- torch.compile --------------------------------------------------------------------------------

# "inductor" writes C++ and needs something that compiles it; the other two do without.
BACKENDS = ["eager", "aot_eager"]
if any(shutil.which(compiler) for compiler in ("g++", "clang++", "c++", "cl")):
    BACKENDS.append("inductor")


def same_as_eager(step: Callable[[Tensor], Tensor], net: torch.nn.Module, backend: str) -> None:
    """Compare values and gradients of a step with those of the compiled step."""
    compiled = torch.compile(step, backend=backend, fullgraph=True)
    z0 = randn("cpu", 3, 4).requires_grad_()
    results = [(z, trained_by(z.square().mean(), net, z0)) for z in (compiled(z0), step(z0))]
    for mine, other in zip(*map(leaves, results), strict=True):
        torch.testing.assert_close(mine, other)


def check_compiled(backend: str) -> None:
    """Compile rollouts and single steps; in a process of its own by the test below."""
    rollouts = [("HNet quadratic", "leapfrog"), ("ONet", "euler"), ("LSTM", None)]
    steps = [("HNet", "leapfrog"), ("HNet", "rk4"), ("HNet", "tao2")]
    if backend == "inductor":  # what follows the graph is the same for all, and takes a while
        rollouts, steps = rollouts[:1], steps[:1]
    for name, method in rollouts:
        net = (NETS | RECURRENT)[name]("cpu")

        def rolled(z: Tensor, net: Any = net, method: Any = method) -> Tensor:
            return srnn.rollout(net, method, z, dt=0.1, steps=3)

        same_as_eager(rolled, net, backend)
    for name, method in steps:
        net = NETS[name]("cpu")
        field, integrator = fields.as_field(net), integrators.get(method)

        def stepped(z: Tensor, field: Any = field, integrator: Any = integrator) -> Tensor:
            return integrator.read(integrator.step(field, integrator.init(field, z), 0.1))

        same_as_eager(stepped, net, backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_step_is_the_step(backend: str) -> None:
    in_a_process(f"check_compiled({backend!r})")
