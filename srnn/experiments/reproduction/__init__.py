"""The paper's tables and figures, computed cell by cell.

A *cell* is one number of a table.  Cells are read off *fits*, so that a model which is tested in
two ways is trained once; a fit with one seed and its cells is a *job*.  Jobs do not depend on each
other: :func:`sweep` runs them on as many processes as it is given, and whatever is killed goes on
where it stopped.
"""

from srnn.experiments.reproduction._cells import (
    COLUMNS,
    MODES,
    PRESETS,
    TABLES,
    Cell,
    Fit,
    Job,
    Mode,
    jobs,
)
from srnn.experiments.reproduction._problems import Draw
from srnn.experiments.reproduction._published import published
from srnn.experiments.reproduction._results import row_label
from srnn.experiments.reproduction._sweep import Failure, sweep, unfinished
from srnn.experiments.reproduction._work import evaluate, problem, run

__all__ = [
    "COLUMNS",
    "MODES",
    "PRESETS",
    "TABLES",
    "Cell",
    "Draw",
    "Failure",
    "Fit",
    "Job",
    "Mode",
    "evaluate",
    "jobs",
    "problem",
    "published",
    "row_label",
    "run",
    "sweep",
    "unfinished",
]
