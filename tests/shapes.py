"""What the test suite checks at run time: every annotated shape, and nothing else.

Plain types are mypy's business.  Were they checked here too, a wrong argument would meet the type
checker before the library's own refusal, whose text the tests are about.

A check takes as long as an operation on a small tensor.  So a function whose annotations name no
axes is left as it is, and of the others each test checks the first calls: a rollout calls the same
function with the same shapes at every step.
"""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray

CALLS = 30  # of each function that each test checks
_jaxtyped = jaxtyping.jaxtyped
_calls: dict[Callable[..., Any], int] = {}


def _names_axes(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_names_axes(part) for part in typing.get_args(hint))


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the annotations that name axes; leave the others alone."""
    function.__annotations__ = {
        name: hint if _names_axes(hint) else Any for name, hint in function.__annotations__.items()
    }
    return beartype(function)


def sparing(*, typechecker: Any) -> Callable[[Any], Any]:
    """Stand for `jaxtyping.jaxtyped`, with which its import hook decorates what it finds."""

    def decorate(function: Any) -> Any:
        if not inspect.isfunction(function):
            return _jaxtyped(function, typechecker=typechecker)
        hints = function.__annotations__.values()
        if not any(isinstance(hint, str) or _names_axes(hint) for hint in hints):
            return function
        checked = _jaxtyped(function, typechecker=typechecker)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            count = _calls.get(function, 0)
            if count >= CALLS:
                return function(*args, **kwargs)
            _calls[function] = count + 1
            return checked(*args, **kwargs)

        return call

    return decorate


def begin() -> None:
    """Begin another test: its calls are counted from zero."""
    _calls.clear()


jaxtyping.jaxtyped = sparing
