"""Drives a rolling change: the batches that the rollout decides on, each through its gate."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

from fleet.cli.choosing import Target
from fleet.cli.options import Options
from fleet.cli.output import Output, say
from fleet.cli.progress import show_progress
from fleet.cli.terminal import Terminal
from fleet.engine import Attempt, FanOut, Outcome, Work, fan_out
from fleet.errors import (
    CommandFailedError,
    InterruptedRunError,
    RunTimeoutError,
    ServerError,
    StoppedRunError,
    UnreachableError,
)
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.operations.capacity import Groups, Neighbourhood, shortages
from fleet.operations.conversation import Access, work_on
from fleet.operations.gate import Recovered, Recovery, Restart, Wait, count_clients, wait_for_clients
from fleet.operations.operation import Answer, Operation
from fleet.operations.rollout import Fate, Rollout
from fleet.render.progress import Progress
from fleet.render.rolling import clients_text, gate_text, server_line, shortage_text, waiting_text
from fleet.transport.descriptors import fitting

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """All that a rolling change is made of.

    Attributes:
        operation: is done to each server.
        servers: in inventory order.
        options: of the command line.
        target: whom it is for, as the user said it.
        rollout: the batches, of which none was begun.
        work: does the operation on one server.
        wait: what is waited for behind each batch, or None.
        wait_timeout: seconds for the clients of a batch to be back.
        groups: where room is looked for, for the clients that each batch drops; None where it is not.
    """

    operation: Operation[T]
    servers: tuple[Server, ...]
    options: Options
    target: Target
    rollout: Rollout
    work: Callable[[Access], Work[Answer[T]]]
    wait: Wait | None = None
    wait_timeout: float = 0.0
    groups: Groups | None = None

    def neighbourhoods(self, batch: Sequence[str]) -> list[Neighbourhood]:
        """Where room is looked for, for the clients of these servers."""
        return [] if self.groups is None else self.groups.neighbourhoods(batch)

    @property
    def neighbours(self) -> tuple[Server, ...]:
        """The servers that are not changed and may have room, without those that nobody may ask."""
        own = {server.name for server in self.servers}
        found = {
            server.name: server
            for neighbourhood in self.neighbourhoods([server.name for server in self.servers])
            for server in neighbourhood.staying
        }
        return tuple(
            server
            for server in found.values()
            if server.name not in own and (self.options.force or not server.exclusive)
        )


class Driver(Generic[T]):
    """One rolling change that is under way.

    Attributes:
        outcomes: of the servers that have theirs; of all of them when `run` has ended.
        interrupted: the operator broke it off.
    """

    def __init__(
        self, plan: Plan[T], access: Access, journal: Journal, output: Output[T], person: Terminal | None
    ) -> None:
        """Begins nothing yet.

        Args:
            plan: what is to be done.
            access: the way to the servers and their neighbours.
            journal: is told of each outcome.
            output: is shown each outcome.
            person: who is asked between batches with --step.
        """
        self.outcomes: list[Outcome[Answer[T]]] = []
        self.interrupted = False
        self._plan = plan
        self._options = plan.options
        self._rollout = plan.rollout
        self._perform = plan.work(access)
        self._servers = {server.name: server for server in (*plan.servers, *plan.neighbours)}
        self._counting = work_on(replace(access, wait_busy=0.0), count_clients)
        self._journal = journal
        self._output = output
        self._person = person
        self._broken = False  # nothing is waited for any more
        self._deadline: float | None = None  # loop time, seconds
        self._fan: FanOut[Answer[T]] | None = None
        self._scope: asyncio.Timeout | None = None
        self._progress: Progress | None = None
        self._headed = 0  # the batch whose number stands before the server's line that was told last
        self._waited = 0  # the batch whose clients were said to be waited for

    async def run(self) -> None:
        """Goes through the batches until the rollout stops or is broken off; then every server has its outcome."""
        if self._options.timeout is not None:
            self._deadline = asyncio.get_running_loop().time() + self._options.timeout
        while names := self._rollout.next_batch():
            await self._batch(names)
            await self._pause()
        known = {outcome.server.name for outcome in self.outcomes}
        for server in self._plan.servers:
            if server.name not in known:
                self._tell(Outcome(server, 0.0, None, self._broken_off("before its turn came"), attempted=False))

    def interrupt(self) -> None:
        """The operator's Ctrl-C: nothing is started any more, and what is under way is broken off."""
        if self._progress is not None:
            self._progress.clear()
        say("interrupted: closing what is open; again to leave at once")
        self.interrupted = self._broken = True
        self._rollout.interrupt()
        if self._fan is not None:
            self._fan.interrupt()
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    # One batch

    async def _batch(self, names: Sequence[str]) -> None:
        before = await self._breakable(partial(self._count, self._to_count(names)))
        if before is None or not self._has_room(names, before):
            return
        well = await self._change(names)
        wait = self._plan.wait
        if wait is not None and wait.clients is not None and well:
            await self._pass_gate(well, self._recovery(names, well, before, wait.clients))

    def _recovery(
        self, names: Sequence[str], well: Sequence[Outcome[Any]], before: Mapping[str, int | None], percent: int
    ) -> Recovery:
        """Whose clients are wanted back; not those of servers that have failed already, whatever became of them."""
        back = frozenset(outcome.server.name for outcome in well)
        counted = {server.name for server in self._plan.servers} - (set(names) - back)
        known = {name: count for name, count in before.items() if count is not None and name in counted}
        return Recovery(known, back, percent)

    @property
    def _counts_clients(self) -> bool:
        return self._plan.wait is not None and self._plan.wait.clients is not None

    def _to_count(self, names: Sequence[str]) -> set[str]:
        """Whose clients have to be known before a batch is begun."""
        room = {server.name for found in self._plan.neighbourhoods(names) for server in found.servers}
        known = {server.name for server in self._plan.servers} if self._counts_clients else set()
        return (room & self._servers.keys()) | known

    def _has_room(self, names: Sequence[str], clients: Mapping[str, int | None]) -> bool:
        """Whether others can take the batch's clients; if not, the rollout stops before it."""
        for shortage in shortages(self._plan.neighbourhoods(names), clients):
            self._rollout.stop(shortage_text(shortage))
            return False
        return True

    async def _change(self, names: Sequence[str]) -> list[Outcome[Answer[T]]]:
        """Does the operation on a batch; gives those that have still to pass the gate."""
        left = None if self._deadline is None else self._deadline - asyncio.get_running_loop().time()
        fan = fan_out(
            [self._servers[name] for name in names],
            self._work,
            forks=fitting(self._options.forks, len(names))[0],
            host_timeout=self._options.host_timeout,
            run_timeout=None if left is None else max(left, 0.001),
        )
        well: list[Outcome[Answer[T]]] = []
        seen: list[Outcome[Answer[T]]] = []
        async with fan, show_progress(fan, seen, self._options) as progress:
            self._fan, self._progress = fan, progress
            if self.interrupted:
                fan.interrupt()
            async for outcome in fan:
                settled = self._settle(outcome)
                seen.append(settled)
                if self._counts_clients and settled.status == "ok":
                    well.append(settled)
                else:
                    self._tell(settled)
        self._fan = self._progress = None
        return well

    async def _work(self, attempt: Attempt) -> Answer[T]:
        if not self._rollout.start(attempt.server.name):
            raise self._broken_off("before its turn came")
        return await self._perform(attempt)

    def _settle(self, outcome: Outcome[Answer[T]]) -> Outcome[Answer[T]]:
        if isinstance(outcome.error, StoppedRunError):
            outcome = replace(outcome, attempted=False)
        if isinstance(outcome.error, RunTimeoutError):
            self._break(self._out_of_time)
        self._rollout.settle(outcome.server.name, _fate(outcome))
        return outcome

    # Its clients

    async def _count(self, names: Iterable[str]) -> Mapping[str, int | None]:
        """How many clients each server has; None for one that does not say within the reply timeout."""
        counts: dict[str, int | None] = dict.fromkeys(names)
        async with fan_out(
            [self._servers[name] for name in counts],
            self._counting,
            forks=fitting(self._options.forks, len(counts))[0],
            host_timeout=self._options.reply_timeout,
        ) as fan:
            async for outcome in fan:
                counts[outcome.server.name] = outcome.value
        return counts

    async def _pass_gate(self, well: Sequence[Outcome[Answer[T]]], recovery: Recovery) -> None:
        """Waits for the batch's clients; its servers have their outcomes only then."""
        recovered = await self._breakable(
            partial(wait_for_clients, recovery, self._count, self._plan.wait_timeout, partial(self._waits, recovery))
        )
        for outcome in well:
            self._tell(self._judged(outcome, recovery, recovered), recovered)
        if recovered is None:
            return
        if not self._options.quiet:
            say(clients_text(recovered, recovery))
        if not recovered.enough:
            self._rollout.gate_failed()

    def _waits(self, recovery: Recovery, found: Recovered) -> None:
        """Not enough clients are back yet: said once, and each time with --verbose."""
        first = self._waited != self._rollout.begun
        self._waited = self._rollout.begun
        if not self._options.quiet and (first or self._options.verbose):
            say(waiting_text(self._number, found, recovery.percent))
            self._headed = 0  # this line came between: the next server's says its batch again

    def _judged(
        self, outcome: Outcome[Answer[T]], recovery: Recovery, recovered: Recovered | None
    ) -> Outcome[Answer[T]]:
        """The outcome of a server that was changed well, once its batch has passed the gate or not."""
        answer = outcome.require()
        if recovered is None:
            error: ServerError = self._broken_off("while its clients were waited for")
        else:
            answer = _counted(answer, recovered.now.get(outcome.server.name))
            if recovered.enough:
                return replace(outcome, value=answer)
            error = CommandFailedError(
                gate_text(recovered, recovery.percent),
                hint="see who is back with fleet clients, or wait longer with --wait-timeout",
            )
        done = self._plan.operation.sends
        return replace(outcome, value=None, error=error, confirmed=done, partial=answer)

    # Between batches, and breaking off

    async def _pause(self) -> None:
        number, total = self._rollout.begun, len(self._rollout.batches)
        if number == total or self._rollout.stopped is not None:
            return
        if self._options.batch_wait:
            await self._breakable(partial(asyncio.sleep, self._options.batch_wait))
        if self._options.step and self._person is not None:
            agreed = await self._breakable(partial(_agrees, f"Go on with batch {number + 1}/{total}?", self._person))
            if agreed is False:
                self._rollout.stop("not gone on with")

    async def _breakable(self, work: Callable[[], Awaitable[V]]) -> V | None:
        """What the work gives; None where the run is broken off, by the operator or by its time."""
        if self._broken:
            return None
        try:
            async with asyncio.timeout_at(self._deadline) as self._scope:
                return await work()
        except TimeoutError:
            self._break(self._out_of_time)
            return None
        finally:
            self._scope = None

    def _break(self, reason: str) -> None:
        self._broken = True
        self._rollout.stop(reason)

    @property
    def _out_of_time(self) -> str:
        return f"the {self._options.timeout or 0.0:g} s of the whole run were over"

    def _broken_off(self, when: str) -> UnreachableError:
        """What a server has as its error that was not done."""
        reason = self._rollout.stopped or ""
        if self.interrupted:
            return InterruptedRunError(f"interrupted {when}")
        if reason == self._out_of_time:
            return RunTimeoutError(f"{reason} {when}", hint="give the run more time with --timeout")
        return StoppedRunError(f"the run stopped {when}: {reason}")

    # What is told

    def _tell(self, outcome: Outcome[Answer[T]], recovered: Recovered | None = None) -> None:
        """A server has its outcome."""
        self.outcomes.append(outcome)
        answer = outcome.value or outcome.partial
        self._journal.outcome(outcome, "" if answer is None else answer.raw)
        if self._progress is not None:
            self._progress.clear()
        self._output.outcome(outcome)
        waited = None if recovered is None else recovered.elapsed
        if outcome.attempted and not self._options.quiet:
            say(server_line(self._head(), outcome, width=self._width, waited=waited))

    @property
    def _number(self) -> str:
        return f"batch {self._rollout.begun}/{len(self._rollout.batches)}"

    def _head(self) -> str:
        """What a server's line begins with: the number of its batch, or blanks under that."""
        first, self._headed = self._headed != self._rollout.begun, self._rollout.begun
        return self._number if first else " " * len(self._number)

    @property
    def _width(self) -> int:
        return max(map(len, self._rollout.batches[self._rollout.begun - 1]))


def _fate(outcome: Outcome[Answer[T]]) -> Fate:
    """What became of a server."""
    interrupted = isinstance(outcome.error, InterruptedRunError)
    if outcome.sent is not None or (interrupted and outcome.confirmed):
        return Fate.UNCONFIRMED  # also where it was answered, and broken off before its effect was looked for
    if not outcome.attempted or interrupted:
        return Fate.NOT_ATTEMPTED  # nothing was sent
    return {"ok": Fate.DONE, "unreachable": Fate.UNREACHABLE}.get(outcome.status, Fate.FAILED)


def _counted(answer: Answer[T], clients: int | None) -> Answer[T]:
    """A restart, with the clients that the server has now."""
    if not isinstance(answer.value, Restart):
        return answer
    return replace(answer, value=replace(answer.value, clients=clients))


async def _agrees(question: str, person: Terminal) -> bool:
    """Asks in mid-run: connections and Ctrl-C are seen to while the person thinks."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    typed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), typed.set)  # a terminal gives whole lines
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return person.line("").strip().lower() in ("y", "yes")
