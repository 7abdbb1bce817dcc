"""What can be followed on a server: its states, its real-time messages, and whatever it keeps a history of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from fleet.errors import CommandFailedError
from fleet.management import commands, notifications
from fleet.management.commands import Command
from fleet.management.notifications import Notification, notification_size
from fleet.operations.conversation import Conversation
from fleet.operations.messages import source_of
from fleet.operations.overlap import find_overlap

BYTECOUNT_INTERVAL: Final = 10
"""Seconds between two byte counts where the user names none."""

BYTECOUNT_MAX: Final = 86_400
"""Seconds; more is a slip of the keyboard."""

SEEN_LIMIT: Final = 4000
"""Security limit: messages of a server that are kept to find the place in its history by. protocol-facts 11.5 wants
2,000 at least."""

SEEN_SIZE_LIMIT: Final = 4 * 2**20
"""Security limit: characters of those messages; of what OpenVPN itself says, SEEN_LIMIT messages have less."""

_MISSING: Final = "messages may be missing: the daemon's history does not show where it goes on"

LOCKING_VERB: Final = 8
"""From this log level on, `log on` locks the session: its own lines feed it (protocol-facts 6.4)."""


async def refuse_locking_verb(conversation: Conversation) -> int:
    """The daemon's log level, where its log can be followed.

    Raises:
        CommandFailedError: at this level the session would hear nothing but itself.
    """
    level = await conversation.run(commands.verb())
    if level >= LOCKING_VERB:
        raise CommandFailedError(
            f"the daemon's log level is {level}, and from {LOCKING_VERB} on following the log would lock the session",
            hint=f"set a lower one first: fleet verb {LOCKING_VERB - 1} -l SERVER",
        )
    return level


class Feed(Protocol):
    """What is followed on one server. It lives from the first session to the last."""

    async def attach(self, conversation: Conversation) -> Sequence[Notification | str]:
        """Switches messages on in a new session.

        Returns:
            What is to be shown of the time before the live messages, oldest first; a text is the reason of a gap.

        Raises:
            ServerError: the server cannot be followed.
        """

    def wants(self, notification: Notification) -> bool:
        """Whether the message is to be shown."""

    def taken(self, notification: Notification) -> None:
        """The message was shown, or was not wanted: it never has to be shown again."""

    async def keep_up(self, conversation: Conversation, notification: Notification) -> None:
        """Does again what the daemon has undone by what it tells of here, for example by a SIGHUP.

        Raises:
            ServerError: the server cannot be followed any more.
        """

    @property
    def owed(self) -> str | None:
        """What was changed on the server and is still to be put back, for people; None for nothing."""

    async def put_back(self, conversation: Conversation) -> None:
        """Puts back what is owed.

        Raises:
            ServerError: it is still owed.
        """


class EventFeed:
    """Real-time messages of the wanted types, as they come; what came between two sessions is a gap."""

    owed = None

    def __init__(self, types: Iterable[str] = (), *, interval: int = BYTECOUNT_INTERVAL, gaps: bool = True) -> None:
        """Nothing is asked yet.

        Args:
            types: sources as in SOURCES; none: all that come without log lines and byte counts.
            interval: seconds between two byte counts, where they are wanted.
            gaps: whether what is missed between two sessions is worth a word.
        """
        self._types = frozenset(types)
        self._interval = interval
        self._gaps = gaps
        self._since: datetime | None = None  # when the last session ended, or was last heard

    async def attach(self, conversation: Conversation) -> Sequence[Notification | str]:
        """Switches on what is wanted (management notes, COMMAND -- state, echo, log, bytecount)."""
        if self._is_wanted("LOG"):
            await refuse_locking_verb(conversation)
        for command in self._switches():
            (reply,) = await conversation.ask(command)
            reply.result()
        again, self._since = self._since, datetime.now(UTC)
        if again is None or not self._gaps:
            return ()
        return [f"there was no session for some time after {again:%H:%M:%S}"]

    def _switches(self) -> Iterable[Command[Any]]:
        if not self._types or "STATE" in self._types:
            yield commands.switch("state", on=True)
        if not self._types or "ECHO" in self._types:
            yield commands.switch("echo", on=True)
        if self._is_wanted("BYTECOUNT") or self._is_wanted("BYTECOUNT_CLI"):
            yield commands.bytecount(self._interval)
        if self._is_wanted("LOG"):
            yield commands.switch("log", on=True)

    def _is_wanted(self, source: str) -> bool:
        """Whether a type that is silent by default was named."""
        return source in self._types

    def wants(self, notification: Notification) -> bool:
        """Whether it is of a wanted type."""
        return not self._types or source_of(notification) in self._types

    def taken(self, notification: Notification) -> None:
        """Notes when the server was last heard."""
        del notification  # whichever it was
        self._since = datetime.now(UTC)

    async def keep_up(self, conversation: Conversation, notification: Notification) -> None:
        """Nothing is undone as long as the session lasts."""

    async def put_back(self, conversation: Conversation) -> None:
        """Nothing is owed: all of it ends with the session (protocol-facts 6.6)."""


class HistoryFeed(ABC):
    """Messages that the daemon keeps, so that a new session goes on just behind the last message of the one before."""

    def __init__(self) -> None:
        self._seen: deque[Notification] = deque()
        self._size = 0
        self._begun = False

    @abstractmethod
    async def history(self, conversation: Conversation) -> Sequence[Notification]:
        """Switches the messages on, and what the daemon has kept of them, oldest first.

        Both by one command: with two, messages between them would come twice (protocol-facts 11.5).
        """

    @abstractmethod
    def begin(self, history: Sequence[Notification]) -> int:
        """The position in the first session's history from which on it is shown."""

    async def attach(self, conversation: Conversation) -> Sequence[Notification | str]:
        """What of the history was not shown yet, behind a gap where it does not reach back far enough."""
        history = await self.history(conversation)
        if not self._begun:
            self._begun = True
            start = self.begin(history)
            for notification in history[:start]:
                self.taken(notification)
            return history[start:]
        found = find_overlap(tuple(self._seen), history)
        new = history[found.position :]
        return (
            new if found.sure else ["lines may be missing: the daemon's history does not show where it goes on", *new]
        )

    @abstractmethod
    def wants(self, notification: Notification) -> bool:
        """Whether the message is to be shown."""

    def taken(self, notification: Notification) -> None:
        """Keeps the message, for the next session to find its place by."""
        if not self.keeps(notification):
            return
        self._seen.append(notification)
        self._size += notification_size(notification)
        while len(self._seen) > SEEN_LIMIT or self._size > SEEN_SIZE_LIMIT:
            self._size -= notification_size(self._seen.popleft())

    @abstractmethod
    def keeps(self, notification: Notification) -> bool:
        """Whether the message is of the kind that the history has."""

    async def keep_up(self, conversation: Conversation, notification: Notification) -> None:  # noqa: B027 - as put_back
        """Nothing is undone as long as the session lasts, unless a subclass changes something."""

    @property
    def owed(self) -> str | None:
        """Nothing, unless a subclass changes something."""
        return None

    async def put_back(self, conversation: Conversation) -> None:  # noqa: B027 - most change nothing
        """Nothing to put back, unless a subclass changes something."""


class StateFeed(HistoryFeed):
    """The state of a daemon, and then every state that it comes into."""

    async def history(self, conversation: Conversation) -> Sequence[Notification]:
        """As `state on all` gives it."""
        states = await conversation.run(commands.state_live(history="all"))
        return [notifications.StateNotification(state) for state in states]

    def begin(self, history: Sequence[Notification]) -> int:
        """Only the present state."""
        return max(0, len(history) - 1)

    def wants(self, notification: Notification) -> bool:
        """States, and the end of the daemon."""
        return isinstance(notification, notifications.StateNotification | notifications.FatalNotification)

    def keeps(self, notification: Notification) -> bool:
        """States."""
        return isinstance(notification, notifications.StateNotification)
