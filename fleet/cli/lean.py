"""Values of the command line without the machinery that makes them: words are words, and are not validated as data.

Typer converts every value, given or not, by a pydantic adapter that is made for each parameter of a command: 0.2 s of
every start. What fleet's options take, texts, lists of texts, numbers, flags and words of an enumeration, is read here
as it is; typer reads what is anything else, or wrong, and says what is wrong with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args, get_origin

import typer
from typer import BadParameter
from typer.core import TyperArgument, TyperOption

from fleet.cli.options import COMMON, Invocation, variable_of
from fleet.cli.words import NO_SETTINGS
from fleet.errors import UsageError

if TYPE_CHECKING:
    from fleet.cli.settings import Given

# As variables and files spell them.
_FLAGS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
_MAX_DIGITS = 9


class LeanOption(TyperOption):
    """An option that reads plain values by itself, and takes its default from a file of settings.

    Attributes:
        setting: the name under which variables and files give it; None where they do not.
    """

    setting: str | None = None

    def consume_value(self, ctx: Any, opts: Mapping[str, Any]) -> tuple[Any, Any]:
        """What the command line, a variable or a file says, and which of them it was."""
        value, source = super().consume_value(ctx, opts)
        if source.name == "DEFAULT" and (given := _given(self, ctx)) is not None:
            return _shaped(self, given.value), type(source)["DEFAULT_MAP"]
        return value, source

    def process_value(self, ctx: Any, value: Any) -> Any:
        """The value as the command's function gets it, from what the parser, a variable or a file has.

        Raises:
            UsageError: what a file says is wrong.
        """
        try:
            plain = _plain(self, value)
            return super().process_value(ctx, value) if plain is _OTHER else _called(self, ctx, plain)
        except BadParameter as error:
            given = _given(self, ctx)
            source = ctx.get_parameter_source(self.name)
            if given is None or source is None or source.name != "DEFAULT_MAP":
                raise
            raise UsageError(f"{given.place}: '{self.setting}': {error.message}") from error


class LeanArgument(TyperArgument):
    """An argument that reads plain values by itself."""

    def process_value(self, ctx: Any, value: Any) -> Any:
        """The value as the command's function gets it."""
        plain = _plain(self, value)
        return super().process_value(ctx, value) if plain is _OTHER else _called(self, ctx, plain)


def _given(option: LeanOption, ctx: Any) -> Given | None:
    """What a file says of the option, or None. The files are read when the first option may need them."""
    if option.setting is None or not isinstance(ctx.obj, Invocation):
        return None
    if ctx.obj.settings is None:
        from fleet.cli.settings import settings_for  # noqa: PLC0415 - --version and --help are shown before

        ctx.obj.settings = settings_for(ctx.obj.argv, os.environ)
    return ctx.obj.settings.given.get(option.setting)


def _shaped(option: LeanOption, value: str | tuple[str, ...]) -> Any:
    """A file's value as the command line would have it: a list where several are taken, else with commas between."""
    if option.multiple:
        return [value] if isinstance(value, str) else list(value)
    return value if isinstance(value, str) else ",".join(value)


def _called(parameter: Any, ctx: Any, value: Any) -> Any:
    """The value, or what the parameter's callback makes of it."""
    return value if parameter.callback is None else parameter.callback(ctx, parameter, value)


_KINDS: dict[type, type] = {TyperOption: LeanOption, TyperArgument: LeanArgument}
_OTHER: Any = object()


def lean_command(command: Any, *, root: bool = False) -> Any:
    """The command, whose parameters and those of its subcommands read plain values by themselves from now on.

    Its own options get their variables; behind a command's name, the common ones have none.

    Args:
        command: as typer made it.
        root: it is the application, which takes the common options.
    """
    for parameter in command.get_params(typer.Context(command)):  # with that of --help, which a command keeps
        kind = _KINDS.get(type(parameter))
        if kind is not None:
            parameter.__class__ = kind  # typer has no way to say which class it makes a parameter of
        if isinstance(parameter, LeanOption) and (root or parameter.name not in COMMON):
            _give_setting(parameter)
    for inner in getattr(command, "commands", {}).values():
        lean_command(inner)
    return command


def _give_setting(option: LeanOption) -> None:
    name = option.opts[-1].removeprefix("--")
    if name in NO_SETTINGS or option.hidden:
        return
    option.setting = name
    if option.envvar is None and option.name != "inventory":  # that one is split at its colons, not its blanks
        option.envvar = variable_of(option.setting)
        option.show_envvar = False  # that every option has one is said once, not in each line of --help


def _plain(parameter: Any, value: Any) -> Any:
    """The value where it needs no conversion that only typer knows; else _OTHER."""
    annotation = parameter.type_descriptor.annotation
    several = parameter.multiple or parameter.nargs == -1
    if value is None:
        return _OTHER if parameter.required else () if several else None
    if several:
        is_texts = get_origin(annotation) is list and get_args(annotation) == (str,)
        plain = is_texts and value and all(isinstance(part, str) for part in value) and not isinstance(value, str)
        return list(value) if plain else _OTHER
    if parameter.nargs != 1:
        return _OTHER
    return _one(parameter, annotation, value)


def _one(parameter: Any, annotation: Any, value: Any) -> Any:
    if annotation is str:
        return value if isinstance(value, str) else _OTHER
    if annotation is bool:
        return value if isinstance(value, bool) else _FLAGS.get(value, _OTHER)
    if annotation is int:
        return _number(parameter, value)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next((word for word in annotation if word.value == value), _OTHER)
    return _OTHER


def _number(parameter: Any, value: Any) -> Any:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
            return _OTHER
        value = int(value)
    info = parameter.type_descriptor.parameter_info
    if isinstance(value, bool) or not isinstance(value, int) or info.clamp:
        return _OTHER
    within = (info.min is None or value >= info.min) and (info.max is None or value <= info.max)
    return value if within else _OTHER
