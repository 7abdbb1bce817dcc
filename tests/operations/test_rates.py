"""Rates from successive readings: what can be known, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet.operations.rates import Reading, rate, total

numbers = st.integers(0, 2**64)
times = st.floats(0, 1e9)
readings = st.builds(Reading, st.none() | numbers, times, st.none() | st.integers(0, 2))


def test_bytes_per_second() -> None:
    assert rate(Reading(100, 10.0, "a"), Reading(400, 12.0, "a")) == 150.0
    assert rate(Reading(100, 10.0), Reading(100, 12.0)) == 0.0


def test_a_counter_that_began_again_says_nothing() -> None:
    assert rate(Reading(100, 10.0), Reading(99, 12.0)) is None
    assert rate(Reading(100, 10.0, "old"), Reading(400, 12.0, "new")) is None
    assert rate(None, Reading(400, 12.0)) is None
    assert rate(Reading(100, 10.0), None) is None


@given(readings, readings)
def test_a_rate_is_known_only_where_it_means_something(before: Reading, after: Reading) -> None:
    known = rate(before, after)
    if before.value is None or after.value is None:
        assert known is None
        return
    means = before.session == after.session and after.at > before.at and after.value >= before.value
    assert (known is not None) == means
    assert known is None or known >= 0


@given(numbers, numbers, st.integers(1, 10**6))
def test_a_rate_times_its_time_is_the_growth(start: int, growth: int, seconds: int) -> None:
    before = Reading(start, 0.0)
    known = rate(before, replace(before, value=start + growth, at=float(seconds)))
    assert known is not None
    assert abs(known * seconds - growth) <= 1e-9 * growth


@given(st.lists(st.none() | st.floats(0, 1e12)))
def test_a_sum_of_what_is_known(rates: list[float | None]) -> None:
    known = [one for one in rates if one is not None]
    assert total(rates) == (sum(known) if known else None)
