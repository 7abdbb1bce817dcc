"""Keeping clients out of a server: whether its daemon can go on afterwards, and what is not cordoned."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.engine import Attempt
from fleet.errors import CommandFailedError, ServerError
from fleet.management.replies import LogLine
from fleet.operations import cordon as room
from fleet.operations.cordon import UNCORDON, cordon, doubt
from operations.peer import BANNER, SERVER, Peer, client, perform, scripted

RELEASES = ("2.4.12", "2.6.14", "2.7.6")
TITLE = "OpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL (OpenSSL)]"
UP = "Initialization Sequence Completed"
RESTART = "SIGUSR1[hard,] received, process restarting"
UID = "UID set to nobody"


def log(*texts: str) -> list[LogLine]:
    return [LogLine(datetime(2026, 11, 22, tzinfo=UTC), "I", text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ((TITLE, UP), None),
        ((TITLE, "GID set to nogroup", UID, UP, "alice/UID set to nobody"), "it has given up its privileges"),
        ((TITLE, "chroot to '/var/empty' and cd to '/' succeeded", UP), "it has given up its privileges"),
        ((TITLE, UID, UP, RESTART, UP), None),
        ((TITLE, UID, UP, RESTART), "it has given up its privileges"),
        ((UID, UP), "it has given up its privileges"),
        ((UP,), "its log does not go back to its start"),
        ((RESTART, UP), None),
        (("alice/10.0.0.1:1 OpenVPN 2.6.14", UP), "its log does not go back to its start"),
        ((), "its log does not go back to its start"),
    ],
)
def test_whether_a_daemon_can_go_on(texts: tuple[str, ...], reason: str | None) -> None:
    found = doubt(log(*texts))
    assert (found is None) == (reason is None)
    assert (found or "").startswith(reason or "")


@pytest.mark.parametrize("release", RELEASES)
async def test_an_empty_server_is_cordoned_and_let_go_on(release: str) -> None:
    daemon = SimulatedDaemon(release)
    peer = Peer(daemon)
    answer = await perform(cordon(force=False), peer)
    assert answer.value.restarted
    assert answer.value.state_before.name == "CONNECTED"
    assert (daemon.phase, daemon.hold_flag) == (Phase.HOLD, True)
    assert peer.commands[-2:] == ["hold on", "signal SIGUSR1"]
    assert [tuple(row) for row in cordon(force=False).rows(answer.value)] == [("CONNECTED", "cordoned")]
    released = await perform(UNCORDON, Peer(daemon))
    assert released.value.released
    assert (released.value.state.name, daemon.hold_flag) == ("CONNECTED", False)
    again = await perform(UNCORDON, Peer(daemon))
    assert not again.value.released
    assert [tuple(row) for row in UNCORDON.rows(again.value)] == [("was not waiting", "CONNECTED")]


async def test_one_that_waits_already_stays_so() -> None:
    daemon = SimulatedDaemon("2.6.14", hold=True)
    daemon.hold_flag = False  # somebody has switched it off, and not released it
    peer = Peer(daemon)
    answer = await perform(cordon(force=False), peer)
    assert (answer.value.restarted, daemon.hold_flag) == (False, True)
    assert peer.commands == ["state", "hold on"]


async def test_clients_are_not_thrown_off() -> None:
    daemon = SimulatedDaemon("2.6.14", clients=[client("alice")])
    peer = Peer(daemon)
    with pytest.raises(CommandFailedError, match="it was not cordoned: 1 client is connected"):
        await perform(cordon(force=True), peer)
    assert not daemon.hold_flag
    assert not any(command.startswith(("hold", "signal")) for command in peer.commands)


async def test_a_server_whose_management_client_admits_users_is_not_cordoned() -> None:
    block = b">CLIENT:CONNECT,0,0\r\n>CLIENT:ENV,common_name=alice\r\n>CLIENT:ENV,END\r\n"
    state = "1795337315,CONNECTED,SUCCESS,10.200.0.1,,,127.0.0.1,21610\nEND\n"
    with pytest.raises(CommandFailedError, match="its management client decides who may connect"):
        await perform(cordon(force=True), scripted({"state": state}, BANNER + block))


async def test_a_daemon_that_dies_is_said() -> None:
    daemon = SimulatedDaemon("2.6.14")
    daemon.fatal_on_restart = "Error: private key password verification failed"
    with pytest.raises(CommandFailedError, match="did not survive it: the daemon ended with a fatal error"):
        await perform(cordon(force=False), Peer(daemon))


async def test_a_daemon_that_does_not_go_into_hold_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HOLD_TIMEOUT", 0.2)
    daemon = SimulatedDaemon("2.6.14")
    daemon.restart = lambda _signal: None  # type: ignore[method-assign]  # it says SUCCESS, and nothing follows
    with pytest.raises(CommandFailedError, match="did not go into hold within"):
        await perform(cordon(force=False), Peer(daemon))


async def test_one_that_waits_for_something_else_after_the_release_is_said() -> None:
    state = ["1795337315,CONNECTING,,,,,,\nEND\n"] * 9
    answers: dict[str, str | list[str]] = {
        "hold": "SUCCESS: hold=1\n",
        "hold off": "SUCCESS: hold flag set to OFF\n",
        "hold release": "SUCCESS: hold release succeeded\n",
        "status 3": "ERROR: The 'status' command is not supported by the current daemon mode\n",
        "state": state,
        "pid": "SUCCESS: pid=1\n",
    }
    attempt = Attempt(SERVER)
    peer = scripted(answers, BANNER + b">HOLD:Waiting for hold release:0\r\n")
    answer = await perform(UNCORDON, peer, attempt=attempt, reply_timeout=0.5)
    assert (answer.value.released, answer.value.state.name) == (True, "CONNECTING")
    assert attempt.warnings == ["the daemon is not up yet: CONNECTING; fleet state shows when it is"]


async def test_a_daemon_that_dies_of_the_release_is_said() -> None:
    answers: dict[str, str | list[str]] = {
        "hold": "SUCCESS: hold=1\n",
        "hold off": "SUCCESS: hold flag set to OFF\n",
        "hold release": "SUCCESS: hold release succeeded\n",
    }
    peer = scripted(answers, BANNER + b">HOLD:Waiting for hold release:0\r\n", hang_up_at="status 3")
    with pytest.raises(ServerError, match="the daemon did not survive it"):
        await perform(UNCORDON, peer)
