"""Text from daemons and their clients, made safe for a terminal."""

from __future__ import annotations

from unicodedata import category

_FIRST_SURROGATE_ESCAPE = 0xDC80  # what `surrogateescape` makes of the byte 0x80; 0xdcff is the byte 0xff
_LAST_SURROGATE_ESCAPE = 0xDCFF
_NAMED = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}

# Unicode's own categories of what is not seen: controls (C0, DEL, C1), format characters (bidi overrides and isolates,
# zero-width characters, tags), surrogates, line and paragraph separators. And those of which nobody knows what a
# terminal makes of them: private ones, and codes that have no character (a later Unicode may format with them).
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def is_hidden(character: str) -> bool:
    """Whether a character acts on a terminal, or on the order of its text, without being seen, or may do so."""
    return category(character) in _HIDDEN


def escape(text: str) -> str:
    r"""The text with everything that could drive a terminal spelled out; what is printable stays as it is.

    `\x1b` for controls, `\u202e` for invisible format characters, `\xff` for a byte that is not UTF-8 (a lone
    surrogate that `surrogateescape` made). A backslash stays one backslash: names are shown for people to read, and
    who needs them exact reads the JSON.
    """
    if text.isprintable():  # the common case: isprintable is false for every hidden category
        return text
    return "".join(_spell(character) if is_hidden(character) else character for character in text)


def _spell(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    if _FIRST_SURROGATE_ESCAPE <= code <= _LAST_SURROGATE_ESCAPE:
        code -= 0xDC00
    if code <= 0xFF:  # noqa: PLR2004 - the last code that \x spells
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the last code that \u spells
