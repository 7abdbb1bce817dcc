"""What top knows of the fleet, from the answers as they come. No terminal, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from fleet.inventory.model import Server
from fleet.management.status import Client
from fleet.operations.rates import Reading, rate, total
from fleet.operations.rounds import Sample
from fleet.top.glance import Glance, LogTail
from fleet.top.rows import ClientRow, ServerRow, session_of

CLIENTS_SHOWN = 20_000
"""Clients that are listed at a time: sorting a million of them several times a second would leave time for nothing."""

_CONNECTED = "CONNECTED"


@dataclass(frozen=True, slots=True)
class Totals:
    """The fleet in one line."""

    servers: int
    up: int
    down: int
    clients: int
    rate_in: float | None
    rate_out: float | None


class _Seen:
    """What was seen of one server."""

    def __init__(self, server: Server) -> None:
        self.row = ServerRow(server)
        self.good: Sample[Glance] | None = None  # the last answer
        self.before: Sample[Glance] | None = None  # the answer before that one
        self.failing: Sample[Glance] | None = None  # the first of the failures since the last answer
        self.clients: list[ClientRow] | None = None  # made when they are looked at


class Board:
    """Takes the samples of the rounds and makes rows of them.

    Args:
        servers: in inventory order.

    Attributes:
        version: another number whenever something has changed.
        log: the log that is shown, or None.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._seen = {server.name: _Seen(server) for server in servers}
        self.version = 0
        self.log: LogTail | None = None

    def update(self, sample: Sample[Glance]) -> None:
        """Takes what became of a server."""
        self.version += 1
        seen = self._seen[sample.server.name]
        seen.clients = None
        error = sample.outcome.error
        if error is not None:
            seen.failing = seen.failing or sample
            seen.row = ServerRow(
                sample.server,
                state=error.code,
                asked=True,
                since=seen.failing.when,
                problem=error.message,
                at=sample.at,
            )
            return
        seen.before, seen.good, seen.failing = seen.good, sample, None
        seen.row = _row(seen.before, sample)
        log = sample.outcome.require().log
        if log is not None and self.log is not None and self.log.server == sample.server.name:
            self.log.extend(log)

    # --- the log

    def wants_log(self, name: str) -> bool:
        """Whether this server's log is shown."""
        return self.log is not None and self.log.server == name

    def show_log(self, name: str | None) -> None:
        """Shows the log of this server, or of none."""
        self.version += 1
        self.log = None if name is None else LogTail(name)

    # --- what is shown

    def totals(self) -> Totals:
        """The fleet in one line: those that answered when they were last asked are up."""
        rows = [seen.row for seen in self._seen.values()]
        return Totals(
            servers=len(rows),
            up=sum(row.asked and not row.problem for row in rows),
            down=sum(bool(row.problem) for row in rows),
            clients=sum(row.nclients or 0 for row in rows),
            rate_in=total([row.rate_in for row in rows]),
            rate_out=total([row.rate_out for row in rows]),
        )

    def servers(self, *, search: str = "", failed: bool = False) -> list[ServerRow]:
        """The servers in inventory order.

        Args:
            search: part of their names, in either case.
            failed: only those that could not be asked, or are not connected.
        """
        wanted = search.casefold()
        rows = (seen.row for seen in self._seen.values())
        return [
            row for row in rows if wanted in row.server.name.casefold() and not (failed and (row.well or not row.asked))
        ]

    def clients(self, *, of: str | None = None, search: str = "") -> list[ClientRow]:
        """The clients of the servers that answered when they were last asked, `CLIENTS_SHOWN` of them at most.

        Args:
            of: the one server whose clients are wanted.
            search: part of their common names or usernames, in either case.
        """
        places: Iterable[_Seen] = self._seen.values() if of is None else (self._seen[of],)
        wanted = search.casefold()
        rows = (row for seen in places for row in _clients(seen))
        return list(islice((row for row in rows if not wanted or _is_called(row, wanted)), CLIENTS_SHOWN))


def _is_called(row: ClientRow, wanted: str) -> bool:
    return any(wanted in name.casefold() for name in (row.name, row.client.username) if name is not None)


def _row(before: Sample[Glance] | None, sample: Sample[Glance]) -> ServerRow:
    status = sample.outcome.require().status
    earlier = None if before is None else before.outcome.require().status
    state = "HOLD" if status.hold else status.state.name if status.state else "unknown"

    def of(name: str) -> float | None:
        if before is None or earlier is None:
            return None
        return rate(Reading(getattr(earlier, name), before.at), Reading(getattr(status, name), sample.at))

    return ServerRow(
        sample.server,
        state=state,
        well=state == _CONNECTED,
        asked=True,
        since=None if status.hold or status.state is None else status.state.time,
        nclients=status.nclients,
        rate_in=of("bytes_in"),
        rate_out=of("bytes_out"),
        version=status.version,
        at=sample.at,
    )


def _clients(seen: _Seen) -> list[ClientRow]:
    if seen.good is None or seen.failing is not None:
        return []
    if seen.clients is None:
        seen.clients = list(_client_rows(seen.before, seen.good))
    return seen.clients


def _client_rows(before: Sample[Glance] | None, sample: Sample[Glance]) -> Iterator[ClientRow]:
    known: dict[object, Client] = {}
    if before is not None:
        known = {session_of(client): client for client in before.outcome.require().status.clients}
    for client in sample.outcome.require().status.clients:
        earlier = known.get(session_of(client))
        if before is None or earlier is None:
            yield ClientRow(sample.server, client)
            continue
        rates = (
            rate(Reading(old, before.at), Reading(new, sample.at))
            for old, new in (
                (earlier.bytes_received, client.bytes_received),
                (earlier.bytes_sent, client.bytes_sent),
            )
        )
        yield ClientRow(sample.server, client, *rates)
