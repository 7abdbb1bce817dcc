"""Drives a management Protocol over a Stream: greeting, password, commands with their clocks.

A session runs over whatever reads and writes bytes: a channel of an SSH connection, a local socket, a list of bytes in
a test. It has no background task: bytes are read only while a greeting or a reply is waited for.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from typing import Protocol as Interface

from fleet.errors import ManagementBusyError, ManagementPasswordError, ReplyTimeoutError, ServerError
from fleet.management.commands import Command, ReplyKind, pid
from fleet.management.notifications import HoldNotification, Notification
from fleet.management.protocol import Event, Greeting, PasswordRequested, Protocol, Reply, State

T = TypeVar("T")

NOTIFICATIONS_LIMIT = 1000
"""Security limit: notifications that a session keeps; older ones are forgotten."""

PASSWORD_COMPARED = 127
"""Bytes of a management password that daemons without PKCS11 compare; they refuse more (protocol-facts 11.9)."""

Password = Callable[[], Awaitable[bytes]]


class Stream(Interface):
    """Bytes to and from one management endpoint."""

    async def read(self) -> bytes:
        """The next bytes, as many as there are; `b""` at EOF. Raises nothing but ServerError."""
        ...

    async def write(self, data: bytes) -> None:
        """Writes all of the data. Raises nothing but ServerError."""
        ...

    async def close(self) -> None:
        """Closes both directions; a second call does nothing. Raises nothing."""
        ...


class Session:
    """One session with one daemon that has greeted. Made by `Session.open`.

    Attributes:
        greeting: what the daemon greeted with.
        notifications: the last of the real-time messages that came, oldest first.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        reply_timeout: float,
        on_sent: Callable[[str | None], None],
        on_notification: Callable[[Notification], None],
    ) -> None:
        self.greeting = Greeting("", None)
        self.notifications: deque[Notification] = deque(maxlen=NOTIFICATIONS_LIMIT)
        self._stream = stream
        self._protocol = Protocol()
        self._reply_timeout = reply_timeout
        self._on_sent = on_sent
        self._on_notification = on_notification
        self._held = False
        self._over = False
        self._changes: deque[Command[Any]] = deque()  # that were written, or are about to be, and not answered

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        stream: Stream,
        *,
        password: Password | None = None,
        greeting_timeout: float = 10.0,
        reply_timeout: float = 10.0,
        endpoint: str = "",
        on_sent: Callable[[str | None], None] = lambda _: None,
        on_notification: Callable[[Notification], None] = lambda _: None,
    ) -> AsyncIterator[Session]:
        """A session from its greeting on; closes the stream when it is left, however that happens.

        `quit` is not sent: closing the connection does the same, and `quit` can cost answers (protocol-facts 6.1).

        Args:
            stream: an open connection to the management endpoint, on which nothing was read or written.
            password: gives the management password. Awaited only if the daemon asks, and not on any clock here.
            greeting_timeout: seconds from now to the whole greeting, or to the password prompt.
            reply_timeout: seconds for each whole reply, counted from the end of the one before it, and for the
                daemon's answer to the password.
            endpoint: the management endpoint as the inventory spells it, for the hint of ManagementBusyError.
            on_sent: called with the text of a command that changes something right before it is written, and
                with None when its reply was read. Of several at once: the texts of those that are not answered.
            on_notification: called with each real-time message as it is read.

        Raises:
            ManagementBusyError: not one byte within greeting_timeout (protocol-facts 6.2).
            ManagementPasswordError: no password to give, one that cannot be sent, or a wrong one.
            ProtocolError: whatever listens there is no management interface, or stopped in mid-greeting.
            ReplyTimeoutError: no answer to the password within reply_timeout.
            ConnectionLostError: EOF before the greeting, and whatever else the stream raises.
        """
        session = cls(stream, reply_timeout=reply_timeout, on_sent=on_sent, on_notification=on_notification)
        try:
            await session._greet(password, greeting_timeout, endpoint)
            yield session
        finally:
            session._over = True
            await stream.close()

    @property
    def held(self) -> bool:
        """Whether the daemon has said that it waits for `hold release`."""
        return self._held

    async def run(self, command: Command[T]) -> T:
        """Sends one command and returns its reply's value.

        Raises:
            CommandFailedError: the daemon answered ERROR; the session goes on.
            UsageError: the command cannot be sent; nothing was written, the session goes on.
            ServerError: as `ask`.
        """
        (reply,) = await self.ask(command)
        value: T = reply.result()
        return value

    async def ask(self, *commands: Command[Any]) -> tuple[Reply[Any], ...]:
        """Sends commands in one write and returns their replies, ERROR replies among them, in the same order.

        Behind a command whose reply may lose its END (Command.fence) goes a `pid`, unless a command with a one-line
        reply follows anyway: its reply shows that there is no more to wait for (protocol-facts 3, "Missing END").

        Raises:
            UsageError: a command cannot be sent; nothing was written, the session goes on.
            ReplyTimeoutError: a reply was not whole within reply_timeout of the one before it. A flood of
                notifications does not put that off. The session is over: a late reply would answer the next command.
            ConnectionLostError: EOF in the middle, and whatever else the stream raises. The session is over.
            ProtocolError: what came is not the management protocol. The session is over.
            RuntimeError: the session is over, or `quit` goes along with other commands: bugs of the caller.
        """
        if self._over:
            raise RuntimeError("the session is over")
        if self._protocol.error is not None:
            raise self._protocol.error  # met behind the last reply that was waited for
        batch, asked = _fenced(commands)
        if not batch:
            return ()
        for command in batch:
            command.encode()  # refuses before anything is queued
        self._over = True  # until all is answered: also where this is cancelled
        try:
            replies = await self._exchange(batch)
        except ServerError as error:
            error.sent = error.sent or self._unanswered
            raise
        self._over = False
        return tuple(replies[i] for i in asked)

    async def _exchange(self, batch: list[Command[Any]]) -> list[Reply[Any]]:
        data = b"".join([self._protocol.send(command) for command in batch])
        replies: list[Reply[Any]] = [Reply(command, ()) for command in batch if command.reply is ReplyKind.NONE]
        self._changes.extend(command for command in batch if command.changes)
        if self._changes:
            self._on_sent(self._unanswered)
        deadline = self._deadline(self._reply_timeout)
        try:
            async with asyncio.timeout_at(deadline):
                await self._stream.write(data)
            while len(replies) < len(batch):
                for event in await self._events(deadline):
                    if isinstance(event, Reply):
                        replies.append(event)
                        deadline = self._deadline(self._reply_timeout)
                        self._answered(event)
                if self._protocol.error is not None and len(replies) < len(batch):
                    raise self._protocol.error
        except TimeoutError as error:
            raise ReplyTimeoutError(
                f"no whole reply to '{batch[len(replies)].text}' within {self._reply_timeout:g} s",
                hint="wait longer with --reply-timeout: a script that the daemon runs may hold it up",
            ) from error
        return replies

    def _answered(self, reply: Reply[Any]) -> None:
        if reply.command.changes:
            self._changes.popleft()
            self._on_sent(self._unanswered)

    @property
    def _unanswered(self) -> str | None:
        return "; ".join(command.text for command in self._changes) or None

    async def _events(self, deadline: float) -> list[Event]:
        """The events of the next bytes; notifications are noted here. Raises TimeoutError once the time is over."""
        if asyncio.get_running_loop().time() >= deadline:  # a stream that always has bytes would never be interrupted
            raise TimeoutError
        async with asyncio.timeout_at(deadline):
            data = await self._stream.read()
        events = self._protocol.receive(data) if data else self._protocol.receive_eof()
        for event in events:
            if isinstance(event, Notification):
                self._held = self._held or isinstance(event, HoldNotification)
                self.notifications.append(event)
                self._on_notification(event)
        return events

    @staticmethod
    def _deadline(timeout: float) -> float:
        return asyncio.get_running_loop().time() + timeout

    async def _greet(self, password: Password | None, greeting_timeout: float, endpoint: str) -> None:
        deadline = self._deadline(greeting_timeout)
        silent, logging_in = True, False
        secret = b""
        while self._protocol.state is not State.READY:
            try:
                events = await self._events(deadline)
            except TimeoutError as error:
                late = self._no_login() if logging_in else self._ungreeted(greeting_timeout, endpoint, silent=silent)
                raise late from error
            silent = False
            for event in events:
                if isinstance(event, Greeting):
                    self.greeting = event
                elif isinstance(event, PasswordRequested):
                    secret = await _secret(password, event.attempt, secret)
                    deadline, logging_in = self._deadline(self._reply_timeout), True
                    await self._write_password(secret, deadline)
            if self._protocol.error is not None:
                raise self._protocol.error

    async def _write_password(self, secret: bytes, deadline: float) -> None:
        data = self._protocol.send_password(secret)
        try:
            async with asyncio.timeout_at(deadline):
                await self._stream.write(data)
        except TimeoutError as error:
            raise self._no_login() from error

    def _no_login(self) -> ServerError:
        return ReplyTimeoutError(f"no answer to the management password within {self._reply_timeout:g} s")

    def _ungreeted(self, greeting_timeout: float, endpoint: str, *, silent: bool) -> ServerError:
        if silent:
            return ManagementBusyError(
                "the management interface accepts and says nothing: another management client holds it, "
                "and OpenVPN serves one at a time",
                hint=_who_holds(endpoint),
            )
        if self._protocol.unfinished:
            return self._protocol.no_greeting()
        return ReplyTimeoutError(f"messages but no greeting within {greeting_timeout:g} s")


async def _secret(password: Password | None, attempt: int, tried: bytes) -> bytes:
    """The password to try: the given one, and after that its first 127 bytes (protocol-facts 11.9)."""
    if password is None:
        raise ManagementPasswordError(
            "the daemon wants a management password, and the inventory has none",
            hint="set management_password_file or management_password_command for this server",
        )
    if attempt == 1:
        return await password()
    if len(tried) <= PASSWORD_COMPARED:
        raise ManagementPasswordError(
            "the daemon did not take the management password",
            hint="compare it with the first line of the file in the daemon's `management` directive; blanks count",
        )
    return tried[:PASSWORD_COMPARED]


def _fenced(commands: tuple[Command[Any], ...]) -> tuple[list[Command[Any]], list[int]]:
    """The commands with fences between them, and the positions of those that were asked for."""
    if len(commands) > 1 and any(command.reply is ReplyKind.NONE for command in commands):
        raise RuntimeError("a command without a reply costs the replies of those beside it")  # protocol-facts 6.1
    batch: list[Command[Any]] = []
    asked: list[int] = []
    for command in commands:
        _fence(batch, command)
        asked.append(len(batch))
        batch.append(command)
    _fence(batch, None)
    return batch, asked


def _fence(batch: list[Command[Any]], following: Command[Any] | None) -> None:
    if batch and batch[-1].fence and (following is None or following.reply is not ReplyKind.LINE):
        batch.append(pid())


def _who_holds(endpoint: str) -> str:
    """How to see, on the server's host, which client holds the endpoint."""
    port = endpoint.rpartition(":")[2]
    if endpoint.startswith("/"):
        return f"see who is connected on the host: ss -xp src {shlex.quote(endpoint)}"
    return f"see who is connected on the host: ss -tnp 'sport = :{port or 'PORT'}'"
