"""What became of clients that were killed: looks at the servers afterwards, and a judge of what they show.

A session is told by the epoch of its daemon, the time of its `state`, and its client id (protocol-facts 11.3): gone is
who has no such row any more; who has a row of the same name that was not there before came back, wherever in the fleet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from fleet.management import commands
from fleet.management.status import Client
from fleet.operations.conversation import Conversation, refused_without_tunnel
from fleet.operations.operation import Answer, Operation
from fleet.operations.status import STATUS_FORMAT
from fleet.operations.who import host_of

LOOK_INTERVAL = 1.0  # seconds between two looks at a server
LINGER = 6.0
"""Seconds that the row of a client over UDP may outlive its `client-kill` (protocol-facts 11.3)."""


class Row(Protocol):
    """What tells one session from others; a Client has it."""

    @property
    def common_name(self) -> str | None: ...  # noqa: D102 - as a Client's
    @property
    def username(self) -> str | None: ...  # noqa: D102
    @property
    def real_address(self) -> str | None: ...  # noqa: D102
    @property
    def connected_since(self) -> datetime | None: ...  # noqa: D102
    @property
    def client_id(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Look:
    """Who was connected to one server at one moment.

    Attributes:
        server: its name.
        at: seconds on the clock of this process's event loops.
        epoch: the time of the daemon's state, in which its client ids count.
        time: the daemon's own clock.
        clients: everybody; nobody while the daemon restarts.
    """

    server: str
    at: float
    epoch: datetime
    time: datetime | None
    clients: tuple[Client, ...]


class Fate(StrEnum):
    """What became of a killed session."""

    GONE = "gone"
    BACK = "back"
    STILL_THERE = "still_there"


@dataclass(frozen=True, slots=True)
class Verified:
    """What the looks have shown of one killed session.

    Attributes:
        fate: what became of it.
        server: where it is back, or None.
        after: seconds from the kill until it was back, or None.
    """

    fate: Fate
    server: str | None = None
    after: float | None = None

    def __str__(self) -> str:
        """`back on edge-2 after 3 s`."""
        if self.fate is Fate.BACK:
            return f"back on {self.server} after {self.after or 0:.0f} s"
        return self.fate.value.replace("_", " ")


async def look(conversation: Conversation) -> Look:
    """Who is connected now.

    Raises:
        ServerError: it could not be asked.
    """
    state, status = await conversation.ask(commands.state(), commands.status(STATUS_FORMAT))
    at = asyncio.get_running_loop().time()
    epoch = state.result().time
    if refused_without_tunnel(status):
        return Look(conversation.server.name, at, epoch, None, ())
    listed = status.result()
    return Look(conversation.server.name, at, epoch, listed.time, listed.clients)


@dataclass(slots=True)
class _Killed:
    """A session that was killed, and what is known of it since.

    Attributes:
        at: when, as in a Look.
        name: what it has again when it comes back, or None where it has nothing of that kind.
        host: where it came from.
        listed: the last look at its server still had it; None before the first one.
        back: where and how soon it came back.
    """

    row: Row
    server: str
    at: float
    identity: Hashable
    name: str | None
    host: object
    listed: bool | None = None
    back: Verified | None = None


def name_of(row: Row) -> str | None:
    """What most clients have again when they come back: the common name; where there is none, the username."""
    return row.common_name or row.username


@dataclass(slots=True)
class Judge:
    """Judges what became of killed sessions, from looks in any order of servers. No clock, no I/O.

    Attributes:
        name: what the same client has again when it comes back.
    """

    name: Callable[[Row], str | None] = name_of
    _killed: list[_Killed] = field(default_factory=list)
    _known: set[Hashable] = field(default_factory=set)

    def before(self, look: Look, killed: Iterable[Row]) -> None:
        """Takes what was there right before the kill, and which of its clients were killed."""
        self._known.update(_identity(look, client) for client in look.clients)
        self._killed += [
            _Killed(row, look.server, look.at, _identity(look, row), self.name(row), host_of(row.real_address))
            for row in killed
        ]

    def saw(self, look: Look) -> None:
        """Takes a look at one server after the kill. A client that came back stays so, also if it leaves again."""
        rows = {_identity(look, client): client for client in look.clients}
        for killed in self._killed:
            if killed.server == look.server:
                killed.listed = killed.identity in rows
        for identity, client in rows.items():
            if identity in self._known:
                continue
            name = self.name(client)
            if name is not None:  # who has none yet may get one
                self._known.add(identity)
                self._came(client, name, look)

    def _came(self, client: Client, name: str, look: Look) -> None:
        """Takes a new session for the return of the likeliest of those that were killed and have its name."""
        waiting = (killed for killed in self._killed if killed.back is None and killed.name == name)
        host = host_of(client.real_address)
        killed = max(waiting, key=lambda each: (each.host == host, each.server == look.server), default=None)
        if killed is not None:
            known = look.time is not None and client.connected_since is not None
            age = (look.time - client.connected_since).total_seconds() if known else 0.0  # type: ignore[operator]  # known
            killed.back = Verified(Fate.BACK, look.server, max(0.0, look.at - age - killed.at))

    def verdict(self, server: str, row: Row) -> Verified | None:
        """What became of a session that `before` was told of; None where no look tells."""
        killed = next(killed for killed in self._killed if killed.server == server and killed.row is row)
        if killed.back is not None or killed.listed is None:
            return killed.back
        return Verified(Fate.STILL_THERE if killed.listed else Fate.GONE)

    @property
    def all_back(self) -> bool:
        """Nothing more can be seen, since what is back stays so."""
        return all(killed.back is not None for killed in self._killed)

    def lingers_until(self, server: str) -> float:
        """Until when rows that the last look at this server still had may only linger; as a Look's `at`, or 0."""
        listed = (each.at for each in self._killed if each.server == server and each.listed and each.back is None)
        return max(listed, default=-LINGER) + LINGER


def _identity(look: Look, row: Row) -> Hashable:
    if row.client_id is not None:
        return (look.server, look.epoch, row.client_id)
    return (look.server, look.epoch, row.common_name, row.real_address, row.connected_since)


def watch(judge: Judge, until: float) -> Operation[Look]:
    """Looks at each server about each second until the time is over, longer where a row may only linger.

    The looks end early where everybody is back.

    Args:
        judge: is told of each look.
        until: on the clock of this process's event loops.
    """

    async def perform(conversation: Conversation) -> Answer[Look]:
        clock = asyncio.get_running_loop().time
        while True:
            conversation.attempt.phase = "looking whether it is gone"
            seen = await look(conversation)
            judge.saw(seen)
            left = max(until, judge.lingers_until(conversation.server.name)) - clock()
            if left <= 0 or judge.all_back:
                return Answer(seen, "")
            with conversation.attempt.off_the_clock():
                await asyncio.sleep(min(LOOK_INTERVAL, left))

    return Operation("kill", perform, (), lambda _look: [])
