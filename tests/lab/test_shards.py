"""Runs of several processes, of this machine and of a Dask cluster, on the lab."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab import BROKEN, SITES, Lab
from lab.openvpn import Conversation
from shards.dask import Dask, tls
from shards.farm import kill, lines_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

QUICKLY = ("--reply-timeout", "2s")
WORKING = "eu:us"
HELD = ("edge-1", "edge-2")
"""Neighbours, so in different shards."""


@pytest.fixture
def ordinary_verb(lab: Lab) -> Iterator[None]:
    yield
    for server in SITES:
        lab.ask(server, "verb 3")


def verbs(lab: Lab) -> dict[str, str]:
    return {server: lab.ask(server, "verb").strip() for server in SITES}


def test_two_processes_ask_every_server_of_the_fleet(lab: Lab) -> None:
    lab.wait_for_clients()
    run = lab.installed("status", "--all", "--json", *QUICKLY, "--workers", "2")
    assert run.exit_status == 4
    outcomes = run.outcomes()
    assert list(outcomes) == [*SITES, *BROKEN]
    for name, site in SITES.items():
        found = [client["common_name"] for client in outcomes[name]["result"]["clients"]]
        assert sorted(found) == sorted(site.clients)
    assert {name: outcomes[name]["error"]["code"] for name in BROKEN} == dict(BROKEN)


@pytest.mark.usefixtures("ordinary_verb")
def test_two_processes_change_each_daemon(lab: Lab) -> None:
    run = lab.installed("verb", "4", "-l", WORKING, "--yes", "--json", "--workers", "2")
    assert run.exit_status == 0, run.stderr
    assert verbs(lab) == dict.fromkeys(SITES, "SUCCESS: verb=4")


@pytest.fixture
def encrypted(tmp_path: Path) -> dict[str, str]:
    return tls(tmp_path / "pki")


@pytest.mark.usefixtures("ordinary_verb")
def test_a_worker_of_a_cluster_is_killed_before_anything_was_sent(
    lab: Lab, tmp_path: Path, encrypted: dict[str, str]
) -> None:
    words = ("verb", "4", "-l", WORKING, "--yes", "-o", "ndjson", "--wait-busy", "1m", "--host-timeout", "2m")
    holders = [Conversation(lab.servers[name].management) for name in HELD]
    try:
        with Dask(tmp_path, {"HOME": str(lab.home), **encrypted}) as cluster:
            assert cluster.address.startswith("tls://")
            cluster.keep(2)
            with subprocess.Popen(
                lab.fleet_argv(*words, "--scheduler", cluster.address),
                cwd=lab.folder,
                env=lab.environment(encrypted),
                stdout=subprocess.PIPE,
            ) as run:
                servers = lines_of(run, len(SITES) - len(HELD))
                kill(cluster.workers[0].pid)
                while holders:
                    holders.pop().close()
                servers += lines_of(run, len(HELD))
            assert run.returncode == 0
    finally:
        for holder in holders:
            holder.close()
    assert sorted(server["name"] for server in servers) == sorted(SITES)
    assert {server["status"] for server in servers} == {"ok"}
    assert verbs(lab) == dict.fromkeys(SITES, "SUCCESS: verb=4")


def test_a_cluster_is_not_spoken_to_without_a_certificate(lab: Lab, tmp_path: Path, encrypted: dict[str, str]) -> None:
    with Dask(tmp_path, {"HOME": str(lab.home), **encrypted}) as cluster:
        run = lab.installed("verb", "4", "-l", WORKING, "--yes", "--scheduler", cluster.address)
    assert run.exit_status == 2
    assert f"the scheduler {cluster.address} cannot be reached: TLS" in run.stderr
    assert verbs(lab) == dict.fromkeys(SITES, "SUCCESS: verb=3")
