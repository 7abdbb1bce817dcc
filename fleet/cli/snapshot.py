"""`fleet snapshot` and `fleet diff`: who is connected where, and what has become of them since."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from fleet.cli.asking import Interrupts, ask
from fleet.cli.choosing import Target, admit
from fleet.cli.options import Options, OutputFormat, with_options
from fleet.cli.output import output_for
from fleet.cli.run import finish, run
from fleet.cli.saved import STDIN, read_file
from fleet.cli.watch import refuse_watch_of_none
from fleet.engine import EXIT_FAILED, EXIT_OK, Outcome, Report
from fleet.errors import EmptyTargetError, UsageError
from fleet.inventory.model import Server, UnixEndpoint
from fleet.operations.difference import ServerDifference, compare, diff, difference, find_moves, summary
from fleet.operations.operation import Answer
from fleet.operations.snapshot import SNAPSHOT, FleetSnapshot, read_snapshot
from fleet.render import units
from fleet.render.fold import fold_counted
from fleet.render.text import escape

_LIMIT = 4 << 30  # bytes; security limit: a million clients have half a GB

_DOCUMENT = (OutputFormat.TABLE, OutputFormat.WIDE, OutputFormat.JSON)
"""The formats in which a snapshot is asked for; each means JSON, the only one that it has."""

Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to ask; all without any.")]
Differences = Mapping[str, ServerDifference]
Outcomes = Sequence[Outcome[Answer[ServerDifference]]]


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("snapshot")(with_options(_snapshot))
    app.command("diff")(with_options(_diff))


def _snapshot(*, patterns: Patterns = None, options: Options) -> int:
    """Write who is connected where as JSON, for fleet diff.

    fleet snapshot > a.json keeps the status of each server, and what tells its sessions apart from later ones. It is
    one JSON document whatever -o and -q say.
    """
    if options.output not in _DOCUMENT and "output" not in options.from_environment:
        raise UsageError("a snapshot is one JSON document", hint=f"leave -o {options.output.value} out")
    options = replace(options, output=OutputFormat.JSON, quiet=False)
    return run(SNAPSHOT, options, Target(args=tuple(patterns or ())))


def _diff(
    *,
    before: Annotated[str, typer.Argument(metavar="A.json", help="What fleet snapshot wrote; - is stdin.")],
    after: Annotated[
        str | None, typer.Argument(metavar="B.json", help="The same later; without it the servers are asked now.")
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 where there is a difference.")] = False,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="Show clients that stayed, and those that may have, too.")
    ] = False,
    options: Options,
) -> int:
    """Show who joined, left, moved or connected again since a snapshot, and the traffic since.

    Without a second snapshot the servers of the first one are asked now, or those of --limit or --all. A client is
    known by its common name and username. What became of the clients of a server that was not asked at one of the
    two times is unknown, and said so; they have not left.
    """
    if options.output is OutputFormat.RAW:
        raise UsageError("a difference has no raw form", hint="take -o table, or -o json")
    if after is not None and (before == after == STDIN or _named(options)):
        raise UsageError(
            "two snapshots are compared without asking any server, and only one of them can come from stdin",
            hint="give two files, and leave the servers out",
        )
    if after is not None:
        refuse_watch_of_none(options)
    comparing = _Comparing(before, after, options, exit_code=exit_code, everybody=everybody)
    return comparing.with_now() if after is None else comparing.with_file(after)


# Snapshots as files


def _read(path: str) -> FleetSnapshot:
    try:
        return read_snapshot(json.loads(read_file(path, limit=_LIMIT, what="snapshot")))
    except (ValueError, RecursionError) as error:
        what = "no JSON: " if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError) else ""
        raise UsageError(
            f"{path}: {what}{error}", hint="give a file that was written by: fleet snapshot > FILE"
        ) from error


# Comparing


class _Comparing:
    """One comparison of a snapshot with another, or with the fleet now."""

    def __init__(self, first: str, second: str | None, options: Options, *, exit_code: bool, everybody: bool) -> None:
        self._first, self._before = first, _read(first)
        self._args = (first,) if second is None else (first, second)
        self._options = options
        self._exit_code = exit_code
        self._operation = difference(self._before, everybody=everybody)
        self._started, self._begun = datetime.now(UTC), time.monotonic()

    def with_file(self, second: str) -> int:
        """Compares with another snapshot; nobody is asked.

        Raises:
            UsageError: it is no snapshot, or an older one.
        """
        after = _read(second)
        if after.taken < self._before.taken:
            raise UsageError(f"{second} was taken before {self._first}", hint="give the older one first")
        outcomes = [
            # A file stands where a server would: one row of the same table, one entry of the same JSON.
            Outcome(
                Server(name, name, None, UnixEndpoint(second)),
                0.0,
                Answer(found, ""),
                warnings=tuple(self._unknown(name, found, second, after.missing.get(name))),
            )
            for name, found in diff(self._before, after).items()
        ]
        return self._show([outcome.server for outcome in outcomes], outcomes, after.taken)

    def with_now(self) -> int:
        """Compares with what servers say now: those of the snapshot, where none are named.

        Raises:
            RefusedError: nobody was asked.
        """
        options, before = self._options, self._before
        if not _named(options):
            options = replace(options, only=options.only or frozenset({*before.servers, *before.missing}))
        try:
            servers = admit(self._operation, options, Target(args=self._args), shards=True)
        except EmptyTargetError as error:
            if options.only is self._options.only:
                raise
            raise EmptyTargetError(
                f"no server of {self._first} is in the inventory", hint="name the servers to ask with -l"
            ) from error
        if servers is None:
            return EXIT_OK
        with Interrupts() as interrupts:
            asked = ask(self._operation, servers, options, interrupts)
        found = find_moves(self._found(asked.outcomes))
        outcomes = [self._settled(outcome, found[outcome.server.name]) for outcome in asked.outcomes]
        return self._show(servers, outcomes, datetime.now(UTC), interrupted=asked.interrupted)

    def _found(self, outcomes: Outcomes) -> Differences:
        """What is known of each server: those that were not asked now take part with those who were on them."""
        unasked = {name: compare(server, None) for name, server in self._before.servers.items()}
        for outcome in outcomes:
            name = outcome.server.name
            unasked[name] = outcome.value.value if outcome.value else compare(self._before.servers.get(name), None)
        return unasked

    def _settled(
        self, outcome: Outcome[Answer[ServerDifference]], found: ServerDifference
    ) -> Outcome[Answer[ServerDifference]]:
        """The outcome, with who has moved."""
        warnings = (*outcome.warnings, *self._unknown(outcome.server.name, found, None, None))
        if outcome.value is None:
            return replace(outcome, partial=Answer(found, ""), warnings=warnings)
        return replace(outcome, value=replace(outcome.value, value=found), warnings=warnings)

    def _unknown(self, name: str, found: ServerDifference, second: str | None, code: str | None) -> Iterable[str]:
        """What to tell of a server that was asked only once.

        Args:
            name: the server.
            found: what is known of it.
            second: the path of the second snapshot, None for now.
            code: of the error that the server has there, if it is there.
        """
        if not found.asked_before and found.asked_after:
            code = self._before.missing.get(name)
            where, whom = self._first, "since when its clients are there"
        elif found.asked_before and not found.asked_after:
            where, whom = second or "", "what became of its clients"
        else:
            return
        why = f"was not asked ({code}) in {where}" if code else f"is not in {where}" if where else "was not asked"
        count = sum(client.after is None or client.before is None for client in found.clients)
        yield f"{why}: {whom} ({count}) is unknown"

    def _show(
        self,
        servers: Sequence[Server],
        outcomes: Outcomes,
        until: datetime,
        *,
        interrupted: bool = False,
    ) -> int:
        found = [answer.value for outcome in outcomes if (answer := outcome.value or outcome.partial) is not None]
        different = any(one.is_different for one in found)
        output = output_for(self._operation, self._options)
        for outcome in outcomes:
            output.outcome(outcome)
        output.words(self._words(found, {server.name for server in servers}, until))
        report = Report.of(
            servers,
            outcomes,
            command=self._operation.name,
            args=self._args,
            started=self._started,
            elapsed=time.monotonic() - self._begun,
            interrupted=interrupted,
            answer_status=EXIT_FAILED if self._exit_code and different else EXIT_OK,
        )
        return finish(report, output)

    def _words(self, found: Iterable[ServerDifference], asked: set[str], until: datetime) -> str:
        taken = self._before.taken.replace(microsecond=0)
        since = f"since {units.rfc3339(taken)} ({units.age(taken, until)}): {summary(found)}"
        others = [name for name in self._before.servers if name not in asked]
        return f"{since}\nnot asked now: {escape(fold_counted(others))}" if others else since


def _named(options: Options) -> bool:
    """Whether the command line says which servers."""
    return bool({name for name in ("limit", "every") if getattr(options, name)} - options.from_environment)
