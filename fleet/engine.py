"""Fan-out: one piece of work on many servers, a few at a time, one outcome for each server as it completes.

    async with fan_out(servers, work, forks=64, host_timeout=30.0) as run:
        async for outcome in run:
            ...

Whatever the work does (finish, fail, hang, break) and however the run ends, every server has exactly one outcome:

    not started ──> in flight ──> settled          the work ended, or its host timeout passed
         └───────────────────────────^             interrupt(), or the run timeout

A server is settled the moment its clock runs out, and its work is cancelled in that moment; the outcome does not
wait for connections to be closed. Its fork does: the next server starts when the work has really ended, and leaving
the block waits for all of them.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Generic, Literal, NoReturn, Self, TypeVar, cast

from fleet.errors import (
    FleetError,
    HostTimeoutError,
    InternalError,
    InterruptedRunError,
    LockedError,
    RefusedError,
    RunLockedError,
    RunTimeoutError,
    ServerError,
    UnreachableError,
)
from fleet.inventory.model import Server

T = TypeVar("T")

OutcomeStatus = Literal["ok", "failed", "unreachable", "not_attempted"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_INTERNAL: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_LOCKED: Final = 75  # sysexits' EX_TEMPFAIL: the same again later may do
EXIT_INTERRUPTED: Final = 130

_log = logging.getLogger(__name__)


class Clock:
    """A host timeout, which can be paused.

    Args:
        timeout: seconds, pauses not counted.
        expire: called when they are over.
    """

    def __init__(self, timeout: float, expire: Callable[[], None]) -> None:
        self._left = timeout
        self._expire = expire
        self._started = 0.0  # loop time, seconds
        self._pauses = 1
        self._timer: asyncio.TimerHandle | None = None
        self.resume()

    def pause(self) -> None:
        """Stops the clock until `resume` was called as often."""
        self._pauses += 1
        if self._timer is not None:
            self._left -= asyncio.get_running_loop().time() - self._started
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """Lets the clock go on with what was left."""
        self._pauses -= 1
        if self._pauses == 0:
            loop = asyncio.get_running_loop()
            self._started = loop.time()
            self._timer = loop.call_later(max(self._left, 0.0), self._expire)

    def stop(self) -> None:
        """Stops the clock for good."""
        self._pauses += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._expire = _nothing  # what it would have called knows this clock, and so kept it


def _nothing() -> None:
    """A clock that was stopped has nothing to call."""


@dataclass(slots=True, eq=False)
class Attempt:
    """What is known of the work on one server while it runs; the work keeps it up to date.

    Attributes:
        server: the server that is worked on.
        phase: what it is doing, to go behind "it was": "connecting", "waiting for the reply to status 3".
        sent: a change that was written to the daemon and whose reply was not read yet, or None.
        confirmed: changes that the daemon has answered, and not with an error: they are done.
        warnings: what the operator should know of this server beside the answer.
        partial: what is done so far of work in several steps; it becomes the outcome's where the work fails.
        clock: the server's host timeout.
    """

    server: Server
    phase: str = "starting"
    sent: str | None = None
    confirmed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    partial: Any = None
    clock: Clock | None = None

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """A wait that is meant, which the host timeout does not count: for a lock, for clients to be back.

        What is done inside needs a clock of its own.
        """
        if self.clock is None:
            yield
            return
        self.clock.pause()
        try:
            yield
        finally:
            self.clock.resume()


Work = Callable[[Attempt], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one server.

    Attributes:
        server: the server.
        elapsed: seconds from the start of its work until it was settled; waiting for a fork is not counted.
        value: what the work returned; None where there is an error.
        error: what kept the server from answering, or None.
        attempted: its work was started.
        sent: a change that was written to the daemon and never confirmed, or None. Filled from the error where
            the error knows and the caller does not say.
        confirmed: where there is an error: the changes that were done before it, as the daemon said.
        warnings: what the operator should know of this server beside the answer.
        partial: where there is an error: what was done before it, of the value's type, or None.
    """

    server: Server
    elapsed: float
    value: T | None = None
    error: ServerError | None = None
    attempted: bool = True
    sent: str | None = None
    confirmed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    partial: T | None = None

    def __post_init__(self) -> None:
        if self.sent is None and self.error is not None:
            object.__setattr__(self, "sent", self.error.sent)

    def __bool__(self) -> NoReturn:
        """An outcome is neither true nor false: `if outcome:` would pass for failures too."""
        raise TypeError("an outcome has no truth value: ask for its status")

    @property
    def status(self) -> OutcomeStatus:
        """`ok`, `failed`, `unreachable` or `not_attempted`, as in the JSON document."""
        if not self.attempted:
            return "not_attempted"
        if self.error is None:
            return "ok"
        return "unreachable" if isinstance(self.error, UnreachableError) else "failed"

    def require(self) -> T:
        """The value.

        Raises:
            ServerError: the error of a server that is not ok.
            RuntimeError: the server was not attempted, and no error says why.
        """
        if self.error is not None:
            raise self.error
        if not self.attempted:
            raise RuntimeError(f"{self.server.name} was not attempted")
        return cast("T", self.value)  # value is Optional for the error's sake only: without one it is the work's T


@dataclass(frozen=True, slots=True)
class Report(Generic[T]):
    """A whole run.

    Attributes:
        command: the subcommand's name.
        args: its arguments, as the user gave them.
        started: when the run began, aware, UTC.
        elapsed: seconds that the run took.
        outcomes: one for each server, in inventory order.
        interrupted: the operator broke the run off.
        error: what ended the run before it came to any server, or None.
        answer_status: the exit status of a run in which every server did what was asked. `kill` says 1 here
            where the client was found nowhere.
    """

    command: str
    args: tuple[str, ...]
    started: datetime
    elapsed: float
    outcomes: tuple[Outcome[T], ...] = ()
    interrupted: bool = False
    error: FleetError | None = None
    answer_status: int = EXIT_OK

    @classmethod
    def of(
        cls,
        servers: Sequence[Server],
        outcomes: Iterable[Outcome[T]],
        *,
        command: str,
        args: Sequence[str],
        started: datetime,
        elapsed: float,
        interrupted: bool = False,
        answer_status: int = EXIT_OK,
    ) -> Report[T]:
        """The report of a run, its outcomes put into the order of `servers`.

        Raises:
            ValueError: the outcomes are not one for each server.
        """
        position = {server.name: index for index, server in enumerate(servers)}
        ordered = tuple(sorted(outcomes, key=lambda outcome: position.get(outcome.server.name, -1)))
        if [outcome.server.name for outcome in ordered] != [server.name for server in servers]:
            raise ValueError("a report wants exactly one outcome for each server")
        return cls(command, tuple(args), started, elapsed, ordered, interrupted, None, answer_status)

    @property
    def exit_status(self) -> int:
        """The first that holds, worst news first.

        130 the run was interrupted; 3 fleet itself broke (InternalError) on a server or on the whole; 75 another run
        held what this one wanted; 2 the run was refused before anything was sent; 4 a server was unreachable, or its
        turn did not come before the run timeout; 1 a server failed, or was left out for any other reason; else
        `answer_status`.
        """
        statuses = {outcome.status for outcome in self.outcomes}
        ranks = (
            (EXIT_INTERRUPTED, self.interrupted),
            (EXIT_INTERNAL, self._broke or self._has(InternalError)),
            (EXIT_LOCKED, self._has(LockedError, RunLockedError)),
            (EXIT_REFUSED, self._has(RefusedError)),
            (EXIT_UNREACHABLE, "unreachable" in statuses or self._has(RunTimeoutError)),
            (EXIT_FAILED, bool(statuses - {"ok"})),
        )
        return next((status for status, holds in ranks if holds), self.answer_status)

    def _has(self, *kinds: type[FleetError]) -> bool:
        """Whether the run as a whole, or any server, has an error of one of these kinds."""
        return isinstance(self.error, kinds) or any(isinstance(outcome.error, kinds) for outcome in self.outcomes)

    @property
    def _broke(self) -> bool:
        """The run as a whole ended on something that is no refusal and no clock."""
        return self.error is not None and not isinstance(self.error, RefusedError | RunTimeoutError)

    @property
    def summary(self) -> Mapping[str, int]:
        """How many servers there are, and how many of each status."""
        counts = {"servers": len(self.outcomes), "ok": 0, "failed": 0, "unreachable": 0, "not_attempted": 0}
        for outcome in self.outcomes:
            counts[outcome.status] += 1
        return MappingProxyType(counts)


@dataclass(slots=True, eq=False)
class _Flight:
    """One server whose work was started, until the work has ended."""

    attempt: Attempt
    started: float  # loop time, seconds
    task: asyncio.Task[object] | None = None
    settled: bool = False

    def clear_deadline(self) -> None:
        if self.attempt.clock is not None:
            self.attempt.clock.stop()


class Fan(ABC, Generic[T]):
    """A run on many servers, in this process (`FanOut`) or in others (fleet/shards).

    Enter it once; inside the block it is an async iterator of the servers' outcomes, as they complete.

    Args:
        total: how many servers there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._ready: deque[Outcome[T]] = deque()
        self._settled = 0
        self._changed = asyncio.Event()
        self._interrupted = False

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Begins."""

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends what is left, and waits for it."""

    def __aiter__(self) -> AsyncIterator[Outcome[T]]:
        return self

    async def __anext__(self) -> Outcome[T]:
        while not self._ready:
            if self._settled == self._total:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._ready.popleft()

    @property
    def total(self) -> int:
        """How many servers the run has."""
        return self._total

    @property
    def done(self) -> int:
        """How many servers have their outcome, fetched or not."""
        return self._settled

    @property
    @abstractmethod
    def in_flight(self) -> tuple[Attempt, ...]:
        """The servers that are worked on and have no outcome yet."""

    @property
    def interrupted(self) -> bool:
        """`interrupt` was called."""
        return self._interrupted

    @abstractmethod
    def interrupt(self) -> None:
        """Ends the run; every server that has no outcome yet gets one. Calling it again does nothing."""

    def _settle(self, outcome: Outcome[T]) -> None:
        self._ready.append(outcome)
        self._settled += 1
        self._changed.set()


class FanOut(Fan[T]):
    """Work on many servers; see `fan_out`. Enter it once; inside the block it is an async iterator of outcomes."""

    def __init__(
        self,
        servers: Iterable[Server],
        work: Work[T],
        *,
        forks: int,
        host_timeout: float | None,
        run_timeout: float | None,
        spent: float = 0.0,
    ) -> None:
        if forks < 1:
            raise ValueError("forks must be at least 1")
        if any(timeout is not None and not timeout > 0 for timeout in (host_timeout, run_timeout)):
            raise ValueError("a timeout must be more than 0 seconds")
        self._waiting = deque(servers)
        super().__init__(len(self._waiting))
        self._work = work
        self._forks = forks
        self._host_timeout = host_timeout
        self._run_timeout = run_timeout
        self._spent = spent
        self._flights: dict[asyncio.Task[object], _Flight] = {}  # until the work has ended, settled or not
        self._run_deadline: asyncio.TimerHandle | None = None
        self._open: bool | None = None  # None: the block was not entered yet

    # --- the block and the iterator

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise RuntimeError("a fan-out is entered once")
        self._open = True
        if self._run_timeout is not None:
            left = max(self._run_timeout - self._spent, 0.0)
            self._run_deadline = asyncio.get_running_loop().call_later(left, self._end_of_run)
        self._fill()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        self._waiting.clear()
        if self._run_deadline is not None:
            self._run_deadline.cancel()
        for task, flight in self._flights.items():
            flight.clear_deadline()
            if not flight.settled:  # the settled ones were cancelled when their clock ran out; they are closing
                flight.settled = True
                task.cancel()
        await self._wait_for_closes()

    async def _wait_for_closes(self) -> None:
        """Waits until no work is left. A cancellation is handed on to the closes, and raised when they are done."""
        cancelled: asyncio.CancelledError | None = None
        while self._flights:
            try:
                await asyncio.wait(tuple(self._flights))
            except asyncio.CancelledError as error:
                cancelled = error
                for task in self._flights:
                    task.cancel()
        if cancelled is not None:
            raise cancelled

    async def __anext__(self) -> Outcome[T]:
        if not self._open:
            raise RuntimeError("outcomes come only inside the fan-out's block")
        return await super().__anext__()

    # --- what a progress line and a signal handler want

    @property
    def in_flight(self) -> tuple[Attempt, ...]:
        """The servers that are worked on and have no outcome yet, longest first."""
        return tuple(flight.attempt for flight in self._flights.values() if not flight.settled)

    @property
    def pending(self) -> tuple[Attempt, ...]:
        """Every server without an outcome: those in flight, then those that wait for a fork."""
        return (*self.in_flight, *(Attempt(server, "waiting for a fork") for server in self._waiting))

    def interrupt(self) -> None:
        """Ends the run: what was not started is not attempted, what is in flight is cancelled.

        Every server that has no outcome yet gets one with InterruptedRunError; the iterator gives the rest and
        ends. To be called in the loop's thread, as by `loop.add_signal_handler`; calling it again does nothing.
        """
        if self._open:
            self._interrupted = True
            self._stop(*INTERRUPTED)

    # --- starting

    def _fill(self) -> None:
        """Starts work until every fork is taken. A task exists only for a server that is being worked on."""
        while self._waiting and len(self._flights) < self._forks:
            self._start(self._waiting.popleft())

    def _start(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        flight = _Flight(Attempt(server), loop.time())
        task: asyncio.Task[object] = loop.create_task(self._perform(flight.attempt), name=f"fleet {server.name}")
        flight.task = task
        self._flights[task] = flight
        if self._host_timeout is not None:
            flight.attempt.clock = Clock(self._host_timeout, partial(self._expire, flight, self._host_timeout))
        task.add_done_callback(self._landed)

    async def _perform(self, attempt: Attempt) -> T:
        return await self._work(attempt)

    # --- settling: the one place where outcomes are made

    def _settle_flight(self, flight: _Flight, value: T | None, error: ServerError | None) -> None:
        flight.settled = True
        flight.clear_deadline()
        attempt = flight.attempt
        elapsed = asyncio.get_running_loop().time() - flight.started
        sent = None if error is None else error.sent or attempt.sent
        self._settle(
            Outcome(
                attempt.server,
                elapsed,
                value,
                error,
                sent=sent,
                confirmed=() if error is None else tuple(attempt.confirmed),
                warnings=tuple(attempt.warnings),
                partial=None if error is None else attempt.partial,
            )
        )

    def _landed(self, task: asyncio.Task[object]) -> None:
        """The work on a server has ended, in whatever way: its outcome, if it has none yet, and the next server."""
        flight = self._flights.pop(task)
        flight.task = None  # it has the value, which may be big: nothing keeps it until a garbage collector comes
        error = _error_of(task)
        if not flight.settled:
            if error is None:
                self._settle_flight(flight, cast("T", task.result()), None)  # what _perform returns is a T
            elif isinstance(error, ServerError):
                self._settle_flight(flight, None, error)
            else:
                self._settle_flight(flight, None, _internal(error, flight.attempt))
        elif error is not None and not isinstance(error, asyncio.CancelledError):
            # The server has its outcome already; only a debugger wants to know how the cancelled work ended.
            _log.debug("the cancelled work on %s ended with an error", flight.attempt.server.name, exc_info=error)
        self._fill()

    def _expire(self, flight: _Flight, host_timeout: float) -> None:
        what = f"not done within {_seconds(host_timeout)} s"
        self._break_off(flight, HostTimeoutError, what, "give each server more time with --host-timeout")

    def _end_of_run(self) -> None:
        self._stop(*run_over(self._run_timeout or 0.0))

    def _stop(self, error: type[ServerError], what: str, hint: str | None) -> None:
        while self._waiting:
            self._settle(never_begun(self._waiting.popleft(), error, what, hint))
        for flight in list(self._flights.values()):
            self._break_off(flight, error, what, hint)

    def _break_off(self, flight: _Flight, error: type[ServerError], what: str, hint: str | None) -> None:
        """Settles a server with an error that says what it was doing, and cancels its work."""
        if flight.settled or flight.task is None or flight.task.done():
            return  # it has its outcome, or `_landed` is about to make it from what the work really said
        attempt = flight.attempt
        self._settle_flight(
            flight, None, error(f"{what}; it was {attempt.phase}", hint=_hint(hint, attempt.sent), sent=attempt.sent)
        )
        flight.task.cancel()


def fan_out(
    servers: Iterable[Server],
    work: Work[T],
    *,
    forks: int = 64,
    host_timeout: float | None = 30.0,
    run_timeout: float | None = None,
    spent: float = 0.0,
) -> FanOut[T]:
    """Does the work on every server, at most `forks` at a time; an async context manager around an async iterator.

    The iterator gives an Outcome per server as they complete. A ServerError that the work raises becomes the
    server's outcome as it is; anything else is a bug, and becomes an outcome with InternalError and the exception
    as its cause. Leaving the block early cancels what runs and waits for it to end.

    Args:
        servers: each gets exactly one outcome.
        work: called with the server's Attempt, in a task of its own; it keeps `phase` and `sent` up to date.
        forks: how many servers are worked on at a time; no other tasks exist.
        host_timeout: seconds for one server from the start of its work (HostTimeoutError), or None.
        run_timeout: seconds for all of them from entering the block (RunTimeoutError), or None.
        spent: seconds of `run_timeout` that were over before: these servers are a part of the run.

    Raises:
        ValueError: fewer than one fork, or a timeout that is not more than 0.
    """
    return FanOut(servers, work, forks=forks, host_timeout=host_timeout, run_timeout=run_timeout, spent=spent)


Stop = tuple[type[ServerError], str, str | None]
"""Why a run stops before every server is done: the error of those that are not, what it says, and its hint."""

INTERRUPTED: Final[Stop] = (InterruptedRunError, "interrupted", None)
"""The operator wants an end."""


def run_over(run_timeout: float) -> Stop:
    """The time of the whole run is over.

    Args:
        run_timeout: what it was, in seconds.
    """
    hint = "give the run more time with --timeout, or ask more servers at a time with --forks"
    return RunTimeoutError, f"the {_seconds(run_timeout)} s of the whole run were over", hint


def never_begun(server: Server, error: type[ServerError], what: str, hint: str | None) -> Outcome[Any]:
    """The outcome of a server whose turn did not come; the rest is a `Stop`."""
    return Outcome(server, 0.0, None, error(f"{what} before its turn came", hint=hint), attempted=False)


def look_before(sent: str) -> str:
    """The hint where a change may have been done, to go behind "try:"."""
    return f"look at the server before sending '{sent}' again: it may have been done"


def _error_of(task: asyncio.Task[object]) -> BaseException | None:
    try:
        return task.exception()
    except asyncio.CancelledError as error:
        return error


def _internal(cause: BaseException, attempt: Attempt) -> InternalError:
    """The outcome of a bug; a CancelledError is one too, where it was not the engine that cancelled."""
    text = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
    error = InternalError(
        f"a bug in fleet: {text}; it was {attempt.phase}",
        hint=_hint("run the same command with -vv, and report what it shows", attempt.sent),
        sent=attempt.sent,
    )
    error.__cause__ = cause
    return error


def _hint(hint: str | None, sent: str | None) -> str | None:
    """The hint, to go behind "try:"; a change that may have been done is the more urgent one."""
    if sent is None:
        return hint
    return look_before(sent)


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
