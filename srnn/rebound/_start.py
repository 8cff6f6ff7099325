"""Start walls from the rebounds that the data show, before they are trained through the step."""

from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from srnn import _checks
from srnn.data.trajectories import Trajectories
from srnn.motion.fields import HamiltonianField, differentiates
from srnn.motion.integrators import Integrator
from srnn.rebound._observed import observed_rebounds
from srnn.rebound._picture import PictureWalls
from srnn.rebound._step import advanced
from srnn.training.guess.warm_start import least_squares

__all__ = ["fit_free_motion", "start_from_rebounds"]

_FEWEST = 8
_BATCH = 256
_RATE = 3e-3
_LOOK = 50
_TRIMS, _FAR = 8, 5.0


@differentiates
def start_from_rebounds(
    net: Any,
    method: Integrator,
    windows: Trajectories,
    *,
    unit: float,
    origin: Tensor,
    iterations: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> int:
    r"""Start the walls of a module at the rebounds that single steps of the data show.

    The gradient of a rollout's loss in :math:`\gamma` is proportional to :math:`\gamma`, and a wall
    that is met late moves the whole rest of a trajectory, so that training through rollouts alone
    is slow to find where walls are.  But once the motion between the walls is known, a rebound can
    be read off a single step (:func:`observed_rebounds`), and the networks can be fitted to what is
    read: a regression, in which nothing vanishes.

    Parameters
    ----------
    net : WalledH
        Its Hamiltonian is used as it is; its walls are changed in place.
    method : Integrator
        Without walls.
    windows : Trajectories
        In the units of the network.
    unit : float
    origin : Tensor, shape (dim,)
        A position in pixels is ``unit * q + origin``.
    iterations : int, optional
        Steps of the regression; by default as many as the walls ask for.
    generator : torch.Generator, optional
    progress : bool
        Show a bar.

    Returns
    -------
    int
        The number of rebounds that the start was made from.  0 if there are too few, or the walls
        are not learnt from a picture; they are then left as they were.

    Examples
    --------
    >>> import torch, srnn
    >>> data = srnn.systems.Billiard().simulate(
    ...     200, steps=9, dt=0.1, generator=torch.Generator().manual_seed(0)
    ... )
    >>> walls = srnn.rebound.PatchWalls(srnn.systems.Room.box().image)
    >>> net = srnn.rebound.WalledH(srnn.QuadraticH(2), walls)
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> _ = fit_free_motion(net, leapfrog, data)
    >>> found = start_from_rebounds(
    ...     net, leapfrog, data, unit=1.0, origin=torch.zeros(2), iterations=10
    ... )
    >>> found > 50
    True
    """
    walls = net.walls
    if not isinstance(walls, PictureWalls):
        return 0
    before, after = windows.values[:-1].flatten(0, 1), windows.values[1:].flatten(0, 1)
    seen = observed_rebounds(HamiltonianField(net.inner), method, before, after, windows.dt)
    hits = seen.clear.nonzero()[:, 0]
    if len(hits) < _FEWEST:
        return 0
    q = _checks.halves(before)[0] * unit + origin
    tentative = _checks.halves(seen.tentative)[0] * unit + origin
    free = (~seen.hit & walls.sees(q, tentative)).nonzero()[:, 0]
    free = free if len(free) else (~seen.hit).nonzero()[:, 0]
    walls.restitution.set(float(seen.restitution[hits].median()))
    iterations = walls.start_steps if iterations is None else iterations
    generator = _checks.as_generator(generator)
    position = seen.position * unit + origin
    walls.settle(position[hits])
    of_hits = tuple(x[hits] for x in (q, tentative, position, seen.n, seen.alpha))
    of_free = (q[free], tentative[free])
    parameters = list(walls.parameters())
    optimizer = torch.optim.Adam(parameters, lr=_RATE)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, _RATE / 300)
    with tqdm(total=iterations, disable=not progress, unit="step", desc="walls") as bar:
        learns = False
        for step in range(iterations):
            if step % _LOOK == 0:
                # What is told badly is drawn more often: rebounds in corners are few.
                with torch.no_grad():
                    odds = [_odds(walls.hit_loss(*of_hits)), _odds(walls.free_loss(*of_free))]
            i, j = (_drawn(each, generator) for each in odds)
            told = walls.hit_loss(*(x[i] for x in of_hits))
            loss = told.mean() + walls.free_loss(*(x[j] for x in of_free)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            learns = bool(nn.utils.clip_grad_norm_(parameters, 1.0) > 0) or learns
            optimizer.step()
            scheduler.step()
            if step % _LOOK == _LOOK - 1:
                if not learns:  # nothing that was seen depends on a parameter
                    break
                bar.update(_LOOK)
                bar.set_postfix(loss=f"{float(loss.detach()):.2g}")
    return len(hits)


def _odds(loss: Tensor) -> Tensor:
    """Half the draws even, half in proportion to the root of the loss."""
    root = loss.clamp(min=0).sqrt()
    return 0.5 / len(root) + 0.5 * root / root.sum().clamp(min=1e-30)


def _drawn(odds: Tensor, generator: torch.Generator) -> Tensor:
    places = torch.rand(_BATCH, generator=generator, dtype=torch.float64).to(odds.device)
    ends = odds.double().cumsum(dim=0)
    return torch.searchsorted(ends / ends[-1], places).clamp(max=len(odds) - 1)


def fit_free_motion(net: Any, method: Integrator, windows: Trajectories) -> bool:
    """Start the quadratic terms of a Hamiltonian by the steps that do not rebound.

    Least squares on single steps, made again without the steps that it leaves far off: rebounds are
    few, and a rebound is far off.

    Parameters
    ----------
    net : WalledH
        Its Hamiltonian is changed in place, if it has quadratic terms.
    method : Integrator
        Without walls.
    windows : Trajectories
        In the units of the network.

    Returns
    -------
    bool
        Whether there was a quadratic term to start.

    Examples
    --------
    >>> import torch, srnn
    >>> data = srnn.systems.Billiard().simulate(
    ...     200, steps=9, dt=0.1, generator=torch.Generator().manual_seed(0)
    ... )
    >>> walls = srnn.rebound.PatchWalls(srnn.systems.Room.box().image)
    >>> net = srnn.rebound.WalledH(srnn.QuadraticH(2), walls)
    >>> leapfrog = srnn.integrators.get("leapfrog")
    >>> fit_free_motion(net, leapfrog, data)
    True
    >>> round(net.inner.potential.vector[1].item(), 3)  # g
    9.0
    """
    before, after = windows.values[:-1].flatten(0, 1), windows.values[1:].flatten(0, 1)
    kept = torch.ones(len(before), dtype=torch.bool, device=before.device)
    field = HamiltonianField(net.inner)
    with torch.no_grad():
        for _ in range(_TRIMS):
            pairs = torch.stack((before[kept], after[kept]))
            if not least_squares(net.inner, pairs, windows.dt):
                return False
            off = (advanced(method, field, before, windows.dt) - after).norm(dim=-1)
            kept = off <= _FAR * off.median()
    return True
