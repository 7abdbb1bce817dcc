"""Rolling changes on real OpenVPN servers with real clients: one that ends well, and those that have to stop."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from lab.lab import FLEET_TIMEOUT
from lab.rolling import RollingLab

pytestmark = pytest.mark.lab

GATE = ("--wait", "connected,clients=80%")


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RollingLab]:
    with RollingLab(tmp_path_factory.mktemp("rolling")) as started:
        yield started


@contextmanager
def until_batch(rolling: RollingLab, argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A rolling change that has its first batch behind it, and waits before the second."""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=rolling.environment()
    ) as process:
        assert process.stderr is not None
        told = b""
        while b"batch 1/3" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        yield process


def test_a_rolling_restart_that_ends_well(rolling: RollingLab) -> None:
    names = [f"well-{number}" for number in range(1, 6)]
    for number, name in enumerate(names):
        rolling.site(name, f"alice {number}", f"bob {number}", protocol="tcp" if number == 2 else "udp")
    rolling.wait_for_clients(*names)
    before = rolling.states(*names)
    pids = [rolling.daemons[name].ask("pid") for name in names]
    run = rolling.installed("signal", "SIGUSR1", "-l", "well-*", "--serial", "1,40%", *GATE, "--yes", "--json")
    assert run.exit_status == 0, run.stderr
    assert [rolling.daemons[name].ask("pid") for name in names] == pids
    after = rolling.states(*names)
    assert all(",CONNECTED,SUCCESS" in state for state in after)
    assert not set(before) & set(after)
    for name, outcome in run.outcomes().items():
        result = outcome["result"]
        assert (result["clients_before"], result["clients"]) == (2, 2), name
        assert result["connected_after"] is not None
    assert "batch 1  well-1         (2 clients)" in run.stderr
    assert "batch 3  well-4 well-5  (4)" in run.stderr
    assert run.stderr.count("RECONNECTING  CONNECTED after") == 5
    rolling.wait_for_clients(*names)


def test_a_daemon_that_dies_of_it(rolling: RollingLab) -> None:
    """SUCCESS is no health: it comes before the daemon finds out that it cannot read its key any more."""
    names = [f"die-{number}" for number in range(1, 6)]
    for number, name in enumerate(names):
        rolling.site(name, f"carol {number}", frail=number == 1)
    rolling.wait_for_clients(*names)
    before = rolling.states(*names)
    run = rolling.fleet("signal", "SIGUSR1", "-l", "die-*", "--serial", "1", *GATE, "--yes", "--json")
    assert run.exit_status == 1, run.stderr
    outcomes = run.outcomes()
    assert [outcomes[name]["status"] for name in names] == ["ok", "failed", *["not_attempted"] * 3]
    error = outcomes["die-2"]["error"]
    assert error["code"] == "command-failed"
    assert error["message"].startswith("the daemon died of SIGUSR1: FATAL: ")
    assert "its last state was RECONNECTING (SIGUSR1)" in error["message"]
    assert rolling.has_ended("die-2")
    assert rolling.states(*names[2:]) == before[2:]  # nothing was done to them
    assert "stopped: 1 failed, --max-fail 0" in run.stderr
    assert "  not attempted  die-[3-5] (3)" in run.stderr
    assert "again for the rest: fleet history rerun " in run.stderr


def test_a_daemon_that_ends_without_a_word(rolling: RollingLab) -> None:
    """SIGHUP reads a key that only root may read: EOF at once, and nobody listens any more (protocol-facts 5)."""
    rolling.site("mute-1", frail=True)
    rolling.site("mute-2")
    run = rolling.fleet("signal", "SIGHUP", "-l", "mute-*", "--serial", "1", "--yes", "--json")
    assert run.exit_status == 1, run.stderr
    outcomes = run.outcomes()
    assert [outcomes[name]["status"] for name in ("mute-1", "mute-2")] == ["failed", "not_attempted"]
    assert outcomes["mute-1"]["error"]["message"].startswith("the daemon died of SIGHUP: ")
    assert rolling.has_ended("mute-1")


def test_a_server_that_is_unreachable(rolling: RollingLab) -> None:
    names = [f"gone-{number}" for number in range(1, 4)]
    for number, name in enumerate(names):
        rolling.site(name, f"dave {number}")
    rolling.end("gone-2")
    rolling.wait_for_clients("gone-1", "gone-3")
    before = rolling.states("gone-3")
    run = rolling.fleet("signal", "SIGUSR1", "-l", "gone-*", "--serial", "1", *GATE, "--yes", "--json")
    assert run.exit_status == 4, run.stderr
    assert [outcome["status"] for outcome in run.outcomes().values()] == ["ok", "unreachable", "not_attempted"]
    assert rolling.states("gone-3") == before
    assert "stopped: 1 unreachable, --max-fail 0" in run.stderr
    more = ("--unreachable", "skip", "--yes", "--json")
    run = rolling.fleet("signal", "SIGUSR1", "-l", "gone-*", "--serial", "1", *GATE, *more)
    assert run.exit_status == 4, run.stderr
    assert [outcome["status"] for outcome in run.outcomes().values()] == ["ok", "unreachable", "ok"]
    assert rolling.states("gone-3") != before


def test_interrupted_between_batches(rolling: RollingLab) -> None:
    names = [f"stop-{number}" for number in range(1, 4)]
    for number, name in enumerate(names):
        rolling.site(name, f"erin {number}")
    rolling.wait_for_clients(*names)
    before = rolling.states(*names)
    argv = rolling.argv("signal", "SIGUSR1", "-l", "stop-*", "--serial", "1", "--batch-wait", "60s", "--yes", "--json")
    with until_batch(rolling, argv) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=FLEET_TIMEOUT)
    assert process.returncode == 130
    servers = json.loads(out)["servers"]
    assert [server["status"] for server in servers] == ["ok", "not_attempted", "not_attempted"]
    after = rolling.states(*names)
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    assert "  done           stop-1\n  not attempted  stop-[2-3] (2)\n" in err.decode()


def test_a_killed_run_leaves_no_lock_and_a_whole_audit(rolling: RollingLab) -> None:
    """Killed while it waits for the next batch: one server is done, two were never touched."""
    names = [f"kill-{number}" for number in range(1, 4)]
    for number, name in enumerate(names):
        rolling.site(name, f"frank {number}")
    rolling.wait_for_clients(*names)
    before = rolling.states(*names)
    argv = rolling.argv("signal", "SIGUSR1", "-l", "kill-*", "--serial", "1", "--batch-wait", "60s", "--yes")
    with until_batch(rolling, argv) as process:
        other = rolling.installed("signal", "SIGUSR1", "-l", "kill-3", "--step", "--serial", "1", "--lock-timeout", "0")
        assert other.exit_status == 2, other.stderr  # nobody to ask at
        second = rolling.installed("verb", "4", "-l", "kill-*", "--serial", "1", "--yes", "--lock-timeout", "0")
        assert second.exit_status == 75, second.stderr
        assert f"pid {process.pid} (" in second.stderr
        process.kill()
    rest = rolling.fleet("verb", "4", "-l", "kill-*", "--serial", "1", "--yes", "--lock-timeout", "0", "--json")
    assert rest.exit_status == 0, rest.stderr
    audit = rolling.audit()
    signals = [line for line in audit if "-l 'kill-*' --serial 1 --batch-wait" in str(line["command"])]
    assert [(line["server"], line["status"]) for line in signals] == [("kill-1", "ok")]
    assert [line["server"] for line in audit if line["sent"] == ["verb 4"]] == names
    runs = json.loads(rolling.fleet("history", "list", "--json").stdout)["runs"]
    killed = next(run for run in runs if run["run"] == signals[0]["run"])
    assert killed["state"] == "killed"
    assert (killed["summary"]["ok"], killed["summary"]["not_attempted"]) == (1, 2)
    after = rolling.states(*names)
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_of_two_runs_one_waits(rolling: RollingLab) -> None:
    """Both want the one management session of the same daemon."""
    daemon = rolling.site("turn-1")
    follow = rolling.argv("log", "--follow", "turn-1", "--tail", "0")
    with subprocess.Popen(
        follow, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=rolling.environment()
    ) as first:
        assert first.stderr is not None
        while b"+ turn-1" not in (line := first.stderr.readline()):
            assert line
        refused = rolling.installed("status", "turn-1", "--lock-timeout", "0")
        assert refused.exit_status == 75
        assert f"pid {first.pid} (" in refused.stderr
        leaving = threading.Timer(1.0, first.send_signal, (signal.SIGINT,))
        leaving.start()
        second = rolling.installed("verb", "4", "-l", "turn-1", "--lock-timeout", "60s")
        leaving.join()
        first.stderr.read()
    assert second.exit_status == 0, second.stderr
    assert daemon.ask("verb") == "SUCCESS: verb=4\n"
