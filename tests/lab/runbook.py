"""The fleet of docs/operations.md: real OpenVPN servers under the page's names, and clients with several remotes.

with RunbookLab(folder) as lab:
    lab.everybody_is_there()
    lab.shell("fleet find alice")
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from lab.draining import DrainLab
from lab.lab import FLEET_TIMEOUT, Run
from lab.openvpn import Daemon
from lab.processes import wait_until
from lab.rolling import QUICK
from lab.unlocking import ADDRESS

GROUPS: Mapping[str, tuple[str, ...]] = {"eu": ("edge-1", "edge-2", "edge-3"), "us": ("gw-1", "gw-2")}
"""The servers of each group, in inventory order."""

REMOTES: Mapping[str, tuple[str, ...]] = {
    "alice": ("edge-1", "edge-2", "edge-3"),
    "bob": ("edge-2", "edge-3", "edge-1"),
    "carol": ("edge-3", "edge-1", "edge-2"),
    "dave": ("edge-1", "edge-3", "edge-2"),
    "erin": ("gw-1", "gw-2"),
    "frank": ("gw-2", "gw-1"),
}
"""The servers that each client knows, in the order in which it tries them."""


class RunbookLab(DrainLab):
    """A context manager: entering starts everything and waits for it, leaving ends everything."""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            for group, names in GROUPS.items():
                for name in names:
                    self._open(name, "udp" if group == "eu" else "tcp")
            for name, remotes in REMOTES.items():
                self.member(name, *(self.daemons[remote] for remote in remotes))
            self._write_inventory()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _open(self, name: str, protocol: str) -> Daemon:
        return self.site(name, protocol, *([QUICK] if protocol == "udp" else []))

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
        }

    def everybody_is_there(self) -> None:
        """Until each client is on one server, and no more."""

        def is_everybody() -> bool:
            return sorted(name for daemon in self.daemons.values() for name in self.names(daemon)) == sorted(REMOTES)

        wait_until("each client is on one server", is_everybody, wait_timeout=90.0)

    def shell(self, line: str) -> Run:
        """Run a command line to its end, with nobody at a terminal."""
        finished = subprocess.run(
            ["bash", "-c", line],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            env=self.environment(),
            timeout=FLEET_TIMEOUT,
            encoding="utf-8",
            check=False,
        )
        return Run((line,), finished.returncode, finished.stdout, finished.stderr)
