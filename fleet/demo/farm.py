"""Hosts with an SSH server each, in this process: what is between fleet and simulated daemons.

    farm = Farm()
    farm.add("edge-1", SimulatedDaemon("2.6.14", clients=believable_clients(5)))
    farm.add("bastion")
    farm.add("gw", {"udp": ("127.0.0.1:7505", udp), "tcp": ("/run/openvpn/tcp.sock", tcp)}, jump="bastion")
    async with farm:
        ...                       # farm["gw/udp"].daemon, farm.hosts["edge-1"].port, farm.user_key

All servers listen on 127.0.0.1, each on a free port of its own: other loopback addresses do not exist everywhere.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

import asyncssh

from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.serve import ManagementServer, Reader, Writer, cancel

USER = "demo"  # who may log in
DEFAULT_ENDPOINT = "127.0.0.1:7505"
_BACKLOG = 512

_Handler = Callable[[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]], Awaitable[None]]


class Reach(Enum):
    """How far a connection to the host's SSH port comes."""

    UP = "it is served"
    DOWN = "it is refused"
    SILENT = "it is accepted, and then nothing is ever said"


class KnownKey(Enum):
    """Which host key the operator knows for a host."""

    RIGHT = "its own"
    CHANGED = "another one"
    UNKNOWN = "none"


@dataclass(slots=True, eq=False)
class SimulatedHost:
    """One host with an SSH server.

    Attributes:
        name: as in the inventory.
        management: its daemons' interfaces by label; one without a label is under "".
        group: of the inventory, or None.
        jump: name of the host that it is to be reached through.
        reach: set before the farm starts.
        known_key: what known_hosts and pins of the workspace say, set before they are written.
        forwarding: whether its sshd allows channels; may be switched at any time.
        accepts_key: whether the user's key may log in; may be switched at any time.
        drops: so many connections from now on are closed before anything is said, as MaxStartups does.
        port: of 127.0.0.1, once the farm runs.
        host_key: its own, once the farm runs.
        connections: TCP connections accepted so far.
        logins: how many of them were authenticated.
        handshakes: how many of them are not yet authenticated and not closed.
        peak_handshakes: the most of them at one time.
        open_connections: how many there are now.
        channels: channels asked for so far, whether granted or not.
    """

    name: str
    management: dict[str, ManagementServer] = field(default_factory=dict)
    group: str | None = None
    jump: str | None = None
    reach: Reach = Reach.UP
    known_key: KnownKey = KnownKey.RIGHT
    forwarding: bool = True
    accepts_key: bool = True
    drops: int = 0
    port: int = 0
    host_key: asyncssh.SSHKey | None = None
    connections: int = 0
    logins: int = 0
    handshakes: int = 0
    peak_handshakes: int = 0
    open_connections: int = 0
    channels: int = 0

    @property
    def public_key(self) -> str:
        """`TYPE BASE64` of the host key that the operator knows, as known_hosts and pins have it.

        Raises:
            RuntimeError: the farm does not run yet.
        """
        if self.host_key is None:
            raise RuntimeError("a host has its key once the farm runs")
        shown = self.host_key if self.known_key is KnownKey.RIGHT else asyncssh.generate_private_key("ssh-ed25519")
        return " ".join(shown.export_public_key().decode().split()[:2])

    def interface(self, endpoint: str) -> ManagementServer | None:
        """Who listens on an endpoint of this host, if anybody does."""
        found = (server for server in self.management.values() if server.endpoint == endpoint and server.listens)
        return next(found, None)


class Farm:
    """All hosts together; an async context manager that starts and stops them.

    Attributes:
        hosts: by name, in the order in which they were added.
        user_key: the only key that may log in, as USER.
    """

    def __init__(self) -> None:
        """An empty farm."""
        self.hosts: dict[str, SimulatedHost] = {}
        self.user_key = asyncssh.generate_private_key("ssh-ed25519", comment="fleet demo")
        self._user_public_key = self.user_key.convert_to_public()
        self._by_port: dict[int, SimulatedHost] = {}
        self._acceptors: list[asyncssh.SSHAcceptor] = []
        self._sockets: list[socket.socket] = []
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(
        self,
        name: str,
        management: SimulatedDaemon | Mapping[str, tuple[str, SimulatedDaemon]] | None = None,
        *,
        group: str | None = None,
        jump: str | None = None,
        reach: Reach = Reach.UP,
        known_key: KnownKey = KnownKey.RIGHT,
        forwarding: bool = True,
        accepts_key: bool = True,
    ) -> SimulatedHost:
        """Adds a host; before the farm starts.

        Args:
            name: as in the inventory.
            management: its daemon, on DEFAULT_ENDPOINT; or by label, with endpoints; None: a jump host.
            group: of the inventory.
            jump: name of a host that was added before.
            reach: how far a connection comes.
            known_key: what the operator knows.
            forwarding: whether its sshd allows channels.
            accepts_key: whether the user's key may log in.
        """
        if isinstance(management, SimulatedDaemon):
            management = {"": (DEFAULT_ENDPOINT, management)}
        interfaces = {
            label: ManagementServer(daemon, endpoint) for label, (endpoint, daemon) in (management or {}).items()
        }
        host = self.hosts[name] = SimulatedHost(
            name, interfaces, group, jump, reach, known_key, forwarding=forwarding, accepts_key=accepts_key
        )
        return host

    def __getitem__(self, server: str) -> ManagementServer:
        """The management interface of a server by its name in the inventory: `edge-1`, or `gw/udp`."""
        if server in self.hosts:
            return self.hosts[server].management[""]
        host, _, label = server.rpartition("/")
        return self.hosts[host].management[label]

    async def __aenter__(self) -> Self:
        try:
            for host in self.hosts.values():
                await self._start(host)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Closes every listener, connection and session, and waits for them."""
        for host in self.hosts.values():
            for server in host.management.values():
                server.daemon.shut_down()
        for acceptor in self._acceptors:
            acceptor.close()
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        await cancel(self._tasks)
        for connection in connections:
            await connection.wait_closed()
        for acceptor in self._acceptors:
            await acceptor.wait_closed()
        for bound in self._sockets:
            bound.close()
        self._acceptors.clear()
        self._sockets.clear()
        await asyncio.sleep(0)  # transports close one turn of the loop after their connections

    async def _start(self, host: SimulatedHost) -> None:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sockets.append(bound)  # a host that is down keeps its port, so that nobody else listens there
        bound.bind(("127.0.0.1", 0))
        bound.setblocking(False)
        host.port = bound.getsockname()[1]
        host.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._by_port[host.port] = host
        if host.reach is Reach.SILENT:
            bound.listen(_BACKLOG)
        elif host.reach is Reach.UP:
            acceptor = await asyncssh.listen(
                sock=bound,
                backlog=_BACKLOG,
                config=None,
                server_factory=lambda: _SSHServer(self, host),
                server_host_keys=[host.host_key],
                process_factory=None,
            )
            self._acceptors.append(acceptor)

    def may_log_in(self, key: asyncssh.SSHKey) -> bool:
        """Whether this is the user's key."""
        return key == self._user_public_key

    def leads_on(self, host: SimulatedHost, address: str, port: int) -> bool:
        """Whether a jump host may open a connection there: only to SSH ports of hosts behind it."""
        behind = self._by_port.get(port)
        return address == "127.0.0.1" and behind is not None and behind.jump == host.name

    def connected(self, connection: asyncssh.SSHServerConnection) -> None:
        """An SSH connection was accepted."""
        self._connections.add(connection)

    def disconnected(self, connection: asyncssh.SSHServerConnection) -> None:
        """An SSH connection is gone."""
        self._connections.discard(connection)

    async def serve(self, server: ManagementServer, reader: Reader, writer: Writer) -> None:
        """Serves a channel to a management interface."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with suppress(asyncssh.Error):  # the SSH connection below was lost: the same as a client that has gone
            await server.serve(reader, writer)


class _SSHServer(asyncssh.SSHServer):
    """One SSH connection to one host."""

    def __init__(self, farm: Farm, host: SimulatedHost) -> None:
        self._farm = farm
        self._host = host
        self._authenticated = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        host = self._host
        host.connections += 1
        host.open_connections += 1
        host.handshakes += 1
        host.peak_handshakes = max(host.peak_handshakes, host.handshakes)
        self._connection = conn
        self._farm.connected(conn)
        if host.drops:
            host.drops -= 1
            conn.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._farm.disconnected(self._connection)
        self._host.open_connections -= 1
        if not self._authenticated:
            self._host.handshakes -= 1

    def begin_auth(self, _username: str) -> bool:
        return True

    def auth_completed(self) -> None:
        self._authenticated = True
        self._host.handshakes -= 1
        self._host.logins += 1

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and self._host.accepts_key and self._farm.may_log_in(key)

    def connection_requested(self, dest_host: str, dest_port: int, _orig_host: str, _orig_port: int) -> bool | _Handler:
        self._admit()
        if self._farm.leads_on(self._host, dest_host, dest_port):
            return True
        return self._handler(f"{dest_host}:{dest_port}")

    def unix_connection_requested(self, dest_path: str) -> _Handler:
        self._admit()
        return self._handler(dest_path)

    def _admit(self) -> None:
        self._host.channels += 1
        if not self._host.forwarding:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")

    def _handler(self, endpoint: str) -> _Handler:
        server = self._host.interface(endpoint)
        if server is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "Connection refused")
        return lambda reader, writer: self._farm.serve(server, reader, writer)
