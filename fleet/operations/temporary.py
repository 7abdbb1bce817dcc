"""Settings that are changed for a time: what each daemon had before is kept, and put back in a later session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Generic, TypeVar

from fleet.management import commands
from fleet.management.commands import Command
from fleet.operations.columns import Column
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Confirm, Operation, texts
from fleet.operations.settings import word

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A setting of a daemon that outlives a session (protocol-facts 6.6).

    Attributes:
        name: of the management command, and of fleet's.
        query: asks for its value.
        change: makes the command that sets it.
    """

    name: str
    query: Command[T]
    change: Callable[[T], Command[str]]

    def text(self, value: T) -> str:
        """The command that sets it, as it is typed: `verb 3`."""
        return self.change(value).text


VERB: Setting[int] = Setting("verb", commands.verb(None), commands.verb)
MUTE: Setting[int] = Setting("mute", commands.mute(None), commands.mute)
HOLD: Setting[bool] = Setting("hold", commands.hold(None), lambda on: commands.hold("on" if on else "off"))


class PutBack(StrEnum):
    """What became of a former value, as JSON spells it."""

    DONE = "done"
    ALREADY = "already"  # the daemon had it by itself: after a SIGHUP (protocol-facts 11.8), or by somebody's hand
    LEFT = "left"  # somebody has given the daemon another value meanwhile, which stays


@dataclass(frozen=True, slots=True)
class Temporary(Generic[T]):
    """A change of a setting for a time.

    Attributes:
        setting: its name.
        before: the value that the daemon had until then.
        now: the value that it was given.
        answer: the daemon's own words; None where it was not told, because it had the value already.
        put_back: what became of the former value; None where it was not put back, or need not be.
        found: the value that the daemon had when it was to be put back; None where it was not asked.
    """

    setting: str
    before: T
    now: T
    answer: str | None
    put_back: PutBack | None = None
    found: T | None = None

    @property
    def shown(self) -> str:
        """What became of the former value, for people."""
        if self.put_back is PutBack.LEFT:
            return f"left at {word(self.found)}"
        if self.put_back is PutBack.ALREADY:
            return "was already"
        return self.put_back or "-"


def set_for_a_time(setting: Setting[T], value: T) -> Operation[Temporary[T]]:
    """Sets it, and keeps what each daemon had before; also where the answer is lost, as what was done `partial`.

    The daemon's own words begin with its former value, so that what is written down of a run tells it even where fleet
    was killed before it could put it back.
    """
    return Operation(
        setting.name,
        partial(_set, setting, value),
        (Column(setting.name), Column("before"), Column("put_back")),
        lambda change: [(word(change.now), word(change.before), change.shown)],
        changes=True,
        sends=(setting.text(value),),
        effect=f"sets {setting.text(value)} on {{servers}} for a time",
        confirm=Confirm.SEVERAL,
    )


async def _set(setting: Setting[T], value: T, conversation: Conversation) -> Answer[Temporary[T]]:
    (found,) = await conversation.ask(setting.query)
    change = Temporary(setting.name, found.result(), value, None)
    unchanged = Answer(change, texts(found))
    if change.before == value:
        return unchanged
    conversation.attempt.partial = unchanged
    (reply,) = await conversation.ask(setting.change(value))
    return Answer(replace(change, answer=reply.result()), texts(found, reply))


def put_back(setting: Setting[T], owed: Mapping[str, Temporary[T]]) -> Operation[Temporary[T]]:
    """Gives each daemon its own former value, unless somebody has given it another one meanwhile.

    It may be done again after a failure: a daemon that has its former value is told nothing.

    Args:
        setting: what was changed.
        owed: the change of each server, by name.
    """
    set_before = set_for_a_time(setting, next(iter(owed.values())).now)
    return replace(set_before, perform=partial(_put_back, setting, owed))


async def _put_back(
    setting: Setting[T], owed: Mapping[str, Temporary[T]], conversation: Conversation
) -> Answer[Temporary[T]]:
    change = owed[conversation.server.name]
    (asked,) = await conversation.ask(setting.query)
    found = asked.result()
    if found == change.before:
        return Answer(replace(change, put_back=PutBack.ALREADY, found=found), texts(asked))
    if found != change.now:
        conversation.warn(
            f"somebody has set {setting.text(found)} meanwhile, so it was left; before it was {word(change.before)}"
        )
        return Answer(replace(change, put_back=PutBack.LEFT, found=found), texts(asked))
    (reply,) = await conversation.ask(setting.change(change.before))
    reply.result()
    if conversation.held:
        conversation.warn("the daemon is in hold, and stays there until it is told: fleet hold release")
    return Answer(replace(change, put_back=PutBack.DONE, found=found), reply.text())


def repair(setting: Setting[Any], change: Temporary[Any]) -> str:
    """The command of fleet that puts a value back by hand, without the servers' names."""
    return f"fleet {setting.text(change.before)}"
