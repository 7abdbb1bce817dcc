"""A setting for a time: what is kept of each daemon, and what is put back, left or found as it was."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.demo.daemon import SimulatedDaemon
from fleet.engine import Attempt
from fleet.errors import ConnectionLostError
from fleet.operations.temporary import HOLD, MUTE, VERB, PutBack, Setting, Temporary, put_back, repair, set_for_a_time
from operations.peer import SERVER, Peer, perform, scripted


def rows(change: Temporary[Any], setting: Setting[Any] = VERB) -> list[str]:
    (row,) = set_for_a_time(setting, change.now).rows(change)
    return [str(cell) for cell in row]


@pytest.mark.parametrize("release", ["2.2.3", "2.4.12", "2.6.14", "2.7.6"])
async def test_each_daemon_gets_its_own_value_back(release: str) -> None:
    daemon = SimulatedDaemon(release, verb=4)
    operation = set_for_a_time(VERB, 7)
    assert (operation.changes, operation.sends) == (True, ("verb 7",))
    changed = (await perform(operation, Peer(daemon))).value
    assert changed == Temporary("verb", 4, 7, "verb level changed")
    assert (daemon.verb, rows(changed)) == (7, ["7", "4", "-"])
    peer = Peer(daemon)
    answer = await perform(put_back(VERB, {"edge-1": changed}), peer)
    assert (daemon.verb, peer.commands) == (4, ["verb", "verb 4"])
    assert answer.value.put_back is PutBack.DONE
    assert rows(answer.value) == ["7", "4", "done"]
    assert answer.raw == "SUCCESS: verb level changed\n"


async def test_the_daemons_own_words_tell_the_former_value() -> None:
    daemon = SimulatedDaemon("2.6.14", verb=4)
    answer = await perform(set_for_a_time(VERB, 7), Peer(daemon))
    assert answer.raw == "SUCCESS: verb=4\nSUCCESS: verb level changed\n"
    assert (await perform(set_for_a_time(VERB, 7), Peer(daemon))).raw == "SUCCESS: verb=7\n"
    owed = {"edge-1": answer.value}
    daemon.verb = 9
    assert (await perform(put_back(VERB, owed), Peer(daemon))).raw == "SUCCESS: verb=9\n"
    daemon.verb = 4
    assert (await perform(put_back(VERB, owed), Peer(daemon))).raw == "SUCCESS: verb=4\n"


async def test_a_daemon_that_has_the_value_is_told_nothing() -> None:
    peer = Peer(SimulatedDaemon("2.6.14"))
    answer = await perform(set_for_a_time(MUTE, 0), peer)
    assert peer.commands == ["mute"]
    assert answer.value == Temporary("mute", 0, 0, None)


async def test_what_a_sighup_has_reset_is_told_nothing() -> None:
    daemon = SimulatedDaemon("2.6.14", verb=4)
    changed = (await perform(set_for_a_time(VERB, 7), Peer(daemon))).value
    daemon.verb = 4
    peer = Peer(daemon)
    answer = await perform(put_back(VERB, {"edge-1": changed}), peer)
    assert peer.commands == ["verb"]
    assert (answer.value.put_back, answer.value.found) == (PutBack.ALREADY, 4)
    assert rows(answer.value)[-1] == "was already"


async def test_what_somebody_else_has_set_is_left_and_said() -> None:
    daemon = SimulatedDaemon("2.6.14", verb=4)
    changed = (await perform(set_for_a_time(VERB, 7), Peer(daemon))).value
    daemon.verb = 9
    attempt = Attempt(SERVER)
    answer = await perform(put_back(VERB, {"edge-1": changed}), Peer(daemon), attempt=attempt)
    assert (daemon.verb, answer.value.put_back, answer.value.found) == (9, PutBack.LEFT, 9)
    assert rows(answer.value)[-1] == "left at 9"
    assert attempt.warnings == ["somebody has set verb 9 meanwhile, so it was left; before it was 4"]


async def test_hold_is_put_back_and_a_daemon_that_waits_is_said() -> None:
    daemon = SimulatedDaemon("2.6.14")
    changed = (await perform(set_for_a_time(HOLD, value=True), Peer(daemon))).value
    assert daemon.hold_flag
    assert rows(changed, HOLD) == ["on", "off", "-"]
    daemon.restart("SIGUSR1")
    attempt = Attempt(SERVER)
    answer = await perform(put_back(HOLD, {"edge-1": changed}), Peer(daemon), attempt=attempt)
    assert not daemon.hold_flag
    assert answer.value.put_back is PutBack.DONE
    assert attempt.warnings == ["the daemon is in hold, and stays there until it is told: fleet hold release"]


async def test_of_a_lost_answer_the_former_value_is_known() -> None:
    peer = scripted({"verb": "SUCCESS: verb=4\n"}, hang_up_at="verb 7")
    attempt = Attempt(SERVER)
    with pytest.raises(ConnectionLostError):
        await perform(set_for_a_time(VERB, 7), peer, attempt=attempt)
    assert attempt.partial.value == Temporary("verb", 4, 7, None)
    assert attempt.partial.raw == "SUCCESS: verb=4\n"
    assert attempt.sent == "verb 7"


def test_what_repairs_it() -> None:
    assert repair(VERB, Temporary("verb", 4, 7, "")) == "fleet verb 4"
    assert repair(HOLD, Temporary("hold", False, True, "")) == "fleet hold off"
