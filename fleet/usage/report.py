"""What the database tells: traffic and sessions by client, server, day, hour or month.

Of a server the daemon's own total is shown. What its sessions do not have of it is unattributed: what was transferred
between the last sample of a session and its end, by sessions between two samples, and by handshakes
(protocol-facts 11.6). Where the total is less than what the sessions have, the sessions' sum is shown, and nothing is
unattributed: a total and a list of clients are two answers of the daemon, and with DCO the one may lag
(protocol-facts 10.12).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import translate
from typing import Any, Final

from fleet.usage.database import Database
from fleet.usage.housekeeping import DAY
from fleet.usage.periods import HOUR, Presence, Range, day_of, hour_of, month_of

_CELLS: Final = 24
"""So many values a trend has at most, about."""


class By(StrEnum):
    """What a report has a row for."""

    CLIENT = "client"
    SERVER = "server"
    DAY = "day"
    HOUR = "hour"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose usage is wanted.

    Attributes:
        range: from when to when.
        by: what there is a row for.
        who: a common name or username, also as a glob; None for everybody.
        servers: the names of servers; None for all that were ever recorded.
    """

    range: Range
    by: By
    who: str | None = None
    servers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row of a report.

    Attributes:
        key: the client's name, the server's, or the beginning of the period. None for clients without a name.
        unattributed: the row is what no session of a server is known to have transferred.
        servers: the names of the servers that it is of, sorted.
        clients: how many names were connected.
        sessions: how many sessions were.
        connected: seconds, added up over the sessions.
        bytes_received: by the servers.
        bytes_sent: by the servers.
        first_sample: some of the bytes came with the first sample of a server: its sessions had transferred them until
            then, however long that took, and they count in the hour of that sample.
        bytes_unattributed: what of both no session is known to have transferred; None where only some clients are
            meant, or the row is of one.
        samples: how often the servers were asked and answered; None for clients.
        missed: how often they did not answer; None for clients.
        trend: bytes, over the range in equal steps; for a period none.
    """

    key: str | datetime | None
    unattributed: bool = False
    servers: tuple[str, ...] = ()
    clients: int = 0
    sessions: int = 0
    connected: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    first_sample: bool = False
    bytes_unattributed: int | None = None
    samples: int | None = None
    missed: int | None = None
    trend: tuple[int, ...] = ()

    @property
    def bytes_total(self) -> int:
        """Both ways."""
        return self.bytes_received + self.bytes_sent


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A whole report.

    Attributes:
        rows: clients and servers by what they transferred, the most first, and what is unattributed behind them;
            periods in their order.
        samples: how often any of the servers was asked and answered in this time.
        missed: how often one did not, by the server's name.
        first: by the server's name: when it was recorded for the first time, where that was in this time.
    """

    rows: tuple[UsageRow, ...]
    samples: int
    missed: dict[str, int]
    first: dict[str, datetime]


@dataclass(slots=True)
class _Sum:
    """What is added up for one row."""

    received: int = 0
    sent: int = 0
    sessions: int = 0
    connected: int = 0
    clients: int = 0
    samples: int = 0
    missed: int = 0
    unattributed: int = 0
    first: bool = False
    names: set[str | None] = field(default_factory=set)
    servers: set[str] = field(default_factory=set)
    trend: dict[int, int] = field(default_factory=lambda: defaultdict(int))


_SERVERS = "SELECT id, name FROM server"

_BY_SESSION = """
    SELECT bucket, server_id, coalesce(common_name, username), received, sent
    FROM (
        SELECT hour - (hour - :origin) % :step AS bucket, session_id,
            CAST(total(bytes_received) AS INTEGER) AS received, CAST(total(bytes_sent) AS INTEGER) AS sent
        FROM session_traffic WHERE hour >= :start AND hour < :end
        GROUP BY 1, 2
    )
    JOIN session ON session.id = session_id
"""

_BY_SERVER = """
    SELECT hour - (hour - :origin) % :step, server_id, NULL,
        CAST(total(session_traffic.bytes_received) AS INTEGER), CAST(total(session_traffic.bytes_sent) AS INTEGER)
    FROM session_traffic JOIN session ON session.id = session_id
    WHERE hour >= :start AND hour < :end
    GROUP BY 1, 2
"""

_SERVER_TRAFFIC = """
    SELECT hour - (hour - :origin) % :step, server_id,
        CAST(total(bytes_in) AS INTEGER), CAST(total(bytes_out) AS INTEGER),
        CAST(total(samples) AS INTEGER), CAST(total(missed) AS INTEGER)
    FROM server_traffic
    WHERE hour >= :start AND hour < :end
    GROUP BY 1, 2
"""

_SESSIONS = """
    SELECT server_id, coalesce(common_name, username),
        min(max(connected_since, :start), last_seen), min(last_seen, :end)
    FROM session WHERE connected_since < :end AND last_seen >= :start
"""

# A session of the first sample has nothing before it, so that its row of that hour, or of the day into which the hours
# were folded, has what it brought along.
_FIRST_TRAFFIC = """
    SELECT DISTINCT hour - (hour - :origin) % :step, server_id, coalesce(common_name, username)
    FROM server
    JOIN session ON server_id = server.id AND first_seen = first_sample
    JOIN session_traffic ON session_id = session.id
        AND hour IN (first_sample - first_sample % 3600, first_sample - first_sample % 86400)
    WHERE hour >= :start AND hour < :end
"""

_FIRST = "SELECT name, first_sample FROM server WHERE first_sample >= :start AND first_sample < :end ORDER BY name"


def make_report(database: Database, wanted: Wanted) -> UsageReport:
    """The report that is wanted, read at one moment.

    Raises:
        UsageError: the file is damaged.
        RunLockedError: another run held it for longer than the busy timeout.
    """
    with database.one_moment():
        return _Report(database, wanted).made()


class _Report:
    def __init__(self, database: Database, wanted: Wanted) -> None:
        self._database = database
        self._wanted = wanted
        self._by = wanted.by
        self._is_meant = _matcher(wanted.who)
        self._periods = _PERIODS.get(wanted.by)
        self._step = _step(wanted)
        self._sums: dict[Any, _Sum] = defaultdict(_Sum)
        # What the sessions have, by (period or None, server), for the rest that is unattributed.
        self._attributed: dict[tuple[int | None, str], list[int]] = defaultdict(lambda: [0, 0])
        self._totals: dict[tuple[int | None, str], list[int]] = defaultdict(lambda: [0, 0])
        self._names: dict[int, str] = {}  # of the servers that are meant
        self._samples = 0
        self._missed: dict[str, int] = defaultdict(int)

    def made(self) -> UsageReport:
        self._read_servers()
        self._read_sessions()
        self._read_session_traffic()
        self._read_server_traffic()
        self._read_first_traffic()
        rest = [] if self._wanted.who is not None else self._rest()
        rows = [self._row(key, found) for key, found in self._sums.items()]
        if self._periods is None:
            rows.sort(key=lambda row: (-row.bytes_total, str(row.key)))
        else:
            rows.sort(key=lambda row: str(row.key))
        return UsageReport((*rows, *rest), self._samples, dict(self._missed), self._first())

    def _ask(self, statement: str) -> Iterator[tuple[Any, ...]]:
        span = self._wanted.range
        values = {
            "start": span.start,
            "end": span.end,
            "step": self._step,
            "origin": span.start if self._periods is None else 0,
        }
        return self._database.rows(
            statement, {name: value for name, value in values.items() if f":{name}" in statement}
        )

    def _read_servers(self) -> None:
        chosen = self._wanted.servers
        self._names = {key: name for key, name in self._ask(_SERVERS) if chosen is None or name in chosen}

    def _key(self, time: int, server: str, client: str | None) -> Any:
        if self._periods is not None:
            return self._periods(time)
        return server if self._by is By.SERVER else client

    def _read_sessions(self) -> None:
        found = self._sessions()
        if self._periods is None:
            for server, client, start, end in found:
                one = self._sums[server if self._by is By.SERVER else client]
                one.sessions += 1
                one.connected += max(end - start, 0)
                one.names.add(client)
                one.servers.add(server)
            return
        presence = Presence(self._starts(), self._wanted.range.end)
        for _server, client, start, end in found:
            presence.add(client, start, end)
        for time, sessions, connected, clients in presence.periods():
            if sessions:
                one = self._sums[time]
                one.sessions, one.connected, one.clients = sessions, connected, clients

    def _sessions(self) -> Iterator[tuple[str, str | None, int, int]]:
        for server_id, client, start, end in self._ask(_SESSIONS):
            server = self._names.get(server_id)
            if server is not None and self._is_meant(client):
                yield server, client, start, end

    def _starts(self) -> list[int]:
        """The beginnings of the periods of the range."""
        span = self._wanted.range
        assert self._periods is not None  # noqa: S101 - asked for in reports of periods only
        step = HOUR if self._by is By.HOUR else DAY
        return sorted({self._periods(time) for time in (*range(span.start, span.end, step), span.end - 1)})

    def _read_session_traffic(self) -> None:
        named = self._by is By.CLIENT or self._wanted.who is not None
        for time, server_id, client, received, sent in self._ask(_BY_SESSION if named else _BY_SERVER):
            server = self._names.get(server_id)
            if server is None or not self._is_meant(client):
                continue
            found = self._sums[self._key(time, server, client)]
            found.received += received
            found.sent += sent
            found.servers.add(server)
            found.trend[time] += received + sent
            attributed = self._attributed[self._place(time, server)]
            attributed[0] += received
            attributed[1] += sent

    def _place(self, time: int, server: str) -> tuple[int | None, str]:
        return (None if self._periods is None else self._periods(time)), server

    def _read_server_traffic(self) -> None:
        for time, server_id, received, sent, samples, missed in self._ask(_SERVER_TRAFFIC):
            server = self._names.get(server_id)
            if server is None:
                continue
            self._samples += samples
            if missed:
                self._missed[server] += missed
            total = self._totals[self._place(time, server)]
            total[0] += received
            total[1] += sent
            if self._wanted.who is None and self._by is not By.CLIENT:
                found = self._sums[self._key(time, server, None)]
                found.samples += samples
                found.missed += missed
                found.servers.add(server)
                if self._by is By.SERVER:
                    found.trend[time] += received + sent

    def _read_first_traffic(self) -> None:
        for time, server_id, client in self._ask(_FIRST_TRAFFIC):
            server = self._names.get(server_id)
            if server is not None and self._is_meant(client):
                self._sums[self._key(time, server, client)].first = True

    def _rest(self) -> list[UsageRow]:
        """Adds what is unattributed to the rows of servers and periods; of clients it gives rows of its own."""
        rows = []
        for (period, server), total in sorted(self._totals.items(), key=lambda item: item[0][1]):
            attributed = self._attributed[period, server]
            received, sent = (max(whole - part, 0) for whole, part in zip(total, attributed, strict=True))
            if self._by is By.CLIENT:
                if received or sent:
                    rows.append(UsageRow(None, True, (server,), bytes_received=received, bytes_sent=sent))
                continue
            found = self._sums[server if period is None else period]
            found.received += received
            found.sent += sent
            found.unattributed += received + sent
        return rows

    def _row(self, key: Any, found: _Sum) -> UsageRow:
        whole = self._wanted.who is None and self._by is not By.CLIENT
        return UsageRow(
            key if self._periods is None else datetime.fromtimestamp(key, UTC),
            servers=tuple(sorted(found.servers)),
            clients=found.clients or len(found.names),
            sessions=found.sessions,
            connected=found.connected,
            bytes_received=found.received,
            bytes_sent=found.sent,
            first_sample=found.first,
            bytes_unattributed=found.unattributed if whole else None,
            samples=found.samples if whole else None,
            missed=found.missed if whole else None,
            trend=self._trend(found),
        )

    def _trend(self, found: _Sum) -> tuple[int, ...]:
        if self._periods is not None:
            return ()
        span = self._wanted.range
        return tuple(found.trend.get(time, 0) for time in range(span.start, span.end, self._step))

    def _first(self) -> dict[str, datetime]:
        found, known = self._ask(_FIRST), set(self._names.values())
        return {name: datetime.fromtimestamp(first, UTC) for name, first in found if name in known}


def _step(wanted: Wanted) -> int:
    """Seconds that one sum of the database is of."""
    if wanted.by in _PERIODS:
        return HOUR if wanted.by is By.HOUR else DAY
    length = wanted.range.end - wanted.range.start
    unit = HOUR if length <= 2 * DAY else DAY
    return max(-(-length // unit // _CELLS), 1) * unit


_PERIODS: Final[dict[By, Callable[[int], int]]] = {By.HOUR: hour_of, By.DAY: day_of, By.MONTH: month_of}


def _matcher(who: str | None) -> Callable[[str | None], bool]:
    """Whether a name is meant: it is that very one, or the glob matches it."""
    if who is None:
        return lambda _name: True
    matches = re.compile(translate(who)).match
    return lambda name: name is not None and (name == who or matches(name) is not None)
