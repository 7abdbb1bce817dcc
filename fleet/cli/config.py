"""`fleet config`: which settings hold, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from fleet.cli.options import COMMON, Options, between_names, setting_of, variable_of, with_options
from fleet.cli.output import show_table
from fleet.cli.settings import Settings, read_settings
from fleet.operations.columns import Column
from fleet.render.jsonout import SCHEMA, to_jsonable

_COLUMNS = (Column("setting", names=True, keep=True), Column("value", keep=True), Column("origin"))
_FILES = (Column("path", header="FILE", names=True, keep=True), Column("state", keep=True))


@dataclass(frozen=True, slots=True)
class Row:
    """One setting.

    Attributes:
        setting: the option's long name.
        value: what holds; None where nothing does.
        origin: `default`, `command line`, a variable, or `file:line`.
    """

    setting: str
    value: object
    origin: str


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    family = typer.Typer(help="Show the settings, and the files that they come from.", no_args_is_help=True)
    family.callback()(between_names())
    family.command("show")(with_options(_show))
    family.command("path")(with_options(_path))
    app.add_typer(family, name="config")


def _show(*, options: Options) -> int:
    """Show every setting, with where its value comes from.

    What stands on the command line wins over a variable, that over the user's file, and that over the system's.
    """
    rows = [*_common(options), *_own(_settings(options))]
    show_table(
        _COLUMNS,
        lambda: ((row.setting, _text(row.value), row.origin) for row in rows),
        options,
        lambda: {"fleet_schema": SCHEMA, "settings": to_jsonable(rows)},
        items="settings",
    )
    return 0


def _path(*, options: Options) -> int:
    """Show where files of settings are looked for, the weaker first, and which of them are read."""
    files = _settings(options).files
    show_table(
        _FILES,
        lambda: ((file.path, file.state) for file in files),
        options,
        lambda: {"fleet_schema": SCHEMA, "files": to_jsonable(files)},
        items="files",
    )
    return 0


def _settings(options: Options) -> Settings:
    args = () if options.config is None else ("--config", options.config)
    return read_settings(args, os.environ)


def _common(options: Options) -> Iterator[Row]:
    for name in sorted(COMMON - {"json"}, key=setting_of):
        origin = options.origins.get(name, options.origins.get("json", "default") if name == "output" else "default")
        yield Row(setting_of(name), _plain(getattr(options, name)), origin)


def _own(settings: Settings) -> Iterator[Row]:
    """Those of single commands, where a variable or a file gives them."""
    from fleet.cli.words import flags  # noqa: PLC0415 - read when the settings are

    for name in sorted(flags() - {setting_of(common) for common in COMMON}):
        variable = variable_of(name)
        if os.environ.get(variable):
            yield Row(name, os.environ[variable], variable)
        elif name in settings.given:
            given = settings.given[name]
            yield Row(name, given.value, given.origin)


def _plain(value: object) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(value: object) -> str | None:
    if value is None or value == []:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
