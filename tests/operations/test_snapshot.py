"""A snapshot: what is kept of a server, and that the JSON of it reads back as the same."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.clock import ManualClock
from fleet.demo.daemon import SimulatedDaemon
from fleet.engine import Outcome, Report
from fleet.errors import ConnectTimeoutError
from fleet.inventory.model import Server, TCPEndpoint
from fleet.operations.operation import Answer
from fleet.operations.snapshot import SNAPSHOT, Snapshot, read_snapshot
from fleet.render.jsonout import document, dumps
from operations.peer import SERVER, Peer, client, perform

STARTED = datetime(2026, 11, 22, 8, tzinfo=UTC)
DOWN = Server("edge-2", "edge-2", None, TCPEndpoint("127.0.0.1", 7506))


def daemon(release: str = "2.6.14", **more: Any) -> SimulatedDaemon:
    clients = [
        client("alice", username="al", bytes_received=5, bytes_sent=7),
        client("Zo\u00eb \udcff", "::1"),
        SimulatedClient("late", handshaking=True),
    ]
    return SimulatedDaemon(release, clients=clients, clock=ManualClock(), **more)


async def taken(one: SimulatedDaemon) -> Answer[Snapshot]:
    return await perform(SNAPSHOT, Peer(one))


def saved(answer: Answer[Snapshot], *more: Outcome[Answer[Snapshot]]) -> Any:
    """The document as a file has it."""
    report = Report("snapshot", (), STARTED, 1.0, (Outcome(SERVER, 0.1, answer), *more))
    return json.loads(dumps(document(report, lambda value: SNAPSHOT.result(value.value)), indent=2))


@pytest.mark.parametrize("release", ["2.2.3", "2.4.12", "2.6.14", "2.7.6"])
async def test_what_is_kept_of_a_server(release: str) -> None:
    one = daemon(release)
    answer = await taken(one)
    kept = answer.value.server
    assert kept.pid == one.pid
    assert kept.epoch == answer.value.status.state.time  # type: ignore[union-attr]  # it is up
    assert [found.common_name for found in kept.clients] == one.common_names()[:2]  # without the handshaking one
    assert (kept.bytes_in, kept.bytes_out) == (5, 7)
    assert not SNAPSHOT.changes


@pytest.mark.parametrize("release", ["2.2.3", "2.4.12", "2.6.14", "2.7.6"])
async def test_it_reads_back_as_it_was(release: str) -> None:
    answer = await taken(daemon(release))
    error = ConnectTimeoutError("nothing answered")
    read = read_snapshot(
        saved(
            answer,
            Outcome(DOWN, 10.0, error=error),
        )
    )
    assert read.taken == STARTED
    assert read.missing == {"edge-2": "connect-timeout"}
    kept = answer.value.server
    assert read.servers == {"edge-1": kept}


async def test_columns_that_fleet_does_not_know_are_kept() -> None:
    later = saved(await taken(daemon()))
    later["servers"][0]["result"]["clients"][0]["Data Volume"] = "7 GB"
    first = read_snapshot(later).servers["edge-1"].clients[0]
    assert first.extra == {"Data Volume": "7 GB"}


async def test_a_daemon_in_hold_has_no_epoch_and_nobody() -> None:
    answer = await taken(daemon(hold=True))
    read = read_snapshot(saved(answer)).servers["edge-1"]
    assert read == answer.value.server
    assert (read.epoch, read.bytes_in, read.clients) == (None, None, ())


async def test_a_server_without_a_state() -> None:
    broken = saved(await taken(daemon()))
    broken["servers"][0]["result"]["state"] = None
    assert read_snapshot(broken).servers["edge-1"].epoch is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(fleet_schema=2), "its fleet_schema is 2, and this version of fleet reads 1"),
        (lambda d: d.pop("fleet_schema"), "fleet_schema: missing"),
        (lambda d: d.update(fleet_schema=True), "fleet_schema: not what `fleet snapshot` writes there"),
        (lambda d: d.update(command="status"), "it is the JSON of `fleet status`, not of `fleet snapshot`"),
        (lambda d: d.update(error={"code": "usage"}), "it is of a run that failed before it came to any server"),
        (lambda d: d.update(servers={}), "servers: not what `fleet snapshot` writes there"),
        (lambda d: d.update(servers=[1]), r"servers\[0\]: not an object"),
        (lambda d: d.update(servers=d["servers"] * 2), r"servers\[1\].name: 'edge-1' stands there twice"),
        (lambda d: d.update(started="2026-11-22T08:00:00"), "started: a time without a zone"),
        (lambda d: d.update(started="today"), "started: no time"),
        (lambda d: d["servers"][0].update(result=None), r"servers\[0\].result: not an object"),
        (lambda d: d["servers"][0].update(status="failed"), r"servers\[0\].error: not an object"),
        (lambda d: d["servers"][0]["result"].update(pid="1"), r"servers\[0\].result.pid: not what"),
        (lambda d: d["servers"][0]["result"]["state"].pop("time"), r"servers\[0\].result.state.time: missing"),
        (
            lambda d: d["servers"][0]["result"]["clients"][1].update(client_id=1.5),
            r"servers\[0\].result.clients\[1\].client_id: not what",
        ),
    ],
)
async def test_what_is_no_snapshot_is_refused_with_the_place(change: Any, message: str) -> None:
    broken = deepcopy(saved(await taken(daemon())))
    change(broken)
    with pytest.raises(ValueError, match=message):
        read_snapshot(broken)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_what_is_no_document_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="the document: not an object"):
        read_snapshot(value)
