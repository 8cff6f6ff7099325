"""Every check of input, and the text of every refusal.

A text says what was expected and what came: ``Expected `dt` to be a positive finite number;
got -0.1.``
"""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

KNOWN_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_MOST_STEPS = 10**7
_INDEX = "Expected `index` to be an int, a slice, a list of ints or a mask"


def as_generator(generator: torch.Generator | None) -> torch.Generator:
    """Return `generator`, or a new one seeded from the operating system's entropy.

    A fixed default seed would give training and test data the same starts.
    """
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    elif not isinstance(generator, torch.Generator):
        raise TypeError(
            f"Expected `generator` to be a torch.Generator or None; got {type(generator).__name__}."
            " For a fixed seed pass torch.Generator().manual_seed(seed)."
        )
    if generator.device.type != "cpu":
        raise ValueError(
            f"Expected `generator` on the CPU; got one on {generator.device}. Random numbers are "
            "drawn on the CPU, the same for every device: pass torch.Generator().manual_seed(seed)."
        )
    return generator


def positive_int(value: Any, name: str, *, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"Expected `{name}` to be an integer; got {value!r}.")
    if int(value) < minimum:
        raise ValueError(f"Expected `{name}` to be at least {minimum}; got {_shown(value)}.")
    return int(value)


def steps(value: Any, name: str = "steps") -> int:
    """Return `value` as a number of steps that a machine can take and keep."""
    count = positive_int(value, name)
    if count > _MOST_STEPS:
        raise ValueError(
            f"Expected `{name}` to be at most {_MOST_STEPS}; got {_shown(value)}. Go on from the "
            "last state in a further call."
        )
    return count


def time_step(value: Any, name: str = "dt") -> float:
    """Return `value` as a positive float that neither precision rounds to nothing or infinity."""
    number = positive(value, name)
    if not 1e-30 <= number <= 1e30:
        raise ValueError(
            f"Expected `{name}` to lie between 1e-30 and 1e30; got {_shown(value)}. Take another "
            "unit of time."
        )
    return number


def squarable(values: Tensor, name: str) -> Tensor:
    """Return states whose squares, which a loss is made of, neither overflow nor vanish."""
    info = torch.finfo(values.dtype)
    least, most = info.tiny**0.5, 1e-3 * info.max**0.5
    for half in halves(values.detach()):
        size = float(torch.where(torch.isfinite(half), half, 0.0).abs().max())
        if size and not least <= size <= most:
            raise ValueError(
                f"Expected the positions and the momenta of `{name}` to be of a size between "
                f"{least:.0e} and {most:.0e}, whose squares {values.dtype} can hold; the largest "
                f"is {size:.3g}. Take other units."
            )
    return values


def _shown(value: Any) -> str:
    """Show a number, but not hundreds of its digits."""
    if isinstance(value, int) and value.bit_length() > 100:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def finite(value: Any, name: str) -> float:
    """Return `value` as a finite float."""
    return _number(value, name, "", -math.inf)


def positive(value: Any, name: str) -> float:
    """Return `value` as a positive finite float."""
    return _number(value, name, "positive ", 0.0)


def _number(value: Any, name: str, kind: str, above: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"Expected `{name}` to be a {kind}number; got {value!r}.")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the floating-point numbers
        number = math.inf
    if not (math.isfinite(number) and number > above):
        raise ValueError(f"Expected `{name}` to be a {kind}finite number; got {_shown(value)}.")
    return number


def non_negative(value: Any, name: str) -> float:
    """Return `value` as a finite float that is not negative."""
    number = finite(value, name)
    if number < 0:
        raise ValueError(f"Expected `{name}` not to be negative; got {value!r}.")
    return number


def fraction(value: Any, name: str) -> float:
    """Return `value` as a float in [0, 1)."""
    number = finite(value, name)
    if not 0 <= number < 1:
        raise ValueError(f"Expected `{name}` to lie in [0, 1); got {value!r}.")
    return number


def unit_interval(value: Any, name: str) -> float:
    """Return `value` as a float in [0, 1]."""
    number = finite(value, name)
    if not 0 <= number <= 1:
        raise ValueError(f"Expected `{name}` to lie in [0, 1]; got {value!r}.")
    return number


def same_spacing(one: float, other: float) -> bool:
    """Whether two time steps are one, up to the rounding of single precision.

    A dt that was once a float32 differs from the double by some 1e-8 of itself.
    """
    return abs(one - other) <= 1e-6 * max(abs(one), abs(other))


def sum_to_one(values: Iterable[float], name: str) -> None:
    """Refuse a method's coefficients unless they advance time by exactly one step."""
    total = math.fsum(values)
    if not abs(total - 1) <= 1e-9:
        raise ValueError(f"Expected the `{name}` to sum to 1; got {total!r}.")


def choice(value: Any, name: str, known: Iterable[Any]) -> Any:
    """Return `value` if it is among `known`."""
    known = list(known)
    if value not in known:
        listed = ", ".join(repr(k) for k in known)
        raise ValueError(f"Unknown `{name}`: {value!r}. Known: {listed}.")
    return value


def float_dtype(value: Any, name: str = "dtype") -> torch.dtype:
    """Return `value` (a torch dtype or its name) as one of the supported float dtypes."""
    if not isinstance(value, str) and value in KNOWN_DTYPES.values():
        return value  # type: ignore[no-any-return]
    return KNOWN_DTYPES[choice(value, name, KNOWN_DTYPES)]


def weight_dtype(value: Any) -> torch.dtype:
    """Return the dtype of new weights: `value`, or PyTorch's default for None."""
    return torch.get_default_dtype() if value is None else float_dtype(value)


def known_float(value: Tensor, name: str) -> Tensor:
    """Return `value` if its dtype is one of the supported float dtypes."""
    if value.dtype not in KNOWN_DTYPES.values():
        listed = ", ".join(repr(k) for k in KNOWN_DTYPES)
        raise TypeError(f"Unknown dtype of `{name}`: {value.dtype}. Known: {listed}.")
    return value


def device(value: Any) -> torch.device | None:
    """Return `value` as a device on which tensors can be made, or None for None."""
    if value is None:
        return None
    try:
        return torch.empty(0, device=value).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            "Expected `device` to be a device that this PyTorch can use, such as 'cpu'; "
            f"got {value!r}."
        ) from error


def hidden_sizes(value: Any) -> tuple[int, ...]:
    """Return `value` (an int or a tuple of ints) as a non-empty tuple of positive ints."""
    sizes = (value,) if isinstance(value, Integral) else value
    if not isinstance(sizes, (tuple, list)) or not sizes:
        raise TypeError(f"Expected `hidden` to be an int or a non-empty tuple; got {value!r}.")
    return tuple(positive_int(size, "hidden") for size in sizes)


def tensor(value: Any, name: str) -> Tensor:
    """Return `value` if it is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"Expected `{name}` to be a torch.Tensor; got {type(value).__name__}. "
            "For NumPy arrays use torch.as_tensor(array)."
        )
    return value


def float_tensor(value: Any, name: str) -> Tensor:
    """Return `value` if it is a floating-point tensor."""
    if not tensor(value, name).is_floating_point():
        raise TypeError(f"Expected `{name}` to hold floating-point numbers; got {value.dtype}.")
    return value  # type: ignore[no-any-return]


def state(value: Any, name: str, dim: int) -> Tensor:
    """Return `value` if it is a tensor of states whose last axis has length 2*dim."""
    z = float_tensor(value, name)
    if z.ndim == 0 or z.shape[-1] != 2 * dim:
        raise ValueError(
            f"Expected `{name}` to have shape (batch, 2*dim) with dim={dim}; got {tuple(z.shape)}."
        )
    return z


def half(value: Any, name: str, dim: int) -> Tensor:
    """Return `value` if it is a tensor of positions or momenta, last axis of length dim."""
    if isinstance(value, Tensor) and value.shape[-1:] == (dim,) and value.is_floating_point():
        return value
    shape = tuple(float_tensor(value, name).shape)
    raise ValueError(f"Expected `{name}` to have shape (batch, dim) with dim={dim}; got {shape}.")


def input_of(weight: Tensor, value: Any, name: str) -> Tensor:
    """Return `value` if a layer with this `weight` (..., inputs) can be applied to it.

    Four comparisons where all is well: this runs at every evaluation of a network, also under
    torch.func's transformations.
    """
    if (
        isinstance(value, Tensor)
        and value.dtype == weight.dtype
        and value.device == weight.device
        and value.shape[-1:] == weight.shape[-1:]
    ):
        return value
    same_as(half(value, name, weight.shape[-1]), name, weight, "weights")
    return value  # type: ignore[no-any-return]


def network(value: Any, name: str) -> Any:
    """Return `value` if it is called on states and knows its number of positions, `dim`."""
    if isinstance(value, type) or not callable(value) or not hasattr(value, "dim"):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(
            f"Expected `{name}` to be a network or a Hamiltonian, something with `dim` that is "
            f"called on states; got {got}."
        )
    positive_int(value.dim, f"{name}.dim")
    return value


def transformed(*tensors: Tensor) -> bool:
    """Whether torch.func transforms, forward mode differentiates, or torch.compile traces.

    What is written out by hand for plain tensors then has to give way to PyTorch's own operations.
    Of ``is_grads_batched=True`` only the batched `tensors` tell.
    """
    if torch.compiler.is_compiling():  # first: it cannot trace what follows
        return True
    levels = (
        torch._C._functorch.maybe_current_level() is not None,
        torch.autograd.forward_ad._current_level >= 0,
        *(torch._C._functorch.is_legacy_batchedtensor(x) for x in tensors),
    )
    return any(levels)


def halves(value: Tensor) -> tuple[Tensor, Tensor]:
    """Split states into (q, p)."""
    dim = value.shape[-1] // 2
    return value[..., :dim], value[..., dim:]


def selection(index: Any, count: int) -> Tensor:
    """Return the numbers of the trajectories that `index` names among `count`."""
    if isinstance(index, slice):
        index = list(range(count))[index]
    try:
        chosen = torch.as_tensor(np.array(index) if isinstance(index, np.ndarray) else index)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{_INDEX}; got {index!r}.") from error
    if chosen.ndim == 1 and chosen.numel() == 0:
        raise ValueError(f"`index` selects none of the {count} trajectories; keep at least one.")
    if chosen.dtype == torch.bool and chosen.ndim == 1:
        if len(chosen) != count:
            raise ValueError(
                f"Expected a mask with one entry for each of the {count} trajectories; "
                f"got {len(chosen)}."
            )
        return selection(chosen.nonzero()[:, 0], count)
    if chosen.is_floating_point() or chosen.is_complex() or chosen.dtype == torch.bool:
        raise TypeError(f"{_INDEX}; got {index!r}.")
    if chosen.ndim > 1:
        raise TypeError(f"{_INDEX}; got shape {tuple(chosen.shape)}.")
    chosen = chosen.to(torch.int64).reshape(-1)
    outside = chosen[(chosen < -count) | (chosen >= count)]
    if len(outside):
        raise IndexError(
            f"There is no trajectory {int(outside[0])}: there are {count}, numbered from 0."
        )
    return chosen


def picture(value: Any, name: str) -> Tensor:
    """Return `value` if it is a picture: two axes, floating point, numbers from 0 to 1."""
    image = float_tensor(value, name)
    if image.ndim != 2 or min(image.shape) < 3:
        raise ValueError(
            f"Expected `{name}` to have shape (rows, columns), at least (3, 3); "
            f"got {tuple(image.shape)}."
        )
    if image.is_meta:  # no numbers to look at
        return image
    low, high = float(image.min()), float(image.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"Expected `{name}` to hold numbers from 0 (free) to 1 (wall); got {low:g} to {high:g}."
        )
    return image


def all_finite(value: Tensor, name: str) -> Tensor:
    """Return `value` if none of its numbers is NaN or infinite."""
    good = torch.isfinite(value)
    if not bool(good.all()):
        bad = (~good).nonzero().tolist()
        raise ValueError(
            f"Expected `{name}` to be finite; {len(bad)} of {value.numel()} numbers are NaN or "
            f"infinite, the first at index {tuple(bad[0])}."
        )
    return value


def not_infinite(value: Tensor, name: str) -> Tensor:
    """Return `value` if none of its numbers is infinite; what is missing may be NaN."""
    bad = torch.isinf(value).nonzero()
    if len(bad):
        raise ValueError(
            f"Expected `{name}` to be finite, or NaN where it is missing; {len(bad)} of "
            f"{value.numel()} numbers are infinite, the first at index {tuple(bad[0].tolist())}."
        )
    return value


def same_as(
    value: Tensor, name: str, other: Tensor, other_name: str, *, convert: str = ".to"
) -> None:
    """Refuse `value` unless it has the dtype and the device of `other`.

    `convert` is the method that the text names: ``.astype`` where the user holds NumPy arrays.
    """
    for what in ("dtype", "device"):
        got, expected = getattr(value, what), getattr(other, what)
        if got != expected:
            raise TypeError(
                f"Expected `{name}` and `{other_name}` to have one {what}; "
                f"got {got} and {expected}. Convert one of them with {convert}({what})."
            )
