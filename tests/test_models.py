"""What a user holds: fit, predict, units, files."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers import seeded

import srnn
from srnn.errors import CheckpointError
from srnn.motion import integrators


@pytest.fixture(scope="module")
def chain():
    return srnn.systems.SpringChain.random(masses=4, generator=seeded(7))


@pytest.fixture(scope="module")
def data(chain):
    return chain.simulate(40, steps=9, dt=0.1, generator=seeded(1), dtype=torch.float64)


def model_of(net=None, *args, seed=0, **settings):
    net = srnn.HNet(4, 16, generator=seeded(seed)).double() if net is None else net
    return srnn.Model(net, *args, generator=seeded(seed), **settings)


# -- integrators of training and of testing -------------------------------------------------------


@pytest.mark.parametrize("train", ["euler", "leapfrog"])
@pytest.mark.parametrize("test", ["euler", "leapfrog"])
def test_train_and_test_integrators_are_independent(data, train, test):
    model = model_of(None, train, test_integrator=test)
    model.fit(data, epochs=2, window=2, progress=False)
    expected = srnn.rollout(model.field, test, data.values[0], dt=0.1, steps=5)
    predicted = model.predict(data, steps=5)
    torch.testing.assert_close(predicted.values, expected.detach(), rtol=1e-10, atol=1e-12)


def test_the_label_e_l_trains_as_e_e_and_predicts_as_l_l(data):
    trained = {}
    for name, test in (("E-E", "euler"), ("E-L", "leapfrog")):
        model = model_of(None, "euler", test_integrator=test)
        model.fit(data, epochs=2, progress=False)
        trained[name] = model
    for a, b in zip(*(m.net.parameters() for m in trained.values()), strict=True):
        assert torch.equal(a, b)
    by_argument = trained["E-E"].predict(data, steps=5, integrator="leapfrog")
    assert torch.equal(by_argument.values, trained["E-L"].predict(data, steps=5).values)


def test_step_size_and_number_of_steps_at_test_time_are_free(data):
    model = model_of()
    model.fit(data, epochs=2, progress=False)
    halved = model.predict(data, steps=20, dt=0.05)
    assert (halved.dt, halved.steps) == (0.05, 20)
    finer = model.predict(data, steps=10, substeps=2)
    torch.testing.assert_close(halved.values[::2], finer.values, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(finer.values, model.predict(data, steps=10).values, rtol=1e-6)


@pytest.mark.parametrize("net", [srnn.RNN, srnn.LSTM])
def test_recurrent_networks_learn_and_know_one_spacing(data, net):
    model = model_of(net(4, 32, generator=seeded()).double(), None)
    history = model.fit(data, epochs=15, learning_rate=1e-2, progress=False)
    assert history.train_loss[-1] < 0.5 * history.train_loss[0]
    assert model.predict(data, steps=30).steps == 30
    with pytest.raises(ValueError, match=r"has learnt steps of dt=0\.1 and knows no others"):
        model.predict(data, steps=3, dt=0.05)
    other = srnn.Trajectories.from_states(data.values, dt=0.2)
    with pytest.raises(ValueError, match=r"has learnt steps of dt=0\.1 and knows no others"):
        model.fit(other, epochs=1, progress=False)
    with pytest.raises(TypeError, match="has no vector field"):
        _ = model.field


def test_the_true_equations_predict_but_do_not_train(chain, data):
    model = srnn.SRNN(dim=4, hamiltonian=chain)
    by_hand = srnn.rollout(chain, "leapfrog", data.values[0], dt=0.1, steps=9)
    assert torch.equal(model.predict(data, steps=9).values, by_hand)
    with pytest.raises(ValueError, match="The model has no parameters to train"):
        model.fit(data)
    with pytest.raises(TypeError, match="not a module and has no weights to save"):
        model.save("nowhere.srnn")


# -- learning -------------------------------------------------------------------------------------


def test_a_quadratic_h_learns_the_shadow_of_the_chain_and_not_the_chain(chain, data):
    """Through leapfrog the learnt H is the one whose leapfrog is the truth (section 4.1)."""
    model = srnn.SRNN(dim=4, hamiltonian=srnn.QuadraticH(4).double(), generator=seeded())
    model.fit(data, window=2, epochs=150, learning_rate=3e-2, patience=None, progress=False)
    shadow = chain.shadow_hamiltonian(0.1)
    q = torch.eye(4, dtype=torch.float64)
    learnt, true, modified = (
        h.potential_gradient(q) - h.potential_gradient(0 * q)
        for h in (model.hamiltonian, chain, shadow)
    )
    assert (learnt - modified).norm() < 0.02 * (learnt - true).norm()


@pytest.mark.slow
def test_noisy_spring_chain_is_learnt_far_better_than_predicting_zero():
    """The main job at the paper's size: 20 masses, 1000 x 10 noisy points, 200 states."""
    g = seeded(0)
    chain = srnn.systems.SpringChain.random(masses=20, generator=g)
    train = chain.simulate(1000, steps=9, dt=0.1, generator=g).with_noise(0.2, generator=g)
    model = srnn.SRNN(dim=20, hidden=256, generator=g)
    model.fit(train, iso=False, epochs=10, progress=False)
    test = chain.simulate(32, steps=199, dt=0.1, generator=g).with_noise(0.2, generator=g)
    prediction = model.predict(test.first(10), steps=199, iso=False)
    error = srnn.metrics.position_error(prediction, test).mean()
    zero = test.q.norm(dim=-1).mean()
    assert error < 0.6 * zero
    clean = srnn.metrics.position_error(prediction, test, against="clean").mean()
    assert clean < error


def test_hnn_learns_from_derivatives_alone():
    chain = srnn.systems.FPUT(3)
    data = chain.simulate(100, steps=4, dt=0.3, generator=seeded(), derivatives=True)
    model = srnn.HNN(dim=3, hidden=64, generator=seeded(1))
    model.fit(data, epochs=40, learning_rate=3e-3, progress=False)
    field = srnn.fields.as_field(chain)
    z = data.values.flatten(0, 1)
    assert (model.field(z) - field(z)).norm() < 0.05 * field(z).norm()
    with pytest.raises(ValueError, match=r"needs `data` with derivatives: simulate\(..., deriv"):
        model.fit(srnn.Trajectories.from_states(data.values, dt=0.3))


def test_a_second_fit_goes_on_from_the_first(data):
    model = model_of()
    first = model.fit(data, epochs=5, progress=False, scheduler=None)
    units = model.scale
    second = model.fit(data, epochs=5, progress=False, scheduler=None)
    assert second.train_loss[0] < first.train_loss[0]
    assert model.scale is units


# -- units ----------------------------------------------------------------------------------------


def test_other_units_give_the_same_predictions_after_conversion(data):
    """q in other units, p in others again, another unit of time and another origin."""
    factor = torch.tensor([1000.0] * 4 + [0.02] * 4, dtype=torch.float64)
    origin = torch.arange(8, dtype=torch.float64)
    converted = srnn.Trajectories.from_states(data.values * factor + origin, dt=data.dt * 60)
    predictions = []
    for observed in (data, converted):
        model = srnn.SRNN(4, 16, dtype=torch.float64, generator=seeded(3))
        model.fit(observed, epochs=8, batch_size=8, progress=False)
        predictions.append(model.predict(observed, steps=40))
    assert predictions[1].dt == pytest.approx(6.0)
    back = (predictions[1].values - origin) / factor
    torch.testing.assert_close(back, predictions[0].values, rtol=1e-7, atol=1e-7)


def test_the_learnt_field_is_in_the_units_of_the_data(chain, data):
    model = srnn.SRNN(4, 16, dtype=torch.float64, generator=seeded(3))
    model.fit(data, epochs=20, progress=False)
    z, truth = data.values.flatten(0, 1), srnn.fields.as_field(chain)
    assert (model.field(z) - truth(z)).norm() < 0.1 * truth(z).norm()
    energies = model.hamiltonian(z)
    slope = torch.func.grad(lambda x: model.hamiltonian(x).sum())(z)
    q_slope, p_slope = slope.chunk(2, dim=-1)
    assert energies.shape == z.shape[:1]
    torch.testing.assert_close(model.field(z), torch.cat((p_slope, -q_slope), dim=-1))


def test_taos_binding_is_in_the_users_unit_of_time(data):
    """predict integrates in the network's units, rollout in the data's: the same motion."""
    model = srnn.SRNN(4, 8, integrator="tao2", dtype=torch.float64, generator=seeded(3))
    model.fit(data, epochs=2, progress=False)
    # One unit for q and p, so that only the unit of time is left to convert.
    model.scale = dataclasses.replace(model.scale, q=2.0, p=2.0)
    assert abs(model.scale.time - 1) > 0.1
    expected = srnn.rollout(model.field, "tao2", data.values[0], dt=0.1, steps=20)
    predicted = model.predict(data, steps=20)
    torch.testing.assert_close(predicted.values, expected.detach(), rtol=1e-9, atol=1e-10)


def test_an_onets_field_is_in_the_units_of_the_data(chain, data):
    model = model_of(srnn.ONet(4, 64, generator=seeded()).double(), "rk4")
    model.fit(data, epochs=100, learning_rate=1e-2, batch_size=8, progress=False)
    z, truth = data.values.flatten(0, 1), srnn.fields.as_field(chain)
    assert (model.field(z) - truth(z)).norm() < 0.25 * truth(z).norm()
    with pytest.raises(TypeError, match="ONet is not a Hamiltonian"):
        _ = model.hamiltonian


def damped(z):
    return torch.stack((z[..., 1], -z[..., 0] - 0.3 * z[..., 1]), dim=-1)


def test_a_vector_field_is_no_hamiltonian_though_it_says_that_it_is_not_separable():
    z = torch.tensor([[1.0, 0.5]])
    model = srnn.Model(srnn.fields.VectorField(damped, dim=1), "rk4")
    assert model.field(z).tolist() == [[0.5, pytest.approx(-1.15)]]
    with pytest.raises(TypeError, match="VectorField is not a Hamiltonian"):
        _ = model.hamiltonian
    spring = srnn.systems.MassSpring()
    data = spring.simulate(8, steps=9, dt=0.1, generator=seeded()).with_noise(0.1)
    found = model.diagnose(data)
    assert found.energy_drift is None
    assert found.half_step_ratio is not None
    # One that is made of a Hamiltonian has it.
    model = srnn.Model(srnn.fields.as_field(spring), "leapfrog")
    assert torch.equal(model.hamiltonian(z), spring(z))
    assert torch.equal(model.field(z), srnn.fields.as_field(spring)(z))
    assert model.diagnose(data).energy_drift is not None


# -- predictions ----------------------------------------------------------------------------------


def test_only_the_first_state_matters_without_iso(data):
    model = model_of()
    assert torch.equal(
        model.predict(data.first(1), steps=9).values, model.predict(data, steps=9).values
    )


def test_predictions_that_leave_the_numbers_carry_a_status(data):
    explosive = srnn.fields.VectorField(lambda z: z**3, dim=4)
    model = srnn.Model(explosive, "euler")
    z = torch.stack((data.values[0] * 0.01, data.values[0] * 100.0))[:, 0]
    start = srnn.Trajectories.from_states(z[None], dt=0.1)
    predicted = model.predict(start, steps=50)
    assert predicted.status.tolist() == [0, 1]
    assert torch.isfinite(predicted.values[:, 0]).all()
    assert not torch.isfinite(predicted.values[-1, 1]).all()


# -- optimised initial states ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy(data):
    return data.with_noise(0.2, generator=seeded(2))


def trained(noisy, iso=True, **settings):
    model = srnn.SRNN(4, hamiltonian=srnn.QuadraticH(4).double(), generator=seeded(), **settings)
    model.fit(noisy, iso=iso, noise="equal", epochs=2, progress=False)
    return model


def test_predictions_begin_as_the_model_was_trained(noisy):
    for iso in (True, False):
        model = trained(noisy, iso)
        assert model.iso is iso
        default = model.predict(noisy, steps=12).values
        assert torch.equal(default, model.predict(noisy, steps=12, iso=iso).values)
        assert not torch.allclose(default, model.predict(noisy, steps=12, iso=not iso).values)


def test_all_observed_points_are_explained_or_the_first_is_taken(noisy):
    model = trained(noisy)
    starts = {n: model.predict(noisy.first(n), steps=1).values[0] for n in (1, 4, 10)}
    torch.testing.assert_close(starts[1], noisy.values[0], rtol=0, atol=1e-9)  # fits it exactly
    expected = srnn.iso.optimise_initial_state(model, noisy.first(4)).states
    torch.testing.assert_close(starts[4], expected, rtol=0, atol=1e-9)
    errors = [float((starts[n] - noisy.clean[0]).norm()) for n in (1, 4, 10)]
    assert errors[0] > 1.1 * errors[1] > 1.2 * errors[2]
    first = model.predict(noisy, steps=1, iso=False).values[0]
    torch.testing.assert_close(first, noisy.values[0], rtol=0, atol=1e-12)


def test_the_integrator_and_step_of_the_prediction_optimise_its_start(noisy):
    """Those of training would find the start of another rollout."""
    model = trained(noisy)
    for settings, how in (
        ({"dt": 0.05}, {"dt": 0.05}),
        ({"substeps": 4}, {"dt": 0.025}),
        ({"dt": 0.05, "substeps": 2}, {"dt": 0.025}),
        ({"integrator": "euler"}, {"integrator": "euler"}),
        ({"dt": 0.3}, {}),  # longer than the spacing, which is then the step
    ):
        predicted = model.predict(noisy, steps=2, **settings).values[0]
        expected = srnn.iso.optimise_initial_state(model, noisy, **how).states
        torch.testing.assert_close(predicted, expected, rtol=0, atol=1e-9)
        if how:
            other = srnn.iso.optimise_initial_state(model, noisy).states
            assert (predicted - other).abs().max() > 1e-4


def test_the_true_equations_take_optimised_starts_when_asked(chain, noisy):
    model = srnn.SRNN(4, hamiltonian=chain.shadow_hamiltonian(0.1))
    assert not model.iso
    expected = srnn.iso.optimise_initial_state(chain.shadow_hamiltonian(0.1), noisy).states
    start = model.predict(noisy, steps=1, iso=True).values[0]
    torch.testing.assert_close(start, expected, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:The initial states of")  # of a network that has learnt little
def test_a_recurrent_network_begins_where_it_explains_most(noisy):
    model = model_of(srnn.RNN(4, 16, generator=seeded()).double(), None)
    model.fit(noisy, iso=True, epochs=3, progress=False)
    model.noise = None  # all squares alike, as they are compared below
    errors = [
        float((model.predict(noisy, steps=9, iso=iso).values - noisy.values).square().mean())
        for iso in (True, False)
    ]
    assert errors[0] < 0.99 * errors[1]


def test_starts_that_are_not_fully_optimised_are_told_of(data):
    class Rough:
        """A force with a ripple that its derivatives know nothing of."""

        dim, separable = 4, True

        def __call__(self, z):
            return z.square().sum(dim=-1) / 2

        def kinetic_gradient(self, p):
            return p

        def potential_gradient(self, q):
            return q + 1e-3 * torch.sin(1e7 * q.detach())

    model = srnn.SRNN(4, hamiltonian=Rough())
    text = r"The initial states of \d+ of 40 trajectories are not fully optimised \(.*STALLED\)"
    with pytest.warns(UserWarning, match=text):
        model.predict(data, steps=3, iso=True)


def test_the_noise_that_a_fit_estimated_weighs_the_observations(noisy):
    """Without it a prediction would depend on the units of the data."""
    model = trained(noisy)
    model.noise = (0.5, 0.05)
    weights = torch.tensor([0.1] * 4 + [10.0] * 4, dtype=torch.float64)
    expected = srnn.iso.optimise_initial_state(model, noisy, weights=weights).states
    predicted = model.predict(noisy, steps=1).values[0]
    torch.testing.assert_close(predicted, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["noise", "no noise", "without it"])
def test_a_file_keeps_how_predictions_begin(tmp_path, noisy, kind):
    model = trained(noisy, kind != "without it")
    model.noise = (0.25, 0.5) if kind == "noise" else None
    model.save(tmp_path / "model")
    loaded = srnn.load(tmp_path / "model")
    assert (loaded.iso, loaded.noise) == (model.iso, model.noise)
    assert torch.equal(loaded.predict(noisy, steps=5).values, model.predict(noisy, steps=5).values)


def test_a_file_of_before_there_was_iso_is_read(tmp_path, noisy):
    model = trained(noisy)
    model.save(tmp_path / "model")
    tensors, header = srnn.checkpoint.read(tmp_path / "model", srnn.model.FORMAT)
    del header["iso"], header["noise"]
    srnn.checkpoint.write(tmp_path / "old", tensors, header)
    loaded = srnn.load(tmp_path / "old")
    assert (loaded.iso, loaded.noise) == (False, None)
    assert torch.equal(loaded.scale.factor, model.scale.factor)
    old, new = (m.predict(noisy, steps=5, iso=True).values for m in (loaded, model))
    torch.testing.assert_close(old, new, rtol=0, atol=1e-9)


def test_a_refused_fit_leaves_how_predictions_begin(noisy, tmp_path):
    model = trained(noisy)
    before = (model.iso, model.noise)
    assert before[0]
    assert before[1] is not None
    (tmp_path / "run").write_bytes(b"rubbish")
    for arguments in ({"checkpoint": tmp_path / "run"}, {"window": 11}, {"iso_every": 0}):
        with pytest.raises((ValueError, CheckpointError)):
            model.fit(noisy, iso=False, progress=False, **arguments)
        assert (model.iso, model.noise) == before


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda d: d.values, "Expected `data` to be srnn.Trajectories; got Tensor"),
        (lambda d: d.to(torch.float32), "`data` and `model` to have one dtype; got torch.float32"),
        (lambda d: d.first(1), "Expected `data` of at least two states a trajectory; got 1"),
        (lambda d: d.select(0), "Expected at least two trajectories, one to hold out"),
        (
            lambda d: srnn.Trajectories.from_states(d.values[..., :6], dt=0.1),
            "Expected `data` with dim=4, as the model's; got 3",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused(data, make, text):
    with pytest.raises((ValueError, TypeError), match=text):
        model_of().fit(make(data))


SPRING = srnn.systems.MassSpring()


def states_of_size(size, dtype=torch.float64):
    values = torch.linspace(-1.0, 1.0, 60, dtype=torch.float64).reshape(5, 6, 2).sin() * size
    return srnn.Trajectories.from_states(values.to(dtype), dt=0.1)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        *(
            (lambda dt=dt, call=call: call(dt), text)
            for dt, text in (
                (1e-300, "Expected `dt` to lie between 1e-30 and 1e30; got 1e-300"),
                (1e300, "Expected `dt` to lie between 1e-30 and 1e30; got 1e.300"),
                (10**400, "Expected `dt` to be a positive finite number; got an integer of 1329 b"),
            )
            for call in (
                lambda dt: srnn.rollout(SPRING, "leapfrog", torch.ones(1, 2), dt=dt, steps=1),
                lambda dt: srnn.Trajectories.from_states(torch.ones(3, 1, 2), dt=dt),
                lambda dt: SPRING.simulate(2, steps=2, dt=dt),
                lambda dt: srnn.Model(SPRING).predict(states_of_size(1), steps=2, dt=dt),
            )
        ),
        *(
            (lambda run=run: run(10**9), "Expected `steps` to be at most 10000000; got 1000000000")
            for run in (
                lambda n: srnn.rollout(SPRING, "leapfrog", torch.ones(1, 2), dt=0.1, steps=n),
                lambda n: SPRING.simulate(2, steps=n, dt=0.1),
                lambda n: srnn.Model(SPRING).predict(states_of_size(1), steps=n),
            )
        ),
        (
            lambda: srnn.Model(SPRING).predict(states_of_size(1), steps=10**5, substeps=10**5),
            r"`steps \* substeps` to be at most 10000000; got 10000000000",
        ),
        (
            lambda: srnn.SRNN(1, hidden=4).fit(states_of_size(1).to(torch.float32), substeps=10**9),
            "Expected `substeps` to be at most 10000000",
        ),
        (lambda: srnn.SRNN(1, 4).recipe(learning_rate=10**400), "got an integer of 1329 bits"),
        *(
            (lambda use=use, data=data: use(data), r"Expected the positions and the momenta of `")
            for data in (*(states_of_size(1e200), states_of_size(1e-300)),)
            for use in (
                lambda data: srnn.SRNN(1, 4, dtype=data.values.dtype).fit(data, progress=False),
                lambda data: srnn.iso.optimise_initial_state(SPRING, data),
                lambda data: srnn.Model(SPRING).diagnose(data),
            )
        ),
    ],
)
def test_numbers_out_of_range_are_refused(call, text):
    with pytest.raises((ValueError, srnn.errors.CheckpointError), match=text):
        call()


def spoiled(data, name):
    """Validation data that do not go with `data`."""
    return {
        "dt": srnn.Trajectories.from_states(data.values, dt=0.2),
        "short": data.first(5),
        "dim": srnn.Trajectories.from_states(data.values[..., :6], dt=0.1),
        "dtype": data.to(torch.float32),
    }[name]


def test_a_model_and_data_on_two_devices_are_refused(data):
    model = model_of()
    model.net.to("meta")
    with pytest.raises(TypeError, match="`data` and `model` to have one device; got cpu and meta"):
        model.fit(data)
    with pytest.raises(TypeError, match="`observed` and `model` to have one device"):
        model.predict(data, steps=3)


def state_of(model):
    weights = [value.clone() for value in model.net.state_dict().values()]
    return model.scale, model.dt, [*weights, model.generator.get_state()]


def assert_as_before(model, before):
    after = state_of(model)
    assert after[:2] == before[:2]
    assert all(torch.equal(a, b) for a, b in zip(after[2], before[2], strict=True))


REFUSALS = {
    "dt": "Expected `validation_data` with the spacing of `data`, dt=0.1; got 0.2",
    "short": "Expected `validation_data` of at least 10 states, as `data`; got 5",
    "dim": "Expected `validation_data` with dim=4, as the model's; got 3",
    "dtype": "Expected `validation_data` and `model` to have one dtype",
    "window": "A window of 11 states is longer than the trajectories of `data`",
    "folder": None,
    "is a folder": None,
    "damaged": None,
    "not separable": "not separable",
}


@pytest.mark.parametrize("how", REFUSALS)
def test_a_refused_fit_leaves_the_model_as_it_was(data, tmp_path, how):
    """Weights, units, spacing and generator: nothing is half done."""
    (tmp_path / "run").write_bytes(b"rubbish")
    settings = {
        "window": {"window": 11},
        "folder": {"checkpoint": tmp_path / "none" / "run"},
        "is a folder": {"checkpoint": tmp_path},
        "damaged": {"checkpoint": tmp_path / "run"},
        "not separable": {},
    }
    if how in ("dt", "short", "dim", "dtype"):
        settings[how] = {"validation_data": spoiled(data, how)}
    model = srnn.SRNN(4, 8, dtype=torch.float64, generator=seeded())
    if how == "not separable":
        model = srnn.SRNN(4, hamiltonian=Entangled(), generator=seeded())
    before = state_of(model)
    with pytest.raises((ValueError, TypeError, OSError, CheckpointError), match=REFUSALS[how]):
        model.fit(data, epochs=2, progress=False, **settings[how])
    assert_as_before(model, before)


def test_a_failure_while_preparing_leaves_the_model_as_it_was(data, monkeypatch):
    def fail(net, *rest):
        with torch.no_grad():
            for weight in net.parameters():
                weight.zero_()
        raise MemoryError

    monkeypatch.setattr("srnn.model.model.warm_start.if_better", fail)
    model = srnn.SRNN(4, 8, dtype=torch.float64, generator=seeded())
    before = state_of(model)
    with pytest.raises(MemoryError):
        model.fit(data, epochs=2, progress=False)
    assert_as_before(model, before)


class Entangled(torch.nn.Module):
    dim, separable = 4, False

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, z):
        return self.weight * (1 + z[..., :4].square().sum(-1)) * (1 + z[..., 4:].square().sum(-1))


@pytest.mark.parametrize("trajectories", [3, 5, 10])
def test_a_warm_start_from_little_data_is_never_worse_than_none(trajectories):
    """Few trajectories leave the 20 x 20 fit undetermined and its leapfrog unstable."""
    g = seeded(5)
    chain = srnn.systems.SpringChain.random(masses=20, generator=g)
    data = chain.simulate(trajectories, steps=9, dt=0.1, generator=g).with_noise(0.2, generator=g)
    losses = {}
    for warm in (True, False):
        model = srnn.SRNN(20, 16, generator=seeded(1))
        history = model.fit(data, epochs=1, warm_start=warm, learning_rate=1e-9, progress=False)
        losses[warm] = history.validation_loss[0]
    assert losses[True] <= losses[False] * (1 + 1e-6)


def test_one_trajectory_is_enough_without_validation(data):
    history = model_of().fit(data.select(0), validation=0, epochs=2, progress=False)
    assert history.epochs == 2
    assert history.validation_loss == []


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: srnn.SRNN(0), "Expected `dim` to be at least 1; got 0"),
        (lambda: srnn.SRNN(2.0), "Expected `dim` to be an integer; got 2.0"),
        (lambda: srnn.SRNN(2, hidden=()), "Expected `hidden` to be an int or a non-empty tuple"),
        (lambda: srnn.SRNN(2, integrator="verlet"), "Unknown `integrator`: 'verlet'. Known: 'eul"),
        (lambda: srnn.SRNN(2, preset="papers"), "Unknown `preset`: 'papers'. Known: None, 'paper'"),
        (lambda: srnn.SRNN(2, dtype="float16"), "Unknown `dtype`: 'float16'. Known: 'float32'"),
        (lambda: srnn.SRNN(2, dtype=torch.int64), "Unknown `dtype`: torch.int64. Known: 'float32'"),
        (lambda: srnn.SRNN(2, generator=3), "Expected `generator` to be a torch.Generator or None"),
        (
            lambda: srnn.SRNN(3, hamiltonian=srnn.QuadraticH(2)),
            "Expected a Hamiltonian with dim=3; got 2",
        ),
        (lambda: srnn.Model(srnn.RNN(2, 8)), "RNN is its own step: pass integrator=None"),
        (
            lambda: srnn.Model(srnn.RNN(2, 8), None, test_integrator="leapfrog"),
            "pass integrator=None and no test_integrator",
        ),
        (
            lambda: srnn.SRNN(2, hamiltonian=srnn.ONet(2, 8)),
            r"Expected a Hamiltonian, with `dim` and `separable`; got ONet.*srnn.Model\(net",
        ),
        (
            lambda: srnn.SRNN(2, hamiltonian=srnn.QuadraticH(2), dtype="float64"),
            "convert the Hamiltonian that is passed instead",
        ),
        (lambda: srnn.Model(srnn.ONet(2, 8), None), "ONet needs an integrator, such as 'leapfrog'"),
        (lambda: srnn.Model(srnn.ONet(2, 8), 3), "Expected an integrator or its name; got int"),
        (lambda: srnn.Model("net"), "Expected `net` to be .*; got str"),
        *(
            (
                lambda wrong=wrong, walls=walls: srnn.SRNN(2, hamiltonian=wrong, rebound=walls),
                f"Hamiltonian.*got {name}",
            )
            for name, wrong in {
                "VectorField": srnn.fields.VectorField(damped, dim=2),
                "HamiltonianField": srnn.fields.as_field(srnn.QuadraticH(2)),
            }.items()
            for walls in (None, srnn.systems.Room.box())
        ),
        (lambda: srnn.SRNN(2, hamiltonian="H"), "Expected a Hamiltonian, with `dim`.* got str"),
    ],
)
def test_a_wrong_model_is_refused(build, text):
    with pytest.raises((ValueError, TypeError), match=text):
        build()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"steps": 0}, "Expected `steps` to be at least 1; got 0"),
        ({"steps": -3}, "Expected `steps` to be at least 1; got -3"),
        ({"steps": 3, "dt": 0.0}, "Expected `dt` to be a positive finite number; got 0.0"),
        ({"steps": 3, "dt": math.nan}, "Expected `dt` to be a positive finite number; got nan"),
        ({"steps": 3, "integrator": "rk5"}, "Unknown `integrator`: 'rk5'. Known: 'euler'"),
        ({"steps": 3, "substeps": 0}, "Expected `substeps` to be at least 1; got 0"),
    ],
)
def test_a_wrong_prediction_is_refused(data, arguments, text):
    with pytest.raises(ValueError, match=text):
        model_of().predict(data, **arguments)


def test_observations_that_do_not_fit_are_refused(data):
    for observed, error, text in (
        (np.zeros((3, 2, 8)), TypeError, r"Expected `observed` to be srnn\.Trajectories; got nda"),
        (
            srnn.Trajectories.from_states(data.values[..., :6], dt=0.1),
            *(ValueError, r"Expected `observed` to have shape \(batch, 2\*dim\)"),
        ),
        (data.to(torch.float32), TypeError, "`observed` and `model` to have one dtype"),
    ):
        with pytest.raises(error, match=text):
            model_of().predict(observed, steps=3)


def test_odd_inputs_are_accepted_and_never_written_to(data):
    """Non-contiguous and graph-carrying values serve as well, and stay as they are."""
    plain = data.values.clone()
    odd = plain.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    assert not odd.is_contiguous()
    observed = srnn.Trajectories.from_states(odd, dt=0.1)
    model, twin = model_of(), model_of()
    history = model.fit(observed, epochs=2, progress=False)
    assert history.train_loss == twin.fit(data, epochs=2, progress=False).train_loss
    model.predict(observed, steps=3)
    assert torch.equal(odd.detach(), plain)
    assert odd.grad is None


# -- files ----------------------------------------------------------------------------------------

NETWORKS = {
    "HNet": (lambda: srnn.HNet(4, (8, 8), quadratic=True).double(), "leapfrog"),
    "QuadraticH": (lambda: srnn.QuadraticH(4).double(), "yoshida4"),
    "ONet": (lambda: srnn.ONet(4, 8).double(), "rk4"),
    "RNN": (lambda: srnn.RNN(4, 8, bounded=True).double(), None),
    "LSTM": (lambda: srnn.LSTM(4, 16).double(), None),
    "LSTM bounded": (lambda: srnn.LSTM(4, 8, bounded=True).double(), None),
    "PairwiseH": (lambda: srnn.nn.PairwiseH(2, 2, 8).double(), "leapfrog"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_model_predicts_the_same_bits(tmp_path, data, name):
    build, integrator = NETWORKS[name]
    model = model_of(build(), integrator)
    model.fit(data, epochs=2, progress=False)
    model.save(tmp_path / "model.srnn")
    loaded = srnn.load(tmp_path / "model.srnn")
    assert repr(loaded) == repr(model)
    assert loaded.net.config == model.net.config
    assert torch.equal(loaded.predict(data, steps=9).values, model.predict(data, steps=9).values)
    assert [p.name for p in tmp_path.iterdir()] == ["model.srnn"]


def test_classes_presets_and_own_integrators_survive_a_file(tmp_path, data):
    slow = integrators.Splitting("mine", 2, (("kick", 0.5), ("drift", 1.0), ("kick", 0.5)))
    for model in (
        srnn.SRNN(4, 8, integrator=slow, test_integrator="euler", preset="paper"),
        srnn.HNN(4, 8, integrator=integrators.Tao("loose", 2, (1.0,), omega=1.0)),
    ):
        model.save(tmp_path / "model.srnn")
        loaded = srnn.load(tmp_path / "model.srnn")
        assert type(loaded) is type(model)
        assert loaded.preset == model.preset
        assert loaded.integrator == model.integrator
        assert loaded.test_integrator == model.test_integrator


class OwnNet(torch.nn.Module):
    separable = True

    def __init__(self, dim=4):
        super().__init__()
        self.dim = dim
        self.stiffness = torch.nn.Parameter(torch.ones(dim, dtype=torch.float64))

    def forward(self, z):
        q, p = z[..., : self.dim], z[..., self.dim :]
        return (p.square() + self.stiffness * q.square()).sum(-1) / 2


def test_a_users_own_hamiltonian_is_learnt_in_the_units_of_the_data():
    """Its numbers mean something: a stiffness of 3 is found as 3."""
    spring = srnn.systems.MassSpring(mass=1.0, stiffness=3.0)
    data = spring.simulate(50, steps=9, dt=0.1, generator=seeded(), dtype=torch.float64)
    own = OwnNet(dim=1)
    srnn.SRNN(1, hamiltonian=own, generator=seeded()).fit(data, learning_rate=0.1, progress=False)
    # Leapfrog's own oscillator is a little off: omega^2 dt^2 / 12 is 0.3 %.
    assert own.stiffness.item() == pytest.approx(3.0, rel=0.01)


def test_a_users_own_hamiltonian_trains_and_is_loaded_into_a_net_it_gives(tmp_path, data):
    model = srnn.SRNN(4, hamiltonian=OwnNet(), generator=seeded())
    history = model.fit(data, epochs=20, learning_rate=0.1, progress=False)
    assert history.best_epoch > 0  # better than its start on held-out data
    model.save(tmp_path / "own.srnn")
    with pytest.raises(CheckpointError, match="holds weights of OwnNet, which is not one of the"):
        srnn.load(tmp_path / "own.srnn")
    loaded = srnn.load(tmp_path / "own.srnn", net=OwnNet())
    assert torch.equal(loaded.predict(data, steps=5).values, model.predict(data, steps=5).values)
    other = srnn.ONet(4, 8)
    with pytest.raises(
        CheckpointError, match=r"does not fit ONet: expected `mlp.layers.0.bias` of"
    ):
        srnn.load(tmp_path / "own.srnn", net=other)
    assert next(other.parameters()).dtype == torch.float32  # left alone
    with pytest.raises(TypeError, match=r"Expected `net` to be a torch\.nn\.Module; got str"):
        srnn.load(tmp_path / "own.srnn", net="OwnNet")


def test_converting_a_model_converts_its_units_too(data):
    model = model_of()
    model.fit(data, epochs=2, progress=False)
    single = model.to(torch.float32).predict(data.to(torch.float32), steps=9)
    assert single.values.dtype == torch.float32
