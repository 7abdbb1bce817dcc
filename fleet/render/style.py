"""Colour, which only adds to what the text says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

When = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class Style:
    """Puts the terminal's codes around text where colour is wanted."""

    enabled: bool = False

    def bad(self, text: str) -> str:
        """What failed."""
        return self._wrap("31", text)

    def warn(self, text: str) -> str:
        """What wants attention."""
        return self._wrap("33", text)

    def good(self, text: str) -> str:
        """What went well."""
        return self._wrap("32", text)

    def strong(self, text: str) -> str:
        """What a reader looks for first."""
        return self._wrap("1", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.enabled and text else text


PLAIN: Final = Style(enabled=False)


def wants_colour(when: When, environ: Mapping[str, str], isatty: bool) -> bool:
    """Whether to colour a stream.

    `--color always` and `never` decide. With `auto`: NO_COLOR set to anything but nothing switches colour off
    (no-color.org), else CLICOLOR_FORCE set to anything but 0 switches it on, else a terminal has colour, unless it
    is a dumb one or CLICOLOR is 0 (bixense.com/clicolors).
    """
    if when != "auto":
        return when == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return isatty and environ.get("TERM") != "dumb" and environ.get("CLICOLOR") != "0"
