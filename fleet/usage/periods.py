"""From when to when a report is, and the days, hours or months in it. All in UTC."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain
from typing import Final

from fleet.errors import UsageError
from fleet.usage.housekeeping import DAY, HOURS_KEPT

HOUR: Final = 3_600  # seconds

_SPAN: Final = re.compile(r"([0-9]{1,6})([hdw])")
_SPANS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:]+(Z|[+-][0-9]{2}:[0-9]{2})?)?")
_OLDEST_YEAR: Final = 1970
_TIMES: Final = "30d, 12h, today, yesterday, 2026-11, 2026-11-01 or 2026-11-01T08:00Z"


@dataclass(frozen=True, slots=True)
class Range:
    """A time from `start` to before `end`, both Unix times at the beginning of an hour."""

    start: int
    end: int


def parse_span(words: str) -> timedelta:
    """A time such as `400d`, `52w` or `48h`.

    Raises:
        ValueError: it is none, or is 0.
    """
    match = _SPAN.fullmatch(words)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{words!r} is not a number of days: write 400d, 52w or 48h")
    return int(match[1]) * _SPANS[match[2]]


def parse_range(since: str, until: str | None, now: datetime) -> Range:
    """The range that is meant.

    It begins and ends with an hour, as that is what is recorded; with a day where it is counted in days, and where
    the hours are no longer kept apart.

    Args:
        since: how long ago, a day, or a time.
        until: the same, for the end, which does not belong to it; None for now.
        now: the time.

    Raises:
        UsageError: that cannot be read, or the end is not behind the beginning.
    """
    start = _floor(_moment(since, now, "--since"), now)
    end = now + timedelta(hours=1) if until is None else _moment(until, now, "--until")
    chosen = Range(start, _floor(end, now))
    if chosen.end <= chosen.start:
        raise UsageError(
            f"--since {since} is not before {f'--until {until}' if until else 'now'}",
            hint="--until is the end, and does not belong to the time itself",
        )
    return chosen


def _floor(moment: datetime, now: datetime) -> int:
    step = DAY if moment < now - HOURS_KEPT else HOUR
    return int(moment.timestamp()) // step * step


def _moment(words: str, now: datetime, option: str) -> datetime:
    try:
        return _read(words, now)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option} {words!r} is no time", hint=f"write {_TIMES}") from error


def _read(words: str, now: datetime) -> datetime:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if words in named:
        return named[words]
    if span := _SPAN.fullmatch(words):
        return (now if span[2] == "h" else midnight) - int(span[1]) * _SPANS[span[2]]
    if _MONTH.fullmatch(words):
        words = f"{words}-01"
    if not _DATE.fullmatch(words):
        raise ValueError(words)
    moment = datetime.fromisoformat(words)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment.year < _OLDEST_YEAR:
        raise ValueError(words)
    return moment


def hour_of(time: int) -> int:
    """The beginning of the hour of a Unix time."""
    return time // HOUR * HOUR


def day_of(time: int) -> int:
    """The beginning of its day."""
    return time // DAY * DAY


def month_of(time: int) -> int:
    """The beginning of its month."""
    moment = datetime.fromtimestamp(time, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp())


class Presence:
    """Who was there in each of many periods: as long to make as there are sessions, however many periods each lasts.

    Args:
        starts: the beginnings of the periods, ascending; each lasts until the next.
        end: of the last one.
    """

    def __init__(self, starts: Sequence[int], end: int) -> None:
        self._starts = starts
        self._bounds = [*starts, end]
        self._sessions = [0] * (len(starts) + 1)  # how many more than in the period before
        self._whole = [0] * (len(starts) + 1)  # the same, of those that last through it
        self._seconds = [0] * len(starts)  # of the others
        self._spans: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)

    def add(self, name: Hashable, start: int, end: int) -> None:
        """A session of that name."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        last = max(bisect_right(self._starts, end) - 1, first)
        self._sessions[first] += 1
        self._sessions[last + 1] -= 1
        self._spans[name].append((first, last))
        for period in {first, last}:
            self._seconds[period] += max(min(end, self._bounds[period + 1]) - max(start, self._bounds[period]), 0)
        if last > first:
            self._whole[first + 1] += 1
            self._whole[last] -= 1

    def periods(self) -> Iterator[tuple[int, int, int, int]]:
        """Of each period its beginning, how many sessions were there, for how many seconds, and how many names."""
        changes = [0] * (len(self._starts) + 1)
        for first, last in chain.from_iterable(map(_merged, self._spans.values())):
            changes[first] += 1
            changes[last + 1] -= 1
        counts = (accumulate(each) for each in (self._sessions, self._whole, changes))
        for index, (sessions, whole, names) in zip(range(len(self._starts)), zip(*counts, strict=True), strict=False):
            length = self._bounds[index + 1] - self._bounds[index]
            yield self._starts[index], sessions, self._seconds[index] + whole * length, names


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same spans without those parts that are in several."""
    behind = -1
    for first, last in sorted(spans):
        if last > behind:
            yield max(first, behind + 1), last
            behind = last
