"""Experiments at the paper's size, and their stored results.

Each module is a script, ``python -m srnn.experiments.chain_iso``, that prints its rows and stores
them.  The book reads what is stored, so that a reader without an hour of computing sees the same
numbers, with the configuration they came from.
"""

from srnn.experiments._store import load, store, trained, weights_path

__all__ = ["load", "store", "trained", "weights_path"]
