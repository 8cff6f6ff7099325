"""Which way a rollout is differentiated, and how that is asked for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from srnn import _checks
from srnn.motion.adjoint._function import Pass, run
from srnn.motion.adjoint._network import Network
from srnn.motion.adjoint._program import program
from srnn.motion.adjoint._rates import KernelField
from srnn.motion.fields import Field, innermost
from srnn.motion.integrators import Integrator
from srnn.nn import HNet

__all__ = ["GRADIENTS", "Gradient", "as_gradient", "fused", "with_kernels"]

GRADIENTS = (
    None,
    "autograd",
    "stored",
    "recompute",
    "reversible",
    "reversible-exact",
    "continuous",
)


@dataclass(frozen=True)
class Gradient:
    """How a rollout is differentiated.

    Parameters
    ----------
    name : str or None
        One of ``srnn.adjoint.GRADIENTS``; see :mod:`srnn.adjoint`.
    weights : bool
        Whether gradients of the network's weights are wanted.  Without them the fused ways carry
        back the states' alone, a third less work; the other ways take no notice.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> Gradient("recompute").name
    'recompute'
    """

    name: str | None = None
    weights: bool = True

    def __post_init__(self) -> None:
        _checks.choice(self.name, "gradient", GRADIENTS)


def as_gradient(value: "str | Gradient | None") -> Gradient:
    """Turn a name into a `Gradient`; one is returned as it is."""
    return value if isinstance(value, Gradient) else Gradient(value)


def fused(
    field: Field,
    method: Integrator,
    z0: Tensor,
    *,
    dt: float,
    steps: int,
    substeps: int,
    gradient: Gradient,
) -> Tensor | None:
    """Roll out by the fused adjoint, or return None where it was not asked for by name and cannot.

    Parameters
    ----------
    field, method, z0, steps, substeps
        As :func:`srnn.rollout`, already checked.
    dt : float
        Negative for a rollout backwards in time.
    gradient : Gradient

    Returns
    -------
    Tensor, shape (steps + 1, ..., 2*dim), or None

    Raises
    ------
    ValueError
        If it was asked for by name and the field or the method has no fused adjoint.
    """
    net, scale = innermost(field)
    # A wrapper may take for dz/dt itself what is a Hamiltonian.
    if not Network.known(net) or field.separable != (type(net) is HNet):
        _refuse(gradient, f"the networks srnn.nn.HNet and srnn.nn.ONet; got {type(net).__name__}")
        return None
    if _checks.transformed() or _autocast(z0) or not z0.numel():
        return None  # the plain operations, which PyTorch transforms, compiles and casts
    time = 1.0 if scale is None else scale.time
    made = program(method, bool(field.separable), dt / time, steps, substeps)
    if made is None:
        name = getattr(method, "name", type(method).__name__)
        _refuse(gradient, f"'euler' and the splitting methods such as 'leapfrog'; got {name!r}")
        return None
    if gradient.name in ("reversible", "reversible-exact") and not made.reversible:
        _refuse(
            gradient,
            "splitting methods on a separable H, whose steps can be undone; got "
            f"{method.name!r} on {type(net).__name__} ('recompute' needs little memory too)",
        )
        return None
    scale = None if scale is None else scale.beside(z0)
    start = z0 if scale is None else scale.encode(z0)
    task = Pass(Network(net), made, gradient.name, gradient.weights)
    states = run(task, start.reshape(-1, start.shape[-1]))
    states = states.reshape(steps + 1, *z0.shape)
    # The first state is the one that was given, to the last bit.
    return states if scale is None else torch.cat((z0[None], scale.decode(states[1:])))


def with_kernels(field: Field, z0: Tensor) -> Field:
    """Return the same field with rates from kernels, where it has any, else the field itself."""
    net, scale = innermost(field)
    fits = scale is None and type(net) is HNet and Network.known(net) and field.separable
    if not fits or _autocast(z0):
        return field
    return KernelField(field, Network(net))


def _refuse(gradient: Gradient, what: str) -> None:
    """Refuse what was asked for by name."""
    if gradient.name is None:
        return
    raise ValueError(
        f"gradient={gradient.name!r} is for {what}. "
        "Leave `gradient` out to take the fastest way there is."
    )


def _autocast(z: Tensor) -> bool:
    """Whether PyTorch casts operations on the device of `z` now."""
    kind = z.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
