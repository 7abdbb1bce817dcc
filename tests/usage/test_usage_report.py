from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleet.usage.database import Database
from fleet.usage.periods import Range
from fleet.usage.report import By
from usage.counting import NOW, Counting, add, report, rows, since

MIDNIGHT = NOW.replace(hour=0, minute=0)
DAYS = Range(since(MIDNIGHT - timedelta(days=2)), since(MIDNIGHT + timedelta(days=1)))


@pytest.fixture
def three_days(database: Database) -> Database:
    """alice on both servers and bob on one; a sample every six hours, and edge-2 fails at 18:00 of each day."""
    first = MIDNIGHT - timedelta(days=2)
    here, there = (Counting(name, time=first, epoch=first) for name in ("edge-1", "edge-2"))
    alice, bob, roaming = here.connect("alice"), here.connect("bob"), there.connect("alice")
    for number in range(12):
        here.time = there.time = first + timedelta(hours=6 * number)
        here.transfer(alice, 10, 100)
        here.transfer(bob, 1, 1)
        there.transfer(roaming, 1000, 1000)
        if number == 5:  # bob leaves with bytes that nobody has seen
            here.transfer(bob, 3, 4)
            here.sessions.remove(bob)
            bob = here.connect("bob")
        asked = [here] if number % 4 == 3 else [here, there]
        missed = ["edge-2"] if number % 4 == 3 else []
        add(database, *(one.sample(database) for one in asked), missed=missed, now=here.time)
    return database


def test_by_client(three_days: Database) -> None:
    made = report(three_days, range=DAYS)
    alice, bob, rest = made.rows
    assert (alice.key, alice.bytes_received, alice.bytes_sent) == ("alice", 12 * 10 + 11_000, 12 * 100 + 11_000)
    assert (alice.servers, alice.sessions, alice.connected) == (("edge-1", "edge-2"), 2, (66 + 60) * 3600)
    # what was transferred between the last sample of bob's first session and its end is nobody's
    assert (bob.key, bob.sessions, bob.bytes_received, bob.bytes_sent) == ("bob", 2, 11, 11)
    assert (rest.unattributed, rest.key, rest.servers) == (True, None, ("edge-1",))
    assert (rest.bytes_received, rest.bytes_sent) == (4, 5)
    assert (made.samples, made.missed) == (21, {"edge-2": 3})
    assert sum(alice.trend) == alice.bytes_total
    assert len(alice.trend) == 3


def test_by_server(three_days: Database) -> None:
    found = rows(three_days, By.SERVER, range=DAYS)
    there, here = found["edge-2"], found["edge-1"]
    assert [*found] == ["edge-2", "edge-1"]
    assert (here.bytes_received, here.bytes_sent) == (12 * 11 + 3, 12 * 101 + 4)
    assert (here.bytes_unattributed, here.clients, here.sessions) == (9, 2, 3)
    assert (there.bytes_total, there.bytes_unattributed, there.samples, there.missed) == (22_000, 0, 9, 3)


def test_by_day(three_days: Database) -> None:
    made = report(three_days, By.DAY, range=DAYS)
    assert [row.key for row in made.rows] == [MIDNIGHT - timedelta(days=2 - day) for day in range(3)]
    first, second, third = made.rows
    assert (first.bytes_received, first.clients, first.sessions) == (4 * 11 + 3 * 1000, 2, 3)
    assert (second.bytes_received, third.bytes_received) == (
        4 * 11 + 3 + 4 * 1000,
        4 * 11 + 4 * 1000,
    )
    assert (second.bytes_unattributed, third.bytes_unattributed) == (9, 0)
    assert first.connected == 3 * 86_400
    assert sum(row.bytes_total for row in made.rows) == sum(row.bytes_total for row in report(three_days).rows)


def test_rows_with_bytes_of_before_the_first_sample_are_marked(three_days: Database) -> None:
    assert [row.first_sample for row in report(three_days, By.DAY, range=DAYS).rows] == [True, False, False]
    hours = [row for row in report(three_days, By.HOUR, range=DAYS).rows if row.bytes_total]
    assert [row.first_sample for row in hours] == [True] + [False] * 11
    clients = report(three_days, range=DAYS).rows
    assert [(row.key, row.first_sample) for row in clients] == [("alice", True), ("bob", True), (None, False)]
    assert all(row.first_sample for row in report(three_days, By.SERVER, range=DAYS).rows)
    today = Range(since(MIDNIGHT), since(MIDNIGHT + timedelta(days=1)))
    assert not any(row.first_sample for row in report(three_days, range=today).rows)
    assert not any(row.first_sample for row in report(three_days, who="nobody", range=DAYS).rows)


def test_a_session_that_came_later_marks_nothing(database: Database) -> None:
    daemon = Counting()
    add(database, daemon.sample(database))
    daemon.time += timedelta(minutes=5)
    daemon.transfer(daemon.connect("alice"), 7, 7)
    add(database, daemon.sample(database))
    (row,) = report(database).rows
    assert (row.bytes_total, row.first_sample) == (14, False)


def test_by_month_and_hour(three_days: Database) -> None:
    (month,) = report(three_days, By.MONTH, range=DAYS).rows
    assert month.key == datetime(2026, 11, 1, tzinfo=UTC)
    assert (month.clients, month.sessions) == (2, 4)
    hours = [row for row in report(three_days, By.HOUR, range=DAYS).rows if row.bytes_total]
    assert len(hours) == 12
    assert sum(row.bytes_total for row in hours) == month.bytes_total


def test_one_client(three_days: Database) -> None:
    assert [*rows(three_days, By.CLIENT, who="al*")] == ["alice"]
    found = rows(three_days, By.SERVER, who="alice")
    assert {key: row.bytes_received for key, row in found.items()} == {"edge-2": 11_000, "edge-1": 120}
    assert {row.bytes_unattributed for row in found.values()} == {None}
    (month,) = report(three_days, By.MONTH, who="bob").rows
    assert (month.bytes_received, month.samples) == (11, None)
    assert report(three_days, who="nobody").rows == ()
    assert report(three_days, who="ALICE").rows == ()


def test_a_name_with_signs_of_a_glob_is_itself(database: Database) -> None:
    daemon = Counting()
    for name in ("[x]", "x", "*"):
        daemon.transfer(daemon.connect(name), 1, 1)
    add(database, daemon.sample(database))
    assert [*rows(database, By.CLIENT, who="[x]")] == ["[x]", "x"]
    assert len(rows(database, By.CLIENT, who="*")) == 3


def test_chosen_servers(three_days: Database) -> None:
    chosen = report(three_days, servers=frozenset({"edge-1"}), range=DAYS)
    assert {row.servers for row in chosen.rows} == {("edge-1",)}
    assert (chosen.samples, chosen.missed, [*chosen.first]) == (12, {}, ["edge-1"])
    assert report(three_days, servers=frozenset()).rows == ()


def test_a_part_of_the_time(three_days: Database) -> None:
    today = Range(since(MIDNIGHT), since(MIDNIGHT + timedelta(days=1)))
    alice, *_ = report(three_days, range=today).rows
    assert (alice.bytes_received, alice.connected, alice.sessions) == (4 * 10 + 4 * 1000, (18 + 12) * 3600, 2)
    assert report(three_days, range=today).first == {}
    assert report(three_days, range=Range(0, 3600)).rows == ()


def test_a_total_that_lags_takes_nothing_from_anybody(database: Database) -> None:
    """With DCO load-stats may be less than its clients (protocol-facts 10.12)."""
    daemon = Counting()
    session = daemon.connect("alice")
    add(database, daemon.sample(database))
    session.received = 500
    add(database, daemon.sample(database))
    (server,) = report(database, By.SERVER).rows
    assert (server.bytes_received, server.bytes_unattributed) == (500, 0)


def test_a_daemon_whose_clock_is_ahead(database: Database) -> None:
    daemon = Counting(time=NOW + timedelta(hours=2))
    daemon.transfer(daemon.connect("alice"), 1, 1)
    add(database, daemon.sample(database, now=NOW))
    (row,) = report(database).rows
    assert (row.sessions, row.connected) == (1, 0)
    assert [row.sessions for row in report(database, By.HOUR, range=DAYS).rows if row.bytes_total] == [1]
