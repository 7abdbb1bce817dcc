"""The commands that follow: events, bytecount, state --follow, log --follow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from fleet.cli.choosing import Target
from fleet.cli.options import Options, Patterns, duration, with_options
from fleet.cli.run import run
from fleet.cli.stream import Following, follow
from fleet.errors import UsageError
from fleet.operations import queries
from fleet.operations.feeds import BYTECOUNT_INTERVAL, BYTECOUNT_MAX, EventFeed, StateFeed
from fleet.operations.log_follow import LogFeed, LogFilter, check_verb, parse_levels
from fleet.operations.messages import SOURCES
from fleet.operations.operation import Operation
from fleet.operations.settings import change_verb

DEFAULT_LINES = "20"
"""Log lines of each server where nobody says how many."""


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("log")(with_options(_log, changes=True))
    app.command("events")(with_options(_events))
    app.command("bytecount")(with_options(_bytecount))


def _events(
    *,
    patterns: Patterns = None,
    types: Annotated[
        str | None,
        typer.Option(
            "--type", help="Only these, for example STATE,CLIENT; else all but LOG and BYTECOUNT.", metavar="TYPE,..."
        ),
    ] = None,
    options: Options,
) -> int:
    """Show the daemons' real-time messages as they come, until Ctrl-C.

    Of every server, merged, one line a message. A client that connects is one CLIENT event; that it leaves is told
    only by daemons with management-client-auth. LOG and BYTECOUNT come where --type names them.
    """
    wanted = _types(types)
    return follow(Following("events", partial(EventFeed, wanted), types=True), options, _target(patterns))


def _types(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    wanted = tuple(part.strip().upper() for part in text.split(","))
    if unknown := sorted(set(wanted) - set(SOURCES)):
        raise UsageError(f"'{unknown[0]}' is not a type of real-time messages", hint=f"types are {', '.join(SOURCES)}")
    if "BYTECOUNT" in wanted:
        wanted += ("BYTECOUNT_CLI",)  # the same of a server, client by client
    if "RSA_SIGN" in wanted:
        wanted += ("PK_SIGN",)  # the same question under its later name
    return wanted


def _bytecount(
    *,
    patterns: Patterns = None,
    seconds: Annotated[
        int | None,
        typer.Option("--follow", help="Count every N seconds.", metavar="N", min=1, max=BYTECOUNT_MAX),
    ] = None,
    options: Options,
) -> int:
    """Show how many bytes each client has moved, again every N seconds, until Ctrl-C.

    Counts are since the client connected. Daemons up to OpenVPN 2.6 count a client only after it moved something.
    """
    if seconds is None:
        raise UsageError(
            "bytecount counts for as long as it is followed: say how often",
            hint=f"fleet bytecount --follow {BYTECOUNT_INTERVAL}; for one look: fleet clients, or fleet load-stats",
        )
    feed = partial(EventFeed, ("BYTECOUNT", "BYTECOUNT_CLI"), interval=seconds, gaps=False)
    return follow(Following("bytecount", feed), options, _target(patterns))


def follow_state(patterns: Sequence[str] | None, options: Options) -> int:
    """`fleet state --follow`."""
    return follow(Following("state", StateFeed), options, _target(patterns))


def _log(
    *,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="N|all", help="How many lines [20]; with --follow also PATTERN.")
    ] = None,
    live: Annotated[
        bool | None,
        typer.Option("--follow/--no-follow", help="Go on with new lines until Ctrl-C, or print what there is, merged."),
    ] = None,
    tail: Annotated[
        str | None, typer.Option("--tail", help="Begin with so many lines of each server [20].", metavar="N|all")
    ] = None,
    since: Annotated[
        Any,
        typer.Option("--since", help="Begin with lines not older than this.", metavar="DURATION", callback=duration),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("-e", "--include", help="Only lines with this (repeatable).", metavar="RE")
    ] = None,
    exclude_line: Annotated[
        list[str] | None, typer.Option("-E", "--exclude-line", help="No lines with this (repeatable).", metavar="RE")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            "--level", help="Only lines of these: I, N, W, F, D; - is lines without any.", metavar="I,N,W,F,D"
        ),
    ] = None,
    verb: Annotated[
        int | None, typer.Option("--verb", help="Raise the log level to N (up to 7) while following.", metavar="N")
    ] = None,
    release_every: Annotated[
        Any,
        typer.Option(
            "--release-every", help="Let other management clients in so often.", metavar="DURATION", callback=duration
        ),
    ] = None,
    options: Options,
) -> int:
    """Show the last lines of each daemon's log; with --follow, go on with new ones.

    With an option that chooses lines, those of all servers are merged by their time; with --follow, as they come.
    After a lost connection the daemon's own history is searched for the place to go on: no line comes twice or is
    lost where the daemon still has it, and a mark stands where lines may be missing.

    Following holds the one management session of each daemon: others wait until it ends, or is released by
    --release-every. --verb is a change: it wants --limit or --all, and for several servers a yes. Every server's old
    log level is put back at the end.
    """
    chosen = any(value is not None for value in (tail, since, level)) or bool(include) or bool(exclude_line)
    if not live and (verb is not None or release_every is not None):
        raise UsageError("--verb and --release-every are for following", hint="add --follow")
    if live is None and not chosen:
        return _last_lines(words or [], options)
    count, patterns = _count_and_patterns(words or [], tail, DEFAULT_LINES if since is None else "all")
    lines = LogFilter(
        _patterns(include or (), "-e"),
        _patterns(exclude_line or (), "-E"),
        None if level is None else parse_levels(level),
        None if since is None else datetime.now(UTC) - timedelta(seconds=since),
        None if count == "all" else int(count),
    )
    following = Following(
        "log",
        partial(LogFeed, lines, verb=verb, live=bool(live)),
        live=bool(live),
        change=None if verb is None else _raising(verb),
        release_interval=release_every,
    )
    options = replace(options, limit=(*options.limit, *patterns))
    return follow(following, options, Target(args=tuple(words or ()), explicit=verb is not None))


def _last_lines(words: Sequence[str], options: Options) -> int:
    if len(words) > 1:
        raise UsageError("log takes one number of lines", hint="for servers: fleet log 20 -l PATTERN")
    count = words[0] if words else DEFAULT_LINES
    return run(queries.log(count).operation(), options, Target(args=(count,)))


def _raising(verb: int) -> Operation[Any]:
    """What `--verb` changes, to be shown and asked for.

    Raises:
        UsageError: it is no level at which a log can be followed.
    """
    check_verb(verb)
    effect = "raises the log level of {servers} with {clients} while it follows"
    return replace(change_verb(str(verb)), name="log", effect=effect)


def _count_and_patterns(words: Sequence[str], tail: str | None, default: str) -> tuple[str, list[str]]:
    """How many lines to begin with, and servers: of the words, numbers and `all` are the one, others the other.

    Raises:
        UsageError: there are two numbers, or one that is none.
    """
    counts = [word for word in words if _is_count(word)]
    if tail is not None:
        counts.append(tail)
    if len(counts) > 1:
        raise UsageError("two numbers of lines", hint="say it once, with --tail N")
    if counts and not _is_count(counts[0]):
        raise UsageError(f"'{counts[0]}' is not a number of lines", hint="--tail takes a whole number, or all")
    return (counts or [default])[0], [word for word in words if not _is_count(word)]


def _is_count(word: str) -> bool:
    return word == "all" or re.fullmatch("[0-9]{1,9}", word) is not None


def _patterns(texts: Sequence[str], option: str) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple(map(re.compile, texts))
    except re.error as error:
        raise UsageError(
            f"{option} is not a regular expression: {error}", hint="write special characters with a \\"
        ) from error


def _target(patterns: Sequence[str] | None) -> Target:
    return Target(args=tuple(patterns or ()))
