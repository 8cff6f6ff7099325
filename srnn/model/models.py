"""The models by name, and how one is read from a file."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn.errors import CheckpointError
from srnn.model.fitted import Fitted
from srnn.model.model import FORMAT, Model
from srnn.motion.fields import hamiltonian_of, weight_of
from srnn.motion.integrators import Integrator
from srnn.motion.motion import Motion
from srnn.nn import HNet
from srnn.nn.network import Network
from srnn.rebound import LevelSetWalls, PatchWalls, WalledH
from srnn.systems import Room, System
from srnn.training import checkpoint
from srnn.training.recipes import Recipe

__all__ = ["HNN", "SRNN", "load"]

# What building a model of numbers or names that are none of its own raises.
_MISFITS = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)


class SRNN(Model):
    """A symplectic recurrent neural network: an H-NET integrated by leapfrog (section 3.4).

    Parameters
    ----------
    dim : int
        Number of positions d (20 for the paper's chain, not 40).
    hidden : int or tuple of int
        Widths of the hidden layers of K and of V.
    hamiltonian : optional
        Another Hamiltonian in the place of the H-NET, such as :class:`srnn.QuadraticH` or a module
        of your own; `hidden` is then not used.  The library's networks are started and scaled by
        ``fit``; a module of your own keeps its start and is trained in the units of the data.
    rebound : Tensor, Room or walls, optional
        Walls that the motion rebounds from (section 6), for ``dim=2`` with positions in pixels.  A
        picture of them, or a :class:`srnn.systems.Room`, whose picture is taken: the walls are then
        :class:`srnn.rebound.LevelSetWalls`, or under ``preset="paper"`` the networks of
        :class:`srnn.rebound.PatchWalls`.  The former take the borders of black and white pixels for
        walls as long as the data agree, and learn where a picture is grey, or walls are elsewhere.
        Or walls of your own making, learnt ones or known ones.
    rebounds : int
        Most rebounds in one step; the paper's is 1.  More are met in corners and narrow gaps.
    integrator : str or Integrator
    test_integrator : str, Integrator or None
    preset : {None, "paper"}
        None: an H-NET with a quadratic term, trained by the default recipe.  "paper": the plain
        H-NET and the recipe of appendix A.1, or with `rebound` that of appendix A.3.
    generator : torch.Generator, optional
        Draws the weights, and later what training draws.
    dtype : torch.dtype or str, optional
        Of the weights; PyTorch's default dtype if left out.
    device : torch.device or str, optional
        Of the weights.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> pendulum = srnn.systems.Pendulum()
    >>> data = pendulum.simulate(trajectories=50, steps=9, dt=0.2, generator=g)
    >>> model = srnn.SRNN(dim=1, hidden=32, generator=g)
    >>> history = model.fit(data, epochs=5, progress=False)
    >>> model.predict(data, steps=40).steps
    40
    """

    def __init__(
        self,
        dim: int,
        hidden: int | tuple[int, ...] = 256,
        *,
        hamiltonian: Any = None,
        rebound: Any = None,
        rebounds: int = 1,
        integrator: str | Integrator = "leapfrog",
        test_integrator: str | Integrator | None = None,
        preset: str | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | str | None = None,
        device: Any = None,
    ) -> None:
        dim = _checks.positive_int(dim, "dim")
        generator = _checks.as_generator(generator)
        if hamiltonian is None:
            hamiltonian = HNet(
                dim,
                hidden,
                quadratic=preset is None,
                generator=generator,
                dtype=None if dtype is None else _checks.float_dtype(dtype),
                device=device,
            )
        elif hamiltonian_of(hamiltonian) is not hamiltonian:
            raise TypeError(
                "Expected a Hamiltonian, with `dim` and `separable`; got "
                f"{type(hamiltonian).__name__}. Another network goes into srnn.Model(net, ...)."
            )
        elif dtype is not None or device is not None:
            raise ValueError(
                "`dtype` and `device` are for the H-NET that SRNN makes; convert the Hamiltonian "
                "that is passed instead: hamiltonian.to(...)."
            )
        elif hamiltonian.dim != dim:
            raise ValueError(f"Expected a Hamiltonian with dim={dim}; got {hamiltonian.dim}.")
        if rebound is not None:
            walls = _walls(rebound, preset, generator, weight_of(hamiltonian))
            hamiltonian = WalledH(hamiltonian, walls, rebounds=rebounds)
        elif rebounds != 1:
            raise ValueError("`rebounds` counts those from walls; there are none: pass rebound=.")
        super().__init__(
            hamiltonian,
            integrator,
            test_integrator=test_integrator,
            preset=preset,
            generator=generator,
        )


def _walls(
    rebound: Any, preset: str | None, generator: torch.Generator, weight: Tensor | None
) -> Any:
    """Make learnt walls of a picture; walls are returned as they are."""
    picture = rebound.image if isinstance(rebound, Room) else rebound
    if not isinstance(picture, Tensor):
        if callable(picture) and not isinstance(picture, (type, System)):
            return picture
        raise TypeError(
            "Expected `rebound` to be a picture (a torch.Tensor), a srnn.systems.Room, or walls "
            f"called as walls(q, tentative); got {type(rebound).__name__}."
        )
    kind: dict[str, Any] = (
        {} if weight is None else {"dtype": weight.dtype, "device": weight.device}
    )
    if preset == "paper":
        return PatchWalls(picture, sharp=False, generator=generator, **kind)
    return LevelSetWalls(picture, generator=generator, **kind)


class HNN(SRNN):
    """A Hamiltonian neural network: an H-NET trained on true time derivatives.

    Greydanus et al. (2019).  The data must carry derivatives; see
    :class:`srnn.Trajectories`.  Takes what :class:`SRNN` takes; `integrator` is that of
    :meth:`predict`.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> data = srnn.systems.Pendulum().simulate(
    ...     trajectories=50, steps=9, dt=0.2, generator=g, derivatives=True
    ... )
    >>> model = srnn.HNN(dim=1, hidden=32, generator=g)
    >>> history = model.fit(data, epochs=5, progress=False)
    >>> history.train_loss[-1] < history.train_loss[0]
    True
    """

    def _recipe(self) -> Recipe:
        return super()._recipe().replace(derivatives=True)


def load(path: str | os.PathLike[str], *, net: Any = None) -> Model:
    """Read a model that :meth:`Model.save` wrote.

    Parameters
    ----------
    path : path-like
    net : module, optional
        A network to fill, for one that is not of the library's own classes.

    Raises
    ------
    CheckpointError
        If the file is damaged, is not a model, or does not fit `net`, which is then left alone.

    Returns
    -------
    Model
        Its generator draws fresh entropy; set ``model.generator`` for another.

    Examples
    --------
    >>> import srnn, tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     srnn.HNN(dim=2, hidden=8).save(pathlib.Path(folder) / "model.srnn")
    ...     srnn.load(pathlib.Path(folder) / "model.srnn")
    HNN(HNet(dim=2), 'leapfrog', test_integrator='leapfrog')
    """
    tensors, header = checkpoint.read(path, FORMAT)
    given: Any = net
    if net is not None and not isinstance(net, nn.Module):
        raise TypeError(f"Expected `net` to be a torch.nn.Module; got {type(net).__name__}.")
    if net is None and str(header.get("net")) not in Network.known:
        raise CheckpointError(
            f"{path} holds weights of {header.get('net')}, which is not one of the library's "
            "networks: pass one to fill as load(path, net=...)."
        )
    try:
        shift = _checks.all_finite(_checks.known_float(tensors.pop("shift"), "shift"), "shift")
        model = Model.__new__({"SRNN": SRNN, "HNN": HNN}.get(header["model"], Model))
        step, test_step = map(
            checkpoint.integrator_from_config, (header["integrator"], header["test_integrator"])
        )
        if header["integrator"] == header["test_integrator"]:
            test_step = step  # one step with one set of weights
        config = header["config"]
        # A network without numbers first: a damaged file may ask for more than memory holds.
        filled: Any = Network.known[header["net"]].sketch(**config) if net is None else given
        if net is None and not _within(config, filled.config):
            raise ValueError(f"the network is {filled.config}, not {config}")
        checkpoint.moderate(getattr(filled, "rebounds", 1), "rebounds")
        _check_weights(Motion(filled, step), tensors, path)
        if shift.shape != (2 * filled.dim,):
            raise ValueError(
                f"Expected `shift` of shape {(2 * filled.dim,)}; got {tuple(shift.shape)}."
            )
        fitted = Fitted.from_header(header, shift)
        filled = Network.known[header["net"]].from_config(**config) if net is None else given
        Model.__init__(
            model,
            filled,
            step,
            test_integrator=test_step,
            preset=header["preset"],
        )
        trained = Motion(filled, model.integrator)
        for _, module in trained.modules():
            module.to(dtype=shift.dtype)
        trained.load_state_dict(_without_net(tensors))
        model.fitted = fitted
    except _MISFITS as error:
        raise CheckpointError(f"{path} has a damaged header ({error!r}).") from error
    return model


def _within(config: Any, built: Any) -> bool:
    """Whether a file's configuration is the one built of it; older files may say less."""
    if isinstance(config, dict) and isinstance(built, dict):
        return all(name in built and _within(config[name], built[name]) for name in config)
    if isinstance(config, list) and isinstance(built, list):
        return len(config) == len(built) and all(map(_within, config, built))
    return bool(config == built)


def _without_net(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("net."): value for name, value in tensors.items()}


def _check_weights(motion: Motion, tensors: Mapping[str, Tensor], path: Any) -> None:
    """Refuse weights that are not those of a network and its step, before any is loaded."""
    expected = {name: tuple(value.shape) for name, value in motion.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in _without_net(tensors).items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path} does not fit {type(motion.net).__name__}: expected `{name}` of shape "
                f"{expected.get(name, 'nothing')}; got {found.get(name, 'nothing')}."
            )
