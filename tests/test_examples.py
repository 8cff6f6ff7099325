"""Every public docstring has an example; that the examples run is the doctests' matter."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

import srnn


def public_modules() -> Iterator[Any]:
    """Yield srnn and every module in it whose path has no private part."""
    yield srnn
    for found in pkgutil.walk_packages(srnn.__path__, "srnn."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield importlib.import_module(found.name)


def is_ours(thing: Any) -> bool:
    return getattr(thing, "__module__", "").split(".")[0] == "srnn"


def is_protocol(cls: type) -> bool:
    return cls is not Protocol and getattr(cls, "_is_protocol", False)


def public_objects() -> dict[str, Any]:
    """Classes and functions of srnn under their names, each once."""
    found: dict[int, tuple[str, Any]] = {}
    for module in public_modules():
        for name in getattr(module, "__all__", ()):  # some rooms gather nothing
            thing = getattr(module, name)
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and is_ours(thing):
                found.setdefault(id(thing), (f"{thing.__module__}.{name}", thing))
    return dict(sorted(found.values(), key=lambda each: each[0]))


OBJECTS = public_objects()
CLASSES = {name: thing for name, thing in OBJECTS.items() if inspect.isclass(thing)}
PROTOCOL_MEMBERS = {
    name for cls in CLASSES.values() if is_protocol(cls) for name in vars(cls) if name[0] != "_"
}


def has_example(thing: Any) -> bool:
    return ">>>" in (thing.__doc__ or "")


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that a class itself defines."""
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, (classmethod, staticmethod)):
            yield name, member.__func__
        elif inspect.isfunction(member) or isinstance(member, property):
            yield name, member


def is_exempt(cls: type, name: str, member: Any) -> bool:
    """Whether a method needs no example of its own.

    - A property whose docstring is one sentence on one line is read like an attribute.
    - A method that overrides a public class's has that one's example: the call is the same.
    - What one of the library's protocols asks for is called by the library, not by a user: the
      example of the class shows the call that uses it.
    - ``forward`` is called as the network itself, which the class's example shows.
    """
    if isinstance(member, property):
        return "\n" not in (member.__doc__ or "\n").strip()
    bases = [base for base in cls.__mro__[1:] if is_ours(base) and name in vars(base)]
    if any(has_example(vars(base)[name]) for base in bases):
        return True
    return has_example(cls) and (name in PROTOCOL_MEMBERS or name == "forward")


def lacking() -> list[str]:
    names = []
    for path, thing in OBJECTS.items():
        # A protocol is implemented, not called; its docstring says by whom.
        if inspect.isclass(thing) and is_protocol(thing):
            continue
        if not has_example(thing):
            names.append(path)
        if inspect.isclass(thing):
            names += [
                f"{path}.{name}"
                for name, member in methods(thing)
                if not has_example(member) and not is_exempt(thing, name, member)
            ]
    return names


def test_the_walk_sees_what_is_public() -> None:
    for path in ("model.models.SRNN", "systems.fput.FPUT", "results.plotting._style.style"):
        assert f"srnn.{path}" in OBJECTS
    assert {"init", "step", "read", "force", "velocity"} <= PROTOCOL_MEMBERS
    assert len(OBJECTS) > 60


def test_every_public_docstring_has_an_example() -> None:
    assert not (names := lacking()), "no example in the docstring of\n" + "\n".join(names)


class Base:
    __module__ = "srnn.somewhere"

    def shown(self) -> None:
        """Show it.

        >>> Base().shown()
        """


class Derived(Base):
    __module__ = "srnn.somewhere"

    def shown(self) -> None:
        """Show it in another way."""

    def bare(self) -> None:
        """Do it."""

    @property
    def short(self) -> int:
        """How many."""
        return 0

    @property
    def long(self) -> int:
        """How many.

        A story about it.
        """
        return 0


@pytest.mark.parametrize(
    ("name", "exempt"), [("shown", True), ("bare", False), ("short", True), ("long", False)]
)
def test_what_is_exempt(name: str, exempt: bool) -> None:
    assert is_exempt(Derived, name, vars(Derived)[name]) is exempt
