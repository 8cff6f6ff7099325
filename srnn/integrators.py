r"""Integrators: each method is data, each family of methods has one driver.

===================== ===== ========== ==========================================================
name                  order symplectic method
===================== ===== ========== ==========================================================
euler                 1     no         equation (3) of the paper
symplectic-euler      1     yes        kick, then drift
leapfrog              2     yes        equation (4) of the paper: kick, drift, kick
leapfrog-drift        2     yes        drift, kick, drift
leapfrog-reused-kick  2     yes        leapfrog as the paper's code applies it to an O-NET
yoshida4, 6, 8        4,6,8 yes        symmetric compositions of leapfrog, Yoshida (1990)
rk4                   4     no         the classical Runge-Kutta method
implicit-midpoint     2     yes        for any H, by Newton's method
tao2, tao4            2, 4  yes        for any H, explicit, in an extended phase space, Tao (2016)
===================== ===== ========== ==========================================================

A splitting method is a list of kicks :math:`p \leftarrow p + c\,\Delta t\,f_p` and drifts
:math:`q \leftarrow q + c\,\Delta t\,f_q`.  It is symplectic, and has its order, if H = K(p) + V(q);
a non-separable H is refused.

**Leapfrog and an O-NET.**  Equation (4) does not say at which momentum an O-NET f(q, p) gives the
force.  ``leapfrog`` evaluates it at the current state for every kick, which makes a step a function
of the state alone.  ``leapfrog-reused-kick`` is the convention of the paper's published code: the
force found for the last kick of a step, at :math:`(q_{n+1}, p_{n+1/2})`, serves the first kick of
the next step again.  For a separable H the two are the same method.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.errors import ConvergenceError
from srnn.fields import Field

__all__ = [
    "FAMILIES",
    "ImplicitMidpoint",
    "Integrator",
    "RungeKutta",
    "Splitting",
    "Tao",
    "available",
    "get",
]


@runtime_checkable
class Integrator(Protocol):
    """What a rollout asks of a method: make a state, step it, read (q, p) from it.

    The state is the method's own: a splitting keeps the force it will need again, Tao's method
    keeps the second copy of phase space.
    """

    @property
    def name(self) -> str:
        """The name in the table of methods."""
        ...  # pragma: no cover

    @property
    def order(self) -> int:
        """The order of convergence."""
        ...  # pragma: no cover

    @property
    def symplectic(self) -> bool:
        """Whether a step on a Hamiltonian field is a symplectic map."""
        ...  # pragma: no cover

    def init(self, field: Field, z0: Tensor) -> Any:
        """Make the state that stands for `z0`; refuse a field that the method is not for."""
        ...  # pragma: no cover

    def step(self, field: Field, state: Any, dt: float) -> Any:
        """Advance by `dt`, which may be negative."""
        ...  # pragma: no cover

    def read(self, state: Any) -> Tensor:
        """Return (q, p) of a state."""
        ...  # pragma: no cover


class _Split(NamedTuple):
    q: Tensor
    p: Tensor
    velocity: Tensor | None  # dq/dt at (q, p), or None where it has to be evaluated
    force: Tensor | None


@dataclass(frozen=True)
class Splitting:
    """A list of kicks and drifts.

    Parameters
    ----------
    name : str
    order : int
    stages : tuple of (str, float)
        ``("kick", c)`` or ``("drift", c)`` with c in units of dt, in the order they act.
    reuse : bool
        Whether a kick leaves the force valid also for a field whose force depends on p (see the
        module's text on O-NETs).

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

    def __post_init__(self) -> None:
        for kind, _ in self.stages:
            _checks.choice(kind, "stage", ("kick", "drift"))

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

    def read(self, state: _Split) -> State:
        """(q, p) of a state."""
        return torch.cat((state.q, state.p), dim=-1)


@dataclass(frozen=True)
class RungeKutta:
    """An explicit Runge-Kutta method, by its Butcher table (autonomous, so without nodes).

    Parameters
    ----------
    name : str
    order : int
    matrix : tuple of tuple of float
        Row i holds the coefficients of the stages before stage i + 1.
    weights : tuple of float

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
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


@dataclass(frozen=True)
class ImplicitMidpoint:
    r"""The implicit midpoint rule, symplectic for every H.

    .. math:: z_{n+1} = z_n + \Delta t\, f\big((z_n + z_{n+1})/2\big)

    solved by Newton's method.  Gradients are exact: the last Newton step is taken on the autograd
    graph with its Jacobian held fixed, which is the implicit function theorem.

    Parameters
    ----------
    iterations : int
        Newton steps after which :class:`~srnn.errors.ConvergenceError` is raised.
    """

    name: str = "implicit-midpoint"
    order: int = 2
    symplectic: bool = True
    iterations: int = 30

    def init(self, field: Field, z0: State) -> State:
        """Start at `z0`."""
        return z0

    def step(self, field: Field, state: State, dt: float) -> State:
        """One step."""
        flat = state.reshape(-1, state.shape[-1])
        start = flat.detach()
        identity = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)
        jacobian_of = torch.func.vmap(torch.func.jacrev(field))
        # A few roundings of the state's own size: what a residual can reach.
        scale = 1 + start.abs().amax(dim=-1)
        tolerance = 8 * torch.finfo(flat.dtype).eps * scale
        with torch.no_grad():
            z = start + dt * field(start)
            best = torch.full_like(scale, torch.inf)
            for _ in range(self.iterations):
                middle = (start + z) / 2
                residual = z - start - dt * field(middle)
                size = residual.abs().amax(dim=-1)
                matrix = identity - (dt / 2) * jacobian_of(middle)
                # Rounding sets a floor that the tolerance may lie under: a residual that is small
                # and no longer falls has arrived.
                arrived = (size <= tolerance) | ((size <= 1e3 * tolerance) & (size >= best))
                if bool(arrived.all()):
                    break
                best = torch.minimum(best, size)
                z = z - torch.linalg.solve(matrix, residual)
            else:
                raise ConvergenceError(
                    f"The implicit midpoint rule did not converge in {self.iterations} Newton "
                    f"steps at dt={dt:g}: the residual is {float(size.max()):.1e}. "
                    "Take a smaller step."
                )
        residual = z - flat - dt * field((flat + z) / 2)
        solved: Tensor = z - torch.linalg.solve(matrix, residual)
        return solved.reshape(state.shape)

    def read(self, state: State) -> State:
        """(q, p) of a state."""
        return state


class _Extended(NamedTuple):
    z: Tensor  # (q, p)
    twin: Tensor  # (x, y), the second copy


@dataclass(frozen=True)
class Tao:
    r"""Explicit symplectic integration of a non-separable H, Tao (2016).

    Phase space is doubled, and the extended Hamiltonian

    .. math:: \bar H = H(q, y) + H(x, p) + \tfrac{\omega}{2}\big(|q-x|^2 + |p-y|^2\big)

    is split into its three terms, each of which has an explicit flow.  The step is symplectic in
    the extended space (q, x, p, y); the map from (q, p) to (q, p) that a user sees is not exactly
    symplectic, because the two copies part by a little.

    Parameters
    ----------
    name : str
    order : int
    substeps : tuple of float
        The composition's fractions of dt.
    omega : float
        Binding of the two copies, in units of one over time.  Larger binds more tightly and asks
        for smaller steps.
    """

    name: str
    order: int
    substeps: tuple[float, ...]
    omega: float = 5.0
    symplectic: bool = True

    def init(self, field: Field, z0: State) -> _Extended:
        """Start both copies at `z0`; the field must come from a Hamiltonian."""
        if field.hamiltonian is None:
            raise ValueError(
                f"The integrator {self.name!r} is for Hamiltonians; the field has none. "
                "Use 'rk4' or 'implicit-midpoint'."
            )
        return _Extended(z0, z0)

    def step(self, field: Field, state: _Extended, dt: float) -> _Extended:
        """One step: a symmetric composition for each substep."""
        for fraction in self.substeps:
            state = self._second_order(field, state, fraction * dt)
        return state

    def _second_order(self, field: Field, state: _Extended, dt: float) -> _Extended:
        state = self._first(field, state, dt / 2)
        state = self._second(field, state, dt / 2)
        state = self._bind(state, dt)
        state = self._second(field, state, dt / 2)
        return self._first(field, state, dt / 2)

    @staticmethod
    def _first(field: Field, state: _Extended, dt: float) -> _Extended:
        """Flow of H(q, y): moves p and x."""
        (q, p), (x, y) = _checks.halves(state.z), _checks.halves(state.twin)
        velocity, force = _checks.halves(field(torch.cat((q, y), dim=-1)))
        return _Extended(
            torch.cat((q, p + dt * force), dim=-1), torch.cat((x + dt * velocity, y), dim=-1)
        )

    @staticmethod
    def _second(field: Field, state: _Extended, dt: float) -> _Extended:
        """Flow of H(x, p): moves q and y."""
        (q, p), (x, y) = _checks.halves(state.z), _checks.halves(state.twin)
        velocity, force = _checks.halves(field(torch.cat((x, p), dim=-1)))
        return _Extended(
            torch.cat((q + dt * velocity, p), dim=-1), torch.cat((x, y + dt * force), dim=-1)
        )

    def _bind(self, state: _Extended, dt: float) -> _Extended:
        """Flow of the binding term: the difference of the copies turns, their sum stays."""
        total, difference = state.z + state.twin, state.z - state.twin
        u, v = _checks.halves(difference)
        angle = torch.tensor(2 * self.omega * dt, dtype=torch.float64)
        cos, sin = float(torch.cos(angle)), float(torch.sin(angle))
        turned = torch.cat((cos * u + sin * v, cos * v - sin * u), dim=-1)
        return _Extended((total + turned) / 2, (total - turned) / 2)

    def read(self, state: _Extended) -> State:
        """(q, p) of a state; the second copy is left out."""
        return state.z


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
FAMILIES: dict[str, Any] = {
    family.__name__: family for family in (Splitting, RungeKutta, ImplicitMidpoint, Tao)
}
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
