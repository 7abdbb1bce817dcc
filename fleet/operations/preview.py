"""What a change would do: each server is asked whether it can be asked, and nothing on it is changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fleet.management import commands
from fleet.management.replies import State
from fleet.operations.columns import Column, Kind
from fleet.operations.operation import Answer, Operation, texts

if TYPE_CHECKING:
    from fleet.operations.conversation import Conversation


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would do to one server.

    Attributes:
        state: the daemon's state now.
        nclients: the clients that it serves now; None for a daemon that waits for a hold release.
        would_send: the commands that it would be sent, in their order.
    """

    state: State
    nclients: int | None
    would_send: tuple[str, ...]


def preview_of(operation: Operation[Any]) -> Operation[Any]:
    """What shows a change without doing it; it goes by the name of the change."""
    if operation.preview is not None:
        return replace(operation.preview, name=operation.name)
    return Operation(
        operation.name,
        partial(_look, operation.sends),
        (
            Column("state"),
            Column("nclients", Kind.COUNT, header="CLIENTS"),
            Column("would_send", keep=True),
        ),
        lambda value: [(value.state.name, value.nclients, "; ".join(value.would_send))],
    )


async def _look(sends: tuple[str, ...], conversation: Conversation) -> Answer[Preview]:
    state, load = await conversation.ask(commands.state(), commands.load_stats())
    nclients = None if conversation.held else load.result().nclients
    return Answer(Preview(state.result(), nclients, sends), texts(state, load))
