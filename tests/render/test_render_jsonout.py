"""The JSON document: every key, exact values, whatever happened."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, IntEnum, StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.engine import Outcome, Report
from fleet.errors import ConnectTimeoutError, EmptyTargetError, ReplyTimeoutError, RunTimeoutError
from fleet.inventory.model import Server, TCPEndpoint
from fleet.render.jsonout import document, dumps, ndjson_server, ndjson_summary, server_object, to_jsonable

STARTED = datetime(2026, 11, 22, 8, tzinfo=UTC)
ANYTHING = st.text(st.characters(codec=None, exclude_categories=()))


def server(name: str) -> Server:
    return Server(name, name, None, TCPEndpoint("127.0.0.1", 7505))


class Level(Enum):
    HIGH = "high"


class Word(StrEnum):
    ONE = "one"


class Number(IntEnum):
    TWO = 2


class Row(NamedTuple):
    common_name: str
    since: datetime | None
    extra: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Client:
    common_name: str | None
    bytes_in: int
    extra: Mapping[str, object] = field(default_factory=dict, metadata={"flatten": True})
    last: str = "last"


@dataclass(frozen=True, slots=True)
class Status:
    clients: tuple[Client, ...]
    rows: tuple[Row, ...]


class Name(str):
    __slots__ = ()


class Half(float):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**60, 2**60),
        (1.23456, 1.235),
        (Half(0.12345), 0.123),
        ("", ""),
        (Name("alice"), "alice"),
        (Level.HIGH, "high"),
        (Word.ONE, "one"),
        (Number.TWO, 2),
        (STARTED, "2026-11-22T08:00:00Z"),
        (STARTED.replace(microsecond=500_000), "2026-11-22T08:00:00.5Z"),
        (ip_address("fd00::1"), "fd00::1"),
        (ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (Path("/run/x.sock"), "/run/x.sock"),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (MappingProxyType({"a": (1,), 7: Level.HIGH}), {"a": [1], "7": "high"}),
        (Row("alice", None, {"Shoe Size": "42"}), {"common_name": "alice", "since": None, "Shoe Size": "42"}),
        (TCPEndpoint("::1", 7505), {"host": "::1", "port": 7505}),
        (
            Status((Client(None, 1, {"new": 1.23456, "last": "overridden?"}),), (Row("a", STARTED, {}),)),
            {
                "clients": [{"common_name": None, "bytes_in": 1, "last": "last", "new": 1.235}],
                "rows": [{"common_name": "a", "since": "2026-11-22T08:00:00Z"}],
            },
        ),
    ],
)
def test_values(value: object, expected: object) -> None:
    result = to_jsonable(value)
    assert result == expected
    assert json.loads(dumps(result)) == expected


def test_a_flattened_field_that_is_no_mapping_keeps_its_name() -> None:
    assert to_jsonable(Row("a", None, None)) == {"common_name": "a", "since": None, "extra": None}  # type: ignore[arg-type]  # a caller's mistake


@pytest.mark.parametrize("value", [object(), b"bytes", {"a": object()}])
def test_what_has_no_place_in_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="has no place in JSON"):
        to_jsonable(value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | ANYTHING, lambda inner: st.lists(inner, max_size=4)))
def test_json_is_exact_and_safe_to_print(value: object) -> None:
    text = dumps(to_jsonable(value))
    assert json.loads(text) == value
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Zoë 漢", '"Zoë 漢"'),
        ("\udcff", r'"\udcff"'),
        ("\x9b", r'"\u009b"'),
        ("\x7f\u202e", r'"\u007f\u202e"'),
        ("\U000e0041", r'"\udb40\udc41"'),
    ],
)
def test_what_a_terminal_obeys_is_spelled_out(text: str, written: str) -> None:
    assert dumps(text) == written
    assert json.loads(written) == text


def test_an_indent_makes_lines() -> None:
    assert dumps({"a": [1]}, indent=2) == '{\n  "a": [\n    1\n  ]\n}'
    assert "\n" not in dumps({"a": ["x\ny"]})


OK: Outcome[int] = Outcome(server("edge-1"), 0.2149, 7)
UNREACHABLE: Outcome[int] = Outcome(
    server("edge-2"), 10.00004, error=ConnectTimeoutError("nothing answered on port 22 within 10 s", hint="ping it")
)
UNCONFIRMED: Outcome[int] = Outcome(server("edge-3"), 1.0, error=ReplyTimeoutError("no reply", sent="verb 4"))
LATE: Outcome[int] = Outcome(server("edge-4"), 0.0, error=RunTimeoutError("over"), attempted=False)
LEFT_OUT: Outcome[int] = Outcome(server("edge-5"), 0.0, attempted=False)


def report(*outcomes: Outcome[int], **more: Any) -> Report[int]:
    return Report("status", ("eu", "--json"), STARTED, 1.23456, outcomes, **more)


def to_result(value: int) -> dict[str, int]:
    return {"pid": value}


def test_the_document_of_a_run() -> None:
    made = document(report(OK, UNREACHABLE, UNCONFIRMED, LATE, LEFT_OUT), to_result)
    assert made == {
        "fleet_schema": 1,
        "command": "status",
        "args": ["eu", "--json"],
        "started": "2026-11-22T08:00:00Z",
        "elapsed": 1.235,
        "exit_status": 4,
        "summary": {"servers": 5, "ok": 1, "failed": 0, "unreachable": 2, "not_attempted": 2},
        "servers": [
            {"name": "edge-1", "status": "ok", "elapsed": 0.215, "result": {"pid": 7}, "error": None, "warnings": []},
            {
                "name": "edge-2",
                "status": "unreachable",
                "elapsed": 10.0,
                "result": None,
                "error": {
                    "code": "connect-timeout",
                    "message": "nothing answered on port 22 within 10 s",
                    "hint": "ping it",
                    "sent": None,
                    "confirmed": [],
                },
                "warnings": [],
            },
            {
                "name": "edge-3",
                "status": "unreachable",
                "elapsed": 1.0,
                "result": None,
                "error": {
                    "code": "reply-timeout",
                    "message": "no reply",
                    "hint": None,
                    "sent": "verb 4",
                    "confirmed": [],
                },
                "warnings": [],
            },
            {
                "name": "edge-4",
                "status": "not_attempted",
                "elapsed": 0.0,
                "result": None,
                "error": {"code": "run-timeout", "message": "over", "hint": None, "sent": None, "confirmed": []},
                "warnings": [],
            },
            {
                "name": "edge-5",
                "status": "not_attempted",
                "elapsed": 0.0,
                "result": None,
                "error": None,
                "warnings": [],
            },
        ],
        "error": None,
    }
    assert list(made)[:7] == ["fleet_schema", "command", "args", "started", "elapsed", "exit_status", "summary"]
    assert json.loads(dumps(made)) == made


def test_the_document_of_a_run_that_failed_before_it_began() -> None:
    made = document(report(error=EmptyTargetError("nobody", hint="fleet inventory list")), to_result)
    assert made["servers"] == []
    assert made["exit_status"] == 2
    assert made["error"] == {
        "code": "empty-target",
        "message": "nobody",
        "hint": "fleet inventory list",
        "sent": None,
        "confirmed": [],
    }
    assert made["summary"] == {"servers": 0, "ok": 0, "failed": 0, "unreachable": 0, "not_attempted": 0}
    assert set(made) == set(document(report(OK), to_result))


def test_a_value_of_none_is_a_result_too() -> None:
    fine: Outcome[None] = Outcome(server("edge-1"), 0.0)
    assert server_object(fine, lambda value: [value])["result"] == [None]


def test_what_was_done_and_what_is_to_be_known_are_told() -> None:
    late: Outcome[int] = Outcome(
        server("edge-1"), 1.0, error=ReplyTimeoutError("no reply"), confirmed=("kill a", "kill b"), warnings=("old",)
    )
    fine: Outcome[int] = Outcome(server("edge-1"), 1.0, 7, warnings=("slow", "old"))
    made = server_object(late, to_result)
    assert (made["error"]["sent"], made["error"]["confirmed"], made["warnings"]) == (
        None,
        ["kill a", "kill b"],
        ["old"],
    )
    assert json.loads(ndjson_server(fine, to_result))["warnings"] == ["slow", "old"]


def test_ndjson_has_the_documents_parts_a_line_each() -> None:
    whole = report(OK, UNREACHABLE)
    lines = [ndjson_server(outcome, to_result) for outcome in whole.outcomes] + [ndjson_summary(whole)]
    assert not any("\n" in line for line in lines)
    *servers, summary = map(json.loads, lines)
    assert [one.pop("type") for one in servers] == ["server", "server"]
    assert summary.pop("type") == "summary"
    assert {**summary, "servers": servers} == document(whole, to_result)
