"""Whether a Hamiltonian or a field of a user's own gives what a motion is made of: asked once.

A mean over the batch, an axis too many or a detached result would else give another motion without
a word.
"""

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from srnn import _checks
from srnn.motion.fields import VectorField, differentiates, innermost

__all__ = ["check_motion"]

_FINE: WeakSet[Any] = WeakSet()  # what has been found in order, so that it is asked once


def check_motion(field: Any, z: Tensor) -> None:
    """Refuse what is not the library's own and gives no energies or rates of single states.

    Parameters
    ----------
    field : field
        As :func:`srnn.fields.as_field` makes them.
    z : Tensor, shape (..., 2*dim)
        States that the field is asked about.

    Raises
    ------
    TypeError, ValueError
        If a result is no floating-point tensor or of another shape, an energy has no derivative, or
        a state's result depends on the states beside it.
    """
    inner = innermost(field)[0]
    if not z.numel() or _checks.transformed(z):
        return
    try:
        if inner in _FINE:
            return
        _check(field, inner, z)
        _FINE.add(inner)
    except TypeError as error:
        if "weak reference" not in str(error) and "unhashable" not in str(error):
            raise
        _check(field, inner, z)  # it cannot be remembered


@differentiates
def _check(field: Any, inner: Any, z: Tensor) -> None:
    z = z.detach()
    if (
        z.ndim > 1 and z.shape[:-1].numel() == 1
    ):  # a second state, beside which the first is looked at
        z = torch.cat((z, 1.1 * z + 0.1))
    name = getattr(inner, "__name__", type(inner).__name__)
    q, p = _checks.halves(z)
    if (asked := getattr(field, "hamiltonian", None)) is None:
        _rates(name, "dz/dt", field.function if type(field) is VectorField else field, z, z)
        if field is inner:  # a user's own class, which gives the two halves itself
            for what, half in (("velocity", field.velocity), ("force", field.force)):
                _rates(name, what, lambda z, half=half: half(*_checks.halves(z)), z, q)
        return
    given: tuple[tuple[str, Tensor], ...] = (("kinetic_gradient", p), ("potential_gradient", q))
    if not field.separable:
        given = (("gradient", z),) if hasattr(asked, "gradient") else (("", z),)
    closed = [(kind, x) for kind, x in given if hasattr(inner, kind)]
    for kind, x in closed:
        _rates(name, kind, getattr(asked, kind), x, x)
    if len(closed) < len(given):
        _energies(name, asked, z)


def _rates(name: str, what: str, function: Any, x: Tensor, like: Tensor) -> None:
    def rate(x: Tensor) -> Any:
        try:
            with torch.no_grad():  # nothing is kept for a pass back
                return function(x)
        except RuntimeError:
            return function(x)  # it differentiates an energy itself

    value = _tensor(rate(x), f"{what} of {name}")
    if value.shape != like.shape:
        raise ValueError(
            f"Expected {what} of {name} to have the shape of its states, {tuple(like.shape)}; "
            f"got {tuple(value.shape)}."
        )
    _alone(name, what, rate, x, value)


def _energies(name: str, function: Any, z: Tensor) -> None:
    z.requires_grad_()
    value = _tensor(function(z), f"the energy of {name}")
    if value.shape != z.shape[:-1]:
        raise ValueError(
            f"Expected one energy a state of {name}, shape {tuple(z.shape[:-1])} for states of "
            f"shape {tuple(z.shape)}; got {tuple(value.shape)}. Sum over the last axis alone, and "
            "leave none behind: .sum(dim=-1). What gives dz/dt itself is no Hamiltonian: wrap it "
            "as srnn.fields.VectorField(it, dim)."
        )
    if not value.requires_grad:
        raise TypeError(
            f"The energy of {name} cannot be differentiated in the states, which gives the motion. "
            "Does it detach its result, or compute it outside of PyTorch?"
        )
    _alone(name, "the energy", function, z, value)


def _tensor(value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"Expected {what} to be a torch.Tensor; got {type(value).__name__}.")
    return _checks.float_tensor(value, what)


def _alone(name: str, what: str, function: Any, x: Tensor, value: Tensor) -> None:
    """Refuse a function that gives a state something else beside other states.

    The state keeps its place: fields of a batch may each have parameters of their own.
    """
    if x.ndim == 1:
        return
    others = 1.1 * x.detach() + 0.1
    others.view(-1, x.shape[-1])[0] = x.detach().reshape(-1, x.shape[-1])[0]
    first = (each.reshape(-1, *value.shape[x.ndim - 1 :])[0] for each in (function(others), value))
    difference = (next(first) - next(first)).detach().nan_to_num().abs().max()
    size = value.detach().nan_to_num().abs().max()
    rounding = 10 * torch.finfo(value.dtype).eps ** 0.5
    # What draws random numbers, as dropout does, never gives the same twice.
    if difference > rounding * size and torch.equal(function(x), value):
        raise ValueError(
            f"Expected {what} of {name} to depend on its own state alone; beside another state it "
            "is another. Does it take a mean over the batch, or normalise by it?"
        )
