"""Nothing that a daemon or a client says drives a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.render.text import escape, is_hidden

# Every character of Unicode, lone surrogates included.
ANYTHING = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Test-Client", "Test-Client"),
        ("Doe, John", "Doe, John"),
        ("Zoë 漢字 🙂", "Zoë 漢字 🙂"),
        ("a\u00a0b", "a\u00a0b"),
        (r"back\slash", r"back\slash"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\tb\r\nc", r"a\tb\r\nc"),
        ("\0\x7f", r"\x00\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("\ue000\U000f0000", r"\ue000\U000f0000"),
        ("\U000b1234\uffff", r"\U000b1234\uffff"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(ANYTHING)
def test_nothing_hidden_is_ever_shown(text: str) -> None:
    shown = escape(text)
    assert not any(unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" for character in shown)
    shown.encode()  # a lone surrogate would raise


@given(ANYTHING)
def test_what_is_printable_stays(text: str) -> None:
    printable = "".join(character for character in text if not is_hidden(character))
    assert escape(printable) == printable


@given(ANYTHING)
def test_escaped_text_stays_as_it_is(text: str) -> None:
    assert escape(escape(text)) == escape(text)


@given(st.binary())
def test_any_bytes_can_be_shown(data: bytes) -> None:
    assert escape(data.decode("utf-8", "surrogateescape")).isascii() or not data.isascii()
