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
from srnn.data import Trajectories
from srnn.integrators import Integrator
from srnn.losses import window_loss
from srnn.nn import HNet, QuadraticForm, QuadraticH
from srnn.recipes import Recipe

__all__ = ["if_better", "least_squares", "symmetric_least_squares"]


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


def _forms(net: Any) -> tuple[QuadraticForm | None, QuadraticForm | None]:
    """Return the quadratic terms of K and of V, where there are any."""
    if isinstance(net, HNet):
        return net.kinetic.form, net.potential.form
    if isinstance(net, QuadraticH):
        return net.kinetic, net.potential
    return None, None


def least_squares(net: Any, values: TrajectoryValues, dt: float) -> bool:
    """Start the quadratic terms of `net` from the data.

    Parameters
    ----------
    net : module
        An :class:`~srnn.nn.HNet` with a quadratic term or a :class:`~srnn.nn.QuadraticH`; any
        other network is left as it is.  An H-NET's MLPs start at zero (their last layer), so that
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
    kinetic, potential = _forms(net)
    if kinetic is None or potential is None:
        return False
    if isinstance(net, HNet):
        with torch.no_grad():
            for mlp in (net.kinetic.mlp, net.potential.mlp):
                for parameter in mlp.layers[-1].parameters():
                    parameter.zero_()
    values = values.double()
    q, p = _checks.halves((values[1:] + values[:-1]).flatten(0, 1) / 2)
    velocity, force = _checks.halves((values[1:] - values[:-1]).flatten(0, 1) / dt)
    _fit(kinetic, p, velocity)
    _fit(potential, q, -force)
    return True


def if_better(
    net: nn.Module,
    integrator: Integrator | None,
    windows: Trajectories,
    held_out: Trajectories | None,
    recipe: Recipe,
) -> bool:
    """Start `net` by :func:`least_squares` where that lowers the loss, else leave it as it is.

    A few short trajectories can leave the fit undetermined, and leapfrog with it unstable.

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
    watched = windows if held_out is None else held_out
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        at_hand = float(window_loss(net, integrator, watched, recipe))
        if not least_squares(net, windows.values, windows.dt):
            return False
        fitted = float(window_loss(net, integrator, watched, recipe))
    if math.isfinite(at_hand) and not fitted <= at_hand:
        net.load_state_dict(before)
        return False
    return True
