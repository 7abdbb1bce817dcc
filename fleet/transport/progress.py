"""How far a connection has come: what an error is called depends on it."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from itertools import pairwise

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


THIS_SERVER = "\0server\0"
"""In a hint: the name of the server that it is for. What fails may be the way to many."""

STEPS = ("dns", "tcp", "ssh", "auth", "channel")
"""What people tell apart of the way to a daemon, in order."""

_STEP_OF = {
    Phase.DNS: "dns",
    Phase.TCP: "tcp",
    Phase.JUMP: "tcp",
    Phase.PROXY: "tcp",
    Phase.GREETING: "ssh",
    Phase.KEY_EXCHANGE: "ssh",
    Phase.LOGIN: "auth",
}


@dataclass(slots=True)
class Progress:
    """The state of one attempt to connect.

    Attributes:
        said: the first bytes of the peer; never more than `MAX_SAID`.
        complaint: the first bytes of what a ProxyCommand writes to its standard error.
        lost: how many attempts before this one were lost before the login was done.
        crowded: the SSH server said of one of these that too many logins begin there at a time.
        marks: when each phase began, by the monotonic clock in seconds.
    """

    said: bytearray = field(default_factory=bytearray)
    complaint: bytes = b""
    lost: int = 0
    crowded: bool = False
    marks: list[tuple[Phase | None, float]] = field(default_factory=list)

    @property
    def phase(self) -> Phase:
        """The step it is in, or the last one where it is done."""
        return next((phase for phase, _ in reversed(self.marks) if phase is not None), Phase.DNS)

    @phase.setter
    def phase(self, phase: Phase) -> None:
        if not self.marks or self.marks[-1][0] is not phase:
            self.marks.append((phase, time.monotonic()))

    def begin(self) -> None:
        """Start over for another attempt."""
        self.marks.clear()
        self.phase = Phase.DNS
        self.said.clear()
        self.complaint = b""

    def end(self) -> None:
        """The connection stands."""
        self.marks.append((None, time.monotonic()))

    def steps(self) -> dict[str, float]:
        """The seconds of each step that is done; no `dns` where a jump host or a ProxyCommand knows the name."""
        found: dict[str, float] = {}
        for (phase, begun), (_, ended) in pairwise(self.marks):
            if phase is not None:
                found[_STEP_OF[phase]] = found.get(_STEP_OF[phase], 0.0) + ended - begun
        if any(phase in (Phase.JUMP, Phase.PROXY) for phase, _ in self.marks):
            found.pop("dns", None)
        if self.marks and self.marks[-1][0] is not None:
            found.pop(_STEP_OF[self.phase], None)  # it is not done
        return found

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
