"""Memory that a model keeps from one training step to the next.

A fresh tensor of some megabytes costs page faults as dear as the arithmetic on it, so a rollout
takes its memory from here and gives it back after the backward pass.  Every model has a pool of its
own in every thread: two models that train side by side share nothing.
"""

import math
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Lease", "carve", "lease"]

_ALIGN = 64  # bytes, a cache line; products of matrices are faster on aligned rows
# Between two arrays, so that arrays whose size is a power of two do not all begin at one place of a
# memory page: a processor that reads one and writes another would take them for the same.
_STAGGER = 17 * _ALIGN
# A rollout and, while its loss is still referred to, the next one.
_KEPT = 2
# Of one block: those of a whole batch, of an epoch's last one, of the validation's.
_LAYOUTS = 8
# Larger pieces of memory go back to the system at once.
_LARGEST = 1 << 30


class _Block:
    """One piece of memory, and the views into it that were asked for before."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.bytes = torch.empty(size, dtype=torch.uint8, device=device)
        self.views: dict[Hashable, Any] = {}


class _Pool(threading.local):
    """The blocks of one model that nobody uses now, in this thread."""

    def __init__(self) -> None:
        self.free: list[_Block] = []


_POOLS: "weakref.WeakKeyDictionary[nn.Module, _Pool]" = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


class Lease:
    """Memory on loan: given back by `release`, or when nobody refers to the loan any more."""

    def __init__(self, block: _Block, free: list[_Block] | None) -> None:
        self.block: _Block | None = block
        self._free = free

    def release(self) -> None:
        """Give the memory back."""
        block, self.block = self.block, None
        if block is None or self._free is None:
            return
        if len(block.bytes) <= _LARGEST and len(self._free) < _KEPT:
            self._free.append(block)

    def __del__(self) -> None:
        self.release()


def lease(
    owner: nn.Module,
    key: Hashable,
    like: Tensor,
    size: Callable[[], int],
    make: Callable[[Tensor], Any],
) -> tuple[Any, Lease]:
    """Borrow memory on the device of `like` from the pool of `owner`, laid out for a use.

    Parameters
    ----------
    owner : module
    key : hashable
        Names the use.  Its layout is kept with the memory.
    like : Tensor
        Nothing is kept for one of another class than Tensor, such as PyTorch's fake tensors, and
        in inference mode, whose tensors cannot be written to outside of it.
    size : callable
        Gives the number of bytes, where no memory is laid out for this use yet.
    make : callable
        Lays out memory.
    """
    if type(like) is not Tensor or torch.is_inference_mode_enabled():
        block = _Block(size(), like.device)
        return make(block.bytes), Lease(block, None)
    with _LOCK:
        free = _POOLS.setdefault(owner, _Pool()).free
    key = (key, like.device)
    for index, block in enumerate(free):
        if key in block.views:
            return block.views[key], Lease(free.pop(index), free)
    needed = size()
    fitting = [k for k, block in enumerate(free) if len(block.bytes) >= needed]
    fitting = [k for k in fitting if free[k].bytes.device == like.device]
    if fitting:
        block = free.pop(fitting[0])
    else:
        free.clear()  # all too small
        block = _Block(needed, like.device)
    if len(block.views) == _LAYOUTS:
        block.views.clear()
    block.views[key] = make(block.bytes)
    return block.views[key], Lease(block, free)


def carve(
    memory: Tensor | None, shapes: list[tuple[int, ...]], dtype: torch.dtype
) -> tuple[list[Tensor], int]:
    """Lay tensors of these shapes one after the other into a piece of memory.

    Without memory only its size in bytes is worked out, and the tensors are on no device.
    """
    width = dtype.itemsize
    at, views = 0, []
    for shape in shapes:
        size = math.prod(shape) * width
        if memory is None:
            views.append(torch.empty(shape, dtype=dtype, device="meta"))
        else:
            views.append(memory[at : at + size].view(dtype).view(shape))
        at += -(-size // _ALIGN) * _ALIGN + _STAGGER
    return views, at
