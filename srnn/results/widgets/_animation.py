"""Motions that the page itself plays: balls in a room, and bodies beside the truth."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import torch
from IPython.display import HTML
from PIL import Image  # Pillow comes with Matplotlib, which needs it itself
from torch import Tensor

from srnn import _checks
from srnn.results.plotting import COLOURS

__all__ = ["ball", "bodies"]

# Each ball has a shape of its own, four pixels across, and with it a colour and a kind of line.
_SHAPES = (
    '<circle r="2.4"/>',
    '<rect x="-2" y="-2" width="4" height="4"/>',
    '<path d="M0-3 2.6 2H-2.6Z"/>',
    '<path d="M0-3 3 0 0 3-3 0Z"/>',
)
_BALLS = (("black", ""), ("vermilion", "3 2"), ("blue", "1 1.5"), ("green", "5 1.5 1 1.5"))
_BODIES = list(COLOURS.values())[1 : 1 + len(_SHAPES)]  # as `srnn.plotting.orbits` draws them
_SIDE = 100  # of a square that bodies move in, in units of its drawing

_ANIMATION = """<figure class="srnn-ball" style="margin:0;max-width:{width}px" data-dt="{dt:g}"
 data-speed="{speed:g}" data-last="{last}" data-unit=" s">
<svg viewBox="0 0 {cols} {rows}" role="img" aria-label="{alt}"
 style="width:100%;background:white;color:black">
<image width="{cols}" height="{rows}" preserveAspectRatio="none" style="image-rendering:pixelated"
 href="data:image/png;base64,{picture}"/>
{balls}
</svg>
"""

# One square for each prediction, side by side where there is room for it.  The parts of an element
# with the role of an image are one thing to those who hear the page: its description.
_PANELS = """<figure class="srnn-ball srnn-bodies" style="margin:0;max-width:{width}px"
 data-dt="{dt:g}" data-speed="{speed:g}" data-last="{last}" data-unit="">
<div role="img" aria-label="{alt}" style="display:flex;flex-wrap:wrap;gap:8px">
{panels}
</div>
"""

_END = """<figcaption><button type="button" hidden>Play</button> <span class="srnn-clock"></span>
{legend}</figcaption>
<script>{script}</script>
</figure>"""

_PANEL = """<div style="flex:1 1 150px"><div style="text-align:center">{label}</div>
<svg viewBox="0 0 {side} {side}" style="display:block;width:100%;background:white">
{marks}
</svg></div>"""

# It finds every figure on the page that is not running yet, so that any number may be there.  What
# it needs to know of a path are the points of its line, and their distance in time if it is not
# that of the whole figure.
_SCRIPT = """
for (const box of document.querySelectorAll('.srnn-ball:not([data-ready])')) {
  box.dataset.ready = '';
  const [dt, speed, last] = ['dt', 'speed', 'last'].map(name => Number(box.dataset[name]));
  const button = box.querySelector('button');
  const clock = box.querySelector('.srnn-clock');
  const balls = [...box.querySelectorAll('.srnn-mark')].map(mark => [
    mark,
    Number(mark.dataset.dt ?? dt),
    Array.from(mark.previousElementSibling.points, point => [point.x, point.y]),
  ]);
  let time = 0, before = 0, running = 0;
  const show = () => {
    for (const [mark, apart, path] of balls) {
      const place = Math.min(time, last * dt) / apart, k = Math.floor(place);
      const lost = k >= path.length;
      mark.style.display = lost ? 'none' : '';
      if (lost) continue;
      const next = path[Math.min(k + 1, path.length - 1)];
      const at = path[k].map((x, i) => x + (place - k) * (next[i] - x));
      mark.setAttribute('transform', `translate(${at[0]} ${at[1]})`);
    }
    clock.textContent = `t = ${time.toFixed(1)}${box.dataset.unit}`;
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
    if not 1 <= len(paths) <= len(_SHAPES):
        raise ValueError(f"Expected one to {len(_SHAPES)} `paths`; got {len(paths)}.")
    _check_labels(labels, paths)
    balls, legend = [], []
    for number, (path, label) in enumerate(zip(paths, labels, strict=True)):
        path = _checks.half(path, "paths", 2).detach().double().cpu()
        if path.shape != (len(paths[0]), 2) or len(path) < 2:
            raise ValueError(
                "Expected `paths` of shape (time, 2) with equally many times, at least two; got "
                f"{tuple(path.shape)} for ball {number}."
            )
        there = _until_lost(path)
        if not there:
            raise ValueError(f"Expected finite positions at the start; ball {number} has none.")
        places = [f"{x:.1f},{rows - y:.1f}" for x, y in path[:there].tolist()]
        name, dashes = _BALLS[number]
        colour, shape = COLOURS[name], _SHAPES[number]
        x, y = places[0].split(",")
        balls.append(
            f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" '
            f'stroke-width="0.6" stroke-opacity="0.5" stroke-dasharray="{dashes}"/>'
            f'<g class="srnn-mark" fill="{colour}" transform="translate({x} {y})">{shape}</g>'
        )
        legend.append(_explained(f'<g fill="{colour}">{shape}</g>', label, reach=4))
    return _page(
        _ANIMATION, legend, dt, speed, width, alt, len(paths[0]), cols=cols, rows=rows,
        picture=base64.b64encode(_grey_png(image)).decode(), balls="\n".join(balls),
    )  # fmt: skip


def bodies(
    paths: Sequence[Tensor],
    truth: Tensor,
    *,
    dt: float,
    truth_dt: float | None = None,
    labels: Sequence[str],
    alt: str,
    speed: float = 1.0,
    width: int = 560,
) -> HTML:
    """Let predicted bodies move beside the true ones, in the page itself.

    Each prediction has a square of its own.  A body has one colour and one shape: its outline is
    where the body is, and the filled one where it is predicted.  Between two positions a body goes
    straight, as it does within a leapfrog step.  It works as :func:`ball` does: without a kernel
    and a network, with a button, waiting for it where the reader has asked for reduced motion.

    Parameters
    ----------
    paths : sequence of Tensor, shape (time, 2 * bodies)
        Predicted positions, x and y of one body after the other, of up to four bodies.  A body is
        gone from the first position that is not finite on.
    truth : Tensor, shape (time, 2 * bodies)
        True positions over the same span of time.  The squares show all of them; a prediction that
        runs away leaves its square.
    dt : float
        Time between predicted positions.
    truth_dt : float, optional
        Time between true positions; `dt` by default.
    labels : sequence of str
        A name for each prediction.
    alt : str
        What is to be seen.
    speed : float
        Units of time of the motion in a second.
    width : int
        Largest width on the page.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError, TypeError
        If there is no prediction, or more than four bodies, a shape or a span of time differs, a
        true position is not finite, a body is lost at the start, or the labels are not as many.

    Examples
    --------
    >>> import srnn
    >>> system = srnn.systems.ThreeBody()
    >>> true = system.simulate(1, steps=6, dt=1.0)
    >>> guess = srnn.rollout(system, "leapfrog", true.values[0], dt=1.0, steps=6)[:, 0, :6]
    >>> page = srnn.widgets.bodies(
    ...     [guess], true.q[:, 0], dt=1.0, labels=["step 1"], alt="Three bodies leave the truth."
    ... )
    >>> page.data.count("<polyline")  # three true ones and three predicted
    6
    """
    dt = _checks.time_step(dt)
    truth_dt = dt if truth_dt is None else _checks.positive(truth_dt, "truth_dt")
    if not len(paths):
        raise ValueError("Expected at least one of `paths`; got none.")
    _check_labels(labels, paths)
    true = _places(truth, "truth")
    if not true.isfinite().all():
        raise ValueError("Expected finite positions in `truth`.")
    span = (len(true) - 1) * truth_dt
    low, high = true.amin(dim=(0, 1)), true.amax(dim=(0, 1))
    centre, reach = (low + high) / 2, 0.6 * float((high - low).max().clamp(min=1e-9))
    panels = []
    for path, label in zip(paths, labels, strict=True):
        guess = _places(path, "paths")
        if guess.shape[1:] != true.shape[1:]:
            raise ValueError(
                f"Expected `paths` of {true.shape[1]} bodies, as `truth`; got {guess.shape[1]} for "
                f"{label!r}."
            )
        if not _checks.same_spacing(span, (len(guess) - 1) * dt):
            raise ValueError(
                f"Expected `paths` to span the {span:g} units of time of `truth`; {label!r} spans "
                f"{(len(guess) - 1) * dt:g}."
            )
        lost = ~guess[0].isfinite().all(dim=-1)
        if lost.any():
            body = int(lost.nonzero()[0])
            raise ValueError(
                f"Expected finite positions at the start; body {body} of {label!r} has none."
            )
        marks = [
            _moving((states[:, body] - centre) / reach, body, apart, filled=filled)
            for states, apart, filled in ((true, truth_dt, False), (guess, dt, True))
            for body in range(true.shape[1])
        ]
        panels.append(_PANEL.format(label=html.escape(label), side=_SIDE, marks="\n".join(marks)))
    legend = [
        _explained(_mark(0, filled=filled), name, reach=5)
        for filled, name in ((False, "truth"), (True, "predicted"))
    ]
    drawn = "\n".join(panels)
    return _page(_PANELS, legend, truth_dt, speed, width, alt, len(true), panels=drawn)


def _page(
    template: str,
    legend: list[str],
    dt: float,
    speed: float,
    width: int,
    alt: str,
    count: int,
    **parts: Any,
) -> HTML:
    """Put a figure together; `count` are the positions of a path."""
    how: dict[str, Any] = {"dt": _checks.time_step(dt), "speed": _checks.positive(speed, "speed")}
    how |= {"width": _checks.positive_int(width, "width"), "alt": html.escape(alt)}
    named = {"legend": "\n".join(legend), "script": _SCRIPT, "last": count - 1}
    return HTML((template + _END).format(**how, **named, **parts))


def _check_labels(labels: Sequence[str], paths: Sequence[Tensor]) -> None:
    if len(labels) != len(paths):
        raise ValueError(f"Expected a label for each of {len(paths)} paths; got {len(labels)}.")


def _places(positions: Any, name: str) -> Tensor:
    """Return positions as (time, body, 2)."""
    tensor = _checks.float_tensor(positions, name).detach().double().cpu()
    if (
        tensor.ndim != 2
        or len(tensor) < 2
        or tensor.shape[1] not in range(2, 2 * len(_SHAPES) + 1, 2)
    ):
        raise ValueError(
            f"Expected `{name}` of shape (time, 2 * bodies), with at least two times and one to "
            f"{len(_SHAPES)} bodies; got {tuple(tensor.shape)}."
        )
    return tensor.reshape(len(tensor), -1, 2)


def _until_lost(positions: Tensor) -> int:
    """Count the positions before the first that is not finite."""
    return int(positions.isfinite().all(dim=-1).int().cumprod(dim=0).sum())


def _explained(mark: str, name: str, *, reach: int) -> str:
    """Draw a mark that reaches from -reach to reach, and say beside it what it stands for."""
    box, size = f"-{reach} -{reach} {2 * reach} {2 * reach}", 4 * reach
    return (
        f'<span style="white-space:nowrap"><svg viewBox="{box}" width="{size}" height="{size}" '
        f'aria-hidden="true" style="background:white;vertical-align:middle">'
        f"{mark}</svg> {html.escape(name)}</span>"
    )


def _moving(positions: Tensor, body: int, apart: float, *, filled: bool) -> str:
    """Draw the path of a body and its mark at the start; the square reaches from -1 to 1."""
    there = _until_lost(positions)
    points = [
        f"{_SIDE / 2 * (1 + x):.2f},{_SIDE / 2 * (1 - y):.2f}"
        for x, y in positions[:there].tolist()
    ]
    x, y = points[0].split(",")
    line = 'stroke-width="0.6"' if filled else 'stroke-width="0.8" stroke-dasharray="1 2"'
    return (
        f'<polyline points="{" ".join(points)}" fill="none" stroke="{_BODIES[body]}" {line}/>'
        f'<g class="srnn-mark" data-dt="{apart:g}" transform="translate({x} {y})">'
        f"{_mark(body, filled=filled)}</g>"
    )


def _mark(body: int, *, filled: bool) -> str:
    """Draw a body: filled where it is predicted, and an outline around that where it is."""
    colour = _BODIES[body]
    look = (
        f'fill="{colour}" stroke="black" stroke-width="0.3"'  # an edge for bright colours
        if filled
        else f'fill="none" stroke="{colour}" stroke-width="0.7" transform="scale(1.7)"'
    )
    return f"<g {look}>{_SHAPES[body]}</g>"


def _grey_png(image: Tensor) -> bytes:
    """Draw walls in grey on white, one pixel a pixel."""
    shades = (255 - 120 * image.clamp(0, 1)).round().to(torch.uint8).numpy()
    with io.BytesIO() as drawn:
        Image.fromarray(shades).save(drawn, format="png", optimize=True)
        return drawn.getvalue()
