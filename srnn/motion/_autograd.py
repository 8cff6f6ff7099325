"""Work that differentiates does so wherever it is called, also where gradients are off."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["differentiates", "learns", "network_in"]

P = ParamSpec("P")
R = TypeVar("R")


def network_in(thing: Any) -> nn.Module | None:
    """Return the network inside a model, a field or a Hamiltonian, or None without one."""
    while thing is not None and not isinstance(thing, nn.Module):
        inner = (getattr(thing, name, None) for name in ("net", "hamiltonian", "function"))
        thing = next((part for part in inner if part is not None), None)
    return thing


def learns(thing: Any) -> bool:
    """Whether no parameter is frozen: a start from data would write into a frozen one, too."""
    return not isinstance(thing, nn.Module) or all(x.requires_grad for x in thing.parameters())


def differentiates(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function work alike under no_grad, set_grad_enabled(False) and inference_mode.

    What inference mode made, autograd refuses for good: of such tensors the function gets copies,
    and networks get equal weights of the ordinary kind in their place.

    Examples
    --------
    >>> import torch
    >>> @differentiates
    ... def slope(x):
    ...     x = x.detach().requires_grad_()
    ...     return torch.autograd.grad(x.square(), x)[0]
    >>> with torch.inference_mode():
    ...     slope(torch.tensor(3.0))
    tensor(6.)
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.enable_grad():
            given: Any = [_ordinary(x) for x in args]
            named: Any = {name: _ordinary(x) for name, x in kwargs.items()}
            return function(*given, **named)

    return wrapped


def _ordinary(thing: Any) -> Any:
    if isinstance(thing, Tensor):
        return thing.clone() if thing.is_inference() else thing
    net = network_in(thing)
    if net is not None and any(x.is_inference() for x in (*net.parameters(), *net.buffers())):
        made: dict[Tensor, Tensor] = {}  # a tensor under two names stays one
        for module in net.modules():
            own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            for name, x in own:
                if x.is_inference() and x not in made:
                    made[x] = x.detach().clone()
                    if isinstance(x, nn.Parameter):
                        made[x] = nn.Parameter(made[x], x.requires_grad)
                setattr(module, name, made.get(x, x))
    return thing
