"""fleet inventory list, graph and show: what was resolved, and from where; secrets never."""

from __future__ import annotations

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
    assert described("inventory", "-l", "us", "list", "--json").document["servers"][0]["name"] == "here"
    assert described("inventory", "list", "nope").status == 2


def test_list_in_json(described: Fleet) -> None:
    document = described("inventory", "list", "--json").document
    assert document["fleet_schema"] == 1
    by_name = {server["name"]: server for server in document["servers"]}
    assert by_name["far"]["jump"] == "ops@first:2222,ops@bastion.example.net"
    assert by_name["here"]["connection"] == "local"
    assert by_name["here"]["management_password_command"].split()[0] == "pass"
    assert by_name["gw/tcp"]["management_password_file"].endswith("/pw")
    assert "hunter2" not in str(document)


def test_graph(described: Fleet) -> None:
    result = described("inventory", "graph")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines() == [
        "@all:", "  |--@eu:", "  |  |--edge-1", "  |  |--edge-2", "  |  |--gw/udp", "  |  |--gw/tcp",
        "  |--@us:", "  |  |--here", "  |  |--far", "  |--@hop:",
    ]  # fmt: skip


def test_graph_in_json(described: Fleet) -> None:
    document = described("inventory", "graph", "-o", "json").document
    groups = {group["name"]: group for group in document["groups"]}
    assert groups["all"]["children"] == ["eu", "us", "hop"]
    assert groups["eu"]["servers"] == ["edge-1", "edge-2", "gw/udp", "gw/tcp"]
    assert groups["eu"]["hosts"] == ["edge-1", "edge-2", "gw"]


def test_show_says_from_where(described: Fleet) -> None:
    result = described("inventory", "show", "far")
    assert (result.status, result.err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in result.out.splitlines()}
    path = str(described.folder / "inventory.yaml")
    assert rows["NAME"] == ["VALUE", "FROM"]
    assert rows["ssh_port"][0] == "2200"
    assert rows["ssh_port"][1].startswith(f"{path}:20:")
    assert rows["ssh_user"] == ["ops", f"{path}:2:10"]
    assert rows["groups"] == ["all,", "us", "-"]
    assert rows["exclusive"][0] == "no"


def test_secrets_of_other_tools_are_not_shown(described: Fleet) -> None:
    text = described("inventory", "show", "far").out
    document = described("inventory", "show", "far", "--json").document
    assert "hunter2" not in text + str(document)
    assert document["variables"] == {
        "ansible_become_password": "(not shown)",
        "rack": {"row": "7", "tokens": "(not shown)", "places": [{"secret": "(not shown)"}, "3"]},
    }
    assert "(not shown)" in text


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
        (("list", "-o", "raw"), "-o raw is not for this command\n  take table, wide or json\n"),
        (("graph", "-o", "ndjson"), "-o ndjson is not for this command\n  take table, wide or json\n"),
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
