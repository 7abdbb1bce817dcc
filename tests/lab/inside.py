"""fleet in the test's own process, with what else a process of its own has: streams, environment, working directory.

Starting Python and importing fleet takes half a second of processor time, many times what a run itself takes. What is
about a process (a signal, a terminal, two runs at once, the installed program) wants one: see `Lab.installed`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from fleet.cli.main import run

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGWINCH)
"""Those that a program may have taken for itself; a test's own time limit has SIGALRM."""


def run_inside(
    args: Sequence[str], environment: Mapping[str, str], folder: Path | None = None, *, given: bytes = b""
) -> tuple[int, bytes, bytes]:
    """Runs fleet to its end: its exit status, stdout and stderr. To be called in the main thread.

    Args:
        args: the words behind `fleet`.
        environment: all that it has.
        folder: its working directory; None is that of the test.
        given: its standard input, a file without a terminal.
    """
    with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        with _process(environment, folder), _streams(stdin, stdout, stderr):
            status = run(args)
        return status, _text(stdout), _text(stderr)


def _text(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


@contextmanager
def _process(environment: Mapping[str, str], folder: Path | None) -> Iterator[None]:
    """What belongs to a process is as it was, whatever fleet has made of it."""
    before, umask = dict(os.environ), os.umask(0o077)
    os.umask(umask)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    home = Path.cwd()
    try:
        _set_environment(environment)
        if folder is not None:
            os.chdir(folder)
        yield
    finally:
        os.chdir(home)
        _set_environment(before)
        os.umask(umask)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _set_environment(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():  # never empty: threads of the lab start programs meanwhile
        del os.environ[name]
    os.environ.update(environment)
    time.tzset()


@contextmanager
def _streams(*files: IO[bytes]) -> Iterator[None]:
    """Descriptors 0 to 2 are these files, for fleet and for what it starts; so are Python's own streams."""
    with ExitStack() as stack:
        for number, file in enumerate(files):
            saved = os.dup(number)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, number)
            os.dup2(file.fileno(), number)
        for name, number, mode, errors in (
            ("stdin", 0, "r", "surrogateescape"),
            ("stdout", 1, "w", "backslashreplace"),
            ("stderr", 2, "w", "backslashreplace"),
        ):
            stack.callback(setattr, sys, name, getattr(sys, name))
            stream = stack.enter_context(open(number, mode, encoding="utf-8", errors=errors, closefd=False))
            setattr(sys, name, stream)
        yield
