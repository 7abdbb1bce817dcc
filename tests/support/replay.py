"""Replays recorded sessions: through a Protocol, or to a Session as a Stream that lives in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fleet.management.commands import Command, ReplyKind
from fleet.management.protocol import Event, Protocol, State
from support.transcripts import Exchange, Session, exchanges

BLOCK, LINE, NONE, NOTIFICATION = ReplyKind.BLOCK, ReplyKind.LINE, ReplyKind.NONE, ReplyKind.NOTIFICATION

_BLOCKS = {"help", "status", "version", "remote-entry-count", "remote-entry-get"}
_LISTS = {"state", "log", "echo"}
_NOTIFICATIONS = {"pkcs11-id-count": "PKCS11ID-COUNT", "pkcs11-id-get": "PKCS11ID-ENTRY", "signal": "HOLD"}
# Commands of which fleet declares no reply: a mute one, one of several lines without END, or none in some version.
_UNDECLARED = {"test", "client-auth", "push-update-broad", "push-update-cid", "push", "END", "exit", "quit"}


def command(name: str, *arguments: str, reply: ReplyKind = LINE, fence: bool = False) -> Command[tuple[str, ...]]:
    """A command that leaves its reply as it is."""
    return Command(name, arguments, reply, lambda lines: lines, notification=_NOTIFICATIONS.get(name), fence=fence)


def declared(line: bytes) -> list[Command[tuple[str, ...]]] | None:
    """The commands that one recorded line is, one for each of its replies; None for those that fleet never sends."""
    text = "".join(c for c in line.decode("utf-8", "surrogateescape") if c >= " " and c != "\x7f").strip()
    if not text or text[0] in "#;":
        return []
    if text.startswith(("auth-retry bogus", "version 3", "version 4", "version 5", "version foo")):
        return None
    name, *arguments = text.split()
    if name in _UNDECLARED:
        return None
    if name in _LISTS and arguments and not arguments[0].startswith("#"):
        words = arguments[:2] if arguments[0] in {"on", "off"} or len(arguments) > 1 else arguments[:1]
        return [command(name, word, reply=LINE if word in {"on", "off"} else BLOCK) for word in words]
    if name in _BLOCKS or text == "state":
        fence = name == "status" and arguments[:1] in (["2"], ["3"])
        return [command(name, *arguments, reply=BLOCK, fence=fence)]
    reply = NOTIFICATION if name.startswith("pkcs11-") else LINE
    # What the wire of the recording had beyond fleet's own limits is cut: here only the replies are looked at.
    return [command(name, *[argument[:100] for argument in arguments[:8]], reply=reply)]


def replay(session: Session) -> list[Event]:
    """What a Protocol makes of a recorded session, fed in the daemon's own chunks, each behind the client's write.

    Left out are the answers to commands that fleet never sends, and lines that a daemon answers with nothing: blank
    ones, and those that a `client-auth` before them swallows (protocol-facts 1.3).
    """
    protocol, events = Protocol(), list[Event]()
    ready = False
    for exchange in exchanges(session):
        if ready:
            lines = [declared(line) for line in exchange.command.split(b"\n")[:-1]]
            if None in lines or not exchange.reply:
                continue
            for one in (each for line in lines if line for each in line):
                protocol.send(one)
        elif protocol.state is State.EXPECT_PASSWORD:
            protocol.send_password(exchange.command.rstrip(b"\r\n"))
        for chunk in cut(exchange, session):
            events += protocol.receive(chunk)
        ready = protocol.state is State.READY
    if session.eof:
        events += protocol.receive_eof()
    return events


def cut(exchange: Exchange, session: Session) -> Iterable[bytes]:
    """The reply's bytes, cut where recv() cut them when they were recorded."""
    rest = exchange.reply
    for chunk in session.chunks:
        if rest and rest.startswith(chunk):
            yield chunk
            rest = rest[len(chunk) :]
    if rest:
        yield rest


class Daemon:
    """A Stream whose other end answers each line that is written; it keeps what was written and can hang up.

    Attributes:
        answers: gives the answer to a line, without its LF; None for silence.
        written: every write, as it was made.
        size: bytes that one read gives at most.
        eof: hang up once all that was said is read.
    """

    def __init__(self, greeting: bytes, answers: Callable[[bytes], bytes | None], *, size: int = 65536) -> None:
        self.answers = answers
        self.written: list[bytes] = []
        self.size = size
        self.eof = False
        self.closed = 0
        self._unread = bytearray(greeting)
        self._something = asyncio.Event()
        self._wake()

    def say(self, data: bytes) -> None:
        """Bytes that the daemon sends unasked."""
        self._unread += data
        self._wake()

    def hang_up(self) -> None:
        """EOF, behind what is unread."""
        self.eof = True
        self._wake()

    async def read(self) -> bytes:
        await self._something.wait()
        data = bytes(self._unread[: self.size])
        del self._unread[: self.size]
        self._wake()
        return data

    async def write(self, data: bytes) -> None:
        self.written.append(data)
        for line in data.split(b"\n")[:-1]:
            answer = self.answers(line)
            if answer is not None:
                self.say(answer)

    async def close(self) -> None:
        self.closed += 1

    def _wake(self) -> None:
        if self._unread or self.eof:
            self._something.set()
        else:
            self._something.clear()


def recorded(session: Session) -> Callable[[bytes], bytes | None]:
    """Answers as a recorded daemon did: the n-th time that a command is sent, with its n-th answer."""
    answers: dict[bytes, list[bytes]] = {}
    for exchange in exchanges(session):
        answers.setdefault(exchange.command.rstrip(b"\r\n"), []).append(exchange.reply)

    def answer(line: bytes) -> bytes | None:
        if known := answers.get(line):
            return known.pop(0)
        return b"SUCCESS: pid=1\r\n" if line == b"pid" else None  # the fence that fleet puts behind a status

    return answer


def reference_lexer(line: str) -> list[str]:
    """What OpenVPN's lexer reads of a line, by protocol-facts 2; ValueError where it answers an error.

    Blanks separate; quotes quote only as the first byte of a parameter and end it; a backslash outside single quotes
    escapes a backslash, a double quote or a blank, nothing else; `#` or `;` at a parameter's start ends the line.
    """
    parameters: list[str] = []
    i, n = 0, len(line)
    while True:
        while i < n and line[i] == " ":
            i += 1
        if i == n or line[i] in "#;":
            return parameters
        quote = line[i] if line[i] in "\"'" else ""
        i += len(quote)
        value = ""
        while i < n and line[i] != (quote or " "):
            if line[i] == "\\" and quote != "'":
                i += 1
                if i == n or line[i] not in '\\" ':
                    raise ValueError("bad backslash")
            value += line[i]
            i += 1
        if quote and i == n:
            raise ValueError("no closing quotation")
        i += len(quote)
        parameters.append(value)
