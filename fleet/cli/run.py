"""One run of an operation: choose the servers, ask them, show the outcomes, say the exit status."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Generic, Self, TypeVar

from fleet.cli.options import Options
from fleet.cli.output import Output, output_for, say, write
from fleet.cli.progress import show_progress
from fleet.engine import EXIT_INTERRUPTED, FanOut, Outcome, Report, fan_out
from fleet.errors import UsageError
from fleet.inventory.load import find_inventory, load
from fleet.inventory.model import Inventory, Server
from fleet.inventory.pattern import select
from fleet.inventory.secrets import check_secrets
from fleet.operations.conversation import work_on
from fleet.operations.operation import Answer, Operation
from fleet.render.fold import fold
from fleet.render.progress import Progress
from fleet.transport import SSHOptions, Transport

T = TypeVar("T")


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
    """

    answer_status: Callable[[Sequence[T]], int] = lambda _values: 0
    words: Callable[[Sequence[T], int], str] | None = None


def run(operation: Operation[T], options: Options, target: Target, ending: Ending[T] | None = None) -> int:
    """Performs the operation on the servers that are meant, and shows what came of it.

    Returns:
        The exit status (docs/exit-status.md).

    Raises:
        RefusedError: nothing was sent to any server.
    """
    servers = admit(operation, options, target)
    if servers is None:
        return 0
    job = _Run(operation, servers, options, target, ending or Ending(), output_for(operation, options))
    with Interrupts() as interrupts:
        report = asyncio.run(_ask(job, interrupts))
    try:
        return job.output.finish(report)
    except KeyboardInterrupt:
        say("interrupted while the outcomes were being written; every server has its own")
        return EXIT_INTERRUPTED


def admit(operation: Operation[Any], options: Options, target: Target) -> tuple[Server, ...] | None:
    """The servers that may be asked now; None where they were only to be listed, and were.

    Raises:
        RefusedError: the run is read-only, the servers cannot be chosen, are exclusive, or their secrets unreadable.
    """
    if operation.changes and options.readonly:
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
    folder = _working_folder()
    if folder is None:
        _refuse_relative(options)
    return load(find_inventory(options.inventory, os.environ, folder or "."))


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
    if target.single and len(servers) > 1:
        raise UsageError(
            f"{target.single}, and {len(servers)} servers are meant: {' '.join(fold(s.name for s in servers))}",
            hint="name one server with -l",
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


@dataclass(frozen=True, slots=True)
class _Run(Generic[T]):
    """All that one run is made of."""

    operation: Operation[T]
    servers: tuple[Server, ...]
    options: Options
    target: Target
    ending: Ending[T]
    output: Output[T]


async def _ask(job: _Run[T], interrupts: Interrupts) -> Report[Answer[T]]:
    started = datetime.now(UTC)
    clock = asyncio.get_running_loop().time
    begun = clock()
    outcomes: list[Outcome[Answer[T]]] = []
    async with (
        Transport(job.servers, transport_options(job.options)) as transport,
        _fan_out(job, transport) as fan,
        show_progress(fan, outcomes, job.options) as progress,
    ):
        interrupts.end_with(partial(_interrupt, fan, progress))
        async for outcome in fan:
            outcomes.append(outcome)
            if job.output.writes_at_once:
                progress.clear()
            if not job.output.outcome(outcome) and not job.operation.changes:
                job.output.abandoned = True  # nobody reads on, and nothing is changed by stopping
                fan.interrupt()
    values = [outcome.value.value for outcome in outcomes if outcome.value is not None]
    if job.ending.words is not None:
        job.output.words(job.ending.words(values, len(job.servers)))
    return Report.of(
        job.servers,
        outcomes,
        command=job.operation.name,
        args=job.target.args,
        started=started,
        elapsed=clock() - begun,
        interrupted=fan.interrupted,
        answer_status=job.ending.answer_status(values),
    )


def _interrupt(fan: FanOut[Any], progress: Progress) -> None:
    progress.clear()
    say("interrupted: closing what is open; again to leave at once")
    fan.interrupt()


def _fan_out(job: _Run[T], transport: Transport) -> FanOut[Answer[T]]:
    options = job.options
    work = work_on(transport, job.operation.perform, options.reply_timeout)
    return fan_out(
        job.servers, work, forks=options.forks, host_timeout=options.host_timeout, run_timeout=options.timeout
    )


def transport_options(options: Options) -> SSHOptions:
    """What the command line says of the way to the servers."""
    files = None if options.ssh_config is None else (Path(options.ssh_config),)
    return SSHOptions(config_files=files, connect_timeout=options.connect_timeout)


class Interrupts:
    """The first Ctrl-C or SIGTERM ends the run with a report; the second ends the process at once.

    In force until every outcome is there, so that no report is lost because a connection was just being closed.
    """

    _SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._came = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in self._SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def end_with(self, end: Callable[[], None]) -> None:
        """What ends the run, to be called in the running loop; at once if somebody wants that already."""
        self._loop, self._end = asyncio.get_running_loop(), end
        if self._came:
            end()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._came:
            os._exit(EXIT_INTERRUPTED)
        self._came = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: everything is done
                self._loop.call_soon_threadsafe(self._end)
