"""The paper's tables and figures, computed cell by cell.

A *cell* is one number of a table.  Cells are read off *fits*, so that a model which is tested in
two ways is trained once; a fit with one seed and its cells is a *job*.  Jobs do not depend on each
other: :func:`sweep` runs them on as many processes as it is given, and whatever is killed goes on
where it stopped.

A row is a :class:`Cell` in the list of its table, :data:`TABLES`, and a kind of network an entry of
:data:`NETS`; from outside the package a row is computed by ``run(Job(fit, seed, "smoke", (cell,),
cost), folder)``, with a fit whose ``net`` was put into :data:`NETS` if it is a new one.
"""

from srnn.experiments.reproduction._cells import (
    COLUMNS,
    MODES,
    PRESETS,
    Cell,
    Fit,
    Job,
    Mode,
)
from srnn.experiments.reproduction._jobs import TABLES, jobs
from srnn.experiments.reproduction._nets import NETS, Net
from srnn.experiments.reproduction._problems import Draw, problem
from srnn.experiments.reproduction._published import published
from srnn.experiments.reproduction._results import row_label
from srnn.experiments.reproduction._sweep import Failure, sweep, unfinished
from srnn.experiments.reproduction._work import evaluate, run

__all__ = [
    "COLUMNS",
    "MODES",
    "NETS",
    "PRESETS",
    "TABLES",
    "Cell",
    "Draw",
    "Failure",
    "Fit",
    "Job",
    "Mode",
    "Net",
    "evaluate",
    "jobs",
    "problem",
    "published",
    "row_label",
    "run",
    "sweep",
    "unfinished",
]
