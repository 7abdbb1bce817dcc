"""`drain --cordon` and `uncordon`: keep new clients out of a server, and let them in again.

OpenVPN has no command for that. A daemon with the hold flag on waits after a restart, with its tunnel down, until it is
told to go on (protocol-facts 11.7). So nobody may be connected any more, and the daemon has to be able to go on: one
that has given up its privileges may not be able to read its key, or to open its device, a second time, and dies then.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from fleet.errors import CommandFailedError, ConnectionLostError
from fleet.management import commands
from fleet.management.notifications import ClientNotification
from fleet.management.protocol import Reply
from fleet.management.replies import LogLine, State
from fleet.operations.columns import Column
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Confirm, Operation, texts
from fleet.operations.signals import refuse_harm
from fleet.operations.status import STATUS_FORMAT, list_connected

HOLD_TIMEOUT = 15.0
"""Seconds from the signal's answer until the daemon waits; its pause between two starts takes 5 at most (facts 5)."""

_SIGNAL = "SIGUSR1"
_BEGINNING = re.compile(r"OpenVPN [0-9]")  # the line with which the log of a process begins
_PRIVILEGES = re.compile(r"(?:UID|GID) set to |chroot to ")
_RESTART = re.compile(r"SIGUSR1\[.*process restarting")
_UP = "Initialization Sequence Completed"


@dataclass(frozen=True, slots=True)
class Cordoned:
    """A server that takes no clients.

    Attributes:
        state_before: the daemon's state when it was asked.
        restarted: it was sent into hold; False where it waited there already.
    """

    state_before: State
    restarted: bool


def cordon(*, force: bool) -> Operation[Cordoned]:
    """Sends a daemon without clients into hold.

    Args:
        force: also where nobody can tell whether the daemon survives the restart.
    """
    return Operation(
        "drain",
        partial(_cordon, force),
        (Column("state_before"), Column("result")),
        lambda value: [(value.state_before.name, "cordoned")],
        changes=True,
        sends=("hold on", f"signal {_SIGNAL}"),
    )


async def _cordon(force: bool, conversation: Conversation) -> Answer[Cordoned]:
    conversation.attempt.phase = "looking whether it can be cordoned"
    state = await conversation.run(commands.state())
    if conversation.held:
        (reply,) = await conversation.ask(commands.hold("on"))
        reply.result()
        return Answer(Cordoned(state, restarted=False), texts(reply))
    refuse_harm(_SIGNAL, state, conversation)
    _refuse_client_auth(conversation)
    if not force:
        _refuse_unsure(await conversation.run(commands.log("all")))
    await _refuse_clients(conversation)
    replies = await conversation.ask(commands.hold("on"), commands.signal(_SIGNAL))
    for one in replies:
        one.result()
    await _wait_for_hold(conversation, replies)
    return Answer(Cordoned(state, restarted=True), texts(*replies))


async def _refuse_clients(conversation: Conversation) -> None:
    """Refuses a server whose clients the restart would drop; right before it, as clients may come any time."""
    status = (await list_connected(conversation)).value
    count = sum(not client.handshaking for client in status.clients)
    if count:
        raise CommandFailedError(
            f"it was not cordoned: {count} {'client is' if count == 1 else 'clients are'} connected",
            hint="drain it again, or throw them off with fleet kill",
        )


def _refuse_client_auth(conversation: Conversation) -> None:
    """Refuses a server whose management client admits users: the next one may want them all (protocol-facts 11.7)."""
    asked = (one for one in conversation.session.notifications if isinstance(one, ClientNotification))
    if any(one.kind in ("CONNECT", "REAUTH") for one in asked):
        raise CommandFailedError(
            "it was not cordoned: its management client decides who may connect (management-client-auth)",
            hint="let that client deny them with TEMP[backoff 3,advance remote]; older clients than 2.6 end of it",
        )


def _refuse_unsure(log: tuple[LogLine, ...]) -> None:
    """Refuses a daemon that may not survive a restart, as far as its log tells."""
    reason = doubt(log)
    if reason is not None:
        raise CommandFailedError(
            f"it was not cordoned, as the daemon may die when it is to go on afterwards: {reason}",
            hint="where its configuration has persist-key and persist-tun, or it runs as root: the same with --force",
        )


def doubt(log: Sequence[LogLine]) -> str | None:
    """Why a daemon with this log may not survive a SIGUSR1, or None where it will.

    One that did it before, or that runs with all its privileges, will. The log is bounded, so that it may not tell.
    """
    begun = any(_BEGINNING.match(line.text) for line in log)
    privileged = not any(_PRIVILEGES.match(line.text) for line in log)
    restart = next((index for index, line in enumerate(log) if _RESTART.match(line.text)), None)
    if restart is not None and any(line.text.startswith(_UP) for line in log[restart:]):
        return None
    if not privileged:
        return "it has given up its privileges (user, group or chroot), and was not restarted since"
    return None if begun else "its log does not go back to its start"


async def _wait_for_hold(conversation: Conversation, replies: Sequence[Reply[str]]) -> None:
    """Waits until the daemon says that it is in hold.

    Raises:
        CommandFailedError: it died, or does not say so.
    """
    conversation.attempt.phase = "waiting until the daemon is in hold"
    clock = asyncio.get_running_loop().time
    until = clock() + HOLD_TIMEOUT
    with conversation.attempt.off_the_clock(), _surviving():
        while not conversation.held:
            notification = await conversation.session.wait(max(0.0, until - clock()))
            if notification is None:
                raise CommandFailedError(
                    f"the daemon did not go into hold within {HOLD_TIMEOUT:g} s after {replies[-1].command.text}",
                    hint="see what it is doing with fleet state",
                )


@contextmanager
def _surviving() -> Iterator[None]:
    """A daemon that hangs up now has died of what it was told.

    Raises:
        CommandFailedError: it did.
    """
    try:
        yield
    except ConnectionLostError as lost:
        raise CommandFailedError(
            f"the daemon did not survive it: {lost.message}",
            hint="start it on its host; its log there says why it ended",
        ) from lost


@dataclass(frozen=True, slots=True)
class Uncordoned:
    """A server that takes clients again.

    Attributes:
        released: it waited, and was told to go on; False where it did not wait.
        state: the daemon's state afterwards.
    """

    released: bool
    state: State


async def _uncordon(conversation: Conversation) -> Answer[Uncordoned]:
    await conversation.run(commands.hold(None))  # its reply comes behind the >HOLD that a greeting may be followed by
    waited = conversation.held
    replies = await conversation.ask(commands.hold("off"), *([commands.hold("release")] if waited else []))
    for reply in replies:
        reply.result()
    with _surviving():
        state = await _state_when_up(conversation)
    return Answer(Uncordoned(waited, state), texts(*replies))


async def _state_when_up(conversation: Conversation) -> State:
    """The daemon's state once a restart is over; after the reply timeout, whatever it is."""
    # It is answered when the tunnel is up, or refused when it does not come up.
    await conversation.session.ask_settled(commands.status(STATUS_FORMAT))
    state = await conversation.run(commands.state())
    if state.name != "CONNECTED":
        conversation.warn(f"the daemon is not up yet: {state.name}; fleet state shows when it is")
    return state


UNCORDON: Operation[Uncordoned] = Operation(
    "uncordon",
    _uncordon,
    (Column("result"), Column("state")),
    lambda value: [("released" if value.released else "was not waiting", value.state.name)],
    changes=True,
    sends=("hold off", "hold release"),
    confirm=Confirm.SEVERAL,
    effect="lets clients in again on {servers}",
)
