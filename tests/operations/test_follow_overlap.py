"""The rule by which a history is joined to what was seen, against a plain reference and against simulated daemons."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fleet.operations.overlap import Overlap, find_overlap


def reference(seen: list[int], history: list[int]) -> Overlap:
    """The rule as protocol-facts 11.5 words it."""
    if not seen:
        return Overlap(0, sure=True)
    candidates = []
    for k in range(1, len(history) + 1):
        n = min(k, len(seen))
        if history[k - n : k] == seen[-n:]:
            candidates.append(k)
    if not candidates:
        return Overlap(0, sure=False)
    k = candidates[-1]
    common = history[k - min(k, len(seen)) : k]
    unique = any(seen.count(line) == 1 and history.count(line) == 1 for line in common)
    return Overlap(k, unique or (len(candidates) == 1 and len(set(common)) > 2))


few = st.lists(st.integers(0, 2), max_size=12)


@given(few, few)
def test_as_the_reference_on_lines_that_repeat(seen: list[int], history: list[int]) -> None:
    assert find_overlap(seen, history) == reference(seen, history)


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_as_the_reference_on_windows_of_one_log(log: list[int], first: int, seen_to: int, start: int) -> None:
    seen, history = log[first:seen_to], log[start:]
    assert find_overlap(seen, history) == reference(seen, history)


def test_nothing_seen_is_all_new() -> None:
    assert find_overlap([], [1, 2]) == Overlap(0, sure=True)


def test_a_history_that_has_gone_over_all_that_was_seen_is_a_gap() -> None:
    assert find_overlap([1, 2, 3], [5, 6]) == Overlap(0, sure=False)


def test_equal_lines_alone_are_not_believed() -> None:
    assert find_overlap([7, 7], [7, 7, 7]) == Overlap(3, sure=False)


def test_one_unique_line_is_enough() -> None:
    assert find_overlap([7, 8], [8, 9]) == Overlap(1, sure=True)


def test_two_distinct_lines_that_both_repeat_are_not_enough() -> None:
    assert find_overlap([1, 2, 1, 2, 9, 1, 2], [1, 2, 4, 1]) == Overlap(2, sure=False)


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_no_line_is_shown_twice_where_the_history_reaches_back(log: list[int], seen_to: int, start: int) -> None:
    seen, history = log[:seen_to], log[start:]
    assert find_overlap(seen, history).position >= min(len(log), seen_to) - min(len(log), start)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=20))
def test_a_log_of_distinct_lines_is_followed_exactly_while_the_cache_holds_it(steps: list[int]) -> None:
    cache = 60
    seen: list[int] = list(range(steps[0]))
    for before, after in pairwise([sum(steps[: i + 1]) for i in range(len(steps))]):
        history = list(range(max(0, after - cache), after))
        found = find_overlap(seen[-2000:], history)
        assert found.sure
        seen += history[found.position :]
        assert seen == list(range(after))
        assert before <= after
