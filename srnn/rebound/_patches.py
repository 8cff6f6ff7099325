"""What the networks see of a picture: patches of it, and smoothed values, both differentiable.

Coordinates are those of :class:`srnn.systems.Room`: pixels, x to the right, y up, the origin at the
picture's lower left corner.  Beyond its border the picture goes on as it is there.
"""

import torch
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Half, Patches, Picture

__all__ = ["patches"]


def patches(image: Picture, q: Half, size: int) -> Patches:
    """Neighbourhoods of a picture centred at given positions, by bilinear sampling.

    Parameters
    ----------
    image : Tensor, shape (rows, columns)
        Row 0 is at the top.
    q : Tensor, shape (..., 2)
        Centres in pixels; the result is differentiable in them.
    size : int
        Side of a patch in samples, one pixel apart.  An even one, such as the paper's 10 and 2, has
        no sample at the centre itself.

    Returns
    -------
    Tensor, shape (..., size * size)
        Row after row from the top, each from the left.

    Examples
    --------
    >>> import torch
    >>> image = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    >>> patches(image, torch.tensor([1.5, 1.5]), 2)  # half a pixel to each side of a centre
    tensor([0.0000, 0.5000, 0.0000, 0.5000])
    """
    return Crops(_checks.picture(image, "image"), size)(q)


class Crops:
    """All the integer crops of a picture, as views, and the bilinear patch between four of them.

    All samples of a patch lie equally between their pixels, so a patch is one crop of size + 1 and
    two linear interpolations of it: an order less work than sampling each point by itself.
    """

    def __init__(self, image: Picture, size: int) -> None:
        self.size = _checks.positive_int(size, "size")
        self.rows = image.shape[0]
        padded = nn.functional.pad(image[None, None], 4 * (self.size,), mode="replicate")[0, 0]
        self.views = padded.unfold(0, size + 1, 1).unfold(1, size + 1, 1)

    def __call__(self, q: Half) -> Patches:
        """Patches centred at `q`."""
        # Places of the first sample, in pixels of the padded picture, from its top left corner.
        column = q[..., 0] - 0.5 - (self.size - 1) / 2 + self.size
        row = self.rows - 0.5 - q[..., 1] - (self.size - 1) / 2 + self.size
        first_column = column.detach().floor().nan_to_num().clamp(0, self.views.shape[1] - 1)
        first_row = row.detach().floor().nan_to_num().clamp(0, self.views.shape[0] - 1)
        # A centre farther out than the padding sees what is at the border.
        right = (column - first_column).clamp(0, 1)[..., None, None]
        down = (row - first_row).clamp(0, 1)[..., None, None]
        crop = self.views[first_row.long(), first_column.long()]
        along = torch.lerp(crop[..., :-1], crop[..., 1:], right)
        return torch.lerp(along[..., :-1, :], along[..., 1:, :], down).flatten(-2)


class Smooth:
    """A picture smoothed at several scales, sampled by cubic B-splines.

    Twice continuously differentiable in the position.  A slanted edge drawn in grey pixels is
    straight again in what it gives: the pixel grid is gone at scales of a pixel and more.

    Parameters
    ----------
    image : Tensor, shape (rows, columns)
    scales : tuple of float
        Standard deviations in pixels; 0 leaves the picture to the spline alone.
    """

    def __init__(self, image: Picture, scales: tuple[float, ...]) -> None:
        self.rows, self.columns = image.shape
        smoothed = torch.stack([_blurred(image, scale) for scale in scales])
        self.margin = 4
        padded = nn.functional.pad(smoothed[None], 4 * (self.margin,), mode="replicate")[0]
        self.width = padded.shape[-1]
        self.flat = padded.flatten(1).mT.contiguous()  # (pixels, scales)
        self.offsets = torch.arange(-1, 3, device=image.device)

    def __call__(self, q: Half) -> Tensor:
        """Values at `q` ``(..., 2)``, shape ``(..., scales)``."""
        limit = self.margin - 1.0
        column = (q[..., 0] - 0.5).clamp(-limit, self.columns - 1 + limit) + self.margin
        row = (self.rows - 0.5 - q[..., 1]).clamp(-limit, self.rows - 1 + limit) + self.margin
        # At the last place the cell to its left serves, which the spline allows.
        last_column, last_row = self.width - 3, len(self.flat) // self.width - 3
        first_column = column.detach().floor().nan_to_num().clamp(max=last_column)
        first_row = row.detach().floor().nan_to_num().clamp(max=last_row)
        rows = first_row.long()[..., None] + self.offsets
        columns = first_column.long()[..., None] + self.offsets
        around = self.flat[rows[..., :, None] * self.width + columns[..., None, :]]
        across = _spline(column - first_column)[..., None, :, None]
        down = _spline(row - first_row)[..., :, None]
        return ((around * across).sum(dim=-2) * down).sum(dim=-2)


def _spline(t: Tensor) -> Tensor:
    """Weights of the four pixels around a place `t` in [0, 1] between the middle two."""
    s = 1 - t
    return torch.stack((s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3), dim=-1) / 6


def _blurred(image: Tensor, scale: float) -> Tensor:
    """Convolve with a Gaussian cut at four standard deviations."""
    if scale == 0:
        return image
    reach = int(4 * scale + 1)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-(places**2) / (2 * scale**2))
    kernel = (kernel / kernel.sum()).to(image)
    padded = nn.functional.pad(image[None, None], 4 * (reach,), mode="replicate")
    down = nn.functional.conv2d(padded, kernel[None, None, :, None])
    return nn.functional.conv2d(down, kernel[None, None, None, :])[0, 0]
