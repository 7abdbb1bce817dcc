r"""The management protocol as a pure state machine: bytes in, events out, bytes to write as return values.

    EXPECT_GREETING ── ENTER PASSWORD: ──> EXPECT_PASSWORD ── send_password ──> CHECKING_PASSWORD
       │    ^                                    ^                                 │     │
       │    │                                    └──────── ENTER PASSWORD: ────────┘     │
       │    └────────────────────── SUCCESS: password is correct ────────────────────────┘
       └── >INFO: ──> READY                        any of them ── EOF ──> CLOSED, ── ProtocolError ──> BROKEN

What a daemon sends is in protocol-facts 1 and 5: lines that end in CRLF (a bare LF is taken too), but for the
password prompt, which has no line end at all. A line that begins with `>` is a notification unless it stands inside
a multi-line reply; there it is a row, for a client may be called `>LOG:evil` (protocol-facts 1, real-time lines). What
ends a reply is declared by the command and never guessed.

Any bytes at all give events or the one documented error, and how they are cut makes no difference: where a fault comes
behind good events of the same chunk, `receive` returns the events, and the fault stands in `Protocol.error`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from fleet.errors import CommandFailedError, ConnectionLostError, ManagementPasswordError, ProtocolError, ServerError
from fleet.management.commands import COMMANDS, Command, ReplyKind
from fleet.management.notifications import (
    ENVIRONMENT_END,
    ClientNotification,
    FatalNotification,
    HoldNotification,
    Notification,
    UpDownNotification,
    environment_prefix,
    has_environment,
    parse_environment,
    parse_notification,
    redact_log,
)

T = TypeVar("T")

# Security limits: what a peer can make fleet keep in memory. A reply of 10,000 clients is 2 MB of 20,000 lines.
LINE_LIMIT = 2**20
"""Bytes of one line, its end included. A row of status is below 512, a log line below 8192."""
GREETING_LIMIT = 4096
"""Bytes of one line before the greeting: whoever sends more is no management interface."""
REPLY_LIMIT = 64 * 2**20
"""Characters of one reply, line ends not counted."""
REPLY_LINES_LIMIT = 500_000
"""Lines of one reply."""
ENVIRONMENT_LIMIT = 2**20
"""Characters of the >CLIENT:ENV or >UPDOWN:ENV lines of one notification; about 2,500 are usual."""
PASSWORD_LIMIT = 1023
"""Bytes of a management password that a daemon can be given (protocol-facts 11.9)."""
SHOWN_LIMIT = 120
"""Characters of a peer's text that an error message repeats."""

PROMPT = b"ENTER PASSWORD:"
PASSWORD_TRIES = 3
"""Passwords that a daemon takes before it hangs up (protocol-facts 5)."""

_SUCCESS = "SUCCESS:"
_ERROR = "ERROR:"
_FENCE = (_SUCCESS, _ERROR)
_FENCE_ANSWER = re.compile(r"SUCCESS: pid=[0-9]+")
_RELEASE = re.compile(r"(?:OpenVPN Version:|Management Interface for) OpenVPN (\S+)")
_RELEASES_BY_INTERFACE = {1: "2.1 to 2.4", 3: "2.5", 4: "2.6", 5: "2.6 or 2.7", 6: "2.7"}
_INTERFACE_VERSION = re.compile(r"Management (?:Interface )?Version:? ?(\d{1,9})")


class State(Enum):
    """What the protocol waits for."""

    EXPECT_GREETING = auto()
    EXPECT_PASSWORD = auto()
    CHECKING_PASSWORD = auto()
    READY = auto()
    CLOSED = auto()
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class Greeting:
    """The banner: commands may be sent now.

    Attributes:
        text: behind `>INFO:`.
        interface_version: of the management interface, 1 to 6 so far; None where the banner is another one, as that
            of some pass-through proxies (protocol-facts 10.14).
    """

    text: str
    interface_version: int | None


@dataclass(frozen=True, slots=True)
class PasswordRequested:
    """The daemon wants the management password; attempt counts from 1, and more than 1 means that one was wrong."""

    attempt: int


@dataclass(frozen=True, slots=True)
class PasswordAccepted:
    """The password was right; the greeting follows."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A whole reply.

    Attributes:
        command: what it answers.
        lines: exactly as they came, without their ends: for LINE the one line with `SUCCESS: `, for BLOCK the rows
            without END, for NOTIFICATION the notification's line, for NONE nothing. Empty where there is an error,
            but for FENCED, which has all lines. Of several answers those of all of them.
        error: the text behind `ERROR: `, or None.
        complete: False where the daemon broke the reply off without END (protocol-facts 3, "Missing END").
        parts: the answers of a command that has several, up to one with an error; otherwise none.
        release: which OpenVPN the daemon is, as far as the session has shown it: `2.6.14`, `2.1 to 2.4`, or None.
        reason: why the daemon refused, where fleet has found out (Session.ask_settled).
    """

    command: Command[T]
    lines: tuple[str, ...]
    error: str | None = None
    complete: bool = True
    parts: tuple[Reply[Any], ...] = ()
    release: str | None = None
    reason: str | None = None

    def result(self) -> T:
        """The reply's value.

        Raises:
            CommandFailedError: the daemon answered ERROR.
            ProtocolError: the reply broke off, or is not what the command answers.
        """
        if self.error is not None:
            raise _failure(self)
        if not self.complete:
            raise ProtocolError(
                f"the reply to '{self.command.text}' broke off without END",
                hint="ask for format 1, which has no usernames: fleet status --format-version 1 -o raw (OpenVPN drops "
                "the rest of a status behind a row of 512 bytes, which a long username makes on builds with PKCS11)",
            )
        try:
            return self.command.parse(self._payload())
        except ValueError as error:
            raise ProtocolError(
                f"the reply to '{self.command.text}' is not one that OpenVPN gives: {shown(str(error))}"
            ) from error

    @property
    def unknown(self) -> bool:
        """Whether the daemon does not know the command, and fleet does."""
        return self.command.name in COMMANDS and (self.error or "").startswith("unknown command")

    def text(self) -> str:
        r"""The daemon's own text, `\n` behind each line, END included."""
        if self.parts:
            return "".join(part.text() for part in self.parts)
        if self.error is not None and self.command.reply is not ReplyKind.FENCED:
            return f"{_ERROR} {self.error}\n"
        end = ("END",) if self.command.reply is ReplyKind.BLOCK and self.complete else ()
        return "".join(f"{line}\n" for line in (*self.lines, *end))

    def _payload(self) -> tuple[str, ...]:
        if self.parts:
            return tuple(line for part in self.parts if part.command.reply is ReplyKind.BLOCK for line in part.lines)
        if self.command.reply is ReplyKind.LINE:
            return (self.lines[0].removeprefix(_SUCCESS).removeprefix(" "),)
        if self.command.reply is ReplyKind.NOTIFICATION:
            return (self.lines[0].partition(":")[2],)
        return self.lines


Event = Greeting | PasswordRequested | PasswordAccepted | Reply[Any] | Notification


class Protocol:
    """One management session, from its first byte to EOF.

    The order of things: `receive` bytes until a Greeting comes (answering PasswordRequested by `send_password`), then
    write what `send` returns and `receive` until the Reply comes. Replies come in the order of their commands, so that
    several may be sent at once (protocol-facts 1.8).
    """

    def __init__(self) -> None:
        self._state = State.EXPECT_GREETING
        self._error: ServerError | None = None
        self._partial: list[bytes] = []  # of the line whose end has not come; joined once, when it comes
        self._partial_size = 0
        self._pending: deque[Command[Any]] = deque()
        self._rows: list[str] | None = None  # of the multi-line reply that is coming in, None between replies
        self._rows_size = 0
        self._parts: list[Reply[Any]] = []  # of a command with several answers, those that came
        self._loose: list[str] = []  # of a FENCED reply that is coming in
        self._release: str | None = None
        self._block: ClientNotification | UpDownNotification | None = None  # whose environment is coming in
        self._environment: dict[str, str] = {}
        self._environment_size = 0
        self._attempts = 0
        self._fatal: str | None = None
        self._holding = False

    @property
    def state(self) -> State:
        """What is waited for."""
        return self._state

    @property
    def error(self) -> ServerError | None:
        """What broke the session, from the moment on that it was met."""
        return self._error

    @property
    def pending(self) -> tuple[Command[Any], ...]:
        """Commands that were sent and not answered, oldest first."""
        return tuple(self._pending)

    @property
    def fatal(self) -> str | None:
        """The text of the last `>FATAL:`, behind which the daemon exits."""
        return self._fatal

    @property
    def release(self) -> str | None:
        """Which OpenVPN the daemon is, as far as the session has shown it."""
        return self._release

    @property
    def unfinished(self) -> bytes:
        """The bytes of a line, or of a password prompt, whose end has not come; at most LINE_LIMIT of them."""
        return b"".join(self._partial)

    def send(self, command: Command[Any]) -> bytes:
        """The bytes to write for a command; its reply is expected from now on.

        Nothing may be sent before the greeting: what is written to a daemon that serves another client is executed
        whenever that client leaves, perhaps hours later (protocol-facts 6.2).

        Raises:
            UsageError: an argument cannot be sent (Command.encode); the session goes on.
            RuntimeError: the session is not READY, a bug of the caller.
        """
        if self._state is not State.READY:
            raise RuntimeError(f"'{command.name}' sent in state {self._state.name}")
        line = command.encode()
        if command.reply is not ReplyKind.NONE:
            self._pending.append(command)
        return line

    def send_password(self, secret: bytes) -> bytes:
        """The bytes to write for the management password, as it is: no quoting (protocol-facts 5).

        Raises:
            ManagementPasswordError: it has a line's end or another control character, which the daemon would drop,
                or more bytes than a daemon takes. The error never shows it.
            RuntimeError: no password was asked for, a bug of the caller.
        """
        if self._state is not State.EXPECT_PASSWORD:
            raise RuntimeError(f"password sent in state {self._state.name}")
        if len(secret) > PASSWORD_LIMIT or re.search(rb"[\x00-\x1f\x7f]", secret):
            raise ManagementPasswordError(
                "the management password cannot be sent: it has a control character or is too long",
                hint=f"OpenVPN takes one line of at most {PASSWORD_LIMIT} bytes without control characters",
            )
        self._state = State.CHECKING_PASSWORD
        return secret + b"\n"

    def receive(self, data: bytes) -> list[Event]:
        """The events that the next bytes complete.

        Where a fault comes behind events, they are returned, `error` is set and the next call raises.

        Raises:
            ProtocolError: the peer does not speak the management protocol, or went over a limit; BROKEN now.
            RuntimeError: EOF was received before, a bug of the caller.
        """
        if self._error is not None:
            raise self._error
        if self._state is State.CLOSED:
            raise RuntimeError("bytes received after EOF")
        events: list[Event] = []
        try:
            self._feed(data, events)
        except ProtocolError as error:
            self._state, self._error = State.BROKEN, error
            self._hold_back(b"")
            if not events:
                raise
        return events

    def receive_eof(self) -> list[Event]:
        """Says that the peer closed the connection. No events come of it.

        Raises:
            ConnectionLostError: before the greeting, or with commands unanswered; its message has the text of
                a `>FATAL:` that came before.
            ManagementPasswordError: the daemon hung up on the last of the passwords that it takes.
            ProtocolError: what came before was no greeting, or the session was BROKEN.
        """
        if self._error is not None:
            raise self._error
        self._error = self._lost()
        self._state = State.CLOSED if self._error is None else State.BROKEN
        if self._error is not None:
            raise self._error
        return []

    def _lost(self) -> ServerError | None:
        if self._fatal is not None and self._pending:
            return ConnectionLostError(f"the daemon ended with a fatal error: {shown(self._fatal)}")
        if self._state is State.EXPECT_GREETING:
            return self._ungreeted()
        if self._state is State.CHECKING_PASSWORD and self._attempts >= PASSWORD_TRIES:
            return ManagementPasswordError("the management password is wrong: the daemon hung up")
        if self._state in {State.EXPECT_PASSWORD, State.CHECKING_PASSWORD}:
            return ConnectionLostError("the connection was closed while the management password was asked for")
        if self._pending:
            return ConnectionLostError(f"the connection was closed before the end of the reply to '{self._waiting}'")
        return None

    def _ungreeted(self) -> ServerError:
        partial = self.unfinished
        if partial and not partial.startswith(b">") and not PROMPT.startswith(partial):
            return self.no_greeting()
        return ConnectionLostError(
            "the management interface closed the connection without a greeting",
            hint="look for management-client-user or management-client-group in the daemon's configuration: they keep"
            " other users from its unix socket",
        )

    def no_greeting(self) -> ProtocolError:
        """The error that says that what has come of the first line is no greeting: for who waits no longer."""
        return _not_management(self.unfinished.decode("utf-8", "surrogateescape"))

    @property
    def _waiting(self) -> str:
        return self._pending[0].text

    def _feed(self, data: bytes, events: list[Event]) -> None:
        if self._state is not State.READY:
            data = self._feed_greeting(data, events)
        if self._state is State.READY and data:
            self._feed_lines(data, events)

    # Before the greeting: prompts without a line's end, and little enough data to go through it line by line.

    def _feed_greeting(self, data: bytes, events: list[Event]) -> bytes:
        """Goes on up to the greeting; returns what came behind it."""
        buffer, position = b"".join([*self._partial, data]), 0
        while self._state is not State.READY:
            if self._state is not State.EXPECT_GREETING:
                position = _skip_blanks(buffer, position)  # should a peer end its prompt's line
            if buffer.startswith(PROMPT, position):
                position += len(PROMPT)
                events.append(self._prompt())
                continue
            end = buffer.find(b"\n", position)
            line = buffer[position:] if end < 0 else buffer[position:end]
            if len(line) >= GREETING_LIMIT:
                raise _not_management(_decode(line))
            if end < 0:
                self._hold_back(line)
                return b""
            position = end + 1
            self._greeting_line(_decode(line).removesuffix("\r"), events)
        self._hold_back(b"")
        return buffer[position:]

    def _prompt(self) -> PasswordRequested:
        if self._state is State.EXPECT_PASSWORD:
            raise ProtocolError("the peer asked for a password twice before it was given one")
        self._state = State.EXPECT_PASSWORD
        self._attempts += 1
        return PasswordRequested(self._attempts)

    def _greeting_line(self, line: str, events: list[Event]) -> None:
        checking = self._state is State.CHECKING_PASSWORD
        if self._state is State.EXPECT_GREETING and line.startswith(">INFO:"):
            text = line.removeprefix(">INFO:")
            version = _INTERFACE_VERSION.search(text)
            interface = int(version[1]) if version else None
            self._state = State.READY
            self._release = _RELEASES_BY_INTERFACE.get(interface or 0)
            events.append(Greeting(text, interface))
        elif line.startswith(">"):
            self._line(line, events)
        elif checking and line.startswith(_SUCCESS):
            self._state = State.EXPECT_GREETING
            events.append(PasswordAccepted())
        elif not (checking and line.startswith(_ERROR)):  # not seen of a daemon, but in its source: the prompt follows
            raise _not_management(line)

    # After the greeting: lines only. What each line would cost is done once for a chunk where it can be.

    def _feed_lines(self, data: bytes, events: list[Event]) -> None:
        end = data.rfind(b"\n") + 1
        if end:
            whole = b"".join([*self._partial, data[:end]])
            self._hold_back(data[end:])
            self._take_lines(whole, events)
        else:
            self._partial.append(data)
            self._partial_size += len(data)
        if self._partial_size >= LINE_LIMIT:
            raise _endless_line()

    def _hold_back(self, rest: bytes) -> None:
        self._partial, self._partial_size = [rest] if rest else [], len(rest)

    def _take_lines(self, data: bytes, events: list[Event]) -> None:
        """Takes bytes that end in LF."""
        text = redact_log(_decode(data))
        lines = text.split("\r\n")
        if len(lines) <= text.count("\n"):  # not all lines end in CRLF; to replace first would cost half as much again
            lines = text.replace("\r\n", "\n").split("\n")
        lines.pop()
        sound = len(lines) if len(data) <= LINE_LIMIT else _first_endless(data, len(lines))
        fenced = text.startswith(_FENCE) or "\nSUCCESS:" in text or "\nERROR:" in text
        position = 0
        while position < sound:
            if self._rows is None and self._line(lines[position], events):
                position += 1
            else:
                position = self._take_rows(lines, position, sound, events, fenced=fenced)
        if sound < len(lines):
            raise _endless_line()

    def _take_rows(self, lines: list[str], start: int, stop: int, events: list[Event], *, fenced: bool) -> int:
        """Takes rows of the multi-line reply that is coming in; returns the position of the first line behind them."""
        command, rows = self._pending[0], self._rows or []
        try:
            end = lines.index("END", start, stop)
        except ValueError:
            end = stop
        fence = _find_fence(lines, start, end) if fenced and command.fence else end
        rows.extend(lines[start:fence])
        self._rows = rows
        self._rows_size += sum(map(len, lines[start:fence]))
        if self._rows_size > REPLY_LIMIT or len(rows) > REPLY_LINES_LIMIT:
            raise _endless_reply(command)
        if fence == stop:
            return stop
        self._finish(events, rows, complete=fence == end)
        return end + 1 if fence == end else fence

    def _finish(
        self, events: list[Event], lines: Sequence[str], *, error: str | None = None, complete: bool = True
    ) -> None:
        """One answer to the oldest command is whole; the reply is, unless another answer follows."""
        command = self._pending[0]
        self._rows, self._rows_size = None, 0
        self._learn_release(command, lines)
        part = replace(command, reply=self._kind(command)) if len(command.kinds) > 1 else command
        reply = Reply(part, tuple(lines), error, complete, release=self._release)
        if len(command.kinds) > 1:
            self._parts.append(reply)
            if error is None and len(self._parts) < len(command.kinds):
                return
            reply = self._combine(command)
        self._pending.popleft()
        events.append(reply)

    def _combine(self, command: Command[Any]) -> Reply[Any]:
        parts, self._parts = tuple(self._parts), []
        lines = tuple(line for part in parts for line in part.lines)
        return Reply(command, lines, parts[-1].error, parts=parts, release=self._release)

    def _kind(self, command: Command[Any]) -> ReplyKind:
        """What ends the answer that is waited for."""
        return command.kinds[len(self._parts)]

    def _learn_release(self, command: Command[Any], lines: Sequence[str]) -> None:
        if command.name in {"version", "help"} and lines and (found := _RELEASE.match(lines[0])):
            self._release = found[1]

    def _line(self, line: str, events: list[Event]) -> bool:
        """Takes a line that stands outside multi-line replies; False where it is the first row of one."""
        if self._block is not None:
            if line.startswith(environment_prefix(self._block)):
                self._environment_line(self._block, line, events)
                return True
            self._end_block(self._block, events)
        if line.startswith(">"):
            self._notification(line, events)
            return True
        if not self._pending:
            raise ProtocolError(f"the daemon sent a line that answers nothing: {shown(line)}")
        if self._pending[0].reply is ReplyKind.FENCED:
            if not _FENCE_ANSWER.fullmatch(line):
                self._loose_line(self._pending[0], line)
                return True
            self._finish_fenced(events)
        if not self._pending:
            raise ProtocolError("the daemon answered a fence that was not sent")
        return self._first_line(self._pending[0], line, events)

    def _loose_line(self, command: Command[Any], line: str) -> None:
        self._loose.append(line)
        self._rows_size += len(line)
        if self._rows_size > REPLY_LIMIT or len(self._loose) > REPLY_LINES_LIMIT:
            raise _endless_reply(command)

    def _finish_fenced(self, events: list[Event]) -> None:
        lines, self._loose = self._loose, []
        errors = [line.removeprefix(_ERROR).removeprefix(" ") for line in lines if line.startswith(_ERROR)]
        if self._pending[0].body is not None:
            # The first error refused the command; the others come of its lines, which were taken for commands.
            del errors[1:]
        self._finish(events, lines, error="; ".join(errors) or None)

    def _first_line(self, command: Command[Any], line: str, events: list[Event]) -> bool:
        kind = self._kind(command)
        if line.startswith(_ERROR):
            self._finish(events, (), error=line.removeprefix(_ERROR).removeprefix(" "))
        elif kind is ReplyKind.BLOCK and (command.fence or not line.startswith(_SUCCESS)):
            self._rows = []
            return False
        elif kind is ReplyKind.LINE and line.startswith(_SUCCESS):
            self._finish(events, (line,))
        else:
            raise ProtocolError(f"the reply to '{command.text}' is not one that OpenVPN gives: {shown(line)}")
        return True

    def _notification(self, line: str, events: list[Event]) -> None:
        notification = parse_notification(line)
        command = self._pending[0] if self._pending else None
        answers = command is not None and command.notification == line[1:].partition(":")[0]
        if command is not None and answers and command.reply is ReplyKind.NOTIFICATION:
            self._finish(events, (line,))
            return
        if has_environment(notification):
            self._block = notification
            return
        events.append(notification)
        if isinstance(notification, FatalNotification):
            self._fatal = notification.text
        elif isinstance(notification, HoldNotification):
            # A daemon in hold says so once by itself, behind the greeting; the next one is its answer to a signal.
            if command is not None and answers and self._holding:
                ignored = " ".join(command.arguments)
                self._finish(events, (), error=f"{command.name} '{ignored}' is currently ignored")
            self._holding = True

    def _environment_line(self, block: ClientNotification | UpDownNotification, line: str, events: list[Event]) -> None:
        if line == environment_prefix(block) + ENVIRONMENT_END:
            self._end_block(block, events)
            return
        self._environment_size += len(line)
        if self._environment_size > ENVIRONMENT_LIMIT:
            raise ProtocolError(f"a notification of the daemon has no end: over {ENVIRONMENT_LIMIT >> 20} MiB")
        name, value = parse_environment(line)
        self._environment[name] = value

    def _end_block(self, block: ClientNotification | UpDownNotification, events: list[Event]) -> None:
        """The message is whole, or as whole as it gets where another line follows without `ENV,END`."""
        events.append(replace(block, environment=MappingProxyType(self._environment)))
        self._block, self._environment, self._environment_size = None, {}, 0


def shown(text: str) -> str:
    """A peer's text for an error message: cut, and nothing in it that a terminal would obey."""
    cut = text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _skip_blanks(buffer: bytes, position: int) -> int:
    while buffer[position : position + 1] in {b"\r", b"\n", b" "}:
        position += 1
    return position


def _find_fence(lines: Sequence[str], start: int, stop: int) -> int:
    return next((i for i in range(start, stop) if lines[i].startswith(_FENCE)), stop)


def _first_endless(data: bytes, count: int) -> int:
    return next((i for i, line in enumerate(data.split(b"\n")) if len(line) >= LINE_LIMIT), count)


def _endless_line() -> ProtocolError:
    return ProtocolError(f"the daemon sent a line of more than {LINE_LIMIT >> 20} MiB")


def _endless_reply(command: Command[Any]) -> ProtocolError:
    return ProtocolError(
        f"the reply to '{command.text}' has no end: over {REPLY_LIMIT >> 20} MiB or {REPLY_LINES_LIMIT} lines"
    )


def _not_management(line: str) -> ProtocolError:
    hint = "check the management address in the inventory: another service listens there"
    if line.startswith("SSH-"):
        hint = "correct `management` in the inventory: it takes the port of OpenVPN's --management, not of sshd"
    elif line.startswith("HTTP/"):
        hint = "correct `management` in the inventory: it takes the port of OpenVPN's --management, not a web server's"
    return ProtocolError(f"not an OpenVPN management interface: it began with '{shown(line)}'", hint=hint)


_NOT_NOW = "not supported by the current daemon mode"
_HINTS = (
    # Why a daemon has not what it is asked for, where that was found out (Session.ask_settled).
    ("it waits for a hold release", "bring it up with fleet unlock, or just release it with fleet hold release"),
    ("its tunnel was not up", "see with fleet state how far it is, or wait longer with --reply-timeout"),
    (
        "it is up, and has no such mode",
        "the command is for servers: this daemon is a client, or one end of a point-to-point link",
    ),
    (_NOT_NOW, "see with fleet state and fleet hold whether the daemon is in hold, in a restart, or no server"),
    ("unknown command", "see with fleet version which OpenVPN it is: it does not have this command"),
    ("is currently ignored", "bring the daemon up with fleet hold release: in hold it ignores signals"),
)
_OF_CLIENTS = frozenset({"proxy", "remote", "remote-entry-count", "remote-entry-get"})
_NO_CLIENT = "the command is for client daemons, and only while they choose where to connect; no server has it"


def _hint(reply: Reply[Any], said: str) -> str | None:
    if _NOT_NOW in said and reply.command.name in _OF_CLIENTS:
        return _NO_CLIENT
    return next((hint for text, hint in _HINTS if text in said), None)


def _failure(reply: Reply[Any]) -> CommandFailedError:
    """The error of a command that the daemon refused; where it does not know the command, with who would."""
    error = reply.error or ""
    said = f"{error}: {reply.reason}" if reply.reason else error
    hint = _hint(reply, said)
    if not reply.unknown:
        return CommandFailedError(said, hint=hint)
    spec = COMMANDS[reply.command.name]
    build = f" built with {spec.needs}" if spec.needs else ""
    this = f"; this daemon is OpenVPN {reply.release}" if reply.release else ""
    return CommandFailedError(f"'{spec.name}' wants {spec.releases}{build}{this}", hint=hint)
