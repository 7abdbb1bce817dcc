"""Equal answers of many servers shown once, under the names of those who gave them.

As ClusterShell's `clubak -b` and its gather do it: in the order in which the answers first come, which is inventory
order, and with the names folded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from fleet.operations.operation import PartText
from fleet.render.fold import fold_counted
from fleet.render.style import PLAIN, Style
from fleet.render.text import escape

K = TypeVar("K", bound=Hashable)

_INDENT = "  "


def gather(answers: Iterable[tuple[str, K]]) -> list[tuple[list[str], K]]:
    """Groups of names with equal answers, in the order of each group's first name."""
    groups: dict[K, list[str]] = {}
    for name, answer in answers:
        groups.setdefault(answer, []).append(name)
    return [(names, answer) for answer, names in groups.items()]


def gather_lines(answers: Iterable[tuple[str, Sequence[str]]], *, style: Style = PLAIN) -> list[str]:
    """Each different answer once: `edge-[1-8] (8): verb=3`, or the names above several indented lines.

    Args:
        answers: name and lines of each server, in inventory order. Control characters are escaped here.
        style: for the names.
    """
    shown: list[str] = []
    for names, lines in gather((name, tuple(lines)) for name, lines in answers):
        who = style.strong(f"{escape(fold_counted(names))}:")
        if len(lines) == 1:
            shown.append(f"{who} {escape(lines[0])}".rstrip())
        else:
            shown.append(who)
            shown.extend(f"{_INDENT}{escape(line)}".rstrip() for line in lines)
    return shown


def gather_text(answers: Sequence[tuple[str, Sequence[PartText]]], *, style: Style = PLAIN) -> str:
    """The answers to a question of one or more parts, with a newline at its end; "" where there is nothing.

    Where the question has several parts, each stands above its answers, which are folded part by part: that servers
    differ in one part keeps none of the others apart.

    Args:
        answers: name and parts of each server, in inventory order. A server may lack the last parts, or all.
        style: for the names and the headings.
    """
    parts = max((parts for _name, parts in answers), key=len, default=())
    blocks: list[str] = []
    for position, part in enumerate(parts):
        given = [(name, own[position].lines) for name, own in answers if position < len(own)]
        lines = gather_lines(given, style=style)
        if len(parts) > 1:
            lines = [style.strong(escape(part.part)), *(f"{_INDENT}{line}" for line in lines)]
        blocks.append("\n".join(lines))
    return "\n".join(blocks) + "\n" if blocks else ""
