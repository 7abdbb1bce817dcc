"""`drain`: move the clients of a server to its neighbours, a few at a time, and see where each of them went.

A client that is told `client-kill CID "RESTART,[NP],reason"` is on its next remote about a second later, with the
credentials that it has; without the P it would ask its user for them (protocol-facts 11.1). One with a single remote,
or with persist-remote-ip, comes back; one whose next remote is dead is out for a minute, which is why the neighbours
are looked at first. There is no way back but the same from there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from fleet.errors import CommandFailedError
from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.protocol import Reply
from fleet.management.status import Client
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation, refused_without_tunnel
from fleet.operations.operation import Answer, Confirm, Operation, Row
from fleet.operations.snapshot import Snapshot, take
from fleet.operations.verify import Fate, Judge, Look, Verified, look, name_of

LOST_AFTER = 65.0
"""Seconds after which a client that is nowhere is not waited for: a dead remote costs it 61 (protocol-facts 11.1)."""

DEFAULT_REASON = "server maintenance"


def farewell(reason: str) -> str:
    """What a client is told: to take its next remote, and to keep its credentials.

    Raises:
        UsageError: control characters, or more than OpenVPN takes.
    """
    message = f"RESTART,[NP],{reason}"
    commands.client_kill(0, message)  # knows what can be sent
    return message


# Before


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A server that clients may go to.

    Attributes:
        name: in the inventory.
        state: of its daemon, HOLD where it waits for a release; None where it could not be asked.
        nclients: how many clients it has; None where nobody knows.
        max_clients: how many it can take, where the inventory says so.
        error: the code of the error where it could not be asked.
        serves: it is a server for clients.
    """

    name: str
    state: str | None
    nclients: int | None
    max_clients: int | None
    error: str | None = None
    serves: bool = True

    @property
    def up(self) -> bool:
        """It would take a client that comes."""
        return self.state == "CONNECTED" and self.serves

    @property
    def free(self) -> int | None:
        """How many more it takes; None where the inventory does not say."""
        if self.max_clients is None or self.nclients is None:
            return None
        return max(0, self.max_clients - self.nclients)

    def __str__(self) -> str:
        """`edge-2 (3 clients, room for 97)`, or why it takes none."""
        if not self.up:
            return f"{self.name} ({self.error or ('no server' if not self.serves else self.state)})"
        count = f"{self.nclients} {'client' if self.nclients == 1 else 'clients'}"
        return f"{self.name} ({count})" if self.free is None else f"{self.name} ({count}, room for {self.free})"


def neighbour(name: str, max_clients: int | None, found: Snapshot | None, error: str | None) -> Neighbour:
    """A neighbour as it was found, or with the code of the error that kept it from answering."""
    if found is None:
        return Neighbour(name, None, None, max_clients, error)
    status = found.status
    state = "HOLD" if status.hold else status.state.name if status.state else None
    return Neighbour(name, state, status.nclients, max_clients, serves=not status.statistics)


def shortage(neighbours: Sequence[Neighbour], nclients: int) -> str | None:
    """Why the neighbours cannot take so many clients, as a sentence, or None where they can."""
    told = ", ".join(map(str, neighbours))
    up = [one for one in neighbours if one.up]
    if not up:
        return f"no neighbour is up that could take its clients: {told}" if told else "it has no neighbour in its group"
    free = [one.free for one in up]
    room = sum(one for one in free if one is not None)
    if None in free or room >= nclients:
        return None
    if nclients == 1:
        return f"its neighbours have no room for its 1 client: {told}"
    return f"its neighbours have room for {room} of its {nclients} clients: {told}"


@dataclass(frozen=True, slots=True)
class Leaving:
    """A client that would be moved."""

    common_name: str | None
    username: str | None
    real_address: str | None
    virtual_address: str | None
    connected_since: datetime | None
    client_id: int | None
    would_send: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a drain would do.

    Attributes:
        nclients: how many clients it would move.
        clients: those.
        neighbours: where they may go.
    """

    nclients: int
    clients: tuple[Leaving, ...]
    neighbours: tuple[Neighbour, ...] = ()


def plan(message: str) -> Operation[Plan]:
    """Shows who would be moved, and changes nothing."""
    columns = (
        Column("common_name", names=True),
        Column("real_address"),
        Column("virtual_address"),
        Column("connected_since", Kind.AGE, header="SINCE"),
        Column("would_send", keep=True),
        Column("username", wide=True),
        Column("client_id", Kind.COUNT, wide=True),
    )

    async def perform(conversation: Conversation) -> Answer[Plan]:
        answer = await take(conversation)
        return Answer(plan_of(answer.value, message), answer.raw)

    return Operation(
        "drain",
        perform,
        columns,
        lambda value: [tuple(getattr(client, column.name) for column in columns) for client in value.clients],
        nobody="nobody is connected",
    )


def plan_of(found: Snapshot, message: str, neighbours: Iterable[Neighbour] = ()) -> Plan:
    """What draining a server as it was found would do.

    Raises:
        CommandFailedError: it cannot be drained; nothing was sent.
    """
    status = found.status
    if status.statistics:
        raise CommandFailedError("this daemon is no server for clients; nothing was sent")
    state = "HOLD" if status.hold else status.state.name if status.state else None
    if state != "CONNECTED" and not status.hold:
        raise CommandFailedError(
            f"the daemon is {state}, not CONNECTED; nothing was sent", hint="wait until fleet state shows CONNECTED"
        )
    clients = tuple(_leaving(client, message) for client in status.clients if not client.handshaking)
    return Plan(len(clients), clients, tuple(neighbours))


def _leaving(client: Client, message: str) -> Leaving:
    return Leaving(
        client.common_name,
        client.username,
        client.real_address,
        client.virtual_address,
        client.connected_since,
        client.client_id,
        _dismissal(client, message).text,
    )


def _dismissal(client: Client, message: str) -> Command[str]:
    if client.client_id is None:
        raise CommandFailedError(
            "this daemon reports no client ids (they came with OpenVPN 2.4), without which no client can be told to "
            "go elsewhere; nothing was sent",
            hint="its clients come back to it by themselves after a fleet kill or a restart",
        )
    return commands.client_kill(client.client_id, message)


# Afterwards


class Whereabouts(StrEnum):
    """What became of a client, as JSON spells it."""

    MOVED = "moved"  # it is on a neighbour
    CAME_BACK = "came_back"  # it is on the drained server again
    STAYED = "stayed"  # it was told to go, and its session goes on
    GONE = "gone"  # it is on no server that could be asked
    LEFT = "left"  # it had left by itself when its turn came
    TOLD = "told"  # it was told to go, and nobody looked what came of it
    UNCONFIRMED = "unconfirmed"  # it was told, and the daemon's answer was not read
    UNTOLD = "untold"  # its turn did not come

    @property
    def words(self) -> str:
        """For people."""
        return "not told" if self is Whereabouts.UNTOLD else self.value.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of one client.

    Attributes:
        whereabouts: in a word.
        server: the neighbour that it is on, where it has moved.
        after: seconds until it was there, or back.
    """

    common_name: str | None
    username: str | None
    real_address: str | None
    virtual_address: str | None
    connected_since: datetime | None
    client_id: int | None
    whereabouts: Whereabouts
    server: str | None = None
    after: float | None = None

    def __str__(self) -> str:
        """`moved to edge-2`."""
        words = self.whereabouts.words
        return f"{words} to {self.server}" if self.server else words


@dataclass(frozen=True, slots=True)
class Drain:
    """What a drain did.

    Attributes:
        clients: everybody who was connected, and those who came meanwhile.
        nclients: how many clients the server has now; None where nobody looked.
        neighbours: the servers that could take them, as they were before.
        cordoned: new clients are kept out.
        signal: what the daemon was sent in the end, or None.
    """

    clients: tuple[Drained, ...]
    nclients: int | None
    neighbours: tuple[Neighbour, ...] = ()
    cordoned: bool = False
    signal: str | None = None

    def count(self, *whereabouts: Whereabouts) -> int:
        """How many clients that became of."""
        return sum(client.whereabouts in whereabouts for client in self.clients)


_COLUMNS = (
    Column("common_name", names=True),
    Column("real_address"),
    Column("result", keep=True),
    Column("after", Kind.SECONDS),
    Column("username", wide=True),
    Column("virtual_address", wide=True),
    Column("client_id", Kind.COUNT, wide=True),
)


def _row(client: Drained) -> Row:
    return (
        client.common_name,
        client.real_address,
        str(client),
        client.after,
        client.username,
        client.virtual_address,
        client.client_id,
    )


@dataclass(slots=True)
class _Told:
    """A client and its dismissal."""

    client: Client
    at: float  # loop time, seconds
    verdict: Verified | None = None


@dataclass(slots=True)
class Draining:
    """A drain while it goes on: who was told to go, and what looks at the servers have shown since. No I/O.

    Attributes:
        server: the name of the server that is drained.
        message: what its clients are told.
        interval: seconds between two of them.
    """

    server: str
    message: str
    interval: float
    _judge: Judge = field(default_factory=Judge)
    _told: dict[tuple[object, object], _Told] = field(default_factory=dict)
    _names: Counter[str | None] = field(default_factory=Counter)
    _waiting: list[Client] = field(default_factory=list)
    _left: list[Client] = field(default_factory=list)
    _telling: Client | None = None
    _last: Look | None = None

    def before(self, seen: Look) -> None:
        """Takes a look at a neighbour from before the first client was told: who is there has not moved there."""
        self._judge.before(seen, ())

    def saw(self, seen: Look) -> None:
        """Takes a look at a server."""
        if seen.server == self.server:
            self._last = seen
        self._judge.saw(seen)
        for told in self._told.values():
            if told.verdict is None or told.verdict.fate is not Fate.BACK:
                told.verdict = self._judge.verdict(self.server, told.client)

    def begin(self, seen: Look) -> list[Client]:
        """Who is on the server and is to be told, from a look right before that."""
        if self._last is None:
            self._last = seen
            self._judge.before(seen, ())
        else:
            self.saw(seen)
        self._waiting = self._untold(seen)
        return list(self._waiting)

    def _untold(self, seen: Look) -> list[Client]:
        """Those who were never told; one whose name was told has come back, and is let be."""
        return [
            client
            for client in seen.clients
            if not client.handshaking and not self._was_told(seen, client) and not self._names[name_of(client)]
        ]

    def _was_told(self, seen: Look, client: Client) -> bool:
        return (seen.epoch, client.client_id) in self._told

    def telling(self, client: Client) -> None:
        """The client is just to be told; `told` or `left` follows, unless the answer is lost."""
        self._telling = client

    def told(self, seen: Look, client: Client, at: float) -> None:
        """The client was told to go.

        Args:
            seen: the look that it was found in.
            client: of that look.
            at: on the clock of this process's event loops.
        """
        self._told[seen.epoch, client.client_id] = _Told(client, at)
        self._names[name_of(client)] += 1
        self._judge.before(replace(seen, at=at, clients=()), [client])
        self._settle(client)

    def left(self, client: Client) -> None:
        """The client was no more there when its turn came."""
        self._left.append(client)
        self._settle(client)

    def _settle(self, client: Client) -> None:
        self._waiting.remove(client)
        self._telling = None

    @property
    def has_newcomers(self) -> bool:
        """Whether the last look at the server has shown somebody who was never told."""
        return self._last is not None and bool(self._untold(self._last))

    def settled(self, at: float) -> bool:
        """Whether nothing more is to be seen: each is somewhere, or was nowhere for so long that it will not come."""
        return not self._lingers and all(_is_settled(told, at) for told in self._told.values())

    @property
    def _lingers(self) -> bool:
        """Whether the server still lists a session that was told to go, over UDP for seconds (protocol-facts 11.3)."""
        return self._last is not None and any(self._was_told(self._last, client) for client in self._last.clients)

    @property
    def remaining(self) -> int | None:
        """How many clients the server has, as far as was seen; without rows of sessions that go on elsewhere."""
        last = self._last
        if last is None:
            return None
        told = (self._told.get((last.epoch, client.client_id)) for client in last.clients if not client.handshaking)
        return sum(one is None or one.verdict is None or one.verdict.fate is not Fate.BACK for one in told)

    def result(self) -> Drain:
        """Where everybody is, as far as was seen."""
        clients = [
            *(_drained(told.client, *_whereabouts(told.verdict, self.server)) for told in self._told.values()),
            *(_drained(client, Whereabouts.LEFT) for client in self._left),
            *(
                _drained(client, Whereabouts.UNCONFIRMED if client is self._telling else Whereabouts.UNTOLD)
                for client in self._waiting
            ),
        ]
        return Drain(tuple(clients), self.remaining)

    @property
    def told_count(self) -> int:
        """How many were told to go."""
        return len(self._told)

    def progress(self) -> str:
        """`told 12 of 400 clients`, or nothing where there is nobody to tell."""
        count = self.told_count + len(self._waiting)
        return f"told {self.told_count} of {count} {'client' if count == 1 else 'clients'}" if count else ""


def _is_settled(told: _Told, at: float) -> bool:
    if told.verdict is None:
        return False
    if told.verdict.fate is Fate.GONE:
        return at - told.at >= LOST_AFTER
    return told.verdict.fate is Fate.BACK


def _whereabouts(verdict: Verified | None, server: str) -> tuple[Whereabouts, str | None, float | None]:
    if verdict is None:
        return Whereabouts.TOLD, None, None
    if verdict.fate is not Fate.BACK:
        return (Whereabouts.GONE if verdict.fate is Fate.GONE else Whereabouts.STAYED), None, None
    if verdict.server == server:
        return Whereabouts.CAME_BACK, None, verdict.after
    return Whereabouts.MOVED, verdict.server, verdict.after


def _drained(
    client: Client, whereabouts: Whereabouts, server: str | None = None, after: float | None = None
) -> Drained:
    return Drained(
        client.common_name,
        client.username,
        client.real_address,
        client.virtual_address,
        client.connected_since,
        client.client_id,
        whereabouts,
        server,
        after,
    )


# What is done on servers


def drain(draining: Draining) -> Operation[Drain]:
    """Tells everybody on the server to go, one after the other, at the drain's pace."""
    return Operation(
        "drain",
        lambda conversation: _tell(draining, conversation),
        _COLUMNS,
        lambda value: map(_row, value.clients),
        result=_result,
        changes=True,
        preview=plan(draining.message),
        confirm=Confirm.ALWAYS,
        effect="moves {clients} away from {servers}",
    )


def _result(value: Drain) -> object:
    counts = {str(one): value.count(one) for one in Whereabouts}
    return {
        "nclients": value.nclients,
        **counts,
        "cordoned": value.cordoned,
        "signal": value.signal,
        "neighbours": value.neighbours,
        "clients": value.clients,
    }


async def _tell(draining: Draining, conversation: Conversation) -> Answer[Drain]:
    seen = await look(conversation)
    clock = asyncio.get_running_loop().time
    begun, replies = clock(), []
    with conversation.attempt.off_the_clock():  # each reply has its own clock, and there is an end of clients
        for number, client in enumerate(draining.begin(seen)):
            conversation.attempt.phase = "waiting for the turn of the next client"
            await asyncio.sleep(max(0.0, begun + number * draining.interval - clock()))
            draining.telling(client)
            (reply,) = await conversation.ask(_dismissal(client, draining.message))
            if _is_gone(reply):
                draining.left(client)
            else:
                reply.result()
                draining.told(seen, client, clock())
            replies.append(reply)
    return Answer(draining.result(), "".join(reply.text() for reply in replies))


def _is_gone(reply: Reply[Any]) -> bool:
    """The daemon has no such client any more, or has lost its tunnel and all of them."""
    return refused_without_tunnel(reply) or (reply.error or "").endswith("client-kill command failed")


async def _look(conversation: Conversation) -> Answer[Look]:
    return Answer(await look(conversation), "")


LOOK: Operation[Look] = Operation("drain", _look, (), lambda _look: [])
"""Looks once at a server, in a short session that lets others in between."""
