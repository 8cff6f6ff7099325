"""The methods by name: what minimises the losses, and how far it goes unless it is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from srnn.starts.iso._gauss_newton import gauss_newton
from srnn.starts.iso._problem import Problem
from srnn.starts.iso._quasi_newton import SCIPY_GTOL, scipy_lbfgsb
from srnn.starts.iso._result import Solution

__all__ = ["METHODS", "Method", "default_tolerance"]


def default_tolerance(dtype: torch.dtype) -> float:
    """Relative decrease of a loss that counts as none, by the dtype of the states.

    Examples
    --------
    >>> default_tolerance(torch.float32), default_tolerance(torch.float64)
    (1e-06, 1e-10)
    """
    return 1e-6 if dtype == torch.float32 else 1e-10


@dataclass(frozen=True)
class Method:
    """A way to minimise the losses of a :class:`srnn.iso.Problem` in the starts.

    Parameters
    ----------
    run : callable
        ``run(problem, start, max_iterations=, tolerance=)`` gives a
        :class:`srnn.iso.Solution`, which is nowhere worse than the start.
    iterations : int
        How many there are at most.
    tolerance : callable
        The dtype of the states to the tolerance.
    beside : dict
        Settings of `run` where it is called before each epoch of a training: one step may be
        enough there.

    Examples
    --------
    >>> import srnn
    >>> srnn.iso.METHODS["scipy"].iterations
    10
    """

    run: Callable[..., Solution]
    iterations: int
    tolerance: Callable[[torch.dtype], float] = default_tolerance
    beside: Mapping[str, Any] = field(default_factory=dict)

    def solve(
        self,
        problem: Problem,
        start: Tensor,
        *,
        max_iterations: int | None = None,
        tolerance: float | None = None,
    ) -> Solution:
        """Minimise, by default as far as a user wants it.

        Examples
        --------
        >>> import torch, srnn
        >>> seen = srnn.data.residual.Observed(torch.ones(3, 1, 2), torch.ones(3, 1, 2))
        >>> rest = srnn.fields.VectorField(torch.zeros_like, dim=1)  # nothing moves it
        >>> problem = Problem(srnn.motion.motion.as_motion(rest, "rk4"), seen, dt=0.1)
        >>> METHODS["gauss-newton"].solve(problem, torch.zeros(1, 2)).states
        tensor([[1., 1.]])
        """
        return self.run(
            problem,
            start,
            max_iterations=self.iterations if max_iterations is None else max_iterations,
            tolerance=self.tolerance(start.dtype) if tolerance is None else tolerance,
        )

    def advance(self, problem: Problem, start: Tensor) -> Solution:
        """Go on between two epochs, from where the last call ended.

        Examples
        --------
        >>> import torch, srnn
        >>> seen = srnn.data.residual.Observed(torch.ones(3, 1, 2), torch.ones(3, 1, 2))
        >>> rest = srnn.fields.VectorField(torch.zeros_like, dim=1)  # nothing moves it
        >>> problem = Problem(srnn.motion.motion.as_motion(rest, "rk4"), seen, dt=0.1)
        >>> METHODS["gauss-newton"].advance(problem, torch.zeros(1, 2)).iterations
        tensor([1])
        """
        how = {"max_iterations": self.iterations, "tolerance": self.tolerance(start.dtype)}
        return self.run(problem, start, **(how | dict(self.beside)))


METHODS: dict[str, Method] = {
    # One step; a window whose full step is too long gets some shorter trials.
    "gauss-newton": Method(gauss_newton, 50, beside={"max_iterations": 7, "enough": 1}),
    "scipy": Method(scipy_lbfgsb, 10, lambda dtype: SCIPY_GTOL),
}
"""The methods by name; one more is one more entry."""
