"""The shapes of an inventory's text: Ansible's YAML, the JSON that programs print for `--list`, Ansible's INI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fleet.inventory.graph import UNGROUPED
from fleet.inventory.model import Position
from fleet.inventory.reader import Reader, did_you_mean
from fleet.inventory.records import GroupRecord, overlay
from fleet.inventory.tree import (
    Complaint,
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

if TYPE_CHECKING:  # most inventories are YAML
    from fleet.inventory.ini import GroupLine, HostLine, Section, VariableLine

_GROUP_KEYS = ("hosts", "children", "vars")

HostVariables = Callable[[str], Node]
"""What a program prints for `--host NAME`."""


def read_tree(reader: Reader, tree: Node, ask: HostVariables | None = None) -> None:
    """Reads a tree of either shape: groups as mappings, or lists of names with the variables of hosts in `_meta`.

    Args:
        reader: what is filled.
        tree: the text.
        ask: where it came from a program: how to ask that for one host. Called where `_meta` is not there.

    Raises:
        WrongValueError: it is no inventory at all.
    """
    if not isinstance(tree, MappingNode):
        problem = f"an inventory must be a mapping of groups, not {describe(tree)}"
        raise WrongValueError(tree.position, problem, "it begins with all: {hosts: ...}")
    meta = tree.get("_meta")
    if meta is not None:
        _read_list_shape(reader, tree)
        _read_meta(reader, meta)
    elif ask is not None and not _has_mappings(tree):
        for host in dict.fromkeys(_read_list_shape(reader, tree)):
            record = reader.records.hosts[host]
            record.definitions = overlay(record.definitions, reader.definitions(ask(host), f"host {host}"))
    elif (plugin := tree.get("plugin")) is not None:
        raise _plugin(plugin)
    else:
        for entry in tree.entries:
            _read_group(reader, entry, parent=None)


def _plugin(entry: Entry) -> WrongValueError:
    return WrongValueError(
        entry.key_position,
        f"the settings of an inventory plug-in of Ansible's, {describe(entry.value)}, which fleet does not run",
        f"let Ansible: a program that runs ansible-inventory -i {entry.key_position.file} --list is an inventory",
    )


def _has_mappings(tree: MappingNode) -> bool:
    """Whether some group holds hosts or children as the YAML shape has them."""
    groups = [entry.value for entry in tree.entries if isinstance(entry.value, MappingNode)]
    parts = [group.get(key) for group in groups for key in ("hosts", "children")]
    return any(part is not None and isinstance(part.value, MappingNode) for part in parts)


def _read_group(reader: Reader, entry: Entry, *, parent: GroupRecord | None) -> None:
    """One group of the YAML shape, and all that is inside it."""
    record = reader.child(entry.key, entry.key_position, parent)
    if record is None or is_null(entry.value):
        return
    if not isinstance(entry.value, MappingNode):
        hint = "it holds hosts, children and vars"
        reader.complain(entry.value.position, f"group {entry.key} must be a mapping, not {describe(entry.value)}", hint)
        return
    for part in entry.value.entries:
        if part.key == "vars":
            reader.set_group_variables(record, part.value)
        elif part.key not in _GROUP_KEYS:
            _complain_key(reader, part, record)
        else:
            for item in _items(reader, part, f"{part.key} of group {entry.key}"):
                if part.key == "children":
                    _read_group(reader, item, parent=record)
                else:
                    _read_host(reader, item.key, item.key_position, item.value, record)


def _complain_key(reader: Reader, part: Entry, record: GroupRecord) -> None:
    hint = f"{did_you_mean(part.key, _GROUP_KEYS)}A group holds: {', '.join(_GROUP_KEYS)}"
    reader.complain(part.key_position, f"unknown key {quote(part.key)} in group {record.name}", hint)


def _items(reader: Reader, part: Entry, what: str) -> tuple[Entry, ...]:
    if is_null(part.value):
        return ()
    if isinstance(part.value, MappingNode):
        return part.value.entries
    reader.complain(
        part.value.position, f"{what} must be a mapping, not {describe(part.value)}", "write each name as 'NAME:'"
    )
    return ()


def _read_host(reader: Reader, name: str, position: Position, variables: Node, group: GroupRecord) -> None:
    hosts = reader.hosts(name, position, ranges=True)
    definitions = reader.definitions(variables, f"host {name}")
    for host in hosts:
        group.hosts[host.name] = None
        host.definitions = overlay(host.definitions, definitions)


def _read_list_shape(reader: Reader, tree: MappingNode) -> list[str]:
    """What an executable inventory prints for --list. Gives the names of its hosts."""
    names: list[str] = []
    for entry in tree.entries:
        if entry.key != "_meta":
            _read_listed_group(reader, entry, names)
    return names


def _read_meta(reader: Reader, meta: Entry) -> None:
    variables = meta.value.get("hostvars") if isinstance(meta.value, MappingNode) else None
    if variables is None or not isinstance(variables.value, MappingNode):
        problem = "_meta must be a mapping with hostvars, a mapping of hosts"
        reader.complain(meta.value.position, problem, "as ansible-inventory --list")
        return
    for entry in variables.value.entries:
        host = reader.records.hosts.get(entry.key)
        if host is not None:  # like Ansible: a host in no group is none
            host.definitions = overlay(host.definitions, reader.definitions(entry.value, f"host {entry.key}"))


def _read_listed_group(reader: Reader, entry: Entry, names: list[str]) -> None:
    record = reader.group(entry.key, entry.key_position)
    if record is None:
        return
    if isinstance(entry.value, SequenceNode):
        _read_listed_hosts(reader, record, entry, names)
        return
    if not isinstance(entry.value, MappingNode):
        hint = "it holds hosts, children and vars, or is a list of hosts"
        reader.complain(entry.value.position, f"group {entry.key} must be a mapping, not {describe(entry.value)}", hint)
        return
    for part in entry.value.entries:
        if part.key == "hosts":
            _read_listed_hosts(reader, record, part, names)
        elif part.key == "children":
            for name, position in _names(reader, part, f"children of group {record.name}"):
                reader.child(name, position, record)
        elif part.key == "vars":
            reader.set_group_variables(record, part.value)
        else:
            _complain_key(reader, part, record)


def _read_listed_hosts(reader: Reader, record: GroupRecord, part: Entry, names: list[str]) -> None:
    for name, position in _names(reader, part, f"hosts of group {record.name}"):
        for host in reader.hosts(name, position, ranges=False):
            record.hosts[host.name] = None
            names.append(host.name)


def _names(reader: Reader, part: Entry, what: str) -> Iterator[tuple[str, Position]]:
    if not isinstance(part.value, SequenceNode):
        reader.complain(part.value.position, f"{what} must be a list of names, not {describe(part.value)}")
        return
    for item in part.value.items:
        if isinstance(item, ScalarNode) and isinstance(item.value, str):
            yield item.value, item.position
        else:
            reader.complain(item.position, f"{what} must be a list of names, not of {describe(item)}")


def read_ini_shape(reader: Reader, text: str, file: str) -> None:
    """Reads Ansible's INI. Hosts that stand before all sections are in no group.

    Raises:
        WrongValueError: over a security limit.
    """
    from fleet.inventory.ini import Section, read_ini  # noqa: PLC0415 - most inventories are YAML

    record: GroupRecord | None = None
    section: Section | None = None
    for line in read_ini(text, file, reader.complaints):
        if isinstance(line, Section):
            section = line
            record = _enter_section(reader, line)
            continue
        if section is None:
            record = reader.group(UNGROUPED, line.position)
        if record is not None:
            _read_line(reader, line, record)


def _enter_section(reader: Reader, section: Section) -> GroupRecord | None:
    """The group of a section. As in Ansible its variables alone do not make one."""
    if section.kind != "vars":
        return reader.group(section.group, section.position)
    text = f"[{section.group}:vars] is for a group that is not there"
    hint = f"{did_you_mean(section.group, tuple(reader.records.groups))}A group is made by [NAME] or [NAME:children]"
    return reader.mentioned(section.group, section.position, Complaint(section.position, text, hint))


def _read_line(reader: Reader, line: HostLine | VariableLine | GroupLine, record: GroupRecord) -> None:
    from fleet.inventory.ini import HostLine, VariableLine  # noqa: PLC0415 - as above

    if isinstance(line, HostLine):
        _read_host(reader, line.name, line.position, line.variables, record)
    elif isinstance(line, VariableLine):
        reader.set_group_variables(record, MappingNode((line.entry,), line.position))
    else:
        known = tuple(name for name in reader.records.groups if name != record.name)
        text = f"group {quote(line.name)}, a child of {record.name}, is not there"
        hint = f"{did_you_mean(line.name, known)}A group is made by [NAME] or [NAME:children]"
        child = reader.mentioned(line.name, line.position, Complaint(line.position, text, hint))
        if child is not None:
            reader.put_into(line.name, line.position, record)


def read_host_list(reader: Reader, text: str) -> None:
    """Reads `host1,host2:2222`, which Ansible takes in place of a file.

    Raises:
        WrongValueError: over a security limit.
    """
    record = reader.group(UNGROUPED, Position(text, 1, 1))
    column = 1
    for part in text.split(","):
        name = part.strip()
        if name and record is not None:
            position = Position(text, 1, column + part.index(name))
            _read_host(reader, name, position, ScalarNode(None, position), record)
        column += len(part) + 1
