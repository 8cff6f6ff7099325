"""Splitting methods: lists of kicks and drifts."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import State
from srnn.motion.fields import Field
from srnn.motion.integrators._step import Step

__all__ = ["Splitting"]


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
