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
    """Check two arrays (time, batch, d), which may hold NaN, and join them on the last axis.

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
        halves.append(_checks.not_infinite(tensor.detach(), name))
    if halves[0].shape != halves[1].shape:
        raise ValueError(
            f"Expected `{q_name}` and `{p_name}` to have one shape; got {tuple(halves[0].shape)} "
            f"and {tuple(halves[1].shape)}."
        )
    how = ".astype" if any(isinstance(x, np.ndarray) for x in (q, p)) else ".to"
    _checks.same_as(halves[1], p_name, halves[0], q_name, convert=how)
    return torch.cat(halves, dim=-1)


def ordered(array: Any, axes: str, name: str) -> Any:
    """Bring an array to the axes time, recording, coordinate."""
    if isinstance(array, Tensor):
        array = array.detach().cpu().numpy()
    _plain(array, name)
    data = np.ma.asanyarray(array) if isinstance(array, np.ma.MaskedArray) else np.asarray(array)
    if sorted(axes) not in (["c", "t"], ["c", "r", "t"]) or data.ndim != len(axes):
        raise ValueError(
            f"Expected `axes` to name each axis of `{name}`, of shape {data.shape}, once: t for "
            f"time, c for coordinates and r for recordings, such as 'rct'; got {axes!r}."
        )
    if "r" not in axes:
        data, axes = data[None], "r" + axes
    return data.transpose([axes.index(each) for each in "trc"])


def coordinates(array: Any, which: Any, name: str) -> Any:
    """Pick coordinates of an array (time, recording, coordinate), which stay an axis."""
    count = array.shape[-1]
    numbers = range(count)[which] if isinstance(which, slice) else np.atleast_1d(which)
    wrong = [int(k) for k in numbers if not -count <= k < count]
    if wrong or not len(numbers):
        raise IndexError(
            f"Expected `{name}` to be numbers of some of the {count} coordinates, from 0; got "
            f"{which!r}."
        )
    return array[..., list(numbers)]


def stamps(times: Any, states: int) -> Tensor:
    """Return times, one a state, as a tensor."""
    ticks = _numbers(times, "times")
    if ticks.shape != (states,) or states < 2:
        raise ValueError(
            f"Expected `times` to have one entry a state, shape ({states},), and at least two; "
            f"got {tuple(ticks.shape)}."
        )
    return _checks.all_finite(ticks.detach(), "times")


def placed(tensor: Tensor, places: Any, count: int | None = None) -> Tensor:
    """Put states at their places on a grid of time, with NaN where there is none.

    The grid ends with the last place, or after `count` of them.
    """
    count = int(places[-1]) + 1 if count is None else count
    if count == len(tensor):
        return tensor
    spread = tensor.new_full((count, *tensor.shape[1:]), torch.nan)
    spread[torch.as_tensor(np.asarray(places), device=tensor.device)] = tensor
    return spread


def _numbers(value: Any, name: str) -> Tensor:
    """Return an array of real numbers as a tensor, with NaN for what an array has masked."""
    _plain(value, name)
    if isinstance(value, (list, tuple)) and any(isinstance(x, np.ma.MaskedArray) for x in value):
        value = np.ma.stack(value)
    if isinstance(value, np.ma.MaskedArray):
        if not np.issubdtype(value.dtype, np.floating):
            value = value.astype(np.float64)  # integers have no NaN
        value = value.filled(np.nan)
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


# What torch would convert without its meaning, or not at all, and what to pass instead.
_FOREIGN = {
    "astropy": "has a unit, which srnn does not keep: pass its numbers, {name}.value",
    "pint": "has a unit, which srnn does not keep: pass its numbers, {name}.magnitude",
    "pandas": "is a table: pass srnn.Trajectories.from_pandas(...) its columns' names, or numbers "
    "in an array (time, batch, dim), {name}.to_numpy()",
    "polars": "is a table: pass numbers in an array (time, batch, dim), {name}.to_numpy()",
    "xarray": "has names for its axes, which srnn does not read: pass numbers in an array (time, "
    "batch, dim), {name}.transpose(...).to_numpy()",
}


def _plain(value: Any, name: str) -> None:
    """Refuse what is more than an array of numbers, itself or in a list."""
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    for each in (value, first):
        package = type(each).__module__.partition(".")[0]
        if package in _FOREIGN:
            raise TypeError(
                f"`{name}` is of type {package}.{type(each).__name__}: it "
                f"{_FOREIGN[package].format(name=name)}."
            )


def _dtype_of_integers(tensors: Iterable[Tensor]) -> torch.dtype:
    """PyTorch's default dtype if it is one of ours and counts that far, else float64."""
    default = torch.get_default_dtype()
    if default not in _checks.KNOWN_DTYPES.values():
        return torch.float64
    largest = max(float(x.double().abs().max()) if x.numel() else 0.0 for x in tensors)
    return default if largest <= 2 / torch.finfo(default).eps else torch.float64
