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

        Examples
        --------
        >>> import torch, srnn
        >>> leapfrog, units = srnn.integrators.get("leapfrog"), Units.identity(1, torch.zeros(2))
        >>> srnn.HNet(1, 4).step_for(leapfrog, units) is leapfrog
        True
        """
        return method

    def units_for(self, data: Trajectories, *, isotropic: bool = False) -> Units | None:
        """Choose units to be trained in; None for those of the data.

        Parameters
        ----------
        data : Trajectories
        isotropic : bool
            Whether all positions share a unit, and all momenta, and zero momentum stays.

        Examples
        --------
        >>> import srnn
        >>> data = srnn.systems.MassSpring(stiffness=4.0).simulate(8, steps=200, dt=0.1)
        >>> round(srnn.HNet(1, 4).units_for(data).time, 1)  # one over the frequency
        0.5
        """
        return Units.of(data, isotropic=isotropic) if self.scaled else None

    def quadratic_parts(self) -> tuple[Any, Any] | None:
        """Give the quadratic forms of K(p) and of V(q) that the data can start, if there are any.

        A :class:`srnn.nn.QuadraticForm` each.

        Examples
        --------
        >>> import srnn
        >>> [form.vector.shape for form in srnn.QuadraticH(3).quadratic_parts()]
        [torch.Size([3]), torch.Size([3])]
        >>> srnn.HNet(3, 8).quadratic_parts() is None
        True
        """
        return None

    def silence(self) -> None:
        """Make what stands beside the quadratic forms zero, so that H begins as those.

        Examples
        --------
        >>> import torch, srnn
        >>> net = srnn.HNet(1, 4, quadratic=True)
        >>> net.silence()
        >>> net(torch.tensor([1.0, 3.0])).item()  # p^2 / 2, as its forms begin
        4.5
        """

    def distilled_parts(self) -> tuple[Any, Any] | None:
        """Give the MLPs of K and of V that take over a quadratic H under "distil", if any.

        Examples
        --------
        >>> import srnn
        >>> [type(part).__name__ for part in srnn.HNet(1, 4).distilled_parts()]
        ['MLP', 'MLP']
        >>> srnn.HNet(1, 4, quadratic=True).distilled_parts() is None
        True
        """
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
        """Start from the data in a way of its own; None leaves it to the quadratic forms.

        Examples
        --------
        >>> import torch, srnn
        >>> data, g = srnn.systems.MassSpring().simulate(2, steps=3, dt=0.1), torch.Generator()
        >>> how = (srnn.integrators.get("leapfrog"), Units.of(data), data, srnn.recipes.Recipe())
        >>> srnn.QuadraticH(1).start_by(*how, generator=g, progress=False) is None
        True
        """
        return None

    def recipe_for(self, preset: str | None) -> Mapping[str, Any]:
        """Tell what its training changes in the recipe of a preset.

        Examples
        --------
        >>> import srnn
        >>> srnn.RNN(1, 4).recipe_for("paper"), srnn.HNet(1, 4).recipe_for("paper")
        ({'clip_norm': 0.25}, {})
        """
        return {}

    def check_fit(self, data: Trajectories, recipe: Any) -> None:
        """Refuse data, or a :class:`srnn.recipes.Recipe`, that it cannot be trained by.

        Examples
        --------
        >>> import torch, srnn
        >>> room = srnn.systems.Room.box()
        >>> net = srnn.rebound.WalledH(srnn.QuadraticH(2), srnn.rebound.PatchWalls(room.image))
        >>> fast = srnn.systems.Billiard(room, speed=200.0).simulate(4, steps=3, dt=0.1)
        >>> net.check_fit(fast, srnn.recipes.Recipe())
        Traceback (most recent call last):
        ValueError: Expected steps of at most 5 pixels, half the patch that the walls are seen ...
        """

    def check_iso(self) -> None:
        """Refuse that initial states are optimised through its motion.

        Examples
        --------
        >>> import torch, srnn
        >>> room = srnn.systems.Room.box()
        >>> net = srnn.rebound.WalledH(srnn.QuadraticH(2), srnn.rebound.KnownWalls(room))
        >>> net.check_iso()
        Traceback (most recent call last):
        ValueError: Initial states are not optimised through rebounds yet, since a start near a ...
        """

    def check_start(self, z0: Tensor, dt: float, motion: Any) -> None:
        """Refuse states that no prediction of a motion can begin at, with a first step `dt`.

        Examples
        --------
        >>> import torch, srnn
        >>> room = srnn.systems.Room.box()
        >>> net = srnn.rebound.WalledH(srnn.QuadraticH(2), srnn.rebound.KnownWalls(room))
        >>> net.check_start(torch.zeros(1, 4), 0.1, srnn.SRNN(2, hamiltonian=net).motion())
        Traceback (most recent call last):
        ValueError: Expected positions in the free space of the picture; ...
        """

    def ended(self, states: Tensor) -> Tensor:
        """Mark what of a prediction is none any more, by NaN from there on.

        Examples
        --------
        >>> import torch, srnn
        >>> room = srnn.systems.Room.box()
        >>> net = srnn.rebound.WalledH(srnn.QuadraticH(2), srnn.rebound.KnownWalls(room))
        >>> states = torch.tensor([[[16.0, 16.0, 0.0, 0.0]], [[-9.0, 16.0, 0.0, 0.0]]])
        >>> net.ended(states)[:, 0, 0]
        tensor([16., nan])
        """
        return states


class _Foreign(Network):
    """Answers in the place of something that is not a :class:`Network`."""

    def __init__(self, thing: Any) -> None:
        self.own_step = all(hasattr(thing, name) for name in ("init", "step", "read"))
        self.one_spacing = self.own_step


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
