"""Samples into the database: what was counted since the sample before, once.

A session is one (server, pid, epoch, client ID, connected since), and what is added is the difference of its counters,
or the whole where it is seen for the first time or a counter shrank (protocol-facts 10.2, 11.6). For the server itself
`load-stats` is the exact sum; it begins again only with a new process. What the sessions do not have of it is
unattributed, and is not stored: whoever reports subtracts.

The order of samples needs no clock. Whoever asks a daemon notes before how many samples of it there are, and the answer
counts only if there are as many still. So of two runs that ask at a time one is left out, and since counters only
grow, nothing is lost by that: the next sample has it all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fleet.usage.database import Database, text
from fleet.usage.housekeeping import clean, shrink
from fleet.usage.samples import Recorded, Sample, Seen, Standing, counted, sessions_of
from fleet.usage.schema import LARGEST

HOUR = 3600  # seconds
_CLOCKS_AGREE = timedelta(days=1)

_SERVER = "SELECT samples, daemon_time, pid, epoch, bytes_in, bytes_out FROM server WHERE id = :server"

_SESSION = """
    SELECT id, bytes_received, bytes_sent FROM session
    WHERE server_id = :server AND pid = :pid AND epoch = :epoch AND connected_since = :since
    AND coalesce(client_id, real_address) = coalesce(:client_id, CAST(:address AS TEXT))
"""

_NEW_SESSION = """
    INSERT INTO session (
        server_id, pid, epoch, client_id, real_address, connected_since, common_name, username,
        first_seen, last_seen, bytes_received, bytes_sent
    )
    VALUES (
        :server, :pid, :epoch, :client_id, CAST(:address AS TEXT), :since, CAST(:name AS TEXT),
        CAST(:username AS TEXT), :time, :time, :received, :sent
    )
"""

_SEEN_AGAIN = """
    UPDATE session SET last_seen = max(last_seen, :time), bytes_received = :received, bytes_sent = :sent
    WHERE id = :session
"""

_SESSION_TRAFFIC = """
    INSERT INTO session_traffic (hour, session_id, bytes_received, bytes_sent)
    VALUES (:hour, :session, :received, :sent)
    ON CONFLICT (hour, session_id) DO UPDATE SET
        bytes_received = min(bytes_received + excluded.bytes_received, :largest),
        bytes_sent = min(bytes_sent + excluded.bytes_sent, :largest)
"""

_SERVER_TRAFFIC = """
    INSERT INTO server_traffic (hour, server_id, bytes_in, bytes_out, samples, missed)
    VALUES (:hour, :server, :received, :sent, :samples, :missed)
    ON CONFLICT (hour, server_id) DO UPDATE SET
        bytes_in = min(bytes_in + excluded.bytes_in, :largest),
        bytes_out = min(bytes_out + excluded.bytes_out, :largest),
        samples = samples + excluded.samples,
        missed = missed + excluded.missed
"""

_SAMPLED = """
    UPDATE server SET
        samples = samples + 1, first_sample = coalesce(first_sample, :time), last_sample = :time,
        daemon_time = coalesce(:daemon_time, daemon_time), pid = :pid, epoch = coalesce(:epoch, epoch),
        bytes_in = :bytes_in, bytes_out = :bytes_out
    WHERE id = :server
"""


def position(database: Database, server: str) -> int:
    """How many samples of a server there are; to be asked before the server is.

    Raises:
        UsageError: the file is damaged.
        RunLockedError: another run held it for longer than its busy timeout.
    """
    rows = database.rows("SELECT samples FROM server WHERE name = CAST(:name AS TEXT)", {"name": text(server)})
    return next((int(samples) for (samples,) in rows), 0)


def record(
    database: Database, samples: Iterable[Sample], missed: Iterable[str], *, now: datetime, keep: timedelta
) -> Mapping[str, Recorded]:
    """Records a round, and forgets what is too old: all of it, or nothing.

    Args:
        database: where.
        samples: of each server that answered.
        missed: the names of those that did not.
        now: when that was.
        keep: how long what is recorded stays.

    Returns:
        What became of each sample, by the server's name.

    Raises:
        RecordingError: nothing was recorded.
    """
    recorded: dict[str, Recorded] = {}
    with database.whole() as connection:
        sure = False
        for sample in samples:
            recorded[sample.server] = _record(connection, sample)
            sure = sure or _agrees(sample)
        for server in missed:
            _count(connection, _server_id(connection, server), now, missed=1)
        cleaned = sure and clean(connection, now, keep)  # a clock that is wrong forgets nothing
    if cleaned:
        shrink(database.connection)
    return recorded


def _agrees(sample: Sample) -> bool:
    """The daemon's clock says about the same as the one of this machine."""
    return sample.daemon_time is not None and abs(sample.daemon_time - sample.time) < _CLOCKS_AGREE


@dataclass(frozen=True, slots=True)
class _Before:
    """What the sample before said."""

    samples: int
    daemon_time: int | None
    pid: int | None
    epoch: int | None
    bytes_in: int | None
    bytes_out: int | None

    def same_process(self, sample: Sample) -> bool:
        """The counters go on from there. One that shrank is of a new process that was given the same pid."""
        if self.pid != sample.pid or self.bytes_in is None or self.bytes_out is None:
            return False
        return sample.bytes_in >= self.bytes_in and sample.bytes_out >= self.bytes_out

    def another_daemon(self, sample: Sample) -> bool:
        """It was up before that sample already, so it is no successor: its name was given to another daemon."""
        epoch = _seconds(sample.epoch)
        if epoch is None or self.daemon_time is None or (self.pid, self.epoch) == (sample.pid, epoch):
            return False
        return epoch < self.daemon_time


def _record(connection: sqlite3.Connection, sample: Sample) -> Recorded:
    server = _server_id(connection, sample.server)
    before = _Before(*connection.execute(_SERVER, {"server": server}).fetchone())
    if before.samples != sample.position:
        return Recorded(Standing.SUPERSEDED)
    seen, unclear = sessions_of(sample.clients)
    for session in seen:
        _record_session(connection, server, sample, session)
    result = replace(_added(before, sample), sessions=len(seen), unclear=unclear)
    _count(connection, server, sample.time, result.bytes_in or 0, result.bytes_out or 0, samples=1)
    numbers = {"pid": sample.pid, "bytes_in": sample.bytes_in, "bytes_out": sample.bytes_out}
    times = {name: _seconds(getattr(sample, name)) for name in ("time", "daemon_time", "epoch")}
    connection.execute(_SAMPLED, {"server": server, **numbers, **times})
    return result


def _added(before: _Before, sample: Sample) -> Recorded:
    """What the server as a whole has counted since the sample before.

    With the first sample counting begins: of what was before, only what the sessions have that are there is known to
    be somebody's, and counted.
    """
    if before.samples and before.same_process(sample):
        received, sent = before.bytes_in or 0, before.bytes_out or 0
        return Recorded(Standing.RECORDED, sample.bytes_in - received, sample.bytes_out - sent)
    if before.samples == 0 or before.another_daemon(sample):
        return Recorded(Standing.FIRST, *counted(sample.clients))
    return Recorded(Standing.RESTARTED, sample.bytes_in, sample.bytes_out)


def _record_session(connection: sqlite3.Connection, server: int, sample: Sample, seen: Seen) -> None:
    values: dict[str, Any] = {
        "server": server,
        "pid": sample.pid,
        "epoch": _seconds(sample.epoch),
        "since": seen.connected_since,
        "client_id": seen.client_id,
        "address": text(seen.real_address),
        "name": text(seen.common_name),
        "username": text(seen.username),
        "time": _seconds(sample.time),
        "received": seen.bytes_received,
        "sent": seen.bytes_sent,
    }
    known = connection.execute(_SESSION, values).fetchone()
    received, sent = seen.bytes_received, seen.bytes_sent
    if known is None:
        session = connection.execute(_NEW_SESSION, values).lastrowid
    else:
        session, received_before, sent_before = known
        connection.execute(_SEEN_AGAIN, {**values, "session": session})
        received, sent = _difference(received, received_before), _difference(sent, sent_before)
    if received or sent:
        added = {"session": session, "received": received, "sent": sent, "largest": LARGEST}
        connection.execute(_SESSION_TRAFFIC, {"hour": _hour(sample.time), **added})


def _difference(counter: int, before: int) -> int:
    """The whole where it shrank: it has begun again (protocol-facts 11.6)."""
    return counter - before if counter >= before else counter


def _server_id(connection: sqlite3.Connection, name: str) -> int:
    """The server's row, which is made where there is none."""
    named = {"name": text(name)}
    connection.execute("INSERT INTO server (name) VALUES (CAST(:name AS TEXT)) ON CONFLICT (name) DO NOTHING", named)
    row = connection.execute("SELECT id FROM server WHERE name = CAST(:name AS TEXT)", named).fetchone()
    return int(row[0])


def _count(
    connection: sqlite3.Connection,
    server: int,
    when: datetime,
    received: int = 0,
    sent: int = 0,
    *,
    samples: int = 0,
    missed: int = 0,
) -> None:
    """Adds to the server's hour."""
    added = {"received": received, "sent": sent, "samples": samples, "missed": missed, "largest": LARGEST}
    connection.execute(_SERVER_TRAFFIC, {"hour": _hour(when), "server": server, **added})


def _seconds(when: datetime | None) -> int | None:
    return None if when is None else int(when.timestamp())


def _hour(when: datetime) -> int:
    return int(when.timestamp()) // HOUR * HOUR
