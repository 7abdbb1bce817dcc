"""`fleet ping`: the steps of the way to each daemon, and the first that fails."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cli.harness import Fleet, daemon
from fleet.demo.farm import Farm, KnownKey, Reach

STEPS = ["dns", "tcp", "ssh", "auth", "channel", "greeting"]


def a_farm() -> Farm:
    farm = Farm()
    farm.add("edge-1", daemon())
    farm.add("bastion")
    farm.add("inner", daemon(), jump="bastion")
    farm.add(
        "gw",
        {
            "udp": ("127.0.0.1:7505", daemon("2.7.6", password=b"pw")),
            "tcp": ("/run/tcp.sock", daemon(hold=True)),
        },
    )
    farm.add("busy", daemon())
    farm.add("closed", {"": ("127.0.0.1:7505", daemon())})
    farm.add("down", daemon(), reach=Reach.DOWN)
    farm.add("stranger", daemon(), known_key=KnownKey.UNKNOWN)
    farm.add("locked-out", daemon(), accepts_key=False)
    farm.add("no-forwarding", daemon(), forwarding=False)
    return farm


@pytest.fixture
def fleet_of_all(fleet: Fleet) -> Fleet:
    farm = fleet.start(a_farm())
    farm["closed"].closed = True
    fleet.occupy("busy")
    return fleet


def done(result: dict[str, Any]) -> list[str]:
    """The steps that were done; each took some time, and none stands behind one that failed."""
    steps = [step for step in STEPS if result[step] is not None]
    assert all(result[step] >= 0 for step in steps)
    return steps


def test_how_far_each_way_goes(fleet_of_all: Fleet) -> None:
    ran = fleet_of_all("ping", "--json", "--reply-timeout", "0.5s")
    assert ran.status == 4
    servers = {server["name"]: server for server in ran.document["servers"]}
    assert {name: (server["result"]["result"], done(server["result"])) for name, server in servers.items()} == {
        "edge-1": ("CONNECTED", STEPS),
        "inner": ("CONNECTED", STEPS[1:]),
        "gw/udp": ("CONNECTED", STEPS),
        "gw/tcp": ("HOLD", STEPS),
        "busy": ("management-busy", STEPS[:5]),
        "closed": ("management-closed", STEPS[:4]),
        "down": ("connect-refused", STEPS[:1]),
        "stranger": ("host-key-unknown", STEPS[:2]),
        "locked-out": ("auth-failed", STEPS[:3]),
        "no-forwarding": ("forwarding-refused", STEPS[:4]),
    }
    assert {name for name, server in servers.items() if server["status"] == "ok"} == {
        "edge-1",
        "inner",
        "gw/udp",
        "gw/tcp",
    }
    assert servers["busy"]["status"] == "unreachable"
    assert servers["busy"]["error"]["hint"].startswith("fleet ping busy --wait-busy 30s, or see who is connected")
    assert servers["stranger"]["error"]["hint"].endswith(": fleet trust stranger")


def test_the_table_has_a_row_for_who_fails_too(fleet_of_all: Fleet) -> None:
    ran = fleet_of_all("ping", "edge-1", "busy", "--reply-timeout", "0.5s")
    header, first, second = ran.out.splitlines()
    assert header.split() == ["SERVER", *(step.upper() for step in STEPS), "RESULT"]
    assert first.split()[0::2][0] == "edge-1"
    assert first.endswith("CONNECTED")
    assert second.startswith("busy")
    assert second.split()[-2:] == ["-", "management-busy"]
    assert "management-busy: busy: " in ran.err
    assert "try: fleet ping busy --wait-busy 30s, or" in ran.err


def test_a_daemon_whose_password_nobody_has(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("vault", daemon(password=b"pw"))
    fleet.start(farm)
    text = fleet.thread.workspace.inventory.read_text() if fleet.thread else ""
    fleet.inventory("\n".join(line for line in text.splitlines() if "password_file" not in line))
    ran = fleet("ping", "--json")
    (server,) = ran.document["servers"]
    assert (ran.status, server["result"]["result"]) == (4, "management-password")
    assert done(server["result"]) == STEPS[:5]


def test_a_busy_daemon_is_waited_for(fleet_of_all: Fleet) -> None:
    timer = threading.Timer(0.3, fleet_of_all.vacate, ["busy"])
    timer.start()
    ran = fleet_of_all("ping", "busy", "--reply-timeout", "100ms", "--wait-busy", "30s", "--json")
    timer.join()
    assert ran.status == 0
    assert ran.document["servers"][0]["result"]["result"] == "CONNECTED"


def test_who_hangs_is_told_with_what_was_done(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("silent", daemon(), reach=Reach.SILENT)
    fleet.start(farm)
    ran = fleet("ping", "--json", "--host-timeout", "500ms")
    (server,) = ran.document["servers"]
    assert (server["error"]["code"], server["result"]["result"]) == ("host-timeout", "host-timeout")
    assert done(server["result"]) == STEPS[:2]
    assert "fleet ping" not in str(fleet("ping", "--connect-timeout", "300ms").err)
    assert "try: fleet ping silent, or ssh -v" in fleet("status", "--connect-timeout", "300ms").err


def test_a_ping_in_rounds(fleet_of_all: Fleet) -> None:
    ran = fleet_of_all("ping", "edge-1", "-o", "ndjson")
    assert [line["type"] for line in ran.lines] == ["server", "summary"]
    assert done(ran.lines[0]["result"]) == STEPS
