"""What goes where: quiet and verbose runs, bugs, colour, full disks."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from cli.harness import Fleet, daemon, farm_with_a_server_down
from fleet.cli.asking import Interrupts
from fleet.cli.output import write
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults
from fleet.operations import queries
from fleet.operations.conversation import Conversation


def test_quiet_is_silent_when_all_is_well(small: Fleet) -> None:
    changing = ("verb", "3", "--all", "--yes")
    for args in (("status",), ("clients",), ("status", "--json"), ("pid", "-o", "ndjson"), changing):
        for command_line in (("-q", *args), (*args, "--quiet")):
            result = small(*command_line)
            assert (result.status, result.out, result.err) == (0, "", "")
    small.set("FLEET_QUIET", "1")
    assert small("pid").out == ""


def test_quiet_has_a_line_for_each_problem(fleet: Fleet) -> None:
    farm = farm_with_a_server_down()
    farm["edge-1"].closed = True
    fleet.start(farm)
    result = fleet("pid", "-q")
    assert (result.status, result.out) == (4, "")
    lines = result.err.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["management-closed", "edge-1"], ["connect-refused", "down"]]
    assert all(" (try: " in line for line in lines)
    assert fleet("pid", "-q", "--json").document["exit_status"] == 4
    assert [line["name"] for line in fleet("pid", "-q", "-o", "ndjson").lines[:-1]].sort() == ["down", "edge-1"].sort()
    assert fleet("pid", "-q", "-v").err == result.err


def test_quiet_refusals_are_one_line(fleet: Fleet) -> None:
    fleet.inventory("all: {hosts: {a: {management: '/x', connection: local}}}")
    for args in (("status", "nope"), ("verb", "99"), ("verb", "4"), ("bogus",), ("-i", "missing", "status")):
        result = fleet("-q", *args)
        assert (result.status, result.out) == (2, "")
        assert len(result.err.splitlines()) == 1
    fleet.set("FLEET_QUIET", "1")
    assert len(fleet("status", "nope").err.splitlines()) == 1


def test_verbose_says_how_each_server_went(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    for args in (("-v", "pid"), ("pid", "--verbose"), ("-v", "pid", "-o", "raw")):
        lines = fleet(*args).err.splitlines()
        assert {line.split(" after ")[0] for line in lines[:4]} == {
            "edge-1: ok", "gw/udp: ok", "gw/tcp: ok", "down: unreachable",
        }  # fmt: skip
    assert fleet("pid", "-l", "edge-1", "-v").err.splitlines()[-1].startswith("1 server: 1 ok, in ")
    assert fleet("pid", "-l", "edge-1").err == ""


# bugs


class BrokenError(Exception):
    """Injected, with an escape sequence in its text."""


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pid` breaks on gw/udp in a way that nobody thought of."""
    ask = Conversation.ask

    async def break_on_one(self: Conversation, *commands: object) -> object:
        if self.server.name == "gw/udp":
            raise BrokenError("oh \x1b[31mno")
        return await ask(self, *commands)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(Conversation, "ask", break_on_one)


@pytest.mark.usefixtures("bug")
def test_a_bug_costs_one_server(small: Fleet) -> None:
    result = small("pid")
    assert result.status == 3
    assert len(result.out.splitlines()) == 3
    assert result.err.splitlines()[:2] == [
        (
            r"internal: gw/udp: a bug in fleet: BrokenError: oh \x1b[31mno; "
            "it was waiting for the greeting of 127.0.0.1:7505"
        ),
        "  try: run the same command with -vv, and report what it shows",
    ]
    assert "Traceback" not in result.err
    document = small("pid", "--json").document
    assert (document["exit_status"], document["servers"][1]["status"]) == (3, "failed")
    assert document["servers"][1]["error"]["code"] == "internal"


@pytest.mark.usefixtures("bug")
def test_a_traceback_is_for_those_who_ask(small: Fleet) -> None:
    assert "Traceback" not in small("-v", "pid").err
    for args in (("-vv", "pid"), ("pid", "-v", "-v")):
        result = small(*args)
        assert result.status == 3
        assert "gw/udp: Traceback (most recent call last):" in result.err
        assert r"BrokenError: oh \x1b[31mno" in result.err
        assert "\x1b" not in result.err


def test_a_bug_before_any_server(small: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_count: str) -> object:
        raise BrokenError("oh no")

    monkeypatch.setattr(queries, "log", broken)
    result = small("log")
    assert (result.status, result.out) == (3, "")
    assert result.err == "a bug in fleet: BrokenError: oh no\n  please report it, with what -vv prints\n"
    result = small("log", "-v", "--verbose", "--json")
    assert result.status == 3
    assert result.document["error"]["code"] == "internal"
    assert "please report it\nTraceback (most recent call last):" in result.err


def test_a_bug_of_the_system_is_a_bug(small: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_count: str) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(queries, "log", broken)
    assert small("log").err.startswith("a bug in fleet: PermissionError: [Errno 13] Permission denied\n")


def test_a_bug_in_reading_the_command_line(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise BrokenError("oh no")

    monkeypatch.setattr("fleet.cli.options.merge", broken)
    assert "please report it, with what -vv prints" in fleet("status").err
    assert "Traceback" in fleet("-vv", "status").err


def test_ctrl_c_before_anything_is_sent(small: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_servers: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fleet.cli.choosing.check_secrets", interrupted)
    result = small("kill", "a", "--json")
    assert (result.status, result.err) == (130, "interrupted before anything was sent\n")
    document = result.document
    assert (document["exit_status"], document["error"]["code"], document["args"]) == (130, "interrupted", ["a"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_before_the_run_can_be_ended_ends_it_then(number: signal.Signals) -> None:
    ended: list[str] = []

    async def run(interrupts: Interrupts) -> None:
        interrupts.end_with(lambda: ended.append("at once"))

    with Interrupts() as interrupts:
        os.kill(os.getpid(), number)
        asyncio.run(run(interrupts))
    assert ended == ["at once"]


def test_ctrl_c_when_everything_is_done_is_too_late() -> None:
    ended: list[str] = []

    async def run(interrupts: Interrupts) -> None:
        interrupts.end_with(lambda: ended.append("too late"))

    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        asyncio.run(run(interrupts))
        os.kill(os.getpid(), signal.SIGINT)
    assert ended == []
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_the_command_line_is_read(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("fleet.cli.main.build", interrupted)
    result = fleet("kill", "a", "--json")
    assert (result.status, result.err) == (130, "interrupted before anything was sent\n")
    assert (result.document["command"], result.document["args"]) == ("kill", [])


def test_ctrl_c_while_the_outcomes_are_written(small: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(text: str, *, exact: bool = False) -> bool:
        signal.raise_signal(signal.SIGINT)
        return write(text, exact=exact)

    monkeypatch.setattr("fleet.cli.output.write", interrupted)
    result = small("verb", "4", "-l", "edge-1", "--yes")
    assert (result.status, result.out.splitlines()[1].split()[:3]) == (0, ["edge-1", "4", "3"])
    assert result.err == "every server has its outcome, and they are being written; again to leave at once\n"
    assert small.daemon("edge-1").verb == 4


# colour


def test_colour(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon())
    farm["edge-1"].closed = True
    fleet.start(farm)
    plain = fleet("pid", "--color", "never").err
    assert "\x1b" not in plain
    assert fleet("pid").err.splitlines()[0] == plain.splitlines()[0]
    coloured = fleet("pid", "--color", "always").err
    assert coloured.startswith("\x1b[31mmanagement-closed\x1b[0m: edge-1: ")
    fleet.set("FLEET_COLOR", "always")
    assert fleet("pid").err.startswith("\x1b[31m")
    assert fleet("status", "nope").err.startswith("\x1b[31mno server or group")
    fleet.unset("FLEET_COLOR")
    fleet.set("CLICOLOR_FORCE", "1")
    assert fleet("pid").err.startswith("\x1b[31m")
    fleet.set("NO_COLOR", "1")
    assert "\x1b" not in fleet("pid").err
    assert fleet("pid", "--color", "always").err.startswith("\x1b[31m")
    assert fleet("pid", "--color", "always").out == ""


# lines as they complete


def test_lines_come_in_the_order_of_completion(small: Fleet) -> None:
    small.farm["edge-1"].faults = Faults(reply_delay=1.0)
    lines = small("pid", "-o", "ndjson").lines
    assert [line["type"] for line in lines] == ["server", "server", "server", "summary"]
    assert lines[2]["name"] == "edge-1"
    assert lines[3]["summary"]["ok"] == 3
    assert set(lines[3]) == {
        "type", "fleet_schema", "command", "args", "started", "elapsed", "exit_status", "summary", "error",
    }  # fmt: skip


def test_a_table_is_in_the_order_of_the_inventory(small: Fleet) -> None:
    small.farm["edge-1"].faults = Faults(reply_delay=1.0)
    assert [line.split()[0] for line in small("pid").out.splitlines()[1:]] == ["edge-1", "gw/udp", "gw/tcp"]
