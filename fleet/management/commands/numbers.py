"""Numbers of commands: the daemon reads them with atoi, which takes anything for a number (protocol-facts 2)."""

from __future__ import annotations

import re

from fleet.errors import UsageError

INT_MAX = 2**31 - 1
"""The daemon's int: atoi of more is anything."""
ID_MAX = 2**63 - 1
"""The daemon's unsigned long, as far as every build has it."""
UINT_MAX = 2**32 - 1


def number(value: int | str, command: str, low: int = 0, high: int = INT_MAX, *, also: str = "") -> str:
    """A whole number in the daemon's spelling.

    Args:
        value: the number, or what a user typed for one.
        command: for the error.
        low: the least that the command takes.
        high: the most. An error names it where it is not the daemon's own limit of integers.
        also: a word that the command takes too, for the hint.

    Raises:
        UsageError: it is no whole number from low to high, in decimal digits.
    """
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,20}", text) or not low <= int(text) <= high:
        span = f"from {low} on" if high in {INT_MAX, ID_MAX, UINT_MAX} else f"from {low} to {high}"
        more = f" or {also}" if also else ""
        raise UsageError(
            f"'{text}' is not a number that '{command}' takes", hint=f"it takes a whole number {span}{more}"
        )
    return str(int(text))


def count(value: int | str, command: str) -> str:
    """A number of lines from 1 on, or `all`.

    Raises:
        UsageError: it is neither.
    """
    return "all" if value == "all" else number(value, command, 1, also="all")
