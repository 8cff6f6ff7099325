"""Where the ISO loss is convex: along a line, over noise and horizon, and how far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.motion.fields import differentiates
from srnn.motion.rollout import rollout
from srnn.starts.convexity._hessian import batch_of_states, hessian, iso_problem

__all__ = [
    "AlongLine",
    "ConvexRadius",
    "EigenvalueGrid",
    "convex_radius",
    "eigenvalue_along",
    "eigenvalue_grid",
]


@dataclass(frozen=True)
class AlongLine:
    """The ISO loss and the smallest eigenvalue of its Hessian along a line through z_0.

    Attributes
    ----------
    distances : Tensor, shape (points,)
        Signed distances from z_0, in the unit of the states.
    loss : Tensor, shape (points, batch)
    smallest : Tensor, shape (points, batch)
        Smallest eigenvalue of the whole Hessian, not only its curvature along the line; NaN where
        the Hessian is not finite.

    Examples
    --------
    >>> import torch
    >>> AlongLine(torch.zeros(1), torch.zeros(1, 2), torch.tensor([[3.0, -1.0]])).convex
    tensor([[ True, False]])
    """

    distances: Tensor
    loss: Tensor
    smallest: Tensor

    @property
    def convex(self) -> Tensor:
        """Whether the Hessian is positive definite at each point."""
        return self.smallest > 0


@differentiates
def eigenvalue_along(
    field: Any,
    integrator: Any,
    z0: State,
    observed: Any,
    direction: Tensor,
    distances: Tensor | Sequence[float],
    *,
    dt: float | None = None,
    loss_from: int = 0,
    weights: Tensor | None = None,
    substeps: int = 1,
) -> AlongLine:
    r"""Smallest eigenvalue of the ISO loss' Hessian at :math:`z_0 + s\,u` for given distances s.

    Parameters
    ----------
    field, integrator, z0, observed, dt, loss_from, weights, substeps
        As :func:`srnn.convexity.iso_hessian` takes them.
    direction : Tensor, shape (2*dim,) or (batch, 2*dim)
        u, brought to length 1.
    distances : sequence of float, shape (points,)
        s, in the unit of the states, negative ones too.

    Returns
    -------
    AlongLine
        With ``.distances``, ``.loss``, ``.smallest`` and ``.convex``.

    Raises
    ------
    ValueError, TypeError
        As :func:`srnn.convexity.iso_hessian`; a direction of length zero, distances that are not
        finite.

    Examples
    --------
    The loss of a pendulum is convex about the true start, and not all along the line through it.

    >>> import torch, srnn
    >>> pendulum, z0 = srnn.systems.Pendulum(), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    >>> data = srnn.rollout(pendulum, "leapfrog", z0, dt=0.1, steps=40)
    >>> u = torch.tensor([1.0, 0.0], dtype=torch.float64)
    >>> line = eigenvalue_along(pendulum, "leapfrog", z0, data, u, [-0.5, 0.0, 2.0], dt=0.1)
    >>> line.convex[:, 0].tolist()
    [True, True, False]
    """
    loss = iso_problem(field, integrator, z0, observed, dt, loss_from, weights, substeps)
    z0 = z0.detach()
    u = _directions(direction, "direction", z0)
    if u.ndim == 2 and u.shape != z0.shape:
        raise ValueError(
            "Expected `direction` to have shape (2*dim,) or (batch, 2*dim) = "
            f"{tuple(z0.shape)}; got {tuple(u.shape)}."
        )
    s = torch.as_tensor(distances, dtype=z0.dtype, device=z0.device)
    if s.ndim != 1 or len(s) == 0:
        raise ValueError(f"Expected `distances` to have shape (points,); got {tuple(s.shape)}.")
    _checks.all_finite(s, "distances")
    points = z0 + s[:, None, None] * u
    rows = torch.arange(len(z0), device=z0.device).repeat(len(s))
    found = hessian(loss.take(rows), points.flatten(0, 1))
    shape = (len(s), len(z0))
    return AlongLine(s, found.loss.reshape(shape), found.smallest.reshape(shape))


@dataclass(frozen=True)
class EigenvalueGrid:
    """Smallest eigenvalues of the ISO loss' Hessian for several noises and horizons.

    Attributes
    ----------
    sigmas : Tensor, shape (sigmas,)
    horizons : Tensor of int, shape (horizons,)
        Numbers of steps T; the loss counts T + 1 states.
    smallest : Tensor, shape (sigmas, horizons, batch)
        NaN where the Hessian is not finite.

    Examples
    --------
    >>> import torch
    >>> smallest = torch.tensor([[[1.0, -1.0, 2.0, 3.0]]])
    >>> grid = EigenvalueGrid(torch.tensor([0.1]), torch.tensor([9]), smallest)
    >>> grid.fraction_convex.tolist(), grid.quantile(0.5).tolist()
    ([[0.75]], [[1.5]])
    """

    sigmas: Tensor
    horizons: Tensor
    smallest: Tensor

    @property
    def fraction_convex(self) -> Tensor:
        """Fraction of trajectories with a positive definite Hessian, shape (sigmas, horizons)."""
        return (self.smallest > 0).to(self.smallest.dtype).mean(dim=-1)

    def quantile(self, q: float) -> Tensor:
        """Quantile of the smallest eigenvalues over trajectories, shape (sigmas, horizons).

        NaN where one of the trajectories has none.

        Examples
        --------
        >>> import torch
        >>> smallest = torch.tensor([[[1.0, -1.0, 2.0]]])
        >>> EigenvalueGrid(torch.tensor([0.1]), torch.tensor([9]), smallest).quantile(0.0)
        tensor([[-1.]])
        """
        return self.smallest.quantile(q, dim=-1)


@differentiates
def eigenvalue_grid(
    field: Any,
    integrator: Any,
    z0: State,
    *,
    sigmas: Sequence[float],
    horizons: Sequence[int],
    dt: float,
    at: str = "truth",
    loss_from: int = 0,
    substeps: int = 1,
    generator: torch.Generator | None = None,
) -> EigenvalueGrid:
    r"""Smallest eigenvalue of the ISO loss' Hessian over a grid of noises and horizons.

    The field's own motion from `z0`, with independent Gaussian noise of standard deviation
    :math:`\sigma` on every coordinate of every state, plays the part of the observations: the model
    is exact, and only noise makes a residual.  One draw of noise of unit size serves every
    :math:`\sigma` and every horizon.

    Parameters
    ----------
    field, integrator, substeps
        As :func:`srnn.rollout` takes them.
    z0 : Tensor, shape (batch, 2*dim)
        True initial states.  For several draws of noise repeat a state.
    sigmas : sequence of float
        Not negative.
    horizons : sequence of int
        Numbers of steps T.
    dt : float
    at : {"truth", "start"}
        Where the Hessian is taken: at the true `z0`, or at its noisy observation, where ISO
        starts.
    loss_from : {0, 1}
    generator : torch.Generator, optional
        Draws the noise.

    Returns
    -------
    EigenvalueGrid
        With ``.smallest``, ``.fraction_convex`` and ``.quantile(q)``.

    Raises
    ------
    ValueError, TypeError
        As :func:`srnn.convexity.iso_hessian`; an empty grid.

    Examples
    --------
    >>> import torch, srnn
    >>> grid = eigenvalue_grid(
    ...     srnn.systems.Pendulum(),
    ...     "leapfrog",
    ...     torch.tensor([[2.0, 0.0]], dtype=torch.float64).expand(20, 2),
    ...     sigmas=[0.01, 2.0],
    ...     horizons=[10, 100],
    ...     dt=0.1,
    ...     generator=torch.Generator().manual_seed(0),
    ... )
    >>> bool(grid.fraction_convex[0, 0] == 1), bool(grid.fraction_convex[1, 1] < 1)
    (True, True)
    """
    _checks.choice(at, "at", ("truth", "start"))
    spreads = [_checks.non_negative(sigma, "sigmas") for sigma in sigmas]
    lengths = [_checks.positive_int(horizon, "horizons") for horizon in horizons]
    if not spreads or not lengths:
        raise ValueError("Expected at least one of `sigmas` and one of `horizons`.")
    z0 = batch_of_states(z0, field)
    with torch.no_grad():
        clean = rollout(field, integrator, z0, dt=dt, steps=max(lengths), substeps=substeps)
    # Drawn in double precision on the CPU, the same for every dtype and device.
    unit = torch.randn(
        clean.shape, generator=_checks.as_generator(generator), dtype=torch.float64
    ).to(clean)
    sigma = torch.tensor(spreads, dtype=clean.dtype, device=clean.device)
    noise = sigma[:, None, None] * unit[:, None]  # (time, sigmas, batch, 2d)
    observed = (clean[:, None] + noise).flatten(1, 2)
    start = clean[0].repeat(len(spreads), 1) if at == "truth" else observed[0]
    columns = []
    for length in lengths:
        loss = iso_problem(
            field, integrator, start, observed[: length + 1], dt, loss_from, None, substeps
        )
        columns.append(hessian(loss, start).smallest.reshape(len(spreads), -1))
    return EigenvalueGrid(sigma, torch.tensor(lengths), torch.stack(columns, dim=1))


@dataclass(frozen=True)
class ConvexRadius:
    """How far from z_0 the ISO loss was found to be convex.

    Attributes
    ----------
    directions : Tensor, shape (directions, 2*dim)
        Unit vectors that were probed.
    distances : Tensor, shape (directions, batch)
        Distance along each at which the smallest eigenvalue first reaches zero; 0 where it is not
        positive at z_0 itself, inf where it stays positive up to `limit`.
    limit : float
        How far was looked.

    Examples
    --------
    >>> import torch
    >>> ConvexRadius(torch.eye(2), torch.tensor([[0.5], [float("inf")]]), limit=3.0).radius
    tensor([0.5000])
    """

    directions: Tensor
    distances: Tensor
    limit: float

    @property
    def radius(self) -> Tensor:
        """The smallest distance of each trajectory over the directions, shape (batch,)."""
        return self.distances.amin(dim=0)


@differentiates
def convex_radius(
    field: Any,
    integrator: Any,
    z0: State,
    observed: Any,
    *,
    limit: float,
    directions: int | Tensor = 16,
    points: int = 32,
    tolerance: float = 1e-3,
    dt: float | None = None,
    loss_from: int = 0,
    weights: Tensor | None = None,
    substeps: int = 1,
    generator: torch.Generator | None = None,
) -> ConvexRadius:
    """Distance from z_0 at which the ISO loss stops being convex, over some directions.

    Along every direction the smallest eigenvalue of the Hessian is looked at in steps of
    ``limit / points`` until it is not positive, and that place is found by bisection.

    This is an **upper bound** of the radius of the ball in which the loss is convex, not a proof:
    a direction that was not probed may reach a smaller distance, and a band of negative
    eigenvalues narrower than a step may be stepped over.

    Parameters
    ----------
    field, integrator, z0, observed, dt, loss_from, weights, substeps
        As :func:`srnn.convexity.iso_hessian` takes them.
    limit : float
        Largest distance to look at, in the unit of the states.
    directions : int or Tensor, shape (directions, 2*dim)
        How many random ones, uniform on the sphere, or which; they are brought to length 1.
    points : int
        Steps up to `limit`.
    tolerance : float
        Largest error of a distance, relative to `limit`.
    generator : torch.Generator, optional
        Draws the directions.

    Returns
    -------
    ConvexRadius
        With ``.radius`` for every trajectory, ``.distances`` for every direction.

    Raises
    ------
    ValueError, TypeError
        As :func:`srnn.convexity.iso_hessian`; a direction of length zero, a limit or tolerance
        that is not positive.

    Examples
    --------
    >>> import torch, srnn
    >>> pendulum, z0 = srnn.systems.Pendulum(), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    >>> data = srnn.rollout(pendulum, "leapfrog", z0, dt=0.1, steps=40)
    >>> both = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> found = convex_radius(pendulum, "leapfrog", z0, data, limit=3.0, directions=both, dt=0.1)
    >>> bool((0.5 < found.radius) & (found.radius < 2))
    True
    """
    loss = iso_problem(field, integrator, z0, observed, dt, loss_from, weights, substeps)
    z0 = z0.detach()
    limit = _checks.positive(limit, "limit")
    points = _checks.positive_int(points, "points")
    tolerance = _checks.positive(tolerance, "tolerance") * limit
    if isinstance(directions, Tensor):
        u = _directions(directions, "directions", z0).reshape(-1, z0.shape[-1])
    else:
        count = _checks.positive_int(directions, "directions")
        u = torch.randn(
            count, z0.shape[-1], generator=_checks.as_generator(generator), dtype=torch.float64
        ).to(z0)
        u = u / u.norm(dim=-1, keepdim=True)

    # One ray for each direction and trajectory, in one batch.
    batch = len(z0)
    rows = torch.arange(batch, device=z0.device).repeat(len(u))
    rays = u.repeat_interleave(batch, dim=0)

    def convex(which: Tensor, distance: Tensor) -> Tensor:
        place = z0[rows[which]] + distance[:, None] * rays[which]
        good: Tensor = hessian(loss.take(rows[which]), place).smallest > 0
        return good

    outside = torch.full((len(rays),), math.inf, dtype=z0.dtype, device=z0.device)
    origin = hessian(loss, z0).smallest > 0
    outside[~origin[rows]] = 0.0
    for step in range(1, points + 1):
        going = outside.isinf().nonzero()[:, 0]
        if len(going) == 0:
            break
        distance = torch.full_like(outside[going], limit * step / points)
        outside[going] = torch.where(convex(going, distance), math.inf, distance)

    found = ((outside > 0) & outside.isfinite()).nonzero()[:, 0]
    upper = outside[found]
    lower = upper - limit / points
    for _ in range(max(0, math.ceil(math.log2(limit / points / tolerance)))):
        if len(found) == 0:
            break
        middle = (lower + upper) / 2
        good = convex(found, middle)
        lower, upper = torch.where(good, middle, lower), torch.where(good, upper, middle)
    outside[found] = upper
    return ConvexRadius(u, outside.reshape(len(u), batch), limit)


def _directions(value: Any, name: str, z0: Tensor) -> Tensor:
    """Return unit vectors in the dtype of the states."""
    u = _checks.all_finite(_checks.float_tensor(value, name), name).detach().to(z0)
    if u.ndim == 0 or u.shape[-1] != z0.shape[-1]:
        raise ValueError(
            f"Expected the last axis of `{name}` to have length {z0.shape[-1]}; "
            f"got shape {tuple(u.shape)}."
        )
    length = u.norm(dim=-1, keepdim=True)
    if bool((length == 0).any()):
        raise ValueError(f"Expected `{name}` not to have length zero.")
    unit: Tensor = u / length
    return unit
