"""Reading the stored results: cells, and the rows of tables they make together."""

import json
import math
import os
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from srnn import _checks
from srnn.errors import CheckpointError
from srnn.experiments._store import FOLDER
from srnn.experiments.reproduction._cells import COLUMNS, MODES
from srnn.experiments.reproduction._jobs import TABLES
from srnn.experiments.reproduction._nets import NETS
from srnn.experiments.reproduction._published import published
from srnn.experiments.reproduction._tables import LABELS
from srnn.experiments.reproduction._work import ERRORS

__all__ = ["Result", "Row", "results", "row_label", "rows"]


def row_label(
    column: str, model: str, train: str, test: str, mode: str, *, with_mode: bool = True
) -> str:
    """Name a row as the tables do, whether it is stored or not.

    Parameters
    ----------
    column, model, train, test, mode : str
        As in :class:`Cell`; without a mode the name says nothing of the training.
    with_mode : bool
        Whether to say how the model was trained.

    Returns
    -------
    str

    Examples
    --------
    >>> from srnn.experiments.reproduction import row_label
    >>> row_label("faithful", "hnet", "L", "L", "iso")
    'H-NET L-L, ISO'
    """
    name = NETS[model].label if model in NETS else LABELS.get(model, model)
    if (column, model) == ("improved", "hnet") and MODES[mode].alters is None:
        name += ", distilled"  # its start is the quadratic H's, unlike in every other row
    way = f" {train}-{test}" if train != "none" else f" {test}" if test != "none" else ""
    how = MODES[mode].text if with_mode and mode else ""
    if model in ("perfect", "zero"):  # nothing starts anywhere
        how = ""
    return f"{name}{way}{', ' if how else ''}{how}"


@dataclass(frozen=True)
class Result:
    """One stored cell.

    Attributes
    ----------
    table, column, model, train, test, mode : str
        Where it belongs; see :class:`srnn.experiments.reproduction.Cell`.
    seed : int
    error_mean, error_std : float
        Position error against what was observed, averaged over the counted states: mean and
        standard deviation over the test samples.  Not a number where a prediction diverged.
    error_mean_clean : float
        The mean against the truth without noise.
    stretches : dict
        By states, such as ``"10..200"``, and ``"noisy"`` or ``"clean"``: mean and deviation.
        :meth:`over` reads any other.
    curve : dict
        ``"noisy"`` and ``"clean"``: error at every time, averaged over the samples.
    sample : list or None
        Predicted positions of one test trajectory.
    preset : str
    epochs_done : int
    best_epoch : int
        The epoch whose weights were kept; 0 for the start.
    capped : bool
        Whether training ended because its time was over.
    config : dict
    config_hash : str
    recipe : dict or None
        Every setting of the training, those that the configuration does not name among them; None
        for what was not trained.
    versions : dict
    loss : float
        Of the last epoch: the held-out one, or where nothing was held out the mean over the
        epoch's batches.  Not a number for what was not trained.
    stopped : str or None
        Why training ended; see :class:`srnn.History`.
    wall_time_s : float
        Of training.
    threads : int
    error_median : float
        Of all stored times, and all samples.
    diverged : int
        Test trajectories whose prediction left the finite numbers within the counted states.
    errors : ndarray or None
        The error of every sample at every time against what was observed, of shape (time,
        sample); None for a cell that was stored without.

    Examples
    --------
    >>> from srnn import experiments
    >>> (cell,) = experiments.results("table1", model="true", seed=0)
    >>> cell.column, cell.label
    ('oracle', 'true equations L')
    """

    table: str
    column: str
    model: str
    train: str
    test: str
    mode: str
    seed: int
    error_mean: float
    error_std: float
    error_mean_clean: float
    stretches: dict[str, dict[str, list[float]]]
    curve: dict[str, list[float]]
    sample: list[list[float]] | None
    preset: str
    epochs_done: int
    best_epoch: int
    capped: bool
    config: dict[str, Any]
    config_hash: str
    recipe: dict[str, Any] | None
    versions: dict[str, str]
    loss: float
    stopped: str | None
    wall_time_s: float
    threads: int
    error_median: float
    diverged: int
    errors: Any = field(default=None, repr=False, compare=False)

    def over(self, stretch: str, against: str = "noisy") -> tuple[float, float]:
        """Average the error over a stretch of states.

        Parameters
        ----------
        stretch : str
            Such as ``"0..50"`` for the first fifty states.
        against : {"noisy", "clean"}

        Returns
        -------
        mean, deviation : float
            Over the test samples.  The deviation is not a number where neither it nor the error of
            each sample is stored.

        Raises
        ------
        ValueError
            If there are no such states.

        Examples
        --------
        >>> from srnn import experiments
        >>> (cell,) = experiments.results("table1", model="perfect", seed=0)
        >>> mean, deviation = cell.over("0..50")
        >>> round(mean, 2)
        0.88
        """
        _checks.choice(against, "against", ("noisy", "clean"))
        if stretch in self.stretches:
            mean, deviation = self.stretches[stretch][against]
            return mean, deviation
        states = len(self.curve[against])
        found = re.fullmatch(r"(\d+)\.\.(\d+)", stretch)
        begin, end = map(int, found.groups()) if found else (0, 0)
        if not begin < end <= states:
            raise ValueError(
                f"Expected `stretch` as begin..end, of the states 0..{states}; got {stretch!r}."
            )
        if against == "noisy" and self.errors is not None:
            each = self.errors[begin:end].mean(axis=0)
            return float(each.mean()), float(each.std())
        return float(np.mean(self.curve[against][begin:end])), math.nan

    @property
    def label(self) -> str:
        """The row's name in a table."""
        return row_label(self.column, self.model, self.train, self.test, self.mode)

    @property
    def published(self) -> tuple[float, float] | None:
        """What the paper prints for the row."""
        mode = MODES[self.mode].alters or self.mode  # stands beside the row of the same method
        model = "hnet" if self.column == "improved" else self.model
        return published(self.table, model, self.train, self.test, mode)


def _nan(value: Any) -> Any:
    """Put back what JSON has no word for."""
    if value is None:
        return math.nan
    if isinstance(value, list):
        return [_nan(each) for each in value]
    if isinstance(value, dict):
        return {key: _nan(each) for key, each in value.items()}
    return value


def _where(file: Path) -> dict[str, Any]:
    """Read off a path where its cell belongs."""
    model, train, test, mode, seed = file.stem.split("-")
    names = {"model": model, "train": train, "test": test, "mode": mode}
    table, column = file.parts[-3:-1]
    return {"table": table, "column": column, "seed": int(seed.removeprefix("s"))} | names


def _read(file: Path) -> Result:
    # What needs no training has none of these.
    stored: dict[str, Any] = {"best_epoch": 0, "loss": None, "stopped": None, "recipe": None}
    try:
        stored |= json.loads(file.read_text(encoding="utf-8")) | _where(file)
        for key in (
            *("error_mean", "error_std", "error_mean_clean", "error_median"),
            *("stretches", "curve", "loss"),
        ):
            stored[key] = _nan(stored[key])
        sample = stored.get("sample")
        stored["sample"] = None if sample is None else _nan(sample)
        beside = file.with_suffix(ERRORS)
        if beside.exists():
            with np.load(beside) as arrays:
                stored["errors"] = arrays["noisy"]
        kept = {key: stored[key] for key in Result.__dataclass_fields__ if key in stored}
        return Result(**kept)
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{file} is a damaged result ({error!r}); `srnn reproduce` into the same folder makes "
            "it again."
        ) from error


def results(
    table: str | None = None,
    *,
    column: str | None = None,
    model: str | None = None,
    train: str | None = None,
    test: str | None = None,
    mode: str | None = None,
    seed: int | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> list[Result]:
    """Read stored cells of the reproduction.

    Parameters
    ----------
    table : str, optional
        ``table1``, ``table2``, ``table3``, ``figure1`` or ``figure4``; ``table1-sigma0.1`` and the
        like for another noise, ``table1-ordinary``, ``table1-start1`` and ``table1-letter`` for
        other chains, first weights and ways: see :class:`srnn.experiments.reproduction.Cell`.
    column : {"faithful", "improved", "oracle"}, optional
    model, train, test, mode : str, optional
        Keep the cells of that name.
    seed : int, optional
    folder : path-like, optional
        Where ``srnn reproduce`` has written; by default what the package came with.

    Returns
    -------
    list of Result
        Sorted by their paths; empty if nothing matches.

    Raises
    ------
    ValueError
        If there is no such table or column.
    FileNotFoundError
        If there is no such folder.
    CheckpointError
        If a file is truncated, or is no result; the text names it.

    Examples
    --------
    >>> from srnn import experiments
    >>> for cell in experiments.results("table1", column="oracle", seed=0):
    ...     print(f"{cell.label:16s} {cell.error_mean:.2f}")
    exact flow L     1.21
    perfect          0.88
    true equations L 1.98
    predict zero     5.87
    """
    if folder is None:
        place = FOLDER
    else:
        place = Path(folder)
        if (place / "results").is_dir():
            place = place / "results"
        if not place.is_dir():
            raise FileNotFoundError(
                f"There is no folder {place} of results; `srnn reproduce` makes one."
            )
    if table is not None:
        names = {cell.table for cells in TABLES.values() for cell in cells}
        _checks.choice(table, "table", sorted(names))
    if column is not None:
        _checks.choice(column, "column", COLUMNS)
    files = sorted(place.glob(f"{table or '*'}/{column or '*'}/*-s*.json"))
    wanted = {"model": model, "train": train, "test": test, "mode": mode, "seed": seed}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return [_read(file) for file in files if wanted.items() <= _where(file).items()]


@dataclass(frozen=True)
class Row:
    """The cells of one row over its seeds.

    Attributes
    ----------
    label : str
    cells : tuple of Result
        One a seed.
    published : (float, float) or None

    Examples
    --------
    >>> from srnn import experiments
    >>> row = experiments.rows("table1", column="oracle")[0]
    >>> row.label, len(row.cells)
    ('exact flow L', 3)
    """

    label: str
    cells: tuple[Result, ...]
    published: tuple[float, float] | None

    def mean(self, against: str = "noisy", stretch: str | None = None) -> float:
        """Mean error over the seeds, of all counted states or of a stretch of them.

        Examples
        --------
        >>> from srnn import experiments
        >>> row = experiments.rows("table1", column="oracle")[1]
        >>> row.label, row.mean("clean")
        ('perfect', 0.0)
        """
        return float(np.mean(self._each(against, stretch)))

    def spread(self, against: str = "noisy", stretch: str | None = None) -> float:
        """Give the standard deviation of the error over the seeds; not a number for one seed.

        Examples
        --------
        >>> from srnn import experiments
        >>> experiments.rows("table1", column="oracle")[1].spread("clean")
        0.0
        """
        each = self._each(against, stretch)
        return float(np.std(each, ddof=1)) if len(each) > 1 else math.nan

    @property
    def std(self) -> float:
        """Standard deviation over the test samples, averaged over the seeds: the paper's."""
        return float(np.mean([cell.error_std for cell in self.cells]))

    def deviation(self, stretch: str) -> float:
        """Give the same of a stretch of states; not a number where a seed is stored without it.

        Examples
        --------
        >>> from srnn import experiments
        >>> row = experiments.rows("table1", column="oracle")[1]
        >>> row.label, row.deviation("0..200") == row.std
        ('perfect', True)
        """
        return float(np.mean([cell.over(stretch)[1] for cell in self.cells]))

    def _each(self, against: str, stretch: str | None) -> list[float]:
        _checks.choice(against, "against", ("noisy", "clean"))
        if stretch is None:
            name = "error_mean" if against == "noisy" else "error_mean_clean"
            return [getattr(cell, name) for cell in self.cells]
        return [cell.over(stretch, against)[0] for cell in self.cells]


def rows(
    table: str, *, column: str | None = None, folder: str | os.PathLike[str] | None = None
) -> list[Row]:
    """Read a table: its rows in the paper's order, each over its seeds.

    Parameters
    ----------
    table : str
    column : {"faithful", "improved", "oracle"}, optional
    folder : path-like, optional
        As for :func:`results`.

    Returns
    -------
    list of Row

    Examples
    --------
    >>> from srnn import experiments
    >>> [row.label for row in experiments.rows("table1", column="oracle")][:2]
    ['exact flow L', 'perfect']
    """
    found: dict[tuple[str, ...], list[Result]] = {}
    for cell in results(table, column=column, folder=folder):
        key = (cell.column, cell.model, cell.train, cell.test, cell.mode)
        found.setdefault(key, []).append(cell)

    def place(key: tuple[str, ...]) -> tuple[Any, ...]:
        # What is no kind of network, such as the walls of a billiard, follows by name.
        column, model, train, test, mode = key
        nets = list(NETS)
        of_model = nets.index(model) if model in nets else len(nets)
        of_mode = list(MODES).index(mode)
        return column, model in ("rnn", "lstm"), of_mode, of_model, model, train, test

    return [
        Row(found[key][0].label, tuple(found[key]), found[key][0].published)
        for key in sorted(found, key=place)
    ]
