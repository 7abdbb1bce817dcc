"""A change that is cut at any await of its run is reported: done, or sent and not confirmed; never neither.

The same for what else may happen there: the daemon ends, or the SSH connection is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import NEVER, SimulatedDaemon
from fleet.demo.farm import Farm
from fleet.demo.requests import passphrase
from fleet.demo.serve import ManagementServer, listening
from fleet.demo.workspace import write_workspace
from fleet.engine import Attempt, FanOut, Outcome, fan_out
from fleet.errors import InternalError
from fleet.inventory.load import load
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
    """What one run has said, and what the daemons have done."""

    daemons: list[SimulatedDaemon]
    outcomes: list[Outcome[Any]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # what the journal was told before it was sent
    fan: FanOut[Any] | None = None

    def sent(self, attempt: Attempt) -> None:
        assert attempt.sent is not None
        self.told += attempt.sent.split("; ")


def _check(run: Run, change: Change) -> None:
    """What the daemons have done is what was told, or less."""
    done = Counter(text for daemon in run.daemons for text in daemon.executed if text.startswith(change.commands))
    shown = Counter(text.replace('password "Private Key" right', 'password "Private Key" [...]') for text in done.elements())
    assert {_plain(text) for text in shown} <= {_plain(text) for text in run.told}, (shown, run.told)
    for outcome in run.outcomes:
        assert not isinstance(outcome.error, InternalError), outcome.error
    if len(run.outcomes) < len(run.daemons) or all(outcome.error is None for outcome in run.outcomes):
        return  # nobody asked for the outcomes any more; or all was done, and the value says so
    reported = Counter(
        _plain(text)
        for outcome in run.outcomes
        for text in (*outcome.confirmed, *(outcome.sent.split("; ") if outcome.sent else ()))
    )
    confirmed = Counter(_plain(text) for outcome in run.outcomes for text in outcome.confirmed)
    well = sum(outcome.error is None for outcome in run.outcomes)
    if not well:
        assert Counter(map(_plain, shown.elements())) <= reported, (shown, reported, run.outcomes)
    assert confirmed <= Counter(map(_plain, shown.elements())), (shown, confirmed)


def _plain(text: str) -> str:
    return " ".join(text.replace('"', "").split()[:2])


async def _one_run(servers: list[Server], options: SSHOptions, operation: Operation[Any], run: Run, locks: Path) -> None:
    slots = Slots(locks, "fleet test", 1.0)
    async with Transport(servers, options) as transport:
        access = Access(transport, 5.0, slots=slots, on_sent=run.sent)
        async with fan_out(servers, work_on(access, operation.perform), host_timeout=20.0) as run.fan:
            async for outcome in run.fan:
                run.outcomes.append(outcome)
    for server in servers:  # nobody holds its lock any more
        async with asyncio.timeout(1), slots.hold(server):
            pass


CUTS = ("interrupt", "leave", "daemon-ends")


async def _cut_everywhere(steps: Steps, change: Change, cut: str, folder: Path) -> int:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    before = open_sockets()
    for number in range(MAX_STEPS):
        daemon = change.daemon()
        async with listening(ManagementServer(daemon)) as endpoint:
            run = Run([daemon])
            server = Server("edge-1", "edge-1", None, endpoint)
            task = asyncio.ensure_future(_one_run([server], SSHOptions(), change.operation(), run, folder))
            cuts: dict[str, Callable[[], object]] = {
                "interrupt": lambda: run.fan and run.fan.interrupt(),
                "leave": task.cancel,
                "daemon-ends": daemon.shut_down,
            }
            steps.left, steps.then = number, cuts[cut]
            await asyncio.wait([task])
            over, steps.left = steps.left is not None, None
            left = [one for one in asyncio.all_tasks() if "/fleet/" in repr(one) and "/demo/" not in repr(one)]
        assert (left, complaints) == ([], []), f"{cut} after {number} steps"
        if not task.cancelled():
            task.result()
            assert len(run.outcomes) == 1
        _check(run, change)
        if over:
            assert [outcome.status for outcome in run.outcomes] == ["ok"], run.outcomes
            assert open_sockets() <= before
            return number
    raise AssertionError("no run came to its end")


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_cut_at_every_await(change: Change, cut: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    with asyncio.Runner(loop_factory=steps.loop) as runner:
        assert runner.run(_cut_everywhere(steps, change, cut, tmp_path)) > 10
        gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]
