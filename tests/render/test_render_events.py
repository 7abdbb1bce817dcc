"""Real-time messages as lines for people and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import MappingProxyType

import pytest

from fleet.management.notifications import (
    ClientNotification,
    HoldNotification,
    LogNotification,
    Notification,
    StateNotification,
    UnknownNotification,
    UpDownNotification,
    parse_notification,
)
from fleet.management.replies import LogLine, State
from fleet.operations.messages import SOURCES, Event, Gap, Message, source_of, time_of
from fleet.render.events import EventLines, describe, event_json, server_colour

NOW = datetime(2026, 11, 22, 9, 14, 2, tzinfo=UTC)


def message(notification: Notification, server: str = "edge-1") -> Message:
    return Message(server, time_of(notification, NOW), source_of(notification), notification)


def log(text: str, flags: str = "", time: datetime = NOW) -> Message:
    return message(LogNotification(LogLine(time, flags, text)))


def line(event: Event, servers: tuple[str, ...] = ("edge-1", "gw/tcp"), **settings: bool) -> str:
    return EventLines(servers, **settings).line(event, NOW)


def test_a_log_line_as_screens_show_it() -> None:
    text = line(log("alice/203.0.113.9:40112 TLS: soft reset", "N"))
    assert text == "edge-1 09:14:02 N  alice/203.0.113.9:40112 TLS: soft reset"


def test_lines_of_all_servers_stand_below_each_other() -> None:
    names = ("a", "gw.eu")
    first, second = (line(message(LogNotification(LogLine(NOW, "", "x")), name), names) for name in names)
    assert first.index("09:14") == second.index("09:14")


def test_a_name_that_is_too_long_does_not_push_the_others() -> None:
    names = ("a", "a-very-long-name-of-a-server-that-nobody-has")
    assert line(message(LogNotification(LogLine(NOW, "", "x")), "a"), names) == "a 09:14:02    x"


def test_a_line_of_another_day_says_so() -> None:
    assert line(log("x", time=datetime(2026, 11, 21, 9, 14, 2, tzinfo=UTC))) == "edge-1 2026-11-21 09:14:02    x"


def test_wide_lines_have_whole_times() -> None:
    assert line(log("x", "I"), wide=True) == "edge-1 2026-11-22T09:14:02Z I  x"


def test_nothing_that_a_client_chose_drives_the_terminal() -> None:
    text = line(log("name\x1b[2J\u202e\n\udcff"))
    assert text == r"edge-1 09:14:02    name\x1b[2J\u202e\n\xff"


def test_a_gap_is_seen() -> None:
    assert line(Gap("edge-1", NOW, "lines may be missing")) == "edge-1 09:14:02 --- lines may be missing ---"


def test_colour_is_of_the_server_alone_and_only_where_it_is_wanted() -> None:
    code = server_colour("edge-1")
    assert line(log("x"), colour=True).startswith(f"\x1b[{code}medge-1\x1b[0m ")
    assert "\x1b" not in line(log("x"))
    assert line(log("x"), ("edge-1",), colour=True) == line(log("x"), ("edge-1", "edge-2"), colour=True)
    assert len({server_colour(f"edge-{number}") for number in range(40)}) > 4
    assert server_colour("Zoë\udcff") == server_colour("Zoë\udcff")


def test_events_say_their_type() -> None:
    state = StateNotification(State(NOW, "CONNECTED", "SUCCESS", "10.8.0.1"))
    assert line(message(state), types=True) == "edge-1 09:14:02 STATE CONNECTED SUCCESS 10.8.0.1"
    assert line(message(state)) == "edge-1 09:14:02 CONNECTED SUCCESS 10.8.0.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">STATE:1795336588,RECONNECTING,SIGUSR1,,", "RECONNECTING SIGUSR1"),
        (
            ">STATE:1795336588,CONNECTED,SUCCESS,10.8.0.2,192.0.2.1,1194,,",
            "CONNECTED SUCCESS 10.8.0.2 to 192.0.2.1:1194",
        ),
        (">HOLD:Waiting for hold release:10", "Waiting for hold release (10 s)"),
        (">HOLD:Waiting for hold release", "Waiting for hold release"),
        (">BYTECOUNT:2048,1024", "in 2.0 KiB out 1.0 KiB"),
        (">BYTECOUNT_CLI:7,2048,1024", "client 7 in 2.0 KiB out 1.0 KiB"),
        (">PASSWORD:Need 'Auth' username/password", "needs the username and password for 'Auth'"),
        (">PASSWORD:Need 'Private Key' password", "needs the password for 'Private Key'"),
        (">PASSWORD:Verification Failed: 'Auth'", "verification failed for 'Auth'"),
        (
            ">NEED-OK:Need 'token-insertion-request' confirmation MSG:Please insert",
            "needs a confirmation for 'token-insertion-request': Please insert",
        ),
        (">NEED-STR:Need 'name' input MSG:Please name", "needs a text for 'name': Please name"),
        (">ECHO:1795336588,forget-passwords", "forget-passwords"),
        (">FATAL:no more", "no more"),
        (">PASSWORD:Auth-Token:x", "the server gave a token in place of the password: [redacted]"),
        (">RSA_SIGN:YWJj", "YWJj"),
        (">LOG:1795336588,W,careful", "W careful"),
        (">PKCS11ID-COUNT:3", "3"),
        (">SOMETHING-NEW:a,b", "a,b"),
    ],
)
def test_what_each_message_says(text: str, expected: str) -> None:
    assert describe(parse_notification(text)) == expected


def test_a_client_is_one_line() -> None:
    environment = MappingProxyType(
        {
            "common_name": "Doe, John",
            "trusted_ip": "203.0.113.9",
            "trusted_port": "40112",
            "ifconfig_pool_remote_ip": "10.8.0.6",
            "password": "[redacted]",
        }
    )
    comes = ClientNotification("ESTABLISHED", 5, environment=environment)
    assert describe(comes) == "ESTABLISHED 5 Doe, John 203.0.113.9:40112 10.8.0.6"
    used = {"bytes_received": "2048", "bytes_sent": "1024", "time_duration": "3700"}
    leaves = ClientNotification("DISCONNECT", 5, environment=MappingProxyType({**environment, **used}))
    assert describe(leaves).endswith(" 10.8.0.6 in 2.0 KiB out 1.0 KiB after 1h 1m")
    asks = ClientNotification("CONNECT", 5, 2, environment=MappingProxyType({"untrusted_ip": "2001:db8::1"}))
    assert describe(asks) == "CONNECT 5,2 [2001:db8::1]"
    assert describe(ClientNotification("ADDRESS", 5, address="10.8.0.6")) == "ADDRESS 5 10.8.0.6"


def test_a_tunnel_that_goes_up_is_one_line() -> None:
    environment = {"dev": "tun0", "ifconfig_local": "10.8.0.6", "trusted_ip": "203.0.113.9", "trusted_port": "1194"}
    up = UpDownNotification("UP", MappingProxyType({**environment, "tls_id_0": "CN=gate"}))
    assert describe(up) == "UP tun0 10.8.0.6 to 203.0.113.9:1194"
    assert describe(UpDownNotification("DOWN")) == "DOWN"
    data = json.loads(event_json(message(up)))
    assert (data["type"], data["data"]["kind"], data["data"]["environment"]["dev"]) == ("UPDOWN", "UP", "tun0")


def test_a_log_line_as_json() -> None:
    text = event_json(log("a\x1b\u202e", "N"))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n" not in text
    assert json.loads(text) == {
        "type": "LOG",
        "server": "edge-1",
        "time": "2026-11-22T09:14:02Z",
        "data": {"time": "2026-11-22T09:14:02Z", "flags": "N", "text": "a\x1b\u202e"},
    }


def test_other_messages_as_json() -> None:
    state = json.loads(event_json(message(StateNotification(State(NOW, "CONNECTED", "SUCCESS", "10.8.0.1")))))
    assert (state["type"], state["data"]["name"], state["data"]["remote_address"]) == ("STATE", "CONNECTED", None)
    hold = json.loads(event_json(message(HoldNotification("Waiting for hold release", 10))))
    assert hold["data"] == {"text": "Waiting for hold release", "wait": 10}
    unknown = json.loads(event_json(message(UnknownNotification("NEW", "text"))))
    assert (unknown["type"], unknown["data"]) == ("NEW", {"source": "NEW", "text": "text"})
    gap = json.loads(event_json(Gap("edge-1", NOW, "why")))
    assert (gap["type"], gap["data"]) == ("gap", {"reason": "why"})


def test_every_type_that_openvpn_has_is_known_by_its_name() -> None:
    samples = {
        "BYTECOUNT": "1,2",
        "BYTECOUNT_CLI": "1,2,3",
        "CLIENT": "ESTABLISHED,1",
        "ECHO": "1795336588,x",
        "FATAL": "x",
        "HOLD": "x",
        "INFO": "x",
        "INFOMSG": "x",
        "LOG": "1795336588,,x",
        "NEED-CERTIFICATE": "x",
        "NEED-OK": "Need 'x' confirmation MSG:y",
        "NEED-STR": "Need 'x' input MSG:y",
        "NOTIFY": "x",
        "PASSWORD": "Need 'Auth' password",
        "PK_SIGN": "x",
        "PKCS11ID-COUNT": "1",
        "PKCS11ID-ENTRY": "'1'",
        "PROXY": "x",
        "REMOTE": "x",
        "RSA_SIGN": "x",
        "STATE": "1795336588,CONNECTED,,,",
        "UPDOWN": "UP",
    }
    for source, text in samples.items():
        assert source_of(parse_notification(f">{source}:{text}")) == source
    assert set(samples) == set(SOURCES)
