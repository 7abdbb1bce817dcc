"""`fleet demo`: the main job on an embedded fleet."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet.cli.options import Options, with_options
from fleet.cli.output import write
from fleet.cli.watch import refuse_watch_of_none


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("demo")(with_options(_demo))


def _demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, to play with, until Ctrl-C.")] = False,
    options: Options,
) -> int:
    """Run the main job on an embedded fleet.

    Six simulated servers and a bastion, behind real SSH on loopback; nothing of yours is read or written.
    """
    refuse_watch_of_none(options)
    from fleet.transport.library import load_asyncssh  # noqa: PLC0415 - late, as what follows

    load_asyncssh()
    from fleet.demo.demo import run_demo  # noqa: PLC0415 - late: it brings asyncssh

    return run_demo(keep=keep, write=write)
