"""The Hessian of the ISO loss in its two parts, and how well the first is conditioned."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Hessians, PerTrajectory, State
from srnn.data.residual import Observed, weights_of
from srnn.data.trajectories import Trajectories
from srnn.motion import integrators
from srnn.motion.fields import as_field, differentiates
from srnn.motion.flow_map import along_basis, flow_map, rows_at_once
from srnn.motion.integrators import says
from srnn.motion.motion import Motion
from srnn.nn.network import asked
from srnn.starts.iso._problem import Problem

__all__ = ["Conditioning", "IsoHessian", "conditioning", "iso_hessian"]

# Numbers in the Jacobians that are held at a time.
_PIECE = 1 << 22


@dataclass(frozen=True)
class IsoHessian:
    r"""Derivatives of the ISO loss at one initial state a trajectory.

    Attributes
    ----------
    loss : Tensor, shape (batch,)
        The loss L, in the squared unit of the states if the weights have none.
    gradient : Tensor, shape (batch, 2*dim)
        Equation (15) of the paper, summed over time.
    gauss_newton : Tensor, shape (batch, 2*dim, 2*dim)
        :math:`2 \sum_t F_t^\top W_t F_t`.
    curvature : Tensor, shape (batch, 2*dim, 2*dim)
        The residual curvature, the first term of equation (16).

    Examples
    --------
    >>> import torch
    >>> eye = torch.eye(2)[None]
    >>> hessian = IsoHessian(torch.zeros(1), torch.zeros(1, 2), 2 * eye, -3 * eye)
    >>> hessian.total[0].tolist(), hessian.smallest.tolist()
    ([[-1.0, 0.0], [0.0, -1.0]], [-1.0])
    """

    loss: Tensor
    gradient: Tensor
    gauss_newton: Tensor
    curvature: Tensor

    @property
    def total(self) -> Hessians:
        """The Hessian of the loss, the sum of its two parts."""
        return self.gauss_newton + self.curvature

    @property
    def smallest(self) -> PerTrajectory:
        """Smallest eigenvalue of the Hessian; NaN where the Hessian is not finite."""
        smallest: Tensor = _eigenvalues(self.total)[..., 0]
        return smallest


@differentiates
def iso_hessian(
    field: Any,
    integrator: Any,
    z0: State,
    observed: Any,
    *,
    dt: float | None = None,
    loss_from: int = 0,
    weights: Tensor | None = None,
    substeps: int = 1,
) -> IsoHessian:
    r"""Hessian of the ISO loss in z_0, in its Gauss-Newton and its residual-curvature part.

    Parameters
    ----------
    field, integrator, substeps
        As :func:`srnn.rollout` takes them; a recurrent network with ``integrator=None`` too.
    z0 : Tensor, shape (batch, 2*dim)
        Where the Hessian is taken, one initial state a trajectory.
    observed : Trajectories or Tensor, shape (time, batch, 2*dim)
        The observed states, t = 0 among them.
    dt : float
        Time between two observed states.  Trajectories bring their own.
    loss_from : {0, 1}
        First state in the sum: 0 counts the observation at t = 0, 1 leaves it out.
    weights : Tensor, optional
        w, not negative, of a shape that broadcasts to (time, batch, 2*dim); for unequal noise take
        :math:`1/\sigma_{ti}^2`.  What has weight 0 is not looked at and may be NaN.

    Returns
    -------
    IsoHessian
        With ``.gauss_newton``, ``.curvature``, ``.total``, ``.smallest``, ``.loss`` and
        ``.gradient``, for every trajectory on its own.

    Raises
    ------
    ValueError, TypeError
        What :func:`srnn.rollout` refuses, data that do not fit `z0`, and the implicit midpoint
        rule, whose second derivatives are not exact.

    Notes
    -----
    The two parts are computed independently: the first from the Jacobians of
    :func:`srnn.flow_map.flow_map`, the second by differentiating the back-propagated
    residual again, with the residual held fixed.  For a linear flow the second is zero.

    Examples
    --------
    >>> import torch, srnn
    >>> z0 = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    >>> clean = srnn.rollout(srnn.systems.Pendulum(), "leapfrog", z0, dt=0.1, steps=9)
    >>> hessian = iso_hessian(srnn.systems.Pendulum(), "leapfrog", z0, clean + 0.1, dt=0.1)
    >>> hessian.total.shape, bool(hessian.smallest > 2)
    (torch.Size([1, 2, 2]), True)
    >>> exact = iso_hessian(srnn.systems.Pendulum(), "leapfrog", z0, clean, dt=0.1)
    >>> bool((exact.curvature == 0).all())  # no residual, no curvature of it
    True
    """
    problem = iso_problem(field, integrator, z0, observed, dt, loss_from, weights, substeps)
    return hessian(problem, z0.detach())


def iso_problem(
    field: Any,
    integrator: Any,
    z0: Any,
    observed: Any,
    dt: float | None,
    loss_from: int,
    weights: Tensor | None,
    substeps: int,
) -> Problem:
    """Check everything that a user passes: the ISO loss, but for the initial states."""
    if integrator is not None and not says(integrators.get(integrator), "exact_twice"):
        raise ValueError(
            "The second derivatives of 'implicit-midpoint' are not exact (its last Newton step "
            "holds the Jacobian fixed), and the curvature of the residual needs them. Use 'tao2' "
            "or 'tao4' for a non-separable H, 'leapfrog' for a separable one; `conditioning` asks "
            "for first derivatives only and takes every integrator."
        )
    z0 = batch_of_states(z0, field)
    if isinstance(observed, Trajectories):
        if dt is not None and not _checks.same_spacing(observed.dt, _checks.time_step(dt)):
            raise ValueError(
                f"Expected `dt` to be that of the trajectories, {observed.dt!r}; got {dt!r}. "
                "Leave it out."
            )
        values, dt = observed.values, observed.dt
    else:
        values = _checks.float_tensor(observed, "observed")
        if dt is None:
            raise ValueError("Expected `dt`, the time between two states of a plain tensor.")
    if values.ndim != 3 or values.shape[1:] != z0.shape or len(values) < 2:
        raise ValueError(
            "Expected `observed` to have shape (time, batch, 2*dim) with at least two times "
            f"and (batch, 2*dim) = {tuple(z0.shape)}; got {tuple(values.shape)}."
        )
    _checks.same_as(z0, "z0", values, "observed")
    mask = observed.observed if isinstance(observed, Trajectories) else None
    counts = weights_of(values, weights, mask, loss_from=loss_from)
    values = values.detach().masked_fill(counts == 0, 0.0)
    seen = Observed(_checks.all_finite(values, "observed"), counts)
    dt, substeps = _checks.time_step(dt), _checks.steps(substeps, "substeps")
    return Problem(Motion(field, integrator), seen, dt=dt, substeps=substeps)


def hessian(problem: Problem, z0: Tensor) -> IsoHessian:
    """Differentiate at `z0`, shape (batch, 2d), a piece of the batch at a time."""
    size = rows_at_once(problem.motion.net, len(problem.observed.values) * problem.substeps)
    pieces = [
        _piece(problem.take(piece), z0[piece])
        for piece in (slice(k, k + size) for k in range(0, len(z0), size))
    ]
    return IsoHessian(*(torch.cat(part) for part in zip(*pieces, strict=True)))


def _piece(problem: Problem, z0: Tensor) -> tuple[Tensor, ...]:
    observed, weights = problem.observed, problem.observed.weights
    states, F = problem.states_and_jacobians(z0)
    pull = weights * (states - observed.values)
    with torch.enable_grad():
        start = z0.detach().requires_grad_()
        pulled = (pull * problem.states(start)).sum()
        # Sum over t of F_t^T (w_t r_t), with w_t r_t held fixed.
        (gradient,) = torch.autograd.grad(pulled, start, create_graph=True)
        # No curvature where the flow is linear.
        rows = along_basis(gradient, start) if gradient.requires_grad else None
        curvature = torch.zeros_like(F[0]) if rows is None else rows.movedim(0, -2)
    stacked = (weights.sqrt()[..., None] * F).transpose(0, 1).flatten(1, 2)
    return (
        observed.loss(states),
        2 * gradient.detach(),
        2 * (stacked.mT @ stacked),
        curvature + curvature.mT,
    )


@dataclass(frozen=True)
class Conditioning:
    r"""How well observations of a motion determine its initial state.

    Attributes
    ----------
    eigenvalues : Tensor, shape (batch, 2*dim)
        Of :math:`\sum_t F_t^\top W_t F_t`, half the Gauss-Newton part, ascending.
    bound : Tensor, shape (batch,)
        The sum over t of the smallest eigenvalue of each :math:`F_t^\top W_t F_t`, which no
        eigenvalue of the sum is below (Weyl).  With t = 0 in the sum and no weights it is at least
        1, as :math:`F_0` is the identity: the Gauss-Newton part is then at least 2 I whatever the
        field.

    Examples
    --------
    >>> import torch
    >>> Conditioning(torch.tensor([[2.0, 8.0]]), torch.tensor([1.0])).condition
    tensor([4.])
    """

    eigenvalues: Tensor
    bound: Tensor

    @property
    def condition(self) -> PerTrajectory:
        """Condition number, the largest eigenvalue over the smallest."""
        return self.eigenvalues[:, -1] / self.eigenvalues[:, 0]


@differentiates
def conditioning(
    field: Any,
    integrator: Any,
    z0: State,
    *,
    dt: float,
    steps: int,
    loss_from: int = 0,
    weights: Tensor | None = None,
    substeps: int = 1,
) -> Conditioning:
    r"""Eigenvalues of :math:`\sum_t F_t^\top W_t F_t` for t = `loss_from`, ..., `steps`.

    With noise of standard deviation :math:`\sigma` (and no weights) the inverse of this matrix
    times :math:`\sigma^2` is the covariance of the least-squares estimate of z_0, to first order in
    the noise.

    Parameters
    ----------
    field, integrator, dt, steps, substeps
        As :func:`srnn.rollout` takes them; every integrator will do, as only first derivatives
        are asked for.
    z0 : Tensor, shape (batch, 2*dim)
    loss_from : {0, 1}
        First state in the sum.
    weights : Tensor, optional
        w, not negative, of a shape that broadcasts to (steps + 1, batch, 2*dim).

    Returns
    -------
    Conditioning
        With ``.eigenvalues``, ``.condition`` and ``.bound``.

    Raises
    ------
    ValueError, TypeError
        What :func:`srnn.rollout` refuses, and weights that do not fit.

    Examples
    --------
    >>> import torch, srnn
    >>> z0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    >>> found = conditioning(srnn.systems.MassSpring(), "leapfrog", z0, dt=0.1, steps=9)
    >>> bool(found.eigenvalues[0, 0] > found.bound), bool(found.bound > 1)
    (True, True)
    """
    z0 = batch_of_states(z0, field)
    count = _checks.steps(steps) + 1
    w = weights_of(z0.expand(count, *z0.shape), weights, loss_from=loss_from)
    size = max(1, _PIECE // (count * z0.shape[-1] ** 2))
    eigenvalues, bounds = [], []
    for start, weight in zip(z0.split(size), w.split(size, dim=1), strict=True):
        F = flow_map(field, integrator, start, dt=dt, steps=steps, substeps=substeps)[1]
        product = F.mT @ (weight[..., None] * F)
        eigenvalues.append(_eigenvalues(product.sum(dim=0)))
        # Rounding may leave a zero below zero.
        bounds.append(_eigenvalues(product)[..., 0].clamp(min=0).sum(dim=0))
    return Conditioning(torch.cat(eigenvalues), torch.cat(bounds))


def _eigenvalues(matrices: Tensor) -> Tensor:
    """Eigenvalues of symmetric matrices, ascending; NaN where one is not finite."""
    wrong = ~torch.isfinite(matrices).all(dim=-1).all(dim=-1)[..., None]
    values = torch.linalg.eigvalsh(matrices.masked_fill(wrong[..., None], 0.0))
    masked: Tensor = values.masked_fill(wrong, float("nan"))
    return masked


def batch_of_states(value: Any, field: Any) -> Tensor:
    """Return initial states (batch, 2*dim), detached."""
    dim = field.dim if asked(field).own_step else as_field(field).dim
    z0: Tensor = _checks.state(value, "z0", int(dim)).detach()
    if z0.ndim != 2:
        raise ValueError(
            f"Expected `z0` to have shape (batch, 2*dim); got {tuple(z0.shape)}. "
            "For one state add the axis: z0[None]."
        )
    return z0
