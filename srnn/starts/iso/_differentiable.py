"""Whether a model can be differentiated in its start: asked once, before the work."""

import torch
from torch import Tensor

from srnn import _checks
from srnn.starts.iso._problem import NO_SOLUTION, Problem

__all__ = ["check_differentiable"]


def check_differentiable(problem: Problem, start: Tensor, method: str) -> None:
    """Refuse a model whose derivative in its start is not there, or is not that of its values.

    One step from near one start, along one direction: by the derivatives that the methods use, and
    by difference quotients of several lengths.  A model that detaches what it is given, or rounds
    it, has derivatives without its own part.
    """
    if len(problem.observed.values) == 1:
        return
    index = int((problem.observed.counted > 0).to(torch.int8).argmax())
    part = problem.take(slice(index, index + 1))
    size = torch.cat(
        [half.abs().amax().expand(half.shape[-1]) for half in _checks.halves(part.observed.values)]
    )
    size = torch.where(size > 0, size, 1.0)
    generic = torch.arange(1, len(size) + 1, dtype=size.dtype, device=size.device)
    along = size * generic.cos()
    # Off the start, which may lie on a kink: coordinates that nobody observes begin at zero.
    z0 = start[index : index + 1] + size * (0.05 + 0.05 * generic.sin().abs())
    step = part.of(part.observed.first(2))
    eps = torch.finfo(size.dtype).eps
    reach = eps ** (1 / 3) * 4.0 ** torch.arange(20, dtype=size.dtype, device=size.device)
    reach = reach[reach < 0.1][:, None]
    try:
        with torch.no_grad():
            moved = step.states(torch.cat((z0 + reach * along, z0 - reach * along)))[1]
    except NO_SOLUTION:
        return  # the start is no good, as the methods will say
    text = (
        f"{problem.motion.name} cannot be differentiated in its initial state, "
        "which the optimisation needs"
    )
    try:
        jacobian = step.jacobians(z0)[1, 0]
        if method != "gauss-newton":
            step.losses_and_gradients(z0)
    except RuntimeError as error:
        raise TypeError(f"{text}: {error}") from error
    # Without what an integrator adds to: the start itself.
    base = torch.zeros_like(along) if problem.motion.own_step else along
    up, down = moved.chunk(2)
    by_values = ((up - down) / (2 * reach) - base) / size
    by_model = (jacobian @ along - base) / size
    length = by_values.norm(dim=-1)
    apart = (by_values - by_model).norm(dim=-1)
    rounding = 100 * eps * (1 + (moved / size).norm(dim=-1).max()) / reach[:, 0]
    wrong = (apart > 0.3 * torch.maximum(length, by_model.norm())) & (apart > rounding)
    # Where two quotients agree they are to be believed: the error of a smooth function's grows
    # sixteenfold from one to the next, and rounding's makes them differ.  Long ones may agree on a
    # slope that fine structure does not have; short ones that are right then speak for the model.
    agree = (by_values[1:] - by_values[:-1]).norm(dim=-1) < 0.1 * length[:-1]
    right = agree & ~wrong[1:] & ~wrong[:-1]
    if bool((agree & wrong[1:] & wrong[:-1]).any()) and not bool(right.any()):
        raise TypeError(
            f"{text}: its derivatives are not those of its values. Does the model detach its "
            "input, or round it?"
        )
