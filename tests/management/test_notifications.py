from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.management import notifications as n
from fleet.management.notifications import parse_notification
from fleet.management.replies import EchoLine, LogLine
from support.transcripts import TRANSCRIPTS, read_transcript


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (">BYTECOUNT:1,18446744073709551615", n.ByteCountNotification(1, 18446744073709551615)),
        (">BYTECOUNT_CLI:7,3040,3142", n.ClientByteCountNotification(7, 3040, 3142)),
        (">CLIENT:ESTABLISHED,0", n.ClientNotification("ESTABLISHED", 0)),
        (">CLIENT:DISCONNECT,2", n.ClientNotification("DISCONNECT", 2)),
        (">CLIENT:CONNECT,3,1", n.ClientNotification("CONNECT", 3, 1)),
        (">CLIENT:REAUTH,3,2", n.ClientNotification("REAUTH", 3, 2)),
        (">CLIENT:ADDRESS,0,10.200.0.2,1", n.ClientNotification("ADDRESS", 0, address="10.200.0.2")),
        (">CLIENT:CR_RESPONSE,3,1,c2VjcmV0", n.ClientNotification("CR_RESPONSE", 3, 1)),
        (
            ">ECHO:1795337192,hello, you",
            n.EchoNotification(EchoLine(datetime.fromtimestamp(1795337192, UTC), "hello, you")),
        ),
        (">FATAL:Error: key", n.FatalNotification("Error: key")),
        (">HOLD:Waiting for hold release", n.HoldNotification("Waiting for hold release", None)),
        (">HOLD:Waiting for hold release:10", n.HoldNotification("Waiting for hold release", 10)),
        (">INFO:hello", n.InfoNotification("hello")),
        (">INFOMSG:WEB_AUTH::https://x", n.InfoMessageNotification("WEB_AUTH::https://x")),
        (
            ">LOG:1795337764,D,MANAGEMENT: CMD 'a,b'",
            n.LogNotification(LogLine(datetime.fromtimestamp(1795337764, UTC), "D", "MANAGEMENT: CMD 'a,b'")),
        ),
        (">NEED-CERTIFICATE:macosx-keychain:x", n.NeedCertificateNotification("macosx-keychain:x")),
        (
            ">NEED-OK:Need 'token-insertion-request' confirmation MSG:Please insert your token",
            n.NeedNotification(False, "token-insertion-request", "Please insert your token"),
        ),
        (">NEED-STR:Need 'name' input MSG:Your name", n.NeedNotification(True, "name", "Your name")),
        (">NOTIFY:info,remote-exit,EXIT", n.NotifyNotification("info,remote-exit,EXIT")),
        (">PASSWORD:Need 'Private Key' password", n.PasswordNeededNotification("Private Key", False, "")),
        (
            ">PASSWORD:Need 'Auth' username/password SC:1,Enter the code",
            n.PasswordNeededNotification("Auth", True, "SC:1,Enter the code"),
        ),
        (">PASSWORD:Verification Failed: 'Auth'", n.PasswordFailedNotification("Auth", "")),
        (">PASSWORD:Verification Failed: 'Auth' ['x']", n.PasswordFailedNotification("Auth", "['x']")),
        (">PASSWORD:Auth-Token:s3cr3t", n.AuthTokenNotification("[redacted]")),
        (">PKCS11ID-COUNT:0", n.PKCS11CountNotification(0)),
        (">PKCS11ID-ENTRY:'0', ID:'x', BLOB:'y'", n.PKCS11EntryNotification(0, "ID:'x', BLOB:'y'")),
        (">PKCS11ID-ENTRY:'0'", n.PKCS11EntryNotification(0, "")),
        (">PK_SIGN:YWJj,RSA_PKCS1_PADDING", n.PKSignNotification("YWJj,RSA_PKCS1_PADDING")),
        (">RSA_SIGN:YWJj", n.RSASignNotification("YWJj")),
        (">PROXY:1,UDP,vpn.example.net", n.ProxyNotification("1,UDP,vpn.example.net")),
        (">REMOTE:vpn.example.net,1194,udp", n.RemoteNotification("vpn.example.net,1194,udp")),
        (">UPDOWN:UP", n.UpDownNotification("UP")),
        (">UPDOWN:DOWN", n.UpDownNotification("DOWN")),
        (">UPDOWN:SIDEWAYS", n.UnknownNotification("UPDOWN", "SIDEWAYS")),
        (">UPDOWN:ENV,password=x", n.UnknownNotification("UPDOWN", "ENV,password=[redacted]")),
        (">UPDOWN:ENV,dev=tun0", n.UnknownNotification("UPDOWN", "ENV,dev=tun0")),
        (">SOMETHING:new", n.UnknownNotification("SOMETHING", "new")),
        (">no colon", n.UnknownNotification("", "no colon")),
        (">", n.UnknownNotification("", "")),
        (">LOG:nonsense", n.UnknownNotification("LOG", "nonsense")),
        (">STATE:nonsense", n.UnknownNotification("STATE", "nonsense")),
        (">BYTECOUNT:1", n.UnknownNotification("BYTECOUNT", "1")),
        (">BYTECOUNT:1,-2", n.UnknownNotification("BYTECOUNT", "1,-2")),
        (">CLIENT:ESTABLISHED,x", n.UnknownNotification("CLIENT", "ESTABLISHED,x")),
        (">CLIENT:NEWS,1", n.UnknownNotification("CLIENT", "NEWS,1")),
        (">CLIENT:CR_RESPONSE,s3cr3t", n.UnknownNotification("CLIENT", "CR_RESPONSE,[redacted]")),
        (">CLIENT:ENV,password=s3cr3t", n.UnknownNotification("CLIENT", "ENV,password=[redacted]")),
        (">NEED-OK:x", n.UnknownNotification("NEED-OK", "x")),
        (">PASSWORD:x", n.UnknownNotification("PASSWORD", "x")),
        (">PKCS11ID-ENTRY:x", n.UnknownNotification("PKCS11ID-ENTRY", "x")),
    ],
    ids=lambda value: value.split(",")[0] if isinstance(value, str) else "",
)
def test_each_type_of_the_notes_and_of_later_versions(line: str, expected: n.Notification) -> None:
    assert parse_notification(line) == expected


def test_state() -> None:
    notification = parse_notification(">STATE:1795337315,CONNECTED,SUCCESS,10.200.0.1,,,127.0.0.1,21610")
    assert isinstance(notification, n.StateNotification)
    assert (notification.state.name, notification.state.description) == ("CONNECTED", "SUCCESS")
    assert notification.state.local_address == "10.200.0.1"


def test_which_messages_have_an_environment() -> None:
    assert n.has_environment(parse_notification(">UPDOWN:DOWN"))
    assert n.has_environment(parse_notification(">CLIENT:CONNECT,3,1"))
    assert not n.has_environment(parse_notification(">CLIENT:ADDRESS,0,10.200.0.2,1"))
    assert not n.has_environment(parse_notification(">INFO:x"))


@pytest.mark.parametrize("name", ["password", "response", "auth_token", "proxy_password"])
def test_secret_variables_are_redacted(name: str) -> None:
    assert n.parse_environment(f">CLIENT:ENV,{name}=s3=cr3t") == (name, n.REDACTED)
    assert n.parse_environment(">CLIENT:ENV,common_name=a=b") == ("common_name", "a=b")
    assert n.parse_environment(">CLIENT:ENV,bare") == ("bare", "")
    assert n.parse_environment(f">UPDOWN:ENV,{name}=s3,cr3t") == (name, n.REDACTED)


def test_every_recorded_notification_is_known() -> None:
    """But for `>` lines that are rows of a reply, which the Protocol never takes for notifications."""
    seen: set[str] = set()
    for path in TRANSCRIPTS.glob("*/*.txt"):
        if path.stem == "23_evil_names":
            continue
        for session in read_transcript(path):
            for line in session.received.decode("utf-8", "surrogateescape").split("\r\n"):
                if line.startswith(">") and not line.startswith((">CLIENT:ENV", ">UPDOWN:ENV")):
                    notification = parse_notification(line)
                    assert not isinstance(notification, n.UnknownNotification), line
                    seen.add(type(notification).__name__)
    assert len(seen) >= 9


@settings(deadline=None)
@given(st.text())
def test_any_line_is_a_notification(text: str) -> None:
    assert isinstance(parse_notification(f">{text}"), n.Notification)


@settings(deadline=None)
@given(st.sampled_from(sorted(n._PARSERS)), st.text(st.characters(), max_size=40))
def test_any_text_of_a_known_type_is_a_notification(source: str, text: str) -> None:
    assert isinstance(parse_notification(f">{source}:{text}"), n.Notification)
