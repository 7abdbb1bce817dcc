"""`signal`: throw a signal in each daemon, where that does what it says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fleet.errors import CommandFailedError
from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.replies import State
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Confirm, Operation

_EFFECTS = {
    "SIGUSR1": "restarts the tunnels of {servers} and drops {clients}",
    "SIGHUP": "restarts {servers} with the configuration read again, and drops {clients}",
    "SIGTERM": "ends the daemons of {servers} and drops {clients}",
    "SIGUSR2": "writes the statistics of {servers} to their logs",
}


@dataclass(frozen=True, slots=True)
class SignalThrown:
    """The daemon took the signal; its effect comes after the answer (protocol-facts 5).

    Attributes:
        signal: its name.
        state_before: the daemon's state when it was asked.
    """

    signal: str
    state_before: State


def throw(name: str) -> Operation[SignalThrown]:
    """Throws SIGHUP, SIGTERM, SIGUSR1 or SIGUSR2 (management notes, COMMAND -- signal).

    Raises:
        UsageError: it is none of the four, in upper case.
    """
    return Operation(
        "signal",
        partial(_perform, commands.signal(name)),
        (
            Column("signal", Kind.TEXT),
            Column("state_before", Kind.TEXT),
            Column("result", Kind.TEXT, keep=True),
        ),
        lambda value: [(value.signal, value.state_before.name, "thrown")],
        changes=True,
        sends=(f"signal {name}",),
        confirm=Confirm.NAME if name in ("SIGTERM", "SIGHUP") else Confirm.SEVERAL,
        effect=_EFFECTS[name],
    )


async def _perform(command: Command[str], conversation: Conversation) -> Answer[SignalThrown]:
    (name,) = command.arguments
    state = await conversation.run(commands.state())
    refuse_harm(name, state, conversation)
    (reply,) = await conversation.ask(command)
    return Answer(SignalThrown(reply.result(), state), reply.text())


def refuse_harm(name: str, state: State, conversation: Conversation) -> None:
    """Refuses a signal that would do nothing to this daemon, or more than it says.

    Args:
        name: the signal.
        state: the daemon's state, which was asked for in this session: by then it has told what it waits for.
        conversation: with the daemon.

    Raises:
        CommandFailedError: such a signal.
    """
    restarts = name in ("SIGUSR1", "SIGHUP")
    held = conversation.held
    if held and restarts:
        # 2.1 to 2.4 do not even answer (protocol-facts 1.6).
        raise CommandFailedError(
            f"the daemon is in hold and ignores {name}; nothing was sent",
            hint="bring it up with fleet hold release",
        )
    if held and name == "SIGUSR2":
        # It is meant to print statistics, and ends a daemon in hold (protocol-facts 5).
        raise CommandFailedError(
            "the daemon is in hold, where SIGUSR2 ends it; nothing was sent",
            hint="send SIGTERM if it is to end",
        )
    if restarts and conversation.wants_password:
        # `>FATAL:ERROR: could not read ... from management interface`, exit (protocol-facts 5).
        raise CommandFailedError(
            f"the daemon waits for a password, and {name} ends it there; nothing was sent",
            hint="send SIGTERM if it is to end",
        )
    if restarts and state.name == "RECONNECTING":
        # A second restart in the pause of the first crashed 2.3.18 (protocol-facts 5).
        raise CommandFailedError(
            f"the daemon is restarting already; {name} was not sent",
            hint="wait until fleet state shows CONNECTED",
        )
