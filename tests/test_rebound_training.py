"""Models with walls: how they start and train, what they keep in files, and what they refuse."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import seeded
from torch import Tensor, nn

import srnn
from srnn.experiments.billiard import one_step_cases
from srnn.motion.scaling import Scale
from srnn.rebound import (
    KnownWalls,
    LevelSetWalls,
    PatchWalls,
    WalledH,
    fit_free_motion,
    start_from_rebounds,
    with_rebound,
)
from srnn.systems import Billiard, Room
from srnn.training.losses import trajectory_loss, window_loss
from srnn.training.recipes import PRESETS, WITH_WALLS, Recipe

F64 = torch.float64
BOX = Room.box()
LEAPFROG = srnn.integrators.get("leapfrog")
QUICK: dict[str, Any] = {"epochs": 1, "wall_steps": 100, "progress": False}


@pytest.fixture(scope="module")
def data() -> srnn.Trajectories:
    return Billiard().simulate(200, steps=9, dt=0.1, generator=seeded(0))


@pytest.fixture(scope="module")
def singles() -> Any:
    return one_step_cases(1, 200, seeded(5))


def level_model(seed: int = 1, **how: Any) -> srnn.SRNN:
    return srnn.SRNN(2, 8, rebound=BOX, generator=seeded(seed), **how)


def patch_model(seed: int = 1, **how: Any) -> srnn.SRNN:
    generator = seeded(seed)
    walls = PatchWalls(BOX.image, generator=generator, **how)
    return srnn.SRNN(2, 8, rebound=walls, generator=generator)


@pytest.fixture(scope="module")
def fitted(data: srnn.Trajectories) -> srnn.SRNN:
    model = level_model()
    model.fit(data, **QUICK)
    return model


def weights(model: srnn.Model) -> list[Tensor]:
    return [x.clone() for x in model.net.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


# The start.


def test_the_free_motion_is_found_though_balls_rebound() -> None:
    ball = Billiard(mass=2.0, gravity=7.0)
    data = ball.simulate(400, steps=9, dt=0.1, generator=seeded(1), dtype="float64")
    inner = srnn.QuadraticH(2, dtype=F64)
    net = WalledH(inner, KnownWalls(BOX))
    jumps = (data.p.diff(dim=0)[..., 0].abs() > 1e-6).double().mean()
    assert 0.01 < float(jumps) < 0.2
    assert fit_free_motion(net, LEAPFROG, data)
    mass, weight = inner.kinetic.matrix.detach(), inner.potential.vector.detach()
    assert (mass - 0.5 * torch.eye(2, dtype=F64)).abs().max() < 1e-4
    assert weight.tolist() == pytest.approx([0.0, 14.0], abs=1e-3)
    assert inner.potential.matrix.detach().abs().max() < 1e-4


def test_after_the_start_nearly_all_rebounds_of_other_data_are_found(
    fitted: srnn.SRNN, singles: Any
) -> None:
    found = fitted.rebounds(singles.data, steps=1)
    hit = found.hit[0, :, 0]
    assert float(hit.float().mean()) >= 0.95
    cosine = (found.n[0, :, 0] * singles.normal).sum(dim=-1).abs()[hit]
    assert float((cosine > 0.98).float().mean()) >= 0.95
    late = (found.time[0, :, 0, None] / 0.1 - singles.alpha).abs()[hit]
    assert float(late.median()) < 0.01
    free = one_step_cases(0, 500, seeded(6))
    assert float(fitted.rebounds(free.data, steps=1).hit.float().mean()) < 0.01


@pytest.mark.slow
def test_smooth_walls_are_learnt_from_few_steps(data: srnn.Trajectories, singles: Any) -> None:
    """Without the crisp borders w is all learnt, and the start alone does it."""
    walls = LevelSetWalls(BOX.image, crisp=False, generator=seeded(2))
    with torch.no_grad():
        walls.weights.mul_(0.2)  # not a start that knows the slope
    ball = Billiard()
    count = start(walls, data, iterations=150)
    assert 50 < count < 400
    step = with_rebound("leapfrog", walls)
    seen = srnn.rebound.record(ball, step, singles.data.values[0], dt=0.1, steps=1)
    hit = seen.hit[0, :, 0]
    assert float(hit.float().mean()) >= 0.95
    _, gradient = walls.slope(torch.tensor([[60.0, 12.0], [12.0, 60.0]]))
    assert gradient.norm(dim=-1).tolist() == pytest.approx([1, 1], abs=0.15)


def start(walls: Any, data: srnn.Trajectories, *, seed: int = 3, **how: Any) -> int:
    """Start walls around the true motion, in pixels."""
    net = WalledH(Billiard(), walls)
    return start_from_rebounds(
        net, LEAPFROG, data, unit=1.0, origin=torch.zeros(2), generator=seeded(seed), **how
    )


@pytest.mark.slow
def test_the_paper_s_networks_learn_from_the_start_too(
    data: srnn.Trajectories, singles: Any
) -> None:
    walls = PatchWalls(BOX.image, generator=seeded(2))
    start(walls, data, iterations=250)
    q, tentative = singles.data.q[0], singles.data.q[0] + 0.1 * singles.data.p[0]
    with torch.no_grad():
        n, alpha = walls.eval()(q, tentative)
    hit = n.norm(dim=-1) > 0.5
    assert float(hit.float().mean()) > 0.8
    cosine = (n * singles.normal).sum(dim=-1).abs()[hit]
    assert float((cosine > 0.9).float().mean()) > 0.8
    assert float((alpha - singles.alpha)[hit].abs().median()) < 0.25


def test_too_few_rebounds_leave_the_walls_alone(data: srnn.Trajectories) -> None:
    walls = LevelSetWalls(BOX.image, generator=seeded(2))
    net = WalledH(srnn.HNet(2, 4, generator=seeded(0)), walls)  # nor has it a quadratic term
    before = copy.deepcopy(net.state_dict())
    assert not fit_free_motion(net, LEAPFROG, data)
    free = one_step_cases(0, 100, seeded(6)).data
    assert start(walls, free, iterations=5) == 0
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert start(KnownWalls(BOX), data, iterations=5) == 0


def test_the_start_repeats_with_its_seed_and_is_silent(
    data: srnn.Trajectories, capfd: pytest.CaptureFixture[str]
) -> None:
    ends, state = [], torch.get_rng_state()
    for seed in (3, 3, 4):
        walls = LevelSetWalls(BOX.image, crisp=False, generator=seeded(2))
        start(walls, data, seed=seed, iterations=20)
        ends.append(list(walls.state_dict().values()))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])
    assert torch.equal(torch.get_rng_state(), state)
    said = capfd.readouterr()
    assert said.out == said.err == ""
    walls = LevelSetWalls(BOX.image, crisp=False, generator=seeded(2))
    start(walls, data, iterations=50, progress=True)
    assert "walls" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LevelSetWalls, PatchWalls])
def test_restitution_is_learnt(kind: Any) -> None:
    ball = Billiard(restitution=0.8)
    data = ball.simulate(200, steps=9, dt=0.1, generator=seeded(2))
    g = seeded(3)
    walls = kind(BOX.image, restitution="learnt", generator=g)
    model = srnn.SRNN(2, 8, rebound=walls, generator=g)
    model.fit(data, epochs=1, wall_steps=20, progress=False)
    assert walls.restitution.value == pytest.approx(0.8, abs=0.01)


def test_the_true_equations_learn_their_walls_in_their_own_units(singles: Any) -> None:
    """A Hamiltonian of one's own is not rescaled, and the walls start around it."""
    ball = Billiard()
    data = ball.simulate(100, steps=9, dt=0.1, generator=seeded(2))
    walls = LevelSetWalls(BOX.image, crisp=False, generator=seeded(3))
    before = copy.deepcopy(walls.state_dict())
    model = srnn.SRNN(2, hamiltonian=ball, rebound=walls, generator=seeded(4))
    history = model.fit(data, epochs=1, wall_steps=50, progress=False)
    assert model.scale.factor.tolist() == [1.0] * 4
    assert model.scale.time == 1.0
    assert history.validation_loss[0] < 1.0
    assert not torch.equal(before["weights"], walls.weights)
    assert float(model.rebounds(singles.data, steps=1).hit.float().mean()) > 0.9


# Training.


@pytest.mark.slow
def test_a_fit_repeats_with_its_seed_and_learns(
    fitted: srnn.SRNN, data: srnn.Trajectories, capfd: pytest.CaptureFixture[str]
) -> None:
    again = level_model()
    history = again.fit(data, **QUICK)
    assert same(weights(again), weights(fitted))
    said = capfd.readouterr()
    assert said.out == said.err == ""
    assert history.validation_loss[0] < 1e-6
    test = Billiard().simulate(20, steps=30, dt=0.1, generator=seeded(8))
    error = srnn.metrics.position_error(again.predict(test, steps=30), test)
    assert float(error.median()) < 0.05


@pytest.mark.filterwarnings("ignore:The walls keep the start")  # of twenty trajectories
def test_a_resumed_run_is_the_uninterrupted_one(data: srnn.Trajectories, tmp_path: Path) -> None:
    part = data.select(slice(20))
    settings = QUICK | {"wall_steps": 3, "batch_size": 10}
    whole = level_model()
    whole.fit(part, **settings | {"epochs": 2})
    for epochs in (1, 2):
        parts = level_model()
        history = parts.fit(part, checkpoint=tmp_path / "run", **settings | {"epochs": epochs})
    assert history.epochs == 2
    assert same(weights(parts), weights(whole))


def test_a_run_with_known_walls_can_be_kept_too(data: srnn.Trajectories, tmp_path: Path) -> None:
    ends = []
    for path in (None, tmp_path / "run", tmp_path / "run"):
        model = srnn.SRNN(2, 4, rebound=KnownWalls(BOX), generator=seeded(1))
        model.fit(data.select(slice(40)), epochs=2, checkpoint=path, progress=False)
        ends.append(weights(model))
    assert same(ends[0], ends[1])
    assert same(ends[1], ends[2])


def test_the_gate_penalty_is_the_mean_length_of_n(data: srnn.Trajectories) -> None:
    part = data.select(slice(20)).values[:4]
    walls = PatchWalls(BOX.image, generator=seeded(0)).train()
    net = WalledH(srnn.QuadraticH(2), walls)
    step = with_rebound("leapfrog", walls)
    plain = trajectory_loss(net, step, part, 0.1)
    paid = trajectory_loss(net, step, part, 0.1, gate_penalty=0.5)
    gates, z = [], part[0]
    for _ in range(3):
        q, tentative = z[:, :2], srnn.rollout(net, "leapfrog", z, dt=0.1, steps=1)[-1][:, :2]
        gates.append(walls(q, tentative)[0].norm(dim=-1).mean())
        z = srnn.rollout(net, step, z, dt=0.1, steps=1)[-1]
    expected = plain + 0.5 * torch.stack(gates).mean()
    assert paid.item() == pytest.approx(expected.item(), rel=1e-5)
    no_walls = trajectory_loss(net, LEAPFROG, part, 0.1, gate_penalty=0.5)
    assert no_walls.item() == trajectory_loss(net, LEAPFROG, part, 0.1).item()


def test_the_paper_s_recipe_closes_the_gates() -> None:
    """The regularisation pulls at every gate, where a loss is asked for with it: in training."""
    model = srnn.SRNN(2, 8, rebound=BOX, preset="paper", generator=seeded(1))
    walls = model.net.walls
    assert isinstance(walls, PatchWalls)
    assert not walls.sharp
    data = Billiard().simulate(20, steps=3, dt=0.1, generator=seeded(2))
    recipe = model._recipe()
    assert recipe.gate_penalty > 0
    bias, found = walls.gate.linears[-1].bias, []
    for each in (recipe, recipe.replace(gate_penalty=0.0)):
        step = with_rebound("leapfrog", walls)
        loss = window_loss(model.net, step, data, each, penalised=True)
        (gradient,) = torch.autograd.grad(loss, bias)
        watched = window_loss(model.net, step, data, each)
        with torch.no_grad():  # the same number, whether gradients are wanted or not
            assert window_loss(model.net, step, data, each) == watched
        found.append((loss.item(), gradient.item(), watched.item()))
    (paid, pulled, watched), (plain, free, same_again) = found
    assert paid > plain == watched == same_again
    whole = {"scale": False, "warm_start": False, "batch_size": 20, "progress": False}
    assert model.fit(data, epochs=1, **whole).train_loss == pytest.approx([paid], rel=1e-6)
    q = data.q.reshape(-1, 2)
    gate = torch.sigmoid(walls.parts(q, q)[2])
    slope = recipe.gate_penalty * (gate * (1 - gate)).mean().item()
    assert pulled - free == pytest.approx(slope, rel=0.3)


class Standing(nn.Module):
    """A ball that stays where it is."""

    dim, separable = 2, True

    def forward(self, z: Tensor) -> Tensor:
        return 0 * z.sum(dim=-1)

    def kinetic_gradient(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p)

    def potential_gradient(self, q: Tensor) -> Tensor:
        return torch.zeros_like(q)


@pytest.mark.parametrize(("trim", "kept"), [(0.0, 10), (0.25, 8), (0.3, 7), (0.5, 5), (0.96, 1)])
def test_trimming_leaves_the_worst_out(trim: float, kept: int) -> None:
    """Residual k for trajectory k: the mean of the squares of those that stay."""
    order = torch.tensor([3, 9, 1, 7, 5, 0, 2, 8, 6, 4], dtype=F64)
    target = torch.zeros(3, 10, 4, dtype=F64)
    target[1:] = order[:, None]
    loss = trajectory_loss(Standing(), LEAPFROG, target, 0.1, trim=trim)
    assert loss.item() == pytest.approx(sum(k * k for k in range(kept)) / kept)
    weighed = trajectory_loss(
        Standing(), LEAPFROG, target, 0.1, trim=trim, weights=torch.full((4,), 2.0, dtype=F64)
    )
    assert weighed.item() == pytest.approx(2 * loss.item())


@pytest.mark.parametrize("wrong", [-0.1, 1.0])
def test_the_recipe_refuses_what_cannot_be(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"Expected `trim` to lie in \[0, 1\)"):
        Recipe(trim=wrong)
    with pytest.raises(ValueError, match="Expected `gate_penalty` not to be negative"):
        Recipe(gate_penalty=-1.0)
    with pytest.raises(ValueError, match="Expected `wall_steps` to be at least 1"):
        Recipe(wall_steps=0)


def test_models_with_walls_have_their_recipes() -> None:
    assert level_model()._recipe() == PRESETS[None].replace(**WITH_WALLS[None])
    paper = level_model(preset="paper")._recipe()
    assert paper == PRESETS["paper"].replace(**WITH_WALLS["paper"])
    assert (paper.epochs, paper.learning_rate, paper.scheduler) == (1500, 5e-3, "exponential")
    assert (paper.decay, paper.learning_rate_floor, paper.scale) == (0.99, 1e-4, True)
    assert paper.gate_penalty > 0
    assert not paper.warm_start


def test_momentum_zero_stays_where_it_is_when_walls_are_there(
    data: srnn.Trajectories, fitted: srnn.SRNN
) -> None:
    assert fitted.scale.q[0] == fitted.scale.q[1] > 2
    assert (fitted.scale.shift[:2] > 10).all()
    assert (fitted.scale.shift[2:] == 0).all()
    drifting = srnn.Trajectories(q=data.q, p=data.p + 3, dt=0.1)
    assert (Scale.of(drifting).shift[2:] > 0.5).all()
    kept = Scale.of(drifting, isotropic=True)
    assert (kept.shift[2:] == 0).all()
    assert torch.equal(kept.shift[:2], Scale.of(drifting).shift[:2])
    assert kept.p == pytest.approx((float(drifting.p.double().square().mean().sqrt()),) * 2)


# Prediction.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_known_walls_do_not_depend_on_units(dtype: str) -> None:
    data = Billiard().simulate(30, steps=30, dt=0.1, generator=seeded(4), dtype=dtype)
    plain = srnn.SRNN(2, hamiltonian=Billiard(), rebound=KnownWalls(BOX))
    expected = plain.predict(data, steps=30)
    assert expected.values.dtype == getattr(torch, dtype)
    quadratic = srnn.QuadraticH(2, dtype=getattr(torch, dtype))
    model = srnn.SRNN(2, hamiltonian=quadratic, rebound=KnownWalls(BOX), generator=seeded(1))
    model.scale = Scale(20.0, 30.0, 1.5, torch.tensor([60.0, 40.0, 0.0, 0.0]).to(data.values))
    with torch.no_grad():  # the billiard's H in these units: H = (q p / t) H'(Q, P)
        quadratic.kinetic.matrix.copy_(torch.eye(2) * 30.0 * 1.5 / 20.0)
        quadratic.potential.matrix.zero_()
        quadratic.potential.vector.copy_(torch.tensor([0.0, 9.0 * 1.5 / 30.0], dtype=F64))
    off = (model.predict(data, steps=30).values - expected.values).abs().max()
    assert off < (2e-2 if dtype == "float32" else 1e-9)
    one, other = (m.rebounds(data, steps=30) for m in (plain, model))
    assert torch.equal(one.hit, other.hit)
    assert (one.time - other.time).abs().max() < (1e-3 if dtype == "float32" else 1e-9)


def test_the_learnt_model_works_in_double_precision(fitted: srnn.SRNN) -> None:
    double = copy.deepcopy(fitted).to(F64)
    test = Billiard().simulate(10, steps=10, dt=0.1, generator=seeded(8), dtype="float64")
    found = double.predict(test, steps=10)
    assert found.values.dtype == F64
    single = fitted.predict(test.to(torch.float32), steps=10)
    assert (found.values - single.values).abs().max() < 1e-2


def test_substeps_of_the_fit_are_those_of_predictions_and_of_rebounds(
    data: srnn.Trajectories,
) -> None:
    model = srnn.SRNN(2, 4, rebound=KnownWalls(BOX), generator=seeded(1))
    model.fit(data.select(slice(40)), epochs=1, substeps=2, progress=False)
    test = Billiard().simulate(30, steps=10, dt=0.1, generator=seeded(8))
    found = model.rebounds(test, steps=10)
    assert found.n.shape == (10, 30, 2, 2)
    finer = copy.deepcopy(model)
    finer.substeps = 1
    half = finer.rebounds(test, steps=20, dt=0.05)
    assert torch.equal(found.n, torch.stack((half.n[::2, :, 0], half.n[1::2, :, 0]), dim=2))
    assert torch.allclose(found.time[:, :, 1], half.time[1::2, :, 0], atol=1e-5)
    assert found.hit.any()


def with_gap() -> Tensor:
    image = BOX.image.clone()
    image[:12, 50:70] = 0  # in the ceiling
    return image


def test_a_ball_that_leaves_through_a_gap_is_nan_from_there_on() -> None:
    walls = LevelSetWalls(with_gap(), generator=seeded(0))
    model = srnn.SRNN(2, hamiltonian=Billiard(gravity=0.0), rebound=walls)
    z = torch.tensor([[[60.0, 100.0, 0.0, 40.0], [30.0, 100.0, 0.0, 40.0]]])
    found = model.predict(srnn.Trajectories.from_states(z, dt=0.1), steps=10)
    assert found.status is not None
    assert found.status.tolist() == [1, 0]
    gone = found.values[:, 0].isnan().all(dim=-1)
    assert gone.tolist() == [False] * 8 + [True] * 3
    assert found.values[:, 1].isfinite().all()
    back = model.predict(srnn.Trajectories.from_states(z, dt=0.1), steps=40)
    assert back.values[8:, 0].isnan().all()


@pytest.mark.parametrize("kind", ["level", "patch"])
@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((60.0, 6.0), "1 trajectories are inside a wall, the first of them number 1 at (60, 6)"),
        ((150.0, 60.0), "1 trajectories are off the picture, the first of them number 1 at (150"),
    ],
)
def test_a_start_where_no_ball_can_be_is_refused(
    kind: str, place: tuple[float, float], text: str
) -> None:
    model = level_model() if kind == "level" else patch_model()
    z = torch.tensor([[[60.0, 60.0, 0.0, 0.0], [*place, 0.0, 0.0]]])
    start = srnn.Trajectories.from_states(z, dt=0.1)
    for ask in (model.predict, model.rebounds):
        with pytest.raises(ValueError, match=re.escape(text)):
            ask(start, steps=1)
    series = srnn.Trajectories.from_states(z.expand(3, 2, 4).clone(), dt=0.1)
    with pytest.raises(ValueError, match=re.escape(text)):
        model.fit(series, validation=0, **QUICK)


# What is refused.


def test_initial_states_are_not_optimised_yet(data: srnn.Trajectories) -> None:
    model = level_model()
    for ask in (
        lambda: model.fit(data, iso=True, progress=False),
        lambda: model.predict(data, steps=1, iso=True),
    ):
        with pytest.raises(ValueError, match="Initial states are not optimised through rebounds"):
            ask()


def test_the_diagnosis_is_of_smooth_motion(data: srnn.Trajectories) -> None:
    with pytest.raises(ValueError, match=r"of a model that rebounds see model\.rebounds"):
        level_model().diagnose(data)


def test_steps_longer_than_the_networks_see_are_refused(data: srnn.Trajectories) -> None:
    far = Billiard().simulate(40, steps=4, dt=0.3, generator=seeded(1))
    model = patch_model()
    before = weights(model)
    with pytest.raises(ValueError, match="Expected steps of at most 5 pixels") as refusal:
        model.fit(far, **QUICK)
    longest = float(far.q.diff(dim=0).norm(dim=-1).max())
    text = str(refusal.value)
    assert f"the longest is {longest:.2f} in dt=0.3" in text
    assert f"a dt of at most {0.3 * 5 / longest:.2g}" in text
    assert "balls of at most 16.7 pixels a unit of time" in text
    assert same(weights(model), before)
    level_model().fit(far, **QUICK | {"wall_steps": 2})  # these see any


def test_what_is_not_a_wall_is_refused() -> None:
    for thing, name in ((3.0, "float"), (PatchWalls, ""), (Billiard(), "")):
        with pytest.raises(TypeError, match=rf"Expected `rebound` to be a picture .* got {name}"):
            srnn.SRNN(2, 4, rebound=thing)
    with pytest.raises(ValueError, match="Expected a Hamiltonian with dim=2, as the walls'; got 3"):
        srnn.SRNN(3, 4, rebound=BOX)
    with pytest.raises(ValueError, match="there are none: pass rebound="):
        srnn.SRNN(2, 4, rebounds=2)
    with pytest.raises(ValueError, match="Expected `rebounds` to be at least 1"):
        srnn.SRNN(2, 4, rebound=BOX, rebounds=0)
    with pytest.raises(TypeError, match="Expected a separable Hamiltonian between the walls"):
        WalledH(srnn.ONet(2, 4), KnownWalls(BOX))
    with pytest.raises(TypeError, match="The model has no walls to rebound from"):
        srnn.SRNN(2, 4).rebounds(Billiard().simulate(2, steps=1, dt=0.1), steps=1)


def test_a_picture_a_room_and_walls_make_walls() -> None:
    assert isinstance(srnn.SRNN(2, 4, rebound=BOX.image).net.walls, LevelSetWalls)
    assert isinstance(level_model().net.walls, LevelSetWalls)
    assert isinstance(level_model(preset="paper").net.walls, PatchWalls)
    known = KnownWalls(BOX)
    assert srnn.SRNN(2, 4, rebound=known).net.walls is known
    double = srnn.SRNN(2, 4, rebound=BOX, dtype="float64")
    assert double.net.walls.image.dtype == F64
    assert level_model().walled
    assert not srnn.SRNN(2, 4).walled
    assert level_model(rebounds=3).net.rebounds == 3


def test_the_walled_hamiltonian_is_the_one_inside() -> None:
    inner = srnn.HNet(2, 6, generator=seeded(1), dtype=F64)
    net = WalledH(inner, KnownWalls(BOX))
    z = torch.randn(5, 4, generator=seeded(2), dtype=F64)
    assert torch.equal(net(z), inner(z))
    one, other = (srnn.fields.as_field(x)(z) for x in (net, inner))
    assert torch.equal(one, other)
    assert net.weight is not None
    assert WalledH(Billiard(), KnownWalls(BOX)).weight is None


# Files.


@pytest.mark.parametrize("kind", ["level", "patch", "learnt restitution"])
def test_a_model_with_walls_comes_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    test = Billiard().simulate(20, steps=20, dt=0.1, generator=seeded(8))
    if kind == "level":
        model = level_model(rebounds=3)
    else:
        g = seeded(1)
        how = {"instant": 0.5} if kind == "patch" else {"restitution": "learnt", "sharp": False}
        walls = PatchWalls(with_gap(), generator=g, **how)
        model = srnn.SRNN(2, hamiltonian=srnn.QuadraticH(2), rebound=walls, rebounds=2, generator=g)
        walls.restitution.set(0.7)
    model.scale = Scale(20.0, 30.0, 1.5, torch.tensor([60.0, 40.0, 0.0, 0.0]))
    model.save(tmp_path / "model")
    again = srnn.load(tmp_path / "model")
    assert again.walled
    assert again.net.rebounds == model.net.rebounds > 1
    assert type(again.net.walls) is type(model.net.walls)
    assert again.net.config == model.net.config
    assert torch.equal(again.net.walls.image, model.net.walls.image)
    one, other = (m.predict(test, steps=20).values for m in (model, again))
    assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))
    assert not again.net.walls.training


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (lambda: srnn.SRNN(2, 4, rebound=KnownWalls(BOX)), "walls of type KnownWalls"),
        (lambda: srnn.SRNN(2, hamiltonian=Billiard(), rebound=BOX), "hamiltonian of type Billiard"),
    ],
)
def test_parts_of_one_s_own_are_not_saved(model: Any, what: str, tmp_path: Path) -> None:
    text = f"A model with {what} is not saved: only the library's own"
    with pytest.raises(TypeError, match=re.escape(text)):
        model().save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_balls_with_a_radius_show_that_the_wall_is_not_at_the_pixels() -> None:
    ball = Billiard(radius=1.5)
    train, test = (
        ball.simulate(count, steps=steps, dt=0.1, generator=seeded(seed))
        for count, steps, seed in ((400, 9, 3), (20, 30, 4))
    )
    model = level_model()
    model.fit(train, epochs=1, wall_steps=400, progress=False)
    assert not model.net.walls.crisp
    error = srnn.metrics.position_error(model.predict(test, steps=30), test)
    assert float(error.median()) < 0.1


@pytest.mark.slow
def test_in_a_room_of_pixels_a_crisp_level_set_has_nothing_to_learn(
    data: srnn.Trajectories, fitted: srnn.SRNN
) -> None:
    fresh = LevelSetWalls(BOX.image, generator=seeded(1))
    assert torch.equal(fitted.net.walls.weights, fresh.weights)
    learns = srnn.SRNN(2, 8, rebound=LevelSetWalls(BOX.image, crisp=False), generator=seeded(1))
    learns.fit(data, **QUICK)
    assert not torch.equal(learns.net.walls.weights, fresh.weights)


def test_walls_that_are_not_started_are_told_of() -> None:
    slow = torch.tensor([[60.0, 60.0, 1.0, 1.0]]).repeat(10, 1)
    data = Billiard().simulate(10, steps=3, dt=0.1, initial_state=slow)
    with pytest.warns(UserWarning, match="too few rebounds, or the Hamiltonian has no quadratic"):
        level_model().fit(data, **QUICK)
    # And known equations learn nothing from them.
    model = srnn.SRNN(2, hamiltonian=Billiard(), rebound=LevelSetWalls(BOX.image))
    before = weights(model)
    with pytest.warns(UserWarning, match="too few rebounds"):
        model.fit(data, **QUICK)
    assert same(before, weights(model))


def test_a_gate_is_smooth_in_training_and_sharp_in_prediction() -> None:
    modes = []

    class Watched(PatchWalls):
        def forward(self, q: Tensor, tentative: Tensor) -> tuple[Tensor, Tensor]:
            modes.append(self.training)
            return super().forward(q, tentative)

    model = srnn.SRNN(2, 4, rebound=Watched(BOX.image, generator=seeded(0)), generator=seeded(0))
    data = Billiard().simulate(100, steps=2, dt=0.1, generator=seeded(1))
    model.fit(data, epochs=1, wall_steps=2, progress=False)
    assert {True, False} == set(modes)
    modes.clear()
    model.predict(data, steps=1)
    assert modes == [False]
    assert not PatchWalls(BOX.image).training


@pytest.mark.parametrize("method", ["implicit-midpoint", "tao2"])
def test_methods_that_cannot_rebound_are_refused_at_once(method: str) -> None:
    with pytest.raises(ValueError, match="whose step may differ from trajectory to trajectory"):
        srnn.SRNN(2, 4, rebound=BOX, integrator=method)
    step = with_rebound("leapfrog", KnownWalls(BOX))
    with pytest.raises(ValueError, match=r"an integrator without walls; got a Rebound"):
        srnn.SRNN(2, hamiltonian=Billiard(), integrator=step)


def test_a_prediction_with_steps_beyond_the_patch_is_refused(data: srnn.Trajectories) -> None:
    model = patch_model()
    with pytest.raises(ValueError, match=r"steps of at most 5 pixels.*dt=0\.5"):
        model.predict(data, steps=3, dt=0.5)
    with pytest.raises(ValueError, match="steps of at most 5 pixels"):
        model.rebounds(data, steps=3, dt=0.5)
    assert model.predict(data, steps=3, dt=0.5, substeps=10).steps == 3


def test_noise_may_put_a_ball_a_little_behind_a_wall(data: srnn.Trajectories) -> None:
    noisy = data.with_noise(0.3, generator=seeded(2))
    assert not bool(BOX.contains(noisy.q).all())
    level_model().fit(noisy, **QUICK)


def test_a_ball_leaves_known_walls_through_a_gap() -> None:
    picture = BOX.image.clone()
    picture[40:80, 116:] = 0
    room = Room.from_image(picture)
    model = srnn.SRNN(2, hamiltonian=Billiard(room), rebound=KnownWalls(room))
    start = srnn.Trajectories.from_states(torch.tensor([[[100.0, 70.0, 25.0, 0.0]]]), dt=0.1)
    gone = model.predict(start, steps=20)
    assert gone.status is not None
    assert gone.status.tolist() == [1]
    assert bool(gone.values[-1].isnan().all())
    within = srnn.Trajectories.from_states(torch.tensor([[[5.0, 70.0, 25.0, 0.0]]]), dt=0.1)
    with pytest.raises(ValueError, match="inside a wall"):
        model.predict(within, steps=1)
