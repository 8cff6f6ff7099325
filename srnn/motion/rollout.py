"""The one loop through time."""

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State, StateSeries
from srnn.motion import integrators
from srnn.motion._probe import check_motion
from srnn.motion.adjoint import Gradient
from srnn.motion.adjoint._continuous import continuous_rollout
from srnn.motion.adjoint._rollout import as_gradient, fused, with_kernels
from srnn.motion.fields import as_field, foreign, weight_of
from srnn.nn.network import asked

__all__ = ["integrate", "rollout"]


def rollout(
    field: Any,
    integrator: Any,
    z0: State,
    *,
    dt: float,
    steps: int,
    substeps: int = 1,
    backward: bool = False,
    gradient: str | Gradient | None = None,
) -> StateSeries:
    """Integrate from `z0` and return every state.

    Differentiable in `z0` and in the field's parameters: this is what recurrent training
    back-propagates through (section 3.3 of the paper).

    Parameters
    ----------
    field : HNet, ONet, Hamiltonian, system or field
        What gives dz/dt; see :func:`srnn.fields.as_field`.  A recurrent network
        (:class:`srnn.nn.RNN`, :class:`srnn.nn.LSTM`) is its own step: pass ``integrator=None``.
    integrator : str or Integrator
        A name from :func:`srnn.integrators.available`, or an integrator.
    z0 : Tensor, shape (..., 2*dim)
        States at t = 0, (q, p) on the last axis.
    dt : float
        Time between returned states, in the field's unit of time.
    steps : int
        Number of steps.
    substeps : int
        Integrator steps of length dt / substeps between two returned states.
    backward : bool
        Integrate backwards in time, with step -dt.
    gradient : str or srnn.adjoint.Gradient, optional
        How the rollout is differentiated, one of ``srnn.adjoint.GRADIENTS``; see
        :mod:`srnn.adjoint`.  By default the fastest way there is for this field and method, which
        gives the same numbers up to rounding; "autograd" forces PyTorch's own.

    Returns
    -------
    Tensor, shape (steps + 1, ..., 2*dim)
        The states at 0, dt, ..., steps * dt; the first is `z0`.

    Raises
    ------
    ValueError, TypeError
        If `dt` is not positive, `steps` is less than one, the last axis of `z0` is not 2*dim, the
        integrator is unknown, an explicit splitting is asked to integrate a non-separable H, or
        `z0` has not the dtype and the device of the field's weights, or a `gradient` is named that
        this field or method has not.  A whole model is refused: pass its field, ``model.field``.

    Examples
    --------
    >>> import torch, srnn
    >>> z0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    >>> z = srnn.rollout(srnn.systems.MassSpring(), "leapfrog", z0, dt=0.1, steps=63)
    >>> z.shape, bool((z[-1] - z0).abs().max() < 0.03)  # after about one period, 2 pi
    (torch.Size([64, 1, 2]), True)
    """
    how = as_gradient(gradient)
    field, method, span = _checked(field, integrator, z0, dt, steps, substeps, backward)
    if how.name == "continuous":
        _refuse_jumps(method, method is field)
        return continuous_rollout(field, method, z0, **span)
    if how.name != "autograd":
        states = fused(field, method, z0, gradient=how, **span)
        if states is not None:
            return states
        field = with_kernels(field, z0)
    return torch.stack([z for z, _ in _states(field, method, z0, **span)])


def integrate(
    field: Any,
    integrator: Any,
    z0: State,
    *,
    dt: float,
    steps: int,
    substeps: int = 1,
    backward: bool = False,
    gradient: str | Gradient | None = None,
) -> Iterator[tuple[Tensor, Any]]:
    """Integrate from `z0`, state after state, with what the method keeps beside (q, p).

    A splitting keeps a force, a method that rebounds keeps where it did
    (:class:`srnn.rebound.Rebound`).

    Parameters
    ----------
    field, integrator, z0, dt, steps, substeps, backward
        As :func:`rollout`.  The weights must not change between two states.
    gradient : {None, "autograd"}
        None takes the library's closed forms where it has any.

    Yields
    ------
    z : Tensor, shape (..., 2*dim)
        ``steps + 1`` of them, the first `z0`.
    state : object
        The same as the method keeps it.

    Examples
    --------
    >>> import torch, srnn
    >>> z0 = torch.tensor([[1.0, 0.0]])
    >>> for z, state in integrate(srnn.systems.MassSpring(), "leapfrog", z0, dt=0.2, steps=1):
    ...     print(z, state.force)
    tensor([[1., 0.]]) None
    tensor([[ 0.9800, -0.1980]]) tensor([[-0.9800]])
    """
    field, method, span = _checked(field, integrator, z0, dt, steps, substeps, backward)
    _checks.choice(gradient, "gradient", (None, "autograd"))
    if gradient is None:
        field = with_kernels(field, z0)
    yield from _states(field, method, z0, **span)


def _states(
    field: Any, method: Any, z0: Tensor, *, dt: float, steps: int, substeps: int
) -> Iterator[tuple[Tensor, Any]]:
    state = method.init(field, z0)
    yield z0, state
    for _ in range(steps):
        for _ in range(substeps):
            state = method.step(field, state, dt / substeps)
        yield method.read(state), state


def _checked(
    field: Any, integrator: Any, z0: Any, dt: Any, steps: Any, substeps: Any, backward: bool
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the field, the method, and the times, dt with its sign."""
    dt = _checks.time_step(dt)
    steps = _checks.steps(steps)
    substeps = _checks.steps(substeps, "substeps")
    _checks.steps(steps * substeps, "steps * substeps")
    if asked(field).own_step:
        if integrator is not None:
            raise ValueError(
                f"{type(field).__name__} is its own step from one time to the next; "
                f"pass integrator=None, not {integrator!r}."
            )
        if backward or substeps != 1:
            raise ValueError(
                f"{type(field).__name__} has learnt one step forward in time: "
                "`backward` and `substeps` are for integrators."
            )
        method = field
    else:
        field, method = as_field(field), integrators.get(integrator)
    z0 = _checks.state(z0, "z0", field.dim)
    weight = weight_of(field)
    if weight is not None:
        _checks.same_as(z0, "z0", weight, "field")
    if method is not field and foreign(field):
        check_motion(field, z0)
    return field, method, {"dt": -dt if backward else dt, "steps": steps, "substeps": substeps}


def _refuse_jumps(method: Any, own_step: bool) -> None:
    if own_step or hasattr(method, "walls"):
        raise ValueError(
            "gradient='continuous' is for the integration of a vector field; "
            f"{type(method).__name__} jumps from one state to the next. Leave `gradient` out."
        )


# What is found at `srnn.rollout`, the function, has all that the module has.
rollout.__dict__.update(rollout=rollout, integrate=integrate)

if TYPE_CHECKING:

    class Rollout(ModuleType):
        """What stands at ``srnn.rollout``: the function, which is called, and what is beside it."""

        __call__ = staticmethod(rollout)
        rollout = staticmethod(rollout)
        integrate = staticmethod(integrate)
