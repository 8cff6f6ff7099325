"""The result of a diagnosis: its numbers, and what each of them is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srnn._types import PerTrajectory, State, TrajectoryValues
from srnn.results.diagnostics._residuals import Statistic
from srnn.results.diagnostics._verdict import judge, report

__all__ = ["Diagnosis", "Forecast"]


@dataclass(frozen=True, eq=False)
class Forecast:
    """Position errors of forecasts from the first states of each trajectory, beside baselines.

    Each error is the Euclidean distance of the positions from what was observed
    (:func:`srnn.metrics.position_error`), averaged over the states after the first `states`.  Where
    positions differ in their noise, or in their units, each is divided by its own over the
    geometric mean of all, so that none drowns another.

    Attributes
    ----------
    states : int
        How many states each initial state was optimised on.
    model : Tensor, shape (batch,)
        Of the model; infinite where it leaves the finite numbers.
    zero : Tensor, shape (batch,)
        Of predicting zero, the origin of the data's coordinates.
    mean : Tensor, shape (batch,)
        Of predicting the mean position of all first parts.
    repeat : Tensor, shape (batch,)
        Of repeating the last state of the first part.
    quadratic : Tensor, shape (batch,), or None
        Of a quadratic Hamiltonian fitted to the trajectories of the other half; None without one.
    quadratic_p : float
        Two-sided p-value of the paired t-test that model and quadratic Hamiltonian err alike; NaN
        without the latter.
    floor : float
        Of a perfect forecast, if the noise is Gaussian of the estimated level in q: that times the
        mean of a chi distribution with d degrees of freedom.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> chain = srnn.systems.SpringChain.random(masses=3, generator=g)
    >>> data = chain.simulate(20, steps=29, dt=0.1, generator=g).with_noise(0.1, generator=g)
    >>> model = srnn.Model(chain.shadow_hamiltonian(0.1))  # whose leapfrog is the chain's motion
    >>> found = srnn.diagnostics.diagnose(model, data, generator=g)
    >>> forecast = found.forecast
    >>> forecast.states, bool(forecast.model.mean() < 0.2 * forecast.mean.mean())
    (20, True)
    """

    states: int
    model: PerTrajectory
    zero: PerTrajectory
    mean: PerTrajectory
    repeat: PerTrajectory
    quadratic: PerTrajectory | None
    quadratic_p: float
    floor: float


@dataclass(frozen=True, eq=False)
class Diagnosis:
    r"""What :func:`diagnose` finds; printed, a report that ends in the verdict.

    Numbers are in the data's units.  What does not apply to a model is None.

    Attributes
    ----------
    model : str
        The model's name.
    given, examined, finite : int
        Trajectories in the data; how many of them were examined; how many of those the model
        explains by finite states, which are those that the numbers below are about.
    substeps : int
        Integrator steps between two observed states.
    starts : Tensor, shape (finite, 2*dim)
        Optimised initial states.
    residuals : Tensor, shape (time, finite, 2*dim)
        Fitted minus observed states.
    sigma, sigma_error : float
        Standard deviation of the noise if the model is right, :math:`((\sigma_q^2 +
        \sigma_p^2)/2)^{1/2}`, and its standard error if the noise is alike in q and p.  It has a
        meaning only where q and p share a unit; the report leaves it out where sigma_q and sigma_p
        differ by more than a factor of 1.5.  A model that misses something has a larger one.
    sigma_q, sigma_p : float
        The same for each half, in the mean square over its coordinates:
        :meth:`FittedResiduals.variances`.
    noise : Tensor, shape (2*dim,)
        The same for each coordinate: :meth:`FittedResiduals.noise`.
    degrees_of_freedom : int
        Residuals less fitted unknowns.
    rounding : bool
        Whether the residuals are of the size of rounding, so that their correlation says nothing.
    autocorrelation_q, autocorrelation_p : Statistic
        Of successive residuals: :meth:`FittedResiduals.autocorrelation`.
    growth_q, growth_p : Statistic
        Logarithm of the mean square at the end over that at the start:
        :meth:`FittedResiduals.growth`.
    residual_size : Tensor, shape (time, 2)
        Root mean square of the residuals of q and of p at every time.
    clean_error, clean_expected : float or None
        Root mean square distance, a coordinate, of the fitted states from ``data.clean``; and what
        noise of `sigma` alone would give a right model, sigma over the root of the number of
        states.
    energy_drift : Tensor, shape (states, finite), or None
        Change of the learnt H along its own rollout from `starts`, over :math:`\langle (\nabla H
        \cdot (z - \bar z))^2 \rangle^{1/2}` taken over the fitted states.  Unlike H itself, that
        scale does not depend on the constant in H that no data determine.
    half_step_ratio : float or None
        Root mean square residual with the integrator's step halved, the initial states optimised
        anew for it, over the one with the step itself.
    half_step_p : float or None
        Two-sided p-value of the paired t-test, over trajectories, that both are the same.
    condition_number : float
        Median over trajectories of the condition number of :math:`\sum_t F_t^\top F_t`, in the
        units by which the fit weighs the coordinates.
    not_converged, underdetermined : float
        Shares of the examined trajectories whose initial-state optimisation ended so.
    forecast : Forecast
    velocity_over_p : Tensor, shape (dim,)
        Velocity of each position over its momentum, by least squares: one over a mass.
    learns : bool
        Whether the model has weights and is something other than a ``QuadraticH``.

    Notes
    -----
    The findings, by their keys in :attr:`findings`:

    ``"not-finite"``
        Some trajectory has no finite fit or no finite forecast.
    ``"worse-than-naive"``
        The mean forecast error is not below that of the best of predicting zero, predicting the
        mean and repeating the last state.
    ``"rounding"``
        The residuals are below 10 T eps times the data's size, T the number of states.
    ``"correlated"``, ``"growing"``
        An autocorrelation, or an excess of growth, differs from that of white noise at the level
        0.01, shared out (Bonferroni) among the four tests.
    ``"white"``
        Neither of these.
    ``"velocities"``
        The residuals are correlated or growing, and the velocities of all positions, of which there
        are several, are the same multiple of their momenta within a tenth: of unequal masses these
        are no momenta.
    ``"tied-to-step"``, ``"coarse-step"``
        Halving the step makes the residuals larger, or smaller, by more than 0.1 % and at the level
        0.01; with a single trajectory, which has no test, by a factor of 1.5.  Where the residuals
        are rounding, of which more steps make more, only a factor of 10 counts.
    ``"quadratic-suffices"``
        The model's forecasts are not better than the fitted quadratic Hamiltonian's at the level
        0.01.  Left out for a model that has nothing to learn or is itself a ``QuadraticH``.
    ``"ill-conditioned"``
        The condition number exceeds 1e6, or a trajectory is underdetermined.
    ``"not-converged"``
        More than 1 % of the initial states are not at their optimum.
    ``"energy-drift"``
        The root mean square drift exceeds 0.1 at some time.

    The tests look at lag one and at the ends, and take the noise to be independent between
    coordinates and trajectories (overlapping windows are not); that of growth also takes it to be
    Gaussian.  Residuals that pass can still hide what these do not see: an error of the step much
    smaller than the noise shows first in the test of the step.  Correlated residuals do not tell
    by themselves whether the model or the noise is at fault.  What the instrument is known for
    does, if sigma is larger than that: then the model misses something.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> chain = srnn.systems.SpringChain.random(masses=3, generator=g)
    >>> data = chain.simulate(20, steps=29, dt=0.1, generator=g).with_noise(0.1, generator=g)
    >>> model = srnn.Model(chain.shadow_hamiltonian(0.1))  # whose leapfrog is the chain's motion
    >>> found = srnn.diagnostics.diagnose(model, data, generator=g)
    >>> found.findings, round(found.sigma, 2)
    (('white', 'tied-to-step'), 0.1)
    >>> print(found.sentences[0])
    The residuals are white, of the size of the noise: their tests see nothing left to learn.
    """

    model: str
    given: int
    examined: int
    finite: int
    substeps: int
    starts: State
    residuals: TrajectoryValues
    sigma: float
    sigma_error: float
    sigma_q: float
    sigma_p: float
    noise: Tensor
    degrees_of_freedom: int
    rounding: bool
    autocorrelation_q: Statistic
    autocorrelation_p: Statistic
    growth_q: Statistic
    growth_p: Statistic
    residual_size: Tensor
    clean_error: float | None
    clean_expected: float | None
    energy_drift: Tensor | None
    half_step_ratio: float | None
    half_step_p: float | None
    condition_number: float
    not_converged: float
    underdetermined: float
    forecast: Forecast
    velocity_over_p: Tensor
    learns: bool

    @property
    def findings(self) -> tuple[str, ...]:
        """Keys of the rules that apply; the rules are in the notes of the class."""
        return tuple(judge(self))

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings in plain words, one entry a finding, in the order of `findings`."""
        return tuple(judge(self).values())

    @property
    def verdict(self) -> str:
        """All of `sentences` as one text to print, a line each.

        It is a str: its first line is ``sentences[0]``, whereas ``verdict[0]`` is one letter.

        Examples
        --------
        >>> import torch, srnn
        >>> g = torch.Generator().manual_seed(0)
        >>> data = srnn.systems.MassSpring().simulate(20, steps=9, dt=0.1, generator=g)
        >>> model = srnn.Model(srnn.systems.MassSpring(), "yoshida8")
        >>> found = srnn.diagnostics.diagnose(model, data)
        >>> found.verdict
        'The residuals are of the size of rounding.'
        >>> found.verdict.splitlines() == list(found.sentences)
        True
        """
        return "\n".join(self.sentences)

    @property
    def largest_drift(self) -> float | None:
        """Largest root mean square energy drift over the times of its rollout."""
        if self.energy_drift is None:
            return None
        sizes = self.energy_drift.double().square().mean(dim=1).sqrt()
        return float(torch.nan_to_num(sizes, nan=math.inf, posinf=math.inf).max())

    def __str__(self) -> str:
        return report(self)
