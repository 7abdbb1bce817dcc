"""YAML text to the inventory's tree. The only module that knows YAML.

The text is read event by event into fleet's own tree (tree.py), not by a YAML loader: so every value keeps its line
and column, a duplicate key is an error, and none of YAML 1.1's guesses is taken (`no`, `22:22`, `017` stay text).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar

from fleet.inventory.json_tree import duplicate_key
from fleet.inventory.model import Position
from fleet.inventory.tree import (
    MAX_DEPTH,
    MAX_NODES,
    Entry,
    MappingNode,
    Node,
    Plain,
    ScalarNode,
    SequenceNode,
    WrongValueError,
    check_characters,
)

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_STR_TAGS = frozenset({None, "!", "!unsafe", "tag:yaml.org,2002:str"})
_VAULT_TAGS = frozenset({"!vault", "!vault-encrypted"})
_MAP_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map"})
_SEQ_TAGS = frozenset({None, "!", "tag:yaml.org,2002:seq"})
# What YAML calls printable; both of PyYAML's readers refuse the rest, but without a line.
_UNPRINTABLE_ASCII = "[^\t\n\r\x20-\x7e]"
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"


def read_yaml(text: str, file: str) -> Node | None:
    """The tree of a YAML document; None where the text has none.

    Args:
        text: the document.
        file: what positions name as their file.

    Raises:
        WrongValueError: not YAML, a duplicate key, a tag or a second document, or over a security limit.
    """
    # The whole of it takes 5 ms to compile, which a text of ASCII need not pay.
    bad = re.search(_UNPRINTABLE_ASCII if text.isascii() else _UNPRINTABLE, text)
    if bad:
        before = text[: bad.start()]
        position = Position(file, before.count("\n") + 1, bad.start() - before.rfind("\n"))
        raise WrongValueError(position, f"character U+{ord(bad.group()):04X} is not allowed in YAML")
    builder = _Builder()
    _feed(text, file, builder)
    return builder.root


def guessed(text: Plain) -> str | int | float | bool | None:
    """What YAML 1.1, and so Ansible, makes of an unquoted text: a number, a boolean, or the text itself.

    A time is the text that Ansible's JSON has for it.
    """
    import yaml  # noqa: PLC0415 - 40 ms that --help and completion need not pay

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, ArithmeticError):  # `=`, 2026-02-31; no text that was read is lost by it
        return str(text)
    if isinstance(value, float) and not math.isfinite(value):  # .inf, .nan: no JSON that is printed could hold it
        return str(text)
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    return value if isinstance(value, bool | int | float) else str(text)


def _feed(text: str, file: str, builder: _Builder) -> None:
    import yaml  # noqa: PLC0415 - 40 ms that --help and completion need not pay

    # libyaml where PyYAML was built with it: ten times as fast, and the same events.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    handlers = builder.HANDLERS
    try:
        event: Any
        for event in yaml.parse(text, Loader=loader):
            handler = handlers.get(type(event).__name__)
            if handler is not None:
                mark = event.start_mark
                handler(builder, event, Position(file, mark.line + 1, mark.column + 1))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = " ".join(part for part in (error.context, error.problem) if part)
        hint = "quote a value that begins with one of [ { * & ! % @ ` or holds ': ' or ' #'; indent with blanks"
        raise WrongValueError(Position(file, line, column), f"not YAML: {what}", hint) from None


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet."""

    anchor: str | None
    position: Position
    nodes_before: int
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merges: list[Node] = field(default_factory=list)
    merge_key: bool = False
    key: tuple[str, Position] | None = None

    def wants_key(self) -> bool:
        """Whether what comes next is a key."""
        return self.is_mapping and self.key is None

    def take_key(self, text: str, position: Position, *, merge: bool = False) -> None:
        """The key of the next entry; `merge` is for one that is a plain `<<`."""
        self.key, self.merge_key = (text, position), merge


@dataclass(slots=True)
class _Builder:
    """Nodes from YAML's events, with anchors and merge keys resolved and every limit held."""

    root: Node | None = None
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    nodes: int = 0
    documents: int = 0

    def _document(self, _event: Any, position: Position) -> None:
        self.documents += 1
        if self.documents > 1:
            raise WrongValueError(position, "a second YAML document", "an inventory is one document: remove the '---'")

    def _scalar(self, event: Any, position: Position) -> None:
        value: str = event.value
        if not value.isascii():
            check_characters(value, position)
        self._count(1, position)
        tag = event.tag
        if tag is not None and tag not in _STR_TAGS and tag not in _VAULT_TAGS:
            raise WrongValueError(position, f"tag {_shown(tag)} is not taken", "remove it: values are text")
        frame = self.open[-1] if self.open else None
        is_key = frame is not None and frame.wants_key()
        if frame is not None and is_key:
            frame.take_key(value, position, merge=value == "<<" and not event.style and tag is None)
            if event.anchor is None:
                return
        node = _scalar_node(event, value, position, is_key=is_key)
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, 1)
        if not is_key:
            self._put(node, position)

    def _alias(self, event: Any, position: Position) -> None:
        if event.anchor not in self.anchors:
            raise WrongValueError(
                position,
                f"alias *{event.anchor} has no anchor before it",
                f"write &{event.anchor} at the value it repeats",
            )
        node, size = self.anchors[event.anchor]
        self._count(size, position)
        self._put(node, position)

    def _sequence_start(self, event: Any, position: Position) -> None:
        self._start(event, position, _SEQ_TAGS, is_mapping=False)

    def _mapping_start(self, event: Any, position: Position) -> None:
        self._start(event, position, _MAP_TAGS, is_mapping=True)

    def _start(self, event: Any, position: Position, tags: frozenset[str | None], *, is_mapping: bool) -> None:
        if self.open and self.open[-1].wants_key():
            raise WrongValueError(position, "a key is one text", "quote it, if it begins with [ or {")
        if event.tag not in tags:
            raise WrongValueError(position, f"tag {_shown(event.tag)} is not taken", "remove it")
        if len(self.open) >= MAX_DEPTH:
            raise WrongValueError(
                position, f"more than {MAX_DEPTH} levels inside each other, which is fleet's security limit"
            )
        self.open.append(_Open(event.anchor, position, self.nodes, is_mapping))
        self._count(1, position)

    def _sequence_end(self, _event: Any, _position: Position) -> None:
        frame = self.open.pop()
        self._finish(frame, SequenceNode(tuple(frame.items), frame.position))

    def _mapping_end(self, _event: Any, _position: Position) -> None:
        frame = self.open.pop()
        for merged in frame.merges:
            for entry in _merged_entries(merged):
                frame.entries.setdefault(entry.key, entry)
        self._finish(frame, MappingNode(tuple(frame.entries.values()), frame.position))

    def _finish(self, frame: _Open, node: Node) -> None:
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (node, self.nodes - frame.nodes_before)
        self._put(node, node.position)

    def _put(self, node: Node, position: Position) -> None:
        """Gives a finished node to what it stands in."""
        if not self.open:
            self.root = node
            return
        frame = self.open[-1]
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.key is None:
            self._alias_as_key(frame, node, position)
        else:
            self._add_entry(frame, frame.key, node)

    def _alias_as_key(self, frame: _Open, node: Node, position: Position) -> None:
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            raise WrongValueError(position, "a key is one text", "an alias that stands as a key must name a text")
        frame.take_key(str(node.value), position)

    def _add_entry(self, frame: _Open, key: tuple[str, Position], node: Node) -> None:
        frame.key = None
        name, position = key
        if frame.merge_key:
            frame.merges.append(node)
            return
        if name in frame.entries:
            raise duplicate_key(name, position, frame.entries[name].key_position)
        frame.entries[name] = Entry(name, position, node)

    def _count(self, nodes: int, position: Position) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise WrongValueError(
                position, f"more than {MAX_NODES} values, aliases counted at each use, which is fleet's security limit"
            )

    HANDLERS: ClassVar[dict[str, Callable[[_Builder, Any, Position], None]]] = {
        "DocumentStartEvent": _document,
        "ScalarEvent": _scalar,
        "AliasEvent": _alias,
        "SequenceStartEvent": _sequence_start,
        "SequenceEndEvent": _sequence_end,
        "MappingStartEvent": _mapping_start,
        "MappingEndEvent": _mapping_end,
    }


def _scalar_node(event: Any, value: str, position: Position, *, is_key: bool) -> ScalarNode:
    if event.tag is not None or event.style:
        return ScalarNode(value, position, vaulted=event.tag in _VAULT_TAGS)
    if value in _NULLS and not (is_key and value):
        return ScalarNode(None, position)
    return ScalarNode(Plain(value), position)


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
