"""What one process does of a run: it asks the servers of its shard, and tells what becomes of each.

The same function does it on this machine and on a cluster. All that it knows comes with the shard; all that it finds
goes over a line to the operator's process, where every record is kept:

    begin     who begins is told which servers have no outcome yet: somebody may have worked on the shard before
    flying    which servers are worked on, once a second
    sent      before a change is written to a daemon; it is written only if the answer allows that
    outcome   of a server
    end       nothing is left

A change is thereby in the operator's record before it is sent, and whoever lost its line sends nothing any more.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from fleet.engine import Attempt, FanOut, Outcome, fan_out
from fleet.errors import InternalError, InterruptedRunError, RefusedError, UsageError
from fleet.inventory.load import load
from fleet.inventory.model import Server
from fleet.inventory.secrets import check_secrets
from fleet.journal.locks import Slots
from fleet.journal.places import runtime_folder
from fleet.operations.conversation import Access, Conversation, work_on
from fleet.operations.operation import Answer
from fleet.transport import SSHOptions, Transport, given
from fleet.transport.descriptors import fitting

_TOLD_EVERY = 1.0  # seconds between two messages of who is worked on
_NAMED = 201  # of those, no more: a progress line shows 200 and that there are more

BEGIN, FLYING, SENT, OUTCOME, END, REFUSED = "begin", "flying", "sent", "outcome", "end", "refused"

Message = tuple[Any, ...]
"""One of the words above, and what belongs to it; servers are positions in the shard."""


class RemoteBugError(Exception):
    """Stands for the cause of a bug in another process; its text is the traceback there."""


class NotSentError(InterruptedRunError):
    """A change was kept from being sent; nothing of it reached the daemon."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a process finds the inventory by itself, with the ways and secrets that are meant to be there.

    Attributes:
        paths: of the inventory; used only where all of them are there.
        jump_names: hosts of it that the command line names as jump hosts.
        run: for which it is read once in a process.
    """

    paths: tuple[str, ...]
    jump_names: tuple[str, ...] = ()
    run: str = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """What all shards of a run have in common; everything in it can be pickled. Times are in seconds.

    Attributes:
        perform: does the operation on one server.
        changes: it changes something.
        ssh: what the command line says of the way.
        reply_timeout: for a greeting, and for each reply.
        host_timeout: for everything on one server.
        run_timeout: for the whole run; None for no end.
        wait_busy: for other management clients to leave.
        lock_timeout: for other runs on the machine of the process.
        command_line: what others are told who wait for the locks.
        home: where the inventory is read anew; None where the servers are taken as they are.
    """

    perform: Callable[[Conversation], Coroutine[Any, Any, Answer[Any]]]
    changes: bool
    ssh: SSHOptions
    reply_timeout: float
    host_timeout: float | None
    run_timeout: float | None
    wait_busy: float
    lock_timeout: float
    command_line: str
    home: Home | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """The servers that one process asks.

    Attributes:
        asking: what it does.
        servers: in inventory order.
        forks: how many it asks at a time, if as many files may be open.
    """

    asking: Asking
    servers: tuple[Server, ...]
    forks: int


class Line(Protocol):
    """The way from a process to that of the operator."""

    def tell(self, message: bytes) -> None:
        """Sends a message."""
        ...

    def ask(self, message: bytes) -> Any:
        """Sends a message and waits for the answer, in which time nothing else is done here.

        Raises:
            NotSentError: there is nobody who would answer.
        """
        ...

    def listen(self, end: Callable[[], None]) -> None:
        """From now on `end` is called in the running loop when the operator wants an end, or is not there any more."""
        ...


def work_off(shard: Shard, line: Line) -> None:
    """Asks the servers of a shard that have no outcome yet, in an event loop of its own."""
    asyncio.run(_work_off(shard, line))


def at_home(shard: Shard) -> tuple[Server, ...]:
    """The servers as they are known to this process: from its own inventory, where it has one.

    Raises:
        RefusedError: that cannot be read, or does not have them, or their secrets cannot be read here.
    """
    home = shard.asking.home
    if home is None:
        return shard.servers
    servers = shard.servers
    if all(Path(path).exists() for path in home.paths):
        known = _inventory(home)
        missing = [server.name for server in servers if server.name not in known]
        if missing:
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UsageError(
                f"{', '.join(home.paths)} of {os.uname().nodename} has no server {missing[0]}{more}",
                hint="have the same inventory on the workers, or none: then they take the operator's",
            )
        servers = tuple(known[server.name] for server in servers)
    check_secrets(servers)
    return servers


@lru_cache(maxsize=1)
def _inventory(home: Home) -> dict[str, Server]:
    return {server.name: server for server in load(*home.paths, jump_hosts=home.jump_names).servers}


def look_around(shard: Shard) -> None:
    """Looks whether this process could ask these servers.

    Raises:
        RefusedError: it could not.
    """
    given.check(shard.asking.ssh)
    _slots(shard.asking)
    at_home(shard)


def without_facts(servers: Sequence[Server]) -> list[Server]:
    """Servers with nothing in them but the way there: their other variables are nobody else's business."""
    hosts = dict(servers[0].jump_hosts) if servers else {}  # all have the same
    return [replace(server, variables={}, origins={}, jump_hosts=hosts) for server in servers]


async def _work_off(shard: Shard, line: Line) -> None:
    positions, spent = line.ask(encode(BEGIN))
    try:
        known = at_home(shard)
        servers = [known[position] for position in positions]
        places = {server.name: position for server, position in zip(servers, positions, strict=True)}
        forks, _why = fitting(shard.forks, len(servers))
        async with Transport(servers, shard.asking.ssh) as transport:
            fan = fan_out(
                servers,
                work_on(_access(shard.asking, line, places, transport), shard.asking.perform),
                forks=forks,
                host_timeout=shard.asking.host_timeout,
                run_timeout=shard.asking.run_timeout,
                spent=spent,
            )
            await _tell(fan, line, places)
    except RefusedError as error:
        line.tell(encode(REFUSED, error))
    line.tell(encode(END))


def _access(asking: Asking, line: Line, places: Mapping[str, int], transport: Transport) -> Access:
    def allowed(attempt: Attempt) -> None:
        """Lets a change pass when it stands in the operator's record, and nobody else has sent it."""
        text = attempt.sent
        attempt.sent = None
        if not line.ask(encode(SENT, places[attempt.server.name], text)):
            raise NotSentError("the run ended before the change was sent")
        attempt.sent = text

    return Access(
        transport,
        asking.reply_timeout,
        slots=_slots(asking),
        wait_busy=asking.wait_busy,
        on_sent=allowed,
    )


def _slots(asking: Asking) -> Slots | None:
    """The locks of the machine that this process is on: who sends holds them."""
    try:
        return Slots(runtime_folder(os.environ), command=asking.command_line, timeout=asking.lock_timeout)
    except UsageError:
        if asking.changes:
            raise
        return None  # who only looks needs no place to write


async def _tell(fan: FanOut[Answer[Any]], line: Line, places: Mapping[str, int]) -> None:
    """Tells of each outcome, and who is worked on meanwhile."""

    async def tell_who() -> None:
        while True:
            await asyncio.sleep(_TOLD_EVERY)
            line.tell(encode(FLYING, [places[attempt.server.name] for attempt in islice(fan.in_flight, _NAMED)]))

    async with fan:
        line.listen(fan.interrupt)
        teller = asyncio.create_task(tell_who())
        try:
            async for outcome in fan:
                line.tell(packed(places[outcome.server.name], _not_sent(outcome)))
        finally:
            teller.cancel()
            with suppress(asyncio.CancelledError):
                await teller


def _not_sent(outcome: Outcome[Any]) -> Outcome[Any]:
    """The outcome; the session takes for sent what was kept from being sent in the last moment."""
    error = outcome.error
    if not isinstance(error, NotSentError):
        return outcome
    return replace(outcome, error=InterruptedRunError(error.message), sent=None)


# What goes over a line.


def encode(*message: Any) -> bytes:
    """A message as it goes over a line."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def decode(data: bytes) -> Message:
    """A message as it was; of a process of our own, or of a cluster that may run what it likes here anyway."""
    message: Message = pickle.loads(data)  # noqa: S301 - see above
    return message


def packed(position: int, outcome: Outcome[Any]) -> bytes:
    """The message of an outcome, without its server; one that cannot be sent is a bug, and told as such."""
    error, bug = outcome.error, ""
    if error is not None and error.__cause__ is not None and isinstance(error, InternalError):
        bug = "".join(traceback.format_exception(error.__cause__)).rstrip()
    head = (OUTCOME, position, outcome.elapsed)
    tail = (outcome.attempted, outcome.sent, outcome.confirmed, outcome.warnings)
    try:
        return encode(*head, outcome.value, error, outcome.partial, *tail, bug)
    except Exception as wrong:  # noqa: BLE001 - whatever the values of an operation raise when they are pickled
        failed = InternalError(f"a bug in fleet: {type(wrong).__name__}: {wrong}; the answer could not be handed on")
        return encode(*head, None, failed, None, *tail, "")


def unpacked(message: Message, servers: Sequence[Server]) -> tuple[int, Outcome[Any]]:
    """Position and outcome of such a message."""
    _, position, elapsed, value, error, partly, attempted, sent, confirmed, warnings, bug = message
    if bug:
        error.__cause__ = RemoteBugError(f"in another process:\n{bug}")
    outcome = Outcome(
        servers[position],
        elapsed,
        value,
        error,
        attempted=attempted,
        sent=sent,
        confirmed=confirmed,
        warnings=warnings,
        partial=partly,
    )
    return position, outcome
