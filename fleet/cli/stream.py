"""One follow: choose the servers, keep a session with each, write every event as it comes."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fleet.cli.asking import Interrupts, access_to, transport_options
from fleet.cli.choosing import Target, admit
from fleet.cli.consent import agree
from fleet.cli.options import Options, OutputFormat
from fleet.cli.output import OutputError, error_style, say, traceback_text, write
from fleet.cli.run import end_refused, open_journal, perform
from fleet.engine import EXIT_FAILED, Attempt, FanOut, Outcome, Report, fan_out
from fleet.errors import (
    CommandFailedError,
    InternalError,
    InterruptedRunError,
    LockedError,
    RefusedError,
    RunTimeoutError,
    ServerError,
    UsageError,
)
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.management.notifications import notification_size
from fleet.operations.conversation import converse
from fleet.operations.feeds import Feed
from fleet.operations.follow import Follower
from fleet.operations.merge import merge_by_time
from fleet.operations.messages import Event, Message
from fleet.operations.operation import Operation
from fleet.operations.preview import preview_of
from fleet.render import outcomes as words
from fleet.render.events import EventLines, event_json
from fleet.render.style import wants_colour
from fleet.render.text import escape
from fleet.transport import Transport
from fleet.transport.descriptors import fitting

QUEUE_LIMIT = 1000
"""Security limit: events that wait to be written. A server whose event finds no room waits (Follower says how long)."""

QUEUE_SIZE_LIMIT = 4 * 2**20
"""Security limit: characters of those events, above which none is taken."""

_PIPE_BYTES = 4096  # of a pipe that takes anything at all; so much is written at a time, and never waits
_READER_INTERVAL = 1.0  # seconds between two looks whether anybody reads there still
_FLUSH_TIMEOUT = 1.0  # seconds at the end for what was not written yet, where nobody reads
_TRACEBACKS = 2


@dataclass(frozen=True, slots=True)
class Following:
    """What is followed.

    Attributes:
        name: the subcommand's name.
        feed: makes the feed of one server.
        live: False ends with what there is, merged by time.
        change: what is changed on the daemons for the time, or None.
        types: each line says the message's type.
        release_interval: seconds after which a session is given to others for a moment; None: never.
    """

    name: str
    feed: Callable[[], Feed]
    live: bool = True
    change: Operation[Any] | None = None
    types: bool = False
    release_interval: float | None = None

    @property
    def changes(self) -> bool:
        """Whether the daemons are changed for the time."""
        return self.change is not None


def follow(following: Following, options: Options, target: Target) -> int:
    """Follows the servers that are meant until it is interrupted, or without `live` to the end of what there is.

    Returns:
        The exit status (docs/exit-status.md).

    Raises:
        RefusedError: nothing was sent to any server.
    """
    if options.output is OutputFormat.RAW:
        raise UsageError(f"{following.name} has no raw form where it is followed", hint="take -o table, or -o ndjson")
    servers = admit(following, options, target)
    if servers is None:
        return 0
    if following.change is not None:
        _refuse_batches(options)
        if options.dry_run:
            return perform(preview_of(following.change), servers, options, target)
        agree(following.change, servers, options)
    journal = open_journal(following, servers, options, target)
    stream = _Stream(following, servers, options, target, journal)
    try:
        with Interrupts() as interrupts:
            interrupts.leave_with(stream.left_text)
            return asyncio.run(stream.run(interrupts))
    except RefusedError as error:
        end_refused(journal, error)
        raise


def _refuse_batches(options: Options) -> None:
    if options.in_batches:
        raise UsageError("servers are followed all at once, not in batches", hint="leave --serial and its like out")


class _Stream:
    """A follow while it runs; what the followers hand over is written here."""

    def __init__(
        self, following: Following, servers: tuple[Server, ...], options: Options, target: Target, journal: Journal
    ) -> None:
        self._following = following
        self._servers = servers
        self._options = options
        self._target = target
        self._journal = journal
        self._past: dict[str, list[Event]] = {}  # without `live`; the protocol bounds what a reply may have
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_LIMIT)
        self._queued_size = 0
        self._spare = asyncio.Event()  # the events that wait are not too long
        self._spare.set()
        self._over = asyncio.Event()  # the operator wants an end
        self._followers: dict[str, Follower] = {}
        self._tried: set[str] = set()
        self._begun = False  # a session stood
        self._closed = False  # nobody reads stdout any more
        self._lost: OutputError | None = None
        self._final: set[str] = set()  # servers that are not tried again, which was told
        self._left: dict[str, str] = {}  # what could not be put back on which server
        self._style = error_style(options)
        json = options.output in (OutputFormat.JSON, OutputFormat.NDJSON)
        self._line = event_json if json else partial(_line, self._event_lines())

    def _event_lines(self) -> EventLines:
        return EventLines(
            (server.name for server in self._servers),
            colour=wants_colour(self._options.color.value, os.environ, sys.stdout.isatty()),
            wide=self._options.output is OutputFormat.WIDE,
            types=self._following.types,
        )

    async def run(self, interrupts: Interrupts) -> int:
        started = datetime.now(UTC)
        clock = asyncio.get_running_loop().time
        begun = clock()
        self._say_what_it_takes()
        outcomes: list[Outcome[None]] = []
        async with Transport(self._servers, transport_options(self._options)) as transport:
            fan = self._fan_out(transport)
            writer = asyncio.create_task(self._write(fan))
            watcher = asyncio.create_task(self._watch_reader(fan))
            try:
                async with fan:
                    interrupts.end_with(partial(self._interrupt, fan))
                    async for outcome in fan:
                        outcomes.append(outcome)
                        if not self._following.live:
                            self._tell_failure(outcome)
                await self._flush(writer)
            finally:
                for task in (writer, watcher):
                    task.cancel()
                await asyncio.gather(writer, watcher, return_exceptions=True)
        report = Report.of(
            self._servers,
            map(self._settled, outcomes),
            command=self._following.name,
            args=self._target.args,
            started=started,
            elapsed=clock() - begun,
            interrupted=self._over.is_set() and not self._closed,
            answer_status=EXIT_FAILED if self._left else 0,
        )
        status = self._finish(report)
        self._write_down(report, status)
        return status

    def _fan_out(self, transport: Transport) -> FanOut[None]:
        options, live = self._options, self._following.live
        access = access_to(transport, options, changes=self._following.changes, journal=self._journal)
        connect = partial(converse, access)

        async def work(attempt: Attempt) -> None:
            follower = self._followers[attempt.server.name] = Follower(
                attempt,
                self._following.feed(),
                self,
                connect=connect,
                live=live,
                release_interval=self._following.release_interval,
                force=options.force,
            )
            await follower.follow()

        return fan_out(
            self._servers,
            work,
            forks=fitting(self._at_a_time, len(self._servers))[0],
            host_timeout=None if live else options.host_timeout,
            run_timeout=options.timeout,
        )

    def _settled(self, outcome: Outcome[None]) -> Outcome[None]:
        """A follow that lasted until it was ended did what was asked, on every server that it had a session with."""
        follower = self._followers.get(outcome.server.name)
        if not isinstance(outcome.error, RunTimeoutError | InterruptedRunError):
            return outcome
        if self._closed:
            return replace(outcome, error=None)  # nobody reads on: who was broken off by that has not failed
        if follower is None or not self._following.live:
            return outcome
        return replace(outcome, error=None if follower.attached else follower.error or outcome.error)

    def _finish(self, report: Report[None]) -> int:
        """Says what was not said yet, and gives the exit status."""
        for outcome in report.outcomes:
            if self._options.verbose >= _TRACEBACKS and isinstance(outcome.error, InternalError):
                say(traceback_text(outcome.error.__cause__ or outcome.error))
        if self._following.live:
            untold = [outcome for outcome in report.outcomes if outcome.server.name not in self._final]
            say("\n".join(words.error_lines(untold)))
        if self._lost is None:
            return report.exit_status
        say(str(self._lost))
        return EXIT_FAILED

    def _write_down(self, report: Report[None], status: int) -> None:
        """Into the journal, now that all is over: what is put back is a change too."""
        for outcome in report.outcomes:
            self._journal.outcome(self._recorded(outcome), "")
        say(self._journal.end(status, interrupted=report.interrupted) or "")

    def _recorded(self, outcome: Outcome[None]) -> Outcome[None]:
        """The outcome with what was done after it: it stood when the work was broken off."""
        follower = self._followers.get(outcome.server.name)
        if follower is None:
            return outcome
        left = self._left.get(outcome.server.name)
        error = outcome.error if left is None else CommandFailedError(left)
        confirmed = () if error is None else tuple(follower.attempt.confirmed)
        return replace(outcome, error=error, sent=follower.attempt.sent, confirmed=confirmed)

    # --- what is written to stdout

    async def put(self, event: Event) -> None:
        """As Sink says; without `live` everything is kept, to be merged when all of it is there."""
        if not self._following.live:
            self._past.setdefault(event.server, []).append(event)
            return
        await self._put(event)

    async def _put(self, event: Event) -> None:
        await self._spare.wait()
        await self._queue.put(event)
        self._weigh(event, 1)

    def _weigh(self, event: Event, sign: int) -> None:
        """Counts an event in, or out with -1."""
        if isinstance(event, Message):
            self._queued_size += sign * notification_size(event.notification)
        if self._queued_size > QUEUE_SIZE_LIMIT:
            self._spare.clear()
        else:
            self._spare.set()

    async def room(self) -> None:
        """As Sink says."""
        await self._queue.join()

    async def _write(self, fan: FanOut[None]) -> None:
        """Writes events as they come, several at a time where they come faster than they are taken."""
        while True:
            events = [await self._queue.get()]
            lines = [self._line(events[0])]
            while sum(map(len, lines)) < _PIPE_BYTES // 2 and not self._queue.empty():
                events.append(self._queue.get_nowait())
                lines.append(self._line(events[-1]))
            await _until_writable()
            self._write_text("".join(f"{line}\n" for line in lines), fan)
            for event in events:
                self._weigh(event, -1)
                self._queue.task_done()

    def _write_text(self, text: str, fan: FanOut[None]) -> None:
        if self._closed:
            return
        try:
            self._closed = not write(text)
        except OutputError as error:
            self._closed, self._lost = True, error
        if self._closed:
            fan.interrupt()

    async def _flush(self, writer: asyncio.Task[None]) -> None:
        """Waits until everything is written; not for long where somebody or the time has put an end to it."""
        drained = asyncio.create_task(self._drain())
        over = asyncio.create_task(self._over.wait())
        if not self._following.live:
            await asyncio.wait((drained, writer, over), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((drained, writer), timeout=_FLUSH_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        for task in (drained, over):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if writer.done():
            writer.result()  # a bug: it never ends by itself

    async def _drain(self) -> None:
        """Hands over what was kept, and waits until all is written."""
        for event in merge_by_time(self._past.get(server.name, ()) for server in self._servers):
            await self._put(event)
        await self._queue.join()

    async def _watch_reader(self, fan: FanOut[None]) -> None:
        """Ends the follow when nobody reads there any more, though nothing has come that could be written."""
        with suppress(OSError, ValueError):  # stdout is nothing that the system knows
            watched = select.poll()
            watched.register(sys.stdout.fileno(), 0)
            while not any(happened & select.POLLERR for _, happened in watched.poll(0)):  # noqa: ASYNC110 - a pipe tells nobody
                await asyncio.sleep(_READER_INTERVAL)
            self._closed = True
            fan.interrupt()

    @property
    def _at_a_time(self) -> int:
        """Servers; one that is followed never ends."""
        return max(self._options.forks, len(self._servers)) if self._following.live else self._options.forks

    # --- what is said on stderr

    def _say_what_it_takes(self) -> None:
        following, options = self._following, self._options
        if options.quiet or not following.live or not self._servers:
            return
        count = len(self._servers)
        whose = "1 server is" if count == 1 else f"each of {count} servers is"
        if following.release_interval is None:
            until = "until this ends"
            more = "; --release-every 30s lets others in between" if following.name == "log" else ""
        else:
            until, more = f"and given to others every {following.release_interval:g} s", ""
        say(f"the one management session of {whose} held {until}{more}")
        if count > options.forks:
            _, few = fitting(self._at_a_time, count)
            say(few or f"all {count} are followed at once: --forks {options.forks} is for commands that end")

    def attached(self, server: str) -> None:
        """As Sink says."""
        self._begun = True
        self._tried.add(server)
        self._tell(self._style.good(f"+ {escape(server)}"))

    def detached(self, server: str, error: ServerError | None, *, final: bool) -> None:
        """As Sink says."""
        if not self._following.live:
            return  # told as every other command tells it
        code = "the output does not keep up" if error is None else error.code
        line = self._style.bad(f"- {escape(server)} ({code})")
        if error is not None and (final or self._options.verbose or isinstance(error, LockedError)):
            line = f"{line}: {escape(error.message)}"
        if final and error is not None:
            self._tell_final(server, error, line)
        else:
            self._tell(line)
        self._tried.add(server)
        if len(self._tried) == len(self._servers) and not self._begun and not final:
            self._begun = True
            self._tell("no server can be followed yet; fleet keeps trying")

    def _tell_final(self, server: str, error: ServerError, line: str) -> None:
        self._final.add(server)
        if self._options.quiet:
            (who,) = (one for one in self._servers if one.name == server)
            say("\n".join(words.error_lines([Outcome(who, 0.0, None, error)])))
            return
        say(line)
        say("\n".join(f"  try: {escape(hint)}" for hint in (error.hint or "").split("\n") if hint))

    def warned(self, server: str, text: str) -> None:
        """As Sink says."""
        say(f"{self._style.warn('warning')}: {escape(server)}: {escape(text)}")

    def left_changed(self, server: str, text: str) -> None:
        """As Sink says."""
        self._left[server] = text
        say(self._left_line(server, text))

    def left_text(self) -> str:
        """What is not put back yet, a line for each server: for the last words of a process that is ended at once."""
        owed = [(name, follower.owed) for name, follower in self._followers.items()]
        return "\n".join(self._left_line(name, text) for name, text in owed if text is not None)

    def _left_line(self, server: str, text: str) -> str:
        return f"{self._style.bad('left changed')}: {escape(server)}: {escape(text)}"

    def _tell(self, line: str) -> None:
        if not self._options.quiet:
            say(line)

    def _tell_failure(self, outcome: Outcome[Any]) -> None:
        if self._options.quiet:
            say("\n".join(words.error_lines([outcome])))
        else:
            say(words.errors_text([outcome], style=self._style))

    def _interrupt(self, fan: FanOut[None]) -> None:
        if self._following.changes:
            say("interrupted: putting log levels back; again to leave at once, and the levels as they are")
        else:
            say("interrupted: closing what is open; again to leave at once")
        self._over.set()
        fan.interrupt()


def _line(lines: EventLines, event: Event) -> str:
    return lines.line(event, datetime.now(UTC))


async def _until_writable() -> None:
    """Waits until stdout takes something, without keeping the loop from everything else meanwhile."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        number = sys.stdout.fileno()
        loop.add_writer(number, ready.set)
    except (OSError, ValueError):
        return  # a file, which always does, or nothing that the system knows
    try:
        await ready.wait()
    finally:
        loop.remove_writer(number)
