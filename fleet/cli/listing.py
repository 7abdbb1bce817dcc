"""What fleet knows itself, without asking any server, in every shape of output."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fleet.cli.options import Options, OutputFormat
from fleet.cli.output import say, write
from fleet.cli.shapes import (
    TABLES,
    check_columns,
    csv_pieces,
    data_style,
    left_out_text,
    look_of,
    name_column,
    name_pieces,
)
from fleet.cli.watch import refuse_watch_of_none
from fleet.errors import UsageError
from fleet.operations.columns import Column
from fleet.operations.operation import Row
from fleet.render.csvout import csv_header
from fleet.render.jsonout import dumps, to_jsonable
from fleet.render.shape import chosen, draw_rows, sort_rows
from fleet.render.yamlout import yaml_text


class Listing:
    """A table and a document of it."""

    def __init__(self, columns: Sequence[Column], options: Options, *, items: str | None = None) -> None:
        """Looks at what is asked for, before anything is read.

        Args:
            columns: what the cells of a row mean.
            options: of the command line.
            items: the key of the document's list that has an object for each row; None where it has no such list.

        Raises:
            UsageError: the options ask for something that there is not.
        """
        refuse_watch_of_none(options)
        self._columns, self._options, self._items = columns, options, items
        if options.output is OutputFormat.RAW:
            raise UsageError("-o raw is not for this command", hint="it is what a daemon says, and none is asked")
        check_columns(columns, options)

    def show(
        self,
        rows: Callable[[], Iterable[Row]],
        document: Callable[[], Mapping[str, Any]],
        *,
        total: Row | None = None,
        nothing: str = "",
    ) -> None:
        """Writes it.

        Args:
            rows: makes the rows.
            document: makes the JSON document; anything that `to_jsonable` takes.
            total: the last row of a table, or None.
            nothing: what to tell people where there is no row.
        """
        shape = self._options.output
        if shape in TABLES:
            self._table(list(rows()), total, nothing)
        elif shape is OutputFormat.JSON:
            write(dumps(to_jsonable(document()), indent=2) + "\n")
        elif shape is OutputFormat.YAML:
            write(yaml_text(to_jsonable(document())))
        elif shape is OutputFormat.NDJSON:
            _write_all(self._objects(to_jsonable(document())))
        else:
            _write_all(self._pieces(iter(rows())))

    def _table(self, rows: Collection[Row], total: Row | None, nothing: str) -> None:
        if not rows:
            say(nothing)
            return
        look = look_of(self._options, self._columns)
        style = data_style(self._options)
        drawn = draw_rows(self._columns, rows, look, total, now=datetime.now(UTC), style=style)
        write(f"{drawn.text}\n")
        if not self._options.quiet:
            say(left_out_text(drawn, look))

    def _pieces(self, rows: Iterator[Row]) -> Iterator[str]:
        look = look_of(self._options, self._columns)
        rows = rows if look.sort_by is None else iter(sort_rows(self._columns, rows, look.sort_by))
        if self._options.output is OutputFormat.NAME:
            yield from name_pieces(rows, name_column(self._columns, look), once=False)
            return
        shown = chosen(self._columns, look)
        if look.headers:
            yield csv_header(self._columns, shown)
        yield from csv_pieces(rows, shown)

    def _objects(self, document: dict[str, Any]) -> Iterator[str]:
        """The document as lines: an object for each item, and the rest of it; or all of it in one."""
        if self._items is not None:
            for item in document.pop(self._items):
                yield dumps({"type": self._items.removesuffix("s"), **item}) + "\n"
            document = {"type": "summary", **document}
        yield dumps(document) + "\n"


def _write_all(pieces: Iterator[str]) -> None:
    while (text := next(pieces, "")) and write(text):
        pass
