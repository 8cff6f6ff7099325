"""The rows of the paper's tables and figures, each a cell."""

import dataclasses
from typing import Any

from srnn.experiments import billiard
from srnn.experiments.reproduction._cells import Cell, Fit

__all__ = [
    *("CAPPED", "LABELS", "PAPER"),
    *("chain_cells", "chain_fit", "chain_oracles", "improved_chain"),
]

_METHOD = {"E": "euler", "L": "leapfrog", "R": "leapfrog-reused-kick"}
_EPOCHS = 1000
# The networks that are trained by the clock, and the epoch after which their starts are optimised:
# a slow core does a hundred epochs of the first in that time, and twenty of the second.
CAPPED = {"rnn": 20, "lstm": 5}


def chain_fit(net: str, train: str, mode: str, sigma: float) -> Fit:
    """One row's training in the faithful column of tables 1 and 2."""
    settings: dict[str, Any] = {"epochs": _EPOCHS}
    if mode == "single":
        settings["window"] = 2
    if mode == "iso":
        # The paper optimises after every epoch from the 101st on; every fifth costs a fifth.
        settings |= {"iso": True, "iso_every": 5}
        if net in CAPPED:  # their twenty minutes are over before the 101st epoch
            settings["iso_from"] = CAPPED[net]
    minutes = 20.0 if net in CAPPED else None
    return Fit("chain", net, (2048,), _METHOD.get(train), "paper", settings, minutes, sigma)


# Of every network, trained and tested by Euler (E) or leapfrog (L).
_WAYS = (("E", "E"), ("E", "L"), ("L", "L"))


def chain_cells(table: str, sigma: float, modes: tuple[str, ...]) -> list[Cell]:
    cells = []
    for mode in modes:
        rows = [(net, *way) for net in ("onet", "hnet") for way in _WAYS]
        if mode != "single" and table != "figure1":
            rows += [(net, "none", "none") for net in ("rnn", "lstm")]
        iso = "scipy" if mode == "iso" else None
        for net, train, test in rows:
            fit, method = chain_fit(net, train, mode, sigma), _METHOD.get(test)
            cells.append(Cell(table, "faithful", fit, net, train, test, mode, method, iso))
    return cells


# No start is optimised.  In the units of the data, in which positions and momenta have
# noise of one size: a loss from noisy starts has no other way to know.  Seven states: each of a
# trajectory's first four is then a start, so that their noises average; chosen on other chains.
_FIXED = {
    "iso": False, "warm_start": "rollout", "start_noise": True, "scale": False, "window": 7,
}  # fmt: skip


def improved_chain(table: str, sigma: float, *, iso: bool) -> list[Cell]:
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
    plain = chain_fit("hnet", "L", "iso" if iso else "recurrent", sigma)
    single = chain_fit("hnet", "L", "single", sigma)
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


def chain_oracles(table: str, sigma: float, *, iso: bool) -> list[Cell]:
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
            every = chain_cells(_sigma(table, sigma), sigma, modes)
            if sigma != 0.2:  # the rows that the paper is about
                every = [c for c in every if (c.model, c.train) == ("hnet", "L")]
                every = [c for c in every if c.mode != "single"]
            every += chain_oracles(_sigma(table, sigma), sigma, iso=iso)
            every += improved_chain(_sigma(table, sigma), sigma, iso=iso)
            tables[table] += every
    tables["figure1"] = chain_cells("figure1", 0.0, ("single",))
    tables["figure1"] += chain_oracles("figure1", 0.0, iso=False)
    tables["figure4"] = _billiard_cells()
    return tables


PAPER = _tables()
"""The cells of the paper's tables and figures."""
