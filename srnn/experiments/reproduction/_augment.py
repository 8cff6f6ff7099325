"""More orbits from those that there are: what the laws of gravity do not change."""

import itertools
import math

import torch

from srnn.data import Trajectories

__all__ = ["augmented"]


def augmented(
    orbits: Trajectories, copies: int, generator: torch.Generator | None = None
) -> Trajectories:
    """Add copies of planar three-body orbits, turned, mirrored, renumbered or run backwards.

    Three equal bodies have no preferred direction, hand or number, and their motion can be run
    backwards; a network has to be told.

    Parameters
    ----------
    orbits : Trajectories
        Of three equal bodies in the plane.
    copies : int
        Of every orbit, beside the orbit itself.
    generator : torch.Generator, optional
        Draws the angle of each copy, and whether it is mirrored, renumbered or reversed.

    Returns
    -------
    Trajectories

    Examples
    --------
    >>> import torch, srnn
    >>> orbits = srnn.systems.ThreeBody().simulate(5, steps=9, dt=1.0)
    >>> len(augmented(orbits, 3, torch.Generator().manual_seed(0)))
    20
    """
    if not copies:
        return orbits
    parts = [orbits.values]
    count = len(orbits)
    numbers = torch.tensor(list(itertools.permutations(range(3))))
    for _ in range(copies):
        draws = torch.rand(4, count, generator=generator, dtype=torch.float64)
        # (time, orbit, q or p, body, x or y)
        z = orbits.values.double().unflatten(-1, (2, 3, 2))
        backwards = (draws[0] < 0.5)[:, None, None, None]
        reversed_ = z.flip(0) * torch.tensor([1.0, -1.0], dtype=z.dtype)[:, None, None]
        z = torch.where(backwards, reversed_, z)
        chosen = numbers[(draws[1] * len(numbers)).long()]
        z = z.gather(3, chosen[None, :, None, :, None].expand_as(z))
        mirror = torch.where(draws[2] < 0.5, -1.0, 1.0)
        z = z * torch.stack((mirror, torch.ones_like(mirror)), dim=-1)[:, None, None, :]
        angle = draws[3] * 2 * math.pi
        c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
        x, y = z[..., 0], z[..., 1]
        z = torch.stack((c * x - s * y, s * x + c * y), dim=-1)
        parts.append(z.flatten(-3).to(orbits.values))
    return Trajectories.from_states(torch.cat(parts, dim=1), dt=orbits.dt)
