"""The methods by name, and the paper's: SciPy's L-BFGS-B, for all trajectories as one problem."""

from typing import Any

import torch
from torch import Tensor

from srnn.starts.iso._problem import Method, Problem, Solution, gauss_newton
from srnn.starts.iso._result import IsoStatus

__all__ = ["METHODS"]

_SCIPY_GTOL = 1e-6  # that of the paper's code
_SCIPY_FTOL = 2.220446049250313e-09  # SciPy's default


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
    ftol = _SCIPY_FTOL * min(1.0, tolerance / _SCIPY_GTOL)
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
    ended[promise <= problem.observed.blur(loss).sum()] = int(IsoStatus.CONVERGED)
    return ended


def _first_scale(problem: Problem) -> Tensor:
    """Inverse of a Hessian to begin with: twice the weights of the points, as if F_t were I."""
    total = problem.observed.weights.sum(dim=0).mean(dim=-1)
    return torch.where(total > 0, 0.5 / torch.where(total > 0, total, 1.0), 1.0)


METHODS: dict[str, Method] = {
    # One step; a window whose full step is too long gets some shorter trials.
    "gauss-newton": Method(gauss_newton, 50, beside={"max_iterations": 7, "enough": 1}),
    "scipy": Method(scipy_lbfgsb, 10, lambda dtype: _SCIPY_GTOL),
}
"""The methods by name; one more is one more entry."""
