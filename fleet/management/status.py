"""The answer to `status`, and status files: formats 1, 2 and 3 of every release from 2.1, and OpenVPN STATISTICS.

Columns are found by their names in the header, since releases insert new ones in the middle. Common names and
usernames are neither quoted nor escaped: a comma in one shifts the values of formats 1 and 2, so only format 3, whose
separator cannot occur in a name, is always sure (protocol-facts 3). Where the other values tell which is which, such a
row is read; where they do not, and where values are missing, the row is reported as a problem and never shifted.

Rows are read by columns rather than one after the other, each column by a few calls for all its values: ten thousand
clients take some tens of milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import dropwhile, repeat
from typing import NamedTuple, TypeVar

from fleet.management.replies import excerpt, parse_number, parse_time

# Security limit: more commas than this in one row are not tried out, but reported. A daemon cuts its reply before a
# row of 512 bytes (protocol-facts 3), so a row that is real has fewer.
MOST_COMMAS = 512

T = TypeVar("T")

_CLIENT_LIST = "CLIENT_LIST"
_ROUTING_TABLE = "ROUTING_TABLE"
_TITLE_1 = "OpenVPN CLIENT LIST"
_TITLE_STATISTICS = "OpenVPN STATISTICS"
_SECTION_ROUTES = "ROUTING TABLE"
_SECTION_STATS = "GLOBAL STATS"

_UNDEFINED = ("", "UNDEF")
_HIGHEST_PORT = 65535
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
    problems: list[str] = []
    extra: list[str] = []
    time_local = None
    client_lines = sections[_TITLE_1]
    if client_lines and client_lines[0].startswith("Updated,"):
        time_local = client_lines.pop(0).partition(",")[2]
    routes = _routes(_section_table(sections[_SECTION_ROUTES], problems))
    clients = _clients(_section_table(client_lines, problems), routes)
    return Status(
        title=_TITLE_1,
        time_local=time_local or None,
        clients=tuple(clients),
        routes=tuple(routes),
        global_stats=_pairs(sections[_SECTION_STATS], extra),
        problems=tuple(problems),
        extra=tuple(extra),
    )


def _section_table(lines: list[str], problems: list[str]) -> _Table:
    header = lines[0].split(",") if lines else []
    return _read_table(header, lines[1:], ",", problems)


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
    problems: list[str] = []
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
            time_local, time = _parse_time_line(line, separator, problems)
        elif kind == "GLOBAL_STATS" and separator in rest:
            stats.append(",".join(rest.rsplit(separator, 1)))
        elif line:
            extra.append(line)
    tables = {
        kind: [_read_table(block.header, block.rows, separator, problems) for block in blocks[kind]] for kind in blocks
    }
    routes = [route for table in tables[_ROUTING_TABLE] for route in _routes(table)]
    clients = [client for table in tables[_CLIENT_LIST] for client in _clients(table, routes)]
    return Status(
        title=title,
        time=time,
        time_local=time_local or None,
        clients=tuple(clients),
        routes=tuple(routes),
        global_stats=_pairs(stats, extra),
        problems=tuple(problems),
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


class _Table:
    """Rows of one header, kept by columns. A column is taken out as it is read; what is left is unknown to fleet."""

    def __init__(
        self, columns: dict[str, list[str]], rows: list[str], surplus: dict[int, dict[str, str]], problems: list[str]
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._surplus = surplus
        self._problems = problems

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, column: str) -> bool:
        return column in self._columns

    def texts(self, column: str) -> Sequence[str | None]:
        """A column of texts, with None for the empty one."""
        cells = self._columns.pop(column, None)
        if cells is None:
            return [None] * len(self)
        return cells if all(cells) else [cell or None for cell in cells]

    def names(self, column: str) -> Sequence[str | None]:
        """A column of names, with None for UNDEF and the empty text."""
        cells = self._columns.pop(column, None)
        if cells is None:
            return [None] * len(self)
        return [None if cell in _UNDEFINED else cell for cell in cells]

    def numbers(self, column: str) -> Sequence[int | None]:
        """A column of numbers, with None for the empty text; what else is no number is a problem, and None."""
        cells = self._columns.pop(column, None)
        if cells is None:
            return [None] * len(self)
        if all(cells) and _is_decimal(cells):
            try:
                return list(map(int, cells))
            except ValueError:
                pass  # one with thousands of digits: which one is told below
        return self._one_by_one(column, cells, parse_number, "number")

    def times(self, column: str) -> Sequence[datetime | None]:
        """A column of time_t, as UTC; with None as in `numbers`."""
        cells = self._columns.pop(column, None)
        if cells is None:
            return [None] * len(self)
        distinct = set(cells)
        if all(distinct) and _is_decimal(distinct):
            try:
                if len(distinct) * 2 > len(cells):
                    return list(map(datetime.fromtimestamp, map(int, cells), repeat(UTC)))
                # Many clients come back in one second after a restart, and most routes were used just now.
                moments = dict(zip(distinct, map(datetime.fromtimestamp, map(int, distinct), repeat(UTC)), strict=True))
                return list(map(moments.__getitem__, cells))
            except (ValueError, OverflowError, OSError):
                pass  # one is out of the calendar: which one is told below
        return self._one_by_one(column, cells, parse_time, "time")

    def extras(self) -> Iterable[Mapping[str, str]]:
        """What was not taken out, row by row."""
        if not self._columns and not self._surplus:
            return repeat(_NO_EXTRA, len(self))
        cells = zip(*self._columns.values(), strict=True) if self._columns else repeat((), len(self))
        return [
            dict(zip(self._columns, row, strict=True)) | self._surplus.get(number, {})
            for number, row in enumerate(cells)
        ]

    def _one_by_one(self, column: str, cells: list[str], parse: Callable[[str], T], what: str) -> list[T | None]:
        values: list[T | None] = []
        for cell, row in zip(cells, self._rows, strict=True):
            try:
                values.append(parse(cell) if cell else None)
            except ValueError:
                values.append(None)
                self._problems.append(f"{column} is not a {what} in the row: {row}")
        return values


def _is_decimal(cells: Iterable[str]) -> bool:
    """Digits only: int() would also take signs, blanks, underscores and the digits of other scripts."""
    text = "".join(cells)
    return text.isascii() and text.isdecimal()


def _clients(table: _Table, routes: Sequence[Route]) -> list[Client]:
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
            routed = {route.real_address for route in routes if route.common_name is None}
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
    return list(map(tuple.__new__, repeat(Client), columns))  # as Client._make, without a Python call for each row


def _routes(table: _Table) -> list[Route]:
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
    return list(map(tuple.__new__, repeat(Route), columns))  # as Route._make, without a Python call for each row


def _read_table(header: list[str], rows: list[str], separator: str, problems: list[str]) -> _Table:
    """Splits rows into columns; a row that does not fit the header is told to `problems` and left out."""
    if not header:
        problems.extend(f"a row before its header: {row}" for row in rows)
        return _Table({}, [], {}, problems)
    width = len(header)
    surplus: dict[int, dict[str, str]] = {}
    if set(map(str.count, rows, repeat(separator))) == {width - 1}:
        values = separator.join(rows).split(separator)
    else:
        rows, values, surplus = _fit_rows(header, rows, separator, problems)
    columns = {name: values[index::width] for index, name in enumerate(header)}
    columns.pop(_CLIENT_LIST, None)  # the row's kind, in formats 2 and 3
    columns.pop(_ROUTING_TABLE, None)
    return _Table(columns, rows, surplus, problems)


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
