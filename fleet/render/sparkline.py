"""Numbers as a line of blocks: how something went over time, in the width of a table's column."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_SIGNS = ".:-=+*#@"
_EIGHTHS = "▏▎▍▌▋▊▉█"


def takes_blocks(encoding: str | None) -> bool:
    """Whether text of this encoding can have blocks; where it cannot, signs of ASCII stand for them."""
    try:
        (_BLOCKS + _EIGHTHS).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(values: Sequence[int], *, blocks: bool = True) -> str:
    """One character for each value, from the lowest block to the highest, which is the largest value.

    A blank stands for 0, so that what is little can be told from nothing.

    Args:
        values: not negative.
        blocks: use Unicode's blocks, else ASCII.
    """
    levels = _BLOCKS if blocks else _SIGNS
    largest = max(values, default=0)
    return "".join(levels[(value * len(levels) - 1) // largest] if value else " " for value in values)


def bar(value: int, largest: int, *, width: int = 12, blocks: bool = True) -> str:
    """A bar that is `width` characters long for the largest value; what is more than 0 can be seen.

    Args:
        value: not negative, and not more than the largest.
        largest: of all values that are shown below each other.
        width: characters.
        blocks: use Unicode's blocks, an eighth of a character exact, else `#`.
    """
    if not value or not largest:
        return ""
    if not blocks:
        return "#" * max(round(value * width / largest), 1)
    eighths = max(round(value * width * len(_EIGHTHS) / largest), 1)
    whole, rest = divmod(eighths, len(_EIGHTHS))
    return _EIGHTHS[-1] * whole + (_EIGHTHS[rest - 1] if rest else "")
