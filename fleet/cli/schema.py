"""The JSON Schemas of docs/schema, one for each command, made from the types that its JSON is made from.

    python -m fleet.cli.generate docs

A test compares the files with the code, and every JSON that the tests produce is held against them. A command that has
no schema here is missed by a test too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from fleet import engine
from fleet.cli.results import DOCUMENTS, RESULTS, Document
from fleet.errors import FleetError
from fleet.management.notifications import (
    EchoNotification,
    LogNotification,
    NeedNotification,
    Notification,
    StateNotification,
    TextNotification,
    UnknownNotification,
)
from fleet.management.replies import EchoLine, LogLine, State
from fleet.operations.messages import source_of
from fleet.render.jsonout import SCHEMA, dumps
from fleet.render.schema import COMMON, TIME, Definitions, Described, Exactly, Schema, any_of, closed, constant

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_EXIT_STATUSES: Final = sorted(getattr(engine, name) for name in dir(engine) if name.startswith("EXIT_"))
_NOT_OK: Final = ["failed", "unreachable", "not_attempted"]
_COUNT: Final = Exactly({"type": "integer", "minimum": 0})
_SECONDS: Final = Exactly({"type": "number", "minimum": 0})
_TEXTS: Final = Exactly({"type": "array", "items": {"type": "string"}})
_ERROR: Final = Exactly({"$ref": f"{COMMON}#/$defs/error"})
_NO_ERROR: Final = Exactly({"type": "null"})
_MAYBE_ERROR: Final = Exactly({"anyOf": [_ERROR.schema, {"type": "null"}]})
_DATA_OF: Final[Mapping[type[Notification], type]] = {
    StateNotification: State,
    LogNotification: LogLine,
    EchoNotification: EchoLine,
}
"""Messages of which JSON shows what they carry."""


def files() -> dict[str, str]:
    """Every file of docs/schema, by its name, with its text."""
    shared = Definitions()
    schemas = {"events.json": _events(shared)}
    for command, results in RESULTS.items():
        schemas[file_name(command)] = _of_servers(command, results, shared)
    for command, document in DOCUMENTS.items():
        schemas[file_name(command)] = _of_its_own(command, document, shared)
    schemas[COMMON] = _common(shared)  # last, when everything is known that is referred to
    return {name: dumps(schemas[name], indent=2) + "\n" for name in sorted(schemas)}


def file_name(command: str) -> str:
    """The schema's file: `history-show.json` for `history show`."""
    return f"{command.replace(' ', '-')}.json"


# A document of a run


def _head(shared: Definitions, command: Schema, error: Exactly) -> dict[str, Schema]:
    """What the document of a run and the last line of its ndjson have."""
    head: dict[str, object] = {
        "fleet_schema": Exactly({"const": SCHEMA}),
        "command": Exactly(command),
        "args": Described(_TEXTS, "The command's own arguments; no secrets."),
        "started": Described(datetime, "When the run began."),
        "elapsed": Described(_SECONDS, "Seconds of the whole run."),
        "exit_status": Exactly({"enum": _EXIT_STATUSES}),
        "summary": Exactly({"$ref": f"{COMMON}#/$defs/summary"}),
        "error": Described(error, "What kept the whole run from beginning."),
    }
    return {name: shared.schema(kind) for name, kind in head.items()}


def _server(shared: Definitions) -> dict[str, Schema]:
    """What one server of a run has."""
    server: dict[str, object] = {
        "name": str,
        "status": Exactly({"enum": ["ok", *_NOT_OK]}),
        "elapsed": Described(_SECONDS, "Seconds, without those of waiting for a turn."),
        "result": Exactly({"anyOf": [{"$ref": "#/$defs/result"}, {"type": "null"}]}),
        "error": _MAYBE_ERROR,
        "warnings": Described(_TEXTS, "What to know besides, a sentence each."),
    }
    return {name: shared.schema(kind) for name, kind in server.items()}


_OK_OR_ERROR: Final[Schema] = {
    "if": {"properties": {"status": {"const": "ok"}}},
    "then": {"properties": {"result": {"$ref": "#/$defs/result"}, "error": _NO_ERROR.schema}},
    "else": {"properties": {"error": _ERROR.schema}},
}


def _of_servers(command: str, results: Sequence[object], shared: Definitions) -> Schema:
    """The schema of a command that asks servers: its document, and the lines of ndjson under `$defs/line`."""
    head = _head(shared, constant(command), _MAYBE_ERROR)
    server = _server(shared)
    return {
        "$schema": DIALECT,
        "title": f"fleet {command} -o json",
        "description": "With -o ndjson each line is a $defs/line.",
        "$ref": "#/$defs/document",
        "$defs": {
            "document": closed({**head, "servers": {"type": "array", "items": {"$ref": "#/$defs/server"}}}),
            "server": {**closed(server), **_OK_OR_ERROR},
            "result": any_of([shared.schema(kind) for kind in results]),
            "line": {
                "anyOf": [
                    {**closed({"type": constant("server"), **server}), **_OK_OR_ERROR},
                    closed({"type": constant("summary"), **head}),
                ]
            },
        },
    }


def _of_its_own(command: str, document: Document, shared: Definitions) -> Schema:
    """The schema of a command that asks no server; refused, it has the document of a run without servers."""
    kinds = [shared.schema(kind) for kind in document.kinds]
    lines = [shared.schema({"type": Exactly(constant(name)), **line}) for name, line in document.lines]
    return {
        "$schema": DIALECT,
        "title": f"fleet {command} -o json",
        "description": "With -o ndjson each line is a $defs/line.",
        "anyOf": [*kinds, {"$ref": f"{COMMON}#/$defs/refused"}],
        "$defs": {"line": {"anyOf": [*(lines or kinds), {"$ref": f"{COMMON}#/$defs/refused_line"}]}},
    }


# A line of a stream


def _events(shared: Definitions) -> Schema:
    """The schema of one line of `fleet events -o json` and whatever else follows."""
    kinds = sorted(_subclasses(Notification) - {TextNotification}, key=lambda kind: kind.__name__)
    lines = [_event_line(shared, _sources(kind), shared.schema(_DATA_OF.get(kind, kind))) for kind in kinds]
    gap = _event_line(shared, constant("gap"), shared.schema({"reason": Described(str, "Why, as a sentence.")}))
    return {
        "$schema": DIALECT,
        "title": "A line of fleet events -o json, log --follow, state --follow, bytecount --follow",
        "anyOf": [*lines, {**gap, "description": "Messages of this server may be missing just before."}],
    }


def _event_line(shared: Definitions, kind: Schema, data: Schema) -> Schema:
    return closed({"type": kind, "server": {"type": "string"}, "time": shared.schema(datetime), "data": data})


def _sources(kind: type[Notification]) -> Schema:
    """What stands in `type` for messages of a class."""
    if kind is UnknownNotification:
        return {"type": "string", "not": {"const": "gap"}}  # also one of a known type that cannot be read
    if kind is NeedNotification:
        return {"enum": ["NEED-OK", "NEED-STR"]}
    return constant(source_of(kind.__new__(kind)))


def _subclasses(kind: type[Any]) -> set[type[Any]]:
    """Those that go by their names: of a dataclass with slots there is a twin without them until it is collected."""
    found = {one for direct in kind.__subclasses__() for one in (direct, *_subclasses(direct))}
    return {one for one in found if getattr(sys.modules[one.__module__], one.__name__, None) is one}


# What they share


def _common(shared: Definitions) -> Schema:
    errors: set[type[FleetError]] = {FleetError, *_subclasses(FleetError)}
    codes = sorted({kind.code for kind in errors})
    error: dict[str, object] = {
        "code": Described(Exactly({"enum": codes}), "Stable; exit-status.md says what to do about each."),
        "message": Described(str, "What happened, in one sentence."),
        "hint": Described(str | None, "What to do about it."),
        "sent": Described(str | None, "A change that was sent and not answered: it may have been done."),
        "confirmed": Described(_TEXTS, "The changes that were done before it failed."),
    }
    refused = _head(shared, {"type": "string"}, _ERROR)
    summary = dict.fromkeys(("servers", "ok", *_NOT_OK), shared.schema(_COUNT))
    named = {
        "time": TIME,
        "error": {"description": "Why a server, or a run, failed.", **shared.schema(error)},
        "summary": {"description": "How many servers there are, and how many of each status.", **closed(summary)},
        "refused": {
            "description": "A run that was refused before it came to any server.",
            **closed({**refused, "servers": {"type": "array", "maxItems": 0}}),
        },
        "refused_line": {
            "description": "The same with -o ndjson.",
            **closed({"type": constant("summary"), **refused}),
        },
    }
    return {
        "$schema": DIALECT,
        "title": "What the JSON of fleet's commands shares",
        "$defs": {**named, **dict(sorted(shared.schemas.items()))},
    }
