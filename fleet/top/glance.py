"""What top asks of a server each time: its status and, of the one whose log is shown, its log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from fleet.management import commands
from fleet.management.replies import LogLine
from fleet.operations.conversation import Conversation
from fleet.operations.overlap import find_overlap
from fleet.operations.status import STATUS, ServerStatus

LOG_ASKED = 100
"""Log lines that are asked for each time: of them some tell of this very asking and are not shown."""

LOG_KEPT = 200
"""Log lines that are kept of a server; a limit of memory."""

_OF_SESSIONS = "MANAGEMENT: "


@dataclass(frozen=True, slots=True)
class Glance:
    """What one server said.

    Attributes:
        status: who is connected, and how much went through.
        log: the end of its log; None where it was not asked for.
    """

    status: ServerStatus
    log: tuple[LogLine, ...] | None = None


def glance(wants_log: Callable[[str], bool]) -> Callable[[Conversation], Awaitable[Glance]]:
    """What is performed on each server.

    Args:
        wants_log: whether the log of the server with this name is shown now.
    """

    async def perform(conversation: Conversation) -> Glance:
        answer = await STATUS.perform(conversation)
        log = None
        if wants_log(conversation.server.name):
            log = await conversation.run(commands.log(str(LOG_ASKED)))
        return Glance(answer.value, log)

    return perform


class LogTail:
    """The end of one server's log, put together from what it said each time.

    Lines that tell of management clients are left out: most are of top's own asking, which would push everything else
    out of a daemon's log of 250 lines within minutes.

    Attributes:
        server: whose log it is.
        lines: the last of them, oldest first.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self.lines: list[LogLine] = []
        self.asked = False  # whether it was told already

    def extend(self, log: Iterable[LogLine]) -> None:
        """Takes what the daemon has now."""
        self.asked = True
        told = [line for line in log if not line.text.startswith(_OF_SESSIONS)]
        new = told[find_overlap(self.lines, told).position :]
        self.lines = [*self.lines, *new][-LOG_KEPT:]
