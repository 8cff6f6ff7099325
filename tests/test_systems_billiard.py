"""The billiard and its rooms against closed forms, symmetries and conservation laws."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import seeded as generator
from torch import Tensor

from srnn.systems import Billiard, OrbitStatus, Room
from srnn.systems._contacts import falls_to_zero, first_entry

F64 = torch.float64
LOW, HIGH = 12.0, 116.0
PILLAR = [(50, 30), (70, 35), (60, 50)]
CAVE = Room.polygon([(10, 10), (118, 20), (100, 110), (64, 70), (20, 115)], [PILLAR])
STAIRS = Room.from_image((CAVE.image > 0.5).float())
ROOMS = pytest.mark.parametrize("room", [CAVE, STAIRS], ids=["polygon", "image"])


def start(*states: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(states, dtype=F64)


def ramp(slope: float) -> Room:
    """Return a room with a floor through (64, 50) of a slope, and no wall near it."""
    return Room.polygon([(4, 50 - 60 * slope), (124, 50 + 60 * slope), (124, 127), (4, 127)])


# The motion in the paper's box, by closed forms.


def folded(x: np.ndarray, v: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity at t between two walls: the triangle wave of a free motion."""
    turn = 2 * (HIGH - LOW)
    way = np.mod(x - LOW + v * t, turn)
    back = way > HIGH - LOW
    return LOW + np.where(back, turn - way, way), np.where(back, -v, v)


def hopping(y: np.ndarray, v: np.ndarray, g: float, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity at t between the floor and the ceiling, under gravity.

    From the floor at speed w, a ball is back after twice the time to its highest point: w / g, or
    the time to the ceiling, (w - sqrt(w^2 - 2 g h)) / g.
    """
    w = np.sqrt(v * v + 2 * g * (y - LOW))
    ceiling = w * w - 2 * g * (HIGH - LOW)
    top = (w - np.sqrt(np.maximum(ceiling, 0))) / g
    # Since it left the floor: on its way up, or on the mirror image of that.
    since = (w - np.abs(v)) / g
    since = np.mod(np.where(v >= 0, since, 2 * top - since) + t, 2 * top)
    down = since > top
    rise = np.where(down, 2 * top - since, since)
    return LOW + w * rise - g * rise**2 / 2, np.where(down, -1, 1) * (w - g * rise)


@pytest.mark.parametrize("gravity", [0.0, 9.0])
def test_the_motion_in_a_box_is_two_motions_between_walls(gravity: float) -> None:
    billiard = Billiard(mass=1.7, gravity=gravity)
    z0 = billiard.initial_states(300, generator())
    states, status = billiard.flow(z0, 0.1, 60)
    assert (status == OrbitStatus.OK).all()
    x, y, vx, vy = (z0.numpy() / [1, 1, 1.7, 1.7]).T
    for k in range(61):
        if gravity:
            vertical = hopping(y, vy, gravity, 0.1 * k)
        else:
            vertical = folded(y, vy, 0.1 * k)
        horizontal = folded(x, vx, 0.1 * k)
        expected = np.stack((horizontal[0], vertical[0], 1.7 * horizontal[1], 1.7 * vertical[1]))
        assert np.abs(states[k].numpy().T - expected).max() < 1e-10


def test_thousands_of_bounces_keep_the_energy() -> None:
    for room in (None, CAVE, STAIRS):
        billiard = Billiard(room)
        z0 = billiard.initial_states(20, generator(), speed=400.0)
        bounces = billiard.bounces(z0, 1.0, 60)
        assert len(bounces.time) > 3000
        states, _ = billiard.flow(z0, 1.0, 60)
        energy = billiard(states)
        assert ((energy - energy[0]) / energy[0]).abs().max() < 1e-12


@pytest.mark.parametrize("radius", [0.0, 2.5])
@ROOMS
def test_no_ball_gets_through_a_wall(room: Room, radius: float) -> None:
    billiard = Billiard(room, radius=radius)
    z0 = billiard.initial_states(200, generator(1))
    states, status = billiard.flow(z0, 0.1, 60)
    q = states[..., :2]
    assert (status == OrbitStatus.OK).all()
    assert room.contains(q).all()
    assert room.distance(q).min() > radius - 1e-9
    energy = billiard(states)
    assert ((energy - energy[0]) / energy[0]).abs().max() < 1e-12


def test_a_ball_that_meets_the_joints_of_edges_does_not_slip_through() -> None:
    # Straight at each corner of the room and of the pillar, from two hundred places.
    billiard = Billiard(CAVE, gravity=0.0)
    places = billiard.initial_states(200, generator(2))[:, :2]
    for corner in CAVE.segments[:, 0]:
        states, _ = billiard.flow(torch.cat((places, 0.7 * (corner - places)), dim=-1), 0.1, 40)
        assert CAVE.contains(states[..., :2]).all()


@pytest.mark.parametrize("radius", [0.0, 2.5])
def test_the_motion_is_reversible(radius: float) -> None:
    for room, tolerance in ((Room.box(), 1e-9), (CAVE, 1e-6)):  # corners amplify rounding
        billiard = Billiard(room, radius=radius)
        z0 = billiard.initial_states(100, generator(3))
        back = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=F64)
        there, _ = billiard.flow(z0, 0.1, 30)
        again, _ = billiard.flow(there[-1] * back, 0.1, 30)
        assert (again.flip(0) * back - there).abs().max() < tolerance


@ROOMS
def test_the_grid_of_times_does_not_change_the_motion(room: Room) -> None:
    billiard = Billiard(room, radius=1.0)
    z0 = billiard.initial_states(50, generator(4))
    fine, _ = billiard.flow(z0, 0.1, 20)
    coarse, _ = billiard.flow(z0, 1.0, 2)
    assert torch.equal(fine[::10], coarse)
    # Neither does where a motion is cut in two.
    rest, _ = billiard.flow(fine[10], 0.1, 10)
    assert (rest - fine[10:]).abs().max() < 1e-9


def test_parts_of_a_batch_are_followed_as_the_whole() -> None:
    # More balls times edges than one table holds.
    billiard = Billiard(STAIRS)
    z0 = billiard.initial_states(4000, generator(5))
    states, _ = billiard.flow(z0, 0.5, 2)
    bounces = billiard.bounces(z0, 0.5, 2)
    some = torch.tensor([0, 1999, 3999])
    alone, _ = billiard.flow(z0[some], 0.5, 2)
    assert (states[:, some] - alone).abs().max() < 1e-10
    of_last = bounces.trajectory == 3999
    expected = billiard.bounces(z0[3999:], 0.5, 2)
    torch.testing.assert_close(bounces.time[of_last], expected.time)


# Single bounces.


def test_a_ball_that_goes_into_a_corner_comes_back() -> None:
    billiard = Billiard(gravity=0.0)
    z0 = start((96.0, 96.0, 10.0, 10.0), (96.0, 97.0, 10.0, 10.0))
    states, _ = billiard.flow(z0, 4.0, 1)
    assert states[1].tolist() == [[96.0, 96.0, -10.0, -10.0], [96.0, 95.0, -10.0, -10.0]]
    bounces = billiard.bounces(z0, 4.0, 1)
    # The second one bounces twice within the step, first off the ceiling.
    assert bounces.trajectory.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(bounces.time, torch.tensor([2.0, 2.0, 1.9, 2.0], dtype=F64))
    assert bounces.normal[2:].tolist() == [[0.0, -1.0], [-1.0, 0.0]]
    assert (bounces.normal[0] + bounces.normal[1]).tolist() == [-1.0, -1.0]


def test_bounces_are_in_order_and_explain_the_states() -> None:
    billiard = Billiard(CAVE, radius=1.0)
    z0 = billiard.initial_states(100, generator(6))
    bounces = billiard.bounces(z0, 0.1, 40)
    states, _ = billiard.flow(z0, 0.1, 40)
    key = bounces.trajectory * 10 + bounces.time
    assert (key.diff() >= 0).all()
    assert (0.1 * bounces.step <= bounces.time + 1e-12).all()
    assert (bounces.time < 0.1 * (bounces.step + 1) + 1e-12).all()
    torch.testing.assert_close(bounces.normal.norm(dim=-1), torch.ones(len(key), dtype=F64))
    assert (CAVE.distance(bounces.position) - 1.0).abs().max() < 1e-9
    # Steps without a bounce are free fall, and those with one are not.
    fall = torch.tensor([0.0, -9.0 * 0.1], dtype=F64)
    jump = (states[1:, :, 2:] - states[:-1, :, 2:] - fall).norm(dim=-1) > 1e-9
    found = torch.zeros_like(jump)
    found[bounces.step, bounces.trajectory] = True
    assert torch.equal(jump, found)


def test_a_bounce_at_the_time_of_a_state_belongs_to_the_next_step() -> None:
    billiard = Billiard(gravity=0.0)
    z0 = start((64.0, 64.0, 52.0, 0.0))
    states, _ = billiard.flow(z0, 0.5, 4)
    assert states[2, 0].tolist() == [116.0, 64.0, 52.0, 0.0]  # before the bounce
    assert states[3, 0].tolist() == [90.0, 64.0, -52.0, 0.0]
    assert billiard.bounces(z0, 0.5, 4).step.tolist() == [2]
    assert len(billiard.bounces(z0, 0.5, 2).time) == 0  # at the very end


@pytest.mark.parametrize("radius", [0.0, 3.0])
def test_a_slanted_wall_reflects_as_a_mirror(radius: float) -> None:
    billiard = Billiard(ramp(0.5), gravity=0.0, radius=radius)
    n = torch.tensor([-1.0, 2.0], dtype=F64) / math.sqrt(5)
    p = torch.tensor([3.0, -8.0], dtype=F64)
    hit = torch.tensor([64.0, 50.0], dtype=F64) + radius * n
    z0 = torch.cat((hit - p, p))[None]
    states, _ = billiard.flow(z0, 2.0, 1)
    after = p - 2 * (p @ n) * n
    torch.testing.assert_close(states[1, 0], torch.cat((hit + after, after)))
    bounces = billiard.bounces(z0, 2.0, 1)
    torch.testing.assert_close(bounces.position, hit[None])
    torch.testing.assert_close(bounces.normal, n[None])


def test_a_ball_goes_round_an_obstacle_or_bounces_off_it() -> None:
    pillar = [(60, 60), (68, 60), (68, 68), (60, 68)]
    corners = [(12, 12), (116, 12), (116, 116), (12, 116)]
    billiard = Billiard(Room.polygon(corners, [pillar]), gravity=0.0)
    z0 = start((20.0, 64.0, 10.0, 0.0), (20.0, 59.0, 10.0, 0.0), (64.0, 100.0, 0.0, -8.0))
    states, _ = billiard.flow(z0, 5.0, 1)
    assert states[1].tolist() == [[50.0, 64, -10, 0], [70.0, 59, 10, 0], [64.0, 76, 0, 8]]


@pytest.mark.parametrize(("aim", "hits"), [(0.0, True), (0.6, True), (0.999, True), (1.001, False)])
@pytest.mark.parametrize("gravity", [0.0, 1e-9])
def test_a_ball_bounces_off_a_corner_as_off_a_circle(
    aim: float, hits: bool, gravity: float
) -> None:
    """A horizontal ball meets the tip of a pillar at a known height above it."""
    tip, radius = torch.tensor([64.0, 60.0], dtype=F64), 4.0
    pillar = [(64, 60), (110, 30), (110, 59)]
    billiard = Billiard(Room.polygon([(4, 4), (124, 4), (124, 124), (4, 124)], [pillar]),
                        gravity=gravity, radius=radius)  # fmt: skip
    sine = aim
    cosine = math.sqrt(max(0.0, 1 - sine * sine))
    hit = tip + radius * torch.tensor([-cosine, sine], dtype=F64)
    z0 = torch.cat((hit - torch.tensor([30.0, 0.0], dtype=F64), torch.tensor([20.0, 0.0])))[None]
    bounces = billiard.bounces(z0, 2.0, 1)
    assert len(bounces.time) == int(hits)
    if hits:
        assert (bounces.position - hit).abs().max() < 1e-6
        assert (bounces.normal - (hit - tip) / radius).abs().max() < 1e-6
        assert float(bounces.time) == pytest.approx(1.5, abs=1e-6)
        states, _ = billiard.flow(z0, 2.0, 1)
        turned = torch.tensor([20 * (1 - 2 * cosine**2), 40 * cosine * sine], dtype=F64)
        assert (states[1, 0, 2:] - turned).abs().max() < 1e-5


def test_the_first_entry_is_the_smallest_root_of_a_falling_quartic() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, v, a = rng.normal(size=(3, 2)) * [[2.0], [2.0], [1.0]]
        a *= rng.integers(0, 2)  # of lower degree, every other time
        if x @ x < 1:
            continue
        c = np.array([x @ x - 1, 2 * x @ v, v @ v + x @ a, v @ a, a @ a / 4])
        roots = np.roots(c[::-1])
        roots = np.sort(roots[np.abs(roots.imag) < 1e-9].real)
        falling = roots[(roots > 0) & (roots < 5) & (np.polyval(np.polyder(c[::-1]), roots) < 0)]
        expected = falling[0] if len(falling) else np.inf
        found = first_entry(c[:, None], np.array([5.0]))[0]
        assert found == pytest.approx(expected, abs=1e-7)


def test_a_fall_to_zero_is_the_falling_root_of_a_parabola() -> None:
    s, v, a = np.array(
        [
            (8.0, 0.0, -1.0),  # dropped
            (6.0, 1.0, -1.0),  # thrown up
            (0.0, 3.0, -2.0),  # off the wall and back
            (-4.0, 3.0, -2.0),  # from behind: through zero upwards at 2 ... and not at all
            (-2.0, 3.0, -2.0),  # upwards at 1, downwards at 2
            (2.0, -3.0, 2.0),  # first of two
            (4.0, -3.0, 2.0),  # turns back before
            (3.0, -1.0, 0.0),
            (3.0, 1.0, 0.0),
            (-1.0, -1.0, -1.0),  # already below
            (1e-12, -1e3, -1e-3),
        ]
    ).T
    expected = [4, 1 + math.sqrt(13), 3, np.inf, 2, 1, np.inf, 3, np.inf, np.inf, 1e-15]
    assert falls_to_zero(s, v, a) == pytest.approx(expected, rel=1e-9)


# Loss of energy.


def test_a_bounce_keeps_the_restitution_of_the_normal_part() -> None:
    billiard = Billiard(restitution=0.6, gravity=0.0)
    z0 = start((64.0, 32.0, 5.0, -20.0), (100.0, 64.0, 16.0, 3.0))
    states, _ = billiard.flow(z0, 2.0, 1)
    torch.testing.assert_close(states[1, :, 2:], start((5.0, 12.0, -9.6, 3.0)).reshape(2, 2))
    # From a height, over and over: by e^2 of the height, in the known time.
    falling = Billiard(restitution=0.6, gravity=8.0)
    bounces = falling.bounces(start((64.0, 28.0, 0.0, 0.0)), 1.0, 8)
    first = math.sqrt(2 * 16 / 8)
    expected = first + 2 * first * np.cumsum([0.0, *0.6 ** np.arange(1, 8)])
    assert bounces.time[:8].tolist() == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("restitution", [0.0, 0.3, 0.9])
def test_a_ball_settles_on_the_floor_and_slides(restitution: float) -> None:
    billiard = Billiard(restitution=restitution, gravity=8.0)
    z0 = start((64.0, 13.0, 1.0, 0.0))
    last = math.sqrt(2 / 8) * (1 + 2 * restitution / (1 - restitution))  # the bounces add up to it
    states, status = billiard.flow(z0, 2.0 + last, 10)
    assert status.tolist() == [OrbitStatus.OK]
    settled = states[1:, 0]
    assert (settled[:, 1] - 12).abs().max() < 1e-9
    assert (settled[:, 3]).abs().max() < 1e-9
    # It slides without friction, and loses speed at the walls only.
    assert settled[0].tolist() == pytest.approx([64 + 2 + last, 12, 1, 0], abs=1e-6)
    end = billiard.bounces(z0, 2.0 + last, 40)
    assert end.time[end.normal[:, 1] > 0.5].max() <= last + 1e-6
    if restitution == 0:
        assert len(end.time) == 2  # the floor, then the wall, where it stays
        states, _ = billiard.flow(z0, 100.0, 1)
        assert states[-1, 0].tolist() == pytest.approx([116, 12, 0, 0], abs=1e-6)


def test_a_ball_slides_down_a_slope_off_its_end_and_back() -> None:
    # On a slope of 3 in 4 the acceleration along it is g 3/5.
    billiard = Billiard(ramp(0.75), gravity=10.0, restitution=0.0)
    z0 = start((84.0, 65.0, 0.0, 0.0))
    states, _ = billiard.flow(z0, 0.5, 4)
    down = torch.tensor([-0.8, -0.6], dtype=F64)
    for k in range(5):
        t = 0.5 * k
        expected = torch.cat((z0[0, :2] + 3 * t * t * down, 6 * t * down))
        assert (states[k, 0] - expected).abs().max() < 1e-9
    # A table: the ball slides over its edge and then falls as from a throw.
    table = [(4, 4), (124, 4), (124, 124), (4, 124), (4, 64), (54, 64), (54, 60), (4, 60)]
    billiard = Billiard(Room.polygon(table), gravity=10.0, restitution=0.0)
    states, _ = billiard.flow(start((44.0, 64.0, 10.0, 0.0)), 1.0, 2)
    assert states[2, 0].tolist() == pytest.approx([64, 59, 10, -10], abs=1e-6)


def test_a_ball_that_does_not_rebound_goes_on_along_the_wall() -> None:
    billiards = [(Billiard(ramp(k / 40), gravity=0.0, restitution=0.0), k / 40) for k in range(12)]
    for billiard, slope in billiards:
        along = torch.tensor([1.0, slope], dtype=F64) / math.hypot(1, slope)
        states, _ = billiard.flow(start((64.0, 54.0, 4.0, -8.0)), 1.5, 4)
        expected = (4 - 8 * slope) / math.hypot(1, slope)
        assert (states[1:, 0, 2:] @ along - expected).abs().max() < 1e-9
        assert (states[1:, 0, 2:].norm(dim=-1) - abs(expected)).abs().max() < 1e-9


@pytest.mark.parametrize("gravity", [0.0, 9.0])
def test_a_ball_that_does_not_rebound_flies_off_a_corner_along_it(gravity: float) -> None:
    tip, radius = torch.tensor([64.0, 60.0], dtype=F64), 4.0
    pillar = [(64, 60), (110, 30), (110, 59)]
    room = Room.polygon([(4, 4), (124, 4), (124, 124), (4, 124)], [pillar])
    billiard = Billiard(room, gravity=gravity, radius=radius, restitution=0.0)
    fall = torch.tensor([0.0, -gravity], dtype=F64)
    for sine in torch.linspace(0.5, 0.95, 30).tolist():
        normal = torch.tensor([-math.sqrt(1 - sine * sine), sine], dtype=F64)
        hit, v = tip + radius * normal, torch.tensor([20.0, 0.0], dtype=F64)
        # Backwards along the parabola that ends in the corner horizontally.
        z0 = torch.cat((hit - 0.5 * v + 0.125 * fall, v - 0.5 * fall))[None]
        states, _ = billiard.flow(z0, 0.75, 1)
        v = v - (v @ normal) * normal
        assert v @ v > radius * gravity  # so it does not roll
        expected = torch.cat((hit + 0.25 * v + 0.03125 * fall, v + 0.25 * fall))
        assert (states[1, 0] - expected).abs().max() < 1e-9


@pytest.mark.parametrize("restitution", [0.0, 1.0])
@pytest.mark.parametrize("pace", [3.0, 10.0])
def test_a_ball_slides_over_an_edge_and_rolls_off(restitution: float, pace: float) -> None:
    """On a circle a ball from the top leaves where cos(angle) = 2/3 + v^2 / (3 g r)."""
    table = [(4, 4), (124, 4), (124, 124), (4, 124), (4, 64), (54, 64), (4, 54)]
    billiard = Billiard(Room.polygon(table), gravity=8.0, radius=4.0, restitution=restitution)
    z0 = start((53.0, 68.0, pace, 0.0))
    states, status = billiard.flow(z0, 0.02, 120)
    assert status.tolist() == [OrbitStatus.OK]
    q, p = states[:, 0, :2], states[:, 0, 2:]
    assert billiard.room.distance(q).min() > 4 - 1e-9
    energy = billiard(states)
    assert (energy / energy[0] - 1).abs().max() < (1e-12 if restitution else 1e-4)
    # It leaves with the horizontal part of its velocity there.
    cosine = min(1.0, 2 / 3 + pace**2 / (3 * 8 * 4))
    speed = math.sqrt(pace**2 + 2 * 8 * 4 * (1 - cosine))
    gone = billiard.room.distance(q) > 4.5
    assert gone.any()
    assert (p[gone, 0] - speed * cosine).abs().max() < 0.01


@pytest.mark.parametrize("restitution", [0.0, 0.5])
@pytest.mark.parametrize("tip", [(64, 4), (20, 4), (64, 80)])
def test_a_ball_comes_to_rest_at_the_bottom_of_a_wedge(
    restitution: float, tip: tuple[float, float]
) -> None:
    room = Room.polygon([(4, 110), tip, (124, 110), (64, 124)])
    billiard = Billiard(room, restitution=restitution, gravity=10.0)
    z0 = billiard.initial_states(20, generator(7))
    states, status = billiard.flow(z0, 400.0, 2)
    assert (status == OrbitStatus.OK).all()
    expected = torch.tensor([*tip, 0.0, 0.0], dtype=F64)
    assert (states[1:] - expected).abs().max() < 1e-6
    assert room.contains(states[..., :2]).all()
    if restitution == 0:  # the walls do not turn it to each other without end
        assert torch.bincount(billiard.bounces(z0, 400.0, 2).trajectory).max() < 50


@pytest.mark.parametrize("restitution", [0.0, 0.5, 1.0])
def test_a_ball_at_rest_on_the_floor_stays(restitution: float) -> None:
    billiard = Billiard(restitution=restitution)
    z0 = start((64.0, 12.0, 0.0, 0.0), (12.0, 12.0, 0.0, 0.0), (30.0, 12.0, 2.0, 0.0))
    states, _ = billiard.flow(z0, 1.0, 5)
    assert (states[:, :2] == z0[:2]).all()
    assert (states[:, 2, 0] - torch.arange(30.0, 41.0, 2.0)).abs().max() < 1e-12
    assert len(billiard.bounces(z0, 1.0, 5).time) == 0


@pytest.mark.parametrize("restitution", [0.0, 0.6])
@ROOMS
def test_a_ball_never_gains_energy(room: Room, restitution: float) -> None:
    for radius, steps in ((0.0, 60), (2.5, 15)):
        billiard = Billiard(room, restitution=restitution, radius=radius)
        z0 = billiard.initial_states(10, generator(8))
        states, status = billiard.flow(z0, 0.1, steps)
        assert (status == OrbitStatus.OK).all()
        assert billiard(states).diff(dim=0).max() < 1e-10
        assert room.distance(states[..., :2]).min() > radius - 1e-9
        assert room.contains(states[..., :2]).all()


def test_a_ball_rests_in_a_notch_between_two_tips() -> None:
    tips = [[(50, 60), (54, 20), (46, 20)], [(60, 60), (64, 20), (56, 20)]]
    room = Room.polygon([(4, 4), (124, 4), (124, 124), (4, 124)], tips)
    billiard = Billiard(room, restitution=0.3, radius=8.0)
    states, status = billiard.flow(start((55.5, 75.0, 0.0, 0.0)), 6.0, 2)
    assert status.tolist() == [OrbitStatus.OK]
    height = 60 + math.sqrt(8**2 - 5**2)
    assert states[2, 0].tolist() == pytest.approx([55, height, 0, 0], abs=1e-4)
    assert torch.equal(states[1], states[2])


def test_a_ball_in_the_tip_of_a_very_sharp_wedge() -> None:
    room = Room.polygon([(4, 60), (124, 60), (124, 60.2)])
    tip = torch.tensor([4.0, 60.0], dtype=F64)
    inwards = torch.tensor([math.cos(8e-4), math.sin(8e-4)], dtype=F64)
    z0 = torch.cat((tip + 50 * inwards, -20 * inwards))[None]
    states, status = Billiard(room, gravity=0.0).flow(z0, 1.0, 4)
    assert status.tolist() == [OrbitStatus.STOPPED]
    assert states[3:].isnan().all()
    states, status = Billiard(room, gravity=0.0, restitution=0.5).flow(z0, 1.0, 4)
    assert status.tolist() == [OrbitStatus.OK]
    assert (states[4, 0] - torch.cat((tip, torch.zeros(2)))).abs().max() < 1e-6


# Rooms.


def test_the_papers_room() -> None:
    room = Room.box()
    assert room.size == (128, 128)
    assert room.image.dtype == torch.float32
    assert room.image.unique().tolist() == [0.0, 1.0]
    free = torch.zeros(128, 128, dtype=torch.bool)
    free[12:116, 12:116] = True
    assert torch.equal(room.image == 0, free)
    assert room.segments.shape == (4, 2, 2)
    # From the middle of each wall the normal points to the middle of the room.
    middle = room.segments.mean(dim=1)
    torch.testing.assert_close(room.normals * 52, 64 - middle)
    assert Room.box(size=20, wall=3).image.sum() == 400 - 14 * 14


def test_an_image_of_the_box_is_the_box() -> None:
    box = Room.box(size=40, wall=7)
    again = Room.from_image(box.image)
    assert sorted(again.segments.tolist()) == sorted(box.segments.tolist())
    z0 = Billiard(box).initial_states(50, generator(9))
    expected, _ = Billiard(box).flow(z0, 0.3, 20)
    states, _ = Billiard(again).flow(z0, 0.3, 20)
    assert (states - expected).abs().max() < 1e-9


def test_row_0_of_an_image_is_at_the_top() -> None:
    image = torch.ones(6, 8)
    image[1, 2:4] = 0  # the second row from the top: y from 4 to 5, x from 2 to 4
    room = Room.from_image(image)
    assert room.size == (6, 8)
    ends = room.segments.reshape(-1, 2)
    assert ends.amin(dim=0).tolist() == [2.0, 4.0]
    assert ends.amax(dim=0).tolist() == [4.0, 5.0]
    assert len(room.segments) == 4  # collinear edges are one
    points = torch.tensor([[3.0, 4.5], [3.0, 3.5], [3.0, 5.5], [4.5, 4.5], [2.0, 4.0]])
    assert room.contains(points).tolist() == [True, False, False, False, True]
    assert room.contains(points.reshape(5, 1, 2)).shape == (5, 1)
    assert room.contains(points[0]).shape == ()
    torch.testing.assert_close(room.distance(points[0]), torch.tensor(0.5, dtype=F64))


def test_a_polygon_covers_parts_of_pixels() -> None:
    room = Room.polygon([(2, 2), (14, 2), (14, 8)], size=(10, 16))
    free = 1 - room.image
    assert float(free.sum()) == pytest.approx(12 * 6 / 2, abs=0.3)
    assert float(free[7, 12]) == pytest.approx(1, abs=1e-6)  # low and at the right
    assert float(free[1, 12]) == 0  # row 1 is high
    assert float(free[7, 2]) == pytest.approx(0.25, abs=0.05)  # half a pixel wide, half as high
    # The middle of each quarter of the pixels, on the right side of the walls.
    r, c = torch.meshgrid(torch.arange(10), torch.arange(16), indexing="ij")
    middle = torch.stack((c + 0.5, 10 - r - 0.5), dim=-1).double()
    sure = room.distance(middle) > 1
    assert torch.equal(room.contains(middle)[sure], (room.image < 0.5)[sure])
    clockwise = Room.polygon([(14, 8), (14, 2), (2, 2)], size=(10, 16))
    assert torch.equal(clockwise.image, room.image)
    assert sorted(clockwise.segments.tolist()) == sorted(room.segments.tolist())


def test_vertices_that_are_none_change_nothing() -> None:
    plain = Room.polygon([(12, 12), (116, 12), (116, 116), (12, 116)])
    closed = [(12, 12), (64, 12), (116, 12), (116, 116), (12, 116), (12, 116), (12, 12)]
    assert sorted(Room.polygon(np.array(closed)).segments.tolist()) == sorted(
        plain.segments.tolist()
    )
    assert torch.equal(Room.polygon(torch.tensor(closed)).image, plain.image)


def test_walls_that_touch_at_a_point_let_nothing_through() -> None:
    image = torch.ones(6, 6)
    image[1:3, 1:3] = 0
    image[3:5, 3:5] = 0
    room = Room.from_image(image)
    assert len(room.segments) == 8
    for radius in (0.0, 0.3):
        billiard = Billiard(room, gravity=0.0, radius=radius)
        states, _ = billiard.flow(start((2.0, 4.0, 1.0, -1.0), (1.9, 4.0, 1.0, -1.0)), 0.3, 40)
        assert (states[..., 0] <= 3 - radius + 1e-9).all()
        assert (states[..., 1] >= 3 + radius - 1e-9).all()


def test_a_gap_lets_the_ball_out() -> None:
    image = Room.box(size=32, wall=6).image
    image[10:20, 26:] = 0  # through the wall at the right, y from 12 to 22
    room = Room.from_image(image)
    assert room.gaps.tolist() == [[[32.0, 12.0], [32.0, 22.0]]]
    billiard = Billiard(room, gravity=0.0)
    z0 = start((16.0, 16.0, 4.0, 0.0), (16.0, 8.0, 4.0, 0.0), (30.0, 20.0, 0.0, 2.0))
    states, status = billiard.flow(z0, 1.0, 6)
    assert status.tolist() == [OrbitStatus.LEFT, OrbitStatus.OK, OrbitStatus.OK]
    assert states[:, 0, 0].isnan().tolist() == [False] * 5 + [True] * 2
    assert states[4, 0].tolist() == [32.0, 16.0, 4.0, 0.0]
    assert not states[:, 1:].isnan().any()
    assert states[6, 1].tolist() == [12.0, 8.0, -4.0, 0.0]
    assert billiard.bounces(z0, 1.0, 6).trajectory.unique().tolist() == [1, 2]
    assert OrbitStatus.LEFT == 3
    data = billiard.simulate(3, 6, 1.0, initial_state=z0)
    assert data.status is not None
    assert data.status.tolist() == [3, 0, 0]
    # The centre of a larger ball leaves at the image's border as well.
    states, status = Billiard(room, gravity=0.0, radius=1.0).flow(z0[:1], 0.25, 17)
    assert status.tolist() == [OrbitStatus.LEFT]
    assert states[:, 0, 0].isnan().tolist() == [False] * 17 + [True]
    # A room without a wall at all.
    free = Room.from_image(torch.zeros(5, 5))
    _, status = Billiard(free, radius=1.0).flow(start((2.0, 2.0, 0.0, 0.0)), 1.0, 1)
    assert status.tolist() == [OrbitStatus.LEFT]


def test_the_ball_is_drawn_where_it_is() -> None:
    room = Room.box(size=16, wall=2)
    image = room.draw(torch.tensor([5.9, 4.1]))
    expected = room.image.clone()
    expected[16 - 6 : 16 - 3, 4:7] = 0.5  # x from 4 to 7, y from 3 to 6
    assert torch.equal(image, expected)
    many = room.draw(torch.tensor([[5.9, 4.1], [0.2, 15.9], [40.0, 3.0]], dtype=F64))
    assert many.shape == (3, 16, 16)
    assert torch.equal(many[0], expected)
    assert (many[1] == 0.5).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert torch.equal(many[2], room.image)
    assert room.image.max() == 1  # not drawn on
    assert (room.image == 0.5).sum() == 0


def test_the_image_given_is_copied() -> None:
    image = torch.ones(5, 5)
    image[2, 2] = 0.25
    room = Room.from_image(image)
    image.zero_()
    assert room.image[2, 2] == 0.25
    assert room.image[0, 0] == 1
    for other in (image.bool(), image.to(torch.uint8), image.double(), image.numpy()):
        assert Room.from_image(other).image.dtype == torch.float32


def test_starts_fill_the_room_below_an_energy() -> None:
    billiard = Billiard(CAVE, mass=2.0, radius=2.0)
    z0 = billiard.initial_states(3000, generator(10))
    assert CAVE.contains(z0[:, :2]).all()
    assert CAVE.distance(z0[:, :2]).min() > 2 - 1e-9
    height = 105.0  # of the cave, from 10 to 115
    most = 2.0 * (25.0**2 / 2 + 9 * (10 + height))
    assert 0.98 * most < billiard(z0).max() <= most
    assert (z0[:, 2:] / 2.0).norm(dim=-1).max() < (25.0**2 + 2 * 9 * height) ** 0.5
    # All directions alike.
    assert z0[:, 2:].mean(dim=0).abs().max() < 3
    # The motion leaves the distribution as it is: so does the share of balls in the lower half.
    box = Billiard()
    z0 = box.initial_states(4000, generator(11))
    states, _ = box.flow(z0, 3.0, 2)
    shares = (states[..., 1] < 64).double().mean(dim=1)
    assert (shares - shares[0]).abs().max() < 0.04
    assert shares[0] > 0.55


# Refusals.


def bad(text: str, build: Callable[[], Any]) -> Any:
    return pytest.param(build, text, id=text)


SQUARE = [(12, 12), (116, 12), (116, 116), (12, 116)]
SMALL = [(30, 30), (40, 30), (40, 40), (30, 40)]
ONES = torch.ones(5, 5)
AROUND = [(20, 20), (60, 20), (60, 60), (20, 60)]
POLYGONS: list[tuple[Any, ...]] = [
    ("`outer` to have at least 3 vertices, each apart from the one before; got 2", SQUARE[:2]),
    ("`outer` to have shape (n, 2); got (4,)", [1, 2, 3, 4]),
    ("`outer` to be an array of vertices; got 'x'", "x"),
    ("`outer` to be finite; a vertex is NaN", [(12, 12), (116, math.nan), (20, 30)]),
    ("`outer` to be within the image", [(-1, 0), (9, 0), (9, 9)]),
    ("`outer` to have an area; it has none", [(10, 10), (20, 20), (30, 30)]),
    (
        "`outer` not to cross or touch itself; it does",
        [(10, 10), (100, 100), (100, 10), (10, 90)],
    ),
    ("`outer` not to cross or touch itself", [*SQUARE, (12, 60), (116, 60), (12, 60)]),
    (
        "`obstacles[0]` not to cross or touch `outer`; it does",
        *(SQUARE, [[(5, 40), (30, 40), (30, 60)]]),
    ),
    ("`obstacles[0]` not to cross or touch `outer`", SQUARE, [[(12, 40), (30, 40), (30, 60)]]),
    (
        "`obstacles[0]` to be inside of `outer`; it is outside",
        *(SMALL, [[(50, 50), (60, 50), (60, 60)]]),
    ),
    (
        "`obstacles[1]` not to cross or touch `obstacles[0]`",
        *(SQUARE, [SMALL, [(35, 35), (60, 35), (60, 60)]]),
    ),
    ("`obstacles[0]` to be outside of `obstacles[1]`; it is inside", SQUARE, [SMALL, AROUND]),
    ("`obstacles[0]` to have at least 3 vertices", SQUARE, [[(50, 50)]]),
]


@pytest.mark.parametrize(
    ("build", "text"),
    [
        bad("`size` to be at least 3; got 2", lambda: Room.box(size=2)),
        bad("`wall` to be at least 1; got 0", lambda: Room.box(wall=0)),
        bad("below 64 for the size 128; got 64", lambda: Room.box(wall=64)),
        bad("shape (rows, cols); got (5, 5, 1)", lambda: Room.from_image(ONES[..., None])),
        bad("floats, bools or uint8; got torch.int64", lambda: Room.from_image(ONES.long())),
        bad("floats, bools or uint8; got torch.complex64", lambda: Room.from_image(ONES * 1j)),
        bad("`image` to be an array of numbers; got str", lambda: Room.from_image("wall")),
        bad(
            "got up to 255 in uint8. Divide by 255.",
            lambda: Room.from_image((255 * ONES).to(torch.uint8)),
        ),
        bad("[0, 1]; got values from 2 to 2", lambda: Room.from_image(2 * ONES)),
        bad("[0, 1]; got values from -1 to -1", lambda: Room.from_image(-ONES)),
        bad("`image` to be finite; 25 of 25", lambda: Room.from_image(ONES * math.nan)),
        bad("at least 3 x 3; got (2, 5)", lambda: Room.from_image(ONES[:2])),
        bad("`image` to have a free pixel", lambda: Room.from_image(ONES)),
        bad(
            "within the image, 0 <= x <= 128 and 0 <= y <= 100; its vertices reach from",
            lambda: Room.polygon(SQUARE, size=(100, 128)),
        ),
        *(bad(text, functools.partial(Room.polygon, *given)) for text, *given in POLYGONS),
        bad("`size` to be a pair (rows, cols); got 128", lambda: Room.polygon(SQUARE, size=128)),
        bad("`size` to be at least 3; got 2", lambda: Room.polygon(SQUARE, size=(2, 128))),
        bad("`q` to have shape (batch, dim)", lambda: Room.box().contains(torch.zeros(3))),
        bad("`q` to have shape (batch, dim)", lambda: Room.box().distance(torch.zeros(3))),
        bad("`q` to be finite; 1 of 2", lambda: Room.box().draw(torch.tensor([1.0, math.nan]))),
        bad("`room` to be a Room or None; got Tensor", lambda: Billiard(ONES)),
        bad("`mass` to be a positive finite number; got 0", lambda: Billiard(mass=0)),
        bad("`gravity` not to be negative; got -9.0", lambda: Billiard(gravity=-9.0)),
        bad("`restitution` to lie in [0, 1]; got 1.1", lambda: Billiard(restitution=1.1)),
        bad("`restitution` to lie in [0, 1]; got -0.1", lambda: Billiard(restitution=-0.1)),
        bad("`restitution` to be a finite number; got nan", lambda: Billiard(restitution=math.nan)),
        bad("`radius` not to be negative; got -1.0", lambda: Billiard(radius=-1.0)),
        bad("`speed` not to be negative; got -1.0", lambda: Billiard(speed=-1.0)),
        bad("`speed` not to be negative", lambda: Billiard().initial_states(2, speed=-1.0)),
        bad(
            "a place for a ball of `radius` 60",
            lambda: Billiard(radius=60.0).initial_states(5000, generator()),
        ),
        bad(
            "the radius 0.0 from the walls; got trajectory 1 at (5, 64)",
            lambda: Billiard().flow(start((64, 64, 0, 0), (5, 64, 0, 0), (6, 64, 0, 0)), 0.1, 1),
        ),
        bad(
            "at least the radius 3.0 from the walls; got trajectory 0 at (14, 64)",
            lambda: Billiard(radius=3.0).bounces(start((14, 64, 0, 0)), 0.1, 1),
        ),
    ],
)
def test_refusals(build: Callable[[], Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        build()
