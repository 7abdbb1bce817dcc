"""The operator's side of a run in shards: one outcome for each server, whatever becomes of those who ask them.

A shard is worked off by somebody who has a name, its token; of one shard, only the last who began counts. When one is
lost, whoever begins next, or the end of the run, settles what it may have sent: those servers are reported as sent and
not confirmed. The others are asked again, since nothing was sent there. A second worker that believes to be the first,
as a cluster may have them, is answered that it may not send, and its outcomes are not listened to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from fleet.engine import INTERRUPTED, Attempt, Fan, Outcome, Stop, look_before, never_begun, run_over
from fleet.errors import InterruptedRunError, RefusedError, ServerError, WorkerLostError
from fleet.inventory.model import Server
from fleet.shards.shard import BEGIN, END, FLYING, OUTCOME, REFUSED, SENT, Message, Shard, unpacked

T = TypeVar("T")

MOST_LOST: Final = 3
"""So many workers may be lost over one shard before its servers are given up: one of them may be what kills them."""

GRACE_TIMEOUT: Final = 8.0
"""Seconds for those who were told to end to tell the outcomes of their servers."""

NO_ANSWER: Final = object()
"""A message that wants none."""

Heard = Callable[[int, str, Message], Any]
"""Is told what somebody says who works off a shard: its number, the token, the message. Gives the answer."""

Gone = Callable[[int, str | None, str], None]
"""Is told that somebody is lost: number of the shard, token (None: whoever it was), and why."""


class Crew(Protocol):
    """Those who work off the shards of a run."""

    async def open(self, shards: Sequence[Shard], heard: Heard, gone: Gone) -> None:
        """Gets ready; nothing is begun yet.

        Args:
            shards: of the run.
            heard: is told what is said.
            gone: is told who is lost.

        Raises:
            RefusedError: nobody can work off anything; nothing was sent to any server.
        """
        ...

    def start(self, index: int) -> None:
        """Has a shard worked off, for the first time or by somebody else."""
        ...

    def end(self, _index: int, token: str | None, /) -> None:
        """Tells who works off a shard to end; None where nobody has begun."""
        ...

    async def close(self) -> None:
        """Ends what is left, and waits for it."""
        ...


@dataclass(slots=True, eq=False)
class _Part:
    """A shard as the operator's side knows it."""

    servers: tuple[Server, ...]
    left: dict[int, None]  # positions without an outcome, in inventory order
    sent: dict[int, list[str]] = field(default_factory=dict)  # what may have been sent by who works it off now
    flying: tuple[int, ...] = ()
    token: str | None = None
    begun: float = 0.0  # loop time, seconds
    lost: int = 0
    over: bool = False


class ShardedFan(Fan[T]):
    """Work on many servers, in shards; used as `FanOut` is. The outcomes come as they complete.

    Args:
        shards: of the run.
        crew: works them off.
        run_timeout: seconds for all of them from entering the block, or None.
        on_sent: told right before a change may be written to a daemon, when `Attempt.sent` says which.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        crew: Crew,
        *,
        run_timeout: float | None = None,
        on_sent: Callable[[Attempt], None] = lambda _attempt: None,
    ) -> None:
        self._parts = [_Part(shard.servers, dict.fromkeys(range(len(shard.servers)))) for shard in shards]
        super().__init__(sum(len(part.servers) for part in self._parts))
        self._shards = shards
        self._crew = crew
        self._run_timeout = run_timeout
        self._on_sent = on_sent
        self._stopped: Stop | None = None
        self._entered = 0.0  # loop time, seconds
        self._timers: list[asyncio.TimerHandle] = []

    # --- the block

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._entered = loop.time()
        try:
            await self._crew.open(self._shards, self._heard, self._gone)
            if self._run_timeout is not None:
                left = max(self._run_timeout - (loop.time() - self._entered), 0.0)
                self._timers.append(loop.call_later(left, self._end_of_run, self._run_timeout))
            for index in range(len(self._parts)):
                self._crew.start(index)
        except BaseException:
            await self._crew.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = self._stopped or INTERRUPTED  # whoever is lost from now on is not replaced
        for timer in self._timers:
            timer.cancel()
        await self._crew.close()

    # --- what a progress line and a signal handler want

    @property
    def in_flight(self) -> tuple[Attempt, ...]:
        """The servers that are worked on, as was told a second ago at most."""
        flying = chain.from_iterable(
            (part.servers[position] for position in part.flying if position in part.left) for part in self._parts
        )
        return tuple(Attempt(server) for server in flying)

    def interrupt(self) -> None:
        """Ends the run: everybody who asks is told to, and the outcomes come. Calling it again does nothing."""
        self._interrupted = True
        self._stop(INTERRUPTED, tell=True)

    # --- the end of a run before its time

    def _end_of_run(self, run_timeout: float) -> None:
        self._stop(run_over(run_timeout), tell=False)  # who has begun has the same clock

    def _stop(self, stop: Stop, *, tell: bool) -> None:
        if self._stopped is not None and not tell:
            return
        first = self._stopped is None
        self._stopped = stop
        for index, part in enumerate(self._parts):
            if part.over:
                continue
            if part.token is None:
                self._give_up(part, lambda server: never_begun(server, *stop))
            if tell or part.token is None:
                self._crew.end(index, part.token)
        if first:
            self._timers.append(asyncio.get_running_loop().call_later(GRACE_TIMEOUT, self._end_of_grace))

    def _end_of_grace(self) -> None:
        for part in self._parts:
            self._settle_sent(part, "the worker that asked it did not tell how it ended")
            self._give_up(part, self._stopped_one)

    def _stopped_one(self, server: Server) -> Outcome[Any]:
        error, what, hint = self._stopped or INTERRUPTED
        return Outcome(server, 0.0, None, error(f"{what}; the worker that asked it told no more", hint=hint))

    # --- what is heard

    def _heard(self, index: int, token: str, message: Message) -> Any:
        part, word = self._parts[index], message[0]
        if word == BEGIN:
            return self._begin(part, token)
        if token != part.token:
            return False if word == SENT else NO_ANSWER
        if word == SENT:
            return self._may_send(part, message[1], message[2])
        if word == OUTCOME:
            self._take(part, *unpacked(message, part.servers))
        elif word == FLYING:
            part.flying = tuple(message[1])
        elif word == REFUSED:
            self._refused(part, message[1])
        elif word == END:
            part.over = True
            self._settle_sent(part, "the worker that asked it ended without an outcome")
            self._give_up(part, _lost("the worker ended without an outcome"))
        return NO_ANSWER

    def _begin(self, part: _Part, token: str) -> tuple[tuple[int, ...], float]:
        """Gives the positions to ask, and the seconds of the run that are spent."""
        now = asyncio.get_running_loop().time()
        if part.token is not None:  # somebody else was given it meanwhile: the first one is lost
            self._settle_sent(part, "the worker that asked it was lost")
        part.token, part.begun, part.flying = token, now, ()
        if self._stopped is not None:
            self._give_up(part, lambda server: never_begun(server, *(self._stopped or INTERRUPTED)))
        return tuple(part.left), now - self._entered

    def _may_send(self, part: _Part, position: int, text: str) -> bool:
        if self._stopped is not None or position not in part.left:
            return False
        part.sent.setdefault(position, []).append(text)
        self._on_sent(Attempt(part.servers[position], sent=text))
        return True

    def _take(self, part: _Part, position: int, outcome: Outcome[T]) -> None:
        if position in part.left:
            del part.left[position]
            part.sent.pop(position, None)
            self._settle(outcome)

    def _refused(self, part: _Part, error: RefusedError) -> None:
        """Nobody can work off this shard, though others do theirs."""
        self._give_up(
            part,
            lambda server: Outcome(server, 0.0, None, WorkerLostError(error.message, hint=error.hint), attempted=False),
        )

    def _gone(self, index: int, token: str | None, why: str) -> None:
        part = self._parts[index]
        if part.over or (token is not None and part.token not in (None, token)):  # None: it was lost before it began
            return
        self._settle_sent(part, f"the worker that asked it was lost: {why}")
        part.flying = ()
        part.lost += 1
        if self._stopped is not None:
            self._give_up(part, self._stopped_one)
        elif part.lost >= MOST_LOST:
            self._give_up(part, _lost(f"{part.lost} workers were lost over it and others, the last one: {why}"))
        if part.left:
            part.token = None
            self._crew.start(index)
        else:
            part.over = True

    # --- settling

    def _settle_sent(self, part: _Part, what: str) -> None:
        """Servers that may have been sent a change, and of which nothing was heard, are not asked again."""
        elapsed = asyncio.get_running_loop().time() - part.begun
        for position, texts in part.sent.items():
            sent = ", ".join(texts)
            kind: type[ServerError] = InterruptedRunError if self._interrupted else WorkerLostError
            error = kind(what, hint=look_before(sent), sent=sent)
            del part.left[position]
            self._settle(Outcome(part.servers[position], elapsed, None, error))
        part.sent.clear()

    def _give_up(self, part: _Part, outcome_of: Callable[[Server], Outcome[Any]]) -> None:
        for position in part.left:
            self._settle(outcome_of(part.servers[position]))
        part.left.clear()


def _lost(why: str) -> Callable[[Server], Outcome[Any]]:
    def outcome_of(server: Server) -> Outcome[Any]:
        error = WorkerLostError(f"nothing was sent: {why}", hint="ask it with --workers 1: it may be what ends them")
        return Outcome(server, 0.0, None, error)

    return outcome_of
