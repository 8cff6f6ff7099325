"""The slider that needs no kernel: its pictures, its words, and their size."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from PIL import Image

from srnn import widgets


def draw(waves: int) -> Figure:
    figure, ax = plt.subplots(figsize=(4, 2))
    x = np.linspace(0, 6, 400)
    ax.plot(x, np.sin(waves * x))
    return figure


def pictures(page: str) -> list[Image.Image]:
    found = BeautifulSoup(page, "html.parser").find_all("img")
    encoded = [tag["src"].removeprefix("data:image/png;base64,") for tag in found]
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in encoded]


def test_one_picture_is_shown_and_all_are_described() -> None:
    page = widgets.slider(
        draw, [1, 2, 3], name="waves < 4", start=1, label="{}!".format, alt='"{}" waves'.format
    ).data
    soup = BeautifulSoup(page, "html.parser")
    shown = soup.find_all("img")
    assert [tag["alt"] for tag in shown] == ['"1" waves', '"2" waves', '"3" waves']
    assert [tag.has_attr("hidden") for tag in shown] == [True, False, True]
    control = soup.find("input")
    assert control["aria-label"] == "waves < 4"
    assert (control["min"], control["max"], control["value"]) == ("0", "2", "1")
    assert soup.find("output").text == "2!"
    assert plt.get_fignums() == []


def test_pictures_are_small_and_look_like_the_figure() -> None:
    (picture,) = pictures(widgets.slider(draw, [3], name="waves", alt=str, dpi=80).data)
    figure = draw(3)
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=80)
        plt.close(figure)
        full = len(buffer.getvalue())
        true = np.asarray(Image.open(buffer).convert("RGB"), dtype=float)
    assert picture.size == true.shape[1::-1]
    assert np.abs(np.asarray(picture.convert("RGB"), dtype=float) - true).mean() < 1.0
    with io.BytesIO() as buffer:
        picture.save(buffer, format="png", optimize=True)
        assert len(buffer.getvalue()) < 0.6 * full


def test_a_slider_repeats_itself() -> None:
    first, second = (widgets.slider(draw, [1, 2], name="n", alt=str).data for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("values", "start", "message"),
    [([], 0, "at least one value"), ([1, 2], 2, "between 0 and 1; got 2")],
)
def test_what_cannot_be_shown_is_refused(values: list[int], start: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widgets.slider(draw, values, name="n", alt=str, start=start)
