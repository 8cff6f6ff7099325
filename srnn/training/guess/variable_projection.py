r"""Fit a quadratic Hamiltonian through an integrator, as if without initial states.

Under a quadratic H an integrator's step is affine, so that a rollout is
:math:`z_t = F_t z_0 + c_t` with the same :math:`F_t(\theta)` and :math:`c_t(\theta)` for all
trajectories.  The best start of each is linear least squares, and what is left is a function of
:math:`\theta` alone (variable projection, Golub and Pereyra 1973):

.. math:: L(\theta) = \sum_n \min_{z_0} \sum_t \|F_t z_0 + c_t - y_{nt}\|_W^2.

Its gradient is that at the minimising starts, held fixed.  Where no start is to be optimised, the
first observed states stand in their place, and the rest is the same.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from srnn._types import TrajectoryValues
from srnn.motion.fields import differentiates
from srnn.motion.integrators import Integrator
from srnn.motion.rollout import rollout
from srnn.nn import QuadraticH

__all__ = ["fit_quadratic"]


@differentiates
def fit_quadratic(
    hamiltonian: QuadraticH,
    integrator: str | Integrator,
    values: TrajectoryValues,
    dt: float,
    *,
    weights: Tensor | None = None,
    loss_from: int = 0,
    substeps: int = 1,
    observed_starts: bool = False,
    start_covariance: Tensor | None = None,
    max_iterations: int = 500,
) -> Tensor:
    r"""Fit `hamiltonian` in place, from its present parameters, by SciPy's L-BFGS-B.

    Parameters
    ----------
    hamiltonian : QuadraticH
        In float64.
    integrator : str or Integrator
        Any one whose step is affine on an affine field: all of the library's are.
    values : Tensor, shape (time, batch, 2*dim)
        Observed trajectories.
    dt : float
        Time between observed states.
    weights : Tensor, shape (2*dim,), optional
        Weight of each coordinate's squared residual.
    loss_from : {0, 1}
        First state in the sum.
    substeps : int
        Integrator steps between two observed states.
    observed_starts : bool
        Begin every trajectory at its first observed state, instead of at the best start.
    start_covariance : Tensor, shape (2*dim, 2*dim), optional
        With `observed_starts`: covariance :math:`\Sigma` of the noise of the first states.  What
        it adds to the loss on average, :math:`\sum_t \operatorname{tr} F_t^\top W F_t \Sigma`,
        is taken off (errors in variables).  It must stay below the starts' own covariance: else
        the loss has no lower bound.
    max_iterations : int

    Returns
    -------
    Tensor, shape (2*dim,), float64
        Mean squared residual of each coordinate at the optimum, not weighted.

    Raises
    ------
    TypeError
        If `hamiltonian` is not in float64.

    Notes
    -----
    The cost does not depend on the number of trajectories: of all residuals only the inner
    products count, and a QR factorisation replaces the trajectories by at most time * 2 dim + 1
    combinations of them.

    Examples
    --------
    >>> import torch, srnn
    >>> g = torch.Generator().manual_seed(0)
    >>> chain = srnn.systems.SpringChain.random(masses=4, generator=g)
    >>> data = chain.simulate(200, steps=9, dt=0.1, generator=g, start="all-free")
    >>> noisy = data.with_noise(0.1, generator=g)
    >>> H = srnn.QuadraticH(4, dtype=torch.float64)
    >>> squares = fit_quadratic(H, "leapfrog", noisy.values, noisy.dt)
    >>> q = torch.eye(4, dtype=torch.float64)
    >>> true = chain.shadow_hamiltonian(0.1)  # the H whose leapfrog step is the true motion
    >>> bool(
    ...     (H.potential.symmetric - true.potential_gradient(q)).norm()
    ...     < 0.05 * true.potential_gradient(q).norm()
    ... )
    True
    """
    parameters = list(hamiltonian.parameters())
    if parameters[0].dtype != torch.float64:
        raise TypeError(
            f"Expected `hamiltonian` in float64; got {parameters[0].dtype}. Fit a copy: "
            "copy.deepcopy(H).double()."
        )
    from scipy.optimize import minimize

    steps, two_d = len(values) - 1, values.shape[-1]
    root = (torch.ones(two_d) if weights is None else weights).to(values).double().sqrt()
    combined, ones = _combine(values.double() * root)
    # The first observed states of the combined trajectories, and what of them is fitted.
    first, combined = combined[:two_d] / root[:, None], combined[loss_from * two_d :]
    device = parameters[0].device
    origin_and_basis = torch.cat((torch.zeros(1, two_d), torch.eye(two_d))).to(device).double()
    count = values[loss_from:].numel()

    noise = None
    if start_covariance is not None:
        noise = start_covariance.to(device).double() * values.shape[1]

    def residuals() -> tuple[Tensor, Tensor | float]:
        """Weighted residuals of the combined trajectories, and the noise in their squares."""
        z = rollout(
            hamiltonian, integrator, origin_and_basis, dt=dt, steps=steps, substeps=substeps
        )
        z = z[loss_from:] * root
        affine = z[:, 0].flatten()
        linear = (z[:, 1:] - z[:, :1]).mT.flatten(0, 1)
        offset = combined - affine[:, None] * ones
        with torch.no_grad():
            if not bool(torch.isfinite(linear).all()):
                return torch.full_like(offset, torch.inf), 0.0
            if observed_starts:
                starts = first
            else:
                # By QR: of LAPACK's least squares the last bits depend on where memory happens to
                # lie, and a run that goes on in another program must start from the same ones.
                orthogonal, triangle = torch.linalg.qr(linear)
                starts = torch.linalg.solve_triangular(triangle, orthogonal.mT @ offset, upper=True)
        left: Tensor = linear @ starts - offset
        if noise is None:
            return left, 0.0
        return left, ((linear @ noise) * linear).sum()

    def objective(x: Any) -> tuple[float, Any]:
        vector_to_parameters(torch.from_numpy(x).to(device), parameters)
        with torch.enable_grad():
            left, added = residuals()
            loss = (left.square().sum() - added) / count
            if not bool(torch.isfinite(loss)):
                return 1e300, torch.zeros(len(x), dtype=torch.float64).numpy()
            slopes = torch.autograd.grad(loss, parameters)
        return loss.item(), parameters_to_vector(slopes).cpu().numpy()

    start = parameters_to_vector(parameters).detach().cpu().numpy().copy()
    done = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": max_iterations,
            "maxfun": 2 * max_iterations,
            "maxcor": 30,
            # On exact data the loss goes to zero with the square of the error of the parameters.
            "ftol": 1e-17,
            "gtol": 1e-11,
        },
    )
    vector_to_parameters(torch.from_numpy(done.x).to(device), parameters)
    with torch.no_grad():
        left = residuals()[0].square().unflatten(0, (-1, two_d)).sum(dim=(0, 2))
    mean: Tensor = left * two_d / count / root.square()
    return mean


def _combine(values: Tensor) -> tuple[Tensor, Tensor]:
    """Trajectories as columns, and the coefficient of 1 in each, by QR if that makes them fewer."""
    columns = values.transpose(0, 1).flatten(1)
    rows = torch.cat((columns, torch.ones_like(columns[:, :1])), dim=1)
    if len(rows) > rows.shape[1]:
        rows = torch.linalg.qr(rows, mode="r")[1]
    return rows[:, :-1].T.contiguous(), rows[:, -1].contiguous()
