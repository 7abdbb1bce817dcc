"""find: by name, username, address and routed subnet, on every release; and who goes by the same name."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.engine import Attempt
from fleet.errors import UsageError
from fleet.management.status import Client
from fleet.operations.find import Found, FoundClient, find, places_of_duplicates, say_duplicates, with_duplicates
from operations.peer import SERVER, Peer, client, perform, scripted

MODERN = ("2.4.12", "2.6.14", "2.7.6")


def people() -> list[SimulatedClient]:
    return [
        client("alice", "203.0.113.9", 40112, username="ann"),
        client("alice-2", "203.0.113.9", 40113, virtual_ipv6_address="fd00::6"),
        client("site", "198.51.100.7", 1194, routes=("10.8.3.0/24", "fd55::/64", "10.8.3.7C")),
        client("big-site", "198.51.100.8", 1194, routes=("10.8.0.0/16",)),
        client("nobody-yet", "192.0.2.1", 5, handshaking=True),
        client("[x]*", "192.0.2.2", 6),
    ]


async def found(who: str, one: SimulatedDaemon) -> list[tuple[str | None, str]]:
    value = (await perform(find(who), Peer(one))).value
    return [(each.common_name, each.matched_by) for each in value.clients]


@pytest.mark.parametrize("release", MODERN)
@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("alice", [("alice", "common_name")]),
        ("Alice", []),
        ("alice*", [("alice", "common_name"), ("alice-2", "common_name")]),
        ("alice-?", [("alice-2", "common_name")]),
        ("[ab]lice", [("alice", "common_name")]),
        ("[x]*", [("[x]*", "common_name")]),
        ("ann", [("alice", "username")]),
        ("a*", [("alice", "common_name"), ("alice-2", "common_name")]),
        ("UNDEF", []),
        ("203.0.113.9", [("alice", "real_address"), ("alice-2", "real_address")]),
        ("203.0.113.9:40113", [("alice-2", "real_address")]),
        ("203.0.113.9:1", []),
        ("192.0.2.1", [(None, "real_address")]),
        ("10.8.0.2", [("alice", "virtual_address")]),
        ("fd00:0:0::6", [("alice-2", "virtual_ipv6_address")]),
        ("[fd00::6]", [("alice-2", "virtual_ipv6_address")]),
        ("10.8.3.7", [("site", "route")]),
        ("fd55::abcd", [("site", "route")]),
        ("10.8.4.7", [("big-site", "route")]),
        ("10.9.0.1", []),
        ("10.8.3.7:80", []),
    ],
)
async def test_who_is_found(release: str, who: str, expected: list[tuple[str | None, str]]) -> None:
    assert await found(who, SimulatedDaemon(release, clients=people())) == expected


async def test_an_address_in_the_spelling_of_2_7() -> None:
    one = SimulatedDaemon("2.7.6", clients=people())
    assert await found("udp4:203.0.113.9:40112", one) == [("alice", "real_address")]
    assert await found("tcp:203.0.113.9:40112", one) == []


async def test_an_old_release_has_ipv6_addresses_in_its_routing_table_alone() -> None:
    one = SimulatedDaemon("2.2.3", clients=people())
    assert await found("fd00::6", one) == [("alice-2", "virtual_address")]


async def test_a_route_whose_client_has_no_row() -> None:
    answer = (
        "TITLE\tOpenVPN 2.6.14\nHEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\n"
        "HEADER\tROUTING_TABLE\tVirtual Address\tCommon Name\tReal Address\n"
        "ROUTING_TABLE\t10.55.0.0/24\tsite\t192.0.2.1:1\nROUTING_TABLE\tbad/route\tsite\t192.0.2.1:1\nEND\n"
    )
    peer = scripted({"status 3": answer, "pid": "SUCCESS: pid=1\n"})
    (only,) = (await perform(find("10.55.0.9"), peer)).value.clients
    assert (only.common_name, only.real_address, only.route) == ("site", "192.0.2.1:1", "10.55.0.0/24")


async def test_one_question_and_what_is_shown() -> None:
    peer = Peer(SimulatedDaemon(clients=people()))
    operation = find("10.8.3.7")
    answer = await perform(operation, peer)
    assert peer.commands == ["status 3", "pid"]
    assert not operation.changes
    (cells,) = operation.rows(answer.value)
    assert [cells[0], cells[1], cells[2], cells[4]] == ["site", "10.8.0.4", "198.51.100.7:1194", "route 10.8.3.0/24"]
    assert operation.result(answer.value) == {"clients": answer.value.clients}


async def test_in_hold_nobody_is_there() -> None:
    attempt = Attempt(SERVER)
    assert (await perform(find("*"), Peer(SimulatedDaemon(hold=True)), attempt=attempt)).value == Found((), ())
    assert len(attempt.warnings) == 1


@pytest.mark.parametrize(("who", "message"), [("", "whom to find is empty"), ("a\tb", "control character")])
def test_refused_before_anything_is_sent(who: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find(who)


# the same name more than once


def session(name: str | None, address: str | None = "203.0.113.9:1") -> Client:
    return Client(common_name=name, real_address=address)


def found_on(*found: Client, others: tuple[Client, ...] = ()) -> Found:
    def row(one: Client) -> FoundClient:
        nothing: Any = None
        return FoundClient(one.common_name, nothing, nothing, nothing, one.real_address, nothing, nothing, "x")

    return Found(tuple(map(row, found)), (*found, *others))


@pytest.mark.parametrize(
    ("servers", "also_on", "words"),
    [
        ({"a": found_on(session("x"))}, [()], []),
        (
            {"a": found_on(session("x")), "b": found_on(session("x", "198.51.100.4:5"))},
            [("b",), ("a",)],
            ["x is connected twice from two addresses: a shared certificate?"],
        ),
        (
            {"a": found_on(session("x")), "b": found_on(session("x", "udp4:203.0.113.9:7"))},
            [("b",), ("a",)],
            ["x is connected twice from one address: an old session that has not timed out, or a shared certificate?"],
        ),
        # found by an address on one server; its name is on another
        (
            {"a": found_on(session("x")), "b": found_on(others=(session("x", "198.51.100.4:5"), session("y")))},
            [("b",)],
            ["x is connected twice from two addresses: a shared certificate?"],
        ),
        (
            {"a": found_on(session("x", "1.1.1.1:1"), session("x", "1.1.1.2:1"), session("x", "1.1.1.3:1"))},
            [("a",), ("a",), ("a",)],
            ["x is connected 3 times from 3 addresses: a shared certificate?"],
        ),
        ({"a": found_on(session(None), session(None))}, [(), ()], []),
        (
            {"a": found_on(session("x", None), session("x", "mystery"))},
            [("a",), ("a",)],
            ["x is connected twice from two addresses: a shared certificate?"],
        ),
    ],
)
def test_a_name_on_several_servers(servers: dict[str, Found], also_on: list[tuple[str, ...]], words: list[str]) -> None:
    places = places_of_duplicates(servers)
    marked = [with_duplicates(server, value, places) for server, value in servers.items()]
    assert [each.also_on for value in marked for each in value.clients] == also_on
    assert say_duplicates(places) == words


@pytest.mark.parametrize(("names", "last"), [(6, "1 more name is"), (9, "4 more names are")])
def test_of_many_duplicates_the_first_are_told(names: int, last: str) -> None:
    clients = [session(f"n{number % names}") for number in range(names * 2)]
    told = say_duplicates(places_of_duplicates({"a": found_on(*clients)}))
    assert len(told) == 6
    assert told[-1] == f"{last} connected more than once"
