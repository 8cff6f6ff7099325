"""The jobs of a command: what is fitted with which seeds, in which order."""

import dataclasses

from srnn import _checks
from srnn.experiments.reproduction._cells import PRESETS, Cell, Fit, Job
from srnn.experiments.reproduction._chains import chains
from srnn.experiments.reproduction._tables import PAPER

__all__ = ["TABLES", "jobs"]

TABLES = PAPER | {"chains": chains()}
"""The cells of everything that the command computes."""

# Seconds an epoch on one core of two that both train, as stored; they order the jobs and move the
# progress bar.
_SECONDS = {
    ("chain", "hnet", "single"): 2.3,
    ("chain", "onet", "single"): 2.5,
    ("chain", "hnet", "recurrent"): 0.7,
    ("chain", "onet", "recurrent"): 1.5,
    ("three-body", "hnet", "single"): 1.2,
    ("three-body", "onet", "single"): 0.6,
    ("three-body", "hnet", "recurrent"): 1.5,
    ("three-body", "onet", "recurrent"): 0.8,
}


def _repeated(cell: Cell) -> bool:
    """Whether a cell gets several seeds: what the paper is about, and what is quick."""
    if cell.fit.problem == "billiard":  # as it is stored; its test set is of one seed
        return False
    through_leapfrog = (cell.model, cell.train, cell.test) == ("hnet", "L", "L")
    headline = through_leapfrog and cell.mode in ("recurrent", "iso", "isoeach")
    # The paper's recipe has one elsewhere, be it with something altered.
    return headline or cell.column == "oracle" or cell.fit.preset is None


def _cost(fit: Fit) -> float:
    """About how many seconds a fit takes at full size."""
    if fit.minutes is not None:
        return 60 * fit.minutes
    if not fit.learnt:
        return 2.0
    if fit.problem == "billiard":
        return 600.0
    if fit.preset is None:
        return 30.0
    mode = "single" if fit.settings.get("window") == 2 else "recurrent"
    epochs = int(fit.settings["epochs"])
    seconds = epochs * _SECONDS.get((fit.problem, fit.net, mode), 1.0)
    # Starts are optimised before every fifth epoch.
    return seconds * (1 + 5 / fit.settings.get("iso_every", 1) if fit.settings.get("iso") else 1)


def _worth(job: Job) -> tuple[int, float]:
    """Sort the jobs: quick ones, the rows the paper is about, the rest, capped ones last."""
    first = job.cells[0]
    late = any(word in first.table for word in ("sigma", "letter", "figure1"))
    if job.fit.minutes is not None or job.fit.net == "rnn":
        return 4, job.cost
    if job.cost < 60 and "sigma" not in first.table:
        return 0, job.cost
    if _repeated(first) and not late:
        return 1, job.seed
    return 3 if late else 2, job.cost


def _smaller(fit: Fit) -> Fit:
    """Shrink a fit to a second or less."""
    settings = dict(fit.settings)
    if fit.learnt and fit.net != "quadratic":
        settings |= {"epochs": 2}
    if settings.get("start_noise"):  # a quarter of a minute on few data, whatever their number
        settings |= {"warm_start": True, "start_noise": False}
    if fit.problem == "billiard" and fit.learnt:
        settings |= {"wall_steps": 10}
    if fit.preset == "paper" and settings.get("iso"):
        settings |= {"iso_from": 1, "iso_every": 1}
    return dataclasses.replace(
        fit,
        hidden=tuple(8 for _ in fit.hidden),
        settings=settings,
        minutes=None if fit.minutes is None else 0.05,
        training=min(fit.training, 24),
        tests=4,
        states=min(fit.states, 20),
    )


def jobs(table: str = "all", *, preset: str = "paper", seeds: int = 3) -> list[Job]:
    """List what a command computes, in the order in which it does.

    Parameters
    ----------
    table : str
        One of ``TABLES``, or ``"all"``: the paper's own, which are all but ``"chains"``.
    preset : {"paper", "smoke"}
        The paper's sizes, or the same code in a few minutes, for trying it out.
    seeds : int
        Of the rows that the paper is about, and of those without long training; 1 for the others.

    Returns
    -------
    list of Job

    Raises
    ------
    ValueError
        If a name is unknown or `seeds` is not positive.

    Examples
    --------
    >>> len(jobs("table3", preset="smoke", seeds=1))
    12
    """
    _checks.choice(table, "table", ("all", *TABLES))
    _checks.choice(preset, "preset", PRESETS)
    seeds = _checks.positive_int(seeds, "seeds")
    found: dict[tuple[str, int], list[Cell]] = {}
    for name in PAPER if table == "all" else (table,):
        for cell in TABLES[name]:
            if preset == "smoke":
                cell = dataclasses.replace(cell, fit=_smaller(cell.fit))
            of_row = range(seeds) if cell.seeds is None else cell.seeds
            for seed in of_row[: seeds if _repeated(cell) else 1]:
                found.setdefault((cell.fit.digest(), seed), []).append(cell)
    costs = {key: _cost(cells[0].fit) if preset == "paper" else 1.0 for key, cells in found.items()}
    every = [Job(c[0].fit, key[1], preset, tuple(c), costs[key]) for key, c in found.items()]
    return sorted(every, key=_worth)
