"""Folders, group_vars and host_vars, several inventories at once, programs, lists of hosts, Ansible Vault."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.errors import EmptyTargetError, InventoryError
from fleet.inventory import files, json_tree, load
from fleet.inventory.model import Inventory, PasswordFile, Server, SSHSettings
from fleet.inventory.pattern import select

Write = Callable[..., None]

VAULT = "$ANSIBLE_VAULT;1.1;AES256\n3132\n"


@pytest.fixture
def write(folder: Path) -> Write:
    """Writes files of the working folder, by their paths."""

    def _write(files_: dict[str, str]) -> None:
        for name, text in files_.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return _write


def names(inventory: Inventory) -> list[str]:
    return [each.name for each in inventory.servers]


def server(inventory: Inventory, name: str) -> Server:
    return next(each for each in inventory.servers if each.name == name)


def refusal(*paths: str) -> str:
    with pytest.raises(InventoryError) as caught:
        load.load(*paths)
    return f"{caught.value.message}\n  {caught.value.hint}"


# Folders


def test_a_folder_is_read_as_ansible_reads_it(write: Write, folder: Path) -> None:
    write(
        {
            "inv/20-more.yml": "eu: {hosts: {b: , a: {x: yml}}}\n",
            "inv/10-hosts": "[eu]\na x=ini\n[web]\nwww[1:2]\n",
            "inv/deeper/30.ini": "[us]\nc\n",
            "inv/deeper/group_vars/us.yml": "x: not beside the inventory that was named\n",
            "inv/40.json": '{"us": ["d"], "_meta": {"hostvars": {"d": {"ansible_host": "192.0.2.4"}}}}',
            "inv/group_vars/eu.yml": "management: '127.0.0.1:7505'\n",
            "inv/group_vars/us.yml": "---\nmanagement: /run/m.sock\nmanagement_password_file: pw\n",
            "inv/empty": "# nothing\n",
            "inv/.hidden": "[",
            **{f"inv/{name}": "[" for name in ("a.bak", "b~", "c.md", "d.txt", "e.orig", "f.cfg", "g.retry", "h.rst")},
            **{f"inv/{name}": "[" for name in ("i.pyc", "j.pyo", "k.swp", "l.rpm", "vars_plugins/x")},
        }
    )
    inventory = load.load("inv")
    assert names(inventory) == ["a", "b", "d", "c"]
    assert inventory.jump_hosts == ("www1", "www2")
    assert inventory.source == "inv"
    assert server(inventory, "a").variables["x"] == "yml"
    assert "x" not in server(inventory, "c").variables
    assert server(inventory, "d").ssh == SSHSettings("192.0.2.4")
    assert server(inventory, "d").password == PasswordFile(folder / "inv/pw")
    assert str(server(inventory, "a").origins["management"]) == "inv/group_vars/eu.yml:1:1"
    assert server(inventory, "a").origins["management"].owner == "group eu"
    with pytest.raises(EmptyTargetError, match="host www1 in inv is no OpenVPN server: it has no management"):
        select(inventory, ["www1"])


def test_every_complaint_of_a_folder_comes_at_once(write: Write) -> None:
    write(
        {
            "inv/a.yml": "all: [ }",
            "inv/b": "[eu]\nx ssh_prt=1 management=/s\n[w:children]\nelsewhere\n",
            "inv/c.toml": "[all]\n",
            "inv/group_vars/eu.yml": "- list\n",
            "inv/host_vars/x": "a: b\na: c\n",
        }
    )
    assert refusal("inv").split("\n") == [
        "inv/a.yml:1:8: not YAML: while parsing a flow node did not find expected node content",
        "  quote a value that begins with one of [ { * & ! % @ ` or holds ': ' or ' #'; indent with blanks",
        "inv/b:2:3: unknown variable 'ssh_prt' for host x",
        (
            "  did you mean 'ssh_port'? Known: management, management_password_file, management_password_command, "
            "ssh_host, ssh_port, ssh_user, private_key, host_keys, jump, connection, exclusive, max_clients, "
            "other_variables. If it is not meant for fleet: list it in other_variables"
        ),
        "inv/c.toml:1:1: fleet does not read TOML",
        "  write it as YAML; this does it: ansible-inventory -i inv/c.toml --list --export --yaml",
        "inv/group_vars/eu.yml:1:1: a file of variables must be a mapping, not a list",
        "inv/host_vars/x:2:1: duplicate key 'a': it stands already in line 1, column 1",
        "  a key stands once in a mapping: merge the two, or remove one",
    ]


def test_folders_that_cannot_be_read(write: Write, folder: Path) -> None:
    (folder / "empty").mkdir()
    assert refusal("empty").startswith("empty is a folder without an inventory file\n")
    write({"loop/hosts": "a management=/s\n"})
    (folder / "loop/again").symlink_to(".")
    message = refusal("loop")
    assert "is inside more than 16 folders, which is fleet's security limit\n" in message
    assert "perhaps a link leads back" in message
    (folder / "gone").mkdir()
    (folder / "gone/hosts").symlink_to("nowhere")
    assert refusal("gone").startswith("gone/hosts cannot be read: No such file or directory\n")


def test_a_folder_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", denied)
    assert refusal(str(folder)).startswith(f"{folder} cannot be read: Permission denied\n")


def test_limits_of_all_files(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write({f"inv/{name}": "a management=/s\n" for name in "abc"})
    monkeypatch.setattr(files, "MAX_FILES", 2)
    assert refusal("inv").startswith("inv/c is one of more than 2 files, which is fleet's security limit\n")
    monkeypatch.setattr(files, "MAX_FILES", 3)
    monkeypatch.setattr(files, "MAX_TOTAL_BYTES", 40)
    assert refusal("inv").startswith("more than 40 bytes of files up to inv/c, which is fleet's security limit\n")


def test_a_plug_in_of_ansibles_is_not_run(write: Write) -> None:
    write({"inv/aws.yml": "plugin: amazon.aws.aws_ec2\nregions: [eu-central-1]\n"})
    assert refusal("inv") == (
        "inv/aws.yml:1:1: the settings of an inventory plug-in of Ansible's, 'amazon.aws.aws_ec2', which fleet does "
        "not run\n  let Ansible: a program that runs ansible-inventory -i inv/aws.yml --list is an inventory"
    )


# Precedence


def test_the_order_of_variables_is_ansibles(write: Write) -> None:
    """Each variable is set from its place on outwards; the last one to win is its name."""
    order = ["all", "inner", "files_all", "files_outer", "files_inner", "host", "files_host"]
    text = {place: "".join(f"v_{name}: {place}\n" for name in order[number:]) for number, place in enumerate(order)}
    ini = {place: each.replace(": ", "=") for place, each in text.items()}
    write(
        {
            "inv/hosts": f"[all:vars]\nmanagement=/s\n{ini['all']}[inner]\nh {ini['host'].replace(chr(10), ' ')}\n"
            f"[inner:vars]\n{ini['inner']}[outer:children]\ninner\n",
            "inv/group_vars/all/one.yml": text["files_all"],
            "inv/group_vars/outer.yaml": text["files_outer"],
            "inv/group_vars/inner": text["files_inner"],
            "inv/host_vars/h.json": "{" + ", ".join(f'"v_{n}": "files_host"' for n in order[6:]) + "}",
        }
    )
    variables = server(load.load("inv"), "h").variables
    assert variables == {f"v_{name}": name for name in order}


def test_the_later_of_two_inventories_wins(write: Write) -> None:
    write(
        {
            "a/hosts": "[eu]\nh one=a two=a\n[eu:vars]\nmanagement=/a\nthree=a\n",
            "a/group_vars/eu.yml": "four: a\nfive: a\n",
            "a/group_vars/inner.yml": "six: a\n",
            "b/hosts.yml": "eu: {hosts: {h: {two: b}, i: }, vars: {three: b}}\ninner: {hosts: {h: }}\n",
            "b/group_vars/eu.yml": "five: b\nsix: b\n",
            "b/host_vars/h.yml": "seven: b\n",
            "a/host_vars/h.yml": "seven: a\n",
        }
    )
    inventory = load.load("a", "b")
    assert inventory.source == "a, b"
    assert names(inventory) == ["h", "i"]
    assert server(inventory, "h").variables == {
        "one": "a", "two": "b", "three": "b", "four": "a", "five": "b", "six": "b", "seven": "b",
    }  # fmt: skip
    assert server(load.load("b", "a"), "h").variables["two"] == "a"
    assert server(load.load("b", "a"), "h").variables["five"] == "a"
    assert str(server(inventory, "h").origins["one"]) == "a/hosts:2:3"
    assert str(server(inventory, "h").origins["two"]) == "b/hosts.yml:1:18"
    # Folders of variables count once, where they were named last.
    assert server(load.load("b", "a", "b"), "h").variables["five"] == "b"


def test_a_file_beside_folders_of_variables(write: Write, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    write(
        {
            "inv/inventory.yaml": "eu: {hosts: {a: }}\n",
            "inv/group_vars/eu/10.yml": "management: '127.0.0.1:1'\nx: '10'\n",
            "inv/group_vars/eu/deep/20": "x: '20'\n",
            "inv/group_vars/eu/deep.d/30": "x: '30'\n",
            "inv/group_vars/eu/.hidden.yml": "x: hidden\n",
            "inv/group_vars/eu/old.yml~": "x: old\n",
            "inv/group_vars/eu/notes.txt": "x: notes\n",
            "inv/group_vars/eu.yml": "x: the folder comes first\n",
            "inv/group_vars/us.yml": "[ of no group: not read",
            "inv/host_vars/a.yml": "# nothing\n",
        }
    )
    expected = {"x": "20"}
    assert server(load.load("inv/inventory.yaml"), "a").variables == expected
    monkeypatch.chdir(folder / "inv")
    inventory = load.load("inventory.yaml")
    assert server(inventory, "a").variables == expected
    assert str(server(inventory, "a").origins["x"]) == "group_vars/eu/deep/20:1:1"


def test_a_password_file_of_the_folder_ends_a_command_further_out(write: Write) -> None:
    write(
        {
            "inv/hosts": "[eu]\na\n[eu:vars]\nmanagement=/s\nmanagement_password_command=pass\n",
            "inv/host_vars/a.yml": "management_password_file: /pw\n",
        }
    )
    assert server(load.load("inv"), "a").password == PasswordFile(Path("/pw"))


# What an inventory of Ansible's has besides


def test_variables_of_roles_are_not_taken_for_fleets(write: Write) -> None:
    own = "ssh_hardening: x\nmanagement_net: y\njump_host: z\n"
    write({"inv/hosts.yml": "all: {hosts: {a: {management: /s}}}\n", "inv/group_vars/all.yml": own})
    assert server(load.load("inv"), "a").variables == {"ssh_hardening": "x", "management_net": "y", "jump_host": "z"}
    write({"own.yaml": "all: {hosts: {a: {management: /s, jump_host: z}}}\n"})
    assert "did you mean 'jump'?" in refusal("own.yaml")


def test_some_host_must_be_a_server(write: Write) -> None:
    write({"inv/hosts": "[web]\nw1\nw2\n[old]\no management=None\n"})
    assert refusal("inv") == (
        "inv/hosts:2:1: host w1 has no 'management' (nor have 1 other hosts)\n  set management: 'HOST:PORT' or a "
        "socket's path, for the host or a group it is in; or management: null for a host that is no OpenVPN server"
    )
    write({"own.yaml": "all: {hosts: {w1: , v: {management: /s}}}\n"})
    assert refusal("own.yaml").startswith("own.yaml:1:15: host w1 has no 'management'\n")
    assert refusal("inv", "own.yaml").startswith("inv/hosts:2:1: host w1 has no 'management'\n")
    write({"more/hosts": "v management=/s\n"})
    assert names(load.load("inv", "more")) == ["v"]


def test_templates_matter_only_where_fleet_needs_the_value(write: Write) -> None:
    write(
        {
            "inv/hosts": "[vpn]\na ip=192.0.2.1\n[web]\nb ansible_host='{{ ip }}'\n",
            "inv/group_vars/vpn.yml": "management: /s\nmotd: '{{ ip }}'\n",
        }
    )
    assert server(load.load("inv"), "a").variables == {"ip": "192.0.2.1", "motd": "{{ ip }}"}
    write({"inv/host_vars/a.yml": "ansible_host: '{{ ip }}'\n"})
    assert refusal("inv") == (
        "inv/host_vars/a.yml:1:15: ansible_host is a template, which fleet does not evaluate\n  write the value "
        "itself; ssh_host, ssh_port, ssh_user, private_key and connection win over Ansible's own"
    )


# Ansible Vault


def test_vaulted_values_are_refused_only_where_they_are_needed(write: Write) -> None:
    vaulted = "!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\n"
    write({"inv/hosts": "a management=/s\n", "inv/host_vars/a.yml": f"note: {vaulted}"})
    assert server(load.load("inv"), "a").variables == {"note": "(vaulted)"}
    write({"inv/host_vars/a.yml": f"ansible_user: {vaulted}"})
    assert refusal("inv").startswith(
        "inv/host_vars/a.yml:1:15: ansible_user is encrypted by Ansible Vault, which fleet does not open\n  write "
    )


def test_files_that_are_vaulted_as_a_whole(write: Write) -> None:
    write(
        {
            "inv/hosts": "a management=/s\n",
            "inv/group_vars/all/vault.yml": VAULT,
            "inv/group_vars/all/vars.yml": "db_password: '{{ vault_db_password }}'\n",
        }
    )
    inventory = load.load("inv")
    assert names(inventory) == ["a"]
    assert inventory.closed == ("inv/group_vars/all/vault.yml",)
    write({"inv/host_vars/a": VAULT, "inv/more": VAULT})
    assert refusal("inv").split("\n") == [
        "inv/host_vars/a:1:1: the file is encrypted by Ansible Vault, which fleet does not open",
        "  let Ansible open it: a program that runs ansible-inventory -i inv/host_vars --list is an inventory, too",
        "inv/more:1:1: the file is encrypted by Ansible Vault, which fleet does not open",
        "  let Ansible open it: a program that runs ansible-inventory -i inv --list is an inventory, too",
    ]


def test_vaulted_and_unsafe_values_as_ansible_prints_them_in_json(write: Write) -> None:
    hostvars = '{"x": {"__ansible_vault": "$ANS"}, "y": {"__ansible_unsafe": "{{ raw"}, "z": {"__ansible_vault": [1]}}'
    meta = f'"_meta": {{"hostvars": {{"a": {hostvars}}}}}'
    write({"inv.json": f'{{"g": ["a"], "all": {{"vars": {{"management": "/s"}}}}, {meta}}}'})
    assert server(load.load("inv.json"), "a").variables == {
        "x": "(vaulted)",
        "y": "{{ raw",
        "z": {"__ansible_vault": [1]},
    }


# Programs and lists


def program(folder: Path, body: str, name: str = "inv.py") -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable} -SE\nimport sys, time\n{body}\n")
    path.chmod(0o755)


def test_a_program_without_meta_is_asked_for_every_host(folder: Path) -> None:
    body = """
asked = open("asked", "a")
asked.write(" ".join(sys.argv[1:]) + chr(10))
if sys.argv[1] == "--list":
    print('{"eu": {"hosts": ["a", "b"]}, "us": ["a"]}')
elif sys.argv[2] == "a":
    print('{"management": "/s", "ssh_port": 2222}')
"""
    program(folder, body)
    inventory = load.load("inv.py")
    assert names(inventory) == ["a"]
    assert inventory.jump_hosts == ("b",)
    assert server(inventory, "a").groups == ("all", "eu", "us")
    assert (folder / "asked").read_text().split("\n") == ["--list", "--host a", "--host b", ""]
    assert str(server(inventory, "a").origins["ssh_port"]) == "inv.py --host a:1:22"


def test_a_program_in_a_folder_and_one_of_the_yaml_shape(folder: Path, write: Write) -> None:
    program(folder, 'print(\'{"all": {"hosts": {"a": {"management": "/s"}}}}\')', "inv/list.py")
    write({"inv/hosts": "b management=/s\n", "inv/group_vars/all.yml": "x: '1'\n"})
    inventory = load.load("inv")
    assert names(inventory) == ["b", "a"]
    assert all(each.variables == {"x": "1"} for each in inventory.servers)


def test_what_a_program_says_of_one_host_may_be_wrong(folder: Path) -> None:
    program(folder, "print('{\"eu\": [\"a\"]}' if sys.argv[1] == '--list' else '[')")
    assert refusal("inv.py").startswith("inv.py --host a:2:1: not JSON: a value is wanted here\n")
    program(folder, "print('{\"eu\": [\"a\"]}') if sys.argv[1] == '--list' else sys.exit('no such host')")
    assert refusal("inv.py") == (
        "executable inventory inv.py failed with exit status 1: no such host\n  run it by hand: inv.py --host a"
    )


def test_a_list_of_hosts_in_place_of_a_file(write: Write) -> None:
    write({"all.yaml": "all: {vars: {management: /s}}\n"})
    inventory = load.load("all.yaml", "a, b:2222,[2001:db8::1]:22,")
    assert [(each.name, each.ssh.port if each.ssh else None) for each in inventory.servers] == [
        ("a", None),
        ("b", 2222),
        ("2001:db8::1", 22),
    ]
    assert inventory.groups["ungrouped"].hosts == ("a", "b", "2001:db8::1")
    assert refusal("a,b c").startswith("a,b c:1:3: host name 'b c' has a blank or a control character in it\n")
    assert refusal("a,").startswith("a,:1:1: host a has no 'management'\n")
    write({"x,y": "a management=/s\n"})
    assert names(load.load("x,y")) == ["a"]


# Jump hosts in arguments for ssh


@pytest.mark.parametrize(
    ("arguments", "jump"),
    [
        ("-J bastion", SSHSettings("bastion")),
        ("-qJops@bastion:2222", SSHSettings("bastion", 2222, "ops")),
        ("-C -o ControlPersist=60s -o ProxyJump=one,two", SSHSettings("two", jump=SSHSettings("one"))),
        ("-oProxyJump=ssh://u@h:22", SSHSettings("h", 22, "u")),
        ("-o 'ProxyJump bastion'", SSHSettings("bastion")),
        ('-o ProxyCommand="ssh -W %h:%p -q ops@bastion"', SSHSettings("bastion", user="ops")),
        (
            "-o 'ProxyCommand=ssh -p 2200 -l ops -o StrictHostKeyChecking=no -W [%h]:%p bastion exit'",
            SSHSettings("bastion", 2200, "ops"),
        ),
        ("-o ProxyCommand='ssh -l ops -W %h:%p me@bastion'", SSHSettings("bastion", user="me")),
        ("-o ProxyCommand=none", None),
        ("-J none", None),
        ("-o StrictHostKeyChecking=no -4 host", None),
        ("-o SendEnv=NOPROXYCOMMANDS -- x", None),
        ("{{ control_path }}", None),
        ("-o", None),
    ],
)
def test_the_way_that_ansible_tells_ssh(write: Write, arguments: str, jump: SSHSettings | None) -> None:
    hosts = "hosts: {a: {management: /s}, one: {management: null, ssh_port: 1}}"
    write({"inv.yaml": f"all: {{{hosts}, vars: {{ansible_ssh_common_args: {arguments!r}}}}}\n"})
    found = server(load.load("inv.yaml"), "a")
    assert found.ssh == SSHSettings("a", jump=jump)
    if jump is not None:
        assert str(found.origins["jump"]) == str(found.origins["ansible_ssh_common_args"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "-o ProxyCommand='nc -X 5 -x proxy %h %p'",
            "ansible_ssh_common_args has a ProxyCommand that fleet cannot go by",
        ),
        (
            "-o ProxyCommand='ssh bastion nc %h %p'",
            "ansible_ssh_common_args has a ProxyCommand that fleet cannot go by",
        ),
        (
            "-o ProxyCommand='ssh -i key -W %h:%p b'",
            "ansible_ssh_common_args has a ProxyCommand that fleet cannot go by",
        ),
        ("-o ProxyCommand='ssh -W %h:%p'", "ansible_ssh_common_args has a ProxyCommand that fleet cannot go by"),
        ("-J {{ bastion }}", "ansible_ssh_common_args is a template, which fleet does not evaluate"),
        ("-J 'bastion", "ansible_ssh_common_args has a quote without its other half"),
        ("-J a:b:c", "ansible_ssh_common_args must be an inventory host"),
    ],
)
def test_ways_that_only_ssh_could_go(write: Write, arguments: str, message: str) -> None:
    quoted = '"' + arguments + '"'
    write({"inv.yaml": f"all: {{hosts: {{a: {{management: /s, ansible_ssh_common_args: {quoted}}}}}}}\n"})
    assert refusal("inv.yaml").startswith(f"inv.yaml:1:60: {message}")
    # Fleet's own variable wins, and null is one too.
    write({"inv.yaml": f"all: {{hosts: {{a: {{management: /s, jump: null, ansible_ssh_common_args: {quoted}}}}}}}\n"})
    assert server(load.load("inv.yaml"), "a").ssh == SSHSettings("a")


def test_arguments_of_other_forms_are_none(write: Write) -> None:
    variables = "management: /s, ansible_ssh_common_args: [-J], ansible_ssh_extra_args: -Jb"
    write({"inv.yaml": f"all: {{hosts: {{a: {{{variables}}}}}}}\n"})
    assert server(load.load("inv.yaml"), "a").ssh == SSHSettings("a", jump=SSHSettings("b"))


# The house


def test_the_collector_is_as_it_was(write: Write) -> None:
    write({"inv.yaml": "all: {hosts: {a: {management: /s}}}\n", "bad.yaml": "["})
    load.load("inv.yaml")
    assert gc.isenabled()
    refusal("bad.yaml")
    assert gc.isenabled()
    gc.disable()
    try:
        load.load("inv.yaml")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_tagged_json_is_only_a_mapping_of_one() -> None:
    node = json_tree.read_json('{"__ansible_vault": "x", "b": 1}', "f")
    assert type(node).__name__ == "MappingNode"
