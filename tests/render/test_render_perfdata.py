"""What monitoring reads, where the command line does not come to it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.engine import Outcome
from fleet.errors import CommandFailedError, ConnectTimeoutError, InternalError, ServerError
from fleet.inventory.model import Server, UnixEndpoint
from fleet.management.replies import LoadStats
from fleet.operations.check import Measure, judge
from fleet.operations.limits import Limits, Release
from fleet.operations.operation import Answer
from fleet.operations.probe import Probe, Rates, rates_between
from fleet.operations.thresholds import Level, Range, Threshold
from fleet.render.perfdata import MAX_LINES, MAX_TEXT, label, perfdata, plain, plugin_text
from fleet.render.prometheus import MAX_LABEL, Scrape, metrics_text
from fleet.render.text import is_hidden

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def server(name: str) -> Server:
    return Server(name, name, None, UnixEndpoint("/run/x"))


def up(name: str, **more: object) -> Outcome[Answer[Probe]]:
    values: dict[str, object] = {"state": "CONNECTED", "since": NOW, "version": "2.6.14", "nclients": 1, **more}
    return Outcome(server(name), 0.1, Answer(Probe(bytes_in=0, bytes_out=0, **values), ""))  # type: ignore[arg-type]  # a test's own


def down(name: str, error: ServerError) -> Outcome[Answer[Probe]]:
    return Outcome(server(name), 0.1, error=error)


def test_a_bug_is_unknown_and_no_server_that_is_down() -> None:
    verdict = judge([up("a"), down("b", InternalError("a bug"))], Limits(), NOW)
    assert verdict.level is Level.UNKNOWN
    worse = judge([down("a", ConnectTimeoutError("nothing")), down("b", InternalError("a bug"))], Limits(), NOW)
    assert [problem.level for problem in worse.problems] == [Level.CRITICAL, Level.UNKNOWN]


def test_a_server_that_refuses_gave_no_answer() -> None:
    assert judge([down("a", CommandFailedError("ERROR: no"))], Limits(), NOW).level is Level.CRITICAL


def test_nobody_is_all_right() -> None:
    verdict = judge([], Limits(), NOW)
    assert plugin_text(verdict).startswith("FLEET OK - 0 servers, 0 clients | ")


def test_too_few_that_are_unreachable() -> None:
    limits = Limits(unreachable=Threshold(critical=Range.parse("1:")))
    assert plugin_text(judge([up("a")], limits, NOW)).startswith("FLEET CRITICAL - no server is unreachable, and 1: is")


def test_a_release_without_numbers_is_unknown() -> None:
    limits = Limits(version_minimum=Release.parse("2.6"))
    assert judge([up("a", version="git-master")], limits, NOW).level is Level.UNKNOWN
    assert judge([up("a", version="2.7_rc1")], limits, NOW).level is Level.OK
    assert judge([up("a", version="2.10.1")], limits, NOW).level is Level.OK


def test_traffic_that_cannot_be_known_is_unknown() -> None:
    limits = Limits(received=Threshold(Range.parse("1:"), None), sent=Threshold(None, Range.parse("~:10")))
    assert judge([up("a")], limits, NOW).level is Level.UNKNOWN
    verdict = judge([up("a", rates=Rates(0.0, 11.0))], limits, NOW)
    assert (verdict.level, len(verdict.problems)) == (Level.CRITICAL, 2)


def test_counters_that_fall_give_no_rate() -> None:
    assert rates_between(LoadStats(1, 100, 100), LoadStats(1, 300, 100), 2.0) == Rates(100.0, 0.0)
    assert rates_between(LoadStats(1, 100, 100), LoadStats(1, 99, 200), 2.0) is None
    assert rates_between(LoadStats(1, 100, 100), LoadStats(1, 100, 99), 2.0) is None


def test_many_problems_are_cut_and_counted() -> None:
    outcomes = [down(f"edge-{number}", ConnectTimeoutError(f"nothing {'x' * number}")) for number in range(500)]
    lines = plugin_text(judge(outcomes, Limits(), NOW)).split("\n")
    assert len(lines) == MAX_LINES + 2
    assert lines[-1] == f"{500 - MAX_LINES} problems more; -o json has them all"
    assert max(map(len, lines[1:])) < MAX_TEXT + 100


def test_equal_problems_of_many_servers_are_one_line() -> None:
    outcomes = [down(f"edge-{number}", ConnectTimeoutError("nothing answered")) for number in range(1, 501)]
    text = plugin_text(judge(outcomes, Limits(), NOW))
    assert text.split("\n")[1:] == ["CRITICAL: edge-[1-500] (500): connect-timeout: nothing answered"]


@given(st.text(max_size=600))
def test_text_never_breaks_the_line(text: str) -> None:
    shown = plain(text)
    assert "|" not in shown
    assert not any(map(is_hidden, shown))
    name = label(Measure(text, "clients", 1))
    inner = name[1:-1].replace("''", "")
    assert "'" not in inner
    assert "=" not in inner


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure(None, "clients", 5), "'clients'=5;;;0"),
        (Measure(None, "clients", None), "'clients'=U;;;0"),
        (Measure("a", "time", 0.12345, "s"), "'a time'=0.123s;;;0"),
        (Measure("a", "time", 1e-9, "s", minimum=None), "'a time'=0s"),
        (Measure("a", "sent", 10**21, "c"), "'a sent'=1000000000000000000000c;;;0"),
        (
            Measure("a", "capacity", 50.0, "%", Threshold(Range.parse("80"), Range.parse("@90:")), maximum=100),
            "'a capacity'=50%;80;@90:;0;100",
        ),
    ],
)
def test_perfdata(measure: Measure, text: str) -> None:
    assert perfdata([measure]) == text


def test_labels_have_a_limit() -> None:
    text = metrics_text(Scrape([up("a", version="x" * 10_000)], NOW, 1.0)).decode()
    assert f'version="{"x" * MAX_LABEL}"' in text
