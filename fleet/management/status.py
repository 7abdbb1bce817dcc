"""The answer to `status`, and status files: formats 1, 2 and 3 of every release from 2.1, and OpenVPN STATISTICS.

Columns are found by their names in the header, since releases insert new ones in the middle. Common names and
usernames are neither quoted nor escaped: a comma in one shifts the values of formats 1 and 2, so only format 3, whose
separator cannot occur in a name, is always sure (protocol-facts 3). Where the other values tell which is which, such a
row is read; where they do not, and where values are missing, the row is reported as a problem and never shifted.

Rows are read by columns rather than one after the other, each column by a few calls for all its values, and become
Client and Route when somebody first asks for them (late.py); what is wrong with one is found before that. Ten thousand
clients and their routes take about as long as `line.split()` of each of their lines (tests/bench/parse.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain, dropwhile, repeat
from typing import Any, NamedTuple

from fleet.management.late import Late, late
from fleet.management.replies import excerpt, parse_number, parse_time

# Security limit: more commas than this in one row are not tried out, but reported. A daemon cuts its reply before a
# row of 512 bytes (protocol-facts 3), so a row that is real has fewer.
MOST_COMMAS = 512

_CLIENT_LIST = "CLIENT_LIST"
_ROUTING_TABLE = "ROUTING_TABLE"
_TITLE_1 = "OpenVPN CLIENT LIST"
_TITLE_STATISTICS = "OpenVPN STATISTICS"
_SECTION_ROUTES = "ROUTING TABLE"
_SECTION_STATS = "GLOBAL STATS"

_UNDEFINED = frozenset({"", "UNDEF"})
_HIGHEST_PORT = 65535
_BATCH = 200  # rows that are read at once: their values stay in the processor's cache, which makes it twice as fast
_BETWEEN = "\n"  # a value of its own between two rows that are packed together
_LAST_DIGITS = 3  # of a time_t, which are added to a moment that it shares with others
# Security limit: rows of a header with more columns are read one by one, as no expression of that size is made for it.
_MOST_CHECKED_COLUMNS = 64
_NO_EXTRA: Mapping[str, str] = {}  # shared by all rows; a MappingProxyType could not be sent to another process

_REAL_ADDRESS = re.compile(
    r"""(?: (?P<protocol> (?:udp|tcp) [46]? (?:-server|-client)? ) : )?
        (?: \[ (?P<bracketed> [^]]+ ) \] | (?P<v4> [0-9.]+ ) | (?P<v6> [0-9A-Fa-f:.]+ (?: % [^()]+ )? ) )
        (?: : (?P<port> [0-9]+ ) | \( (?P<vendor_port> [0-9]+ ) \) )?""",
    re.VERBOSE,
)
_VIRTUAL_ADDRESS = re.compile(r"[0-9A-Fa-f.:]*(?:/[0-9]+)?(?:@[0-9]+)?C?")
_DATE = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4}|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}")
_NUMBER = re.compile(r"[0-9]+")


class Client(NamedTuple):
    """One row of the client list. None where the release has no such column, and for UNDEF and the empty text.

    A named tuple since a frozen dataclass takes five times as long to make, and a server may have ten thousand.

    Attributes:
        common_name: of its certificate, or its username with username-as-common-name. Not unique.
        real_address: where it connects from, as the daemon spells it; `parse_real_address` reads it. Without a port
            for IPv6 up to 2.6, so not unique.
        virtual_address: its IPv4 address in the tunnel; not in format 1.
        virtual_ipv6_address: its IPv6 address in the tunnel; from 2.4, not in format 1.
        bytes_received: by the server from this client.
        bytes_sent: by the server to this client.
        connected_since: UTC, in whole seconds; not in format 1, which has only a date without a zone.
        connected_since_local: the same as the daemon writes it, in the server's own time, in the style of its release.
        username: from 2.3, not in format 1.
        client_id: CID, from 2.4, not in format 1. Unique until the daemon's tunnel restarts (protocol-facts 10.2).
        peer_id: from 2.4, not in format 1.
        data_channel_cipher: from 2.5, not in format 1; meaningless while handshaking.
        handshaking: not established yet: neither a common name nor a username nor a virtual address
            (protocol-facts 10.1). In format 1, which has no virtual address, a nameless route to its real address
            stands for it.
        extra: columns that fleet does not know, by their names in the header; values behind the last column as
            `column N`, N counted from 1.
    """

    common_name: str | None = None
    real_address: str | None = None
    virtual_address: str | None = None
    virtual_ipv6_address: str | None = None
    bytes_received: int | None = None
    bytes_sent: int | None = None
    connected_since: datetime | None = None
    connected_since_local: str | None = None
    username: str | None = None
    client_id: int | None = None
    peer_id: int | None = None
    data_channel_cipher: str | None = None
    handshaking: bool = False
    extra: Mapping[str, str] = _NO_EXTRA


class Route(NamedTuple):
    """One row of the routing table. None where the format has no such column, and for the empty text.

    Attributes:
        virtual_address: an address, a network `10.55.0.0/24`, or a MAC address of a TAP server; without the mark of a
            cached route and without the VLAN `@vid` (protocol-facts 10.5).
        common_name: of the client behind it, which may have no row in the client list.
        real_address: where that client connects from.
        last_ref: when the route was last used, UTC, in whole seconds; not in format 1.
        last_ref_local: the same as the daemon writes it, in the server's own time.
        cached: a route that the daemon remembers for an address inside a network of a client.
        extra: columns that fleet does not know, by their names in the header.
    """

    virtual_address: str | None = None
    common_name: str | None = None
    real_address: str | None = None
    last_ref: datetime | None = None
    last_ref_local: str | None = None
    cached: bool = False
    extra: Mapping[str, str] = _NO_EXTRA


@late("clients", "routes")
@dataclass(frozen=True, slots=True)
class Status:
    """The answer to `status`.

    Attributes:
        title: the daemon's release and features; in format 1 and of client daemons the name of the list.
        time: when it was written, UTC, in whole seconds; None in format 1 and STATISTICS, which have no zone.
        time_local: the same as the daemon writes it, in the server's own time.
        clients: in the daemon's order, which is none.
        routes: in the daemon's order, which is none.
        global_stats: by the daemon's names, for example `Max bcast/mcast queue length`.
        statistics: what client and point-to-point daemons answer instead of lists (protocol-facts 10.6), by the
            daemon's names.
        problems: rows and values that could not be read, one sentence each, with the row's text.
        extra: lines of kinds that fleet does not know.
    """

    title: str
    time: datetime | None = None
    time_local: str | None = None
    clients: tuple[Client, ...] = ()
    routes: tuple[Route, ...] = ()
    global_stats: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RealAddress:
    """Where a client connects from.

    Attributes:
        protocol: as 2.7 writes it, `udp4`, `tcp6-server` ...: the server's socket, so `udp6` may come with an IPv4
            address. None up to 2.6.
        port: None for IPv6 up to 2.6.
    """

    protocol: str | None
    address: IPv4Address | IPv6Address
    port: int | None


def parse_real_address(text: str) -> RealAddress | None:
    """Reads every form of Real Address that is known (protocol-facts 3 and 10.3); None where it is none of them."""
    found = _REAL_ADDRESS.fullmatch(text)
    if not found:
        return None
    try:
        address = ip_address(found["bracketed"] or found["v4"] or found["v6"])
        port = int(found["port"] or found["vendor_port"] or 0)
    except ValueError:
        return None
    if port > _HIGHEST_PORT:
        return None
    return RealAddress(found["protocol"], address, port or None)


def parse_status(lines: Sequence[str]) -> Status:
    r"""Reads a status of any format and release; the first line tells which.

    Args:
        lines: the lines before END as `Command.parse` gets them, or the lines of a status file or a saved reply: with
            END or without, with a `\r` or `\n` at their ends or without, after a greeting or without. To split a text
            into them use `split("\n")`: splitlines() also splits at characters that names may hold.

    Raises:
        ValueError: the first line is not that of a status.
    """
    lines = _trim(lines)
    first = lines[0] if lines else ""
    if first.startswith("TITLE\t"):
        return _parse_marked(lines, "\t")
    if first.startswith("TITLE,"):
        return _parse_marked(lines, ",")
    if first == _TITLE_1:
        return _parse_sections(lines)
    if first == _TITLE_STATISTICS:
        return _parse_statistics(lines)
    got = f"got {excerpt(first)}" if lines else "got nothing"
    raise ValueError(f"expected a status that begins with {_TITLE_1}, {_TITLE_STATISTICS} or TITLE, {got}")


def _trim(lines: Sequence[str]) -> Sequence[str]:
    """The lines of the status alone, without what stands around it in a file."""
    if lines and (lines[0].endswith(("\r", "\n")) or lines[-1].endswith(("\r", "\n"))):
        lines = [line.rstrip("\r\n") for line in lines]
    if lines and (not lines[0] or lines[0].startswith(">")):
        lines = list(dropwhile(lambda line: not line or line.startswith(">"), lines))
    return lines[: lines.index("END")] if "END" in lines else lines


def _parse_statistics(lines: Sequence[str]) -> Status:
    extra: list[str] = []
    statistics = _pairs(lines[1:], extra)
    time_local = statistics.pop("Updated", None)
    return Status(_TITLE_STATISTICS, time_local=time_local or None, statistics=statistics, extra=tuple(extra))


def _parse_sections(lines: Sequence[str]) -> Status:
    """Format 1: lists under title lines. No row can look like one, since a row has commas."""
    sections: dict[str, list[str]] = {_TITLE_1: [], _SECTION_ROUTES: [], _SECTION_STATS: []}
    section = sections[_TITLE_1]
    for line in filter(None, lines[1:]):
        if line in sections:
            section = sections[line]
        else:
            section.append(line)
    problems = _Problems([], [])
    extra: list[str] = []
    time_local = None
    client_lines = sections[_TITLE_1]
    if client_lines and client_lines[0].startswith("Updated,"):
        time_local = client_lines.pop(0).partition(",")[2]
    clients = _section_tables(client_lines, _CLIENT_CHECKS, problems)
    routes = _section_tables(sections[_SECTION_ROUTES], _ROUTE_CHECKS, problems)
    return _status(
        clients,
        routes,
        title=_TITLE_1,
        time_local=time_local or None,
        global_stats=_pairs(sections[_SECTION_STATS], extra),
        problems=problems.all(),
        extra=tuple(extra),
    )


def _section_tables(lines: list[str], checks: Mapping[str, _Check], problems: _Problems) -> list[_Table]:
    header = lines[0].split(",") if lines else []
    return _read_tables(header, lines[1:], ",", checks, problems)


def _status(clients: list[_Table], routes: list[_Table], **others: Any) -> Status:
    """A status whose rows are not made yet."""
    late_routes = Late(_make_routes, routes)
    return Status(clients=_LateClients(_make_clients, clients, late_routes), routes=late_routes, **others)  # type: ignore[arg-type] # late fields


def _pairs(lines: Iterable[str], extra: list[str]) -> dict[str, str]:
    """`key,value` lines; the value is a number or a date, so that a comma in the key does no harm."""
    pairs: dict[str, str] = {}
    for line in filter(None, lines):
        key, comma, value = line.rpartition(",")
        if comma:
            pairs[key] = value
        else:
            extra.append(line)
    return pairs


@dataclass(slots=True)
class _Block:
    """The rows under one HEADER line; an empty header where there was none."""

    header: list[str]
    rows: list[str]


def _parse_marked(lines: Sequence[str], separator: str) -> Status:
    """Formats 2 and 3: every line begins with what it is."""
    title = ""
    time: datetime | None = None
    time_local = ""
    stats: list[str] = []
    extra: list[str] = []
    problems = _Problems([], [])
    blocks: dict[str, list[_Block]] = {_CLIENT_LIST: [], _ROUTING_TABLE: []}
    prefix: str | tuple[()] = ()  # of the rows that are being read; nothing begins with ()
    rows: list[str] = []
    for line in lines:
        if line.startswith(prefix):
            rows.append(line)
            continue
        prefix = ()
        kind, _, rest = line.partition(separator)
        if kind in blocks:
            if not blocks[kind]:
                blocks[kind].append(_Block([], []))
            rows = blocks[kind][-1].rows
            rows.append(line)
            prefix = kind + separator
        elif kind == "HEADER" and (header := rest.split(separator))[0] in blocks:
            blocks[header[0]].append(_Block(header, []))
        elif kind == "TITLE":
            title = rest
        elif kind == "TIME":
            time_local, time = _parse_time_line(line, separator, problems.rows)
        elif kind == "GLOBAL_STATS" and separator in rest:
            stats.append(",".join(rest.rsplit(separator, 1)))
        elif line:
            extra.append(line)
    tables = {
        kind: [
            table
            for block in blocks[kind]
            for table in _read_tables(block.header, block.rows, separator, checks, problems)
        ]
        for kind, checks in ((_CLIENT_LIST, _CLIENT_CHECKS), (_ROUTING_TABLE, _ROUTE_CHECKS))
    }
    return _status(
        tables[_CLIENT_LIST],
        tables[_ROUTING_TABLE],
        title=title,
        time=time,
        time_local=time_local or None,
        global_stats=_pairs(stats, extra),
        problems=problems.all(),
        extra=tuple(extra),
    )


def _parse_time_line(line: str, separator: str, problems: list[str]) -> tuple[str, datetime | None]:
    """`TIME,DATE,time_t`."""
    values = line.split(separator)
    try:
        return values[1], parse_time(values[2])
    except (IndexError, ValueError):
        problems.append(f"no time in the line: {line}")
        return "".join(values[1:2]), None


@dataclass(frozen=True, slots=True)
class _Problems:
    """What could not be read: rows, and values of rows that could."""

    rows: list[str]
    values: list[str]

    def all(self) -> tuple[str, ...]:
        return (*self.rows, *self.values)


@dataclass(frozen=True, slots=True)
class _Check:
    """What the values of a column should be.

    Attributes:
        what: in a word, for people.
        parse: reads one value; ValueError where it is something else.
        digits: a value of at most so many ASCII digits can be read, or is empty.
    """

    what: str
    parse: Callable[[str], int | datetime]
    digits: int


@dataclass(frozen=True, slots=True)
class _Table:
    """Some rows of one header: they fit it and were checked; typed columns are made of them when somebody asks.

    Attributes:
        columns: where in a row each column of the header is; of two of one name the last.
        count: how many rows.
        packed: all rows as one text, which takes a fifth of the memory of its values; or, where it is not that simple,
            the values, row by row.
        separator: between two values of `packed`.
        step: from a value to that of the next row.
        surplus: by the row's number, what is more than the header says.
        read: columns that were read already, since not all their values were what they should be.
    """

    columns: Mapping[str, int]
    count: int
    packed: str | list[str]
    separator: str
    step: int
    surplus: Mapping[int, Mapping[str, str]]
    read: dict[str, list[Any]]

    def values(self) -> list[str]:
        """The values, row by row."""
        return self.packed.split(self.separator) if isinstance(self.packed, str) else self.packed


class _Moments(dict[str, datetime]):
    """The beginning of every thousand seconds that was asked for, by the digits of its time_t before the last three."""

    def __missing__(self, digits: str) -> datetime:
        moment = self[digits] = datetime.fromtimestamp(int(digits) * 10**_LAST_DIGITS, UTC)
        return moment


@cache
def _seconds() -> Mapping[str, timedelta]:
    """How much the last three digits of a time_t are."""
    return {f"{second:0{_LAST_DIGITS}}": timedelta(seconds=second) for second in range(10**_LAST_DIGITS)}


class _Columns:
    """The columns of a table, typed. One is taken out as it is read; what is left is unknown to fleet."""

    def __init__(self, table: _Table, moments: _Moments | None = None) -> None:
        self._table = table
        self._values = table.values()
        self._moments = _Moments() if moments is None else moments
        self._left = dict.fromkeys(table.columns)
        self._left.pop(_CLIENT_LIST, None)  # the row's kind, in formats 2 and 3
        self._left.pop(_ROUTING_TABLE, None)

    def __len__(self) -> int:
        return self._table.count

    def __contains__(self, column: str) -> bool:
        return column in self._table.columns

    def _take(self, column: str) -> list[str] | None:
        if column not in self._left:
            return None
        del self._left[column]
        return self._cells(column)

    def _cells(self, column: str) -> list[str]:
        return self._values[self._table.columns[column] :: self._table.step]

    def texts(self, column: str) -> Sequence[str | None]:
        """A column of texts, with None for the empty one."""
        cells = self._take(column)
        if cells is None:
            return [None] * len(self)
        return cells if all(cells) else [cell or None for cell in cells]

    def names(self, column: str) -> Sequence[str | None]:
        """A column of names, with None for UNDEF and the empty text."""
        cells = self._take(column)
        if cells is None:
            return [None] * len(self)
        if _UNDEFINED.isdisjoint(cells):
            return cells
        return [None if cell in _UNDEFINED else cell for cell in cells]

    def numbers(self, column: str) -> Sequence[int | None]:
        """A column of numbers, with None for the empty text and for what is no number."""
        cells = self._take(column)
        if cells is None:
            return [None] * len(self)
        if column in self._table.read:
            return self._table.read[column]
        return list(map(int, cells)) if all(cells) else [int(cell) if cell else None for cell in cells]

    def times(self, column: str) -> Sequence[datetime | None]:
        """A column of time_t, as UTC; with None as in `numbers`."""
        cells = self._take(column)
        if cells is None:
            return [None] * len(self)
        if column in self._table.read:
            return self._table.read[column]
        distinct = set(cells)  # many come back in one second after a restart, and most routes were used just now
        made: dict[str, datetime | None]
        if min(map(len, distinct), default=0) > _LAST_DIGITS:  # a third of the time of fromtimestamp
            moments, seconds = self._moments, _seconds()
            made = {cell: moments[cell[:-_LAST_DIGITS]] + seconds[cell[-_LAST_DIGITS:]] for cell in distinct}
        else:
            made = {cell: datetime.fromtimestamp(int(cell), UTC) if cell else None for cell in distinct}
        return list(map(made.__getitem__, cells))

    def extras(self) -> Iterable[Mapping[str, str]]:
        """What was not taken out, row by row."""
        surplus = self._table.surplus
        if not self._left and not surplus:
            return repeat(_NO_EXTRA, len(self))
        cells = zip(*map(self._cells, self._left), strict=True) if self._left else repeat((), len(self))
        return [
            {**dict(zip(self._left, row, strict=True)), **surplus.get(number, {})} for number, row in enumerate(cells)
        ]


class _LateClients(Late[tuple[Client, ...]]):
    """Clients that are made when they are asked for; what they are called is told before."""

    __slots__ = ()

    def common_names(self) -> Iterator[str | None]:
        """The common name of each; for that alone none is made."""
        recipe = self._recipe
        if recipe is None:
            return (client.common_name for client in self.value())
        _make, (tables, _routes_of_them) = recipe
        return (name for table in tables for name in _Columns(table).names("Common Name"))


def _make_clients(tables: Sequence[_Table], routes: Late[tuple[Route, ...]]) -> tuple[Client, ...]:
    moments = _Moments()
    return tuple(chain.from_iterable(_clients(_Columns(table, moments), routes) for table in tables))


def _make_routes(tables: Sequence[_Table]) -> tuple[Route, ...]:
    moments = _Moments()
    return tuple(chain.from_iterable(_routes(_Columns(table, moments)) for table in tables))


def _clients(table: _Columns, routes: Late[tuple[Route, ...]]) -> Iterable[Client]:
    has_addresses = "Virtual Address" in table
    common_names = table.names("Common Name")
    real_addresses = table.texts("Real Address")
    virtual_addresses = table.texts("Virtual Address")
    virtual_ipv6_addresses = table.texts("Virtual IPv6 Address")
    usernames = table.names("Username")
    handshaking: Iterable[bool] = repeat(False, len(table))
    if None in common_names:
        reached: Sequence[str | None] = virtual_addresses
        if not has_addresses:
            # with the name too, since IPv6 clients up to 2.6 have no port and share one real address
            routed = {route.real_address for route in routes.value() if route.common_name is None}
            reached = [address if address in routed else None for address in real_addresses]
        known = zip(common_names, usernames, reached, virtual_ipv6_addresses, strict=True)
        handshaking = [not any(values) for values in known]
    columns = zip(
        common_names,
        real_addresses,
        virtual_addresses,
        virtual_ipv6_addresses,
        table.numbers("Bytes Received"),
        table.numbers("Bytes Sent"),
        table.times("Connected Since (time_t)"),
        table.texts("Connected Since"),
        usernames,
        table.numbers("Client ID"),
        table.numbers("Peer ID"),
        table.texts("Data Channel Cipher"),
        handshaking,
        table.extras(),
        strict=True,
    )
    return map(tuple.__new__, repeat(Client), columns)  # as Client._make, without a Python call for each row


def _routes(table: _Columns) -> Iterable[Route]:
    addresses = table.texts("Virtual Address")
    cached: Iterable[bool] = repeat(False, len(table))
    marks = "".join(filter(None, addresses))
    if "C" in marks or "@" in marks:  # the daemon writes IPv6 and MAC addresses in lower case
        cached = [bool(address) and str(address).endswith("C") for address in addresses]
        addresses = [(address or "").removesuffix("C").partition("@")[0] or None for address in addresses]
    columns = zip(
        addresses,
        table.names("Common Name"),
        table.texts("Real Address"),
        table.times("Last Ref (time_t)"),
        table.texts("Last Ref"),
        cached,
        table.extras(),
        strict=True,
    )
    return map(tuple.__new__, repeat(Route), columns)  # as Route._make, without a Python call for each row


def _read_tables(
    header: list[str], rows: list[str], separator: str, checks: Mapping[str, _Check], problems: _Problems
) -> list[_Table]:
    """Packs rows; one that does not fit the header is a problem and left out, as is a value that is not what it should.

    All of it is found here, and not when somebody asks for the rows.
    """
    if not header:
        problems.rows.extend(f"a row before its header: {row}" for row in rows)
        return []
    columns = {name: index for index, name in enumerate(header)}
    batches = (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
    return [_read_table(columns, batch, (header, separator), checks, problems) for batch in batches]


def _read_table(
    columns: Mapping[str, int],
    rows: list[str],
    form: tuple[list[str], str],
    checks: Mapping[str, _Check],
    problems: _Problems,
) -> _Table:
    header, separator = form
    between = f"{separator}{_BETWEEN}{separator}"
    packed = between.join(rows)
    digits = {columns[name]: check.digits for name, check in checks.items() if name in columns}
    step = len(header) + 1
    # As many values as there should be in all: then none of what parts two rows was taken for a value.
    counts = packed.count(_BETWEEN), packed.count(separator)
    if len(header) <= _MOST_CHECKED_COLUMNS and counts == (len(rows) - 1, len(rows) * step - 2):
        expression = _rows_that_fit(len(header), separator, tuple(digits.items()))
        if expression.fullmatch(packed + between):
            return _Table(columns, len(rows), packed, separator, step, {}, {})
    rows, values, surplus = _fit_rows(header, rows, separator, problems.rows)
    table = _Table(columns, len(rows), values, separator, len(header), surplus, {})
    for name, check in checks.items():
        if name in columns:
            table.read[name] = _one_by_one(name, check, values[columns[name] :: table.step], rows, problems.values)
    return table


@lru_cache(maxsize=32)  # a release has its two headers
def _rows_that_fit(width: int, separator: str, digits: tuple[tuple[int, int], ...]) -> re.Pattern[str]:
    """Matches rows that fit their header and can be read, each with what parts it from the next behind it.

    It never goes back, since each of its steps takes all that it can. It takes half the time of a split.

    Args:
        width: columns of the header.
        separator: between two values.
        digits: the columns whose values are numbers, with the most digits of one.
    """
    most = dict(digits)
    values = (f"[0-9]{{0,{most[index]}}}+" if index in most else f"[^{separator}]*+" for index in range(width))
    return re.compile(f"(?:{separator.join(values)}{separator}{_BETWEEN}{separator})*+")


def _one_by_one(
    column: str, check: _Check, cells: list[str], rows: list[str], problems: list[str]
) -> list[int | datetime | None]:
    values: list[int | datetime | None] = []
    for cell, row in zip(cells, rows, strict=True):
        try:
            values.append(check.parse(cell) if cell else None)
        except ValueError:
            values.append(None)
            problems.append(f"{column} is not a {check.what} in the row: {row}")
    return values


def _fit_rows(
    header: list[str], rows: list[str], separator: str, problems: list[str]
) -> tuple[list[str], list[str], dict[int, dict[str, str]]]:
    """The rows that fit the header, all their values, and by the row's number what is more than the header says."""
    width = len(header)
    fitting: list[str] = []
    values: list[str] = []
    surplus: dict[int, dict[str, str]] = {}
    for row in rows:
        found = row.split(separator)
        if len(found) < width:
            problems.append(f"fewer values than the header has columns in the row: {row}")
            continue
        if separator == "\t":
            if len(found) > width:
                surplus[len(fitting)] = {f"column {n}": value for n, value in enumerate(found[width:], width)}
            fitted: list[str] | None = found[:width]
        else:
            fitted = _fit(found, header)
        if fitted is None:
            problems.append(f"commas in a name leave open which value is which in the row: {row}")
            continue
        fitting.append(row)
        values += fitted
    return fitting, values, surplus


def _fit(found: list[str], header: list[str]) -> list[str] | None:
    """Puts together the pieces of names that have commas in them; None where there are several ways, or none."""
    excess = len(found) - len(header)
    if not excess:
        return found
    names = [index for index, column in enumerate(header) if column in ("Common Name", "Username")]
    if not names or excess > MOST_COMMAS:
        return None
    if len(names) == 1:
        return _join(found, names[0], excess)
    first, second = names[:2]
    checks = [(header.index(column), check) for column, check in _SHAPES.items() if column in header]

    def fits(commas: int) -> bool:
        """Are the values what their columns say, with so many commas in the first name, the others in the second?"""
        shifts = ((index, 0 if index < first else commas if index < second else excess) for index, _ in checks)
        return all(check(found[index + shift]) for (index, shift), (_, check) in zip(shifts, checks, strict=True))

    ways = [commas for commas in range(excess + 1) if fits(commas)]
    if len(ways) != 1:
        return None
    return _join(_join(found, second + ways[0], excess - ways[0]), first, ways[0])


def _join(found: list[str], index: int, commas: int) -> list[str]:
    end = index + commas + 1
    return [*found[:index], ",".join(found[index:end]), *found[end:]]


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None


def _is_virtual_address(text: str) -> bool:
    return _VIRTUAL_ADDRESS.fullmatch(text) is not None


def _is_real_address(text: str) -> bool:
    return parse_real_address(text) is not None


_NUMBERS = _Check("number", parse_number, 20)  # of 64 bits
_TIMES = _Check("time", parse_time, 11)  # the calendar ends with a time_t of twelve
_CLIENT_CHECKS: Mapping[str, _Check] = {
    "Bytes Received": _NUMBERS,
    "Bytes Sent": _NUMBERS,
    "Connected Since (time_t)": _TIMES,
    "Client ID": _NUMBERS,
    "Peer ID": _NUMBERS,
}
_ROUTE_CHECKS: Mapping[str, _Check] = {"Last Ref (time_t)": _TIMES}

# What a value of a column looks like, the cheapest check first.
_SHAPES: Mapping[str, Callable[[str], bool]] = {
    "Bytes Received": _is_number,
    "Bytes Sent": _is_number,
    "Connected Since (time_t)": _is_number,
    "Client ID": _is_number,
    "Peer ID": _is_number,
    "Connected Since": _is_date,
    "Virtual Address": _is_virtual_address,
    "Virtual IPv6 Address": _is_virtual_address,
    "Real Address": _is_real_address,
}
