"""`fleet collect` and `fleet usage` on a farm: what they record, and what keeps them from it."""

from __future__ import annotations

import csv
import io
import os
import resource
import signal
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.harness import TIMEOUT, Fleet, client, daemon
from fleet.demo.daemon import Phase, Reconnect, SimulatedDaemon
from fleet.demo.farm import Farm, Reach

AT_ONCE = Reconnect(udp_kill=None, tcp_kill=None, client_kill=None, restart=0.05)


@pytest.fixture
def two(fleet: Fleet) -> Fleet:
    """Two servers that count, and one that is down."""
    farm = Farm()
    clients = [client("alice", bytes_received=1000, bytes_sent=2000), client("Doe, Jane", bytes_received=1)]
    farm.add("edge-1", SimulatedDaemon("2.6.14", clients=clients, reconnect=AT_ONCE), group="eu")
    farm.add(
        "edge-2", SimulatedDaemon("2.4.12", clients=[client("alice", bytes_sent=10)], reconnect=AT_ONCE), group="us"
    )
    farm.add("down", daemon(), group="us", reach=Reach.DOWN)
    fleet.start(farm)
    fleet.set("XDG_STATE_HOME", str(fleet.folder / "state"))
    return fleet


def database_of(fleet: Fleet) -> Path:
    return fleet.folder / "state" / "fleet" / "usage.sqlite"


def act(fleet: Fleet, server: str, what: Callable[[SimulatedDaemon], object]) -> None:
    """Does something to a daemon, in its own loop."""

    async def perform() -> None:
        what(fleet.daemon(server))

    assert fleet.thread is not None
    fleet.thread.do(perform())


def transfer(fleet: Fleet, server: str, name: str, count: int) -> None:
    def add(one: SimulatedDaemon) -> None:
        for instance in one.instances:
            if one.common_name(instance) == name:
                instance.bytes_received += count

    act(fleet, server, add)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def received(fleet: Fleet, *args: str) -> dict[Any, int]:
    """What each client has by `usage`; None is what is unattributed."""
    document = fleet("usage", "-o", "json", *args).document
    return {row["client"]: row["bytes_received"] for row in document["rows"]}


def load(fleet: Fleet) -> int:
    """What the daemons have counted."""
    document = fleet("load-stats", "-l", "edge-*", "-o", "json").document
    return sum(server["result"]["bytes_in"] for server in document["servers"])


def test_rounds_add_up_over_restarts_and_moves(two: Fleet) -> None:
    first = two("collect", "-l", "edge-*")
    assert first.status == 0
    assert "first sample" in first.out
    transfer(two, "edge-1", "alice", 500)
    two("collect", "-l", "edge-*")
    transfer(two, "edge-1", "alice", 7)  # nobody sees these of her before the restart
    act(two, "edge-1", lambda one: one.restart("SIGUSR1"))
    wait_until(lambda: two.daemon("edge-1").phase is Phase.UP and len(two.daemon("edge-1").instances) == 2)
    transfer(two, "edge-2", "alice", 20)
    second = two("collect", "edge-*", "-o", "json").document
    assert [server["result"]["result"] for server in second["servers"]] == ["recorded", "recorded"]
    assert second["servers"][1]["result"]["added_in"] == 20
    assert received(two) == {"alice": 1520, "Doe, Jane": 1, None: 7}
    assert sum(received(two).values()) == load(two)


def test_a_server_that_is_down_is_a_gap_and_the_others_are_recorded(two: Fleet) -> None:
    run = two("collect")
    assert run.status == 4
    assert "connect-refused: down" in run.err
    report = two("usage", "--by", "server")
    assert report.status == 0
    assert "1 of 3 samples are missing: down (1)" in report.err
    assert [line.split()[0] for line in report.out.splitlines()[1:]] == ["edge-1", "edge-2", "down", "3"]
    assert two("-q", "collect", "-l", "edge-*").out == ""


def test_the_file_is_the_users_alone_and_where_it_is_said(two: Fleet) -> None:
    two("collect", "edge-1")
    assert stat.S_IMODE(database_of(two).stat().st_mode) == 0o600
    two.set("FLEET_DB", "own.sqlite")
    two("collect", "edge-1")
    assert two("usage", "-o", "json").document["db"] == "own.sqlite"
    assert two("usage", "--db", str(database_of(two)), "--json").document["db"] == str(database_of(two))


def test_every_shape(two: Fleet) -> None:
    two("collect", "-l", "edge-*")
    rows = [*csv.DictReader(io.StringIO(two("usage", "-o", "csv").out))]
    assert rows[0] == {
        "client": "alice",
        "servers": "edge-[1-2]",
        "sessions": "2",
        "bytes_received": "1000",
        "bytes_sent": "2010",
        "bytes_total": "3010",
        "connected": rows[0]["connected"],
        "first_sample": "true",
    }
    assert two("usage", "-o", "name").out == "alice\nDoe, Jane\n"
    assert [line["client"] for line in two("usage", "-o", "ndjson").lines if "client" in line] == ["alice", "Doe, Jane"]
    assert "Doe, Jane" in two("usage", "-o", "yaml").out
    assert two("usage", "-o", "raw").status == 2
    table = two("usage", "--since", "today").out.splitlines()
    assert table[0].split() == ["CLIENT", "SERVERS", "SESSIONS", "CONNECTED", "IN", "OUT", "TOTAL", "TREND"]
    assert "█" in table[1]
    assert (
        two("usage", "--columns", "client,bytes_total", "--bytes", "--no-headers").out.split("\n")[0]
        == "alice      3010"
    )
    for by in ("day", "hour", "month"):
        (row,) = [row for row in two("usage", "--by", by, "--json").document["rows"] if row["bytes_total"]]
        assert (row["clients"], row["bytes_received"], row["bytes_unattributed"]) == (2, 1001, 0)


def test_who_and_where(two: Fleet) -> None:
    two("collect", "-l", "edge-*")
    assert [*received(two, "Doe*")] == ["Doe, Jane"]
    assert received(two, "-l", "eu", "alice") == {"alice": 1000}
    assert received(two, "-x", "eu") == {"alice": 0}
    nobody = two("usage", "mallory")
    assert (nobody.status, nobody.out) == (0, "")
    assert "nobody matches 'mallory'" in nobody.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("usage",), "there is no usage database"),
        (("usage", "--db", "notes"), "not a database"),
        (("usage", "--since", "soon"), "--since 'soon' is no time"),
        (("usage", "--by", "week"), "'week' is not one of client, server, day, hour, month"),
        (("collect", "--db", "notes"), "not a database"),
        (("collect", "--db", "nowhere/usage.sqlite"), "No such file or directory"),
        (("collect", "--db", "/dev/full"), "is not a file"),
        (("collect", "--db", ""), "names no file"),
        (("collect", "--keep", "0d"), "is not a number of days"),
        (("collect", "--every", "0"), "a duration is more than 0"),
        (("collect", "--every", "1s", "-o", "json"), "take -o ndjson"),
        (("collect", "--watch", "2s"), "take --every"),
    ],
)
def test_what_is_refused_is_refused_before_anybody_is_asked(two: Fleet, args: tuple[str, ...], words: str) -> None:
    Path("notes").write_text("remember the milk\n" * 100)
    run = two(*args)
    assert run.status == 2
    assert words in run.err
    assert two.daemon("edge-1").executed == []


def test_servers_are_listed_without_a_database(two: Fleet) -> None:
    assert two("collect", "--list-hosts", "edge-*").out == "edge-1\nedge-2\n"
    assert not database_of(two).exists()


def test_a_full_disk_is_told_of_and_the_next_round_has_it_all(two: Fleet) -> None:
    two("collect", "edge-1")
    act(two, "edge-1", lambda one: [one.connect(client(f"client-{number}")) for number in range(400)])
    transfer(two, "edge-1", "client-7", 2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (database_of(two).stat().st_size, limits[1]))
    try:
        run = two("collect", "edge-1", "-o", "json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (run.status, run.document["exit_status"]) == (1, 1)
    assert "nothing of this round is recorded" in run.err
    assert run.document["servers"][0]["result"]["result"] == "not recorded"
    assert len(received(two)) == 2
    assert two("collect", "edge-1").status == 0
    assert sum(received(two).values()) == 3001


def test_who_holds_the_database_is_waited_for_and_then_told_of(two: Fleet) -> None:
    two("collect", "edge-1")
    with sqlite3.connect(database_of(two), isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        run = two("collect", "edge-1", "--lock-timeout", "50ms")
        assert run.status == 75
        assert "another run writes to" in run.err
    other.close()


def test_a_daemon_without_a_tunnel_has_counters_and_no_sessions(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("held", daemon("2.6.14", hold=True))
    farm.add("peer", daemon("2.6.14", client_mode=True))
    fleet.start(farm)
    for _ in range(2):
        assert fleet("collect", "--db", "usage.sqlite").status == 0
    rows = fleet("usage", "--db", "usage.sqlite", "--by", "server", "--json").document["rows"]
    assert [(row["server"], row["sessions"], row["samples"]) for row in rows] == [("held", 0, 2), ("peer", 0, 2)]


# Rounds


def test_every_goes_on_and_tells_of_each_round(two: Fleet) -> None:
    run = two("collect", "--every", "100ms", "--timeout", "450ms", "-o", "ndjson")
    assert run.status == 4
    summaries = [line for line in run.lines if line["type"] == "summary"]
    assert len(summaries) >= 2
    assert {line["name"] for line in run.lines if line["type"] == "server"} == {"edge-1", "edge-2", "down"}
    assert run.err.count("connect-refused: down") == 1  # what is no news is not told again
    assert "answer again" not in run.err  # also while it is left alone for a moment
    assert f"{len(summaries)} rounds recorded in" in run.err
    assert sum(received(two).values()) == 1001


def test_every_says_nothing_on_stdout_unless_asked(two: Fleet) -> None:
    run = two("collect", "edge-*", "--every", "100ms", "--timeout", "300ms", "-v")
    assert (run.status, run.out) == (0, "")
    assert "round 1: 2 of 2 servers, 1001 B in, 2.0 KiB out" in run.err
    assert two("-q", "collect", "edge-*", "--every", "100ms", "--timeout", "150ms").err == ""


def test_two_collectors_and_a_kill(two: Fleet) -> None:
    """One goes on in its own process until it is killed, another runs now and then: nothing is counted twice."""
    told = two.folder / "told"
    with (
        told.open("wb") as stdout,  # not a pipe, which fills up
        two.spawn("collect", "edge-*", "--every", "20ms", "-o", "ndjson", stdout=stdout) as process,
    ):
        wait_until(lambda: told.stat().st_size > 0)
        for _ in range(8):
            transfer(two, "edge-1", "alice", 100)
            assert two("collect", "edge-*").status == 0
        os.kill(process.pid, signal.SIGKILL)
    transfer(two, "edge-1", "alice", 100)
    assert two("collect", "edge-*").status == 0
    connection = sqlite3.connect(database_of(two))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert received(two) == {"alice": 1900, "Doe, Jane": 1}
    assert load(two) == 1901


def test_sigterm_ends_it_with_the_status_of_the_last_round(two: Fleet) -> None:
    with two.spawn("collect", "edge-*", "--every", "30s", "-v") as process:
        assert process.stderr is not None
        assert b"round 1: 2 of 2 servers" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (0, b"")
    assert b"1 round recorded in" in err
