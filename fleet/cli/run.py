"""One run of an operation: choose the servers, ask them, show the outcomes, say the exit status."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from fleet.cli.asking import Asked, Interrupts, ask
from fleet.cli.consent import agree
from fleet.cli.options import Options
from fleet.cli.output import Output, output_for, say, write
from fleet.engine import EXIT_INTERRUPTED, FanOut, Outcome, Report
from fleet.errors import EmptyTargetError, FleetError, InterruptedRunError, RefusedError, UsageError
from fleet.inventory.load import find_inventory, load
from fleet.inventory.model import Inventory, Server
from fleet.inventory.pattern import select
from fleet.inventory.secrets import check_secrets
from fleet.journal.journal import Journal
from fleet.operations.operation import Answer, Operation
from fleet.operations.preview import preview_of
from fleet.render.fold import fold
from fleet.render.progress import Progress

T = TypeVar("T")

_LEAST = 0.001  # seconds: a timeout is more than 0


class Named(Protocol):
    """What is done to servers, by its name, and whether it changes them."""

    @property
    def name(self) -> str:
        """The subcommand's name."""
        ...

    @property
    def changes(self) -> bool:
        """It changes daemons or their clients."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a command is for.

    Attributes:
        args: the command's own arguments, as JSON shows them.
        explicit: the command changes daemons, so the servers must be named by --limit or --all.
        single: why the command can be for one server only, as a sentence; empty where it can be for many.
    """

    args: tuple[str, ...] = ()
    explicit: bool = False
    single: str = ""


@dataclass(frozen=True, slots=True)
class Ending(Generic[T]):
    """What a command says when all outcomes are there.

    Attributes:
        answer_status: the exit status where every server was asked and none failed, from the values.
        words: a sentence for stderr, from the values and the number of servers, or None.
        settle: where what one server said tells something of another: makes of all outcomes those that are shown, and
            may ask servers again, in what is left of the run's time. Nothing is shown before.
    """

    answer_status: Callable[[Sequence[T]], int] = lambda _values: 0
    words: Callable[[Sequence[T], int], str] | None = None
    settle: Callable[[Asked[T], Options, Interrupts], Asked[T]] | None = None


def run(operation: Operation[T], options: Options, target: Target, ending: Ending[T] | None = None) -> int:
    """Performs the operation on the servers that are meant, and shows what came of it.

    A change is shown and asked for before, as the operation says; with --dry-run it is shown and not done.

    Returns:
        The exit status (docs/exit-status.md).

    Raises:
        RefusedError: nothing was sent to any server.
    """
    servers = admit(operation, options, target)
    if servers is None:
        return 0
    if operation.changes and options.dry_run:
        return perform(preview_of(operation), servers, options, target)
    agree(operation, servers, options)
    journal = open_journal(operation, servers, options, target)
    try:
        return perform(operation, servers, options, target, ending=ending, journal=journal)
    except RefusedError as error:
        end_refused(journal, error)
        raise


def perform(
    operation: Operation[T],
    servers: Sequence[Server],
    options: Options,
    target: Target,
    *,
    ending: Ending[T] | None = None,
    journal: Journal | None = None,
) -> int:
    """Performs the operation now, shows the outcomes, and gives the exit status.

    Raises:
        RefusedError: nothing was sent to any server.
    """
    output = output_for(operation, options)
    ending = ending or Ending()
    started, begun = datetime.now(UTC), time.monotonic()
    with Interrupts() as interrupts:
        listen = None if ending.settle else partial(_show, operation, output)
        asked = ask(operation, servers, options, interrupts, journal=journal, listen=listen)
        if ending.settle is not None:
            asked = ending.settle(asked, _left(options, time.monotonic() - begun), interrupts)
            for outcome in asked.outcomes:
                output.outcome(outcome)
        values = [outcome.value.value for outcome in asked.outcomes if outcome.value is not None]
        if ending.words is not None:
            output.words(ending.words(values, len(servers)))
        report = Report.of(
            servers,
            asked.outcomes,
            command=operation.name,
            args=target.args,
            started=started,
            elapsed=time.monotonic() - begun,
            interrupted=asked.interrupted,
            answer_status=ending.answer_status(values),
        )
        if journal is not None:
            say(journal.end(report.exit_status, interrupted=report.interrupted) or "")
    return finish(report, output)


def _left(options: Options, spent: float) -> Options:
    """The options with what is left of the time of the whole run."""
    return options if options.timeout is None else replace(options, timeout=max(options.timeout - spent, _LEAST))


def finish(report: Report[Answer[T]], output: Output[T]) -> int:
    """Shows a report, and gives the exit status."""
    try:
        return output.finish(report)
    except KeyboardInterrupt:
        say("interrupted while the outcomes were being written; every server has its own")
        return EXIT_INTERRUPTED


def of_servers(answered: int, asked: int) -> str:
    """`3 servers`, or `the 2 of 3 servers that answered`."""
    servers = f"{asked} {'server' if asked == 1 else 'servers'}"
    return servers if answered == asked else f"the {answered} of {servers} that answered"


def open_journal(operation: Named, servers: Sequence[Server], options: Options, target: Target) -> Journal:
    """The record of a run that is about to begin.

    Raises:
        UsageError: a change cannot be recorded; nothing was sent.
    """
    return Journal.begin(
        argv=options.argv or (),
        command=operation.name,
        args=target.args,
        command_line=options.command_line,
        servers=[server.name for server in servers],
        changes=operation.changes,
        inventory=inventory_path(options),
        syslog=options.syslog,
        environ=os.environ,
    )


def end_refused(journal: Journal, error: FleetError) -> None:
    """Closes the record of a run that was broken off before anything was sent to any server."""
    report: Report[None] = Report(
        "", (), datetime.now(UTC), 0.0, interrupted=isinstance(error, InterruptedRunError), error=error
    )
    journal.end(report.exit_status, interrupted=report.interrupted)


def _show(
    operation: Operation[T], output: Output[T], outcome: Outcome[Answer[T]], fan: FanOut[Any], progress: Progress
) -> None:
    if output.writes_at_once:
        progress.clear()
    if not output.outcome(outcome) and not operation.changes:
        output.abandoned = True  # nobody reads on, and nothing is changed by stopping
        fan.interrupt()


def admit(operation: Named, options: Options, target: Target) -> tuple[Server, ...] | None:
    """The servers that may be asked now; None where they were only to be listed, and were.

    Raises:
        RefusedError: the run is read-only, the servers cannot be chosen, are exclusive, or their secrets unreadable.
    """
    if operation.changes and options.readonly and not options.dry_run:
        raise UsageError(
            f"{operation.name} changes something, and this run is read-only",
            hint="--readonly or FLEET_READONLY is set",
        )
    servers = choose(load_inventory(options), options, target)
    if options.list_hosts:
        write("".join(f"{server.name}\n" for server in servers))
        return None
    refuse_exclusive(servers, options)
    check_secrets(servers)
    return servers


def load_inventory(options: Options) -> Inventory:
    """The inventory that the options and the environment name.

    Raises:
        InventoryError: there is none, or it cannot be used.
    """
    return load(inventory_path(options))


def inventory_path(options: Options) -> str:
    """The path of the inventory that the options and the environment name.

    Raises:
        InventoryError: there is none.
    """
    folder = _working_folder()
    if folder is None:
        _refuse_relative(options)
    return find_inventory(options.inventory, os.environ, folder or ".")


def _working_folder() -> str | None:
    """The working folder; None where somebody has deleted it."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _refuse_relative(options: Options) -> None:
    """Refuses paths that mean nothing, since the working folder is gone.

    Raises:
        UsageError: there are some.
    """
    for path in (options.inventory or os.environ.get("FLEET_INVENTORY"), options.ssh_config):
        if path and not path.startswith(("/", "~")):
            raise UsageError(
                f"'{path}' is relative to the working folder, and that was deleted",
                hint="go to another folder first, or give the whole path",
            )


def choose(inventory: Inventory, options: Options, target: Target) -> tuple[Server, ...]:
    """The servers that are meant, in inventory order.

    Raises:
        RefusedError: a change without --limit or --all, a pattern that names nothing, an empty selection, several
            servers where one is wanted.
    """
    if target.explicit and not options.limit and not options.every:
        raise UsageError(
            "this changes daemons: say which",
            hint="with -l PATTERN, or --all for every server of the inventory; --list-hosts shows whom that names",
        )
    servers = select(inventory, options.limit or ("all",), options.exclude, allow_empty=options.allow_empty)
    if options.only is not None:
        servers = tuple(server for server in servers if server.name in options.only)
        if not servers and not options.allow_empty:
            raise EmptyTargetError(
                "none of the servers of that run is in the inventory now",
                hint="fleet inventory list shows those that are",
            )
    if target.single and len(servers) > 1:
        raise UsageError(
            f"{target.single}, and {len(servers)} servers are meant: {' '.join(fold(s.name for s in servers))}",
            hint="name one of them",
        )
    return servers


def refuse_exclusive(servers: Sequence[Server], options: Options) -> None:
    """Refuses servers that the inventory marks as exclusive, unless --force is given.

    Raises:
        UsageError: there are some.
    """
    names = fold(server.name for server in servers if server.exclusive)
    if names and not options.force:
        raise UsageError(
            f"marked as exclusive in the inventory, since a management client does harm by being there: "
            f"{' '.join(names)}",
            hint=f"leave out with -x '{','.join(names)}', or ask all the same with --force",
        )
