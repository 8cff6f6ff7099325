"""What predicts: the kinds of networks in the tables, and what stands beside them untrained."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from srnn.nn import LSTM, RNN, HNet, ONet, PairwiseH, QuadraticH

__all__ = ["NETS", "Net"]


class Net(NamedTuple):
    """A kind of network, or something known that is not trained.

    Examples
    --------
    >>> NETS["hnet"].label, NETS["zero"].learnt
    ('H-NET', False)
    """

    label: str
    """In the name of a row."""
    make: Callable[[Any, Any], Any]
    """Of a :class:`Draw` and the hidden widths: a network or a Hamiltonian that moves the states,
    or where nothing does, the predicted states themselves."""
    learnt: bool = True
    card: str = ""
    """What the card of a pretrained model says that it is."""


def _hnet(drawn: Any, hidden: Any, *, quadratic: bool = False) -> HNet:
    return HNet(drawn.test.dim, hidden, quadratic=quadratic, generator=drawn.generator)


def _pairs(drawn: Any, hidden: Any) -> PairwiseH:
    return PairwiseH(drawn.test.dim // 2, 2, hidden, generator=drawn.generator)


def _of(kind: Any) -> Callable[[Any, Any], Any]:
    return lambda drawn, hidden: kind(drawn.test.dim, hidden, generator=drawn.generator)


_PAIRS = "H of pairs of bodies (`srnn.nn.PairwiseH`)"
NETS = {
    "onet": Net("O-NET", _of(ONet)),
    "hnet": Net("H-NET", _hnet, card="H-NET, K(p) + V(q), an MLP each"),
    "hnetq": Net(
        "H-NET + quadratic",
        lambda drawn, hidden: _hnet(drawn, hidden, quadratic=True),
        card="H-NET, K(p) + V(q), an MLP and a quadratic term each",
    ),
    "quadratic": Net(
        "QuadraticH",
        lambda drawn, _: QuadraticH(drawn.test.dim),
        card="K(p) + V(q), a quadratic form each",
    ),
    "hnetp": Net("H of pairs", _pairs, card=f"{_PAIRS}, one step between states"),
    "hnetp4": Net("H of pairs, 4 steps", _pairs, card=f"{_PAIRS}, four steps between states"),
    "rnn": Net("RNN", _of(RNN)),
    "lstm": Net("LSTM", _of(LSTM)),
    "lstm40": Net(
        "LSTM of 40, bounded",
        lambda drawn, _: LSTM(
            drawn.test.dim, 2 * drawn.test.dim, bounded=True, generator=drawn.generator
        ),
    ),
    # The chain's shadow: its leapfrog step is the chain's exact motion.
    "exact": Net(
        "exact flow", lambda drawn, _: drawn.system.shadow_hamiltonian(drawn.test.dt), False
    ),
    "perfect": Net("perfect", lambda drawn, _: drawn.test.clean, False),
    "true": Net("true equations", lambda drawn, _: drawn.system, False),
    "true4": Net("true equations, 4 steps", lambda drawn, _: drawn.system, False),
    "zero": Net("predict zero", lambda drawn, _: torch.zeros_like(drawn.test.values), False),
}
"""By the names in paths, in the order of the tables' rows."""
