from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.render.sparkline import bar, sparkline, takes_blocks


def test_blocks_and_signs() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8]) == " ▁▂▃▄▅▆▇█"
    assert sparkline([0, 1, 800], blocks=False) == " .@"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "


@given(st.lists(st.integers(0, 2**60)), st.booleans())
def test_each_value_has_one_character_and_order_is_kept(values: list[int], blocks: bool) -> None:
    line = sparkline(values, blocks=blocks)
    assert len(line) == len(values)
    levels = " " + ("▁▂▃▄▅▆▇█" if blocks else ".:-=+*#@")
    ranks = [levels.index(sign) for sign in line]
    assert [rank for _value, rank in sorted(zip(values, ranks, strict=True))] == sorted(ranks)
    assert all((rank == 0) == (value == 0) for value, rank in zip(values, ranks, strict=True))
    assert not any(values) or ranks[values.index(max(values))] == 8


def test_bars() -> None:
    assert bar(100, 100, width=4) == "████"
    assert bar(50, 100, width=4) == "██"
    assert bar(1, 10_000, width=4) == "▏"
    assert (bar(0, 100), bar(0, 0)) == ("", "")
    assert (bar(100, 100, width=4, blocks=False), bar(1, 10_000, blocks=False)) == ("####", "#")


@given(st.integers(1, 2**60), st.floats(0, 1), st.integers(1, 30), st.booleans())
def test_no_bar_is_longer_than_its_width(largest: int, share: float, width: int, blocks: bool) -> None:
    assert len(bar(int(largest * share), largest, width=width, blocks=blocks)) <= width


def test_an_encoding_takes_blocks_or_does_not() -> None:
    assert takes_blocks("utf-8")
    assert not takes_blocks("latin-1")
    assert not takes_blocks(None)
    assert not takes_blocks("no such thing")
