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
        for name in ("q", "p", "time"):
            positive(header["scale"][name], f"scale.{name}")
        dt, noise = header["dt"], header.get("noise")
        if noise is not None and (not isinstance(noise, (list, tuple)) or len(noise) != 2):
            raise TypeError(
                f"Expected `noise` to be a pair of numbers, of q and of p; got {noise!r}."
            )
        return cls(
            Units(**header["scale"], shift=shift),
            None if dt is None else positive(dt, "dt"),
            bool(_checks.choice(header.get("iso", False), "iso", (True, False))),
            moderate(header.get("substeps", 1), "substeps"),
            None if noise is None else (positive(noise[0], "noise"), positive(noise[1], "noise")),
        )
