"""`snapshot`: who is connected where, kept as JSON so that `diff` can compare it with another time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from types import UnionType
from typing import Any, cast

from fleet.management import commands
from fleet.management.status import Client
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation
from fleet.operations.status import STATUS, ServerStatus

COMMAND = "snapshot"
SCHEMA = 1
"""The `fleet_schema` of the documents that `read_snapshot` knows (docs/json.md)."""


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """What two times of one server are compared by.

    Attributes:
        pid: of the daemon; its byte totals begin again with another one (protocol-facts 11.6).
        epoch: since when it is CONNECTED, which is what its client IDs count from (protocol-facts 11.3); None where
            it was not.
        bytes_in: bytes that it received from clients since its process began; None where it could not be told.
        bytes_out: bytes that it sent to them.
        clients: who was connected; without those in mid-handshake, who have no name yet.
    """

    pid: int
    epoch: datetime | None
    bytes_in: int | None
    bytes_out: int | None
    clients: tuple[Client, ...]


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Many servers at one time.

    Attributes:
        taken: when; aware.
        servers: those that were asked, by name, in the order in which they were taken.
        missing: those that could not be asked, each with the code of its error.
    """

    taken: datetime
    servers: Mapping[str, ServerSnapshot]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One server's part of a snapshot.

    Attributes:
        pid: of the daemon.
        status: as `fleet status` gives it.
    """

    pid: int
    status: ServerStatus

    @property
    def server(self) -> ServerSnapshot:
        """What is compared of it."""
        state, status = self.status.state, self.status
        epoch = state.time if state is not None and state.name == "CONNECTED" else None
        return ServerSnapshot(self.pid, epoch, status.bytes_in, status.bytes_out, _established(status.clients))


def _established(clients: Iterable[Client]) -> tuple[Client, ...]:
    return tuple(client for client in clients if not client.handshaking)


async def take(conversation: Conversation) -> Answer[Snapshot]:
    """The status of one daemon and its pid; nothing is changed.

    A session is with one process, so that the pid need not be asked for in the same breath.

    Raises:
        ServerError: it could not be asked.
    """
    status = await STATUS.perform(conversation)
    return Answer(Snapshot(await conversation.run(commands.pid()), status.value), status.raw)


def _result(value: Snapshot) -> object:
    status = {field.name: getattr(value.status, field.name) for field in fields(value.status)}
    return {"pid": value.pid, **status}


SNAPSHOT: Operation[Snapshot] = Operation(COMMAND, take, (), lambda _value: [], result=_result)


def read_snapshot(document: object) -> FleetSnapshot:
    """What a document of `fleet snapshot` says.

    Args:
        document: the JSON, as `json.loads` gives it.

    Raises:
        ValueError: it is none, or not one that this version reads; the message says where and why.
    """
    head = _Part(document, "")
    schema, command = head.take("fleet_schema", int), head.take("command", str)
    if schema != SCHEMA:
        raise ValueError(f"its fleet_schema is {schema}, and this version of fleet reads {SCHEMA}")
    if command != COMMAND:
        raise ValueError(f"it is the JSON of `fleet {command}`, not of `fleet {COMMAND}`")
    if head.take("error", dict | None) is not None:
        raise ValueError("it is of a run that failed before it came to any server")
    servers: dict[str, ServerSnapshot] = {}
    missing: dict[str, str] = {}
    for part in head.parts("servers"):
        name = part.take("name", str)
        if name in servers or name in missing:
            raise ValueError(f"{part.where}.name: '{name}' stands there twice")
        if part.take("status", str) == "ok":
            servers[name] = _server(part.part("result"))
        else:
            missing[name] = part.part("error").take("code", str)
    return FleetSnapshot(head.time("started"), servers, missing)


def _server(part: _Part) -> ServerSnapshot:
    return ServerSnapshot(
        part.take("pid", int),
        _epoch(part),
        part.take("bytes_in", int | None),
        part.take("bytes_out", int | None),
        _established(map(_client, part.parts("clients"))),
    )


def _epoch(part: _Part) -> datetime | None:
    if part.take("state", dict | None) is None:
        return None
    state = part.part("state")
    return state.time("time") if state.take("name", str) == "CONNECTED" else None


def _client(part: _Part) -> Client:
    since = part.take("connected_since", str | None)
    return Client(
        common_name=part.take("common_name", str | None),
        real_address=part.take("real_address", str | None),
        virtual_address=part.take("virtual_address", str | None),
        virtual_ipv6_address=part.take("virtual_ipv6_address", str | None),
        bytes_received=part.take("bytes_received", int | None),
        bytes_sent=part.take("bytes_sent", int | None),
        connected_since=None if since is None else part.time("connected_since"),
        connected_since_local=part.take("connected_since_local", str | None),
        username=part.take("username", str | None),
        client_id=part.take("client_id", int | None),
        peer_id=part.take("peer_id", int | None),
        data_channel_cipher=part.take("data_channel_cipher", str | None),
        handshaking=part.take("handshaking", bool),
        extra=part.others(Client._fields),
    )


class _Part:
    """An object inside the document, read with a look at what each value is."""

    def __init__(self, value: object, where: str) -> None:
        """Takes an object.

        Raises:
            ValueError: it is none.
        """
        self.where = where
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'the document'}: not an object")  # noqa: TRY004 - as all that is wrong there
        self._value = value

    def take(self, key: str, kind: type | UnionType) -> Any:
        """The value of this key.

        Raises:
            ValueError: there is none, or it is of another type.
        """
        if key not in self._value:
            raise ValueError(f"{self._place(key)}: missing")
        value = self._value[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{self._place(key)}: not what `fleet {COMMAND}` writes there")
        return value

    def part(self, key: str) -> _Part:
        """The object of this key."""
        return _Part(self.take(key, object), self._place(key))

    def parts(self, key: str) -> list[_Part]:
        """The objects in the list of this key."""
        values = cast("Sequence[object]", self.take(key, list))
        return [_Part(value, f"{self._place(key)}[{index}]") for index, value in enumerate(values)]

    def others(self, known: Iterable[str]) -> dict[str, str]:
        """The texts of all other keys: columns that fleet does not know."""
        return {key: self.take(key, str) for key in self._value.keys() - set(known)}

    def time(self, key: str) -> datetime:
        """The aware time of this key."""
        text = self.take(key, str)
        try:
            time = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"{self._place(key)}: no time") from error
        if time.tzinfo is None:
            raise ValueError(f"{self._place(key)}: a time without a zone")
        return time

    def _place(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key
