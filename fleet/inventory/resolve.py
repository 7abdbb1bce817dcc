"""From records to servers: inheritance, SSH settings, jump chains, daemons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fleet.inventory.graph import Graph, build_graph
from fleet.inventory.model import Group, Inventory, ManagementEndpoint, Origin, PasswordSource, Server, SSHSettings
from fleet.inventory.others import value_of_another
from fleet.inventory.records import Daemon, Definition, Definitions, Records, overlay
from fleet.inventory.tree import Complaint, Complaints, WrongValueError, is_null
from fleet.inventory.values import MAX_JUMPS, JumpHop
from fleet.inventory.variables import BY_NAME, PASSWORD_VARIABLES, VARIABLES, parse


def resolve(records: Records, *, source: str, folder: Path) -> Inventory:
    """The servers and groups of an inventory.

    Args:
        records: what its text says.
        source: its path, as the user would recognise it.
        folder: where relative paths start.

    Raises:
        InventoryError: every complaint about loops of groups or jump hosts, missing endpoints and fall-backs.
    """
    return _Resolver(records, build_graph(records), folder).inventory(source)


@dataclass(slots=True)
class _Resolver:
    records: Records
    graph: Graph
    folder: Path
    complaints: Complaints = field(default_factory=Complaints)
    chains: dict[frozenset[str], tuple[str, ...]] = field(default_factory=dict)
    inherited: dict[tuple[str, ...], Definitions] = field(default_factory=dict)
    ssh: dict[str, SSHSettings] = field(default_factory=dict)
    reaching: list[str] = field(default_factory=list)
    facts: dict[int, tuple[Definitions, Mapping[str, object], Mapping[str, Origin]]] = field(default_factory=dict)

    def inventory(self, source: str) -> Inventory:
        servers: list[Server] = []
        jump_hosts: list[str] = []
        homeless: list[str] = []
        for host in self.records.hosts:
            management = self.definitions(host).get("management")
            if management is None:
                homeless.append(host)
            elif management.parsed is None:
                jump_hosts.append(host)
            else:
                servers.extend(self.servers(host, management))
        self._complain_homeless(homeless)
        self.complaints.raise_any()
        return Inventory(source, tuple(servers), self._groups(servers), tuple(jump_hosts))

    def _complain_homeless(self, hosts: list[str]) -> None:
        if hosts:
            others = f" (nor have {len(hosts) - 1} other hosts)" if len(hosts) > 1 else ""
            self.complaints.add(
                Complaint(
                    self.records.hosts[hosts[0]].position,
                    f"host {hosts[0]} has no 'management'{others}",
                    "set management: 'HOST:PORT' or a socket's path, for the host or a group it is in; "
                    "or management: null for a host that is no OpenVPN server",
                )
            )

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
        if direct not in self.chains:
            names = frozenset({"all"}).union(*(self.graph.ancestors[name] for name in direct))
            self.chains[direct] = tuple(sorted(names, key=self.graph.order.__getitem__))
        return self.chains[direct]

    def definitions(self, host: str) -> Definitions:
        """The variables of a host: those of its groups, its own over them."""
        groups = self.groups(host)
        if groups not in self.inherited:
            merged: Definitions = {}
            for name in groups:
                merged = overlay(merged, self.records.groups[name].definitions)
            self.inherited[groups] = merged
        return overlay(self.inherited[groups], self.records.hosts[host].definitions)

    def servers(self, host: str, management: Definition) -> list[Server]:
        """One server, or one for each daemon of a mapping."""
        definitions = self.definitions(host)
        try:
            ssh = None if self.setting(definitions, "connection") == "local" else self.ssh_settings(host)
        except WrongValueError as error:
            self.complaints.add(error.complaint)
            return []
        if not isinstance(management.parsed, tuple):
            return [self.server(host, host, ssh, definitions)]
        self._complain_shared(management.parsed)
        return [
            self.server(host, f"{host}/{daemon.name}", ssh, overlay(definitions, daemon.definitions))
            for daemon in management.parsed
        ]

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

    def server(self, host: str, name: str, ssh: SSHSettings | None, definitions: Definitions) -> Server:
        """One server from its effective variables."""
        sources = [definitions[each].parsed for each in PASSWORD_VARIABLES if each in definitions]
        password: PasswordSource | None = next(filter(None, sources), None)
        variables, origins = self._facts(definitions)
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
        )

    def _facts(self, definitions: Definitions) -> tuple[Mapping[str, object], Mapping[str, Origin]]:
        """Variables that are not fleet's, and the origin of all; shared by the hosts that have the same."""
        known = self.facts.get(id(definitions))
        if known is None:
            others = {name: value_of_another(name, d.node) for name, d in definitions.items() if name not in BY_NAME}
            origins = {name: definition.origin for name, definition in definitions.items()}
            origins.update(self._fallback_origins(definitions))
            known = (definitions, MappingProxyType(others), MappingProxyType(origins))
            self.facts[id(definitions)] = known  # keeps the mapping alive, so that its id stays its own
        return known[1], known[2]

    def _fallback_origins(self, definitions: Definitions) -> dict[str, Origin]:
        """For each variable of fleet's own that is not set, the place of the fall-back that stands in for it."""
        found: dict[str, Origin] = {}
        for variable in VARIABLES:
            own = definitions.get(variable.name)
            if own is None or own.parsed is None:
                set_ones = (definitions[name] for name in variable.fallbacks if name in definitions)
                used = next((each.origin for each in set_ones if not is_null(each.node)), None)
                if used is not None:
                    found[variable.name] = used
        return found

    def setting(self, definitions: Definitions, name: str) -> Any:
        """The value of one of fleet's variables, or of the first of its fall-backs that is set, or None.

        Raises:
            WrongValueError: a fall-back holds what fleet cannot use.
        """
        own = definitions.get(name)
        if own is not None and own.parsed is not None:
            return own.parsed
        variable = BY_NAME[name]
        for fallback in variable.fallbacks:
            if fallback in definitions:
                value = parse(variable, fallback, definitions[fallback].node, self.folder)
                if value is not None:
                    return value
        return None

    def ssh_settings(self, host: str) -> SSHSettings:
        """How a host is reached.

        Raises:
            WrongValueError: its jump hosts make a loop, or a fall-back holds what fleet cannot use.
        """
        if host not in self.ssh:
            definitions = self.definitions(host)
            self.reaching.append(host)
            try:
                jump = self._jump(definitions.get("jump"))
            finally:
                self.reaching.pop()
            self.ssh[host] = SSHSettings(
                host=self.setting(definitions, "ssh_host") or host,
                port=self.setting(definitions, "ssh_port"),
                user=self.setting(definitions, "ssh_user"),
                private_key=self.setting(definitions, "private_key"),
                host_keys=self.setting(definitions, "host_keys") or (),
                jump=jump,
            )
        return self.ssh[host]

    def _jump(self, definition: Definition | None) -> SSHSettings | None:
        """The last jump host of a chain, each behind the one before it, as `ssh -J` builds them."""
        settings: SSHSettings | None = None
        hops: tuple[JumpHop, ...] = (definition.parsed or ()) if definition is not None else ()
        for hop in hops:
            behind = settings
            settings = self._hop(hop, definition) if definition is not None else None
            if settings is not None and behind is not None:
                settings = replace(settings, jump=behind)
        return settings

    def _hop(self, hop: JumpHop, definition: Definition) -> SSHSettings:
        if hop.host not in self.records.hosts:
            return SSHSettings(hop.host, port=hop.port, user=hop.user)
        if hop.host in self.reaching:
            raise self._loop(hop.host)
        if len(self.reaching) > MAX_JUMPS:
            problem = f"more than {MAX_JUMPS} jump hosts behind each other, which is fleet's security limit"
            raise WrongValueError(definition.origin, problem)
        if self.setting(self.definitions(hop.host), "connection") == "local":
            problem = f"jump host {hop.host} has connection: local, so no SSH connection leads through it"
            raise WrongValueError(definition.origin, problem, "jump through another host")
        settings = self.ssh_settings(hop.host)
        return replace(settings, user=hop.user or settings.user, port=hop.port or settings.port)

    def _loop(self, host: str) -> WrongValueError:
        loop = self.reaching[self.reaching.index(host) :]
        start = loop.index(min(loop))  # so that every host of the loop gives the same complaint
        loop = [*loop[start:], *loop[:start]]
        origin = self.definitions(loop[0])["jump"].origin
        way = " -> ".join([*loop, loop[0]])
        hint = f"set 'jump: null' for the host that is reached directly, perhaps {host}"
        return WrongValueError(origin, f"the jump hosts of host {loop[0]} make a loop: {way}", hint)
