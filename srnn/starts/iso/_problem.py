"""The loss that initial states are chosen by, and its minimum, for a batch of trajectories."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srnn.data.residual import Observed
from srnn.errors import ConvergenceError
from srnn.motion.adjoint import Gradient
from srnn.motion.adjoint._rollout import as_gradient
from srnn.motion.motion import Motion
from srnn.starts.iso._result import IsoStatus

__all__ = ["NO_SOLUTION", "Method", "Normal", "Problem", "Solution", "gauss_newton"]

# What an implicit integrator raises when a step has no solution that it can find.
NO_SOLUTION = (ConvergenceError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
# Numbers in the Jacobians, or states in a differentiated rollout, that are held at a time.
_JACOBIAN_NUMBERS = 1 << 24
_STATES = 1 << 12


class Normal(NamedTuple):
    r"""Loss, half its gradient, and half the Gauss-Newton part of its Hessian, a trajectory each.

    With the residuals r, the weights W and the Jacobians F of the states:
    :math:`L = \sum_t r_t^\top W_t r_t`, :math:`g = \sum_t F_t^\top W_t r_t` and
    :math:`A = \sum_t F_t^\top W_t F_t`.
    """

    loss: Tensor
    gradient: Tensor
    matrix: Tensor

    def take(self, index: Tensor) -> "Normal":
        """Of some of the trajectories."""
        return Normal(self.loss[index], self.gradient[index], self.matrix[index])

    def put(self, index: Tensor, other: "Normal") -> None:
        """Replace those of some of the trajectories."""
        for mine, new in zip(self, other, strict=True):
            mine[index] = new

    @property
    def finite(self) -> Tensor:
        """Which trajectories have nothing but finite numbers, shape (batch,)."""
        good = torch.isfinite(self.loss) & torch.isfinite(self.gradient).all(dim=-1)
        return good & torch.isfinite(self.matrix).all(dim=-1).all(dim=-1)


class Problem:
    r"""Residuals of a motion from given starts.

    Parameters
    ----------
    motion : Motion
    observed : srnn.data.residual.Observed
        In the motion's units.
    dt : float
        Time between observed states.
    substeps : int
        Integrator steps between two of them.
    gradient : str or srnn.adjoint.Gradient, optional
        How rollouts are differentiated, in the start alone.

    Examples
    --------
    >>> import torch, srnn
    >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
    >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
    >>> problem.losses(torch.tensor([[1.0, 0.0]]))  # each step turns the state by half a circle
    tensor([3.])
    """

    def __init__(
        self,
        motion: Motion,
        observed: Observed,
        *,
        dt: float,
        substeps: int = 1,
        gradient: str | Gradient | None = None,
    ) -> None:
        self.gradient = dataclasses.replace(as_gradient(gradient), weights=False)
        self.motion, self.observed = motion, observed
        self.dt, self.substeps = dt, substeps

    def take(self, index: Tensor | slice) -> "Problem":
        """Make the same problem for some of the trajectories.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 4, 2), torch.ones(3, 4, 2)), dt=2.0)
        >>> problem.take(slice(1, 3)).losses(torch.eye(2))[0]
        tensor(3.)
        """
        return self._of(self.observed.take(index))

    def first(self, count: int) -> "Problem":
        """Make the same problem for the first times.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.first(2).losses(torch.tensor([[1.0, 0.0]]))
        tensor([2.])
        """
        return self._of(self.observed.first(count))

    def _of(self, observed: Observed) -> "Problem":
        how: dict[str, Any] = {"dt": self.dt, "substeps": self.substeps}
        return Problem(self.motion, observed, gradient=self.gradient, **how)

    def _how(self) -> dict[str, Any]:
        return {"dt": self.dt, "steps": len(self.observed.values) - 1, "substeps": self.substeps}

    def _piecewise(
        self,
        work: Callable[["Problem", Tensor], tuple[Tensor, ...]],
        z0: Tensor,
        size: int,
        shapes: tuple[tuple[int, ...], ...],
    ) -> tuple[Tensor, ...]:
        """Do a work on at most `size` trajectories at a time and join what it gives.

        An implicit method gives up on a whole batch when one trajectory has no solution.  Then the
        halves of the batch are tried, down to the single trajectory, whose numbers are NaN.
        """
        count = len(z0)
        if count <= size:
            try:
                return work(self, z0)
            except NO_SOLUTION:
                if count == 1:
                    return tuple(z0.new_full((1, *shape), torch.nan) for shape in shapes)
            size = (count + 1) // 2
        parts = [
            self.take(piece)._piecewise(work, z0[piece], size, shapes)
            for piece in (slice(k, k + size) for k in range(0, count, size))
        ]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def states(self, z0: Tensor) -> Tensor:
        """Rollouts from the starts, shape (time, batch, 2*dim).

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.states(torch.tensor([[1.0, 0.0]]))[:, 0, 0]
        tensor([ 1., -1.,  1.])
        """
        if len(self.observed.values) == 1:
            return z0[None]
        return self.motion.rollout(z0, gradient=self.gradient, **self._how())

    def states_and_jacobians(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        """Rollouts and their Jacobians in the starts, (time, batch, 2*dim, 2*dim), without a graph.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> states, jacobians = problem.states_and_jacobians(torch.tensor([[1.0, 0.0]]))
        >>> states[1, 0], jacobians[1, 0, :, 0]
        (tensor([-1.,  0.]), tensor([-1.,  0.]))
        """
        if len(self.observed.values) == 1:
            eye = torch.eye(z0.shape[-1], dtype=z0.dtype, device=z0.device)
            return z0[None], eye.expand(1, len(z0), *eye.shape)
        return self.motion.flow_map(z0, **self._how())

    def losses(self, z0: Tensor) -> Tensor:
        """Loss of each trajectory, shape (batch,).

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.losses(torch.tensor([[2.0, 0.0]]))
        tensor([12.])
        """
        with torch.no_grad():
            return self._piecewise(lambda part, z: (part._losses(z),), z0, len(z0), ((),))[0]

    def _losses(self, z0: Tensor) -> Tensor:
        return self.observed.loss(self.states(z0))

    def losses_and_gradients(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each trajectory and its gradient, from one pass forth and one back.

        Raises
        ------
        RuntimeError
            If autograd finds no way from the states back to their start.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> problem.losses_and_gradients(torch.tensor([[1.0, 0.0]]))[1][0, 0]  # of 3 q^2
        tensor(6.)
        """

        def work(part: Problem, z: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                start = z.detach().requires_grad_()
                loss = part._losses(start)
                # The weights of the network get no gradient: only the start is asked about.
                gradient = torch.autograd.grad(loss.sum(), start)[0]
            return loss.detach(), gradient

        size = max(1, _STATES // len(self.observed.values))
        loss, gradient = self._piecewise(work, z0, size, ((), (z0.shape[-1],)))
        return loss, gradient

    def normal(self, z0: Tensor) -> Normal:
        """Loss, gradient and Gauss-Newton matrix at the starts, without a graph.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> problem = Problem(motion, Observed(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)), dt=2.0)
        >>> normal = problem.normal(torch.tensor([[1.0, 0.0]]))
        >>> normal.gradient[0, 0], normal.matrix[0, 0, 0]  # halves of those of 3 q^2
        (tensor(3.), tensor(3.))
        """

        def work(part: Problem, z: Tensor) -> tuple[Tensor, ...]:
            states, jacobians = part.states_and_jacobians(z)
            seen = part.observed
            stacked = jacobians.transpose(0, 1).flatten(1, 2)  # (batch, time * 2d, 2d)
            weighted = seen.weights.transpose(0, 1).flatten(1)[..., None] * stacked
            along = (states - seen.values).transpose(0, 1).flatten(1)[:, None, :]
            return seen.loss(states), (along @ weighted)[:, 0], stacked.mT @ weighted

        time, _, two_d = self.observed.values.shape
        size = max(1, _JACOBIAN_NUMBERS // (time * two_d * two_d))
        with torch.no_grad():
            return Normal(*self._piecewise(work, z0, size, ((), (two_d,), (two_d, two_d))))


class Solution:
    """States with all that is known about them, filled in as trajectories come to their end.

    Parameters
    ----------
    start : Tensor, shape (batch, 2*dim)
    loss : Tensor, shape (batch,)
        At the start.

    Attributes
    ----------
    states, loss, iterations, status : Tensor
        An entry a trajectory; a status is an :class:`srnn.iso.IsoStatus`.

    Examples
    --------
    >>> import torch
    >>> found = Solution(torch.zeros(3, 2), loss=torch.ones(3))
    >>> found.status, found.iterations
    (tensor([1, 1, 1]), tensor([0, 0, 0]))
    """

    def __init__(self, start: Tensor, loss: Tensor) -> None:
        count, device = len(start), start.device
        self.states = start.clone()
        self.loss = loss.clone()
        self.iterations = torch.zeros(count, dtype=torch.int64, device=device)
        self.status = torch.full_like(self.iterations, int(IsoStatus.MAX_ITERATIONS))


def default_tolerance(dtype: torch.dtype) -> float:
    """Relative decrease of a loss that counts as none, by the dtype of the states.

    Examples
    --------
    >>> default_tolerance(torch.float32), default_tolerance(torch.float64)
    (1e-06, 1e-10)
    """
    return 1e-6 if dtype == torch.float32 else 1e-10


@dataclass(frozen=True)
class Method:
    """A way to minimise the losses of a :class:`srnn.iso.Problem` in the starts.

    Parameters
    ----------
    run : callable
        ``run(problem, start, max_iterations=, tolerance=)`` gives a
        :class:`srnn.iso.Solution`, which is nowhere worse than the start.
    iterations : int
        How many there are at most.
    tolerance : callable
        The dtype of the states to the tolerance.
    beside : dict
        Settings of `run` where it is called before each epoch of a training: one step may be
        enough there.

    Examples
    --------
    >>> import srnn
    >>> srnn.iso.METHODS["scipy"].iterations
    10
    """

    run: Callable[..., Solution]
    iterations: int
    tolerance: Callable[[torch.dtype], float] = default_tolerance
    beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def solve(self, problem: Problem, start: Tensor, **settings: Any) -> Solution:
        """Minimise, by default as far as a user wants it; of a setting None is the default.

        Examples
        --------
        >>> import torch, srnn
        >>> seen = srnn.data.residual.Observed(torch.ones(3, 1, 2), torch.ones(3, 1, 2))
        >>> rest = srnn.fields.VectorField(torch.zeros_like, dim=1)  # nothing moves it
        >>> problem = Problem(srnn.motion.motion.as_motion(rest, "rk4"), seen, dt=0.1)
        >>> srnn.iso.METHODS["gauss-newton"].solve(problem, torch.zeros(1, 2)).states
        tensor([[1., 1.]])
        """
        how = {"max_iterations": self.iterations, "tolerance": self.tolerance(start.dtype)}
        how |= {name: value for name, value in settings.items() if value is not None}
        return self.run(problem, start, **how)


# -- Gauss-Newton steps, for each trajectory with its own damping and its own end ------------------

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


def rank_tolerance(dtype: torch.dtype, two_d: int) -> float:
    """Relative size below which an eigenvalue of a matrix of sums of F^T F is nothing but rounding.

    The sums are of products of numbers of `dtype`, whatever they are added up in.
    """
    return 10 * two_d * torch.finfo(dtype).eps


def equilibrated(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matrix with ones on its diagonal, and the roots of the diagonal that it had.

    In these units a coordinate's own unit plays no part.  Zeros on the diagonal stay.
    """
    size = matrix.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    size = torch.where(size > 0, size, 1.0)
    return matrix / size[:, :, None] / size[:, None, :], size


def cholesky(unit: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return Cholesky factors, the identity for matrices without full rank, and which those are."""
    factor, info = torch.linalg.cholesky_ex(unit)
    pivots = factor.diagonal(dim1=-2, dim2=-1).square().amin(dim=-1)
    free = (info != 0) | ~(pivots > rank_tolerance(dtype, unit.shape[-1]))
    eye = torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)
    return torch.where(free[:, None, None], eye, factor), free


def directions(unit: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return eigenvalues, eigenvectors and which of them the observations see."""
    values, vectors = torch.linalg.eigh(unit)
    tolerance = rank_tolerance(dtype, unit.shape[-1])
    return values, vectors, values > tolerance * values.amax(dim=-1, keepdim=True).clamp_min(0)
