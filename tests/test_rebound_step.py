"""The step that rebounds: what it leaves alone, what it conserves, and that it is exact."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import randn, random_hnet, seeded
from torch import Tensor

import srnn
from srnn.motion import integrators
from srnn.motion.integrators import RungeKutta, Splitting
from srnn.motion.rollout import integrate
from srnn.rebound import KnownWalls, Rebound, Walls, record, reflect, with_rebound
from srnn.rebound import _step as step_module
from srnn.systems import Billiard, Room

F64 = torch.float64
EXPLICIT = [
    name
    for name in integrators.available()
    if isinstance(integrators.get(name), (Splitting, RungeKutta))
]
DT = 0.1


class Floor:
    """The floor y = `level` under a straight line, the same for a net that has no other walls."""

    def __init__(self, level: Any = 0.0, length: Any = 1.0, straight: bool = True) -> None:
        self.level, self.length, self.straight = level, length, straight

    def __call__(self, q: Tensor, tentative: Tensor) -> tuple[Tensor, Tensor]:
        above, below = q[..., 1:] - self.level, tentative[..., 1:] - self.level
        hit = ((above >= 0) & (below < 0)).to(q)
        fall = torch.where(hit > 0, above - below, 1.0)
        alpha = torch.where(hit > 0, above / fall, 1.0)
        return torch.cat((0 * hit, self.length * hit), dim=-1), alpha


def plain(q: Tensor, tentative: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(q), torch.full_like(q[..., :1], 0.3)


def net_and_balls(count: int) -> tuple[srnn.HNet, Tensor]:
    """A net whose balls move as their momenta point, and balls of which every second falls."""
    z0 = randn(2, count, 4)
    falls = torch.arange(count) % 2 == 0
    z0[:, 1] = torch.where(falls, 0.02 + 0.05 * z0[:, 1].abs(), 5.0)
    z0[:, 3] = torch.where(falls, -3.0, z0[:, 3])
    return random_hnet(9, hidden=4, quadratic=True), z0


def starts(count: int, seed: int = 3, ball: Billiard | None = None) -> Tensor:
    return (ball or Billiard()).initial_states(count, seeded(seed))


# The reflection.


def normals(count: int) -> Tensor:
    n = randn(5, count, 3)
    return n / n.norm(dim=-1, keepdim=True)


def test_a_unit_normal_keeps_the_length_of_momenta_and_reverses_their_component() -> None:
    n, p = normals(50), randn(6, 50, 3)
    after = reflect(p, n)
    assert (after.norm(dim=-1) - p.norm(dim=-1)).abs().max() < 1e-14
    assert ((after * n).sum(-1) + (p * n).sum(-1)).abs().max() < 1e-14
    along = p - (p * n).sum(-1, keepdim=True) * n
    assert (after - along + (p * n).sum(-1, keepdim=True) * n).abs().max() < 1e-14


@pytest.mark.parametrize("length", [0.0, 0.3, math.sqrt(0.5), 0.9, 1.0])
def test_the_component_along_n_is_multiplied_by_one_minus_twice_its_square(length: float) -> None:
    unit, p = normals(20), randn(7, 20, 3)
    before = (p * unit).sum(-1)
    after = (reflect(p, length * unit) * unit).sum(-1)
    assert (after - (1 - 2 * length**2) * before).abs().max() < 1e-14


def test_the_reflection_is_an_involution_symmetric_and_orthogonal_with_determinant_minus_one() -> (
    None
):
    for n in normals(5):
        matrix = torch.func.jacrev(lambda p, n=n: reflect(p, n))(torch.zeros(3, dtype=F64))
        eye = torch.eye(3, dtype=F64)
        assert (matrix - matrix.mT).abs().max() == 0
        assert (matrix @ matrix - eye).abs().max() < 1e-14
        assert float(torch.linalg.det(matrix)) == pytest.approx(-1)


# What it leaves alone.


@pytest.mark.parametrize("name", EXPLICIT)
def test_no_rebound_is_the_plain_step_to_the_last_bit(name: str) -> None:
    net, z0 = random_hnet(1), randn(2, 7, 4)
    span = {"dt": DT, "steps": 5}
    expected = srnn.rollout(net, name, z0, gradient="autograd", **span)
    for rebounds in (1, 3):
        step = with_rebound(name, plain, rebounds=rebounds)
        got = srnn.rollout(net, step, z0, gradient="autograd", **span)
        assert torch.equal(got, expected)
        # Whole rollouts and single rates in closed form add up in another order.
        fast = srnn.rollout(net, step, z0, **span) - srnn.rollout(net, name, z0, **span)
        assert fast.abs().max() < 1e-14


@pytest.mark.parametrize("name", EXPLICIT)
def test_a_ball_without_rebound_is_left_alone_by_those_that_rebound(name: str) -> None:
    net, z0 = net_and_balls(9)
    step = with_rebound(name, Floor())
    bounced = srnn.rollout(net, step, z0, dt=DT, steps=1, gradient="autograd")[-1]
    expected = srnn.rollout(net, name, z0, dt=DT, steps=1, gradient="autograd")[-1]
    free = ~record(net, step, z0, dt=DT, steps=1).hit[0, :, 0]
    assert free.tolist() == [False, True] * 4 + [False]
    assert torch.equal(bounced[free], expected[free])
    assert ((bounced - expected)[~free].abs().amax(-1) > 1e-3).all()


# The augmented step, by its equations.


@pytest.mark.parametrize("name", ["euler", "leapfrog", "yoshida4", "rk4"])
def test_a_rebound_is_made_of_two_steps_and_a_reflection(name: str) -> None:
    """Equations (6) to (8), each ball with an instant and a normal of its own."""
    net, z0 = random_hnet(4), randn(8, 6, 4)
    unit = normals(6)[:, :2]
    alpha = torch.linspace(0, 1, 6, dtype=F64)[:, None]
    got = srnn.rollout(net, with_rebound(name, lambda q, _: (unit, alpha)), z0, dt=DT, steps=1)[-1]
    for i in range(6):
        z = z0[i : i + 1]
        part = float(alpha[i])
        if part > 0:
            z = srnn.rollout(net, name, z, dt=part * DT, steps=1)[-1]
        z = torch.cat((z[:, :2], reflect(z[:, 2:], unit[i : i + 1])), dim=-1)
        if part < 1:
            z = srnn.rollout(net, name, z, dt=(1 - part) * DT, steps=1)[-1]
        assert (got[i] - z[0]).abs().max() < 1e-14


def test_the_step_is_the_exact_motion_in_a_box() -> None:
    """For a quadratic H and straight walls leapfrog errs nowhere, also in corners."""
    ball, z0 = Billiard(), starts(200)
    true, _ = ball.flow(z0, DT, 60)
    step = with_rebound("leapfrog", KnownWalls(ball.room), rebounds=4)
    found = srnn.rollout(ball, step, z0, dt=DT, steps=60)
    assert torch.equal(z0, starts(200))  # not written to
    assert (found - true).abs().max() < 1e-9
    single = srnn.rollout(ball, step, z0.float(), dt=DT, steps=30)
    assert single.dtype == torch.float32
    assert (single - true[:31]).abs().max() < 1e-2
    seen, bounces = record(ball, step, z0, dt=DT, steps=60), ball.bounces(z0, DT, 60)
    assert int(seen.hit.sum()) == len(bounces.time) > 300
    times = seen.time.permute(1, 0, 2)[seen.hit.permute(1, 0, 2)]
    assert (times - bounces.time).abs().max() < 1e-9
    n = seen.n.permute(1, 0, 2, 3)[seen.hit.permute(1, 0, 2)]
    assert (n - bounces.normal).abs().max() < 1e-12


def test_one_rebound_a_step_is_exact_until_two_are_needed() -> None:
    ball, z0 = Billiard(), starts(200)
    bounces = ball.bounces(z0, DT, 60)
    place = bounces.trajectory * 60 + bounces.step
    doubles = torch.bincount(place, minlength=200 * 60).reshape(200, 60) > 1
    single = ~doubles.any(dim=-1)
    assert 100 < int(single.sum()) < 200
    true, _ = ball.flow(z0, DT, 60)
    found = srnn.rollout(ball, with_rebound("leapfrog", KnownWalls(ball.room)), z0, dt=DT, steps=60)
    off = (found - true).abs().amax(dim=(0, 2))
    assert off[single].max() < 1e-9
    assert (off[~single] > 1e-3).all()


@pytest.mark.parametrize("mass", [0.5, 2.0])
def test_other_masses_and_rooms_are_exact_too(mass: float) -> None:
    room = Room.polygon([(10, 10), (118, 20), (100, 110), (64, 70), (20, 115)])
    ball = Billiard(room, mass=mass)
    z0 = starts(60, 8, ball)
    true, _ = ball.flow(z0, DT, 30)
    step = with_rebound("leapfrog", KnownWalls(room), rebounds=5)
    off = (srnn.rollout(ball, step, z0, dt=DT, steps=30) - true).abs().amax(dim=(0, 2))
    # A way that grazes a wall between two steps is not seen by its chord.
    assert float(off.quantile(0.95)) < 1e-9


def test_the_motion_with_known_walls_is_reversible_and_keeps_the_energy() -> None:
    ball, z0 = Billiard(), starts(60)
    step = with_rebound("leapfrog", KnownWalls(ball.room), rebounds=4)
    there = srnn.rollout(ball, step, z0, dt=DT, steps=40)
    energy = ball(there)
    assert ((energy - energy[0]) / energy[0]).abs().max() < 1e-12
    turn = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=F64)
    back = srnn.rollout(ball, step, there[-1] * turn, dt=DT, steps=40)[-1] * turn
    assert (back - z0).abs().max() < 1e-8
    fine = srnn.rollout(ball, step, z0, dt=DT, steps=20, substeps=3)  # substeps are smaller steps
    assert (there[:21] - fine).abs().max() < 1e-10
    backward = srnn.rollout(ball, step, there[-1], dt=DT, steps=40, backward=True)[-1]
    assert (backward - z0).abs().max() < 1e-8


def test_restitution_takes_its_share_of_the_normal_energy() -> None:
    ball = Billiard(restitution=0.8)
    z0 = starts(100)
    true, _ = ball.flow(z0, DT, 20)
    step = with_rebound("leapfrog", KnownWalls(ball.room, restitution=0.8), rebounds=4)
    assert (srnn.rollout(ball, step, z0, dt=DT, steps=20) - true).abs().max() < 1e-9


# Several rebounds in a step.


def test_a_corner_takes_two_rebounds_in_a_step() -> None:
    ball = Billiard(gravity=0.0)
    z0 = torch.tensor([[13.0, 14.0, -30.0, -40.0]], dtype=F64)  # 1 and 2 pixels to the walls
    step = with_rebound("leapfrog", KnownWalls(ball.room), rebounds=2)
    end = srnn.rollout(ball, step, z0, dt=DT, steps=1)[-1, 0]
    assert (end - torch.tensor([14.0, 14.0, 30.0, 40.0])).abs().max() < 1e-12
    once = with_rebound("leapfrog", KnownWalls(ball.room))
    through = srnn.rollout(ball, once, z0, dt=DT, steps=1)[-1, 0]
    assert (through - torch.tensor([14.0, 10.0, 30.0, -40.0])).abs().max() < 1e-12
    seen = record(ball, step, z0, dt=DT, steps=1)
    assert (seen.time - torch.tensor([[[1 / 30, 2 / 40]]], dtype=F64)).abs().max() < 1e-12
    assert seen.hit.tolist() == [[[True, True]]]


@pytest.mark.parametrize(("rebounds", "right"), [(1, False), (4, False), (5, True), (9, True)])
def test_a_narrow_gap_takes_as_many_rebounds_as_there_are(rebounds: int, right: bool) -> None:
    room = Room.polygon([(20, 60), (100, 60), (100, 61), (20, 61)])
    ball = Billiard(room, gravity=0.0)
    z0 = torch.tensor([[40.0, 60.5, 3.0, 50.0]], dtype=F64)  # five pixels across a gap of one
    true = ball.flow(z0, DT, 1)[0][-1]
    step = with_rebound("leapfrog", KnownWalls(room), rebounds=rebounds)
    end = srnn.rollout(ball, step, z0, dt=DT, steps=1)[-1]
    assert (float((end - true).abs().max()) < 1e-12) == right


def test_the_record_of_fewer_rebounds_than_there_may_be_is_filled_up() -> None:
    ball = Billiard()
    z0 = torch.tensor([[60.0, 14.0, 0.0, -30.0], [60.0, 60.0, 0.0, 0.0]], dtype=F64)
    seen = record(
        ball, with_rebound("leapfrog", KnownWalls(ball.room), rebounds=3), z0, dt=DT, steps=4
    )
    assert seen.n.shape == (4, 2, 3, 2)
    assert seen.time.shape == (4, 2, 3)
    assert seen.hit.nonzero().tolist() == [[0, 0, 0]]
    ends = DT * torch.arange(1, 5, dtype=F64)[:, None, None].expand(4, 2, 3)
    assert torch.allclose(seen.time[~seen.hit], ends[~seen.hit], atol=1e-12)
    with pytest.raises(TypeError, match="Expected `method` to be a Rebound, as with_rebound makes"):
        record(ball, "leapfrog", z0, dt=DT, steps=1)  # type: ignore[arg-type]


# The instant on a curved way.


def test_straight_walls_have_their_instant_corrected_for_the_curve() -> None:
    """A slow ball near the floor: its parabola and the chord differ by a fifth of a step."""
    ball = Billiard(gravity=9.0)
    z0 = torch.tensor([[60.0, 12.0 + y, 1.0, v] for y in (0.01, 0.03) for v in (-0.3, 0.3)])
    z0 = z0.to(F64)
    bounces = ball.bounces(z0, DT, 1)
    times = {}
    for straight in (True, False):
        step = with_rebound("leapfrog", Floor(12.0, straight=straight))
        times[straight] = record(ball, step, z0, dt=DT, steps=1).time[0, :, 0]
    hit = torch.tensor(sorted(set(bounces.trajectory.tolist())))
    assert len(hit) == len(bounces.time) == 4 - int((times[True] == DT).sum())
    assert len(hit) >= 2
    assert (times[True][hit] - bounces.time).abs().max() < 1e-12
    assert (times[False][hit] - bounces.time).abs().max() > 0.05 * DT


@pytest.mark.parametrize("name", ["yoshida4", "rk4"])
def test_the_correction_holds_for_ways_that_are_no_parabolas(name: str) -> None:
    """In a spring's field, the instant is that at which the method's own way is at the wall."""
    spring = srnn.systems.SpringChain([1.0, 1.0], [3.0, 3.0, 3.0])
    z0 = torch.tensor([[0.0, 0.05, 0.3, -0.7], [0.0, 0.1, 0.3, -1.8]], dtype=F64)
    level, dt = -0.05, 0.2
    height = {}
    for straight in (True, False):
        step = with_rebound(name, Floor(level, straight=straight))
        seen = record(spring, step, z0, dt=dt, steps=1)
        assert seen.hit.all()
        ends = [
            srnn.rollout(spring, name, z[None], dt=time, steps=1)[-1, 0, 1] - level
            for z, time in zip(z0, seen.time[0, :, 0].tolist(), strict=True)
        ]
        height[straight] = torch.stack(ends).abs()
    assert height[True].max() < 5e-5
    assert height[False].min() > 1e-3


# Derivatives and transformations.


def test_the_derivatives_of_a_rebound_are_right() -> None:
    net, balls = net_and_balls(2)
    z0 = balls.requires_grad_()
    level = torch.tensor(0.01, dtype=F64, requires_grad=True)
    length = torch.tensor(0.95, dtype=F64, requires_grad=True)
    for straight in (True, False):

        def end(z: Tensor, y: Tensor, size: Tensor, straight: bool = straight) -> Tensor:
            step = with_rebound("leapfrog", Floor(y, size, straight))
            return srnn.rollout(net, step, z, dt=DT, steps=2)[-1]

        seen = record(net, with_rebound("leapfrog", Floor(0.01)), z0.detach(), dt=DT, steps=2)
        assert seen.hit[..., 0].sum(dim=0).tolist() == [1, 0]
        assert torch.autograd.gradcheck(end, (z0, level, length))


def test_the_derivatives_of_the_weights_are_right() -> None:
    net, z0 = net_and_balls(1)
    names, weights = zip(*net.named_parameters(), strict=True)

    class Given:
        dim, separable = 2, True

        def __init__(self, values: tuple[Tensor, ...]) -> None:
            self.values = dict(zip(names, values, strict=True))

        def __call__(self, z: Tensor) -> Tensor:
            return torch.func.functional_call(net, self.values, (z,))

    def end(*values: Tensor) -> Tensor:
        step = with_rebound("leapfrog", Floor(0.01))
        return srnn.rollout(Given(values), step, z0, dt=DT, steps=1)[-1]

    inputs = tuple(w.detach().clone().requires_grad_() for w in weights)
    assert torch.autograd.gradcheck(end, inputs)


def test_a_rebound_step_is_symplectic_within_one_pattern_of_rebounds() -> None:
    """With the exact instant the billiard's map keeps the form: the step's Jacobian shows it."""
    ball = Billiard()
    z0 = torch.tensor([60.0, 12.5, 7.0, -20.0], dtype=F64)
    step = with_rebound("leapfrog", Floor(12.0))
    matrix = torch.func.jacrev(lambda z: srnn.rollout(ball, step, z[None], dt=DT, steps=1)[-1, 0])(
        z0
    )
    form = torch.zeros(4, 4, dtype=F64)
    form[:2, 2:], form[2:, :2] = torch.eye(2), -torch.eye(2)
    assert (matrix.mT @ form @ matrix - form).abs().max() < 1e-9
    assert matrix[3, 1] != 0  # the fall's length changes the instant


@pytest.mark.parametrize("rebounds", [1, 2])
def test_a_part_of_the_batch_is_treated_as_the_whole(
    rebounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ball, z0 = Billiard(), starts(40)
    step = with_rebound("leapfrog", KnownWalls(ball.room), rebounds=rebounds)
    some = srnn.rollout(ball, step, z0, dt=DT, steps=30)
    monkeypatch.setattr(step_module, "_rows", lambda hit: None)
    whole = srnn.rollout(ball, step, z0, dt=DT, steps=30)
    assert (some - whole).abs().max() < 1e-9
    seen = record(ball, step, z0, dt=DT, steps=30)
    assert 20 < int(seen.hit.sum()) < 400


@pytest.mark.parametrize("rows", [step_module._rows, lambda hit: None], ids=["part", "whole"])
def test_a_ball_without_rebound_has_its_time_at_the_end_of_the_step(
    rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever instant the walls give beside n = 0."""

    def once(q: Tensor, tentative: Tensor) -> tuple[Tensor, Tensor]:
        n, alpha = Floor()(q, tentative)
        return n, torch.where(n[..., 1:] != 0, alpha, 0.3)

    net, z0 = net_and_balls(4)
    monkeypatch.setattr(step_module, "_rows", rows)
    seen = record(net, with_rebound("leapfrog", once, rebounds=2), z0, dt=DT, steps=1)
    assert seen.hit[0].tolist() == [[True, False], [False, False]] * 2
    assert (seen.time[~seen.hit] == DT).all()
    assert (seen.time[seen.hit] < DT / 2).all()


def test_the_gradients_of_a_part_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    (net, z0), found = net_and_balls(8), []
    for rows in (step_module._rows, lambda hit: None):
        monkeypatch.setattr(step_module, "_rows", rows)
        level = torch.tensor(0.0, dtype=F64, requires_grad=True)
        z = z0.clone().requires_grad_()
        end = srnn.rollout(net, with_rebound("leapfrog", Floor(level)), z, dt=DT, steps=4)[-1]
        inputs = (z, level, *net.parameters())
        found.append(torch.autograd.grad(end.square().sum(), inputs, materialize_grads=True))
    assert abs(float(found[0][1])) > 1e-3
    for one, other in zip(*found, strict=True):
        assert bool(one.isfinite().all())
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def mapped(step: Rebound, field: Any) -> Callable[[Tensor], Tensor]:
    return lambda z: srnn.rollout(field, step, z, dt=DT, steps=3)[-1]


def test_it_works_under_vmap_and_jacrev() -> None:
    net, z0 = net_and_balls(6)
    step = with_rebound("leapfrog", Floor(), rebounds=2)
    one = mapped(step, net)
    assert int(record(net, step, z0, dt=DT, steps=3).hit.sum()) >= 3
    assert (torch.func.vmap(one)(z0) - one(z0)).abs().max() < 1e-12
    single = torch.stack([torch.autograd.functional.jacobian(one, z) for z in z0])
    assert (torch.func.vmap(torch.func.jacrev(one))(z0) - single).abs().max() < 1e-10


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)])
def test_any_number_of_axes_may_lead(shape: tuple[int, ...]) -> None:
    ball = Billiard()
    count = math.prod(shape)
    z0 = torch.tensor([[20.0 + 3 * i, 12.3 + i, 4.0, -20.0] for i in range(count)], dtype=F64)
    step = with_rebound("leapfrog", KnownWalls(ball.room), rebounds=2)
    flat = srnn.rollout(ball, step, z0, dt=DT, steps=3)
    shaped = srnn.rollout(ball, step, z0.reshape(*shape, 4), dt=DT, steps=3)
    assert shaped.shape == (4, *shape, 4)
    assert torch.allclose(shaped.reshape(4, count, 4), flat, rtol=0, atol=1e-12)
    assert (flat[:, 0, 3] > 0).any()


# What the loop gives beside the states.


def test_the_loop_gives_the_states_and_what_the_method_keeps() -> None:
    ball, z0 = Billiard(), starts(5)
    step = with_rebound("leapfrog", KnownWalls(ball.room), rebounds=2)
    pairs = list(integrate(ball, step, z0, dt=DT, steps=6, substeps=2))
    assert len(pairs) == 7
    assert pairs[0][0] is z0
    states = torch.stack([z for z, _ in pairs])
    assert torch.equal(states, srnn.rollout(ball, step, z0, dt=DT, steps=6, substeps=2))
    for z, state in pairs[1:]:
        assert torch.equal(step.read(state), z)
        assert len(state.n) == len(state.alpha) >= 1
        assert state.n[0].shape == (5, 2)


# What it refuses, and how it describes itself.


def test_methods_walls_and_numbers_that_cannot_rebound_are_refused() -> None:
    text = "Expected a method whose step may differ from trajectory to trajectory .* got '{}'"
    for name in ("implicit-midpoint", "tao2", "tao4"):
        with pytest.raises(ValueError, match=text.format(name)):
            with_rebound(name, plain)
    with pytest.raises(ValueError, match=r"got 'leapfrog\+rebound'"):
        with_rebound(with_rebound("leapfrog", plain), plain)
    text = (
        r"Expected `walls` to be called as walls\(q, tentative\) and to give \(n, alpha\); got {}"
    )
    for walls in (3.0, torch.zeros(5, 5)):
        with pytest.raises(TypeError, match=text.format(type(walls).__name__)):
            with_rebound("leapfrog", walls)  # type: ignore[arg-type]
    for rebounds, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="Expected `rebounds` to be"):
            with_rebound("leapfrog", plain, rebounds=rebounds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("walls", "got"),
    [
        (lambda q, t: (torch.zeros_like(q), q[..., 0]), "(5, 2) and (5,)"),
        (lambda q, t: (torch.zeros_like(q[..., :1]), q[..., :1]), "(5, 1) and (5, 1)"),
        (lambda q, t: (torch.zeros_like(q), q), "(5, 2) and (5, 2)"),
    ],
)
def test_walls_of_other_shapes_are_refused(walls: Any, got: str) -> None:
    text = (
        "Expected the walls to give n of shape (..., dim) and alpha of shape (..., 1), "
        f"here (5, 2) and (5, 1); got {got}."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        srnn.rollout(Billiard(), with_rebound("leapfrog", walls), starts(5), dt=DT, steps=1)


def test_it_is_an_integrator_and_says_which() -> None:
    step = with_rebound("yoshida4", plain)
    assert isinstance(step, integrators.Integrator)
    assert (step.name, step.order, step.symplectic) == ("yoshida4+rebound", 4, True)
    assert not with_rebound("rk4", plain).symplectic
    assert repr(step) == "Rebound('yoshida4', function)"
    many = with_rebound("leapfrog", KnownWalls(Room.box()), rebounds=3)
    assert repr(many) == "Rebound('leapfrog', KnownWalls, rebounds=3)"
    assert isinstance(plain, Walls)
