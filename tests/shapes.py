"""What the test suite checks at run time: every annotated shape, and nothing else.

Plain types are mypy's business.  Were they checked here too, a wrong argument would meet the type
checker before the library's own refusal, whose text the tests are about.
"""

import typing
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray


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
