"""Over how many states are the paper's tables?  Stored curves, averaged up to every length.

    python -m srnn.experiments.length_scan

The O-NET and H-NET rows of tables 1 and 2 on one chain, against what the paper prints; SRNN and
SRNN-ISO also by the noise of the data, which the paper does not state.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from srnn.experiments._store import store
from srnn.experiments.reproduction._results import Result, results

__all__ = ["LENGTHS", "NOISES", "compared", "noisy", "scan"]

LENGTHS = (*range(10, 100, 5), *range(100, 201, 10))
NOISES = (0.05, 0.1, 0.2, 0.3)
"""Deviations of the noise; the published scripts have the last two."""
_CHAINS = (0, 1, 2)  # on which both rows are computed at every noise


def compared(seed: int = 0, tables: Iterable[str] = ("table1", "table2")) -> list[Result]:
    """List the stored cells that the paper has a number for: O-NETs and H-NETs on a chain.

    Parameters
    ----------
    seed : int
    tables : iterable of str

    Returns
    -------
    list of Result

    Examples
    --------
    >>> len(compared(0))
    18
    """
    found = (cell for table in tables for cell in results(table, column="faithful", seed=seed))
    return [cell for cell in found if cell.published and cell.model in ("onet", "hnet")]


def noisy(seed: int, sigma: float) -> list[Result]:
    """List the stored cells of SRNN and SRNN-ISO on a chain with a noise.

    Parameters
    ----------
    seed : int
    sigma : float
        One of :data:`NOISES`.

    Returns
    -------
    list of Result
        Fewer than two where not both are computed.

    Examples
    --------
    >>> [cell.label for cell in noisy(2, 0.1)]
    ['H-NET L-L, recurrent', 'H-NET L-L, ISO']
    """
    names = (name if sigma == 0.2 else f"{name}-sigma{sigma}" for name in ("table1", "table2"))
    cells = compared(seed, names)
    ways = [("hnet", "L", "L", mode) for mode in ("recurrent", "iso")]
    return [cell for cell in cells if (cell.model, cell.train, cell.test, cell.mode) in ways]


def scan(cells: Iterable[Result], lengths: Iterable[int] = LENGTHS) -> list[dict[str, Any]]:
    """Compare cells with the paper, averaged over the first states of a test.

    Parameters
    ----------
    cells : iterable of Result
        Each with a published number.
    lengths : iterable of int

    Returns
    -------
    list of dict
        For every length in ``states``: ``log_ratio``, the mean of the logarithms of error over
        published number, without their signs; ``within``, how many are less than a tenth off;
        ``rank``, Spearman's correlation of the two; and ``rows``.

    Examples
    --------
    >>> from srnn.experiments.length_scan import compared, scan
    >>> [(one["states"], one["within"]) for one in scan(compared(0), (50, 200))]
    [(50, 12), (200, 0)]
    """
    cells = list(cells)
    paper = np.array([cell.published[0] for cell in cells if cell.published])
    found = []
    for states in lengths:
        ours = np.array([cell.over(f"0..{states}")[0] for cell in cells])
        logs = np.abs(np.log(ours / paper))
        order = np.corrcoef(_ranks(ours), _ranks(paper))[0, 1]
        found.append({
            "states": states,
            "log_ratio": round(float(logs.mean()), 4),
            "within": int((np.abs(ours / paper - 1) < 0.1).sum()),
            "rank": round(float(order), 4),
            "rows": len(cells),
        })  # fmt: skip
    return found


def _ranks(values: Any) -> Any:
    return np.argsort(np.argsort(values))


def _by_noise() -> list[dict[str, Any]]:
    """Scan SRNN and SRNN-ISO on each chain at each noise that has both."""
    found = []
    for seed in _CHAINS:
        for sigma in NOISES:
            cells = noisy(seed, sigma)
            if len(cells) == 2:
                found.append({"seed": seed, "sigma": sigma, "scan": scan(cells)})
    return found


if __name__ == "__main__":
    store(
        "length_scan",
        {
            "seed": 0,
            "sigma": 0.2,
            "threads": torch.get_num_threads(),
            "scan": scan(compared()),
            "noise": _by_noise(),
        },
    )
