"""The paper's H-NET, a separable Hamiltonian made of two networks, and one that is quadratic."""

from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State
from srnn.nn.mlp import MLP
from srnn.nn.network import Network

__all__ = ["HNet", "QuadraticForm", "QuadraticH"]


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
    def weight(self) -> Tensor:
        """A parameter, which tells dtype and device."""
        return self.vector

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


class _ScalarNet(nn.Module):
    """One half of an H-NET: an MLP with one output, plus a quadratic form where asked."""

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...],
        curvature: float | None,
        generator: torch.Generator,
        dtype: torch.dtype | None,
        device: Any,
    ) -> None:
        super().__init__()
        self.form: QuadraticForm | None
        self.mlp = MLP(dim, 1, hidden, generator=generator, dtype=dtype, device=device)
        self.form = (
            None if curvature is None else QuadraticForm(dim, curvature, dtype=dtype, device=device)
        )

    @property
    def weight(self) -> Tensor:
        """A parameter, which tells dtype and device."""
        return self.mlp.weight

    def forward(self, x: Half) -> Energy:
        value: Tensor = self.mlp(x)[..., 0]
        return value if self.form is None else value + self.form(x)

    def gradient(self, x: Half) -> Half:
        value = self.mlp.input_gradient(x)
        return value if self.form is None else value + self.form.gradient(x)

    def hessian(self, x: Half) -> Hessians:
        value = self.mlp.input_hessian(x)
        return value if self.form is None else value + self.form.hessian(x)


class _Separable(Network, nn.Module):
    """K(p) + V(q), of two parts that give their gradients and second derivatives."""

    separable = True
    scaled = True
    dim: int
    kinetic: Any
    potential: Any

    def forward(self, z: State) -> Energy:
        """H of each state ``(..., 2*dim)``, shape ``(...)``."""
        z = _checks.state(z, "z", self.dim)
        _checks.same_as(z, "z", self.kinetic.weight, "weights")
        q, p = _checks.halves(z)
        energy: Tensor = self.kinetic(p) + self.potential(q)
        return energy

    def kinetic_gradient(self, p: Half) -> Half:
        """K'(p), shape ``(..., dim)``; only K is evaluated."""
        p = _checks.half(p, "p", self.dim)
        gradient: Tensor = self.kinetic.gradient(p)
        return gradient

    def potential_gradient(self, q: Half) -> Half:
        """V'(q), shape ``(..., dim)``; only V is evaluated."""
        q = _checks.half(q, "q", self.dim)
        gradient: Tensor = self.potential.gradient(q)
        return gradient

    def kinetic_hessian(self, p: Half) -> Hessians:
        """K''(p), shape ``(..., dim, dim)``."""
        p = _checks.half(p, "p", self.dim)
        hessian: Tensor = self.kinetic.hessian(p)
        return hessian

    def potential_hessian(self, q: Half) -> Hessians:
        """V''(q), shape ``(..., dim, dim)``."""
        q = _checks.half(q, "q", self.dim)
        hessian: Tensor = self.potential.hessian(q)
        return hessian


class HNet(_Separable):
    r"""A Hamiltonian :math:`H_\theta(q, p) = K_{\theta_1}(p) + V_{\theta_2}(q)` (section 3.1).

    Parameters
    ----------
    dim : int
        Number of positions d.  The paper's spring chain has 20.
    hidden : int or tuple of int
        Widths of the hidden layers of each of the two networks: 2048 for the paper's chain,
        (512, 512, 512) for its three bodies.
    quadratic : bool
        Give K and V a quadratic term beside the network.  A prior: near an equilibrium every
        smooth H is quadratic.
    generator : torch.Generator, optional
    dtype : torch.dtype, optional
    device : optional

    Examples
    --------
    >>> import torch
    >>> H = HNet(dim=20, hidden=2048, generator=torch.Generator().manual_seed(0))
    >>> H(torch.zeros(32, 40)).shape
    torch.Size([32])
    >>> sum(w.numel() for w in H.parameters())
    90114
    """

    kinetic: _ScalarNet
    potential: _ScalarNet

    def __init__(
        self,
        dim: int,
        hidden: int | tuple[int, ...],
        quadratic: bool = False,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.dim = _checks.positive_int(dim, "dim")
        self.hidden = _checks.hidden_sizes(hidden)
        self.quadratic = bool(quadratic)
        generator = _checks.as_generator(generator)
        # Without data the best guess is a free particle of unit mass: K = p^2 / 2, V = 0.
        k, v = (1.0, 0.0) if quadratic else (None, None)
        self.kinetic = _ScalarNet(dim, self.hidden, k, generator, dtype, device)
        self.potential = _ScalarNet(dim, self.hidden, v, generator, dtype, device)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that build this network again."""
        return {"dim": self.dim, "hidden": list(self.hidden), "quadratic": self.quadratic}

    def quadratic_parts(self) -> tuple[QuadraticForm, QuadraticForm] | None:
        """Give the terms beside the networks, where H was made with them."""
        kinetic, potential = self.kinetic.form, self.potential.form
        return None if kinetic is None or potential is None else (kinetic, potential)

    def silence(self) -> None:
        """Set the networks' last layers to zero."""
        with torch.no_grad():
            for mlp in (self.kinetic.mlp, self.potential.mlp):
                for parameter in mlp.layers[-1].parameters():
                    parameter.zero_()

    def distilled_parts(self) -> tuple[MLP, MLP] | None:
        """Give the networks, where no quadratic terms stand beside them."""
        return None if self.quadratic else (self.kinetic.mlp, self.potential.mlp)


class QuadraticH(_Separable):
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
