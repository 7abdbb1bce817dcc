"""What one SSH server stands of one machine: so many logins at a time, and none while it has shut it out.

OpenSSH drops connections of a burst (`MaxStartups`), and from 9.8 on all those of an address that has failed to log in
too often (`PerSourcePenalties`), which more tries would not shorten.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from fleet.errors import ServerError

MAX_HANDSHAKES = 8
"""Logins that begin at a time at one SSH server: a default sshd starts to drop them at ten (MaxStartups)."""

SHUT_OUT = 60.0
"""Seconds in which a server that has shut this machine out is not tried again; twice as long each time after that."""

LONGEST_SHUT_OUT = 600.0
"""Seconds: no penalty of an OpenSSH server is longer, as it comes."""


class Gate:
    """The logins at one SSH server: a context manager around each.

    Attributes:
        most: logins that begin at a time.
    """

    def __init__(self) -> None:
        self.most = MAX_HANDSHAKES
        self._under_way = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._shut: ServerError | None = None
        self._shut_for = SHUT_OUT
        self._shut_until = 0.0  # loop time, seconds

    async def __aenter__(self) -> Self:
        """Wait for a turn.

        Raises:
            ServerError: this machine is shut out.
        """
        self.check()
        if self._under_way < self.most:
            self._under_way += 1
            return self
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
            self.check()
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the next one begin, unless there are to be fewer."""
        self._leave()

    def _leave(self) -> None:
        self._under_way -= 1
        while self._turns and self._under_way < self.most:
            turn = self._turns.popleft()
            if not turn.done():  # it may have been cancelled
                self._under_way += 1
                turn.set_result(None)

    def crowded(self) -> None:
        """The server has said that too many logins begin at a time: there are to be half as many, and at least one."""
        self.most -= self.most // 2

    def shut(self, error: ServerError) -> None:
        """The server has shut this machine out."""
        if self._shut is None:
            self._shut = error
            self._shut_until = asyncio.get_running_loop().time() + self._shut_for
            self._shut_for = min(2 * self._shut_for, LONGEST_SHUT_OUT)

    def check(self) -> None:
        """Whether anything may be tried.

        Raises:
            ServerError: why not.
        """
        if self._shut is None:
            return
        if asyncio.get_running_loop().time() >= self._shut_until:
            self._shut = None
            return
        raise type(self._shut)(self._shut.message, hint=self._shut.hint) from self._shut
