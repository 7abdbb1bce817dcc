"""Every refusal of an inventory: exact text, position and hint (complaints.txt), and what that file cannot hold."""

from __future__ import annotations

import fnmatch
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fleet.errors import InventoryError
from fleet.inventory import files, graph, load, reader, tree, values, yaml_tree

Refused = Callable[..., tuple[str, str | None]]


def blocks() -> list[tuple[str, str, str]]:
    """File name, text and refusal of each block."""
    text = (Path(__file__).parent / "complaints.txt").read_text()
    found = []
    for block in text.split("\n=== ")[1:]:
        name, rest = block.split("\n", 1)
        content, refusal = rest.split("---> refused\n")
        found.append((name, content, refusal.rstrip("\n")))
    return found


@pytest.mark.parametrize(("name", "text", "refusal"), blocks())
def test_refusals(refused: Refused, name: str, text: str, refusal: str) -> None:
    message, hint = refused(text, name)
    assert message + (f"\n  {hint}" if hint is not None else "") == refusal


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1\nb: 2\n", "2:2"),
        ("management: [::1]:7505\n", "1:14"),
        ("\ta: 1\n", "1:1"),
        ("a:\n  b: c: d\n", "2:7"),
        ("%\n", "1:2"),
    ],
)
def test_yaml_syntax(refused: Refused, text: str, place: str) -> None:
    message, hint = refused(text)
    assert message.startswith(f"inv.yaml:{place}: not YAML: ")
    assert hint is not None
    assert "quote a value" in hint


def test_an_error_without_a_place_is_at_the_beginning(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*_args: object, **_keywords: object) -> object:
        raise yaml.MarkedYAMLError(problem="nowhere")

    monkeypatch.setattr(yaml, "parse", parse)
    assert refused("a: b\n")[0] == "inv.yaml:1:1: not YAML: nowhere"


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "\ufeff"])
def test_an_empty_file(refused: Refused, text: str) -> None:
    assert refused(text) == ("inv.yaml:1:1: the inventory is empty", "it begins with all: {hosts: ...}")


def test_characters(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("a: b\nbé: \x07\n")[0] == "inv.yaml:2:5: character U+0007 is not allowed in YAML"
    assert refused("a: \ufeff\n")[0] == "inv.yaml:1:4: character U+FEFF is not allowed in YAML"
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)  # libyaml refuses this one itself
    half = ("inv.yaml:2:6: an escape writes half a character", "write characters as UTF-8 instead of escapes")
    assert refused('a:\n  b: "\\ud800"\n') == half


def test_bytes_that_are_no_utf_8(folder: Path) -> None:
    (folder / "inv.yaml").write_bytes("all:\n  é: ".encode() + b"\xff\n")
    with pytest.raises(InventoryError) as caught:
        load.load("inv.yaml")
    assert caught.value.message == "inv.yaml:2:6: byte 0xff is not UTF-8"
    assert caught.value.hint == "save the file as UTF-8"


def test_json_numbers_have_a_limit(refused: Refused) -> None:
    assert refused('{"a": ' + "1" * 5000 + "}", "inv.json")[0] == "inv.json:1:7: not JSON: a value is wanted here"


def test_files_that_cannot_be_read(folder: Path) -> None:
    for path, message in (
        ("missing.yaml", "missing.yaml cannot be read: No such file or directory"),
        ("", " cannot be read: No such file or directory"),
        (str(folder), f"{folder} is a folder without an inventory file"),
        ("a\0b", "a\0b cannot be read: embedded null byte"),
    ):
        with pytest.raises(InventoryError) as caught:
            load.load(path)
        assert caught.value.message == message
        assert caught.value.hint
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        with pytest.raises(InventoryError, match="sock cannot be read: No such device or address"):
            load.load("sock")


def test_json_numbers_beyond_all_bounds(refused: Refused) -> None:
    message, hint = refused('{"a": -1e400}', "inv.json")
    assert message == "inv.json:1:7: a number too large to be kept"
    assert hint == "write it as a text, in double quotes"


def test_a_pin_that_is_not_ascii(refused: Refused) -> None:
    message, _ = refused("all: {hosts: {a: {management: /s, host_keys: ssh-ed25519 AAAA\u00e9}}}\n")
    assert message == "inv.yaml:1:46: the base64 text behind ssh-ed25519 is cut or belongs to another type"


def test_a_name_of_another_is_decided_once(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = fnmatch.fnmatchcase, []

    def counted(name: str, pattern: str) -> bool:
        asked.append((name, pattern))
        return real(name, pattern)

    monkeypatch.setattr(fnmatch, "fnmatchcase", counted)
    own = "management: /s, other_variables: [fleet_*], ssh_prt: 1, fleet_x: 1"
    message, _ = refused("all: {hosts: {" + ", ".join(f"h{number}: {{{own}}}" for number in range(50)) + "}}\n")
    assert message.count("unknown variable 'ssh_prt' for host h") == 20
    assert message.endswith("and 30 more complaints")
    assert asked
    assert len(set(asked)) == len(asked)


def test_homes_of_nobody(refused: Refused) -> None:
    here = "all: {hosts: {a: {management: /s, "
    for variable in ("private_key", "management_password_file", "management_password_command"):
        message, _ = refused(f"{here}{variable}: ~nosuchuser/k}}}}}}\n")
        place = len(here) + len(variable) + 3
        assert message == f"inv.yaml:1:{place}: {variable}: ~nosuchuser is no user's home folder"


def test_a_secret_argument_is_in_no_complaint(refused: Refused) -> None:
    for value in ("{a: hunter2}", "[hunter2, [hunter2]]", '"hunter2 \'"', "['', hunter2]"):
        message, hint = refused(f"all: {{hosts: {{a: {{management: /s, management_password_command: {value}}}}}}}\n")
        assert "hunter2" not in f"{message} {hint}"
    message, hint = refused("all: {hosts: {a: {management: /s, management_password: hunter2}}}\n")
    assert "hunter2" not in f"{message} {hint}"


# Security limits


def test_billion_laughs(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
    message, _ = refused("l0: &l0 [lol]\n" + levels)
    assert message.endswith("more than 1000000 values, aliases counted at each use, which is fleet's security limit")
    monkeypatch.setattr(yaml_tree, "MAX_NODES", 5)
    assert refused("a: [1, 2, 3, 4]\n")[0].startswith("inv.yaml:1:11: more than 5 values")


def test_a_file_that_is_too_big(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    assert refused("all: {hosts: }")[0] == "inv.yaml has more than 10 bytes, which is fleet's security limit"


def test_too_many_hosts(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_RANGE", 10)
    message, _ = refused("all: {hosts: {'a[1:6]': , 'b[1:6]': }}\n")
    assert message == "inv.yaml:1:27: more than 10 hosts, which is fleet's security limit"


def test_groups_too_deep(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_GROUP_DEPTH", 2)
    message, _ = refused("a: {children: {b: {children: {c: }}}}\n")
    assert message == "inv.yaml:1:31: more than 2 groups inside each other, which is fleet's security limit"


def test_the_limits_stand(refused: Refused) -> None:
    assert (tree.MAX_DEPTH, tree.MAX_NODES, tree.MAX_BYTES) == (64, 1_000_000, 16 * 1024 * 1024)
    assert (values.MAX_JUMPS, graph.MAX_GROUP_DEPTH, reader.MAX_RANGE) == (16, 64, 100_000)
    assert "more than 64 levels" in refused("{a: " * 65)[0]
