"""The jump hosts of a host, from fleet's `jump` or from the arguments that Ansible gives to ssh.

Of `ansible_ssh_common_args` and `ansible_ssh_extra_args` the way to the host is read, as people write it there:

    -J bastion            -o ProxyJump=ops@bastion:2222           -o ProxyCommand="ssh -W %h:%p -q ops@bastion"

Other options of theirs are for Ansible's own ssh (ControlPersist, a timeout), or would weaken fleet's (a
StrictHostKeyChecking that is off), and are not taken over.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fleet.inventory import values
from fleet.inventory.tree import Node, ScalarNode, WrongValueError

_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")  # ssh(1): the options that take an argument
_OTHER_WAY = frozenset({*"bBFIiJOS", "hostname", "identityfile", "port", "proxycommand", "proxyjump", "user"})
_WAY = re.compile(r"-[A-Za-z0-9]*J|proxy(?:jump|command)", re.IGNORECASE)
_HINT = "set jump (null for no jump host), or let ssh_config say the way"


def names_a_way(node: Node) -> bool:
    """Whether arguments of ssh may say something about the way to a host; a vaulted text may."""
    return isinstance(node, ScalarNode) and (node.vaulted or bool(_WAY.search(str(node.value))))


def jump(node: Node, name: str, folder: Path) -> tuple[values.JumpHop, ...] | None:
    """The jump hosts, the nearest first; None where arguments of ssh name none.

    Raises:
        WrongValueError: not what `jump` takes, or a way that only ssh itself could go.
    """
    if name == "jump":
        return values.jump(node, name, folder)
    try:
        words = shlex.split(str(node.value)) if isinstance(node, ScalarNode) else []
    except ValueError:
        raise WrongValueError(node.position, f"{name} has a quote without its other half") from None
    for option, value in _options(words):
        if option in {"J", "proxyjump"}:
            return None if value == "none" else _hops(node, name, value)
        if option == "proxycommand":
            return None if value == "none" else _hops(node, name, _through_ssh(node, name, value))
    return None


def _hops(node: Node, name: str, text: str) -> tuple[values.JumpHop, ...]:
    hops = values.jump(ScalarNode(text.replace("ssh://", ""), node.position), name, Path())
    return tuple(replace(hop, ssh_alone=True) for hop in hops)


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """The options of ssh with their values: the letter, or the keyword of an -o in small letters."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "--":
            yield "", word
            continue
        for index, letter in enumerate(word[1:], 2):
            if letter not in _WITH_VALUE:
                yield letter, ""
                continue
            value = word[index:] or next(rest, "")
            if letter == "o":
                keyword, _, value = value.strip().replace("=", " ", 1).partition(" ")
                yield keyword.lower(), value.strip()
            else:
                yield letter, value
            break


def _through_ssh(node: Node, name: str, command: str) -> str:
    """The jump host of `ssh -W %h:%p [options] [user@]host`.

    Raises:
        WrongValueError: any other command.
    """
    words = command.split()
    host = user = port = ""
    plain = words[:1] == ["ssh"]
    forwards = False
    for option, value in _options(words[1:]):
        if option == "W":
            forwards = value in {"%h:%p", "[%h]:%p"}
        elif option in {"l", "p"}:
            user, port = (value, port) if option == "l" else (user, value)
        elif not option and not host:
            host = value
        elif option in _OTHER_WAY:
            plain = False
    if not (plain and forwards and host):
        raise WrongValueError(node.position, f"{name} has a ProxyCommand that fleet cannot go by", _HINT)
    at = f"{user}@" if user and "@" not in host else ""
    return f"{at}{host}:{port}" if port else f"{at}{host}"
