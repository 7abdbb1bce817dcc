"""Sizes, durations and times as people see and write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.render.units import age, duration, elapsed, parse_duration, rfc3339, size

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
MIB = 1024**2
GIB = 1024**3


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (10 * 1024 - 1, "10 KiB"),
        (int(1.9 * MIB), "1.9 MiB"),
        (22 * MIB, "22 MiB"),
        (MIB - 1, "1.0 MiB"),
        (int(9.8 * GIB), "9.8 GiB"),
        (1023 * MIB, "1023 MiB"),
        (19 * GIB, "19 GiB"),
        (1024**7, "1024 EiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@given(st.integers(0, 1024**6))
def test_a_size_is_within_its_rounding(count: int) -> None:
    number, unit = size(count).split(" ")
    factor = 1024 ** ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB").index(unit)
    assert abs(float(number) * factor - count) <= (0.0501 if "." in number else 0.501) * factor
    assert 0 <= float(number) < 1024
    assert len(number) <= 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.9, "0s"),
        (-5, "0s"),
        (45, "45s"),
        (60, "1m"),
        (240, "4m"),
        (252, "4m 12s"),
        (2 * 3600, "2h"),
        (2 * 3600 + 30, "2h"),
        (3 * 3600 + 12 * 60 + 59, "3h 12m"),
        (12 * 86400 + 3 * 3600 + 59 * 60, "12d 3h"),
        (400 * 86400, "400d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.0004, "0 ms"),
        (0.04, "40 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.1 s"),
        (0.21, "0.2 s"),
        (10.1, "10.1 s"),
        (59.94, "59.9 s"),
        (59.96, "1m"),
        (125.3, "2m 5s"),
    ],
)
def test_elapsed(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_an_age_is_the_time_since() -> None:
    assert age(NOW - timedelta(days=12, hours=3), NOW) == "12d 3h"
    assert age(NOW + timedelta(hours=1), NOW) == "0s"


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (NOW, "2026-11-22T08:00:00Z"),
        (NOW.astimezone(timezone(timedelta(hours=5, minutes=30))), "2026-11-22T08:00:00Z"),
        (NOW.replace(microsecond=250_000), "2026-11-22T08:00:00.25Z"),
        (NOW.replace(microsecond=1), "2026-11-22T08:00:00.000001Z"),
    ],
)
def test_times_are_utc(time: datetime, text: str) -> None:
    assert rfc3339(time) == text
    assert datetime.fromisoformat(text) == time


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        rfc3339(datetime(2026, 11, 22))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5.0), ("2m", 120.0), ("1h", 3600.0), ("10", 10.0), ("0.5", 0.5), ("1.5m", 90.0), ("0", 0)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert isinstance(parse_duration(text), float)


@pytest.mark.parametrize(
    "text",
    ["", "s", "5 s", "-5s", "+5", "5d", "1e5", "inf", "nan", "\u0665s", ".5s", "5.", "5S", "1h30m", "9" * 400, "5\n"],
)
def test_what_is_no_duration_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write 500ms, 5s, 2m, 1h, or a plain number of seconds"):
        parse_duration(text)
