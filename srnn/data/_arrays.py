"""A user's arrays, and the files that hold them."""

import errno
import glob
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from srnn import _checks
from srnn._types import TrajectoryValues
from srnn.errors import CheckpointError

if sys.platform != "win32":
    import fcntl

_FORMAT = "srnn.Trajectories/1"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to, and put what was written in the place of `path` at once.

    Renaming is atomic: whoever is killed in between leaves the former file untouched, and the next
    write to `path` removes what is left beside it.  Permissions are those of the former file, or
    what the umask leaves; through a symbolic link its target is written.
    """
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist; create it first.")
    if path.exists() and not path.is_file():
        raise IsADirectoryError(f"{path} is a folder or a device; name a file.")
    _remove_leftovers(path)
    beside, held = _open_beside(path)
    try:
        yield beside
        os.fsync(held.fileno())
        if path.exists():
            beside.chmod(stat.S_IMODE(path.stat().st_mode))
        if sys.platform == "win32":
            held.close()  # nothing open can be renamed there
        beside.replace(path)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OSError(
            error.errno,
            f"There is no room to write {path} ({error.strerror}). Free some, or name a file on "
            "another disk; the file as it was before is untouched.",
        ) from error
    finally:
        beside.unlink(missing_ok=True)
        held.close()


def _open_beside(path: Path) -> tuple[Path, IO[bytes]]:
    """Make an empty file of a name of its own, locked for as long as its writer lives."""
    while True:
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        held = beside.open("xb")
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks, where no leftover is removed
                fcntl.flock(held, fcntl.LOCK_EX)
        if os.fstat(held.fileno()).st_nlink:
            return beside, held
        held.close()  # another writer has met it before it was locked, and removed it


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` have left: what nobody holds a lock on any more."""
    if sys.platform != "win32":
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            with suppress(OSError), leftover.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()


def write_npz(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor | None], dt: float
) -> None:
    """Write tensors to a NumPy file so that `path` always holds a whole file."""
    arrays: dict[str, Any] = {"format": np.str_(_FORMAT), "dt": np.float64(dt)}
    arrays |= {name: x.cpu().numpy() for name, x in tensors.items() if x is not None}
    # A file object: savez would append ".npz" to a name.
    with whole_file(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)


def read_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write_npz` wrote: the arrays, dt among them."""
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
    return arrays


def join_halves(
    q: Any, p: Any, q_name: str, p_name: str, integers: torch.dtype | None = None
) -> TrajectoryValues:
    """Check two arrays (time, batch, d) and join them on the last axis.

    Integers take the dtype of the other array, else `integers`, else PyTorch's default where it
    holds every one of them exactly, else float64.
    """
    pair = [_numbers(q, q_name), _numbers(p, p_name)]
    floats = [tensor.dtype for tensor in pair if tensor.is_floating_point()]
    dtype = floats[0] if floats else integers or _dtype_of_integers(pair)
    halves = []
    for tensor, name in zip(pair, (q_name, p_name), strict=True):
        if not tensor.is_floating_point():
            tensor = tensor.to(dtype)
        _checks.known_float(tensor, name)
        if tensor.ndim != 3:
            raise ValueError(
                f"Expected `{name}` to have shape (time, batch, dim); got {tuple(tensor.shape)}. "
                f"For one trajectory of several coordinates add the axis {name}[:, None]; for "
                f"several trajectories of one coordinate {name}[..., None]."
            )
        if 0 in tensor.shape:
            raise ValueError(f"Expected at least one state in `{name}`; got {tuple(tensor.shape)}.")
        halves.append(_checks.all_finite(tensor.detach(), name))
    if halves[0].shape != halves[1].shape:
        raise ValueError(
            f"Expected `{q_name}` and `{p_name}` to have one shape; got {tuple(halves[0].shape)} "
            f"and {tuple(halves[1].shape)}."
        )
    how = ".astype" if any(isinstance(x, np.ndarray) for x in (q, p)) else ".to"
    _checks.same_as(halves[1], p_name, halves[0], q_name, convert=how)
    return torch.cat(halves, dim=-1)


def spacing(times: Any, states: int) -> float:
    """Return the dt of equally spaced times, one a state."""
    ticks = _numbers(times, "times")
    if ticks.shape != (states,) or states < 2:
        raise ValueError(
            f"Expected `times` to have one entry a state, shape ({states},), and at least two; "
            f"got {tuple(ticks.shape)}."
        )
    # A clock is as exact as its own numbers: far from 0 a float32 parts equal steps.
    grain = torch.finfo(ticks.dtype).eps if ticks.is_floating_point() else 0.0
    ticks = _checks.all_finite(ticks.detach().double(), "times")
    dt = float(ticks[-1] - ticks[0]) / (states - 1)
    slack = 1e-6 * abs(dt) + 2 * grain * float(ticks.abs().max())
    if not bool(((ticks.diff() - dt).abs() <= slack).all()):
        raise ValueError(
            "Uneven `times` are not supported yet: resample to equal steps and pass `dt`."
        )
    return _checks.time_step(dt)


def _numbers(value: Any, name: str) -> Tensor:
    """Return an array of real numbers as a tensor."""
    try:
        # NumPy arrays may be read-only, reversed or of foreign byte order; a copy is none.
        if isinstance(value, np.ndarray):
            value = np.array(value, dtype=value.dtype.newbyteorder("="))
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Expected `{name}` to be an array of numbers; {error}.") from error
    if tensor.is_complex():
        raise TypeError(f"Expected `{name}` to hold real numbers; got {tensor.dtype}.")
    return tensor


def _dtype_of_integers(tensors: Iterable[Tensor]) -> torch.dtype:
    """PyTorch's default dtype if it is one of ours and counts that far, else float64."""
    default = torch.get_default_dtype()
    if default not in _checks.KNOWN_DTYPES.values():
        return torch.float64
    largest = max(float(x.double().abs().max()) if x.numel() else 0.0 for x in tensors)
    return default if largest <= 2 / torch.finfo(default).eps else torch.float64
