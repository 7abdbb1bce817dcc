"""The settings of a running daemon that fleet shows and changes: verb, mute, hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from fleet.management import commands
from fleet.management.commands import Command
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation, Query

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SettingChange(Generic[T]):
    """What a change of a setting did.

    Attributes:
        setting: its name.
        before: the value that the daemon had until then.
        now: the value that it was given.
        answer: the daemon's own words.
    """

    setting: str
    before: T
    now: T
    answer: str


def show_number(name: str, command: Command[int]) -> Query[int]:
    """The query of a numeric setting: verb or mute."""
    return Query(name, f"Show {name}.", command, (Column(name, Kind.COUNT),), lambda value: [(value,)], key=name)


def change_verb(level: str) -> Operation[SettingChange[int]]:
    """Sets the log verbosity (management notes, COMMAND -- verb).

    It outlives the session and a SIGUSR1; a SIGHUP resets it (protocol-facts 6.6, 11.8).

    Raises:
        UsageError: the level is not a number from 0 to 15.
    """
    return _change("verb", commands.verb(None), commands.verb(level), int(level))


def change_mute(count: str) -> Operation[SettingChange[int]]:
    """Sets after how many alike lines in a row the log is silent (management notes, COMMAND -- mute).

    Raises:
        UsageError: the count is not a number from 0 on.
    """
    return _change("mute", commands.mute(None), commands.mute(count), int(count))


def change_hold(*, on: bool) -> Operation[SettingChange[bool]]:
    """Sets whether future restarts hold (management notes, COMMAND -- hold); nothing is released by it."""
    return _change("hold", commands.hold(None), commands.hold("on" if on else "off"), on)


def change_auth_retry(mode: str) -> Operation[SettingChange[str]]:
    """Sets how a client daemon goes on after a failed authentication (management notes, COMMAND -- auth-retry).

    It outlives the session, SIGUSR1 and SIGHUP (protocol-facts 6.6, 11.8).

    Raises:
        UsageError: the mode is none of `none`, `nointeract` and `interact`.
    """
    return _change("auth-retry", commands.auth_retry(), commands.auth_retry(mode), mode)


def _change(name: str, query: Command[T], change: Command[str], now: T) -> Operation[SettingChange[T]]:
    columns = (Column(name, Kind.TEXT), Column("before", Kind.TEXT), Column("answer", Kind.TEXT))
    return Operation(
        name,
        partial(_perform_change, name, query, change, now),
        columns,
        lambda value: [(word(value.now), word(value.before), value.answer)],
        changes=True,
        sends=(change.text,),
    )


async def _perform_change(
    name: str, query: Command[T], change: Command[str], now: T, conversation: Conversation
) -> Answer[SettingChange[T]]:
    before = await conversation.run(query)
    (reply,) = await conversation.ask(change)
    return Answer(SettingChange(name, before, now, reply.result()), reply.text())


def word(value: object) -> str:
    """A value as the daemon spells it: `on` and `off`, or the number."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


@dataclass(frozen=True, slots=True)
class Hold:
    """The hold flag, and whether the daemon waits for a release now."""

    hold: bool
    waiting: bool


async def _perform_hold(conversation: Conversation) -> Answer[Hold]:
    (reply,) = await conversation.ask(commands.hold(None))
    return Answer(Hold(reply.result(), conversation.held), reply.text())


SHOW_HOLD: Operation[Hold] = Operation(
    "hold",
    _perform_hold,
    (Column("hold", Kind.TEXT), Column("waiting", Kind.TEXT)),
    lambda value: [(word(value.hold), "yes" if value.waiting else "no")],
)


@dataclass(frozen=True, slots=True)
class Release:
    """What `hold release` did.

    Attributes:
        released: the daemon waited and was released; False where it did not wait.
        answer: the daemon's own words.
    """

    released: bool
    answer: str


async def _perform_release(conversation: Conversation) -> Answer[Release]:
    await conversation.ask(commands.hold(None))  # its reply comes behind the >HOLD that a greeting may be followed by
    waited = conversation.held
    (reply,) = await conversation.ask(commands.hold("release"))
    return Answer(Release(waited, reply.result()), reply.text())


RELEASE_HOLD: Operation[Release] = Operation(
    "hold",
    _perform_release,
    (Column("result", Kind.TEXT),),
    lambda value: [("released" if value.released else "was not waiting",)],
    changes=True,
    sends=("hold release",),
    effect="releases {servers}",
)
