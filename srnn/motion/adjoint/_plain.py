"""The way back by PyTorch's own operations, where a hand-written one has to give way."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["differentiated"]


def differentiated(
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    cotangent: Tensor,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Carry a cotangent of ``function(*tensors)`` back to those tensors that are `needed`.

    The result can be differentiated again where the caller's backward pass is to be.
    """
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: the way back ends here, also where one tensor was computed from another.
        own = [x.view_as(x) for x in tensors]
        inputs = [x for x, need in zip(own, needed, strict=True) if need]
        found = iter(torch.autograd.grad(function(*own), inputs, cotangent, create_graph=further))
    return [next(found) if need else None for need in needed]
