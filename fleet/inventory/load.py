"""Finds an inventory and reads it. The only module that knows YAML.

The text is read event by event into fleet's own tree (tree.py), not by a YAML loader: so every value keeps its line
and column, a duplicate key is an error, and none of YAML 1.1's guesses is taken (`no`, `22:22`, `017` stay text).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.errors import InventoryError
from fleet.inventory.json_tree import duplicate_key, read_json
from fleet.inventory.model import Inventory, Position
from fleet.inventory.records import read_records
from fleet.inventory.resolve import resolve
from fleet.inventory.script import run_script
from fleet.inventory.tree import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    Entry,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    WrongValueError,
    check_characters,
    inventory_error,
)

DATA_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""Names that are read, never run, even where a file system marks every file as executable."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_STR_TAGS = frozenset({None, "!", "!unsafe", "tag:yaml.org,2002:str"})
_VAULT_TAGS = frozenset({"!vault", "!vault-encrypted"})
_MAP_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map"})
_SEQ_TAGS = frozenset({None, "!", "tag:yaml.org,2002:seq"})
# What YAML calls printable; both of PyYAML's readers refuse the rest, but without a line.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def find_inventory(explicit: str | None, environ: Mapping[str, str], cwd: str) -> str:
    """The path of the inventory to read.

    That is, the first there is of: `explicit`, `$FLEET_INVENTORY`, `inventory.yaml` in `cwd`,
    `$XDG_CONFIG_HOME/fleet/inventory.yaml` (`~/.config/...`), `/etc/fleet/inventory.yaml`.
    A path that was named is returned whether or not it exists: `load` says what is wrong with it.

    Args:
        explicit: the value of -i, or None.
        environ: the environment.
        cwd: the working folder.

    Raises:
        InventoryError: there is none; it says where was looked.
    """
    named = explicit if explicit is not None else environ.get("FLEET_INVENTORY")
    if named:
        return os.path.expanduser(named)  # noqa: PTH111 - the text stays as the user wrote it, ./ included
    candidates = [Path(cwd, "inventory.yaml"), _config_home(environ) / "fleet/inventory.yaml"]
    candidates.append(Path("/etc/fleet/inventory.yaml"))
    for candidate in candidates:
        if candidate.exists():
            here = candidate.parent == Path.cwd()
            return candidate.name if here else str(candidate)
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise InventoryError(
        f"no inventory found; looked for {looked}",
        hint="name one with -i PATH or $FLEET_INVENTORY, or try fleet demo",
    )


def _config_home(environ: Mapping[str, str]) -> Path:
    """$XDG_CONFIG_HOME; by its specification a relative path there is ignored."""
    configured = environ.get("XDG_CONFIG_HOME", "")
    if configured.startswith("/"):
        return Path(configured)
    return Path(environ["HOME"] if environ.get("HOME") else os.path.expanduser("~")) / ".config"  # noqa: PTH111 - Path.home() raises where there is no user


def load(path: str) -> Inventory:
    """Reads an inventory: a YAML or JSON file of Ansible's shape, or a program that prints Ansible's `--list` JSON.

    A file is a program where it is executable and not named .yaml, .yml or .json.

    Args:
        path: as `find_inventory` returns it; relative paths inside the inventory start at its folder.

    Raises:
        InventoryError: it cannot be read, or something in it is wrong: every complaint with file, line and column.
    """
    try:
        if _is_program(path):
            source = f"{path} --list"
            tree: Node = read_json(_decode(run_script(path), source), source)
        else:
            text = _decode(_read_file(path), path)
            tree = read_json(text, path) if path.endswith(".json") else _read_yaml(text, path)
        folder = Path(path).absolute().parent
        records = read_records(tree, folder)
    except WrongValueError as error:
        raise inventory_error(error.complaint) from None
    return resolve(records, source=path, folder=folder)


def _is_program(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a str path, and the error's text is taken from OSError
    except (OSError, ValueError):
        return False  # _read_file says what is wrong with it
    return stat.S_ISREG(mode) and bool(mode & 0o111) and Path(path).suffix not in DATA_SUFFIXES


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a str path, `-i <(command)` included
            data = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise InventoryError(f"{path} is a folder, not an inventory file", hint="name the file in it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InventoryError(
            f"{path} cannot be read: {reason}", hint="name an inventory with -i PATH or $FLEET_INVENTORY"
        ) from error
    if len(data) > MAX_BYTES:
        raise InventoryError(f"{path} has more than {MAX_BYTES} bytes, which is fleet's security limit")
    return data


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        position = Position(file, line, len(before) - before.rfind("\n"))
        raise WrongValueError(
            position, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        ) from None


def _read_yaml(text: str, file: str) -> Node:
    bad = _UNPRINTABLE.search(text)
    if bad:
        before = text[: bad.start()]
        position = Position(file, before.count("\n") + 1, bad.start() - before.rfind("\n"))
        raise WrongValueError(position, f"character U+{ord(bad.group()):04X} is not allowed in YAML")
    builder = _Builder(file)
    for event in _events(text, file):
        builder.feed(event)
    if builder.root is None:
        raise WrongValueError(Position(file, 1, 1), "the inventory is empty", "it begins with all: {hosts: ...}")
    return builder.root


def _events(text: str, file: str) -> Iterator[Any]:
    import yaml  # noqa: PLC0415 - 40 ms that --help and completion need not pay

    # libyaml where PyYAML was built with it: ten times as fast, and the same events.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = " ".join(part for part in (error.context, error.problem) if part)
        hint = "quote a value that begins with one of [ { * & ! % @ ` or holds ': ' or ' #'; indent with blanks"
        raise WrongValueError(Position(file, line, column), f"not YAML: {what}", hint) from None


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet."""

    event: Any
    position: Position
    nodes_before: int
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merges: list[Node] = field(default_factory=list)
    merge_key: bool = False
    key: ScalarNode | None = None


@dataclass(slots=True)
class _Builder:
    """Nodes from YAML's events, with anchors and merge keys resolved and every limit held."""

    file: str
    root: Node | None = None
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    nodes: int = 0
    documents: int = 0

    def feed(self, event: Any) -> None:
        """Takes the next event."""
        handler = getattr(self, f"_on_{type(event).__name__}", None)
        if handler is not None:
            handler(event, Position(self.file, event.start_mark.line + 1, event.start_mark.column + 1))

    def _on_DocumentStartEvent(self, _event: Any, position: Position) -> None:  # noqa: N802 - PyYAML's name
        self.documents += 1
        if self.documents > 1:
            raise WrongValueError(position, "a second YAML document", "an inventory is one document: remove the '---'")

    def _on_ScalarEvent(self, event: Any, position: Position) -> None:  # noqa: N802 - PyYAML's name
        before = self.nodes
        self._count(1, position)
        node = self._scalar(event, position)
        self._anchor(event, node, before)
        frame = self.open[-1] if self.open else None
        if frame is not None and frame.key is None and not frame.merge_key and _is_mapping(frame):
            frame.key = node
            frame.merge_key = event.value == "<<" and not event.style and event.tag is None
        else:
            self._put(node)

    def _scalar(self, event: Any, position: Position) -> ScalarNode:
        plain = not event.style
        check_characters(event.value, position)
        if event.tag in _VAULT_TAGS:
            return ScalarNode(event.value, position, vaulted=True)
        if event.tag not in _STR_TAGS:
            raise WrongValueError(position, f"tag {_shown(event.tag)} is not taken", "remove it: values are text")
        is_key = bool(self.open) and _is_mapping(self.open[-1]) and self.open[-1].key is None
        if plain and event.tag is None and event.value in _NULLS and not (is_key and event.value):
            return ScalarNode(None, position)
        return ScalarNode(event.value, position)

    def _on_AliasEvent(self, event: Any, position: Position) -> None:  # noqa: N802 - PyYAML's name
        if event.anchor not in self.anchors:
            raise WrongValueError(
                position,
                f"alias *{event.anchor} has no anchor before it",
                f"write &{event.anchor} at the value it repeats",
            )
        node, size = self.anchors[event.anchor]
        self._count(size, position)
        self._put(node, position)

    def _on_SequenceStartEvent(self, event: Any, position: Position) -> None:  # noqa: N802 - PyYAML's name
        self._start(event, position, _SEQ_TAGS)

    def _on_MappingStartEvent(self, event: Any, position: Position) -> None:  # noqa: N802 - PyYAML's name
        self._start(event, position, _MAP_TAGS)

    def _start(self, event: Any, position: Position, tags: frozenset[str | None]) -> None:
        if self.open and _is_mapping(self.open[-1]) and self.open[-1].key is None:
            raise WrongValueError(position, "a key is one text", "quote it, if it begins with [ or {")
        if event.tag not in tags:
            raise WrongValueError(position, f"tag {_shown(event.tag)} is not taken", "remove it")
        if len(self.open) >= MAX_DEPTH:
            raise WrongValueError(
                position, f"more than {MAX_DEPTH} levels inside each other, which is fleet's security limit"
            )
        self.open.append(_Open(event, position, self.nodes))
        self._count(1, position)

    def _on_SequenceEndEvent(self, _event: Any, _position: Position) -> None:  # noqa: N802 - PyYAML's name
        frame = self.open.pop()
        self._finish(frame, SequenceNode(tuple(frame.items), frame.position))

    def _on_MappingEndEvent(self, _event: Any, _position: Position) -> None:  # noqa: N802 - PyYAML's name
        frame = self.open.pop()
        entries = dict(frame.entries)
        for merged in frame.merges:
            for entry in _merged_entries(merged):
                entries.setdefault(entry.key, entry)
        self._finish(frame, MappingNode(tuple(entries.values()), frame.position))

    def _finish(self, frame: _Open, node: Node) -> None:
        self._anchor(frame.event, node, frame.nodes_before)
        self._put(node)

    def _anchor(self, event: Any, node: Node, nodes_before: int) -> None:
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, self.nodes - nodes_before)

    def _put(self, node: Node, position: Position | None = None) -> None:
        """Gives a finished node to what it stands in."""
        if not self.open:
            self.root = node
            return
        frame = self.open[-1]
        if not _is_mapping(frame):
            frame.items.append(node)
        elif frame.key is None:
            self._alias_as_key(frame, node, position or node.position)
        else:
            self._add_entry(frame, frame.key, node)

    def _alias_as_key(self, frame: _Open, node: Node, position: Position) -> None:
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            raise WrongValueError(position, "a key is one text", "an alias that stands as a key must name a text")
        frame.key = ScalarNode(node.value, position)

    def _add_entry(self, frame: _Open, key: ScalarNode, node: Node) -> None:
        merge, frame.key, frame.merge_key = frame.merge_key, None, False
        name = key.value if isinstance(key.value, str) else ""
        if merge:
            frame.merges.append(node)
            return
        if name in frame.entries:
            raise duplicate_key(name, key.position, frame.entries[name].key_position)
        frame.entries[name] = Entry(name, key.position, node)

    def _count(self, nodes: int, position: Position) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise WrongValueError(
                position, f"more than {MAX_NODES} values, aliases counted at each use, which is fleet's security limit"
            )


def _is_mapping(frame: _Open) -> bool:
    return type(frame.event).__name__ == "MappingStartEvent"


def _merged_entries(node: Node) -> Iterator[Entry]:
    if isinstance(node, MappingNode):
        yield from node.entries
    elif isinstance(node, SequenceNode) and all(isinstance(item, MappingNode) for item in node.items):
        for item in node.items:
            yield from _merged_entries(item)
    else:
        raise WrongValueError(node.position, "<< merges a mapping or a list of mappings")


def _shown(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
