"""The cheaper way through asyncssh keeps every promise of the stock one, and can be switched off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncssh
import pytest

from fleet import errors
from fleet.inventory.model import SSHSettings
from fleet.transport import SSHOptions, Transport, lean
from fleet.transport.dial import Gathered
from fleet.transport.lean import Templates
from lab.processes import FreePorts, Processes
from lab.sshd import SSHServers
from support.sshd import GREETING, SSHD, USER_KEY, Daemon, Home, a_server

OPTIONS = SSHOptions(connect_timeout=30)

Methods = list[tuple[bytes, int]]
"""Of each request to log in: its method, and the length of its signature."""


@pytest.fixture(params=["lean", "stock"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either way through asyncssh."""
    if request.param == "stock":
        monkeypatch.setenv(lean.SWITCH, "stock")
    return str(request.param)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Methods:
    """What was asked of SSH servers, in order."""
    found: Methods = []
    send = asyncssh.SSHClientConnection.send_userauth_request

    async def note(
        self: asyncssh.SSHClientConnection, method: bytes, *args: bytes, key: object = None, **more: bool
    ) -> None:
        found.append((method, int(key is not None)))
        await send(self, method, *args, key=key, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncssh.SSHClientConnection, "send_userauth_request", note)
    return found


async def ask(port: int, daemon: Daemon, user: str | None = None) -> bytes:
    server = a_server("edge", SSHSettings("127.0.0.1", port=port, user=user), daemon.endpoint)
    async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
        return await stream.read()


async def test_the_first_key_is_signed_at_once(sshd: SSHD, daemon: Daemon, requests: Methods) -> None:
    assert await ask(sshd.port, daemon) == GREETING
    assert requests == [(b"publickey", 1)]


async def test_the_switch(sshd: SSHD, daemon: Daemon, requests: Methods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lean.SWITCH, "stock")
    assert await ask(sshd.port, daemon) == GREETING
    assert requests == [(b"none", 0), (b"publickey", 0), (b"publickey", 1)]


def test_another_version_is_used_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Templates({}).stock
    monkeypatch.setattr(asyncssh, "__version__", "2.99.0")
    assert Templates({}).stock


async def test_a_refused_key_is_followed_by_the_next(daemon: Daemon, home: Home, requests: Methods) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    for name, key in (("first", stranger), ("second", USER_KEY)):
        (home.path / ".ssh" / name).write_bytes(key.export_private_key())
    home.write("config", "".join(f"IdentityFile {home.path}/.ssh/{name}\n" for name in ("first", "second")))
    async with SSHD().running() as sshd:
        home.know(sshd.known())
        assert await ask(sshd.port, daemon) == GREETING
    assert requests == [(b"publickey", 1), (b"publickey", 1)]


async def test_a_server_that_asks_for_nothing(daemon: Daemon, home: Home, way: str, requests: Methods) -> None:
    class Open(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - asyncssh's signature
            return False

        def connection_requested(self, *_where: object) -> bool:
            return True

    key = asyncssh.generate_private_key("ssh-ed25519")
    async with asyncssh.listen("127.0.0.1", 0, server_factory=Open, server_host_keys=[key]) as server:
        home.know(f"[127.0.0.1]:{server.get_port()} {key.export_public_key().decode()}")
        assert await ask(server.get_port(), daemon) == GREETING
    assert len(requests) == 1, way


async def test_nothing_is_offered_to_a_wrong_host(sshd: SSHD, daemon: Daemon, home: Home, requests: Methods) -> None:
    home.know(sshd.known(key=asyncssh.generate_private_key("ssh-ed25519")))
    with pytest.raises(errors.HostKeyChangedError):
        await ask(sshd.port, daemon)
    assert (requests, sshd.users) == ([], [])


async def test_two_hosts_of_one_ssh_config_are_two(daemon: Daemon, home: Home, way: str) -> None:
    async with SSHD().running() as one, SSHD().running() as two:
        home.know(one.known(), two.known())
        home.write(
            "config",
            "".join(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {name}\n"
                for name, sshd in (("a", one), ("b", two))
            ),
        )
        servers = [a_server(name, SSHSettings(name), daemon.endpoint) for name in ("a", "b")]
        async with Transport(servers, OPTIONS) as transport:
            for server in servers:
                async with transport.channel(server) as stream:
                    assert await stream.read() == GREETING
        assert (one.users, two.users) == (["a"], ["b"]), way


class Wire:
    """What a transport is to asyncssh."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    close = abort


async def test_what_is_written_in_one_turn_is_one_piece() -> None:
    wire = Wire()
    gathered = Gathered(wire)
    gathered.write(b"a")
    gathered.write(b"b")
    assert wire.written == []
    gathered.close()
    assert (wire.written, wire.closing) == ([b"ab"], True)
    gathered.write(b"c")
    gathered.abort()
    assert wire.written == [b"ab"]


async def test_what_belongs_together_is_waited_for() -> None:
    wire = Wire()
    gathered = Gathered(wire)
    gathered.write(b"a")
    gathered.wait_a_turn()
    asyncio.get_running_loop().call_soon(gathered.write, b"b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.written == [b"ab"]
    gathered.wait_a_turn()  # there is nothing that would wait
    gathered.write(b"c")
    await asyncio.sleep(0)
    assert wire.written == [b"ab", b"c"]


MSG_SERVICE_REQUEST = 5


@pytest.mark.parametrize("breaks_off", [True, False])
async def test_a_server_that_does_not_bear_haste_is_asked_in_the_way_of_asyncssh(
    sshd: SSHD, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, *, breaks_off: bool
) -> None:
    """It hangs up, or complains, when it has been sent anything before it accepted the service."""
    handlers = asyncssh.SSHServerConnection._packet_handlers
    accept = handlers[MSG_SERVICE_REQUEST]

    async def wary(conn: asyncssh.SSHServerConnection, kind: int, number: int, packet: object) -> None:
        await asyncio.sleep(0.2)
        if conn._inpbuf:
            if breaks_off:
                raise asyncssh.ProtocolError("this is too early")
            conn.abort()
            return
        accept(conn, kind, number, packet)  # type: ignore[arg-type, call-arg]  # as asyncssh calls it

    monkeypatch.setattr(asyncssh.SSHServerConnection, "_packet_handlers", {**handlers, MSG_SERVICE_REQUEST: wary})
    assert await ask(sshd.port, daemon) == GREETING
    assert sshd.connections == 2


class OpenSSH:
    """An SSH server of OpenSSH's, and the operator's keys."""

    def __init__(self, servers: SSHServers, home: Home) -> None:
        self.servers = servers
        self.home = home

    def offer(self, *keys: asyncssh.SSHKey) -> None:
        """These are the operator's keys, in this order."""
        for number, key in enumerate(keys):
            self.home.write(f"key{number}", key.export_private_key().decode())
        names = "".join(f"IdentityFile {self.home.path}/.ssh/key{number}\n" for number in range(len(keys)))
        self.home.write("config", names)

    async def start(self, authorized: Sequence[asyncssh.SSHKey], *options: str) -> int:
        """Let these keys in; what the options say wins over the lab's own. The port."""
        port, keys = FreePorts().take(), self.home.write("let-in", "")
        keys.write_bytes(b"".join(key.export_public_key() for key in authorized))
        own = [f"Port {port}", "ListenAddress 127.0.0.1", f"AuthorizedKeysFile {keys}", *options]
        config, line = self.servers.configure("edge")
        config.write_text("\n".join([*own, config.read_text()]))  # of each option the first counts
        self.servers._processes.start("sshd", self.servers.command("edge", "-D"))
        await reachable(port)
        self.home.know(f"[127.0.0.1]:{port} {line}\n")
        return port


@pytest.fixture
def openssh(tmp_path: Path, home: Home) -> Iterator[OpenSSH]:
    with Processes() as processes:
        yield OpenSSH(SSHServers(tmp_path / "sshd", processes), home)


def new_key(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)


@pytest.mark.lab
@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
async def test_openssh_with_two_tries(openssh: OpenSSH, daemon: Daemon, way: str, kind: str) -> None:
    """A first key that is refused, then the right one, of each type, is two tries."""
    right = new_key(kind)
    openssh.offer(new_key(), right)
    port = await openssh.start([right], "MaxAuthTries 2")
    assert await ask(port, daemon, "root") == GREETING, way


@pytest.mark.lab
async def test_openssh_that_wants_two_keys(openssh: OpenSSH, daemon: Daemon, way: str) -> None:
    keys = [new_key(), new_key()]
    openssh.offer(*keys)
    port = await openssh.start(keys, "MaxAuthTries 2", "AuthenticationMethods publickey,publickey")
    assert await ask(port, daemon, "root") == GREETING, way


@pytest.mark.lab
@pytest.mark.parametrize("second", ["password", "keyboard-interactive"])
async def test_openssh_that_wants_more_than_a_key(openssh: OpenSSH, daemon: Daemon, way: str, second: str) -> None:
    key = new_key()
    openssh.offer(key)
    port = await openssh.start([key], f"AuthenticationMethods publickey,{second}", "KbdInteractiveAuthentication yes")
    with pytest.raises(errors.AuthFailedError, match=r"^user root was not let in$"):
        await ask(port, daemon, "root")
    assert "Partial publickey" in openssh.servers.log("edge"), way


@pytest.mark.lab
async def test_openssh_that_refuses_the_only_key(openssh: OpenSSH, daemon: Daemon, way: str) -> None:
    """It was not too many: the question at the end, whether one may come in without a key, is not one to be told of."""
    openssh.offer(new_key())
    port = await openssh.start([new_key()], "MaxAuthTries 2")
    with pytest.raises(errors.AuthFailedError, match=r"^user root was not let in$"):
        await ask(port, daemon, "root")
    assert openssh.servers.log("edge").count("Connection from 127.0.0.1") <= 2, way  # the first asked only if it is up


async def reachable(port: int) -> None:
    """Wait until somebody listens there; the test's own timeout is the limit."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return
