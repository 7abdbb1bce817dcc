"""`--watch` among the words of a command line: its value may be left out.

What it does is in `watching`. This module is read at every start and imports nothing dear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fleet.errors import UsageError
from fleet.render.units import parse_duration

if TYPE_CHECKING:
    from fleet.cli.options import Options

OPTION: Final = "--watch"

DEFAULT: Final = "2s"
"""How often is asked where --watch has no time."""


def watch_words(args: Sequence[str]) -> list[str]:
    """The words of a command line with a time behind every --watch.

    `--watch eu` asks the servers of eu every two seconds: what does not read as a time is no time. To be called
    before anything reads the words, since an option either has a value or has none.
    """
    words = list(args)
    end = words.index("--") if "--" in words else len(words)
    for index in range(end):
        following = words[index + 1] if index + 1 < end else ""
        if words[index] == OPTION and not _is_time(following):
            words[index] = f"{OPTION}={DEFAULT}"
    return words


def _is_time(word: str) -> bool:
    try:
        parse_duration(word)
    except ValueError:
        return False
    return True


def refuse_watch_of_none(options: Options) -> None:
    """The same for a command that asks no server.

    Raises:
        UsageError: it was typed.
    """
    if options.watch is not None and "watch" not in options.from_environment:
        raise UsageError("--watch asks servers again and again, and here none is asked", hint="leave it out")


def refuse_watch(options: Options, name: str) -> None:
    """Refuses --watch for a command that is not for it; a variable of the environment is not meant for all commands.

    Raises:
        UsageError: it was typed.
    """
    if options.watch is not None and "watch" not in options.from_environment:
        raise UsageError(
            f"--watch asks again and again, and {name} is nothing to repeat", hint="it is for commands that only read"
        )
