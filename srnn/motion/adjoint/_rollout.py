"""The rollout as one node of PyTorch's graph: when it is one, what it keeps, how it goes back."""

import math
import threading
import warnings
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn.motion.adjoint._fixed_point import check_range, has_numbers, in_units, unit_for
from srnn.motion.adjoint._kernels import Kernel, Network, differentiated
from srnn.motion.adjoint._rates import KernelField
from srnn.motion.adjoint._sweep import Evaluate, Keep, Memory, Program, backward, forward, program
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


# -- memory that a model keeps from one training step to the next -------------------------------
# A fresh tensor of some megabytes costs page faults as dear as the arithmetic on it, so a rollout
# takes its memory from here and gives it back after the backward pass.  Every model has a pool of
# its own in every thread: two models that train side by side share nothing.

# A rollout and, while its loss is still referred to, the next one.
_KEPT = 2
# Of one block: those of a whole batch, of an epoch's last one, of the validation's.
_LAYOUTS = 8
# Larger pieces of memory go back to the system at once.
_LARGEST = 1 << 30


class _Block:
    """One piece of memory, and the views into it that were asked for before."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.bytes = torch.empty(size, dtype=torch.uint8, device=device)
        self.views: dict[Hashable, Any] = {}


class _Pool(threading.local):
    """The blocks of one model that nobody uses now, in this thread."""

    def __init__(self) -> None:
        self.free: list[_Block] = []


_POOLS: "weakref.WeakKeyDictionary[nn.Module, _Pool]" = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


class Lease:
    """Memory on loan: given back by `release`, or when nobody refers to the loan any more."""

    def __init__(self, block: _Block, free: list[_Block] | None) -> None:
        self.block: _Block | None = block
        self._free = free

    def release(self) -> None:
        """Give the memory back."""
        block, self.block = self.block, None
        if block is None or self._free is None:
            return
        if len(block.bytes) <= _LARGEST and len(self._free) < _KEPT:
            self._free.append(block)

    def __del__(self) -> None:
        self.release()


def lease(
    owner: nn.Module,
    key: Hashable,
    like: Tensor,
    size: Callable[[], int],
    make: Callable[[Tensor], Any],
) -> tuple[Any, Lease]:
    """Borrow memory on the device of `like` from the pool of `owner`, laid out for a use.

    Parameters
    ----------
    owner : module
    key : hashable
        Names the use.  Its layout is kept with the memory.
    like : Tensor
        Nothing is kept for one of another class than Tensor, such as PyTorch's fake tensors, and
        in inference mode, whose tensors cannot be written to outside of it.
    size : callable
        Gives the number of bytes, where no memory is laid out for this use yet.
    make : callable
        Lays out memory.
    """
    if type(like) is not Tensor or torch.is_inference_mode_enabled():
        block = _Block(size(), like.device)
        return make(block.bytes), Lease(block, None)
    with _LOCK:
        free = _POOLS.setdefault(owner, _Pool()).free
    key = (key, like.device)
    for index, block in enumerate(free):
        if key in block.views:
            return block.views[key], Lease(free.pop(index), free)
    needed = size()
    fitting = [k for k, block in enumerate(free) if len(block.bytes) >= needed]
    fitting = [k for k in fitting if free[k].bytes.device == like.device]
    if fitting:
        block = free.pop(fitting[0])
    else:
        free.clear()  # all too small
        block = _Block(needed, like.device)
    if len(block.views) == _LAYOUTS:
        block.views.clear()
    block.views[key] = make(block.bytes)
    return block.views[key], Lease(block, free)


# -- the node --------------------------------------------------------------------------------------

# Share of the largest entry of the initial states by which a reversed rollout may miss them.
_DRIFT = 1e-3
# Activations of a rollout up to this many bytes are kept for its backward pass; of a larger one
# they are computed again.
_STORED = 1 << 28
_NOTHING = Keep(inputs=False, activations=False)
_KEEP = {
    "stored": Keep(inputs=True, activations=True),
    "recompute": Keep(inputs=True, activations=False),
    "reversible": _NOTHING,
    "reversible-exact": _NOTHING,
}


@dataclass(frozen=True)
class Pass:
    """A program on a network."""

    network: Network
    program: Program
    mode: str | None
    learning: bool = True  # whether the weights' gradients are wanted

    def kernels(self, weights: Sequence[Tensor]) -> dict[int, Kernel]:
        """Make a kernel for each rate that the program asks for."""
        return self.network.kernels(weights, self.program.rates)

    def memory(self, kernels: dict[int, Kernel], like: Tensor, keep: Keep) -> tuple[Memory, Lease]:
        """Borrow memory for a pass over states such as `like`, shape (batch, 2*dim)."""

        def lay(memory: Tensor | None) -> Memory:
            return Memory(memory, self.network, self.program, kernels, len(like), keep, like.dtype)

        # The layout keeps the program alive, and so its identity its own.
        threads = torch.get_num_threads()  # the size of a batch's pieces depends on it
        key = (self.network.layout, id(self.program), len(like), keep, like.dtype, threads)
        return lease(self.network.net, key, like, lambda: lay(None).bytes, lay)

    def keep(self, kernels: dict[int, Kernel], batch: int, width: int) -> Keep:
        """Choose what a forward pass leaves for the backward one."""
        if self.mode is not None:
            return _KEEP[self.mode]
        numbers = sum(
            math.prod(shape) for rate in self.program.order for shape in kernels[rate].kept(batch)
        )
        return _KEEP["stored" if width * numbers <= _STORED else "recompute"]


def run(task: Pass, z0: Tensor) -> Tensor:
    """Integrate from `z0`, shape (batch, 2*dim), and return all states.

    Where no gradient is asked for nothing is kept.
    """
    weights = task.network.weights
    if not task.learning:
        weights = [w.detach() for w in weights]
    if torch.is_grad_enabled() and any(x.requires_grad for x in (z0, *weights)):
        states: Tensor = _Rollout.apply(task, z0, *weights)  # type: ignore[no-untyped-call]
        return states
    kernels = task.kernels(weights)
    memory, loan = task.memory(kernels, z0, _NOTHING)
    states, _ = _integrate(task, memory, kernels, z0.detach(), _unit(task, z0))
    loan.release()
    return states


def _unit(task: Pass, z0: Tensor) -> float | None:
    return unit_for(z0) if task.mode == "reversible-exact" else None


def _integrate(
    task: Pass, memory: Memory, kernels: dict[int, Kernel], z0: Tensor, unit: float | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return all states, and with a `unit` the last one in whole units."""
    out = z0.new_empty(task.program.steps + 1, *z0.shape)
    whole = forward(memory, task.network, kernels, z0, out, unit)
    if unit is not None:
        check_range(out, unit)
    return out, whole


class _Rollout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, task: Pass, z0: Tensor, *weights: Tensor) -> Tensor:
        learning = any(ctx.needs_input_grad[2:])
        kernels = task.kernels(weights)
        keep = task.keep(kernels, len(z0), z0.dtype.itemsize)
        unit = _unit(task, z0)
        memory, loan = task.memory(kernels, z0, keep)
        out, whole = _integrate(task, memory, kernels, z0, unit)
        if keep == _NOTHING:
            loan.release()
        ctx.task, ctx.learning, ctx.unit, ctx.keep = task, learning, unit, keep
        ctx.left, ctx.last = [(memory, loan, kernels)], None
        if task.mode in ("reversible", "reversible-exact"):
            ctx.last = out[-1].clone() if whole is None else whole
        ctx.save_for_backward(z0, *weights)
        return out

    @staticmethod
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        task: Pass = ctx.task
        z0, *weights = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled() or _checks.transformed(cotangents):

            def plain(start: Tensor, *own: Tensor) -> Tensor:
                return _plain(task.program, task.network, start, own)

            return None, *differentiated(plain, (z0, *weights), cotangents, needed)
        # Taken out at once: of two threads that go back through one graph the other has to do with
        # the states alone, as a second backward pass has, and a reversible run.
        try:
            memory, loan, kernels = ctx.left.pop()
        except IndexError:
            loan = None
        if loan is None or loan.block is None:
            kernels = task.kernels(weights)
            keep = ctx.keep if ctx.last is not None else _KEEP["recompute"]
            memory, loan = task.memory(kernels, z0, keep)
            if ctx.last is None:
                _integrate(task, memory, kernels, z0)
        gradient, learnt, rebuilt = backward(
            memory, task.network, kernels, cotangents, ctx.last, ctx.learning, ctx.unit
        )
        loan.release()
        if rebuilt is not None and has_numbers(z0):
            _watch(rebuilt, z0, ctx.last, ctx.unit)
        gradients: list[Tensor | None] = [gradient]
        gradients += learnt if ctx.learning else [None] * len(weights)
        return (None, *(g if need else None for g, need in zip(gradients, needed, strict=True)))


def _plain(program: Program, network: Network, z0: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Run a program by PyTorch's own differentiable operations, to any order of derivative."""
    parts = network.split(weights)
    state, values, states = z0, {}, [z0]
    for step in program.forwards():
        for operation in step.operations:
            rate = network.rates[operation.rate]
            if isinstance(operation, Evaluate):
                values[operation.rate] = network.value(
                    parts[rate.part], state[..., rate.reads], rate.changes
                )
                continue
            changed = state[..., rate.changes]
            changed = changed + (rate.sign * operation.factor) * values[operation.rate]
            before, after = state[..., : rate.changes.start], state[..., rate.changes.stop :]
            state = torch.cat((before, changed, after), dim=-1)
        if step.emits:
            states.append(state)
    return torch.stack(states)


def _watch(rebuilt: Tensor, z0: Tensor, last: Tensor, unit: float | None) -> None:
    """Warn where the states that were rebuilt are not those of the forward pass.

    In whole numbers any difference says that a product did not repeat to the last bit.
    """
    if unit is not None:
        if not torch.equal(rebuilt, in_units(z0, unit)):
            warnings.warn(
                "Rebuilding the states in whole numbers did not give the initial states again, "
                "since the products of matrices on this device, or with another number of threads, "
                "are not the same each time. gradient='recompute' does not depend on it.",
                stacklevel=2,
            )
        return
    drift = float((rebuilt - z0).abs().max())
    size = float(z0.abs().max()) or float(last.abs().max())
    if not drift <= _DRIFT * size:
        warnings.warn(
            f"Rebuilding the states backwards missed the initial states by {drift:.2g}, where the "
            f"largest entry is {size:.2g}: the gradient is off too. "
            "gradient='reversible-exact' rebuilds them to the last bit, 'recompute' keeps them.",
            stacklevel=2,
        )
