"""What training minimises: residuals of rollouts, or of time derivatives."""

from typing import Any

from torch import Tensor, nn

from srnn._types import TrajectoryValues
from srnn.fields import as_field
from srnn.integrators import Integrator
from srnn.rollout import rollout

__all__ = ["derivative_loss", "trajectory_loss"]


def trajectory_loss(
    net: Any,
    integrator: Integrator | None,
    target: TrajectoryValues,
    dt: float,
    *,
    loss_from: int = 1,
    substeps: int = 1,
) -> Tensor:
    r"""Mean squared residual of rollouts from the first observed states.

    :math:`\frac{1}{N}\sum_i \|z_i - \hat z_i(\theta)\|^2` over the states from `loss_from` on
    (section 3.3 of the paper), with N the number of residuals.

    Parameters
    ----------
    net : module
    integrator : Integrator or None
    target : Tensor, shape (time, batch, 2*dim)
    dt : float
    loss_from : {0, 1}
    substeps : int

    Returns
    -------
    Tensor, shape ()
    """
    steps = len(target) - 1
    prediction = rollout(net, integrator, target[0], dt=dt, steps=steps, substeps=substeps)
    return nn.functional.mse_loss(prediction[loss_from:], target[loss_from:])


def derivative_loss(net: Any, values: TrajectoryValues, derivatives: TrajectoryValues) -> Tensor:
    r"""Mean squared residual of the time derivatives, as Greydanus et al. (2019) train an HNN.

    Parameters
    ----------
    net : module
    values, derivatives : Tensor, shape (time, batch, 2*dim)

    Returns
    -------
    Tensor, shape ()
    """
    return nn.functional.mse_loss(as_field(net)(values), derivatives)
