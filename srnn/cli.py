"""The command ``srnn``: the paper's tables, computed again."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from srnn import __version__
from srnn.experiments._store import FOLDER
from srnn.experiments.reproduction._cells import COLUMNS, PRESETS
from srnn.experiments.reproduction._jobs import TABLES, jobs
from srnn.experiments.reproduction._publish import publish
from srnn.experiments.reproduction._results import Row, rows
from srnn.experiments.reproduction._sweep import sweep, unfinished
from srnn.experiments.reproduction._work import finished

__all__ = ["main"]

_ABOUT = """\
Compute the paper's tables and figures, cell by cell.

A run that was stopped goes on where it was when the same command is given again: finished cells
are kept, and training goes on from its last checkpoint.  Results are written below the output
folder, and by --publish into the package as well.

examples:
  srnn reproduce all --preset smoke      the same code with tiny sizes, in a few minutes
  srnn reproduce table3                  one table at the paper's sizes
  srnn reproduce all --workers 8         everything, on eight processes
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Its words; by default those that the program was started with.

    Returns
    -------
    int
        0; 1 if a cell failed; 130 if it was interrupted.

    Raises
    ------
    SystemExit
        With 2 if the words make no sense, with 0 after ``--version`` and ``--help``.

    Examples
    --------
    >>> main([])
    usage: srnn [-h] [--version] {reproduce} ...
    ...
    0
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help()
        return 0
    return _reproduce(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="srnn", description="Symplectic recurrent neural networks."
    )
    about = "print the version and end"
    parser.add_argument("--version", action="version", version=f"srnn {__version__}", help=about)
    commands = parser.add_subparsers(dest="command")
    how = commands.add_parser(
        "reproduce",
        help="compute the paper's tables and figures",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    how.add_argument("table", choices=(*TABLES, "all"), help="what to compute")
    how.add_argument(
        "--preset",
        choices=PRESETS,
        default="paper",
        help="sizes: the paper's (many core-hours), or tiny ones to try the code out "
        "(default: %(default)s)",
    )
    how.add_argument(
        "--seeds",
        type=_positive,
        metavar="N",
        help="seeds of the rows that the paper is about, and of those that train quickly; the "
        "other rows have one (default: 3, and 1 for tiny sizes)",
    )
    how.add_argument(
        "--workers", type=_positive, metavar="N", help="processes (default: one a core)"
    )
    how.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="a Dask scheduler whose workers do the jobs, such as tcp://host:8786; they need the "
        "output folder by the same path",
    )
    how.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where everything is written (default: reproduction/PRESET in the current folder)",
    )
    how.add_argument(
        "--publish",
        action="store_true",
        help="afterwards copy the finished cells into the package's stored results, which the "
        "book reads",
    )
    how.set_defaults(error=how.error)
    return parser


def _positive(word: str) -> int:
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"expected a positive whole number; got {word!r}")
    return int(word)


def _reproduce(options: argparse.Namespace) -> int:
    folder: Path = options.output or Path("reproduction") / options.preset
    stored = FOLDER.resolve()
    if any(path.resolve().is_relative_to(stored) for path in (folder, folder / "results")):
        options.error(
            f"--output {folder} is in the package's stored results; choose another folder, and add "
            "--publish to copy what is finished"
        )
    if options.publish and options.preset != "paper":
        options.error("--publish needs --preset paper: results of other sizes are not stored")
    seeds = options.seeds or (3 if options.preset == "paper" else 1)
    every = jobs(options.table, preset=options.preset, seeds=seeds)
    left = unfinished(every, folder)
    hours = sum(job.cost for job in left) / 3600
    print(f"{len(left)} of {len(every)} jobs are left, about {hours:.2g} core-hours; {folder}")
    try:
        failed = sweep(every, folder, workers=options.workers, dask=options.dask)
    except (ImportError, OSError) as error:  # no distributed, or no scheduler at the address
        print(f"srnn: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.publish:
        copied = publish(folder)
        print(f"{len(copied)} finished cells are in {stored}.")
    print(_tables(options.table, folder))
    if options.preset != "paper":
        print("Sizes are tiny: the numbers under `here` only show that the code runs.\n")
    cells = [(job, cell) for job in every for cell in job.cells]
    missing = [(job, cell) for job, cell in cells if not finished(folder, job, cell)]
    names = {failure.job for failure in failed}
    lost = sum(job.name in names for job, _ in missing)
    print(
        f"{len(cells) - len(missing)} of {len(cells)} cells are done, {lost} failed, "
        f"{len(missing) - lost} were left to another process."
    )
    if len(missing) > lost:
        print("Give the same command again to see whether that process has finished them.")
    for failure in failed:
        print(f"failed: {failure.job}: {failure.reason}")
    if failed:
        print(f"Tracebacks are in {folder / 'failures'}.")
    return 1 if failed else 0


def _tables(table: str, folder: Path) -> str:
    """Lay out the tables: what was computed here, what the package stores, what is published."""
    lines = []
    chosen = TABLES if table == "all" else (table,)
    for name in dict.fromkeys(cell.table for each in chosen for cell in TABLES[each]):
        for column in COLUMNS:
            here = _rows(folder / "results", name, column)
            stored = _rows(FOLDER, name, column)
            if not here and not stored:
                continue
            lines += [
                f"{name}, {column}",
                f"  {'row':<34}{'here':>21}{'stored':>21}{'published':>17}",
            ]
            for key in stored | here:
                row = here.get(key) or stored[key]
                paper = "-" if row.published is None else _pair(*row.published)
                lines.append(
                    f"  {row.label:<34}{_ours(here.get(key)):>21}{_ours(stored.get(key)):>21}"
                    f"{paper:>17}"
                )
            lines.append("")
    lines.append("Position error against what was observed: mean ± standard deviation over the")
    lines.append(
        "test samples, and in brackets over how many seeds; diverged: not a number; with a"
    )
    lines.append("star: training was ended by the clock.\n")
    return "\n".join(lines)


def _rows(folder: Path, table: str, column: str) -> dict[tuple[str, ...], Row]:
    """Read the rows of a table, if there are any, by the names that they have in common."""
    if not folder.is_dir():
        return {}
    found: dict[tuple[str, ...], Row] = {}
    for row in rows(table, column=column, folder=folder):
        cell = row.cells[0]
        found[(cell.model, cell.train, cell.test, cell.mode)] = row
    return found


def _ours(row: Row | None) -> str:
    if row is None:
        return "-"
    mean = row.mean()
    text = _pair(mean, row.std) if math.isfinite(mean) else "diverged"
    star = "*" if any(cell.capped for cell in row.cells) else ""
    return f"{text} ({len(row.cells)}){star}"


def _pair(mean: float, deviation: float) -> str:
    return f"{_short(mean)} ± {_short(deviation)}"


def _short(x: float) -> str:
    return f"{x:.2f}" if abs(x) < 1000 else f"{x:.1e}"
