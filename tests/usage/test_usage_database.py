"""The file: made for the user alone, refused where it is something else, whole whatever happens, and bounded."""

from __future__ import annotations

import os
import sqlite3
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fleet.errors import RunLockedError, UsageError
from fleet.usage.database import Database, RecordingError, create_or_open, open_existing
from fleet.usage.housekeeping import DAY
from fleet.usage.periods import HOUR
from fleet.usage.record import record
from fleet.usage.report import By
from fleet.usage.schema import VERSION
from usage.counting import KEEP, NOW, Counting, add, clients, path_of, report, since


def made(path: Path) -> Database:
    return create_or_open(path, busy_timeout=0.1)


def count(database: Database, table: str) -> int:
    statement = f"SELECT count(*) FROM {table}"  # noqa: S608 - a test's own words
    return int(database.connection.execute(statement).fetchone()[0])


def test_it_is_made_for_the_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made(path_of(tmp_path)).connection.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path_of(tmp_path).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["usage.sqlite"]


def test_an_empty_file_becomes_one_and_keeps_its_mode(tmp_path: Path) -> None:
    path_of(tmp_path).touch(mode=0o640)
    made(path_of(tmp_path)).connection.close()
    assert stat.S_IMODE(path_of(tmp_path).stat().st_mode) == 0o640
    with open_existing(path_of(tmp_path), busy_timeout=0.1) as database:
        assert report(database).rows == ()


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    with made(tmp_path / "what?mode=memory#%41 é") as database:
        daemon = Counting()
        add(database, daemon.sample(database))
    assert (tmp_path / "what?mode=memory#%41 é").stat().st_size


def test_what_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("remember the milk\n" * 100)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE milk (remembered INTEGER)")
    connection.close()
    newer = tmp_path / "newer.sqlite"
    with made(newer) as database:
        database.connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, words in (
        (notes, "not a database"),
        (other, "something else"),
        (newer, "newer fleet"),
        (folder, "not a file"),
        (tmp_path / "nowhere" / "db", "No such file|no usage database"),
        (tmp_path / "nul\0", "null byte|no usage database"),
    ):
        before = path.read_bytes() if "\0" not in str(path) and path.is_file() else None
        for opened in (create_or_open, open_existing):
            with pytest.raises(UsageError, match=words):
                opened(path, busy_timeout=0.1)
        assert before is None or path.read_bytes() == before


def test_reading_needs_a_database_and_does_not_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no usage database"):
        open_existing(path_of(tmp_path), busy_timeout=0.1)
    path_of(tmp_path).touch()
    with pytest.raises(UsageError, match="nothing is recorded"):
        open_existing(path_of(tmp_path), busy_timeout=0.1)


def test_reading_writes_nothing(database: Database) -> None:
    with open_existing(database.path, busy_timeout=0.1) as reading, pytest.raises(RecordingError):
        add(reading, missed=["edge-1"])


def test_somebody_who_holds_it_is_named(database: Database) -> None:
    database.connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunLockedError, match="another run"):
        made(database.path)
    database.connection.execute("ROLLBACK")
    with made(database.path) as other:
        database.connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(RecordingError, match="locked"):
            add(other, missed=["edge-1"])
        database.connection.execute("ROLLBACK")
        add(other, missed=["edge-1"])
    assert count(database, "server") == 1


def test_a_full_disk_leaves_the_round_before_it(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    daemon.transfer(session, 1, 1)
    add(database, daemon.sample(database))
    pages = database.connection.execute("PRAGMA page_count").fetchone()[0]
    database.connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(500):
        daemon.transfer(daemon.connect(f"client-{number}"), 1, 1)
    daemon.transfer(session, 1, 1)
    with pytest.raises(RecordingError, match="full"):
        add(database, daemon.sample(database))
    assert clients(database) == {"alice": (1, 1)}
    database.connection.execute("PRAGMA max_page_count = 100000")
    add(database, daemon.sample(database))
    assert len(clients(database)) == 501
    assert clients(database)["alice"] == (2, 2)


def test_a_damaged_file_is_told_of(tmp_path: Path) -> None:
    with made(path_of(tmp_path)) as database:
        daemon = Counting()
        for number in range(200):
            daemon.transfer(daemon.connect(f"client-{number}"), 1, 1)
        add(database, daemon.sample(database))
    whole = path_of(tmp_path).read_bytes()
    path_of(tmp_path).write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    with (
        pytest.raises(UsageError, match="cannot be used"),
        open_existing(path_of(tmp_path), busy_timeout=0.1) as broken,
    ):
        report(broken)


def test_a_file_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        made(tmp_path / "file" / "db")


# Bounds


def hundred_days(database: Database) -> None:
    """A hundred days of one client, with a sample every four hours."""
    daemon = Counting(epoch=NOW - timedelta(days=101))
    session = daemon.connect("alice")
    for hour in range(100 * 24, -1, -4):
        daemon.time = NOW - timedelta(hours=hour)
        daemon.transfer(session, 1, 2)
        add(database, daemon.sample(database), now=daemon.time)


def test_hours_of_the_past_become_days_and_no_byte_is_lost(database: Database) -> None:
    hundred_days(database)
    assert clients(database) == {"alice": (601, 1202)}
    by_day = report(database, By.DAY).rows
    assert len(by_day) == 101
    assert {row.bytes_total for row in by_day[1:-1]} == {18}
    assert {row.samples for row in by_day[1:-1]} == {6}
    hours = {
        hour % DAY
        for (hour,) in database.connection.execute(
            "SELECT hour FROM session_traffic WHERE hour < :bound", {"bound": since(NOW - timedelta(days=33))}
        )
    }
    assert hours == {0}
    assert count(database, "session_traffic") < 70 + 33 * 6 + 1


def test_what_is_old_is_forgotten_and_the_file_shrinks(database: Database) -> None:
    daemon = Counting(epoch=NOW - timedelta(days=1))
    for number in range(2_000):
        daemon.transfer(daemon.connect(f"client-{number}"), 1, 1)
    old = Counting("old")
    old.transfer(old.connect("zoe"), 1, 1)
    add(database, daemon.sample(database), old.sample(database))
    full = database.path.stat().st_size
    later = NOW + KEEP + timedelta(days=1)
    daemon.time = later
    daemon.soft_restart()
    daemon.transfer(daemon.connect("alice"), 5, 5)
    add(database, daemon.sample(database), now=later)
    assert clients(database) == {"alice": (5, 5)}
    assert [count(database, table) for table in ("server", "session", "session_traffic")] == [1, 1, 1]
    assert database.path.stat().st_size < full / 4


def test_a_session_that_goes_on_is_kept_whatever_its_age(database: Database) -> None:
    daemon = Counting(epoch=NOW - timedelta(days=1))
    session = daemon.connect("alice")
    daemon.transfer(session, 100, 100)
    add(database, daemon.sample(database))
    daemon.time = NOW + timedelta(days=300)
    add(database, daemon.sample(database), now=daemon.time)
    daemon.time = NOW + timedelta(days=500)
    daemon.transfer(session, 1, 1)
    add(database, daemon.sample(database), now=daemon.time)
    assert clients(database) == {"alice": (1, 1)}


def test_a_clock_that_is_wrong_forgets_nothing(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    daemon.transfer(session, 1, 1)
    add(database, daemon.sample(database))
    future = NOW + timedelta(days=3650)
    record(database, [daemon.sample(database, now=future)], ["edge-2"], now=future, keep=KEEP)
    assert clients(database) == {"alice": (1, 1)}
    record(database, [], ["edge-2"], now=future, keep=KEEP)
    assert clients(database) == {"alice": (1, 1)}


def test_it_is_cleaned_once_an_hour(database: Database) -> None:
    daemon = Counting()
    for hours in (0, 0.2, 1):
        daemon.time = NOW + timedelta(hours=hours)
        add(database, daemon.sample(database), now=daemon.time)
        (cleaned,) = database.connection.execute("SELECT cleaned FROM housekeeping").fetchone()
        assert cleaned == hour_of_day(daemon.time)


def hour_of_day(time: datetime) -> int:
    return since(time) // HOUR


def test_the_view_tells_people(database: Database) -> None:
    daemon = Counting()
    daemon.transfer(daemon.connect("alice"), 1, 2)
    add(database, daemon.sample(database))
    cursor = database.connection.execute("SELECT * FROM traffic")
    assert [column[0] for column in cursor.description] == ["hour", "server", "client", "bytes_received", "bytes_sent"]
    assert cursor.fetchall() == [("2026-11-22 08:00:00", "edge-1", "alice", 1, 2)]
