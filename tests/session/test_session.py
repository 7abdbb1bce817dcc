from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from fleet.errors import (
    CommandFailedError,
    ConnectionLostError,
    ManagementBusyError,
    ManagementPasswordError,
    ProtocolError,
    ReplyTimeoutError,
    ServerError,
    UsageError,
)
from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.notifications import HoldNotification, LogNotification, Notification
from fleet.session import NOTIFICATIONS_LIMIT, Session
from support.replay import Daemon, recorded
from support.transcripts import VERSIONS, exchanges, read_transcript, transcript

BANNER = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
PROMPT = b"ENTER PASSWORD:"
ACCEPTED = b"SUCCESS: password is correct\r\n" + BANNER
STATUS = b"TITLE\tOpenVPN 2.6.14\r\nTIME\t2026-11-22 08:56:15\t1795337775\r\nEND\r\n"
SHORT = 0.05  # seconds: a timeout that a test wants to be reached

ANSWERS = {
    b"pid": b"SUCCESS: pid=1\r\n",
    b"status 3": STATUS,
    b"state": b"1795337315,CONNECTED,SUCCESS,10.200.0.1,,,127.0.0.1,21610\r\nEND\r\n",
    b"load-stats": b"SUCCESS: nclients=1,bytesin=2,bytesout=3\r\n",
    b"version": b"OpenVPN Version: OpenVPN 2.6.14 x86_64\r\nManagement Version: 5\r\nEND\r\n",
    b"verb 4": b"SUCCESS: verb level changed\r\n",
    b"verb": b"ERROR: not today\r\n",
}


mute = dict[bytes, bytes]().get  # answers nothing


def daemon(greeting: bytes = BANNER, *, size: int = 65536) -> Daemon:
    return Daemon(greeting, ANSWERS.get, size=size)


class Password:
    """A source of the management password that counts how often it was asked."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.asked = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        return self.value


# Real sessions


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 7, 65536])
async def test_status_of_real_daemons_in_any_chunks(version: str, size: int) -> None:
    (recording,) = read_transcript(transcript(version, "20_names_udp4"))
    peer = Daemon(exchanges(recording)[0].reply, recorded(recording), size=size)
    async with Session.open(peer) as session:
        status = await session.run(commands.status(3))
        assert "Doe, John" in {client.common_name for client in status.clients}
        (one, two) = await session.ask(commands.status(1), commands.status(2))
        assert one.lines[0] == "OpenVPN CLIENT LIST"
        assert two.lines[0].startswith("TITLE,OpenVPN")
    assert peer.written == [b"status 3\npid\n", b"status 1\nstatus 2\npid\n"]
    assert peer.closed == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_recorded_password_dialogues(version: str) -> None:
    right, _, wrong, *_ = read_transcript(transcript(version, "10_password"))
    peer = Daemon(PROMPT, recorded(right))
    async with Session.open(peer, password=Password(b"s3cr3t pass")) as session:
        assert await session.run(commands.pid()) > 1
        assert "Management Interface" in session.greeting.text
    with pytest.raises(ManagementPasswordError, match="did not take"):
        async with Session.open(Daemon(PROMPT, recorded(wrong)), password=Password(b"wrong")):
            pass


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_daemon_in_hold(version: str) -> None:
    recording = read_transcript(transcript(version, "12_hold"))[0]
    async with Session.open(Daemon(exchanges(recording)[0].reply, recorded(recording))) as session:
        assert await session.run(commands.hold()) is True
        assert session.held
        assert session.notifications[0] == HoldNotification("Waiting for hold release", 0)
        with pytest.raises(CommandFailedError, match="not supported by the current daemon mode"):
            await session.run(commands.status(2))
        with pytest.raises(CommandFailedError, match="signal 'SIGUSR1' is currently ignored"):
            await session.run(commands.signal("SIGUSR1"))
        assert (await session.run(commands.load_stats())).nclients == 0


async def test_a_status_that_lost_its_end_costs_no_timeout() -> None:
    (recording,) = read_transcript(transcript("2.6.14", "24_long_username"))
    broken = next(e.reply for e in exchanges(recording) if e.command == b"status 3\n" and b"\r\nEND" not in e.reply)
    peer = Daemon(BANNER, {**ANSWERS, b"status 3": broken}.get)
    async with Session.open(peer) as session:
        with pytest.raises(ProtocolError, match="broke off without END"):
            await session.run(commands.status(3))
        lost, stats = await session.ask(commands.status(3), commands.load_stats())
        assert not lost.complete
        assert stats.result().nclients == 1
        lost, state = await session.ask(commands.status(3), commands.state())
        assert not lost.complete
        assert state.result().name == "CONNECTED"
    assert peer.written[1:] == [b"status 3\nload-stats\n", b"status 3\npid\nstate\n"]


# Greeting


async def test_nothing_is_written_before_the_greeting() -> None:
    peer = daemon(b"")
    opening = asyncio.create_task(_status_of(peer))
    await asyncio.sleep(SHORT)
    assert peer.written == []
    peer.say(BANNER[:10])
    await asyncio.sleep(0)
    assert peer.written == []
    peer.say(BANNER[10:])
    assert await opening == "CONNECTED"
    assert peer.written == [b"state\n"]


async def _status_of(peer: Daemon) -> str:
    async with Session.open(peer) as session:
        return (await session.run(commands.state())).name


@pytest.mark.parametrize(
    ("endpoint", "hint"),
    [
        ("127.0.0.1:7505", "ss -tnp 'sport = :7505'"),
        ("/run/open vpn.sock", "ss -xp src '/run/open vpn.sock'"),
        ("", "ss -tnp 'sport = :PORT'"),
    ],
)
async def test_a_mute_daemon_is_busy(endpoint: str, hint: str) -> None:
    peer = daemon(b"")
    with pytest.raises(ManagementBusyError, match="another management client") as caught:
        async with Session.open(peer, greeting_timeout=SHORT, endpoint=endpoint):
            pass
    assert hint in (caught.value.hint or "")
    assert caught.value.sent is None
    assert (peer.written, peer.closed) == ([], 1)


@pytest.mark.parametrize("said", [b"220 mail.example.net", b">INFO:Open", b"ENTER PASS"])
async def test_half_a_greeting_is_not_busy(said: bytes) -> None:
    with pytest.raises(ProtocolError, match="not an OpenVPN management interface"):
        async with Session.open(daemon(said), greeting_timeout=SHORT):
            pass


async def test_messages_without_a_greeting_are_not_busy() -> None:
    with pytest.raises(ReplyTimeoutError, match="no greeting"):
        async with Session.open(daemon(b">LOG:1,,x\r\n"), greeting_timeout=SHORT):
            pass


async def test_another_service() -> None:
    with pytest.raises(ProtocolError) as caught:
        async with Session.open(daemon(b"SSH-2.0-OpenSSH_9.2p1\r\n")):
            pass
    assert "sshd" in (caught.value.hint or "")


async def test_nonsense_right_behind_the_greeting() -> None:
    with pytest.raises(ProtocolError, match="answers nothing"):
        async with Session.open(daemon(BANNER + b"nonsense\r\n")):
            pass


async def test_eof_without_a_byte_is_a_refused_peer() -> None:
    peer = daemon(b"")
    peer.hang_up()
    with pytest.raises(ConnectionLostError, match="without a greeting") as caught:
        async with Session.open(peer):
            pass
    assert "management-client-user" in (caught.value.hint or "")


# Password


async def test_the_password_is_asked_for_once_and_only_if_wanted() -> None:
    source = Password(b"x" * 128)
    async with Session.open(daemon(), password=source):
        pass
    assert source.asked == 0
    answers = {b"x" * 128: PROMPT, b"x" * 127: ACCEPTED}
    peer = Daemon(PROMPT, answers.get, size=1)
    async with Session.open(peer, password=source):
        pass
    assert source.asked == 1
    assert peer.written == [b"x" * 128 + b"\n", b"x" * 127 + b"\n"]


@pytest.mark.parametrize("behind", [b"nonsense\r\n", b"ERROR: no\r\n", PROMPT, b">INFO:x\r\n" + PROMPT])
async def test_a_peer_that_goes_on_behind_its_prompt_costs_its_own_session(behind: bytes) -> None:
    """Whatever comes in one piece with the prompt: an error of the peer's, or a session, and no bug."""
    password = Password(b"secret")
    with suppress(ServerError):
        async with Session.open(
            Daemon(PROMPT + behind, mute), password=password, greeting_timeout=SHORT, reply_timeout=SHORT
        ):
            pass
    assert password.asked <= 2


async def test_a_peer_that_greets_without_waiting_gets_no_password() -> None:
    password = Password(b"secret")
    peer = Daemon(PROMPT + ACCEPTED, ANSWERS.get)
    with suppress(ServerError):
        async with Session.open(peer, password=password, greeting_timeout=SHORT, reply_timeout=SHORT):
            pass
    assert (password.asked, peer.written) == (0, [])


async def test_a_long_password_that_is_wrong_is_tried_twice() -> None:
    peer = Daemon(PROMPT, {b"s3cr3t" * 30: PROMPT, (b"s3cr3t" * 30)[:127]: PROMPT}.get)
    with pytest.raises(ManagementPasswordError) as caught:
        async with Session.open(peer, password=Password(b"s3cr3t" * 30)):
            pass
    assert len(peer.written) == 2
    assert "s3cr3t" not in f"{caught.value!r}{caught.value.hint}"


async def test_no_password_to_give() -> None:
    with pytest.raises(ManagementPasswordError, match="the inventory has none") as caught:
        async with Session.open(daemon(PROMPT)):
            pass
    assert "management_password_file" in (caught.value.hint or "")


async def test_a_password_that_nobody_answers() -> None:
    peer = Daemon(PROMPT, mute)
    with pytest.raises(ReplyTimeoutError, match="no answer to the management password") as caught:
        async with Session.open(peer, password=Password(b"s3cr3t"), reply_timeout=SHORT):
            pass
    assert "s3cr3t" not in repr(caught.value)


async def test_a_password_that_cannot_be_written() -> None:
    peer = Stuck(PROMPT, ANSWERS.get)
    with pytest.raises(ReplyTimeoutError, match="no answer to the management password"):
        async with Session.open(peer, password=Password(b"s3cr3t"), reply_timeout=SHORT):
            pass


async def test_the_source_of_the_password_may_take_its_time() -> None:
    class Slow(Password):
        async def __call__(self) -> bytes:
            await asyncio.sleep(4 * SHORT)
            return self.value

    peer = Daemon(PROMPT, {b"x": ACCEPTED}.get)
    async with Session.open(peer, password=Slow(b"x"), greeting_timeout=SHORT, reply_timeout=5) as session:
        assert session.greeting.interface_version == 5


async def test_the_last_try() -> None:
    peer = Daemon(PROMPT, mute)
    peer.hang_up()
    with pytest.raises(ConnectionLostError, match="while the management password"):
        async with Session.open(peer, password=Password(b"x")):
            pass


# Commands


async def test_several_commands_in_one_write() -> None:
    peer = daemon(size=3)
    async with Session.open(peer) as session:
        version, state, status, stats, verb = await session.ask(
            commands.version(), commands.state(), commands.status(3), commands.load_stats(), commands.verb()
        )
        assert await session.ask() == ()
    assert version.result().openvpn == "2.6.14"
    assert state.result().name == "CONNECTED"
    assert status.result().clients == ()
    assert stats.result().bytes_out == 3
    assert verb.error == "not today"
    assert peer.written == [b"version\nstate\nstatus 3\nload-stats\nverb\n"]


async def test_a_change_is_announced_and_confirmed() -> None:
    peer = daemon()
    told: list[tuple[str | None, int]] = []
    async with Session.open(peer, on_sent=lambda text: told.append((text, len(peer.written)))) as session:
        await session.run(commands.pid())
        assert await session.run(commands.verb(4)) == "verb level changed"
        await session.ask(commands.verb(4), commands.pid(), commands.verb(4))
    assert told == [("verb 4", 1), (None, 2), ("verb 4; verb 4", 2), ("verb 4", 3), (None, 3)]


async def test_a_change_that_was_done_is_told_whatever_comes_later() -> None:
    answers = {b"verb 4": b"SUCCESS: other words\r\n", b"mute 4": b"ERROR: not today\r\n"}
    confirmed: list[str] = []
    peer = Daemon(BANNER, answers.get)
    async with Session.open(peer, reply_timeout=SHORT, on_confirmed=confirmed.append) as session:
        with pytest.raises(ReplyTimeoutError) as caught:
            await session.ask(commands.verb(4), commands.mute(4), commands.verb(4), commands.pid(), commands.verb(5))
    assert caught.value.sent == "verb 5"
    assert confirmed == ["verb 4", "verb 4"]


async def test_a_failed_command_and_a_refused_one_leave_the_session_alive() -> None:
    peer = daemon()
    bad: Command[int] = Command("kill", ("a\nb",), commands.pid().reply, commands.pid().parse)
    async with Session.open(peer) as session:
        with pytest.raises(CommandFailedError, match="not today"):
            await session.run(commands.verb())
        with pytest.raises(UsageError):
            await session.ask(commands.pid(), bad)
        assert await session.run(commands.pid()) == 1
    assert peer.written == [b"verb\n", b"pid\n"]


async def test_quit_has_no_reply_and_goes_alone() -> None:
    peer = daemon()
    async with Session.open(peer) as session:
        with pytest.raises(RuntimeError, match="costs the replies"):
            await session.ask(commands.pid(), commands.quit_())
        await session.run(commands.quit_())
    assert peer.written == [b"quit\n"]


async def test_a_reply_timeout_ends_the_session_and_says_what_was_sent() -> None:
    told: list[str | None] = []
    peer = Daemon(BANNER, {b"pid": b"SUCCESS: pid=1\r\n"}.get)
    async with Session.open(peer, reply_timeout=SHORT, on_sent=told.append) as session:
        with pytest.raises(ReplyTimeoutError, match=r"no whole reply to 'signal SIGUSR1' within 0\.05 s") as caught:
            await session.ask(commands.pid(), commands.signal("SIGUSR1"))
        assert caught.value.sent == "signal SIGUSR1"
        with pytest.raises(RuntimeError, match="the session is over"):
            await session.run(commands.pid())
    assert told == ["signal SIGUSR1"]


async def test_a_late_query_was_not_sent_in_the_sense_of_a_change() -> None:
    peer = Daemon(BANNER, {b"state": b"1795337315,CONNECTED"}.get)
    async with Session.open(peer, reply_timeout=SHORT) as session:
        with pytest.raises(ReplyTimeoutError, match="'state'") as caught:
            await session.run(commands.state())
    assert caught.value.sent is None


class Stuck(Daemon):
    """A daemon whose connection takes no more bytes."""

    async def write(self, data: bytes) -> None:  # noqa: ARG002 - a Stream's method
        await asyncio.Event().wait()


async def test_a_write_that_gets_stuck_is_on_the_replys_clock() -> None:
    async with Session.open(Stuck(BANNER, ANSWERS.get), reply_timeout=SHORT) as session:
        with pytest.raises(ReplyTimeoutError) as caught:
            await session.run(commands.verb(4))
    assert caught.value.sent == "verb 4"


class Flood(Daemon):
    """A daemon that sends notifications without end, as `log on` at verb 8 does (protocol-facts 6.4)."""

    def __init__(self) -> None:
        super().__init__(BANNER, mute)
        self.reads = 0

    async def read(self) -> bytes:
        self.reads += 1
        return BANNER if self.reads == 1 else b">LOG:1,D,flood\r\n" * (NOTIFICATIONS_LIMIT + 1)


async def test_a_flood_of_notifications_does_not_put_the_timeout_off() -> None:
    seen = 0

    def count(notification: Notification) -> None:
        nonlocal seen
        assert isinstance(notification, LogNotification)
        seen += 1

    peer = Flood()
    async with Session.open(peer, reply_timeout=10 * SHORT, on_notification=count) as session:
        with pytest.raises(ReplyTimeoutError, match="'pid'"):
            await session.run(commands.pid())
    assert seen > NOTIFICATIONS_LIMIT
    assert len(session.notifications) == NOTIFICATIONS_LIMIT


async def test_each_reply_has_its_own_clock() -> None:
    """Four replies that come one by one, together later than one reply may be."""
    peer = Daemon(BANNER, mute)

    async def slowly() -> None:
        for _ in range(4):
            await asyncio.sleep(0.3)
            peer.say(b"SUCCESS: pid=1\r\n")

    async with Session.open(peer, reply_timeout=1.0) as session, asyncio.TaskGroup() as group:
        group.create_task(slowly())
        assert len(await session.ask(*[commands.pid()] * 4)) == 4


async def test_eof_in_the_middle_names_the_command_and_the_fatal_text() -> None:
    answers = {b"signal SIGHUP": b"", b"state": b">FATAL:Error: private key password verification failed\r\n"}
    for command, said in ((commands.signal("SIGHUP"), "'signal SIGHUP'"), (commands.state(), "private key password")):
        peer = Daemon(BANNER, answers.get)
        async with Session.open(peer) as session:
            peer.hang_up()
            with pytest.raises(ConnectionLostError, match=said) as caught:
                await session.run(command)
            assert caught.value.sent == (command.text if command.changes else None)
            with pytest.raises(RuntimeError):
                await session.run(commands.pid())


async def test_nonsense_behind_a_reply_costs_the_next_one() -> None:
    peer = Daemon(BANNER, {b"pid": b"SUCCESS: pid=1\r\nnonsense\r\n"}.get)
    async with Session.open(peer) as session:
        assert await session.run(commands.pid()) == 1
        with pytest.raises(ProtocolError, match="answers nothing"):
            await session.run(commands.pid())


async def test_nonsense_between_two_replies() -> None:
    peer = Daemon(BANNER, {b"pid": b"SUCCESS: pid=1\r\n", b"verb": b"nonsense\r\n"}.get)
    async with Session.open(peer) as session:
        with pytest.raises(ProtocolError, match="nonsense"):
            await session.ask(commands.pid(), commands.verb())


async def test_an_endless_reply_and_an_endless_line() -> None:
    class Endless(Flood):
        line = b"x,x,x\r\n" * 20_000

        async def read(self) -> bytes:
            self.reads += 1
            return BANNER if self.reads == 1 else self.line

    class EndlessLine(Endless):
        line = b"x" * 65536

    for peer, said in ((Endless(), "has no end"), (EndlessLine(), "a line of more than")):
        async with Session.open(peer, reply_timeout=60) as session:
            with pytest.raises(ProtocolError, match=said):
                await session.run(commands.status(1))


# Ends


@pytest.mark.parametrize("greeting", [b"", PROMPT, BANNER])
async def test_cancelled_wherever_it_waits_the_stream_is_closed(greeting: bytes) -> None:
    peer = Daemon(greeting, mute)
    sent: list[str | None] = []

    async def work() -> None:
        async with Session.open(peer, password=Password(b"x"), on_sent=sent.append) as session:
            await session.run(commands.verb(4))

    running = asyncio.create_task(work())
    await asyncio.sleep(SHORT)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert peer.closed == 1
    assert sent == (["verb 4"] if greeting == BANNER else [])


async def test_a_cancelled_reply_ends_the_session() -> None:
    peer = Daemon(BANNER, mute)
    async with Session.open(peer) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await session.run(commands.pid())
        with pytest.raises(RuntimeError, match="the session is over"):
            await session.run(commands.pid())


async def test_a_session_that_was_left_is_over() -> None:
    peer = daemon()
    async with Session.open(peer) as session:
        assert not session.held
    with pytest.raises(RuntimeError, match="the session is over"):
        await session.run(commands.pid())
    assert peer.closed == 1
