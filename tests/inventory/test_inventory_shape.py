"""Reading: where an inventory is found, YAML and JSON, groups, inheritance, ranges, daemons, jump hosts."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import InventoryError
from fleet.inventory import json_tree, load, script, tree
from fleet.inventory.load import find_inventory
from fleet.inventory.model import (
    Inventory,
    PasswordCommand,
    PasswordFile,
    Position,
    Server,
    SSHSettings,
    TCPEndpoint,
    UnixEndpoint,
)

Read = Callable[..., Inventory]

HERE = "all:\n  vars: {management: '127.0.0.1:7505'}\n"


def server(inventory: Inventory, name: str) -> Server:
    return next(each for each in inventory.servers if each.name == name)


def names(inventory: Inventory) -> list[str]:
    return [each.name for each in inventory.servers]


# Where it is found


def test_a_named_inventory_wins_over_all_others(folder: Path) -> None:
    (folder / "inventory.yaml").touch()
    environ = {"FLEET_INVENTORY": "env.yaml", "HOME": str(folder)}
    assert find_inventory("mine.yaml", environ, str(folder)) == "mine.yaml"
    assert find_inventory(None, environ, str(folder)) == "env.yaml"
    assert find_inventory(None, environ | {"FLEET_INVENTORY": ""}, str(folder)) == "inventory.yaml"


def test_a_tilde_in_the_variable_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ops")
    assert find_inventory(None, {"FLEET_INVENTORY": "~/inv.yaml"}, "/") == "/home/ops/inv.yaml"


@pytest.mark.parametrize(
    ("environ", "made"),
    [
        ({"XDG_CONFIG_HOME": "{}/config"}, "config/fleet/inventory.yaml"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "{}"}, ".config/fleet/inventory.yaml"),
        ({"HOME": "{}"}, ".config/fleet/inventory.yaml"),
    ],
)
def test_the_configuration_folder_is_asked(folder: Path, environ: dict[str, str], made: str) -> None:
    environ = {name: value.format(folder) for name, value in environ.items()}
    (folder / made).parent.mkdir(parents=True)
    (folder / made).touch()
    assert find_inventory(None, environ, str(folder)) == str(folder / made)


def test_another_working_folder_is_named_in_full(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/inventory.yaml").touch()
    assert find_inventory(None, {}, str(folder / "elsewhere")) == str(folder / "elsewhere/inventory.yaml")


def test_without_any_it_says_where_it_looked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    with pytest.raises(InventoryError) as caught:
        find_inventory(None, {}, str(folder))
    looked = f"{folder}/inventory.yaml, {folder}/.config/fleet/inventory.yaml, /etc/fleet/inventory.yaml"
    assert caught.value.message == f"no inventory found; looked for {looked}"
    assert caught.value.hint == "name one with -i PATH or $FLEET_INVENTORY, or try fleet demo"


# Groups and inheritance


def test_inheritance_by_one_example(read: Read) -> None:
    """The example of docs: each value from the nearest place that sets it."""
    inventory = read(
        """
all:
  vars: {management: "127.0.0.1:7505", ssh_user: all, site: all, asn: all}
  children:
    europe:
      vars: {ssh_user: europe, asn: "65100", site: europe}
      children:
        germany:
          vars: {site: germany}
          hosts:
            edge-1: {}
            edge-2: {site: own, ssh_user: own}
    asia:
      hosts: {edge-3: }
"""
    )
    seen = {s.name: (s.ssh.user if s.ssh else None, s.variables["site"], s.variables["asn"]) for s in inventory.servers}
    assert seen == {
        "edge-1": ("europe", "germany", "65100"),
        "edge-2": ("own", "own", "65100"),
        "edge-3": ("all", "all", "all"),
    }
    assert server(inventory, "edge-1").groups == ("all", "europe", "germany")
    origin = server(inventory, "edge-1").origins["site"]
    assert (str(origin), origin.owner) == ("inv.yaml:9:18", "group germany")
    assert server(inventory, "edge-2").origins["ssh_user"].owner == "host edge-2"


def test_among_siblings_the_last_by_alphabet_wins_wherever_it_stands(read: Read) -> None:
    text = HERE + "zeta: {hosts: {a: }, vars: {x: zeta}}\nalpha: {hosts: {a: }, vars: {x: alpha}}\n"
    assert server(read(text), "a").variables["x"] == "zeta"
    text = text.replace("x: alpha", "x: alpha, ansible_group_priority: 10")
    assert server(read(text), "a").variables["x"] == "alpha"
    text = text.replace("priority: 10", "priority: -1").replace("x: zeta", "x: zeta, ansible_group_priority: '-2'")
    assert server(read(text), "a").variables["x"] == "alpha"


def test_depth_is_the_longest_way_from_all(read: Read) -> None:
    text = HERE + "  children: {a: {children: {b: {children: {z: }}}}, z: {hosts: {h: }, vars: {x: z}}}\n"
    inventory = read(text + "b: {vars: {x: b}}\na: {vars: {x: a}}\n")
    assert server(inventory, "h").variables["x"] == "z"
    assert server(inventory, "h").groups == ("all", "a", "b", "z")


def test_a_host_in_several_groups_is_one_host_in_order_of_first_mention(read: Read) -> None:
    inventory = read(HERE + "b: {hosts: {two: {x: '1'}, one: }}\na: {hosts: {one: {y: '2'}, two: {x: '3', y: '4'}}}\n")
    assert names(inventory) == ["two", "one"]
    assert server(inventory, "two").variables == {"x": "3", "y": "4"}
    assert server(inventory, "two").groups == ("all", "a", "b")
    assert inventory.groups["a"].hosts == ("one", "two")
    assert inventory.groups["a"].servers == ("two", "one")
    assert inventory.groups["all"].children == ("b", "a")


def test_hosts_without_a_group_are_ungrouped_as_in_ansible(read: Read) -> None:
    inventory = read(HERE + "  hosts: {a: , b: }\n  children: {ungrouped: {hosts: {b: , c: }}, g: {hosts: {b: }}}\n")
    assert inventory.groups["ungrouped"].servers == ("a", "c")
    assert server(inventory, "a").groups == ("all", "ungrouped")
    assert server(inventory, "b").groups == ("all", "g")
    assert read(HERE + "g: {hosts: {b: }}\n").groups.keys() == {"all", "g"}


def test_nothing_is_guessed_from_yaml_1_1(read: Read) -> None:
    text = HERE + "  hosts:\n    no: {a: no, b: 22:22, c: 017, d: 1.0, e: 2026-01-01, f: ~, g: 'null', h: [on, 0x1]}\n"
    inventory = read(text)
    assert names(inventory) == ["no"]
    assert inventory.servers[0].variables == {
        "a": "no",
        "b": "22:22",
        "c": "017",
        "d": "1.0",
        "e": "2026-01-01",
        "f": None,
        "g": "null",
        "h": ["on", "0x1"],
    }


def test_anchors_aliases_and_merge_keys(read: Read) -> None:
    inventory = read(
        """
x: &x {hosts: &hosts {a: &vars {one: "1", two: "2"}}}
all:
  vars: {management: "127.0.0.1:7505"}
  hosts:
    &b b: {<<: *vars, two: own}
    c: {<<: [{two: first}, *vars], "<<": text}
    d: *vars
    e: {name: *b, *b : key}
y: *x
"""
    )
    assert [dict(each.variables) for each in inventory.servers] == [
        {"one": "1", "two": "2"},
        {"one": "1", "two": "own"},
        {"one": "1", "two": "first", "<<": "text"},
        {"one": "1", "two": "2"},
        {"name": "b", "b": "key"},
    ]
    assert inventory.groups["y"].servers == ("a",)


def test_tags_of_text_vault_and_secrets_of_others(read: Read) -> None:
    inventory = read(
        HERE
        + """
  hosts:
    a:
      b: !!str 1
      c: !unsafe "{{ raw }}"
      d: !vault |
        $ANSIBLE_VAULT;1.1;AES256
      ansible_become_password: hunter2
      db: {user: u, passwd: hunter2, api_key: hunter2, tokens: [hunter2]}
      bypass_list: [x]
      vault_passwords: {root: hunter2}
      aws_credentials: [{k: hunter2}]
"""
    )
    variables = inventory.servers[0].variables
    assert variables == {
        "b": "1",
        "c": "{{ raw }}",
        "d": "(vaulted)",
        "ansible_become_password": "(hidden)",
        "db": {"user": "u", "passwd": "(hidden)", "api_key": "(hidden)", "tokens": "(hidden)"},
        "bypass_list": ["x"],
        "vault_passwords": "(hidden)",
        "aws_credentials": "(hidden)",
    }
    assert "hunter2" not in repr(inventory)


def test_empty_parts_of_a_group(read: Read) -> None:
    assert names(read("all: {hosts: , children: , vars: }\n")) == []
    assert names(read("all:\n")) == []


# Names


@pytest.mark.parametrize(
    ("name", "expanded"),
    [
        ("edge-[1:3]", ["edge-1", "edge-2", "edge-3"]),
        ("edge-[08:11]", ["edge-08", "edge-09", "edge-10", "edge-11"]),
        ("edge-[:2]", ["edge-0", "edge-1", "edge-2"]),
        ("[a:c]", ["a", "b", "c"]),
        ("e[A:E:2]", ["eA", "eC", "eE"]),
        ("[0:10:5]x", ["0x", "5x", "10x"]),
        ("[a:b][1:2].net", ["a1.net", "a2.net", "b1.net", "b2.net"]),
        ("2001:db8::[1:2]", ["2001:db8::1", "2001:db8::2"]),
    ],
)
def test_ranges_in_names(read: Read, name: str, expanded: list[str]) -> None:
    inventory = read(f"{HERE}  hosts: {{'{name}': }}\n")
    assert names(inventory) == expanded


def test_a_host_of_a_range_may_be_named_again(read: Read) -> None:
    inventory = read(HERE + "  hosts:\n    e[1:3]: {x: range}\n    e2: {x: own}\n")
    assert [each.variables["x"] for each in inventory.servers] == ["range", "own", "range"]


# Daemons, passwords, SSH


def test_daemons_of_a_host_are_servers_that_share_ssh(read: Read, folder: Path) -> None:
    inventory = read(
        """
all:
  hosts:
    gw:
      ssh_port: 2222
      exclusive: true
      max_clients: 10
      management_password_file: gw.pw
      management:
        udp: "[::1]:7505"
        tcp:
          endpoint: /run/tcp.sock
          exclusive: false
          max_clients: 20
          management_password_command: ./bin/show 'a b'
"""
    )
    udp, tcp = inventory.servers
    assert (udp.name, udp.host, tcp.name, tcp.host) == ("gw/udp", "gw", "gw/tcp", "gw")
    assert udp.ssh == tcp.ssh == SSHSettings("gw", 2222)
    assert (udp.management, tcp.management) == (TCPEndpoint("::1", 7505), UnixEndpoint("/run/tcp.sock"))
    assert (udp.exclusive, udp.max_clients) == (True, 10)
    assert (tcp.exclusive, tcp.max_clients) == (False, 20)
    assert udp.password == PasswordFile(folder / "gw.pw")
    assert tcp.password == PasswordCommand((str(folder / "bin/show"), "a b"))
    assert tcp.origins["management"].owner == "host gw, daemon tcp"
    assert "management_password_file" not in tcp.origins
    assert [str(each.management) for each in inventory.servers] == ["[::1]:7505", "/run/tcp.sock"]
    assert inventory.groups["all"].servers == ("gw/udp", "gw/tcp")


def test_the_nearest_source_of_a_password_ends_those_further_out(read: Read) -> None:
    text = HERE.replace("}", ", management_password_file: /all.pw}")
    inventory = read(
        text + "  hosts: {a: , b: {management_password_command: [pass, 'x y']}, c: {management_password_file: null}}\n"
    )
    assert [each.password for each in inventory.servers] == [
        PasswordFile(Path("/all.pw")),
        PasswordCommand(("pass", "x y")),
        None,
    ]


def test_ssh_settings_and_their_fallbacks(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ops")
    blob = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    inventory = read(
        HERE
        + f"""
  hosts:
    a: {{ansible_host: 192.0.2.1, ansible_port: 2201, ansible_user: root, ansible_ssh_private_key_file: ~/k}}
    b: {{ansible_ssh_host: "::1", ansible_ssh_port: "2202", ansible_ssh_user: u, ansible_private_key_file: k}}
    c: {{ansible_host: x, ansible_port: x, ansible_user: "-", ssh_host: c.example, ssh_port: 22, ssh_user: c}}
    d: {{ansible_port: null, ansible_ssh_port: 2204, ssh_port: null, private_key: /k}}
    e: {{host_keys: "ssh-ed25519 {blob} a comment"}}
    f: {{host_keys: ["SHA256:{"a" * 43}", "ssh-ed25519   {blob}"]}}
"""
    )
    assert [each.ssh for each in inventory.servers] == [
        SSHSettings("192.0.2.1", 2201, "root", Path("/home/ops/k")),
        SSHSettings("::1", 2202, "u", folder / "k"),
        SSHSettings("c.example", 22, "c"),
        SSHSettings("d", 2204, None, Path("/k")),
        SSHSettings("e", host_keys=(f"ssh-ed25519 {blob}",)),
        SSHSettings("f", host_keys=("SHA256:" + "a" * 43, f"ssh-ed25519 {blob}")),
    ]
    assert str(server(inventory, "a").origins["ssh_port"]) == str(server(inventory, "a").origins["ansible_port"])
    assert "ssh_port" in server(inventory, "d").origins
    assert (
        server(inventory, "d").origins["ssh_port"].column == server(inventory, "d").origins["ansible_ssh_port"].column
    )


@pytest.mark.parametrize(
    ("variable", "local"),
    [
        ("connection: local", True),
        ("connection: ssh, ansible_connection: local", False),
        ("ansible_connection: local", True),
        ("ansible_connection: ansible.builtin.local", True),
        ("ansible_connection: smart", False),
        ("ansible_connection: ansible.builtin.ssh", False),
        ("ansible_connection: winrm, connection: ssh", False),
        ("jump: x", False),
    ],
)
def test_connections(read: Read, variable: str, local: bool) -> None:
    inventory = read(f"{HERE}  hosts: {{a: {{{variable}}}}}\n")
    assert (inventory.servers[0].ssh is None) is local


def test_jump_chains(read: Read) -> None:
    inventory = read(
        """
all:
  vars: {management: "127.0.0.1:7505", jump: bastion}
  hosts:
    outer: {management: null, jump: "ops@[2001:db8::1]:2022", ssh_user: o}
    bastion: {management: null, jump: outer, ssh_port: 2200, ssh_host: 192.0.2.1}
    a:
    b: {jump: "alias, me@bastion:23"}
    c: {jump: null}
    d: {jump: "2001:db8::2"}
    e: {jump: "x,y,[::1]"}
"""
    )
    first = SSHSettings("2001:db8::1", 2022, "ops")
    outer = SSHSettings("outer", user="o", jump=first)
    bastion = SSHSettings("192.0.2.1", 2200, jump=outer)
    assert [each.ssh for each in inventory.servers] == [
        SSHSettings("a", jump=bastion),
        SSHSettings("b", jump=SSHSettings("192.0.2.1", 23, "me", jump=SSHSettings("alias"))),
        SSHSettings("c"),
        SSHSettings("d", jump=SSHSettings("2001:db8::2")),
        SSHSettings("e", jump=SSHSettings("::1", jump=SSHSettings("y", jump=SSHSettings("x")))),
    ]
    assert inventory.jump_hosts == ("outer", "bastion")


def test_ansible_values_of_hosts_that_are_not_asked_do_not_matter(read: Read) -> None:
    inventory = read(HERE + "  hosts: {a: , web: {management: null, ansible_port: '{{ x }}'}}\n")
    assert names(inventory) == ["a"]
    assert inventory.jump_hosts == ("web",)


def test_other_variables_are_let_through(read: Read) -> None:
    text = "  hosts: {a: {ssh_hardening: x, management_net: y}}\n  children: {}\n"
    inventory = read(HERE.replace("}", ", other_variables: ['ssh_h*', management_net]}") + text)
    assert inventory.servers[0].variables == {"ssh_hardening": "x", "management_net": "y"}


# JSON and programs

JSON = """{"all": {"vars": {"management": "127.0.0.1:7505"}, "hosts": {"edge-[1:2]": {"ssh_port": 2222, "n": [1, -2.5e3,
 true, null, {}]}, "\\u00e9": null}, "children": {}}}"""


def test_a_json_file_of_the_yaml_shape(read: Read) -> None:
    inventory = read(JSON, "inv.json")
    assert [str(each.management) for each in inventory.servers] == ["127.0.0.1:7505"] * 3
    assert names(inventory) == ["edge-1", "edge-2", "é"]
    assert inventory.servers[0].ssh == SSHSettings("edge-1", 2222)
    assert inventory.servers[0].variables == {"n": [1, -2500.0, True, None, {}]}
    column = JSON.index('"ssh_port"') + 1
    assert str(inventory.servers[0].origins["ssh_port"]) == f"inv.json:1:{column}"


LISTED = """{
  "_meta": {"hostvars": {"a": {"ssh_user": 7, "exclusive": true, "max_clients": 3}, "gone": {"ssh_port": "x"}}},
  "all": {"children": ["ungrouped", "eu", "empty"], "vars": {"management": "127.0.0.1:7505"}},
  "eu": {"hosts": ["b", "a"], "vars": {"ansible_port": 2222, "ansible_group_priority": 3}, "children": []},
  "old": ["c"]
}"""


def test_the_list_shape(read: Read) -> None:
    inventory = read(LISTED, "inv.json")
    assert names(inventory) == ["b", "a", "c"]
    assert server(inventory, "a").ssh == SSHSettings("a", 2222, "7")
    assert (server(inventory, "a").exclusive, server(inventory, "a").max_clients) == (True, 3)
    assert inventory.groups["all"].children == ("ungrouped", "eu", "empty", "old")
    assert inventory.groups["empty"].servers == ()
    assert inventory.groups["old"].servers == ("c",)


def program(folder: Path, body: str, name: str = "inv") -> str:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{body}\n")
    path.chmod(0o755)
    return name


def test_an_executable_inventory_is_run(folder: Path) -> None:
    name = program(folder, f"assert sys.argv[1:] == ['--list'] and not sys.stdin.read()\nprint({LISTED!r})")
    inventory = load.load(name)
    assert names(inventory) == ["b", "a", "c"]
    assert inventory.source == "inv"
    assert str(server(inventory, "a").origins["exclusive"]) == "inv --list:2:47"


def test_an_executable_data_file_is_read_not_run(read: Read, folder: Path) -> None:
    read(HERE + "  hosts: {a: }\n")
    (folder / "inv.yaml").chmod(0o755)
    assert names(load.load("inv.yaml")) == ["a"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('one\\n  no such\\x1b database  \\n\\n')", "failed with exit status 1: no such? database"),
        ("sys.exit(3)", "failed with exit status 3"),
        ("os.kill(os.getpid(), 9)", "was ended by signal 9"),
    ],
)
def test_a_program_that_fails(folder: Path, body: str, message: str) -> None:
    with pytest.raises(InventoryError) as caught:
        load.load(program(folder, body))
    assert caught.value.message == f"executable inventory inv {message}"
    assert caught.value.hint == "run it by hand: inv --list"


def test_a_program_that_cannot_be_started(folder: Path) -> None:
    (folder / "inv").write_text("#!/no/such/program\n")
    (folder / "inv").chmod(0o755)
    with pytest.raises(InventoryError) as caught:
        load.load("inv")
    assert caught.value.message == "executable inventory inv cannot be started: No such file or directory"
    assert caught.value.hint is not None
    assert "a file to read is not executable" in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        "os.close(1); os.close(2); time.sleep(60)",
        "os.fork() or time.sleep(60)\ntime.sleep(60)",
    ],
)
def test_a_program_that_does_not_end_is_killed(folder: Path, body: str) -> None:
    name = program(folder, f"open('pid', 'w').write(str(os.getpid()))\n{body}")
    with pytest.raises(InventoryError) as caught:
        script.run_script(name, script.script_deadline(1.0))
    assert caught.value.message == "executable inventory inv did not end within 1 s"
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


def test_a_program_that_prints_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "MAX_BYTES", 100_000)
    with pytest.raises(InventoryError, match="prints more than 100000 bytes, which is fleet's security limit"):
        script.run_script(program(folder, "while True: print('x' * 1000)"), script.script_deadline())


# The example, and any input at all


def test_the_example_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    inventory = load.load("inventory.example.yaml")
    assert names(inventory) == [
        "edge-1.eu.example.net",
        "edge-2.eu.example.net",
        "edge-3.eu.example.net",
        "edge-4.eu.example.net",
        "a.inside.example.net",
        "b.inside.example.net",
        "c.inside.example.net",
        "deep.inside.example.net",
        "gw.example.net/udp",
        "gw.example.net/tcp",
        "old-1",
        "this-machine",
    ]
    assert inventory.jump_hosts == ("bastion.example.net",)
    assert inventory.groups["production"].servers == (*names(inventory)[:4], *names(inventory)[8:10])
    assert server(inventory, "this-machine").ssh is None
    old = SSHSettings("192.0.2.31", 22022, "root", Path("~/.ssh/old").expanduser())
    assert server(inventory, "old-1").ssh == old
    deep = server(inventory, "deep.inside.example.net").ssh
    assert deep is not None
    assert deep.jump is not None
    assert (deep.jump.host, deep.jump.port, deep.jump.user) == ("198.51.100.7", 2022, "jump")
    assert deep.jump.jump is not None
    assert (deep.jump.jump.host, deep.jump.jump.port) == ("bastion.example.net", 2200)


WORDS = [
    "all",
    "hosts",
    "children",
    "vars",
    "a",
    "management",
    "'127.0.0.1:7505'",
    "jump",
    "_meta",
    "---",
    "!vault",
    "<<",
]
BETWEEN = [": ", ", ", "- ", "\n", "\n  ", "\n    ", "&x ", "*x", "!vault ", "\\ud800"]
PIECES = st.sampled_from(WORDS) | st.sampled_from(BETWEEN) | st.sampled_from(":{}[]~'\"#%\0")


@given(text=st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60), json=st.booleans())
def test_any_text_is_an_inventory_or_one_inventory_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, json: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / ("any.json" if json else "any.yaml")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(load.load(str(path)), Inventory)
    except InventoryError as error:
        assert error.message.startswith(f"{path}:")  # noqa: PT017 - either outcome is right


def test_without_libyaml_it_reads_the_same(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "inventory.example.yaml").read_text()
    fast = read(text)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    slow = read(text)
    assert slow == fast
    assert [dict(each.origins) for each in slow.servers] == [dict(each.origins) for each in fast.servers]


def test_help_does_not_pay_for_yaml() -> None:
    code = "import sys, fleet.inventory.load, fleet.inventory.pattern; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_a_pipe_is_read_as_a_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    writer = subprocess.Popen(["sh", "-c", "printf 'all: {hosts: {a: {management: /s}}}' > pipe"])
    assert names(load.load("pipe")) == ["a"]
    assert writer.wait(10) == 0
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)


def test_complaints_fold_and_count() -> None:
    many = [tree.Complaint(Position("f", line, 1), "wrong", "mend") for line in range(30, 0, -1)]
    error = tree.inventory_error(*many)
    lines = error.message.split("\n")
    assert lines[:2] == ["f:1:1: wrong", "  mend"]
    assert lines[-3:] == ["f:20:1: wrong", "  mend", "and 10 more complaints"]
    assert error.hint == "mend these first"
    error = tree.inventory_error(*(tree.Complaint(Position("f", line, 1), "wrong") for line in range(30)))
    assert error.message.count("\n") == 20


def test_json_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_tree, "MAX_NODES", 3)
    with pytest.raises(tree.WrongValueError, match="more than 3 values, which is fleet's security limit"):
        json_tree.read_json("[1, 2, 3]", "f")
