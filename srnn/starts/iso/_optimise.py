"""The function a user calls: inputs checked, a method chosen, its results put together."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from srnn import _checks
from srnn.data.trajectories import Trajectories
from srnn.motion import integrators
from srnn.motion.fields import as_field, weight_of
from srnn.starts.iso._differentiable import check_differentiable
from srnn.starts.iso._gauss_newton import Solution, gauss_newton
from srnn.starts.iso._problem import Problem
from srnn.starts.iso._quasi_newton import SCIPY_GTOL, scipy_lbfgsb
from srnn.starts.iso._result import InitialStates, IsoStatus, covariance

__all__ = ["METHODS", "optimise_initial_state", "solve"]

METHODS = ("gauss-newton", "scipy")
"""The methods by name."""

_ITERATIONS = {"gauss-newton": 50, "scipy": 10}


def default_tolerance(dtype: torch.dtype) -> float:
    """Relative decrease of a loss that counts as none, by the dtype of the states."""
    return 1e-6 if dtype == torch.float32 else 1e-10


def solve(
    problem: Problem,
    start: Tensor,
    method: str,
    *,
    max_iterations: int | None = None,
    tolerance: float | None = None,
) -> Solution:
    """Run a method by its name; the defaults are those of :func:`optimise_initial_state`."""
    if max_iterations is None:
        max_iterations = _ITERATIONS[method]
    if tolerance is None:
        tolerance = SCIPY_GTOL if method == "scipy" else default_tolerance(start.dtype)
    run = gauss_newton if method == "gauss-newton" else scipy_lbfgsb
    return run(problem, start, max_iterations=max_iterations, tolerance=tolerance)


class _Given(NamedTuple):
    """What is integrated, and how, whatever the user passed."""

    field: Any
    integrator: Any
    time: float  # the field's unit of time
    scale: Any
    spacing: float | None = None  # the only one that is known
    noise: tuple[float, float] | None = None  # of positions and of momenta
    substeps: int = 1  # integrator steps between two observed states, unless dt says another

    def weights(self, values: Tensor) -> Tensor | None:
        """Weight of each coordinate, 1 in the geometric mean, where the noise is known."""
        if self.noise is None:
            return None
        sigma_q, sigma_p = self.noise
        dim = values.shape[-1] // 2
        halves = [sigma_p / sigma_q] * dim + [sigma_q / sigma_p] * dim
        return torch.tensor(halves, dtype=torch.float64).to(values)


@torch.inference_mode(False)  # the methods differentiate, also where a caller does not
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
        The points to explain, t = 0 first.  A tensor needs `dt`, and may hold NaN where `mask` is
        False.
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
        model whose fit has estimated the noise of positions and of momenta.
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
        trajectory.  No state is worse than where it began.

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
    given = _given(model_or_system, integrator)
    values, spacing, substeps = _observed(observed, dt, given)
    if weights is None:
        weights = given.weights(values)
    counts = _weights(values, weights, mask)
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
    problem = Problem(
        given.field,
        given.integrator,
        values,
        counts,
        dt=spacing / given.time,
        substeps=substeps,
        scale=given.scale,
    )
    check_differentiable(problem, start, method)
    solution = solve(problem, start, method, max_iterations=max_iterations, tolerance=tolerance)
    matrix = problem.normal(solution.states).matrix
    spread, noise, free = covariance(
        matrix, solution.loss, problem.counted, sigma, solution.loss.dtype
    )
    arrived = solution.status == int(IsoStatus.CONVERGED)
    solution.status[free & arrived] = int(IsoStatus.UNDERDETERMINED)
    if bool(empty.any()):
        solution.status[empty] = int(IsoStatus.NO_POINTS)
        solution.states[empty], solution.loss[empty] = torch.nan, torch.nan
        noise[empty], spread[empty] = torch.nan, torch.nan
        spread.diagonal(dim1=-2, dim2=-1)[empty] = torch.inf
    return InitialStates(
        states=solution.states,
        loss=solution.loss,
        iterations=solution.iterations,
        status=solution.status,
        covariance=spread.to(values.dtype),
        sigma=noise.to(values.dtype),
    )


def _given(thing: Any, integrator: Any) -> _Given:
    if hasattr(thing, "net") and hasattr(thing, "test_integrator"):  # a Model
        method = thing.test_integrator if integrator is None else integrator
        if thing.recurrent and integrator is not None:
            raise ValueError(_own_step(thing.net, integrator))
        time = thing.scale.time
        known = thing.dt if thing.recurrent else None
        method = integrators.rescaled(method, time)
        noise = getattr(thing, "noise", None)
        substeps = getattr(thing, "substeps", 1)
        return _Given(thing.net, method, time, thing.scale, known, noise, substeps)
    if _checks.is_own_step(thing):
        if integrator is not None:
            raise ValueError(_own_step(thing, integrator))
        return _Given(thing, None, 1.0, None)
    method = integrators.get("leapfrog" if integrator is None else integrator)
    return _Given(as_field(thing), method, 1.0, None)


def _own_step(net: Any, integrator: Any) -> str:
    return (
        f"{type(net).__name__} is its own step from one time to the next; leave `integrator` out, "
        f"instead of {integrator!r}."
    )


def _observed(observed: Any, dt: float | None, given: _Given) -> tuple[Tensor, float, int]:
    """Check the observations; return values, spacing and integrator steps in a spacing."""
    substeps = given.substeps
    if isinstance(observed, Trajectories):
        values, spacing = observed.values, observed.dt
        if observed.status is not None and bool((observed.status != 0).any()):
            raise ValueError(
                "Expected `observed` with status 0 throughout. Leave the others out: "
                "observed.select(observed.status == 0)."
            )
        if dt is not None:
            ratio = spacing / _checks.positive(dt, "dt")
            substeps = max(1, round(ratio))
            if substeps > 1 and given.integrator is None:
                raise ValueError(
                    f"{type(given.field).__name__} has learnt one step from an observed state to "
                    "the next; leave `dt` out."
                )
            if not _checks.same_spacing(ratio, substeps):
                raise ValueError(
                    "Expected `dt` to be a whole fraction of the observed spacing, "
                    f"{spacing!r}; got {dt!r}."
                )
    else:
        values = _checks.float_tensor(observed, "observed")
        if dt is None:
            raise ValueError("Observations in a tensor need `dt`, the time between two states.")
        spacing = _checks.positive(dt, "dt")
    if given.spacing is not None and not _checks.same_spacing(spacing, given.spacing):
        raise ValueError(
            f"{type(given.field).__name__} has learnt steps of dt={given.spacing!r} and knows no "
            f"others; got dt={spacing!r}."
        )
    values = _checks.state(_checks.known_float(values, "observed"), "observed", given.field.dim)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(
            "Expected `observed` to have shape (time, batch, 2*dim) and at least one state; got "
            f"{tuple(values.shape)}."
        )
    weight = weight_of(given.field)
    if weight is not None:
        _checks.same_as(values, "observed", weight, "model")
    return values.detach(), spacing, substeps


def _weights(values: Tensor, weights: Tensor | None, mask: Tensor | None) -> Tensor:
    """Weight of every observed number, zero where there is none."""
    counts = torch.ones_like(values)
    if weights is not None:
        given = _spread(_checks.float_tensor(weights, "weights"), "weights", values)
        if not bool((torch.isfinite(given) & (given >= 0)).all()):
            raise ValueError("Expected `weights` to be finite and not negative.")
        counts = counts * given.to(values)
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError(
                "Expected `mask` to be a tensor of bool, True where there is an observation; got "
                f"{mask.dtype if isinstance(mask, Tensor) else type(mask).__name__}."
            )
        counts = torch.where(_spread(mask, "mask", values), counts, 0.0)
    return counts


def _spread(tensor: Tensor, name: str, values: Tensor) -> Tensor:
    if tensor.shape == values.shape[:2]:
        tensor = tensor[..., None]
    try:
        return tensor.to(values.device).expand_as(values)
    except RuntimeError:
        raise ValueError(
            f"Expected `{name}` to have the shape of the observed states {tuple(values.shape)}, "
            f"or (time, batch); got {tuple(tensor.shape)}."
        ) from None


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
