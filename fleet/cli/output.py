"""Where a run's outcomes go: data to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TextIO, TypeVar

from fleet.cli.options import Options, OutputFormat
from fleet.engine import EXIT_FAILED, Outcome, Report
from fleet.errors import InternalError, UsageError
from fleet.operations.columns import Column
from fleet.operations.operation import Answer, Operation, PartText
from fleet.render import outcomes as words
from fleet.render.gather import gather_text
from fleet.render.jsonout import document, dumps, ndjson_server, ndjson_summary
from fleet.render.style import Style, wants_colour
from fleet.render.table import render_table
from fleet.render.text import escape

T = TypeVar("T")

SERVER = Column("server")
"""The first column of every table."""
_TRACEBACKS = 2  # so many -v show the tracebacks of bugs


class OutputError(Exception):
    """Stdout takes no more, and that is nobody's wish: its disk is full, or it was closed from the start."""


def write(text: str, *, exact: bool = False) -> bool:
    """Writes to stdout, and says whether anybody reads there still.

    A closed pipe is silent (contract of the command line): what comes later goes nowhere.

    Args:
        text: with the ends of its lines.
        exact: write the very bytes that a daemon or a file gave, whatever the locale.

    Raises:
        OutputError: it was not written, for any other reason.
    """
    try:
        if exact:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        return False
    except OSError as error:
        raise stdout_lost(error) from error
    return True


def stdout_lost(error: OSError) -> OutputError:
    """What to raise when stdout could not be written to; what is still to come goes nowhere."""
    _discard(sys.stdout)
    return OutputError(f"stdout cannot be written to: {error.strerror}")


def say(text: str) -> None:
    """Writes lines to stderr, if there are any. Where nobody can be told, the exit status has to do."""
    if not text:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """What is still in the stream's buffer goes nowhere: the interpreter would complain of it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Output(ABC, Generic[T]):
    """Shows the outcomes of one run; each format is a subclass with what it does differently.

    Attributes:
        closed: nobody reads stdout any more, or it takes no more.
        abandoned: the run was broken off because of that.
    """

    def __init__(self, operation: Operation[T], options: Options) -> None:
        self.operation = operation
        self.options = options
        self.closed = False
        self.abandoned = False
        self._style = error_style(options)
        self._words = ""
        self._lost: OutputError | None = None

    def outcome(self, outcome: Outcome[Answer[T]]) -> bool:
        """Takes an outcome as it completes; says whether anybody reads on."""
        if self._tells_progress:
            say(f"{escape(outcome.server.name)}: {outcome.status.replace('_', ' ')} after {outcome.elapsed:.3f} s")
        return not self.closed

    @property
    def writes_at_once(self) -> bool:
        """Whether `outcome` writes something, which a progress line must not stand in the way of."""
        return self._tells_progress

    @property
    def _tells_progress(self) -> bool:
        return bool(self.options.verbose) and not self.options.quiet

    def words(self, text: str) -> None:
        """Takes a sentence that goes to stderr behind the data."""
        self._words = text

    def finish(self, report: Report[Answer[T]]) -> int:
        """Shows the data, says what there is to say beside it, and gives the exit status."""
        if not self.options.quiet or (report.exit_status and self.shown_when_quiet):
            self._write(self.data(report))
        self._say(report)
        if self._lost is None:
            return report.exit_status
        say(str(self._lost))
        return EXIT_FAILED if self.abandoned else report.exit_status or EXIT_FAILED

    shown_when_quiet = False
    exact = False

    @abstractmethod
    def data(self, report: Report[Answer[T]]) -> str:
        """What goes to stdout at the end."""

    def result(self, answer: Answer[T]) -> object:
        """What JSON shows of an answer."""
        return self.operation.result(answer.value)

    def _write(self, text: str) -> None:
        if self.closed or not text:
            return
        try:
            self.closed = not write(text, exact=self.exact)
        except OutputError as error:
            self.closed, self._lost = True, error

    def _say(self, report: Report[Answer[T]]) -> None:
        outcomes = report.outcomes
        if self.options.quiet:
            lines = words.error_lines(outcomes)
            if report.exit_status and not self.abandoned:
                say("\n".join(lines) or self._words)
            return
        say(self._words)
        say(words.warnings_text(outcomes, style=self._style))
        say(words.errors_text(outcomes, style=self._style))
        self._say_bugs(report)
        if self.abandoned:
            return
        if report.interrupted:
            say(words.stopped_text(report))
        if self.options.verbose or report.summary["ok"] != report.summary["servers"]:
            say(words.summary_line(report))

    def _say_bugs(self, report: Report[Answer[T]]) -> None:
        if self.options.verbose < _TRACEBACKS:
            return
        for outcome in report.outcomes:
            if isinstance(outcome.error, InternalError) and outcome.error.__cause__ is not None:
                say(f"{escape(outcome.server.name)}: {traceback_text(outcome.error.__cause__)}")


class TableOutput(Output[T]):
    """A table in inventory order."""

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        if self.operation.texts is not None:
            return self._gathered(report, self.operation.texts)
        values = [
            (outcome.server.name, outcome.value.value) for outcome in report.outcomes if outcome.value is not None
        ]
        rows = [(name, *row) for name, value in values for row in self.operation.rows(value)]
        totals = self.operation.totals
        total = None
        if totals is not None and len(values) > 1:
            total = (f"{len(values)} servers", *totals([value for _name, value in values]))
        table = render_table(
            (SERVER, *self.operation.columns),
            rows,
            total,
            wide=self.options.output is OutputFormat.WIDE,
            now=datetime.now(UTC),
        )
        if rows:
            return f"{table}\n"
        if values:
            self.words(self.operation.nobody or self._words)
        return ""

    def _gathered(self, report: Report[Answer[T]], texts: Callable[[T], Sequence[PartText]]) -> str:
        answers = [(name, texts(answer.value)) for name, answer in _answers(report)]
        text = gather_text(answers, style=_data_style(self.options))
        if not text and any(outcome.value is not None for outcome in report.outcomes):
            self.words(self.operation.nobody or self._words)
        return text


class JsonOutput(Output[T]):
    """One document, whatever happened."""

    shown_when_quiet = True

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        return dumps(document(report, self.result), indent=2) + "\n"


class NdjsonOutput(Output[T]):
    """One line for each server as it completes, and a summary."""

    shown_when_quiet = True
    writes_at_once = True

    def outcome(self, outcome: Outcome[Answer[T]]) -> bool:  # noqa: D102 - as the base says
        if not (self.options.quiet and outcome.status == "ok"):
            self._write(ndjson_server(outcome, self.result) + "\n")
        return super().outcome(outcome)

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        return ndjson_summary(report) + "\n"


class RawOutput(Output[T]):
    """The daemons' own text, under a line with the server's name where several were asked."""

    def __init__(self, operation: Operation[T], options: Options) -> None:
        super().__init__(operation, options)
        self.exact = not sys.stdout.isatty()

    def data(self, report: Report[Answer[T]]) -> str:  # noqa: D102 - as the base says
        several = len(report.outcomes) > 1
        parts = []
        for name, answer in _answers(report):
            heading = f"==> {name} <==\n" if several else ""
            parts.append(heading + answer.raw)
        text = "".join(parts)
        return text if self.exact else _readable(text)


def _answers(report: Report[Answer[T]]) -> Iterator[tuple[str, Answer[T]]]:
    """Each server that said something, and what: of one that failed in the middle, what it said before."""
    for outcome in report.outcomes:
        answer = outcome.value or outcome.partial
        if answer is not None:
            yield outcome.server.name, answer


def _readable(text: str) -> str:
    """The text with its control characters escaped, so that it cannot drive the terminal."""
    return "\n".join(escape(line.removesuffix("\r")) for line in text.split("\n"))


def traceback_text(error: BaseException) -> str:
    """The traceback of a bug, for -vv."""
    lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
    return "\n".join(map(escape, lines))


def _data_style(options: Options) -> Style:
    """Colour for stdout."""
    return Style(wants_colour(options.color.value, os.environ, sys.stdout.isatty()))


def error_style(options: Options) -> Style:
    """Colour for stderr."""
    return Style(wants_colour(options.color.value, os.environ, sys.stderr.isatty()))


_OUTPUTS: dict[OutputFormat, type[Output[Any]]] = {
    OutputFormat.TABLE: TableOutput,
    OutputFormat.WIDE: TableOutput,
    OutputFormat.JSON: JsonOutput,
    OutputFormat.NDJSON: NdjsonOutput,
    OutputFormat.RAW: RawOutput,
}


def wants_json(options: Options) -> bool:
    """Whether a command that asks no server, and has one table to show, is to show it as JSON.

    Raises:
        UsageError: it is to show it as something else.
    """
    if options.output not in (OutputFormat.TABLE, OutputFormat.WIDE, OutputFormat.JSON):
        raise UsageError(f"-o {options.output.value} is not for this command", hint="take table, wide or json")
    return options.output is OutputFormat.JSON


def output_for(operation: Operation[T], options: Options) -> Output[T]:
    """The output of a run in the format that was asked for."""
    return _OUTPUTS[options.output](operation, options)
