"""The commands, each made when it is asked for: all of them with their options take as long as asking a server."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from fleet.cli.lean import lean_command
from fleet.cli.words import words

FAMILIES: dict[str, tuple[str, ...]] = {
    "follow": ("log", "events", "bytecount"),
    "find": ("find",),
    "changes": ("verb", "mute", "hold"),
    "signals": ("signal",),
    "kill": ("kill",),
    "drain": ("drain", "uncordon"),
    "unlock": ("unlock",),
    "commands": (
        *("help", "net", "auth-retry", "forget-passwords", "needok", "password", "username", "remote-entry-count"),
        *("push-update-broad", "needstr", "echo", "client-kill", "client-deny", "client-auth-nt", "remote-entry-get"),
        "push-update-cid",
    ),
    "execute": ("exec",),
    "console": ("console",),
    "snapshot": ("snapshot", "diff"),
    "history": ("history",),
    "inventory": ("inventory",),
    "ping": ("ping",),
    "trust": ("trust",),
    "top": ("top",),
    "check": ("check",),
    "metrics": ("metrics",),
    "usage": ("collect", "usage"),
    "config": ("config",),
    "completion": ("completion",),
    "demo": ("demo",),
}
"""The modules of this package and the commands that each registers. All other commands are those of `queries`."""

_QUERIES = "queries"
_FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}
_SETTINGS: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}


class Commands(TyperGroup):
    """The application's commands, by their names."""

    def make_context(self, *args: Any, **settings: Any) -> Any:  # noqa: D102 - as the base says
        with _told_of_interruption():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:  # noqa: D102 - as the base says
        with _told_of_interruption():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002, D102 - as the base says
        return [*_family(_QUERIES), *_FAMILY_OF]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002, D102 - as the base says
        return _family(_FAMILY_OF.get(cmd_name, _QUERIES), cmd_name).get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists the commands with their summaries, without making one of them."""
        _Summaries().format_commands(ctx, formatter)


class _Summaries(TyperGroup):
    """The commands as far as they are listed."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as the base says
        return list(words()["summaries"])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as the base says
        return TyperCommand(cmd_name, help=words()["summaries"][cmd_name])


@contextmanager
def _told_of_interruption() -> Iterator[None]:
    """Typer ends a command line that is broken off while it is read without a word."""
    try:
        yield
    except KeyboardInterrupt:
        from fleet.errors import InterruptedRunError  # noqa: PLC0415 - for that case only

        raise InterruptedRunError("interrupted before anything was sent") from None


def is_command(name: str) -> bool:
    """Whether fleet has a command of this name."""
    return name in _FAMILY_OF or name in _family(_QUERIES)


@cache
def _family(family: str, only: str | None = None) -> dict[str, Any]:
    """The commands of a family, or the one of that name, ready to parse with."""
    app = typer.Typer(**_SETTINGS)
    app.callback()(_nothing)  # without one, a family of one command would be that command
    importlib.import_module(f"fleet.cli.{family}").register(app)
    if only is not None:
        app.registered_commands = [command for command in app.registered_commands if command.name == only]
    group = get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("a family is a group of commands")
    return {name: lean_command(command) for name, command in group.commands.items()}


def _nothing() -> None:
    """A family has no options of its own."""


def application(callback: Any, summary: str) -> TyperGroup:
    """Fleet with all its commands.

    Args:
        callback: takes what stands before a command's name.
        summary: what fleet is, for --help.
    """
    app = typer.Typer(name="fleet", cls=Commands, no_args_is_help=True, **_SETTINGS)
    app.callback(help=summary)(callback)
    group = get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("fleet is a group of commands")
    lean_command(group, root=True)
    return group
