"""Followers of simulated daemons on plain sockets: what is shown, what survives a loss, what is put back."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleet import session
from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.serve import Faults, ManagementServer, ReplyFault
from fleet.engine import Attempt
from fleet.errors import ServerError, UsageError
from fleet.inventory.model import PasswordFile, Server
from fleet.management.notifications import (
    ClientNotification,
    FatalNotification,
    LogNotification,
    Notification,
    StateNotification,
)
from fleet.management.replies import LogLine
from fleet.operations import feeds, follow
from fleet.operations.conversation import Access, Conversation, converse
from fleet.operations.feeds import EventFeed, Feed, StateFeed
from fleet.operations.follow import Follower, backoff
from fleet.operations.log_follow import LogFeed, LogFilter, begin_of_session, check_verb, parse_levels
from fleet.operations.messages import Event, Gap, Message
from fleet.transport import Transport
from support.farm import Listen

REPLY_TIMEOUT = 0.4


@dataclass
class Recorder:
    """A sink that keeps everything."""

    events: list[Event] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def put(self, event: Event) -> None:
        await self.open.wait()
        self.events.append(event)

    async def room(self) -> None:
        await self.open.wait()

    def attached(self, server: str) -> None:
        self.told.append(f"+ {server}")

    def detached(self, server: str, error: ServerError | None, *, final: bool) -> None:
        self.told.append(f"- {server} {'stalled' if error is None else error.code}{' final' if final else ''}")

    def warned(self, server: str, text: str) -> None:
        self.told.append(f"! {server} {text}")

    def left_changed(self, server: str, text: str) -> None:
        self.told.append(f"!! {server} {text}")

    @property
    def notifications(self) -> list[Notification]:
        return [event.notification for event in self.events if isinstance(event, Message)]

    @property
    def texts(self) -> list[str]:
        """Texts of the log lines that no management client caused, and `GAP` for gaps."""
        found = []
        for event in self.events:
            if isinstance(event, Gap):
                found.append("GAP")
            elif isinstance(event.notification, LogNotification):
                text = event.notification.entry.text
                found += [] if text.startswith("MANAGEMENT: ") else [text]
        return found


async def until(condition: Callable[[], object]) -> None:
    """Waits for what the other side does; the test's own timeout is the limit."""
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RETRY_FIRST", 0.02)
    monkeypatch.setattr(follow, "RETRY_LONGEST", 0.05)
    monkeypatch.setattr(follow, "RELEASE_PAUSE", 0.02)


class Run:
    """One server with a follower."""

    def __init__(self, server: ManagementServer, recorder: Recorder, follower: Follower) -> None:
        self.server = server
        self.daemon = server.daemon
        self.sink = recorder
        self.follower = follower
        self.task = asyncio.create_task(follower.follow())

    def hang_up(self) -> None:
        """The session is lost, the daemon goes on."""
        session = self.daemon._session
        assert session is not None
        session.end()

    def freeze(self) -> None:
        """The daemon hangs: it reads nothing more in this session."""
        session: Any = self.daemon._session
        session.receive = lambda _data: []

    @property
    def is_attached(self) -> bool:
        return self.daemon._session is not None

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


Start = Callable[..., AbstractAsyncContextManager[Run]]


@pytest.fixture
def start(listen: Listen, tmp_path: Path) -> Start:
    @asynccontextmanager
    async def starting(
        daemon: SimulatedDaemon,
        feed: Feed,
        *,
        password: str | None = None,
        faults: Faults | None = None,
        **settings: object,
    ) -> AsyncIterator[Run]:
        management = ManagementServer(daemon, faults=faults)
        endpoint = await listen(management)
        source = None
        if password is not None:
            source = PasswordFile(tmp_path / "password")
            source.path.touch(mode=0o600)
            source.path.write_text(password + "\n")
        server = Server("edge-1", "edge-1", None, endpoint, source)
        recorder = Recorder()
        async with Transport([server]) as transport:
            connect = partial(converse, Access(transport, REPLY_TIMEOUT))
            run = Run(
                management,
                recorder,
                Follower(Attempt(server), feed, recorder, connect=connect, **settings),  # type: ignore[arg-type]
            )
            try:
                yield run
            finally:
                await run.stop()

    return starting


def log_feed(verb: int | None = None, tail: int | None = None, *, live: bool = True) -> LogFeed:
    return LogFeed(LogFilter(tail=tail), verb=verb, live=live)


# --- log lines


async def test_the_last_lines_and_then_the_new_ones(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    for number in range(10):
        daemon.log(f"line {number}")
    async with start(daemon, log_feed(tail=3)) as run:
        await until(lambda: len(run.sink.texts) == 3)
        daemon.log("line 10")
        await until(lambda: len(run.sink.texts) == 4)
        assert run.sink.texts == ["line 7", "line 8", "line 9", "line 10"]
        assert run.sink.told == ["+ edge-1"]
        assert run.follower.attached


async def test_without_live_it_ends_behind_the_past(start: Start) -> None:
    daemon = SimulatedDaemon("2.4.12")
    daemon.log("the last line")
    async with start(daemon, log_feed(tail=1, live=False), live=False) as run:
        await run.task
        assert run.sink.texts == ["the last line"]
        assert run.sink.told == []
        assert daemon.executed == ["log all"]


async def test_lines_of_the_time_without_a_session_come_once(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    daemon.log("before")
    async with start(daemon, log_feed(tail=1)) as run:
        await until(lambda: run.sink.texts == ["before"])
        for loss in range(5):
            run.hang_up()
            await until(lambda: not run.is_attached)
            daemon.log(f"unseen {loss}")
            daemon.log("the same each time")
            await until(lambda loss=loss: len(run.sink.texts) == 3 + 2 * loss)
        assert run.sink.texts == ["before", *(t for n in range(5) for t in (f"unseen {n}", "the same each time"))]
        assert run.sink.told[:3] == ["+ edge-1", "- edge-1 connection-lost", "+ edge-1"]


async def test_more_lines_than_the_daemon_keeps_are_a_gap(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, log_feed(tail=0)) as run:
        await until(lambda: run.sink.told)
        daemon.log("seen")
        await until(lambda: run.sink.texts == ["seen"])
        run.hang_up()
        await until(lambda: not run.is_attached)
        for number in range(400):
            daemon.log(f"line {number}")
        await until(lambda: run.sink.texts[-1:] == ["line 399"])
        kept = run.sink.texts[2:]
        assert run.sink.texts[:2] == ["seen", "GAP"]
        assert kept == [f"line {number}" for number in range(400 - len(kept), 400)]


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_the_losses_the_log_is_shown_whole(start: Start, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - guards nothing
    daemon = SimulatedDaemon("2.7.6")
    logged: list[str] = []
    async with start(daemon, log_feed(tail=0)) as run:
        await until(lambda: run.sink.told)
        for _ in range(60):
            for _ in range(chance.randrange(8)):
                logged.append(f"line {chance.randrange(4)} of {len(logged) // 3}")
                daemon.log(logged[-1])
            if chance.random() < 0.3 and run.is_attached:
                run.hang_up()
            await asyncio.sleep(chance.choice((0, 0, 0.01, 0.05)))
        daemon.log("end")
        await until(lambda: run.sink.texts[-1:] == ["end"])
        assert run.sink.texts == [*logged, "end"]


async def test_the_last_words_of_a_daemon_are_shown(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, log_feed(tail=0)) as run:
        await until(lambda: run.sink.told)
        daemon.notify(">FATAL:no more memory")
        daemon.shut_down()
        await until(lambda: len(run.sink.told) > 1)
        assert FatalNotification("no more memory") in run.sink.notifications
        assert run.sink.told[1] == "- edge-1 connection-lost"


async def test_a_restart_of_the_daemon_ends_nothing(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14", clients=[SimulatedClient("alice")])
    async with start(daemon, log_feed(tail=0)) as run:
        await until(lambda: run.sink.told)
        daemon.restart("SIGUSR1")
        await until(lambda: "Initialization Sequence Completed" in run.sink.texts)
        assert run.sink.told == ["+ edge-1"]
        assert run.server.sessions == 1


async def test_somebody_else_holds_the_interface_for_a_while(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, log_feed(tail=0)) as run:
        await until(lambda: run.sink.told)
        occupying = asyncio.create_task(run.server.occupy())
        await asyncio.sleep(0)
        run.hang_up()
        await occupying
        daemon.log("meanwhile")
        await until(lambda: "- edge-1 management-busy" in run.sink.told)
        run.server.vacate()
        await until(lambda: run.sink.told[-1] == "+ edge-1")
        await until(lambda: run.sink.texts == ["meanwhile"])


async def test_a_released_session_lets_who_waits_in_between(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, log_feed(tail=0), release_interval=0.1) as run:
        await until(lambda: run.sink.told)
        for turn in range(3):
            await run.server.occupy()
            daemon.log(f"turn {turn}")
            run.server.vacate()
            await until(lambda turn=turn: run.sink.texts[-1:] == [f"turn {turn}"])
        assert run.sink.texts == ["turn 0", "turn 1", "turn 2"]
        assert run.sink.told == ["+ edge-1"]  # a release is nothing that people have to know each time


async def test_output_that_does_not_keep_up_costs_the_session_and_no_line(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "STALL_TIMEOUT", 0.05)
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, log_feed(tail=0)) as run:
        await until(lambda: run.sink.told)
        run.sink.open.clear()
        for number in range(5):
            daemon.log(f"line {number}")
        await until(lambda: run.sink.told[-1] == "- edge-1 stalled")
        await until(lambda: not run.is_attached)
        daemon.log("line 5")
        run.sink.open.set()
        await until(lambda: len(run.sink.texts) == 6)
        assert run.sink.texts == [f"line {number}" for number in range(6)]


async def test_more_lines_at_once_than_a_session_keeps_are_a_gap(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "UNREAD_LIMIT", 10)
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, log_feed(tail=0)) as run:
        await until(lambda: run.sink.told)
        for number in range(200):
            daemon.log(f"line {number}")
        await until(lambda: run.sink.texts[-1:] == ["line 199"])
        assert "GAP" in run.sink.texts
        assert run.sink.texts[run.sink.texts.index("GAP") :][1] != "line 0"


async def test_what_is_kept_to_find_the_place_by_is_bounded(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "SEEN_SIZE_LIMIT", 2000)
    daemon, feed = SimulatedDaemon("2.6.14"), log_feed(tail=0)
    async with start(daemon, feed) as run:
        await until(lambda: run.sink.told)
        for number in range(50):
            daemon.log(f"{number} {'x' * 96}")
        await until(lambda: len(run.sink.texts) == 50)
        assert len(feed._seen) <= 20
        run.hang_up()
        await until(lambda: not run.is_attached)
        daemon.log("unseen")
        await until(lambda: run.sink.texts[-1] == "unseen")
        assert len(run.sink.texts) == 51  # and the place is found all the same


async def test_a_silent_daemon_is_asked_now_and_then(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "HEARTBEAT_INTERVAL", 0.02)
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, log_feed(tail=0)) as run:
        await until(lambda: daemon.executed.count("load-stats") > 2)
        assert run.sink.told == ["+ edge-1"]
        assert not any("load-stats" in line for line in daemon.history("log"))  # it leaves no trace in the log


async def test_a_connection_that_died_in_silence_is_noticed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "HEARTBEAT_INTERVAL", 0.02)
    faults = Faults(reply=ReplyFault.SILENCE, command="load-stats")
    async with start(SimulatedDaemon("2.6.14"), log_feed(tail=0), faults=faults) as run:
        await until(lambda: "- edge-1 reply-timeout" in run.sink.told)


async def test_one_that_comes_too_late_is_followed_once_it_is_there(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, log_feed(tail=0), faults=Faults(greeting=b"", hang_up=True)) as run:
        await until(lambda: run.sink.told == ["- edge-1 connection-lost"])
        assert not run.follower.attached
        run.server.faults = Faults()
        await until(lambda: run.sink.told[-1] == "+ edge-1")


async def test_a_wrong_password_is_tried_once(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14", password=b"right")
    async with start(daemon, log_feed(), password="wrong") as run:
        await asyncio.wait([run.task])
        assert run.sink.told == ["- edge-1 management-password final"]
        assert run.server.sessions == 1


async def test_a_daemon_that_admits_users_is_left_alone(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    asks = (">CLIENT:CONNECT,0,1", ">CLIENT:ENV,password=secret", ">CLIENT:ENV,END")
    async with start(daemon, EventFeed()) as run:
        await until(lambda: run.sink.told)
        daemon.notify(*asks)
        await asyncio.wait([run.task])
        assert run.sink.told[-1] == "- edge-1 command-failed final"
        assert not run.is_attached
    async with start(SimulatedDaemon("2.6.14"), EventFeed(), force=True) as run:
        await until(lambda: run.sink.told)
        run.daemon.notify(*asks)
        await until(lambda: run.sink.notifications)
        assert "secret" not in repr(run.sink.events)
        assert any(text.startswith("! edge-1 this daemon asks its management client") for text in run.sink.told)


# --- the log level


async def test_the_level_is_raised_and_put_back(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14", verb=3)
    async with start(daemon, log_feed(5)) as run:
        await until(lambda: run.sink.told)
        assert daemon.verb == 5
        await run.stop()
        assert daemon.verb == 3
        assert run.sink.told == ["+ edge-1"]
        assert run.server.sessions == 1


async def test_a_level_that_is_high_enough_is_left(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14", verb=6)
    async with start(daemon, log_feed(5)) as run:
        await until(lambda: run.sink.told)
        await run.stop()
        assert not [command for command in daemon.executed if command.startswith("verb ")]


async def test_the_level_is_put_back_also_where_the_session_was_just_lost(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RETRY_FIRST", 60.0)
    monkeypatch.setattr(follow, "RETRY_LONGEST", 60.0)
    daemon = SimulatedDaemon("2.6.14", verb=3)
    async with start(daemon, log_feed(5)) as run:
        await until(lambda: run.sink.told)
        run.hang_up()
        await until(lambda: len(run.sink.told) == 2)
        assert daemon.verb == 5
        await run.stop()
        assert daemon.verb == 3
        assert run.sink.told == ["+ edge-1", "- edge-1 connection-lost"]


async def test_the_level_survives_losses_and_is_put_back_at_the_end(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14", verb=2)
    async with start(daemon, log_feed(6)) as run:
        for session in range(1, 4):
            await until(lambda session=session: len([t for t in run.sink.told if t[0] == "+"]) == session)
            run.hang_up()
            await until(lambda: not run.is_attached)
        await until(lambda: len([t for t in run.sink.told if t[0] == "+"]) == 4)
        await run.stop()
        assert daemon.verb == 2


async def test_a_level_that_cannot_be_put_back_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RESTORE_TIMEOUT", 0.2)
    daemon = SimulatedDaemon("2.6.14", verb=3)
    async with start(daemon, log_feed(5)) as run:
        await until(lambda: run.sink.told)
        run.hang_up()
        await run.server.occupy()
        await run.stop()
        assert daemon.verb == 5
        assert re.fullmatch(
            r"!! edge-1 the log level was raised from 3 to 5 \(fleet verb 3 sets it\); it could not be put back: .+",
            run.sink.told[-1],
        )
        run.server.vacate()


async def test_a_daemon_that_hangs_gets_the_time_for_putting_back_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RESTORE_TIMEOUT", 0.2)
    connects = 0
    async with start(SimulatedDaemon("2.6.14", verb=3), log_feed(5)) as run:
        await until(lambda: run.sink.told)
        run.freeze()
        before = run.follower._connect

        def connect(attempt: Attempt) -> AbstractAsyncContextManager[Conversation]:
            nonlocal connects
            connects += 1
            return before(attempt)

        run.follower._connect = connect
        assert run.follower.owed is not None
        await run.stop()
        assert run.sink.told[-1].endswith("; it could not be put back: not within 0.2 s")
    assert connects == 0


async def test_a_level_that_somebody_else_has_set_meanwhile_is_left(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14", verb=3)
    async with start(daemon, log_feed(5)) as run:
        await until(lambda: run.sink.told)
        daemon.verb = 1
        await run.stop()
        assert daemon.verb == 1


async def test_what_a_daemon_was_given_anew_is_raised_and_put_back_again(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14", verb=4)
    async with start(daemon, log_feed(5)) as run:
        await until(lambda: run.sink.told)
        run.hang_up()
        await until(lambda: not run.is_attached)
        daemon.verb = 2  # a SIGHUP, or an operator
        await until(lambda: len(run.sink.told) == 3)
        assert daemon.verb == 5
        await run.stop()
        assert daemon.verb == 2


def read_again(daemon: SimulatedDaemon, verb: int) -> None:
    """A SIGHUP, with a level in the configuration that somebody has written there."""
    daemon._configured_verb = verb
    daemon.restart("SIGHUP")
    daemon.log("SIGHUP[hard,] received, process restarting")


@pytest.mark.parametrize(("configured", "now", "at_the_end"), [(3, 5, 3), (6, 6, 6)])
async def test_a_sighup_resets_the_level_and_it_is_raised_again(
    start: Start, configured: int, now: int, at_the_end: int
) -> None:
    daemon = SimulatedDaemon("2.6.14", verb=2)
    async with start(daemon, log_feed(5)) as run:
        await until(lambda: run.sink.told)
        assert daemon.verb == 5
        read_again(daemon, configured)
        await until(lambda: daemon.executed.count("verb") == 2)
        await until(lambda: daemon.verb == now)
        assert run.server.sessions == 1
        await run.stop()
        assert daemon.verb == at_the_end
        assert run.sink.told == ["+ edge-1"]


async def test_a_sighup_to_a_level_that_locks_the_session_ends_the_follow(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14", verb=2)
    async with start(daemon, log_feed(5)) as run:
        await until(lambda: run.sink.told)
        read_again(daemon, 9)
        await asyncio.wait([run.task])
        assert run.sink.told[-1] == "- edge-1 command-failed final"
        assert daemon.verb == 9


@pytest.mark.parametrize("feed", [log_feed(), log_feed(5), EventFeed(["LOG"])])
async def test_at_level_8_no_log_is_followed(start: Start, feed: Feed) -> None:
    daemon = SimulatedDaemon("2.6.14", verb=8)
    async with start(daemon, feed) as run:
        await asyncio.wait([run.task])
        assert run.sink.told == ["- edge-1 command-failed final"]
        assert not [command for command in daemon.executed if command.startswith("log on")]


@pytest.mark.parametrize("level", [8, 15, -1])
def test_no_level_is_set_that_locks_the_session(level: int) -> None:
    with pytest.raises(UsageError):
        check_verb(level)
    check_verb(7)


# --- states and events


async def test_the_state_and_then_its_changes(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, StateFeed()) as run:
        await until(lambda: run.sink.told)
        daemon.restart("SIGUSR1")
        await until(lambda: len(run.sink.events) == 3)
        names = [item.state.name for item in run.sink.notifications if isinstance(item, StateNotification)]
        assert names == ["CONNECTED", "RECONNECTING", "CONNECTED"]


async def test_states_of_the_time_without_a_session_come_once(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, StateFeed()) as run:
        await until(lambda: len(run.sink.events) == 1)
        run.hang_up()
        await until(lambda: not run.is_attached)
        daemon._set_state("RECONNECTING", "SIGUSR1")
        daemon._set_state("CONNECTED", "SUCCESS")
        await until(lambda: len(run.sink.notifications) == 3)
        names = [item.state.name for item in run.sink.notifications if isinstance(item, StateNotification)]
        assert names == ["CONNECTED", "RECONNECTING", "CONNECTED"]


async def test_a_client_that_comes_is_one_event(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, EventFeed(["CLIENT"])) as run:
        await until(lambda: run.sink.told)
        daemon.connect(SimulatedClient("alice"))
        daemon.restart("SIGUSR1")
        daemon.connect(SimulatedClient("bob"))
        await until(lambda: len(run.sink.events) == 2)
        names = [n.environment["common_name"] for n in run.sink.notifications if isinstance(n, ClientNotification)]
        assert names == ["alice", "bob"]


async def test_events_of_the_time_without_a_session_are_a_gap(start: Start) -> None:
    daemon = SimulatedDaemon("2.6.14")
    async with start(daemon, EventFeed()) as run:
        await until(lambda: run.sink.told)
        run.hang_up()
        await until(lambda: len(run.sink.told) == 3)
        await until(lambda: run.sink.events)
        assert isinstance(run.sink.events[0], Gap)


async def test_byte_counts_come_where_they_are_wanted(start: Start) -> None:
    daemon = SimulatedDaemon("2.7.6", clients=[SimulatedClient("alice")])
    async with start(daemon, EventFeed(["BYTECOUNT_CLI"], interval=1, gaps=False)) as run:
        await until(lambda: run.sink.events)
        assert daemon.executed == ["bytecount 1"]


# --- which lines


def line(text: str, flags: str = "", ago: float = 0.0) -> LogLine:
    return LogLine(datetime(2026, 11, 22, tzinfo=UTC) - timedelta(seconds=ago), flags, text)


def patterns(*texts: str) -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, texts))


def shown(lines: LogFilter, history: Sequence[LogLine]) -> list[str]:
    return [entry.text for entry in history[lines.begin(history) :] if lines.passes(entry)]


HISTORY = [line("TLS: one", "W", 30), line("two", "", 20), line("TLS: three", "I", 10), line("four", "FD", 0)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (LogFilter(), ["TLS: one", "two", "TLS: three", "four"]),
        (LogFilter(tail=2), ["TLS: three", "four"]),
        (LogFilter(tail=0), []),
        (LogFilter(include=patterns("TLS", "tw")), ["TLS: one", "two", "TLS: three"]),
        (LogFilter(include=patterns("TLS"), tail=1), ["TLS: three"]),
        (LogFilter(exclude=patterns("TLS", "^f")), ["two"]),
        (LogFilter(levels=parse_levels("w,F")), ["TLS: one", "four"]),
        (LogFilter(levels=parse_levels("-")), ["two"]),
        (LogFilter(since=HISTORY[1].time), ["two", "TLS: three", "four"]),
        (LogFilter(since=HISTORY[1].time, tail=2), ["TLS: three", "four"]),
        (LogFilter(since=HISTORY[3].time + timedelta(seconds=1)), []),
    ],
)
def test_which_lines_of_a_history_are_shown(lines: LogFilter, expected: list[str]) -> None:
    assert shown(lines, HISTORY) == expected


def test_where_the_session_itself_begins_in_a_history() -> None:
    own = [line("MANAGEMENT: Client connected from 127.0.0.1:1"), line("MANAGEMENT: CMD 'log on all'", "D")]
    before = line("MANAGEMENT: Client disconnected")
    assert begin_of_session([*HISTORY, *own]) == len(HISTORY)
    assert begin_of_session([*own, before, *own]) == 3
    assert begin_of_session([*own, *HISTORY]) == len(own) + len(HISTORY)
    assert begin_of_session([]) == 0


@pytest.mark.parametrize("live", [True, False])
async def test_what_the_session_itself_leaves_in_the_log_is_no_part_of_the_tail(start: Start, live: bool) -> None:
    daemon = SimulatedDaemon("2.6.14")
    past = ("MANAGEMENT: Client connected from 192.0.2.1:1", "MANAGEMENT: CMD 'pid'", "two")
    for text in ("one", *past):
        daemon.log(text)
    async with start(daemon, log_feed(tail=3, live=live), live=live) as run:
        if live:
            await until(lambda: len(run.sink.events) > len(past) + 1)
        else:
            await run.task
        found = [item.entry.text for item in run.sink.notifications if isinstance(item, LogNotification)]
    assert tuple(found[:3]) == past
    # Where it is followed, the session's own lines are the first of those that follow: nothing is left out.
    assert [text.partition(" from")[0] for text in found[3:5]] == (
        ["MANAGEMENT: Client connected", "MANAGEMENT: CMD 'verb'"] if live else []
    )


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="'X'"):
        parse_levels("I,X")


def test_attempts_are_spaced_out_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    longest = [backoff(failures, lambda: 1.0) for failures in (1, 2, 3, 50)]
    assert longest == [0.5, 1.0, 2.0, 30.0]
    assert backoff(3, lambda: 0.0) == 1.0
