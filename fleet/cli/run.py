"""One run of an operation: choose the servers, ask them, show the outcomes, say the exit status."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar

from fleet.cli.asking import Asked, Interrupts, ask
from fleet.cli.choosing import Named, Target, admit, inventory_paths
from fleet.cli.options import Options
from fleet.cli.output import Output, output_for, say
from fleet.cli.watch import refuse_watch
from fleet.engine import Fan, Outcome, Report
from fleet.errors import FleetError, InterruptedRunError, RefusedError
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.operations.operation import Answer, Operation
from fleet.render.progress import Progress

T = TypeVar("T")

_LEAST = 0.001  # seconds: a timeout is more than 0


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

    A change is shown and asked for before, as the operation says; with --dry-run it is shown and not done. What only
    reads is done again and again with --watch.

    Returns:
        The exit status (docs/exit-status.md).

    Raises:
        RefusedError: nothing was sent to any server.
    """
    watched = options.watch is not None and not operation.changes
    if watched:
        from fleet.cli.watching import check_watch, watch  # noqa: PLC0415 - only for --watch

        check_watch(options)
    else:
        refuse_watch(options, operation.name)
    servers = admit(operation, replace(options, watch=None) if watched else options, target, shards=not watched)
    if servers is None:
        return 0
    if operation.changes:
        from fleet.cli.consent import agree  # noqa: PLC0415 - what only reads asks nobody
        from fleet.operations.preview import preview_of  # noqa: PLC0415 - as above

        if options.dry_run:
            return perform(preview_of(operation), servers, options, target)
        agree(operation, servers, options)
    journal = open_journal(operation, servers, options, target)
    with recorded(journal):
        if watched:
            return watch(operation, servers, options, target, ending=ending or Ending(), journal=journal)
        return perform(operation, servers, options, target, ending=ending, journal=journal)


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
    output.expect(servers)
    ending = ending or Ending()
    started, begun = datetime.now(UTC), time.monotonic()
    with Interrupts() as interrupts:
        if journal is not None:
            interrupts.leave_with(partial(left_text, journal))
        keep = ending != Ending()  # otherwise nobody wants the values of outcomes that are written
        listen = None if ending.settle else partial(_show, operation, output, keep=keep)
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
        if output.abandoned:
            report = _of_readers(report, interrupted=interrupts.came)
        if journal is not None:
            say(journal.end(report.exit_status, interrupted=report.interrupted) or "")
    status = finish(report, output, "" if journal is None else journal.run_id)
    if any(hasattr(type(value), "clients") for value in values):
        from fleet.cli.remembered import remember_clients  # noqa: PLC0415 - only for answers that name clients

        with suppress(KeyboardInterrupt):  # the run is over, and has told all that it did
            remember_clients(values)
    return status


def _of_readers(report: Report[T], *, interrupted: bool) -> Report[T]:
    """The report where nobody read to the end: those that were not asked because of that are no news."""
    outcomes = tuple(one for one in report.outcomes if not isinstance(one.error, InterruptedRunError))
    return replace(report, outcomes=outcomes, interrupted=interrupted)


def _left(options: Options, spent: float) -> Options:
    """The options with what is left of the time of the whole run."""
    return options if options.timeout is None else replace(options, timeout=max(options.timeout - spent, _LEAST))


def finish(report: Report[Answer[T]], output: Output[T], run_id: str = "") -> int:
    """Shows a report, and gives the exit status.

    Ctrl-C ends nothing here: every outcome is there, and is shown whole. The second one leaves at once.

    Args:
        report: of the run.
        output: shows it.
        run_id: the run in the history, for who leaves; empty where nothing is kept of it.
    """
    with Interrupts() as interrupts:
        interrupts.go_on_with("every server has its outcome, and they are being written; again to leave at once")
        record = f": fleet history show {run_id}" if run_id else ""
        interrupts.leave_with(lambda: f"left at once; not every outcome was written{record}")
        return output.finish(report)


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
        inventory=", ".join(inventory_paths(options)),
        syslog=options.syslog,
        environ=os.environ,
    )


@contextmanager
def recorded(journal: Journal) -> Iterator[None]:
    """Sees to the record of a run that is broken off, and to what is said of it.

    Raises:
        RefusedError: as the block; nothing was sent to any server.
        InterruptedRunError: Ctrl-C where it is no signal to the servers' work, which is done or has not begun.
    """
    try:
        yield
    except (RefusedError, InterruptedRunError) as error:
        end_refused(journal, error)
        raise
    except KeyboardInterrupt as error:
        what = "interrupted; what was sent is on record" if journal.has_sent else "interrupted before anything was sent"
        broken = InterruptedRunError(what, hint=_record_of(journal) if journal.has_sent else None)
        end_refused(journal, broken)
        raise broken from error


def left_text(journal: Journal) -> str:
    """The last words of a run that is left at once: where it stands what was sent, if anything was."""
    return f"left at once; what was sent is on record: {_record_of(journal)}" if journal.has_sent else ""


def _record_of(journal: Journal) -> str:
    return f"fleet history show {journal.run_id}"


def end_refused(journal: Journal, error: FleetError) -> None:
    """Closes the record of a run that was broken off before anything was sent to any server."""
    report: Report[None] = Report(
        "", (), datetime.now(UTC), 0.0, interrupted=isinstance(error, InterruptedRunError), error=error
    )
    journal.end(report.exit_status, interrupted=report.interrupted)


def _show(
    operation: Operation[T],
    output: Output[T],
    outcome: Outcome[Answer[T]],
    fan: Fan[Any],
    progress: Progress,
    *,
    keep: bool,
) -> Outcome[Answer[T]] | None:
    if output.writes_at_once:
        progress.clear()
    if not output.outcome(outcome) and not operation.changes:
        output.abandoned = True  # nobody reads on, and nothing is changed by stopping
        fan.interrupt()
    # A million rows are not kept until the end where they are written as they come.
    return replace(outcome, value=None, partial=None) if output.spent and not keep else None
