from typing import Any

import pytest
import torch
from helpers import F64, ConvexH, JointHNet, ProductH, randn, random_hnet, seeded

import srnn
from srnn.motion.fields import Hamiltonian, HamiltonianField, VectorField, as_field, weight_of
from srnn.motion.scaling import Scale, ScaledField, ScaledHamiltonian


def hamiltons_equations(H: object, z: torch.Tensor) -> torch.Tensor:
    """(dH/dp, -dH/dq) by autograd of the energy, which every field has to agree with."""
    z = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(H(z).sum(), z)
    dim = z.shape[-1] // 2
    return torch.cat((gradient[..., dim:], -gradient[..., :dim]), dim=-1)


HAMILTONIANS = {
    "hnet": random_hnet(0),
    "deep-quadratic-hnet": random_hnet(1, hidden=(8, 6, 4), quadratic=True),
    "convex-by-autograd": ConvexH(2),
    "joint": JointHNet(0),
    "double-pendulum": srnn.systems.DoublePendulum(),
    "henon-heiles": srnn.systems.HenonHeiles(),
}


@pytest.mark.parametrize("H", HAMILTONIANS.values(), ids=HAMILTONIANS)
def test_a_hamiltonian_field_is_hamiltons_equations(H: object) -> None:
    field, z = HamiltonianField(H), randn(0, 3, 5, 4)
    expected = hamiltons_equations(H, z)
    torch.testing.assert_close(field(z), expected, rtol=1e-12, atol=1e-12)
    q, p = z[..., :2], z[..., 2:]
    torch.testing.assert_close(field.velocity(q, p), expected[..., :2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(field.force(q, p), expected[..., 2:], rtol=1e-12, atol=1e-12)


def test_the_signs_on_an_oscillator() -> None:
    field = as_field(srnn.systems.MassSpring(mass=2.0, stiffness=3.0))
    z = torch.tensor([1.0, 4.0])
    assert field(z).tolist() == [2.0, -3.0]
    assert field.velocity(z[:1], z[1:]).tolist() == [2.0]
    assert field.force(z[:1], z[1:]).tolist() == [-3.0]


def test_a_closed_form_gradient_is_used_where_there_is_one() -> None:
    class Given:
        dim, separable = 1, False

        def __call__(self, z: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the energy is not needed")

        def gradient(self, z: torch.Tensor) -> torch.Tensor:
            return 2 * z

    assert HamiltonianField(Given())(torch.tensor([1.0, 3.0])).tolist() == [6.0, -2.0]


@pytest.mark.parametrize("H", [ConvexH(2), JointHNet(0)], ids=["separable", "joint"])
def test_a_field_by_autograd_is_differentiable_again(H: object) -> None:
    field, z = HamiltonianField(H), randn(0, 4)
    matrix = torch.autograd.functional.jacobian(field, z)
    hessian = torch.autograd.functional.hessian(H, z)
    expected = torch.cat((hessian[2:], -hessian[:2]))
    torch.testing.assert_close(matrix, expected, rtol=1e-10, atol=1e-10)


# torch's forward mode loads its own TorchScript decompositions.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("H", HAMILTONIANS.values(), ids=HAMILTONIANS)
def test_fields_compose_with_torch_func(H: object) -> None:
    field, z, tangent = HamiltonianField(H), randn(0, 5, 4), randn(1, 5, 4)
    torch.testing.assert_close(torch.func.vmap(field)(z), field(z))
    matrices = torch.func.vmap(torch.func.jacrev(field))(z)
    for k in range(5):
        reverse = torch.autograd.functional.jacobian(field, z[k])
        torch.testing.assert_close(matrices[k], reverse, rtol=1e-10, atol=1e-12)
    value, derivative = torch.func.jvp(field, (z,), (tangent,))
    torch.testing.assert_close(value, field(z))
    torch.testing.assert_close(derivative, torch.einsum("bij,bj->bi", matrices, tangent))


def test_a_vector_field_is_its_function() -> None:
    field, z = (
        VectorField(lambda z: z * torch.tensor([1.0, 2.0, 3.0, 4.0]), dim=2),
        torch.ones(3, 4),
    )
    assert field(z)[0].tolist() == [1, 2, 3, 4]
    assert field.velocity(z[:, :2], z[:, 2:])[0].tolist() == [1, 2]
    assert field.force(z[:, :2], z[:, 2:])[0].tolist() == [3, 4]
    assert field.hamiltonian is None
    assert not field.separable


def test_as_field_knows_what_it_is_given() -> None:
    H, f = random_hnet(0), srnn.ONet(2, 4, generator=seeded(0))
    field = as_field(H)
    assert isinstance(field, HamiltonianField)
    assert field.hamiltonian is H
    assert (field.dim, field.separable) == (2, True)
    assert as_field(field) is field
    assert isinstance(as_field(f), VectorField)
    assert as_field(f).dim == 2
    assert not as_field(ProductH()).separable
    assert isinstance(H, Hamiltonian)

    class Own:
        dim, separable, hamiltonian = 1, False, None

        def velocity(self, q: object, p: object) -> object:
            return p

        def force(self, q: object, p: object) -> object:
            return q

    own = Own()
    assert as_field(own) is own


@pytest.mark.parametrize("wrong", [None, 3, "leapfrog", torch.zeros(2), lambda z: z])
def test_what_is_no_field_is_refused(wrong: object) -> None:
    with pytest.raises(
        TypeError, match=r"Expected a field, a Hamiltonian .* VectorField\(function"
    ):
        as_field(wrong)


def test_a_recurrent_network_is_no_field() -> None:
    with pytest.raises(TypeError, match="LSTM gives the next state and no dz/dt"):
        as_field(srnn.LSTM(1, 2, generator=seeded(0)))


def test_a_hamiltonian_without_a_size_is_refused() -> None:
    class NoDim:
        separable = True

    with pytest.raises(
        TypeError, match="Expected a Hamiltonian with an attribute `dim`; got NoDim"
    ):
        as_field(NoDim())


def test_the_weight_inside_a_field_tells_its_dtype() -> None:
    H, f = random_hnet(0), srnn.ONet(2, 4, generator=seeded(0))
    scale = Scale.identity(2, torch.zeros(1, dtype=F64))
    for thing in (
        H,
        as_field(H),
        ScaledHamiltonian(H, scale),
        as_field(ScaledHamiltonian(H, scale)),
    ):
        assert weight_of(thing) is H.kinetic.mlp.layers[0].weight
    for thing in (f, as_field(f), as_field(ScaledField(f, scale))):
        assert weight_of(thing) is f.mlp.layers[0].weight
    for thing in (ProductH(), as_field(ProductH()), VectorField(torch.neg, 1), torch.nn.Identity()):
        assert weight_of(thing) is None


class Own:
    """A Hamiltonian or a field of one's own, by what it gives."""

    dim, separable = 1, False

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)

    def __call__(self, z: torch.Tensor) -> Any:
        return self.gives(z)  # type: ignore[attr-defined]


def energy(z: torch.Tensor) -> torch.Tensor:
    return z.square().sum(dim=-1) / 2 + (z[..., 0] * z[..., 1]) ** 2


def quartic(z: torch.Tensor) -> torch.Tensor:
    return z[..., 1] ** 2 / 2 + z[..., 0] ** 4


class Normalised(torch.nn.Module):
    dim, separable = 1, False

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return energy((z - z.mean(dim=0)) / 2)


def field_of(function: Any) -> VectorField:
    return VectorField(function, dim=1)


WRONG: dict[str, tuple[Any, str]] = {
    "mean": (Own(gives=lambda z: energy(z).mean()), r"one energy a state of Own, .* got \(\)"),
    "mean of each": (Own(gives=lambda z: energy(z).mean().expand(len(z))), "depend on its own sta"),
    "normalised": (Normalised(), "the energy of Normalised to depend on its own state alone"),
    "column": (Own(gives=lambda z: energy(z)[..., None]), r"shape \(\d+,\) .* got \(\d+, 1\)"),
    "vector": (Own(gives=lambda z: -z), r"got \(\d+, 2\).* wrap it as srnn.fields.VectorField"),
    "detached": (Own(gives=lambda z: energy(z).detach()), "cannot be differentiated in the states"),
    "integer": (Own(gives=lambda z: energy(z).long()), "floating-point numbers; got torch.int64"),
    "nothing": (Own(gives=lambda z: None), "energy of Own to be a torch.Tensor; got NoneType"),
    "two": (Own(gives=lambda z: (energy(z), z)), "energy of Own to be a torch.Tensor; got tuple"),
    "separable": (Own(separable=True, gives=lambda z: quartic(z).sum()), r"one energy .* got \(\)"),
    "kinetic": (
        Own(separable=True, gives=quartic, kinetic_gradient=lambda p: p.sum(dim=-1)),
        r"kinetic_gradient of Own to have the shape of its states, \(\d+, 1\); got \(\d+,\)",
    ),
    "gradient": (
        Own(gives=energy, gradient=lambda z: z[..., :1]),
        r"gradient of Own .* got \(\d+, 1",
    ),
    "rates: mean": (
        field_of(lambda z: -z.mean(dim=0)),
        r"dz/dt of <lambda> .* \(\d+, 2\); got \(2,\)",
    ),
    "rates: each": (
        field_of(lambda z: z - z.mean(dim=0)),
        "dz/dt of <lambda> to depend on its own",
    ),
    "rates: energy": (field_of(energy), r"dz/dt of energy to have the shape .* got \(\d+,\)"),
    "rates: nothing": (
        field_of(lambda z: None),
        "dz/dt of <lambda> to be a torch.Tensor; got None",
    ),
    "rates: force": (
        Own(gives=torch.neg, velocity=lambda q, p: p, force=lambda q, p: -q.sum()),
        r"force of Own to have the shape of its states, \(\d+, 1\); got \(\)",
    ),
    "rates: integer": (field_of(lambda z: (-z).long()), "floating-point numbers; got torch.int64"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("batch", [1, 5])
def test_what_gives_no_motion_of_single_states_is_refused(name: str, batch: int) -> None:
    wrong, text = WRONG[name]
    z0, method = randn(0, batch, 2), "rk4" if name.startswith("rates") else "tao2"
    for _ in range(2):  # what is wrong once stays so
        with pytest.raises((TypeError, ValueError), match=text):
            srnn.rollout(wrong, method, z0, dt=0.1, steps=1)
    data = srnn.Trajectories.from_states(randn(0, 3, batch, 2), dt=0.1)
    model = srnn.Model(wrong, method)
    for call in (lambda: model.predict(data, steps=2), lambda: model.diagnose(data)):
        with pytest.raises((TypeError, ValueError), match=text):
            call()


class Learning(torch.nn.Module):
    """A network of one's own around what it gives."""

    dim, separable = 1, False

    def __init__(self, gives: Any) -> None:
        super().__init__()
        self.gives, self.weight = gives, torch.nn.Parameter(torch.ones((), dtype=F64))

    def forward(self, z: torch.Tensor) -> Any:
        return self.gives(z, self.weight)


@pytest.mark.parametrize("derivatives", [False, True])
@pytest.mark.parametrize(
    ("gives", "text"),
    [
        (lambda z, w: w * energy(z).mean(), "one energy a state of Learning"),
        (lambda z, w: energy(w.detach() * z), "does not depend on a parameter that is to learn"),
    ],
)
def test_a_network_that_cannot_learn_a_motion_is_refused(
    gives: Any, text: str, derivatives: bool
) -> None:
    data = srnn.systems.MassSpring().simulate(
        6, steps=3, dt=0.1, generator=seeded(0), dtype=F64, derivatives=True
    )
    with pytest.raises((TypeError, ValueError), match=text):
        srnn.Model(Learning(gives), "tao2").fit(data, derivatives=derivatives, progress=False)


def test_what_is_in_order_is_asked_once_and_single_states_stay_single() -> None:
    calls = []
    own = field_of(lambda z: calls.append(z.shape) or torch.stack((z[1], -z[0])))
    for _ in range(3):
        srnn.rollout(own, "euler", torch.ones(2), dt=0.1, steps=2)
    assert calls == [(2,)] * 7


def test_dropout_is_no_dependence_on_the_batch() -> None:
    drop = torch.nn.Dropout(0.5)
    rates = field_of(lambda z: drop(z))
    assert srnn.rollout(rates, "euler", torch.ones(9, 2), dt=0.1, steps=1).isfinite().all()


def test_a_model_is_not_its_field() -> None:
    model = srnn.SRNN(dim=1, hidden=4)
    text = (
        r"^Expected a field; got the model SRNN\. Pass model\.field, which is in the data's units"
    )
    with pytest.raises(TypeError, match=text):
        as_field(model)
    with pytest.raises(TypeError, match=text):
        srnn.rollout(model, "leapfrog", torch.zeros(1, 2), dt=0.1, steps=1)
    assert srnn.rollout(model.field, "leapfrog", torch.zeros(1, 2), dt=0.1, steps=1).shape == (
        2,
        1,
        2,
    )


def test_fields_of_a_batch_may_each_have_parameters_of_their_own() -> None:
    gamma = torch.linspace(0.0, 1.0, 7, dtype=F64)[:, None]
    damped = VectorField(lambda z: torch.cat((z[..., 1:], -z[..., :1] - gamma * z[..., 1:]), -1), 1)
    z0 = randn(0, 7, 2)
    states = srnn.rollout(damped, "rk4", z0, dt=0.1, steps=3)
    one = VectorField(lambda z: torch.stack((z[..., 1], -z[..., 0] - z[..., 1]), -1), dim=1)
    assert torch.allclose(states[:, -1], srnn.rollout(one, "rk4", z0[-1], dt=0.1, steps=3))
