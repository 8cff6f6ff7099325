"""The test trajectory whose prediction is stored, beside what was observed and what is true."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from srnn import _checks
from srnn.experiments.reproduction._cells import Fit
from srnn.experiments.reproduction._problems import problem
from srnn.experiments.reproduction._results import Result
from srnn.experiments.reproduction._work import SAMPLED, SHOWN

__all__ = ["Sample", "sample"]


class Sample(NamedTuple):
    """One test trajectory: positions by time.

    Examples
    --------
    >>> from srnn import experiments
    >>> (cell,) = experiments.results("table1", model="perfect", seed=0)
    >>> experiments.sample(cell).numbers
    (1, 3, 5, 7, 9, 11, 13, 15, 17, 19)
    """

    times: Any
    """Array of shape (time,), as all that follow have times first."""
    predicted: Any
    """Positions that the model predicts, of shape (time, positions)."""
    observed: Any
    """Those that were observed, with their noise."""
    clean: Any
    """The truth."""
    numbers: tuple[int, ...]
    """Of the positions, from 1: the masses of a chain."""


def sample(cell: Result) -> Sample:
    """Give the stored prediction of a cell with the data that it is of.

    Of a chain these are ten of the twenty masses, of three bodies all positions.  The data are
    drawn again from the cell's seed, as they were when it was computed.

    Parameters
    ----------
    cell : Result
        Of seed 0: predictions of the others are not stored.

    Returns
    -------
    Sample

    Raises
    ------
    ValueError
        If the cell has no stored prediction.

    Examples
    --------
    >>> import numpy as np
    >>> from srnn import experiments
    >>> (cell,) = experiments.results("table1", model="perfect", seed=0)
    >>> times, predicted, observed, clean, _ = experiments.sample(cell)
    >>> predicted.shape, bool(np.allclose(predicted, clean, atol=1e-3))
    ((200, 10), True)
    >>> round(float((observed - clean).std()), 1)
    0.2
    """
    fit = Fit(**(cell.config["fit"] | {"hidden": tuple(cell.config["fit"]["hidden"])}))
    if cell.sample is None:
        raise ValueError(
            f"Expected a `cell` with a stored prediction, of seed 0; got {cell.table}, "
            f"{cell.label}, seed {cell.seed}."
        )
    # The test set is drawn first, so that it does not depend on the training set's size.
    test = problem(dataclasses.replace(fit, training=1), cell.seed).test
    shown = SHOWN[fit.problem]
    assert test.clean is not None  # it was simulated
    clean = _checks.halves(test.clean)[0][:, SAMPLED, shown]
    observed = test.q[:, SAMPLED, shown]
    numbers = tuple(range(1, test.dim + 1)[shown])
    return Sample(
        test.times.numpy(),
        np.array(cell.sample, dtype=float),
        observed.numpy(),
        clean.numpy(),
        numbers,
    )
