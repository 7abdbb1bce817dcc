"""YAML that reads back as what it was made of, for every reader."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.render.yamlout import yaml_text

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text("yesnoYNOtrue~=<0123456789:.-+eExX_ #'\"\\\x1b\x85\u2028\ufeff\uffff\u202e\udc80\U000e0041漢", max_size=8)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


@given(VALUES)
def test_it_reads_back_exactly(value: Any) -> None:
    text = yaml_text(value)
    assert yaml.safe_load(text) == value
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "no",
            "Yes",
            "ON",
            "off",
            "y",
            "N",
            "true",
            "null",
            "Null",
            "~",
            "",
            " ",
            " a ",
            "=",
            "<<",
            "-",
            "?",
            ":",
            "#",
        ),
        *(
            "22:22",
            "1e5",
            "1E5",
            "017",
            "0o17",
            "0x1f",
            "0b1",
            "1_000",
            "+1",
            "-1",
            ".5",
            ".inf",
            "-.inf",
            ".nan",
            "1.",
        ),
        *(
            "2026-11-22",
            "2026-11-22T08:00:00Z",
            "---",
            "...",
            "- a",
            "a: b",
            "a #b",
            "!tag",
            "&a",
            "*a",
            "%a",
            "@a",
            "`a",
        ),
        *("[a]", "{a}", "a\nb", "\t", "\x1b[31m", "\x00", "\x7f", "\x85", "\u202e", "\ufeff", "\udcff", "漢字", "🙂"),
    ],
)
def test_text_stays_text(text: str) -> None:
    for value in (text, [text], {"key": text}, {text: 1}, {text: {text: [text]}}):
        assert yaml.safe_load(yaml_text(value)) == value
    # A reader of YAML 1.2 takes more for numbers than PyYAML does: whatever has no letter first stands in quotes.
    bare = yaml_text([text]).removeprefix("- ").rstrip("\n")
    assert bare.startswith('"') or re.fullmatch("[A-Za-z][A-Za-z0-9_./-]*", bare)


def test_it_looks_as_people_write_it() -> None:
    document = {"name": "edge-1", "no": "no", "empty": [], "none": {}, "servers": [{"a": 1, "b": [[1.5, None], True]}]}
    assert yaml_text(document).splitlines() == [
        "name: edge-1",
        '"no": "no"',
        "empty: []",
        "none: {}",
        "servers:",
        "- a: 1",
        "  b:",
        "  - - 1.5",
        "    - null",
        "  - true",
    ]


def test_keys_may_be_long() -> None:
    for key in ("k" * 999, "k" * 1024, "k k" * 5000):
        for value in (1, [], [1, [2]], {"a": 1, "b": {"c": 2}}):
            assert yaml.safe_load(yaml_text({key: value, "b": 2})) == {key: value, "b": 2}


def test_what_json_has_not_it_has_not_either() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        yaml_text({"a": float("nan")})


@pytest.mark.parametrize("number", [0.0, -0.0, 1e16, 1e-7, -1.5e300, 5e-324, 2**70, -1, 0.001])
def test_numbers_stay_numbers(number: float) -> None:
    read = yaml.safe_load(yaml_text([number]))[0]
    assert (read, type(read)) == (number, type(number))
