"""One of each kind, added from outside in the files that CONTRIBUTING.md's map states: it works."""

import copy
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import seeded
from torch import nn

import srnn
from srnn.data.residual import LOSSES
from srnn.integrators import Step
from srnn.starts.iso._problem import gauss_newton
from srnn.systems import AdaptiveTruth, SeparableSystem

MAP = dict(
    re.findall(
        r"^\| ([a-zA-Z ]+?)(?: \([^|]*\))? \| [^|]+ \| (\d) \|$",
        (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)
GAMMA = 0.3


class Quartic(AdaptiveTruth, SeparableSystem):
    """A system in a file of its own."""

    dim = 1

    def kinetic(self, p: Any) -> Any:
        return (p * p).sum(dim=-1) / 2

    def potential(self, q: Any) -> Any:
        return (q**4).sum(dim=-1) / 4

    def kinetic_gradient(self, p: Any) -> Any:
        return p

    def potential_gradient(self, q: Any) -> Any:
        return q**3

    def initial_states(self, trajectories: int, generator: Any = None, **how: Any) -> Any:
        return torch.randn(trajectories, 2, generator=generator, dtype=torch.float64)


class Polynomial(srnn.nn.Network, nn.Module):
    """A network in a file of its own: p^2 / 2 + a q^2 + b q^4."""

    dim, separable, scaled, config = 1, True, True, {}

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.full((), x)) for x in (0.5, 0.1))

    def forward(self, z: Any) -> Any:
        q = z[..., 0]
        return z[..., 1] ** 2 / 2 + self.a * q**2 + self.b * q**4


@dataclasses.dataclass(frozen=True)
class Ruth(Step):
    """A family of methods in a file of its own: kicks and drifts of its own fractions."""

    fractions: tuple[tuple[float, float], ...]
    name: str = "ruth3"
    order: int = 3
    symplectic: bool = True

    def init(self, field: Any, z0: Any) -> Any:
        return z0

    def step(self, field: Any, z: Any, dt: float) -> Any:
        q, p = z.chunk(2, dim=-1)
        for kick, drift in self.fractions:
            p = p + kick * dt * field.force(q, p)
            q = q + drift * dt * field.velocity(q, p)
        return torch.cat((q, p), dim=-1)

    def read(self, z: Any) -> Any:
        return z


RUTH = Ruth(((7 / 24, 2 / 3), (3 / 4, -2 / 3), (-1 / 24, 1.0)))


class Damped(Step, nn.Module):
    """A step with a parameter in a file of its own: leapfrog with friction p' = -gamma p."""

    name, order, symplectic, time, config = "damped", 2, False, 1.0, {}

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor(0.05))

    def in_units(self, time: float) -> Any:
        other = copy.copy(self)  # with the same weight
        other.time = self.time * time
        return other

    def init(self, field: Any, z0: Any) -> Any:
        return z0

    def step(self, field: Any, z: Any, dt: float) -> Any:
        q, p = z.chunk(2, dim=-1)
        q, p = q, p + dt / 2 * field.force(q, p)
        q = q + dt / 2 * field.velocity(q, p)
        p = torch.exp(-self.gamma * self.time * dt) * p
        q = q + dt / 2 * field.velocity(q, p)
        return torch.cat((q, p + dt / 2 * field.force(q, p)), dim=-1)

    def read(self, z: Any) -> Any:
        return z


class Walls(srnn.rebound.LevelSetWalls):
    """Walls of a picture in a file of their own."""


def quartic() -> srnn.Trajectories:
    data = Quartic().simulate(30, steps=8, dt=0.1, generator=seeded(0))
    return data.to(torch.float32)


def damped() -> srnn.Trajectories:
    """An oscillator of frequency 1 with friction, by a fine step."""
    rates = srnn.fields.VectorField(
        lambda z: torch.stack((z[..., 1], -z[..., 0] - GAMMA * z[..., 1]), dim=-1), dim=1
    )
    z0 = torch.randn(60, 2, generator=seeded(0))
    states = srnn.rollout(rates, "rk4", z0, dt=0.2, steps=15, substeps=10)
    return srnn.Trajectories.from_states(states.detach(), dt=0.2)


CASES: dict[str, Any] = {
    "integrator": (lambda: srnn.SRNN(1, 8, integrator=RUTH, generator=seeded(0)), quartic, {}),
    "system": (lambda: srnn.SRNN(1, 8, generator=seeded(0)), quartic, {}),
    "network": (lambda: srnn.SRNN(1, hamiltonian=Polynomial(), generator=seeded(0)), quartic, {}),
    "step": (
        lambda: srnn.Model(srnn.QuadraticH(1), Damped(), generator=seeded(0)),
        damped,
        {"learning_rate": 0.02, "iso": True},
    ),
    "walls": (
        lambda: srnn.SRNN(
            2,
            hamiltonian=srnn.QuadraticH(2),
            rebound=Walls(srnn.systems.Room.box().image, generator=seeded(1)),
            generator=seeded(0),
        ),
        lambda: srnn.systems.Billiard().simulate(200, steps=9, dt=0.1, generator=seeded(0)),
        {"wall_steps": 10},
    ),
    "loss": (lambda: srnn.SRNN(1, 8, generator=seeded(0)), quartic, {"loss": "absolute"}),
    "ISO method": (lambda: srnn.SRNN(1, 8, generator=seeded(0)), quartic, {"iso": "two steps"}),
}


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is one more entry of a table."""
    monkeypatch.setitem(LOSSES, "absolute", torch.abs)
    twice = srnn.iso.Method(gauss_newton, 50, beside={"max_iterations": 9, "enough": 2})
    monkeypatch.setitem(srnn.iso.METHODS, "two steps", twice)


@pytest.mark.parametrize("kind", CASES)
def test_one_of_each_kind_is_added_from_outside(kind: str, tmp_path: Path) -> None:
    assert 1 <= int(MAP[kind]) <= 3
    make, draw, settings = CASES[kind]
    data, model = draw(), make()
    how = {"epochs": 2, "progress": False} | settings
    history = model.fit(data, checkpoint=tmp_path / "run", **how)
    assert history.epochs == how["epochs"]
    ended = model.motion().state_dict()
    # A run that goes on ends as one that was not interrupted, steps with weights too.
    again = make()
    again.fit(draw(), checkpoint=tmp_path / "other", **(how | {"epochs": 1}))
    again.fit(draw(), checkpoint=tmp_path / "other", **how)
    for name, value in again.motion().state_dict().items():
        assert torch.equal(value, ended[name]), name
    predicted = model.predict(data.first(3), steps=6)
    model.save(tmp_path / "model")
    loaded = srnn.load(tmp_path / "model")
    assert type(loaded.net) is type(model.net)
    assert type(loaded.integrator) is type(model.integrator)
    assert torch.equal(loaded.predict(data.first(3), steps=6).values, predicted.values)


def test_friction_is_learnt_with_the_energy() -> None:
    make, draw, settings = CASES["step"]
    model = make()
    model.fit(draw(), epochs=60, patience=60, progress=False, **settings)
    assert abs(model.integrator.gamma.item() - GAMMA) < 0.02
    # The field is that of H alone, an oscillator of frequency 1.
    rates = model.field(torch.eye(2)) - model.field(torch.zeros(2, 2))
    assert abs((rates[0, 1] * rates[1, 0]).item() + 1) < 0.03


def test_a_file_of_a_step_that_is_not_there_says_so(tmp_path: Path) -> None:
    srnn.Model(srnn.QuadraticH(1), Damped()).save(tmp_path / "model")
    known = Step.known.pop("Damped")
    try:
        with pytest.raises(srnn.errors.CheckpointError, match="Damped"):
            srnn.load(tmp_path / "model")
    finally:
        Step.known["Damped"] = known


def test_what_is_not_done_with_a_loss_is_refused() -> None:
    with pytest.raises(ValueError, match=r"least squares; with loss='absolute' pass iso=False"):
        srnn.SRNN(1, 8).recipe(loss="absolute", iso=True)


class Gated(nn.Module):
    """A recurrent network of one's own, which the library knows nothing of."""

    dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(2, 6), nn.Linear(6, 2)
        for number, weight in enumerate(self.parameters()):
            nn.init.uniform_(weight, -0.5, 0.5, generator=seeded(number))

    def init(self, field: Any, z0: Any) -> Any:
        return z0, z0.new_zeros(len(z0), 6)

    def step(self, field: Any, state: Any, dt: float) -> Any:
        hidden = self.cell(*state)
        return state[0] + self.out(hidden), hidden

    def read(self, state: Any) -> Any:
        return state[0]


def test_a_recurrent_network_of_ones_own_is_a_model(tmp_path: Path) -> None:
    data, model = quartic(), srnn.Model(Gated(), None, generator=seeded(0))
    history = model.fit(data, epochs=3, iso=True, progress=False)
    assert history.train_loss[-1] < history.train_loss[0]
    predicted = model.predict(data.first(4), steps=8)
    model.save(tmp_path / "model")
    again = srnn.load(tmp_path / "model", net=Gated()).predict(data.first(4), steps=8)
    assert torch.equal(again.values, predicted.values)
    with pytest.raises(ValueError, match=r"Gated has learnt steps of dt=0\.1 and knows no others"):
        model.predict(data.first(4), steps=8, dt=0.2)
    with pytest.raises(ValueError, match="Gated is its own step"):
        srnn.Model(Gated(), "leapfrog")


def test_an_h_of_pairs_is_saved_between_walls(tmp_path: Path) -> None:
    walls = srnn.rebound.LevelSetWalls(srnn.systems.Room.box().image, generator=seeded(0))
    net = srnn.nn.PairwiseH(2, 1, 4, generator=seeded(1))
    model = srnn.SRNN(2, hamiltonian=net, rebound=walls)
    model.save(tmp_path / "model")
    data = srnn.systems.Billiard().simulate(3, steps=4, dt=0.1, generator=seeded(2))
    again = srnn.load(tmp_path / "model").predict(data, steps=4)
    assert torch.equal(again.values, model.predict(data, steps=4).values)
