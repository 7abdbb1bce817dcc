"""fleet snapshot and fleet diff: over real SSH, and between files."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.harness import Fleet, Result, client, daemon, farm_with_a_server_down
from fleet.demo.farm import Farm


def take(fleet: Fleet, name: str, *args: str) -> str:
    """A snapshot as a file; gives its path."""
    result = fleet("snapshot", *args)
    assert result.document["command"] == "snapshot"
    path = fleet.folder / name
    path.write_bytes(result.stdout)
    return str(path)


def do(fleet: Fleet, change: Any) -> None:
    """Something that happens in the farm."""

    async def happen() -> None:
        change()

    assert fleet.thread is not None
    fleet.thread.do(happen())


def move(fleet: Fleet, name: str, old: str, new: str) -> None:
    one = fleet.daemon(old)

    def happen() -> None:
        one.kill([instance for instance in one.instances if instance.client.common_name == name])
        fleet.daemon(new).connect(client(name))

    do(fleet, happen)


def changes(result: Result) -> dict[str, list[tuple[str, str, str | None]]]:
    return {
        one["name"]: [(c["common_name"], c["change"], c["moved_from"]) for c in one["result"]["clients"]]
        for one in result.document["servers"]
    }


def rows(result: Result) -> list[list[str]]:
    return [line.split("  ") for line in result.out.splitlines()]


# snapshot


def test_a_snapshot_is_json_whatever_the_options_say(small: Fleet) -> None:
    for args in ((), ("-o", "wide"), ("-q",), ("--json",)):
        result = small("snapshot", *args)
        assert (result.status, result.err) == (0, "")
        first = result.document["servers"][0]
        assert first["result"]["pid"] == small.daemon("edge-1").pid
        assert first["result"]["state"]["name"] == "CONNECTED"
        assert [one["common_name"] for one in first["result"]["clients"]] == ["Test-Client", "Doe, Jane"]
    small.set("FLEET_OUTPUT", "ndjson")
    assert small("snapshot", "eu").document["summary"]["servers"] == 1
    small.unset("FLEET_OUTPUT")
    for form in ("ndjson", "raw"):
        refused = small("snapshot", "-o", form)
        assert refused.status == 2
        assert "a snapshot is one JSON document" in refused.err


def test_a_snapshot_with_a_server_down_is_one_all_the_same(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("snapshot")
    assert (result.status, result.document["summary"]["ok"]) == (4, 3)
    assert result.err.startswith("connect-refused: down: ")


# two files


def test_nothing_differs_from_itself(small: Fleet) -> None:
    path = take(small, "a.json")
    result = small("diff", path, path, "--exit-code")
    assert (result.status, result.out) == (0, "")
    assert result.err.splitlines()[-1].endswith(": 5 stayed")
    assert small("diff", path, path, "--everybody").out.count("stayed") == 5


def test_who_came_and_went(small: Fleet) -> None:
    first = take(small, "a.json")
    move(small, "Doe, Jane", "edge-1", "gw/udp")
    do(small, lambda: small.daemon("gw/tcp").connect(client("new one")))
    do(small, lambda: small.daemon("edge-1").restart("SIGUSR1"))
    second = take(small, "b.json")
    do(small, lambda: small.thread and small.daemon("gw/tcp").shut_down())  # nobody is asked any more
    result = small("diff", first, second, "--json")
    assert changes(result) == {
        "edge-1": [("Test-Client", "left", None)],
        "gw/udp": [("Doe, Jane", "moved", "edge-1"), ("Test-Client", "stayed", None), ("col:on", "stayed", None)],
        "gw/tcp": [("new one", "joined", None), ("alice", "stayed", None)],
    }
    document = result.document
    assert (document["command"], document["args"], document["exit_status"]) == ("diff", [first, second], 0)
    assert result.err.splitlines()[-1].endswith("): 1 moved, 1 joined, 1 left, 3 stayed")
    table = small("diff", first, second, "--exit-code")
    assert table.status == 1
    heading, *lines = table.out.splitlines()
    assert " ".join(heading.split()) == "SERVER COMMON NAME CHANGE FROM REAL ADDRESS SINCE IN OUT USERNAME"
    assert [line.split()[0] for line in lines] == ["edge-1", "gw/udp", "gw/tcp", "3"]
    assert lines[1].split()[1:5] == ["Doe,", "Jane", "moved", "edge-1"]
    ndjson = small("diff", first, second, "-o", "ndjson").lines
    assert [line["type"] for line in ndjson] == ["server", "server", "server", "summary"]


def test_traffic_since(fleet: Fleet) -> None:
    farm = Farm()
    one = daemon("2.6.14", [client("alice", bytes_received=100, bytes_sent=1000)])
    farm.add("edge", one)
    fleet.start(farm)
    first = take(fleet, "a.json")
    one.instances[0].bytes_received += 50
    one.instances[0].bytes_sent += 70
    document = fleet("diff", first, take(fleet, "b.json"), "--json").document
    result = document["servers"][0]["result"]
    assert (result["bytes_in"], result["bytes_out"], result["unattributed_in"]) == (50, 70, 0)
    assert (result["clients"][0]["bytes_received"], result["clients"][0]["bytes_sent"]) == (50, 70)


def test_a_server_that_was_asked_only_once_is_said(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    first = take(fleet, "a.json", "-x", "gw")
    second = take(fleet, "b.json", "-x", "edge-1")
    result = fleet("diff", first, second)
    assert (result.status, result.out) == (0, "")
    assert result.err.splitlines()[1:] == [
        f"warning: edge-1: is not in {second}: what became of its clients (2) is unknown",
        f"warning: gw/udp: is not in {first}: since when its clients are there (2) is unknown",
        f"warning: gw/tcp: is not in {first}: since when its clients are there (1) is unknown",
    ]
    assert result.err.splitlines()[0].endswith(": 5 unknown")
    assert fleet("diff", first, second, "--exit-code").status == 1
    documented = json.loads(Path(first).read_bytes())
    documented["servers"][0].update(
        status="unreachable", result=None, error={"code": "dns", "message": "", "hint": None}
    )
    third = fleet.folder / "c.json"
    third.write_text(json.dumps(documented))
    assert f"edge-1: was not asked (dns) in {third}: what became of its clients (2) is unknown" in (
        fleet("diff", first, str(third)).err
    )


def test_a_snapshot_from_stdin(small: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    path = take(small, "a.json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(path).read_bytes())))
    assert small("diff", "-", path).status == 0


# a file and now


def test_since_then(small: Fleet) -> None:
    path = take(small, "a.json", "-l", "edge-1,gw/udp")
    assert small("diff", path, "--exit-code").status == 0
    move(small, "Doe, Jane", "edge-1", "gw/udp")
    result = small("diff", path, "--json", "--exit-code")
    assert (result.status, result.document["exit_status"]) == (1, 1)
    assert changes(result) == {
        "edge-1": [("Test-Client", "stayed", None)],
        "gw/udp": [("Doe, Jane", "moved", "edge-1"), ("Test-Client", "stayed", None), ("col:on", "stayed", None)],
    }
    assert small("diff", path, "--list-hosts").out.splitlines() == ["edge-1", "gw/udp"]


def test_of_some_servers_only(small: Fleet) -> None:
    path = take(small, "a.json")
    move(small, "Doe, Jane", "edge-1", "gw/udp")
    result = small("diff", path, "-l", "gw/udp", "--json")
    assert changes(result) == {
        "gw/udp": [("Doe, Jane", "moved", "edge-1"), ("Test-Client", "stayed", None), ("col:on", "stayed", None)],
    }
    assert result.err.splitlines()[-1] == "not asked now: edge-1 gw/tcp"


def test_a_server_that_cannot_be_asked_now_has_lost_nobody(small: Fleet) -> None:
    path = take(small, "a.json")
    small.farm.hosts["edge-1"].forwarding = False
    result = small("diff", path, "--exit-code", "--json")
    assert result.status == 4
    assert changes(result)["edge-1"] == [("Doe, Jane", "unknown", None), ("Test-Client", "unknown", None)]
    assert "warning: edge-1: was not asked: what became of its clients (2) is unknown" in result.err


def test_a_snapshot_of_another_fleet(small: Fleet) -> None:
    path = take(small, "a.json")
    small.inventory("all: {hosts: {other: {management: '127.0.0.1:1'}}}", "other.yaml")
    result = small("diff", path)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(f"no server of {path} is in the inventory\n")
    assert small("diff", path, "--allow-empty").err.endswith("not asked now: edge-1 gw/udp gw/tcp\n")


# what is refused


def test_what_is_no_snapshot_is_refused_before_anybody_is_asked(small: Fleet) -> None:
    path = take(small, "a.json")
    status = small("status", "--json")
    (small.folder / "status.json").write_bytes(status.stdout)
    (small.folder / "cut.json").write_bytes(Path(path).read_bytes()[:-9])
    (small.folder / "binary.json").write_bytes(b"\xff\xfe\x00")
    (small.folder / "deep.json").write_bytes(b"[" * 200_000)
    for name, message in {
        "nowhere.json": "nowhere.json: No such file or directory",
        "status.json": "status.json: it is the JSON of `fleet status`, not of `fleet snapshot`",
        "cut.json": "cut.json: no JSON: ",
        "binary.json": "binary.json: no JSON: ",
        "deep.json": "deep.json: no JSON: ",
    }.items():
        result = small("diff", name)
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith(message), result.err
        assert small("diff", path, name).status == 2


def test_what_contradicts_itself_is_refused(small: Fleet) -> None:
    first = take(small, "a.json")
    second = take(small, "b.json")
    for args, message in {
        ("-", "-"): "two snapshots are compared without asking any server",
        (first, second, "--all"): "two snapshots are compared without asking any server",
        (first, "-o", "raw"): "a difference has no raw form",
    }.items():
        result = small("diff", *args)
        assert result.status == 2
        assert message in result.err
    document = json.loads(Path(second).read_bytes())
    document["started"] = "2001-01-01T00:00:00Z"
    Path(second).write_text(json.dumps(document))
    result = small("diff", first, second)
    assert (result.status, result.err.splitlines()[0]) == (2, f"{second} was taken before {first}")
