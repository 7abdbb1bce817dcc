"""Names, addresses, and the names of what goes wrong on the way."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest

from fleet import errors
from fleet.inventory.model import SSHSettings
from fleet.transport import SSHOptions, Transport, failures, lean
from fleet.transport.identities import Keyring
from fleet.transport.names import MAX_LOOKUPS, Address, Names, connect_tcp
from fleet.transport.progress import Phase, Progress
from fleet.transport.resolve import Resolver
from support.sshd import GREETING, OPTIONS, SSHD, Daemon, Home, a_server, ssh


def address(sock: socket.socket) -> Address:
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", sock.getsockname())


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def closed() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port whose queue is full: nothing answers."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield sock
        for filler in fillers:
            filler.close()


def deadline(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_the_next_address_is_tried(listening: socket.socket, closed: socket.socket) -> None:
    with await connect_tcp([address(closed), address(listening)], None, deadline(5)) as sock:
        assert sock.getpeername() == listening.getsockname()


async def test_a_silent_address_leaves_time_for_the_next(listening: socket.socket, silent: socket.socket) -> None:
    with await connect_tcp([address(silent), address(listening)], None, deadline(0.4)) as sock:
        assert sock.getpeername() == listening.getsockname()


async def test_the_last_address_says_why(closed: socket.socket, silent: socket.socket) -> None:
    with pytest.raises(ConnectionRefusedError):
        await connect_tcp([address(silent), address(closed)], None, deadline(0.2))


async def test_bind_address(listening: socket.socket) -> None:
    with await connect_tcp([address(listening)], ("127.0.0.9", 0), deadline(5)) as sock:
        assert sock.getsockname()[0] == "127.0.0.9"


async def test_a_name_is_looked_up(daemon: Daemon, home: Home) -> None:
    async with SSHD().running() as sshd:
        home.know(sshd.known("localhost"))
        server = a_server("edge", ssh(sshd.port, "localhost"), daemon.endpoint)
        async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
            assert await stream.read() == GREETING


def is_lookup(*arguments: Any, **options: Any) -> bool:
    """Whether getaddrinfo is asked for a name, not for the meaning of a number."""
    return not (options.get("flags") or arguments[4:] == (socket.AI_NUMERICHOST,))


def test_a_resolver_that_hangs_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither other names, nor the end of the loop; and there are never too many threads."""
    done, asked = threading.Event(), []
    real = socket.getaddrinfo

    def hanging(host: str, *arguments: Any, **options: Any) -> object:
        if not is_lookup(*arguments, **options):
            return real(host, *arguments, **options)
        if host.startswith("slow"):
            asked.append(host)
            done.wait(60)
        return real("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)

    async def main() -> None:
        names = Names()
        slow = [asyncio.create_task(names.lookup(f"slow{number}", 22, 0)) for number in range(MAX_LOOKUPS - 1)]
        await asyncio.sleep(0)
        assert (await names.lookup("quick", 22, 0))[0][4] == ("127.0.0.1", 22)
        more = [asyncio.create_task(names.lookup(f"slow-too{number}", 22, 0)) for number in range(10)]
        while len(asked) < MAX_LOOKUPS:  # noqa: ASYNC110 - threads tell nobody
            await asyncio.sleep(0.01)
        for task in slow + more:
            task.cancel()
        await asyncio.gather(*slow, *more, return_exceptions=True)
        assert len(asked) == MAX_LOOKUPS

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 30
    done.set()


async def test_late_name(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def hanging(host: str, *arguments: Any, **options: Any) -> object:
        if is_lookup(*arguments, **options):
            done.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, host)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    server = a_server("edge", SSHSettings("slow.example.net"), daemon.endpoint)
    with pytest.raises(errors.ConnectTimeoutError, match=r"the name was not resolved within 0\.2 s"):
        async with Transport([server], SSHOptions(connect_timeout=0.2)) as transport, transport.channel(server):
            pass
    done.set()


@pytest.mark.parametrize(
    ("phase", "exc", "code", "said"),
    [
        (Phase.TCP, OSError(errno.ETIMEDOUT, "timed out"), "connect-timeout", "nothing answered on port 22"),
        (Phase.TCP, TimeoutError(errno.ETIMEDOUT, "timed out"), "connect-timeout", "nothing answered on port 22"),
        (Phase.TCP, OSError(errno.EMFILE, "files"), "connect-refused", "no file descriptor is free on this machine"),
        (Phase.TCP, OSError(errno.EHOSTUNREACH, "No route"), "connect-refused", "no way to port 22: No route"),
        (Phase.TCP, OSError("odd"), "connect-refused", "no way to port 22: odd"),
        (Phase.KEY_EXCHANGE, OSError(errno.ECONNRESET, "reset"), "connection-lost", "closed the connection before"),
        (Phase.KEY_EXCHANGE, asyncssh.MACError("bad"), "protocol", "breaks the SSH protocol: bad"),
        (Phase.LOGIN, asyncssh.DisconnectError(11, "bye\x1b"), "connection-lost", r"was ended: bye\x1b"),
        (Phase.LOGIN, asyncssh.DisconnectError(2, "Too many authentication failures"), "auth-failed", "too many keys"),
        (Phase.LOGIN, TypeError("bug"), "internal", "TypeError in the SSH connection: bug"),
    ],
)
def test_names_of_failures(phase: Phase, exc: Exception, code: str, said: str) -> None:
    resolved = Resolver(OPTIONS, Keyring()).resolve(SSHSettings("edge"))
    progress = Progress()
    progress.phase = phase
    error = failures.of_handshake(exc, resolved, progress, "Tried: nothing")
    assert error.code == code
    assert said in error.message


@pytest.mark.parametrize(
    ("where", "name"),
    [(lean, "connect"), (asyncssh.SSHClientConnectionOptions, "prepare")],
    ids=["connect", "options"],
)
async def test_a_bug_is_an_error_of_the_server(
    sshd: SSHD, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, where: object, name: str
) -> None:
    def bug(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(where, name, bug)
    server = a_server("edge", ssh(sshd.port), daemon.endpoint)
    with pytest.raises(errors.InternalError, match="TypeError in the SSH connection: a bug"):
        async with Transport([server], OPTIONS) as transport, transport.channel(server):
            pass


async def test_a_bug_at_the_channel_too(sshd: SSHD, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bug(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(asyncssh.SSHClientConnection, "open_connection", bug)
    server = a_server("edge", ssh(sshd.port), daemon.endpoint)
    with pytest.raises(errors.InternalError, match="TypeError in the SSH channel: a bug"):
        async with Transport([server], OPTIONS) as transport, transport.channel(server):
            pass


async def test_a_jump_host_with_an_error_in_ssh_config(daemon: Daemon, home: Home) -> None:
    home.write("config", "Host bastion\n  Port many\n")
    server = a_server("edge", ssh(22, jump=SSHSettings("bastion")), daemon.endpoint)
    with pytest.raises(errors.JumpFailedError, match="jump host bastion: ssh_config cannot be used"):
        async with Transport([server], OPTIONS) as transport, transport.channel(server):
            pass
