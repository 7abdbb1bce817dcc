"""A usage report in every shape."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet.cli.options import Options, OutputFormat
from fleet.cli.output import show_table
from fleet.operations.columns import SERVER, Column, Instead, Kind
from fleet.operations.operation import Row
from fleet.render.fold import fold_names
from fleet.render.jsonout import SCHEMA
from fleet.render.sparkline import bar, sparkline, takes_blocks
from fleet.render.units import rfc3339
from fleet.usage.report import By, UsageReport, UsageRow, Wanted

UNATTRIBUTED = Instead("(unattributed)")
"""What people see in place of a client's name."""

_PERIODS = {By.DAY: "%Y-%m-%d", By.HOUR: "%Y-%m-%d %H:00", By.MONTH: "%Y-%m"}

_COUNTED = (
    Column("sessions", Kind.COUNT),
    Column("connected", Kind.SECONDS),
    Column("bytes_received", Kind.SIZE, header="IN"),
    Column("bytes_sent", Kind.SIZE, header="OUT"),
    Column("bytes_total", Kind.SIZE, header="TOTAL", keep=True),
)
_WHOLE = (
    Column("bytes_unattributed", Kind.SIZE, header="UNATTRIBUTED"),
    Column("samples", Kind.COUNT, wide=True),
    Column("missed", Kind.COUNT, wide=True),
)
_FIRST = Column("first_sample", wide=True)
_TREND = Column("trend")
_CLIENTS = Column("clients", Kind.COUNT)


def show(report: UsageReport, wanted: Wanted, path: Path, options: Options) -> None:
    """Writes a report to stdout.

    Raises:
        UsageError: the options ask for something that there is not.
    """
    drawn = options.output in (OutputFormat.TABLE, OutputFormat.WIDE)
    columns = _columns(wanted, drawn=drawn)
    total = _total(report, wanted, columns) if len(report.rows) > 1 else None
    show_table(
        columns,
        lambda: _rows(report, wanted, drawn=drawn),
        options,
        lambda: _document(report, wanted, path),
        items="rows",
        total=total,
    )


def _columns(wanted: Wanted, *, drawn: bool) -> tuple[Column, ...]:
    """The columns of a report; those for people are the only ones with a trend."""
    trend = (_TREND,) if drawn else ()
    if wanted.by is By.CLIENT:
        return (Column("client", names=True, keep=True), Column("servers"), *_COUNTED, _FIRST, *trend)
    whole = _WHOLE if wanted.who is None else ()
    if wanted.by is By.SERVER:
        return (SERVER, _CLIENTS, *_COUNTED, *whole, _FIRST, *trend)
    period = Column(wanted.by.value, header=f"{wanted.by.value.upper()} (UTC)", names=True, keep=True)
    return (period, _CLIENTS, *_COUNTED, *whole, _FIRST, *trend)


def _rows(report: UsageReport, wanted: Wanted, *, drawn: bool) -> Iterator[Row]:
    blocks = takes_blocks(sys.stdout.encoding)
    largest = max((row.bytes_total for row in report.rows), default=0)
    for row in report.rows:
        if not drawn:
            yield _cells(row, wanted)
        elif wanted.by in _PERIODS:
            yield (*_cells(row, wanted), bar(row.bytes_total, largest, blocks=blocks))
        else:
            yield (*_cells(row, wanted), sparkline(row.trend, blocks=blocks))


def _cells(row: UsageRow, wanted: Wanted) -> tuple[object, ...]:
    """The cells of a row, without the trend."""
    connected = row.connected if row.sessions else None
    sessions = None if row.unattributed else row.sessions
    counted = (sessions, connected, row.bytes_received, row.bytes_sent, row.bytes_total)
    if wanted.by is By.CLIENT:
        return (UNATTRIBUTED if row.unattributed else row.key, fold_names(row.servers), *counted, row.first_sample)
    whole = (row.bytes_unattributed, row.samples, row.missed) if wanted.who is None else ()
    return (_name(row, wanted), row.clients, *counted, *whole, row.first_sample)


def _name(row: UsageRow, wanted: Wanted) -> object:
    return row.key.strftime(_PERIODS[wanted.by]) if isinstance(row.key, datetime) else row.key


def _total(report: UsageReport, wanted: Wanted, columns: tuple[Column, ...]) -> Row:
    """The last row of the table; sessions are not added up over periods, as one may be in several."""
    rows = report.rows
    count = sum(not row.unattributed for row in rows)
    sums: dict[str, object] = {
        column.name: sum(getattr(row, column.name) or 0 for row in rows)
        for column in (*_COUNTED, *_WHOLE)
        if column.name != "sessions" or wanted.by not in _PERIODS
    }
    heading = f"{count} {wanted.by.value}{'' if count == 1 else 's'}"
    return (heading, *(sums.get(column.name) for column in columns[1:]))


def _document(report: UsageReport, wanted: Wanted, path: Path) -> dict[str, Any]:
    """The report as JSON shows it."""
    start, end = (rfc3339(datetime.fromtimestamp(time, UTC)) for time in (wanted.range.start, wanted.range.end))
    return {
        "fleet_schema": SCHEMA,
        "command": "usage",
        "db": str(path),
        "since": start,
        "until": end,
        "by": wanted.by.value,
        "who": wanted.who,
        "samples": report.samples,
        "missed": dict(report.missed),
        "rows": [_object(row, wanted) for row in report.rows],
    }


def _object(row: UsageRow, wanted: Wanted) -> dict[str, Any]:
    counted = {column.name: getattr(row, column.name) for column in (*_COUNTED, _FIRST)}
    if wanted.by is By.CLIENT:
        return {"client": row.key, "unattributed": row.unattributed, "servers": list(row.servers), **counted}
    whole = {column.name: getattr(row, column.name) for column in _WHOLE}
    return {wanted.by.value: _name(row, wanted), "clients": row.clients, **counted, **whole}
