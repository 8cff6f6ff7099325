"""Recipes: everything that decides a training run beside the model and the data."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn.data.residual import LOSSES
from srnn.data.trajectories import Trajectories
from srnn.motion.adjoint import Gradient
from srnn.motion.adjoint._rollout import as_gradient
from srnn.starts.iso import METHODS

__all__ = [
    "ISO_METHODS",
    "OPTIMIZERS",
    "PRESETS",
    "WITH_ISO",
    "WITH_WALLS",
    "Recipe",
    "check_data",
    "check_validation",
]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
SCHEDULERS = ("plateau", "exponential", "cosine", None)
ISO_METHODS = METHODS
RETIRED: dict[str, dict[str, Any]] = {
    "learning_rate": {"weight_decay": 0.0},
    "validation": {"monitor": 128},
    "iso_every": {"iso_iterations": None},
}
"""Fields that earlier versions had, after the field that they stood behind, with the values that
every training follows now; stored recipes and the fingerprints of checkpoints hold them."""

_LATER = {"loss": "squared"}
"""Fields that earlier versions had not: stored only where they differ from this."""


@dataclass(frozen=True)
class Recipe:
    r"""Everything that decides a training run beside the model and the data.

    Parameters
    ----------
    epochs : int
        Most epochs to train.
    window : int or None
        States in a training window: 2 is the paper's single-step training; None takes whole
        trajectories, the paper's recurrent training.  The cost of a batch and the memory it takes
        grow with the window: long trajectories want one of ten to a hundred states.
    loss_from : {0, 1} or None
        First state in the loss.  State 0 contributes nothing unless the start is optimised; it is
        in the mean all the same, as in the paper's code.  None stands for 0 where the start is
        optimised and for 1 elsewhere.
    substeps : int
        Integrator steps between two observed states.
    derivatives : bool
        Fit dz/dt itself to the data's derivatives (HNN) instead of integrating.
    batch_size : int
        Windows in a batch.  A last partial batch is kept.
    optimizer : {"adam", "adamw", "sgd"}
    learning_rate : float
    clip_norm : float or None
        Largest norm of a gradient.
    scheduler : {"plateau", "exponential", "cosine", None}
        "plateau" multiplies the rate by `decay` after `scheduler_patience` epochs without
        improvement; "exponential" multiplies it each epoch; "cosine" falls to the floor at the
        last epoch.
    decay : float or None
        None stands for 0.5 under "plateau" and 0.99 under "exponential".
    scheduler_patience : int
    learning_rate_floor : float
    restore_best : bool
        With held-out trajectories, go back to the best weights so far whenever "plateau" cuts the
        rate.  On noisy data the loss hardly tells one epoch from the next while the weights
        wander; smaller steps then start from the best place found.
    validation : float
        Share of the trajectories held out.  The scheduler, early stopping and the choice of the
        best epoch use their loss.  At 0 the scheduler gets that of 128 training windows, drawn anew
        each epoch, as in the paper's code.
    patience : int or None
        Epochs without improvement of the held-out loss after which training stops.  The default is
        30; ``fit(iso=True)`` sets 15, since with optimised starts the held-out loss is smooth.
    least_rate : float
        Training ends once the scheduler has brought the rate below this share of `learning_rate`,
        where the weights hardly move any more; with `iso`, not before the starts have been
        optimised.  0 goes on to the last epoch.
    max_seconds : float or None
        Most seconds of training, the choice of a start among them, over all the runs of one that
        goes on from a checkpoint; the epoch that is under way then is its last.  None sets no
        limit.
    warm_start : bool, "distil" or "rollout"
        Start quadratic terms from the data (:mod:`srnn.warm_start`), where that is better than the
        start at hand: by least squares on single steps, or, with `iso`, by a fit through the
        integrator in which every initial state is solved exactly.  "rollout" fits through the
        integrator without `iso` too, from the first observed states.  "distil" does so and starts a
        plain H-NET there as well, in which a quadratic H is not exactly contained; for motions near
        an equilibrium.
    iso : {None, "gauss-newton", "scipy"}
        Optimise the initial state of every window together with the network, by a method of
        :func:`srnn.iso.optimise_initial_state` that runs on all windows with the network held
        still, before an epoch: one Gauss-Newton step, or the paper's ten iterations of SciPy's
        L-BFGS-B.  Each optimisation begins where the last one ended.
    iso_from : int
        Epochs trained without, before the first optimisation; the paper's are 100.
    iso_every : int
        Epochs from one optimisation to the next; the paper's is 1.
    noise : {"estimated", "equal"}
        What is known of the noise when starts are optimised.  "equal": one standard deviation for
        all coordinates, in the units of training.  "estimated": one for each, taken from the
        residuals before each optimisation, so that a coordinate with less noise counts for more;
        this is maximum likelihood, and does not depend on units.
    start_noise : bool
        Without `iso`: rollouts begin at noisy states, so that their loss is smallest for an H that
        damps this noise, not for the true one.  Take off what it adds on average
        (:func:`srnn.warm_start.start_noise`): from the fit that starts quadratic terms under
        ``warm_start="rollout"``, and from the held-out loss that chooses the epoch.
    trim : float
        Share of the windows of a batch, and of the held-out ones, with the largest residuals that
        is left out of the loss.  A rebound that is missed or made up puts a window so far off that
        a few of them would decide everything.
    gate_penalty : float
        Weight of the L1 norm of :math:`\gamma` in the training loss of a model that rebounds
        (section 6 of the paper, which does not state it).
    wall_steps : int or None
        Steps of the regression that starts the walls of such a model from the rebounds that single
        steps of the data show (:func:`srnn.rebound.start_from_rebounds`); part of `warm_start`.
        None leaves the number to the walls.
    loss : str
        What a residual costs, by a name of ``srnn.losses.LOSSES``.  Optimised starts are those of
        least squares: with `iso` only "squared" will do.
    gradient : str, srnn.adjoint.Gradient or None
        How rollouts are differentiated, by a name of ``srnn.adjoint.GRADIENTS``.  None takes the
        fastest way there is; "recompute" and "reversible" need less memory for long windows.
    scale : bool
        Train the library's networks in units of order one (:class:`srnn.data.units.Units`).  A
        Hamiltonian of your own is always trained in the units of the data.

    Examples
    --------
    >>> PRESETS["paper"].learning_rate, PRESETS["paper"].epochs
    (0.001, 1000)
    """

    epochs: int = field(default=300, metadata={"decides": "the end"})
    window: int | None = None
    loss_from: int | None = None
    substeps: int = 1
    derivatives: bool = False
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    clip_norm: float | None = 1.0
    scheduler: str | None = "plateau"
    decay: float | None = None
    scheduler_patience: int = 6
    learning_rate_floor: float = 0.0
    restore_best: bool = True
    validation: float = 0.1
    patience: int | None = field(default=30, metadata={"decides": "the end"})
    least_rate: float = field(default=0.0, metadata={"decides": "the end"})
    max_seconds: float | None = field(default=None, metadata={"decides": "the end"})
    warm_start: bool | str = True
    iso: str | None = None
    iso_from: int = 0
    iso_every: int = 5
    noise: str = "estimated"
    start_noise: bool = False
    trim: float = 0.0
    gate_penalty: float = 0.0
    wall_steps: int | None = None
    gradient: str | Gradient | None = field(default=None, metadata={"decides": "the way"})
    scale: bool = True
    loss: str = "squared"

    def __post_init__(self) -> None:
        _checks.positive_int(self.epochs, "epochs")
        if self.window is not None:
            _checks.positive_int(self.window, "window", minimum=2)
        _checks.choice(self.loss_from, "loss_from", (0, 1, None))
        for name in ("substeps", "batch_size", "scheduler_patience", "iso_every"):
            _checks.positive_int(getattr(self, name), name)
        if self.wall_steps is not None:
            _checks.positive_int(self.wall_steps, "wall_steps")
        _checks.positive_int(self.iso_from, "iso_from", minimum=0)
        _checks.choice(self.iso, "iso", (None, *ISO_METHODS))
        _checks.choice(self.noise, "noise", ("estimated", "equal"))
        if self.iso is not None and self.derivatives:
            raise ValueError(
                "Training on derivatives integrates nothing, so there is no initial state to "
                "optimise: pass iso=False."
            )
        if self.start_noise and (self.iso is not None or self.derivatives):
            raise ValueError(
                "start_noise=True corrects a loss of rollouts from the first observed states: it "
                "goes neither with iso nor with derivatives=True."
            )
        _checks.choice(self.loss, "loss", LOSSES)
        if self.loss != "squared" and self.iso is not None:
            raise ValueError(
                f"Initial states are optimised by least squares; with loss={self.loss!r} pass "
                "iso=False."
            )
        _checks.choice(self.optimizer, "optimizer", OPTIMIZERS)
        _checks.choice(self.scheduler, "scheduler", SCHEDULERS)
        _checks.positive(self.learning_rate, "learning_rate")
        if self.decay is not None:
            _checks.positive(self.decay, "decay")
        for name in ("derivatives", "restore_best", "scale", "start_noise"):
            _checks.choice(getattr(self, name), name, (True, False))
        as_gradient(self.gradient)  # refuses what is none
        _checks.choice(self.warm_start, "warm_start", (True, False, "distil", "rollout"))
        for name in ("learning_rate_floor", "gate_penalty"):
            _checks.non_negative(getattr(self, name), name)
        if self.clip_norm is not None:
            _checks.positive(self.clip_norm, "clip_norm")
        _checks.fraction(self.validation, "validation")
        _checks.fraction(self.trim, "trim")
        _checks.fraction(self.least_rate, "least_rate")
        if self.patience is not None:
            _checks.positive_int(self.patience, "patience")
        if self.max_seconds is not None:
            _checks.positive(self.max_seconds, "max_seconds")

    @property
    def first_counted(self) -> int:
        """The first state in the loss that `loss_from` stands for."""
        if self.loss_from is not None:
            return self.loss_from
        return 1 if self.iso is None else 0

    @property
    def rate_decay(self) -> float:
        """The factor of the learning rate that `decay` stands for."""
        if self.decay is not None:
            return self.decay
        return 0.99 if self.scheduler == "exponential" else 0.5

    def as_stored(self) -> dict[str, Any]:
        """All fields, and the retired ones with the values that every training follows now.

        Examples
        --------
        >>> Recipe().as_stored()["monitor"]
        128
        """
        stored: dict[str, Any] = {}
        for name, value in dataclasses.asdict(self).items():
            stored |= {name: value} | RETIRED.get(name, {})
        return {
            name: value for name, value in stored.items() if (name, value) not in _LATER.items()
        }

    def deciding(self) -> dict[str, Any]:
        """All that decides the weights that a training comes to, as it is stored.

        When a run ends does not change what it does until then: it may be asked to go on; only the
        cosine schedule looks ahead to the last epoch.  Nor does the way to the same gradient, but
        for rounding; only the continuous one is another.

        Examples
        --------
        >>> "patience" in Recipe().deciding(), "window" in Recipe().deciding()
        (False, True)
        """
        decides = {
            f.name: f.metadata.get("decides", "the weights") for f in dataclasses.fields(self)
        }
        if self.scheduler == "cosine":
            decides["epochs"] = "the weights"
        found = self.as_stored() | {"gradient": as_gradient(self.gradient).name}
        if found["gradient"] == "continuous":
            decides["gradient"] = "the weights"
        return {
            name: value
            for name, value in found.items()
            if decides.get(name, "the weights") == "the weights"
        }

    def replace(self, **settings: Any) -> "Recipe":
        """Return a copy with some settings changed; an unknown one is refused.

        Examples
        --------
        >>> Recipe().replace(window=2).window
        2
        """
        known = [f.name for f in dataclasses.fields(self)]
        for name in settings:
            _checks.choice(name, "setting of fit", known)
        return dataclasses.replace(self, **settings)


PRESETS = {
    None: Recipe(),
    "paper": Recipe(
        epochs=1000,
        learning_rate=1e-3,
        loss_from=0,
        clip_norm=None,
        scheduler="plateau",
        decay=0.7,
        scheduler_patience=15,
        restore_best=False,
        validation=0.0,
        patience=None,
        # The paper's go on to the end, though from here on to no effect: the decisions page.
        least_rate=1e-3,
        warm_start=False,
        iso_from=100,
        iso_every=1,
        noise="equal",
        scale=False,
    ),
}
"""The recipes by name: the library's default under None, and the paper's (appendix A.1)."""

WITH_ISO: dict[str | None, dict[str, Any]] = {
    None: {"iso": "gauss-newton", "patience": 15},
    "paper": {"iso": "scipy"},
}
"""What ``fit(iso=True)`` sets under each preset."""

WITH_WALLS: dict[str | None, dict[str, Any]] = {
    None: {"batch_size": 250, "learning_rate": 1e-5, "patience": 3, "trim": 0.05},
    # Appendix A.3.  It states neither the batch size nor the weight of the L1 norm, nor units.
    "paper": {
        "epochs": 1500,
        "batch_size": 250,
        "learning_rate": 5e-3,
        "clip_norm": 1.0,
        "scheduler": "exponential",
        "decay": 0.99,
        "learning_rate_floor": 1e-4,
        "gate_penalty": 1e-3,
        "scale": True,
    },
}
"""What a model that rebounds sets beside its preset: see the page on the paper's silences."""


def check_data(data: Any, dim: int, weight: Tensor | None, recipe: Recipe, name: str) -> None:
    """Refuse data that a model cannot be trained on.

    Parameters
    ----------
    data : Trajectories
    dim : int
        The model's number of positions.
    weight : Tensor or None
        One of the model's weights; None if it has none.
    recipe : Recipe
    name : str
        What to call the data in the text of a refusal.

    Raises
    ------
    ValueError, TypeError
        With a text that names what does not fit: the dimension, dtype or device, the number of
        states, the status of a trajectory, or missing derivatives.

    Examples
    --------
    >>> import torch, srnn
    >>> data = srnn.Trajectories.from_states(torch.zeros(10, 3, 4), dt=0.1)
    >>> check_data(data, 3, torch.zeros(1), Recipe(), "data")
    Traceback (most recent call last):
    ValueError: Expected `data` with dim=3, as the model's; got 2.
    """
    if not isinstance(data, Trajectories):
        raise TypeError(
            f"Expected `{name}` to be srnn.Trajectories; got {type(data).__name__}. "
            "Make them of arrays by srnn.Trajectories(q=..., p=..., dt=...)."
        )
    if data.dim != dim:
        raise ValueError(f"Expected `{name}` with dim={dim}, as the model's; got {data.dim}.")
    if weight is None:
        raise ValueError("The model has no parameters to train.")
    _checks.same_as(data.values, name, weight, "model")
    # Units are found in float64; without them a loss is of the numbers as they are.
    _checks.squarable(data.values.double() if recipe.scale else data.values, name)
    if data.status is not None and bool((data.status != 0).any()):
        raise ValueError(
            f"Expected `{name}` with status 0 throughout; {int((data.status != 0).sum())} "
            f"trajectories have another. Leave them out: {name}.select({name}.status == 0)."
        )
    if data.steps < 1:
        raise ValueError(f"Expected `{name}` of at least two states a trajectory; got 1.")
    if recipe.window is not None and recipe.window > data.steps + 1:
        raise ValueError(
            f"A window of {recipe.window} states is longer than the trajectories of `{name}`, "
            f"which have {data.steps + 1}."
        )
    if recipe.derivatives and data.derivatives is None:
        raise ValueError(
            f"Training on derivatives needs `{name}` with derivatives: "
            "simulate(..., derivatives=True), or Trajectories(..., dq=..., dp=...)."
        )


def check_validation(validation_data: Trajectories, data: Trajectories, recipe: Recipe) -> None:
    """Refuse validation data that the recipe cannot treat as it does the training data.

    Parameters
    ----------
    validation_data, data : Trajectories
    recipe : Recipe

    Raises
    ------
    ValueError
        If their spacing differs, or whole trajectories are trained on and these are shorter.

    Examples
    --------
    >>> import torch, srnn
    >>> z = torch.zeros(10, 3, 4)
    >>> data, other = (srnn.Trajectories.from_states(z, dt=dt) for dt in (0.1, 0.2))
    >>> check_validation(other, data, Recipe())
    Traceback (most recent call last):
    ValueError: Expected `validation_data` with the spacing of `data`, dt=0.1; got 0.2.
    """
    if not _checks.same_spacing(validation_data.dt, data.dt):
        raise ValueError(
            f"Expected `validation_data` with the spacing of `data`, dt={data.dt!r}; "
            f"got {validation_data.dt!r}."
        )
    if recipe.window is None and validation_data.steps < data.steps:
        raise ValueError(
            f"Expected `validation_data` of at least {data.steps + 1} states, as `data`; "
            f"got {validation_data.steps + 1}. Or name a shorter window."
        )
