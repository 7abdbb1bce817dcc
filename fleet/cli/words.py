"""The words of the command line as data, for completion and files of settings: they are known without typer.

    python -m fleet.cli.words > fleet/cli/words.json

The file is made of the objects that typer parses with; a test compares it with them.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("words.json")

NO_SETTINGS = frozenset(
    {
        *("username", "real-address", "virtual-address", "cid", "message", "reason", "then", "cordon", "verb", "for"),
        *("ok", "cancel", "string", "version", "help"),
    }
)
"""Options that no variable and no file gives: they say whom a change is for, or what it is, and one that was forgotten
there must not."""


@cache
def words() -> dict[str, Any]:
    """What `table` made.

    `common` and `changes` are options by their long names; `commands` has each command's path with its summary, its
    own options, its arguments, the names of its columns, and whether it takes the options of changes; `summaries` is
    what `fleet --help` lists: the commands, and the families of commands with a name of their own.
    """
    data: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return data


def flags() -> frozenset[str]:
    """The long names of the options that variables and files can give, without their dashes."""
    data = words()
    groups = [data["common"], data["changes"], *(command["options"] for command in data["commands"].values())]
    return frozenset(name.removeprefix("--") for group in groups for name in group) - NO_SETTINGS


def table() -> dict[str, Any]:
    """The words, from the commands themselves."""
    import typer  # noqa: PLC0415 - whoever completes a word reads the file instead

    from fleet.cli.main import build  # noqa: PLC0415 - as above
    from fleet.cli.options import CHANGE_OPTIONS, COMMON  # noqa: PLC0415 - as above

    root = build()
    context = typer.Context(root, info_name="fleet")
    common = {param.name: param for param in root.params if param.name in COMMON}
    return {
        "common": _options(param for name, param in common.items() if name not in CHANGE_OPTIONS),
        "changes": _options(param for name, param in common.items() if name in CHANGE_OPTIONS),
        "management": _management(),
        "types": _message_types(),
        "drawings": _drawings(),
        "commands": dict(_commands(root, context, COMMON, CHANGE_OPTIONS)),
        "summaries": {name: _summary(root.get_command(context, name)) for name in root.list_commands(context)},
    }


def _summary(command: Any) -> str:
    """The first paragraph of what is said of it."""
    return (command.help or "").split("\n\n")[0].replace("\n", " ")


def _commands(group: Any, context: Any, common: frozenset[str], changing: frozenset[str]) -> Any:
    import typer  # noqa: PLC0415 - as above

    columns = _columns()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = typer.Context(command, info_name=name, parent=context)
        if hasattr(command, "commands"):
            yield from _commands(command, inner, common, changing)
            continue
        path = inner.command_path.partition(" ")[2]
        names = {param.name for param in command.params}
        yield (
            path,
            {
                "help": _summary(command),
                "options": _options(
                    param for param in command.params if _is_option(param) and param.name not in common
                ),
                "arguments": [
                    {"metavar": param.metavar or param.name, "several": param.nargs == -1}
                    for param in command.params
                    if not _is_option(param)
                ],
                "columns": columns.get(path, []),
                "changes": changing <= names,
            },
        )


def _is_option(param: Any) -> bool:
    return bool(param.param_type_name == "option")


def _options(params: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for param in params:
        if param.hidden:
            continue
        takes = not (param.is_flag or param.count)
        choices = param.type_descriptor.choices if takes else None
        found[param.opts[-1]] = {
            "names": [*param.opts, *param.secondary_opts],
            "takes": (param.metavar or "TEXT") if takes else None,
            "choices": [str(choice.value) for choice in choices or ()],
            "help": param.help or "",
        }
    return found


def _columns() -> dict[str, list[str]]:
    """The names that --columns and --sort-by take, of the commands whose tables are always the same."""
    from fleet.operations import find, kill, queries, settings, signals, status, who  # noqa: PLC0415 - as above

    operations = (
        *(query.operation() for query in queries.QUERIES),
        *(status.STATUS, status.CLIENTS, status.ROUTES, queries.log("1").operation(), settings.SHOW_HOLD),
        *(settings.change_verb("3"), settings.change_mute("3")),
        *(find.find("a"), kill.kill(who.NameOrAddress("a", None)), signals.throw("SIGUSR1")),
    )
    shown = {operation.name: operation.columns for operation in operations}
    return {name: ["server", *(column.name for column in columns)] for name, columns in shown.items()}


def _management() -> list[str]:
    from fleet.management.commands import COMMANDS  # noqa: PLC0415 - as above

    return list(COMMANDS)


def _message_types() -> list[str]:
    from fleet.operations.messages import SOURCES  # noqa: PLC0415 - as above

    return list(SOURCES)


def _drawings() -> list[str]:
    from fleet.render.table import table_formats  # noqa: PLC0415 - as above

    return sorted(table_formats())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(table(), indent=1, ensure_ascii=False) + "\n")
