"""Colour where it is wanted, and the same words without it."""

from __future__ import annotations

import pytest

from fleet.render.style import PLAIN, Style, When, wants_colour


@pytest.mark.parametrize(
    ("when", "environ", "isatty", "wanted"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"CLICOLOR_FORCE": "1"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, True, False),
        ("auto", {"CLICOLOR_FORCE": "1"}, False, True),
        ("auto", {"CLICOLOR_FORCE": "0"}, False, False),
        ("auto", {"CLICOLOR_FORCE": ""}, False, False),
        ("auto", {"CLICOLOR": "0"}, True, False),
        ("auto", {"TERM": "dumb"}, True, False),
    ],
)
def test_when_colour_is_wanted(when: When, environ: dict[str, str], isatty: bool, wanted: bool) -> None:
    assert wants_colour(when, environ, isatty) is wanted


def test_styles_wrap_text_or_leave_it() -> None:
    style = Style(enabled=True)
    methods = (Style.bad, Style.warn, Style.good, Style.strong)
    assert [method(style, "x") for method in methods] == [f"\x1b[{code}mx\x1b[0m" for code in (31, 33, 32, 1)]
    assert [method(PLAIN, "x") for method in methods] == ["x"] * 4
    assert style.bad("") == ""
