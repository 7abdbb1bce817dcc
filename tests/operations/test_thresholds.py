"""Ranges as the Monitoring Plugins' guidelines have them."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.operations.thresholds import Level, Range, Threshold, worst


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [  # the table of the guidelines, "Threshold and Ranges"
        ("10", [0, 5, 10], [-1, 10.5, 11]),
        ("10:", [10, 1e12], [9.99, 0, -1]),
        ("~:10", [10, -1e12], [10.1]),
        ("10:20", [10, 15, 20], [9, 21]),
        ("@10:20", [9, 21], [10, 15, 20]),
        ("0", [0], [-1, 1]),
        ("-5:-1.5", [-5, -1.5], [0, -6]),
        (":10", [0, 10], [-1]),
        ("@5", [6, -1], [0, 5]),
        ("1K:1Mi", [1000, 2**20], [999, 2**20 + 1]),
        ("~:2g", [2e9], [2e9 + 1]),
    ],
)
def test_what_alerts(text: str, good: list[float], bad: list[float]) -> None:
    limit = Range.parse(text)
    assert [value for value in good if limit.alerts(value)] == []
    assert [value for value in bad if not limit.alerts(value)] == []


@pytest.mark.parametrize(
    "text",
    ["", ":", "@", "@:", "~", "a", "1:2:3", "20:10", "1e3", "10%", "nan", "inf", " 10", "1,5", "10X", "10i", "9" * 40],
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a|behind its end"):
        Range.parse(text)


NUMBERS = st.integers(-(10**12), 10**12) | st.integers(-(10**9), 10**9).map(lambda number: number / 1000)


@given(st.tuples(NUMBERS | st.just(-inf), NUMBERS | st.just(inf)), st.booleans())
def test_perfdata_has_the_same_range(ends: tuple[float, float], inside: bool) -> None:
    limit = Range(min(ends), max(ends), inside=inside)
    if limit.start == -inf and limit.end == inf:
        return
    assert Range.parse(str(limit)) == limit


@given(st.lists(st.sampled_from(Level)))
def test_the_worst_is_in_this_order(levels: list[Level]) -> None:
    order = [Level.CRITICAL, Level.WARNING, Level.UNKNOWN, Level.OK]
    assert worst(levels) is next((level for level in order if level in levels), Level.OK)


def test_a_percentage_is_held_against_percents() -> None:
    threshold = Threshold(Range.parse("25%", percent=True), Range.parse("3", percent=True))
    breach = threshold.breach(2, percent=50)
    assert breach is not None
    assert breach[0] is Level.WARNING
    assert threshold.breach(2, percent=25) is None
    assert threshold.breach(2) is None  # no percentage is known
    worse = threshold.breach(4, percent=100)
    assert worse is not None
    assert worse[0] is Level.CRITICAL
