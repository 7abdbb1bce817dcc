"""Sizes, durations and times, as people read and write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_KIBI: Final = 1024
_ONE_DECIMAL_BELOW: Final = 9.95  # what would show as 10.0 is shown as 10

_PARTS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_MINUTE: Final = 60
_MILLISECONDS_BELOW: Final = 0.0995  # seconds; what would show as 100 ms is shown as 0.1 s

_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h)?")
_FACTORS: Final = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def size(count: int) -> str:
    """Bytes in binary units, two or three digits: `512 B`, `1.9 MiB`, `22 MiB`."""
    if abs(count) < _KIBI:
        return f"{count} B"
    value = float(count)
    power = 0
    # What would round up to 1024 of a unit is 1.0 of the next; the last unit takes everything.
    while abs(value) >= _KIBI - 0.5 and power < len(_UNITS) - 1:
        value /= _KIBI
        power += 1
    unit = _UNITS[power]
    return f"{value:.1f} {unit}" if abs(value) < _ONE_DECIMAL_BELOW else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """Whole seconds in the two largest units: `12d 3h`, `3h 12m`, `4m`, `45s`. What is negative counts as 0.

    The second is the unit next to the first, and left out where it is 0.
    """
    rest = max(0, int(seconds))
    for index, (unit, length) in enumerate(_PARTS):
        count, rest = divmod(rest, length)
        if count and unit != "s":
            smaller, smaller_length = _PARTS[index + 1]
            second = rest // smaller_length
            return f"{count}{unit} {second}{smaller}" if second else f"{count}{unit}"
    return f"{count}s"


def elapsed(seconds: float) -> str:
    """How long something took: `40 ms`, `10.1 s`, `2m 5s`."""
    if seconds < _MILLISECONDS_BELOW:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    return duration(round(seconds))


def age(since: datetime, now: datetime) -> str:
    """The time from `since` to `now`, both aware; a clock that is ahead gives `0s`."""
    return duration((now - since).total_seconds())


def rfc3339(time: datetime) -> str:
    """An aware time in UTC: `2026-11-22T08:00:00Z`, with a fraction only where there is one.

    Raises:
        ValueError: the time is without a zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    if time.tzinfo is not UTC:  # nearly every time is, and a status has thousands
        time = time.astimezone(UTC)
    text = time.isoformat().removesuffix("+00:00")
    return (text.rstrip("0") if "." in text else text) + "Z"


def parse_duration(text: str) -> float:
    """Seconds from `500ms`, `5s`, `2m`, `1h`, or a plain number of seconds.

    Raises:
        ValueError: the text is none of these; the message says what is allowed.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 500ms, 5s, 2m, 1h, or a plain number of seconds")
    return round(float(match[1]) * _FACTORS[match[2]], 9)
