"""A lab for rolling changes: real OpenVPN servers with real clients on one host, some of which do not survive.

with RollingLab(folder) as lab:
    lab.site("a-1", "alice", "bob")
    lab.site("a-2", frail=True)
    lab.fleet("signal", "SIGUSR1", "-l", "a-*", "--serial", "1", "--yes")
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lab.openvpn import Daemon
from lab.processes import wait_until
from lab.unlocking import UnlockLab

QUICK = "explicit-exit-notify 1"
"""A UDP server that tells its clients of a restart: they are back after about three seconds (protocol-facts 11.2)."""

FRAIL = ("user nobody", "group nogroup")
"""Without persist-key such a server cannot read its key again, and dies of a SIGUSR1 (protocol-facts 5)."""


class RollingLab(UnlockLab):
    """A context manager: entering starts an sshd, leaving ends everything."""

    def site(self, name: str, *clients: str, protocol: str = "udp", frail: bool = False) -> Daemon:
        """A server that is up, once its clients are connected."""
        directives: Sequence[str] = (*([QUICK] if protocol == "udp" else []), *(FRAIL if frail else ()))
        daemon = self._vpn.start_server(
            name,
            protocol,
            self._ports.take(),
            self._management(),
            clients,
            persist=not frail,
            directives=directives,
        )
        self.daemons[name] = daemon
        self._vpn.wait_for_server(daemon)
        self._vpn.start_clients(daemon)
        return daemon

    def wait_for_clients(self, *names: str) -> None:
        """Until all clients of these servers are connected."""
        for name in names:
            daemon = self.daemons[name]
            wait_until(
                f"clients of {name}",
                lambda daemon=daemon: len(daemon.clients()) == len(daemon.client_names),  # type: ignore[misc]  # bound now
                log=daemon.log,
            )

    def audit(self) -> list[dict[str, Any]]:
        """The lines of the audit of all runs so far."""
        path = self.folder / "home" / ".local" / "state" / "fleet" / "audit.ndjson"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def end(self, name: str) -> None:
        """Its process ends."""
        self._processes.stop(name)

    def states(self, *names: str) -> list[str]:
        """The reply to `state` of each."""
        return [self.daemons[name].ask("state") for name in names]
