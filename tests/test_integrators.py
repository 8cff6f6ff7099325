import math
import re
from typing import Any

import pytest
import torch
from helpers import (
    F64,
    ConvexH,
    JointHNet,
    ProductH,
    adaptive,
    flow_map,
    jacobian,
    linear_matrix,
    omega,
    randn,
    random_hnet,
    seeded,
    slope,
    symplectic_defect,
)
from torch import Tensor

import srnn
from srnn.errors import ConvergenceError
from srnn.motion import integrators
from srnn.motion.fields import VectorField, as_field
from srnn.systems import Pendulum, QuadraticHamiltonian

SPLITTINGS = [
    "symplectic-euler",
    "leapfrog",
    "leapfrog-drift",
    "leapfrog-reused-kick",
    "yoshida4",
    "yoshida6",
    "yoshida8",
]
SYMMETRIC = [name for name in SPLITTINGS if name != "symplectic-euler"] + ["implicit-midpoint"]
ORDERS = {
    "euler": 1,
    "symplectic-euler": 1,
    "leapfrog": 2,
    "leapfrog-drift": 2,
    "leapfrog-reused-kick": 2,
    "yoshida4": 4,
    "yoshida6": 6,
    "yoshida8": 8,
    "rk4": 4,
    "implicit-midpoint": 2,
    "tao2": 2,
    "tao4": 4,
}

# -- order ------------------------------------------------------------------------------------

# Numbers of steps over a time of 2 for which the error is neither rounding nor pre-asymptotic.
STEPS = {
    "euler": (128, 192, 256, 384, 512),
    "rk4": (64, 96, 128, 192, 256),
    "yoshida6": (12, 16, 24, 32, 48),
    "yoshida8": (24, 28, 32, 36),
    "implicit-midpoint": (24, 32, 48),
    "tao2": (64, 96, 128),
    "tao4": (160, 240),
}
USUAL = (16, 24, 32, 48, 64)


def measured_order(
    hamiltonian: object, name: str, z0: Tensor, truth: Tensor, steps: tuple[int, ...] | None = None
) -> float:
    steps = steps or STEPS.get(name, USUAL)
    errors = []
    for count in steps:
        z = srnn.rollout(hamiltonian, name, z0, dt=2.0 / count, steps=count)[-1]
        errors.append(float((z - truth).norm()))
    return slope(steps, errors)


def test_the_table_of_methods_is_whole() -> None:
    assert {name: integrators.get(name).order for name in integrators.available()} == ORDERS
    assert all(integrators.get(name).name == name for name in ORDERS)
    plain = [name for name in ORDERS if not integrators.get(name).symplectic]
    assert plain == ["euler", "rk4"]


@pytest.mark.parametrize("name", ORDERS)
def test_order_on_coupled_oscillators(name: str) -> None:
    kinetic = torch.tensor([[0.6, 0.15], [0.15, 0.4]], dtype=F64)
    potential = torch.tensor([[1.0, -0.25], [-0.25, 0.75]], dtype=F64)
    z0 = torch.tensor([[1.0, -0.5, 0.3, 0.8]], dtype=F64)
    truth = z0 @ torch.linalg.matrix_exp(2.0 * linear_matrix(kinetic, potential)).mT
    soft = {"yoshida6": (8, 10, 12, 16, 20), "yoshida8": (14, 16, 18, 20)}
    hamiltonian = QuadraticHamiltonian(kinetic, potential)
    order = measured_order(hamiltonian, name, z0, truth, soft.get(name))
    assert order == pytest.approx(ORDERS[name], abs=0.1)


@pytest.mark.parametrize("name", ORDERS)
def test_order_on_a_nonlinear_pendulum(name: str) -> None:
    z0 = [1.5, 0.5]
    truth = adaptive(lambda z: (z[1], -math.sin(z[0])), z0, 2.0)[-1]
    pendulum = Pendulum(gravity=1.0)
    order = measured_order(pendulum, name, torch.tensor([z0], dtype=F64), truth[None])
    assert order == pytest.approx(ORDERS[name], abs=0.1)


@pytest.mark.parametrize("name", ["euler", "rk4", "implicit-midpoint", "tao2", "tao4"])
def test_order_on_a_hamiltonian_that_is_not_separable(name: str) -> None:
    z0 = [0.0, -1.5]
    truth = adaptive(lambda z: ((z[0] ** 2 + 1) * z[1], -(z[1] ** 2 + 1) * z[0]), z0, 2.0)[-1]
    order = measured_order(ProductH(), name, torch.tensor([z0], dtype=F64), truth[None])
    assert order == pytest.approx(ORDERS[name], abs=0.1)


def test_an_own_runge_kutta_table_has_its_order() -> None:
    kutta: Any = integrators.RungeKutta("kutta3", 3, ((0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6))
    z0 = torch.tensor([[1.0, 0.0]], dtype=F64)
    truth = torch.tensor([[math.cos(2.0), -math.sin(2.0)]], dtype=F64)
    order = measured_order(srnn.systems.MassSpring(), kutta, z0, truth, (32, 64, 128))
    assert order == pytest.approx(3, abs=0.1)


# -- cost -------------------------------------------------------------------------------------


class Evaluations:
    """Counts how often the two networks of an H-NET are evaluated, in whichever way."""

    def __init__(self, net: srnn.HNet) -> None:
        self.kinetic = self.potential = 0
        # Energy, closed-form gradient and autograd all pass through the first layer.
        net.kinetic.mlp.layers[0].register_forward_hook(self._kinetic)
        net.potential.mlp.layers[0].register_forward_hook(self._potential)

    def _kinetic(self, *_: object) -> None:
        self.kinetic += 1

    def _potential(self, *_: object) -> None:
        self.potential += 1


@pytest.mark.parametrize(
    ("name", "kinetic", "potential"),
    [
        ("leapfrog", 10, 11),  # one K' and one V' a step, and one V' to begin with
        ("leapfrog-reused-kick", 10, 11),
        ("leapfrog-drift", 11, 10),
        ("symplectic-euler", 10, 10),
        ("yoshida4", 30, 31),
        ("yoshida6", 70, 71),
        ("yoshida8", 150, 151),
        ("euler", 10, 10),
        ("rk4", 40, 40),
    ],
)
def test_evaluations_in_ten_steps(name: str, kinetic: int, potential: int) -> None:
    net = random_hnet(0, hidden=4)
    count = Evaluations(net)
    srnn.rollout(net, name, randn(0, 3, 4), dt=0.1, steps=5, substeps=2)
    assert (count.kinetic, count.potential) == (kinetic, potential)


@pytest.mark.parametrize(("name", "expected"), [("leapfrog", 30), ("leapfrog-reused-kick", 21)])
def test_evaluations_of_an_onet_in_ten_steps(name: str, expected: int) -> None:
    net, calls = srnn.ONet(1, 4, generator=seeded(0), dtype=F64), []
    net.mlp.register_forward_hook(lambda *_: calls.append(1))
    srnn.rollout(net, name, randn(0, 3, 2), dt=0.1, steps=10)
    assert len(calls) == expected


# -- time reversal ----------------------------------------------------------------------------


def there_and_back(field: object, name: str, z0: Tensor) -> float:
    there = srnn.rollout(field, name, z0, dt=0.1, steps=30)[-1].detach()
    assert float((there - z0).norm()) > 0.3  # it went somewhere
    back = srnn.rollout(field, name, there, dt=0.1, steps=30, backward=True)[-1]
    return float((back - z0).detach().abs().max())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_a_symmetric_method_returns_to_the_start(name: str, seed: int) -> None:
    net = random_hnet(seed, hidden=(8, 8), quadratic=bool(seed))
    assert there_and_back(net, name, randn(seed, 4, 4)) < 1e-10
    if name == "implicit-midpoint":  # whether or not H is separable
        assert there_and_back(JointHNet(seed), name, randn(seed, 4, 4)) < 1e-10


@pytest.mark.parametrize("name", ["euler", "symplectic-euler"])
def test_a_method_that_is_not_symmetric_does_not_return(name: str) -> None:
    assert there_and_back(random_hnet(0), name, randn(0, 4, 4)) > 1e-3


@pytest.mark.parametrize("name", ["tao2", "tao4"])
@pytest.mark.parametrize("net", [random_hnet(3), JointHNet(3)], ids=["separable", "joint"])
def test_tao_returns_in_its_extended_space(net: torch.nn.Module, name: str) -> None:
    method, field, z0 = integrators.get(name), as_field(net), randn(3, 4, 4)
    state = method.init(field, z0)
    for dt in 30 * [0.1] + 30 * [-0.1]:
        state = method.step(field, state, dt)
    assert (state.z - z0).detach().abs().max() < 1e-10
    assert (state.twin - z0).detach().abs().max() < 1e-10


# -- symplecticity ----------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [8, (8, 8, 8)], ids=["one-layer", "three-layers"])
@pytest.mark.parametrize("quadratic", [False, True], ids=["mlp", "quadratic"])
@pytest.mark.parametrize("name", [*SPLITTINGS, "implicit-midpoint"])
def test_the_flow_map_of_an_hnet_is_symplectic(
    name: str, quadratic: bool, hidden: int | tuple[int, ...]
) -> None:
    for seed in range(2):
        net = random_hnet(seed, 2, hidden, quadratic)
        matrix = jacobian(flow_map(net, name, dt=0.2, steps=4), randn(seed, 4))
        assert (matrix - torch.eye(4)).abs().max() > 0.1  # not the identity, which is symplectic
        assert symplectic_defect(matrix, omega(2)) < 1e-10
        assert abs(float(torch.linalg.det(matrix)) - 1) < 1e-10


def test_implicit_midpoint_is_symplectic_for_a_hamiltonian_that_is_not_separable() -> None:
    for seed in range(3):
        net = JointHNet(seed, hidden=(8, 8))
        matrix = jacobian(flow_map(net, "implicit-midpoint", dt=0.2, steps=4), randn(seed, 4))
        assert symplectic_defect(matrix, omega(2)) < 1e-10


@pytest.mark.parametrize("name", ["euler", "rk4"])
def test_euler_and_runge_kutta_are_not_symplectic(name: str) -> None:
    for net in (random_hnet(0), JointHNet(0)):
        matrix = jacobian(flow_map(net, name, dt=0.4, steps=4), randn(0, 4))
        assert symplectic_defect(matrix, omega(2)) > 1e-6


def tao_flow(net: torch.nn.Module, name: str, dt: float, steps: int, both: Tensor) -> Tensor:
    """The map of (q, p, x, y) that `steps` steps of Tao's method make."""
    method, field = integrators.get(name), as_field(net)
    start = method.init(field, both[:4])
    state = type(start)(both[:4], both[4:])
    for _ in range(steps):
        state = method.step(field, state, dt)
    return torch.cat((state.z, state.twin))


@pytest.mark.parametrize("name", ["tao2", "tao4"])
@pytest.mark.parametrize("joint", [False, True], ids=["separable", "joint"])
def test_tao_is_symplectic_in_its_extended_space(joint: bool, name: str) -> None:
    # The extended form is dq^dp + dx^dy: q pairs with p and x with y.
    form = torch.block_diag(omega(2), omega(2))
    for seed in range(2):
        net = JointHNet(seed, hidden=(8, 8)) if joint else random_hnet(seed, quadratic=True)
        start = torch.cat((randn(seed, 4), randn(seed + 10, 4)))  # copies that have parted
        matrix = jacobian(lambda both, net=net: tao_flow(net, name, 0.1, 4, both), start)
        assert symplectic_defect(matrix, form) < 1e-10
        assert abs(float(torch.linalg.det(matrix)) - 1) < 1e-10


@pytest.mark.parametrize(
    ("name", "low", "high", "order"), [("tao2", 1e-5, 1e-3, 2), ("tao4", 1e-7, 1e-5, 4)]
)
def test_tao_seen_in_phase_space_is_only_nearly_symplectic(
    name: str, low: float, high: float, order: int
) -> None:
    for seed in range(3):
        defects = [
            symplectic_defect(
                jacobian(flow_map(JointHNet(seed), name, dt=0.5 / n, steps=n), randn(seed, 4)),
                omega(2),
            )
            for n in (10, 20)
        ]
        assert low < defects[0] < high
        assert slope((10, 20), defects) == pytest.approx(order, abs=0.3)


# -- energy -----------------------------------------------------------------------------------


def energy_error(field: object, name: str, z0: Tensor, dt: float, steps: int) -> Tensor:
    with torch.no_grad():
        energy = field(srnn.rollout(field, name, z0, dt=dt, steps=steps))
    return (energy - energy[0]).abs().amax(dim=-1)


@pytest.mark.parametrize("name", SPLITTINGS[:5])
def test_the_energy_error_of_a_symplectic_method_is_bounded(name: str) -> None:
    net = random_hnet(6, quadratic=True, hidden=4)
    error = energy_error(net, name, randn(6, 2, 4), 0.1, 1000)
    early, late = float(error[:250].max()), float(error[-250:].max())
    assert 1e-8 < early < 1
    assert late < 1.2 * early


@pytest.mark.parametrize(
    ("name", "dt", "steps"),
    [("implicit-midpoint", 0.25, 120), ("tao2", 0.05, 500), ("tao4", 0.1, 200)],
)
def test_the_energy_error_is_bounded_where_h_is_not_separable(
    name: str, dt: float, steps: int
) -> None:
    z0 = torch.tensor([[0.0, -1.5]], dtype=F64)
    error = energy_error(ProductH(), name, z0, dt, steps)
    early, late = float(error[: steps // 4].max()), float(error[-steps // 4 :].max())
    assert 1e-8 < early < 0.1
    assert late < 1.3 * early


def test_the_energy_error_of_euler_grows() -> None:
    net = srnn.QuadraticH(2, dtype=F64)
    with torch.no_grad():
        net.potential.matrix.copy_(torch.tensor([[2.0, -0.5], [-0.5, 1.5]]))
    error = energy_error(net, "euler", randn(5, 2, 4), 0.1, 400)
    assert bool((error[1:] > error[:-1]).all())
    assert error[400] > 10 * error[100]


def test_implicit_midpoint_keeps_a_quadratic_energy() -> None:
    net = srnn.QuadraticH(2, dtype=F64)
    with torch.no_grad():
        net.potential.matrix.copy_(torch.tensor([[2.0, -0.5], [-0.5, 1.5]]))
    assert energy_error(net, "implicit-midpoint", randn(5, 2, 4), 0.3, 100).max() < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_an_euler_step_on_a_convex_separable_hamiltonian_expands(seed: int) -> None:
    H, z0, h = ConvexH(3), randn(seed, 6), 0.2
    hessian = torch.autograd.functional.hessian(H, z0)
    expected = torch.linalg.det(torch.eye(3, dtype=F64) + h * h * hessian[3:, 3:] @ hessian[:3, :3])
    found = torch.linalg.det(jacobian(flow_map(H, "euler", dt=h, steps=1), z0))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert found > 1 + h * h  # det(I + h^2 AB) >= 1 + h^2 tr(AB)


# -- an O-NET through leapfrog ----------------------------------------------------------------


def by_hand(net: srnn.ONet, z: Tensor, h: float, steps: int, reuse: bool) -> Tensor:
    """Leapfrog for an O-NET, written out after equation (4), in both readings."""
    d = net.dim
    q, p = z[..., :d], z[..., d:]
    kick = net(torch.cat((q, p), -1))[..., d:]
    states = [z]
    for _ in range(steps):
        if not reuse:
            kick = net(torch.cat((q, p), -1))[..., d:]
        half = p + h / 2 * kick
        q = q + h * net(torch.cat((q, half), -1))[..., :d]
        kick = net(torch.cat((q, half), -1))[..., d:]
        p = half + h / 2 * kick
        states.append(torch.cat((q, p), -1))
    return torch.stack(states)


@pytest.mark.parametrize(("name", "reuse"), [("leapfrog", False), ("leapfrog-reused-kick", True)])
def test_leapfrog_conventions_for_an_onet(name: str, reuse: bool) -> None:
    net, z0 = srnn.ONet(2, 16, generator=seeded(0), dtype=F64), randn(0, 3, 4)
    found = srnn.rollout(net, name, z0, dt=0.2, steps=6)
    torch.testing.assert_close(found, by_hand(net, z0, 0.2, 6, reuse), rtol=0, atol=1e-14)
    assert (found - by_hand(net, z0, 0.2, 6, not reuse)).abs().max() > 1e-5


def test_leapfrog_of_an_onet_is_a_function_of_the_state() -> None:
    net, z0 = srnn.ONet(2, 16, generator=seeded(0), dtype=F64), randn(0, 3, 4)

    def twice(name: str) -> Tensor:
        middle = srnn.rollout(net, name, z0, dt=0.2, steps=5)[-1]
        return srnn.rollout(net, name, middle, dt=0.2, steps=5)[-1]

    whole = srnn.rollout(net, "leapfrog", z0, dt=0.2, steps=10)[-1]
    torch.testing.assert_close(twice("leapfrog"), whole, rtol=0, atol=1e-14)
    # The other convention carries the kick in its state, and starts afresh from (q, p) alone.
    whole = srnn.rollout(net, "leapfrog-reused-kick", z0, dt=0.2, steps=10)[-1]
    assert (twice("leapfrog-reused-kick") - whole).abs().max() > 1e-5


@pytest.mark.parametrize("name", SPLITTINGS)
def test_a_rollout_of_an_hnet_can_be_cut_anywhere(name: str) -> None:
    net, z0 = random_hnet(1), randn(1, 3, 4)
    whole = srnn.rollout(net, name, z0, dt=0.2, steps=10)
    rest = srnn.rollout(net, name, whole[5], dt=0.2, steps=5)
    torch.testing.assert_close(rest, whole[5:], rtol=0, atol=1e-13)


def test_for_a_separable_hamiltonian_both_conventions_are_one_method() -> None:
    net, z0 = random_hnet(0, quadratic=True), randn(0, 3, 4)
    one, other = (
        srnn.rollout(net, name, z0, dt=0.2, steps=6)
        for name in ("leapfrog", "leapfrog-reused-kick")
    )
    assert torch.equal(one, other)


# -- the implicit midpoint rule ---------------------------------------------------------------


def test_implicit_midpoint_solves_its_equation_to_rounding() -> None:
    field, z0 = as_field(JointHNet(1)), randn(1, 5, 4)
    z1 = integrators.get("implicit-midpoint").step(field, z0, 0.5)
    assert (z1 - z0 - 0.5 * field((z0 + z1) / 2)).detach().abs().max() < 1e-14


@pytest.mark.parametrize("size", [1e-18, 1e-12, 1.0, 1e6])
def test_implicit_midpoint_is_as_exact_whatever_the_size(size: float) -> None:
    """On a linear field a step is the Cayley transform, whatever the numbers' unit."""
    rate = torch.tensor([[0.0, 1.0], [-400.0, 0.0]], dtype=F64)
    field, z0, dt = VectorField(lambda z: z @ rate.mT, dim=1), size * randn(0, 3, 2), 0.05
    eye = torch.eye(2, dtype=F64)
    exact = torch.linalg.solve(eye - dt / 2 * rate, (eye + dt / 2 * rate) @ z0.mT).mT
    found = srnn.rollout(field, "implicit-midpoint", z0, dt=dt, steps=1)[-1]
    assert float((found - exact).abs().max()) < 1e-13 * size


def test_implicit_midpoint_takes_a_field_that_rounds_more_than_its_state() -> None:
    """Near a rest point a network's dz/dt is a small difference of large terms."""
    net = random_hnet(0)
    z0 = 1e-9 * randn(1, 4, 4)
    offset = as_field(net)(torch.zeros(4, dtype=F64))
    field = VectorField(lambda z: as_field(net)(z) - offset, dim=2)
    z = srnn.rollout(field, "implicit-midpoint", z0, dt=0.1, steps=20)
    defect = z[1:] - z[:-1] - 0.1 * field((z[1:] + z[:-1]) / 2)
    assert defect.abs().max() < 1e-15


def test_implicit_midpoint_takes_each_state_for_itself() -> None:
    net, z0 = JointHNet(1), randn(1, 4, 4)
    together = srnn.rollout(net, "implicit-midpoint", z0, dt=0.5, steps=3)
    for k in range(4):
        alone = srnn.rollout(net, "implicit-midpoint", z0[k], dt=0.5, steps=3)
        torch.testing.assert_close(together[:, k], alone, rtol=0, atol=1e-13)


def test_implicit_midpoint_converges_in_single_precision() -> None:
    z0 = torch.tensor([[3.0, 0.0], [0.1, 200.0]])
    z = srnn.rollout(Pendulum(gravity=1.0), "implicit-midpoint", z0, dt=0.1, steps=50)
    assert z.dtype == torch.float32
    assert bool(torch.isfinite(z).all())


def test_implicit_midpoint_says_when_it_does_not_converge() -> None:
    impatient = integrators.ImplicitMidpoint(iterations=2)
    with pytest.raises(
        ConvergenceError, match=r"did not converge in 2 Newton steps at dt=1: .*sma"
    ):
        srnn.rollout(ProductH(), impatient, torch.tensor([[1.0, 2.0]], dtype=F64), dt=1.0, steps=1)


def test_a_state_at_rest_does_not_end_the_iteration_of_the_others() -> None:
    field, z0 = as_field(Pendulum()), torch.tensor([[0.0, 0.0], [2.5, 1.0]], dtype=F64)
    z1 = integrators.get("implicit-midpoint").step(field, z0, 0.4)
    assert z1[0].tolist() == [0, 0]
    assert (z1 - z0 - 0.4 * field((z0 + z1) / 2)).abs().max() < 1e-13


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SPLITTINGS, "tao2", "tao4"])
def test_a_method_refuses_a_hamiltonian_that_it_is_not_for(name: str) -> None:
    field: Any = ProductH()
    expected = rf"{name}' splits H .* ProductH is not separable. Use 'tao2' or 'tao4'"
    if name.startswith("tao"):
        field = VectorField(torch.neg, dim=1)
        expected = rf"'{name}' is for Hamiltonians; the field has none"
    with pytest.raises(ValueError, match=expected):
        srnn.rollout(field, name, torch.zeros(1, 2), dt=0.1, steps=1)


def test_what_is_no_integrator_is_answered_by_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"Unknown `integrator`: 'verlet'\. Known: ") as caught:
        integrators.get("verlet")
    assert all(repr(name) in str(caught.value) for name in ORDERS)
    for wrong in (None, 4, integrators.Splitting, srnn.RNN(1, 2)):
        with pytest.raises(TypeError, match=r"Expected an integrator or its name; .*'leapfrog'"):
            integrators.get(wrong)


def test_a_splitting_has_only_kicks_and_drifts_and_advances_time_by_one_step() -> None:
    with pytest.raises(ValueError, match=r"Unknown `stage`: 'turn'\. Known: 'kick', 'drift'"):
        integrators.Splitting("mine", 1, (("kick", 1.0), ("turn", 1.0)))
    cases: list[tuple[Any, str]] = [
        ((("kick", 1.0), ("drift", 0.5)), "drifts` to sum to 1; got 0.5."),
        ((("kick", 0.5), ("drift", 1.0), ("kick", 0.6)), "kicks` to sum to 1; got 1.1."),
        ((("drift", 1.0),), "kicks` to sum to 1; got 0.0."),
        ((), "kicks` to sum to 1; got 0.0."),
    ]
    for stages, text in cases:
        with pytest.raises(ValueError, match=f"^Expected the `{re.escape(text)}$"):
            integrators.Splitting("mine", 1, stages)


@pytest.mark.parametrize(
    ("matrix", "weights", "text"),
    [
        (
            ((0.5, 0.5),),
            (0.5, 0.5),
            "row i of `matrix` to hold i numbers, 1, 2, ...; got rows of [2].",
        ),
        (((0.5,),), (1.0,), "one weight a stage, 2 for 1 rows of `matrix`; got 1."),
        (((0.5,),), (0.5, 0.25), "the `weights` to sum to 1; got 0.75."),
    ],
)
def test_a_runge_kutta_table_has_its_shape(matrix: Any, weights: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^Expected {re.escape(text)}"):
        integrators.RungeKutta("mine", 1, matrix, weights)


def test_a_row_of_zeros_is_a_stage_at_the_state() -> None:
    z0, field = randn(0, 3, 4), random_hnet(1)
    twice = integrators.RungeKutta("twice", 1, ((0.0,),), (0.5, 0.5))
    ends = [srnn.rollout(field, how, z0, dt=0.1, steps=3)[-1] for how in (twice, "euler")]
    assert torch.allclose(*ends, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ["tao2", "tao4"])
def test_tao_is_the_same_method_in_another_unit_of_time(name: str) -> None:
    """With one unit for q and p, scaling changes the numbers and nothing else."""
    H, z0 = ProductH(), torch.tensor([[0.0, -1.5]], dtype=F64)
    for time in (0.2, 3.0):
        scale = srnn.scaling.Scale(2.0, 2.0, time, torch.tensor([0.3, -0.2], dtype=F64))
        outer = srnn.scaling.ScaledHamiltonian(H, scale)
        expected = srnn.rollout(outer, name, z0, dt=0.02 * time, steps=50)
        inner: Any = {"dt": 0.02, "steps": 50}
        method = integrators.rescaled(name, time)
        found = scale.decode(srnn.rollout(H, method, scale.encode(z0), **inner))
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
        plain = scale.decode(srnn.rollout(H, name, scale.encode(z0), **inner))
        assert (plain - expected).abs().max() > 1e-9  # with the omega of another unit of time


def test_only_tao_has_a_unit_of_time() -> None:
    for name in ORDERS:
        same = integrators.rescaled(name, 0.5) is integrators.get(name)
        assert same == (not name.startswith("tao"))
        assert integrators.rescaled(name, 1.0) == integrators.get(name)
    assert integrators.rescaled(None, 0.5) is None
    assert integrators.rescaled(integrators.Tao("mine", 2, (1.0,), omega=3.0), 2.0).omega == 6.0
    with pytest.raises(ValueError, match=r"Expected `time` to be a positive finite number; got 0"):
        integrators.rescaled("tao2", 0.0)


def test_an_integrator_object_is_taken_as_it_is() -> None:
    tight = integrators.Tao("tao-tight", 2, (1.0,), omega=50.0)
    assert integrators.get(tight) is tight
    # A tighter binding keeps the copies closer together.
    field, z0 = as_field(ProductH()), torch.tensor([[0.0, -1.5]], dtype=F64)

    def distance(method: integrators.Integrator) -> float:
        state = method.init(field, z0)
        state = state._replace(twin=state.twin + 0.1)
        farthest = 0.0
        for _ in range(150):
            state = method.step(field, state, 0.01)
            farthest = max(farthest, float((state.z - state.twin).norm()))
        return farthest

    loose = integrators.Tao("tao-loose", 2, (1.0,), omega=0.1)
    start = 0.1 * 2**0.5
    assert distance(tight) < 1.1 * start
    assert distance(loose) > 1.5 * start
