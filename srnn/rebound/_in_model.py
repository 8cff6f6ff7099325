"""What walls ask of a model: how training starts, and what is refused."""

import warnings
from typing import Any

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import StateSeries
from srnn.data.trajectories import Trajectories
from srnn.data.units import Units
from srnn.motion.fields import learns, network_in
from srnn.motion.integrators import Integrator
from srnn.rebound._known import KnownWalls
from srnn.rebound._picture import PictureWalls
from srnn.rebound._start import fit_free_motion, start_from_rebounds
from srnn.training.recipes import Recipe

__all__ = ["check_reach", "check_starts", "start", "stopped_outside"]


def start(
    net: Any,
    method: Integrator,
    units: Units,
    windows: Trajectories,
    recipe: Recipe,
    generator: torch.Generator,
    progress: bool,
) -> None:
    """Start the Hamiltonian by the steps that do not rebound, and the walls by those that do.

    The walls only where the motion between them is then known, or has been from the first, as of a
    Hamiltonian that is frozen.  What is frozen keeps its start.
    """
    if not learns(net.walls):
        fit_free_motion(net, method, windows)
        return
    found = 0
    inner = network_in(net.inner)
    known = inner is None or not any(x.requires_grad for x in inner.parameters())
    if fit_free_motion(net, method, windows) or known:
        found = start_from_rebounds(
            net,
            method,
            windows,
            unit=units.q,
            origin=units.shift[: net.dim],
            iterations=recipe.wall_steps,
            generator=generator,
            progress=progress,
        )
    if not found and isinstance(net.walls, PictureWalls):
        warnings.warn(
            "The walls keep the start that they were drawn with: the data show too few rebounds, "
            "or the Hamiltonian has no quadratic term to start from, HNet(..., quadratic=True), or "
            "is frozen in part. "
            "Through rollouts alone walls are slow to learn; preset='paper' has a recipe for it.",
            stacklevel=5,  # to who has called the decorated fit
        )


def check_reach(walls: Any, steps: Tensor, dt: float) -> None:
    """Refuse steps, of these lengths in pixels, that are longer than the walls can see."""
    reach = getattr(walls, "reach", None)
    if reach is None:
        return
    longest = float(steps.max())
    # Noise may push a few over the limit.
    if float((steps > reach).float().mean()) > 1e-3:
        raise ValueError(
            f"Expected steps of at most {reach:g} pixels, half the patch that the walls are seen "
            f"on; the longest is {longest:.2f} in dt={dt:g}. Take a dt of at most "
            f"{dt * reach / longest:.2g} or more substeps, balls of at most {reach / dt:.3g} "
            "pixels a unit of time, or use srnn.rebound.LevelSetWalls, which have no such limit."
        )


def check_starts(walls: Any, z: Tensor, *, depth: float = 1e-3) -> None:
    """Refuse states ``(..., batch, 2*dim)`` inside of a wall or outside of the picture."""
    if not isinstance(walls, (PictureWalls, KnownWalls)):
        return
    q = _checks.halves(z)[0]
    q = q.reshape(-1, *q.shape[-2:])  # (time, batch, dim)
    for wrong, where in (
        (walls.on_wall(q, depth), "inside a wall"),
        (~walls.inside(q), "off the picture"),
    ):
        if bool(wrong.any()):
            trajectories = wrong.any(dim=0).nonzero()[:, 0]
            first = int(trajectories[0])
            x, y = q[wrong[:, first], first][0].tolist()
            raise ValueError(
                f"Expected positions in the free space of the picture; {len(trajectories)} "
                f"trajectories are {where}, the first of them number {first} at "
                f"({x:.4g}, {y:.4g}). Positions are in pixels, y up, from the lower left corner; "
                "leave such trajectories out by data.select(...)."
            )


def stopped_outside(walls: Any, states: StateSeries) -> StateSeries:
    """Make a trajectory NaN from where it has left the picture, as through a gap in a wall."""
    if not isinstance(walls, (PictureWalls, KnownWalls)):
        return states
    left = ~walls.inside(_checks.halves(states)[0])
    gone = left.int().cummax(dim=0).values.bool()
    return torch.where(gone[..., None], torch.nan, states)
