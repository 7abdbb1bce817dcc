"""The commands that change daemons or their clients: verb, mute, hold, signal, kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from fleet.cli.options import Options, with_options
from fleet.cli.run import Ending, Target, run
from fleet.errors import UsageError
from fleet.management import commands
from fleet.operations import settings, signals
from fleet.operations.kill import Killed, kill
from fleet.operations.operation import Operation
from fleet.render.text import escape

_HOLD_WORDS = ("on", "off", "release")


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    # A number below 0 looks like an option; it is to be refused for what it is.
    numbers = {"ignore_unknown_options": True}
    app.command("verb", context_settings=numbers)(with_options(_verb))
    app.command("mute", context_settings=numbers)(with_options(_mute))
    app.command("hold")(with_options(_hold))
    app.command("signal")(with_options(_signal))
    app.command("kill")(with_options(_kill))


def _verb(
    *,
    level: Annotated[str | None, typer.Argument(metavar="N", help="0 (silent) to 15.")] = None,
    options: Options,
) -> int:
    """Show or set the log verbosity of each daemon.

    Setting it wants --limit or --all. It lasts until the daemon ends or is sent SIGHUP.
    """
    return _number("verb", level, commands.verb(None), settings.change_verb, options)


def _mute(
    *,
    count: Annotated[str | None, typer.Argument(metavar="N", help="0 (never mute) or more.")] = None,
    options: Options,
) -> int:
    """Show or set the mute threshold of each daemon.

    After N messages of one kind in a row the log says no more of them; 0 mutes nothing.

    Setting it wants --limit or --all. It lasts until the daemon ends or is sent SIGHUP.
    """
    return _number("mute", count, commands.mute(None), settings.change_mute, options)


def _number(
    name: str,
    text: str | None,
    query: commands.Command[int],
    change: Callable[[str], Operation[Any]],
    options: Options,
) -> int:
    if text is None:
        return run(settings.show_number(name, query).operation(), options, Target())
    if text.startswith("-") and not text[1:].isdigit():
        raise UsageError(f"No such option: {text}", hint=f"fleet {name} --help shows what it takes")
    return run(change(text), options, Target(args=(text,), explicit=True))


def _hold(
    *,
    action: Annotated[str | None, typer.Argument(metavar="on|off|release", help="What to do.")] = None,
    options: Options,
) -> int:
    """Show or change the hold flag of each daemon.

    on: future restarts hold; off: they do not; release: a daemon that waits starts its tunnel. Changes want
    --limit or --all.
    """
    if action is None:
        return run(settings.SHOW_HOLD, options, Target())
    if action not in _HOLD_WORDS:
        raise UsageError(f"hold takes on, off or release, not '{action}'", hint="for servers: fleet hold -l PATTERN")
    operation: Operation[Any] = (
        settings.RELEASE_HOLD if action == "release" else settings.change_hold(on=action == "on")
    )
    return run(operation, options, Target(args=(action,), explicit=True))


def _signal(
    *,
    name: Annotated[str, typer.Argument(metavar="SIGNAL", help="SIGHUP, SIGTERM, SIGUSR1 or SIGUSR2.")],
    options: Options,
) -> int:
    """Throw a signal in each daemon.

    Wants --limit or --all. SIGUSR1 restarts the tunnel and drops its clients, SIGHUP reads the configuration
    again too, SIGUSR2 writes statistics to the daemon's log, SIGTERM ends the daemon. The answer says that the
    signal was thrown, not that the daemon survived it.
    """
    return run(signals.throw(name), options, Target(args=(name,), explicit=True))


def _kill(
    *,
    who: Annotated[str, typer.Argument(metavar="WHO", help="A common name, or a real address as IP:port.")],
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="Exit with 0 also where no server has that client.")
    ] = False,
    options: Options,
) -> int:
    """Disconnect a client wherever in the fleet it is.

    Only the client that is meant is hit: it is looked up first, and killed by its client id where a daemon would
    read its name as something else. A client whose certificate still holds may come back.
    """
    ending = Ending(
        answer_status=lambda values: 0 if ignore_not_found or _sessions(values) else 1,
        words=partial(_say_killed, who),
    )
    return run(kill(who), options, Target(args=(who,)), ending)


def _sessions(values: Sequence[Killed]) -> int:
    return sum(value.killed for value in values)


def _say_killed(who: str, values: Sequence[Killed], asked: int) -> str:
    count = _sessions(values)
    servers = f"{asked} {'server' if asked == 1 else 'servers'}"
    if count:
        hit = sum(1 for value in values if value.killed)
        return (
            f"killed {count} {'session' if count == 1 else 'sessions'} on {hit} of {servers}; "
            "its certificate still holds, so it may come back"
        )
    if any(value.clients for value in values):
        return f"client '{escape(who)}' left by itself before it was killed"
    if len(values) == asked:
        return f"no client '{escape(who)}' on {servers}"
    return f"no client '{escape(who)}' on the {len(values)} of {servers} that answered" if values else ""
