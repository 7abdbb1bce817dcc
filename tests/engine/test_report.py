"""What a whole run comes to: order, counts and exit status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.engine import Outcome, Report
from fleet.errors import (
    CommandFailedError,
    ConnectTimeoutError,
    EmptyTargetError,
    FleetError,
    InternalError,
    InterruptedRunError,
    RunTimeoutError,
    ServerError,
    UsageError,
)
from fleet.inventory.model import Server, TCPEndpoint

STARTED = datetime(2026, 11, 22, 8, tzinfo=UTC)


def server(name: str) -> Server:
    return Server(name, name, None, TCPEndpoint("127.0.0.1", 7505))


def outcome(error: ServerError | None = None, *, name: str = "edge-1", attempted: bool = True) -> Outcome[str]:
    value = "fine" if error is None and attempted else None
    return Outcome(server(name), 0.5, value, error, attempted)


def report(*outcomes: Outcome[str], **more: Any) -> Report[str]:
    return Report("status", ("eu",), STARTED, 1.5, outcomes, **more)


OK = outcome()
FAILED = outcome(CommandFailedError("no"))
UNREACHABLE = outcome(ConnectTimeoutError("nothing answered"))
BUG = outcome(InternalError("oops"))
LATE = outcome(RunTimeoutError("over"), attempted=False)
LEFT_OUT = outcome(attempted=False)
INTERRUPTED = outcome(InterruptedRunError("interrupted"), attempted=False)


@pytest.mark.parametrize(
    ("outcomes", "more", "expected"),
    [
        ([], {}, 0),
        ([OK, OK], {}, 0),
        ([OK], {"answer_status": 1}, 1),
        ([OK, FAILED], {}, 1),
        ([OK, LEFT_OUT], {}, 1),
        ([FAILED, UNREACHABLE, OK], {}, 4),
        ([UNREACHABLE], {"answer_status": 1}, 4),
        ([OK, LATE], {}, 4),
        ([UNREACHABLE, BUG], {}, 3),
        ([OK, INTERRUPTED], {"interrupted": True}, 130),
        ([BUG, UNREACHABLE], {"interrupted": True}, 130),
        ([], {"error": UsageError("no such option")}, 2),
        ([], {"error": EmptyTargetError("nobody")}, 2),
        ([], {"error": InternalError("oops")}, 3),
        ([], {"error": FleetError("oops")}, 3),
        ([], {"error": RunTimeoutError("over")}, 4),
    ],
)
def test_exit_status(outcomes: Sequence[Outcome[str]], more: dict[str, Any], expected: int) -> None:
    assert report(*outcomes, **more).exit_status == expected
    assert report(*reversed(outcomes), **more).exit_status == expected


def test_the_summary_counts_each_status() -> None:
    counts = report(OK, OK, FAILED, BUG, UNREACHABLE, LATE).summary
    assert counts == {"servers": 6, "ok": 2, "failed": 2, "unreachable": 1, "not_attempted": 1}
    assert list(counts) == ["servers", "ok", "failed", "unreachable", "not_attempted"]


@given(st.permutations(range(6)))
def test_outcomes_are_in_the_order_of_the_inventory(order: Sequence[int]) -> None:
    everyone = [server(f"edge-{n}") for n in range(6)]
    made = Report.of(
        everyone,
        [outcome(name=f"edge-{n}") for n in order],
        command="pid",
        args=["eu"],
        started=STARTED,
        elapsed=1.0,
        interrupted=True,
        answer_status=1,
    )
    assert [one.server.name for one in made.outcomes] == [f"edge-{n}" for n in range(6)]
    assert (made.command, made.args, made.started, made.elapsed) == ("pid", ("eu",), STARTED, 1.0)
    assert (made.interrupted, made.answer_status, made.error) == (True, 1, None)


@pytest.mark.parametrize("names", [[], ["edge-1"], ["edge-1", "edge-1"], ["edge-1", "edge-2", "edge-3"]])
def test_a_report_wants_one_outcome_for_each_server(names: list[str]) -> None:
    with pytest.raises(ValueError, match="exactly one outcome"):
        Report.of(
            [server("edge-1"), server("edge-2")],
            [outcome(name=name) for name in names],
            command="pid",
            args=[],
            started=STARTED,
            elapsed=1.0,
        )
