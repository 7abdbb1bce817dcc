"""The operator's side, with workers that do what a cluster's may: vanish, come back, and do work twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from fleet.engine import Attempt, Outcome
from fleet.errors import UsageError, WorkerLostError
from fleet.inventory.model import Server, SSHSettings, TCPEndpoint
from fleet.operations.operation import Answer
from fleet.operations.status import STATUS
from fleet.shards import fan as fans
from fleet.shards.fan import NO_ANSWER, Gone, Heard, ShardedFan
from fleet.shards.shard import BEGIN, END, OUTCOME, REFUSED, SENT, Asking, Shard, decode, packed
from fleet.transport import SSHOptions

SERVERS = tuple(
    Server(name, name, SSHSettings(name), TCPEndpoint("127.0.0.1", 7505)) for name in ("edge-1", "edge-2", "edge-3")
)
ASKING = Asking(STATUS.perform, True, SSHOptions(), 1.0, 1.0, None, 0.0, 0.0, "fleet")  # type: ignore[arg-type] # a coroutine function


class Hands:
    """A crew whose workers say what the test says."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.ended: list[str | None] = []
        self.heard: Heard
        self.gone: Gone

    async def open(self, shards: Sequence[Shard], heard: Heard, gone: Gone) -> None:
        assert len(shards) == 1
        self.heard, self.gone = heard, gone

    def start(self, index: int) -> None:
        self.started.append(index)

    def end(self, _index: int, token: str | None, /) -> None:
        self.ended.append(token)

    async def close(self) -> None:
        self.ended.append("all")

    def begin(self, token: str) -> tuple[int, ...]:
        positions: tuple[int, ...] = self.heard(0, token, (BEGIN,))[0]
        return positions

    def may_send(self, token: str, position: int) -> Any:
        return self.heard(0, token, (SENT, position, "verb 4"))

    def answer(self, token: str, position: int) -> None:
        said = packed(position, Outcome(SERVERS[position], 0.1, Answer("done", "")))
        assert self.heard(0, token, decode(said)) is NO_ANSWER


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def sent() -> list[str]:
    return []


@pytest.fixture
async def fan(hands: Hands, sent: list[str]) -> AsyncIterator[ShardedFan[Any]]:
    def note(attempt: Attempt) -> None:
        sent.append(f"{attempt.server.name}: {attempt.sent}")

    async with ShardedFan[Any]([Shard(ASKING, SERVERS, 3)], hands, on_sent=note) as made:
        yield made


async def all_of(fan: ShardedFan[Any]) -> dict[str, Outcome[Any]]:
    async with asyncio.timeout(10):
        outcomes = [outcome async for outcome in fan]
    assert len(outcomes) == len(SERVERS)
    return {outcome.server.name: outcome for outcome in outcomes}


async def test_work_that_is_done_twice_is_sent_once(fan: ShardedFan[Any], hands: Hands, sent: list[str]) -> None:
    assert hands.begin("first") == (0, 1, 2)
    assert hands.may_send("first", 0) is True
    hands.answer("first", 0)
    assert hands.may_send("first", 1) is True
    assert hands.begin("second") == (2,)  # 1 may have been done
    assert hands.may_send("second", 1) is False
    assert hands.may_send("first", 2) is False  # it is still there, and somebody else has its work
    hands.answer("first", 1)  # too late: the operator was told
    assert hands.may_send("second", 2) is True
    hands.answer("second", 2)
    assert hands.heard(0, "second", (END,)) is NO_ANSWER
    found = await all_of(fan)
    assert [outcome.status for outcome in found.values()] == ["ok", "unreachable", "ok"]
    assert found["edge-2"].sent == "verb 4"
    assert sent == ["edge-1: verb 4", "edge-2: verb 4", "edge-3: verb 4"]


async def test_lost_workers_are_replaced_and_not_without_end(fan: ShardedFan[Any], hands: Hands) -> None:
    for number in range(fans.MOST_LOST):
        hands.begin(f"{number}")
        hands.gone(0, f"{number}", "killed")
    hands.gone(0, "0", "killed")  # told twice
    found = await all_of(fan)
    assert hands.started == [0] * fans.MOST_LOST
    assert {type(outcome.error) for outcome in found.values()} == {WorkerLostError}
    assert {outcome.sent for outcome in found.values()} == {None}
    assert "3 workers were lost" in str(found["edge-1"].error)


async def test_workers_that_are_lost_before_they_begin_are_lost(fan: ShardedFan[Any], hands: Hands) -> None:
    for number in range(fans.MOST_LOST):
        hands.gone(0, f"{number}", "ended with 1")
    found = await all_of(fan)
    assert hands.started == [0] * fans.MOST_LOST
    assert "the last one: ended with 1" in str(found["edge-1"].error)


async def test_who_cannot_work_says_why(fan: ShardedFan[Any], hands: Hands) -> None:
    hands.begin("first")
    hands.heard(0, "first", (REFUSED, UsageError("no key here", hint="make one")))
    hands.heard(0, "first", (END,))
    found = await all_of(fan)
    assert {(str(one.error), one.status) for one in found.values()} == {("no key here", "not_attempted")}


async def test_an_interruption_is_told_to_who_works(fan: ShardedFan[Any], hands: Hands) -> None:
    hands.begin("first")
    assert hands.may_send("first", 0) is True
    fan.interrupt()
    fan.interrupt()
    assert hands.ended[0] == "first"
    assert hands.may_send("first", 1) is False
    hands.gone(0, "first", "killed")
    found = await all_of(fan)
    assert {outcome.error.code for outcome in found.values() if outcome.error} == {"interrupted"}
    assert [outcome.sent for outcome in found.values()] == ["verb 4", None, None]
    assert hands.started == [0]


async def test_who_does_not_end_is_not_waited_for(
    fan: ShardedFan[Any], hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fans, "GRACE_TIMEOUT", 0.05)
    hands.begin("first")
    assert hands.may_send("first", 0) is True
    fan.interrupt()
    found = await all_of(fan)
    assert found["edge-1"].sent == "verb 4"
    assert "told no more" in str(found["edge-2"].error)


async def test_who_has_not_begun_is_not_waited_for(fan: ShardedFan[Any], hands: Hands) -> None:
    fan.interrupt()
    found = await all_of(fan)
    assert {outcome.status for outcome in found.values()} == {"not_attempted"}
    assert hands.ended[0] is None
    assert hands.begin("late") == ()


async def test_an_answer_that_cannot_be_sent_is_a_bug_of_one_server() -> None:
    message = decode(packed(0, Outcome(SERVERS[0], 0.1, Answer(lambda: None, ""))))
    assert message[0] == OUTCOME
    assert message[4].code == "internal"
    assert "could not be handed on" in message[4].message


async def test_a_run_has_one_time_for_all(hands: Hands) -> None:
    async with ShardedFan[Any]([Shard(ASKING, SERVERS, 3)], hands, run_timeout=0.05) as fan:
        found = await all_of(fan)
    assert {outcome.error.code for outcome in found.values() if outcome.error} == {"run-timeout"}
    assert not fan.interrupted
