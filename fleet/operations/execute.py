"""`exec`: any management commands by their own spelling, several in one session of each server.

The table of commands (fleet.management.commands) says what ends each reply, what it means and whether it changes the
daemon. What has no place in a run that asks, reads and leaves is refused here, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fleet.errors import FailedError, UsageError
from fleet.management.commands import COMMANDS, Command, ReplyKind, custom_command, parse_command, pid, split_line
from fleet.management.protocol import Reply
from fleet.operations.conversation import Conversation
from fleet.operations.guard import Guard, refuse_flood
from fleet.operations.operation import Answer, Confirm, Operation, PartText

CLIENT_ID = "CID"
"""How the table of commands names the argument that is a client's ID."""

_NO_REPLY = "(no reply)"
_SUCCESS = "SUCCESS:"
_ENDING = ("SIGHUP", "SIGTERM")  # signals that fleet signal asks a name for


@dataclass(frozen=True, slots=True)
class CommandError:
    """Why a command failed: the error's code, message and hint, as a server's error has them."""

    code: str
    message: str
    hint: str | None


@dataclass(frozen=True, slots=True)
class CommandReply:
    """What became of one command of the list on one server.

    Attributes:
        command: its text, without secrets.
        status: `ok`; `failed`, the daemon refused it or fleet did; `unanswered`, it was being asked when the session
            was lost or the time was over; `not_sent`, one before it failed.
        kind: what ends its reply: `line`, `block`, `fenced`, `notification` or `none`; several answers with `+`.
        value: the reply as far as fleet knows its structure; None where it does not.
        lines: where there is no value: the lines as the daemon sent them, without framing.
        error: why it failed, or None.
    """

    command: str
    status: str
    kind: str
    value: Any = None
    lines: tuple[str, ...] | None = None
    error: CommandError | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of the whole list on one server.

    Attributes:
        replies: one for each command, in their order.
        texts: what people see of those that were answered, in the same order.
    """

    replies: tuple[CommandReply, ...]
    texts: tuple[PartText, ...]


def prepare(texts: Sequence[str], reply: ReplyKind | None = None) -> tuple[Command[Any], ...]:
    """The commands that the user spelled.

    Args:
        texts: one management command each, by the daemon's rules of quoting; of one that takes lines up to END, they
            follow on lines of their own, with or without that END.
        reply: what ends the reply of those that are not in the table; None where the user does not say.

    Raises:
        UsageError: one that cannot be sent, or must not be in a run of this kind; `reply` where all are known.
    """
    if not texts:
        raise UsageError("exec wants a management command", hint="for example: fleet exec 'status 3' 'load-stats'")
    prepared = tuple(_prepare(text, reply) for text in texts)
    if reply is not None and all(command.name in COMMANDS for command in prepared):
        raise UsageError(
            "--reply is for commands that fleet does not know, and it knows what ends the reply to "
            + ("this one" if len(prepared) == 1 else "each of these"),
            hint="leave it out",
        )
    refuse_flood(prepared)
    return prepared


def _prepare(text: str, reply: ReplyKind | None) -> Command[Any]:
    words = split_line(text.partition("\n")[0])
    if not words:
        raise UsageError("an empty line is no command: a daemon does not answer it")
    refuse_traps(words[0])
    if reply is not None and words[0] not in COMMANDS:
        return custom_command(text, reply)
    return parse_command(text)


def refuse_traps(name: str, *, secrets: bool = False) -> None:
    """Refuses commands that have no place in a run that asks, reads and leaves.

    Args:
        name: of the command.
        secrets: commands that take a secret may pass, as nobody but the user sees what is typed.

    Raises:
        UsageError: with what to do instead.
    """
    if name in ("exit", "quit"):
        raise UsageError(
            f"'{name}' ends the session and costs the replies before it", hint="leave it out: fleet ends every session"
        )
    spec = COMMANDS.get(name)
    if spec is not None and spec.secret and not secrets:
        raise UsageError(
            f"'{name}' takes a secret, and whatever stands on a command line can be read by others",
            hint="answer a daemon that waits with fleet unlock, or type it in fleet console",
        )


def for_one_server(commands: Iterable[Command[Any]]) -> str:
    """Why these commands can be for one server only, as a sentence; empty where they can be for many."""
    for command in commands:
        spec = COMMANDS.get(command.name)
        if spec is not None and CLIENT_ID in spec.arguments.replace("[", " ").split():
            return f"'{command.name}' names a client by its ID, which is another client on each server"
    return ""


def shown_arguments(texts: Sequence[str]) -> list[str]:
    """The commands as a refused run may show them: of one that fleet does not know, or that takes a secret, its name.

    Somebody may have typed a password there, or mistyped `password`.
    """
    shown = []
    for text in texts:
        name, *rest = text.split(maxsplit=1) or [""]
        spec = COMMANDS.get(name)
        shown.append(text if spec is not None and not spec.secret else name + (" [...]" if rest else ""))
    return shown


def execute(commands: Sequence[Command[Any]], *, force: bool = False) -> Operation[Execution]:
    """Sends the commands one after the other, each behind the reply to the one before it.

    The first that fails on a server is the last that is sent there, as with `sh -e`; its other commands are not sent.

    Args:
        commands: in their order.
        force: send signals and kills too that would do harm to a daemon, or to another client than the one meant.
    """
    ends = any(command.name == "signal" and command.arguments[0] in _ENDING for command in commands)
    return Operation(
        "exec",
        partial(_perform, tuple(commands), force),
        columns=(),
        rows=lambda _value: (),
        result=lambda value: {"replies": value.replies},
        changes=any(command.changes for command in commands),
        sends=tuple(command.text for command in commands),
        texts=lambda value: value.texts,
        confirm=Confirm.NAME if ends else Confirm.SEVERAL,
    )


@dataclass(slots=True)
class _Progress:
    """What is done of the list on one server."""

    commands: tuple[Command[Any], ...]
    replies: list[CommandReply] = field(default_factory=list)
    texts: list[PartText] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)

    def answer(self, *, asking: bool = False) -> Answer[Execution]:
        rest = [
            CommandReply(command.text, "unanswered" if asking and not position else "not_sent", _kind(command))
            for position, command in enumerate(self.commands[len(self.replies) :])
        ]
        return Answer(Execution((*self.replies, *rest), tuple(self.texts)), "".join(self.raw))

    def answered(self, reply: Reply[Any], value: Any) -> None:
        command = reply.command
        structured = command.parse is not command.raw().parse
        lines = None if structured else reply_lines(reply)
        self.replies.append(
            CommandReply(command.text, "ok", _kind(command), value if structured else None, lines=lines)
        )
        self.texts.append(PartText(command.text, reply_lines(reply) or (_NO_REPLY,)))
        self.raw.append(reply.text())

    def failed(self, error: FailedError, reply: Reply[Any] | None) -> None:
        command = self.commands[len(self.replies)]
        why = CommandError(error.code, error.message, error.hint)
        self.replies.append(CommandReply(command.text, "failed", _kind(command), error=why))
        if reply is not None:
            self.raw.append(reply.text())

    def told(self, error: FailedError) -> FailedError:
        """The error of the server: which command failed, and which were not sent for that."""
        if len(self.commands) == 1:
            return error
        rest = [f"'{command.text}'" for command in self.commands[len(self.replies) :]]
        unsent = f"; not sent: {', '.join(rest)}" if rest else ""
        told = type(error)(f"'{self.replies[-1].command}': {error.message}{unsent}", hint=error.hint, sent=error.sent)
        told.__cause__ = error.__cause__
        return told


async def _perform(commands: tuple[Command[Any], ...], force: bool, conversation: Conversation) -> Answer[Execution]:
    progress, guard = _Progress(commands), Guard(force=force)
    for command in commands:
        conversation.attempt.partial = progress.answer(asking=True)
        reply = None
        try:
            await guard.check(conversation, command)
            reply = await send(conversation, command)
            progress.answered(reply, reply.result())
        except FailedError as error:
            # The daemon's own ERROR, or a reply that is not one: the session may go on, the list does not.
            progress.failed(error, reply)
            conversation.attempt.partial = progress.answer()
            raise progress.told(error) from error.__cause__
    return progress.answer()


async def send(conversation: Conversation, command: Command[Any]) -> Reply[Any]:
    """The reply to one command; a daemon that restarts just now is waited for.

    Behind a command without a reply goes a `pid`: its reply shows that the daemon has read what was before it.

    Raises:
        ServerError: the reply did not come whole; an ERROR reply is a reply and is not raised here.
    """
    (reply,) = await conversation.ask_settled(command)
    if command.reply is ReplyKind.NONE:
        (fence,) = await conversation.session.ask(pid())
        if fence.error is not None:  # the command had a reply after all, and it stands where that of `pid` was to be
            return replace(reply, error=fence.error)
        fence.result()
    return reply


def reply_lines(reply: Reply[Any]) -> tuple[str, ...]:
    """What a reply says, without its framing: no `SUCCESS: `, no END; of several answers one behind the other."""
    if reply.parts:
        return tuple(line for part in reply.parts for line in reply_lines(part))
    if reply.command.reply is ReplyKind.LINE:
        return tuple(line.removeprefix(_SUCCESS).removeprefix(" ") for line in reply.lines)
    return reply.lines


def _kind(command: Command[Any]) -> str:
    return "+".join(kind.name.lower() for kind in command.kinds)
