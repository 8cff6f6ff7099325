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

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from srnn import errors, nn, rebound, systems
from srnn.data.trajectories import Trajectories
from srnn.experiments import pretrained
from srnn.model.model import Model
from srnn.model.models import HNN, SRNN, load
from srnn.motion import fields, flow_map, gradients, integrators
from srnn.nn import LSTM, RNN, HNet, ONet, QuadraticH
from srnn.results import diagnostics, metrics
from srnn.starts import convexity, iso, likelihood
from srnn.training.run import History

if TYPE_CHECKING:
    from srnn.motion.rollout import Rollout
    from srnn.results import plotting as plotting
    from srnn.results import widgets as widgets

    rollout: Rollout
else:
    from srnn.motion.rollout import rollout

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


# Where the modules stand whose public address is another; srnn-stubs says it to type checkers.
_ADDRESSES = {
    "_arrays": "data._arrays",
    "scaling": "motion.scaling",
    "fields": "motion.fields",
    "integrators": "motion.integrators",
    "rollout": "motion.rollout",
    "flow_map": "motion.flow_map",
    "gradients": "motion.gradients",
    "adjoint": "motion.adjoint",
    "iso": "starts.iso",
    "convexity": "starts.convexity",
    "likelihood": "starts.likelihood",
    "recipes": "training.recipes",
    "losses": "training.losses",
    "run": "training.run",
    "checkpoint": "training.checkpoint",
    "warm_start": "training.guess.warm_start",
    "variable_projection": "training.guess.variable_projection",
    "metrics": "results.metrics",
    "diagnostics": "results.diagnostics",
    "plotting": "results.plotting",
    "widgets": "results.widgets",
    "models": "model.models",
}


class _Addresses(MetaPathFinder, Loader):
    """Finds a module by its public address: ``srnn.iso`` is ``srnn.starts.iso`` itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for the addresses of the table and for what is below them."""
        root, _, rest = fullname.partition(".")
        first, *below = rest.split(".")
        if root != __name__ or first not in _ADDRESSES:
            return None
        return ModuleSpec(fullname, self, origin=".".join([root, _ADDRESSES[first], *below]))

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Give the module itself, which keeps what it is called by."""
        assert spec.origin is not None
        module = import_module(spec.origin)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave a module as it is that has run already."""
        assert module.__spec__ is not None  # that of the address, which import has just set
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.insert(0, _Addresses())  # before who would load a second copy by its file
# `import srnn.rollout` must not put the module in the place of the function of its name.
sys.modules[f"{__name__}.rollout"] = rollout


def __getattr__(name: str) -> Any:
    # Matplotlib and ipywidgets are slow to import, and many users need neither.
    if name in _ADDRESSES:
        return import_module(f"srnn.{_ADDRESSES[name]}")
    raise AttributeError(f"module 'srnn' has no attribute {name!r}")
