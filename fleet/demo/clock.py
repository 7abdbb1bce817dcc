"""The clock of a simulated daemon: the event loop's, or one that a test turns by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that was put off and can be called off."""

    def cancel(self) -> None:
        """Calls it off; afterwards it never happens."""


class Clock(Protocol):
    """What a daemon asks of its clock."""

    def time(self) -> float:
        """Unix time in seconds."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Calls `callback` once, `delay` seconds from now."""


class LoopClock:
    """The time of day, and the timers of the running event loop."""

    def time(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Calls `callback` once, `delay` seconds from now, in the running loop."""
        return asyncio.get_running_loop().call_later(delay, callback)


class ManualClock:
    """A clock that stands still until `advance`; timers run inside that call, in the order of their time."""

    def __init__(self, now: float = 1_795_336_588.0) -> None:
        """Starts at Unix time `now`."""
        self._now = now
        self._timers: list[_ManualTimer] = []

    def time(self) -> float:
        """Unix time in seconds."""
        return self._now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Calls `callback` once, when the clock was advanced by `delay` seconds."""
        timer = _ManualTimer(self._now + delay, callback, self._timers)
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Lets time pass, and what was due in it happen."""
        end = self._now + seconds
        while due := [timer for timer in self._timers if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self._timers.remove(timer)
            self._now = timer.when
            timer.callback()
        self._now = end


class _ManualTimer:
    def __init__(self, when: float, callback: Callable[[], None], timers: list[_ManualTimer]) -> None:
        self.when = when
        self.callback = callback
        self._timers = timers

    def cancel(self) -> None:
        if self in self._timers:
            self._timers.remove(self)
