"""Outcomes to JSON: exact values, one shape whatever happened (docs/json.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from operator import attrgetter
from pathlib import PurePath
from typing import Any, Final, TypeVar, cast

from fleet.engine import Outcome, Report
from fleet.errors import FleetError
from fleet.render.text import is_hidden
from fleet.render.units import rfc3339

T = TypeVar("T")

SCHEMA: Final = 1
_DECIMALS: Final = 3  # seconds to the millisecond: more is noise
_AS_TEXT: Final = (IPv4Address, IPv6Address, IPv4Network, IPv6Network, PurePath)
_AS_IT_IS: Final = frozenset({type(None), str, int, bool})
_DELETE: Final = "\x7f"
_NOT_ASCII: Final = re.compile(r"[^\n -~]")


def to_jsonable(value: Any) -> Any:
    """The value as dicts, lists, text, numbers, booleans and None.

    Dataclasses and named tuples become objects with their fields as keys. A mapping in a dataclass field whose
    metadata says `flatten`, or in a named tuple's field `extra`, is merged into that object and overrides none of
    its keys. Times are RFC 3339 in UTC, floats have three decimals, enumerations are their values.

    Raises:
        TypeError: a value of a type that has no place in JSON.
        ValueError: a time without a zone.
    """
    kind: type[object] = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        return round(value, _DECIMALS)
    return _converter(cast("Hashable", kind))(value)  # every class is hashable; mypy cannot see it


@cache
def _converter(kind: type) -> Callable[[Any], Any]:
    """What converts values of a type; found once for each type, as a status may have 10,000 rows of it."""
    if is_dataclass(kind):
        return _dataclass_converter(kind)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _object_converter(tuple(kind._fields), frozenset({"extra"}))
    for base, convert in _CONVERTERS:
        if issubclass(kind, base):
            return convert
    raise TypeError(f"{kind.__name__} has no place in JSON")


def _dataclass_converter(kind: type) -> Callable[[Any], Any]:
    members = fields(kind)
    flattened = frozenset(member.name for member in members if member.metadata.get("flatten"))
    return _object_converter(tuple(member.name for member in members), flattened)


def _object_converter(names: tuple[str, ...], flattened: AbstractSet[str]) -> Callable[[Any], dict[str, Any]]:
    plain = tuple(name for name in names if name not in flattened)
    merged = tuple(name for name in names if name in flattened)
    items_of = _reader(plain)

    def convert(value: Any) -> dict[str, Any]:
        result = {
            name: item if type(item) in _AS_IT_IS else to_jsonable(item)
            for name, item in zip(plain, items_of(value), strict=True)
        }
        for name in merged:
            extra = getattr(value, name)
            if isinstance(extra, Mapping):
                for key, item in extra.items():
                    result.setdefault(str(key), to_jsonable(item))
            else:
                result.setdefault(name, to_jsonable(extra))
        return result

    return convert


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads these attributes at once."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(to_jsonable(key)): to_jsonable(item) for key, item in value.items()}


def _list(value: Any) -> list[Any]:
    return [to_jsonable(item) for item in value]


def _sorted_list(value: AbstractSet[Any]) -> list[Any]:
    return sorted(map(to_jsonable, value), key=str)


# In this order: an enumeration may be a str or an int too.
_CONVERTERS: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...]] = (
    (Enum, lambda value: to_jsonable(value.value)),
    (datetime, rfc3339),
    (Mapping, _mapping),
    ((list, tuple), _list),
    ((set, frozenset), _sorted_list),
    (_AS_TEXT, str),
    (str, str.__str__),
    (int, int.__int__),
    (float, lambda value: round(float(value), _DECIMALS)),
)


def dumps(value: Any, *, indent: int | None = None) -> str:
    r"""JSON text of a jsonable value, exact and safe to print.

    Printable Unicode stays as it is. What would act on a terminal unseen is written as `\u` and four digits, which
    reads back as the same character; so are lone surrogates, the bytes of a daemon's text that are not UTF-8. Without
    an indent the text is one line, and several times as fast to make.
    """
    separators = (",", ": ") if indent is not None else (", ", ": ")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    if text.isascii() and _DELETE not in text:
        return text  # what else acts on a terminal is below U+0020, which json.dumps has spelled
    return _NOT_ASCII.sub(_spell, text)


def _spell(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if is_hidden(match[0]) else match[0]


def error_object(
    error: FleetError | None, sent: str | None = None, confirmed: Sequence[str] = ()
) -> dict[str, Any] | None:
    """The `error` of a server or of a whole run.

    Args:
        error: the error, or None.
        sent: the change that was sent and never confirmed.
        confirmed: the changes that were done before it.
    """
    if error is None:
        return None
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "sent": sent,
        "confirmed": list(confirmed),
    }


def server_object(outcome: Outcome[T], to_result: Callable[[T], Any]) -> dict[str, Any]:
    """One server of the document, with every key; `result` of one that failed is what was done before, if anything."""
    result = None
    if outcome.status == "ok":
        result = to_jsonable(to_result(outcome.require()))
    elif outcome.partial is not None:
        result = to_jsonable(to_result(outcome.partial))
    return {
        "name": outcome.server.name,
        "status": outcome.status,
        "elapsed": to_jsonable(outcome.elapsed),
        "result": result,
        "error": error_object(outcome.error, outcome.sent, outcome.confirmed),
        "warnings": list(outcome.warnings),
    }


def document(report: Report[T], to_result: Callable[[T], Any]) -> dict[str, Any]:
    """The one document of a run, also of one that failed before any server.

    Args:
        report: the run.
        to_result: what of a server's value is its `result`; anything that `to_jsonable` takes.
    """
    head = _head(report)
    error = head.pop("error")
    return {**head, "servers": [server_object(outcome, to_result) for outcome in report.outcomes], "error": error}


def ndjson_server(outcome: Outcome[T], to_result: Callable[[T], Any]) -> str:
    """The line of one server, without the newline."""
    return dumps({"type": "server", **server_object(outcome, to_result)})


def ndjson_summary(report: Report[Any]) -> str:
    """The last line: the document's other keys, without the newline."""
    return dumps({"type": "summary", **_head(report)})


def _head(report: Report[Any]) -> dict[str, Any]:
    return {
        "fleet_schema": SCHEMA,
        "command": report.command,
        "args": list(report.args),
        "started": rfc3339(report.started),
        "elapsed": to_jsonable(report.elapsed),
        "exit_status": report.exit_status,
        "summary": dict(report.summary),
        "error": error_object(report.error),
    }
