"""JSON Schema of what `to_jsonable` makes of a type: what docs/schema has is generated from the types themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from inspect import getdoc
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]

COMMON: Final = "common.json"
"""The file that has what the schemas share, in its `$defs`."""

TIME: Final[Schema] = {
    "description": "RFC 3339, UTC.",
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$",
}
"""What `$defs/time` of common.json has to be."""

_PLAIN: Final[Mapping[Any, Schema]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    NoneType: {"type": "null"},
    datetime: {"$ref": f"{COMMON}#/$defs/time"},
    Any: {},
}
_AS_TEXT: Final = (IPv4Address, IPv6Address, PurePath)
_ATTRIBUTE: Final = re.compile(r"^    (?P<name>\w+): (?P<text>.*(?:\n {5,}.*)*)", re.MULTILINE)
_JSON_WORDS: Final = {"None": "null", "True": "true", "False": "false"}
_PYTHON_WORD: Final = re.compile(rf"\b(?:{'|'.join(_JSON_WORDS)})\b")


@dataclass(frozen=True, slots=True)
class Described:
    """A type with what is to be said of it where it stands."""

    kind: Any
    text: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several types, or of what stands for them."""

    kinds: Sequence[Any]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of a type, or of what stands for one."""

    kind: Any


@dataclass(frozen=True, slots=True)
class Exactly:
    """A schema as it stands, where no type says the same."""

    schema: Schema


def closed(properties: Mapping[str, Schema], *, extra: Schema | None = None) -> Schema:
    """An object that has every one of these keys, and no other.

    Args:
        properties: the schema of each.
        extra: of the values of other keys, where there may be some.
    """
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*properties],
        "additionalProperties": False if extra is None else extra,
    }


def constant(value: object) -> Schema:
    """This one value."""
    return {"const": value}


def any_of(schemas: Sequence[Schema]) -> Schema:
    """One of several schemas; plain types together are one."""
    different: list[Schema] = []
    for schema in schemas:
        if schema not in different:
            different.append(schema)
    if {} in different:
        return {}
    if len(different) == 1:
        return different[0]
    if all(schema.keys() == {"type"} for schema in different):
        return {"type": [schema["type"] for schema in different]}
    return {"anyOf": different}


class Definitions:
    """The schemas of objects, each written once and referred to from everywhere else.

    Attributes:
        schemas: by name, what `$defs` of common.json has.
    """

    def __init__(self) -> None:
        """Knows nothing yet."""
        self.schemas: dict[str, Schema] = {}
        self._kinds: dict[str, Any] = {}

    def schema(self, kind: Any) -> Schema:  # noqa: PLR0911 - one way out for each form of a type
        """The schema of a type.

        Args:
            kind: a type or a form of `typing`; a mapping of keys to types is an object with these keys; Described,
                AnyOf, ListOf and Exactly are what they say.

        Raises:
            TypeError: a type that has no place in JSON, or whose name is another one's.
        """
        if isinstance(kind, Described):
            return {**self.schema(kind.kind), "description": kind.text}
        if isinstance(kind, AnyOf):
            return any_of([self.schema(one) for one in kind.kinds])
        if isinstance(kind, ListOf):
            return {"type": "array", "items": self.schema(kind.kind)}
        if isinstance(kind, Exactly):
            return dict(kind.schema)
        if isinstance(kind, Mapping):
            return closed({name: self.schema(of) for name, of in kind.items()})
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        origin = get_origin(kind)
        if origin in (Union, UnionType):
            return any_of([self.schema(one) for one in get_args(kind)])
        if origin is Literal:
            return {"enum": [*get_args(kind)]}
        if origin is not None and not is_dataclass(origin):
            return self._collection(origin, get_args(kind))
        return self._named(kind)

    def _collection(self, origin: Any, of: tuple[Any, ...]) -> Schema:
        if issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.schema(of[1])}
        if issubclass(origin, tuple) and of[-1] is not Ellipsis:
            parts = [self.schema(one) for one in of]
            return {"type": "array", "prefixItems": parts, "minItems": len(parts), "items": False}
        if issubclass(origin, Sequence | AbstractSet):
            return {"type": "array", "items": self.schema(of[0])}
        raise TypeError(f"{origin} has no place in JSON")

    def _named(self, kind: Any) -> Schema:
        origin = get_origin(kind) or kind
        if not isinstance(origin, type):
            raise TypeError(f"{kind} has no place in JSON")
        if issubclass(origin, Enum):
            return {"enum": [one.value for one in origin]}
        if issubclass(origin, _AS_TEXT):
            return {"type": "string"}
        if not is_dataclass(origin) and not hasattr(origin, "_fields"):
            raise TypeError(f"{origin.__name__} has no place in JSON")
        name = "Of".join([origin.__name__, *(of.__name__.capitalize() for of in get_args(kind))])
        if self._kinds.setdefault(name, kind) != kind:
            raise TypeError(f"two types are called {name}")
        if name not in self.schemas:
            self.schemas[name] = {}  # a type may have itself inside
            self.schemas[name] = self._object(origin, get_args(kind))
        return {"$ref": f"{COMMON}#/$defs/{name}"}

    def _object(self, kind: type, arguments: tuple[Any, ...]) -> Schema:
        """A dataclass or named tuple; as in `to_jsonable`, what is merged into it may have any key."""
        hints, texts = hints_of(kind, arguments), attribute_texts(kind)
        open_fields = {"extra"}
        if is_dataclass(kind):
            open_fields = {member.name for member in fields(kind) if member.metadata.get("flatten")}
        properties = {
            name: self.schema(Described(of, texts[name]) if name in texts else of)
            for name, of in hints.items()
            if name not in open_fields
        }
        merged = [self.schema(get_args(hints[name])[1]) for name in hints if name in open_fields]
        summary = (getdoc(kind) or "").split("\n")[0]
        return {"description": _in_json_words(summary), **closed(properties, extra=any_of(merged) if merged else None)}


def hints_of(kind: type, arguments: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The types of the fields, in their order; `arguments` are those that a generic type has."""
    names = [*kind._fields] if hasattr(kind, "_fields") else [member.name for member in fields(kind)]
    hints = get_type_hints(kind)
    filled = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=bool(arguments)))
    return {name: _filled(hints[name], filled) for name in names}


def _filled(kind: Any, arguments: Mapping[TypeVar, Any]) -> Any:
    """The type with its variables replaced."""
    if isinstance(kind, TypeVar):
        return arguments[kind]
    if any(isinstance(one, TypeVar) for one in get_args(kind)):
        return Union[tuple(_filled(one, arguments) for one in get_args(kind))]  # noqa: UP007 - of a tuple
    return kind


def attribute_texts(kind: type) -> dict[str, str]:
    """What the docstring says of each attribute, in the words of JSON."""
    _, _, attributes = (getdoc(kind) or "").partition("\nAttributes:\n")
    found = _ATTRIBUTE.finditer(attributes)
    return {one["name"]: _in_json_words(" ".join(one["text"].split())) for one in found}


def _in_json_words(text: str) -> str:
    return _PYTHON_WORD.sub(lambda found: _JSON_WORDS[found[0]], text)
