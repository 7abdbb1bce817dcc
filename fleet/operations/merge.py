"""One history out of those of many servers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from operator import itemgetter

from fleet.operations.messages import Event


def merge_by_time(histories: Iterable[Iterable[Event]]) -> Iterator[Event]:
    """The events of several servers by their times; at the same time those of the first server come first.

    Each server's own events stay in their order. One behind a clock that was set back goes with the one before it.
    """
    return (event for _, event in heapq.merge(*map(_timed, histories), key=itemgetter(0)))


def _timed(history: Iterable[Event]) -> Iterator[tuple[datetime, Event]]:
    """Each event with the time to sort it by, which never goes back."""
    latest = datetime.min.replace(tzinfo=UTC)
    for event in history:
        latest = max(latest, event.time)
        yield latest, event
