"""Learning Hamiltonian dynamics from noisy trajectories.

After *Symplectic Recurrent Neural Networks* (Chen, Zhang, Arjovsky and Bottou, ICLR 2020).

Conventions, said once:

- A state is one tensor ``z`` whose last axis is ``(q, p)``, of length 2d; ``dim`` is d.  H is
  written H(q, p).
- A trajectory has time first: ``(time, batch, 2d)``, ``steps + 1`` states including t = 0.
- Code follows its input's dtype and device, changes no global state (seed, threads, default dtype)
  and never writes into a caller's tensor.
- Randomness comes from a ``torch.Generator`` that is passed in.  Without one a call draws fresh
  entropy, never a fixed seed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from srnn import (
    convexity,
    diagnostics,
    errors,
    fields,
    flow_map,
    gradients,
    integrators,
    iso,
    likelihood,
    metrics,
    nn,
    rebound,
    systems,
)
from srnn.data import Trajectories
from srnn.experiments import pretrained
from srnn.model import Model
from srnn.models import HNN, SRNN, load
from srnn.nn import LSTM, RNN, HNet, ONet, QuadraticH
from srnn.rollout import rollout
from srnn.run import History

if TYPE_CHECKING:
    from srnn import plotting as plotting
    from srnn import widgets as widgets

__version__ = "0.1.0"

__all__ = [
    "HNN",
    "LSTM",
    "RNN",
    "SRNN",
    "HNet",
    "History",
    "Model",
    "ONet",
    "QuadraticH",
    "Trajectories",
    "convexity",
    "diagnostics",
    "errors",
    "fields",
    "flow_map",
    "gradients",
    "integrators",
    "iso",
    "likelihood",
    "load",
    "metrics",
    "nn",
    "plotting",
    "pretrained",
    "rebound",
    "rollout",
    "systems",
    "widgets",
]


def __getattr__(name: str) -> Any:
    # Matplotlib and ipywidgets are slow to import, and many users need neither.
    if name in ("plotting", "widgets"):
        return import_module(f"srnn.{name}")
    raise AttributeError(f"module 'srnn' has no attribute {name!r}")
