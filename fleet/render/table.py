"""Rows to a plain table (the only place with tabulate)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from numbers import Real

from fleet.operations.columns import Column, Kind
from fleet.render import units
from fleet.render.text import escape

NULL = "-"  # what a daemon's version does not report


def render_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    total: Sequence[object] | None = None,
    *,
    headers: bool = True,
    wide: bool = False,
    now: datetime | None = None,
) -> str:
    """The table as text, without a newline at its end.

    Two blanks stand between columns, none at the end of a line; numbers are aligned right. Control characters in
    cells are escaped. Nothing is cut off: a line may be longer than the terminal is wide.

    Args:
        columns: what the cells mean; those marked wide are left out unless `wide`.
        rows: each with one cell per column, left-out ones included; None is shown as `-`.
        total: the last row; None is shown as nothing there.
        headers: whether to begin with the line of headings.
        wide: whether to show the wide columns.
        now: what ages are counted from; where it is None, the time itself is shown.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """
    shown = [index for index, column in enumerate(columns) if wide or not column.wide]
    chosen = [columns[index] for index in shown]
    lines = [_cells(columns, row, shown, NULL, now) for row in rows]
    if total is not None:
        lines.append(_cells(columns, total, shown, "", now))
    if headers:
        lines.insert(0, [escape(column.title) for column in chosen])
    return _align(lines, [column.kind.right for column in chosen])


def cell(kind: Kind, value: object, now: datetime | None = None, null: str = NULL) -> str:
    """One value as people see it; a value that is not of its column's kind is shown as the text it is."""
    if value is None:
        return null
    if isinstance(value, datetime):
        return units.age(value, now) if kind is Kind.AGE and now is not None else units.rfc3339(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind is Kind.SIZE and isinstance(value, int):
        return units.size(value)
    if kind is Kind.SECONDS and isinstance(value, Real):
        return units.elapsed(float(value))
    return escape(str(value.value if isinstance(value, Enum) else value))


def _cells(
    columns: Sequence[Column], row: Sequence[object], shown: Sequence[int], null: str, now: datetime | None
) -> list[str]:
    if len(row) != len(columns):
        raise ValueError(f"a row of {len(row)} cells for {len(columns)} columns")
    return [cell(columns[index].kind, row[index], now, null) for index in shown]


def _align(lines: list[list[str]], right: Sequence[bool]) -> str:
    # tabulate costs 80 ms to import, which a run that draws no table need not pay.
    from tabulate import DataRow, TableFormat, tabulate  # noqa: PLC0415 - late on purpose

    if not lines or not right:
        return ""
    between = DataRow("", "  ", "")
    plain = TableFormat(
        lineabove=None,
        linebelowheader=None,
        linebetweenrows=None,
        linebelow=None,
        headerrow=between,
        datarow=between,
        padding=0,
        with_header_hide=None,
    )
    table = tabulate(
        lines,  # the headings are a row like the others: all cells are text, aligned by their column
        tablefmt=plain,
        colalign=["right" if numbers else "left" for numbers in right],
        disable_numparse=True,  # or a client named 1e5 would be shown as 100000
        preserve_whitespace=True,
    )
    return "\n".join(line.rstrip() for line in table.split("\n"))
