"""Files: safetensors with a JSON header, no pickles, each written whole or not at all."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from srnn import _checks
from srnn.data._arrays import whole_file
from srnn.errors import CheckpointError
from srnn.motion import integrators

__all__ = ["integrator_from_config", "integrator_to_config", "read", "write"]

# How a header with a checksum begins in a file, where quotes are escaped.
_MARK = b'"{\\"sha256\\": \\"'
_MOST = 10**6  # passes of a loop that a file may ask for: more than any fit, less than a hang


def _digest(raw: bytes, at: int) -> str:
    """Hash all bytes of a file but for the 64 at `at`, where the hash itself is."""
    view = memoryview(raw)
    digest = hashlib.sha256(view[:at])
    digest.update(view[at + 64 :])
    return digest.hexdigest()


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON header so that `path` always holds a whole file.

    The file is written beside its place and then renamed, which is atomic: whoever is killed in
    between leaves the former file untouched.  A checksum of all its bytes is kept in the file.

    Raises
    ------
    OSError
        If there is no room, or no permission, to write; the former file is untouched.

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
    text = json.dumps({"sha256": 64 * "0"} | dict(header))
    raw = save(plain, metadata={"srnn": text})
    at = raw.index(_MARK) + len(_MARK)
    with whole_file(path) as beside, beside.open("wb") as file:
        for part in (memoryview(raw)[:at], _digest(raw, at).encode(), memoryview(raw)[at + 64 :]):
            file.write(part)


def read(path: str | os.PathLike[str], expected: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write` wrote: the tensors and the header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is truncated, is not one of the library's, is not as it was written (files of
        before there was a checksum cannot tell), or its header's ``format`` is not `expected`.

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
    raw = path.read_bytes()  # once: beside a writer a second look may meet another file
    try:
        tensors = load(raw)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: it is truncated or not a safetensors file ({error})."
        ) from error
    try:
        outer = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        text = outer["__metadata__"]["srnn"]
        header = json.loads(text)
        found = header["format"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} was not written by srnn.") from error
    # By how it begins: a damaged name of the checksum must not pass for a file of before it.
    if text.startswith('{"sha256": "'):
        whole = header.pop("sha256") == _digest(raw, raw.find(_MARK) + len(_MARK))
    else:
        whole = text.startswith('{"format": ')
    if not whole:
        raise CheckpointError(
            f"{path} is damaged: its bytes are not those that were written (the checksum differs). "
            "Take another copy of it, or delete it and write it anew."
        )
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
    name = integrator.name
    if name in integrators.available() and integrators.get(name) == integrator:
        return name
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
    for name, kind in (("name", str), ("order", int), ("symplectic", bool), ("reuse", bool)):
        if type(value := getattr(integrator, name, kind())) is not kind:
            raise TypeError(f"Expected `{name}` of an integrator to be {kind}; got {value!r}.")
    moderate(getattr(integrator, "iterations", 1), "iterations")
    return integrator


def moderate(value: Any, name: str) -> int:
    """Return a number of passes that a file asks for, if it is positive and can be waited for."""
    if _checks.positive_int(value, name) > _MOST:
        raise ValueError(f"Expected `{name}` in a file to be at most {_MOST}; got {value!r}.")
    return int(value)
