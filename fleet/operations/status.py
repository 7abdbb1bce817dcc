"""`status`, `clients` and `routes`: who is connected where, put together from several replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any

from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.late import late, unmade
from fleet.management.protocol import Reply
from fleet.management.replies import State
from fleet.management.status import Client, Route, Status
from fleet.operations.columns import Column, Instead, Kind
from fleet.operations.conversation import Conversation, refused_without_tunnel
from fleet.operations.operation import Answer, Operation, Row

STATUS_FORMAT = 3  # the only format that no common name makes ambiguous (protocol-facts 3)

# Security limits: a daemon may send a million bad rows, each as long as a line may be.
_PROBLEMS_TOLD = 5
_PROBLEM_LENGTH = 300


@late("clients", "routes")
@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The state of one daemon and everybody connected to it.

    What cannot be known is None: in hold there is no tunnel, and a saved status file has no state.

    Attributes:
        title: as the daemon names itself.
        time: when the daemon made the status, UTC.
        hold: the daemon waits for a hold release.
        nclients: established clients; one in mid-handshake has a row and is not counted (protocol-facts 3).
        bytes_in: bytes that the daemon received from clients since its process began.
        bytes_out: bytes that it sent to them.
        version: OpenVPN's release.
        statistics: the counters of a daemon that is no server (protocol-facts 10.6).
        problems: rows that could not be read, each with its reason.
    """

    title: str | None
    time: datetime | None
    clients: tuple[Client, ...]
    routes: tuple[Route, ...]
    global_stats: Mapping[str, str]
    state: State | None
    nclients: int | None
    bytes_in: int | None
    bytes_out: int | None
    version: str | None
    hold: bool = False
    statistics: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


async def _ask_status(conversation: Conversation) -> Answer[ServerStatus]:
    state, status, load, version = await conversation.ask(
        commands.state(), commands.status(STATUS_FORMAT), commands.load_stats(), commands.version()
    )
    return Answer(_combine(conversation, state, status, load, version), status.text())


def _combine(
    conversation: Conversation,
    state: Reply[State],
    status: Reply[Status],
    load: Reply[Any],
    version: Reply[Any],
) -> ServerStatus:
    listed = None if refused_without_tunnel(status) else status.result()
    # A daemon in hold or in a restart has no tunnel; its state says so, and counters of nobody say nothing.
    stats = None if listed is None else load.result()
    for warning in problem_warnings(listed.problems if listed else ()):
        conversation.warn(warning)
    return ServerStatus(
        title=listed.title if listed else None,
        time=listed.time if listed else None,
        clients=unmade(listed, "clients") if listed else (),
        routes=unmade(listed, "routes") if listed else (),
        global_stats=listed.global_stats if listed else {},
        state=state.result(),
        nclients=stats.nclients if stats else None,
        bytes_in=stats.bytes_in if stats else None,
        bytes_out=stats.bytes_out if stats else None,
        version=version.result().openvpn,
        hold=conversation.held,
        statistics=listed.statistics if listed else {},
        problems=listed.problems if listed else (),
    )


def saved_status(status: Status) -> ServerStatus:
    """A status read from a file, in the shape of a live one: counted from its rows, without a state."""
    established = [client for client in status.clients if not client.handshaking]
    server = not status.statistics
    return ServerStatus(
        title=status.title,
        time=status.time,
        clients=status.clients,
        routes=unmade(status, "routes"),
        global_stats=status.global_stats,
        state=None,
        nclients=len(established) if server else None,
        bytes_in=_sum(client.bytes_received for client in status.clients) if server else None,
        bytes_out=_sum(client.bytes_sent for client in status.clients) if server else None,
        version=_release(status.title),
        statistics=status.statistics,
        problems=status.problems,
    )


def _release(title: str) -> str | None:
    """The release in a title such as `OpenVPN 2.6.14 x86_64-pc-linux-gnu ...`; format 1 has none."""
    words = title.split()
    return words[1] if len(words) > 1 and words[0] == "OpenVPN" and words[1][:1].isdigit() else None


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _status_row(value: ServerStatus) -> Row:
    state = value.state
    return (
        "HOLD" if value.hold else state.name if state else None,
        None if value.hold or state is None else state.time,
        value.nclients,
        value.bytes_in,
        value.bytes_out,
        value.version,
        state.local_address if state else None,
        value.time,
    )


def _status_totals(values: Sequence[ServerStatus]) -> Row:
    return (
        None,
        None,
        _sum(value.nclients for value in values),
        _sum(value.bytes_in for value in values),
        _sum(value.bytes_out for value in values),
        None,
        None,
        None,
    )


STATUS: Operation[ServerStatus] = Operation(
    "status",
    _ask_status,
    (
        Column("state", Kind.TEXT, keep=True),
        Column("since", Kind.AGE),
        Column("nclients", Kind.COUNT, header="CLIENTS"),
        Column("bytes_in", Kind.SIZE, header="IN"),
        Column("bytes_out", Kind.SIZE, header="OUT"),
        Column("version", Kind.TEXT),
        Column("local_address", Kind.TEXT, wide=True),
        Column("time", Kind.TIME, wide=True),
    ),
    lambda value: [_status_row(value)],
    totals=_status_totals,
)


def raw_status(version: int) -> Operation[str]:
    """The daemon's own status text in the format that was asked for.

    Args:
        version: 1, 2 or 3 (management notes, COMMAND -- status).

    Raises:
        UsageError: it is none of these.
    """
    command = commands.status(version).raw()  # whatever it says is what was asked for: it is not parsed
    return Operation("status", partial(_ask_raw, command), (), lambda _text: [])


async def _ask_raw(command: Command[tuple[str, ...]], conversation: Conversation) -> Answer[str]:
    (reply,) = await conversation.ask_settled(command)
    reply.result()
    return Answer(reply.text(), reply.text())


async def list_connected(conversation: Conversation) -> Answer[Status]:
    """The daemon's clients and routes; none in hold, where nobody can be connected.

    Raises:
        ServerError: also CommandFailedError where the daemon answered ERROR for another reason.
    """
    (reply,) = await conversation.ask_settled(commands.status(STATUS_FORMAT))
    if refused_without_tunnel(reply) and conversation.held:
        conversation.warn("the daemon is in hold: nobody can be connected; fleet hold release brings it up")
        return Answer(Status(title="", time=None), reply.text())
    status = reply.result()
    for warning in problem_warnings(status.problems):
        conversation.warn(warning)
    return Answer(status, reply.text())


def problem_warnings(problems: Sequence[str]) -> tuple[str, ...]:
    """What to tell people of rows that could not be read: the first few, cut short, and how many more there are."""
    told = [
        problem if len(problem) <= _PROBLEM_LENGTH else f"{problem[:_PROBLEM_LENGTH]}..."
        for problem in problems[:_PROBLEMS_TOLD]
    ]
    more = len(problems) - len(told)
    return (*told, f"{more} more like that; --json has them all") if more else tuple(told)


HANDSHAKING = Instead("(handshaking)")  # no name yet: a client in the middle of its handshake (protocol-facts 10.1)

CLIENT_COLUMNS = (
    Column("common_name", Kind.TEXT, names=True),
    Column("real_address", Kind.TEXT),
    Column("virtual_address", Kind.TEXT),
    Column("bytes_received", Kind.SIZE, header="IN"),
    Column("bytes_sent", Kind.SIZE, header="OUT"),
    Column("connected_since", Kind.AGE, header="SINCE"),
    Column("username", Kind.TEXT),
    Column("data_channel_cipher", Kind.TEXT, header="CIPHER"),
    Column("virtual_ipv6_address", Kind.TEXT, wide=True),
    Column("client_id", Kind.COUNT, wide=True),
    Column("peer_id", Kind.COUNT, wide=True),
)

ROUTE_COLUMNS = (
    Column("virtual_address", Kind.TEXT, keep=True),
    Column("common_name", Kind.TEXT, names=True),
    Column("real_address", Kind.TEXT),
    Column("last_ref", Kind.AGE),
    Column("cached", Kind.TEXT, wide=True),
)


_client_cells: Callable[[Client], Row] = attrgetter(*(column.name for column in CLIENT_COLUMNS))
_route_row: Callable[[Route], Row] = attrgetter(*(column.name for column in ROUTE_COLUMNS))


def _client_row(client: Client) -> Row:
    cells = _client_cells(client)
    return (HANDSHAKING, *cells[1:]) if client.handshaking else cells


def _totals_of(
    columns: tuple[Column, ...], noun: str, rows: Callable[[Status], Sequence[Any]]
) -> Callable[[Sequence[Status]], Row]:
    """How many rows there are on all servers, and the sum of each column of sizes."""

    def totals(values: Sequence[Status]) -> Row:
        everything = [row for value in values for row in rows(value)]
        cells: list[object] = [
            _sum(getattr(row, column.name) for row in everything) if column.kind is Kind.SIZE else None
            for column in columns
        ]
        cells[0] = f"{len(everything)} {noun}{'' if len(everything) == 1 else 's'}"
        return cells

    return totals


CLIENTS: Operation[Status] = Operation(
    "clients",
    list_connected,
    CLIENT_COLUMNS,
    lambda status: map(_client_row, status.clients),
    totals=_totals_of(CLIENT_COLUMNS, "client", lambda status: status.clients),
    nobody="nobody is connected",
    result=lambda status: {"time": status.time, "clients": status.clients, "problems": status.problems},
)

ROUTES: Operation[Status] = Operation(
    "routes",
    list_connected,
    ROUTE_COLUMNS,
    lambda status: map(_route_row, status.routes),
    totals=_totals_of(ROUTE_COLUMNS, "route", lambda status: status.routes),
    nobody="there are no routes",
    result=lambda status: {"time": status.time, "routes": status.routes, "problems": status.problems},
)
