"""Rows to a plain table (the only place with tabulate)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from numbers import Real
from typing import TYPE_CHECKING, Final

from fleet.operations.columns import Column, Kind
from fleet.render import units
from fleet.render.text import escape
from fleet.render.width import display_width

if TYPE_CHECKING:
    from tabulate import TableFormat

NULL = "-"  # what a daemon's version does not report
_BETWEEN: Final = "  "
_FRAME: Final = 3  # columns that a drawn frame takes for each cell,
_HEADING: Final = 2  # and that tabulate then adds to a heading
_AS_IT_IS: Final = frozenset({"unsafehtml", "latex_raw"})
"""Formats of tabulate that take the text of cells for markup. Much of it comes from VPN clients: nobody gets these."""
_BARS: Final = frozenset({"github", "pipe", "jira"})
"""Formats in which a bar in a cell would end it, and tabulate lets it stand."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as the text of its cells.

    Attributes:
        columns: what the cells mean.
        rows: each with one text per column, control characters escaped.
        total: the last row, or None.
    """

    columns: tuple[Column, ...]
    rows: list[list[str]]
    total: list[str] | None = None

    def only(self, indexes: Sequence[int]) -> Grid:
        """The same with these of its columns, in this order."""
        rows = [[row[index] for index in indexes] for row in self.rows]
        total = None if self.total is None else [self.total[index] for index in indexes]
        return Grid(tuple(self.columns[index] for index in indexes), rows, total)

    def lines(self) -> list[list[str]]:
        """The rows and the total, if there is one."""
        return self.rows if self.total is None else [*self.rows, self.total]

    def widths(self, *, headers: bool = True) -> list[int]:
        """The columns of a terminal that each column takes."""
        lines = self.lines()
        if headers:
            lines = [[column.title for column in self.columns], *lines]
        return [max(map(display_width, cells)) for cells in zip(*lines, strict=True)]


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
    return draw(grid(columns, rows, total, shown=shown, now=now), headers=headers)


def grid(
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    total: Sequence[object] | None = None,
    *,
    shown: Sequence[int],
    now: datetime | None = None,
    exact: bool = False,
) -> Grid:
    """The cells that are to be shown, as people see them.

    Args:
        columns: what the cells mean.
        rows: each with one cell per column; None is shown as `-`.
        total: the last row; None is shown as nothing there.
        shown: the places of the columns that are wanted, in the order that is wanted.
        now: what ages are counted from; where it is None, the time itself is shown.
        exact: sizes are shown as the number of their bytes.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """
    kinds = [(index, columns[index].kind) for index in shown]

    def cells(row: Sequence[object], null: str) -> list[str]:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells for {len(columns)} columns")
        return [cell(kind, row[index], now, null, exact=exact) for index, kind in kinds]

    return Grid(
        tuple(replace(columns[index], header=escape(columns[index].title)) for index in shown),
        [cells(row, NULL) for row in rows],
        None if total is None else cells(total, ""),
    )


def cell(kind: Kind, value: object, now: datetime | None = None, null: str = NULL, *, exact: bool = False) -> str:
    """One value as people see it; a value that is not of its column's kind is shown as the text it is."""
    if value is None:
        return null
    if isinstance(value, datetime):
        return units.age(value, now) if kind is Kind.AGE and now is not None else units.rfc3339(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind is Kind.SIZE and isinstance(value, int):
        return str(value) if exact else units.size(value)
    if kind is Kind.SECONDS and isinstance(value, Real):
        return units.elapsed(float(value))
    return escape(str(value.value if isinstance(value, Enum) else value))


def narrow(table: Grid, width: int, *, headers: bool = True, framed: bool = False) -> tuple[Grid, tuple[Column, ...]]:
    """The table without those of its columns for which the terminal has no room, and those.

    Those without any value go first, then the last one of the others; the first column, and those that say `keep` or
    `names`, stay even where they are too wide.

    Args:
        table: the whole.
        width: the columns that the terminal has.
        headers: whether the headings are shown.
        framed: whether there is a frame around the cells.
    """
    widths = table.widths(headers=headers)
    between, around = len(_BETWEEN), -len(_BETWEEN)
    if framed:
        between, around = _FRAME, 1
        titles = [display_width(column.title) + _HEADING if headers else 0 for column in table.columns]
        widths = list(map(max, widths, titles))
    shown = list(range(len(table.columns)))
    left_out: list[Column] = []
    for index in sorted(range(1, len(table.columns)), key=lambda index: (_has_values(table, index), -index)):
        if sum(widths[place] + between for place in shown) + around <= width:
            break
        column = table.columns[index]
        if not (column.keep or column.names):
            shown.remove(index)
            left_out.append(column)
    return (table.only(shown), tuple(left_out)) if left_out else (table, ())


def _has_values(table: Grid, index: int) -> bool:
    return any(row[index] != NULL for row in table.rows)


def table_formats() -> tuple[str, ...]:
    """The names of the ways in which a table can be drawn: tabulate's, but those that take cells for markup."""
    from tabulate import tabulate_formats  # noqa: PLC0415 - see `draw`

    return tuple(name for name in tabulate_formats if name not in _AS_IT_IS)


def draw(table: Grid, *, headers: bool = True, table_format: str | None = None) -> str:
    """The table as text, without a newline at its end.

    Args:
        table: its cells.
        headers: whether to begin with the headings.
        table_format: one of `table_formats`; None for fleet's own, in which nothing stands between columns but blanks.
    """
    # tabulate costs 80 ms to import, which a run that draws no table need not pay.
    from tabulate import tabulate  # noqa: PLC0415 - late on purpose

    titles = [column.title for column in table.columns]
    lines = table.lines()
    if not titles or not (lines or headers):
        return ""
    if table_format is None and headers:
        lines = [titles, *lines]  # a row like the others: all cells are text, aligned by their column
    if table_format in _BARS:
        titles, *lines = [[text.replace("|", r"\|") for text in line] for line in (titles, *lines)]
    text: str = tabulate(
        lines,
        headers=titles if table_format is not None and headers else (),
        tablefmt=_plain() if table_format is None else table_format,
        colalign=["right" if column.kind.right else "left" for column in table.columns] if lines else None,
        disable_numparse=True,  # or a client named 1e5 would be shown as 100000
        preserve_whitespace=True,
    )
    return "\n".join(line.rstrip() for line in text.split("\n")) if table_format is None else text


def _plain() -> TableFormat:
    from tabulate import DataRow, TableFormat  # noqa: PLC0415 - see `draw`

    between = DataRow("", _BETWEEN, "")
    return TableFormat(
        lineabove=None,
        linebelowheader=None,
        linebetweenrows=None,
        linebelow=None,
        headerrow=between,
        datarow=between,
        padding=0,
        with_header_hide=None,
    )
