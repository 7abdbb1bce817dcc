"""Names of groups, hosts and daemons, and the ranges that stand for many of them."""

from __future__ import annotations

import ipaddress
import itertools
import re
import string

MAX_RANGE = 100_000
"""Security limit: names that one range, or the ranges of one name, may stand for."""

MAX_NAME = 255
"""Security limit: characters of a name. No DNS name is longer."""

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_FORBIDDEN = frozenset(":,;[]{}()*?/\\'\"<>|$`")
_FORBIDDEN_FIRST = frozenset("!&~@-#.%")
_USUAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")  # what nearly every name is, decided at one go


def is_ipv6(text: str) -> bool:
    """Whether the text is an IPv6 address without brackets."""
    if ":" not in text:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def name_problem(name: str, *, host: bool = False) -> str | None:
    """What is wrong with a name, or None.

    A name must be usable as a pattern: nothing in it may be a pattern's sign. A host's name may be an IPv6 address.

    Args:
        name: the name, ranges already expanded.
        host: whether it is the name of a host.
    """
    return None if _USUAL.fullmatch(name) else _unusual(name, host=host)


def _unusual(name: str, *, host: bool) -> str | None:
    if not name:
        return "is empty"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if not name.isprintable() or any(c.isspace() for c in name):
        return "has a blank or a control character in it"
    if host and is_ipv6(name):
        return None
    if name[0] in _FORBIDDEN_FIRST:
        return f"begins with {name[0]}"
    bad = next((c for c in name if c in _FORBIDDEN), None)
    return None if bad is None else f"has {bad} in it"


def expand_name(name: str) -> list[str]:
    """The names that a name with ranges stands for, as Ansible expands them: `edge-[01:09]`, `[a:c]`, `[0:10:2]`.

    Raises:
        ValueError: a malformed range; its text says what is wrong.
    """
    if "[" not in name and "]" not in name:
        return [name]
    pieces = _BRACKETS.split(name)
    if any("[" in piece or "]" in piece for piece in pieces[::2]):
        raise ValueError("a bracket without its other half")
    ranges = [expand_range(content, separators=":") for content in pieces[1::2]]
    count_product([len(names) for names in ranges])
    literals = pieces[0::2]
    return [
        literals[0] + "".join(value + literal for value, literal in zip(chosen, literals[1:], strict=True))
        for chosen in itertools.product(*ranges)
    ]


def count_product(lengths: list[int]) -> None:
    """Refuses ranges whose combinations are too many.

    Raises:
        ValueError: over MAX_RANGE.
    """
    total = 1
    for length in lengths:
        total *= length
    if total > MAX_RANGE:
        raise ValueError(f"it stands for more than {MAX_RANGE} names, which is fleet's security limit")


def expand_range(content: str, *, separators: str) -> list[str]:
    """What `01:09`, `a:c` or `0:10:2` stands for, ends included; a first number with zeros in front sets the width.

    Args:
        content: the text between the brackets.
        separators: what may stand between the bounds, `:` or `:-`.

    Raises:
        ValueError: not a range; its text says what is wrong.
    """
    parts = re.split(f"[{re.escape(separators)}]", content)
    if not 2 <= len(parts) <= 3:  # noqa: PLR2004 - begin, end, step
        raise ValueError("a range is [BEGIN:END] or [BEGIN:END:STEP]")
    begin, end = parts[0] or "0", parts[1]
    step = _step(parts[2]) if len(parts) == 3 else 1  # noqa: PLR2004 - begin, end, step
    if not end:
        raise ValueError("the range has no end")
    if len(begin) == len(end) == 1 and begin in string.ascii_letters and end in string.ascii_letters:
        return list(_letters(begin, end)[::step])
    if not (_is_number(begin) and _is_number(end)):
        raise ValueError("the bounds of a range are two numbers or two letters")
    return _numbers(begin, end, step)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18  # noqa: PLR2004 - what fits 64 bits


def _step(text: str) -> int:
    if not _is_number(text) or int(text) == 0:
        raise ValueError("the step of a range is a number from 1")
    return int(text)


def _letters(begin: str, end: str) -> str:
    if begin.islower() != end.islower():
        raise ValueError("the letters of a range are both small or both capital")
    if begin > end:
        raise ValueError(f"the range begins behind its end: {begin} > {end}")
    letters = string.ascii_letters
    return letters[letters.index(begin) : letters.index(end) + 1]


def _numbers(begin: str, end: str, step: int) -> list[str]:
    width = 0
    if len(begin) > 1 and begin[0] == "0":
        width = len(begin)
        if len(end) != width:
            raise ValueError(f"both bounds have the same width where the first begins with 0: {begin} and {end}")
    first, last = int(begin), int(end)
    if first > last:
        raise ValueError(f"the range begins behind its end: {begin} > {end}")
    numbers = range(first, last + 1, step)
    if len(numbers) > MAX_RANGE:
        raise ValueError(f"it stands for more than {MAX_RANGE} names, which is fleet's security limit")
    return [str(number).zfill(width) for number in numbers]
