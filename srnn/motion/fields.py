"""Vector fields dz/dt = f(z), and the one place where Hamilton's equations get their sign.

An integrator asks a field for two things: the velocity dq/dt and the force dp/dt.  Whatever can be
integrated (a Hamiltonian, learnt or known, or a network that gives dz/dt itself) is turned into a
field by :func:`as_field`.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Half, State

__all__ = [
    "ClosedForm",
    "Field",
    "Hamiltonian",
    "HamiltonianField",
    "VectorField",
    "as_field",
    "hamiltonian_of",
    "weight_of",
]


P = ParamSpec("P")
R = TypeVar("R")


@runtime_checkable
class Hamiltonian(Protocol):
    """What the library asks of a Hamiltonian: its size, whether it is K(p) + V(q), its energy.

    A separable one may give what :class:`ClosedForm` lists, any other ``gradient(z)``; what is not
    given is computed by automatic differentiation.

    Examples
    --------
    >>> import torch, srnn
    >>> class Quartic:
    ...     dim, separable = 1, True
    ...
    ...     def __call__(self, z):
    ...         return z[..., 1] ** 2 / 2 + z[..., 0] ** 4 / 4
    >>> isinstance(Quartic(), Hamiltonian)
    True
    >>> as_field(Quartic())(torch.tensor([2.0, 1.0]))  # dq/dt = p, dp/dt = -q^3
    tensor([ 1., -8.])
    """

    dim: int
    separable: bool

    def __call__(self, z: Tensor) -> Tensor:
        """Energy of each state: ``(..., 2*dim)`` to ``(...)``."""
        ...  # pragma: no cover


class ClosedForm(Hamiltonian, Protocol):
    """What a separable Hamiltonian may give in closed form, each beside the others or alone."""

    def kinetic_gradient(self, p: Tensor) -> Tensor:
        """K'(p): ``(..., dim)`` to ``(..., dim)``."""
        ...  # pragma: no cover

    def potential_gradient(self, q: Tensor) -> Tensor:
        """V'(q): ``(..., dim)`` to ``(..., dim)``."""
        ...  # pragma: no cover

    def kinetic_hessian(self, p: Tensor) -> Tensor:
        """K''(p): ``(..., dim)`` to ``(..., dim, dim)``."""
        ...  # pragma: no cover

    def potential_hessian(self, q: Tensor) -> Tensor:
        """V''(q): ``(..., dim)`` to ``(..., dim, dim)``."""
        ...  # pragma: no cover


@runtime_checkable
class Field(Protocol):
    """What an integrator asks of a field.

    Examples
    --------
    >>> import srnn
    >>> isinstance(as_field(srnn.systems.Pendulum()), Field)
    True
    """

    dim: int
    separable: bool
    hamiltonian: Any

    def __call__(self, z: Tensor) -> Tensor:
        """dz/dt at z."""
        ...  # pragma: no cover

    def velocity(self, q: Tensor, p: Tensor) -> Tensor:
        """dq/dt."""
        ...  # pragma: no cover

    def force(self, q: Tensor, p: Tensor) -> Tensor:
        """dp/dt."""
        ...  # pragma: no cover


def _sum_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    # Energies of different states do not mix, so the gradient of their sum holds every state's
    # own gradient.  torch.func.grad composes with vmap, jacrev and jvp; autograd.grad does not.
    gradient: Tensor = torch.func.grad(lambda y: function(y).sum())(x)
    return gradient


class HamiltonianField:
    r"""The vector field of a Hamiltonian, equation (1) of the paper.

    .. math:: \dot q = \partial H/\partial p, \qquad \dot p = -\partial H/\partial q.

    Parameters
    ----------
    hamiltonian : Hamiltonian
        An object with ``dim``, ``separable`` and a call that gives the energy.

    Examples
    --------
    >>> import torch, srnn
    >>> field = HamiltonianField(srnn.systems.MassSpring(mass=1.0, stiffness=4.0))
    >>> field(torch.tensor([1.0, 3.0]))  # dq/dt = p, dp/dt = -4 q
    tensor([ 3., -4.])
    """

    motion_of_part = "hamiltonian"

    def __init__(self, hamiltonian: Any) -> None:
        for name in ("dim", "separable"):
            if not hasattr(hamiltonian, name):
                raise TypeError(
                    f"Expected a Hamiltonian with an attribute `{name}`; "
                    f"got {type(hamiltonian).__name__}."
                )
        self.hamiltonian = hamiltonian
        self.dim = int(hamiltonian.dim)
        self.separable = bool(hamiltonian.separable)

    def __call__(self, z: State) -> State:
        """dz/dt of the states `z`, shape ``(..., 2*dim)``."""
        if self.separable:
            q, p = _checks.halves(z)
            return torch.cat((self.velocity(q, p), self.force(q, p)), dim=-1)
        if hasattr(self.hamiltonian, "gradient"):
            gradient = self.hamiltonian.gradient(z)
        else:
            gradient = _sum_gradient(self.hamiltonian, z)
        along_q, along_p = _checks.halves(gradient)
        return torch.cat((along_p, -along_q), dim=-1)

    def velocity(self, q: Half, p: Half) -> Half:
        """dq/dt = dH/dp, shape ``(..., dim)``."""
        if not self.separable:
            return _checks.halves(self(torch.cat((q, p), dim=-1)))[0]
        if hasattr(self.hamiltonian, "kinetic_gradient"):
            gradient: Tensor = self.hamiltonian.kinetic_gradient(p)
            return gradient
        q = q.detach()  # of a separable H the velocity does not depend on q
        return _sum_gradient(lambda x: self.hamiltonian(torch.cat((q, x), dim=-1)), p)

    def force(self, q: Half, p: Half) -> Half:
        """dp/dt = -dH/dq, shape ``(..., dim)``."""
        if not self.separable:
            return _checks.halves(self(torch.cat((q, p), dim=-1)))[1]
        if hasattr(self.hamiltonian, "potential_gradient"):
            gradient: Tensor = self.hamiltonian.potential_gradient(q)
            return -gradient
        p = p.detach()
        return -_sum_gradient(lambda x: self.hamiltonian(torch.cat((x, p), dim=-1)), q)


class VectorField:
    """Any field dz/dt = f(z), such as the paper's O-NET.

    Parameters
    ----------
    function : callable
        Maps states ``(..., 2*dim)`` to their time derivatives, same shape.
    dim : int
        Number of positions d.

    Examples
    --------
    >>> import torch
    >>> damped = VectorField(lambda z: torch.stack((z[..., 1], -z[..., 0] - z[..., 1]), -1), dim=1)
    >>> damped(torch.tensor([1.0, 0.5]))
    tensor([ 0.5000, -1.5000])
    """

    motion_of_part = "function"
    separable = False
    hamiltonian = None

    def __init__(self, function: Callable[[Tensor], Tensor], dim: int) -> None:
        self.function = function
        self.dim = _checks.positive_int(dim, "dim")

    def __call__(self, z: State) -> State:
        """dz/dt of the states `z`, shape ``(..., 2*dim)``."""
        return self.function(z)

    def velocity(self, q: Half, p: Half) -> Half:
        """dq/dt, shape ``(..., dim)``."""
        return _checks.halves(self.function(torch.cat((q, p), dim=-1)))[0]

    def force(self, q: Half, p: Half) -> Half:
        """dp/dt, shape ``(..., dim)``."""
        return _checks.halves(self.function(torch.cat((q, p), dim=-1)))[1]


def network_in(thing: Any) -> nn.Module | None:
    """Return the network inside a model, a field or a Hamiltonian, or None without one."""
    while thing is not None and not isinstance(thing, nn.Module):
        inner = (getattr(thing, name, None) for name in ("net", "hamiltonian", "function"))
        thing = next((part for part in inner if part is not None), None)
    return thing


def learns(thing: Any) -> bool:
    """Whether no parameter is frozen: a start from data would write into a frozen one, too."""
    return not isinstance(thing, nn.Module) or all(x.requires_grad for x in thing.parameters())


def weight_of(thing: Any) -> Tensor | None:
    """Return a parameter of the network inside a field or a Hamiltonian, or None without one.

    It tells the dtype and the device that states must have.

    Examples
    --------
    >>> import srnn
    >>> weight_of(as_field(srnn.QuadraticH(dim=2))).dtype
    torch.float32
    >>> weight_of(srnn.systems.Pendulum()) is None
    True
    """
    net = network_in(thing)
    return None if net is None else next(net.parameters(), None)


def innermost(thing: Any) -> tuple[Any, Any]:
    """Return what a field takes its numbers from, and the units it has been put in, if any.

    A class of the library whose motion is that of one of its parts says so, as ``motion_of_part``;
    any other, also one derived from the library's, stands for itself.
    """
    units = None
    while part := vars(type(thing)).get("motion_of_part"):
        units = getattr(thing, "scale", units)
        thing = getattr(thing, part)
    return thing, units


def foreign(thing: Any) -> bool:
    """Whether a field takes its numbers from a class that is none of the library's."""
    return not type(innermost(thing)[0]).__module__.startswith("srnn.")


def _is_field(thing: Any) -> bool:
    return all(hasattr(thing, name) for name in ("velocity", "force", "dim"))


def hamiltonian_of(thing: Any) -> Any:
    """Return the Hamiltonian that `thing` is, or that a field is made of; None without one.

    A field says whether it is separable, too: that alone makes no Hamiltonian.

    Examples
    --------
    >>> import torch, srnn
    >>> spring = srnn.systems.MassSpring()
    >>> hamiltonian_of(spring) is spring, hamiltonian_of(as_field(spring)) is spring
    (True, True)
    >>> hamiltonian_of(VectorField(torch.neg, dim=1)) is None
    True
    """
    if _is_field(thing):
        return getattr(thing, "hamiltonian", None)
    return thing if hasattr(thing, "separable") else None


def as_field(thing: Any) -> Field:
    """Turn a field, a Hamiltonian (learnt net or system) or an O-NET into a field.

    Parameters
    ----------
    thing : field, Hamiltonian or module
        Something with ``velocity`` and ``force`` is a field already; something with ``separable``
        is a Hamiltonian; something callable with ``dim`` gives dz/dt itself.

    Returns
    -------
    Field

    Raises
    ------
    TypeError
        If `thing` is none of these.

    Examples
    --------
    >>> import srnn
    >>> as_field(srnn.systems.Pendulum()).separable
    True
    """
    if _is_field(thing):
        return thing  # type: ignore[no-any-return]
    if hasattr(thing, "net") and hasattr(thing, "predict"):
        raise TypeError(
            f"Expected a field; got the model {type(thing).__name__}. Pass model.field, which is "
            "in the data's units, or a recurrent model's model.net; model.predict needs neither."
        )
    if hasattr(thing, "step"):
        raise TypeError(
            f"{type(thing).__name__} gives the next state and no dz/dt: it is not a field."
        )
    if hamiltonian_of(thing) is not None:
        return HamiltonianField(thing)
    if hasattr(thing, "dim") and callable(thing):
        return VectorField(thing, thing.dim)
    raise TypeError(
        "Expected a field, a Hamiltonian (with `dim` and `separable`) or a network with `dim`; "
        f"got {type(thing).__name__}. Wrap a plain function as VectorField(function, dim)."
    )


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
