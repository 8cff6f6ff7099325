"""The paper's networks for a rebound: the wall's normal, the instant, and whether there is one."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Half, Picture
from srnn.nn.mlp import MLP, linear
from srnn.rebound._patches import Crops
from srnn.rebound._picture import PictureWalls

__all__ = ["PatchWalls"]

_SIDE, _SMALL_SIDE = 10, 2


class PatchWalls(PictureWalls):
    r"""Walls learnt from patches of a picture, by the networks of appendix A.3.

    :math:`n = \gamma\,\bar n`.  The direction :math:`\bar n` and the instant :math:`\alpha` are
    functions of two 10 x 10 patches, around :math:`q_t` and around the tentative
    :math:`\tilde q_{t+\Delta t}`: MLPs 200-128-32-2, normalised, and 200-128-32-1, which share
    their first hidden layer.  The magnitude :math:`\gamma` is a function of the 2 x 2 patch around
    :math:`\tilde q`: an MLP 4-16-16-1 and a sigmoid.

    Parameters
    ----------
    image : Tensor, shape (rows, columns)
        The picture of the walls, 1 where there is a wall; row 0 is at the top.
    sharp : bool
        Predict with :math:`\gamma` rounded to 0 or 1.  Training, in the module's training mode,
        always has the sigmoid, whose gradient it needs; a :math:`\gamma` of 0.9 in a prediction
        would take more than half of the energy of the normal motion at every rebound.
    restitution : float or "learnt"
        The ratio e of the normal speeds after and before; n has length
        :math:`\gamma\sqrt{(1 + e)/2}`.  "learnt" makes it a parameter, which starts at 0.9.
    instant : float or "learnt"
        :math:`\alpha`: a function of the patches, or the same number at every rebound, as the
        paper's baseline that does not learn it has.
    generator : torch.Generator, optional
    dtype : torch.dtype, optional
    device : optional

    Notes
    -----
    Where the paper is silent: the patches are bilinear samples of the picture, which gives them a
    gradient in q; 0.5 is taken off them, so that the networks see numbers around zero.  The paper's
    ReLU for :math:`\alpha` has no upper bound and no gradient below zero; here :math:`\alpha` is
    clamped to [0, 1] and its gradient is that of the number before the clamp.  Its bias starts so
    that :math:`\alpha = 1/2`.  The bias of :math:`\gamma` starts so that :math:`\gamma \approx
    0.73`: the derivative of the reflection in :math:`\gamma` is proportional to :math:`\gamma`, so
    that a module that starts switched off stays so.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> walls = PatchWalls(srnn.systems.Room.box().image, generator=g)
    >>> q = torch.tensor([[20.0, 14.0]])
    >>> n, alpha = walls(q, q - 3.0)
    >>> n.shape, alpha.shape, sum(w.numel() for w in walls.parameters())
    (torch.Size([1, 2]), torch.Size([1, 1]), 34452)
    """

    start_steps = 12000
    reach = _SIDE / 2
    """A longer step may end in a wall that was not on the patch where it began."""

    def __init__(
        self,
        image: Picture,
        *,
        sharp: bool = True,
        restitution: float | Literal["learnt"] = 1.0,
        instant: float | Literal["learnt"] = "learnt",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        kind: dict[str, Any] = {"dtype": _checks.weight_dtype(dtype), "device": device}
        kind["generator"] = _checks.as_generator(generator)
        self.sharp = bool(sharp)
        self.first = linear(2 * _SIDE**2, 128, **kind)
        self.direction = MLP(128, 2, 32, **kind)
        self.instant = MLP(128, 1, 32, **kind) if instant == "learnt" else None
        self.fixed = None if instant == "learnt" else _checks.unit_interval(instant, "instant")
        self.gate = MLP(_SMALL_SIDE**2, 1, (16, 16), **kind)
        with torch.no_grad():
            if self.instant is not None:
                self.instant.linears[-1].bias.fill_(0.5)
            self.gate.linears[-1].bias.fill_(1.0)
        self._show(image, restitution, like=self.first.weight)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that build this module again, but for the picture, which is a buffer."""
        instant = "learnt" if self.fixed is None else self.fixed
        e = self.restitution.config
        return {"sharp": self.sharp, "restitution": e, "instant": instant}

    def forward(self, q: Half, tentative: Half) -> tuple[Half, Tensor]:
        r"""Give n and :math:`\alpha` of the steps from `q` to `tentative`, in pixels."""
        direction, alpha, logit = self.parts(q, tentative)
        gate = torch.sigmoid(logit)
        if self.sharp and not self.training:
            gate = (gate > 0.5).to(gate)
        # Forward the clamped number, backward the gradient of the one before the clamp.
        alpha = alpha + (alpha.clamp(0, 1) - alpha).detach()
        return self.restitution.length() * gate * direction, alpha

    def parts(self, q: Half, tentative: Half) -> tuple[Half, Tensor, Tensor]:
        r"""Give what n and :math:`\alpha` are made of.

        Returns
        -------
        direction : Tensor, shape (..., 2)
            The unit vector :math:`\bar n`.
        instant : Tensor, shape (..., 1)
            :math:`\alpha` before the clamp.
        logit : Tensor, shape (..., 1)
            :math:`\gamma` before the sigmoid.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = PatchWalls(srnn.systems.Room.box().image)
        >>> q = torch.tensor([[20.0, 14.0]])
        >>> direction, instant, logit = walls.parts(q, q - 3.0)
        >>> round(direction.norm().item(), 3)
        1.0
        """
        q = self._position(q)
        large, small = self._once(_cropped)
        seen = torch.cat((large(q), large(tentative)), dim=-1) - 0.5
        shared = torch.tanh(self.first(seen))
        direction = self.direction(shared)
        size = direction.square().sum(dim=-1, keepdim=True)
        unit = direction * (size + 1e-12).rsqrt()
        if self.instant is None:
            instant = torch.full_like(size, self.fixed or 0.0)
        else:
            instant = self.instant(shared)
        return unit, instant, self.gate(small(tentative) - 0.5)

    @torch.no_grad()
    def sees(self, q: Half, tentative: Half) -> Tensor:
        """Whether a wall is on the large patch at the end of each step."""
        large, _ = self._once(_cropped)
        return large(tentative).amax(dim=-1) > 0

    def hit_loss(self, q: Half, tentative: Half, position: Half, n: Half, alpha: Tensor) -> Tensor:
        r"""Squared errors of :math:`\bar n` (up to its sign), :math:`\alpha`; entropy of a gate."""
        direction, instant, logit = self.parts(q, tentative)
        off = 2 - 2 * (direction * n).sum(dim=-1).abs()
        late = (instant - alpha).square()
        return off + (late + nn.functional.softplus(-logit) / 2)[..., 0]

    def free_loss(self, q: Half, tentative: Half) -> Tensor:
        r"""Entropy of :math:`\gamma`."""
        return nn.functional.softplus(self.parts(q, tentative)[2])[..., 0] / 2


def _cropped(image: Picture) -> tuple[Crops, Crops]:
    return Crops(image, _SIDE), Crops(image, _SMALL_SIDE)
