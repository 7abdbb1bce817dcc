"""`fleet collect`: what each daemon has counted, for itself and for every client, at one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fleet.errors import ProtocolError
from fleet.management import commands
from fleet.management.replies import State
from fleet.management.status import Client, Status
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation, refused_without_tunnel
from fleet.operations.operation import Answer, Operation, Row
from fleet.operations.status import STATUS_FORMAT, problem_warnings

_LARGEST = 2**53  # security limit: a daemon that has counted more bytes than that has not counted


@dataclass(frozen=True, slots=True)
class Counters:
    """What one daemon has counted.

    Attributes:
        position: the number that was asked for before the daemon was.
        when: when it answered, UTC, on the clock of this machine.
        daemon_time: the same on the daemon's own clock, where it said so.
        pid: of its process.
        epoch: since when its tunnel is up; None while it is not.
        clients: who is connected; nobody where that cannot be known: in a restart, or where one came in between.
        nclients: established clients.
        bytes_in: bytes received from all clients since the process began; SIGUSR1 does not reset it
            (protocol-facts 10.10).
        bytes_out: bytes sent to them.
        added_in: bytes that were recorded as received since the sample before, or None.
        added_out: bytes that were recorded as sent.
        standing: what became of it in the database.
    """

    position: int
    when: datetime
    daemon_time: datetime | None
    pid: int
    epoch: datetime | None
    clients: tuple[Client, ...]
    nclients: int
    bytes_in: int
    bytes_out: int
    added_in: int | None = None
    added_out: int | None = None
    standing: str = "not recorded"


@dataclass(frozen=True, slots=True)
class Collected:
    """What JSON shows of one server's counters.

    Attributes:
        result: what became of them in the database.
        added_in: bytes that were recorded as received since the sample before; None where nothing was recorded.
        added_out: bytes that were recorded as sent.
        nclients: established clients.
        bytes_in: bytes received from all clients since the process began.
        bytes_out: bytes sent to them.
        pid: of the daemon's process.
        epoch: since when its tunnel is up; None while it is not.
        time: when it answered, on its own clock; None where it has no list of clients.
    """

    result: str
    added_in: int | None
    added_out: int | None
    nclients: int
    bytes_in: int
    bytes_out: int
    pid: int
    epoch: datetime | None
    time: datetime | None


def collect(position: Callable[[str], int]) -> Operation[Counters]:
    """Reads the counters of a daemon.

    Args:
        position: of a server, by its name: asked right before the daemon is, so that whoever records the answer can
            tell whether somebody else has recorded a newer one.
    """

    async def perform(conversation: Conversation) -> Answer[Counters]:
        return await _count(conversation, position(conversation.server.name))

    return Operation(
        "collect",
        perform,
        (
            Column("nclients", Kind.COUNT, header="CLIENTS"),
            Column("added_in", Kind.SIZE, header="NEW IN"),
            Column("added_out", Kind.SIZE, header="NEW OUT"),
            Column("result"),
            Column("pid", Kind.COUNT, wide=True),
            Column("epoch", Kind.AGE, wide=True, header="SINCE"),
        ),
        lambda value: [_row(value)],
        result=_result,
    )


async def _count(conversation: Conversation, position: int) -> Answer[Counters]:
    """All of it in one write, so that the counters are of one moment, and the state behind them again.

    A daemon does these in one go. Where a restart came in between all the same, nobody can say in which epoch a
    client ID was counted, and the list of clients is left out.
    """
    before, listed, load, pid, after = await conversation.ask(
        commands.state(), commands.status(STATUS_FORMAT), commands.load_stats(), commands.pid(), commands.state()
    )
    counted = load.result()
    number = pid.result()
    if max(counted.bytes_in, counted.bytes_out, number) > _LARGEST:
        raise ProtocolError("the daemon's counters are larger than counters can be")
    status = None if refused_without_tunnel(listed) else listed.result()
    for warning in problem_warnings(status.problems if status else ()):
        conversation.warn(warning)
    epoch = _epoch(before.result(), after.result())
    return Answer(
        Counters(
            position,
            datetime.now(UTC),
            status.time if status else None,
            number,
            epoch,
            _clients(status, epoch),
            counted.nclients,
            counted.bytes_in,
            counted.bytes_out,
        ),
        listed.text(),
    )


def _epoch(before: State, after: State) -> datetime | None:
    """When the tunnel came up; None where it is not up, or was not all the while."""
    return before.time if before == after and before.name == "CONNECTED" else None


def _clients(status: Status | None, epoch: datetime | None) -> tuple[Client, ...]:
    return () if status is None or epoch is None else status.clients


def _row(value: Counters) -> Row:
    return (value.nclients, value.added_in, value.added_out, value.standing, value.pid, value.epoch)


def _result(value: Counters) -> Collected:
    return Collected(
        value.standing,
        value.added_in,
        value.added_out,
        value.nclients,
        value.bytes_in,
        value.bytes_out,
        value.pid,
        value.epoch,
        value.daemon_time,
    )
