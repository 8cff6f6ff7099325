"""Walls: what is seen of a picture, what is made of it, and how it is differentiated."""

import copy
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from helpers import seeded
from torch import Tensor

import srnn
from srnn import _checks
from srnn.rebound import (
    KnownWalls,
    LevelSetWalls,
    PatchWalls,
    Restitution,
    ScaledWalls,
    observed_rebounds,
    patches,
)
from srnn.rebound._patches import Smooth
from srnn.systems import Billiard, Room

F64 = torch.float64
BOX = Room.box()


def drawn_picture(rows: int = 9, columns: int = 7, seed: int = 0) -> Tensor:
    return torch.rand(rows, columns, generator=seeded(seed), dtype=F64)


def places(count: int, low: float, high: float, seed: int = 1) -> Tensor:
    return low + (high - low) * torch.rand(count, 2, generator=seeded(seed), dtype=F64)


def half_plane(through: tuple[float, float], normal: tuple[float, float], size: int = 48) -> Tensor:
    """Draw a wall where (q - through) . normal > 0, each pixel grey by its share on 16 x 16."""
    fine = (torch.arange(size * 16, dtype=F64) + 0.5) / 16
    x, y = fine - through[0], (size - fine) - through[1]
    wall = (x * normal[0] + y[:, None] * normal[1] > 0).to(F64)
    return wall.reshape(size, 16, size, 16).mean(dim=(1, 3))


# Patches.


def naive(image: Tensor, x: float, y: float) -> float:
    """Bilinear interpolation between the centres of pixels, the border going on."""
    rows, columns = image.shape
    column, row = x - 0.5, rows - y - 0.5
    value = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            weight = (1 - abs(row - i)) * (1 - abs(column - j))
            value += weight * float(image[min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)])
    return value


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_patches_are_bilinear_samples(size: int) -> None:
    image, q = drawn_picture(), places(30, -4.0, 12.0)
    seen = patches(image, q, size)
    assert seen.shape == (30, size * size)
    offsets = [i - (size - 1) / 2 for i in range(size)]
    for centre, patch in zip(q.tolist(), seen, strict=True):
        expected = [
            naive(image, centre[0] + dx, centre[1] - dy) for dy in offsets for dx in offsets
        ]
        assert np.abs(patch.numpy() - expected).max() < 1e-13


def test_a_patch_at_the_centre_of_a_pixel_is_its_surroundings() -> None:
    image = drawn_picture()
    q = torch.tensor([3.5, 9 - 4 - 0.5], dtype=F64)  # row 4, column 3
    assert torch.equal(patches(image, q, 1), image[4, 3][None])
    assert torch.equal(patches(image, q, 3), image[3:6, 2:5].flatten())
    even = patches(image, torch.tensor([4.0, 4.0], dtype=F64), 2)
    assert torch.equal(even, image[4:6, 3:5].flatten())


def test_row_zero_is_at_the_top_and_the_border_goes_on() -> None:
    image = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.25, 0.0, 0.0]])
    corners = torch.tensor([[-50.0, 50.0], [1.5, 90.0], [-1e9, -1e9], [0.5, 2.5]])
    assert patches(image, corners, 1)[:, 0].tolist() == [1.0, 0.5, 0.25, 1.0]


def test_patches_are_differentiable_in_the_position() -> None:
    q = places(6, 1.0, 6.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: patches(drawn_picture(), x, 4), q)
    nowhere = torch.tensor([math.nan, 2.0], dtype=F64)
    assert patches(drawn_picture(), nowhere, 2).isnan().any()


# The smoothed picture.

SCALES = (0.0, 1.0, 2.0)


def test_the_smoothed_picture_is_twice_differentiable_in_the_position() -> None:
    smooth = Smooth(drawn_picture(), SCALES)
    q = places(5, 0.5, 6.5).requires_grad_()
    assert torch.autograd.gradcheck(smooth, q)
    assert torch.autograd.gradgradcheck(lambda x: smooth(x).square(), q)


def test_a_constant_picture_is_constant_when_smoothed() -> None:
    smooth = Smooth(torch.full((8, 6), 0.3, dtype=F64), SCALES)
    assert (smooth(places(50, -20.0, 30.0)) - 0.3).abs().max() < 1e-14


def test_a_straight_edge_is_a_half_at_every_scale_and_odd_around_it() -> None:
    image = torch.zeros(40, 40, dtype=F64)
    image[:, :16] = 1  # a wall up to x = 16
    smooth = Smooth(image, SCALES)
    at = torch.tensor([[16.0, 20.0], [16.0, 20.37]], dtype=F64)
    assert (smooth(at) - 0.5).abs().max() < 1e-14
    off = torch.tensor([0.9, 0.0], dtype=F64)
    assert (smooth(at + off) + smooth(at - off) - 1).abs().max() < 1e-14
    assert (smooth(at - off) > 0.6).all()
    # Smoothed by s, and by the spline of variance 1/3: a cumulative normal distribution.
    wide = 0.5 * math.erfc(0.9 / math.sqrt(2 * (4 + 1 / 3)))
    assert abs(float(smooth(at + off)[0, 2]) - wide) < 2e-3


@pytest.mark.parametrize("angle", [20.0, 35.0, 45.0])
def test_a_slanted_edge_in_grey_is_straight_again(angle: float) -> None:
    normal = (-math.sin(math.radians(angle)), math.cos(math.radians(angle)))
    smooth = Smooth(half_plane((24.3, 23.7), normal), SCALES)
    along = torch.tensor([normal[1], -normal[0]], dtype=F64)
    across = torch.tensor(normal, dtype=F64)
    foot = (
        torch.tensor([24.3, 23.7], dtype=F64) + torch.linspace(-8, 8, 81)[:, None].to(F64) * along
    )
    for scale, limit in ((1, 0.03), (2, 0.01)):
        low, high = torch.full((81, 1), -1.0, dtype=F64), torch.ones(81, 1, dtype=F64)
        for _ in range(30):
            middle = (low + high) / 2
            inside = smooth(foot + middle * across)[:, scale, None] > 0.5
            low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
        assert low.abs().max() < limit


# The paper's networks.


def patch_walls(**how: Any) -> PatchWalls:
    return PatchWalls(BOX.image, generator=seeded(2), dtype=F64, **how)


def steps(count: int = 40) -> tuple[Tensor, Tensor]:
    q = places(count, 13.0, 115.0)
    q[: count // 2, 0] = 12 + (q[: count // 2, 0] - 12) / 20
    return q, q + places(count, -4.0, 4.0, seed=5)


def count_of(*modules: torch.nn.Module) -> int:
    return sum(w.numel() for module in modules for w in module.parameters())


def test_the_networks_are_of_the_paper_s_sizes() -> None:
    walls = patch_walls()
    assert count_of(walls.first, walls.direction) == 29_922
    assert walls.instant is not None
    assert count_of(walls.instant) == 4_161
    assert count_of(walls.gate) == 369
    assert count_of(walls) == 34_452
    assert count_of(patch_walls(restitution="learnt")) == 34_453
    assert count_of(patch_walls(instant=0.5)) == 34_452 - 4_161


def test_the_first_layer_is_shared_and_the_gate_is_not() -> None:
    walls, (q, tentative) = patch_walls(), steps()
    for output, shared in ((0, True), (1, True), (2, False)):
        parts = walls.parts(q, tentative)[output]
        (gradient,) = torch.autograd.grad(
            parts.square().sum() + parts.sum(), walls.first.weight, materialize_grads=True
        )
        assert bool(gradient.abs().max() > 1e-8) == shared


def test_the_direction_has_length_one_and_n_that_of_the_gate() -> None:
    walls, (q, tentative) = patch_walls().train(), steps()
    direction, instant, logit = walls.parts(q, tentative)
    n, alpha = walls(q, tentative)
    assert (direction.norm(dim=-1) - 1).abs().max() < 1e-6
    assert torch.allclose(n, torch.sigmoid(logit) * direction, rtol=0, atol=1e-14)
    assert torch.equal(alpha, instant.clamp(0, 1))


def test_the_gate_sees_the_small_patch_at_the_end_only() -> None:
    walls, (q, tentative) = patch_walls(), steps()
    near = torch.tensor([[60.0, 60.0], [60.0, 17.6], [60.0, 16.4]], dtype=F64)
    assert walls.sees(near, near).tolist() == [False, False, True]
    logit = walls.parts(q, tentative)[2]
    assert torch.equal(walls.parts(q + 1.0, tentative)[2], logit)
    image = walls.image.clone()
    centre = torch.tensor([[60.0, 60.0]], dtype=F64)
    before = walls.parts(centre, centre)
    image[128 - 60 - 3, 60] = 1  # two pixels above, on the large patch only
    walls.image = image
    after = walls.parts(centre, centre)
    assert torch.equal(after[2], before[2])
    assert (after[0] - before[0]).abs().max() > 1e-6


def test_the_instant_is_clamped_and_its_gradient_is_not() -> None:
    walls, (q, tentative) = patch_walls(), steps(4)
    assert walls.instant is not None
    bias = walls.instant.linears[-1].bias
    for value, expected in ((-3.0, 0.0), (4.0, 1.0)):
        with torch.no_grad():
            bias.fill_(value)
        alpha = walls(q, tentative)[1]
        assert (alpha == expected).all()
        (gradient,) = torch.autograd.grad(alpha.sum(), bias)
        assert gradient.item() == 4.0


def test_the_start_is_half_a_step_and_an_open_gate_whose_gradient_lives() -> None:
    free = torch.tensor([[60.0, 60.0]], dtype=F64)
    gates, instants = [], []
    for seed in range(20):
        walls = PatchWalls(BOX.image, generator=seeded(seed), dtype=F64)
        _, instant, logit = walls.parts(free, free)
        gates.append(torch.sigmoid(logit).item())
        instants.append(instant.item())
    assert np.mean(gates) == pytest.approx(0.73, abs=0.05)
    assert np.mean(instants) == pytest.approx(0.5, abs=0.1)
    walls = patch_walls().train()
    p = torch.tensor([[1.0, 2.0]], dtype=F64)
    loss = srnn.rebound.reflect(p, walls(free, free)[0]).sum()
    (gradient,) = torch.autograd.grad(loss, walls.gate.linears[-1].bias)
    assert abs(gradient.item()) > 0.1


def test_the_gate_is_sharp_in_predictions_only() -> None:
    walls, (q, tentative) = patch_walls(), steps()
    with torch.no_grad():  # so that some gates open and others do not
        walls.gate.linears[-1].bias.sub_(walls.parts(q, tentative)[2].mean())
    logit = walls.parts(q, tentative)[2][:, 0]
    assert (logit > 0).any()
    assert (logit < 0).any()
    lengths = walls.eval()(q, tentative)[0].norm(dim=-1)
    assert torch.allclose(lengths, (logit > 0).to(F64), atol=1e-6)
    soft = walls.train()(q, tentative)[0].norm(dim=-1)
    assert torch.allclose(soft, torch.sigmoid(logit), atol=1e-6)
    smooth = patch_walls(sharp=False)
    smooth.load_state_dict(walls.state_dict())
    assert torch.equal(smooth.eval()(q, tentative)[0], walls(q, tentative)[0])


def test_an_instant_that_is_given_is_the_same_everywhere() -> None:
    walls = patch_walls(instant=0.25)
    assert (walls(*steps())[1] == 0.25).all()
    assert not any("instant" in name for name, _ in walls.named_parameters())
    for wrong in (1.5, -0.1):
        with pytest.raises(ValueError, match=r"Expected `instant` to lie in \[0, 1\]"):
            patch_walls(instant=wrong)


def test_the_networks_are_differentiable_in_the_positions() -> None:
    walls = patch_walls().train()
    q, tentative = (x[:3].requires_grad_() for x in steps())
    assert torch.autograd.gradcheck(walls, (q, tentative))


# What both kinds have in common.


def level_walls(image: Tensor = BOX.image, seed: int = 2, **how: Any) -> LevelSetWalls:
    walls = LevelSetWalls(image, generator=seeded(seed), dtype=F64, **how)
    last = walls.layers[-1].weight
    with torch.no_grad():  # as after training: the MLP takes part
        last.copy_(torch.rand(last.shape, generator=seeded(seed), dtype=F64) - 0.5).mul_(0.2)
    return walls


KINDS = pytest.mark.parametrize("make", [patch_walls, level_walls], ids=["patch", "level"])


@KINDS
def test_another_picture_is_another_room(make: Any) -> None:
    walls, (q, tentative) = make(), steps()
    before = walls(q, tentative)[0].detach()
    other = Room.box(wall=20).image.to(F64)
    walls.image = other
    moved = walls(q + 0.0, tentative)[0].detach()
    assert not torch.equal(before, moved)
    fresh = make()  # of equal seeds
    assert torch.equal(fresh(q, tentative)[0], before)
    fresh.load_state_dict(walls.state_dict())  # writes into the picture that is there
    assert torch.equal(fresh(q, tentative)[0], moved)
    walls.image = BOX.image.to(F64)
    assert torch.equal(walls(q, tentative)[0], before)


@KINDS
def test_a_copy_is_a_copy_and_conversions_carry_the_picture(make: Any) -> None:
    walls, (q, tentative) = make(), steps()
    expected = walls(q, tentative)[0]
    twin = copy.deepcopy(walls)
    assert torch.equal(twin(q, tentative)[0], expected)
    twin.image = Room.box(wall=30).image.to(F64)
    assert torch.equal(walls(q, tentative)[0], expected)
    single = copy.deepcopy(walls).float()
    assert single(q.float(), tentative.float())[0].dtype == torch.float32
    assert single.image.dtype == torch.float32


@KINDS
def test_the_picture_is_copied(make: Any) -> None:
    picture = BOX.image.clone()
    walls = (PatchWalls if make is patch_walls else LevelSetWalls)(picture, generator=seeded(0))
    picture.zero_()
    assert bool(walls.on_wall(torch.tensor([5.0, 5.0])))
    assert walls.image.max() == 1


def test_the_configuration_builds_the_walls_again() -> None:
    for walls in (
        patch_walls(sharp=False, restitution=0.5, instant=0.25),
        patch_walls(restitution="learnt"),
        level_walls(hidden=5, crisp=False, restitution="learnt"),
        level_walls(restitution=0.7),
    ):
        again = type(walls)(torch.zeros(128, 128), **walls.config).to(F64)
        assert again.config == walls.config
        again.load_state_dict(walls.state_dict())
        for one, other in zip(again(*steps()), walls(*steps()), strict=True):
            assert torch.equal(one, other)


@KINDS
@pytest.mark.parametrize("restitution", [0.0, 0.5, 1.0])
def test_restitution_is_in_the_length_of_n(make: Any, restitution: float) -> None:
    walls = make(restitution=restitution).eval()
    q = torch.tensor([[60.0, 14.0]], dtype=F64)
    n = walls(q, q - torch.tensor([0.0, 4.0]))[0]
    assert n.norm().item() == pytest.approx(math.sqrt((1 + restitution) / 2), abs=1e-6)
    p = torch.tensor([[3.0, -4.0]], dtype=F64)
    before, after = ((x * n).sum() / n.norm() for x in (p, srnn.rebound.reflect(p, n)))
    assert float(after.detach() / before.detach()) == pytest.approx(-restitution, abs=1e-6)


@KINDS
def test_a_learnt_restitution_starts_at_nine_tenths_and_can_be_set(make: Any) -> None:
    walls = make(restitution="learnt")
    assert walls.restitution.value == pytest.approx(0.9)
    walls.restitution.set(0.6)
    assert walls.restitution.value == pytest.approx(0.6)
    for out, inside in ((1.3, 1.0), (-1.0, 0.0)):
        walls.restitution.set(out)
        assert walls.restitution.value == pytest.approx(inside, abs=2e-4)
    fixed = make()
    fixed.restitution.set(0.3)
    assert fixed.restitution.value == 1.0
    for wrong in (1.1, -0.1):
        with pytest.raises(ValueError, match=r"Expected `restitution` to lie in \[0, 1\]"):
            make(restitution=wrong)


def test_the_length_of_a_learnt_restitution_is_differentiable() -> None:
    part = Restitution("learnt", like=torch.zeros(0, dtype=F64))
    assert part.logit is not None
    e = part.value
    (gradient,) = torch.autograd.grad(part.length(), part.logit)
    assert gradient.item() == pytest.approx(e * (1 - e) / (4 * math.sqrt((1 + e) / 2)))


def test_what_is_no_picture_is_refused() -> None:
    for image, error, text in (
        (torch.zeros(3, 4, 4), ValueError, "(rows, columns), at least (3, 3); got (3, 4, 4)"),
        (torch.zeros(9, 9, dtype=torch.int64), TypeError, "hold floating-point numbers"),
        (np.zeros((9, 9)), TypeError, "Expected `image` to be a torch.Tensor; got ndarray"),
    ):
        with pytest.raises(error, match=re.escape(text)):
            _checks.picture(image, "image")  # type: ignore[arg-type]
    for make in (PatchWalls, LevelSetWalls, lambda x: patches(x, torch.zeros(2), 2)):
        for image, text in (
            (torch.zeros(2, 9), "at least (3, 3); got (2, 9)"),
            (255 * torch.ones(9, 9), "from 0 (free) to 1 (wall); got 255 to 255"),
            (torch.full((9, 9), -0.5), "got -0.5 to -0.5"),
            (torch.full((9, 9), math.nan), "got nan to nan"),
        ):
            with pytest.raises(ValueError, match=re.escape(text)):
                make(image)


@KINDS
def test_positions_of_another_kind_are_refused(make: Any) -> None:
    walls = make()
    with pytest.raises(TypeError, match="Expected `q` and `walls` to have one dtype"):
        walls(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"Expected `q` to have shape \(batch, dim\) with dim=2"):
        walls(torch.zeros(3, 3, dtype=F64), torch.zeros(3, 3, dtype=F64))


@KINDS
def test_any_number_of_axes_may_lead(make: Any) -> None:
    walls, (q, tentative) = make(), steps(6)
    n, alpha = walls(q, tentative)
    for shape in ((2, 3), (6, 1)):
        shaped = walls(q.reshape(*shape, 2), tentative.reshape(*shape, 2))
        assert torch.allclose(shaped[0], n.reshape(*shape, 2), atol=1e-14)
        assert torch.allclose(shaped[1], alpha.reshape(*shape, 1), atol=1e-14)
    one = walls(q[0], tentative[0])
    assert one[0].shape == (2,)
    assert torch.allclose(one[1], alpha[0], atol=1e-14)
    assert walls(q[:0], tentative[:0])[0].shape == (0, 2)


def test_pixels_have_their_places() -> None:
    image = torch.zeros(4, 6)
    image[0, 5] = 1  # the upper right corner
    walls = LevelSetWalls(image, generator=seeded(0))
    q = torch.tensor([[5.5, 3.5], [5.5, 0.5], [0.5, 3.5], [6.5, 3.5], [5.5, 4.5], [-0.1, 1.0]])
    assert walls.on_wall(q).tolist() == [True, False, False, False, False, False]
    assert walls.inside(q).tolist() == [True, True, True, False, False, False]
    assert not walls.inside(torch.tensor([math.nan, 1.0]))


# The level set.


def test_the_level_is_odd_in_the_picture() -> None:
    picture, q = drawn_picture(20, 20), places(40, 1.0, 19.0)
    walls = level_walls(picture, crisp=False)
    level = walls.level(q)
    walls.image = 1 - picture
    assert (walls.level(q) + level).abs().max() < 1e-12
    assert level.abs().max() > 0.1


def test_a_picture_turned_by_a_right_angle_turns_the_normals() -> None:
    image = half_plane((24.3, 23.7), (-math.sin(0.4), math.cos(0.4)))
    walls = level_walls(image)
    q = places(60, 14.0, 34.0)
    tentative = q + places(60, -4.0, 4.0, seed=6)
    n, alpha = walls(q, tentative)
    hit = n.norm(dim=-1) > 0
    assert 5 < int(hit.sum()) < 55
    walls.image = torch.rot90(image)  # counterclockwise: (x, y) to (48 - y, x)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=F64)
    shift = torch.tensor([48.0, 0.0], dtype=F64)
    turned, late = walls(q @ turn + shift, tentative @ turn + shift)
    assert (turned - n @ turn).abs().max() < 1e-9
    assert (late - alpha).abs().max() < 1e-9
    walls.image = image.flip(1)  # and mirrored: x to 48 - x
    mirror = torch.tensor([-1.0, 1.0], dtype=F64)
    flipped, late = walls(q * mirror + shift, tentative * mirror + shift)
    assert (flipped - n * mirror).abs().max() < 1e-9
    assert (late - alpha).abs().max() < 1e-9


def test_the_first_wall_is_met_first() -> None:
    image = torch.zeros(40, 40, dtype=F64)
    image[:, 10:12] = image[:, 20:30] = 1  # a thin wall, and a thick one behind it
    walls = level_walls(image)
    q = torch.tensor([[5.0, 20.0], [14.0, 20.0], [35.0, 20.0]], dtype=F64)
    tentative = torch.tensor([[25.0, 20.0], [26.0, 20.0], [5.0, 20.0]], dtype=F64)
    n, alpha = walls(q, tentative)
    found = q + alpha * (tentative - q)
    assert torch.allclose(found[:, 0], torch.tensor([10.0, 20.0, 30.0], dtype=F64), atol=1e-6)
    assert torch.allclose(n, torch.tensor([[1.0, 0], [1, 0], [-1, 0]], dtype=F64), atol=1e-6)
    # Quite through the thin wall: beyond it there is no wall, and yet it is met.
    through = walls(q[:1], q[:1] + torch.tensor([[9.0, 0.0]]))[1]
    assert through.item() == pytest.approx(5 / 9)


def test_a_wall_that_is_left_is_not_met() -> None:
    walls = level_walls()
    q = torch.tensor([[60.0, 12.0 - 1e-7], [60.0, 11.9999], [60.0, 12.0 + 1e-7]], dtype=F64)
    n, alpha = walls(q, q + torch.tensor([0.5, 3.0]))
    assert (n == 0).all()
    assert (alpha == 1).all()


def test_far_from_walls_nothing_is_met_nor_by_steps_that_are_no_numbers() -> None:
    walls = level_walls()
    q = torch.tensor([[60.0, 60.0]] * 5 + [[60.0, 14.0]], dtype=F64)
    ends = [[63.0, 64.0], [math.nan, 60.0], [math.inf, 60.0], [60.0, -math.inf], [40.0, 90.0]]
    tentative = torch.tensor([*ends, [60.0, 10.0]], dtype=F64)
    n, alpha = walls(q, tentative)
    assert (n[:5] == 0).all()
    assert (alpha[:5] == 1).all()
    assert alpha[5].item() == pytest.approx(0.5)


def test_a_step_beyond_all_pictures_costs_no_more_than_one_across() -> None:
    """A motion that diverges asks for the walls between here and very far."""
    walls = level_walls()
    q = torch.tensor([[60.0, 60.0], [60.0, 14.0]], dtype=F64)
    seen: list[int] = []
    walls.level = lambda at, level=walls.level: seen.append(at.numel()) or level(at)  # type: ignore
    n, _ = walls(q, torch.tensor([[1e30, 60.0], [60.0, 10.0]], dtype=F64))
    assert max(seen) <= 2 * 2 * 2 * 256
    assert n[1].norm().item() == pytest.approx(1)


def test_where_pixels_are_black_and_white_corners_are_sharp() -> None:
    """In and around the box's corner every step is as known walls say."""
    walls, known = level_walls(), KnownWalls(BOX)
    q = places(3000, 12.05, 15.0)
    tentative = places(3000, 9.0, 15.0, seed=9)
    n, alpha = walls(q, tentative)
    true_n, true_alpha = known(q, tentative)
    hit = true_n.norm(dim=-1) > 0
    assert 1000 < int(hit.sum()) < 2500
    assert torch.equal(n.norm(dim=-1) > 0.5, hit)
    assert (alpha - true_alpha).abs().max() < 1e-6
    cosine = (n * true_n).sum(dim=-1).abs()[hit]
    assert float((cosine > 1 - 1e-9).double().mean()) > 0.995
    rounded = level_walls(crisp=False)(q, tentative)
    assert (rounded[1] - true_alpha).abs().max() > 0.05


def test_a_ball_that_grazes_a_slanted_wall_is_given_finite_numbers() -> None:
    image = half_plane((24.3, 23.7), (-math.sin(0.4), math.cos(0.4)))
    walls = level_walls(image)
    along = torch.tensor([math.cos(0.4), math.sin(0.4)], dtype=F64)
    foot = torch.tensor([24.3, 23.7], dtype=F64)
    heights = torch.linspace(-0.02, 0.02, 41, dtype=F64)[:, None]
    q = foot - 2 * along + heights * torch.tensor([math.sin(0.4), -math.cos(0.4)], dtype=F64)
    q.requires_grad_()
    n, alpha = walls(q, q + 4 * along)
    (gradient,) = torch.autograd.grad(n.sum() + alpha.sum(), q)
    for x in (n, alpha, gradient):
        assert bool(x.isfinite().all())
    assert bool(((alpha >= 0) & (alpha <= 1)).all())


def central(walls: LevelSetWalls, q: Tensor, tentative: Tensor, weight: Tensor, h: float) -> Any:
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.view(-1)[0] += sign * h
            ends.append(torch.cat(walls(q, tentative), dim=-1))
            weight.view(-1)[0] -= sign * h
    return (ends[0] - ends[1]) / (2 * h)


@pytest.mark.parametrize("name", ["weights", "layers.0.weight", "layers.2.weight"])
def test_the_implicit_derivatives_in_the_weights_are_right(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srnn.rebound._level_set._BISECTIONS", 45)  # differences see the bisection
    walls = level_walls(half_plane((24.3, 23.7), (-math.sin(0.4), math.cos(0.4))), seed=4)
    weight = dict(walls.named_parameters())[name]
    q = torch.tensor([[24.0, 22.0], [22.0, 21.3], [27.0, 23.5]], dtype=F64)
    tentative = q + torch.tensor([0.7, 3.0], dtype=F64)
    expected = central(walls, q, tentative, weight, 1e-5)
    out = torch.cat(walls(q, tentative), dim=-1)
    assert (out[:, :2].norm(dim=-1) > 0.9).all()
    for i in range(3):
        for j in range(3):
            (gradient,) = torch.autograd.grad(out[i, j], weight, retain_graph=True)
            assert float(gradient.reshape(-1)[0]) == pytest.approx(
                float(expected[i, j]), rel=1e-4, abs=1e-7
            )
    assert expected.abs().max() > 1e-5


def test_the_implicit_derivatives_in_the_positions_are_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("srnn.rebound._level_set._BISECTIONS", 45)
    walls = level_walls(half_plane((24.3, 23.7), (-math.sin(0.4), math.cos(0.4))), seed=4)
    q = torch.tensor([[24.0, 22.0], [22.0, 21.3]], dtype=F64)
    tentative = q + torch.tensor([0.7, 3.0], dtype=F64)
    inputs = (q.requires_grad_(), tentative.requires_grad_())
    assert torch.autograd.gradcheck(walls, inputs, atol=1e-5)


@pytest.mark.parametrize("crisp", [True, False])
def test_the_level_and_its_slope_agree(crisp: bool) -> None:
    walls = level_walls(drawn_picture(20, 20), crisp=crisp)
    q = places(20, 2.0, 18.0)
    value, gradient = walls.slope(q)
    level = walls.level
    assert torch.equal(value, level(q))
    for axis in range(2):
        h = torch.zeros(2, dtype=F64)
        h[axis] = 1e-6
        difference = (level(q + h) - level(q - h)) / 2e-6
        assert (gradient[:, axis] - difference).abs().max() < 1e-6
    with torch.no_grad():
        assert not walls.slope(q)[0].requires_grad


def test_the_walls_of_a_box_are_known_without_learning() -> None:
    walls = LevelSetWalls(BOX.image, generator=seeded(0))
    ball = Billiard()
    z0 = ball.initial_states(100, seeded(1))
    step = srnn.rebound.with_rebound("leapfrog", walls, rebounds=3)
    with torch.no_grad():
        found = srnn.rollout(ball, step, z0.float(), dt=0.1, steps=30)
    assert (found - ball.flow(z0, 0.1, 30)[0]).abs().amax(dim=(0, 2)).median() < 1e-3


def test_losses_of_the_start_are_least_at_the_truth() -> None:
    """For both kinds: a true rebound told wrongly, and a free step told to rebound, cost more."""
    walls = level_walls(crisp=False)
    q = torch.tensor([[60.0, 14.0]], dtype=F64)
    tentative, n = q - torch.tensor([0.0, 4.0]), torch.tensor([[0.0, 1.0]], dtype=F64)
    half = torch.tensor([[0.5]], dtype=F64)

    def hit(y: float, normal: Tensor) -> float:
        return walls.hit_loss(
            q, tentative, torch.tensor([[60.0, y]], dtype=F64), normal, half
        ).item()

    assert hit(12.0, n) == pytest.approx(hit(12.0, -n))  # of either sign
    assert hit(12.0, n) < min(hit(11.5, n), hit(12.5, n), hit(12.0, n.flip(-1)))
    assert walls.free_loss(q, q + 1).item() < walls.free_loss(q, tentative).item() - 1
    paper = patch_walls()
    assert paper.instant is not None
    direction, instant, _ = (x.detach() for x in paper.parts(q, tentative))
    right = paper.hit_loss(q, tentative, q, direction, instant)
    assert torch.allclose(right, paper.hit_loss(q, tentative, q, -direction, instant))
    assert right < paper.hit_loss(q, tentative, q, direction, instant + 0.1)
    assert right < paper.hit_loss(q, tentative, q, direction.flip(-1), instant)
    logit = paper.parts(q, tentative)[2]
    p = torch.sigmoid(logit)
    assert right.item() == pytest.approx(-0.5 * p.log().item(), abs=1e-6)
    assert paper.free_loss(q, tentative).item() == pytest.approx(-0.5 * (1 - p).log().item())


# Known walls.


def test_known_walls_are_where_the_lines_cross() -> None:
    known = KnownWalls(BOX)
    q = torch.tensor([[14.0, 60.0], [60.0, 114.0], [60.0, 60.0], [12.5, 14.0]], dtype=F64)
    tentative = torch.tensor([[10.0, 61.0], [61.0, 118.0], [70.0, 70.0], [11.5, 10.0]], dtype=F64)
    n, alpha = known(q, tentative)
    assert n.abs().tolist() == [[1, 0], [0, 1], [0, 0], [0, 1]] or n.abs().tolist()[:3] == [
        [1, 0],
        [0, 1],
        [0, 0],
    ]
    assert alpha[:, 0].tolist() == pytest.approx([0.5, 0.5, 1.0, 0.5])


def test_a_slanted_known_wall() -> None:
    room = Room.polygon([(10, 10), (110, 10), (60, 110)])
    n, alpha = KnownWalls(room)(*torch.tensor([[[85.0, 40.0]], [[105.0, 60.0]]], dtype=F64))
    # The line y = 110 - 2 (x - 60): at (85 + s, 40 + s) for s = 20 / 3.
    assert alpha.item() == pytest.approx(1 / 3)
    expected = torch.tensor([[2.0, 1.0]], dtype=F64) / math.sqrt(5)
    assert ((n * expected).sum().abs() - 1).abs() < 1e-12


def test_a_gap_is_no_wall() -> None:
    image = BOX.image.clone()
    image[:12, 50:70] = 0  # in the ceiling
    room = Room.from_image(image)
    assert len(room.gaps) == 1
    q = torch.tensor([[60.0, 126.0], [60.0, 114.0], [51.0, 126.0]], dtype=F64)
    tentative = torch.tensor([[60.0, 130.0], [60.0, 118.0], [49.0, 126.0]], dtype=F64)
    n, alpha = KnownWalls(room)(q, tentative)
    assert n.abs().tolist() == [[0, 0], [0, 0], [1, 0]]
    assert alpha[:, 0].tolist() == pytest.approx([1, 1, 0.5])


def test_known_walls_refuse_what_is_no_room_or_no_restitution() -> None:
    with pytest.raises(TypeError, match=r"Expected `room` to be a srnn\.systems\.Room; got Tensor"):
        KnownWalls(BOX.image)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected `restitution` to lie in \[0, 1\]; got 2"):
        KnownWalls(BOX, restitution=2)
    n, _ = KnownWalls(BOX, restitution=0.28)(*torch.tensor([[[60.0, 14.0]], [[60.0, 10.0]]]))
    assert n.tolist()[0] == pytest.approx([0, 0.8])


def test_scaled_walls_are_the_same_walls_in_other_units() -> None:
    origin = torch.tensor([5.0, -3.0], dtype=F64)
    for walls in (KnownWalls(BOX), level_walls(), patch_walls()):
        scaled = ScaledWalls(walls, 7.0, origin)
        assert scaled.straight == isinstance(walls, (KnownWalls, LevelSetWalls))
        q, tentative = steps(10)
        found = scaled((q - origin) / 7, (tentative - origin) / 7)
        for one, other in zip(found, walls(q, tentative), strict=True):
            assert torch.allclose(one, other, atol=1e-9)


# Rebounds that are read off the data.


def observed(ball: Billiard, noise: float = 0.0) -> tuple[Any, Any, Tensor]:
    z0 = ball.initial_states(2000, seeded(3))
    z0[:20, :2], z0[:20, 2:] = 12 + places(20, 0.5, 2.0, 7), -30 - places(20, 0.0, 9.0, 8)
    data = ball.simulate(2000, steps=1, dt=0.1, initial_state=z0, dtype="float64")
    seen = data if not noise else data.with_noise(noise, generator=seeded(4))
    field, leapfrog = srnn.fields.as_field(ball), srnn.integrators.get("leapfrog")
    found = observed_rebounds(field, leapfrog, seen.values[0], seen.values[1], 0.1)
    return found, ball.bounces(data.values[0], 0.1, 1), data.values


def test_observed_rebounds_are_the_true_ones() -> None:
    ball = Billiard()
    seen, true, _ = observed(ball)
    number = torch.bincount(true.trajectory, minlength=2000)
    assert int((number == 2).sum()) >= 3
    assert torch.equal(seen.hit, number > 0)
    assert seen.clear[number == 1].all()
    # Two rebounds at one moment, in a corner, are as one from a wall that faces the ball.
    first = torch.full((2000,), math.inf, dtype=F64)
    first = first.scatter_reduce(0, true.trajectory, true.time, "amin")
    second = torch.zeros(2000, dtype=F64).scatter_reduce(0, true.trajectory, true.time, "amax")
    apart = (number == 2) & (second - first > 0.01)
    assert int(apart.sum()) >= 3
    assert not seen.clear[apart].any()
    once = number[true.trajectory] == 1
    rows = true.trajectory[once]
    assert len(rows) > 50
    assert (0.1 * seen.alpha[rows, 0] - true.time[once]).abs().max() < 1e-6
    assert (seen.n[rows] - true.normal[once]).abs().max() < 1e-6
    assert (seen.position[rows] - true.position[once]).abs().max() < 1e-6
    assert (seen.restitution[rows] - 1).abs().max() < 1e-6
    assert (seen.n[~seen.hit] == 0).all()
    assert (seen.alpha[~seen.hit] == 1).all()


@pytest.mark.parametrize("restitution", [0.5, 0.8])
def test_restitution_is_read_off_too(restitution: float) -> None:
    seen, true, _ = observed(Billiard(restitution=restitution))
    once = torch.bincount(true.trajectory, minlength=2000) == 1
    assert float(seen.clear[once].double().mean()) > 0.97  # a ball may be too slow to be told
    assert (seen.restitution[seen.clear & once] - restitution).abs().max() < 1e-6


def test_noise_is_tolerated() -> None:
    seen, true, _ = observed(Billiard(), noise=0.1)
    number = torch.bincount(true.trajectory, minlength=2000)
    assert not seen.hit[number == 0].any()
    once = number[true.trajectory] == 1
    rows, time, normal = true.trajectory[once], true.time[once], true.normal[once]
    assert float(seen.hit[rows].double().mean()) > 0.9
    clear = seen.clear[rows]
    assert float(clear.double().mean()) > 0.8
    assert (seen.n[rows] * normal).sum(dim=-1)[clear].min() > 0.99
    assert float((seen.alpha[rows, 0] - time / 0.1)[clear].abs().median()) < 0.03


def test_what_is_observed_has_no_graph_and_what_came_in_is_as_it_was() -> None:
    net = srnn.QuadraticH(2, dtype=F64)
    before = Billiard().initial_states(50, seeded(0))
    after, kept = before.clone(), before.clone()
    leapfrog = srnn.integrators.get("leapfrog")
    seen = observed_rebounds(srnn.fields.as_field(net), leapfrog, before, after, 0.1)
    assert not any(x.requires_grad for x in seen)
    assert torch.equal(before, kept)
    assert torch.equal(after, kept)


def test_known_walls_hold_a_ball_that_rounding_has_put_behind_them() -> None:
    q = torch.tensor([[60.0, 12.0 - 1e-5], [116.0 + 1e-5, 60.0]])
    n, alpha = KnownWalls(BOX)(q, q + torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
    assert n.abs().tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert alpha.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("kind", [PatchWalls, LevelSetWalls])
def test_another_room_is_shown_and_no_picture_is_refused(kind: Any) -> None:
    walls, q = kind(BOX.image, generator=seeded(0)), torch.tensor([[8.0, 8.0]])
    small = Room.box(size=32, wall=6)
    walls.show(small)
    fresh = kind(small.image, generator=seeded(0))
    for one, other in zip(walls(q, q - 3), fresh(q, q - 3), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="numbers from 0"):
        walls.show(255 * BOX.image)
    with pytest.raises(TypeError, match="`picture`"):
        walls.show("room")


@pytest.mark.parametrize("kind", [PatchWalls, LevelSetWalls])
def test_a_position_on_the_border_of_a_wall_is_not_in_it(kind: Any) -> None:
    walls = kind(BOX.image)
    edges = torch.tensor([[12.0, 60.0], [116.0, 60.0], [60.0, 12.0], [60.0, 116.0]])
    assert not bool(walls.on_wall(edges).any())
    beyond = edges + 0.01 * (edges - 64).sign() * torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert bool(walls.on_wall(beyond).all())
    assert not bool(walls.on_wall(beyond, depth=1.0).any())


def test_single_precision_walls_work_under_another_default_dtype() -> None:
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(F64)
        walls = LevelSetWalls(BOX.image, dtype=torch.float32)
        q = torch.tensor([[60.0, 13.0]], dtype=torch.float32)
        n, _ = walls(q, q - torch.tensor([[0.0, 2.0]], dtype=torch.float32))
    finally:
        torch.set_default_dtype(before)
    assert n.dtype == torch.float32
