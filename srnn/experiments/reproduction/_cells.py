"""What a number of a table is: a fit, and the cell that is read off it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from srnn import _checks
from srnn.experiments import billiard
from srnn.experiments.reproduction._nets import NETS

__all__ = ["COLUMNS", "MODES", "PRESETS", "Cell", "Fit", "Job", "Mode"]

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
    "isoeach": Mode("ISO, every epoch", alters="iso"),
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
    start : int
        Of several draws of the first weights on the same data, which.

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
    start: int = 0

    def config(self) -> dict[str, Any]:
        """All that decides a training beside the seed.

        Examples
        --------
        >>> "start" in Fit("chain", "zero").config()
        False
        """
        config = dataclasses.asdict(self)
        # Results that were stored before there were several starts keep their names.
        return config if self.start else {k: v for k, v in config.items() if k != "start"}

    def digest(self) -> str:
        """Name the fit by its content.

        Examples
        --------
        >>> len(Fit("chain", "zero").digest())
        12
        """
        return _digest(self.config())

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
        ``table1``, ``table2``, ``table3``, ``figure1`` or ``figure4``; with ``-sigma0.1`` and the
        like for another noise, ``-ordinary`` for other chains, ``-start1`` for other first weights
        and ``-letter`` for rows nearer to the paper's text.
    column : {"faithful", "improved", "oracle"}
    fit : Fit
    model, train, test, mode : str
        The names of its row, such as hnet, L, L, recurrent; `mode` is one of ``MODES``.
    test_integrator : str or None
    iso : {None, "scipy", "gauss-newton"}
        How the initial state is optimised at test; None starts from the first observed state.
    seeds : tuple of int, optional
        Those that its row has; by default 0, 1 and so on.

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
    seeds: tuple[int, ...] | None = None

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
        config = dataclasses.asdict(self) | {"fit": self.fit.config()}
        del config["seeds"]  # of its row, not of the cell
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
    >>> from srnn.experiments.reproduction import jobs
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
