"""Fixtures that start simulated daemons, behind SSH or on plain sockets, and stop them after the test.

async def test_it(start_farm):
    farm = Farm()
    farm.add("edge-1", SimulatedDaemon("2.6.14", clients=[SimulatedClient("Test-Client")]))
    workspace = await start_farm(farm)            # workspace.inventory, .private_key, .known_hosts, .ssh_config
    farm["edge-1"].faults = Faults(reply_delay=0.1)

async def test_that(listen):
    endpoint = await listen(SimulatedDaemon("2.7.6"), faults=Faults(greeting=b""))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults, ManagementServer, listening
from fleet.demo.workspace import Workspace, write_workspace
from fleet.inventory.model import ManagementEndpoint


class StartFarm(Protocol):
    """Starts a farm and writes its workspace; `pins`: whether the inventory itself has the host keys."""

    def __call__(self, farm: Farm, *, pins: bool = True) -> Awaitable[Workspace]: ...


Listen = Callable[..., Awaitable[ManagementEndpoint]]


@pytest.fixture
async def start_farm(tmp_path: Path) -> AsyncIterator[StartFarm]:
    async with AsyncExitStack() as stack:

        async def start(farm: Farm, *, pins: bool = True) -> Workspace:
            await stack.enter_async_context(farm)
            folder = tmp_path / "workspace"
            folder.mkdir(mode=0o700)
            return write_workspace(farm, folder, pins=pins)

        yield start


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Puts a daemon, or a ManagementServer, on a free port of 127.0.0.1 or on a unix socket, without SSH."""
    async with AsyncExitStack() as stack:

        async def start(
            daemon: SimulatedDaemon | ManagementServer, path: Path | None = None, *, faults: Faults | None = None
        ) -> ManagementEndpoint:
            server = daemon if isinstance(daemon, ManagementServer) else ManagementServer(daemon)
            server.faults = faults or server.faults
            return await stack.enter_async_context(listening(server, path))

        yield start
