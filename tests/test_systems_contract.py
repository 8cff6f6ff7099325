"""What every system promises, one test for all of them."""

import inspect
import math
import re

import pytest
import torch
from helpers import seeded as generator
from torch import Tensor

import srnn
from srnn.motion.fields import HamiltonianField
from srnn.systems import (
    FPUT,
    Billiard,
    DoublePendulum,
    HenonHeiles,
    MassSpring,
    Pendulum,
    SeparableSystem,
    SpringChain,
    System,
    ThreeBody,
    TwoBody,
)

# Parameters that are not 1, so that a factor left out of a formula shows.
SYSTEMS: list[System] = [
    SpringChain.random(5, generator()),
    ThreeBody(masses=(0.7, 1.3, 2.0), gravity=0.8),
    Pendulum(mass=1.3, length=0.7, gravity=2.5),
    MassSpring(mass=1.7, stiffness=0.6),
    TwoBody(masses=(0.7, 1.6), gravity=1.2),
    HenonHeiles(coupling=0.8),
    FPUT(masses=5, alpha=0.3, beta=0.7),
    DoublePendulum(masses=(0.7, 1.4), lengths=(1.2, 0.6), gravity=2.5),
    Billiard(mass=1.7, gravity=4.0),
]
EVERY = pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: type(s).__name__)
SEPARABLE = pytest.mark.parametrize(
    "system",
    [s for s in SYSTEMS if isinstance(s, SeparableSystem)],
    ids=lambda s: type(s).__name__,
)
DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)], ids=str
)


def slope(function: object, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]  # type: ignore[operator]


@EVERY
@DTYPES
def test_the_gradient_is_that_of_the_energy(
    system: System, dtype: torch.dtype, tolerance: float
) -> None:
    z = system.initial_states(6, generator()).to(dtype)
    gradient = system.gradient(z)
    assert gradient.dtype == dtype
    assert system(z).dtype == dtype
    expected = slope(system, z)
    assert (gradient - expected).abs().max() <= tolerance * expected.abs().max()


@SEPARABLE
@DTYPES
def test_the_two_halves_of_the_gradient(
    system: SeparableSystem, dtype: torch.dtype, tolerance: float
) -> None:
    z = system.initial_states(6, generator()).to(dtype)
    q, p = z[:, : system.dim], z[:, system.dim :]
    for energy, gradient, x in (
        (system.kinetic, system.kinetic_gradient, p),
        (system.potential, system.potential_gradient, q),
    ):
        expected = slope(energy, x)
        assert gradient(x).dtype == dtype
        assert (gradient(x) - expected).abs().max() <= tolerance * expected.abs().max()
    torch.testing.assert_close(system(z), system.kinetic(p) + system.potential(q))


@pytest.mark.parametrize(
    "system",
    [s for s in SYSTEMS if hasattr(s, "potential_hessian")],
    ids=lambda s: type(s).__name__,
)
@DTYPES
def test_second_derivatives_are_those_of_the_energies(
    system: SeparableSystem, dtype: torch.dtype, tolerance: float
) -> None:
    names = ("kinetic_hessian", "potential_hessian")
    z = system.initial_states(6, generator()).to(dtype)
    q, p = z[:, : system.dim], z[:, system.dim :]
    for energy, name, x in zip((system.kinetic, system.potential), names, (p, q), strict=True):
        hessian = getattr(system, name)
        expected = torch.func.vmap(torch.func.jacrev(torch.func.grad(energy)))(x)
        assert hessian(x).dtype == dtype
        assert (hessian(x) - expected).abs().max() <= tolerance * expected.abs().max()
        torch.testing.assert_close(
            hessian(x.reshape(2, 3, -1)), hessian(x).reshape(2, 3, system.dim, system.dim)
        )
        torch.testing.assert_close(hessian(x[0]), hessian(x)[0])


def test_which_systems_have_second_derivatives() -> None:
    """Flow maps then follow the variational equations; without them all would still be right."""
    have = {type(s).__name__ for s in SYSTEMS if hasattr(s, "potential_hessian")}
    assert have >= {"SpringChain", "Pendulum", "HenonHeiles", "FPUT", "Billiard"}


@EVERY
def test_leading_axes_are_free(system: System) -> None:
    z = system.initial_states(6, generator())
    energy, gradient = system(z), system.gradient(z)
    grid = z.reshape(2, 3, -1)
    torch.testing.assert_close(system(grid), energy.reshape(2, 3))
    torch.testing.assert_close(system.gradient(grid), gradient.reshape(2, 3, -1))
    torch.testing.assert_close(system(z[0]), energy[0])
    torch.testing.assert_close(system.gradient(z[0]), gradient[0])


@EVERY
def test_the_transforms_of_torch_func_work(system: System) -> None:
    z = system.initial_states(3, generator())
    torch.testing.assert_close(torch.func.vmap(system)(z), system(z))
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(system))(z), system.gradient(z))
    hessian = torch.func.vmap(torch.func.jacrev(system.gradient))(z)
    torch.testing.assert_close(hessian, hessian.mT)
    by_autograd = torch.func.vmap(torch.func.jacrev(torch.func.grad(system)))(z)
    torch.testing.assert_close(hessian, by_autograd)


@EVERY
def test_the_true_motion_keeps_its_energy(system: System) -> None:
    data = system.simulate(6, 12, 0.25, generator(1), dtype="float64")
    assert data.status is not None
    assert data.status.tolist() == [0] * 6
    assert srnn.metrics.energy_drift(data, system).abs().max() < 1e-10


@EVERY
def test_the_true_motion_solves_hamiltons_equations(system: System) -> None:
    # Central differences of order 4 against the field: a wrong force, mass or sign shows.
    h = 1e-3
    z0 = system.initial_states(8, generator(2))
    z, _ = system.flow(z0, h, 4)
    slope_at_middle = (z[0] - 8 * z[1] + 8 * z[3] - z[4]) / (12 * h)
    expected = HamiltonianField(system)(z[2])
    assert (slope_at_middle - expected).abs().max() < 1e-8 * expected.abs().max()


@EVERY
def test_the_grid_of_times_does_not_change_the_motion(system: System) -> None:
    z0 = system.initial_states(4, generator(3))
    fine, _ = system.flow(z0, 0.05, 20)
    coarse, _ = system.flow(z0, 0.5, 2)
    torch.testing.assert_close(fine[::10], coarse, rtol=1e-10, atol=1e-10)
    assert torch.equal(fine[0], z0)


@EVERY
def test_a_batch_moves_like_each_of_its_trajectories(system: System) -> None:
    z0 = system.initial_states(3, generator(4))
    together, _ = system.flow(z0, 0.5, 4)
    for i in range(3):
        alone, _ = system.flow(z0[i : i + 1], 0.5, 4)
        torch.testing.assert_close(together[:, i], alone[:, 0], rtol=0, atol=1e-8)


@EVERY
def test_simulate_gives_what_training_needs(system: System) -> None:
    data = system.simulate(5, 7, 0.1, generator(), derivatives=True)
    assert data.values.shape == (8, 5, 2 * system.dim)
    assert data.values.dtype == torch.get_default_dtype()
    assert data.dt == 0.1
    assert data.clean is data.values or torch.equal(data.clean, data.values)  # type: ignore[arg-type]
    assert data.status is not None
    assert data.status.dtype == torch.int64
    assert data.derivatives is not None
    assert data.derivatives.dtype == data.values.dtype
    double = system.simulate(5, 7, 0.1, generator(), derivatives=True, dtype=torch.float64)
    expected = HamiltonianField(system)(double.values)
    torch.testing.assert_close(double.derivatives, expected)
    # Rounded once, at the end.
    assert torch.equal(double.values.float(), data.values)
    assert torch.equal(double.derivatives.float(), data.derivatives)  # type: ignore[union-attr]
    noisy = data.with_noise(0.5, generator=generator())
    assert torch.equal(noisy.clean, data.values)  # type: ignore[arg-type]
    assert system.simulate(2, 1, 0.1).derivatives is None


@EVERY
def test_a_generator_decides_the_starts_and_its_absence_does_not(system: System) -> None:
    first, again = (system.initial_states(3, generator(5)) for _ in range(2))
    assert first.dtype == torch.float64
    assert first.shape == (3, 2 * system.dim)
    assert torch.equal(first, again)
    assert not torch.equal(first, system.initial_states(3, generator(6)))
    before = torch.get_rng_state()
    assert not torch.equal(system.initial_states(3), system.initial_states(3))
    assert torch.equal(torch.get_rng_state(), before)


@EVERY
def test_the_callers_start_is_used_and_never_written_to(system: System) -> None:
    wide = system.initial_states(8, generator(7)).float()
    # Every other row of a transposed buffer: neither contiguous nor of the truth's dtype.
    start = wide.mT.contiguous().mT[::2].requires_grad_()
    copy = start.detach().clone()
    assert not start.is_contiguous()
    data = system.simulate(4, 5, 0.2, initial_state=start, dtype="float64")
    assert torch.equal(start.detach(), copy)
    assert start.grad is None
    assert not data.values.requires_grad
    assert torch.equal(data.values[0], copy.double())
    double = copy.double()
    states, _ = system.flow(double, 0.2, 5)
    states.zero_()
    assert torch.equal(double, copy.double())


BAD_INPUT: list[tuple[dict[str, object], str]] = [
    ({"dt": 0.0}, "Expected `dt` to be a positive finite number; got 0.0"),
    ({"dt": -0.1}, "Expected `dt` to be a positive finite number; got -0.1"),
    ({"dt": math.nan}, "Expected `dt` to be a positive finite number; got nan"),
    ({"steps": 0}, "Expected `steps` to be at least 1; got 0"),
    ({"steps": -3}, "Expected `steps` to be at least 1; got -3"),
    ({"trajectories": 0}, "Expected `trajectories` to be at least 1; got 0"),
    ({"steps": 2.5}, "Expected `steps` to be an integer; got 2.5"),
    ({"dt": "0.1"}, "Expected `dt` to be a positive number; got '0.1'"),
    ({"trajectories": None}, "Expected `trajectories` to be an integer; got None"),
    ({"generator": 0}, "Expected `generator` to be a torch.Generator or None; got int"),
    ({"initial_state": [1.0]}, "Expected `initial_state` to be a torch.Tensor; got list"),
    (
        {"initial_state": torch.zeros(2, 2, dtype=torch.int64)},
        "Expected `initial_state` to hold floating-point numbers; got torch.int64",
    ),
    ({"dtype": "float16"}, "Unknown `dtype`: 'float16'. Known: 'float32', 'float64'"),
    ({"colour": "red"}, "Unknown `option`: 'colour'. Known: "),
]


@EVERY
def test_bad_input_to_simulate(system: System) -> None:
    for bad, text in BAD_INPUT:
        arguments: dict[str, object] = {"trajectories": 2, "steps": 3, "dt": 0.1} | bad
        with pytest.raises((ValueError, TypeError), match=re.escape(text)):
            system.simulate(**arguments)  # type: ignore[arg-type]


@EVERY
def test_bad_starts(system: System) -> None:
    width = 2 * system.dim
    start = system.initial_states(3, generator())
    text = f"Expected `initial_state` to have shape (trajectories, 2*dim) = (2, {width}); got"
    for wrong in (start, start[0], start[:2, :-1]):
        with pytest.raises(ValueError, match=re.escape(text)):
            system.simulate(2, 3, 0.1, initial_state=wrong)
    for value in (math.nan, math.inf):
        broken = start.clone()
        broken[1, 0] = value
        with pytest.raises(ValueError, match="Expected `z0` to be finite; 1 of"):
            system.simulate(3, 3, 0.1, initial_state=broken)
    with pytest.raises(ValueError, match=re.escape(f"to have shape (batch, {width}); got")):
        system.flow(start[0], 0.1, 1)
    with pytest.raises(ValueError, match="at least one trajectory in `z0`; got none"):
        system.flow(start[:0], 0.1, 1)
    with pytest.raises(ValueError, match="`z0` to have shape"):
        system.flow(start[:, 1:], 0.1, 1)
    with pytest.raises(ValueError, match="`z` to have shape"):
        system(start[:, 1:])


@EVERY
def test_an_option_of_the_sampler_is_refused_with_a_given_start(system: System) -> None:
    name = list(inspect.signature(system.initial_states).parameters)[-1]
    start = system.initial_states(2, generator())
    with pytest.raises(ValueError, match=f"nothing is drawn; remove '{name}'"):
        system.simulate(2, 3, 0.1, initial_state=start, **{name: None})


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: SpringChain([1.0, -1.0], [1.0] * 3), "Expected `masses[1]` to be a positive"),
        (lambda: SpringChain([1.0, 1.0], [1.0, math.nan, 1.0]), "Expected `stiffness[1]` to be"),
        (lambda: SpringChain([1.0, 1.0], [1.0] * 2), "`stiffness` to hold 3 numbers; got 2"),
        (lambda: SpringChain([], [1.0]), "Expected `masses` to be a sequence of numbers; got []"),
        (lambda: SpringChain.random(0), "Expected `masses` to be at least 1; got 0"),
        (lambda: ThreeBody(masses=(1.0, 1.0)), "Expected `masses` to hold 3 numbers; got 2"),
        (lambda: ThreeBody(gravity=-1.0), "Expected `gravity` to be a positive finite number"),
        (lambda: TwoBody(masses=(1.0, math.inf)), "Expected `masses[1]` to be a positive finite"),
        (lambda: Pendulum(mass=0.0), "Expected `mass` to be a positive finite number; got 0.0"),
        (lambda: Pendulum(length=-1.0), "Expected `length` to be a positive finite number"),
        (lambda: MassSpring(stiffness=math.nan), "Expected `stiffness` to be a positive finite"),
        (lambda: HenonHeiles(coupling=0.0), "Expected `coupling` to be a positive finite number"),
        (lambda: FPUT(masses=0), "Expected `masses` to be at least 1; got 0"),
        (lambda: FPUT(alpha=math.nan), "Expected `alpha` to be a finite number; got nan"),
        (lambda: DoublePendulum(masses=(1.0, -2.0)), "Expected `masses[1]` to be a positive"),
        (lambda: DoublePendulum(gravity=0.0), "Expected `gravity` to be a positive finite"),
        (lambda: DoublePendulum(masses=1.0), "Expected `masses` to be a pair of numbers; got 1.0"),
        (lambda: SpringChain(20, [1.0]), "Expected `masses` to be a sequence of numbers; got 20"),
        (lambda: Pendulum(mass="heavy"), "Expected `mass` to be a positive number; got 'heavy'"),
    ],
)
def test_bad_parameters(build: object, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("system", "bad", "text"),
    [
        (SYSTEMS[0], {"start": "middle"}, "Unknown `start`: 'middle'. Known: 'reference', 'all-"),
        (SYSTEMS[0], {"truth": "euler"}, "Unknown `truth`: 'euler'. Known: 'exact', 'leapfrog'"),
        (SYSTEMS[0], {"spread": -1.0}, "Expected `spread` to be a positive finite number"),
        (SYSTEMS[0], {"substeps": 0}, "Expected `substeps` to be at least 1; got 0"),
        (SYSTEMS[1], {"radius": (1.2, 0.9)}, "Expected `radius` to be a pair (low, high)"),
        (SYSTEMS[1], {"radius": 1.0}, "Expected `radius` to be a pair (low, high); got 1.0"),
        (SYSTEMS[1], {"radius": (-1.0, 0.9)}, "Expected `radius[0]` to be a positive"),
        (SYSTEMS[1], {"perturbation": -0.1}, "Expected `perturbation` not to be negative"),
        (SYSTEMS[1], {"rtol": 0.0}, "Expected `rtol` to be a positive finite number; got 0.0"),
        (SYSTEMS[1], {"rtol": 1e-15}, "Expected `rtol` to be at least 2.3e-14; got 1e-15"),
        (SYSTEMS[1], {"drift_limit": -1.0}, "Expected `drift_limit` to be a positive"),
        (SYSTEMS[2], {"angle": math.inf}, "Expected `angle` to be a positive finite number"),
        (SYSTEMS[4], {"eccentricity": (0.0, 1.0)}, "Expected `eccentricity` to lie in [0, 1)"),
        (SYSTEMS[4], {"semi_major_axis": (0.0, 1.0)}, "Expected `semi_major_axis[0]` to be a pos"),
        (SYSTEMS[5], {"energy": (0.5, 1.5)}, "Expected `energy` to lie in (0, 1]"),
        (SYSTEMS[6], {"energy": (0.0, 1.5)}, "Expected `energy` to be positive; got (0.0, 1.5)"),
        (SYSTEMS[6], {"modes": 0}, "Expected `modes` to be at least 1; got 0"),
    ],
)
def test_bad_options(system: System, bad: dict[str, object], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        system.simulate(2, 3, 0.1, **bad)
