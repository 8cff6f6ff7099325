import base64
import io
from collections.abc import Iterator
from html.parser import HTMLParser

import ipywidgets
import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

mpl.use("Agg")

import matplotlib.pyplot as plt

from srnn import systems
from srnn.results import widgets
from srnn.results.plotting import COLOURS
from srnn.results.widgets._live import made


@pytest.fixture(autouse=True)
def _no_figure_is_left_open() -> Iterator[None]:
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


def draw(count: int) -> Figure:
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot(np.arange(count))
    return figure


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.found if found == tag]


def test_a_slider_holds_a_picture_for_each_value() -> None:
    page = widgets.slider(draw, [2, 3, 5], name="points", alt="{} points".format, start=1)
    elements = Elements(page.data)
    images = elements.of("img")
    assert [image["alt"] for image in images] == ["2 points", "3 points", "5 points"]
    assert [image["data-label"] for image in images] == ["2", "3", "5"]
    assert ["hidden" in image for image in images] == [True, False, True]
    pictures = set()
    for image in images:
        kind, _, encoded = str(image["src"]).partition(",")
        assert kind == "data:image/png;base64"
        pictures.add(base64.b64decode(encoded, validate=True))
    assert len(pictures) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    (control,) = elements.of("input")
    assert control["type"] == "range"
    assert (control["min"], control["max"], control["value"], control["step"]) == (
        "0",
        "2",
        "1",
        "1",
    )
    assert (control["aria-label"], control["aria-valuetext"]) == ("points", "3")
    assert "<output>3</output>" in page.data
    assert "http" not in page.data  # nothing is loaded from elsewhere
    again = widgets.slider(draw, [2, 3, 5], name="points", alt="{} points".format, start=1)
    assert page.data == again.data


def test_texts_are_escaped() -> None:
    nasty = "a \"b\" <i> & 'c' {x}"
    page = widgets.slider(draw, [2], name=nasty, alt=lambda _: nasty, label=lambda _: nasty)
    elements = Elements(page.data)
    assert not elements.of("i")
    (image,) = elements.of("img")
    (control,) = elements.of("input")
    assert image["alt"] == image["data-label"] == nasty
    assert control["aria-label"] == control["aria-valuetext"] == nasty


def waves(count: int) -> Figure:
    figure, ax = plt.subplots(figsize=(4, 2))
    x = np.linspace(0, 6, 400)
    ax.plot(x, np.sin(count * x))
    return figure


def test_pictures_are_small_and_look_like_the_figure() -> None:
    page = widgets.slider(waves, [3], name="waves", alt=str, dpi=80)
    (image,) = Elements(page.data).of("img")
    data = base64.b64decode(str(image["src"]).partition(",")[2])
    picture = Image.open(io.BytesIO(data))
    figure = waves(3)
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=80)
        plt.close(figure)
        full = len(buffer.getvalue())
        true = np.asarray(Image.open(buffer).convert("RGB"), dtype=float)
    assert picture.size == true.shape[1::-1]
    assert np.abs(np.asarray(picture.convert("RGB"), dtype=float) - true).mean() < 1.0
    assert len(data) < 0.6 * full


def test_labels_and_resolution() -> None:
    page, fine = (
        widgets.slider(draw, [0.1], name="dt", alt=str, label="{:.2f} s".format, dpi=dpi).data
        for dpi in (40, 160)
    )
    assert Elements(page).of("img")[0]["data-label"] == "0.10 s"
    assert len(fine) > len(page)
    levels = np.linspace(2, 3, 3)  # values may be an array
    page = widgets.slider(lambda x: draw(int(x)), levels, name="level", alt=str).data
    assert page.count("<img") == 3


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected at least one value for the slider; got none"):
        widgets.slider(draw, [], name="points", alt=str)
    for start in (-1, 2):
        with pytest.raises(ValueError, match=f"Expected `start` between 0 and 1; got {start}"):
            widgets.slider(draw, [2, 3], name="points", alt=str, start=start)


def test_live_draws_for_its_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    shown: list[object] = []

    def watched(count: int) -> Figure:
        asked.append(count)
        return draw(count)

    monkeypatch.setattr("IPython.display.display", lambda figure: shown.append(figure))
    control = widgets.live(watched, count=(2, 9, 1))
    assert isinstance(control, ipywidgets.interactive)
    assert [child.description for child in control.children[:-1]] == ["count"]
    control.update()
    control.children[0].value = 7
    assert asked[-1] == 7
    assert len(asked) >= 2
    assert isinstance(shown[-1], Figure)
    assert len(shown) == len(asked)
    assert len(shown[-1].axes[0].lines[0].get_xdata()) == 7


def test_a_moved_control_changes_the_captured_picture(capture: list[bytes]) -> None:
    control = widgets.live(draw, count=(2, 9, 1))
    assert len(capture) == 1
    for value in (7, 3, 7):
        control.children[0].value = value
    first, seven, three, again = capture
    assert len({first, seven, three}) == 3
    assert seven == again


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Pictures as a notebook would show them, in their order."""
    pictures: list[bytes] = []

    def display(figure: Figure) -> None:
        with io.BytesIO() as buffer:
            figure.savefig(buffer, format="png", metadata={"Software": None})
            pictures.append(buffer.getvalue())

    monkeypatch.setattr("IPython.display.display", display)
    return pictures


def test_a_control_starts_at_the_default_and_other_arguments_have_none(
    capture: list[bytes],
) -> None:
    def styled(count: int = 3, width: float = 2.0, style: str = "-") -> Figure:
        figure, ax = plt.subplots(figsize=(width, 1))
        ax.plot(np.arange(count), style)
        return figure

    control = widgets.live(styled, count=(2, 9, 1), style=["-", "--"])
    assert [(c.description, c.value) for c in control.children[:-1]] == [
        ("count", 3),
        ("style", "-"),
    ]
    assert all(c.style.description_width == "initial" for c in control.children[:-1])
    assert len(capture) == 1


def test_a_control_of_no_argument_is_refused() -> None:
    with pytest.raises(ValueError, match=r"arguments of `draw`, count; got number, size"):
        widgets.live(draw, size=(1, 2), count=(2, 9), number=(1, 2))


def test_what_live_has_made_is_found_as_long_as_it_is_there(capture: list[bytes]) -> None:
    control = widgets.live(draw, count=(2, 9, 1))
    assert control in made


ROOM = systems.Room.box(32, 6).image
PATHS = [
    torch.tensor([[10.0, 20.0], [12.0, 18.0], [14.04, 16.0]]),
    torch.tensor([[8.0, 9.0], [torch.nan, 9.0], [8.0, 9.0]]),
]


def ball(**changed: object) -> Elements:
    settings: dict[str, object] = {
        "paths": PATHS,
        "dt": 0.1,
        "labels": ["truth", "guess"],
        "alt": "Two balls in a box.",
    }
    settings |= changed
    return Elements(widgets.ball(ROOM, settings.pop("paths"), **settings).data)  # type: ignore[arg-type]


def test_a_ball_has_a_line_with_a_point_for_each_time_and_y_is_up() -> None:
    lines = ball().of("polyline")
    assert lines[0]["points"] == "10.0,12.0 12.0,14.0 14.0,16.0"
    assert lines[1]["points"] == "8.0,23.0"  # it is lost after its start
    assert lines[0]["stroke"] != lines[1]["stroke"]
    assert lines[0]["stroke-dasharray"] != lines[1]["stroke-dasharray"]


def test_without_a_script_the_balls_are_at_their_starts_and_the_button_is_hidden() -> None:
    found = ball()
    marks = [g for g in found.of("g") if g.get("class") == "srnn-mark"]
    assert [mark["transform"] for mark in marks] == ["translate(10.0 12.0)", "translate(8.0 23.0)"]
    (button,) = found.of("button")
    assert "hidden" in button
    assert button["type"] == "button"


def test_the_balls_differ_in_shape() -> None:
    four = ball(paths=4 * PATHS[:1], labels=list("abcd"))
    # Each shape twice, in the room and beside its name; the first is a circle.
    assert [len(four.of(tag)) for tag in ("circle", "rect", "path")] == [2, 2, 4]
    assert len({path["d"] for path in four.of("path")}) == 2


def test_the_room_is_described_and_shown_pixel_by_pixel() -> None:
    found = ball()
    room = found.of("svg")[0]
    assert (room["role"], room["aria-label"]) == ("img", "Two balls in a box.")
    assert room["viewbox"] == "0 0 32 32"
    (image,) = found.of("image")
    data = base64.b64decode(str(image["href"]).partition(",")[2], validate=True)
    shades = np.asarray(Image.open(io.BytesIO(data)))
    assert shades.shape == (32, 32)
    assert {shades[0, 0], shades[16, 16]} == {135, 255}


def test_a_ball_loads_nothing_escapes_its_texts_and_moves_where_motion_is_welcome() -> None:
    nasty = "a \"b\" <i> & 'c' {x} </script>"
    page, again = (
        widgets.ball(ROOM, PATHS, dt=0.1, labels=[nasty, nasty], alt=nasty).data for _ in range(2)
    )
    assert page == again
    assert "http" not in page
    assert " id=" not in page
    assert "if (!matchMedia('(prefers-reduced-motion: reduce)').matches) play();" in page
    assert not Elements(page).of("i")
    assert Elements(page).of("svg")[0]["aria-label"] == nasty


def test_speed_and_times_are_told_to_the_script() -> None:
    (figure,) = ball(speed=0.5, dt=0.25, width=300).of("figure")
    assert (figure["data-dt"], figure["data-speed"], figure["data-last"]) == ("0.25", "0.5", "2")
    assert "max-width:300px" in str(figure["style"])


def test_bad_balls_are_refused() -> None:
    for paths, labels, text in (
        ([], [], "Expected one to 4 `paths`; got 0"),
        (5 * PATHS[:1], list("abcde"), "Expected one to 4 `paths`; got 5"),
        (PATHS, ["truth"], "Expected a label for each of 2 paths; got 1"),
        ([PATHS[0], PATHS[0][:2]], list("ab"), r"got \(2, 2\) for ball 1"),
        ([PATHS[0][:1]], ["a"], r"at least two; got \(1, 2\) for ball 0"),
        ([PATHS[1][1:]], ["a"], "Expected finite positions at the start; ball 0 has none"),
        ([PATHS[0][:, :1]], ["a"], "Expected `paths` to have shape"),
    ):
        with pytest.raises(ValueError, match=text):
            ball(paths=paths, labels=labels)
    for name in ("dt", "speed", "width"):
        with pytest.raises(ValueError, match=f"Expected `{name}`"):
            ball(**{name: 0})
    with pytest.raises(ValueError, match="Expected `image` to have shape"):
        widgets.ball(ROOM[0], PATHS, dt=0.1, labels=["a", "b"], alt="")


# Two bodies. The first goes right, the second up; the guess of the second is lost at once.
TRUTH = torch.tensor([[-1.0, 0.0, 1.0, -1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]])
GUESS = torch.tensor([[-1.0, 0.0, 1.0, -1.0], [0.0, 0.6, torch.nan, 0.0], [3.0, 0.0, 1.0, 1.0]])


def bodies(**changed: object) -> Elements:
    settings: dict[str, object] = {
        "paths": [GUESS],
        "truth": TRUTH,
        "dt": 0.5,
        "labels": ["guess"],
        "alt": "Two bodies leave the truth.",
    }
    settings |= changed
    return Elements(widgets.bodies(**settings).data)  # type: ignore[arg-type]


def test_bodies_have_true_and_predicted_lines_of_one_scale_with_y_up() -> None:
    lines = bodies().of("polyline")
    assert [line["points"] for line in lines] == [
        "8.33,50.00 50.00,50.00 91.67,50.00",  # a margin of a tenth on each side
        "91.67,91.67 91.67,50.00 91.67,8.33",
        "8.33,50.00 50.00,25.00 175.00,50.00",  # it runs out of the square
        "91.67,91.67",  # lost after its start
    ]
    assert [line["stroke"] for line in lines[:2]] == [line["stroke"] for line in lines[2:]]
    assert lines[0]["stroke"] != lines[1]["stroke"]
    assert ["stroke-dasharray" in line for line in lines] == [True, True, False, False]


def test_outlines_are_true_and_filled_bodies_predicted() -> None:
    found = bodies()
    looks = [g for g in found.of("g") if "fill" in g]
    assert [look["fill"] == "none" for look in looks] == [True, True, False, False, True, False]
    # Two shapes, each as an outline and filled; the first also in the legend.
    assert [len(found.of(tag)) for tag in ("circle", "rect", "path")] == [4, 2, 0]
    marks = [g["transform"] for g in found.of("g") if g.get("class") == "srnn-mark"]
    assert marks == 2 * ["translate(8.33 50.00)", "translate(91.67 91.67)"]


def test_each_path_of_bodies_tells_the_script_its_times() -> None:
    fine = torch.stack([TRUTH[0].lerp(TRUTH[2], t / 8) for t in range(9)])
    found = bodies(truth=fine, truth_dt=0.125, speed=2.0, width=300)
    (figure,) = found.of("figure")
    assert (figure["data-dt"], figure["data-last"], figure["data-speed"]) == ("0.125", "8", "2")
    assert figure["data-unit"] == ""
    assert "max-width:300px" in str(figure["style"])
    marks = [g for g in found.of("g") if g.get("class") == "srnn-mark"]
    assert [mark["data-dt"] for mark in marks] == ["0.125", "0.125", "0.5", "0.5"]


def test_a_square_for_each_prediction_and_one_description() -> None:
    found = bodies(paths=[TRUTH, GUESS, TRUTH], labels=list("abc"))
    (picture,) = [div for div in found.of("div") if div.get("role") == "img"]
    assert picture["aria-label"] == "Two bodies leave the truth."
    assert len([svg for svg in found.of("svg") if svg["viewbox"] == "0 0 100 100"]) == 3
    (figure,) = found.of("figure")
    assert str(figure["class"]).split() == ["srnn-ball", "srnn-bodies"]
    (button,) = found.of("button")
    assert "hidden" in button


def test_bodies_load_nothing_and_their_texts_are_escaped() -> None:
    nasty = "a \"b\" <i> & 'c' {x} </script>"
    page = widgets.bodies([GUESS], TRUTH, dt=0.5, labels=[nasty], alt=nasty)
    again = widgets.bodies([GUESS], TRUTH, dt=0.5, labels=[nasty], alt=nasty)
    assert page.data == again.data
    assert "http" not in page.data
    assert " id=" not in page.data
    assert not Elements(page.data).of("i")


def test_bad_bodies_are_refused() -> None:
    lost = TRUTH.clone()
    lost[0, 2] = torch.nan
    for changed, text in (
        ({"paths": [], "labels": []}, "Expected at least one of `paths`; got none"),
        ({"labels": ["a", "b"]}, "Expected a label for each of 1 paths; got 2"),
        ({"truth": GUESS}, "Expected finite positions in `truth`"),
        ({"truth": TRUTH[:1]}, r"`truth` of shape \(time, 2 \* bodies\).*got \(1, 4\)"),
        ({"truth": TRUTH[:, :3]}, r"one to 4 bodies; got \(3, 3\)"),
        ({"truth": torch.zeros(3, 10)}, r"one to 4 bodies; got \(3, 10\)"),
        ({"paths": [GUESS[:, :2]]}, "`paths` of 2 bodies, as `truth`; got 1 for 'guess'"),
        ({"paths": [GUESS[:2]]}, "span the 1 units of time of `truth`; 'guess' spans 0.5"),
        ({"truth_dt": 0.25}, "span the 0.5 units of time of `truth`; 'guess' spans 1"),
        ({"paths": [lost]}, "Expected finite positions at the start; body 1 of 'guess' has none"),
        ({"dt": 0.0}, "Expected `dt`"),
        ({"truth_dt": -1.0}, "Expected `truth_dt`"),
        ({"speed": 0.0}, "Expected `speed`"),
        ({"width": 0}, "Expected `width`"),
    ):
        with pytest.raises(ValueError, match=text):
            bodies(**changed)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Expected `paths` to be a torch"):
        bodies(paths=[GUESS.tolist()])


def test_small_marks_keep_their_colour_beside_large_areas() -> None:
    def landscape(_: int) -> Figure:
        figure, ax = plt.subplots(figsize=(4, 3))
        x, y = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 80))
        ax.contourf(x, y, np.hypot(x, y), levels=60, cmap="Greys")
        ax.plot([0.3], [0.2], "o", color=COLOURS["blue"])
        ax.plot([-0.3], [0.2], "s", color=COLOURS["vermilion"])
        return figure

    page = widgets.slider(landscape, [0], name="landscape", alt=str)
    (image,) = Elements(page.data).of("img")
    data = base64.b64decode(str(image["src"]).partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float).reshape(-1, 3)
    for name in ("blue", "vermilion"):
        wanted = [255 * part for part in to_rgb(COLOURS[name])]
        assert np.abs(pixels - wanted).max(axis=1).min() < 8, name
