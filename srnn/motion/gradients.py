r"""How far back a gradient reaches: its norm at every step of a rollout.

Recurrent training multiplies a gradient by the transposed Jacobian of one step for every step that
it goes back.  In :math:`\lambda_t = F_t^\top \lambda_{t+1}` the norm may shrink or grow
exponentially; section 3.4 of the paper conjectures that leapfrog does better than a recurrent
network.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.motion import integrators
from srnn.motion.fields import as_field, differentiates
from srnn.motion.integrators import Step
from srnn.motion.rollout import rollout

__all__ = ["norms_through_time"]


@differentiates
def norms_through_time(
    field: Any,
    integrator: Any,
    z0: State,
    *,
    dt: float,
    steps: int,
    substeps: int = 1,
    cotangent: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Norm of the gradient of :math:`v \cdot z_T` with respect to the state at every step.

    .. math:: \lambda_T = v, \qquad
              \lambda_t = \Big(\frac{\partial z_{t+1}}{\partial z_t}\Big)^{\!\top} \lambda_{t+1},
              \qquad t = T-1, \dots, 0,

    which is back-propagation through time, and :math:`\|\lambda_t\|_2` is returned.  The
    derivative is exact.  Only one step's graph exists at a time.

    The state is all that a step hands on to the next, every tensor of it an independent variable:

    - for an integrator, :math:`z_t = (q_t, p_t)`.  A force that a splitting method keeps for the
      next step is a function of :math:`z_t` and counts as such;
    - for :class:`srnn.nn.RNN` and :class:`srnn.nn.LSTM`, the last prediction, the hidden state and
      the LSTM's cell;
    - for Tao's method, both copies of phase space, in which its step is symplectic.

    Parameters
    ----------
    field : HNet, ONet, Hamiltonian, system, field or recurrent network
        As for :func:`srnn.rollout`.
    integrator : str, Integrator or None
        None for a recurrent network.
    z0 : Tensor, shape (..., 2*dim)
        States at t = 0, (q, p) on the last axis.
    dt : float
        Time between two states, in the field's unit of time.
    steps : int
        Number of steps T.
    substeps : int
        Integrator steps of length dt / substeps between two states.
    cotangent : Tensor, shape (..., 2*dim), optional
        v, in the shape of `z0` or one that broadcasts to it.  The gradient of a loss by the last
        state gives the norms of that loss's gradient.  By default a random vector of norm 1 for
        every trajectory.
    generator : torch.Generator, optional
        Draws it.

    Returns
    -------
    Tensor, shape (steps + 1, ...)
        Entry t is the norm at step t; the last is that of `cotangent`.  Where a rollout leaves the
        finite numbers so do the norms.

    Raises
    ------
    ValueError, TypeError
        What :func:`srnn.rollout` refuses, a `cotangent` that does not fit `z0`, and a method whose
        state is not known to be one of those above: "leapfrog-reused-kick" on a field whose force
        depends on p hands on a force that the state does not determine.

    Examples
    --------
    For an oscillator with frequency 1 a step of Euler's method grows by
    :math:`\sqrt{1 + \Delta t^2}` in every direction, backwards as forwards.

    >>> import torch, srnn
    >>> z0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    >>> norms = norms_through_time(srnn.systems.MassSpring(), "euler", z0, dt=0.5, steps=2)
    >>> norms[:, 0]
    tensor([1.2500, 1.1180, 1.0000], dtype=torch.float64)
    """
    with torch.no_grad():  # what a rollout refuses is refused in its words
        rollout(field, integrator, z0, dt=dt, steps=1, substeps=substeps)
    steps = _checks.steps(steps)
    v = _cotangent(cotangent, z0, generator)
    method: Any = field
    if integrator is not None:
        field, method = as_field(field), integrators.get(integrator)

    def advance(state: Any) -> Any:
        for _ in range(substeps):
            state = method.step(field, state, dt / substeps)
        return state

    with torch.no_grad():
        states = [method.init(field, z0.detach())]
        for _ in range(steps):
            states.append(advance(states[-1]))

    norms: list[Tensor] = []
    gradients: tuple[Tensor, ...] = (v,)
    with torch.enable_grad():
        for state in reversed(states):
            leaves = tuple(x.detach().requires_grad_() for x in _variables(field, method, state))
            start = _state_of(field, method, state, leaves)
            # The last state is read; every other one is handed on.
            after = _variables(field, method, advance(start)) if norms else (method.read(start),)
            # By the leaves only: the gradients of the network's weights are not touched.
            gradients = torch.autograd.grad(
                after, leaves, gradients, allow_unused=True, materialize_grads=True
            )
            norms.append(torch.cat(gradients, dim=-1).norm(dim=-1))
    return torch.stack(norms[::-1])


def _variables(field: Any, method: Any, state: Any) -> tuple[Tensor, ...]:
    """Tensors of a method's state that determine all that follows, each independently."""
    if isinstance(state, Tensor):
        return (state,)
    if method is field:  # a recurrent network's memory
        return tuple(state)
    if isinstance(method, Step) and (known := method.variables(field, state)) is not None:
        return known
    raise ValueError(
        f"Expected a method whose state is (q, p); {getattr(method, 'name', method)!r} hands on "
        f"more than that to the next step of {type(getattr(field, 'function', field)).__name__}, "
        "and a gradient by (q, p) alone would not say what follows. Use 'leapfrog'."
    )


def _state_of(field: Any, method: Any, like: Any, leaves: tuple[Tensor, ...]) -> Any:
    """Make a method's state of `leaves`, the inverse of `_variables`."""
    if isinstance(like, Tensor):
        return leaves[0]
    return method.resumed(field, like, leaves) if method is not field else type(like)(*leaves)


def _cotangent(value: Tensor | None, z0: Tensor, generator: torch.Generator | None) -> Tensor:
    if value is None:
        # Drawn in double precision on the CPU, the same for every dtype and device.
        v = torch.randn(z0.shape, generator=_checks.as_generator(generator), dtype=torch.float64)
        unit: Tensor = v / v.norm(dim=-1, keepdim=True)
        return unit.to(z0)
    value = _checks.float_tensor(value, "cotangent").detach()
    _checks.same_as(value, "cotangent", z0, "z0")
    if value.shape[-1:] == z0.shape[-1:]:
        with suppress(RuntimeError):
            return value.expand(z0.shape)
    raise ValueError(
        f"Expected `cotangent` to broadcast to the shape of `z0` {tuple(z0.shape)}; "
        f"got {tuple(value.shape)}."
    )
