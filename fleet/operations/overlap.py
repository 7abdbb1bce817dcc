"""Where a daemon's history goes on from what was seen of it before: the rule by which nothing is shown twice or lost.

Lines of a daemon's log have no numbers and a time of whole seconds, so the place is found by the lines themselves
(protocol-facts 11.5). No I/O and no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T", bound=Hashable)

_ENOUGH_DISTINCT = 2  # an only candidate with more distinct lines than these is believed


@dataclass(frozen=True, slots=True)
class Overlap:
    """The place in a history where what is new begins.

    Attributes:
        position: `history[position:]` is new; 0 where nothing of it was seen.
        sure: nothing is missing between what was seen and what is new. Where it is False, lines may be missing.
    """

    position: int
    sure: bool


def find_overlap(seen: Sequence[T], history: Sequence[T]) -> Overlap:
    """Where `history` goes on from `seen`.

    A candidate is every k with `history[k-n:k] == seen[-n:]`, n being as many lines as both have: k, or all of
    `seen`. The largest is taken, so that no line is shown twice. It is sure if one of the lines that overlap is
    unique in both, or if it is the only candidate and has more than two distinct lines; else two places look alike,
    and what lies between them may be missing. Without any candidate the history has gone over what was seen.

    Takes time linear in the lines.

    Args:
        seen: the last lines that were seen, oldest first. Empty: nothing was seen yet, and all is new.
        history: what the daemon still has, oldest first.
    """
    if not seen:
        return Overlap(0, sure=True)
    candidates = _candidates(seen, history)
    if not candidates:
        return Overlap(0, sure=False)
    position = max(candidates)
    common = history[position - min(position, len(seen)) : position]
    return Overlap(position, _is_sure(seen, history, common, only=len(candidates) == 1))


def _is_sure(seen: Sequence[T], history: Sequence[T], common: Sequence[T], *, only: bool) -> bool:
    distinct = set(common)
    if only and len(distinct) > _ENOUGH_DISTINCT:
        return True
    in_seen, in_history = Counter(seen), Counter(history)
    return any(in_seen[line] == 1 == in_history[line] for line in distinct)


def _candidates(seen: Sequence[T], history: Sequence[T]) -> list[int]:
    """Every end of an overlap: where all of `seen` stands in the history, and where its end is the history's begin."""
    failure = _borders(seen)
    ends, matched = [], 0
    for end, line in enumerate(history, start=1):  # Knuth, Morris, Pratt: looks for `seen` in `history`
        while matched and (matched == len(seen) or seen[matched] != line):
            matched = failure[matched - 1]
        if seen[matched] == line:
            matched += 1
        if matched == len(seen):
            ends.append(end)
    begin = history[: len(seen) - 1]  # a shorter overlap: the history's begin is the end of what was seen
    failure, matched = _borders(begin), 0
    for line in seen[1:] if begin else ():
        while matched and (matched == len(begin) or begin[matched] != line):
            matched = failure[matched - 1]
        if begin[matched] == line:
            matched += 1
    while matched:
        ends.append(matched)
        matched = failure[matched - 1]
    return ends


def _borders(lines: Sequence[T]) -> list[int]:
    """For each begin of the lines, the length of its longest proper begin that is also its end."""
    borders = [0] * len(lines)
    for index in range(1, len(lines)):
        length = borders[index - 1]
        while length and lines[index] != lines[length]:
            length = borders[length - 1]
        borders[index] = length + (lines[index] == lines[length])
    return borders
