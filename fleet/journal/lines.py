"""How the files of this room say things: a line of JSON, a time, a command line, a person."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

SCHEMA = 1
"""Of the lines in a run's file; one of a later fleet may have another."""

_PROGRAM_ONLY = "--secret-command"
"""The option whose value may hold a secret, a token for the store of passphrases: only its program is shown."""

_SECRET = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|API_?KEY")


def line(record: Mapping[str, object]) -> bytes:
    r"""The record as one line of JSON, its newline included.

    Everything but printable ASCII is spelled `\u` and four digits: a name that a client chose can neither end the line
    nor drive the terminal of whoever reads it, and bytes that are not UTF-8 come back as they were.
    """
    return json.dumps(record, separators=(", ", ": ")).replace("\x7f", "\\u007f").encode("ascii") + b"\n"


def records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """What the lines say that are whole; the last one of a killed run, or of a full disk, may not be."""
    for text in lines:
        try:
            record = json.loads(text)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def stamp() -> str:
    """The time now, RFC 3339 in UTC to the millisecond."""
    return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def command_text(argv: Iterable[str]) -> str:
    """A command line as its user typed it, for others to read; words that a shell would split are quoted.

    Args:
        argv: the words behind `fleet`.
    """
    return shlex.join(("fleet", *_shown(argv)))


def _shown(argv: Iterable[str]) -> Iterator[str]:
    hide = False
    for word in argv:
        if hide:
            yield _program(word)
        elif word.startswith(f"{_PROGRAM_ONLY}="):
            yield f"{_PROGRAM_ONLY}={_program(word.partition('=')[2])}"
        else:
            yield word
        hide = word == _PROGRAM_ONLY


def _program(command: str) -> str:
    program, blank, _arguments = command.strip().partition(" ")
    return program + (blank and " ...")


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of fleet in the environment; none that by its name could be a secret of somebody's own."""
    return {name: value for name, value in environ.items() if name.startswith("FLEET_") and not _SECRET.search(name)}


def login_user(environ: Mapping[str, str]) -> str:
    """Who logged in: also under sudo the person, not root. A cron job has no login; there it is the job's user."""
    try:
        return os.getlogin()
    except OSError:
        return environ.get("LOGNAME") or _user_name()


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return str(os.getuid())


def write_all(descriptor: int, data: bytes) -> None:
    """Writes the bytes; in one call to the system, unless that takes only a part of them.

    Raises:
        OSError: they were not all written.
    """
    while data:
        data = data[os.write(descriptor, data) :]


def append_line(descriptor: int, data: bytes) -> None:
    """Writes a line at the end of a file that may lack the end of its last one: a machine crashed, a disk was full.

    Args:
        descriptor: of the file, open for reading and appending, and locked.
        data: the line.

    Raises:
        OSError: it was not written, or not whole.
    """
    size = os.fstat(descriptor).st_size
    is_whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
    write_all(descriptor, data if is_whole else b"\n" + data)
