"""Ansible's INI: sections, ranges, ports, values, and what is refused of it."""

from __future__ import annotations

import ast
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import InventoryError
from fleet.inventory import ini, load
from fleet.inventory.model import Inventory, Position, Server, SSHSettings
from fleet.inventory.tree import ScalarNode, WrongValueError

Read = Callable[..., Inventory]
Refused = Callable[..., tuple[str, str | None]]

TEXT = """\
# a comment
; another one
bastion ansible_port=2200 management=None   # in no group

[eu]
edge-[01:03].example.net:2222  # a port for all three
edge-02.example.net ansible_user=root note="a # b"
[2001:db8::1]:2022
2001:db8::2
[us]   # a comment
far ansible_host=192.0.2.7 'remark=two words' jump="bastion"
edge-02.example.net extra=1

[world:children]
eu  # the old one
us

[world:vars]
management = 127.0.0.1:7505
ansible_ssh_common_args=-o ControlPersist=60s
motd = it's = fine # all of it

[us:vars]
max_clients=50
"""


def server(inventory: Inventory, name: str) -> Server:
    return next(each for each in inventory.servers if each.name == name)


def test_an_inventory_of_ansibles(read: Read) -> None:
    inventory = read(TEXT, "hosts")
    assert [each.name for each in inventory.servers] == [
        "edge-01.example.net", "edge-02.example.net", "edge-03.example.net", "2001:db8::1", "2001:db8::2", "far",
    ]  # fmt: skip
    assert inventory.jump_hosts == ("bastion",)
    assert server(inventory, "edge-01.example.net").ssh == SSHSettings("edge-01.example.net", 2222)
    second = server(inventory, "edge-02.example.net")
    assert second.ssh == SSHSettings("edge-02.example.net", 2222, "root")
    assert second.groups == ("all", "world", "eu", "us")
    assert second.max_clients == 50
    assert second.variables["note"] == "a # b"
    assert second.variables["extra"] == 1
    assert second.variables["motd"] == "it's = fine # all of it"
    assert server(inventory, "2001:db8::1").ssh == SSHSettings("2001:db8::1", 2022)
    assert server(inventory, "2001:db8::2").ssh == SSHSettings("2001:db8::2")
    far = server(inventory, "far")
    assert far.ssh == SSHSettings("192.0.2.7", jump=SSHSettings("bastion", 2200))
    assert far.variables["remark"] == "two words"
    assert inventory.groups["world"].children == ("eu", "us")
    assert inventory.groups["world"].servers == tuple(each.name for each in inventory.servers)
    assert inventory.groups["ungrouped"].hosts == ("bastion",)


def test_where_a_value_stands(read: Read) -> None:
    origins = server(read(TEXT, "hosts"), "edge-02.example.net").origins
    assert {
        name: str(origins[name]) for name in ("management", "ansible_port", "ansible_user", "note", "max_clients")
    } == {
        "management": "hosts:19:1",
        "ansible_port": "hosts:6:1",
        "ansible_user": "hosts:7:21",
        "note": "hosts:7:39",
        "max_clients": "hosts:24:1",
    }
    far = server(read(TEXT, "hosts"), "far").origins
    assert str(far["remark"]) == "hosts:11:29"
    assert far["remark"].owner == "host far"
    assert str(server(read("a 'q'm=1 b=2 management=/s\n", "hosts"), "a").origins["b"]) == "hosts:1:10"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("007", "007"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e999", "1e999"),
        ("1j", "1j"),
        ("True", True),
        ("true", "true"),
        ("None", None),
        ("nan", "nan"),
        ("yes", "yes"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:22", "10.0.0.1:22"),
        ("2026-01-01", "2026-01-01"),
        ("'1'", "1"),
        ("[1, 'a', (2,), {'b': None, 3: 4}]", [1, "a", [2], {"b": None, "3": 4}]),
        ("8080 # a comment of Python's", 8080),
        ("b'x'", "b'x'"),
        ("[...]", ["[...]"]),
        ("'unfinished", "'unfinished"),
        ("'a\\d'", "a\\d"),
        ("0x" + "f" * 300, "0x" + "f" * 300),
        ("9" * 5000, "9" * 5000),
        ("(" * 500, "(" * 500),
        ("[1]" + " " * ini.MAX_LITERAL + "# long", "[1]" + " " * ini.MAX_LITERAL + "# long"),
        ("", ""),
    ],
)
def test_values_are_literals_of_python_or_texts(read: Read, text: str, value: object) -> None:
    inventory = read(f"[g]\na management=/s\n[g:vars]\nx = {text}\n", "hosts.ini")
    assert inventory.servers[0].variables["x"] == value


def test_a_group_may_be_made_by_its_children_and_later(read: Read) -> None:
    inventory = read("[all:vars]\nmanagement=/s\n[w:vars]\nx=1\n[v:children]\nw\n[w:children]\ne\n[e]\na\n", "hosts")
    assert server(inventory, "a").groups == ("all", "v", "w", "e")
    assert server(inventory, "a").variables == {"x": 1}


REFUSALS = """\
=== [eu:vrs]\nx=1
hosts:1:1: section [eu:vrs] is of no known kind
  write [NAME], [NAME:children] or [NAME:vars]
=== [e u]
hosts:1:1: '[e u]' is no section
  write [NAME], [NAME:children] or [NAME:vars]
=== [eu:vars]\nx=1
hosts:1:1: [eu:vars] is for a group that is not there
  A group is made by [NAME] or [NAME:children]
=== [edge]\na management=/s\n[edgs:vars]\nx=1
hosts:3:1: [edgs:vars] is for a group that is not there
  did you mean 'edge'? A group is made by [NAME] or [NAME:children]
=== [edge]\na management=/s\n[w:children]\nedgs
hosts:4:1: group 'edgs', a child of w, is not there
  did you mean 'edge'? A group is made by [NAME] or [NAME:children]
=== [w:children]\na b
hosts:2:1: 'a b' is no name of a group
  a line of children is one group's name
=== [w:children]\nall
hosts:2:1: group all is inside group w
  every group is inside all
=== [all:vars]\nx
hosts:2:1: 'x' is no variable
  a line of variables is NAME=VALUE
=== [all:vars]\n=hunter2
hosts:2:1: '=' is no variable
  a line of variables is NAME=VALUE
=== a hunter2 b=1
hosts:1:1: 'hunter2' is no variable of host 'a'
  behind a host stand NAME=VALUE; a blank in a value wants quotes around it
=== a =hunter2
hosts:1:1: '=' is no variable of host 'a'
  behind a host stand NAME=VALUE; a blank in a value wants quotes around it
=== a ""
hosts:1:1: '' is no variable of host 'a'
  behind a host stand NAME=VALUE; a blank in a value wants quotes around it
=== a x='hunter2
hosts:1:1: a quote without its other half
  put quotes around the whole value
=== a x="[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
hosts:1:5: more than 64 levels inside each other, which is fleet's security limit
=== a ssh_prt=1 management=/s
hosts:1:3: unknown variable 'ssh_prt' for host a
  did you mean 'ssh_port'?
=== a management=127.0.0.1
hosts:1:14: management must be 'HOST:PORT', '[IPv6]:PORT' or the absolute path of a unix socket, a mapping of daemons, or null, not '127.0.0.1'
  the port is from 1 to 65535
=== a management=null
hosts:1:14: management must be 'HOST:PORT', '[IPv6]:PORT' or the absolute path of a unix socket, a mapping of daemons, or null, not 'null'
  in an INI inventory it is written None, as Python has it
=== a:b\n[x?]\nc\n[x?:vars]\ny=1\n[w:children]\nz?
hosts:1:1: host name 'a:b' has : in it
  a name has no blanks, no control characters and none of the signs of patterns, such as : , * ? [ ] / ! &
hosts:2:1: group name 'x?' has ? in it
  a name has no blanks, no control characters and none of the signs of patterns, such as : , * ? [ ] / ! &
hosts:4:1: group name 'x?' has ? in it
  a name has no blanks, no control characters and none of the signs of patterns, such as : , * ? [ ] / ! &
hosts:7:1: group name 'z?' has ? in it
  a name has no blanks, no control characters and none of the signs of patterns, such as : , * ? [ ] / ! &
=== [a]\nb management=/s\n[w]\na
hosts:4:1: 'a' is a group and a host (the other is in line 1, column 1)
  a pattern could not tell them apart: rename one
"""  # noqa: E501 - messages as they are


@pytest.mark.parametrize("block", REFUSALS.split("=== ")[1:])
def test_refusals(refused: Refused, block: str) -> None:
    lines = block.rstrip("\n").split("\n")
    end = next(index for index, line in enumerate(lines) if line.startswith("hosts:"))
    message, hint = refused("\n".join(lines[:end]) + "\n", "hosts")
    said = message + (f"\n  {hint}" if hint else "")
    assert said.startswith("\n".join(lines[end:]))


def test_a_mark_of_yaml_is_no_host(refused: Refused) -> None:
    message, hint = refused("---\n", "hosts.ini")
    assert message == "hosts.ini:1:1: '---' is a mark of YAML, and this is read as INI"
    assert hint == "name the file .yaml"


def test_limits(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ini, "MAX_NODES", 3)
    message, _ = refused("a x=1\nb y=1\n", "hosts")
    assert message == "hosts:2:1: more than 3 values, which is fleet's security limit"


PIECES = st.sampled_from(
    ["[", "]", ":", "=", "\n", " ", "#", '"', "'", "\\", "all", "vars", "children", "a", "[g]", "1"]
)


@given(text=st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60))
def test_any_text_is_an_inventory_or_one_inventory_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.ini"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(load.load(str(path)), Inventory)
    except InventoryError as error:
        assert error.message.startswith(f"{path}:")  # noqa: PT017 - either outcome is right


@given(text=st.text(alphabet="ab= \t\"'\\\\#\u00e9", min_size=1, max_size=20).map(str.strip).filter(bool))
def test_a_host_line_is_split_as_shlex_splits_it(text: str) -> None:
    try:
        expected = shlex.split(text, comments=True)
    except ValueError:
        with pytest.raises(WrongValueError):
            ini._tokens(text, Position("f", 1, 1))
        return
    assert ini._tokens(text, Position("f", 1, 1)) == expected


WORDS = st.sampled_from(
    ["True", "False", "None", "a", "b", "1", "0", ".", "/", "~", ":", "@", "-", " ", "_", "e", "j", "nan"]
)


@given(text=st.lists(WORDS, min_size=1, max_size=6).map("".join).map(str.strip).filter(bool))
def test_the_short_ways_lead_to_what_python_says(text: str) -> None:
    node = ini.literal(text, Position("f", 1, 1))
    try:
        with warnings.catch_warnings(action="ignore"):
            expected = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        expected = text
    if expected is Ellipsis or isinstance(expected, complex):
        expected = text
    assert isinstance(node, ScalarNode)
    assert (node.value, type(node.value)) == (expected, type(expected))


def test_what_a_text_is_where_its_name_does_not_say(read: Read, folder: Path) -> None:
    for number, text in enumerate(
        (
            "a management=/s\n",
            "# c\n\n[g]\na management=/s\n",
            "a\n[all:vars]\nnote: =x\nmanagement=/s\n",
            "---\nall: {hosts: {a: {management: /s}}}\n",
            "# c\n\nall:\n  hosts: {a: {management: /s}}\n",
            '"all": {hosts: {a: {management: /s}}}\n',
            "{all: {hosts: {a: {management: /s}}}}\n",
            '{"all": {"hosts": {"a": {"management": "/s"}}}}',
            '\n {"all": {"hosts": ["a"]}, "_meta": {"hostvars": {"a": {"management": "/s"}}}}',
        )
    ):
        inventory = read(text, f"name{number}")
        assert [each.name for each in inventory.servers] == ["a"], text
    (folder / "hosts").write_text("a management=/s\n")
    (folder / "hosts").chmod(0o755)  # as a file system has it that knows no modes
    assert load.load("hosts").servers[0].name == "a"
