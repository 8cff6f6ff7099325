"""Putting finished results, and the weights of the headline rows, into the package."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from srnn.data._arrays import whole_file
from srnn.experiments._store import FOLDER
from srnn.experiments.reproduction._cells import Cell, Job
from srnn.experiments.reproduction._jobs import jobs
from srnn.experiments.reproduction._pretrained import CARDS, card
from srnn.experiments.reproduction._work import ERRORS, finished, job_weights

__all__ = ["publish"]

SUMS = "cells.sha256"


def publish(folder: str | os.PathLike[str], into: str | os.PathLike[str] = FOLDER) -> list[str]:
    """Copy the finished cells of the paper's sizes, and the headline models' weights with cards.

    Beside them ``cells.sha256`` keeps a hash of every file of a cell.

    Parameters
    ----------
    folder : path-like
        Where ``srnn reproduce`` has written.
    into : path-like
        By default the package's own results, which the book reads.

    Returns
    -------
    list of str
        The paths of the cells that are there and finished.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as nothing:
    ...     publish(nothing, nothing)
    []
    """
    folder, into = Path(folder), Path(into)
    copied = []
    seeds = _seeds(folder)
    for job in jobs("all", seeds=seeds) + jobs("chains", seeds=seeds):
        for cell in job.cells:
            if not finished(folder, job, cell):
                continue
            path = cell.path(job.seed)
            _weights(job, cell, folder, into)  # first, so that no result is without its weights
            errors = (folder / "results" / path).with_suffix(ERRORS)
            if errors.exists():
                _copy(errors, (into / path).with_suffix(ERRORS))
            _copy(folder / "results" / path, into / path)
            copied.append(path)
    if copied:
        with whole_file(into / SUMS) as beside:
            beside.write_text(sums(into), encoding="utf-8")
    return copied


def sums(folder: Path) -> str:
    """Hash every file of a cell in a folder, in the form of ``sha256sum``: what is stored stays."""
    files = sorted(x for kind in (".json", ERRORS) for x in folder.glob(f"*/*/*-s*{kind}"))
    hashes = ((hashlib.sha256(x.read_bytes()).hexdigest(), x.relative_to(folder)) for x in files)
    return "".join(f"{digest}  {path.as_posix()}\n" for digest, path in hashes)


def _seeds(folder: Path) -> int:
    """Tell how many seeds to look for."""
    found = (file.stem.rpartition("-s")[2] for file in folder.glob("results/*/*/*-s*.json"))
    return 1 + max(map(int, found), default=0)


def _copy(source: Path, target: Path) -> None:
    """Copy a file whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as beside:
        shutil.copyfile(source, beside)


def _weights(job: Job, cell: Cell, folder: Path, into: Path) -> None:
    """Copy the weights of a cell that a pretrained model is named after."""
    names = [name for name, path in CARDS.items() if path == cell.path(job.seed)]
    source = job_weights(folder, job)
    for name in names:
        if not source.exists():
            raise FileNotFoundError(
                f"The weights {source} of {name!r} are missing; delete "
                f"{folder / 'results' / cell.path(job.seed)} and run `srnn reproduce` again."
            )
        _copy(source, into / "weights" / f"{name}.safetensors")
        result = json.loads((folder / "results" / cell.path(job.seed)).read_text(encoding="utf-8"))
        with whole_file(into / "weights" / f"{name}.md") as beside:
            beside.write_text(card(name, cell, job.seed, result), encoding="utf-8")
