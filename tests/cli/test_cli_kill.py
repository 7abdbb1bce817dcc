"""fleet kill over real SSH: what is said, what is done, and the exit status."""

from __future__ import annotations

import json
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from cli.harness import TIMEOUT, Fleet, Result, client, daemon, farm_with_a_server_down, small_farm
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults, ReplyFault
from fleet.operations import verify
from support.terminal import at_a_terminal

OUTLOOK = "its certificate still holds, so it may come back (--verify 10s looks again)"


def test_a_client_is_killed_wherever_it_is(small: Fleet) -> None:
    result = small("kill", "Test-Client")
    assert result.status == 0
    assert result.err == f"killed 2 sessions on 2 of 3 servers; {OUTLOOK}\n"
    header, *rows = [line.split() for line in result.out.splitlines()]
    assert " ".join(header) == "SERVER COMMON NAME REAL ADDRESS VIRTUAL ADDRESS SINCE RESULT"
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("edge-1", "Test-Client", "killed"), ("gw/udp", "Test-Client", "killed"),
    ]  # fmt: skip
    assert rows[1][2] == "udp4:203.0.113.9:32768"
    assert [small.daemon(name).common_names() for name in ("edge-1", "gw/udp", "gw/tcp")] == [
        ["Doe, Jane"], ["col:on"], ["alice"],
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Doe, Jane", "col:on", "alice"])
def test_a_client_of_one_server(small: Fleet, name: str) -> None:
    result = small("kill", name)
    assert result.status == 0
    assert result.err == f"killed 1 session on 1 of 3 servers; {OUTLOOK}\n"


def test_a_limit_is_kept(small: Fleet) -> None:
    result = small("kill", "Test-Client", "-l", "us")
    assert result.err == f"killed 1 session on 1 of 2 servers; {OUTLOOK}\n"
    assert small.daemon("edge-1").common_names() == ["Test-Client", "Doe, Jane"]
    assert small("kill", "Test-Client", "-l", "edge-1").err.startswith("killed 1 session on 1 of 1 server; ")


def test_a_killed_client_in_json(small: Fleet) -> None:
    document = small("kill", "Test-Client", "-l", "edge-1", "--json").document
    assert (document["args"], document["exit_status"]) == (["Test-Client"], 0)
    result = document["servers"][0]["result"]
    assert result["killed"] == 1
    assert {**result["clients"][0], "connected_since": None} == {
        "common_name": "Test-Client", "real_address": "203.0.113.9:32768", "virtual_address": "10.8.0.2",
        "connected_since": None, "client_id": 0, "username": None, "result": "killed",
        "verified": None,
    }  # fmt: skip


def test_kill_in_the_daemons_words(small: Fleet) -> None:
    result = small("kill", "Doe, Jane", "-l", "edge-1", "-o", "raw")
    assert result.out == "SUCCESS: common name 'Doe, Jane' found, 1 client(s) killed\n"


# exit status


def test_found_nowhere(small: Fleet) -> None:
    result = small("kill", "nobody")
    assert (result.status, result.out, result.err) == (1, "", "no client 'nobody' on 3 servers\n")
    document = small("kill", "nobody", "--json").document
    assert (document["exit_status"], document["summary"]["ok"]) == (1, 3)
    assert document["servers"][0]["result"] == {"killed": 0, "clients": []}


def test_found_nowhere_and_that_is_all_right(small: Fleet) -> None:
    result = small("kill", "nobody", "--ignore-not-found")
    assert (result.status, result.err) == (0, "no client 'nobody' on 3 servers\n")


def test_found_nowhere_for_quiet_people(small: Fleet) -> None:
    result = small("-q", "kill", "nobody")
    assert (result.status, result.out, result.err) == (1, "", "no client 'nobody' on 3 servers\n")
    result = small("-q", "kill", "nobody", "--ignore-not-found")
    assert (result.status, result.out, result.err) == (0, "", "")
    result = small("-q", "kill", "alice")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert small.daemon("gw/tcp").common_names() == []


@pytest.mark.parametrize(("more", "name"), [((), "Test-Client"), ((), "nobody"), (("--ignore-not-found",), "nobody")])
def test_a_server_that_cannot_be_asked(fleet: Fleet, more: tuple[str, ...], name: str) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("kill", name, *more)
    assert result.status == 4
    first, *rest = result.err.splitlines()
    assert first == (
        "no client 'nobody' on the 3 of 4 servers that answered"
        if name == "nobody"
        else f"killed 2 sessions on 2 of 4 servers; {OUTLOOK}"
    )
    assert rest[0].startswith("connect-refused: down: ")
    assert rest[-1].startswith("4 servers: 3 ok, 1 unreachable, in ")


def test_no_server_can_be_asked(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("kill", "nobody", "-l", "down")
    assert result.status == 4
    assert "nobody" not in result.err


def test_a_server_that_refuses(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon("2.4.12", [client("a", "::1"), client("b", "::1")], protocol="udp6"))
    farm.add("edge-2", daemon("2.7.6", [client("a", "::1")]))
    fleet.start(farm)
    result = fleet("kill", "::1")
    assert result.status == 1
    assert result.err.splitlines()[:3] == [
        "no client '::1' on the 1 of 2 servers that answered",
        (
            "command-failed: edge-1: 2 clients come from '::1', and this daemon does not tell them apart by address; "
            "nothing was killed"
        ),
        "  try: kill by common name: fleet clients shows them; or all of them with --real-address",
    ]


def test_a_client_that_left_by_itself(fleet: Fleet) -> None:
    farm = Farm()
    one = daemon("2.6.14", ["a"])
    farm.add("edge", one)
    fleet.start(farm)
    executed = one.log

    def leave(text: str, flags: str = "", *, verb: int = 1) -> None:
        if text == "MANAGEMENT: CMD 'kill a'":
            one.kill(one.instances)
        executed(text, flags, verb=verb)

    one.log = leave  # type: ignore[method-assign]  # the client leaves right when the daemon reads the kill
    result = fleet("kill", "a")
    assert (result.status, result.err) == (1, "client 'a' left by itself before it was killed\n")
    assert result.out.splitlines()[1].endswith("gone")


# what is refused before anything is sent


@pytest.mark.parametrize(
    ("who", "message"),
    [
        ("UNDEF", "UNDEF is what OpenVPN writes for a client without a name"),
        ("", "whom to kill is empty"),
        ("a\nb", r"the common name has a control character (\x0a)"),
        ("\x1b[31m", r"the common name has a control character (\x1b)"),
        ("x" * 128, "the common name is 128 bytes long, and OpenVPN takes at most 127"),
    ],
)
def test_refused_before_anything_is_sent(small: Fleet, who: str, message: str) -> None:
    result = small("kill", who)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(message)
    assert "\x1b" not in result.err
    assert [small.farm[name].sessions for name in ("edge-1", "gw/udp", "gw/tcp")] == [0, 0, 0]
    assert not any(host.connections for host in small.farm.hosts.values())
    document = small("kill", who, "--json").document
    assert (document["command"], document["args"], document["error"]["code"]) == ("kill", [who], "usage")


def test_a_name_that_looks_like_an_option(small: Fleet) -> None:
    small.thread.do(connect(small))  # type: ignore[union-attr]  # the farm runs
    assert small("kill", "-x").status == 2
    assert small("kill", "--", "-x").status == 0


async def connect(fleet: Fleet) -> None:
    fleet.daemon("edge-1").connect(client("-x"))


# sent and not confirmed


def test_a_lost_reply(small: Fleet) -> None:
    small.farm["edge-1"].faults = Faults(reply=ReplyFault.HANG_UP, command="kill")
    result = small("kill", "Test-Client")
    assert result.status == 4
    lines = result.err.splitlines()
    assert lines[0] == f"killed 1 session on 1 of 3 servers; {OUTLOOK}"
    assert lines[1].startswith("connection-lost: edge-1: ")
    assert lines[2] == "  sent and not confirmed: kill Test-Client"
    assert small.daemon("edge-1").common_names() == ["Doe, Jane"]


def test_a_lost_reply_in_json_and_quiet(small: Fleet) -> None:
    small.farm["edge-1"].faults = Faults(reply=ReplyFault.SILENCE, command="kill")
    document = small("kill", "Doe, Jane", "-l", "edge-1", "--json", "--reply-timeout", "1s").document
    assert document["exit_status"] == 4
    assert document["servers"][0]["error"]["code"] == "reply-timeout"
    assert document["servers"][0]["error"]["sent"] == 'kill "Doe, Jane"'
    result = small("kill", "Test-Client", "-l", "edge-1", "-q", "--host-timeout", "2s")
    assert (result.status, result.out) == (4, "")
    (line,) = result.err.splitlines()
    assert line == (
        "host-timeout: edge-1: not done within 2 s; it was waiting for the reply to kill Test-Client; sent and not "
        "confirmed: kill Test-Client (try: look at the server before sending 'kill Test-Client' again: it may have "
        "been done)"
    )


def test_escape_sequences_of_a_name_reach_no_terminal(fleet: Fleet) -> None:
    farm = Farm()
    evil = "\x9b31m\u202eevil"  # a C1 control and an override of the writing direction; C0 daemons replace
    farm.add("edge", daemon("2.6.14", [client(evil, port=1), client(f"{evil}:x", port=2)]))
    fleet.start(farm)
    shown = r"\x9b31m\u202eevil"
    table = fleet("clients").out
    assert shown in table
    result = fleet("kill", evil)
    assert result.status == 0
    assert shown in result.out
    assert not set("\x9b\u202e") & set(table + result.out + result.err)
    result = fleet("kill", evil)
    assert (result.status, result.err) == (1, f"no client '{shown}' on 1 server\n")
    assert fleet("clients", "--json").document["servers"][0]["result"]["clients"][0]["common_name"] == f"{evil}:x"


def test_nobody_at_all_is_asked(fleet: Fleet) -> None:
    fleet.start(small_farm())
    result = fleet("kill", "a", "-x", "all", "--allow-empty")
    assert (result.status, result.err) == (1, "no client 'a' on 0 servers\n")


# what was done, and what is to be known


class HangsUp(socketserver.StreamRequestHandler):
    """A daemon with two clients of one name, whose connection is lost behind the first kill."""

    ANSWERS: ClassVar = {
        b"status 3": (
            b"TITLE\tOpenVPN 2.6.14\r\nHEADER\tCLIENT_LIST\tCommon Name\tReal Address\tClient ID\r\n"
            b"CLIENT_LIST\tc:n\t10.0.0.1:1\t4\r\nCLIENT_LIST\tc:n\t10.0.0.1:2\t9\r\nEND\r\n"
        ),
        b"state": b"1795337315,CONNECTED,SUCCESS,10.200.0.1,,,127.0.0.1,21610\r\nEND\r\n",
        b"pid": b"SUCCESS: pid=1\r\n",
        b"client-kill 4": b"SUCCESS: client-kill command succeeded\r\n",
    }

    def handle(self) -> None:
        self.wfile.write(b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n")
        for line in self.rfile:
            answer = self.ANSWERS.get(line.strip())
            if answer is None:
                self.rfile.read1()  # type: ignore[attr-defined]  # so that the end is an EOF and no reset
                return
            self.wfile.write(answer)


@pytest.fixture
def lossy(fleet: Fleet) -> Iterator[Fleet]:
    """fleet with one server, a HangsUp on this machine."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangsUp) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        port = server.server_address[1]
        fleet.inventory(f"all: {{hosts: {{edge: {{management: '127.0.0.1:{port}', connection: local}}}}}}")
        try:
            yield fleet
        finally:
            server.shutdown()
            thread.join()


def test_kills_that_were_done_are_told_when_a_later_one_fails(lossy: Fleet) -> None:
    lines = lossy("kill", "c:n").err.splitlines()
    assert lines[0].startswith("connection-lost: edge: ")
    assert lines[1:3] == ["  sent and not confirmed: client-kill 9", "  done before that: client-kill 4"]
    (line,) = lossy("kill", "c:n", "-q").err.splitlines()
    assert "; sent and not confirmed: client-kill 9; done before that: client-kill 4" in line
    error = lossy("kill", "c:n", "--json").document["servers"][0]["error"]
    assert (error["code"], error["sent"], error["confirmed"]) == (
        "connection-lost",
        "client-kill 9",
        ["client-kill 4"],
    )


@pytest.mark.parametrize("args", [("--json",), ("-o", "ndjson")])
def test_a_warning_is_in_the_document_and_no_problem(fleet: Fleet, args: tuple[str, ...]) -> None:
    farm = Farm()
    farm.add("edge", daemon("2.2.3", ["Doe, Jane", "other"]))
    fleet.start(farm)
    result = fleet("kill", "Doe, Jane", *args)
    warning = (
        "no client 'Doe, Jane', but one is shown as 'Doe__Jane', and OpenVPN before 2.3 shows the other so; "
        "if it is the same client: fleet kill Doe__Jane -l edge"
    )
    server = result.lines[0] if "ndjson" in args else result.document["servers"][0]
    assert server["warnings"] == [warning]
    assert f"warning: edge: {warning}" in result.err
    assert fleet.daemon("edge").common_names() == ["Doe__Jane", "other"]
    quiet = fleet("kill", "Doe, Jane", "--ignore-not-found", "-q", *args)
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


# other ways to say who is meant


def farm_of_people() -> Farm:
    """Two servers with clients of one certificate and different usernames; nobody comes back."""
    farm = Farm()
    farm.add("edge-1", daemon("2.6.14", [client("shared", port=1, username="ann"), client("shared", port=2)]))
    farm.add("edge-2", daemon("2.7.6", [client("shared", "198.51.100.7", port=3, username="bob")]))
    return farm


@pytest.mark.parametrize(
    ("args", "left"),
    [
        (("--username", "bob"), [2, 0]),
        (("--virtual-address", "10.8.0.2"), [1, 0]),  # an address that both have
        (("--real-address", "203.0.113.9"), [0, 1]),
        (("--real-address", "203.0.113.9:1"), [1, 1]),
        (("--real-address", "udp4:198.51.100.7:3"), [2, 0]),
        (("--cid", "0", "-l", "edge-2"), [2, 0]),
    ],
)
def test_by_something_else_than_the_name(fleet: Fleet, args: tuple[str, ...], left: list[int]) -> None:
    fleet.start(farm_of_people())
    refused = fleet("kill", *args)
    assert (refused.status, refused.out) == (2, "")
    assert "no terminal to ask at" in refused.err
    assert [fleet.farm[name].sessions for name in ("edge-1", "edge-2")] == [0, 0]
    result = fleet("kill", *args, "--yes", "--json")
    assert result.status == 0, result.err
    assert result.document["args"] == list(args[:2])
    rows = [row for server in result.document["servers"] for row in server["result"]["clients"]]
    assert {row["result"] for row in rows} == {"killed"}
    lists = fleet("clients", "--json").document["servers"]
    there = [
        [row for row in server["result"]["clients"] if row["client_id"] not in gone(result, server)] for server in lists
    ]
    assert list(map(len, there)) == left


def gone(result: Result, server: Any) -> set[int]:
    """The ids of those whose rows only linger."""
    killed = {one["name"]: one["result"]["clients"] for one in result.document["servers"]}
    return {row["client_id"] for row in killed.get(server["name"], ())}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "whom to kill is missing"),
        (("alice", "--username", "bob"), "say whom to kill in one way"),
        (("--cid", "1", "--username", "bob"), "say whom to kill in one way"),
        (("--cid", "1"), "a client id means something on one server only, and 2 servers are meant"),
        (("--cid", "x", "-l", "edge-1"), "client-kill"),
        (("--username", ""), "the username is empty"),
        (("--real-address", "laptop"), "'laptop' is no real address"),
        (("--virtual-address", "laptop"), "'laptop' is no address"),
        (("alice", "--message", "bye"), "the message to a client must be RESTART or HALT"),
        (("alice", "--verify", "soon"), "is not a duration"),
        (("alice", "--verify", "0"), "a duration is more than 0"),
        (("alice", "--serial", "1"), "kill goes to all servers at once, not in batches"),
    ],
)
def test_other_ways_that_are_refused(fleet: Fleet, args: tuple[str, ...], message: str) -> None:
    fleet.start(farm_of_people())
    result = fleet("kill", *args, "--yes")
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert not any(host.connections for host in fleet.farm.hosts.values())


def test_a_dry_run_shows_who_and_what_would_be_sent(fleet: Fleet) -> None:
    fleet.start(farm_of_people())
    result = fleet("kill", "--username", "bob", "--message", "HALT,bye", "--dry-run")
    assert result.status == 0
    header, row = result.out.splitlines()
    assert " ".join(header.split()) == "SERVER COMMON NAME REAL ADDRESS VIRTUAL ADDRESS SINCE WOULD SEND"
    assert row.split()[:4] == ["edge-2", "shared", "udp4:198.51.100.7:3", "10.8.0.2"]
    assert row.endswith("client-kill 0 HALT,bye")
    first, second = fleet("kill", "shared", "--dry-run", "--json").document["servers"]
    assert (first["result"]["nclients"], second["result"]["nclients"]) == (2, 1)
    assert {row["would_send"] for row in first["result"]["clients"]} == {"kill shared"}
    assert fleet("kill", "--username", "eve", "-n").err == "no client with username 'eve'\n"
    assert [len(fleet.daemon(name).instances) for name in ("edge-1", "edge-2")] == [2, 1]


async def test_a_person_is_shown_who_is_meant_and_asked(fleet: Fleet) -> None:
    fleet.start(farm_of_people())
    argv = [sys.executable, "-m", "fleet", "kill", "--username", "bob"]
    async with at_a_terminal(argv, fleet.child_environment()) as (person, process):
        person.hidden = False
        await person.sees("This disconnects 1 client:")
        await person.sees("client-kill 0")
        await person.sees("Go on? [y/N]")
        await person.types("y\n")
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"killed" in out


def test_a_message_reaches_the_client(fleet: Fleet) -> None:
    fleet.start(farm_of_people())
    assert fleet("kill", "shared", "-l", "edge-2", "--message", "RESTART,[N],moved").status == 0
    assert fleet.daemon("edge-2").executed[-2:] == ['client-kill 0 "RESTART,[N],moved"', "state"]
    assert fleet("kill", "shared", "-l", "edge-1", "--message", "HALT").status == 2  # it wants to ask
    halted = fleet("kill", "shared", "-l", "edge-1", "--message", "HALT", "--yes")
    assert halted.status == 0
    assert halted.err.endswith("; its VPN process was told to end, so that only its user brings it back\n")


# looking again


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once, and nothing is thought to linger."""
    monkeypatch.setattr(verify, "LOOK_INTERVAL", 0.05)
    monkeypatch.setattr(verify, "LINGER", 0.0)


def on_kill(fleet: Fleet, server: str, do: Callable[[], object]) -> None:
    """Something happens on a server right when it reads a kill."""
    one = fleet.daemon(server)
    logged = one.log

    def log(text: str, flags: str = "", *, verb: int = 1) -> None:
        if text.startswith("MANAGEMENT: CMD 'kill"):
            do()
        logged(text, flags, verb=verb)

    one.log = log  # type: ignore[method-assign]  # a hook of the test


def two_servers(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon("2.6.14", ["alice", "bob"]))
    farm.add("edge-2", daemon("2.7.6", ["carol"], protocol="tcp4-server"))
    fleet.start(farm)


@pytest.mark.usefixtures("hasty")
def test_verified_as_gone(fleet: Fleet) -> None:
    two_servers(fleet)
    result = fleet("kill", "alice", "--verify", "200ms")
    assert (result.status, result.err) == (0, "killed 1 session on 1 of 2 servers; 1 gone\n")
    assert result.out.splitlines()[1].split()[-1] == "gone"
    assert [fleet.farm[name].sessions for name in ("edge-1", "edge-2")] == [2, 2]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("server", ["edge-1", "edge-2"])
def test_verified_as_back(fleet: Fleet, server: str) -> None:
    two_servers(fleet)
    on_kill(fleet, "edge-1", lambda: fleet.daemon(server).clock.call_later(0.1, come))

    def come() -> None:
        fleet.daemon(server).connect(client("alice"))

    result = fleet("kill", "alice", "--verify", "1h", "--json")  # ends early, since all are back
    assert (result.status, result.err) == (0, "killed 1 session on 1 of 2 servers; 1 back\n")
    first, second = result.document["servers"]
    (row,) = first["result"]["clients"]
    assert (row["result"], row["verified"]["fate"], row["verified"]["server"]) == ("killed", "back", server)
    assert row["verified"]["after"] >= 0
    assert second["result"] == {"killed": 0, "clients": []}


@pytest.mark.usefixtures("hasty")
def test_verified_as_still_there(fleet: Fleet) -> None:
    two_servers(fleet)
    fleet.daemon("edge-1").kill = len  # type: ignore[method-assign]  # it says so and does nothing
    result = fleet("kill", "alice", "--verify", "200ms")
    assert (result.status, result.err) == (1, "killed 1 session on 1 of 2 servers; 1 still there\n")
    assert result.out.splitlines()[1].endswith("still there")


@pytest.mark.usefixtures("hasty")
def test_a_server_that_cannot_be_looked_at_again(fleet: Fleet) -> None:
    two_servers(fleet)

    def break_down() -> None:
        fleet.farm["edge-1"].faults = Faults(reply=ReplyFault.HANG_UP, command="status")

    on_kill(fleet, "edge-1", break_down)
    result = fleet("kill", "alice", "--verify", "200ms", "--json")
    assert result.status == 4
    server = result.document["servers"][0]
    assert (server["status"], server["result"]["clients"][0]["verified"]) == ("ok", None)
    (warning,) = server["warnings"]
    assert warning.startswith("it could not be looked at again: ")
    assert "; 1 not looked at again\n" in result.err


@pytest.mark.usefixtures("hasty")
def test_nobody_to_look_for(fleet: Fleet) -> None:
    two_servers(fleet)
    result = fleet("kill", "eve", "--verify", "1h")
    assert (result.status, result.err) == (1, "no client 'eve' on 2 servers\n")
    assert [fleet.farm[name].sessions for name in ("edge-1", "edge-2")] == [1, 1]
    assert fleet("kill", "eve", "--verify", "1h", "--ignore-not-found").status == 0


@pytest.mark.usefixtures("hasty")
def test_the_whole_runs_time_counts_the_looks_too(fleet: Fleet) -> None:
    two_servers(fleet)
    result = fleet("kill", "alice", "--verify", "1h", "--timeout", "2s")
    assert result.status == 4
    assert "it could not be looked at again: the " in result.err


@pytest.mark.usefixtures("hasty")
def test_a_server_that_was_not_reached_is_not_looked_at(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    fleet.daemon("edge-1").kill = lambda _instances: 0  # type: ignore[method-assign]  # it left by itself
    result = fleet("kill", "Test-Client", "--verify", "100ms", "--json")
    assert result.status == 4
    assert result.err.startswith("killed 1 session on 1 of 4 servers; 1 gone\n")
    fates = {
        server["name"]: [row["verified"] and row["verified"]["fate"] for row in server["result"]["clients"]]
        for server in result.document["servers"]
        if server["result"] is not None
    }
    assert fates == {"edge-1": [None], "gw/udp": ["gone"], "gw/tcp": []}


def test_a_dry_run_looks_once(fleet: Fleet) -> None:
    two_servers(fleet)
    result = fleet("kill", "alice", "--verify", "1h", "--dry-run")
    assert (result.status, result.out.splitlines()[1].endswith("kill alice")) == (0, True)
    assert [fleet.farm[name].sessions for name in ("edge-1", "edge-2")] == [1, 1]
    assert fleet("kill", "alice", "--verify", "1h", "--list-hosts").out == "edge-1\nedge-2\n"


def test_without_a_place_for_locks_nothing_is_sent(fleet: Fleet) -> None:
    two_servers(fleet)
    everybodys = fleet.folder / "runtime" / "fleet"
    everybodys.mkdir(parents=True)
    everybodys.chmod(0o777)
    fleet.set("XDG_RUNTIME_DIR", str(everybodys.parent))
    result = fleet("kill", "alice", "--verify", "1s")
    assert (result.status, result.out) == (2, "")
    assert [fleet.farm[name].sessions for name in ("edge-1", "edge-2")] == [0, 0]


def test_ctrl_c_while_looking_tells_what_was_done(fleet: Fleet) -> None:
    two_servers(fleet)
    with fleet.spawn("kill", "alice", "--verify", "1h", "--json") as process:
        # The second session of a server is the look.
        deadline = time.monotonic() + TIMEOUT
        while min(fleet.farm[name].sessions for name in ("edge-1", "edge-2")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    document = json.loads(out)
    (row,) = document["servers"][0]["result"]["clients"]
    assert (document["exit_status"], document["servers"][0]["status"], row["result"]) == (130, "ok", "killed")
