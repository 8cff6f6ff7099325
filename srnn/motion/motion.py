"""What takes one state to the next, in the data's units."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from srnn import _checks
from srnn._types import JacobianSeries, State, StateSeries
from srnn.data.units import Units
from srnn.motion import integrators
from srnn.motion.adjoint import Gradient
from srnn.motion.fields import Field, as_field, hamiltonian_of, weight_of
from srnn.motion.flow_map import flow_map
from srnn.motion.rollout import rollout
from srnn.motion.scaling import ScaledField, ScaledHamiltonian
from srnn.nn.network import asked

__all__ = ["Motion", "as_motion"]


@dataclass(frozen=True, eq=False)
class Motion:
    """A network or a field, the step that it is integrated by, and the units that it works in.

    Parameters
    ----------
    net : field, Hamiltonian, system or recurrent network
        In its own units.
    step : str, Integrator or None
        In the net's unit of time; None for a net that is its own step.
    units : srnn.data.units.Units, optional
        Those of the net, where they are not the data's.
    spacing : float, optional
        The only time step that the net knows, in the data's unit of time.
    substeps : int
        Integrator steps between two observed states, unless a call says another number.
    noise : tuple of 2*dim float, optional
        Standard deviation of each coordinate's noise, where it is known.

    Examples
    --------
    >>> import torch, srnn
    >>> units = srnn.data.units.Units(q=2.0, p=1.0, time=2.0, shift=torch.zeros(2))
    >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog", units)
    >>> z0 = torch.tensor([[1.0, 0.0]])
    >>> motion.rollout(z0, dt=0.1, steps=3).shape
    torch.Size([4, 1, 2])
    """

    net: Any
    step: Any
    units: Units | None = None
    spacing: float | None = None
    substeps: int = 1
    noise: tuple[float, ...] | None = None

    @property
    def dim(self) -> int:
        """Number of positions d."""
        return int(self.net.dim)

    @property
    def own_step(self) -> bool:
        """Whether the net gives the next state itself."""
        return self.step is None

    @property
    def name(self) -> str:
        """What a text calls it."""
        inner = hamiltonian_of(self.net)
        thing = getattr(self.net, "function", self.net) if inner is None else inner
        return type(thing).__name__

    @property
    def weight(self) -> Tensor | None:
        """A weight of the net, which tells dtype and device; None without one."""
        return weight_of(self.net)

    @property
    def field(self) -> Field:
        """dz/dt in the data's units.

        Raises
        ------
        TypeError
            If the net is its own step and gives none.

        Examples
        --------
        >>> import torch, srnn
        >>> Motion(srnn.systems.MassSpring(), "leapfrog").field(torch.tensor([2.0, 1.0]))
        tensor([ 1., -2.])
        """
        if self.own_step:
            raise TypeError(f"{type(self.net).__name__} has no vector field.")
        if self.units is None:
            return as_field(self.net)
        if hamiltonian_of(self.net) is not None:
            return as_field(self.hamiltonian)
        return as_field(ScaledField(self.net, self.units))

    @property
    def hamiltonian(self) -> Any:
        """H in the data's units.

        Raises
        ------
        TypeError
            If the net is not a Hamiltonian.

        Examples
        --------
        >>> import torch, srnn
        >>> units = srnn.data.units.Units(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog", units)
        >>> motion.hamiltonian(torch.tensor([2.0, 0.0]))  # 2 (2 / 2)^2 / 2
        tensor(1.)
        """
        hamiltonian = hamiltonian_of(self.net)
        if hamiltonian is None:
            raise TypeError(f"{type(self.net).__name__} is not a Hamiltonian.")
        return hamiltonian if self.units is None else ScaledHamiltonian(hamiltonian, self.units)

    def rollout(
        self,
        z0: State,
        *,
        dt: float,
        steps: int,
        substeps: int = 1,
        gradient: str | Gradient | None = None,
    ) -> StateSeries:
        """Every state from `z0` on, as :func:`srnn.rollout`, in the data's units.

        Parameters
        ----------
        z0 : Tensor, shape (..., 2*dim)
        dt, steps, substeps, gradient
            As :func:`srnn.rollout` takes them.

        Returns
        -------
        Tensor, shape (steps + 1, ..., 2*dim)

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog")
        >>> motion.rollout(torch.tensor([[1.0, 0.0]]), dt=2.0, steps=1)[-1]
        tensor([[-1.,  0.]])
        """
        how: dict[str, Any] = {"steps": steps, "substeps": substeps, "gradient": gradient}
        if self.units is None:
            return rollout(self.net, self.step, z0, dt=dt, **how)
        units = self.units.beside(z0)
        start = units.encode(z0)
        return units.decode(rollout(self.net, self.step, start, dt=dt / units.time, **how))

    def flow_map(
        self, z0: State, *, dt: float, steps: int, substeps: int = 1
    ) -> tuple[StateSeries, JacobianSeries]:
        """States and their Jacobians in `z0`, as :func:`srnn.flow_map.flow_map`.

        Parameters
        ----------
        z0 : Tensor, shape (..., 2*dim)
        dt, steps, substeps
            As :func:`srnn.rollout` takes them.

        Returns
        -------
        states : Tensor, shape (steps + 1, ..., 2*dim)
        jacobians : Tensor, shape (steps + 1, ..., 2*dim, 2*dim)

        Examples
        --------
        >>> import torch, srnn
        >>> units = srnn.data.units.Units(q=2.0, p=1.0, time=1.0, shift=torch.zeros(2))
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog", units)
        >>> motion.flow_map(torch.tensor([[1.0, 0.0]]), dt=1.0, steps=1)[1][-1, 0]
        tensor([[ 0.5000,  2.0000],
                [-0.3750,  0.5000]])
        """
        how = {"steps": steps, "substeps": substeps}
        if self.units is None:
            return flow_map(self.net, self.step, z0, dt=dt, **how)
        units = self.units.beside(z0)
        start = units.encode(z0)
        states, jacobians = flow_map(self.net, self.step, start, dt=dt / units.time, **how)
        return units.decode(states), jacobians * (units.factor[:, None] / units.factor)

    def within(self, size: Tensor) -> "Motion":
        """Make the same motion of states over `size`, one number a coordinate.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = Motion(srnn.systems.MassSpring(), "leapfrog").within(torch.tensor([4.0, 2.0]))
        >>> motion.rollout(torch.tensor([[1.0, 0.0]]), dt=2.0, steps=1)[-1]  # as that from (4, 0)
        tensor([[-1.,  0.]])
        """
        if bool((size == 1).all()):
            return self
        units = Units.identity(self.dim, size) if self.units is None else self.units
        return replace(self, units=units.within(size))

    def check_spacing(self, dt: float) -> None:
        """Refuse a time step that the net has not learnt, where it knows one only.

        Examples
        --------
        >>> import srnn
        >>> Motion(srnn.RNN(dim=1, hidden=4), None, spacing=0.1).check_spacing(0.2)
        Traceback (most recent call last):
        ValueError: RNN has learnt steps of dt=0.1 and knows no others; got dt=0.2.
        """
        if self.spacing is not None and not _checks.same_spacing(dt, self.spacing):
            raise ValueError(
                f"{type(self.net).__name__} has learnt steps of dt={self.spacing!r} and knows no "
                f"others; got dt={dt!r}."
            )

    def check_substeps(self, substeps: int, name: str) -> None:
        """Refuse parts of a step where the net gives whole ones; `name` is the setting's.

        Examples
        --------
        >>> import srnn
        >>> Motion(srnn.RNN(dim=1, hidden=4), None).check_substeps(2, "substeps")
        Traceback (most recent call last):
        ValueError: RNN has learnt one step from an observed state to the next; leave `substeps` ...
        """
        if self.own_step and substeps > 1:
            raise ValueError(
                f"{type(self.net).__name__} has learnt one step from an observed state to the "
                f"next; leave `{name}` out."
            )

    # -- what is learnt ---------------------------------------------------------------------------

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield what has weights, with a prefix of names: the net, and a step that is learnt.

        Examples
        --------
        >>> import srnn
        >>> [(prefix, type(net)) for prefix, net in Motion(srnn.HNet(1, 4), "leapfrog").modules()]
        [('', <class 'srnn.nn.hnet.HNet'>)]
        """
        if isinstance(self.net, nn.Module):
            yield "", self.net
        step = self.step
        while step is not None and not isinstance(step, nn.Module):
            step = getattr(step, "method", None)  # of one that rebounds
        if step is not None:
            yield "step:", step

    def parameters(self) -> list[nn.Parameter]:
        """All weights, those of the net first.

        Examples
        --------
        >>> import srnn
        >>> len(Motion(srnn.QuadraticH(1), "leapfrog").parameters())
        4
        """
        return [weight for _, module in self.modules() for weight in module.parameters()]

    def state_dict(self) -> dict[str, Tensor]:
        """All weights and buffers by their names, those of the step behind ``step:``.

        Examples
        --------
        >>> import srnn
        >>> list(Motion(srnn.QuadraticH(1), "leapfrog").state_dict())[:2]
        ['kinetic.matrix', 'kinetic.vector']
        """
        return {
            f"{prefix}{name}": value
            for prefix, module in self.modules()
            for name, value in module.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take weights over from what :meth:`state_dict` gave.

        Examples
        --------
        >>> import srnn
        >>> motion = Motion(srnn.QuadraticH(1), "leapfrog")
        >>> motion.load_state_dict({name: w + 1 for name, w in motion.state_dict().items()})
        >>> motion.net.kinetic.matrix.item(), motion.net.potential.matrix.item()
        (2.0, 1.0)
        """
        for prefix, module in self.modules():
            names = module.state_dict()
            module.load_state_dict({name: state[f"{prefix}{name}"] for name in names})

    def train(self, mode: bool = True) -> None:
        """Set the mode of all modules, as ``torch.nn.Module.train`` does.

        Examples
        --------
        >>> import srnn
        >>> motion = Motion(srnn.HNet(1, 4), "leapfrog")
        >>> motion.train(False)
        >>> motion.net.training
        False
        """
        for _, module in self.modules():
            module.train(mode)


def as_motion(thing: Any, integrator: Any = None) -> Motion:
    """Make the motion of a model, a system, a Hamiltonian, a field or a network.

    Parameters
    ----------
    thing : Model, or what :class:`Motion` takes
        A :class:`srnn.Model` brings its units, and its test integrator.
    integrator : str or Integrator, optional
        By default a model's own, else leapfrog; a net that is its own step takes none.

    Returns
    -------
    Motion

    Raises
    ------
    ValueError, TypeError
        If a net that is its own step is given an integrator, or `thing` is none of these.

    Examples
    --------
    >>> import srnn
    >>> as_motion(srnn.systems.Pendulum()).step.name, as_motion(srnn.RNN(1, 4)).step
    ('leapfrog', None)
    """
    if hasattr(thing, "motion"):
        return thing.motion(integrator)  # type: ignore[no-any-return]
    if asked(thing).own_step:
        check_integrator(thing, integrator)
        return Motion(thing, None)
    method = integrators.get("leapfrog" if integrator is None else integrator)
    return Motion(as_field(thing), method)


def check_integrator(net: Any, integrator: Any) -> None:
    """Refuse an integrator beside a net that is its own step."""
    if integrator is not None and asked(net).own_step:
        raise ValueError(
            f"{type(net).__name__} is its own step from one time to the next; leave `integrator` "
            f"out, instead of {integrator!r}."
        )
