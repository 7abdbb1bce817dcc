"""Thresholds as the Monitoring Plugins Development Guidelines write them: ranges, and the level that they give."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from math import inf

_NUMBER = r"-?[0-9]{1,18}(?:\.[0-9]{1,9})?"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_RANGE = re.compile(rf"(@?)(?:(~|{_NUMBER}[KMGT]?i?)?(:))?({_NUMBER}[KMGT]?i?)?", re.IGNORECASE)
_VALUE = re.compile(rf"({_NUMBER})([KMGT]?i?)", re.IGNORECASE)


class Level(IntEnum):
    """What a plugin says, which is its exit status too."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_RANK = (Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL)


def worst(levels: Iterable[Level]) -> Level:
    """The worst of several levels: what is known to be bad is worse than what is not known."""
    return max(levels, key=_RANK.index, default=Level.OK)


@dataclass(frozen=True, slots=True)
class Range:
    """The values that are all right, or those that are not.

    Attributes:
        start: the least of them.
        end: the greatest.
        inside: the values in the range are those that alert, else those outside; both ends are in it.
        percent: the values are in percent.
    """

    start: float
    end: float
    inside: bool = False
    percent: bool = False

    @classmethod
    def parse(cls, text: str, *, percent: bool = False) -> Range:
        """A range: `10` is 0 to 10, `10:` is 10 and more, `~:10` is 10 and less, `10:20`, and `@10:20` its opposite.

        Numbers may have a unit of bytes: `10M` is 10,000,000, `10Mi` is 10 times 2 to the 20th.

        Args:
            text: as it was typed.
            percent: a `%` at the end is taken.

        Raises:
            ValueError: it is none; the message says what is allowed.
        """
        bare = text.removesuffix("%") if percent else text
        match = _RANGE.fullmatch(bare)
        if match is None or not (match[2] or match[4]):
            raise ValueError(f"{text!r} is not a range: write 10, 10:, ~:10, 10:20, or @10:20 for its opposite")
        start = -inf if match[2] == "~" else _value(match[2] or "0")
        end = inf if match[4] is None else _value(match[4])
        if start > end:
            raise ValueError(f"{text!r} begins behind its end")
        return cls(start, end, inside=bool(match[1]), percent=bare != text)

    def alerts(self, value: float) -> bool:
        """Whether this value is one to be told of."""
        return (self.start <= value <= self.end) is self.inside

    def __str__(self) -> str:
        """As perfdata has it: the same range, without units."""
        start = "~:" if self.start == -inf else "" if self.start == 0 and self.end != inf else f"{number(self.start)}:"
        return f"{'@' if self.inside else ''}{start}{'' if self.end == inf else number(self.end)}"


def _value(text: str) -> float:
    match = _VALUE.fullmatch(text)
    unit = None if match is None else _UNITS.get(match[2].upper())
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a number with a unit of K, M, G, T, Ki, Mi, Gi or Ti")
    return float(match[1]) * unit


def number(value: float) -> str:
    """A number in digits, as perfdata has it: no exponent, three decimals at most."""
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Threshold:
    """When a value is a warning, and when it is critical.

    Attributes:
        warning: None for never.
        critical: None for never.
    """

    warning: Range | None = None
    critical: Range | None = None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.warning is not None or self.critical is not None

    def breach(self, value: float, percent: float | None = None) -> tuple[Level, Range] | None:
        """The level that a value gives, and the range that it is in breach of; None where it is all right.

        Args:
            value: to be compared.
            percent: the same in percent, for a range in percent; None where it cannot be.
        """
        for level, limit in ((Level.CRITICAL, self.critical), (Level.WARNING, self.warning)):
            if limit is None:
                continue
            compared = percent if limit.percent else value
            if compared is not None and limit.alerts(compared):
                return level, limit
        return None
