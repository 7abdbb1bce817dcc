"""`inventory list -o json`: fleet reads its own output back, and Ansible and fleet read each other's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import InventoryError
from fleet.inventory.listing import listing
from fleet.inventory.load import load, read
from fleet.inventory.model import Inventory, Server
from fleet.inventory.pattern import select
from fleet.inventory.tree import Plain
from fleet.inventory.yaml_tree import guessed

ROOT = Path(__file__).parents[2]
ANSIBLE_INVENTORY = Path(sys.executable).with_name("ansible-inventory")


def listed(path: Path, *patterns: str) -> dict[str, Any]:
    """The document of an inventory, or of what patterns name in it."""
    resolver = read(str(path))
    return listing(resolver, select(resolver.inventory(), patterns))


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read_back(folder: Path, document: Mapping[str, Any]) -> Inventory:
    return load(str(written(folder, "back.json", json.dumps(document))))


TEXT = """\
all:
  vars: {ssh_user: ops, management: "127.0.0.1:7505", other_variables: [ssh_hardening_*], ssh_hardening_x: yes}
  children:
    eu:
      vars: {ansible_group_priority: 5, site: 017, up: on, note: "on", at: 2026-01-01, size: 1.5, bad: =}
      hosts:
        edge-[1:2]: {}
        edge-3: {ansible_password: hunter2, db: {user: u, password: hunter2, v: !vault x}, l: [1, !vault x], e: !vault x}
    us:
      hosts:
        gw:
          jump: bastion,me@[2001:db8::1]:23
          management:
            udp: "127.0.0.1:7505"
            tcp: {endpoint: /run/tcp.sock, exclusive: true, max_clients: 9, management_password_file: /pw}
        here: {connection: local, management_password_command: show-password}
        over: {ssh_host: 192.0.2.1, ansible_host: 192.0.2.2, connection: ssh, ansible_connection: winrm, ssh_port: 2200}
        far:
          jump: null
          ansible_ssh_common_args: -J bastion
          management_password_command: [pass, show, hunter2]
        ways: {ansible_ssh_common_args: -J bastion}
    hop:
      vars: {management: null}
      hosts:
        bastion: {jump: outer, ssh_port: 2022, private_key: /k, host_keys: "SHA256:kqDqWFtBOWVQ4E1mBwRKvxxdpfiCaVLEl5O0GLcIYKw"}
        outer: {ssh_host: 192.0.2.9}
        unused:
"""  # noqa: E501 - one host a line


def test_what_is_listed(tmp_path: Path) -> None:
    document = listed(written(tmp_path, "inv.yaml", TEXT))
    hostvars = document["_meta"]["hostvars"]
    eu = {"ssh_hardening_x": True, "site": 15, "up": True, "note": "on", "at": "2026-01-01", "size": 1.5, "bad": "="}
    way = {"ssh_user": "ops", "ansible_user": "ops"}
    assert hostvars["edge-1"] == {**eu, **way, "management": "127.0.0.1:7505"}
    assert hostvars["edge-3"]["db"] == {"user": "u"}
    assert hostvars["edge-3"]["l"] == [1]
    assert "e" not in hostvars["edge-3"]
    assert hostvars["gw"] == {
        "ssh_hardening_x": True,
        **way,
        "jump": "bastion,me@[2001:db8::1]:23",
        "ansible_ssh_common_args": "-o ProxyJump=ops@192.0.2.9,ops@bastion:2022,me@[2001:db8::1]:23",
        "management": {
            "udp": {"endpoint": "127.0.0.1:7505"},
            "tcp": {
                "endpoint": "/run/tcp.sock",
                "management_password_file": "/pw",
                "exclusive": True,
                "max_clients": 9,
            },
        },
    }
    assert hostvars["here"] == {
        "ssh_hardening_x": True,
        "connection": "local",
        "ansible_connection": "local",
        "management": "127.0.0.1:7505",
        "management_password_command": ["show-password"],
    }
    over = hostvars["over"]
    assert (over["ssh_host"], over["ansible_host"], over["connection"]) == ("192.0.2.1", "192.0.2.2", "ssh")
    assert (over["ssh_port"], over["ansible_port"], over["ansible_connection"]) == (2200, 2200, "winrm")
    assert hostvars["far"]["jump"] is None
    assert hostvars["far"]["ansible_ssh_common_args"] == "-J bastion"
    assert "jump" not in hostvars["ways"]
    assert hostvars["bastion"]["management"] is None
    assert hostvars["bastion"]["ansible_ssh_private_key_file"] == "/k"
    assert hostvars["outer"]["ansible_host"] == "192.0.2.9"
    assert "unused" not in hostvars
    assert "hunter2" not in json.dumps(document)
    assert {name: group for name, group in document.items() if name != "_meta"} == {
        "all": {"children": ["eu", "us", "hop"], "vars": {"other_variables": ["ssh_hardening_*"]}},
        "eu": {"hosts": ["edge-1", "edge-2", "edge-3"], "vars": {"ansible_group_priority": 5}},
        "us": {"hosts": ["gw", "here", "over", "far", "ways"]},
        "hop": {"hosts": ["bastion", "outer"]},
    }


def test_fleet_reads_it_back(tmp_path: Path) -> None:
    path = written(tmp_path, "inv.yaml", TEXT)
    inventory, back = load(str(path)), read_back(tmp_path, listed(path))
    without = {"far"}  # its password command has arguments, which may be secret
    assert [each for each in back.servers if each.name not in without] == [
        each for each in inventory.servers if each.name not in without
    ]
    assert back.jump_hosts == ("bastion", "outer")


def test_some_servers_are_listed_with_the_hosts_on_their_way(tmp_path: Path) -> None:
    path = written(tmp_path, "inv.yaml", TEXT)
    back = read_back(tmp_path, listed(path, "gw/tcp"))
    assert [each.name for each in back.servers] == ["gw/tcp"]
    assert back.servers == select(load(str(path)), ["gw/tcp"])
    assert back.jump_hosts == ("bastion", "outer")
    assert back.groups["eu"].servers == ()


def test_a_server_on_the_way_to_another_is_only_on_the_way(tmp_path: Path) -> None:
    path = written(tmp_path, "inv.yaml", "all: {vars: {management: /s}, hosts: {a: {jump: b}, b: {jump: c}, c: }}\n")
    back = read_back(tmp_path, listed(path, "a"))
    assert ([each.name for each in back.servers], back.jump_hosts) == (["a"], ("b", "c"))
    assert back.servers == select(load(str(path)), ["a"])


def test_the_order_of_the_servers_is_kept(tmp_path: Path) -> None:
    groups = "z: {children: {y: {hosts: {c: , a: }}}, hosts: {b: , a: }}"
    path = written(tmp_path, "inv.yaml", f"all: {{vars: {{management: /s}}}}\n{groups}\nx: {{children: {{y: }}}}\n")
    resolver = read(str(path))
    inventory = resolver.inventory()
    document = listing(resolver, inventory.servers)
    assert document["all"]["hosts"] == ["c", "a", "b"]
    assert read_back(tmp_path, document).servers == inventory.servers


def test_an_inventory_without_servers(tmp_path: Path) -> None:
    path = written(tmp_path, "inv.yaml", "all: {hosts: {a: {management: null}}}\n")
    resolver = read(str(path))
    resolver.inventory()
    assert listing(resolver, ()) == {
        "_meta": {"hostvars": {}},
        "all": {"children": ["ungrouped"]},
        "ungrouped": {"hosts": []},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:22", 1342),
        ("0x1f", 31),
        ("=", "="),
        ("2026-02-31", "2026-02-31"),
        ("2026-11-22T01:02:03Z", "2026-11-22T01:02:03+00:00"),
        ("2026-11-22 01:02:03", "2026-11-22T01:02:03"),
        ("1e400", "1e400"),
        ("1.", 1.0),
        ("no", False),
    ],
)
def test_unquoted_texts_are_what_ansible_takes_them_for(text: str, value: object) -> None:
    found = guessed(Plain(text))
    assert (found, type(found)) == (value, type(value))


# Whatever an inventory says

HOSTS = st.sampled_from(["a", "b", "c", "d.example.net", "2001:db8::5"])
ENDPOINTS = st.sampled_from(["127.0.0.1:7505", "[::1]:7506", "/run/m.sock", "ovpn:7505"])
PORTS = st.integers(1, 65535)
HOPS = st.sampled_from(["a", "b", "alias", "me@b:23", "[2001:db8::9]:22", "d.example.net,x"])
OF_DAEMONS = {
    "exclusive": st.booleans(),
    "max_clients": st.integers(1, 500) | st.none(),
    "management_password_file": st.sampled_from(["/pw", "pw"]),
}
DAEMONS = st.dictionaries(
    st.sampled_from(["udp", "tcp"]), st.fixed_dictionaries({}, optional=OF_DAEMONS), min_size=1
).map(lambda found: {name: {"endpoint": f"/run/{name}", **more} for name, more in found.items()})
VARIABLES = st.fixed_dictionaries(
    {},
    optional={
        **OF_DAEMONS,
        "management": ENDPOINTS | DAEMONS | st.none(),
        "ssh_host": st.sampled_from(["192.0.2.1", "x.example.net", "2001:db8::7"]) | st.none(),
        "ansible_host": st.sampled_from(["192.0.2.2", "y"]),
        "ssh_port": PORTS | st.none(),
        "ansible_port": PORTS,
        "ssh_user": st.sampled_from(["ops", "root"]) | st.none(),
        "ansible_user": st.just("ans"),
        "private_key": st.sampled_from(["/k", "k"]),
        "host_keys": st.just("SHA256:" + "a" * 43) | st.none(),
        "jump": HOPS | st.none(),
        "connection": st.sampled_from(["ssh", "local"]) | st.none(),
        "ansible_connection": st.sampled_from(["local", "smart"]),
        "ansible_ssh_common_args": st.sampled_from(["-J b", "-o ControlPersist=1", "-o ProxyJump=u@h:2,i"]),
        "ansible_group_priority": st.integers(-3, 3),
        "other": st.sampled_from([1, "1", None, True, 1.5, [1, {"k": "v"}], "{{ x }}"]),
    },
)
GROUPS = st.fixed_dictionaries({"hosts": st.dictionaries(HOSTS, VARIABLES, max_size=4), "vars": VARIABLES})


@given(groups=st.dictionaries(st.sampled_from(["g", "h", "i"]), GROUPS), inside=st.booleans(), every=VARIABLES)
def test_fleet_reads_back_whatever_it_lists(
    tmp_path_factory: pytest.TempPathFactory, groups: dict[str, Any], inside: bool, every: dict[str, Any]
) -> None:
    every = {"management": "127.0.0.1:1", **every}
    children = {"outer": {"children": groups}} if inside else groups
    folder = tmp_path_factory.getbasetemp() / "back"
    path = written(folder, "inv.json", json.dumps({"all": {"vars": every, "children": children}}))
    try:
        resolver = read(str(path))
        inventory = resolver.inventory()
    except InventoryError as error:  # what this strategy can do wrong
        assert "loop" in error.message or "local, so no SSH" in error.message  # noqa: PT017 - either outcome is right
        return
    back = read_back(folder, json.loads(json.dumps(listing(resolver, inventory.servers))))
    assert back.servers == inventory.servers
    assert [each.groups for each in back.servers] == [each.groups for each in inventory.servers]
    shown = [{name: each.variables[name] for name in each.variables if name == "other"} for each in inventory.servers]
    assert [
        {name: each.variables[name] for name in each.variables if name == "other"} for each in back.servers
    ] == shown


# Ansible itself


def ansible_lists(source: Path, folder: Path) -> dict[str, Any]:
    """What `ansible-inventory --list` makes of an inventory."""
    result = subprocess.run(
        [ANSIBLE_INVENTORY, "-i", source, "--list"],
        check=False,
        stdin=subprocess.DEVNULL,  # it refuses one that somebody else has left non-blocking
        capture_output=True,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
            "PYTHONPATH": str(ROOT),
        },
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


DIRECTORY = {
    "hosts": "[eu]\nedge-[01:02].example.net:2222\n[gw]\ngw1 ansible_host=192.0.2.1\n"
    "[gw:vars]\nansible_ssh_common_args=-J bastion\n[vpn:children]\neu\ngw\n[vpn:vars]\nlevel=group\nnumber=7\n"
    "[web]\nwww[1:3]\n",
    "more.yml": "gw: {hosts: {gw2: {max_clients: 9, level: host}}}\nhop: {hosts: {bastion: {management: }}}\n",
    "group_vars/all.yml": "management: 127.0.0.1:7505\nansible_user: ops\nenabled: yes\n",
    "group_vars/web.yml": "management:\n",
    "group_vars/gw/main.yml": "management: {udp: '127.0.0.1:7505', tcp: /run/tcp.sock}\nlevel: files\n",
    "group_vars/eu.json": '{"max_clients": 250, "ansible_ssh_private_key_file": "/keys/eu"}',
    "host_vars/gw2.yaml": "management: {one: {endpoint: /run/one, exclusive: true}}\n",
}


def servers_by_name(inventory: Inventory) -> dict[str, Server]:
    return {each.name: each for each in inventory.servers}


def test_ansible_and_fleet_read_each_other(tmp_path: Path) -> None:
    for name, text in DIRECTORY.items():
        written(tmp_path / "inv", name, text)
    resolver = read(str(tmp_path / "inv"))
    inventory = resolver.inventory()
    assert list(servers_by_name(inventory)) == [
        "edge-01.example.net", "edge-02.example.net", "gw1/udp", "gw1/tcp", "gw2/one",
    ]  # fmt: skip

    # What Ansible makes of the folder is what fleet makes of it.
    theirs = ansible_lists(tmp_path / "inv", tmp_path)
    through = load(str(written(tmp_path, "theirs.json", json.dumps(theirs))))
    assert servers_by_name(through) == servers_by_name(inventory)
    for name, each in servers_by_name(inventory).items():
        assert each.variables["level"] == servers_by_name(through)[name].variables["level"]

    # And what fleet prints is to Ansible what its own folder was, for the hosts that are there.
    ours = listing(resolver, inventory.servers)
    script = written(tmp_path, "fleet.sh", f"#!/bin/sh\ncat {tmp_path}/ours.json\n")
    script.chmod(0o755)
    written(tmp_path, "ours.json", json.dumps(ours))
    again = ansible_lists(script, tmp_path)
    hosts = ours["_meta"]["hostvars"].keys()
    assert again["_meta"]["hostvars"].keys() == hosts
    for host in hosts:
        before, after = theirs["_meta"]["hostvars"][host], again["_meta"]["hostvars"][host]
        of_ansible = {name for name in before if name not in {"management", "max_clients", "exclusive"}}
        assert {name: after[name] for name in of_ansible} == {name: before[name] for name in of_ansible}
    assert again["_meta"]["hostvars"]["gw2"]["management"] == {
        "one": {"endpoint": "/run/one", "exclusive": True, "max_clients": 9}
    }
    assert {name: again[name].get("hosts") for name in ("eu", "gw")} == {
        name: theirs[name].get("hosts") for name in ("eu", "gw")
    }
    assert servers_by_name(load(str(written(tmp_path, "again.json", json.dumps(again))))) == servers_by_name(inventory)
