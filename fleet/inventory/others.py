"""Values of variables that are not fleet's own: kept for people to see, never for a secret to leak."""

from __future__ import annotations

import re

from fleet.inventory.tree import MappingNode, Node, SequenceNode

HIDDEN = "(hidden)"
VAULTED = "(vaulted)"

_SECRET = re.compile(
    r"pass(word|wd|phrase)|pass$|(^|_)pass_|secret|token|credential|api_?key|private_?key(?!_file)", re.IGNORECASE
)


def is_secret(name: str) -> bool:
    """Whether the name of a variable, or a key inside one, says that its value is secret."""
    return _SECRET.search(name) is not None


def value_of_another(name: str, node: Node) -> object:
    """The value of a variable that is not fleet's own.

    What its name calls a secret is not kept at all: no output, no log and no core dump of fleet's has it.

    Args:
        name: the variable's name, or the key inside it.
        node: its value. Recursion is bounded by the depth that the readers allow.
    """
    if is_secret(name):  # before what is inside it: the keys of `vault_passwords` may be the names of users
        return HIDDEN
    if isinstance(node, MappingNode):
        return {entry.key: value_of_another(entry.key, entry.value) for entry in node.entries}
    if isinstance(node, SequenceNode):
        return [value_of_another(name, item) for item in node.items]
    if node.vaulted:
        return VAULTED
    return str(node.value) if isinstance(node.value, str) else node.value  # no Plain leaves this package
