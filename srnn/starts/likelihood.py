r"""Least squares as maximum likelihood, Appendix B of the paper.

If every coordinate of every observed state is the predicted one plus independent Gaussian noise of
mean zero and standard deviation :math:`\sigma`, the likelihood of N observed numbers with residuals
:math:`r_i` is

.. math:: \prod_{i=1}^{N} \frac{1}{\sigma\sqrt{2\pi}}\, e^{-r_i^2/(2\sigma^2)}.

For a fixed :math:`\sigma` its maximum over network and initial states is the minimum of the mean
squared error: initial-state optimisation is the joint maximum likelihood of equation (14).
"""

import math

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import PerTrajectory

__all__ = ["estimated_sigma", "negative_log_likelihood"]


def negative_log_likelihood(residuals: Tensor, sigma: float) -> PerTrajectory:
    r"""Negative log-likelihood of each trajectory's residuals.

    .. math:: -\log\mathcal L = \frac{N\,\mathrm{MSE}}{2\sigma^2} + N \log(\sigma\sqrt{2\pi})

    with the N numbers of a trajectory and the mean of their squares, MSE.  As the trajectories'
    noises are independent, the sum over trajectories is that of all data.

    Parameters
    ----------
    residuals : Tensor, shape (time, batch, 2*dim)
        Observed states minus predicted ones, or the reverse.
    sigma : float
        Standard deviation of the noise, in the unit of the states.

    Returns
    -------
    Tensor, shape (batch,)
        Differentiable in the residuals.

    Raises
    ------
    ValueError, TypeError
        If `residuals` is not a tensor of this shape, or `sigma` is not positive.

    Examples
    --------
    >>> import torch
    >>> residuals = torch.zeros(10, 3, 2)
    >>> negative_log_likelihood(residuals, sigma=1.0)  # 20 log sqrt(2 pi) each
    tensor([18.3788, 18.3788, 18.3788])
    """
    r = _checks.float_tensor(residuals, "residuals")
    sigma = _checks.positive(sigma, "sigma")
    if r.ndim != 3 or r.numel() == 0:
        raise ValueError(
            f"Expected `residuals` to have shape (time, batch, 2*dim); got {tuple(r.shape)}."
        )
    count = r[:, 0].numel()
    squares = (r / sigma).square().sum(dim=(0, 2))
    return squares / 2 + count * math.log(sigma * math.sqrt(2 * math.pi))


def estimated_sigma(residuals: Tensor, parameters: int = 0) -> Tensor:
    r"""Estimate the noise's standard deviation from residuals.

    .. math:: \hat\sigma = \sqrt{\frac{\sum_i r_i^2}{N - k}}

    With k = 0 this is the maximum-likelihood estimate, the root mean square.  Residuals of a fit
    are smaller than the noise: a linear least-squares fit of k parameters takes k of the N degrees
    of freedom, and with that k :math:`\hat\sigma^2` is unbiased.  For other models it is so to
    first order in the noise, where the fit determines all k.

    Parameters
    ----------
    residuals : Tensor, any shape
    parameters : int
        k, the number of parameters fitted to these residuals.  Initial states count: 2*dim for
        each trajectory whose initial state was optimised.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError, TypeError
        If `residuals` is not a tensor of numbers, or there are not more of them than parameters.

    Examples
    --------
    >>> import torch
    >>> residuals = torch.tensor([[3.0, -3.0], [1.0, 1.0]])
    >>> estimated_sigma(residuals) ** 2, estimated_sigma(residuals, parameters=2) ** 2
    (tensor(5.), tensor(10.))
    """
    r = _checks.float_tensor(residuals, "residuals")
    parameters = _checks.positive_int(parameters, "parameters", minimum=0)
    if r.numel() <= parameters:
        raise ValueError(
            f"Expected more residuals than the {parameters} parameters fitted to them; "
            f"got {r.numel()}."
        )
    sigma: Tensor = torch.linalg.vector_norm(r) / math.sqrt(r.numel() - parameters)
    return sigma
