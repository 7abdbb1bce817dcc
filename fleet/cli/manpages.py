"""The manual pages: docs/man, which the wheel installs as share/man/man1; a test compares them with the code.

    python -m fleet.cli.generate docs

fleet(1) has the common options, the environment and the exit statuses; each command has a page of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import typer
from typer.core import TyperOption

from fleet import __version__, engine
from fleet.cli.main import build
from fleet.cli.options import CHANGE_OPTIONS
from fleet.cli.reference import argument_help, common_options, first_line, own_parameters, spellings, usage, walk

_SPECIAL: Final = re.compile(r"[\\\-'`^~\"]")
_ROFF: Final = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
    '"': r"\(dq",
}
"""Typesetters make other characters of these, which nobody could copy into a shell."""

_DESCRIPTION: Final = """\
fleet asks and steers many OpenVPN servers at once. It reads an inventory of servers, connects to each host with SSH, \
opens a channel to the daemon's management interface there, and shows all answers as one table or one JSON document. \
Nothing has to be installed on the servers.

What a command takes stands on its own page, fleet-COMMAND(1), and in fleet COMMAND --help. The options below are \
common to all commands, and stand before or behind the command's name; behind the name they win.

DURATION is a number with a unit, 500ms, 5s, 2m or 1h; a number alone is seconds. PATTERN is one of Ansible's: a name, \
a group, edge-*, ~REGEX, a,b, :!not, :&and, @FILE."""

_EXIT: Final = (
    (engine.EXIT_OK, "Every server did what was asked."),
    (engine.EXIT_FAILED, "A server was reached and refused or failed."),
    (engine.EXIT_REFUSED, "The run was refused (usage, inventory, empty selection, no consent): nothing was changed."),
    (engine.EXIT_INTERNAL, "A bug in fleet."),
    (engine.EXIT_UNREACHABLE, "A server could not be asked: unreachable, timed out, busy, not let in, wrong host key."),
    (engine.EXIT_LOCKED, "Another run of fleet holds what this one wanted."),
    (engine.EXIT_INTERRUPTED, "Interrupted; what was done, and what was sent and not confirmed, is printed."),
)

_FILES: Final = (
    ("./inventory.yaml", "The inventory, where neither -i nor FLEET_INVENTORY names one."),
    (
        "$XDG_CONFIG_HOME/fleet",
        "The inventory.yaml and config.yaml of a user (~/.config/fleet).",
    ),
    ("/etc/fleet", "The same for everybody."),
    ("$XDG_STATE_HOME/fleet", "The audit and the history of runs (~/.local/state/fleet)."),
)


def pages() -> dict[str, str]:
    """Every page, by its file's name, with its text."""
    root = build()
    context = typer.Context(root, info_name="fleet")
    common = common_options(root)
    commands = list(walk(root, context))
    made = {_file(context): "\n".join(_main(common, context, commands)) + "\n"}
    for command, inner in commands:
        made[_file(inner)] = "\n".join(_page(command, inner, common)) + "\n"
    return made


def _name(context: typer.Context) -> str:
    return context.command_path.replace(" ", "-")


def _file(context: typer.Context) -> str:
    return f"{_name(context)}.1"


def _main(
    common: Sequence[TyperOption], context: typer.Context, commands: Sequence[tuple[Any, typer.Context]]
) -> Iterator[str]:
    yield from _title("fleet", "operate a whole fleet of OpenVPN servers at once")
    yield from (".SH SYNOPSIS", r".B fleet", roff("[OPTION]... COMMAND [OPTION]... [ARGUMENT]..."))
    yield from (".SH DESCRIPTION", *_paragraphs(_DESCRIPTION))
    yield ".SH COMMANDS"
    for command, inner in commands:
        yield from _tagged([f"{_name(inner)}(1)"], first_line(command.help))
    yield ".SH OPTIONS"
    yield from _options([option for option in common if option.name not in CHANGE_OPTIONS], context)
    yield from _tagged(["--version"], "Show the versions of fleet and of what matters for a bug report.")
    yield from (".SH OPTIONS OF CHANGES", roff("Commands that change something take these too."))
    yield from _options([option for option in common if option.name in CHANGE_OPTIONS], context)
    yield ".SH ENVIRONMENT"
    yield roff("Each option has a variable that is its default; one without a value is switched on by 1 or true.")
    for option in common:
        yield from _tagged([str(option.envvar)], f"{option.opts[-1]}")
    yield from _tagged(["NO_COLOR", "CLICOLOR_FORCE"], "Never colour, or always.")
    yield ".SH FILES"
    for name, text in _FILES:
        yield from _tagged([name], text)
    yield ".SH EXIT STATUS"
    for status, text in _EXIT:
        yield from _tagged([str(status)], text)
    yield from (".SH SEE ALSO", r".BR ssh (1),", r".BR ssh_config (5),", r".BR openvpn (8)")


def _page(command: Any, context: typer.Context, common: Iterable[TyperOption]) -> Iterator[str]:
    arguments, options = own_parameters(command, common)
    summary = first_line(command.help).split(". ")[0].removesuffix(".")
    yield from _title(_name(context), summary[:1].lower() + summary[1:])
    call = usage(command, context).removeprefix(context.command_path).strip()
    yield from (".SH SYNOPSIS", f".B {roff(context.command_path)}", roff(call))
    yield from (".SH DESCRIPTION", *_paragraphs(command.help or ""))
    if arguments:
        yield ".SH ARGUMENTS"
        for argument in arguments:
            yield from _tagged([argument.display_name_raw], argument_help(argument))
    if options:
        yield ".SH OPTIONS"
        yield from _options(options, context)
    yield from (".SH COMMON OPTIONS", "The options that all commands take are in", r".BR fleet (1).")
    yield from (".SH SEE ALSO", r".BR fleet (1)")


def _title(name: str, summary: str) -> tuple[str, ...]:
    return (
        r".\" Generated by python -m fleet.cli.generate docs; a test compares it with the code.",
        f'.TH {roff(name.upper())} 1 "" "fleet {__version__}" "fleet"',
        ".nh",  # names are not hyphenated
        ".ad l",
        ".SH NAME",
        rf"{roff(name)} \- {roff(summary)}",
    )


def _options(options: Iterable[TyperOption], context: typer.Context) -> Iterator[str]:
    for option in options:
        yield from _tagged(spellings(option, context), option.help or "")


def _tagged(names: Sequence[str], text: str) -> Iterator[str]:
    """`-i, --inventory PATH` and, indented, what it means."""
    yield ".TP"
    yield ", ".join(_bold_first(name) for name in names)
    yield roff(text)


def _bold_first(name: str) -> str:
    word, blank, value = name.partition(" ")
    return rf"\fB{roff(word)}\fR{blank}" + (rf"\fI{roff(value)}\fR" if value else "")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield ".PP"
        yield roff(" ".join(paragraph.split()))


def roff(text: str) -> str:
    """The text as roff has it: every character as it is, and no line of it a request."""
    escaped = _SPECIAL.sub(lambda found: _ROFF[found[0]], text)
    return rf"\&{escaped}" if escaped.startswith(".") else escaped
