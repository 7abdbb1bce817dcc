"""The settings of daemons: verb, mute, hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from fleet.cli.choosing import Target
from fleet.cli.numbers import NumbersCommand
from fleet.cli.options import Options, with_options
from fleet.cli.rolling import change
from fleet.cli.run import run
from fleet.cli.temporary import ForATime, refuse_for, run_for
from fleet.errors import UsageError
from fleet.operations import settings
from fleet.operations.operation import Operation
from fleet.operations.temporary import HOLD, MUTE, VERB, Setting

_HOLD_WORDS = ("on", "off", "release")


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("verb", cls=NumbersCommand)(with_options(_verb, changes=True))
    app.command("mute", cls=NumbersCommand)(with_options(_mute, changes=True))
    app.command("hold")(with_options(_hold, changes=True))


def _verb(
    *,
    level: Annotated[str | None, typer.Argument(metavar="N", help="0 (silent) to 15.")] = None,
    for_a_time: ForATime = None,
    options: Options,
) -> int:
    """Show or set the log verbosity of each daemon.

    Setting it wants --limit or --all. It lasts until the daemon ends or is sent SIGHUP.
    """
    return _number(VERB, settings.change_verb, level, for_a_time, options)


def _mute(
    *,
    count: Annotated[str | None, typer.Argument(metavar="N", help="0 (never mute) or more.")] = None,
    for_a_time: ForATime = None,
    options: Options,
) -> int:
    """Show or set the mute threshold of each daemon.

    After N messages of one kind in a row the log says no more of them; 0 mutes nothing.

    Setting it wants --limit or --all. It lasts until the daemon ends or is sent SIGHUP.
    """
    return _number(MUTE, settings.change_mute, count, for_a_time, options)


def _number(
    setting: Setting[int],
    operation_of: Callable[[str], Operation[Any]],
    text: str | None,
    for_a_time: str | None,
    options: Options,
) -> int:
    if text is None:
        refuse_for(for_a_time, "nothing is set here")
        return run(settings.show_number(setting.name, setting.query).operation(), options, Target())
    operation, target = operation_of(text), Target(args=(text,), explicit=True)
    if for_a_time is not None:
        return run_for(setting, int(text), for_a_time, options, target)
    return change(operation, options, target)


def _hold(
    *,
    action: Annotated[str | None, typer.Argument(metavar="on|off|release", help="What to do.")] = None,
    for_a_time: ForATime = None,
    options: Options,
) -> int:
    """Show or change the hold flag of each daemon.

    on: future restarts hold; off: they do not; release: a daemon that waits starts its tunnel. Changes want
    --limit or --all.
    """
    if action is None:
        refuse_for(for_a_time, "nothing is set here")
        return run(settings.SHOW_HOLD, options, Target())
    if action not in _HOLD_WORDS:
        raise UsageError(f"hold takes on, off or release, not '{action}'", hint="for servers: fleet hold -l PATTERN")
    target = Target(args=(action,), explicit=True)
    if action == "release":
        refuse_for(for_a_time, "a release cannot be taken back")
        return change(settings.RELEASE_HOLD, options, target)
    if for_a_time is not None:
        return run_for(HOLD, action == "on", for_a_time, options, target)
    return change(settings.change_hold(on=action == "on"), options, target)
