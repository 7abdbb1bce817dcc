"""Simulated servers that run in a thread, for a fleet that runs in this one, or in a process of its own.

def test_it(servers):
    servers.start(farm)
    servers.fleet("exec", "verb")            # in this process: exit status, stdout, stderr
    servers.environment()                    # for a process
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.main import run
from fleet.demo.farm import Farm
from fleet.demo.workspace import Workspace, write_workspace

START_TIMEOUT = 30.0
"""Seconds for the farm to start, and to stop."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run of fleet in this process."""

    exit_status: int
    stdout: str
    stderr: str


class Servers:
    """A farm in a thread of its own, since only the main thread may have signal handlers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.farm = Farm()
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="farm")
        self._workspace: Workspace | None = None

    def start(self, farm: Farm) -> None:
        self.farm = farm
        self._thread.start()

        async def start() -> Workspace:
            await farm.__aenter__()
            workspace = self.folder / "workspace"
            workspace.mkdir(mode=0o700)
            return write_workspace(farm, workspace)

        self._workspace = asyncio.run_coroutine_threadsafe(start(), self._loop).result(START_TIMEOUT)
        for name, value in self._settings().items():
            self._monkeypatch.setenv(name, value)

    def stop(self) -> None:
        if self._workspace is not None:
            asyncio.run_coroutine_threadsafe(self.farm.stop(), self._loop).result(START_TIMEOUT)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(START_TIMEOUT)
        self._loop.close()

    def do(self, work: Callable[[], Any]) -> None:
        """Does something to the simulated daemons, in their own thread."""

        async def perform() -> None:
            work()

        asyncio.run_coroutine_threadsafe(perform(), self._loop).result(START_TIMEOUT)

    def executed(self, server: str) -> list[str]:
        """The lines that the daemon has executed so far."""
        return list(self.farm[server].daemon.executed)

    def fleet(self, *args: str) -> Run:
        """Runs fleet in this process."""
        self._capsys.readouterr()
        status = run(args)
        written = self._capsys.readouterr()
        return Run(status, written.out, written.err)

    def _settings(self) -> dict[str, str]:
        assert self._workspace is not None
        return {
            "FLEET_INVENTORY": str(self._workspace.inventory),
            "FLEET_SSH_CONFIG": str(self._workspace.ssh_config),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    def environment(self) -> dict[str, str]:
        """What a process of fleet runs in."""
        return {**os.environ, **self._settings(), "TERM": "screen-256color", "LANG": "C.UTF-8"}

    @staticmethod
    def argv(*args: str) -> list[str]:
        """The command line of a process of fleet."""
        return [sys.executable, "-m", "fleet", *args]


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Servers]:
    """Nothing runs yet: `servers.start(farm)`."""
    sigterm = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    started = Servers(tmp_path, monkeypatch, capsys)
    try:
        yield started
    finally:
        started.stop()
        signal.signal(signal.SIGTERM, sigterm)
