"""What is learnt: networks for H and for dz/dt, and the recurrent baselines."""

from srnn.nn.hnet import HNet
from srnn.nn.mlp import MLP
from srnn.nn.network import Network
from srnn.nn.onet import ONet
from srnn.nn.pairwise import PairwiseH
from srnn.nn.quadratic import QuadraticForm, QuadraticH
from srnn.nn.recurrent import LSTM, RNN

__all__ = [
    "LSTM",
    "MLP",
    "RNN",
    "HNet",
    "Network",
    "ONet",
    "PairwiseH",
    "QuadraticForm",
    "QuadraticH",
]
