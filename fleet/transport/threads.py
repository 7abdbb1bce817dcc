"""Work that blocks, in threads that hold up nothing when they hang."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Runs what blocks in daemon threads, some at a time.

    asyncio's own executor has few threads, and asyncio.run() waits for each of them: a name server or a command of
    ssh_config that hangs would hold up the end of the run.
    """

    def __init__(self, limit: int) -> None:
        """Nothing runs yet.

        Args:
            limit: threads at a time; work that hangs keeps its place.
        """
        self._free = asyncio.Semaphore(limit)

    async def run(self, work: Callable[[], T], name: str) -> T:
        """What work returns, or what it raises.

        Args:
            work: called in a thread; it goes on where nobody waits for it any more.
            name: of the thread.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(give: Callable[[], None]) -> None:
            self._free.release()
            if not answer.done():  # else nobody waits any more
                give()

        def in_thread() -> None:
            give: Callable[[], None]
            try:
                found = work()
            except BaseException as exc:  # noqa: BLE001 - raised where the answer is awaited
                error = exc
                give = lambda: answer.set_exception(error)  # noqa: E731 - a def would be no shorter
            else:
                give = lambda: answer.set_result(found)  # noqa: E731 - as above
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, give)

        threading.Thread(target=in_thread, name=name, daemon=True).start()
        return await answer
