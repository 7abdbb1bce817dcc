"""verb, mute and hold: shown, changed, and refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.demo.clock import ManualClock
from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.errors import CommandFailedError, ConnectionLostError, UsageError
from fleet.operations import settings
from fleet.operations.operation import Operation
from operations.peer import BANNER, Peer, perform, scripted

RELEASES = ("2.2.3", "2.4.12", "2.6.14", "2.7.6")


@pytest.mark.parametrize("release", RELEASES)
async def test_verb_and_mute_are_changed(release: str) -> None:
    daemon = SimulatedDaemon(release, verb=3)
    peer = Peer(daemon)
    answer = await perform(settings.change_verb("7"), peer)
    assert (daemon.verb, peer.commands) == (7, ["verb", "verb 7"])
    assert answer.value == settings.SettingChange("verb", 3, 7, "verb level changed")
    assert answer.raw == "SUCCESS: verb level changed\n"
    operation = settings.change_mute("0040")
    changed = (await perform(operation, Peer(daemon))).value
    assert (daemon.mute, changed.before, changed.now) == (40, 0, 40)
    assert [tuple(row) for row in operation.rows(changed)] == [("40", "0", "mute level changed")]
    assert operation.changes


@pytest.mark.parametrize("release", RELEASES)
async def test_the_hold_flag_is_changed_and_shown(release: str) -> None:
    daemon = SimulatedDaemon(release)
    answer = await perform(settings.change_hold(on=True), Peer(daemon))
    assert daemon.hold_flag
    assert daemon.phase is Phase.UP
    assert [tuple(row) for row in settings.change_hold(on=True).rows(answer.value)] == [
        ("on", "off", "hold flag set to ON")
    ]
    shown = (await perform(settings.SHOW_HOLD, Peer(daemon))).value
    assert shown == settings.Hold(hold=True, waiting=False)
    assert [tuple(row) for row in settings.SHOW_HOLD.rows(shown)] == [("on", "no")]
    changed = (await perform(settings.change_hold(on=False), Peer(daemon))).value
    assert (changed.before, changed.now, daemon.hold_flag) == (True, False, False)


@pytest.mark.parametrize("release", RELEASES)
async def test_hold_release(release: str) -> None:
    clock = ManualClock()
    daemon = SimulatedDaemon(release, hold=True, clock=clock)
    answer = await perform(settings.RELEASE_HOLD, Peer(daemon))
    assert answer.value == settings.Release(released=True, answer="hold release succeeded")
    assert [tuple(row) for row in settings.RELEASE_HOLD.rows(answer.value)] == [("released",)]
    clock.advance(1)
    assert daemon.phase is Phase.UP
    answer = await perform(settings.RELEASE_HOLD, Peer(daemon))
    assert [tuple(row) for row in settings.RELEASE_HOLD.rows(answer.value)] == [("was not waiting",)]


async def test_a_hold_that_comes_behind_the_greeting_is_released() -> None:
    answers = {"hold": "SUCCESS: hold=1\n", "hold release": "SUCCESS: hold release succeeded\n"}
    peer = scripted(answers, BANNER + b">HOLD:Waiting for hold release:0\r\n")
    peer.size = len(BANNER)  # the session is open before it reads the >HOLD
    answer = await perform(settings.RELEASE_HOLD, peer)
    assert answer.value == settings.Release(released=True, answer="hold release succeeded")
    assert answer.raw == "SUCCESS: hold release succeeded\n"


@pytest.mark.parametrize("level", ["99", "16", "-1", "foo", "3x", "", " 4", "\u0664", "1e1"])
def test_a_level_that_the_daemon_would_misread(level: str) -> None:
    with pytest.raises(UsageError, match="is not a number that 'verb' takes"):
        settings.change_verb(level)


@pytest.mark.parametrize("count", ["-1", "foo", "", "99999999999"])
def test_a_count_that_the_daemon_would_misread(count: str) -> None:
    with pytest.raises(UsageError, match="is not a number that 'mute' takes"):
        settings.change_mute(count)


async def test_what_the_daemon_says_against_it_is_the_error() -> None:
    peer = scripted({"verb": "SUCCESS: verb=3\n", "verb 4": "ERROR: not today\n"})
    with pytest.raises(CommandFailedError, match="not today"):
        await perform(settings.change_verb("4"), peer)


@pytest.mark.parametrize(
    ("operation", "query", "change"),
    [
        (settings.change_verb("4"), {"verb": "SUCCESS: verb=3\n"}, "verb 4"),
        (settings.change_mute("4"), {"mute": "SUCCESS: mute=3\n"}, "mute 4"),
        (settings.change_hold(on=True), {"hold": "SUCCESS: hold=0\n"}, "hold on"),
        (settings.RELEASE_HOLD, {"hold": "SUCCESS: hold=1\n"}, "hold release"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_lost_answer_is_sent_and_not_confirmed(
    operation: Operation[Any], query: dict[str, str], change: str
) -> None:
    peer = scripted(query, hang_up_at=change)
    with pytest.raises(ConnectionLostError) as caught:
        await perform(operation, peer)
    assert caught.value.sent == change
