"""The paper's H-NET: a separable Hamiltonian made of two networks."""

from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Energy, Half, Hessians, State
from srnn.nn.mlp import MLP
from srnn.nn.network import Network
from srnn.nn.quadratic import QuadraticForm

__all__ = ["HNet"]


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


class HNet(Network, nn.Module):
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

    separable = True
    scaled = True
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

    def forward(self, z: State) -> Energy:
        """H of each state ``(..., 2*dim)``, shape ``(...)``."""
        z = _checks.state(z, "z", self.dim)
        _checks.same_as(z, "z", self.kinetic.weight, "weights")
        q, p = _checks.halves(z)
        energy: Tensor = self.kinetic(p) + self.potential(q)
        return energy

    def kinetic_gradient(self, p: Half) -> Half:
        """K'(p), shape ``(..., dim)``: only K's network is evaluated.

        Examples
        --------
        >>> import torch
        >>> HNet(3, 8).kinetic_gradient(torch.zeros(5, 3)).shape
        torch.Size([5, 3])
        """
        p = _checks.half(p, "p", self.dim)
        gradient: Tensor = self.kinetic.gradient(p)
        return gradient

    def potential_gradient(self, q: Half) -> Half:
        """V'(q), shape ``(..., dim)``: only V's network is evaluated.

        Examples
        --------
        >>> import torch
        >>> HNet(3, 8).potential_gradient(torch.zeros(5, 3)).shape
        torch.Size([5, 3])
        """
        q = _checks.half(q, "q", self.dim)
        gradient: Tensor = self.potential.gradient(q)
        return gradient

    def kinetic_hessian(self, p: Half) -> Hessians:
        """K''(p), shape ``(..., dim, dim)``.

        Examples
        --------
        >>> import torch
        >>> HNet(3, 8).kinetic_hessian(torch.zeros(5, 3)).shape
        torch.Size([5, 3, 3])
        """
        p = _checks.half(p, "p", self.dim)
        hessian: Tensor = self.kinetic.hessian(p)
        return hessian

    def potential_hessian(self, q: Half) -> Hessians:
        """V''(q), shape ``(..., dim, dim)``.

        Examples
        --------
        >>> import torch
        >>> HNet(3, 8).potential_hessian(torch.zeros(5, 3)).shape
        torch.Size([5, 3, 3])
        """
        q = _checks.half(q, "q", self.dim)
        hessian: Tensor = self.potential.hessian(q)
        return hessian
