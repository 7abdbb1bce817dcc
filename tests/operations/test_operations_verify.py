"""What became of killed clients: gone, back and where, or still there (protocol-facts 11.3)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.demo.daemon import NEVER, Reconnect, SimulatedDaemon
from fleet.engine import Attempt
from fleet.management.status import Client
from fleet.operations import verify
from fleet.operations.verify import Fate, Judge, Look, Verified, watch
from operations.peer import SERVER, Peer, client, perform

EPOCH = datetime(2026, 11, 22, 8, tzinfo=UTC)


def row(number: int | None, name: str | None = "alice", address: str = "203.0.113.9:1", **more: Any) -> Client:
    more.setdefault("connected_since", EPOCH)
    return Client(common_name=name, real_address=address, client_id=number, **more)


def look(*clients: Client, server: str = "edge-1", at: float = 0.0, epoch: datetime = EPOCH) -> Look:
    return Look(server, at, epoch, EPOCH + timedelta(seconds=100 + at), clients)


def judge_of(killed: Client, *others: Client, **more: Any) -> Judge:
    judge = Judge(**more)
    judge.before(look(killed, *others), [killed])
    return judge


def test_nobody_has_looked_yet() -> None:
    victim = row(5)
    judge = judge_of(victim)
    assert (judge.verdict("edge-1", victim), judge.all_back) == (None, False)
    judge.saw(look(server="edge-2"))
    assert judge.verdict("edge-1", victim) is None


def test_gone_and_still_there_are_what_the_last_look_shows() -> None:
    victim = row(5)
    judge = judge_of(victim, row(6, "bob"))
    judge.saw(look(victim, at=1.0))
    assert judge.verdict("edge-1", victim) == Verified(Fate.STILL_THERE)
    assert judge.lingers_until("edge-1") == verify.LINGER
    judge.saw(look(row(6, "bob"), at=2.0))
    assert judge.verdict("edge-1", victim) == Verified(Fate.GONE)
    assert judge.lingers_until("edge-1") == 0
    judge.saw(look(victim, at=3.0))
    assert judge.verdict("edge-1", victim) == Verified(Fate.STILL_THERE)


def test_back_under_another_id_whether_the_old_row_lingers_or_not() -> None:
    victim = row(5)
    for rest in ((), (victim,)):
        judge = judge_of(victim)
        judge.saw(look(*rest, row(7, connected_since=EPOCH + timedelta(seconds=103)), at=4.0))
        assert judge.verdict("edge-1", victim) == Verified(Fate.BACK, "edge-1", 3.0)
        assert judge.all_back
        judge.saw(look(at=5.0))
        assert judge.verdict("edge-1", victim) == Verified(Fate.BACK, "edge-1", 3.0)


def test_back_on_another_server() -> None:
    victim = row(5)
    judge = judge_of(victim)
    judge.before(look(row(0, "carol"), server="edge-2"), [])
    judge.saw(look())
    judge.saw(look(row(0, "carol"), row(5), server="edge-2", at=2.0))
    verdict = judge.verdict("edge-1", victim)
    assert verdict is not None
    assert (verdict.fate, verdict.server) == (Fate.BACK, "edge-2")


def test_another_session_of_the_name_was_there_before() -> None:
    victim, other = row(5), row(6)
    judge = judge_of(victim, other)
    judge.before(look(row(9), server="edge-2"), [])
    judge.saw(look(other))
    judge.saw(look(row(9), server="edge-2"))
    assert judge.verdict("edge-1", victim) == Verified(Fate.GONE)


def test_the_same_id_in_another_epoch_is_another_session() -> None:
    victim = row(5)
    judge = judge_of(victim)
    judge.saw(look(row(5, "bob"), epoch=EPOCH + timedelta(seconds=50)))
    assert judge.verdict("edge-1", victim) == Verified(Fate.GONE)
    judge.saw(look(row(6), epoch=EPOCH + timedelta(seconds=50)))
    verdict = judge.verdict("edge-1", victim)
    assert verdict is not None
    assert verdict.fate is Fate.BACK


def test_a_handshake_is_nobody_until_it_has_its_name() -> None:
    victim = row(5)
    judge = judge_of(victim)
    judge.saw(look(row(6, None)))
    assert judge.verdict("edge-1", victim) == Verified(Fate.GONE)
    judge.saw(look(row(6)))
    assert judge.all_back


def test_by_username_another_with_the_same_certificate_is_not_back() -> None:
    victim = row(5, "shared", username="ann")
    judge = judge_of(victim, name=lambda each: each.username)
    judge.saw(look(row(6, "shared", username="bob")))
    assert judge.verdict("edge-1", victim) == Verified(Fate.GONE)
    judge.saw(look(row(7, "shared", username="ann")))
    assert judge.all_back


def test_one_new_session_is_the_return_of_one_and_of_the_likeliest() -> None:
    near, far = row(5, address="203.0.113.1:1"), row(6, address="203.0.113.2:1")
    judge = Judge()
    judge.before(look(near, far), [near, far])
    judge.saw(look(row(7, address="203.0.113.2:9")))
    assert judge.verdict("edge-1", near) == Verified(Fate.GONE)
    verdict = judge.verdict("edge-1", far)
    assert verdict is not None
    assert verdict.fate is Fate.BACK


def test_without_client_ids_a_session_is_told_by_its_address_and_time() -> None:
    victim = row(None)
    judge = judge_of(victim)
    judge.saw(look(victim))
    assert judge.verdict("edge-1", victim) == Verified(Fate.STILL_THERE)
    judge.saw(look(row(None, address="203.0.113.9:2")))
    assert judge.all_back


def test_a_client_without_any_name_can_only_be_gone() -> None:
    victim = row(5, None)
    judge = judge_of(victim)
    judge.saw(look(row(6, None)))
    assert judge.verdict("edge-1", victim) == Verified(Fate.GONE)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.lists(st.integers(0, 6), unique=True)), max_size=8))
def test_no_new_session_is_the_return_of_two(seen: list[tuple[str, list[int]]]) -> None:
    """However the looks come: no more are back than there are new sessions, and nobody is judged unseen."""
    victims = [row(0), row(1)]
    judge = Judge()
    judge.before(look(*victims, server="a"), victims)
    judge.before(look(server="b"), [])
    for server, numbers in seen:
        judge.saw(look(*(row(number) for number in numbers), server=server))
    fates = [judge.verdict("a", victim) for victim in victims]
    new = {(server, number) for server, numbers in seen for number in numbers} - {("a", 0), ("a", 1)}
    assert sum(fate is not None and fate.fate is Fate.BACK for fate in fates) == min(len(new), 2)
    if not new and not any(server == "a" for server, _numbers in seen):
        assert fates == [None, None]


@pytest.mark.parametrize(
    ("verified", "words"),
    [
        (Verified(Fate.GONE), "gone"),
        (Verified(Fate.STILL_THERE), "still there"),
        (Verified(Fate.BACK, "edge-2", 2.6), "back on edge-2 after 3 s"),
    ],
)
def test_a_fate_in_words(verified: Verified, words: str) -> None:
    assert str(verified) == words


# the looks themselves


async def before(one: SimulatedDaemon, *names: str) -> Judge:
    judge = Judge()
    seen = (await perform(watch(Judge(), 0.0), Peer(one))).value
    judge.before(seen, [each for each in seen.clients if each.common_name in names])
    return judge


async def test_one_look_where_the_time_is_over() -> None:
    one = SimulatedDaemon(clients=[client("a"), client("b")], reconnect=NEVER)
    judge = await before(one, "a")
    one.kill(one.instances[:1])
    peer = Peer(one)
    seen = (await perform(watch(judge, 0.0), peer)).value
    assert [each.common_name for each in seen.clients] == ["b"]
    assert peer.commands == ["state", "status 3", "pid"]


async def test_the_looks_end_when_everybody_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "LOOK_INTERVAL", 0.02)
    one = SimulatedDaemon(clients=[client("a")], reconnect=Reconnect(udp_kill=0.1))
    judge = await before(one, "a")
    one.kill(one.instances)
    attempt = Attempt(SERVER)
    await perform(watch(judge, asyncio.get_running_loop().time() + 3600), Peer(one), attempt=attempt)
    assert judge.all_back
    assert attempt.phase == "waiting for the reply to state, status 3"


async def test_a_row_that_only_lingers_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "LOOK_INTERVAL", 0.02)
    one = SimulatedDaemon(clients=[client("a")], reconnect=Reconnect(client_kill=None, linger=0.2))
    judge = await before(one, "a")
    one.dismiss(one.instances[0], "RESTART")
    peer = Peer(one)
    assert (await perform(watch(judge, 0.0), peer)).value.clients == ()
    assert len(peer.written) > 1


async def test_a_restart_meanwhile_has_nobody() -> None:
    one = SimulatedDaemon(clients=[client("a")], reconnect=NEVER)
    judge = await before(one, "a")
    one.restart("SIGUSR1")
    assert (await perform(watch(judge, 0.0), Peer(one))).value.clients == ()
