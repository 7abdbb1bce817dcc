"""`fleet history`: the runs that are kept, what became of each server in one, and doing a part of one again."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any

import typer

from fleet.cli.options import Options, OutputFormat, between_names, with_options
from fleet.cli.output import check_table, say, show_table
from fleet.errors import EmptyTargetError, UsageError
from fleet.journal.lines import settings
from fleet.journal.places import state_folder
from fleet.journal.record import Run, RunState, ServerRecord, Standing, find_run, recent_runs
from fleet.operations.columns import SERVER, Column, Kind
from fleet.render.fold import fold_counted
from fleet.render.jsonout import SCHEMA, to_jsonable
from fleet.render.text import escape
from fleet.render.units import elapsed, rfc3339

_COUNTED = tuple(standing for standing in Standing if standing is not Standing.PENDING)
_AGAIN = (Standing.FAILED, Standing.UNREACHABLE, Standing.NOT_ATTEMPTED, Standing.UNCONFIRMED)

_RUNS = (
    Column("run", names=True),
    Column("started", Kind.AGE, header="AGO"),
    Column("user"),
    Column("servers", Kind.COUNT),
    *(Column(standing.value, Kind.COUNT) for standing in _COUNTED),
    Column("exit_status", header="EXIT", keep=True),
    Column("command_line", header="COMMAND", keep=True),
    Column("inventory", wide=True),
)

_SERVERS = (
    SERVER,
    Column("status", keep=True),
    Column("elapsed", Kind.SECONDS),
    Column("error", keep=True),
    Column("answer"),
    Column("sent", wide=True),
)

RunName = Annotated[str, typer.Argument(metavar="RUN|last", help="The run's ID, or last for the newest.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    family = typer.Typer(no_args_is_help=True)
    family.callback(help="Show earlier runs, and do a part of one again.")(between_names())
    family.command("list")(with_options(_list))
    family.command("show")(with_options(_show))
    family.command("rerun")(with_options(_rerun, changes=True))
    app.add_typer(family, name="history")


def _list(
    *,
    count: Annotated[int, typer.Option("-n", "--runs", metavar="N", min=1, help="So many of them.")] = 20,
    changes: Annotated[bool, typer.Option("--changes", help="Only those that changed something.")] = False,
    options: Options,
) -> int:
    """List the runs of the past, the newest first.

    The newest 500 runs that changed something are kept, and 200 that only asked. A run is one of this user on this
    machine.
    """
    kept = (run for run in recent_runs(state_folder(os.environ)) if run.changes or not changes)
    runs = [*islice(kept, count)]
    show_table(
        _RUNS,
        lambda: map(_run_row, runs),
        options,
        lambda: {"fleet_schema": SCHEMA, "runs": [_head(run) for run in runs]},
        items="runs",
        nothing="no run is kept yet",
    )
    return 0


def _show(*, name: RunName, options: Options) -> int:
    """Show what became of each server in a run.

    The last run is the newest one that asked servers; fleet history itself is none. A server is unconfirmed where a
    change was sent to it and no answer was read: it may have been done.
    """
    check_table(_SERVERS, options)
    run = find_run(state_folder(os.environ), name)
    if options.output in (OutputFormat.TABLE, OutputFormat.WIDE) and not options.quiet:
        say(escape(_words(run)))
    show_table(
        _SERVERS,
        lambda: map(_server_row, run.servers),
        options,
        lambda: {"fleet_schema": SCHEMA, **_told(run)},
        items="servers",
    )
    return 0


def _standings(text: str | None) -> tuple[Standing, ...]:
    if text is None:
        return ()
    known = {standing.value.replace("_", "-"): standing for standing in _AGAIN}
    words = [word.strip().replace("_", "-") for word in text.split(",")]
    unknown = [word for word in words if word not in known]
    if unknown:
        raise typer.BadParameter(f"'{unknown[0]}' is not one of {', '.join(known)}")
    return tuple(known[word] for word in words)


def _rerun(
    *,
    name: RunName,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="WHO", help="failed, unreachable, not-attempted, unconfirmed; commas between."),
    ] = None,
    options: Options,
) -> int:
    """Run the command line of an earlier run again, for its servers or a part of them.

    It runs in the same working folder, with the same FLEET_* variables, and asks as the command asks. Options given
    here are for what the command line of that run leaves open. Each server of a run is in one place only: one whose
    change was sent and not answered is unconfirmed, and neither failed nor unreachable. One of whose changes some were
    done has failed, also where it could not be asked for the others: these are done again too, and named before.
    """
    standings = _standings(only)
    if {"limit", "every", "exclude"} & _given(options):
        raise UsageError("a rerun is for the servers of that run", hint="leave -l, -x and --all out; --only cuts down")
    run = find_run(state_folder(os.environ), name)
    names = _again(run, standings, options)
    if not names:
        return 0
    if not options.quiet:
        say(escape(f"again for {fold_counted(names)}: {run.command_line}"))
        _tell_done(run, names)
    base = _without_environment(options)
    _go_back(run, readonly=options.readonly)
    from fleet.cli import main  # noqa: PLC0415 - main builds the application, of which this is a part

    return main.run(run.argv, replace(base, only=frozenset(names)))


def _tell_done(run: Run, names: Collection[str]) -> None:
    """Names the changes that are done again where they were done before, by servers that have the same."""
    done: dict[str, list[str]] = {}
    for server in run.servers:
        if server.name in names and server.confirmed:
            done.setdefault("; ".join(server.confirmed), []).append(server.name)
    for text, whose in done.items():
        say(escape(f"{fold_counted(whose)}: done before, and done again: {text}"))


def _again(run: Run, standings: Collection[Standing], options: Options) -> tuple[str, ...]:
    """The names of those for whom the run is to be done again.

    Raises:
        UsageError: it cannot be done again.
        EmptyTargetError: there is nobody.
    """
    if run.state is RunState.RUNNING:
        raise UsageError(f"run {run.run} still goes on (pid {run.pid})", hint="wait for its end")
    if not run.argv:
        raise UsageError(
            f"the command line of run {run.run} was not kept, since a secret may be in it", hint="type it again"
        )
    chosen = run.named(standings or tuple(Standing))
    names = tuple(server.name for server in run.servers if server.name in chosen)
    if not names and not options.allow_empty:
        wanted = " or ".join(standing.value.replace("_", " ") for standing in standings)
        raise EmptyTargetError(
            f"no server of run {run.run} is {wanted}" if wanted else f"run {run.run} had no server",
            hint=f"fleet history show {run.run} shows them",
        )
    return names


def _given(options: Options) -> frozenset[str]:
    """The names of the options that the command line gives, as far as they are not what they are anyway."""
    plain = Options()
    named = {name for name in ("limit", "every", "exclude") if getattr(options, name) != getattr(plain, name)}
    return frozenset(named - options.from_environment)


def _without_environment(options: Options) -> Options:
    """The options of the command line alone: those of the environment were that run's own."""
    plain = Options()
    names = {"output" if name == "json" else name for name in options.from_environment}
    return replace(options, **{name: getattr(plain, name) for name in names}, from_environment=frozenset())


def _go_back(run: Run, *, readonly: bool) -> None:
    """Takes the process to where the run was: its working folder and its settings. Read-only stays read-only.

    Raises:
        UsageError: the working folder is gone.
    """
    if run.cwd is not None:
        try:
            os.chdir(run.cwd)
        except OSError as error:
            raise UsageError(
                f"run {run.run} was in {run.cwd}, and nobody can go there: {error.strerror}",
                hint="its command line may name files there; type it again elsewhere",
            ) from error
    for name in settings(os.environ):
        del os.environ[name]
    os.environ.update(run.environment)
    if readonly:
        os.environ["FLEET_READONLY"] = "1"


def _run_row(run: Run) -> tuple[object, ...]:
    return (
        run.run,
        run.started,
        run.user,
        len(run.servers),
        *(run.counts[standing] for standing in _COUNTED),
        run.exit_status if run.state is RunState.ENDED else run.state,
        run.command_line,
        run.inventory,
    )


def _server_row(server: ServerRecord) -> tuple[object, ...]:
    return (
        server.name,
        server.standing.replace("_", " "),
        server.elapsed,
        _error_words(server) or None,
        server.answer.split("\n", 1)[0] or None,
        "; ".join(server.sent) or None,
    )


def _error_words(server: ServerRecord) -> str:
    parts = []
    if server.error is not None:
        parts.append(f"{server.error['code']}: {server.error['message']}")
    if server.unconfirmed is not None:
        parts.append(f"sent and not confirmed: {server.unconfirmed}")
    if server.confirmed:
        parts.append(f"done before that: {'; '.join(server.confirmed)}")
    return "; ".join(parts)


def _words(run: Run) -> str:
    """`run 20261122-091355-7f3a: fleet verb 4 --all, by ops at 2026-11-22T09:13:55Z, exit status 4 after 10.1 s`."""
    began = f"run {run.run}: {run.command_line}, by {run.user} at {rfc3339(run.started.replace(microsecond=0))}"
    if run.state is RunState.RUNNING:
        return f"{began}, goes on as pid {run.pid}"
    if run.exit_status is None or run.elapsed is None:
        return f"{began}, was killed"
    interrupted = "interrupted, " if run.interrupted else ""
    return f"{began}, {interrupted}exit status {run.exit_status} after {elapsed(run.elapsed)}"


def _head(run: Run) -> dict[str, Any]:
    """A run without its servers, for JSON."""
    return {
        "run": run.run,
        "state": run.state.value,
        "command": run.command,
        "args": list(run.args),
        "command_line": run.command_line,
        "user": run.user,
        "pid": run.pid,
        "started": rfc3339(run.started),
        "elapsed": run.elapsed,
        "exit_status": run.exit_status,
        "interrupted": run.interrupted,
        "changes": run.changes,
        "inventory": run.inventory,
        "summary": _summary(run),
    }


def _summary(run: Run) -> Mapping[str, int]:
    return {"servers": len(run.servers)} | {standing.value: run.counts[standing] for standing in Standing}


def _told(run: Run) -> dict[str, Any]:
    more = {"argv": list(run.argv), "cwd": run.cwd, "environment": dict(run.environment)}
    return {**_head(run), **more, "servers": to_jsonable(run.servers)}
