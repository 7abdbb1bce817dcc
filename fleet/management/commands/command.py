"""What a command is: its name and arguments, what ends its reply, and what parses that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

from fleet.errors import UsageError
from fleet.management.commands.lexer import check_argument, quote

T = TypeVar("T")

# Security limits of what is written (protocol-facts 2). Of a longer line the daemon would execute the tail as a command
# of its own, and what follows the sixteenth parameter it ignores.
LINE_LIMIT = 1000
PARAMETERS_LIMIT = 16
BODY_LIMIT = 1000
"""Security limit: lines behind a command. The longest known are certificates, of some 30."""

MASK = "[secret]"
BODY_END = "END"
"""The line behind the lines of a command."""


class ReplyKind(Enum):
    """What ends the reply to a command (protocol-facts 1.3 to 1.6). Declared, never guessed from the text."""

    LINE = "one line, SUCCESS: or ERROR:"
    BLOCK = "lines up to one that equals END, or one ERROR: line in place of the first"
    NONE = "nothing"
    NOTIFICATION = "a real-time message"
    FENCED = "whatever comes before the answer to the `pid` behind it, which may be nothing"


@dataclass(frozen=True, slots=True, repr=False)
class Command(Generic[T]):
    """One command as it is sent to one daemon.

    Attributes:
        name: as the management interface spells it.
        arguments: unquoted values; `encode` quotes them by the lexer's rules (protocol-facts 2).
        reply: what ends the reply; several where the daemon gives several answers to the one line, as to `log on all`
            (protocol-facts 1.5).
        parse: turns the reply into its value. It gets, for LINE, one line: the text behind `SUCCESS: `; for
            BLOCK, the lines before END; for NOTIFICATION, one line: the text behind `>SOURCE:`; for FENCED, all lines
            as they came; for several answers, the lines of the BLOCKs among them. It raises ValueError where the text
            is not what the command answers.
        changes: the command changes the daemon or its clients.
        notification: the source of the real-time message that answers. NOTIFICATION needs it. For LINE it is the
            one that a daemon may send instead of its ERROR line: OpenVPN 2.1 to 2.4 in hold answer a signal only
            with a second `>HOLD:` (protocol-facts 1.6).
        fence: for BLOCK: no line of this reply can begin with `SUCCESS:` or `ERROR:`, so that one that does ends
            a reply that lost its END (protocol-facts 3, "Missing END") and belongs to the command behind it.
        body: lines that follow the command up to an END, which is not among them; None where none may follow. The
            daemon swallows all lines up to that END, whatever they say (protocol-facts 1.3).
        shown: how many arguments may be shown, the others being secrets; None for all of them.
        ends_waiting: a daemon that waits for its client, in hold or for a password, ends of it. A session refuses it
            there.
    """

    name: str
    arguments: tuple[str, ...]
    reply: ReplyKind | tuple[ReplyKind, ...]
    parse: Callable[[tuple[str, ...]], T]
    changes: bool = False
    notification: str | None = None
    fence: bool = False
    body: tuple[str, ...] | None = None
    shown: int | None = None
    ends_waiting: bool = False

    def __repr__(self) -> str:
        # The generated one would show secrets, in a traceback for example.
        return f"<Command {self.text!r}>"

    @property
    def kinds(self) -> tuple[ReplyKind, ...]:
        """What ends each of the answers, of which there is mostly one."""
        return self.reply if isinstance(self.reply, tuple) else (self.reply,)

    @property
    def secret(self) -> bool:
        """Whether an argument is a secret."""
        return self.shown is not None

    @property
    def text(self) -> str:
        """The command as a user would type it, quoted where the daemon's lexer needs it, without a line's end.

        In place of a secret stands `[secret]`; the body is left out.
        """
        shown = self.arguments[: self.shown]
        hidden = (MASK,) * (len(self.arguments) - len(shown))
        return " ".join([self.name, *map(quote, shown), *hidden])

    def encode(self) -> bytes:
        """The command's line as it is written, LF at its end, and its body with END.

        Raises:
            UsageError: an argument has a control character, which the daemon would drop or take for the end of
                the line, or is longer than 255 bytes, or a line is longer than 1000 (protocol-facts 2).
        """
        if len(self.arguments) >= PARAMETERS_LIMIT:
            raise UsageError(
                f"'{self.name}' has {len(self.arguments)} arguments, and OpenVPN reads at most {PARAMETERS_LIMIT - 1}"
            )
        visible = len(self.arguments) if self.shown is None else self.shown
        for i, argument in enumerate(self.arguments):
            check_argument(argument, f"an argument of '{self.name}'", secret=i >= visible)
        line = " ".join([self.name, *map(quote, self.arguments)]).encode("utf-8", "surrogateescape")
        if len(line) > LINE_LIMIT:
            raise UsageError(f"'{self.name}' makes a line of {len(line)} bytes, and OpenVPN takes {LINE_LIMIT}")
        return b"".join(part + b"\n" for part in (line, *self._encode_body()))

    def _encode_body(self) -> list[bytes]:
        if self.body is None:
            return []
        if len(self.body) > BODY_LIMIT:
            raise UsageError(f"'{self.name}' is followed by {len(self.body)} lines, and fleet sends {BODY_LIMIT}")
        for line in self.body:
            check_argument(line, f"a line behind '{self.name}'", limit=LINE_LIMIT)
            if line.strip() == BODY_END:
                raise UsageError(f"a line behind '{self.name}' is END, which ends them")
        return [line.encode("utf-8", "surrogateescape") for line in (*self.body, BODY_END)]

    def raw(self) -> Command[tuple[str, ...]]:
        """The same command, its reply's lines left as the daemon sent them."""
        return replace(self, parse=as_lines)  # type: ignore[arg-type,return-value]  # replace() cannot change T


def as_lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The parser that leaves the lines as they are."""
    return lines


def as_nothing(lines: tuple[str, ...]) -> None:
    """The parser of no reply."""
    del lines  # there are none
