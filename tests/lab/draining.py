"""A lab for clients that move: real OpenVPN servers on one host, and clients that know one of them or more.

with DrainLab(folder) as lab:
    one, two = lab.site("one"), lab.site("two")
    lab.member("alice", one, two)
    lab.fleet("drain", "one", "--yes")
"""

from __future__ import annotations

from lab.openvpn import Daemon
from lab.processes import wait_until
from lab.unlocking import UnlockLab


class DrainLab(UnlockLab):
    """Servers, and clients that know one of them or more."""

    def site(self, name: str, protocol: str = "udp", *directives: str, persist: bool = True) -> Daemon:
        """A server that is up."""
        daemon = self._vpn.start_server(
            name, protocol, self._ports.take(), self._management(), (), persist=persist, directives=directives
        )
        self._answering(daemon)
        self._vpn.wait_for_server(daemon)
        return daemon

    def member(self, name: str, server: Daemon, *others: Daemon) -> None:
        """A VPN client of a server that knows others to go to, in this order; returned once it is connected."""
        remotes = [f"remote 127.0.0.1 {other.port}" for other in others]
        self._vpn.start_client_daemon(name, server, self._management(), remotes)
        wait_until(f"{name} is on {server.name}", lambda: name in self.names(server))

    def names(self, server: Daemon) -> list[str]:
        """Who is connected to a server."""
        return sorted(row["Common Name"] for row in server.clients())
