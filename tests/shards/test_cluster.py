"""Runs on a real Dask cluster of two worker processes on this machine."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.harness import Fleet
from fleet.demo.farm import Farm
from shards.dask import Dask
from shards.farm import kill, lines_of, timeless, told, until

# What Dask imports alone takes seconds on a machine that is busy.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """One cluster for all tests that want two workers: what a start imports takes longer than what they do."""
    folder = tmp_path_factory.mktemp("dask")
    with Dask(folder, {"HOME": str(folder)}) as cluster:
        yield cluster


@pytest.fixture
def two(shared: Dask) -> Dask:
    """The shared cluster; a worker that a test has killed is replaced."""
    shared.keep(2)
    return shared


@pytest.mark.children_measured
def test_a_cluster_says_what_one_process_says(fleet: Fleet, many: Farm, two: Dask) -> None:
    many["edge-07"].closed = True
    assert fleet("verb", "4", "--all", "--yes").status == 4
    for args in (("status", "--json", "--utc"), ("verb", "4", "--all", "--yes", "--json")):
        alone, shared = fleet(*args), fleet.child(*args, "--scheduler", two.address)
        assert shared.status == alone.status == 4, shared.err
        assert timeless(shared.out) == timeless(alone.out)
    assert max(told(many, "verb 4").values()) == 3


def test_a_lost_workers_servers_are_asked_again_where_nothing_was_sent(fleet: Fleet, many: Farm, two: Dask) -> None:
    release = fleet.hold("edge-05", "edge-06")  # they are in different shards
    with fleet.spawn("status", "--all", "-o", "ndjson", "--scheduler", two.address) as run:
        assert run.stdout is not None
        first = run.stdout.readline()  # outcomes come while others are waited for
        until(lambda: many["edge-05"].daemon.executed and many["edge-06"].daemon.executed)
        kill(two.workers[0].pid)
        release()
        out = first + run.stdout.read()  # `communicate` would pass over what readline has read too much
        _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    *servers, summary = [json.loads(line) for line in out.splitlines()]
    assert sorted(server["name"] for server in servers) == sorted(many.hosts)
    assert {server["status"] for server in servers} == {"ok"}
    assert summary["summary"]["ok"] == 20


def test_a_lost_workers_change_is_sent_but_not_confirmed(fleet: Fleet, many: Farm, two: Dask) -> None:
    held = {"edge-05", "edge-06"}  # they are in different shards
    release = fleet.hold(*held, command="verb")
    words = ("exec", "verb 4", "--all", "--yes", "-o", "ndjson", "--host-timeout", "2m", "--reply-timeout", "1m")
    with fleet.spawn(*words, "--scheduler", two.address) as run:
        servers = lines_of(run, 18)
        until(lambda: all("verb 4" in many[name].daemon.executed for name in held))
        kill(two.workers[0].pid)
        release()
        servers += lines_of(run, 2)
        _, err = run.communicate(timeout=120)
    assert run.returncode == 4, err
    assert sorted(server["name"] for server in servers) == sorted(many.hosts)
    (lost,) = (server for server in servers if server["status"] != "ok")
    assert lost["name"] in held
    assert lost["error"]["code"] == "worker-lost"
    assert lost["error"]["sent"] == "verb 4"
    assert b"sent and not confirmed" in err
    assert set(told(many, "verb 4").values()) == {1}
    shown = fleet("history", "show", "last", "--json").document
    assert {one["name"] for one in shown["servers"] if one["standing"] == "unconfirmed"} == {lost["name"]}
    # Dask has begun the lost shard anew on the other worker, where it waited for this run for as long as 20 s.
    next_run = fleet.child("status", "--all", "--timeout", "15s", "--scheduler", two.address)
    assert next_run.status == 0, next_run.err


def test_a_change_that_was_not_sent_is_made_by_another_worker(fleet: Fleet, many: Farm, two: Dask) -> None:
    held = {"edge-05", "edge-06"}
    release = fleet.hold(*held, command="verb")
    words = ("verb", "4", "--all", "--yes", "-o", "ndjson", "--host-timeout", "2m", "--reply-timeout", "1m")
    with fleet.spawn(*words, "--scheduler", two.address) as run:
        servers = lines_of(run, 18)
        assert not any(many[name].daemon.executed.count("verb 4") for name in held)
        kill(two.workers[0].pid)
        release()
        servers += lines_of(run, 2)
        _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert sorted(server["name"] for server in servers) == sorted(many.hosts)
    assert {server["status"] for server in servers} == {"ok"}
    assert set(told(many, "verb 4").values()) == {1}


def test_ctrl_c_reaches_the_workers(fleet: Fleet, many: Farm, two: Dask) -> None:
    fleet.hold("edge-05", "edge-06", command="verb")
    words = ("exec", "verb 4", "--all", "--yes", "-o", "ndjson", "--host-timeout", "2m", "--reply-timeout", "2m")
    with fleet.spawn(*words, "--scheduler", two.address) as run:
        servers = lines_of(run, 18)
        until(lambda: "verb 4" in many["edge-05"].daemon.executed)
        run.send_signal(signal.SIGINT)
        servers += lines_of(run, 2)
        _, err = run.communicate(timeout=120)
    assert run.returncode == 130, err
    assert sorted(server["name"] for server in servers) == sorted(many.hosts)
    lost = {server["name"]: server["error"] for server in servers if server["status"] != "ok"}
    assert lost["edge-05"]["code"] == "interrupted"
    assert lost["edge-05"]["sent"] == "verb 4"


def test_a_worker_reads_the_inventory_that_it_has(fleet: Fleet, many: Farm, tmp_path: Path) -> None:
    with Dask(tmp_path, {"HOME": fleet.environment["HOME"], "WORKER_ONLY": "1"}) as cluster:
        cluster.keep(1)
        _ask_with_another_inventory(fleet, many, cluster)


def _ask_with_another_inventory(fleet: Fleet, many: Farm, dask: Dask) -> None:
    theirs = fleet("inventory", "list", "-o", "json")
    (fleet.folder / "theirs.json").write_text(theirs.out)
    program = fleet.inventory(PROGRAM.format(python=sys.executable), "changing.py")
    program.chmod(0o755)
    result = fleet.child("status", "-l", "edge-01,edge-02", "--scheduler", dask.address)
    assert result.status == 2, result.err
    assert "changing.py" in result.err
    assert "has no server edge-02" in result.err
    assert not many["edge-01"].sessions
    assert fleet.child("status", "-l", "edge-01", "--scheduler", dask.address).status == 0


# For the operator it has all servers; on the worker, one of them is missing.
PROGRAM = """\
#!{python}
import json, os, pathlib
whole = json.loads(pathlib.Path(__file__).with_name("theirs.json").read_text())
if "WORKER_ONLY" in os.environ:
    whole = json.loads(json.dumps(whole).replace('"edge-02"', '"edge-99"'))
print(json.dumps(whole))
"""


def test_a_scheduler_that_is_not_there_is_said_before_anything_is_sent(fleet: Fleet, many: Farm) -> None:
    result = fleet.child("verb", "4", "--all", "--yes", "--scheduler", "tcp://127.0.0.1:1")
    assert result.status == 2
    assert "the scheduler tcp://127.0.0.1:1 cannot be reached" in result.err
    assert not any(told(many, "verb").values())


def test_a_worker_without_fleet_is_named(fleet: Fleet, many: Farm, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking" / "fleet"
    lacking.mkdir(parents=True)
    (lacking / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'fleet'\")\n")
    with Dask(tmp_path, {"PYTHONPATH": str(lacking.parent)}) as cluster:
        cluster.keep(1)
        result = fleet.child("verb", "4", "--all", "--yes", "--scheduler", cluster.address)
    assert result.status == 2, result.err
    assert "cannot take part: ModuleNotFoundError(\"No module named 'fleet'\")" in result.err
    assert "pip install 'openvpn-fleet[dask]', here and on the workers" in result.err
    assert not any(told(many, "verb").values())


def test_a_cluster_without_workers_is_refused(fleet: Fleet, many: Farm, tmp_path: Path) -> None:
    with Dask(tmp_path, {}) as cluster:
        result = fleet.child("status", "--all", "--scheduler", cluster.address)
    assert result.status == 2
    assert "has no workers" in result.err
    assert not any(many[name].sessions for name in many.hosts)
