"""Gauss-Newton steps for every trajectory at once, each with its own damping and its own end."""

import torch
from torch import Tensor

from srnn.starts.iso._problem import Normal, Problem
from srnn.starts.iso._result import IsoStatus, Solution, cholesky, directions, equilibrated

__all__ = ["gauss_newton"]

_FIRST_DAMPING, _LARGEST_DAMPING = 1e-3, 1e9


def gauss_newton(
    problem: Problem,
    start: Tensor,
    *,
    max_iterations: int,
    tolerance: float,
    enough: int | None = None,
) -> Solution:
    """Minimise each trajectory's loss by Levenberg's and Marquardt's damped Gauss-Newton steps.

    A step that does not lower its trajectory's loss, or leaves the finite numbers, is not taken,
    and the next one is shorter.  So no result is worse than its start.  Of steps that are taken a
    trajectory gets `enough`, where that is given: training goes on before it has arrived.
    """
    at = problem.normal(start)
    solution = Solution(start, at.loss)
    good = at.finite
    solution.status[~good] = int(IsoStatus.NON_FINITE)
    active = good.nonzero()[:, 0]
    damping = torch.zeros_like(at.loss, dtype=torch.float64)
    wild = torch.zeros_like(good)  # whether the last trial not taken left the finite numbers
    steps_taken = torch.zeros_like(solution.iterations)
    rounding = problem.observed.rounding
    for tried in range(max_iterations + 1):
        now = at.take(active)
        step, promise = _step(now, torch.zeros_like(damping[active]), start.dtype)
        # The full step's promise, also where a shorter one is tried: that promises less and less.
        arrived = promise <= tolerance * now.loss.double() + rounding[active]
        solution.status[active[arrived]] = int(IsoStatus.CONVERGED)
        active, step, promise = active[~arrived], step[~arrived], promise[~arrived]
        if not len(active) or tried == max_iterations:
            break
        short = damping[active] > 0
        step[short] = _step(at.take(active[short]), damping[active[short]], start.dtype)[0]
        trial = solution.states[active] + step
        part = problem.take(active)
        new = part.normal(trial)
        finite = new.finite
        better = finite & (new.loss < at.loss[active])
        taken = active[better]
        solution.iterations[active] += 1
        solution.states[taken] = trial[better]
        hidden = finite & ~better & (promise <= part.observed.blur(at.loss[active]))
        at.put(taken, new.take(better.nonzero()[:, 0]))
        wild[active[~better]] = ~finite[~better]
        eased = torch.where(damping[active] > 10 * _FIRST_DAMPING, damping[active] / 10, 0.0)
        raised = (10 * damping[active]).clamp_min(_FIRST_DAMPING)
        damping[active] = torch.where(better, eased, raised)
        stuck = damping[active] > _LARGEST_DAMPING
        solution.status[active[stuck]] = int(IsoStatus.STALLED)
        solution.status[active[stuck & wild[active]]] = int(IsoStatus.NON_FINITE)
        # What is left to gain is less than rounding of the states does to the loss.
        solution.status[active[hidden]] = int(IsoStatus.CONVERGED)
        steps_taken[taken] += 1
        done = stuck | hidden
        if enough is not None:
            done = done | (steps_taken[active] >= enough)
        active = active[~done]
    solution.status[active[wild[active] & (damping[active] > 0)]] = int(IsoStatus.NON_FINITE)
    solution.loss = at.loss
    return solution


def _step(at: Normal, damping: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return steps, and by how much they lower the loss if the states are linear in the start.

    The damping is in units of the diagonal, so that a coordinate's own unit plays no part.
    """
    matrix, gradient = at.matrix.double(), at.gradient.double()
    unit, size = equilibrated(matrix)
    unit.diagonal(dim1=-2, dim2=-1).add_(damping[:, None])
    slope = gradient / size
    factor, free = cholesky(unit, dtype)
    step = -torch.cholesky_solve(slope[..., None], factor)[..., 0] / size
    some = free.nonzero()[:, 0]
    if len(some):
        step[some] = -_least_norm(unit[some], slope[some], size[some], dtype)
    quadratic = (step[:, None, :] @ matrix @ step[..., None])[:, 0, 0]
    promise = -(2 * (gradient * step).sum(dim=-1) + quadratic)
    return step.to(dtype), promise


def _least_norm(unit: Tensor, slope: Tensor, size: Tensor, dtype: torch.dtype) -> Tensor:
    """Solve singular equations; of all solutions, the one that is shortest in the state's units."""
    values, vectors, seen = directions(unit, dtype)
    inverse = torch.where(seen, 1 / torch.where(seen, values, 1.0), 0.0)
    found = vectors @ (inverse[..., None] * (vectors.mT @ slope[..., None])) / size[..., None]
    # Take out what lies along the free directions, which in the state's units are oblique.
    free = torch.where(seen[:, None, :], 0.0, vectors / size[..., None])
    length = free.norm(dim=1, keepdim=True)
    free = free / torch.where(length > 0, length, 1.0)
    least: Tensor = found - free @ (torch.linalg.pinv(free) @ found)
    return least[..., 0]
