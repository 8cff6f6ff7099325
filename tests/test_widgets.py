import base64
import io
from collections.abc import Iterator
from html.parser import HTMLParser

import ipywidgets
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

mpl.use("Agg")

import matplotlib.pyplot as plt

from srnn import widgets


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


def test_the_same_figures_make_the_same_page() -> None:
    pages = {widgets.slider(draw, [2, 3], name="points", alt=str).data for _ in range(2)}
    assert len(pages) == 1


def test_labels_and_resolution() -> None:
    page, fine = (
        widgets.slider(draw, [0.1], name="dt", alt=str, label="{:.2f} s".format, dpi=dpi).data
        for dpi in (40, 160)
    )
    assert Elements(page).of("img")[0]["data-label"] == "0.10 s"
    assert len(fine) > len(page)


def draw_level(level: float) -> Figure:
    return draw(2 + int(level))


def test_values_may_be_an_array() -> None:
    page = widgets.slider(draw_level, np.linspace(0, 1, 3), name="level", alt=str)
    assert page.data.count("<img") == 3


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
