"""Ctrl-C at every turn of the loop of a whole command line that changes something: what was done is told.

To the operator (stdout, stderr and exit status) and to the audit; and nothing is left half done without a word.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import fleet
from cli.harness import Fleet, FarmThread, Result, daemon
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm
from fleet.demo.serve import ManagementServer, listening
from fleet.inventory.model import ManagementEndpoint
from fleet.journal.places import state_folder
from support.steps import Steps

__all__ = ["fleet"]

MAX_STEPS = 500


@dataclass
class Local:
    """fleet, and daemons of this machine that it asks without SSH."""

    fleet: Fleet
    stack: AsyncExitStack

    def start(self, *daemons: SimulatedDaemon) -> None:
        """Daemons named a, b, c, as if nothing had been before."""
        thread = self.fleet.thread
        assert thread is not None

        async def begin() -> list[ManagementEndpoint]:
            await self.stack.aclose()
            return [await self.stack.enter_async_context(listening(ManagementServer(one))) for one in daemons]

        endpoints = thread.do(begin())
        hosts = "".join(f"    {name}: {{management: '{at}'}}\n" for name, at in zip("abc", endpoints, strict=False))
        self.fleet.inventory(f"all:\n  vars: {{connection: local}}\n  hosts:\n{hosts}")

    def stop(self) -> None:
        assert self.fleet.thread is not None
        self.fleet.thread.do(self.stack.aclose())


@pytest.fixture
def local(fleet: Fleet) -> Iterator[Local]:
    fleet.thread = FarmThread(Farm(), fleet.folder / "farm")
    local = Local(fleet, AsyncExitStack())
    yield local
    local.stop()


@dataclass
class Cut:
    """Does something in turn `number` of all loops of the main thread."""

    number: int
    then: Callable[[], object]
    happened: bool = False

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """In place of asyncio.run."""
        steps = Steps()
        steps.left, steps.then = self.number, self._happen
        try:
            with asyncio.Runner(loop_factory=steps.loop) as runner:
                return runner.run(main)
        finally:
            self.number = -1 if steps.left is None else steps.left
            if self.number < 0:
                self.number = MAX_STEPS

    def _happen(self) -> None:
        self.happened = True
        self.then()


def sigint() -> None:
    signal.raise_signal(signal.SIGINT)


def audit() -> list[dict[str, Any]]:
    path = state_folder(os.environ) / "audit.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def changed(one: SimulatedDaemon, commands: tuple[str, ...]) -> Counter[str]:
    return Counter(text for text in one.executed if text.startswith(commands))


def told(server: dict[str, Any]) -> Counter[str]:
    """What a server's object of the JSON document says that was done, or may be."""
    error = server["error"] or {}
    sent = error.get("sent") or ""
    return Counter([*error.get("confirmed", ()), *(sent.split("; ") if sent else ())])


COMMANDS = {
    "verb": (("verb", "4", "--all", "--yes"), ("verb 4",)),
    "exec": (("exec", "verb 5", "mute 3", "--all", "--yes"), ("verb ", "mute ")),
    "kill": (("kill", "alice"), ("kill ",)),
    "signal": (("signal", "SIGUSR2", "--all", "--yes"), ("signal ",)),
    "in-batches": (("verb", "4", "--all", "--yes", "--serial", "1"), ("verb 4",)),
    "restarts-in-batches": (("signal", "SIGUSR1", "--all", "--yes", "--serial", "1", "--wait", "none"), ("signal ",)),
    "drain": (("drain", "a", "--yes", "--grace", "0.05s"), ("client-kill ",)),
    "for-a-time": (("verb", "5", "--all", "--yes", "--for", "0.01s"), ("verb ",)),
}


SLOW = ("drain", "for-a-time")
"""They wait for something, and turn their loop often: each third turn is one of them."""


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_at_every_turn(local: Local, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    args, commands = COMMANDS[name]
    turns = 0
    for number in range(0, MAX_STEPS, 3 if name in SLOW else 1):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / f"state-{number}"))
        daemons = [daemon("2.6.14", ["alice", "bob"]), daemon("2.7.6", ["alice"])]
        local.start(*daemons)
        cut = Cut(number, sigint)
        monkeypatch.setattr(asyncio, "run", cut.run)
        result = local.fleet(*args, "--json")
        check(result, daemons, commands, f"turn {number} of {args}")
        if not cut.happened:
            turns = number
            assert result.status == (1 if name == "drain" else 0), result
            break
    assert turns > 20


def check(result: Result, daemons: list[SimulatedDaemon], commands: tuple[str, ...], where: str) -> None:
    assert "bug" not in result.err, (where, result)
    assert "Traceback" not in result.err, (where, result)
    assert result.status in (0, 1, 130), (where, result)
    lines = audit()
    servers = result.document["servers"]
    if not servers:
        assert "interrupted before anything was sent" in result.err, (where, result)
        assert not any(changed(one, commands) for one in daemons), (where, result)
        return
    for server, one in zip(servers, daemons, strict=False):  # a drain is of the first one
        done = changed(one, commands)
        sent = Counter(text for line in lines if line["server"] == server["name"] for text in line["sent"])
        assert done <= sent, (where, done, lines)
        if server["status"] == "ok":
            continue
        if (server["result"] or {}).get("put_back") == "done":
            del done["verb 3"]
        if "drain" in where and len(server["result"]["clients"]) >= done.total():
            continue  # whom it has told to go is in the table
        assert done <= told(server), (where, done, server, result.err)
    if "--for" in where:
        assert all(one.verb == 3 for one in daemons), (where, servers, result.err)
