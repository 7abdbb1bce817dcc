"""The commands that read: the table of queries, and status, clients, routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from fleet.cli.choosing import Target
from fleet.cli.options import Options, OutputFormat, Patterns, with_options
from fleet.cli.run import run
from fleet.errors import UsageError
from fleet.operations import queries, status
from fleet.operations.operation import Operation, Query


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("status")(with_options(_status))
    app.command("clients")(with_options(_of(status.CLIENTS, "Show who is connected: one row per client.")))
    app.command("routes")(with_options(_of(status.ROUTES, "Show which client has which address or subnet.")))
    for query in queries.QUERIES:
        app.command(query.name)(with_options(_state if query.name == "state" else _of_query(query)))


def _of(operation: Operation[Any], text: str) -> Callable[..., int]:
    def command(*, patterns: Patterns = None, options: Options) -> int:
        return run(operation, options, Target(args=tuple(patterns or ())))

    command.__doc__ = text
    return command


def _of_query(query: Query[Any]) -> Callable[..., int]:
    return _of(query.operation(), query.help)


def _state(
    *,
    patterns: Patterns = None,
    live: Annotated[bool, typer.Option("--follow", help="Go on with every change, until Ctrl-C.")] = False,
    options: Options,
) -> int:
    """Show the state of each daemon, and since when."""
    if live:
        from fleet.cli.follow import follow_state  # noqa: PLC0415 - who asks once has no use for what follows

        return follow_state(patterns, options)
    query = next(query for query in queries.QUERIES if query.name == "state")
    return run(query.operation(), options, Target(args=tuple(patterns or ())))


def _status(
    *,
    patterns: Patterns = None,
    format_version: Annotated[
        int | None, typer.Option("--format-version", help="Status format 1, 2 or 3, with -o raw.", metavar="N")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="Read a saved status (- is stdin) and ask nobody.", metavar="PATH")
    ] = None,
    options: Options,
) -> int:
    """Show state, clients and traffic of each server.

    With --file, a status file or a saved reply to `status`, of any format and release, is read into the same table
    and JSON, and nobody is asked.
    """
    if file is not None:
        if patterns or {name for name in ("limit", "every") if getattr(options, name)} - options.from_environment:
            raise UsageError("--file reads one saved status and asks no server", hint="leave the servers out")
        if format_version is not None:
            raise UsageError("--file takes a status of any format", hint="leave --format-version out")
        from fleet.cli.saved import show_saved  # noqa: PLC0415 - who asks servers has no use for it

        return show_saved(file, options)
    if format_version is not None and options.output is not OutputFormat.RAW:
        raise UsageError("--format-version is for the daemon's own text", hint="add -o raw")
    if options.output is OutputFormat.RAW:
        raw = status.raw_status(status.STATUS_FORMAT if format_version is None else format_version)
        return run(raw, options, Target(args=tuple(patterns or ())))
    return run(status.STATUS, options, Target(args=tuple(patterns or ())))
