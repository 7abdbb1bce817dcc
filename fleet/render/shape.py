"""How rows are to look: which columns, in which order, folded or not; as tables, CSV or bare names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from typing import Final

from fleet.errors import UsageError
from fleet.operations.columns import SERVER, Column, Instead
from fleet.render.fold import fold_counted
from fleet.render.gather import gather
from fleet.render.style import PLAIN, Style
from fleet.render.table import NULL, Grid, draw, grid, narrow, table_formats
from fleet.render.text import escape

Row = Sequence[object]

_DIGITS: Final = re.compile(r"([0-9]{1,18})")  # longer ones are cut: int() of thousands of digits is slow, or refused


@dataclass(frozen=True, slots=True)
class Look:
    """How a table is to look.

    Attributes:
        columns: the names of those that are wanted, in this order; none for those that the command shows anyway.
        sort_by: the name of the column to sort by, `-` before it for the other way; None for the order that there is.
        wide: the wide columns too, where none are named.
        headers: the line of headings, and a line of totals below.
        table_format: a name that `table_formats` has; None for fleet's own.
        exact: sizes in bytes.
        utc: times in place of ages.
        gather: rows that are equal but for their server are one.
        diff: the answer that most servers gave, and how the others differ from it.
        width: columns of the terminal, or None: then nothing is left out.
    """

    columns: tuple[str, ...] = ()
    sort_by: str | None = None
    wide: bool = False
    headers: bool = True
    table_format: str | None = None
    exact: bool = False
    utc: bool = False
    gather: bool = False
    diff: bool = False
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A table as text.

    Attributes:
        text: without a newline at its end.
        left_out: the headings of columns for which there was no room.
    """

    text: str
    left_out: tuple[str, ...] = ()


def check(columns: Sequence[Column], look: Look) -> None:
    """Refuses what these columns do not have, so that it can be refused before anything is sent.

    Raises:
        UsageError: a column, or a format of tables, that there is not; the message says which there are.
    """
    chosen(columns, look)
    _sorting(columns, look.sort_by)
    if look.table_format is not None and look.table_format not in table_formats():
        known = ", ".join(table_formats())
        raise UsageError(f"there is no table format '{look.table_format}'", hint=f"there are: {known}")
    if (look.gather or look.diff) and _place_of_server(columns) is None:
        what = "--diff" if look.diff else "--gather"
        raise UsageError(f"{what} is for answers of servers, and there are none here", hint="leave it out")


def chosen(columns: Sequence[Column], look: Look) -> list[int]:
    """The places of the columns to show. To gather means to show the servers too.

    Raises:
        UsageError: one that there is not.
    """
    if not look.columns:
        return [index for index, column in enumerate(columns) if look.wide or not column.wide]
    indexes = [find_column(columns, name) for name in look.columns]
    server = _place_of_server(columns)
    if (look.gather or look.diff) and server is not None and server not in indexes:
        indexes.insert(0, server)
    return indexes


def _place_of_server(columns: Sequence[Column]) -> int | None:
    return next((index for index, column in enumerate(columns) if column.name == SERVER.name), None)


def find_column(columns: Sequence[Column], name: str) -> int:
    """The place of a column, by its name or its heading, in any spelling of either.

    Raises:
        UsageError: there is none; the message has those that there are.
    """
    found = _find(columns, name)
    if found is not None:
        return found
    names = [column.name for column in columns]
    near = get_close_matches(_plain_name(name), names, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"unknown column '{name}'", hint=f"{meant}Known: {', '.join(names)}")


def has_column(columns: Sequence[Column], name: str) -> bool:
    """Whether `find_column` finds it."""
    return _find(columns, name) is not None


def _find(columns: Sequence[Column], name: str) -> int | None:
    wanted = _plain_name(name)
    for known in ([column.name for column in columns], [_plain_name(column.title) for column in columns]):
        if wanted in known:
            return known.index(wanted)
    return None


def _plain_name(text: str) -> str:
    return text.strip().lower().replace("-", "_").replace(" ", "_")


def sort_rows(columns: Sequence[Column], rows: Iterable[Row], sort_by: str | None) -> list[Row]:
    """The rows sorted by a column: numbers and times by what they are, text as people count (edge-2 before edge-10).

    What is not known comes last either way, and equal rows keep their order.

    Raises:
        UsageError: there is no such column.
    """
    rows = list(rows)
    sorting = _sorting(columns, sort_by)
    if sorting is None:
        return rows
    index, reverse = sorting
    known = [row for row in rows if is_known(row[index])]
    known.sort(key=lambda row: _sort_key(row[index]), reverse=reverse)
    return [*known, *(row for row in rows if not is_known(row[index]))]


def is_known(value: object) -> bool:
    """Whether there is a value, and not a blank or what people see in place of one."""
    return value is not None and not isinstance(value, Instead)


def _sorting(columns: Sequence[Column], sort_by: str | None) -> tuple[int, bool] | None:
    if sort_by is None:
        return None
    reverse = sort_by.startswith("-")
    return find_column(columns, sort_by.removeprefix("-")), reverse


def _sort_key(value: object) -> tuple[int, float, tuple[str | int, ...]]:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, int | float):
        return 0, value, ()
    if isinstance(value, datetime):
        return 1, value.timestamp(), ()
    parts = _DIGITS.split(str(value).casefold())
    # Text and numbers in turn, so that two texts are compared part by part.
    return 2, 0, tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def draw_rows(
    columns: Sequence[Column],
    rows: Iterable[Row],
    look: Look,
    total: Row | None = None,
    *,
    now: datetime,
    servers: Sequence[str] = (),
    style: Style = PLAIN,
) -> Drawn:
    """The table.

    Args:
        columns: what the cells mean.
        rows: each with one cell per column.
        look: how it is to look.
        total: the last row, or None.
        now: what ages are counted from, aware.
        servers: the names of all that answered, for `diff`: also of those whose answer has no row.
        style: for what differs.

    Raises:
        UsageError: `look` names a column that there is not.
    """
    table = grid(
        columns,
        sort_rows(columns, rows, look.sort_by),
        total if look.headers and not look.diff else None,
        shown=chosen(columns, look),
        now=None if look.utc else now,
        exact=look.exact,
    )
    if table.total is not None and not any(table.total):
        table = Grid(table.columns, table.rows)
    place = _place_of_server(table.columns)
    if place is not None and look.diff:
        return _draw_difference(table, place, look, servers, style)
    return _draw(table if place is None or not look.gather else gather_rows(table, place), look)


def _draw(table: Grid, look: Look) -> Drawn:
    left_out: tuple[Column, ...] = ()
    if look.width is not None and not look.columns and not look.wide:
        framed = look.table_format is not None
        table, left_out = narrow(table, look.width, headers=look.headers, framed=framed)
    text = draw(table, headers=look.headers, table_format=look.table_format)
    return Drawn(text, tuple(column.title for column in left_out))


def gather_rows(table: Grid, place: int) -> Grid:
    """The table with each row once, under the names of all servers that have it, in the order of the first of them.

    A row that a server has twice is there twice.

    Args:
        table: the rows of all servers.
        place: the place of the column with their names.
    """
    counts: Counter[tuple[str, ...]] = Counter()

    def keys() -> Iterator[tuple[str, tuple[tuple[str, ...], int]]]:
        for row in table.rows:
            server, others = row[place], (*row[:place], *row[place + 1 :])
            counts[server, *others] += 1
            yield server, (others, counts[server, *others])

    rows = [[*others[:place], fold_counted(names), *others[place:]] for names, (others, _nth) in gather(keys())]
    return Grid(table.columns, rows, table.total)


def _draw_difference(table: Grid, place: int, look: Look, servers: Iterable[str], style: Style) -> Drawn:
    """The table of the answer that most servers gave, and the lines in which the others differ from it."""
    rest = [index for index in range(len(table.columns)) if index != place]
    # All rows drawn together, so that equal cells stand below each other, and equal rows are equal lines.
    lines = draw(table.only(rest), headers=False).split("\n") if rest else [""] * len(table.rows)
    answers: dict[str, list[int]] = {escape(server): [] for server in servers}
    for index, row in enumerate(table.rows):
        answers.setdefault(row[place], []).append(index)
    from fleet.render.difference import differences  # noqa: PLC0415 - for --diff alone

    common, others = differences((name, [lines[index] for index in own]) for name, own in answers.items())
    if not common:
        return _draw(table, look)
    rows = [table.rows[index] for index in answers[common[0]]] or [[NULL] * len(table.columns)]
    who = fold_counted(common)
    drawn = _draw(Grid(table.columns, [[*row[:place], who, *row[place + 1 :]] for row in rows]), look)
    return Drawn("\n".join([drawn.text, *coloured(others, style)]), drawn.left_out)


def coloured(lines: Iterable[str], style: Style) -> list[str]:
    """The lines of a difference, what is missing and what is there instead in colours of their own."""
    paints: dict[str, Callable[[str], str]] = {"-": style.bad, "+": style.good}
    return [paints.get(line[:1], str)(line) for line in lines]
