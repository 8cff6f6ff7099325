"""What a fit leaves beside the weights."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from srnn import _checks
from srnn._checks import positive
from srnn.data.units import Units
from srnn.training.checkpoint import moderate

__all__ = ["Fitted"]


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves beside the weights: how what they mean is to be read.

    Parameters
    ----------
    units : srnn.data.units.Units
        The network works in them.
    dt : float or None
        Spacing of the data; None before the first fit.
    iso : bool
        Whether initial states were optimised.
    substeps : int
        Integrator steps between two observed states.
    noise : tuple of 2*dim float, or None
        Standard deviation of each coordinate's noise, in the units of the data; of a pair, the
        first is that of all positions, the second of all momenta.

    Raises
    ------
    TypeError, ValueError
        If `noise` is not as many positive numbers.

    Examples
    --------
    >>> import srnn
    >>> srnn.SRNN(dim=1, hidden=4).fitted.dt is None
    True
    """

    units: Units
    dt: float | None = None
    iso: bool = False
    substeps: int = 1
    noise: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.noise is None:
            return
        dim = len(self.units.shift) // 2
        if not isinstance(self.noise, (list, tuple)) or len(self.noise) not in (2, 2 * dim):
            raise TypeError(
                f"Expected `noise` to be {2 * dim} numbers, or a pair, of q and of p; got "
                f"{self.noise!r}."
            )
        numbers = [positive(sigma, "noise") for sigma in self.noise]
        if len(numbers) == 2:
            numbers = [numbers[0]] * dim + [numbers[1]] * dim
        object.__setattr__(self, "noise", tuple(numbers))

    def header(self) -> dict[str, Any]:
        """Describe it as JSON, all but the origin of the units, which is a tensor.

        Examples
        --------
        >>> import srnn
        >>> srnn.SRNN(dim=1, hidden=4).fitted.header()["scale"]
        {'q': [1.0], 'p': [1.0], 'time': 1.0}
        """
        return {
            "dt": self.dt,
            "iso": self.iso,
            "substeps": self.substeps,
            "noise": self.noise,
            "scale": {
                "q": list(self.units.q),
                "p": list(self.units.p),
                "time": self.units.time,
            },
        }

    @classmethod
    def from_header(cls, header: dict[str, Any], shift: Tensor) -> "Fitted":
        """Build what :meth:`header` described.

        Files of before have no `iso` to `noise`, or one unit and one noise for all positions, and
        for all momenta.

        Raises
        ------
        KeyError, TypeError, ValueError
            If one of the others is missing, or one is out of range.

        Examples
        --------
        >>> import srnn
        >>> fitted = srnn.SRNN(dim=1, hidden=4).fitted
        >>> Fitted.from_header(fitted.header(), fitted.units.shift).iso
        False
        """
        scale = header["scale"]
        q, p = (_each(scale[name], f"scale.{name}") for name in ("q", "p"))
        dt, noise = header["dt"], header.get("noise")
        return cls(
            Units(q, p, positive(scale["time"], "scale.time"), shift),
            None if dt is None else positive(dt, "dt"),
            bool(_checks.choice(header.get("iso", False), "iso", (True, False))),
            moderate(header.get("substeps", 1), "substeps"),
            noise,
        )


def _each(value: Any, name: str) -> list[float]:
    """Give the positive numbers of a file, which has one for all coordinates or one for each."""
    return [positive(x, name) for x in (value if isinstance(value, list) else [value])]
