"""A Hamiltonian of equal bodies that act on each other in pairs."""

from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Energy, Half, State
from srnn.data.trajectories import Trajectories
from srnn.data.units import Units, inverse_mass
from srnn.nn.mlp import MLP
from srnn.nn.network import Network

__all__ = ["PairwiseH"]


class PairwiseH(Network, nn.Module):
    r"""Equal bodies, each pair with a potential of its distance.

    .. math::
        H(q, p) = \sum_i \Bigl(\frac{|p_i|^2}{2} + k_{\theta_1}(|p_i|^2)\Bigr)
                + \sum_{i<j} \varphi_{\theta_2}(\log |q_i - q_j|)

    with two networks of one input each.  Turning, mirroring, shifting and renumbering the bodies do
    not change H, so that what is learnt of one orbit holds for all its images, and momentum and
    angular momentum are kept.  Coordinates are those of one body after another's, as of
    :class:`srnn.systems.ThreeBody`.

    Parameters
    ----------
    bodies : int
        At least 2.
    dimensions : {1, 2, 3}
        Of space.
    hidden : int or tuple of int
        Widths of the hidden layers of each network.
    generator : torch.Generator, optional
    dtype : torch.dtype, optional
    device : optional

    Attributes
    ----------
    dim : int
        Number of positions, bodies times dimensions.

    Examples
    --------
    >>> import torch
    >>> H = PairwiseH(3, 2, hidden=(16, 16), generator=torch.Generator().manual_seed(0))
    >>> z = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    >>> shifted = z + torch.cat((torch.ones(6), torch.zeros(6)))
    >>> bool(torch.allclose(H(shifted), H(z), atol=1e-5))
    True
    """

    separable = True
    first: Tensor
    second: Tensor

    def __init__(
        self,
        bodies: int,
        dimensions: int = 2,
        hidden: int | tuple[int, ...] = (64, 64),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.bodies = _checks.positive_int(bodies, "bodies", minimum=2)
        self.dimensions = _checks.positive_int(dimensions, "dimensions")
        _checks.choice(dimensions, "dimensions", (1, 2, 3))
        self.dim = self.bodies * self.dimensions
        self.hidden = _checks.hidden_sizes(hidden)
        generator = _checks.as_generator(generator)
        self.k = MLP(1, 1, self.hidden, generator=generator, dtype=dtype, device=device)
        self.phi = MLP(1, 1, self.hidden, generator=generator, dtype=dtype, device=device)
        pairs = torch.triu_indices(bodies, bodies, 1, device=_checks.device(device))
        # The bodies of each pair; buffers, so that they follow the weights to another device.
        for name, numbers in zip(("first", "second"), pairs, strict=True):
            self.register_buffer(name, numbers, persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that build this network again."""
        return {"bodies": self.bodies, "dimensions": self.dimensions, "hidden": list(self.hidden)}

    def units_for(self, data: Trajectories, *, isotropic: bool = True) -> Units:
        """Units of order one in which distances stay distances and bodies have mass one.

        One shift for all bodies, none of momenta, whose squares count; and the unit of time in
        which momenta are velocities, as in H before it has learnt anything.
        """
        found = Units.of(data, isotropic=True)
        middle = found.shift[: self.dim].unflatten(0, (self.bodies, self.dimensions)).mean(dim=0)
        shift = torch.cat((middle.repeat(self.bodies), found.shift[self.dim :]))
        rate = inverse_mass(data) * found.p[0] / found.q[0]
        return Units(found.q, found.p, 1 / rate if rate > 0 else found.time, shift)

    def _bodies(self, x: Half) -> Tensor:
        apart: Tensor = x.unflatten(-1, (self.bodies, self.dimensions))
        return apart

    def _differences(self, q: Half) -> tuple[Tensor, Tensor]:
        """Vectors between the bodies of each pair, and their squared lengths."""
        x = self._bodies(q)
        d = x.index_select(-2, self.first) - x.index_select(-2, self.second)
        return d, d.square().sum(dim=-1, keepdim=True)

    def kinetic(self, p: Half) -> Energy:
        """K(p): ``(..., dim)`` to ``(...)``.

        Examples
        --------
        >>> import torch
        >>> PairwiseH(3).kinetic(torch.zeros(5, 6)).shape
        torch.Size([5])
        """
        square = self._bodies(_checks.half(p, "p", self.dim)).square().sum(dim=-1, keepdim=True)
        energy: Tensor = (square / 2 + self.k(square)).sum(dim=(-1, -2))
        return energy

    def potential(self, q: Half) -> Energy:
        """V(q): ``(..., dim)`` to ``(...)``; not finite where two bodies meet.

        Examples
        --------
        >>> import torch
        >>> PairwiseH(2, 1).potential(torch.tensor([[0.0, 1.0]])).shape
        torch.Size([1])
        """
        _, square = self._differences(_checks.half(q, "q", self.dim))
        energy: Tensor = self.phi(square.log() / 2).sum(dim=(-1, -2))
        return energy

    def kinetic_gradient(self, p: Half) -> Half:
        """K'(p), shape ``(..., dim)``."""
        x = self._bodies(_checks.half(p, "p", self.dim))
        slope = self.k.input_gradient(x.square().sum(dim=-1, keepdim=True))
        gradient: Tensor = (x * (1 + 2 * slope)).flatten(-2)
        return gradient

    def potential_gradient(self, q: Half) -> Half:
        """V'(q), shape ``(..., dim)``."""
        d, square = self._differences(_checks.half(q, "q", self.dim))
        pull = self.phi.input_gradient(square.log() / 2) * d / square
        force = torch.zeros_like(self._bodies(q))
        force = force.index_add(-2, self.first, pull).index_add(-2, self.second, -pull)
        gradient: Tensor = force.flatten(-2)
        return gradient

    def forward(self, z: State) -> Energy:
        """H of each state ``(..., 2*dim)``, shape ``(...)``."""
        z = _checks.state(z, "z", self.dim)
        _checks.same_as(z, "z", self.k.weight, "weights")
        q, p = _checks.halves(z)
        energy: Tensor = self.kinetic(p) + self.potential(q)
        return energy
