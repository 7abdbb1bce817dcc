"""`fleet collect` and `fleet usage`: what daemons count, kept over time, and told by client, server and time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.choosing import Target, choose, load_inventory
from fleet.cli.options import Options, duration, with_options
from fleet.cli.output import say
from fleet.cli.watch import refuse_watch_of_none
from fleet.errors import UsageError
from fleet.journal.places import state_folder

if TYPE_CHECKING:
    from fleet.usage.report import UsageReport, Wanted

_MISSED_TOLD = 5  # servers

Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to ask; all without any.")]
Path_ = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="PATH",
        envvar="FLEET_DB",
        help="The database [usage.sqlite in the state folder].",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("collect")(with_options(_collect))
    app.command("usage")(with_options(_usage))


def _span(text: str) -> str:
    """The callback of --keep."""
    from fleet.usage.periods import parse_span  # noqa: PLC0415 - --help needs no database

    try:
        parse_span(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


def _collect(
    *,
    patterns: Patterns = None,
    db: Path_ = None,
    interval: Annotated[
        str | None,
        typer.Option("--every", metavar="DURATION", callback=duration, help="Go on until Ctrl-C, once in that time."),
    ] = None,
    keep: Annotated[
        str, typer.Option("--keep", metavar="TIME", callback=_span, help="Forget what is older: 400d, 52w or 48h.")
    ] = "400d",
    options: Options,
) -> int:
    """Record sessions and byte counts in a database.

    Each run adds what the daemons have counted since the run before, so cron may run it, or --every keeps it going
    over connections that stay open. A session is counted once, also where its client reconnects, its daemon restarts
    or several runs ask at a time; fleet usage tells. Nothing changes on the servers.
    """
    from fleet.cli.collecting import Collecting  # noqa: PLC0415 - --help needs no transport
    from fleet.usage.periods import parse_span  # noqa: PLC0415 - --help needs no database

    seconds: Any = interval  # its callback has made a number of it
    collecting = Collecting(_path(db), parse_span(keep), options, Target(args=tuple(patterns or ())))
    return collecting.once() if seconds is None else collecting.every(float(seconds))


def _usage(
    *,
    who: Annotated[
        str | None, typer.Argument(metavar="WHO", help="A common name or username, also as a glob; all without any.")
    ] = None,
    db: Path_ = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="From then on: 30d, 12h, today, 2026-11, 2026-11-01.")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Up to then, which does not belong to it [now].")
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="client|server|day|hour|month", help="A row for each of them.")
    ] = "client",
    options: Options,
) -> int:
    """Report sessions and traffic from the database of fleet collect.

    Nobody is asked. IN is what the servers received. Days begin at midnight UTC. What the daemons counted and no
    session is known to have transferred is unattributed. -l and -x choose servers by the inventory; without them
    those that are no longer in it count too.
    """
    refuse_watch_of_none(options)
    from fleet.usage.database import open_existing  # noqa: PLC0415 - --help needs no database
    from fleet.usage.periods import parse_range  # noqa: PLC0415 - as before
    from fleet.usage.report import By, Wanted, make_report  # noqa: PLC0415 - as before

    if by not in set(By):
        raise typer.BadParameter(f"'{by}' is not one of {', '.join(By)}", param_hint="--by")
    now = datetime.now(UTC)
    wanted = Wanted(parse_range(since, until, now), By(by), who, _servers(options))
    path = _path(db)
    with open_existing(path, busy_timeout=options.lock_timeout) as database:
        report = make_report(database, wanted)
    from fleet.cli.usage_table import show  # noqa: PLC0415 - a report was made

    show(report, wanted, path, options)
    if not options.quiet:
        say("\n".join(_notes(report, wanted)))
    return 0


def _path(given: str | None) -> Path:
    if given == "":
        raise UsageError("--db names no file", hint="--db PATH")
    return state_folder(os.environ) / "usage.sqlite" if given is None else Path(given).expanduser()


def _servers(options: Options) -> frozenset[str] | None:
    """The names of the servers that are meant, where some are."""
    if not (options.limit or options.exclude or options.every):
        return None
    return frozenset(server.name for server in choose(load_inventory(options), options, Target()))


def _notes(report: UsageReport, wanted: Wanted) -> Iterator[str]:
    """What has to be known to read the numbers right."""
    from fleet.render.fold import fold_counted  # noqa: PLC0415 - a report was made
    from fleet.render.text import escape  # noqa: PLC0415 - as before
    from fleet.render.units import rfc3339  # noqa: PLC0415 - as before

    start, end = (datetime.fromtimestamp(time, UTC) for time in (wanted.range.start, wanted.range.end))
    told = f"{rfc3339(start)} to {rfc3339(end)}"
    if not report.rows:
        yield f"nobody matches '{escape(wanted.who)}' in {told}" if wanted.who else f"nothing is recorded of {told}"
        return
    yield told
    if report.first:
        yield (
            f"recorded since {rfc3339(min(report.first.values()))}: {fold_counted(report.first)}; what the sessions of "
            "that moment had counted before is in its hour"
        )
    missed = sum(report.missed.values())
    if missed:
        most = sorted(report.missed.items(), key=lambda item: (-item[1], item[0]))
        where = ", ".join(f"{escape(name)} ({count})" for name, count in most[:_MISSED_TOLD])
        more = f" and {len(most) - _MISSED_TOLD} more" if len(most) > _MISSED_TOLD else ""
        yield f"{missed} of {report.samples + missed} samples are missing: {where}{more}"
