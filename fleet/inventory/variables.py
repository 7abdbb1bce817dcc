"""fleet's own variables: one table, which the reader, the documentation's test and `fleet inventory show` share."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.inventory import ssh_arguments, values
from fleet.inventory.tree import Node, ScalarNode, WrongValueError, is_null, scalars

Parser = Callable[[Node, str, Path], Any]


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable that fleet reads.

    Attributes:
        name: as it stands in an inventory.
        takes: what it may be, for the documentation.
        parse: node, name of the variable and the inventory's folder to a value.
        fallbacks: variables of Ansible that are read where this one is not set, the first that is set.
        daemon: whether it may stand in the mapping of one daemon, too.
    """

    name: str
    takes: str
    parse: Parser
    fallbacks: tuple[str, ...] = ()
    daemon: bool = False


VARIABLES: tuple[Variable, ...] = (
    Variable("management", "`HOST:PORT`, `[IPv6]:PORT`, socket path, mapping of daemons, `null`", values.endpoint),
    Variable("management_password_file", "path", values.password_file, daemon=True),
    Variable("management_password_command", "list of texts, or one text", values.password_command, daemon=True),
    Variable("ssh_host", "host name or address", values.host, ("ansible_host", "ansible_ssh_host")),
    Variable("ssh_port", "1 to 65535", values.port, ("ansible_port", "ansible_ssh_port")),
    Variable("ssh_user", "word", values.word, ("ansible_user", "ansible_ssh_user")),
    Variable("private_key", "path", values.path, ("ansible_ssh_private_key_file", "ansible_private_key_file")),
    Variable("host_keys", "pin or list of pins: `TYPE BASE64`, `SHA256:...`", values.host_keys),
    Variable(
        "jump",
        "inventory host or `[user@]host[:port]`, commas between several, `null`",
        ssh_arguments.jump,
        ("ansible_ssh_common_args", "ansible_ssh_extra_args"),
    ),
    Variable("connection", "`ssh` or `local`", values.connection, ("ansible_connection",)),
    Variable("exclusive", "`true` or `false`", values.boolean, daemon=True),
    Variable("max_clients", "number from 1", values.count, daemon=True),
    Variable("other_variables", "list of names, `*` and `?` allowed", values.other_variables),
)
"""Every variable of fleet's own, in the order of docs/inventory.md."""

BY_NAME = {variable.name: variable for variable in VARIABLES}
PASSWORD_VARIABLES = ("management_password_file", "management_password_command")
DAEMON_KEYS = ("endpoint", *(variable.name for variable in VARIABLES if variable.daemon))
GROUP_PRIORITY = "ansible_group_priority"

# What people call these things elsewhere, too far from fleet's name for a comparison of letters.
_SYNONYMS = {
    "jump_host": "jump",
    "jumphost": "jump",
    "proxy_jump": "jump",
    "proxyjump": "jump",
    "identity_file": "private_key",
    "identityfile": "private_key",
    "maxclients": "max_clients",
}
_CLOSE = 0.8  # difflib's ratio: managment 0.95, ssh_prot 0.88; private_ip against private_key 0.76 is somebody else's
_CLOSER = 0.87  # among the variables of roles: management_net 0.83 is somebody else's there


def parse(variable: Variable, name: str, node: Node, folder: Path) -> Any:
    """The value of a variable, or None where it is null.

    Args:
        variable: whose form the value must have.
        name: what the inventory calls it: the variable, a fall-back of it, or `endpoint`.
        node: the value.
        folder: where relative paths start.

    Raises:
        WrongValueError: not what the variable takes.
    """
    if is_null(node):
        return None
    for scalar in scalars(node):
        refuse_opaque(scalar, name)
    return variable.parse(node, name, folder)


def refuse_opaque(scalar: ScalarNode, name: str) -> None:
    """Refuses what only Ansible could turn into a value.

    Raises:
        WrongValueError: a vaulted value or a template.
    """
    if scalar.vaulted:
        raise WrongValueError(
            scalar.position,
            f"{name} is encrypted by Ansible Vault, which fleet does not open",
            "write it in plain text; a management password comes from management_password_file or "
            "management_password_command, such as ansible-vault view FILE",
        )
    if isinstance(scalar.value, str) and ("{{" in scalar.value or "{%" in scalar.value):
        raise WrongValueError(
            scalar.position,
            f"{name} is a template, which fleet does not evaluate",
            "write the value itself; ssh_host, ssh_port, ssh_user, private_key and connection win over Ansible's own",
        )


@functools.lru_cache(maxsize=4096)  # hosts have the same few variables
def unknown_variable_hint(name: str, *, strict: bool) -> str | None:
    """What to say where a variable is probably meant for fleet and is none of its own; None where it is not.

    It is meant for fleet where it is close to one of the names above; in fleet's own files also where it begins with
    `ssh_` or `management`, or is what other tools call one of them: an inventory of Ansible's has such for its roles.

    Args:
        name: the variable.
        strict: it stands in a file of fleet's own.
    """
    if name in BY_NAME or name.startswith("ansible_"):
        return None
    close = next(iter(difflib.get_close_matches(name, BY_NAME, n=1, cutoff=_CLOSE if strict else _CLOSER)), None)
    if strict:
        close = _SYNONYMS.get(name, close)
    if close is None and not (strict and name.startswith(("ssh_", "management"))):
        return None
    if name in {"management_password", "management_pw"}:
        return "a secret does not stand in an inventory: use management_password_file or management_password_command"
    known = ", ".join(BY_NAME)
    meant = f"did you mean '{close}'? " if close is not None else ""
    return f"{meant}Known: {known}. If it is not meant for fleet: list it in other_variables"
