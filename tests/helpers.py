"""What several test files share: random Hamiltonians, Jacobians, and measures of a method."""

import itertools
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import srnn

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=F64)


def random_hnet(
    seed: int, dim: int = 2, hidden: int | tuple[int, ...] = 8, quadratic: bool = False
) -> srnn.HNet:
    """An H-NET in float64 that is far from linear, its quadratic term far from the identity."""
    net = srnn.HNet(dim, hidden, quadratic, generator=seeded(seed), dtype=F64)
    with torch.no_grad():
        for half in (net.kinetic, net.potential):
            for layer in half.mlp.layers:
                layer.weight.mul_(2)
            if half.form is not None:  # confining, so that orbits stay where H was tried
                half.form.matrix.copy_(1.5 * torch.eye(dim))
                half.form.matrix.add_(0.3 * torch.randn(dim, dim, generator=seeded(seed + 1)))
                half.form.vector.add_(0.3 * torch.randn(dim, generator=seeded(seed + 2)))
    return net


def slow_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let every look at the clock of a fit take so long."""
    ticks = itertools.count(0.0, seconds)
    clock = types.SimpleNamespace(monotonic=lambda: next(ticks))
    for module in ("model.model", "training.run"):
        monkeypatch.setattr(f"srnn.{module}.time", clock)


class JointHNet(torch.nn.Module):
    """H(q, p) as one network: it is not separable."""

    separable = False

    def __init__(self, seed: int, dim: int = 2, hidden: int | tuple[int, ...] = 8) -> None:
        super().__init__()
        self.dim = dim
        self.mlp = srnn.nn.MLP(2 * dim, 1, hidden, generator=seeded(seed), dtype=F64)
        with torch.no_grad():
            for layer in self.mlp.layers:
                layer.weight.mul_(2)

    def forward(self, z: Tensor) -> Tensor:
        return self.mlp(z)[..., 0]


class ProductH:
    """H = (q^2 + 1)(p^2 + 1) / 2, Tao's (2016) example: not separable, with closed orbits."""

    dim = 1
    separable = False

    def __call__(self, z: Tensor) -> Tensor:
        q, p = z[..., 0], z[..., 1]
        return (q * q + 1) * (p * p + 1) / 2

    def gradient(self, z: Tensor) -> Tensor:
        q, p = z[..., 0], z[..., 1]
        return torch.stack((q * (p * p + 1), p * (q * q + 1)), dim=-1)


class ConvexH:
    """A separable, strictly convex H that has no closed-form gradients."""

    separable = True

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self, z: Tensor) -> Tensor:
        q, p = z[..., : self.dim], z[..., self.dim :]
        stretch = torch.diff(q, dim=-1)
        kinetic = (p * p / 2 + torch.log(torch.cosh(2 * p))).sum(-1)
        return kinetic + (q * q / 2 + q**4 / 4).sum(-1) + (stretch * stretch).sum(-1)


def adaptive(
    rhs: Callable[[Any], Any], z0: Sequence[float], time: float, points: int = 1
) -> Tensor:
    """States at equal times up to `time`, to about 1e-13, by SciPy's DOP853."""
    times = np.linspace(0, time, points + 1)
    done = solve_ivp(
        lambda t, z: rhs(z), (0, time), z0, "DOP853", t_eval=times, rtol=3e-14, atol=1e-14
    )
    return torch.tensor(done.y.T)


def linear_matrix(kinetic: Tensor, potential: Tensor) -> Tensor:
    """A of dz/dt = A z for H = p K p / 2 + q V q / 2."""
    zero = torch.zeros_like(kinetic)
    return torch.cat((torch.cat((zero, kinetic), 1), torch.cat((-potential, zero), 1)))


def slope(steps: Sequence[int], errors: Sequence[float]) -> float:
    """Order of convergence: the slope of log(error) against log(dt), by least squares."""
    return float(-np.polyfit(np.log(steps), np.log(errors), 1)[0])


def omega(dim: int) -> Tensor:
    """J of the symplectic form, for a state (q, p)."""
    zero, eye = torch.zeros(dim, dim, dtype=F64), torch.eye(dim, dtype=F64)
    return torch.cat((torch.cat((zero, eye), 1), torch.cat((-eye, zero), 1)))


def jacobian(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    found: Tensor = torch.autograd.functional.jacobian(function, z)
    return found


def symplectic_defect(matrix: Tensor, form: Tensor) -> float:
    """Largest entry of F^T J F - J."""
    return float((matrix.mT @ form @ matrix - form).abs().max())


def flow_map(field: Any, name: str, dt: float, steps: int) -> Callable[[Tensor], Tensor]:
    """The map z(0) -> z(steps * dt) of one state."""
    return lambda z: srnn.rollout(field, name, z[None], dt=dt, steps=steps)[-1, 0]
