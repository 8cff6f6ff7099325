"""Tables of measurements, one row a time, as arrays on a grid of equal steps."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from srnn.data._clock import grid_of

__all__ = ["read_csv", "read_table"]


def read_csv(path: Any, how: dict[str, Any]) -> Any:
    """Read a file into a DataFrame; without pandas the error says what to install.

    Examples
    --------
    >>> import io
    >>> list(read_csv(io.StringIO("t;x"), {"sep": ";"}).columns)
    ['t', 'x']
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            'Reading a CSV file needs the package "pandas": pip install "srnn[tables]"'
        ) from error
    return pd.read_csv(path, **how)


def read_table(
    table: Any,
    *,
    q: str | Sequence[str],
    p: str | Sequence[str],
    time: str,
    trajectory: str | None = None,
) -> dict[str, Any]:
    """Give what :class:`srnn.Trajectories` is made of; see its ``from_pandas``.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"t": [0.0, 0.5, 1.5], "x": [1.0, 2.0, 3.0], "v": 0.0})
    >>> read_table(table, q="x", p="v", time="t")["q"][:, 0, 0]
    array([ 1.,  2., nan,  3.])
    """
    columns = [[names] if isinstance(names, str) else list(names) for names in (q, p)]
    wanted = [*columns[0], *columns[1], time, *([] if trajectory is None else [trajectory])]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        known = ", ".join(repr(name) for name in table.columns)
        raise KeyError(f"There is no column {missing[0]!r} in the table. Known: {known}.")
    groups = [table] if trajectory is None else _recordings(table, trajectory)
    names = [time if trajectory is None else _name(each, time, trajectory) for each in groups]
    clocks = [_seconds(each[time], name) for each, name in zip(groups, names, strict=True)]
    grid = grid_of(clocks, names)
    count = 1 + max(int(at[-1]) for at in grid.places)
    halves = {}
    for half, chosen in zip("qp", columns, strict=True):
        numbers = np.full((count, len(groups), len(chosen)), np.nan)
        for k, (each, at) in enumerate(zip(groups, grid.places, strict=True)):
            numbers[at, k] = _numbers(each, chosen)
        halves[half] = numbers
    return {**halves, "dt": grid.dt}


def _recordings(table: Any, trajectory: str) -> list[Any]:
    if table[trajectory].isna().any():
        row = int(np.flatnonzero(table[trajectory].isna())[0])
        raise ValueError(f"The entry of column {trajectory!r} in row {row} is empty.")
    return [part for _, part in table.groupby(trajectory, sort=False)]


def _name(part: Any, time: str, trajectory: str) -> str:
    """How a refusal calls the clock of a recording."""
    return f"{time} of {trajectory}={part[trajectory].iloc[0]!r}"


def _seconds(column: Any, name: str) -> torch.Tensor:
    """Make numbers of a column of times: seconds from the first one, where it holds timestamps."""
    import pandas as pd

    if len(column) < 2:
        raise ValueError(f"Expected at least two times in {name!r}; got {len(column)}.")
    if not pd.api.types.is_numeric_dtype(column):
        try:
            # With one zone for all, so that a clock that is put back does not run backwards.
            with warnings.catch_warnings(action="ignore"):  # of a format that it has to guess
                stamps = pd.to_datetime(column, utc=True)
        except (ValueError, TypeError) as error:
            raise TypeError(
                f"Expected numbers or timestamps in {name!r}; {str(error).splitlines()[0]}"
            ) from error
        column = (stamps - stamps.iloc[0]).dt.total_seconds()
    if column.isna().any():
        raise ValueError(
            f"The time in row {int(np.flatnonzero(column.isna())[0])} of {name!r} is empty."
        )
    return torch.from_numpy(column.to_numpy(dtype=np.float64, copy=True))


def _numbers(part: Any, columns: list[str]) -> Any:
    try:
        return part[columns].to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise TypeError(f"Expected numbers in the columns {columns}; {error}.") from error
