"""The whole lab: a fleet of real OpenVPN servers with real clients, behind real sshd, on loopback alone.

    with Lab(folder) as lab:
        lab.fleet("status", "--all").stdout          # in this process
        lab.installed("status", "--all").stdout      # the installed program
        lab.ask("edge-1", "status 3")

`SITES` says what stands where. Nothing outside the folder is written but /run/sshd (empty, where it is missing), and
nothing is left running: see `processes.Processes`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import pki
from lab.inside import run_inside
from lab.openvpn import VPN, Conversation, Daemon, Management
from lab.processes import FreePorts, LabError, Processes, program, wait_until
from lab.sshd import BehindJumpHost, Host, SSHServers
from support import schemas

FLEET_TIMEOUT = 60.0
"""Seconds that one run of fleet may take in a test."""

SOCKET_PATH_LIMIT = 107
"""Bytes that the kernel takes as the path of a unix socket."""


@dataclass(frozen=True, slots=True)
class Site:
    """One OpenVPN server that works, and its clients.

    Attributes:
        host: its host in the inventory; a server is named like its host, or `host/daemon`.
        group: its group in the inventory.
        protocol: udp or tcp, of the VPN itself.
        clients: the common names of its clients.
        unix: whether its management interface is a unix socket.
        password: its management password.
    """

    host: str
    group: str
    protocol: str
    clients: tuple[str, ...]
    unix: bool = False
    password: str | None = None


SITES: Mapping[str, Site] = {
    "edge-1": Site("edge-1", "eu", "udp", ("Test-Client", "Client With Space", "Doe, John")),
    "edge-2": Site("edge-2", "eu", "tcp", ('O\'Brien "Bob"', "Zoë 北京", "laptop-1")),
    "sock": Site("sock", "eu", "udp", (">LOG:evil", "ERROR: bad", "bob"), unix=True),
    # A daemon before 2.7 cannot kill `col:on` by name; one from 2.7 on kills `col` instead.
    "gw/udp": Site("gw", "us", "udp", ("Test-Client", "col:on", "col")),
    "gw/tcp": Site("gw", "us", "tcp", ("#hash", "back\\slash", "END")),
    "vault": Site("vault", "us", "udp", ("alice", "it's", "1e5"), password="open sesame"),
    "inner": Site("inner", "us", "tcp", ("carol", "semi;colon", "10.1.1.1")),
}
"""The servers that work, in the order of the inventory."""

BROKEN: Mapping[str, str] = {
    "busy": "management-busy",
    "closed": "management-closed",
    "down": "connect-refused",
    "rebuilt": "host-key-changed",
    "stranger": "host-key-unknown",
    "no-forwarding": "forwarding-refused",
    "locked-out": "auth-failed",
}
"""The servers that cannot be asked, each with its error code, in the order of the inventory (group `broken`)."""

ADDRESSES: Mapping[str, str] = {
    "edge-1": "127.0.9.1",
    "edge-2": "127.0.9.2",
    "sock": "127.0.9.3",
    "gw": "127.0.9.4",
    "vault": "127.0.9.5",
    "inner": "127.0.9.6",
    "busy": "127.0.9.11",
    "closed": "127.0.9.12",
    "down": "127.0.9.13",
    "rebuilt": "127.0.9.14",
    "stranger": "127.0.9.15",
    "no-forwarding": "127.0.9.16",
    "locked-out": "127.0.9.17",
    "bastion": "127.0.9.20",
}
"""The SSH address of each host."""

HELD_BACK = frozenset({"down", "inner", "no-forwarding", "locked-out", "bastion"})
"""Hosts that the ordinary sshd does not serve: they have one of their own, or none."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run of `fleet`."""

    args: tuple[str, ...]
    exit_status: int
    stdout: str
    stderr: str

    @classmethod
    def of(cls, args: Sequence[str], exit_status: int, stdout: bytes, stderr: bytes) -> Self:
        """A run that wrote these bytes."""
        texts = (written.decode("utf-8", "surrogateescape") for written in (stdout, stderr))
        return cls(tuple(args), exit_status, *texts)

    def json(self) -> Any:
        """Stdout as the JSON that it must be, of the shape that docs/schema says."""
        schemas.check(self.stdout, self.args)
        return json.loads(self.stdout)

    def outcomes(self) -> dict[str, Any]:
        """The server objects of a JSON document, by name."""
        return {server["name"]: server for server in self.json()["servers"]}


class Lab:
    """A context manager: entering starts everything and waits for it, leaving ends everything.

    Attributes:
        folder: keys, configurations and logs; removed by whoever made it.
        servers: the OpenVPN daemons by server name, `SITES` and `busy`.
        hosts: the SSH address, port and host key of each host.
        inventory, ssh_config, known_hosts, private_key: what the operator has.
    """

    def __init__(self, folder: Path, *, sites: Sequence[str] = tuple(SITES)) -> None:
        self.folder = folder
        self.sites = {name: SITES[name] for name in sites}
        self.home = folder / "home"
        self.inventory = folder / "inventory.yaml"
        self.ssh_config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self.servers: dict[str, Daemon] = {}
        self.hosts: dict[str, Host] = {}
        self._ports = FreePorts()
        self.closed_management = f"127.0.0.1:{self._ports.take()}"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise LabError("the lab needs root: its OpenVPN servers open tun devices (tests/run asks sudo for it)")
        with self._stack:
            self.home.mkdir(mode=0o700)
            self._processes = self._stack.enter_context(Processes())
            self.ssh_port = self._ports.take()
            self.sshd = SSHServers(self.folder / "sshd", self._processes)
            self.private_key = self.sshd.user_key
            self._start_vpn()
            self._start_sshd()
            self._write_operators_files()
            self._holder: Conversation | None = None
            self._stack.callback(self.free_busy)
            self.hold_busy()
            self.wait_for_clients()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    # What stands where

    def _management(self, name: str, site: Site | None) -> Management:
        if site is not None and site.unix:
            path = str(self.folder / f"{name}.sock")
            if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
                raise LabError(f"the path of a unix socket is too long, choose a shorter --basetemp: {path}")
            return Management(path)
        password = None if site is None else site.password
        password_file = None
        if password is not None:
            password_file = self.folder / f"{name}.password"
            pki.write_private(password_file, f"{password}\n".encode())
        return Management(("127.0.0.1", self._ports.take()), password, password_file)

    def _start_vpn(self) -> None:
        authority = pki.Authority(self.folder / "pki")
        # The name of a network interface has 15 bytes at most; labs may run at the same time.
        vpn = VPN(self.folder / "vpn", self._processes, authority, tun_prefix=f"lab{secrets.token_hex(4)}n")
        for name, site in [*self.sites.items(), ("busy", None)]:
            protocol, clients = ("udp", ()) if site is None else (site.protocol, site.clients)
            management = self._management(name, site)
            self.servers[name] = vpn.start_server(name, protocol, self._ports.take(), management, clients)
        for daemon in self.servers.values():
            vpn.wait_for_server(daemon)
            vpn.start_clients(daemon)

    def _start_sshd(self) -> None:
        ordinary = [address for host, address in ADDRESSES.items() if host not in HELD_BACK]
        by_address = self.sshd.start("ordinary", self.ssh_port, ordinary)
        for name, options, lets_in in (
            ("bastion", (), True),
            ("no-forwarding", ("AllowTcpForwarding no",), True),
            ("locked-out", (), False),
        ):
            by_address |= self.sshd.start(name, self.ssh_port, [ADDRESSES[name]], options, lets_in=lets_in)
        inner = self._stack.enter_context(
            BehindJumpHost(
                self.sshd,
                self._processes,
                "inner",
                address=ADDRESSES["inner"],
                port=self.ssh_port,
                jump="bastion",
            )
        )
        by_address[inner.host.address] = inner.host
        self.hosts = {host: by_address[address] for host, address in ADDRESSES.items() if address in by_address}
        self.hosts["down"] = Host(ADDRESSES["down"], self.ssh_port, self.hosts["edge-1"].host_key)

    def _write_operators_files(self) -> None:
        rebuilt = self.hosts["rebuilt"]
        before = Host(rebuilt.address, rebuilt.port, pki.new_ssh_key(self.folder / "before-the-rebuild"))
        known = {host: entry for host, entry in self.hosts.items() if host != "stranger"} | {"rebuilt": before}
        self.known_hosts.write_text("".join(entry.known_hosts_line for entry in known.values()))
        self.ssh_config.write_text(
            f"Host *\n    UserKnownHostsFile {self.known_hosts}\n    GlobalKnownHostsFile /dev/null\n"
        )
        self.inventory.write_text(self._inventory_text())

    def _inventory_text(self) -> str:
        lines = [
            "all:",
            "  vars:",
            "    ssh_user: root",
            f"    ssh_port: {self.ssh_port}",
            f"    private_key: {json.dumps(str(self.private_key))}",
            "  hosts:",
            f'    bastion: {{ssh_host: "{ADDRESSES["bastion"]}", management: null}}',
            "  children:",
        ]
        for group in dict.fromkeys(site.group for site in self.sites.values()):
            lines += [f"    {group}:", "      hosts:"]
            for host in dict.fromkeys(site.host for site in self.sites.values() if site.group == group):
                lines += self._host_lines(host)
        lines += ["    broken:", "      hosts:"]
        # Those that cannot be reached have a management endpoint that works: whoever got there would be answered.
        answers = self.servers[next(iter(self.sites))].management
        managements = {"busy": str(self.servers["busy"].management), "closed": self.closed_management}
        for host in BROKEN:
            lines += self._host_lines(host, managements.get(host, str(answers)))
        return "\n".join([*lines, ""])

    def _host_lines(self, host: str, management: str | None = None) -> list[str]:
        lines = [f"        {host}:", f"          ssh_host: {ADDRESSES[host]}"]
        if management is not None:
            return [*lines, f"          management: {json.dumps(management)}"]
        if host == "inner":
            lines.append("          jump: bastion")
        daemons = {name: daemon for name, daemon in self.servers.items() if name.split("/")[0] == host}
        if list(daemons) == [host]:
            lines.append(f"          management: {json.dumps(str(daemons[host].management))}")
        else:
            lines.append("          management:")
            for name, daemon in daemons.items():
                lines.append(f"            {name.split('/')[1]}: {json.dumps(str(daemon.management))}")
        passwords = [daemon.management.password_file for daemon in daemons.values()]
        return lines + [f"          management_password_file: {json.dumps(str(file))}" for file in passwords if file]

    # What a test asks of it

    @property
    def client_names(self) -> dict[str, tuple[str, ...]]:
        """The common names of the clients of each server that works."""
        return {name: site.clients for name, site in self.sites.items()}

    def all_pids(self) -> list[int]:
        """The pid of every process of the lab."""
        return self._processes.all_pids()

    def daemon_pid(self, server: str) -> int:
        return self._processes.pid(server)

    def ask(self, server: str, command: str) -> str:
        """The daemon's own reply, over a plain socket: one line, or lines up to END, each ended by a newline."""
        return self.servers[server].ask(command)

    def clients(self, server: str) -> list[dict[str, str]]:
        """The rows of `status 3` of the clients that are connected, by OpenVPN's names of the columns."""
        return self.servers[server].clients()

    def client(self, server: str, common_name: str) -> dict[str, str]:
        """The one row of a client; waits until it is connected."""

        def row() -> dict[str, str] | None:
            rows = [row for row in self.clients(server) if row["Common Name"] == common_name]
            return rows[0] if len(rows) == 1 else None

        found = wait_until(f"{common_name} on {server}", row)
        assert found is not None
        return found

    def wait_for_clients(self, *servers: str, wait_timeout: float = 60.0) -> None:
        """Until exactly the clients of these servers (without any: of all that work) are connected, each once."""
        for name in servers or self.sites:
            daemon = self.servers[name]
            expected = sorted(daemon.client_names)

            def is_complete(daemon: Daemon = daemon, expected: list[str] = expected) -> bool:
                return sorted(row["Common Name"] for row in daemon.clients()) == expected

            wait_until(f"clients of {name}", is_complete, wait_timeout=wait_timeout, log=daemon.log)

    def wait_until_gone(self, server: str, row: Mapping[str, str], *, wait_timeout: float = 15.0) -> None:
        """Until the session of this row is no more; the same client may be back under another client ID."""
        wait_until(
            f"{row['Common Name']} {row['Client ID']} is gone from {server}",
            lambda: row["Client ID"] not in {other["Client ID"] for other in self.clients(server)},
            wait_timeout=wait_timeout,
        )

    def wait_for_restart(self, server: str, state_before: str, *, wait_timeout: float = 30.0) -> None:
        """Until the daemon is CONNECTED in another state line than `state_before`, a reply to `state`."""

        def is_back() -> bool:
            state = self.ask(server, "state")
            return state != state_before and ",CONNECTED,SUCCESS" in state

        wait_until(f"{server} has restarted", is_back, wait_timeout=wait_timeout)

    def free_busy(self) -> None:
        """Let go of `busy`, if it was held: whoever waits there is served."""
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    def busy_queue(self) -> int:
        """How many connections wait in front of the management interface of `busy`, the abandoned ones too."""
        return self.servers["busy"].management.queue()

    def hold_busy(self) -> None:
        """Be the one management client of `busy`, with nobody else in its queue.

        The kernel's queue in front of a held management interface has room for two. Whoever gave up waiting stays in it
        until the daemon takes it out, which this makes happen: it lets go, waits, and holds again.
        """
        self.free_busy()
        wait_until("nobody waits for busy", lambda: self.busy_queue() == 0)
        self._holder = Conversation(self.servers["busy"].management)

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """What fleet runs in: nothing of the developer's own SSH, XDG and fleet settings."""
        prefixes = ("FLEET_", "SSH_", "XDG_", "NO_COLOR", "CLICOLOR", "FORCE_COLOR", "COLUMNS", "LC_")
        own = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
        own |= {"HOME": str(self.home), "FLEET_INVENTORY": str(self.inventory), "LANG": "C.UTF-8", "TZ": "UTC"}
        return own | dict(env or {})

    def fleet_argv(self, *args: str) -> list[str]:
        """The installed `fleet` with the lab's ssh_config."""
        return [str(Path(sys.executable).parent / "fleet"), "--ssh-config", str(self.ssh_config), *args]

    def fleet(
        self,
        *args: str,
        given: str = "",
        env: Mapping[str, str] | None = None,
        hold_busy: bool = True,
    ) -> Run:
        """Run fleet to its end in this process (see `inside`).

        Args:
            args: the words behind `fleet --ssh-config FILE`.
            given: its standard input.
            env: more variables than `environment` has.
            hold_busy: empties the queue of `busy` before.
        """
        if hold_busy:
            self.hold_busy()
        data = given.encode("utf-8", "surrogateescape")
        ended = run_inside(self.fleet_argv(*args)[1:], self.environment(env), self.folder, given=data)
        return Run.of(args, *ended)

    def installed(self, *args: str, given: str = "", env: Mapping[str, str] | None = None) -> Run:
        """Run the installed `fleet` to its end, as `fleet` does in this process; `busy` has an empty queue."""
        self.hold_busy()
        ended = subprocess.run(
            self.fleet_argv(*args),
            input=given.encode("utf-8", "surrogateescape"),
            capture_output=True,
            cwd=self.folder,
            env=self.environment(env),
            timeout=FLEET_TIMEOUT,
            check=False,
        )
        return Run.of(args, ended.returncode, ended.stdout, ended.stderr)

    def ssh_argv(self, host: str, endpoint: str) -> list[str]:
        """OpenSSH's own client, forwarding its standard input and output from a host to an endpoint (`ssh -W`)."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "IdentityAgent=none"]
        settings = [part for option in options for part in ("-o", option)]
        common = [program("ssh"), "-F", str(self.ssh_config), "-i", str(self.private_key), *settings]
        common += ["-p", str(self.ssh_port)]
        jump = []
        if host == "inner":
            through = shlex.join([*common, "-W", "%h:%p", f"root@{ADDRESSES['bastion']}"])
            jump = ["-o", f"ProxyCommand={through}"]
        return [*common, *jump, "-W", endpoint, f"root@{ADDRESSES[host]}"]

    def ssh(self, host: str, endpoint: str, text: str) -> subprocess.CompletedProcess[str]:
        """What comes back over `ssh_argv` when `text` is all that is sent."""
        return subprocess.run(
            self.ssh_argv(host, endpoint),
            input=text,
            capture_output=True,
            text=True,
            timeout=FLEET_TIMEOUT,
            check=False,
        )
