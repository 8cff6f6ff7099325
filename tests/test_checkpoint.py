"""Files: whole or not there, refused if damaged, and a killed run that goes on bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import srnn
from srnn.errors import CheckpointError
from srnn.training import checkpoint

RUN = """
import dataclasses, json, sys, time
import torch, srnn

torch.set_num_threads(1)
clock = time.monotonic
time.monotonic = lambda: 50 * clock()  # a file every 20 ms instead of every second

SETTINGS = {settings}

folder, names = sys.argv[1], sys.argv[2:]
for name in names:
    make, settings, dtype = SETTINGS[name]
    g = torch.Generator().manual_seed(0)
    chain = srnn.systems.SpringChain.random(masses=3, generator=g)
    data = chain.simulate(32, steps=5, dt=0.1, generator=g, dtype=dtype, derivatives=True)
    data = data.with_noise(0.1, generator=g)
    model = eval(make)
    path = f"{{folder}}/{{name}}.run"
    settings["checkpoint"] = path if folder != "undisturbed" else None
    history = model.fit(data.with_noise(0.1, generator=g), progress=False, **settings)
    weights = {{k: v.tolist() for k, v in model.net.state_dict().items()}}
    history = dataclasses.asdict(history) | {{"seconds": None}}
    print(json.dumps([history, weights, float(torch.rand((), generator=g))]), flush=True)
"""

# What is made, the settings of `fit`, and the precision. Each run takes a second or two.
SETTINGS = {
    "default": (
        'srnn.SRNN(3, 16, generator=g, dtype="float64")',
        {"epochs": 300, "batch_size": 8, "learning_rate": 0.02, "patience": 80},
        "float64",
    ),
    "paper": (
        'srnn.SRNN(3, 16, preset="paper", generator=g)',
        {"epochs": 200, "batch_size": 8, "learning_rate": 0.02, "scheduler_patience": 4},
        "float32",
    ),
    "rnn": (
        "srnn.Model(srnn.RNN(3, 16, generator=g), None, generator=g)",
        {
            "epochs": 250,
            "batch_size": 4,
            "patience": None,
            "clip_norm": 0.1,
            "scheduler": "exponential",
            "decay": 0.98,
            "learning_rate_floor": 1e-4,
        },
        "float32",
    ),
    "gauss-newton": (
        'srnn.SRNN(3, 16, generator=g, dtype="float64")',
        {"iso": "gauss-newton", "iso_every": 7, "epochs": 150, "batch_size": 8, "patience": None},
        "float64",
    ),
    "hnn": (
        "srnn.HNN(3, 16, generator=g)",
        {
            "epochs": 200,
            "batch_size": 4,
            "optimizer": "adamw",
            "scheduler": "cosine",
            "patience": None,
        },
        "float32",
    ),
}


def start(folder, *names):
    """Start training the named runs, in a new process; without a folder no checkpoint is kept."""
    script = RUN.format(settings=SETTINGS)
    command = [sys.executable, "-c", script, str(folder or "undisturbed"), *names]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process):
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return [json.loads(line) for line in printed.splitlines()]


def kill(folder, name):
    """Train until some moment after the first checkpoint, and return the epochs it then holds."""
    path, longest = folder / f"{name}.run", 0.8
    while True:
        process = start(folder, name)
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(random.SystemRandom().uniform(0, longest))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        history = checkpoint.read(path, "srnn.Training/1")[1]["history"]
        if process.returncode == -signal.SIGKILL and not history["stopped"]:
            return len(history["train_loss"])
        # The run was over first.
        path.unlink()
        longest /= 2


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return of each run: undisturbed, killed and resumed, and the epoch it was killed after."""
    folder = tmp_path_factory.mktemp("runs")
    undisturbed = start(None, *SETTINGS)
    epochs = [kill(folder, name) for name in SETTINGS]
    resumed = finish(start(folder, *SETTINGS))
    return dict(zip(SETTINGS, zip(finish(undisturbed), resumed, epochs, strict=True), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_run_goes_on_to_the_same_bits(runs, name):
    undisturbed, resumed, killed_after = runs[name]
    epochs = len(undisturbed[0]["train_loss"])
    print(f"{name}: killed after epoch {killed_after} of {epochs}")
    assert 1 <= killed_after < epochs
    assert undisturbed[1], "no weights were compared"
    assert resumed == undisturbed


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data():
    chain = srnn.systems.SpringChain.random(masses=3, generator=seeded(7))
    return chain.simulate(20, steps=9, dt=0.1, generator=seeded(1))


def fit(data, path, *, seed=0, epochs=4, hidden=8, **settings):
    model = srnn.SRNN(3, hidden, generator=seeded(seed))
    history = model.fit(data, epochs=epochs, checkpoint=path, progress=False, **settings)
    return model, history


def test_a_finished_run_is_not_done_again(data, tmp_path, monkeypatch):
    path = tmp_path / "run"
    model, history = fit(data, path)
    monkeypatch.setattr("srnn.training.run.Run.epoch", lambda self: pytest.fail("trained again"))
    again, restored = fit(data, path)
    assert restored == history
    for a, b in zip(model.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"learning_rate": 0.5},
        {"hidden": 9},
        {"data": True},
        {"window": 3},
        {"held out": True},
        {"scheduler": "cosine", "epochs": 5},
    ],
)
def test_a_checkpoint_of_another_run_is_refused(data, tmp_path, change):
    change = dict(change)
    noisy = data.with_noise(0.1, generator=seeded())
    settings = {"scheduler": change["scheduler"]} if "scheduler" in change else {}
    held_out = {"validation_data": data} if "held out" in change else {}
    fit(data, tmp_path / "run", **settings, **held_out)
    before = (tmp_path / "run").read_bytes()
    if change.pop("held out", False):
        change["validation_data"] = noisy
    other = noisy if change.pop("data", False) else data
    with pytest.raises(CheckpointError, match="belongs to another training run: the model, the"):
        fit(other, tmp_path / "run", **change)
    assert (tmp_path / "run").read_bytes() == before


def test_other_derivatives_are_another_run(data, tmp_path):
    def train(factor):
        known = srnn.Trajectories.from_states(data.values, dt=0.1, derivatives=factor * data.values)
        model = srnn.HNN(3, 8, generator=seeded())
        return model.fit(known, epochs=2, checkpoint=tmp_path / "run", progress=False)

    train(1.0)
    with pytest.raises(CheckpointError, match="belongs to another training run"):
        train(2.0)


def test_a_finished_run_goes_on_when_more_epochs_are_asked_for(data, tmp_path):
    """Bit for bit as if they had been asked for at once."""
    fit(data, tmp_path / "run", epochs=3, patience=None)
    longer, history = fit(data, tmp_path / "run", epochs=6, patience=None)
    at_once, expected = fit(data, None, epochs=6, patience=None)
    assert history.train_loss == expected.train_loss
    for a, b in zip(longer.net.parameters(), at_once.net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_interrupted_call_made_again_goes_on(data, tmp_path, monkeypatch):
    """As in a notebook: stop the cell, look, run the cell again."""
    model = srnn.SRNN(3, 8, generator=seeded())
    settings = {"epochs": 6, "patience": None, "progress": False}
    epoch, done = srnn.training.run.Run.epoch, []

    def interrupted(run):
        if len(done) == 3:
            raise KeyboardInterrupt
        epoch(run)
        done.append(run.history.epochs)

    with monkeypatch.context() as patch:
        patch.setattr("srnn.training.run.Run.epoch", interrupted)
        patch.setattr("srnn.training.loop.time.monotonic", iter(range(0, 10**6, 10)).__next__)
        with pytest.raises(KeyboardInterrupt):
            model.fit(data, checkpoint=tmp_path / "run", **settings)
    drawn = model.generator.get_state()
    history = model.fit(data, checkpoint=tmp_path / "run", **settings)
    assert torch.equal(model.generator.get_state(), drawn)
    undisturbed, expected = fit(data, None, **{k: settings[k] for k in ("epochs", "patience")})
    assert history.train_loss == expected.train_loss
    again = model.fit(data, checkpoint=tmp_path / "run", **settings)
    assert again.train_loss == expected.train_loss
    for a, b in zip(model.net.parameters(), undisturbed.net.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("iso", srnn.recipes.ISO_METHODS)
@pytest.mark.parametrize(("every", "iso_from", "done"), [(1, 0, 3), (4, 0, 2), (2, 2, 1)])
def test_a_run_with_optimised_starts_goes_on_to_the_same_bits(
    data, tmp_path, monkeypatch, iso, every, iso_from, done
):
    """Ended between two optimisations, before the first one, or right before one."""
    noisy = data.with_noise(0.1, generator=seeded(2))
    # A plain H-NET, whose starts move with every epoch.
    settings = {"iso": iso, "iso_every": every, "iso_from": iso_from, "patience": None}
    settings |= {"epochs": 6, "batch_size": 8, "learning_rate": 0.02, "progress": False}
    ended = {}

    def fit(path):
        net = srnn.HNet(3, 8, generator=seeded(), dtype=torch.float64)
        model = srnn.SRNN(3, hamiltonian=net, generator=seeded())
        return model, model.fit(noisy.to(torch.float64), checkpoint=path, **settings)

    original = srnn.training.run.Run._schedule

    def remember(run, watched):
        original(run, watched)
        for name, starts in (("training", run.starts), ("held out", run.held_out_starts)):
            ended[name] = {k: v.clone() for k, v in starts.state().items()}

    monkeypatch.setattr("srnn.training.run.Run._schedule", remember)
    undisturbed, expected = fit(None)
    states = dict(ended)
    epoch, count = srnn.training.run.Run.epoch, []

    def interrupted(run):
        if len(count) == done:
            raise KeyboardInterrupt
        epoch(run)
        count.append(1)

    with monkeypatch.context() as patch:
        patch.setattr("srnn.training.run.Run.epoch", interrupted)
        patch.setattr("srnn.training.loop.time.monotonic", iter(range(0, 10**6, 10)).__next__)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "run")
    ended.clear()
    model, history = fit(tmp_path / "run")  # a new model, as in another program
    assert history.train_loss == expected.train_loss
    assert history.validation_loss == expected.validation_loss
    assert history.best_epoch == expected.best_epoch
    assert model.noise == undisturbed.noise
    for a, b in zip(model.net.parameters(), undisturbed.net.parameters(), strict=True):
        assert torch.equal(a, b)
    for name, tensors in states.items():
        assert tensors.keys() == ended[name].keys()
        assert all(torch.equal(tensors[k], ended[name][k]) for k in tensors)


def test_a_run_with_other_settings_of_the_starts_is_another_run(data, tmp_path):
    fit(data, tmp_path / "run", iso=True)
    for change in ({}, {"iso": "scipy"}, {"iso": True, "noise": "equal"}):
        with pytest.raises(CheckpointError, match="belongs to another training run"):
            fit(data, tmp_path / "run", **change)


def test_an_interrupt_keeps_the_best_weights(data, monkeypatch):
    model = srnn.SRNN(3, 8, generator=seeded())
    seen = []

    def epoch(run):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(torch.full((), float(len(seen))))
        run.history.train_loss.append(0.0)
        with torch.no_grad():
            for weight in run.net.parameters():
                weight.fill_(seen[-1])
        if len(seen) == 1:
            run.best = {k: v.clone() for k, v in run.net.state_dict().items()}

    monkeypatch.setattr("srnn.training.run.Run.epoch", epoch)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, progress=False)
    assert all(bool((weight == 0).all()) for weight in model.net.parameters())


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_header(path):
    path.write_bytes(path.read_bytes()[:40])


def damage_text(path):
    path.write_text("not a checkpoint, but long enough to be read as one, it would seem")


def damage_foreign(path):
    save_file({"x": torch.zeros(3)}, path)


def damage_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (damage_truncate, "cannot be read: it is truncated or not a safetensors file"),
        (damage_header, "cannot be read: it is truncated or not a safetensors file"),
        (damage_text, "cannot be read: it is truncated or not a safetensors file"),
        (damage_empty, "cannot be read: it is truncated or not a safetensors file"),
        (damage_foreign, "was not written by srnn"),
    ],
)
def test_damaged_and_foreign_files_are_refused(data, tmp_path, damage, text):
    model, _ = fit(data, tmp_path / "run")
    model.save(tmp_path / "model")
    for name in ("run", "model"):
        damage(tmp_path / name)
    with pytest.raises(CheckpointError, match=text):
        srnn.load(tmp_path / "model")
    # test_models.py shows that the refused fit leaves the model as it was.
    with pytest.raises(CheckpointError, match=text):
        fit(data, tmp_path / "run")


def test_a_model_is_not_a_checkpoint_nor_the_other_way_round(data, tmp_path):
    model, _ = fit(data, tmp_path / "run")
    model.save(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"holds 'srnn.Training/1'; expected 'srnn.Model/1'"):
        srnn.load(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"holds 'srnn.Model/1'; expected 'srnn.Training/1'"):
        fit(data, tmp_path / "model")


def test_missing_files_and_folders_say_so(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        srnn.load(tmp_path / "none.srnn")
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        srnn.SRNN(3, 8).save(tmp_path / "none" / "model.srnn")


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.write(path, {"x": torch.zeros(3)}, {"format": "test"})
    before = path.read_bytes()

    def full_disk(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(path, {"x": torch.ones(3)}, {"format": "test"})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_files_hold_plain_arrays(data, tmp_path):
    """Safetensors begins with the length of its JSON header; the arrays hold no objects."""
    model, _ = fit(data, tmp_path / "run")
    model.save(tmp_path / "model")
    for name in ("run", "model"):
        raw = (tmp_path / name).read_bytes()
        length = int.from_bytes(raw[:8], "little")
        assert "srnn" in json.loads(raw[8 : 8 + length])["__metadata__"]
    data.save(tmp_path / "data.npz")
    with np.load(tmp_path / "data.npz", allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays.files} <= set("fiU")


def test_no_pickle_is_read_or_written_anywhere():
    for path in Path(srnn.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for word in ("torch.save", "torch.load", "import pickle", "allow_pickle=True"):
            assert word not in text, f"{path.name} uses {word}"


def test_an_unknown_kind_of_integrator_cannot_be_saved(tmp_path):
    class Own:
        name, order, symplectic = "own", 1, False

        def init(self, field, z0):
            return z0

        def step(self, field, state, dt):
            return state + dt * field(state)

        def read(self, state):
            return state

    model = srnn.SRNN(2, 8, integrator=Own())
    with pytest.raises(TypeError, match="Expected an integrator of a known family"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
