"""The machine that decides which servers are next: sizes of batches, limits, and one fate for each server."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import UsageError
from fleet.operations.rollout import Fate, Rollout, Share, batches, parse_max_fail, parse_serial

NAMES = [f"edge-{number}" for number in range(1, 9)]
FAILURES = (Fate.FAILED, Fate.UNREACHABLE, Fate.UNCONFIRMED)


@pytest.mark.parametrize(
    ("serial", "sizes"),
    [
        ("1", [1] * 8),
        ("3", [3, 3, 2]),
        ("25%", [2, 2, 2, 2]),
        ("1,25%,100%", [1, 2, 5]),
        ("1, 3", [1, 3, 3, 1]),
        ("1%", [1] * 8),  # a part of one server is one server
        ("30%", [2, 2, 2, 2]),  # rounded down
        ("100%", [8]),
        ("50", [8]),
        ("5,50", [5, 3]),
    ],
)
def test_batches(serial: str, sizes: list[int]) -> None:
    cut = batches(NAMES, parse_serial(serial))
    assert [len(batch) for batch in cut] == sizes
    assert [name for batch in cut for name in batch] == NAMES


def test_nobody_is_no_batch() -> None:
    assert batches([], parse_serial("25%")) == ()


@pytest.mark.parametrize("text", ["", "0", "0%", "-1", "1,", "1,0", "x", "1.5", "101%", "1;2", "%", "9" * 10, "٣"])
def test_a_serial_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--serial") as caught:
        parse_serial(text)
    assert caught.value.hint is not None


@pytest.mark.parametrize(("text", "of_8"), [("0", 0), ("3", 3), ("25%", 2), ("30%", 2), ("0%", 0), ("100%", 8)])
def test_max_fail(text: str, of_8: int) -> None:
    limit = parse_max_fail(text)
    assert limit.of(8) == of_8
    assert str(limit) == text


@pytest.mark.parametrize("text", ["", "-1", "x", "101%", "1,2"])
def test_a_max_fail_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--max-fail"):
        parse_max_fail(text)


def run(rollout: Rollout, fates: dict[str, Fate]) -> list[tuple[str, ...]]:
    """Does the rollout to its end, one server after the other; gives the servers that were started, by batch."""
    started = []
    while batch := rollout.next_batch():
        begun = [name for name in batch if settle(rollout, name, fates.get(name, Fate.DONE))]
        started.append(tuple(begun))
    return started


def settle(rollout: Rollout, name: str, fate: Fate) -> bool:
    if not rollout.start(name):
        return False
    rollout.settle(name, fate)
    return True


def test_all_is_well() -> None:
    rollout = Rollout(batches(NAMES, parse_serial("1,3")))
    assert run(rollout, {}) == list(rollout.batches)
    assert rollout.fates == dict.fromkeys(NAMES, Fate.DONE)
    assert list(rollout.fates) == NAMES
    assert rollout.stopped is None


@pytest.mark.parametrize("fate", FAILURES)
def test_the_first_failure_too_many_stops_it(fate: Fate) -> None:
    rollout = Rollout(batches(NAMES, parse_serial("2")), 1)
    assert run(rollout, {"edge-1": fate, "edge-3": fate}) == [("edge-1", "edge-2"), ("edge-3",)]
    left = dict.fromkeys(NAMES[3:], Fate.NOT_ATTEMPTED)
    assert rollout.fates == {"edge-1": fate, "edge-2": Fate.DONE, "edge-3": fate, **left}
    assert rollout.stopped == f"2 {fate.value}, --max-fail 1"


def test_a_stop_leaves_what_is_under_way_to_its_end() -> None:
    rollout = Rollout([NAMES])
    rollout.next_batch()
    assert [rollout.start(name) for name in NAMES[:3]] == [True] * 3
    rollout.settle("edge-2", Fate.FAILED)
    assert not rollout.start("edge-4")
    assert rollout.in_flight == {"edge-1", "edge-3"}
    assert "edge-1" not in rollout.fates
    assert rollout.fates["edge-4"] is Fate.NOT_ATTEMPTED
    rollout.settle("edge-1", Fate.DONE)
    rollout.settle("edge-3", Fate.UNCONFIRMED)
    assert rollout.next_batch() == ()
    assert list(rollout.fates.values()) == [Fate.DONE, Fate.FAILED, Fate.UNCONFIRMED, *[Fate.NOT_ATTEMPTED] * 5]


def test_unreachable_servers_may_be_skipped() -> None:
    rollout = Rollout([NAMES[:1], NAMES[1:]], skip_unreachable=True)
    run(rollout, {"edge-1": Fate.UNREACHABLE, "edge-5": Fate.UNCONFIRMED})
    assert rollout.fates["edge-1"] is Fate.UNREACHABLE
    assert rollout.fates["edge-4"] is Fate.DONE
    # What was sent and not confirmed may have been done: that is never skipped.
    assert rollout.stopped == "1 unreachable, 1 not confirmed, --max-fail 0"


def test_a_gate_that_fails_takes_back_what_was_done_of_the_batch() -> None:
    rollout = Rollout([NAMES[:2], NAMES[2:5], NAMES[5:]], 2)
    for fates in ({}, {"edge-3": Fate.UNREACHABLE}):
        for name in rollout.next_batch():
            settle(rollout, name, fates.get(name, Fate.DONE))
    rollout.gate_failed()
    assert rollout.begun == 2
    assert rollout.next_batch() == ()
    assert rollout.stopped == "2 failed, 1 unreachable, --max-fail 2"
    assert list(rollout.fates.values()) == [
        *[Fate.DONE] * 2,
        Fate.UNREACHABLE,
        *[Fate.FAILED] * 2,
        *[Fate.NOT_ATTEMPTED] * 3,
    ]


def test_a_gate_that_fails_within_the_limit_stops_nothing() -> None:
    rollout = Rollout([NAMES[:1], NAMES[1:]], 1)
    settle(rollout, rollout.next_batch()[0], Fate.DONE)
    rollout.gate_failed()
    assert rollout.fates == {"edge-1": Fate.FAILED}
    assert rollout.next_batch() == tuple(NAMES[1:])


def test_an_interrupt_leaves_the_rest_out() -> None:
    rollout = Rollout([NAMES[:2], NAMES[2:]])
    for name in rollout.next_batch():
        settle(rollout, name, Fate.DONE)
    rollout.interrupt()
    rollout.stop("for another reason")
    assert rollout.stopped == "interrupted"
    assert rollout.next_batch() == ()
    assert list(rollout.fates.values()) == [*[Fate.DONE] * 2, *[Fate.NOT_ATTEMPTED] * 6]


def test_a_server_of_the_batch_may_be_left_out() -> None:
    rollout = Rollout([NAMES[:2], NAMES[2:]])
    rollout.next_batch()
    rollout.settle("edge-1", Fate.NOT_ATTEMPTED)
    settle(rollout, "edge-2", Fate.DONE)
    assert rollout.next_batch() == tuple(NAMES[2:])


def test_bugs_of_the_caller() -> None:
    with pytest.raises(ValueError, match="two batches"):
        Rollout([["edge-1"], ["edge-1"]])
    rollout = Rollout([NAMES[:2], NAMES[2:]])
    with pytest.raises(RuntimeError, match="does not wait"):
        rollout.start("edge-1")  # no batch has begun
    rollout.next_batch()
    with pytest.raises(RuntimeError, match="when each of its servers"):
        rollout.next_batch()
    with pytest.raises(RuntimeError, match="of which each server"):
        rollout.gate_failed()
    with pytest.raises(RuntimeError, match="not under way"):
        rollout.settle("edge-1", Fate.DONE)
    with pytest.raises(RuntimeError, match="does not wait"):
        rollout.start("edge-3")  # of the next batch
    rollout.start("edge-1")
    with pytest.raises(RuntimeError, match="does not wait"):
        rollout.start("edge-1")
    rollout.settle("edge-1", Fate.DONE)
    for fate in (Fate.DONE, Fate.NOT_ATTEMPTED):
        with pytest.raises(RuntimeError, match="not under way"):
            rollout.settle("edge-1", fate)


@given(
    data=st.data(),
    total=st.integers(0, 30),
    serial=st.lists(
        st.one_of(st.builds(Share, st.integers(1, 12)), st.builds(Share, st.integers(1, 100), st.just(value=True))),
        min_size=1,
        max_size=4,
    ),
    max_fail=st.integers(0, 6),
    skip=st.booleans(),
    forks=st.integers(1, 6),
)
def test_whatever_happens(
    *, data: st.DataObject, total: int, serial: Sequence[Share], max_fail: int, skip: bool, forks: int
) -> None:
    """One fate for each server; no more under way than the batch has; nothing started past max-fail or a stop."""
    names = [f"s{number}" for number in range(total)]
    cut = batches(names, serial)
    assert [name for batch in cut for name in batch] == names
    assert all(cut)
    rollout = Rollout(cut, max_fail, skip_unreachable=skip)
    counted = [fate for fate in FAILURES if not (skip and fate is Fate.UNREACHABLE)]
    started: set[str] = set()
    said: dict[str, Fate] = {}

    def failures() -> int:
        return sum(fate in counted for fate in rollout.fates.values())

    interrupted = False
    while batch := rollout.next_batch():
        assert batch == cut[rollout.begun - 1]
        assert not interrupted
        assert failures() <= max_fail
        waiting = list(batch)
        while waiting or rollout.in_flight:
            assert rollout.in_flight <= set(batch)
            if data.draw(st.integers(0, 19)) == 0:
                interrupted = True
                rollout.interrupt()
            if waiting and len(rollout.in_flight) < forks:
                name = waiting.pop(0)
                before = failures()
                if rollout.start(name):
                    assert before <= max_fail
                    assert not interrupted
                    assert name not in started
                    started.add(name)
            else:
                name = data.draw(st.sampled_from(sorted(rollout.in_flight)))
                said[name] = data.draw(st.sampled_from(Fate))
                rollout.settle(name, said[name])
        if data.draw(st.booleans()):
            rollout.gate_failed()
            said |= {name: Fate.FAILED for name in batch if said.get(name) is Fate.DONE}
    assert list(rollout.fates) == names  # each has one fate, in order
    assert {name for name, fate in rollout.fates.items() if name not in started} == set(names) - started
    assert all(rollout.fates[name] is said.get(name, Fate.NOT_ATTEMPTED) for name in names)
    assert (rollout.stopped is not None) == (interrupted or failures() > max_fail)
