"""Tasks that outlive the one who asked for them, so that a cancelled wait never leaves half an SSH channel behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Tasks:
    """The running background tasks of one transport."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that `finish` waits for."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._settled)
        return task

    async def run(
        self, work: Coroutine[Any, Any, T], *, late: Callable[[T], None], clock_timeout: float | None = None
    ) -> T:
        """The result of work that is never cancelled in the middle.

        A cancelled channel open would be confirmed later by the SSH server, with nobody there to close it: the daemon's
        one management session would stay taken. So the work goes on, and what it brings is given to `late`.

        Args:
            work: what to wait for.
            late: closes a result that came when nobody waited any more.
            clock_timeout: seconds to wait; None is no limit.

        Raises:
            TimeoutError: the time is over.
        """
        task = self.spawn(work)
        taken = False
        try:
            await asyncio.wait([task], timeout=clock_timeout)
            taken = task.done()
        finally:
            if not taken:
                task.add_done_callback(lambda done: None if _failed(done) else late(done.result()))
        if not taken:
            raise TimeoutError
        return task.result()

    async def finish(self, grace_timeout: float) -> None:
        """Wait until every task has ended, and cancel those that have not within `grace_timeout` seconds."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace_timeout)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace_timeout)

    def _settled(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        _failed(task)  # marks the exception as seen: whoever waits gets it, and asyncio need not log it


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None
