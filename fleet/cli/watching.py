"""`--watch`: a read-only command again and again, in place on a terminal and as NDJSON in a pipe.

The connections stay open and each server is asked on a channel of its own each time (`operations/rounds.py`), so that
others can have the management interface in between. What is shown is of the last complete round, and so is the exit
status: Ctrl-C is how a watch ends, and no failure.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from fleet.cli.asking import Asked, Interrupts, access_to, transport_options
from fleet.cli.choosing import Target
from fleet.cli.options import Options, OutputFormat
from fleet.cli.output import Output, OutputError, error_style, output_for, say, write
from fleet.cli.run import Ending
from fleet.cli.sshing import forks_for
from fleet.engine import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNREACHABLE, Outcome, Report
from fleet.errors import UsageError
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.operations.operation import Answer, Operation
from fleet.operations.rounds import Round, Rounds, Sample
from fleet.render.fold import fold_counted
from fleet.render.jsonout import ndjson_server, ndjson_summary
from fleet.render.outcomes import error_lines, errors_text, summary_line, warnings_text
from fleet.render.screen import ENTER, LEAVE, drawn
from fleet.render.style import Style, wants_colour
from fleet.render.text import escape
from fleet.render.units import rfc3339
from fleet.transport import Transport

T = TypeVar("T")

_LINES = (OutputFormat.TABLE, OutputFormat.WIDE, OutputFormat.JSON, OutputFormat.NDJSON)
"""The formats in place of which a pipe gets NDJSON; the others have no lines that belong to a round."""


def watch(
    operation: Operation[T],
    servers: Sequence[Server],
    options: Options,
    target: Target,
    *,
    ending: Ending[T],
    journal: Journal,
) -> int:
    """Performs the operation until somebody ends it, and shows each round.

    Returns:
        The exit status of the last complete round; 130 where there was none.
    """
    view = _view(operation, options)
    with Interrupts() as interrupts, view:
        report = asyncio.run(_Watch(operation, servers, options, target, ending=ending, view=view).run(interrupts))
    if report is not None:
        status = view.status(report.exit_status)
        for outcome in report.outcomes:
            journal.outcome(outcome, "")
    elif view.closed:
        status = view.status(EXIT_OK)
    else:
        status = EXIT_INTERRUPTED if interrupts.came else EXIT_UNREACHABLE
        say(f"{'interrupted' if interrupts.came else 'the time was over'} before the first round was complete")
    say(journal.end(status, interrupted=report is None and interrupts.came) or "")
    return status


def _view(operation: Operation[T], options: Options) -> _View[T]:
    if _is_page(options):
        dumb = os.environ.get("TERM") in (None, "", "dumb")
        return (_Pages if dumb else _Page)(operation, options)
    return _Lines(operation, options)


def check_watch(options: Options) -> None:
    """Looks at what cannot be shown again and again, before anybody is asked.

    Raises:
        UsageError: that is asked for.
    """
    if _is_page(options):
        if options.quiet:
            raise UsageError("--watch shows what --quiet hides", hint="give one of them")
    elif options.output not in _LINES:
        raise UsageError(
            f"--watch gives NDJSON where stdout is no terminal, and not {options.output.value}",
            hint="leave -o out, or take -o ndjson",
        )


def _is_page(options: Options) -> bool:
    return sys.stdout.isatty() and options.output is not OutputFormat.NDJSON


class _Watch(Generic[T]):
    """One watch, from its first round to its end."""

    def __init__(
        self,
        operation: Operation[T],
        servers: Sequence[Server],
        options: Options,
        target: Target,
        *,
        ending: Ending[T],
        view: _View[T],
    ) -> None:
        self._operation = operation
        self._servers = servers
        self._options = options
        self._target = target
        self._ending = ending
        self._view = view
        self._interrupts: Interrupts | None = None
        self._last: Report[Answer[T]] | None = None
        self._over = asyncio.Event()

    async def run(self, interrupts: Interrupts) -> Report[Answer[T]] | None:
        """Gives the report of the last complete round, if there was one.

        Raises:
            UsageError: a file that the options name cannot be read.
        """
        self._interrupts = interrupts
        interrupts.end_with(self._over.set)
        interrupts.leave_with(self._view.last_words)
        options = self._options
        async with Transport(self._servers, transport_options(options, keep=True)) as transport:
            rounds = Rounds(
                access_to(transport, options),
                self._servers,
                self._operation.perform,
                interval=options.watch or 1.0,
                forks=forks_for(options, self._servers),
                host_timeout=options.host_timeout,
                on_sample=self._on_sample,
            )
            self._view.begin(len(self._servers))
            async with rounds:
                with suppress(TimeoutError):
                    async with asyncio.timeout(options.timeout):
                        return await self._show(rounds)
        return self._last

    def _on_sample(self, sample: Sample[Answer[T]]) -> None:
        self._view.sample(sample.outcome)
        if self._view.closed:
            self._over.set()

    async def _show(self, rounds: Rounds[Answer[T]]) -> Report[Answer[T]] | None:
        over = asyncio.create_task(self._over.wait())
        coming = asyncio.create_task(rounds.next_round())
        try:
            while True:
                await asyncio.wait((over, coming), return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    self._round(coming.result())
                if self._over.is_set():
                    return self._last
                coming = asyncio.create_task(rounds.next_round())
        finally:
            for task in (over, coming):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def _round(self, complete: Round[Answer[T]]) -> None:
        assert self._interrupts is not None  # noqa: S101 - `run` was called
        asked = Asked(list(complete.outcomes), interrupted=False)
        if self._ending.settle is not None:
            asked = self._ending.settle(asked, self._options, self._interrupts)
        values = [outcome.value.value for outcome in asked.outcomes if outcome.value is not None]
        words = "" if self._ending.words is None else self._ending.words(values, len(self._servers))
        self._last = Report.of(
            self._servers,
            asked.outcomes,
            command=self._operation.name,
            args=self._target.args,
            started=complete.started,
            elapsed=complete.elapsed,
            answer_status=self._ending.answer_status(values),
        )
        self._view.show(_Shown(self._last, words, complete.late, complete.ended))


# How it is shown


@dataclass(frozen=True, slots=True)
class _Shown(Generic[T]):
    """What there is to show of a round.

    Attributes:
        report: of the round.
        words: what the command says beside its data.
        late: by server's name, what those are doing that the round did not wait for.
        ended: when it was over.
    """

    report: Report[Answer[T]]
    words: str
    late: Mapping[str, str]
    ended: datetime


class _View(ABC, Generic[T]):
    """Shows the rounds; entered while a watch lasts.

    Attributes:
        closed: nobody reads on, so that there is nothing more to do.
    """

    def __init__(self, operation: Operation[T], options: Options) -> None:
        self._operation = operation
        self._options = options
        self._lost: OutputError | None = None
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the terminal as it was."""

    def last_words(self) -> str:
        """What is done where the process ends at once, and what there is to say then."""
        return ""

    def begin(self, servers: int) -> None:
        """Told before so many servers are asked for the first time."""

    def sample(self, outcome: Outcome[Answer[T]]) -> None:
        """Told of each outcome as it is known."""

    @abstractmethod
    def show(self, shown: _Shown[T]) -> None:
        """Shows a complete round."""

    def status(self, exit_status: int) -> int:
        """The exit status of the watch, from that of its last round."""
        if self._lost is None:
            return exit_status
        say(str(self._lost))
        return exit_status or EXIT_FAILED

    def _write(self, text: str) -> None:
        if self.closed:
            return
        try:
            self.closed = not write(text)
        except OutputError as error:
            self.closed, self._lost = True, error

    def _output(self) -> Output[T]:
        return output_for(self._operation, self._options)


class _Lines(_View[T]):
    """NDJSON: a line for each answer as it comes, a summary for each round. Errors are told when they change."""

    def __init__(self, operation: Operation[T], options: Options) -> None:
        super().__init__(operation, replace(options, output=OutputFormat.NDJSON))
        self._result = self._output().result
        self._told = ""

    def sample(self, outcome: Outcome[Answer[T]]) -> None:
        if not (self._options.quiet and outcome.status == "ok"):
            self._write(f"{ndjson_server(outcome, self._result)}\n")

    def show(self, shown: _Shown[T]) -> None:
        report = shown.report
        self._write(f"{ndjson_summary(report)}\n")
        if self._options.quiet:
            told = "\n".join(error_lines(report.outcomes))
        else:
            style = error_style(self._options)
            warnings = warnings_text(report.outcomes, style=style)
            told = _joined([shown.words, warnings, errors_text(report.outcomes, style=style)])
        if told != self._told:
            say(told or "all is well again")
            self._told = told


class _Pages(_View[T]):
    """The same as the command shows without --watch, round behind round, for a terminal that has no place to go to."""

    def show(self, shown: _Shown[T]) -> None:
        self._write("\n".join(self._page(shown)) + "\n\n")

    def _page(self, shown: _Shown[T]) -> list[str]:
        report = shown.report
        style = Style(wants_colour(self._options.color.value, os.environ, isatty=True))
        output = self._output()
        output.words(shown.words)
        data = output.data(report)
        parts = [
            data.rstrip("\n"),
            *output.said,
            warnings_text(report.outcomes, style=style),
            errors_text(report.outcomes, style=style),
            _late_text(report, shown.late),
            summary_line(report),
        ]
        return [self._heading(shown.ended), "", *_joined(parts).split("\n")]

    def _heading(self, now: datetime) -> str:
        every = f"every {self._options.watch:g} s"
        return f"{rfc3339(now.replace(microsecond=0))}  {every}  {escape(self._options.command_line)}"


class _Page(_Pages[T]):
    """One page that is drawn over the one before, on a screen of its own; the last one stays to be read."""

    def __init__(self, operation: Operation[T], options: Options) -> None:
        super().__init__(operation, options)
        self._lines: list[str] = []
        self._complete = False
        self._on_resize: Any = None

    def __enter__(self) -> Self:
        self._write(ENTER)
        self._on_resize = signal.signal(signal.SIGWINCH, self._resized)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGWINCH, self._on_resize)
        self._write(LEAVE)
        if self._complete:
            self._write("\n".join(self._lines) + "\n")

    def last_words(self) -> str:
        os.write(sys.stdout.fileno(), LEAVE.encode())
        return ""

    def begin(self, servers: int) -> None:
        what = f"asking {servers} {'server' if servers == 1 else 'servers'}"
        self._lines = [self._heading(datetime.now(UTC)), "", what]
        self._draw()

    def show(self, shown: _Shown[T]) -> None:
        self._lines = self._page(shown)
        self._complete = True
        self._draw()

    def _resized(self, _number: int, _frame: object) -> None:
        with suppress(RuntimeError):  # no loop runs yet, or any more
            asyncio.get_running_loop().call_soon_threadsafe(self._draw)

    def _draw(self) -> None:
        self._write(drawn(self._lines, shutil.get_terminal_size().lines))


def _late_text(report: Report[Any], late: Mapping[str, str]) -> str:
    """Whose answer is of an earlier round, and what they are doing; of those that failed their error says it."""
    phases: dict[str, list[str]] = {}
    for outcome in report.outcomes:
        if outcome.status == "ok" and (phase := late.get(outcome.server.name)) is not None:
            phases.setdefault(phase, []).append(outcome.server.name)
    return "\n".join(
        f"late: {escape(fold_counted(names))}: what is shown is of an earlier round; it is {phase}"
        for phase, names in phases.items()
    )


def _joined(parts: Sequence[str]) -> str:
    return "\n".join(part for part in parts if part)
