"""What a user holds: a network, an integrator and units, with fit, predict, save and load."""

import os
from typing import Any

import torch
from torch import Tensor, nn

import srnn.nn as networks
from srnn import _checks, checkpoint, integrators, warm_start
from srnn.data import Trajectories
from srnn.fields import Field, as_field
from srnn.integrators import Integrator
from srnn.recipes import PRESETS, Recipe
from srnn.rollout import rollout
from srnn.run import History
from srnn.scaling import Scale, ScaledField, ScaledHamiltonian
from srnn.training import check_data, train

__all__ = ["FORMAT", "Model"]

FORMAT = "srnn.Model/1"


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
    scale : srnn.scaling.Scale
        The units :meth:`fit` chose; the network works in them.

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
        self.net = net
        self.recurrent = isinstance(net, (networks.RNN, networks.LSTM))
        if self.recurrent:
            if integrator is not None or test_integrator is not None:
                raise ValueError(
                    f"{type(net).__name__} is its own step: pass integrator=None, "
                    f"not {integrator!r}."
                )
        elif integrator is None:
            raise ValueError(f"{type(net).__name__} needs an integrator, such as 'leapfrog'.")
        self.integrator = None if integrator is None else integrators.get(integrator)
        self.test_integrator = (
            self.integrator if test_integrator is None else integrators.get(test_integrator)
        )
        self.preset = preset
        self.generator = _checks.as_generator(generator)
        self.dim = int(net.dim)
        weight = self._weight()
        like = torch.empty(0) if weight is None else weight
        self.scale = Scale.identity(self.dim, like)
        self.dt: float | None = None

    def _weight(self) -> Tensor | None:
        if isinstance(self.net, nn.Module):
            return next(self.net.parameters(), None)
        return None

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
        """
        if not hasattr(self.net, "separable"):
            raise TypeError(f"{type(self.net).__name__} is not a Hamiltonian.")
        return ScaledHamiltonian(self.net, self.scale)

    @property
    def field(self) -> Field:
        """The learnt dz/dt in the data's units."""
        if self.recurrent:
            raise TypeError(f"{type(self.net).__name__} has no vector field.")
        if hasattr(self.net, "separable"):
            return as_field(self.hamiltonian)
        return as_field(ScaledField(self.net, self.scale))

    # -- training ---------------------------------------------------------------------------------

    def fit(
        self,
        data: Trajectories,
        *,
        epochs: int | None = None,
        iso: bool | None = None,
        validation_data: Trajectories | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> History:
        """Learn from trajectories.

        A second call goes on from the first one's weights, in the first one's units.

        Parameters
        ----------
        data : Trajectories
            Observed trajectories of at least two states.
        epochs : int, optional
            Most epochs to train; by default the recipe's.
        iso : bool, optional
            Initial-state optimisation in training.  Not available yet: leave it out or pass False.
        validation_data : Trajectories, optional
            Held-out trajectories; by default a share of `data` (10 %) is held out.
        checkpoint : path-like, optional
            File that keeps the run: if the program is killed, the same call goes on where it
            stopped and ends with the same weights, bit for bit.
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
            If the data do not fit the model, or a setting is unknown.
        TrainingDiverged
            If the loss stops being finite; the last good weights are kept.
        CheckpointError
            If `checkpoint` is damaged or belongs to another run.
        """
        if iso:
            raise NotImplementedError(
                "Initial-state optimisation (iso=True) is not part of this version yet; "
                "pass iso=False."
            )
        if epochs is not None:
            settings["epochs"] = epochs
        recipe = self._recipe().replace(**settings)
        check_data(data, self.dim, self._weight(), recipe, "data")
        # One draw from the caller's generator seeds the run.  A resumed run thus leaves that
        # generator where the uninterrupted one would have.
        seed = int(torch.randint(2**62, (), generator=self.generator))
        generator = torch.Generator().manual_seed(seed)
        if validation_data is not None:
            check_data(validation_data, self.dim, self._weight(), recipe, "validation_data")
            training, held_out = data, validation_data
        elif recipe.validation:
            if len(data) < 2:
                raise ValueError(
                    "Expected at least two trajectories, one to hold out for validation; got 1. "
                    "Pass validation=0 to train on all there is."
                )
            training, held_out = data.split(recipe.validation, generator)
        else:
            training, held_out = data, None
        if self.dt is None:
            if recipe.scale:
                self.scale = Scale.of(training)
            start = self._encode(training)
            if recipe.warm_start and isinstance(self.net, nn.Module):
                warm_start.least_squares(self.net, start.values, start.dt)
        elif self.recurrent and abs(data.dt / self.dt - 1) > 1e-9:
            raise ValueError(self._wrong_spacing(data.dt))
        window = data.steps + 1 if recipe.window is None else recipe.window
        self.dt = data.dt
        return train(
            self.net,
            self.integrator,
            self._encode(training).windows(window),
            None if held_out is None else self._encode(held_out).windows(window),
            recipe,
            generator,
            path=checkpoint,
            progress=progress,
        )

    def _recipe(self) -> Recipe:
        recipe = PRESETS[self.preset]
        if self.preset == "paper" and isinstance(self.net, networks.RNN):
            return recipe.replace(clip_norm=0.25)
        return recipe

    def _encode(self, data: Trajectories) -> Trajectories:
        """Put the data into the network's units."""
        s = self.scale
        derivatives = data.derivatives
        return Trajectories.from_states(
            s.encode(data.values),
            dt=data.dt / s.time,
            derivatives=None if derivatives is None else derivatives * (s.time / s.factor),
        )

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
        substeps: int = 1,
    ) -> Trajectories:
        """Roll out from the first observed state.

        Integrator, step and number of steps are free, whatever they were in training.

        Parameters
        ----------
        observed : Trajectories
            Observations from t = 0 on; without `iso` only the first state is used.
        steps : int
            Number of steps to predict.
        iso : bool, optional
            Optimise the initial state on all the observations.  Not available yet: leave it out or
            pass False.
        dt : float, optional
            Time between predicted states; by default that of `observed`.
        integrator : str or Integrator, optional
            By default the model's `test_integrator`.
        substeps : int
            Integrator steps between two predicted states.

        Returns
        -------
        Trajectories
            ``steps + 1`` states from t = 0.  A trajectory that leaves the finite numbers has
            status 1 and is NaN or infinite from there on.

        Raises
        ------
        ValueError, TypeError
            If the observations do not fit the model.
        """
        if iso:
            raise NotImplementedError(
                "Initial-state optimisation (iso=True) is not part of this version yet; "
                "pass iso=False."
            )
        if not isinstance(observed, Trajectories):
            raise TypeError(
                f"Expected `observed` to be srnn.Trajectories; got {type(observed).__name__}."
            )
        z0 = _checks.state(observed.values[0], "observed", self.dim)
        weight = self._weight()
        if weight is not None:
            _checks.same_as(z0, "observed", weight, "model")
        spacing = observed.dt if dt is None else _checks.positive(dt, "dt")
        method: Any = self.test_integrator if integrator is None else integrator
        if self.recurrent and self.dt is not None and abs(spacing / self.dt - 1) > 1e-9:
            raise ValueError(self._wrong_spacing(spacing))
        scale = self.scale.to(z0)
        states = rollout(
            self.net,
            method,
            scale.encode(z0),
            dt=spacing / scale.time,
            steps=steps,
            substeps=substeps,
        )
        return Trajectories.predicted(scale.decode(states), dt=spacing)

    def _wrong_spacing(self, dt: float) -> str:
        return (
            f"{type(self.net).__name__} has learnt steps of dt={self.dt:g} and knows no others; "
            f"got dt={dt:g}."
        )

    # -- files ------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> "Model":
        """Convert dtype or device in place, as ``torch.nn.Module.to`` does; returns the model."""
        self.net.to(*args, **kwargs)
        self.scale = self.scale.to(*args, **kwargs)
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, units and configuration to a safetensors file.

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
        header = {
            "format": FORMAT,
            "model": type(self).__name__,
            "net": type(self.net).__name__,
            "config": getattr(self.net, "config", None),
            "integrator": checkpoint.integrator_to_config(self.integrator),
            "test_integrator": checkpoint.integrator_to_config(self.test_integrator),
            "preset": self.preset,
            "dt": self.dt,
            "scale": {"q": self.scale.q, "p": self.scale.p, "time": self.scale.time},
        }
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        checkpoint.write(path, tensors | {"shift": self.scale.shift}, header)
