"""The file that a run goes on from: all that its next epoch depends on, and nothing else.

A ``run`` is a ``Run`` of ``srnn.training.run``, which imports this module.
"""

import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from srnn import _checks
from srnn.errors import CheckpointError
from srnn.training import checkpoint

__all__ = ["restore", "save"]

FORMAT = "srnn.Training/1"


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


def fingerprint(run: Any) -> str:
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


def save(run: Any, path: Path, fingerprint: str) -> None:
    """Write all that the next epoch depends on.

    Examples
    --------
    >>> import tempfile, torch, srnn
    >>> from srnn.training.run import Run
    >>> data = srnn.systems.MassSpring().simulate(4, steps=3, dt=0.1)
    >>> how = (srnn.integrators.get("leapfrog"), data, None, srnn.recipes.Recipe())
    >>> run = Run(srnn.HNet(1, 4), *how, torch.Generator())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(run, Path(folder) / "run", "fingerprint")
    """
    checkpoint.write(path, *_parts(run, fingerprint))


def _parts(run: Any, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file."""
    state = run.optimizer.state_dict()
    tensors = {f"net.{k}": v for k, v in run.motion.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in run.best.items()}
    tensors["generator"] = run.generator.get_state()
    for name, starts in _starts(run):
        tensors |= {f"{name}.{k}": v for k, v in starts.state().items()}
    for index, slots in state["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in slots.items() if v is not None}
    header = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "groups": state["param_groups"],
        "scheduler": None if run.scheduler is None else run.scheduler.state_dict(),
        "history": dataclasses.asdict(run.history),
        "best_loss": run.best_loss,
    }
    return tensors, header


def _starts(run: Any) -> list[tuple[str, Any]]:
    both = (("starts", run.starts), ("held out", run.held_out_starts))
    return [(name, starts) for name, starts in both if starts is not None]


def restore(run: Any, path: Path, fingerprint: str) -> None:
    """Go on from what :func:`save` wrote.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or belongs to another run.
    KeyError, TypeError, ValueError, ArithmeticError
        If it is not what this run can have written, before anything of it is taken over.

    Examples
    --------
    >>> import tempfile, torch, srnn
    >>> from srnn.training.run import Run
    >>> data = srnn.systems.MassSpring().simulate(4, steps=3, dt=0.1)
    >>> how = (srnn.integrators.get("leapfrog"), data, None, srnn.recipes.Recipe())
    >>> run, again = (Run(srnn.HNet(1, 4), *how, torch.Generator()) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(run, Path(folder) / "run", "fingerprint")
    ...     restore(again, Path(folder) / "run", "fingerprint")
    >>> torch.equal(*(each.motion.parameters()[0] for each in (run, again)))
    True
    """
    tensors, header = checkpoint.read(path, FORMAT)
    if header.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path} belongs to another training run: the model, the data, the recipe or the "
            "generator's seed differ. Give the same ones to go on (a model built without "
            "generator= draws another seed in every program), or another path to start anew."
        )

    _check_parts(run, tensors, header)

    def part(prefix: str) -> dict[str, Tensor]:
        own = (name for name in tensors if name.startswith(prefix))
        return {name.removeprefix(prefix): tensors[name] for name in own}

    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimizer.").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    run.motion.load_state_dict(part("net."))
    run.best = {k: v.to(run.training.values.device) for k, v in part("best.").items()}
    run.optimizer.load_state_dict({"state": slots, "param_groups": header["groups"]})
    if run.scheduler is not None:
        run.scheduler.load_state_dict(header["scheduler"])
    run.generator.set_state(tensors["generator"])
    for name, starts in _starts(run):
        starts.restore(part(f"{name}."))
    run.history = dataclasses.replace(run.history, **header["history"])
    run.history.stopped = run.finished  # this call may ask for more epochs than the last
    run.best_loss = float(header["best_loss"])


def _check_parts(run: Any, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Refuse tensors or a header that this run, still at its start, cannot have written later.

    What is missing would else be found at the end of training, or change it unseen.
    """
    own, expected = _parts(run, header["fingerprint"])
    expected = json.loads(json.dumps(expected))
    _same_kind(header, expected, "header")
    for found, fresh in zip(header["groups"], expected["groups"], strict=True):
        _checks.non_negative(found["lr"], "lr")
        if found | {"lr": fresh["lr"]} != fresh:
            raise ValueError(f"Expected settings {fresh} of the optimizer; got {found}")
    history = header["history"]
    done = len(history["train_loss"])
    watched = 0 if run.held_out is None else done
    if (len(history["learning_rate"]), len(history["validation_loss"])) != (done, watched):
        raise ValueError("Expected one entry an epoch in every list of `history`")
    if _checks.positive_int(history["best_epoch"], "best_epoch", minimum=0) > done:
        raise ValueError(f"Expected `best_epoch` to be at most {done}")
    shapes = {name: tuple(x.shape) for name, x in own.items()}
    slots = {name.split(".", 2)[2] for name in tensors if name.startswith("optimizer.")}
    for index, weight in enumerate(run.motion.parameters()):
        # Weights that no gradient has reached yet have no slots; any other has all of them.
        if any(name.startswith(f"optimizer.{index}.") for name in tensors):
            for slot in slots:
                shapes[f"optimizer.{index}.{slot}"] = () if slot == "step" else tuple(weight.shape)
    kept = {name: tuple(x.shape) for name, x in tensors.items()}
    for name in sorted(shapes.keys() | kept.keys()):
        own_shape, found_shape = (each.get(name, "nothing") for each in (shapes, kept))
        if own_shape != found_shape:
            raise ValueError(f"Expected `{name}` of shape {own_shape}; got {found_shape}")


def _same_kind(found: Any, own: Any, name: str) -> None:
    """Refuse a part of a header that has other names or kinds of values than a run's own."""
    if isinstance(own, dict) and isinstance(found, dict) and found.keys() == own.keys():
        for key in own:
            _same_kind(found[key], own[key], f"{name}.{key}")
    elif isinstance(own, list) and isinstance(found, list) and len(own) in (0, len(found)):
        for k, item in enumerate(found):  # a list that is empty at the start is one of losses
            _same_kind(item, own[k] if own else 0.0, f"{name}[{k}]")
    elif type(own) in (int, float) and type(found) in (int, float):
        if math.isnan(found):
            raise ValueError(f"Expected `{name}` to be a number; got nan")
    elif type(own) is not type(found) or isinstance(own, (dict, list)):
        raise TypeError(f"Expected `{name}` to be like {own!r}; got {found!r}")
