"""Walls as the zero set of one learnt function of the picture."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Half, Picture
from srnn.nn.mlp import linear
from srnn.rebound._patches import Smooth
from srnn.rebound._picture import PictureWalls

__all__ = ["LevelSetWalls"]

_SCALES = (0.0, 1.0, 2.0)
_FIRST = 1  # the scale that w starts with
_OFF = 0.25  # pixels from the border of a pixel at which a rebound is not on it
_SPACING = 0.5  # pixels between the places of a step that are looked at
_BISECTIONS = 14
_SHARPNESS = 10.0  # of the sign of w in the start, a pixel


class LevelSetWalls(PictureWalls):
    r"""Walls as the zero set of a function w of the picture, positive inside of the wall.

    .. math:: w(q) = a \cdot f(q) + N(f(q)), \qquad f_k(q) = (G_{\sigma_k} * I)(q) - 1/2,

    with the picture I smoothed by Gaussians of :math:`\sigma = 0, 1, 2` pixels and sampled by cubic
    splines, weights a, and an MLP N without biases.  A step from :math:`q_t` to :math:`\tilde q`
    rebounds at the first zero of w on the segment between them.  Its place is :math:`\alpha`, by
    bisection, and the gradient of w there is the normal :math:`\bar n`.  Both are differentiable:
    :math:`\partial\alpha/\partial\theta = -(\partial w/\partial\theta)/(\nabla w \cdot (\tilde q -
    q_t))` by the implicit function theorem.

    What the paper learns as three functions is here one, so that the three agree.  w knows no
    direction, and N is odd: corners that point into the room are taken as those that point out of
    it.  It starts with N = 0 and the second of the three pictures, which is right at straight walls
    of any direction before anything is learnt.

    Parameters
    ----------
    image : Tensor, shape (rows, columns)
        The picture of the walls, 1 where there is a wall; row 0 is at the top.
    hidden : int
        Width of the two hidden layers of N.
    crisp : bool
        Take the wall to be the border where a pixel of value 0 meets one of value 1.  In a room
        whose walls all run along pixels, such as the paper's, w is then known without learning, to
        the corners, and training changes nothing of it; what is learnt is at work in pixels of
        grey, such as those of slanted walls.  ``fit`` sets it to False where the observed rebounds
        are not on such borders, as those of a ball with a radius are not.
    restitution : float or "learnt"
        As :class:`PatchWalls`.
    generator : torch.Generator, optional
    dtype : torch.dtype, optional
    device : optional

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> walls = LevelSetWalls(srnn.systems.Room.box().image, generator=g)
    >>> q = torch.tensor([[60.0, 14.0]])
    >>> n, alpha = walls(q, q - torch.tensor([0.0, 4.0]))  # into the floor, which is at y = 12
    >>> n.abs().round().tolist(), round(alpha.item(), 2)
    ([[0.0, 1.0]], 0.5)
    """

    straight = True

    def __init__(
        self,
        image: Picture,
        *,
        hidden: int = 32,
        crisp: bool = True,
        restitution: float | Literal["learnt"] = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        generator, dtype = _checks.as_generator(generator), _checks.weight_dtype(dtype)
        self.hidden = _checks.positive_int(hidden, "hidden")
        self.crisp = bool(crisp)
        count = len(_SCALES)
        self.layers = nn.ModuleList()
        for inputs, outputs, size in (
            (count, hidden, 3.0),
            (hidden, hidden, 1.0),
            (hidden, 1, 0.0),
        ):
            layer = linear(inputs, outputs, generator, dtype=dtype, device=device)
            layer.register_parameter("bias", None)
            with torch.no_grad():
                layer.weight.mul_(size)
            self.layers.append(layer)
        like = layer.weight
        # w starts as a picture smoothed just enough not to show the pixel grid.  Across a straight
        # wall that is a cumulative normal distribution; its slope at the wall is made one a pixel.
        start = torch.zeros(count)
        start[_FIRST] = (2 * torch.pi * (_SCALES[_FIRST] ** 2 + 1 / 3)) ** 0.5
        self.weights = nn.Parameter(start.to(like))
        self._show(image, restitution, like)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that build this module again, but for the picture, which is a buffer."""
        e = self.restitution.config
        return {"hidden": self.hidden, "crisp": self.crisp, "restitution": e}

    @torch.no_grad()
    def settle(self, position: Half) -> None:
        """Give up crisp pixels if balls rebound elsewhere, as one with a radius does."""
        if self.crisp and bool(self.level(position).abs().median() > _OFF):
            self.crisp = False

    def level(self, q: Half) -> Tensor:
        """Return w at `q` ``(..., 2)`` in pixels, shape ``(...)``: positive inside of a wall.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = LevelSetWalls(srnn.systems.Room.box().image)
        >>> (walls.level(torch.tensor([[60.0, 14.0], [60.0, 10.0]])) > 0).tolist()
        [False, True]
        """
        level = self._smooth_level(q)
        return self._sharpened(q, level) if self.crisp else level

    def _smooth_level(self, q: Half) -> Tensor:
        x = self._once(_smoothed)(q) - 0.5
        y = x @ self.weights
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        value: Tensor = y + self.layers[-1](x)[..., 0]
        return value

    def _sharpened(self, q: Half, level: Tensor) -> Tensor:
        """Put w right in pixels that are free, or wall, all over.

        A smoothed picture rounds its corners off.  Where a pixel of value 0 borders on one of
        value 1 their border is the wall, so that in both of them w is the distance from it, and
        corners between such pixels stay sharp.  In other pixels of value 0 or 1 its sign is known.
        """
        borders = self._once(_borders)
        row, column = self._place(q.detach())
        value = self.image[row, column]
        x, y = (q - q.detach().floor()).unbind(dim=-1)
        away = torch.stack((x, 1 - x, y, 1 - y), dim=-1)
        nearest = torch.where(borders[row, column], away, torch.inf).amin(dim=-1)
        distance = torch.where(nearest.isinf(), level.abs(), nearest)
        level = torch.where(value >= 1, distance, level)
        return torch.where(value <= 0, -distance, level)

    def slope(self, q: Half) -> tuple[Tensor, Half]:
        """Return w and its gradient in q at `q` ``(..., 2)``, both differentiable.

        Examples
        --------
        >>> import torch, srnn
        >>> walls = LevelSetWalls(srnn.systems.Room.box().image)
        >>> _, gradient = walls.slope(torch.tensor([60.0, 12.0]))  # down into the floor
        >>> bool(gradient[1] < 0), bool(abs(gradient[0]) < 1e-3)
        (True, True)
        """
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = q if q.requires_grad else q.detach().requires_grad_()
            value = self.level(x)
            (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=graph)
        return (value, gradient) if graph else (value.detach(), gradient)

    def forward(self, q: Half, tentative: Half) -> tuple[Half, Tensor]:
        r"""Give n and :math:`\alpha` of the steps from `q` to `tentative`, in pixels."""
        q = self._position(q)
        shape = q.shape[:-1]
        q, tentative = q.reshape(-1, 2), tentative.reshape(-1, 2)
        n, alpha = torch.zeros_like(q), q.new_ones(len(q), 1)
        near = self._near(q.detach(), tentative.detach())
        if len(near):
            found, place = self._first_zero(q[near].detach(), tentative[near].detach())
            rows, place = near[found], place[found, None]
            start, way = q[rows], tentative[rows] - q[rows]
            value, gradient = self.slope(start + place * way)
            along = (gradient * way).sum(dim=-1, keepdim=True)
            # Nothing rebounds from a wall that it leaves, and the step of Newton's method, which
            # carries the derivatives, does not divide by nothing.
            into = along.detach() > 0
            newton = value[:, None] / along.detach().clamp(min=1e-6)
            place = (place - newton).clamp(0, 1)
            if torch.is_grad_enabled():  # the normal is that of a place which moves with the wall
                _, gradient = self.slope(start + place * way)
            normal = gradient * (gradient.square().sum(dim=-1, keepdim=True) + 1e-12).rsqrt()
            alpha = alpha.index_put((rows,), torch.where(into, place, 1.0))
            n = n.index_put((rows,), self.restitution.length() * into.to(normal) * normal)
        return n.reshape(*shape, 2), alpha.reshape(*shape, 1)

    @torch.no_grad()
    def _near(self, q: Tensor, tentative: Tensor) -> Tensor:
        """Numbers of the steps that come near enough to a wall to be looked at in detail."""
        sampled, widest = self._once(_smoothed), 4 * _SCALES[-1]
        length = (tentative - q).norm(dim=-1)
        finite = length.isfinite()  # a motion that diverges meets no wall
        # The widest scale sees a wall from `widest` away: so the two ends, if a step is short.
        if bool((finite & (length >= widest)).any()):
            return torch.where(finite)[0]
        seen = torch.maximum(sampled(q)[:, -1], sampled(tentative)[:, -1])
        return torch.where(finite & (seen > 1e-4))[0]

    @torch.no_grad()
    def _first_zero(self, q: Tensor, tentative: Tensor) -> tuple[Tensor, Tensor]:
        """Find which steps enter a wall, and where: looked at in places, then by bisection."""
        way = tentative - q
        longest = way.norm(dim=-1).max().clamp(max=sum(self.image.shape))  # across the picture
        count = max(4, int((longest / _SPACING).ceil()))
        places = torch.arange(1, count + 1, device=q.device).to(q) / count
        inside = self.level(q[:, None] + places[:, None] * way[:, None]) > 0
        high = places[inside.to(torch.int8).argmax(dim=-1)]
        low = high - 1 / count
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            beyond = self.level(q + middle[:, None] * way) > 0
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        return inside.any(dim=-1), (low + high) / 2

    @torch.no_grad()
    def sees(self, q: Half, tentative: Half) -> Tensor:
        """Whether a wall is near the end of each step."""
        return self._once(_smoothed)(tentative)[..., -1] > 1e-2

    def hit_loss(self, q: Half, tentative: Half, position: Half, n: Half, alpha: Tensor) -> Tensor:
        """Squared error of w, and of its slope, where a ball rebounded; entropy of its sign.

        w is to be zero there, and to rise into the wall as a distance in pixels does.
        """
        value, gradient = self.slope(position)
        learns = self._open(position)
        value = torch.where(learns, value, value.detach())
        gradient = torch.where(learns[..., None], gradient, gradient.detach())
        into = n * (n * (tentative - q)).sum(dim=-1, keepdim=True).sign()
        off = 10 * value.square() + (gradient - into).square().sum(dim=-1)
        beyond = nn.functional.softplus(-_SHARPNESS * self._open_level(tentative))
        before = nn.functional.softplus(_SHARPNESS * self._open_level(q))
        return off + (beyond + before) / _SHARPNESS

    def free_loss(self, q: Half, tentative: Half) -> Tensor:
        """Entropy of the sign of w at both ends of a step."""
        levels = self._open_level(torch.stack((q, tentative)))
        return nn.functional.softplus(_SHARPNESS * levels).sum(dim=0) / _SHARPNESS

    def _open(self, q: Half) -> Tensor:
        """Where there is something to be learnt of w: with crisp pixels, in those of grey."""
        value = self.image[self._place(q.detach())]
        return ((value > 0) & (value < 1)) | (not self.crisp)

    def _open_level(self, q: Half) -> Tensor:
        level = self.level(q)
        return torch.where(self._open(q), level, level.detach())


def _smoothed(image: Picture) -> Smooth:
    return Smooth(image, _SCALES)


def _borders(image: Picture) -> Tensor:
    """Whether each pixel, of value 0 or 1, borders on its opposite: left, right, below, above."""
    padded = nn.functional.pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    middle = padded[1:-1, 1:-1]
    around = (padded[1:-1, :-2], padded[1:-1, 2:], padded[2:, 1:-1], padded[:-2, 1:-1])
    return torch.stack([(other - middle).abs() >= 1 for other in around], dim=-1)
