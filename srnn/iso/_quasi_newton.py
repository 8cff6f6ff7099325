"""Quasi-Newton methods: L-BFGS for every trajectory at once, and SciPy's for all of them as one."""

from typing import Any

import torch
from torch import Tensor

from srnn.iso._gauss_newton import Solution
from srnn.iso._problem import Problem
from srnn.iso._result import IsoStatus

__all__ = ["lbfgs", "scipy_lbfgsb"]

_MEMORY, _BACKTRACKS, _SUFFICIENT = 10, 25, 1e-4


def lbfgs(problem: Problem, start: Tensor, *, max_iterations: int, tolerance: float) -> Solution:
    """Minimise each trajectory's loss by L-BFGS (Nocedal 1980) with backtracking."""
    loss, gradient = problem.losses_and_gradients(start)
    solution = Solution(start, loss)
    finite = torch.isfinite(loss) & torch.isfinite(gradient).all(dim=-1)
    solution.status[~finite] = int(IsoStatus.NON_FINITE)
    active = finite.nonzero()[:, 0]
    rounding = problem.rounding
    memory: list[tuple[Tensor, Tensor, Tensor]] = []  # steps, changes of gradient, 1 / (s . y)
    # Half the Hessian is about the sum of the weights of the points: F_t is near the identity.
    scale = 0.5 / problem.weights.sum(dim=0).mean(dim=-1).clamp_min(1e-300)
    for _ in range(max_iterations):
        direction = _direction(gradient, memory, scale)
        slope = (gradient * direction).sum(dim=-1)
        # Where the memory has gone bad, down the gradient.
        uphill = ~(slope < 0)
        direction = torch.where(uphill[:, None], -scale[:, None] * gradient, direction)
        slope = torch.where(uphill, -scale * gradient.square().sum(dim=-1), slope)
        going = -slope[active] / 2 > tolerance * solution.loss[active] + rounding[active]
        solution.status[active[~going]] = int(IsoStatus.CONVERGED)
        active = active[going]
        if not len(active):
            break
        before, former = solution.states.clone(), gradient.clone()
        lowered = _search(problem, solution, gradient, direction, slope, active)
        active = active[lowered]
        s, y = solution.states - before, gradient - former
        curvature = (s * y).sum(dim=-1)
        valid = curvature > 1e-10 * s.norm(dim=-1) * y.norm(dim=-1)
        inverse = torch.where(valid, 1 / torch.where(valid, curvature, 1.0), 0.0)
        scale = torch.where(valid, curvature / y.square().sum(dim=-1).clamp_min(1e-300), scale)
        memory = [*memory[-_MEMORY + 1 :], (s, y, inverse)]
        if not len(active):
            break
    return solution


def _direction(
    gradient: Tensor, memory: list[tuple[Tensor, Tensor, Tensor]], scale: Tensor
) -> Tensor:
    """Run the two loops of L-BFGS; a pair whose inverse is zero is left out of its trajectory's."""
    q, alphas = gradient.clone(), []
    for s, y, inverse in reversed(memory):
        alpha = inverse * (s * q).sum(dim=-1)
        q = q - alpha[:, None] * y
        alphas.append(alpha)
    q = scale[:, None] * q
    for (s, y, inverse), alpha in zip(memory, reversed(alphas), strict=True):
        beta = inverse * (y * q).sum(dim=-1)
        q = q + (alpha - beta)[:, None] * s
    return -q


def _search(
    problem: Problem,
    solution: Solution,
    gradient: Tensor,
    direction: Tensor,
    slope: Tensor,
    active: Tensor,
) -> Tensor:
    """Halve each trajectory's step until it lowers the loss enough; say which ones did."""
    waiting, length = active.clone(), 1.0
    wild = torch.zeros_like(solution.loss, dtype=torch.bool)
    solution.iterations[active] += 1
    for _ in range(_BACKTRACKS):
        trial = solution.states[waiting] + length * direction[waiting]
        loss, slopes = problem.take(waiting).losses_and_gradients(trial)
        finite = torch.isfinite(loss) & torch.isfinite(slopes).all(dim=-1)
        enough = solution.loss[waiting] + _SUFFICIENT * length * slope[waiting]
        better = finite & (loss <= enough)
        taken = waiting[better]
        solution.states[taken], solution.loss[taken] = trial[better], loss[better]
        gradient[taken] = slopes[better]
        wild[waiting] = ~finite
        waiting, length = waiting[~better], length / 2
        if not len(waiting):
            break
    solution.status[waiting[wild[waiting]]] = int(IsoStatus.NON_FINITE)
    solution.status[waiting[~wild[waiting]]] = int(IsoStatus.STALLED)
    return ~torch.isin(active, waiting)


def scipy_lbfgsb(
    problem: Problem, start: Tensor, *, max_iterations: int, tolerance: float
) -> Solution:
    """Minimise the sum of all losses by SciPy's L-BFGS-B, as one problem, as the paper does."""
    from scipy.optimize import minimize

    first, _ = problem.losses_and_gradients(start)
    solution = Solution(start, first)
    usable = torch.isfinite(first)
    solution.status[~usable] = int(IsoStatus.NON_FINITE)
    some = usable.nonzero()[:, 0]
    if not len(some):
        return solution
    part = problem.take(some)
    # What stands for the loss of a trajectory that leaves the numbers in a line search.
    high = 1e3 * first[some].double() + 1.0

    def objective(x: Any) -> tuple[float, Any]:
        z0 = torch.from_numpy(x).to(start).reshape(len(some), -1)
        loss, gradient = part.losses_and_gradients(z0)
        finite = torch.isfinite(loss) & torch.isfinite(gradient).all(dim=-1)
        total = torch.where(finite, loss.double(), high).sum()
        gradient = torch.where(finite[:, None], gradient.double(), 0.0)
        return float(total), gradient.cpu().numpy().ravel()

    done = minimize(
        objective,
        start[some].double().cpu().numpy().ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations, "gtol": tolerance},
    )
    found = torch.from_numpy(done.x).to(start).reshape(len(some), -1)
    loss = part.losses(found)
    better = loss <= first[some]  # false for NaN; the joint loss may fall while a single one rises
    solution.states[some[better]], solution.loss[some[better]] = found[better], loss[better]
    solution.iterations[some] = int(done.nit)
    ended = IsoStatus.CONVERGED if done.success else IsoStatus.MAX_ITERATIONS
    if not done.success and done.nit < max_iterations:
        ended = IsoStatus.STALLED
    solution.status[some] = int(ended)
    solution.status[some[~torch.isfinite(loss)]] = int(IsoStatus.NON_FINITE)
    return solution
