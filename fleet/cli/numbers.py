"""Commands whose arguments are numbers: one below 0 looks like an option, and is to be refused for what it is."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

from fleet.errors import UsageError

_NUMBER = re.compile(r"-\d")


class NumbersCommand(TyperCommand):
    """Takes `-1` for an argument. What else begins with a dash is an option, or is refused.

    The parser's own way to let such words pass takes `-dns` apart too: were `-n` an option, it would be given, and
    `-ds` would be the argument.
    """

    def __init__(self, *args: Any, context_settings: dict[str, Any] | None = None, **settings: Any) -> None:
        super().__init__(
            *args, context_settings={**(context_settings or {}), "ignore_unknown_options": True}, **settings
        )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102 - as the base says
        known = {name: parameter for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        value = False  # whether a word is what the option before it takes
        for word in args[: args.index("--") if "--" in args else None]:
            if not value:
                self._refuse_unknown(word, known)
            option: Any = None if value else known.get(word)
            value = option is not None and not (option.is_flag or option.count)
        return super().parse_args(ctx, args)

    def _refuse_unknown(self, word: str, known: dict[str, Any]) -> None:
        """Raises UsageError for a word that begins with a dash, and is no option and no number."""
        if not word.startswith("-") or word == "-" or _NUMBER.match(word):
            return
        names = [word.partition("=")[0]] if word.startswith("--") else [f"-{letter}" for letter in word[1:]]
        for name in names:
            option: Any = known.get(name) if name != "--help" else True
            if option is None:
                raise UsageError(
                    f"No such option: {name}",
                    hint=f"fleet {self.name} --help shows what it takes; behind -- everything is an argument",
                )
            if option is True or not (option.is_flag or option.count):
                return  # the rest of the word is its value
