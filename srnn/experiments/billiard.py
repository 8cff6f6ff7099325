r"""The heavy billiard of section 6 at full size: the paper's networks, better ones, and baselines.

    python -m srnn.experiments.billiard            # every row that is not stored yet
    python -m srnn.experiments.billiard --rows "no rebound"

Room of 104 x 104 pixels in a picture of 128 x 128; gravity 9 pixels/s^2, speeds of at most 25
pixels/s at the ceiling, so 50 at the floor; dt 0.1 s.  Training: 5000 trajectories of ten states.
Test, of other draws: 32 trajectories of 60 steps; 1000 single steps with one rebound and 10 000
without; 200 single steps with two; 32 trajectories of 60 steps in each of two rooms that no row was
trained in.  Settings were chosen on draws of other seeds and in other rooms; when all was settled,
the test set was drawn with a seed not used before and every row was scored on it once::

    python -m srnn.experiments.billiard --score    # the stored weights, without training
"""

import argparse
import copy
import math
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srnn.data.trajectories import Trajectories
from srnn.experiments._store import load, store, trained, weights_path
from srnn.model.model import Model
from srnn.model.models import SRNN
from srnn.nn import RNN, ONet
from srnn.rebound import KnownWalls, LevelSetWalls, PatchWalls
from srnn.results.metrics import position_error
from srnn.systems import Billiard, Room
from srnn.training.recipes import WITH_WALLS

__all__ = [
    "ROWS",
    "UNSEEN",
    "OneStep",
    "draw_test",
    "draw_training",
    "fit",
    "make",
    "one_step_cases",
    "score",
]

DT, STEPS, TRAINING, TESTS, HIDDEN = 0.1, 60, 5000, 32, 32
TRAINING_SEED, TEST_SEED, MODEL_SEED = 0, 5000, 2000
ANGLE, INSTANT = 10.0, 0.5  # degrees, and units of dt: how far a right bounce may be off

UNSEEN = {
    "slanted wall": Room.polygon([(12, 12), (116, 12), (116, 116), (44, 116), (12, 66)]),
    "obstacle": Room.polygon(
        [(12, 12), (116, 12), (116, 116), (12, 116)], [[(50, 40), (84, 52), (72, 86), (38, 74)]]
    ),
}
"""Rooms that nothing is trained in: a corner cut off, and a tilted square in the middle."""


def draw_training(trajectories: int = TRAINING) -> Trajectories:
    """Draw what the rows are trained on.

    Examples
    --------
    >>> draw_training(5)
    Trajectories(states=10, trajectories=5, dim=2, dt=0.1, dtype=float32)
    """
    generator = torch.Generator().manual_seed(TRAINING_SEED)
    return Billiard().simulate(trajectories, steps=9, dt=DT, generator=generator)


def draw_test(trajectories: int = TESTS, *, states: int = STEPS + 1) -> Trajectories:
    """Draw what their rollouts are tested on.

    Examples
    --------
    >>> draw_test(2)
    Trajectories(states=61, trajectories=2, dim=2, dt=0.1, dtype=float32)
    """
    generator = torch.Generator().manual_seed(TEST_SEED)
    return Billiard().simulate(trajectories, steps=states - 1, dt=DT, generator=generator)


def make(row: str) -> Model:
    """Make a row's model, not trained.

    Examples
    --------
    >>> make("no rebound").walled
    False
    """
    model: Model = ROWS[row][0](torch.Generator().manual_seed(MODEL_SEED))
    return model


def _walled(kind: Any = PatchWalls, preset: str | None = None, **how: Any) -> Any:
    def make(generator: torch.Generator) -> SRNN:
        walls = kind(Room.box().image, generator=generator, **how)
        return SRNN(2, HIDDEN, rebound=walls, preset=preset, generator=generator)

    return make


def _plain(kind: Any, integrator: str | None) -> Any:
    return lambda g: Model(kind(2, HIDDEN, generator=g), integrator, preset="paper", generator=g)


def _true(walls: Any) -> Any:
    return lambda _: SRNN(2, hamiltonian=Billiard(), rebound=walls())


# What a model without walls takes from the paper's recipe for the billiard.
_PAPER = {name: value for name, value in WITH_WALLS["paper"].items() if name != "gate_penalty"}

ROWS: dict[str, tuple[Any, dict[str, Any] | None]] = {
    "known walls, true equations": (_true(lambda: KnownWalls(Room.box())), None),
    "level set, untrained, true equations": (
        _true(lambda: LevelSetWalls(Room.box().image)),
        None,
    ),
    "level set": (lambda g: SRNN(2, HIDDEN, rebound=Room.box(), generator=g), {}),
    "level set, all of it learnt": (_walled(LevelSetWalls, crisp=False), {}),
    "paper's networks, started from rebounds": (_walled(), {}),
    "paper's networks and recipe": (_walled(preset="paper", sharp=False), {}),
    "the same, alpha = 1/2": (_walled(preset="paper", sharp=False, instant=0.5), {}),
    "no rebound": (lambda g: SRNN(2, HIDDEN, preset="paper", generator=g), _PAPER),
    "O-NET": (_plain(ONet, "leapfrog"), _PAPER),
    "RNN": (_plain(RNN, None), _PAPER),
}
"""Each row's model, and what its ``fit`` is told beside the defaults; None for no fit."""


class OneStep(NamedTuple):
    """Single steps from true states, and what truly happens in them.

    Examples
    --------
    >>> import torch
    >>> one_step_cases(0, 3, torch.Generator().manual_seed(0)).alpha.flatten().tolist()
    [1.0, 1.0, 1.0]
    """

    data: Trajectories
    alpha: Tensor
    """Instant of the first rebound in units of dt."""
    normal: Tensor
    """Normal of the wall that is met first."""


def one_step_cases(
    bounces: int, count: int, generator: torch.Generator, ball: Billiard | None = None
) -> OneStep:
    """Draw single steps with a given number of bounces.

    Parameters
    ----------
    bounces : int
    count : int
    generator : torch.Generator
    ball : Billiard, optional

    Returns
    -------
    OneStep

    Examples
    --------
    >>> import torch
    >>> cases = one_step_cases(1, 5, torch.Generator().manual_seed(0))
    >>> cases.data.steps, len(cases.data), cases.normal.abs().amax(dim=-1).tolist()
    (1, 5, [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    ball = Billiard() if ball is None else ball
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    while sum(len(z) for z, _, _ in parts) < count:
        z = ball.initial_states(20_000, generator)
        found = ball.bounces(z, DT, 1)
        number = torch.bincount(found.trajectory, minlength=len(z))
        first = torch.ones(len(found.trajectory), dtype=torch.bool)
        first[1:] = found.trajectory[1:] != found.trajectory[:-1]
        alpha, normal = torch.ones(len(z), 1, dtype=z.dtype), torch.zeros(len(z), 2, dtype=z.dtype)
        alpha[found.trajectory[first], 0] = found.time[first] / DT
        normal[found.trajectory[first]] = found.normal[first]
        chosen = number == bounces
        parts.append((z[chosen], alpha[chosen], normal[chosen]))
    z, alpha, normal = (torch.cat(part)[:count] for part in zip(*parts, strict=True))
    data = ball.simulate(count, steps=1, dt=DT, initial_state=z)
    return OneStep(data, alpha.float(), normal.float())


def fit(row: str, *, progress: bool = True, checkpoint: Any = None) -> tuple[Model, dict[str, Any]]:
    """Make a row's model and train it; return it with what the fit took.

    Parameters
    ----------
    row : str
        One of ``ROWS``.
    progress : bool
    checkpoint : path-like, optional

    Returns
    -------
    model : Model
    took : dict

    Examples
    --------
    >>> _, took = fit("known walls, true equations")
    >>> took
    {'epochs': 0, 'seconds': 0.0}
    """
    model, settings = make(row), ROWS[row][1]
    if settings is None:
        return model, {"epochs": 0, "seconds": 0.0}
    begin = time.perf_counter()
    data = draw_training()
    history = model.fit(data, progress=progress, checkpoint=checkpoint, **settings)
    return model, {
        "epochs": history.epochs,
        "best_epoch": history.best_epoch,
        "seconds": max(history.seconds, time.perf_counter() - begin),
        "train_loss": history.train_loss[-1],
    }


def score(
    model: Model, *, seed: int = TEST_SEED, trajectories: int = TESTS, steps: int = 1000
) -> dict[str, Any]:
    """Measure a model on the test set.

    Parameters
    ----------
    model : Model
    seed : int
        Another one is another test set, such as one to choose settings on.
    trajectories : int
    steps : int
        How many single steps with one rebound; ten times as many have none, a fifth has two.

    Returns
    -------
    dict
        Position errors in pixels, angles in degrees, instants in units of dt; see the book's
        chapter 7 for what each number is.

    Examples
    --------
    >>> oracle, _ = fit("known walls, true equations")
    >>> score(oracle, seed=1, trajectories=1, steps=20)["rollout"]["median"] < 0.01
    True
    """
    g = torch.Generator().manual_seed(seed)
    ball = Billiard()
    test = ball.simulate(trajectories, steps=STEPS, dt=DT, generator=g)
    single, free, double = (
        one_step_cases(number, count, g)
        for number, count in ((1, steps), (0, 10 * steps), (2, steps // 5))
    )
    result: dict[str, Any] = {"rollout": _rollout_errors(model, test)}
    result["after_single"] = _step_errors(model, single)
    result["after_double"] = _step_errors(model, double)
    if not model.walled:
        return result
    result["one_step"] = _one_step(model, single, free)
    result["first_bounces_right"] = _bounces_right(model, ball, test)
    result["unseen"] = {}
    elsewhere = copy.deepcopy(model)  # what is changed here is a copy
    elsewhere.net.rebounds = 3
    result["after_double_three_rebounds"] = _step_errors(elsewhere, double)
    result["rollout_three_rebounds"] = _rollout_errors(elsewhere, test)
    for name, room in UNSEEN.items():
        there = Billiard(room).simulate(trajectories, steps=STEPS, dt=DT, generator=g)
        if isinstance(model.net.walls, KnownWalls):
            elsewhere.net.walls = KnownWalls(room)
        else:
            elsewhere.net.walls.show(room)
        result["unseen"][name] = _rollout_errors(elsewhere, there)
    return result


def _rollout_errors(model: Model, test: Trajectories) -> dict[str, float]:
    """Quantiles over times and trajectories; a ball that is lost counts as infinitely far off."""
    error = position_error(model.predict(test, steps=test.steps), test)[1:]
    error = error.nan_to_num(nan=math.inf, posinf=math.inf)
    return {
        f"{name}{where}": value
        for where, x in (("", error), ("_at_end", error[-1]))
        for name, value in (("median", float(x.median())), ("p90", _quantile(x, 0.9)))
    }


def _step_errors(model: Model, cases: OneStep) -> dict[str, float]:
    found = _rollout_errors(model, cases.data)  # one step, which is the end
    return {name: found[name] for name in ("median", "p90")}


def _quantile(x: Tensor, q: float) -> float:
    """Quantile by the nearest value, which infinite ones do not disturb."""
    return float(torch.quantile(x.double().flatten(), q, interpolation="nearest"))


def _one_step(model: Model, single: OneStep, free: OneStep) -> dict[str, float]:
    seen = model.rebounds(single.data, steps=1)
    n, hit = seen.n[0, :, 0], seen.hit[0, :, 0]
    cosine = (n * single.normal).sum(dim=-1).abs() / n.norm(dim=-1).clamp(min=1e-9)
    angle = torch.rad2deg(torch.arccos(cosine.clamp(max=1)))
    late = (seen.time[0, :, 0, None] / DT - single.alpha).abs()[hit]
    false = model.rebounds(free.data, steps=1).hit.any(dim=-1)
    return {
        "found": float(hit.float().mean()),
        "found_within_10_degrees": float((hit & (angle < ANGLE)).float().mean()),
        "false": float(false.float().mean()),
        "angle_median": float(angle[hit].median()) if len(late) else math.inf,
        "instant_median": float(late.median()) if len(late) else math.inf,
        "instant_p90": _quantile(late, 0.9) if len(late) else math.inf,
    }


def _bounces_right(model: Model, ball: Billiard, test: Trajectories) -> float:
    """Share of rollouts whose first three bounces, or as many as there are, are right.

    Right is: off the true wall within ten degrees, and within half a step of the true instant.
    """
    true = ball.bounces(test.values[0].double(), DT, STEPS)
    seen = model.rebounds(test, steps=STEPS)
    right = 0
    for number in range(len(test)):
        mine = true.trajectory == number
        times, normals = true.time[mine][:3], true.normal[mine][:3].float()
        hit = seen.hit[:, number].flatten()
        found_times = seen.time[:, number].flatten()[hit][: len(times)]
        found = seen.n[:, number].reshape(-1, 2)[hit][: len(times)]
        if len(found) < len(times):
            continue
        cosine = (found * normals).sum(dim=-1).abs() / found.norm(dim=-1)
        close = (found_times - times).abs() <= INSTANT * DT
        right += bool((close & (cosine > math.cos(math.radians(ANGLE)))).all())
    return right / len(test)


def _name(row: str) -> str:
    return "billiard-" + "-".join(re.findall(r"[a-z0-9]+", row.lower()))


def main() -> None:
    """Fit and score the rows that are not stored yet, and store them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoints", type=Path, help="folder to keep unfinished runs in")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS))
    parser.add_argument("--score", action="store_true", help="score stored weights, do not train")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for row in options.rows or ROWS:
        known = load("billiard")["rows"].get(row)
        if known is not None and not (options.rows or options.score):
            continue
        if options.score and known is not None and "weights" in known["fit"]:
            model, took, threads = trained(known["fit"]["weights"]), known["fit"], known["threads"]
        else:
            kept = None if options.checkpoints is None else options.checkpoints / _name(row)
            (model, took), threads = fit(row, checkpoint=kept), options.threads
            if took["epochs"]:
                model.save(weights_path(_name(row)))
                took["weights"] = _name(row)
        scored = score(model)
        print(row, took, scored, flush=True)
        result = load("billiard")  # another row may have been stored meanwhile
        result.pop("made_with", None)
        result |= {
            "dt": DT,
            "steps": STEPS,
            "training_trajectories": TRAINING,
            "test_trajectories": TESTS,
            "seeds": {"training": TRAINING_SEED, "test": TEST_SEED, "model": MODEL_SEED},
        }
        result["rows"][row] = scored | {"fit": took, "threads": threads}
        store("billiard", result)


if __name__ == "__main__":
    main()
