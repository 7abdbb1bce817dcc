"""An event loop whose turns are counted, so that something can happen after each of them: at every await of a run."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable
from pathlib import Path


class Steps(selectors.DefaultSelector):
    """Counts the turns of the loop, and does something after so many: waiting for a thread or a packet is one turn."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.then: Callable[[], object] = bool

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.left == 0:
            self.left, timeout = None, 0
            self.then()
        elif self.left is not None:
            self.left -= 1
        return super().select(timeout)

    def loop(self) -> asyncio.SelectorEventLoop:
        """A loop that these are the steps of."""
        return asyncio.SelectorEventLoop(self)


def open_sockets() -> int:
    count = 0
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the folder's own descriptor is gone by then
            count += str(file.readlink()).startswith("socket:")
    return count
