from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import (
    CommandFailedError,
    ConnectionLostError,
    ManagementPasswordError,
    ProtocolError,
    UsageError,
)
from fleet.management import commands, protocol
from fleet.management.commands import Command
from fleet.management.notifications import (
    ClientNotification,
    FatalNotification,
    HoldNotification,
    InfoNotification,
    LogNotification,
    Notification,
    PasswordFailedNotification,
    StateNotification,
    UnknownNotification,
    UpDownNotification,
)
from fleet.management.protocol import (
    Event,
    Greeting,
    PasswordAccepted,
    PasswordRequested,
    Protocol,
    Reply,
    State,
    shown,
)
from support.replay import BLOCK, NONE, NOTIFICATION, command, replay
from support.transcripts import VERSIONS, exchanges, read_transcript, transcript

BANNER = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
INTERFACE_VERSIONS = {"2.4.12": 1, "2.6.14": 5, "2.7.6": 6}
WITH_EVIL_NAMES = ("2.6.14", "2.7.6")


def greeted(*sent: Command[Any]) -> Protocol:
    """A protocol that has been greeted, and has sent commands."""
    peer = Protocol()
    (greeting,) = peer.receive(BANNER)
    assert isinstance(greeting, Greeting)
    for one in sent:
        peer.send(one)
    return peer


def replies(events: Iterable[Event]) -> list[Reply[Any]]:
    return [event for event in events if isinstance(event, Reply)]


def answer(peer: Protocol, data: bytes) -> Reply[Any]:
    (reply,) = replies(peer.receive(data))
    return reply


def feed(peer: Protocol, chunks: Iterable[bytes]) -> list[Event]:
    return [event for chunk in chunks for event in peer.receive(chunk)]


# Real sessions


@pytest.mark.parametrize("version", VERSIONS)
def test_the_commands_of_a_server_without_clients(version: str) -> None:
    (session,) = read_transcript(transcript(version, "02_basic_0clients"))
    events = replay(session)
    greeting, *rest = events
    assert isinstance(greeting, Greeting)
    assert greeting.interface_version == INTERFACE_VERSIONS[version]
    by_text = {reply.command.text: reply for reply in replies(rest)}
    assert len(replies(rest)) > 120
    assert by_text["pid"].lines[0].startswith("SUCCESS: pid=")
    assert by_text["status 4"].error == "bad status format version number"
    assert by_text["log 0"].error is not None
    assert by_text["status 1"].lines[0] == "OpenVPN CLIENT LIST"
    assert by_text["status 3"].lines[0].startswith("TITLE\tOpenVPN ")
    assert any(line.endswith("followed by END") for line in by_text["help"].lines)
    assert by_text["version"].text().endswith("\nEND\n")
    assert all(reply.complete for reply in replies(rest))
    assert any(isinstance(event, LogNotification) for event in rest)
    assert not any(isinstance(event, UnknownNotification) for event in rest)


@pytest.mark.parametrize("version", VERSIONS)
def test_framing_of_every_line_of_a_real_lexer_session(version: str) -> None:
    (session,) = read_transcript(transcript(version, "03_lexer_framing"))
    events = replay(session)
    pids = {reply.lines[0] for reply in replies(events) if reply.command.text == "pid" and reply.error is None}
    assert len(pids) == 1
    assert sum(reply.command.text == "pid" for reply in replies(events)) > 200
    piped = exchanges(session)
    (mixed,) = [e for e in piped if e.command.startswith(b"pid\nverb\nbogus\n")]
    peer = greeted(
        *[command(name) for name in ("pid", "verb", "bogus")],
        command("state", reply=BLOCK),
        *[command(name) for name in ("load-stats", "mute")],
        commands.status(3),
        command("pid"),
    )
    answers = replies(peer.receive(mixed.reply))
    assert [reply.error is not None for reply in answers] == [False, False, True, False, False, False, False, False]
    assert answers[6].result() is not None
    assert peer.pending == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_passwords_right_and_wrong(version: str) -> None:
    sessions = read_transcript(transcript(version, "10_password"))
    right, crlf, wrong_then_right, three_wrong = sessions[:4]
    for session in (right, crlf):
        requested, accepted, greeting, *_ = replay(session)
        assert requested == PasswordRequested(1)
        assert accepted == PasswordAccepted()
        assert isinstance(greeting, Greeting)
    assert [type(event) for event in replay(wrong_then_right)] == [
        PasswordRequested,
        PasswordRequested,
        PasswordAccepted,
        Greeting,
    ]
    with pytest.raises(ManagementPasswordError, match="is wrong"):
        replay(three_wrong)


@pytest.mark.parametrize("version", VERSIONS)
def test_hold_and_signals_in_hold(version: str) -> None:
    first, second, *_ = read_transcript(transcript(version, "12_hold"))
    greeting, hold, *rest = replay(first)
    assert isinstance(greeting, Greeting)
    assert hold == HoldNotification("Waiting for hold release", 0)
    by_text = {reply.command.text: reply for reply in replies(rest)}
    # 2.4 answers a signal in hold only with a second >HOLD; later ones with ERROR and >HOLD (protocol-facts 1.6).
    assert by_text["signal SIGUSR1"].error == "signal 'SIGUSR1' is currently ignored"
    assert by_text["signal SIGHUP"].error == "signal 'SIGHUP' is currently ignored"
    assert by_text["signal SIGBOGUS"].error == "signal 'SIGBOGUS' is not a known signal type"
    assert by_text["status 2"].error == "The 'status' command is not supported by the current daemon mode"
    released = replay(second)
    signals = [reply for reply in replies(released) if reply.command.text == "signal SIGUSR1"]
    assert [reply.error for reply in signals] == [None] * len(signals)
    assert len(signals) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_signals_keep_the_session(version: str) -> None:
    session = read_transcript(transcript(version, "13_signals"))[0]
    events = replay(session)
    states = [event.state.name for event in events if isinstance(event, StateNotification)]
    assert states.count("RECONNECTING") >= 2
    assert states.count("CONNECTED") >= 2
    clients = [event for event in events if isinstance(event, ClientNotification)]
    assert clients
    assert all(client.kind == "ESTABLISHED" and client.environment["common_name"] for client in clients)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("format_version", [1, 2, 3])
def test_status_of_odd_names(version: str, format_version: int) -> None:
    (session,) = read_transcript(transcript(version, "20_names_udp4"))
    (first, *_) = [
        reply for reply in replies(replay(session)) if reply.command.text == f"status {format_version}" and reply.lines
    ]
    recorded = next(e for e in exchanges(session) if e.command == f"status {format_version}\n".encode())
    assert first.text().replace("\n", "\r\n").encode("utf-8", "surrogateescape") == recorded.reply
    assert any("Doe, John" in line for line in first.lines)


@pytest.mark.parametrize("version", WITH_EVIL_NAMES)
def test_names_that_look_like_the_protocol_are_rows(version: str) -> None:
    (session,) = read_transcript(transcript(version, "23_evil_names"))
    events = replay(session)
    assert not any(isinstance(event, Notification) for event in events)
    one, two = (next(r for r in replies(events) if r.command.text == f"status {n}") for n in (1, 2))
    for start in (">LOG:evil,", "ERROR: bad,", "END,"):
        assert any(line.startswith(start) for line in one.lines)
        assert any(line.startswith(f"CLIENT_LIST,{start}") for line in two.lines)
    assert one.error is None
    assert one.complete


@pytest.mark.parametrize("version", WITH_EVIL_NAMES)
def test_a_long_username_ends_a_status_without_end(version: str) -> None:
    (session,) = read_transcript(transcript(version, "24_long_username"))
    whole = {
        name: [e.reply for e in exchanges(session) if e.command == name + b"\n"]
        for name in (b"status 1", b"status 2", b"status 3")
    }
    assert all(reply.endswith(b"\r\nEND\r\n") for reply in whole[b"status 1"])
    broken = [reply for reply in (*whole[b"status 2"], *whole[b"status 3"]) if not reply.endswith(b"\r\nEND\r\n")]
    for reply in broken:
        peer = greeted(commands.status(3 if b"\t" in reply else 2), commands.pid())
        first, second = replies(peer.receive(reply + b"SUCCESS: pid=1\r\n"))
        assert not first.complete
        with pytest.raises(ProtocolError, match="broke off without END") as caught:
            first.result()
        assert "512" in (caught.value.hint or "")
        assert second.result() == 1
        assert "END" not in first.text()
    assert len(broken) == (8 if version == "2.6.14" else 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_live_lines_stand_before_answers_and_never_inside(version: str) -> None:
    (session,) = read_transcript(transcript(version, "50_interleave"))
    events = replay(session)
    live = [event for event in events if isinstance(event, LogNotification)]
    assert len(live) > 20
    for reply in replies(events):
        assert not any(line.startswith(">") for line in reply.lines)
    status = next(reply for reply in replies(events) if reply.command.text == "status 2")
    assert status.lines[-1].startswith("GLOBAL_STATS,")


@pytest.mark.parametrize("version", WITH_EVIL_NAMES)
def test_log_lines_of_a_kill_come_before_its_answer(version: str) -> None:
    events = replay(read_transcript(transcript(version, "54_order"))[0])
    at = next(i for i, e in enumerate(events) if isinstance(e, Reply) and e.command.text == "kill Test-Client")
    before = [event for event in events[:at] if isinstance(event, LogNotification)]
    assert any("MANAGEMENT: CMD 'kill Test-Client'" in event.entry.text for event in before)


@pytest.mark.parametrize("version", VERSIONS)
def test_client_messages_come_whole_and_without_passwords(version: str) -> None:
    events = replay(read_transcript(transcript(version, "40_client_auth"))[0])
    clients = [event for event in events if isinstance(event, ClientNotification)]
    assert {"CONNECT", "ESTABLISHED", "ADDRESS", "DISCONNECT"} == {client.kind for client in clients}
    connect = next(client for client in clients if client.kind == "CONNECT")
    assert (connect.client_id, connect.key_id) == (0, 0 if version == "2.4.12" else 1)
    assert connect.environment["common_name"] == "Test-Client"
    assert connect.environment["password"] == "[redacted]"
    assert all(
        "password" not in client.environment or client.environment["password"] == "[redacted]" for client in clients
    )
    kill = next(i for i, e in enumerate(events) if isinstance(e, Reply) and e.command.name == "kill")
    assert any(isinstance(e, ClientNotification) and e.kind == "DISCONNECT" for e in events[:kill])


@pytest.mark.parametrize("version", WITH_EVIL_NAMES)
def test_a_wrong_passphrase_ends_the_daemon(version: str) -> None:
    session = read_transcript(transcript(version, "32_client_query_key"))[0]
    events = replay(session)
    assert any(isinstance(event, FatalNotification) for event in events)
    assert version != "2.6.14" or PasswordFailedNotification("Private Key", "") in events


def test_a_second_client_is_greeted_once_the_first_has_left() -> None:
    sessions = read_transcript(transcript("2.6.14", "06_second_client"))
    greeted_ones = [session for session in sessions if session.received]
    assert len(greeted_ones) == 5
    for session in greeted_ones:
        peer = Protocol()
        assert isinstance(peer.receive(session.chunks[0])[0], Greeting)


# Greeting and password


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        (BANNER, 5),
        (b">INFO:OpenVPN Management Interface Version 1 -- type 'help' for more info\n", 1),
        (b">INFO:OpenVPN Management Version: 3\r\n", 3),
        (b">INFO:something in between\r\n", None),
    ],
)
def test_greetings_in_their_spellings(banner: bytes, version: int | None) -> None:
    peer = Protocol()
    (greeting,) = peer.receive(banner)
    assert greeting == Greeting(banner.decode().removeprefix(">INFO:").rstrip(), version)
    assert peer.state is State.READY


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "sshd"),
        (b"HTTP/1.1 400 Bad Request\r\n", "web server"),
        (b"220 mail.example.net ESMTP\r\n", "another service"),
        (b"SUCCESS: pid=1\r\n", "another service"),
        (b"\r\n", "another service"),
        (b"\x16\x03\x01" * 2000, "another service"),
    ],
)
def test_another_service_is_told_by_its_first_line(said: bytes, hint: str) -> None:
    peer = Protocol()
    with pytest.raises(ProtocolError, match="not an OpenVPN management interface") as caught:
        peer.receive(said)
    assert hint in (caught.value.hint or "")
    assert peer.state is State.BROKEN
    with pytest.raises(ProtocolError):
        peer.receive(BANNER)
    with pytest.raises(ProtocolError):
        peer.receive_eof()


def test_an_unfinished_first_line_waits() -> None:
    peer = Protocol()
    assert peer.receive(b"220 mail") == []
    assert peer.unfinished == b"220 mail"
    assert "220 mail" in peer.no_greeting().message
    with pytest.raises(ProtocolError, match="220 mail"):
        peer.receive_eof()


@pytest.mark.parametrize("said", [b"", b">INFO:Open", b"ENTER PASS"])
def test_eof_before_the_greeting(said: bytes) -> None:
    peer = Protocol()
    peer.receive(said)
    with pytest.raises(ConnectionLostError, match="without a greeting") as caught:
        peer.receive_eof()
    assert "management-client-user" in (caught.value.hint or "")
    assert peer.state is State.BROKEN


def test_messages_before_the_greeting_are_no_greeting() -> None:
    peer = Protocol()
    assert peer.receive(b">HOLD:Waiting for hold release\r\n") == [HoldNotification("Waiting for hold release", None)]
    assert peer.state is State.EXPECT_GREETING
    assert isinstance(peer.receive(BANNER)[0], Greeting)


def test_the_prompt_has_no_line_end_and_may_be_cut_anywhere() -> None:
    for cut in range(1, 15):
        peer = Protocol()
        assert peer.receive(b"ENTER PASSWORD:"[:cut]) == []
        assert peer.receive(b"ENTER PASSWORD:"[cut:]) == [PasswordRequested(1)]
        assert peer.state is State.EXPECT_PASSWORD
        assert peer.send_password(b"pass word ") == b"pass word \n"
        assert peer.state is State.CHECKING_PASSWORD
        assert peer.receive(b"SUCCESS: password is correct\r\n" + BANNER[:cut]) == [PasswordAccepted()]
        assert isinstance(peer.receive(BANNER[cut:])[0], Greeting)


def test_a_prompt_with_a_line_end_and_the_suppressed_error_are_taken_too() -> None:
    peer = Protocol()
    assert peer.receive(b"ENTER PASSWORD: \r\n") == [PasswordRequested(1)]
    peer.send_password(b"x")
    assert peer.receive(b"\r\nERROR: bad password\r\nENTER PASSWORD:") == [PasswordRequested(2)]


def test_a_password_is_not_asked_for_twice_nor_answered_unasked() -> None:
    peer = Protocol()
    assert peer.receive(b"ENTER PASSWORD:ENTER PASSWORD:") == [PasswordRequested(1)]
    assert peer.error is not None
    with pytest.raises(ProtocolError, match="twice"):
        peer.receive(b"")
    peer = Protocol()
    peer.receive(b"ENTER PASSWORD:")
    with pytest.raises(ProtocolError, match="SUCCESS: password is correct"):
        peer.receive(b"SUCCESS: password is correct\r\n")


@pytest.mark.parametrize("send", [True, False])
def test_eof_while_the_password_is_asked_for(send: bool) -> None:
    peer = Protocol()
    peer.receive(b"ENTER PASSWORD:")
    if send:
        peer.send_password(b"x")
    with pytest.raises(ConnectionLostError, match="while the management password"):
        peer.receive_eof()


@pytest.mark.parametrize("secret", [b"s3cr3t\n", b"s3\tcr3t", b"s3cr3t" * 200])
def test_a_password_that_cannot_be_sent_is_not_shown(secret: bytes) -> None:
    peer = Protocol()
    peer.receive(b"ENTER PASSWORD:")
    with pytest.raises(ManagementPasswordError) as caught:
        peer.send_password(secret)
    assert "s3" not in f"{caught.value!r} {caught.value.hint}"
    assert peer.state is State.EXPECT_PASSWORD


def test_nothing_is_sent_before_its_time() -> None:
    peer = Protocol()
    with pytest.raises(RuntimeError, match="EXPECT_GREETING"):
        peer.send(commands.pid())
    with pytest.raises(RuntimeError, match="EXPECT_GREETING"):
        peer.send_password(b"x")
    peer.receive(BANNER)
    assert peer.receive_eof() == []
    assert peer.state is State.CLOSED
    with pytest.raises(RuntimeError, match="CLOSED"):
        peer.send(commands.pid())
    with pytest.raises(RuntimeError, match="after EOF"):
        peer.receive(b"x")


# Replies


def test_line_replies() -> None:
    peer = greeted(commands.pid(), commands.verb(4))
    assert peer.receive(b"SUCCESS: pid=45") == []
    assert peer.unfinished == b"SUCCESS: pid=45"
    pid = answer(peer, b"38\r\n")
    assert (pid.result(), pid.lines, pid.text()) == (4538, ("SUCCESS: pid=4538",), "SUCCESS: pid=4538\n")
    assert peer.pending == (commands.verb(4),)
    refused = answer(peer, b"ERROR: verb level is out of range\n")
    assert refused.text() == "ERROR: verb level is out of range\n"
    with pytest.raises(CommandFailedError, match=r"^verb level is out of range$") as caught:
        refused.result()
    assert caught.value.hint is None


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("The 'status' command is not supported by the current daemon mode", "fleet state"),
        ("The client-kill command is not supported by the current daemon mode", "fleet hold"),
        ("unknown command [x], enter 'help' for more options", "fleet version"),
        ("signal 'SIGUSR1' is currently ignored", "fleet hold release"),
    ],
)
def test_known_failures_have_a_hint(error: str, hint: str) -> None:
    with pytest.raises(CommandFailedError) as caught:
        Reply(commands.pid(), (), error=error).result()
    assert hint in (caught.value.hint or "")


REFUSED = "The '{}' command is not supported by the current daemon mode"


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("kill", "it waits for a hold release", "fleet hold release"),
        ("kill", "its tunnel was not up within 10 s", "--reply-timeout"),
        ("kill", "it is up, and has no such mode", "for servers"),
        ("remote", "it is up, and has no such mode", "client daemons"),
        ("remote-entry-count", None, "client daemons"),
    ],
)
def test_the_hint_goes_by_the_reason(name: str, reason: str | None, hint: str) -> None:
    with pytest.raises(CommandFailedError) as caught:
        Reply(command(name), (), error=REFUSED.format(name), reason=reason).result()
    assert hint in (caught.value.hint or "")
    assert "whether the daemon is in hold" not in (caught.value.hint or "")


def test_block_replies() -> None:
    peer = greeted(command("echo", "all", reply=BLOCK), command("log", "all", reply=BLOCK), commands.state())
    empty = answer(peer, b"END\r\n")
    assert (empty.lines, empty.result(), empty.text()) == ((), (), "END\n")
    rows = answer(peer, b"1,,followed by END\r\n\r\n>LOG:x\r\nSUCCESS: x\r\nERROR: x\r\n END\r\nEND \r\nEND\r\n")
    assert rows.result() == ("1,,followed by END", "", ">LOG:x", "SUCCESS: x", "ERROR: x", " END", "END ")
    refused = answer(peer, b"ERROR: state parameter must be ...\r\n")
    assert refused.error == "state parameter must be ..."
    assert peer.receive_eof() == []


def test_a_reply_that_does_not_parse_is_a_protocol_error() -> None:
    peer = greeted(commands.pid())
    with pytest.raises(ProtocolError, match="the reply to 'pid' is not one"):
        answer(peer, b"SUCCESS: nonsense\r\n").result()


def test_bytes_of_any_encoding_come_back_exactly() -> None:
    peer = greeted(command("kill", "\udcff\udcfe"))
    reply = answer(peer, b"ERROR: common name '\xff\xfe' not found\r\n")
    assert reply.text().encode("utf-8", "surrogateescape") == b"ERROR: common name '\xff\xfe' not found\n"


@pytest.mark.parametrize("line", [b"nonsense", b"", b"END", b"success: x", b"--auth-retry method must be"])
def test_a_line_reply_is_success_or_error(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="the reply to 'pid' is not one that OpenVPN gives"):
        greeted(commands.pid()).receive(line + b"\r\n")


@pytest.mark.parametrize("line", [b"SUCCESS: pid=1", b"ERROR: x", b"END", b"", b"\x00"])
def test_a_line_that_answers_nothing(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="answers nothing"):
        greeted().receive(line + b"\r\n")


def test_a_block_without_a_fence_does_not_begin_with_success() -> None:
    with pytest.raises(ProtocolError, match="the reply to 'status 1'"):
        greeted(commands.status(1)).receive(b"SUCCESS: x\r\n")


def test_a_status_that_never_came_leaves_the_next_answer_alone() -> None:
    """A DCO daemon whose kernel statistics fail answers a status with nothing (protocol-facts 10.12)."""
    peer = greeted(commands.status(3), commands.load_stats())
    gone, stats = replies(peer.receive(b"SUCCESS: nclients=1,bytesin=2,bytesout=3\r\n"))
    assert (gone.lines, gone.complete) == ((), False)
    assert stats.error is None
    assert stats.result() is not None


def test_the_fence_may_come_in_a_later_chunk_and_may_be_an_error() -> None:
    peer = greeted(commands.status(2), commands.verb(4), commands.pid())
    assert peer.receive(b"TITLE,x\r\nTIME") == []
    gone, verb = replies(peer.receive(b",1,2\r\nERROR: no\r\n"))
    assert (gone.lines, gone.complete, verb.error) == (("TITLE,x", "TIME,1,2"), False, "no")
    assert answer(peer, b"SUCCESS: pid=7\r\n").result() == 7


def test_a_fence_with_nothing_behind_it_answers_nothing() -> None:
    peer = greeted(commands.status(3))
    (gone,) = peer.receive(b"TITLE\tx\r\nSUCCESS: x\r\n")
    assert isinstance(gone, Reply)
    assert isinstance(peer.error, ProtocolError)
    assert peer.state is State.BROKEN


def test_commands_without_reply_and_with_a_notification_for_it() -> None:
    peer = greeted(command("quit", reply=NONE))
    assert peer.pending == ()
    assert peer.receive_eof() == []
    peer = greeted(command("pkcs11-id-count", reply=NOTIFICATION))
    events = peer.receive(b">LOG:1,,x\r\n>PKCS11ID-COUNT:0\r\n")
    assert isinstance(events[0], LogNotification)
    reply = events[1]
    assert isinstance(reply, Reply)
    assert (reply.result(), reply.text()) == (("0",), ">PKCS11ID-COUNT:0\n")
    peer.send(command("pkcs11-id-count", reply=NOTIFICATION))
    assert answer(peer, b"ERROR: unknown command\r\n").error == "unknown command"


def test_the_first_hold_is_the_daemons_own_and_the_second_answers_a_signal() -> None:
    hold = b">HOLD:Waiting for hold release:0\r\n"
    peer = greeted(commands.signal("SIGUSR1"))
    assert replies(peer.receive(hold)) == []
    assert answer(peer, hold).error == "signal 'SIGUSR1' is currently ignored"
    peer.send(commands.signal("SIGTERM"))
    assert replies(peer.receive(hold)) == []
    assert answer(peer, b"SUCCESS: signal SIGTERM thrown\r\n").error is None


def test_a_command_that_cannot_be_sent_is_not_waited_for() -> None:
    peer = greeted()
    with pytest.raises(UsageError):
        peer.send(command("kill", "a\nb"))
    assert peer.pending == ()


# Notifications


def test_a_client_message_that_is_cut_short_comes_as_it_is() -> None:
    peer = greeted(commands.pid())
    begun = b">CLIENT:ESTABLISHED,4\r\n>CLIENT:ENV,a=1\r\n>CLIENT:ENV,b\r\n"
    assert peer.receive(begun) == []
    client, reply = peer.receive(b"SUCCESS: pid=1\r\n")
    assert client == ClientNotification("ESTABLISHED", 4, environment={"a": "1", "b": ""})
    assert isinstance(reply, Reply)
    assert peer.receive(begun + b">CLIENT:ENV,END\r\n") == [client]
    orphan = peer.receive(b">CLIENT:ENV,password=x\r\n")
    assert orphan == [UnknownNotification("CLIENT", "ENV,password=[redacted]")]


def test_the_environment_of_a_tunnel_is_part_of_its_message() -> None:
    peer = greeted(commands.pid())
    begun = b">UPDOWN:UP\r\n>UPDOWN:ENV,dev=tun0\r\n>UPDOWN:ENV,password=x\r\n"
    up = UpDownNotification("UP", {"dev": "tun0", "password": "[redacted]"})
    assert peer.receive(begun + b">UPDOWN:ENV,END\r\n") == [up]
    client = b">CLIENT:ESTABLISHED,4\r\n>CLIENT:ENV,a=1\r\n>CLIENT:ENV,END\r\n"
    assert peer.receive(begun + client) == [up, ClientNotification("ESTABLISHED", 4, environment={"a": "1"})]


def test_recorded_tunnels_are_one_event_each() -> None:
    (session,) = read_transcript(transcript("2.6.14", "36_static_challenge"))
    up, down = [event for event in replay(session) if isinstance(event, UpDownNotification)]
    assert (up.kind, down.kind) == ("UP", "DOWN")
    assert up.environment == down.environment
    assert (up.environment["dev"], up.environment["ifconfig_local"]) == ("null", "10.99.1.2")


def test_a_second_banner_is_a_message() -> None:
    assert isinstance(greeted().receive(BANNER)[0], InfoNotification)


# Ends


def test_eof_in_the_middle_names_the_command() -> None:
    peer = greeted(commands.pid(), commands.status(3))
    peer.receive(b"SUCCESS: pid=1\r\nTITLE\tx\r\n")
    with pytest.raises(ConnectionLostError, match="'status 3'"):
        peer.receive_eof()
    with pytest.raises(ConnectionLostError):
        peer.receive(b"")


def test_eof_behind_fatal_says_why() -> None:
    fatal = b">FATAL:Error: private key password\x1b verification failed\r\n"
    peer = greeted(commands.pid())
    peer.receive(fatal)
    with pytest.raises(ConnectionLostError, match=r"fatal error: Error: private key password\\x1b verification"):
        peer.receive_eof()
    peer = greeted()
    peer.receive(fatal)
    assert peer.receive_eof() == []


def test_text_of_a_peer_is_shown_short_and_harmless() -> None:
    assert shown("Zoë \x1b[2J\n\udcff") == "Zoë \\x1b[2J\\n\\udcff"
    assert shown("x" * 200) == "x" * 120 + "..."


# Limits


def test_limits_on_lines_and_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProtocolError, match="a line of more than 1 MiB"):
        greeted(commands.pid()).receive(b"x" * 2**20)
    with pytest.raises(ProtocolError, match="a line of more than 1 MiB"):
        greeted(commands.pid()).receive(b"x" * 2**20 + b"\r\n")
    peer = greeted(commands.pid())
    assert len(peer.receive(b"SUCCESS: pid=1\r\n" + b"x" * 2**20 + b"\r\n")) == 1
    with pytest.raises(ProtocolError, match="a line of more than 1 MiB"):
        peer.receive(b"")
    assert answer(greeted(commands.status(1)), b"x" * (2**20 - 1) + b"\nEND\n").complete
    many = greeted(commands.status(1))
    with pytest.raises(ProtocolError, match="has no end"):
        feed(many, [b"x\r\n" * 100_000] * 6)
    monkeypatch.setattr(protocol, "REPLY_LIMIT", 1000)
    with pytest.raises(ProtocolError, match="has no end"):
        greeted(commands.status(1)).receive(b"x" * 900 + b"\r\n" + b"x" * 101 + b"\r\nEND\r\n")


@pytest.mark.parametrize(("head", "source"), [("CLIENT:ESTABLISHED,1", "CLIENT"), ("UPDOWN:UP", "UPDOWN")])
def test_an_endless_environment(head: str, source: str) -> None:
    peer = greeted()
    peer.receive(f">{head}\r\n".encode())
    with pytest.raises(ProtocolError, match="notification of the daemon has no end"):
        feed(peer, [f">{source}:ENV,=\r\n".encode() * 10_000] * 20)


def test_a_first_line_without_end() -> None:
    peer = Protocol()
    with pytest.raises(ProtocolError, match="not an OpenVPN management interface"):
        feed(peer, [b"x"] * 5000)


def test_a_big_status_byte_by_byte_is_not_quadratic() -> None:
    """A line of 1 MiB in pieces of one byte: quadratic copying would move half a terabyte and never end in time."""
    peer = greeted(commands.status(1))
    start = time.process_time()
    for _ in range(2**20 - 2):
        peer.receive(b"x")
    assert answer(peer, b"\r\nEND\r\n").lines == ("x" * (2**20 - 2),)
    assert time.process_time() - start < 60


def test_ten_thousand_clients_are_within_the_limits() -> None:
    row = b"CLIENT_LIST\t%05d\t192.0.2.1:4000\t10.8.0.1\t\t1\t2\t2026-11-22 08:56:14\t1795337774\tUNDEF\t0\t0\tAES\r\n"
    data = b"TITLE\tx\r\n" + b"".join(row % i for i in range(20_000)) + b"END\r\n"
    peer = greeted(commands.status(3))
    (reply,) = replies(feed(peer, [data[i : i + 32768] for i in range(0, len(data), 32768)]))
    assert len(reply.lines) == 20_001
    assert reply.lines[-1].startswith("CLIENT_LIST\t19999\t")


# Properties

PIECES: Sequence[bytes] = [
    BANNER,
    b"ENTER PASSWORD:",
    b"SUCCESS: password is correct\r\n",
    b"SUCCESS: pid=1\r\n",
    b"ERROR: no\r\n",
    b"SUCCESS:",
    b"ERROR:",
    b"END\r\n",
    b"END",
    b"\r\n",
    b"\n",
    b"\r",
    b">",
    b">LOG:1,,x\r\n",
    b">HOLD:Waiting for hold release:0\r\n",
    b">FATAL:x\r\n",
    b">CLIENT:CONNECT,1,2\r\n",
    b">CLIENT:ENV,password=x\r\n",
    b">CLIENT:ENV,END\r\n",
    b">UPDOWN:UP\r\n",
    b">UPDOWN:ENV,a=1\r\n",
    b">UPDOWN:ENV,END\r\n",
    b"TITLE\tx\r\n",
    b"CLIENT_LIST,ERROR: bad,x\r\n",
    b">LOG:evil,127.0.0.1\r\n",
    b"\xff\xfe",
    "ë".encode(),
]
STREAMS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=30).map(b"".join)
SENDABLE = st.lists(
    st.sampled_from(
        [
            commands.pid(),
            commands.status(1),
            commands.status(3),
            commands.state(),
            commands.signal("SIGUSR1"),
            command("pkcs11-id-count", reply=NOTIFICATION),
            command("quit", reply=NONE),
        ]
    ),
    max_size=5,
)


def drive(start: Callable[[], Protocol], chunks: Iterable[bytes]) -> tuple[list[Event], str]:
    """Events and the end of a session: any error but the documented ones passes through and fails the test."""
    peer, events = start(), list[Event]()
    try:
        for chunk in chunks:
            events += peer.receive(chunk)
        events += peer.receive_eof()
    except (ProtocolError, ConnectionLostError, ManagementPasswordError) as error:
        assert peer.state is State.BROKEN
        return events, f"{type(error).__name__}: {error.message} {error.hint}"
    return events, peer.state.name


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)] or [data]


def starter(before: bytes, sent: Sequence[Command[Any]]) -> Callable[[], Protocol]:
    def start() -> Protocol:
        peer = Protocol()
        peer.receive(before)
        if peer.state is State.EXPECT_PASSWORD:
            peer.send_password(b"x")
        elif peer.state is State.READY:
            for one in sent:
                peer.send(one)
        return peer

    return start


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([b"", b"ENTER PASSWORD:", BANNER]), SENDABLE, STREAMS, st.lists(st.integers(0, 2**16)))
def test_events_do_not_depend_on_how_bytes_are_cut(
    before: bytes, sent: list[Command[Any]], data: bytes, cuts: list[int]
) -> None:
    start = starter(before, sent)
    whole = drive(start, [data])
    assert drive(start, pieces(data, cuts)) == whole
    assert drive(start, [data[i : i + 1] for i in range(len(data))]) == whole


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([b"", b"ENTER PASSWORD:", BANNER]), SENDABLE, st.lists(st.one_of(STREAMS, st.binary(max_size=300)))
)
def test_any_bytes_are_survived(before: bytes, sent: list[Command[Any]], chunks: list[bytes]) -> None:
    events, _ = drive(starter(before, sent), chunks)
    for reply in replies(events):
        assert isinstance(reply.text(), str)
        with suppress(CommandFailedError, ProtocolError):
            reply.result()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**10), SENDABLE, STREAMS, st.lists(st.integers(0, 2**16), max_size=5))
def test_limits_do_not_depend_on_how_bytes_are_cut(
    lines: int, size: int, sent: list[Command[Any]], data: bytes, cuts: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "LINE_LIMIT", 12)
        patch.setattr(protocol, "GREETING_LIMIT", 100)
        patch.setattr(protocol, "REPLY_LINES_LIMIT", lines)
        patch.setattr(protocol, "REPLY_LIMIT", size)
        patch.setattr(protocol, "ENVIRONMENT_LIMIT", size)
        start = starter(BANNER, sent)
        assert drive(start, pieces(data, cuts)) == drive(start, [data])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(VERSIONS), st.lists(st.integers(0, 2**20), max_size=200))
def test_a_real_session_does_not_depend_on_how_bytes_are_cut(version: str, cuts: list[int]) -> None:
    (session,) = read_transcript(transcript(version, "20_names_udp4"))
    exchange = next(e for e in exchanges(session) if e.command == b"status 3\n")
    start = starter(BANNER, [commands.status(3)])
    assert drive(start, pieces(exchange.reply, cuts)) == drive(start, [exchange.reply])


def test_commands_compare_by_what_they_are() -> None:
    """The properties above compare replies, and with them commands."""
    assert commands.status(3) == commands.status(3)
    assert replace(commands.status(3), fence=False) != commands.status(3)
