"""The boundary: every error that ends a run is shown here, as text or JSON, and gives an exit status."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from typer.exceptions import TyperException

from fleet.cli.charset import settle_charset
from fleet.cli.families import is_command
from fleet.cli.options import Invocation, Options, OutputFormat
from fleet.cli.output import (
    DOCUMENTS,
    OutputError,
    error_style,
    refusal_document,
    say,
    stdout_lost,
    traceback_text,
    write,
)
from fleet.engine import EXIT_FAILED, EXIT_REFUSED, Report
from fleet.errors import FleetError, InternalError, InterruptedRunError, UsageError
from fleet.render.outcomes import refusal_line, refusal_text

_TRACEBACKS = 2  # so many -v show the traceback of a bug
_STDOUT_FAILS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EBADF,
)  # typer itself prints help and version


def tell(error: BaseException, args: Sequence[str], invocation: Invocation | None) -> int:
    """Shows what ended a command line, and gives the exit status.

    Args:
        error: what it ended with.
        args: the words behind `fleet`.
        invocation: what is known of them; None where nobody had read a word.
    """
    try:
        return _tell(error, args, invocation or Invocation(argv=tuple(args)))
    except OutputError as lost:
        say(str(lost))
        return EXIT_FAILED


def _tell(error: BaseException, args: Sequence[str], invocation: Invocation) -> int:
    if isinstance(error, TyperException):
        return _misused(args, invocation, error)
    if isinstance(error, FleetError):
        return _refuse(args, invocation, error)
    if isinstance(error, KeyboardInterrupt):
        return _refuse(args, invocation, InterruptedRunError("interrupted before anything was sent"))
    if isinstance(error, OutputError):
        raise error
    if isinstance(error, OSError) and error.errno in _STDOUT_FAILS:
        raise stdout_lost(error) from error
    return _bug(args, invocation, error)


def _misused(args: Sequence[str], invocation: Invocation, error: TyperException) -> int:
    """A command line that cannot be read; one that names no command gets the help that it asks for by that."""
    message = error.format_message().replace("Value error, ", "")  # pydantic's words, which say nothing here
    if message.startswith("Usage: "):
        return _told_usage(args, invocation, message)
    message = re.sub(r"\s*\n\s*", " ", message)  # a list of choices has each on a line of its own
    command = invocation.command or _command_of(args)
    hint = f"fleet {command} --help shows what it takes" if command else "fleet --help shows the commands"
    return _refuse(args, invocation, UsageError(message, hint=hint))


def _told_usage(args: Sequence[str], invocation: Invocation, usage: str) -> int:
    command = _command_of(args)
    if _options_of(args, invocation, os.environ).output in DOCUMENTS:
        what = f"'{command}' wants a subcommand" if command else "no command was given"
        return _refuse(args, invocation, UsageError(what, hint=f"{f'fleet {command}'.strip()} --help shows them"))
    say(usage)
    return EXIT_REFUSED


def _refuse(args: Sequence[str], invocation: Invocation, error: FleetError) -> int:
    """Shows an error that ended the run before it came to any server.

    `args` of the JSON document are the command's own arguments; where they were not read, there are none.
    """
    report: Report[object] = Report(
        invocation.command or _command_of(args),
        invocation.args,
        datetime.now(UTC),
        0.0,
        interrupted=isinstance(error, InterruptedRunError),
        error=error,
    )
    options = invocation.options if invocation.complete else _options_of(args, invocation, os.environ)
    settle_charset(options.output)
    if report.command == "check":
        from fleet.cli.check import unknown  # noqa: PLC0415 - for its own errors only

        return unknown(report, options)  # a monitoring plugin: one line on stdout, and UNKNOWN, whatever went wrong
    try:
        write(refusal_document(report, options.output))
    finally:
        say(refusal_line(error) if options.quiet else refusal_text(error, style=error_style(options)))
        if options.verbose >= _TRACEBACKS and error.__cause__ is not None:
            say(traceback_text(error.__cause__))
    return report.exit_status


def _bug(args: Sequence[str], invocation: Invocation, cause: BaseException) -> int:
    options = invocation.options if invocation.complete else _options_of(args, invocation, os.environ)
    hint = "please report it" if options.verbose >= _TRACEBACKS else "please report it, with what -vv prints"
    error = InternalError(f"a bug in fleet: {type(cause).__name__}: {cause}", hint=hint)
    error.__cause__ = cause
    return _refuse(args, invocation, error)


# What a failing command line was about. Typer has given up on it, so the words are looked at one by one.


def _command_of(args: Sequence[str]) -> str:
    return next((word for word in args if is_command(word)), "")


def _options_of(args: Sequence[str], invocation: Invocation, environ: Mapping[str, str]) -> Options:
    """How an error is to be shown, as far as the words tell: the last format that there is, or JSON for `--json`."""
    of_file = invocation.settings.given.get("output") if invocation.settings is not None else None
    forms = [str(of_file.value) if of_file is not None else "", environ.get("FLEET_OUTPUT", "")]
    if environ.get("FLEET_JSON", "0") not in ("", "0", "false"):
        forms.append("json")
    for word, following in zip(args, [*args, ""][1:], strict=True):
        if word in ("-o", "--output"):
            forms.append(following)
        elif word.startswith("-o"):
            forms.append(word.removeprefix("-o"))
        elif word.startswith("--output="):
            forms.append(word.removeprefix("--output="))
    known = [OutputFormat.TABLE, *(OutputFormat(form) for form in forms if form in set(OutputFormat))]
    return Options(
        output=OutputFormat.JSON if "--json" in args else known[-1],
        quiet="-q" in args or "--quiet" in args,
        verbose=_TRACEBACKS if "-vv" in args else 0,
    )
