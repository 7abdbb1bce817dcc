"""Changes that roll through a fleet batch by batch: what is asked for, the plan, and how it ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from fleet.cli.asking import Interrupts, access_to, ask, transport_options
from fleet.cli.batches import Driver, Plan
from fleet.cli.choosing import Target, admit, load_inventory
from fleet.cli.consent import Foresight, clients_of, confirm, effect, foresee, must_ask, somebody
from fleet.cli.options import Options, WhenUnreachable
from fleet.cli.output import Output, error_style, output_for, say
from fleet.cli.run import finish, left_text, open_journal, run
from fleet.cli.terminal import Terminal, terminal
from fleet.engine import EXIT_REFUSED, Outcome, Report, Work
from fleet.errors import InterruptedRunError, RefusedError, UsageError
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.journal.locks import RunLock
from fleet.journal.places import runtime_folder
from fleet.management import commands
from fleet.operations.capacity import Groups, shortages
from fleet.operations.conversation import Access, work_on
from fleet.operations.gate import COUNT_CLIENTS, WAIT_TIMEOUT, Restarting, Wait, parse_wait, restart
from fleet.operations.operation import Answer, Operation
from fleet.operations.preview import preview_of
from fleet.operations.rollout import Rollout, batches, parse_max_fail, parse_serial
from fleet.operations.signals import throw
from fleet.render.outcomes import errors_text, stopped_text
from fleet.render.rolling import plan_text, shortage_text
from fleet.render.text import escape
from fleet.transport import Transport

T = TypeVar("T")

_RESTARTS = ("SIGUSR1", "SIGHUP")
_DROPS = (*_RESTARTS, "SIGTERM")
_ROOM = "make smaller batches with --serial, or go on all the same with --no-capacity-guard"


def change(operation: Operation[Any], options: Options, target: Target) -> int:
    """Makes a change everywhere at once, or batch by batch where the command line asks for that.

    Returns:
        The exit status (docs/exit-status.md).

    Raises:
        RefusedError: nothing was sent to any server.
    """
    return roll(operation, options, target) if options.in_batches else run(operation, options, target)


def roll_signal(
    name: str, options: Options, target: Target, *, wait: str | None, wait_timeout: float | None, guard: bool
) -> int:
    """Throws a signal batch by batch; one that restarts daemons waits for them unless told not to.

    Args:
        name: the signal.
        options: of the command line.
        target: whom it is for.
        wait: what is to be waited for, where that was given.
        wait_timeout: seconds, where they were given.
        guard: of a signal that drops clients: a batch is begun only where others have room for them.

    Raises:
        RefusedError: nothing was sent to any server.
    """
    wanted = Wait() if wait is None and name in _RESTARTS else parse_wait("none" if wait is None else wait)
    if wanted is not None and name not in _RESTARTS:
        raise UsageError(f"nobody is CONNECTED again after {name}", hint="--wait is for SIGUSR1 and SIGHUP")
    guard = guard and name in _DROPS
    if wanted is None:
        return roll(throw(name), options, target, guard=guard)
    seconds = WAIT_TIMEOUT if wait_timeout is None else wait_timeout
    command = commands.signal(name)
    return roll(
        restart(name, seconds),
        options,
        target,
        work=lambda access: Restarting(access, command, seconds),
        wait=wanted,
        wait_timeout=seconds,
        guard=guard,
    )


def roll(
    operation: Operation[T],
    options: Options,
    target: Target,
    *,
    work: Callable[[Access], Work[Answer[T]]] | None = None,
    wait: Wait | None = None,
    wait_timeout: float = WAIT_TIMEOUT,
    guard: bool = False,
) -> int:
    """Makes a change batch by batch, and shows what came of it.

    Args:
        operation: is done to each server.
        options: of the command line.
        target: whom it is for.
        work: does it, where that is more than performing the operation.
        wait: what is waited for behind each batch.
        wait_timeout: seconds for the clients of a batch.
        guard: look for room for the clients that are dropped.

    Returns:
        The exit status (docs/exit-status.md).

    Raises:
        RefusedError: nothing was sent to any server.
    """
    serial = parse_serial("1" if options.serial is None else options.serial)
    limit = parse_max_fail("0" if options.max_fail is None else options.max_fail)
    servers = admit(operation, options, target)
    if servers is None:
        return 0
    cut = batches([server.name for server in servers], serial)
    skip = options.unreachable is WhenUnreachable.SKIP
    plan = Plan(
        operation,
        servers,
        options,
        target,
        Rollout(cut, limit.of(len(servers)), skip_unreachable=skip),
        work or (lambda access: work_on(access, operation.perform)),
        wait,
        wait_timeout,
        Groups(load_inventory(options)) if guard else None,
    )
    return _make(plan)


def _make(plan: Plan[T]) -> int:
    """Shows the plan, asks, and does it."""
    options = plan.options
    person = _person(plan)
    started, begun = datetime.now(UTC), time.monotonic()
    found = foresee(plan.operation, plan.servers, options)
    _refuse_shortage(plan, found)
    _show(plan, found)
    if options.dry_run:
        return _shown(plan, _report(plan, found, started, time.monotonic() - begun))
    if must_ask(plan.operation, plan.servers, options) and person is not None:
        confirm(plan.operation, plan.servers, options, person)
    output = output_for(plan.operation, options)
    with Interrupts() as interrupts:
        work = partial(_recorded, plan, output, interrupts, person)
        report, run_id = asyncio.run(alone(options, interrupts, work))
    status = finish(report, output, run_id)
    if not options.quiet:
        say(_end(plan, report, run_id))
    return status


# Before it begins


def _person(plan: Plan[Any]) -> Terminal | None:
    """Whoever is to be asked, before the change or between its batches.

    Raises:
        UsageError: somebody is to be asked, and there is no terminal.
    """
    if plan.options.dry_run:
        return None
    if must_ask(plan.operation, plan.servers, plan.options):
        return somebody(plan.operation, plan.servers)
    person = terminal()
    if plan.options.step and person is None:
        raise UsageError("--step asks between batches, and there is no terminal to ask at")
    return person


def _refuse_shortage(plan: Plan[Any], found: Foresight) -> None:
    """Refuses a change of which a batch drops more clients than others can take.

    Raises:
        UsageError: there is one.
    """
    if plan.groups is None:
        return
    clients = {outcome.server.name: clients_of(outcome) for outcome in found} | _count(plan.neighbours, plan.options)
    for number, batch in enumerate(plan.rollout.batches, start=1):
        for shortage in shortages(plan.neighbourhoods(batch), clients):
            raise UsageError(f"batch {number}: {shortage_text(shortage)}", hint=_ROOM)


def _count(servers: Iterable[Server], options: Options) -> dict[str, int | None]:
    """How many clients servers have that are not changed themselves."""
    with Interrupts() as interrupts:
        asked = ask(COUNT_CLIENTS, tuple(servers), options, interrupts)
    if asked.interrupted:
        raise InterruptedRunError("interrupted before anything was sent")
    return {outcome.server.name: None if outcome.value is None else outcome.value.value for outcome in asked.outcomes}


def _show(plan: Plan[Any], found: Foresight) -> None:
    """Tells what is going to be done, and who could not be asked."""
    if plan.options.quiet:
        return
    clients = {outcome.server.name: clients_of(outcome) for outcome in found}
    say(plan_text(effect(plan.operation, found), plan.rollout.batches, clients))
    if not plan.options.dry_run:
        say(errors_text(found, style=error_style(plan.options)))


def _shown(plan: Plan[Any], report: Report[Answer[Any]]) -> int:
    """The end of a dry run: what would be sent where."""
    output = output_for(preview_of(plan.operation), plan.options)
    for outcome in report.outcomes:
        output.outcome(outcome)
    return finish(report, output)


# The change itself


async def alone(options: Options, interrupts: Interrupts, work: Callable[[], Awaitable[T]]) -> T:
    """Does the work while no other rolling change is made on this machine.

    Raises:
        RunLockedError: another one is made, for longer than --lock-timeout.
        InterruptedRunError: before the work began, or where it let itself be cancelled.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made it
    interrupts.end_with(partial(_cancel, task))
    lock = RunLock(runtime_folder(os.environ), "rolling", options.command_line, options.lock_timeout)
    try:
        async with lock.hold():
            return await work()
    except asyncio.CancelledError:
        raise InterruptedRunError("interrupted before anything was sent") from None


def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()


async def _recorded(
    plan: Plan[T], output: Output[T], interrupts: Interrupts, person: Terminal | None
) -> tuple[Report[Answer[T]], str]:
    """Makes the change; gives its report, and its name in the history.

    Raises:
        RefusedError: nothing was sent.
    """
    journal = open_journal(plan.operation, plan.servers, plan.options, plan.target)
    interrupts.leave_with(partial(left_text, journal))
    try:
        report = await _driven(plan, output, interrupts, person, journal)
    except (RefusedError, asyncio.CancelledError):
        journal.end(EXIT_REFUSED, interrupted=False)
        raise
    say(journal.end(report.exit_status, interrupted=report.interrupted) or "")
    return report, journal.run_id


async def _driven(
    plan: Plan[T], output: Output[T], interrupts: Interrupts, person: Terminal | None, journal: Journal
) -> Report[Answer[T]]:
    started, begun = datetime.now(UTC), time.monotonic()
    async with Transport((*plan.servers, *plan.neighbours), transport_options(plan.options), keep=True) as transport:
        access = access_to(transport, plan.options, changes=True, journal=journal)
        driver = Driver(plan, access, journal, output, person)
        interrupts.end_with(driver.interrupt)
        await driver.run()
    elapsed = time.monotonic() - begun
    return _report(plan, driver.outcomes, started, elapsed, interrupted=driver.interrupted)


def _report(
    plan: Plan[Any],
    outcomes: Iterable[Outcome[Answer[Any]]],
    started: datetime,
    elapsed: float,
    *,
    interrupted: bool = False,
) -> Report[Answer[Any]]:
    return Report.of(
        plan.servers,
        outcomes,
        command=plan.operation.name,
        args=plan.target.args,
        started=started,
        elapsed=elapsed,
        interrupted=interrupted,
    )


def _end(plan: Plan[Any], report: Report[Any], run_id: str) -> str:
    """Where the fleet stands after a rollout that was not gone through, and how to go on."""
    lines = []
    left = report.summary["not_attempted"]
    if left and not report.interrupted:  # an interrupted run has told it already
        lines.append(stopped_text(report, escape(f"stopped: {plan.rollout.stopped}")))
    if left and run_id:
        # Whoever looks around first makes other runs, so that this one is no longer the last.
        lines.append(f"again for the rest: fleet history rerun {run_id} --only not-attempted")
    return "\n".join(lines)
