"""Folding names: fewer words, the same servers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.render.fold import fold, fold_counted, fold_names

RANGE = re.compile(r"(?P<prefix>[^\[\]]*)\[(?P<low>[0-9]+)-(?P<high>[0-9]+)\](?P<suffix>[^\[\]]*)")


def expand(folded: list[str]) -> list[str]:
    """What the names and ranges stand for, as the pattern language has it: a padded range keeps its width."""
    names: list[str] = []
    for word in folded:
        match = RANGE.fullmatch(word)
        if match is None:
            names.append(word)
            continue
        low, high = match["low"], match["high"]
        assert int(low) < int(high)
        width = len(low) if low.startswith("0") else 0
        assert width in (0, len(high))
        names.extend(f"{match['prefix']}{n:0{width}d}{match['suffix']}" for n in range(int(low), int(high) + 1))
    return names


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], ""),
        (["gw"], "gw"),
        (["edge-3", "edge-4", "edge-5", "gw/udp"], "edge-[3-5] gw/udp"),
        (["edge-1", "gw", "edge-2"], "edge-[1-2] gw"),
        (["edge-2", "edge-1"], "edge-[1-2]"),
        (["edge-1", "edge-1"], "edge-1"),
        (["edge-1", "edge-3"], "edge-1 edge-3"),
        (["edge-1", "edge-2", "edge-4", "edge-5"], "edge-[1-2] edge-[4-5]"),
        ([f"edge-{n:02d}" for n in range(1, 10)], "edge-[01-09]"),
        (["edge-08", "edge-09", "edge-10"], "edge-[08-10]"),
        (["edge-98", "edge-99", "edge-100"], "edge-[98-100]"),
        (["edge-099", "edge-100"], "edge-[099-100]"),
        (["edge-09", "edge-9", "edge-10"], "edge-[09-10] edge-9"),
        (["edge-0", "edge-1"], "edge-[0-1]"),
        (["edge-1.eu", "edge-2.eu", "edge-3.eu"], "edge-[1-3].eu"),
        (["edge-1.eu", "edge-2.us"], "edge-1.eu edge-2.us"),
        (["r1-a1", "r1-a2", "r2-a1", "r2-a2"], "r1-a[1-2] r2-a[1-2]"),
        (["r1-a9", "r2-a9", "r3-a9"], "r[1-3]-a9"),
        (["gw1/udp", "gw2/udp", "gw1/tcp", "gw2/tcp"], "gw[1-2]/udp gw[1-2]/tcp"),
        (["10.0.0.1", "10.0.0.2"], "10.0.0.[1-2]"),
        (["a[1", "a[2"], "a[1 a[2"),
        (["fd00::1", "fd00::2"], "fd00::1 fd00::2"),
        (["x" + "1" * 30, "x" + "1" * 29 + "2"], "x" + "1" * 30 + " x" + "1" * 29 + "2"),
    ],
)
def test_folding(names: list[str], folded: str) -> None:
    assert fold_names(names) == folded


@pytest.mark.parametrize(
    ("names", "counted"),
    [
        (["edge-3"], "edge-3"),
        (["gw/udp", "gw/tcp"], "gw/udp gw/tcp"),
        (["edge-3", "edge-4", "edge-5"], "edge-[3-5] (3)"),
        (["edge-3", "edge-4", "gw"], "edge-[3-4] gw (3)"),
        (["a", "b", "c", "d"], "a b c d"),
        (["a", "b", "c", "d", "e"], "a b c d e (5)"),
        (["a", "a"], "a"),
    ],
)
def test_counting(names: list[str], counted: str) -> None:
    assert fold_counted(names) == counted


NAMES = st.one_of(
    st.from_regex(r"(edge|gw)-0{0,2}[0-9]{1,2}(\.eu)?", fullmatch=True),
    st.from_regex(r"r[0-9]-a[0-9]{1,2}", fullmatch=True),
    st.from_regex(r"[a-c0-9./-]{1,12}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
)


@given(st.lists(NAMES, max_size=60))
def test_folded_names_stand_for_the_same_servers(names: list[str]) -> None:
    clean = [name for name in names if RANGE.fullmatch(name) is None]
    expanded = expand(fold(clean))
    assert sorted(expanded) == sorted(set(clean))
    assert len(fold(clean)) <= len(set(clean))


@given(st.lists(NAMES, max_size=30), st.randoms())
def test_only_the_order_of_words_depends_on_the_order_of_names(names: list[str], random: object) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert sorted(fold(shuffled)) == sorted(fold(names))


def test_ten_thousand_names_fold_into_one_word() -> None:
    names = [f"edge-{n:05d}.dc{n % 1}.example.net" for n in range(10_000)]
    assert fold_counted(reversed(names)) == "edge-[00000-09999].dc0.example.net (10000)"


def test_ten_thousand_names_that_do_not_fold_stay() -> None:
    names = [f"edge-{n * 2}" for n in range(10_000)]
    assert fold(names) == names
