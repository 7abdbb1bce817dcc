"""`fleet console` on the lab, in a real terminal: type, see, leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab import Lab
from support.tmux import Tmux

pytestmark = pytest.mark.lab


@pytest.fixture
def screen(tmp_path: Path, lab: Lab) -> Iterator[Tmux]:
    with Tmux(tmp_path) as started:
        yield started
    for server in ("edge-1", "edge-2"):
        lab.ask(server, "verb 3")


def open_console(screen: Tmux, lab: Lab, *args: str, prompt: str) -> None:
    lab.hold_busy()
    screen.run(lab.fleet_argv("console", *args), {**lab.environment(), "TERM": "screen-256color"})
    screen.wait_for(prompt)


def test_type_see_leave_and_the_daemons_run_on(screen: Tmux, lab: Lab) -> None:
    open_console(screen, lab, "edge-1,edge-2", prompt="edge-[1-2] (2)>")
    screen.line("verb 4")
    screen.wait_for("edge-[1-2] (2): verb level changed")
    screen.line("state on")
    screen.wait_for("real-time state notification set to ON")
    screen.line("signal SIGUSR1")
    screen.wait_for("edge-[1-2] (2): signal SIGUSR1 thrown")
    screen.wait_for("STATE RECONNECTING SIGUSR1", times=2)
    screen.wait_for("STATE CONNECTED", times=2)
    screen.line("pid")
    screen.wait_for(f"edge-1: pid={lab.daemon_pid('edge-1')}")
    screen.line("exit")
    assert screen.exit_status() == 0
    for server in ("edge-1", "edge-2"):
        assert lab.ask(server, "verb") == "SUCCESS: verb=4\n"
        assert lab.ask(server, "pid") == f"SUCCESS: pid={lab.daemon_pid(server)}\n"
    lab.wait_for_clients("edge-1", "edge-2")


def test_the_log_comes_above_the_line(screen: Tmux, lab: Lab) -> None:
    open_console(screen, lab, "edge-1", prompt="edge-1>")
    screen.line("log on")
    screen.wait_for("real-time log notification set to ON")
    screen.line("mute")
    screen.wait_for("MANAGEMENT: CMD 'mute'")
    screen.wait_for("mute=0")
    screen.type("C-d")
    assert screen.exit_status() == 0


def test_a_password_protected_daemon_and_idle(screen: Tmux, lab: Lab) -> None:
    open_console(screen, lab, "vault", "--idle", "1s", prompt="vault>")
    screen.wait_for("vault (not connected)>")
    assert lab.ask("vault", "pid") == f"SUCCESS: pid={lab.daemon_pid('vault')}\n"  # others are served
    screen.line("pid")
    screen.wait_for(f"pid={lab.daemon_pid('vault')}")
    screen.type("C-d")
    assert screen.exit_status() == 0


def test_a_console_next_to_one_that_holds_the_interface(screen: Tmux, lab: Lab) -> None:
    lab.hold_busy()
    screen.run(
        lab.fleet_argv("console", "busy", "--reply-timeout", "1s"), {**lab.environment(), "TERM": "screen-256color"}
    )
    assert screen.exit_status() == 4
    assert "management-busy: busy:" in screen.text
