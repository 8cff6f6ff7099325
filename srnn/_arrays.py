"""A user's arrays, and the files that hold them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srnn import _checks
from srnn._types import TrajectoryValues
from srnn.errors import CheckpointError

_FORMAT = "srnn.Trajectories/1"


def write_npz(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor | None], dt: float
) -> None:
    """Write tensors to a NumPy file so that `path` always holds a whole file."""
    arrays: dict[str, Any] = {"format": np.str_(_FORMAT), "dt": np.float64(dt)}
    arrays |= {name: x.cpu().numpy() for name, x in tensors.items() if x is not None}
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as file:  # a file object: savez would append ".npz" to a name
            np.savez(file, **arrays)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_npz(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], float]:
    """Read what :func:`write_npz` wrote: the tensors and dt."""
    try:
        # NumPy leaves a damaged file open that it has opened itself.
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as trajectories: it is truncated or not an .npz file ({error})."
        ) from error
    if str(arrays.pop("format", None)) != _FORMAT:
        raise CheckpointError(f"{path} does not hold srnn trajectories.")
    try:
        dt = float(arrays.pop("dt"))
        return {name: torch.from_numpy(array) for name, array in arrays.items()}, dt
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds damaged srnn trajectories ({error}).") from error


def join_halves(q: Any, p: Any, q_name: str, p_name: str) -> TrajectoryValues:
    """Check two arrays (time, batch, d) and join them on the last axis."""
    halves = []
    for value, name in ((q, q_name), (p, p_name)):
        try:
            # NumPy arrays may be read-only, reversed or of foreign byte order; a copy is none.
            if isinstance(value, np.ndarray):
                value = np.array(value, dtype=value.dtype.newbyteorder("="))
            tensor = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"Expected `{name}` to be an array of numbers; {error}.") from error
        if tensor.is_complex():
            raise TypeError(f"Expected `{name}` to hold real numbers; got {tensor.dtype}.")
        if not tensor.is_floating_point():
            tensor = tensor.to(torch.get_default_dtype())
        if tensor.ndim != 3:
            raise ValueError(
                f"Expected `{name}` to have shape (time, batch, dim); got {tuple(tensor.shape)}. "
                f"For one trajectory add the axis: {name}[:, None]."
            )
        if 0 in tensor.shape:
            raise ValueError(f"Expected at least one state in `{name}`; got {tuple(tensor.shape)}.")
        halves.append(_checks.all_finite(tensor.detach(), name))
    if halves[0].shape != halves[1].shape:
        raise ValueError(
            f"Expected `{q_name}` and `{p_name}` to have one shape; got {tuple(halves[0].shape)} "
            f"and {tuple(halves[1].shape)}."
        )
    _checks.same_as(halves[1], p_name, halves[0], q_name)
    return torch.cat(halves, dim=-1)
