"""Tables of results: the same cells as text and as HTML."""

import math
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

import srnn
from srnn.results import Table

ROWS: list[list[Any]] = [
    ["single <step>"],
    ["O-NET", (6.93, 1.22), 7, math.nan],
    ["H-NET & q", (3.36, math.nan), None, 1.2e7],
    ["zero", "predicts \"0\"", 2.0, math.inf],
]  # fmt: skip


def made() -> Table:
    return srnn.results.table(["model", "paper", "here", "late"], ROWS, caption="Errors < 10")


def parsed(table: Table) -> list[list[str]]:
    soup = BeautifulSoup(table._repr_html_(), "html.parser")
    return [[cell.get_text() for cell in row.find_all(["td", "th"])] for row in soup.find_all("tr")]


def test_text_and_page_hold_the_same_cells() -> None:
    head, *body = parsed(made())
    assert head == ["model", "paper", "here", "late"]
    assert body == made().cells
    text = repr(made())
    assert text.splitlines()[0] == "Errors < 10"
    position = 0
    for cell in (cell for row in body for cell in row):
        position = text.index(cell, position) + len(cell)


def test_cells_are_written_as_what_they_are() -> None:
    assert made().cells == [
        ["single <step>"],
        ["O-NET", "6.93 ± 1.22", "7", "–"],
        ["H-NET & q", "3.36", "–", "1.2e+07"],
        ["zero", 'predicts "0"', "2.00", "diverged"],
    ]
    assert srnn.results.table(["", "x"], [["a", 0.12345]], digits=4).cells == [["a", "0.1235"]]


def test_a_page_has_headings_a_caption_and_nothing_unescaped() -> None:
    soup = BeautifulSoup(made()._repr_html_(), "html.parser")
    assert soup.caption is not None
    assert soup.caption.get_text() == "Errors < 10"
    assert [th["scope"] for th in soup.select("thead th")] == ["col"] * 4
    assert [th["scope"] for th in soup.select("tbody th")] == ["rowgroup"] + ["row"] * 3
    assert soup.select_one("tbody th")["colspan"] == "4"
    assert {tag.name for tag in soup.find_all()} == {
        *("style", "div", "table", "caption", "thead", "tbody", "tr", "th", "td")
    }


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2), min_size=1, max_size=5))
def test_columns_of_numbers_end_at_one_place(numbers: list[list[float]]) -> None:
    rows = [[f"row {k}", *pair] for k, pair in enumerate(numbers)]
    lines = repr(srnn.results.table(["", "first", "second"], rows)).splitlines()
    assert len({len(line) for line in lines}) == 1
    for line, (first, second) in zip(lines[2:], numbers, strict=True):
        assert line.split()[-2:] == [f"{first:.2f}", f"{second:.2f}"]


@pytest.mark.parametrize("row", [[], ["a", 1.0], ["a", 1.0, 2.0, 3.0]])
def test_a_row_that_does_not_fit_is_refused(row: list[Any]) -> None:
    with pytest.raises(ValueError, match=f"^Expected row 1 to have 3 entries, .*; got {len(row)}"):
        srnn.results.table(["", "x", "y"], [["a", 1.0, 2.0], row])
