"""Reads the transcripts of real management sessions in tests/transcripts (one folder a version of OpenVPN).

    # comment
    +1.234 = event (connect, EOF, client closes ...)
    +1.234 C: bytes that the client wrote, one record a write
    +1.234 S:|bytes that the daemon wrote; `|` begins a chunk of one recv(), a blank goes on with it
    C[A] / S[B]: several sessions at once

Bytes are printable ASCII with the escapes `\\\\`, `\\n`, `\\r`, `\\t` and `\\xHH`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
VERSIONS = ("2.4.12", "2.6.14", "2.7.6")

_RECORD = re.compile(r"\+(?P<time>[0-9.]+) (?P<kind>[CS])(?:\[(?P<label>\w+)\])?:(?P<mark>[ |]|$)(?P<text>.*)")
_EVENT = re.compile(r"\+[0-9.]+ = (?P<what>connect|EOF|client closes)(?:\[(?P<label>\w+)\])?")
_ESCAPE = re.compile(rb"\\(\\|n|r|t|x[0-9a-f]{2})")
_SHORT = {b"\\": b"\\", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def transcript(version: str, name: str) -> Path:
    """The file of one recording, for example `transcript("2.7.6", "10_password")`."""
    return TRANSCRIPTS / version / f"{name}.txt"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a transcript. `begins_chunk` is meant for S only: the first record of what one recv() gave."""

    time: float
    kind: Literal["C", "S"]
    data: bytes
    begins_chunk: bool


@dataclass(slots=True)
class Session:
    """One connection, from `connect` to its end. `eof`: the daemon closed it."""

    label: str
    records: list[Record] = field(default_factory=list)
    eof: bool = False

    @property
    def sent(self) -> bytes:
        """All that the client wrote."""
        return b"".join(record.data for record in self.records if record.kind == "C")

    @property
    def received(self) -> bytes:
        """All that the daemon wrote."""
        return b"".join(record.data for record in self.records if record.kind == "S")

    @property
    def chunks(self) -> list[bytes]:
        """What the daemon wrote, cut as recv() cut it."""
        chunks: list[bytearray] = []
        for record in self.records:
            if record.kind == "S":
                if record.begins_chunk or not chunks:
                    chunks.append(bytearray())
                chunks[-1] += record.data
        return [bytes(chunk) for chunk in chunks]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One write of the client and all that the daemon wrote before the client's next write.

    The first exchange of a session has an empty command: the greeting, or the password prompt.
    """

    command: bytes
    reply: bytes

    @property
    def lines(self) -> tuple[str, ...]:
        """The reply's lines without their ends, notifications included, decoded as fleet decodes them."""
        return tuple(
            line.decode("utf-8", "surrogateescape").removesuffix("\r") for line in self.reply.split(b"\n") if line
        )


def read_transcript(path: Path) -> list[Session]:
    """All connections of one recording, in the order in which they were made."""
    sessions: list[Session] = []
    current: dict[str, Session] = {}
    for line in path.read_text("utf-8").split("\n"):  # comments of the lab are UTF-8
        if event := _EVENT.match(line):
            label = event["label"] or ""
            if event["what"] == "connect":
                current[label] = Session(label)
                sessions.append(current[label])
            elif event["what"] == "EOF" and label in current:
                current[label].eof = True
        elif record := _RECORD.fullmatch(line):
            kind: Literal["C", "S"] = "C" if record["kind"] == "C" else "S"
            data = _unescape(record["text"])
            current[record["label"] or ""].records.append(
                Record(float(record["time"]), kind, data, begins_chunk=record["mark"] == "|")
            )
    return sessions


def exchanges(session: Session) -> list[Exchange]:
    """Pairs what the client wrote with what the daemon answered; a command in several writes counts at its last."""
    pairs: list[tuple[bytearray, bytearray]] = [(bytearray(), bytearray())]
    for record in session.records:
        if record.kind == "S":
            pairs[-1][1].extend(record.data)
        elif pairs[-1][0] and not pairs[-1][0].endswith(b"\n"):
            pairs[-1][0].extend(record.data)
        else:
            pairs.append((bytearray(record.data), bytearray()))
    return [Exchange(bytes(command), bytes(reply)) for command, reply in pairs]


def replies(path: Path, command: str) -> list[tuple[str, ...]]:
    """The lines that answered each time the client wrote just this command, without lines that begin with `>`.

    END and `SUCCESS: ` are part of them. Rows of status 1 may begin with `>` too: use `exchanges` for those.
    """
    wanted = command.encode() + b"\n"
    return [
        tuple(line for line in exchange.lines if not line.startswith(">"))
        for session in read_transcript(path)
        for exchange in exchanges(session)
        if exchange.command == wanted
    ]


def _unescape(text: str) -> bytes:
    return _ESCAPE.sub(_unescape_one, text.encode("ascii"))


def _unescape_one(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    return _SHORT[escape] if escape in _SHORT else bytes([int(escape[1:], 16)])
