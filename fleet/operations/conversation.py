"""What an operation sees of one server: a session that keeps the engine told what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fleet.engine import Attempt, Work
from fleet.errors import ManagementBusyError
from fleet.inventory.model import Server
from fleet.inventory.secrets import Passwords
from fleet.management.commands import Command
from fleet.management.notifications import ClientNotification, Notification, PasswordNeededNotification
from fleet.management.protocol import Reply
from fleet.session import Session, Stream

if TYPE_CHECKING:
    from fleet.transport import Transport

T = TypeVar("T")

_NOT_IN_THIS_MODE = "not supported by the current daemon mode"
_BUSY_INTERVAL = 0.5  # seconds between two tries to have a channel opened


class Slots(Protocol):
    """One holder at a time of each management endpoint, among the runs of this machine."""

    def hold(self, server: Server) -> AbstractAsyncContextManager[None]:
        """Holds the server's endpoint; waits its turn, on a clock of its own.

        Raises:
            LockedError: its turn did not come in time.
        """
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """How the daemons of one run are reached.

    Attributes:
        transport: where channels come from.
        reply_timeout: seconds for a greeting, and for each reply.
        passwords: where management passwords come from, for daemons that ask for one.
        slots: keeps other runs of this machine out meanwhile; None where nothing does.
        wait_busy: seconds more for the greeting of a daemon that another client holds.
        on_sent: told right before a change is written to a daemon, when `Attempt.sent` says which.
    """

    transport: Transport
    reply_timeout: float
    passwords: Passwords = field(default_factory=Passwords)
    slots: Slots | None = None
    wait_busy: float = 0.0
    on_sent: Callable[[Attempt], None] = lambda _attempt: None


@dataclass(slots=True)
class Conversation:
    """One session with one server's daemon."""

    session: Session
    attempt: Attempt

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
        """The daemon said that it waits for a password or a passphrase, and was not given it since."""
        return any(isinstance(request, PasswordNeededNotification) for request in self.session.requests)

    async def ask(self, *commands: Command[Any]) -> tuple[Reply[Any], ...]:
        """Sends the commands in one write and waits for their replies.

        Raises:
            ServerError: a reply did not come whole; an ERROR reply is a reply and is not raised here.
        """
        self.attempt.phase = _waiting_for(commands)
        return await self.session.ask(*commands)

    async def run(self, command: Command[T]) -> T:
        """The value of one command's reply.

        Raises:
            ServerError: also CommandFailedError where the daemon answered ERROR.
        """
        (reply,) = await self.ask(command)
        value: T = reply.result()
        return value

    async def ask_settled(self, *commands: Command[Any]) -> tuple[Reply[Any], ...]:
        """As `ask`; what a daemon refuses because it restarts, or is not up yet, is asked again (Session.ask_settled).

        Raises:
            ServerError: as `ask`.
        """
        self.attempt.phase = _waiting_for(commands)
        return await self.session.ask_settled(*commands)

    def warn(self, text: str) -> None:
        """Tells the operator something of this server, once."""
        _warn(self.attempt, text)


def _waiting_for(commands: Sequence[Command[Any]]) -> str:
    return "waiting for the reply to " + ", ".join(command.text for command in commands)


def refused_without_tunnel(reply: Reply[Any]) -> bool:
    """Whether the daemon refused because it has no tunnel just now: in hold, in a restart, before it is up.

    The refusal is transient, whatever the daemon's role (protocol-facts 3, last but one).
    """
    return reply.error is not None and _NOT_IN_THIS_MODE in reply.error


@asynccontextmanager
async def converse(access: Access, attempt: Attempt) -> AsyncIterator[Conversation]:
    """Connects to the attempt's server, waits for the greeting, and hands out the conversation.

    Args:
        access: the way to it.
        attempt: told of each phase, of a change that was sent and not answered, and of those that were done.

    Raises:
        ServerError: whatever kept the server from greeting.
    """
    async with _slot(access, attempt):
        attempt.phase = "connecting"
        until = asyncio.get_running_loop().time() + access.wait_busy
        async with _channel(access, attempt, until) as stream, _greeted(access, attempt, stream, until) as session:
            yield Conversation(session, attempt)


@asynccontextmanager
async def _slot(access: Access, attempt: Attempt) -> AsyncIterator[None]:
    """Keeps other runs away from the attempt's server."""
    if access.slots is None:
        yield
        return
    attempt.phase = "waiting for another run of fleet"
    with ExitStack() as waiting:
        waiting.enter_context(attempt.off_the_clock())
        async with access.slots.hold(attempt.server):
            waiting.close()
            yield


@asynccontextmanager
async def _channel(access: Access, attempt: Attempt, until: float) -> AsyncIterator[Stream]:
    """A channel to the daemon; where too many wait there for one to be opened, it is tried again until that time."""
    async with AsyncExitStack() as stack:
        with attempt.off_the_clock() if access.wait_busy else nullcontext():
            while True:
                try:
                    stream = await stack.enter_async_context(access.transport.channel(attempt.server))
                    break
                except ManagementBusyError:
                    if asyncio.get_running_loop().time() >= until:
                        raise
                    await asyncio.sleep(_BUSY_INTERVAL)
        for note in access.transport.notes(attempt.server):
            _warn(attempt, note)
        yield stream


@asynccontextmanager
async def _greeted(access: Access, attempt: Attempt, stream: Stream, until: float) -> AsyncIterator[Session]:
    """The session on a stream, from its greeting on; a daemon that somebody else holds is waited for until then."""
    server = attempt.server
    attempt.phase = f"waiting for the greeting of {server.management}"

    def sent(text: str | None) -> None:
        written = attempt.sent is None and text is not None  # else it is what is left of several that went out together
        attempt.sent = text
        if written:
            access.on_sent(attempt)

    with ExitStack() as waiting:
        if access.wait_busy:
            waiting.enter_context(attempt.off_the_clock())
        async with Session.open(
            stream,
            password=None if server.password is None else partial(access.passwords.read, server.password),
            greeting_timeout=access.reply_timeout + max(until - asyncio.get_running_loop().time(), 0.0),
            reply_timeout=access.reply_timeout,
            endpoint=str(server.management),
            on_sent=sent,
            on_confirmed=attempt.confirmed.append,
            on_notification=partial(_notice, attempt),
        ) as session:
            waiting.close()
            yield session


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


def work_on(access: Access, perform: Callable[[Conversation], Awaitable[T]]) -> Work[T]:
    """What the engine does on each server: connect, and perform.

    What has a `work` of its own, made from the access, sees to its connection itself, as `ping` does.
    """
    own: Callable[[Access], Work[T]] | None = getattr(perform, "work", None)
    if own is not None:
        return own(access)

    async def work(attempt: Attempt) -> T:
        async with converse(access, attempt) as conversation:
            return await perform(conversation)

    return work
