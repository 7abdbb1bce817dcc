"""Asking a person before something is changed: what would be sent where, and whose clients that reaches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fleet.cli.asking import Interrupts, ask
from fleet.cli.options import Options
from fleet.cli.output import error_style, say
from fleet.cli.terminal import Terminal, terminal
from fleet.engine import Outcome
from fleet.errors import InterruptedRunError, UsageError
from fleet.inventory.model import Server
from fleet.operations.columns import SERVER
from fleet.operations.operation import Answer, Confirm, Foreseen, Operation
from fleet.operations.preview import preview_of
from fleet.render.fold import fold_counted
from fleet.render.outcomes import errors_text, warnings_text
from fleet.render.table import render_table
from fleet.render.text import escape

_ROWS = 30  # of the table of a question; of more servers their names alone are shown

Foresight = Sequence[Outcome[Answer[Any]]]
"""What the preview of a change found on each server; its values are Foreseen."""


def agree(operation: Operation[Any], servers: Sequence[Server], options: Options) -> None:
    """Asks before a change that asks, with the list of what would be done.

    Raises:
        UsageError: nobody can be asked here, or the person said no. Nothing was changed.
    """
    if not must_ask(operation, servers, options):
        return
    person = somebody(operation, servers)
    found = foresee(operation, servers, options)
    if not has_rows(operation, found):
        return  # the run itself says that there is nobody
    say(question(operation, servers, found, options))
    confirm(operation, servers, options, person)


def must_ask(operation: Operation[Any], servers: Sequence[Server], options: Options) -> bool:
    """Whether a person is to be asked before the operation."""
    if not operation.changes or options.yes or not servers:
        return False
    several = operation.confirm is Confirm.SEVERAL and len(servers) > 1
    return several or operation.confirm in (Confirm.ALWAYS, Confirm.NAME)


def somebody(operation: Operation[Any], servers: Sequence[Server]) -> Terminal:
    """The terminal of the person to ask.

    Raises:
        UsageError: there is none.
    """
    person = terminal()
    if person is None:
        raise UsageError(
            f"{operation.name} changes {_servers(len(servers))}, and there is no terminal to ask at",
            hint="give --yes to go on without a question; --dry-run shows what would be sent where",
        )
    return person


def foresee(operation: Operation[Any], servers: Sequence[Server], options: Options) -> Foresight:
    """Looks at every server, changing nothing.

    Raises:
        InterruptedRunError: Ctrl-C; nothing was changed.
    """
    with Interrupts() as interrupts:
        asked = ask(preview_of(operation), servers, options, interrupts)
    if asked.interrupted:
        raise InterruptedRunError("interrupted before anything was sent")
    order = {server.name: position for position, server in enumerate(servers)}
    return sorted(asked.outcomes, key=lambda outcome: order[outcome.server.name])


def has_rows(operation: Operation[Any], found: Foresight) -> bool:
    """Whether the preview has anything to show, or somebody could not be asked."""
    preview = preview_of(operation)
    return any(outcome.value is None or any(True for _ in preview.rows(outcome.value.value)) for outcome in found)


def question(operation: Operation[Any], servers: Sequence[Server], found: Foresight, options: Options) -> str:
    """What a person is told before the question."""
    style = error_style(options)
    parts = [f"This {effect(operation, found)}:", _list(operation, servers, found)]
    parts += [warnings_text(found, style=style), errors_text(found, style=style)]
    return "\n".join(part for part in parts if part)


def effect(operation: Operation[Any], found: Foresight) -> str:
    """What the operation does, with how many servers and clients it reaches."""
    clients = sum(clients_of(outcome) or 0 for outcome in found)
    return operation.effect.format(
        servers=_servers(len(found)), clients=f"{clients} {'client' if clients == 1 else 'clients'}"
    )


def clients_of(outcome: Outcome[Answer[Any]]) -> int | None:
    """The clients of one server that a change reaches; None where nobody knows."""
    if outcome.value is None:
        return None
    value: Foreseen = outcome.value.value
    return value.nclients


def _list(operation: Operation[Any], servers: Sequence[Server], found: Foresight) -> str:
    preview = preview_of(operation)
    rows = [
        (outcome.server.name, *row)
        for outcome in found
        if outcome.value is not None
        for row in preview.rows(outcome.value.value)
    ]
    if len(rows) > _ROWS:
        return f"  {escape(fold_counted(server.name for server in servers))}"
    table = render_table((SERVER, *preview.columns), rows, None, wide=False, now=datetime.now(UTC))
    return "\n".join(f"  {line}" for line in table.split("\n")) if rows else ""


def confirm(operation: Operation[Any], servers: Sequence[Server], options: Options, person: Terminal) -> None:
    """Takes the person's answer.

    Raises:
        UsageError: it was no.
    """
    if operation.confirm is Confirm.NAME:
        name = _name(servers, options)
        agreed = person.line(f"Type {escape(name)} to go on: ").strip() == name
    else:
        agreed = yes(person, "Go on?")
    if not agreed:
        raise UsageError("not confirmed: nothing was changed")


def yes(person: Terminal, text: str) -> bool:
    """Whether the person answers a question with yes; anything else is a no."""
    return person.line(f"{text} [y/N] ").strip().lower() in ("y", "yes")


def _name(servers: Sequence[Server], options: Options) -> str:
    """What is to be typed: the one server's name, or the pattern that names them all."""
    if len(servers) == 1:
        return servers[0].name
    return ",".join(options.limit) or "all"


def _servers(count: int) -> str:
    return f"{count} {'server' if count == 1 else 'servers'}"
