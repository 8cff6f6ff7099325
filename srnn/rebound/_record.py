"""Where and when a rollout rebounded."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.motion.rollout import integrate
from srnn.rebound._step import Rebound

__all__ = ["ReboundRecord", "record"]


class ReboundRecord(NamedTuple):
    r"""The rebounds of a batch of rollouts, up to ``rebounds`` of them in each step.

    Examples
    --------
    >>> import torch
    >>> n, time = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[0.02]]])
    >>> ReboundRecord(n, time).hit.tolist()
    [[[True]]]
    """

    n: Tensor
    r"""The vectors n, shape (steps, batch, rebounds, dim), zero where there is no rebound."""
    time: Tensor
    r"""The instants :math:`t + \alpha\,\Delta t`, shape (steps, batch, rebounds); the end of the
    step where there is no rebound."""

    @property
    def hit(self) -> Tensor:
        r"""Whether a ball rebounded, shape (steps, batch, rebounds): :math:`|n|^2 > 1/2`.

        A shorter n lets the ball through the wall.

        Examples
        --------
        >>> import torch
        >>> n = torch.tensor([[[[0.0, 1.0], [0.1, 0.0]]]])
        >>> ReboundRecord(n, torch.tensor([[[0.02, 0.1]]])).hit.tolist()
        [[[True, False]]]
        """
        return self.n.square().sum(dim=-1) > 0.5


@torch.no_grad()
def record(
    field: Any, method: Rebound, z0: State, *, dt: float, steps: int, substeps: int = 1
) -> ReboundRecord:
    """Roll out and keep the rebounds instead of the states.

    Parameters
    ----------
    field : field, Hamiltonian or system
    method : Rebound
    z0 : Tensor, shape (batch, 2*dim)
    dt : float
    steps : int
    substeps : int
        Steps of the method of length dt / substeps in each step; the axis of the rebounds then
        holds those of all of them, one after the other.

    Returns
    -------
    ReboundRecord

    Examples
    --------
    >>> import torch, srnn
    >>> ball = srnn.systems.Billiard()
    >>> step = srnn.rebound.with_rebound("leapfrog", srnn.rebound.KnownWalls(ball.room))
    >>> z0 = torch.tensor([[60.0, 14.0, 0.0, -30.0]])
    >>> seen = record(ball, step, z0, dt=0.1, steps=3)
    >>> seen.hit.flatten().tolist(), round(seen.time[0].item(), 3)  # 2 pixels at 30 a second
    ([True, False, False], 0.066)
    """
    if not isinstance(method, Rebound):
        raise TypeError(
            "Expected `method` to be a Rebound, as with_rebound makes; "
            f"got {type(method).__name__}."
        )
    dt, substeps = _checks.time_step(dt), _checks.steps(substeps, "substeps")
    part, count = dt / substeps, _checks.steps(steps) * substeps
    states = list(integrate(field, method, z0, dt=part, steps=count))[1:]
    normals, times = [], []
    for number, (_, state) in enumerate(states):
        missing = method.rebounds - len(state.n)
        none = missing * (torch.zeros_like(state.n[0]),)
        late = missing * (torch.ones_like(state.alpha[0]),)
        normals.append(torch.stack((*state.n, *none), dim=-2))
        times.append((number + torch.cat((*state.alpha, *late), dim=-1)) * part)
    of_step = [slice(i, i + substeps) for i in range(0, count, substeps)]
    return ReboundRecord(
        torch.stack([torch.cat(normals[each], dim=-2) for each in of_step]),
        torch.stack([torch.cat(times[each], dim=-1) for each in of_step]),
    )
