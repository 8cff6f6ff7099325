"""The paper's O-NET: a network that gives dz/dt itself."""

from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import State
from srnn.nn.mlp import MLP
from srnn.nn.network import Network

__all__ = ["ONet"]


class ONet(Network, nn.Module):
    r"""A vector field :math:`\dot z = f_\theta(q, p)` as one network (section 3.1).

    Parameters
    ----------
    dim : int
        Number of positions d.
    hidden : int or tuple of int
        Widths of the hidden layers: 2048 for the paper's chain.
    generator : torch.Generator, optional
    dtype : torch.dtype, optional
    device : optional

    Examples
    --------
    >>> import torch
    >>> f = ONet(dim=20, hidden=2048, generator=torch.Generator().manual_seed(0))
    >>> f(torch.zeros(32, 40)).shape, sum(w.numel() for w in f.parameters())
    (torch.Size([32, 40]), 165928)
    """

    scaled = True

    def __init__(
        self,
        dim: int,
        hidden: int | tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.dim = _checks.positive_int(dim, "dim")
        self.hidden = _checks.hidden_sizes(hidden)
        self.mlp = MLP(
            2 * dim, 2 * dim, self.hidden, generator=generator, dtype=dtype, device=device
        )

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that build this network again."""
        return {"dim": self.dim, "hidden": list(self.hidden)}

    def forward(self, z: State) -> State:
        """dz/dt of the states ``(..., 2*dim)``, same shape."""
        z = _checks.state(z, "z", self.dim)
        _checks.same_as(z, "z", self.mlp.weight, "weights")
        derivative: Tensor = self.mlp(z)
        return derivative
