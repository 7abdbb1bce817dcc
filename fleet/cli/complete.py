"""The words that may stand where somebody presses TAB. No server is asked, and typer is not imported.

The first line says how the shell goes on: `done` (a blank follows a word), `open` (the word may go on) or `files` (the
shell completes file names itself). Each further line is a word, for zsh and fish with a tab and what it means.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.cli.remembered import common_names, places
from fleet.cli.words import words as table

_LIMIT = 1000
"""Words that are shown at most: a shell takes long to show more."""
_PIECES = re.compile(r"(?:^|[,:])([!&@]?)")
_SIGNALS = ("SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2")
_CHOICES = re.compile(r"[a-z0-9-]+(?:\|[a-z0-9-]+)+")
_WORD_FORMS = {"A,B": ",", "TYPE,...": ","}
_FILES = frozenset({"PATH", "FILE", "A.json", "B.json"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What may stand there.

    Attributes:
        words: whole words, each with what it means.
        how: `done`, `open` or `files`.
    """

    words: tuple[tuple[str, str], ...] = ()
    how: str = "done"


def main(arguments: Sequence[str]) -> int:
    """Answers one shell: `bash LINE BREAKS`, or `zsh|fish WORD...` with the words behind `fleet`."""
    shell, *rest = arguments
    if shell == "bash":
        line, breaks = rest
        sys.stdout.write(_for_bash(line, breaks))
    else:
        answer = answer_to(rest)
        lines = [f"{word}\t{text}" if text else word for word, text in answer.words]
        sys.stdout.write("\n".join([answer.how, *lines]) + "\n")
    return 0


def _for_bash(line: str, breaks: str) -> str:
    """For bash, which replaces only what stands behind the last of its word breaks.

    It puts in what it is given as it is: a common name must not end the word, nor the quotes that it stands in.
    """
    words, raw = _split(line)
    answer = answer_to(words)
    quote = raw[:1] if raw[:1] in ("'", '"') else ""
    if quote and quote in raw[1:]:
        return "done\n"  # quotes that were closed and opened again: nobody knows what it replaces
    typed = 0 if quote else max((raw.rfind(char) for char in breaks if char in ":=@,"), default=-1) + 1
    cut = len(_unquoted(raw[:typed]))
    lines = [_within(quote, word) if quote else _quoted(word[cut:]) for word, _text in answer.words]
    return "\n".join([answer.how, *lines]) + "\n"


def _quoted(word: str) -> str:
    """The word as bash has to read it; what it does not have to quote stays readable."""
    return re.sub(r"([^\w@%+=:,./\-\[\]])", r"\\\1", word) if shlex.quote(word) != word else word


def _within(quote: str, word: str) -> str:
    """The word as bash has to read it behind a quote that stands open; it closes that itself."""
    if quote == "'":
        return word.replace("'", r"'\''")
    return re.sub(r'([\\"$`])', r"\\\1", word).replace("!", '"\\!"')


def _split(line: str) -> tuple[list[str], str]:
    """The words behind `fleet` up to the cursor, and the last one as it was typed."""
    lexer = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*(?:'|$)|"(?:[^"\\]|\\.)*(?:"|$)|\\$)+""", re.DOTALL)
    typed = lexer.findall(line)
    if not line or (line[-1].isspace() and not (typed and line.endswith(typed[-1]))):
        typed.append("")
    return [_unquoted(word) for word in typed[1:]], typed[-1]


def _unquoted(word: str) -> str:
    return re.sub(r"""\\(.)|['"]""", lambda match: match[1] or "", word)


def answer_to(typed: Sequence[str]) -> Answer:
    """What may stand in place of the last of these words.

    Args:
        typed: the words behind `fleet` up to the cursor; the last one is what there is of it so far, maybe nothing.
    """
    before, current = list(typed[:-1]), typed[-1] if typed else ""
    place = _place(before)
    if place.value is not None:
        return _value(place, place.value, current)
    name, equals, value = current.partition("=")
    if equals and name.startswith("--") and name in place.options and not place.ended:
        answer = _value(place, place.options[name], value)
        return Answer(tuple((f"{name}={word}", text) for word, text in answer.words), answer.how)
    if current.startswith("-") and not place.ended:
        return _matching(current, [(name, option["help"]) for name, option in _by_long_name(place.options)])
    if place.command is None:
        return _matching(current, _commands(place.path))
    return _argument(place, current)


@dataclass(slots=True)
class _Place:
    """Where the cursor stands.

    Attributes:
        path: the command's words so far.
        command: the command, once it is known.
        options: by all their names.
        value: the option whose value is being typed.
        arguments: the command's arguments before.
        inventories: the values of -i before.
        ended: `--` stands before.
    """

    path: str
    command: dict[str, Any] | None
    options: dict[str, dict[str, Any]]
    value: dict[str, Any] | None
    arguments: list[str]
    inventories: list[str]
    ended: bool


def _place(before: Iterable[str]) -> _Place:
    data = table()
    place = _Place("", None, _named(data["common"]) | _named(data["changes"]), None, [], [], ended=False)
    for word in before:
        if place.value is not None:
            _keep(place, place.value, word)
            place.value = None
        elif word == "--":
            place.ended = True
        elif word.startswith("-") and len(word) > 1 and not place.ended:
            _option(place, word)
        elif place.command is None:
            _step(place, word, data)
        else:
            place.arguments.append(word)
    return place


def _step(place: _Place, word: str, data: dict[str, Any]) -> None:
    """The next word of a command's name."""
    place.path = f"{place.path} {word}".strip()
    place.command = data["commands"].get(place.path)
    if place.command is not None:
        shared = _named(data["common"]) | (_named(data["changes"]) if place.command["changes"] else {})
        place.options = shared | _named(place.command["options"])


def _option(place: _Place, word: str) -> None:
    name, equals, value = word.partition("=")
    option = place.options.get(name)
    if option is None and not word.startswith("--"):  # -lVALUE, or several letters
        option, name, equals, value = place.options.get(word[:2]), word[:2], word[2:], word[2:]
    if option is None or option["takes"] is None:
        return
    if equals:
        _keep(place, option, value)
    else:
        place.value = option


def _keep(place: _Place, option: dict[str, Any], value: str) -> None:
    if "--inventory" in option["names"]:
        place.inventories.append(value)


def _named(options: dict[str, Any]) -> dict[str, Any]:
    return {name: option for option in options.values() for name in option["names"]}


def _by_long_name(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in options.items():
        if name.startswith("--") and "/" not in name:
            yield name, option
    yield "--help", {"help": "Show this message and exit."}


def _commands(path: str) -> Iterator[tuple[str, str]]:
    """The words that may follow, each once: commands, or families of them."""
    depth = len(path.split())
    seen: set[str] = set()
    for name, command in table()["commands"].items():
        parts = name.split()
        if parts[:depth] == path.split() and len(parts) > depth and parts[depth] not in seen:
            seen.add(parts[depth])
            yield parts[depth], command["help"] if len(parts) == depth + 1 else ""


def _argument(place: _Place, current: str) -> Answer:
    arguments = place.command["arguments"] if place.command else []
    if not arguments:
        return Answer()
    index = min(len(place.arguments), len(arguments) - 1)
    if index < len(place.arguments) and not arguments[index]["several"]:
        return Answer()
    return _of_kind(place, arguments[index]["metavar"], current)


def _value(place: _Place, option: dict[str, Any], current: str) -> Answer:
    if option["choices"]:
        return _matching(current, [(choice, "") for choice in option["choices"]])
    if "--table-format" in option["names"]:
        return _matching(current, [(name, "") for name in table()["drawings"]])
    return _of_kind(place, option["takes"], current)


def _of_kind(place: _Place, kind: str, current: str) -> Answer:
    if kind in _FILES:
        return Answer(how="files")
    if kind == "PATTERN":
        return _pattern(place, current)
    if kind in _WORD_FORMS:
        known = table()["types"] if kind == "TYPE,..." else _columns(place)
        return _listed(current, [(name, "") for name in known])
    return _matching(current, [(word, "") for word in _words_of(place, kind)])


def _words_of(place: _Place, kind: str) -> Iterable[str]:
    """The words of a kind, as the help's placeholder names it."""
    makers: dict[str, Callable[[], Iterable[str]]] = {
        "SERVER": lambda: _places(place)[0],
        "WHO": lambda: [name for name in common_names() if place.ended or not name.startswith("-")],
        "SIGNAL": lambda: _SIGNALS,
        "COLUMN": lambda: [sign + name for sign in ("", "-") for name in _columns(place)],
        "RUN|last": _runs,
        "COMMAND...": lambda: table()["management"],
        "N|all": lambda: ("all",),
        "I|all": lambda: ("all",),
    }
    if kind in makers:
        return makers[kind]()
    return kind.split("|") if _CHOICES.fullmatch(kind) else ()


def _columns(place: _Place) -> list[str]:
    return list(place.command["columns"]) if place.command else []


def _places(place: _Place) -> tuple[list[str], list[str]]:
    return places(tuple(place.inventories))


def _pattern(place: _Place, current: str) -> Answer:
    """Servers and groups, behind the last comma or colon; a file's name behind `@`."""
    last = [*_PIECES.finditer(current)][-1]
    if last[1] == "@":
        return _file_words(current[: last.end()], current[last.end() :])
    servers, groups = _places(place)
    # A name may itself have a colon: what was typed before it is then a part of it.
    names = [(name, "") for name in servers] + [(name, "group") for name in groups]
    return _matching(current[last.end() :], names, before=current[: last.end()], how="open")


def _file_words(before: str, typed: str) -> Answer:
    """The files behind `@`, which no shell completes by itself."""
    folder, _slash, start = typed.rpartition("/")
    base = os.path.expanduser(folder) if folder else ("/" if typed.startswith("/") else ".")  # noqa: PTH111 - text stays text
    try:
        with os.scandir(base) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries if entry.name.startswith(start))
    except OSError:
        return Answer()
    lead = typed[: len(typed) - len(start)]
    words = tuple((f"{before}{lead}{name}{'/' if folder_ else ''}", "") for name, folder_ in found[:_LIMIT])
    return Answer(words, "open")


def _listed(current: str, words: Sequence[tuple[str, str]]) -> Answer:
    before, comma, start = current.rpartition(",")
    return _matching(start, words, before=before + comma, how="open")


def _runs() -> Iterator[str]:
    from fleet.journal.places import state_folder  # noqa: PLC0415 - only where a run is to be named
    from fleet.journal.runs import run_id_of, run_paths  # noqa: PLC0415 - as above

    yield "last"
    yield from (run_id_of(path) for path in run_paths(state_folder(os.environ))[:_LIMIT])


def _matching(start: str, words: Iterable[tuple[str, str]], *, before: str = "", how: str = "done") -> Answer:
    """Of the words those that begin so and that a terminal can show."""
    fitting = [(before + word, text) for word, text in words if word.startswith(start) and word.isprintable()]
    return Answer(tuple(fitting[:_LIMIT]), how)
