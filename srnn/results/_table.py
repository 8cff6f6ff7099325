"""Results as a table: HTML in a notebook, plain text elsewhere, of the same cells."""

import html
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["Table", "table"]

# Where the table scrolls the rows keep their names in sight, and the caption stays.
_PINNED = "position: sticky; left: 0"
_LOOKS = {
    "td, .srnn-table thead th": "text-align: right; font-variant-numeric: tabular-nums",
    "td": "white-space: nowrap",
    "thead th": "vertical-align: bottom",
    "caption": f"text-align: left; max-width: 85vw; {_PINNED}",
    "th:first-child": (
        f"text-align: left; font-weight: normal; min-width: 9em; {_PINNED}; "
        "background: var(--pst-color-background, var(--jp-layout-color0, Canvas))"
    ),
    "th[scope=rowgroup]": "font-weight: bold",
}
_STYLE = "".join(f".srnn-table {of} {{ {look}; }}\n" for of, look in _LOOKS.items())


class Table:
    """A table that shows itself; made by :func:`table`.

    Examples
    --------
    >>> made = table(["model", "error"], [["O-NET", 1.5]])
    >>> made.cells
    [['O-NET', '1.50']]
    """

    def __init__(self, columns: list[str], cells: list[list[str]], caption: str) -> None:
        self.columns, self.cells, self.caption = columns, cells, caption

    def __repr__(self) -> str:
        whole = [row for row in self.cells if len(row) > 1]
        widths = [max(map(len, column)) for column in zip(self.columns, *whole, strict=True)]

        def line(row: list[str]) -> str:
            first, *others = (text.ljust(w) for text, w in zip(row, widths, strict=True))
            rest = (text.strip().rjust(w) for text, w in zip(others, widths[1:], strict=True))
            return "  ".join((first, *rest)).rstrip()

        lines = [self.caption] if self.caption else []
        lines += [line(self.columns), "  ".join("-" * width for width in widths)]
        lines += [row[0] if len(row) == 1 else line(row) for row in self.cells]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def cell(text: str, kind: str = "td", **more: str) -> str:
            told = "".join(f' {name}="{value}"' for name, value in more.items())
            return f"<{kind}{told}>{html.escape(text)}</{kind}>"

        head = [cell(name, "th", scope="col") for name in self.columns]
        body = []
        for first, *others in self.cells:
            if others:
                body.append(cell(first, "th", scope="row") + "".join(map(cell, others)))
            else:
                span = str(len(self.columns))
                body.append(cell(first, "th", scope="rowgroup", colspan=span))
        caption = cell(self.caption, "caption") if self.caption else ""
        lines = "\n".join(f"<tr>{line}</tr>" for line in body)
        # On a narrow screen the table scrolls, not the page.
        return (
            f"<style>\n{_STYLE}</style>\n"
            '<div style="overflow-x: auto" tabindex="0"><table class="table srnn-table">'
            f"{caption}\n<thead><tr>{''.join(head)}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
        )


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "", digits: int = 2
) -> Table:
    """Lay out results as a table.

    Parameters
    ----------
    columns : sequence of str
        The columns' names, that of the rows' names first.
    rows : sequence of sequence
        Of each row its name and its cells: a text; a number; a pair of a mean and its deviation; or
        None, or a number that is none, for what is not there.  A row that is a name alone is a
        heading of those below it.
    caption : str
        What the table shows, with its units.
    digits : int
        Behind the point of numbers that are not whole.

    Returns
    -------
    Table
        In a notebook and in the book an HTML table, in a terminal plain text.

    Raises
    ------
    ValueError
        If a row has neither a cell for every column nor a name alone.

    Examples
    --------
    >>> import srnn
    >>> srnn.results.table(
    ...     ["model", "states", "error"],
    ...     [["recurrent"], ["O-NET", 50, (2.88, 0.45)], ["H-NET", 50, None]],
    ...     caption="Distance",
    ... )
    Distance
    model  states        error
    -----  ------  -----------
    recurrent
    O-NET      50  2.88 ± 0.45
    H-NET      50            –
    """
    cells = [[_text(value, digits) for value in row] for row in rows]
    for k, row in enumerate(cells):
        if len(row) not in (1, len(columns)):
            raise ValueError(
                f"Expected row {k} to have {len(columns)} entries, one a column, or its name "
                f"alone; got {len(row)}."
            )
    return Table([str(name) for name in columns], cells, caption)


def _text(value: Any, digits: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        mean, deviation = (_text(each, digits) for each in value)
        return mean if deviation == "–" else f"{mean} ± {deviation}"
    if value is None or math.isnan(value):
        return "–"
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "diverged"
    return f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.1e}"
