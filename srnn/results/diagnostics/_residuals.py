r"""What white noise leaves after initial states were fitted, and tests against that.

A trajectory of T states with white noise e is fitted by its initial state, 2d numbers.  To first
order the residuals are :math:`r = R e` with

.. math:: R = I - M (M^\top M)^{-1} M^\top, \qquad M = (F_0; F_1; \dots; F_{T-1}),

:math:`F_t = \partial z_t/\partial z_0`.  So even a perfect model's residuals are smaller than the
noise and slightly correlated.  Every number here is set beside its value under that projection.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Jacobians, PerTrajectory, TrajectoryValues

__all__ = ["FittedResiduals", "Statistic"]

# Numbers in one piece of the batch, so that memory does not grow with the batch.
_PIECE = 1 << 21


@dataclass(frozen=True)
class Statistic:
    """A measured number beside the one that white noise gives.

    Attributes
    ----------
    value : float
        As measured.
    expected : float
        Its value for white noise, to first order in one over the number of residuals.
    error : float
        Its standard error for white Gaussian noise.

    Examples
    --------
    >>> print(Statistic(value=0.3, expected=-0.1, error=0.1))
    0.300 (white noise: -0.100 ± 0.100)
    """

    value: float
    expected: float
    error: float

    @property
    def z(self) -> float:
        """Distance from the expected value in standard errors; NaN where nothing was left over."""
        return (self.value - self.expected) / self.error if self.error > 0 else math.nan

    @property
    def p_value(self) -> float:
        """Two-sided, by the normal distribution; NaN where nothing was left over."""
        return math.erfc(abs(self.z) / math.sqrt(2))

    def __str__(self) -> str:
        return f"{self.value:.3f} (white noise: {self.expected:.3f} ± {self.error:.3f})"


class FittedResiduals:
    r"""Residuals of trajectories whose initial states were fitted by least squares.

    The noise may be of one variance :math:`v_q` in the positions and another :math:`v_p` in the
    momenta.  A quadratic form :math:`x = r^\top A r` then has, with
    :math:`\Sigma = \operatorname{diag}(v_q, v_p)`,

    .. math::
        \mathbb{E}\,x = \operatorname{tr}(R \Sigma R A), \qquad
        \operatorname{Var} x = 2 \operatorname{tr}\big((R \Sigma R A)^2\big),

    the second for Gaussian noise.

    Parameters
    ----------
    residuals : Tensor, shape (time, batch, 2*dim)
        Observed minus fitted states, in units in which the fit weighs all of them equally.
    jacobians : Tensor, shape (time, batch, 2*dim, 2*dim)
        :math:`F_t` of :func:`srnn.flow_map.flow_map`, in the same units.

    Attributes
    ----------
    condition : Tensor, shape (batch,)
        Condition number of :math:`\sum_t F_t^\top F_t`, float64.
    rank : Tensor of int, shape (batch,)
        Its numerical rank: 2d unless a direction of the start leaves no trace.

    Raises
    ------
    ValueError
        If there is one state only, or the shapes do not match.

    Notes
    -----
    R is the projection of the linearised fit: it holds where the noise is small beside the scale
    on which F changes, exactly for linear systems.

    Examples
    --------
    Ten observations of a constant leave nine degrees of freedom each for q and p:

    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> noise = torch.randn(10, 500, 2, generator=g, dtype=torch.float64)
    >>> fitted = FittedResiduals(noise - noise.mean(dim=0), torch.eye(2).expand(10, 500, 2, 2))
    >>> [round(float(v), 2) for v in fitted.variances()]
    [1.02, 1.0]
    >>> print(fitted.autocorrelation(0))
    -0.102 (white noise: -0.100 ± 0.013)
    """

    def __init__(self, residuals: TrajectoryValues, jacobians: Jacobians) -> None:
        states, batch, two_d = residuals.shape
        if states < 2:
            raise ValueError("Expected residuals of at least two states; got 1.")
        if jacobians.shape != (states, batch, two_d, two_d):
            raise ValueError(
                f"Expected `jacobians` to have shape {(states, batch, two_d, two_d)}; "
                f"got {tuple(jacobians.shape)}."
            )
        self.dim = two_d // 2
        self.values = residuals.detach().double()
        stacked = jacobians.detach().transpose(0, 1).flatten(1, 2)
        precision = torch.finfo(jacobians.dtype).eps * states * two_d
        bases, spectra = [], []
        for piece in stacked.split(self._pieces(states)):
            orthogonal, triangle = torch.linalg.qr(piece.double())
            left, spectrum, _ = torch.linalg.svd(triangle)
            seen = spectrum > precision * spectrum[:, :1]
            bases.append((orthogonal @ (left * seen[:, None])).unflatten(1, (states, two_d)))
            spectra.append(spectrum)
        self.basis = torch.cat(bases)  # (batch, time, 2d, 2d): orthonormal columns, or zero
        spectrum = torch.cat(spectra)
        self.rank = (spectrum > precision * spectrum[:, :1]).sum(dim=1)
        self.condition: PerTrajectory = (spectrum[:, 0] / spectrum[:, -1]).square()

    def _pieces(self, states: int) -> int:
        return max(1, _PIECE // (states * (2 * self.dim) ** 2))

    @property
    def degrees_of_freedom(self) -> int:
        """Number of residuals less the number of fitted unknowns."""
        return self.values.numel() - int(self.rank.sum())

    # -- statistics -------------------------------------------------------------------------------

    def variances(self) -> Tensor:
        r"""Variances of the noise in q and in p.

        The squares of either half mix both, :math:`\mathbb{E}|r_a|^2 = \sum_b \|R_{ab}\|^2 v_b`;
        this solves for v, which is free of bias.  A negative solution, which sampling can give
        where a half has next to no noise, is set to zero.

        Returns
        -------
        Tensor, shape (2,)
            float64.

        Examples
        --------
        >>> import torch
        >>> residuals = torch.tensor([[[1.0, 3.0]], [[-1.0, -3.0]]])
        >>> FittedResiduals(residuals, torch.eye(2).expand(2, 1, 2, 2)).variances()
        tensor([ 2., 18.], dtype=torch.float64)
        """
        return self._solution().clamp_min(0.0)

    def noise(self) -> Tensor:
        """Tell the standard deviation of each coordinate's noise, if none mixes with the others'.

        Returns
        -------
        Tensor, shape (2*dim,)
            float64.

        Examples
        --------
        >>> import torch
        >>> residuals = torch.tensor([[[1.0, 3.0]], [[-1.0, -3.0]]])
        >>> FittedResiduals(residuals, torch.eye(2).expand(2, 1, 2, 2)).noise().square().round()
        tensor([ 2., 18.], dtype=torch.float64)
        """
        taken = self.basis.square().sum(dim=(0, 1, 3))
        left = (len(self.values) * self.values.shape[1] - taken).clamp_min(1e-3)
        return (self.values.square().sum(dim=(0, 1)) / left).sqrt()

    def autocorrelation(self, half: int) -> Statistic:
        r"""Correlation of successive residuals of q (half 0) or of p (half 1).

        :math:`\sum_t r_t \cdot r_{t+1} / \sum_t r_t \cdot r_t` over all trajectories; the
        numerator has one term less a trajectory.

        Returns
        -------
        Statistic

        Examples
        --------
        >>> import torch
        >>> residuals = torch.tensor([[[1.0, 1.0]], [[-1.0, 0.0]], [[0.0, -1.0]]])
        >>> fitted = FittedResiduals(residuals, torch.eye(2).expand(3, 1, 2, 2))
        >>> fitted.autocorrelation(0).value, fitted.autocorrelation(1).value
        (-0.5, 0.0)
        """
        identity = self._identity()
        shift = identity.roll(1, dims=0).tril()  # ones below the diagonal
        return self._ratio(half, (shift + shift.mT) / 2, identity)

    def growth(self, half: int) -> Statistic:
        """Logarithm of how much larger residuals are at the end of a trajectory than at its start.

        Of the mean square of the last third over that of the first third, each divided by its
        expected value, so that white noise gives 0.  The ratio itself is skewed; its logarithm is
        close to normal.

        Returns
        -------
        Statistic

        Examples
        --------
        >>> import torch
        >>> residuals = torch.tensor([[[1.0, 1.0]], [[1.0, 1.0]], [[-2.0, -2.0]]])
        >>> fitted = FittedResiduals(residuals, torch.eye(2).expand(3, 1, 2, 2))
        >>> print(fitted.growth(0))  # of log 4
        1.386 (white noise: 0.000 ± 1.732)
        """
        count = max(1, len(self.values) // 3)
        ends = torch.zeros(2, len(self.values), dtype=torch.float64, device=self.values.device)
        ends[0, -count:], ends[1, :count] = 1, 1
        found = self._ratio(half, torch.diag(ends[0]), torch.diag(ends[1]))
        if not (found.value > 0 and found.expected > 0):
            return Statistic(math.nan, math.nan, math.nan)
        value = math.log(found.value / found.expected)
        return Statistic(value, 0.0, found.error / found.expected)

    # -- quadratic forms A = K ⊗ (one half), K over time ------------------------------------------

    def _identity(self) -> Tensor:
        return torch.eye(len(self.values), dtype=torch.float64, device=self.values.device)

    def _solution(self) -> Tensor:
        """Solve for the variances, which may come out negative."""
        squares = torch.stack([half.square().sum() for half in _checks.halves(self.values)])
        found: Tensor = self._inverse_shares @ squares
        return found

    @cached_property
    def _inverse_shares(self) -> Tensor:
        """What takes the squares of both halves to the variances, shape (2, 2)."""
        share = torch.stack([self._shares(half, self._identity()) for half in (0, 1)])
        inverse: Tensor = torch.linalg.pinv(share)
        return inverse

    def _rows(self, piece: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the basis that belong to q and to p: (batch, time, d, 2d)."""
        return piece[:, :, : self.dim], piece[:, :, self.dim :]

    def _shares(self, half: int, kernel: Tensor) -> Tensor:
        """How the mean of the form depends on the variances of q and of p: shape (2,)."""
        total = torch.zeros(2, dtype=torch.float64, device=self.values.device)
        total[half] = self.values.shape[1] * self.dim * kernel.trace()
        for piece in self.basis.split(self._pieces(len(kernel))):
            rows = self._rows(piece)
            inner = _gram(rows[half], _along_time(kernel, rows[half]))
            total[half] -= 2 * inner.diagonal(dim1=1, dim2=2).sum()
            for other in (0, 1):
                total[other] += (inner * _gram(rows[other], rows[other])).sum()
        return total

    def _variance(self, kernels: list[Tensor], variances: Tensor) -> float:
        """Variance, under Gaussian noise, of the sum of a form of q and one of p."""
        total = torch.zeros((), dtype=torch.float64, device=self.values.device)
        for k, v in zip(kernels, variances, strict=True):
            total = total + self.values.shape[1] * self.dim * (v * k).square().sum()
        for piece in self.basis.split(self._pieces(len(self.values))):
            rows = self._rows(piece)
            middle = variances[0] * _gram(rows[0], rows[0]) + variances[1] * _gram(rows[1], rows[1])
            a, b, c = torch.zeros_like(middle), torch.zeros_like(middle), torch.zeros_like(middle)
            # R Σ R = Σ - Q H' - H Q', with Q and H taken half by half
            for q, v, kernel in zip(rows, variances, kernels, strict=True):
                h = v * q - torch.einsum("btik,bkl->btil", q, middle) / 2
                kq, kh = _along_time(kernel, q), _along_time(kernel, h)
                a, b, c = a + _gram(h, kq), b + _gram(h, kh), c + _gram(q, kq)
                total = total - 4 * v * (kh * kq).sum()
            total = total + 2 * (a * a.mT).sum() + 2 * (b * c).sum()
        return 2 * float(total)

    def _ratio(self, half: int, above: Tensor, below: Tensor) -> Statistic:
        """Ratio of two forms of one half, beside that of their means; error by the delta method.

        The means are those at the estimated variances.  These are themselves forms of the
        residuals, and as uncertain: they are part of the error.
        """
        r = _checks.halves(self.values)[half]
        measured = [float(torch.einsum("st,sbi,tbi->", k, r, r)) for k in (above, below)]
        shares = [self._shares(half, k) for k in (above, below)]
        means = [float(share @ self._solution()) for share in shares]
        if not (measured[1] > 0 and means[1] > 0):
            return Statistic(math.nan, math.nan, math.nan)
        expected = means[0] / means[1]
        weights = (shares[0] - expected * shares[1]) @ self._inverse_shares
        kernels = [-weight * self._identity() for weight in weights]
        kernels[half] = kernels[half] + above - expected * below
        spread = self._variance(kernels, self.variances())
        return Statistic(
            measured[0] / measured[1], expected, math.sqrt(max(spread, 0.0)) / means[1]
        )


def _along_time(kernel: Tensor, rows: Tensor) -> Tensor:
    return torch.einsum("st,btik->bsik", kernel, rows)


def _gram(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of the columns, (batch, columns, columns)."""
    return x.flatten(1, 2).mT @ y.flatten(1, 2)
