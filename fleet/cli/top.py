"""`fleet top`: the fleet live on one screen."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.asking import access_to, transport_options
from fleet.cli.choosing import Target, admit
from fleet.cli.options import Options, OutputFormat, duration, with_options
from fleet.cli.run import open_journal
from fleet.cli.sshing import forks_for
from fleet.cli.watch import refuse_watch
from fleet.engine import Outcome, fan_out
from fleet.errors import FleetError, UsageError
from fleet.inventory.model import Server
from fleet.management.status import Client
from fleet.operations import who
from fleet.operations.conversation import Access, work_on
from fleet.operations.kill import Killed, kill
from fleet.operations.operation import Answer, Operation
from fleet.operations.rounds import Rounds, Sample
from fleet.operations.who import Who
from fleet.render.outcomes import error_lines
from fleet.render.style import wants_colour
from fleet.render.table import render_table
from fleet.render.text import escape
from fleet.top.killing import Question
from fleet.transport import Transport

if TYPE_CHECKING:
    from fleet.top.board import Board
    from fleet.top.glance import Glance

INTERVAL = 2.0
"""Seconds between two looks at each server where nobody says how many."""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("top")(with_options(_top))


Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to watch; all without any.")]


@dataclass(frozen=True, slots=True)
class _Top:
    """The command, as far as choosing servers wants to know it."""

    name: str = "top"
    changes: bool = False


def _top(
    *,
    patterns: Patterns = None,
    interval: Annotated[
        Any, typer.Option("-d", "--interval", metavar="DURATION", help="Look so often [2s].", callback=duration)
    ] = None,
    options: Options,
) -> int:
    """Watch the fleet live on one screen: servers, clients, traffic.

    Wants the extra top: pip install 'openvpn-fleet[top]'. ? shows the keys. Each server is asked on a channel of its
    own every time, over connections that stay open, so that others can use the management interface in between.
    """
    _refuse(options)
    target = Target(args=tuple(patterns or ()))
    servers = admit(_Top(), options, target)
    if servers is None:
        return 0
    asyncio.run(_run(servers, options, target, interval or INTERVAL))
    return 0


def _refuse(options: Options) -> None:
    """Refuses what a screen cannot do, before anything is asked.

    Raises:
        UsageError: there is no terminal, no Textual, or another format is wanted.
    """
    refuse_watch(options, "top")
    if options.output is not OutputFormat.TABLE and "output" not in options.from_environment:
        raise UsageError(f"top is a screen, and no {options.output.value}", hint="take fleet status --watch -o ndjson")
    if importlib.util.find_spec("textual") is None:
        raise UsageError(
            "fleet top wants Textual, which is not installed",
            hint="pip install 'openvpn-fleet[top]'; fleet status --watch does without",
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "fleet top wants a terminal, and there is none",
            hint="fleet status --watch -o ndjson gives a line for each server again and again",
        )


async def _run(servers: Sequence[Server], options: Options, target: Target, interval: float) -> None:
    from fleet.top.app import TopApp  # noqa: PLC0415 - Textual takes half a second to import
    from fleet.top.board import Board  # noqa: PLC0415 - with the above
    from fleet.top.glance import glance  # noqa: PLC0415 - with the above

    board = Board(servers)
    async with Transport(servers, transport_options(options, keep=True)) as transport:
        access = access_to(transport, options)
        rounds = Rounds(
            access,
            servers,
            glance(board.wants_log),
            interval=interval,
            forks=forks_for(options, servers),
            host_timeout=options.host_timeout,
            on_sample=_taking(board),
        )
        killer = None if options.readonly else _Killer(transport, options, target)
        with _coloured(options):
            app = TopApp(
                board,
                title=escape(" ".join(("fleet top", *target.args))),
                interval=interval,
                hurry=rounds.hurry,
                killer=killer,
            )
        async with rounds:
            following = asyncio.create_task(_follow(rounds))
            following.add_done_callback(lambda _task: app.exit())
            with _ended_by_signals(app.exit):
                await app.run_async(mouse=False)
            if following.done():
                following.result()  # a bug in the rounds: it is told where all bugs are
            following.cancel()


def _taking(board: Board) -> Any:
    def take(sample: Sample[Glance]) -> None:
        board.update(sample)

    return take


async def _follow(rounds: Rounds[Glance]) -> None:
    """Goes on for as long as the rounds do."""
    while True:
        await rounds.next_round()


@contextmanager
def _coloured(options: Options) -> Iterator[None]:
    """Textual looks into the environment for whether to colour, when an application is made."""
    before = os.environ.get("NO_COLOR")
    if wants_colour(options.color.value, os.environ, isatty=True):
        os.environ.pop("NO_COLOR", None)
    else:
        os.environ["NO_COLOR"] = "1"
    try:
        yield
    finally:
        os.environ.pop("NO_COLOR", None)
        if before is not None:
            os.environ["NO_COLOR"] = before


@contextmanager
def _ended_by_signals(end: Any) -> Iterator[None]:
    """A signal that would end the process ends the screen first, which gives the terminal back."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


class _Killer:
    """Disconnects one client at a time as `fleet kill` does: with a journal, and under the lock of its server."""

    def __init__(self, transport: Transport, options: Options, target: Target) -> None:
        self._transport = transport
        self._options = options
        self._target = target

    async def prepare(self, server: Server, client: Client) -> Question | str:
        """Looks the client up once more, and shows what would be sent."""
        try:
            meant = _who(client)
            operation = kill(meant)
            access = access_to(self._transport, self._options, changes=True)
        except FleetError as error:
            return _told(error)
        assert operation.preview is not None  # noqa: S101 - every kill has one
        found = await self._ask(access, server, operation.preview)
        if found.value is None:
            return "; ".join(error_lines([found]))
        there = found.value.value.clients
        if not any((one.common_name, one.real_address) == (client.common_name, client.real_address) for one in there):
            return f"{escape(client.common_name or str(meant))} is not on {escape(server.name)} any more"
        rows = [*operation.preview.rows(found.value.value)]
        table = render_table(operation.preview.columns, rows, None, now=datetime.now(UTC))
        warnings = [escape(warning) for warning in found.warnings]
        head = f"This disconnects {len(rows)} {'client' if len(rows) == 1 else 'clients'} of {escape(server.name)}:"

        async def do() -> str:
            return await self._kill(operation, server, meant)

        return Question((head, "", *table.split("\n"), *warnings), do)

    async def _kill(self, operation: Operation[Killed], server: Server, meant: Who) -> str:
        options = replace(self._options, argv=None)  # it is not what was typed, and not to be typed again
        try:
            journal = open_journal(operation, (server,), options, self._target)
        except FleetError as error:
            return _told(error)
        access = access_to(self._transport, options, changes=True, journal=journal)
        outcome = await self._ask(access, server, operation)
        journal.outcome(outcome, outcome.value.raw if outcome.value else "")
        lost = journal.end(0 if outcome.status == "ok" else 1, interrupted=False)
        if outcome.value is None:
            return "; ".join([*error_lines([outcome]), *([lost] if lost else [])])
        killed = outcome.value.value.killed
        what = f"killed {killed} {'session' if killed == 1 else 'sessions'} on {escape(server.name)}"
        told = what if killed else f"{escape(str(meant))} had left by itself"
        return "; ".join([told, *map(escape, outcome.warnings), *([lost] if lost else [])])

    async def _ask(self, access: Access, server: Server, operation: Operation[Any]) -> Outcome[Answer[Any]]:
        fan = fan_out((server,), work_on(access, operation.perform), host_timeout=self._options.host_timeout)
        async with fan:
            outcomes = [outcome async for outcome in fan]
        return outcomes[0]


def _who(client: Client) -> Who:
    """The words that mean this client and nobody else.

    Raises:
        UsageError: there are none: it has neither a client id nor an address.
    """
    if client.client_id is not None:
        return who.client_id(str(client.client_id))
    if client.real_address is not None:
        return who.real_address(client.real_address)
    raise UsageError("this daemon tells neither a client id nor an address of it")


def _told(error: FleetError) -> str:
    return escape(f"{error.message}; {error.hint}" if error.hint else error.message)
