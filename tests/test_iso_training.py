"""Training with optimised initial states: what it learns from, when, and how it goes on."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import F64, JointHNet, seeded

import srnn
from srnn.starts.iso._problem import Problem
from srnn.starts.optimised import _SAMPLE, Starts
from srnn.training.losses import trajectory_loss
from srnn.training.recipes import ISO_METHODS as METHODS
from srnn.training.recipes import PRESETS, WITH_ISO, Recipe
from srnn.training.run import Run

CHAIN = srnn.systems.SpringChain.random(masses=4, generator=seeded(7))


def observed(count: int = 24, steps: int = 9, noise: float = 0.2, seed: int = 1) -> Any:
    data = CHAIN.simulate(count, steps=steps, dt=0.1, generator=seeded(seed), dtype=F64)
    return data.with_noise(noise, generator=seeded(seed + 100))


def plain(seed: int = 3, **settings: Any) -> srnn.SRNN:
    """An H-NET without a quadratic term, which has all to learn."""
    net = srnn.HNet(4, 16, generator=seeded(seed), dtype=F64)
    return srnn.SRNN(4, hamiltonian=net, generator=seeded(seed), **settings)


def weights(model: srnn.Model) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.net.parameters()).detach().clone()


# -- every network, integrator and setting --------------------------------------------------------


class OwnQuartic(torch.nn.Module):
    """Somebody's own Hamiltonian with one number to learn; not separable in what it says."""

    dim, separable = 4, False

    def __init__(self) -> None:
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.ones(4, dtype=F64))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        q, p = z[..., :4], z[..., 4:]
        return (p.square() + self.stiffness * q.square() + 0.01 * (q * p).square()).sum(-1) / 2


NETS: dict[str, tuple[Any, str | None]] = {
    "H-NET": (lambda: srnn.HNet(4, 16, generator=seeded(0), dtype=F64), "leapfrog"),
    "H-NET, deep": (lambda: srnn.HNet(4, (12, 12), generator=seeded(0), dtype=F64), "leapfrog"),
    "H-NET, quadratic": (
        lambda: srnn.HNet(4, 16, quadratic=True, generator=seeded(0), dtype=F64),
        "yoshida4",
    ),
    "O-NET, Euler": (lambda: srnn.ONet(4, 16, generator=seeded(0)).double(), "euler"),
    "O-NET, leapfrog": (lambda: srnn.ONet(4, 16, generator=seeded(0)).double(), "leapfrog"),
    "O-NET, RK4": (lambda: srnn.ONet(4, 16, generator=seeded(0)).double(), "rk4"),
    "quadratic H": (lambda: srnn.QuadraticH(4, dtype=F64), "leapfrog"),
    "RNN": (lambda: srnn.RNN(4, 24, generator=seeded(0)).double(), None),
    "LSTM": (lambda: srnn.LSTM(4, 24, generator=seeded(0)).double(), None),
    "own, Tao": (OwnQuartic, "tao2"),
    "own, implicit": (OwnQuartic, "implicit-midpoint"),
    "joint H-NET, Tao": (lambda: JointHNet(0, dim=4), "tao2"),
}


@pytest.mark.parametrize("name", NETS)
def test_every_network_learns_through_its_integrator(name: str) -> None:
    build, integrator = NETS[name]
    model = srnn.Model(build(), integrator, generator=seeded(0))
    data = observed(12, steps=4, noise=0.1)
    # Without the start by least squares, which leaves a quadratic term nothing to learn.
    settings: dict[str, Any] = {"warm_start": False, "iso_every": 2, "batch_size": 4}
    history = model.fit(data, iso=True, epochs=6, learning_rate=0.02, progress=False, **settings)
    assert history.epochs == 6
    assert history.train_loss[-1] < 0.98 * history.train_loss[0]
    assert history.best_epoch > 0
    assert min(history.validation_loss) < 0.98 * history.validation_loss[0]
    assert model.iso
    assert model.noise is not None
    predicted = model.predict(data, steps=6, iso=False)
    assert torch.isfinite(predicted.values).all()


@pytest.mark.parametrize("name", ["RNN", "LSTM"])
def test_a_recurrent_networks_starts_need_no_jacobians_of_all_windows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take hundreds of times what a gradient takes."""
    windows: list[int] = []
    jacobians = Problem.states_and_jacobians

    def counted(self: Problem, z0: torch.Tensor) -> Any:
        windows.append(len(z0))
        return jacobians(self, z0)

    def never(*_: Any) -> Any:
        raise AssertionError("the normal equations of all windows")

    monkeypatch.setattr(Problem, "states_and_jacobians", counted)
    monkeypatch.setattr(Problem, "normal", never)
    model = srnn.Model(NETS[name][0](), None, generator=seeded(0))
    data = observed(300, steps=4, noise=0.1)
    model.fit(data, iso="scipy", iso_from=1, epochs=2, validation=0, progress=False)
    assert model.noise is not None
    assert set(windows) == {_SAMPLE}
    assert _SAMPLE < 300


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 4},
        {"substeps": 2},
        {"loss_from": 1},
        {"validation": 0},
        {"validation_data": observed(6, seed=5)},
        {"validation_data": observed(6, seed=5), "window": 5, "noise": "equal"},
        {"iso_every": 1},
        {"scale": False},
        {"warm_start": "distil"},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_settings_go_together_with_it(settings: dict[str, Any], dtype: torch.dtype) -> None:
    settings = dict(settings)
    if "validation_data" in settings:
        settings["validation_data"] = settings["validation_data"].to(dtype)
    model = plain().to(dtype)
    history = model.fit(
        observed(16).to(dtype),
        iso=True,
        epochs=5,
        batch_size=4,
        learning_rate=0.03,
        progress=False,
        **settings,
    )
    assert len(history.validation_loss) == (0 if settings.get("validation") == 0 else 5)
    if settings.get("warm_start") != "distil":  # which begins near the end
        assert history.train_loss[-1] < 0.95 * history.train_loss[0]
    assert weights(model).dtype == dtype
    assert model.predict(observed(3).to(dtype), steps=3, iso=False).values.dtype == dtype


def test_the_windows_of_a_trajectory_have_starts_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "srnn.training.run.Run.epoch", lambda run: seen.append(len(run.starts.z0)) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        plain().fit(observed(10), iso=True, window=4, validation=0, progress=False)
    assert seen == [10 * 7]


# -- noise ----------------------------------------------------------------------------------------


def error_against_clean(model: srnn.Model, steps: int = 60) -> float:
    test = CHAIN.simulate(64, steps=steps, dt=0.1, generator=seeded(50), dtype=F64)
    test = test.with_noise(0.2, generator=seeded(51))
    prediction = model.predict(test.first(10), steps=steps, iso=True)
    return float(srnn.metrics.position_error(prediction, test, against="clean").mean())


def test_on_noisy_data_the_field_is_learnt_better_with_it() -> None:
    """Both are tested from optimised starts, so that the difference is what was learnt."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(3):
        for iso in errors:
            model = srnn.SRNN(4, hamiltonian=srnn.QuadraticH(4, dtype=F64), generator=seeded(seed))
            data = observed(100, noise=0.3, seed=seed)
            model.fit(data, iso=iso, epochs=40, learning_rate=0.01, progress=False)
            errors[iso].append(error_against_clean(model))
    assert sum(errors[True]) < 0.7 * sum(errors[False])


def test_on_exact_data_it_does_no_harm() -> None:
    errors = {}
    for iso in (True, False):
        model = srnn.SRNN(4, 16, dtype=F64, generator=seeded(3))
        model.fit(observed(60, noise=0.0), iso=iso, epochs=20, progress=False)
        exact = CHAIN.simulate(32, steps=60, dt=0.1, generator=seeded(50), dtype=F64)
        prediction = model.predict(exact.first(10), steps=60)
        errors[iso] = float(srnn.metrics.position_error(prediction, exact).mean())
    assert errors[True] < 1.05 * errors[False]


def test_unequal_noise_is_estimated_and_the_fit_is_better_for_it() -> None:
    """0.2 on positions, 0.02 on momenta."""
    errors: dict[str, float] = {}
    for noise in ("estimated", "equal"):
        total = 0.0
        for seed in range(2):
            clean = CHAIN.simulate(400, 9, 0.1, seeded(seed), start="all-free", dtype=F64)
            g = seeded(seed + 10)
            data = clean.with_noise(0.2, on="q", generator=g).with_noise(0.02, on="p", generator=g)
            model = srnn.SRNN(4, hamiltonian=srnn.QuadraticH(4, dtype=F64), generator=seeded(0))
            model.fit(data, iso=True, noise=noise, progress=False)
            eye = torch.eye(4, dtype=F64)
            found, true = (
                h.potential_gradient(eye) - h.potential_gradient(0 * eye)
                for h in (model.hamiltonian, CHAIN.shadow_hamiltonian(0.1))
            )
            total += float((found - true).norm().detach())
        errors[noise] = total
        assert model.noise is not None
        if noise == "estimated":
            # The error of the learnt H adds to the residuals, most to those of the exact half.
            halves = torch.tensor(model.noise).unflatten(0, (2, 4)).square().mean(dim=1).sqrt()
            assert halves.tolist() == pytest.approx([0.2, 0.02], rel=0.25)
        else:
            sizes = torch.tensor(model.noise) / model.scale.sizes  # one in the units of training
            torch.testing.assert_close(sizes, sizes[:1].expand(8), rtol=1e-6, atol=0)
    assert errors["estimated"] < 0.7 * errors["equal"]


# -- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["quadratic H", "H-NET"])
def test_other_units_give_the_same_predictions_after_conversion(kind: str) -> None:
    """q in other units, p in others again, another unit of time and another origin."""
    data = observed(20)
    factor = torch.tensor([1000.0] * 4 + [0.02] * 4, dtype=F64)
    origin = torch.arange(8, dtype=F64)
    converted = srnn.Trajectories.from_states(data.values * factor + origin, dt=data.dt * 60)
    predictions, states, noises = [], [], []
    for given in (data, converted):
        if kind == "H-NET":
            model = srnn.SRNN(4, 16, dtype=F64, generator=seeded(3))
        else:
            net = srnn.QuadraticH(4, dtype=F64)
            model = srnn.SRNN(4, hamiltonian=net, generator=seeded(3))
        model.fit(given, iso=True, epochs=4, batch_size=8, progress=False)
        predictions.append(model.predict(given, steps=40, iso=False).values)
        noises.append(torch.tensor(model.noise, dtype=F64))
        known = noises[-1] ** -2  # by maximum likelihood for the noise that the fit has found
        found = srnn.iso.optimise_initial_state(model, given, weights=known)
        states.append(found.states)
    for first, second in (predictions, states):
        torch.testing.assert_close((second - origin) / factor, first, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(noises[1], noises[0] * factor, rtol=1e-5, atol=0)


# -- a quadratic H is solved ----------------------------------------------------------------------


def test_a_quadratic_h_is_solved_without_epochs() -> None:
    model = srnn.SRNN(4, hamiltonian=srnn.QuadraticH(4, dtype=F64), generator=seeded(3))
    history = model.fit(observed(60), iso=True, progress=False)
    assert (history.stopped, history.epochs, history.best_epoch) == ("solved", 0, 0)
    assert error_against_clean(model) < 0.4


def test_what_is_solved_has_no_slope_left() -> None:
    """Of the loss over all windows, with every start at its optimum."""
    model = srnn.SRNN(4, hamiltonian=srnn.QuadraticH(4, dtype=F64), generator=seeded(3))
    data = observed(60)
    model.fit(data, iso=True, noise="equal", validation=0, progress=False)
    windows = model.scale.encoded(data)
    leapfrog = srnn.integrators.get("leapfrog")
    starts = Starts(model.net, leapfrog, windows.values, windows.dt, Recipe(iso="gauss-newton"))
    slopes = []
    for moved in (0.0, 0.01):
        with torch.no_grad():
            model.net.potential.matrix.add_(moved * torch.eye(4, dtype=F64))
        starts.optimise(starts.weights)
        loss = trajectory_loss(
            model.net, leapfrog, windows.values, windows.dt, loss_from=0, start=starts.z0
        )
        found = torch.autograd.grad(loss, list(model.net.parameters()))
        slopes.append(max(float(slope.abs().max()) for slope in found))
    assert slopes[0] < 1e-7
    assert slopes[1] > 1e-5


def test_the_second_fit_of_a_quadratic_h_goes_on_by_epochs() -> None:
    model = srnn.SRNN(4, hamiltonian=srnn.QuadraticH(4, dtype=F64), generator=seeded(3))
    model.fit(observed(30), iso=True, progress=False)
    history = model.fit(observed(30, seed=9), iso=True, epochs=2, progress=False)
    assert (history.stopped, history.epochs) == ("epochs", 2)


@pytest.mark.parametrize("settings", [{"iso": False}, {"iso": True, "warm_start": False}])
def test_a_quadratic_h_trains_where_it_is_not_solved(settings: dict[str, Any]) -> None:
    model = srnn.SRNN(4, hamiltonian=srnn.QuadraticH(4, dtype=F64), generator=seeded(3))
    history = model.fit(observed(), epochs=2, progress=False, **settings)
    assert (history.stopped, history.epochs) == ("epochs", 2)


# -- when -----------------------------------------------------------------------------------------


class Calls:
    """Epochs done at each optimisation of the training windows, and its method."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.epochs: list[int] = []
        self.methods: list[str] = []
        self.held_out: list[int] = []
        self.starts_used: list[bool] = []
        optimise, epoch, loss = Starts.optimise, Run.epoch, Run.loss
        now: list[Run] = []

        def spy_epoch(run: Run) -> None:
            now[:] = [run]
            epoch(run)

        def spy(starts: Starts, given: torch.Tensor) -> None:
            if now:
                mine = starts is now[0].starts
                (self.epochs if mine else self.held_out).append(now[0].history.epochs)
            self.methods.append(str(starts.recipe.iso))
            optimise(starts, given)

        def spy_loss(run: Run, data: Any, index: Any, start: Any, **how: Any) -> Any:
            self.starts_used.append(start is not None)
            return loss(run, data, index, start, **how)

        monkeypatch.setattr(Run, "epoch", spy_epoch)
        monkeypatch.setattr(Run, "loss", spy_loss)
        monkeypatch.setattr(Starts, "optimise", spy)


def test_the_papers_preset_begins_after_plain_epochs_and_then_does_every_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paper = PRESETS["paper"].replace(**WITH_ISO["paper"])
    assert (paper.iso, paper.iso_from, paper.iso_every) == ("scipy", 100, 1)
    assert METHODS["scipy"].iterations == 10
    assert (paper.noise, paper.first_counted) == ("equal", 0)
    calls = Calls(monkeypatch)
    net = srnn.HNet(4, 8, generator=seeded(0), dtype=F64)
    model = srnn.SRNN(4, hamiltonian=net, preset="paper", generator=seeded(0))
    history = model.fit(observed(8), iso=True, iso_from=2, epochs=5, progress=False)
    assert calls.epochs == [2, 3, 4]
    assert set(calls.methods) == {"scipy"}
    # One batch and one look an epoch, without starts in the first two.
    assert calls.starts_used == [False] * 4 + [True] * 6
    assert history.train_loss[2] < history.train_loss[1]


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3, 4, 5, 6]), (3, [1, 4]), (9, [1])])
def test_every_so_many_epochs(
    every: int, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    settings: dict[str, Any] = {"iso_from": 1, "iso_every": every, "patience": None}
    plain().fit(observed(), iso=True, epochs=7, progress=False, **settings)
    assert calls.epochs == epochs
    assert calls.held_out == list(range(1, 7))  # held-out windows, after every epoch


def test_without_it_no_start_is_optimised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Starts, "__init__", lambda *_: pytest.fail("made starts"))
    for iso in (None, False):
        model = plain()
        model.fit(observed(), iso=iso, epochs=1, progress=False)
        assert not model.iso


def test_patience_waits_for_the_first_optimisation() -> None:
    """At so small a rate no epoch is better than the one before."""
    settings: dict[str, Any] = {"patience": 1, "learning_rate": 1e-300, "progress": False}
    history = plain().fit(observed(), epochs=20, **settings)
    assert (history.epochs, history.stopped) == (1, "patience")
    history = plain().fit(observed(), iso=True, iso_from=4, epochs=20, **settings)
    assert history.stopped == "patience"
    assert history.epochs > 5
    assert history.best_epoch > 4


def test_the_mark_to_beat_is_the_start_with_its_own_starts_optimised() -> None:
    """Else an epoch would seem better for nothing but its second optimisation."""
    model = plain()
    history = model.fit(
        observed(),
        iso=True,
        epochs=3,
        learning_rate=1e-300,
        validation_data=observed(6, seed=5),
        patience=None,
        progress=False,
    )
    first = history.validation_loss
    assert first[1:] == pytest.approx(first[:-1], rel=1e-5)


def test_true_is_the_best_known_and_a_name_is_that_method(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(
        net: Any, integrator: Any, training: Any, held_out: Any, recipe: Recipe, *_: Any, **__: Any
    ) -> Any:
        seen.append((recipe.iso, recipe.patience))
        return srnn.History()

    monkeypatch.setattr("srnn.model.model.train", spy)
    for iso in (True, *METHODS, False, None):
        plain().fit(observed(8), iso=iso)
    plain().fit(observed(8), iso=True, patience=7)
    names = [("gauss-newton", 15), *((name, 30) for name in METHODS)]
    assert seen == [*names, (None, 30), (None, 30), ("gauss-newton", 7)]


# -- wrong input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"iso": "lbfgs"}, "Unknown `iso`: 'lbfgs'. Known: True, False, 'gauss-newton', 'scipy'."),
        ({"iso": "joint"}, "Unknown `iso`: 'joint'. Known: True, False, 'gauss-newton', 'scipy'."),
        ({"iso": True, "iso_every": 0}, "Expected `iso_every` to be at least 1; got 0"),
        ({"iso": True, "iso_from": -1}, "Expected `iso_from` to be at least 0; got -1"),
        ({"iso": True, "iso_iterations": 3}, "Unknown `setting of fit`: 'iso_iterations'"),
        ({"monitor": 64}, "Unknown `setting of fit`: 'monitor'"),
        ({"weight_decay": 0.1}, "Unknown `setting of fit`: 'weight_decay'"),
        ({"iso": True, "iso_every": 1.5}, "Expected `iso_every` to be an integer; got 1.5"),
        ({"iso": True, "noise": "known"}, "Unknown `noise`: 'known'. Known: 'estimated', 'equal'"),
        ({"warm_start": "distill"}, "Unknown `warm_start`: 'distill'. Known: True, False, 'distil"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        plain().fit(observed(8), progress=False, **settings)


def test_derivatives_have_no_start_to_optimise() -> None:
    data = CHAIN.simulate(8, 5, 0.1, seeded(0), derivatives=True, dtype=F64)
    model = srnn.HNN(4, 8, generator=seeded(0), dtype=F64)
    with pytest.raises(ValueError, match=r"no initial state to optimise: pass iso=False"):
        model.fit(data, iso=True, progress=False)
    assert model.fit(data, iso=False, epochs=1, progress=False).epochs == 1


def test_a_deep_net_cannot_be_distilled_into() -> None:
    net = srnn.HNet(4, (8, 8), generator=seeded(0), dtype=F64)
    model = srnn.SRNN(4, hamiltonian=net, generator=seeded(0))
    before = weights(model)
    with pytest.raises(ValueError, match=r"one hidden layer to distil into; got 2\. Give deeper"):
        model.fit(observed(8), iso=True, warm_start="distil", progress=False)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("iso", METHODS)
def test_divergence_with_it_keeps_the_last_good_weights(iso: str) -> None:
    model = plain()
    with pytest.raises(srnn.errors.TrainingDiverged, match="the last good ones"):
        model.fit(
            observed(),
            iso=iso,
            epochs=30,
            optimizer="sgd",
            learning_rate=1e200,
            clip_norm=None,
            progress=False,
        )
    assert torch.isfinite(weights(model)).all()


# -- full size ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["quadratic H", "H-NET"])
def test_the_chain_of_twenty_masses_is_forecast_near_its_floor(kind: str) -> None:
    """1000 x 10 states with noise of 0.2; 0.907 is the floor, of exact motion from ten states."""
    g = seeded(0)
    chain = srnn.systems.SpringChain.random(masses=20, generator=g)
    train = chain.simulate(1000, steps=9, dt=0.1, generator=g).with_noise(0.2, generator=g)
    test = chain.simulate(256, steps=199, dt=0.1, generator=g).with_noise(0.2, generator=g)
    if kind == "H-NET":
        model = srnn.SRNN(20, 256, generator=g)
    else:
        model = srnn.SRNN(20, hamiltonian=srnn.QuadraticH(20), generator=g)
    model.fit(train, iso=True, progress=False)
    prediction = model.predict(test.first(10), steps=199)
    error = float(srnn.metrics.position_error(prediction, test).mean())
    print(f"{kind}: {error:.3f}")
    assert error <= 1.0
    assert math.isfinite(error)


# -- what a fit leaves behind ---------------------------------------------------------------------


def test_the_substeps_of_a_fit_are_those_of_what_follows(tmp_path: Path) -> None:
    pendulum = srnn.systems.Pendulum(gravity=1.0)
    data = pendulum.simulate(60, steps=9, dt=0.8, generator=seeded(3), dtype=F64)
    model = srnn.SRNN(1, 16, generator=seeded(0), dtype=F64)
    model.fit(data, iso=True, substeps=4, epochs=2, progress=False)
    assert model.substeps == 4
    default = model.predict(data, steps=9)
    assert torch.equal(default.values, model.predict(data, steps=9, substeps=4).values)
    assert not torch.allclose(default.values, model.predict(data, steps=9, substeps=1).values)
    found = srnn.iso.optimise_initial_state(model, data)
    asked = srnn.iso.optimise_initial_state(model, data, dt=data.dt / 4)
    assert torch.equal(found.states, asked.states)
    model.save(tmp_path / "model.srnn")
    again = srnn.load(tmp_path / "model.srnn")
    assert again.substeps == 4
    assert torch.equal(again.predict(data, steps=9).values, default.values)


def test_a_solved_fit_leaves_a_checkpoint_and_repeats(tmp_path: Path) -> None:
    model = srnn.SRNN(4, hamiltonian=srnn.QuadraticH(4, dtype=F64), generator=seeded(0))
    data = observed(40)
    fits = []
    for _ in range(2):
        history = model.fit(data, iso=True, checkpoint=tmp_path / "run", progress=False)
        assert history.stopped == "solved"
        fits.append((model.net.potential.matrix.detach().clone(), model.generator.get_state()))
    assert (tmp_path / "run").exists()
    assert torch.equal(fits[0][0], fits[1][0])
    assert torch.equal(fits[0][1], fits[1][1])


class Detached(torch.nn.Module):
    """A Hamiltonian whose force forgets what it depends on."""

    dim, separable = 4, True

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones((), dtype=F64))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.weight * z.square().sum(-1) / 2

    def kinetic_gradient(self, p: torch.Tensor) -> torch.Tensor:
        return self.weight * p.detach()

    def potential_gradient(self, q: torch.Tensor) -> torch.Tensor:
        return self.weight * q.detach()


def test_a_net_that_is_not_differentiable_in_its_start_is_refused_before_training() -> None:
    model = srnn.SRNN(4, hamiltonian=Detached(), generator=seeded(0))
    with pytest.raises(TypeError, match="cannot be differentiated in its initial state"):
        model.fit(observed(8), iso=True, epochs=1, progress=False)
    model.fit(observed(8), iso=False, epochs=1, progress=False)


def test_a_window_whose_full_step_is_too_long_is_not_left_behind() -> None:
    """Wide swings over a long time, seen with much noise, under the true equations."""
    pendulum = srnn.systems.Pendulum(gravity=1.0)
    z0 = torch.cat((torch.full((100, 1), 2.5), torch.zeros(100, 1)), dim=1).double()
    data = pendulum.simulate(100, steps=39, dt=0.2, initial_state=z0, dtype=F64)
    noisy = data.with_noise(0.3, generator=seeded(1))
    recipe = Recipe(iso="gauss-newton", noise="equal")
    starts = Starts(pendulum, srnn.integrators.get("leapfrog"), noisy.values, noisy.dt, recipe)
    for _ in range(30):
        starts.optimise(starts.weights)
    best = srnn.iso.optimise_initial_state(pendulum, noisy, initial=starts.z0)
    states = srnn.rollout(pendulum, "leapfrog", starts.z0, dt=0.2, steps=39)
    loss = (states - noisy.values).square().sum(dim=(0, 2))
    assert bool((loss <= 1.01 * best.loss).all())


def test_an_interrupted_fit_keeps_no_noise_of_an_earlier_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = srnn.SRNN(4, 8, generator=seeded(0), dtype=F64)
    model.fit(observed(20), iso=True, epochs=1, progress=False)
    assert model.noise is not None

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("srnn.model.model.train", stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(observed(20), iso=False, epochs=1, progress=False)
    assert (model.iso, model.noise) == (False, None)
