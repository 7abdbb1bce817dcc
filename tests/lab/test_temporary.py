"""Settings for a time on real daemons: put back in the end, on SIGTERM, and left where somebody else has set them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from lab.lab import FLEET_TIMEOUT
from lab.processes import wait_until
from lab.unlocking import UnlockLab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def time_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnlockLab]:
    with UnlockLab(tmp_path_factory.mktemp("time")) as started:
        for number in (1, 2):
            started.server(f"edge-{number}")
            started.daemons[f"edge-{number}"].ask(f"verb {number + 2}")
        yield started


def verbs(lab: UnlockLab) -> list[str]:
    return [daemon.ask("verb").removeprefix("SUCCESS: verb=").strip() for daemon in lab.daemons.values()]


def until_said(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stderr is not None
    told = b""
    while text not in told:
        line = process.stderr.readline()
        assert line, told
        told += line


def spawn(lab: UnlockLab, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        lab.argv(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.environment()
    )


def test_each_daemon_gets_its_own_level_back(time_lab: UnlockLab) -> None:
    run = time_lab.installed("verb", "6", "--all", "--yes", "--for", "1s", "--json")
    assert run.exit_status == 0, run.stderr
    assert verbs(time_lab) == ["3", "4"]
    results = [outcome["result"] for outcome in run.outcomes().values()]
    assert [(one["before"], one["now"], one["found"], one["put_back"]) for one in results] == [
        (3, 6, 6, "done"), (4, 6, 6, "done"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_before_its_time(time_lab: UnlockLab, number: signal.Signals) -> None:
    with spawn(time_lab, "verb", "6", "--all", "--yes", "--for", "10m") as process:
        until_said(process, b"verb 6 on 2 servers until ")
        assert verbs(time_lab) == ["6", "6"]  # the management interfaces are free
        process.send_signal(number)
        process.communicate(timeout=FLEET_TIMEOUT)
    assert process.returncode == 130
    assert verbs(time_lab) == ["3", "4"]


def test_what_a_sighup_or_somebody_else_has_done_meanwhile(time_lab: UnlockLab) -> None:
    one, two = time_lab.daemons.values()
    state = one.ask("state")
    with spawn(time_lab, "verb", "6", "--all", "--yes", "--for", "10m") as process:
        until_said(process, b"verb 6 on 2 servers until ")
        assert one.ask("signal SIGHUP").startswith("SUCCESS")  # reads the configuration again, which has verb 3
        wait_until("it has restarted", lambda: one.ask("state") != state and ",CONNECTED," in one.ask("state"))
        assert two.ask("verb 7").startswith("SUCCESS")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=FLEET_TIMEOUT)
    assert verbs(time_lab) == ["3", "7"]
    assert [line.split()[3:] for line in out.decode().splitlines()[1:]] == [["was", "already"], ["left", "at", "7"]]
    assert "warning: edge-2: somebody has set verb 7 meanwhile, so it was left; before it was 4" in err.decode()
    two.ask("verb 4")


def test_a_daemon_that_has_ended_is_said_with_what_repairs_it(time_lab: UnlockLab) -> None:
    time_lab.server("edge-3")
    with spawn(time_lab, "mute", "7", "--all", "--yes", "--for", "10m", "--host-timeout", "3s") as process:
        until_said(process, b"mute 7 on 3 servers until ")
        time_lab.daemons["edge-3"].ask("signal SIGTERM")
        assert time_lab.has_ended("edge-3")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=FLEET_TIMEOUT)
    del time_lab.daemons["edge-3"]
    assert process.returncode == 4
    assert "management-closed: edge-3: mute 7 (0 before) was not put back: " in err.decode()
    assert "  try: fleet mute 0 -l edge-3" in err.decode()
    assert [daemon.ask("mute") for daemon in time_lab.daemons.values()] == ["SUCCESS: mute=0\n"] * 2
