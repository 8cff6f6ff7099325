"""Trained models that come with the package, and their cards."""

from typing import Any

from srnn import _checks
from srnn.experiments._store import FOLDER
from srnn.experiments.reproduction._cells import Cell
from srnn.experiments.reproduction._nets import NETS
from srnn.experiments.reproduction._work import PRINTED
from srnn.model import models
from srnn.model.model import Model

__all__ = ["CARDS", "card", "pretrained"]

CARDS = {
    "chain-srnn-iso": "table2/improved/hnetq-L-L-iso-s0.json",
    "chain-srnn-iso-plain": "table2/improved/hnet-L-L-iso-s0.json",
    "chain-quadratic-iso": "table2/improved/quadratic-L-L-iso-s0.json",
    "chain-srnn-paper": "table1/faithful/hnet-L-L-recurrent-s0.json",
    "chain-srnn-iso-paper": "table2/faithful/hnet-L-L-iso-s0.json",
    "chain-srnn-iso-cosine": "table2/improved/hnet-L-L-isocosine-s0.json",
    "chain-srnn": "table1/improved/hnetq-L-L-recurrent-s0.json",
    "chain-srnn-plain": "table1/improved/hnet-L-L-recurrent-s0.json",
    "three-body-srnn-one-step": "table3/improved/hnetp-L-L-recurrent-s0.json",
    "three-body-srnn": "table3/improved/hnetp4-L-L-recurrent-s0.json",
    "three-body-srnn-paper": "table3/faithful/hnet-L-L-recurrent-s0.json",
}
"""The stored cell that each pretrained model belongs to."""


def pretrained(name: str) -> Model:
    """Load a trained model that comes with the package.

    Parameters
    ----------
    name : str
        Such as ``"chain-srnn-iso"``, of the paper's spring chain; the error's text lists all.
        A name with ``-paper`` was trained by the paper's own recipe, and a plain one is an H-NET
        without a quadratic term.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        If there is no such model; the text lists the known ones.

    Notes
    -----
    A card beside each file of weights says what it was trained on and how far it can be trusted:
    :func:`srnn.experiments.model_card`.

    Examples
    --------
    >>> import srnn
    >>> srnn.pretrained("chain-srnn-iso")
    SRNN(HNet(dim=20), 'leapfrog', test_integrator='leapfrog')
    """
    _checks.choice(name, "pretrained model", sorted(CARDS))
    return models.load(FOLDER / "weights" / f"{name}.safetensors")


def model_card(name: str) -> str:
    """Read the card of a pretrained model.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        Markdown.

    Raises
    ------
    ValueError
        If there is no such model; the text lists the known ones.

    Examples
    --------
    >>> from srnn import experiments
    >>> print(experiments.model_card("chain-srnn-iso").splitlines()[0])
    # chain-srnn-iso
    """
    _checks.choice(name, "pretrained model", sorted(CARDS))
    return (FOLDER / "weights" / f"{name}.md").read_text(encoding="utf-8")


_SYSTEM = {
    "chain": (
        "one chain of 20 masses and 21 springs (section 4 of the paper); it describes no other "
        "chain"
    ),
    "three-body": (
        "three equal bodies in the plane that attract each other, near circular orbits (section 5)"
    ),
}


def card(name: str, cell: Cell, seed: int, result: dict[str, Any]) -> str:
    """Write the card of a model from its stored cell.

    Parameters
    ----------
    name : str
    cell : Cell
    seed : int
    result : dict
        As stored.

    Returns
    -------
    str
        Markdown.

    Examples
    --------
    >>> from srnn.experiments.reproduction import jobs
    >>> cell = next(c for job in jobs("table2") for c in job.cells if c.model == "hnetq")
    >>> result = {"stretches": {"0..200": {"noisy": [0.96, 0.05], "clean": [0.37, 0.1]}}}
    >>> result |= {"epochs_done": 15, "wall_time_s": 12.0, "threads": 1, "versions": {}}
    >>> card("mine", cell, 0, result).splitlines()[0]
    '# mine'
    """
    fit, kept = cell.fit, result.get("best_epoch") or 0
    hidden = f", hidden layers of {', '.join(map(str, fit.hidden))}" if fit.hidden else ""
    noise = (
        f"noise of standard deviation {fit.sigma:g} on every number" if fit.sigma else "no noise"
    )
    alone = fit.net == "hnetq" and not kept  # a quadratic term begins with silent MLPs beside it
    lines = [
        f"# {name}",
        "",
        f"- **Model**: {NETS[fit.net].card}{hidden}; trained and tested by {fit.integrator}."
        + (" No epoch improved on the start: the MLPs are zero." if alone else ""),
        f"- **Describes** {_SYSTEM[fit.problem]}.",
        f"- **Data**: {fit.training} trajectories of 10 states, {noise}, seed {seed}.",
        f"- **Recipe**: {'of the paper' if fit.preset == 'paper' else 'of the library'}, with "
        f"`{fit.settings}`; {result['epochs_done']} epochs, of which number "
        f"{kept} was kept (0: the computed start), "
        f"{result['wall_time_s']:.0f} s on {result['threads']} thread(s).",
        "- **Initial state at test**: "
        + ("optimised on ten observed states." if cell.iso else "the first observed state."),
        f"- **Stored result**: `{cell.path(seed)}`.",
        "",
        "| states | error vs noisy | error vs clean |",
        "|---|---|---|",
    ]
    printed = f"0..{PRINTED}"
    if fit.problem == "chain" and printed not in result["stretches"] and "curve" in result:
        means = (sum(result["curve"][a][:PRINTED]) / PRINTED for a in ("noisy", "clean"))
        lines.append(f"| {printed} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    for stretch, errors in result["stretches"].items():
        noisy, clean = errors["noisy"], errors["clean"]
        lines.append(
            f"| {stretch} | {noisy[0]:.3f} ± {noisy[1]:.3f} | {clean[0]:.3f} ± {clean[1]:.3f} |"
        )
    lines += [
        "",
        f"Mean and standard deviation over {fit.tests} test trajectories of the Euclidean distance "
        "of all positions.",
        "",
        "**Limits**: trained on short trajectories of one system; energies far from those of the "
        "training data, other steps of time and other systems are outside of what was measured.",
        "",
        f"Made with {', '.join(f'{k} {v}' for k, v in result['versions'].items())}. MIT licence.",
        "",
    ]
    return "\n".join(lines)
