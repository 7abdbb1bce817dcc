"""Snapshots of real OpenVPN servers, and what became of their clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.draining import DrainLab
from lab.processes import wait_until

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def snapshot_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrainLab]:
    with DrainLab(tmp_path_factory.mktemp("snapshot")) as started:
        yield started


def take(lab: DrainLab, name: str) -> Path:
    run = lab.installed("snapshot")
    assert run.exit_status == 0, run.stderr
    path = lab.folder / name
    path.write_text(run.stdout)
    return path


def test_who_moved_who_reconnected_and_who_stayed(snapshot_lab: DrainLab) -> None:
    lab = snapshot_lab
    one, two = (lab.site(f"edge-{number}", "tcp") for number in (1, 2))
    lab.member("mover", one, two)
    lab.member("returner", one)
    lab.member("stayer", two)
    first = take(lab, "a.json")
    nothing = lab.fleet("diff", str(first), "--exit-code")
    assert nothing.exit_status == 0, nothing.stdout
    assert ": 3 stayed" in nothing.stderr
    ids = {row["Common Name"]: row["Client ID"] for row in one.clients()}
    for name in ("mover", "returner"):
        assert one.ask(f'client-kill {ids[name]} "RESTART,[NP],away"').startswith("SUCCESS")
    wait_until("both are back", lambda: (lab.names(one), lab.names(two)) == (["returner"], ["mover", "stayer"]))
    second = take(lab, "b.json")
    for run in (
        lab.fleet("diff", str(first), "--exit-code", "--json"),
        lab.fleet("diff", str(first), str(second), "--exit-code", "--json"),
    ):
        assert run.exit_status == 1, run.stderr
        changes = {
            client["common_name"]: (name, client["change"], client["moved_from"])
            for name, outcome in run.outcomes().items()
            for client in outcome["result"]["clients"]
        }
        assert changes == {
            "mover": ("edge-2", "moved", "edge-1"),
            "returner": ("edge-1", "reconnected", None),
            "stayer": ("edge-2", "stayed", None),
        }
        assert all(outcome["result"]["bytes_in"] > 0 for outcome in run.outcomes().values())


def test_a_restart_makes_every_session_another_one(snapshot_lab: DrainLab) -> None:
    lab = snapshot_lab
    server = lab.site("restart-1", "tcp")
    lab.member("walter", server)
    first = take(lab, "c.json")
    state = server.ask("state")
    assert server.ask("signal SIGUSR1").startswith("SUCCESS")
    wait_until("it has restarted", lambda: ",CONNECTED," in server.ask("state") and server.ask("state") != state)
    wait_until("walter is back", lambda: lab.names(server) == ["walter"])
    run = lab.installed("diff", str(first), "-l", "restart-1", "--json")
    (client,) = run.outcomes()["restart-1"]["result"]["clients"]
    assert (client["change"], client["before"]["client_id"], client["after"]["client_id"]) == ("reconnected", 0, 0)
    assert not run.outcomes()["restart-1"]["result"]["restarted"]  # the same process
