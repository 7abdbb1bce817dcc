"""Many SSH servers with a management daemon behind each, on this machine: what every peer of a benchmark asks.

Each server is an address of 127.0.0.0/8. An OpenSSH server listens on at most sixteen, so there are several, all of
one configuration; a management daemon listens on each address, and answers who connects to it from the server itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.daemons import address
from lab.processes import FreePorts, LabError, Processes
from lab.sshd import SSHServers

ROOT = Path(__file__).parents[2]
ADDRESSES_OF_AN_SSHD = 16
"""MAX_LISTEN_SOCKS in sshd's source."""

CURVE25519 = "curve25519-sha256"

# What tools that run commands run on each server: ask the daemon of the address that was logged in to, print up to END.
# bash needs no other program for that.
ASK = """\
set -- $SSH_CONNECTION
exec 3<>"/dev/tcp/$3/{port}" || exit 1
printf 'status 3\\n' >&3
while IFS= read -r line <&3; do
    printf '%s\\n' "$line"
    [ "$line" = $'END\\r' ] && exit 0
done
exit 1
"""


@dataclass(frozen=True, slots=True)
class Files:
    """What peers are told of the servers."""

    folder: Path
    addresses: tuple[str, ...]
    ssh_port: int
    management_port: int
    user_key: Path

    @property
    def hosts(self) -> Path:
        """The addresses, one a line."""
        return self.folder / "hosts"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.yaml"

    @property
    def ansible_inventory(self) -> Path:
        return self.folder / "inventory.ini"

    @property
    def request(self) -> Path:
        """What is written to a daemon."""
        return self.folder / "request"

    @property
    def ask(self) -> Path:
        """The script that is run on a server."""
        return self.folder / "ask"

    @property
    def home(self) -> Path:
        """An empty home for every peer."""
        return self.folder / "home"


class Endpoints:
    """The servers, from entering the block to leaving it.

    Args:
        folder: for their files.
        servers: how many.
        clients: of each daemon: the rows of its answer.
        kex: the only key exchange that the SSH servers take, or None for their defaults.
    """

    def __init__(self, folder: Path, servers: int, *, clients: int, kex: str | None) -> None:
        folder.mkdir()
        (folder / "home").mkdir(mode=0o700)
        self._clients = clients
        self._kex = kex
        self._processes = Processes()
        self._ssh = SSHServers(folder / "sshd", self._processes)
        self._daemons: subprocess.Popen[bytes] | None = None
        ports = FreePorts()
        addresses = tuple(map(address, range(servers)))
        self.files = Files(folder, addresses, ports.take(), ports.take(), self._ssh.user_key)

    def __enter__(self) -> Self:
        try:
            self._start_daemons()
            self._start_sshd()
            self._write_files()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._processes.__exit__(None, None, None)
        if self._daemons is not None:
            self._daemons.communicate()

    def _start_daemons(self) -> None:
        files = self.files
        numbers = map(str, (0, len(files.addresses), files.management_port, self._clients))
        self._daemons = subprocess.Popen(
            [sys.executable, "-m", "bench.daemons", *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=python_environment(),
        )
        assert self._daemons.stdout is not None
        if self._daemons.stdout.readline() != b"ready\n":
            raise LabError("the simulated daemons did not start")

    def _start_sshd(self) -> None:
        addresses, lines = self.files.addresses, []
        options = ["MaxStartups 2000", "UseDNS no", "MaxAuthTries 6", "PrintMotd no"]
        if self._kex is not None:
            options.append(f"KexAlgorithms {self._kex}")
        for start in range(0, len(addresses), ADDRESSES_OF_AN_SSHD):
            some = addresses[start : start + ADDRESSES_OF_AN_SSHD]
            hosts = self._ssh.start(f"bench-{start}", self.files.ssh_port, some, options)
            names = ",".join(f"[{name}]:{self.files.ssh_port}" for name in some)
            lines.append(f"{names} {next(iter(hosts.values())).host_key}\n")
        self.files.known_hosts.write_text("".join(lines))

    def _write_files(self) -> None:
        files = self.files
        files.hosts.write_text("".join(f"{name}\n" for name in files.addresses))
        files.request.write_text("status 3\n")
        files.ask.write_text(ASK.format(port=files.management_port))
        files.ssh_config.write_text(
            f"Host *\n  User root\n  Port {files.ssh_port}\n  IdentityFile {files.user_key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {files.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
            "  StrictHostKeyChecking yes\n  UpdateHostKeys no\n  BatchMode yes\n"
        )
        files.inventory.write_text(
            "all:\n  hosts:\n"
            + "".join(f'    {name}:\n      management: "{name}:{files.management_port}"\n' for name in files.addresses)
        )
        files.ansible_inventory.write_text("[all]\n" + "".join(f"{name}\n" for name in files.addresses))


def python_environment() -> dict[str, str]:
    """The environment of a Python of ours: this fleet and these tests, whatever is installed."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
