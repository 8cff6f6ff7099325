"""What a fit leaves beside the weights."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from torch import Tensor

from srnn import _checks
from srnn.data.units import Units

__all__ = ["Fitted", "Left"]

_T = TypeVar("_T")


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
    noise : (float, float) or None
        Standard deviations of the noise of positions and of momenta, in the units of the data.

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
    noise: tuple[float, float] | None = None

    def header(self) -> dict[str, Any]:
        """Describe it as JSON, all but the origin of the units, which is a tensor.

        Examples
        --------
        >>> import srnn
        >>> srnn.SRNN(dim=1, hidden=4).fitted.header()["scale"]
        {'q': 1.0, 'p': 1.0, 'time': 1.0}
        """
        return {
            "dt": self.dt,
            "iso": self.iso,
            "substeps": self.substeps,
            "noise": self.noise,
            "scale": {"q": self.units.q, "p": self.units.p, "time": self.units.time},
        }

    @classmethod
    def from_header(cls, header: dict[str, Any], shift: Tensor) -> "Fitted":
        """Build what :meth:`header` described; files of before have no `iso` to `noise`.

        Examples
        --------
        >>> import srnn
        >>> fitted = srnn.SRNN(dim=1, hidden=4).fitted
        >>> Fitted.from_header(fitted.header(), fitted.units.shift).iso
        False
        """
        noise = header.get("noise")
        return cls(
            Units(**header["scale"], shift=shift),
            header["dt"],
            bool(header.get("iso", False)),
            _checks.steps(header.get("substeps", 1), "substeps"),
            None if noise is None else (float(noise[0]), float(noise[1])),
        )


class Left(Generic[_T]):
    """A part of :class:`Fitted` as an attribute of the model that holds it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> "Left[_T]": ...
    @overload
    def __get__(self, model: Any, owner: type) -> _T: ...
    def __get__(self, model: Any, owner: type) -> Any:
        """Read it."""
        return self if model is None else getattr(model.fitted, self.name)

    def __set__(self, model: Any, value: _T) -> None:
        """Put another in its place."""
        model.fitted = dataclasses.replace(model.fitted, **{self.name: value})
