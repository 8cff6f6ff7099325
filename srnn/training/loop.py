"""Training through an integrator: single-step and recurrent are one loop with a window length."""

import hashlib
import json
import math
import os
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from srnn import _checks
from srnn.data.trajectories import Trajectories
from srnn.errors import CheckpointError, TrainingDiverged
from srnn.motion._autograd import differentiates
from srnn.motion.integrators import Integrator
from srnn.training.recipes import Recipe
from srnn.training.resuming import restore, save
from srnn.training.run import History, Run

__all__ = ["begun", "check_checkpoint", "check_data", "check_validation", "train"]


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
        With a text that names what does not fit: the dimension, dtype or device, the number of
        states, the status of a trajectory, or missing derivatives.

    Examples
    --------
    >>> import torch, srnn
    >>> data = srnn.Trajectories.from_states(torch.zeros(10, 3, 4), dt=0.1)
    >>> check_data(data, 3, torch.zeros(1), srnn.recipes.Recipe(), "data")
    Traceback (most recent call last):
    ValueError: Expected `data` with dim=3, as the model's; got 2.
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
    _checks.squarable(data.values, name)
    if data.status is not None and bool((data.status != 0).any()):
        raise ValueError(
            f"Expected `{name}` with status 0 throughout; {int((data.status != 0).sum())} "
            f"trajectories have another. Leave them out: {name}.select({name}.status == 0)."
        )
    if data.steps < 1:
        raise ValueError(f"Expected `{name}` of at least two states a trajectory; got 1.")
    if recipe.window is not None and recipe.window > data.steps + 1:
        raise ValueError(
            f"A window of {recipe.window} states is longer than the trajectories of `{name}`, "
            f"which have {data.steps + 1}."
        )
    if recipe.derivatives and data.derivatives is None:
        raise ValueError(
            f"Training on derivatives needs `{name}` with derivatives: "
            "simulate(..., derivatives=True), or Trajectories(..., dq=..., dp=...)."
        )


def check_validation(validation_data: Trajectories, data: Trajectories, recipe: Recipe) -> None:
    """Refuse validation data that the recipe cannot treat as it does the training data.

    Parameters
    ----------
    validation_data, data : Trajectories
    recipe : Recipe

    Raises
    ------
    ValueError
        If their spacing differs, or whole trajectories are trained on and these are shorter.

    Examples
    --------
    >>> import torch, srnn
    >>> z = torch.zeros(10, 3, 4)
    >>> data, other = (srnn.Trajectories.from_states(z, dt=dt) for dt in (0.1, 0.2))
    >>> check_validation(other, data, srnn.recipes.Recipe())
    Traceback (most recent call last):
    ValueError: Expected `validation_data` with the spacing of `data`, dt=0.1; got 0.2.
    """
    if not _checks.same_spacing(validation_data.dt, data.dt):
        raise ValueError(
            f"Expected `validation_data` with the spacing of `data`, dt={data.dt!r}; "
            f"got {validation_data.dt!r}."
        )
    if recipe.window is None and validation_data.steps < data.steps:
        raise ValueError(
            f"Expected `validation_data` of at least {data.steps + 1} states, as `data`; "
            f"got {validation_data.steps + 1}. Or name a shorter window."
        )


def begun(windows: Trajectories, recipe: Recipe) -> Trajectories:
    """Leave out windows that a rollout cannot begin with: those whose first state has a gap.

    With ISO from the first epoch on none is left out, since starts are found; nor where derivatives
    are fitted.

    Parameters
    ----------
    windows : Trajectories
    recipe : Recipe

    Returns
    -------
    Trajectories

    Raises
    ------
    ValueError
        If no window is left.

    Warns
    -----
    UserWarning
        Of how many are left out.

    Examples
    --------
    >>> import torch, srnn
    >>> z = torch.zeros(10, 3, 4)
    >>> data = srnn.Trajectories.from_states(z, dt=0.1)
    >>> begun(data, srnn.recipes.Recipe()) is data
    True
    """
    found = recipe.iso is not None and recipe.iso_from == 0
    if windows.observed is None or found or recipe.derivatives:
        return windows
    whole = windows.observed[0].all(dim=-1)
    if bool(whole.all()):
        return windows
    if not bool(whole.any()):
        raise ValueError(
            f"None of the {len(windows)} windows begins with a whole state, from which training "
            "without ISO rolls out: pass iso=True, which finds such states."
        )
    warnings.warn(
        f"{int((~whole).sum())} of {len(windows)} windows begin with a gap and are left out; "
        "iso=True trains on all.",
        stacklevel=4,
    )
    return windows.select(whole)


def check_checkpoint(path: str | os.PathLike[str]) -> Path:
    """Refuse a path that no checkpoint can be written to.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    IsADirectoryError
        If it is a folder itself.

    Examples
    --------
    >>> check_checkpoint("no-such-folder/run")
    Traceback (most recent call last):
    FileNotFoundError: The folder no-such-folder of the checkpoint does not exist; create it first.
    """
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"The checkpoint {file} is a folder; name a file in it.")
    if not file.parent.is_dir():
        raise FileNotFoundError(
            f"The folder {file.parent} of the checkpoint does not exist; create it first."
        )
    return file


def _fingerprint(run: Run) -> str:
    """Tell one training run from another: network, start weights, data, recipe and seed."""
    recipe = run.recipe.deciding()
    tensors = run.motion.state_dict()
    for name, data in (("training", run.training), ("held out", run.held_out)):
        if data is not None:
            tensors[name] = data.values
        if data is not None and data.derivatives is not None:
            tensors[f"{name} derivatives"] = data.derivatives
    shapes = {name: (str(x.dtype), list(x.shape)) for name, x in tensors.items()}
    frozen = [
        f"{prefix}{name}"
        for prefix, module in run.motion.modules()
        for name, x in module.named_parameters()
        if not x.requires_grad
    ]
    try:
        config = getattr(run.motion.net, "config", None)
    except TypeError:  # of parts, some of them not the library's own
        config = None
    network = [type(run.motion.net).__name__, config, str(run.motion.step), *frozen]
    digest = hashlib.sha256(json.dumps([recipe, run.training.dt, network, shapes]).encode())
    digest.update(run.generator.get_state().numpy().tobytes())
    for tensor in tensors.values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@differentiates
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
    solved: bool = False,
    begin: float | None = None,
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
    solved : bool
        Whether `net` is at its optimum already, so that there is no epoch to train.
    begin : float, optional
        What ``time.monotonic()`` was when the work began, for one that chose a start before.

    Returns
    -------
    History

    Raises
    ------
    TrainingDiverged
        If a loss is not finite; `net` is left with the last good weights.
    CheckpointError
        If `path` is truncated or belongs to another run.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> data = srnn.systems.MassSpring().simulate(20, steps=4, dt=0.1, generator=g)
    >>> recipe = srnn.recipes.Recipe(epochs=3)
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> train(srnn.QuadraticH(1), leapfrog, data, None, recipe, g, progress=False).epochs
    3
    """
    begin = time.monotonic() if begin is None else begin  # the run optimises starts, which counts
    run = Run(net, integrator, training, held_out, recipe, generator, solved)
    file = None if path is None else check_checkpoint(path)
    fingerprint = "" if file is None else _fingerprint(run)
    if file is not None and file.exists():
        try:
            restore(run, file, fingerprint)
        except (ArithmeticError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file} is a damaged checkpoint ({error!r}).") from error
    run.history.stopped = run.finished
    try:
        _epochs(run, file, fingerprint, progress, begin)
    finally:
        # Whatever ends the run, an interrupt or a full disk among them, the best so far is kept.
        run.motion.load_state_dict(run.best)
    return run.history


def _epochs(run: Run, file: Path | None, fingerprint: str, progress: bool, begin: float) -> None:
    """Train until the recipe is done, with a bar and a checkpoint."""
    history = run.history
    before, written = history.seconds, -math.inf
    if not history.stopped:
        history.seconds = before + time.monotonic() - begin
        history.stopped = run.finished  # the time may be over before the first epoch
    total = run.recipe.epochs
    if history.stopped and file is not None and not file.exists():
        save(run, file, fingerprint)  # ended without an epoch
    with tqdm(total=total, initial=history.epochs, disable=not progress, unit="epoch") as bar:
        while not history.stopped:
            try:
                run.epoch()
            except FloatingPointError as error:
                epoch, kept = history.epochs + 1, history.best_epoch
                raise TrainingDiverged(
                    f"Training diverged in epoch {epoch}: {error}. The model holds the weights "
                    f"of {f'epoch {kept}' if kept else 'its start'}, the last good ones. A lower "
                    "learning_rate, a clip_norm or a shorter window may help.",
                    epoch=epoch,
                    history=history,
                ) from error
            history.seconds = before + time.monotonic() - begin
            history.stopped = run.finished
            bar.update()
            losses = history.validation_loss or history.train_loss
            bar.set_postfix(loss=f"{losses[-1]:.3g}", best=history.best_epoch)
            # At most one file a second: a fast epoch should not wait for the disk.
            if file is not None and (history.stopped or time.monotonic() > written + 1):
                save(run, file, fingerprint)
                written = time.monotonic()
