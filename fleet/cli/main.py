"""The application and its boundary: every error of a run ends here, as text or JSON and an exit status."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from typer.core import TyperGroup
from typer.exceptions import TyperException

from fleet.cli.families import application, is_command
from fleet.cli.options import Invocation, Options, OutputFormat, before_command
from fleet.cli.output import OutputError, error_style, say, stdout_lost, traceback_text, write
from fleet.engine import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, Report
from fleet.errors import FleetError, InternalError, InterruptedRunError, UsageError
from fleet.render.jsonout import document, dumps, ndjson_summary
from fleet.render.outcomes import refusal_line, refusal_text

_TRACEBACKS = 2  # so many -v show the traceback of a bug
_STDOUT_FAILS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EBADF,
)  # typer itself prints help and version


def build() -> TyperGroup:
    """The application with all its commands."""
    return application(before_command(), "Operate a whole fleet of OpenVPN servers at once.")


def main() -> None:
    """The console script."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name in the locale's charset or not, it is shown
    # Until a run has its own way of ending, SIGTERM is a Ctrl-C too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def _open_standard_streams() -> None:
    """Opens what `fleet ... <&- >&- 2>&-` has closed, or the next socket would take its number.

    Python has None for such a stream. What is read is then empty, what is said is lost, and data cannot be written.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)  # the lowest number that is free
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good


def run(args: Sequence[str], options: Options | None = None) -> int:
    """Runs one command line and gives its exit status; nothing is raised but by a signal that ends the process.

    Args:
        args: the words behind `fleet`.
        options: what they start from, where an earlier run is repeated; each word wins over them.
    """
    invocation = Invocation(options or Options(), argv=tuple(args))
    try:
        return _run(args, invocation)
    except OutputError as error:
        say(str(error))
        return EXIT_FAILED


def _run(args: Sequence[str], invocation: Invocation) -> int:
    try:
        return int(build()(list(args), prog_name="fleet", standalone_mode=False, obj=invocation) or EXIT_OK)
    except TyperException as error:
        return _misused(args, invocation, error)
    except FleetError as error:
        return _refuse(args, invocation, error)
    except KeyboardInterrupt:
        return _refuse(args, invocation, InterruptedRunError("interrupted before anything was sent"))
    except OutputError:
        raise
    except Exception as error:  # the boundary: no traceback reaches a user unless with -vv
        if isinstance(error, OSError) and error.errno in _STDOUT_FAILS:
            raise stdout_lost(error) from error
        return _bug(args, invocation, error)


def _misused(args: Sequence[str], invocation: Invocation, error: TyperException) -> int:
    """A command line that cannot be read; one that names no command gets the help that it asks for by that."""
    message = error.format_message().replace("Value error, ", "")  # pydantic's words, which say nothing here
    if message.startswith("Usage: "):
        return _told_usage(args, invocation, message)
    command = invocation.command or _command_of(args)
    hint = f"fleet {command} --help shows what it takes" if command else "fleet --help shows the commands"
    return _refuse(args, invocation, UsageError(message, hint=hint))


def _told_usage(args: Sequence[str], invocation: Invocation, usage: str) -> int:
    command = _command_of(args)
    if _options_of(args, os.environ).output in (OutputFormat.JSON, OutputFormat.NDJSON):
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
    options = invocation.options if invocation.complete else _options_of(args, os.environ)
    try:
        if options.output is OutputFormat.JSON:
            write(dumps(document(report, lambda value: value), indent=2) + "\n")
        elif options.output is OutputFormat.NDJSON:
            write(ndjson_summary(report) + "\n")
    finally:
        say(refusal_line(error) if options.quiet else refusal_text(error, style=error_style(options)))
        if options.verbose >= _TRACEBACKS and error.__cause__ is not None:
            say(traceback_text(error.__cause__))
    return report.exit_status


def _bug(args: Sequence[str], invocation: Invocation, cause: Exception) -> int:
    options = invocation.options if invocation.complete else _options_of(args, os.environ)
    hint = "please report it" if options.verbose >= _TRACEBACKS else "please report it, with what -vv prints"
    error = InternalError(f"a bug in fleet: {type(cause).__name__}: {cause}", hint=hint)
    error.__cause__ = cause
    return _refuse(args, invocation, error)


# What a failing command line was about. Typer has given up on it, so the words are looked at one by one.


def _command_of(args: Sequence[str]) -> str:
    return next((word for word in args if is_command(word)), "")


def _options_of(args: Sequence[str], environ: Mapping[str, str]) -> Options:
    """How an error is to be shown, as far as the words tell: the last format that there is, or JSON for `--json`."""
    forms = [environ.get("FLEET_OUTPUT", "")]
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
