r"""How well a linear model can do on the paper's chain, were its data without end.

    python -m srnn.experiments.linear_bound

The chain is linear, so that the best model of a row is linear, too: f(z) = A z for an O-NET, and
K(p) + V(q) of two quadratic forms for an H-NET.  Starts have known second moments and the noise is
independent, so that the expected training loss is a sum of squares in the model's step matrix G and
its powers.  Its minimum is what training on infinitely many trajectories would reach by that loss:
the *optimum of the training loss*, which is no floor, since another model may score better on a
test than the one that the loss prefers.  Single steps: with F the chain's exact step, starts of
covariance C and noise of deviation sigma,

.. math:: \sum_{t=0}^{8} \|(G F^t - F^{t+1}) C^{1/2}\|^2 + 9 \sigma^2 \|G\|^2,

recurrent:

.. math:: \sum_{i=1}^{9} \|(G^i - F^i) C^{1/2}\|^2 + \sigma^2 \|G^i\|^2,

each without what does not depend on G.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from srnn.experiments._store import store
from srnn.experiments.reproduction import Fit, problem, published
from srnn.experiments.reproduction._chains import ORDINARY
from srnn.experiments.reproduction._problems import OBSERVED
from srnn.experiments.reproduction._work import PRINTED
from srnn.motion.fields import VectorField
from srnn.motion.rollout import rollout
from srnn.nn import QuadraticH
from srnn.systems import SpringChain

__all__ = ["Bound", "bound", "expected_loss"]

SIGMA, DT, STATES, TESTS = 0.2, 0.1, 200, 4096
SEEDS = (0, 1, 2, *ORDINARY)
_METHODS = {"E": "euler", "L": "leapfrog"}


class Bound(NamedTuple):
    """A best linear model, and what it scores.

    Examples
    --------
    >>> Bound(torch.eye(2), 1.0, torch.zeros(200)).loss
    1.0
    """

    step: Tensor
    """Its step matrix at test, shape (40, 40)."""
    loss: float
    """The expected training loss that it minimises."""
    error: Tensor
    """Error of its positions at every state against what was observed, shape (200,)."""


def expected_loss(
    step: Tensor, exact: Tensor, moments: Tensor, sigma: float, *, recurrent: bool
) -> Tensor:
    """Give the training loss of a linear model on infinitely many trajectories.

    Parameters
    ----------
    step, exact : Tensor, shape (2*dim, 2*dim)
        The model's step matrix and the true one.
    moments : Tensor, shape (2*dim,)
        Variances of the starts.
    sigma : float
        Deviation of the noise.
    recurrent : bool
        Rolled out over the nine steps of a trajectory, or each step from its own observed state.

    Returns
    -------
    Tensor
        A number.  What does not depend on the model is left out.

    Examples
    --------
    >>> import torch
    >>> one = torch.eye(2)
    >>> float(expected_loss(one, one, torch.ones(2), 0.5, recurrent=False))  # 9 * 0.25 * 2
    4.5
    """
    root, loss = torch.diag(moments.sqrt()), step.new_zeros(())
    model, truth = step, exact
    for _ in range(OBSERVED - 1):
        loss = loss + ((model - truth) @ root).square().sum() + sigma**2 * model.square().sum()
        if recurrent:
            model, truth = step @ model, exact @ truth
        else:  # from a later state: the start's covariance has moved on
            root = exact @ root
    return loss


def _of_step(field: Any, integrator: str, dim: int) -> Tensor:
    """Read a linear field's step matrix off what it does to the unit vectors."""
    unit = torch.eye(2 * dim, dtype=torch.float64)
    return rollout(field, integrator, unit, dt=DT, steps=1)[-1].mT


def _fields(net: str, chain: SpringChain) -> tuple[nn.Module, Any]:
    """Make a model that starts at the chain's own equations, and the field that it is."""
    if net == "hnet":
        model = QuadraticH(chain.dim, dtype=torch.float64)
        with torch.no_grad():
            model.kinetic.matrix.copy_(torch.diag(1 / chain.masses))
            model.potential.matrix.copy_(chain.stiffness_matrix())
        return model, model
    linear = nn.Linear(2 * chain.dim, 2 * chain.dim, bias=False, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(chain.matrix())
    return linear, VectorField(linear, chain.dim)


def _minimise(model: nn.Module, loss: Callable[[], Tensor]) -> float:
    weights = [w for w in model.parameters() if w.ndim > 1]  # a linear term has nothing to do

    def value(x: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        with torch.no_grad():
            nn.utils.vector_to_parameters(torch.from_numpy(x), weights)
        found = loss()
        slopes = torch.autograd.grad(found, weights)
        return found.item(), torch.cat([s.flatten() for s in slopes]).numpy()

    start = nn.utils.parameters_to_vector(weights).detach().numpy()
    # To the last digits: a slope in a direction that the data hardly show is small early.
    options = {"maxiter": 20000, "maxfun": 40000, "maxcor": 50, "ftol": 1e-15, "gtol": 1e-9}
    found = minimize(value, start, jac=True, method="L-BFGS-B", options=options)
    with torch.no_grad():
        nn.utils.vector_to_parameters(torch.from_numpy(found.x), weights)
    return float(found.fun)


def bound(net: str, train: str, test: str, mode: str, seed: int, *, sigma: float = SIGMA) -> Bound:
    """Find the best linear model of a row on the chain of a seed.

    Parameters
    ----------
    net : {"onet", "hnet"}
    train, test : {"E", "L"}
        Integrators of training and of the test: Euler or leapfrog.
    mode : {"single", "recurrent"}
    seed : int
        Of the chain, as in the tables.
    sigma : float

    Returns
    -------
    Bound
        Tested from the noisy first states of 4096 trajectories that are drawn for it.

    Examples
    --------
    >>> from srnn import experiments
    >>> stored = experiments.load("linear_bound")["rows"]  # of all rows and chains
    >>> stored[0]["model"], stored[0]["0..50"] < stored[0]["0..200"]
    ('onet', True)
    """
    drawn = problem(Fit("chain", "exact", training=1, tests=1, states=2), seed)
    chain = drawn.system
    exact = torch.linalg.matrix_exp(DT * chain.matrix())
    # Uniform within 2.5, or at rest.
    moves = chain.initial_states(1, torch.Generator().manual_seed(0))[0] != 0
    moments = torch.where(moves, 2.5**2 / 3, 0.0).double()
    model, field = _fields(net, chain)

    def loss() -> Tensor:
        step = _of_step(field, _METHODS[train], chain.dim)
        return expected_loss(step, exact, moments, sigma, recurrent=mode == "recurrent")

    least = _minimise(model, loss)
    with torch.no_grad():
        step = _of_step(field, _METHODS[test], chain.dim)
        g = torch.Generator().manual_seed(seed)
        data = chain.simulate(TESTS, steps=STATES - 1, dt=DT, generator=g)
        data = data.with_noise(sigma, generator=g)
        state, error = data.values[0].double(), []
        for observed in data.q:
            error.append((state[:, : chain.dim] - observed).norm(dim=-1).mean())
            state = state @ step.mT
    return Bound(step, least, torch.stack(error))


def rows(seeds: tuple[int, ...] = SEEDS) -> list[dict[str, Any]]:
    """Compute the twelve rows of table 1 on each chain.

    Examples
    --------
    >>> rows(())
    []
    """
    found = []
    for seed in seeds:
        for mode in ("single", "recurrent"):
            for net in ("onet", "hnet"):
                for train, test in (("E", "E"), ("E", "L"), ("L", "L")):
                    best = bound(net, train, test, mode, seed)
                    row: dict[str, Any] = {
                        "model": net, "train": train, "test": test, "mode": mode, "seed": seed,
                        "loss": best.loss, "published": published("table1", net, train, test, mode),
                    }  # fmt: skip
                    for states in (PRINTED, STATES):
                        row[f"0..{states}"] = float(f"{best.error[:states].mean():.4g}")
                    print(row, flush=True)
                    found.append(row)
    return found


if __name__ == "__main__":
    store(
        "linear_bound",
        {"sigma": SIGMA, "tests": TESTS, "threads": torch.get_num_threads(), "rows": rows()},
    )
