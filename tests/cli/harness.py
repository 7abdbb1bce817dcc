"""fleet's command line against a farm: in this process, or as a subprocess of the installed command's module."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fleet.cli.main import run
from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import NEVER, SimulatedDaemon
from fleet.demo.farm import Farm, Reach
from fleet.demo.serve import Faults
from fleet.demo.workspace import Workspace, write_workspace
from support import schemas

T = TypeVar("T")

TIMEOUT = 60.0  # seconds that a subprocess may take; far more than it does


@dataclass(frozen=True, slots=True)
class Result:
    """How one command line ended."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode("utf-8")

    @property
    def err(self) -> str:
        return self.stderr.decode("utf-8")

    @property
    def document(self) -> Any:
        """Stdout as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Stdout as ndjson."""
        return [json.loads(line) for line in self.out.splitlines()]


class FarmThread:
    """A farm in a loop of its own, since fleet runs in the main thread, which alone may have signal handlers."""

    def __init__(self, farm: Farm, folder: Path) -> None:
        self.farm = farm
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="farm")
        self._thread.start()
        folder.mkdir(mode=0o700)
        self.workspace: Workspace = self.do(self._start(folder))

    async def _start(self, folder: Path) -> Workspace:
        await self.farm.__aenter__()
        return write_workspace(self.farm, folder)

    def do(self, work: Awaitable[T]) -> T:
        """Something done in the farm's loop."""

        async def wait() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result()

    def stop(self) -> None:
        self.do(self.farm.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass
class Fleet:
    """fleet with the environment of a farm's operator.

    Attributes:
        environment: FLEET_* variables and others that are set for subprocesses too.
    """

    capture: pytest.CaptureFixture[bytes]
    monkeypatch: pytest.MonkeyPatch
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    thread: FarmThread | None = None

    @property
    def farm(self) -> Farm:
        assert self.thread is not None
        return self.thread.farm

    def daemon(self, server: str) -> SimulatedDaemon:
        return self.farm[server].daemon

    def start(self, farm: Farm) -> Farm:
        """Runs the farm and points fleet at it."""
        self.thread = FarmThread(farm, self.folder / "workspace")
        workspace = self.thread.workspace
        self.set("FLEET_INVENTORY", str(workspace.inventory))
        self.set("FLEET_SSH_CONFIG", str(workspace.ssh_config))
        return farm

    def occupy(self, server: str) -> None:
        """Somebody else holds the management interface of this server."""
        assert self.thread is not None
        self.thread.do(self.farm[server].occupy())

    def vacate(self, server: str) -> None:
        """Whoever held it leaves; may be called in any thread."""
        assert self.thread is not None
        self.thread.loop.call_soon_threadsafe(self.farm[server].vacate)

    def hold(self, *servers: str, command: str = "") -> Callable[[], object]:
        """These servers answer (that command) only when what is given is called, in any thread."""
        assert self.thread is not None
        released = asyncio.Event()
        for server in servers:
            self.farm[server].faults = Faults(released=released, command=command)
        return partial(self.thread.loop.call_soon_threadsafe, released.set)

    def set(self, name: str, value: str) -> None:
        self.environment[name] = value
        self.monkeypatch.setenv(name, value)

    def unset(self, name: str) -> None:
        self.environment.pop(name, None)
        self.monkeypatch.delenv(name, raising=False)

    def inventory(self, text: str, name: str = "inventory.yaml") -> Path:
        """An inventory of one's own, which fleet is pointed at."""
        path = self.folder / name
        path.write_text(text, "utf-8")
        self.set("FLEET_INVENTORY", str(path))
        return path

    def __call__(self, *args: str) -> Result:
        """One command line in this process; its JSON is what docs/schema says."""
        self.capture.readouterr()
        status = run(args)
        captured = self.capture.readouterr()
        schemas.check(captured.out.decode("utf-8", "replace"), args)
        return Result(status, captured.out, captured.err)

    def child_environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
        return {**kept, "PYTHONPATH": str(Path(__file__).parents[2]), **self.environment, **more}

    def spawn(self, *args: str, environment: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """One command line in a process of its own, which the test ends."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
        command = [sys.executable, "-m", "fleet", *args]
        return subprocess.Popen(command, env=self.child_environment(**(environment or {})), cwd=self.folder, **options)

    def child(
        self, *args: str, environment: dict[str, str] | None = None, data: bytes | None = None, **options: Any
    ) -> Result:
        """One command line in a process of its own, to its end."""
        if data is not None:
            options["stdin"] = subprocess.PIPE
        with self.spawn(*args, environment=environment, **options) as process:
            out, err = process.communicate(data, timeout=TIMEOUT)
        schemas.check((out or b"").decode("utf-8", "replace"), args)
        return Result(process.returncode, out or b"", err or b"")


@contextmanager
def fleet_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Fleet]:
    """fleet in an empty folder that is its home's too; what it was pointed at ends with the block."""
    home = folder / "home"
    home.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    made = Fleet(capsysbinary, monkeypatch, folder, {"HOME": str(home)})
    try:
        yield made
    finally:
        if made.thread is not None:
            made.thread.stop()


def client(name: str, address: str = "203.0.113.9", port: int | None = None, **more: Any) -> SimulatedClient:
    return SimulatedClient(name, address, port, **more)


def daemon(release: str = "2.6.14", clients: Iterable[SimulatedClient | str] = (), **more: Any) -> SimulatedDaemon:
    """A daemon whose clients do not come back."""
    who = [client(one) if isinstance(one, str) else one for one in clients]
    return SimulatedDaemon(release, clients=who, reconnect=NEVER, **more)


def small_farm() -> Farm:
    """Three servers in two groups: edge-1 and gw/udp, gw/tcp behind one host; no client comes back."""
    farm = Farm()
    farm.add("edge-1", daemon("2.6.14", ["Test-Client", "Doe, Jane"], uptime=90_000.0), group="eu")
    farm.add(
        "gw",
        {
            "udp": ("127.0.0.1:7505", daemon("2.7.6", ["Test-Client", "col:on"])),
            "tcp": ("/run/tcp.sock", daemon("2.4.12", ["alice"], protocol="tcp4-server", password=b"pw")),
        },
        group="us",
    )
    return farm


def farm_with_a_server_down() -> Farm:
    farm = small_farm()
    farm.add("down", daemon(), group="us", reach=Reach.DOWN)
    return farm
