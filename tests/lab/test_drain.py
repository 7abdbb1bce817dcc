"""Draining real OpenVPN servers: clients with two remotes move, one with a single remote comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.draining import DrainLab
from lab.processes import wait_until

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def drain_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrainLab]:
    with DrainLab(tmp_path_factory.mktemp("drain")) as started:
        yield started


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_clients_with_two_remotes_move(drain_lab: DrainLab, protocol: str) -> None:
    one, two = (drain_lab.site(f"{protocol}-{number}", protocol) for number in (1, 2))
    for name in ("alice", "bob", "carol"):
        drain_lab.member(f"{name}-{protocol}", one, two)
    names = [f"{name}-{protocol}" for name in ("alice", "bob", "carol")]
    run = drain_lab.installed("drain", one.name, "--yes", "--rate", "10/s", "--json")
    assert run.exit_status == 0, run.stderr
    assert (drain_lab.names(one), drain_lab.names(two)) == ([], names)
    result = run.outcomes()[one.name]["result"]
    assert (result["moved"], result["nclients"]) == (3, 0)
    assert {client["server"] for client in result["clients"]} == {two.name}
    assert f"3 moved (3 to {two.name})" in run.stderr


def test_a_client_with_one_remote_comes_back(drain_lab: DrainLab) -> None:
    one = drain_lab.site("single-1", "tcp")
    two = drain_lab.site("single-2", "tcp")
    drain_lab.member("dave", one)
    drain_lab.member("erin", one, two)
    run = drain_lab.fleet("drain", "single-1", "--yes", "--then", "SIGTERM")
    assert run.exit_status == 1, run.stderr
    wait_until("dave is back", lambda: drain_lab.names(one) == ["dave"])
    assert drain_lab.names(two) == ["erin"]
    rows = {line.split()[1]: line for line in run.stdout.splitlines()[1:]}
    assert "came back" in rows["dave"]
    assert "moved to single-2" in rows["erin"]
    assert "1 client is on single-1; SIGTERM was not sent" in run.stderr
    assert drain_lab.is_connected("single-1")


def test_a_cordon_keeps_clients_out_until_it_is_taken_away(drain_lab: DrainLab) -> None:
    one = drain_lab.site("cordon-1")
    two = drain_lab.site("cordon-2")
    drain_lab.member("frank", one, two)
    pid = one.ask("pid")
    run = drain_lab.fleet("drain", "cordon-1", "--yes", "--cordon")
    assert run.exit_status == 0, run.stderr
    assert "new clients are kept out until fleet uncordon cordon-1" in run.stderr
    assert drain_lab.names(two) == ["frank"]
    assert one.ask("status 3").startswith("ERROR: ")  # no tunnel
    assert one.ask("hold") == "SUCCESS: hold=1\n"
    assert drain_lab.fleet("hold", "-l", "cordon-1", "--json").outcomes()["cordon-1"]["result"] == {
        "hold": True, "waiting": True,
    }  # fmt: skip
    run = drain_lab.installed("uncordon", "cordon-1")
    assert run.exit_status == 0, run.stderr
    assert "CONNECTED" in run.stdout
    assert (one.ask("hold"), one.ask("pid")) == ("SUCCESS: hold=0\n", pid)
    drain_lab.member("grace", one)


def test_a_daemon_without_its_privileges_is_cordoned_only_by_force(drain_lab: DrainLab) -> None:
    one = drain_lab.site("nobody-1", "udp", "user nobody", "group nogroup")
    drain_lab.site("nobody-2")
    refused = drain_lab.fleet("drain", "nobody-1", "--yes", "--cordon")
    assert refused.exit_status == 1, refused.stderr
    assert "it has given up its privileges (user, group or chroot), and was not restarted since" in refused.stderr
    assert one.ask("hold") == "SUCCESS: hold=0\n"
    forced = drain_lab.fleet("drain", "nobody-1", "--yes", "--cordon", "--force")
    assert forced.exit_status == 0, forced.stderr
    assert drain_lab.fleet("uncordon", "nobody-1").exit_status == 0
    assert drain_lab.is_connected("nobody-1")
    # It did it once: with persist-key and persist-tun it can, and its log says so.
    assert drain_lab.fleet("drain", "nobody-1", "--yes", "--cordon").exit_status == 0
    assert drain_lab.fleet("uncordon", "nobody-1").exit_status == 0


def test_a_daemon_that_cannot_go_on_is_said(drain_lab: DrainLab) -> None:
    """It goes into hold, and dies at the release: that is what the cordon was refused for (protocol-facts 11.7)."""
    drain_lab.site("frail-1", "udp", "user nobody", "group nogroup", persist=False)
    forced = drain_lab.fleet("drain", "frail-1", "--yes", "--cordon", "--force")
    assert forced.exit_status == 0, forced.stderr
    run = drain_lab.fleet("uncordon", "frail-1")
    assert run.exit_status == 1, run.stderr
    assert "command-failed: frail-1: the daemon did not survive it: " in run.stderr
    assert drain_lab.has_ended("frail-1")
    del drain_lab.daemons["frail-1"]


def test_a_drained_server_is_ended(drain_lab: DrainLab) -> None:
    one = drain_lab.site("end-1", "tcp")
    two = drain_lab.site("end-2", "tcp")
    drain_lab.member("heidi", one, two)
    run = drain_lab.fleet("drain", "end-1", "--yes", "--then", "SIGTERM")
    assert run.exit_status == 0, run.stderr
    assert "end-1 was sent SIGTERM" in run.stderr
    assert drain_lab.names(two) == ["heidi"]
    assert drain_lab.has_ended("end-1")
    del drain_lab.daemons["end-1"]
