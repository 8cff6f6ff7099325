"""Precomputed pictures under a range input."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image  # Pillow comes with Matplotlib, which needs it itself

__all__ = ["slider"]

# A page may hold several sliders: each finds its own frames from its own element.
_TEMPLATE = """<figure class="srnn-slider" style="margin:0">
<label>{name}: <input type="range" autocomplete="off" min="0" max="{last}" value="{start}" step="1"
 aria-label="{name}" aria-valuetext="{label}" oninput="
const box = this.closest('.srnn-slider');
const frames = box.querySelectorAll('img');
frames.forEach((frame, k) => frame.hidden = (k != this.value));
const label = frames[this.value].dataset.label;
box.querySelector('output').value = label;
this.setAttribute('aria-valuetext', label);"> <output>{label}</output></label>
{images}
</figure>"""


def slider(
    draw: Callable[[Any], Figure],
    values: Sequence[Any],
    *,
    name: str,
    alt: Callable[[Any], str],
    start: int = 0,
    label: Callable[[Any], str] = str,
    dpi: int = 80,
) -> HTML:
    """Precompute one picture for each value, and show them under a range input.

    Works wherever HTML does, without a kernel and without a network, by mouse and by keyboard.

    Parameters
    ----------
    draw : callable
        Makes a Matplotlib figure for a value; the figure is closed afterwards.
    values : sequence
    name : str
        What the slider sets.
    alt : callable
        The alternative text of the picture for a value.
    start : int
        Which value is shown first.
    label : callable
        How a value is written beside the slider.
    dpi : int

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If there are no values, or `start` is not the index of one.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, srnn
    >>> def draw(n):
    ...     figure, ax = plt.subplots(figsize=(2, 1))
    ...     ax.plot(range(n))
    ...     return figure
    >>> srnn.widgets.slider(draw, [2, 3], name="points", alt="{} points".format).data.count("<img")
    2
    """
    if not len(values):  # an array has no truth value
        raise ValueError("Expected at least one value for the slider; got none.")
    if not 0 <= start < len(values):
        raise ValueError(f"Expected `start` between 0 and {len(values) - 1}; got {start}.")
    images = []
    for index, value in enumerate(values):
        figure = draw(value)
        encoded = base64.b64encode(_small_png(figure, dpi)).decode()
        plt.close(figure)
        hidden = "" if index == start else " hidden"
        images.append(
            f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(alt(value))}" '
            f'data-label="{html.escape(label(value))}"{hidden}>'
        )
    return HTML(
        _TEMPLATE.format(
            name=html.escape(name),
            last=len(values) - 1,
            start=start,
            label=html.escape(label(values[start])),
            images="\n".join(images),
        )
    )


def _small_png(figure: Figure, dpi: int) -> bytes:
    # A page carries every frame.  A figure of lines has few colours: 64 of them, its own, take a
    # third of the bytes and look the same.
    with io.BytesIO() as drawn, io.BytesIO() as small:
        figure.savefig(drawn, format="png", dpi=dpi)
        with Image.open(drawn) as picture:
            # Not the usual median cut: beside large areas it gives up the colours of small marks.
            reduced = picture.convert("RGB").quantize(
                64, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
            )
        reduced.save(small, format="png", optimize=True)
        return small.getvalue()
