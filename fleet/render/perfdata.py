"""What a monitoring plugin prints: a line for the eye, perfdata for graphs, a line more for each problem.

As the Monitoring Plugins Development Guidelines have it. What stands in front of the `|` is shown by web pages and
handed on to scripts that send mail, and the `|` itself divides text from numbers: names and messages are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from fleet.operations.check import Measure, Problem, Verdict
from fleet.operations.thresholds import Range, number
from fleet.render.fold import fold_counted
from fleet.render.text import escape

MAX_LINES: Final = 50
"""Limit of the lines behind the first: Nagios keeps 8 KiB of what a plugin says."""

MAX_TEXT: Final = 400
"""Limit of the characters of one problem: a daemon may have put them there, and a pager has to show them."""

_UNKNOWN_VALUE: Final = "U"
_CHECKS: Final = {
    "unreachable": "unreachable",
    "state": "not as they should be by state",
    "clients": "by clients",
    "capacity": "by capacity",
    "traffic": "by traffic",
    "restart": "restarted lately",
    "version": "by version",
}


def plugin_text(verdict: Verdict, *, per_server: bool = False) -> str:
    """Everything that goes to stdout, without the newline at the end.

    Args:
        verdict: what is to be said.
        per_server: perfdata of each server too.
    """
    measures = [measure for measure in verdict.measures if per_server or measure.server is None]
    head = f"FLEET {verdict.level.name} - {_headline(verdict)} | {perfdata(measures)}"
    return "\n".join([head, *_details(verdict.problems)])


def unknown_text(message: str, hint: str | None) -> str:
    """The line of a check that could not be made."""
    parts = (message, hint or "")
    return f"FLEET UNKNOWN - {'; '.join(plain(' '.join(part.split())) for part in parts if part)}"


def plain(text: str) -> str:
    """Text without anything that means something to a terminal, a monitoring system or its web page."""
    cut = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
    return escape(cut).replace("|", r"\x7c").replace("<", r"\x3c").replace(">", r"\x3e")


def _headline(verdict: Verdict) -> str:
    fleet = (
        f"{verdict.servers} {_noun(verdict.servers, 'server')}, {verdict.clients} {_noun(verdict.clients, 'client')}"
    )
    if not verdict.problems:
        return fleet
    if len(verdict.problems) == 1:
        return f"{_told(verdict.problems[0])}; {fleet}"
    servers: dict[str, set[str]] = {}
    for problem in verdict.problems:
        servers.setdefault(problem.check, set()).update(problem.servers)
    parts = (f"{len(names)} {_CHECKS[check]}" for check, names in servers.items())
    return f"{', '.join(parts)}; {fleet}"


def _noun(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _told(problem: Problem) -> str:
    names = plain(fold_counted(problem.servers))
    return f"{names}: {plain(problem.text)}" if names and problem.servers else plain(problem.text)


def _details(problems: Sequence[Problem]) -> Iterable[str]:
    for problem in problems[:MAX_LINES]:
        yield f"{problem.level.name}: {_told(problem)}"
    if len(problems) > MAX_LINES:
        yield f"{len(problems) - MAX_LINES} problems more; -o json has them all"


# Perfdata


def perfdata(measures: Iterable[Measure]) -> str:
    """The values behind the `|`: `'label'=value[UOM];[warn];[crit];[min];[max]`."""
    return " ".join(map(_performance, measures))


def _performance(measure: Measure) -> str:
    value = _UNKNOWN_VALUE if measure.value is None else number(measure.value) + measure.unit
    parts = (
        value,
        *(_range(limit) for limit in (measure.threshold.warning, measure.threshold.critical)),
        *("" if limit is None else number(limit) for limit in (measure.minimum, measure.maximum)),
    )
    return f"{label(measure)}={';'.join(parts).rstrip(';')}"


def _range(limit: Range | None) -> str:
    return "" if limit is None else str(limit)


def label(measure: Measure) -> str:
    """A value's name, in quotes: no equals sign, and quotes twice."""
    name = measure.name if measure.server is None else f"{measure.server} {measure.name}"
    return "'" + plain(name).replace("=", "_").replace("'", "''") + "'"
