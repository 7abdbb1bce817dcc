"""The rows of top's two tables, and the columns that show and sort them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Generic, TypeVar

from fleet.inventory.model import Server
from fleet.management.status import Client
from fleet.operations.status import HANDSHAKING
from fleet.render import units
from fleet.render.text import escape

R = TypeVar("R")

_NULL: Final = "-"
_DIGITS: Final = re.compile(r"([0-9]{1,18})")  # longer ones are cut: int() of thousands of digits is slow, or refused

_TEXTS_KNOWN: Final = 1 << 16  # texts whose sort keys are kept; a limit of memory


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server as it is shown.

    Attributes:
        server: the server.
        state: of the daemon, or the code of the error that it could not be asked for; empty before it was.
        well: it answered and is connected.
        asked: it has answered, or could not be asked.
        since: since when it is in this state, or fails.
        rate_in: bytes per second that it received lately.
        rate_out: bytes per second that it sent.
        problem: what the error says.
        at: when that was known, on the clock of `time.monotonic`, seconds.
    """

    server: Server
    state: str = ""
    well: bool = False
    asked: bool = False
    since: datetime | None = None
    nclients: int | None = None
    rate_in: float | None = None
    rate_out: float | None = None
    version: str | None = None
    problem: str = ""
    at: float = 0.0

    @property
    def key(self) -> Hashable:
        """What it is known by."""
        return self.server.name


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One client as it is shown.

    Attributes:
        server: where it is connected.
        client: its row in the daemon's list.
        rate_in: bytes per second that the server received from it lately.
        rate_out: bytes per second that it was sent.
    """

    server: Server
    client: Client
    rate_in: float | None = None
    rate_out: float | None = None

    @property
    def key(self) -> Hashable:
        """What it is known by."""
        return self.server.name, session_of(self.client)

    @property
    def name(self) -> str | None:
        """What it is called."""
        return HANDSHAKING if self.client.handshaking else self.client.common_name


def session_of(client: Client) -> Hashable:
    """What tells a session from all others of its server."""
    return client.client_id, client.common_name, client.real_address, client.connected_since


@dataclass(frozen=True, slots=True)
class Now:
    """What ages are counted from.

    Attributes:
        time: the time, aware.
        at: the same on the clock of `time.monotonic`, seconds.
        late: seconds after which an answer is old.
    """

    time: datetime
    at: float
    late: float


@dataclass(frozen=True, slots=True)
class Field(Generic[R]):
    """One column of one of the tables.

    Attributes:
        title: its heading.
        text: of a row's cell, control characters escaped.
        value: what the rows are sorted by; None is not known and comes last.
        right: it is aligned right, and the highest is what one looks for first.
        keep: of several that there is no room for, those with the lowest number go.
        width: columns of the terminal that it takes at least.
        stretches: it is last, and takes what the others leave.
    """

    title: str
    text: Callable[[R, Now], str]
    value: Callable[[R], object]
    right: bool = False
    keep: int = 0
    width: int = 0
    stretches: bool = False


def _state(row: ServerRow, now: Now) -> str:
    age = now.at - row.at
    if row.problem or not row.asked or age < now.late:
        return escape(row.state) or "..."
    return f"{escape(row.state)}, {units.duration(age)} old"


def _text(value: object) -> str:
    return _NULL if value is None else escape(str(value))


def _age(since: datetime | None, now: Now) -> str:
    return _NULL if since is None else units.age(since, now.time)


def _size(count: int | None) -> str:
    return _NULL if count is None else units.size(count)


def _rate(rate: float | None) -> str:
    return _NULL if rate is None else f"{units.size(round(rate))}/s"


SERVER_FIELDS: Final[tuple[Field[ServerRow], ...]] = (
    Field("SERVER", lambda row, _: escape(row.server.name), lambda row: row.server.name, keep=9),
    Field("STATE", _state, lambda row: row.state, keep=8, width=9),
    Field("SINCE", lambda row, now: _age(row.since, now), lambda row: row.since, keep=4, width=7),
    Field("CLIENTS", lambda row, _: _text(row.nclients), lambda row: row.nclients, right=True, keep=7),
    Field("IN", lambda row, _: _rate(row.rate_in), lambda row: row.rate_in, right=True, keep=6, width=10),
    Field("OUT", lambda row, _: _rate(row.rate_out), lambda row: row.rate_out, right=True, keep=5, width=10),
    Field("VERSION", lambda row, _: _text(row.version), lambda row: row.version, keep=3, width=7),
    Field("PROBLEM", lambda row, _: escape(row.problem), lambda row: row.problem or None, width=12, stretches=True),
)

CLIENT_FIELDS: Final[tuple[Field[ClientRow], ...]] = (
    Field("COMMON NAME", lambda row, _: _text(row.name), lambda row: row.name, keep=9),
    Field("SERVER", lambda row, _: escape(row.server.name), lambda row: row.server.name, keep=8),
    Field("REAL ADDRESS", lambda row, _: _text(row.client.real_address), lambda row: row.client.real_address, keep=5),
    Field(
        "VIRTUAL ADDRESS",
        lambda row, _: _text(row.client.virtual_address),
        lambda row: row.client.virtual_address,
        keep=3,
    ),
    Field(
        "SINCE",
        lambda row, now: _age(row.client.connected_since, now),
        lambda row: row.client.connected_since,
        keep=4,
        width=7,
    ),
    Field("IN", lambda row, _: _rate(row.rate_in), lambda row: row.rate_in, right=True, keep=7, width=10),
    Field("OUT", lambda row, _: _rate(row.rate_out), lambda row: row.rate_out, right=True, keep=6, width=10),
    Field(
        "RECEIVED",
        lambda row, _: _size(row.client.bytes_received),
        lambda row: row.client.bytes_received,
        right=True,
        keep=2,
        width=8,
    ),
    Field(
        "SENT",
        lambda row, _: _size(row.client.bytes_sent),
        lambda row: row.client.bytes_sent,
        right=True,
        keep=1,
        width=8,
    ),
)


def arrange(rows: Iterable[R], field: Field[R] | None, *, reverse: bool) -> list[R]:
    """The rows in the order of a column: text as people count (edge-2 before edge-10), numbers highest first.

    What is not known comes last either way, and equal rows keep their order.

    Args:
        rows: in the order of the inventory.
        field: the column, or None to leave them so.
        reverse: the other way round.
    """
    if field is None:
        return list(rows)[:: -1 if reverse else 1]
    pairs = [(field.value(row), row) for row in rows]
    known = [(_sort_key(value), row) for value, row in pairs if value is not None]
    known.sort(key=lambda pair: pair[0], reverse=field.right != reverse)
    return [*(row for _, row in known), *(row for value, row in pairs if value is None)]


def _sort_key(value: object) -> tuple[float, tuple[str | int, ...]]:
    if isinstance(value, int | float):
        return value, ()
    if isinstance(value, datetime):
        return value.timestamp(), ()
    return 0, _text_key(str(value))


@lru_cache(maxsize=_TEXTS_KNOWN)
def _text_key(text: str) -> tuple[str | int, ...]:
    """Text and numbers in turn, so that two texts are compared part by part."""
    parts = _DIGITS.split(text.casefold())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))
