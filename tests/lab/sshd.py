"""Real OpenSSH servers on loopback: own configuration, keys and ports; the machine's own sshd is not touched.

Every address 127.x.y.z is this machine, so one sshd that listens on several of them is as many hosts.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.pki import new_ssh_key
from lab.processes import Processes, descendants, program, tcp_sockets, wait_until

PRIVILEGE_SEPARATION = Path("/run/sshd")
"""Compiled into Debian's sshd, and made by its service, which a container does not start."""


def _root_is_locked() -> bool:
    """Whether the password field of root begins with `!`: then only PAM lets root in, whatever the key."""
    return any(line.startswith("root:!") for line in Path("/etc/shadow").read_text().splitlines())


def _penalises_sources(sshd: str) -> bool:
    """Whether this sshd (OpenSSH 9.8 and later) shuts out an address that failed to log in a few times."""
    version = subprocess.run([sshd, "-V"], capture_output=True, text=True, check=False).stderr
    number = re.search(r"OpenSSH_(\d+)\.(\d+)", version)
    return number is not None and (int(number[1]), int(number[2])) >= (9, 8)


GREETING_TIMEOUT = 10.0
"""Seconds that an sshd may take to say its first line."""


@dataclass(frozen=True, slots=True)
class Host:
    """An address on which an sshd listens."""

    address: str
    port: int
    host_key: str

    @property
    def known_hosts_line(self) -> str:
        return f"[{self.address}]:{self.port} {self.host_key}\n"

    def connect(self) -> socket.socket:
        return socket.create_connection((self.address, self.port), timeout=GREETING_TIMEOUT)


class SSHServers:
    """The OpenSSH servers of one lab.

    Attributes:
        user_key: the private key that every server lets in as root, but for those that say otherwise.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        folder.mkdir()
        self._folder = folder
        self._processes = processes
        self._sshd = program("sshd")
        self.user_key = folder / "id_ed25519"
        self._user_public = new_ssh_key(self.user_key)
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        self._common = [
            "PidFile none",
            f"UsePAM {'yes' if _root_is_locked() else 'no'}",
            "StrictModes no",  # the lab's folder lies under /tmp, which anybody may write to
            "PermitRootLogin prohibit-password",
            "AuthenticationMethods publickey",
            "X11Forwarding no",
            "LogLevel VERBOSE",
        ]
        if _penalises_sources(self._sshd):
            self._common.append("PerSourcePenalties no")

    def configure(self, name: str, options: Sequence[str] = (), *, lets_in: bool = True) -> tuple[Path, str]:
        """Write an sshd's configuration and keys; the configuration's path and the public host key are returned."""
        stem = self._folder / name
        host_key = new_ssh_key(stem.with_suffix(".hostkey"))
        authorized_keys = stem.with_suffix(".authorized_keys")
        authorized_keys.write_text(f"{self._user_public}\n" if lets_in else "")
        config = stem.with_suffix(".conf")
        config.write_text(
            "\n".join(
                [
                    *self._common,
                    f"HostKey {stem.with_suffix('.hostkey')}",
                    f"AuthorizedKeysFile {authorized_keys}",
                    *options,
                    "",
                ]
            )
        )
        return config, host_key

    def command(self, name: str, *arguments: str) -> list[str]:
        config, log = self._folder / f"{name}.conf", self._folder / f"{name}.log"
        return [self._sshd, *arguments, "-f", str(config), "-E", str(log)]

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def start(
        self, name: str, port: int, addresses: Sequence[str], options: Sequence[str] = (), *, lets_in: bool = True
    ) -> dict[str, Host]:
        """Start an sshd; its hosts are returned by address once it greets."""
        listen = [f"Port {port}", *(f"ListenAddress {address}" for address in addresses)]
        _, host_key = self.configure(name, [*listen, *options], lets_in=lets_in)
        log = self._folder / f"{name}.log"
        log.touch()
        self._processes.start(f"sshd {name}", self.command(name, "-D"))

        def greets() -> bool:
            self._processes.check_running(f"sshd {name}", log)
            return greeting(addresses[-1], port).startswith(b"SSH-2.0-")

        wait_until(f"sshd {name} greets", greets, log=log)
        return {address: Host(address, port, host_key) for address in addresses}


def greeting(address: str, port: int) -> bytes:
    """The first bytes that a host says, or nothing where it refuses or hangs up."""
    try:
        with socket.create_connection((address, port), timeout=GREETING_TIMEOUT) as connection:
            return connection.recv(256)
    except (ConnectionRefusedError, ConnectionResetError):
        return b""


def _holds_socket(pid: int, inode: str) -> bool:
    try:
        files = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ended meanwhile
        return False
    for file in files:
        with contextlib.suppress(OSError):
            if str(file.readlink()) == f"socket:[{inode}]":
                return True
    return False


class BehindJumpHost:
    """An address where an sshd answers only those who come through the jump host; others are hung up on at once.

    On loopback every address is reachable and every peer looks alike, so what a firewall would tell by the source
    address is told by the owner of the peer's socket: a process of the jump host's sshd, or not.
    """

    def __init__(
        self, servers: SSHServers, processes: Processes, name: str, *, address: str, port: int, jump: str
    ) -> None:
        self._name = name
        self._processes = processes
        self._jump_pid = processes.pid(f"sshd {jump}")
        _, host_key = servers.configure(name)
        self._argv = servers.command(name, "-i")
        self.host = Host(address, port, host_key)
        self._listener = socket.create_server((address, port), backlog=100)
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=f"sshd {name}")
        self._sessions: list[str] = []

    def _serve(self) -> None:
        while self._wake not in select.select([self._listener, self._wake], [], [])[0]:
            connection, peer = self._listener.accept()
            with connection:
                ends = (peer, connection.getsockname())
                inodes = [entry.inode for entry in tcp_sockets(peer[1]) if (entry.local, entry.remote) == ends]
                if any(_holds_socket(pid, inode) for pid in descendants([self._jump_pid]) for inode in inodes):
                    self._sessions.append(f"sshd {self._name} session {len(self._sessions) + 1}")
                    self._processes.start(self._sessions[-1], self._argv, channel=connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waker.close()  # readable at once: the thread's last turn
        self._thread.join()
        self._listener.close()
        self._wake.close()
        self._processes.stop(*self._sessions)
