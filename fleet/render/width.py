"""How many columns of a terminal a text takes."""

from __future__ import annotations


def display_width(text: str) -> int:
    """The columns of an escaped text: two for a wide character (CJK, emoji), none for a combining one."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # noqa: PLC0415 - most names are ASCII, and its tables take time to load

    width = wcswidth(text)
    return len(text) if width < 0 else width


def pad(text: str, width: int) -> str:
    """The escaped text with blanks behind it, up to so many columns."""
    return text + " " * (width - display_width(text))
