"""A session that stays: real-time messages, what a daemon waits for, daemons that restart, replies with a fence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from fleet import session as session_module
from fleet.errors import CommandFailedError, ConnectionLostError, ProtocolError, ReplyTimeoutError
from fleet.management import commands
from fleet.management.commands import ReplyKind, custom_command, parse_command
from fleet.management.notifications import (
    EchoNotification,
    HoldNotification,
    LogNotification,
    NeedNotification,
    Notification,
    PasswordFailedNotification,
    PasswordNeededNotification,
    StateNotification,
)
from fleet.session import Session
from support.replay import Daemon
from support.transcripts import VERSIONS, exchanges, read_transcript, transcript

BANNER = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
HOLD = b">HOLD:Waiting for hold release:0\r\n"
NEED_AUTH = b">PASSWORD:Need 'Auth' username/password\r\n"
NEED_KEY = b">PASSWORD:Need 'Private Key' password\r\n"
NEED_OK = b">NEED-OK:Need 'token' confirmation MSG:Insert it\r\n"
NEED_STR = b">NEED-STR:Need 'name' input MSG:Who\r\n"
CONNECTED = b"1795337315,CONNECTED,SUCCESS,10.200.0.1,,,127.0.0.1,21610\r\nEND\r\n"
RECONNECTING = b"1795337315,RECONNECTING,SIGUSR1,,,,,\r\nEND\r\n"
REFUSED = b"ERROR: The 'status' command is not supported by the current daemon mode\r\n"
STATUS = b"TITLE\tOpenVPN 2.6.14\r\nTIME\t2026-11-22 08:56:15\t1795337775\r\nEND\r\n"
DONE = b"SUCCESS: done\r\n"
SHORT = 0.05  # seconds: a timeout that a test wants to be reached

Answers = Callable[[bytes], bytes | None]


def answers(**more: bytes) -> Answers:
    known = {b"pid": b"SUCCESS: pid=1\r\n", b"state": CONNECTED}
    known |= {name.replace("_", " ").encode(): answer for name, answer in more.items()}
    return lambda line: known.get(line, DONE)


def log(number: int) -> bytes:
    return f">LOG:1795337315,I,{number}\r\n".encode()


def numbers(found: list[Notification | None]) -> list[str]:
    return [one.entry.text for one in found if isinstance(one, LogNotification)]


# Real-time messages


async def test_messages_come_one_by_one_in_their_order() -> None:
    peer = Daemon(BANNER + log(0) + log(1), lambda line: log(2) + log(3) + DONE if line == b"verb 4" else None)
    async with Session.open(peer) as session:
        await session.run(commands.verb(4))
        peer.say(log(4) + log(5)[:10])
        found = [await session.wait(1.0) for _ in range(5)]
        assert await session.wait(SHORT) is None
        peer.say(log(5)[10:])
        found.append(await session.wait())
    assert numbers(found) == ["0", "1", "2", "3", "4", "5"]
    assert session.dropped == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_recorded_messages_of_a_whole_session(version: str) -> None:
    recording = read_transcript(transcript(version, "13_signals"))[0]
    said = [line for exchange in exchanges(recording) for line in exchange.lines if line.startswith(">")]
    peer = Daemon("".join(f"{line}\r\n" for line in said).encode("utf-8", "surrogateescape"), lambda _: None, size=7)
    peer.hang_up()
    states: list[str] = []
    async with Session.open(peer) as session:
        while not session.over:
            with suppress(ConnectionLostError):
                message = await session.wait(5.0)
                if isinstance(message, StateNotification):
                    states.append(message.state.name)
    assert "RECONNECTING" in states
    assert states.count("CONNECTED") >= 2


async def test_without_patience_only_what_was_read_is_returned() -> None:
    peer = Daemon(BANNER + log(0), answers())
    async with Session.open(peer) as session:
        peer.say(log(1))
        assert numbers([await session.wait(0)]) == ["0"]
        assert await session.wait(0) is None


async def test_waiting_for_a_message_may_be_given_up_and_taken_up() -> None:
    peer = Daemon(BANNER, answers())
    async with Session.open(peer) as session:
        waiting = asyncio.create_task(session.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await session.run(commands.pid()) == 1
        peer.say(log(1))
        assert numbers([await session.wait(5.0)]) == ["1"]


async def test_messages_that_nobody_waits_for_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "UNREAD_LIMIT", 3)
    peer = Daemon(BANNER, lambda _: b"".join(map(log, range(10))) + b"SUCCESS: pid=1\r\n")
    async with Session.open(peer) as session:
        await session.run(commands.pid())
        assert session.dropped == 7
        assert numbers([await session.wait(0) for _ in range(4)]) == ["7", "8", "9"]


async def test_large_messages_are_dropped_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "UNREAD_SIZE_LIMIT", 2500)
    large = b">ECHO:1795337315," + b"x" * 1000 + b"\r\n"
    peer = Daemon(BANNER, lambda _: large * 5 + b"SUCCESS: pid=1\r\n")
    async with Session.open(peer) as session:
        await session.run(commands.pid())
        assert session.dropped == 3
        assert isinstance(await session.wait(0), EchoNotification)
        assert isinstance(await session.wait(0), EchoNotification)
        assert await session.wait(0) is None
        await session.run(commands.pid())
        assert session.dropped == 6


async def test_large_messages_are_forgotten_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "NOTIFICATIONS_SIZE_LIMIT", 2500)
    large = b">ECHO:1795337315," + b"x" * 1000 + b"\r\n"
    held = b">HOLD:" + b"x" * 2000 + b"\r\n"
    texts = iter([large * 5, held, large])
    peer = Daemon(BANNER, lambda _: next(texts) + b"SUCCESS: pid=1\r\n")
    async with Session.open(peer) as session:
        await session.run(commands.pid())
        assert [type(one) for one in session.notifications] == [EchoNotification, EchoNotification]
        await session.run(commands.pid())
        assert [type(one) for one in session.notifications] == [HoldNotification]
        await session.run(commands.pid())
        assert [type(one) for one in session.notifications] == [EchoNotification]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "^the daemon closed the connection$"),
        (b">FATAL:Error: private key\x1b[1m failed\r\n", r"^the daemon ended with a fatal error: Error: .*\\x1b\[1m"),
    ],
)
async def test_the_end_of_the_daemon(said: bytes, message: str) -> None:
    peer = Daemon(BANNER + log(0) + said, answers())
    peer.hang_up()
    async with Session.open(peer) as session:
        assert numbers([await session.wait(1.0)]) == ["0"]
        if said:
            assert isinstance(await session.wait(1.0), Notification)
        assert not session.over
        with pytest.raises(ConnectionLostError, match=message):
            await session.wait(1.0)
        assert session.over
        with pytest.raises(RuntimeError, match="the session is over"):
            await session.wait(1.0)
        with pytest.raises(RuntimeError, match="the session is over"):
            await session.run(commands.pid())


async def test_messages_that_came_before_the_end_can_still_be_had() -> None:
    peer = Daemon(BANNER, lambda _: log(0) + log(1))
    async with Session.open(peer, reply_timeout=SHORT) as session:
        with pytest.raises(ReplyTimeoutError):
            await session.run(commands.pid())
        assert numbers([await session.wait(0), await session.wait(0)]) == ["0", "1"]
        with pytest.raises(RuntimeError):
            await session.wait(0)


async def test_nonsense_in_place_of_a_message() -> None:
    peer = Daemon(BANNER, answers())
    async with Session.open(peer) as session:
        peer.say(log(0) + b"nonsense\r\n")
        assert numbers([await session.wait(1.0)]) == ["0"]
        with pytest.raises(ProtocolError, match="answers nothing"):
            await session.wait(1.0)
        assert session.over


# What a daemon waits for


async def test_a_daemon_that_waits_for_nothing() -> None:
    async with Session.open(Daemon(BANNER + log(0), answers())) as session:
        assert await session.waiting() == ()


async def test_a_daemon_in_hold_and_then_for_its_passphrase() -> None:
    """protocol-facts 11.4: the prompt comes after the release; a wrong passphrase brings another."""
    wrong = b"SUCCESS: entered\r\n>PASSWORD:Verification Failed: 'Private Key'\r\n" + NEED_KEY
    peer = Daemon(
        BANNER + HOLD,
        answers(
            hold=b"SUCCESS: hold=1\r\n",
            hold_release=DONE + NEED_KEY,
            **{'password_"Private_Key"_wrong': wrong},
        ),
    )
    async with Session.open(peer) as session:
        (hold,) = await session.waiting()
        assert isinstance(hold, HoldNotification)
        await session.run(commands.hold())
        assert session.held
        await session.run(commands.hold("release"))
        assert not session.held
        assert await session.waiting() == (PasswordNeededNotification("Private Key", username=False, challenge=""),)
        await session.run(commands.password("Private Key", "wrong"))
        assert len(await session.waiting()) == 1
        await session.run(commands.password("Private Key", "right"))
        assert await session.waiting() == ()
        kinds = []
        while (message := await session.wait(0)) is not None:
            kinds.append(type(message))
    assert kinds == [
        HoldNotification,
        PasswordNeededNotification,
        PasswordFailedNotification,
        PasswordNeededNotification,
    ]


@pytest.mark.parametrize("first", ["username", "password"])
async def test_username_and_password_in_any_order(first: str) -> None:
    second = "password" if first == "username" else "username"
    async with Session.open(Daemon(BANNER + NEED_AUTH, answers())) as session:
        assert len(await session.waiting()) == 1
        await session.run(parse_command(f"{first} Auth x"))
        assert len(await session.waiting()) == 1
        await session.run(parse_command(f"{second} 'Private Key' x"))
        assert len(await session.waiting()) == 1
        await session.run(parse_command(f"{second} Auth x"))
        assert await session.waiting() == ()


async def test_what_was_refused_is_still_waited_for() -> None:
    peer = Daemon(BANNER + NEED_OK + NEED_STR, answers(needok_token_ok=b"ERROR: not yet\r\n"))
    async with Session.open(peer) as session:
        with pytest.raises(CommandFailedError):
            await session.run(commands.needok("token", "ok"))
        assert len(await session.waiting()) == 2
        await session.run(commands.needok("token", "cancel"))
        assert [type(one) for one in await session.waiting()] == [NeedNotification]
        await session.run(commands.needstr("name", "x"))
        assert await session.waiting() == ()


async def test_a_daemon_that_is_up_waits_for_nothing() -> None:
    peer = Daemon(BANNER + HOLD + NEED_AUTH, answers())
    async with Session.open(peer) as session:
        assert len(await session.waiting()) == 2
        peer.say(b">STATE:1795337315,RECONNECTING,SIGUSR1,,,,,\r\n")
        assert len(await session.waiting()) == 2
        peer.say(b">STATE:1795337315,CONNECTED,SUCCESS,10.200.0.1,,,127.0.0.1,21610\r\n")
        assert await session.waiting() == ()


async def test_a_daemon_cannot_make_fleet_keep_any_number_of_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "REQUESTS_LIMIT", 2)
    many = b"".join(f">PASSWORD:Need '{i}' password\r\n".encode() for i in range(5))
    async with Session.open(Daemon(BANNER + many, answers())) as session:
        assert len(await session.waiting()) == 2


async def test_nor_questions_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "REQUESTS_SIZE_LIMIT", 100)
    long = b"".join(b">PASSWORD:Need '%b' password\r\n" % (letter * 60) for letter in (b"a", b"b"))
    async with Session.open(Daemon(BANNER + long + NEED_AUTH, answers())) as session:
        assert [one.realm[0] for one in await session.waiting() if isinstance(one, PasswordNeededNotification)] == [
            "a",
            "A",
        ]
        assert session.requests == await session.waiting()


@pytest.mark.parametrize("version", VERSIONS)
async def test_recorded_daemons_in_hold(version: str) -> None:
    recording = read_transcript(transcript(version, "12_hold"))[0]
    async with Session.open(Daemon(exchanges(recording)[0].reply, answers())) as session:
        assert [type(one) for one in await session.waiting()] == [HoldNotification]


@pytest.mark.parametrize("version", VERSIONS)
async def test_recorded_daemons_that_want_a_username_and_a_password(version: str) -> None:
    recording = read_transcript(transcript(version, "30_client_query_auth"))[0]
    async with Session.open(Daemon(exchanges(recording)[0].reply, answers())) as session:
        assert await session.waiting() == (PasswordNeededNotification("Auth", username=True, challenge=""),)


# Daemons that restart


class Restarting(Daemon):
    """A daemon that refuses `status` for a number of times, as in the pause of a restart."""

    def __init__(self, refusals: int, *, state: bytes = RECONNECTING, greeting: bytes = BANNER) -> None:
        super().__init__(greeting, self.answer)
        self.refusals = refusals
        self.state = state

    def answer(self, line: bytes) -> bytes:
        if line == b"state":
            return self.state if self.refusals else CONNECTED
        if line == b"status 3":
            if self.refusals:
                self.refusals -= 1
                return REFUSED
            return STATUS
        return b"SUCCESS: pid=1\r\n"


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "SETTLE_INTERVAL", 0.001)


@pytest.mark.usefixtures("_no_pauses")
async def test_a_daemon_that_restarts_is_asked_again() -> None:
    peer = Restarting(3)
    async with Session.open(peer) as session:
        pid, status = await session.ask_settled(commands.pid(), commands.status(3))
    assert (pid.result(), status.result().title) == (1, "OpenVPN 2.6.14")
    assert peer.written == [b"pid\nstatus 3\npid\n", *[b"state\nstatus 3\npid\n"] * 3]


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize("version", ["2.6.14", "2.7.6"])
async def test_the_recorded_pause_of_a_restart(version: str) -> None:
    recording = read_transcript(transcript(version, "14_restart_window"))[0]
    asked = [exchange.reply for exchange in exchanges(recording) if exchange.command == b"status 2\n"]
    pause = iter(asked[next(i for i, reply in enumerate(asked) if reply.startswith(b"ERROR")) :])
    others = answers(state=RECONNECTING)
    peer = Daemon(BANNER, lambda line: next(pause) if line == b"status 2" else others(line))
    async with Session.open(peer) as session:
        (status,) = await session.ask_settled(commands.status(2))
    assert status.result().title.startswith("OpenVPN")
    assert len(peer.written) > 1


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize(
    ("peer", "reason", "hint", "writes"),
    [
        (Restarting(1, greeting=BANNER + HOLD), "it waits for a hold release", "fleet hold", 1),
        (Restarting(5, state=CONNECTED), "it is up, and has no such mode", "for servers", 2),
    ],
    ids=["hold", "client"],
)
async def test_what_would_not_change_is_not_waited_for(peer: Restarting, reason: str, hint: str, writes: int) -> None:
    async with Session.open(peer) as session:
        pid, status = await session.ask_settled(commands.pid(), commands.status(3))
        assert pid.result() == 1
        with pytest.raises(CommandFailedError, match=f"not supported by the current daemon mode: {reason}$") as caught:
            status.result()
        assert hint in (caught.value.hint or "")
        assert status.text() == REFUSED.decode().replace("\r\n", "\n")
        assert not session.over
    assert len(peer.written) == writes


@pytest.mark.usefixtures("_no_pauses")
async def test_a_restart_that_takes_longer_than_a_reply_may() -> None:
    peer = Restarting(10**9)
    async with Session.open(peer, reply_timeout=4 * SHORT) as session:
        (status,) = await session.ask_settled(commands.status(3))
        with pytest.raises(CommandFailedError, match=r"its tunnel was not up within 0\.2 s$"):
            status.result()
    assert len(peer.written) > 1


# What would end a daemon, and what it does not know


@pytest.mark.parametrize("text", ["pkcs11-id-count", "pkcs11-id-get 0", "signal SIGUSR2"])
@pytest.mark.parametrize("custom", [False, True])
async def test_what_would_end_a_daemon_in_hold_is_not_sent(text: str, custom: bool) -> None:
    """In the first hold 2.6.14 ends of pkcs11-id-count; every release of SIGUSR2 (protocol-facts 5)."""
    peer = Daemon(BANNER, lambda _: HOLD + b"SUCCESS: pid=1\r\n")
    command = custom_command(text, ReplyKind.LINE) if custom else parse_command(text)
    async with Session.open(peer) as session:
        with pytest.raises(CommandFailedError, match=f"'{text}' ends a daemon that waits for a hold release"):
            await session.ask(commands.pid(), command)
        assert await session.run(commands.pid()) == 1
    assert peer.written == [b"pid\n", b"pid\n"]


async def test_nor_to_one_that_waits_for_a_password() -> None:
    """2.6.14 ends of it there too: its PKCS11 is set up later."""
    peer = Daemon(BANNER + NEED_AUTH, answers(pid=b"SUCCESS: pid=1\r\n"))
    async with Session.open(peer) as session:
        with pytest.raises(CommandFailedError, match="waits for an answer of its management client") as caught:
            await session.run(commands.pkcs11_id_count())
        assert "fleet unlock" in (caught.value.hint or "")
    assert peer.written == [b"pid\n"]


async def test_the_same_is_sent_to_a_daemon_that_is_up() -> None:
    peer = Daemon(BANNER, {b"pid": b"SUCCESS: pid=1\r\n", b"pkcs11-id-count": b">PKCS11ID-COUNT:2\r\n"}.get)
    async with Session.open(peer) as session:
        assert await session.run(commands.pkcs11_id_count()) == 2
    assert peer.written == [b"pid\n", b"pkcs11-id-count\n"]


UNKNOWN = b"ERROR: unknown command, enter 'help' for more options\r\n"
VERSION = b"OpenVPN Version: OpenVPN 2.6.14 x86_64\r\nManagement Version: 5\r\nEND\r\n"


async def test_the_release_is_asked_for_once_a_command_is_unknown() -> None:
    peer = Daemon(BANNER, {b"pid": b"SUCCESS: pid=1\r\n", b"push-update-cid 1 -dns": UNKNOWN, b"version": VERSION}.get)
    async with Session.open(peer) as session:
        for _ in range(2):
            with pytest.raises(
                CommandFailedError, match=r"wants OpenVPN 2\.7 or later; this daemon is OpenVPN 2\.6\.14"
            ):
                await session.run(commands.push_update_cid(1, "-dns"))
    assert peer.written == [b"push-update-cid 1 -dns\npid\n", b"version\n", b"push-update-cid 1 -dns\npid\n"]


async def test_a_release_that_cannot_be_had_costs_nothing() -> None:
    peer = Daemon(BANNER, {b"cr-response x": UNKNOWN}.get)
    async with Session.open(peer, reply_timeout=SHORT) as session:
        with pytest.raises(CommandFailedError, match=r"this daemon is OpenVPN 2\.6 or 2\.7$"):
            await session.run(commands.cr_response("x"))


async def test_what_fleet_does_not_know_either_is_not_worth_a_question() -> None:
    peer = Daemon(BANNER, lambda _: UNKNOWN)
    async with Session.open(peer) as session:
        with pytest.raises(CommandFailedError, match="unknown command"):
            await session.run(custom_command("rewind", ReplyKind.LINE))
    assert peer.written == [b"rewind\n"]


# Replies with a fence, and of two parts


async def test_a_fence_stands_behind_each_reply_that_nothing_ends() -> None:
    peer = Daemon(BANNER, {b"pid": b"SUCCESS: pid=1\r\n", b"test 1": b"[0] x\r\n"}.get)
    async with Session.open(peer) as session:
        version, pid, lines = await session.ask(parse_command("version 4"), commands.pid(), commands.test(1))
    assert (version.result(), pid.result(), lines.result()) == (None, 1, ("[0] x",))
    assert peer.written == [b"version 4\npid\npid\ntest 1\npid\n"]


async def test_lines_behind_a_command_go_along_with_it() -> None:
    peer = Daemon(BANNER, {b"pid": b"SUCCESS: pid=1\r\n", b"END": DONE}.get)
    told: list[str | None] = []
    async with Session.open(peer, on_sent=told.append) as session:
        assert await session.run(parse_command('client-auth 3 1\npush "route 10.0.0.0 255.0.0.0"')) == ("done",)
    assert peer.written == [b'client-auth 3 1\npush "route 10.0.0.0 255.0.0.0"\nEND\npid\n']
    assert told == ["client-auth 3 1", None]


async def test_the_history_and_then_each_new_line() -> None:
    history = b"SUCCESS: real-time log notification set to ON\r\n1795337315,I,0\r\nEND\r\n"
    peer = Daemon(BANNER, lambda line: history + log(1) if line == b"log on all" else None)
    async with Session.open(peer) as session:
        lines = await session.run(commands.log_live("all"))
        assert [line.text for line in lines] == ["0"]
        assert numbers([await session.wait(1.0)]) == ["1"]


async def test_a_status_before_two_answers_has_its_fence() -> None:
    on = b"SUCCESS: real-time state notification set to ON\r\n"
    known = {
        b"status 3": STATUS,
        b"state on 1": on + CONNECTED,
        b"state 1 on": CONNECTED + on,
        b"pid": b"SUCCESS: pid=1\r\n",
    }
    peer = Daemon(BANNER, known.get)
    async with Session.open(peer) as session:
        await session.ask(commands.status(3), parse_command("state on 1"))
        await session.ask(commands.status(3), parse_command("state 1 on"))
    assert peer.written == [b"status 3\nstate on 1\n", b"status 3\npid\nstate 1 on\n"]


async def test_no_secret_in_what_a_session_tells() -> None:
    peer = Daemon(BANNER, lambda _: None)
    told: list[str | None] = []
    async with Session.open(peer, reply_timeout=SHORT, on_sent=told.append) as session:
        with pytest.raises(ReplyTimeoutError) as caught:
            await session.run(commands.password("Private Key", "s3cr3t"))
    assert caught.value.sent == 'password "Private Key" [secret]'
    assert "s3cr3t" not in f"{told}{caught.value!r}{session.__dict__!r}"
    assert peer.written == [b'password "Private Key" s3cr3t\n']


async def test_a_custom_command_without_a_reply() -> None:
    peer = Daemon(BANNER, lambda line: b"SUCCESS: pid=1\r\n" if line == b"pid" else None)
    async with Session.open(peer) as session:
        assert await session.run(custom_command("version 3", ReplyKind.NONE)) == ()
        assert await session.run(commands.pid()) == 1
