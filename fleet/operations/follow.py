"""Following servers: a session with each that is kept, real-time messages as they come, and a new session after a loss.

What is followed is a `Feed`, one for each server: it switches messages on, says which of them are wanted, and how they
go on after a loss. A `Follower` keeps one server's session alive for its feed and hands every message to a `Sink`.

A daemon whose client does not read keeps what it has to say in memory without a limit (protocol-facts 6.8). So where
the sink takes no more for a while, the session is closed, and the next one goes on where the daemon's own history
allows it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

from fleet.engine import Attempt
from fleet.errors import (
    AuthFailedError,
    CommandFailedError,
    FailedError,
    ForwardingRefusedError,
    HostKeyChangedError,
    HostKeyUnknownError,
    ManagementPasswordError,
    ServerError,
)
from fleet.management import commands, notifications
from fleet.management.notifications import Notification
from fleet.operations.conversation import Conversation
from fleet.operations.feeds import Feed
from fleet.operations.messages import Event, Gap, Message, source_of, time_of

HEARTBEAT_INTERVAL: Final = 30.0
"""Seconds of silence after which the daemon is asked something, so that a dead connection is noticed."""

RETRY_FIRST: Final = 0.5
RETRY_LONGEST: Final = 30.0
"""Seconds before the first and the longest time before a later attempt to attach; each is doubled, and has jitter."""

STALL_TIMEOUT: Final = 5.0
"""Seconds that the sink may take for one message before the session is closed."""

RELEASE_PAUSE: Final = 1.0
"""Seconds that a released session stays closed. Who waits for it already is served before fleet anyway."""

RESTORE_TIMEOUT: Final = 10.0
"""Seconds at the end for putting a server's settings back, a new connection included."""

# Trying again changes nothing about these until a person does something; some are counted by whoever guards the host.
_NOT_TRIED_AGAIN = (
    FailedError,
    HostKeyUnknownError,
    HostKeyChangedError,
    AuthFailedError,
    ForwardingRefusedError,
    ManagementPasswordError,
)


class Sink(Protocol):
    """Where a follower's events go, and what it tells of itself."""

    async def put(self, event: Event) -> None:
        """Takes an event. Waits while there is no room; one that is cancelled meanwhile was not taken."""

    async def room(self) -> None:
        """Waits until what was taken has gone on."""

    def attached(self, server: str) -> None:
        """A session with the server stands, and was not there before."""

    def detached(self, server: str, error: ServerError | None, *, final: bool) -> None:
        """There is no session with the server any more, or still none; `final`: and none is tried for.

        Without an error the output could not keep up.
        """

    def warned(self, server: str, text: str) -> None:
        """The operator should know something of this server."""

    def left_changed(self, server: str, text: str) -> None:
        """Something that was changed on this server could not be put back at the end."""


class _StalledError(Exception):
    """The sink took nothing for too long."""


class _Released(Exception):  # noqa: N818 - no error: the agreed end of a session
    """It is others' turn."""


def backoff(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failed attempts in a row: doubled each time up to a limit, half at random."""
    longest = min(RETRY_LONGEST, RETRY_FIRST * 2.0 ** min(failures - 1, 16))
    return float(longest * (0.5 + jitter() / 2))


class Follower:
    """Keeps one server's session for a feed, from its first attempt until it is cancelled.

    Attributes:
        attempt: the engine's record of the work on this server.
        attached: the server is followed: its last attempt to have a session went well.
        error: why it did not.
    """

    def __init__(
        self,
        attempt: Attempt,
        feed: Feed,
        sink: Sink,
        *,
        connect: Callable[[Attempt], AbstractAsyncContextManager[Conversation]],
        live: bool = True,
        release_interval: float | None = None,
        force: bool = False,
    ) -> None:
        """Connects nothing yet.

        Args:
            attempt: the engine's record of the work on this server.
            feed: what is followed.
            sink: where it goes.
            connect: opens a session, an async context manager.
            live: False ends it after what the feed had to show of the past.
            release_interval: seconds after which the session is given to others and taken again; None: never.
            force: also follow a daemon that asks its management client to admit users.
        """
        self.attempt = attempt
        self._server = attempt.server.name
        self._feed = feed
        self._sink = sink
        self._connect = connect
        self._live = live
        self._release_interval = release_interval
        self._force = force
        self._warnings = 0
        self._failures = 0
        self._dropped = 0
        self._usable = False  # no command is under way on the session, which may still be asked something
        self._restore_until: float | None = None  # loop time, once something is being put back
        self._shown: str | None = "new"  # what people were told last: "+", an error's code, or nothing yet
        self.attached = False
        self.error: ServerError | None = None

    @property
    def owed(self) -> str | None:
        """What was changed on the server and is not put back yet, for people; None for nothing."""
        return self._feed.owed

    async def follow(self) -> None:
        """Follows until cancelled; without `live`, until the past was shown.

        Raises:
            ServerError: the server cannot be followed, and trying again would not help; without `live` any failure.
        """
        try:
            while True:
                try:
                    return await self._session()
                except _Released:
                    await asyncio.sleep(RELEASE_PAUSE)
                except _StalledError:
                    self.attached = False
                    self._tell_detached(None)
                    await self._sink.room()
                except ServerError as error:
                    self.attached, self.error = False, error
                    final = not self._live or isinstance(error, _NOT_TRIED_AGAIN)
                    self._tell_detached(error, final=final)
                    if final:
                        raise
                    self._failures += 1
                    await asyncio.sleep(backoff(self._failures))
        finally:
            await self._put_back_later()

    async def _session(self) -> None:
        """One session, from connecting to its end."""
        clock = asyncio.get_running_loop().time
        self.attempt.confirmed.clear()  # of the session before: a server may be followed for months
        async with self._connect(self.attempt) as conversation:
            try:
                past = await self._feed.attach(conversation)
                self._usable = True
                self._tell_attached()
                self._dropped = 0
                for item in past:
                    await self._show(item)
                if self._live:
                    self.attempt.phase = "following"
                    interval = self._release_interval
                    await self._listen(conversation, None if interval is None else clock() + interval)
            finally:
                await self._put_back_now(conversation)
                self._usable = False

    async def _listen(self, conversation: Conversation, until: float | None) -> None:
        """Shows messages as they come.

        Raises:
            _Released: the time until which the session may be kept is over.
            _StalledError: the sink takes no more.
            ServerError: the session is over.
        """
        clock = asyncio.get_running_loop().time
        while True:
            patience = HEARTBEAT_INTERVAL if until is None else min(HEARTBEAT_INTERVAL, max(0.0, until - clock()))
            notification = await conversation.session.wait(patience)
            if until is not None and clock() >= until:
                if notification is not None:
                    await self._show(notification)
                raise _Released
            if notification is None:
                await self._check(conversation)
            else:
                await self._heed(conversation, notification)
                await self._show(notification)
                await self._keep_up(conversation, notification)

    async def _keep_up(self, conversation: Conversation, notification: Notification) -> None:
        """Lets the feed answer a message.

        Raises:
            ServerError: the session is over.
        """
        self._usable = False
        await self._feed.keep_up(conversation, notification)
        self.attempt.phase, self._usable = "following", True

    async def _check(self, conversation: Conversation) -> None:
        """Asks what no daemon logs (protocol-facts 1): whoever does not answer is gone.

        Raises:
            ServerError: the session is over.
        """
        self._usable = False
        await conversation.ask(commands.load_stats())
        self.attempt.phase, self._usable = "following", True

    async def _heed(self, conversation: Conversation, notification: Notification) -> None:
        """Looks for what the operator has to know, and for what forbids to stay."""
        if conversation.session.dropped > self._dropped:
            self._dropped = conversation.session.dropped
            await self._show("messages are missing: more came at once than fleet keeps")
        if isinstance(notification, notifications.ClientNotification) and notification.kind in ("CONNECT", "REAUTH"):
            if not self._force:
                raise CommandFailedError(
                    "this daemon asks its management client to admit users, and they would wait while fleet follows it",
                    hint="mark it `exclusive: true` in the inventory; --force follows it all the same",
                )
            self._say_warnings()

    async def _show(self, item: Notification | str) -> None:
        """Hands an item to the sink, and says to the feed that it need not come again."""
        now = datetime.now(UTC)
        if isinstance(item, str):
            await self._put(Gap(self._server, now, item))
            return
        if self._feed.wants(item):
            await self._put(Message(self._server, time_of(item, now), source_of(item), item))
        self._feed.taken(item)

    async def _put(self, event: Event) -> None:
        try:
            async with asyncio.timeout(STALL_TIMEOUT):
                await self._sink.put(event)
        except TimeoutError:
            raise _StalledError from None

    # --- putting back what was changed

    async def _put_back_now(self, conversation: Conversation) -> None:
        """At the end of the work, over the session that there is: what interrupts it is cancellation, or an error."""
        if self._feed.owed is None or not self._ending or not self._usable:
            return
        with suppress(ServerError, TimeoutError):  # a new session is tried, once, when this one is closed
            await self._in_time(partial(self._feed.put_back, conversation))

    @property
    def _ending(self) -> bool:
        """Whether the work was cancelled: the session will not be followed by another."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def _in_time(self, put_back: Callable[[], Awaitable[None]]) -> None:
        """Puts back within the time for it. It begins with the first try; another one has what is left of it.

        In a task of its own: in one that was cancelled, timeouts end as cancellations up to Python 3.11.3.

        Raises:
            TimeoutError: the time is over.
            ServerError: as `put_back`.
        """
        if self._restore_until is None:
            self._restore_until = asyncio.get_running_loop().time() + RESTORE_TIMEOUT
        until = self._restore_until

        async def within() -> None:
            async with asyncio.timeout_at(until):
                await put_back()

        await asyncio.create_task(within())

    async def _put_back_later(self) -> None:
        """When the work ends without a session: connects once more for what is owed."""
        if self._feed.owed is None:
            return
        reason = f"not within {RESTORE_TIMEOUT:g} s"
        try:
            await self._in_time(self._put_back_over_a_new_session)
        except ServerError as error:
            reason = error.message
        except TimeoutError:
            pass
        if self._feed.owed is not None:
            self._sink.left_changed(self._server, f"{self._feed.owed}; it could not be put back: {reason}")

    async def _put_back_over_a_new_session(self) -> None:
        await asyncio.sleep(0)  # where no time is left it ends here, and nothing is begun
        async with self._connect(self.attempt) as conversation:
            await self._feed.put_back(conversation)

    # --- what people are told

    def _tell_attached(self) -> None:
        self.attached, self.error, self._failures = True, None, 0
        if self._shown != "+" and self._live:
            self._sink.attached(self._server)
        self._shown = "+"
        self._say_warnings()

    def _tell_detached(self, error: ServerError | None, *, final: bool = False) -> None:
        shown = "stalled" if error is None else error.code
        if final or self._shown != shown:
            self._sink.detached(self._server, error, final=final)
        self._shown = shown

    def _say_warnings(self) -> None:
        for text in self.attempt.warnings[self._warnings :]:
            self._sink.warned(self._server, text)
        self._warnings = len(self.attempt.warnings)
