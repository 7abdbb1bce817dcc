"""`fleet signal`: at once everywhere, or rolling through the fleet."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleet.cli.choosing import Target
from fleet.cli.options import Options, duration, with_options
from fleet.cli.rolling import roll_signal
from fleet.cli.run import run
from fleet.operations.gate import WAIT_TIMEOUT
from fleet.operations.signals import throw


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("signal")(with_options(_signal, changes=True))


def _signal(
    *,
    name: Annotated[str, typer.Argument(metavar="SIGNAL", help="SIGHUP, SIGTERM, SIGUSR1 or SIGUSR2.")],
    wait: Annotated[
        str | None,
        typer.Option(
            "--wait",
            metavar="WHAT",
            help="Wait behind each batch: connected; connected,clients=80%; or none [connected, in batches].",
        ),
    ] = None,
    wait_timeout: Annotated[
        Any,
        typer.Option(
            "--wait-timeout",
            metavar="DURATION",
            callback=duration,
            help=f"For a daemon to be CONNECTED, and then for the clients of its batch to be back [{WAIT_TIMEOUT:g}s].",
        ),
    ] = None,
    no_capacity_guard: Annotated[
        bool,
        typer.Option(
            "--no-capacity-guard", help="Begin a batch also where max_clients leaves no room for its clients."
        ),
    ] = False,
    options: Options,
) -> int:
    """Throw a signal in each daemon.

    Wants --limit or --all. SIGUSR1 restarts the tunnel and drops its clients, SIGHUP reads the configuration
    again too, SIGUSR2 writes statistics to the daemon's log, SIGTERM ends the daemon. The answer says that the
    signal was thrown, not that the daemon survived it: --wait sees to that.

    With --serial, --max-fail, --batch-wait, --step or --wait it rolls: batch by batch in the order of the inventory,
    one server at a time without --serial. After SIGUSR1 and SIGHUP a server is done when its daemon is CONNECTED again,
    and with clients=80% a batch is done when 80 % of its clients are back, on whatever server. Once more servers than
    --max-fail have failed, the rest is left as it is.
    """
    target = Target(args=(name,), explicit=True)
    if not options.in_batches and wait in (None, "none"):
        return run(throw(name), options, target)
    return roll_signal(name, options, target, wait=wait, wait_timeout=wait_timeout, guard=not no_capacity_guard)
