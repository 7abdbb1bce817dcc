"""Histories of several servers as one: by time, and each server's own order kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleet.operations.merge import merge_by_time
from fleet.operations.messages import Event, Gap

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def history(server: str, *seconds: int) -> list[Event]:
    return [Gap(server, NOON + timedelta(seconds=after), str(number)) for number, after in enumerate(seconds)]


def shown(*histories: list[Event]) -> list[str]:
    return [f"{event.server}{event.reason}" for event in merge_by_time(histories) if isinstance(event, Gap)]


def test_the_oldest_comes_first() -> None:
    assert shown(history("a", 0, 3, 4), history("b", 1, 2), history("c")) == ["a0", "b0", "b1", "a1", "a2"]


def test_at_the_same_time_it_is_the_first_server() -> None:
    assert shown(history("b", 1, 1), history("a", 1, 1)) == ["b0", "b1", "a0", "a1"]


def test_a_clock_that_was_set_back_changes_no_order() -> None:
    assert shown(history("a", 5, 1, 6), history("b", 2, 5)) == ["b0", "a0", "a1", "b1", "a2"]


@given(st.lists(st.lists(st.integers(0, 20)), max_size=5))
def test_nothing_is_lost_and_every_server_keeps_its_order(times: list[list[int]]) -> None:
    histories = [history(str(number), *seconds) for number, seconds in enumerate(times)]
    merged = list(merge_by_time(histories))
    assert len(merged) == sum(map(len, histories))
    for number, own in enumerate(histories):
        assert [event for event in merged if event.server == str(number)] == own


@given(st.lists(st.lists(st.integers(0, 20)).map(sorted), max_size=5))
def test_where_no_clock_was_set_back_times_never_go_back(times: list[list[int]]) -> None:
    merged = list(merge_by_time(history(str(number), *seconds) for number, seconds in enumerate(times)))
    assert [event.time for event in merged] == sorted(event.time for event in merged)
