"""Stored results: JSON beside the package's code, with the versions they were made with."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from srnn import _checks
from srnn.data._arrays import whole_file
from srnn.model import models
from srnn.model.model import Model

__all__ = ["load", "store", "trained", "weights_path"]

FOLDER = Path(__file__).resolve().parent / "results"


def load(name: str) -> dict[str, Any]:
    """Read a stored result.

    Parameters
    ----------
    name : str
        Its file's name without the suffix.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no such result; the text lists the known ones.

    Examples
    --------
    >>> from srnn import experiments
    >>> experiments.load("initial_states_speed")["width"]
    2048
    """
    _checks.choice(name, "result", sorted(path.stem for path in FOLDER.glob("*.json")))
    result: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return result


def weights_path(name: str) -> Path:
    """Tell where the weights of a stored run are.

    Examples
    --------
    >>> weights_path("my-run").name
    'my-run.safetensors'
    """
    return FOLDER / f"{name}.safetensors"


def trained(name: str) -> Model:
    """Load a model that an experiment trained and stored.

    Parameters
    ----------
    name : str
        Its file's name without the suffix.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        If there is no such model; the text lists the known ones.

    Examples
    --------
    >>> from srnn import experiments
    >>> experiments.trained("billiard-level-set").walled
    True
    """
    _checks.choice(name, "model", sorted(path.stem for path in FOLDER.glob("*.safetensors")))
    return models.load(weights_path(name))


def made_with() -> dict[str, str]:
    """Tell the versions that a result is made with."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "torch": version("torch").split("+")[0],
        "numpy": version("numpy"),
        "scipy": version("scipy"),
    }


def store(name: str, result: dict[str, Any]) -> None:
    """Write a result beside the library's code, with the versions it was made with.

    Parameters
    ----------
    name : str
    result : dict
        What JSON can hold.

    Examples
    --------
    >>> from srnn import experiments
    >>> experiments.store("my_run", {"error": 0.9})  # doctest: +SKIP
    """
    text = json.dumps(result | {"made_with": made_with()}, indent=1)
    with whole_file(FOLDER / f"{name}.json") as beside:
        beside.write_text(text + "\n", encoding="utf-8")
