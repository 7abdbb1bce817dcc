"""One command of the table as an operation of its own, its answer shown as the daemon gives it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fleet.errors import CommandFailedError
from fleet.management import commands
from fleet.management.commands import COMMANDS, Command
from fleet.management.replies import EchoLine, Help, RemoteEntry
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation
from fleet.operations.execute import reply_lines, send
from fleet.operations.operation import Answer, Operation, PartText, Query
from fleet.operations.secret import Secret


@dataclass(frozen=True, slots=True)
class Told:
    """What a daemon answered.

    Attributes:
        value: the reply's value.
        lines: the reply as people read it.
    """

    value: Any
    lines: tuple[str, ...]


def tell(
    command: Command[Any], *, key: str = "answer", lines: Callable[[Any, Sequence[str]], Sequence[str]] | None = None
) -> Operation[Told]:
    """Sends one command, and shows equal answers once.

    Args:
        command: what is sent.
        key: under which JSON has the reply's value.
        lines: what people see, from the value and the daemon's own lines; those lines if None.
    """
    return Operation(
        command.name,
        partial(_perform, command, lines or _as_they_are),
        columns=(),
        rows=lambda _told: (),
        result=lambda told: {key: told.value},
        changes=command.changes,
        texts=lambda told: (PartText(command.text, told.lines),),
        sends=(command.text,),
    )


async def _perform(
    command: Command[Any], lines: Callable[[Any, Sequence[str]], Sequence[str]], conversation: Conversation
) -> Answer[Told]:
    reply = await send(conversation, command)
    value = reply.result()
    return Answer(Told(value, tuple(lines(value, reply_lines(reply)))), reply.text())


def show_help() -> Operation[Told]:
    """The commands that each daemon knows: equal ones once, whatever release gives them."""
    return replace(tell(commands.help_(), lines=_help_lines), result=lambda told: told.value)


def _help_lines(_value: Help, own: Sequence[str]) -> Sequence[str]:
    # The first line has the release and its build, which would keep apart what is the same; then comes "Commands:".
    return own[2:]


def echo(count: str) -> Query[tuple[EchoLine, ...]]:
    """The last parameters of echo directives (management notes, COMMAND -- echo).

    Args:
        count: how many, or `all` of the 100 that a daemon keeps.

    Raises:
        UsageError: the count is neither a number from 1 on nor `all`.
    """
    return Query(
        "echo",
        "Show the parameters of echo directives.",
        commands.echo(count),
        (Column("time", Kind.TIME), Column("text", Kind.TEXT)),
        lambda lines: [(line.time, line.text) for line in lines],
        key="lines",
    )


def show_auth_retry() -> Query[str]:
    """How each daemon goes on after a failed authentication (management notes, COMMAND -- auth-retry)."""
    return Query(
        "auth-retry",
        "Show how each daemon goes on after a failed authentication.",
        commands.auth_retry(),
        (Column("auth_retry", Kind.TEXT),),
        lambda mode: [(mode,)],
        key="auth_retry",
    )


def remote_entry_count() -> Query[int]:
    """How many remotes a client daemon has; other daemons refuse the question."""
    return Query(
        "remote-entry-count",
        "Show how many remotes each client daemon has.",
        commands.remote_entry_count(),
        (Column("count", Kind.COUNT),),
        lambda count: [(count,)],
        key="count",
    )


def remote_entries(first: str, stop: str | None) -> Query[tuple[RemoteEntry, ...]]:
    """The remotes of client daemons, from `first` to `stop` - 1.

    Raises:
        UsageError: neither numbers nor `all`.
    """
    return Query(
        "remote-entry-get",
        "Show the remotes of each client daemon.",
        commands.remote_entry_get(first, stop),
        (
            Column("index", Kind.COUNT),
            Column("host", Kind.TEXT),
            Column("port", Kind.TEXT),
            Column("protocol", Kind.TEXT),
            Column("enabled", Kind.TEXT),
        ),
        lambda entries: [(e.index, e.host, e.port, e.protocol, e.enabled) for e in entries],
        key="entries",
    )


SecretSource = Callable[[str], Awaitable[Secret]]
"""Gives the secret for the server with this name. Raises nothing but ServerError."""


def give_secret(name: str, request: str, source: SecretSource) -> Operation[Told]:
    """`password` and `username`: one answer to a daemon that waits.

    (Management notes, COMMAND -- password and username.) It does what it says and no more: `fleet unlock` looks first
    what is wanted, and what became of it.

    Args:
        name: `password` or `username`.
        request: what the daemon asks for, for example `Private Key`.
        source: where the secret comes from.
    """

    async def perform(conversation: Conversation) -> Answer[Told]:
        conversation.attempt.phase = f"getting the secret for {name}"
        secret = await source(conversation.server.name)
        command = COMMANDS[name].command([request, secret.reveal()])
        try:
            return await _perform(command, _as_they_are, conversation)
        except CommandFailedError as error:
            if not secret.is_in(error.message):
                raise
            # All or nothing: cut out of the text, a short secret could be told by what is missing.
            text = "the daemon refused the answer, in words that may repeat the secret and are not shown"
            raise CommandFailedError(text) from None

    return Operation(
        name,
        perform,
        columns=(),
        rows=lambda _told: (),
        result=lambda told: {"answer": told.value},
        changes=True,
        texts=lambda told: (PartText(f"{name} {request}", told.lines),),
        sends=(f"{name} {commands.quote(request)} [...]",),
    )


def _as_they_are(_value: object, own: Sequence[str]) -> Sequence[str]:
    return own
