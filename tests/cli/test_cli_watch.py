"""--watch: rounds of a read-only command, as NDJSON and on a page, and how it ends."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest

from cli.harness import TIMEOUT, Fleet, Result, daemon, farm_with_a_server_down, small_farm
from fleet.cli.watch import watch_words
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults
from fleet.render.screen import ENTER, LEAVE, drawn, page


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["status"], ["status"]),
        (["status", "--watch"], ["status", "--watch=2s"]),
        (["status", "--watch", "eu"], ["status", "--watch=2s", "eu"]),
        (["status", "--watch", "-o", "wide"], ["status", "--watch=2s", "-o", "wide"]),
        (["status", "--watch", "5s", "eu"], ["status", "--watch", "5s", "eu"]),
        (["status", "--watch", "500ms"], ["status", "--watch", "500ms"]),
        (["status", "--watch=1m"], ["status", "--watch=1m"]),
        (["--watch", "status", "eu"], ["--watch=2s", "status", "eu"]),
        (["status", "--watch", "--", "5s"], ["status", "--watch=2s", "--", "5s"]),
        (["exec", "--", "--watch"], ["exec", "--", "--watch"]),
        ([], []),
    ],
)
def test_the_time_may_be_left_out(typed: list[str], read: list[str]) -> None:
    assert watch_words(typed) == read


def test_a_page_ends_with_how_much_is_cut() -> None:
    lines = [str(number) for number in range(10)]
    assert page(lines, 10) == lines
    assert page(lines, 4) == ["0", "1", "2", "... 7 more lines"]
    assert page(lines, 0) == ["... 10 more lines"]
    assert drawn(["a", "b"], 5) == "\x1b[Ha\x1b[K\nb\x1b[K\x1b[J"


@contextmanager
def meanwhile(what: Callable[[], None]) -> Any:
    """Does something in a thread while fleet runs in this one."""
    failed: list[BaseException] = []

    def do() -> None:
        try:
            what()
        except BaseException as error:  # noqa: BLE001 - the test is to hear of it
            failed.append(error)

    thread = threading.Thread(target=do)
    thread.start()
    yield
    thread.join(TIMEOUT)
    assert not failed
    assert not thread.is_alive()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def interrupted(fleet: Fleet, *args: str, when: Callable[[], bool], number: int = signal.SIGINT) -> Result:
    """One command line in this process, with a Ctrl-C once something holds."""

    def interrupt() -> None:
        until(when)
        os.kill(os.getpid(), number)

    with meanwhile(interrupt):
        return fleet(*args)


def rounds(result: Result) -> list[list[dict[str, Any]]]:
    """The lines of each complete round, without its summary."""
    found: list[list[dict[str, Any]]] = [[]]
    for line in result.lines:
        if line["type"] == "summary":
            found.append([])
        else:
            found[-1].append(line)
    return found[:-1]


def test_a_pipe_gets_a_line_for_each_server_and_a_summary_each_round(small: Fleet) -> None:
    def asked_often() -> bool:
        return small.farm["gw/udp"].sessions > 3

    # Who takes longer than the interval has no line in a round: a second is long even on a machine that is busy.
    result = interrupted(small, "status", "--watch=1s", when=asked_often)
    assert result.status == 0
    assert result.err == ""
    found = rounds(result)
    assert len(found) >= 3
    everybody = {"edge-1", "gw/tcp", "gw/udp"}
    names = [{line["name"] for line in one} for one in found]
    assert all(one <= everybody for one in names)
    assert names.count(everybody) >= 2
    assert {line["result"]["state"]["name"] for one in found for line in one} == {"CONNECTED"}
    summaries = [line for line in result.lines if line["type"] == "summary"]
    assert {summary["exit_status"] for summary in summaries} == {0}
    assert len({summary["started"] for summary in summaries}) == len(summaries)
    # Over connections that stay open: one for each host, whatever number of rounds.
    assert [host.connections for host in small.farm.hosts.values()] == [1, 1]


def test_the_last_complete_round_gives_the_exit_status_and_errors_are_told_when_they_change(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = interrupted(fleet, "clients", "--watch=50ms", when=lambda: fleet.farm["edge-1"].sessions > 3)
    assert result.status == 4
    assert result.err.count("connect-refused: down") == 1
    assert {line["exit_status"] for line in result.lines if line["type"] == "summary"} == {4}


def test_a_daemon_that_goes_and_comes_back(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon())
    fleet.start(farm)
    managed = farm["edge-1"]

    def events() -> None:
        until(lambda: managed.sessions > 1)
        managed.faults = Faults(greeting=b"", hang_up=True)
        count = managed.sessions
        until(lambda: managed.sessions > count + 2)
        managed.faults = Faults()
        count = managed.sessions
        until(lambda: managed.sessions > count + 2)
        os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(events):
        result = fleet("state", "--watch=50ms")
    assert result.status == 0
    seen = [line["status"] for line in result.lines if line["type"] == "server"]
    assert seen[0] == seen[-1] == "ok"
    assert "unreachable" in seen
    assert result.err.endswith("all is well again\n")


def test_ctrl_c_before_the_first_round_is_complete(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon())
    farm["edge-1"].faults = Faults(reply_delay=600.0)
    fleet.start(farm)
    result = interrupted(fleet, "status", "--watch=5m", when=lambda: farm["edge-1"].sessions == 1)
    assert result.status == 130
    assert result.out == ""
    assert "before the first round" in result.err


def test_a_watch_may_have_an_end(small: Fleet) -> None:
    result = small("pid", "--watch=100ms", "--timeout", "600ms", "eu")
    assert result.status == 0
    assert rounds(result)
    small.farm["edge-1"].faults = Faults(reply_delay=600.0)
    result = small("pid", "--watch=5m", "--timeout", "300ms", "eu")
    assert (result.status, result.out) == (4, "")


def test_quiet_lines_are_those_of_problems(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("status", "-q", "--watch=100ms", "--timeout", "600ms")
    assert {line["name"] for line in result.lines if line["type"] == "server"} == {"down"}
    assert result.err.startswith("connect-refused: down: ")


def test_what_a_command_says_beside_its_data_is_told(small: Fleet) -> None:
    result = small("find", "Test-Client", "--watch=100ms", "--timeout", "600ms")
    assert result.status == 0
    assert result.err.count("Test-Client is connected twice") == 1
    result = small("find", "nobody-at-all", "--watch=100ms", "--timeout", "600ms")
    assert result.status == 1


def test_a_run_is_kept_once_with_its_last_round(small: Fleet) -> None:
    small("status", "--watch=100ms", "--timeout", "600ms")
    (run,) = small("history", "list", "-o", "json").document["runs"]
    assert (run["command"], run["exit_status"]) == ("status", 0)
    assert run["summary"]["ok"] == 3


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """To be called in the test, since stdout is another one in fixtures: it is a terminal, as far as fleet can see."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "6")
    monkeypatch.setenv("COLUMNS", "80")
    return lambda: monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_a_terminal_gets_a_page_that_is_drawn_over_itself(fleet: Fleet, screen: Callable[[], None]) -> None:
    screen()
    fleet.start(farm_with_a_server_down())

    def events() -> None:
        until(lambda: fleet.farm["edge-1"].sessions > 2)
        os.kill(os.getpid(), signal.SIGWINCH)
        until(lambda: fleet.farm["edge-1"].sessions > 4)
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(events):
        result = fleet("status", "--watch=50ms", "--color", "never")
    assert result.status == 4
    live, after = result.out.removeprefix(ENTER).split(LEAVE)
    pages = [part.split("\n") for part in live.removesuffix("\x1b[J").split("\x1b[J")]
    assert pages[0][2].startswith("asking 4 servers")
    assert {len(lines) for lines in pages[1:]} == {6}
    assert all(re.fullmatch(r"\.\.\. \d+ more lines\x1b\[K", lines[-1]) for lines in pages[1:])
    assert re.match(r"\x1b\[H\d{4}-\d\d-\d\dT[\d:]{8}Z  every 0.05 s  fleet status", pages[1][0])
    # The last page stays to be read, whole.
    assert "SERVER" in after
    assert "connect-refused: down: " in after
    assert re.search(r"^4 servers: 3 ok, 1 unreachable, in ", after, re.MULTILINE)
    assert "\x1b" not in after


def test_a_terminal_that_can_do_nothing_gets_page_behind_page(
    small: Fleet, screen: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen()
    monkeypatch.setenv("TERM", "dumb")
    result = small("status", "--watch=100ms", "--timeout", "600ms")
    assert result.status == 0
    assert "\x1b" not in result.out
    assert result.out.count("  every 0.1 s  fleet status") >= 2


def test_lines_on_a_terminal_where_they_are_asked_for(small: Fleet, screen: Callable[[], None]) -> None:
    screen()
    result = small("status", "-o", "ndjson", "--watch=100ms", "--timeout", "600ms")
    assert rounds(result)


def test_quiet_hides_what_a_page_shows(small: Fleet, screen: Callable[[], None]) -> None:
    screen()
    result = small("status", "-q", "--watch=1s", "--timeout", "5s")
    assert result.status == 2
    assert "--quiet" in result.err
    assert not small.farm["edge-1"].sessions


@pytest.mark.parametrize(
    "args", [("status", "-o", "csv"), ("verb", "4", "--all"), ("signal", "SIGUSR1", "--all"), ("kill", "alice")]
)
def test_what_cannot_be_watched_is_refused_before_anything_is_sent(small: Fleet, args: tuple[str, ...]) -> None:
    result = small(*args, "--watch=1s")
    assert result.status == 2
    assert "--watch" in result.err
    assert not small.farm["edge-1"].sessions


def test_a_reader_that_goes_ends_it_in_silence(fleet: Fleet) -> None:
    fleet.start(small_farm())
    process = fleet.spawn("status", "--watch=100ms")
    try:
        assert isinstance(process.stdout, io.BufferedReader)
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait(TIMEOUT)
        if process.stderr is not None:
            process.stderr.close()
    assert process.returncode in (0, -signal.SIGKILL)
    assert isinstance(process, subprocess.Popen)
