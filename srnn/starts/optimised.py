"""The initial states that a training run optimises beside the network."""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from srnn._types import TrajectoryValues
from srnn.data.residual import Observed, interpolated, weights_of
from srnn.motion.adjoint import Gradient
from srnn.motion.integrators import Integrator
from srnn.motion.motion import Motion
from srnn.starts.iso._methods import METHODS
from srnn.starts.iso._problem import Problem, gauss_newton

__all__ = ["ObservedStarts", "Starts", "noise_weights"]

# No coordinate counts for more than this many times another: one without noise is fitted ever more
# closely, and its residuals say less and less about the noise.
_LARGEST_RATIO = 1e4
# Windows that tell how much of the noise the starts take up: it hardly differs between them.
_SAMPLE = 64


def noise_weights(squares: Tensor) -> Tensor:
    r"""Weights of the coordinates for noise of unequal size, by maximum likelihood.

    With the mean squared residuals :math:`s_i` the likelihood of Gaussian noise of unknown sizes is
    largest where :math:`\prod_i s_i` is smallest.  Weighting the squares by :math:`w_i = g / s_i`,
    with their geometric mean g, makes their weighted mean equal to it.

    Parameters
    ----------
    squares : Tensor, shape (2*dim,)
        Mean squared residual of each coordinate.

    Returns
    -------
    Tensor, shape (2*dim,)

    Examples
    --------
    >>> import torch
    >>> noise_weights(torch.tensor([1.0, 4.0]))  # q is twice as exact as p
    tensor([2.0000, 0.5000])
    """
    sizes = floored(squares)
    if not bool((sizes > 0).all() & torch.isfinite(sizes).all()):
        return torch.ones_like(squares)
    weights = sizes.log().mean().exp() / sizes
    return weights.to(squares)


def floored(squares: Tensor) -> Tensor:
    """Raise the squares of coordinates without noise to the least beside which others count."""
    sizes = squares.double()
    return sizes.clamp_min(float(sizes.max()) / _LARGEST_RATIO)


class Settings(Protocol):
    """What of a :class:`srnn.recipes.Recipe` concerns initial states."""

    @property
    def iso(self) -> str | None: ...
    @property
    def iso_from(self) -> int: ...
    @property
    def iso_every(self) -> int: ...
    @property
    def noise(self) -> str: ...
    @property
    def first_counted(self) -> int: ...
    @property
    def substeps(self) -> int: ...
    @property
    def gradient(self) -> str | Gradient | None: ...


class ObservedStarts:
    """Windows that begin at their first observed states: the starts of a fit without ISO.

    A run asks these, and those of :class:`Starts`, the same things.

    Examples
    --------
    >>> ObservedStarts().begun(0), ObservedStarts().state()
    (False, {})
    """

    weights: Tensor | None = None

    def begun(self, epochs: int) -> bool:
        """Whether starts are optimised after so many epochs.

        Examples
        --------
        >>> ObservedStarts().begun(100)
        False
        """
        return False

    def waiting(self, epochs: int) -> bool:
        """Whether it is too early to stop: what training waits for has not begun.

        Examples
        --------
        >>> ObservedStarts().waiting(0)
        False
        """
        return False

    def of(self, index: Tensor, epochs: int) -> Tensor | None:
        """Give where the windows that `index` names begin; None for the first observed states.

        Examples
        --------
        >>> ObservedStarts().of(torch.arange(3), epochs=1) is None
        True
        """
        return None

    def before_epoch(self, epochs: int) -> None:
        """Make ready for the epoch after so many.

        Examples
        --------
        >>> ObservedStarts().before_epoch(0)  # they stay where they were observed
        """

    def settle(self) -> None:
        """Bring all starts to their optimum.

        Examples
        --------
        >>> ObservedStarts().settle()  # they stay where they were observed
        """

    def score_under(self, weights: Tensor | None) -> float:
        """Tell how well optimised starts explain the windows; NaN for what has none.

        Examples
        --------
        >>> ObservedStarts().score_under(None)
        nan
        """
        return math.nan

    def state(self) -> dict[str, Tensor]:
        """Give all that the next epoch depends on.

        Examples
        --------
        >>> ObservedStarts().state()
        {}
        """
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave.

        Examples
        --------
        >>> ObservedStarts().restore(ObservedStarts().state())
        """


class Starts(ObservedStarts):
    """Initial states of a set of windows, and how they are moved.

    Parameters
    ----------
    net : module
    integrator : Integrator or None
    values : Tensor, shape (time, batch, 2*dim)
        The windows, in the network's units, with NaN for what was not observed.
    dt : float
    recipe : srnn.recipes.Recipe
        With ``iso``.

    Examples
    --------
    >>> import srnn
    >>> chain = srnn.systems.SpringChain([1.0] * 3, [5.0] * 4)
    >>> data = chain.simulate(8, steps=9, dt=0.1).with_noise(0.1)
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> recipe = srnn.recipes.Recipe(iso="gauss-newton")
    >>> starts = Starts(chain, leapfrog, data.values, data.dt, recipe)
    >>> starts.optimise(starts.weights)
    >>> bool((starts.z0 - data.clean[0]).norm() < (data.values[0] - data.clean[0]).norm())
    True
    """

    def __init__(
        self,
        net: Any,
        integrator: Integrator | None,
        values: TrajectoryValues,
        dt: float,
        recipe: Settings,
    ) -> None:
        self.motion, self.dt, self.recipe = Motion(net, integrator), dt, recipe
        seen = ~torch.isnan(values)
        self.seen = None if bool(seen.all()) else seen
        self.values = values if self.seen is None else torch.where(seen, values, 0.0)
        self.z0 = interpolated(values)[0].clone()
        self.weights: Tensor = torch.ones_like(values[0, 0])

    def begun(self, epochs: int) -> bool:
        """Whether the plain epochs before the first optimisation are over."""
        return epochs >= self.recipe.iso_from

    def waiting(self, epochs: int) -> bool:
        """Whether the starts have been optimised before one epoch at most."""
        return epochs <= self.recipe.iso_from

    def of(self, index: Tensor, epochs: int) -> Tensor | None:
        """Give the starts of the windows that `index` names, or None before there are any."""
        return self.z0[index] if self.begun(epochs) else None

    def before_epoch(self, epochs: int) -> None:
        """Move all starts, where this epoch is one to do it."""
        since = epochs - self.recipe.iso_from
        if since >= 0 and since % self.recipe.iso_every == 0:
            self.reweigh()
            self.optimise(self.weights)

    def score_under(self, weights: Tensor | None) -> float:
        """Move all starts under the weights of other windows, and tell the score."""
        assert weights is not None
        self.weights = weights.clone()  # a copy: a file has no room for one tensor under two names
        self.optimise(weights)
        return self.score()

    def _problem(self, weights: Tensor) -> Problem:
        counted = self.recipe.first_counted if len(self.values) > 1 else 0
        return Problem(
            self.motion,
            Observed(self.values, weights_of(self.values, weights, self.seen, loss_from=counted)),
            dt=self.dt,
            substeps=self.recipe.substeps,
            gradient=self.recipe.gradient,
        )

    def squares(self) -> Tensor:
        """Mean squared residual of each coordinate from the present starts.

        Returns
        -------
        Tensor, shape (2*dim,)

        Examples
        --------
        >>> import srnn
        >>> spring = srnn.systems.MassSpring()
        >>> data = spring.simulate(8, steps=9, dt=0.1).with_noise(0.2, on="q")
        >>> recipe = srnn.recipes.Recipe(iso="gauss-newton")
        >>> leapfrog = srnn.integrators.get("leapfrog")
        >>> starts = Starts(spring, leapfrog, data.values, data.dt, recipe)
        >>> before = starts.squares()  # from the first observed states
        >>> starts.settle()
        >>> bool(starts.squares().mean() < before.mean())
        True
        """
        problem = self._problem(self.weights)
        first = self.recipe.first_counted
        total = torch.zeros_like(self.weights, dtype=torch.float64)
        size = max(1, 2**20 // self.values[:, 0].numel())
        with torch.no_grad():
            for k in range(0, len(self.z0), size):
                piece = problem.take(slice(k, k + size))
                residual = piece.states(self.z0[k : k + size]) - piece.observed.values
                if self.seen is not None:
                    residual = residual * self.seen[:, k : k + size]
                total += residual[first:].double().square().sum(dim=(0, 1))
        counted: int | Tensor = (len(self.values) - first) * len(self.z0)
        if self.seen is not None:
            counted = self.seen[first:].sum(dim=(0, 1)).clamp_min(1)
        return (total / counted).to(self.weights)

    def variances(self) -> Tensor:
        """Variance of each coordinate's noise, if the network is right.

        The mean squared residuals, with what fitting the starts takes up of them taken off, as a
        sample of the windows tells.

        Returns
        -------
        Tensor, shape (2*dim,)

        Examples
        --------
        >>> import torch, srnn
        >>> g = torch.Generator().manual_seed(0)
        >>> spring = srnn.systems.MassSpring()
        >>> data = spring.simulate(2000, steps=2, dt=0.1, generator=g).with_noise(0.2, generator=g)
        >>> recipe = srnn.recipes.Recipe(iso="gauss-newton")
        >>> starts = Starts(spring, srnn.integrators.get("leapfrog"), data.values, data.dt, recipe)
        >>> starts.settle()
        >>> starts.variances().sqrt().round(decimals=2), starts.squares().sqrt().round(decimals=2)
        (tensor([0.2000, 0.2000]), tensor([0.1600, 0.1600]))
        """
        return self.squares() / self.share_left()

    def share_left(self) -> Tensor:
        """Share of each coordinate's noise that is left in the residuals of optimised starts.

        Returns
        -------
        Tensor, shape (2*dim,)

        Examples
        --------
        >>> import torch, srnn
        >>> data = torch.ones(4, 5, 2)  # nothing moves it, so that a start is the mean of four
        >>> rest = srnn.fields.VectorField(torch.zeros_like, dim=1)
        >>> recipe = srnn.recipes.Recipe(iso="gauss-newton")
        >>> starts = Starts(rest, srnn.integrators.get("rk4"), data, 0.1, recipe)
        >>> starts.share_left()  # 1 - 1 / 4
        tensor([0.7500, 0.7500])
        """
        count = len(self.z0)
        index = torch.linspace(0, count - 1, min(count, _SAMPLE)).long().to(self.z0.device)
        problem = self._problem(self.weights).take(index)
        F = problem.states_and_jacobians(self.z0[index])[1].double()
        weights = problem.observed.weights.double()[..., None]
        A = (F.mT @ (weights * F)).sum(dim=0)
        good = torch.isfinite(A).all(dim=-1).all(dim=-1)
        if not bool(good.any()):
            return torch.ones_like(self.weights)
        F, weights = F[:, good], weights[:, good, :, 0]
        inverse = torch.linalg.pinv(A[good], hermitian=True)
        # How much of each number its window's own start explains: the projection's diagonal.
        explained = ((F @ inverse) * F).sum(dim=-1) * weights
        counted = (weights > 0).sum(dim=(0, 1))
        share: Tensor = 1 - explained.sum(dim=(0, 1)) / counted
        return share.clamp_min(1e-3).to(self.weights)

    def score(self) -> float:
        """Loss at the present starts that does not depend on the weights.

        For noise that is estimated it is the geometric mean of the coordinates' mean squares, the
        quantity that maximum likelihood makes small; else the mean square.

        Examples
        --------
        >>> import torch, srnn
        >>> data = torch.tensor([[[1.0, 0.0]], [[0.8, 0.0]], [[0.6, 0.0]]])  # nothing moves it
        >>> recipe = srnn.recipes.Recipe(iso="gauss-newton", noise="equal")
        >>> rest = srnn.fields.VectorField(torch.zeros_like, dim=1)
        >>> starts = Starts(rest, srnn.integrators.get("rk4"), data, 0.1, recipe)
        >>> starts.optimise(starts.weights)  # to the mean, (0.8, 0)
        >>> round(starts.score(), 4)  # (0.2^2 + 0 + 0.2^2) / 6
        0.0133
        """
        squares = self.squares().double()
        if self.recipe.noise == "estimated":
            return float(floored(squares).log().mean().exp())
        return float(squares.mean())

    def reweigh(self) -> None:
        """Estimate the noise of each coordinate from the present residuals.

        Examples
        --------
        >>> import torch, srnn
        >>> g = torch.Generator().manual_seed(0)
        >>> spring = srnn.systems.MassSpring()
        >>> data = spring.simulate(200, steps=9, dt=0.5, generator=g)
        >>> data = data.with_noise(0.1, generator=g).with_noise(0.2, on="p", generator=g)
        >>> recipe = srnn.recipes.Recipe(iso="gauss-newton")
        >>> leapfrog = srnn.integrators.get("leapfrog")
        >>> starts = Starts(spring, leapfrog, data.values, data.dt, recipe)
        >>> starts.reweigh()
        >>> bool(starts.weights[0] > starts.weights[1])  # positions are the more exact half
        True
        """
        if self.recipe.noise == "estimated":
            self.weights = noise_weights(self.variances())

    def settle(self) -> None:
        """Bring all starts to their optimum, estimate the noise, and do so again.

        By Gauss-Newton, whatever the recipe's method is: that one says how training moves them.
        Those of a recurrent network are moved by the recipe's method all the same, since its
        Jacobians take hundreds of times what its gradients take.
        """
        for _ in range(2):
            if self.motion.own_step:
                self.optimise(self.weights)
            else:
                self._arrive()
            if self.recipe.noise != "estimated":
                break
            self.reweigh()

    def optimise(self, weights: Tensor) -> None:
        """Move all starts with the network held still.

        Parameters
        ----------
        weights : Tensor, shape (2*dim,)
            Weight of each coordinate's squared residual.

        Examples
        --------
        >>> import torch, srnn
        >>> data = torch.tensor([[[1.0, 0.0]], [[0.8, 0.0]], [[0.6, 0.0]]])  # nothing moves it
        >>> rest = srnn.fields.VectorField(torch.zeros_like, dim=1)
        >>> recipe = srnn.recipes.Recipe(iso="gauss-newton")
        >>> starts = Starts(rest, srnn.integrators.get("rk4"), data, 0.1, recipe)
        >>> starts.optimise(starts.weights)
        >>> round(float(starts.z0[0, 0]), 6)  # the mean
        0.8
        """
        assert self.recipe.iso is not None
        method = METHODS[self.recipe.iso]
        self.z0 = method.solve(self._problem(weights), self.z0, **method.beside).states

    def filled(self, *, optimised: bool = True) -> Tensor:
        """Give the windows with what the network predicts where nothing was observed.

        A fit to these goes towards the fit to what was observed alone, and is there once they
        stay as they are (majorisation-minimisation).

        Parameters
        ----------
        optimised : bool
            Move the starts to their optimum first.

        Returns
        -------
        Tensor, shape (time, batch, 2*dim)

        Examples
        --------
        >>> import torch, srnn
        >>> data = torch.tensor([1.0, torch.nan, 3.0])[:, None, None].expand(3, 1, 2)
        >>> rest = srnn.fields.VectorField(torch.zeros_like, dim=1)
        >>> recipe = srnn.recipes.Recipe(iso="gauss-newton")
        >>> starts = Starts(rest, srnn.integrators.get("rk4"), data, 0.1, recipe)
        >>> starts.filled()[:, 0, 0]
        tensor([1., 2., 3.])
        """
        if optimised:
            self._arrive()
        if self.seen is None:
            return self.values
        with torch.no_grad():
            return torch.where(self.seen, self.values, self._problem(self.weights).states(self.z0))

    def _arrive(self) -> None:
        """Bring all starts to their optimum by Gauss-Newton under the present weights."""
        problem = self._problem(self.weights)
        self.z0 = gauss_newton(problem, self.z0, max_iterations=10, tolerance=1e-5).states

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on, for a checkpoint."""
        return {"z0": self.z0, "weights": self.weights}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        device = self.values.device
        self.z0, self.weights = state["z0"].to(device), state["weights"].to(device)
