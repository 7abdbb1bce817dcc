"""Ansible's INI, line by line: sections, hosts, variables, children. What they mean is said in shapes.py.

    bastion ansible_port=2222          # a host in no group, and its variables
    [eu]
    edge-[01:09].example.net           # ranges, and NAME:PORT
    [eu:vars]
    management=127.0.0.1:7505
    [world:children]
    eu

A value is what Python makes of it as a literal (a number, a list, None, a text in quotes), or a text as it stands: the
rules of Ansible, in host lines behind those of a shell's quotes. Blank lines, and lines that begin with # or ;, do not
count; in a host line, a section's or a child's, # begins a comment anywhere.
"""

from __future__ import annotations

import ast
import math
import re
import shlex
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.inventory.model import Position
from fleet.inventory.tree import (
    MAX_DEPTH,
    MAX_NODES,
    Complaints,
    Entry,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    WrongValueError,
    check_characters,
    quote,
)

MAX_LITERAL = 64 * 1024
"""Security limit: characters of a value that is read as a literal of Python; a longer one is a text."""

_MAX_BITS = 1024  # of a number; Python itself refuses to print one of more than 4300 digits
_SECTIONS = "write [NAME], [NAME:children] or [NAME:vars]"
KINDS = ("hosts", "children", "vars")

_SECTION = re.compile(r"\[(?P<group>[^:\]\s]+)(?::(?P<kind>\w+))?\]\s*(?:#.*)?")
_CHILD = re.compile(r"(?P<name>[^:\]\s]+)\s*(?:#.*)?")
# A host line without backslashes and comments, its words, and the quotes in them.
_SIMPLE_LINE = re.compile(r"(?:[^\"'\\#]|\"[^\"\\]*\"|'[^']*')*")
_TOKEN = re.compile(r"(?:[^ \t\r\n\"']|\"[^\"]*\"|'[^']*')+")
_QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_WORD = re.compile(r"(?!(?:True|False|None)\Z)[A-Za-z_/~][A-Za-z0-9_./:@~ -]*")
_ADDRESS = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(?::[0-9]+)?")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Section:
    """`[group]`, `[group:children]` or `[group:vars]`."""

    position: Position
    group: str
    kind: str


@dataclass(frozen=True, slots=True)
class HostLine:
    """A host, or a range of hosts, and the variables behind it."""

    position: Position
    name: str
    variables: MappingNode


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A line of a section of children."""

    position: Position
    name: str


@dataclass(frozen=True, slots=True)
class VariableLine:
    """A line of a section of variables."""

    position: Position
    entry: Entry


Line = Section | HostLine | GroupLine | VariableLine


def read_ini(text: str, file: str, complaints: Complaints) -> Iterator[Line]:
    """The lines of an INI that say something.

    Args:
        text: the file's text.
        file: what positions name as their file.
        complaints: takes what is wrong with single lines; they are left out.

    Raises:
        WrongValueError: over a security limit.
    """
    kind = "hosts"
    nodes = 0
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        position = Position(file, number, line.index(stripped[0]) + 1)
        try:
            found = _line(stripped, kind, position)
        except WrongValueError as error:
            complaints.add(error.complaint)
            if stripped[0] == "[" and stripped[-1] == "]":
                kind = ""  # of lines that stand in an unknown section nothing can be said
            continue
        if isinstance(found, Section):
            kind = found.kind
        nodes += 1 + (len(found.variables.entries) if isinstance(found, HostLine) else 0)
        if nodes > MAX_NODES:
            raise WrongValueError(position, f"more than {MAX_NODES} values, which is fleet's security limit")
        if found is not None:
            yield found


def _line(text: str, kind: str, position: Position) -> Line | None:
    check_characters(text, position)
    if text[0] == "[":
        section = _SECTION.fullmatch(text)
        if section is not None:
            return _section(section, position)
        if text[-1] == "]":
            raise WrongValueError(
                position, f"{quote(text)} is no section", "write [NAME], [NAME:children] or [NAME:vars]"
            )
    if kind == "hosts":
        return _host_line(text, position)
    if kind == "vars":
        return _variable_line(text, position)
    return _group_line(text, position) if kind == "children" else None


def _section(match: re.Match[str], position: Position) -> Section:
    kind = match["kind"] or "hosts"
    if kind not in KINDS:
        problem = f"section [{match['group']}:{kind}] is of no known kind"
        raise WrongValueError(position, problem, _SECTIONS)
    return Section(position, match["group"], kind)


def _group_line(text: str, position: Position) -> GroupLine:
    match = _CHILD.fullmatch(text)
    if match is None:
        raise WrongValueError(
            position, f"{quote(text)} is no name of a group", "a line of children is one group's name"
        )
    return GroupLine(position, match["name"])


def _variable_line(text: str, position: Position) -> VariableLine:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise WrongValueError(position, f"{_name_of(text)} is no variable", "a line of variables is NAME=VALUE")
    start = text.index("=") + 1
    blanks = len(text[start:]) - len(text[start:].lstrip())
    place = Position(position.file, position.line, position.column + start + blanks)
    return VariableLine(position, Entry(name, position, literal(value.strip(), place)))


def _host_line(text: str, position: Position) -> HostLine:
    if text.startswith("---"):
        raise WrongValueError(position, "'---' is a mark of YAML, and this is read as INI", "name the file .yaml")
    tokens = _tokens(text, position)
    entries: dict[str, Entry] = {}
    end = len(tokens[0])
    for token in tokens[1:]:
        name, equals, value = token.partition("=")
        if not equals or not name:
            hint = "behind a host stand NAME=VALUE; a blank in a value wants quotes around it"
            raise WrongValueError(position, f"{_name_of(token)} is no variable of host {quote(tokens[0])}", hint)
        start = text.find(f"{name}=", end)
        start = end if start < 0 else start  # quotes around the name: the place is near
        end = start + len(name) + 1
        place = Position(position.file, position.line, position.column + start)
        value_place = Position(position.file, position.line, position.column + end)
        entries[name] = Entry(name, place, literal(value, value_place))
    return HostLine(position, tokens[0], MappingNode(tuple(entries.values()), position))


def _name_of(text: str) -> str:
    """What a message shows of a line that is no variable: nothing behind an equals sign, which may be secret."""
    name = text.partition("=")[0].split(maxsplit=1)
    return quote(name[0] if name else text[:1])


def _tokens(text: str, position: Position) -> list[str]:
    """The words of a host line, as a shell splits it."""
    if _SIMPLE_LINE.fullmatch(text):  # shlex would take longer for them than all else does
        return [_QUOTED.sub(lambda quoted: quoted[1] or quoted[2] or "", token) for token in _TOKEN.findall(text)]
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        raise WrongValueError(position, "a quote without its other half", "put quotes around the whole value") from None


def literal(text: str, position: Position) -> Node:
    """The value of a variable: a literal of Python, or the text itself where it is none.

    Raises:
        WrongValueError: a literal too deep.
    """
    if len(text) > MAX_LITERAL or _WORD.fullmatch(text) or _ADDRESS.fullmatch(text):
        return ScalarNode(text, position)
    if _NUMBER.fullmatch(text):
        return ScalarNode(int(text), position)
    try:
        with warnings.catch_warnings(action="ignore"):  # of a `\d` in quotes, or `1or`: they are texts here
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the ways in which text is no literal
        return ScalarNode(text, position)
    return _node(value, text, position, 1)


def _node(value: object, text: str, position: Position, depth: int) -> Node:
    if depth > MAX_DEPTH:
        problem = f"more than {MAX_DEPTH} levels inside each other, which is fleet's security limit"
        raise WrongValueError(position, problem)
    if isinstance(value, dict):
        entries = {str(key): Entry(str(key), position, _node(v, text, position, depth + 1)) for key, v in value.items()}
        return MappingNode(tuple(entries.values()), position)
    if isinstance(value, list | tuple | set | frozenset):
        return SequenceNode(tuple(_node(item, text, position, depth + 1) for item in value), position)
    return ScalarNode(_scalar(value, text, position), position)


def _scalar(value: object, text: str, position: Position) -> str | int | float | bool | None:
    if isinstance(value, str):
        check_characters(value, position)
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and value.bit_length() <= _MAX_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return text  # 1e999, 1j, b'...' and `...` mean nothing here
