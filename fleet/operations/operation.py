"""The shape that everything done to a fleet has: perform it on one server, show it as rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:  # what an operation looks like is known before anybody is asked
    from fleet.management.commands import Command
    from fleet.operations.columns import Column
    from fleet.operations.conversation import Conversation

T = TypeVar("T")
Row = Sequence[object]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What one server answered.

    Attributes:
        value: the value that tables and JSON are made of.
        raw: the daemon's own text, with newline ends.
    """

    value: T
    raw: str


@dataclass(frozen=True, slots=True)
class PartText:
    """What people see of one server's answer to one part of a question.

    Attributes:
        part: the part, for example one of several commands, by its own spelling.
        lines: the answer; none where there is nothing to be seen.
    """

    part: str
    lines: tuple[str, ...]


class Confirm(Enum):
    """When a person is asked before something is changed."""

    NEVER = "never"
    SEVERAL = "several"  # where it is more than one server
    ALWAYS = "always"
    NAME = "name"  # always, and the server's or the group's name is to be typed


class Foreseen(Protocol):
    """What a preview says of one server."""

    @property
    def nclients(self) -> int | None:
        """The clients that the change reaches; None where nobody can know."""
        ...


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One thing done to each server of a run.

    Attributes:
        name: the subcommand's name, `command` in JSON.
        perform: does it on one server. Where it can be pickled, other processes may do it (fleet/shards), so that it
            keeps nothing of one server for another.
        columns: of the table, without the column of the server's name, which every table begins with.
        rows: the rows of one server's value, each with one cell per column.
        totals: the last row, from all values, or None where there is nothing to add up.
        result: what JSON shows of one server's value.
        nobody: what to tell people where there is no row at all, or None.
        changes: it changes daemons or their clients.
        texts: for answers that no columns fit: what people see of one server's value, a text for each part of the
            question. Equal ones of several servers are folded. `columns` and `rows` are not used then.
        sends: of a change, the commands that every server is sent.
        preview: of a change whose commands depend on the server, what shows them: its values are Foreseen.
        confirm: of a change, when a person is asked before.
        effect: of a change, what it does, in words; `{servers}` and `{clients}` are how many.
    """

    name: str
    perform: Callable[[Conversation], Awaitable[Answer[T]]]
    columns: tuple[Column, ...]
    rows: Callable[[T], Iterable[Row]]
    totals: Callable[[Sequence[T]], Row] | None = None
    result: Callable[[T], object] = lambda value: value
    nobody: str | None = None
    changes: bool = False
    texts: Callable[[T], Sequence[PartText]] | None = None
    sends: tuple[str, ...] = ()
    preview: Operation[Any] | None = None
    confirm: Confirm = Confirm.SEVERAL
    effect: str = "changes {servers} with {clients}"


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """A read-only management command: one table entry from which CLI, help, table and JSON follow.

    Attributes:
        name: the subcommand's name.
        help: its help text, first line the summary.
        command: what is sent.
        columns: of the table, without the server's name.
        rows: the rows of one server's value.
        key: where the value is no object of its own, the key under which JSON shows it.
    """

    name: str
    help: str
    command: Command[T]
    columns: tuple[Column, ...]
    rows: Callable[[T], Iterable[Row]]
    key: str | None = None

    def operation(self) -> Operation[T]:
        """The query as the operation that the engine performs."""
        return Operation(self.name, partial(_perform, self.command), self.columns, self.rows, result=self._result)

    def _result(self, value: T) -> object:
        return value if self.key is None else {self.key: value}


async def _perform(command: Command[T], conversation: Conversation) -> Answer[T]:
    """Asks one server; a function with its command, which other processes can be sent."""
    (reply,) = await conversation.ask(command)
    return Answer(reply.result(), reply.text())


def texts(*replies: Any) -> str:
    """The daemon's own text of several replies, one behind the other."""
    return "".join(reply.text() for reply in replies)
