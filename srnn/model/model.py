"""What a user holds: a network, an integrator and units, with fit, predict, save and load."""

import copy
import dataclasses
import math
import os
import time
import warnings
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn.data.residual import Observed, interpolated
from srnn.data.trajectories import Trajectories
from srnn.data.units import Units
from srnn.errors import CheckpointError
from srnn.model.fitted import Fitted
from srnn.motion import integrators
from srnn.motion._probe import check_motion
from srnn.motion.fields import Field, as_field, differentiates, foreign, weight_of
from srnn.motion.integrators import Integrator
from srnn.motion.motion import Motion, check_integrator
from srnn.motion.scaling import ScaledHamiltonian
from srnn.nn import QuadraticH
from srnn.nn.network import asked
from srnn.rebound import Rebound, ReboundRecord, WalledH, record
from srnn.results.diagnostics import Diagnosis, diagnose
from srnn.starts import Starts
from srnn.starts.iso import IsoStatus, Problem, optimise_initial_state
from srnn.starts.iso._optimise import check_differentiable
from srnn.starts.optimised import floored
from srnn.training import check_checkpoint, check_data, check_validation, checkpoint, train
from srnn.training.guess import warm_start
from srnn.training.recipes import ISO_METHODS, PRESETS, WITH_ISO, Recipe
from srnn.training.run import History, begun

__all__ = ["FORMAT", "Model"]

FORMAT = "srnn.Model/1"
_T = TypeVar("_T")


class _Left(Generic[_T]):
    """A part of :class:`Fitted` as an attribute of the model that holds it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> "_Left[_T]": ...
    @overload
    def __get__(self, model: Any, owner: type) -> _T: ...
    def __get__(self, model: Any, owner: type) -> Any:
        """Read it."""
        return self if model is None else getattr(model.fitted, self.name)

    def __set__(self, model: Any, value: _T) -> None:
        """Put another in its place."""
        model.fitted = dataclasses.replace(model.fitted, **{self.name: value})


class Model:
    """A network and the integrator it is trained and tested through.

    Parameters
    ----------
    net : HNet, ONet, QuadraticH, RNN, LSTM or another module
        What is learnt.  A system (such as :class:`srnn.systems.SpringChain`) stands for the true
        equations: it predicts and has nothing to learn.
    integrator : str, Integrator or None
        The integrator of training; None for RNN and LSTM.
    test_integrator : str, Integrator or None
        The integrator of :meth:`predict`; by default the one of training.  The paper's E-L is
        ``integrator="euler", test_integrator="leapfrog"``.
    preset : {None, "paper"}
        The training recipe: the library's default, or the paper's (appendix A.1).
    generator : torch.Generator, optional
        Draws what training draws.

    Attributes
    ----------
    net : module
    fitted : Fitted
        What :meth:`fit` leaves beside the weights: the next four, and the spacing `dt` of the data.
    scale : srnn.data.units.Units
        The units :meth:`fit` chose; the network works in them.
    iso : bool
        Whether :meth:`fit` optimised initial states; :meth:`predict` then does so too.
    substeps : int
        Integrator steps between two observed states in :meth:`fit`; the default of what follows.
    noise : tuple of 2*dim float, or None
        Standard deviation of the noise of each coordinate, in the units of the data, as a fit with
        ISO estimated it; set to a pair, the first is that of all positions, the second of all
        momenta.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> chain = srnn.systems.SpringChain.random(masses=4, generator=g)
    >>> data = chain.simulate(trajectories=20, steps=9, dt=0.1, generator=g)
    >>> model = srnn.Model(srnn.ONet(dim=4, hidden=16, generator=g), "euler", generator=g)
    >>> history = model.fit(data, epochs=2, progress=False)
    >>> model.predict(data, steps=30)
    Trajectories(states=31, trajectories=20, dim=4, dt=0.1, dtype=float32)
    """

    scale: _Left[Units] = _Left("units")
    dt: _Left[float | None] = _Left("dt")
    iso: _Left[bool] = _Left("iso")
    substeps: _Left[int] = _Left("substeps")
    noise: _Left[tuple[float, ...] | None] = _Left("noise")

    def __init__(
        self,
        net: Any,
        integrator: str | Integrator | None = "leapfrog",
        *,
        test_integrator: str | Integrator | None = None,
        preset: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        _checks.choice(preset, "preset", PRESETS)
        self.net = _checks.network(net, "net")
        self.recurrent = asked(net).own_step
        if self.recurrent:
            if integrator is not None or test_integrator is not None:
                raise ValueError(
                    f"{type(net).__name__} is its own step: pass integrator=None and no "
                    "test_integrator."
                )
        elif integrator is None:
            raise ValueError(f"{type(net).__name__} needs an integrator, such as 'leapfrog'.")
        if isinstance(integrator, Rebound) or isinstance(test_integrator, Rebound):
            raise ValueError(
                "Expected an integrator without walls; got a Rebound. The model puts the walls "
                "into its step itself, in its own units: srnn.SRNN(..., rebound=walls)."
            )
        self.integrator = None if integrator is None else integrators.get(integrator)
        self.test_integrator = (
            self.integrator if test_integrator is None else integrators.get(test_integrator)
        )
        self.preset = preset
        self.generator = _checks.as_generator(generator)
        self.dim = int(net.dim)
        weight = weight_of(net)
        like = torch.empty(0) if weight is None else weight
        self.fitted = Fitted(Units.identity(self.dim, like))
        for method in (self.integrator, self.test_integrator):
            self._step(method)  # walls refuse a method that cannot rebound
        self._last_run: tuple[Path, int, dict[str, Any]] | None = None

    def __repr__(self) -> str:
        names = [None if i is None else i.name for i in (self.integrator, self.test_integrator)]
        how = "" if self.recurrent else f", {names[0]!r}, test_integrator={names[1]!r}"
        return f"{type(self).__name__}({type(self.net).__name__}(dim={self.dim}){how})"

    # -- the learnt system, in the data's units ---------------------------------------------------

    @property
    def hamiltonian(self) -> ScaledHamiltonian:
        """The learnt H in the data's units.

        Raises
        ------
        TypeError
            If the network is not a Hamiltonian.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.SRNN(dim=2, hidden=8).hamiltonian(torch.zeros(5, 4)).shape
        torch.Size([5])
        """
        hamiltonian: ScaledHamiltonian = self.motion().hamiltonian
        return hamiltonian

    @property
    def field(self) -> Field:
        """The learnt dz/dt in the data's units."""
        return self.motion().field

    @property
    def walled(self) -> bool:
        """Whether the model's steps rebound from walls.

        Examples
        --------
        >>> import srnn
        >>> srnn.SRNN(dim=2, hidden=8).walled
        False
        """
        return isinstance(self.net, WalledH)

    def _step(self, integrator: Integrator | str | None, units: Units | None = None) -> Any:
        """Make the step of an integrator in the network's units; None for a net's own."""
        units = self.scale if units is None else units
        method = integrators.rescaled(integrator, units.time)
        return None if method is None else asked(self.net).step_for(method, units)

    def motion(
        self, integrator: str | Integrator | None = None, *, like: Tensor | None = None
    ) -> Motion:
        """Give the model's motion in the data's units: what :meth:`predict` rolls out.

        Parameters
        ----------
        integrator : str or Integrator, optional
            By default the model's `test_integrator`.
        like : Tensor, optional
            States whose dtype and device the motion is for, where the model has no weights.

        Returns
        -------
        srnn.motion.motion.Motion

        Raises
        ------
        ValueError
            If a network that is its own step is given an integrator.

        Examples
        --------
        >>> import torch, srnn
        >>> motion = srnn.SRNN(dim=2, hidden=8).motion()
        >>> motion.rollout(torch.zeros(3, 4), dt=0.1, steps=5).shape
        torch.Size([6, 3, 4])
        """
        check_integrator(self.net, integrator)
        units = self.scale if like is None else self.scale.beside(like)
        return Motion(
            self.net,
            self._step(self.test_integrator if integrator is None else integrator, units),
            units,
            spacing=self.dt if asked(self.net).one_spacing else None,
            substeps=self.substeps,
            noise=self.noise,
        )

    # -- training ---------------------------------------------------------------------------------

    @differentiates
    def fit(
        self,
        data: Trajectories,
        *,
        epochs: int | None = None,
        iso: bool | str | None = None,
        validation_data: Trajectories | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> History:
        """Learn from trajectories.

        A second call goes on from the first one's weights, in the first one's units.  A call that
        is refused leaves the model as it was; one that is interrupted, or diverges, leaves it with
        the best weights so far.  It trains under ``torch.no_grad()`` and in inference mode, too.

        Parameters
        ----------
        data : Trajectories
            Observed trajectories of at least two states.
        epochs : int, optional
            Most epochs to train; by default the recipe's.
        iso : bool or str, optional
            Optimise the initial state of every trajectory together with the network (the paper's
            section 4.3), for data with noise.  True takes the best method the library knows, from
            the first epoch on; under ``preset="paper"`` the paper's, after 100 epochs.  A name of
            ``srnn.recipes.ISO_METHODS`` takes that one.  None, like False, trains from the first
            observed states.
        validation_data : Trajectories, optional
            Held-out trajectories; by default a share of `data` (10 %) is held out.
        checkpoint : path-like, optional
            File that keeps the run: if the program is killed, or the call interrupted, the same
            call goes on where it stopped and ends with the same weights, bit for bit.  In another
            program this takes a model, and data, made with a seeded generator.  A larger `epochs`
            goes on with a run that is done.
        progress : bool
            Show a progress bar.
        **settings
            Any field of :class:`srnn.recipes.Recipe`, such as ``window=2`` for single-step
            training or ``learning_rate=3e-4``.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            If the data do not fit the model, a setting is unknown, or every parameter is frozen.
        TrainingDiverged
            If the loss stops being finite; the last good weights are kept.
        CheckpointError
            If `checkpoint` is damaged or belongs to another run.

        Examples
        --------
        >>> import torch, srnn
        >>> g = torch.Generator().manual_seed(0)
        >>> data = srnn.systems.MassSpring().simulate(20, steps=9, dt=0.1, generator=g)
        >>> model = srnn.SRNN(dim=1, hidden=8, generator=g)
        >>> history = model.fit(data, epochs=3, window=2, progress=False)
        >>> history.epochs, len(history.validation_loss)
        (3, 3)
        """
        begin = time.monotonic()
        if epochs is not None:
            settings["epochs"] = epochs
        recipe = self.recipe(iso=iso, **settings)
        self._check_fit(data, validation_data, recipe)
        file = None if checkpoint is None else check_checkpoint(checkpoint).resolve()
        before = self._snapshot()
        try:
            windows, held_out, generator, started = self._prepare(
                data, validation_data, recipe, file, progress
            )
        except BaseException:
            self._restore(before)
            raise
        self.fitted = dataclasses.replace(
            self.fitted, iso=recipe.iso is not None, substeps=recipe.substeps, noise=None
        )
        try:
            history = train(
                self.net,
                self._step(self.integrator),
                windows,
                held_out,
                recipe,
                generator,
                path=checkpoint,
                progress=progress,
                solved=started and recipe.iso is not None and self._solved_by_start(),
                begin=begin,
            )
            self._set_noise(windows if held_out is None else held_out, recipe)
            return history
        except CheckpointError:  # raised before the first epoch; later on the best is kept
            self._restore(before)
            raise

    def recipe(self, *, iso: bool | str | None = None, **settings: Any) -> Recipe:
        """Tell the recipe that :meth:`fit` follows when it is given the same.

        Parameters
        ----------
        iso, **settings
            As for :meth:`fit`.

        Returns
        -------
        Recipe

        Raises
        ------
        ValueError, TypeError
            If a setting is unknown or out of range.

        Examples
        --------
        >>> import srnn
        >>> recipe = srnn.SRNN(dim=1, hidden=8, preset="paper").recipe(iso=True)
        >>> recipe.iso, recipe.iso_from, recipe.epochs
        ('scipy', 100, 1000)
        """
        if iso is not None:
            _checks.choice(iso, "iso", (True, False, *ISO_METHODS))
            chosen = WITH_ISO[self.preset] if iso is True else {"iso": iso or None}
            settings = chosen | settings
        return self._recipe().replace(**settings)

    def _prepare(
        self,
        data: Trajectories,
        validation_data: Trajectories | None,
        recipe: Recipe,
        file: Path | None,
        progress: bool,
    ) -> tuple[Trajectories, Trajectories | None, torch.Generator, bool]:
        """Choose units and a start.

        Return the windows to train on, those held out, the run's draws, and whether the start is
        one that the data gave.
        """
        seed = self._seed(file)
        generator = torch.Generator().manual_seed(seed)
        if file is not None:
            self._last_run = (file, seed, self._snapshot())
        training, held_out = data, validation_data
        if held_out is None and recipe.validation:
            training, held_out = data.split(recipe.validation, generator)
        if self.dt is None and recipe.scale:
            self.scale = asked(self.net).units_for(training) or self.scale
        window = data.steps + 1 if recipe.window is None else recipe.window
        windows, watched = (
            None if part is None else begun(self.scale.encoded(part).windows(window), recipe)
            for part in (training, held_out)
        )
        assert windows is not None
        for part, name in ((windows, "data"), (watched, "validation_data")):
            if part is not None:  # in the units that the loss takes squares in
                _checks.squarable(part.values, name)
        started = False
        if self.dt is None and recipe.warm_start:
            how = (integrators.rescaled(self.integrator, self.scale.time), self.scale, windows)
            own = asked(self.net).start_by(*how, recipe, generator, progress)
            if own is None:
                own = warm_start.if_better(
                    self.net, self._step(self.integrator), windows, watched, recipe
                )
            started = own
        self.dt = data.dt
        return windows, watched, generator, started

    def _set_noise(self, windows: Trajectories, recipe: Recipe) -> None:
        """Estimate the noise of each coordinate from what the trained model leaves."""
        if recipe.iso is None:
            return
        starts = Starts(self.net, self._step(self.integrator), windows.values, windows.dt, recipe)
        starts.settle()
        sizes = floored(starts.variances()).sqrt()
        if recipe.noise == "equal":
            sizes = sizes.square().mean().sqrt().expand_as(sizes)
        noise = (sizes.cpu() * self.scale.sizes).tolist()
        good = all(math.isfinite(sigma) for sigma in noise) and max(noise) > 0
        self.noise = tuple(noise) if good else None

    def _check_fit(
        self,
        data: Trajectories,
        validation_data: Trajectories | None,
        recipe: Recipe,
    ) -> None:
        """Refuse what cannot be trained on before anything is changed."""
        # A field may have a network inside it, which is not what is trained.
        weight = weight_of(self.net) if isinstance(self.net, nn.Module) else None
        check_data(data, self.dim, weight, recipe, "data")
        if not any(x.requires_grad for x in self.net.parameters()):
            raise ValueError(
                f"Every parameter of {type(self.net).__name__} is frozen: there is nothing to "
                "train. Thaw those that shall learn, all by model.net.requires_grad_()."
            )
        if validation_data is not None:
            check_data(validation_data, self.dim, weight, recipe, "validation_data")
            check_validation(validation_data, data, recipe)
        elif recipe.validation and len(data) < 2:
            raise ValueError(
                "Expected at least two trajectories, one to hold out for validation; got 1. Pass "
                "validation_data=, or validation=0 to train on all there is, or cut a long "
                "trajectory into windows first: data.windows(n, stride=n)."
            )
        net = asked(self.net)
        self.motion().check_spacing(data.dt)
        if recipe.iso is not None:
            net.check_iso()
        if self.walled or recipe.start_noise:
            what = "A model with walls" if self.walled else "start_noise=True"
            for name, part in (("data", data), ("validation_data", validation_data)):
                if part is not None and part.observed is not None:
                    raise ValueError(
                        f"{what} needs trajectories without gaps: choose those of `{name}`, or "
                        "windows of them, that have none, such as "
                        f"{name}.select({name}.observed.all(dim=-1).all(dim=0))."
                    )
        net.check_fit(data, recipe)
        if recipe.start_noise and (net.own_step or not net.smooth):
            raise ValueError(
                "start_noise=True is for smooth motion through an integrator; for "
                f"{type(self.net).__name__} pass start_noise=False."
            )
        if recipe.start_noise and validation_data is None and not recipe.validation:
            raise ValueError(
                "start_noise=True corrects the held-out loss: pass validation_data=, or a share of "
                "the trajectories to hold out, such as validation=0.1."
            )
        whole = interpolated(data.values)  # what is asked of the network is asked of numbers
        if self.integrator is not None:  # it may refuse the field
            field, first = as_field(self.net), whole[0]
            if foreign(field):
                check_motion(field, first)
            # Walls may be all that learns.  A clone: autograd refuses what inference mode made.
            if not self.walled and not field(first.detach().clone()).requires_grad:
                raise TypeError(
                    f"The motion that {type(self.net).__name__} gives does not depend on a "
                    "parameter that is to learn. Does it detach its result, or compute it outside "
                    "of PyTorch?"
                )
            self.integrator.init(field, first)
        if recipe.iso is not None and not net.scaled:  # a module of the user's own
            values = whole[:2, :1]
            motion = Motion(self.net, self.integrator)
            problem = Problem(motion, Observed(values, torch.ones_like(values)), dt=data.dt)
            check_differentiable(problem, values[0], "gauss-newton")

    def _seed(self, file: Path | None) -> int:
        """Draw the seed of a run, or take that of the run being gone on with.

        One draw from the caller's generator seeds a run, so that a resumed run leaves that
        generator where the uninterrupted one would have.  The same call made again in the same
        program, after an interrupt or when the run is done, goes back to where the run began.
        """
        if file is not None and self._last_run is not None:
            path, seed, started = self._last_run
            if path == file and file.exists():
                self._restore(started, generator=False)
                return seed
        return int(torch.randint(2**62, (), generator=self.generator))

    def _snapshot(self) -> dict[str, Any]:
        return {
            "weights": copy.deepcopy(self._trained().state_dict()),
            "fitted": self.fitted,
            "generator": self.generator.get_state(),
            "last run": self._last_run,
        }

    def _restore(self, snapshot: dict[str, Any], *, generator: bool = True) -> None:
        self._trained().load_state_dict(snapshot["weights"])
        self.fitted = snapshot["fitted"]
        if generator:
            self.generator.set_state(snapshot["generator"])
            self._last_run = snapshot["last run"]

    def _recipe(self) -> Recipe:
        return PRESETS[self.preset].replace(**asked(self.net).recipe_for(self.preset))

    def _solved_by_start(self) -> bool:
        """Whether all that is learnt is a quadratic H: a step has no weights beside it."""
        return asked(self.net).quadratic_only and len(list(self._trained().modules())) == 1

    def _trained(self) -> Motion:
        """Hold everything that a fit changes: the network, and a step that is learnt."""
        return Motion(self.net, self._step(self.integrator))

    # -- prediction -------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(
        self,
        observed: Trajectories,
        *,
        steps: int,
        iso: bool | None = None,
        dt: float | None = None,
        integrator: str | Integrator | None = None,
        substeps: int | None = None,
    ) -> Trajectories:
        """Roll out from the first observed state, or from the one that explains all observed best.

        Integrator, step and number of steps are free, whatever they were in training.

        Parameters
        ----------
        observed : Trajectories
            Observations from t = 0 on; without `iso` only the first state is used.
        steps : int
            Number of steps to predict, from t = 0.
        iso : bool, optional
            Optimise the initial state on all the observations given, by
            :func:`srnn.iso.optimise_initial_state`; ``observed.first(10)`` gives it ten points.  By
            default as the model was trained.
        dt : float, optional
            Time between predicted states; by default that of `observed`.
        integrator : str or Integrator, optional
            By default the model's `test_integrator`.
        substeps : int, optional
            Integrator steps between two predicted states; by default as many as between two
            observed ones in :meth:`fit`.

        Returns
        -------
        Trajectories
            ``steps + 1`` states from t = 0.  A trajectory that leaves the finite numbers has
            status 1 and is NaN or infinite from there on.

        Raises
        ------
        ValueError, TypeError
            If the observations do not fit the model.

        Examples
        --------
        >>> import srnn
        >>> spring = srnn.systems.MassSpring()
        >>> data = spring.simulate(20, steps=9, dt=0.1)
        >>> true_equations = srnn.SRNN(dim=1, hamiltonian=spring)
        >>> true_equations.predict(data.first(1), steps=100, dt=0.05)
        Trajectories(states=101, trajectories=20, dim=1, dt=0.05, dtype=float32)
        """
        if not isinstance(observed, Trajectories):
            raise TypeError(
                f"Expected `observed` to be srnn.Trajectories; got {type(observed).__name__}."
            )
        z0 = _checks.state(observed.values[0], "observed", self.dim)
        iso = self.iso if iso is None else iso
        if not iso and bool(torch.isnan(z0).any()):
            raise ValueError(
                "A prediction begins at the first observed state, which is not whole: pass "
                "iso=True, which needs no such state, or trajectories that begin with one."
            )
        weight = weight_of(self.net)
        if weight is not None:
            _checks.same_as(z0, "observed", weight, "model")
        spacing = observed.dt if dt is None else _checks.time_step(dt)
        substeps = self.substeps if substeps is None else _checks.steps(substeps, "substeps")
        net, motion = asked(self.net), self.motion(integrator, like=z0)
        motion.check_spacing(spacing)
        if iso:
            # The integrator's step is that of the prediction, or a little less, so as to fit in.
            parts = math.ceil(observed.dt * substeps / spacing * (1 - 1e-6))
            found = optimise_initial_state(
                self, observed, integrator=integrator, dt=observed.dt / parts
            )
            z0 = found.states
            _warn(found.status)
        net.check_start(z0, spacing / substeps, self.motion())
        states = net.ended(motion.rollout(z0, dt=spacing, steps=steps, substeps=substeps))
        return Trajectories.predicted(states, dt=spacing)

    @torch.no_grad()
    def rebounds(
        self, observed: Trajectories, *, steps: int, dt: float | None = None
    ) -> ReboundRecord:
        """Tell where and when the motion that :meth:`predict` gives rebounds.

        Parameters
        ----------
        observed : Trajectories
            Its first states are where the motion begins.
        steps : int
        dt : float, optional
            By default that of `observed`.

        Returns
        -------
        srnn.rebound.ReboundRecord
            The vectors n and the times of rebounds; with a fit's `substeps`, of all the substeps
            of a step, one after the other on the axis of the rebounds.

        Raises
        ------
        TypeError
            If the model has no walls.

        Examples
        --------
        >>> import srnn
        >>> ball = srnn.systems.Billiard()
        >>> walls = srnn.rebound.KnownWalls(ball.room)
        >>> model = srnn.SRNN(2, hamiltonian=ball, rebound=walls)
        >>> data = ball.simulate(20, steps=60, dt=0.1)
        >>> model.rebounds(data, steps=60).hit.shape
        torch.Size([60, 20, 1])
        """
        if not self.walled:
            raise TypeError("The model has no walls to rebound from: srnn.SRNN(..., rebound=...).")
        z0 = _checks.state(observed.values[0], "observed", self.dim)
        spacing = observed.dt if dt is None else _checks.time_step(dt)
        motion, substeps = self.motion(like=z0), self.substeps
        asked(self.net).check_start(z0, spacing / substeps, motion)
        assert motion.units is not None
        found = record(
            self.net,
            motion.step,
            motion.units.encode(z0),
            dt=spacing / motion.units.time,
            steps=steps,
            substeps=substeps,
        )
        return found._replace(time=found.time * motion.units.time)

    def diagnose(self, data: Trajectories, **settings: Any) -> Diagnosis:
        """Examine what the model has learnt on trajectories that it was not trained on.

        Parameters
        ----------
        data : Trajectories
            Observed trajectories, best such ones as :meth:`fit` has not seen.
        **settings
            Keyword arguments of :func:`srnn.diagnostics.diagnose`.

        Returns
        -------
        srnn.diagnostics.Diagnosis
            Residuals and their whiteness, the noise, the energy's drift, whether the learnt H
            belongs to its step, how well the initial states are determined, forecasts beside simple
            ones and beside a fitted :class:`srnn.QuadraticH`, and a verdict in plain words; `print`
            it.

        Examples
        --------
        >>> import torch, srnn
        >>> g = torch.Generator().manual_seed(0)
        >>> spring = srnn.systems.MassSpring()
        >>> data = spring.simulate(80, steps=11, dt=0.3, generator=g).with_noise(0.1, generator=g)
        >>> model = srnn.SRNN(1, hamiltonian=srnn.QuadraticH(1), generator=g)
        >>> history = model.fit(data.select(slice(40)), iso=True, progress=False)
        >>> print(model.diagnose(data.select(slice(40, 80))).verdict.splitlines()[0])
        The residuals are white, of the size of the noise: their tests see nothing left to learn.
        """

        def fit_quadratic(part: Trajectories) -> Model:
            # A seed of its own: looking at a model must not change what it draws next.
            generator = torch.Generator().manual_seed(0)
            like = part.values
            net = QuadraticH(self.dim, dtype=like.dtype, device=like.device)
            baseline = Model(net, self.integrator or "leapfrog", generator=generator)
            baseline.fit(part, iso=True, substeps=self.substeps, progress=False)
            return baseline

        if self.walled:
            raise ValueError(
                "The diagnosis is of smooth motion; of a model that rebounds see model.rebounds."
            )
        settings.setdefault("fit_baseline", fit_quadratic)
        return diagnose(self, data, **settings)

    # -- files ------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> "Model":
        """Convert dtype or device in place, as ``torch.nn.Module.to`` does; returns the model.

        A known H that is no module computes in the dtype of the states that it is given.

        Examples
        --------
        >>> import torch, srnn
        >>> srnn.SRNN(dim=1, hidden=4).to(torch.float64).scale.shift.dtype
        torch.float64
        """
        if isinstance(self.net, torch.nn.Module):
            self.net.to(*args, **kwargs)
        self.scale = self.scale.to(*args, **kwargs)
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, units and configuration to a safetensors file.

        Raises
        ------
        TypeError, ValueError
            If the network or an integrator cannot be told by a file, or what a fit leaves (units,
            dt, substeps, noise) was set to what is out of range.
        OSError
            If there is no room, or no permission, to write; a former file is untouched.

        Examples
        --------
        >>> import srnn, tempfile, pathlib
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "model.srnn"
        >>> srnn.SRNN(dim=3, hidden=8).save(path)
        >>> srnn.load(path)
        SRNN(HNet(dim=3), 'leapfrog', test_integrator='leapfrog')
        >>> folder.cleanup()
        """
        if not isinstance(self.net, nn.Module):
            raise TypeError(
                f"{type(self.net).__name__} is not a module and has no weights to save."
            )
        other = self.test_integrator
        if isinstance(other, nn.Module) and other is not self.integrator:
            raise TypeError(
                "Expected a test_integrator without weights, or the integrator itself, whose "
                f"weights are trained; got another {type(other).__name__}."
            )
        header = {
            "format": FORMAT,
            "model": type(self).__name__,
            "net": type(self.net).__name__,
            "config": getattr(self.net, "config", None),
            "integrator": checkpoint.integrator_to_config(self.integrator),
            "test_integrator": checkpoint.integrator_to_config(self.test_integrator),
            "preset": self.preset,
            **self.fitted.header(),
        }
        Fitted.from_header(header, self.scale.shift)  # what is written can be read
        trained = Motion(self.net, self.integrator).state_dict()
        tensors = {f"net.{name}": value for name, value in trained.items()}
        checkpoint.write(path, tensors | {"shift": self.scale.shift}, header)


def _warn(status: Tensor) -> None:
    """Say which initial states are not what was asked for."""
    bad = status[status != int(IsoStatus.CONVERGED)]
    if len(bad):
        kinds = sorted({IsoStatus(int(code)).name for code in bad})
        warnings.warn(
            f"The initial states of {len(bad)} of {len(status)} trajectories are not fully "
            f"optimised ({', '.join(kinds)}); srnn.iso.optimise_initial_state tells which.",
            stacklevel=4,  # from the decorated predict to who has called it
        )
