"""Groups, hosts and their variables as the texts of an inventory have them, before anything is inherited."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.inventory.model import Origin, Position
from fleet.inventory.tree import Node
from fleet.inventory.variables import PASSWORD_VARIABLES


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """One variable set at one place; it may be shared by the hosts of a range.

    Attributes:
        folder: where relative paths in its value start.
        parsed: the value of a variable of fleet's own, None where it is null; a mapping of daemons is a tuple of
            Daemon. Variables of others stay None.
    """

    name: str
    node: Node
    origin: Origin
    folder: Path
    parsed: Any = None


Definitions = dict[str, Definition]


def overlay(below: Definitions, above: Definitions) -> Definitions:
    """Variables with those of a nearer place over them; a password file there ends a command below, and vice versa."""
    if not above:
        return below
    if not below:
        return above
    merged = {**below, **above}
    if any(name in above for name in PASSWORD_VARIABLES):
        for name in PASSWORD_VARIABLES:
            if name not in above:
                merged.pop(name, None)
    return merged


@dataclass(frozen=True, slots=True, eq=False)
class Daemon:
    """One entry of a `management` mapping: its own variables, `management` (its endpoint) among them."""

    name: str
    definitions: Definitions


@dataclass(slots=True, eq=False)
class HostRecord:
    """A host: where it is first mentioned, and the variables set for it.

    Attributes:
        expected: a file in fleet's own shape lists it, so that it must have a `management`. A host that only an
            inventory of Ansible's lists may be no OpenVPN server.
    """

    name: str
    position: Position
    definitions: Definitions = field(default_factory=dict)
    expected: bool = False


@dataclass(slots=True, eq=False)
class GroupRecord:
    """A group: what is directly in it (where it is first said so), and the variables set for it."""

    name: str
    position: Position
    children: dict[str, Position] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)
    definitions: Definitions = field(default_factory=dict)
    priority: int = 1


@dataclass(slots=True, eq=False)
class Records:
    """All texts of an inventory, in their order.

    Attributes:
        group_files: of each `group_vars` folder, in the order of the inventories they are beside, the variables by
            group. They win over what the inventories say of groups, and lose to what they say of hosts.
        host_files: likewise of each `host_vars` folder; they win over everything.
        others: what `other_variables` lists, as an ordered set.
        closed: files that are encrypted as a whole and were left alone.
    """

    groups: dict[str, GroupRecord]
    hosts: dict[str, HostRecord]
    group_files: list[dict[str, Definitions]] = field(default_factory=list)
    host_files: list[dict[str, Definitions]] = field(default_factory=list)
    others: dict[str, None] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
