"""The spring chain against solvers of other kinds, and the closed form of its shadow."""

import math
import re

import numpy as np
import pytest
import scipy.integrate
import torch
from helpers import seeded as generator

import srnn
from srnn.systems import MassSpring, QuadraticHamiltonian, SpringChain

CHAIN = SpringChain.random(20, generator())


def test_parameters_are_drawn_as_in_the_paper() -> None:
    big = SpringChain.random(20_000, generator(1))
    for drawn, unit in ((big.masses, 1.0), (big.stiffness, 5.0)):
        assert abs(float(drawn.mean()) - unit) < 0.01 * unit
        assert abs(float(drawn.std()) - unit / 4) < 0.01 * unit
        assert drawn.min() == 0.2 * unit
    assert len(CHAIN.masses) == 20
    assert len(CHAIN.stiffness) == 21
    # Independent of each other.
    assert abs(float(torch.corrcoef(torch.stack((big.masses, big.stiffness[1:])))[0, 1])) < 0.03


def test_energy_by_hand() -> None:
    chain = SpringChain([2.0, 4.0], [1.0, 3.0, 5.0])
    z = torch.tensor([1.0, 3.0, 2.0, 4.0], dtype=torch.float64)
    # 2^2/4 + 4^2/8, and 1*1^2/2 + 3*(3-1)^2/2 + 5*(-3)^2/2
    assert float(chain(z)) == pytest.approx(1 + 2 + 0.5 + 6 + 22.5)
    expected = torch.tensor([[4.0, -3.0], [-3.0, 8.0]], dtype=torch.float64)
    assert torch.equal(chain.stiffness_matrix(), expected)


def test_the_exact_truth_against_an_adaptive_solver() -> None:
    z0 = CHAIN.initial_states(1, generator(2), start="all-free")
    m, k = CHAIN.masses.numpy(), CHAIN.stiffness.numpy()

    def rhs(_: float, z: np.ndarray) -> np.ndarray:
        tension = k * np.diff(z[:20], prepend=0.0, append=0.0)
        return np.concatenate((z[20:] / m, np.diff(tension)))

    times = 0.1 * np.arange(101)
    solved = scipy.integrate.solve_ivp(
        rhs, (0, 10), z0[0].numpy(), "DOP853", t_eval=times, rtol=1e-12, atol=1e-12
    )
    states, _ = CHAIN.flow(z0, 0.1, 100)
    assert np.abs(states[:, 0].numpy() - solved.y.T).max() < 1e-9


@pytest.mark.slow
def test_the_papers_truth_agrees_with_the_exact_one() -> None:
    # 0.001 is the paper's step.  Over its ten training points the two agree to 1e-5 of the state's
    # size; leapfrog's phase error, second order in the step, grows with time.
    z0 = CHAIN.initial_states(64, generator(3))
    exact, _ = CHAIN.flow(z0, 0.1, 200)
    fine, status = CHAIN.flow(z0, 0.1, 200, truth="leapfrog")
    assert status.tolist() == [0] * 64
    relative = (exact - fine).norm(dim=-1) / exact.norm(dim=-1)
    assert relative[:10].max() < 1e-5
    assert relative.max() < 1e-3
    error = [
        float((exact - CHAIN.flow(z0, 0.1, 200, truth="leapfrog", substeps=n)[0]).abs().max())
        for n in (100, 200)
    ]
    assert error[0] / error[1] == pytest.approx(4, rel=0.01)
    # The same steps, taken one by one by the integrator.
    one_by_one = srnn.rollout(CHAIN, "leapfrog", z0[:2], dt=0.1, steps=3, substeps=100)
    torch.testing.assert_close(fine[:4, :2], one_by_one, rtol=0, atol=1e-11)


def test_start_rules() -> None:
    reference = CHAIN.initial_states(500, generator(5))
    held = [0, 19, 20, 39]
    free = [i for i in range(40) if i not in held]
    assert (reference[:, held] == 0).all()
    assert (reference[:, free] != 0).all()
    everyone = CHAIN.initial_states(500, generator(5), start="all-free")
    assert (everyone != 0).all()
    for drawn in (reference[:, free], everyone):
        assert drawn.abs().max() <= 2.5
        assert abs(float(drawn.mean())) < 0.05
        assert abs(float(drawn.std()) - 5 / 12**0.5) < 0.02
    assert CHAIN.initial_states(500, generator(5), spread=0.1).abs().max() <= 0.1
    data = CHAIN.simulate(500, 1, 0.1, generator(5), start="all-free", dtype="float64")
    assert torch.equal(data.values[0], everyone)
    assert torch.equal(CHAIN.initial_states(500, generator(5), start="reference"), reference)


@pytest.mark.parametrize("masses", [1, 2])
def test_the_shortest_chains_start_with_all_masses_free(masses: int) -> None:
    chain = SpringChain.random(masses, generator(5))
    data = chain.simulate(10, 3, 0.1, generator(6), dtype="float64")
    assert (data.values != 0).all()
    assert torch.equal(data.values[0], chain.initial_states(10, generator(6), start="all-free"))
    text = f"in a chain of {masses}. Use start='all-free'."
    with pytest.raises(ValueError, match=re.escape(text)):
        chain.initial_states(1, start="reference")


def test_one_mass_is_a_mass_on_a_spring() -> None:
    chain, spring = SpringChain([1.7], [0.2, 0.4]), MassSpring(mass=1.7, stiffness=0.6)
    z0 = spring.initial_states(8, generator(6))
    torch.testing.assert_close(chain(z0), spring(z0))
    exact, closed = chain.flow(z0, 0.3, 100)[0], spring.flow(z0, 0.3, 100)[0]
    torch.testing.assert_close(exact, closed, rtol=0, atol=1e-12)
    assert float(chain.frequencies()) == pytest.approx(spring.frequency)
    # A whole period returns to the start, a quarter of it turns the start by 90 degrees.
    turn, _ = spring.flow(z0, 2 * math.pi / spring.frequency / 4, 4)
    torch.testing.assert_close(turn[4], z0, rtol=0, atol=1e-14)
    torch.testing.assert_close(turn[1, :, 1], -z0[:, 0] * (1.7 * 0.6) ** 0.5)


def test_frequencies_of_a_uniform_chain() -> None:
    n = torch.arange(1, 11, dtype=torch.float64)
    expected = 2 * torch.sin(math.pi * n / 22)
    torch.testing.assert_close(SpringChain([1.0] * 10, [1.0] * 11).frequencies(), expected)


def test_leapfrog_on_the_shadow_is_the_exact_motion() -> None:
    shadow = CHAIN.shadow_hamiltonian(0.1)
    z0 = CHAIN.initial_states(16, generator(7))
    step = srnn.rollout(shadow, "leapfrog", torch.eye(40, dtype=torch.float64), dt=0.1, steps=1)
    exact = torch.linalg.matrix_exp(0.1 * CHAIN.matrix())
    assert (step[1].mT - exact).abs().max() < 1e-12
    z = srnn.rollout(shadow, "leapfrog", z0, dt=0.1, steps=200)
    assert (z - CHAIN.flow(z0, 0.1, 200)[0]).abs().max() < 1e-10
    # It is another Hamiltonian: leapfrog on the true one is off by more than one.
    off = srnn.rollout(CHAIN, "leapfrog", z0, dt=0.1, steps=200) - CHAIN.flow(z0, 0.1, 200)[0]
    assert off.abs().max() > 1


def test_the_shadow_tends_to_the_chain() -> None:
    z = CHAIN.initial_states(4, generator(8))
    gaps = [float((CHAIN.shadow_hamiltonian(h)(z) - CHAIN(z)).abs().max()) for h in (0.02, 0.01)]
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.01)
    limit = math.pi / float(CHAIN.frequencies()[-1])
    with pytest.raises(ValueError, match="less than pi over the highest frequency"):
        CHAIN.shadow_hamiltonian(limit)
    with pytest.raises(ValueError, match="Expected `dt` to be a positive finite number; got -1"):
        CHAIN.shadow_hamiltonian(-1.0)


def test_a_quadratic_hamiltonian() -> None:
    g = generator(9)
    a, b = (torch.randn(3, 3, generator=g, dtype=torch.float64) for _ in range(2))
    system = QuadraticHamiltonian(a @ a.mT, b @ b.mT)
    z = torch.randn(5, 6, generator=g, dtype=torch.float64)
    slope = torch.func.vmap(torch.func.grad(system))(z)
    expected = torch.cat(
        (system.potential_gradient(z[:, :3]), system.kinetic_gradient(z[:, 3:])), -1
    )
    torch.testing.assert_close(slope, expected)
    hessian = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(system)))(z)
    kinetic, potential = system.kinetic_hessian(z[:, 3:]), system.potential_hessian(z[:, :3])
    torch.testing.assert_close(torch.vmap(torch.block_diag)(potential, kinetic), hessian)
    assert system.kinetic_hessian(z[:, 3:].float()).dtype == torch.float32
    assert system.potential_hessian(z[0, :3]).shape == (3, 3)
    assert system(z.float()).dtype == torch.float32
    good = torch.eye(3)
    for bad, text in (
        (good[:2], "Expected `kinetic_matrix` to have shape (dim, dim); got (2, 3)."),
        (good + torch.ones(3, 3).triu(), "Expected `kinetic_matrix` to be symmetric; it is not."),
        (good * math.nan, "Expected `kinetic_matrix` to be finite"),
        (torch.eye(2), "to have one shape; got (2, 2) and (3, 3)."),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            QuadraticHamiltonian(bad, good)
