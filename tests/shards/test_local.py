"""Runs on several processes of this machine."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from cli.harness import Fleet
from fleet.demo.farm import Farm
from shards.farm import by_name, kill, lines_of, timeless, told, until, workers_of

TWO = ("--workers", "2")

# Processes start slowly on a machine that is busy.
pytestmark = [pytest.mark.timeout(300), pytest.mark.children_measured]


@pytest.mark.parametrize(
    "args",
    [
        ("status",),
        ("status", "--json"),
        ("clients", "-o", "csv"),
        ("clients", "--json"),
        ("state", "-o", "yaml"),
        ("version", "--gather"),
        ("load-stats", "--json"),
        ("echo", "1"),
        ("find", "client-7-1"),
        ("exec", "pid", "load-stats", "--json", "--all", "--yes"),
        ("kill", "client-3-0", "--dry-run"),
        ("verb", "--json"),
        ("status", "--raw"),
        ("status", "-o", "raw"),
    ],
)
def test_two_processes_say_what_one_says(fleet: Fleet, many: Farm, args: tuple[str, ...]) -> None:
    many["edge-07"].closed = True
    alone, shared = fleet(*args, "--utc", "--workers", "1"), fleet(*args, "--utc", *TWO)
    assert shared.status == alone.status
    assert timeless(shared.out) == timeless(alone.out)
    assert timeless(shared.err) == timeless(alone.err)


def test_a_lost_process_is_replaced_where_nothing_was_sent(fleet: Fleet, many: Farm) -> None:
    release = fleet.hold("edge-05", "edge-06")
    with fleet.spawn("status", "--all", "--json", *TWO) as run:
        until(lambda: many["edge-05"].daemon.executed)
        until(lambda: many["edge-06"].daemon.executed)
        workers = until(lambda: len(found := workers_of(run.pid)) == 2 and found)
        kill(workers[0])
        kill(workers[1])
        release()
        out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    servers = by_name(json.loads(out))
    assert [server["status"] for server in servers.values()] == ["ok"] * 20


def test_a_change_of_a_lost_process_is_sent_but_not_confirmed(fleet: Fleet, many: Farm) -> None:
    fleet.hold("edge-05", command="verb")
    words = ("exec", "verb 4", "--all", "--yes", "-o", "ndjson", "--host-timeout", "2m", "--reply-timeout", "2m")
    with fleet.spawn(*words, *TWO) as run:
        servers = lines_of(run, 19)
        until(lambda: "verb 4" in many["edge-05"].daemon.executed)
        for one in workers_of(run.pid):
            kill(one)
        servers += lines_of(run, 1)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 4, err
    assert sorted(server["name"] for server in servers) == sorted(many.hosts)
    (lost,) = (server for server in servers if server["status"] != "ok")
    assert lost["name"] == "edge-05"
    assert lost["error"]["code"] == "worker-lost"
    assert lost["error"]["sent"] == "verb 4"
    assert "SIGKILL" in lost["error"]["message"]
    assert b"sent and not confirmed" in err
    assert set(told(many, "verb 4").values()) == {1}


def test_the_first_ctrl_c_ends_a_run_with_its_outcomes(fleet: Fleet, many: Farm) -> None:
    fleet.hold("edge-05", command="verb")
    words = ("exec", "verb 4", "--all", "--yes", "--json", "--host-timeout", "2m", "--reply-timeout", "2m")
    with fleet.spawn(*words, *TWO, start_new_session=True) as run:
        until(lambda: "verb 4" in many["edge-05"].daemon.executed)
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=60)
    servers = by_name(json.loads(out))
    assert run.returncode == 130, err
    assert servers["edge-05"]["error"]["code"] == "interrupted"
    assert servers["edge-05"]["error"]["sent"] == "verb 4"


def test_the_second_ctrl_c_ends_a_run_whose_processes_say_nothing(fleet: Fleet, many: Farm) -> None:
    fleet.hold("edge-05", command="verb")
    words = ("exec", "verb 4", "--all", "--yes", "--json", "--host-timeout", "2m", "--reply-timeout", "2m")
    with fleet.spawn(*words, *TWO) as run:
        until(lambda: "verb 4" in many["edge-05"].daemon.executed)
        workers = workers_of(run.pid)
        for one in workers:
            os.kill(one, signal.SIGSTOP)
        try:
            run.send_signal(signal.SIGINT)
            assert run.stderr is not None
            assert run.stderr.readline() == b"interrupted: closing what is open; again to leave at once\n"
            run.send_signal(signal.SIGINT)
            assert run.wait(timeout=60) == 130
        finally:
            for one in workers:
                os.kill(one, signal.SIGCONT)
        out, err = run.communicate(timeout=60)
    assert out == b""
    assert err.startswith(b"left at once; what was sent is on record: fleet history show ")
    until(lambda: not any(Path(f"/proc/{one}").exists() for one in workers))
    shown = fleet("history", "show", "last", "--json").document
    assert "edge-05" in {one["name"] for one in shown["servers"] if one["standing"] == "unconfirmed"}


def test_nobody_goes_on_without_the_operators_process(fleet: Fleet, many: Farm) -> None:
    fleet.hold(*[f"edge-{number:02}" for number in range(1, 21)], command="verb")
    with fleet.spawn("verb", "4", "--all", "--yes", "--json", *TWO, "-f", "2") as run:
        until(lambda: "verb" in many["edge-01"].daemon.executed)
        workers = until(lambda: len(found := workers_of(run.pid)) == 2 and found)
        kill(run.pid)
        run.communicate(timeout=60)
    until(lambda: not any(Path(f"/proc/{one}").exists() for one in workers))


@pytest.mark.usefixtures("many")
def test_the_time_of_a_run_is_over_for_all(fleet: Fleet) -> None:
    fleet.hold("edge-05", "edge-06")
    result = fleet("status", "--json", "--timeout", "2s", *TWO)
    servers = by_name(result.document)
    assert result.status == 4
    assert {server["error"]["code"] for server in servers.values() if server["error"]} == {"run-timeout"}
    assert servers["edge-05"]["error"]["message"].startswith("the 2 s of the whole run were over; it was waiting")


@pytest.mark.usefixtures("many")
def test_what_one_process_has_to_do_is_refused(fleet: Fleet) -> None:
    for args in (("verb", "4", "--all", "--serial", "2"), ("log", "--follow"), ("status", "--watch"), ("trust",)):
        result = fleet(*args, "--yes" if "verb" in args else "--utc", *TWO)
        assert result.status == 2, args
        assert "one process" in result.err
    fleet.set("FLEET_WORKERS", "2")
    assert fleet("verb", "4", "--all", "--serial", "10", "--yes").status == 0
