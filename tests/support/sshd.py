"""An SSH server, and a daemon behind it, in the test's own loop; each misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from fleet.errors import ServerError
from fleet.inventory.model import ManagementEndpoint, Server, SSHSettings, TCPEndpoint
from fleet.transport import SSHOptions, Transport

GREETING = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
RELAY = """
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := os.read(0, 65536): there.sendall(data)
    there.shutdown(1)
threading.Thread(target=up, daemon=True).start()
while data := there.recv(65536): os.write(1, data)
"""
USER_KEY = asyncssh.generate_private_key("ssh-ed25519", comment="the-test-user")


def public_line(key: asyncssh.SSHKey) -> str:
    """A public key as it stands in a file: type and base64, without a comment."""
    return " ".join(key.export_public_key().decode().split()[:2])


async def until(condition: Callable[[], object]) -> None:
    """Wait for what the other side does; the test's own timeout is the limit."""
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.005)


async def ask(transport: Transport, server: Server) -> bytes:
    """The first bytes of the server's daemon."""
    async with transport.channel(server) as stream:
        return await stream.read()


async def failed(transport: Transport, server: Server) -> ServerError:
    """What keeps them from coming."""
    with pytest.raises(ServerError) as caught:
        await ask(transport, server)
    return caught.value


@dataclass
class SSHD:
    """One SSH server.

    Attributes:
        refuse_auth: let nobody in.
        refuse_forwarding: open no channel.
        drop: close so many of the next connections before the SSH greeting.
        auth_delay, channel_delay: seconds before a login or a channel goes on.
        connections, open, most_open: how many there were, there are, and there were at a time.
        logins, most_logins: how many logins go on, and went on at a time.
        channels: what was asked for, as `host:port` or a path.
    """

    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    certificate: asyncssh.SSHCertificate | None = None
    more_host_keys: tuple[asyncssh.SSHKey, ...] = ()
    authorized: tuple[asyncssh.SSHKey, ...] = (USER_KEY,)
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    refuse_auth: bool = False
    refuse_forwarding: bool = False
    drop: int = 0
    auth_delay: float = 0.0
    channel_delay: float = 0.0
    connections: int = 0
    open: int = 0
    most_open: int = 0
    logins: int = 0
    most_logins: int = 0
    users: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    peers: set[asyncssh.SSHServerConnection] = field(default_factory=set)

    @property
    def port(self) -> int:
        return self.ports[0]

    def known(self, host: str = "127.0.0.1", key: asyncssh.SSHKey | None = None) -> str:
        """The known_hosts lines of the server."""
        line = public_line(key or self.host_key)
        return "".join(f"[{host}]:{port} {line}\n" for port in self.ports)

    async def gone(self) -> None:
        """Wait until no client is connected."""
        await until(lambda: not self.open)

    @contextlib.asynccontextmanager
    async def running(self, listeners: int = 1, address: str = "127.0.0.1", **options: Any) -> AsyncIterator[SSHD]:
        """Listen on so many ports of an address of this machine."""
        acceptors = []
        host_key: Any = (self.host_key, self.certificate) if self.certificate else self.host_key
        try:
            for _ in range(listeners):
                acceptor = await asyncssh.listen(
                    address,
                    0,
                    server_factory=lambda: _Session(self),
                    server_host_keys=[host_key, *self.more_host_keys],
                    authorized_client_keys=asyncssh.import_authorized_keys(
                        "".join(f"{public_line(key)}\n" for key in self.authorized)
                        + "".join(f"cert-authority {public_line(key)}\n" for key in self.authorities)
                    ),
                    login_timeout=0,
                    **options,
                )
                acceptors.append(acceptor)
                self.ports.append(acceptor.get_port())
            yield self
        finally:
            for acceptor in acceptors:
                acceptor.close()
            for peer in list(self.peers):
                peer.abort()
                await peer.wait_closed()
            for acceptor in acceptors:
                await acceptor.wait_closed()


class _Session(asyncssh.SSHServer):
    def __init__(self, sshd: SSHD) -> None:
        self._sshd = sshd
        self._counted = False
        self._logging_in = False
        self._peer: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        sshd, self._peer = self._sshd, conn
        sshd.connections += 1
        if sshd.drop:
            sshd.drop -= 1
            conn.abort()
            return
        self._counted = self._logging_in = True
        sshd.peers.add(conn)
        sshd.open += 1
        sshd.logins += 1
        sshd.most_open = max(sshd.most_open, sshd.open)
        sshd.most_logins = max(sshd.most_logins, sshd.logins)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's signature
        if self._counted:
            self._sshd.open -= 1
            self._sshd.peers.discard(self._peer)  # type: ignore[arg-type]  # counted: there is a peer
        self._logged_in()

    def _logged_in(self) -> None:
        if self._logging_in:
            self._sshd.logins -= 1
            self._logging_in = False

    async def begin_auth(self, username: str) -> bool:
        self._sshd.users.append(username)
        await asyncio.sleep(self._sshd.auth_delay)
        if self._sshd.refuse_auth:
            assert self._peer is not None
            self._peer.set_authorized_keys(asyncssh.import_authorized_keys(""))
        return True

    def auth_completed(self) -> None:
        self._logged_in()

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:  # noqa: ARG002 - asyncssh's signature
        self._sshd.channels.append(f"{dest_host}:{dest_port}")
        assert self._peer is not None
        return self._forward(self._peer.forward_connection, dest_host, dest_port)

    def unix_connection_requested(self, dest_path: str) -> Any:
        self._sshd.channels.append(dest_path)
        assert self._peer is not None
        return self._forward(self._peer.forward_unix_connection, dest_path)

    def _forward(self, forward: Callable[..., Awaitable[Any]], *where: Any) -> Any:
        if self._sshd.refuse_forwarding:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")

        async def later() -> Any:
            await asyncio.sleep(self._sshd.channel_delay)
            forwarder = await forward(*where)
            if self._peer is None or self._peer.is_closed():
                forwarder.close()  # asyncssh's server forgets it when the client has gone meanwhile
            return forwarder

        return later()


@dataclass
class Daemon:
    """A management endpoint that greets, repeats every line, and counts who is there."""

    endpoint: ManagementEndpoint = field(default_factory=lambda: TCPEndpoint("127.0.0.1", 0))
    connections: int = 0
    open: int = 0
    greets: bool = True

    async def gone(self) -> None:
        """Wait until no client is connected."""
        await until(lambda: not self.open)

    @contextlib.asynccontextmanager
    async def running(self, path: Path | None = None) -> AsyncIterator[Daemon]:
        """Listen on a free port of 127.0.0.1, or on a unix socket."""
        writers: set[asyncio.StreamWriter] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            self.connections += 1
            self.open += 1
            try:
                with contextlib.suppress(OSError):
                    if self.greets:
                        writer.write(GREETING)
                    while line := await reader.readline():
                        writer.write(line)
                        await writer.drain()
            finally:
                self.open -= 1
                writers.discard(writer)
                writer.close()

        if path is None:
            listening = await asyncio.start_server(serve, "127.0.0.1", 0)
            self.endpoint = TCPEndpoint("127.0.0.1", listening.sockets[0].getsockname()[1])
        else:
            listening = await asyncio.start_unix_server(serve, str(path))
        try:
            yield self
        finally:
            listening.close()
            for writer in list(writers):
                writer.transport.abort()
            await self.gone()
            await listening.wait_closed()


@contextlib.asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A TCP server that is not an SSH server; its port."""

    async def until_done(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                await serve(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(until_done, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()


@dataclass
class Home:
    """The operator's files: nothing of the developer's own ~/.ssh is read."""

    path: Path

    def __post_init__(self) -> None:
        (self.path / ".ssh").mkdir(mode=0o700)
        self.write("id_ed25519", USER_KEY.export_private_key().decode())

    def write(self, name: str, text: str) -> Path:
        file = self.path / ".ssh" / name
        file.write_text(text)
        file.chmod(0o600)
        return file

    def relay(self) -> str:
        """A ProxyCommand: its arguments are a host and a port."""
        return f"{sys.executable} -S {self.write('relay.py', RELAY)}"

    def know(self, *lines: str) -> Path:
        return self.write("known_hosts", "".join(lines))


OPTIONS = SSHOptions(connect_timeout=5)


def ssh(port: int, host: str = "127.0.0.1", **more: Any) -> SSHSettings:
    """Settings of a test's SSH server."""
    return SSHSettings(host, port=port, user=more.pop("user", "ops"), **more)


def a_server(name: str, settings: SSHSettings | None, endpoint: ManagementEndpoint) -> Server:
    """A server of a test's inventory."""
    return Server(name=name, host=name, ssh=settings, management=endpoint)
