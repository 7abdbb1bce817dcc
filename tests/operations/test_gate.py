"""The gate of a rolling restart: CONNECTED anew is the proof, and clients count wherever they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack

import pytest

from fleet.demo.clock import ManualClock
from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.demo.farm import Farm
from fleet.demo.requests import passphrase
from fleet.engine import Attempt, fan_out
from fleet.errors import CommandFailedError, ConnectionLostError, ManagementClosedError, UsageError
from fleet.inventory.load import load
from fleet.inventory.model import Server
from fleet.management import commands
from fleet.operations import gate
from fleet.operations.conversation import Access
from fleet.operations.gate import (
    COUNT_CLIENTS,
    Recovery,
    Restart,
    Restarting,
    Wait,
    parse_wait,
    restart,
    restart_rows,
    wait_for_clients,
)
from fleet.operations.operation import Answer
from fleet.transport import SSHOptions, Transport
from operations.peer import SERVER, Peer, client, perform
from support.farm import StartFarm

RELEASES = ("2.2.3", "2.4.12", "2.6.14", "2.7.6")


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("none", None),
        ("connected", Wait()),
        ("connected,clients=80%", Wait(80)),
        ("connected,clients=1%", Wait(1)),
        ("connected,clients=100%", Wait(100)),
    ],
)
def test_what_is_waited_for(text: str, wait: Wait | None) -> None:
    assert parse_wait(text) == wait


@pytest.mark.parametrize(
    "text",
    ["", "clients=80%", "connected,", "connected,clients=80", "connected,clients=0%", "connected,clients=101%", "up"],
)
def test_what_is_nothing_to_wait_for(text: str) -> None:
    with pytest.raises(UsageError, match="--wait") as caught:
        parse_wait(text)
    assert caught.value.hint == "write connected, connected,clients=80%, or none"


# One server


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110 - the code under test has no event for it
        await asyncio.sleep(0.01)


class Site:
    """One server behind SSH, and what a rolling restart makes of it."""

    def __init__(self, farm: Farm, server: Server, transport: Transport) -> None:
        self.farm = farm
        self.server = server
        self.attempt = Attempt(server)
        self._transport = transport

    @property
    def daemon(self) -> SimulatedDaemon:
        return self.farm["edge-1"].daemon

    def restarting(self, signal: str = "SIGUSR1", *, wait_timeout: float = 20.0) -> Restarting:
        return Restarting(Access(self._transport, 20.0), commands.signal(signal), wait_timeout)

    async def restart(self, signal: str = "SIGUSR1", *, wait_timeout: float = 20.0) -> Answer[Restart]:
        return await self.restarting(signal, wait_timeout=wait_timeout)(self.attempt)

    async def told(self, phase: str) -> None:
        """Until the work is in this phase."""
        await until(lambda: self.attempt.phase == phase)


MakeSite = Callable[[SimulatedDaemon], Awaitable[Site]]


@pytest.fixture
async def make_site(start_farm: StartFarm) -> AsyncIterator[MakeSite]:
    async with AsyncExitStack() as stack:

        async def make(daemon: SimulatedDaemon) -> Site:
            farm = Farm()
            farm.add("edge-1", daemon)
            workspace = await start_farm(farm)
            (server,) = load(str(workspace.inventory)).servers
            options = SSHOptions(config_files=(workspace.ssh_config,))
            return Site(farm, server, await stack.enter_async_context(Transport([server], options)))

        yield make


async def pass_time(site: Site, clock: ManualClock, seconds: float) -> None:
    """Turns the daemon's clock once the signal was thrown."""
    await site.told("waiting for CONNECTED")
    clock.advance(seconds)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("signal", ["SIGUSR1", "SIGHUP"])
async def test_a_restart_that_ends_well(make_site: MakeSite, release: str, signal: str) -> None:
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(release, clients=[client("a"), client("b")], clock=clock))
    answer, _ = await asyncio.gather(site.restart(signal), pass_time(site, clock, 6.0))
    value = answer.value
    assert (value.signal, value.state_before.name, value.clients_before) == (signal, "CONNECTED", 2)
    assert value.state is not None
    assert value.state.name == "CONNECTED"
    assert value.state.time > value.state_before.time
    assert value.connected_after is not None
    assert answer.raw == f"SUCCESS: signal {signal} thrown\n"
    assert restart_rows(value) == [(signal, "CONNECTED", "CONNECTED", value.connected_after, 2, None)]
    assert site.daemon.executed == ["state on", "state", "pid", "load-stats", f"signal {signal}"]
    assert site.attempt.sent is None
    assert site.attempt.confirmed == [f"signal {signal}"]


async def test_success_alone_is_no_health(make_site: MakeSite) -> None:
    """The daemon took the signal, and is not CONNECTED in time: sent, not confirmed."""
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(clock=clock))
    passing = asyncio.create_task(pass_time(site, clock, 0.1))
    with pytest.raises(
        CommandFailedError, match=r"no CONNECTED within 0\.5 s; its last state was RECONNECTING"
    ) as late:
        await site.restart(wait_timeout=0.5)
    await passing
    assert late.value.hint == "see why with fleet log 20 -l edge-1, or wait longer with --wait-timeout"
    assert late.value.sent == site.attempt.sent == "signal SIGUSR1"
    assert site.attempt.confirmed == []
    assert site.attempt.partial.value.state.name == "RECONNECTING"


async def test_a_daemon_that_says_nothing_of_itself(make_site: MakeSite) -> None:
    site = await make_site(SimulatedDaemon(clock=ManualClock()))
    with pytest.raises(CommandFailedError, match="it told no state after it"):
        await site.restart(wait_timeout=0.2)


async def test_a_connected_of_before_does_not_count(make_site: MakeSite) -> None:
    """Real-time states may be old news; only RECONNECTING and then CONNECTED is this restart."""
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(clock=clock))

    async def stale() -> None:
        await site.told("waiting for CONNECTED")
        site.daemon.notify(f">STATE:{int(clock.time())},CONNECTED,SUCCESS,10.8.0.1,,,192.0.2.1,1194")

    passing = asyncio.create_task(stale())
    with pytest.raises(CommandFailedError, match="no CONNECTED"):
        await site.restart(wait_timeout=0.5)
    await passing


async def test_a_daemon_that_dies_of_it(make_site: MakeSite) -> None:
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(clock=clock))
    site.daemon.fatal_on_restart = "Error: private key password verification failed"
    passing = asyncio.create_task(pass_time(site, clock, 0.1))
    with pytest.raises(CommandFailedError, match="died of SIGUSR1: FATAL: Error: private key password verif") as died:
        await site.restart()
    await passing
    assert died.value.message.endswith("; it told no state after it")
    assert site.attempt.sent is None  # it had its effect
    assert site.attempt.confirmed == ["signal SIGUSR1"]


async def test_a_daemon_that_dies_without_a_word(make_site: MakeSite) -> None:
    """SIGHUP and a key that only root may read: EOF at once (protocol-facts 5)."""
    site = await make_site(SimulatedDaemon(clock=ManualClock()))

    async def die() -> None:
        await site.told("waiting for CONNECTED")
        site.daemon.shut_down()

    passing = asyncio.create_task(die())
    with pytest.raises(CommandFailedError, match="died of SIGHUP: nobody listens on its management port") as died:
        await site.restart("SIGHUP")
    await passing
    assert isinstance(died.value.__cause__, ManagementClosedError)
    assert site.attempt.sent is None


async def test_another_daemon_in_its_place(make_site: MakeSite) -> None:
    site = await make_site(SimulatedDaemon(clock=ManualClock()))

    async def replaced() -> None:
        await site.told("waiting for CONNECTED")
        old = site.daemon
        site.farm["edge-1"].daemon = SimulatedDaemon(clock=ManualClock())
        old.shut_down()

    passing = asyncio.create_task(replaced())
    with pytest.raises(CommandFailedError, match=r"another one runs now \(pid \d+\); it told no state after it"):
        await site.restart()
    await passing


async def lose_the_way(site: Site) -> None:
    """The SSH connection is lost."""
    await site.told("waiting for CONNECTED")
    for connection in list(site.farm._connections):
        connection.abort()


async def test_the_way_was_lost_and_the_daemon_lives(make_site: MakeSite) -> None:
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(clock=clock))

    async def lose() -> None:
        await site.told("waiting for CONNECTED")
        clock.advance(0.1)
        await lose_the_way(site)
        clock.advance(2.0)

    answer, _ = await asyncio.gather(site.restart(), lose())
    assert answer.value.state is not None
    assert answer.value.state.name == "CONNECTED"
    assert site.attempt.sent is None


async def test_the_way_was_lost_and_nothing_is_known(make_site: MakeSite) -> None:
    site = await make_site(SimulatedDaemon(clock=ManualClock()))
    passing = asyncio.create_task(lose_the_way(site))  # and its state is as it was: the signal had no effect yet
    with pytest.raises(ConnectionLostError) as lost:
        await site.restart()
    await passing
    assert lost.value.sent == site.attempt.sent == "signal SIGUSR1"


async def test_the_way_stays_lost(make_site: MakeSite) -> None:
    site = await make_site(SimulatedDaemon(clock=ManualClock()))

    async def lose() -> None:
        await site.told("waiting for CONNECTED")
        site.farm.hosts["edge-1"].accepts_key = False
        await lose_the_way(site)

    passing = asyncio.create_task(lose())
    with pytest.raises(ConnectionLostError) as lost:
        await site.restart()
    await passing
    assert lost.value.sent == "signal SIGUSR1"


async def test_nothing_was_sent(make_site: MakeSite) -> None:
    site = await make_site(SimulatedDaemon(clock=ManualClock()))
    site.daemon.shut_down()
    with pytest.raises(ManagementClosedError):
        await site.restart()
    assert site.attempt.partial is None


async def test_a_daemon_that_goes_into_hold(make_site: MakeSite) -> None:
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(clock=clock))
    site.daemon.hold_flag = True
    passing = asyncio.create_task(pass_time(site, clock, 0.1))
    with pytest.raises(CommandFailedError, match="went into hold") as held:
        await site.restart()
    await passing
    assert held.value.hint == "bring it up with fleet hold release -l edge-1"
    assert site.attempt.sent is None


async def test_a_daemon_that_asks_for_its_passphrase(make_site: MakeSite) -> None:
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(clock=clock))

    async def ask() -> None:
        await site.told("waiting for CONNECTED")
        site.daemon.notify(">PASSWORD:Need 'Private Key' password")

    passing = asyncio.create_task(ask())
    with pytest.raises(CommandFailedError, match="waits for its 'Private Key' password: its tunnel is down") as waits:
        await site.restart()
    await passing
    assert waits.value.hint == "bring it up with fleet unlock -l edge-1"


async def test_a_daemon_that_is_up_with_errors(make_site: MakeSite) -> None:
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(clock=clock))

    async def errors() -> None:
        await site.told("waiting for CONNECTED")
        now = int(clock.time())
        site.daemon.notify(f">STATE:{now},RECONNECTING,SIGUSR1,,,,,", f">STATE:{now + 1},CONNECTED,ERROR,,,,,")

    passing = asyncio.create_task(errors())
    with pytest.raises(CommandFailedError, match="CONNECTED with ERROR") as errors_seen:
        await site.restart()
    await passing
    assert errors_seen.value.hint == "see what went wrong with fleet log 20 -l edge-1"


@pytest.mark.parametrize("phase", [Phase.HOLD, Phase.PAUSE, Phase.WAIT])
async def test_what_a_restart_would_harm_is_left_alone(make_site: MakeSite, phase: Phase) -> None:
    requests = [passphrase("secret")] if phase is Phase.WAIT else []
    daemon = SimulatedDaemon(clock=ManualClock(), hold=phase is Phase.HOLD, requests=requests)
    if phase is Phase.PAUSE:
        daemon.restart("SIGUSR1")
    site = await make_site(daemon)
    with pytest.raises(CommandFailedError, match=r"was not sent|nothing was sent"):
        await site.restart()
    assert site.attempt.sent is None
    assert not any(line.startswith("signal") for line in daemon.executed)


async def test_the_wait_is_not_on_the_host_timeout(make_site: MakeSite) -> None:
    clock = ManualClock()
    site = await make_site(SimulatedDaemon(clock=clock))

    async def later(attempt: Attempt) -> None:
        await until(lambda: attempt.phase == "waiting for CONNECTED")
        await asyncio.sleep(1.5)
        clock.advance(6.0)

    restarting = site.restarting()
    tasks: list[asyncio.Task[None]] = []

    async def work(attempt: Attempt) -> Answer[Restart]:
        tasks.append(asyncio.create_task(later(attempt)))
        return await restarting(attempt)

    async with fan_out([site.server], work, host_timeout=1.0) as fan:
        outcomes = [outcome async for outcome in fan]
    assert [outcome.status for outcome in outcomes] == ["ok"]


async def test_broken_off_while_it_waits_it_is_not_confirmed(make_site: MakeSite) -> None:
    site = await make_site(SimulatedDaemon(clock=ManualClock()))
    working = asyncio.create_task(site.restart())
    await site.told("waiting for CONNECTED")
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert site.attempt.sent == "signal SIGUSR1"
    assert site.attempt.confirmed == []


@pytest.mark.parametrize("release", RELEASES)
async def test_in_one_session_alone(release: str) -> None:
    """What was said before the signal is no news of its effect."""
    clock = ManualClock()
    daemon = SimulatedDaemon(release, clock=clock)

    def before(data: bytes) -> None:
        if data.startswith(b"state on"):
            now = int(clock.time())
            daemon.notify(f">STATE:{now},RECONNECTING,ping-restart,,", f">STATE:{now},CONNECTED,SUCCESS,10.8.0.1,")

    operation = restart("SIGUSR1", 20.0)
    assert (operation.name, operation.sends, operation.changes) == ("signal", ("signal SIGUSR1",), True)
    attempt = Attempt(SERVER)
    working = asyncio.create_task(perform(operation, Peer(daemon, before), attempt=attempt))
    await until(lambda: attempt.phase == "waiting for CONNECTED")
    clock.advance(6.0)
    answer = await working
    assert answer.value.state is not None
    assert answer.value.state.time > answer.value.state_before.time
    assert [tuple(row) for row in operation.rows(answer.value)] == restart_rows(answer.value)


def test_no_signal() -> None:
    with pytest.raises(UsageError):
        restart("BOGUS", 20.0)


async def test_clients_are_counted() -> None:
    daemon = SimulatedDaemon(clients=[client("a"), client("b")])
    answer = await perform(COUNT_CLIENTS, Peer(daemon))
    assert answer.value == 2
    assert list(COUNT_CLIENTS.rows(answer.value)) == [(2,)]


# Their clients


BEFORE = {"edge-1": 100, "edge-2": 50, "edge-3": 10}


@pytest.mark.parametrize(
    ("now", "back"),
    [
        ({"edge-1": 0, "edge-2": 50, "edge-3": 10}, 0),
        ({"edge-1": 79, "edge-2": 50, "edge-3": 10}, 79),
        ({"edge-1": 20, "edge-2": 110, "edge-3": 10}, 80),  # most of them have moved
        ({"edge-1": 0, "edge-2": 150, "edge-3": 10}, 100),
        ({"edge-1": 90, "edge-2": 10, "edge-3": 0}, 90),  # those of the others went home
        ({"edge-1": 80}, 80),  # the others were not asked
        ({"edge-1": None, "edge-2": 120, "edge-3": 10}, 70),
        ({"edge-1": None, "edge-2": None, "edge-3": None}, 0),
        ({"edge-1": 40, "edge-2": 50, "edge-3": 10, "stranger": 999}, 40),  # it did not say before how many it had
    ],
)
def test_how_many_are_back(now: Mapping[str, int | None], back: int) -> None:
    recovery = Recovery(BEFORE, frozenset({"edge-1"}), 80)
    assert recovery.dropped == 100
    assert recovery.back(now) == back
    assert recovery.is_enough(back) is (back >= 80)


def test_a_batch_without_clients_wants_none_back() -> None:
    recovery = Recovery({"edge-1": 0, "edge-2": 5}, frozenset({"edge-1"}), 80)
    assert recovery.is_enough(recovery.back({"edge-1": 0}))
    assert Recovery({}, frozenset({"edge-1"}), 100).is_enough(0)


def test_a_share_is_not_rounded_down() -> None:
    recovery = Recovery({"edge-1": 3}, frozenset({"edge-1"}), 50)
    assert not recovery.is_enough(1)
    assert recovery.is_enough(2)


class Counting:
    """Answers counts from a list, and remembers who was asked."""

    def __init__(self, *rounds: Mapping[str, int | None]) -> None:
        self.rounds = list(rounds)
        self.asked: list[list[str]] = []

    async def __call__(self, names: Iterable[str]) -> Mapping[str, int | None]:
        self.asked.append(list(names))
        counts = self.rounds.pop(0)
        return {name: counts[name] for name in names}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(gate, "_LOOK_INTERVAL", 0.01)


RECOVERY = Recovery(BEFORE, frozenset({"edge-1"}), 80)
OTHERS = ["edge-2", "edge-3"]


async def test_the_batch_is_asked_first() -> None:
    count = Counting({"edge-1": 85})
    found = await wait_for_clients(RECOVERY, count, 60.0)
    assert (found.enough, found.back, found.dropped, found.now) == (True, 85, 100, {"edge-1": 85})
    assert count.asked == [["edge-1"]]


async def test_the_others_are_asked_where_that_is_not_enough() -> None:
    rounds = ({"edge-1": 0}, {"edge-2": 60, "edge-3": 10}, {"edge-1": 20}, {"edge-2": 120, "edge-3": None})
    count = Counting(*rounds)
    told: list[int] = []
    found = await wait_for_clients(RECOVERY, count, 60.0, lambda found: told.append(found.back))
    assert (found.enough, found.back, found.silent) == (True, 80, ("edge-3",))
    assert told == [10]
    assert count.asked == [["edge-1"], OTHERS] * 2


async def test_the_time_is_over() -> None:
    class Never(Counting):
        async def __call__(self, names: Iterable[str]) -> Mapping[str, int | None]:
            return {name: 30 if name == "edge-1" else None for name in names}

    found = await wait_for_clients(RECOVERY, Never(), 0.1)
    assert (found.enough, found.back, found.dropped) == (False, 30, 100)
    assert found.silent == tuple(OTHERS)


async def test_a_batch_that_is_all_there_is() -> None:
    count = Counting({"edge-1": 1}, {"edge-1": 4})
    found = await wait_for_clients(Recovery({"edge-1": 4}, frozenset({"edge-1"}), 100), count, 60.0)
    assert (found.enough, found.back) == (True, 4)
    assert count.asked == [["edge-1"]] * 2
