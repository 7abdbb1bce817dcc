"""What servers there are: frozen types that the loader fills and every other room reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an inventory file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Origin(Position):
    """Where a variable's value stands, and whose it is: `group eu`, `host gw`, or `host gw, daemon udp`."""

    owner: str


@dataclass(frozen=True, slots=True)
class TCPEndpoint:
    """A management interface on a TCP port, as seen from the server's own host."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A management interface on a unix socket of the server's own host."""

    path: str

    def __str__(self) -> str:
        return self.path


ManagementEndpoint = TCPEndpoint | UnixEndpoint


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """A management password in a file: its first line, without the line's end."""

    path: Path


@dataclass(frozen=True, slots=True)
class PasswordCommand:
    """A management password from a command: the first line that its arguments, run without a shell, print."""

    argv: tuple[str, ...]


PasswordSource = PasswordFile | PasswordCommand


@dataclass(frozen=True, slots=True)
class SSHSettings:
    """How a host is reached. None means: as ssh_config says, else SSH's own default.

    Equal settings are one SSH endpoint: servers that have them share one connection.

    Attributes:
        host: name or address to connect to; also the alias that ssh_config's Host lines are matched against.
        port: 1 to 65535.
        private_key: the only key file to offer.
        host_keys: pins, each `TYPE BASE64` as in known_hosts or `SHA256:...`; where there are any, no
            known_hosts file is asked.
        jump: the jump host that the connection goes through, itself perhaps behind another.
    """

    host: str
    port: int | None = None
    user: str | None = None
    private_key: Path | None = None
    host_keys: tuple[str, ...] = ()
    jump: SSHSettings | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """One OpenVPN daemon. Two daemons on one host are two servers with equal `ssh`.

    Attributes:
        name: unique in the inventory: the host's name, or `host/daemon` where a host has several.
        host: the inventory host it runs on.
        ssh: None for `connection: local`, a daemon on this machine.
        groups: every group it belongs to, `all` first, outer before inner.
        exclusive: a management client harms this daemon by being there; asked only with --force.
        max_clients: how many clients it can take, where the inventory says so.
        variables: every other variable of the inventory, as text, number, boolean, list or mapping.
        origins: for each variable, fleet's own included, where its value comes from.
        jump_hosts: how those hosts are reached that a command line names as jump hosts and the inventory has.
    """

    name: str
    host: str
    ssh: SSHSettings | None
    management: ManagementEndpoint
    password: PasswordSource | None = None
    exclusive: bool = False
    max_clients: int | None = None
    groups: tuple[str, ...] = ("all",)
    variables: Mapping[str, object] = field(default_factory=dict, compare=False)
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False)
    jump_hosts: Mapping[str, SSHSettings] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the inventory.

    Attributes:
        children: names of the groups directly in it, in file order.
        hosts: names of the inventory hosts directly in it, in file order.
        servers: names of all servers in it, those of its children included, in inventory order.
    """

    name: str
    children: tuple[str, ...]
    hosts: tuple[str, ...]
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    """Servers in file order, and groups.

    Attributes:
        source: the path it was read from, or the paths, as the user would recognise them.
        jump_hosts: hosts that are no OpenVPN servers (`management: null`, or an inventory of Ansible's says none):
            they are there only to jump through.
        closed: files of variables that are encrypted by Ansible Vault and were not read.
    """

    source: str
    servers: tuple[Server, ...]
    groups: Mapping[str, Group]
    jump_hosts: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
