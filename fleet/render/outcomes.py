"""What a run has to say beside its data: errors, warnings and the summary, for stderr.

Every function gives lines of text without a newline at the end, and "" where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

from fleet.engine import Outcome, Report
from fleet.errors import FleetError, InterruptedRunError, ServerError
from fleet.render import units
from fleet.render.fold import fold_counted
from fleet.render.style import PLAIN, Style
from fleet.render.text import escape
from fleet.render.width import display_width, pad

K = TypeVar("K", bound=Hashable)


def errors_text(outcomes: Iterable[Outcome[Any]], *, style: Style = PLAIN) -> str:
    """The servers' errors, equal ones folded, each with what to do.

        connect-timeout: edge-[3-4] (2): nothing answered on port 22 within 10 s
          try: fleet ping edge-3

    The hint is the first server's. What an interruption broke off is not here but in `stopped_text`.
    """
    lines: list[str] = []
    for names, outcome, error in _by_error(outcomes):
        if isinstance(error, InterruptedRunError):
            continue
        lines.append(f"{style.bad(error.code)}: {names}: {escape(error.message)}")
        if outcome.sent is not None:
            lines.append(f"  sent and not confirmed: {escape(outcome.sent)}")
        if outcome.confirmed:
            lines.append(f"  done before that: {_done(outcome.confirmed)}")
        lines.extend(_hint_lines(error.hint))
    return "\n".join(lines)


def error_lines(outcomes: Iterable[Outcome[Any]]) -> list[str]:
    """The servers' errors for --quiet: equal ones folded, each one self-contained line."""
    lines: list[str] = []
    for names, outcome, error in _by_error(outcomes):
        hint = "" if not error.hint else f" (try: {escape(' '.join(error.hint.split()))})"
        lines.append(f"{error.code}: {names}: {escape(error.message)}{changes_told(outcome)}{hint}")
    return lines


def changes_told(outcome: Outcome[Any]) -> str:
    """The changes of a server with an error, to go behind it in a line; empty where there were none."""
    sent = "" if outcome.sent is None else f"; sent and not confirmed: {escape(outcome.sent)}"
    return sent + (f"; done before that: {_done(outcome.confirmed)}" if outcome.confirmed else "")


def refusal_text(error: FleetError, *, style: Style = PLAIN) -> str:
    """An error that ended a run before it came to any server; the message speaks for itself, without a code."""
    message, *more = error.message.split("\n")
    lines = [style.bad(escape(message)), *map(escape, more)]
    lines.extend(f"  {escape(line)}" for line in (error.hint or "").split("\n") if line)
    return "\n".join(lines)


def refusal_line(error: FleetError) -> str:
    """The same for --quiet: one self-contained line."""
    parts = " ".join(error.message.split()), " ".join((error.hint or "").split())
    return "; ".join(escape(part) for part in parts if part)


def warnings_text(outcomes: Iterable[Outcome[Any]], *, style: Style = PLAIN) -> str:
    """The servers' warnings, equal ones folded: `warning: edge-[1-2] (2): ...`."""
    groups = _gather((warning, outcome.server.name) for outcome in outcomes for warning in outcome.warnings)
    return "\n".join(
        f"{style.warn('warning')}: {_names(names)}: {escape(warning)}" for warning, names in groups.items()
    )


def summary_line(report: Report[Any]) -> str:
    """`6 servers: 4 ok, 2 unreachable, in 10.1 s`."""
    counts = dict(report.summary)
    servers = counts.pop("servers")
    parts = [f"{count} {status.replace('_', ' ')}" for status, count in counts.items() if count]
    noun = "server" if servers == 1 else "servers"
    what = f": {', '.join(parts)}," if parts else ","
    return f"{servers} {noun}{what} in {units.elapsed(report.elapsed)}"


def stopped_text(report: Report[Any], heading: str | None = None) -> str:
    """Where every server stands after a run that was broken off.

        interrupted after 3.2 s
          done           edge-[1-2] (2)
          failed         edge-3
          not confirmed  edge-4  verb 4 was sent: interrupted; it was waiting for the reply to verb 4
          pending        edge-5
          not attempted  gw/udp gw/tcp

    Pending are those that were being asked; nothing that changes them was sent but what is said to be done.
    """
    groups = _gather((_standing(outcome), outcome.server.name) for outcome in report.outcomes)
    rows = [
        (label, _names(groups[label, detail]), detail)
        for label, detail in sorted(groups, key=lambda key: _STANDINGS.index(key[0]))
    ]
    label_width = max((len(label) for label, _, _ in rows), default=0)
    names_width = max((display_width(names) for _, names, detail in rows if detail), default=0)
    lines = [heading if heading is not None else f"interrupted after {units.elapsed(report.elapsed)}"]
    lines.extend(
        f"  {label:<{label_width}}  {pad(names, names_width) if detail else names}  {detail}".rstrip()
        for label, names, detail in rows
    )
    return "\n".join(lines)


_STANDINGS = ("done", "failed", "unreachable", "not confirmed", "pending", "not attempted")


def _standing(outcome: Outcome[Any]) -> tuple[str, str]:
    """The label of a server in a run that was broken off, and what became of the changes that were sent to it."""
    why = "" if outcome.error is None else f": {escape(outcome.error.message)}"
    sent = "" if outcome.sent is None else f"{escape(outcome.sent)} was sent{why}"
    done = f"done before that: {_done(outcome.confirmed)}" if outcome.confirmed else ""
    return _standing_label(outcome), "; ".join(part for part in (sent, done) if part)


def _standing_label(outcome: Outcome[Any]) -> str:
    if outcome.sent is not None:
        return "not confirmed"
    if outcome.status == "ok":
        return "done"
    if outcome.attempted and isinstance(outcome.error, InterruptedRunError):
        return "pending"
    return outcome.status.replace("_", " ")


def _done(confirmed: Sequence[str]) -> str:
    return escape("; ".join(confirmed))


def _by_error(outcomes: Iterable[Outcome[Any]]) -> list[tuple[str, Outcome[Any], ServerError]]:
    """Equal errors gathered: their servers' folded names, and the first outcome with its error."""
    failed = [(outcome, outcome.error) for outcome in outcomes if outcome.error is not None]
    groups = _gather(
        ((error.code, error.message, outcome.sent, outcome.confirmed), (outcome, error)) for outcome, error in failed
    )
    return [(_names([outcome.server.name for outcome, _ in group]), *group[0]) for group in groups.values()]


V = TypeVar("V")


def _gather(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def _names(names: Sequence[str]) -> str:
    return escape(fold_counted(names))


def _hint_lines(hint: str | None) -> list[str]:
    first, *more = (hint or "").split("\n")
    return [f"  try: {escape(first)}", *(f"       {escape(line)}" for line in more)] if first else []
