"""`fleet exec`: any management commands by their own spelling."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from fleet.cli.choosing import Target
from fleet.cli.options import Options, with_options
from fleet.cli.run import run
from fleet.management.commands import ReplyKind
from fleet.operations.execute import execute, for_one_server, prepare, shown_arguments


class ReplyOption(StrEnum):
    """What ends the reply to a command that fleet does not know."""

    LINE = "line"
    BLOCK = "block"
    NONE = "none"


_KINDS = {ReplyOption.LINE: ReplyKind.LINE, ReplyOption.BLOCK: ReplyKind.BLOCK, ReplyOption.NONE: ReplyKind.NONE}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("exec")(with_options(_exec, shown=shown_arguments, changes=True))


def _exec(
    *,
    commands: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="Management commands with their arguments, each quoted.")
    ],
    reply: Annotated[
        ReplyOption | None,
        typer.Option(
            "--reply",
            help="What ends the reply to a command that fleet does not know: one SUCCESS or ERROR line, lines up to "
            "END, or nothing.",
        ),
    ] = None,
    options: Options,
) -> int:
    r"""Send management commands by their own spelling.

    For example: fleet exec 'status 3' 'verb' -l eu. All of them go over one session of each server, one behind the
    reply to the other; the first that fails is the last that is sent to that server. Equal answers are shown once,
    with the servers that gave them; JSON has the values where fleet knows what a reply means.

    Lines that a command takes up to END follow it in the same argument, on lines of their own:
    fleet exec $'client-auth 3 1\npush "route 10.8.0.0 255.255.0.0"\nEND' -l edge-1

    Commands that change something want --limit or --all, and are refused under --readonly; a command that fleet does
    not know counts as one. Commands that name a client by its ID go to one server. What would end a daemon that
    waits, or hit another client than it names, is refused on that server, unless --force is given.
    """
    prepared = prepare(commands, None if reply is None else _KINDS[reply])
    operation = execute(prepared, force=options.force)
    target = Target(args=tuple(commands), explicit=operation.changes, single=for_one_server(prepared))
    if operation.changes:
        from fleet.cli.rolling import change  # noqa: PLC0415 - batches and gates, for what changes something

        return change(operation, options, target)
    return run(operation, options, target)
