"""What an operation sees of one server: a session that keeps the engine told what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from fleet.engine import Attempt, Work
from fleet.errors import CommandFailedError
from fleet.inventory.model import Server
from fleet.inventory.secrets import Passwords
from fleet.management.commands import Command
from fleet.management.notifications import ClientNotification, Notification, PasswordNeededNotification
from fleet.management.protocol import Reply
from fleet.session import Session
from fleet.transport import Transport

T = TypeVar("T")

_NOT_IN_THIS_MODE = "not supported by the current daemon mode"
_RETRY_INTERVAL = 0.3  # seconds between two questions to a daemon that restarts


@dataclass(slots=True)
class Conversation:
    """One session with one server's daemon.

    Attributes:
        reply_timeout: seconds, also for a daemon that restarts to be up again.
    """

    session: Session
    attempt: Attempt
    reply_timeout: float

    @property
    def server(self) -> Server:
        """The server that is asked."""
        return self.attempt.server

    @property
    def held(self) -> bool:
        """The daemon said that it waits for a hold release; it has no tunnel and no clients."""
        return self.session.held

    @property
    def wants_password(self) -> bool:
        """The daemon said that it waits for a password or a passphrase from its management client."""
        return any(isinstance(notice, PasswordNeededNotification) for notice in self.session.notifications)

    async def ask(self, *commands: Command[Any]) -> tuple[Reply[Any], ...]:
        """Sends the commands in one write and waits for their replies.

        Raises:
            ServerError: a reply did not come whole; an ERROR reply is a reply and is not raised here.
        """
        self.attempt.phase = "waiting for the reply to " + ", ".join(command.text for command in commands)
        return await self.session.ask(*commands)

    async def run(self, command: Command[T]) -> T:
        """The value of one command's reply.

        Raises:
            ServerError: also CommandFailedError where the daemon answered ERROR.
        """
        (reply,) = await self.ask(command)
        value: T = reply.result()
        return value

    async def ask_when_up(self, command: Command[T]) -> Reply[T]:
        """The reply to a command that needs the tunnel, asked again while the daemon restarts.

        In the pause of a restart the daemon refuses such commands for up to 5 s (protocol-facts 6.9); after the
        reply timeout the refusal is taken as the answer. In hold nothing is waited for.

        Raises:
            ServerError: as `ask`; CommandFailedError where the daemon is still without a tunnel.
        """
        until = asyncio.get_running_loop().time() + self.reply_timeout
        while True:
            (reply,) = await self.ask(command)
            if not refused_without_tunnel(reply) or self.held:
                return reply
            if asyncio.get_running_loop().time() + _RETRY_INTERVAL >= until:
                raise CommandFailedError(
                    f"the daemon has no tunnel: it still refused '{command.text}' after {self.reply_timeout:g} s",
                    hint="see what it is doing with fleet state, and why with fleet log 20",
                )
            await asyncio.sleep(_RETRY_INTERVAL)

    def warn(self, text: str) -> None:
        """Tells the operator something of this server, once."""
        _warn(self.attempt, text)


def refused_without_tunnel(reply: Reply[Any]) -> bool:
    """Whether the daemon refused because it has no tunnel just now: in hold, in a restart, before it is up.

    The refusal is transient, whatever the daemon's role (protocol-facts 3, last but one).
    """
    return reply.error is not None and _NOT_IN_THIS_MODE in reply.error


@asynccontextmanager
async def converse(
    transport: Transport, passwords: Passwords, attempt: Attempt, reply_timeout: float
) -> AsyncIterator[Conversation]:
    """Connects to the attempt's server, waits for the greeting, and hands out the conversation.

    Args:
        transport: where the channel comes from.
        passwords: where a management password comes from, if the daemon asks for one.
        attempt: told of each phase, of a change that was sent and not answered, and of those that were done.
        reply_timeout: seconds for the greeting, and for each reply.

    Raises:
        ServerError: whatever kept the server from greeting.
    """
    server = attempt.server
    attempt.phase = "connecting"

    def sent(text: str | None) -> None:
        attempt.sent = text

    async with transport.channel(server) as stream:
        attempt.phase = f"waiting for the greeting of {server.management}"
        async with Session.open(
            stream,
            password=None if server.password is None else partial(passwords.read, server.password),
            greeting_timeout=reply_timeout,
            reply_timeout=reply_timeout,
            endpoint=str(server.management),
            on_sent=sent,
            on_confirmed=attempt.confirmed.append,
            on_notification=partial(_notice, attempt),
        ) as session:
            yield Conversation(session, attempt, reply_timeout)


def _warn(attempt: Attempt, text: str) -> None:
    if text not in attempt.warnings:
        attempt.warnings.append(text)


def _notice(attempt: Attempt, notification: Notification) -> None:
    """Looks at each real-time message for what the operator has to know (protocol-facts 10.11)."""
    if isinstance(notification, ClientNotification) and notification.kind in ("CONNECT", "REAUTH"):
        _warn(
            attempt,
            "this daemon asks its management client to admit users (management-client-auth): while fleet is "
            "connected they wait; mark it `exclusive: true` in the inventory",
        )


def work_on(transport: Transport, perform: Callable[[Conversation], Awaitable[T]], reply_timeout: float) -> Work[T]:
    """What the engine does on each server: connect, and perform. The timeout is in seconds."""
    passwords = Passwords()

    async def work(attempt: Attempt) -> T:
        async with converse(transport, passwords, attempt, reply_timeout) as conversation:
            return await perform(conversation)

    return work
