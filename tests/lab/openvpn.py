"""Real OpenVPN daemons on loopback, and a plain way to ask their management interfaces.

A server needs a tun device. With `ifconfig-noexec` and `route-noexec` the device stays down and gets neither address
nor route; clients have no device at all. Everything else is the real thing: TLS, pushed options, keepalive.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.pki import Authority, Credentials
from lab.processes import LabError, Processes, program, tcp_sockets, wait_until

ASK_TIMEOUT = 10.0
"""Seconds that a daemon may take for its greeting, and for each piece of a reply."""


@dataclass(frozen=True, slots=True)
class Management:
    """Where a daemon's management interface listens, and what it wants to hear first."""

    endpoint: tuple[str, int] | str
    password: str | None = None
    password_file: Path | None = None

    def __str__(self) -> str:
        """As fleet's inventory writes it."""
        return self.endpoint if isinstance(self.endpoint, str) else f"{self.endpoint[0]}:{self.endpoint[1]}"

    @property
    def directive(self) -> str:
        place = f"{self.endpoint} unix" if isinstance(self.endpoint, str) else f"{self.endpoint[0]} {self.endpoint[1]}"
        return f"management {place}" + ("" if self.password_file is None else f" {self.password_file}")

    def connect(self) -> socket.socket:
        """A connection on which nothing was read or written yet."""
        family = socket.AF_UNIX if isinstance(self.endpoint, str) else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(ASK_TIMEOUT)
        try:
            connection.connect(self.endpoint)
        except BaseException:
            connection.close()
            raise
        return connection

    def queue(self) -> int:
        """How many connections wait in front of it, the abandoned ones too; only of one with a port."""
        assert not isinstance(self.endpoint, str)
        sockets = tcp_sockets(self.endpoint[1])
        return next(entry.accept_queue for entry in sockets if entry.listens and entry.local == self.endpoint)


class Conversation:
    """One management session over a plain socket; it shares nothing with fleet's own code."""

    def __init__(self, management: Management) -> None:
        self._connection = management.connect()
        self._buffer = b""
        try:
            if management.password is not None:
                self._read_to(b"ENTER PASSWORD:")
                self._connection.sendall(f"{management.password}\n".encode())
            while not (greeting := self._line()).startswith(">INFO:"):
                pass  # SUCCESS: password is correct
        except BaseException:
            self._connection.close()
            raise
        self.greeting = greeting

    def _read_to(self, end: bytes) -> bytes:
        while end not in self._buffer:
            piece = self._connection.recv(65536)
            if not piece:
                raise LabError(f"the daemon hung up; unread: {self._buffer!r}")
            self._buffer += piece
        data, _, self._buffer = self._buffer.partition(end)
        return data

    def _line(self) -> str:
        return self._read_to(b"\r\n").decode(errors="surrogateescape")

    def ask(self, command: str) -> str:
        """The reply to one command: a SUCCESS or ERROR line, or all lines up to END, each ended by a newline."""
        self._connection.sendall(f"{command}\n".encode(errors="surrogateescape"))
        if self._connection.family == socket.AF_INET:
            # Acknowledge the greeting: the daemon sends nothing before that, and the kernel would take 40 ms for it.
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        line = self._line()
        while line.startswith(">"):  # a notification; none comes after a reply's first line
            line = self._line()
        lines = [line]
        if not line.startswith(("SUCCESS:", "ERROR:")):
            while lines[-1] != "END":
                lines.append(self._line())
        return "".join(f"{line}\n" for line in lines)

    def close(self) -> None:
        self._connection.close()


def ask(management: Management, command: str) -> str:
    """Connect, wait for the greeting, send one command, return its reply (see `Conversation.ask`)."""
    conversation = Conversation(management)
    try:
        return conversation.ask(command)
    finally:
        conversation.close()


def client_rows(status_3: str) -> list[dict[str, str]]:
    """The client rows of a `status 3` reply by the names of its header line."""
    lines = [line.split("\t") for line in status_3.split("\n")]  # names come as they are, but never hold a TAB
    header = next(line[2:] for line in lines if line[:2] == ["HEADER", "CLIENT_LIST"])
    return [dict(zip(header, line[1:], strict=True)) for line in lines if line[0] == "CLIENT_LIST"]


@dataclass(frozen=True, slots=True)
class Daemon:
    """An OpenVPN server process."""

    name: str
    management: Management
    log: Path
    port: int
    protocol: str
    client_names: tuple[str, ...]

    def ask(self, command: str) -> str:
        return ask(self.management, command)

    def clients(self) -> list[dict[str, str]]:
        """Rows of the clients whose handshake is done; none while the daemon restarts."""
        status = self.ask("status 3")
        if status.startswith("ERROR:"):  # "not supported by the current daemon mode", in the restart pause
            return []
        return [row for row in client_rows(status) if row["Virtual Address"]]


def _config(path: Path, directives: Sequence[str]) -> Path:
    path.write_text("\n".join([*directives, ""]))
    return path


class VPN:
    """The OpenVPN servers and clients of one lab."""

    def __init__(self, folder: Path, processes: Processes, authority: Authority, *, tun_prefix: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._processes = processes
        self._authority = authority
        self._openvpn = program("openvpn")
        self._tun_prefix = tun_prefix
        self._server_credentials = authority.issue("Lab Server", server=True)
        self._count = 0

    def _tls(self, credentials: Credentials) -> list[str]:
        return [f"ca {self._authority.certificate}", f"cert {credentials.certificate}", f"key {credentials.key}"]

    def start_server(
        self,
        name: str,
        protocol: str,
        port: int,
        management: Management,
        client_names: tuple[str, ...],
        *,
        passphrase: str | None = None,
        persist: bool = True,
        directives: Sequence[str] = (),
    ) -> Daemon:
        """Start a server on 127.0.0.1.

        Args:
            name: of the daemon in the lab.
            protocol: udp or tcp.
            port: of the VPN.
            management: its management interface.
            client_names: who is to connect.
            passphrase: of its private key, which is not encrypted without one.
            persist: it keeps its key and its device over a restart.
            directives: more of its configuration.
        """
        credentials = self._server_credentials
        if passphrase is not None:
            credentials = self._authority.issue("Lab Server", server=True, passphrase=passphrase)
        self._count += 1
        stem = self._folder / name.replace("/", "-")
        log = stem.with_suffix(".log")
        config = _config(
            stem.with_suffix(".conf"),
            [
                f"dev {self._tun_prefix}{self._count}",
                "dev-type tun",
                "ifconfig-noexec",
                "route-noexec",
                "disable-dco",  # the same data channel whatever the kernel has
                *(["persist-key", "persist-tun"] if persist else []),
                f"proto {'udp4' if protocol == 'udp' else 'tcp4-server'}",
                "local 127.0.0.1",
                f"port {port}",
                f"server 10.99.{self._count}.0 255.255.255.0",
                "topology subnet",
                "keepalive 1 4",
                "dh none",
                *self._tls(credentials),
                management.directive,
                *directives,
                "management-log-cache 2000",
                "verb 3",
                f"log {log}",
            ],
        )
        log.touch()
        self._processes.start(name, [self._openvpn, "--config", str(config)])
        return Daemon(name, management, log, port, protocol, client_names)

    def start_client_daemon(
        self, name: str, server: Daemon, management: Management, directives: Sequence[str]
    ) -> Daemon:
        """Start a client of this server that has a management interface of its own."""
        stem = self._folder / name
        log = stem.with_suffix(".log")
        config = _config(
            stem.with_suffix(".conf"),
            [*self._client(server, self._authority.issue(name)), management.directive, *directives, f"log {log}"],
        )
        log.touch()
        self._processes.start(name, [self._openvpn, "--config", str(config)])
        return Daemon(name, management, log, server.port, server.protocol, ())

    def _client(self, server: Daemon, credentials: Credentials) -> list[str]:
        return [
            "client",
            "dev null",
            "ifconfig-noexec",
            "route-noexec",
            "disable-dco",
            "persist-key",
            "persist-tun",
            "nobind",
            f"proto {'udp4' if server.protocol == 'udp' else 'tcp4-client'}",
            f"remote 127.0.0.1 {server.port}",
            "connect-retry 1 1",
            "remote-cert-tls server",
            *self._tls(credentials),
            "verb 3",
        ]

    def wait_for_server(self, daemon: Daemon) -> None:
        """Until the management interface answers and the daemon is ready for clients."""

        def is_connected() -> bool:
            self._processes.check_running(daemon.name, daemon.log)
            try:
                return ",CONNECTED,SUCCESS" in daemon.ask("state")
            except (ConnectionRefusedError, FileNotFoundError):
                return False

        wait_until(f"{daemon.name} is CONNECTED", is_connected, log=daemon.log)

    def start_clients(self, daemon: Daemon) -> None:
        """One process per name; each connects again on its own about a second after it was thrown out."""
        for number, common_name in enumerate(daemon.client_names, start=1):
            stem = self._folder / f"{daemon.name.replace('/', '-')}-client-{number}"
            config = _config(
                stem.with_suffix(".conf"),
                [*self._client(daemon, self._authority.issue(common_name)), f"log {stem.with_suffix('.log')}"],
            )
            self._processes.start(f"{daemon.name} client {number}", [self._openvpn, "--config", str(config)])
