"""Jump hosts of the command line that the inventory has: it says how they are reached, as for its own `jump`."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import InventoryError
from fleet.inventory.load import load
from fleet.inventory.model import Inventory, SSHSettings
from fleet.transport.given import hosts_of_jump, settings_for, with_hosts
from fleet.transport.options import SSHOptions

INVENTORY = """\
all:
  hosts:
    outer: {management: null, ssh_host: 192.0.2.1}
    bastion: {management: null, ssh_host: 192.0.2.2, ssh_port: 2222, ssh_user: ops, private_key: key, jump: outer}
    here: {management: null, connection: local}
    edge-1: {management: '127.0.0.1:7505', ssh_host: 192.0.2.9}
    edge-2: {management: '127.0.0.1:7505', ssh_host: 192.0.2.8, jump: outer}
"""


def read(folder: Path, jump: str) -> Inventory:
    path = folder / "inventory.yaml"
    path.write_text(INVENTORY, "utf-8")
    return load(str(path), jump_hosts=hosts_of_jump(jump))


def ways(folder: Path, jump: str, **more: str) -> dict[str, SSHSettings | None]:
    servers = read(folder, jump).servers
    options = with_hosts(SSHOptions(jump=jump, **more), servers)  # type: ignore[arg-type]  # texts only
    return {server.name: settings_for(server.ssh, options).jump for server in servers if server.ssh is not None}


def test_a_host_of_the_inventory_is_reached_as_it_says(tmp_path: Path) -> None:
    outer = SSHSettings("192.0.2.1")
    bastion = SSHSettings("192.0.2.2", port=2222, user="ops", private_key=tmp_path / "key", jump=outer)
    assert ways(tmp_path, "bastion") == {"edge-1": bastion, "edge-2": bastion}


def test_what_the_list_says_of_it_wins(tmp_path: Path) -> None:
    first = SSHSettings("elsewhere", port=24)
    bastion = SSHSettings("192.0.2.2", port=23, user="me", private_key=tmp_path / "key", jump=first)
    assert ways(tmp_path, "elsewhere:24, me@bastion:23")["edge-1"] == bastion


def test_a_server_that_is_the_jump_host_is_gone_to_as_the_inventory_says(tmp_path: Path) -> None:
    found = ways(tmp_path, "edge-2", user="me")
    assert found["edge-2"] == SSHSettings("192.0.2.1")
    assert found["edge-1"] == SSHSettings("192.0.2.8", jump=SSHSettings("192.0.2.1"))


def test_another_host_is_what_ssh_knows_of_it(tmp_path: Path) -> None:
    assert ways(tmp_path, "ops@elsewhere") == dict.fromkeys(("edge-1", "edge-2"), SSHSettings("elsewhere", user="ops"))


def test_no_way_leads_through_this_machine(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="jump host here has connection: local"):
        read(tmp_path, "here")
