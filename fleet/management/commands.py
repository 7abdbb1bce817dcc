"""Commands of the management interface: their spelling, what ends their reply, and what parses it.

A builder refuses what the daemon would misunderstand: the daemon reads numbers with atoi, so that `verb foo` would
turn its log off and say SUCCESS (protocol-facts 2), and `kill` of a name with a colon ends another client's session
on OpenVPN 2.7 (protocol-facts 4). Nothing is sent after a UsageError.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import AddressValueError, IPv4Address
from typing import Generic, Literal, TypeVar, overload

from fleet.errors import UsageError
from fleet.management.replies import (
    Help,
    LoadStats,
    LogLine,
    State,
    Version,
    parse_help,
    parse_hold,
    parse_killed,
    parse_load_stats,
    parse_log,
    parse_mute,
    parse_pid,
    parse_signal,
    parse_state,
    parse_state_history,
    parse_text,
    parse_verb,
    parse_version,
)
from fleet.management.status import Status, parse_status

T = TypeVar("T")

# Security limits of what is written (protocol-facts 2). A longer parameter is an error, and of a longer line the
# daemon would execute the tail as a command of its own. One byte less than what it takes, for each.
PARAMETER_LIMIT = 255
LINE_LIMIT = 1000
PARAMETERS_LIMIT = 16
COMMON_NAME_LIMIT = 127
"""Bytes of a common name that `kill` can match (protocol-facts 4)."""

VERB_MAX = 15
_INT_MAX = 2**31 - 1  # the daemon's int: atoi of more is anything
SIGNALS = ("SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2")

_PLAIN = re.compile(r"[A-Za-z0-9_.:@/+=,%-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f]")


class ReplyKind(Enum):
    """What ends the reply to a command (protocol-facts 1.3 to 1.6). Declared, never guessed from the text."""

    LINE = "one line, SUCCESS: or ERROR:"
    BLOCK = "lines up to one that equals END, or one ERROR: line in place of the first"
    NONE = "nothing"
    NOTIFICATION = "a real-time message"


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One command as it is sent to one daemon.

    Attributes:
        name: as the management interface spells it.
        arguments: unquoted values; `encode` quotes them by the lexer's rules (protocol-facts 2).
        reply: what ends the reply.
        parse: turns the reply into its value. It gets, for LINE, one line: the text behind `SUCCESS: `; for
            BLOCK, the lines before END; for NOTIFICATION, one line: the text behind `>SOURCE:`. It raises
            ValueError where the text is not what the command answers.
        changes: the command changes the daemon or its clients.
        notification: the source of the real-time message that answers. NOTIFICATION needs it. For LINE it is the
            one that a daemon may send instead of its ERROR line: OpenVPN 2.1 to 2.4 in hold answer a signal only
            with a second `>HOLD:` (protocol-facts 1.6).
        fence: for BLOCK: no line of this reply can begin with `SUCCESS:` or `ERROR:`, so that one that does ends
            a reply that lost its END (protocol-facts 3, "Missing END") and belongs to the command behind it.
    """

    name: str
    arguments: tuple[str, ...]
    reply: ReplyKind
    parse: Callable[[tuple[str, ...]], T]
    changes: bool = False
    notification: str | None = None
    fence: bool = False

    @property
    def text(self) -> str:
        """The command as a user would type it, quoted where the daemon's lexer needs it, without a line's end."""
        return " ".join([self.name, *map(quote, self.arguments)])

    def encode(self) -> bytes:
        """The command's line as it is written, LF at its end.

        Raises:
            UsageError: an argument has a control character, which the daemon would drop or take for the end of
                the line, or is longer than 255 bytes, or the line is longer than 1000 (protocol-facts 2).
        """
        if len(self.arguments) >= PARAMETERS_LIMIT:
            raise UsageError(
                f"'{self.name}' has {len(self.arguments)} arguments, and OpenVPN reads at most {PARAMETERS_LIMIT - 1}"
            )
        for argument in self.arguments:
            check_argument(argument, f"an argument of '{self.name}'")
        line = self.text.encode("utf-8", "surrogateescape")
        if len(line) > LINE_LIMIT:
            raise UsageError(f"'{self.name}' makes a line of {len(line)} bytes, and OpenVPN takes {LINE_LIMIT}")
        return line + b"\n"

    def raw(self) -> Command[tuple[str, ...]]:
        """The same command, its reply's lines left as the daemon sent them."""
        return replace(self, parse=_lines)  # type: ignore[arg-type,return-value]  # replace() cannot change T


def quote(argument: str) -> str:
    """One argument as the daemon's lexer reads it back (protocol-facts 2).

    Outside quotes a blank separates, a quote, `#` or `;` at the start has a meaning, and a backslash escapes; so
    whatever is not plain stands between double quotes, with backslash and double quote escaped.
    """
    if _PLAIN.fullmatch(argument):
        return argument
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def check_argument(argument: str, what: str, *, limit: int = PARAMETER_LIMIT) -> None:
    """Refuses an argument that would not reach the daemon as it is.

    Raises:
        UsageError: control characters, more than `limit` bytes, or text that has no bytes.
    """
    if control := _CONTROL.search(argument):
        raise UsageError(
            f"{what} has a control character (\\x{ord(control[0]):02x})",
            hint="OpenVPN drops control characters from its input; the names that it shows have _ in their place",
        )
    try:
        size = len(argument.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is not text that can be sent") from error
    if size > limit:
        raise UsageError(f"{what} is {size} bytes long, and OpenVPN takes at most {limit}")


def help_() -> Command[Help]:
    """`help`: the commands that the daemon knows."""
    return Command("help", (), ReplyKind.BLOCK, parse_help)


def version() -> Command[Version]:
    """`version`: of OpenVPN and of its management interface.

    Without an argument: with one it sets the client's version and may answer nothing (protocol-facts 1.3).
    """
    return Command("version", (), ReplyKind.BLOCK, parse_version)


def pid() -> Command[int]:
    """`pid`: the daemon's process ID."""
    return Command("pid", (), ReplyKind.LINE, parse_pid)


def load_stats() -> Command[LoadStats]:
    """`load-stats`: connected clients and bytes of the whole daemon."""
    return Command("load-stats", (), ReplyKind.LINE, parse_load_stats)


def state() -> Command[State]:
    """`state`: the daemon's state."""
    return Command("state", (), ReplyKind.BLOCK, parse_state)


def state_history(count: int | str = "all") -> Command[tuple[State, ...]]:
    """`state N` or `state all`: the last states, oldest first.

    Raises:
        UsageError: count is neither a number from 1 on nor `all`.
    """
    return Command("state", (_count(count, "state"),), ReplyKind.BLOCK, parse_state_history)


def status(format_version: int = 3) -> Command[Status]:
    """`status N`: clients and routes. Always with a format, the daemon's default being its own (protocol-facts 3).

    In format 3 alone no name can shift a column. A row of format 1 may begin with anything a client chose, so
    format 1 has no fence.

    Raises:
        UsageError: the format is not 1, 2 or 3.
    """
    if format_version not in {1, 2, 3}:
        raise UsageError(f"'{format_version}' is not a status format", hint="formats are 1, 2 and 3")
    return Command("status", (str(format_version),), ReplyKind.BLOCK, parse_status, fence=format_version != 1)


def log(count: int | str) -> Command[tuple[LogLine, ...]]:
    """`log N` or `log all`: the last lines of the daemon's log, oldest first.

    Raises:
        UsageError: count is neither a number from 1 on nor `all`.
    """
    return Command("log", (_count(count, "log"),), ReplyKind.BLOCK, parse_log)


@overload
def verb(level: None = None) -> Command[int]: ...
@overload
def verb(level: int | str) -> Command[str]: ...
def verb(level: int | str | None = None) -> Command[int] | Command[str]:
    """`verb`: the log's verbosity; `verb N` sets it.

    Raises:
        UsageError: the level is not a number from 0 to 15.
    """
    if level is None:
        return Command("verb", (), ReplyKind.LINE, parse_verb)
    argument = _number(level, "verb", 0, VERB_MAX)
    return Command("verb", (argument,), ReplyKind.LINE, parse_text, changes=True)


@overload
def mute(level: None = None) -> Command[int]: ...
@overload
def mute(level: int | str) -> Command[str]: ...
def mute(level: int | str | None = None) -> Command[int] | Command[str]:
    """`mute`: after how many messages of one kind the log is silent; `mute N` sets it, 0 for never.

    Raises:
        UsageError: the level is not a number from 0 on.
    """
    if level is None:
        return Command("mute", (), ReplyKind.LINE, parse_mute)
    argument = _number(level, "mute", 0, _INT_MAX)
    return Command("mute", (argument,), ReplyKind.LINE, parse_text, changes=True)


@overload
def hold(action: None = None) -> Command[bool]: ...
@overload
def hold(action: str) -> Command[str]: ...
def hold(action: str | None = None) -> Command[bool] | Command[str]:
    """`hold`: the hold flag; `hold on` and `hold off` set it, `hold release` lets a waiting daemon go on.

    Raises:
        UsageError: the action is none of `on`, `off` and `release`.
    """
    if action is None:
        return Command("hold", (), ReplyKind.LINE, parse_hold)
    if action not in {"on", "off", "release"}:
        raise UsageError(f"'{action}' is not an action of hold", hint="actions are on, off and release")
    return Command("hold", (action,), ReplyKind.LINE, parse_text, changes=True)


def kill_common_name(common_name: str) -> Command[int]:
    """`kill CN`: ends the sessions of all clients with just this common name; the value is how many.

    Raises:
        UsageError: the name is empty, longer than 127 bytes or has a control character; or it has a colon, which
            OpenVPN 2.7 cuts the name at, so that other clients are killed; or it is `UNDEF`, which stands for
            every client in mid-handshake (protocol-facts 4 and 10.8).
    """
    if not common_name:
        raise UsageError("the common name is empty")
    check_argument(common_name, "the common name", limit=COMMON_NAME_LIMIT)
    if ":" in common_name:
        raise UsageError("a common name with a colon cannot be killed by name: OpenVPN 2.7 would kill another client")
    if common_name == "UNDEF":
        raise UsageError("'UNDEF' is no client's name: OpenVPN would kill every client that has none yet")
    return Command("kill", (common_name,), ReplyKind.LINE, parse_killed, changes=True)


_ADDRESS = re.compile(r"(?:(?:tcp|udp):)?(?P<address>[0-9.]+):(?P<port>[0-9]{1,5})")
_PORT_MAX = 65535


def kill_address(spelling: str) -> Command[int]:
    """`kill IP:port`: ends the session of the client with this real address; the value is how many.

    Args:
        spelling: `IP:port` up to OpenVPN 2.6, `udp:IP:port` or `tcp:IP:port` from 2.7 on (protocol-facts 4).

    Raises:
        UsageError: it is none of these; IPv6 among them, which no version can kill by address.
    """
    match = _ADDRESS.fullmatch(spelling)
    try:
        valid = match is not None and bool(IPv4Address(match["address"])) and 0 < int(match["port"]) <= _PORT_MAX
    except AddressValueError:
        valid = False
    if not valid:
        raise UsageError("a client can be killed by address only as IPv4:port, udp:IPv4:port or tcp:IPv4:port")
    return Command("kill", (spelling,), ReplyKind.LINE, parse_killed, changes=True)


_CLIENT_MESSAGE = re.compile(r"(?:RESTART|HALT)(?:,.*)?")


def client_kill(client_id: int, message: str | None = None) -> Command[str]:
    """`client-kill CID [MESSAGE]`: ends one session by its client ID.

    Args:
        client_id: the CID of a row of status 2 or 3, from OpenVPN 2.4 on.
        message: `RESTART` or `HALT`, and a reason behind a comma; HALT ends the VPN client's process. None is
            RESTART.

    Raises:
        UsageError: a negative ID; a message that is neither, which would leave the client in a black hole
            (protocol-facts 10.9), or that has control characters or more than 255 bytes.
    """
    arguments = [_number(client_id, "client-kill", 0, 2**63 - 1)]
    if message is not None:
        check_argument(message, "the message")
        if not _CLIENT_MESSAGE.fullmatch(message):
            raise UsageError("the message to a client must be RESTART or HALT, with a reason behind a comma if any")
        arguments.append(message)
    return Command("client-kill", tuple(arguments), ReplyKind.LINE, parse_text, changes=True)


def signal(name: str) -> Command[str]:
    """`signal NAME`: SIGHUP and SIGUSR1 restart, SIGTERM ends the daemon; SIGUSR2 writes a status to its log.

    SUCCESS comes before the effect, and says nothing of it (protocol-facts 5). In hold SIGUSR2 ends the daemon.

    Raises:
        UsageError: none of the four, spelled just so.
    """
    if name not in SIGNALS:
        raise UsageError(f"'{name}' is not a signal that OpenVPN takes", hint=f"signals are {', '.join(SIGNALS)}")
    answer = "HOLD" if name in {"SIGHUP", "SIGUSR1"} else None
    return Command("signal", (name,), ReplyKind.LINE, parse_signal, changes=True, notification=answer)


def quit_() -> Command[None]:
    """`quit`: the daemon closes the session. Only after every reply was read: it drops them (protocol-facts 6.1)."""
    return Command("quit", (), ReplyKind.NONE, _nothing)


def _nothing(lines: tuple[str, ...]) -> None:
    del lines  # there are none


def _lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    return lines


def _number(value: int | str, name: Literal["verb", "mute", "log", "state", "client-kill"], low: int, high: int) -> str:
    """A number in the daemon's spelling; it takes anything else for 0 (protocol-facts 2)."""
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,20}", text) or not low <= int(text) <= high:
        span = f"from {low} to {high}" if name == "verb" else f"from {low} on"
        more = " or all" if name in {"log", "state"} else ""
        raise UsageError(f"'{text}' is not a number that '{name}' takes", hint=f"it takes a whole number {span}{more}")
    return str(int(text))


def _count(value: int | str, name: Literal["log", "state"]) -> str:
    return "all" if value == "all" else _number(value, name, 1, _INT_MAX)
