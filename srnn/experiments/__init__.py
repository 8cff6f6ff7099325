"""Experiments at the paper's size, and their stored results.

The tables and figures of the paper are computed cell by cell (:mod:`srnn.experiments.reproduction`,
``srnn reproduce`` on the command line), and read by :func:`results` and :func:`rows`.  Two further
experiments are modules of their own, ``python -m srnn.experiments.chain_iso`` and
``...billiard``.  The book reads what is stored, so that a reader without an hour of computing sees
the same numbers, with the configuration they came from.
"""

from srnn.experiments._store import load, store, trained, weights_path
from srnn.experiments.reproduction._pretrained import model_card, pretrained
from srnn.experiments.reproduction._results import Result, Row, results, rows
from srnn.experiments.reproduction._samples import Sample, sample

__all__ = [
    "Result",
    "Row",
    "Sample",
    "load",
    "model_card",
    "pretrained",
    "results",
    "rows",
    "sample",
    "store",
    "trained",
    "weights_path",
]
