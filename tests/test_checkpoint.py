"""Files: whole or not there, refused if damaged, and a killed run that goes on bit for bit."""

import json
import os
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
from srnn import checkpoint
from srnn.errors import CheckpointError

RUN = """
import sys
import torch, srnn

torch.set_num_threads(1)
path, out, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
g = torch.Generator().manual_seed(0)
chain = srnn.systems.SpringChain.random(masses=3, generator=g)
data = chain.simulate(60, steps=9, dt=0.1, generator=g).with_noise(0.1, generator=g)
model = srnn.SRNN(dim=3, hidden=16, generator=g, preset={preset!r})
history = model.fit(
    data, epochs=epochs, batch_size=8, progress=False, checkpoint=path or None, {settings}
)
model.save(out)
print(history.epochs, history.stopped, float(torch.rand((), generator=g)))
"""

SETTINGS = {
    "default": (None, "patience=None"),
    "plateau": ("paper", "scheduler_patience=2"),
}


def start(script, path, out, epochs=150):
    command = [sys.executable, "-c", script, str(path), str(out), str(epochs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process):
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return printed


@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, name):
    preset, settings = SETTINGS[name]
    script = RUN.format(preset=preset, settings=settings)
    undisturbed = finish(start(script, "", tmp_path / "a.srnn"))
    path = tmp_path / "run.safetensors"
    process = start(script, path, tmp_path / "b.srnn")
    deadline = time.monotonic() + 60
    # Whenever the file first appears: some epoch after the first, a different one every time.
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    killed_at = checkpoint.read(path, "srnn.Training/1")[1]["history"]
    assert 1 <= len(killed_at["train_loss"]) < 150
    assert not (tmp_path / "b.srnn").exists()
    resumed = finish(start(script, path, tmp_path / "b.srnn"))
    assert resumed == undisturbed
    weights = [checkpoint.read(tmp_path / f"{x}.srnn", "srnn.Model/1")[0] for x in "ab"]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


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
    monkeypatch.setattr("srnn.run.Run.epoch", lambda self: pytest.fail("trained again"))
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
    epoch, done = srnn.run.Run.epoch, []

    def interrupted(run):
        if len(done) == 3:
            raise KeyboardInterrupt
        epoch(run)
        done.append(run.history.epochs)

    with monkeypatch.context() as patch:
        patch.setattr("srnn.run.Run.epoch", interrupted)
        patch.setattr("srnn.training.time.monotonic", iter(range(0, 10**6, 10)).__next__)
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

    monkeypatch.setattr("srnn.run.Run.epoch", epoch)
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
