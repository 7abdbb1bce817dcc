"""The cheaper way through asyncssh keeps every promise of the stock one, and can be switched off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
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


@pytest.fixture
def openssh(tmp_path: Path) -> Iterator[SSHServers]:
    with Processes() as processes:
        yield SSHServers(tmp_path / "sshd", processes)


@pytest.mark.lab
@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
async def test_openssh_with_two_tries(openssh: SSHServers, daemon: Daemon, home: Home, way: str, kind: str) -> None:
    """A first key that is refused, then the right one, of each type, is two tries."""
    right = asyncssh.generate_private_key(kind)
    for name, key in (("first", asyncssh.generate_private_key("ssh-ed25519")), ("second", right)):
        (home.path / ".ssh" / name).write_bytes(key.export_private_key())
    home.write("config", "".join(f"IdentityFile {home.path}/.ssh/{name}\n" for name in ("first", "second")))
    port = FreePorts().take()
    (openssh._folder / "keys").write_bytes(right.export_public_key())
    options = ["MaxAuthTries 2", f"AuthorizedKeysFile {openssh._folder}/keys"]
    name = f"edge-{way}"
    _, line = openssh.configure(name, [])
    config = openssh._folder / f"{name}.conf"
    text = [text for text in config.read_text().splitlines() if not text.startswith("AuthorizedKeysFile")]
    config.write_text("\n".join([f"Port {port}", "ListenAddress 127.0.0.1", *text, *options, ""]))
    openssh._processes.start("sshd", openssh.command(name, "-D"))
    await reachable(port)
    home.know(f"[127.0.0.1]:{port} {line}\n")
    assert await ask(port, daemon, "root") == GREETING


@pytest.mark.lab
async def test_openssh_that_wants_two_keys(openssh: SSHServers, daemon: Daemon, home: Home, way: str) -> None:
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(2)]
    for number, key in enumerate(keys):
        (home.path / ".ssh" / f"key{number}").write_bytes(key.export_private_key())
    home.write("config", "".join(f"IdentityFile {home.path}/.ssh/key{number}\n" for number in range(2)))
    port = FreePorts().take()
    name = f"two-{way}"
    _, line = openssh.configure(name, [])
    (openssh._folder / "keys").write_bytes(b"".join(key.export_public_key() for key in keys))
    config = openssh._folder / f"{name}.conf"
    dropped = ("AuthorizedKeysFile", "AuthenticationMethods")
    text = [text for text in config.read_text().splitlines() if not text.startswith(dropped)]
    more = [f"AuthorizedKeysFile {openssh._folder}/keys", "AuthenticationMethods publickey,publickey"]
    config.write_text("\n".join([f"Port {port}", "ListenAddress 127.0.0.1", *text, *more, ""]))
    openssh._processes.start("sshd", openssh.command(name, "-D"))
    await reachable(port)
    home.know(f"[127.0.0.1]:{port} {line}\n")
    assert await ask(port, daemon, "root") == GREETING


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
