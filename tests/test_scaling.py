import math
from typing import Any

import pytest
import torch
from helpers import F64, ConvexH, JointHNet, randn, random_hnet, seeded
from hypothesis import given, settings
from hypothesis import strategies as st

import srnn
from srnn.motion.fields import as_field
from srnn.motion.scaling import Scale, ScaledField, ScaledHamiltonian

SCALE = Scale(q=2.0, p=0.25, time=3.0, shift=torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=F64))
size = st.floats(1e-3, 1e3)
finite = st.floats(-1e3, 1e3)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    q=size,
    p=size,
    shift=st.lists(finite, min_size=4, max_size=4),
    z=st.lists(finite, min_size=4, max_size=4),
)
def test_decoding_undoes_encoding(q: float, p: float, shift: list[float], z: list[float]) -> None:
    scale = Scale(q, p, 1.0, torch.tensor(shift, dtype=F64))
    state = torch.tensor(z, dtype=F64)
    there = scale.encode(state)
    assert there[:2].tolist() == [(z[k] - shift[k]) / q for k in (0, 1)]
    assert there[2:].tolist() == [(z[k] - shift[k]) / p for k in (2, 3)]
    torch.testing.assert_close(scale.decode(there), state, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(scale.encode(scale.decode(state)), state, rtol=1e-9, atol=1e-9)


def test_the_identity_changes_nothing() -> None:
    z = randn(0, 3, 4)
    identity = Scale.identity(2, z)
    assert torch.equal(identity.encode(z), z)
    assert torch.equal(identity.decode(z), z)
    assert identity.shift.dtype == F64
    assert identity.time == 1


def test_conversion_moves_the_shift() -> None:
    single = SCALE.to(torch.float32)
    assert SCALE.factor is SCALE.factor  # made once
    assert SCALE.factor.tolist() == [2, 2, 0.25, 0.25]
    assert SCALE.factor.dtype == F64
    assert single.shift.dtype == single.factor.dtype == torch.float32
    assert (single.q, single.p, single.time) == ((2.0,) * 2, (0.25,) * 2, 3.0)


def test_units_are_read_off_the_data() -> None:
    # q = 5 + 2 cos(3t), p = 7 sin(3t) over whole periods and all phases.
    t = torch.arange(60, dtype=F64) * (2 * math.pi / 3 / 60)
    phase = torch.arange(20, dtype=F64) * (2 * math.pi / 20)
    angle = (3 * t[:, None] + phase)[..., None]
    data = srnn.Trajectories(q=5 + 2 * angle.cos(), p=7 * angle.sin(), dt=float(t[1]))
    scale = Scale.of(data)
    assert scale.q == pytest.approx((2 / 2**0.5,), rel=1e-12)
    assert scale.p == pytest.approx((7 / 2**0.5,), rel=1e-12)
    assert scale.time == pytest.approx(1 / 3, rel=0.1)
    assert scale.shift.tolist() == pytest.approx([5, 0], abs=1e-12)
    encoded = scale.encode(data.values)
    assert encoded.mean(dim=(0, 1)).abs().max() < 1e-12
    assert encoded.square().mean(dim=(0, 1)).tolist() == pytest.approx([1, 1])


def test_data_in_other_units_have_the_same_numbers_after_encoding() -> None:
    data = srnn.systems.HenonHeiles().simulate(5, 9, 0.1, seeded(0), dtype=F64)
    units = torch.tensor([100.0, 100.0, 0.01, 0.01], dtype=F64)
    other = srnn.Trajectories.from_states(data.values * units + 3, dt=0.1 * 60)
    one, two = Scale.of(data), Scale.of(other)
    torch.testing.assert_close(
        two.encode(other.values), one.encode(data.values), rtol=1e-9, atol=1e-9
    )
    assert two.time == pytest.approx(60 * one.time, rel=1e-9)


def test_noise_hardly_disturbs_the_unit_of_time() -> None:
    chain = srnn.systems.SpringChain.random(6, seeded(0))
    data = chain.simulate(100, 9, 0.1, seeded(1))
    noisy = data.with_noise(0.2, generator=seeded(2))
    assert Scale.of(noisy).time == pytest.approx(Scale.of(data).time, rel=0.15)


def test_an_h_of_pairs_learns_the_same_in_anyones_units() -> None:
    system = srnn.systems.ThreeBody()
    data = system.simulate(6, steps=4, dt=0.2, generator=seeded(0)).to(F64)
    length, time, mass = 1.5e11, 5e6, 2e30  # of planets, in metres, seconds and kilograms
    size = torch.tensor([length] * 6 + [mass * length / time] * 6, dtype=F64)
    origin = torch.tensor([3e11, -7e11] * 3 + [0.0] * 6, dtype=F64)
    outer = srnn.Trajectories.from_states(data.values * size + origin, dt=0.2 * time)
    found = []
    for observed in (data, outer):
        net = srnn.nn.PairwiseH(3, 2, 8, generator=seeded(1), dtype=F64)
        model = srnn.SRNN(6, hamiltonian=net, generator=seeded(2))
        model.fit(observed, epochs=3, progress=False)
        found.append(model.predict(observed, steps=4).values)
    torch.testing.assert_close((found[1] - origin) / size, found[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("states", [1, 2, 3])
def test_data_without_spread_keep_their_units(states: int) -> None:
    still = srnn.Trajectories.from_states(torch.full((states, 2, 4), 3.0), dt=0.1)
    scale = Scale.of(still)
    assert (scale.q, scale.p, scale.time) == ((1.0,) * 2, (1.0,) * 2, 1.0)
    assert scale.shift.tolist() == [3, 3, 3, 3]
    assert scale.shift.dtype == torch.float32


# -- a Hamiltonian in the data's units --------------------------------------------------------


@pytest.mark.parametrize(
    "inner",
    [random_hnet(0, quadratic=True), ConvexH(2), JointHNet(0)],
    ids=["hnet", "no-closed-form", "joint"],
)
def test_a_scaled_hamiltonian_is_consistent(inner: object) -> None:
    H, z = ScaledHamiltonian(inner, SCALE), randn(0, 5, 4)
    assert (H.dim, H.separable) == (2, inner.separable)
    torch.testing.assert_close(H(z), 2.0 * 0.25 / 3.0 * inner(SCALE.encode(z)))
    x = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(H(x).sum(), x)
    torch.testing.assert_close(as_field(H)(z), torch.cat((gradient[:, 2:], -gradient[:, :2]), 1))
    if H.separable:
        torch.testing.assert_close(H.potential_gradient(z[:, :2]), gradient[:, :2])
        torch.testing.assert_close(H.kinetic_gradient(z[:, 2:]), gradient[:, 2:])


def test_what_is_not_separable_has_no_separate_gradients() -> None:
    H = ScaledHamiltonian(JointHNet(0), SCALE)
    for gradient in (H.kinetic_gradient, H.potential_gradient):
        with pytest.raises(TypeError, match="JointHNet is not separable"):
            gradient(torch.zeros(2, dtype=F64))


@pytest.mark.parametrize("name", ["euler", "leapfrog", "yoshida4", "rk4", "implicit-midpoint"])
def test_an_integrator_does_the_same_in_both_units(name: str) -> None:
    inner, z0 = random_hnet(0, quadratic=True), 1 + randn(0, 3, 4)
    within = srnn.rollout(inner, name, SCALE.encode(z0), dt=0.1 / SCALE.time, steps=8)
    outside = srnn.rollout(ScaledHamiltonian(inner, SCALE), name, z0, dt=0.1, steps=8)
    assert (outside[-1] - z0).abs().max() > 0.1
    torch.testing.assert_close(SCALE.decode(within), outside, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["euler", "leapfrog", "leapfrog-reused-kick"])
def test_a_scaled_field_is_that_field_in_other_units(name: str) -> None:
    f, z0 = srnn.ONet(2, 8, generator=seeded(0), dtype=F64), randn(0, 3, 4)
    field = as_field(ScaledField(f, SCALE))
    within = srnn.rollout(f, name, SCALE.encode(z0), dt=0.1 / SCALE.time, steps=8)
    outside = srnn.rollout(field, name, z0, dt=0.1, steps=8)
    torch.testing.assert_close(SCALE.decode(within), outside, rtol=1e-11, atol=1e-11)


def test_a_scaled_oscillator_by_hand() -> None:
    # H^ = (P^2 + Q^2)/2 with q = 2Q, p = 6P, t = 3 tau turns into p^2/18 + q^2/2.
    net = srnn.QuadraticH(1, dtype=F64)
    with torch.no_grad():
        net.potential.matrix.fill_(1.0)
    H = ScaledHamiltonian(net, Scale(2.0, 6.0, 3.0, torch.zeros(2, dtype=F64)))
    assert H(torch.tensor([1.0, 3.0], dtype=F64)).item() == pytest.approx(9 / 18 + 1 / 2)


@pytest.mark.parametrize("kind", [srnn.HNet, srnn.ONet])
def test_states_that_do_not_fit_are_refused_in_the_units_of_the_data(kind: Any) -> None:
    net = kind(2, 4, dtype=torch.float32)
    scale = Scale(2.0, 3.0, 0.5, torch.ones(4))
    scaled = (ScaledHamiltonian if kind is srnn.HNet else ScaledField)(net, scale)
    assert scaled(torch.zeros(3, 4)).dtype == torch.float32
    with pytest.raises(TypeError, match=r"^Expected `z` and `weights` to have one dtype; got "):
        scaled(torch.zeros(3, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"^Expected `z` to have shape .* dim=2; got \(3, 6\)\.$"):
        scaled(torch.zeros(3, 6))
    if kind is srnn.HNet:
        for gradient, name in ((scaled.kinetic_gradient, "p"), (scaled.potential_gradient, "q")):
            with pytest.raises(ValueError, match=rf"^Expected `{name}` to have .* got \(3, 4\)\.$"):
                gradient(torch.zeros(3, 4))
            with pytest.raises(
                TypeError, match=r"and `weights` to have one dtype; got torch.float64"
            ):
                gradient(torch.zeros(3, 2, dtype=torch.float64))
