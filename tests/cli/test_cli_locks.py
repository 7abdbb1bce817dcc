"""Several runs on one machine, and other management clients: who waits for whom, and what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.harness import Fleet
from fleet.demo.serve import Faults, ReplyFault


@contextmanager
def holding(fleet: Fleet, server: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another run of fleet that keeps the server's management interface."""
    with fleet.spawn("log", "--follow", server, "--tail", "0") as process:
        try:
            assert process.stderr is not None
            while b"+ " not in (line := process.stderr.readline()):
                assert line, "the other run ended"
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate()


def test_a_run_that_must_not_wait_says_who_holds_it(small: Fleet) -> None:
    with holding(small, "edge-1") as other:
        result = small("status", "edge-1", "--lock-timeout", "0")
        document = small("verb", "4", "-l", "edge-1", "--lock-timeout", "100ms", "--json").document
    assert result.status == 75
    assert result.err.startswith("locked: edge-1: another run of fleet holds this server's management port: ")
    assert f"pid {other.pid} (" in result.err
    assert "'fleet log --follow edge-1 --tail 0', since " in result.err
    assert (document["exit_status"], document["servers"][0]["error"]["code"]) == (75, "locked")
    assert document["servers"][0]["status"] == "unreachable"


def test_other_servers_are_asked_all_the_same(small: Fleet) -> None:
    with holding(small, "edge-1"):
        document = small("pid", "--lock-timeout", "0", "--json").document
    assert [server["status"] for server in document["servers"]] == ["unreachable", "ok", "ok"]


def test_a_run_waits_its_turn(small: Fleet) -> None:
    with holding(small, "edge-1") as other:
        ending = threading.Timer(0.5, other.send_signal, (signal.SIGINT,))
        ending.start()
        # The wait is not on the server's own clock.
        result = small("pid", "edge-1", "--lock-timeout", "60s", "--host-timeout", "5s")
    ending.join()
    assert (result.status, result.err) == (0, "")


def test_a_killed_run_leaves_no_lock(small: Fleet) -> None:
    with holding(small, "edge-1") as other:
        other.kill()
        other.wait()
        result = small("pid", "edge-1", "--lock-timeout", "0")
    assert (result.status, result.err) == (0, "")


def test_a_busy_port_is_waited_for(small: Fleet) -> None:
    small.occupy("edge-1")
    busy = small("pid", "edge-1", "--reply-timeout", "300ms")
    assert busy.status == 4
    assert "management-busy" in busy.err
    leaving = threading.Timer(1.0, small.vacate, ("edge-1",))
    leaving.start()
    waited = small("pid", "edge-1", "--reply-timeout", "300ms", "--wait-busy", "60s", "--host-timeout", "5s")
    leaving.join()
    assert (waited.status, waited.err) == (0, "")


def test_a_folder_that_others_can_write_stops_changes_only(small: Fleet, tmp_path: Path) -> None:
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        small.set(variable, str(tmp_path / "open"))
    (tmp_path / "open" / "fleet").mkdir(parents=True)
    (tmp_path / "open" / "fleet").chmod(0o777)
    assert small("status").status == 0
    refused = small("verb", "4", "-l", "edge-1")
    assert refused.status == 2
    assert "can be written by others" in refused.err
    assert "verb 4" not in small.daemon("edge-1").executed


# What is kept of a run


def audit() -> list[dict[str, object]]:
    path = Path(os.environ["XDG_STATE_HOME"]) / "fleet" / "audit.ndjson"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def test_a_change_is_in_the_audit_one_line_for_each_server(small: Fleet) -> None:
    assert small("verb", "4", "--all", "--yes").status == 0
    lines = audit()
    assert sorted(str(line["server"]) for line in lines) == ["edge-1", "gw/tcp", "gw/udp"]
    assert {line["command"] for line in lines} == {"fleet verb 4 --all --yes"}
    assert {str(line["sent"]) for line in lines} == {"['verb 4']"}
    assert {line["status"] for line in lines} == {"ok"}
    assert len({line["run"] for line in lines}) == 1


@pytest.mark.parametrize("args", [("status",), ("verb", "4", "--all", "--dry-run"), ("verb", "4", "--all")])
def test_what_changes_nothing_is_not_in_the_audit(small: Fleet, args: tuple[str, ...]) -> None:
    small(*args)
    assert audit() == []


def test_a_killed_run_leaves_whole_lines(small: Fleet) -> None:
    small.farm["gw/udp"].faults = Faults(reply=ReplyFault.SILENCE, command="signal")
    with small.spawn("signal", "SIGUSR2", "--all", "--yes") as process:
        deadline = time.monotonic() + 60
        while len(audit()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    lines = audit()
    assert sorted(str(line["server"]) for line in lines) == ["edge-1", "gw/tcp"]
    shown = small("history", "show", "last", "--json").document
    standing = {server["name"]: server["standing"] for server in shown["servers"]}
    assert (shown["state"], standing) == ("killed", {"edge-1": "ok", "gw/udp": "unconfirmed", "gw/tcp": "ok"})
    assert small("pid", "--lock-timeout", "0", "-x", "gw/udp").status == 0
    run = lines[0]["run"]
    assert small("verb", "4", "-l", "edge-1").status == 0  # the next change says what that one could not
    (killed,) = (line for line in audit() if line["status"] == "killed")
    assert (killed["run"], killed["server"], killed["unconfirmed"]) == (run, "gw/udp", "signal SIGUSR2")
    assert small("history", "show", str(run), "--json").document == shown
