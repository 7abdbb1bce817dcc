"""Drives a management Protocol over a Stream: greeting, password, commands with their clocks.

A session runs over whatever reads and writes bytes: a channel of an SSH connection, a local socket, a list of bytes in
a test. It has no background task: bytes are read only while a greeting or a reply is waited for.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar
from typing import Protocol as Interface

from fleet.errors import (
    CommandFailedError,
    ConnectionLostError,
    ManagementBusyError,
    ManagementPasswordError,
    ReplyTimeoutError,
    ServerError,
)
from fleet.management.commands import Command, ReplyKind, pid, state, version
from fleet.management.notifications import (
    HoldNotification,
    NeedNotification,
    Notification,
    PasswordNeededNotification,
    StateNotification,
    notification_size,
)
from fleet.management.protocol import Event, Greeting, PasswordRequested, Protocol, Reply, State, shown

T = TypeVar("T")

NOTIFICATIONS_LIMIT = 1000
"""Security limit: notifications that a session keeps; older ones are forgotten."""
NOTIFICATIONS_SIZE_LIMIT = 4 * 2**20
"""Security limit: characters of those notifications."""

UNREAD_LIMIT = 10_000
"""Security limit: notifications that a session keeps for `wait`; the oldest are dropped, and counted."""
UNREAD_SIZE_LIMIT = 16 * 2**20
"""Security limit: characters of those notifications."""
REQUESTS_LIMIT = 100
"""Security limit: questions of a daemon that a session keeps; a real one asks one at a time."""
REQUESTS_SIZE_LIMIT = 64 * 2**10
"""Security limit: characters of those questions; a real one has some hundred."""

SETTLE_INTERVAL = 0.3
"""Seconds between two questions to a daemon that restarts."""

PASSWORD_COMPARED = 127
"""Bytes of a management password that daemons without PKCS11 compare; they refuse more (protocol-facts 11.9)."""

Request = HoldNotification | PasswordNeededNotification | NeedNotification
"""What a daemon waits for its management client to answer."""

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
        dropped: messages that `wait` will not return, because too many came while nobody waited.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        reply_timeout: float,
        on_sent: Callable[[str | None], None],
        on_confirmed: Callable[[str], None],
        on_notification: Callable[[Notification], None],
    ) -> None:
        self.greeting = Greeting("", None)
        self.notifications: deque[Notification] = deque()
        self._notifications_size = 0
        self.dropped = 0
        self._unread: deque[tuple[Notification, int]] = deque()
        self._unread_size = 0
        self._requests: dict[tuple[str, str], Request] = {}
        self._given: set[tuple[str, str]] = set()  # usernames and passwords of questions that want both
        self._stream = stream
        self._protocol = Protocol()
        self._reply_timeout = reply_timeout
        self._on_sent = on_sent
        self._on_confirmed = on_confirmed
        self._on_notification = on_notification
        self._over = False
        self._identified = False  # the daemon was asked for its release
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
        on_confirmed: Callable[[str], None] = lambda _: None,
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
            on_confirmed: called with the text of each such command that was answered with anything but ERROR, before
                the reply is looked at more closely; what fails later does not undo it.
            on_notification: called with each real-time message as it is read.

        Raises:
            ManagementBusyError: not one byte within greeting_timeout (protocol-facts 6.2).
            ManagementPasswordError: no password to give, one that cannot be sent, or a wrong one.
            ProtocolError: whatever listens there is no management interface, or stopped in mid-greeting.
            ReplyTimeoutError: no answer to the password within reply_timeout.
            ConnectionLostError: EOF before the greeting, and whatever else the stream raises.
        """
        session = cls(
            stream,
            reply_timeout=reply_timeout,
            on_sent=on_sent,
            on_confirmed=on_confirmed,
            on_notification=on_notification,
        )
        try:
            await session._greet(password, greeting_timeout, endpoint)
            yield session
        finally:
            session._over = True
            await stream.close()

    @property
    def over(self) -> bool:
        """Whether nothing can be asked any more: the daemon has gone, or a reply did not come."""
        return self._over or self._protocol.error is not None

    @property
    def held(self) -> bool:
        """Whether the daemon has said that it waits for `hold release`, and was not given it since."""
        return _HOLD in self._requests

    @property
    def requests(self) -> tuple[Request, ...]:
        """What the daemon has asked for and was not given since, as far as it has come; `waiting` makes sure."""
        return tuple(self._requests.values())

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
        reply follows anyway: its reply shows that there is no more to wait for (protocol-facts 3, "Missing END"). So it
        does behind a command whose reply nothing else ends (ReplyKind.FENCED).

        Where the daemon does not know a command, it is asked for its release, for the error.

        Raises:
            UsageError: a command cannot be sent; nothing was written, the session goes on.
            CommandFailedError: a command would end the daemon, which waits for its client; nothing was written, the
                session goes on.
            ReplyTimeoutError: a reply was not whole within reply_timeout of the one before it. A flood of
                notifications does not put that off. The session is over: a late reply would answer the next command.
            ConnectionLostError: EOF in the middle, and whatever else the stream raises. The session is over.
            ProtocolError: what came is not the management protocol. The session is over.
            RuntimeError: the session is over, or `quit` goes along with other commands: bugs of the caller.
        """
        await self._refuse_ending(commands)
        replies = await self._ask(commands)
        if any(reply.unknown for reply in replies) and not self._identified:
            release = await self._identify()
            return tuple(replace(reply, release=release) for reply in replies)
        return replies

    async def _refuse_ending(self, commands: tuple[Command[Any], ...]) -> None:
        """Refuses what would end a daemon that waits; whether it does, a `pid` shows (protocol-facts 11.4)."""
        ending = next((command for command in commands if command.ends_waiting), None)
        if ending is None:
            return
        await self._ask((pid(),))
        if self._requests:
            subject = "a hold release" if self.held else "an answer of its management client"
            raise CommandFailedError(
                f"'{ending.text}' ends a daemon that waits for {subject}; nothing was sent",
                hint="bring it up with fleet unlock",
            )

    async def _identify(self) -> str | None:
        """The daemon's release, exactly where it can be had: asked for once, when a command was unknown to it."""
        self._identified = True
        with suppress(ServerError):  # what was asked for has come; what the banner has shown is enough
            await self._ask((version(),))
        return self._protocol.release

    async def _ask(self, commands: tuple[Command[Any], ...]) -> tuple[Reply[Any], ...]:
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
        self._identified = self._identified or any(command.name in {"help", "version"} for command in commands)
        return tuple(replies[i] for i in asked)

    async def ask_settled(self, *commands: Command[Any]) -> tuple[Reply[Any], ...]:
        """As `ask`; but a command that a daemon refuses because it restarts, or is not up yet, is asked again.

        Such a daemon answers what needs its tunnel with ERROR, and does nothing (protocol-facts 3, 6.9). It is asked
        again, behind a `state`, for up to the reply timeout; not where it waits for a hold release, and not where it is
        up and refuses all the same, because it is no server. `Reply.reason` says which it was. Of several commands, the
        refused ones are done later than those behind them.

        Raises:
            ServerError: as `ask`.
        """
        replies = list(await self.ask(*commands))
        deadline = self._deadline(self._reply_timeout)
        reason = None
        while refused := [i for i, reply in enumerate(replies) if _is_refused(reply)]:
            if self.held:
                reason = "it waits for a hold release"
            elif self._deadline(SETTLE_INTERVAL) >= deadline:
                reason = f"its tunnel was not up within {self._reply_timeout:g} s"
            if reason is not None:
                return tuple(replace(reply, reason=reason) if _is_refused(reply) else reply for reply in replies)
            await asyncio.sleep(SETTLE_INTERVAL)
            current, *again = await self.ask(state(), *(replies[i].command for i in refused))
            for i, reply in zip(refused, again, strict=True):
                replies[i] = reply
            if current.result().name == "CONNECTED":
                reason = "it is up, and has no such mode"
        return tuple(replies)

    async def wait(self, timeout: float | None = None) -> Notification | None:  # noqa: ASYNC109 - None is an answer
        """The next real-time message, oldest first; also one that came with the greeting or during a reply.

        It may be cancelled and called again, nothing is lost by that; not while `ask` is under way.

        Args:
            timeout: seconds to wait for one; None for as long as it takes. 0 returns what has come already.

        Returns:
            The message, or None when the time is over.

        Raises:
            ConnectionLostError: EOF, with the text of the `>FATAL:` that came before if one did, and whatever else the
                stream raises. The session is over; messages that came before were returned first.
            ProtocolError: what came is not the management protocol. The session is over.
            RuntimeError: the session is over, a bug of the caller.
        """
        deadline = None if timeout is None else self._deadline(timeout)
        while not self._unread:
            if self._over:
                raise RuntimeError("the session is over")
            try:
                if self._protocol.error is not None:
                    raise self._protocol.error
                await self._events(deadline, idle=True)
            except TimeoutError:
                return None
            except ServerError:
                self._over = True
                raise
        notification, size = self._unread.popleft()
        self._unread_size -= size
        return notification

    async def waiting(self) -> tuple[Request, ...]:
        """What the daemon waits for now: a `hold release`, a password, a confirmation or a text.

        The daemon repeats its question to every new client, behind the greeting; so the answer to a `pid` shows that
        there is none (protocol-facts 11.4). The messages come through `wait` all the same.

        Raises:
            ServerError: as `ask`.
        """
        await self.ask(pid())
        return self.requests

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
            if reply.error is None:
                self._on_confirmed(reply.command.text)
            self._on_sent(self._unanswered)

    def _settle(self, command: Command[Any]) -> None:
        """Takes the daemon's question away that the command has answered; username and password in any order."""
        name, subject = answered = _answers(command)
        if name == "username":
            name = "password"
        question = self._requests.get((name, subject))
        if question is None:
            return
        self._given.add(answered)
        if isinstance(question, PasswordNeededNotification) and question.username:
            wanted = {("username", subject), ("password", subject)}
        else:
            wanted = {answered}
        if wanted <= self._given:
            self._given -= wanted
            del self._requests[name, subject]

    @property
    def _unanswered(self) -> str | None:
        return "; ".join(command.text for command in self._changes) or None

    async def _events(self, deadline: float | None, *, idle: bool = False) -> list[Event]:
        """The events of the next bytes; notifications are noted here.

        Args:
            deadline: on the loop's clock; None for none.
            idle: nothing is asked, so that EOF is no lost reply; it raises all the same.

        Raises:
            TimeoutError: the time is over.
            ServerError: what the stream and the protocol raise.
        """
        if deadline is not None and asyncio.get_running_loop().time() >= deadline:
            raise TimeoutError  # a stream that always has bytes would never be interrupted
        async with asyncio.timeout_at(deadline):
            data = await self._stream.read()
        events = self._protocol.receive(data) if data else self._protocol.receive_eof()
        if idle and not data:
            raise _hung_up(self._protocol.fatal)
        for event in events:
            if isinstance(event, Notification):
                self._note(event)
            elif isinstance(event, Reply) and event.error is None:
                self._settle(event.command)  # here, in the order of events: the next question may follow at once
        return events

    def _note(self, notification: Notification) -> None:
        size = notification_size(notification)
        self._unread.append((notification, size))
        self._unread_size += size
        while len(self._unread) > UNREAD_LIMIT or self._unread_size > UNREAD_SIZE_LIMIT:
            self._unread_size -= self._unread.popleft()[1]
            self.dropped += 1
        if isinstance(notification, StateNotification):
            if notification.state.name == "CONNECTED":
                self._requests.clear()
                self._given.clear()
        elif isinstance(notification, Request):
            key = _request(notification)
            self._requests.pop(key, None)  # to the end, behind those that were asked before
            self._given -= {key, ("username", key[1])}
            kept = sum(map(notification_size, self._requests.values()))
            if len(self._requests) < REQUESTS_LIMIT and kept + size <= REQUESTS_SIZE_LIMIT:
                self._requests[key] = notification
        self._keep(notification, size)
        self._on_notification(notification)

    def _keep(self, notification: Notification, size: int) -> None:
        self.notifications.append(notification)
        self._notifications_size += size
        while len(self.notifications) > NOTIFICATIONS_LIMIT or self._notifications_size > NOTIFICATIONS_SIZE_LIMIT:
            self._notifications_size -= notification_size(self.notifications.popleft())

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
                elif isinstance(event, PasswordRequested) and self._protocol.state is State.EXPECT_PASSWORD:
                    # a peer that went on without waiting, or broke the protocol behind its prompt, is given nothing
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


_HOLD = ("hold", "")


def _request(notification: Request) -> tuple[str, str]:
    """What tells one question of a daemon from another."""
    if isinstance(notification, HoldNotification):
        return _HOLD
    if isinstance(notification, PasswordNeededNotification):
        return "password", notification.realm
    return "needstr" if notification.text_wanted else "needok", notification.request


def _answers(command: Command[Any]) -> tuple[str, str]:
    """The question that a command answers, if it answers one."""
    if command.name == "hold":
        return _HOLD if command.arguments == ("release",) else ("", "")
    return command.name, command.arguments[0] if command.arguments else ""


def _is_refused(reply: Reply[Any]) -> bool:
    return reply.error is not None and "not supported by the current daemon mode" in reply.error


def _hung_up(fatal: str | None) -> ConnectionLostError:
    if fatal is not None:
        return ConnectionLostError(f"the daemon ended with a fatal error: {shown(fatal)}")
    return ConnectionLostError("the daemon closed the connection")


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
    if not batch:
        return
    last = batch[-1]
    lost_end = last.fence and (following is None or following.kinds[0] is not ReplyKind.LINE)
    if lost_end or last.reply is ReplyKind.FENCED:
        batch.append(pid())


def _who_holds(endpoint: str) -> str:
    """How to see, on the server's host, which client holds the endpoint."""
    port = endpoint.rpartition(":")[2]
    if endpoint.startswith("/"):
        return f"see who is connected on the host: ss -xp src {shlex.quote(endpoint)}"
    return f"see who is connected on the host: ss -tnp 'sport = :{port or 'PORT'}'"
