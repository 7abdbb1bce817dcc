"""`fleet console` in a terminal: type, see, leave."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm, Reach
from fleet.demo.serve import Faults, ReplyFault
from support.background import Servers, servers
from support.tmux import WAIT_TIMEOUT, Tmux

pytestmark = pytest.mark.children_measured

__all__ = ["servers"]


def farm() -> Farm:
    made = Farm()
    for number in range(1, 4):
        made.add(f"edge-{number}", SimulatedDaemon("2.6.14", clients=[SimulatedClient("alice")]), group="eu")
    made.add("old", SimulatedDaemon("2.4.12"))
    made.add("down", SimulatedDaemon("2.6.14"), reach=Reach.DOWN)
    return made


@pytest.fixture
def screen(tmp_path: Path, servers: Servers) -> Iterator[Tmux]:
    servers.start(farm())
    with Tmux(tmp_path) as started:
        yield started


def open_console(screen: Tmux, servers: Servers, *args: str, prompt: str) -> None:
    screen.run(servers.argv("console", *args), servers.environment())
    screen.wait_for(prompt)


def last_line(screen: Tmux) -> str:
    return [line for line in screen.text.splitlines() if line.strip()][-1]


def history(tmp_path: Path) -> str:
    return (tmp_path / "state" / "fleet" / "console_history").read_text()


def test_type_see_leave(screen: Tmux, servers: Servers, tmp_path: Path) -> None:
    open_console(screen, servers, "edge-1", prompt="edge-1>")
    seen = screen.text
    assert "edge-1: OpenVPN 2.6.14" in seen
    assert "nobody else is answered until you leave" in seen
    screen.line("verb")
    screen.wait_for("verb=3")
    screen.line("verb 5")
    screen.wait_for("verb level changed")
    screen.line("exit")
    assert screen.exit_status() == 0
    executed = servers.executed("edge-1")
    assert [line for line in executed if line not in ("version", "help", "pid", "state")] == ["verb", "verb 5"]
    assert servers.fleet("verb", "-l", "edge-1", "-o", "raw").stdout == "SUCCESS: verb=5\n"  # free again
    file = tmp_path / "state" / "fleet" / "console_history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "+verb 5" in history(tmp_path)


def test_each_line_goes_to_all_and_equal_answers_are_folded(screen: Tmux, servers: Servers) -> None:
    open_console(screen, servers, "eu,old", prompt="old edge-[1-3] (4)>")
    screen.line("mute")
    screen.wait_for("old edge-[1-3] (4): mute=0")
    screen.line("version")
    seen = screen.wait_for("Management Version: 1")
    assert "edge-[1-3] (3):\n  OpenVPN Version: OpenVPN 2.6.14 " in seen
    screen.line("push-update-broad x")
    screen.wait_for("wants OpenVPN 2.7 or later")
    screen.line("client-kill 0")  # a client ID is another client on each server
    screen.wait_for("this line would go to 4")
    screen.type("C-d")
    assert screen.exit_status() == 0
    assert not [line for line in servers.executed("edge-1") if line.startswith("client-kill")]


def test_messages_come_above_the_line_that_is_typed(screen: Tmux, servers: Servers) -> None:
    open_console(screen, servers, "edge-1,edge-2", prompt="edge-[1-2] (2)>")
    screen.line("state on")
    screen.wait_for("real-time state notification set to ON")
    screen.type("-l", "half a line")
    screen.wait_for("edge-[1-2] (2)> half a line")
    servers.do(lambda: servers.farm["edge-2"].daemon.signal("SIGUSR1"))
    seen = screen.wait_for("CONNECTED")
    assert "STATE RECONNECTING SIGUSR1" in seen
    until = time.monotonic() + WAIT_TIMEOUT  # the line is drawn again behind the message
    while last_line(screen) != "edge-[1-2] (2)> half a line":
        assert time.monotonic() < until, screen.text
        time.sleep(0.02)
    screen.type("C-c")  # clears the line, and nothing is sent
    screen.wait_for("edge-[1-2] (2)>", times=3)
    screen.line("pid")
    screen.wait_for("edge-2: pid=")
    screen.type("C-d")
    assert screen.exit_status() == 0
    assert not [line for line in servers.executed("edge-1") if "half" in line]


def test_tab_completes_what_this_daemon_knows(screen: Tmux, servers: Servers) -> None:
    open_console(screen, servers, "old", prompt="old>")
    screen.type("load", "Tab")
    screen.wait_for("old> load-stats")
    screen.type("Enter")
    screen.wait_for("nclients=0,bytesin=")
    screen.type("auth-r", "Tab")
    screen.wait_for("old> auth-retry")
    screen.type("Space", "inte", "Tab")
    screen.wait_for("old> auth-retry interact")
    screen.type("Enter")
    screen.wait_for("auth-retry parameter changed")
    assert "auth-retry interact" in servers.executed("old")
    screen.type("push", "Tab", "x")  # 2.4 has none of that
    screen.wait_for("old> pushx")
    screen.type("C-c")
    screen.wait_for("old>", times=4)
    screen.type("Up")
    screen.wait_for("old> auth-retry interact", times=2)
    screen.type("C-c", "C-d")
    assert screen.exit_status() == 0


def test_what_is_refused_is_not_sent(screen: Tmux, servers: Servers, tmp_path: Path) -> None:
    open_console(screen, servers, "edge-1", "--readonly", prompt="edge-1>")
    for line, words in (
        ("frobnicate now", "with fleet exec --reply"),
        ("verb 9", "this console is read-only"),
        ("verb foo", "'foo' is not a number"),
        ("client-auth 0 1", "this console is read-only"),
        ('kill "open', "quot"),
    ):
        screen.line(line)
        screen.wait_for(words)
    screen.line("   ")
    screen.line("# nothing")
    screen.line("quit")
    assert screen.exit_status() == 0
    assert not set(servers.executed("edge-1")) - {"version", "help", "pid", "state"}
    assert "frobnicate" not in history(tmp_path)
    assert not (tmp_path / "state" / "fleet" / "audit.ndjson").exists()  # who only looks is not in it
    assert "console edge-1" in servers.fleet("history", "list").stdout


def test_lines_behind_a_command_are_asked_for_up_to_their_end(screen: Tmux, servers: Servers, tmp_path: Path) -> None:
    open_console(screen, servers, "edge-1", prompt="edge-1>")
    screen.line("client-auth 0 1")
    screen.wait_for("lines up to END>")
    screen.line('push "route 10.0.0.0 255.0.0.0"')
    screen.wait_for("lines up to END>", times=2)
    screen.line("END")
    screen.wait_for("client-auth command failed")  # nobody waits there
    screen.line("rsa-sig")
    screen.wait_for("lines up to END>", times=3)
    screen.type("C-c")  # drops the command
    screen.line("mute")
    screen.wait_for("mute=0")
    screen.type("C-d")
    assert screen.exit_status() == 0
    assert "rsa-sig" not in servers.executed("edge-1")
    assert "push" not in history(tmp_path)


def audit(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "state" / "fleet" / "audit.ndjson").read_text().splitlines()]


def test_what_changes_something_is_in_the_audit(screen: Tmux, servers: Servers, tmp_path: Path) -> None:
    open_console(screen, servers, "edge-1,edge-2", prompt="edge-[1-2] (2)>")
    screen.line("verb")
    screen.wait_for("verb=3")
    screen.line("verb 5")
    screen.wait_for("verb level changed")
    screen.line("password Auth hunter2")
    screen.wait_for("no password is currently needed")
    screen.line("exit")
    assert screen.exit_status() == 0
    opened, levels, passwords = (audit(tmp_path)[begin : begin + 2] for begin in (0, 2, 4))
    assert [(line["server"], line["status"], line["sent"]) for line in opened] == [
        ("edge-1", "ok", []),
        ("edge-2", "ok", []),
    ]
    assert [(line["server"], line["sent"]) for line in levels] == [("edge-1", ["verb 5"]), ("edge-2", ["verb 5"])]
    assert "verb level changed" in levels[0]["answer"]
    assert {(line["status"], *line["sent"]) for line in passwords} == {("failed", "password Auth [secret]")}
    assert len(audit(tmp_path)) == 6
    (run,) = (tmp_path / "state" / "fleet" / "runs").glob("*")
    assert "hunter2" not in run.read_text() + json.dumps(audit(tmp_path))
    assert "console edge-1,edge-2" in servers.fleet("history", "list").stdout


def test_a_console_keeps_other_runs_and_consoles_out(screen: Tmux, servers: Servers) -> None:
    folder = servers.folder / "first"
    folder.mkdir()
    with Tmux(folder) as other:
        open_console(other, servers, "edge-1", prompt="edge-1>")
        locked = servers.fleet("state", "-l", "edge-1", "--lock-timeout", "0")
        assert locked.exit_status == 75, locked.stderr
        assert "console edge-1" in locked.stderr
        open_console(screen, servers, "edge-1", "--lock-timeout", "0", prompt="console edge-1")
        assert screen.exit_status() == 75
        other.type("C-d")
        assert other.exit_status() == 0


def test_what_would_do_harm_is_not_sent(screen: Tmux, servers: Servers) -> None:
    daemon = servers.farm["edge-1"].daemon
    servers.do(lambda: [setattr(daemon, "hold_flag", True), daemon.restart("SIGUSR1")])
    open_console(screen, servers, "edge-1", prompt="edge-1>")
    screen.line("signal SIGUSR1")
    screen.wait_for("in hold and ignores SIGUSR1; nothing was sent")
    screen.line("kill col:on")
    screen.wait_for("fleet kill")
    screen.line("pid")
    screen.wait_for("pid=")
    screen.type("C-d")
    assert screen.exit_status() == 0
    assert not any(line.startswith(("signal", "kill")) for line in servers.executed("edge-1"))


def test_secrets_are_not_remembered(screen: Tmux, servers: Servers, tmp_path: Path) -> None:
    open_console(screen, servers, "edge-1", prompt="edge-1>")
    screen.line("password Auth visible-one")
    screen.wait_for("no password is currently needed")
    screen.line('password "Private Key"')
    screen.wait_for("password for Private Key:")
    screen.type("-l", "hidden-one")
    screen.type("Escape", "[", "D")  # the cursor in it is not shown either
    screen.type("Enter")
    screen.wait_for("no password is currently needed", times=2)
    screen.line("pasword Auth mistyped-one")
    screen.wait_for("did you mean 'password'")
    screen.line("mute")
    screen.wait_for("mute=0")
    assert "hidden-one" not in screen.text
    assert "*" not in screen.text
    screen.type("Up", "Up")
    screen.type("C-c", "C-d")
    assert screen.exit_status() == 0
    assert {'password "Private Key" hidden-one', "password Auth visible-one"} <= set(servers.executed("edge-1"))
    assert [line for line in history(tmp_path).splitlines() if line.startswith("+")] == ["+mute"]
    assert screen.text.count("visible-one") == 1  # where it was typed


def test_idle_gives_the_interface_back_and_the_next_line_connects_again(screen: Tmux, servers: Servers) -> None:
    open_console(screen, servers, "edge-1", "--idle", "500ms", prompt="edge-1>")
    screen.wait_for("was given back after")
    screen.wait_for("edge-1 (not connected)>")
    free = servers.fleet("pid", "edge-1", "--lock-timeout", "0")  # another run is served meanwhile
    assert free.exit_status == 0, free.stderr
    screen.line("verb")
    screen.wait_for("verb=3")
    screen.type("C-d")
    assert screen.exit_status() == 0
    assert servers.farm["edge-1"].sessions >= 3


def test_a_daemon_that_ends_is_said_and_one_that_cannot_be_reached_left_out(screen: Tmux, servers: Servers) -> None:
    open_console(screen, servers, "edge-1,edge-2,down", prompt="edge-[1-2] (2)>")
    assert "connect-refused: down:" in screen.text
    assert "left out: down" in screen.text
    servers.do(lambda: servers.farm["edge-1"].daemon.signal("SIGTERM"))
    screen.wait_for("- edge-1:")
    screen.line("mute")  # tries edge-1 again, and goes on without it
    screen.wait_for("edge-2: mute=0")
    screen.wait_for("left out: edge-1")
    screen.line("exit")
    assert screen.exit_status() == 0


def test_nobody_to_talk_to(screen: Tmux, servers: Servers) -> None:
    screen.run(servers.argv("console", "down"), servers.environment())
    assert screen.exit_status() == 4
    assert "connect-refused: down:" in screen.text


def test_ctrl_c_ends_the_wait_for_an_answer(screen: Tmux, servers: Servers) -> None:
    servers.do(lambda: setattr(servers.farm["edge-2"], "faults", Faults(reply=ReplyFault.SILENCE, command="mute")))
    open_console(screen, servers, "edge-1,edge-2", prompt="edge-[1-2] (2)>")
    screen.line("mute 7")
    until = time.monotonic() + WAIT_TIMEOUT
    while "mute 7" not in servers.executed("edge-2") and time.monotonic() < until:
        time.sleep(0.02)
    screen.type("C-c")
    screen.wait_for("edge-2: not waited for; sent and not confirmed: mute 7")
    screen.wait_for("edge-1: mute level changed")
    screen.line("verb")
    screen.wait_for("edge-[1-2] (2): verb=3")
    screen.type("C-d")
    assert screen.exit_status() == 0


def test_sigterm_leaves(screen: Tmux, servers: Servers, tmp_path: Path) -> None:
    argv = ["sh", "-c", f'echo $$ > {tmp_path}/pid; exec "$@"', "sh", *servers.argv("console", "edge-1")]
    screen.run(argv, servers.environment())
    screen.wait_for("edge-1>")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    assert screen.exit_status() == 130
    assert servers.fleet("pid", "edge-1").exit_status == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["console", "edge-1"], "console wants a terminal"),
        (["console"], "console wants a server"),
        (["console", "edge-1", "--json"], "console is for people"),
        (["console", "edge-1", "--idle", "0"], "a duration is more than 0"),
    ],
)
def test_where_there_is_no_console(servers: Servers, args: list[str], words: str) -> None:
    servers.start(farm())
    run = servers.fleet(*args)
    assert run.exit_status == 2
    assert words in run.stderr + run.stdout
    assert servers.farm["edge-1"].sessions == 0


def test_a_log_that_would_feed_itself(screen: Tmux, servers: Servers) -> None:
    open_console(screen, servers, "edge-1", prompt="edge-1>")
    screen.line("log on")
    screen.wait_for("real-time log notification set to ON")
    screen.line("verb 9")
    screen.wait_for("'verb 9' locks a session that has the log on; it was not sent")
    screen.line("log off")
    screen.wait_for("real-time log notification set to OFF")
    screen.line("verb 9")
    screen.wait_for("verb level changed")
    screen.type("C-d")
    assert screen.exit_status() == 0


def test_where_nothing_can_be_written_down_one_may_only_look(screen: Tmux, servers: Servers) -> None:
    environment = {**servers.environment(), "XDG_STATE_HOME": "/proc/nowhere"}
    screen.run(servers.argv("console", "edge-1"), environment)
    screen.wait_for("a change is not made where it cannot be written down")
    assert screen.exit_status() == 2
    screen.run(servers.argv("console", "edge-1", "--readonly"), environment)
    screen.wait_for("edge-1>")
    screen.line("mute")
    screen.wait_for("mute=0")
    screen.type("Up")
    screen.wait_for("edge-1> mute", times=2)
    screen.type("C-c", "C-d")
    assert screen.exit_status() == 0


def test_the_terminal_is_asked_for_a_password_without_echo(screen: Tmux, servers: Servers) -> None:
    screen.run(servers.argv("password", "Private Key", "-l", "edge-1"), servers.environment())
    screen.wait_for("password for Private Key:")
    screen.line("hidden-one")
    assert screen.exit_status() == 1  # nobody waits for it there
    assert "no password is currently needed" in screen.text
    assert "hidden-one" not in screen.text
    assert 'password "Private Key" hidden-one' in servers.executed("edge-1")


def test_whom_it_would_be_for(screen: Tmux, servers: Servers) -> None:
    screen.run(servers.argv("console", "eu", "--list-hosts"), servers.environment())
    assert screen.exit_status() == 0
    assert screen.text.split() == ["edge-1", "edge-2", "edge-3"]
    assert servers.farm["edge-1"].sessions == 0
