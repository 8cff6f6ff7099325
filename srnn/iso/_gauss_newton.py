"""Gauss-Newton steps for every trajectory at once, each with its own damping and its own end."""

import torch
from torch import Tensor

from srnn.iso._problem import Normal, Problem
from srnn.iso._result import IsoStatus, rank_tolerance

__all__ = ["Solution", "gauss_newton"]

_FIRST_DAMPING, _LARGEST_DAMPING = 1e-3, 1e9


class Solution:
    """States with all that is known about them, filled in as trajectories come to their end."""

    def __init__(self, start: Tensor, loss: Tensor) -> None:
        count, device = len(start), start.device
        self.states = start.clone()
        self.loss = loss.clone()
        self.iterations = torch.zeros(count, dtype=torch.int64, device=device)
        self.status = torch.full_like(self.iterations, int(IsoStatus.MAX_ITERATIONS))


def gauss_newton(
    problem: Problem, start: Tensor, *, max_iterations: int, tolerance: float
) -> tuple[Solution, Normal]:
    """Minimise each trajectory's loss by Levenberg's and Marquardt's damped Gauss-Newton steps.

    A step that does not lower its trajectory's loss, or leaves the finite numbers, is not taken,
    and the next one is shorter.  So no result is worse than its start.
    """
    at = problem.normal(start)
    solution = Solution(start, at.loss)
    good = at.finite
    solution.status[~good] = int(IsoStatus.NON_FINITE)
    active = good.nonzero()[:, 0]
    damping = torch.zeros_like(at.loss, dtype=torch.float64)
    wild = torch.zeros_like(good)  # whether the last trial left the finite numbers
    rounding = problem.rounding
    for _ in range(max_iterations):
        now = at.take(active)
        step, decrease = _step(now, damping[active], start.dtype)
        going = decrease > tolerance * now.loss.double() + rounding[active]
        solution.status[active[~going]] = int(IsoStatus.CONVERGED)
        active, step = active[going], step[going]
        if not len(active):
            break
        trial = solution.states[active] + step
        new = problem.take(active).normal(trial)
        finite = new.finite
        better = finite & (new.loss <= at.loss[active])
        taken = active[better]
        solution.iterations[active] += 1
        solution.states[taken] = trial[better]
        at.put(taken, new.take(better.nonzero()[:, 0]))
        wild[active] = ~finite
        eased = torch.where(damping[active] > 10 * _FIRST_DAMPING, damping[active] / 10, 0.0)
        raised = (10 * damping[active]).clamp_min(_FIRST_DAMPING)
        damping[active] = torch.where(better, eased, raised)
        stuck = damping[active] > _LARGEST_DAMPING
        solution.status[active[stuck & wild[active]]] = int(IsoStatus.NON_FINITE)
        solution.status[active[stuck & ~wild[active]]] = int(IsoStatus.STALLED)
        active = active[~stuck]
        if not len(active):
            break
    else:
        # The iterations ran out; who has arrived all the same is said to have.
        now = at.take(active)
        decrease = _step(now, damping[active] * 0, start.dtype)[1]
        arrived = decrease <= tolerance * now.loss.double() + rounding[active]
        solution.status[active[arrived]] = int(IsoStatus.CONVERGED)
        ran_wild = active[~arrived & wild[active]]
        solution.status[ran_wild] = int(IsoStatus.NON_FINITE)
    solution.loss = at.loss
    return solution, at


def _step(at: Normal, damping: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return steps, and by how much they lower the loss if the states are linear in the start.

    The damping is in units of the diagonal, so that a coordinate's own unit plays no part.
    """
    matrix, gradient = at.matrix.double(), at.gradient.double()
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    size = diagonal.clamp_min(0).sqrt()
    size = torch.where(size > 0, size, 1.0)
    unit = matrix / (size[:, :, None] * size[:, None, :])
    unit.diagonal(dim1=-2, dim2=-1).add_(damping[:, None])
    factor, info = torch.linalg.cholesky_ex(unit)
    pivots = factor.diagonal(dim1=-2, dim2=-1).square().amin(dim=-1)
    tolerance = rank_tolerance(dtype, matrix.shape[-1])
    free = (info != 0) | ~(pivots > tolerance)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    factor = torch.where(free[:, None, None], eye, factor)
    step = -torch.cholesky_solve((gradient / size)[..., None], factor)[..., 0] / size
    some = free.nonzero()[:, 0]
    if len(some):  # the step of least norm, in the state's own units
        damped = matrix[some] + torch.diag_embed(damping[some, None] * diagonal[some])
        inverse = torch.linalg.pinv(damped, hermitian=True, rtol=tolerance)
        step[some] = -(inverse @ gradient[some, :, None])[..., 0]
    quadratic = (step[:, None, :] @ matrix @ step[..., None])[:, 0, 0]
    decrease = -(2 * (gradient * step).sum(dim=-1) + quadratic)
    return step.to(dtype), decrease
