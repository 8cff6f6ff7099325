"""Files: safetensors with a JSON header, no pickles, each written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from srnn.data._arrays import whole_file
from srnn.errors import CheckpointError
from srnn.motion import integrators

__all__ = ["integrator_from_config", "integrator_to_config", "read", "write"]


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON header so that `path` always holds a whole file.

    The file is written beside its place and then renamed, which is atomic: whoever is killed in
    between leaves the former file untouched.

    Examples
    --------
    >>> import tempfile, pathlib, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(pathlib.Path(folder) / "file", {"x": torch.ones(2)}, {"format": "mine/1"})
    ...     tensors, header = read(pathlib.Path(folder) / "file", "mine/1")
    >>> tensors["x"], header
    (tensor([1., 1.]), {'format': 'mine/1'})
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as beside:
        save_file(plain, beside, metadata={"srnn": json.dumps(header)})


def read(path: str | os.PathLike[str], expected: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write` wrote: the tensors and the header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is truncated, is not one of the library's, or its header's ``format`` is not
        `expected`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "file"
    ...     _ = path.write_bytes(b"rubbish")
    ...     read(path, "mine/1")
    Traceback (most recent call last):
    srnn.errors.CheckpointError: ...
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read: it is truncated or not a safetensors file ({error})."
        ) from error
    try:
        header = json.loads(metadata["srnn"])
        found = header["format"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} was not written by srnn.") from error
    if found != expected:
        raise CheckpointError(f"{path} holds {found!r}; expected {expected!r}.")
    return tensors, header


def integrator_to_config(integrator: integrators.Integrator | None) -> Any:
    """Describe an integrator as JSON: its name, or its kind and table.

    Examples
    --------
    >>> from srnn.integrators import Splitting, get
    >>> integrator_to_config(get("yoshida4"))
    'yoshida4'
    >>> integrator_to_config(Splitting("mine", 1, (("kick", 1.0), ("drift", 1.0))))["kind"]
    'Splitting'
    """
    if integrator is None:
        return None
    if (
        integrator.name in integrators.available()
        and integrators.get(integrator.name) == integrator
    ):
        return integrator.name
    kind, config = type(integrator).__name__, getattr(integrator, "config", None)
    if config is None or integrators.FAMILIES.get(kind) is not type(integrator):
        raise TypeError(
            f"Expected an integrator of a known family ({', '.join(integrators.FAMILIES)}) to "
            f"save; got {kind}. One of your own derives from srnn.integrators.Step."
        )
    return {"kind": kind, **config}


def integrator_from_config(config: Any) -> integrators.Integrator | None:
    """Build what :func:`integrator_to_config` described.

    Examples
    --------
    >>> integrator_from_config("yoshida4").order
    4
    """
    if config is None:
        return None
    if isinstance(config, str):
        return integrators.get(config)
    fields = {name: value for name, value in config.items() if name != "kind"}
    integrator: integrators.Integrator = integrators.FAMILIES[config["kind"]].from_config(**fields)
    return integrator
