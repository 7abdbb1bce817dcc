"""docs/cli.md is what the code says, and every command that a page shows is one that fleet takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from docs.markdown import pages
from fleet.cli.main import build
from fleet.cli.reference import render
from fleet.cli.watch import watch_words

SHELL = ("sh", "console", "text")
END_OF_COMMAND = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>"}
PROMPT = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?=fleet )")
NEW_ON = {"docs/adding-a-command.md": "nclients"}  # the page adds this command: see test_docs_adding_a_command.py


def test_the_page_is_what_the_code_says() -> None:
    regenerate = "python -m fleet.cli.generate docs"
    assert pages()["docs/cli.md"].text == render(), f"docs/cli.md is old: {regenerate}"


def commands_of(group: TyperGroup, *names: str) -> Iterator[str]:
    for name in group.list_commands(CONTEXT):
        command = group.get_command(CONTEXT, name)
        if isinstance(command, TyperGroup):
            yield from commands_of(command, *names, name)
        else:
            yield " ".join((*names, name))


CONTEXT = typer.Context(build())


@pytest.mark.parametrize("name", list(commands_of(build(), "fleet")))
def test_every_command_has_a_section(name: str) -> None:
    assert f"\n## {name}\n" in pages()["docs/cli.md"].text


def shown() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each command line of fleet in the blocks of README and docs, cut off where the shell ends it."""
    for page in pages().values():
        for block in page.blocks:
            for number, line in enumerate(block.text.split("\n"), block.line):
                if block.language in SHELL and PROMPT.match(line):
                    words = words_of(line)
                    if words[1] != NEW_ON.get(page.name):
                        yield f"{page.name}:{number}", words


def words_of(line: str) -> tuple[str, ...]:
    lexer = shlex.shlex(PROMPT.sub("", line), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in END_OF_COMMAND:
            break
        words.append(word)
    return tuple(words)


def parse(words: tuple[str, ...]) -> None:
    """Reads a command line as fleet does, and runs nothing.

    Raises:
        TyperException: fleet does not take it.
    """
    command: Any = build()
    context = command.make_context("fleet", watch_words(words[1:]))
    while isinstance(command, TyperGroup):
        rest = [*context._protected_args, *context.args]
        name, inner, rest = command.resolve_command(context, rest)
        assert name is not None
        assert inner is not None
        context = inner.make_context(name, rest, parent=context)
        if not isinstance(inner, TyperGroup):
            return
        command = inner


@pytest.mark.parametrize(("place", "words"), list(shown()))
def test_a_shown_command_is_taken(place: str, words: tuple[str, ...]) -> None:
    try:
        parse(words)
    except TyperException as error:
        pytest.fail(f"{place}: {shlex.join(words)}: {error.format_message()}")
    except typer.Exit:
        pass  # --help and --version


def test_commands_are_shown() -> None:
    places = [place.split(":")[0] for place, _ in shown()]
    assert places.count("README.md") > 8
    assert places.count("docs/json.md") > 10


@pytest.mark.parametrize(
    "line", ["fleet stauts", "fleet status --frobnicate", "fleet find", "fleet --forks none status"]
)
def test_a_wrong_command_is_missed(line: str) -> None:
    with pytest.raises(TyperException):
        parse(words_of(line))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("$ fleet clients --json > clients.json", ("fleet", "clients", "--json")),
        (".venv/bin/fleet status eu   # a group", ("fleet", "status", "eu")),
        ("FLEET_OUTPUT=json fleet status eu:!edge-1 | head -n 5", ("fleet", "status", "eu:!edge-1")),
        ("fleet kill 203.0.113.9:41022 && echo done", ("fleet", "kill", "203.0.113.9:41022")),
        ("fleet kill 'Doe, Jane'", ("fleet", "kill", "Doe, Jane")),
        ("fleet clients 'edge-*'", ("fleet", "clients", "edge-*")),
    ],
)
def test_a_line_is_read_as_the_shell_does(line: str, words: tuple[str, ...]) -> None:
    assert words_of(line) == words
