"""What a rollout asks of a method."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from srnn.motion.fields import Field

__all__ = ["Integrator"]


@runtime_checkable
class Integrator(Protocol):
    """What a rollout asks of a method: make a state, step it, read (q, p) from it.

    The state is the method's own: a splitting keeps the force it will need again, Tao's method
    keeps the second copy of phase space.

    Examples
    --------
    Anything with these members will do:

    >>> import torch, srnn
    >>> class Euler:
    ...     name, order, symplectic = "my-euler", 1, False
    ...
    ...     def init(self, field, z0):
    ...         return z0
    ...
    ...     def step(self, field, state, dt):
    ...         return state + dt * field(state)
    ...
    ...     def read(self, state):
    ...         return state
    >>> isinstance(Euler(), Integrator)
    True
    >>> z0 = torch.tensor([[1.0, 0.0]])
    >>> srnn.rollout(srnn.systems.MassSpring(), Euler(), z0, dt=0.5, steps=1)[-1]
    tensor([[ 1.0000, -0.5000]])
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
        """Whether a step on a Hamiltonian field is symplectic (Tao's: in its extended space)."""
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
