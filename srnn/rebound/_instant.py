"""The instant of a rebound on a curved way, from that on the straight line between its ends."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn.motion.fields import Field

__all__ = ["corrected"]

_GRAZING = 1e-3  # speed across a wall, in units of its mean over the step


def corrected(
    advance: Callable[[Field, Tensor, Any], Tensor],
    field: Field,
    here: Tensor,
    there: Tensor,
    n: Tensor,
    alpha: Tensor,
    rest: Tensor,
) -> Tensor:
    r"""Correct :math:`\alpha` for the curvature of the way.

    The wall is where the straight line from q to the tentative position meets it.  Across the wall
    the way is first taken for the parabola that has both ends and the velocity at the first, which
    it is under a constant force; one step of Newton's method does the rest.

    Parameters
    ----------
    advance : callable
        Maps (field, state, time) to the state after that time.
    field : Field
    here, there : Tensor, shape (..., 2*dim)
        The state at the start, and the tentative one at the end.
    n : Tensor, shape (..., dim)
        Normals; where they are zero, `alpha` is left as it is.
    alpha, rest : Tensor, shape (..., 1)
        The instant on the straight line, from 0 to 1, and the time that the step takes.

    Returns
    -------
    Tensor, shape (..., 1)

    Examples
    --------
    A ball at a height of 1 with no speed reaches the floor after a time of 1, where a step of 2
    has its straight line meet it at a quarter:

    >>> import torch, srnn
    >>> fall = srnn.fields.as_field(srnn.systems.Billiard(gravity=2.0))
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> def advance(field, z, dt):
    ...     return leapfrog.read(leapfrog.step(field, leapfrog.init(field, z), dt))
    >>> here, dt = torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.tensor([[2.0]])
    >>> there, up = advance(fall, here, dt), torch.tensor([[0.0, 1.0]])
    >>> corrected(advance, fall, here, there, up, torch.tensor([[0.25]]), dt)
    tensor([[0.5000]])
    """
    (q, p), (tentative, _) = _checks.halves(here), _checks.halves(there)
    way = tentative - q
    foot = q + alpha * way
    across = (n * way).sum(dim=-1, keepdim=True)
    none = across == 0
    across = torch.where(none, 1.0, across)
    speed = rest * (n * field.velocity(q, p)).sum(dim=-1, keepdim=True)
    alpha = _on_parabola(torch.where(none, 1.0, speed / across), alpha)
    q, p = _checks.halves(advance(field, here, alpha * rest))
    off = (n * (q - foot)).sum(dim=-1, keepdim=True)
    speed = rest * (n * field.velocity(q, p)).sum(dim=-1, keepdim=True)
    # A ball that grazes hardly moves across the wall: nothing is to be divided by that.
    speed = torch.where(speed / across > _GRAZING, speed, across)
    return (alpha - off / speed).clamp(0, 1)


def _on_parabola(ratio: Tensor, chord: Tensor) -> Tensor:
    """When a parabola crosses a wall that its chord crosses at `chord`, in units of the step.

    `ratio` is that of the first speed across the wall to the mean one.  The root between 0 and 1
    of (ratio - 1) a^2 - ratio a + chord = 0, in the form that does not cancel.
    """
    root = (ratio.square() - 4 * (ratio - 1) * chord).clamp(min=1e-30).sqrt()
    towards = 2 * chord / (ratio.clamp(min=0) + root)
    away = (root - ratio.clamp(max=0)) / (2 * (1 - ratio.clamp(max=0)))
    return torch.where(ratio < 0, away, towards).clamp(0, 1)
