"""Many server names in few words: `edge-3 edge-4 edge-5 gw/udp` is `edge-[3-5] gw/udp`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_SPELLED_OUT: Final = 4  # so many names are counted at a glance
_NUMBER: Final = re.compile(r"[0-9]+")
_MAX_DIGITS: Final = 18  # a longer number is an identifier, and stays as it is
_MAX_NUMBERS: Final = 8  # per name, from the right: security limit, the work per name stays bounded
_NOT_IN_PATTERNS: Final = re.compile(r"[\[\]*?~!&@:,\s]")  # names with these are no patterns: never folded


class _Slot(NamedTuple):
    """A name without one of its numbers."""

    prefix: str
    suffix: str


class _Place(NamedTuple):
    """Where a name goes: beside the names that differ from it in this number only."""

    slot: _Slot
    digits: str


def fold(names: Iterable[str]) -> list[str]:
    """The names with runs of numbers folded into ranges, in the order in which they first appear.

    Each is a name, or a pattern that selects just the names it stands for: `edge-[3-5]`, `edge-[08-11].eu`. Of
    several numbers in a name, the one that most of the others differ in is folded, then the last. Names that come
    twice are given once. The time is linear in the number of names, but for sorting the numbers.
    """
    unique = list(dict.fromkeys(names))
    places = {name: tuple(_places(name)) for name in unique}
    members = Counter(place.slot for choices in places.values() for place in choices)
    groups: dict[_Slot | str, list[str]] = {}
    for name, choices in places.items():
        # max takes the first of equals, which is the last number
        best = max(choices, key=lambda place: members[place.slot], default=None)
        if best is None:
            groups[name] = []  # no number: its own group
        else:
            groups.setdefault(best.slot, []).append(best.digits)
    folded: list[str] = []
    for slot, digits in groups.items():
        folded.extend([slot] if isinstance(slot, str) else _ranges(slot, digits))
    return folded


def fold_names(names: Iterable[str]) -> str:
    """The folded names, blanks between them: `edge-[3-5] gw/udp`."""
    return " ".join(fold(names))


def fold_counted(names: Iterable[str]) -> str:
    """The folded names and how many they are: `edge-[3-5] (3)`. A few spelled-out names need no count."""
    unique = list(dict.fromkeys(names))
    folded = fold(unique)
    text = " ".join(folded)
    if len(folded) == len(unique) <= _SPELLED_OUT:
        return text
    return f"{text} ({len(unique)})"


def _places(name: str) -> Iterator[_Place]:
    if _NOT_IN_PATTERNS.search(name):
        return
    numbers = list(_NUMBER.finditer(name))[-_MAX_NUMBERS:]
    for number in reversed(numbers):
        if len(number[0]) <= _MAX_DIGITS:
            yield _Place(_Slot(name[: number.start()], name[number.end() :]), number[0])


def _ranges(slot: _Slot, digits: list[str]) -> Iterator[str]:
    """The numbers of one slot as ranges; numbers padded with zeros are a family of their own for each width."""
    padded = {len(text) for text in digits if text != "0" and text.startswith("0")}
    widths: dict[int, list[int]] = {}  # 0 is the width of those that are not padded
    for text in digits:
        widths.setdefault(len(text) if len(text) in padded else 0, []).append(int(text))
    for width, values in widths.items():
        for first, last in _runs(values):
            low, high = f"{first:0{width}d}", f"{last:0{width}d}"
            yield slot.prefix + (low if first == last else f"[{low}-{high}]") + slot.suffix


def _runs(values: list[int]) -> Iterator[tuple[int, int]]:
    values.sort()
    first = last = values[0]
    for value in values[1:]:
        if value != last + 1:
            yield first, last
            first = value
        last = value
    yield first, last
