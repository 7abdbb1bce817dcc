"""Bytes per second from counters that are read again and again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """What a counter said at one time.

    Attributes:
        value: of the counter; None where it was not known.
        at: when it was read, seconds on any clock that only goes forward.
        session: whose counter it is: two readings of different sessions have nothing to do with each other.
    """

    value: int | None
    at: float
    session: Hashable = None


def rate(before: Reading | None, after: Reading | None) -> float | None:
    """By how much a counter grew per second between two readings; None where nobody can know.

    That is so where one of the readings is missing or says nothing, where they are of two sessions, where no time
    has passed, and where the counter shrank: it began again at some time between, and from what it had come to until
    then nothing is known (protocol-facts 11.6).
    """
    if before is None or after is None or before.value is None or after.value is None:
        return None
    if before.session != after.session or after.at <= before.at or after.value < before.value:
        return None
    return (after.value - before.value) / (after.at - before.at)


def total(rates: list[float | None]) -> float | None:
    """The sum of the rates that are known; None where none is."""
    known = [one for one in rates if one is not None]
    return sum(known) if known else None
