"""Static and dynamic challenges: what is asked, and what is sent for an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.management.challenges import DynamicChallenge, StaticChallenge, parse_dynamic, parse_static
from fleet.management.notifications import PasswordFailedNotification, PasswordNeededNotification, parse_notification
from support.transcripts import read_transcript, transcript


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SC:1,Please enter token PIN", StaticChallenge("Please enter token PIN", True)),
        ("SC:0,Code: now, please", StaticChallenge("Code: now, please", False)),
        ("SC:2,Code", StaticChallenge("Code", False, True)),
        ("SC:3,Code", StaticChallenge("Code", True, True)),
        ("SC:0,", StaticChallenge("", False)),
        ("", None),
        ("SC:x,Code", None),
        ("SC:1", None),
        ("XX:1,Code", None),
    ],
)
def test_static_challenges(text: str, expected: StaticChallenge | None) -> None:
    assert parse_static(text) == expected


def test_the_answers_of_the_notes() -> None:
    """Management notes, Static protocol: user "foo" entered "bar" as the password and 8675309 as the PIN."""
    assert StaticChallenge("PIN", True).password("bar", "8675309") == "SCRV1:YmFy:ODY3NTMwOQ=="
    assert StaticChallenge("PIN", True, concatenated=True).password("bar", "8675309") == "bar8675309"
    assert StaticChallenge("PIN", True).password("", "") == "SCRV1::"


NOTES = "['CRV1:R,E:Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l:Y3Ix:Please enter token PIN']"


def test_the_dynamic_challenge_of_the_notes() -> None:
    challenge = parse_dynamic(NOTES)
    assert challenge == DynamicChallenge(
        "Please enter token PIN", True, True, "Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l", "cr1"
    )
    assert challenge is not None
    assert challenge.password("8675309") == "CRV1::Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l::8675309"
    assert "Om01u7" not in repr(challenge)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['CRV1:R:s:Y3Ix:a:b']", DynamicChallenge("a:b", False, True, "s", "cr1")),
        ("['CRV1::s:Y3Ix:Wait for the mail']", DynamicChallenge("Wait for the mail", False, False, "s", "cr1")),
        ("['CRV1:E,R:s::x']", DynamicChallenge("x", True, True, "s", "")),
        ("['CRV1:R:s:not base64:x']", None),
        ("['CRV1:R:s:é:x']", None),
        ("['CRV1:R:s:x']", None),
        ("['account locked']", None),
        ("", None),
    ],
)
def test_dynamic_challenges(text: str, expected: DynamicChallenge | None) -> None:
    assert parse_dynamic(text) == expected


@given(st.text())
def test_any_text_is_a_challenge_or_none(text: str) -> None:
    parse_static(text)
    parse_dynamic(text)
    parse_static(f"SC:1,{text}")
    parse_dynamic(f"['CRV1:R:{text}:{text}:{text}']")


@pytest.mark.parametrize("name", ["36_static_challenge", "37_dynamic_challenge"])
def test_recorded_challenges_are_answered_as_they_were(name: str) -> None:
    (session,) = read_transcript(transcript("2.6.14", name))
    received = map(parse_notification, session.received.decode().split("\r\n"))
    if name == "36_static_challenge":
        asked = {parse_static(n.challenge) for n in received if isinstance(n, PasswordNeededNotification)}
        (static,) = asked
        assert static is not None
        sent = static.password("bar", "8675309")
    else:
        refused = [n.detail for n in received if isinstance(n, PasswordFailedNotification)]
        first, nothing, second = map(parse_dynamic, refused)
        assert (first, nothing) == (second, None)
        assert first is not None
        sent = first.password("8675309")
    assert f"password Auth {sent}\n".encode() in session.sent
