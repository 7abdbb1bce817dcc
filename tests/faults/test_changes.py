"""A change that is cut at any await of its run is reported: done, or sent and not confirmed; never neither.

The same for what else may happen there: the daemon ends, or the SSH connection is lost.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import NEVER, SimulatedDaemon
from fleet.demo.requests import passphrase
from fleet.demo.serve import ManagementServer, listening
from fleet.engine import Attempt, FanOut, Outcome, fan_out
from fleet.errors import InternalError
from fleet.inventory.model import Server
from fleet.journal.locks import Slots
from fleet.operations.conversation import Access, work_on
from fleet.operations.execute import execute, prepare
from fleet.operations.kill import kill
from fleet.operations.operation import Operation
from fleet.operations.secret import Secret
from fleet.operations.settings import RELEASE_HOLD, change_verb
from fleet.operations.signals import throw
from fleet.operations.temporary import VERB, set_for_a_time
from fleet.operations.unlock import Answers, Login, unlock
from fleet.operations.waiting import Want, WantKind
from fleet.operations.who import client_id, name_or_address
from fleet.transport import SSHOptions, Transport
from fleet.transport.lean import SWITCH
from support.sshd import OPTIONS, SSHD, Home, a_server, ssh
from support.steps import Steps, open_sockets

MAX_STEPS = 400
_KEY = "Private Key"


def _daemon(**more: Any) -> SimulatedDaemon:
    who = [SimulatedClient(name, "203.0.113.9") for name in ("alice", "bob", "alice", "ca:rol", "ca:rol")]
    return SimulatedDaemon("2.6.14", clients=who, reconnect=NEVER, **more)


def _unlock() -> Operation[Any]:
    answers = Answers({Want(WantKind.PASSWORD, _KEY): Login(Secret("right"))})
    return unlock(lambda _name: answers, 2.0, {})


@dataclass(frozen=True)
class Change:
    """Something that changes a daemon, on a daemon of its own.

    Attributes:
        name: of it.
        operation: makes it.
        daemon: makes the daemon.
        commands: how the commands begin that change something.
    """

    name: str
    operation: Callable[[], Operation[Any]]
    commands: tuple[str, ...]
    daemon: Callable[[], SimulatedDaemon] = _daemon


CHANGES = (
    Change("verb", lambda: change_verb("4"), ("verb 4",)),
    Change("verb-for-a-time", lambda: set_for_a_time(VERB, 5), ("verb 5",)),
    Change("signal", lambda: throw("SIGUSR1"), ("signal",)),
    Change("kill-by-name", lambda: kill(name_or_address("alice")), ("kill ",)),
    Change("kill-by-ids", lambda: kill(name_or_address("ca:rol")), ("client-kill",)),
    Change("kill-one-with-a-look", lambda: kill(client_id("1"), verify=True), ("client-kill",)),
    Change("exec", lambda: execute(prepare(["verb 5", "state", "mute 3", "verb 6"])), ("verb ", "mute ")),
    Change("hold", lambda: RELEASE_HOLD, ("hold release",), lambda: _daemon(hold=True)),
    Change("unlock", _unlock, ("hold release", "password"),
           lambda: _daemon(hold=True, requests=[passphrase("right")])),
)  # fmt: skip


@dataclass
class Run:
    """What one run has said, and what the daemon has done."""

    outcomes: list[Outcome[Any]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # what the journal was told before it was sent
    fan: FanOut[Any] | None = None

    def sent(self, attempt: Attempt) -> None:
        assert attempt.sent is not None
        self.told += attempt.sent.split("; ")

    def interrupt(self) -> None:
        if self.fan is not None:
            self.fan.interrupt()

    def check(self, daemon: SimulatedDaemon, commands: tuple[str, ...]) -> None:
        """What the daemon was told is what was told of it, or less."""
        done = _counted(text for text in daemon.executed if text.startswith(commands))
        assert set(done) <= set(_counted(self.told)), (done, self.told)
        for outcome in self.outcomes:  # none, where nobody asked for it any more
            assert not isinstance(outcome.error, InternalError), outcome.error
            confirmed = _counted(outcome.confirmed)
            assert confirmed <= done, (done, outcome)
            if outcome.error is not None:
                assert done <= confirmed + _counted((outcome.sent or "").split("; ")), (done, outcome)


def _counted(texts: Iterable[str]) -> Counter[str]:
    """Commands by their first two words: what follows may be a secret, which nobody is told."""
    return Counter(" ".join(text.replace('"', "").split()[:2]) for text in texts)


async def _one_run(servers: list[Server], options: SSHOptions, change: Change, run: Run, locks: Path) -> None:
    slots = Slots(locks, "fleet test", 1.0)
    async with Transport(servers, options) as transport:
        access = Access(transport, 5.0, slots=slots, on_sent=run.sent)
        async with fan_out(servers, work_on(access, change.operation().perform), host_timeout=20.0) as run.fan:
            async for outcome in run.fan:
                run.outcomes.append(outcome)
    for server in servers:  # nobody holds its lock any more
        async with asyncio.timeout(1), slots.hold(server):
            pass


def _over() -> list[asyncio.Task[Any]]:
    """Tasks of fleet's that are left."""
    return [task for task in asyncio.all_tasks() if "/fleet/" in repr(task) and "/demo/" not in repr(task)]


async def _cut(
    steps: Steps, number: int, server: Server, options: SSHOptions, *, change: Change, then: Callable[[Run], object],
    leave: bool, locks: Path,
) -> tuple[Run, bool]:  # fmt: skip
    """One run in which something happens after so many turns; and whether it came to its end before."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    run = Run()
    task = asyncio.ensure_future(_one_run([server], options, change, run, locks))
    steps.left, steps.then = number, task.cancel if leave else partial(then, run)
    await asyncio.wait([task])
    over, steps.left = steps.left is not None, None
    assert (_over(), complaints) == ([], []), f"after {number} turns"
    if not task.cancelled():
        task.result()
        assert len(run.outcomes) == 1
    return run, over


CUTS: dict[str, Callable[[SimulatedDaemon], Callable[[Run], object]]] = {
    "interrupted": lambda _daemon: Run.interrupt,
    "left": lambda _daemon: bool,
    "the-daemon-ends": lambda daemon: lambda _run: daemon.shut_down(),
}


async def _everywhere(steps: Steps, change: Change, cut: str, locks: Path) -> int:
    before = open_sockets()
    for number in range(MAX_STEPS):
        daemon = change.daemon()
        async with listening(ManagementServer(daemon)) as endpoint:
            server = Server("edge-1", "edge-1", None, endpoint)
            run, over = await _cut(steps, number, server, SSHOptions(), change=change, then=CUTS[cut](daemon),
                                   leave=cut == "left", locks=locks)  # fmt: skip
        run.check(daemon, change.commands)
        if over:
            assert [outcome.status for outcome in run.outcomes] == ["ok"], run.outcomes
            assert open_sockets() <= before
            return number
    raise AssertionError("no run came to its end")


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_at_every_await(change: Change, cut: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    with asyncio.Runner(loop_factory=steps.loop) as runner:
        assert runner.run(_everywhere(steps, change, cut, tmp_path)) > 10
        gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


SSH_CUTS: dict[str, Callable[[SSHD], Callable[[Run], object]]] = {
    "interrupted": lambda _sshd: Run.interrupt,
    "left": lambda _sshd: bool,
    "the-connection-is-lost": lambda sshd: lambda _run: [peer.abort() for peer in list(sshd.peers)],
}


async def _everywhere_over_ssh(steps: Steps, change: Change, cut: str, locks: Path, home: Home) -> int:
    async with SSHD().running() as sshd:
        home.know(sshd.known())
        for number in range(0, MAX_STEPS, 2):
            daemon = change.daemon()
            async with listening(ManagementServer(daemon)) as endpoint:
                server = a_server("edge-1", ssh(sshd.port), endpoint)
                run, over = await _cut(steps, number, server, OPTIONS, change=change, then=SSH_CUTS[cut](sshd),
                                       leave=cut == "left", locks=locks)  # fmt: skip
                await sshd.gone()
            run.check(daemon, change.commands)
            if over:
                assert [outcome.status for outcome in run.outcomes] == ["ok"], run.outcomes
                return number
    raise AssertionError("no run came to its end")


@pytest.mark.parametrize("way", ["lean", "stock"])
@pytest.mark.parametrize("cut", SSH_CUTS)
def test_at_every_await_over_ssh(
    cut: str, way: str, *, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(SWITCH, way)
    change = next(change for change in CHANGES if change.name == "exec")
    steps = Steps()
    with asyncio.Runner(loop_factory=steps.loop) as runner:
        assert runner.run(_everywhere_over_ssh(steps, change, cut, tmp_path, home)) > 40
        gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]
