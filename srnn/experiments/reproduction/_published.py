"""The numbers that the paper prints: mean and standard deviation over its test samples."""

__all__ = ["published"]

# Table 1 and 2: L2 error of 20 positions against the noisy truth, mean over 200 steps; table 3:
# three bodies.
_COLUMNS = (
    *(("table1", "single"), ("table1", "recurrent"), ("table2", "iso")),
    *(("table3", "single"), ("table3", "recurrent")),
)
# By (model, train, test), in these columns.
_ROWS = {
    ("onet", "E", "E"): ((6.93, 1.22), (2.88, 0.45), (2.13, 0.37), (0.65, 0.16), (0.51, 0.11)),
    ("onet", "E", "L"): ((5.87, 1.04), (4.12, 0.41), (3.59, 0.50), (1.36, 0.18), (1.27, 0.18)),
    ("onet", "L", "L"): ((7.28, 1.48), (3.34, 0.86), (2.27, 0.60), (1.33, 0.20), (0.49, 0.10)),
    ("hnet", "E", "E"): ((7.24, 0.64), (7.58, 0.63), (6.26, 0.60), (1.64, 0.25), (0.79, 0.17)),
    ("hnet", "E", "L"): ((3.32, 0.89), (5.26, 0.63), (3.00, 0.63), (0.88, 0.33), (1.76, 0.62)),
    ("hnet", "L", "L"): ((3.36, 0.67), (2.37, 0.87), (1.45, 0.32), (0.35, 0.09), (0.26, 0.07)),
    ("rnn", "none", "none"): (None, (4.80, 0.82), (4.72, 0.94)),
    ("lstm", "none", "none"): (None, (5.95, 1.05), (5.81, 0.98)),
}
_PRINTED = {
    (table, *row, mode): pair
    for row, pairs in _ROWS.items()
    for (table, mode), pair in zip(_COLUMNS, pairs, strict=False)
} | {("table3", "true", "none", "L", "clean"): (0.47, 0.18)}

# What this library tells apart and the paper does not: leapfrog that reuses its kick, and the LSTM
# of the public code.
_SAME = {"R": "L", "lstm40": "lstm"}


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
    model, train, test = (_SAME.get(name, name) for name in (model, train, test))
    return _PRINTED.get((table.split("-")[0], model, train, test, mode))
