"""What is computed: fits, and the cells of tables that are read off them."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from srnn import _checks
from srnn.experiments import billiard
from srnn.experiments.reproduction._nets import NETS

__all__ = [
    *("COLUMNS", "LABELS", "MODES", "PRESETS", "TABLES"),
    *("Cell", "Fit", "Job", "Mode", "jobs"),
]

COLUMNS = ("faithful", "improved", "oracle")
"""Of a table: the paper's recipe, models by the library's own, and what needs no training."""
PRESETS = ("paper", "smoke")
"""Sizes: the paper's, and tiny ones that only try the code out."""


class Mode(NamedTuple):
    """A way of training, as the rows of the tables are told apart by it.

    Examples
    --------
    >>> MODES["heldout"]
    Mode(text='recurrent, held out', alters='recurrent')
    """

    text: str
    """In the name of a row."""
    alters: str | None = None
    """The mode of the paper's row, by its recipe, in which one thing is changed."""


MODES = {
    "single": Mode("single"),
    "updates": Mode("single, equal updates", alters="single"),
    "recurrent": Mode("recurrent"),
    "heldout": Mode("recurrent, held out", alters="recurrent"),
    "isotrain": Mode("ISO in training"),
    "iso": Mode("ISO"),
    "isocosine": Mode("ISO, cosine", alters="iso"),
    "noisy": Mode(""),
    "clean": Mode(""),
}
"""By their names in paths, in the order of the tables; the last two are of what is not trained."""


@dataclass(frozen=True)
class Fit:
    """A model and how it is trained; everything but the seed.

    Parameters
    ----------
    problem : {"chain", "three-body", "billiard"}
    net : str
        Of :data:`NETS`: a network (``onet``, ``hnet``, ``hnetq`` with a quadratic term,
        ``quadratic``, ``rnn``, ``lstm``, ``hnetp`` of pairs of bodies), or what needs no training
        (``perfect``, ``exact``, ``true``, ``zero``); with a 4 behind for four steps between
        observed states.  For the billiard a row of :data:`srnn.experiments.billiard.ROWS`.
    hidden : tuple of int
    integrator : str or None
        That of training.
    preset : {None, "paper"}
        The recipe.
    settings : dict
        What ``fit`` is told beside it.
    minutes : float or None
        Training ends after so long.
    sigma : float
    training, tests, states : int
        Training trajectories, test trajectories, and states of the latter.

    Examples
    --------
    >>> Fit("chain", "hnet", (2048,), "leapfrog").digest() == Fit("chain", "onet").digest()
    False
    """

    problem: str
    net: str
    hidden: tuple[int, ...] = ()
    integrator: str | None = None
    preset: str | None = "paper"
    settings: dict[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    sigma: float = 0.0
    training: int = 1000
    tests: int = 32
    states: int = 200

    def digest(self) -> str:
        """Name the fit by its content.

        Examples
        --------
        >>> len(Fit("chain", "zero").digest())
        12
        """
        return _digest(dataclasses.asdict(self))

    @property
    def learnt(self) -> bool:
        """Whether there is anything to train."""
        if self.problem == "billiard":
            return billiard.ROWS[self.net][1] is not None
        return NETS[_checks.choice(self.net, "net", NETS)].learnt


@dataclass(frozen=True)
class Cell:
    """One number of a table: a fit, tested in one way.

    Parameters
    ----------
    table : str
        ``table1``, ``table2``, ``table3``, ``figure1`` or ``figure4``; with ``-sigma0.1`` or
        ``-sigma0.3`` for another noise.
    column : {"faithful", "improved", "oracle"}
    fit : Fit
    model, train, test, mode : str
        The names of its row, such as hnet, L, L, recurrent; `mode` is one of ``MODES``.
    test_integrator : str or None
    iso : {None, "scipy", "gauss-newton"}
        How the initial state is optimised at test; None starts from the first observed state.

    Examples
    --------
    >>> fit = Fit("chain", "hnet", (2048,), "leapfrog", sigma=0.2)
    >>> cell = Cell("table1", "faithful", fit, "hnet", "L", "L", "recurrent", "leapfrog")
    >>> cell.path(0)
    'table1/faithful/hnet-L-L-recurrent-s0.json'
    """

    table: str
    column: str
    fit: Fit
    model: str
    train: str
    test: str
    mode: str
    test_integrator: str | None = None
    iso: str | None = None

    def path(self, seed: int) -> str:
        """Where its result is stored, in a folder of results.

        Examples
        --------
        >>> Cell("table1", "oracle", Fit("chain", "zero"), "zero", "none", "none", "noisy").path(2)
        'table1/oracle/zero-none-none-noisy-s2.json'
        """
        name = f"{self.model}-{self.train}-{self.test}-{self.mode}-s{seed}.json"
        return f"{self.table}/{self.column}/{name}"

    def config(self) -> dict[str, Any]:
        """All that decides its number beside the seed.

        Examples
        --------
        >>> cell = Cell("table1", "oracle", Fit("chain", "zero"), "zero", "none", "none", "noisy")
        >>> cell.config()["fit"]["net"]
        'zero'
        """
        config = dataclasses.asdict(self)
        return json.loads(json.dumps(config))  # type: ignore[no-any-return]  # as a file holds it

    def digest(self) -> str:
        """Name the configuration by its content.

        Examples
        --------
        >>> cell = Cell("table1", "oracle", Fit("chain", "zero"), "zero", "none", "none", "noisy")
        >>> len(cell.digest())
        12
        """
        return _digest(self.config())


@dataclass(frozen=True)
class Job:
    """A fit with one seed, and the cells that are read off it.

    Parameters
    ----------
    fit : Fit
    seed : int
    preset : {"paper", "smoke"}
    cells : tuple of Cell
    cost : float
        About how many seconds it takes on one core, for the order and the progress bar.

    Examples
    --------
    >>> job = jobs("table1", preset="paper")[0]
    >>> job.seed, job.cells[0].table
    (0, 'table1')
    """

    fit: Fit
    seed: int
    preset: str
    cells: tuple[Cell, ...]
    cost: float

    @property
    def name(self) -> str:
        """The path of its first cell, without the suffix, as a word."""
        return self.cells[0].path(self.seed).removesuffix(".json").replace("/", "_")


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


_METHOD = {"E": "euler", "L": "leapfrog"}
_EPOCHS = 1000
# Seconds an epoch on one core of two that both train, as stored; they order the jobs and move the
# progress bar.
_SECONDS = {
    ("chain", "hnet", "single"): 2.3,
    ("chain", "onet", "single"): 2.5,
    ("chain", "hnet", "recurrent"): 0.7,
    ("chain", "onet", "recurrent"): 1.5,
    ("three-body", "hnet", "single"): 1.2,
    ("three-body", "onet", "single"): 0.6,
    ("three-body", "hnet", "recurrent"): 1.5,
    ("three-body", "onet", "recurrent"): 0.8,
}


# The networks that are trained by the clock, and the epoch after which their starts are optimised:
# a slow core does a hundred epochs of the first in that time, and twenty of the second.
_CAPPED = {"rnn": 20, "lstm": 5}


def _chain_fit(net: str, train: str, mode: str, sigma: float) -> Fit:
    """One row's training in the faithful column of tables 1 and 2."""
    settings: dict[str, Any] = {"epochs": _EPOCHS}
    if mode == "single":
        settings["window"] = 2
    if mode == "iso":
        # The paper optimises after every epoch from the 101st on; every fifth costs a fifth.
        settings |= {"iso": True, "iso_every": 5}
        if net in _CAPPED:  # their twenty minutes are over before the 101st epoch
            settings["iso_from"] = _CAPPED[net]
    minutes = 20.0 if net in _CAPPED else None
    return Fit("chain", net, (2048,), _METHOD.get(train), "paper", settings, minutes, sigma)


# Of every network, trained and tested by Euler (E) or leapfrog (L).
_WAYS = (("E", "E"), ("E", "L"), ("L", "L"))


def _chain_cells(table: str, sigma: float, modes: tuple[str, ...]) -> list[Cell]:
    cells = []
    for mode in modes:
        rows = [(net, *way) for net in ("onet", "hnet") for way in _WAYS]
        if mode != "single" and table != "figure1":
            rows += [(net, "none", "none") for net in ("rnn", "lstm")]
        iso = "scipy" if mode == "iso" else None
        for net, train, test in rows:
            fit, method = _chain_fit(net, train, mode, sigma), _METHOD.get(test)
            cells.append(Cell(table, "faithful", fit, net, train, test, mode, method, iso))
    return cells


# No start is optimised.  In the units of the data, in which positions and momenta have
# noise of one size: a loss from noisy starts has no other way to know.  Seven states: each of a
# trajectory's first four is then a start, so that their noises average; chosen on other chains.
_FIXED = {
    "iso": False, "warm_start": "rollout", "start_noise": True, "scale": False, "window": 7,
}  # fmt: skip


def _improved_chain(table: str, sigma: float, *, iso: bool) -> list[Cell]:
    """Rows on the same data by the library's own recipe; see the chapter for each."""
    hnetq = Fit("chain", "hnetq", (256,), "leapfrog", None, {"iso": True}, sigma=sigma)
    fixed = dataclasses.replace(hnetq, settings=_FIXED)
    # Solved without epochs, so that there is nothing to choose on held-out trajectories.
    quadratic = dataclasses.replace(
        hnetq, net="quadratic", hidden=(), settings={"iso": True, "validation": 0.0}
    )
    gently = {"warm_start": "distil", "learning_rate": 1e-6, "patience": 5}
    distilled = dataclasses.replace(
        hnetq, net="hnet", hidden=(2048,), settings={"iso": True} | gently
    )
    mode, method = ("iso", "gauss-newton") if iso else ("isotrain", None)
    cells = [
        Cell(table, "improved", fit, fit.net, "L", "L", mode, "leapfrog", method)
        for fit in (hnetq, distilled, quadratic)
    ]
    if sigma == 0.2:
        cells += _altered(table, sigma, iso=iso)
    if not iso:  # no start is optimised, neither in training nor at test
        fits = [fixed, dataclasses.replace(fixed, net="quadratic", hidden=())]
        if sigma == 0.2:
            plain = dataclasses.replace(fixed, net="hnet", hidden=(2048,))
            fits.append(dataclasses.replace(plain, settings=_FIXED | gently))
        cells += [
            Cell(table, "improved", fit, fit.net, "L", "L", "recurrent", "leapfrog") for fit in fits
        ]
    return cells


def _altered(table: str, sigma: float, *, iso: bool) -> list[Cell]:
    """List the paper's recipe with one thing changed, to see what limits it."""
    plain = _chain_fit("hnet", "L", "iso" if iso else "recurrent", sigma)
    single = _chain_fit("hnet", "L", "single", sigma)
    changes: list[tuple[str, Fit, dict[str, Any]]]
    if iso:  # the rate falls slowly to the end, whatever a noisy loss looks like on the way
        changes = [("isocosine", plain, {"scheduler": "cosine"})]
    else:
        # A tenth of the trajectories tells when the network begins to fit the noise of the others.
        held_out = {"validation": 0.1, "restore_best": True, "patience": 100}
        # Single steps for as many updates as recurrent training has in all.
        changes = [("heldout", plain, held_out), ("updates", single, {"epochs": 113})]
    return [
        Cell(
            table, "improved", dataclasses.replace(fit, settings=fit.settings | change),
            "hnet", "L", "L", mode, "leapfrog", "scipy" if iso else None,
        )
        for mode, fit, change in changes
    ]  # fmt: skip


def _chain_oracles(table: str, sigma: float, *, iso: bool) -> list[Cell]:
    """List what knows the chain, or nothing at all, on the same test set."""
    method, mode = ("gauss-newton", "iso") if iso else (None, "noisy" if sigma else "clean")
    cells = []
    for net in ("perfect", "exact", "true", "zero"):
        start = method if net in ("exact", "true") else None
        integrator = "leapfrog" if net in ("exact", "true") else None
        fit = Fit("chain", net, (), integrator, sigma=sigma, training=1)
        test = "none" if integrator is None else "L"
        cells.append(Cell(table, "oracle", fit, net, "none", test, mode, integrator, start))
    return cells


def _three_body_cells() -> list[Cell]:
    cells = []
    for mode, window in (("single", 2), ("recurrent", 5)):
        for net in ("onet", "hnet"):
            for train, test in _WAYS:
                settings: dict[str, Any] = {"epochs": _EPOCHS, "learning_rate": 3e-4}
                settings["window"] = window
                fit = Fit(
                    "three-body", net, (512,) * 3, _METHOD[train], "paper", settings,
                    training=100, tests=256, states=10,
                )  # fmt: skip
                cells.append(Cell("table3", "faithful", fit, net, train, test, mode, _METHOD[test]))
    # A close encounter lasts less than a step: windows with one would decide everything.  The data
    # are in natural units: masses and the constant of gravitation are one.
    settings = {
        "epochs": 60, "window": 5, "learning_rate": 3e-3, "scheduler": "cosine", "trim": 0.1,
        "scale": False,
    }  # fmt: skip
    sizes: dict[str, Any] = {"training": 100, "tests": 256, "states": 10}
    for net, parts in (("hnetp", 1), ("hnetp4", 4)):
        more = settings if parts == 1 else settings | {"substeps": parts}
        fit = Fit("three-body", net, (64, 64), "leapfrog", None, more, **sizes)
        cells.append(Cell("table3", "improved", fit, net, "L", "L", "recurrent", "leapfrog"))
    for net, parts in (("true", 1), ("true4", 4)):
        known = {} if parts == 1 else {"substeps": parts}
        fit = Fit("three-body", net, (), "leapfrog", settings=known, **sizes | {"training": 1})
        cells.append(Cell("table3", "oracle", fit, net, "none", "L", "clean", "leapfrog"))
    return cells


# The rows of the billiard by the names that their results are stored under: how tables call them,
# and which they are.
_BILLIARD = {
    "faithful": {
        "walls": ("paper's walls", "paper's networks and recipe"),
        "half": ("paper's walls, alpha 1/2", "the same, alpha = 1/2"),
        "norebound": ("no rebound", "no rebound"),
        "onet": ("O-NET", "O-NET"),
        "rnn": ("RNN", "RNN"),
    },
    "improved": {
        "levelset": ("level set", "level set"),
        "learntset": ("level set, all learnt", "level set, all of it learnt"),
        "started": ("paper's walls, started", "paper's networks, started from rebounds"),
    },
    "oracle": {
        "known": ("known walls", "known walls, true equations"),
        "untrained": ("level set, untrained", "level set, untrained, true equations"),
    },
}
LABELS = {name: row[0] for rows in _BILLIARD.values() for name, row in rows.items()}
"""How tables call what predicts and is no kind of network, by its name in paths."""


def _billiard_cells() -> list[Cell]:
    cells = []
    for column, names in _BILLIARD.items():
        for model, (_, row) in names.items():
            settings = billiard.ROWS[row][1]
            told = dict(settings or {})
            fit = Fit("billiard", row, (), None, None, told, None, 0.0, 5000, 32, 61)
            train, mode = ("none", "clean") if settings is None else ("L", "recurrent")
            train, test = ("none", "none") if model == "rnn" else (train, "L")
            cells.append(Cell("figure4", column, fit, model, train, test, mode))
    return cells


def _sigma(table: str, sigma: float) -> str:
    return table if sigma == 0.2 else f"{table}-sigma{sigma}"


def _tables() -> dict[str, list[Cell]]:
    tables: dict[str, list[Cell]] = {"table1": [], "table2": [], "table3": _three_body_cells()}
    for sigma in (0.2, 0.1, 0.3):
        for table, iso in (("table1", False), ("table2", True)):
            modes = ("iso",) if iso else ("single", "recurrent")
            every = _chain_cells(_sigma(table, sigma), sigma, modes)
            if sigma != 0.2:  # the rows that the paper is about
                every = [c for c in every if (c.model, c.train) == ("hnet", "L")]
                every = [c for c in every if c.mode != "single"]
            every += _chain_oracles(_sigma(table, sigma), sigma, iso=iso)
            every += _improved_chain(_sigma(table, sigma), sigma, iso=iso)
            tables[table] += every
    tables["figure1"] = _chain_cells("figure1", 0.0, ("single",))
    tables["figure1"] += _chain_oracles("figure1", 0.0, iso=False)
    tables["figure4"] = _billiard_cells()
    return tables


TABLES = _tables()
"""The cells of every table and figure that the command computes."""


def _repeated(cell: Cell) -> bool:
    """Whether a cell gets several seeds: what the paper is about, and what is quick."""
    if cell.fit.problem == "billiard":  # as it is stored; its test set is of one seed
        return False
    through_leapfrog = (cell.model, cell.train, cell.test) == ("hnet", "L", "L")
    headline = through_leapfrog and cell.mode in ("recurrent", "iso")
    # The paper's recipe has one elsewhere, be it with something altered.
    return headline or cell.column == "oracle" or cell.fit.preset is None


def _cost(fit: Fit) -> float:
    """About how many seconds a fit takes at full size."""
    if fit.minutes is not None:
        return 60 * fit.minutes
    if not fit.learnt:
        return 2.0
    if fit.problem == "billiard":
        return 600.0
    if fit.preset is None:
        return 30.0
    mode = "single" if fit.settings.get("window") == 2 else "recurrent"
    epochs = int(fit.settings.get("epochs", _EPOCHS))
    seconds = epochs * _SECONDS.get((fit.problem, fit.net, mode), 1.0)
    return seconds * (2 if fit.settings.get("iso") else 1)


def _worth(job: Job) -> tuple[int, float]:
    """Sort the jobs: quick ones, the rows the paper is about, the rest, capped ones last."""
    first = job.cells[0]
    headline = _repeated(first) and "sigma" not in first.table
    if job.fit.minutes is not None:
        return 4, job.cost
    if job.cost < 60 and "sigma" not in first.table:
        return 0, job.cost
    if headline:
        return 1, job.seed
    return (3 if "sigma" in first.table or first.table == "figure1" else 2), job.cost


def _smaller(fit: Fit) -> Fit:
    """Shrink a fit to a second or less."""
    settings = dict(fit.settings)
    if fit.learnt and fit.net != "quadratic":
        settings |= {"epochs": 2}
    if settings.get("start_noise"):  # a quarter of a minute on few data, whatever their number
        settings |= {"warm_start": True, "start_noise": False}
    if fit.problem == "billiard" and fit.learnt:
        settings |= {"wall_steps": 10}
    if fit.preset == "paper" and settings.get("iso"):
        settings |= {"iso_from": 1, "iso_every": 1}
    return dataclasses.replace(
        fit,
        hidden=tuple(8 for _ in fit.hidden),
        settings=settings,
        minutes=None if fit.minutes is None else 0.05,
        training=min(fit.training, 24),
        tests=4,
        states=min(fit.states, 20),
    )


def jobs(table: str = "all", *, preset: str = "paper", seeds: int = 3) -> list[Job]:
    """List what a command computes, in the order in which it does.

    Parameters
    ----------
    table : str
        One of ``TABLES``, or ``"all"``.
    preset : {"paper", "smoke"}
        The paper's sizes, or the same code in a few minutes, for trying it out.
    seeds : int
        Of the rows that the paper is about, and of those without long training; 1 for the others.

    Returns
    -------
    list of Job

    Raises
    ------
    ValueError
        If a name is unknown or `seeds` is not positive.

    Examples
    --------
    >>> len(jobs("table3", preset="smoke", seeds=1))
    12
    """
    _checks.choice(table, "table", ("all", *TABLES))
    _checks.choice(preset, "preset", PRESETS)
    seeds = _checks.positive_int(seeds, "seeds")
    found: dict[tuple[str, int], list[Cell]] = {}
    for name in TABLES if table == "all" else (table,):
        for cell in TABLES[name]:
            if preset == "smoke":
                cell = dataclasses.replace(cell, fit=_smaller(cell.fit))
            for seed in range(seeds if _repeated(cell) else 1):
                found.setdefault((cell.fit.digest(), seed), []).append(cell)
    costs = {key: _cost(cells[0].fit) if preset == "paper" else 1.0 for key, cells in found.items()}
    every = [Job(c[0].fit, key[1], preset, tuple(c), costs[key]) for key, c in found.items()]
    return sorted(every, key=_worth)
