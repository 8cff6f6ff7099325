"""Pendulum, Kepler, Hénon-Heiles, FPUT and double pendulum, each against a theory of its own."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import torch
from helpers import seeded as generator

import srnn
from srnn.systems import (
    FPUT,
    DoublePendulum,
    HenonHeiles,
    OrbitStatus,
    Pendulum,
    SpringChain,
    System,
    ThreeBody,
    TwoBody,
)

F64 = torch.float64


def test_the_period_of_a_pendulum_is_an_elliptic_integral() -> None:
    system = Pendulum(mass=1.3, length=0.7, gravity=2.5)
    for angle in (0.1, 2.0, 3.0):
        period = 4 * math.sqrt(0.7 / 2.5) * scipy.special.ellipk(math.sin(angle / 2) ** 2)
        z0 = torch.tensor([[angle, 0.0]], dtype=F64)
        states, _ = system.flow(z0, period / 4, 4)
        assert (states[4] - z0).abs().max() < 1e-9
        assert abs(float(states[1, 0, 0])) < 1e-10  # at the bottom after a quarter
        assert float(states[2, 0, 0]) == pytest.approx(-angle, abs=1e-9)


def test_the_pendulum_of_the_default_starts_never_goes_over_the_top() -> None:
    for system in (Pendulum(), Pendulum(mass=1.3, length=0.7, gravity=2.5)):
        z0 = system.initial_states(2000, generator())
        separatrix = 2 * system.mass * system.gravity * system.length
        assert system(z0).max() < separatrix
        assert system(z0).max() > 0.9 * separatrix
    assert (Pendulum().initial_states(5, momentum=0.0)[:, 1] == 0).all()


def kepler(start: torch.Tensor, pull: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative position and velocity at `times`, by Kepler's equation, from relative z at 0."""
    r, v = start[:2].numpy(), start[2:].numpy()
    distance = np.linalg.norm(r)
    a = 1 / (2 / distance - v @ v / pull)
    vector = ((v @ v - pull / distance) * r - (r @ v) * v) / pull  # points to the pericentre
    e = np.linalg.norm(vector)
    along = vector / e
    across = np.array([-along[1], along[0]]) * np.sign(r[0] * v[1] - r[1] * v[0])
    n = math.sqrt(pull / a**3)
    first = math.atan2(r @ across / math.sqrt(1 - e * e), r @ along + a * e)
    mean = first - e * math.sin(first) + n * times
    anomaly = np.array(
        [scipy.optimize.brentq(lambda x, m=m: x - e * math.sin(x) - m, m - 1, m + 1) for m in mean]
    )
    c, s, minor = np.cos(anomaly), np.sin(anomaly), math.sqrt(1 - e * e)
    position = a * (np.outer(c - e, along) + np.outer(minor * s, across))
    speed = n * a / (1 - e * c)
    velocity = speed[:, None] * (np.outer(-s, along) + np.outer(minor * c, across))
    return position, velocity


def test_two_bodies_follow_keplers_ellipse() -> None:
    system = TwoBody(masses=(0.7, 1.6), gravity=1.2)
    m1, m2 = 0.7, 1.6
    z0 = system.initial_states(4, generator(), eccentricity=(0.1, 0.7))
    states, status = system.flow(z0, 0.1, 80)
    assert (status == 0).all()
    q1, q2, p1, p2 = states.unflatten(-1, (4, 2)).unbind(-2)
    apart, velocity = q1 - q2, p1 / m1 - p2 / m2
    for i in range(4):
        start = torch.cat((apart[0, i], velocity[0, i]))
        position, speed = kepler(start, 1.2 * (m1 + m2), 0.1 * np.arange(81))
        assert np.abs(apart[:, i].numpy() - position).max() < 1e-8
        assert np.abs(velocity[:, i].numpy() - speed).max() < 1e-8
    # The centre of mass rests at the origin.
    assert (m1 * q1 + m2 * q2).abs().max() < 1e-8
    assert (p1 + p2).abs().max() < 1e-9
    data = srnn.Trajectories.from_states(states, dt=0.1)
    turning = srnn.metrics.angular_momentum(data, bodies=2)
    assert (turning > 0).all()
    assert (turning - turning[0]).abs().max() < 1e-9


def test_two_body_starts_have_the_elements_asked_for() -> None:
    system = TwoBody(masses=(0.7, 1.6), gravity=1.2)
    z0 = system.initial_states(4000, generator(1))
    q1, q2, p1, p2 = z0.unflatten(-1, (4, 2)).unbind(-2)
    apart, velocity = q1 - q2, p1 / 0.7 - p2 / 1.6
    pull = 1.2 * 2.3
    distance = apart.norm(dim=-1)
    a = 1 / (2 / distance - velocity.square().sum(-1) / pull)
    momentum = apart[:, 0] * velocity[:, 1] - apart[:, 1] * velocity[:, 0]
    e = (1 - momentum.square() / (pull * a)).clamp(min=0).sqrt()
    for drawn, low, high in ((a, 0.8, 1.2), (e, 0.0, 0.5)):
        assert drawn.min() > low - 1e-7
        assert drawn.max() < high + 1e-7
        assert abs(float(drawn.mean()) - (low + high) / 2) < 0.02
        assert abs(float(drawn.std()) - (high - low) / 12**0.5) < 0.01
    assert abs(float(apart.mean())) < 0.05


def test_a_parabolic_orbit_is_not_condemned_for_its_energy_of_zero() -> None:
    system = TwoBody()
    z0 = torch.tensor([[0.5, 0.0, -0.5, 0.0, 0.0, 1.0, 0.0, -1.0]], dtype=F64)
    assert abs(float(system(z0))) < 1e-15
    _, status = system.flow(z0, 0.5, 10)
    assert status.tolist() == [OrbitStatus.OK]


def test_henon_and_heiles() -> None:
    system = HenonHeiles()
    assert system.critical_energy == pytest.approx(1 / 6)
    root = math.sqrt(3) / 2
    saddles = torch.tensor([[0.0, 1.0], [root, -0.5], [-root, -0.5]], dtype=F64)
    at_rest = torch.cat((saddles, torch.zeros(3, 2, dtype=F64)), dim=-1)
    torch.testing.assert_close(system(at_rest), torch.full((3,), 1 / 6, dtype=F64))
    assert system.gradient(at_rest).abs().max() < 1e-15
    for point in saddles:
        curvature = torch.func.jacrev(system.potential_gradient)(point)
        assert torch.linalg.det(curvature) < 0
    # Turning the plane by 120 degrees changes nothing.
    z = system.initial_states(10, generator())
    c, s = -0.5, root
    turn = torch.tensor([[c, -s], [s, c]], dtype=F64)
    turned = torch.cat((z[:, :2] @ turn.mT, z[:, 2:] @ turn.mT), dim=-1)
    torch.testing.assert_close(system(turned), system(z))


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [1.0, 0.5])
def test_henon_heiles_starts_stay_in_the_triangle(coupling: float) -> None:
    system = HenonHeiles(coupling)
    z0 = system.initial_states(100, generator(1), energy=(0.1, 1.0))
    level = system(z0) / system.critical_energy
    assert level.min() > 0.1
    assert level.max() < 1.0
    assert abs(float(level.mean()) - 0.55) < 0.06
    states, status = system.flow(z0, 0.5, 60, rtol=1e-9, drift_limit=1e-6)
    assert (status == 0).all()
    # Of a side of the triangle, y = -1/2, and of the others, by symmetry.
    y = states[..., 1] * coupling
    x = states[..., 0] * coupling
    for height in (y, -y / 2 + math.sqrt(3) / 2 * x, -y / 2 - math.sqrt(3) / 2 * x):
        assert height.min() > -0.5
    assert abs(float(z0.mean())) < 0.1


def mode_energies(system: FPUT, z: torch.Tensor) -> torch.Tensor:
    """Harmonic energy in each linear mode."""
    q, p = (half @ system.modes().mT for half in z.chunk(2, dim=-1))
    return (p**2 + (system.frequencies() * q) ** 2) / 2


def test_a_linear_fput_chain_is_a_spring_chain() -> None:
    system = FPUT(masses=8, alpha=0.0, beta=0.0)
    chain = SpringChain([1.0] * 8, [1.0] * 9)
    z0 = system.initial_states(5, generator(), modes=8, energy=(1.0, 2.0))
    torch.testing.assert_close(system(z0), chain(z0))
    states, _ = system.flow(z0, 0.5, 40)
    exact, _ = chain.flow(z0, 0.5, 40)
    assert (states - exact).abs().max() < 1e-9
    torch.testing.assert_close(system.frequencies(), chain.frequencies())
    # Each mode keeps its energy, and together they have all of it.
    energies = mode_energies(system, states)
    assert (energies - energies[0]).abs().max() < 1e-9
    torch.testing.assert_close(energies.sum(dim=-1), system(states))
    modes = system.modes()
    torch.testing.assert_close(modes @ modes.mT, torch.eye(8, dtype=F64))


def test_fput_starts_are_low_modes() -> None:
    system = FPUT()
    z0 = system.initial_states(200, generator(1))
    energies = mode_energies(system, z0)
    total = energies.sum(dim=-1)
    assert total.min() > 0.02
    assert total.max() < 0.1
    assert energies[:, 4:].max() < 1e-20
    assert (energies[:, :4].mean(dim=0) / total.mean()).sub(0.25).abs().max() < 0.05
    assert FPUT(masses=2).initial_states(3, modes=4).shape == (3, 4)


def test_the_fput_nonlinearity_feeds_the_other_modes() -> None:
    """The alpha term couples mode 1 to mode 2, whose energy starts to grow as t^4."""
    system = FPUT(masses=8, alpha=0.25)
    z0 = torch.zeros(1, 16, dtype=F64)
    z0[0, :8] = system.modes()[0]
    states, status = system.flow(z0, 30.0, 4, rtol=1e-10, drift_limit=1e-7)
    assert status.tolist() == [OrbitStatus.OK]
    shares = mode_energies(system, states)[:, 0] / system(states)
    assert shares[0, 1:].max() < 1e-20
    assert shares[1:, 1].max() > 0.01
    # A quartic spring is symmetric: it never feeds an even mode from an odd one.
    symmetric = FPUT(masses=8, alpha=0.0, beta=1.0)
    states, _ = symmetric.flow(z0, 30.0, 4, rtol=1e-10, drift_limit=1e-7)
    shares = mode_energies(symmetric, states)[:, 0] / symmetric(states)
    assert shares[:, 1::2].max() < 1e-12
    assert shares[1:, 2].max() > 0.001


def test_a_broken_fput_spring_is_a_stop() -> None:
    system = FPUT(masses=2, alpha=1.0)
    z0 = torch.tensor([[3.0, -3.0, 0.0, 0.0]], dtype=F64)
    _, status = system.flow(z0, 0.5, 10, rtol=1e-8)
    assert status.tolist() == [OrbitStatus.STOPPED]


DOUBLE = DoublePendulum(masses=(0.7, 1.4), lengths=(1.2, 0.6), gravity=2.5)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("rest", [False, True], ids=["moving", "from rest"])
def test_units_do_not_matter(unit: float, rest: bool) -> None:
    # The same motion in another unit of length, of mass (unit^-2) and of time (unit^1/2).
    length, mass, time = unit, unit**-2, unit**0.5
    momentum = mass * length / time
    pull = length**3 / (mass * time**2)
    pairs: list[tuple[System, System, float, float, float]] = [
        (HenonHeiles(), HenonHeiles(coupling=1 / unit), unit, unit, 1.0),
        (FPUT(4, 0.25, 0.5), FPUT(4, 0.25 / unit, 0.5 / unit**2), unit, unit, 1.0),
        (
            Pendulum(1.3, 0.7, 2.5),
            Pendulum(1.3 * mass, 0.7 * length, 2.5 * length / time**2),
            1.0,
            momentum * length,
            time,
        ),
        (TwoBody((0.7, 1.6)), TwoBody((0.7 * mass, 1.6 * mass), pull), length, momentum, time),
        (ThreeBody(), ThreeBody((mass,) * 3, pull), length, momentum, time),
    ]
    for here, there, of_q, of_p, of_t in pairs:
        z0 = here.initial_states(4, generator(11))
        if rest:
            z0[:, here.dim :] = 0
        scale = torch.tensor([of_q, of_p], dtype=F64).repeat_interleave(here.dim)
        # Bodies at rest fall onto each other, later than this.
        expected, status = here.flow(z0, 0.02, 5)
        states, status_there = there.flow(z0 * scale, 0.02 * of_t, 5)
        assert status.tolist() == status_there.tolist() == [0] * 4
        assert (states / scale - expected).abs().max() < 1e-10 * expected.abs().max()
        energy = there(states)
        assert ((energy - energy[0]).abs() < 1e-10 * energy[0].abs()).all()


def test_the_double_pendulum_from_its_lagrangian() -> None:
    """H = p v - L with positions and velocities of the two masses in the plane."""
    (m1, m2), (l1, l2), g = DOUBLE.masses, DOUBLE.lengths, DOUBLE.gravity

    def lagrangian(q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        vx1, vy1 = l1 * v[0] * torch.cos(q[0]), l1 * v[0] * torch.sin(q[0])
        vx2, vy2 = vx1 + l2 * v[1] * torch.cos(q[1]), vy1 + l2 * v[1] * torch.sin(q[1])
        y1 = -l1 * torch.cos(q[0])
        y2 = y1 - l2 * torch.cos(q[1])
        kinetic = m1 * (vx1**2 + vy1**2) / 2 + m2 * (vx2**2 + vy2**2) / 2
        lowest = -m1 * g * l1 - m2 * g * (l1 + l2)
        return kinetic - (m1 * g * y1 + m2 * g * y2 - lowest)

    for q, v in torch.randn(6, 2, 2, generator=generator(), dtype=F64):
        p = torch.func.grad(lagrangian, argnums=1)(q, v)
        torch.testing.assert_close(DOUBLE.mass_matrix(q) @ v, p)
        z = torch.cat((q, p))
        torch.testing.assert_close(DOUBLE(z), p @ v - lagrangian(q, v))
        torch.testing.assert_close(DOUBLE.gradient(z)[2:], v)


def test_small_swings_are_the_linear_normal_modes() -> None:
    (m1, m2), (l1, l2), g = DOUBLE.masses, DOUBLE.lengths, DOUBLE.gravity
    mass = np.array([[(m1 + m2) * l1**2, m2 * l1 * l2], [m2 * l1 * l2, m2 * l2**2]])
    squares, modes = scipy.linalg.eigh(np.diag([(m1 + m2) * g * l1, m2 * g * l2]), mass)
    times = torch.arange(31, dtype=F64) * 0.2
    for square, mode in zip(squares, modes.T, strict=True):
        start = 1e-4 * torch.tensor(mode, dtype=F64)
        z0 = torch.cat((start, torch.zeros(2, dtype=F64)))[None]
        states, _ = DOUBLE.flow(z0, 0.2, 30)
        expected = torch.cos(math.sqrt(square) * times)[:, None] * start
        assert (states[:, 0, :2] - expected).abs().max() < 1e-9


def test_starts_of_the_double_pendulum() -> None:
    z0 = DOUBLE.initial_states(1000, generator(1))
    assert z0[:, :2].abs().max() < 1.5
    turning = torch.linalg.solve(DOUBLE.mass_matrix(z0[:, :2]), z0[:, 2:])
    fastest = math.sqrt(2.5 / 1.2)
    assert 0.95 * fastest < turning.abs().max() < fastest
    assert (DOUBLE.initial_states(5, velocity=0.0)[:, 2:] == 0).all()
