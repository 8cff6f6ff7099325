r"""The gradient of the adjoint ODE, and why it is not that of the rollout.

Let :math:`z_0, \dots, z_N` be the returned states at the times :math:`t_n`, L a function of them,
and :math:`\dot z = f_\theta(z)` the field.  Chen, Rubanova, Bettencourt and Duvenaud (2018),
"Neural ordinary differential equations", take the adjoint
:math:`\lambda(t) = \partial L/\partial z(t)` from an ODE of its own, solved backward in time from
:math:`t_N`:

.. math::
    \dot\lambda = -\Big(\frac{\partial f}{\partial z}\Big)^{\!\top}\lambda, \qquad
    \frac{\mathrm d L}{\mathrm d\theta}
        = \int_{t_0}^{t_N} \lambda^\top \frac{\partial f}{\partial\theta}\,\mathrm dt,

where :math:`\lambda` jumps by :math:`\partial L/\partial z_n` at each returned state.  Here z,
:math:`\lambda` and the integral are solved together as one augmented ODE, so that nothing but the
returned states has to be kept.  z is set anew to the stored state at each returned time.

**It is not the gradient of the rollout that was run.**  A rollout is a composition of steps of
length h, and its gradient is the product of their transposed Jacobians: an exact derivative of the
numbers that were returned.  The adjoint ODE belongs to the exact flow of f, of which neither the
rollout nor the numerical solution of the adjoint ODE is more than an approximation.  Three things
differ:

- The Jacobian of a step of a method of order p is that of the exact flow up to
  :math:`O(h^{p+1})`: over a fixed time the two gradients part by :math:`O(h^p)`.
- The adjoint ODE is solved by a method of order r, which adds :math:`O(h^r)`.
- Between two returned states z is integrated backward, and not through the states that the forward
  method passed; this too is within the two orders above.

The difference is thus :math:`O(h^{\min(p, r)})`.  It goes to zero with h, and at a given h the
result is the gradient of no function that was computed.  A symplectic step has a symplectic
Jacobian; the adjoint ODE solved by a Runge-Kutta method has not that property.

The solver is the forward method where that is a Runge-Kutta method (r = p; Euler with Euler), and
the classical Runge-Kutta method of order 4 otherwise: a splitting or a method in an extended space
is not defined on the augmented ODE, which is no Hamiltonian system in (q, p).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from srnn._types import State, StateSeries
from srnn.motion import integrators
from srnn.motion.fields import Field, network_in
from srnn.motion.integrators import Integrator, says

__all__ = ["continuous_rollout"]


def continuous_rollout(
    field: Field, method: Integrator, z0: State, *, dt: float, steps: int, substeps: int = 1
) -> StateSeries:
    r"""Integrate from `z0`; the gradient is that of the adjoint ODE (see the module's text).

    The arguments are taken as :func:`srnn.rollout` has checked them.

    Parameters
    ----------
    field : Field
        What gives dz/dt.  Its weights are the parameters of the module found inside it, and those
        that require grad receive a gradient.
    method : Integrator
        The method of the rollout.  A Runge-Kutta method also solves the adjoint ODE; for any other
        the classical one of order 4 does.
    z0 : Tensor, shape (..., 2*dim)
        States at t = 0.
    dt : float
        Time between returned states; negative to go backward in time.
    steps : int
        Number of steps.
    substeps : int
        Integrator steps of length dt / substeps between two returned states, forward in time and
        for the adjoint ODE.

    Returns
    -------
    Tensor, shape (steps + 1, ..., 2*dim)
        The states of the plain rollout.

    Raises
    ------
    TypeError
        If the field depends on a tensor that requires grad and has no module which would tell what
        that tensor is.
    RuntimeError
        On differentiation: if a second derivative is asked for, or if the module's parameters have
        been replaced or frozen since the rollout.

    Notes
    -----
    Beside the returned states, differentiation keeps the graph of one evaluation of the field at a
    time.

    Examples
    --------
    >>> import torch, srnn
    >>> spring, leapfrog = srnn.systems.MassSpring(), srnn.integrators.get("leapfrog")
    >>> z0 = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    >>> z = continuous_rollout(srnn.fields.as_field(spring), leapfrog, z0, dt=0.1, steps=10)
    >>> z[-1, 0].backward()
    >>> z0.grad  # cos 1 and sin 1, of the exact flow
    tensor([0.5403, 0.8415], dtype=torch.float64)
    """
    roll: Any = _Continuous.apply
    states: Tensor = roll(
        z0, field, method, dt / substeps, steps, substeps, *_parameters(field, z0)
    )
    return states


def _parameters(field: Field, z0: Tensor) -> list[Tensor]:
    """Weights of the field that require grad."""
    module = network_in(field)
    if module is not None:
        return [weight for weight in module.parameters() if weight.requires_grad]
    # A tensor that only a function's closure knows would be left without its gradient in silence.
    # Without a graph (under no_grad) nothing is asked for, and the test says so.
    if torch.is_grad_enabled() and field(z0.detach()).requires_grad:
        raise TypeError(
            "Expected every tensor that requires grad inside `field` to be a parameter of a "
            "torch.nn.Module; got a field without a module, whose dz/dt requires grad."
        )
    return []


class _Continuous(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z0: Tensor,
        field: Field,
        method: Integrator,
        h: float,
        steps: int,
        substeps: int,
        *parameters: Tensor,
    ) -> Tensor:
        # Grad mode is off in here.
        state = method.init(field, z0)
        series = [z0]
        for _ in range(steps):
            for _ in range(substeps):
                state = method.step(field, state, h)
            series.append(method.read(state))
        states = torch.stack(series)
        ctx.field, ctx.h, ctx.substeps, ctx.parameters = field, h, substeps, parameters
        ctx.solver = method if says(method, "solves") else integrators.get("rk4")
        # Saved beside the states: z0 and the weights, for PyTorch's check that nobody has written
        # into them since.
        ctx.save_for_backward(states, z0 if z0.requires_grad else None, *parameters)
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (jumps,) = grad_outputs
        states, *sources = ctx.saved_tensors
        if ctx.parameters:
            now = {id(weight) for weight in _parameters(ctx.field, states)}
            if not all(id(weight) in now for weight in ctx.parameters):
                raise RuntimeError(
                    "Expected `field` to have the weights that it had in the rollout, requiring "
                    "grad; got others. Differentiate before they are replaced or frozen."
                )
        wanted = [
            w for w, need in zip(ctx.parameters, ctx.needs_input_grad[6:], strict=True) if need
        ]
        with torch.no_grad():
            in_z0, in_wanted = _solve(ctx, states, jumps, wanted)
        found: list[Tensor | None] = [in_z0, *in_wanted]
        if torch.is_grad_enabled():  # by create_graph=True: a second derivative may follow
            found = _refusing_second_derivatives([jumps, *sources], found)
        weights = iter(found[1:])
        return (
            found[0] if ctx.needs_input_grad[0] else None,
            *(None,) * 5,
            *(next(weights) if need else None for need in ctx.needs_input_grad[6:]),
        )


def _solve(
    ctx: Any, states: Tensor, jumps: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    """Solve the augmented ODE from the last state to the first: dL/dz_0 and dL/dtheta.

    z, the adjoint and the integral are one after the other in a flat tensor.
    """
    sizes = [states[0].numel(), states[0].numel(), sum(weight.numel() for weight in parameters)]
    used = [False] * len(parameters)

    def rates(y: Tensor) -> Tensor:
        """dy/dt: one evaluation of the field and one vector-Jacobian product."""
        z, adjoint, _ = y.split(sizes)
        with torch.enable_grad():
            z = z.reshape(states.shape[1:]).detach().requires_grad_()
            slope = ctx.field(z)
        inputs = (z, *parameters)
        products: Sequence[Tensor | None] = [None] * len(inputs)
        if slope.requires_grad:  # a constant field does not
            products = torch.autograd.grad(
                slope, inputs, adjoint.reshape(z.shape), allow_unused=True
            )
        used[:] = [a or b is not None for a, b in zip(used, products[1:], strict=True)]
        # A weight's product may have another dtype or device than the states.
        carried = [
            y.new_zeros(x.numel()) if product is None else -product.to(y).reshape(-1)
            for x, product in zip(inputs, products, strict=True)
        ]
        return torch.cat((slope.detach().reshape(-1), *carried))

    adjoint = torch.zeros_like(states[0])
    integral = states.new_zeros(sizes[2])
    for n in range(len(states) - 1, 0, -1):
        y = torch.cat((states[n].reshape(-1), (adjoint + jumps[n]).reshape(-1), integral))
        for _ in range(ctx.substeps):
            y = ctx.solver.step(rates, y, -ctx.h)  # which asks no more of a field than its call
        _, flat, integral = y.split(sizes)
        adjoint = flat.reshape(adjoint.shape)
    pieces = integral.split([weight.numel() for weight in parameters])
    return adjoint + jumps[0], [
        # None where the field does not depend on a weight, as autograd has it.  A copy, since the
        # gradients of two weights are not to share their memory.
        piece.reshape(weight.shape).to(weight, copy=True) if known else None
        for piece, weight, known in zip(pieces, parameters, used, strict=True)
    ]


def _refusing_second_derivatives(
    sources: Sequence[Tensor | None], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Tie the gradients to all that they depend on, by a node that refuses to be differentiated.

    `torch.autograd.function.once_differentiable` ties them to what came in from above only.  Where
    that is constant, as for a loss that is linear in the states, the second derivative would be
    left out in silence.
    """
    given = [gradient for gradient in gradients if gradient is not None]
    tie: Any = _FirstDerivativesOnly.apply
    tied = iter(tie(len(given), *given, *sources))
    return [None if gradient is None else next(tied) for gradient in gradients]


class _FirstDerivativesOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in tensors[:count] if tensor is not None)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> None:
        raise RuntimeError(
            "Expected first derivatives of a rollout with the gradient of the adjoint ODE; got a "
            "second one. Differentiate the plain rollout, which has derivatives of every order."
        )
