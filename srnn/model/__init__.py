"""What a user holds: a network, its integrator and its units."""

from srnn.model.model import FORMAT, Model

__all__ = ["FORMAT", "Model"]
