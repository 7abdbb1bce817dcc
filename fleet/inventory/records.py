"""Groups, hosts and their variables as an inventory's text has them, before anything is inherited.

Two shapes are read: Ansible's YAML shape (`all: {hosts, children, vars}`), and the JSON that an executable inventory
prints for `--list` (lists of names, variables of hosts under `_meta`).
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.inventory import values
from fleet.inventory.model import Origin, Position
from fleet.inventory.names import MAX_RANGE, expand_name, name_problem
from fleet.inventory.tree import (
    Complaint,
    Complaints,
    Entry,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    WrongValueError,
    describe,
    is_null,
    quote,
)
from fleet.inventory.variables import (
    BY_NAME,
    DAEMON_KEYS,
    GROUP_PRIORITY,
    PASSWORD_VARIABLES,
    parse,
    unknown_variable_hint,
)

_GROUP_KEYS = ("hosts", "children", "vars")


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """One variable set at one place; it may be shared by the hosts of a range.

    Attributes:
        parsed: the value of a variable of fleet's own, None where it is null; a mapping of daemons is a tuple of
            Daemon. Variables of others stay None.
    """

    name: str
    node: Node
    origin: Origin
    parsed: Any = None


Definitions = dict[str, Definition]


def overlay(below: Definitions, above: Definitions) -> Definitions:
    """Variables with those of a nearer place over them; a password file there ends a command below, and vice versa."""
    if not above:
        return below
    merged = dict(below)
    if any(name in above for name in PASSWORD_VARIABLES):
        for name in PASSWORD_VARIABLES:
            merged.pop(name, None)
    merged.update(above)
    return merged


@dataclass(frozen=True, slots=True, eq=False)
class Daemon:
    """One entry of a `management` mapping: its own variables, `management` (its endpoint) among them."""

    name: str
    definitions: Definitions


@dataclass(slots=True, eq=False)
class HostRecord:
    """A host: where it is first mentioned, and the variables set for it."""

    name: str
    position: Position
    definitions: Definitions = field(default_factory=dict)


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
    """A whole inventory's text, in its order."""

    groups: dict[str, GroupRecord]
    hosts: dict[str, HostRecord]


def read_records(tree: Node, folder: Path) -> Records:
    """Reads a tree of either shape.

    Args:
        tree: the inventory's text.
        folder: where relative paths in it start.

    Raises:
        InventoryError: every complaint about shape, names, ranges and values.
    """
    reader = _Reader(folder, tree.position)
    if not isinstance(tree, MappingNode):
        problem = f"an inventory must be a mapping of groups, not {describe(tree)}"
        reader.complaints.add(Complaint(tree.position, problem, "it begins with all: {hosts: ...}"))
    elif tree.get("_meta") is not None:
        _read_list_shape(reader, tree)
    else:
        for entry in tree.entries:
            _read_group(reader, entry, parent=None)
    reader.check_names()
    reader.complaints.raise_any()
    return reader.records


class _Reader:
    def __init__(self, folder: Path, start: Position) -> None:
        self.folder = folder
        self.complaints = Complaints()
        self.records = Records({"all": GroupRecord("all", start)}, {})
        self._unknown: list[tuple[str, Complaint]] = []
        self._others: dict[str, None] = {}  # many hosts say the same: a name is kept once

    def complain(self, position: Position, text: str, hint: str | None = None) -> None:
        self.complaints.add(Complaint(position, text, hint))

    def group(self, name: str, position: Position) -> GroupRecord | None:
        """The group of that name, made where it is new; None after a complaint about its name."""
        if name not in self.records.groups:
            problem = name_problem(name)
            if problem is not None:
                self.complain(position, f"group name {quote(name)} {problem}", _NAME_HINT)
                return None
            self.records.groups[name] = GroupRecord(name, position)
        return self.records.groups[name]

    def hosts(self, name: str, position: Position, *, ranges: bool) -> list[HostRecord]:
        """The hosts that a name stands for, made where they are new; none after a complaint about it."""
        try:
            names = expand_name(name) if ranges else [name]
        except ValueError as error:
            self.complain(position, f"range in host name {quote(name)}: {error}", "write edge-[01:09] or edge-[a:c]")
            return []
        problem = next(filter(None, (name_problem(each, host=True) for each in names)), None)
        if problem is not None:
            self.complain(position, f"host name {quote(name)} {problem}", _NAME_HINT)
            return []
        hosts = self.records.hosts
        for each in names:
            if each not in hosts:
                hosts[each] = HostRecord(each, position)
        if len(hosts) > MAX_RANGE:
            raise WrongValueError(position, f"more than {MAX_RANGE} hosts, which is fleet's security limit")
        return [hosts[each] for each in names]

    def definitions(self, node: Node, owner: str) -> Definitions:
        """The variables of one mapping."""
        if is_null(node):
            return {}
        if not isinstance(node, MappingNode):
            self.complain(node.position, f"the variables of {owner} must be a mapping, not {describe(node)}")
            return {}
        definitions = dict(self._definition(entry, owner) for entry in node.entries)
        self.check_password(definitions)
        return definitions

    def _definition(self, entry: Entry, owner: str) -> tuple[str, Definition]:
        place = entry.key_position
        origin = Origin(place.file, place.line, place.column, owner)
        parsed = None
        if entry.key in BY_NAME:
            parsed = self.value(entry.key, entry, owner)
            if entry.key == "other_variables":
                self._others.update(dict.fromkeys(parsed or ()))
        else:
            hint = unknown_variable_hint(entry.key)
            if hint is not None:
                complaint = Complaint(place, f"unknown variable {quote(entry.key)} for {owner}", hint)
                self._unknown.append((entry.key, complaint))
        return entry.key, Definition(entry.key, entry.value, origin, parsed)

    def value(self, name: str, entry: Entry, owner: str) -> Any:
        """The parsed value of one of fleet's own variables; None after a complaint, too."""
        try:
            if entry.key == "management" and isinstance(entry.value, MappingNode):
                return self._daemons(entry.value, owner)
            return parse(BY_NAME[name], entry.key, entry.value, self.folder)
        except WrongValueError as error:
            self.complaints.add(error.complaint)
            return None

    def check_password(self, definitions: Definitions) -> None:
        """Complains where one place names two sources of a password."""
        both = [definitions[name] for name in PASSWORD_VARIABLES if name in definitions]
        if len(both) > 1 and all(each.parsed is not None for each in both):
            later = max(both, key=lambda each: (each.origin.line, each.origin.column))
            problem = "management_password_file and management_password_command are both set"
            self.complain(later.origin, f"{problem} for {later.origin.owner}", "keep one of them")

    def _daemons(self, node: MappingNode, owner: str) -> tuple[Daemon, ...]:
        if not node.entries:
            hint = "name at least one, as in {udp: '127.0.0.1:7505'}, or write null for a host only to jump through"
            raise WrongValueError(node.position, "management is a mapping of daemons without a daemon", hint)
        return tuple(filter(None, (self._daemon(entry, owner) for entry in node.entries)))

    def _daemon(self, entry: Entry, owner: str) -> Daemon | None:
        problem = name_problem(entry.key)
        if problem is not None:
            self.complain(entry.key_position, f"daemon name {quote(entry.key)} {problem}", _NAME_HINT)
            return None
        owner = f"{owner}, daemon {entry.key}"
        if not isinstance(entry.value, MappingNode):
            entry = Entry(entry.key, entry.key_position, MappingNode((_as_endpoint(entry),), entry.value.position))
        return Daemon(entry.key, self._daemon_definitions(entry, owner))

    def _daemon_definitions(self, entry: Entry, owner: str) -> Definitions:
        definitions: Definitions = {}
        for part in entry.value.entries if isinstance(entry.value, MappingNode) else ():
            place = part.key_position
            if part.key not in DAEMON_KEYS:
                hint = f"{_did_you_mean(part.key, DAEMON_KEYS)}A daemon takes: {', '.join(DAEMON_KEYS)}"
                self.complain(place, f"unknown variable {quote(part.key)} for {owner}", hint)
                continue
            name = "management" if part.key == "endpoint" else part.key
            origin = Origin(place.file, place.line, place.column, owner)
            definitions[name] = Definition(name, part.value, origin, self.value(name, part, owner))
            if part.key == "endpoint" and is_null(part.value):
                self.complain(part.value.position, f"{owner} has no endpoint", "remove the daemon, or say where it is")
        if "management" not in definitions:
            hint = "add endpoint: 'HOST:PORT' or the path of a unix socket"
            self.complain(entry.key_position, f"{owner} has no endpoint", hint)
        self.check_password(definitions)
        return definitions

    def check_names(self) -> None:
        """What can be said only when everything was read."""
        names = {name for name, _ in self._unknown}  # each decided once, however many hosts have it
        meant = {name for name in names if any(fnmatch.fnmatchcase(name, other) for other in self._others)}
        for name, complaint in self._unknown:
            if name not in meant:
                self.complaints.add(complaint)
        for name in self.records.groups.keys() & self.records.hosts.keys():
            places = (self.records.groups[name].position, self.records.hosts[name].position)
            first, later = sorted(places, key=lambda p: (p.line, p.column))
            self.complain(
                later,
                f"'{name}' is a group and a host (the other is in line {first.line}, column {first.column})",
                "a pattern could not tell them apart: rename one",
            )


_NAME_HINT = "a name has no blanks, no control characters and none of the signs of patterns, such as : , * ? [ ] / ! &"


def _as_endpoint(entry: Entry) -> Entry:
    """`udp: '127.0.0.1:7505'` is short for `udp: {endpoint: '127.0.0.1:7505'}`."""
    return Entry("endpoint", entry.key_position, entry.value)


def _did_you_mean(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'? " if close else ""


def _read_group(reader: _Reader, entry: Entry, *, parent: GroupRecord | None) -> None:
    """One group of the YAML shape, and all that is inside it."""
    record = _enter_group(reader, entry.key, entry.key_position, parent)
    if record is None or is_null(entry.value):
        return
    if not isinstance(entry.value, MappingNode):
        hint = "it holds hosts, children and vars"
        reader.complain(entry.value.position, f"group {entry.key} must be a mapping, not {describe(entry.value)}", hint)
        return
    for part in entry.value.entries:
        if part.key == "vars":
            _read_group_variables(reader, record, part.value)
        elif part.key not in _GROUP_KEYS:
            hint = f"{_did_you_mean(part.key, _GROUP_KEYS)}A group holds: {', '.join(_GROUP_KEYS)}"
            reader.complain(part.key_position, f"unknown key {quote(part.key)} in group {entry.key}", hint)
        else:
            for item in _items(reader, part, f"{part.key} of group {entry.key}"):
                if part.key == "children":
                    _read_group(reader, item, parent=record)
                else:
                    _read_host(reader, item, record)


def _enter_group(reader: _Reader, name: str, position: Position, parent: GroupRecord | None) -> GroupRecord | None:
    if name == "all" and parent is not None:
        reader.complain(position, f"group all is inside group {parent.name}", "every group is inside all")
        return None
    record = reader.group(name, position)
    if record is not None and parent is not None:
        parent.children.setdefault(name, position)
    return record


def _items(reader: _Reader, part: Entry, what: str) -> tuple[Entry, ...]:
    if is_null(part.value):
        return ()
    if isinstance(part.value, MappingNode):
        return part.value.entries
    reader.complain(
        part.value.position, f"{what} must be a mapping, not {describe(part.value)}", "write each name as 'NAME:'"
    )
    return ()


def _read_group_variables(reader: _Reader, record: GroupRecord, node: Node) -> None:
    definitions = reader.definitions(node, f"group {record.name}")
    record.definitions = overlay(record.definitions, definitions)
    priority = definitions.get(GROUP_PRIORITY)
    if priority is not None:
        try:
            record.priority = values.integer(priority.node, GROUP_PRIORITY, reader.folder)
        except WrongValueError as error:
            reader.complaints.add(error.complaint)


def _read_host(reader: _Reader, item: Entry, group: GroupRecord) -> None:
    hosts = reader.hosts(item.key, item.key_position, ranges=True)
    definitions = reader.definitions(item.value, f"host {item.key}")
    for host in hosts:
        group.hosts[host.name] = None
        host.definitions = overlay(host.definitions, definitions)


def _read_list_shape(reader: _Reader, tree: MappingNode) -> None:
    """What an executable inventory prints for --list."""
    for entry in tree.entries:
        if entry.key != "_meta":
            _read_listed_group(reader, entry)
    meta = tree.get("_meta")
    variables = meta.value.get("hostvars") if meta is not None and isinstance(meta.value, MappingNode) else None
    if variables is None or not isinstance(variables.value, MappingNode):
        place = meta.value.position if meta is not None else tree.position
        reader.complain(
            place, "_meta must be a mapping with hostvars, a mapping of hosts", "as ansible-inventory --list"
        )
        return
    for entry in variables.value.entries:
        host = reader.records.hosts.get(entry.key)
        if host is not None:  # like Ansible: a host in no group is none
            host.definitions = overlay(host.definitions, reader.definitions(entry.value, f"host {entry.key}"))


def _read_listed_group(reader: _Reader, entry: Entry) -> None:
    record = reader.group(entry.key, entry.key_position)
    if record is None:
        return
    if isinstance(entry.value, SequenceNode):
        _read_listed_hosts(reader, record, entry)
        return
    if not isinstance(entry.value, MappingNode):
        hint = "it holds hosts, children and vars, or is a list of hosts"
        reader.complain(entry.value.position, f"group {entry.key} must be a mapping, not {describe(entry.value)}", hint)
        return
    for part in entry.value.entries:
        if part.key == "hosts":
            _read_listed_hosts(reader, record, part)
        elif part.key == "children":
            for name, position in _names(reader, part, f"children of group {record.name}"):
                _enter_group(reader, name, position, record)
        elif part.key == "vars":
            _read_group_variables(reader, record, part.value)
        else:
            hint = f"{_did_you_mean(part.key, _GROUP_KEYS)}A group holds: {', '.join(_GROUP_KEYS)}"
            reader.complain(part.key_position, f"unknown key {quote(part.key)} in group {entry.key}", hint)


def _read_listed_hosts(reader: _Reader, record: GroupRecord, part: Entry) -> None:
    for name, position in _names(reader, part, f"hosts of group {record.name}"):
        for host in reader.hosts(name, position, ranges=False):
            record.hosts[host.name] = None


def _names(reader: _Reader, part: Entry, what: str) -> Iterator[tuple[str, Position]]:
    if not isinstance(part.value, SequenceNode):
        reader.complain(part.value.position, f"{what} must be a list of names, not {describe(part.value)}")
        return
    for item in part.value.items:
        if isinstance(item, ScalarNode) and isinstance(item.value, str):
            yield item.value, item.position
        else:
            reader.complain(item.position, f"{what} must be a list of names, not of {describe(item)}")
