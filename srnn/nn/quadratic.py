"""Quadratic Hamiltonians: a baseline, and the part of an H-NET that a Taylor expansion gives."""

from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State
from srnn.nn.network import Network

__all__ = ["QuadraticForm", "QuadraticH"]


class QuadraticForm(nn.Module):
    r"""The function :math:`x \mapsto x^\top A x / 2 + b^\top x` with a symmetric A.

    Parameters
    ----------
    dim : int
    curvature : float
        A starts at `curvature` times the identity, b at zero.

    Examples
    --------
    >>> import torch
    >>> form = QuadraticForm(2, curvature=3.0)
    >>> x = torch.tensor([1.0, 2.0])
    >>> form(x).item(), form.gradient(x).tolist()
    (7.5, [3.0, 6.0])
    """

    def __init__(
        self,
        dim: int,
        curvature: float = 0.0,
        *,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        dim = _checks.positive_int(dim, "dim")
        dtype, device = _checks.weight_dtype(dtype), _checks.device(device)
        eye = torch.eye(dim, dtype=dtype, device=device)
        self.matrix = nn.Parameter(curvature * eye)
        self.vector = nn.Parameter(torch.zeros(dim, dtype=dtype, device=device))

    @property
    def symmetric(self) -> Tensor:
        """A, shape (dim, dim).  The parameter holds any matrix; only its symmetric part counts."""
        return (self.matrix + self.matrix.T) / 2

    def forward(self, x: Half) -> Energy:
        """Value, shape ``(...)``."""
        x = _checks.input_of(self.vector, x, "x")
        return (x * (x @ self.symmetric / 2 + self.vector)).sum(dim=-1)

    def gradient(self, x: Half) -> Half:
        """Return A x + b, shape ``(..., dim)``.

        Examples
        --------
        >>> import torch
        >>> QuadraticForm(2, curvature=3.0).gradient(torch.ones(2)).tolist()
        [3.0, 3.0]
        """
        x = _checks.input_of(self.vector, x, "x")
        return x @ self.symmetric + self.vector

    def hessian(self, x: Half) -> Hessians:
        """Return A for every x, shape ``(..., dim, dim)``.

        Examples
        --------
        >>> import torch
        >>> QuadraticForm(2, curvature=3.0).hessian(torch.ones(5, 2)).shape
        torch.Size([5, 2, 2])
        """
        x = _checks.input_of(self.vector, x, "x")
        return self.symmetric.expand(*x.shape, x.shape[-1])


class QuadraticH(Network, nn.Module):
    r"""A separable quadratic Hamiltonian.

    .. math:: H(q, p) = p^\top A p/2 + a^\top p + q^\top B q/2 + b^\top q

    The baseline that a linear system calls for: A is the kinetic matrix and B the potential one,
    as in the systems' formulas.

    Parameters
    ----------
    dim : int
        Number of positions d.

    Examples
    --------
    >>> import torch
    >>> H = QuadraticH(dim=2)
    >>> H(torch.ones(5, 4)).shape, sum(w.numel() for w in H.parameters())
    (torch.Size([5]), 12)
    """

    separable = True
    scaled = True
    quadratic_only = True
    kinetic: QuadraticForm
    potential: QuadraticForm

    def __init__(self, dim: int, *, dtype: torch.dtype | None = None, device: Any = None) -> None:
        super().__init__()
        self.dim = _checks.positive_int(dim, "dim")
        self.kinetic = QuadraticForm(dim, curvature=1.0, dtype=dtype, device=device)
        self.potential = QuadraticForm(dim, dtype=dtype, device=device)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that build this network again."""
        return {"dim": self.dim}

    def quadratic_parts(self) -> tuple[QuadraticForm, QuadraticForm]:
        """Give all there is."""
        return self.kinetic, self.potential

    def forward(self, z: State) -> Energy:
        """H of each state ``(..., 2*dim)``, shape ``(...)``."""
        z = _checks.state(z, "z", self.dim)
        _checks.same_as(z, "z", self.kinetic.vector, "weights")
        q, p = _checks.halves(z)
        energy: Tensor = self.kinetic(p) + self.potential(q)
        return energy

    def kinetic_gradient(self, p: Half) -> Half:
        """K'(p), shape ``(..., dim)``.

        Examples
        --------
        >>> import torch
        >>> QuadraticH(2).kinetic_gradient(torch.ones(2)).tolist()  # a free particle
        [1.0, 1.0]
        """
        p = _checks.half(p, "p", self.dim)
        return self.kinetic.gradient(p)

    def potential_gradient(self, q: Half) -> Half:
        """V'(q), shape ``(..., dim)``.

        Examples
        --------
        >>> import torch
        >>> QuadraticH(2).potential_gradient(torch.ones(2)).tolist()
        [0.0, 0.0]
        """
        q = _checks.half(q, "q", self.dim)
        return self.potential.gradient(q)

    def kinetic_hessian(self, p: Half) -> Hessians:
        """K'' for every p, shape ``(..., dim, dim)``.

        Examples
        --------
        >>> import torch
        >>> QuadraticH(2).kinetic_hessian(torch.ones(2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        return self.kinetic.hessian(_checks.half(p, "p", self.dim))

    def potential_hessian(self, q: Half) -> Hessians:
        """V'' for every q, shape ``(..., dim, dim)``.

        Examples
        --------
        >>> import torch
        >>> QuadraticH(2).potential_hessian(torch.ones(2)).tolist()
        [[0.0, 0.0], [0.0, 0.0]]
        """
        return self.potential.hessian(_checks.half(q, "q", self.dim))
