"""`diff`: what became of the clients between two snapshots of a fleet, and their traffic since. Pure.

Each client of either time gets exactly one change. It is compared with itself in three steps, each taking those that
the one before left over: by its session, by its name on the same server, by its name on another one. Sessions are told
apart by (server, pid, epoch, client ID, connected since), as protocol-facts 10.2 and 11.3 have it; a name is a common
name together with a username, and neither is unique (protocol-facts 10.2), so that as many of a name are paired as
there are at both times.

The first two steps need one server only (`compare`), the third all of them (`find_moves`); so a server can be compared
as soon as it has answered.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TypeVar

from fleet.management.status import Client
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation, Row
from fleet.operations.snapshot import FleetSnapshot, ServerSnapshot, take

A = TypeVar("A")
B = TypeVar("B")


class Change(StrEnum):
    """What became of a client, as JSON spells it; in this order people see them."""

    MOVED = "moved"
    JOINED = "joined"
    LEFT = "left"
    RECONNECTED = "reconnected"
    UNKNOWN = "unknown"  # its server was not asked at one of the two times
    STAYED = "stayed"


@dataclass(frozen=True, slots=True)
class ClientChange:
    """What became of one client.

    Attributes:
        change: in a word.
        common_name: of its certificate, or None.
        username: or None.
        moved_from: the server that it was on before, where it has moved.
        before: its row at the first time; None where there is none.
        after: its row at the second time; None where there is none.
        bytes_received: by the servers from it since the first time: the difference for a session that lasted, all
            of a session that began since. What an older session had after the first time is in nobody's count
            (protocol-facts 11.6). None where it is not known.
        bytes_sent: to it, likewise.
    """

    change: Change
    common_name: str | None
    username: str | None
    moved_from: str | None
    before: Client | None
    after: Client | None
    bytes_received: int | None
    bytes_sent: int | None


@dataclass(frozen=True, slots=True)
class ServerDifference:
    """What became of one server and its clients.

    Attributes:
        asked_before: it is in the first snapshot.
        asked_after: it is in the second one.
        restarted: the daemon is another process by now.
        clients: those that are on it, and those that were and are on no other.
        bytes_in: bytes that it received from all clients since the first time; of a new process all of its bytes;
            None where it is not known.
        bytes_out: bytes that it sent to them.
    """

    asked_before: bool
    asked_after: bool
    restarted: bool
    clients: tuple[ClientChange, ...]
    bytes_in: int | None
    bytes_out: int | None

    @property
    def unattributed_in(self) -> int | None:
        """The part of `bytes_in` that no client's count has: of sessions that ended since, mostly."""
        return _rest(self.bytes_in, (client.bytes_received for client in self.clients if client.after is not None))

    @property
    def unattributed_out(self) -> int | None:
        """The part of `bytes_out` that no client's count has."""
        return _rest(self.bytes_out, (client.bytes_sent for client in self.clients if client.after is not None))

    @property
    def is_different(self) -> bool:
        """Somebody came, went or connected again, or the server was asked only once. Traffic is no difference."""
        if self.asked_before != self.asked_after:
            return True
        return any(client.change is not Change.STAYED for client in self.clients)


def diff(before: FleetSnapshot, after: FleetSnapshot) -> dict[str, ServerDifference]:
    """The difference of two snapshots, for each server that either has, those of the first one first."""
    names = dict.fromkeys((*before.servers, *before.missing, *after.servers, *after.missing))
    return find_moves({name: compare(before.servers.get(name), after.servers.get(name)) for name in names})


# One server


def compare(before: ServerSnapshot | None, after: ServerSnapshot | None) -> ServerDifference:
    """What became of the clients of one server, as far as it alone can tell; None where it was not asked."""
    restarted = before is not None and after is not None and before.pid != after.pid
    bytes_in = bytes_out = None
    if before is not None and after is not None:
        bytes_in = _grown(None if restarted else before.bytes_in, after.bytes_in)
        bytes_out = _grown(None if restarted else before.bytes_out, after.bytes_out)
    return ServerDifference(
        before is not None, after is not None, restarted, tuple(_changes(before, after)), bytes_in, bytes_out
    )


def _changes(before: ServerSnapshot | None, after: ServerSnapshot | None) -> Iterable[ClientChange]:
    if before is None or after is None:
        yield from (_change(Change.UNKNOWN, client, None) for client in (before.clients if before else ()))
        yield from (_change(Change.UNKNOWN, None, client) for client in (after.clients if after else ()))
        return
    same, were, are = _pair(before.clients, after.clients, partial(_session, before), partial(_session, after))
    again, left, joined = _pair(were, are, _name, _name)
    yield from (_change(Change.STAYED, old, new) for old, new in same)
    yield from (_change(Change.RECONNECTED, old, new) for old, new in again)
    yield from (_change(Change.LEFT, client, None) for client in left)
    yield from (_change(Change.JOINED, None, client) for client in joined)


def _session(server: ServerSnapshot, client: Client) -> Hashable:
    """What a session of this server is known by; daemons before 2.4 have no client IDs."""
    number: Hashable = client.client_id if client.client_id is not None else client.real_address
    return server.pid, server.epoch, number, client.connected_since, client.common_name, client.username


def _name(client: Client | ClientChange) -> Hashable:
    """What the same client is known by in another session; None for one without a name, which nothing tells."""
    name = client.common_name, client.username
    return None if name == (None, None) else name


def _change(change: Change, before: Client | None, after: Client | None, moved_from: str | None = None) -> ClientChange:
    client = after or before
    assert client is not None  # noqa: S101 - for mypy: each has one of them
    lasted = before if change is Change.STAYED else None
    counted = after if change is not Change.UNKNOWN else None  # since when, nobody knows
    return ClientChange(
        change,
        client.common_name,
        client.username,
        moved_from,
        before,
        after,
        _grown(lasted and lasted.bytes_received, counted and counted.bytes_received),
        _grown(lasted and lasted.bytes_sent, counted and counted.bytes_sent),
    )


def _grown(before: int | None, after: int | None) -> int | None:
    """What a counter has grown by; one that shrank has begun again (protocol-facts 11.6)."""
    return after if after is None or before is None or after < before else after - before


def _rest(total: int | None, parts: Iterable[int | None]) -> int | None:
    """What of the total is in none of the parts, which may lag behind each other (protocol-facts 10.12)."""
    return None if total is None else max(0, total - sum(part or 0 for part in parts))


def _pair(
    before: Iterable[A], after: Iterable[B], key_before: Callable[[A], Hashable], key_after: Callable[[B], Hashable]
) -> tuple[list[tuple[A, B]], list[A], list[B]]:
    """Pairs what has the same key, in order; what has no partner, or None for a key, is left over."""
    waiting: defaultdict[Hashable, deque[A]] = defaultdict(deque)
    left, new, pairs = [], [], []
    for one in before:
        if (key := key_before(one)) is None:
            left.append(one)
        else:
            waiting[key].append(one)
    for other in after:
        partners = waiting.get(key_after(other))
        if partners:
            pairs.append((partners.popleft(), other))
        else:
            new.append(other)
    return pairs, [*left, *(one for partners in waiting.values() for one in partners)], new


# All servers


_MOVES = (Change.LEFT, Change.JOINED), (Change.LEFT, Change.UNKNOWN), (Change.UNKNOWN, Change.JOINED)
"""What a move is put together from, the surest first. One that is unknown at both ends may have been at both always."""


def find_moves(servers: Mapping[str, ServerDifference]) -> dict[str, ServerDifference]:
    """Makes a client that is gone here and new there one that has moved; it is shown where it is now.

    A server that was asked only once takes part: where a client is, or was, is known all the same.
    """
    gone = [(name, one) for name, server in servers.items() for one in server.clients if one.after is None]
    new = [(name, one) for name, server in servers.items() for one in server.clients if one.before is None]
    away: set[int] = set()
    arrived: dict[int, ClientChange] = {}
    for was, now in _MOVES:
        leaving = [pair for pair in gone if pair[1].change is was and id(pair[1]) not in away]
        coming = [pair for pair in new if pair[1].change is now and id(pair[1]) not in arrived]
        pairs, _, _ = _pair(leaving, coming, _name_of_second, _name_of_second)
        for (moved_from, old), (_, one) in pairs:
            away.add(id(old))
            arrived[id(one)] = _change(Change.MOVED, old.before, one.after, moved_from)
    return {name: _with(server, away, arrived) for name, server in servers.items()}


def _with(server: ServerDifference, away: AbstractSet[int], arrived: Mapping[int, ClientChange]) -> ServerDifference:
    clients = (arrived.get(id(one), one) for one in server.clients if id(one) not in away)
    return replace(server, clients=tuple(sorted(clients, key=_order)))


def _name_of_second(pair: tuple[str, ClientChange]) -> Hashable:
    return _name(pair[1])


_ORDER = tuple(Change)


def _order(change: ClientChange) -> tuple[int, str, str]:
    return _ORDER.index(change.change), change.common_name or "", change.username or ""


# What people and programs see


_COLUMNS = (
    Column("common_name", Kind.TEXT, names=True),
    Column("change", Kind.TEXT, keep=True),
    Column("moved_from", Kind.TEXT, header="FROM"),
    Column("real_address", Kind.TEXT),
    Column("connected_since", Kind.AGE, header="SINCE"),
    Column("bytes_received", Kind.SIZE, header="IN"),
    Column("bytes_sent", Kind.SIZE, header="OUT"),
    Column("username", Kind.TEXT),
)


_UNEVENTFUL = (Change.STAYED, Change.UNKNOWN)


def _rows(everybody: bool, value: ServerDifference) -> list[Row]:
    """Of those that stayed there is nothing to tell, and of those that nobody knows of their server's warning tells."""
    return [_row(client) for client in value.clients if everybody or client.change not in _UNEVENTFUL]


def _row(client: ClientChange) -> Row:
    seen = client.after or client.before
    return (
        client.common_name,
        client.change,
        client.moved_from,
        seen.real_address if seen else None,
        client.after.connected_since if client.after else None,
        client.bytes_received,
        client.bytes_sent,
        client.username,
    )


def _totals(values: Sequence[ServerDifference]) -> Row:
    """The servers' own counts, which have the bytes of sessions that ended too."""
    return (None, None, None, None, None, _sum(v.bytes_in for v in values), _sum(v.bytes_out for v in values), None)


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _result(value: ServerDifference) -> object:
    return {
        "asked_before": value.asked_before,
        "asked_after": value.asked_after,
        "restarted": value.restarted,
        "bytes_in": value.bytes_in,
        "bytes_out": value.bytes_out,
        "unattributed_in": value.unattributed_in,
        "unattributed_out": value.unattributed_out,
        "clients": value.clients,
    }


def difference(before: FleetSnapshot, *, everybody: bool) -> Operation[ServerDifference]:
    """Asks servers who is there now, and compares each with a snapshot; `find_moves` has to follow.

    Args:
        before: the snapshot.
        everybody: tables show those that stayed too, and those of whom nothing is known. JSON always does.
    """
    return Operation(
        "diff",
        partial(_perform, before),
        _COLUMNS,
        partial(_rows, everybody),
        totals=_totals,
        result=_result,
    )


async def _perform(before: FleetSnapshot, conversation: Conversation) -> Answer[ServerDifference]:
    answer = await take(conversation)
    return Answer(compare(before.servers.get(conversation.server.name), answer.value.server), answer.raw)


def summary(servers: Iterable[ServerDifference]) -> str:
    """In a few words: `2 moved, 1 left, 40 stayed`."""
    counts = dict.fromkeys(Change, 0)
    for server in servers:
        for client in server.clients:
            counts[client.change] += 1
    return ", ".join(f"{count} {change}" for change, count in counts.items() if count) or "nobody was connected"
