"""What a step says of itself, beside how it steps."""

import dataclasses
from typing import Any, ClassVar

from torch import Tensor

from srnn.motion.fields import Field
from srnn.nn.network import Configured

__all__ = ["Step"]


class Step(Configured):
    """What a step says of itself; the defaults hold for one that says nothing.

    A step of your own is anything with the members of :class:`Integrator`; what it has of a unit of
    time it takes to another one by a method ``in_units``.  One that is saved in a
    file derives from this class too, and one with weights from ``torch.nn.Module`` beside it: they
    are trained with the network's, saved and loaded.

    Examples
    --------
    Leapfrog with friction p' = -gamma p, which is learnt:

    >>> import copy, torch, srnn
    >>> class Damped(srnn.integrators.Step, torch.nn.Module):
    ...     name, order, symplectic, time, config = "damped", 2, False, 1.0, {}
    ...
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.gamma = torch.nn.Parameter(torch.tensor(0.1))
    ...
    ...     def in_units(self, time):
    ...         other = copy.copy(self)  # with the same weight
    ...         other.time = self.time * time
    ...         return other
    ...
    ...     def init(self, field, z0):
    ...         return z0
    ...
    ...     def step(self, field, z, dt):
    ...         q, p = z.chunk(2, dim=-1)
    ...         p = p + dt / 2 * field.force(q, p)
    ...         q = q + dt / 2 * field.velocity(q, p)
    ...         p = torch.exp(-self.gamma * self.time * dt) * p
    ...         q = q + dt / 2 * field.velocity(q, p)
    ...         return torch.cat((q, p + dt / 2 * field.force(q, p)), dim=-1)
    ...
    ...     def read(self, z):
    ...         return z
    >>> model = srnn.SRNN(1, hamiltonian=srnn.QuadraticH(1), integrator=Damped())
    >>> len(model.motion().parameters())  # four of H, and gamma
    5
    """

    one_dt: ClassVar[bool] = False
    """Whether one dt serves the whole batch; a rebound needs one for each trajectory."""

    lifts: ClassVar[bool] = False
    """Whether its step for a field together with its tangents is that of the field, differentiated.

    True of what only adds multiples of rates to the state.
    """

    exact_twice: ClassVar[bool] = True
    """Whether PyTorch's second derivatives of a step are exact."""

    solves: ClassVar[bool] = False
    """Whether it takes any dz/dt = f(z), one without halves q and p too."""

    @property
    def config(self) -> dict[str, Any] | None:
        """Arguments that build it again: the fields of a dataclass, else what the class says."""
        return dataclasses.asdict(self) if dataclasses.is_dataclass(self) else None

    @classmethod
    def from_config(cls, **config: Any) -> Any:
        """Build what a ``config`` describes, of which JSON has made lists."""
        return cls(**{name: _as_tuple(value) for name, value in config.items()})

    def variables(self, field: Field, state: Any) -> tuple[Tensor, ...] | None:
        """Give the tensors of a state that determine all that follows, each independently.

        None where they are not known.

        Examples
        --------
        >>> import torch
        >>> from srnn import fields, integrators, systems
        >>> leapfrog, field = integrators.get("leapfrog"), fields.as_field(systems.MassSpring())
        >>> state = leapfrog.init(field, torch.tensor([[1.0, 0.0]]))
        >>> leapfrog.variables(field, state)
        (tensor([[1., 0.]]),)
        """
        return None

    def resumed(self, field: Field, like: Any, variables: tuple[Tensor, ...]) -> Any:
        """Make a state of other `variables`, the inverse of :meth:`variables`.

        Examples
        --------
        >>> import torch
        >>> from srnn import fields, integrators, systems
        >>> leapfrog, field = integrators.get("leapfrog"), fields.as_field(systems.MassSpring())
        >>> state = leapfrog.init(field, torch.tensor([[1.0, 0.0]]))
        >>> leapfrog.read(leapfrog.resumed(field, state, (torch.tensor([[2.0, 3.0]]),)))
        tensor([[2., 3.]])
        """
        return type(like)(*variables)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value
