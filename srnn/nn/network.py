"""What a network is asked, and what one answers that says nothing of its own.

A model, a fit and a file know no list of networks: they ask.  Each question is a member of
:class:`Network`; its default is the answer for a module of a user's own, which need not know the
class (:func:`asked` answers in its place).  A network that derives from it overrides what differs,
in its own file, and is found again by :func:`srnn.load` through its name.
"""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from srnn import _checks
from srnn.data.trajectories import Trajectories
from srnn.data.units import Units

__all__ = ["Configured", "Network", "asked"]


class Configured:
    """What a file can build again: by the name of its class, with a ``config``.

    Examples
    --------
    >>> import srnn
    >>> Network.known["HNet"] is srnn.HNet
    True
    """

    known: ClassVar[dict[str, Any]]
    """The classes of this kind by their names; a class enters when it is defined."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if Configured in cls.__bases__:
            cls.known = {}
        elif not cls.__name__.startswith("_"):
            cls.known[cls.__name__] = cls

    @property
    def config(self) -> dict[str, Any] | None:
        """Arguments that :meth:`from_config` builds it of again, None if they are not known."""
        return None

    @classmethod
    def from_config(cls, **config: Any) -> Any:
        """Build what a ``config`` describes; weights are loaded afterwards.

        Examples
        --------
        >>> import srnn
        >>> srnn.HNet.from_config(**srnn.HNet(2, 8).config).hidden
        (8,)
        """
        return cls(**config)

    @classmethod
    def sketch(cls, **config: Any) -> Any:
        """Build it without numbers, where its class takes a device: its shapes need no memory.

        Examples
        --------
        >>> import srnn
        >>> srnn.HNet.sketch(dim=20, hidden=10**6).kinetic.weight.device
        device(type='meta')
        """
        takes = "device" in inspect.signature(cls).parameters
        return cls.from_config(**config, **({"device": "meta"} if takes else {}))


class Network(Configured):
    """The questions to a network, with the answers of one that says nothing.

    A network of your own that is saved, or started and scaled by ``fit``, derives from this class
    and from ``torch.nn.Module``.

    Examples
    --------
    >>> import torch, srnn
    >>> class Quartic(srnn.nn.Network, torch.nn.Module):  # H = p^2 / 2 + a q^4 / 4
    ...     dim, separable, config = 1, True, {}
    ...
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.a = torch.nn.Parameter(torch.ones(()))
    ...
    ...     def forward(self, z):
    ...         return z[..., 1] ** 2 / 2 + self.a * z[..., 0] ** 4 / 4
    >>> model = srnn.SRNN(1, hamiltonian=Quartic())
    >>> model.hamiltonian(torch.tensor([2.0, 0.0])).item()
    4.0
    """

    one_spacing = False
    """Whether it has learnt one time step and knows no others."""

    own_step = False
    """Whether it gives the next state itself, so that it takes no integrator."""

    smooth = True
    """Whether its motion can be differentiated in its start wherever that is."""

    scaled = False
    """Whether its numbers mean nothing to a user, so that it may be trained in other units."""

    def step_for(self, method: Any, units: Units) -> Any:
        """Give the step that a rollout takes, in the network's units.

        Parameters
        ----------
        method : Integrator or None
            In the network's unit of time.
        units : srnn.data.units.Units
            The network's.
        """
        return method

    def units_for(self, data: Trajectories, *, centre_momenta: bool = True) -> Units | None:
        """Choose units to be trained in; None for those of the data.

        Parameters
        ----------
        data : Trajectories
        centre_momenta : bool
            Whether the origin of momenta may move.
        """
        return Units.of(data, centre_momenta=centre_momenta) if self.scaled else None

    def quadratic_parts(self) -> tuple[Any, Any] | None:
        """Give the quadratic forms of K(p) and of V(q) that the data can start, if there are any.

        A :class:`srnn.nn.QuadraticForm` each.
        """
        return None

    def silence(self) -> None:
        """Make what stands beside the quadratic forms zero, so that H begins as those."""

    def distilled_parts(self) -> tuple[Any, Any] | None:
        """Give the MLPs of K and of V that take over a quadratic H under "distil", if any."""
        return None

    quadratic_only = False
    """Whether H is its quadratic forms and nothing beside them."""

    def start_by(
        self,
        method: Any,
        units: Units,
        windows: Trajectories,
        recipe: Any,
        generator: Any,
        progress: bool,
    ) -> bool | None:
        """Start from the data in a way of its own; None leaves it to the quadratic forms."""
        return None

    def recipe_for(self, preset: str | None) -> Mapping[str, Any]:
        """Tell what its training changes in the recipe of a preset."""
        return {}

    def check_fit(self, data: Trajectories, recipe: Any) -> None:
        """Refuse data, or a :class:`srnn.recipes.Recipe`, that it cannot be trained by."""

    def check_iso(self) -> None:
        """Refuse that initial states are optimised through its motion."""

    def check_start(self, z0: Tensor, dt: float, motion: Any) -> None:
        """Refuse states that no prediction of a motion can begin at, with a first step `dt`."""

    def ended(self, states: Tensor) -> Tensor:
        """Mark what of a prediction is none any more, by NaN from there on."""
        return states


class _Foreign(Network):
    """Answers in the place of something that is not a :class:`Network`."""

    def __init__(self, thing: Any) -> None:
        self.own_step = self.one_spacing = _checks.is_own_step(thing)


def asked(thing: Any) -> Network:
    """Return who answers for a network, a system or a field: itself, or the defaults.

    Examples
    --------
    >>> import srnn
    >>> net = srnn.RNN(dim=1, hidden=4)
    >>> asked(net) is net, asked(net).own_step, asked(srnn.systems.Pendulum()).own_step
    (True, True, False)
    """
    return thing if isinstance(thing, Network) else _Foreign(thing)
