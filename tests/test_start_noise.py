"""Rollouts from noisy states without ISO: the quadratic start, its noise, and the held-out loss."""

import pytest
import torch
from helpers import F64, seeded
from torch import Tensor

import srnn
from srnn.motion.flow_map import flow_map
from srnn.systems import SpringChain
from srnn.training.guess import warm_start
from srnn.training.guess.variable_projection import fit_quadratic
from srnn.training.recipes import Recipe
from srnn.training.run import Run

PAIR = SpringChain([0.8, 1.3], [4.0, 6.0, 5.0])
LEAPFROG = srnn.integrators.get("leapfrog")


def noisy(count: int, sigma: float = 0.5, seed: int = 0) -> srnn.Trajectories:
    g = seeded(seed)
    data = PAIR.simulate(count, steps=9, dt=0.1, generator=g, dtype=F64)
    return data.with_noise(sigma, generator=g)


def step(H: srnn.QuadraticH) -> Tensor:
    """Jacobian of one leapfrog step."""
    _, F = flow_map(H, "leapfrog", torch.zeros(1, 4, dtype=F64), dt=0.1, steps=1)
    return F[1, 0]


def fitted(data: srnn.Trajectories, variance: Tensor | None) -> tuple[srnn.QuadraticH, Tensor]:
    H = srnn.QuadraticH(2, dtype=F64)
    how = {"loss_from": 1, "observed_starts": True, "start_covariance": variance}
    return H, fit_quadratic(H, "leapfrog", data.values, 0.1, **how)


def test_from_observed_starts_the_fit_is_that_of_the_rollouts_loss() -> None:
    data = noisy(30)
    H, squares = fitted(data, None)
    loss = srnn.losses.trajectory_loss(H, LEAPFROG, data.values, 0.1)
    assert float(loss.detach()) == pytest.approx(float(squares.mean()), rel=1e-10)
    slopes = torch.autograd.grad(loss, list(H.parameters()))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-6
    with torch.no_grad():
        H.potential.matrix[0, 1] += 0.01
    assert srnn.losses.trajectory_loss(H, LEAPFROG, data.values, 0.1) > loss


def test_the_noise_of_the_starts_biases_the_fit_and_the_correction_takes_it_off() -> None:
    data = noisy(20_000)
    true = torch.linalg.matrix_exp(0.1 * PAIR.matrix())
    plain, corrected = (
        float((step(fitted(data, variance)[0]) - true).norm())
        for variance in (None, 0.25 * torch.eye(4, dtype=F64))
    )
    assert corrected < 0.003 < 0.01 < plain


def test_the_estimated_noise_is_that_of_each_half() -> None:
    g = seeded(1)
    data = PAIR.simulate(4000, steps=9, dt=0.1, generator=g, dtype=F64)
    data = data.with_noise(0.3, on="q", generator=g).with_noise(0.6, on="p", generator=g)
    found = warm_start.start_noise("leapfrog", data, Recipe(start_noise=True))
    expected = torch.diag(torch.tensor([0.09, 0.09, 0.36, 0.36], dtype=F64))
    torch.testing.assert_close(found @ found.mT, expected, rtol=0.06, atol=1e-12)


def test_starts_that_hardly_differ_do_not_leave_the_loss_without_a_lower_bound() -> None:
    g = seeded(3)
    chain = SpringChain.random(masses=6, generator=g)  # whose first and last mass begin at rest
    data = chain.simulate(400, steps=9, dt=0.1, generator=g, dtype=F64)
    data = data.with_noise(0.3, generator=g)
    root = warm_start.start_noise("leapfrog", data, Recipe(start_noise=True))
    noise, spread = root @ root.mT, torch.cov(data.values[0].mT)
    assert torch.linalg.eigvalsh(0.9 * spread - noise).min() > -1e-3
    assert float(noise[0, 0]) == pytest.approx(0.9 * float(spread[0, 0]), rel=0.05)
    assert float(noise[2, 2]) == pytest.approx(0.09, rel=0.2)
    model = srnn.SRNN(6, hamiltonian=srnn.QuadraticH(6, dtype=F64), generator=g)
    settings = {"warm_start": "rollout", "start_noise": True, "scale": False}
    model.fit(data, iso=False, progress=False, epochs=1, **settings)
    clean = chain.simulate(16, steps=100, dt=0.1, generator=g, dtype=F64)
    error = srnn.metrics.summary(model.predict(clean, steps=100), clean).mean
    assert error < 0.3 * float(clean.q.norm(dim=-1).mean())


def test_the_held_out_loss_of_a_linear_motion_is_less_what_its_noisy_starts_add() -> None:
    data = noisy(2000)
    net = srnn.QuadraticH(2, dtype=F64)
    warm_start.least_squares(net, data.values, 0.1)
    recipe = Recipe(start_noise=True, batch_size=50)  # so that the held-out set is cut to pieces
    run = Run(net, LEAPFROG, data, data, recipe, seeded(0))
    plain = float(run.loss(data, slice(None), None).detach())
    _, F = flow_map(net, "leapfrog", torch.zeros(1, 4, dtype=F64), dt=0.1, steps=9)
    root = warm_start.start_noise(LEAPFROG, data, recipe)
    added = float((F[1:, 0] @ root).square().sum(dim=-1).mean().detach())
    assert added > 0.3 * plain
    assert run._held_out_loss() == pytest.approx(plain - added, rel=0.03)
    assert run._held_out_loss() == run._held_out_loss()


def test_fit_starts_at_the_corrected_optimum_and_keeps_it() -> None:
    data = noisy(2000)
    true = torch.linalg.matrix_exp(0.1 * PAIR.matrix())
    gaps = []
    for corrected in (False, True):
        model = srnn.SRNN(2, hamiltonian=srnn.QuadraticH(2, dtype=F64), generator=seeded(0))
        settings = {"warm_start": "rollout", "start_noise": corrected, "scale": False}
        model.fit(data, iso=False, progress=False, epochs=2, **settings)
        gaps.append(float((step(model.net) - true).norm()))
    assert gaps[1] < 0.6 * gaps[0]


def test_an_interrupted_run_ends_where_the_uninterrupted_one_does(tmp_path) -> None:
    data, weights = noisy(60), []
    for parts in ((4,), (2, 4)):
        for epochs in parts:
            H = srnn.HNet(2, 8, True, generator=seeded(0), dtype=F64)
            model = srnn.SRNN(2, hamiltonian=H, generator=seeded(1))
            settings = {"warm_start": "rollout", "start_noise": True, "progress": False}
            file = tmp_path / str(len(parts))
            model.fit(data, iso=False, epochs=epochs, checkpoint=file, **settings)
        weights.append(torch.cat([w.detach().flatten() for w in model.net.parameters()]))
    assert torch.equal(*weights)


def test_what_cannot_be_corrected_is_refused() -> None:
    with pytest.raises(ValueError, match="neither with iso nor with derivatives"):
        Recipe(start_noise=True, iso="gauss-newton")
    with pytest.raises(ValueError, match="neither with iso nor with derivatives"):
        Recipe(start_noise=True, derivatives=True)
    data = noisy(20)
    rnn = srnn.Model(srnn.RNN(2, 8, generator=seeded(0)).double(), None)
    with pytest.raises(ValueError, match="smooth motion through an integrator; for RNN pass"):
        rnn.fit(data, start_noise=True, epochs=1, progress=False)
    model = srnn.SRNN(2, hamiltonian=srnn.QuadraticH(2, dtype=F64))
    with pytest.raises(ValueError, match="corrects the held-out loss: pass validation_data="):
        model.fit(data, start_noise=True, validation=0, epochs=1, progress=False)
