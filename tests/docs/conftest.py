"""A small simulated fleet for the examples of the documentation, and fleet run on it in this process."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.cli.main import run
from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm, Reach
from fleet.demo.workspace import Workspace, write_workspace
from support import schemas


@dataclass(frozen=True, slots=True)
class Fleet:
    """fleet, with the inventory of the examples.

    Attributes:
        capture: what is printed.
        farm: the servers; they live in the loop.
        loop: of another thread.
    """

    capture: pytest.CaptureFixture[str]
    farm: Farm
    loop: asyncio.AbstractEventLoop

    def run(self, *args: str) -> tuple[int, str]:
        """The exit status and what went to stdout."""
        self.capture.readouterr()
        status = run(args)
        text = self.capture.readouterr().out
        schemas.check(text, args)
        return status, text

    def stir(self) -> None:
        """Once edge-1 has a management session, a client connects and the daemon restarts."""
        self.loop.call_soon_threadsafe(self._stir)

    def _stir(self) -> None:
        server = self.farm["edge-1"]
        if not server.sessions:
            self.loop.call_later(0.01, self._stir)
            return
        server.daemon.connect(SimulatedClient("bob", "203.0.113.77"))
        server.daemon.restart("SIGUSR1")


def example_farm() -> Farm:
    """Two servers: edge-1 with two clients, and edge-2, which is down."""
    clients = [
        SimulatedClient(
            "Test-Client", "203.0.113.9", connected_for=11_520, bytes_received=18_200_431, bytes_sent=301_114_902
        ),
        SimulatedClient("alice", "198.51.100.23", connected_for=252, bytes_received=91_204, bytes_sent=640_118),
    ]
    farm = Farm()
    farm.add("edge-1", SimulatedDaemon("2.6.14", clients=clients, uptime=90_000.0), group="eu")
    farm.add("edge-2", SimulatedDaemon("2.6.14"), group="eu", reach=Reach.DOWN)
    return farm


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Fleet]:
    """The farm has a loop of its own, in a thread: fleet runs in this one, which alone may have signal handlers."""
    folder = tmp_path / "workspace"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    sigterm = signal.getsignal(signal.SIGTERM)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="farm")
    thread.start()

    async def start() -> Workspace:
        await farm.__aenter__()
        return write_workspace(farm, folder)

    farm = example_farm()
    try:
        workspace = asyncio.run_coroutine_threadsafe(start(), loop).result()
        monkeypatch.setenv("FLEET_INVENTORY", str(workspace.inventory))
        monkeypatch.setenv("FLEET_SSH_CONFIG", str(workspace.ssh_config))
        yield Fleet(capsys, farm, loop)
    finally:
        asyncio.run_coroutine_threadsafe(farm.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        signal.signal(signal.SIGTERM, sigterm)
