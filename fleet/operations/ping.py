"""`ping`: how far the way to each daemon goes, step by step, with the time of each."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fleet.engine import Attempt, Outcome, Work
from fleet.errors import ManagementBusyError, ServerError
from fleet.management import commands
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Access, Conversation, converse
from fleet.operations.operation import Answer, Operation, Row

if TYPE_CHECKING:
    from fleet.transport import Transport

HOLD = "HOLD"
"""What fleet calls the state of a daemon that waits for a hold release."""
PASSWORD = "PASSWORD"  # noqa: S105 - no password, but that one is waited for
"""The same of one that waits for a password or a passphrase to open its tunnel."""
STEPS = ("dns", "tcp", "ssh", "auth", "channel", "greeting")


@dataclass(slots=True)
class Ping:
    """The steps to one daemon, in seconds; None is a step that was not done, or that this way does not have.

    Attributes:
        dns: looking up the host's name; none behind a jump host or a ProxyCommand.
        tcp: the connection to the SSH port; through a jump host, the channel to it.
        ssh: SSH's version, key exchange and host key.
        auth: the login.
        channel: the channel from the host to the management endpoint.
        greeting: until the daemon greeted, its password given.
        result: the state of the daemon, or the code of the error that the first failing step ended with.
    """

    dns: float | None = None
    tcp: float | None = None
    ssh: float | None = None
    auth: float | None = None
    channel: float | None = None
    greeting: float | None = None
    result: str | None = None

    def note(self, steps: dict[str, float]) -> None:
        """Takes what is known of the steps by now."""
        for name in STEPS:
            if name in steps:
                setattr(self, name, steps[name])


@dataclass(slots=True)
class _Underway:
    """A ping that has not ended: its steps are read when it has, however it does."""

    transport: Transport
    attempt: Attempt

    def value(self, result: str) -> Ping:
        found = Ping(result=result)
        found.note(self.transport.steps(self.attempt.server))
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process gets of it: the steps as they are by now."""
        return _BrokenOff, (self.value(""),)


@dataclass(slots=True)
class _BrokenOff:
    """A ping that ended in another process."""

    steps: Ping

    def value(self, result: str) -> Ping:
        return replace(self.steps, result=result)


class Pinging:
    """Does a ping in place of a conversation: it has to see what a conversation begins with."""

    def work(self, access: Access) -> Work[Answer[Ping]]:
        """What is done on each server."""
        return partial(_work, access)

    def __call__(self, conversation: Conversation) -> Awaitable[Answer[Ping]]:
        """The end of it, where the conversation has begun."""
        return _state(conversation)


async def _work(access: Access, attempt: Attempt) -> Answer[Ping]:
    underway = _Underway(access.transport, attempt)
    attempt.partial = Answer(underway, "")
    async with converse(access, attempt) as conversation:
        greeted = time.monotonic()
        answer = await _state(conversation)
    opened = access.transport.opened_at(attempt.server)
    value = underway.value(answer.value.result or "")
    value.greeting = None if opened is None else greeted - opened
    return replace(answer, value=value)


async def _state(conversation: Conversation) -> Answer[Ping]:
    (reply,) = await conversation.ask(commands.state())
    name = reply.result().name
    if conversation.held:
        name = HOLD
    elif conversation.wants_password:
        name = PASSWORD
    return Answer(Ping(result=name), reply.text())


def settled(outcome: Outcome[Answer[Any]]) -> Outcome[Answer[Ping]]:
    """An outcome with the steps that were done, where it is an error too; its hint does not say to ping."""
    error = outcome.error
    if error is None:
        return outcome
    underway = None if outcome.partial is None else outcome.partial.value
    found = underway.value(error.code) if isinstance(underway, _Underway | _BrokenOff) else Ping(result=error.code)
    answer = Answer(found, "")
    return replace(outcome, value=answer, partial=answer, error=_told(error, outcome.server.name))


def _told(error: ServerError, name: str) -> ServerError:
    hint = error.hint
    if hint is not None and hint.startswith("fleet ping "):
        hint = hint.partition(", or ")[2]
    if isinstance(error, ManagementBusyError):
        hint = f"fleet ping {name} --wait-busy 30s" + (f", or {hint}" if hint else "")
    if hint != error.hint:
        error.hint = hint
    return error


def _row(value: Ping) -> Row:
    return (*(getattr(value, name) for name in STEPS), value.result)


PING: Operation[Ping] = Operation(
    "ping",
    Pinging(),
    (*(Column(name, Kind.SECONDS) for name in STEPS), Column("result", keep=True)),
    lambda value: [_row(value)],
)
"""Walks the way to each daemon."""
