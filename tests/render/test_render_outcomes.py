"""What a run says on stderr."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fleet.engine import Outcome, Report
from fleet.errors import (
    CommandFailedError,
    ConnectTimeoutError,
    EmptyTargetError,
    HostKeyChangedError,
    InterruptedRunError,
    InventoryError,
    ReplyTimeoutError,
    ServerError,
    UsageError,
)
from fleet.inventory.model import Server, TCPEndpoint
from fleet.render.outcomes import (
    error_lines,
    errors_text,
    refusal_line,
    refusal_text,
    stopped_text,
    summary_line,
    warnings_text,
)
from fleet.render.style import Style

STARTED = datetime(2026, 11, 22, 8, tzinfo=UTC)


def outcome(name: str, error: ServerError | None = None, **more: Any) -> Outcome[str]:
    return Outcome(Server(name, name, None, TCPEndpoint("127.0.0.1", 7505)), 0.5, error=error, **more)


def late(name: str) -> Outcome[str]:
    error = ConnectTimeoutError("nothing answered on port 22 within 10 s", hint=f"fleet ping {name}")
    return outcome(name, error)


def report(*outcomes: Outcome[str], elapsed: float = 10.1, interrupted: bool = False) -> Report[str]:
    return Report("status", (), STARTED, elapsed, outcomes, interrupted)


def test_equal_errors_fold_and_the_hint_is_the_first_servers() -> None:
    changed = HostKeyChangedError("the host key differs from the one in known_hosts:7", hint="one\ntwo")
    outcomes = [outcome("edge-1"), outcome("edge-2", changed), late("edge-3"), late("edge-4"), outcome("edge-5")]
    assert errors_text(outcomes).split("\n") == [
        "host-key-changed: edge-2: the host key differs from the one in known_hosts:7",
        "  try: one",
        "       two",
        "connect-timeout: edge-[3-4] (2): nothing answered on port 22 within 10 s",
        "  try: fleet ping edge-3",
    ]
    assert error_lines(outcomes) == [
        "host-key-changed: edge-2: the host key differs from the one in known_hosts:7 (try: one two)",
        "connect-timeout: edge-[3-4] (2): nothing answered on port 22 within 10 s (try: fleet ping edge-3)",
    ]


def test_what_was_sent_and_not_confirmed_is_said() -> None:
    outcomes = [
        outcome("edge-1", ReplyTimeoutError("no reply", sent="verb 4")),
        outcome("edge-2", ReplyTimeoutError("no reply")),
        outcome("edge-3", ReplyTimeoutError("no reply", sent="verb 4")),
    ]
    assert errors_text(outcomes).split("\n") == [
        "reply-timeout: edge-1 edge-3: no reply",
        "  sent and not confirmed: verb 4",
        "reply-timeout: edge-2: no reply",
    ]
    assert error_lines(outcomes) == [
        "reply-timeout: edge-1 edge-3: no reply; sent and not confirmed: verb 4",
        "reply-timeout: edge-2: no reply",
    ]


def test_what_was_done_before_an_error_is_said() -> None:
    outcomes = [
        outcome("edge-1", CommandFailedError("no", hint="look"), confirmed=("client-kill 1", "client-kill \x1b")),
        outcome("edge-2", CommandFailedError("no", hint="look")),
        outcome("edge-3", ReplyTimeoutError("no reply", sent="client-kill 4"), confirmed=("client-kill 2",)),
    ]
    assert errors_text(outcomes).split("\n") == [
        "command-failed: edge-1: no",
        r"  done before that: client-kill 1; client-kill \x1b",
        "  try: look",
        "command-failed: edge-2: no",
        "  try: look",
        "reply-timeout: edge-3: no reply",
        "  sent and not confirmed: client-kill 4",
        "  done before that: client-kill 2",
    ]
    assert error_lines(outcomes) == [
        r"command-failed: edge-1: no; done before that: client-kill 1; client-kill \x1b (try: look)",
        "command-failed: edge-2: no (try: look)",
        "reply-timeout: edge-3: no reply; sent and not confirmed: client-kill 4; done before that: client-kill 2",
    ]
    stopped = InterruptedRunError("interrupted; it was waiting")
    outcomes.append(outcome("edge-4", stopped, confirmed=("client-kill 3",)))
    outcomes.append(outcome("edge-5", stopped))
    assert stopped_text(report(*outcomes, elapsed=3.2, interrupted=True)).split("\n") == [
        "interrupted after 3.2 s",
        r"  failed         edge-1  done before that: client-kill 1; client-kill \x1b",
        "  failed         edge-2",
        "  not confirmed  edge-3  client-kill 4 was sent: no reply; done before that: client-kill 2",
        "  pending        edge-4  done before that: client-kill 3",
        "  pending        edge-5",
    ]


def test_all_well_says_nothing() -> None:
    assert errors_text([outcome("edge-1")]) == ""
    assert error_lines([outcome("edge-1")]) == []
    assert warnings_text([outcome("edge-1")]) == ""


def test_nothing_in_an_error_drives_a_terminal_or_makes_a_line() -> None:
    bad = CommandFailedError("common name '\x1b[2J\n' not found", hint="\x9b", sent="kill \u202e")
    lines = [errors_text([outcome("a\x07", bad)]), *error_lines([outcome("a\x07", bad)])]
    lines.append(warnings_text([outcome("a", warnings=("\x1b\n",))]))
    lines.append(stopped_text(report(outcome("a\x07", bad))))
    lines.extend((refusal_text(UsageError("\x1b", hint="\x07")), refusal_line(UsageError("\x1b", hint="\x07"))))
    for line in "\n".join(lines).split("\n"):
        assert line.isprintable()
    assert r"'\x1b[2J\n' not found" in lines[0]
    assert len(lines[0].split("\n")) == 3


def test_warnings_fold_too() -> None:
    outcomes = [outcome("edge-1", warnings=("slow", "old")), outcome("edge-2", warnings=("slow",))]
    assert warnings_text(outcomes) == "warning: edge-[1-2] (2): slow\nwarning: edge-1: old"


def test_colour_adds_only_codes() -> None:
    style = Style(enabled=True)
    assert errors_text([late("edge-1")], style=style).startswith("\x1b[31mconnect-timeout\x1b[0m: edge-1: ")
    assert warnings_text([outcome("a", warnings=("x",))], style=style) == "\x1b[33mwarning\x1b[0m: a: x"
    assert refusal_text(UsageError("no"), style=style) == "\x1b[31mno\x1b[0m"


def test_a_refusal_speaks_for_itself() -> None:
    error = InventoryError("inv.yaml:14:7: unknown variable 'managment'", hint="did you mean 'management'?\nKnown: a")
    assert refusal_text(error).split("\n") == [
        "inv.yaml:14:7: unknown variable 'managment'",
        "  did you mean 'management'?",
        "  Known: a",
    ]
    assert refusal_line(error) == "inv.yaml:14:7: unknown variable 'managment'; did you mean 'management'? Known: a"
    assert refusal_text(EmptyTargetError("first\nsecond")) == "first\nsecond"
    assert refusal_line(EmptyTargetError("first\nsecond")) == "first second"


@pytest.mark.parametrize(
    ("outcomes", "line"),
    [
        ([outcome("a")] * 4 + [late("b")] * 2, "6 servers: 4 ok, 2 unreachable, in 10.1 s"),
        ([outcome("a")], "1 server: 1 ok, in 10.1 s"),
        ([], "0 servers, in 10.1 s"),
        (
            [outcome("a", CommandFailedError("no")), outcome("b", attempted=False)],
            "2 servers: 1 failed, 1 not attempted, in 10.1 s",
        ),
    ],
)
def test_the_summary(outcomes: list[Outcome[str]], line: str) -> None:
    assert summary_line(report(*outcomes)) == line


def test_an_interrupted_run_says_where_every_server_stands() -> None:
    outcomes = [
        outcome("edge-1"),
        outcome("edge-2"),
        outcome("edge-3", CommandFailedError("no")),
        outcome("edge-4", InterruptedRunError("interrupted; it was waiting", sent="signal SIGUSR1")),
        outcome("edge-5", InterruptedRunError("interrupted; it was connecting")),
        late("edge-6"),
        outcome("gw/udp", InterruptedRunError("interrupted before its turn came"), attempted=False),
        outcome("gw/tcp", InterruptedRunError("interrupted before its turn came"), attempted=False),
        outcome("old", ReplyTimeoutError("no reply", sent="verb 4")),
    ]
    stopped = report(*outcomes, elapsed=3.2, interrupted=True)
    assert stopped_text(stopped).split("\n") == [
        "interrupted after 3.2 s",
        "  done           edge-[1-2] (2)",
        "  failed         edge-3",
        "  unreachable    edge-6",
        "  not confirmed  edge-4  signal SIGUSR1 was sent: interrupted; it was waiting",
        "  not confirmed  old     verb 4 was sent: no reply",
        "  pending        edge-5",
        "  not attempted  gw/udp gw/tcp",
    ]
    assert errors_text(outcomes).split("\n") == [
        "command-failed: edge-3: no",
        "connect-timeout: edge-6: nothing answered on port 22 within 10 s",
        "  try: fleet ping edge-6",
        "reply-timeout: old: no reply",
        "  sent and not confirmed: verb 4",
    ]
    assert error_lines(outcomes)[1] == (
        "interrupted: edge-4: interrupted; it was waiting; sent and not confirmed: signal SIGUSR1"
    )
    assert stopped_text(report(), heading="stopped: 1 failed") == "stopped: 1 failed"
