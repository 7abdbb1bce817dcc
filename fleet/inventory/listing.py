"""An inventory as Ansible's `--list` prints one: what another tool, or fleet itself, can take it over from.

Every host has its whole variables under `_meta`, as `ansible-inventory --list` prints them: those of its groups are
among them. A host's way and its daemons stand there twice, under fleet's names, which fleet reads first, and under
Ansible's, where the inventory does not set those itself. Secrets are left out: what a name calls one, what is vaulted,
and the arguments of a password command.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator, Sequence
from typing import Any

from fleet.inventory.model import PasswordCommand, PasswordFile, Server, SSHSettings
from fleet.inventory.others import is_secret
from fleet.inventory.records import Definitions
from fleet.inventory.resolve import Resolver
from fleet.inventory.tree import MappingNode, Node, Plain, SequenceNode
from fleet.inventory.variables import BY_NAME, GROUP_PRIORITY
from fleet.inventory.yaml_tree import guessed

Document = dict[str, Any]


def listing(resolver: Resolver, servers: Sequence[Server]) -> Document:
    """The document of some servers, and of the hosts that the way to them leads through.

    Those that are only on the way have `management: null`: to whoever reads this they are no servers.

    Args:
        resolver: what `read` gave, with which the servers were made.
        servers: of its inventory, in their order.
    """
    chosen: dict[str, list[Server]] = {}
    for server in servers:
        chosen.setdefault(server.host, []).append(server)
    hosts = dict.fromkeys(chosen)
    for host in _on_the_way(resolver, [host for host, own in chosen.items() if own[0].ssh is not None]):
        hosts.setdefault(host)
    document: Document = {
        "_meta": {"hostvars": {host: _host_variables(resolver, host, chosen.get(host, ())) for host in hosts}}
    }
    document.update(_groups(resolver, hosts, list(chosen)))
    return document


def _on_the_way(resolver: Resolver, hosts: list[str]) -> Iterator[str]:
    """The jump hosts of hosts that the inventory has, those of theirs included; each once."""
    seen: set[str] = set()
    waiting = list(reversed(hosts))
    while waiting:
        for hop in resolver.hops(resolver.definitions(waiting.pop())):
            if not hop.ssh_alone and hop.host in resolver.records.hosts and hop.host not in seen:
                seen.add(hop.host)
                waiting.append(hop.host)
                yield hop.host


def _groups(resolver: Resolver, wanted: Container[str], in_order: list[str]) -> dict[str, Document]:
    records = resolver.records.groups
    groups: dict[str, Document] = {}
    for name in _outer_first(resolver):
        group: Document = {}
        members = [host for host in records[name].hosts if host in wanted]
        if members or not records[name].children:  # Ansible takes a group without any key for a host
            group["hosts"] = members
        if records[name].children:
            group["children"] = list(records[name].children)
        if records[name].priority != 1:
            group["vars"] = {GROUP_PRIORITY: records[name].priority}
        groups[name] = group
    met = dict.fromkeys(host for group in groups.values() for host in group.get("hosts", ()))
    chosen = set(in_order)
    if [host for host in met if host in chosen] != in_order:
        groups["all"]["hosts"] = in_order  # the order of the inventory, where that of the groups is another
    if resolver.records.others:
        groups["all"]["vars"] = {**groups["all"].get("vars", {}), "other_variables": list(resolver.records.others)}
    return groups


def _outer_first(resolver: Resolver) -> list[str]:
    """The groups in the order in which a reader meets them from `all` inwards."""
    met: dict[str, None] = {}
    waiting = ["all"]
    while waiting:
        name = waiting.pop()
        if name not in met:
            met[name] = None
            waiting.extend(reversed(resolver.records.groups[name].children))
    return list(met)


def _host_variables(resolver: Resolver, host: str, servers: Sequence[Server]) -> Document:
    definitions = resolver.definitions(host)
    variables: Document = {}
    for name, definition in definitions.items():
        if name not in BY_NAME and not is_secret(name) and not _is_vaulted(definition.node):
            variables[name] = _value(definition.node)
    ssh = servers[0].ssh if servers else resolver.ssh_settings(host)
    variables.update(_way(host, ssh, definitions, variables))
    variables.update(_management(servers) if servers else {"management": None})
    return variables


def _is_vaulted(node: Node) -> bool:
    return not isinstance(node, MappingNode | SequenceNode) and node.vaulted


def _value(node: Node) -> Any:
    """A value as Ansible would have it, without what is secret in it."""
    if isinstance(node, MappingNode):
        kept = (entry for entry in node.entries if not is_secret(entry.key) and not _is_vaulted(entry.value))
        return {entry.key: _value(entry.value) for entry in kept}
    if isinstance(node, SequenceNode):
        return [_value(item) for item in node.items if not _is_vaulted(item)]
    return _guessed(node.value) if isinstance(node.value, Plain) else node.value


@functools.lru_cache(maxsize=65536)  # hosts have the same values again and again
def _guessed(text: Plain) -> str | int | float | bool | None:
    if text[:1] in "-+.0123456789" or text.lower() in {"yes", "no", "on", "off", "true", "false"}:
        return guessed(text)
    return str(text)


def _way(host: str, ssh: SSHSettings | None, definitions: Definitions, others: Document) -> Document:
    """How the host is reached, under fleet's names, and under Ansible's where the inventory does not set them."""
    if ssh is None:
        return {"connection": "local", "ansible_connection": others.get("ansible_connection", "local")}
    private_key = None if ssh.private_key is None else str(ssh.private_key)
    found: Document = {
        "connection": "ssh" if "ansible_connection" in others else None,
        "ssh_host": ssh.host if ssh.host != host or "ansible_host" in others or "ansible_ssh_host" in others else None,
        "ssh_port": ssh.port,
        "ssh_user": ssh.user,
        "private_key": private_key,
        "host_keys": list(ssh.host_keys) or None,
        "ansible_host": others.get("ansible_host", None if ssh.host == host else ssh.host),
        "ansible_port": others.get("ansible_port", ssh.port),
        "ansible_user": others.get("ansible_user", ssh.user),
        "ansible_ssh_private_key_file": others.get("ansible_ssh_private_key_file", private_key),
    }
    jump = definitions.get("jump")
    if jump is not None and jump.parsed:
        found["jump"] = ",".join(str(hop) for hop in jump.parsed)
        found["ansible_ssh_common_args"] = others.get("ansible_ssh_common_args", f"-o ProxyJump={_chain(ssh)}")
    found = {name: value for name, value in found.items() if value is not None}
    return {**found, "jump": None} if jump is not None and not jump.parsed else found


def _chain(ssh: SSHSettings) -> str:
    """The jump hosts in the order in which they are passed, as for `ssh -J`."""
    chain: list[str] = []
    jump = ssh.jump
    while jump is not None:
        user = f"{jump.user}@" if jump.user else ""
        name = f"[{jump.host}]" if ":" in jump.host else jump.host
        chain.append(f"{user}{name}:{jump.port}" if jump.port else f"{user}{name}")
        jump = jump.jump
    return ",".join(reversed(chain))


def _management(servers: Sequence[Server]) -> Document:
    """The endpoint of a host's only daemon, or the mapping of its daemons."""
    if servers[0].name == servers[0].host:
        return {"management": str(servers[0].management), **_daemon(servers[0])}
    daemons = {server.name.partition("/")[2]: server for server in servers}
    return {
        "management": {
            name: {"endpoint": str(server.management), **_daemon(server)} for name, server in daemons.items()
        }
    }


def _daemon(server: Server) -> Document:
    found: Document = {}
    if isinstance(server.password, PasswordFile):
        found["management_password_file"] = str(server.password.path)
    if isinstance(server.password, PasswordCommand) and len(server.password.argv) == 1:
        found["management_password_command"] = list(server.password.argv)
    if server.exclusive:
        found["exclusive"] = True
    if server.max_clients is not None:
        found["max_clients"] = server.max_clients
    return found
