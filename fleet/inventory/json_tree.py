"""JSON text to the inventory's tree, with line and column. The standard library's reader does the scalars."""

from __future__ import annotations

import bisect
import json
import math
import re
from typing import NoReturn

from fleet.inventory.model import Position
from fleet.inventory.tree import (
    MAX_DEPTH,
    MAX_NODES,
    Entry,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    WrongValueError,
    check_characters,
    quote,
)

_BLANKS = re.compile(r"[ \t\r\n]*")


def read_json(text: str, file: str) -> Node:
    """The tree of a JSON document.

    Args:
        text: the document.
        file: what positions name as their file.

    Raises:
        WrongValueError: not JSON, a duplicate key, or over a security limit.
    """
    return _Reader(text, file).document()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._index = 0
        self._nodes = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)

    def document(self) -> Node:
        node = self._value(1)
        if self._peek():
            raise self._wrong("text behind the end of the JSON document")
        return node

    def _position(self) -> Position:
        line = bisect.bisect_right(self._line_starts, self._index)
        return Position(self._file, line, self._index - self._line_starts[line - 1] + 1)

    def _wrong(self, text: str, hint: str | None = None) -> WrongValueError:
        return WrongValueError(self._position(), text, hint)

    def _peek(self) -> str:
        """The next character that is no blank, "" at the end."""
        match = _BLANKS.match(self._text, self._index)
        self._index = match.end() if match else self._index
        return self._text[self._index : self._index + 1]

    def _value(self, depth: int) -> Node:
        first = self._peek()
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._wrong(f"more than {MAX_NODES} values, which is fleet's security limit")
        if first and first in "{[":
            if depth > MAX_DEPTH:
                raise self._wrong(f"more than {MAX_DEPTH} levels inside each other, which is fleet's security limit")
            return self._mapping(depth) if first == "{" else self._sequence(depth)
        position = self._position()
        return ScalarNode(self._scalar("a value"), position)

    def _scalar(self, wanted: str) -> str | int | float | bool | None:
        position = self._position()
        try:
            value, end = self._decoder.raw_decode(self._text, self._index)
        except ValueError:
            raise self._wrong(f"not JSON: {wanted} is wanted here") from None
        if isinstance(value, str):
            check_characters(value, position)
        if isinstance(value, float) and not math.isfinite(value):  # 1e400; no JSON that is printed could hold it
            raise self._wrong("a number too large to be kept", "write it as a text, in double quotes")
        self._index = end
        return value  # type: ignore[no-any-return]  # a text that begins with neither { nor [ decodes to a scalar

    def _mapping(self, depth: int) -> MappingNode | ScalarNode:
        position = self._position()
        self._index += 1
        entries: dict[str, Entry] = {}
        while self._more("}", first=not entries):
            if self._peek() != '"':
                raise self._wrong("not JSON: a key in double quotes is wanted here")
            key_position = self._position()
            key = str(self._scalar("a key in double quotes"))
            if key in entries:
                raise duplicate_key(key, key_position, entries[key].key_position)
            if self._peek() != ":":
                raise self._wrong("not JSON: ':' is wanted here")
            self._index += 1
            entries[key] = Entry(key, key_position, self._value(depth + 1))
        return _tagged(entries, position) or MappingNode(tuple(entries.values()), position)

    def _sequence(self, depth: int) -> SequenceNode:
        position = self._position()
        self._index += 1
        items: list[Node] = []
        while self._more("]", first=not items):
            items.append(self._value(depth + 1))
        return SequenceNode(tuple(items), position)

    def _more(self, closing: str, *, first: bool) -> bool:
        """Steps over what separates two items; False at the closing bracket."""
        found = self._peek()
        if found == closing:
            self._index += 1
            return False
        if first:
            return True
        if found != ",":
            raise self._wrong(f"not JSON: ',' or '{closing}' is wanted here")
        self._index += 1
        if self._peek() == closing:
            raise self._wrong(f"not JSON: nothing stands between ',' and '{closing}'")
        return True


def _tagged(entries: dict[str, Entry], position: Position) -> ScalarNode | None:
    """What Ansible prints in JSON for a value that is `!vault` or `!unsafe` in YAML; None for any other mapping."""
    if len(entries) == 1:
        for key, vaulted in (("__ansible_vault", True), ("__ansible_unsafe", False)):
            node = entries[key].value if key in entries else None
            if isinstance(node, ScalarNode) and isinstance(node.value, str):
                return ScalarNode(node.value, position, vaulted=vaulted)
    return None


def duplicate_key(key: str, position: Position, before: Position) -> WrongValueError:
    """The complaint about a key that stands twice in one mapping, for YAML and JSON alike."""
    return WrongValueError(
        position,
        f"duplicate key {quote(key)}: it stands already in line {before.line}, column {before.column}",
        "a key stands once in a mapping: merge the two, or remove one",
    )
