r"""Flow maps and their Jacobians.

The flow map of a rollout takes z_0 to z_t; its Jacobian :math:`F_t = \partial z_t/\partial z_0`
solves the variational equations.  Differentiating a step of a kick/drift or Runge-Kutta method
gives the same method's step for the field together with its tangents, so the library's one loop
through time computes both.
"""

from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Defect, Half, JacobianSeries, SingularPairs, State, StateSeries
from srnn.motion import integrators
from srnn.motion._probe import check_motion
from srnn.motion.fields import Field, as_field, differentiates, foreign, weight_of
from srnn.motion.integrators import says
from srnn.motion.rollout import rollout
from srnn.nn.network import asked

__all__ = [
    "TangentField",
    "flow_map",
    "singular_pairs",
    "symplectic_defect",
]

# Numbers kept at a time for one piece of the batch, so that memory does not grow with the batch.
_PIECE = 1 << 22


class TangentField:
    r"""A field together with its linearisation, the variational equations.

    .. math:: \dot z = f(z), \qquad \dot\delta_k = f'(z)\,\delta_k.

    A state holds q and its tangents, then p and its tangents: each half has length
    ``dim * (1 + tangents)``.  The derivative f' is the Hamiltonian's own where it gives one
    (``kinetic_hessian``, ``potential_hessian``), else found by differentiating f.

    Parameters
    ----------
    field : field, Hamiltonian or network
    tangents : int
        Number of tangent vectors carried along.

    Examples
    --------
    >>> import torch, srnn
    >>> tangent = TangentField(srnn.systems.MassSpring(), tangents=1)
    >>> tangent(torch.tensor([[2.0, 1.0, 3.0, 0.0]]))  # z = (2, 3), its tangent (1, 0)
    tensor([[ 3.,  0., -2., -1.]])
    """

    def __init__(self, field: Any, tangents: int) -> None:
        self.field: Field = as_field(field)
        self.tangents = _checks.positive_int(tangents, "tangents")
        self.dim = self.field.dim * (1 + self.tangents)
        self.separable = self.field.separable
        self.hamiltonian = self.field.hamiltonian
        self.closed_form = self.separable and all(
            hasattr(self.hamiltonian, name) for name in ("kinetic_hessian", "potential_hessian")
        )

    def __call__(self, z: State) -> State:
        """Rates of z and of its tangents."""
        q, p = _checks.halves(z)
        if self.separable:
            return torch.cat((self.velocity(q, p), self.force(q, p)), dim=-1)
        return self._pushed(self.field, q, p)

    def velocity(self, q: Half, p: Half) -> Half:
        """dq/dt and its tangents."""
        return self._rate("velocity", q, p)

    def force(self, q: Half, p: Half) -> Half:
        """dp/dt and its tangents."""
        return self._rate("force", q, p)

    def _rate(self, name: str, q: Tensor, p: Tensor) -> Tensor:
        rate = getattr(self.field, name)
        if not self.separable:
            return self._pushed(lambda z: rate(*_checks.halves(z)), q, p)
        if not self.closed_form:
            if name == "velocity":
                return self._pushed(lambda x: rate(self._split(q)[0], x), p)
            return self._pushed(lambda x: rate(x, self._split(p)[0]), q)
        if name == "velocity":
            x, dx = self._split(p)
            return self._join(rate(x, x), dx @ self.hamiltonian.kinetic_hessian(x))
        x, dx = self._split(q)
        return self._join(rate(x, x), -(dx @ self.hamiltonian.potential_hessian(x)))

    def _split(self, half: Tensor) -> tuple[Tensor, Tensor]:
        """Return the point (..., d) and its tangents (..., tangents, d)."""
        both = half.unflatten(-1, (1 + self.tangents, self.field.dim))
        return both[..., 0, :], both[..., 1:, :]

    @staticmethod
    def _join(x: Tensor, dx: Tensor) -> Tensor:
        return torch.cat((x[..., None, :], dx), dim=-2).flatten(-2)

    def _pushed(self, function: Any, *halves: Tensor) -> Tensor:
        """Value and tangents of a function of one half, or of both as (q, p)."""
        parts = [self._split(half) for half in halves]
        x = torch.cat([part[0] for part in parts], dim=-1)
        dx = torch.cat([part[1] for part in parts], dim=-1)

        y = function(x)
        # Rates of different states do not mix: the Jacobian of their sum holds each one's own.
        jacobian = torch.func.jacrev(lambda x: function(x).reshape(-1, y.shape[-1]).sum(dim=0))(x)
        dy = dx @ jacobian.movedim(0, -1)
        if y.shape[-1] == self.field.dim:
            return self._join(y, dy)
        (y_q, y_p), (dy_q, dy_p) = _checks.halves(y), _checks.halves(dy)
        return torch.cat((self._join(y_q, dy_q), self._join(y_p, dy_p)), dim=-1)


@differentiates
def flow_map(
    field: Any,
    integrator: Any,
    z0: State,
    *,
    dt: float,
    steps: int,
    substeps: int = 1,
) -> tuple[StateSeries, JacobianSeries]:
    r"""Integrate from `z0` and differentiate every state in it.

    Parameters
    ----------
    field, integrator, dt, steps, substeps
        As :func:`srnn.rollout` takes them; recurrent networks too.
    z0 : Tensor, shape (..., 2*dim)

    Returns
    -------
    states : Tensor, shape (steps + 1, ..., 2*dim)
        What :func:`srnn.rollout` returns.
    jacobians : Tensor, shape (steps + 1, ..., 2*dim, 2*dim)
        :math:`F_t = \partial z_t / \partial z_0`, the identity at t = 0.

    Raises
    ------
    ValueError, TypeError
        As :func:`srnn.rollout`.

    Notes
    -----
    The Jacobians are exact derivatives of the integrator's map, not of the true flow.  They come
    from the variational equations under the same integrator where H gives its second derivatives
    (``kinetic_hessian``, ``potential_hessian``) and the integrator is one of the library's explicit
    ones, else from differentiating the rollout.  Nothing is recorded for autograd.

    Examples
    --------
    >>> import torch, srnn
    >>> z0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    >>> states, F = flow_map(srnn.systems.Pendulum(), "leapfrog", z0, dt=0.1, steps=50)
    >>> F.shape, bool((torch.linalg.det(F) - 1).abs().max() < 1e-12)
    (torch.Size([51, 1, 2, 2]), True)
    """
    recurrent = asked(field).own_step
    how: dict[str, Any] = {"dt": dt, "steps": steps, "substeps": substeps}
    if not recurrent:
        field, integrator = as_field(field), integrators.get(integrator)
    dim = int(field.dim)
    z0 = _checks.state(z0, "z0", dim)
    flat = z0.detach().reshape(-1, 2 * dim)
    count = _checks.steps(steps) + 1
    if says(integrator, "lifts") and TangentField(field, 1).closed_form:
        work, size = _lifted, max(1, _PIECE // (count * 4 * dim * dim))
    else:
        substeps = _checks.steps(substeps, "substeps")
        work, size = _transposed_twice, rows_at_once(field, count * substeps)
    pieces = [work(field, integrator, piece, how) for piece in flat.split(size)]
    states = torch.cat([piece[0] for piece in pieces], dim=1)
    jacobians = torch.cat([piece[1] for piece in pieces], dim=1)
    shape = z0.shape[:-1]
    return (
        states.reshape(count, *shape, 2 * dim),
        jacobians.reshape(count, *shape, 2 * dim, 2 * dim),
    )


def rows_at_once(field: Any, steps: int) -> int:
    """How many trajectories to differentiate 2*dim times at once, so that memory stays bounded."""
    two_d = 2 * int(field.dim)
    weight = weight_of(field)
    width = two_d if weight is None else max(weight.shape, default=1)  # of what a step keeps, about
    return max(1, _PIECE // (two_d * steps * width))


def _lifted(field: Any, integrator: Any, z0: Tensor, how: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """By the variational equations, under the integrator itself."""
    if foreign(field):
        check_motion(field, z0)
    two_d = z0.shape[-1]
    dim = two_d // 2
    tangents = torch.eye(two_d, dtype=z0.dtype, device=z0.device).expand(len(z0), two_d, two_d)
    both = torch.cat((z0[:, None, :], tangents), dim=1)  # (batch, 1 + 2d, 2d)
    start = torch.cat((both[..., :dim].flatten(1), both[..., dim:].flatten(1)), dim=-1)
    with torch.no_grad():
        # The fused rollouts would take the field for that of the Hamiltonian inside it.
        tangent = TangentField(field, two_d)
        lifted = rollout(tangent, integrator, start, gradient="autograd", **how)
    q, p = (half.unflatten(-1, (1 + two_d, dim)) for half in _checks.halves(lifted))
    moved = torch.cat((q, p), dim=-1)  # (time, batch, 1 + 2d, 2d)
    return moved[:, :, 0], moved[:, :, 1:].mT


def _transposed_twice(
    field: Any, integrator: Any, z0: Tensor, how: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """By back-propagation, differentiated by what it carries back.

    Back-propagation of u is the linear map u -> sum_t F_t^T u_t.  Its own derivative along a
    direction is that direction pushed forward to every t: all of F in one sweep, whereas
    back-propagation alone would take one for each component of each state.
    """
    with torch.enable_grad():
        start = z0.detach().requires_grad_()
        states = rollout(field, integrator, start, **how)
        u = torch.zeros_like(states, requires_grad=True)
        (carried,) = torch.autograd.grad(states, start, u, create_graph=True)
        columns = along_basis(carried, u)
        assert columns is not None
    return states.detach(), columns.movedim(0, -1)


def along_basis(value: Tensor, by: Tensor) -> Tensor | None:
    """Gradient in `by` of every component of `value`, shape (batch, 2*dim), one after the other.

    None if `value` does not depend on it.
    """
    basis = torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)
    directions = basis[:, None].expand(-1, *value.shape)
    return torch.autograd.grad(value, by, directions, is_grads_batched=True, allow_unused=True)[0]


def symplectic_defect(jacobians: Tensor) -> Defect:
    r"""Largest entry of :math:`F^\top J F - J`, zero for a symplectic map.

    Parameters
    ----------
    jacobians : Tensor, shape (..., 2*dim, 2*dim)

    Returns
    -------
    Tensor, shape (...)

    Raises
    ------
    ValueError, TypeError
        If `jacobians` is not a tensor of this shape.

    Examples
    --------
    >>> import torch
    >>> shear = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    >>> symplectic_defect(torch.stack((shear, 2 * shear))).tolist()
    [0.0, 3.0]
    """
    F = _square(jacobians)
    dim = F.shape[-1] // 2
    upper = torch.eye(2 * dim, dtype=F.dtype, device=F.device).roll(dim, 0).triu()
    form = upper - upper.mT
    return (F.mT @ form @ F - form).abs().amax(dim=(-2, -1))


def singular_pairs(jacobians: Tensor) -> SingularPairs:
    r"""Singular values of F in pairs: the largest with the smallest, and so on inwards.

    Those of a symplectic matrix come as :math:`(s, 1/s)`: :math:`F^{-1} = J^{-1} F^\top J` has the
    singular values of F, and they are also the inverses of F's.

    Parameters
    ----------
    jacobians : Tensor, shape (..., 2*dim, 2*dim)

    Returns
    -------
    Tensor, shape (..., dim, 2)
        Pairs, the widest first; the product of each is 1 for a symplectic map.

    Raises
    ------
    ValueError, TypeError
        If `jacobians` is not a tensor of this shape.

    Examples
    --------
    >>> import torch
    >>> singular_pairs(torch.diag(torch.tensor([4.0, 2.0, 0.25, 0.5]))).tolist()
    [[4.0, 0.25], [2.0, 0.5]]
    """
    values = torch.linalg.svdvals(_square(jacobians))
    dim = values.shape[-1] // 2
    return torch.stack((values[..., :dim], values[..., dim:].flip(-1)), dim=-1)


def _square(jacobians: Tensor) -> Tensor:
    F = _checks.float_tensor(jacobians, "jacobians")
    if F.ndim < 2 or F.shape[-1] != F.shape[-2] or F.shape[-1] % 2:
        raise ValueError(
            f"Expected `jacobians` to have shape (..., 2*dim, 2*dim); got {tuple(F.shape)}."
        )
    return F
