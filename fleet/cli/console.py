"""`fleet console`: an interactive session with one daemon, or with several at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.asking import access_to, transport_options
from fleet.cli.choosing import Target
from fleet.cli.choosing import admit as admit_servers
from fleet.cli.options import Options, OutputFormat, duration, with_options
from fleet.cli.output import error_style, say, write
from fleet.cli.run import end_refused, open_journal
from fleet.cli.sshing import forks_for
from fleet.engine import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_UNREACHABLE,
    Outcome,
)
from fleet.errors import InterruptedRunError, LockedError, RefusedError, ServerError, UsageError
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.management.commands import BODY_END, COMMANDS, Command, split_line
from fleet.management.notifications import Notification
from fleet.operations.console import (
    LEAVE,
    Hello,
    Limits,
    Room,
    admit,
    may_be_remembered,
    read_line,
    wants_lines,
    wants_secret,
)
from fleet.operations.conversation import Access
from fleet.operations.execute import reply_lines
from fleet.operations.messages import Message, source_of, time_of
from fleet.render import units
from fleet.render.events import EventLines
from fleet.render.fold import fold_counted
from fleet.render.gather import gather_lines
from fleet.render.outcomes import changes_told, errors_text, refusal_text, warnings_text
from fleet.render.style import wants_colour
from fleet.render.text import escape
from fleet.transport import Transport

if TYPE_CHECKING:
    from fleet.cli.prompt import Prompt

_NO_REPLY = "(no reply)"
_BEHIND = "lines up to END> "
"""The prompt for what goes with a command that takes lines."""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("console")(with_options(_console))


def _console(
    *,
    patterns: Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to talk to.")] = None,
    idle: Annotated[
        Any,
        typer.Option(
            "--idle",
            metavar="DURATION",
            callback=duration,
            help="Give the management interface back after so long without a line; the next line connects again.",
        ),
    ] = None,
    options: Options,
) -> int:
    """Talk to daemons: a prompt for management commands.

    Each line goes to every server that PATTERN names, and equal answers are shown once. Real-time messages are shown
    as they come, once they are switched on: state on, log on. Tab completes the commands that the daemon's help
    lists. A command that takes lines (client-auth) asks for them, up to END. exit and Ctrl-D leave, and the daemon
    runs on; Ctrl-C drops the line, or the wait for an answer.

    While the console is connected it holds the management interface, and OpenVPN has one for one client: nobody
    else is answered.
    """
    if not patterns and not options.limit and not options.every:
        raise UsageError("console wants a server", hint="fleet console SERVER, or a pattern for several")
    if options.output is not OutputFormat.TABLE:
        raise UsageError(
            f"console is for people, and has no {options.output.value} output", hint="fleet exec 'COMMAND ARGS' has"
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "console wants a terminal", hint="in a script: fleet exec 'COMMAND ARGS' ['COMMAND ARGS' ...] -l PATTERN"
        )
    talk, target = _Talk(changes=not options.readonly), Target(args=tuple(patterns or ()))
    servers = admit_servers(talk, options, target)
    if servers is None:
        return EXIT_OK
    journal = open_journal(talk, servers, options, target)
    try:
        status = asyncio.run(_converse(talk, servers, options, idle, journal))
    except RefusedError as error:
        end_refused(journal, error)
        raise
    say(journal.end(status, interrupted=status == EXIT_INTERRUPTED) or "")
    return status


@dataclass(frozen=True, slots=True)
class _Talk:
    """What a console is to the record of runs: nobody knows before what is typed."""

    changes: bool
    name: str = "console"


async def _converse(
    talk: _Talk, servers: Sequence[Server], options: Options, idle: float | None, journal: Journal
) -> int:
    async with Transport(servers, transport_options(options)) as transport:
        access = access_to(transport, options, changes=talk.changes, journal=journal)
        return await Console(access, servers, options, idle, journal).run()


class Console:
    """One console, from connecting to leaving.

    Args:
        access: the way to the servers.
        servers: in inventory order.
        options: of the command line.
        idle: seconds without a line after which the management interface is given back, or None.
        journal: is told who was connected, and what came of each change.
    """

    def __init__(
        self, access: Access, servers: Sequence[Server], options: Options, idle: float | None, journal: Journal
    ) -> None:
        from fleet.cli.prompt import Prompt, history_file  # noqa: PLC0415 - prompt_toolkit takes 0.1 s to import

        limits = Limits(forks_for(options, servers), options.host_timeout)
        self._room = Room(
            access, servers, limits, heard=self._heard, lost=self._lost, dropped=self._dropped, force=options.force
        )
        self._options = options
        self._idle = idle
        self._journal = journal
        self._alone = len(servers) == 1
        colour = wants_colour(options.color.value, os.environ, sys.stdout.isatty())
        self._events = EventLines([server.name for server in servers], colour=colour, types=True)
        self._timer: asyncio.TimerHandle | None = None
        self._giving_back: asyncio.Task[None] | None = None
        self._over = False
        file = history_file(os.environ, Path.home())
        self._prompt: Prompt = Prompt(self._before_line, self._words, may_be_remembered, file)

    async def run(self) -> int:
        """Talks until the user leaves, and gives the exit status."""
        with self._signals():
            try:
                opened = await self._room.connect()
                self._tell_opened(opened)
                if not self._room.names:
                    return _status(opened)
                self._welcome()
                await self._talk()
            finally:
                self._stop_timer()
                if self._giving_back is not None:
                    await asyncio.wait([self._giving_back])
                await self._room.close()
        return EXIT_INTERRUPTED if self._over else EXIT_OK

    async def _talk(self) -> None:
        while not self._over and self._room.names:
            try:
                text = await self._read()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            try:
                if not await self._line(text):
                    return
            except UsageError as error:
                say(refusal_text(error, style=error_style(self._options)))

    async def _read(self, question: str | None = None) -> str:
        """A line, while the clock runs that gives the management interface back. Raises as the prompt."""
        self._start_timer()
        try:
            return await self._prompt.line(question)
        finally:
            self._stop_timer()

    async def _line(self, text: str) -> bool:
        """Does what a line says; False where it leaves."""
        words = split_line(text)
        if words and words[0] in LEAVE:
            return False
        if (command := await self._command(text)) is not None:
            await self._ask(command)
        return True

    async def _command(self, text: str) -> Command[Any] | None:
        servers, readonly = len(self._room.names), self._options.readonly
        words = wants_secret(text)
        try:
            if wants_lines(text, servers, readonly=readonly):
                text = await self._with_lines(text)
            if words is None:
                return read_line(text, servers, readonly=readonly)
            secret = await self._prompt.secret(f"{escape(words[0])} for {escape(' '.join(words[1:]))}: ")
        except (EOFError, KeyboardInterrupt):
            return None
        return admit(COMMANDS[words[0]].command([*words[1:], secret]), servers, readonly=readonly)

    async def _with_lines(self, text: str) -> str:
        """The command with the lines behind it, up to the one that is END. Raises as the prompt."""
        lines = [text]
        while lines[-1].strip() != BODY_END:
            lines.append(await self._read(_BEHIND))
        return "\n".join([*lines[:-1], BODY_END])

    async def _ask(self, command: Command[Any]) -> None:
        opened, outcomes = await self._room.ask(command)
        self._tell_opened(opened)
        if command.changes:
            for outcome in outcomes:
                self._journal.outcome(outcome, "" if outcome.value is None else outcome.value.text())
        answers = [
            (outcome.server.name, reply_lines(outcome.value) or (_NO_REPLY,))
            for outcome in outcomes
            if outcome.value is not None
        ]
        lines = [escape(line) for _name, own in answers for line in own] if self._alone else gather_lines(answers)
        if lines:
            write("\n".join(lines) + "\n")
        self._tell(outcomes)

    # What is said beside the answers

    def _welcome(self) -> None:
        releases = [(name, [f"OpenVPN {hello.openvpn}"]) for name, hello in self._room.hellos.items()]
        say("\n".join(gather_lines(releases)))
        whose = "its management interface" if self._alone else "their management interfaces"
        back = f"; after {units.duration(self._idle)} without a line it is given back" if self._idle else ""
        say(
            f"connected. This console holds {whose}: nobody else is answered until you leave{back}.\n"
            "exit or Ctrl-D leaves, and nothing is stopped by that."
        )

    def _tell_opened(self, opened: Sequence[Outcome[Hello]]) -> None:
        self._tell(opened)
        for outcome in opened:
            self._journal.outcome(outcome, "")
        left = [outcome.server.name for outcome in opened if outcome.error is not None]
        if left and self._room.names:
            say(f"left out: {escape(fold_counted(left))}")

    def _tell(self, outcomes: Sequence[Outcome[Any]]) -> None:
        style = error_style(self._options)
        say(warnings_text(outcomes, style=style))
        say(errors_text(outcomes, style=style))
        for outcome in outcomes:
            if isinstance(outcome.error, InterruptedRunError):
                changes = changes_told(outcome)
                say(f"{escape(outcome.server.name)}: not waited for{changes}; the next line connects again")

    def _heard(self, server: Server, notification: Notification) -> None:
        now = datetime.now(UTC)
        message = Message(server.name, time_of(notification, now), source_of(notification), notification)
        write(self._events.line(message, now) + "\n")

    def _lost(self, server: Server, error: Exception) -> None:
        message = error.message if isinstance(error, ServerError) else f"a bug in fleet: {error!r}"
        say(f"- {escape(server.name)}: {escape(message)}; the next line connects again")

    def _dropped(self, server: Server, count: int) -> None:
        say(f"{escape(server.name)}: {count} real-time messages came too fast and are not shown")

    # The prompt

    def _before_line(self) -> str:
        names = escape(fold_counted(self._room.names))
        return f"{names}> " if self._room.connected else f"{names} (not connected)> "

    def _words(self) -> frozenset[str]:
        return self._room.commands | LEAVE

    # Giving back

    def _start_timer(self) -> None:
        if self._idle is not None and self._room.connected:
            self._timer = asyncio.get_running_loop().call_later(self._idle, self._give_back)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_back(self) -> None:
        self._giving_back = asyncio.create_task(self._room.give_back())
        self._giving_back.add_done_callback(self._gave_back)

    def _gave_back(self, _task: asyncio.Task[None]) -> None:
        idle = units.duration(self._idle or 0)
        say(f"the management interface was given back after {idle}; the next line connects again")

    # Signals: those of the terminal come as keys while a line is edited

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._leave)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        if not self._prompt.end(KeyboardInterrupt()):
            self._room.interrupt()

    def _leave(self) -> None:
        self._over = True
        if not self._prompt.end(EOFError()):
            self._room.interrupt()


def _status(opened: Sequence[Outcome[Any]]) -> int:
    """The exit status where no server could be connected."""
    if any(isinstance(outcome.error, InterruptedRunError) for outcome in opened):
        return EXIT_INTERRUPTED
    if any(isinstance(outcome.error, LockedError) for outcome in opened):
        return EXIT_LOCKED
    return EXIT_UNREACHABLE if any(outcome.status == "unreachable" for outcome in opened) else EXIT_FAILED
