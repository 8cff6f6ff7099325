"""Where a motion begins: initial states that are optimised, alone or beside a network."""

from srnn.starts.optimised import Starts, noise_weights

__all__ = ["Starts", "noise_weights"]
