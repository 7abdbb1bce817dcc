"""Warm rounds against simulated daemons on loopback: a channel each time, errors that come and go, nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults, ManagementServer
from fleet.inventory.load import load
from fleet.inventory.model import Server
from fleet.operations.conversation import Access, Conversation
from fleet.operations.rounds import Round, Rounds, Sample
from fleet.operations.status import STATUS
from fleet.transport import SSHOptions, Transport
from support.farm import Listen, StartFarm

SOON = 20.0  # seconds within which something is to be seen
FAST = 0.05  # seconds of an interval


async def until(rounds: Rounds[Any], seen: Any) -> Round[Any]:
    """The first round of which this is true."""
    async with asyncio.timeout(SOON):
        while True:
            latest = await rounds.next_round()
            if seen(latest):
                return latest


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - what is looked at is no event of asyncio
            await asyncio.sleep(0.01)


@asynccontextmanager
async def asking(servers: Iterable[Server], **settings: Any) -> AsyncIterator[Rounds[Any]]:
    servers = tuple(servers)
    perform = settings.pop("perform", STATUS.perform)
    reply_timeout = settings.pop("reply_timeout", 10.0)
    settings.setdefault("interval", FAST)
    async with (
        Transport(servers, SSHOptions(), keep=True) as transport,
        Rounds(Access(transport, reply_timeout), servers, perform, **settings) as rounds,
    ):
        yield rounds


async def local(listen: Listen, *managed: ManagementServer) -> list[Server]:
    return [Server(f"edge-{n}", f"edge-{n}", None, await listen(one)) for n, one in enumerate(managed)]


def statuses(latest: Round[Any]) -> list[str]:
    return [outcome.status for outcome in latest.outcomes]


async def test_each_round_asks_on_a_session_of_its_own(listen: Listen) -> None:
    managed = ManagementServer(SimulatedDaemon(clients=[SimulatedClient("alice", "10.0.0.1")]))
    servers = await local(listen, managed)
    async with asking(servers) as rounds:
        first = await rounds.next_round()
        third = await until(rounds, lambda latest: latest.number >= 3)
        # Between two rounds the interface is free for others.
        async with asyncio.timeout(SOON):
            await managed.occupy()
        managed.vacate()
    assert first.number == 1
    assert first.samples["edge-0"].outcome.require().value.nclients == 1
    assert third.started > first.ended
    assert third.samples["edge-0"].when > first.samples["edge-0"].when
    assert managed.sessions >= 3
    assert not third.late
    assert third.age >= 0
    assert third.samples["edge-0"].age >= 0


async def test_a_daemon_that_goes_and_comes_back_has_its_error_in_between(listen: Listen) -> None:
    managed = [ManagementServer(SimulatedDaemon()) for _ in range(2)]
    servers = await local(listen, *managed)
    async with asking(servers) as rounds:
        await until(rounds, lambda latest: statuses(latest) == ["ok", "ok"])
        managed[1].faults = Faults(greeting=b"", hang_up=True)
        down = await until(rounds, lambda latest: statuses(latest) == ["ok", "unreachable"])
        managed[1].faults = Faults()
        await until(rounds, lambda latest: statuses(latest) == ["ok", "ok"])
    assert down.samples["edge-1"].outcome.error is not None


async def test_one_that_hangs_delays_nobody_and_is_late(listen: Listen) -> None:
    hanging = ManagementServer(SimulatedDaemon())
    servers = await local(listen, ManagementServer(SimulatedDaemon()), hanging)
    await hanging.occupy()
    async with asking(servers, reply_timeout=600.0, host_timeout=600.0, forks=2) as rounds:
        first = await rounds.next_round()
        fourth = await until(rounds, lambda latest: latest.number == 4)
        assert statuses(first) == statuses(fourth) == ["ok", "unreachable"]
        assert fourth.samples["edge-0"].at > first.samples["edge-0"].at
        assert "edge-1" not in fourth.samples
        assert list(fourth.late) == ["edge-1"]
        assert "greeting" in fourth.late["edge-1"]
        assert rounds.phase_of("edge-1") == fourth.late["edge-1"]
        error = fourth.outcomes[1].error
        assert error is not None
        assert error.code == "host-timeout"
        assert "greeting" in error.message
        hanging.vacate()
        well = await until(rounds, lambda latest: not latest.late)
    assert statuses(well) == ["ok", "ok"]


async def test_one_that_fails_is_left_alone_for_as_long_as_that_took(listen: Listen) -> None:
    hanging = ManagementServer(SimulatedDaemon())
    servers = await local(listen, ManagementServer(SimulatedDaemon()), hanging)
    await hanging.occupy()
    told: list[Sample[Any]] = []
    async with asking(servers, reply_timeout=0.3, on_sample=told.append) as rounds:
        resting = await until(rounds, lambda latest: "left alone" in latest.late.get("edge-1", ""))
        assert statuses(resting) == ["ok", "unreachable"]
        await eventually(lambda: sum(sample.server.name == "edge-1" for sample in told) >= 3)
        well = [sample for sample in told if sample.server.name == "edge-0"]
        first, second, third = [sample for sample in told if sample.server.name == "edge-1"][:3]
        for earlier, later in ((first, second), (second, third)):
            began = later.at - later.outcome.elapsed
            assert began - earlier.at > 0.9 * earlier.outcome.elapsed
        assert sum(first.at < sample.at < second.at for sample in well) > 2


async def test_somebody_in_a_hurry_does_not_wait_for_the_rest(listen: Listen) -> None:
    servers = await local(listen, ManagementServer(SimulatedDaemon()))
    told: list[Sample[Any]] = []

    async def perform(_conversation: Conversation) -> None:
        if not told:
            await asyncio.sleep(600)

    async with asking(servers, perform=perform, host_timeout=0.5, on_sample=told.append) as rounds:
        await until(rounds, lambda latest: "left alone" in latest.late.get("edge-0", ""))
        rounds.hurry("edge-0")
        assert rounds.phase_of("edge-0") is not None
        await eventually(lambda: len(told) == 2)
    first, second = told
    assert (first.outcome.status, second.outcome.status) == ("unreachable", "ok")
    assert second.at - first.at < first.outcome.elapsed


async def test_an_old_answer_of_one_that_is_late_stays_and_is_said_to_be_late(listen: Listen) -> None:
    managed = ManagementServer(SimulatedDaemon())
    servers = await local(listen, managed)
    async with asking(servers, reply_timeout=600.0, host_timeout=600.0) as rounds:
        await rounds.next_round()
        await managed.occupy()
        late = await until(rounds, lambda latest: latest.late)
        assert statuses(late) == ["ok"]
        managed.vacate()


async def test_those_that_hang_leave_the_others_half_of_the_forks(listen: Listen) -> None:
    hanging = [ManagementServer(SimulatedDaemon()) for _ in range(6)]
    well = [ManagementServer(SimulatedDaemon()) for _ in range(6)]
    servers = await local(listen, *hanging, *well)
    for one in hanging:
        await one.occupy()
    names = {server.name for server in servers[6:]}
    async with asking(servers, forks=2, reply_timeout=0.3) as rounds:
        # Nobody is known to hang at first. From when all are, each holds one fork for so long, and never both.
        known = await until(rounds, lambda latest: len(latest.samples) == len(servers))
        before = {name: known.samples[name].at for name in names}
        after = await until(rounds, lambda latest: all(latest.samples[name].at > before[name] for name in names))
    assert {outcome.server.name for outcome in after.outcomes if outcome.status == "ok"} == names


async def test_no_more_are_asked_at_a_time_than_there_are_forks(listen: Listen) -> None:
    servers = await local(listen, *(ManagementServer(SimulatedDaemon()) for _ in range(5)))
    now, most = 0, 0

    async def perform(_conversation: Conversation) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return "done"

    async with asking(servers, perform=perform, forks=2, interval=0.01) as rounds:
        latest = await until(rounds, lambda latest: latest.number == 3)
    assert statuses(latest) == ["ok"] * 5
    assert most == 2


async def test_every_sample_is_told_and_somebody_in_a_hurry_is_asked_at_once(listen: Listen) -> None:
    servers = await local(listen, *(ManagementServer(SimulatedDaemon()) for _ in range(2)))
    told: list[Sample[Any]] = []
    async with asking(servers, interval=600.0, on_sample=told.append) as rounds:
        await rounds.next_round()
        assert sorted(sample.server.name for sample in told) == ["edge-0", "edge-1"]
        assert rounds.phase_of("edge-1") is None
        rounds.hurry("edge-1")
        assert rounds.phase_of("edge-1") is not None
        rounds.hurry("edge-1")  # while it is asked: once more behind that
        await eventually(lambda: len(told) == 4)
    assert [sample.server.name for sample in told[2:]] == ["edge-1", "edge-1"]


async def test_a_bug_on_a_server_is_its_outcome_and_one_in_the_listener_ends_the_rounds(listen: Listen) -> None:
    servers = await local(listen, ManagementServer(SimulatedDaemon()))

    async def perform(_conversation: Conversation) -> None:
        raise ZeroDivisionError

    async with asking(servers, perform=perform) as rounds:
        latest = await rounds.next_round()
        error = latest.outcomes[0].error
        assert error is not None
        assert error.code == "internal"

    def broken(_sample: Sample[Any]) -> None:
        raise LookupError("a bug")

    async with asking(servers, on_sample=broken) as rounds:
        with pytest.raises(RuntimeError) as caught:
            await until(rounds, lambda _: False)
        assert isinstance(caught.value.__cause__, LookupError)


async def test_leaving_waits_until_nothing_is_left(listen: Listen) -> None:
    managed = ManagementServer(SimulatedDaemon(), faults=Faults(reply_delay=600.0))
    servers = await local(listen, managed)
    before = asyncio.all_tasks()
    async with asking(servers) as rounds:
        await eventually(lambda: "status 3" in str(rounds.phase_of("edge-0")))
        coming = asyncio.create_task(rounds.next_round())
        await asyncio.sleep(0)
    with pytest.raises((asyncio.CancelledError, RuntimeError)):
        await coming
    with pytest.raises(RuntimeError):
        await rounds.next_round()
    named = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not {name for name in named if name.startswith("fleet")}


async def test_the_ssh_connection_is_kept_and_made_anew_when_it_has_died(start_farm: StartFarm) -> None:
    farm = Farm()
    farm.add("edge-1", SimulatedDaemon())
    workspace = await start_farm(farm)
    servers = load(str(workspace.inventory)).servers
    host = farm.hosts["edge-1"]
    async with asking(servers) as rounds:
        await until(rounds, lambda latest: latest.number >= 3 and statuses(latest) == ["ok"])
        assert host.connections == 1
        for connection in tuple(farm._connections):
            connection.abort()
        again = await until(rounds, lambda _: host.connections > 1)
        await until(rounds, lambda latest: latest.number > again.number and statuses(latest) == ["ok"])
    assert host.connections == 2


@pytest.mark.parametrize("settings", [{"forks": 0}, {"interval": 0.0}, {"host_timeout": 0.0}])
def test_settings_that_mean_nothing(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Rounds(Access(Transport(()), 1.0), (), STATUS.perform, **{"interval": 1.0, **settings})
