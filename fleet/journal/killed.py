"""What killed runs could not say of themselves: whoever begins the next change says it in the audit.

A change is written into the file of its run before it goes out, and into the audit when its server has an outcome. A
run that is killed in between leaves the one and not the other, and its file does not stay for ever.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from fleet.journal.audit import Audit
from fleet.journal.lines import append_line, line, records
from fleet.journal.record import Told
from fleet.journal.runs import make_read_only, open_paths, run_id_of

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_END = {"type": "end", "killed": True}


def settle_killed(state: Path, audit: Audit) -> None:
    """Adds a line to the audit for each server to which a killed run has sent what nothing more is known of.

    It is done once for each run, whose file gets an end. Several processes may do it at the same time.

    Args:
        state: the state folder.
        audit: that of it.

    Raises:
        OSError: the audit, or the end of a run, cannot be written.
    """
    for path in open_paths(state):
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError:
            continue  # removed meanwhile, or no file of fleet's
        try:
            if _hold(descriptor):
                _settle(descriptor, run_id_of(path), audit)
        finally:
            os.close(descriptor)


def _hold(descriptor: int) -> bool:
    """Whether the run does not go on, and nobody else is at its file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _settle(descriptor: int, run_id: str, audit: Audit) -> None:
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            told = Told.of(records(file))
        untold = [] if told.end else _untold(told, run_id, audit)
    except (KeyError, TypeError):
        return  # it was not written by this release, or is just beginning: its writer has no lock for a moment
    for record in untold:
        audit.append(record)
    if untold:
        audit.sync()  # nobody looks for them again behind the end
    if not told.end:
        append_line(descriptor, line(_END))
    make_read_only(descriptor)


def _untold(told: Told, run_id: str, audit: Audit) -> list[Mapping[str, object]]:
    """The lines that the audit lacks.

    It may have one more of a server than the run's file, which is written after it; and all of them, where this was
    done before and not to its end.
    """
    begin = told.begin
    head = {
        "run": run_id,
        "user": begin["user"],
        "sudo_user": begin["sudo_user"],
        "host": begin["host"],
        "command": begin["command_line"],
    }
    known = audit.told(run_id) if told.unanswered else {}
    return [
        {
            "time": sent[-1]["time"],
            **head,
            "server": name,
            "sent": [record["text"] for record in sent],
            "status": "killed",
            "answer": "",
            "error": None,
            "confirmed": [],
            "unconfirmed": told.unconfirmed(name),
        }
        for name, sent in told.unanswered.items()
        if known.get(name, 0) <= told.settled[name]
    ]
