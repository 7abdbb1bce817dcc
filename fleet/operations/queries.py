"""The table of read-only management commands.

An entry is all that a command needs: the CLI's command, its help, table, JSON and docs follow from it
(docs/adding-a-command.md). Commands that want an argument, or put several replies together, have a module.
"""

from __future__ import annotations

from typing import Any

from fleet.management import commands
from fleet.management.replies import LogLine, State
from fleet.operations.columns import Column, Kind
from fleet.operations.operation import Query

STATE_COLUMNS = (
    Column("name", Kind.TEXT, header="STATE", keep=True),
    Column("time", Kind.AGE, header="SINCE"),
    Column("description", Kind.TEXT),
    Column("local_address", Kind.TEXT),
    Column("remote_address", Kind.TEXT, wide=True),
    Column("local_port", Kind.COUNT, wide=True),
    Column("local_ipv6_address", Kind.TEXT, wide=True),
)


def _state_row(state: State) -> tuple[object, ...]:
    return tuple(getattr(state, column.name) for column in STATE_COLUMNS)


QUERIES: tuple[Query[Any], ...] = (
    Query(
        "state",
        "Show the state of each daemon, and since when.",
        commands.state(),
        STATE_COLUMNS,
        lambda state: [_state_row(state)],
    ),
    Query(
        "version",
        "Show the OpenVPN release of each daemon.",
        commands.version(),
        (
            Column("openvpn", Kind.TEXT, keep=True),
            Column("management", Kind.COUNT),
            Column("title", Kind.TEXT, wide=True),
        ),
        lambda version: [(version.openvpn, version.management, version.title)],
    ),
    Query(
        "pid",
        "Show the process id of each daemon.",
        commands.pid(),
        (Column("pid", Kind.COUNT),),
        lambda pid: [(pid,)],
        key="pid",
    ),
    Query(
        "load-stats",
        "Show how many clients and bytes each daemon has.",
        commands.load_stats(),
        (
            Column("nclients", Kind.COUNT, header="CLIENTS"),
            Column("bytes_in", Kind.SIZE, header="IN"),
            Column("bytes_out", Kind.SIZE, header="OUT"),
        ),
        lambda stats: [(stats.nclients, stats.bytes_in, stats.bytes_out)],
    ),
)

_LOG_COLUMNS = (
    Column("time", Kind.TIME, keep=True),
    Column("flags", Kind.TEXT, keep=True),
    Column("text", Kind.TEXT, keep=True),
)


def log(count: str) -> Query[tuple[LogLine, ...]]:
    """The last lines of each daemon's log cache (management notes, COMMAND -- log).

    Args:
        count: how many lines, or `all` that the daemon keeps.

    Raises:
        UsageError: the count is neither a number from 1 on nor `all`.
    """
    return Query(
        "log",
        "Show the last lines of each daemon's log.",
        commands.log(count),
        _LOG_COLUMNS,
        lambda lines: [(line.time, line.flags or None, line.text) for line in lines],
        key="lines",
    )
