from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import UsageError
from fleet.usage.periods import Presence, Range, day_of, hour_of, month_of, parse_range, parse_span

NOW = datetime(2026, 11, 22, 8, 30, 12, tzinfo=UTC)


def unix(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("30d", "2026-10-23T00:00"),
        ("2w", "2026-11-08T00:00"),
        ("12h", "2026-11-21T20:00"),
        ("today", "2026-11-22T00:00"),
        ("yesterday", "2026-11-21T00:00"),
        ("2026-11", "2026-11-01T00:00"),
        ("2026-11-01", "2026-11-01T00:00"),
        ("2026-11-20T07:59", "2026-11-20T07:00"),
        ("2026-11-20T07:59Z", "2026-11-20T07:00"),
        ("2026-11-20T00:30+02:00", "2026-11-19T22:00"),
        ("2026-01-20T07:59", "2026-01-20T00:00"),  # its hours are not kept apart any more
    ],
)
def test_since(words: str, start: str) -> None:
    assert parse_range(words, None, NOW) == Range(unix(start), unix("2026-11-22T09:00"))


def test_until_does_not_belong_to_it() -> None:
    assert parse_range("2026-10", "2026-11", NOW) == Range(unix("2026-10-01"), unix("2026-11-01"))
    assert parse_range("yesterday", "today", NOW) == Range(unix("2026-11-21"), unix("2026-11-22"))
    assert parse_range("yesterday", "now", NOW) == Range(unix("2026-11-21"), unix("2026-11-22T08:00"))


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("", None),
        ("soon", None),
        ("30", None),
        ("2026-13", None),
        ("2026-02-30", None),
        ("2026-11-01T25:00", None),
        ("1969-12-31", None),
        ("0000-00", None),
        ("1900-01", None),
        ("999999w", None),
        ("30d", "soon"),
        ("30d", "31d"),
        ("today", "today"),
        ("2027-01-01", None),
        ("2026-11-01\n", None),
    ],
)
def test_what_is_no_range_is_refused(since: str, until: str | None) -> None:
    with pytest.raises(UsageError):
        parse_range(since, until, NOW)


def test_spans() -> None:
    assert (parse_span("400d"), parse_span("2w"), parse_span("48h")) == (
        timedelta(days=400),
        timedelta(days=14),
        timedelta(hours=48),
    )
    for words in ("", "0d", "400", "d", "-1d", "1.5d", "4000000d", "400 d"):
        with pytest.raises(ValueError, match="is not a number of days"):
            parse_span(words)


def test_periods_begin_in_utc() -> None:
    time = unix("2026-02-28T23:59:59")
    assert [hour_of(time), day_of(time), month_of(time)] == [
        unix("2026-02-28T23:00"),
        unix("2026-02-28"),
        unix("2026-02-01"),
    ]


def presence(starts: list[int], end: int, sessions: list[tuple[str, int, int]]) -> list[tuple[int, int, int, int]]:
    made = Presence(starts, end)
    for name, first, last in sessions:
        made.add(name, first, last)
    return [*made.periods()]


def test_presence() -> None:
    sessions = [("a", 50, 250), ("a", 150, 150), ("b", 100, 200)]
    assert presence([0, 100, 200], 300, sessions) == [(0, 1, 50, 1), (100, 3, 200, 2), (200, 2, 50, 2)]
    assert presence([0, 100], 150, [("a", 120, 150)]) == [(0, 0, 0, 0), (100, 1, 30, 1)]
    assert presence([100], 200, [("a", 150, 150)]) == [(100, 1, 0, 1)]


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400), st.integers(0, 400)), max_size=12),
)
def test_presence_is_what_looking_at_each_second_gives(lengths: list[int], drawn: list[tuple[str, int, int]]) -> None:
    bounds = [0, *accumulate(lengths)]
    sessions = [(name, min(one, other, bounds[-1] - 1), min(max(one, other), bounds[-1])) for name, one, other in drawn]
    expected = []
    for begin, end in pairwise(bounds):
        there = [(name, one, two) for name, one, two in sessions if one < end and two >= begin]
        seconds = sum(max(min(two, end) - max(one, begin), 0) for _name, one, two in there)
        expected.append((begin, len(there), seconds, len({name for name, _one, _two in there})))
    assert presence(bounds[:-1], bounds[-1], sessions) == expected
