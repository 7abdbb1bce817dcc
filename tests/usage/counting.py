"""Daemons that only count, and what of it a collector can know, kept by hand beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from fleet.management.status import Client
from fleet.usage.database import Database
from fleet.usage.periods import Range
from fleet.usage.record import position, record
from fleet.usage.report import By, UsageReport, UsageRow, Wanted, make_report
from fleet.usage.samples import Recorded, Sample

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
KEEP = timedelta(days=400)
EVER = Range(0, 2**33 // 86_400 * 86_400)


def since(time: datetime) -> int:
    return int(time.timestamp())


@dataclass
class Session:
    name: str | None
    client_id: int | None
    connected_since: datetime
    address: str = "203.0.113.9:1194"
    received: int = 0
    sent: int = 0
    handshaking: bool = False

    @property
    def row(self) -> Client:
        return Client(
            common_name=self.name,
            real_address=self.address,
            bytes_received=self.received,
            bytes_sent=self.sent,
            connected_since=self.connected_since,
            client_id=self.client_id,
            handshaking=self.handshaking,
        )


_pids = count(100)


@dataclass
class Counting:
    """One daemon."""

    name: str = "edge-1"
    time: datetime = NOW
    pid: int = field(default_factory=lambda: next(_pids))
    epoch: datetime = NOW - timedelta(days=1)
    sessions: list[Session] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0
    next_client_id: int = 0

    def connect(self, name: str | None, **more: object) -> Session:
        session = Session(name, self.next_client_id, self.time, **more)  # type: ignore[arg-type]  # fields by name
        self.next_client_id += 1
        self.sessions.append(session)
        return session

    def transfer(self, session: Session, received: int, sent: int) -> None:
        session.received += received
        session.sent += sent
        self.bytes_in += received
        self.bytes_out += sent

    def soft_restart(self) -> None:
        """What SIGUSR1 does: the process and its totals stay, sessions are gone, client IDs begin again."""
        self.sessions.clear()
        self.next_client_id = 0
        self.epoch = self.time

    def restart(self) -> None:
        """A new process."""
        self.soft_restart()
        self.pid = next(_pids)
        self.bytes_in = self.bytes_out = 0

    def sample(
        self, database: Database, *, now: datetime | None = None, rows: Iterable[Client] | None = None
    ) -> Sample:
        """What a collector asks now."""
        return Sample(
            self.name,
            position(database, self.name),
            now or self.time,
            self.time,
            self.pid,
            self.epoch,
            tuple(session.row for session in self.sessions) if rows is None else tuple(rows),
            self.bytes_in,
            self.bytes_out,
        )


def add(database: Database, *samples: Sample, missed: Iterable[str] = (), now: datetime = NOW) -> dict[str, Recorded]:
    return dict(record(database, samples, missed, now=now, keep=KEEP))


def report(database: Database, by: By = By.CLIENT, **more: object) -> UsageReport:
    wanted = {"range": EVER, "by": by, **more}
    return make_report(database, Wanted(**wanted))  # type: ignore[arg-type]  # fields by name


def clients(database: Database) -> dict[str | None, tuple[int, int]]:
    """What each client has, and under `rest` what is unattributed."""
    found: dict[str | None, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in report(database).rows:
        key = "rest" if row.unattributed else row.key
        assert not isinstance(key, datetime)
        before = found[key]
        found[key] = (before[0] + row.bytes_received, before[1] + row.bytes_sent)
    return dict(found)


def rows(database: Database, by: By, **more: object) -> dict[object, UsageRow]:
    return {row.key: row for row in report(database, by, **more).rows}


def path_of(folder: Path) -> Path:
    return folder / "usage.sqlite"
