"""Asking servers: the way to them, one operation on all of them, and the operator's Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

from fleet.cli.options import Options
from fleet.cli.output import say
from fleet.cli.progress import show_progress
from fleet.cli.sshing import forks_for, ssh_options
from fleet.cli.workers import wants_shards
from fleet.engine import EXIT_INTERRUPTED, Attempt, Fan, FanOut, Outcome, fan_out
from fleet.errors import UsageError
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.journal.locks import Slots
from fleet.journal.places import runtime_folder
from fleet.operations.conversation import Access, work_on
from fleet.operations.operation import Answer, Operation
from fleet.render.progress import Progress
from fleet.transport import SSHOptions, Transport

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """What came of asking.

    Attributes:
        outcomes: one for each server, as they completed.
        interrupted: the operator broke off.
    """

    outcomes: list[Outcome[Answer[T]]]
    interrupted: bool


Listen = Callable[[Outcome[Any], Fan[Any], Progress], Outcome[Any] | None]
"""Told of each outcome as it completes; may break the fan-out off, and clears the progress line before it writes.

What it gives is kept in the outcome's place."""


def ask(
    operation: Operation[T],
    servers: Sequence[Server],
    options: Options,
    interrupts: Interrupts,
    *,
    journal: Journal | None = None,
    listen: Listen | None = None,
) -> Asked[T]:
    """Performs an operation on the servers, in an event loop of its own; on several processes where that pays.

    Raises:
        RefusedError: nothing was sent to any server.
    """
    if wants_shards(options, len(servers)):
        from fleet.cli.sharding import is_shardable, sharded  # noqa: PLC0415 - only for so many servers

        async def shared() -> Asked[T]:
            fan = await sharded(operation, servers, options, journal=journal)
            return await _outcomes_of(fan, options, interrupts, journal=journal, listen=listen)

        if is_shardable(operation):
            return asyncio.run(shared())

    async def connected() -> Asked[T]:
        async with Transport(servers, transport_options(options)) as transport:
            access = access_to(transport, options, changes=operation.changes, journal=journal)
            return await ask_over(access, operation, servers, options, interrupts, journal=journal, listen=listen)

    return asyncio.run(connected())


async def ask_over(
    access: Access,
    operation: Operation[T],
    servers: Sequence[Server],
    options: Options,
    interrupts: Interrupts,
    *,
    journal: Journal | None = None,
    listen: Listen | None = None,
    words: Callable[[], str] = str,
) -> Asked[T]:
    """The same in a loop that runs already, over a transport that may be used again.

    Args:
        access: the way to the servers.
        operation: is done to each.
        servers: each gets one outcome.
        options: of the command line.
        interrupts: end it.
        journal: is told of each outcome, where the run has one.
        listen: is told of each outcome.
        words: what the progress line says in place of how many servers are done; empty for that.
    """
    fan: FanOut[Answer[T]] = fan_out(
        servers,
        work_on(access, operation.perform),
        forks=forks_for(options, servers),
        host_timeout=options.host_timeout,
        run_timeout=options.timeout,
    )
    return await _outcomes_of(fan, options, interrupts, journal=journal, listen=listen, words=words)


async def _outcomes_of(
    fan: Fan[Answer[T]],
    options: Options,
    interrupts: Interrupts,
    *,
    journal: Journal | None,
    listen: Listen | None,
    words: Callable[[], str] = str,
) -> Asked[T]:
    """The outcomes of a run, of one process or of several, as they complete."""
    outcomes: list[Outcome[Answer[T]]] = []
    async with fan, show_progress(fan, outcomes, options, words) as progress:
        interrupts.end_with(partial(_interrupt, fan, progress))
        async for outcome in fan:
            if journal is not None:
                journal.outcome(outcome, _own_words(outcome))
            kept = None if listen is None else listen(outcome, fan, progress)
            outcomes.append(outcome if kept is None else kept)
    return Asked(outcomes, fan.interrupted)


def _own_words(outcome: Outcome[Answer[Any]]) -> str:
    """The daemon's own answer, as far as there is one."""
    answer = outcome.value or outcome.partial
    return "" if answer is None else answer.raw


def _interrupt(fan: Fan[Any], progress: Progress) -> None:
    progress.clear()
    say("interrupted: closing what is open; again to leave at once")
    fan.interrupt()


def access_to(
    transport: Transport, options: Options, *, changes: bool = False, journal: Journal | None = None
) -> Access:
    """How the daemons of a run are reached.

    Args:
        transport: the way to them.
        options: of the command line.
        changes: they are changed, which is not done without keeping other runs out.
        journal: is told what is sent, where the run has one.

    Raises:
        UsageError: the folder of the locks cannot be used, and something is to be changed.
    """
    return Access(
        transport,
        options.reply_timeout,
        slots=_slots(options, changes=changes),
        wait_busy=options.wait_busy or 0.0,
        on_sent=_untold if journal is None else journal.sent,
    )


def _slots(options: Options, *, changes: bool) -> Slots | None:
    try:
        return Slots(runtime_folder(os.environ), command=options.command_line, timeout=options.lock_timeout)
    except UsageError:
        if changes:
            raise
        return None  # who only looks needs no place to write


def _untold(_attempt: Attempt) -> None:
    """Nobody keeps a record of what is sent."""


def transport_options(options: Options, *, keep: bool = False) -> SSHOptions:
    """What the command line says of the way to the servers.

    Args:
        options: of the command line.
        keep: the servers are asked again and again.
    """
    return ssh_options(options, keep=keep)


class Interrupts:
    """The first Ctrl-C or SIGTERM ends the run with a report; the second ends the process at once, with a few words.

    A terminal that is closed is a first one too; as it may be told by the kernel and by a shell, it is never a second.

    In force until every outcome is there, so that no report is lost because a connection was just being closed.
    """

    def __init__(self) -> None:
        self._signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            self._signals.append(signal.SIGHUP)
        self._came = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], None] = lambda: None
        self._last_words: Callable[[], str] = str
        self._notice = ""

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in self._signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(KeyboardInterrupt):  # every outcome is there, and will be shown
            for number in reversed(self._signals):  # Ctrl-C is the first of them
                signal.signal(number, self._before[number])

    @property
    def came(self) -> bool:
        """Whether somebody wants an end."""
        return self._came

    def end_with(self, end: Callable[[], None]) -> None:
        """What ends the run, to be called in the running loop; at once if somebody wants that already."""
        self._loop, self._end = asyncio.get_running_loop(), end
        if self._came:
            end()

    def go_on_with(self, notice: str) -> None:
        """What is told of the first one where it ends nothing, since all is done but the writing."""
        self._notice = notice

    def leave_with(self, last_words: Callable[[], str]) -> None:
        """What there is to say where the process ends at once: of changes that are not put back. Empty for nothing."""
        self._last_words = last_words

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._came:
            if number != signal.SIGHUP:
                self._leave()
            return
        self._came = True
        if self._notice:
            with suppress(RuntimeError):  # the signal came while something else was being said
                say(self._notice)
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: everything is done
                self._loop.call_soon_threadsafe(self._end)

    def _leave(self) -> NoReturn:
        last_words, self._last_words = self._last_words, str  # nobody who reads: a third signal does not wait for it
        try:
            if text := last_words():
                os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))  # not `say`: a signal may have come in it
        finally:
            os._exit(EXIT_INTERRUPTED)
