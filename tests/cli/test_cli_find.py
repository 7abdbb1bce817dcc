"""fleet find over real SSH: where somebody is, what is said of duplicates, and the exit status."""

from __future__ import annotations

import pytest

from cli.harness import Fleet, client, daemon, farm_with_a_server_down
from fleet.demo.farm import Farm


@pytest.fixture
def offices(fleet: Fleet) -> Fleet:
    """Two servers with a name that both have, and a client with a subnet behind it."""
    farm = Farm()
    farm.add("edge-1", daemon("2.6.14", [client("alice", port=40112, username="ann"), client("bob")]))
    site = client("site", "198.51.100.9", 1194, routes=("10.8.3.0/24",))
    farm.add("edge-2", daemon("2.7.6", [client("alice", "198.51.100.4", port=5122), site]))
    fleet.start(farm)
    return fleet


def test_a_name_wherever_it_is(offices: Fleet) -> None:
    result = offices("find", "alice")
    assert (result.status, result.err) == (0, "alice is connected twice from two addresses: a shared certificate?\n")
    header, *rows = [line.split() for line in result.out.splitlines()]
    assert " ".join(header) == "SERVER COMMON NAME VIRTUAL ADDRESS REAL ADDRESS SINCE MATCHED BY"
    assert [row[:4] for row in rows] == [
        ["edge-1", "alice", "10.8.0.2", "203.0.113.9:40112"],
        ["edge-2", "alice", "10.8.0.2", "udp4:198.51.100.4:5122"],
    ]


@pytest.mark.parametrize(
    ("who", "row"),
    [
        ("ann", ["edge-1", "alice", "username"]),
        ("si*", ["edge-2", "site", "common name"]),
        ("203.0.113.9:40112", ["edge-1", "alice", "real address"]),
        ("10.8.3.7", ["edge-2", "site", "route 10.8.3.0/24"]),
    ],
)
def test_by_other_things(offices: Fleet, who: str, row: list[str]) -> None:
    result = offices("find", who)
    assert result.status == 0
    (line,) = result.out.splitlines()[1:]
    assert line.split()[:2] == row[:2]
    assert line.endswith(row[2])


@pytest.mark.parametrize("args", [("--json",), ("-o", "ndjson")])
def test_found_in_json(offices: Fleet, args: tuple[str, ...]) -> None:
    result = offices("find", "10.8.0.2", *args)
    servers = result.lines[:-1] if "ndjson" in args else result.document["servers"]
    servers.sort(key=lambda server: server["name"])  # lines come as servers answer
    (one,) = servers[0]["result"]["clients"]
    since = one.pop("connected_since")
    assert since.endswith("Z")
    assert one == {
        "common_name": "alice", "username": "ann", "virtual_address": "10.8.0.2", "virtual_ipv6_address": None,
        "real_address": "203.0.113.9:40112", "client_id": 0, "matched_by": "virtual_address", "route": None,
        "also_on": ["edge-2"],
    }  # fmt: skip
    assert servers[1]["result"]["clients"][0]["also_on"] == ["edge-1"]


def test_found_nowhere(offices: Fleet) -> None:
    result = offices("find", "eve")
    assert (result.status, result.out, result.err) == (1, "", "nobody matches 'eve' on 2 servers\n")
    assert offices("find", "eve", "--json").document["exit_status"] == 1
    assert offices("find", "alice", "-l", "edge-1", "-q").status == 0
    assert offices("find", "bob", "-l", "edge-2").err == "nobody matches 'bob' on 1 server\n"


def test_a_server_that_cannot_be_asked(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("find", "alice")
    assert result.status == 4
    assert "connect-refused: down: " in result.err
    assert result.out.splitlines()[1].startswith("gw/tcp  alice")
    assert fleet("find", "eve").err.startswith("nobody matches 'eve' on the 3 of 4 servers that answered\n")
    assert "eve" not in fleet("find", "eve", "-l", "down").err


def test_find_is_no_change_and_refuses_what_means_nothing(offices: Fleet) -> None:
    assert offices("find", "alice", "--readonly").status == 0
    result = offices("find", "")
    assert (result.status, result.err.splitlines()[0]) == (2, "whom to find is empty")
    assert offices("find", "alice", "--list-hosts").out == "edge-1\nedge-2\n"


def test_a_name_reaches_no_terminal_as_it_is(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge", daemon("2.6.14", [client("\x9bevil", port=1), client("\x9bevil", "192.0.2.1", port=2)]))
    fleet.start(farm)
    result = fleet("find", "*evil")
    assert result.err == r"\x9bevil is connected twice from two addresses: a shared certificate?" + "\n"
    assert "\x9b" not in result.out
