"""Interactive figures: a slider and a moving ball that need no kernel, and a live figure."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image  # Pillow comes with Matplotlib, which needs it itself
from torch import Tensor

from srnn import _checks
from srnn.plotting import COLOURS

__all__ = ["ball", "live", "slider"]

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

# Each ball has a colour and a shape of its own, four pixels across, and a line of its own.
_BALLS = (
    ("black", '<circle r="2.4"/>', ""),
    ("vermilion", '<rect x="-2" y="-2" width="4" height="4"/>', "3 2"),
    ("blue", '<path d="M0-3 2.6 2H-2.6Z"/>', "1 1.5"),
    ("green", '<path d="M0-3 3 0 0 3-3 0Z"/>', "5 1.5 1 1.5"),
)

_ANIMATION = """<figure class="srnn-ball" style="margin:0;max-width:{width}px" data-dt="{dt:g}"
 data-speed="{speed:g}" data-last="{last}">
<svg viewBox="0 0 {cols} {rows}" role="img" aria-label="{alt}"
 style="width:100%;background:white;color:black">
<image width="{cols}" height="{rows}" preserveAspectRatio="none" style="image-rendering:pixelated"
 href="data:image/png;base64,{picture}"/>
{balls}
</svg>
<figcaption><button type="button" hidden>Play</button> <span class="srnn-clock"></span>
{legend}</figcaption>
<script>{script}</script>
</figure>"""

# It finds every ball on the page that is not running yet, so that any number of them may be there.
# What it needs to know of a path are the points of its line.
_SCRIPT = """
for (const box of document.querySelectorAll('.srnn-ball:not([data-ready])')) {
  box.dataset.ready = '';
  const [dt, speed, last] = ['dt', 'speed', 'last'].map(name => Number(box.dataset[name]));
  const button = box.querySelector('button');
  const clock = box.querySelector('.srnn-clock');
  const balls = [...box.querySelectorAll('.srnn-mark')].map(mark =>
    [mark, Array.from(mark.previousElementSibling.points, point => [point.x, point.y])]);
  let time = 0, before = 0, running = 0;
  const show = () => {
    const place = Math.min(time / dt, last), k = Math.floor(place);
    for (const [mark, path] of balls) {
      const lost = k >= path.length;
      mark.style.display = lost ? 'none' : '';
      if (lost) continue;
      const next = path[Math.min(k + 1, path.length - 1)];
      const at = path[k].map((x, i) => x + (place - k) * (next[i] - x));
      mark.setAttribute('transform', `translate(${at[0]} ${at[1]})`);
    }
    clock.textContent = `t = ${time.toFixed(1)} s`;
  };
  const frame = now => {
    time = (time + speed * Math.max(0, Math.min(now - before, 100)) / 1000) % (last * dt);
    before = now;
    show();
    running = requestAnimationFrame(frame);
  };
  const play = () => {
    button.textContent = 'Pause';
    before = performance.now();
    running = requestAnimationFrame(frame);
  };
  button.addEventListener('click', () => {
    if (!running) { play(); return; }
    cancelAnimationFrame(running);
    running = 0;
    button.textContent = 'Play';
  });
  button.hidden = false;
  show();
  if (!matchMedia('(prefers-reduced-motion: reduce)').matches) play();
}
"""


def ball(
    image: Any,
    paths: Sequence[Tensor],
    *,
    dt: float,
    labels: Sequence[str],
    alt: str,
    speed: float = 1.0,
    width: int = 420,
) -> HTML:
    """Let balls move in a room, in the page itself.

    Works wherever HTML does, without a kernel and without a network.  A button starts and stops the
    motion, which begins again at its end.  It waits for the button where the reader has asked for
    reduced motion.  Where scripts do not run, the starts and the whole paths are shown.

    Parameters
    ----------
    image : Tensor, shape (rows, columns)
        The picture of the walls, 1 where there is a wall; row 0 is at the top.
    paths : sequence of Tensor, shape (time, 2)
        Positions in pixels, one tensor for each of up to four balls, of equally many times.  A ball
        is gone from the first position that is not finite on.
    dt : float
        Time between positions, in seconds.
    labels : sequence of str
        A name for each ball.
    alt : str
        What is to be seen.
    speed : float
        Seconds of the motion in a second.
    width : int
        Largest width on the page.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError, TypeError
        If there is no ball or more than four, a path has another shape or length, is lost at the
        start, or the labels are not as many.

    Examples
    --------
    >>> import torch, srnn
    >>> billiard = srnn.systems.Billiard()
    >>> states, _ = billiard.flow(torch.tensor([[30.0, 60.0, 20.0, 0.0]]), dt=0.05, steps=40)
    >>> page = srnn.widgets.ball(
    ...     billiard.room.image, [states[:, 0, :2]], dt=0.05, labels=["truth"], alt="A ball falls."
    ... )
    >>> page.data.count("<polyline")
    1
    """
    image = _checks.picture(image, "image").detach().cpu()
    rows, cols = image.shape
    if not 1 <= len(paths) <= len(_BALLS):
        raise ValueError(f"Expected one to {len(_BALLS)} `paths`; got {len(paths)}.")
    if len(labels) != len(paths):
        raise ValueError(f"Expected a label for each of {len(paths)} paths; got {len(labels)}.")
    balls, legend = [], []
    for number, (path, label) in enumerate(zip(paths, labels, strict=True)):
        path = _checks.half(path, "paths", 2).detach().double().cpu()
        if path.shape != (len(paths[0]), 2) or len(path) < 2:
            raise ValueError(
                "Expected `paths` of shape (time, 2) with equally many times, at least two; got "
                f"{tuple(path.shape)} for ball {number}."
            )
        there = int(path.isfinite().all(dim=-1).int().cumprod(dim=0).sum())
        if not there:
            raise ValueError(f"Expected finite positions at the start; ball {number} has none.")
        places = [f"{x:.1f},{rows - y:.1f}" for x, y in path[:there].tolist()]
        colour, shape, dashes = COLOURS[_BALLS[number][0]], *_BALLS[number][1:]
        x, y = places[0].split(",")
        balls.append(
            f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" '
            f'stroke-width="0.6" stroke-opacity="0.5" stroke-dasharray="{dashes}"/>'
            f'<g class="srnn-mark" fill="{colour}" transform="translate({x} {y})">{shape}</g>'
        )
        legend.append(
            f'<span style="white-space:nowrap"><svg viewBox="-4 -4 8 8" width="16" height="16" '
            f'aria-hidden="true" style="background:white;vertical-align:middle">'
            f'<g fill="{colour}">{shape}</g></svg> {html.escape(label)}</span>'
        )
    return HTML(
        _ANIMATION.format(
            dt=_checks.positive(dt, "dt"),
            speed=_checks.positive(speed, "speed"),
            width=_checks.positive_int(width, "width"),
            last=len(paths[0]) - 1,
            cols=cols,
            rows=rows,
            alt=html.escape(alt),
            picture=base64.b64encode(_grey_png(image)).decode(),
            balls="\n".join(balls),
            legend="\n".join(legend),
            script=_SCRIPT,
        )
    )


def _grey_png(image: Tensor) -> bytes:
    """Draw walls in grey on white, one pixel a pixel."""
    shades = (255 - 120 * image.clamp(0, 1)).round().to(torch.uint8).numpy()
    with io.BytesIO() as drawn:
        Image.fromarray(shades).save(drawn, format="png", optimize=True)
        return drawn.getvalue()


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
            reduced = picture.convert("RGB").quantize(64, dither=Image.Dither.NONE)
        reduced.save(small, format="png", optimize=True)
        return small.getvalue()


def live(draw: Callable[..., Figure], **controls: Any) -> Any:
    """Redraw a figure as its controls move; needs a running kernel.

    Parameters
    ----------
    draw : callable
        Makes a Matplotlib figure of the controls' values.
    **controls
        What ``ipywidgets.interactive`` takes: a range ``(low, high, step)``, a list of choices or a
        widget for each argument of `draw`.

    Returns
    -------
    ipywidgets.interactive
        Display it in a notebook.

    Examples
    --------
    >>> import contextlib, io, matplotlib.pyplot as plt, srnn
    >>> def draw(n):
    ...     figure, ax = plt.subplots(figsize=(2, 1))
    ...     ax.plot(range(n))
    ...     return figure
    >>> with contextlib.redirect_stdout(io.StringIO()):  # outside Jupyter it is shown as text
    ...     controls = srnn.widgets.live(draw, n=(2, 9, 1))
    >>> controls.children[0].description, controls.children[0].value
    ('n', 5)
    """
    import ipywidgets
    from IPython.display import display

    def show(**values: Any) -> None:
        figure = draw(**values)
        display(figure)
        plt.close(figure)

    return ipywidgets.interactive(show, **controls)
