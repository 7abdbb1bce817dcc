"""The tree of an inventory's text: what stands where, before anybody asked what it means.

YAML and JSON both become these nodes, so that every complaint behind them can name line and column, whatever the
syntax was. A scalar of YAML is text (or None where it is empty, `null` or `~`): `no`, `22:22` and `017` stay text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.errors import InventoryError
from fleet.inventory.model import Position

MAX_BYTES = 16 * 1024 * 1024
"""Security limit: bytes of an inventory, be it a file or what a program prints."""

MAX_DEPTH = 64
"""Security limit: mappings and sequences inside each other."""

MAX_NODES = 1_000_000
"""Security limit: nodes of an inventory, those of an alias counted at each of its uses ("billion laughs")."""

MAX_COMPLAINTS = 20
"""Complaints that one error shows; the rest is counted."""


class Plain(str):
    """Unquoted text of YAML: text to fleet, but what YAML 1.1 makes of it to Ansible."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value. Numbers and booleans occur only in JSON and INI.

    Attributes:
        vaulted: the value was encrypted by Ansible Vault; `value` is the ciphertext.
    """

    value: str | int | float | bool | None
    position: Position
    vaulted: bool = False


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list."""

    items: tuple[Node, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key: value` of a mapping."""

    key: str
    key_position: Position
    value: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping: its keys are text and unique, in the order of the text."""

    entries: tuple[Entry, ...]
    position: Position

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None."""
        return next((entry for entry in self.entries if entry.key == key), None)


Node = ScalarNode | SequenceNode | MappingNode


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong: where, what, and what would be right."""

    position: Position
    text: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.position}: {self.text}"


class WrongValueError(Exception):
    """A value is not what its place wants. Never leaves this package: it becomes an InventoryError."""

    def __init__(self, position: Position, text: str, hint: str | None = None) -> None:
        super().__init__(text)
        self.complaint = Complaint(position, text, hint)


class Complaints:
    """Collects what is wrong, so that an operator mends a file once and not once per mistake."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Position, str], Complaint] = {}

    def add(self, complaint: Complaint) -> None:
        """Keeps a complaint; one that is already there counts once."""
        self._seen.setdefault((complaint.position, complaint.text), complaint)

    def raise_any(self) -> None:
        """Raises one InventoryError for all complaints, by position; does nothing where there are none."""
        if self._seen:
            raise inventory_error(*self._seen.values())


def inventory_error(*complaints: Complaint) -> InventoryError:
    """One error for one or more complaints.

    The message holds a line per complaint, its hint indented below it; the hint of the last one is the error's hint,
    so that message and hint printed under each other read the same for one complaint and for many.
    """
    ordered = sorted(complaints, key=lambda c: (c.position.file, c.position.line, c.position.column))
    shown = ordered[:MAX_COMPLAINTS]
    lines: list[str] = []
    for complaint in shown[:-1]:
        lines.append(str(complaint))
        if complaint.hint is not None:
            lines.append(f"  {complaint.hint}")
    lines.append(str(shown[-1]))
    hint = shown[-1].hint
    if len(ordered) > len(shown):
        if hint is not None:
            lines.append(f"  {hint}")
        lines.append(f"and {len(ordered) - len(shown)} more complaints")
        hint = "mend these first"
    return InventoryError("\n".join(lines), hint=hint)


def describe(node: Node) -> str:
    """What a node is, for the end of "... not X"; a text is quoted and cut at 60 characters."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    if isinstance(node.value, str):
        return quote(node.value)
    return str(node.value)


def quote(text: str) -> str:
    """Text from an inventory or a pattern as a message may show it: in quotes, escaped, at most 60 characters."""
    return f"'{escaped(text)}'"


def escaped(text: str) -> str:
    """The same without the quotes."""
    shown = text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 - the 60 of the docstring
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return shown


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Every scalar in a node, itself included. Recursion is bounded by MAX_DEPTH."""
    if isinstance(node, ScalarNode):
        yield node
    elif isinstance(node, SequenceNode):
        for item in node.items:
            yield from scalars(item)
    else:
        for entry in node.entries:
            yield from scalars(entry.value)


def is_null(node: Node) -> bool:
    """Whether a node says nothing: empty, `null` or `~`."""
    return isinstance(node, ScalarNode) and node.value is None


def check_characters(text: str, position: Position) -> None:
    """Refuses text that no UTF-8 output can show.

    Raises:
        WrongValueError: half of a surrogate pair, which only an escape of JSON or YAML can write.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WrongValueError(
            position, "an escape writes half a character", "write characters as UTF-8 instead of escapes"
        ) from None
