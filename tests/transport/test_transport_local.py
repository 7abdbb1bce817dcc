"""`connection: local`: a socket of this machine, with the same codes."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from fleet import errors
from fleet.inventory.model import ManagementEndpoint, TCPEndpoint, UnixEndpoint
from fleet.transport import SSHOptions, Transport
from support.sshd import GREETING, Daemon, a_server, raw_server


async def ask(endpoint: ManagementEndpoint, connect_timeout: float = 5) -> bytes:
    server = a_server("here", None, endpoint)
    options = SSHOptions(connect_timeout=connect_timeout)
    async with Transport([server], options) as transport, transport.channel(server) as stream:
        greeting = await stream.read()
        await stream.write(b"pid\n")
        assert await stream.read() == b"pid\n"
        return greeting


async def test_both_kinds(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    async with Daemon().running() as tcp, Daemon().running(path) as unix:
        assert await ask(tcp.endpoint) == GREETING
        assert await ask(UnixEndpoint(str(path))) == GREETING
        await tcp.gone()
        await unix.gone()


@pytest.mark.parametrize("kind", ["port", "missing", "file", "long"])
async def test_nobody_there(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    file.touch()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        endpoint: ManagementEndpoint = {
            "port": TCPEndpoint("127.0.0.1", sock.getsockname()[1]),
            "missing": UnixEndpoint(str(tmp_path / "missing")),
            "file": UnixEndpoint(str(file)),
            "long": UnixEndpoint("/" + "x" * 200),
        }[kind]
        with pytest.raises(errors.ManagementClosedError) as caught:
            await ask(endpoint)
    assert str(endpoint) in caught.value.message


async def test_no_such_host() -> None:
    with pytest.raises(errors.DNSError):
        await ask(TCPEndpoint("no-such-host.invalid", 7505))


def test_a_name_server_that_hangs_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the answer for this server nor the end of the loop, which waits for asyncio's own threads."""
    done, real = threading.Event(), socket.getaddrinfo

    def hanging(host: str, *arguments: Any, **options: Any) -> object:
        if host == "slow" and socket.AI_NUMERICHOST not in (*arguments, options.get("flags")):
            done.wait(60)
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    ended = threading.Event()

    async def main() -> None:
        with pytest.raises(errors.ManagementBusyError):
            await ask(TCPEndpoint("slow", 7505), connect_timeout=0.2)

    def run() -> None:
        asyncio.run(main())
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    in_time = ended.wait(30)
    done.set()
    thread.join()
    assert in_time


async def test_a_name_of_this_machine() -> None:
    async with Daemon().running() as tcp:
        assert isinstance(tcp.endpoint, TCPEndpoint)
        assert await ask(TCPEndpoint("localhost", tcp.endpoint.port)) == GREETING
        await tcp.gone()


async def test_a_full_queue(tmp_path: Path) -> None:
    """Three wait already (protocol-facts 6.2): a unix socket's queue is full at once, and not connected."""
    path = tmp_path / "m.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(0)
        waiting = []
        for _ in range(2):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            waiting.append((one, one.connect_ex(str(path))))
        assert waiting[-1][1] != 0
        with pytest.raises(errors.ManagementBusyError) as caught:
            await ask(UnixEndpoint(str(path)), connect_timeout=0.3)
        for one, _ in waiting:
            one.close()
    assert caught.value.message == f"{path} took no connection within 0.3 s: another management client holds it"


async def test_a_reset_is_a_lost_connection() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with raw_server(reset) as port:
        server = a_server("here", None, TCPEndpoint("127.0.0.1", port))
        async with Transport([server]) as transport, transport.channel(server) as stream:
            await stream.write(b"pid\n")
            with pytest.raises(errors.ConnectionLostError):
                await stream.read()
            with pytest.raises(errors.ConnectionLostError):  # noqa: PT012 - the first write may still be taken
                for _ in range(10):
                    await stream.write(b"pid\n" * 1000)


async def test_an_end_of_file() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with raw_server(leave) as port:
        server = a_server("here", None, TCPEndpoint("127.0.0.1", port))
        async with Transport([server]) as transport, transport.channel(server) as stream:
            assert await stream.read() == b""
