"""What training minimises: residuals of rollouts, or of time derivatives."""

from typing import Any

import torch
from torch import Tensor

from srnn._types import State, TrajectoryValues
from srnn.data.residual import LOSSES, mean_loss
from srnn.data.trajectories import Trajectories
from srnn.motion.adjoint import Gradient
from srnn.motion.fields import as_field
from srnn.motion.integrators import Integrator
from srnn.motion.rollout import integrate, rollout
from srnn.training.recipes import Recipe

__all__ = ["LOSSES", "derivative_loss", "trajectory_loss", "window_loss"]


def trajectory_loss(
    net: Any,
    integrator: Integrator | None,
    target: TrajectoryValues,
    dt: float,
    *,
    loss_from: int = 1,
    substeps: int = 1,
    start: State | None = None,
    weights: Tensor | None = None,
    gate_penalty: float = 0.0,
    trim: float = 0.0,
    gradient: str | Gradient | None = None,
    loss: str = "squared",
    seen: Tensor | None = None,
) -> Tensor:
    r"""Mean squared residual of rollouts from the first observed states, or from given ones.

    :math:`\frac{1}{N}\sum_i \|z_i - \hat z_i(\theta)\|^2` over the states from `loss_from` on
    (section 3.3 of the paper), with N the number of residuals.

    Parameters
    ----------
    net : module
        What gives dz/dt, or a recurrent network.
    integrator : Integrator or None
        None for a recurrent network.
    target : Tensor, shape (time, batch, 2*dim)
        The observed states.
    dt : float
        Time between them.
    loss_from : {0, 1}
        First state that counts.
    substeps : int
        Integrator steps between two observed states.
    start : Tensor, shape (batch, 2*dim), optional
        Where the rollouts begin; by default at the first observed states.
    weights : Tensor, shape (2*dim,), optional
        Weight of each coordinate's squared residual.
    gate_penalty : float
        Weight of the mean length of n over all the steps of a method that rebounds: the paper's
        L1 norm of :math:`\gamma` (section 6).
    trim : float
        Share of the trajectories, those with the largest residuals, that is left out.
    gradient : str or srnn.adjoint.Gradient, optional
        How the rollout is differentiated; see :func:`srnn.rollout`.  With a `gate_penalty` None or
        "autograd".
    loss : str
        What takes the place of the square, by a name of ``srnn.losses.LOSSES``.
    seen : Tensor of bool, shape (time, batch, 2*dim), optional
        Which numbers of the target were observed; the others do not count.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch, srnn
    >>> z = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> float(trajectory_loss(srnn.systems.MassSpring(), leapfrog, z, 2.0))  # to (-1, 0): 1 / 2
    0.5
    """
    steps = len(target) - 1
    z0 = target[0] if start is None else start
    span: dict[str, Any] = {"dt": dt, "steps": steps, "substeps": substeps}
    counted = None if seen is None else seen[loss_from:]
    if not gate_penalty:
        prediction = rollout(net, integrator, z0, gradient=gradient, **span)
        return mean_loss(prediction[loss_from:], target[loss_from:], weights, trim, loss, counted)
    states = list(integrate(net, integrator, z0, gradient=gradient, **span))
    prediction = torch.stack([z for z, _ in states])
    mean = mean_loss(prediction[loss_from:], target[loss_from:], weights, trim, loss, counted)
    gates = [n.norm(dim=-1).mean() for _, state in states for n in getattr(state, "n", ())]
    return mean + gate_penalty * torch.stack(gates).mean() if gates else mean


def derivative_loss(
    net: Any, values: TrajectoryValues, derivatives: TrajectoryValues, *, loss: str = "squared"
) -> Tensor:
    r"""Mean squared residual of the time derivatives, as Greydanus et al. (2019) train an HNN.

    Parameters
    ----------
    net : module
        What gives dz/dt.
    values, derivatives : Tensor, shape (time, batch, 2*dim)
        States and their true time derivatives.
    loss : str
        As :func:`trajectory_loss`.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import srnn
    >>> spring = srnn.systems.MassSpring()
    >>> data = spring.simulate(3, steps=2, dt=0.1, derivatives=True)
    >>> float(derivative_loss(spring, data.values, data.derivatives))
    0.0
    """
    return mean_loss(as_field(net)(values), derivatives, loss=loss)


def window_loss(
    net: Any,
    integrator: Integrator | None,
    data: Trajectories,
    recipe: Recipe,
    index: Tensor | slice = slice(None),
    *,
    start: State | None = None,
    weights: Tensor | None = None,
    penalised: bool = False,
) -> Tensor:
    """Loss that a recipe minimises, over the windows that `index` names.

    Parameters
    ----------
    net, integrator, weights
        As :func:`trajectory_loss`.
    data : Trajectories
        Windows, in the network's units.
    recipe : Recipe
        Says whether states or derivatives are fitted, and how.
    index : Tensor or slice
        Which windows; all by default.
    start : Tensor, shape (batch, 2*dim), optional
        Optimised starts of the windows that `index` names.
    penalised : bool
        Add the recipe's ``gate_penalty``.  Training does; what an epoch is judged by is without.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import srnn
    >>> spring = srnn.systems.MassSpring()
    >>> data = spring.simulate(3, steps=2, dt=0.1, derivatives=True)
    >>> float(window_loss(spring, None, data, srnn.recipes.Recipe(derivatives=True)))
    0.0
    """
    values = data.values[:, index]
    seen = None if data.observed is None else data.observed[:, index]
    if recipe.derivatives:
        assert data.derivatives is not None  # check_data has seen to it
        slopes = data.derivatives[:, index]
        if seen is not None:  # where a state is whole
            values, slopes = (x[seen.all(dim=-1)][None] for x in (values, slopes))
        return derivative_loss(net, values, slopes, loss=recipe.loss)
    return trajectory_loss(
        net,
        integrator,
        values,
        data.dt,
        loss_from=recipe.first_counted,
        substeps=recipe.substeps,
        start=start,
        weights=weights,
        gate_penalty=recipe.gate_penalty if penalised else 0.0,
        trim=recipe.trim,
        gradient=recipe.gradient,
        loss=recipe.loss,
        seen=seen,
    )
