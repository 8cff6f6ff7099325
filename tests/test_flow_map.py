"""Jacobians of flow maps: against reverse mode and closed forms, and their symplecticity."""

from typing import Any

import pytest
import torch
from helpers import (
    F64,
    ConvexH,
    JointHNet,
    jacobian,
    linear_matrix,
    omega,
    randn,
    random_hnet,
    seeded,
)
from torch import Tensor

import srnn
from srnn.motion import integrators
from srnn.motion.flow_map import TangentField, flow_map, singular_pairs, symplectic_defect
from srnn.systems import DoublePendulum, Pendulum, QuadraticHamiltonian, SpringChain, ThreeBody


class MyEuler:
    """An integrator that is none of the library's."""

    name, order, symplectic = "my-euler", 1, False

    def init(self, field: Any, z0: Tensor) -> Tensor:
        return z0

    def step(self, field: Any, state: Tensor, dt: float) -> Tensor:
        return state + dt * field(state)

    def read(self, state: Tensor) -> Tensor:
        return state


class Falling:
    """H = p^2 / 2 + 3 q: the force is the same everywhere."""

    dim = 1

    def __init__(self, separable: bool) -> None:
        self.separable = separable

    def __call__(self, z: Tensor) -> Tensor:
        return z[..., 1] ** 2 / 2 + 3 * z[..., 0]


def onet() -> srnn.ONet:
    return srnn.ONet(2, 8, generator=seeded(3), dtype=F64)


CONVEX = ConvexH(2)
CHAIN = SpringChain([1.0, 2.0, 0.5], [3.0, 1.0, 2.0, 4.0])
CASES: dict[str, tuple[Any, Any]] = {
    f"hnet-{name}": (random_hnet(1), name) for name in integrators.available()
}
CASES |= {
    "hnet-deep": (random_hnet(2, hidden=(6, 5, 4), quadratic=True), "leapfrog"),
    "hnet-my-euler": (random_hnet(3), MyEuler()),
    "quadratic": (srnn.QuadraticH(2, dtype=F64), "leapfrog"),
    "onet-euler": (onet(), "euler"),
    "onet-rk4": (onet(), "rk4"),
    "onet-leapfrog": (onet(), "leapfrog"),
    "onet-reused-kick": (onet(), "leapfrog-reused-kick"),
    "joint-tao2": (JointHNet(4), "tao2"),
    "joint-tao4": (JointHNet(5, hidden=(6, 5)), "tao4"),
    "joint-implicit": (JointHNet(6), "implicit-midpoint"),
    "convex": (ConvexH(2), "yoshida4"),
    "chain": (CHAIN, "leapfrog"),
    "pendulum": (Pendulum(), "leapfrog"),
    "double-pendulum": (DoublePendulum(), "tao2"),
    "three-body": (ThreeBody(), "leapfrog"),
    "falling": (Falling(True), "leapfrog"),
    "falling-jointly": (Falling(False), "rk4"),
    "rnn": (srnn.RNN(2, 6, generator=seeded(7), dtype=F64), None),
    "lstm": (srnn.LSTM(2, 6, generator=seeded(8), dtype=F64), None),
}


def starts(field: Any, batch: int, seed: int = 0) -> Tensor:
    if isinstance(field, ThreeBody):
        return field.initial_states(batch, generator=seeded(seed))
    return 0.7 * randn(seed, batch, 2 * field.dim)


def by_reverse_mode(field: Any, method: Any, z0: Tensor, **how: Any) -> Tensor:
    """F of every time and state; a sum over states, which do not mix, serves all at once."""
    rows = jacobian(lambda z: srnn.rollout(field, method, z, **how).sum(dim=1), z0)
    return rows.movedim(2, 1)


@pytest.mark.parametrize(("field", "method"), CASES.values(), ids=CASES)
def test_it_is_the_jacobian_of_the_rollout(field: Any, method: Any) -> None:
    z0 = starts(field, 3)
    substeps = 1 if method is None else 2
    how: dict[str, Any] = {"dt": 0.1, "steps": 3, "substeps": substeps}
    states, F = flow_map(field, method, z0, **how)
    rolled = srnn.rollout(field, method, z0, **how).detach()
    torch.testing.assert_close(states, rolled, rtol=1e-14, atol=1e-14)
    expected = by_reverse_mode(field, method, z0, **how)
    torch.testing.assert_close(F, expected, rtol=1e-12, atol=1e-13)


def test_the_variational_equations_are_taken_where_second_derivatives_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The speed of an H-NET's Jacobians hangs on it; the numbers do not.
    def refuse(*_: Any) -> None:
        raise AssertionError("differentiated the rollout")

    z0 = randn(0, 2, 4)
    other = flow_map(random_hnet(1), MyEuler(), z0, dt=0.1, steps=3)
    monkeypatch.setattr("srnn.motion.flow_map._transposed_twice", refuse)
    same = flow_map(random_hnet(1), "euler", z0, dt=0.1, steps=3)
    torch.testing.assert_close(same, other, rtol=1e-13, atol=1e-14)
    with pytest.raises(AssertionError, match=r"^differentiated the rollout$"):
        flow_map(ConvexH(2), "leapfrog", z0, dt=0.1, steps=3)


@pytest.mark.parametrize("field", [CHAIN, "shadow"], ids=["chain", "shadow"])
def test_of_a_linear_chain_it_is_a_power_of_one_matrix(field: Any) -> None:
    dt, steps, z0 = 0.2, 30, randn(1, 4, 6)
    if field == "shadow":  # its leapfrog step is the exact motion
        field = CHAIN.shadow_hamiltonian(dt)
        step = torch.linalg.matrix_exp(dt * CHAIN.matrix())
    else:
        zero, eye = torch.zeros(3, 3, dtype=F64), torch.eye(3, dtype=F64)
        kick = torch.cat(
            (torch.cat((eye, zero), 1), torch.cat((-dt / 2 * CHAIN.stiffness_matrix(), eye), 1))
        )
        drift = torch.cat(
            (torch.cat((eye, dt * torch.diag(1 / CHAIN.masses)), 1), torch.cat((zero, eye), 1))
        )
        step = kick @ drift @ kick
    F = flow_map(field, "leapfrog", z0, dt=dt, steps=steps)[1]
    for t in range(steps + 1):
        expected = torch.linalg.matrix_power(step, t).expand(4, 6, 6)
        torch.testing.assert_close(F[t], expected, rtol=0, atol=1e-12)


def test_it_is_the_derivative_that_finite_differences_see() -> None:
    field, z0, v, eps = (
        random_hnet(2, hidden=(6, 5), quadratic=True),
        randn(2, 4),
        randn(3, 4),
        1e-6,
    )
    how: dict[str, Any] = {"dt": 0.1, "steps": 20}
    F = flow_map(field, "yoshida4", z0, **how)[1]
    ahead, behind = (srnn.rollout(field, "yoshida4", z0 + e * v, **how) for e in (eps, -eps))
    moved = ((ahead - behind) / (2 * eps)).detach()
    torch.testing.assert_close(F @ v, moved, rtol=1e-7, atol=1e-8)


def test_jacobians_of_successive_stretches_multiply() -> None:
    field, z0 = random_hnet(4), randn(4, 3, 4)
    states, whole = flow_map(field, "leapfrog", z0, dt=0.1, steps=9)
    second = flow_map(field, "leapfrog", states[4], dt=0.1, steps=5)[1]
    torch.testing.assert_close(second @ whole[4], whole[4:], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["hnet-leapfrog", "convex", "lstm"])
def test_pieces_of_the_batch_give_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field, method = CASES[name]
    z0 = starts(field, 5)
    whole = flow_map(field, method, z0, dt=0.1, steps=3)
    sizes = []
    rollout = srnn.rollout

    def counted(field: Any, method: Any, z0: Tensor, **how: Any) -> Tensor:
        sizes.append(len(z0))
        return rollout(field, method, z0, **how)

    monkeypatch.setattr("srnn.motion.flow_map.rollout", counted)
    monkeypatch.setattr("srnn.motion.flow_map._PIECE", 1)
    pieces = flow_map(field, method, z0, dt=0.1, steps=3)
    assert sizes == [1] * 5
    torch.testing.assert_close(pieces, whole, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ["hnet-leapfrog", "convex", "rnn"])
def test_leading_axes_pass_through(name: str) -> None:
    field, method = CASES[name]
    z0 = starts(field, 6)
    states, F = flow_map(field, method, z0, dt=0.1, steps=3)
    shaped = flow_map(field, method, z0.reshape(2, 3, 4), dt=0.1, steps=3)
    assert torch.equal(shaped[0], states.reshape(4, 2, 3, 4))
    assert torch.equal(shaped[1], F.reshape(4, 2, 3, 4, 4))
    alone = flow_map(field, method, z0[5], dt=0.1, steps=3)
    assert alone[1].shape == (4, 4, 4)
    torch.testing.assert_close(alone, (states[:, 5], F[:, 5]), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ["hnet-leapfrog", "joint-tao2", "rnn"])
def test_single_precision_stays_so(name: str) -> None:
    field, method = CASES[name]
    z0 = starts(field, 3)
    F = flow_map(field, method, z0, dt=0.1, steps=5)[1]
    try:
        single = flow_map(field.float(), method, z0.float(), dt=0.1, steps=5)
    finally:
        field.double()
    assert {x.dtype for x in single} == {torch.float32}
    torch.testing.assert_close(single[1].double(), F, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["hnet-leapfrog", "convex", "onet-rk4", "joint-implicit", "lstm"])
def test_it_leaves_no_trace(name: str) -> None:
    field, method = CASES[name]
    z0 = starts(field, 3).requires_grad_()
    kept = z0.detach().clone()
    with torch.no_grad():
        quiet = flow_map(field, method, z0, dt=0.1, steps=3)
    loud = flow_map(field, method, z0, dt=0.1, steps=3)
    assert not any(x.requires_grad for x in (*quiet, *loud))
    assert all(torch.equal(a, b) for a, b in zip(quiet, loud, strict=True))
    assert torch.equal(z0, kept)
    assert z0.grad is None
    if isinstance(field, torch.nn.Module):
        assert all(w.grad is None for w in field.parameters())


@pytest.mark.parametrize(
    "name",
    ["hnet-deep", "convex", "pendulum", "onet-rk4", "joint-tao2", "falling", "falling-jointly"],
)
def test_the_tangent_field_is_the_variational_equation(name: str) -> None:
    field = srnn.fields.as_field(CASES[name][0])
    d = field.dim
    tangent, z, dz = TangentField(field, 3), randn(9, 5, 2 * d), randn(10, 5, 3, 2 * d)
    both = torch.cat((z[:, None], dz), dim=1)
    lifted = torch.cat((both[..., :d].flatten(1), both[..., d:].flatten(1)), dim=-1)
    matrices = torch.stack([jacobian(field, x) for x in z])
    rates = torch.cat((field(z)[:, None], dz @ matrices.mT), dim=1)
    expected = torch.cat((rates[..., :d].flatten(1), rates[..., d:].flatten(1)), dim=-1)
    torch.testing.assert_close(tangent(lifted), expected, rtol=1e-12, atol=1e-13)
    q, p = lifted[:, : 4 * d], lifted[:, 4 * d :]
    torch.testing.assert_close(tangent.velocity(q, p), expected[:, : 4 * d], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(tangent.force(q, p), expected[:, 4 * d :], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("field", "method"), [(ConvexH(2), "leapfrog"), (JointHNet(0), "tao2")])
def test_the_tangent_field_can_be_integrated(field: Any, method: str) -> None:
    z, v = randn(11, 4), randn(12, 4)
    start = torch.stack((z, v))
    lifted = torch.cat((start[:, :2].flatten(), start[:, 2:].flatten()))
    moved = srnn.rollout(TangentField(field, 1), method, lifted, dt=0.1, steps=5).detach()
    found = torch.cat((moved[:, 2:4], moved[:, 6:8]), dim=-1)
    F = flow_map(field, method, z, dt=0.1, steps=5)[1]
    torch.testing.assert_close(found, F @ v, rtol=1e-12, atol=1e-13)


def test_the_defect_is_the_largest_entry_of_what_symplecticity_leaves() -> None:
    F, J = randn(13, 5, 2, 6, 6), omega(3)
    expected = (F.mT @ J @ F - J).abs().amax(dim=(-2, -1))
    torch.testing.assert_close(symplectic_defect(F), expected, rtol=1e-13, atol=0)
    assert symplectic_defect(J) == 0
    assert symplectic_defect(F.float()).dtype == torch.float32


def test_singular_values_pair_from_the_outside_in() -> None:
    turn = torch.linalg.qr(randn(14, 6, 6))[0]
    F = turn @ torch.diag(torch.tensor([3.0, 0.1, 7.0, 2.0, 0.5, 1.0], dtype=F64)) @ turn
    expected = torch.tensor([[7.0, 0.1], [3.0, 0.5], [2.0, 1.0]], dtype=F64)
    torch.testing.assert_close(singular_pairs(F), expected, rtol=1e-12, atol=0)


def test_in_one_dimension_a_linear_motion_turns_and_stretches() -> None:
    # Of H = a p^2/2 + b q^2/2 with exp(A t): singular values from F in closed form, after a
    # quarter turn, when F = [[0, sqrt(a/b)], [-sqrt(b/a), 0]].
    a, b = 4.0, 1.0
    A = linear_matrix(torch.tensor([[a]], dtype=F64), torch.tensor([[b]], dtype=F64))
    F = torch.linalg.matrix_exp(A * torch.pi / 2 / (a * b) ** 0.5)
    expected = torch.tensor([[2.0, 0.5]], dtype=F64)
    torch.testing.assert_close(singular_pairs(F), expected, rtol=1e-12, atol=0)
    H = QuadraticHamiltonian(torch.tensor([[a]], dtype=F64), torch.tensor([[b]], dtype=F64))
    z0 = torch.ones(1, 2, dtype=F64)
    quarter = torch.pi / 2 / (a * b) ** 0.5
    found = flow_map(H, "yoshida8", z0, dt=quarter / 20, steps=20)[1][-1, 0]
    torch.testing.assert_close(found, F, rtol=0, atol=1e-9)


@pytest.mark.parametrize("function", [symplectic_defect, singular_pairs])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 3)], ids=str)
def test_matrices_that_are_not_of_states_are_refused(function: Any, shape: tuple[int, ...]) -> None:
    text = rf"^Expected `jacobians` to have shape \(\.\.\., 2\*dim, 2\*dim\); got \({shape[0]},"
    with pytest.raises(ValueError, match=text):
        function(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"dt": 0.0}, ValueError, r"^Expected `dt` to be a positive finite number; got 0\.0\.$"),
        ({"steps": 0}, ValueError, r"^Expected `steps` to be at least 1; got 0\.$"),
        ({"steps": 2.0}, TypeError, r"^Expected `steps` to be an integer; got 2\.0\.$"),
        ({"substeps": 0.5, "field": CONVEX}, TypeError, r"^Expected `substeps` to be an integer;"),
        ({"substeps": 0}, ValueError, r"^Expected `substeps` to be at least 1; got 0\.$"),
        ({"z0": torch.zeros(3, 3)}, ValueError, r"^Expected `z0` to have shape \(batch, 2\*dim\)"),
        ({"z0": torch.zeros(3, 4)}, TypeError, r"^Expected `z0` and `field` to have one dtype;"),
        ({"integrator": "none"}, ValueError, r"^Unknown `integrator`: 'none'\."),
        ({"field": JointHNet(0)}, ValueError, r"^The integrator 'leapfrog' splits H into"),
        ({"field": CASES["rnn"][0]}, ValueError, r"^RNN is its own step .* pass integrator=None,"),
        ({"field": 3}, TypeError, r"^Expected a field, a Hamiltonian .*; got int\."),
    ],
)
def test_what_a_rollout_refuses_is_refused(change: Any, error: Any, text: str) -> None:
    given: dict[str, Any] = {
        "field": CASES["hnet-leapfrog"][0],
        "integrator": "leapfrog",
        "z0": randn(0, 3, 4),
    }
    given.update({"dt": 0.1, "steps": 2} | change)
    with pytest.raises(error, match=text):
        flow_map(given.pop("field"), given.pop("integrator"), given.pop("z0"), **given)


def test_no_trajectory_gives_none() -> None:
    states, F = flow_map(Pendulum(), "leapfrog", torch.zeros(0, 2), dt=0.1, steps=3)
    assert states.shape == (4, 0, 2)
    assert F.shape == (4, 0, 2, 2)
