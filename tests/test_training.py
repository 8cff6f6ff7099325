"""The training loop: what a loss is, what an epoch does, when training stops."""

import copy
import math
import types

import pytest
import torch
from helpers import slow_clock
from torch.nn.functional import mse_loss

import srnn
from srnn.training.guess import warm_start
from srnn.training.losses import trajectory_loss
from srnn.training.recipes import PRESETS, Recipe


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chain_data(masses=3, trajectories=20, steps=9, noise=0.0, seed=0, dtype=torch.float64):
    g = seeded(seed)
    chain = srnn.systems.SpringChain.random(masses=masses, generator=g)
    data = chain.simulate(trajectories, steps=steps, dt=0.1, generator=g, dtype=dtype)
    return data.with_noise(noise, generator=g)


def small_model(dim=3, seed=0, **settings):
    return srnn.SRNN(dim=dim, hidden=8, generator=seeded(seed), dtype=torch.float64, **settings)


def weights(model):
    return torch.cat([w.detach().flatten().clone() for w in model.net.parameters()])


# -- the loss -------------------------------------------------------------------------------------


def test_loss_is_the_mean_square_of_a_hand_written_leapfrog():
    data = chain_data()
    net = small_model().net
    q, p = data.q[0], data.p[0]
    residuals = []
    for target in data.values[1:]:
        p = p - 0.05 * net.potential_gradient(q)
        q = q + 0.1 * net.kinetic_gradient(p)
        p = p - 0.05 * net.potential_gradient(q)
        residuals.append(torch.cat((q, p), dim=-1) - target)
    by_hand = torch.stack(residuals).square().mean()
    loss = trajectory_loss(net, srnn.integrators.get("leapfrog"), data.values, 0.1)
    torch.testing.assert_close(loss, by_hand, rtol=1e-12, atol=0)


def test_counting_state_zero_only_scales_the_loss():
    data = chain_data()
    net, method = small_model().net, srnn.integrators.get("leapfrog")
    from_1 = trajectory_loss(net, method, data.values, 0.1, loss_from=1)
    from_0 = trajectory_loss(net, method, data.values, 0.1, loss_from=0)
    torch.testing.assert_close(from_0, from_1 * 9 / 10)


def test_substeps_are_shorter_integrator_steps():
    data = chain_data()
    net, method = small_model().net, srnn.integrators.get("euler")
    fine = srnn.rollout(net, method, data.values[0], dt=0.05, steps=18)[::2]
    loss = trajectory_loss(net, method, data.values, 0.1, substeps=2)
    torch.testing.assert_close(loss, mse_loss(fine[1:], data.values[1:]))


# -- one epoch ------------------------------------------------------------------------------------


class CountingSGD(torch.optim.SGD):
    updates: int = 0

    def step(self, *args, **kwargs):
        CountingSGD.updates += 1
        return super().step(*args, **kwargs)


@pytest.mark.parametrize(
    ("window", "updates"),
    [(None, 4), (2, 29), (5, 19)],  # 100, 900 and 600 windows in batches of 32, the last kept
)
def test_updates_per_epoch_keep_the_last_partial_batch(monkeypatch, window, updates):
    monkeypatch.setitem(srnn.recipes.OPTIMIZERS, "sgd", CountingSGD)
    CountingSGD.updates = 0
    small_model().fit(
        chain_data(trajectories=100),
        epochs=1,
        window=window,
        validation=0,
        optimizer="sgd",
        progress=False,
    )
    assert CountingSGD.updates == updates


def test_one_full_batch_epoch_is_one_gradient_step_by_hand():
    data = chain_data()
    model = small_model(seed=4)
    before = [w.detach().clone().requires_grad_() for w in model.net.parameters()]
    by_name = dict(zip(dict(model.net.named_parameters()), before, strict=True))
    model.fit(
        data,
        epochs=1,
        batch_size=20,
        validation=0,
        optimizer="sgd",
        learning_rate=0.1,
        clip_norm=None,
        scheduler=None,
        scale=False,
        warm_start=False,
        progress=False,
    )

    def gradient(half, x):
        w = {n.removeprefix(f"{half}."): v for n, v in by_name.items() if n.startswith(half)}
        a = torch.tanh(x @ w["mlp.layers.0.weight"].T + w["mlp.layers.0.bias"])
        slope = (1 - a**2) * w["mlp.layers.1.weight"][0]
        matrix = (w["form.matrix"] + w["form.matrix"].T) / 2
        return slope @ w["mlp.layers.0.weight"] + x @ matrix + w["form.vector"]

    class ByHand:
        dim, separable = 3, True

        def kinetic_gradient(self, p):
            return gradient("kinetic", p)

        def potential_gradient(self, q):
            return gradient("potential", q)

    z = srnn.rollout(ByHand(), "leapfrog", data.values[0], dt=0.1, steps=9)
    mse_loss(z[1:], data.values[1:]).backward()
    for new, old in zip(model.net.parameters(), before, strict=True):
        grad = torch.zeros_like(old) if old.grad is None else old.grad
        torch.testing.assert_close(new.detach(), old.detach() - 0.1 * grad, rtol=1e-10, atol=1e-13)


def test_gradients_are_clipped_to_the_norm_asked_for():
    data, lengths = chain_data(), []
    for clip in (None, 1e-3):
        model = small_model(seed=1)
        before = weights(model)
        model.fit(
            data,
            epochs=1,
            batch_size=20,
            validation=0,
            optimizer="sgd",
            learning_rate=1.0,
            clip_norm=clip,
            warm_start=False,
            scale=False,
            progress=False,
        )
        lengths.append(float((weights(model) - before).norm()))
    assert lengths[0] > 1e-2
    assert lengths[1] == pytest.approx(1e-3, rel=1e-4)


# -- schedules, early stopping, validation --------------------------------------------------------


def test_exponential_schedule_stops_at_its_floor():
    history = small_model().fit(
        chain_data(),
        epochs=6,
        scheduler="exponential",
        decay=0.5,
        learning_rate=0.01,
        learning_rate_floor=0.002,
        progress=False,
    )
    assert history.learning_rate == pytest.approx([0.01, 0.005, 0.0025, 0.002, 0.002, 0.002])


def test_each_schedule_has_its_own_decay():
    assert Recipe(scheduler="plateau").rate_decay == 0.5
    assert Recipe(scheduler="exponential").rate_decay == 0.99
    assert Recipe(scheduler="exponential", decay=0.7).rate_decay == 0.7


def test_plateau_schedule_waits_for_its_patience():
    # At so small a rate the loss never improves.
    history = small_model().fit(
        chain_data(),
        epochs=9,
        scheduler="plateau",
        scheduler_patience=2,
        decay=0.5,
        learning_rate=1e-300,
        validation_data=chain_data(seed=5),
        patience=None,
        progress=False,
    )
    # The first loss sets the mark, then two are waited for and the third cuts.
    assert history.learning_rate == pytest.approx([1e-300] * 4 + [5e-301] * 3 + [2.5e-301] * 2)


def test_weights_go_back_to_the_best_when_the_rate_is_cut(monkeypatch):
    """With a loss that only rises, every cut returns to the start."""
    ends = {}
    rising = iter(range(1000))
    monkeypatch.setattr("srnn.training.run.Run._held_out_loss", lambda self: next(rising))
    for restore in (True, False):
        model = small_model(seed=2)
        start = weights(model)
        seen = []
        original = srnn.training.run.Run._schedule

        def spy(run, watched, original=original, seen=seen):
            original(run, watched)
            seen.append(
                torch.cat([w.detach().flatten().clone() for w in run.motion.net.parameters()])
            )

        with monkeypatch.context() as patch:
            patch.setattr("srnn.training.run.Run._schedule", spy)
            model.fit(
                chain_data(),
                epochs=3,
                scheduler_patience=1,
                restore_best=restore,
                warm_start=False,
                progress=False,
            )
        ends[restore] = [torch.equal(w, start) for w in seen]
    # The first loss (1, after 0 at the start) sets the scheduler's mark; the third epoch cuts.
    assert ends == {True: [False, False, True], False: [False, False, False]}


def test_a_start_that_overflows_is_no_mark_to_beat(monkeypatch):
    held_out = iter([math.nan, 3.0, 2.0, 4.0])
    monkeypatch.setattr("srnn.training.run.Run._held_out_loss", lambda self: next(held_out))
    history = small_model().fit(chain_data(), epochs=3, progress=False)
    assert history.best_epoch == 2


def test_cosine_schedule_reaches_its_floor_at_the_end():
    history = small_model().fit(
        chain_data(),
        epochs=5,
        scheduler="cosine",
        learning_rate=1.0e-3,
        patience=None,
        progress=False,
    )
    expected = [5e-4 * (1 + math.cos(math.pi * k / 5)) for k in range(5)]
    assert history.learning_rate == pytest.approx(expected)


def test_early_stopping_returns_the_weights_of_the_best_epoch():
    training, held_out = chain_data(noise=0.3), chain_data(noise=0.3, seed=0, trajectories=10)
    model = small_model()
    history = model.fit(
        training,
        validation_data=held_out,
        epochs=200,
        patience=5,
        learning_rate=0.03,
        scale=False,
        progress=False,
    )
    assert history.stopped == "patience"
    assert history.epochs == history.best_epoch + 5
    assert min(history.validation_loss) == history.validation_loss[history.best_epoch - 1]
    now = trajectory_loss(model.net, model.integrator, held_out.values, 0.1)
    assert now.item() == pytest.approx(min(history.validation_loss), rel=1e-12)


def test_training_ends_with_the_epoch_in_which_its_time_is_over(monkeypatch, tmp_path):
    slow_clock(monkeypatch, 4.0)
    settings = {"epochs": 50, "patience": None, "progress": False}
    settings["checkpoint"] = tmp_path / "run"
    model = small_model()
    history = model.fit(chain_data(), max_seconds=30.0, **settings)
    assert history.stopped == "time"
    assert 2 <= history.epochs < 10
    assert 30 <= history.seconds < 45  # an epoch looks two or three times
    # The same call finds that its time is over; a longer one goes on.
    assert model.fit(chain_data(), max_seconds=30.0, **settings).epochs == history.epochs
    longer = model.fit(chain_data(), max_seconds=60.0, **settings)
    assert longer.epochs > history.epochs
    assert longer.train_loss[: history.epochs] == history.train_loss
    assert longer.stopped == "time"


@pytest.mark.parametrize("more", [{}, {"iso": True}, {"warm_start": "rollout"}])
def test_the_time_before_the_first_epoch_counts(monkeypatch, tmp_path, more):
    work, spent = warm_start.if_better, []
    monkeypatch.setattr(warm_start, "if_better", lambda *given: spent.append(50) or work(*given))
    clock = types.SimpleNamespace(monotonic=lambda: float(sum(spent)))
    for module in ("model.model", "training.run"):
        monkeypatch.setattr(f"srnn.{module}.time", clock)
    for path in (None, tmp_path / "run", tmp_path / "run"):
        model = small_model()
        history = model.fit(chain_data(), max_seconds=40, checkpoint=path, progress=False, **more)
        assert (history.stopped, history.epochs, history.seconds) == ("time", 0, 50)
        assert model.predict(chain_data(), steps=2).values.isfinite().all()


@pytest.mark.parametrize(("more", "epochs"), [({}, 7), ({"iso": True, "iso_from": 9}, 10)])
def test_training_ends_when_the_rate_is_too_small_to_change_anything(more, epochs, tmp_path):
    settings = {"learning_rate": 1e-3, "scheduler": "exponential", "decay": 0.5, "patience": None}
    settings |= {"epochs": 15, "progress": False, "checkpoint": tmp_path / "run"} | more
    history = small_model().fit(chain_data(), least_rate=0.01, **settings)
    assert (history.stopped, history.epochs) == ("rate", epochs)  # 2^-7 < 0.01 < 2^-6
    # It goes on from where it was if that is asked for.
    longer = small_model().fit(chain_data(), least_rate=0.0, **settings)
    assert (longer.stopped, longer.epochs) == ("epochs", 15)
    assert longer.train_loss[:epochs] == history.train_loss


def test_held_out_trajectories_do_not_train():
    training = chain_data()
    losses = []
    for seed in (1, 2):
        history = small_model().fit(
            training, validation_data=chain_data(seed=seed), epochs=3, patience=None, progress=False
        )
        losses.append((history.train_loss, history.validation_loss))
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_a_tenth_is_held_out_by_default_and_none_in_the_papers_recipe(monkeypatch):
    seen = []

    def spy(net, integrator, training, held_out, *args, **kwargs):
        seen.append((len(training), None if held_out is None else len(held_out)))
        return srnn.History()

    monkeypatch.setattr("srnn.model.model.train", spy)
    data = chain_data(trajectories=50)
    small_model().fit(data)
    small_model(preset="paper").fit(data)
    assert seen == [(45, 5), (50, None)]


# -- recipes --------------------------------------------------------------------------------------


def test_the_papers_recipe_is_that_of_its_appendix():
    paper = PRESETS["paper"]
    assert (paper.epochs, paper.learning_rate, paper.batch_size) == (1000, 1e-3, 32)
    assert (paper.optimizer, paper.scheduler) == ("adam", "plateau")
    assert (paper.scheduler_patience, paper.decay) == (15, 0.7)
    assert (paper.validation, paper.warm_start, paper.scale) == (0.0, False, False)


def test_the_papers_preset_is_a_plain_hnet_and_clips_the_rnn():
    assert not small_model(preset="paper").net.quadratic
    assert small_model().net.quadratic
    rnn = srnn.Model(srnn.RNN(3, 8), None, preset="paper")
    assert rnn._recipe().clip_norm == 0.25
    assert small_model(preset="paper")._recipe().clip_norm is None


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epochs": 0}, "Expected `epochs` to be at least 1; got 0"),
        ({"epochs": 2.5}, "Expected `epochs` to be an integer; got 2.5"),
        ({"window": 1}, "Expected `window` to be at least 2; got 1"),
        ({"optimizer": "lion"}, "Unknown `optimizer`: 'lion'. Known: 'adam', 'adamw', 'sgd'"),
        ({"scheduler": "steps"}, "Unknown `scheduler`: 'steps'. Known: 'plateau'"),
        ({"learning_rate": 0.0}, "Expected `learning_rate` to be a positive finite number"),
        ({"learning_rate": math.nan}, "Expected `learning_rate` to be a positive finite number"),
        ({"validation": 1.0}, r"Expected `validation` to lie in \[0, 1\); got 1.0"),
        ({"warm_start": "no"}, "Unknown `warm_start`: 'no'. Known: True, False"),
        ({"loss_from": 2}, "Unknown `loss_from`: 2. Known: 0, 1"),
        ({"batch_size": -1}, "Expected `batch_size` to be at least 1; got -1"),
        ({"patience": 0}, "Expected `patience` to be at least 1"),
        ({"least_rate": -0.1}, r"Expected `least_rate` to lie in \[0, 1\); got -0.1"),
        ({"max_seconds": 0.0}, "Expected `max_seconds` to be a positive finite number"),
    ],
)
def test_a_wrong_setting_is_refused(settings, text):
    with pytest.raises((ValueError, TypeError), match=text):
        Recipe(**settings)


def test_an_unknown_setting_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown `setting of fit`: 'lr'.*'learning_rate'"):
        small_model().fit(chain_data(), lr=0.1)


# -- reproducibility ------------------------------------------------------------------------------


def test_a_seed_fixes_the_result_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    runs = []
    for seed in (3, 3, 4):
        model = small_model(seed=seed)
        model.fit(chain_data(noise=0.1), epochs=3, batch_size=4, progress=False)
        runs.append(weights(model))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_generator_two_models_differ():
    assert not torch.equal(weights(srnn.SRNN(2, 8)), weights(srnn.SRNN(2, 8)))


# -- divergence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [None, "paper"])
def test_divergence_keeps_the_last_good_weights(preset):
    model = small_model(preset=preset)
    model.fit(chain_data(), epochs=2, progress=False)
    good = weights(model)
    with pytest.raises(srnn.errors.TrainingDiverged, match="Training diverged in epoch") as caught:
        model.fit(
            chain_data(),
            epochs=50,
            optimizer="sgd",
            learning_rate=1e200,
            clip_norm=None,
            progress=False,
        )
    assert "the last good ones" in str(caught.value)
    assert caught.value.epoch >= 1
    assert caught.value.history.epochs == caught.value.epoch - 1
    assert torch.isfinite(weights(model)).all()
    if caught.value.history.best_epoch == 0:
        assert torch.equal(weights(model), good)


def test_the_progress_bar_shows_epochs_and_loss(capsys):
    small_model().fit(chain_data(), epochs=2)
    shown = capsys.readouterr()
    assert "2/2" in shown.err
    assert "loss=" in shown.err
    assert shown.out == ""


# -- whatever a caller has switched off -----------------------------------------------------------

OFF = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
}


class Bound(torch.nn.Module):
    """A Hamiltonian of one's own that is not separable."""

    dim, separable = 1, False

    def __init__(self):
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor(1.5))

    def forward(self, z):
        q, p = z[..., 0], z[..., 1]
        return p**2 / 2 + self.stiffness * q**2 / 2 + q**2 * p**2 / 8


def spring_data():
    spring = srnn.systems.MassSpring()
    data = spring.simulate(12, steps=4, dt=0.2, generator=seeded(), derivatives=True)
    return data.with_noise(0.1, generator=seeded(1))


def fitted(net, integrator="leapfrog", data=None, kind=srnn.Model, **settings):
    """A model, trained by two epochs on data, all made here; its losses and weights."""
    model = kind(net, integrator, generator=seeded())
    data = spring_data() if data is None else data
    history = model.fit(data, **{"epochs": 2, "progress": False} | settings)
    return torch.cat((torch.tensor([*history.train_loss, 0.0]), weights(model)))


def hnet(quadratic=True):
    return srnn.HNet(1, 4, quadratic, generator=seeded())


def walled():
    data = srnn.systems.Billiard().simulate(20, steps=4, dt=0.1, generator=seeded())
    model = srnn.SRNN(2, 4, rebound=srnn.systems.Room.box(), generator=seeded())
    return fitted(model.net, data=data, wall_steps=2)


NEED_GRADIENTS = {
    "plain": lambda: fitted(hnet(False), window=2),
    "start by the data": lambda: fitted(hnet(), warm_start="rollout", start_noise=True),
    "iso": lambda: fitted(hnet(), iso=True),
    "solved": lambda: fitted(srnn.QuadraticH(1), iso=True),
    "derivatives": lambda: fitted(hnet(), derivatives=True),
    "recurrent": lambda: fitted(srnn.LSTM(1, 4, generator=seeded()), None),
    "one's own": lambda: fitted(Bound(), "tao2", iso=True),
    "walls": walled,
    "predict": lambda: srnn.Model(Bound(), "tao2").predict(spring_data(), steps=2, iso=True).values,
    "recurrent starts": lambda: (
        srnn.iso.optimise_initial_state(srnn.RNN(1, 4, generator=seeded()), spring_data()).states
    ),
    "diagnose": lambda: srnn.Model(hnet()).diagnose(spring_data()).residuals,
    "flow map": lambda: srnn.flow_map.flow_map(
        Bound(), "tao2", spring_data().values[0], dt=0.2, steps=2
    )[1],
    "hessian": lambda: (
        srnn.convexity.iso_hessian(hnet(), "leapfrog", spring_data().values[0], spring_data()).total
    ),
    "norms": lambda: srnn.gradients.norms_through_time(
        Bound(), "tao2", spring_data().values[0], dt=0.2, steps=2, generator=seeded()
    ),
}


@pytest.mark.filterwarnings("ignore:The walls keep the start")
@pytest.mark.parametrize("name", NEED_GRADIENTS)
def test_what_needs_gradients_has_them_whatever_the_caller_has_switched_off(name):
    expected = NEED_GRADIENTS[name]()
    for off in OFF.values():
        with off():
            found, enabled = NEED_GRADIENTS[name](), torch.is_grad_enabled()
        assert torch.equal(found, expected)
        assert not enabled


def test_units_made_in_inference_mode_serve_after_it():
    with torch.inference_mode():
        model = srnn.Model(hnet())
        model.predict(spring_data(), steps=2)
    again = srnn.Model(hnet())
    expected = again.predict(spring_data(), steps=2, iso=True)
    assert torch.equal(model.predict(spring_data(), steps=2, iso=True).values, expected.values)


def test_a_model_that_is_frozen_as_a_whole_is_refused():
    model = srnn.Model(hnet().requires_grad_(False))
    with pytest.raises(
        ValueError, match=r"Every parameter of HNet is frozen: .*requires_grad_\(\)"
    ):
        model.fit(spring_data(), progress=False)


@pytest.mark.parametrize("quadratic", [True, False])
@pytest.mark.parametrize("more", [{}, {"iso": True}, {"warm_start": "distil"}])
def test_what_is_frozen_stays_and_the_rest_learns(more, quadratic):
    net = hnet(quadratic)
    net.kinetic.requires_grad_(False)
    kept, moved = (copy.deepcopy(part.state_dict()) for part in (net.kinetic, net.potential))
    fitted(net, validation=0.0, **more)
    for name, value in net.kinetic.state_dict().items():
        assert torch.equal(value, kept[name])
    for name in ("mlp.layers.0.weight", "mlp.layers.1.weight"):
        assert not torch.equal(net.potential.state_dict()[name], moved[name])


@pytest.mark.filterwarnings("ignore:The walls keep the start")
@pytest.mark.parametrize("part", ["inner", "walls"])
def test_a_frozen_part_of_a_walled_model_stays(part):
    data = srnn.systems.Billiard().simulate(60, steps=9, dt=0.1, generator=seeded())
    model = srnn.SRNN(2, 4, rebound=srnn.systems.Room.box(), generator=seeded())
    getattr(model.net, part).requires_grad_(False)
    before = copy.deepcopy(model.net.state_dict())
    model.fit(data, epochs=1, wall_steps=2, progress=False)
    after = model.net.state_dict()
    same = {name: torch.equal(after[name], value) for name, value in before.items()}
    assert all(same[name] for name in same if name.startswith(part))
    assert not all(same.values())


@pytest.mark.parametrize("other", ["start", "frozen"])
def test_a_run_with_another_start_or_other_frozen_parameters_is_another_run(tmp_path, other):
    fitted(hnet(False), checkpoint=tmp_path / "run")
    net = hnet(False)
    if other == "frozen":
        net.kinetic.mlp.requires_grad_(False)
    else:
        with torch.no_grad():
            net.potential.mlp.layers[1].bias.add_(1e-3)
    with pytest.raises(srnn.errors.CheckpointError, match="belongs to another training run"):
        fitted(net, checkpoint=tmp_path / "run")
