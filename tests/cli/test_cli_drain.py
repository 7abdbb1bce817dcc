"""fleet drain and fleet uncordon: who goes where, what is refused, and what is done when none is left."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from cli.harness import TIMEOUT, Fleet, client, daemon
from fleet.demo.clients import ClientInstance, SimulatedClient
from fleet.demo.daemon import NEVER, Phase, Reconnect, SimulatedDaemon
from fleet.demo.farm import Farm, Reach
from fleet.demo.serve import Faults, ReplyFault
from support.terminal import Person, at_a_terminal

DRAIN = ("drain", "edge-1", "--yes", "--rate", "100/s")


class TwoRemotes(SimulatedDaemon):
    """A daemon whose clients have another remote, which `client-kill` sends them to."""

    next: SimulatedDaemon | None = None

    def dismiss(self, instance: ClientInstance, message: str) -> None:
        super().dismiss(instance, message)
        if self.next is not None and message.startswith("RESTART,[N"):
            self.clock.call_later(0.2, lambda: self.next and self.next.connect(instance.client))


def two_remotes(*names: str, release: str = "2.6.14", protocol: str = "tcp4-server", **more: Any) -> TwoRemotes:
    clients: list[SimulatedClient] = [client(name) for name in names]
    return TwoRemotes(release, clients=clients, protocol=protocol, reconnect=NEVER, **more)


def start(fleet: Fleet, first: SimulatedDaemon, second: SimulatedDaemon | None = None, **more: Any) -> None:
    """edge-1 and edge-2 in one group, us-1 in another."""
    second = second or daemon("2.6.14", ["dora"])
    if isinstance(first, TwoRemotes):
        first.next = second
    farm = Farm()
    farm.add("edge-1", first, group="eu")
    farm.add("edge-2", second, group="eu", **more)
    farm.add("us-1", daemon(), group="us")
    fleet.start(farm)


def say_of_edge_2(fleet: Fleet, entry: str) -> None:
    """An inventory that says so."""
    assert fleet.thread is not None
    lines = fleet.thread.workspace.inventory.read_text("utf-8").splitlines()
    where = next(number for number, line in enumerate(lines) if line.strip().startswith("edge-2:"))
    indent = " " * (len(lines[where + 1]) - len(lines[where + 1].lstrip()))
    lines.insert(where + 1, f"{indent}{entry}")
    fleet.inventory("\n".join(lines), "more.yaml")


class Typed(io.StringIO):
    """Standard input that is a terminal, with what somebody has typed there."""

    def isatty(self) -> bool:
        return True


@contextmanager
def ctrl_c_when(condition: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C in this process, as soon as that is so."""

    def press() -> None:
        wait_until(condition)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def rows(out: str) -> list[str]:
    return [" ".join(line.split()) for line in out.splitlines()[1:]]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def said(process: subprocess.Popen[bytes], text: str) -> str:
    assert process.stderr is not None
    heard = ""
    for line in process.stderr:
        heard += line.decode()
        if text in heard:
            return heard
    raise AssertionError(f"never said: {text}; but: {heard}")


# Where they go


def test_clients_are_moved_to_the_neighbour(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice", "bob", "carol"))
    result = fleet(*DRAIN)
    assert result.status == 0, result.err
    assert fleet.daemon("edge-1").common_names() == []
    assert sorted(fleet.daemon("edge-2").common_names()) == ["alice", "bob", "carol", "dora"]
    assert [row.split()[0] for row in rows(result.out)] == ["edge-1"] * 3
    assert all("moved to edge-2" in row for row in rows(result.out))
    assert result.err.splitlines() == [
        "3 clients were told to go; waiting up to 10m for them to be elsewhere",
        "3 moved (3 to edge-2)",
    ]
    assert [line for line in fleet.daemon("edge-1").executed if line.startswith("client-kill")] == [
        f'client-kill {number} "RESTART,[NP],server maintenance"' for number in range(3)
    ]
    assert not fleet.daemon("us-1").executed


def test_what_json_says_of_it(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice", protocol="udp4"))  # its row lingers for five seconds
    document = fleet(*DRAIN, "--reason", "new kernel", "--json").document
    (server,) = document["servers"]
    result = server["result"]
    assert (document["command"], document["args"], document["exit_status"]) == ("drain", ["edge-1"], 0)
    counts = {"moved": 1, "came_back": 0, "stayed": 0, "gone": 0, "left": 0, "told": 0, "unconfirmed": 0, "untold": 0}
    assert {name: result[name] for name in counts} == counts
    assert (result["nclients"], result["cordoned"], result["signal"]) == (0, False, None)
    assert result["neighbours"] == [
        {
            "name": "edge-2", "state": "CONNECTED", "nclients": 1, "max_clients": None, "error": None, "serves": True,
        }
    ]  # fmt: skip
    (one,) = result["clients"]
    assert (one["common_name"], one["client_id"], one["whereabouts"], one["server"]) == ("alice", 0, "moved", "edge-2")
    assert one["after"] < TIMEOUT
    assert 'client-kill 0 "RESTART,[NP],new kernel"' in fleet.daemon("edge-1").executed


def test_one_with_a_single_remote_comes_back(fleet: Fleet) -> None:
    back = Reconnect(client_kill=0.2, linger=1.0)
    start(fleet, SimulatedDaemon("2.6.14", clients=[client("alice"), client("bob")], reconnect=back))
    result = fleet(*DRAIN, "--then", "SIGTERM", "--cordon")
    assert result.status == 2
    result = fleet(*DRAIN, "--then", "SIGTERM")
    assert result.status == 1
    assert all("came back" in row for row in rows(result.out))
    assert result.err.splitlines()[1:] == [
        "2 came back (no other remote, or persist-remote-ip)", "2 clients are on edge-1; SIGTERM was not sent",
    ]  # fmt: skip
    executed = fleet.daemon("edge-1").executed
    assert sum(line.startswith("client-kill") for line in executed) == 2  # it is told once
    assert "signal SIGTERM" not in executed
    assert "not cordoned" in fleet(*DRAIN, "--cordon").err


def test_one_that_is_nowhere_is_waited_for_until_the_grace_is_over(fleet: Fleet) -> None:
    start(fleet, daemon("2.6.14", ["alice"], protocol="tcp4-server"))
    result = fleet(*DRAIN, "--grace", "500ms")
    assert (result.status, result.err.splitlines()[-1]) == (0, "1 gone")
    assert rows(result.out)[0].endswith("gone -")


def test_one_that_stays(fleet: Fleet) -> None:
    start(
        fleet, SimulatedDaemon("2.6.14", clients=[client("alice")], reconnect=Reconnect(client_kill=None, linger=600))
    )
    result = fleet(*DRAIN, "--grace", "500ms")
    assert result.status == 1
    assert result.err.splitlines()[-2:] == ["1 stayed", "1 client is on edge-1"]


def test_a_newcomer_is_moved_too(fleet: Fleet) -> None:
    first = two_remotes("alice")
    start(fleet, first)
    dismiss = first.dismiss
    came: list[str] = []

    def someone_comes(instance: ClientInstance, message: str) -> None:
        dismiss(instance, message)
        if not came:
            came.append("zora")
            first.connect(client("zora"))

    first.dismiss = someone_comes  # type: ignore[method-assign]  # a client that connects in mid-drain
    result = fleet(*DRAIN)
    assert result.status == 0, result.err
    assert sorted(row.split()[1] for row in rows(result.out)) == ["alice", "zora"]
    assert result.err.endswith("2 moved (2 to edge-2)\n")


def test_one_that_leaves_before_its_turn(fleet: Fleet) -> None:
    first = two_remotes("alice", "bob")
    start(fleet, first)
    dismiss = first.dismiss

    def the_other_leaves(instance: ClientInstance, message: str) -> None:
        dismiss(instance, message)
        first.kill(first.instances)

    first.dismiss = the_other_leaves  # type: ignore[method-assign]  # bob leaves when alice is told
    result = fleet(*DRAIN)
    assert result.status == 0
    assert result.err.splitlines() == [
        "1 client was told to go; waiting up to 10m for them to be elsewhere",  # who had left was not
        "1 moved (1 to edge-2), 1 left",
    ]


def test_nobody_is_connected(fleet: Fleet) -> None:
    start(fleet, two_remotes())
    result = fleet(*DRAIN)
    assert (result.status, result.out, result.err) == (0, "", "nobody was connected\n")
    assert fleet(*DRAIN, "-o", "json").document["servers"][0]["result"]["clients"] == []


# What is looked at before


def test_a_neighbour_has_to_be_up(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"), reach=Reach.DOWN)
    result = fleet(*DRAIN)
    assert (result.status, result.out) == (2, "")
    assert result.err.splitlines() == [
        "edge-1 is not drained: no neighbour is up that could take its clients: edge-2 (connect-refused) (group eu)",
        "  bring one up, or go on all the same with --no-neighbour-check",
    ]
    assert not any(line.startswith("client-kill") for line in fleet.daemon("edge-1").executed)
    alone = fleet("drain", "us-1", "--yes", "--dry-run")
    assert alone.status == 0
    forced = fleet(*DRAIN, "--no-neighbour-check", "--grace", "300ms")
    assert (forced.status, forced.err.splitlines()[-1]) == (0, "1 gone")


def test_a_neighbour_that_is_exclusive_is_not_asked(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    say_of_edge_2(fleet, "exclusive: true")
    result = fleet(*DRAIN)
    assert result.status == 2
    assert "no neighbour is up that could take its clients: edge-2 (exclusive)" in result.err
    assert not fleet.farm["edge-2"].sessions
    assert fleet(*DRAIN, "--force").status == 0


def test_a_neighbour_that_waits_is_not_up(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"), SimulatedDaemon("2.6.14", hold=True))
    assert "no neighbour is up that could take its clients: edge-2 (HOLD)" in fleet(*DRAIN).err


def test_the_neighbours_have_to_have_room(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice", "bob"))
    say_of_edge_2(fleet, "max_clients: 2")
    result = fleet(*DRAIN)
    assert result.status == 2
    assert "its neighbours have room for 1 of its 2 clients: edge-2 (1 client, room for 1) (group eu)" in result.err


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (daemon("2.2.3", ["alice"]), "this daemon reports no client ids (they came with OpenVPN 2.4)"),
        (daemon("2.6.14", client_mode=True), "this daemon is no server for clients; nothing was sent"),
    ],
)
def test_what_cannot_be_drained(fleet: Fleet, first: SimulatedDaemon, message: str) -> None:
    start(fleet, first)
    result = fleet(*DRAIN)
    assert result.status == 1
    assert result.err.startswith(f"command-failed: edge-1: {message}")


def test_a_server_that_cannot_be_asked(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    fleet.farm.hosts["edge-1"].forwarding = False
    result = fleet(*DRAIN)
    assert (result.status, result.out) == (4, "")
    assert result.err.startswith("forwarding-refused: edge-1: ")


def test_a_dry_run_shows_who_would_go_and_where(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice", "Doe, Jane"))
    result = fleet("drain", "edge-1", "--dry-run")
    assert result.status == 0
    assert [row.split()[1] for row in rows(result.out)] == ["alice", "Doe,"]
    assert 'client-kill 0 "RESTART,[NP],server maintenance"' in result.out
    assert result.err == "they can go to edge-2 (1 client)\n"
    assert fleet.daemon("edge-1").common_names() == ["alice", "Doe, Jane"]
    document = fleet("drain", "edge-1", "--dry-run", "--json").document
    planned = document["servers"][0]["result"]
    assert (planned["nclients"], planned["neighbours"][0]["name"]) == (2, "edge-2")
    assert planned["clients"][0]["would_send"] == 'client-kill 0 "RESTART,[NP],server maintenance"'


def test_a_person_is_asked(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    result = fleet("drain", "edge-1")
    assert result.status == 2
    assert "there is no terminal to ask at" in result.err
    assert not fleet.daemon("edge-1").executed


def test_who_says_no_has_moved_nobody(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    start(fleet, two_remotes("alice"))
    monkeypatch.setattr(sys, "stdin", Typed("n\n"))
    result = fleet("drain", "edge-1", "--cordon")
    assert result.status == 2
    assert result.err.startswith("This moves 1 client away from 1 server, and then keeps new clients out:\n")
    assert result.err.endswith("they can go to edge-2 (1 client)\nGo on? [y/N] not confirmed: nothing was changed\n")
    assert fleet.daemon("edge-1").common_names() == ["alice"]


@pytest.mark.parametrize(
    ("wish", "asked", "typed", "phase"),
    [
        ("--then=SIGTERM", "this sends SIGTERM.\nType edge-1 to go on: ", "edge-1\n", Phase.EXITED),
        ("--cordon", "this keeps new clients out.\nGo on? [y/N] ", "y\n", Phase.HOLD),
    ],
)
def test_of_an_empty_server_the_question_is_what_is_done_to_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *, wish: str, asked: str, typed: str, phase: Phase
) -> None:
    start(fleet, two_remotes())
    monkeypatch.setattr(sys, "stdin", Typed(typed))
    result = fleet("drain", "edge-1", wish)
    assert result.status == 0
    assert result.err.startswith(f"Nobody is connected to edge-1; {asked}nobody was connected\n")
    wait_until(lambda: fleet.daemon("edge-1").phase is phase)


def test_nothing_is_asked_where_nothing_would_be_done(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    start(fleet, two_remotes())
    monkeypatch.setattr(sys, "stdin", Typed())
    result = fleet("drain", "edge-1")
    assert (result.status, result.err) == (0, "nobody was connected\n")


@asynccontextmanager
async def at_a_person(fleet: Fleet, *args: str) -> AsyncIterator[tuple[Person, list[int]]]:
    """fleet at a terminal; its exit status is in the list behind the block."""
    ended: list[int] = []
    argv = [sys.executable, "-m", "fleet", *args]
    async with at_a_terminal(argv, fleet.child_environment(TERM="xterm", NO_COLOR="1")) as (person, process):
        person.hidden = False
        yield person, ended
        await process.communicate()
        assert process.returncode is not None
        ended.append(process.returncode)


async def test_a_person_sees_who_would_go_and_where(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice", "bob"))
    async with at_a_person(fleet, "drain", "edge-1", "--rate", "100/s") as (person, ended):
        await person.sees("This moves 2 clients away from 1 server:")
        await person.sees("alice")
        await person.sees("they can go to edge-2 (1 client)")
        await person.sees("Go on? [y/N] ")
        assert fleet.daemon("edge-1").common_names() == ["alice", "bob"]
        await person.types("y\n")
    assert ended == [0]
    assert fleet.daemon("edge-1").common_names() == []


async def test_a_person_sees_how_many_were_told(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice", "bob", "carol"))
    async with at_a_person(fleet, "drain", "edge-1", "--rate", "1/h", "--yes") as (person, ended):
        await person.sees("told 1 of 3 clients, ")
        await person.types("\x03")
        await person.sees("interrupted: closing what is open")
    assert ended == [130]


@pytest.mark.parametrize(("typed", "status"), [("y\n", 2), ("edge-1\n", 0)])
async def test_the_end_of_a_daemon_wants_its_name(fleet: Fleet, typed: str, status: int) -> None:
    start(fleet, two_remotes("alice"))
    async with at_a_person(fleet, "drain", "edge-1", "--rate", "100/s", "--then", "SIGTERM") as (person, ended):
        await person.sees("This moves 1 client away from 1 server, and then sends SIGTERM:")
        await person.sees("Type edge-1 to go on: ")
        await person.types(typed)
    assert ended == [status]
    if status == 0:
        wait_until(lambda: fleet.daemon("edge-1").phase is Phase.EXITED)
    else:
        assert fleet.daemon("edge-1").common_names() == ["alice"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--rate", "0"), "--rate: '0' is no rate"),
        (("--rate", "fast"), "--rate: 'fast' is no rate"),
        (("--grace", "soon"), "'soon' is not a duration"),
        (("--then", "SIGKILL"), "--then: 'SIGKILL' is no signal for an empty server"),
        (("--then", "SIGTERM", "--cordon"), "--cordon keeps the daemon waiting"),
        (("-l", "edge-2"), "drain is for the one server that it names"),
        (("--serial", "1"), "drain is for one server at a time"),
        (("--reason", "x" * 300), "bytes long, and OpenVPN takes at most"),
        (("--reason", "a\nb"), "has a control character"),
        (("--readonly",), "drain changes something, and this run is read-only"),
    ],
)
def test_what_makes_no_sense_is_refused(fleet: Fleet, args: tuple[str, ...], message: str) -> None:
    start(fleet, two_remotes("alice"))
    result = fleet("drain", "edge-1", "--yes", *args)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert not fleet.daemon("edge-1").executed


def test_several_servers_are_refused(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    assert "drain empties one server at a time, and 2 servers are meant" in fleet("drain", "eu", "--yes").err
    assert fleet("drain", "edge-1", "--list-hosts").out == "edge-1\n"


# Broken off


def test_an_end_in_the_middle_says_where_everybody_is(fleet: Fleet) -> None:
    start(fleet, two_remotes(*(f"client-{number}" for number in range(5))))
    first = fleet.daemon("edge-1")
    with ctrl_c_when(lambda: len(first.common_names()) == 4):
        result = fleet("drain", "edge-1", "--yes", "--rate", "1/h", "--json")
    assert result.status == 130
    assert re.search(r"\n1 (told|unconfirmed), 4 not told\n", result.err)  # its answer may not have been read
    assert result.out.count('"whereabouts": "untold"') == 4
    assert result.err.count("not told") == 5  # in a table, and in the sentence
    assert sum(line.startswith("client-kill") for line in first.executed) == 1


def test_an_end_while_waiting_says_where_everybody_is(fleet: Fleet) -> None:
    start(fleet, daemon("2.6.14", ["alice"], protocol="tcp4-server"))
    with fleet.spawn("drain", "edge-1", "--yes") as process:
        heard = said(process, "1 client was told to go")
        wait_until(lambda: fleet.farm["edge-1"].sessions >= 4)  # plan, tell, look: looked at again
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert "1 gone" in heard + err.decode()


def test_an_end_before_anything_was_sent(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    fleet.farm["edge-1"].faults = Faults(reply=ReplyFault.SILENCE, command="status")
    with ctrl_c_when(lambda: fleet.farm["edge-1"].sessions):
        result = fleet(*DRAIN)
    assert (result.status, result.out) == (130, "")
    assert "interrupted before anything was sent" in result.err
    assert fleet.daemon("edge-1").common_names() == ["alice"]


def test_an_end_between_two_clients(fleet: Fleet) -> None:
    first = two_remotes("alice", "bob")
    start(fleet, first)
    with ctrl_c_when(lambda: len(first.common_names()) == 1):
        result = fleet("drain", "edge-1", "--yes", "--rate", "1/h", "--then", "SIGTERM", "--json")
    server = result.document["servers"][0]
    assert (result.status, server["error"]["code"]) == (130, "interrupted")
    assert [one["whereabouts"] for one in server["result"]["clients"]][1:] == ["untold"]
    assert "signal SIGTERM" not in first.executed


def test_an_end_between_two_looks(fleet: Fleet) -> None:
    start(fleet, daemon("2.6.14", ["alice"], protocol="tcp4-server"))
    asked = [fleet.farm[name] for name in ("edge-1", "edge-2")]
    with ctrl_c_when(lambda: all(one.sessions >= 3 and not one._turn.locked() for one in asked)):  # looked at again
        result = fleet(*DRAIN)
    assert result.status == 130
    assert "again to leave at once\n" in result.err
    assert "1 gone\n" in result.err


def test_what_fleet_itself_refuses_ends_the_run_too(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    folder = fleet.folder / "run/fleet"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    fleet.set("XDG_RUNTIME_DIR", str(folder.parent))
    result = fleet(*DRAIN)
    assert (result.status, result.out) == (2, "")
    assert "can be written by others" in result.err
    assert fleet.daemon("edge-1").common_names() == ["alice"]
    assert fleet("history", "show", "last", "--json").document["exit_status"] == 2


def test_what_cannot_be_seen_afterwards_is_said(fleet: Fleet) -> None:
    first = two_remotes("alice", "bob")
    start(fleet, first)
    dismiss, hosts = first.dismiss, fleet.farm.hosts

    def and_then_nothing(instance: ClientInstance, message: str) -> None:
        dismiss(instance, message)
        hosts["edge-2"].forwarding = False
        hosts["edge-1"].forwarding = instance.client.common_name == "alice"

    first.dismiss = and_then_nothing  # type: ignore[method-assign]  # neither can be asked when bob was told
    result = fleet(*DRAIN, "--grace", "300ms", "--json")
    server = result.document["servers"][0]
    assert (result.status, server["error"]["code"]) == (4, "forwarding-refused")
    assert (server["result"]["told"], server["result"]["nclients"]) == (2, None)
    assert server["warnings"] == ["who went to edge-2 is not known: forwarding-refused"]


def test_a_lost_reply_ends_it(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice", "bob"))
    fleet.farm["edge-1"].faults = Faults(reply=ReplyFault.HANG_UP, command="client-kill")
    result = fleet(*DRAIN, "--json")
    assert result.status == 4
    server = result.document["servers"][0]
    assert server["error"]["code"] == "connection-lost"
    assert server["error"]["sent"] == 'client-kill 0 "RESTART,[NP],server maintenance"'
    assert (server["result"]["unconfirmed"], server["result"]["untold"]) == (1, 1)


# When none is left


def test_a_signal_in_the_end(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    result = fleet(*DRAIN, "--then", "SIGTERM")
    assert result.status == 0
    assert result.err.endswith("edge-1 was sent SIGTERM\n")
    wait_until(lambda: fleet.daemon("edge-1").phase is Phase.EXITED)


def test_a_cordon_and_its_end(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    result = fleet(*DRAIN, "--cordon", "--json")
    assert (result.status, result.document["servers"][0]["result"]["cordoned"]) == (0, True)
    assert result.err.endswith("new clients are kept out until fleet uncordon edge-1\n")
    one = fleet.daemon("edge-1")
    assert (one.phase, one.hold_flag) == (Phase.HOLD, True)
    again = fleet("uncordon", "edge-1")
    assert (again.status, rows(again.out)) == (0, ["edge-1 released CONNECTED"])
    assert (one.phase, one.hold_flag) == (Phase.UP, False)
    assert rows(fleet("uncordon", "-l", "edge-1").out) == ["edge-1 was not waiting CONNECTED"]
    assert fleet("uncordon").status == 2
    assert "release" in fleet("uncordon", "edge-1", "--dry-run").out


def test_a_daemon_that_may_not_survive_is_not_cordoned(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    one = fleet.daemon("edge-1")
    one.log("UID set to nobody", "I")
    result = fleet(*DRAIN, "--cordon")
    assert result.status == 1
    assert "it was not cordoned, as the daemon may die when it is to go on afterwards: it has given up " in result.err
    assert "1 moved (1 to edge-2)" in result.err
    assert not one.hold_flag
    assert fleet(*DRAIN, "--cordon", "--force").status == 0
    assert one.phase is Phase.HOLD


def test_a_daemon_that_does_not_survive_is_said(fleet: Fleet) -> None:
    start(fleet, two_remotes("alice"))
    fleet.daemon("edge-1").fatal_on_restart = "Error: private key password verification failed"
    result = fleet(*DRAIN, "--cordon")
    assert result.status == 1
    assert "the daemon did not survive it: " in result.err
    assert "private key password verification failed" in result.err
