r"""Rebounds that can be read off observed steps, once the motion between the walls is known.

A step without walls from :math:`z_t` leads to :math:`(\tilde q, \tilde p)`.  If the ball
rebounded at :math:`t + \alpha\,\Delta t`, its momentum jumped by
:math:`\Delta p = p_{t+\Delta t} - \tilde p`, along the wall's normal, and has since carried it off
the tentative position at the velocity's jump
:math:`\Delta v = K'(p_{t+\Delta t}) - K'(\tilde p)`:

.. math:: q_{t+\Delta t} - \tilde q = (1 - \alpha)\,\Delta t\,\Delta v.

Exact where the force is constant over a step, and to first order elsewhere.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.motion.fields import Field
from srnn.motion.integrators import Integrator
from srnn.rebound._step import advanced, reflect

__all__ = ["ObservedRebounds", "observed_rebounds"]


class ObservedRebounds(NamedTuple):
    """What one step each of many balls shows, over the last axis but one of the states.

    Examples
    --------
    Two pixels above the floor, at 30 pixels a second downwards:

    >>> import torch, srnn
    >>> ball = srnn.systems.Billiard()
    >>> start = torch.tensor([[60.0, 14.0, 0.0, -30.0], [60.0, 60.0, 0.0, -30.0]])
    >>> z = ball.simulate(2, steps=1, dt=0.1, initial_state=start).values
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> seen = observed_rebounds(srnn.fields.as_field(ball), leapfrog, z[0], z[1], 0.1)
    >>> seen.hit.tolist(), round(seen.alpha[0].item(), 2)
    ([True, False], 0.66)
    """

    tentative: Tensor
    """State after a step without walls."""
    hit: Tensor
    """Whether momentum jumped."""
    clear: Tensor
    """Whether one rebound explains the jump: not two of them, in a corner, nor noise."""
    n: Tensor
    """Unit normal, into the room; zero where there was no jump."""
    alpha: Tensor
    """Instant within the step, shape (..., 1)."""
    position: Tensor
    """Where the ball was when it rebounded."""
    restitution: Tensor
    """Ratio of the normal speeds after and before."""


@torch.no_grad()
def observed_rebounds(
    field: Field, method: Integrator, before: State, after: State, dt: float
) -> ObservedRebounds:
    """Read rebounds off pairs of states one step apart.

    Parameters
    ----------
    field : field
        The motion between walls.
    method : Integrator
        Without walls.
    before, after : Tensor, shape (n, 2*dim)
    dt : float

    Returns
    -------
    ObservedRebounds

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> ball = srnn.systems.Billiard()
    >>> z = ball.simulate(200, steps=1, dt=0.1, generator=g, dtype="float64").values
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> seen = observed_rebounds(srnn.fields.as_field(ball), leapfrog, z[0], z[1], 0.1)
    >>> bounced = torch.zeros(200, dtype=torch.bool)
    >>> bounced[ball.bounces(z[0], 0.1, 1).trajectory] = True
    >>> torch.equal(seen.hit, bounced)
    True
    """
    advance = partial(advanced, method, field)
    tentative = advance(before, dt)
    (q, p), (tilde_q, tilde_p) = _checks.halves(after), _checks.halves(tentative)
    jump = p - tilde_p
    size = jump.norm(dim=-1, keepdim=True)
    speed = p.norm(dim=-1).square().mean().sqrt()
    # Most steps do not rebound, so the median tells the noise, and the error of the field.
    noise = 1.5 * size.median()
    threshold = torch.maximum(8 * noise, 1e-3 * speed)
    hit = size > threshold
    n = torch.where(hit, jump / size.clamp(min=1e-30), 0.0)
    carried = field.velocity(q, p) - field.velocity(tilde_q, tilde_p)
    square = carried.square().sum(dim=-1, keepdim=True).clamp(min=1e-30)
    late = ((q - tilde_q) * carried).sum(dim=-1, keepdim=True) / (dt * square)
    alpha = torch.where(hit, 1 - late, 1.0)
    start, arrival = _checks.halves(advance(before, alpha * dt))
    inward = -(arrival * n).sum(dim=-1, keepdim=True)
    ratio = size / inward.clamp(min=1e-30) - 1
    length = ((1 + ratio.clamp(0, 1)) / 2).sqrt()
    bounced = torch.cat((start, reflect(arrival, length * n)), dim=-1)
    end_q, end_p = _checks.halves(advance(bounced, (1 - alpha) * dt))
    off_q = (end_q - q).norm(dim=-1, keepdim=True)
    off_p = (end_p - p).norm(dim=-1, keepdim=True)
    within = (alpha > -0.1) & (alpha < 1.1)
    close = (off_p < 0.05 * size + threshold) & (off_q < 0.05 * dt * square.sqrt() + dt * threshold)
    clear = hit & within & close & (inward > 0)
    return ObservedRebounds(
        tentative, hit[..., 0], clear[..., 0], n, alpha.clamp(0, 1), start, ratio[..., 0]
    )
