"""The fleet of docs/operations.md: real OpenVPN servers under the page's names, and clients with several remotes.

with RunbookLab(folder) as lab:
    lab.everybody_is_there()
    lab.shell("fleet find alice")
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from lab.draining import DrainLab
from lab.lab import Run
from lab.pki import write_private
from lab.processes import LabError, program, wait_until
from lab.rolling import QUICK
from lab.unlocking import ADDRESS

GROUPS: Mapping[str, tuple[str, ...]] = {"eu": ("edge-1", "edge-2", "edge-3"), "us": ("gw-1", "gw-2")}
"""The servers of each group, in inventory order."""

OPEN = ("script-security 2", "auth-user-pass-verify /bin/true via-file", "auth-user-pass-optional")
"""A server that lets in whoever has a certificate, with a username or without."""

LOGINS: Mapping[str, str] = {"mallory": "mallory@example.net"}
"""The username of each client that has one."""

REMOTES: Mapping[str, tuple[str, ...]] = {
    "alice": ("edge-1", "edge-2", "edge-3"),
    "bob": ("edge-2", "edge-3", "edge-1"),
    "carol": ("edge-3", "edge-1", "edge-2"),
    "dave": ("edge-1", "edge-3", "edge-2"),
    "erin": ("gw-1", "gw-2"),
    "frank": ("gw-2", "gw-1"),
    "mallory": ("gw-2", "gw-1"),
}
"""The servers that each client knows, in the order in which it tries them."""


class RunbookLab(DrainLab):
    """A context manager: entering starts everything, leaving ends everything."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._logs: dict[str, Path] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            for group, names in GROUPS.items():
                for name in names:
                    self.site(name, *(("udp", QUICK) if group == "eu" else ("tcp", *OPEN)))
            for name in REMOTES:
                self._client(name)
            self._write_inventory()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _client(self, name: str) -> None:
        first, *others = (self.daemons[remote] for remote in REMOTES[name])
        directives = [f"remote 127.0.0.1 {other.port}" for other in others]
        if name in LOGINS:
            login = self.folder / f"{name}.login"
            write_private(login, f"{LOGINS[name]}\nsecret\n".encode())
            directives.append(f"auth-user-pass {login}")
        daemon = self._vpn.start_client_daemon(name, first, self._management(), directives)
        self._logs[name] = daemon.log

    def _write_inventory(self) -> None:
        key = json.dumps(str(self._sshd.user_key))
        lines = [
            "all:",
            f'  vars: {{ssh_host: "{ADDRESS}", ssh_user: root, ssh_port: {self._host.port}, private_key: {key}}}',
            "  children:",
        ]
        for group, names in GROUPS.items():
            lines += [f"    {group}:", "      hosts:"]
            lines += [f'        {name}: {{management: "{self.daemons[name].management}"}}' for name in names]
        (self.folder / "inventory.yaml").write_text("\n".join([*lines, ""]))

    def environment(self) -> dict[str, str]:
        """What a command line of the page needs: fleet in PATH, the inventory, the ssh_config."""
        own = super().environment()
        return own | {
            "PATH": f"{Path(sys.executable).parent}:{own['PATH']}",
            "FLEET_INVENTORY": str(self.folder / "inventory.yaml"),
            "FLEET_SSH_CONFIG": str(self._ssh_config),
            "TERM": "screen",
        }

    def words(self, *args: str) -> list[str]:
        """What is behind `fleet`: the rest is in the environment."""
        return [*args]

    def everybody_is_there(self) -> None:
        """Until each client that was not ended is on one server, and no more."""
        expected = sorted(name for name in REMOTES if self._runs(name))

        def is_everybody() -> bool:
            return sorted(name for daemon in self.daemons.values() for name in self.names(daemon)) == expected

        wait_until("each client is on one server", is_everybody, wait_timeout=90.0)

    def _runs(self, client: str) -> bool:
        try:
            self._processes.check_running(client, self._logs[client])
        except LabError:
            return False
        return True

    def start_again(self, name: str) -> None:
        """What systemd does on the host: starts a daemon that has ended."""
        assert self.has_ended(name)
        self._processes.start(name, [program("openvpn"), "--config", str(self.folder / "vpn" / f"{name}.conf")])
        self._answering(self.daemons[name])

    def shell(self, line: str) -> Run:
        """Run a command line to its end, with nobody at a terminal."""
        return self.run(["bash", "-c", f"cd {shlex.quote(str(self.folder))} && {line}"])

    def spawn(self, line: str) -> subprocess.Popen[bytes]:
        """Start a command line of one program, with nobody at a terminal."""
        return subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environment(),
        )

    def waiting(self, name: str) -> int:
        """How many connections wait in front of the management interface of a server."""
        return self.daemons[name].management.queue()
