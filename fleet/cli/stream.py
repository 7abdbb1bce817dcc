"""One follow: choose the servers, keep a session with each, write every event as it comes."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from fleet.cli.options import Options, OutputFormat
from fleet.cli.output import OutputError, error_style, say, traceback_text, write
from fleet.cli.run import (
    Interrupts,
    Target,
    choose,
    load_inventory,
    refuse_exclusive,
    transport_options,
)
from fleet.engine import EXIT_FAILED, Attempt, FanOut, Outcome, Report, fan_out
from fleet.errors import InternalError, InterruptedRunError, RunTimeoutError, ServerError, UsageError
from fleet.inventory.model import Server
from fleet.inventory.secrets import check_secrets
from fleet.management.notifications import notification_size
from fleet.operations.feeds import Feed
from fleet.operations.follow import Follower, connecting
from fleet.operations.messages import Event, Message
from fleet.render import outcomes as words
from fleet.render.events import EventLines, event_json
from fleet.render.style import wants_colour
from fleet.render.text import escape
from fleet.transport import Transport

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
        live: False ends with what there is.
        changes: it changes the daemons for the time.
        types: each line says the message's type.
        release_interval: seconds after which a session is given to others for a moment; None: never.
    """

    name: str
    feed: Callable[[], Feed]
    live: bool = True
    changes: bool = False
    types: bool = False
    release_interval: float | None = None


def follow(following: Following, options: Options, target: Target) -> int:
    """Follows the servers that are meant until it is interrupted, or without `live` to the end of what there is.

    Returns:
        The exit status (docs/exit-status.md).

    Raises:
        RefusedError: nothing was sent to any server.
    """
    if options.output is OutputFormat.RAW:
        raise UsageError(f"{following.name} has no raw form where it is followed", hint="take -o table, or -o ndjson")
    if following.changes and options.readonly:
        raise UsageError("--verb changes something, and this run is read-only", hint="leave --verb out")
    servers = choose(load_inventory(options), options, target)
    if options.list_hosts:
        write("".join(f"{server.name}\n" for server in servers))
        return 0
    refuse_exclusive(servers, options)
    check_secrets(servers)
    stream = _Stream(following, servers, options, target)
    with _Interrupts() as interrupts:
        return asyncio.run(stream.run(interrupts))


class _Interrupts(Interrupts):
    """A terminal that is closed ends a follow as Ctrl-C does, since there may be something to put back."""

    _SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> Self:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup
        super().__enter__()
        if ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self


class _Stream:
    """A follow while it runs; what the followers hand over is written here."""

    def __init__(self, following: Following, servers: tuple[Server, ...], options: Options, target: Target) -> None:
        self._following = following
        self._servers = servers
        self._options = options
        self._target = target
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_LIMIT)
        self._queued_size = 0
        self._spare = asyncio.Event()  # the events that wait are not too long
        self._spare.set()
        self._followers: dict[str, Follower] = {}
        self._tried: set[str] = set()
        self._begun = False  # a session stood
        self._closed = False  # nobody reads stdout any more
        self._lost: OutputError | None = None
        self._left_changed = False
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
                await self._flush(fan, writer)
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
            interrupted=fan.interrupted and not self._closed,
            answer_status=EXIT_FAILED if self._left_changed else 0,
        )
        return self._finish(report)

    def _fan_out(self, transport: Transport) -> FanOut[None]:
        options, live = self._options, self._following.live
        connect = connecting(transport, options.reply_timeout)

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
            forks=max(options.forks, len(self._servers)) if live else options.forks,  # one that follows never ends
            host_timeout=None if live else options.host_timeout,
            run_timeout=options.timeout,
        )

    def _settled(self, outcome: Outcome[None]) -> Outcome[None]:
        """A follow that lasted until --timeout did what was asked, on every server that it had a session with."""
        follower = self._followers.get(outcome.server.name)
        if follower is None or not isinstance(outcome.error, RunTimeoutError):
            return outcome
        return replace(outcome, error=None if follower.attached else follower.error or outcome.error)

    def _finish(self, report: Report[None]) -> int:
        for outcome in report.outcomes:
            if self._options.verbose >= _TRACEBACKS and isinstance(outcome.error, InternalError):
                say(traceback_text(outcome.error.__cause__ or outcome.error))
        if self._following.live:
            bugs = [outcome for outcome in report.outcomes if isinstance(outcome.error, InternalError)]
            say(words.errors_text(bugs, style=self._style))
        if self._lost is not None:
            say(str(self._lost))
            return EXIT_FAILED
        if self._closed:
            return replace(report, outcomes=tuple(map(_unbroken, report.outcomes))).exit_status
        return report.exit_status

    # --- what is written to stdout

    async def put(self, event: Event) -> None:
        """As Sink says."""
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

    async def _flush(self, fan: FanOut[None], writer: asyncio.Task[None]) -> None:
        """Waits until everything is written; not for long where the operator or the time put an end to it."""
        done = asyncio.create_task(self._queue.join())
        patience = _FLUSH_TIMEOUT if self._following.live or fan.interrupted else None
        await asyncio.wait((done, writer), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        done.cancel()
        with suppress(asyncio.CancelledError):
            await done
        if writer.done():
            writer.result()  # a bug: it never ends by itself

    async def _watch_reader(self, fan: FanOut[None]) -> None:
        """Ends the follow when nobody reads there any more, though nothing has come that could be written."""
        with suppress(OSError, ValueError):  # stdout is nothing that the system knows
            watched = select.poll()
            watched.register(sys.stdout.fileno(), 0)
            while not any(happened & select.POLLERR for _, happened in watched.poll(0)):  # noqa: ASYNC110 - a pipe tells nobody
                await asyncio.sleep(_READER_INTERVAL)
            self._closed = True
            fan.interrupt()

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
            say(f"all {count} are followed at once: --forks {options.forks} is for commands that end")

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
        if final and error is not None:
            say(f"{line}: {escape(error.message)}")
            say("\n".join(f"  try: {escape(hint)}" for hint in (error.hint or "").split("\n") if hint))
        else:
            self._tell(f"{line}: {escape(error.message)}" if error is not None and self._options.verbose else line)
        self._tried.add(server)
        if len(self._tried) == len(self._servers) and not self._begun and not final:
            self._begun = True
            self._tell("no server can be followed yet; fleet keeps trying")

    def warned(self, server: str, text: str) -> None:
        """As Sink says."""
        say(f"{self._style.warn('warning')}: {escape(server)}: {escape(text)}")

    def left_changed(self, server: str, text: str) -> None:
        """As Sink says."""
        self._left_changed = True
        say(f"{self._style.bad('left changed')}: {escape(server)}: {escape(text)}")

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
        fan.interrupt()


def _line(lines: EventLines, event: Event) -> str:
    return lines.line(event, datetime.now(UTC))


def _unbroken(outcome: Outcome[None]) -> Outcome[None]:
    """A server whose work was broken off because nobody reads on has not failed."""
    return replace(outcome, error=None) if isinstance(outcome.error, InterruptedRunError) else outcome


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
