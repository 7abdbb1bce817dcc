"""The application: reads a command line, runs it, and hands every error to the boundary that shows it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleet.cli.starting import begin, leave, take_signals

if TYPE_CHECKING:
    from typer.core import TyperGroup

    from fleet.cli.options import Options

# What a command line needs is imported when there is one: a shell that asks for words (complete.py) waits for it.
# ruff: noqa: PLC0415


def build() -> TyperGroup:
    """The application with all its commands."""
    from fleet.cli.families import application
    from fleet.cli.options import before_command

    return application(before_command(), "Operate a whole fleet of OpenVPN servers at once.")


def main() -> None:
    """The console script."""
    begin()
    take_signals()
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name in the locale's charset or not, it is shown
    if sys.argv[1:2] == ["__complete"]:
        from fleet.cli import complete

        leave(complete.main(sys.argv[2:]))
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first was being told
        status = 130
    leave(status)


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
    invocation = None
    try:
        if [*args] == ["--version"] and _version_told():
            return 0
        from fleet.cli.options import Invocation, Options

        if "--watch" in args:
            from fleet.cli.watch import watch_words

            args = watch_words(args)
        invocation = Invocation(options or Options(), argv=tuple(args))
        return int(build()(list(args), prog_name="fleet", standalone_mode=False, obj=invocation) or 0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the boundary: no traceback reaches a user
        from fleet.cli.boundary import tell

        return tell(error, args, invocation)


def _version_told() -> bool:
    """Prints the version without typer; False where it cannot be written, which typer and the boundary then tell."""
    from fleet.cli.version import version_text

    try:
        sys.stdout.write(f"{version_text()}\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True
