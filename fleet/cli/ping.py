"""`fleet ping`: which step of the way to a daemon fails, and how long each takes."""

from __future__ import annotations

from dataclasses import replace

import typer

from fleet.cli.asking import Asked, Interrupts
from fleet.cli.choosing import Target
from fleet.cli.options import Options, Patterns, with_options
from fleet.cli.run import Ending, run
from fleet.operations.ping import PING, Ping, settled


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("ping")(with_options(_ping))


def _ping(*, patterns: Patterns = None, options: Options) -> int:
    """Show how far the way to each daemon goes, and how long each step takes.

    The steps are: the host's name (dns), its SSH port (tcp), SSH's key exchange and host key (ssh), the login (auth),
    the channel to the management endpoint (channel) and the daemon's greeting. Servers of one host share a connection,
    and have the same times up to the channel. RESULT is the daemon's state, or the first thing that fails.
    """
    return run(PING, options, Target(args=tuple(patterns or ())), Ending(settle=_settle))


def _settle(asked: Asked[Ping], _options: Options, _interrupts: Interrupts) -> Asked[Ping]:
    return replace(asked, outcomes=[settled(outcome) for outcome in asked.outcomes])
