"""The traps of the management interface, each as daemons lay it (protocol-facts 1, 2, 3, 7), at the protocol."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import CommandFailedError, ConnectionLostError, ProtocolError, UsageError
from fleet.management import commands, notifications, protocol
from fleet.management.commands import Command, ReplyKind, custom_command, parse_command
from fleet.management.notifications import HoldNotification, LogNotification, NeedNotification
from fleet.management.protocol import Event, Protocol, Reply
from support.transcripts import VERSIONS, exchanges, read_transcript, transcript

BANNER = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
PID = b"SUCCESS: pid=7\r\n"
SECRET = "s3cr3t"


def sent(*texts: str | Command[Any]) -> Protocol:
    """A protocol that was greeted and has sent these commands."""
    peer = Protocol()
    peer.receive(BANNER)
    for text in texts:
        peer.send(parse_command(text) if isinstance(text, str) else text)
    return peer


def replies(events: Iterable[Event]) -> list[Reply[Any]]:
    return [event for event in events if isinstance(event, Reply)]


# Replies that never come, and those that nothing ends


@pytest.mark.parametrize(
    ("text", "answer", "value"),
    [
        ("version 4", b"", None),
        ("version 4", b"SUCCESS: Management client version set to 4\r\n", "Management client version set to 4"),
        ("version 4", b"OpenVPN Version: OpenVPN 2.4.12 x\r\nManagement Version: 1\r\nEND\r\n", None),
        ("test 0", b"", ()),
        ("test 2", b"[0] x\r\n[1] x\r\n", ("[0] x", "[1] x")),
        ("net", b"SYSTEM ROUTING TABLE\r\n0.0.0.0 0.0.0.0\r\n", ("SYSTEM ROUTING TABLE", "0.0.0.0 0.0.0.0")),
        ("push-update-cid 0 -dns", b"SUCCESS: 1 client(s) updated\r\nSUCCESS: push-update command succeeded\r\n", None),
    ],
)
def test_the_answer_to_the_pid_behind_it_ends_a_reply_that_nothing_else_ends(
    text: str, answer: bytes, value: object
) -> None:
    for cut in range(len(answer) + 1):
        peer = sent(text, "pid", "verb")
        events = peer.receive(answer[:cut]) + peer.receive(answer[cut:] + PID + b"SUCCESS: verb=3\r\n")
        first, second, third = replies(events)
        expected = ("1 client(s) updated", "push-update command succeeded") if "push" in text else value
        assert first.result() == expected
        assert first.text() == answer.decode().replace("\r\n", "\n")
        assert (second.result(), third.result()) == (7, 3)
        assert peer.pending == ()


def test_two_errors_are_one() -> None:
    peer = sent("push-update-broad -dns", "pid")
    first, _ = replies(peer.receive(b"ERROR: no client updated\r\nERROR: push-update command failed\r\n" + PID))
    assert first.text() == "ERROR: no client updated\nERROR: push-update command failed\n"
    with pytest.raises(CommandFailedError, match=r"^no client updated; push-update command failed$"):
        first.result()


def test_messages_come_between_loose_lines() -> None:
    peer = sent("test 1", "pid")
    log, first, *_ = peer.receive(b">LOG:1,D,MANAGEMENT: CMD 'test 1'\r\n[0] x\r\n" + PID)
    assert isinstance(log, LogNotification)
    assert isinstance(first, Reply)
    assert first.lines == ("[0] x",)


def test_loose_lines_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REPLY_LINES_LIMIT", 3)
    peer = sent("test 3", "pid")
    assert peer.receive(b"[0] x\r\n" * 3) == []
    with pytest.raises(ProtocolError, match="the reply to 'test 3' has no end"):
        peer.receive(b"[3] x\r\n")
    monkeypatch.setattr(protocol, "REPLY_LIMIT", 10)
    with pytest.raises(ProtocolError, match="has no end"):
        sent("test 3", "pid").receive(b"[0] xxxxxxx\r\n")


def test_a_fence_that_was_not_sent() -> None:
    peer = sent("version 4")
    (reply,) = replies(peer.receive(PID))
    assert reply.result() is None
    with pytest.raises(ProtocolError, match="a fence that was not sent"):
        peer.receive(b"")


def test_eof_in_loose_lines() -> None:
    peer = sent("test 3", "pid")
    peer.receive(b"[0] x\r\n")
    with pytest.raises(ConnectionLostError, match="the reply to 'test 3'"):
        peer.receive_eof()


@pytest.mark.parametrize("text", ["client-auth 3 1", "client-pf 3"])
def test_lines_behind_a_command_are_swallowed_up_to_their_end(text: str) -> None:
    command = parse_command(f"{text}\npush x\nEND")
    assert command.encode() == f"{text}\npush x\nEND\n".encode()
    peer = sent(command, "pid")
    first, _ = replies(peer.receive(b"SUCCESS: command succeeded\r\n" + PID))
    assert first.result() == ("command succeeded",)


def test_lines_behind_a_command_that_was_refused_are_commands_to_the_daemon() -> None:
    peer = sent("pk-sig\nTUlJQg==\nTUlJQg==", "pid")
    unknown = b"ERROR: unknown command [TUlJQg==], enter 'help' for more options\r\n"
    end = b"ERROR: unknown command [END], enter 'help' for more options\r\n"
    refused = b"ERROR: The pk-sig command is not currently available\r\n"
    first, second = replies(peer.receive(refused + unknown * 2 + end + PID))
    with pytest.raises(CommandFailedError, match=r"^The pk-sig command is not currently available$"):
        first.result()
    assert len(first.lines) == 4
    assert second.result() == 7


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_daemons_swallowed_behind_client_auth(version: str) -> None:
    """`client-auth`, `pid`, `status`, END: one answer, at END (protocol-facts 1.3)."""
    found = exchanges(read_transcript(transcript(version, "02_basic_0clients"))[0])
    at = next(i for i, exchange in enumerate(found) if exchange.command == b"client-auth 0 0\n")
    assert [exchange.command for exchange in found[at : at + 5]] == [
        b"client-auth 0 0\n",
        b"pid\n",
        b"status\n",
        b"END\n",
        b"pid\n",
    ]
    peer = sent("client-auth 0 0", "pid")
    first, second = replies(peer.receive(b"".join(exchange.reply for exchange in found[at : at + 5])))
    assert first.error == "client-auth command failed"
    assert second.result() > 1


@pytest.mark.parametrize("text", ["", "  ", "# note", "; note"])
def test_lines_that_a_daemon_never_answers_are_not_sent(text: str) -> None:
    with pytest.raises(UsageError):
        parse_command(text)


def test_nothing_is_expected_of_a_command_without_a_reply() -> None:
    peer = sent(custom_command("version 3", ReplyKind.NONE), "pid")
    (reply,) = replies(peer.receive(PID))
    assert reply.result() == 7


# Several answers to one command


LIST = b"1,,one\r\n2,,two\r\nEND\r\n"
ON = b"SUCCESS: real-time log notification set to ON\r\n"


@pytest.mark.parametrize(
    ("text", "answer", "rows"),
    [
        ("log on all", ON + LIST, 2),
        ("log 5 on", LIST + ON, 2),
        ("log on off", ON + ON, 0),
        ("log 1 2", LIST + LIST, 4),
    ],
)
def test_two_words_have_two_answers(text: str, answer: bytes, rows: int) -> None:
    for cut in range(len(answer)):
        peer = sent(text, "pid")
        events = peer.receive(answer[:cut]) + peer.receive(answer[cut:] + PID)
        both, pid = replies(events)
        assert len(both.result()) == rows
        assert len(both.parts) == 2
        assert both.text() == answer.decode().replace("\r\n", "\n")
        assert (both.error, both.complete, pid.result()) == (None, True, 7)


def test_a_message_between_two_answers() -> None:
    peer = sent("log on all")
    log, both = peer.receive(ON + b">LOG:1,I,between\r\n" + LIST)
    assert isinstance(log, LogNotification)
    assert isinstance(both, Reply)
    assert [part.command.reply for part in both.parts] == [ReplyKind.LINE, ReplyKind.BLOCK]
    assert both.lines == (ON.decode().strip(), "1,,one", "2,,two")


def test_an_error_is_the_last_of_the_answers() -> None:
    peer = sent("log on all", "state on 1", "pid")
    unknown = b"ERROR: unknown command, enter 'help' for more options\r\n"
    first, second, pid = replies(peer.receive(unknown + ON + b"ERROR: not now\r\n" + PID))
    assert (first.error, len(first.parts)) == ("unknown command, enter 'help' for more options", 1)
    assert (second.error, len(second.parts)) == ("not now", 2)
    with pytest.raises(CommandFailedError, match=r"^not now$"):
        second.result()
    assert second.text() == f"{ON.decode().strip()}\nERROR: not now\n"
    assert pid.result() == 7


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("text", ["log on all", "state on all", "echo on all", "log 5 on"])
def test_recorded_answers_in_two_parts(version: str, text: str) -> None:
    found = exchanges(read_transcript(transcript(version, "02_basic_0clients"))[0])
    answer = next(exchange.reply for exchange in found if exchange.command == f"{text}\n".encode())
    (reply,) = replies(sent(text).receive(answer))
    assert [part.complete for part in reply.parts] == [True, True]
    assert len(reply.result()) > 0


# ERROR in place of a block, and rows that look like the protocol


@pytest.mark.parametrize("text", ["status 1", "status 3", "log 5", "state", "help", "remote-entry-get all"])
def test_an_error_takes_the_place_of_a_block(text: str) -> None:
    refused, pid = replies(sent(text, "pid").receive(b"ERROR: not now\r\n" + PID))
    assert (refused.error, refused.lines, pid.result()) == ("not now", (), 7)


def test_rows_of_status_1_may_look_like_anything_but_end() -> None:
    rows = ["OpenVPN CLIENT LIST", ">LOG:evil,192.0.2.1:1,1,1,x", "ERROR: bad,1", "SUCCESS: pid=7", "END,1", ">", ""]
    answer = "".join(f"{row}\r\n" for row in [*rows, "END"]).encode()
    status, pid = sent("status 1", "pid").receive(answer + PID)
    assert isinstance(status, Reply)
    assert status.lines == tuple(rows)
    assert isinstance(pid, Reply)


@pytest.mark.parametrize(
    "kept",
    [
        b">LOG:1,D,MANAGEMENT: CMD 'kill x'\r\n",
        b">CLIENT:DISCONNECT,1\r\n>CLIENT:ENV,common_name=x\r\n>CLIENT:ENV,END\r\n",
        b">CLIENT:DISCONNECT,1\r\n>CLIENT:ENV,common_name=x\r\n",
    ],
)
@pytest.mark.parametrize(
    ("text", "answer"), [("kill x", b"SUCCESS: common name 'x' found, 1 client(s) killed\r\n"), ("state", b"END\r\n")]
)
def test_messages_between_a_command_and_its_answer(kept: bytes, text: str, answer: bytes) -> None:
    message, reply = sent(text).receive(kept + answer)
    assert isinstance(message, notifications.Notification)
    assert isinstance(reply, Reply)
    assert reply.error is None


# Abilities of releases


def test_the_release_is_known_as_far_as_the_session_has_shown_it() -> None:
    peer = sent("cr-response x")
    unknown = b"ERROR: unknown command, enter 'help' for more options\r\n"
    (reply,) = replies(peer.receive(unknown))
    assert reply.release == "2.6 or 2.7"  # of its interface, which the banner names
    peer.send(commands.help_())
    peer.receive(b"Management Interface for OpenVPN 2.6.14 x86_64 [SSL]\r\nCommands:\r\nEND\r\n")
    peer.send(parse_command("push-update-cid 1 -dns"))
    peer.send(commands.pid())
    with pytest.raises(CommandFailedError, match=r"wants OpenVPN 2\.7 or later; this daemon is OpenVPN 2\.6\.14$"):
        replies(peer.receive(unknown + PID))[0].result()


def test_a_release_that_nothing_has_shown() -> None:
    peer = Protocol()
    peer.receive(b">INFO:pass-through\r\n")
    peer.send(parse_command("cr-response x"))
    (reply,) = replies(peer.receive(b"ERROR: unknown command\r\n"))
    with pytest.raises(CommandFailedError, match=r"^'cr-response' wants OpenVPN 2\.5 or later$"):
        reply.result()


def test_an_unknown_command_that_fleet_does_not_know_either() -> None:
    peer = sent(custom_command("rewind", ReplyKind.LINE))
    (reply,) = replies(peer.receive(b"ERROR: unknown command [rewind], enter 'help' for more options\r\n"))
    with pytest.raises(CommandFailedError, match=r"^unknown command \[rewind\]"):
        reply.result()


# Secrets in what a daemon says


@pytest.mark.parametrize(
    "line",
    [
        f">LOG:1,D,MANAGEMENT: CMD 'needstr pin {SECRET}'",
        f">LOG:1,D,MANAGEMENT: CMD 'cr-response {SECRET}'",
        f">LOG:1,D,MANAGEMENT: CMD 'password \"Auth\" {SECRET}'x'",
        f">CLIENT:CR_RESPONSE,1,1,{SECRET}",
        f">CLIENT:CR_RESPONSE,{SECRET}",
        f">PASSWORD:Auth-Token:{SECRET}",
        f">UPDOWN:ENV,password={SECRET}",
        f">CLIENT:ENV,password={SECRET}",
    ],
)
def test_no_event_has_a_secret(line: str) -> None:
    peer = sent()
    events = peer.receive(f"{line}\r\n>HOLD:x\r\n".encode())
    assert isinstance(events[-1], HoldNotification)
    assert SECRET not in repr(events)


def test_the_environment_of_a_client_has_no_secret() -> None:
    block = ["CONNECT,1,1", "ENV,common_name=a", f"ENV,password={SECRET}", f"ENV,response={SECRET}", "ENV,END"]
    (client,) = sent().receive("".join(f">CLIENT:{line}\r\n" for line in block).encode())
    assert isinstance(client, notifications.ClientNotification)
    assert SECRET not in repr(client)
    assert dict(client.environment) == {"common_name": "a", "password": "[redacted]", "response": "[redacted]"}


def test_a_log_that_repeats_secrets_comes_without_them() -> None:
    rows = f"1,D,MANAGEMENT: CMD 'needstr pin {SECRET}'\r\n1,D,MANAGEMENT: CMD 'verb 4'\r\nEND\r\n"
    (reply,) = replies(sent("log all").receive(rows.encode()))
    assert reply.lines == ("1,D,MANAGEMENT: CMD 'needstr [...]'", "1,D,MANAGEMENT: CMD 'verb 4'")


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_servers_with_client_auth_tell_no_password(version: str) -> None:
    session = read_transcript(transcript(version, "40_client_auth"))[0]
    passwords = {
        line.partition("=")[2]
        for exchange in exchanges(session)
        for line in exchange.lines
        if line.startswith(">CLIENT:ENV,password=")
    }
    assert passwords
    peer = sent()
    blocks = [line for exchange in exchanges(session) for line in exchange.lines if line.startswith(">CLIENT:")]
    events = peer.receive("".join(f"{line}\r\n" for line in blocks).encode())
    shown = {
        value
        for event in events
        if isinstance(event, notifications.ClientNotification)
        for value in event.environment.values()
    }
    assert not passwords & shown
    assert len(events) == sum(not line.startswith(">CLIENT:ENV,") for line in blocks)


# The size of what a notification keeps


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (">LOG:1,,abc", 3),
        (">ECHO:1,abc", 3),
        (">INFO:abc", 3),
        (">NEWS:abc", 7),
        (">HOLD:abc", 3),
        (">PASSWORD:Need 'xy' username/password SC:1,abc", 10),
        (">PASSWORD:Verification Failed: 'xy' ['CRV1:abc']", 14),
        (">STATE:1,CONNECTED,abc,10.8.0.1,,,,,,ijk", 23),
        (">PKCS11ID-ENTRY:'0', abc", 3),
        (">NEED-OK:Need 'x' confirmation MSG:abc", 4),
        (">BYTECOUNT:1,2", 0),
        (">CLIENT:ADDRESS,1,10.8.0.2,1", 0),
    ],
)
def test_the_size_of_a_notification(line: str, size: int) -> None:
    (event,) = sent().receive(f"{line}\r\n".encode())
    assert isinstance(event, notifications.Notification)
    assert notifications.notification_size(event) == size


def test_the_size_of_a_clients_environment() -> None:
    (event,) = sent().receive(b">CLIENT:ESTABLISHED,1\r\n>CLIENT:ENV,abc=de\r\n>CLIENT:ENV,END\r\n")
    assert isinstance(event, notifications.ClientNotification)
    assert notifications.notification_size(event) == 5


def test_a_need_in_both_forms() -> None:
    events = sent().receive(
        b">NEED-OK:Need 'token' confirmation MSG:Insert it\r\n>NEED-STR:Need 'name' input MSG:Who\r\n"
    )
    assert events == [
        NeedNotification(text_wanted=False, request="token", message="Insert it"),
        NeedNotification(text_wanted=True, request="name", message="Who"),
    ]


# Any bytes at all


TEXTS = ["log on all", "test 2", "version 4", "client-auth 1 1", "status 1", "status 3", "pid", "pkcs11-id-count"]
LINES = [
    b"SUCCESS: pid=7\r\n",
    b"SUCCESS: x\r\n",
    b"ERROR: x\r\n",
    b"END\r\n",
    b"1,,x\r\n",
    b"\r\n",
    b">LOG:1,,x\r\n",
    b">PKCS11ID-COUNT:1\r\n",
    b">HOLD:x\r\n",
]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4),
    st.lists(st.sampled_from(LINES), max_size=12),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_how_the_bytes_are_cut_makes_no_difference(texts: list[str], lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(lines)

    def events_of(chunks: list[bytes]) -> tuple[str, str]:
        peer = sent(*[each for text in texts for each in (text, "pid")])
        events: list[Event] = []
        try:
            for chunk in chunks:
                events += peer.receive(chunk)
        except ProtocolError as error:
            return repr(events), error.message
        return repr(events), peer.error.message if peer.error else ""

    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    whole = events_of([data])
    assert events_of([data[a:b] for a, b in pairwise(edges)]) == whole
