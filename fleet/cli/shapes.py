"""The shapes that a run's outcomes can have on stdout, one class for each."""

from __future__ import annotations

import os
import shutil
import sys
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, TypeVar

from fleet.cli.options import Options, OutputFormat
from fleet.cli.output import Output
from fleet.engine import Outcome, Report
from fleet.errors import UsageError
from fleet.inventory.model import Server
from fleet.operations.columns import SERVER, Column
from fleet.operations.operation import Answer, Operation, PartText, Row
from fleet.render.fold import fold_counted
from fleet.render.gather import gather, gather_text
from fleet.render.shape import Drawn, Look, check, chosen, coloured, draw_rows, has_column, is_known, sort_rows
from fleet.render.style import Style, wants_colour
from fleet.render.text import escape

# A format's own module is imported by who wants that format.
# ruff: noqa: PLC0415

T = TypeVar("T")

TABLES: Final = (OutputFormat.TABLE, OutputFormat.WIDE)
_GATHERED: Final = (*TABLES, OutputFormat.RAW)
_TEXT_COLUMNS: Final = (Column("command"), Column("text", keep=True))
"""Of answers that no columns fit: a row for each line."""
_ROWS_AT_ONCE: Final = 1000  # as many rows are written at a time, so that the text of a million is never in memory
_OF_ROWS: Final = (
    ("gather", "--gather", _GATHERED),
    ("diff", "--diff", _GATHERED),
    ("table_format", "--table-format", TABLES),
)
"""Options that mean something in some formats only."""


# What was asked for


def look_of(options: Options, columns: Sequence[Column]) -> Look:
    """How a table with these columns is to look, as the command line has it.

    A column that a variable or a file names, and this table does not have, is left out: it is meant for others.
    """
    terminal = options.output is OutputFormat.TABLE and sys.stdout.isatty()
    return Look(
        columns=tuple(name for name in options.columns if _is_meant("columns", name, options, columns)),
        sort_by=options.sort_by if _is_meant("sort_by", options.sort_by or "", options, columns) else None,
        wide=options.output is not OutputFormat.TABLE,
        headers=not options.no_headers,
        table_format=options.table_format,
        exact=options.exact_bytes,
        utc=options.utc,
        gather=options.gather and options.output in _GATHERED,
        diff=options.diff and options.output in _GATHERED,
        width=shutil.get_terminal_size().columns if terminal else None,
    )


def _is_meant(option: str, name: str, options: Options, columns: Sequence[Column]) -> bool:
    return option not in options.from_environment or has_column(columns, name.removeprefix("-"))


def check_columns(columns: Sequence[Column], options: Options) -> None:
    """Refuses what cannot be shown of a table with these columns.

    Raises:
        UsageError: it cannot; nothing was sent to any server.
    """
    for name, flag, formats in _OF_ROWS:
        if getattr(options, name) and options.output not in formats and name not in options.from_environment:
            raise UsageError(
                f"{flag} is not for -o {options.output.value}",
                hint=f"it is for {', '.join(form.value for form in formats)}",
            )
    several = len(options.columns) > 1 and "columns" not in options.from_environment
    if options.output is OutputFormat.NAME and several:
        raise UsageError("-o name prints one column", hint="name one with --columns, or take -o csv --no-headers")
    check(columns, look_of(options, columns))


def check_operation(operation: Operation[Any], options: Options) -> None:
    """The same for an operation: for its preview, where that is what is to be shown.

    Raises:
        UsageError: it cannot be shown; nothing was sent to any server.
    """
    shown = operation
    if operation.changes and options.dry_run:
        from fleet.operations.preview import preview_of

        shown = preview_of(operation)
    check_columns(columns_of(shown), options)


def columns_of(operation: Operation[Any]) -> tuple[Column, ...]:
    """The columns of the operation's table, that of the servers first."""
    return (SERVER, *(operation.columns if operation.texts is None else _TEXT_COLUMNS))


def rows_of(operation: Operation[T], outcome: Outcome[Answer[T]]) -> Iterator[Row]:
    """One server's rows, its name first in each; none of one that did not answer."""
    name = outcome.server.name
    if operation.texts is not None:
        answer = outcome.value or outcome.partial  # as people see it: what was answered before a failure too
        parts = [] if answer is None else operation.texts(answer.value)
        return ((name, part.part, line) for part in parts for line in part.lines)
    return iter(()) if outcome.value is None else ((name, *row) for row in operation.rows(outcome.value.value))


def name_column(columns: Sequence[Column], look: Look) -> int:
    """The place of the column that `-o name` prints: the one that is asked for, or what the rows are about."""
    if look.columns:
        return chosen(columns, look)[0]
    return next((index for index, column in enumerate(columns) if column.names), 0)


def data_style(options: Options) -> Style:
    """Colour for stdout."""
    return Style(wants_colour(options.color.value, os.environ, sys.stdout.isatty()))


def left_out_text(drawn: Drawn, look: Look) -> str:
    """Says which columns a terminal had no room for; empty where it had for all."""
    if not drawn.left_out:
        return ""
    return f"{look.width} columns: left out {', '.join(drawn.left_out)}; -o wide or --columns shows them"


# Tables


class TableOutput(Output[T]):
    """A table in inventory order, or in the order that is asked for."""

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        values = [outcome.value.value for outcome in report.outcomes if outcome.value is not None]
        text = self._text(report, values)
        if not text and (values or (self.operation.texts and any(_answers(report)))):
            self.words(self.operation.nobody or self._words)
        return text

    def _text(self, report: Report[Answer[T]], values: Sequence[T]) -> str:
        texts, look = self.operation.texts, look_of(self.options, columns_of(self.operation))
        if texts is not None and not (look.columns or look.sort_by or look.table_format):
            return self._of_texts(report, texts)
        rows = [row for outcome in report.outcomes for row in rows_of(self.operation, outcome)]
        if not rows:
            return ""
        totals = self.operation.totals
        total = (f"{len(values)} servers", *totals(values)) if totals is not None and len(values) > 1 else None
        drawn = draw_rows(
            columns_of(self.operation),
            rows,
            look,
            total,
            now=datetime.now(UTC),
            servers=[name for name, _answer in _answers(report)],
            style=data_style(self.options),
        )
        self.remark(left_out_text(drawn, look))
        return f"{drawn.text}\n"

    def _of_texts(self, report: Report[Answer[T]], texts: Callable[[T], Sequence[PartText]]) -> str:
        answers = [(name, texts(answer.value)) for name, answer in _answers(report)]
        if self.options.diff:
            return _difference_text([(name, _as_lines(parts)) for name, parts in answers], self.options)
        return gather_text(answers, style=data_style(self.options))


def _as_lines(parts: Sequence[PartText]) -> list[str]:
    """The answers to a question of one or several parts as lines, the parts above their own."""
    return [
        escape(line)
        for part in parts
        for line in ((part.part, *(f"  {line}" for line in part.lines)) if len(parts) > 1 else part.lines)
    ]


def _difference_text(answers: Sequence[tuple[str, Sequence[str]]], options: Options) -> str:
    """The most frequent answer under the names of its servers, and how the others differ; all of it is safe to show."""
    from fleet.render.difference import differences

    names, lines = differences((escape(name), own) for name, own in answers)
    if not names:
        return ""
    own = next(own for name, own in answers if escape(name) == names[0])
    style = data_style(options)
    heading = style.strong(f"==> {fold_counted(names)} <==")
    return "".join(f"{line}\n" for line in (heading, *own, *coloured(lines, style)))


# Documents


class JsonOutput(Output[T]):
    """One document, whatever happened."""

    shown_when_quiet = True

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        from fleet.render.jsonout import document, dumps

        return dumps(document(report, self.result), indent=2) + "\n"


class YamlOutput(Output[T]):
    """The same document as YAML."""

    shown_when_quiet = True

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        from fleet.render.jsonout import document
        from fleet.render.yamlout import yaml_text

        return yaml_text(document(report, self.result))


class NdjsonOutput(Output[T]):
    """One line for each server as it completes, and a summary."""

    shown_when_quiet = True
    writes_at_once = True
    spent = True

    def outcome(self, outcome: Outcome[Answer[T]]) -> bool:  # noqa: D102 - as the base says
        from fleet.render.jsonout import ndjson_server

        if not (self.options.quiet and outcome.status == "ok"):
            self._write(ndjson_server(outcome, self.result) + "\n")
        return super().outcome(outcome)

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        from fleet.render.jsonout import ndjson_summary

        return ndjson_summary(report) + "\n"


# Rows for programs


class _RowsOutput(Output[T]):
    """Rows that are written in inventory order as soon as their turn has come, or sorted when all are there."""

    def __init__(self, operation: Operation[T], options: Options) -> None:
        super().__init__(operation, options)
        self._columns = columns_of(operation)
        self._look = look_of(options, self._columns)
        self._turns: deque[str] = deque()
        self._waiting: dict[str, Outcome[Answer[T]]] = {}
        self._written: set[str] = set()
        self._begun = False

    def expect(self, servers: Sequence[Server]) -> None:
        if self._look.sort_by is None:
            self._turns = deque(server.name for server in servers)

    @property
    def spent(self) -> bool:
        return bool(self._turns or self._written)

    @property
    def writes_at_once(self) -> bool:
        return bool(self._turns) or super().writes_at_once

    def outcome(self, outcome: Outcome[Answer[T]]) -> bool:
        if self._turns:
            self._waiting[outcome.server.name] = outcome
            while self._turns and self._turns[0] in self._waiting:
                name = self._turns.popleft()
                self._written.add(name)
                self._write_rows(self._pieces([self._waiting.pop(name)]))
        return super().outcome(outcome)

    def data(self, report: Report[Answer[T]]) -> str:
        """What is still to be written goes out piece by piece; then there is no more."""
        rest = [outcome for outcome in report.outcomes if outcome.server.name not in self._written]
        self._write_rows(self._pieces([self._waiting.get(outcome.server.name, outcome) for outcome in rest]))
        return ""

    def _write_rows(self, pieces: Iterator[str]) -> None:
        if self.options.quiet:
            return
        if not self._begun:
            self._begun = True
            self._write(self._head())
        while not self.closed and (text := next(pieces, "")):
            self._write(text)

    def _head(self) -> str:
        return ""

    def _rows(self, outcomes: Iterable[Outcome[Answer[T]]]) -> Iterator[Row]:
        rows = (row for outcome in outcomes for row in rows_of(self.operation, outcome))
        return rows if self._look.sort_by is None else iter(sort_rows(self._columns, rows, self._look.sort_by))

    @abstractmethod
    def _pieces(self, outcomes: Sequence[Outcome[Answer[T]]]) -> Iterator[str]:
        """The lines of these servers, with their ends, some at a time."""


class CsvOutput(_RowsOutput[T]):
    """Comma-separated values, below the columns' names."""

    def _head(self) -> str:
        from fleet.render.csvout import csv_header

        return csv_header(self._columns, chosen(self._columns, self._look)) if self._look.headers else ""

    def _pieces(self, outcomes: Sequence[Outcome[Answer[T]]]) -> Iterator[str]:
        return csv_pieces(self._rows(outcomes), chosen(self._columns, self._look))


class NameOutput(_RowsOutput[T]):
    """One name a line."""

    def _pieces(self, outcomes: Sequence[Outcome[Answer[T]]]) -> Iterator[str]:
        place = name_column(self._columns, self._look)
        rows = self._rows(outcomes)
        if place == 0 and self._look.sort_by is None and not self._look.columns:
            # Each server that answered: what it said may have no rows, or many.
            rows = ((name,) for name, _answer in _answering(outcomes))
        return name_pieces(rows, place, once=place == 0)


def csv_pieces(rows: Iterator[Row], shown: Sequence[int]) -> Iterator[str]:
    """The lines of the rows, some at a time."""
    from fleet.render.csvout import csv_rows

    return iter(lambda: csv_rows(islice(rows, _ROWS_AT_ONCE), shown), "")


def name_pieces(rows: Iterator[Row], place: int, *, once: bool) -> Iterator[str]:
    """The names in the rows, a line each; what has none has no line.

    Args:
        rows: all of them.
        place: of the column.
        once: what comes twice is there once.
    """
    from fleet.render.jsonout import to_jsonable

    names = (row[place] for row in rows if is_known(row[place]))
    lines = (f"{escape(str(to_jsonable(name)))}\n" for name in (dict.fromkeys(names) if once else names))
    return iter(lambda: "".join(islice(lines, _ROWS_AT_ONCE)), "")


class RawOutput(Output[T]):
    """The daemons' own text, under a line with the server's name where several were asked."""

    def __init__(self, operation: Operation[T], options: Options) -> None:
        super().__init__(operation, options)
        self.exact = not sys.stdout.isatty()

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        answers = [(name, answer.raw) for name, answer in _answers(report)]
        if self.options.diff:
            return _difference_text([(name, _with_tabs(raw)) for name, raw in answers], self.options)
        several = len(report.outcomes) > 1
        groups = gather(answers) if self.options.gather else [([name], raw) for name, raw in answers]
        text = "".join((f"==> {fold_counted(names)} <==\n" if several else "") + raw for names, raw in groups)
        return text if self.exact else _readable(text)


def _answers(report: Report[Answer[T]]) -> Iterator[tuple[str, Answer[T]]]:
    return _answering(report.outcomes)


def _answering(outcomes: Iterable[Outcome[Answer[T]]]) -> Iterator[tuple[str, Answer[T]]]:
    """Each server that said something, and what: of one that failed in the middle, what it said before."""
    for outcome in outcomes:
        answer = outcome.value or outcome.partial
        if answer is not None:
            yield outcome.server.name, answer


def _readable(text: str) -> str:
    """The text with its control characters escaped, so that it cannot drive the terminal."""
    return "\n".join(escape(line.removesuffix("\r")) for line in text.split("\n"))


def _with_tabs(text: str) -> list[str]:
    """The lines, safe as above, with the TABs that part their columns."""
    lines = text.removesuffix("\n").split("\n") if text else []
    return ["\t".join(map(escape, line.removesuffix("\r").split("\t"))) for line in lines]


OUTPUTS: Final[Mapping[OutputFormat, type[Output[Any]]]] = {
    OutputFormat.TABLE: TableOutput,
    OutputFormat.WIDE: TableOutput,
    OutputFormat.JSON: JsonOutput,
    OutputFormat.NDJSON: NdjsonOutput,
    OutputFormat.YAML: YamlOutput,
    OutputFormat.CSV: CsvOutput,
    OutputFormat.NAME: NameOutput,
    OutputFormat.RAW: RawOutput,
}
