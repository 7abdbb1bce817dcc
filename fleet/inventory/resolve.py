"""From records to servers: inheritance, SSH settings, jump chains, daemons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from fleet.inventory.graph import Graph, build_graph
from fleet.inventory.model import (
    Group,
    Inventory,
    ManagementEndpoint,
    Origin,
    PasswordSource,
    Position,
    Server,
    SSHSettings,
)
from fleet.inventory.others import value_of_another
from fleet.inventory.records import Daemon, Definition, Definitions, Records, overlay
from fleet.inventory.ssh_arguments import names_a_way
from fleet.inventory.tree import Complaint, Complaints, WrongValueError, is_null
from fleet.inventory.values import MAX_JUMPS, JumpHop
from fleet.inventory.variables import BY_NAME, PASSWORD_VARIABLES, VARIABLES, parse

_FALLBACKS = {name: variable for variable in VARIABLES for name in variable.fallbacks}


@dataclass(slots=True)
class Resolver:
    """Makes servers and groups of what the texts of an inventory say.

    Attributes:
        source: the inventory's path or paths, as the user would recognise them.
    """

    records: Records
    source: str
    graph: Graph = field(init=False)
    complaints: Complaints = field(default_factory=Complaints)
    _chains: dict[frozenset[str], tuple[str, ...]] = field(default_factory=dict)
    _inherited: dict[tuple[str, ...], Definitions] = field(default_factory=dict)
    _own: dict[str, Definitions] = field(default_factory=dict)
    _ssh: dict[str, SSHSettings] = field(default_factory=dict)
    _reaching: list[str] = field(default_factory=list)
    _jump_hosts: Mapping[str, SSHSettings] = field(default_factory=dict)
    _facts: dict[int, tuple[Definitions, Mapping[str, object], Mapping[str, Origin]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = build_graph(self.records)

    def inventory(self, jump_hosts: Iterable[str] = ()) -> Inventory:
        """The servers and groups.

        Args:
            jump_hosts: names that a command line gives as jump hosts; each server knows those that are hosts here.

        Raises:
            InventoryError: every complaint about loops of groups or jump hosts, missing endpoints and fall-backs.
        """
        self._jump_hosts = MappingProxyType(dict(self._reached(jump_hosts)))
        servers: list[Server] = []
        others: list[str] = []
        for host in self.records.hosts:
            management = self.definitions(host).get("management")
            if management is not None and management.parsed is not None:
                servers.extend(self._servers(host, management))
            else:
                others.append(host)
        homeless = [host for host in others if "management" not in self.definitions(host)]
        expected = [host for host in homeless if self.records.hosts[host].expected]
        # Ansible's hosts may be other servers, but not all of them.
        self._complain_homeless(homeless if len(others) == len(self.records.hosts) else expected)
        self.complaints.raise_any()
        closed = tuple(self.records.closed)
        return Inventory(self.source, tuple(servers), self._groups(servers), tuple(others), closed)

    def _reached(self, names: Iterable[str]) -> Iterator[tuple[str, SSHSettings]]:
        """How the hosts of these names are reached."""
        for host in names:
            if host not in self.records.hosts:
                continue
            try:
                if self.setting(self.definitions(host), "connection") == "local":
                    raise _local(self.records.hosts[host].position, host)
                yield host, self.ssh_settings(host)
            except WrongValueError as error:
                self.complaints.add(error.complaint)

    def _complain_homeless(self, hosts: list[str]) -> None:
        if hosts:
            others = f" (nor have {len(hosts) - 1} other hosts)" if len(hosts) > 1 else ""
            self.complaints.add(
                Complaint(
                    self.records.hosts[hosts[0]].position,
                    f"host {hosts[0]} has no 'management'{others}",
                    "set management: 'HOST:PORT' or a socket's path, for the host or a group it is in; "
                    f"or management: null for a host that is no OpenVPN server{self._left_closed()}",
                )
            )

    def _left_closed(self) -> str:
        """Where what is missing may stand, too."""
        closed = self.records.closed
        others = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
        return f". It is not looked for in {closed[0]}{others}, which Ansible Vault encrypts" if closed else ""

    def _groups(self, servers: list[Server]) -> Mapping[str, Group]:
        members: dict[str, list[str]] = {name: [] for name in self.records.groups}
        for server in servers:
            for name in server.groups:
                members[name].append(server.name)
        return MappingProxyType(
            {
                name: Group(name, tuple(record.children), tuple(record.hosts), tuple(members[name]))
                for name, record in self.records.groups.items()
            }
        )

    def groups(self, host: str) -> tuple[str, ...]:
        """Every group of a host, in the order in which their variables are laid over each other."""
        direct = self.graph.direct[host]
        if direct not in self._chains:
            names = frozenset({"all"}).union(*(self.graph.ancestors[name] for name in direct))
            self._chains[direct] = tuple(sorted(names, key=self.graph.order.__getitem__))
        return self._chains[direct]

    def definitions(self, host: str) -> Definitions:
        """The variables of a host, laid over each other in Ansible's order.

        That is: what the inventories say of its groups, the files of group_vars of `all`, those of its other groups,
        what the inventories say of the host, its files of host_vars.
        """
        own = self._own.get(host)
        if own is None:
            own = overlay(self._of_groups(self.groups(host)), self.records.hosts[host].definitions)
            for files in self.records.host_files:
                own = overlay(own, files.get(host, {}))
            self._own[host] = own
        return own

    def _of_groups(self, groups: tuple[str, ...]) -> Definitions:
        if groups not in self._inherited:
            merged: Definitions = {}
            for name in groups:
                merged = overlay(merged, self.records.groups[name].definitions)
            for files in self.records.group_files:
                merged = overlay(merged, files.get("all", {}))
            for files in self.records.group_files:
                for name in groups[1:]:
                    merged = overlay(merged, files.get(name, {}))
            self._inherited[groups] = merged
        return self._inherited[groups]

    def _servers(self, host: str, management: Definition) -> list[Server]:
        """One server, or one for each daemon of a mapping."""
        definitions = self.definitions(host)
        try:
            ssh = None if self.setting(definitions, "connection") == "local" else self.ssh_settings(host)
            if not isinstance(management.parsed, tuple):
                return [self._server(host, host, ssh, definitions)]
            self._complain_shared(management.parsed)
            return [
                self._server(host, f"{host}/{daemon.name}", ssh, overlay(definitions, daemon.definitions))
                for daemon in management.parsed
            ]
        except WrongValueError as error:
            self.complaints.add(error.complaint)
            return []

    def _complain_shared(self, daemons: tuple[Daemon, ...]) -> None:
        """Two daemons of one host cannot listen on one endpoint; asking it twice would find it busy."""
        first: dict[ManagementEndpoint, Daemon] = {}
        for daemon in daemons:
            definition = daemon.definitions["management"]
            other = first.setdefault(definition.parsed, daemon)
            if other is not daemon:
                problem = f"{definition.origin.owner} has the endpoint of daemon {other.name}: {definition.parsed}"
                self.complaints.add(
                    Complaint(definition.origin, problem, "each daemon has a management port of its own")
                )

    def _server(self, host: str, name: str, ssh: SSHSettings | None, definitions: Definitions) -> Server:
        """One server from its effective variables."""
        sources = [definitions[each].parsed for each in PASSWORD_VARIABLES if each in definitions]
        password: PasswordSource | None = next(filter(None, sources), None)
        variables, origins = self._others(definitions)
        return Server(
            name=name,
            host=host,
            ssh=ssh,
            management=definitions["management"].parsed,
            password=password,
            exclusive=self.setting(definitions, "exclusive") is True,
            max_clients=self.setting(definitions, "max_clients"),
            groups=self.groups(host),
            variables=variables,
            origins=origins,
            jump_hosts=self._jump_hosts,
        )

    def _others(self, definitions: Definitions) -> tuple[Mapping[str, object], Mapping[str, Origin]]:
        """Variables that are not fleet's, and the origin of all; shared by the hosts that have the same."""
        known = self._facts.get(id(definitions))
        if known is None:
            others = {name: value_of_another(name, d.node) for name, d in definitions.items() if name not in BY_NAME}
            origins = {name: definition.origin for name, definition in definitions.items()}
            origins.update(self._fallback_origins(definitions))
            known = (definitions, MappingProxyType(others), MappingProxyType(origins))
            self._facts[id(definitions)] = known  # keeps the mapping alive, so that its id stays its own
        return known[1], known[2]

    def _fallback_origins(self, definitions: Definitions) -> dict[str, Origin]:
        """For each variable of fleet's own that is not set, the place of the fall-back that stands in for it."""
        found: dict[str, Origin] = {}
        for variable in {_FALLBACKS[name].name: _FALLBACKS[name] for name in _FALLBACKS.keys() & definitions}.values():
            own = definitions.get(variable.name)
            if own is None or (own.parsed is None and variable.name != "jump"):
                used = next(filter(None, (self._fallback(definitions, name) for name in variable.fallbacks)), None)
                if used is not None:
                    found[variable.name] = used.origin
        return found

    def _fallback(self, definitions: Definitions, name: str) -> Definition | None:
        """The definition of a fall-back, where it is there and says something."""
        definition = definitions.get(name)
        if definition is None or is_null(definition.node):
            return None
        return None if name in BY_NAME["jump"].fallbacks and not names_a_way(definition.node) else definition

    def setting(self, definitions: Definitions, name: str) -> Any:
        """The value of one of fleet's variables, or of the first of its fall-backs that is set, or None.

        Raises:
            WrongValueError: a fall-back holds what fleet cannot use.
        """
        own = definitions.get(name)
        if own is not None and own.parsed is not None:
            return own.parsed
        variable = BY_NAME[name]
        for other in variable.fallbacks:
            fallback = self._fallback(definitions, other)
            if fallback is not None:
                value = parse(variable, other, fallback.node, fallback.folder)
                if value is not None:
                    return value
        return None

    def ssh_settings(self, host: str) -> SSHSettings:
        """How a host is reached.

        Raises:
            WrongValueError: its jump hosts make a loop, or a fall-back holds what fleet cannot use.
        """
        if host not in self._ssh:
            definitions = self.definitions(host)
            self._reaching.append(host)
            try:
                jump = self._jump(definitions)
            finally:
                self._reaching.pop()
            self._ssh[host] = SSHSettings(
                host=self.setting(definitions, "ssh_host") or host,
                port=self.setting(definitions, "ssh_port"),
                user=self.setting(definitions, "ssh_user"),
                private_key=self.setting(definitions, "private_key"),
                host_keys=self.setting(definitions, "host_keys") or (),
                jump=jump,
            )
        return self._ssh[host]

    def hops(self, definitions: Definitions) -> tuple[JumpHop, ...]:
        """The jump hosts as they were written, the nearest first. `jump: null` ends the arguments for ssh, too.

        Raises:
            WrongValueError: arguments for ssh that fleet cannot go by.
        """
        own = definitions.get("jump")
        if own is not None:
            return own.parsed or ()
        return self.setting(definitions, "jump") or ()

    def _jump(self, definitions: Definitions) -> SSHSettings | None:
        """The last jump host of a chain, each behind the one before it, as `ssh -J` builds them."""
        settings: SSHSettings | None = None
        for hop in self.hops(definitions):
            behind = settings
            settings = self._hop(hop, definitions)
            if behind is not None:
                settings = replace(settings, jump=behind)
        return settings

    def _hop(self, hop: JumpHop, definitions: Definitions) -> SSHSettings:
        if hop.ssh_alone or hop.host not in self.records.hosts:
            return SSHSettings(hop.host, port=hop.port, user=hop.user)
        origin = definitions["jump"].origin
        if hop.host in self._reaching:
            raise self._loop(hop.host)
        if len(self._reaching) > MAX_JUMPS:
            problem = f"more than {MAX_JUMPS} jump hosts behind each other, which is fleet's security limit"
            raise WrongValueError(origin, problem)
        if self.setting(self.definitions(hop.host), "connection") == "local":
            raise _local(origin, hop.host)
        settings = self.ssh_settings(hop.host)
        return replace(settings, user=hop.user or settings.user, port=hop.port or settings.port)

    def _loop(self, host: str) -> WrongValueError:
        loop = self._reaching[self._reaching.index(host) :]
        start = loop.index(min(loop))  # so that every host of the loop gives the same complaint
        loop = [*loop[start:], *loop[:start]]
        origin = self.definitions(loop[0])["jump"].origin
        way = " -> ".join([*loop, loop[0]])
        hint = f"set 'jump: null' for the host that is reached directly, perhaps {host}"
        return WrongValueError(origin, f"the jump hosts of host {loop[0]} make a loop: {way}", hint)


def _local(position: Position, host: str) -> WrongValueError:
    problem = f"jump host {host} has connection: local, so no SSH connection leads through it"
    return WrongValueError(position, problem, "jump through another host")
