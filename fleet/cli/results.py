"""What the JSON of each command is made of, for the schemas of docs/schema; those of queries follow from their entries.

A mapping stands for an object with these keys. Where there are several types, the command's arguments decide: a change
has a preview too, for example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, get_type_hints

from fleet.cli.config import Row
from fleet.cli.settings import ConfigFile
from fleet.inventory.model import Group, SSHSettings
from fleet.journal.record import Run, ServerRecord, Standing
from fleet.management import commands
from fleet.management.replies import Help, State
from fleet.operations import queries, tell
from fleet.operations.check import CheckedServer
from fleet.operations.collect import Collected
from fleet.operations.cordon import Uncordoned
from fleet.operations.difference import ClientChange, ServerDifference
from fleet.operations.drain import Drained, Neighbour, Plan, Whereabouts
from fleet.operations.execute import CommandReply
from fleet.operations.find import FoundClient
from fleet.operations.gate import Restart
from fleet.operations.kill import ForeseenKill, KilledClient
from fleet.operations.operation import Query
from fleet.operations.ping import Ping
from fleet.operations.preview import Preview
from fleet.operations.settings import Hold, Release, SettingChange, show_number
from fleet.operations.signals import SignalThrown
from fleet.operations.status import ServerStatus
from fleet.operations.temporary import Temporary
from fleet.operations.trust import Trusted
from fleet.operations.waiting import WantKind
from fleet.render.jsonout import SCHEMA
from fleet.render.schema import AnyOf, Described, Exactly, ListOf, constant, hints_of
from fleet.transport.explained import Setting
from fleet.usage.report import By, UsageRow


def _value_of(query: Query[Any]) -> object:
    """The type of a query's result: what its command's parser returns."""
    parse = query.command.parse
    parsed = get_type_hints(parse.func if isinstance(parse, partial) else parse)["return"]
    return parsed if query.key is None else {query.key: parsed}


def _fields(hints: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: hints[name] for name in names}


_STATUS: Final = hints_of(ServerStatus)
_DIFFERENCE: Final = hints_of(ServerDifference)
_ANSWER: Final = {"answer": Described(str, "The daemon's own words.")}
_WANTS: Final = ListOf({"kind": WantKind, "name": str | None, "message": str | None})

RESULTS: Final[Mapping[str, Sequence[object]]] = {
    "status": [ServerStatus],
    "clients": [_fields(_STATUS, "time", "clients", "problems")],
    "routes": [_fields(_STATUS, "time", "routes", "problems")],
    **{query.name: [_value_of(query)] for query in queries.QUERIES},
    "log": [_value_of(queries.log("1"))],
    "find": [{"clients": tuple[FoundClient, ...]}],
    "verb": [_value_of(show_number("verb", commands.verb(None))), SettingChange[int], Temporary[int], Preview],
    "mute": [_value_of(show_number("mute", commands.mute(None))), SettingChange[int], Temporary[int], Preview],
    "hold": [Hold, SettingChange[bool], Temporary[bool], Release, Preview],
    "signal": [SignalThrown, Restart, Preview],
    "kill": [{"killed": Described(int, "How many sessions."), "clients": tuple[KilledClient, ...]}, ForeseenKill],
    "drain": [
        {
            "nclients": Described(int | None, "How many clients the server has now."),
            **{str(one): Described(int, "How many clients that became of.") for one in Whereabouts},
            "cordoned": Described(bool, "New clients are kept out."),
            "signal": Described(str | None, "What the daemon was sent in the end."),
            "neighbours": tuple[Neighbour, ...],
            "clients": tuple[Drained, ...],
        },
        Plan,
    ],
    "uncordon": [Uncordoned, Preview],
    "unlock": [
        {
            "waited_for": _WANTS,
            "verification_failed": Described(tuple[str, ...], "What each wrong secret was for."),
            "result": str,
            "state": State | None,
        },
        {"waiting_for": _WANTS, "state": State},
    ],
    "exec": [{"replies": tuple[CommandReply, ...]}, Preview],
    "check": [CheckedServer],
    "collect": [Collected],
    "ping": [Ping],
    "trust": [Trusted],
    "snapshot": [{"pid": int, **_STATUS}],
    "diff": [
        {
            **_fields(_DIFFERENCE, "asked_before", "asked_after", "restarted", "bytes_in", "bytes_out"),
            "unattributed_in": Described(int | None, "The part of `bytes_in` that no client's count has."),
            "unattributed_out": Described(int | None, "The part of `bytes_out` that no client's count has."),
            "clients": tuple[ClientChange, ...],
        }
    ],
    # Management commands that fleet has by their own names
    "help": [Help],
    "net": [{"lines": tuple[str, ...]}],
    "echo": [_value_of(tell.echo("1"))],
    "auth-retry": [_value_of(tell.show_auth_retry()), SettingChange[str], Preview],
    "remote-entry-count": [_value_of(tell.remote_entry_count())],
    "remote-entry-get": [_value_of(tell.remote_entries("all", None))],
    **dict.fromkeys(("client-kill", "client-deny", "client-auth-nt", "forget-passwords"), (_ANSWER, Preview)),
    **dict.fromkeys(("needok", "needstr", "password", "username"), (_ANSWER, Preview)),
    **dict.fromkeys(("push-update-broad", "push-update-cid"), (_ANSWER, Preview)),
}
"""By the name of a command that asks servers, what its `result` may be."""

_RUN: Final = hints_of(Run)
_RUN_HEAD: Final = {
    **_fields(_RUN, "run", "state", "command", "args", "command_line", "user", "pid", "started"),
    **_fields(_RUN, "elapsed", "exit_status", "interrupted", "changes", "inventory"),
    "summary": dict.fromkeys(("servers", *map(str, Standing)), int),
}
_FLEET_SCHEMA: Final = {"fleet_schema": Exactly(constant(SCHEMA))}
_SSH: Final = hints_of(SSHSettings)


def _inventory_server(*, ssh: bool, password: str) -> dict[str, object]:
    """A server of `inventory show`: what it has depends on the way to it."""
    way = {
        "ssh_host": _SSH["host"],
        "ssh_port": _SSH["port"],
        "ssh_user": _SSH["user"],
        "private_key": _SSH["private_key"],
        "host_keys": _SSH["host_keys"],
        "jump": Described(str | None, "The jump hosts in their order, as for ssh -J."),
    }
    return {
        "name": str,
        "groups": tuple[str, ...],
        "connection": Exactly(constant("ssh" if ssh else "local")),
        **(way if ssh else {}),
        "management": str,
        password: str | None,
        "exclusive": bool,
        "max_clients": int | None,
        "host": Described(str, "The inventory's own name of the host."),
        "variables": Described(Mapping[str, Any], "Those of other tools; what may be a secret is not shown."),
    }


_GROUP: Final = Exactly(
    {
        "type": "object",
        "properties": {
            "hosts": {"type": "array", "items": {"type": "string"}},
            "children": {"type": "array", "items": {"type": "string"}},
            "vars": {"type": "object"},
        },
        "additionalProperties": False,
    }
)
_ANSIBLE: Final = Exactly(
    {
        "description": "What `ansible-inventory --list` prints: the groups by their names, and everybody's variables.",
        "type": "object",
        "properties": {
            "_meta": {
                "type": "object",
                "properties": {"hostvars": {"type": "object", "additionalProperties": {"type": "object"}}},
                "required": ["hostvars"],
                "additionalProperties": False,
            },
        },
        "required": ["_meta", "all"],
        "additionalProperties": _GROUP.schema,
    }
)
_INVENTORY_SERVERS: Final = [
    _inventory_server(ssh=ssh, password=password)
    for ssh in (True, False)
    for password in ("management_password_file", "management_password_command")
]


@dataclass(frozen=True, slots=True)
class Document:
    """What a command prints that asks no server.

    Attributes:
        kinds: the types that it may have.
        lines: what it may print in lines, with -o ndjson: by `type`, what else is in an object of this type.
    """

    kinds: Sequence[object]
    lines: Sequence[tuple[str, Mapping[str, object]]] = ()


def _listed(items: str, *rows: Mapping[str, object], more: Mapping[str, object] | None = None) -> Document:
    """A document with a list, of which each row is a line, behind which comes the rest."""
    rest = {**_FLEET_SCHEMA, **(more or {})}
    lines = [(items.removesuffix("s"), row) for row in rows]
    return Document([{**rest, items: ListOf(AnyOf(rows))}], (*lines, ("summary", rest)))


_USAGE_ROW: Final = hints_of(UsageRow)
_USAGE_COUNTED: Final = {
    **_fields(_USAGE_ROW, "sessions", "connected", "bytes_received", "bytes_sent", "first_sample"),
    "bytes_total": int,
}
_USAGE_WHOLE: Final = _fields(_USAGE_ROW, "bytes_unattributed", "samples", "missed")
_USAGE_ROWS: Final = (
    {"client": str | None, "unattributed": bool, "servers": tuple[str, ...], **_USAGE_COUNTED},
    *({by.value: str, "clients": int, **_USAGE_COUNTED, **_USAGE_WHOLE} for by in By if by is not By.CLIENT),
)
_USAGE: Final = {
    "command": Exactly(constant("usage")),
    "db": Described(str, "The database's path."),
    "since": Described(datetime, "The beginning of the range."),
    "until": Described(datetime, "Its end."),
    "by": By,
    "who": Described(str | None, "Whom it is about; null for everybody."),
    "samples": Described(int, "How often any of the servers was asked and answered."),
    "missed": Described(Mapping[str, int], "How often one did not, by the server's name."),
}

DOCUMENTS: Final[Mapping[str, Document]] = {
    "history list": _listed("runs", _RUN_HEAD),
    "history show": _listed(
        "servers", hints_of(ServerRecord), more={**_RUN_HEAD, **_fields(_RUN, "argv", "cwd", "environment")}
    ),
    "inventory list": Document([_ANSIBLE], _listed("servers", *_INVENTORY_SERVERS).lines),
    "inventory show": Document(
        [{**_FLEET_SCHEMA, **server, "way": tuple[Setting, ...]} for server in _INVENTORY_SERVERS]
    ),
    "inventory graph": _listed("groups", hints_of(Group)),
    "config show": _listed("settings", {**hints_of(Row), "value": str | int | float | bool | tuple[str, ...] | None}),
    "config path": _listed("files", hints_of(ConfigFile)),
    "usage": _listed("rows", *_USAGE_ROWS, more=_USAGE),
}
"""By the name of a command that asks no server, its document."""
