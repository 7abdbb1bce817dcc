"""Cancelled at any step, a transport leaves no task, no socket, no connection at the other side, and no word.

With the cheaper way through asyncssh (fleet/transport/lean.py) and with asyncssh as it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fleet.inventory.model import Server, UnixEndpoint
from fleet.transport import Transport
from fleet.transport.lean import SWITCH, Templates
from lab.processes import descendants
from support.sshd import GREETING, OPTIONS, SSHD, Daemon, Home, a_server, ssh, until
from support.steps import Steps, open_sockets

MAX_STEPS = 2000
EACH = 60
"""Steps each of which is the last one of some run. The connections are made in them; what comes then repeats itself."""

SLOW = pytest.mark.timeout(600)  # some hundred runs; seconds, but on a busy machine minutes
Scene = Callable[[], contextlib.AbstractAsyncContextManager[tuple[list[Server], Callable[[], Awaitable[None]]]]]


async def one_run(servers: list[Server]) -> None:
    async with Transport(servers, OPTIONS) as transport:

        async def ask(server: Server) -> None:
            async with transport.channel(server) as stream:
                assert await stream.read() == GREETING
                await stream.write(b"pid\n")
                assert await stream.read() == b"pid\n"

        await asyncio.gather(*(ask(server) for server in servers))


async def cancel_at_every_step(steps: Steps, scene: Scene) -> int:
    """How many steps a whole run takes; each of the first, and every third one later, was the last one of some run."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    async with scene() as (servers, settled):
        await one_run(servers)
        await settled()
        sockets = open_sockets()
        for number in [*range(EACH), *range(EACH, MAX_STEPS, 3)]:
            task = asyncio.ensure_future(one_run(servers))
            steps.left, steps.then = number, task.cancel
            await asyncio.wait([task])
            steps.left = None
            left = [one for one in asyncio.all_tasks() if "/fleet/" in repr(one)]
            await settled()
            await until(lambda: open_sockets() <= sockets)
            assert (left, complaints) == ([], []), f"cancelled after {number} steps"
            if not task.cancelled():
                task.result()
                return number
    raise AssertionError("no run came to its end")


def _of_the_jump_host(record: logging.LogRecord) -> bool:
    """Whether the test's own jump host complains: of what it still had for somebody who has gone.

    Nobody else here forwards by asyncssh's forward.py; a transport of fleet's that wrote to a lost connection would
    complain in the same words.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.endswith("asyncssh/forward.py"):
            return record.getMessage() == "socket.send() raised exception."
        frame = frame.f_back
    return False


def cancelled(scene: Scene, at_least: int, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    caplog.handler.addFilter(lambda record: not _of_the_jump_host(record))
    with asyncio.Runner(loop_factory=steps.loop) as runner:
        assert runner.run(cancel_at_every_step(steps, scene)) >= at_least
        gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.fixture(params=["lean", "stock"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How asyncssh is used."""
    monkeypatch.setenv(SWITCH, request.param)
    assert Templates().stock is (request.param == "stock")
    return str(request.param)


OVER_SSH = pytest.mark.usefixtures("way")


@SLOW
@OVER_SSH
def test_on_the_way_to_two_daemons(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[tuple[list[Server], Callable[[], Awaitable[None]]]]:
        async with SSHD().running() as sshd, Daemon().running() as daemon:
            home.know(sshd.known())

            async def settled() -> None:
                await sshd.gone()
                await daemon.gone()

            yield [a_server(name, ssh(sshd.port), daemon.endpoint) for name in ("a", "b")], settled

    cancelled(scene, 40, caplog)


@SLOW
@OVER_SSH
def test_behind_a_jump_host(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[tuple[list[Server], Callable[[], Awaitable[None]]]]:
        async with SSHD().running() as bastion, SSHD().running(listeners=2) as inner, Daemon().running() as daemon:
            home.know(bastion.known(), inner.known())

            async def settled() -> None:
                await bastion.gone()
                await inner.gone()
                await daemon.gone()

            jump = ssh(bastion.port)
            yield [a_server(f"s{port}", ssh(port, jump=jump), daemon.endpoint) for port in inner.ports], settled

    cancelled(scene, 80, caplog)


@SLOW
@OVER_SSH
def test_behind_a_name_and_a_proxy_command(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[tuple[list[Server], Callable[[], Awaitable[None]]]]:
        async with SSHD().running() as sshd, Daemon().running() as daemon:
            home.know(sshd.known("localhost"), sshd.known("edge"))
            home.write("config", f"Host edge\n  ProxyCommand {home.relay()} 127.0.0.1 {sshd.port}\n")
            before = set(descendants([os.getpid()]))  # the lab's, where its tests ran in this process

            async def settled() -> None:
                await sshd.gone()
                await daemon.gone()
                await until(lambda: before.issuperset(descendants([os.getpid()])))

            yield [a_server(name, ssh(sshd.port, name), daemon.endpoint) for name in ("localhost", "edge")], settled

    cancelled(scene, 40, caplog)


@SLOW
def test_on_the_way_to_a_local_daemon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[tuple[list[Server], Callable[[], Awaitable[None]]]]:
        path = tmp_path / "m.sock"
        async with Daemon().running(path) as unix, Daemon().running() as tcp:

            async def settled() -> None:
                await unix.gone()
                await tcp.gone()

            yield [a_server("unix", None, UnixEndpoint(str(path))), a_server("tcp", None, tcp.endpoint)], settled

    cancelled(scene, 5, caplog)


@OVER_SSH
async def test_again_and_again_while_closing(sshd: SSHD, daemon: Daemon) -> None:
    sshd.auth_delay = 5  # or all may be done before the first look
    task = asyncio.ensure_future(one_run([a_server("a", ssh(sshd.port), daemon.endpoint)]))
    await until(lambda: sshd.users)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    await sshd.gone()
