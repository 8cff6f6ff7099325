"""Training through an integrator: single-step and recurrent are one loop with a window length."""

import dataclasses
import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from srnn import _checks
from srnn.data import Trajectories
from srnn.errors import TrainingDiverged
from srnn.integrators import Integrator
from srnn.recipes import Recipe
from srnn.run import History, Run

__all__ = ["check_data", "train"]


def check_data(data: Any, dim: int, weight: Tensor | None, recipe: Recipe, name: str) -> None:
    """Refuse data that a model cannot be trained on.

    Parameters
    ----------
    data : Trajectories
    dim : int
        The model's number of positions.
    weight : Tensor or None
        One of the model's weights; None if it has none.
    recipe : Recipe
    name : str
        What to call the data in the text of a refusal.

    Raises
    ------
    ValueError, TypeError
    """
    if not isinstance(data, Trajectories):
        raise TypeError(
            f"Expected `{name}` to be srnn.Trajectories; got {type(data).__name__}. "
            "Make them of arrays by srnn.Trajectories(q=..., p=..., dt=...)."
        )
    if data.dim != dim:
        raise ValueError(f"Expected `{name}` with dim={dim}, as the model's; got {data.dim}.")
    if weight is None:
        raise ValueError("The model has no parameters to train.")
    _checks.same_as(data.values, name, weight, "model")
    if data.status is not None and bool((data.status != 0).any()):
        raise ValueError(
            f"Expected `{name}` with status 0 throughout; {int((data.status != 0).sum())} "
            f"trajectories have another. Leave them out: {name}.select({name}.status == 0)."
        )
    if data.steps < 1:
        raise ValueError(f"Expected `{name}` of at least two states a trajectory; got 1.")
    if recipe.window is not None and recipe.window > data.steps + 1:
        raise ValueError(
            f"A window of {recipe.window} states is longer than the trajectories, which have "
            f"{data.steps + 1}."
        )
    if recipe.derivatives and data.derivatives is None:
        raise ValueError(
            f"Training on derivatives needs `{name}` with derivatives: "
            "simulate(..., derivatives=True), or Trajectories(..., dq=..., dp=...)."
        )


def _fingerprint(run: Run) -> str:
    """Tell one training run from another: start weights, data, recipe and seed."""
    digest = hashlib.sha256()
    description = [dataclasses.asdict(run.recipe), run.dt, str(run.integrator)]
    digest.update(json.dumps(description, sort_keys=True).encode())
    digest.update(run.generator.get_state().numpy().tobytes())
    tensors = [*run.net.state_dict().values(), run.training.values]
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def train(
    net: nn.Module,
    integrator: Integrator | None,
    training: Trajectories,
    held_out: Trajectories | None,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    path: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> History:
    """Train `net` in place, in the units of the data given, and leave it at its best epoch.

    Parameters
    ----------
    net : module
    integrator : Integrator or None
    training : Trajectories
        The windows to train on.
    held_out : Trajectories or None
    recipe : Recipe
    generator : torch.Generator
        Draws the order of the windows; advanced.
    path : path-like, optional
        Checkpoint, written after epochs (at most about once a second) and read if it is there.
    progress : bool
        Show a bar on the terminal.

    Returns
    -------
    History

    Raises
    ------
    TrainingDiverged
        If a loss is not finite; `net` is left with the last good weights.
    CheckpointError
        If `path` is truncated or belongs to another run.
    """
    run = Run(net, integrator, training, held_out, recipe, generator)
    file = None if path is None else Path(path)
    fingerprint = "" if file is None else _fingerprint(run)
    if file is not None and file.exists():
        run.restore(file, fingerprint)
    before, begin, written = run.history.seconds, time.monotonic(), -math.inf
    bar = tqdm(total=recipe.epochs, initial=run.history.epochs, disable=not progress, unit="epoch")
    with bar:
        while not run.history.stopped:
            try:
                run.epoch()
            except FloatingPointError as error:
                epoch = run.history.epochs + 1
                kept = run.history.best_epoch
                net.load_state_dict(run.best)
                raise TrainingDiverged(
                    f"Training diverged in epoch {epoch}: {error}. The model holds the weights "
                    f"of {f'epoch {kept}' if kept else 'its start'}, the last good ones. A lower "
                    "learning_rate, a clip_norm or a shorter window may help.",
                    epoch=epoch,
                    history=run.history,
                ) from error
            run.history.stopped = run.finished
            run.history.seconds = before + time.monotonic() - begin
            bar.update()
            losses = run.history.validation_loss or run.history.train_loss
            bar.set_postfix(loss=f"{losses[-1]:.3g}", best=run.history.best_epoch)
            # At most one file a second: a fast epoch should not wait for the disk.
            if file is not None and (run.history.stopped or time.monotonic() > written + 1):
                run.save(file, fingerprint)
                written = time.monotonic()
    net.load_state_dict(run.best)
    return run.history
