"""Where a motion begins: initial states that are optimised, alone or beside a network."""

from srnn.starts.optimised import ObservedStarts, Starts, noise_weights

__all__ = ["ObservedStarts", "Starts", "noise_weights"]
