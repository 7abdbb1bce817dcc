"""The schema of a type is that of what `to_jsonable` makes of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jsonschema
import pytest

from fleet.render.jsonout import to_jsonable
from fleet.render.schema import TIME, AnyOf, Definitions, Described, Exactly, ListOf, Schema, any_of, constant

T = TypeVar("T")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Row(NamedTuple):
    name: str | None = None
    extra: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Box(Generic[T]):
    """A box. None where there is none.

    Attributes:
        inside: what is in it, a long
            sentence of it, or None.
        open: True or False.
    """

    inside: T
    open: bool = False
    last: T | None = None


@dataclass(frozen=True, slots=True)
class Loose:
    known: int
    more: Mapping[str, int] = field(default_factory=dict, metadata={"flatten": True})


@dataclass(frozen=True, slots=True)
class Chain:
    next: Chain | None = None


def whole(kind: Any) -> Schema:
    """The schema with its definitions, where a validator finds them."""
    shared = Definitions()
    schema = shared.schema(kind)
    return {**schema, "$id": "common.json", "$defs": {**shared.schemas, "time": TIME}}


def meets(kind: Any, value: Any) -> bool:
    return jsonschema.Draft202012Validator(whole(kind)).is_valid(value)


@pytest.mark.parametrize(
    ("kind", "value", "wrong"),
    [
        (str, "x", [1, None]),
        (int, 1, ["1", True, 1.5]),
        (int | None, None, ["1"]),
        (float | None, 1.5, ["1.5"]),
        (bool, True, [1, "true"]),
        (datetime, datetime(2026, 11, 22, tzinfo=UTC), ["2026-11-22", 0, "2026-11-22T00:00:00+01:00"]),
        (Colour, Colour.RED, ["green", None]),
        (Literal["a", 1], 1, ["1"]),
        (Path, Path("/x"), [None]),
        (IPv4Address, IPv4Address("192.0.2.1"), [1]),
        (tuple[str, ...], ("a", "b"), [["a", 1], "ab"]),
        (frozenset[int], frozenset({1}), [[None], 1]),
        (tuple[str, int], ("a", 1), [["a"], ["a", 1, 2], [1, "a"]]),
        (Mapping[str, int], {"a": 1}, [{"a": "1"}, []]),
        (Row, Row("x", {"More": "1"}), [{}, {"name": "x", "More": 1}, {"name": 1}]),
        (
            Box[int],
            Box(1),
            [{"inside": "x", "open": True, "last": 1}, {"inside": 1}, {"inside": 1, "open": True, "last": "x"}],
        ),
        (Box[str] | None, Box("x"), [{"inside": 1, "open": True, "last": None}]),
        (Loose, Loose(1, {"other": 2}), [{"known": 1, "other": "2"}, {"other": 1}]),
        (Chain, Chain(Chain()), [{"next": {}}, {"next": {"next": 1}}]),
        ({"a": int, "b": ListOf({"c": str})}, {"a": 1, "b": [{"c": "x"}]}, [{"a": 1}, {"a": 1, "b": [{}]}]),
        (AnyOf([{"a": int}, {"b": int}]), {"b": 1}, [{}, {"a": 1, "b": 1}]),
        (Described(Exactly(constant(7)), "seven"), 7, [8]),
    ],
)
def test_a_value_meets_the_schema_of_its_type(kind: Any, value: Any, wrong: list[Any]) -> None:
    assert meets(kind, to_jsonable(value))
    assert [one for one in wrong if meets(kind, one)] == []


def test_the_words_of_a_docstring_are_there_as_json_has_them() -> None:
    (box,) = (schema for name, schema in whole(Box[int])["$defs"].items() if name == "BoxOfInt")
    assert box["description"] == "A box. null where there is none."
    assert box["properties"]["inside"]["description"] == "what is in it, a long sentence of it, or null."
    assert box["properties"]["open"]["description"] == "true or false."


def test_alternatives_that_are_alike_are_one() -> None:
    assert any_of([{"type": "string"}, {"type": "null"}]) == {"type": ["string", "null"]}
    assert any_of([{"const": 1}, {"const": 1}]) == {"const": 1}
    assert any_of([{"type": "string"}, {}]) == {}


def another_box() -> type:
    @dataclass
    class Row:
        name: str

    return Row


@pytest.mark.parametrize("kind", [bytes, object, type[int], TypeVar("U")])
def test_what_has_no_place_in_json_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="no place in JSON"):
        Definitions().schema(kind)


def test_two_types_of_one_name_are_refused() -> None:
    shared = Definitions()
    shared.schema(Row)
    with pytest.raises(TypeError, match="two types are called Row"):
        shared.schema(another_box())
