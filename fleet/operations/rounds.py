"""Warm rounds: the same question to every server again and again, over connections that stay open.

    async with Transport(servers, options, keep=True) as transport:
        async with Rounds(access, servers, STATUS.perform, interval=15.0) as rounds:
            while True:
                latest = await rounds.next_round()

Each time a server is asked a channel is opened for it and closed behind the answer, so that nobody is locked out of
the management interface, which serves one client at a time (protocol-facts 6.2). A server that is down or busy has its
error in the round, and is tried again in the next.

    idle ──> queued ──> in flight ──> idle, with a Sample
               ▲             │└── for longer than the interval: late; no round waits for it any more
               └── resting ──┘ where it failed

A round begins at most once an interval, asks everybody who is idle, and ends when all have answered but those that are
late. It never waits for one server longer than the interval (or `FIRST_PATIENCE`), and no server is asked twice at a
time. Those that failed when they were last asked share half of the forks, so that many that hang leave the others
theirs.

A server that failed is left alone for as long as that took (`LONGEST_REST` at most). Without that, one that hangs
would be under a lock nearly all the time, and whoever wants to know what is wrong with it would never have his turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Generic, Self, TypeVar

from fleet.engine import Attempt, Outcome, fan_out
from fleet.errors import HostTimeoutError
from fleet.inventory.model import Server
from fleet.operations.conversation import Access, Conversation, work_on

T = TypeVar("T")

FIRST_PATIENCE = 3.0
"""Seconds that a round waits for a server that was never asked before, where that is more than an interval: the
connection to it is still to be made."""

LONGEST_REST = 30.0
"""Seconds that a server is left alone at most after it failed."""


@dataclass(frozen=True, slots=True)
class Sample(Generic[T]):
    """What became of one server when it was last asked.

    Attributes:
        server: the server.
        outcome: its answer, or its error.
        when: when that was known, UTC.
        at: the same on the clock of `time.monotonic`, seconds.
    """

    server: Server
    outcome: Outcome[T]
    when: datetime
    at: float

    @property
    def age(self) -> float:
        """Seconds since that was known."""
        return max(time.monotonic() - self.at, 0.0)


@dataclass(frozen=True, slots=True)
class Round(Generic[T]):
    """One complete round; it never changes, and may be read in any thread.

    Attributes:
        number: counted from 1.
        started: when it began, UTC.
        ended: when it was over, UTC.
        at: the same on the clock of `time.monotonic`, seconds.
        elapsed: seconds that it took.
        samples: by server's name, the newest of each; none for a server that has not come to its first.
        late: the servers that neither answered nor failed in this round, and what each is doing instead. What
            `samples` has of them is from an earlier round.
        outcomes: one for each server in inventory order: of its sample, or an error that says it is still awaited.
    """

    number: int
    started: datetime
    ended: datetime
    at: float
    elapsed: float
    samples: Mapping[str, Sample[T]]
    late: Mapping[str, str]
    outcomes: tuple[Outcome[T], ...]

    @property
    def age(self) -> float:
        """Seconds since it was over."""
        return max(time.monotonic() - self.at, 0.0)


@dataclass(slots=True, eq=False)
class _Place(Generic[T]):
    """One server among those that are asked."""

    server: Server
    sample: Sample[T] | None = None
    flight: asyncio.Task[None] | None = None
    attempt: Attempt | None = None
    queued: bool = False
    rested_at: float = 0.0  # it failed, and is left alone until then, on the clock of its loop
    resting: asyncio.TimerHandle | None = None  # a round has come meanwhile: it is asked as soon as that is over
    again: bool = False  # somebody wants it asked once more, as soon as it can be

    @property
    def troubled(self) -> bool:
        """It failed when it was last asked, and may take its time to fail again."""
        return self.sample is not None and self.sample.outcome.error is not None

    @property
    def phase(self) -> str:
        """What it is being asked, or waits for."""
        if self.resting is not None:
            return "left alone for a while after it failed"
        return "waiting for a fork" if self.attempt is None else self.attempt.phase

    def end_rest(self) -> None:
        """It is asked now, or never again."""
        if self.resting is not None:
            self.resting.cancel()
            self.resting = None


class Rounds(Generic[T]):
    """Asks servers in rounds while its block lasts; see the module.

    Args:
        access: the way to them, over a transport that keeps its connections.
        servers: in inventory order.
        perform: what is asked of each, such as an operation's `perform`.
        interval: seconds from the beginning of a round to that of the next, at least; a round that takes longer is
            followed by the next at once.
        forks: how many servers are asked at a time.
        host_timeout: seconds for one server each time (HostTimeoutError), or None.
        on_sample: told of each answer and each error as it is known.

    Raises:
        ValueError: fewer than one fork, or a time that is not more than 0.
    """

    def __init__(
        self,
        access: Access,
        servers: Sequence[Server],
        perform: Callable[[Conversation], Awaitable[T]],
        *,
        interval: float,
        forks: int = 64,
        host_timeout: float | None = 30.0,
        on_sample: Callable[[Sample[T]], None] | None = None,
    ) -> None:
        if forks < 1:
            raise ValueError("forks must be at least 1")
        if not interval > 0 or (host_timeout is not None and not host_timeout > 0):
            raise ValueError("an interval and a timeout must be more than 0 seconds")
        self._work = work_on(access, perform)
        self._places: dict[str, _Place[T]] = {server.name: _Place(server) for server in servers}
        self._interval = interval
        self._forks = forks
        self._for_troubled = max(1, forks // 2)
        self._host_timeout = host_timeout
        self._on_sample = on_sample or _untold
        self._healthy: deque[_Place[T]] = deque()
        self._troubled: deque[_Place[T]] = deque()
        self._flying: dict[asyncio.Task[None], bool] = {}  # whether it counts as troubled
        self._awaited: set[str] = set()  # whom the round that is going on waits for
        self._over = asyncio.Event()
        self._last: Round[T] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._driver: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self._leaving = False

    # --- the block

    async def __aenter__(self) -> Self:
        if self._driver is not None:
            raise RuntimeError("rounds are entered once")
        self._closed = asyncio.get_running_loop().create_future()
        self._driver = asyncio.create_task(self._drive(), name="fleet rounds")
        self._driver.add_done_callback(self._driver_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends everything that is under way, and waits until its channels are closed."""
        self._leaving = True
        for place in self._places.values():
            place.end_rest()
        self._healthy.clear()
        self._troubled.clear()
        tasks = [*self._flying, *(() if self._driver is None else (self._driver,))]
        for task in tasks:
            task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while pending := [task for task in tasks if not task.done()]:
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError as again:
                cancelled = again
        if cancelled is not None:
            raise cancelled

    # --- what is known

    @property
    def last(self) -> Round[T] | None:
        """The last complete round."""
        return self._last

    @property
    def latest(self) -> Mapping[str, Sample[T]]:
        """By server's name, what is known of each right now."""
        return {name: place.sample for name, place in self._places.items() if place.sample is not None}

    def phase_of(self, name: str) -> str | None:
        """What a server is being asked just now, to go behind "it is"; None where it is idle."""
        place = self._places[name]
        return place.phase if place.flight is not None or place.queued or place.resting is not None else None

    async def next_round(self) -> Round[T]:
        """Waits for the end of a round that is going on, or of the next.

        Raises:
            RuntimeError: the rounds have ended, or broke by a bug, which is the cause.
        """
        if self._closed is None or self._closed.cancelled():
            raise RuntimeError("rounds come only inside their block") from self._broken
        await asyncio.shield(self._closed)
        if self._last is None or self._broken is not None:
            raise RuntimeError("the rounds broke off") from self._broken
        return self._last

    def hurry(self, name: str) -> None:
        """Asks a server as soon as it can be, and not only in the next round."""
        place = self._places[name]
        if place.flight is not None:
            place.again = True
        elif not place.queued:
            place.end_rest()
            place.queued = True
            self._healthy.appendleft(place)
            self._fill()

    # --- rounds

    async def _drive(self) -> None:
        due, number = time.monotonic(), 0
        while True:
            number += 1
            started, begun = datetime.now(UTC), time.monotonic()
            await self._ask_all()
            self._close(number, started, begun)
            due = max(due + self._interval, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _ask_all(self) -> None:
        """Asks everybody who is idle, and waits for all that are not late."""
        self._over.clear()
        loop = asyncio.get_running_loop()
        for place in self._places.values():
            if place.flight is not None or place.queued or place.resting is not None:
                continue
            if place.rested_at > loop.time():
                place.resting = loop.call_at(place.rested_at, self._rested, place)
            else:
                place.queued = True
                (self._troubled if place.troubled else self._healthy).append(place)
                self._awaited.add(place.server.name)
        slow = loop.call_later(self._interval, self._leave_troubled)
        try:
            self._fill()
            if self._awaited:
                await self._over.wait()
        finally:
            slow.cancel()

    def _rested(self, place: _Place[T]) -> None:
        place.resting = None
        place.queued = True
        self._troubled.append(place)
        self._fill()

    def _leave_troubled(self) -> None:
        """Those that failed and have no fork to try again with are late too."""
        for place in self._troubled:
            self._leave(place)

    def _leave(self, place: _Place[T]) -> None:
        """The round does not wait for this server, or not any longer."""
        self._awaited.discard(place.server.name)
        if not self._awaited:
            self._over.set()

    def _close(self, number: int, started: datetime, begun: float) -> None:
        samples = self.latest
        late = {
            name: place.phase
            for name, place in self._places.items()
            if place.sample is None or (place.sample.at < begun and self.phase_of(name) is not None)
        }
        now = time.monotonic()
        self._last = Round(
            number,
            started,
            datetime.now(UTC),
            now,
            now - begun,
            MappingProxyType(dict(samples)),
            MappingProxyType(late),
            tuple(self._outcome(place, begun) for place in self._places.values()),
        )
        self._wake()

    def _outcome(self, place: _Place[T], begun: float) -> Outcome[T]:
        if place.sample is not None:
            return place.sample.outcome
        error = HostTimeoutError(f"no answer yet; it was {place.phase}", hint="wait for the next rounds")
        return Outcome(place.server, time.monotonic() - begun, error=error)

    def _wake(self) -> None:
        """Tells everybody who waits for the end of a round."""
        ended = self._closed
        self._closed = asyncio.get_running_loop().create_future()
        if ended is not None and not ended.done():
            ended.set_result(None)

    # --- servers

    def _fill(self) -> None:
        """Starts whoever waits, as far as there are forks."""
        if self._leaving:
            return
        while self._healthy and len(self._flying) < self._forks:
            self._start(self._healthy.popleft(), troubled=False)
        while self._troubled and len(self._flying) < self._forks and sum(self._flying.values()) < self._for_troubled:
            self._start(self._troubled.popleft(), troubled=True)

    def _start(self, place: _Place[T], *, troubled: bool) -> None:
        place.queued = place.again = False
        patience = max(self._interval, FIRST_PATIENCE) if place.sample is None else self._interval
        late = asyncio.get_running_loop().call_later(patience, self._leave, place)
        place.flight = asyncio.create_task(self._ask(place), name=f"fleet {place.server.name}")
        self._flying[place.flight] = troubled
        place.flight.add_done_callback(partial(self._landed, place, late))

    async def _ask(self, place: _Place[T]) -> None:
        """Asks one server; the outcome is known before its connection is let go."""
        async with fan_out((place.server,), self._watched(place), forks=1, host_timeout=self._host_timeout) as fan:
            async for outcome in fan:
                place.sample = Sample(place.server, outcome, datetime.now(UTC), time.monotonic())
                if outcome.error is not None:
                    place.rested_at = asyncio.get_running_loop().time() + min(outcome.elapsed, LONGEST_REST)
                self._on_sample(place.sample)

    def _watched(self, place: _Place[T]) -> Callable[[Attempt], Awaitable[T]]:
        async def work(attempt: Attempt) -> T:
            place.attempt = attempt
            return await self._work(attempt)

        return work

    def _landed(self, place: _Place[T], late: asyncio.TimerHandle, task: asyncio.Task[None]) -> None:
        late.cancel()
        del self._flying[task]
        place.flight = place.attempt = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._break(error)
            return
        self._leave(place)
        if place.again:
            self.hurry(place.server.name)
        self._fill()

    # --- bugs

    def _break(self, error: BaseException) -> None:
        """Something raised that is no server's error: the rounds end, and whoever waits for one is told."""
        self._broken = self._broken or error
        if self._driver is not None:
            self._driver.cancel()

    def _driver_ended(self, driver: asyncio.Task[None]) -> None:
        with suppress(asyncio.CancelledError):
            self._broken = self._broken or driver.exception()
        if self._closed is not None and not self._closed.done():
            if self._broken is not None:
                self._closed.set_result(None)
            else:
                self._closed.cancel()


def _untold(_sample: Sample[T]) -> None:
    """Nobody wants to know of each answer as it comes."""
