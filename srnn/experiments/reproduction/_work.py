"""One job: fit a model, read its cells off it, and write each at once."""

import json
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srnn.data._arrays import whole_file
from srnn.data.trajectories import Trajectories
from srnn.experiments import billiard
from srnn.experiments._store import made_with
from srnn.experiments.reproduction._cells import Cell, Fit, Job
from srnn.experiments.reproduction._nets import NETS
from srnn.experiments.reproduction._problems import OBSERVED, Draw, problem
from srnn.model import models
from srnn.model.model import Model
from srnn.model.models import SRNN
from srnn.motion.fields import hamiltonian_of
from srnn.results.metrics import position_error
from srnn.starts.iso import optimise_initial_state
from srnn.training.run import History

__all__ = [
    *("ERRORS", "PRINTED", "SAMPLED", "SHOWN"),
    *("evaluate", "finished", "job_weights", "problem", "run"),
]

ERRORS = ".npz"
"""Of the file beside a result that holds the error of every sample at every time."""
PRINTED = 50
"""States of a chain that the paper's tables are compared over: see the chapter on reproduction."""
SAMPLED = 0
"""Number of the test trajectory whose prediction is kept, for the figures."""
SHOWN = {"chain": slice(0, 20, 2), "three-body": slice(None), "billiard": slice(None)}
"""Positions that are kept of it: every other of a chain's masses, and all of the others."""


def _model(fit: Fit, drawn: Draw) -> Any:
    """Make the model of a fit, or what stands for one: states where nothing moves them."""
    if fit.problem == "billiard":
        return billiard.make(fit.net)
    made = NETS[fit.net].make(drawn, fit.hidden[0] if len(fit.hidden) == 1 else fit.hidden)
    if isinstance(made, Tensor):
        return made
    how: dict[str, Any] = {"preset": fit.preset, "generator": drawn.generator}
    if hamiltonian_of(made) is None:
        return Model(made, fit.integrator, **how)
    return SRNN(made.dim, hamiltonian=made, integrator=fit.integrator or "leapfrog", **how)


def _settings(fit: Fit) -> dict[str, Any]:
    """List what `fit` is told."""
    capped = {} if fit.minutes is None else {"max_seconds": 60 * fit.minutes}
    return fit.settings | capped


def _train(model: Model, fit: Fit, training: Trajectories, checkpoint: Path) -> History:
    """Fit, going on from the checkpoint where there is one."""
    return model.fit(training, progress=False, checkpoint=checkpoint, **_settings(fit))


def _predict(cell: Cell, model: Model, test: Trajectories) -> Trajectories:
    """Roll out from where the cell starts."""
    steps, integrator = test.steps, cell.test_integrator
    parts = cell.fit.settings.get("substeps", 1)
    start = test.first(1)
    if cell.iso is not None:
        observed = test.first(OBSERVED)
        found = optimise_initial_state(model, observed, method=cell.iso, integrator=integrator)
        start = Trajectories.from_states(found.states[None], dt=test.dt)
    return model.predict(start, steps=steps, iso=False, integrator=integrator, substeps=parts)


def evaluate(cell: Cell, model: Any, drawn: Draw) -> dict[str, Any]:
    """Measure a trained model as a cell asks.

    Parameters
    ----------
    cell : Cell
    model : Model or Tensor
        Of the cell's fit; or the predicted states, where no model moves them.
    drawn : Draw
        Of the same fit and the model's seed.

    Returns
    -------
    dict
        ``error_mean`` and ``error_std`` against what was observed, over the samples, of all the
        states that the table counts; ``error_mean_clean``; the same over other stretches
        (``stretches``); the ``curve`` over time; and the positions of one predicted trajectory
        (``sample``), in which numbers that are not finite are None; and ``errors``, a tensor of
        the error of every sample at every time against what was observed, of shape (time, sample).

    Examples
    --------
    >>> import srnn
    >>> from srnn.experiments import reproduction
    >>> job = reproduction.jobs("table1", preset="smoke")[0]
    >>> drawn = reproduction.problem(job.fit, job.seed)
    >>> row = reproduction.evaluate(job.cells[0], srnn.SRNN(20, hamiltonian=drawn.system), drawn)
    >>> row["errors"].shape == (job.fit.states, job.fit.tests)
    True
    >>> row["stretches"][f"0..{job.fit.states}"]["noisy"][0] == row["error_mean"]
    True
    """
    test = drawn.test
    if isinstance(model, Tensor):
        prediction = Trajectories.from_states(model, dt=test.dt)
    else:
        prediction = _predict(cell, model, test)
    errors = {name: position_error(prediction, test, name).double() for name in ("noisy", "clean")}
    states = len(errors["noisy"])
    counted = (0, min(6, states)) if cell.fit.problem == "three-body" else (0, states)
    spans = [counted, (0, states)]
    if cell.fit.problem == "chain":
        spans = [counted, (0, min(PRINTED, states)), (min(OBSERVED, states - 1), states)]
    stretches = {
        f"{begin}..{end}": {name: _row(error[begin:end]) for name, error in errors.items()}
        for begin, end in spans
    }
    headline = stretches[f"{counted[0]}..{counted[1]}"]
    bad = ~torch.isfinite(errors["noisy"][: counted[1]]).all(dim=0)
    return {
        "error_mean": headline["noisy"][0],
        "error_std": headline["noisy"][1],
        "error_mean_clean": headline["clean"][0],
        # Of all times and samples; a prediction that has diverged is infinitely far off.
        "error_median": _finite(
            float(errors["noisy"].nan_to_num(nan=math.inf, posinf=math.inf).median())
        ),
        "diverged": int(bad.sum()),
        "stretches": stretches,
        "curve": {name: _numbers(error.mean(dim=1), 5) for name, error in errors.items()},
        "sample": [_numbers(q, 4) for q in prediction.q[:, SAMPLED, SHOWN[cell.fit.problem]]],
        "errors": errors["noisy"],
    }


def _row(error: Tensor) -> list[float | None]:
    """Mean and standard deviation over the samples, as the tables'."""
    each = error.mean(dim=0)
    return [_finite(float(each.mean())), _finite(float(each.std(correction=0)))]


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _numbers(x: Tensor, digits: int) -> list[float | None]:
    return [_finite(float(f"{value:.{digits}g}")) for value in x.tolist()]


def versions() -> dict[str, str]:
    """Tell what a result was made with.

    Examples
    --------
    >>> sorted(versions())
    ['machine', 'numpy', 'python', 'scipy', 'srnn', 'torch']
    """
    from srnn import __version__

    return made_with() | {"srnn": __version__}


def job_weights(folder: Path, job: Job) -> Path:
    """Tell where the trained weights of a job are.

    Examples
    --------
    >>> from pathlib import Path
    >>> from srnn.experiments.reproduction import jobs
    >>> job_weights(Path("out"), jobs("table3", preset="smoke")[-1]).parent.name
    'weights'
    """
    # By the fit, which several tables may share.
    net = re.sub(r"[^a-z0-9]+", "-", job.fit.net.lower())
    name = f"{job.fit.problem}-{net}-s{job.seed}-{job.fit.digest()}"
    return folder / "weights" / f"{name}.safetensors"


def finished(folder: Path, job: Job, cell: Cell) -> bool:
    """Whether a cell's result is there, with this configuration.

    Examples
    --------
    >>> from pathlib import Path
    >>> from srnn.experiments.reproduction import jobs
    >>> job = jobs("table3", preset="smoke")[0]
    >>> finished(Path("no-such-folder"), job, job.cells[0])
    False
    """
    return _is_of(_stored(folder, job, cell), job, cell)


def _stored(folder: Path, job: Job, cell: Cell) -> dict[str, Any]:
    """Read what is stored under a cell's name; nothing if it is not there, or half of it is."""
    try:
        file = folder / "results" / cell.path(job.seed)
        return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return {}


def _is_of(stored: dict[str, Any], job: Job, cell: Cell) -> bool:
    return (stored.get("config_hash"), stored.get("preset")) == (cell.digest(), job.preset)


def run(job: Job, folder: str | os.PathLike[str]) -> None:
    """Do what is left of a job.

    Parameters
    ----------
    job : Job
    folder : path-like
        Holds ``results``, ``weights`` and ``checkpoints``; made where it is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from srnn.experiments.reproduction import jobs
    >>> job = next(j for j in jobs("table1", preset="smoke") if j.fit.net == "zero")
    >>> with tempfile.TemporaryDirectory() as there:
    ...     run(job, there)
    ...     finished(Path(there), job, job.cells[0])
    True
    """
    folder = Path(folder)
    missing = []
    for cell in job.cells:
        stored = _stored(folder, job, cell)
        if stored and stored.get("preset") != job.preset:  # results of another size stay
            raise ValueError(
                f"{folder / 'results' / cell.path(job.seed)} is of preset "
                f"{stored.get('preset')!r}, not {job.preset!r}: name another folder for the "
                "results."
            )
        if not _is_of(stored, job, cell):
            missing.append(cell)
    if not missing:
        return
    for name in ("weights", "checkpoints"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    drawn = problem(job.fit, job.seed)
    model, took = _trained(job, folder, drawn)
    for cell in missing:
        result = evaluate(cell, model, drawn)
        errors = result.pop("errors").numpy().astype(np.float32)
        if job.seed:  # figures show one seed
            result["sample"] = None
        result |= {
            "preset": job.preset,
            "seed": job.seed,
            "config": cell.config(),
            "config_hash": cell.digest(),
            "versions": versions(),
        }
        file = folder / "results" / cell.path(job.seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        # First, so that no result is without it.
        with whole_file(file.with_suffix(ERRORS)) as beside, beside.open("wb") as stream:
            np.savez_compressed(stream, noisy=errors)
        with whole_file(file) as beside:
            beside.write_text(_text(result | took), encoding="utf-8")


def _text(result: dict[str, Any]) -> str:
    """Write JSON with a key a line, so that a change shows as one."""
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in result.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _trained(job: Job, folder: Path, drawn: Draw) -> tuple[Any, dict[str, Any]]:
    """Return the model of a job and what its training took, from its weights if they are there."""
    took: dict[str, Any] = {
        "epochs_done": 0,
        "capped": False,
        "wall_time_s": 0.0,
        "threads": torch.get_num_threads(),
    }
    model = _model(job.fit, drawn)
    if not job.fit.learnt:
        return model, took
    kept = job_weights(folder, job)
    note = kept.with_suffix(".json")
    if kept.exists() and note.exists():
        return models.load(kept), json.loads(note.read_text(encoding="utf-8"))
    checkpoint = folder / "checkpoints" / kept.name
    begin = time.monotonic()
    history = _train(model, job.fit, drawn.training, checkpoint)
    took |= {
        "epochs_done": history.epochs,
        "best_epoch": history.best_epoch,
        "stopped": history.stopped,
        "capped": history.stopped == "time",
        # The epochs of all runs that a killed one was made of, or the whole of a single one.
        "wall_time_s": round(max(history.seconds, time.monotonic() - begin), 1),
        "loss": _finite((history.validation_loss or history.train_loss or [math.nan])[-1]),
        "recipe": model.recipe(**_settings(job.fit)).as_stored(),
    }
    model.save(kept)
    with whole_file(note) as beside:
        beside.write_text(json.dumps(took) + "\n", encoding="utf-8")
    checkpoint.unlink(missing_ok=True)
    return model, took
