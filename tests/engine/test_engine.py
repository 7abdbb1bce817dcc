"""The fan-out on a real event loop: one outcome for every server, whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.engine import Attempt, FanOut, Outcome, fan_out
from fleet.errors import (
    CommandFailedError,
    ConnectRefusedError,
    HostTimeoutError,
    InternalError,
    InterruptedRunError,
    RunTimeoutError,
)
from fleet.inventory.model import Server, TCPEndpoint

LONG = 30.0  # seconds; only ever waited for by what is cancelled
SHORT = 0.02


def servers(count: int) -> list[Server]:
    return [Server(f"edge-{n}", f"edge-{n}", None, TCPEndpoint("127.0.0.1", 7505)) for n in range(count)]


def number(attempt: Attempt) -> int:
    return int(attempt.server.name.removeprefix("edge-"))


async def collect(run: FanOut[Any]) -> list[Outcome[Any]]:
    async with run as outcomes:
        return [outcome async for outcome in outcomes]


def errors(outcomes: Sequence[Outcome[Any]]) -> dict[str, str]:
    return {outcome.server.name: str(outcome.error) for outcome in outcomes}


@pytest.fixture(autouse=True)
async def nothing_left() -> Any:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_was_done_goes_with_an_error_only() -> None:
    async def work(attempt: Attempt) -> None:
        attempt.confirmed += ["kill a", "kill b"]
        if number(attempt) == 1:
            raise CommandFailedError("no")
        if number(attempt) == 2:
            await asyncio.sleep(LONG)

    outcomes = {
        outcome.server.name: outcome for outcome in await collect(fan_out(servers(3), work, host_timeout=SHORT))
    }

    done = ("kill a", "kill b")
    assert [outcomes[f"edge-{n}"].confirmed for n in range(3)] == [(), done, done]


async def hang(_: Attempt) -> None:
    await asyncio.sleep(LONG)


# --- outcomes


async def test_each_server_has_its_value() -> None:
    async def work(attempt: Attempt) -> int:
        await asyncio.sleep(0)
        return number(attempt) ** 2

    outcomes = await collect(fan_out(servers(5), work))

    assert {outcome.server.name: outcome.require() for outcome in outcomes} == {f"edge-{n}": n * n for n in range(5)}
    assert all(outcome.status == "ok" and outcome.attempted and outcome.elapsed >= 0 for outcome in outcomes)


async def test_no_servers_is_a_run_without_outcomes() -> None:
    assert await collect(fan_out([], hang)) == []


async def test_outcomes_come_as_they_complete() -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def work(attempt: Attempt) -> int:
        await gates[number(attempt)].wait()
        return number(attempt)

    order = []
    async with fan_out(servers(3), work) as run:
        for expected in (2, 0, 1):
            gates[expected].set()
            order.append((await anext(run)).require())
        with pytest.raises(StopAsyncIteration):
            await anext(run)
    assert order == [2, 0, 1]


async def test_a_server_error_is_the_outcome_as_it_is() -> None:
    refused, failed = ConnectRefusedError("nothing there", hint="look"), CommandFailedError("no", sent="kill x")

    async def work(attempt: Attempt) -> None:
        raise (refused, failed)[number(attempt)]

    outcomes = sorted(await collect(fan_out(servers(2), work)), key=lambda outcome: outcome.server.name)

    assert [outcome.error for outcome in outcomes] == [refused, failed]
    assert [outcome.status for outcome in outcomes] == ["unreachable", "failed"]
    assert [outcome.sent for outcome in outcomes] == [None, "kill x"]
    with pytest.raises(ConnectRefusedError) as caught:
        outcomes[0].require()
    assert caught.value is refused


async def test_a_sent_change_is_told_even_where_the_error_does_not_know() -> None:
    async def work(attempt: Attempt) -> None:
        attempt.sent = "verb 4"
        raise ConnectRefusedError("lost")

    (outcome,) = await collect(fan_out(servers(1), work))
    assert outcome.sent == "verb 4"


async def test_a_confirmed_change_is_not_told_as_sent() -> None:
    async def work(attempt: Attempt) -> str:
        attempt.sent = "verb 4"
        await asyncio.sleep(0)
        attempt.sent = None
        return "done"

    (outcome,) = await collect(fan_out(servers(1), work))
    assert (outcome.status, outcome.sent) == ("ok", None)


async def test_warnings_are_handed_over() -> None:
    async def work(attempt: Attempt) -> None:
        attempt.warnings.append("careful")

    (outcome,) = await collect(fan_out(servers(1), work))
    assert outcome.warnings == ("careful",)


@pytest.mark.parametrize(
    ("bug", "text"),
    [
        (ZeroDivisionError("by zero"), "a bug in fleet: ZeroDivisionError: by zero; it was reading"),
        (KeyError(), "a bug in fleet: KeyError; it was reading"),
        (asyncio.CancelledError(), "a bug in fleet: CancelledError; it was reading"),
    ],
)
async def test_anything_else_is_a_bug_of_one_server_only(bug: BaseException, text: str) -> None:
    async def work(attempt: Attempt) -> str:
        attempt.phase = "reading"
        if number(attempt) == 1:
            attempt.sent = "mute 40"
            raise bug
        return "fine"

    outcomes = {outcome.server.name: outcome for outcome in await collect(fan_out(servers(3), work, forks=1))}

    error = outcomes["edge-1"].error
    assert isinstance(error, InternalError)
    assert (error.message, error.sent, outcomes["edge-1"].status) == (text, "mute 40", "failed")
    assert type(error.__cause__) is type(bug)
    assert error.__cause__ is bug or isinstance(bug, asyncio.CancelledError)
    assert "mute 40" in str(error.hint)
    assert [outcomes[name].status for name in ("edge-0", "edge-2")] == ["ok", "ok"]


async def test_work_that_is_no_coroutine_function_is_a_bug_too() -> None:
    def work(_: Attempt) -> Awaitable[None]:
        raise RuntimeError("before any await")

    (outcome,) = await collect(fan_out(servers(1), work))
    assert isinstance(outcome.error, InternalError)
    assert outcome.error.hint == "run the same command with -vv, and report what it shows"


async def test_work_that_cancels_itself_does_not_cancel_the_run() -> None:
    async def work(attempt: Attempt) -> str:
        if number(attempt) == 0:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        return "fine"

    outcomes = {outcome.server.name: outcome for outcome in await collect(fan_out(servers(2), work))}
    assert isinstance(outcomes["edge-0"].error, InternalError)
    assert outcomes["edge-1"].status == "ok"


def test_an_outcome_is_neither_true_nor_false() -> None:
    with pytest.raises(TypeError, match="ask for its status"):
        bool(Outcome(servers(1)[0], 0.0, value=True))


def test_what_was_not_attempted_has_no_value() -> None:
    outcome: Outcome[int] = Outcome(servers(1)[0], 0.0, attempted=False)
    assert outcome.status == "not_attempted"
    with pytest.raises(RuntimeError, match="edge-0 was not attempted"):
        outcome.require()


# --- forks


@pytest.mark.parametrize("forks", [1, 3, 64])
async def test_no_more_tasks_than_forks_ever_exist(forks: int) -> None:
    most = running = 0
    before = len(asyncio.all_tasks())

    async def work(_: Attempt) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        assert len(asyncio.all_tasks()) <= before + forks
        await asyncio.sleep(0)
        running -= 1

    outcomes = await collect(fan_out(servers(200), work, forks=forks))

    assert Counter(outcome.status for outcome in outcomes) == {"ok": 200}
    assert most == forks


async def test_ten_thousand_servers_start_no_more_than_their_forks() -> None:
    async with fan_out(servers(10_000), hang, forks=5) as run:
        assert len(asyncio.all_tasks()) == 6
        assert (run.total, run.done, len(run.in_flight), len(run.pending)) == (10_000, 0, 5, 10_000)


async def test_servers_start_in_their_order() -> None:
    started = []

    async def work(attempt: Attempt) -> None:
        started.append(number(attempt))
        await asyncio.sleep(0)

    await collect(fan_out(servers(20), work, forks=4))
    assert started == list(range(20))


async def test_a_timed_out_server_keeps_its_fork_until_it_is_closed() -> None:
    closing = 0

    async def work(attempt: Attempt) -> None:
        nonlocal closing
        assert closing == 0, "the fork was given away before the close"
        closing += 1
        try:
            if number(attempt) == 0:
                await asyncio.sleep(LONG)
        finally:
            await asyncio.sleep(SHORT)
            closing -= 1

    outcomes = await collect(fan_out(servers(2), work, forks=1, host_timeout=SHORT * 5))
    assert [outcome.status for outcome in outcomes] == ["unreachable", "ok"]


async def test_progress_can_be_asked_for() -> None:
    gate = asyncio.Event()

    async def work(attempt: Attempt) -> None:
        attempt.phase = "connecting"
        await gate.wait()

    async with fan_out(servers(3), work, forks=2) as run:
        assert [attempt.phase for attempt in run.in_flight] == ["starting", "starting"]
        await asyncio.sleep(0)
        assert [(attempt.server.name, attempt.phase) for attempt in run.pending] == [
            ("edge-0", "connecting"),
            ("edge-1", "connecting"),
            ("edge-2", "waiting for a fork"),
        ]
        gate.set()
        await anext(run)
        await anext(run)
        await anext(run)
        assert (run.done, run.pending) == (3, ())


@pytest.mark.parametrize("arguments", [{"forks": 0}, {"host_timeout": 0}, {"run_timeout": -1}])
def test_nonsense_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|more than 0"):
        fan_out(servers(1), hang, **arguments)


async def test_a_fan_out_is_used_once_and_inside_its_block() -> None:
    run = fan_out(servers(1), hang)
    with pytest.raises(RuntimeError, match="inside"):
        await anext(run)
    async with run:
        with pytest.raises(RuntimeError, match="once"):
            await run.__aenter__()
    with pytest.raises(RuntimeError, match="inside"):
        await anext(run)
    run.interrupt()
    assert not run.interrupted


# --- clocks


async def test_the_host_timeout_names_what_was_late() -> None:
    async def work(attempt: Attempt) -> str:
        if number(attempt) == 0:
            return "quick"
        attempt.phase = "waiting for the reply to verb 4"
        attempt.sent = "verb 4" if number(attempt) == 1 else None
        await asyncio.sleep(LONG)
        return "never"

    outcomes = {outcome.server.name: outcome for outcome in await collect(fan_out(servers(3), work, host_timeout=0.05))}

    assert outcomes["edge-0"].status == "ok"
    sent, unsent = outcomes["edge-1"].error, outcomes["edge-2"].error
    assert isinstance(sent, HostTimeoutError)
    assert isinstance(unsent, HostTimeoutError)
    assert sent.message == unsent.message == "not done within 0.05 s; it was waiting for the reply to verb 4"
    assert (sent.sent, unsent.sent) == ("verb 4", None)
    assert sent.hint == "look at the server before sending 'verb 4' again: it may have been done"
    assert unsent.hint == "give each server more time with --host-timeout"
    assert outcomes["edge-1"].elapsed >= 0.05


async def test_the_host_timeout_counts_from_the_start_of_the_work() -> None:
    async def work(attempt: Attempt) -> None:
        if number(attempt) == 0:
            await asyncio.sleep(LONG)

    late, quick = await collect(fan_out(servers(2), work, forks=1, host_timeout=0.2))
    assert isinstance(late.error, HostTimeoutError)
    assert quick.status == "ok"  # though it began when 0.2 s were over
    assert quick.elapsed < late.elapsed


async def test_without_a_host_timeout_only_the_run_timeout_ends_it() -> None:
    (outcome,) = await collect(fan_out(servers(1), hang, host_timeout=None, run_timeout=SHORT))
    assert isinstance(outcome.error, RunTimeoutError)


async def test_an_outcome_does_not_wait_for_a_slow_close() -> None:
    gate = asyncio.Event()

    async def work(_: Attempt) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            await gate.wait()

    async with fan_out(servers(1), work, host_timeout=SHORT) as run:
        outcome = await anext(run)
        assert isinstance(outcome.error, HostTimeoutError)
        assert run.in_flight == ()
        gate.set()


async def test_the_run_timeout_ends_what_runs_and_what_waits() -> None:
    async def work(attempt: Attempt) -> str:
        if number(attempt) == 0:
            return "quick"
        attempt.phase = "connecting"
        attempt.sent = "hold on"
        await asyncio.sleep(LONG)
        return "never"

    outcomes = {
        outcome.server.name: outcome
        for outcome in await collect(fan_out(servers(4), work, forks=2, host_timeout=LONG, run_timeout=0.05))
    }

    assert [outcomes[f"edge-{n}"].status for n in range(4)] == ["ok", "unreachable", "unreachable", "not_attempted"]
    assert errors(list(outcomes.values())) == {
        "edge-0": "None",
        "edge-1": "the 0.05 s of the whole run were over; it was connecting",
        "edge-2": "the 0.05 s of the whole run were over; it was connecting",
        "edge-3": "the 0.05 s of the whole run were over before its turn came",
    }
    assert all(isinstance(outcomes[f"edge-{n}"].error, RunTimeoutError) for n in (1, 2, 3))
    assert (outcomes["edge-1"].sent, outcomes["edge-3"].sent, outcomes["edge-3"].elapsed) == ("hold on", None, 0.0)


async def test_what_was_done_when_the_clock_ran_out_is_told_as_done() -> None:
    async def work(_: Attempt) -> str:
        return "done"

    async with fan_out(servers(1), work) as run:
        await asyncio.sleep(0)  # the work has returned, the engine was not told yet
        run.interrupt()
        assert (await anext(run)).require() == "done"


# --- interruption


async def test_an_interruption_tells_what_was_sent() -> None:
    told = asyncio.Event()

    async def work(attempt: Attempt) -> str:
        if number(attempt) == 0:
            return "quick"
        if number(attempt) == 1:
            attempt.phase, attempt.sent = "waiting for the reply to signal SIGUSR1", "signal SIGUSR1"
        else:
            told.set()  # the second fork was free: both are in flight
        await asyncio.sleep(LONG)
        return "never"

    async with fan_out(servers(4), work, forks=2) as run:
        outcomes = [await anext(run)]
        await told.wait()
        run.interrupt()
        run.interrupt()
        outcomes.extend([outcome async for outcome in run])
        assert run.interrupted

    by_name = {outcome.server.name: outcome for outcome in outcomes}
    assert len(outcomes) == len(by_name) == 4
    assert [by_name[f"edge-{n}"].status for n in range(4)] == ["ok", "unreachable", "unreachable", "not_attempted"]
    assert all(isinstance(by_name[f"edge-{n}"].error, InterruptedRunError) for n in (1, 2, 3))
    assert [by_name[f"edge-{n}"].sent for n in range(4)] == [None, "signal SIGUSR1", None, None]
    assert errors(outcomes)["edge-1"] == "interrupted; it was waiting for the reply to signal SIGUSR1"
    assert errors(outcomes)["edge-3"] == "interrupted before its turn came"


# --- leaving the block


class Closing:
    """Work that takes some turns of the loop to close, and counts who is open."""

    def __init__(self, turns: int = 3) -> None:
        self.open: set[str] = set()
        self.closed: set[str] = set()
        self._turns = turns

    async def __call__(self, attempt: Attempt) -> str:
        name = attempt.server.name
        self.open.add(name)
        try:
            await asyncio.sleep(LONG if number(attempt) % 2 else 0)
            return name
        finally:
            try:
                for _ in range(self._turns):
                    await asyncio.sleep(0)
            finally:
                self.open.remove(name)
                self.closed.add(name)


async def test_leaving_early_cancels_and_waits_for_the_closes() -> None:
    work = Closing()
    async with fan_out(servers(100), work, forks=10) as run:
        async for _ in run:
            break
    assert work.open == set()
    assert len(work.closed) < 100


async def test_an_error_in_the_block_is_raised_after_the_closes() -> None:
    work = Closing()

    async def fail_in_the_block() -> None:
        async with fan_out(servers(10), work) as run:
            await anext(run)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail_in_the_block()
    assert work.open == set()


async def test_an_error_while_closing_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work(_: Attempt) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            raise ZeroDivisionError

    with caplog.at_level(logging.DEBUG, "fleet"):
        async with fan_out(servers(1), work, host_timeout=SHORT) as run:
            assert isinstance((await anext(run)).error, HostTimeoutError)
    assert [record.getMessage() for record in caplog.records] == ["the cancelled work on edge-0 ended with an error"]


async def test_a_second_cancellation_hurries_the_closes() -> None:
    closing = asyncio.Event()

    async def work(_: Attempt) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            closing.set()
            await asyncio.sleep(LONG)  # a close that hangs

    task = asyncio.create_task(collect(fan_out(servers(1), work)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await closing.wait()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_at_every_step_nothing_is_left() -> None:
    for steps in range(60):
        work = Closing()
        task = asyncio.create_task(collect(fan_out(servers(7), work, forks=3, host_timeout=LONG)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.open == set()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_interrupted_at_every_step_every_server_has_one_outcome() -> None:
    for steps in range(40):
        work = Closing()
        async with fan_out(servers(7), work, forks=3) as run:
            for _ in range(steps):
                await asyncio.sleep(0)
            run.interrupt()
            names = [outcome.server.name async for outcome in run]
        assert sorted(names) == [f"edge-{n}" for n in range(7)]
        assert work.open == set()


# --- the whole promise, on random schedules


async def finish(_: Attempt) -> str:
    return "done"


async def finish_later(_: Attempt) -> str:
    await asyncio.sleep(0.003)
    return "done"


async def fail(_: Attempt) -> str:
    await asyncio.sleep(0)
    raise CommandFailedError("no")


async def break_down(_: Attempt) -> str:
    await asyncio.sleep(0.001)
    raise ZeroDivisionError


async def hang_and_close_slowly(attempt: Attempt) -> str:
    attempt.sent = "verb 4"
    try:
        await asyncio.sleep(LONG)
    finally:
        await asyncio.sleep(0.002)
    return "never"


async def answer_in_spite_of_cancellation(_: Attempt) -> str:
    try:
        await asyncio.sleep(LONG)
    except asyncio.CancelledError:
        return "late"
    return "never"


async def cancel_itself(_: Attempt) -> str:
    raise asyncio.CancelledError


BEHAVIOURS: dict[str, Callable[[Attempt], Awaitable[str]]] = {
    "finish": finish,
    "finish_later": finish_later,
    "fail": fail,
    "break_down": break_down,
    "hang_and_close_slowly": hang_and_close_slowly,
    "answer_in_spite_of_cancellation": answer_in_spite_of_cancellation,
    "cancel_itself": cancel_itself,
}
ALLOWED = {
    "finish": {"ok"},
    "finish_later": {"ok", "host-timeout"},
    "fail": {"command-failed", "host-timeout"},
    "break_down": {"internal", "host-timeout"},
    "hang_and_close_slowly": {"host-timeout"},
    "answer_in_spite_of_cancellation": {"host-timeout"},
    "cancel_itself": {"internal"},
}


@settings(max_examples=150, deadline=None)
@given(
    behaviours=st.lists(st.sampled_from(sorted(BEHAVIOURS)), max_size=12),
    forks=st.integers(1, 5),
    run_timeout=st.sampled_from([None, 0.002, 0.02]),
    interrupt_after=st.sampled_from([None, 0.0, 0.001, 0.008]),
    leave_after=st.sampled_from([None, 0, 1, 5]),
)
def test_every_server_has_exactly_one_outcome(
    behaviours: list[str],
    forks: int,
    run_timeout: float | None,
    interrupt_after: float | None,
    leave_after: int | None,
) -> None:
    running = 0

    async def work(attempt: Attempt) -> str:
        nonlocal running
        running += 1
        assert running <= forks
        try:
            return await BEHAVIOURS[behaviours[number(attempt)]](attempt)
        finally:
            running -= 1

    async def main() -> list[Outcome[str]]:
        got: list[Outcome[str]] = []
        everyone = servers(len(behaviours))
        async with fan_out(everyone, work, forks=forks, host_timeout=0.006, run_timeout=run_timeout) as run:
            if interrupt_after is not None:
                asyncio.get_running_loop().call_later(interrupt_after, run.interrupt)
            async for outcome in run:
                got.append(outcome)
                if len(got) == leave_after:
                    break
            assert len(run.pending) + run.done == run.total
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return got

    got = asyncio.run(main())

    names = [outcome.server.name for outcome in got]
    assert len(set(names)) == len(names)
    if leave_after is None or leave_after not in range(1, len(behaviours) + 1):
        assert sorted(names) == sorted(server.name for server in servers(len(behaviours)))
    assert running == 0
    for outcome in got:
        allowed = set(ALLOWED[behaviours[int(outcome.server.name.removeprefix("edge-"))]])
        if run_timeout is not None:
            allowed.add("run-timeout")
        if interrupt_after is not None:
            allowed.add("interrupted")
        assert ("ok" if outcome.error is None else outcome.error.code) in allowed
        assert outcome.attempted or outcome.status == "not_attempted"
        assert (outcome.value == "done") == (outcome.status == "ok")


def test_an_eager_task_factory_changes_nothing() -> None:
    factory = getattr(asyncio, "eager_task_factory", None)

    async def main() -> Iterator[str]:
        if factory is not None:  # Python 3.12 and later
            asyncio.get_running_loop().set_task_factory(factory)
        outcomes = await collect(fan_out(servers(50), finish, forks=2))
        return iter(sorted(outcome.require() for outcome in outcomes))

    assert list(asyncio.run(main())) == ["done"] * 50
