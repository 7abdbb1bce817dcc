"""A temporary folder with all that fleet needs to reach a farm: inventory, key, known_hosts, ssh_config, passwords."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet.demo.farm import USER, Farm, KnownKey, SimulatedHost


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where what was written lies; the folder is the caller's to remove.

    Attributes:
        inventory: the farm as fleet's inventory, complete: with keys, ports, jumps and pins.
        private_key: that logs in as USER.
        known_hosts: the host keys that the operator knows.
        ssh_config: nothing but UserKnownHostsFile, so that the user's own configuration has no part in it.
    """

    folder: Path
    inventory: Path
    private_key: Path
    known_hosts: Path
    ssh_config: Path


def write_workspace(farm: Farm, folder: Path, *, pins: bool = True) -> Workspace:
    """Writes the files for a running farm.

    Args:
        farm: it runs already: ports and host keys are known.
        folder: exists, and nobody else may read it.
        pins: whether the inventory has the host keys; else only known_hosts has them.
    """
    workspace = Workspace(
        folder=folder,
        inventory=folder / "inventory.yaml",
        private_key=folder / "id_ed25519",
        known_hosts=folder / "known_hosts",
        ssh_config=folder / "ssh_config",
    )
    _write_private(workspace.private_key, farm.user_key.export_private_key())
    known = {name: host.public_key for name, host in farm.hosts.items() if host.known_key is not KnownKey.UNKNOWN}
    lines = (f"[127.0.0.1]:{farm.hosts[name].port} {key}\n" for name, key in known.items())
    workspace.known_hosts.write_text("".join(lines), "utf-8")
    # A port of one's own matters: the files of the user and of the system know other hosts on 127.0.0.1.
    workspace.ssh_config.write_text(
        f'Host *\n  UserKnownHostsFile "{workspace.known_hosts}"\n  GlobalKnownHostsFile /dev/null\n', "utf-8"
    )
    for host in farm.hosts.values():
        for server in host.management.values():
            if server.daemon.password is not None:
                _write_private(_password_file(folder, host), server.daemon.password + b"\n")
    text = "\n".join(_inventory(farm, workspace, known if pins else {})) + "\n"
    workspace.inventory.write_text(text, "utf-8")
    return workspace


def _inventory(farm: Farm, workspace: Workspace, pins: dict[str, str]) -> Iterator[str]:
    yield "all:"
    yield "  vars:"
    yield "    ssh_host: 127.0.0.1"
    yield f"    ssh_user: {USER}"
    yield f"    private_key: {_quoted(workspace.private_key)}"
    groups: dict[str | None, list[SimulatedHost]] = {}
    for host in farm.hosts.values():
        groups.setdefault(host.group, []).append(host)
    if ungrouped := groups.pop(None, None):
        yield "  hosts:"
        for host in ungrouped:
            yield from _host(host, workspace.folder, pins, "    ")
    if groups:
        yield "  children:"
    for group, hosts in groups.items():
        yield f"    {group}:"
        yield "      hosts:"
        for host in hosts:
            yield from _host(host, workspace.folder, pins, "        ")


def _host(host: SimulatedHost, folder: Path, pins: dict[str, str], indent: str) -> Iterator[str]:
    yield f"{indent}{host.name}:"
    indent += "  "
    yield f"{indent}ssh_port: {host.port}"
    if host.name in pins:
        yield f"{indent}host_keys: [{_quoted(pins[host.name])}]"
    if host.jump is not None:
        yield f"{indent}jump: {host.jump}"
    if not host.management:
        yield f"{indent}management: null  # only to jump through"
    elif "" in host.management:
        yield f"{indent}management: {_quoted(host.management[''].endpoint)}"
    else:
        yield f"{indent}management:"
        for label, server in host.management.items():
            yield f"{indent}  {label}: {_quoted(server.endpoint)}"
    if any(server.daemon.password is not None for server in host.management.values()):
        yield f"{indent}management_password_file: {_quoted(_password_file(folder, host))}"


def _password_file(folder: Path, host: SimulatedHost) -> Path:
    return folder / f"{host.name}.password"


def _quoted(value: object) -> str:
    """A double-quoted YAML text: JSON's are."""
    return json.dumps(str(value))


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
