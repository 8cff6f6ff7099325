"""Files: whole or not there, refused if damaged, and a killed run that goes on bit for bit."""

import contextlib
import functools
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

import srnn
from srnn.errors import CheckpointError
from srnn.motion import integrators
from srnn.rebound import LevelSetWalls, WalledH
from srnn.systems import Room
from srnn.training import checkpoint
from srnn.training.resuming import restore
from srnn.training.run import Run, train

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
        patch.setattr("srnn.training.run.time.monotonic", iter(range(0, 10**6, 10)).__next__)
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
        patch.setattr("srnn.training.run.time.monotonic", iter(range(0, 10**6, 10)).__next__)
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
            for weight in run.motion.net.parameters():
                weight.fill_(seen[-1])
        if len(seen) == 1:
            run.best = {k: v.clone() for k, v in run.motion.state_dict().items()}

    monkeypatch.setattr("srnn.training.run.Run.epoch", epoch)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, progress=False)
    assert all(bool((weight == 0).all()) for weight in model.net.parameters())


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    """Bytes of a run's and of a model's file."""
    folder = tmp_path_factory.mktemp("saved")
    fit(data, folder / "run")[0].save(folder / "model")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda raw: raw[:-100], "it is truncated or not a safetensors file"),
        (lambda raw: raw[:40], "it is truncated or not a safetensors file"),
        (lambda raw: b"", "it is truncated or not a safetensors file"),
        (lambda raw: b"no checkpoint, but long enough to be one", "it is truncated or not a safe"),
        (lambda raw: save({"x": torch.zeros(3)}), "was not written by srnn"),
        (lambda raw: save({}, {"srnn": 10**5 * "["}), "was not written by srnn"),
        (lambda raw: save({}, {"srnn": '["format"]'}), "was not written by srnn"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), r"is damaged: .* \(the checksum differs\)"),
    ],
)
def test_damaged_and_foreign_files_are_refused(data, saved, tmp_path, damage, text):
    for name, raw in saved.items():
        (tmp_path / name).write_bytes(damage(raw))
    with pytest.raises(CheckpointError, match=text):
        srnn.load(tmp_path / "model")
    # test_models.py shows that the refused fit leaves the model as it was.
    with pytest.raises(CheckpointError, match=text):
        fit(data, tmp_path / "run")


def test_a_bit_that_is_flipped_anywhere_is_noticed(tmp_path):
    path = tmp_path / "model"
    srnn.SRNN(1, 2, generator=seeded()).save(path)
    raw = bytearray(path.read_bytes())
    assert len(raw) > 1500
    for k in range(len(raw)):
        # All bits where the file says that it has a checksum, and what it is of; else one a byte.
        for bit in range(8) if k < 60 else (k % 8,):
            raw[k] ^= 1 << bit
            path.write_bytes(raw)
            raw[k] ^= 1 << bit
            with pytest.raises(CheckpointError):
                checkpoint.read(path, srnn.model.FORMAT)
    path.write_bytes(raw)
    srnn.load(path)


def test_files_are_the_same_bytes_each_time_and_need_no_checksum(tmp_path):
    """Those of before there was one are read, the stored weights among them."""
    model = srnn.SRNN(2, 4, generator=seeded())
    for name in ("one", "two"):
        model.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    tensors, header = checkpoint.read(tmp_path / "one", srnn.model.FORMAT)
    save_file(tensors, tmp_path / "old", {"srnn": json.dumps(header)})
    old = srnn.load(tmp_path / "old").net.state_dict()
    assert all(torch.equal(old[name], x) for name, x in model.net.state_dict().items())


OWN = {"kind": "Splitting", "name": "a", "order": 1, "stages": [["kick", 1.0], ["drift", 1.0]]}
TAO = {"kind": "Tao", "name": "a", "order": 2, "substeps": [1.0], "omega": math.nan}
NETS = {
    "HNet": lambda: srnn.HNet(2, 4),
    "RNN": lambda: srnn.RNN(2, 4),
    "PairwiseH": lambda: srnn.nn.PairwiseH(2, 1, 4),
    "WalledH": lambda: WalledH(srnn.HNet(2, 4), LevelSetWalls(Room.box().image, hidden=4)),
}


@pytest.mark.parametrize(
    ("net", "where", "value", "text"),
    [
        ("HNet", "config.dim", 10**6, r"expected `kinetic.mlp.layers.0.weight` of shape \(4, 1000"),
        ("HNet", "config.hidden", [10**6, 10**6], "does not fit HNet"),
        ("HNet", "config.hidden", [10**30], "damaged header"),
        ("HNet", "config.hidden", [[4]], "Expected `hidden` to be an integer"),
        ("HNet", "config.quadratic", "no", "the network is .*, not"),
        ("HNet", "config.device", "cpu", "multiple values for keyword argument 'device'"),
        ("HNet", "config", [2, 4], "damaged header"),
        ("RNN", "config.hidden", 10**6, "does not fit RNN"),
        ("PairwiseH", "config.bodies", 10**6, r"Expected `shift` of shape \(2000000,\)"),
        ("WalledH", "config.picture", [10**6, 10**6], "does not fit WalledH"),
        ("WalledH", "config.walls", ["LevelSetWalls", {"hidden": 10**6}], "does not fit WalledH"),
        ("WalledH", "config.rebounds", 10**9, "`rebounds` in a file to be at most 1000000"),
        ("HNet", "net", ["HNet"], r"holds weights of \['HNet'\], which is not one"),
        ("HNet", "model", ["SRNN"], "unhashable"),
        ("HNet", "preset", ["paper"], "Unknown `preset`"),
        ("HNet", "integrator", ["leapfrog"], "damaged header"),
        ("HNet", "integrator", OWN | {"name": ["a"]}, "Expected `name` of an integrator to be"),
        ("HNet", "integrator", OWN | {"stages": [["kick", math.nan]]}, "to sum to 1"),
        ("HNet", "integrator", TAO, "Expected `omega` to be a finite number"),
        ("HNet", "scale", [1.0, 1.0, 1.0], "damaged header"),
        *(
            ("HNet", f"scale.{x}", 0.0, "to be a positive finite number")
            for x in ("q", "p", "time")
        ),
        *(
            ("HNet", "scale.q", x, "to be a positive")
            for x in (math.nan, -1.0, math.inf, "1", None)
        ),
        *(("HNet", "dt", x, "`dt` to be a positive") for x in (math.nan, 0, -0.1, [0.1])),
        ("HNet", "dt", 10**400, "an integer of 1329 bits"),
        *(("HNet", "substeps", x, "Expected `substeps`") for x in (0, 1.5, 10**9, None)),
        *(("HNet", "noise", x, "Expected `noise`") for x in ([0.1], 0.1, [math.nan, 0.1], [0, 1])),
        ("HNet", "iso", "no", "Unknown `iso`"),
        ("HNet", "shift", torch.zeros(3), r"Expected `shift` of shape \(4,\); got \(3,\)"),
        ("HNet", "shift", torch.full((4,), math.nan), "Expected `shift` to be finite"),
        ("HNet", "shift", torch.zeros(4, dtype=torch.int64), "Unknown dtype of `shift`"),
    ],
)
def test_a_model_that_cannot_be_is_refused_before_it_is_built(tmp_path, net, where, value, text):
    integrator = None if net == "RNN" else "leapfrog"
    srnn.Model(NETS[net](), integrator).save(tmp_path / "model")
    tensors, header = checkpoint.read(tmp_path / "model", srnn.model.FORMAT)
    *parents, last = where.split(".")
    inner = tensors if last == "shift" else header
    for name in parents:
        inner = inner[name]
    inner[last] = value
    checkpoint.write(tmp_path / "model", tensors, header)
    with pytest.raises(CheckpointError, match=text):
        srnn.load(tmp_path / "model")
    if last == "dt" and isinstance(value, float):  # nor is one written that could not be read
        model = srnn.SRNN(2, 4)
        model.dt = value
        with pytest.raises(ValueError, match=text):
            model.save(tmp_path / "other")


def nodes(tree, *path):
    """All places in a JSON header."""
    for key in list(tree if isinstance(tree, dict) else range(len(tree))):
        yield (*path, key)
        if isinstance(tree[key], (dict, list)):
            yield from nodes(tree[key], *path, key)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "scheduler": "plateau"},
        {"optimizer": "sgd", "scheduler": "exponential"},
        {"iso": "gauss-newton", "scheduler": None},
    ],
)
def test_a_checkpoint_that_lacks_a_part_is_refused_before_training(
    data, tmp_path, monkeypatch, settings
):
    whole = tmp_path / "run"
    recipe = srnn.recipes.Recipe(epochs=2, batch_size=8, **settings)
    net, part = srnn.HNet(3, 4, generator=seeded()), data.first(3)
    given = net, integrators.get("leapfrog"), part, part, recipe, seeded()
    run = Run(*given)
    train(*given, path=whole, progress=False)
    tensors, header = checkpoint.read(whole, "srnn.Training/1")
    fingerprint = header["fingerprint"]

    def refused(*parts):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "read", lambda path, expected: parts)
            with pytest.raises((CheckpointError, LookupError, TypeError, ValueError)):
                restore(run, whole, fingerprint)

    for name, x in tensors.items():
        refused({key: value for key, value in tensors.items() if key != name}, header)
        refused(tensors | {name: x[None]}, header)
    refused(tensors | {"more": torch.zeros(1)}, header)
    for *parents, last in nodes(header):
        for change in ({"x": 1}, math.nan, "missing"):
            other = json.loads(json.dumps(header))
            inner = functools.reduce(lambda tree, key: tree[key], parents, other)
            if change == "missing":
                del inner[last]
            else:
                inner[last] = change
            refused(tensors, other)
    assert run.history.epochs == 0
    restore(run, whole, fingerprint)
    assert run.history.epochs == 2


def test_a_model_is_not_a_checkpoint_nor_the_other_way_round(data, saved, tmp_path):
    for name, raw in saved.items():
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"holds 'srnn.Training/1'; expected 'srnn.Model/1'"):
        srnn.load(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"holds 'srnn.Model/1'; expected 'srnn.Training/1'"):
        fit(data, tmp_path / "model")


def test_missing_files_and_folders_say_so(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        srnn.load(tmp_path / "none.srnn")
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        srnn.SRNN(3, 8).save(tmp_path / "none" / "model.srnn")


@contextlib.contextmanager
def room_for(size):
    """As on a full disk: the system writes so many bytes to a file and refuses the next."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(data, tmp_path):
    model, _ = fit(data, tmp_path / "run", epochs=1)
    model.save(tmp_path / "model")
    data.save(tmp_path / "data")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {"run", "model", "data"}
    for name, write in (
        ("model", model.save),
        ("data", data.save),
        ("run", lambda path: fit(data, path, epochs=2)),
    ):
        text = rf"There is no room to write .*{name} \(.*\)\. Free some, or name a file on another"
        with pytest.raises(OSError, match=text), room_for(500):
            write(tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("umask", "former", "expected"),
    [(0o022, None, 0o644), (0o007, None, 0o660), (0o077, 0o64, 0o64)],
)
def test_a_file_has_the_permissions_of_the_former_one_or_the_umask(
    tmp_path, umask, former, expected
):
    path = tmp_path / "model"
    if former is not None:
        path.touch()
        path.chmod(former)
    kept = os.umask(umask)
    try:
        srnn.SRNN(1, 2).save(path)
    finally:
        os.umask(kept)
    assert path.stat().st_mode & 0o777 == expected


def test_a_link_is_written_through_and_a_folder_or_device_is_refused(tmp_path):
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link", tmp_path / "far" / "model"
    link.symlink_to(Path("far") / "model")
    for dim in (1, 2):  # to what is not there yet, and to what is
        srnn.SRNN(dim, 2).save(link)
        assert link.is_symlink()
        assert srnn.load(target).dim == dim
    os.mkfifo(tmp_path / "pipe")
    for name in ("far", "pipe"):
        with pytest.raises(IsADirectoryError, match="is a folder or a device; name a file"):
            srnn.SRNN(1, 2).save(tmp_path / name)
    assert {path.name for path in tmp_path.rglob("*")} == {"far", "link", "model", "pipe"}


HALF = """
import sys, time
from srnn._arrays import whole_file

with whole_file(sys.argv[1]) as beside:
    beside.write_bytes(b"half")
    print(beside, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_writer_leaves_is_removed_by_the_next_and_a_live_one_s_is_not(tmp_path):
    path, other = tmp_path / "[file]", tmp_path / "other"
    command = [sys.executable, "-c", HALF, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            beside = Path(process.stdout.readline().strip())
            srnn.SRNN(1, 2).save(path)
            assert beside.read_bytes() == b"half"
        finally:
            process.kill()
    assert beside.exists()
    srnn.SRNN(1, 2).save(other)
    assert beside.exists()
    srnn.SRNN(1, 2).save(path)
    assert set(tmp_path.iterdir()) == {path, other}


def test_readers_and_writers_at_once_never_meet_a_mixture(tmp_path):
    """Of two files, in two threads: one file's header beside another's tensors, or half of one."""
    path, done = tmp_path / "file", threading.Event()

    def write(first):
        k = first
        while not done.is_set() or k == first:
            checkpoint.write(path, {"x": torch.full((100,), k)}, {"format": "test", "k": k})
            k += 2

    write_one = {"x": torch.zeros(100, dtype=torch.int64)}, {"format": "test", "k": 0}
    checkpoint.write(path, *write_one)
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, first) for first in (1, 2)]
        try:
            seen = [checkpoint.read(path, "test") for _ in range(300)]
        finally:
            done.set()
        for writer in writers:
            writer.result()
    assert all(bool((tensors["x"] == header["k"]).all()) for tensors, header in seen)
    assert len({header["k"] for _, header in seen}) > 1
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_files_hold_plain_arrays(data, saved, tmp_path):
    """Safetensors begins with the length of its JSON header; the arrays hold no objects."""
    for raw in saved.values():
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
