"""Questions that go along with a username and password: static and dynamic challenges, and how they are answered.

A static challenge is part of the configuration of a client daemon, which asks it with the username and password
(`>PASSWORD:Need 'Auth' username/password SC:...`). A dynamic one comes from the server, in place of a plain refusal
(`>PASSWORD:Verification Failed: 'Auth' ['CRV1:...']`); the daemon then asks for username and password again, and the
answer to the challenge goes in the password's place (management notes of OpenVPN 2.7, Challenge/Response Protocol).
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

_ECHO, _CONCATENATED = 1, 2  # bits of a static challenge's flag; the second is of OpenVPN 2.7
_STATIC = re.compile(r"SC:(?P<flag>[0-9]{1,9}),(?P<question>.*)", re.DOTALL)
_DYNAMIC = re.compile(r"\['CRV1:(?P<flags>[^:]*):(?P<state>[^:]*):(?P<username>[^:]*):(?P<question>.*)'\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StaticChallenge:
    """A question that is answered together with the password.

    Attributes:
        question: for the user.
        echo: what is typed may be seen.
        concatenated: the answer is put behind the password as it is.
    """

    question: str
    echo: bool
    concatenated: bool = False

    def password(self, password: str, answer: str) -> str:
        """What is sent as the password."""
        return password + answer if self.concatenated else f"SCRV1:{_encode(password)}:{_encode(answer)}"


@dataclass(frozen=True, slots=True)
class DynamicChallenge:
    """A question that is answered in place of the password.

    Attributes:
        question: for the user.
        echo: what is typed may be seen.
        wants_answer: False where the user is only told something.
        state: what the server knows the session by; part of what lets the user in, so that it is not shown.
        username: goes along with the answer.
    """

    question: str
    echo: bool
    wants_answer: bool
    state: str = field(repr=False)
    username: str

    def password(self, answer: str) -> str:
        """What is sent as the password."""
        return f"CRV1::{self.state}::{answer}"


Challenge = StaticChallenge | DynamicChallenge


def parse_static(text: str) -> StaticChallenge | None:
    """The challenge that stands behind a request for username and password; None where the text is none."""
    match = _STATIC.fullmatch(text)
    if match is None:
        return None
    flag = int(match["flag"])
    return StaticChallenge(match["question"], bool(flag & _ECHO), bool(flag & _CONCATENATED))


def parse_dynamic(text: str) -> DynamicChallenge | None:
    """The challenge that stands behind `Verification Failed`; None where the text is none."""
    match = _DYNAMIC.fullmatch(text)
    username = None if match is None else _decode(match["username"])
    if match is None or username is None:
        return None
    flags = match["flags"].split(",")
    return DynamicChallenge(match["question"], "E" in flags, "R" in flags, match["state"], username)


def _encode(text: str) -> str:
    return b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")


def _decode(text: str) -> str | None:
    try:
        return b64decode(text, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return None
