r"""A page that is drawn again and again in the same place of a terminal.

Lines are not wrapped: the terminal cuts what is too long for it, so that a page has as many lines as it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
"""Goes to a screen of its own, without a cursor and without wrapping."""

LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Goes back to what was there before."""

_HOME: Final = "\x1b[H"
_ERASE_LINE: Final = "\x1b[K"
_ERASE_BELOW: Final = "\x1b[J"


def page(lines: Sequence[str], height: int) -> list[str]:
    """The lines as far as there is room; the last one then says how many more there are.

    Args:
        lines: without control characters but those of colours.
        height: lines of the terminal.
    """
    height = max(height, 1)
    if len(lines) <= height:
        return list(lines)
    return [*lines[: height - 1], f"... {len(lines) - height + 1} more lines"]


def drawn(lines: Sequence[str], height: int) -> str:
    """What draws the page over the one before, in one piece, so that nothing flickers."""
    return _HOME + "\n".join(f"{line}{_ERASE_LINE}" for line in page(lines, height)) + _ERASE_BELOW
