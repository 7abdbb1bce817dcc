"""What all shapes of an inventory have in common: names, variables and daemons become records, and complaints."""

from __future__ import annotations

import difflib
import fnmatch
import re
from pathlib import Path
from typing import Any

from fleet.inventory import values
from fleet.inventory.model import Origin, Position
from fleet.inventory.names import MAX_RANGE, expand_name, is_ipv6, name_problem
from fleet.inventory.records import Daemon, Definition, Definitions, GroupRecord, HostRecord, Records, overlay
from fleet.inventory.tree import (
    Complaint,
    Complaints,
    Entry,
    MappingNode,
    Node,
    ScalarNode,
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

_NAME_HINT = "a name has no blanks, no control characters and none of the signs of patterns, such as : , * ? [ ] / ! &"
# `www[1:9].example.net:2222`, `[2001:db8::1]:2222`: Ansible's way to write a port behind a name.
_WITH_PORT = re.compile(r"(?P<name>\[[^\[\]]*:[^\[\]]*:[^\[\]]*\]|(?:[^:\[\]]|\[[^\[\]]*\])+):(?P<port>[0-9]{1,5})")


class Reader:
    """Fills records from one text after the other.

    Attributes:
        records: what was read so far.
        complaints: what is wrong with it.
        folder: where relative paths of the present text start.
        strict: the present text is in fleet's own shape: its hosts want a `management`, and what looks like a variable
            of fleet's and is none is an error. An inventory of Ansible's has other hosts and variables, too.
        complete: every text could be read, so that what is missing in one is not in another.
    """

    def __init__(self, start: Position) -> None:
        self.records = Records({"all": GroupRecord("all", start)}, {})
        self.complaints = Complaints()
        self.folder = Path()
        self.strict = True
        self.complete = True
        self._unknown: list[tuple[str, Complaint]] = []
        self._wanted: dict[str, Complaint] = {}
        self._values: dict[tuple[str, str], Any] = {}

    def begin(self, folder: Path, *, strict: bool) -> None:
        """Begins another text."""
        if folder != self.folder:
            self._values.clear()
        self.folder, self.strict = folder, strict

    def complain(self, position: Position, text: str, hint: str | None = None) -> None:
        """Adds a complaint."""
        self.complaints.add(Complaint(position, text, hint))

    def group(self, name: str, position: Position) -> GroupRecord | None:
        """The group of that name, made where it is new; None after a complaint about its name."""
        self._wanted.pop(name, None)
        return self._group(name, position)

    def mentioned(self, name: str, position: Position, complaint: Complaint) -> GroupRecord | None:
        """The group of that name, as `group`; the complaint is made where no text says more of it."""
        if name not in self.records.groups:
            self._wanted[name] = complaint
        return self._group(name, position)

    def _group(self, name: str, position: Position) -> GroupRecord | None:
        if name not in self.records.groups:
            problem = name_problem(name)
            if problem is not None:
                self._wanted.pop(name, None)
                self.complain(position, f"group name {quote(name)} {problem}", _NAME_HINT)
                return None
            self.records.groups[name] = GroupRecord(name, position)
        return self.records.groups[name]

    def child(self, name: str, position: Position, parent: GroupRecord | None) -> GroupRecord | None:
        """The group of that name, put into its parent, if it has one; None after a complaint."""
        record = self.group(name, position) if parent is None else self.put_into(name, position, parent)
        if record is not None:
            self._wanted.pop(name, None)
        return record

    def put_into(self, name: str, position: Position, parent: GroupRecord) -> GroupRecord | None:
        """Makes a group the child of another one; that alone does not say that it is there."""
        if name == "all":
            self.complain(position, f"group all is inside group {parent.name}", "every group is inside all")
            return None
        record = self._group(name, position)
        if record is not None:
            parent.children.setdefault(name, position)
        return record

    def hosts(self, name: str, position: Position, *, ranges: bool) -> list[HostRecord]:
        """The hosts that a name stands for, made where they are new; none after a complaint about it."""
        port = None
        if ranges and ":" in name and not is_ipv6(name):
            match = _WITH_PORT.fullmatch(name)
            if match is not None:
                name, port = match["name"], int(match["port"])
                name = name[1:-1] if is_ipv6(name[1:-1]) else name
        names = self._host_names(name, position, ranges=ranges)
        hosts = self.records.hosts
        for each in names:
            record = hosts.get(each)
            if record is None:
                record = hosts[each] = HostRecord(each, position)
                if port is not None:
                    record.definitions = self._port(port, position, name)
            record.expected = record.expected or self.strict
        if len(hosts) > MAX_RANGE:
            raise WrongValueError(position, f"more than {MAX_RANGE} hosts, which is fleet's security limit")
        return [hosts[each] for each in names]

    def _host_names(self, name: str, position: Position, *, ranges: bool) -> list[str]:
        try:
            names = expand_name(name) if ranges else [name]
        except ValueError as error:
            self.complain(position, f"range in host name {quote(name)}: {error}", "write edge-[01:09] or edge-[a:c]")
            return []
        problem = next(filter(None, (name_problem(each, host=True) for each in names)), None)
        if problem is not None:
            self.complain(position, f"host name {quote(name)} {problem}", _NAME_HINT)
            return []
        return names

    def _port(self, port: int, position: Position, name: str) -> Definitions:
        origin = Origin(position.file, position.line, position.column, f"host {name}")
        return {"ansible_port": Definition("ansible_port", ScalarNode(port, position), origin, self.folder)}

    def definitions(self, node: Node, owner: str) -> Definitions:
        """The variables of one mapping."""
        if is_null(node):
            return {}
        if not isinstance(node, MappingNode):
            self.complain(node.position, f"the variables of {owner} must be a mapping, not {describe(node)}")
            return {}
        definitions = {entry.key: self._definition(entry, owner) for entry in node.entries}
        self._check_password(definitions)
        return definitions

    def set_group_variables(self, record: GroupRecord, node: Node) -> None:
        """Lays variables over those that a group has."""
        definitions = self.definitions(node, f"group {record.name}")
        priority = definitions.pop(GROUP_PRIORITY, None)  # of the group, and no variable of its hosts
        record.definitions = overlay(record.definitions, definitions)
        if priority is not None:
            try:
                record.priority = values.integer(priority.node, GROUP_PRIORITY, self.folder)
            except WrongValueError as error:
                self.complaints.add(error.complaint)

    def _definition(self, entry: Entry, owner: str) -> Definition:
        name, place = entry.key, entry.key_position
        origin = Origin(place.file, place.line, place.column, owner)
        parsed = None
        if name in BY_NAME:
            parsed = self._value(name, entry, owner)
            if name == "other_variables":
                self.records.others.update(dict.fromkeys(parsed or ()))
        else:
            hint = unknown_variable_hint(name, strict=self.strict)
            if hint is not None:
                self._unknown.append((name, Complaint(place, f"unknown variable {quote(name)} for {owner}", hint)))
        return Definition(name, entry.value, origin, self.folder, parsed)

    def _value(self, name: str, entry: Entry, owner: str) -> Any:
        """The parsed value of one of fleet's own variables; None after a complaint, too."""
        try:
            if entry.key == "management" and isinstance(entry.value, MappingNode):
                return self._daemons(entry.value, owner)
            return self._parsed(name, entry)
        except WrongValueError as error:
            self.complaints.add(error.complaint)
            return None

    def _parsed(self, name: str, entry: Entry) -> Any:
        """The value, parsed once for all places that say the same: thousands of hosts have the same few."""
        node = entry.value
        if not isinstance(node, ScalarNode) or node.vaulted or not isinstance(node.value, str):
            return parse(BY_NAME[name], entry.key, node, self.folder)
        key = (entry.key, node.value)
        if key not in self._values:
            self._values[key] = parse(BY_NAME[name], entry.key, node, self.folder)
        return self._values[key]

    def _check_password(self, definitions: Definitions) -> None:
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
                hint = f"{did_you_mean(part.key, DAEMON_KEYS)}A daemon takes: {', '.join(DAEMON_KEYS)}"
                self.complain(place, f"unknown variable {quote(part.key)} for {owner}", hint)
                continue
            name = "management" if part.key == "endpoint" else part.key
            origin = Origin(place.file, place.line, place.column, owner)
            value = self._value(name, part, owner)
            definitions[name] = Definition(name, part.value, origin, self.folder, value)
            if part.key == "endpoint" and is_null(part.value):
                self.complain(part.value.position, f"{owner} has no endpoint", "remove the daemon, or say where it is")
        if "management" not in definitions:
            hint = "add endpoint: 'HOST:PORT' or the path of a unix socket"
            self.complain(entry.key_position, f"{owner} has no endpoint", hint)
        self._check_password(definitions)
        return definitions

    def finish(self) -> Records:
        """The records, once every text was read.

        Raises:
            InventoryError: every complaint about shape, names, ranges and values.
        """
        self._check_unknown()
        self._check_names()
        if self.complete:
            for complaint in self._wanted.values():
                self.complaints.add(complaint)
        self.complaints.raise_any()
        return self.records

    def _check_unknown(self) -> None:
        others = self.records.others
        names = {name for name, _ in self._unknown}  # each decided once, however many hosts have it
        meant = {name for name in names if any(fnmatch.fnmatchcase(name, other) for other in others)}
        for name, complaint in self._unknown:
            if name not in meant:
                self.complaints.add(complaint)

    def _check_names(self) -> None:
        for name in self.records.groups.keys() & self.records.hosts.keys():
            places = (self.records.groups[name].position, self.records.hosts[name].position)
            first, later = sorted(places, key=lambda p: (p.file, p.line, p.column))
            other = f"in line {first.line}, column {first.column}" if first.file == later.file else f"at {first}"
            self.complain(
                later,
                f"'{name}' is a group and a host (the other is {other})",
                "a pattern could not tell them apart: rename one",
            )


def _as_endpoint(entry: Entry) -> Entry:
    """`udp: '127.0.0.1:7505'` is short for `udp: {endpoint: '127.0.0.1:7505'}`."""
    return Entry("endpoint", entry.key_position, entry.value)


def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """`did you mean 'hosts'? `, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'? " if close else ""
