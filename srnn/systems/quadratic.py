"""A quadratic separable Hamiltonian: any system of coupled oscillators."""

from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State
from srnn.systems._shared import like

__all__ = ["QuadraticHamiltonian"]


class QuadraticHamiltonian:
    r"""A separable quadratic Hamiltonian with given matrices.

    .. math:: H(q, p) = \tfrac12\, p^T A\, p + \tfrac12\, q^T B\, q.

    Parameters
    ----------
    kinetic_matrix, potential_matrix : Tensor, shape (dim, dim)
        A and B, symmetric.

    Examples
    --------
    >>> import torch
    >>> from srnn.systems import QuadraticHamiltonian
    >>> H = QuadraticHamiltonian(torch.eye(2), 4 * torch.eye(2))
    >>> H(torch.tensor([1.0, 0.0, 0.0, 2.0]))
    tensor(4.)
    """

    separable = True

    def __init__(self, kinetic_matrix: Tensor, potential_matrix: Tensor) -> None:
        self.kinetic_matrix = _symmetric(kinetic_matrix, "kinetic_matrix")
        self.potential_matrix = _symmetric(potential_matrix, "potential_matrix")
        if self.kinetic_matrix.shape != self.potential_matrix.shape:
            raise ValueError(
                "Expected `kinetic_matrix` and `potential_matrix` to have one shape; got "
                f"{tuple(self.kinetic_matrix.shape)} and {tuple(self.potential_matrix.shape)}."
            )
        self.dim = len(self.kinetic_matrix)

    def __call__(self, z: State) -> Energy:
        """Energy of each state: ``(..., 2*dim)`` to ``(...)``."""
        q, p = _checks.halves(_checks.state(z, "z", self.dim))
        return (p * self.kinetic_gradient(p) + q * self.potential_gradient(q)).sum(dim=-1) / 2

    def kinetic_gradient(self, p: Half) -> Half:
        """Velocities A p."""
        return p @ like(self.kinetic_matrix, p)

    def potential_gradient(self, q: Half) -> Half:
        """Gradient B q."""
        return q @ like(self.potential_matrix, q)

    def kinetic_hessian(self, p: Half) -> Hessians:
        """Return A for every p, shape ``(..., dim, dim)``."""
        return like(self.kinetic_matrix, p).expand(*p.shape, self.dim)

    def potential_hessian(self, q: Half) -> Hessians:
        """Return B for every q, shape ``(..., dim, dim)``."""
        return like(self.potential_matrix, q).expand(*q.shape, self.dim)


def _symmetric(value: Any, name: str) -> Tensor:
    """Check a symmetric matrix; keep it symmetric to the last bit."""
    value = _checks.all_finite(_checks.float_tensor(value, name), name).detach()
    if value.ndim != 2 or value.shape[0] != value.shape[1]:
        raise ValueError(f"Expected `{name}` to have shape (dim, dim); got {tuple(value.shape)}.")
    if not torch.allclose(value, value.mT):
        raise ValueError(f"Expected `{name}` to be symmetric; it is not.")
    symmetric: Tensor = (value + value.mT) / 2
    return symmetric
