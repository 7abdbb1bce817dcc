"""`fleet status --file`: a saved status in the table and JSON of a live one, without asking anybody."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from fleet.cli.options import Options
from fleet.cli.output import output_for
from fleet.cli.watch import refuse_watch_of_none
from fleet.engine import Outcome, Report
from fleet.errors import UsageError
from fleet.inventory.model import Server, UnixEndpoint
from fleet.management.status import Status, parse_status
from fleet.operations.operation import Answer
from fleet.operations.status import STATUS, ServerStatus, problem_warnings, saved_status

STDIN = "-"
"""What is given for a file to read from standard input."""
_LIMIT = 64 << 20  # bytes; security limit: a status of 100,000 clients has 20 MB
_END = re.compile(r"^END\r?$", re.MULTILINE)


def show_saved(path: str, options: Options) -> int:
    """Shows a status file, or a saved reply to `status`, of any format and release.

    Args:
        path: of the file; `-` is stdin.
        options: of which only those for output count.

    Raises:
        UsageError: it cannot be read, or is no status.
    """
    refuse_watch_of_none(options)
    started, clock = datetime.now(UTC), time.monotonic()
    text = read_file(path, limit=_LIMIT, what="status").decode("utf-8", "surrogateescape")
    try:
        status: Status = parse_status(text.split("\n"))
    except ValueError as error:
        raise UsageError(
            f"{path}: {error}",
            hint="give a file that OpenVPN's `status` directive writes, or a saved reply to `status`",
        ) from error
    # The file stands where a server would: one row of the same table, one entry of the same JSON.
    place = Server("stdin" if path == STDIN else path, path, None, UnixEndpoint(path))
    answer: Answer[ServerStatus] = Answer(saved_status(status), text)
    outcome = Outcome(place, time.monotonic() - clock, answer, warnings=tuple(_warnings(status, text)))
    output = output_for(STATUS, options)
    output.outcome(outcome)
    return output.finish(Report(STATUS.name, ("--file", path), started, time.monotonic() - clock, (outcome,)))


def _warnings(status: Status, text: str) -> Iterator[str]:
    if not _END.search(text):
        yield "no line says END, as the last one of a status does: what is shown may be only its beginning"
    yield from problem_warnings(status.problems)


def read_file(path: str, *, limit: int, what: str) -> bytes:
    """What a file has, or stdin.

    Args:
        path: of the file; `-` is stdin.
        limit: bytes that it may have; a security limit.
        what: it should be, for the error.

    Raises:
        UsageError: it cannot be read, or is longer.
    """
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror or error}", hint="give a file that can be read, or - for stdin"
        ) from error
    if len(data) > limit:
        raise UsageError(f"{path}: larger than {limit >> 20} MiB", hint=f"no {what} is as long as that")
    return data
