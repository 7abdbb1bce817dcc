"""What became of clients between two snapshots: examples of each change, and what holds for all of them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.management.status import Client
from fleet.operations.difference import Change, ClientChange, ServerDifference, diff, difference, summary
from fleet.operations.snapshot import FleetSnapshot, ServerSnapshot

EPOCH = datetime(2026, 11, 22, 8, tzinfo=UTC)
SINCE = datetime(2026, 11, 22, 9, tzinfo=UTC)
TAKEN = datetime(2026, 11, 22, 10, tzinfo=UTC)


def client(name: str | None = "alice", number: int | None = 0, **more: Any) -> Client:
    values: dict[str, Any] = {
        "real_address": f"203.0.113.9:{number}", "connected_since": SINCE, "bytes_received": 100, "bytes_sent": 1000,
    }  # fmt: skip
    return Client(common_name=name, client_id=number, **(values | more))


def server(*clients: Client, pid: int = 1, epoch: datetime | None = EPOCH, total: int | None = 5000) -> ServerSnapshot:
    return ServerSnapshot(pid, epoch, total, total and total * 10, clients)


def fleet(missing: tuple[str, ...] = (), **servers: ServerSnapshot) -> FleetSnapshot:
    return FleetSnapshot(TAKEN, servers, dict.fromkeys(missing, "connect-timeout"))


def changes(servers: dict[str, ServerDifference]) -> dict[str, list[tuple[str | None, str, str | None]]]:
    return {
        name: [(c.common_name, str(c.change), c.moved_from) for c in found.clients] for name, found in servers.items()
    }


def only(found: dict[str, ServerDifference]) -> ClientChange:
    (change,) = (change for one in found.values() for change in one.clients)
    return change


# Examples


def test_one_that_stayed_and_its_traffic() -> None:
    grown = client(bytes_received=150, bytes_sent=5000, real_address="198.51.100.1:9")  # float: another address
    found = diff(fleet(a=server(client())), fleet(a=server(grown, total=6000)))
    stayed = only(found)
    assert (stayed.change, stayed.bytes_received, stayed.bytes_sent) == (Change.STAYED, 50, 4000)
    assert (found["a"].bytes_in, found["a"].bytes_out) == (1000, 10_000)
    assert (found["a"].unattributed_in, found["a"].unattributed_out) == (950, 6000)
    assert not found["a"].is_different


def test_one_that_moved_is_shown_where_it_is_now() -> None:
    found = diff(fleet(a=server(client()), b=server()), fleet(a=server(), b=server(client(number=7))))
    assert changes(found) == {"a": [], "b": [("alice", "moved", "a")]}
    moved = only(found)
    assert moved.before == client()
    assert moved.after == client(number=7)
    assert (moved.bytes_received, moved.bytes_sent) == (100, 1000)  # all of a session that began since


def test_who_joined_and_who_left() -> None:
    found = diff(fleet(a=server(client("old"))), fleet(a=server(client("new", 5))))
    assert changes(found) == {"a": [("new", "joined", None), ("old", "left", None)]}
    joined, left = found["a"].clients
    assert (joined.before, left.after, left.bytes_received, joined.bytes_received) == (None, None, None, 100)
    assert found["a"].is_different


@pytest.mark.parametrize(
    "again",
    [
        server(client(number=3)),
        server(client(), epoch=EPOCH + timedelta(hours=1)),  # the tunnel restarted, and IDs began again
        server(client(), pid=2),
        server(client(connected_since=SINCE + timedelta(minutes=1))),
    ],
)
def test_one_that_connected_again(again: ServerSnapshot) -> None:
    found = diff(fleet(a=server(client())), fleet(a=again))
    assert changes(found) == {"a": [("alice", "reconnected", None)]}
    assert only(found).bytes_received == 100
    assert found["a"].restarted == (again.pid == 2)


def test_the_same_id_of_another_name_is_another_client() -> None:
    found = diff(fleet(a=server(client("alice"))), fleet(a=server(client("bob"))))
    assert changes(found) == {"a": [("bob", "joined", None), ("alice", "left", None)]}


def test_a_username_is_a_part_of_the_name() -> None:
    before = fleet(a=server(client(None, 0, username="alice"), client("office", 1, username="bob")), b=server())
    after = fleet(a=server(), b=server(client("office", 0, username="carol"), client(None, 1, username="alice")))
    assert changes(diff(before, after)) == {
        "a": [("office", "left", None)],
        "b": [(None, "moved", "a"), ("office", "joined", None)],
    }


def test_a_client_without_any_name_is_never_taken_for_another() -> None:
    found = diff(fleet(a=server(client(None))), fleet(a=server(client(None, 8)), b=server(client(None))))
    assert Counter(c.change for one in found.values() for c in one.clients) == {
        Change.LEFT: 1, Change.JOINED: 1, Change.UNKNOWN: 1,
    }  # fmt: skip


def test_of_a_name_that_is_there_more_than_once_as_many_are_paired() -> None:
    before = fleet(a=server(client(number=0), client(number=1), client(number=2)), b=server())
    after = fleet(a=server(client(number=1), client(number=9)), b=server(client(number=0), client(number=1)))
    assert changes(diff(before, after)) == {
        "a": [("alice", "reconnected", None), ("alice", "stayed", None)],
        "b": [("alice", "moved", "a"), ("alice", "joined", None)],
    }


def test_daemons_without_client_ids_are_told_apart_by_address() -> None:
    first, second = client(number=None, real_address="::1"), client("bob", None, real_address="203.0.113.9:5")
    found = diff(fleet(a=server(first, second)), fleet(a=server(first, client("bob", None, real_address="::2"))))
    assert changes(found) == {"a": [("bob", "reconnected", None), ("alice", "stayed", None)]}


def test_a_server_that_was_asked_only_once_has_lost_nobody() -> None:
    found = diff(fleet(a=server(client()), missing=("b",)), fleet(b=server(client("bob")), missing=("a",)))
    assert changes(found) == {"a": [("alice", "unknown", None)], "b": [("bob", "unknown", None)]}
    assert [(one.asked_before, one.asked_after, one.is_different) for one in found.values()] == [
        (True, False, True), (False, True, True),
    ]  # fmt: skip
    assert (found["a"].bytes_in, found["b"].bytes_in, found["b"].unattributed_in) == (None, None, None)
    assert found["b"].clients[0].bytes_received is None
    assert summary(found.values()) == "2 unknown"


def test_but_where_its_clients_are_now_is_known() -> None:
    found = diff(fleet(a=server(client()), b=server()), fleet(b=server(client(number=4)), missing=("a",)))
    assert changes(found) == {"a": [], "b": [("alice", "moved", "a")]}
    found = diff(fleet(a=server(client()), missing=("b",)), fleet(a=server(), b=server(client(number=4))))
    assert changes(found) == {"a": [], "b": [("alice", "moved", "a")]}


def test_one_that_may_have_been_at_both_all_the_time_has_not_moved() -> None:
    found = diff(fleet(a=server(client()), missing=("b",)), fleet(b=server(client()), missing=("a",)))
    assert changes(found) == {"a": [("alice", "unknown", None)], "b": [("alice", "unknown", None)]}


def test_a_server_that_was_asked_never() -> None:
    found = diff(fleet(missing=("a",)), fleet(missing=("a",)))
    assert changes(found) == {"a": []}
    assert not found["a"].is_different
    assert summary(found.values()) == "nobody was connected"


def test_a_counter_that_shrank_has_begun_again() -> None:
    found = diff(fleet(a=server(client())), fleet(a=server(client(bytes_received=7, bytes_sent=None), total=9)))
    assert (only(found).bytes_received, only(found).bytes_sent) == (7, None)
    assert (found["a"].bytes_in, found["a"].unattributed_in) == (9, 2)


def test_the_total_of_another_process_is_all_its_own() -> None:
    found = diff(fleet(a=server(pid=1)), fleet(a=server(pid=2, total=6000)))
    assert (found["a"].bytes_in, found["a"].restarted) == (6000, True)
    unknown = diff(fleet(a=server()), fleet(a=server(total=None)))
    assert (unknown["a"].bytes_in, unknown["a"].unattributed_in) == (None, None)


def test_tables_show_changes_and_json_everybody() -> None:
    before = fleet(a=server(client(), client("bob", 1)))
    found = diff(before, fleet(a=server(client())))["a"]
    changed, everybody = (difference(before, everybody=wanted) for wanted in (False, True))
    assert [tuple(row)[:2] for row in changed.rows(found)] == [("bob", "left")]
    assert [tuple(row)[:2] for row in everybody.rows(found)] == [("bob", "left"), ("alice", "stayed")]
    assert changed.totals is not None
    assert list(changed.totals([found, found]))[5:7] == [0, 0]
    result: Any = changed.result(found)
    assert [one.change for one in result["clients"]] == ["left", "stayed"]
    assert not changed.changes
    unasked = diff(before, fleet(missing=("a",)))["a"]
    assert not changed.rows(unasked)
    assert [tuple(row)[:2] for row in everybody.rows(unasked)] == [("alice", "unknown"), ("bob", "unknown")]
    assert summary([found, found]) == "2 left, 2 stayed"


# What holds for all

NAMES = st.sampled_from([None, "alice", "bob"])
CLIENTS = st.builds(
    client,
    NAMES,
    st.sampled_from([None, 0, 1, 2]),
    username=st.sampled_from([None, "u"]),
    bytes_received=st.sampled_from([None, 0, 5, 900]),
)
SERVERS = st.builds(
    lambda clients, pid, hours: server(*clients, pid=pid, epoch=EPOCH + timedelta(hours=hours)),
    st.lists(CLIENTS, max_size=4),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 1]),
)
FLEETS = st.dictionaries(st.sampled_from("abc"), st.none() | SERVERS).map(
    lambda found: FleetSnapshot(
        TAKEN,
        {name: one for name, one in found.items() if one is not None},
        {name: "dns" for name, one in found.items() if one is None},
    )
)


def row(name: str, one: Client) -> tuple[object, ...]:
    return (name, *one[:-1])  # all but what no set can hold


def rows(snapshot: FleetSnapshot) -> Counter[tuple[object, ...]]:
    return Counter(row(name, one) for name, found in snapshot.servers.items() for one in found.clients)


@given(FLEETS)
def test_nothing_differs_from_itself(snapshot: FleetSnapshot) -> None:
    for found in diff(snapshot, snapshot).values():
        assert not found.is_different
        assert all(c.bytes_received in (0, None) for c in found.clients)
        assert (found.bytes_in, found.unattributed_in) in ((0, 0), (None, None))


@given(FLEETS, FLEETS)
def test_every_client_of_both_times_has_one_change(before: FleetSnapshot, after: FleetSnapshot) -> None:
    found = diff(before, after)
    assert set(found) == {*before.servers, *before.missing, *after.servers, *after.missing}
    every = [(name, change) for name, one in found.items() for change in one.clients]
    assert Counter(row(c.moved_from or name, c.before) for name, c in every if c.before is not None) == rows(before)
    assert Counter(row(name, c.after) for name, c in every if c.after is not None) == rows(after)


@given(FLEETS, FLEETS)
def test_a_change_is_what_it_says(before: FleetSnapshot, after: FleetSnapshot) -> None:
    for name, one in diff(before, after).items():
        for change in one.clients:
            sides = (change.before is not None, change.after is not None)
            assert (change.moved_from is not None) == (change.change is Change.MOVED)
            assert change.moved_from != name
            if change.change in (Change.STAYED, Change.RECONNECTED, Change.MOVED):
                assert sides == (True, True)
            elif change.change is Change.UNKNOWN:
                assert (name in before.servers, name in after.servers) == sides
            else:
                assert name in before.servers
                assert name in after.servers
                assert sides == ((False, True) if change.change is Change.JOINED else (True, False))
            assert change.bytes_received is None or change.bytes_received >= 0


@given(FLEETS, FLEETS)
def test_nobody_left_who_is_somewhere_by_the_same_name(before: FleetSnapshot, after: FleetSnapshot) -> None:
    every = [change for one in diff(before, after).values() for change in one.clients]
    gone = {(c.common_name, c.username, c.change) for c in every if c.after is None and (c.common_name or c.username)}
    new = {(c.common_name, c.username, c.change) for c in every if c.before is None}
    for name, username, change in gone:
        assert (name, username, Change.JOINED) not in new
        assert change is Change.UNKNOWN or (name, username, Change.UNKNOWN) not in new
