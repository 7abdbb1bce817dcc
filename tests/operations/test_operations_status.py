"""status, clients and routes: several replies of one daemon made one answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fleet.demo.clock import ManualClock
from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.engine import Attempt
from fleet.errors import CommandFailedError, ProtocolError, UsageError
from fleet.management.status import Client, Status, parse_status
from fleet.operations import status
from fleet.operations.operation import Operation
from operations.peer import SERVER, Peer, client, perform, scripted
from support.expected import reply_to
from support.transcripts import VERSIONS, transcript

STATE = "1795337315,CONNECTED,SUCCESS,10.200.0.1,,,127.0.0.1,21610\nEND\n"
LOAD = "SUCCESS: nclients=2,bytesin=30,bytesout=40\n"
VERSION = "OpenVPN Version: OpenVPN 2.6.14 x86_64\nManagement Version: 5\nEND\n"
HEADER = "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tBytes Received\tBytes Sent\n"
NO_TUNNEL = "ERROR: The 'status' command is not supported by the current daemon mode\n"


def recorded(version: str) -> dict[str, str | list[str]]:
    """What a real daemon answered to the commands of `status`, each from one of its recordings."""
    basic, names = transcript(version, "02_basic_0clients"), transcript(version, "20_names_udp4")
    blocks = {"state": reply_to(basic, "state"), "status 3": reply_to(names, "status 3"),
              "version": reply_to(basic, "version")}  # fmt: skip
    return {
        **{name: "\n".join([*lines, "END", ""]) for name, lines in blocks.items()},
        "load-stats": f"SUCCESS: {reply_to(basic, 'load-stats')[0]}\n",
        "pid": "SUCCESS: pid=1\n",
    }


@pytest.mark.parametrize("version", VERSIONS)
async def test_one_answer_from_the_replies_of_a_real_daemon(version: str) -> None:
    peer = scripted(recorded(version))
    answer = await perform(status.STATUS, peer)
    value = answer.value
    assert peer.written == [b"state\nstatus 3\nload-stats\nversion\n"]
    assert (value.version, value.nclients, value.bytes_in, value.bytes_out) == (version, 0, 0, 0)
    assert value.state is not None
    assert value.state.name == "CONNECTED"
    assert value.title is not None
    assert value.title.startswith(f"OpenVPN {version} ")
    assert "Doe, John" in {each.common_name for each in value.clients}
    assert value.routes
    assert "Max bcast/mcast queue length" in value.global_stats
    assert not value.hold
    assert answer.raw.startswith("TITLE\tOpenVPN ")
    assert answer.raw.endswith("\nEND\n")


@pytest.mark.parametrize("release", ["2.2.3", "2.4.12", "2.6.14", "2.7.6"])
async def test_the_row_of_a_simulated_daemon(release: str) -> None:
    clock = ManualClock()
    clients = [client("a", bytes_received=7, bytes_sent=11), client("x", handshaking=True)]
    peer = Peer(SimulatedDaemon(release, clients=clients, clock=clock, uptime=60.0))
    answer = await perform(status.STATUS, peer)
    (row,) = status.STATUS.rows(answer.value)
    since = datetime.fromtimestamp(clock.time() - 60, UTC)
    now = datetime.fromtimestamp(clock.time(), UTC)
    assert tuple(row) == ("CONNECTED", since, 1, 7, 11, release, "10.8.0.1", now)
    assert [each.handshaking for each in answer.value.clients] == [False, True]


async def test_hold_has_no_clients_and_no_counters() -> None:
    attempt = Attempt(SERVER)
    answer = await perform(status.STATUS, Peer(SimulatedDaemon(hold=True, clock=ManualClock())), attempt=attempt)
    value = answer.value
    assert value.hold
    assert (value.nclients, value.bytes_in, value.time, value.title) == (None, None, None, None)
    assert next(iter(status.STATUS.rows(value)))[:6] == ("HOLD", None, None, None, None, "2.6.14")
    assert attempt.warnings == []


@pytest.mark.parametrize("release", ["2.2.3", "2.4.12", "2.6.14", "2.7.6"])
async def test_the_pause_of_a_restart_is_shown_as_it_is(release: str) -> None:
    daemon = SimulatedDaemon(release, clients=[client("a")], clock=ManualClock())
    daemon.restart("SIGUSR1")
    value = (await perform(status.STATUS, Peer(daemon))).value
    assert value.state is not None
    assert (value.state.name, value.nclients, value.clients, value.hold) == ("RECONNECTING", None, (), False)
    assert next(iter(status.STATUS.rows(value)))[0] == "RECONNECTING"


async def test_a_client_daemon_has_statistics() -> None:
    value = (await perform(status.STATUS, Peer(SimulatedDaemon("2.6.14", client_mode=True)))).value
    assert value.title == "OpenVPN STATISTICS"
    assert value.statistics["TUN/TAP read bytes"] == "0"
    assert value.clients == ()


def totals(values: list[status.ServerStatus]) -> tuple[object, ...]:
    assert status.STATUS.totals is not None
    return tuple(status.STATUS.totals(values))


async def test_totals_leave_out_what_is_not_known() -> None:
    up = (await perform(status.STATUS, Peer(SimulatedDaemon(clients=[client("a", bytes_sent=5)])))).value
    held = (await perform(status.STATUS, Peer(SimulatedDaemon(hold=True)))).value
    assert totals([up, held, up])[2:5] == (2, 0, 10)
    assert totals([held, held])[2:5] == (None, None, None)


def one_bad_row(count: int) -> str:
    rows = "CLIENT_LIST\tshort\t1.2.3.4:5\n" * count
    return f"TITLE\tOpenVPN 2.6.14\n{HEADER}CLIENT_LIST\tgood\t1.2.3.4:6\t10.8.0.2\t1\t2\n{rows}END\n"


@pytest.mark.parametrize("operation", [status.STATUS, status.CLIENTS])
async def test_short_rows_are_warned_of_and_never_shifted(operation: Operation[Status]) -> None:
    attempt = Attempt(SERVER)
    peer = scripted({"state": STATE, "status 3": one_bad_row(1), "load-stats": LOAD, "version": VERSION,
                     "pid": "SUCCESS: pid=1\n"})  # fmt: skip
    value = (await perform(operation, peer, attempt=attempt)).value
    assert [each.common_name for each in value.clients] == ["good"]
    assert len(value.problems) == 1
    assert attempt.warnings == [value.problems[0]]
    assert "CLIENT_LIST\tshort" in attempt.warnings[0]


async def test_many_bad_rows_are_counted_and_long_ones_cut() -> None:
    problems = tuple(f"{number}" + "x" * 1000 for number in range(1000))
    told = status.problem_warnings(problems)
    assert len(told) == 6
    assert max(map(len, told)) < 310
    assert told[-1] == "995 more like that; --json has them all"
    assert status.problem_warnings(("one",)) == ("one",)
    assert status.problem_warnings(()) == ()


async def test_an_error_of_one_of_the_commands_is_the_error_of_the_server() -> None:
    peer = scripted({"state": STATE, "status 3": "ERROR: not today\n", "load-stats": LOAD, "version": VERSION})
    with pytest.raises(CommandFailedError, match="not today"):
        await perform(status.STATUS, peer)


async def test_a_status_that_lost_its_end_is_no_status() -> None:
    peer = scripted({"state": STATE, "status 3": HEADER, "load-stats": LOAD, "version": VERSION})
    with pytest.raises(ProtocolError, match="broke off without END") as caught:
        await perform(status.STATUS, peer)
    assert caught.value.hint is not None
    assert "fleet status --format-version 1 -o raw" in caught.value.hint


# clients and routes


async def test_who_is_connected() -> None:
    clients = [client("a", username="ann"), client("x", handshaking=True), client("UNDEF", username="bob")]
    answer = await perform(status.CLIENTS, Peer(SimulatedDaemon("2.6.14", clients=clients)))
    rows = [list(row) for row in status.CLIENTS.rows(answer.value)]
    assert [(row[0], row[6]) for row in rows] == [("a", "ann"), ("(handshaking)", None), (None, "bob")]
    assert {"time", "clients", "problems"} == set(status.CLIENTS.result(answer.value))  # type: ignore[call-overload]  # a dict


async def test_routes_with_networks_and_cached_ones() -> None:
    clients = [client("a", routes=("10.55.0.0/24", "10.8.0.7C")), client("b")]
    answer = await perform(status.ROUTES, Peer(SimulatedDaemon("2.7.6", clients=clients)))
    rows = [(row[0], row[1], row[-1]) for row in status.ROUTES.rows(answer.value)]
    assert rows == [
        ("10.8.0.2", "a", False), ("10.55.0.0/24", "a", False), ("10.8.0.7", "a", True), ("10.8.0.3", "b", False),
    ]  # fmt: skip
    assert {"time", "routes", "problems"} == set(status.ROUTES.result(answer.value))  # type: ignore[call-overload]  # a dict


async def test_totals_of_clients_and_routes() -> None:
    two = Status("", clients=(Client("a", bytes_received=1, bytes_sent=2), Client("b", bytes_received=3)))
    assert status.CLIENTS.totals is not None
    assert tuple(status.CLIENTS.totals([two, two]))[:5] == ("4 clients", None, None, 8, 4)
    one = Status("", clients=(Client("a"),))
    assert tuple(status.CLIENTS.totals([one, Status("")]))[:5] == ("1 client", None, None, None, None)
    assert status.ROUTES.totals is not None
    assert next(iter(status.ROUTES.totals([Status("")]))) == "0 routes"


async def test_nobody_is_connected_in_hold_and_that_is_said() -> None:
    attempt = Attempt(SERVER)
    answer = await perform(status.CLIENTS, Peer(SimulatedDaemon(hold=True)), attempt=attempt)
    assert answer.value.clients == ()
    assert attempt.warnings == ["the daemon is in hold: nobody can be connected; fleet hold release brings it up"]


async def test_a_restart_is_waited_through() -> None:
    daemon = SimulatedDaemon("2.6.14", clients=[client("a")])
    daemon.release = replace(daemon.release, restart_pause=0.05)
    daemon.restart("SIGUSR1")
    peer = Peer(daemon)
    answer = await perform(status.CLIENTS, peer)
    assert daemon.phase is Phase.UP
    assert answer.value.title.startswith("OpenVPN 2.6.14")
    assert len(peer.written) == 2


async def test_a_restart_that_does_not_end_is_given_up() -> None:
    daemon = SimulatedDaemon("2.6.14", clock=ManualClock())
    daemon.restart("SIGUSR1")
    with pytest.raises(CommandFailedError, match=r"its tunnel was not up within 0\.7 s$") as caught:
        await perform(status.CLIENTS, Peer(daemon), reply_timeout=0.7)
    assert caught.value.hint is not None
    assert "fleet state" in caught.value.hint


async def test_a_daemon_that_goes_into_hold_meanwhile_is_not_waited_for() -> None:
    daemon = SimulatedDaemon("2.6.14", clock=ManualClock())
    daemon.restart("SIGUSR1")

    def into_hold(_data: bytes) -> None:
        if len(peer.written) == 1:
            daemon.phase = Phase.HOLD
            daemon.notify(daemon.hold_line())

    peer = Peer(daemon, into_hold)
    answer = await perform(status.CLIENTS, peer)
    assert answer.value.clients == ()


# the daemon's own text


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_the_daemons_own_text(version: int) -> None:
    operation = status.raw_status(version)
    peer = Peer(SimulatedDaemon("2.4.12", clients=[client("a")], clock=ManualClock()))
    answer = await perform(operation, peer)
    assert answer.raw == answer.value == await perform_raw(version)
    assert list(operation.rows(answer.value)) == []
    assert [each.common_name for each in parse_status(answer.raw.split("\n")).clients] == ["a"]


async def perform_raw(version: int) -> str:
    daemon = SimulatedDaemon("2.4.12", clients=[client("a")], clock=ManualClock())
    return "".join(f"{line}\n" for line in _status(daemon, version))


def _status(daemon: SimulatedDaemon, version: int) -> list[str]:
    from fleet.demo.management import ManagementSession  # noqa: PLC0415 - the daemon's own words, without fleet

    session = ManagementSession(daemon)
    session.take()
    data = b"".join(answer.data for answer in session.receive(f"status {version}\n".encode()))
    return data.decode().split("\r\n")[:-1]


async def test_text_that_fleet_cannot_read_is_shown_all_the_same() -> None:
    answer = await perform(status.raw_status(1), scripted({"status 1": "a new format\nEND\n"}))
    assert answer.raw == "a new format\nEND\n"


async def test_there_is_no_text_in_hold() -> None:
    with pytest.raises(CommandFailedError, match="not supported by the current daemon mode"):
        await perform(status.raw_status(3), Peer(SimulatedDaemon(hold=True)))


@pytest.mark.parametrize("version", [0, 4, -1])
def test_there_are_three_formats(version: int) -> None:
    with pytest.raises(UsageError, match="is not a status format"):
        status.raw_status(version)


# saved ones


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["status 1", "status 2", "status 3"])
def test_a_saved_status_is_counted_from_its_rows(version: str, command: str) -> None:
    lines = reply_to(transcript(version, "20_names_udp4"), command)
    value = status.saved_status(parse_status(lines))
    established = [each for each in value.clients if not each.handshaking]
    assert value.nclients == len(established) > 10
    assert value.bytes_in == sum(each.bytes_received or 0 for each in value.clients)
    assert value.state is None
    assert value.version == (None if command == "status 1" else version)
    assert next(iter(status.STATUS.rows(value)))[:2] == (None, None)


def test_a_saved_status_of_a_client_daemon_counts_nobody() -> None:
    value = status.saved_status(parse_status(["OpenVPN STATISTICS", "Updated,x", "TUN/TAP read bytes,5", "END"]))
    assert (value.nclients, value.bytes_in, value.statistics) == (None, None, {"TUN/TAP read bytes": "5"})
