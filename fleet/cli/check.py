"""`fleet check`: a monitoring plugin. Whatever happens it prints one line on stdout and exits with 0, 1, 2 or 3."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import typer

from fleet.cli.asking import Interrupts, ask
from fleet.cli.choosing import Target, admit
from fleet.cli.options import Options, OutputFormat, duration, with_options
from fleet.cli.output import OutputError, error_style, say, write
from fleet.engine import EXIT_OK, Outcome, Report
from fleet.errors import FleetError, UsageError
from fleet.operations.check import Problem, found, judge
from fleet.operations.limits import Limits, Release
from fleet.operations.operation import Answer
from fleet.operations.probe import Probe, probe
from fleet.operations.thresholds import Level, Range, Threshold
from fleet.render.jsonout import document, dumps
from fleet.render.outcomes import errors_text
from fleet.render.perfdata import plugin_text, unknown_text
from fleet.render.yamlout import yaml_text

T = TypeVar("T")

COMMAND: Final = "check"
RUN_TIMEOUT: Final = 50.0
"""Seconds for the whole run where nothing is said: Icinga and Nagios end a plugin after 60."""
INTERVAL: Final = 1.0
"""Seconds that traffic is measured over where nothing is said."""

_DOCUMENTS: Final = (OutputFormat.JSON, OutputFormat.YAML)

Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to check; all without any.")]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(COMMAND)(with_options(_with_thresholds(_check)))


# What is typed: a threshold is an option for the warning and one for what is critical.

_AGE: Final = {"metavar": "DURATION", "callback": duration}

_TEXTS: Final[dict[str, tuple[str, str]]] = {
    "unreachable_warning": ("N|N%", "Warn where more servers than that gave no answer."),
    "unreachable_critical": ("N|N%", "Critical where more servers than that gave no answer [0]."),
    "state_ok": ("LIST", "The states that are all right [CONNECTED]."),
    "state_warning": ("LIST", "The states to warn of; all others are critical."),
    "clients_warning": ("RANGE", "Warn of a server whose clients are not in this range."),
    "clients_critical": ("RANGE", "Critical where they are not in this range."),
    "capacity_warning": ("RANGE", "Warn by its clients in percent of its max_clients."),
    "capacity_critical": ("RANGE", "Critical by its clients in percent of its max_clients."),
    "received_warning": ("RANGE", "Warn by the bytes per second that it receives."),
    "received_critical": ("RANGE", "Critical by the bytes per second that it receives."),
    "sent_warning": ("RANGE", "Warn by the bytes per second that it sends."),
    "sent_critical": ("RANGE", "Critical by the bytes per second that it sends."),
    "version_minimum": ("RELEASE", "Warn of a server with an older release."),
}

_AGES: Final = {
    "interval": "Measure bytes per second over this time [1s].",
    "restart_warning": "Warn of a server that restarted less than that ago.",
    "restart_critical": "Critical where it restarted less than that ago.",
}


def _with_thresholds(function: Callable[..., int]) -> Callable[..., int]:
    """The command with an option for each threshold, which are too many to be written by hand."""
    texts = [_option(name, str, text, {"metavar": metavar}) for name, (metavar, text) in _TEXTS.items()]
    ages = [_option(name, Any, text, _AGE) for name, text in _AGES.items()]
    own = [one for one in inspect.signature(function, eval_str=True).parameters.values() if one.name != "given"]
    function.__signature__ = inspect.Signature([*own, *texts, *ages])  # type: ignore[attr-defined]  # PEP 362
    return function


def _option(name: str, kind: Any, text: str, settings: dict[str, Any]) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=text, **settings)
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _check(
    *,
    patterns: Patterns = None,
    version_skew: Annotated[
        bool, typer.Option("--version-skew", help="Warn where the servers have not all the same release.")
    ] = False,
    per_server: Annotated[bool, typer.Option("--per-server", help="Give perfdata of each server too.")] = False,
    options: Options,
    **given: Any,
) -> int:
    """Check servers as a monitoring plugin of Nagios, Icinga and their like does.

    Prints one line with perfdata, and a line more for each problem. Exits with 0 (OK), 1 (WARNING), 2 (CRITICAL) or
    3 (UNKNOWN: it could not be checked). Without options it is critical that every server answers and is CONNECTED.

    A RANGE is as the Monitoring Plugins have it: 10 is 0 to 10, 10: is 10 and more, ~:10 is 10 and less, and outside
    of it is bad; @10:20 is bad inside. Bytes may have a unit: 10M, 10Mi. Each is for every server on its own.
    """
    started, begun = datetime.now(UTC), time.monotonic()
    args = tuple(patterns or ())
    try:
        limits = _limits(given, version_skew=version_skew)
        return _checked(limits, options, args, given["interval"] or INTERVAL, per_server=per_server)
    except FleetError as error:
        return unknown(Report(COMMAND, args, started, time.monotonic() - begun, error=error), options)


def _checked(limits: Limits, options: Options, args: tuple[str, ...], interval: float, *, per_server: bool) -> int:
    _refuse_formats(options)
    looks = probe(COMMAND, listed=limits.restart, interval=interval if limits.traffic else None)
    servers = admit(looks, options, Target(args=args), shards=True)
    if servers is None:
        return EXIT_OK
    started, begun = datetime.now(UTC), time.monotonic()
    with Interrupts() as interrupts:
        asked = ask(looks, servers, replace(options, timeout=options.timeout or RUN_TIMEOUT), interrupts)
    report: Report[Answer[Probe]] = Report.of(
        servers,
        asked.outcomes,
        command=COMMAND,
        args=args,
        started=started,
        elapsed=time.monotonic() - begun,
        interrupted=asked.interrupted,
    )
    if report.interrupted:
        return _shown(Level.UNKNOWN, unknown_text("the check was interrupted", None), report, options)
    verdict = judge(report.outcomes, limits, datetime.now(UTC))
    if options.verbose:
        say(errors_text(report.outcomes, style=error_style(options)))
    text = plugin_text(verdict, per_server=per_server)
    return _shown(verdict.level, text, _with_findings(report, verdict.problems), options)


def unknown(report: Report[Any], options: Options) -> int:
    """Says that nothing could be checked, and why; gives the exit status of that.

    Also for whoever finds that the command line of a check cannot be read: as an error of any other command it would
    be taken for CRITICAL.
    """
    error = report.error
    text = unknown_text("nothing was checked", None) if error is None else unknown_text(error.message, error.hint)
    return _shown(Level.UNKNOWN, text, report, options)


def _shown(level: Level, text: str, report: Report[Any], options: Options) -> int:
    """Prints what there is to say, and gives the exit status."""
    text += "\n"
    if options.output in _DOCUMENTS:
        shown = {**document(report, lambda answer: answer.value), "exit_status": int(level)}
        text = yaml_text(shown) if options.output is OutputFormat.YAML else dumps(shown, indent=2) + "\n"
    try:
        write(text)
    except OutputError as error:
        say(str(error))
        return int(Level.UNKNOWN)
    return int(level)


def _with_findings(report: Report[Any], problems: Sequence[Problem]) -> Report[Any]:
    """The report, with what each server was found to be in place of what it said."""

    def settled(outcome: Outcome[Any]) -> Outcome[Any]:
        if outcome.value is None:
            return outcome
        return replace(outcome, value=Answer(found(outcome, problems), outcome.value.raw))

    return replace(report, outcomes=tuple(map(settled, report.outcomes)))


def _refuse_formats(options: Options) -> None:
    """Refuses what has no meaning for a plugin."""
    if options.watch is not None and "watch" not in options.from_environment:
        raise UsageError("a check is made once", hint="leave --watch out; the monitoring system asks again by itself")
    if options.output in (OutputFormat.TABLE, *_DOCUMENTS) or "output" in options.from_environment:
        return
    raise UsageError(f"-o {options.output.value} is not for a check", hint="leave it out, or take -o json")


# What was typed


def _limits(given: Mapping[str, Any], *, version_skew: bool) -> Limits:
    """The limits that the options set.

    Raises:
        UsageError: one of them is not what it should be.
    """
    unreachable = _threshold(given, "unreachable", partial(Range.parse, percent=True))
    limits = Limits(
        unreachable=unreachable or Limits().unreachable,
        state_ok=_read(given, "state_ok", _states) or Limits().state_ok,
        state_warning=_read(given, "state_warning", _states) or frozenset(),
        clients=_threshold(given, "clients", Range.parse),
        capacity=_threshold(given, "capacity", _percent),
        received=_threshold(given, "received", Range.parse),
        sent=_threshold(given, "sent", Range.parse),
        restart_warning=given["restart_warning"],
        restart_critical=given["restart_critical"],
        version_skew=version_skew,
        version_minimum=_read(given, "version_minimum", Release.parse),
    )
    if given["interval"] is not None and not limits.traffic:
        raise UsageError("--interval is for traffic", hint="add --received-warning or --sent-warning, or their like")
    return limits


def _threshold(given: Mapping[str, Any], name: str, parse: Callable[[str], Range]) -> Threshold:
    return Threshold(_read(given, f"{name}_warning", parse), _read(given, f"{name}_critical", parse))


def _read(given: Mapping[str, Any], name: str, parse: Callable[[str], T]) -> T | None:
    text = given[name]
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"--{name.replace('_', '-')}: {error}", hint="fleet check --help has examples") from error


def _percent(text: str) -> Range:
    """A range of percents, with or without the sign: nothing else is compared."""
    return Range.parse(text.removesuffix("%"))


def _states(text: str) -> frozenset[str]:
    states = frozenset(state.strip().upper() for state in text.split(","))
    if "" in states:
        raise ValueError(f"{text!r} is no list of states: write CONNECTED,RECONNECTING")
    return states
