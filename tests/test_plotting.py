import math
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from helpers import F64, ProductH, randn, random_hnet, seeded
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

mpl.use("Agg")

import matplotlib.pyplot as plt

import srnn
from srnn.motion.scaling import Scale, ScaledHamiltonian
from srnn.results import plotting


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, ax = plt.subplots()
    yield ax
    figure.canvas.draw()  # labels are valid mathematics
    plt.close(figure)


@pytest.fixture
def data() -> srnn.Trajectories:
    return srnn.Trajectories.from_states(randn(0, 7, 3, 4), dt=0.5)


def drawn(ax: Axes, line: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, y = ax.lines[line].get_data()
    return np.asarray(x), np.asarray(y)


def test_phase_portrait(ax: Axes, data: srnn.Trajectories) -> None:
    got = plotting.phase_portrait(data, ax, coordinate=1, index=2, color="red", label="truth")
    assert got is ax
    assert_array_equal(drawn(ax), data.values[:, 2, [1, 3]].numpy().T)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("position $q$", "momentum $p$")
    assert (ax.lines[0].get_color(), ax.lines[0].get_label()) == ("red", "truth")


@pytest.mark.parametrize(("coordinate", "number"), [(0, 1), (1, 2), (-1, 2)])
def test_coordinate(ax: Axes, data: srnn.Trajectories, coordinate: int, number: int) -> None:
    assert plotting.coordinate(data, ax, coordinate=coordinate, index=1, linestyle=":") is ax
    assert_array_equal(drawn(ax)[0], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    assert_array_equal(drawn(ax)[1], data.values[:, 1, number - 1].numpy())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time $t$", f"position $q_{{{number}}}$")
    assert ax.lines[0].get_linestyle() == ":"


def test_error_over_time(ax: Axes) -> None:
    errors = torch.arange(33.0).reshape(3, 11) ** 2
    assert plotting.error_over_time(errors, 0.1, ax, label="E-E") is ax
    assert_allclose(drawn(ax)[0], [0, 0.1, 0.2])
    assert_allclose(drawn(ax)[1], errors.mean(dim=1))
    assert "time" in ax.get_xlabel()
    assert "error" in ax.get_ylabel()
    assert not ax.collections


def test_the_band_holds_eight_tenths_of_the_trajectories(ax: Axes) -> None:
    errors = torch.stack((torch.arange(11.0), 10 * torch.arange(11.0)))
    plotting.error_over_time(errors, 0.1, ax, band=True)
    corners = ax.collections[0].get_paths()[0].vertices
    for time, low, high in ((0.0, 1, 9), (0.1, 10, 90)):
        heights = corners[np.isclose(corners[:, 0], time), 1]
        assert (heights.min(), heights.max()) == pytest.approx((low, high))
    assert to_hex(ax.collections[0].get_facecolor()[0]) == to_hex(ax.lines[0].get_color())


def test_energy_contours_are_level_sets(ax: Axes) -> None:
    H = srnn.systems.MassSpring(mass=1.0, stiffness=1.0)
    assert plotting.energy_contours(H, ax, q=(-2.0, 2.0), p=(-1.0, 1.0), levels=6) is ax
    (contours,) = ax.collections
    radii = [
        float(np.ptp(np.linalg.norm(path.vertices, axis=1)))
        for path in contours.get_paths()
        if len(path.vertices)
    ]
    assert len(radii) >= 4
    assert max(radii) < 0.02  # circles about the origin
    assert ax.get_xlim() == (-2, 2)
    assert ax.get_ylim() == (-1, 1)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("position $q$", "momentum $p$")


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_contours_of_a_learnt_energy_in_its_own_precision(ax: Axes, dtype: torch.dtype) -> None:
    net = srnn.HNet(1, 8, generator=seeded(0), dtype=dtype)
    scaled = ScaledHamiltonian(net, Scale.identity(1, torch.zeros(1, dtype=dtype)))
    for H in (net, scaled, ProductH()):
        plotting.energy_contours(H, ax)
    assert len(ax.collections) == 3
    assert all(weight.grad is None for weight in net.parameters())


def test_contours_need_one_position(ax: Axes) -> None:
    with pytest.raises(ValueError, match="Expected a Hamiltonian with dim=1; got 2"):
        plotting.energy_contours(random_hnet(0), ax)
    with pytest.raises(ValueError, match="Expected `levels` to be at least 1; got 0"):
        plotting.energy_contours(ProductH(), ax, levels=0)


def test_without_axes_the_current_ones_are_used(ax: Axes, data: srnn.Trajectories) -> None:
    assert plotting.coordinate(data) is ax
    assert plotting.phase_portrait(data) is ax


def test_style_is_legible_without_colour_and_on_a_dark_page() -> None:
    with mpl.rc_context():
        plotting.style()
        cycle = mpl.rcParams["axes.prop_cycle"].by_key()
        assert len({str(line) for line in cycle["linestyle"]}) == len(cycle["color"]) == 7
        assert set(cycle["color"]) == set(plotting.COLOURS.values())
        assert mpl.rcParams["figure.facecolor"] == "white"
        assert not mpl.rcParams["savefig.transparent"]
        figure, ax = plt.subplots()
        ax.plot([0, 1])
        figure.canvas.draw()
        plt.close(figure)


def test_predictions_that_left_the_finite_numbers_can_be_drawn(ax: Axes) -> None:
    values = randn(0, 7, 3, 4)
    values[3:, 1] = math.inf
    data = srnn.Trajectories.predicted(values, dt=0.5)
    plotting.coordinate(data, ax, index=1)
    plotting.phase_portrait(data, ax, index=1)
    assert np.isfinite(drawn(ax)[1]).sum() == 3


def test_a_room_is_drawn_in_its_pixels_with_y_up(ax: Axes) -> None:
    picture = torch.zeros(4, 6)
    picture[0, 2:] = 1.0  # at the top
    assert plotting.room(picture, ax) is ax
    (drawn_image,) = ax.images
    assert_array_equal(drawn_image.get_array(), picture.numpy())
    assert tuple(drawn_image.get_extent()) == (0, 6, 0, 4)
    assert drawn_image.origin == "upper"
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 6), (0, 4))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x$ (px)", "$y$ (px)")
    assert ax.get_aspect() == 1


def test_what_is_no_picture_is_refused(ax: Axes) -> None:
    with pytest.raises(ValueError, match="Expected `picture` to hold numbers from 0"):
        plotting.room(torch.full((4, 4), 2.0), ax)
    room = srnn.systems.Room.polygon([(12, 12), (116, 12), (64, 110)])
    plotting.room(room, ax)  # the picture that it has
    assert_array_equal(ax.images[0].get_array(), room.image.numpy())
    with pytest.raises(IndexError):
        plotting.coordinate(srnn.Trajectories.from_states(randn(0, 7, 3, 4), dt=0.5), coordinate=2)


def test_path(ax: Axes, data: srnn.Trajectories) -> None:
    assert plotting.path(data, ax, index=2, color="red", label="truth") is ax
    assert_array_equal(drawn(ax), data.q[:, 2].numpy().T)
    three = srnn.Trajectories.from_states(randn(0, 5, 2, 6), dt=0.1)
    with pytest.raises(ValueError, match="Expected trajectories with dim=2; got 3"):
        plotting.path(three, ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x$ (px)", "$y$ (px)")
    assert (ax.lines[0].get_color(), ax.lines[0].get_label()) == ("red", "truth")


def seconds(median: float, below: float = 0.0, above: float = 0.0) -> dict[str, dict[str, float]]:
    return {"seconds": {"median": median, "q1": median - below, "q3": median + above, "rounds": 5}}


def whisker(ax: Axes) -> np.ndarray:
    lines = ax.collections[0]
    assert isinstance(lines, LineCollection)
    return np.asarray(lines.get_segments()[0])


def test_speed(ax: Axes) -> None:
    timings = {
        "srnn": seconds(0.002, 0.001, 0.003),
        "peer": {"missing": "not installed"},
        "other": seconds(0.5),
    }
    assert plotting.speed(timings, ax, floor=0.0015) is ax
    mine, other = ax.patches
    assert [mine.get_width(), other.get_width()] == pytest.approx([2, 500])
    assert [bar.get_y() + bar.get_height() / 2 for bar in ax.patches] == pytest.approx([0, 2])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["srnn", "peer", "other"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first at the top
    assert ax.get_xlim()[0] == 0
    (note,) = ax.texts
    assert (note.get_text(), note.xy) == ("not installed", (0, 1))
    assert_allclose(whisker(ax), [[1, 0], [5, 0]])
    assert_allclose(drawn(ax, -1)[0], 1.5)  # the floor
    assert ax.get_xlabel() == "time [ms]"
    # Told apart by colour and, in grey, by hatching.
    assert to_hex(mine.get_facecolor()) != to_hex(other.get_facecolor())
    assert {to_hex(bar.get_facecolor()).upper() for bar in ax.patches} <= set(
        plotting.COLOURS.values()
    )
    assert (mine.get_hatch(), bool(other.get_hatch())) == (None, True)


def test_growth(ax: Axes) -> None:
    timings = {  # keys as JSON has them: text, in any order
        "100": {"srnn": seconds(0.02), "plain": {"missing": "9 GB", "graph_bytes": 9e9}},
        "9": {"srnn": seconds(0.002, 0.001, 0.003), "plain": seconds(0.004)},
        "1000": {"srnn": seconds(0.2), "late": seconds(0.1)},
    }
    assert plotting.growth(timings, ax, size="masses $d$", linewidth=3) is ax
    curves = [line for line in ax.lines if line.get_marker() == "."]
    assert ax.get_legend_handles_labels()[1] == ["srnn", "plain", "late"]
    for curve, times in zip(
        curves, ([2, 20, 200], [4, math.nan, math.nan], [math.nan, math.nan, 100]), strict=True
    ):
        x, y = (np.asarray(each, dtype=float) for each in curve.get_data())
        assert_allclose(x, [9, 100, 1000])
        assert_allclose(y, times)
    assert_allclose(whisker(ax), [[9, 1], [9, 5]])
    assert curves[0].get_linewidth() == 3
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("masses $d$", "time [ms]")


def test_orbits(ax: Axes) -> None:
    q = np.arange(24.0).reshape(4, 6) ** 2
    assert plotting.orbits(q, ax, label="truth", linestyle="--") is ax
    for body in range(3):
        assert_array_equal(drawn(ax, body), q[:, 2 * body : 2 * body + 2].T)
    assert len({line.get_color() for line in ax.lines}) == 3
    assert {line.get_linestyle() for line in ax.lines} == {"--"}
    assert ax.get_legend_handles_labels()[1] == ["truth"]
    assert all(line.get_markevery() == [0] for line in ax.lines)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("position $x$", "position $y$")
    assert ax.get_aspect() == 1


def test_orbits_of_a_prediction_beside_the_truth_have_its_colours(ax: Axes) -> None:
    q = randn(0, 4, 6)
    plotting.orbits(q, ax)
    plotting.orbits((q + 1).tolist(), ax, starts=False, linestyle=":")
    colours = [line.get_color() for line in ax.lines]
    assert colours[:3] == colours[3:]
    assert [line.get_marker() for line in ax.lines] == ["o"] * 3 + ["None"] * 3


@pytest.mark.parametrize(("shape", "got"), [((4, 5), "got 5"), ((6,), r"got \(6,\)")])
def test_what_are_no_orbits_is_refused(ax: Axes, shape: tuple[int, ...], got: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `q` to .*{got}"):
        plotting.orbits(np.zeros(shape), ax)


def test_error_curves(ax: Axes) -> None:
    curves = {f"row {n}": n + np.arange(5.0) for n in range(13)}
    assert plotting.error_curves(curves, 0.5, ax, limit=10, linewidth=3) is ax
    assert ax.get_legend_handles_labels()[1] == list(curves)
    for place, values in enumerate(curves.values()):
        assert_array_equal(drawn(ax, place), [[0, 0.5, 1, 1.5, 2], values])
    assert len({(line.get_color(), str(vars(line)["_dash_pattern"])) for line in ax.lines}) == 13
    assert {line.get_linewidth() for line in ax.lines} == {3}
    assert ax.get_ylim() == (0, 10)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time $t$", r"error $\|\hat q - q\|_2$")
    plotting.error_curves({"more": [0, 1]}, 1.0, ax)  # goes on where there are some
    assert ax.lines[13].get_color() != ax.lines[0].get_color()


def test_one_position(ax: Axes) -> None:
    times, truth = [0, 1, 2], [3, 4, 5]
    got = plotting.one_position(
        times, {"a": [1, 2, math.nan], "b": [7, 8, 9]}, ax, truth=truth, observed=[3, 4, 6], limit=8
    )
    assert got is ax
    assert ax.get_legend_handles_labels()[1] == ["truth", "observed", "a", "b"]
    for place, values in enumerate(([3, 4, 5], [3, 4, 6], [1, 2, math.nan], [7, 8, 9])):
        assert_array_equal(drawn(ax, place), [times, values])
    assert ax.lines[1].get_linestyle() == "None"
    assert ax.get_ylim() == (-8, 8)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time $t$", "position $q$")


def test_many_positions() -> None:
    figure = plt.figure()
    times, truth = np.arange(4.0), np.arange(28.0).reshape(4, 7)
    axs = plotting.many_positions(times, truth + 1, truth, observed=truth - 1, limit=9)
    assert len(axs) == 7
    assert [ax.get_title() for ax in axs] == [f"mass {n}" for n in range(1, 8)]
    for place, ax in enumerate(axs):
        for line, shift in enumerate((0, -1, 1)):
            assert_array_equal(drawn(ax, line)[1], truth[:, place] + shift)
        assert ax.get_ylim() == (-9, 9)
    assert sum(not ax.axison for ax in figure.axes) == 3  # of two rows of five
    figure.canvas.draw()
    plt.close(figure)


def test_many_positions_on_given_axes() -> None:
    figure, (first, second) = plt.subplots(1, 2)
    truth = np.zeros((4, 2))
    axs = plotting.many_positions(np.arange(4), truth, truth, [first, second], numbers=[3, 9])
    assert list(axs) == [first, second]
    assert [ax.get_title() for ax in axs] == ["mass 3", "mass 9"]
    with pytest.raises(ValueError, match="Expected 2 axes and numbers; got 1 axes and 2"):
        plotting.many_positions(np.arange(4), truth, truth, [first])
    with pytest.raises(ValueError, match=r"Expected `truth` to have shape \(4, 2\)"):
        plotting.many_positions(np.arange(4), truth, truth[:, :1])
    plt.close(figure)


def test_published_and_ours(ax: Axes) -> None:
    rows: dict[str, dict[str, Any]] = {
        "one": {"published": (2.0, 0.5), "ours": (3.0, 1.0)},
        "two": {"published": (4.0, 0.5), "ours": None},
        "three": {"published": None, "ours": (1.0, 0.0)},
    }
    assert plotting.published_and_ours(rows, ax, floors={"floor": 1.2}, limit=8) is ax
    widths = {(round(b.get_y() + 0.2, 1), b.get_width()) for b in ax.patches}
    assert widths == {(-0.2, 2), (0.8, 4), (0.2, 3), (2.2, 1)}
    assert [text.get_text() for text in ax.get_yticklabels()] == list(rows)
    (note,) = ax.texts
    assert (note.get_text(), note.xy) == ("not run yet", (0, 1.2))
    assert sorted(ax.get_legend_handles_labels()[1]) == ["floor", "ours", "published"]
    assert_allclose(drawn(ax, -1)[0], 1.2)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first at the top
    assert ax.get_xlim() == (0, 8)
    assert len({bool(bar.get_hatch()) for bar in ax.patches}) == 2
