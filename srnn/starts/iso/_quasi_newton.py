"""Quasi-Newton methods: L-BFGS for every trajectory at once, and SciPy's for all of them as one."""

from typing import Any

import torch
from torch import Tensor

from srnn.starts.iso._gauss_newton import Solution
from srnn.starts.iso._problem import Problem
from srnn.starts.iso._result import IsoStatus

__all__ = ["SCIPY_GTOL", "lbfgs", "scipy_lbfgsb"]

_MEMORY, _BACKTRACKS, _SUFFICIENT = 10, 25, 1e-4
SCIPY_GTOL = 1e-6  # that of the paper's code
_SCIPY_FTOL = 2.220446049250313e-09  # SciPy's default


def lbfgs(problem: Problem, start: Tensor, *, max_iterations: int, tolerance: float) -> Solution:
    """Minimise each trajectory's loss by L-BFGS (Nocedal 1980) with backtracking."""
    loss, gradient = problem.losses_and_gradients(start)
    solution = Solution(start, loss)
    finite = torch.isfinite(loss) & torch.isfinite(gradient).all(dim=-1)
    solution.status[~finite] = int(IsoStatus.NON_FINITE)
    active = finite.nonzero()[:, 0]
    rounding = problem.rounding
    memory: list[tuple[Tensor, Tensor, Tensor]] = []  # steps, changes of gradient, 1 / (s . y)
    first = _first_scale(problem)
    scale = first.clone()
    tiny = torch.finfo(loss.dtype).tiny
    for tried in range(max_iterations + 1):
        direction = _direction(gradient, memory, scale)
        slope = (gradient * direction).sum(dim=-1)
        # Where the memory has gone bad, down the gradient.
        uphill = ~(slope < 0)
        direction = torch.where(uphill[:, None], -scale[:, None] * gradient, direction)
        slope = torch.where(uphill, -scale * gradient.square().sum(dim=-1), slope)
        promise = -slope / 2  # what a full step takes off, if the Hessian is what it is held to be
        arrived = promise[active] <= tolerance * solution.loss[active] + rounding[active]
        solution.status[active[arrived]] = int(IsoStatus.CONVERGED)
        active = active[~arrived]
        if not len(active) or tried == max_iterations:
            break
        before, former = solution.states.clone(), gradient.clone()
        # What is left to gain is less than rounding of the states does to the loss.
        hidden = promise <= problem.blur(solution.loss)
        lowered, wild = _search(problem, solution, gradient, direction, slope, active, hidden)
        failed = active[~lowered[active]]
        s, y = solution.states - before, gradient - former
        curvature = (s * y).sum(dim=-1)
        valid = curvature > 1e-10 * s.norm(dim=-1) * y.norm(dim=-1)
        inverse = torch.where(valid, 1 / torch.where(valid, curvature, 1.0), 0.0)
        scale = torch.where(valid, curvature / y.square().sum(dim=-1).clamp_min(tiny), scale)
        if len(failed):
            # Once more without the memory, which may be what went wrong.
            used = torch.zeros_like(hidden)
            for pair in memory:
                used |= pair[2] > 0
                pair[2][failed] = 0.0
            scale[failed] = first[failed]
            ended = failed[~used[failed] | hidden[failed]]
            solution.status[ended] = int(IsoStatus.STALLED)
            solution.status[ended[hidden[ended]]] = int(IsoStatus.CONVERGED)
            solution.status[ended[wild[ended]]] = int(IsoStatus.NON_FINITE)
            active = active[~torch.isin(active, ended)]
        memory = [*memory[-_MEMORY + 1 :], (s, y, inverse)]
    return solution


def _first_scale(problem: Problem) -> Tensor:
    """Inverse of a Hessian to begin with: twice the weights of the points, as if F_t were I."""
    total = problem.weights.sum(dim=0).mean(dim=-1)
    return torch.where(total > 0, 0.5 / torch.where(total > 0, total, 1.0), 1.0)


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
    hidden: Tensor,
) -> tuple[Tensor, Tensor]:
    """Halve each trajectory's step until it lowers the loss enough.

    One trial is all for the `hidden`, whose loss rounding keeps from falling.  Return which of all
    trajectories came down, and for which the last trial was not finite.
    """
    waiting, length = active.clone(), 1.0
    lowered = torch.zeros_like(hidden)
    wild = torch.zeros_like(hidden)
    solution.iterations[active] += 1
    for _ in range(_BACKTRACKS):
        trial = solution.states[waiting] + length * direction[waiting]
        loss, slopes = problem.take(waiting).losses_and_gradients(trial)
        finite = torch.isfinite(loss) & torch.isfinite(slopes).all(dim=-1)
        enough = solution.loss[waiting] + _SUFFICIENT * length * slope[waiting]
        better = finite & (loss <= enough) & (loss < solution.loss[waiting])
        taken = waiting[better]
        solution.states[taken], solution.loss[taken] = trial[better], loss[better]
        gradient[taken] = slopes[better]
        lowered[taken], wild[waiting] = True, ~finite
        waiting, length = waiting[~better & ~(finite & hidden[waiting])], length / 2
        if not len(waiting):
            break
    return lowered, wild


class _Joint:
    """The sum of all trajectories' losses as SciPy wants it, and the best that each came to."""

    def __init__(self, problem: Problem, states: Tensor, loss: Tensor) -> None:
        self.problem, self.states, self.loss = problem, states.clone(), loss.clone()
        # What stands for the loss of a trajectory that leaves the finite numbers.
        self.high = 1e3 * loss.double() + 1.0
        self.wild = torch.zeros_like(loss, dtype=torch.bool)

    def __call__(self, x: Any) -> tuple[float, Any]:
        z0 = torch.from_numpy(x).to(self.states).reshape(self.states.shape)
        loss, gradient = self.problem.losses_and_gradients(z0)
        finite = torch.isfinite(loss) & torch.isfinite(gradient).all(dim=-1)
        better = finite & (loss < self.loss)
        self.states[better], self.loss[better] = z0[better], loss[better]
        self.wild |= ~finite
        total = torch.where(finite, loss.double(), self.high).sum()
        gradient = torch.where(finite[:, None], gradient.double(), 0.0)
        return float(total), gradient.cpu().numpy().ravel()

    def accepted(self, x: Any) -> None:
        """Forget what the line search met on its way."""
        self.wild[:] = False


def scipy_lbfgsb(
    problem: Problem, start: Tensor, *, max_iterations: int, tolerance: float
) -> Solution:
    """Minimise the sum of all losses by SciPy's L-BFGS-B, as one problem, as the paper does.

    If its line search ends in numbers that are not finite, the trajectories that they come from are
    left at their best states, and it goes on with the others.
    """
    from scipy.optimize import minimize

    first, gradient = problem.losses_and_gradients(start)
    solution = Solution(start, first)
    usable = torch.isfinite(first) & torch.isfinite(gradient).all(dim=-1)
    solution.status[~usable] = int(IsoStatus.NON_FINITE)
    some, left = usable.nonzero()[:, 0], max_iterations
    # Below its own gtol, the paper's, a user's tolerance tightens the other criterion with it.
    ftol = _SCIPY_FTOL * min(1.0, tolerance / SCIPY_GTOL)
    while len(some) and left > 0:
        joint = _Joint(problem.take(some), solution.states[some], solution.loss[some])
        done = minimize(
            joint,
            solution.states[some].double().cpu().numpy().ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=joint.accepted,
            options={"maxiter": left, "gtol": tolerance, "ftol": ftol},
        )
        solution.iterations[some] += int(done.nit)
        left -= int(done.nit)
        found = torch.from_numpy(done.x).to(start).reshape(len(some), -1)
        loss = joint.problem.losses(found)
        # The joint loss may fall while a single one rises above where it began: then its best.
        kept = loss <= solution.loss[some]
        solution.states[some] = torch.where(kept[:, None], found, joint.states)
        solution.loss[some] = torch.where(kept, loss, joint.loss)
        if done.success or left <= 0:
            solution.status[some] = int(
                IsoStatus.CONVERGED if done.success else IsoStatus.MAX_ITERATIONS
            )
            solution.status[some[~torch.isfinite(loss)]] = int(IsoStatus.NON_FINITE)
            break
        if not bool(joint.wild.any()):
            solution.status[some] = _stalled(problem.take(some), solution.states[some])
            break
        solution.status[some[joint.wild]] = int(IsoStatus.NON_FINITE)
        some = some[~joint.wild]
    return solution


def _stalled(problem: Problem, states: Tensor) -> Tensor:
    """Say whether the line search found nothing because rounding hides what is left to gain.

    It looks at the sum, whose rounding is that of all trajectories together.
    """
    loss, gradient = problem.losses_and_gradients(states)
    promise = _first_scale(problem) * gradient.square().sum(dim=-1) / 2
    ended = torch.full_like(loss, int(IsoStatus.STALLED), dtype=torch.int64)
    ended[promise <= problem.blur(loss).sum()] = int(IsoStatus.CONVERGED)
    return ended
