"""How the answers of servers differ from the one that most of them gave, as `clush --diff` shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import unified_diff

from fleet.render.fold import fold_counted
from fleet.render.gather import gather


def differences(answers: Iterable[tuple[str, Sequence[str]]]) -> tuple[list[str], list[str]]:
    """The names of those who gave the most frequent answer, and the lines in which the others differ from it.

    Of equally frequent ones the first counts. The others are gathered, and stand in the order of their first server:

        --- edge-[1-8] (8)
        +++ gw/tcp
        @@ -1 +1 @@
        -2.6.14
        +2.4.12

    Args:
        answers: name and lines of each server, in inventory order, safe to show.
    """
    groups = gather((name, tuple(lines)) for name, lines in answers)
    if not groups:
        return [], []
    names, common = max(groups, key=lambda group: len(group[0]))  # the first of equals
    shown: list[str] = []
    for others, lines in groups:
        if lines != common:
            shown += unified_diff(common, lines, fold_counted(names), fold_counted(others), lineterm="")
    return names, shown
