"""The methods by name, and how they are found."""

from typing import Any

from srnn import _checks
from srnn.motion.integrators._implicit import ImplicitMidpoint
from srnn.motion.integrators._protocol import Integrator
from srnn.motion.integrators._runge_kutta import RungeKutta
from srnn.motion.integrators._splitting import Splitting
from srnn.motion.integrators._step import Step
from srnn.motion.integrators._tao import Tao

__all__ = ["FAMILIES", "available", "get", "rescaled"]


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
