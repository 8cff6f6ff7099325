"""The numbers that the paper prints: mean and standard deviation over its test samples."""

__all__ = ["published"]

# By (model, train, test, mode).  Table 1 and 2: L2 error of 20 positions against the noisy truth,
# mean over 200 steps; table 3: three bodies.
_TABLE1 = {
    ("onet", "E", "E", "single"): (6.93, 1.22),
    ("onet", "E", "L", "single"): (5.87, 1.04),
    ("onet", "L", "L", "single"): (7.28, 1.48),
    ("hnet", "E", "E", "single"): (7.24, 0.64),
    ("hnet", "E", "L", "single"): (3.32, 0.89),
    ("hnet", "L", "L", "single"): (3.36, 0.67),
    ("onet", "E", "E", "recurrent"): (2.88, 0.45),
    ("onet", "E", "L", "recurrent"): (4.12, 0.41),
    ("onet", "L", "L", "recurrent"): (3.34, 0.86),
    ("hnet", "E", "E", "recurrent"): (7.58, 0.63),
    ("hnet", "E", "L", "recurrent"): (5.26, 0.63),
    ("hnet", "L", "L", "recurrent"): (2.37, 0.87),
    ("rnn", "none", "none", "recurrent"): (4.80, 0.82),
    ("lstm", "none", "none", "recurrent"): (5.95, 1.05),
}
_TABLE2 = {
    ("onet", "E", "E", "iso"): (2.13, 0.37),
    ("onet", "E", "L", "iso"): (3.59, 0.50),
    ("onet", "L", "L", "iso"): (2.27, 0.60),
    ("hnet", "E", "E", "iso"): (6.26, 0.60),
    ("hnet", "E", "L", "iso"): (3.00, 0.63),
    ("hnet", "L", "L", "iso"): (1.45, 0.32),
    ("rnn", "none", "none", "iso"): (4.72, 0.94),
    ("lstm", "none", "none", "iso"): (5.81, 0.98),
}
_TABLE3 = {
    ("onet", "E", "E", "single"): (0.65, 0.16),
    ("onet", "E", "L", "single"): (1.36, 0.18),
    ("onet", "L", "L", "single"): (1.33, 0.20),
    ("hnet", "E", "E", "single"): (1.64, 0.25),
    ("hnet", "E", "L", "single"): (0.88, 0.33),
    ("hnet", "L", "L", "single"): (0.35, 0.09),
    ("onet", "E", "E", "recurrent"): (0.51, 0.11),
    ("onet", "E", "L", "recurrent"): (1.27, 0.18),
    ("onet", "L", "L", "recurrent"): (0.49, 0.10),
    ("hnet", "E", "E", "recurrent"): (0.79, 0.17),
    ("hnet", "E", "L", "recurrent"): (1.76, 0.62),
    ("hnet", "L", "L", "recurrent"): (0.26, 0.07),
    ("true", "none", "L", "clean"): (0.47, 0.18),
}
_TABLES = {"table1": _TABLE1, "table2": _TABLE2, "table3": _TABLE3}


def published(
    table: str, model: str, train: str, test: str, mode: str
) -> tuple[float, float] | None:
    """Tell what the paper prints for a row, or None where it has none.

    Parameters
    ----------
    table : str
        ``table1``, ``table2`` or ``table3``.  The paper does not state its noise, so its numbers
        stand beside every one (``table1-sigma0.1``).
    model, train, test, mode : str
        As in the names of stored results.

    Returns
    -------
    (float, float) or None
        Mean and standard deviation over the test samples.

    Examples
    --------
    >>> from srnn.experiments.reproduction import published
    >>> published("table2", "hnet", "L", "L", "iso")
    (1.45, 0.32)
    """
    return _TABLES.get(table.split("-")[0], {}).get((model, train, test, mode))
