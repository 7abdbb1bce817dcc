"""Rolling changes from the command line, on simulated daemons: batches, gates, limits, questions and the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.harness import TIMEOUT, Fleet, client
from fleet.demo.daemon import NEVER, Reconnect, SimulatedDaemon
from fleet.demo.farm import Farm, Reach
from support.terminal import at_a_terminal

AT_ONCE = Reconnect(restart=0.0)


def site(clients: int, *, reconnect: Reconnect = AT_ONCE, release: str = "2.6.14") -> SimulatedDaemon:
    """A daemon whose restarts are quick, but for those of 2.4, and whose clients then are back at once."""
    daemon = SimulatedDaemon(release, clients=[client(f"c{n}") for n in range(clients)], reconnect=reconnect)
    if release == "2.6.14":
        daemon.release = replace(daemon.release, restart_pause=0.05)
    return daemon


@pytest.fixture
def four(fleet: Fleet) -> Fleet:
    """edge-1 to edge-4 in one group, with 4, 3, 2 and 1 clients that come back at once."""
    farm = Farm()
    for number in range(1, 5):
        farm.add(f"edge-{number}", site(5 - number), group="eu")
    fleet.start(farm)
    return fleet


def signals(fleet: Fleet) -> list[str]:
    """The servers that were sent a signal."""
    return [
        name
        for name in fleet.farm.hosts
        if any(line.startswith("signal ") for line in fleet.farm[name].daemon.executed)
    ]


def statuses(document: Any) -> dict[str, str]:
    return {server["name"]: server["status"] for server in document["servers"]}


SIGUSR1 = ("signal", "SIGUSR1", "--all", "--yes")


def test_a_rolling_restart_that_ends_well(four: Fleet) -> None:
    run = four(*SIGUSR1, "--serial", "1,50%", "--wait", "connected,clients=80%")
    assert run.status == 0
    lines = run.err.splitlines()
    assert lines[:4] == [
        "This restarts the tunnels of 4 servers and drops 10 clients:",
        "  batch 1  edge-1         (4 clients)",
        "  batch 2  edge-2 edge-3  (5)",
        "  batch 3  edge-4         (1)",
    ]
    seconds = r"\d+(?:\.\d+)? m?s"
    well = rf"sent  RECONNECTING  CONNECTED after {seconds}  clients (\d)/\1 after {seconds}  ok"
    assert re.fullmatch(rf"batch 1/3  edge-1  {well}", lines[4])
    assert re.fullmatch(rf"batch 2/3  edge-[23]  {well}", lines[5])
    assert re.fullmatch(rf"           edge-[23]  {well}", lines[6])
    assert re.fullmatch(rf"batch 3/3  edge-4  {well}", lines[7])
    assert len(lines) == 8
    # One for the preview and one for the run, however often clients are counted.
    assert {host.connections for host in four.farm.hosts.values()} == {2}
    assert [row.split()[:3] for row in run.out.splitlines()[1:]] == [
        [f"edge-{number}", "SIGUSR1", "CONNECTED"] for number in range(1, 5)
    ]


def test_the_table_fits_a_terminal(four: Fleet) -> None:
    """80 columns, with the names of the lab; the state before is in -o wide."""
    wide = four(*SIGUSR1, "--serial", "100%", "--wait", "connected,clients=100%", "-o", "wide")
    assert re.match(r"SERVER +SIGNAL +STATE BEFORE +STATE +CONNECTED AFTER ", wide.out)
    run = four(*SIGUSR1, "--serial", "100%", "--wait", "connected,clients=100%")
    lines = run.out.splitlines()
    assert re.match(r"SERVER +SIGNAL +STATE +CONNECTED AFTER ", lines[0])
    assert max(map(len, lines)) <= 80


def test_what_json_has(four: Fleet) -> None:
    run = four(*SIGUSR1, "--serial", "100%", "--wait", "connected,clients=100%", "--json")
    assert (run.status, run.document["command"], run.document["args"]) == (0, "signal", ["SIGUSR1"])
    (first, *_) = run.document["servers"]
    result = first["result"]
    assert set(result) == {"signal", "state_before", "clients_before", "state", "connected_after", "clients"}
    assert (result["signal"], result["clients_before"], result["clients"]) == ("SIGUSR1", 4, 4)
    assert result["state"]["name"] == "CONNECTED"
    assert result["state"]["time"] > result["state_before"]["time"]


def test_without_serial_it_is_one_server_at_a_time(four: Fleet) -> None:
    run = four(*SIGUSR1, "--wait", "connected")
    assert run.status == 0
    assert re.findall(r"batch (\d)/4  edge-(\d)", run.err) == [(str(n), str(n)) for n in range(1, 5)]


def test_a_signal_without_any_of_it_does_not_roll(four: Fleet) -> None:
    run = four(*SIGUSR1)
    assert run.status == 0
    assert "batch" not in run.err


def test_a_daemon_that_dies_stops_it(four: Fleet) -> None:
    four.daemon("edge-2").fatal_on_restart = "Error: private key password verification failed"
    run = four(*SIGUSR1, "--serial", "1", "--json")
    assert run.status == 1
    assert statuses(run.document) == {
        "edge-1": "ok",
        "edge-2": "failed",
        "edge-3": "not_attempted",
        "edge-4": "not_attempted",
    }
    assert signals(four) == ["edge-1", "edge-2"]
    by_name = {server["name"]: server for server in run.document["servers"]}
    error = by_name["edge-2"]["error"]
    assert error["code"] == "command-failed"
    assert "died of SIGUSR1: FATAL: Error: private key password verification failed" in error["message"]
    assert (error["sent"], error["confirmed"]) == (None, ["signal SIGUSR1"])
    left = by_name["edge-3"]["error"]
    assert left["code"] == "stopped"
    assert left["message"] == "the run stopped before its turn came: 1 failed, --max-fail 0"
    assert "batch 2/4  edge-2  sent  the daemon died of SIGUSR1" in run.err
    assert "stopped: 1 failed, --max-fail 0\n  done           edge-1\n  failed         edge-2  done before" in run.err
    assert "\n  not attempted  edge-[3-4] (2)\n" in run.err
    assert re.search(
        r"^again for the rest: fleet history rerun \d{8}-\d{6}-[0-9a-f]{4} --only not-attempted$",
        run.err,
        re.MULTILINE,
    )


def test_so_many_may_fail(four: Fleet) -> None:
    for name in ("edge-1", "edge-3"):
        four.daemon(name).fatal_on_restart = "dead"
    run = four(*SIGUSR1, "--serial", "1", "--max-fail", "25%", "--json")
    assert list(statuses(run.document).values()) == ["failed", "ok", "failed", "not_attempted"]
    assert "stopped: 2 failed, --max-fail 1" in run.err


def test_the_limit_holds_within_a_batch(four: Fleet) -> None:
    """Servers of the batch that were not started when it was reached are not started any more."""
    four.daemon("edge-1").fatal_on_restart = "dead"
    run = four(*SIGUSR1, "--serial", "100%", "--forks", "1", "--json")
    assert list(statuses(run.document).values()) == ["failed", *["not_attempted"] * 3]
    assert signals(four) == ["edge-1"]


def five(fleet: Fleet) -> Fleet:
    farm = Farm()
    farm.add("edge-1", site(1))
    farm.add("down", site(1), reach=Reach.DOWN)
    farm.add("edge-2", site(1))
    fleet.start(farm)
    return fleet


def test_an_unreachable_server_stops_it(fleet: Fleet) -> None:
    run = five(fleet)(*SIGUSR1, "--serial", "1", "--json")
    assert run.status == 4
    assert statuses(run.document) == {"edge-1": "ok", "down": "unreachable", "edge-2": "not_attempted"}
    assert "  batch 2  down    (not known)" in run.err
    assert "stopped: 1 unreachable, --max-fail 0" in run.err


def test_an_unreachable_server_may_be_skipped(fleet: Fleet) -> None:
    run = five(fleet)(*SIGUSR1, "--serial", "1", "--unreachable", "skip", "--json")
    assert run.status == 4  # it is told all the same
    assert statuses(run.document) == {"edge-1": "ok", "down": "unreachable", "edge-2": "ok"}
    assert "stopped" not in run.err


def test_success_is_no_health(fleet: Fleet) -> None:
    """The slow pause of 2.4 is longer than it may take: sent, and not confirmed."""
    farm = Farm()
    for number in (1, 2):
        farm.add(f"edge-{number}", site(1, release="2.4.12"))
    fleet.start(farm)
    run = fleet(*SIGUSR1, "--serial", "1", "--wait-timeout", "500ms", "--json")
    assert run.status == 1
    error = run.document["servers"][0]["error"]
    assert error["sent"] == "signal SIGUSR1"
    assert error["message"] == "no CONNECTED within 0.5 s; its last state was RECONNECTING (SIGUSR1)"
    assert statuses(run.document)["edge-2"] == "not_attempted"
    assert "batch 1/2  edge-1  sent  RECONNECTING  no CONNECTED within 0.5 s" in run.err
    assert "\n  not confirmed  edge-1  signal SIGUSR1 was sent: no CONNECTED within 0.5 s" in run.err


def test_no_wait_is_no_gate(fleet: Fleet) -> None:
    farm = Farm()
    for number in (1, 2):
        farm.add(f"edge-{number}", site(1, release="2.4.12"))
    fleet.start(farm)
    run = fleet(*SIGUSR1, "--serial", "1", "--wait", "none", "--json")
    assert run.status == 0
    assert set(run.document["servers"][0]["result"]) == {"signal", "state_before"}


def test_users_who_do_not_come_back_stop_it(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", site(4, reconnect=NEVER))
    farm.add("edge-2", site(1))
    fleet.start(farm)
    run = fleet(*SIGUSR1, "--serial", "1", "--wait", "connected,clients=80%", "--wait-timeout", "3s", "--json")
    assert run.status == 1
    assert statuses(run.document) == {"edge-1": "failed", "edge-2": "not_attempted"}
    server = run.document["servers"][0]
    assert re.fullmatch(r"clients 0/4 after \d+(\.\d+)? m?s, wanted 80 %", server["error"]["message"])
    assert server["error"]["confirmed"] == ["signal SIGUSR1"]
    assert (server["result"]["clients_before"], server["result"]["clients"]) == (4, 0)
    assert "batch 1/2  clients 0/4, waiting for 80 %\n" in run.err
    assert "\nbatch 1/2  edge-1  sent  RECONNECTING  CONNECTED after" in run.err
    assert "stopped: 1 failed, --max-fail 0" in run.err


def test_who_failed_leaves_the_rest_of_the_batch_its_gate(four: Fleet) -> None:
    four.daemon("edge-1").fatal_on_restart = "dead"
    run = four(*SIGUSR1, "--serial", "2", "--wait", "connected,clients=100%", "--json")
    assert run.status == 1
    assert list(statuses(run.document).values()) == ["failed", "ok", "not_attempted", "not_attempted"]
    assert run.document["servers"][1]["result"]["clients"] == 3


def test_users_who_moved_are_back(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", site(3, reconnect=NEVER))
    farm.add("edge-2", site(1))
    fleet.start(farm)
    moving = fleet.daemon("edge-1")
    restart = moving.restart

    def move(name: str) -> None:
        restart(name)
        for number in range(3):
            fleet.daemon("edge-2").connect(client(f"m{number}"))

    moving.restart = move  # type: ignore[method-assign]  # what its clients do is no business of the daemon
    run = fleet("signal", "SIGUSR1", "--all", "--yes", "--serial", "1", "--wait", "connected,clients=100%")
    assert run.status == 0
    assert "3 of 3 clients are back, 3 of them on other servers" in run.err


# Other changes


def test_verb_in_batches(four: Fleet) -> None:
    run = four("verb", "5", "--all", "--yes", "--serial", "50%")
    assert run.status == 0
    assert [four.daemon(f"edge-{n}").verb for n in range(1, 5)] == [5] * 4
    lines = run.err.splitlines()
    assert lines[1:3] == ["  batch 1  edge-1 edge-2  (7 clients)", "  batch 2  edge-3 edge-4  (3)"]
    assert sorted(line.split()[-2:] for line in lines[3:]) == [[f"edge-{n}", "ok"] for n in range(1, 5)]
    assert [row.split()[:2] for row in run.out.splitlines()[1:]] == [[f"edge-{n}", "5"] for n in range(1, 5)]


def test_quiet(four: Fleet) -> None:
    run = four(*SIGUSR1, "--serial", "100%", "--quiet")
    assert (run.status, run.out, run.err) == (0, "", "")


# Room for the clients that are dropped


def with_places(fleet: Fleet, **places: int) -> None:
    """Says in the inventory how many clients servers can take."""
    text = Path(fleet.environment["FLEET_INVENTORY"]).read_text("utf-8")
    for name, count in places.items():
        server = name.replace("_", "-")
        text = text.replace(f"        {server}:\n", f"        {server}:\n          max_clients: {count}\n")
    fleet.inventory(text)


def test_room_enough(four: Fleet) -> None:
    with_places(four, edge_1=9, edge_2=9)
    run = four(*SIGUSR1, "--serial", "1")
    assert run.status == 0


def test_no_room(four: Fleet) -> None:
    with_places(four, edge_1=5, edge_2=5)
    run = four(*SIGUSR1, "--serial", "1")
    assert (run.status, run.out) == (2, "")
    assert run.err.startswith(
        "batch 1: the rest of group eu cannot take the 4 clients of edge-1: 2 places are free there, "
        "and of edge-[3-4] (2) nothing is known\n"
    )
    assert "--no-capacity-guard" in run.err
    assert signals(four) == []


def test_no_room_and_never_mind(four: Fleet) -> None:
    with_places(four, edge_1=5, edge_2=5)
    assert four(*SIGUSR1, "--serial", "1", "--no-capacity-guard").status == 0


def test_neighbours_that_are_not_changed_have_room_too(four: Fleet) -> None:
    with_places(four, edge_4=5)
    run = four("signal", "SIGUSR1", "-l", "edge-1", "--yes", "--serial", "1")
    assert run.status == 0
    with_places(four, edge_4=4)
    four.daemon("edge-4").connect(client("one more"))
    run = four("signal", "SIGUSR1", "-l", "edge-1", "--yes", "--serial", "1")
    assert run.status == 2


def test_room_that_is_gone_before_a_later_batch(four: Fleet) -> None:
    """The plan was good; when the second batch is due others have taken the places."""
    with_places(four, edge_1=13, edge_2=7)
    first = four.daemon("edge-1")
    restart = first.restart

    def fill(name: str) -> None:
        restart(name)
        for number in range(9):
            first.connect(client(f"m{number}"))

    first.restart = fill  # type: ignore[method-assign]  # others than its clients come
    run = four(*SIGUSR1, "--serial", "1", "--json")
    assert run.status == 1
    assert list(statuses(run.document).values()) == ["ok", *["not_attempted"] * 3]
    assert "stopped: the rest of group eu cannot take the 3 clients of edge-2: 0 places are free there" in run.err


# Refusals and previews


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--serial", "0"), "--serial"),
        (("--max-fail", "x"), "--max-fail"),
        (("--wait", "up"), "--wait: 'up' is nothing to wait for"),
        (("--serial", ""), "--serial"),
        (("--max-fail", ""), "--max-fail"),
        (("--wait", ""), "--wait: '' is nothing to wait for"),
    ],
)
def test_what_makes_no_sense(four: Fleet, args: Iterable[str], message: str) -> None:
    run = four(*SIGUSR1, *args)
    assert run.status == 2
    assert message in run.err
    assert signals(four) == []


def test_nobody_is_connected_after_sigterm(four: Fleet) -> None:
    run = four("signal", "SIGTERM", "--all", "--yes", "--wait", "connected")
    assert (run.status, signals(four)) == (2, [])
    assert "nobody is CONNECTED again after SIGTERM" in run.err


def test_sigterm_rolls_without_a_gate(four: Fleet) -> None:
    run = four("signal", "SIGTERM", "--all", "--yes", "--serial", "2")
    assert run.status == 0
    assert signals(four) == ["edge-1", "edge-2", "edge-3", "edge-4"]


def test_a_dry_run(four: Fleet) -> None:
    run = four("signal", "SIGUSR1", "--all", "--serial", "1", "--dry-run")
    assert run.status == 0
    assert "  batch 4  edge-4  (1)" in run.err
    assert [row.split()[-2:] for row in run.out.splitlines()[1:]] == [["signal", "SIGUSR1"]] * 4
    assert signals(four) == []


def test_list_hosts(four: Fleet) -> None:
    run = four("signal", "SIGUSR1", "--all", "--serial", "1", "--list-hosts")
    assert (run.status, run.out) == (0, "edge-1\nedge-2\nedge-3\nedge-4\n")


def test_nobody_to_ask(four: Fleet) -> None:
    run = four("signal", "SIGUSR1", "--all", "--serial", "1")
    assert run.status == 2
    assert "there is no terminal" in run.err
    run = four(*SIGUSR1, "--serial", "1", "--step")
    assert run.status == 2
    assert "--step asks between batches, and there is no terminal to ask at" in run.err
    assert signals(four) == []


# Breaking off


def lines_until(process: subprocess.Popen[bytes], text: str) -> list[str]:
    """What the process says on stderr up to a line with this text."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line.decode())
        if text in lines[-1]:
            return lines
    raise AssertionError(f"never said: {text!r}; it said {lines}")


def test_ctrl_c_between_batches(four: Fleet) -> None:
    with four.spawn(*SIGUSR1, "--serial", "2", "--batch-wait", "60s", "--json") as process:
        lines_until(process, "edge-")  # of the plan
        for _ in range(2):
            lines_until(process, "ok")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    document = json.loads(out)
    assert list(statuses(document).values()) == ["ok", "ok", "not_attempted", "not_attempted"]
    assert document["servers"][2]["error"]["code"] == "interrupted"
    text = err.decode()
    assert "\n  done           edge-[1-2] (2)\n  not attempted  edge-[3-4] (2)\n" in text
    assert text.count("not attempted") == 1 + 1  # in the list, and in the summary
    assert "again for the rest: fleet history rerun " in text
    assert signals(four) == ["edge-1", "edge-2"]


def test_ctrl_c_while_a_daemon_restarts(fleet: Fleet) -> None:
    farm = Farm()
    for number in (1, 2):
        farm.add(f"edge-{number}", site(1, release="2.4.12"))
    fleet.start(farm)
    with fleet.spawn(*SIGUSR1, "--serial", "1", "-v") as process:
        lines_until(process, "batch 2")
        while not signals(fleet):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert "not confirmed  edge-1  signal SIGUSR1 was sent: interrupted; it was waiting for " in err.decode()
    assert "not attempted  edge-2" in err.decode()


def test_killed_while_a_daemon_restarts(fleet: Fleet) -> None:
    farm = Farm()
    for number in (1, 2):
        farm.add(f"edge-{number}", site(1, release="2.4.12"))
    fleet.start(farm)
    with fleet.spawn(*SIGUSR1, "--serial", "1") as process:
        lines_until(process, "batch 2")
        while not signals(fleet):
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=TIMEOUT)
    audit = Path(os.environ["XDG_STATE_HOME"]) / "fleet" / "audit.ndjson"
    assert audit.read_text() == ""
    for _ in range(2):
        assert fleet("verb", "4", "-l", "edge-2").status == 0
    told = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(line["server"], line["status"], line["unconfirmed"]) for line in told] == [
        ("edge-1", "killed", "signal SIGUSR1"),
        *[("edge-2", "ok", None)] * 2,
    ]


def test_ctrl_c_while_clients_are_waited_for(fleet: Fleet) -> None:
    farm = Farm()
    for number in (1, 2):
        farm.add(f"edge-{number}", site(1, reconnect=NEVER))
    fleet.start(farm)
    with fleet.spawn(*SIGUSR1, "--serial", "1", "--wait", "connected,clients=80%", "--json") as process:
        lines_until(process, "batch 2")
        while not signals(fleet) or fleet.daemon("edge-1").executed[-1] != "load-stats":  # one that came behind it
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    server = json.loads(out)["servers"][0]
    assert (server["error"]["code"], server["error"]["confirmed"]) == ("interrupted", ["signal SIGUSR1"])
    assert server["result"]["state"]["name"] == "CONNECTED"


def test_the_time_of_the_whole_run(four: Fleet) -> None:
    run = four(*SIGUSR1, "--serial", "2", "--batch-wait", "60s", "--timeout", "4s", "--json")
    assert run.status == 4
    assert list(statuses(run.document).values()) == ["ok", "ok", "not_attempted", "not_attempted"]
    assert run.document["servers"][2]["error"]["code"] == "run-timeout"


def test_the_time_is_over_while_clients_are_waited_for(fleet: Fleet) -> None:
    farm = Farm()
    for number in (1, 2):
        farm.add(f"edge-{number}", site(1, reconnect=NEVER))
    fleet.start(farm)
    run = fleet(*SIGUSR1, "--serial", "1", "--wait", "connected,clients=80%", "--timeout", "4s", "--json")
    assert run.status == 4
    assert [server["error"]["code"] for server in run.document["servers"]] == ["run-timeout"] * 2
    assert run.document["servers"][0]["error"]["confirmed"] == ["signal SIGUSR1"]


def test_one_rolling_change_at_a_time(four: Fleet) -> None:
    with four.spawn(*SIGUSR1, "--serial", "2", "--batch-wait", "60s") as process:
        for _ in range(2):
            lines_until(process, "ok")
        run = four("verb", "5", "--all", "--yes", "--serial", "1", "--lock-timeout", "0", "--json")
        drain = four("drain", "edge-4", "--yes", "--no-neighbour-check", "--lock-timeout", "0")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
    assert run.status == drain.status == 75
    assert run.document["error"]["code"] == "locked"
    assert f"pid {process.pid}" in run.err
    assert four("verb", "5", "--all", "--yes", "--serial", "100%").status == 0  # the lock went with its holder


def test_ctrl_c_while_another_rolling_change_is_waited_for(four: Fleet) -> None:
    with four.spawn(*SIGUSR1, "--serial", "2", "--batch-wait", "60s") as holder:
        for _ in range(2):
            lines_until(holder, "ok")
        with four.spawn("verb", "5", "--all", "--yes", "--serial", "1", "--lock-timeout", "60s") as waiter:
            lines_until(waiter, "batch 4")
            waiter.send_signal(signal.SIGINT)
            waiter.communicate(timeout=TIMEOUT)
        holder.send_signal(signal.SIGINT)
        holder.communicate(timeout=TIMEOUT)
    assert waiter.returncode == 130
    assert four.daemon("edge-1").verb == 3


# At a terminal


def at_terminal(fleet: Fleet, *args: str) -> Any:
    return at_a_terminal([sys.executable, "-m", "fleet", *args], fleet.child_environment(TERM="dumb"))


async def test_a_person_goes_step_by_step(four: Fleet) -> None:
    run = at_terminal(four, "signal", "SIGUSR1", "--all", "--serial", "1,2", "--step", "--json")
    async with run as (person, process):
        person.hidden = False
        await person.sees("This restarts the tunnels of 4 servers and drops 10 clients:")
        await person.sees("Go on? [y/N] ")
        await person.types("y\n")
        await person.sees("batch 1/3")
        await person.sees("Go on with batch 2/3? [y/N] ")
        await person.types("y\n")
        await person.sees("batch 2/3")
        await person.sees("Go on with batch 3/3? [y/N] ")
        await person.types("\n")
        out, _ = await process.communicate()
        assert process.returncode == 1
        await person.sees("stopped: not gone on with")
    assert list(statuses(json.loads(out)).values()) == ["ok", "ok", "ok", "not_attempted"]


async def test_a_person_says_no(four: Fleet) -> None:
    async with at_terminal(four, "signal", "SIGUSR1", "--all", "--serial", "1") as (person, process):
        person.hidden = False
        await person.sees("Go on? [y/N] ")
        await person.types("n\n")
        await process.communicate()
        assert process.returncode == 2
    assert signals(four) == []


async def test_ctrl_c_at_a_step(four: Fleet) -> None:
    async with at_terminal(four, *SIGUSR1, "--serial", "2", "--step", "--json") as (person, process):
        person.hidden = False
        await person.sees("Go on with batch 2/2? [y/N] ")
        await person.types("\x03")
        out, _ = await process.communicate()
        assert process.returncode == 130
    assert list(statuses(json.loads(out)).values()) == ["ok", "ok", "not_attempted", "not_attempted"]
