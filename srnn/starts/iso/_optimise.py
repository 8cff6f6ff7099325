"""The function a user calls: inputs checked, a method chosen, its results put together."""

from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn.data.residual import Observed, weights_of
from srnn.data.trajectories import Trajectories
from srnn.data.units import moderating
from srnn.motion.fields import differentiates
from srnn.motion.motion import Motion, as_motion
from srnn.nn.network import asked
from srnn.starts.iso._methods import METHODS
from srnn.starts.iso._problem import (
    NO_SOLUTION,
    Problem,
    cholesky,
    directions,
    equilibrated,
    rank_tolerance,
)
from srnn.starts.iso._result import InitialStates, IsoStatus

__all__ = ["check_differentiable", "optimise_initial_state"]


@differentiates
def optimise_initial_state(
    model_or_system: Any,
    observed: Trajectories | Tensor,
    *,
    method: str = "gauss-newton",
    integrator: Any = None,
    dt: float | None = None,
    loss_from: int = 0,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    initial: Tensor | None = None,
    sigma: float | None = None,
    max_iterations: int | None = None,
    tolerance: float | None = None,
) -> InitialStates:
    r"""Find the start of each trajectory from which the model best explains what was observed.

    It minimises :math:`L(\hat z_0) = \sum_{t} w_t \|\phi_t(\hat z_0) - y_t\|^2` (the paper's
    equation 14 in the start alone), which is maximum likelihood for independent Gaussian noise.

    Parameters
    ----------
    model_or_system : Model, system, Hamiltonian, field or network
        A :class:`srnn.Model` is integrated by its test integrator, in the units of the data.
    observed : Trajectories, or Tensor of shape (time, batch, 2*dim)
        The points to explain, t = 0 first; what of trajectories was not observed does not count.
        A tensor needs `dt`, and may hold NaN where `mask` is False.
    method : {"gauss-newton", "scipy"}
        ``"gauss-newton"``: damped Gauss-Newton steps with exact Jacobians of the flow map, for all
        trajectories at once, each with its own step control and its own end, so that a trajectory's
        result does not depend on what else is in the batch.  ``"scipy"``: the paper's way, SciPy's
        L-BFGS-B on the sum of all losses as one problem, with the gradients of one pass back.
    integrator : str or Integrator, optional
        By default a model's own, else leapfrog; recurrent networks take none.
    dt : float, optional
        With Trajectories: the integrator's step, a whole fraction of the observed spacing, which it
        is by default (a model keeps the steps that it was trained with).  With a tensor: the
        observed spacing.
    loss_from : {0, 1}
        First time in the sum.  State 0 is an observation like any other and is counted by default;
        the paper's equation begins at 1.
    weights : Tensor, optional
        Inverse variances of the noise up to a factor, for noise that is unequal; of shape (time,
        batch, 2*dim), or one that broadcasts to it, or (time, batch).  By default equal, but for a
        model, whose fit has estimated the noise of each coordinate, or has at least found its unit.
    mask : Tensor of bool, optional
        True where there is an observation; shapes as for `weights`.
    initial : Tensor, shape (batch, 2*dim), optional
        Where to begin; by default each coordinate's first observed value (0 without one).
    sigma : float, optional
        Standard deviation of the noise where it is known (of a number with weight 1); by default
        it is estimated from each trajectory's residuals.  Only the covariance depends on it.
    max_iterations : int, optional
        By default 50 Gauss-Newton steps, and the paper's 10 of L-BFGS-B.
    tolerance : float, optional
        Relative decrease of the loss below which a trajectory has arrived: by default 1e-10 in
        float64 and 1e-6 in float32.  For ``"scipy"``, its ``gtol``: by default 1e-6; its ``ftol``
        falls in proportion below that.

    Returns
    -------
    InitialStates
        ``states``, ``loss``, ``iterations``, ``status``, ``covariance`` and ``sigma``, an entry a
        trajectory.  No state is worse than where it began.  The units of the data play no part:
        losses and covariances that their dtype cannot hold come in float64.

    Raises
    ------
    ValueError, TypeError
        If shapes, dtypes or devices do not fit, nothing at all was observed, an observed number is
        not finite, or the model cannot be differentiated in its start.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> chain = srnn.systems.SpringChain.random(masses=5, generator=g)
    >>> data = chain.simulate(30, steps=9, dt=0.1, generator=g).with_noise(0.2, generator=g)
    >>> found = optimise_initial_state(chain, data)
    >>> noisy, optimised = ((z - data.clean[0]).norm() for z in (data.values[0], found.states))
    >>> bool(optimised < 0.6 * noisy), found.covariance.shape
    (True, torch.Size([30, 10, 10]))
    """
    _checks.choice(method, "method", METHODS)
    _checks.choice(loss_from, "loss_from", (0, 1))
    motion = as_motion(model_or_system, integrator)
    asked(motion.net).check_iso()
    values, spacing, substeps = _observed(observed, dt, motion)
    if weights is None:
        weights = _noise_ratio(motion)
    if mask is None and isinstance(observed, Trajectories):
        mask = observed.observed
    counts = weights_of(values.double(), weights, mask)
    seen = (counts > 0) & torch.isfinite(values)
    if loss_from:  # state 0 is not in the sum, and is a good place to begin all the same
        counts = torch.cat((torch.zeros_like(counts[:1]), counts[1:]))
    if bool(((counts > 0) & ~seen).any()):
        raise ValueError(
            "Expected `observed` to be finite where it counts; it holds NaN or infinite numbers. "
            "Where points are missing pass mask=, a tensor of bool that is False there."
        )
    values = torch.where(seen, values, 0.0)
    empty = (counts == 0).all(dim=0).all(dim=-1)
    if bool(empty.all()):
        raise ValueError(
            f"No point is observed in any trajectory from state {loss_from} on: there is nothing "
            "to fit."
        )
    start = _start(values, seen, initial)
    sigma = None if sigma is None else _checks.positive(sigma, "sigma")
    if max_iterations is not None:
        max_iterations = _checks.positive_int(max_iterations, "max_iterations")
    if tolerance is not None:
        tolerance = _checks.positive(tolerance, "tolerance")
    # Squares are taken of numbers of order one, whatever the units are.
    how: dict[str, Any] = {"dt": spacing, "substeps": substeps}
    size = _sizes(motion, values, start, how)
    inner, outer = size.to(values), size[:, None] * size
    counted, gain = _in_range(counts * size.square(), values.dtype)
    problem = Problem(motion.within(size), Observed(values / inner, counted), **how)
    start = start / inner
    check_differentiable(problem, start, method)
    solution = METHODS[method].solve(
        problem, start, max_iterations=max_iterations, tolerance=tolerance
    )
    matrix = problem.normal(solution.states).matrix
    losses = gain * solution.loss.double()
    spread, noise, free = _covariance(
        matrix, losses, problem.observed.counted, sigma, solution.loss.dtype
    )
    spread = spread * (outer / gain)
    arrived = solution.status == int(IsoStatus.CONVERGED)
    solution.status[free & arrived] = int(IsoStatus.UNDERDETERMINED)
    if bool(empty.any()):
        solution.status[empty] = int(IsoStatus.NO_POINTS)
        solution.states[empty], losses[empty] = torch.nan, torch.nan
        noise[empty], spread[empty] = torch.nan, torch.nan
        spread.diagonal(dim1=-2, dim2=-1)[empty] = torch.inf
    return InitialStates(
        states=solution.states * inner,
        loss=_held(losses, losses, values.dtype),
        iterations=solution.iterations,
        status=solution.status,
        covariance=_held(spread, spread.diagonal(dim1=-2, dim2=-1), values.dtype),
        sigma=noise.to(values.dtype),
    )


def _noise_ratio(motion: Motion) -> Tensor | None:
    """Weight of each coordinate, 1 in the geometric mean, where the noise is known.

    Where it is not, a model's own units say what is large.
    """
    if motion.noise is not None:
        size = torch.tensor(motion.noise, dtype=torch.float64)
    elif motion.units is not None:
        size = motion.units.sizes
    else:
        return None
    return (2 * (size.log().mean() - size.log())).exp()


def _sizes(motion: Motion, values: Tensor, start: Tensor, how: dict[str, Any]) -> Tensor:
    """Sizes of the coordinates, powers of two, 1 where they are moderate as they are.

    Those of a model are its units; beyond that, what was observed tells.
    """
    size = torch.ones(values.shape[-1], dtype=torch.float64, device=values.device)
    if motion.units is not None:
        size = moderating(motion.units.beside(values).factor, beyond=1.0)
    largest = torch.cat((values, start[None])).abs().amax(dim=(0, 1)) / size
    size = size * moderating(largest)
    hidden = largest == 0
    if bool(hidden.any()) and len(values) > 1 and not bool((size == 1).all()):
        # How far it moves the others is what tells of a coordinate that nobody has seen.
        inner = size.to(values)
        one = Observed(values[:2] / inner, torch.ones_like(values[:2]))
        try:
            problem = Problem(motion.within(size), one, **how)
            moved = problem.states_and_jacobians(start / inner)[1][1].abs().amax(dim=(0, 1))
        except (*NO_SOLUTION, RuntimeError):  # as the check of the derivatives will say
            return size
        size = torch.where(hidden, size / moderating(moved), size)
    return size


def _in_range(weights: Tensor, dtype: torch.dtype) -> tuple[Tensor, float]:
    """Give weights that a dtype can hold, and the power of two that they were divided by.

    However small a weight is beside the others, it counts.
    """
    gain = float(moderating(weights.amax()))
    least = torch.finfo(dtype).tiny
    held = torch.where(weights > 0, (weights / gain).clamp_min(least), 0.0)
    return held.to(dtype), gain


def _held(numbers: Tensor, those: Tensor, dtype: torch.dtype) -> Tensor:
    """Give numbers in a dtype where it can hold `those` of them, else in float64."""
    info = torch.finfo(dtype)
    some = those[torch.isfinite(those) & (those != 0)].abs()
    fits = not len(some) or bool((some >= info.tiny).all() & (some <= info.max).all())
    return numbers.to(dtype) if fits else numbers


def _observed(observed: Any, dt: float | None, motion: Motion) -> tuple[Tensor, float, int]:
    """Check the observations; return values, spacing and integrator steps in a spacing."""
    substeps = motion.substeps
    if isinstance(observed, Trajectories):
        values, spacing = observed.values, observed.dt
        if observed.status is not None and bool((observed.status != 0).any()):
            raise ValueError(
                "Expected `observed` with status 0 throughout. Leave the others out: "
                "observed.select(observed.status == 0)."
            )
        if dt is not None:
            ratio = spacing / _checks.time_step(dt)
            substeps = max(1, round(ratio))
            motion.check_substeps(substeps, "dt")
            if not _checks.same_spacing(ratio, substeps):
                raise ValueError(
                    "Expected `dt` to be a whole fraction of the observed spacing, "
                    f"{spacing!r}; got {dt!r}."
                )
    else:
        values = _checks.float_tensor(observed, "observed")
        if dt is None:
            raise ValueError("Observations in a tensor need `dt`, the time between two states.")
        spacing = _checks.time_step(dt)
    motion.check_spacing(spacing)
    values = _checks.state(_checks.known_float(values, "observed"), "observed", motion.dim)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(
            "Expected `observed` to have shape (time, batch, 2*dim) and at least one state; got "
            f"{tuple(values.shape)}."
        )
    weight = motion.weight
    if weight is not None:
        _checks.same_as(values, "observed", weight, "model")
    _checks.squarable(values.double(), "observed")
    return values.detach(), spacing, substeps


def _start(values: Tensor, seen: Tensor, initial: Tensor | None) -> Tensor:
    """Each coordinate's first observed value, or what the user says."""
    if initial is None:
        first = seen.to(torch.int8).argmax(dim=0, keepdim=True)
        return values.gather(0, first)[0]
    initial = _checks.float_tensor(initial, "initial")
    if initial.shape != values.shape[1:]:
        raise ValueError(
            f"Expected `initial` to have shape (batch, 2*dim) = {tuple(values.shape[1:])}; "
            f"got {tuple(initial.shape)}."
        )
    _checks.same_as(initial, "initial", values, "observed")
    return _checks.all_finite(initial.detach(), "initial").clone()


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
    step = part.first(2)
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
        jacobian = step.states_and_jacobians(z0)[1][1, 0]
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


def _covariance(
    matrix: Tensor, loss: Tensor, counted: Tensor, sigma: float | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return covariance, sigma and which states are underdetermined."""
    two_d = matrix.shape[-1]
    matrix = matrix.double()
    broken = ~torch.isfinite(matrix).all(dim=-1).all(dim=-1)
    eye = torch.eye(two_d, dtype=torch.float64, device=matrix.device)
    unit, size = equilibrated(torch.where(broken[:, None, None], eye, matrix))
    factor, free = cholesky(unit, dtype)
    free = (free | (counted < two_d)) & ~broken
    inverse = torch.cholesky_inverse(factor)
    rank = torch.full_like(counted, two_d)
    some = free.nonzero()[:, 0]
    if len(some):
        inverse[some], rank[some] = _pseudo_inverse(unit[some], dtype)
    inverse = inverse / size[:, :, None] / size[:, None, :]
    if sigma is None:
        spare = (counted - rank).double()
        noise = torch.where(spare > 0, (loss.double() / spare.clamp_min(1)).sqrt(), torch.nan)
    else:
        noise = torch.full_like(loss, sigma, dtype=torch.float64)
    found = noise.square()[:, None, None] * inverse
    infinite = torch.isinf(inverse.diagonal(dim1=-2, dim2=-1))  # also where sigma is unknown
    found.diagonal(dim1=-2, dim2=-1)[infinite] = torch.inf
    found[broken] = torch.nan
    return found, noise, free


def _pseudo_inverse(unit: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Inverse on the directions seen, with infinity and NaN for coordinates not in them; rank."""
    values, vectors, seen = directions(unit, dtype)
    inverse = (vectors * torch.where(seen, 1 / values, 0.0)[:, None, :]) @ vectors.mT
    # A coordinate is determined if it lies within the directions seen.
    outside = torch.where(seen[:, None, :], 0.0, vectors).square().sum(dim=-1)
    free = outside > rank_tolerance(dtype, unit.shape[-1])
    inverse[free[:, :, None] | free[:, None, :]] = torch.nan
    inverse.diagonal(dim1=-2, dim2=-1)[free] = torch.inf
    return inverse, seen.sum(dim=-1)
