"""Following the daemons' logs: which lines are shown, and a log level that is raised for the time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fleet.errors import UsageError
from fleet.management import commands
from fleet.management.notifications import FatalNotification, LogNotification, Notification
from fleet.management.replies import LogLine
from fleet.operations.conversation import Conversation
from fleet.operations.feeds import LOCKING_VERB, HistoryFeed, refuse_locking_verb

LEVELS: Final = "INWFD"
"""The flags of log lines: information, error, warning, fatal error, debug (management notes, COMMAND -- log)."""

NO_FLAG: Final = "-"
"""What stands for the lines without a flag, which most are."""


_SESSION: Final = "MANAGEMENT: "
_SESSION_BEGINS: Final = "MANAGEMENT: Client connected"
"""The begin of the lines that tell of management clients, and of those that tell that one has come."""

_SIGHUP: Final = re.compile(r"SIGHUP\[[a-z_,-]*\] received, process restarting")
"""What a daemon logs when it reads its configuration again, whoever sent the signal."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which log lines are shown.

    Attributes:
        include: of these, one must be found in the line's text; none lets every line pass.
        exclude: of these, none may be found in it.
        levels: flags of which a line must have one; None lets every line pass.
        since: the oldest time that is shown of a history; None: no limit. Aware.
        tail: how many of the lines that pass are shown of a history; None: all.
    """

    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()
    levels: frozenset[str] | None = None
    since: datetime | None = None
    tail: int | None = None

    def passes(self, line: LogLine) -> bool:
        """Whether the line is shown, wherever it comes from."""
        if self.levels is not None and self.levels.isdisjoint(line.flags or NO_FLAG):
            return False
        if self.include and not any(pattern.search(line.text) for pattern in self.include):
            return False
        return not any(pattern.search(line.text) for pattern in self.exclude)

    def begin(self, history: Sequence[LogLine]) -> int:
        """The position in a history from which on its passing lines are those that are shown."""
        first = 0
        if self.since is not None:
            since = self.since
            first = next((index for index, line in enumerate(history) if line.time >= since), len(history))
        wanted = [index for index in range(first, len(history)) if self.passes(history[index])]
        if self.tail is not None:
            wanted = wanted[max(0, len(wanted) - self.tail) :]
        return wanted[0] if wanted else len(history)


def begin_of_session(history: Sequence[LogLine]) -> int:
    """The position of the line with which the last session began, where nothing but what it did stands behind it."""
    for index in range(len(history) - 1, -1, -1):
        if not history[index].text.startswith(_SESSION):
            break
        if history[index].text.startswith(_SESSION_BEGINS):
            return index
    return len(history)


def parse_levels(text: str) -> frozenset[str]:
    """The flags that a list like `W,F` names; `-` stands for lines without one.

    Raises:
        UsageError: one of them is no flag.
    """
    levels = frozenset(part.strip().upper() for part in text.split(","))
    if unknown := sorted(levels - {*LEVELS, NO_FLAG}):
        raise UsageError(
            f"'{unknown[0]}' is not a level of log lines",
            hint="levels are I (information), N (error), W (warning), F (fatal), D (debug) and - (lines without any)",
        )
    return levels


def check_verb(level: int) -> None:
    """Refuses a log level at which following would lock the session.

    Raises:
        UsageError: it is not from 0 to 7.
    """
    if level >= LOCKING_VERB:
        raise UsageError(
            f"--verb {level} would lock the management session: from {LOCKING_VERB} on the log is about itself",
            hint=f"--verb {LOCKING_VERB - 1} is the most that can be followed",
        )
    if level < 0:
        raise UsageError(f"'{level}' is not a log level", hint=f"levels are 0 to {LOCKING_VERB - 1}")


class LogFeed(HistoryFeed):
    """The log of one daemon."""

    def __init__(self, lines: LogFilter, *, verb: int | None = None, live: bool = True) -> None:
        """Nothing is asked yet.

        Args:
            lines: which are shown.
            verb: the log level to raise the daemon to while it is followed, at most 7; None leaves it.
            live: False for the history alone.
        """
        super().__init__()
        self._lines = lines
        self._verb = verb
        self._live = live
        self._before: int | None = None  # the log level to put back
        self._own: Sequence[Notification] = ()  # lines that the session itself left in the log, not to be shown

    async def history(self, conversation: Conversation) -> Sequence[Notification]:
        """As `log on all` gives it; without `live`, as `log all`.

        Raises:
            ServerError: also CommandFailedError where the daemon's log level is one that would lock the session.
        """
        if self._live:
            level = await refuse_locking_verb(conversation)
            if self._verb is not None:
                await self._raise(conversation, self._verb, level)
        command = commands.log_live(history="all") if self._live else commands.log("all")
        return [LogNotification(line) for line in await conversation.run(command)]

    def begin(self, history: Sequence[Notification]) -> int:
        """As the filter's `since` and `tail` say, which are of the time before this session.

        What the session itself has left at the end is shown only where it is the begin of what is followed.
        """
        entries = [item.entry for item in history if isinstance(item, LogNotification)]
        end = begin_of_session(entries)
        self._own = () if self._live else history[end:]
        start = self._lines.begin(entries[:end])
        return start if start < end else len(history)

    def wants(self, notification: Notification) -> bool:
        """Log lines that pass, and the end of the daemon."""
        if isinstance(notification, LogNotification):
            # The very object: the same words may come again, from somebody else.
            return self._lines.passes(notification.entry) and not any(notification is own for own in self._own)
        return isinstance(notification, FatalNotification)

    def keeps(self, notification: Notification) -> bool:
        """Log lines, shown or not."""
        return isinstance(notification, LogNotification)

    # --- the log level, which outlives a session (protocol-facts 6.6)

    async def _raise(self, conversation: Conversation, wanted: int, level: int) -> None:
        """Raises the level; what the daemon has in place of what it was given is somebody's new wish, or a SIGHUP's."""
        if level == wanted and self._before is not None:
            return
        self._before = level if level < wanted else None
        if self._before is not None:
            await conversation.run(commands.verb(wanted))

    async def keep_up(self, conversation: Conversation, notification: Notification) -> None:
        """Raises the level again behind a SIGHUP, which has reset it when the next command is read (11.8).

        Raises:
            ServerError: as `history`.
        """
        if self._verb is None or not isinstance(notification, LogNotification):
            return
        if _SIGHUP.fullmatch(notification.entry.text):
            await self._raise(conversation, self._verb, await refuse_locking_verb(conversation))

    @property
    def owed(self) -> str | None:
        """That the log level was raised."""
        if self._before is None:
            return None
        return f"the log level was raised from {self._before} to {self._verb} (fleet verb {self._before} sets it)"

    async def put_back(self, conversation: Conversation) -> None:
        """Puts the old level back, unless the daemon has another one by now than it was given."""
        if self._before is not None and await conversation.run(commands.verb()) == self._verb:
            await conversation.run(commands.verb(self._before))
        self._before = None
