"""fleet inventory list, graph and show: what was resolved, and from where; secrets never."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.harness import Fleet

TEXT = """\
all:
  vars: {ssh_user: ops, management: "127.0.0.1:7505", other_variables: ["*"]}
  children:
    eu:
      hosts:
        edge-[1:2]: {}
        gw:
          jump: bastion
          management: {udp: "127.0.0.1:7505", tcp: /run/openvpn/tcp.sock}
          management_password_file: pw
    us:
      hosts:
        here:
          connection: local
          exclusive: true
          max_clients: 50
          management_password_command: [pass, show, vpn]
        far:
          jump: ops@first:2222,bastion
          ssh_port: 2200
          ansible_become_password: hunter2
          rack: {row: 7, tokens: hunter2, places: [{secret: hunter2}, 3]}
    hop:
      hosts: {bastion: {management: null, ssh_host: bastion.example.net}}
"""


@pytest.fixture
def described(fleet: Fleet) -> Fleet:
    fleet.inventory(TEXT)
    return fleet


def test_list(described: Fleet) -> None:
    result = described("inventory", "list")
    assert (result.status, result.err) == (0, "")
    assert [line.split() for line in result.out.splitlines()] == [
        ["SERVER", "ADDRESS", "MANAGEMENT", "JUMP", "GROUPS"],
        ["edge-1", "ops@edge-1", "127.0.0.1:7505", "-", "eu"],
        ["edge-2", "ops@edge-2", "127.0.0.1:7505", "-", "eu"],
        ["gw/udp", "ops@gw", "127.0.0.1:7505", "ops@bastion.example.net", "eu"],
        ["gw/tcp", "ops@gw", "/run/openvpn/tcp.sock", "ops@bastion.example.net", "eu"],
        ["here", "(this", "machine)", "127.0.0.1:7505", "-", "us"],
        ["far", "ops@far:2200", "127.0.0.1:7505", "ops@bastion.example.net", "us"],
    ]
    assert "EXCLUSIVE  MAX CLIENTS" in described("inventory", "list", "-o", "wide").out


def test_list_of_some(described: Fleet) -> None:
    for args in (("us",), ("-l", "us"), ("all", "-x", "eu")):
        assert [line.split()[0] for line in described("inventory", "list", *args).out.splitlines()[1:]] == [
            "here",
            "far",
        ]
    assert list(described("inventory", "-l", "us", "list", "--json").document["_meta"]["hostvars"])[:2] == [
        "here",
        "far",
    ]
    assert described("inventory", "list", "nope").status == 2


def test_list_in_json_is_ansibles(described: Fleet) -> None:
    document = described("inventory", "list", "--json").document
    hostvars = document["_meta"]["hostvars"]
    assert list(hostvars) == ["edge-1", "edge-2", "gw", "here", "far", "bastion"]
    assert hostvars["far"]["jump"] == "ops@first:2222,bastion"
    assert hostvars["far"]["ansible_ssh_common_args"] == "-o ProxyJump=ops@first:2222,ops@bastion.example.net"
    assert hostvars["here"]["ansible_connection"] == "local"
    assert hostvars["gw"]["management"]["tcp"]["management_password_file"].endswith("/pw")
    assert document["us"] == {"hosts": ["here", "far"]}
    assert "hunter2" not in str(document)
    again = described.folder / "again.json"
    again.write_text(described("inventory", "list", "-o", "json").out)
    table = described("inventory", "list", "-o", "csv").out
    assert described("-i", str(again), "inventory", "list", "-o", "csv").out == table


def test_the_arguments_that_ansible_gives_to_programs(described: Fleet) -> None:
    assert described("inventory", "list", "--list").document == described("inventory", "list", "--json").document
    assert described("inventory", "list", "-o", "json", "--host", "far").document["ssh_port"] == 2200
    assert described("inventory", "list", "--host", "nobody").document == {}
    assert "--host " not in described("inventory", "list", "--help").out


def test_list_in_other_shapes(described: Fleet) -> None:
    assert described("inventory", "list", "us", "-o", "name").out == "here\nfar\n"
    lines = [json.loads(line) for line in described("inventory", "list", "us", "-o", "ndjson").out.splitlines()]
    assert [line.get("name") for line in lines] == ["here", "far", None]
    assert lines[0]["management_password_command"] == "pass"
    assert lines[1]["jump"] == "ops@first:2222,ops@bastion.example.net"
    assert "hunter2" not in str(lines)
    assert described("inventory", "list", "us", "-o", "yaml").out.startswith('"_meta":\n  hostvars:\n    here:\n')
    chosen = described("inventory", "list", "--columns", "server,jump", "--sort-by", "-server", "-o", "csv")
    assert chosen.out.splitlines()[:2] == ["server,jump", "here,"]


def test_several_inventories(described: Fleet) -> None:
    more = described.folder / "more"
    more.mkdir()
    (more / "hosts").write_text("[us]\nnew\nfar max_clients=7\n[web]\nwww\n")
    (more / "group_vars").mkdir()
    (more / "group_vars/us.yml").write_text("management: 127.0.0.1:7\n")
    first = str(described.folder / "inventory.yaml")
    result = described("-i", first, "-i", str(more), "inventory", "list", "us", "-o", "csv", "--no-headers")
    assert [line.split(",")[::6] for line in result.out.splitlines()] == [["here", "50"], ["far", "7"], ["new", ""]]
    described.set("FLEET_INVENTORY", f"{first}:{more}")
    assert described("inventory", "list", "new", "-o", "name").out == "new\n"
    assert f"{more}/hosts:3:5" in described("inventory", "show", "far").out
    refused = described("inventory", "list", "nobody")
    assert f"in {first}, {more} (8 servers)" in refused.err


def test_graph(described: Fleet) -> None:
    result = described("inventory", "graph")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines() == [
        "@all:", "  |--@eu:", "  |  |--edge-1", "  |  |--edge-2", "  |  |--gw/udp", "  |  |--gw/tcp",
        "  |--@us:", "  |  |--here", "  |  |--far", "  |--@hop:",
    ]  # fmt: skip


def test_graph_of_a_part(described: Fleet) -> None:
    assert described("inventory", "graph", "-l", "us:gw/udp", "-x", "here").out.splitlines() == [
        "@all:", "  |--@eu:", "  |  |--gw/udp", "  |--@us:", "  |  |--far",
    ]  # fmt: skip
    document = described("inventory", "graph", "-x", "eu", "-o", "json").document
    assert [(group["name"], group["servers"]) for group in document["groups"]] == [
        ("all", ["here", "far"]),
        ("us", ["here", "far"]),
    ]
    assert described("inventory", "graph", "-l", "nobody").status == 2


def test_graph_in_json(described: Fleet) -> None:
    document = described("inventory", "graph", "-o", "json").document
    groups = {group["name"]: group for group in document["groups"]}
    assert groups["all"]["children"] == ["eu", "us", "hop"]
    assert groups["eu"]["servers"] == ["edge-1", "edge-2", "gw/udp", "gw/tcp"]
    assert groups["eu"]["hosts"] == ["edge-1", "edge-2", "gw"]


def test_graph_in_other_shapes(described: Fleet) -> None:
    assert described("inventory", "graph", "-o", "csv").out.splitlines() == [
        "group,children,servers", "all,eu us hop,6", "eu,,4", "us,,2", "hop,,0",
    ]  # fmt: skip
    assert described("inventory", "graph", "-o", "name").out == "all\neu\nus\nhop\n"


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()}


def test_show_says_from_where(described: Fleet) -> None:
    result = described("inventory", "show", "far")
    assert (result.status, result.err) == (0, "")
    found = rows(result.out)
    path = str(described.folder / "inventory.yaml")
    assert found["NAME"] == ["VALUE", "FROM"]
    assert found["port"] == ["2200", f"{path}:20:11"]
    assert found["user"] == ["ops", f"{path}:2:10"]
    assert found["jump"] == ["ops@first:2222,ops@bastion.example.net:22", f"{path}:19:11"]
    assert found["groups"] == ["all,", "us", "-"]
    assert found["exclusive"][0] == "no"
    assert found["management"] == ["127.0.0.1:7505", f"{path}:2:25"]


def test_show_takes_the_options_and_ssh_config_in(described: Fleet) -> None:
    config = described.folder / "ssh_config"
    config.write_text("Host edge-1\n  HostName 192.0.2.1\n  Port 2022\n")
    found = rows(described("inventory", "show", "edge-1", "-F", str(config), "--user", "me").out)
    assert found["user"] == ["me", "--user"]
    assert found["address"] == ["192.0.2.1", f"{config}:2"]
    assert found["port"] == ["2022", f"{config}:3"]
    document = described("inventory", "show", "edge-1", "-F", str(config), "--user", "me", "--json").document
    assert {"name": "user", "value": "me", "origin": "--user"} in document["way"]
    assert document["ssh_user"] == "ops"  # what the inventory says
    config.write_text("Host edge-1\n  ProxyJump a:b:c\n")
    refused = described("inventory", "show", "edge-1", "-F", str(config))
    assert refused.status == 2
    assert str(config) in refused.err


def test_secrets_of_other_tools_are_not_shown(described: Fleet) -> None:
    text = described("inventory", "show", "far").out
    document = described("inventory", "show", "far", "--json").document
    assert "hunter2" not in text + str(document)
    assert document["variables"] == {
        "ansible_become_password": "(hidden)",
        "rack": {"row": "7", "tokens": "(hidden)", "places": [{"secret": "(hidden)"}, "3"]},
    }
    assert "(hidden)" in text


def test_show_names_files_that_were_not_read(fleet: Fleet) -> None:
    folder = fleet.folder / "inv"
    (folder / "group_vars/all").mkdir(parents=True)
    (folder / "hosts").write_text("a management=/s\n")
    (folder / "group_vars/all/vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n33\n")
    result = fleet("-i", str(folder), "inventory", "show", "a")
    assert result.status == 0
    assert result.err == f"not read, since Ansible Vault encrypts them: {folder}/group_vars/all/vault.yml\n"
    assert fleet("-i", str(folder), "inventory", "show", "a", "-q").err == ""


def test_show_of_a_password_file_and_of_a_local_daemon(described: Fleet) -> None:
    assert str(described.folder / "pw") in described("inventory", "show", "gw/udp").out
    local = described("inventory", "show", "here").out
    assert "ssh_host" not in local
    assert "management_password_command  pass " in local


def test_show_does_not_mind_a_limit_of_the_environment(described: Fleet) -> None:
    described.set("FLEET_LIMIT", "eu")
    described.set("FLEET_EXCLUDE", "far")
    assert described("inventory", "show", "far").status == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("show", "edge-3"), "no server or group matches 'edge-3' in "),
        (("show", "eu"), "'eu' names 4 servers: edge-[1-2] gw/udp gw/tcp\n  show takes one of them\n"),
        (("show", "gw"), "'gw' names 2 servers: gw/udp gw/tcp\n  show takes one of them\n"),
        (("show", "bastion"), ""),
        (("list", "-o", "raw"), "-o raw is not for this command\n"),
        (("graph", "-o", "raw"), "-o raw is not for this command\n"),
        (("list", "--columns", "nope"), "nope"),
    ],
)
def test_refused(described: Fleet, args: tuple[str, ...], message: str) -> None:
    result = described("inventory", *args)
    assert result.status == 2
    assert message in result.err
    document = described("inventory", "show", "edge-3", "--json").document
    assert (document["command"], document["args"], document["servers"]) == ("inventory show", ["edge-3"], [])


def test_the_inventory_of_a_program(fleet: Fleet, tmp_path: Path) -> None:
    program = tmp_path / "inventory.py"
    program.write_text(
        '#!/bin/sh\necho \'{"all": {"hosts": ["a"]}, "_meta": {"hostvars": {"a": {"management": "127.0.0.1:1"}}}}\'\n'
    )
    program.chmod(0o755)
    assert fleet("-i", str(program), "inventory", "list").out.splitlines()[1].split()[0] == "a"
