"""How good a prediction is, and what a motion conserves.

Everything takes :class:`~srnn.Trajectories` and returns plain tensors.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import PerState, PerTrajectory
from srnn.data.trajectories import Trajectories
from srnn.data.units import moderating
from srnn.motion.fields import weight_of

__all__ = [
    "Summary",
    "angular_momentum",
    "energy_drift",
    "position_error",
    "summary",
    "valid_prediction_time",
]

_AGAINST = ("noisy", "clean")


def position_error(
    prediction: Trajectories, truth: Trajectories, against: str = "noisy"
) -> PerState:
    """Euclidean distance of the positions at every time: the paper's measure (section 4).

    Parameters
    ----------
    prediction, truth : Trajectories
        Of one shape and one `dt`.
    against : {"noisy", "clean"}
        ``"noisy"`` compares with what was observed, ``truth.values``, as the paper's tables do;
        even a perfect prediction then has the error of the noise, sigma times the mean of a chi
        distribution (0.883 for 20 masses at sigma = 0.2).  ``"clean"`` compares with
        ``truth.clean``.

    Returns
    -------
    Tensor, shape (time, batch)
        In the unit of q; NaN where not all positions were observed, against what was.

    Raises
    ------
    ValueError, TypeError
        If the shapes or the steps of time differ, or the truth does not know its clean values.

    Examples
    --------
    >>> import torch, srnn
    >>> truth = srnn.Trajectories.from_states(torch.zeros(2, 1, 4), dt=0.1)
    >>> guess = srnn.Trajectories.from_states(torch.ones(2, 1, 4), dt=0.1)
    >>> position_error(guess, truth)
    tensor([[1.4142],
            [1.4142]])
    """
    predicted, true = _pair(prediction, truth, against)
    return _length(_checks.halves(predicted)[0] - _checks.halves(true)[0])


@dataclass(frozen=True)
class Summary:
    """A row of the paper's tables.

    Attributes
    ----------
    mean, std : float
        Over trajectories, of each trajectory's error averaged over time.
    per_trajectory : Tensor, shape (batch,)
        The averages themselves.
    per_time : Tensor, shape (time,)
        Error at each time, averaged over trajectories: the curves of the paper's figures.
    diverged : int
        How many trajectories' errors leave the finite numbers.  They are not left out: with one of
        them neither `mean` nor `std` is a number, and the printed row says how many there are.

    Examples
    --------
    >>> import torch, srnn
    >>> truth = srnn.Trajectories.from_states(torch.zeros(2, 2, 2), dt=0.1)
    >>> guess = torch.zeros(2, 2, 2)
    >>> guess[1, 0] = float("nan")
    >>> row = summary(srnn.Trajectories.predicted(guess, dt=0.1), truth)
    >>> print(row)
    nan ± nan (1 of 2 trajectories diverged)
    """

    mean: float
    std: float
    per_trajectory: Tensor
    per_time: Tensor
    diverged: int = 0

    def __str__(self) -> str:
        row = f"{self.mean:.2f} ± {self.std:.2f}"
        if not self.diverged:
            return row
        return f"{row} ({self.diverged} of {len(self.per_trajectory)} trajectories diverged)"


def summary(prediction: Trajectories, truth: Trajectories, against: str = "noisy") -> Summary:
    """Summarise the position error as the paper's tables do.

    The error is averaged over time for each trajectory, t = 0 included; the table's two numbers
    are the mean and the standard deviation of that over trajectories.  The deviation is the
    population's (``ddof = 0``); the paper does not say which it uses.

    Parameters
    ----------
    prediction, truth : Trajectories
        Cut both with ``first(n)`` to score n states.
    against : {"noisy", "clean"}

    Returns
    -------
    Summary
        Against what was observed, over the states whose positions all were.

    Examples
    --------
    >>> import torch, srnn
    >>> truth = srnn.Trajectories.from_states(torch.zeros(2, 2, 2), dt=0.1)
    >>> guess = srnn.Trajectories(q=[[[1.0], [2.0]], [[3.0], [4.0]]], p=[[[0.0]] * 2] * 2, dt=0.1)
    >>> print(summary(guess, truth))
    2.50 ± 0.50
    """
    # Python floats and means of many numbers: in float64 they do not depend on the order.
    error = position_error(prediction, truth, against).double()
    per_time, per_trajectory = error.mean(dim=1), error.mean(dim=0)
    if against == "noisy" and truth.observed is not None:
        known = _checks.halves(truth.observed)[0].all(dim=-1)
        error = torch.where(known, error, 0.0)
        per_time, per_trajectory = (error.sum(dim=k) / known.sum(dim=k) for k in (1, 0))
    return Summary(
        mean=float(per_trajectory.mean()),
        std=float(per_trajectory.std(correction=0)),
        per_trajectory=per_trajectory,
        per_time=per_time,
        diverged=int((~torch.isfinite(per_trajectory)).sum()),
    )


def energy_drift(
    trajectories: Trajectories, hamiltonian: Any, *, relative: bool = True
) -> PerState:
    """Change of the energy since t = 0.

    Parameters
    ----------
    trajectories : Trajectories
    hamiltonian : Hamiltonian
        A system or a learnt H: called on states ``(..., 2*dim)`` it gives energies ``(...)``.
    relative : bool
        Divide by the size of the energy at t = 0.

    Returns
    -------
    Tensor, shape (time, batch)
        (H(t) - H(0)) / abs(H(0)), with its sign; zero at t = 0.

    Raises
    ------
    ValueError, TypeError
        If `hamiltonian` is for another number of positions or of another dtype, or a relative
        drift is asked for and the energy of a trajectory is zero at t = 0.

    Examples
    --------
    >>> import torch, srnn
    >>> spring = srnn.systems.MassSpring()
    >>> data = spring.simulate(8, steps=50, dt=0.1, dtype="float64")
    >>> bool(energy_drift(data, spring).abs().max() < 1e-12)
    True
    """
    _checked(trajectories, "trajectories")
    recurrent = hasattr(hamiltonian, "step")
    if recurrent or not callable(hamiltonian) or not hasattr(hamiltonian, "dim"):
        model = hasattr(hamiltonian, "net") and hasattr(hamiltonian, "predict")
        raise TypeError(
            "Expected `hamiltonian` to be a system or a network that gives an energy, with `dim`; "
            f"got {type(hamiltonian).__name__}." + (" Pass model.hamiltonian." if model else "")
        )
    values = _checks.state(trajectories.values, "trajectories", hamiltonian.dim)
    weight = weight_of(hamiltonian)
    if weight is not None:
        _checks.same_as(values, "trajectories", weight, "hamiltonian")
    with torch.no_grad():
        energy: Tensor = hamiltonian(values)
    if energy.shape != values.shape[:2]:
        raise ValueError(
            "Expected `hamiltonian` to give one energy a state, of shape "
            f"{tuple(values.shape[:2])}; got {tuple(energy.shape)}."
        )
    drift = energy - energy[0]
    if not relative:
        return drift
    zero = (energy[0] == 0).nonzero()
    if len(zero):
        raise ValueError(
            f"The energy of trajectory {int(zero[0])} is zero at t = 0, so its relative drift is "
            "undefined. Use relative=False."
        )
    return drift / energy[0].abs()


def valid_prediction_time(
    prediction: Trajectories,
    truth: Trajectories,
    threshold: float = 0.4,
    against: str = "noisy",
) -> PerTrajectory:
    r"""How long each prediction stays within `threshold` of the truth.

    The error is relative to the trajectory's own size,

    .. math::
        e(t) = \frac{\lVert \hat z(t) - z(t) \rVert}
                    {\big\langle \lVert z \rVert^2 \big\rangle_t^{1/2}},

    and the time is that of the last state before e first exceeds the threshold: 0 if that happens
    in the first step, the whole length if it never does.  A NaN counts as exceeding.

    Parameters
    ----------
    prediction, truth : Trajectories
    threshold : float
        0.4 is common in work on chaotic systems.
    against : {"noisy", "clean"}

    Returns
    -------
    Tensor, shape (batch,)
        In the unit of `dt`, float64.

    Examples
    --------
    >>> import torch, srnn
    >>> one = torch.ones(5, 1, 2)
    >>> truth = srnn.Trajectories.from_states(one, dt=0.5)
    >>> guess = srnn.Trajectories.from_states(one + torch.arange(5.0)[:, None, None] / 4, dt=0.5)
    >>> valid_prediction_time(guess, truth)
    tensor([0.5000], dtype=torch.float64)
    """
    threshold = _checks.positive(threshold, "threshold")
    predicted, true = _pair(prediction, truth, against)
    if bool(torch.isnan(true).any()):
        raise ValueError(
            "The truth has gaps, through which no prediction can be followed: take "
            'against="clean" where it is known, or cut the trajectories at the gaps.'
        )
    size = _length(true).double().square().mean(dim=0).sqrt()
    # Multiplied out: a truth that rests at the origin has no size to divide by.
    good = _length(predicted - true) <= threshold * size
    valid = torch.cumprod(good.to(torch.int64), dim=0).sum(dim=0)
    return (valid - 1).clamp(min=0).to(torch.float64) * truth.dt


def angular_momentum(trajectories: Trajectories, bodies: int, dimensions: int = 2) -> Tensor:
    """Total angular momentum about the origin.

    Parameters
    ----------
    trajectories : Trajectories
        With the coordinates of one body after another's: (q1x, q1y, q2x, q2y, ...).
    bodies : int
    dimensions : {2, 3}
        Of space.

    Returns
    -------
    Tensor, shape (time, batch) in the plane, (time, batch, 3) in space

    Raises
    ------
    ValueError
        If `bodies` times `dimensions` is not the trajectories' number of positions.

    Examples
    --------
    >>> import srnn
    >>> data = srnn.systems.ThreeBody().simulate(2, steps=3, dt=0.5, dtype="float64")
    >>> momentum = angular_momentum(data, bodies=3)
    >>> momentum.shape, bool((momentum - momentum[0]).abs().max() < 1e-8)
    (torch.Size([4, 2]), True)
    """
    _checked(trajectories, "trajectories")
    bodies = _checks.positive_int(bodies, "bodies")
    _checks.choice(dimensions, "dimensions", (2, 3))
    if bodies * dimensions != trajectories.dim:
        raise ValueError(
            f"Expected {bodies} bodies in {dimensions} dimensions to have {bodies * dimensions} "
            f"positions; the trajectories have {trajectories.dim}."
        )
    shape = (*trajectories.values.shape[:2], bodies, dimensions)
    q, p = trajectories.q.reshape(shape), trajectories.p.reshape(shape)
    if dimensions == 3:
        each: Tensor = torch.linalg.cross(q, p)
        return each.sum(dim=-2)
    return (q[..., 0] * p[..., 1] - q[..., 1] * p[..., 0]).sum(dim=-1)


def _length(difference: Tensor) -> Tensor:
    largest = torch.nan_to_num(difference, posinf=0.0, neginf=0.0).abs().amax(dim=-1)
    size = moderating(largest).to(difference)  # of each by itself: one may diverge
    length: Tensor = torch.linalg.vector_norm(difference / size[..., None], dim=-1) * size
    return length


def _checked(value: Any, name: str) -> Trajectories:
    if not isinstance(value, Trajectories):
        raise TypeError(f"Expected `{name}` to be srnn.Trajectories; got {type(value).__name__}.")
    return value


def _pair(prediction: Any, truth: Any, against: Any) -> tuple[Tensor, Tensor]:
    """Check that two sets of trajectories can be compared; return their values."""
    _checked(prediction, "prediction")
    _checked(truth, "truth")
    _checks.choice(against, "against", _AGAINST)
    got, expected = prediction.values, truth.values
    if got.shape[1:] != expected.shape[1:]:
        raise ValueError(
            "Expected `prediction` and `truth` to have as many trajectories and positions; got "
            f"{prediction.trajectories} of dim {prediction.dim} and {truth.trajectories} of dim "
            f"{truth.dim}."
        )
    if not _checks.same_spacing(prediction.dt, truth.dt):
        raise ValueError(
            f"Expected `prediction` and `truth` to have one dt; got {prediction.dt!r} and "
            f"{truth.dt!r}."
        )
    if len(got) != len(expected):
        longer = "prediction" if len(got) > len(expected) else "truth"
        states = min(len(got), len(expected))
        raise ValueError(
            f"Expected `prediction` and `truth` to have as many states; got {len(got)} and "
            f"{len(expected)}. Cut the longer one: {longer}.first({states})."
        )
    if got.device != expected.device:
        raise ValueError(
            f"Expected `prediction` and `truth` on one device; got {got.device} and "
            f"{expected.device}. Convert one of them with .to(device)."
        )
    if against == "noisy":
        return got, expected
    if truth.clean is None:
        raise ValueError(
            "The truth does not know its values without noise (`clean` is None), so the error "
            'cannot be taken against="clean". Simulated trajectories know them.'
        )
    return got, truth.clean
