"""Rows as comma-separated values (RFC 4180), for programs and spreadsheets.

A record ends in LF alone, as other tools of Unix have it: `cut`, `read` and `join` take a CR for a part of the last
value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

from fleet.operations.columns import Column, Instead
from fleet.render.jsonout import to_jsonable
from fleet.render.text import escape

_FORMULA: Final = frozenset({"=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"})
"""A spreadsheet runs a cell that begins with one of these, as OWASP's page on CSV injection has it (the wide ones for
East Asian settings). TAB, CR and LF, which it names too, are escaped before they come here. Blanks before it count for
nothing: some spreadsheets leave them out when they read the file."""

_DOUBTFUL: Final = _FORMULA | {" "}
"""What a printable text begins with that may need a `'`."""


def csv_header(columns: Sequence[Column], shown: Sequence[int]) -> str:
    """The line of the columns' names, as JSON has them."""
    return _text([[columns[index].name for index in shown]])


def csv_rows(rows: Iterable[Sequence[object]], shown: Sequence[int]) -> str:
    """The lines of the rows, with their ends.

    Args:
        rows: each with one cell per column.
        shown: the places of the columns that are wanted.
    """
    return _text(
        [
            # What `value` gives for nearly every text, without its calls: there are hundreds of thousands.
            cell if type(cell) is str and cell.isprintable() and cell[:1] not in _DOUBTFUL else value(cell)
            for cell in [row[index] for index in shown]
        ]
        for row in rows
    )


def value(cell: object) -> object:
    """One value, exact: bytes as a number, a time as RFC 3339 in UTC, nothing where it is not known.

    Control characters are escaped as for people, since nothing says that nobody looks at it on a terminal; so a record
    is always one line. A text that a spreadsheet would run has a `'` before it.
    """
    if type(cell) is int:  # many cells, quickly
        return cell
    plain = cell if type(cell) is str else to_jsonable(cell)
    if plain is None or isinstance(cell, Instead):
        return ""
    if isinstance(plain, list):
        plain = ",".join(map(str, plain))
    if isinstance(plain, str):
        return _harmless(plain)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return plain


def _harmless(text: str) -> str:
    text = escape(text)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA else text


def _text(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
