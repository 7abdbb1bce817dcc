"""`fleet drain` and `fleet uncordon`: move the clients of a server away, keep new ones out, and let them in again."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer

from fleet.cli.asking import Interrupts, ask
from fleet.cli.choosing import Target, admit, load_inventory
from fleet.cli.consent import confirm, must_ask, question, somebody
from fleet.cli.draining import Driver, Wish
from fleet.cli.options import Options, duration, with_options
from fleet.cli.output import output_for, say
from fleet.cli.rolling import alone
from fleet.cli.run import finish, left_text, open_journal, recorded, run
from fleet.engine import EXIT_FAILED, EXIT_OK, Outcome, Report
from fleet.errors import CommandFailedError, InterruptedRunError, UsageError
from fleet.inventory.model import Server
from fleet.operations.capacity import group_of
from fleet.operations.cordon import UNCORDON
from fleet.operations.drain import (
    DEFAULT_REASON,
    Drain,
    Draining,
    Neighbour,
    Whereabouts,
    farewell,
    neighbour,
    plan_of,
    shortage,
)
from fleet.operations.operation import Answer, Operation
from fleet.operations.snapshot import SNAPSHOT, Snapshot
from fleet.render.table import render_table
from fleet.render.text import escape

_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(?:/([smh]))?")
_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_THEN = ("SIGTERM", "SIGHUP", "SIGUSR1")

ServerName = Annotated[str, typer.Argument(metavar="SERVER", help="The server whose clients are to go.")]
Patterns = Annotated[list[str] | None, typer.Argument(metavar="SERVER", help="Servers that were cordoned.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("drain")(with_options(_drain, changes=True))
    app.command("uncordon")(with_options(_uncordon, changes=True))


def _drain(
    *,
    server: ServerName,
    rate: Annotated[str, typer.Option("--rate", metavar="N/s", help="How many clients to tell; N/m and N/h too.")] = (
        "5/s"
    ),
    grace: Annotated[
        str, typer.Option("--grace", metavar="DURATION", help="How long to wait for those who were told to be gone.")
    ] = "10m",
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What is told to clients, and stands in their logs.")
    ] = DEFAULT_REASON,
    cordoned: Annotated[
        bool, typer.Option("--cordon", help="Keep new clients out when none is left, until fleet uncordon.")
    ] = False,
    then: Annotated[
        str | None,
        typer.Option("--then", metavar="SIGNAL", help="Send it SIGTERM, SIGHUP or SIGUSR1 when none is left."),
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--no-neighbour-check", help="Do not ask whether other servers can take the clients.")
    ] = False,
    options: Options,
) -> int:
    """Move the clients of a server to its neighbours.

    Each client is told to take its next remote, a few a second. Before that the other servers of the group (the
    smallest that the server is in) are looked at: one has to be up, with room where the inventory has max_clients.
    Afterwards it shows who went where, who came back, having no other remote, and who stayed; 1 is the exit status
    where clients are left. It wants daemons from OpenVPN 2.4 on.

    --cordon restarts the empty daemon into hold, with its tunnel down. That is refused where the daemon may not
    survive it, as far as its log tells, unless --force is given.
    """
    wish = Wish(farewell(reason), _interval(rate), duration(grace) or 0.0, cordoned, _signal(then), unchecked)
    if cordoned and then:
        raise UsageError("--cordon keeps the daemon waiting, and --then sends it a signal", hint="give one of them")
    if {name for name in ("limit", "every", "exclude") if getattr(options, name)} - options.from_environment:
        raise UsageError("drain is for the one server that it names", hint="leave -l, -x and --all out")
    if options.in_batches:
        raise UsageError("drain is for one server at a time", hint="leave --serial and its like out")
    target = Target(args=(server,), explicit=True, single="drain empties one server at a time")
    operation = wish.operation(Draining("", wish.message, wish.interval))
    servers = admit(operation, replace(options, limit=(server,), exclude=()), target)
    if servers is None:
        return EXIT_OK
    return _Run(servers[0], wish, operation, options, target).run()


def _uncordon(*, patterns: Patterns = None, options: Options) -> int:
    """Let clients in again on servers that were cordoned: hold off, hold release.

    Wants servers, --limit or --all.
    """
    return run(UNCORDON, options, Target(args=tuple(patterns or ()), explicit=True))


def _interval(rate: str) -> float:
    """Seconds between two clients."""
    match = _RATE.fullmatch(rate)
    if match is None or not float(match[1]):
        raise UsageError(f"--rate: '{rate}' is no rate", hint="write 5/s, 10/m or 100/h")
    return _PERIODS[match[2]] / float(match[1])


def _signal(name: str | None) -> str | None:
    if name not in (None, *_THEN):
        raise UsageError(f"--then: '{name}' is no signal for an empty server", hint=f"signals are {', '.join(_THEN)}")
    return name


class _Run:
    """One drain, from the question to the report."""

    def __init__(
        self, server: Server, wish: Wish, operation: Operation[Drain], options: Options, target: Target
    ) -> None:
        self._server = server
        self._wish = wish
        self._operation = operation  # to be shown and asked about: what is done is the driver's
        self._options = options
        self._target = target
        self._neighbours: tuple[Server, ...] = ()  # those that answered
        self._told: tuple[Neighbour, ...] = ()
        self._started, self._begun = datetime.now(UTC), time.monotonic()

    def run(self) -> int:
        """All of it, to the exit status.

        Raises:
            RefusedError: nothing was sent to any server.
        """
        servers = (self._server,)
        asks = must_ask(self._operation, servers, self._options) and not self._options.dry_run
        person = somebody(self._operation, servers) if asks else None
        found = self._foresee()
        if found.value is None:
            return self._finish(found)
        if self._options.dry_run:
            output = output_for(self._preview, self._options)
            output.outcome(found)
            output.words(self._where_to())
            return finish(self._report(found), output)
        if person is not None and (found.value.value.nclients or self._wish.finale):
            say(self._question(found, found.value.value.nclients))
            confirm(self._operation, servers, self._options, person)
        return self._drain()

    def _drain(self) -> int:
        journal = open_journal(self._operation, (self._server,), self._options, self._target)
        with recorded(journal), Interrupts() as interrupts:
            interrupts.leave_with(partial(left_text, journal))
            driver = Driver(
                self._server, self._neighbours, self._wish, self._options, journal=journal, interrupts=interrupts
            )
            asyncio.run(alone(self._options, interrupts, driver.run))
            outcome = self._outcome(driver)
            report = self._report(outcome, interrupted=driver.interrupted)
            say(journal.end(report.exit_status, interrupted=report.interrupted) or "")
        return self._finish(outcome, interrupted=driver.interrupted, run_id=journal.run_id)

    # Before

    @property
    def _preview(self) -> Operation[Any]:
        preview = self._operation.preview
        assert preview is not None  # noqa: S101 - a drain has one
        return preview

    def _foresee(self) -> Outcome[Answer[Any]]:
        """The server's plan, or what is wrong with it.

        Raises:
            UsageError: its neighbours cannot take its clients.
            InterruptedRunError: Ctrl-C; nothing was sent.
        """
        group, others = self._group()
        asked_too = tuple(other for other in others if not other.exclusive or self._options.force)
        with Interrupts() as interrupts:
            asked = ask(SNAPSHOT, (self._server, *asked_too), self._options, interrupts)
        if asked.interrupted:
            raise InterruptedRunError("interrupted before anything was sent")
        found = {outcome.server.name: outcome for outcome in asked.outcomes}
        self._told = tuple(_neighbour(other, found.get(other.name)) for other in others)
        self._neighbours = tuple(other for other in asked_too if found[other.name].value is not None)
        return self._planned(found[self._server.name], group)

    def _group(self) -> tuple[str, tuple[Server, ...]]:
        """The server's group, and the others in it."""
        inventory = load_inventory(self._options)
        group = group_of(self._server, inventory)
        names = set(inventory.groups[group].servers) - {self._server.name}
        return group, tuple(server for server in inventory.servers if server.name in names)

    def _planned(self, outcome: Outcome[Answer[Snapshot]], group: str) -> Outcome[Answer[Any]]:
        if outcome.value is None:
            return replace(outcome, value=None)
        try:
            plan = plan_of(outcome.value.value, self._wish.message, self._told)
        except CommandFailedError as error:
            return Outcome(self._server, outcome.elapsed, None, error, warnings=outcome.warnings)
        reason = shortage(self._told, plan.nclients)
        if reason is not None and plan.nclients and not self._wish.unchecked:
            raise UsageError(
                f"{self._server.name} is not drained: {reason} (group {group})",
                hint="bring one up, or go on all the same with --no-neighbour-check",
            )
        down = [str(one) for one in self._told if not one.up]
        warned = [f"a client whose next remote is down is out for about a minute: {', '.join(down)}"] if down else []
        return Outcome(
            self._server, outcome.elapsed, Answer(plan, outcome.value.raw), warnings=(*outcome.warnings, *warned)
        )

    def _question(self, found: Outcome[Answer[Any]], nclients: int) -> str:
        """What a person is told before the question."""
        if not nclients:
            return f"Nobody is connected to {escape(self._server.name)}; this {self._wish.finale}."
        return f"{question(self._operation, (self._server,), [found], self._options)}\n{self._where_to()}".rstrip()

    def _where_to(self) -> str:
        up = ", ".join(str(one) for one in self._told if one.up)
        return f"they can go to {escape(up)}" if up else ""

    # What is told

    def _outcome(self, driver: Driver) -> Outcome[Answer[Any]]:
        answer = Answer(replace(driver.result, neighbours=self._told), driver.raw)
        return Outcome(
            self._server,
            time.monotonic() - self._begun,
            answer if driver.error is None else None,
            driver.error,
            sent=driver.sent,
            confirmed=driver.confirmed,
            warnings=tuple(driver.warnings),
            partial=None if driver.error is None else answer,
        )

    def _report(self, outcome: Outcome[Answer[Any]], *, interrupted: bool = False) -> Report[Answer[Any]]:
        value = None if outcome.value is None else outcome.value.value
        return Report.of(
            (self._server,),
            (outcome,),
            command=self._operation.name,
            args=self._target.args,
            started=self._started,
            elapsed=time.monotonic() - self._begun,
            interrupted=interrupted,
            answer_status=EXIT_FAILED if isinstance(value, Drain) and value.nclients else EXIT_OK,
        )

    def _finish(self, outcome: Outcome[Answer[Any]], *, interrupted: bool = False, run_id: str = "") -> int:
        output = output_for(self._operation, self._options)
        output.outcome(outcome)
        answer = outcome.value or outcome.partial
        if answer is not None:
            output.words(self._words(answer.value, whole=outcome.value is not None))
        return finish(self._report(outcome, interrupted=interrupted), output, run_id)

    def _words(self, value: Drain, *, whole: bool) -> str:
        """How it ended; of one that was broken off, where everybody is, too."""
        lines = []
        if not whole and value.clients:
            columns = self._operation.columns
            lines.append(render_table(columns, list(self._operation.rows(value)), now=datetime.now(UTC)))
        lines.append(_summary(value) or "nobody was connected")
        if value.nclients:
            left = "1 client is" if value.nclients == 1 else f"{value.nclients} clients are"
            undone = {"cordon": "; it was not cordoned", "then": f"; {self._wish.then} was not sent"}
            wanted = "cordon" if self._wish.cordon else "then" if self._wish.then else ""
            lines.append(f"{left} on {escape(self._server.name)}{undone.get(wanted, '')}")
        if value.cordoned:
            lines.append(f"new clients are kept out until fleet uncordon {escape(self._server.name)}")
        if value.signal:
            lines.append(f"{escape(self._server.name)} was sent {value.signal}")
        return "\n".join(lines)


def _summary(value: Drain) -> str:
    """`3 moved (2 to edge-2, 1 to edge-3), 1 came back`."""
    parts = []
    for whereabouts in Whereabouts:
        count = value.count(whereabouts)
        if not count:
            continue
        where = Counter(
            client.server for client in value.clients if client.whereabouts is whereabouts and client.server
        )
        places = ", ".join(f"{number} to {escape(name)}" for name, number in where.items())
        words = whereabouts.words
        why = places or ("no other remote, or persist-remote-ip" if whereabouts is Whereabouts.CAME_BACK else "")
        parts.append(f"{count} {words} ({why})" if why else f"{count} {words}")
    return ", ".join(parts)


def _neighbour(server: Server, outcome: Outcome[Answer[Snapshot]] | None) -> Neighbour:
    if outcome is None:
        return neighbour(server.name, server.max_clients, None, "exclusive")
    error = None if outcome.error is None else outcome.error.code
    return neighbour(server.name, server.max_clients, outcome.value.value if outcome.value else None, error)
