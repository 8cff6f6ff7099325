"""The recurrent baselines.  They know no field and no step size: each is its own step.

Both are rolled out on their own predictions from the initial state, with the hidden state zero at
t = 0, as the paper compares them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import State
from srnn.nn.mlp import linear
from srnn.nn.network import Network

__all__ = ["LSTM", "RNN"]


class _Memory(NamedTuple):
    z: Tensor
    hidden: Tensor
    cell: Tensor


class _Recurrent(Network, nn.Module):
    """What the two share: the weights' shapes, the read-out, and the protocol of a rollout."""

    own_step = True
    scaled = True
    one_spacing = True
    gates: int

    def __init__(
        self,
        dim: int,
        hidden: int,
        bounded: bool = False,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.dim = _checks.positive_int(dim, "dim")
        self.hidden = _checks.positive_int(hidden, "hidden")
        self.bounded = bool(bounded)
        if bounded and hidden != 2 * dim:
            raise ValueError(
                "With bounded=True the hidden state is the prediction, so `hidden` must be "
                f"2*dim = {2 * dim}; got {hidden}."
            )
        generator = _checks.as_generator(generator)
        kind: dict[str, Any] = {"dtype": dtype, "device": device}
        self.inward = linear(2 * dim, self.gates * hidden, generator, **kind)
        self.recurrent = linear(hidden, self.gates * hidden, generator, **kind)
        self.readout = None if bounded else linear(hidden, 2 * dim, generator, **kind)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that build this network again."""
        return {"dim": self.dim, "hidden": self.hidden, "bounded": self.bounded}

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse a plain call: a step needs the memory of the steps before it.

        Raises
        ------
        TypeError
            Always; the text says what to call.
        """
        raise TypeError(
            f"{type(self).__name__} is its own step from one time to the next and is not called on "
            "states: use srnn.rollout(net, None, z0, dt=dt, steps=steps)."
        )

    def init(self, field: Any, z0: State) -> _Memory:
        """Start at `z0` with an empty memory."""
        z0 = _checks.state(z0, "z0", self.dim)
        _checks.same_as(z0, "z0", self.inward.weight, "weights")
        empty = z0.new_zeros(*z0.shape[:-1], self.hidden)
        return _Memory(z0, empty, empty)

    def step(self, field: Any, state: _Memory, dt: float) -> _Memory:
        """Predict the next state.  `dt` is not used: the network learns one spacing."""
        hidden, cell = self._cell(self.inward(state.z) + self.recurrent(state.hidden), state.cell)
        return _Memory(hidden if self.readout is None else self.readout(hidden), hidden, cell)

    def read(self, state: _Memory) -> State:
        """(q, p) of a state."""
        return state.z

    def _cell(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError  # pragma: no cover


class RNN(_Recurrent):
    r"""A vanilla recurrent network, :math:`h' = \tanh(W z + U h + b)`, with a linear read-out.

    Parameters
    ----------
    dim : int
        Number of positions d.
    hidden : int
        Length of the hidden state: 2048 for the paper's chain.
    bounded : bool
        Let the hidden state itself be the prediction, so that every coordinate stays in (-1, 1).
        The paper's published LSTM does so; it cannot reach the chain's positions of up to 4.
    generator : torch.Generator, optional
    dtype : torch.dtype, optional
    device : optional

    Examples
    --------
    >>> import torch, srnn
    >>> net = RNN(dim=2, hidden=16, generator=torch.Generator().manual_seed(0))
    >>> srnn.rollout(net, None, torch.zeros(3, 4), dt=0.1, steps=5).shape
    torch.Size([6, 3, 4])
    """

    gates = 1

    def recipe_for(self, preset: str | None) -> Mapping[str, Any]:
        """Clip gradients as the paper does (appendix A.1)."""
        return {"clip_norm": 0.25} if preset == "paper" else {}

    def _cell(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(gates), cell


class LSTM(_Recurrent):
    r"""A long short-term memory (Hochreiter and Schmidhuber 1997) with a linear read-out.

    Takes what :class:`RNN` takes.

    Examples
    --------
    >>> import torch, srnn
    >>> net = LSTM(dim=2, hidden=4, bounded=True, generator=torch.Generator().manual_seed(0))
    >>> z = srnn.rollout(net, None, torch.ones(3, 4), dt=0.1, steps=5)
    >>> bool(z[1:].abs().max() < 1)
    True
    """

    gates = 4

    def _cell(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        entry, forget, candidate, output = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(entry) * torch.tanh(candidate)
        return torch.sigmoid(output) * torch.tanh(cell), cell
