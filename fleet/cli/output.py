"""Where a run's outcomes go: data to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TextIO, TypeVar

from fleet.cli.options import Options, OutputFormat
from fleet.engine import EXIT_FAILED, Outcome, Report
from fleet.errors import InternalError, UsageError
from fleet.inventory.model import Server
from fleet.operations.columns import Column
from fleet.operations.operation import Answer, Operation, Row
from fleet.render import outcomes as words
from fleet.render.style import Style, wants_colour
from fleet.render.text import escape

T = TypeVar("T")

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
        self._remark = ""
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

    @property
    def spent(self) -> bool:
        """Whether nothing more is wanted of the values that `outcome` was given: they are written."""
        return False

    def expect(self, servers: Sequence[Server]) -> None:
        """Is told who is asked, in inventory order, before the first outcome; need not be told."""

    def words(self, text: str) -> None:
        """Takes a sentence that goes to stderr behind the data."""
        self._words = text

    def remark(self, text: str) -> None:
        """Takes a line that goes to stderr right behind the data: how they are shown."""
        self._remark = text

    @property
    def said(self) -> tuple[str, str]:
        """Remark and words, as far as there are any, for who shows them in another place."""
        return self._remark, self._words

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
        say(self._remark)
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


def traceback_text(error: BaseException) -> str:
    """The traceback of a bug, for -vv."""
    lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
    return "\n".join(map(escape, lines))


def error_style(options: Options) -> Style:
    """Colour for stderr."""
    return Style(wants_colour(options.color.value, os.environ, sys.stderr.isatty()))


def output_for(operation: Operation[T], options: Options) -> Output[T]:
    """The output of a run in the format that was asked for.

    Raises:
        UsageError: the options ask for columns or shapes that the operation does not have.
    """
    # The shapes are subclasses of what stands here, and a run that is refused needs none of them.
    from fleet.cli import shapes  # noqa: PLC0415 - see above

    shapes.check_columns(shapes.columns_of(operation), options)
    return shapes.OUTPUTS[options.output](operation, options)


def check_shape(operation: object, options: Options) -> None:
    """Refuses columns and shapes that an operation does not have, before anybody is asked.

    Args:
        operation: an Operation, or anything else that is done to servers: then nothing of it is a table.
        options: of the command line.

    Raises:
        UsageError: the options ask for them.
    """
    from fleet.cli import shapes  # noqa: PLC0415 - as above

    if isinstance(operation, Operation):
        shapes.check_operation(operation, options)
    elif options.output not in _STREAMED:
        raise UsageError(
            f"events have no {options.output.value} form", hint=f"take {', '.join(one.value for one in _STREAMED)}"
        )


_STREAMED = (OutputFormat.TABLE, OutputFormat.WIDE, OutputFormat.JSON, OutputFormat.NDJSON)
"""The formats of commands that follow."""


def show_table(
    columns: Sequence[Column],
    rows: Callable[[], Iterable[Row]],
    options: Options,
    document: Callable[[], Mapping[str, Any]],
    *,
    items: str | None = None,
    total: Row | None = None,
    nothing: str = "",
) -> None:
    """Shows what a command that asks no server has found, in the shape that is asked for.

    Args:
        columns: what the cells of a row mean.
        rows: makes the rows; called once the options were looked at, and only for shapes that want it, as is
            `document`.
        options: of the command line.
        document: makes the JSON document; anything that `to_jsonable` takes.
        items: the key of the document's list that has an object for each row: with `-o ndjson` each is a line. None
            where it has none: then the document is the one line.
        total: the last row of a table, or None.
        nothing: what to tell people where there is no row.

    Raises:
        UsageError: the options ask for something that there is not.
    """
    from fleet.cli.listing import Listing  # noqa: PLC0415 - it has the shapes as above

    Listing(columns, options, items=items).show(rows, document, total=total, nothing=nothing)


def check_table(columns: Sequence[Column], options: Options) -> None:
    """Refuses at once what `show_table` would refuse later.

    Raises:
        UsageError: the options ask for something that there is not.
    """
    from fleet.cli.listing import Listing  # noqa: PLC0415 - as above

    Listing(columns, options)


def refusal_document(report: Report[Any], output: OutputFormat) -> str:
    """What stdout has of a run that ended before it came to any server; empty where the format is for people.

    Args:
        report: of which nothing is there but its error.
        output: the format that was asked for.
    """
    if output not in DOCUMENTS:
        return ""
    from fleet.render import jsonout  # noqa: PLC0415 - most runs are not refused

    if output is OutputFormat.NDJSON:
        return jsonout.ndjson_summary(report) + "\n"
    whole = jsonout.document(report, lambda value: value)
    if output is OutputFormat.JSON:
        return jsonout.dumps(whole, indent=2) + "\n"
    from fleet.render.yamlout import yaml_text  # noqa: PLC0415 - as above

    return yaml_text(whole)


DOCUMENTS = (OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.YAML)
"""The formats in which an error is shown on stdout too."""
