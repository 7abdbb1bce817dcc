"""Draining: who is told to go and at what pace, and what looks at the servers make of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fleet.demo.daemon import NEVER, SimulatedDaemon
from fleet.errors import CommandFailedError, UsageError
from fleet.management.status import Client
from fleet.operations.drain import (
    LOST_AFTER,
    Drain,
    Draining,
    Neighbour,
    Whereabouts,
    drain,
    farewell,
    neighbour,
    plan,
    plan_of,
    shortage,
)
from fleet.operations.snapshot import SNAPSHOT
from fleet.operations.verify import Look
from operations.peer import Peer, client, perform

EPOCH = datetime(2026, 11, 22, 8, tzinfo=UTC)
SINCE = datetime(2026, 11, 22, 9, tzinfo=UTC)
MESSAGE = farewell("away")


def row(name: str | None, number: int, **more: Any) -> Client:
    values = {"real_address": f"203.0.113.9:{number}", "connected_since": SINCE} | more
    return Client(common_name=name, client_id=number, **values)


def seen(server: str, at: float, *clients: Client) -> Look:
    return Look(server, at, EPOCH, SINCE, clients)


def draining(*clients: Client, at: float = 0.0) -> Draining:
    """A drain of `a` in which everybody was told."""
    one = Draining("a", MESSAGE, 0.0)
    one.before(seen("b", at))
    look = seen("a", at, *clients)
    for found in one.begin(look):
        one.told(look, found, at)
    return one


def fates(one: Draining) -> dict[str | None, str]:
    return {client.common_name: str(client) for client in one.result().clients}


# What looks make of it


def test_where_everybody_is() -> None:
    one = draining(*(row(name, number) for number, name in enumerate(("moves", "returns", "stays", "goes"))))
    assert fates(one) == dict.fromkeys(("moves", "returns", "stays", "goes"), "told")
    assert not one.settled(0.0)
    one.saw(seen("a", 2.0, row("stays", 2), row("returns", 9)))
    one.saw(seen("b", 2.0, row("moves", 0), row("somebody", 1)))
    assert fates(one) == {"moves": "moved to b", "returns": "came back", "stays": "stayed", "goes": "gone"}
    assert (one.remaining, one.has_newcomers) == (2, False)
    result = one.result()
    assert [result.count(each) for each in (Whereabouts.MOVED, Whereabouts.GONE, Whereabouts.TOLD)] == [1, 1, 0]


def test_it_is_settled_when_nothing_more_is_to_be_seen() -> None:
    one = draining(row("moves", 0), row("goes", 1))
    one.saw(seen("b", 1.0, row("moves", 0)))
    one.saw(seen("a", 1.0, row("moves", 0)))
    assert not one.settled(LOST_AFTER)  # its old row lingers
    assert one.remaining == 0  # and is nobody
    one.saw(seen("a", 7.0))
    assert not one.settled(7.0)  # the other may be trying a dead remote
    assert one.settled(LOST_AFTER)
    one.saw(seen("b", 30.0, row("moves", 0), row("goes", 1)))
    assert one.settled(31.0)


def test_who_was_on_the_neighbour_before_has_not_moved_there() -> None:
    one = Draining("a", MESSAGE, 0.0)
    one.before(seen("b", 0.0, row("alice", 4)))
    look = seen("a", 0.0, row("alice", 0))
    one.told(look, one.begin(look)[0], 0.0)
    one.saw(seen("b", 1.0, row("alice", 4)))
    one.saw(seen("a", 1.0))
    assert fates(one) == {"alice": "gone"}


def test_who_comes_meanwhile_is_told_and_who_comes_back_is_not() -> None:
    one = draining(row("alice", 0))
    later = seen("a", 3.0, row("alice", 1), row("zora", 2), row(None, 3, handshaking=True))
    one.saw(later)
    assert one.has_newcomers
    assert [found.common_name for found in one.begin(later)] == ["zora"]
    assert fates(one) == {"alice": "came back", "zora": "not told"}


def test_who_has_left_by_itself_was_not_told() -> None:
    one = Draining("a", MESSAGE, 0.0)
    look = seen("a", 0.0, row("alice", 0), row("bob", 1))
    first, _ = one.begin(look)
    one.left(first)
    assert fates(one) == {"alice": "left", "bob": "not told"}


def test_several_of_one_name_and_nobodies() -> None:
    one = draining(row("alice", 0), row("alice", 1), row(None, 2))
    one.saw(seen("a", 2.0, row(None, 7)))
    one.saw(seen("b", 2.0, row("alice", 0)))
    assert sorted(str(client) for client in one.result().clients) == ["gone", "gone", "moved to b"]
    assert not one.has_newcomers  # who has no name may be the one that was told


def test_of_a_server_that_was_never_looked_at_nothing_is_known() -> None:
    one = Draining("a", MESSAGE, 0.0)
    assert (one.remaining, one.has_newcomers, one.result()) == (None, False, Drain((), None))


def test_how_far_it_has_come() -> None:
    one = Draining("a", MESSAGE, 0.0)
    assert one.progress() == ""
    look = seen("a", 0.0, row("alice", 0), row("bob", 1), row("carol", 2))
    alice, bob, carol = one.begin(look)
    one.told(look, alice, 0.0)
    assert one.progress() == "told 1 of 3 clients"
    one.left(bob)
    one.told(look, carol, 1.0)
    assert one.progress() == "told 2 of 2 clients"


# What is told


@pytest.mark.parametrize("release", ["2.4.12", "2.6.14", "2.7.6"])
async def test_everybody_is_told_once_in_order(release: str) -> None:
    clients = [client("alice"), client("Doe, Jane"), client("", handshaking=True)]
    daemon = SimulatedDaemon(release, clients=clients, protocol="tcp4-server", reconnect=NEVER)
    one = Draining("edge-1", MESSAGE, 0.0)
    peer = Peer(daemon)
    operation = drain(one)
    answer = await perform(operation, peer)
    assert [command for command in peer.commands if command.startswith("client-kill")] == [
        'client-kill 0 "RESTART,[NP],away"', 'client-kill 1 "RESTART,[NP],away"',
    ]  # fmt: skip
    assert [str(found) for found in answer.value.clients] == ["told", "told"]
    assert answer.raw.count("SUCCESS: client-kill command succeeded\n") == 2
    assert [next(iter(cells)) for cells in operation.rows(answer.value)] == ["alice", "Doe, Jane"]
    assert operation.changes


async def test_a_pace_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    daemon = SimulatedDaemon("2.6.14", clients=[client(str(number)) for number in range(4)], reconnect=NEVER)
    monkeypatch.setattr(asyncio, "sleep", note)
    await perform(drain(Draining("edge-1", MESSAGE, 100.0)), Peer(daemon))
    assert slept[0] == 0.0
    assert [round(seconds / 100.0) for seconds in slept[1:]] == [1, 2, 3]  # from the first one on, not from the last


@pytest.mark.parametrize(
    ("daemon", "message"),
    [
        (SimulatedDaemon("2.2.3", clients=[client("alice")]), "reports no client ids"),
        (SimulatedDaemon("2.6.14", client_mode=True), "no server for clients"),
    ],
)
async def test_what_cannot_be_drained(daemon: SimulatedDaemon, message: str) -> None:
    snapshot = (await perform(SNAPSHOT, Peer(daemon))).value
    with pytest.raises(CommandFailedError, match=message):
        plan_of(snapshot, MESSAGE)
    with pytest.raises(CommandFailedError, match=message):
        await perform(plan(MESSAGE), Peer(daemon))


async def test_a_daemon_in_its_restart_is_not_drained() -> None:
    daemon = SimulatedDaemon("2.6.14", clients=[client("alice")])
    daemon.restart("SIGUSR1")
    with pytest.raises(CommandFailedError, match="the daemon is RECONNECTING, not CONNECTED"):
        await perform(plan(MESSAGE), Peer(daemon))


async def test_a_daemon_in_hold_has_nobody_to_move() -> None:
    answer = await perform(plan(MESSAGE), Peer(SimulatedDaemon("2.6.14", hold=True)))
    assert (answer.value.nclients, answer.value.clients) == (0, ())


async def test_the_plan_shows_what_would_be_sent() -> None:
    daemon = SimulatedDaemon("2.6.14", clients=[client("alice", username="al")])
    answer = await perform(plan(MESSAGE), Peer(daemon))
    assert answer.value.nclients == 1
    assert answer.value.clients[0].would_send == 'client-kill 0 "RESTART,[NP],away"'
    assert daemon.common_names() == ["alice"]


@pytest.mark.parametrize("reason", ["a\nb", "x" * 250])
def test_a_reason_that_cannot_be_sent(reason: str) -> None:
    with pytest.raises(UsageError):
        farewell(reason)


# Neighbours


async def test_what_a_neighbour_is_found_to_be() -> None:
    up = (await perform(SNAPSHOT, Peer(SimulatedDaemon("2.6.14", clients=[client("alice")])))).value
    held = (await perform(SNAPSHOT, Peer(SimulatedDaemon("2.6.14", hold=True)))).value
    other = (await perform(SNAPSHOT, Peer(SimulatedDaemon("2.6.14", client_mode=True)))).value
    found = [neighbour("b", limit, each, None) for limit, each in ((None, up), (5, up), (5, held), (5, other))]
    assert list(map(str, found)) == ["b (1 client)", "b (1 client, room for 4)", "b (HOLD)", "b (no server)"]
    assert str(neighbour("b", 5, None, "dns")) == "b (dns)"


UP = Neighbour("b", "CONNECTED", 3, 10)


@pytest.mark.parametrize(
    ("neighbours", "nclients", "reason"),
    [
        ([UP], 7, None),
        ([UP], 8, "its neighbours have room for 7 of its 8 clients: b (3 clients, room for 7)"),
        ([UP, replace(UP, name="c", max_clients=None)], 900, None),
        ([replace(UP, nclients=12)], 1, "its neighbours have no room for its 1 client: b (12 clients, room for 0)"),
        ([replace(UP, state="RECONNECTING")], 1, "no neighbour is up that could take its clients: b (RECONNECTING)"),
        ([UP, Neighbour("c", None, None, 50, "dns")], 8, "its neighbours have room for 7 of its 8 clients: "),
        ([], 1, "it has no neighbour in its group"),
    ],
)
def test_whether_there_is_room(neighbours: list[Neighbour], nclients: int, reason: str | None) -> None:
    found = shortage(neighbours, nclients)
    assert (found is None) == (reason is None)
    assert (found or "").startswith(reason or "")
