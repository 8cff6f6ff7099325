r"""Start a quadratic term at its least-squares fit to the data's one-step differences.

Over one step :math:`q_{n+1} - q_n \approx \Delta t\,K'(\bar p)` and
:math:`p_{n+1} - p_n \approx -\Delta t\,V'(\bar q)` with the means of the two ends, to second order
in :math:`\Delta t`.  With quadratic K and V both are linear in what is sought.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import TrajectoryValues
from srnn.data.residual import interpolated
from srnn.data.trajectories import Trajectories
from srnn.motion import integrators
from srnn.motion.fields import learns
from srnn.motion.flow_map import flow_map
from srnn.motion.integrators import Integrator
from srnn.nn import MLP, QuadraticForm, QuadraticH
from srnn.nn.network import asked
from srnn.starts.optimised import Starts, noise_weights
from srnn.training.guess.variable_projection import fit_quadratic
from srnn.training.losses import window_loss
from srnn.training.recipes import Recipe

__all__ = [
    "distil",
    "if_better",
    "least_squares",
    "start_noise",
    "symmetric_least_squares",
    "variable_projection",
]


def symmetric_least_squares(x: Tensor, y: Tensor, ridge: float = 1e-6) -> Tensor:
    r"""Find the symmetric A that minimises :math:`\sum_n |A x_n - y_n|^2 + \lambda |A|^2`.

    Its normal equation is :math:`G A + A G = C + C^\top` with :math:`G = X^\top X + \lambda` and
    :math:`C = X^\top Y`, which the eigenvectors of G make diagonal.

    Parameters
    ----------
    x, y : Tensor, shape (n, d)
    ridge : float
        :math:`\lambda` in units of the mean eigenvalue of :math:`X^\top X`.

    Returns
    -------
    Tensor, shape (d, d)

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> A = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    >>> bool(torch.allclose(symmetric_least_squares(x, x @ A, ridge=0.0), A))
    True
    """
    gram = x.T @ x
    gram = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    values, vectors = torch.linalg.eigh(gram)
    cross = vectors.T @ (x.T @ y) @ vectors
    sums = values[:, None] + values[None, :]
    # Directions in which x does not vary say nothing about A, which is zero there.
    seen = sums > len(gram) * torch.finfo(x.dtype).eps * sums.max()
    solution = torch.where(seen, (cross + cross.T) / torch.where(seen, sums, 1.0), 0.0)
    result: Tensor = vectors @ solution @ vectors.T
    return result


def _fit(form: QuadraticForm, x: Tensor, y: Tensor) -> None:
    """Set the form so that its gradient fits y at x."""
    middle_x, middle_y = x.mean(dim=0), y.mean(dim=0)
    matrix = symmetric_least_squares(x - middle_x, y - middle_y)
    with torch.no_grad():
        form.matrix.copy_(matrix)
        form.vector.copy_(middle_y - matrix @ middle_x)


def least_squares(net: Any, values: TrajectoryValues, dt: float) -> bool:
    """Start the quadratic terms of `net` from the data.

    Parameters
    ----------
    net : module
        An :class:`~srnn.nn.HNet` with a quadratic term or a :class:`~srnn.nn.QuadraticH`; any
        other network is left as it is, and so is one with a frozen parameter, which the start
        would write into.  An H-NET's MLPs start at zero (their last layer), so that
        H starts as the quadratic fit.
    values : Tensor, shape (time, batch, 2*dim)
    dt : float

    Returns
    -------
    bool
        Whether there was a quadratic term to start.

    Examples
    --------
    >>> import srnn
    >>> data = srnn.systems.MassSpring(mass=1.0, stiffness=4.0).simulate(50, steps=9, dt=0.01)
    >>> net = srnn.QuadraticH(1)
    >>> least_squares(net, data.values, data.dt), round(net.potential.matrix.item(), 2)
    (True, 4.0)
    """
    forms = _parts(net)
    if forms is None:
        return False
    kinetic, potential = forms
    net.silence()
    values = interpolated(values).double()
    q, p = _checks.halves((values[1:] + values[:-1]).flatten(0, 1) / 2)
    velocity, force = _checks.halves((values[1:] - values[:-1]).flatten(0, 1) / dt)
    _fit(kinetic, p, velocity)
    _fit(potential, q, -force)
    return True


def variable_projection(
    net: Any, integrator: str | Integrator, windows: Trajectories, recipe: Recipe
) -> bool:
    """Start `net` at the quadratic H that fits the windows best, through the integrator.

    With ``iso`` in the recipe all starts are optimised; without it, rollouts begin at the first
    observed states.

    Parameters
    ----------
    net : module
        An :class:`~srnn.nn.HNet` with a quadratic term, whose MLPs start at zero, or a
        :class:`~srnn.nn.QuadraticH`.  A plain H-NET takes the fit over by :func:`distil` if the
        recipe's ``warm_start`` is "distil".  Any other network is left as it is.
    integrator : str or Integrator
    windows : Trajectories
        In the network's units.
    recipe : Recipe

    Returns
    -------
    bool
        Whether there was something to start.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> spring = srnn.systems.MassSpring(mass=1.0, stiffness=4.0)
    >>> data = spring.simulate(300, steps=9, dt=0.1, generator=g).with_noise(0.2, generator=g)
    >>> net = srnn.QuadraticH(1)
    >>> recipe = srnn.recipes.Recipe(iso="gauss-newton")
    >>> variable_projection(net, "leapfrog", data, recipe)
    True
    >>> bool(abs(net.kinetic.matrix * net.potential.matrix - 4.0) < 0.2)  # the frequency squared
    True
    """
    forms, distilled = _parts(net), _distilled_parts(net, recipe)
    if distilled is not None:
        kinetic, potential = distilled
        found, _ = _best_quadratic(integrator, windows, recipe, kinetic.weight)
        x = interpolated(windows.values).flatten(0, 1)
        q, p = _checks.halves(x[:: max(1, len(x) // _DISTILLED)])
        distil(kinetic, found.kinetic, p)
        distil(potential, found.potential, q)
        return True
    if forms is None:
        return False
    found, _ = _best_quadratic(integrator, windows, recipe, forms[0].vector)
    net.silence()
    with torch.no_grad():
        for mine, new in zip(forms, (found.kinetic, found.potential), strict=True):
            mine.matrix.copy_(new.symmetric)
            mine.vector.copy_(new.vector)
    return True


def _parts(net: Any) -> tuple[QuadraticForm, QuadraticForm] | None:
    """Return the quadratic terms of K and of V, where there are any to start."""
    return asked(net).quadratic_parts() if learns(net) else None


def _distilled_parts(net: Any, recipe: Recipe) -> tuple[MLP, MLP] | None:
    asks = recipe.warm_start == "distil" and learns(net)
    return asked(net).distilled_parts() if asks else None


def _best_quadratic(
    integrator: str | Integrator, windows: Trajectories, recipe: Recipe, like: Tensor
) -> tuple[QuadraticH, Tensor]:
    """Fit a quadratic H through the integrator, from two starts, and the noise where asked.

    Return it with the mean squared residual of each coordinate.
    """
    values, dt = interpolated(windows.values), windows.dt
    # Where there are gaps the rest is said for as many numbers as there are.
    seen = windows.observed
    counted = 1.0 if seen is None else seen.shape[0] * seen.shape[1] / seen.sum(dim=(0, 1))

    def fitted(
        tried: QuadraticH, weights: Tensor | None = None, start_covariance: Tensor | None = None
    ) -> Tensor:
        return counted * fit_quadratic(
            tried,
            integrator,
            values,
            dt,
            weights=weights,
            loss_from=recipe.first_counted,
            substeps=recipe.substeps,
            observed_starts=recipe.iso is None,
            start_covariance=start_covariance,
        )

    best, least = None, math.inf
    for from_data in (True, False):
        tried = QuadraticH(windows.dim, dtype=torch.float64, device=like.device)
        if from_data:
            least_squares(tried, values, dt)
        squares = fitted(tried)
        size = float(squares.mean())
        # A second start only where the first one has explained less than half.
        if best is None or size < least:
            best, least = tried, size
            found = squares
        if least < 0.5 * float(values.double().square().mean()):
            break
    assert best is not None
    estimated = recipe.noise == "estimated" and recipe.iso is not None
    if seen is not None or estimated:
        starts = Starts(best, integrators.get(integrator), windows.values.double(), dt, recipe)
        for _ in range(2 if seen is None else _FILLINGS):
            if seen is not None:
                values = starts.filled(optimised=recipe.iso is not None)
            if estimated:
                starts.weights = noise_weights(found / starts.share_left())
            found = fitted(best, starts.weights)
    if recipe.start_noise:
        for _ in range(3):
            root = _start_root(_variance(best, integrator, windows, recipe, found), values[0])
            found = fitted(best, start_covariance=root @ root.mT)
    return best, found


def _variance(
    quadratic: QuadraticH,
    integrator: str | Integrator,
    windows: Trajectories,
    recipe: Recipe,
    squares: Tensor,
) -> Tensor:
    r"""Estimate the noise of each coordinate from the residuals of rollouts from noisy states.

    The residual at time t is :math:`e_t - F_t e_0`, of variance
    :math:`\sigma_c^2 + \sum_d (F_t)_{cd}^2 \sigma_d^2` in coordinate c: two equations for the
    noise of positions and that of momenta.
    """
    start = windows.values[0, :1].double()
    _, jacobians = flow_map(
        quadratic,
        integrator,
        start,
        dt=windows.dt,
        steps=windows.steps,
        substeps=recipe.substeps,
    )
    gain = jacobians[1:, 0].square().mean(dim=0)
    half = windows.dim
    blocks = gain.unflatten(0, (2, half)).unflatten(2, (2, half)).sum(dim=3).mean(dim=1)
    sizes = torch.linalg.solve(torch.eye(2).to(blocks) + blocks, squares.view(2, half).mean(dim=1))
    # Where a half has no noise its estimate may come out a little below zero.
    variance: Tensor = sizes.clamp_min(0.0).repeat_interleave(half)
    return variance


# Chosen on the error of a leapfrog step on chains of other seeds: 0.5 leaves half of the bias, and
# beyond 0.9 little more of it goes.
_MOST_NOISE = 0.9


def _start_root(variance: Tensor, first: Tensor) -> Tensor:
    """Matrix that makes the noise of the first states of independent normal numbers.

    At most a share of the variance that the first states have in a direction is called noise.
    Where they hardly differ, such as those of masses that begin at rest, all of it is; a loss
    without it would have no lower bound in what such directions grow into.
    """
    size = variance.sqrt()
    whitened = torch.cov(first.double().mT, correction=0) / (size[:, None] * size)
    spread, directions = torch.linalg.eigh(torch.nan_to_num(whitened, posinf=0.0, neginf=0.0))
    share = (_MOST_NOISE * spread).clamp(min=0.0, max=1.0)
    root: Tensor = size[:, None] * directions * share.sqrt()
    return root


def start_noise(integrator: str | Integrator, windows: Trajectories, recipe: Recipe) -> Tensor:
    """Estimate the noise of the states that rollouts begin at.

    From the residuals of the quadratic H that explains the windows best, so for motions near an
    equilibrium: elsewhere what the quadratic H misses counts as noise.

    Parameters
    ----------
    integrator : str or Integrator
    windows : Trajectories
        In the network's units.
    recipe : Recipe
        With ``start_noise``.

    Returns
    -------
    Tensor, shape (2*dim, 2*dim)
        A root R of the noise's covariance, R R^T.  In no direction is it more than nine tenths of
        what the first states vary.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> spring = srnn.systems.MassSpring(mass=1.0, stiffness=4.0)
    >>> data = spring.simulate(2000, steps=9, dt=0.1, generator=g).with_noise(0.2, generator=g)
    >>> recipe = srnn.recipes.Recipe(start_noise=True)
    >>> root = start_noise("leapfrog", data, recipe)
    >>> bool(((root @ root.T).diagonal().sqrt() - 0.2).abs().max() < 0.01)
    True
    """
    best, squares = _best_quadratic(integrator, windows, recipe, windows.values)
    variance = _variance(best, integrator, windows, recipe, squares)
    return _start_root(variance, windows.values[0]).to(windows.values)


_DISTILLED = 4096
# What stands in the gaps comes from the fit before: its error shrinks each time by about the share
# that is missing.
_FILLINGS = 10
_INPUT_SCALE, _BIAS_RANGE, _RIDGE = 0.05, 2.0, 1e-10


def distil(mlp: MLP, form: QuadraticForm, x: Tensor) -> None:
    r"""Set an MLP with one hidden layer so that its gradient is nearly that of a quadratic form.

    With the usual start a tanh network is nearly odd about 0, and hundreds of epochs go into
    making it even.  Here its biases are spread over :math:`\pm 2` and its input weights made small,
    so that every unit is nearly a quadratic function with a curvature of its own; the last layer,
    in which the gradient is linear, is then ridge regression.  The last layer's weights become
    large, and gradient descent hardly gets away from such a start: it is for motions that a
    quadratic H describes.

    Parameters
    ----------
    mlp : MLP
        One output; changed in place.
    form : QuadraticForm
    x : Tensor, shape (n, dim)
        Where the gradients shall agree.

    Raises
    ------
    ValueError
        If `mlp` has not exactly one hidden layer.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> mlp = srnn.nn.MLP(2, 1, hidden=64, generator=g)
    >>> form = srnn.nn.QuadraticForm(2, curvature=3.0)
    >>> x = torch.randn(200, 2, generator=g)
    >>> distil(mlp, form, x)
    >>> bool((mlp.input_gradient(x) - form.gradient(x)).norm() < 0.01 * form.gradient(x).norm())
    True
    """
    if len(mlp.linears) != 2:
        raise ValueError(
            f"Expected `mlp` with one hidden layer to distil into; got {len(mlp.linears) - 1}. "
            "Give deeper networks a quadratic term instead: HNet(..., quadratic=True)."
        )
    first, last = mlp.linears
    x = x.detach().double()
    with torch.no_grad():
        first.weight.mul_(_INPUT_SCALE)
        first.bias.mul_(_BIAS_RANGE * math.sqrt(first.in_features))
        target = form.gradient(x.to(form.vector)).double()
        weight = first.weight.double()
        slopes = 1 - torch.tanh(x @ weight.T + first.bias.double()).square()
        gram = (slopes.T @ slopes) * (weight @ weight.T)
        right = (slopes * (target @ weight.T)).sum(dim=0)
        gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
        last.weight.copy_(torch.linalg.solve(gram, right)[None])
        last.bias.zero_()


def if_better(
    net: nn.Module,
    integrator: Integrator | None,
    windows: Trajectories,
    held_out: Trajectories | None,
    recipe: Recipe,
) -> bool:
    """Start `net` by the data where that lowers the loss, else leave it as it is.

    By :func:`variable_projection` where starts are optimised or the recipe's ``warm_start`` is
    "rollout" or "distil", else by :func:`least_squares`.  A few short trajectories can leave the
    fit undetermined, and leapfrog with it unstable.

    Parameters
    ----------
    net : module
    integrator : Integrator or None
    windows, held_out : Trajectories
        In the network's units; the loss is taken on `held_out` where there is one.
    recipe : Recipe

    Returns
    -------
    bool
        Whether the net was started.

    Examples
    --------
    >>> import srnn
    >>> data = srnn.systems.MassSpring(stiffness=4.0).simulate(50, steps=9, dt=0.1)
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> if_better(srnn.QuadraticH(1), leapfrog, data, None, srnn.recipes.Recipe())
    True
    """
    if not _has_start(net, recipe):
        return False
    watched = windows if held_out is None else held_out
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        at_hand = _watched_loss(net, integrator, watched, recipe)
        through = recipe.iso is not None or recipe.warm_start in ("rollout", "distil")
        if through and integrator is not None:
            variable_projection(net, integrator, windows, recipe)
        else:
            least_squares(net, windows.values, windows.dt)
        fitted = _watched_loss(net, integrator, watched, recipe)
    if math.isfinite(at_hand) and not fitted <= at_hand:
        net.load_state_dict(before)
        return False
    return True


def _watched_loss(
    net: nn.Module, integrator: Integrator | None, data: Trajectories, recipe: Recipe
) -> float:
    if recipe.iso is None:
        return float(window_loss(net, integrator, data, recipe))
    starts = Starts(net, integrator, data.values, data.dt, recipe)
    starts.settle()
    return starts.score()


def _has_start(net: Any, recipe: Recipe) -> bool:
    """Whether there is anything in a network that the data can start."""
    return not (_parts(net) is None and _distilled_parts(net, recipe) is None)
