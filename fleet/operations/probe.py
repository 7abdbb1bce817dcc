"""What monitoring wants to know of one server: little, so that it may be asked every few seconds.

`status` lists every client; a daemon of 10,000 answers with 2 MB and serves nobody meanwhile. What `check` and
`metrics` need is in three replies of a line or two, and the list is asked for only where it is wanted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.replies import LoadStats
from fleet.management.status import Client
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation, refused_without_tunnel
from fleet.operations.operation import Answer, Operation, texts
from fleet.operations.status import STATUS_FORMAT, problem_warnings

CONNECTED = "CONNECTED"
HOLD = "HOLD"
"""What fleet calls the state of a daemon that waits for a hold release, whatever state it was in before."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Traffic between two samples, in bytes per second.

    Attributes:
        received: that the daemon received from its clients.
        sent: that it sent to them.
    """

    received: float
    sent: float


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at one daemon.

    Attributes:
        state: of its tunnel, as the daemon spells it, or HOLD.
        since: when it came into this state, UTC; None in hold, where the daemon does not say.
        nclients: established clients.
        bytes_in: bytes that the daemon received since its process began (protocol-facts 10.10).
        bytes_out: bytes that it sent.
        version: OpenVPN's release.
        time: the daemon's own clock, UTC; None where it was not asked for, or the daemon has no tunnel.
        rates: None where they were not measured, or the counters fell meanwhile.
        clients: those connected, in mid-handshake too; None where they were not asked for, or there is no tunnel.
    """

    state: str
    since: datetime | None
    nclients: int
    bytes_in: int
    bytes_out: int
    version: str
    time: datetime | None = None
    rates: Rates | None = None
    clients: tuple[Client, ...] | None = None

    @property
    def connected(self) -> bool:
        """Whether the tunnel stands."""
        return self.state == CONNECTED


@dataclass(frozen=True, slots=True)
class _Look:
    """What is asked beside state, counters and release.

    Attributes:
        listed: the daemon's clock and clients, by its status.
        interval: seconds between two samples of the counters; None for one sample.
    """

    listed: bool
    interval: float | None

    async def perform(self, conversation: Conversation) -> Answer[Probe]:
        asked: list[Command[Any]] = [commands.state(), commands.version(), commands.load_stats()]
        if self.listed:
            asked.insert(0, commands.status(STATUS_FORMAT))
        replies = await conversation.ask(*asked)
        state, version, load = replies[-3:]
        status = None
        if self.listed and not refused_without_tunnel(replies[0]):
            status = replies[0].result()
            for warning in problem_warnings(status.problems):
                conversation.warn(warning)
        return Answer(
            Probe(
                state=HOLD if conversation.held else state.result().name,
                since=None if conversation.held else state.result().time,
                nclients=load.result().nclients,
                bytes_in=load.result().bytes_in,
                bytes_out=load.result().bytes_out,
                version=version.result().openvpn,
                time=status.time if status else None,
                rates=None if self.interval is None else await _measure(conversation, load.result(), self.interval),
                clients=status.clients if status else None,
            ),
            texts(*replies),
        )


async def _measure(conversation: Conversation, first: LoadStats, interval: float) -> Rates | None:
    """The traffic from a sample that was just read to a second one.

    Args:
        conversation: with the daemon, which is kept meanwhile.
        first: the first sample.
        interval: seconds to the second one.
    """
    loop = asyncio.get_running_loop()
    sampled = loop.time()
    with conversation.attempt.off_the_clock():
        conversation.attempt.phase = "measuring the traffic"
        await asyncio.sleep(interval)
    second = await conversation.run(commands.load_stats())
    return rates_between(first, second, loop.time() - sampled)


def rates_between(first: LoadStats, second: LoadStats, seconds: float) -> Rates | None:
    """The traffic between two samples; None where a counter fell, so that the daemon has begun again."""
    received, sent = second.bytes_in - first.bytes_in, second.bytes_out - first.bytes_out
    if received < 0 or sent < 0 or seconds <= 0:
        return None
    return Rates(received / seconds, sent / seconds)


def _row(value: Probe) -> tuple[object, ...]:
    return (value.state, value.since, value.nclients, value.bytes_in, value.bytes_out, value.version)


def probe(name: str, *, listed: bool = False, interval: float | None = None) -> Operation[Probe]:
    """One look at each daemon; nothing is changed.

    Args:
        name: the subcommand's name.
        listed: ask for the daemon's clock and clients too.
        interval: seconds between two samples of the byte counters; None for no rates.
    """
    columns = (
        Column("state", Kind.TEXT),
        Column("since", Kind.AGE),
        Column("nclients", Kind.COUNT, header="CLIENTS"),
        Column("bytes_in", Kind.SIZE, header="IN"),
        Column("bytes_out", Kind.SIZE, header="OUT"),
        Column("version", Kind.TEXT),
    )
    return Operation(name, _Look(listed, interval).perform, columns, lambda value: [_row(value)])
