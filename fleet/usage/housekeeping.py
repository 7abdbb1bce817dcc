"""What keeps the database small: hours of the past become days, and what is too old is forgotten."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

DAY: Final = 86_400  # seconds
_HOUR: Final = 3_600

HOURS_KEPT: Final = timedelta(days=32)
"""How long hours stay apart. A day of the past is one row then, under its first hour: a tenth of the space."""

_PAGES_FREED: Final = 1_000  # at a time, given back to the system: no run takes long because of it

_FOLDED_SESSIONS = """
    INSERT INTO session_traffic (hour, session_id, bytes_received, bytes_sent)
    SELECT hour - hour % :day, session_id, sum(bytes_received), sum(bytes_sent) FROM session_traffic
    WHERE hour >= :begin AND hour < :end AND hour % :day != 0
    GROUP BY hour - hour % :day, session_id
    ON CONFLICT (hour, session_id) DO UPDATE SET
        bytes_received = bytes_received + excluded.bytes_received,
        bytes_sent = bytes_sent + excluded.bytes_sent
"""

_FOLDED_SERVERS = """
    INSERT INTO server_traffic (hour, server_id, bytes_in, bytes_out, samples, missed)
    SELECT hour - hour % :day, server_id, sum(bytes_in), sum(bytes_out), sum(samples), sum(missed)
    FROM server_traffic
    WHERE hour >= :begin AND hour < :end AND hour % :day != 0
    GROUP BY hour - hour % :day, server_id
    ON CONFLICT (hour, server_id) DO UPDATE SET
        bytes_in = bytes_in + excluded.bytes_in,
        bytes_out = bytes_out + excluded.bytes_out,
        samples = samples + excluded.samples,
        missed = missed + excluded.missed
"""


def clean(connection: sqlite3.Connection, now: datetime, keep: timedelta) -> bool:
    """Folds and forgets what is due, in the transaction that is open; at most once an hour.

    Args:
        connection: to the database.
        now: the time.
        keep: how long anything stays.

    Returns:
        Whether it was done.
    """
    hour = int(now.timestamp()) // _HOUR
    if connection.execute("SELECT cleaned FROM housekeeping").fetchone()[0] == hour:
        return False
    connection.execute("UPDATE housekeeping SET cleaned = :hour", {"hour": hour})
    _forget(connection, int((now - keep).timestamp()))
    _fold(connection, int((now - HOURS_KEPT).timestamp()) // DAY * DAY)
    return True


def shrink(connection: sqlite3.Connection) -> None:
    """Gives a part of what is free in the file back to the system, where it can; outside of any transaction."""
    with suppress(sqlite3.Error):
        # As a script: `execute` would end it after one page.
        connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_FREED})")


def _forget(connection: sqlite3.Connection, before: int) -> None:
    values = {"before": before // DAY * DAY}  # whole days, since those of the past are one row
    connection.execute("DELETE FROM session_traffic WHERE hour < :before", values)
    connection.execute("DELETE FROM server_traffic WHERE hour < :before", values)
    connection.execute("DELETE FROM session WHERE last_seen < :before", values)
    connection.execute(
        "DELETE FROM server WHERE coalesce(last_sample, 0) < :before"
        " AND id NOT IN (SELECT server_id FROM server_traffic) AND id NOT IN (SELECT server_id FROM session)",
        values,
    )


def _fold(connection: sqlite3.Connection, end: int) -> None:
    """Makes one row of the hours of each day before `end`."""
    begin = int(connection.execute("SELECT folded_until FROM housekeeping").fetchone()[0])
    if end <= begin:
        return
    values = {"begin": begin, "end": end, "day": DAY}
    for table, statement in (("session_traffic", _FOLDED_SESSIONS), ("server_traffic", _FOLDED_SERVERS)):
        connection.execute(statement, values)
        connection.execute(
            f"DELETE FROM {table} WHERE hour >= :begin AND hour < :end AND hour % :day != 0",  # noqa: S608 - a constant
            values,
        )
    connection.execute("UPDATE housekeeping SET folded_until = :end", values)
