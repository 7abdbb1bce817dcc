"""`fleet trust`: fetch host keys, show them, and add them to known_hosts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from fleet.cli.asking import Interrupts
from fleet.cli.choosing import Target, choose, load_inventory, refuse_typed_shards
from fleet.cli.consent import yes as agrees
from fleet.cli.options import Options, Patterns, with_options
from fleet.cli.output import check_shape, output_for, say, write
from fleet.cli.progress import show_progress
from fleet.cli.run import end_refused, finish, open_journal
from fleet.cli.sshing import forks_for, ssh_options
from fleet.cli.terminal import Terminal, terminal
from fleet.engine import Attempt, Outcome, Report, fan_out
from fleet.errors import InterruptedRunError, RefusedError, ServerError, UsageError
from fleet.inventory.model import Server, SSHSettings
from fleet.operations.columns import Column
from fleet.operations.operation import Answer
from fleet.operations.trust import TRUST, Trusted, TrustedKey, behind, refused, result_of
from fleet.render.fold import fold_counted
from fleet.render.table import render_table
from fleet.render.text import escape
from fleet.transport import Transport
from fleet.transport.host_keys import HostKey, Standing
from fleet.transport.known_file import Entry, record

T = TypeVar("T")

_SHOWN = (Column("servers"), Column("host"), Column("type"), Column("fingerprint"), Column("known_until_now"))


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("trust")(with_options(_trust))


def _trust(
    *,
    patterns: Patterns = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the keys out that are known for a host and are not its key now.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Show what would be added, and stop.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask before keys are added.")] = False,
    options: Options,
) -> int:
    """Fetch the host keys of servers and of their jump hosts, and add those that are not known to known_hosts.

    The fingerprints are shown first: compare them with what the hosts themselves say (ssh-keygen -lf on the host). A
    host is asked for the one key that ssh would go by. They are added to the first UserKnownHostsFile of ssh_config,
    with hashed names where that file has such. A key that differs from the one that is known is left alone, but with
    --replace.
    """
    dry_run, yes = dry_run or options.dry_run, yes or options.yes
    if options.readonly and not dry_run:
        raise UsageError("trust changes known_hosts, and this run is read-only", hint="--dry-run only shows the keys")
    if options.watch is not None:
        raise UsageError("trust is done once", hint="leave --watch out")
    check_shape(TRUST, options)
    target = Target(args=tuple(patterns or ()))
    refuse_typed_shards("trust", options)
    servers = choose(load_inventory(options), options, target)
    if options.list_hosts:
        write("".join(f"{server.name}\n" for server in servers))
        return 0
    run = _Run(servers, options, replace=replace, dry_run=dry_run, yes=yes)
    journal = open_journal(TRUST, servers, options, target)
    started, begun = datetime.now(UTC), time.monotonic()
    try:
        run.walk()
    except RefusedError as error:
        end_refused(journal, error)
        raise
    report = Report.of(
        servers,
        run.outcomes(),
        command=TRUST.name,
        args=target.args,
        started=started,
        elapsed=time.monotonic() - begun,
        interrupted=run.interrupted,
    )
    output = output_for(TRUST, options)
    for outcome in report.outcomes:
        journal.outcome(outcome, "")
        output.outcome(outcome)
    say(journal.end(report.exit_status, interrupted=report.interrupted) or "")
    return finish(report, output)


@dataclass(slots=True)
class _Way:
    """The way to one server, as far as it is known.

    Attributes:
        chain: its endpoints, that of the server last.
        keys: what became of their keys, in the same order.
        error: why it ends before its end.
        elapsed: seconds spent on it.
    """

    chain: tuple[SSHSettings, ...] = ()
    keys: list[TrustedKey] = field(default_factory=list)
    error: ServerError | None = None
    elapsed: float = 0.0

    def next(self) -> SSHSettings | None:
        """The endpoint whose key is wanted next."""
        going = self.error is None and len(self.keys) < len(self.chain)
        return self.chain[len(self.keys)] if going else None

    def fail(self, error: ServerError) -> None:
        """The key of the next endpoint cannot be had."""
        last = len(self.keys) + 1 >= len(self.chain)
        self.error = error if last else behind(error, self.chain[len(self.keys)].host)


class _Run:
    """One run: from the jump hosts inwards, since the keys behind one are fetched through it."""

    def __init__(self, servers: Sequence[Server], options: Options, *, replace: bool, dry_run: bool, yes: bool) -> None:
        self._options = options
        self._replace = replace
        self._dry_run = dry_run
        self._yes = yes
        self._servers = servers
        self._ways = {server.name: _Way() for server in servers}
        self._added = 0
        self.interrupted = False

    def outcomes(self) -> list[Outcome[Answer[Trusted]]]:
        """One for each server."""
        return [self._outcome(server) for server in self._servers]

    def _outcome(self, server: Server) -> Outcome[Answer[Trusted]]:
        way = self._ways[server.name]
        if way.error is not None:
            return Outcome(server, way.elapsed, error=way.error)
        if way.next() is not None:
            return Outcome(server, way.elapsed, error=InterruptedRunError("interrupted before its turn came"))
        return Outcome(server, way.elapsed, Answer(Trusted.of(way.keys), ""))

    def walk(self) -> None:
        """Fetches, asks and adds, until every way is done.

        Raises:
            UsageError: nobody can be asked, somebody said no, or a file cannot be written.
            InterruptedRunError: before anything was added.
        """
        for outcome in self._fan_out(self._servers, lambda transport, server: transport.chain(server)):
            self._take(outcome, lambda way, chain: setattr(way, "chain", chain))
        while not self.interrupted and (wanted := self._wanted()):
            self._settle(wanted, self._fetch(wanted))

    def _fetch(self, wanted: dict[SSHSettings, list[Server]]) -> dict[SSHSettings, HostKey | ServerError]:
        """The keys of these endpoints, each fetched once for all servers that it leads to."""
        heads = {users[0].name: endpoint for endpoint, users in wanted.items()}
        found: dict[SSHSettings, HostKey | ServerError] = {}
        for outcome in self._fan_out(
            [users[0] for users in wanted.values()],
            lambda transport, server: transport.host_key(server, heads[server.name]),
        ):
            endpoint = heads[outcome.server.name]
            found[endpoint] = outcome.require() if outcome.error is None else outcome.error
            for user in wanted[endpoint]:
                self._ways[user.name].elapsed += outcome.elapsed
        return found

    def _wanted(self) -> dict[SSHSettings, list[Server]]:
        """The endpoints whose keys are wanted next, each with the servers that it leads to."""
        wanted: dict[SSHSettings, list[Server]] = {}
        for server in self._servers:
            endpoint = self._ways[server.name].next()
            if endpoint is not None:
                wanted.setdefault(endpoint, []).append(server)
        return wanted

    def _settle(self, wanted: dict[SSHSettings, list[Server]], found: dict[SSHSettings, HostKey | ServerError]) -> None:
        """Asks for the keys that were found, adds them, and moves every way on by one."""
        new: list[tuple[HostKey, list[Server]]] = []
        for endpoint, users in wanted.items():
            key = found[endpoint]
            error = key if isinstance(key, ServerError) else refused(key, users[0].name, replace=self._replace)
            if error is not None:
                for user in users:
                    self._ways[user.name].fail(type(error)(error.message, hint=error.hint))
            elif isinstance(key, HostKey) and not key.standing.trusted:
                new.append((key, users))
        if new:
            self._add(new)
        for endpoint, users in wanted.items():
            key = found[endpoint]
            for user in users:
                way = self._ways[user.name]
                if way.error is None and isinstance(key, HostKey):
                    file = _short(key.files[0]) if key.files else None
                    way.keys.append(result_of(key, file, written=not self._dry_run))

    def _add(self, new: list[tuple[HostKey, list[Server]]]) -> None:
        if not self._options.quiet or not self._yes:
            say(_list(new))
        if self._dry_run:
            return
        if not self._yes:
            files = " and ".join(dict.fromkeys(_short(key.files[0]) for key, _ in new))
            if not agrees(self._person(), f"Add {'it' if len(new) == 1 else 'them'} to {escape(files)}?"):
                more = " more" if self._added else ""
                raise UsageError(f"not confirmed: nothing{more} was added")
        places: dict[tuple[tuple[Path, ...], bool], list[Entry]] = {}
        for key, _ in new:
            places.setdefault((key.files, key.hashed), []).append(Entry(key.entry, key.key))
        for (files_of, hashed), entries in places.items():
            try:
                self._added += len(record(entries, files_of, replace=self._replace, hashed=hashed))
            except OSError as error:
                raise UsageError(
                    f"{_short(files_of[0])} cannot be written: {error.strerror or error}",
                    hint="see who may write to it and to its folder",
                ) from error

    def _person(self) -> Terminal:
        person = terminal()
        if person is None:
            raise UsageError(
                "keys are to be added, and there is no terminal to ask at",
                hint="compare the fingerprints above with the hosts' own, and give --yes; --dry-run only shows them",
            )
        return person

    def _fan_out(self, servers: Sequence[Server], work: Any) -> list[Outcome[Any]]:
        """Something done for each server, over connections of its own: what known_hosts has is read anew."""

        async def one(transport: Transport, attempt: Attempt) -> Any:
            attempt.phase = "fetching host keys"
            return await work(transport, attempt.server)

        async def all_of_them() -> list[Outcome[Any]]:
            outcomes: list[Outcome[Any]] = []
            async with Transport(servers, ssh_options(self._options)) as transport:
                fan = fan_out(
                    servers,
                    partial(one, transport),
                    forks=forks_for(self._options, servers),
                    host_timeout=self._options.host_timeout,
                    run_timeout=self._options.timeout,
                )
                async with fan, show_progress(fan, outcomes, self._options):
                    interrupts.end_with(fan.interrupt)
                    async for outcome in fan:
                        outcomes += [outcome]
            self.interrupted = self.interrupted or fan.interrupted
            return outcomes

        with Interrupts() as interrupts:
            found = asyncio.run(all_of_them())
        if self.interrupted and not self._added:
            raise InterruptedRunError("interrupted before anything was added")
        return found

    def _take(self, outcome: Outcome[T], take: Any) -> None:
        way = self._ways[outcome.server.name]
        way.elapsed += outcome.elapsed
        if outcome.error is not None:
            way.error = outcome.error
        else:
            take(way, outcome.value)


def _list(new: Sequence[tuple[HostKey, Sequence[Server]]]) -> str:
    """What is about to be added."""
    rows = [
        (
            fold_counted(server.name for server in users),
            key.entry,
            key.type,
            key.fingerprint,
            f"{', '.join(key.expected)} in {', '.join(key.places)}" if key.standing is Standing.CHANGED else None,
        )
        for key, users in new
    ]
    columns = _SHOWN if any(row[-1] for row in rows) else _SHOWN[:-1]
    table = render_table(columns, [row[: len(columns)] for row in rows])
    heading = "The key of this host is not known:" if len(rows) == 1 else "The keys of these hosts are not known:"
    return "\n".join((heading, *(f"  {line}" for line in table.split("\n"))))


def _short(path: Path) -> str:
    """A path as a user would write it."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # RuntimeError: no home folder is known
        return str(path)
