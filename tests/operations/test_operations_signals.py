"""signal: thrown where it does what it says, refused where it would do nothing or harm."""

from __future__ import annotations

import pytest

from fleet.demo.clock import ManualClock
from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.engine import Attempt
from fleet.errors import CommandFailedError, ProtocolError, UsageError
from fleet.operations.signals import throw
from operations.peer import BANNER, SERVER, Peer, client, perform, scripted

RELEASES = ("2.2.3", "2.4.12", "2.6.14", "2.7.6")
STATE = "1795337315,CONNECTED,SUCCESS,10.200.0.1,,,127.0.0.1,21610\nEND\n"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("name", "phase"),
    [("SIGUSR1", Phase.PAUSE), ("SIGHUP", Phase.PAUSE), ("SIGUSR2", Phase.UP), ("SIGTERM", Phase.EXITED)],
)
async def test_a_signal_is_thrown(release: str, name: str, phase: Phase) -> None:
    clock = ManualClock()
    daemon = SimulatedDaemon(release, clients=[client("a")], clock=clock)
    peer = Peer(daemon)
    operation = throw(name)
    answer = await perform(operation, peer)
    # A daemon that waits would be ended by SIGUSR2, so a `pid` shows first that this one does not.
    assert peer.commands == ["state", *(["pid"] if name == "SIGUSR2" else []), f"signal {name}"]
    assert (answer.value.signal, answer.value.state_before.name) == (name, "CONNECTED")
    assert answer.raw == f"SUCCESS: signal {name} thrown\n"
    assert [tuple(row) for row in operation.rows(answer.value)] == [(name, "CONNECTED", "thrown")]
    clock.advance(0.1)
    assert daemon.phase is phase


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("SIGUSR1", "in hold and ignores SIGUSR1; nothing was sent", "bring it up with fleet hold release"),
        ("SIGHUP", "in hold and ignores SIGHUP; nothing was sent", "bring it up with fleet hold release"),
        ("SIGUSR2", "in hold, where SIGUSR2 ends it; nothing was sent", "send SIGTERM if it is to end"),
    ],
)
async def test_what_is_refused_in_hold(release: str, name: str, reason: str, hint: str) -> None:
    daemon = SimulatedDaemon(release, hold=True)
    peer = Peer(daemon)
    with pytest.raises(CommandFailedError, match=reason) as caught:
        await perform(throw(name), peer)
    assert caught.value.hint == hint
    assert peer.commands == ["state"]
    assert daemon.phase is Phase.HOLD


async def test_sigterm_ends_a_daemon_in_hold() -> None:
    clock = ManualClock()
    daemon = SimulatedDaemon(hold=True, clock=clock)
    await perform(throw("SIGTERM"), Peer(daemon))
    clock.advance(0.1)
    assert daemon.phase is Phase.EXITED


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGHUP"])
async def test_no_second_restart_in_the_pause_of_the_first(name: str) -> None:
    daemon = SimulatedDaemon(clock=ManualClock())
    daemon.restart("SIGUSR1")
    peer = Peer(daemon)
    with pytest.raises(CommandFailedError, match=f"restarting already; {name} was not sent"):
        await perform(throw(name), peer)
    assert peer.commands == ["state"]


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGHUP"])
async def test_no_restart_of_a_daemon_that_waits_for_a_password(name: str) -> None:
    greeting = BANNER + b">PASSWORD:Need 'Auth' username/password\r\n"
    peer = scripted({"state": STATE}, greeting)
    with pytest.raises(CommandFailedError, match=f"waits for a password, and {name} ends it there; nothing was sent"):
        await perform(throw(name), peer)
    assert peer.written == [b"state\n"]


@pytest.mark.parametrize("name", ["BOGUS", "sigusr1", "SIGINT", "", "SIGUSR1 x"])
def test_signals_that_openvpn_does_not_take(name: str) -> None:
    with pytest.raises(UsageError, match="is not a signal that OpenVPN takes"):
        throw(name)


async def test_a_signal_that_is_confirmed_in_other_words_was_thrown() -> None:
    attempt = Attempt(SERVER)
    peer = scripted({"state": STATE, "signal SIGUSR1": "SUCCESS: as you wish\n"})
    with pytest.raises(ProtocolError, match="is not one that OpenVPN gives"):
        await perform(throw("SIGUSR1"), peer, attempt=attempt)
    assert (attempt.sent, attempt.confirmed) == (None, ["signal SIGUSR1"])
