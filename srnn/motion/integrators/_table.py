"""The methods that are rows of numbers, kicks and drifts or Butcher tables, and all by name."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.motion.fields import Field
from srnn.motion.integrators._implicit import ImplicitMidpoint
from srnn.motion.integrators._protocol import Integrator
from srnn.motion.integrators._step import Step
from srnn.motion.integrators._tao import Tao

__all__ = ["FAMILIES", "RungeKutta", "Splitting", "available", "get", "rescaled", "says"]


class _Split(NamedTuple):
    q: Tensor
    p: Tensor
    velocity: Tensor | None  # dq/dt at (q, p), or None where it has to be evaluated
    force: Tensor | None


@dataclass(frozen=True)
class Splitting(Step):
    """A list of kicks and drifts.

    Parameters
    ----------
    name : str
    order : int
    stages : tuple of (str, float)
        ``("kick", c)`` or ``("drift", c)`` with c in units of dt, in the order they act.  The
        kicks' numbers sum to 1, and so do the drifts'.
    reuse : bool
        Whether a kick leaves the force valid also for a field whose force depends on p (see the
        module's text on O-NETs).

    Raises
    ------
    ValueError
        If a stage is neither a kick nor a drift, or the kicks or the drifts do not sum to 1.

    Examples
    --------
    >>> import torch, srnn
    >>> verlet = Splitting("verlet", 2, (("kick", 0.5), ("drift", 1.0), ("kick", 0.5)))
    >>> z0 = torch.tensor([[1.0, 0.0]])
    >>> srnn.rollout(srnn.systems.MassSpring(), verlet, z0, dt=0.2, steps=1)[-1]
    tensor([[ 0.9800, -0.1980]])
    """

    name: str
    order: int
    stages: tuple[tuple[str, float], ...]
    reuse: bool = False
    symplectic: bool = True
    lifts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for kind, _ in self.stages:
            _checks.choice(kind, "stage", ("kick", "drift"))
        for kind in ("kick", "drift"):
            _checks.sum_to_one([c for each, c in self.stages if each == kind], f"{kind}s")

    def init(self, field: Field, z0: State) -> _Split:
        """Start at `z0`; a non-separable H is refused."""
        if field.hamiltonian is not None and not field.separable:
            raise ValueError(
                f"The integrator {self.name!r} splits H into K(p) + V(q), but the Hamiltonian "
                f"{type(field.hamiltonian).__name__} is not separable. Use 'tao2' or 'tao4' "
                "(explicit, Tao 2016) or 'implicit-midpoint'."
            )
        q, p = _checks.halves(z0)
        return _Split(q, p, None, None)

    def step(self, field: Field, state: _Split, dt: float) -> _Split:
        """One step.  Nothing is evaluated twice: a leapfrog step costs one V' and one K'."""
        q, p, velocity, force = state
        for kind, coefficient in self.stages:
            if kind == "kick":
                if force is None:
                    force = field.force(q, p)
                p = p + (coefficient * dt) * force
                velocity = None
                if not (field.separable or self.reuse):
                    force = None
            else:
                if velocity is None:
                    velocity = field.velocity(q, p)
                q = q + (coefficient * dt) * velocity
                force = None
                if not (field.separable or self.reuse):
                    velocity = None
        return _Split(q, p, velocity, force)

    def variables(self, field: Field, state: _Split) -> tuple[Tensor, ...] | None:
        """(q, p), of which a kept rate is a function; not where a rate is used again elsewhere."""
        return (self.read(state),) if field.separable or not self.reuse else None

    def resumed(self, field: Field, like: _Split, variables: tuple[Tensor, ...]) -> _Split:
        """Begin anew."""
        return self.init(field, variables[0])

    def read(self, state: _Split) -> State:
        """(q, p) of a state."""
        return torch.cat((state.q, state.p), dim=-1)


@dataclass(frozen=True)
class RungeKutta(Step):
    """An explicit Runge-Kutta method, by its Butcher table (autonomous, so without nodes).

    Parameters
    ----------
    name : str
    order : int
    matrix : tuple of tuple of float
        Row i holds the i coefficients of the stages before stage i + 1.
    weights : tuple of float
        One a stage; their sum is 1.

    Raises
    ------
    ValueError
        If a row or the weights have another length, or the weights another sum.

    Examples
    --------
    >>> import torch, srnn
    >>> heun = RungeKutta("heun", 2, ((1.0,),), (0.5, 0.5))
    >>> srnn.rollout(srnn.systems.MassSpring(), heun, torch.tensor([[1.0, 0.0]]), dt=0.1, steps=1)[
    ...     1
    ... ]
    tensor([[ 0.9950, -0.1000]])
    """

    name: str
    order: int
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    symplectic: bool = False
    lifts: ClassVar[bool] = True
    solves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        lengths = [len(row) for row in self.matrix]
        if lengths != list(range(1, len(lengths) + 1)):
            raise ValueError(
                f"Expected row i of `matrix` to hold i numbers, 1, 2, ...; got rows of {lengths}."
            )
        if len(self.weights) != len(lengths) + 1:
            raise ValueError(
                f"Expected one weight a stage, {len(lengths) + 1} for {len(lengths)} rows of "
                f"`matrix`; got {len(self.weights)}."
            )
        _checks.sum_to_one(self.weights, "weights")
        for row in self.matrix:
            for number in row:
                _checks.finite(number, "matrix")

    def init(self, field: Field, z0: State) -> State:
        """Start at `z0`."""
        return z0

    def step(self, field: Field, state: State, dt: float) -> State:
        """One step."""
        slopes = [field(state)]
        for row in self.matrix:
            slopes.append(field(state + dt * _combine(row, slopes)))
        return state + dt * _combine(self.weights, slopes)

    def read(self, state: State) -> State:
        """(q, p) of a state."""
        return state


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    terms = [w * k for w, k in zip(weights, slopes, strict=True) if w]
    if not terms:  # a row of zeros: a stage at the state itself
        return torch.zeros_like(slopes[0])
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _compose(fractions: tuple[float, ...]) -> tuple[tuple[str, float], ...]:
    """Kick-drift-kick leapfrog steps of the given fractions of dt, neighbouring kicks joined."""
    stages: list[tuple[str, float]] = [("kick", fractions[0] / 2)]
    for here, after in zip(fractions, (*fractions[1:], 0.0), strict=True):
        stages += [("drift", here), ("kick", (here + after) / 2)]
    return tuple(stages)


def _symmetric(outer: tuple[float, ...]) -> tuple[float, ...]:
    """Complete w_m ... w_1 to the symmetric w_m ... w_1, w_0, w_1 ... w_m whose sum is 1."""
    return (*outer, 1 - 2 * sum(outer), *reversed(outer))


# Yoshida (1990): the triple jump for order 4, solution A for order 6, solution D for order 8.
_YOSHIDA4 = _symmetric((1 / (2 - 2 ** (1 / 3)),))
_YOSHIDA6 = _symmetric((0.784513610477560, 0.235573213359357, -1.17767998417887))
_YOSHIDA8 = _symmetric(
    (
        0.914844246229740,
        0.253693336566229,
        -1.44485223686048,
        -0.158240635368243,
        1.93813913762276,
        -1.96061023297549,
        0.102799849391985,
    )
)


_METHODS: tuple[Splitting | RungeKutta | ImplicitMidpoint | Tao, ...] = (
    RungeKutta("euler", 1, (), (1.0,)),
    Splitting("symplectic-euler", 1, (("kick", 1.0), ("drift", 1.0))),
    Splitting("leapfrog", 2, _compose((1.0,))),
    Splitting("leapfrog-drift", 2, (("drift", 0.5), ("kick", 1.0), ("drift", 0.5))),
    Splitting("leapfrog-reused-kick", 2, _compose((1.0,)), reuse=True),
    Splitting("yoshida4", 4, _compose(_YOSHIDA4)),
    Splitting("yoshida6", 6, _compose(_YOSHIDA6)),
    Splitting("yoshida8", 8, _compose(_YOSHIDA8)),
    RungeKutta("rk4", 4, ((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    ImplicitMidpoint(),
    Tao("tao2", 2, (1.0,)),
    Tao("tao4", 4, _YOSHIDA4),
)
FAMILIES: dict[str, Any] = Step.known
"""The classes of steps by name: what a file may hold."""
_BY_NAME = {method.name: method for method in _METHODS}


def available() -> list[str]:
    """Names of the integrators.

    Examples
    --------
    >>> from srnn import integrators
    >>> "yoshida8" in integrators.available()
    True
    """
    return list(_BY_NAME)


def get(integrator: str | Integrator) -> Integrator:
    """Look an integrator up by its name; an integrator object is returned as it is.

    Raises
    ------
    ValueError
        If the name is unknown; the text lists the known ones.
    TypeError
        If `integrator` is neither a name nor an integrator.

    Examples
    --------
    >>> from srnn import integrators
    >>> integrators.get("leapfrog").order
    2
    """
    if isinstance(integrator, str):
        _checks.choice(integrator, "integrator", _BY_NAME)
        return _BY_NAME[integrator]
    if not isinstance(integrator, Integrator) or isinstance(integrator, type):
        raise TypeError(
            f"Expected an integrator or its name; got {type(integrator).__name__}. "
            f"Known names: {', '.join(map(repr, _BY_NAME))}."
        )
    return integrator


def rescaled(integrator: str | Integrator | None, time: float) -> Integrator | None:
    """Return the integrator for a system whose unit of time is `time` of the user's.

    A method whose parameters have a unit of time says so by a method ``in_units``; any other is
    returned as it is, and so is None, the recurrent networks'.

    Parameters
    ----------
    integrator : str, Integrator or None
    time : float
        The new unit of time in the old one: the ``time`` of :class:`srnn.data.units.Units`.

    Examples
    --------
    >>> from srnn import integrators
    >>> integrators.rescaled("tao2", 0.5).omega, integrators.get("tao2").omega
    (2.5, 5.0)
    >>> integrators.rescaled("leapfrog", 0.5) is integrators.get("leapfrog")
    True
    """
    if integrator is None:
        return None
    method = get(integrator)
    if hasattr(method, "in_units"):
        method = method.in_units(_checks.positive(time, "time"))
    return method


def says(method: Any, what: str) -> Any:
    """Return what a method says of itself, or what holds for one that says nothing.

    Examples
    --------
    >>> from srnn import integrators
    >>> says(integrators.get("leapfrog"), "lifts"), says(object(), "lifts")
    (True, False)
    """
    return getattr(method, what, getattr(Step, what))
