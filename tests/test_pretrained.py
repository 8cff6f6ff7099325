"""The weights that come with the package belong to the results that are stored beside them."""

import dataclasses
import functools
import json

import pytest
import torch

import srnn
from srnn import experiments
from srnn.experiments._store import FOLDER
from srnn.experiments.reproduction import TABLES, Cell
from srnn.experiments.reproduction._pretrained import CARDS
from srnn.experiments.reproduction._pretrained import card as written
from srnn.experiments.reproduction._problems import Draw
from srnn.experiments.reproduction._work import evaluate, problem

CELLS = {cell.path(0): cell for cells in TABLES.values() for cell in cells}


def cell_of(name: str) -> Cell:
    return CELLS[CARDS[name]]


@functools.cache
def drawn_for(name: str, tests: int, states: int, sigma: float, seed: int) -> Draw:
    """Draw the test set once for all rows of a problem; it comes before the training set."""
    fit = next(cell.fit for cell in CELLS.values() if cell.fit.problem == name)
    sizes = {"tests": tests, "states": states, "sigma": sigma, "training": 1}
    return problem(dataclasses.replace(fit, **sizes), seed)


@pytest.mark.parametrize("name", CARDS)
def test_shipped_weights_give_the_stored_error_on_the_test_set_of_the_seed(name: str) -> None:
    cell = cell_of(name)
    stored = json.loads((FOLDER / CARDS[name]).read_text(encoding="utf-8"))
    fit = cell.fit
    drawn = drawn_for(fit.problem, fit.tests, fit.states, fit.sigma, stored["seed"])
    found = evaluate(cell, srnn.pretrained(name), drawn)
    for key in ("error_mean", "error_std", "error_mean_clean"):
        assert found[key] == pytest.approx(stored[key], rel=1e-3), key
    # Other weights, even of the same training with a little less of it, would not do.
    model = srnn.pretrained(name)
    with torch.no_grad():
        for weight in model.net.parameters():
            weight.mul_(1.01)
    assert evaluate(cell, model, drawn)["error_mean"] != pytest.approx(
        stored["error_mean"], rel=1e-3
    )


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_the_stored_result_does(name: str) -> None:
    stored = json.loads((FOLDER / CARDS[name]).read_text(encoding="utf-8"))
    card = experiments.model_card(name)
    assert card.startswith(f"# {name}\n")
    assert CARDS[name] in card
    assert card == written(name, cell_of(name), stored["seed"], stored)
    if "chain" in name:  # the stretch that the paper's tables are compared over
        mean = f"| 0..50 | {sum(stored['curve']['noisy'][:50]) / 50:.3f} "
        assert f"{mean}|" in card or f"{mean}±" in card
    for stretch, errors in stored["stretches"].items():
        assert f"| {stretch} | {errors['noisy'][0]:.3f} ± {errors['noisy'][1]:.3f} |" in card
    assert f"seed {stored['seed']}" in card
    assert f"{stored['epochs_done']} epochs" in card
    assert "**Limits**" in card


def test_every_headline_row_of_the_first_seed_has_weights() -> None:
    headline = {
        ("table1", "faithful", "hnet", "recurrent"),
        ("table2", "faithful", "hnet", "iso"),
        ("table3", "faithful", "hnet", "recurrent"),
        ("table1", "improved", "hnet", "recurrent"),
        ("table2", "improved", "hnet", "iso"),
        ("table1", "improved", "hnetq", "recurrent"),
        ("table2", "improved", "hnetq", "iso"),
        ("table2", "improved", "quadratic", "iso"),
        ("table3", "improved", "hnetp", "recurrent"),
        ("table3", "improved", "hnetp4", "recurrent"),
    }
    named = {(c.table, c.column, c.model, c.mode) for c in map(cell_of, CARDS)}
    assert headline <= named
    assert {path.stem for path in (FOLDER / "weights").glob("*.safetensors")} == set(CARDS)
    assert {path.stem for path in (FOLDER / "weights").glob("*.md")} == set(CARDS)


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"Unknown `pretrained model`: 'mine'\. .*chain-srnn-iso"):
        srnn.pretrained("mine")
    with pytest.raises(ValueError, match="Unknown `pretrained model`"):
        experiments.model_card("mine")
