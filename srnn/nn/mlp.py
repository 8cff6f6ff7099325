"""A multi-layer perceptron that also gives its own input gradient in closed form."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from srnn import _checks
from srnn._types import Hessians

__all__ = ["MLP", "input_gradient", "linear"]


def linear(
    inputs: int,
    outputs: int,
    generator: torch.Generator,
    *,
    dtype: torch.dtype | None = None,
    device: Any = None,
) -> nn.Linear:
    r"""Make a linear layer, weights and biases uniform on :math:`\pm 1/\sqrt{\text{inputs}}`.

    This is PyTorch's own default range, drawn from `generator` instead of the global one.  On the
    device "meta", where a network has shapes and no numbers, nothing is drawn.

    Examples
    --------
    >>> import torch
    >>> layer = linear(4, 3, torch.Generator().manual_seed(0))
    >>> layer.weight.shape, bool(layer.weight.abs().max() <= 0.5)
    (torch.Size([3, 4]), True)
    """
    device, dtype = _checks.device(device), _checks.weight_dtype(dtype)
    # On "meta" PyTorch's own start takes no draw from the global generator; its weights are then
    # replaced, not moved, which fake tensors refuse.
    layer = nn.Linear(inputs, outputs, device="meta", dtype=dtype)
    if torch.empty(0, device=device).is_meta:  # not by its name, which an emulated device may bear
        return layer
    bound = 1 / math.sqrt(inputs)
    for name, parameter in list(layer.named_parameters()):
        drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        start = (bound * (2 * drawn - 1)).to(torch.get_default_dtype())
        setattr(layer, name, nn.Parameter(start.to(device=device, dtype=dtype)))
    return layer


def input_gradient(
    x: Tensor, hidden: Sequence[tuple[Callable[..., Tensor], Tensor]], row: Tensor
) -> Tensor:
    r"""Gradient in x of a network of tanh units with one output, in closed form.

    Parameters
    ----------
    x : Tensor, shape (..., inputs)
    hidden : sequence of (callable, Tensor)
        The hidden layers, and their weights.
    row : Tensor, shape (width,)
        Weights of the output.

    Returns
    -------
    Tensor, shape (..., inputs)

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(3, 8)
    >>> input_gradient(torch.zeros(3), [(layer, layer.weight)], torch.ones(8)).shape
    torch.Size([3])
    """
    slopes = []
    for layer, _ in hidden:
        x = torch.tanh(layer(x))
        slopes.append(1 - x * x)
    gradient = row
    for (_, weight), slope in zip(reversed(hidden), reversed(slopes), strict=True):
        gradient = (gradient * slope) @ weight
    return gradient


class MLP(nn.Module):
    """A fully connected network with tanh units, as all of the paper's.

    Parameters
    ----------
    inputs, outputs : int
    hidden : int or tuple of int
        Widths of the hidden layers.
    generator : torch.Generator, optional
    dtype : torch.dtype, optional
        Default: torch's default dtype.
    device : optional

    Examples
    --------
    >>> import torch
    >>> net = MLP(2, 1, hidden=8, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(5, 2)
    >>> net(x).shape, net.input_gradient(x).shape
    (torch.Size([5, 1]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int | tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        generator = _checks.as_generator(generator)
        sizes = (
            _checks.positive_int(inputs, "inputs"),
            *_checks.hidden_sizes(hidden),
            _checks.positive_int(outputs, "outputs"),
        )
        self.layers = nn.ModuleList(
            linear(a, b, generator, dtype=dtype, device=device) for a, b in pairwise(sizes)
        )

    @property
    def weight(self) -> Tensor:
        """The first layer's weights, which tell the dtype and the device of an input."""
        return self.linears[0].weight

    @property
    def linears(self) -> list[nn.Linear]:
        """The layers, hidden ones first."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Map ``(..., inputs)`` to ``(..., outputs)``.

        Raises
        ------
        ValueError, TypeError
            If the last axis is not `inputs`, or `x` has not the weights' dtype and device.
        """
        layers = self.linears
        x = _checks.input_of(layers[0].weight, x, "x")
        *inner, last = layers
        for layer in inner:
            x = torch.tanh(layer(x))
        y: Tensor = last(x)
        return y

    def input_gradient(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch inputs"]:
        r"""Gradient of a one-output network in its input, in closed form.

        For one hidden layer it is :math:`W_1^\top\,[w_2 \odot (1 - \tanh^2(W_1 x + b_1))]`.
        Half the work of differentiating the network by autograd, and itself differentiable.

        Raises
        ------
        ValueError, TypeError
            If the network has more than one output, or `x` has not the weights' dtype and device.

        Examples
        --------
        >>> import torch
        >>> MLP(2, 1, hidden=8).input_gradient(torch.ones(5, 2)).shape
        torch.Size([5, 2])
        """
        layers = self.linears
        x = _checks.input_of(layers[0].weight, x, "x")
        *inner, last = layers
        self._one_output(last)
        return input_gradient(x, [(layer, layer.weight) for layer in inner], last.weight[0])

    def input_hessian(self, x: Float[Tensor, "*batch inputs"]) -> Hessians:
        r"""Second derivatives of a one-output network in its input, in closed form.

        With the pre-activations :math:`a_l`, it is
        :math:`\sum_l (\partial a_l/\partial x)^\top\,[\partial y/\partial h_l \odot
        \tanh''(a_l)]\,(\partial a_l/\partial x)`.  For the first layer
        :math:`\partial a_1/\partial x` is the same for all x, and its term is one product of
        matrices.

        Raises
        ------
        ValueError, TypeError
            If the network has more than one output, or `x` has not the weights' dtype and device.

        Examples
        --------
        >>> import torch
        >>> H = MLP(3, 1, hidden=8).input_hessian(torch.ones(5, 3))
        >>> H.shape, bool((H == H.mT).all())
        (torch.Size([5, 3, 3]), True)
        """
        layers = self.linears
        x = _checks.input_of(layers[0].weight, x, "x")
        *inner, last = layers
        self._one_output(last)
        outputs, slopes = [], []
        for layer in inner:
            x = torch.tanh(layer(x))
            outputs.append(x)
            slopes.append(1 - x * x)
        gradient: Tensor = last.weight[0]
        curvatures = []  # dy/dh_l tanh''(a_l), from the last layer to the first
        for layer, output, slope in zip(
            reversed(inner), reversed(outputs), reversed(slopes), strict=True
        ):
            gradient = gradient * slope
            curvatures.append(-2 * gradient * output)
            gradient = gradient @ layer.weight
        first = inner[0].weight
        rows, columns = torch.triu_indices(*(2 * [first.shape[-1]]), device=first.device)
        upper = curvatures[-1] @ (first[:, rows] * first[:, columns])
        # Each entry of the symmetric matrix takes its number from the upper half.
        size = first.shape[-1]
        place = torch.empty(size, size, dtype=torch.int64, device=first.device)
        place[rows, columns] = torch.arange(len(rows), device=first.device)
        place[columns, rows] = place[rows, columns]
        hessian: Tensor = upper.index_select(-1, place.flatten()).unflatten(-1, (size, size))
        jacobian = first
        for layer, slope, curvature in zip(
            inner[1:], slopes[:-1], reversed(curvatures[:-1]), strict=True
        ):
            jacobian = layer.weight @ (slope[..., None] * jacobian)
            term = jacobian.mT @ (curvature[..., None] * jacobian)
            hessian = hessian + (term + term.mT) / 2
        return hessian

    @staticmethod
    def _one_output(last: nn.Linear) -> None:
        if last.out_features != 1:
            raise ValueError(
                "Expected a network with one output to take the gradient of; "
                f"got {last.out_features} outputs."
            )
