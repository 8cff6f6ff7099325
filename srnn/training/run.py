"""One training run: the epoch, and the loop over epochs.

Single-step and recurrent training are one loop with a window length.
"""

import copy
import math
import os
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from srnn.data.trajectories import Trajectories
from srnn.errors import CheckpointError, TrainingDiverged
from srnn.motion.fields import differentiates
from srnn.motion.integrators import Integrator
from srnn.motion.motion import Motion
from srnn.starts.optimised import ObservedStarts, Starts
from srnn.training.guess.warm_start import start_noise
from srnn.training.losses import window_loss
from srnn.training.recipes import OPTIMIZERS, Recipe
from srnn.training.resuming import check_checkpoint, fingerprint, restore, save

__all__ = ["History"]

# Windows that the scheduler looks at where no trajectories are held out: the paper's code's.
_WATCHED = 128


@dataclass
class History:
    """What happened in training, one entry an epoch.

    Attributes
    ----------
    train_loss : list of float
        Mean squared residual over the epoch's batches, in the network's units.  With ISO and
        noise that is estimated, each coordinate is weighed by its own
        (:func:`srnn.starts.noise_weights`).
    validation_loss : list of float
        The same on the held-out trajectories after the epoch, their initial states optimised where
        those of the training are; empty without any.
    learning_rate : list of float
    best_epoch : int
        Epoch (from 1) whose weights were kept; 0 stands for the start.
    stopped : str
        "" while running, then "epochs", "patience", "rate" (too small to change anything), "time",
        or "solved" if the start was the optimum already: that of a quadratic H with all initial
        states optimised is found without epochs.
    seconds : float
        Wall time, from the choice of a start on, over all the runs of a resumed training.

    Examples
    --------
    >>> import srnn
    >>> model = srnn.SRNN(dim=1, hidden=4)
    >>> data = srnn.systems.MassSpring().simulate(10, steps=5, dt=0.1)
    >>> history = model.fit(data, epochs=3, progress=False)
    >>> history.epochs, history.stopped
    (3, 'epochs')
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = ""
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.train_loss)


class Run:
    """A network on its way through a recipe.

    Parameters
    ----------
    net : module
        Trained in place.
    integrator : Integrator or None
    training, held_out : Trajectories
        In the network's units.
    recipe : Recipe
    generator : torch.Generator
        Draws the order of the windows.
    solved : bool
        Whether the network is at its optimum already.
    """

    def __init__(
        self,
        net: nn.Module,
        integrator: Integrator | None,
        training: Trajectories,
        held_out: Trajectories | None,
        recipe: Recipe,
        generator: torch.Generator,
        solved: bool = False,
    ) -> None:
        self.motion, self.recipe = Motion(net, integrator), recipe
        self.solved = solved
        self.training, self.held_out, self.generator = training, held_out, generator
        # None by AdamW either, whose own default is a hundredth.
        self.optimizer = OPTIMIZERS[recipe.optimizer](
            self.motion.parameters(), lr=recipe.learning_rate, weight_decay=0.0
        )
        self.scheduler = self._make_scheduler()
        self.history = History()
        self.best = copy.deepcopy(self.motion.state_dict())
        self.start_draws = self._draw_start_noise() if recipe.start_noise else None
        self.starts = self._make_starts(training)
        self.held_out_starts = None if held_out is None else self._make_starts(held_out)
        if self.starts.begun(0) and not solved:
            for starts in (self.starts, self.held_out_starts):
                if starts is not None:
                    starts.settle()
        # A start that overflows is no mark to beat.
        at_start = math.inf if held_out is None or solved else self._held_out_loss()
        self.best_loss = at_start if math.isfinite(at_start) else math.inf

    def _make_starts(self, data: Trajectories) -> ObservedStarts:
        if self.recipe.iso is None:
            return ObservedStarts()
        return Starts(self.motion.net, self.motion.step, data.values, data.dt, self.recipe)

    def _make_scheduler(self) -> Any:
        recipe, schedulers = self.recipe, torch.optim.lr_scheduler
        if recipe.scheduler == "plateau":
            return schedulers.ReduceLROnPlateau(
                self.optimizer,
                factor=recipe.rate_decay,
                patience=recipe.scheduler_patience,
                min_lr=recipe.learning_rate_floor,
            )
        if recipe.scheduler == "exponential":
            return schedulers.ExponentialLR(self.optimizer, gamma=recipe.rate_decay)
        if recipe.scheduler == "cosine":
            return schedulers.CosineAnnealingLR(
                self.optimizer, T_max=recipe.epochs, eta_min=recipe.learning_rate_floor
            )
        return None

    def loss(
        self,
        data: Trajectories,
        index: Tensor | slice,
        start: Tensor | None,
        *,
        penalised: bool = False,
    ) -> Tensor:
        """Loss of the windows that `index` names, from their first states or from a `start`."""
        weights = None if start is None else self.starts.weights
        return window_loss(
            self.motion.net,
            self.motion.step,
            data,
            self.recipe,
            index,
            start=start,
            weights=weights,
            penalised=penalised,
        )

    def _draw_start_noise(self) -> Tensor:
        """Draw noise of the held-out first states, once: epochs are compared by it."""
        assert self.held_out is not None
        first = self.held_out.values[0]
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(first.shape, generator=generator, dtype=first.dtype).to(first)
        return drawn @ start_noise(self.motion.step, self.training, self.recipe).mT

    def _held_out_part(self, index: slice) -> float:
        """Loss of held-out windows, less what the noise of their first states adds to it.

        That is, to second order, what more of the same noise adds: half of the second difference
        of the loss along a draw of it.  The choice of an epoch, the schedule and early stopping
        look at it; what is minimised is not corrected.  The corrected loss has no lower bound, so a
        network that it were minimised by would learn to amplify the noise.
        """
        assert self.held_out is not None
        plain = float(self.loss(self.held_out, index, None))
        if self.start_draws is None:
            return plain
        first, moved = self.held_out.values[0, index], self.start_draws[index]
        both = [float(self.loss(self.held_out, index, first + x)) for x in (moved, -moved)]
        return 2 * plain - sum(both) / 2

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        assert self.held_out is not None
        if self.starts.begun(self.history.epochs):
            assert self.held_out_starts is not None
            return self.held_out_starts.score_under(self.starts.weights)
        # In pieces, so that a long validation set needs no more memory than a few batches.
        total, size = 0.0, 16 * self.recipe.batch_size
        for start in range(0, len(self.held_out), size):
            piece = slice(start, min(start + size, len(self.held_out)))
            total += self._held_out_part(piece) * (piece.stop - piece.start)
        return total / len(self.held_out)

    def epoch(self) -> None:
        """One pass over the training windows, then the scheduler and the choice of the best.

        Before it, where the recipe says so, the starts of all windows are optimised.
        """
        recipe, count = self.recipe, len(self.training)
        self.starts.before_epoch(self.history.epochs)
        order = torch.randperm(count, generator=self.generator).to(self.training.values.device)
        total = 0.0
        self.motion.train()  # walls that predict with a gate learn with a smooth one
        rate = float(self.optimizer.param_groups[0]["lr"])
        for index in order.split(recipe.batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            start = self.starts.of(index, self.history.epochs)
            loss = self.loss(self.training, index, start, penalised=True)
            if not math.isfinite(value := float(loss.detach())):
                raise FloatingPointError(f"the training loss is {value}")
            if loss.requires_grad:  # a batch without a rebound says nothing of walls
                loss.backward()
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.motion.parameters(), recipe.clip_norm)
            self.optimizer.step()
            total += value * len(index)
        self.motion.train(False)
        watched = self._watch()
        if not math.isfinite(watched):
            raise FloatingPointError(f"the loss after the epoch is {watched}")
        self.history.train_loss.append(total / count)
        self.history.learning_rate.append(rate)
        if self.held_out is not None:
            self.history.validation_loss.append(watched)
        if self.held_out is None or watched < self.best_loss:
            self.best_loss = watched
            self.history.best_epoch = self.history.epochs
            self.best = copy.deepcopy(self.motion.state_dict())
        self._schedule(watched)

    @torch.no_grad()
    def _watch(self) -> float:
        """Compute the loss that the scheduler and early stopping look at."""
        if self.held_out is not None:
            return self._held_out_loss()
        count = min(_WATCHED, len(self.training))
        drawn = torch.randperm(len(self.training), generator=self.generator)[:count]
        drawn = drawn.to(self.training.values.device)
        return float(self.loss(self.training, drawn, self.starts.of(drawn, self.history.epochs)))

    def _schedule(self, watched: float) -> None:
        if self.recipe.scheduler == "plateau":
            rate = self.optimizer.param_groups[0]["lr"]
            self.scheduler.step(watched)
            cut = self.optimizer.param_groups[0]["lr"] < rate
            if cut and self.recipe.restore_best and self.held_out is not None:
                self.motion.load_state_dict(self.best)
        elif self.scheduler is not None:
            self.scheduler.step()
        for group in self.optimizer.param_groups:
            group["lr"] = max(group["lr"], self.recipe.learning_rate_floor)

    @property
    def finished(self) -> str:
        """Why training is over, as :attr:`History.stopped`; "" if it is not."""
        history, patience, most = self.history, self.recipe.patience, self.recipe.max_seconds
        if self.solved:
            return "solved"
        if history.epochs >= self.recipe.epochs:
            return "epochs"
        if most is not None and history.seconds >= most:
            return "time"
        if self.starts.waiting(history.epochs):
            return ""
        least = self.recipe.least_rate * self.recipe.learning_rate
        if self.optimizer.param_groups[0]["lr"] < least:
            return "rate"
        waited = history.epochs - history.best_epoch
        if self.held_out is not None and patience is not None and waited >= patience:
            return "patience"
        return ""


@differentiates
def train(
    net: nn.Module,
    integrator: Integrator | None,
    training: Trajectories,
    held_out: Trajectories | None,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    path: str | os.PathLike[str] | None = None,
    progress: bool = True,
    solved: bool = False,
    begin: float | None = None,
) -> History:
    """Train `net` in place, in the units of the data given, and leave it at its best epoch.

    Parameters
    ----------
    net : module
    integrator : Integrator or None
    training : Trajectories
        The windows to train on.
    held_out : Trajectories or None
    recipe : Recipe
    generator : torch.Generator
        Draws the order of the windows; advanced.
    path : path-like, optional
        Checkpoint, written after epochs (at most about once a second) and read if it is there.
    progress : bool
        Show a bar on the terminal.
    solved : bool
        Whether `net` is at its optimum already, so that there is no epoch to train.
    begin : float, optional
        What ``time.monotonic()`` was when the work began, for one that chose a start before.

    Returns
    -------
    History

    Raises
    ------
    TrainingDiverged
        If a loss is not finite; `net` is left with the last good weights.
    CheckpointError
        If `path` is truncated or belongs to another run.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> data = srnn.systems.MassSpring().simulate(20, steps=4, dt=0.1, generator=g)
    >>> recipe = srnn.recipes.Recipe(epochs=3)
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> train(srnn.QuadraticH(1), leapfrog, data, None, recipe, g, progress=False).epochs
    3
    """
    begin = time.monotonic() if begin is None else begin  # the run optimises starts, which counts
    run = Run(net, integrator, training, held_out, recipe, generator, solved)
    file = None if path is None else check_checkpoint(path)
    mark = "" if file is None else fingerprint(run)
    if file is not None and file.exists():
        try:
            restore(run, file, mark)
        except (ArithmeticError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file} is a damaged checkpoint ({error!r}).") from error
    run.history.stopped = run.finished
    try:
        _epochs(run, file, mark, progress, begin)
    finally:
        # Whatever ends the run, an interrupt or a full disk among them, the best so far is kept.
        run.motion.load_state_dict(run.best)
    return run.history


def _epochs(run: Run, file: Path | None, mark: str, progress: bool, begin: float) -> None:
    """Train until the recipe is done, with a bar and a checkpoint."""
    history = run.history
    before, written = history.seconds, -math.inf
    if not history.stopped:
        history.seconds = before + time.monotonic() - begin
        history.stopped = run.finished  # the time may be over before the first epoch
    total = run.recipe.epochs
    if history.stopped and file is not None and not file.exists():
        save(run, file, mark)  # ended without an epoch
    with tqdm(total=total, initial=history.epochs, disable=not progress, unit="epoch") as bar:
        while not history.stopped:
            try:
                run.epoch()
            except FloatingPointError as error:
                epoch, kept = history.epochs + 1, history.best_epoch
                raise TrainingDiverged(
                    f"Training diverged in epoch {epoch}: {error}. The model holds the weights "
                    f"of {f'epoch {kept}' if kept else 'its start'}, the last good ones. A lower "
                    "learning_rate, a clip_norm or a shorter window may help.",
                    epoch=epoch,
                    history=history,
                ) from error
            history.seconds = before + time.monotonic() - begin
            history.stopped = run.finished
            bar.update()
            losses = history.validation_loss or history.train_loss
            bar.set_postfix(loss=f"{losses[-1]:.3g}", best=history.best_epoch)
            # At most one file a second: a fast epoch should not wait for the disk.
            if file is not None and (history.stopped or time.monotonic() > written + 1):
                save(run, file, mark)
                written = time.monotonic()


def begun(windows: Trajectories, recipe: Recipe) -> Trajectories:
    """Leave out windows that a rollout cannot begin with: those whose first state has a gap.

    With ISO from the first epoch on none is left out, since starts are found; nor where derivatives
    are fitted.

    Parameters
    ----------
    windows : Trajectories
    recipe : Recipe

    Returns
    -------
    Trajectories

    Raises
    ------
    ValueError
        If no window is left.

    Warns
    -----
    UserWarning
        Of how many are left out.

    Examples
    --------
    >>> import torch, srnn
    >>> z = torch.zeros(10, 3, 4)
    >>> data = srnn.Trajectories.from_states(z, dt=0.1)
    >>> begun(data, Recipe()) is data
    True
    """
    found = recipe.iso is not None and recipe.iso_from == 0
    if windows.observed is None or found or recipe.derivatives:
        return windows
    whole = windows.observed[0].all(dim=-1)
    if bool(whole.all()):
        return windows
    if not bool(whole.any()):
        raise ValueError(
            f"None of the {len(windows)} windows begins with a whole state, from which training "
            "without ISO rolls out: pass iso=True, which finds such states."
        )
    warnings.warn(
        f"{int((~whole).sum())} of {len(windows)} windows begin with a gap and are left out; "
        "iso=True trains on all.",
        stacklevel=4,
    )
    return windows.select(whole)
