"""How far a connection has come: what an error is called depends on it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

MAX_SAID = 256
"""Security limit: bytes kept of what a peer says before its SSH greeting."""


class Phase(enum.Enum):
    """The steps of a connection, in order; the value says what is late when the time is over in it."""

    DNS = "the name was not resolved"
    TCP = "nothing answered"
    JUMP = "the jump host did not get through"
    PROXY = "the ProxyCommand gave no SSH greeting"
    GREETING = "the SSH server accepted the connection and sent no greeting"
    KEY_EXCHANGE = "the SSH key exchange did not end"
    LOGIN = "the SSH login did not end"


@dataclass(slots=True)
class Progress:
    """The state of one attempt to connect.

    Attributes:
        phase: the step it is in.
        said: the first bytes of the peer; never more than `MAX_SAID`.
        complaint: the first bytes of what a ProxyCommand writes to its standard error.
        lost: how many attempts before this one were lost before the login was done.
    """

    phase: Phase = Phase.DNS
    said: bytearray = field(default_factory=bytearray)
    complaint: bytes = b""
    lost: int = 0

    def begin(self) -> None:
        """Start over for another attempt."""
        self.phase = Phase.DNS
        self.said.clear()
        self.complaint = b""

    @property
    def first_line(self) -> str:
        """What the peer said first, printable."""
        return _first_line(self.said)

    @property
    def first_complaint(self) -> str:
        """What the ProxyCommand complained of first, printable."""
        return _first_line(self.complaint)


def _first_line(said: bytes | bytearray) -> str:
    line = bytes(said).split(b"\n", 1)[0].rstrip(b"\r")
    return printable(line.decode("utf-8", "backslashreplace"))


def printable(text: str, limit: int = 200) -> str:
    """Text of a peer for an error message: a security limit on its length, and nothing that drives a terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:limit])
